//! Ctrl-C and `kill`: a bench that is asked to stop ends its worker and keeps what finished.
//!
//! 1. A thread waits for SIGINT and SIGTERM. At the first it notes the signal and lets go of the worker's standard
//!    input, whose end ends the worker (see `guard`).
//! 2. The main thread sees the worker end, asks [`Interrupts::exit_code`], and puts things in order.
//! 3. A second signal ends the bench at once.
//!
//! Workers have a process group of their own, so that a Ctrl-C at the terminal reaches the bench and not them.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::process::ChildStdin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a shell adds to the number of a signal that ended a program.
const SIGNAL_BASE: i32 = 128;

#[derive(Default)]
struct State {
    /// The signal that came first.
    signal: Option<i32>,
    /// Open as long as a worker may go on.
    lifeline: Option<ChildStdin>,
}

/// Requests to stop, and the worker that they end.
#[derive(Clone, Default)]
pub(crate) struct Interrupts(Arc<Mutex<State>>);

impl Interrupts {
    /// From now on this process does not end by SIGINT or SIGTERM, but takes note.
    pub(crate) fn listen() -> Result<Self> {
        let interrupts = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("listening for signals")?;
        let heard = interrupts.clone();
        let wait = move || {
            for signal in signals.forever() {
                if heard.note(signal) {
                    signal_hook::low_level::exit(SIGNAL_BASE + signal);
                }
            }
        };
        let thread = std::thread::Builder::new().name("signals".into());
        thread.spawn(wait).context("starting the thread that waits for signals")?;
        Ok(interrupts)
    }

    /// Whether it is not the first.
    fn note(&self, signal: i32) -> bool {
        let mut state = self.lock();
        state.lifeline = None;
        state.signal.replace(signal).is_some()
    }

    /// Lets a worker go on until the next signal; if there was one already, not at all.
    pub(crate) fn worker_began(&self, lifeline: Option<ChildStdin>) {
        let mut state = self.lock();
        state.lifeline = lifeline.filter(|_| state.signal.is_none());
    }

    /// The worker has ended by itself.
    pub(crate) fn worker_ended(&self) {
        self.lock().lifeline = None;
    }

    /// The exit code of a program that a signal ended, if one has come.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        self.lock().signal.map(|signal| (SIGNAL_BASE + signal) as u8)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// A program that ends when its input does.
    fn cat() -> std::process::Child {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn a_signal_lets_the_worker_go_and_a_later_worker_gets_no_life() {
        let interrupts = Interrupts::default();
        let mut first = cat();
        interrupts.worker_began(first.stdin.take());
        assert_eq!(interrupts.exit_code(), None);
        assert!(first.try_wait().unwrap().is_none());
        assert!(!interrupts.note(SIGINT));
        assert!(first.wait().unwrap().success());
        assert_eq!(interrupts.exit_code(), Some(130));
        let mut second = cat();
        interrupts.worker_began(second.stdin.take());
        assert!(second.wait().unwrap().success());
        assert!(interrupts.note(SIGTERM), "the second signal is told apart");
    }
}
