//! Placement from outside: the vectors every client obeys, and random lives of clusters.

#![expect(clippy::unwrap_used, reason = "a failing test should stop where it fails")]

mod assignment;
mod bytes;
mod cluster;
mod leaders;
mod moves;
mod vectors;
