//! Placement from outside: the vectors every client obeys, and random lives of clusters.

mod assignment;
mod bytes;
mod cluster;
mod leaders;
mod moves;
mod vectors;
