//! The cache of data blocks: a policy over slots.
//!
//! 1. Each table's index has one **slot** per data block. A slot holds the block's **frame** while it is cached;
//!    a hit is one look at the slot, without a lock.
//! 2. A frame that was read is offered to the [`CachePolicy`], which says whether it stays and which frames go.
//! 3. The slots of those that go are emptied. Readers that hold a frame keep it until they let go.
//! 4. A hit tells the policy at most once per **epoch** and frame; an epoch is the time in which a sixteenth of
//!    the capacity is admitted. So a hot frame costs the policy's lock now and then, not at each hit.
//!
//! Left to others: filters and indexes, which stay in memory while their table is open and are charged to the
//! budget by whoever owns it.

mod clock;
mod lru;
mod queue;
mod quick;

use crate::block::Block;
use crate::slot::{Departures, Slot, Slotted};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// The number of a cached frame; numbers of frames that went are used again.
pub type FrameId = u32;

/// What a frame holds: the same number each time the same block is read, and of no other block of the cache.
pub type BlockId = u64;

/// Decides which blocks stay in memory.
///
/// # Contract
///
/// * The bytes of the frames that are admitted and neither victims nor forgotten never exceed the capacity.
/// * A victim is named once; an id that is not admitted is never named, nor is the one being admitted.
/// * `touch` and `forget` of an id that is not admitted do nothing.
/// * Calls may come from several threads.
pub trait CachePolicy: Send + Sync {
    /// The name in experiment files and configurations.
    fn name(&self) -> &'static str;
    /// Whether frame `id`, which holds `block` and takes `bytes`, stays; those that go for it are appended to `victims`.
    fn admit(&self, id: FrameId, block: BlockId, bytes: usize, victims: &mut Vec<FrameId>) -> bool;
    /// Frame `id` was read.
    fn touch(&self, id: FrameId);
    /// Frame `id` is gone for another reason.
    fn forget(&self, id: FrameId);
    /// Changes the capacity; those that go for it are appended to `victims`.
    fn resize(&self, capacity_bytes: usize, victims: &mut Vec<FrameId>);
    /// The bytes of the frames that stay.
    fn bytes(&self) -> usize;
}

/// A policy and its line in a list.
pub struct CacheEntry {
    /// The name.
    pub name: &'static str,
    /// One line for people who choose.
    pub about: &'static str,
    /// Makes one of a capacity in bytes.
    pub build: fn(usize) -> Box<dyn CachePolicy>,
}

/// Every policy.
pub fn cache_policies() -> &'static [CacheEntry] {
    &[
        CacheEntry {
            name: "none",
            about: "keeps nothing: every block is read from its file",
            build: |_| Box::new(NoCache),
        },
        CacheEntry {
            name: "clock",
            about: "second chance: keeps the blocks that were read since the hand came by",
            build: |capacity_bytes| Box::new(clock::Clock::new(capacity_bytes)),
        },
        CacheEntry {
            name: "quick",
            about: "cold, hot and ghosts: keeps blocks that are read more than once, whatever is scanned",
            build: |capacity_bytes| Box::new(quick::Quick::new(capacity_bytes)),
        },
        CacheEntry {
            name: "lru",
            about: "keeps the blocks that were read last",
            build: |capacity_bytes| Box::new(lru::Lru::new(capacity_bytes)),
        },
    ]
}

/// The policy called `name`, of that capacity.
pub fn cache_policy(name: &str, capacity_bytes: usize) -> Option<Box<dyn CachePolicy>> {
    let entry = cache_policies().iter().find(|entry| entry.name == name)?;
    Some((entry.build)(capacity_bytes))
}

struct NoCache;

impl CachePolicy for NoCache {
    fn name(&self) -> &'static str {
        "none"
    }

    fn admit(&self, _: FrameId, _: BlockId, _: usize, _: &mut Vec<FrameId>) -> bool {
        false
    }

    fn touch(&self, _: FrameId) {}

    fn forget(&self, _: FrameId) {}

    fn resize(&self, _: usize, _: &mut Vec<FrameId>) {}

    fn bytes(&self) -> usize {
        0
    }
}

/// A block in memory.
pub(crate) struct Frame {
    pub(crate) block: Block,
    id: AtomicU32,
    /// The epoch in which the policy last heard of a hit.
    touched: AtomicU32,
    departures: Departures,
}

impl Slotted for Frame {
    fn departures(&self) -> &Departures {
        &self.departures
    }
}

/// The id of a frame that is not cached.
const UNCACHED: FrameId = FrameId::MAX;

