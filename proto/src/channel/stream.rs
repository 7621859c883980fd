//! A stream of many messages in both directions, for who puts them together and takes them apart by itself ([`crate::pipe`]).

use super::{Answer, Channel, unsent};
use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;
use http::header::{CONTENT_TYPE, TE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};
use http_body::Body as _;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, ready};
use tonic::{Code, Status};

/// See the module.
pub(crate) struct Stream {
    channel: Channel,
    /// The connection was left because nobody answered a ping.
    is_silent: Arc<AtomicBool>,
    onto: SendStream<Bytes>,
    /// There is room for what is sent next; it may be longer than that.
    has_room: bool,
    head: ResponseFuture,
    /// What follows the head.
    body: Option<Answer>,
}

impl Channel {
    /// Begins a stream.
    ///
    /// # Errors
    ///
    /// If there is nobody.
    pub(crate) async fn stream(self, path: &'static str) -> Result<Stream, Status> {
        let shared = Arc::clone(&self.shared);
        let mut request = Request::new(());
        *request.uri_mut() = shared.uri(PathAndQuery::from_static(path));
        (*request.method_mut(), *request.version_mut()) = (Method::POST, Version::HTTP_2);
        let headers = request.headers_mut();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let mut sender = shared.sender().await?;
        let begun = sender.begin.send_request(request, false);
        let is_silent = sender.is_silent;
        let (head, onto) = begun.map_err(|error| unsent(shared.what(&error, &is_silent)))?;
        Ok(Stream { channel: self, is_silent, onto, has_room: true, head, body: None })
    }
}

impl Stream {
    /// With whom, for people.
    pub(crate) fn authority(&self) -> &str {
        self.channel.shared.authority.as_str()
    }

    /// Waits until what is sent next need not wait long.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.has_room {
            if self.onto.capacity() > 0 {
                self.has_room = true;
            } else if !matches!(ready!(self.onto.poll_capacity(cx)), Some(Ok(_))) {
                // It has ended: its answer says why.
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Sends. If that fails the stream has, and its answer says why.
    pub(crate) fn send(&mut self, bytes: Bytes) {
        let _ = self.onto.send_data(bytes, false);
        self.onto.reserve_capacity(1);
        self.has_room = false;
    }

    /// What comes next; `None` where the other end has said that all is well. Nothing comes after that, nor after an error.
    ///
    /// # Errors
    ///
    /// The status that was given, or what broke.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Status>> {
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let shared = &self.channel.shared;
                let head = ready!(Pin::new(&mut self.head).poll(cx));
                let mut head = head.map_err(|error| shared.broken(error, &self.is_silent))?;
                shared.word(head.headers_mut());
                if head.status() != StatusCode::OK {
                    let (of, code) = (self.authority(), head.status());
                    return Poll::Ready(Err(Status::unknown(format!("{of} answered {code}"))));
                }
                if head.body().is_end_stream() {
                    return Poll::Ready(self.end(head.headers()));
                }
                let (stream, channel) = (head.into_body(), self.channel.clone());
                let is_silent = Arc::clone(&self.is_silent);
                self.body.insert(Answer { stream, has_data: true, channel, is_silent })
            }
        };
        let frame = match ready!(Pin::new(body).poll_frame(cx)) {
            Some(frame) => frame?,
            None => return Poll::Ready(self.end(&HeaderMap::new())),
        };
        Poll::Ready(match frame.into_data() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(frame) => self.end(frame.trailers_ref().unwrap_or(&HeaderMap::new())),
        })
    }

    /// The end that the other end has given.
    fn end<T>(&self, trailers: &HeaderMap) -> Result<Option<T>, Status> {
        match Status::from_header_map(trailers) {
            Some(status) if status.code() == Code::Ok => Ok(None),
            Some(status) => Err(status),
            None => Err(Status::unknown(format!("{} gave no status", self.authority()))),
        }
    }
}
