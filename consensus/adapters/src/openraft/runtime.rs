//! The world openraft lives in: one thread's executor, a clock that only steps move, and one generator of chance.
//!
//! openraft takes its runtime by type, so what is its clock and whose task is spawned is a question to the thread: while a replica is
//! stepped (or dropped), its **enclave** is the current one of the thread. Nothing runs between steps.

use super::channels::{Channel, Locked, Once};
use super::watch::Watched;
use futures_executor::{LocalPool, LocalSpawner};
use futures_util::task::LocalSpawnExt;
use nori_consensus::chance::Chance;
use openraft::AsyncRuntime;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use thiserror::Error;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Enclave>>> = const { RefCell::new(None) };
}

/// What one replica's tasks know of the world.
pub(super) struct Enclave {
    spawner: LocalSpawner,
    now: Cell<Instant>,
    /// Who sleeps, by when it is to be woken and the order of asking.
    sleepers: RefCell<BTreeMap<(Instant, u64), Option<Waker>>>,
    slept: Cell<u64>,
    chance: RefCell<Chance>,
}

impl Enclave {
    pub(super) fn new(pool: &LocalPool, now: nori_consensus::Instant, seed: u64) -> Rc<Self> {
        Rc::new(Self {
            spawner: pool.spawner(),
            now: Cell::new(Instant(now.nanos)),
            sleepers: RefCell::default(),
            slept: Cell::new(0),
            chance: RefCell::new(Chance::new(seed)),
        })
    }

    fn current() -> Rc<Self> {
        CURRENT.with_borrow(|current| Rc::clone(current.as_ref().expect("a replica is stepped")))
    }

    /// Does something while this is the thread's.
    pub(super) fn within<T>(self: &Rc<Self>, work: impl FnOnce() -> T) -> T {
        let before = CURRENT.replace(Some(Rc::clone(self)));
        let done = work();
        CURRENT.set(before);
        done
    }

    /// Moves the clock, and wakes who is due.
    pub(super) fn pass(&self, now: nori_consensus::Instant) {
        let now = self.now.get().max(Instant(now.nanos));
        self.now.set(now);
        let later = self.sleepers.borrow_mut().split_off(&(now, u64::MAX));
        let due = self.sleepers.replace(later);
        due.into_values().flatten().for_each(Waker::wake);
    }

    /// When the first sleeper is to be woken.
    pub(super) fn deadline(&self) -> Option<nori_consensus::Instant> {
        let sleepers = self.sleepers.borrow();
        let (at, _) = sleepers.keys().next()?;
        Some(nori_consensus::Instant { nanos: at.0 })
    }
}

/// A moment of an enclave's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Instant(u64);

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, by: Duration) {
        *self = *self - by;
    }
}

impl openraft::Instant for Instant {
    fn now() -> Self {
        Enclave::current().now.get()
    }
}

/// Until a moment.
pub(super) struct Sleep {
    enclave: Rc<Enclave>,
    key: (Instant, u64),
}

impl Sleep {
    fn until(at: Instant) -> Self {
        let enclave = Enclave::current();
        let key = (at, enclave.slept.replace(enclave.slept.get() + 1));
        Self { enclave, key }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.enclave.now.get() >= self.key.0 {
            return Poll::Ready(());
        }
        self.enclave.sleepers.borrow_mut().insert(self.key, Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.enclave.sleepers.borrow_mut().remove(&self.key);
    }
}

/// Time is up.
#[derive(Debug, Error)]
#[error("time is up")]
pub(super) struct TimeIsUp;

/// A future with a time limit.
pub(super) struct Timeout<F> {
    future: Pin<Box<F>>,
    sleep: Pin<Box<Sleep>>,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, TimeIsUp>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(done) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        self.sleep.as_mut().poll(cx).map(|()| Err(TimeIsUp))
    }
}

/// What a task comes to.
pub(super) struct Join<T>(tokio::sync::oneshot::Receiver<T>);

/// The task was dropped.
#[derive(Debug, Error)]
#[error("the task is gone")]
pub(super) struct Gone;

impl<T> Future for Join<T> {
    type Output = Result<T, Gone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(|_| Gone)
    }
}

/// The generator of the current enclave.
pub(super) struct Dice(Rc<Enclave>);

impl rand::TryRng for Dice {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.try_next_u64().map(|drawn| (drawn >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.0.chance.borrow_mut().next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in bytes.chunks_mut(8) {
            let drawn = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
        Ok(())
    }
}

/// The runtime, as openraft wants it: a type.
#[derive(Debug)]
pub(super) struct Runtime;

impl AsyncRuntime for Runtime {
    type JoinError = Gone;
    type JoinHandle<T: 'static> = Join<T>;
    type Sleep = Sleep;
    type Instant = Instant;
    type TimeoutError = TimeIsUp;
    type Timeout<R, T: Future<Output = R>> = Timeout<T>;
    type ThreadLocalRng = Dice;
    type Mpsc = Channel;
    type Watch = Watched;
    type Oneshot = Once;
    type Mutex<T: 'static> = Locked<T>;

    fn spawn<T>(future: T) -> Join<T::Output>
    where
        T: Future + 'static,
        T::Output: 'static,
    {
        let (done, join) = tokio::sync::oneshot::channel();
        let task = async move {
            let _ = done.send(future.await);
        };
        // A pool that is gone runs nothing; who waits is told that the task is gone too.
        let _ = Enclave::current().spawner.spawn_local(task);
        Join(join)
    }

    fn sleep(duration: Duration) -> Sleep {
        Sleep::until(Enclave::current().now.get() + duration)
    }

    fn sleep_until(deadline: Instant) -> Sleep {
        Sleep::until(deadline)
    }

    fn timeout<R, F: Future<Output = R>>(duration: Duration, future: F) -> Timeout<F> {
        Timeout { future: Box::pin(future), sleep: Box::pin(Self::sleep(duration)) }
    }

    fn timeout_at<R, F: Future<Output = R>>(deadline: Instant, future: F) -> Timeout<F> {
        Timeout { future: Box::pin(future), sleep: Box::pin(Self::sleep_until(deadline)) }
    }

    fn is_panic(_: &Gone) -> bool {
        false
    }

    fn thread_rng() -> Dice {
        Dice(Enclave::current())
    }

    fn new(_: usize) -> Self {
        Self
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        futures_executor::block_on(future)
    }
}
