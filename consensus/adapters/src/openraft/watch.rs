//! A value that many watch. tokio's own wakes its watchers in an order that it draws by lot; here they wake in the order of their asking.

use openraft::async_runtime::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};
use std::cell::{Cell, Ref, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

pub(super) struct Watched;

struct Inner<T> {
    value: RefCell<T>,
    /// Grows with each change.
    version: Cell<u64>,
    senders: Cell<usize>,
    receivers: Cell<usize>,
    wakers: RefCell<Vec<Waker>>,
}

impl<T> Inner<T> {
    fn wake(&self) {
        self.wakers.take().into_iter().for_each(Waker::wake);
    }

    fn changed(&self) {
        self.version.set(self.version.get() + 1);
        self.wake();
    }
}

pub(super) struct Sender<T>(Rc<Inner<T>>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.set(self.0.senders.get() + 1);
        Self(Rc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.senders.set(self.0.senders.get() - 1);
        self.0.wake();
    }
}

pub(super) struct Receiver<T> {
    inner: Rc<Inner<T>>,
    seen: u64,
}

impl<T> Receiver<T> {
    fn new(inner: &Rc<Inner<T>>, seen: u64) -> Self {
        inner.receivers.set(inner.receivers.get() + 1);
        Self { inner: Rc::clone(inner), seen }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self::new(&self.inner, self.seen)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.inner.receivers.set(self.inner.receivers.get() - 1);
    }
}

impl Watch for Watched {
    type Sender<T> = Sender<T>;
    type Receiver<T> = Receiver<T>;
    type Ref<'a, T: 'a> = Ref<'a, T>;

    fn channel<T>(init: T) -> (Sender<T>, Receiver<T>) {
        let inner = Rc::new(Inner {
            value: RefCell::new(init),
            version: Cell::new(0),
            senders: Cell::new(1),
            receivers: Cell::new(0),
            wakers: RefCell::default(),
        });
        let receiver = Receiver::new(&inner, 0);
        (Sender(inner), receiver)
    }
}

impl<T> WatchSender<Watched, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.receivers.get() == 0 {
            return Err(SendError(value));
        }
        self.0.value.replace(value);
        self.0.changed();
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        let is_modified = modify(&mut self.0.value.borrow_mut());
        if is_modified {
            self.0.changed();
        }
        is_modified
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.0.value.borrow()
    }

    fn subscribe(&self) -> Receiver<T> {
        Receiver::new(&self.0, self.0.version.get())
    }
}

impl<T> WatchReceiver<Watched, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        poll_fn(|cx| {
            if self.seen != self.inner.version.get() {
                self.seen = self.inner.version.get();
                return Poll::Ready(Ok(()));
            }
            if self.inner.senders.get() == 0 {
                return Poll::Ready(Err(RecvError(())));
            }
            let mut wakers = self.inner.wakers.borrow_mut();
            if !wakers.iter().any(|known| known.will_wake(cx.waker())) {
                wakers.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.inner.value.borrow()
    }

    fn borrow_and_update(&mut self) -> Ref<'_, T> {
        self.seen = self.inner.version.get();
        self.inner.value.borrow()
    }
}
