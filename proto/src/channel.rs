//! A gRPC channel to one node, over one connection.
//!
//! tonic's own channel takes a call through two queues and two tasks, and begins a third to wait for its answer; where the call reads one row, that is a fifth of what a
//! client does. Here whoever calls speaks to the connection:
//!
//! 1. The first call makes the connection, and so does the next one after it broke; calls that come meanwhile wait for that, and share its failure.
//! 2. A call puts its headers and its message into a stream of the connection, the end of the stream with the last bytes, and waits for its answer there. Who drops the
//!    call resets its stream. A request of many messages is sent as there is room for it, until its answer begins.
//! 3. A task per connection moves bytes between the streams and the socket until nobody has the channel any more, or the other end does not answer a ping.
//!
//! What failed before anything of a call could have left has a [`tonic::ConnectError`] among its causes; after that nobody knows. Either way the status says in a sentence
//! with whom, and so does one that came without a word. Left to others: to try again, and deadlines.

mod stream;

use crate::causes::told;
use crate::socket::connector;
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body::{Body as _, Frame};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tonic::body::Body;
use tonic::{Code, ConnectError, Status};
use tower::Service;

/// Bytes of a stream, and of a connection, that may come before they are taken.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Where the status of an answer is, and its words.
const STATUS: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";
/// Of a status that is no number of gRPC's, so much is told.
const STATUS_CHARS_MAX: usize = 20;

/// What a channel is set to.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A connection that is not there within this is none.
    pub connect: Duration,
    /// How often the other end is asked whether it is there, and how long it may take to say so.
    pub keepalive: Duration,
    /// Where connections come from, if that is not left to the system.
    pub local: Option<IpAddr>,
}

impl Default for Settings {
    /// For clients.
    fn default() -> Self {
        let (connect, keepalive) = (Duration::from_secs(1), Duration::from_secs(5));
        Self { connect, keepalive, local: None }
    }
}

/// See the module. Clones share the connection.
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
}

struct Shared {
    authority: Authority,
    settings: Settings,
    connection: Mutex<Connection>,
    /// Whose turn it is to make one.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Connection {
    /// How many were made.
    number: u64,
    /// Where streams of the last of them begin, until it is found broken.
    sender: Option<Sender>,
    /// When the last attempt failed, and why.
    failed: Option<(Instant, String)>,
}

/// Where streams of a connection begin.
#[derive(Clone)]
struct Sender {
    begin: SendRequest<Bytes>,
    /// The connection was left because nobody answered a ping.
    is_silent: Arc<AtomicBool>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.shared.authority).finish()
    }
}

/// The status of what certainly did not leave.
pub(crate) fn unsent(why: String) -> Status {
    let mut status = Status::unavailable(why.clone());
    status.set_source(Arc::new(ConnectError(why.into())));
    status
}

impl Channel {
    /// A channel to `host:port`, which is looked for when it is first called; `None` if it is no such thing.
    pub fn new(address: &str, settings: Settings) -> Option<Self> {
        let is_full = |of: &Authority| !of.host().is_empty() && of.port_u16().is_some();
        let authority = address.parse().ok().filter(is_full)?;
        let (connection, connecting) = Default::default();
        let shared = Shared { authority, settings, connection, connecting };
        Some(Self { shared: Arc::new(shared) })
    }

    /// Makes the connection now, if there is none.
    ///
    /// # Errors
    ///
    /// If there is nobody; the next call looks again.
    pub async fn connect(&self) -> Result<(), Status> {
        self.shared.sender().await.map(drop)
    }
}

