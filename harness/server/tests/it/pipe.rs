//! Many requests on one stream, by a client of others.

use super::one;
use norikv_proto::v1;
use norikv_proto::v1::kv_client::KvClient;
use norikv_proto::v1::pipe_request::What as Asked;
use norikv_proto::v1::pipe_response::What as Told;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

/// A stream of requests: where they go and where answers come from.
async fn pipe(
    address: SocketAddr,
) -> (mpsc::UnboundedSender<v1::PipeRequest>, Streaming<v1::PipeResponse>) {
    let mut kv = KvClient::connect(format!("http://{address}")).await.unwrap();
    let (ask, asked) = mpsc::unbounded_channel();
    let answers = kv.pipe(UnboundedReceiverStream::new(asked)).await.unwrap();
    (ask, answers.into_inner())
}

fn get(key: impl Into<Vec<u8>>) -> Asked {
    Asked::Get(v1::GetRequest { key: key.into().into(), read: None })
}

fn put(key: &'static str, value: Vec<u8>) -> Asked {
    let (key, value) = (key.into(), value.into());
    Asked::Put(v1::PutRequest { key, value, ..v1::PutRequest::default() })
}

/// What a refusal says, in the server's own word.
fn reason(refusal: &v1::Refusal) -> String {
    let details = refusal.details.clone();
    let code = Code::from_i32(refusal.code);
    let details = Status::with_details(code, &refusal.message, details).get_error_details();
    details.error_info().map_or_else(String::new, |info| info.reason.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_an_answer_of_its_own_kind() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _client) = one(dir.path(), &[("cluster.shards", "1")]).await;
    let (ask, mut answers) = pipe(running.addresses().client).await;
    let mut answer = async |id: u64, what: Option<Asked>| {
        ask.send(v1::PipeRequest { id, what }).unwrap();
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.id, id);
        answer.what.unwrap()
    };
    let Told::Put(put) = answer(7, Some(put("a", b"1".to_vec()))).await else { panic!() };
    assert!(put.version > 0);
    // A number that is not under way any more may be that of another.
    let Told::Get(row) = answer(7, Some(get("a"))).await else { panic!() };
    assert!(row.found && row.value == "1" && row.version == put.version, "{row:?}");
    let change = |key: &'static str| v1::Change {
        key: key.into(),
        condition: None,
        what: Some(v1::change::What::Put(v1::PutChange { value: "2".into(), ttl_ms: 0 })),
    };
    let changes = vec![change("b"), change("c")];
    let batch = Asked::Batch(v1::BatchRequest { changes, identity: None });
    assert!(matches!(answer(u64::MAX, Some(batch)).await, Told::Batch(_)));
    let delete = v1::DeleteRequest { key: "b".into(), ..v1::DeleteRequest::default() };
    assert!(matches!(answer(0, Some(Asked::Delete(delete))).await, Told::Delete(_)));
    for (key, found) in [("b", false), ("c", true)] {
        let Told::Get(row) = answer(1, Some(get(key))).await else { panic!() };
        assert_eq!(row.found, found, "{key}");
    }
    let condition = Some(v1::Condition { what: Some(v1::condition::What::IfAbsent(true)) });
    let taken = v1::PutRequest { key: "c".into(), condition, ..v1::PutRequest::default() };
    for (what, code, why) in [
        (None, Code::InvalidArgument, "INVALID"),
        (Some(get("")), Code::InvalidArgument, "INVALID"),
        (Some(get(vec![7; 10_000])), Code::InvalidArgument, "TOO_LARGE"),
        (Some(Asked::Put(taken)), Code::Aborted, "VERSION_MISMATCH"),
    ] {
        let Told::Refusal(refusal) = answer(2, what).await else { panic!("{why}") };
        assert_eq!((refusal.code, &reason(&refusal)[..]), (code as i32, why), "{refusal:?}");
    }
    drop(ask);
    assert!(answers.message().await.unwrap().is_none(), "it ends in order");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_be_under_way_are_all_answered_and_large_answers_too() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = one(dir.path(), &[]).await;
    client.put("large", vec![7; 1 << 20]).await.unwrap();
    client.put("small", "1").await.unwrap();
    let (ask, mut answers) = pipe(running.addresses().client).await;
    let mut awaited = HashMap::new();
    for id in 0..5_000 {
        let key = if id % 1_000 == 0 { "large" } else { "small" };
        awaited.insert(id, key);
        ask.send(v1::PipeRequest { id, what: Some(get(key)) }).unwrap();
    }
    drop(ask);
    while let Some(answer) = answers.message().await.unwrap() {
        let Some(Told::Get(row)) = answer.what else { panic!("{answer:?}") };
        let bytes = if awaited.remove(&answer.id).unwrap() == "large" { 1 << 20 } else { 1 };
        assert_eq!(row.value.len(), bytes);
    }
    assert!(awaited.is_empty(), "{} have no answer", awaited.len());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_long_ends_the_stream_after_those_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = one(dir.path(), &[]).await;
    let (ask, mut answers) = pipe(running.addresses().client).await;
    for (id, bytes) in [(1, 1), (2, 70 << 10), (3, 1)] {
        ask.send(v1::PipeRequest { id, what: Some(put("a", vec![7; bytes])) }).unwrap();
    }
    let first = answers.message().await.unwrap().unwrap();
    assert!(first.id == 1 && matches!(first.what, Some(Told::Put(_))), "{first:?}");
    let status = answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    // A client that puts it as a call of its own is served.
    client.put("a", vec![7; 70 << 10]).await.unwrap();
    assert_eq!(client.get("a").await.unwrap().unwrap().value.len(), 70 << 10);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_stream_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _client) = one(dir.path(), &[]).await;
    let (ask, mut answers) = pipe(running.addresses().client).await;
    ask.send(v1::PipeRequest { id: 1, what: Some(put("a", b"1".to_vec())) }).unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().id, 1);
    let stopped = tokio::spawn(running.stop());
    let end = tokio::time::timeout(Duration::from_secs(20), answers.message()).await;
    assert!(end.unwrap().unwrap().is_none());
    stopped.await.unwrap();
}
