//! Requests for keys go straight to their service.
//!
//! What a server serves is found by a router: a look-up of the path, a clone of a boxed service, and a future in a box around one in a box. That is nothing for what is asked
//! once a minute, and a tenth of a read. So the service that nearly all requests are for is asked first. Its answers are the long ones, and are counted here ([`crate::answers`]).

use crate::answers::Answers;
use norikv_proto::v1::kv_server::{KvServer, SERVICE_NAME};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::service::Routes;

/// One service before all others.
#[derive(Clone)]
pub(crate) struct Express<T> {
    kv: KvServer<T>,
    others: Routes,
    answers: Answers,
}

impl<T> Express<T> {
    pub(crate) fn new(kv: KvServer<T>, others: Routes, answers: Answers) -> Self {
        Self { kv, others: others.prepare(), answers }
    }
}

/// Whether a path is one of the service's.
fn is_express(path: &str) -> bool {
    let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(SERVICE_NAME));
    rest.is_some_and(|rest| rest.starts_with('/'))
}

impl<T> Service<Request<Body>> for Express<T>
where
    KvServer<T>: Service<
            Request<Body>,
            Response = Response<Body>,
            Error = Infallible,
            Future = BoxFuture<Response<Body>, Infallible>,
        >,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // That of the other is always ready.
        Service::<Request<Body>>::poll_ready(&mut self.others, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        if is_express(request.uri().path()) {
            Answer::Express(self.kv.call(request), self.answers.clone())
        } else {
            Answer::Routed(Box::new(self.others.call(request)))
        }
    }
}

/// What one of them answers.
pub(crate) enum Answer {
    Express(BoxFuture<Response<Body>, Infallible>, Answers),
    /// In a box, so that it is no larger than the other.
    Routed(Box<<Routes as Service<Request<Body>>>::Future>),
}

impl Future for Answer {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Express(answer, answers) => {
                answer.as_mut().poll(cx).map_ok(|response| answers.count(response))
            }
            Self::Routed(answer) => Pin::new(answer).poll(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_express;

    #[test]
    fn only_the_service_itself_goes_before_the_others() {
        assert!(is_express("/norikv.v1.Kv/Get") && is_express("/norikv.v1.Kv/Nothing"));
        for path in ["/norikv.v1.KvAdmin/Get", "/norikv.v1.Kv", "norikv.v1.Kv/Get", "/", ""] {
            assert!(!is_express(path), "{path}");
        }
    }
}
