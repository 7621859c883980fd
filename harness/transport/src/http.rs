//! HTTP for people, scrapers and whoever has no gRPC.
//!
//! | path | what it says |
//! |---|---|
//! | `/livez` | 200 as long as the loop of the node answers: a restart would not help |
//! | `/readyz` | 200 if every replica of the node has a leader it hears; else 503 and why not |
//! | `/metrics` | counts, in the text format of Prometheus |
//! | `/v1/kv/KEY` | `GET`, `PUT` (the body is the value) and `DELETE` of a key, which is percent-encoded in the path |
//! | `/v1/state/topology` | who is where |
//! | `/v1/events` | what happens, as server-sent events |
//!
//! Errors are JSON: `reason` and `metadata` as in [`crate::errors`], and `message`.

use crate::errors::Failure;
use crate::patience::{Awaited, Came, Timely};
use crate::room::Room;
use crate::serving::Serving;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse, Response, Sse as SseResponse};
use axum::routing::get;
use axum::{Json, Router, body::Body};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use nori_kv::Tick;
use norikv_node::Event;
use norikv_proto::causes::told;
use norikv_replica::{Condition, Freshness, Identity, KeyChange, Refusal};
use serde::Deserialize;
use serde_json::json;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

/// The loop is alive if it answers within this.
const ALIVE: Duration = Duration::from_secs(10);

/// Events that may wait for whoever watches.
const EVENTS_MAX: usize = 64;

/// Writes all counts in the text format of Prometheus.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Clone)]
struct Context {
    serving: Serving,
    /// Room for what came of requests.
    requests: Room,
    metrics: Metrics,
    stopped: watch::Receiver<bool>,
}

/// Everything under `/`.
pub(crate) fn router(
    serving: Serving,
    requests: Room,
    metrics: Metrics,
    stopped: watch::Receiver<bool>,
) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/v1/kv/{*key}", get(kv_get).put(kv_put).delete(kv_delete))
        .route("/v1/state/topology", get(state_topology))
        .route("/v1/events", get(events))
        .with_state(Context { serving, requests, metrics, stopped })
}

async fn livez(State(context): State<Context>) -> Response {
    let answer = context.serving.handle().ask(|_, _| ());
    match tokio::time::timeout(ALIVE, answer).await {
        Ok(Some(())) => "ok\n".into_response(),
        Ok(None) => (StatusCode::SERVICE_UNAVAILABLE, "the node has ended\n").into_response(),
        Err(_) => {
            let what = format!("the loop of the node has not answered for {ALIVE:?}\n");
            (StatusCode::SERVICE_UNAVAILABLE, what).into_response()
        }
    }
}

async fn readyz(State(context): State<Context>) -> Response {
    match context.serving.handle().topology().is_ready() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response(),
    }
}

async fn metrics_text(State(context): State<Context>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, (context.metrics)()).into_response()
}

async fn state_topology(State(context): State<Context>) -> Response {
    Json(&*context.serving.handle().topology()).into_response()
}

async fn events(State(context): State<Context>) -> Response {
    let mut events = context.serving.handle().events();
    let (tell, told) = mpsc::channel(EVENTS_MAX);
    let all = async move {
        loop {
            let event = match events.recv().await {
                Ok(event) => Sse::default().event("event").data(describe(&event).to_string()),
                // Whoever is slow is told how much he has not seen.
                Err(RecvError::Lagged(missed)) => {
                    Sse::default().event("missed").data(missed.to_string())
                }
                Err(RecvError::Closed) => return,
            };
            if tell.send(Ok::<_, Infallible>(event)).await.is_err() {
                return;
            }
        }
    };
    tokio::spawn(crate::serve::until(context.stopped, all));
    SseResponse::new(ReceiverStream::new(told)).keep_alive(KeepAlive::default()).into_response()
}

