//! The service `Kv`.

use crate::convert;
use crate::errors::Failure;
use crate::pipe::{self, Answers};
use crate::room::{Held, Room};
use crate::scan::{self, Piece, Range};
use crate::serving::Serving;
use norikv_proto::v1;
use norikv_proto::v1::kv_server::Kv;
use norikv_replica::KeyChange;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

/// Pieces of a scan that wait for a client that is slow to take them.
const PIECES_MAX: usize = 2;
/// How long a client may take for a piece before its scan is ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keys and values.
#[derive(Clone)]
pub struct KvService {
    serving: Serving,
    /// For requests.
    room: Room,
    stopped: watch::Receiver<bool>,
}

impl KvService {
    /// The service, on a node. Streams that would never end by themselves do so when it is stopped.
    pub(crate) fn new(serving: Serving, room: Room, stopped: watch::Receiver<bool>) -> Self {
        Self { serving, room, stopped }
    }

    /// The row of a key, and room for it.
    pub(crate) async fn row(
        &self,
        request: v1::GetRequest,
    ) -> Result<(v1::GetResponse, Option<Held>), Status> {
        let v1::GetRequest { key, read } = request;
        let read = self.serving.get(key, convert::freshness(read)?).await?;
        let (found, version) = (read.row.is_some(), read.row.as_ref().map_or(0, |row| row.version));
        let response = v1::GetResponse {
            found,
            value: read.row.map(|row| row.bytes).unwrap_or_default(),
            version,
            node_id: read.node,
            age_ms: read.age.map(age_ms),
        };
        Ok((response, read.held))
    }

    /// Puts a value.
    pub(crate) async fn put_row(&self, request: v1::PutRequest) -> Result<v1::PutResponse, Status> {
        let v1::PutRequest { key, value, ttl_ms, condition, identity } = request;
        let change = KeyChange {
            key,
            condition: convert::condition(condition),
            value: Some(value),
            ttl: convert::ttl(ttl_ms),
        };
        let version = self.serving.write(convert::identity(identity)?, vec![change]).await?;
        Ok(v1::PutResponse { version })
    }

    /// Removes a key.
    pub(crate) async fn delete_row(
        &self,
        request: v1::DeleteRequest,
    ) -> Result<v1::DeleteResponse, Status> {
        let v1::DeleteRequest { key, condition, identity } = request;
        let condition = convert::condition(condition);
        let change = KeyChange { key, condition, value: None, ttl: None };
        let version = self.serving.write(convert::identity(identity)?, vec![change]).await?;
        Ok(v1::DeleteResponse { version })
    }

    /// Changes several keys of one shard.
    pub(crate) async fn change_rows(
        &self,
        request: v1::BatchRequest,
    ) -> Result<v1::BatchResponse, Status> {
        let v1::BatchRequest { changes, identity } = request;
        let changes = changes.into_iter().map(convert::change).collect::<Result<Vec<_>, _>>()?;
        let version = self.serving.write(convert::identity(identity)?, changes).await?;
        Ok(v1::BatchResponse { version })
    }
}

fn age_ms(age: Duration) -> u64 {
    // Rounded up: it says how old at most.
    u64::try_from(age.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let (response, held) = self.row(request.into_inner()).await?;
        let mut response = Response::new(response);
        if let Some(held) = held {
            response.extensions_mut().insert(held);
        }
        Ok(response)
    }

    async fn put(
        &self,
        request: Request<v1::PutRequest>,
    ) -> Result<Response<v1::PutResponse>, Status> {
        self.put_row(request.into_inner()).await.map(Response::new)
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        self.delete_row(request.into_inner()).await.map(Response::new)
    }

    async fn batch(
        &self,
        request: Request<v1::BatchRequest>,
    ) -> Result<Response<v1::BatchResponse>, Status> {
        self.change_rows(request.into_inner()).await.map(Response::new)
    }

    type PipeStream = Answers;

    async fn pipe(
        &self,
        request: Request<Streaming<v1::PipeRequest>>,
    ) -> Result<Response<Self::PipeStream>, Status> {
        let (room, stopped) = (self.room.clone(), self.stopped.clone());
        let answers = pipe::serve(self.clone(), request.into_inner(), room, stopped);
        Ok(Response::new(answers))
    }

    type ScanStream = Pieces;

    async fn scan(
        &self,
        request: Request<v1::ScanRequest>,
    ) -> Result<Response<Self::ScanStream>, Status> {
        let request = request.into_inner();
        let admitted = self.serving.admit()?;
        let freshness = convert::freshness(request.read)?;
        let range = range(&request)?;
        let shards = match request.shard {
            Some(shard) => vec![shard],
            None => (0..self.serving.handle().topology().shards.len() as u32).collect(),
        };
        if shards.is_empty() {
            return Err(crate::serving::not_founded().into());
        }
        let views = scan::views(&self.serving, &shards, freshness).await?;
        let (limits, answers) = (self.serving.limits().clone(), self.serving.answers().clone());
        let (pieces, taken) = mpsc::channel(PIECES_MAX);
        tokio::spawn(async move {
            let _admitted = admitted;
            let mut merged = scan::Merged::new(views, range, &limits, &answers);
            loop {
                let piece = merged.next().await.and_then(|piece| {
                    let held = answers.hold(piece.bytes())?;
                    Ok((piece, held))
                });
                if !hand_on(&pieces, piece).await {
                    return;
                }
            }
        });
        Ok(Response::new(Pieces::new(taken)))
    }
}