impl Shared {
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uri(&self, path: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).expect("it has all its parts")
    }

    /// Where a stream can begin, on the connection that is there or on a new one.
    async fn sender(&self) -> Result<Sender, Status> {
        let asked = Instant::now();
        if let Some(sender) = self.ready().await {
            return Ok(sender);
        }
        let _turn = self.connecting.lock().await;
        if let Some(sender) = self.ready().await {
            return Ok(sender);
        }
        if let Some((at, why)) = &self.connection().failed
            && *at >= asked
        {
            return Err(unsent(why.clone()));
        }
        let made = self.connect().await;
        let mut connection = self.connection();
        match made {
            Ok(sender) => {
                connection.number += 1;
                connection.failed = None;
                Ok(connection.sender.insert(sender).clone())
            }
            Err(why) => {
                connection.failed = Some((Instant::now(), why.clone()));
                Err(unsent(why))
            }
        }
    }

    /// The same on the connection that is there, if it is in order.
    async fn ready(&self) -> Option<Sender> {
        let (number, mut sender) = {
            let connection = self.connection();
            (connection.number, connection.sender.clone()?)
        };
        if poll_fn(|cx| sender.begin.poll_ready(cx)).await.is_ok() {
            return Some(sender);
        }
        let mut connection = self.connection();
        if connection.number == number {
            connection.sender = None;
        }
        None
    }

    async fn connect(&self) -> Result<Sender, String> {
        let of = |why: String| format!("cannot connect to {}: {why}", self.authority);
        let Settings { connect, keepalive, local } = self.settings;
        let mut connector = connector(local, connect);
        let uri = self.uri(PathAndQuery::from_static("/"));
        let ready = poll_fn(|cx| connector.poll_ready(cx)).await;
        ready.map_err(|error| of(told(&error)))?;
        let socket = connector.call(uri).await.map_err(|error| of(told(&error)))?;
        let handshake = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(socket.into_inner())
            .await;
        let (begin, mut connection) = handshake.map_err(|error| of(told(&error)))?;
        let pings = connection.ping_pong();
        let is_silent = Arc::new(AtomicBool::new(false));
        let sender = Sender { begin, is_silent: Arc::clone(&is_silent) };
        tokio::spawn(async move {
            tokio::select! {
                biased;
                // Who waits for an answer is told of the error by its stream.
                _ = connection => {}
                () = silence(pings, keepalive) => is_silent.store(true, Ordering::Relaxed),
            }
        });
        Ok(sender)
    }

    async fn call(self: Arc<Self>, request: Request<Body>) -> Result<Response<Answer>, Status> {
        let (mut head, mut body) = request.into_parts();
        let path = head.uri.path_and_query().cloned();
        head.uri = self.uri(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        let mut sender = self.sender().await?;
        let begun = sender.begin.send_request(Request::from_parts(head, ()), false);
        let is_silent = sender.is_silent;
        drop(sender.begin);
        let (mut answer, mut stream) =
            begun.map_err(|error| unsent(self.what(&error, &is_silent)))?;
        let mut saying = Some(pin!(say(&mut body, &mut stream)));
        let answer = poll_fn(|cx| {
            if let Some(Poll::Ready(said)) = saying.as_mut().map(|saying| saying.as_mut().poll(cx))
            {
                saying = None;
                said?;
            }
            Pin::new(&mut answer).poll(cx).map_err(|error| self.broken(error, &is_silent))
        });
        let mut answer = answer.await?;
        self.word(answer.headers_mut());
        Ok(answer.map(|stream| Answer {
            stream,
            has_data: true,
            channel: Channel { shared: self },
            is_silent,
        }))
    }

    /// What happened to a stream or a connection, in a sentence.
    fn what(&self, error: &h2::Error, is_silent: &AtomicBool) -> String {
        let (of, text) = (&self.authority, told(error));
        if error.is_io() && is_silent.load(Ordering::Relaxed) {
            return format!("{of} has not answered a ping within {:?}", self.settings.keepalive);
        }
        if error.is_io() {
            // So says whoever waits on a stream when its connection has come to an end.
            let is_closed = error.get_io().is_some_and(|io| io.kind() == ErrorKind::BrokenPipe);
            let why = if is_closed { "it was closed" } else { &text };
            return format!("the connection to {of} broke: {why}");
        }
        // Before the colon is what kind of error it is, which is said here.
        let why = text.split_once(": ").map_or(&text[..], |(_, why)| why);
        match (error.is_remote(), error.is_go_away()) {
            (true, true) => format!("{of} has ended the connection: {why}"),
            (true, false) => format!("{of} has ended the call: {why}"),
            _ if error.is_library() => format!("{of} does not speak HTTP/2 as it should: {why}"),
            _ => format!("the call to {of} failed: {text}"),
        }
    }

    /// What broke under a stream; one that was refused was not looked at.
    fn broken(&self, error: h2::Error, is_silent: &AtomicBool) -> Status {
        let what = self.what(&error, is_silent);
        if error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM) {
            return unsent(what);
        }
        // With the connection all of its streams are gone, whatever the reason is called.
        let is_gone = error.is_io() || error.is_go_away();
        let (code, error) = (error.reason().map(code_of), Arc::new(error));
        let code = if is_gone { Code::Unavailable } else { code.unwrap_or(Code::Unknown) };
        let mut status = Status::new(code, what);
        status.set_source(error);
        status
    }

    /// Gives a status that came without a word a sentence.
    fn word(&self, headers: &mut HeaderMap) {
        let Some(given) = headers.get(STATUS).filter(|given| *given != "0") else { return };
        if headers.get(MESSAGE).is_some_and(|message| !message.is_empty()) {
            return;
        }
        let given: String = given.to_str().unwrap_or("?").chars().take(STATUS_CHARS_MAX).collect();
        let known = given.parse().ok().map(Code::from_i32);
        let meaning = match known.filter(|code| i32::from(*code).to_string() == given) {
            Some(code) => format!(" ({})", code.description()),
            None => String::new(),
        };
        let of = &self.authority;
        let text = format!("{of} has answered with gRPC status {given}{meaning} and no message");
        if let Ok(text) = HeaderValue::try_from(text) {
            headers.insert(MESSAGE, text);
        }
    }
}

