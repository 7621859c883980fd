//! Attempts within one deadline.

use crate::client::Inner;
use crate::error::{Error, ErrorKind, Failed, Next, failed, unanswered};
use crate::options::Retry;
use norikv_proto::pipe::Pipe;
use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};
use tonic::Status;

/// While nobody leads: between an election's heartbeats, so that the new leader is found soon after there is one.
const LEADERLESS: Duration = Duration::from_millis(25);
/// One that asks in a circle is let wait.
const REDIRECTS_MAX: u32 = 4;

/// What a call is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'k> {
    Key(&'k [u8]),
    Shard(u32),
}

/// What is to be known of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'k> {
    pub(crate) target: Target<'k>,
    pub(crate) is_write: bool,
    /// Any replica will do.
    pub(crate) is_any: bool,
}

/// A number by chance.
pub(crate) fn chance() -> u64 {
    thread_local! {
        static LAST: Cell<u64> = Cell::new(RandomState::new().hash_one(0u8) | 1);
    }
    LAST.with(|last| {
        // xorshift64*, of Vigna: enough to spread clients.
        let mut x = last.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        last.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

/// How long to wait after so many failures, from 1 on: anything up to a bound that doubles.
pub(crate) fn pause(retry: &Retry, failures: u32) -> Duration {
    let bound = retry.base.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(retry.cap);
    let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX).max(1);
    Duration::from_nanos(chance() % nanos)
}

/// How long to wait where somebody has said how long: chance spreads those that were told the same.
pub(crate) fn spread(after: Duration) -> Duration {
    let after = after.max(Duration::from_millis(1));
    after + after.mul_f64(chance() as f64 / u64::MAX as f64)
}

impl Inner {
    /// Makes attempts until one succeeds, or nothing more may be tried.
    pub(crate) async fn run<T, F>(
        &self,
        call: Call<'_>,
        attempt: impl Fn(Pipe) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let until = Instant::now() + self.deadline;
        self.run_until(until, call, attempt).await.map(|(reply, _)| reply)
    }

    /// The same until a moment, and who answered.
    pub(crate) async fn run_until<T, F>(
        &self,
        until: Instant,
        call: Call<'_>,
        attempt: impl Fn(Pipe) -> F,
    ) -> Result<(T, String), Error>
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.routes.begin();
        let mut progress = Progress::default();
        loop {
            let shard = match self.shard(call.target, until).await {
                Ok(shard) => shard,
                Err(error) => return Err(progress.finish(error)),
            };
            let address = match progress.redirect.take() {
                Some(address) => address,
                None => self.routes.pick(shard, call.is_any),
            };
            let outcome = self.attempt(&address, until, call.is_write, &attempt).await;
            progress.attempts += 1;
            let failed = match outcome {
                Ok(reply) => {
                    self.routes.trust(&address);
                    self.budget.refund();
                    return Ok((reply, address));
                }
                Err(failed) => failed,
            };
            progress.maybe_committed |= failed.error.maybe_committed;
            let error = failed.error;
            // When to ask again, if somebody who should know has said it.
            let told = match failed.next {
                Next::Stop => return Err(progress.finish(error)),
                Next::Redirect(Some(leader)) if self.routes.is_suspect(&leader) => {
                    // It was just found not to answer, and whoever names it does not know yet.
                    Some(LEADERLESS)
                }
                Next::Redirect(Some(leader)) if progress.redirects < REDIRECTS_MAX => {
                    progress.redirects += 1;
                    self.routes.name(shard, leader.clone());
                    progress.redirect = Some(leader);
                    continue;
                }
                Next::Redirect(_) | Next::Wait(None) => None,
                Next::Wait(Some(after)) => Some(after),
                Next::Elsewhere => {
                    self.routes.suspect(&address);
                    None
                }
            };
            self.routes.unname(shard, &address);
            progress.redirects = 0;
            let wait = match told {
                Some(after) => spread(after),
                None => {
                    progress.failures += 1;
                    pause(&self.retry, progress.failures)
                }
            };
            let may_retry = progress.attempts < self.retry.attempts_max
                && (told.is_some() || self.budget.spend());
            if Instant::now() + wait >= until || !may_retry {
                return Err(progress.finish(error));
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt<T, F>(
        &self,
        address: &str,
        until: Instant,
        is_write: bool,
        attempt: &impl Fn(Pipe) -> F,
    ) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let stop = |error| Failed { error, next: Next::Stop };
        let pipe = self.routes.pipe(address).map_err(stop)?;
        let left = until.saturating_duration_since(Instant::now()).min(self.attempt);
        match tokio::time::timeout(left, attempt(pipe)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(status)) => Err(failed(&status, address, is_write)),
            Err(_) => {
                let mut unanswered = unanswered(address, left);
                unanswered.error.maybe_committed = is_write;
                Err(unanswered)
            }
        }
    }

    /// Of which shard the call is; waits for the topology if it is not known yet.
    async fn shard(&self, target: Target<'_>, until: Instant) -> Result<u32, Error> {
        let key = match target {
            Target::Shard(shard) => return Ok(shard),
            Target::Key(key) => key,
        };
        if let Some(shard) = self.routes.current().shard_of(key) {
            return Ok(shard);
        }
        let topology = self.topology(until).await?;
        topology.shard_of(key).ok_or_else(|| Error::new(ErrorKind::Unavailable, "no shards"))
    }
}

/// How far a call is.
#[derive(Default)]
struct Progress {
    attempts: u32,
    failures: u32,
    redirects: u32,
    redirect: Option<String>,
    maybe_committed: bool,
}

impl Progress {
    /// The error of the whole call.
    fn finish(&self, mut error: Error) -> Error {
        error.attempts = self.attempts;
        // A certain answer to a later attempt is an answer to all of them: they bear one name.
        let is_certain = matches!(error.kind, ErrorKind::VersionMismatch { .. });
        error.maybe_committed = self.maybe_committed && !is_certain;
        error.certain()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_below_a_bound_that_doubles_up_to_a_cap() {
        let retry = Retry::default();
        for (failures, bound) in [(1, 10), (2, 20), (3, 40), (8, 1_000), (60, 1_000)] {
            let longest = (0..2_000).map(|_| pause(&retry, failures)).max().unwrap();
            let bound = Duration::from_millis(bound);
            assert!(longest < bound && longest > bound.mul_f64(0.9), "{failures}: {longest:?}");
        }
    }

    #[test]
    fn an_error_after_an_attempt_that_may_have_happened_is_an_unknown_outcome() {
        let progress = Progress { attempts: 2, maybe_committed: true, ..Progress::default() };
        let error = progress.finish(Error::new(ErrorKind::Unavailable, "nobody answers"));
        assert_eq!((&error.kind, error.attempts), (&ErrorKind::OutcomeUnknown, 2));
        let error = progress.finish(Error::new(ErrorKind::VersionMismatch { actual: 3 }, "no"));
        assert!(!error.maybe_committed && error.kind == ErrorKind::VersionMismatch { actual: 3 });
    }
}
