//! How long a request may take to come.
//!
//! A client that begins a request and does not end it keeps a stream, a task and what came of it. So the end of a request has to come within [`PATIENCE`] of its headers,
//! however much of it comes meanwhile; its answer may take as long as it likes. A request that is a stream by its nature has no such end: there each frame has to come within
//! that time of the one before, or, where there may be nothing to say for long, each message that has begun has to end.
//!
//! Left to others: calls of one message and one answer, which have a timer of their own ([`crate::unary`]), and what other nodes call, which is not watched over at all: packets
//! come when there are any, and their connections are asked whether they are there.

use crate::errors::Failure;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;
use tonic::Status;

/// How long a request may take to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What is told to a request that took longer.
pub(crate) fn late() -> Status {
    Failure::Invalid(format!("the end of the request did not come within {PATIENCE:?}")).into()
}

/// What has to come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The end.
    End,
    /// The next frame.
    Next,
    /// The end of a message that has begun.
    Message,
}

/// What stands before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Where in its messages a stream is.
#[derive(Debug, Default)]
struct Place {
    /// What came of what stands before a message. `prefixed` < [`PREFIX_BYTES`].
    prefix: [u8; PREFIX_BYTES],
    prefixed: usize,
    /// Bytes of a message that have not come.
    left: usize,
}

impl Place {
    /// More came; whether a message ended with any of it.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_ended = false;
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = &bytes[passed..];
            } else {
                self.prefix[self.prefixed] = *first;
                self.prefixed += 1;
                bytes = rest;
                if self.prefixed == PREFIX_BYTES {
                    let [_, length @ ..] = self.prefix;
                    (self.left, self.prefixed) = (u32::from_be_bytes(length) as usize, 0);
                }
            }
            has_ended |= self.is_between();
        }
        has_ended
    }

    /// Whether no message has begun that has not ended.
    fn is_between(&self) -> bool {
        self.left == 0 && self.prefixed == 0
    }
}

/// The body of a request that has to come in time.
#[derive(Debug)]
pub(crate) struct Timely<B> {
    body: B,
    awaited: Awaited,
    /// Until when; there is none before something is waited for.
    until: Option<Pin<Box<Sleep>>>,
    /// Where its messages are awaited.
    place: Place,
}

impl<B> Timely<B> {
    pub(crate) fn new(body: B, awaited: Awaited) -> Self {
        Self { body, awaited, until: None, place: Place::default() }
    }
}

impl<B> Body for Timely<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            let is_awaited = match (self.awaited, &frame) {
                (Awaited::End, _) => true,
                (Awaited::Message, Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(&[][..], |bytes| bytes);
                    !self.place.pass(bytes)
                }
                _ => false,
            };
            if !is_awaited {
                self.until = None;
            }
            return Poll::Ready(
                frame.map(|frame| frame.map_err(|error| Status::from_error(error.into()))),
            );
        }
        if self.awaited == Awaited::Message && self.place.is_between() {
            return Poll::Pending;
        }
        let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        ready!(until.as_mut().poll(cx));
        Poll::Ready(Some(Err(late())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
