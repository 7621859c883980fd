//! A connection that somebody made to this node, and what ends it.
//!
//! 1. It takes room as long as it is there ([`Way::admit`]); where there is none, it is hung up on.
//! 2. Whoever says nothing within [`FIRST_WORD`] is hung up on: HTTP asks nobody to speak, and room would be taken for ever.
//! 3. When the [`Door`] is gone every connection ends where it is, whatever is under way on it, as it would if the process were killed.
//!
//! What is said on it, and how long that may take, is for others to watch over.

use norikv_proto::socket::Gathering;
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// How long a connection may be open before its first byte.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// What ends connections, all of them at once: when it goes, they do.
#[derive(Debug)]
pub(crate) struct Door {
    shut: DropGuard,
}

impl Door {
    /// One that is open.
    pub(crate) fn new() -> Self {
        Self { shut: CancellationToken::new().drop_guard() }
    }

    /// A way in for `connections_max` at once. Clones share the number.
    pub(crate) fn way(&self, connections_max: usize) -> Way {
        let room = Arc::new(Semaphore::new(connections_max));
        Way { room, shut: self.shut.token().clone() }
    }
}

/// A way in.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    room: Arc<Semaphore>,
    shut: CancellationToken,
}

impl Way {
    /// Takes a connection in; `None`, and it is hung up on, if there is no room.
    pub(crate) fn admit(&self, socket: TcpStream) -> Option<Connection> {
        let room = Arc::clone(&self.room).try_acquire_owned().ok()?;
        Some(Gathering::new(Admitted {
            socket,
            shut: Box::pin(self.shut.clone().cancelled_owned()),
            first_word: Some(Box::pin(tokio::time::sleep(FIRST_WORD))),
            _room: room,
        }))
    }
}

/// A connection, as it is read and written.
pub(crate) type Connection = Gathering<Admitted>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Admitted {
    socket: TcpStream,
    shut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Until when something must have come; `None` once something has.
    first_word: Option<Pin<Box<Sleep>>>,
    _room: OwnedSemaphorePermit,
}

impl Admitted {
    /// Why it is over, if it is. Looked at only where there is nothing to do but wait: a connection that is busy gets there soon.
    fn end(&mut self, cx: &mut Context<'_>) -> Option<io::Error> {
        if self.shut.as_mut().poll(cx).is_ready() {
            return Some(io::ErrorKind::ConnectionAborted.into());
        }
        let is_late =
            self.first_word.as_mut().is_some_and(|until| until.as_mut().poll(cx).is_ready());
        is_late.then(|| io::ErrorKind::TimedOut.into())
    }

    /// The same poll, or the end where that has to wait.
    fn or_end<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(_) => polled,
            Poll::Pending => self.end(cx).map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
        }
    }
}

impl AsyncRead for Admitted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
        if polled.is_ready() {
            self.first_word = None;
        }
        self.or_end(cx, polled)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.or_end(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.or_end(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl Connected for Admitted {
    type ConnectInfo = <TcpStream as Connected>::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.socket.connect_info()
    }
}

#[cfg(test)]
mod tests;