/// An event in JSON.
pub fn describe(event: &Event) -> serde_json::Value {
    match event {
        Event::Chartered { name } => json!({ "kind": "chartered", "cluster": name }),
        Event::MapChanged { epoch } => json!({ "kind": "map_changed", "epoch": epoch }),
        Event::RoleChanged { shard, role, term, leader } => json!({
            "kind": "role_changed", "shard": shard.0, "role": crate::topology::role_name(*role),
            "term": term.0, "leader": leader.map(|node| node.0),
        }),
        Event::ReplicaGone { shard } => json!({ "kind": "replica_gone", "shard": shard.0 }),
        Event::Member { node, state } => {
            let state = format!("{state:?}").to_lowercase();
            json!({ "kind": "member", "node": node.0, "state": state })
        }
        Event::Failed { shard, why } => {
            json!({ "kind": "replica_failed", "shard": shard.0, "why": why })
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.code() {
            Code::Aborted => StatusCode::CONFLICT,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::InvalidArgument if self.reason() == "TOO_LARGE" => StatusCode::PAYLOAD_TOO_LARGE,
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::FailedPrecondition if self.reason() == "NOT_LEADER" => {
                StatusCode::MISDIRECTED_REQUEST
            }
            Code::FailedPrecondition => StatusCode::PRECONDITION_FAILED,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let body = json!({
            "reason": self.reason(), "message": self.to_string(), "metadata": self.metadata(),
        });
        (status, Json(body)).into_response()
    }
}

/// A part of a request; one that cannot be read is told of as every other error is.
struct Asked<T>(T);

impl<S: Send + Sync, T> FromRequestParts<S> for Asked<T>
where
    T: FromRequestParts<S, Rejection: std::error::Error>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        T::from_request_parts(parts, state)
            .await
            .map(Self)
            .map_err(|error| Failure::Invalid(told(&error)))
    }
}

/// A value as it came, and the room for it until the request is answered.
struct Brought {
    value: Bytes,
    _came: Came,
}

impl FromRequest<Context> for Brought {
    type Rejection = Failure;

    async fn from_request(request: Request, context: &Context) -> Result<Self, Failure> {
        let bytes_max = context.serving.limits().replica.value_bytes_max;
        let too_large = |bytes| Refusal::TooLarge { what: "value", bytes, bytes_max }.into();
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length: Option<usize> = length.and_then(|length| length.to_str().ok()?.parse().ok());
        if let Some(bytes) = length.filter(|bytes| *bytes > bytes_max) {
            return Err(too_large(bytes));
        }
        let came = Came::new(&context.requests);
        let value = gather(request.into_body(), bytes_max, &came).await?;
        let value = value.ok_or_else(|| too_large(bytes_max + 1))?;
        Ok(Self { value, _came: came })
    }
}

