//! Calls of one message and one answer, as gRPC puts them on HTTP/2.
//!
//! tonic serves them as streams of one: six boxes, two buffers and a map of extensions for each, which where the call reads one row is a third of what serving it takes. Here
//!
//! 1. the frames of the request are put together until it ends, as long as they are no more than its bound ([`message`]);
//! 2. the message is decoded and answered;
//! 3. the answer is one frame and the trailers that say that all is well ([`Reply`]), or an error, which has no frame at all.
//!
//! Promises: a message that is too long, compressed, cut off or none is told of as every other error is, and no more of it is kept than the bound. What has come of all requests
//! that are not answered has a bound of its own ([`Filling`]), and one that does not end within [`PATIENCE`] is not waited for.

use crate::errors::Failure;
use crate::patience::{self, PATIENCE};
use crate::room::{Filling, Held, Room};
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use norikv_replica::Refusal;
use prost::Message;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::http::header::CONTENT_TYPE;
use tonic::codegen::http::{HeaderMap, HeaderValue, Response};
use tonic::{Code, Status};

/// What stands before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// The body of an answer.
#[derive(Debug, Default)]
pub(crate) enum Reply {
    /// One frame, and that all is well.
    Whole(Option<Bytes>),
    /// There is no more.
    #[default]
    Over,
    /// Whatever another service answers.
    Other(Body),
}

impl http_body::Body for Reply {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match &mut *self {
            Self::Other(body) => return Pin::new(body).poll_frame(cx),
            Self::Over => return Poll::Ready(None),
            Self::Whole(message) => message.take(),
        };
        if let Some(message) = frame {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        *self = Self::Over;
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from(Code::Ok as i32));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Other(body) => body.is_end_stream(),
            Self::Over => true,
            Self::Whole(_) => false,
        }
    }
}

/// How much of requests is taken.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Of one.
    pub(crate) bytes_max: usize,
    /// For all of them.
    pub(crate) room: Room,
}

/// Answers a call by `serve`.
pub(crate) async fn call<Q, A, F>(
    body: Incoming,
    bounds: Bounds,
    serve: impl FnOnce(tonic::Request<Q>) -> F,
) -> Response<Reply>
where
    Q: Message + Default,
    A: Message,
    F: Future<Output = Result<tonic::Response<A>, Status>>,
{
    let mut gathered = Gathered::new(bounds);
    let answered = match message(body, &mut gathered).await {
        Ok(message) => serve(tonic::Request::new(message)).await,
        Err(status) => Err(status),
    };
    drop(gathered);
    answered.map_or_else(Status::into_http, whole)
}

/// An answer, and the room that was taken for it.
fn whole<A: Message>(mut answer: tonic::Response<A>) -> Response<Reply> {
    let held = answer.extensions_mut().remove::<Held>();
    let answer = answer.into_inner();
    let length = answer.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("rows are far shorter than 4 GiB"));
    answer.encode(&mut frame).expect("it has all the room that it wants");
    let frame = frame.freeze();
    let frame = held.map_or(frame.clone(), |held| held.keep(frame));
    let mut response = Response::new(Reply::Whole(Some(frame)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The only message of a request.
async fn message<Q: Message + Default>(
    mut body: Incoming,
    gathered: &mut Gathered,
) -> Result<Q, Status> {
    let coming = async {
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let frame =
                frame.map_err(|error| invalid(&format!("its end did not come: {error}")))?;
            if let Ok(bytes) = frame.into_data() {
                gathered.add(bytes)?;
            }
            if body.is_end_stream() {
                break;
            }
        }
        Ok::<_, Failure>(())
    };
    let came = tokio::time::timeout(PATIENCE, coming).await;
    came.map_err(|_| patience::late())??;
    Ok(Q::decode(gathered.whole()?).map_err(|error| invalid(&error.to_string()))?)
}

fn invalid(why: &str) -> Failure {
    Failure::Invalid(format!("the request is not one message of its kind: {why}"))
}

/// Frames of a request.
struct Gathered {
    /// The first; most often there is no other.
    first: Bytes,
    /// All of them, if there are more. Bytes <= [`PREFIX_BYTES`] + `bytes_max`.
    all: BytesMut,
    bytes_max: usize,
    filling: Filling,
}

impl Gathered {
    fn new(bounds: Bounds) -> Self {
        let Bounds { bytes_max, room } = bounds;
        let (first, all) = (Bytes::new(), BytesMut::new());
        Self { first, all, bytes_max, filling: Filling::new(room) }
    }

    fn so_far(&self) -> &[u8] {
        if self.all.is_empty() { &self.first } else { &self.all }
    }

    fn add(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let bytes_so_far = self.so_far().len() + bytes.len();
        self.filling.reach(bytes_so_far)?;
        if self.so_far().is_empty() {
            self.first = bytes;
        } else {
            if self.all.is_empty() {
                self.all.extend_from_slice(&self.first);
            }
            self.all.extend_from_slice(&bytes);
        }
        let told = self.told().unwrap_or(0);
        let length = told.max(bytes_so_far.saturating_sub(PREFIX_BYTES));
        if length > self.bytes_max {
            let (what, bytes_max) = ("message", self.bytes_max);
            return Err(Refusal::TooLarge { what, bytes: length, bytes_max }.into());
        }
        Ok(())
    }

    /// The length that stands before the message.
    fn told(&self) -> Option<usize> {
        let length = self.so_far().get(1..PREFIX_BYTES)?;
        Some(u32::from_be_bytes(length.try_into().ok()?) as usize)
    }

    /// The message; its room stays taken.
    fn whole(&mut self) -> Result<Bytes, Failure> {
        let told = self.told().ok_or_else(|| invalid("there is none"))?;
        let (first, all) = (std::mem::take(&mut self.first), std::mem::take(&mut self.all));
        let all = if all.is_empty() { first } else { all.freeze() };
        if all[0] != 0 {
            return Err(invalid("it is compressed, and no compression was agreed upon"));
        }
        let message = all.slice(PREFIX_BYTES..);
        if message.len() != told {
            let what = format!("{} bytes came of one of {told}", message.len());
            return Err(invalid(&what));
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests;
