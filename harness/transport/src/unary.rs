//! Calls of one message and one answer, as gRPC puts them on HTTP/2.
//!
//! tonic serves them as streams of one: six boxes, two buffers and a map of extensions for each, which where the call reads one row is a third of what serving it takes. Here
//!
//! 1. the frames of the request are put together until it ends, as long as they are no more than its bound ([`message`]);
//! 2. the message is decoded and answered;
//! 3. the answer is one frame and the trailers that say that all is well ([`Reply`]), or an error, which has no frame at all.
//!
//! Promises: a message that is too long, cut off or none is told of as every other error is, one that is compressed in gRPC's own words, and no more of it is kept than the bound.
//! What has come of all requests that are not answered has a bound of its own ([`Filling`]), and one that does not end within [`PATIENCE`] is not waited for.

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
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// What stands before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// The header that says how messages of a request are compressed, where they say that they are, and that which says how they may be.
const ENCODING: &str = "grpc-encoding";
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";
/// What stands for no compression at all.
const IDENTITY: &str = "identity";

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
    /// Of one for a scan.
    pub(crate) scan_bytes_max: usize,
    /// For all of them.
    pub(crate) room: Room,
}

/// Answers a call, of which the headers and the body are these, by `serve`.
pub(crate) async fn call<Q, A, F>(
    (headers, body): (HeaderMap, Incoming),
    bounds: Bounds,
    serve: impl FnOnce(tonic::Request<Q>) -> F,
) -> Response<Reply>
where
    Q: Message + Default,
    A: Message,
    F: Future<Output = Result<tonic::Response<A>, Status>>,
{
    let mut gathered = Gathered::new(bounds);
    let answered = match message(body, Compression::Unread(headers), &mut gathered).await {
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
    mut compression: Compression,
    gathered: &mut Gathered,
) -> Result<Q, Status> {
    let coming = async {
        loop {
            let polled = poll_fn(|cx| {
                let polled = Pin::new(&mut body).poll_frame(cx);
                if polled.is_pending() {
                    compression.read();
                }
                polled
            });
            let Some(frame) = polled.await else { break };
            let frame =
                frame.map_err(|error| invalid(&format!("its end did not come: {error}")))?;
            if let Ok(bytes) = frame.into_data() {
                let added = gathered.add(bytes);
                if let Some(flag) = gathered.flag().filter(|flag| *flag != 0) {
                    return Err(compression.refusal(flag));
                }
                added?;
            }
            if body.is_end_stream() {
                break;
            }
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, coming).await.map_err(|_| patience::late())??;
    Ok(Q::decode(gathered.whole()?).map_err(|error| invalid(&error.to_string()))?)
}

/// Whether a request says how its messages are compressed.
///
/// Nobody looks unless one is. Headers are in no account of what came, so they are not kept where the message has to be waited for.
enum Compression {
    Unread(HeaderMap),
    Read { is_named: bool },
}

impl Compression {
    /// Looks; the headers go.
    fn read(&mut self) -> bool {
        let is_named = match self {
            Self::Unread(headers) => headers.get(ENCODING).is_some_and(|name| name != IDENTITY),
            Self::Read { is_named } => *is_named,
        };
        *self = Self::Read { is_named };
        is_named
    }

    /// What is told to a message that does not say that it is as it is.
    fn refusal(&mut self, flag: u8) -> Status {
        if flag != 1 {
            return Status::internal(format!("the flag of compression is {flag}, and not 0 or 1"));
        }
        if !self.read() {
            return Status::internal(format!(
                "the message is compressed, and no {ENCODING} says how"
            ));
        }
        let what = format!("the message is compressed; what is supported is {IDENTITY}");
        let mut status = Status::unimplemented(what);
        let supported = MetadataValue::from_static(IDENTITY);
        status.metadata_mut().insert(ACCEPT_ENCODING, supported);
        status
    }
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
        let Bounds { bytes_max, room, .. } = bounds;
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

    /// What stands before it: whether the message is compressed.
    fn flag(&self) -> Option<u8> {
        self.so_far().first().copied()
    }

    /// The length that stands before the message.
    fn told(&self) -> Option<usize> {
        let length = self.so_far().get(1..PREFIX_BYTES)?;
        Some(u32::from_be_bytes(length.try_into().ok()?) as usize)
    }

    /// The message, if it is not compressed; its room stays taken.
    fn whole(&mut self) -> Result<Bytes, Failure> {
        let told = self.told().ok_or_else(|| invalid("there is none"))?;
        let (first, all) = (std::mem::take(&mut self.first), std::mem::take(&mut self.all));
        let all = if all.is_empty() { first } else { all.freeze() };
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
