//! The numbers of the protocol, and where their defaults come from.

use crate::SwimError;
use crate::message::{MESSAGE_BYTES_MAX, RUMOUR_BYTES_MAX};
use std::time::Duration;

/// A probe in each (memberlist's LAN `ProbeInterval`; the SWIM paper's experiments used 2 s).
const PERIOD: Duration = Duration::from_secs(1);
/// More than a round trip in a data centre by far (memberlist's LAN `ProbeTimeout`).
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// Others that are asked to ask (memberlist's `IndirectChecks`, Lifeguard's experiments).
const INDIRECT_PROBES: u32 = 3;
/// Periods a suspicion lasts at least, per power of ten of members (memberlist's LAN `SuspicionMult`).
const SUSPICION_MULTIPLIER: u32 = 4;
/// How much longer an unconfirmed suspicion lasts (memberlist's `SuspicionMaxTimeoutMult`; Lifeguard's beta).
const SUSPICION_STRETCH: u32 = 6;
/// Confirmations that shorten it all the way (Lifeguard's K).
const CONFIRMATIONS: u32 = 3;
/// Lifeguard's S.
const LOCAL_HEALTH_MAX: u32 = 8;
/// Half a probe's timeout: a timer that late says that this process stood still.
const LATENESS_MAX: Duration = Duration::from_millis(250);
/// The SWIM paper's lambda: of n members a rumour misses one about every n^3rd time (in memberlist the logarithm is decimal).
const RETRANSMIT_MULTIPLIER: u32 = 4;
/// memberlist's LAN `GossipInterval`.
const GOSSIP_INTERVAL: Duration = Duration::from_millis(200);
/// memberlist's LAN `GossipNodes`.
const GOSSIP_FANOUT: u32 = 3;
/// memberlist's LAN `PushPullInterval`.
const SYNC_INTERVAL: Duration = Duration::from_secs(30);
/// An Ethernet frame less its headers (memberlist's `UDPBufferSize`).
const PACKET_BYTES_MAX: usize = 1_400;
/// Room for some 6,000 members with full metadata; a bound on what a stream may make a driver hold.
const STREAM_BYTES_MAX: usize = 4 << 20;
/// memberlist's `MetaMaxSize`.
const METADATA_BYTES_MAX: usize = 512;
/// A day: a node that was off for a night is still known by the others (chitchat's grace for dead nodes).
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// Longer than a rumour takes in a cluster of a thousand (some ten rounds of gossip), and short for who waits.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The numbers of the protocol. All members of a cluster ought to have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often a member probes another.
    pub period: Duration,
    /// How long a direct answer may take. `probe_timeout < period`
    pub probe_timeout: Duration,
    /// How many others are asked for an indirect probe.
    pub indirect_probes: u32,
    /// How many periods a suspicion lasts at least, per power of ten of members.
    pub suspicion_multiplier: u32,
    /// How many times longer a suspicion lasts that nobody confirms; 1 is plain SWIM.
    pub suspicion_stretch: u32,
    /// How many confirmations shorten a suspicion all the way. `confirmations < ACCUSERS_MAX`
    pub confirmations: u32,
    /// The worst local health; 0 is plain SWIM.
    pub local_health_max: u32,
    /// Whether those asked for an indirect probe say so when it has no answer.
    pub nacks: bool,
    /// Whether a suspect hears of its suspicion first, in whatever is sent to it.
    pub buddy: bool,
    /// A timer that is later than this shows that this member stood still: it gives packets that wait one more probe timeout before it
    /// judges. Zero judges at once.
    pub lateness_max: Duration,
    /// How often a member passes a rumour on, as a multiple of the natural logarithm of their number.
    pub retransmit_multiplier: u32,
    /// How often rumours are sent by themselves while there are any; zero leaves them to probes and answers.
    pub gossip_interval: Duration,
    /// To how many members.
    pub gossip_fanout: u32,
    /// How often all is exchanged with another, up to 32 members.
    pub sync_interval: Duration,
    /// The longest packet but for an exchange.
    pub packet_bytes_max: usize,
    /// The longest exchange.
    pub stream_bytes_max: usize,
    /// The most a member says of itself.
    pub metadata_bytes_max: usize,
    /// Whether a probe without an answer is tried over a stream too, beside the indirect ones.
    pub stream_probes: bool,
    /// How long a member that is down is remembered.
    pub forget_after: Duration,
    /// How long a leaving takes at most.
    pub leave_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            period: PERIOD,
            probe_timeout: PROBE_TIMEOUT,
            indirect_probes: INDIRECT_PROBES,
            suspicion_multiplier: SUSPICION_MULTIPLIER,
            suspicion_stretch: SUSPICION_STRETCH,
            confirmations: CONFIRMATIONS,
            local_health_max: LOCAL_HEALTH_MAX,
            nacks: true,
            buddy: true,
            lateness_max: LATENESS_MAX,
            retransmit_multiplier: RETRANSMIT_MULTIPLIER,
            gossip_interval: GOSSIP_INTERVAL,
            gossip_fanout: GOSSIP_FANOUT,
            sync_interval: SYNC_INTERVAL,
            packet_bytes_max: PACKET_BYTES_MAX,
            stream_bytes_max: STREAM_BYTES_MAX,
            metadata_bytes_max: METADATA_BYTES_MAX,
            stream_probes: true,
            forget_after: FORGET_AFTER,
            leave_timeout: LEAVE_TIMEOUT,
        }
    }
}

