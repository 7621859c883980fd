//! A channel against another end that does as it is told.

use super::*;
use h2::server::SendResponse;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const KEEPALIVE: Duration = Duration::from_millis(100);

pub(crate) type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// The other end: each connection to it, and the requests that come over all of them.
pub(crate) struct End {
    pub(crate) address: String,
    listener: TcpListener,
}

impl End {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap().to_string(), listener }
    }

    pub(crate) fn channel(&self) -> Channel {
        let settings = Settings { keepalive: KEEPALIVE, ..Settings::default() };
        Channel::new(&self.address, settings).unwrap()
    }

    /// Takes one connection, and hands out what is asked on it until `requests_max` were.
    pub(crate) fn serve(self, requests_max: usize) -> mpsc::UnboundedReceiver<Asked> {
        let (onto, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for _ in 0.. {
                let (socket, _) = self.listener.accept().await.unwrap();
                let mut builder = h2::server::Builder::new();
                let connection = builder.initial_window_size(10).handshake(socket).await;
                let mut connection: h2::server::Connection<_, Bytes> = connection.unwrap();
                for _ in 0..requests_max {
                    let Some(Ok(request)) = connection.accept().await else { break };
                    if onto.send(request).is_err() {
                        return;
                    }
                }
                let _ = tokio::time::timeout(KEEPALIVE, connection.accept()).await;
            }
        });
        asked
    }
}

/// What a request has to say, and how often it was asked for it.
struct Saying {
    frames: VecDeque<Bytes>,
    polls: Arc<AtomicUsize>,
}

