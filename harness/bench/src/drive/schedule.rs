//! When the operations of an open loop are to be sent: one client's share of a rate, drawn from the run's seed.
//!
//! * `fixed`: the operations of all clients together are evenly spaced. Client `i` of `n` sends the `i`-th, the
//!   `i + n`-th, ... of them; each time is computed from its number, so that no rounding adds up.
//! * `poisson`: the distances of each client are exponential with `n` times the mean distance. The union of
//!   independent Poisson processes is one whose rate is the sum, so together they make the rate.
//!
//! The same seed, phase and client give the same times, whatever the engine does.

use nori_workloads::{Arrival, Rng, StreamId};

/// Keeps times apart from what the streams of operations draw under the same seed.
const SEED_SALT: u64 = 0x05EE_D0F7_1AE5;
const NANOS_PER_SECOND: f64 = 1e9;

/// The times of one client, in nanoseconds since the phase began, rising.
pub(super) struct Schedule {
    /// Mean distance of this client's operations, in nanoseconds. `> 0`
    gap: f64,
    arrival: Arrival,
    rng: Rng,
    /// Operations handed out.
    count: u64,
    /// Fixed: the first time. Poisson: the time of the last operation.
    at: f64,
}

impl Schedule {
    /// The times of client `id.client` of `clients`, which together send `rate` operations a second.
    pub(super) fn new(rate: f64, arrival: Arrival, clients: u32, id: StreamId) -> Self {
        assert!(rate > 0.0 && id.client < clients, "client {} of {clients} at {rate}", id.client);
        let stream = (u64::from(id.phase) << 32) | u64::from(id.client);
        Self {
            gap: NANOS_PER_SECOND * f64::from(clients) / rate,
            arrival,
            rng: Rng::new(id.seed ^ SEED_SALT, stream),
            count: 0,
            at: match arrival {
                Arrival::Fixed => NANOS_PER_SECOND * f64::from(id.client) / rate,
                Arrival::Poisson => 0.0,
            },
        }
    }

    /// The time of the next operation.
    pub(super) fn next(&mut self) -> u64 {
        let at = match self.arrival {
            Arrival::Fixed => self.gap.mul_add(self.count as f64, self.at),
            Arrival::Poisson => {
                // `unit` may be 0 but never 1, so the logarithm is finite.
                self.at -= self.gap * (1.0 - self.rng.unit()).ln();
                self.at
            }
        };
        self.count += 1;
        at as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(arrival: Arrival, rate: f64, clients: u32, client: u32, count: usize) -> Vec<u64> {
        let id = StreamId { seed: 11, phase: 3, client };
        let mut schedule = Schedule::new(rate, arrival, clients, id);
        (0..count).map(|_| schedule.next()).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_times_and_each_client_its_own() {
        for arrival in Arrival::ALL {
            let of = |client| times(arrival, 1e5, 3, client, 1_000);
            assert_eq!(of(1), of(1));
            assert_ne!(of(1), of(2));
            assert!(of(0).is_sorted());
        }
        let other = StreamId { seed: 12, phase: 3, client: 1 };
        let mut other = Schedule::new(1e5, Arrival::Poisson, 3, other);
        assert_ne!(other.next(), times(Arrival::Poisson, 1e5, 3, 1, 1)[0]);
    }

    #[test]
    fn fixed_times_of_all_clients_interleave_evenly_and_do_not_drift() {
        let mut all: Vec<u64> =
            (0..3).flat_map(|client| times(Arrival::Fixed, 1e6, 3, client, 1_000)).collect();
        all.sort_unstable();
        assert!(all.windows(2).all(|two| two[1] - two[0] == 1_000), "{:?}", &all[..9]);
        // A rate whose distance is no whole number of nanoseconds: after 3 million operations still exact.
        let last = *times(Arrival::Fixed, 3e6, 1, 0, 3_000_001).last().unwrap();
        assert_eq!(last, 1_000_000_000);
    }

    #[test]
    fn poisson_distances_have_the_mean_and_the_variance_of_an_exponential() {
        const COUNT: usize = 200_000;
        let times = times(Arrival::Poisson, 4e4, 4, 2, COUNT);
        let gaps: Vec<f64> = times.windows(2).map(|two| (two[1] - two[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // 10,000 a second each. Standard errors: mean / sqrt(n) = 0.22 %, variance sqrt(8 / n) = 0.63 %; four of each.
        assert!((mean / 1e5 - 1.0).abs() < 0.009, "mean {mean}");
        assert!((variance / 1e10 - 1.0).abs() < 0.026, "variance {variance}");
    }

    #[test]
    fn clients_together_make_the_rate_in_every_second() {
        let clients = 5;
        let all: Vec<u64> = (0..clients)
            .flat_map(|client| times(Arrival::Poisson, 2e4, clients, client, 60_000))
            .collect();
        for second in 0..10_u64 {
            let span = second * 1_000_000_000..(second + 1) * 1_000_000_000;
            let count = all.iter().filter(|at| span.contains(at)).count();
            // Five standard deviations of a Poisson number.
            assert!(count.abs_diff(20_000) < 708, "second {second}: {count}");
        }
    }
}