impl Frame {
    pub(crate) fn new(block: Block) -> Arc<Self> {
        let (id, touched) = (AtomicU32::new(UNCACHED), AtomicU32::new(0));
        Arc::new(Self { block, id, touched, departures: Departures::none() })
    }
}

/// The cache of one or several stores.
pub struct Cache {
    policy: Box<dyn CachePolicy>,
    /// `homes[id]`: the slot of frame `id`.
    homes: Mutex<Homes>,
    epoch: AtomicU32,
    /// Bytes admitted in this epoch.
    admitted: AtomicUsize,
    epoch_bytes: AtomicUsize,
    /// Blocks of all slots so far: where the numbers of the next table's blocks begin.
    blocks: AtomicU64,
}

#[derive(Default)]
struct Homes {
    of: Vec<Option<(Weak<Slots>, u32)>>,
    free: Vec<FrameId>,
    /// Empty; the memory that the next victims are written to.
    victims: Vec<FrameId>,
}

/// The slots that were emptied: nearly always one.
type Emptied = SmallVec<[Arc<Slots>; 2]>;

/// The share of the capacity whose admission makes an epoch.
const EPOCHS_PER_TURNOVER: usize = 16;

impl Cache {
    /// A cache with a policy of that capacity.
    pub fn new(policy: Box<dyn CachePolicy>, capacity_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            policy,
            homes: Mutex::default(),
            epoch: AtomicU32::new(1),
            admitted: AtomicUsize::new(0),
            epoch_bytes: AtomicUsize::new(capacity_bytes / EPOCHS_PER_TURNOVER),
            blocks: AtomicU64::new(0),
        })
    }

    /// The name of its policy.
    pub fn name(&self) -> &'static str {
        self.policy.name()
    }

    /// The bytes of cached blocks.
    pub fn bytes(&self) -> usize {
        self.policy.bytes()
    }

    /// Changes the capacity.
    pub fn resize(&self, capacity_bytes: usize) {
        let mut victims = Vec::new();
        let mut homes = self.homes.lock();
        self.policy.resize(capacity_bytes, &mut victims);
        self.epoch_bytes.store(capacity_bytes / EPOCHS_PER_TURNOVER, Ordering::Relaxed);
        let emptied = homes.evict(&victims);
        drop(homes);
        drop(emptied);
    }

    /// Takes note that `frame` was read from its slot.
    #[inline]
    pub(crate) fn hit(&self, frame: &Frame) {
        let epoch = self.epoch.load(Ordering::Relaxed);
        if frame.touched.load(Ordering::Relaxed) != epoch {
            frame.touched.store(epoch, Ordering::Relaxed);
            self.policy.touch(frame.id.load(Ordering::Relaxed));
        }
    }

    /// Offers a frame that was read for slot `n` of `slots`.
    pub(crate) fn offer(&self, slots: &Arc<Slots>, n: usize, frame: &Arc<Frame>) {
        let bytes = frame.block.bytes() + size_of::<Frame>();
        // One lock over all of it: a victim's slot is emptied before its id is given to another frame.
        let mut homes = self.homes.lock();
        if !slots.frames[n].is_empty() {
            return;
        }
        let mut victims = std::mem::take(&mut homes.victims);
        let id = homes.free.pop().unwrap_or(homes.of.len() as FrameId);
        let block = slots.first_block + n as BlockId;
        let stays = self.policy.admit(id, block, bytes, &mut victims);
        let emptied = homes.evict(&victims);
        victims.clear();
        homes.victims = victims;
        if stays {
            self.settle(&mut homes, id, (slots, n), frame, bytes);
        } else {
            if id as usize == homes.of.len() {
                homes.of.push(None);
            }
            homes.free.push(id);
        }
        drop(homes);
        drop(emptied);
    }

    fn settle(
        &self,
        homes: &mut Homes,
        id: FrameId,
        (slots, n): (&Arc<Slots>, usize),
        frame: &Arc<Frame>,
        bytes: usize,
    ) {
        frame.id.store(id, Ordering::Relaxed);
        frame.touched.store(self.epoch.load(Ordering::Relaxed), Ordering::Relaxed);
        let home = Some((Arc::downgrade(slots), n as u32));
        match homes.of.get_mut(id as usize) {
            Some(free) => *free = home,
            None => homes.of.push(home),
        }
        slots.frames[n].put(Arc::clone(frame));
        let admitted = self.admitted.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if admitted > self.epoch_bytes.load(Ordering::Relaxed) {
            self.admitted.store(0, Ordering::Relaxed);
            self.epoch.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Homes {
    /// Empties the slots of `victims`. Whoever calls drops what this returns *after* the lock: one of them may be the last
    /// handle to its slots, whose drop takes the lock.
    #[must_use]
    fn evict(&mut self, victims: &[FrameId]) -> Emptied {
        let mut emptied = Emptied::new();
        for id in victims {
            if let Some((slots, n)) = self.of[*id as usize].take()
                && let Some(slots) = slots.upgrade()
            {
                slots.frames[n as usize].clear();
                emptied.push(slots);
            }
            self.free.push(*id);
        }
        emptied
    }

    /// Whether frame `id` is the one of slot `n` of `slots`, and not one that got its number after it.
    fn is_home(&self, id: FrameId, slots: &Slots, n: usize) -> bool {
        let home = self.of.get(id as usize).and_then(Option::as_ref);
        home.is_some_and(|(of, at)| std::ptr::eq(of.as_ptr(), slots) && *at as usize == n)
    }
}

/// The slots of one table.
pub(crate) struct Slots {
    frames: Vec<Slot<Frame>>,
    /// The policy's number of block 0; the others follow.
    first_block: BlockId,
    cache: Arc<Cache>,
}

impl Slots {
    pub(crate) fn new(blocks: usize, cache: Arc<Cache>) -> Arc<Self> {
        let frames = (0..blocks).map(|_| Slot::empty()).collect();
        let first_block = cache.blocks.fetch_add(blocks as u64, Ordering::Relaxed);
        Arc::new(Self { frames, first_block, cache })
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    pub(crate) fn slot(&self, n: usize) -> &Slot<Frame> {
        &self.frames[n]
    }

    /// The memory it takes, frames aside.
    pub(crate) fn bytes(&self) -> usize {
        self.frames.capacity() * size_of::<Slot<Frame>>()
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        let mut homes = self.cache.homes.lock();
        for (n, frame) in self.frames.iter().enumerate() {
            if let Some(frame) = frame.get() {
                let id = frame.id.load(Ordering::Relaxed);
                // A frame may have been evicted between the last handle's end and this lock.
                if !homes.is_home(id, self, n) {
                    continue;
                }
                self.cache.policy.forget(id);
                homes.of[id as usize] = None;
                homes.free.push(id);
            }
        }
    }
}

/// The suite every policy runs.
///
/// # Panics
///
/// If a law of [`CachePolicy`]'s contract does not hold.
pub fn conformance(build: fn(usize) -> Box<dyn CachePolicy>) {
    use nori_env::{Entropy, SeededEntropy};
    const CAPACITY: usize = 10_000;
    let policy = build(CAPACITY);
    let entropy = SeededEntropy::new(7);
    let mut held = std::collections::BTreeMap::new();
    let mut capacity = CAPACITY;
    let (mut free, mut next): (Vec<FrameId>, FrameId) = (Vec::new(), 0);
    for round in 0..20_000 {
        let mut victims = Vec::new();
        match entropy.below(10) {
            0..5 => {
                let id = free.pop().unwrap_or_else(|| {
                    next += 1;
                    next - 1
                });
                let bytes = 1 + entropy.below(CAPACITY as u64 / 8) as usize;
                // More blocks than frames, and some that come back.
                let block = entropy.below(500);
                if policy.admit(id, block, bytes, &mut victims) {
                    assert!(held.insert(id, bytes).is_none());
                    assert!(!victims.contains(&id), "the frame being admitted is a victim");
                } else {
                    free.push(id);
                }
            }
            5..8 => policy.touch(entropy.below(u64::from(next) + 3) as FrameId),
            8 => {
                let id = entropy.below(u64::from(next) + 3) as FrameId;
                policy.forget(id);
                if held.remove(&id).is_some() {
                    free.push(id);
                }
            }
            _ => {
                capacity = CAPACITY / 2 + entropy.below(CAPACITY as u64 / 2) as usize;
                policy.resize(capacity, &mut victims);
            }
        }
        for victim in victims {
            assert!(held.remove(&victim).is_some(), "round {round}: {victim} is not held");
            free.push(victim);
        }
        let bytes: usize = held.values().sum();
        assert_eq!(policy.bytes(), bytes, "round {round}");
        assert!(bytes <= capacity, "round {round}: {bytes} bytes exceed {capacity}");
    }
    let mut victims = Vec::new();
    assert!(
        !policy.admit(next, 1_000, capacity + 1, &mut victims),
        "a frame beyond the capacity stays"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_keeps_the_contract() {
        cache_policies().iter().for_each(|entry| conformance(entry.build));
    }

    #[test]
    fn names_lead_to_the_policy_of_that_name() {
        for entry in cache_policies() {
            assert_eq!(cache_policy(entry.name, 1).unwrap().name(), entry.name);
        }
        assert!(cache_policy("mru", 1).is_none());
    }
}
