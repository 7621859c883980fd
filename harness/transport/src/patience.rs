//! How long a request may take to come, and what has come of it.
//!
//! A client that begins a request and does not end it keeps a stream, a task and what came of it. So the end of a request has to come within [`PATIENCE`] of its headers,
//! however much of it comes meanwhile; its answer may take as long as it likes. A request that is a stream by its nature has no such end: there each frame has to come within
//! that time of the one before, or, where there may be nothing to say for long, each message that has begun has to end.
//!
//! What has come is counted ([`crate::room`]) until the body is gone and whoever answers has let it go. Of a stream no more is counted than a message may have, or than has come of the one that has begun: the
//! others were taken.
//!
//! Left to others: calls of one message and one answer, which have a timer of their own ([`crate::unary`]), and what other nodes call, which is not watched over at all: packets
//! come when there are any, and their connections are asked whether they are there.

use crate::errors::Failure;
use crate::room::{Filling, Room};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// Bytes of a message that have not come, and those that have, with what stands before it; 0: none has begun.
    left: usize,
    begun: usize,
}

impl Place {
    /// More came; whether a message ended with any of it.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_ended = false;
        while let Some((first, rest)) = bytes.split_first() {
            let passed = if self.left > 0 { self.left.min(bytes.len()) } else { 1 };
            self.begun = self.begun.saturating_add(passed);
            if self.left > 0 {
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
            if self.left == 0 && self.prefixed == 0 {
                (self.begun, has_ended) = (0, true);
            }
        }
        has_ended
    }
}

/// The longest message of a stream.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Room for what has come of a request. Clones share it, and the last one gives it back.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    filling: Arc<Mutex<Filling>>,
}

impl Came {
    pub(crate) fn new(requests: &Room) -> Self {
        Self { filling: Arc::new(Mutex::new(Filling::new(requests.clone()))) }
    }

    fn filling(&self) -> MutexGuard<'_, Filling> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self, bytes: usize) -> Result<(), Failure> {
        self.filling().reach(bytes)
    }

    /// What came is whole, and whoever has it counts it from here on.
    fn let_go(&self) {
        self.filling().empty();
    }
}

/// The body of a request that has to come in time.
#[derive(Debug)]
pub(crate) struct Timely<B> {
    body: B,
    awaited: Awaited,
    came: Came,
    /// How much of it is counted.
    bytes: usize,
    /// Until when; there is none before something is waited for.
    until: Option<Pin<Box<Sleep>>>,
    /// Where its messages are awaited.
    place: Place,
}

impl<B> Timely<B> {
    pub(crate) fn new(body: B, awaited: Awaited, came: Came) -> Self {
        Self { body, awaited, came, bytes: 0, until: None, place: Place::default() }
    }

    /// Counts what came; it goes no further if there is no room.
    fn count(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Status> {
        let Some(bytes) = frame.data_ref() else { return Ok(frame) };
        match self.awaited {
            Awaited::End => self.bytes = self.bytes.saturating_add(bytes.len()),
            Awaited::Next => {
                self.until = None;
                self.bytes = self.bytes.saturating_add(bytes.len()).min(MESSAGE_BYTES_MAX);
            }
            Awaited::Message => {
                if self.place.pass(bytes) {
                    self.until = None;
                    if self.bytes > 0 {
                        self.came.let_go();
                    }
                }
                self.bytes = self.place.begun;
            }
        }
        self.came.reach(self.bytes)?;
        Ok(frame)
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
            let frame = frame.map(|frame| {
                let frame = frame.map_err(|error| Status::from_error(error.into()))?;
                self.count(frame)
            });
            return Poll::Ready(frame);
        }
        if self.awaited == Awaited::Message && self.place.begun == 0 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, StreamBody};
    use std::convert::Infallible;

    /// Whether all of twenty frames come that together are more than there is room for.
    async fn do_all_come(awaited: Awaited, room: &Room) -> bool {
        let frame = Bytes::from_static(&[0; MESSAGE_BYTES_MAX / 10]);
        let frames = (0..20).map(move |_| Ok::<_, Infallible>(Frame::data(frame.clone())));
        let body = StreamBody::new(tokio_stream::iter(frames));
        Timely::new(body, awaited, Came::new(room)).collect().await.is_ok()
    }

    #[tokio::test]
    async fn of_a_stream_a_message_is_counted_and_of_others_everything() {
        let room = Room::new(MESSAGE_BYTES_MAX);
        assert!(do_all_come(Awaited::Next, &room).await);
        assert!(!do_all_come(Awaited::End, &room).await);
        // Each of its messages is whole in no more than the first bytes of the next: nothing of it stays.
        assert!(do_all_come(Awaited::Message, &room).await);
        assert!(room.hold(MESSAGE_BYTES_MAX).is_ok(), "all of it was given back");
    }

    #[test]
    fn where_a_message_ends_is_seen_however_it_is_cut() {
        let messages = [0, 0, 0, 0, 2, 8, 7, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 9];
        let begun = [1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 0];
        for from in 0..messages.len() {
            for to in from..messages.len() {
                let mut place = Place::default();
                place.pass(&messages[..from]);
                let has_ended = place.pass(&messages[from..to]);
                assert_eq!(place.begun, to.checked_sub(1).map_or(0, |last| begun[last]));
                assert_eq!(has_ended, begun[from..to].contains(&0), "{from} {to}");
                assert_eq!(place.pass(&messages[to..]), to < messages.len());
                assert_eq!(place.begun, 0);
            }
        }
        // A length is nothing that is taken.
        let mut place = Place::default();
        assert!(!place.pass(&[0, 0xff, 0xff, 0xff, 0xff, 1]) && place.begun == 6);
    }
}
