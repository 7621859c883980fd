//! Which existing key an operation names.
//!
//! Every distribution draws a key number and draws again while that number's insert is not
//! acknowledged, so no reader meets a key that is not there. The distributions:
//!
//! * `uniform`: every key below the newest gap equally often.
//! * `zipfian`: the true one. Key number `i` is drawn with weight `(i + 1)^-theta`, any theta.
//! * `ycsb_zipfian`: what YCSB calls zipfian. A rank among 10^10 + 1 items is hashed and folded into
//!   the key space, whose size is records + reserved inserts + 1; with few records it is much
//!   flatter than the true one (1,000 records: the hottest key gets 3.9 % of draws, not 12.9 %).
//! * `latest`: a zipfian distance back from the newest acknowledged insert.

mod exact;
mod gray;
mod modulus;

pub(crate) use gray::YCSB_THETA;

pub use exact::ExactZipf;
pub use gray::{GrayZipf, YCSB_ITEMS, YCSB_ZETA};

use modulus::Modulus;

use crate::spec::{Distribution, Keys, Pick};
use crate::{KeyNumber, Ledger, Rng, fnv64};

/// Draws the keys of one stream.
#[derive(Clone, Debug)]
pub(crate) enum Picker {
    Uniform,
    Zipfian(ExactZipf),
    /// The ranks, and the number of keys they are folded into.
    YcsbZipfian(GrayZipf, Modulus),
    Latest(GrayZipf),
}

impl Picker {
    /// A picker for `keys`. `pick` has been validated.
    pub(crate) fn new(pick: Pick, keys: &Keys, ledger: &Ledger) -> Self {
        let reserved = keys.records + keys.max_new;
        match pick.dist {
            Distribution::Uniform => Self::Uniform,
            Distribution::Zipfian => Self::Zipfian(ExactZipf::new(reserved, pick.theta())),
            // The upper end is inclusive in YCSB, hence one key more than can ever exist.
            Distribution::YcsbZipfian => {
                Self::YcsbZipfian(GrayZipf::ycsb(), Modulus::new(reserved + 1))
            }
            Distribution::Latest => {
                Self::Latest(GrayZipf::new(ledger.settled().max(2), pick.theta()))
            }
        }
    }

    /// An existing key. At least one key must exist.
    pub(crate) fn pick(&mut self, rng: &mut Rng, ledger: &Ledger) -> KeyNumber {
        loop {
            let number = self.draw(rng, ledger);
            if ledger.is_acknowledged(number) {
                return number;
            }
        }
    }

    fn draw(&mut self, rng: &mut Rng, ledger: &Ledger) -> KeyNumber {
        match self {
            Self::Uniform => rng.below(ledger.settled()),
            Self::Zipfian(ranks) => ranks.sample(rng) - 1,
            Self::YcsbZipfian(ranks, modulus) => modulus.of(fnv64(ranks.sample(rng))),
            Self::Latest(ranks) => {
                let count = ledger.settled();
                ranks.grow(count);
                // Two items are the fewest a `GrayZipf` has; with one key, rank 1 is drawn again.
                count.wrapping_sub(1).wrapping_sub(ranks.sample(rng))
            }
        }
    }
}

#[cfg(test)]
mod tests;
