//! What is known of another member.

use crate::message::{Claim, Rumour};
use crate::settings::ACCUSERS_MAX;
use crate::{Address, Identity, Incarnation, Instant, MemberState, MemberStatus, NodeId};
use bytes::Bytes;
use std::time::Duration;

/// A member's state. Of two that are said of one incarnation the later variant holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Alive,
    Suspect(Suspicion),
    Down,
    Left,
}

/// Who says that a member does not answer, and until when it may refute that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suspicion {
    pub(crate) began: Instant,
    /// began <= deadline; it only comes nearer
    pub(crate) deadline: Instant,
    /// 1 <= accusers.len() <= ACCUSERS_MAX, none twice
    pub(crate) accusers: Vec<NodeId>,
}

impl Suspicion {
    /// Adds those of `accusers` that are new, up to `most` in all; whether there were any.
    pub(crate) fn confirm(&mut self, accusers: &[NodeId], most: usize) -> bool {
        let before = self.accusers.len();
        for accuser in accusers {
            if self.accusers.len() < most.min(ACCUSERS_MAX) && !self.accusers.contains(accuser) {
                self.accusers.push(*accuser);
            }
        }
        self.accusers.len() > before
    }

    /// Accusers beside the first.
    pub(crate) fn confirmed(&self) -> u32 {
        self.accusers.len() as u32 - 1
    }
}

/// What is known of another member.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) identity: Identity,
    pub(crate) address: Address,
    pub(crate) metadata: Bytes,
    /// The incarnation `address` and `metadata` are of. metadata_at <= incarnation, and == if it is alive
    pub(crate) metadata_at: Incarnation,
    pub(crate) incarnation: Incarnation,
    pub(crate) state: State,
    /// Since when it has been in `state`.
    pub(crate) since: Instant,
    pub(crate) rtt: Option<Duration>,
}

impl Member {
    /// Whether it takes part: it is probed, and counts.
    pub(crate) fn is_living(&self) -> bool {
        matches!(self.state, State::Alive | State::Suspect(_))
    }

    pub(crate) fn suspicion(&self) -> Option<&Suspicion> {
        match &self.state {
            State::Suspect(suspicion) => Some(suspicion),
            _ => None,
        }
    }

    fn rank(&self) -> u8 {
        match self.state {
            State::Alive => 0,
            State::Suspect(_) => 1,
            State::Down => 2,
            State::Left => 3,
        }
    }

    /// Whether `rumour`, which is of this very identity, says more than is known: of a greater incarnation, or of this one a later state.
    pub(crate) fn is_news(&self, rumour: &Rumour) -> bool {
        let rank = match rumour.claim {
            Claim::Alive { .. } => 0,
            Claim::Suspect { .. } => 1,
            Claim::Down => 2,
            Claim::Left => 3,
        };
        (rumour.incarnation, rank) > (self.incarnation, self.rank())
    }

    /// What there is to say of it.
    pub(crate) fn rumour(&self) -> Rumour {
        let claim = match &self.state {
            State::Alive => return self.alive_rumour(),
            State::Suspect(suspicion) => Claim::Suspect { accusers: suspicion.accusers.clone() },
            State::Down => Claim::Down,
            State::Left => Claim::Left,
        };
        Rumour { identity: self.identity, incarnation: self.incarnation, claim }
    }

    /// What it last said of itself.
    pub(crate) fn alive_rumour(&self) -> Rumour {
        let (address, metadata) = (self.address.clone(), self.metadata.clone());
        let claim = Claim::Alive { address, metadata };
        Rumour { identity: self.identity, incarnation: self.metadata_at, claim }
    }

    /// Takes a measured round trip into the smoothed one (by an eighth, as TCP does: RFC 6298).
    pub(crate) fn measure(&mut self, rtt: Duration) {
        self.rtt = Some(self.rtt.map_or(rtt, |smooth| (smooth * 7 + rtt) / 8));
    }

    pub(crate) fn check(&self) {
        debug_assert!(self.metadata_at <= self.incarnation);
        debug_assert!(self.state != State::Alive || self.metadata_at == self.incarnation);
        if let State::Suspect(suspicion) = &self.state {
            debug_assert!((1..=ACCUSERS_MAX).contains(&suspicion.accusers.len()));
            debug_assert!(suspicion.began <= suspicion.deadline);
        }
    }

    pub(crate) fn status(&self) -> MemberStatus {
        let suspicion = self.suspicion();
        MemberStatus {
            identity: self.identity,
            address: self.address.clone(),
            metadata: self.metadata.clone(),
            state: match self.state {
                State::Alive => MemberState::Alive,
                State::Suspect(_) => MemberState::Suspect,
                State::Down => MemberState::Down,
                State::Left => MemberState::Left,
            },
            incarnation: self.incarnation,
            since: self.since,
            suspicion_deadline: suspicion.map(|of| of.deadline),
            accusers: suspicion.map_or_else(Vec::new, |of| of.accusers.clone()),
            rtt: self.rtt,
        }
    }
}
