//! The requests of many calls on one stream.
//!
//! A call of its own is a stream of HTTP/2, with headers, trailers and a state at both ends: where it reads or writes one row, that is most of what it costs. Here all requests to a node go through
//! one stream, and what is ready together goes together:
//!
//! 1. Whoever asks leaves its request in a buffer and waits for its answer. The first one, and the next one after the stream has ended, begins a task for the stream.
//! 2. The task puts into the stream what was left meanwhile, as far as the other end takes it, and hands out what comes, by the number that each request bears.
//! 3. When the stream ends, those that wait are told: with OK that their requests were not looked at ([`tonic::ConnectError`], as of a connection that could not be made), else how it ended.
//! 4. The task ends when nobody has the pipe any more.
//!
//! Requests that are longer than [`PIPED_BYTES_MAX`] have calls of their own: the others would wait for them. Who does not wait any more forgets its number; what was asked may be done all the same. Left to others: to try
//! again, and deadlines.

use crate::channel::{Channel, unsent};
use crate::v1;
use crate::v1::kv_client::KvClient;
use crate::v1::pipe_request::What as Asked;
use crate::v1::pipe_response::What as Told;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::oneshot;
use tonic::{Code, Response, Status};

const PATH: &str = "/norikv.v1.Kv/Pipe";
/// What is longer has a call of its own. Below what a node takes of one.
const PIPED_BYTES_MAX: usize = 16 << 10;
/// The longest answer that is taken.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// What stands before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

type Answer = Result<Told, Status>;

/// See the module. Clones are the same.
#[derive(Clone, Debug)]
pub struct Pipe {
    lane: Arc<Lane>,
}