/// A body, which has to come in time; `None` if it is longer than it may be.
async fn gather(body: Body, bytes_max: usize, came: &Came) -> Result<Option<Bytes>, Failure> {
    let mut body = Timely::new(body, Awaited::End, came.clone());
    let mut all = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|status| match status.code() {
            Code::ResourceExhausted => Failure::Overloaded,
            Code::InvalidArgument => Failure::Invalid(status.message().to_owned()),
            _ => Failure::Invalid("the body of the request does not come".to_owned()),
        })?;
        let Ok(bytes) = frame.into_data() else { continue };
        if bytes.len() > bytes_max - all.len() {
            return Ok(None);
        }
        all.extend_from_slice(&bytes);
    }
    Ok(Some(all.freeze()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetQuery {
    consistency: Option<String>,
    age_max_ms: Option<u64>,
    version_min: Option<u64>,
}

async fn kv_get(
    State(context): State<Context>,
    Asked(Path(key)): Asked<Path<String>>,
    Asked(Query(query)): Asked<Query<GetQuery>>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let is_bound = query.age_max_ms.is_some() || query.version_min.is_some();
    let freshness = match query.consistency.as_deref() {
        Some("stale") => Freshness::Stale {
            age_max: query.age_max_ms.map(Duration::from_millis),
            version_min: query.version_min.unwrap_or(0),
        },
        _ if is_bound => {
            return Err(Failure::Invalid("bounds of age and version are for stale reads".into()));
        }
        None | Some("lease") => Freshness::Lease,
        Some("linearizable") => Freshness::Linearizable,
        Some(other) => {
            let what = format!("no consistency is called {other:?}: lease, linearizable or stale");
            return Err(Failure::Invalid(what));
        }
    };
    let read = context.serving.get(Bytes::from(key.clone()), freshness).await?;
    let Some(row) = read.row else {
        let body = json!({ "key": key, "found": false, "version": 0, "node_id": read.node });
        return Ok((StatusCode::NOT_FOUND, Json(body)).into_response());
    };
    let wants = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if wants == Some("application/octet-stream") {
        let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
        return Ok((kind, row.bytes).into_response());
    }
    let age_ms = read.age.map(|age| age.as_secs_f64() * 1e3);
    Ok(Json(json!({
        "key": key, "found": true, "version": row.version, "node_id": read.node, "age_ms": age_ms,
        "value": BASE64_STANDARD.encode(&row.bytes), "text": std::str::from_utf8(&row.bytes).ok(),
    }))
    .into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteQuery {
    ttl_ms: Option<u64>,
    if_version: Option<u64>,
    #[serde(default)]
    if_absent: bool,
    idempotency_key: Option<String>,
    /// When the key was made; the same in every attempt, or the second would be another request.
    issued_at_ms: Option<u64>,
}

impl WriteQuery {
    fn change(&self, key: String, value: Option<Bytes>) -> Result<KeyChange, Failure> {
        let condition = match (self.if_absent, self.if_version) {
            (true, Some(_)) => {
                return Err(Failure::Invalid("if_absent and if_version exclude each other".into()));
            }
            (true, None) => Condition::Absent,
            (false, Some(version)) => Condition::Version(version),
            (false, None) => Condition::None,
        };
        let ttl = self.ttl_ms.filter(|ttl| *ttl > 0).map(Duration::from_millis);
        Ok(KeyChange { key: Bytes::from(key), condition, value, ttl })
    }

    fn identity(&self) -> Result<Option<Identity>, Failure> {
        match (&self.idempotency_key, self.issued_at_ms) {
            (None, None) => Ok(None),
            (Some(key), Some(at)) => {
                Ok(Some(Identity::Key { issued_at: Tick(at), key: Bytes::from(key.clone()) }))
            }
            _ => {
                let what = "idempotency_key and issued_at_ms go together: each attempt has both";
                Err(Failure::Invalid(what.to_owned()))
            }
        }
    }
}

async fn write(
    context: &Context,
    query: &WriteQuery,
    change: KeyChange,
) -> Result<Response, Failure> {
    let version = context.serving.write(query.identity()?, vec![change]).await?;
    Ok(Json(json!({ "version": version })).into_response())
}

async fn kv_put(
    State(context): State<Context>,
    Asked(Path(key)): Asked<Path<String>>,
    Asked(Query(query)): Asked<Query<WriteQuery>>,
    brought: Brought,
) -> Result<Response, Failure> {
    let change = query.change(key, Some(brought.value.clone()))?;
    write(&context, &query, change).await
}

async fn kv_delete(
    State(context): State<Context>,
    Asked(Path(key)): Asked<Path<String>>,
    Asked(Query(query)): Asked<Query<WriteQuery>>,
) -> Result<Response, Failure> {
    let change = query.change(key, None)?;
    write(&context, &query, change).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_has_to_fit_and_to_come_in_time() {
        let requests = Room::new(4_000);
        let body = || Body::from(vec![7; 3_000]);
        let came = Came::new(&requests);
        assert_eq!(gather(body(), 3_000, &came).await, Ok(Some(vec![7; 3_000].into())));
        // Until the first is answered.
        let other = Came::new(&requests);
        assert_eq!(gather(body(), 3_000, &other).await, Err(Failure::Overloaded));
        drop(came);
        assert_eq!(gather(body(), 2_999, &other).await, Ok(None));
        let never = Body::from_stream(tokio_stream::pending::<Result<Bytes, Infallible>>());
        let late = gather(never, 10, &Came::new(&requests)).await.unwrap_err();
        assert_eq!(late.reason(), "INVALID");
        assert!(late.to_string().contains("did not come within 30s"), "{late}");
    }
}
