//! Room for what clients have not sent to its end, and for what they have not taken.
//!
//! A client that asks and does not read keeps its answers in this process, one that begins to send keeps what came: each stream one, each connection a thousand streams. So
//! bytes are counted, those of requests and those of answers for themselves:
//!
//! 1. What came of a request is counted as it comes, and until its answer begins; where there is no room it is told that the node is overloaded ([`Filling`]). So is
//!    every request of a client, over HTTP too, and none of another node.
//! 2. The value of a row is counted as soon as it is there ([`Room::hold`]).
//! 3. The response carries that to the bytes that go to the connection: what is counted is free when the connection has written them ([`Held::keep`]).
//! 4. Bytes of a stream are counted when they go to the connection, and end the stream where there is no room ([`Room::count`]). What a scan has at hand before that its
//!    task counts.
//!
//! Less than [`SMALL_BYTES`] is not counted: streams and connections are bounded in number.

use crate::errors::Failure;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Response};

/// What is shorter is not counted.
const SMALL_BYTES: usize = 1 << 10;

/// Room for so many bytes. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    room: Arc<Semaphore>,
}

/// Room that is taken until the last clone of this goes.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    _room: Arc<OwnedSemaphorePermit>,
}

impl Held {
    /// The same bytes, with the room until the last clone of them goes.
    pub(crate) fn keep(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Kept { bytes, _held: self })
    }
}

impl Room {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(bytes_max.min(Semaphore::MAX_PERMITS))) }
    }

    /// Takes room for so many bytes; `None`: so few are not counted.
    ///
    /// # Errors
    ///
    /// [`Failure::Overloaded`].
    pub(crate) fn hold(&self, bytes: usize) -> Result<Option<Held>, Failure> {
        if bytes < SMALL_BYTES {
            return Ok(None);
        }
        let permits = u32::try_from(bytes).map_err(|_| Failure::Overloaded)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(permits);
        room.map(|room| Some(Held { _room: Arc::new(room) })).map_err(|_| Failure::Overloaded)
    }

    /// Counts the bytes of a response until they are written.
    pub(crate) fn count(&self, response: Response<Body>) -> Response<Body> {
        response.map(|body| Body::new(Counted { body, answers: self.clone(), is_over: false }))
    }
}

/// Room that is taken little by little, and held until this goes.
#[derive(Debug)]
pub(crate) struct Filling {
    room: Room,
    held: Vec<Held>,
    /// Bytes that are held.
    counted: usize,
}

impl Filling {
    /// Has nothing yet.
    pub(crate) fn new(room: Room) -> Self {
        Self { room, held: Vec::new(), counted: 0 }
    }

    /// There are none any more.
    pub(crate) fn empty(&mut self) {
        self.held.clear();
        self.counted = 0;
    }

    /// There are so many bytes now, all in all.
    ///
    /// # Errors
    ///
    /// [`Failure::Overloaded`].
    pub(crate) fn reach(&mut self, bytes: usize) -> Result<(), Failure> {
        if let Some(held) = self.room.hold(bytes.saturating_sub(self.counted))? {
            self.held.push(held);
            self.counted = bytes;
        }
        Ok(())
    }
}

/// A body whose bytes are counted.
struct Counted {
    body: Body,
    answers: Room,
    /// It was ended for want of room.
    is_over: bool,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other),
        };
        let bytes = match frame.into_data() {
            Ok(bytes) if bytes.len() >= SMALL_BYTES => bytes,
            Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Err(frame) => return Poll::Ready(Some(Ok(frame))),
        };
        let held = self.answers.hold(bytes.len());
        Poll::Ready(Some(match held {
            Ok(held) => Ok(Frame::data(match held {
                Some(held) => held.keep(bytes),
                None => bytes,
            })),
            Err(failure) => {
                self.is_over = true;
                let (status, mut trailers) = (Status::from(failure), HeaderMap::new());
                status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes on their way, and their room.
struct Kept {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Body as _;
    use std::future::poll_fn;
    use tokio_stream::StreamExt as _;

    async fn frame(body: &mut Body) -> Option<Frame<Bytes>> {
        poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.map(Result::unwrap)
    }

    fn room(answers: &Room) -> usize {
        answers.room.available_permits()
    }

    #[test]
    fn an_answer_is_counted_from_its_row_to_the_socket() {
        let answers = Room::new(10_000);
        let held = answers.hold(8_000).unwrap().unwrap();
        assert!(matches!(answers.hold(8_000), Err(Failure::Overloaded)));
        assert!(answers.hold(SMALL_BYTES - 1).unwrap().is_none());
        let bytes = held.keep(Bytes::from(vec![1; 8_010]));
        let written = bytes.clone();
        drop(bytes);
        assert_eq!((written.len(), room(&answers)), (8_010, 2_000));
        drop(written);
        assert_eq!(room(&answers), 10_000);
    }

    #[test]
    fn many_small_pieces_are_counted_as_one() {
        let requests = Room::new(3_000);
        let mut filling = Filling::new(requests.clone());
        for bytes in 1..=SMALL_BYTES {
            assert_eq!(room(&requests), 3_000);
            filling.reach(bytes).unwrap();
        }
        assert_eq!(room(&requests), 3_000 - SMALL_BYTES);
        filling.reach(3_000).unwrap();
        assert!(matches!(filling.reach(3_000 + SMALL_BYTES), Err(Failure::Overloaded)));
        drop(filling);
        assert_eq!(room(&requests), 3_000);
    }

    #[tokio::test]
    async fn a_stream_without_room_ends_with_a_status() {
        let answers = Room::new(10_000);
        let pieces = [4_000, 100, 4_000, 4_000].map(|bytes| Bytes::from(vec![1; bytes]));
        let frames = tokio_stream::iter(pieces).map(|bytes| Ok::<_, Status>(Frame::data(bytes)));
        let stream = http_body_util::StreamBody::new(frames);
        let mut body = answers.count(Response::new(Body::new(stream))).into_body();
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(frame(&mut body).await.unwrap().into_data().unwrap());
        }
        assert_eq!(room(&answers), 2_000);
        let trailers = frame(&mut body).await.unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "8", "resource exhausted");
        assert!(body.is_end_stream() && frame(&mut body).await.is_none());
        drop(taken);
        assert_eq!(room(&answers), 10_000);
    }
}
