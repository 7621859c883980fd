//! Requests for keys go straight to their service.
//!
//! What a server serves is found by a router: a look-up of the path, a clone of a boxed service, and a future in a box around one in a box. That is nothing for what is asked
//! once a minute, and a tenth of a read. So the service that nearly all requests are for is asked first: calls of one message and one answer by [`unary`], scans and streams of many requests by tonic's own
//! server, their answers counted ([`crate::room`]). Requests that tonic serves have to come in time, and are counted ([`crate::patience`]).

use crate::patience::{Awaited, Came, Timely};
use crate::room::Room;
use crate::unary::{self, Bounds, Reply};
use hyper::body::Incoming;
use norikv_proto::v1::kv_server::{Kv, KvServer, SERVICE_NAME};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tonic::body::Body;
use tonic::codegen::http::header::CONTENT_TYPE;
use tonic::codegen::http::{HeaderValue, Method, Request, Response, StatusCode};
use tonic::codegen::{BoxFuture, Service};
use tonic::service::Routes;

/// A request on a stream of many: what is longer would keep the others waiting.
const PIPED_BYTES_MAX: usize = 64 << 10;

/// How the paths of reflection begin, in its older words and its newer ones: of all that is served to clients it alone is asked by streams.
const REFLECTION: &str = "/grpc.reflection.";

/// One service before all others.
pub(crate) struct Express<T> {
    kv: Arc<T>,
    scans: KvServer<T>,
    pipes: KvServer<T>,
    others: Routes,
    answers: Room,
    /// Of requests.
    bounds: Bounds,
}

// A derive would want the service itself to be cloned.
impl<T> Clone for Express<T> {
    fn clone(&self) -> Self {
        Self {
            kv: Arc::clone(&self.kv),
            scans: self.scans.clone(),
            pipes: self.pipes.clone(),
            others: self.others.clone(),
            answers: self.answers.clone(),
            bounds: self.bounds.clone(),
        }
    }
}

impl<T: Kv> Express<T> {
    pub(crate) fn new(kv: T, others: Routes, answers: Room, bounds: Bounds) -> Self {
        let kv = Arc::new(kv);
        let of =
            |bytes_max| KvServer::from_arc(Arc::clone(&kv)).max_decoding_message_size(bytes_max);
        let (scans, pipes) = (of(bounds.scan_bytes_max), of(PIPED_BYTES_MAX));
        Self { kv, scans, pipes, others: others.prepare(), answers, bounds }
    }
}

impl<T> Express<T> {
    /// The request, which has to come in time, and the room for what came of it.
    fn timely(&self, request: Request<Incoming>, awaited: Awaited) -> (Request<Body>, Came) {
        let came = Came::new(&self.bounds.room);
        let timely = |body| Body::new(Timely::new(body, awaited, came.clone()));
        (request.map(timely), came)
    }
}

/// Which method of the service a path names.
fn method(path: &str) -> Option<&str> {
    path.strip_prefix('/')?.strip_prefix(SERVICE_NAME)?.strip_prefix('/')
}

impl<T: Kv> Service<Request<Incoming>> for Express<T> {
    type Response = Response<Reply>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Those of the others are always ready.
        Service::<Request<Body>>::poll_ready(&mut self.others, cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Answer {
        let (kv, bounds) = (Arc::clone(&self.kv), self.bounds.clone());
        macro_rules! unary {
            ($name:ident) => {{
                let serve = move |asked| async move { kv.$name(asked).await };
                let (head, body) = request.into_parts();
                Answer::Unary(Box::pin(unary::call((head.headers, body), bounds, serve)))
            }};
        }
        let method = method(request.uri().path());
        if method.is_some()
            && let Some(refusal) = refusal(&request)
        {
            return Answer::Refused(refusal);
        }
        match method {
            Some("Get") => unary!(get),
            Some("Put") => unary!(put),
            Some("Delete") => unary!(delete),
            Some("Batch") => unary!(batch),
            Some("Pipe") => {
                let (request, _came) = self.timely(request, Awaited::Message);
                let answer = self.pipes.call(request);
                Answer::Stream { answer, answers: self.answers.clone(), _came }
            }
            Some(_) => {
                let (request, _came) = self.timely(request, Awaited::End);
                let answer = self.scans.call(request);
                Answer::Stream { answer, answers: self.answers.clone(), _came }
            }
            None => {
                let is_stream = request.uri().path().starts_with(REFLECTION);
                let awaited = if is_stream { Awaited::Next } else { Awaited::End };
                let (request, _came) = self.timely(request, awaited);
                Answer::Routed { answer: Box::new(self.others.call(request)), _came }
            }
        }
    }
}

/// What is told to a request that is no gRPC.
fn refusal<B>(request: &Request<B>) -> Option<StatusCode> {
    let kind = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let rest = kind.strip_prefix(b"application/grpc");
    if request.method() != Method::POST {
        Some(StatusCode::METHOD_NOT_ALLOWED)
    } else if rest.is_none_or(|rest| !matches!(rest.first(), None | Some(b'+' | b';'))) {
        Some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
    } else {
        None
    }
}

/// What one of them answers; before that the room for what was asked is held.
pub(crate) enum Answer {
    Refused(StatusCode),
    Unary(Pin<Box<dyn Future<Output = Response<Reply>> + Send>>),
    Stream {
        answer: BoxFuture<Response<Body>, Infallible>,
        answers: Room,
        _came: Came,
    },
    /// In a box, so that it is no larger than the others.
    Routed {
        answer: Box<<Routes as Service<Request<Body>>>::Future>,
        _came: Came,
    },
}

impl Future for Answer {
    type Output = Result<Response<Reply>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = match self.get_mut() {
            Self::Refused(status) => {
                let mut response = Response::new(Reply::Over);
                *response.status_mut() = *status;
                return Poll::Ready(Ok(response));
            }
            Self::Unary(answer) => return answer.as_mut().poll(cx).map(Ok),
            Self::Stream { answer, answers, .. } => {
                answers.count(ready!(answer.as_mut().poll(cx))?)
            }
            Self::Routed { answer, .. } => ready!(Pin::new(answer).poll(cx))?,
        };
        Poll::Ready(Ok(answered.map(Reply::Other)))
    }
}

#[cfg(test)]
mod tests;
