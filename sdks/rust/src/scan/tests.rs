//! Scans of which streams break, against another end that says what is on its list.

use super::*;
use crate::Client;
use bytes::Buf as _;
use http::{HeaderMap, Request, Response};
use prost::Message;
use std::sync::Mutex;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Keys of a piece, and where to go on.
type Piece = (&'static [&'static str], &'static str);

/// What streams say, one after the other: pieces, and how it ends.
type List = Vec<(Vec<Piece>, Status)>;

/// Where each stream began, and when.
type Begun = Arc<Mutex<Vec<(Bytes, Instant)>>>;

fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    message.encode(&mut frame).unwrap();
    frame.freeze()
}

fn topology(address: &str) -> v1::WatchTopologyResponse {
    let client_address = address.to_owned();
    let node = v1::Node { node_id: 1, client_address, ..v1::Node::default() };
    let shard = v1::Shard { voters: vec![1], leader: 1, term: 1, ..v1::Shard::default() };
    let (nodes, shards) = (vec![node], vec![shard]);
    let topology = v1::Topology { cluster_id: 1, epoch: 1, nodes, shards, ..Default::default() };
    v1::WatchTopologyResponse { topology: Some(topology) }
}

async fn start(request: Request<h2::RecvStream>) -> Bytes {
    let (mut body, mut all) = (request.into_body(), BytesMut::new());
    while let Some(bytes) = body.data().await {
        all.extend_from_slice(&bytes.unwrap());
    }
    all.advance(5);
    v1::ScanRequest::decode(all).unwrap().start
}

async fn serve(socket: TcpStream, address: String, list: Arc<Mutex<List>>, begun: Begun) {
    let mut connection = h2::server::handshake(socket).await.unwrap();
    let mut watching = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let is_scan = request.uri().path().ends_with("/Scan");
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        if !is_scan {
            stream.send_data(framed(&topology(&address)), false).unwrap();
            watching.push(stream);
            continue;
        }
        let (list, begun) = (Arc::clone(&list), Arc::clone(&begun));
        tokio::spawn(async move {
            let start = start(request).await;
            begun.lock().unwrap().push((start, Instant::now()));
            let (pieces, end) = list.lock().unwrap().remove(0);
            for (keys, next) in pieces {
                let row = |key: &&'static str| v1::Row { key: (*key).into(), ..v1::Row::default() };
                let rows = keys.iter().map(row).collect();
                let piece = v1::ScanResponse { rows, next: next.into() };
                stream.send_data(framed(&piece), false).unwrap();
            }
            let mut trailers = HeaderMap::new();
            end.add_header(&mut trailers).unwrap();
            stream.send_trailers(trailers).unwrap();
        });
    }
}

/// The keys that a scan gives, and where its streams began.
async fn scan(list: List) -> (Vec<String>, Vec<(Bytes, Instant)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = Client::connect([address.clone()]).unwrap();
    let (list, begun) = (Arc::new(Mutex::new(list)), Begun::default());
    let told = Arc::clone(&begun);
    let serving = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket, address.clone(), Arc::clone(&list), Arc::clone(&told)));
        }
    });
    let rows = client.scan(ScanOptions::default()).collect().await.unwrap();
    serving.abort();
    let key = |row: Row| String::from_utf8(row.key.to_vec()).unwrap();
    let begun = begun.lock().unwrap().clone();
    (rows.into_iter().map(key).collect(), begun)
}

#[tokio::test]
async fn a_stream_that_ends_before_the_last_row_is_gone_on_with() {
    let ok = || Status::new(Code::Ok, "");
    let (keys, begun) = scan(vec![
        (vec![(&["a", "b"], "c")], ok()),
        (vec![], ok()),
        (vec![(&["c"], "d"), (&["d"], "")], ok()),
    ])
    .await;
    assert_eq!(keys, ["a", "b", "c", "d"]);
    let starts: Vec<&[u8]> = begun.iter().map(|(start, _)| &start[..]).collect();
    assert_eq!(starts, [&b""[..], b"b\0", b"b\0"]);
}

#[tokio::test]
async fn whoever_says_when_to_go_on_is_heeded() {
    let after = Duration::from_millis(300);
    let mut details = ErrorDetails::with_error_info("OVERLOADED", "norikv", []);
    details.set_retry_info(Some(after));
    let overloaded = Status::with_error_details(Code::ResourceExhausted, "later", details);
    let (keys, begun) = scan(vec![
        (vec![(&["a"], "b")], overloaded),
        (vec![(&["b"], "")], Status::new(Code::Ok, "")),
    ])
    .await;
    assert_eq!(keys, ["a", "b"]);
    let waited = begun[1].1 - begun[0].1;
    assert!(waited >= after, "{waited:?}");
}
