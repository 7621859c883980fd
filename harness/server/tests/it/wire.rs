//! What clients of others see: health, reflection, HTTP, and what becomes of those that do not speak the protocol.

use super::one;
use norikv_proto::codec::SmallCodec;
use norikv_proto::v1;
use norikv_proto::v1::kv_client::KvClient;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt as _;

async fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// Why the server says that it did nothing, in its own word.
fn reason(status: &tonic::Status) -> String {
    status.get_error_details().error_info().map_or_else(String::new, |info| info.reason.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standard_client_gets_health_and_reflection() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = one(dir.path(), &[]).await;
    client.put("a", "1").await.unwrap();
    let channel = channel(running.addresses().client).await;
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "norikv.v1.Kv"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = health.check(request).await.unwrap().into_inner().status;
        assert_eq!(status, ServingStatus::Serving as i32, "{service}");
    }
    let mut reflection = ServerReflectionClient::new(channel);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = reflection
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    names.sort_unstable();
    let served = ["norikv.v1.Admin", "norikv.v1.Cluster", "norikv.v1.Kv"];
    assert_eq!(names, [&["grpc.health.v1.Health"][..], &served].concat());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_take_no_more_than_they_need() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _client) = one(dir.path(), &[]).await;
    let channel = channel(running.addresses().client).await;
    let (mut health, mut reflection) =
        (HealthClient::new(channel.clone()), ServerReflectionClient::new(channel));
    // A name of this length is unknown; a longer one is not looked for.
    for (bytes, code) in [(60 << 10, Code::NotFound), (70 << 10, Code::OutOfRange)] {
        let name = "x".repeat(bytes);
        let request = HealthCheckRequest { service: name.clone() };
        assert_eq!(health.check(request).await.unwrap_err().code(), code, "{bytes}");
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::FileContainingSymbol(name)),
        };
        let asked = tokio_stream::iter([request]);
        let mut answers = reflection.server_reflection_info(asked).await.unwrap().into_inner();
        let is_looked_for = answers.message().await.is_err();
        assert_eq!(is_looked_for, code == Code::NotFound, "{bytes}");
    }
    running.stop().await;
}

/// One request over HTTP/1.1; its status and body.
async fn http(address: SocketAddr, request: &str, body: &[u8]) -> (u16, String) {
    http_of_length(address, request, body.len(), body).await
}

/// The same, with a body that is said to have another length.
async fn http_of_length(
    address: SocketAddr,
    request: &str,
    length: usize,
    body: &[u8],
) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn http_serves_health_metrics_state_and_keys() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = one(dir.path(), &[]).await;
    client.put("a", "1").await.unwrap();
    let at = running.addresses().http.unwrap();
    assert_eq!(http(at, "GET /livez", b"").await.0, 200);
    assert_eq!(http(at, "GET /readyz", b"").await.0, 200);
    let (status, text) = http(at, "GET /metrics", b"").await;
    assert_eq!(status, 200);
    for line in [
        "norikv_rpc_requests_total{kind=\"write\",result=\"OK\"} 1",
        "norikv_raft_is_leader{shard=\"0\"} 1",
        "# TYPE norikv_wal_bytes_total counter",
        // The first write is one of those that are followed.
        "norikv_commit_stage_seconds_count{stage=\"replicate\"} 1",
        "norikv_commit_seconds_count 1",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    let (status, body) = http(at, "PUT /v1/kv/http%2Fkey?if_absent=true", b"value").await;
    assert_eq!(status, 200, "{body}");
    let (status, body) = http(at, "GET /v1/kv/http%2Fkey", b"").await;
    assert!(status == 200 && body.contains("\"text\":\"value\""), "{status} {body}");
    assert_eq!(&client.get("http/key").await.unwrap().unwrap().value[..], b"value");
    let (status, body) = http(at, "PUT /v1/kv/http%2Fkey?if_absent=true", b"again").await;
    assert!(status == 409 && body.contains("VERSION_MISMATCH"), "{status} {body}");
    assert_eq!(http(at, "DELETE /v1/kv/http%2Fkey", b"").await.0, 200);
    assert_eq!(http(at, "GET /v1/kv/http%2Fkey", b"").await.0, 404);
    assert_eq!(http(at, "GET /v1/kv/a?consistency=lose", b"").await.0, 400);
    for wrong in
        ["GET /v1/kv/a?consistancy=stale", "DELETE /v1/kv/a?if_version=abc", "PUT /v1/kv/%ff"]
    {
        let (status, body) = http(at, wrong, b"").await;
        assert!(
            status == 400 && body.contains("\"reason\":\"INVALID\""),
            "{wrong}: {status} {body}"
        );
    }
    let (status, body) = http_of_length(at, "PUT /v1/kv/a", 1 << 30, b"").await;
    let is_told = body.contains("\"reason\":\"TOO_LARGE\"") && body.contains("1073741824");
    assert!(status == 413 && is_told, "{status} {body}");
    let (status, body) = http(at, "GET /v1/state/topology", b"").await;
    assert!(status == 200 && body.contains("\"cluster_name\":\"norikv\""), "{status} {body}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_speak_the_protocol_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = one(dir.path(), &[]).await;
    let at = running.addresses();
    for address in [at.client, at.peer, at.swim, at.http.unwrap()] {
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut noisy = TcpStream::connect(address).await.unwrap();
        let _ = noisy.write_all(&[0xa5; 10_000]).await;
        let _ = silent.write_all(b"").await;
        std::mem::forget(silent);
    }
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for len in [0, 1, 100, 60_000] {
        socket.send_to(&vec![0x5a; len], at.swim).await.unwrap();
    }
    let mut kv = KvClient::new(channel(at.client).await).max_encoding_message_size(64 << 20);
    let request = v1::PutRequest {
        key: "a".into(),
        value: vec![0; 20 << 20].into(),
        ..v1::PutRequest::default()
    };
    assert_eq!(reason(&kv.put(request).await.unwrap_err()), "TOO_LARGE");
    // A put is no get: its value is not how to read.
    let request = v1::PutRequest { value: "\u{ff}".into(), ..v1::PutRequest::default() };
    let path = PathAndQuery::from_static("/norikv.v1.Kv/Get");
    let codec = SmallCodec::<v1::PutRequest, v1::GetResponse>::default();
    let mut grpc = tonic::client::Grpc::new(channel(at.client).await);
    grpc.ready().await.unwrap();
    let status = grpc.unary(tonic::Request::new(request), path, codec).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID", "{status:?}");
    let read = Some(v1::ReadOptions { consistency: 77, ..v1::ReadOptions::default() });
    let status = kv.get(v1::GetRequest { key: "a".into(), read }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    client.put("a", "1").await.unwrap();
    // A scan ends with its last row, and not when somebody loses patience.
    let mut rows = kv.scan(v1::ScanRequest::default()).await.unwrap().into_inner();
    let scanned = async {
        let mut keys = Vec::new();
        while let Some(piece) = rows.message().await.unwrap() {
            keys.extend(piece.rows.into_iter().map(|row| row.key));
        }
        keys
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), scanned).await.unwrap(), ["a"]);
    // The connections that never said anything do not keep it from ending.
    tokio::time::timeout(Duration::from_secs(20), running.stop()).await.unwrap();
}