impl Settings {
    /// The same without what Lifeguard adds, and without the patience after a standstill.
    #[must_use]
    pub fn without_lifeguard(self) -> Self {
        Self {
            suspicion_stretch: 1,
            local_health_max: 0,
            nacks: false,
            buddy: false,
            lateness_max: Duration::ZERO,
            ..self
        }
    }

    /// Whether a member can go by these numbers.
    ///
    /// # Errors
    ///
    /// [`SwimError::OutOfBounds`] for the first that cannot be.
    pub fn check(&self) -> Result<(), SwimError> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let packet_min = MESSAGE_BYTES_MAX + RUMOUR_BYTES_MAX + self.metadata_bytes_max;
        let bounds = [
            ("milliseconds of a period", millis(self.period), 2, 3_600_000),
            ("milliseconds of a probe timeout", millis(self.probe_timeout), 1, {
                millis(self.period).saturating_sub(1)
            }),
            ("indirect probes", self.indirect_probes.into(), 0, 64),
            ("the suspicion multiplier", self.suspicion_multiplier.into(), 1, 1_000),
            ("the suspicion stretch", self.suspicion_stretch.into(), 1, 1_000),
            ("confirmations", self.confirmations.into(), 0, ACCUSERS_MAX as u64 - 1),
            ("the worst local health", self.local_health_max.into(), 0, 64),
            ("the retransmit multiplier", self.retransmit_multiplier.into(), 1, 1_000),
            ("the gossip fanout", self.gossip_fanout.into(), 1, 64),
            ("milliseconds of a sync interval", millis(self.sync_interval), 1, 86_400_000),
            ("bytes of metadata", self.metadata_bytes_max as u64, 0, 16_384),
            ("bytes of a packet", self.packet_bytes_max as u64, packet_min as u64, 65_507),
            ("bytes of a stream", self.stream_bytes_max as u64, packet_min as u64, 1 << 30),
            ("milliseconds of a leaving", millis(self.leave_timeout), 1, 3_600_000),
        ];
        for (what, given, min, max) in bounds {
            if !(min..=max).contains(&given) {
                return Err(SwimError::OutOfBounds { what, min, max, given });
            }
        }
        Ok(())
    }
}

/// The most accusers a suspicion names.
pub(crate) const ACCUSERS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_bounds() {
        assert_eq!(Settings::default().check(), Ok(()));
        assert_eq!(Settings::default().without_lifeguard().check(), Ok(()));
    }

    #[test]
    fn a_packet_must_hold_a_message_and_a_rumour() {
        let settings = Settings { packet_bytes_max: 512, ..Settings::default() };
        assert!(matches!(
            settings.check(),
            Err(SwimError::OutOfBounds { what: "bytes of a packet", .. })
        ));
    }

    #[test]
    fn a_probe_times_out_within_its_period() {
        let settings = Settings { probe_timeout: PERIOD, ..Settings::default() };
        assert!(settings.check().is_err());
    }
}
