//! A pipe against another end that does as it is told.

use super::*;
use crate::channel::Settings;
use crate::channel::tests::{Asked as Streamed, End, was_sent};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Response};
use std::future::Future as _;
use std::pin::pin;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The other end of one stream.
struct Other {
    path: String,
    asked: RecvStream,
    coming: BytesMut,
    onto: SendStream<Bytes>,
}

impl Other {
    fn new((request, mut respond): Streamed) -> Self {
        let path = request.uri().path().to_owned();
        let onto = respond.send_response(Response::new(()), false).unwrap();
        Self { path, asked: request.into_body(), coming: BytesMut::new(), onto }
    }

    async fn next(asked: &mut mpsc::UnboundedReceiver<Streamed>) -> Self {
        Self::new(asked.recv().await.unwrap())
    }

    /// The next request: its number and key.
    async fn request(&mut self) -> (u64, Bytes) {
        loop {
            let whole = self.coming.get(1..PREFIX_BYTES).is_some_and(|length| {
                let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
                self.coming.len() >= PREFIX_BYTES + length
            });
            if !whole {
                let bytes = self.asked.data().await.unwrap().unwrap();
                self.asked.flow_control().release_capacity(bytes.len()).unwrap();
                self.coming.extend_from_slice(&bytes);
                continue;
            }
            let length = self.coming[4] as usize + (usize::from(self.coming[3]) << 8);
            self.coming.advance(PREFIX_BYTES);
            let request = v1::PipeRequest::decode(self.coming.split_to(length)).unwrap();
            let Some(Asked::Get(get)) = request.what else { panic!("{request:?}") };
            return (request.id, get.key);
        }
    }

    fn say(&mut self, bytes: impl Into<Bytes>) {
        self.onto.send_data(bytes.into(), false).unwrap();
    }

    fn end(&mut self, status: &'static str) {
        let status = ("grpc-status".parse().unwrap(), HeaderValue::from_static(status));
        self.onto.send_trailers(HeaderMap::from_iter([status])).unwrap();
    }
}

/// An answer to a request for a row.
fn told(id: u64, what: Told) -> Vec<u8> {
    let response = v1::PipeResponse { id, what: Some(what) };
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(response.encoded_len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&response.encode_to_vec());
    bytes
}

fn row(id: u64, value: &'static str) -> Vec<u8> {
    told(id, Told::Get(v1::GetResponse { found: true, value: value.into(), ..Default::default() }))
}

/// A pipe, and the requests that come to its other end. That one has said already how large its windows are: ten bytes.
async fn begin() -> (Pipe, mpsc::UnboundedReceiver<Streamed>) {
    let end = End::new().await;
    let pipe = Pipe::new(end.channel());
    let mut asked = end.serve(9);
    let mut kv = pipe.kv();
    let asking = tokio::spawn(async move { kv.get(v1::GetRequest::default()).await });
    asked.recv().await.unwrap().1.send_reset(Reason::CANCEL);
    asking.await.unwrap().unwrap_err();
    (pipe, asked)
}

fn get(pipe: &Pipe, key: &'static str) -> JoinHandle<Result<Bytes, Status>> {
    let pipe = pipe.clone();
    let request = v1::GetRequest { key: key.into(), read: None };
    tokio::spawn(async move { pipe.get(request).await.map(|response| response.value) })
}

#[tokio::test]
async fn each_answer_goes_to_whoever_asked_in_whatever_order_and_pieces_they_come() {
    let (pipe, mut asked) = begin().await;
    let asking = ["a", "b", "c"].map(|key| (key, get(&pipe, key)));
    let mut other = Other::next(&mut asked).await;
    assert_eq!(other.path, PATH);
    // More than its window of ten bytes comes as it is taken.
    let mut answers = Vec::new();
    for _ in &asking {
        let (id, key) = other.request().await;
        let value = match &key[..] {
            b"a" => "of a",
            b"b" => "of b",
            _ => "of c",
        };
        answers.push(row(id, value));
    }
    answers.reverse();
    for bytes in answers.concat().chunks(7) {
        other.say(bytes.to_vec());
    }
    for (key, asking) in asking {
        assert_eq!(asking.await.unwrap().unwrap(), format!("of {key}"));
    }
    // The same stream serves the next.
    let asking = get(&pipe, "d");
    let (id, key) = other.request().await;
    assert_eq!(key, "d");
    other.say(row(id, "of d"));
    assert_eq!(asking.await.unwrap().unwrap(), "of d");
}

