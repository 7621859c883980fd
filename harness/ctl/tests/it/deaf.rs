//! The program against other ends that do not answer as they should: what it says, with which code, and that it ends in time.

use super::{command, told};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use norikv_proto::v1;
use prost::Message as _;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const TIMEOUT: Duration = Duration::from_millis(1500);
/// For a process to begin and to end while others run.
const NOISE: Duration = Duration::from_millis(700);

/// Runs `each` with every connection that comes.
fn listen<F>(each: impl Fn(TcpStream, String) -> F + Send + 'static) -> (Runtime, String)
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let of = address.clone();
    runtime.spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(each(socket, of.clone()));
        }
    });
    (runtime, address)
}

/// Of two members with one shard, both at one address.
fn topology(address: &str) -> Bytes {
    let node = |node_id: u64| v1::Node {
        node_id,
        name: format!("node-{node_id}"),
        client_address: address.to_owned(),
        ..v1::Node::default()
    };
    let shard = v1::Shard { voters: vec![1, 2], leader: 1, term: 1, ..v1::Shard::default() };
    let topology = Some(v1::Topology {
        cluster_id: 1,
        epoch: 1,
        nodes: vec![node(1), node(2)],
        shards: vec![shard],
        ..v1::Topology::default()
    });
    let message = v1::WatchTopologyResponse { topology }.encode_to_vec();
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
    frame.freeze()
}

/// Tells the topology, and is silent about everything else; what is scanned begins, and has no rows.
async fn tell_the_topology_alone(socket: TcpStream, address: String) {
    let mut connection = h2::server::handshake(socket).await.unwrap();
    let mut kept = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let path = request.uri().path().to_owned();
        if path.ends_with("/WatchTopology") || path.ends_with("/Scan") {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            if path.ends_with("/WatchTopology") {
                stream.send_data(topology(&address), false).unwrap();
            }
            kept.push((None, Some(stream)));
        } else {
            kept.push((Some(respond), None));
        }
    }
}

#[test]
fn whoever_falls_silent_is_waited_for_until_the_timeout_and_no_longer() {
    let (_runtime, address) = listen(tell_the_topology_alone);
    let timeout = format!("{}ms", TIMEOUT.as_millis());
    let ways: [(&[&str], i32); 8] = [
        (&["get", "a"], 8),
        (&["scan"], 8),
        (&["shard", "status", "0"], 0),
        (&["shard", "flush", "0"], 0),
        (&["node", "status"], 8),
        // What was asked for may be done.
        (&["node", "drain", "node-1"], 7),
        (&["node", "remove", "node-2", "--dead"], 7),
        (&["cluster", "wait-ready"], 8),
    ];
    for (args, expected) in ways {
        let begun = Instant::now();
        let (code, out, err) =
            told(&command(&address, &[&["--timeout", &timeout], args].concat()).output().unwrap());
        let elapsed = begun.elapsed();
        assert_eq!(code, expected, "{args:?}: {out} {err}");
        assert!(elapsed < TIMEOUT + NOISE, "{args:?} took {elapsed:?}: {out} {err}");
        // What each of two replicas did not say is told of each.
        let said = (out + &err).matches(&format!("{address} has not answered within")).count();
        assert!(
            said == if expected == 0 { 2 } else { 1 } || args[1..] == ["wait-ready"],
            "{args:?}"
        );
    }
    // Two ends that are silent take no longer than one.
    let both = format!("{address},{address}");
    let begun = Instant::now();
    let args = ["--timeout", &timeout, "cluster", "status"];
    let (code, _, err) = told(&command(&both, &args).output().unwrap());
    assert!(code == 8 && err.contains(&address), "{code} {err}");
    assert!(begun.elapsed() < TIMEOUT + NOISE, "{:?}", begun.elapsed());
}

/// Of both a command that asks for the topology first and one that does not: unavailable, in one sentence that names the address once.
fn is_unavailable(address: &str, what: &str) {
    for args in [["cluster", "status"], ["get", "a"]] {
        let args = [&["--timeout", "700ms"][..], &args].concat();
        let (code, _, err) = told(&command(address, &args).output().unwrap());
        assert_eq!((code, err.lines().count()), (8, 1), "{err}");
        assert_eq!(err.matches(address).count(), 1, "{err}");
        assert!(err.contains(&what.replace("{}", address)), "{err}");
    }
}

#[test]
fn a_connection_that_breaks_is_nobody_that_could_serve() {
    let (_runtime, address) = listen(async |socket, _| drop(socket));
    is_unavailable(&address, "the connection to {} broke: ");
    let (_runtime, address) = listen(|mut socket, _| async move {
        let _ = socket.read(&mut [0; 1024]).await;
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        // Closed with what it has not read, it would be reset before that is seen.
        while socket.read(&mut [0; 1024]).await.is_ok_and(|bytes| bytes > 0) {}
    });
    is_unavailable(&address, "{} does not speak HTTP/2 as it should: ");
    let (_runtime, address) = listen(|mut socket, _| async move {
        let _ = socket.read(&mut [0; 1024]).await;
        // SETTINGS, and GOAWAY: no stream was looked at, for a protocol error.
        let settings = *b"\0\0\0\x04\0\0\0\0\0";
        let farewell = *b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01";
        let _ = socket.write_all(&[&settings[..], &farewell].concat()).await;
        while socket.read(&mut [0; 1024]).await.is_ok_and(|bytes| bytes > 0) {}
    });
    is_unavailable(&address, "{} has ended the connection: ");
}

#[test]
fn an_answer_without_a_word_is_told_with_its_code_and_address() {
    let (_runtime, address) = listen(|socket, _| async move {
        let mut connection = h2::server::handshake(socket).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut answer = Response::new(());
            *answer.headers_mut() = HeaderMap::from_iter(
                [("grpc-status", "99"), ("grpc-message", "")].map(|(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::from_static(value))
                }),
            );
            let _: h2::SendStream<Bytes> = respond.send_response(answer, true).unwrap();
        }
    });
    is_unavailable(&address, "{} has answered with gRPC status 99 and no message");
}
