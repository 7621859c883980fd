//! The kinds of things that happen in a world, and how often each did.

/// A kind of thing that happens in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each has a name in words, which says the same")]
pub enum Occurrence {
    AppendMessage,
    Asleep,
    Candidate,
    Clock,
    Crash,
    Cut,
    DeathAtWrite,
    DiskFailed,
    EarlyTimer,
    EntriesForgotten,
    Follower,
    Halted,
    Heartbeat,
    Hold,
    Lag,
    Leader,
    Learner,
    LogCold,
    LogReleased,
    MessageDamaged,
    MessageLost,
    MessageOvertook,
    MessageReleased,
    MessageRepeated,
    OtherMessage,
    Pause,
    PeerDown,
    PeerUp,
    PreCandidate,
    Ration,
    SnapshotBuilt,
    SnapshotInstalled,
    SnapshotMessage,
    SnapshotShipped,
    TornInstall,
    VoteMessage,
}

impl Occurrence {
    /// All of them, in the order of their names; `ALL[n] as usize == n`.
    pub const ALL: [Self; 36] = [
        Self::AppendMessage,
        Self::Asleep,
        Self::Candidate,
        Self::Clock,
        Self::Crash,
        Self::Cut,
        Self::DeathAtWrite,
        Self::DiskFailed,
        Self::EarlyTimer,
        Self::EntriesForgotten,
        Self::Follower,
        Self::Halted,
        Self::Heartbeat,
        Self::Hold,
        Self::Lag,
        Self::Leader,
        Self::Learner,
        Self::LogCold,
        Self::LogReleased,
        Self::MessageDamaged,
        Self::MessageLost,
        Self::MessageOvertook,
        Self::MessageReleased,
        Self::MessageRepeated,
        Self::OtherMessage,
        Self::Pause,
        Self::PeerDown,
        Self::PeerUp,
        Self::PreCandidate,
        Self::Ration,
        Self::SnapshotBuilt,
        Self::SnapshotInstalled,
        Self::SnapshotMessage,
        Self::SnapshotShipped,
        Self::TornInstall,
        Self::VoteMessage,
    ];

    /// Its name in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::AppendMessage => "append message",
            Self::Asleep => "asleep",
            Self::Candidate => "candidate",
            Self::Clock => "clock",
            Self::Crash => "crash",
            Self::Cut => "cut",
            Self::DeathAtWrite => "death at a write",
            Self::DiskFailed => "disk failed",
            Self::EarlyTimer => "early timer",
            Self::EntriesForgotten => "entries forgotten",
            Self::Follower => "follower",
            Self::Halted => "halted",
            Self::Heartbeat => "heartbeat",
            Self::Hold => "hold",
            Self::Lag => "lag",
            Self::Leader => "leader",
            Self::Learner => "learner",
            Self::LogCold => "log cold",
            Self::LogReleased => "log released",
            Self::MessageDamaged => "message damaged",
            Self::MessageLost => "message lost",
            Self::MessageOvertook => "message overtook",
            Self::MessageReleased => "message released",
            Self::MessageRepeated => "message repeated",
            Self::OtherMessage => "other message",
            Self::Pause => "pause",
            Self::PeerDown => "peer down",
            Self::PeerUp => "peer up",
            Self::PreCandidate => "pre-candidate",
            Self::Ration => "ration",
            Self::SnapshotBuilt => "snapshot built",
            Self::SnapshotInstalled => "snapshot installed",
            Self::SnapshotMessage => "snapshot message",
            Self::SnapshotShipped => "snapshot shipped",
            Self::TornInstall => "torn install",
            Self::VoteMessage => "vote message",
        }
    }
}

/// How often each kind of thing happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts([u64; Occurrence::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; Occurrence::ALL.len()])
    }
}

impl Counts {
    /// How often `what` did.
    pub fn of(&self, what: Occurrence) -> u64 {
        self.0[what as usize]
    }

    pub(super) fn add(&mut self, what: Occurrence) {
        self.0[what as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_place_and_a_name_of_its_own() {
        for (place, what) in Occurrence::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, place);
        }
        assert!(Occurrence::ALL.map(Occurrence::name).is_sorted_by(|a, b| a < b));
    }
}