#[tokio::test]
async fn a_refusal_is_the_status_that_a_call_would_have() {
    let (pipe, mut asked) = begin().await;
    let asking = get(&pipe, "a");
    let mut other = Other::next(&mut asked).await;
    let (id, _) = other.request().await;
    let (code, message) = (Code::Aborted as i32, "why".to_owned());
    other.say(told(id, Told::Refusal(v1::Refusal { code, message, details: "more".into() })));
    let status = asking.await.unwrap().unwrap_err();
    let told = (status.code(), status.message(), status.details());
    assert_eq!(told, (Code::Aborted, "why", &b"more"[..]));
    // So is an answer to something else.
    let asking = get(&pipe, "a");
    let (id, _) = other.request().await;
    other.say(self::told(id, Told::Put(v1::PutResponse { version: 1 })));
    assert_eq!(asking.await.unwrap().unwrap_err().code(), Code::Internal);
}

#[tokio::test]
async fn what_a_stream_that_ended_well_has_not_answered_was_not_sent_and_another_follows() {
    let (pipe, mut asked) = begin().await;
    for (status, is_sent) in [("0", false), ("8", true)] {
        let asking = [get(&pipe, "a"), get(&pipe, "b")];
        let mut other = Other::next(&mut asked).await;
        let (id, first) = other.request().await;
        other.say(row(id, "here"));
        other.end(status);
        for (key, asking) in ["a", "b"].into_iter().zip(asking) {
            match asking.await.unwrap() {
                Ok(value) => assert!(key == first && value == "here", "{key}"),
                Err(told) => assert!(key != first && was_sent(&told) == is_sent, "{told:?}"),
            }
        }
    }
    // Nobody was told when it broke what came of anything.
    let asking = get(&pipe, "a");
    let mut other = Other::next(&mut asked).await;
    other.request().await;
    other.onto.send_reset(Reason::INTERNAL_ERROR);
    assert!(was_sent(&asking.await.unwrap().unwrap_err()));
}

#[tokio::test]
async fn whom_nobody_answers_nothing_was_sent_to() {
    let end = End::new().await;
    let pipe = Pipe::new(end.channel());
    drop(end);
    let asking = [get(&pipe, "a"), get(&pipe, "b")];
    for asking in asking {
        let status = asking.await.unwrap().unwrap_err();
        assert!(!was_sent(&status) && status.code() == Code::Unavailable, "{status:?}");
    }
}

#[tokio::test]
async fn an_end_that_answers_nonsense_is_left() {
    let (pipe, mut asked) = begin().await;
    for nonsense in [&[1, 0, 0, 0, 1, 7][..], &[0, 0xff, 0, 0, 0], &[0, 0, 0, 0, 1, 0xff]] {
        let asking = get(&pipe, "a");
        let mut other = Other::next(&mut asked).await;
        other.request().await;
        other.say(nonsense.to_vec());
        let status = asking.await.unwrap().unwrap_err();
        assert!(was_sent(&status) && status.code() == Code::Internal, "{status:?}");
        let over = poll_fn(|cx| other.onto.poll_reset(cx)).await;
        assert_eq!(over.unwrap(), Reason::CANCEL);
    }
}

#[tokio::test]
async fn what_is_long_is_a_call_of_its_own() {
    let (pipe, mut asked) = begin().await;
    let value = Bytes::from(vec![7; PIPED_BYTES_MAX]);
    let request = v1::PutRequest { key: "a".into(), value, ..Default::default() };
    let asking = tokio::spawn(async move { pipe.put(request).await });
    let (request, mut respond) = asked.recv().await.unwrap();
    assert_eq!(request.uri().path(), "/norikv.v1.Kv/Put");
    respond.send_reset(Reason::CANCEL);
    asking.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn who_does_not_wait_any_more_is_forgotten() {
    let (pipe, mut asked) = begin().await;
    let asking = [get(&pipe, "a"), get(&pipe, "b")];
    let mut other = Other::next(&mut asked).await;
    let ids = [other.request().await, other.request().await];
    let [a, b] = asking;
    let of = |name: &str| ids.iter().find(|(_, key)| key == name).unwrap().0;
    a.abort();
    assert!(a.await.unwrap_err().is_cancelled());
    assert_eq!(lock(&pipe.lane.shared).waiting.len(), 1);
    other.say([row(of("a"), "late"), row(of("b"), "here")].concat());
    assert_eq!(b.await.unwrap().unwrap(), "here");
    assert!(lock(&pipe.lane.shared).waiting.is_empty());
    // With the pipe its stream goes.
    drop(pipe);
    let over = poll_fn(|cx| other.onto.poll_reset(cx)).await;
    assert_eq!(over.unwrap(), Reason::CANCEL);
}

#[test]
fn a_task_that_cannot_begin_keeps_nobody_waiting() {
    let pipe = Pipe::new(Channel::new("127.0.0.1:1", Settings::default()).unwrap());
    let ask = || pipe.get(v1::GetRequest::default());
    // There is no runtime: tokio panics.
    let outside = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = pin!(ask()).poll(&mut Context::from_waker(Waker::noop()));
    }));
    assert!(outside.is_err());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = runtime.block_on(ask()).unwrap_err();
    assert!(!was_sent(&status), "{status:?}");
}