/// A piece and the room for it, or why there are no more.
type Taken = Result<(Piece, Option<Held>), Failure>;

/// Nothing comes behind it.
fn is_last(piece: &Taken) -> bool {
    piece.as_ref().map_or(true, |(piece, _)| piece.next.is_empty())
}

/// Hands a piece on; whether the next one is wanted. Who has gone, or takes nothing, wants nothing more.
async fn hand_on(pieces: &mpsc::Sender<Taken>, piece: Taken) -> bool {
    let is_last = is_last(&piece);
    let sent = tokio::time::timeout(PATIENCE, pieces.send(piece)).await;
    !is_last && matches!(sent, Ok(Ok(())))
}

/// What a client takes of a scan. It ends well with the last piece, and never before: where it was ended because nobody took anything, it says so
/// behind what there still is.
#[derive(Debug)]
pub struct Pieces {
    taken: mpsc::Receiver<Taken>,
    /// Room for the piece that was taken last: it is on its way to where bytes are counted.
    _held: Option<Held>,
    /// The last piece was handed on, or why it does not come.
    is_whole: bool,
}

impl Pieces {
    fn new(taken: mpsc::Receiver<Taken>) -> Self {
        Self { taken, _held: None, is_whole: false }
    }
}

impl Stream for Pieces {
    type Item = Result<v1::ScanResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(piece) = ready!(self.taken.poll_recv(cx)) else {
            let is_whole = std::mem::replace(&mut self.is_whole, true);
            return Poll::Ready((!is_whole).then(|| Err(Status::from(Failure::Untaken(PATIENCE)))));
        };
        self.is_whole |= is_last(&piece);
        Poll::Ready(Some(piece.map_err(Status::from).map(|(piece, held)| {
            self._held = held;
            response(piece)
        })))
    }
}

fn range(request: &v1::ScanRequest) -> Result<Range, Failure> {
    let is_bound = !request.start.is_empty() || !request.end.is_empty();
    let limit = (request.limit > 0).then_some(request.limit);
    if request.prefix.is_empty() {
        let end = (!request.end.is_empty()).then(|| request.end.clone());
        return Ok(Range {
            start: request.start.clone(),
            end,
            limit,
            keys_only: request.keys_only,
        });
    }
    // A scan of a prefix is gone on with at a key within it.
    if is_bound && !(request.end.is_empty() && request.start.starts_with(&request.prefix)) {
        return Err(Failure::Invalid("a scan has bounds or a prefix, not both".to_owned()));
    }
    let start = if request.start.is_empty() { &request.prefix } else { &request.start };
    let end = scan::behind(&request.prefix);
    Ok(Range { start: start.clone(), end, limit, keys_only: request.keys_only })
}

fn response(piece: Piece) -> v1::ScanResponse {
    let rows = piece.rows.into_iter().map(|row| v1::Row {
        key: row.key,
        value: row.value,
        version: row.version,
    });
    v1::ScanResponse { rows: rows.collect(), next: piece.next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tokio_stream::StreamExt as _;
    use tonic::Code;

    fn piece(next: &str) -> Taken {
        Ok((Piece { rows: Vec::new(), next: Bytes::copy_from_slice(next.as_bytes()) }, None))
    }

    /// Takes all of a scan that is handed on in these pieces: the first of them, a pause, and then the others. How many came, and how it ended.
    async fn take(all: Vec<Taken>, pause: Duration) -> (usize, Result<(), Status>) {
        let (pieces, taken) = mpsc::channel(PIECES_MAX);
        tokio::spawn(async move {
            for piece in all {
                if !hand_on(&pieces, piece).await {
                    return;
                }
            }
        });
        let (mut taken, mut count) = (Pieces::new(taken), 0);
        while let Some(piece) = taken.next().await {
            match piece {
                Ok(_) => count += 1,
                Err(status) => {
                    assert!(taken.next().await.is_none());
                    return (count, Err(status));
                }
            }
            if count == 1 {
                tokio::time::sleep(pause).await;
            }
        }
        (count, Ok(()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_scan_that_is_cut_short_does_not_look_whole() {
        let some = || vec![piece("b"), piece("c"), piece("d"), piece("e"), piece("")];
        let (count, end) = take(some(), PATIENCE / 2).await;
        assert_eq!((count, end.is_ok()), (5, true));
        // The last piece but one, and the error, find no room for as long as that.
        let failed = vec![piece("b"), piece("c"), piece("d"), Err(Failure::Overloaded)];
        for all in [some(), failed] {
            let (count, end) = take(all, PATIENCE * 2).await;
            let status = end.unwrap_err();
            assert_eq!((count, status.code()), (1 + PIECES_MAX, Code::ResourceExhausted));
            assert!(status.message().contains("nothing of the scan was taken for 30s"));
        }
        let failed = vec![piece("b"), Err(Failure::Unknown)];
        let (count, end) = take(failed, PATIENCE / 2).await;
        assert_eq!((count, end.unwrap_err().code()), (1, Code::Unknown));
    }
}
