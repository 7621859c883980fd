//! Which existing key an operation names.
//!
//! Every distribution draws a key number and draws again while that number's insert is not
//! acknowledged, so no reader meets a key that is not there. Once keys were deleted:
//!
//! 1. Where the phase deletes, a drawn number stands for the client's own among its neighbours ([`Reach`]).
//! 2. While the key does not exist, another is drawn, up to 64 times: what is left keeps its odds.
//! 3. Then the next key above that exists is taken. So a pick ends, however few are left.
//!
//! The distributions:
//!
//! * `uniform`: every key below the newest gap equally often.
//! * `zipfian`: the true one. Key number `i` is drawn with weight `(i + 1)^-theta`, any theta.
//! * `ycsb_zipfian`: what YCSB calls zipfian. A rank among 10^10 + 1 items is hashed and folded into
//!   the key space, whose size is records + reserved inserts + 1; with few records it is much
//!   flatter than the true one (1,000 records: the hottest key gets 3.9 % of draws, not 12.9 %).
//! * `latest`: a zipfian distance back from the newest acknowledged insert.
//! * `hotspot`: a share of operations goes to the lowest of the loaded numbers, the rest to the other loaded ones.
//! * `exponential`: an exponential distance back from the newest acknowledged insert.
//! * `sequential`: the loaded numbers in turn, dealt out to the clients; after the last comes the first.
//! * `oldest`: the lowest number that exists; what a queue takes next.

mod exact;
mod gray;
mod modulus;

pub(crate) use gray::YCSB_THETA;

pub use exact::ExactZipf;
pub use gray::{GrayZipf, YCSB_ITEMS, YCSB_ZETA};

use modulus::Modulus;

use crate::ledger::Reach;
use crate::spec::{Distribution, KeyHash, Keys, Pick};
use crate::{KeyNumber, Ledger, Rng};

/// YCSB's `hotspotdatafraction` and `hotspotopnfraction`.
pub(crate) const HOT_KEYS: f64 = 0.2;
pub(crate) const HOT_OPS: f64 = 0.8;
/// YCSB's `exponential.percentile` and `exponential.frac`. Its comment says that the latter is a seventh; what is in
/// force is the number, six sevenths.
pub(crate) const EXPONENTIAL_PERCENTILE: f64 = 95.0;
pub(crate) const EXPONENTIAL_FRAC: f64 = 0.857_142_857_1;
/// So many draws of keys that do not exist are tried before the next one that does is taken.
const DRAWS_MAX: u32 = 64;

/// Draws the keys of one stream.
#[derive(Clone, Debug)]
pub(crate) enum Picker {
    Uniform,
    Zipfian(ExactZipf),
    /// The ranks, and the number of keys into which they are folded by the hash.
    YcsbZipfian(GrayZipf, Modulus, KeyHash),
    Latest(GrayZipf),
    Hotspot {
        /// `<= records`, and all or none of them only if all operations go there.
        hot: u64,
        records: u64,
        hot_ops: f64,
    },
    /// The mean distance.
    Exponential(f64),
    Sequential {
        /// `< records`
        next: KeyNumber,
        /// `< records`: how many numbers the other clients take in between.
        step: u64,
        records: u64,
    },
    Oldest {
        /// The place within reach below which nothing exists.
        from: u64,
    },
}

impl Picker {
    /// A picker for `keys`, of client `client` of `clients`. `pick` has been validated.
    pub(crate) fn new(pick: Pick, keys: &Keys, ledger: &Ledger, client: u32, clients: u32) -> Self {
        let (records, reserved) = (keys.records, keys.records + keys.max_new);
        match pick.dist {
            Distribution::Uniform => Self::Uniform,
            Distribution::Zipfian => Self::Zipfian(ExactZipf::new(reserved, pick.theta())),
            Distribution::YcsbZipfian => {
                // The upper end is inclusive in YCSB, hence one key more than can ever exist.
                let one_more = u64::from(keys.hash != KeyHash::YcsbCpp);
                Self::YcsbZipfian(GrayZipf::ycsb(), Modulus::new(reserved + one_more), keys.hash)
            }
            Distribution::Latest => {
                Self::Latest(GrayZipf::new(ledger.settled().max(2), pick.theta()))
            }
            Distribution::Hotspot => Self::Hotspot {
                hot: hot_keys(records, pick.hot_keys()),
                records,
                hot_ops: pick.hot_ops(),
            },
            Distribution::Exponential => {
                let range = records as f64 * pick.frac();
                Self::Exponential(range / -(1.0 - pick.percentile() / 100.0).ln())
            }
            Distribution::Sequential => Self::Sequential {
                next: u64::from(client) % records,
                step: u64::from(clients) % records,
                records,
            },
            Distribution::Oldest => Self::Oldest { from: 0 },
        }
    }

