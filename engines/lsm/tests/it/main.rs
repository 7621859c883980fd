//! What `nori-lsm` promises, checked from outside.

#![expect(clippy::unwrap_used, reason = "a failing test should stop where it fails")]

mod closing;
mod crash;
mod damage;
mod exhaustive;
mod flushes;
mod handles;
mod kill;
mod matrix;
mod parts;
mod property;
mod removal;
mod replicated;
mod seeks;
mod sim;
mod small_tables;
mod versions;
