//! Connections that come in, each served by hyper as it is.
//!
//! tonic's own server puts layers for limits, tracing, time and recovery around each request, with a box and a clone or two for each: as much as the service itself costs where a
//! request is one row. What of it is wanted here is little:
//!
//! 1. A connection is taken in if there is room ([`Way`]), with the bounds of [`builder`].
//! 2. A request that says by when it wants its answer (`grpc-timeout`) is told when that time is over: at once, and before anything is done for it, if it gives none. One that
//!    says it in other words than gRPC's is refused: who asks would wait for something else than it believes.
//! 3. A stop takes no more connections, tells those there are that they should go elsewhere, and ends when they have.

use crate::connection::Way;
use crate::errors::Failure;
use crate::serve::ended;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Status;
use tonic::codegen::Service;
use tonic::codegen::http::{HeaderValue, Request, Response};
use tonic::transport::server::Connected as _;

/// Streams of one connection: as many requests may be under way on it.
const STREAMS_MAX: u32 = 1_024;
/// Bytes of a stream, and of a connection, that may come before they are taken.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// A client of which nothing is heard is asked whether it is there, and let go if it does not answer.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Headers of a request, as HTTP/2 counts them: 32 bytes for each beside its name and value. Clients are told of it, and beyond it hyper answers 431 by itself: such a request
/// does not come here.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// After a connection that could not be taken, for want of files for example.
const PAUSE: Duration = Duration::from_millis(20);
/// The header by which a client says how long it waits.
const TIMEOUT: &str = "grpc-timeout";

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        // gRPC has no use for it.
        .auto_date_header(false)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_header_list_size(HEADER_BYTES_MAX);
    builder
}

/// Whether a service wants to know who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    Named,
    Nameless,
}

/// Serves until it is stopped and everybody has gone.
pub(crate) async fn serve<S, B>(
    service: S,
    listener: TcpListener,
    (way, asker): (Way, Asker),
    stopped: watch::Receiver<bool>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>,
    S: Clone + Send + 'static,
    B: http_body::Body<Data = Bytes, Error = Status> + Default + Send + 'static,
{
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(ended(stopped));
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let _ = socket.set_nodelay(true);
        let Some(connection) = way.admit(socket) else { continue };
        let from = (asker == Asker::Named).then(|| connection.connect_info());
        let service = service.clone();
        let answer = service_fn(move |mut request: Request<Incoming>| {
            if let Some(from) = &from {
                request.extensions_mut().insert(from.clone());
            }
            answer(service.clone(), request)
        });
        let served = builder().serve_connection(TokioIo::new(connection), answer);
        tokio::spawn(graceful.watch(served));
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn answer<S, B>(mut service: S, request: Request<Incoming>) -> Result<Response<B>, Infallible>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Default,
{
    let Some(text) = request.headers().get(TIMEOUT) else { return service.call(request).await };
    let answered = match timeout_of(text) {
        Err(failure) => return Ok(Status::from(failure).into_http()),
        // A timer would let the service begin before it looks at the clock.
        Ok(Duration::ZERO) => None,
        Ok(time) => tokio::time::timeout(time, service.call(request)).await.ok(),
    };
    answered.unwrap_or_else(|| {
        Ok(Status::deadline_exceeded("the time that the request gave is over").into_http())
    })
}

/// How long a client waits, in the words of gRPC: up to eight digits and a unit.
fn timeout_of(text: &HeaderValue) -> Result<Duration, Failure> {
    let time = text.to_str().ok().and_then(|text| {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let count = digits.parse().ok()?;
        match unit {
            "H" => Some(Duration::from_secs(count * 3_600)),
            "M" => Some(Duration::from_secs(count * 60)),
            "S" => Some(Duration::from_secs(count)),
            "m" => Some(Duration::from_millis(count)),
            "u" => Some(Duration::from_micros(count)),
            "n" => Some(Duration::from_nanos(count)),
            _ => None,
        }
    });
    time.ok_or_else(|| {
        let what = "one to eight digits and one of H, M, S, m, u, n";
        Failure::Invalid(format!("{TIMEOUT} is {text:?}, and not {what}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_read_or_refused() {
        let of = |text: &'static str| timeout_of(&HeaderValue::from_static(text));
        assert_eq!(of("0S"), Ok(Duration::ZERO));
        assert_eq!(of("1H"), Ok(Duration::from_secs(3_600)));
        assert_eq!(of("99999999H"), Ok(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!(of("250m"), Ok(Duration::from_millis(250)));
        assert_eq!(of("7u"), Ok(Duration::from_micros(7)));
        for wrong in ["", "m", "123456789m", "+1m", "1", "1x", "-1S", "1 S", "abc"] {
            assert_eq!(of(wrong).unwrap_err().reason(), "INVALID", "{wrong}");
        }
        assert!(timeout_of(&HeaderValue::from_bytes(b"1\xff").unwrap()).is_err());
    }
}