/// What those who ask have in common; when it goes nobody can ask any more.
#[derive(Debug)]
struct Lane {
    channel: Channel,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Requests that the task has not taken, as they go into the stream.
    left: BytesMut,
    /// Those who wait, by the number of their request.
    waiting: HashMap<u64, oneshot::Sender<Answer>, foldhash::fast::RandomState>,
    /// The number of the last request.
    last: u64,
    /// There is a task.
    is_open: bool,
    /// Nobody has the pipe any more.
    is_deserted: bool,
    /// Of the task.
    waker: Option<Waker>,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Lane {
    fn drop(&mut self) {
        let waker = {
            let mut shared = lock(&self.shared);
            shared.is_deserted = true;
            shared.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A call that goes through the pipe if it is short.
macro_rules! piped {
    ($(#[$about:meta])* $name:ident, $kind:ident, $request:ty, $response:ty) => {
        $(#[$about])*
        ///
        /// # Errors
        ///
        /// The status of the call, or of the stream.
        pub async fn $name(&self, request: $request) -> Result<$response, Status> {
            if request.encoded_len() > PIPED_BYTES_MAX {
                return self.kv().$name(request).await.map(Response::into_inner);
            }
            match self.ask(Asked::$kind(request)).await? {
                Told::$kind(response) => Ok(response),
                _ => Err(mismatched()),
            }
        }
    };
}

/// Whoever waits for an answer; its number is forgotten with it.
struct Waits<'p> {
    shared: &'p Mutex<Shared>,
    id: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        // Who was answered is not among them any more, and most were.
        if !self.answer.is_terminated() {
            lock(self.shared).waiting.remove(&self.id);
        }
    }
}

impl Pipe {
    /// A pipe to whoever is at the end of `channel`; it is made when it is first asked.
    pub fn new(channel: Channel) -> Self {
        Self { lane: Arc::new(Lane { channel, shared: Arc::default() }) }
    }

    /// The connection.
    pub fn channel(&self) -> &Channel {
        &self.lane.channel
    }

    /// The service, for calls of their own.
    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.lane.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    piped! {
        /// The row of a key.
        get, Get, v1::GetRequest, v1::GetResponse
    }
    piped! {
        /// Puts a value.
        put, Put, v1::PutRequest, v1::PutResponse
    }
    piped! {
        /// Removes a key.
        delete, Delete, v1::DeleteRequest, v1::DeleteResponse
    }
    piped! {
        /// Several changes of keys of one shard.
        batch, Batch, v1::BatchRequest, v1::BatchResponse
    }

    /// Asks, and waits.
    async fn ask(&self, what: Asked) -> Answer {
        let (told, answer) = oneshot::channel();
        let is_first;
        let (id, waker) = {
            let mut shared = lock(&self.lane.shared);
            shared.last += 1;
            let request = v1::PipeRequest { id: shared.last, what: Some(what) };
            put(&mut shared.left, &request);
            shared.waiting.insert(request.id, told);
            is_first = !std::mem::replace(&mut shared.is_open, true);
            (request.id, shared.waker.take())
        };
        if is_first {
            let (channel, shared) = (self.lane.channel.clone(), Arc::clone(&self.lane.shared));
            tokio::spawn(carry(channel, Task { shared, is_over: false }));
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        let mut waits = Waits { shared: &self.lane.shared, id, answer };
        let answer = (&mut waits.answer).await;
        answer.unwrap_or_else(|_| Err(Status::unavailable("the stream has ended")))
    }
}

/// An answer is of another kind than its request.
fn mismatched() -> Status {
    Status::internal("the answer is not of the kind that was asked for")
}

/// A message, as gRPC frames it.
fn put(onto: &mut BytesMut, request: &v1::PipeRequest) {
    let length = request.encoded_len();
    onto.reserve(PREFIX_BYTES + length);
    onto.put_u8(0);
    onto.put_u32(u32::try_from(length).expect("it is little more than PIPED_BYTES_MAX"));
    request.encode(onto).expect("a buffer grows");
}

/// The next whole message of what came.
fn take(coming: &mut BytesMut) -> Result<Option<v1::PipeResponse>, Status> {
    let Some((prefix, rest)) = coming.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let [flag, length @ ..] = *prefix;
    let length = u32::from_be_bytes(length) as usize;
    if flag != 0 || length > MESSAGE_BYTES_MAX {
        return Err(Status::internal(format!("an answer of {length} bytes with the flag {flag}")));
    }
    if rest.len() < length {
        return Ok(None);
    }
    coming.advance(PREFIX_BYTES);
    let message = v1::PipeResponse::decode(coming.split_to(length).freeze());
    message.map(Some).map_err(|error| Status::internal(format!("an answer is none: {error}")))
}

/// The end of whoever carries a pipe, however it comes: nobody waits for it any more.
struct Task {
    shared: Arc<Mutex<Shared>>,
    /// Those who waited were told. What is in `shared` may be another's by now.
    is_over: bool,
}

impl Task {
    /// Nothing comes any more, and this is why.
    fn end(&mut self, why: &Status) {
        self.is_over = true;
        let waiting = {
            let mut shared = lock(&self.shared);
            shared.left.clear();
            shared.is_open = false;
            shared.waker = None;
            std::mem::take(&mut shared.waiting)
        };
        for told in waiting.into_values() {
            // One that does not wait any more has gone.
            let _ = told.send(Err(why.clone()));
        }
    }

    /// Hands out what has come.
    fn tell(&self, coming: &mut BytesMut) -> Result<(), Status> {
        let mut shared = None;
        while let Some(response) = take(coming)? {
            let answer = match response.what {
                Some(Told::Refusal(refusal)) => Err(status(refusal)),
                Some(told) => Ok(told),
                None => Err(mismatched()),
            };
            let shared = shared.get_or_insert_with(|| lock(&self.shared));
            if let Some(told) = shared.waiting.remove(&response.id) {
                let _ = told.send(answer);
            }
        }
        Ok(())
    }

    /// What was left meanwhile; the task is woken when there is more.
    fn collect(&self, cx: &Context<'_>) -> (Bytes, bool) {
        let mut shared = lock(&self.shared);
        if shared.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            shared.waker = Some(cx.waker().clone());
        }
        (shared.left.split().freeze(), shared.is_deserted)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(&Status::unavailable("the task of the stream was ended"));
        }
    }
}

fn status(refusal: v1::Refusal) -> Status {
    Status::with_details(Code::from_i32(refusal.code), refusal.message, refusal.details)
}

/// Carries requests and answers until the stream ends, or nobody has the pipe any more.
async fn carry(channel: Channel, mut task: Task) {
    let mut stream = match channel.stream(PATH).await {
        Ok(stream) => stream,
        Err(status) => return task.end(&status),
    };
    let mut coming = BytesMut::new();
    let why = poll_fn(|cx| {
        loop {
            match stream.poll_next(cx) {
                Poll::Ready(Ok(Some(bytes))) => {
                    coming.extend_from_slice(&bytes);
                    drop(bytes);
                    if let Err(status) = task.tell(&mut coming) {
                        return Poll::Ready(status);
                    }
                }
                Poll::Ready(Ok(None)) => {
                    let of = stream.authority();
                    return Poll::Ready(unsent(format!("{of} takes no more on this stream")));
                }
                Poll::Ready(Err(status)) => return Poll::Ready(status),
                Poll::Pending => break,
            }
        }
        while stream.poll_room(cx).is_ready() {
            let (bytes, is_deserted) = task.collect(cx);
            if is_deserted {
                return Poll::Ready(unsent(String::new()));
            }
            if bytes.is_empty() {
                break;
            }
            stream.send(bytes);
        }
        Poll::Pending
    })
    .await;
    task.end(&why);
}

#[cfg(test)]
mod tests;
