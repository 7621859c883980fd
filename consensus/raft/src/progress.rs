//! How far a peer is, as its leader knows it, and what is under way to it.
//!
//! A peer is **probed** with one message at a time until it is known where its log agrees; then entries are **replicated** without
//! waiting, up to the window; a peer that needs entries which are gone gets a **snapshot**.

use crate::message::{Answer, Attempt, Life, Round};
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{Index, Instant, Settings};
use std::collections::VecDeque;

/// A peer of a leader.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// Its log agrees up to here, safely. `matched < next`.
    pub(crate) matched: Index,
    /// What it is sent next.
    pub(crate) next: Index,
    pub(crate) state: State,
    /// Each probe after a failure begins another. Answers to earlier ones say what the peer has, and nothing of what is under way to it: if they
    /// counted, each late refusal would send the whole window once more, and be answered by more of its kind.
    pub(crate) attempt: Attempt,
    /// The latest round it answered.
    pub(crate) round: Round,
    /// When it was last heard.
    pub(crate) heard: Instant,
    /// Zero before it was heard. What is known of its log was said in this one.
    pub(crate) life: Life,
    pub(crate) priority: u8,
    /// What it is to be sent is being fetched.
    pub(crate) is_fetching: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum State {
    /// `is_waiting`: the one message is under way.
    Probe {
        is_waiting: bool,
    },
    Replicate(Window),
    /// `is_delivered`: it has the snapshot and is to say so.
    Snapshot {
        at_least: Index,
        is_delivered: bool,
    },
}

/// Appends under way to a peer, oldest first: the last entry of each and its bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    appends: VecDeque<(Index, usize)>,
    /// The sum over `appends`.
    bytes: usize,
}

impl Window {
    pub(crate) fn is_full(&self, settings: &Settings) -> bool {
        self.appends.len() >= settings.inflight_messages_max
            || self.bytes >= settings.inflight_bytes_max
    }

    fn push(&mut self, last: Index, bytes: usize) {
        self.bytes += bytes;
        self.appends.push_back((last, bytes));
    }

    fn free(&mut self, matched: Index) {
        while let Some((_, bytes)) = self.appends.pop_front_if(|(last, _)| *last <= matched) {
            self.bytes -= bytes;
        }
    }
}

impl Progress {
    /// Of a peer that nothing is known of but that its log may end at `last`.
    pub(crate) fn new(last: Index, now: Instant) -> Self {
        Self {
            matched: Index::ZERO,
            next: last.next(),
            state: State::Probe { is_waiting: false },
            attempt: Attempt(1),
            round: Round(0),
            heard: now,
            life: Life(0),
            priority: 0,
            is_fetching: false,
        }
    }

    /// It answered; whether in its present life. In a new one it may have lost what it acknowledged: what it has is found out anew.
    pub(crate) fn hears(&mut self, now: Instant, answer: Answer) -> bool {
        if answer.life < self.life {
            return false;
        }
        self.heard = now;
        self.priority = answer.priority;
        let known = std::mem::replace(&mut self.life, answer.life);
        let is_new = known < answer.life && known > Life(0);
        if is_new && !mutant::is(Mutant::EarlierLifeCounted) {
            self.next = self.matched.next();
            self.matched = Index::ZERO;
            // A snapshot under way ends as its driver says.
            if !matches!(self.state, State::Snapshot { .. }) {
                self.probe();
            }
        }
        true
    }

    /// Whether it may be sent something now.
    pub(crate) fn is_ready(&self, settings: &Settings) -> bool {
        !self.is_fetching
            && match &self.state {
                State::Probe { is_waiting } => !is_waiting,
                State::Replicate(window) => !window.is_full(settings),
                State::Snapshot { .. } => false,
            }
    }

    /// Entries up to `last` are on their way.
    pub(crate) fn sent(&mut self, last: Index, bytes: usize) {
        match &mut self.state {
            State::Probe { is_waiting } => *is_waiting = true,
            State::Replicate(window) if last >= self.next => {
                window.push(last, bytes);
                self.next = last.next();
            }
            State::Replicate(_) | State::Snapshot { .. } => {}
        }
    }

    /// Its log agrees up to `matched`; whether that is news.
    pub(crate) fn matches(&mut self, matched: Index, attempt: Attempt) -> bool {
        let is_news = matched > self.matched;
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched.next());
        match &mut self.state {
            State::Replicate(window) => window.free(matched),
            State::Probe { .. } if attempt < self.attempt => {}
            State::Snapshot { at_least, .. } if self.matched < *at_least => {}
            State::Probe { .. } | State::Snapshot { .. } => self.replicate(),
        }
        is_news
    }

    /// It does not have `refused`; both logs agree at `agreed` at best.
    pub(crate) fn refuses(&mut self, refused: Index, agreed: Index, attempt: Attempt) {
        // What one life has acknowledged it does not refuse later: such an answer is late.
        let is_late = attempt < self.attempt || refused <= self.matched;
        if !is_late && !matches!(self.state, State::Snapshot { .. }) {
            self.next = agreed.min(Index(refused.0.saturating_sub(1))).max(self.matched).next();
            self.probe();
        }
    }

    pub(crate) fn probe(&mut self) {
        self.attempt.0 += 1;
        self.state = State::Probe { is_waiting: false };
    }

    /// Begins anew from what is known to agree: what was under way may be lost.
    pub(crate) fn restart(&mut self) {
        self.next = self.matched.next();
        self.probe();
    }

    fn replicate(&mut self) {
        self.next = self.matched.next();
        self.state = State::Replicate(Window::default());
    }
}