/// Sends what a request has to say, the end of it with its last bytes. If that fails the stream has, and its answer says why.
async fn say(body: &mut Body, stream: &mut SendStream<Bytes>) -> Result<(), Status> {
    let Some(mut bytes) = next(body).await? else {
        let _ = stream.send_data(Bytes::new(), true);
        return Ok(());
    };
    loop {
        let mut following = pin!(next(body));
        let at_once = poll_fn(|cx| Poll::Ready(following.as_mut().poll(cx))).await;
        if let Poll::Ready(Ok(None)) = at_once {
            let _ = stream.send_data(bytes, true);
            return Ok(());
        }
        if stream.send_data(bytes, false).is_err() || !room(stream).await {
            return Ok(());
        }
        let following = match at_once {
            Poll::Ready(following) => following?,
            Poll::Pending => following.await?,
        };
        bytes = following.unwrap_or_default();
    }
}

/// The next bytes of a request; `None` at its end.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Status> {
    loop {
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            None => return Ok(None),
            Some(frame) => {
                if let Ok(bytes) = frame?.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

/// Waits until the other end takes more of a stream; false if it never will.
async fn room(stream: &mut SendStream<Bytes>) -> bool {
    stream.reserve_capacity(1);
    while stream.capacity() == 0 {
        if !matches!(poll_fn(|cx| stream.poll_capacity(cx)).await, Some(Ok(_))) {
            return false;
        }
    }
    true
}

/// Ends when the other end has been silent for too long.
async fn silence(pings: Option<PingPong>, keepalive: Duration) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        tokio::time::sleep(keepalive).await;
        let answered = tokio::time::timeout(keepalive, pings.ping(Ping::opaque())).await;
        if !matches!(answered, Ok(Ok(_))) {
            return;
        }
    }
}

/// What the end of a stream for a reason means, as the gRPC specification has it.
fn code_of(reason: Reason) -> Code {
    Status::from(h2::Error::from(reason)).code()
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Answer>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(shared.call(request))
    }
}

/// The body of an answer, as it comes.
#[derive(Debug)]
pub struct Answer {
    stream: RecvStream,
    /// There may be more of it before its trailers.
    has_data: bool,
    /// Whom it is of.
    channel: Channel,
    /// Its connection was left because nobody answered a ping.
    is_silent: Arc<AtomicBool>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.has_data {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    let _ = self.stream.flow_control().release_capacity(bytes.len());
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Err(error)) => {
                    return Poll::Ready(Some(Err(self
                        .channel
                        .shared
                        .broken(error, &self.is_silent))));
                }
                None => self.has_data = false,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        let shared = &self.channel.shared;
        let trailers: Option<HeaderMap> =
            trailers.map_err(|error| shared.broken(error, &self.is_silent))?;
        Poll::Ready(trailers.map(|mut trailers| {
            shared.word(&mut trailers);
            Ok(Frame::trailers(trailers))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}

#[cfg(test)]
pub(crate) mod tests;
