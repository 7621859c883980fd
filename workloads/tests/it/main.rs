//! Promises that hold over versions: what a seed gave once it gives for ever.

mod golden;
mod import;
