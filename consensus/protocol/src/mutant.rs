//! Bugs that are planted on purpose: how the simulator proves that it would find them.
//!
//! Those of ring 1 are in the protocol, and groups of one protocol show them; those of ring 2 are in replicas and nodes, and whole nodes do. Each place that has one asks whether it is on. Without the cargo feature `mutants`, which nothing turns on by default, the answer
//! is a constant no, and nothing of them is in the program.

macro_rules! mutants {
    ($($ring:literal { $($(#[$doc:meta])* $mutant:ident = $name:literal,)* })*) => {
        /// A planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $($($(#[$doc])* $mutant,)*)*
        }

        impl Mutant {
            /// All, in the order in which they are hunted.
            pub const ALL: &'static [Self] = &[$($(Self::$mutant,)*)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $($(Self::$mutant => $name,)*)* }
            }

            /// The ring of the simulator that has to catch it.
            pub fn ring(self) -> u8 {
                match self { $($(Self::$mutant => $ring,)*)* }
            }
        }
    };
}

mutants! {
    1 {
        /// An entry of an earlier term commits by counting alone.
        PriorTermCommit = "prior-term-commit",
        /// A vote is told before it is safe.
        VoteBeforeSync = "vote-before-sync",
        /// Entries are acknowledged before they are safe.
        AckBeforeSync = "ack-before-sync",
        /// A leader counts its own entries before they are safe.
        OwnBeforeSync = "own-before-sync",
        /// A late append takes away what follows it, though it agrees.
        TruncateMatching = "truncate-matching",
        /// While a membership is joint the outgoing voters are not asked.
        JointNewOnly = "joint-new-only",
        /// Learners count as voters for commits.
        LearnerCounted = "learner-counted",
        /// Reads are answered before an entry of the term has committed.
        ReadBeforeNoop = "read-before-noop",
        /// A read shares a round that began before it was asked for.
        ReadRoundReused = "read-round-reused",
        /// A lease counts from when the answer came.
        LeaseFromReceipt = "lease-from-receipt",
        /// A lease goes on though a successor was told to campaign.
        LeaseAfterTransfer = "lease-after-transfer",
        /// With leases that rest on the log, who begins to lead commits at once.
        CommitNotDeferred = "commit-not-deferred",
        /// Whoever starts anew votes at once, whatever it promised to a leader.
        VoteAfterRestart = "vote-after-restart",
        /// Anybody gets the vote, however short their log.
        VoteIgnoresLog = "vote-ignores-log",
        /// The longer log wins, whatever its last term.
        IndexBeforeTerm = "index-before-term",
        /// A second candidate of the term gets the vote too.
        DoubleVote = "double-vote",
        /// An acknowledgement of an earlier term counts.
        StaleAck = "stale-ack",
        /// An installed snapshot leaves the membership as it was.
        SnapshotOldMembership = "snapshot-old-membership",
        /// Entries go though a crash may need them.
        TruncatePastDurable = "truncate-past-durable",
        /// A refused pre-vote hides that the voter's term is ahead.
        PreVoteHidesTerm = "pre-vote-hides-term",
        /// A failed write counts as a good one.
        StorageFaultIgnored = "storage-fault-ignored",
        /// Entries are applied that are not safe here.
        ApplyUnsafe = "apply-unsafe",
        /// A sign of life tells what is committed, whether the follower has it or not.
        HeartbeatCommitUnbounded = "heartbeat-commit-unbounded",
        /// A change of membership begins before the last one has committed.
        ChangeWhilePending = "change-while-pending",
        /// A vote is not written down.
        VoteNotStored = "vote-not-stored",
        /// Reads that wait are forgotten with the office.
        ReadsForgotten = "reads-forgotten",
        /// What a follower refuses is sent again unchanged.
        RefusalIgnored = "refusal-ignored",
        /// Whoever may have forgotten what it acknowledged votes at once.
        DoubtIgnored = "doubt-ignored",
        /// What an earlier life acknowledged still counts once a new one was heard.
        EarlierLifeCounted = "earlier-life-counted",
        /// What a leader knows to be committed of an earlier life counts in this one.
        EarlierLifeCommitted = "earlier-life-committed",
        /// While a membership is joint the outgoing voters are not asked who leads; they are for commits.
        JointVoteNewOnly = "joint-vote-new-only",
        /// A change of membership begins before an entry of the leader's term has committed.
        ChangeBeforeNoop = "change-before-noop",
        /// A replica campaigns when it is asked to, though its leader's lease rests on its faith.
        CampaignDisloyal = "campaign-disloyal",
        /// A proposal becomes two entries.
        ProposalTwice = "proposal-twice",
        /// A proposal is accepted with the name of the entry before its own.
        AcceptedElsewhere = "accepted-elsewhere",
        /// A proposal that is refused becomes an entry all the same.
        RefusedButAppended = "refused-but-appended",
        /// A change is taken though the membership has changed since it was thought out.
        OutdatedChangeTaken = "outdated-change-taken",
        /// A voter that is to learn from now on is let go.
        DemotedForgotten = "demoted-forgotten",
    }
    2 {
        /// An answer is not written with what it answers.
        IdentityRowUnwritten = "identity-row-unwritten",
        /// Answers that make no full row are not written where the entries of a file end.
        TailUnwritten = "tail-unwritten",
        /// An identity that is too old to be known is executed.
        OldIdentityExecuted = "old-identity-executed",
        /// Any request of a session is answered as the last one was.
        SequenceIgnored = "sequence-ignored",
        /// What an entry answers is remembered before the engine has taken it.
        ToldBeforeApplied = "told-before-applied",
        /// Identities are forgotten that the floor has not reached.
        ForgottenAboveFloor = "forgotten-above-floor",
        /// A snapshot's state begins without what was answered.
        InstallForgetsIdentities = "install-forgets-identities",
        /// Conditions are about the rows when a write is proposed.
        ConditionAtProposal = "condition-at-proposal",
        /// A row's version is the entry before the one that wrote it.
        VersionOfEarlierEntry = "version-of-earlier-entry",
        /// Rows expire by the time of day of whoever reads.
        ExpiredByWallClock = "expired-by-wall-clock",
        /// The protocol is told that what is applied is safe.
        AppliedToldAsSafe = "applied-told-as-safe",
        /// A read by a lease counts though the lease has ended.
        LeaseOutlived = "lease-outlived",
        /// The leader's word on how new a state is counts from when it came.
        AgeFromReceipt = "age-from-receipt",
        /// The leader's word counts, whichever life of the node asked for it.
        EarlierLifeHeard = "earlier-life-heard",
        /// All lives of a replica bear the same number.
        LifeNotRaised = "life-not-raised",
        /// A state is replaced without a word of it on the disk before.
        IntentUnwritten = "intent-unwritten",
        /// The log is reset before the state is replaced.
        ResetBeforeState = "reset-before-state",
        /// A snapshot goes without its membership.
        SnapshotWithoutMembership = "snapshot-without-membership",
        /// A snapshot goes with the oldest membership that is known.
        SnapshotEarlierMembership = "snapshot-earlier-membership",
        /// A piece of a snapshot is taken for the one that is missing before it.
        GapAccepted = "gap-accepted",
        /// A piece of a snapshot counts though its sync failed.
        PieceSyncIgnored = "piece-sync-ignored",
        /// Entries are released that the state would lack after a crash.
        ReleasedPastSafe = "released-past-safe",
        /// A failed sync of the log counts as a good one.
        FailedSyncLands = "failed-sync-lands",
        /// What was appended to the log counts as safe at once.
        LandedUnsafe = "landed-unsafe",
        /// Messages do not wait for the writes that they promise.
        HoldIgnored = "hold-ignored",
        /// That the machine itself was started again goes unnoticed.
        BootIgnored = "boot-ignored",
        /// Doubt ends with the next start.
        DoubtEndsAtStart = "doubt-ends-at-start",
        /// A map is obeyed that the next start does not know.
        MapUnkept = "map-unkept",
        /// A replica goes when another is to take its place, before the map says that it has.
        RemovedEarly = "removed-early",
    }
}

#[cfg(feature = "mutants")]
static ON: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(usize::MAX);

/// Turns one on in this process, and every other off.
#[cfg(feature = "mutants")]
pub fn turn_on(mutant: Option<Mutant>) {
    let number = mutant.map_or(usize::MAX, |mutant| mutant as usize);
    ON.store(number, std::sync::atomic::Ordering::SeqCst);
}

/// Whether `mutant` is on.
#[cfg(feature = "mutants")]
pub fn is(mutant: Mutant) -> bool {
    ON.load(std::sync::atomic::Ordering::Relaxed) == mutant as usize
}

/// Whether `mutant` is on: never.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn is(_: Mutant) -> bool {
    false
}
