//! How long a request may take to come, and what has come of it.
//!
//! A client that begins a request and does not end it keeps a stream, a task and what came of it. So the end of a request has to come within [`PATIENCE`] of its headers,
//! however much of it comes meanwhile; its answer may take as long as it likes. A request that is a stream by its nature has no such end: there each frame has to come within
//! that time of the one before.
//!
//! What has come is counted ([`crate::room`]) until the body is gone and whoever answers has let it go. Of a stream no more is counted than a message may have: the others were
//! taken.
//!
//! Left to others: calls of one message and one answer, which have a timer of their own ([`crate::unary`]), and what other nodes call, which is not watched over at all: packets
//! come when there are any, and their connections are asked whether they are there.

use crate::errors::Failure;
use crate::room::{Filling, Room};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
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

    fn reach(&self, bytes: usize) -> Result<(), Failure> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner).reach(bytes)
    }
}

/// The body of a request that has to come in time.
#[derive(Debug)]
pub(crate) struct Timely<B> {
    body: B,
    awaited: Awaited,
    came: Came,
    /// How much that is.
    bytes: usize,
    /// Until when; there is none before something is waited for.
    until: Option<Pin<Box<Sleep>>>,
}

impl<B> Timely<B> {
    pub(crate) fn new(body: B, awaited: Awaited, came: Came) -> Self {
        Self { body, awaited, came, bytes: 0, until: None }
    }

    /// Counts what came; it goes no further if there is no room.
    fn count(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Status> {
        if let Some(bytes) = frame.data_ref() {
            self.bytes = self.bytes.saturating_add(bytes.len());
            let counted = match self.awaited {
                Awaited::End => self.bytes,
                Awaited::Next => self.bytes.min(MESSAGE_BYTES_MAX),
            };
            self.came.reach(counted)?;
        }
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
            if self.awaited == Awaited::Next {
                self.until = None;
            }
            let frame = frame.map(|frame| {
                let frame = frame.map_err(|error| Status::from_error(error.into()))?;
                self.count(frame)
            });
            return Poll::Ready(frame);
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
        assert!(room.hold(MESSAGE_BYTES_MAX).is_ok(), "all of it was given back");
    }
}
