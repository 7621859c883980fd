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

    /// What the status of a call on a [`Client::channel`](crate::Client::channel) to `address` comes to. `is_write` says whether it may have happened if nobody knows.
    pub fn of_status(status: &Status, address: &str, is_write: bool) -> Self {
        let mut error = failed(status, address, is_write).error;
        error.attempts = 1;
        error.certain()
    }

    /// The kind that follows from whether it may have happened.
    pub(crate) fn certain(mut self) -> Self {
        if self.maybe_committed && self.is_retryable() {
            self.kind = ErrorKind::OutcomeUnknown;
        }
        self
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

/// A node has not said anything in time.
pub(crate) fn unanswered(address: &str, within: Duration) -> Failed {
    let error = Error::new(ErrorKind::DeadlineExceeded, not_answered(address, within));
    Failed { error, next: Next::Elsewhere }
}

/// The same as a sentence, in whole milliseconds: what is smaller is of no use to anybody.
pub(crate) fn not_answered(address: &str, within: Duration) -> String {
    let within = Duration::from_millis(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
    format!("{address} has not answered within {within:?}")
}

/// What a status of a node means. `is_write` says whether it may have happened if nobody knows.
pub(crate) fn failed(status: &Status, address: &str, is_write: bool) -> Failed {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == DOMAIN);
    let retry_after = details.retry_info().and_then(|info| info.retry_delay);
    let message = message(status, info.is_some(), address);
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

/// In words: those of the server, or of whatever else has answered at an address, which then is named.
fn message(status: &Status, is_of_server: bool, address: &str) -> String {
    match status.message() {
        "" => format!("{address} has answered {:?} and no message", status.code()),
        text if is_of_server || text.contains(address) => text.to_owned(),
        text => format!("{address}: {text}"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn what_is_not_of_a_server_names_the_address() {
        let told = |status: &Status| Error::of_status(status, "host:1", false).to_string();
        assert_eq!(told(&Status::unknown("")), "host:1 has answered Unknown and no message");
        assert_eq!(told(&Status::unimplemented("no such")), "host:1: no such");
        assert_eq!(told(&Status::unavailable("host:1 is gone")), "host:1 is gone");
        let details = ErrorDetails::with_error_info("STORE", DOMAIN, []);
        let status = Status::with_error_details(Code::Internal, "it failed", details);
        assert_eq!(told(&status), "it failed");
    }

    #[test]
    fn nobody_knows_what_came_of_a_write_whose_connection_broke() {
        let mut status = Status::internal("host:1 is gone");
        status.set_source(std::sync::Arc::new(std::io::Error::other("gone")));
        let of = |status: &Status, is_write| {
            let error = Error::of_status(status, "host:1", is_write);
            (error.kind, error.maybe_committed)
        };
        assert_eq!(of(&status, false), (ErrorKind::Unavailable, false));
        assert_eq!(of(&status, true), (ErrorKind::OutcomeUnknown, true));
        status.set_source(std::sync::Arc::new(tonic::ConnectError("nobody".into())));
        assert_eq!(of(&status, true), (ErrorKind::Unavailable, false));
    }
}