    /// A key that exists, within `reach`; `None` if there is none.
    #[inline]
    pub(crate) fn pick(
        &mut self,
        rng: &mut Rng,
        ledger: &Ledger,
        reach: Reach,
    ) -> Option<KeyNumber> {
        if reach != Reach::All || !ledger.is_whole() || matches!(self, Self::Oldest { .. }) {
            return self.pick_among_gaps(rng, ledger, reach);
        }
        loop {
            let number = self.draw(rng, ledger, reach);
            if ledger.is_acknowledged(number) {
                return Some(number);
            }
        }
    }

    /// The same where keys may be gone, or are others'.
    fn pick_among_gaps(
        &mut self,
        rng: &mut Rng,
        ledger: &Ledger,
        reach: Reach,
    ) -> Option<KeyNumber> {
        let count = ledger.reached(reach);
        if let Self::Oldest { from } = self {
            *from = (*from..count).find(|index| ledger.exists(ledger.at(reach, *index)))?;
            return Some(ledger.at(reach, *from));
        }
        let mut index = 0;
        for _ in 0..DRAWS_MAX {
            index = ledger.index(reach, self.draw(rng, ledger, reach));
            if index < count && ledger.exists(ledger.at(reach, index)) {
                return Some(ledger.at(reach, index));
            }
        }
        let first = if index < count { index } else { 0 };
        let mut next = (first..count).chain(0..first).map(|index| ledger.at(reach, index));
        next.find(|number| ledger.exists(*number))
    }

    /// A key within `reach` that exists or did, by the distribution alone.
    pub(crate) fn pick_blindly(
        &mut self,
        rng: &mut Rng,
        ledger: &Ledger,
        reach: Reach,
    ) -> KeyNumber {
        let count = ledger.reached(reach);
        let mut draws = (0..DRAWS_MAX).map(|_| ledger.index(reach, self.draw(rng, ledger, reach)));
        ledger.at(reach, draws.find(|index| *index < count).unwrap_or(0))
    }

    fn draw(&mut self, rng: &mut Rng, ledger: &Ledger, reach: Reach) -> KeyNumber {
        match self {
            Self::Uniform => rng.below(ledger.newest_end(reach)),
            Self::Zipfian(ranks) => ranks.sample(rng) - 1,
            Self::YcsbZipfian(ranks, modulus, hash) => modulus.of(hash.of(ranks.sample(rng))),
            Self::Latest(ranks) => {
                let count = ledger.newest_end(reach);
                ranks.grow(count);
                // Two items are the fewest a `GrayZipf` has; with one key, rank 1 is drawn again.
                count.wrapping_sub(1).wrapping_sub(ranks.sample(rng))
            }
            Self::Hotspot { hot, records, hot_ops } => {
                if rng.unit() < *hot_ops {
                    rng.below(*hot)
                } else {
                    *hot + rng.below(*records - *hot)
                }
            }
            Self::Exponential(mean) => {
                // A distance beyond the oldest key wraps round to a number that does not exist.
                let distance = -rng.unit().ln() * *mean;
                (ledger.newest_end(reach) - 1).wrapping_sub(distance as u64)
            }
            Self::Sequential { next, step, records } => {
                let number = *next;
                *next = (*next + *step) % *records;
                number
            }
            Self::Oldest { from } => *from,
        }
    }
}

/// How many of `records` are hot.
pub(crate) fn hot_keys(records: u64, share: f64) -> u64 {
    ((records as f64 * share) as u64).min(records)
}

#[cfg(test)]
mod tests;
