//! What goes where, and raw requests of every kind over real sockets.

use super::*;
use crate::accept::{self, Asker};
use crate::connection::Door;
use crate::patience::PATIENCE;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use norikv_proto::channel::{Answer, Channel as Raw, Settings};
use norikv_proto::v1;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tower::ServiceExt as _;

#[test]
fn only_the_service_itself_goes_before_the_others() {
    assert_eq!(method("/norikv.v1.Kv/Get"), Some("Get"));
    assert_eq!(method("/norikv.v1.Kv/Nothing"), Some("Nothing"));
    for path in ["/norikv.v1.KvAdmin/Get", "/norikv.v1.Kv", "norikv.v1.Kv/Get", "/", ""] {
        assert_eq!(method(path), None, "{path}");
    }
}

#[test]
fn what_is_no_grpc_is_told_so() {
    let told = |method: Method, kind: &str| {
        let request = Request::builder().method(method).header(CONTENT_TYPE, kind);
        refusal(&request.body(()).unwrap())
    };
    for kind in ["application/grpc", "application/grpc+proto", "application/grpc;x=y"] {
        assert_eq!(told(Method::POST, kind), None, "{kind}");
        assert_eq!(told(Method::HEAD, kind), Some(StatusCode::METHOD_NOT_ALLOWED));
    }
    for kind in ["", "text/plain", "application/grpcx", "application/grpc-web"] {
        assert_eq!(told(Method::POST, kind), Some(StatusCode::UNSUPPORTED_MEDIA_TYPE), "{kind}");
    }
}

/// Says yes to everything, and counts that.
#[derive(Default)]
struct Yes {
    served: Arc<AtomicUsize>,
}

impl Yes {
    fn serve<A: Default>(&self) -> Result<tonic::Response<A>, Status> {
        self.served.fetch_add(1, Ordering::Relaxed);
        Ok(tonic::Response::new(A::default()))
    }
}

#[tonic::async_trait]
impl Kv for Yes {
    async fn get(
        &self,
        _: tonic::Request<v1::GetRequest>,
    ) -> Result<tonic::Response<v1::GetResponse>, Status> {
        self.serve()
    }

    async fn put(
        &self,
        _: tonic::Request<v1::PutRequest>,
    ) -> Result<tonic::Response<v1::PutResponse>, Status> {
        self.serve()
    }

    async fn delete(
        &self,
        _: tonic::Request<v1::DeleteRequest>,
    ) -> Result<tonic::Response<v1::DeleteResponse>, Status> {
        self.serve()
    }

    async fn batch(
        &self,
        _: tonic::Request<v1::BatchRequest>,
    ) -> Result<tonic::Response<v1::BatchResponse>, Status> {
        self.serve()
    }

    type PipeStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::PipeResponse, Status>> + Send>>;

    async fn pipe(
        &self,
        requests: tonic::Request<tonic::Streaming<v1::PipeRequest>>,
    ) -> Result<tonic::Response<Self::PipeStream>, Status> {
        let answer = |request: Result<v1::PipeRequest, Status>| {
            request.map(|request| v1::PipeResponse { id: request.id, what: None })
        };
        Ok(tonic::Response::new(Box::pin(requests.into_inner().map(answer))))
    }

    type ScanStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::ScanResponse, Status>>>;

    async fn scan(
        &self,
        _: tonic::Request<v1::ScanRequest>,
    ) -> Result<tonic::Response<Self::ScanStream>, Status> {
        self.served.fetch_add(1, Ordering::Relaxed);
        Ok(tonic::Response::new(tokio_stream::iter(Vec::new())))
    }
}

/// What is served over a socket, until it goes.
struct Served {
    channel: Channel,
    /// For requests of which no header means anything to who sends them.
    raw: Raw,
    health: HealthReporter,
    served: Arc<AtomicUsize>,
    _door: Door,
    _stop: watch::Sender<bool>,
}

async fn serve() -> Served {
    serve_within(Room::new(1 << 20)).await
}

