//! What can go wrong with a call, the same in all languages.

use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The domain of the server's reasons.
const DOMAIN: &str = "norikv";

/// What kind of error it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The condition does not hold: the row has this version; 0 if there is none.
    VersionMismatch {
        /// The row's.
        actual: u64,
    },
    /// The call's deadline has passed, and nothing has happened.
    DeadlineExceeded,
    /// Nobody knows whether the write has happened. It will not happen twice.
    OutcomeUnknown,
    /// No node that was asked could serve it.
    Unavailable,
    /// More is under way than the server takes, or its disk is full.
    Overloaded {
        /// When to ask again, as the server has it.
        retry_after: Option<Duration>,
    },
    /// Something is larger than the server takes.
    TooLarge {
        /// What it takes.
        limit: u64,
    },
    /// The keys of a batch are of several shards.
    WrongShard,
    /// A stale read wants something newer than there is.
    TooStale,
    /// The name of the request is older than the server remembers.
    SessionExpired,
    /// What was asked for breaks a rule.
    InvalidArgument,
    /// The server failed.
    Internal,
}

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}{}", after(*attempts))]
pub struct Error {
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// In words.
    pub message: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The write may have happened.
    pub maybe_committed: bool,
}

fn after(attempts: u32) -> String {
    if attempts > 1 { format!(" (after {attempts} attempts)") } else { String::new() }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), attempts: 0, maybe_committed: false }
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::DeadlineExceeded
                | ErrorKind::OutcomeUnknown
                | ErrorKind::Unavailable
                | ErrorKind::Overloaded { .. }
                | ErrorKind::TooStale
        )
    }
}

/// What an attempt came to that did not succeed.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// What follows.
    pub(crate) next: Next,
}

/// What follows from a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: it would fail again.
    Stop,
    /// To ask another node, at once: the leader, if it was named.
    Redirect(Option<String>),
    /// To ask again later, at any node.
    Wait(Option<Duration>),
    /// To ask another node, later: this one does not answer.
    Elsewhere,
}

/// What a status means. `is_write` says whether it may have happened if nobody knows.
pub(crate) fn failed(status: &Status, is_write: bool) -> Failed {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == DOMAIN);
    let retry_after = details.retry_info().and_then(|info| info.retry_delay);
    let message = status.message().to_owned();
    let metadata = |name: &str| info.and_then(|info| info.metadata.get(name)).cloned();
    let number = |name: &str| metadata(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    let stop = |kind| Failed { error: Error::new(kind, message.clone()), next: Next::Stop };
    match info.map(|info| info.reason.as_str()) {
        Some("NOT_LEADER") => Failed {
            error: Error::new(ErrorKind::Unavailable, message.clone()),
            next: match metadata("leader_address") {
                Some(address) => Next::Redirect(Some(address)),
                None => Next::Wait(retry_after),
            },
        },
        Some("VERSION_MISMATCH") => {
            stop(ErrorKind::VersionMismatch { actual: number("actual_version") })
        }
        Some("OVERLOADED" | "DISK_FULL") => Failed {
            error: Error::new(ErrorKind::Overloaded { retry_after }, message.clone()),
            next: Next::Wait(retry_after),
        },
        Some("TOO_LARGE") => stop(ErrorKind::TooLarge { limit: number("limit") }),
        Some("WRONG_SHARD") => stop(ErrorKind::WrongShard),
        Some("TOO_STALE") => stop(ErrorKind::TooStale),
        Some("SESSION_EXPIRED") => stop(ErrorKind::SessionExpired),
        Some("INVALID") => stop(ErrorKind::InvalidArgument),
        Some("STORE") => stop(ErrorKind::Internal),
        Some("NOT_READY") => Failed {
            error: Error::new(ErrorKind::Unavailable, message.clone()),
            next: Next::Elsewhere,
        },
        Some("OUTCOME_UNKNOWN") => unknown(message, is_write, Next::Wait(None)),
        _ => of_code(status, message, is_write),
    }
}

/// The server has said nothing of its own: the connection, or what is between, has.
fn of_code(status: &Status, message: String, is_write: bool) -> Failed {
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange => {
            let error = Error::new(ErrorKind::InvalidArgument, message);
            Failed { error, next: Next::Stop }
        }
        Code::Unimplemented | Code::Internal if !is_broken(status) => {
            Failed { error: Error::new(ErrorKind::Internal, message), next: Next::Stop }
        }
        _ if was_not_sent(status) => {
            let error = Error::new(ErrorKind::Unavailable, message);
            Failed { error, next: Next::Elsewhere }
        }
        _ => unknown(message, is_write, Next::Elsewhere),
    }
}

fn unknown(message: String, is_write: bool, next: Next) -> Failed {
    let mut error = Error::new(ErrorKind::Unavailable, message);
    error.maybe_committed = is_write;
    Failed { error, next }
}

/// Whether the connection broke, which some layers below call internal.
fn is_broken(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

/// Whether the request certainly never left: there was no connection.
fn was_not_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
