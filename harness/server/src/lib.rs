//! The server: a node with its parts, its sockets and its settings.
//!
//! | module | what it has |
//! |---|---|
//! | [`config`] | what it is set to, and where each value comes from |
//! | [`start`] | from settings to a node that serves |
//! | [`stop`](mod@stop) | the end: in order, and within a time |
//! | [`ephemeral`] | whole clusters in memory, for tests of clients |
//! | [`program`] | the command line, signals, the end |
//! | `counts` | what is counted, as it is scraped |
//! | `disk` | how much room there is |
//!
//! Promises: what is wrong with settings is told before anything is opened, in one line; one process has a data directory; what cannot go on ends with the reason.

pub mod config;
mod counts;
mod disk;
pub mod ephemeral;
pub mod program;
pub mod start;
pub mod stop;

pub use config::{Config, ConfigError, Origin};
pub use start::{Running, StartError};