/// With so much room for requests.
async fn serve_within(room: Room) -> Served {
    let (health, of_health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure().build_v1().unwrap();
    let others = Routes::new(of_health).add_service(reflection);
    let (kv, bounds) =
        (Yes::default(), Bounds { bytes_max: 1 << 10, scan_bytes_max: 1 << 10, room });
    let served = Arc::clone(&kv.served);
    let express = Express::new(kv, others, Room::new(1 << 20), bounds);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (door, (stop, stopped)) = (Door::new(), watch::channel(false));
    let entrance = (door.way(2), Asker::Nameless);
    tokio::spawn(accept::serve(express, listener, entrance, stopped));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let channel = channel.connect().await.unwrap();
    let settings = Settings { keepalive: Duration::from_secs(3_600), ..Settings::default() };
    let raw = Raw::new(&address.to_string(), settings).unwrap();
    Served { channel, raw, health, served, _door: door, _stop: stop }
}

/// Calls of one message: those that are answered here, and some that tonic answers.
const UNARY: [&str; 4] =
    ["/norikv.v1.Kv/Get", "/norikv.v1.Kv/Put", "/norikv.v1.Kv/Delete", "/norikv.v1.Kv/Batch"];
const OTHERS: [&str; 2] = ["/norikv.v1.Kv/Scan", "/grpc.health.v1.Health/Check"];

impl Served {
    async fn ask(&self, path: &str, header: (&'static str, &str), body: Body) -> Response<Answer> {
        let request = Request::builder().method(Method::POST).uri(path);
        let request = request.header(CONTENT_TYPE, "application/grpc").header(header.0, header.1);
        self.raw.clone().oneshot(request.body(body).unwrap()).await.unwrap()
    }

    /// What is told, and how messages may be compressed if that is said.
    async fn told(
        &self,
        path: &str,
        header: (&'static str, &str),
        body: Body,
    ) -> (Code, Option<String>) {
        let answer = self.ask(path, header, body).await;
        let supported = answer.headers().get("grpc-accept-encoding");
        let supported = supported.map(|names| names.to_str().unwrap().to_owned());
        let status = match Status::from_header_map(answer.headers()) {
            Some(status) => status,
            None => {
                let all = answer.into_body().collect().await.unwrap();
                Status::from_header_map(all.trailers().unwrap()).unwrap()
            }
        };
        (status.code(), supported)
    }
}

/// A header that says nothing.
const NOTHING: (&str, &str) = ("x", "y");

fn whole(message: &[u8]) -> Body {
    Body::new(Full::new(Bytes::copy_from_slice(message)))
}

/// A body of these bytes that does not end before its sender goes.
fn begun(message: &[u8]) -> (mpsc::UnboundedSender<Bytes>, Body) {
    let (more, coming) = mpsc::unbounded_channel();
    more.send(Bytes::copy_from_slice(message)).unwrap();
    let frames = UnboundedReceiverStream::new(coming);
    let frames = frames.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    (more, Body::new(StreamBody::new(frames)))
}

#[tokio::test]
async fn what_is_compressed_is_told_what_is_supported() {
    let served = serve().await;
    let message = |flag| whole(&[flag, 0, 0, 0, 0]);
    let (gzip, identity) = (("grpc-encoding", "gzip"), ("grpc-encoding", "identity"));
    let unsupported = (Code::Unimplemented, Some("identity".to_owned()));
    for path in UNARY.into_iter().chain(OTHERS) {
        assert_eq!(served.told(path, gzip, message(1)).await, unsupported, "{path}");
        // A message that is longer than it may be is compressed first of all.
        let long = [&[1, 0, 1, 0, 0][..], &[7; 1 << 16]].concat();
        assert_eq!(served.told(path, gzip, whole(&long)).await, unsupported, "{path}");
        for (header, flag) in [(NOTHING, 1), (identity, 1), (NOTHING, 2)] {
            let told = served.told(path, header, message(flag)).await;
            assert_eq!(told, (Code::Internal, None), "{path} {header:?} {flag}");
        }
        assert_eq!(served.told(path, identity, message(0)).await.0, Code::Ok, "{path}");
    }
    for path in UNARY {
        // It may be compressed, and is not.
        assert_eq!(served.told(path, gzip, message(0)).await, (Code::Ok, None), "{path}");
        // Its headers are there before it is.
        let (more, body) = begun(&[]);
        let later = async {
            tokio::task::yield_now().await;
            more.send(Bytes::from_static(&[1, 0, 0, 0, 0])).unwrap();
        };
        let (told, ()) = tokio::join!(served.told(path, gzip, body), later);
        assert_eq!(told, unsupported, "{path}");
    }
}

#[tokio::test]
async fn a_time_that_is_none_is_refused_and_one_of_nothing_is_over() {
    let served = serve().await;
    for path in UNARY.into_iter().chain(OTHERS) {
        for (time, code) in [
            ("abc", Code::InvalidArgument),
            ("1", Code::InvalidArgument),
            ("999999999999S", Code::InvalidArgument),
            ("0S", Code::DeadlineExceeded),
            ("00000000n", Code::DeadlineExceeded),
        ] {
            let told = served.told(path, ("grpc-timeout", time), whole(&[0; 5])).await;
            assert_eq!(told.0, code, "{path} {time}");
        }
    }
    assert_eq!(served.served.load(Ordering::Relaxed), 0);
    for path in UNARY.into_iter().chain(OTHERS) {
        let told = served.told(path, ("grpc-timeout", "1M"), whole(&[0; 5])).await;
        assert_eq!(told.0, Code::Ok, "{path}");
    }
}

#[tokio::test]
async fn headers_have_a_bound() {
    let served = serve().await;
    let status = async |bytes| {
        let long = "x".repeat(bytes);
        served.ask(UNARY[0], ("x", &long), whole(&[0; 5])).await.status()
    };
    assert_eq!(status(15 << 10).await, StatusCode::OK);
    assert_eq!(status(20 << 10).await, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(status(1).await, StatusCode::OK, "the connection is as good as it was");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_request_is_waited_for_so_long() {
    let served = serve().await;
    for path in UNARY.into_iter().chain(OTHERS) {
        let (more, body) = begun(&[0, 0]);
        let begin = Instant::now();
        // Whoever sends a little now and then is not waited for any longer.
        let trickle = async {
            for _ in 0..10 {
                tokio::time::sleep(PATIENCE / 4).await;
                let _ = more.send(Bytes::from_static(&[0]));
            }
        };
        let told = tokio::select! {
            told = served.told(path, NOTHING, body) => told,
            () = trickle => panic!("{path} is waited for"),
        };
        assert_eq!(told.0, Code::InvalidArgument, "{path}");
        let waited = begin.elapsed();
        assert!(waited >= PATIENCE && waited < PATIENCE + SOON, "{path}: {waited:?}");
    }
}

#[tokio::test]
async fn what_came_of_a_request_is_counted_whatever_it_is_for() {
    let requests = Room::new(1_600);
    let served = serve_within(requests.clone()).await;
    for path in UNARY.into_iter().chain(OTHERS) {
        let (more, body) = begun(&[&[0, 0, 0, 4, 0][..], &[7; 1_019]].concat());
        let first = served.told(path, NOTHING, body);
        let second = async {
            while requests.hold(1_500).is_ok() {
                tokio::task::yield_now().await;
            }
            let (_more, body) = begun(&[&[0, 0, 0, 4, 0][..], &[7; 1_019]].concat());
            let told = served.told(path, NOTHING, body).await;
            drop(more);
            told
        };
        let both = async { tokio::join!(first, second) };
        let told = tokio::time::timeout(PATIENCE / 3, both).await;
        let (first, second) = told.unwrap_or_else(|_| panic!("{path} is not counted"));
        assert_eq!(second.0, Code::ResourceExhausted, "{path}");
        assert_ne!(first.0, Code::ResourceExhausted, "{path}");
        while requests.hold(1_600).is_err() {
            tokio::task::yield_now().await;
        }
    }
}

/// Less than from one timer of these tests to the next.
const SOON: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn what_is_a_stream_goes_on_as_long_as_somebody_says_something() {
    let served = serve().await;
    let mut health = HealthClient::new(served.channel.clone());
    let whole = HealthCheckRequest::default();
    let mut watched = health.watch(whole).await.unwrap().into_inner();
    watched.message().await.unwrap().unwrap();
    let (more, asked) = mpsc::unbounded_channel();
    let list = || ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let mut reflection = ServerReflectionClient::new(served.channel.clone());
    let asked = UnboundedReceiverStream::new(asked);
    more.send(list()).unwrap();
    let mut answers = reflection.server_reflection_info(asked).await.unwrap().into_inner();
    for _ in 0..4 {
        assert!(answers.message().await.unwrap().is_some());
        tokio::time::sleep(PATIENCE / 2).await;
        more.send(list()).unwrap();
    }
    assert!(answers.message().await.unwrap().is_some());
    let begin = Instant::now();
    // Nothing more is said: it ends in order.
    let end = tokio::time::timeout(PATIENCE * 2, answers.message()).await;
    assert!(end.unwrap().unwrap().is_none());
    let waited = begin.elapsed();
    assert!(waited >= PATIENCE - SOON && waited < PATIENCE + SOON, "{waited:?}");
    served.health.set_service_status("", ServingStatus::NotServing).await;
    let status = watched.message().await.unwrap().unwrap().status;
    assert_eq!(
        status,
        i32::from(tonic_health::pb::health_check_response::ServingStatus::NotServing)
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_of_many_has_to_end_and_none_has_to_begin() {
    let served = serve().await;
    // Two of two bytes each.
    let message = [0, 0, 0, 0, 2, 8, 7];
    let (more, body) = begun(&[&message[..], &message].concat());
    let request = Request::builder().method(Method::POST).uri("/norikv.v1.Kv/Pipe");
    let request = request.header(CONTENT_TYPE, "application/grpc").body(body).unwrap();
    // tonic's channel goes on with a request when its answer has begun.
    let mut answer = served.channel.clone().oneshot(request).await.unwrap().into_body();
    let mut answered = 0;
    let mut next = async || answer.frame().await.unwrap().unwrap();
    while answered < 2 * message.len() {
        answered += next().await.into_data().unwrap().len();
    }
    tokio::time::sleep(PATIENCE * 10).await;
    let begin = Instant::now();
    // One ends, and the next one begins: it has a time of its own.
    more.send(Bytes::copy_from_slice(&message[..4])).unwrap();
    tokio::time::sleep(PATIENCE / 2).await;
    more.send(Bytes::copy_from_slice(&[&message[4..], &message[..6]].concat())).unwrap();
    assert_eq!(next().await.into_data().unwrap().len(), message.len());
    let trailers = next().await.into_trailers().unwrap();
    assert_eq!(Status::from_header_map(&trailers).unwrap().code(), Code::InvalidArgument);
    let waited = begin.elapsed();
    assert!(waited >= PATIENCE * 3 / 2 && waited < PATIENCE * 3 / 2 + SOON, "{waited:?}");
}
