//! The socket under both ends of the wire: what is written within one turn of the tasks goes out in one call.
//!
//! HTTP/2 flushes whenever a stream has something to say, and a connection is polled as soon as one stream has: a hundred answers that are ready at once would be a hundred
//! system calls, each with a packet of its own, and as many at the other end. [`Gathering`] lets those that are ready come first:
//!
//! 1. What is written is copied into a buffer, up to a bound; what is longer goes straight to the socket.
//! 2. The first flush says that it is not done, and has its task run again behind those that are ready now.
//! 3. The next one writes the buffer.
//!
//! So a lone request is later by one turn of an empty queue, and a hundred go out together. Nothing is promised earlier than a flush promises it, and nothing is kept back
//! longer than until the task's next turn.

use bytes::{Buf as _, BytesMut};
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::Connected;
use tower::{Service, ServiceExt as _};

/// Bytes that are gathered at most: of a writer that never flushes, and of answers beyond which one more call costs nothing.
const GATHERED_BYTES_MAX: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub struct Gathering<T> {
    inner: T,
    /// What was written and has not gone out. Bytes <= [`GATHERED_BYTES_MAX`].
    gathered: BytesMut,
    /// Whether the others have had their turn since a flush was asked for.
    is_ripe: bool,
}

impl<T> Gathering<T> {
    /// Gathers what is written to `inner`.
    pub fn new(inner: T) -> Self {
        Self { inner, gathered: BytesMut::new(), is_ripe: false }
    }
}

impl<T: AsyncWrite + Unpin> Gathering<T> {
    /// Writes what was gathered.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.gathered))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(written);
        }
        self.gathered.clear();
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathering<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathering<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
        if self.gathered.len() + bytes > GATHERED_BYTES_MAX {
            ready!(self.poll_drain(cx))?;
            if bytes > GATHERED_BYTES_MAX {
                return Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
            }
        }
        bufs.iter().for_each(|buf| self.gathered.extend_from_slice(buf));
        Poll::Ready(Ok(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.gathered.is_empty() {
            if !std::mem::replace(&mut self.is_ripe, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(self.poll_drain(cx))?;
        }
        self.is_ripe = false;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<T: Connected> Connected for Gathering<T> {
    type ConnectInfo = T::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

/// Makes such sockets to whoever is named, from the address `local` if there is one, and gives up after `timeout`.
pub fn connector(
    local: Option<IpAddr>,
    timeout: Duration,
) -> impl Service<
    Uri,
    Response = TokioIo<Gathering<TcpStream>>,
    Error: std::error::Error + Send + Sync,
    Future: Send,
> + Clone
+ Send
+ 'static {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(timeout));
    connector.set_local_address(local);
    connector.map_response(|socket| TokioIo::new(Gathering::new(socket.into_inner())))
}

#[cfg(test)]
mod tests;
