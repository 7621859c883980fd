//! Many requests on one stream, each answered as soon as it can be.
//!
//! 1. A task takes requests from the stream as long as fewer than [`UNDER_WAY_MAX`] of it are under way, and waits for all of them at once.
//! 2. What is answered goes to the stream in the order in which it is, each answer with the room that was taken for it.
//! 3. When the client ends the stream, or the node stops, no more is taken; when the last answer has gone the stream ends with OK. So whoever has no answer by then knows that its request was not looked at.
//! 4. A client that takes no answer for [`PATIENCE`] loses the stream, and what it did not take with it: any end but OK says nothing of requests without an answer.

use crate::errors::Failure;
use crate::kv::KvService;
use crate::patience::PATIENCE;
use crate::room::{Held, Room};
use crate::serve::ended;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use norikv_proto::v1;
use norikv_proto::v1::pipe_request::What as Asked;
use norikv_proto::v1::pipe_response::What as Told;
use prost::Message as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tonic::{Status, Streaming};

/// Requests of one stream that are under way at once: as many as there can be streams of one request on a connection.
const UNDER_WAY_MAX: usize = 1_024;
/// Answers that wait for a client that is slow to take them.
const ANSWERS_MAX: usize = 64;

/// An answer, and its room.
type Answer = (v1::PipeResponse, Option<Held>);

/// Serves a stream of requests: what it answers. `room` is that of requests.
pub(crate) fn serve(
    kv: KvService,
    requests: Streaming<v1::PipeRequest>,
    room: Room,
    stopped: watch::Receiver<bool>,
) -> Answers {
    let (onto, taken) = mpsc::channel(ANSWERS_MAX);
    tokio::spawn(carry(kv, requests, (room, stopped), onto));
    Answers { taken: Some(taken), _held: None }
}

async fn carry(
    kv: KvService,
    mut requests: Streaming<v1::PipeRequest>,
    (room, stopped): (Room, watch::Receiver<bool>),
    onto: mpsc::Sender<Result<Option<Answer>, Status>>,
) {
    let mut stop = pin!(ended(stopped));
    let mut under_way = FuturesUnordered::new();
    // How it ends, as soon as no more is taken.
    let mut end = None;
    loop {
        let next = tokio::select! {
            biased;
            Some(answer) = under_way.next() => Ok(Some(answer)),
            () = &mut stop, if end.is_none() => {
                end = Some(Ok(None));
                continue;
            }
            request = requests.message(), if end.is_none() && under_way.len() < UNDER_WAY_MAX => {
                match request {
                    Ok(Some(request)) => under_way.push(answer(&kv, &room, request)),
                    Ok(None) => end = Some(Ok(None)),
                    Err(status) => end = Some(Err(status)),
                }
                continue;
            }
            else => end.take().unwrap_or(Ok(None)),
        };
        let is_end = !matches!(next, Ok(Some(_)));
        let sent = match onto.try_send(next) {
            Err(mpsc::error::TrySendError::Full(next)) => {
                tokio::time::timeout(PATIENCE, onto.send(next)).await.is_ok_and(|sent| sent.is_ok())
            }
            sent => sent.is_ok(),
        };
        if is_end || !sent {
            return;
        }
    }
}

async fn answer(kv: &KvService, room: &Room, request: v1::PipeRequest) -> Answer {
    let id = request.id;
    let (what, held) = match told(kv, room, request).await {
        Ok(told) => told,
        Err(status) => {
            let (code, message) = (status.code() as i32, status.message().to_owned());
            let details = status.details().to_vec().into();
            (Told::Refusal(v1::Refusal { code, message, details }), None)
        }
    };
    (v1::PipeResponse { id, what: Some(what) }, held)
}

async fn told(
    kv: &KvService,
    room: &Room,
    request: v1::PipeRequest,
) -> Result<(Told, Option<Held>), Status> {
    let _room = room.hold(request.encoded_len())?;
    Ok(match request.what {
        Some(Asked::Get(request)) => {
            let (response, held) = kv.row(request).await?;
            (Told::Get(response), held)
        }
        Some(Asked::Put(request)) => (Told::Put(kv.put_row(request).await?), None),
        Some(Asked::Delete(request)) => (Told::Delete(kv.delete_row(request).await?), None),
        Some(Asked::Batch(request)) => (Told::Batch(kv.change_rows(request).await?), None),
        None => return Err(Failure::Invalid("a request of no kind".to_owned()).into()),
    })
}

/// What a client takes.
#[derive(Debug)]
pub struct Answers {
    /// `None`: it has ended.
    taken: Option<mpsc::Receiver<Result<Option<Answer>, Status>>>,
    /// Room for the answer that was taken last: it is on its way to where bytes are counted.
    _held: Option<Held>,
}

impl Stream for Answers {
    type Item = Result<v1::PipeResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(taken) = &mut self.taken else { return Poll::Ready(None) };
        let next = ready!(taken.poll_recv(cx));
        let ended = match next {
            Some(Ok(Some((response, held)))) => {
                self._held = held;
                return Poll::Ready(Some(Ok(response)));
            }
            Some(Ok(None)) => None,
            Some(Err(status)) => Some(Err(status)),
            None => Some(Err(Failure::Unknown.into())),
        };
        self.taken = None;
        Poll::Ready(ended)
    }
}
