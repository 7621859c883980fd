//! What a seed makes of the settings, and of the world.

use nori_consensus::chance::Chance;
use nori_consensus::{LeaseKind, Settings};
use std::time::Duration;

/// What a seed begins with.
#[derive(Clone, Debug)]
pub(crate) struct Climate {
    /// Who found the group.
    pub(crate) nodes: u64,
    pub(crate) settings: Settings,
    /// Leaders are hunted all the time.
    pub(super) is_season: bool,
    /// Clocks drift, jump and stand still beyond every bound; nobody asks for reads by lease.
    pub(super) has_wild_clocks: bool,
    pub(super) chance: Chance,
}

impl Climate {
    /// The climate of `seed`.
    pub(crate) fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x5EED_0F57_0A4D_0000);
        let mut nodes = *chance.pick(&[1, 2, 3, 3, 3, 3, 4, 5, 5]).unwrap_or(&3);
        let mut settings =
            Settings { trailing_entries: chance.between(0, 400), ..Settings::default() };
        // To be unlucky on purpose: windows and messages of one entry.
        if chance.hits(250_000) {
            settings.inflight_messages_max = chance.between(1, 3) as usize;
        }
        if chance.hits(250_000) {
            settings.append_bytes_max = chance.between(1, 200) as usize;
        }
        if chance.hits(250_000) {
            settings.inflight_bytes_max = chance.between(1, 2_000) as usize;
        }
        if chance.hits(100_000) {
            settings.uncommitted_bytes_max = chance.between(1, 1_000);
        }
        if chance.hits(300_000) {
            settings.quiesce_after = Some(Duration::from_millis(chance.between(200, 2_000)));
        }
        let is_season = chance.hits(350_000);
        if is_season {
            // Entries travel alone, and a leader does not take long to find.
            nodes = *chance.pick(&[3, 5, 5]).unwrap_or(&5);
            settings.append_bytes_max = 1;
            settings.election_min = Duration::from_millis(chance.between(300, 500));
        }
        let has_wild_clocks = chance.hits(200_000);
        if chance.hits(400_000) {
            settings.lease =
                *chance.pick(&[LeaseKind::Off, LeaseKind::Log]).unwrap_or(&LeaseKind::Off);
        }
        Self { nodes, settings, is_season, has_wild_clocks, chance }
    }
}
