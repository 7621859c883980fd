//! The adapters on real files: the laws of the seam, processes that are killed, syncs that are counted.

mod conformance;
mod kill;
mod syncs;
