//! Lines of what happens: on the standard error stream, as text or as an object of JSON each.

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

impl Format {
    /// Both, by name.
    pub const ALL: [(&str, Self); 2] = [("text", Self::Text), ("json", Self::Json)];
}

/// What lines there are cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is none.
    #[error("{filter:?} is no filter of log lines: {why}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody has set them up already.
    #[error("log lines are set up already")]
    Twice,
}

/// Whether `filter` is one.
///
/// # Errors
///
/// [`LogError::Filter`].
pub fn check(filter: &str) -> Result<(), LogError> {
    parse(filter).map(|_| ())
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(filter)
        .map_err(|error| LogError::Filter { filter: filter.to_owned(), why: error.to_string() })
}

/// Sets lines up for this process: which (`info`, `warn,norikv_node=debug`), and how they look.
///
/// # Errors
///
/// [`LogError`].
pub fn init(filter: &str, format: Format) -> Result<(), LogError> {
    let lines = fmt().with_env_filter(parse(filter)?).with_writer(std::io::stderr);
    let done = match format {
        Format::Text => lines.with_ansi(false).try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
    done.map_err(|_| LogError::Twice)
}