impl http_body::Body for Saying {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(self.frames.pop_front().map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn request(frames: &[&'static str]) -> (Request<Body>, Arc<AtomicUsize>) {
    let polls = Arc::<AtomicUsize>::default();
    let frames = frames.iter().map(|bytes| Bytes::from_static(bytes.as_bytes())).collect();
    let body = Body::new(Saying { frames, polls: Arc::clone(&polls) });
    (Request::post("/s/M").body(body).unwrap(), polls)
}

async fn ask(mut channel: Channel, frames: &[&'static str]) -> Result<String, Status> {
    let answer = channel.call(request(frames).0).await?;
    let mut body = Body::new(answer.into_body());
    let mut text = String::new();
    while let Some(bytes) = next(&mut body).await? {
        text += str::from_utf8(&bytes).unwrap();
    }
    Ok(text)
}

fn answer(mut respond: SendResponse<Bytes>, text: &'static str) {
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    stream.send_data(Bytes::from_static(text.as_bytes()), false).unwrap();
    stream.send_trailers(HeaderMap::new()).unwrap();
}

pub(crate) fn was_sent(status: &Status) -> bool {
    !std::error::Error::source(status).is_some_and(<dyn std::error::Error>::is::<ConnectError>)
}

#[tokio::test]
async fn a_call_says_its_message_and_the_end_in_one_frame() {
    let end = End::new().await;
    let asking = tokio::spawn(ask(end.channel(), &["message"]));
    let mut asked = end.serve(9);
    let (request, respond) = asked.recv().await.unwrap();
    assert_eq!(request.uri().path(), "/s/M");
    let mut body = request.into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "message");
    assert!(body.is_end_stream());
    answer(respond, "all is well");
    assert_eq!(asking.await.unwrap().unwrap(), "all is well");
}

#[tokio::test]
async fn what_found_nobody_was_not_sent_and_the_next_call_looks_again() {
    let end = End::new().await;
    let channel = end.channel();
    let address: std::net::SocketAddr = end.address.parse().unwrap();
    drop(end);
    for status in
        [ask(channel.clone(), &["a"]).await, channel.connect().await.map(|()| String::new())]
    {
        let status = status.unwrap_err();
        assert!(!was_sent(&status) && status.message().contains(&address.to_string()), "{status}");
    }
    let end =
        End { address: address.to_string(), listener: TcpListener::bind(address).await.unwrap() };
    let mut asked = end.serve(9);
    let asking = tokio::spawn(ask(channel, &["a"]));
    answer(asked.recv().await.unwrap().1, "here");
    assert_eq!(asking.await.unwrap().unwrap(), "here");
}

#[tokio::test]
async fn after_a_connection_there_is_another() {
    let end = End::new().await;
    let channel = end.channel();
    // Each connection is for one request, and ends soon after.
    let mut asked = end.serve(1);
    for n in 0..3 {
        let asking = tokio::spawn(ask(channel.clone(), &["a"]));
        let (_request, respond) = asked.recv().await.unwrap();
        answer(respond, "one more");
        assert_eq!(asking.await.unwrap().unwrap(), "one more", "{n}");
        let mut connection = channel.shared.connection().sender.clone();
        while let Some(sender) = &mut connection
            && poll_fn(|cx| sender.begin.poll_ready(cx)).await.is_ok()
        {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(channel.shared.connection().number, 3);
}

#[tokio::test]
async fn whoever_does_not_answer_a_ping_is_left() {
    let end = End::new().await;
    let asking = tokio::spawn(ask(end.channel(), &["a"]));
    // It is there, and says nothing.
    let (_silent, _) = end.listener.accept().await.unwrap();
    let status = asking.await.unwrap().unwrap_err();
    assert!(was_sent(&status), "{status}");
}

#[tokio::test]
async fn a_refused_call_was_not_sent() {
    let end = End::new().await;
    let asking = tokio::spawn(ask(end.channel(), &["a"]));
    let mut asked = end.serve(9);
    let (_request, mut respond) = asked.recv().await.unwrap();
    respond.send_reset(Reason::REFUSED_STREAM);
    assert!(!was_sent(&asking.await.unwrap().unwrap_err()));
    let asking =
        tokio::spawn(async move { asked.recv().await.unwrap().1.send_reset(Reason::CANCEL) });
    drop(asking);
}

#[tokio::test]
async fn a_request_of_many_messages_waits_for_room() {
    let end = End::new().await;
    let mut channel = end.channel();
    let mut asked = end.serve(9);
    // With its first answer the other end has said how large its windows are.
    let asking = tokio::spawn(ask(channel.clone(), &["a"]));
    answer(asked.recv().await.unwrap().1, "here");
    asking.await.unwrap().unwrap();
    let (request, polls) = request(&["0123456789", "abcdefghij", "klmnopqrst", "u"]);
    let asking = tokio::spawn(async move { channel.call(request).await });
    let (request, respond) = asked.recv().await.unwrap();
    let mut body = request.into_body();
    let mut text = Vec::new();
    // Its window is ten bytes: there is no more before these are taken.
    while let Some(bytes) = body.data().await {
        let bytes = bytes.unwrap();
        let ahead = polls.load(Ordering::Relaxed) * 10;
        assert!(ahead <= text.len() + 30, "{ahead} bytes were asked for after {}", text.len());
        text.extend_from_slice(&bytes);
        body.flow_control().release_capacity(bytes.len()).unwrap();
    }
    assert_eq!(text, b"0123456789abcdefghijklmnopqrstu");
    answer(respond, "thanks");
    assert!(asking.await.unwrap().is_ok());
}

#[test]
fn an_address_has_a_host_and_a_port() {
    let is_one = |address| Channel::new(address, Settings::default()).is_some();
    assert!(is_one("localhost:9001") && is_one("[::1]:9001") && is_one("127.0.0.1:1"));
    for wrong in ["", "localhost", ":9001", "a b:1", "host:port", "http://host:1"] {
        assert!(!is_one(wrong), "{wrong}");
    }
}

/// What is called when the other end takes the connection, reads what came, and says `bytes`.
async fn against(bytes: &'static [u8]) -> (String, Status) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let end = End::new().await;
    let asking = tokio::spawn(ask(end.channel(), &["a"]));
    let (mut socket, _) = end.listener.accept().await.unwrap();
    assert!(socket.read(&mut [0; 1024]).await.unwrap() > 0);
    socket.write_all(bytes).await.unwrap();
    drop(socket);
    (end.address, asking.await.unwrap().unwrap_err())
}

#[tokio::test]
async fn whoever_breaks_a_connection_is_named_with_what_happened() {
    let settings_and_farewell: &[u8] =
        b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01";
    for (bytes, what) in [
        (&b""[..], "the connection to {} broke: "),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "{} does not speak HTTP/2 as it should: "),
        (settings_and_farewell, "{} has ended the connection: unspecific protocol error"),
    ] {
        let (address, status) = against(bytes).await;
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.message().starts_with(&what.replace("{}", &address)), "{status}");
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_under_a_call_is_told_so() {
    let end = End::new().await;
    let (address, channel) = (end.address.clone(), end.channel());
    let asking = tokio::spawn(ask(channel, &["a"]));
    let (socket, _) = end.listener.accept().await.unwrap();
    let mut connection = h2::server::handshake(socket).await.unwrap();
    let _kept: (_, SendResponse<Bytes>) = connection.accept().await.unwrap().unwrap();
    // It was going to be answered, for all that the other end has said.
    connection.abrupt_shutdown(Reason::INTERNAL_ERROR);
    while connection.accept().await.is_some() {}
    drop(connection);
    let status = asking.await.unwrap().unwrap_err();
    let what = format!("the connection to {address} broke: it was closed");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, &what[..]));
}

#[tokio::test]
async fn a_call_that_is_ended_or_not_answered_says_by_whom() {
    let end = End::new().await;
    let (address, channel) = (end.address.clone(), end.channel());
    let asking = tokio::spawn(ask(channel, &["a"]));
    let mut asked = end.serve(9);
    asked.recv().await.unwrap().1.send_reset(Reason::CANCEL);
    let status = asking.await.unwrap().unwrap_err();
    let what = format!("{address} has ended the call: stream no longer needed");
    assert_eq!((status.code(), status.message()), (Code::Cancelled, &what[..]));
    let end = End::new().await;
    let asking = tokio::spawn(ask(end.channel(), &["a"]));
    let (_silent, _) = end.listener.accept().await.unwrap();
    let status = asking.await.unwrap().unwrap_err();
    let what = format!("{} has not answered a ping within {KEEPALIVE:?}", end.address);
    assert_eq!((status.code(), status.message()), (Code::Unavailable, &what[..]));
}

#[tokio::test]
async fn a_stream_of_a_silent_connection_says_so_when_there_is_another_one() {
    let end = End::new().await;
    let (address, channel) = (end.address.clone(), end.channel());
    let mut late = pin!(ask(channel.clone(), &["a"]));
    poll_fn(|cx| {
        assert!(late.as_mut().poll(cx).is_pending());
        let is_there = channel.shared.connection().sender.is_some();
        if is_there { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let (_silent, _) = end.listener.accept().await.unwrap();
    let status = ask(channel.clone(), &["a"]).await.unwrap_err();
    let what = format!("{address} has not answered a ping within {KEEPALIVE:?}");
    assert_eq!(status.message(), what);
    let mut asked = end.serve(9);
    let asking = tokio::spawn(ask(channel.clone(), &["a"]));
    answer(asked.recv().await.unwrap().1, "here");
    asking.await.unwrap().unwrap();
    assert_eq!(late.await.unwrap_err().message(), what);
}

#[tokio::test]
async fn a_status_without_a_word_is_given_a_sentence() {
    let end = End::new().await;
    let (address, channel) = (end.address.clone(), end.channel());
    let mut asked = end.serve(99);
    for (given, said, told) in [
        ("99", "", "{} has answered with gRPC status 99 and no message"),
        (
            "5",
            "",
            "{} has answered with gRPC status 5 (Some requested entity was not found) and no message",
        ),
        ("99", "why", "why"),
        ("0", "", ""),
    ] {
        let message = HeaderValue::from_static(said);
        let ending = HeaderMap::from_iter([
            (http::HeaderName::from_static(STATUS), HeaderValue::from_static(given)),
            (http::HeaderName::from_static(MESSAGE), message),
        ]);
        let told = told.replace("{}", &address);
        for is_alone in [true, false] {
            let mut channel = channel.clone();
            let asking = tokio::spawn(async move { channel.call(request(&["a"]).0).await });
            let (_request, mut respond) = asked.recv().await.unwrap();
            let mut head = Response::new(());
            if is_alone {
                *head.headers_mut() = ending.clone();
            }
            let mut stream = respond.send_response(head, is_alone).unwrap();
            if !is_alone {
                stream.send_trailers(ending.clone()).unwrap();
            }
            let answer = asking.await.unwrap().unwrap();
            let headers = match is_alone {
                true => answer.headers().clone(),
                false => {
                    let mut answer = answer.into_body();
                    let frame = poll_fn(|cx| Pin::new(&mut answer).poll_frame(cx)).await;
                    frame.unwrap().unwrap().into_trailers().unwrap()
                }
            };
            assert_eq!(headers[MESSAGE], told[..], "{given} {is_alone}");
        }
    }
}
