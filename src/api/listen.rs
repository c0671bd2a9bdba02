//! Accepts connections and serves them until told to stop.
//!
//! A slow or silent client holds a connection, never more, and not for ever: headers must come in time, what is sent must
//! be taken in time, there are so many connections and no more, and every connection is a task of its own.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Uri};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use metrics::counter;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::util::option_layer;
use tower::{Layer, Service};
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::connections::{Answering, Connections};
use super::cors;
use crate::policy::ServerPolicy;
use crate::telemetry::CONNECTIONS_CLOSED;

/// How long a connection may wait for the headers of its next request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after a failed accept: most often the process has no descriptor left, and one must be closed first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `routes` until `stop`; then accepts no more, lets each connection finish its response, and waits for
/// them up to `patience`.
pub async fn serve(
    listener: TcpListener,
    routes: BoxedFilter<(Response,)>,
    policy: ServerPolicy,
    stop: CancellationToken,
    patience: Duration,
) {
    let (graceful, connections) = (GracefulShutdown::new(), Connections::new(policy.max_connections));
    let service = option_layer(cors::layer(&policy.cors_origins)).layer(warp::service(routes));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        let Some((connection, made_room)) = connections.admit() else {
            closed("refused");
            continue;
        };
        if made_room {
            closed("idle");
        }
        let connection = Arc::new(connection);
        let (service, of) = (service.clone(), Arc::clone(&connection));
        let answers = service_fn(move |mut request: Request<Incoming>| {
            let (mut service, answering) = (service.clone(), of.answers());
            // CONNECT names a host and no path, and warp panics over that.
            if request.uri().path_and_query().is_none() {
                *request.uri_mut() = Uri::from_static("/");
            }
            async move {
                let response = service.call(request).await?;
                Ok::<_, Infallible>(response.map(|body| Held { body: Box::pin(body), _answering: answering }))
            }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(patient(stream, policy.client_timeout)), answers);
        let serving = graceful.watch(serving);
        tokio::spawn(async move {
            tokio::select! {
                () = connection.closed() => {}
                outcome = serving => outcome.unwrap_or_else(|error| ended(&error)),
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(patience, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open when the time to drain was over");
    }
}

/// The body of an answer: its connection is busy until all of it was handed over.
struct Held<B> {
    body: Pin<Box<B>>,
    _answering: Answering,
}

impl<B: Body> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.body.as_mut().poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    // Without it the answer would have no `content-length`.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose writes fail when the client takes nothing for `timeout`, whether it does not read or is gone without a
/// word.
fn patient(stream: TcpStream, timeout: Duration) -> Pin<Box<TimeoutStream<TcpStream>>> {
    // Tokens are small and urgent; without this they wait for the acknowledgement of the one before.
    drop(stream.set_nodelay(true));
    let socket = SockRef::from(&stream);
    // A client whose machine is gone is noticed while nothing is sent, too.
    let keepalive =
        TcpKeepalive::new().with_time(timeout).with_interval(timeout.max(Duration::from_secs(3)) / 3);
    drop(socket.set_tcp_keepalive(&keepalive));
    // What the system has taken over and the client does not take is waited for as long again.
    #[cfg(target_os = "linux")]
    drop(socket.set_tcp_user_timeout(Some(timeout * 2)));
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(timeout));
    Box::pin(stream)
}

fn closed(reason: &'static str) {
    counter!(CONNECTIONS_CLOSED, "reason" => reason).increment(1);
}

fn ended(error: &hyper::Error) {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    if cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut) {
        closed("not_reading");
    } else if error.is_timeout() {
        closed("no_request");
    }
    // Clients that go away are everyday life.
    tracing::debug!(%error, "connection ended");
}

async fn accept_failed(error: &io::Error) {
    let client_left =
        matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset);
    if !client_left {
        tracing::warn!(%error, "cannot accept a connection");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}
