//! Accepts connections and serves them until told to stop.
//!
//! A slow or silent client holds a connection, never more: headers must come in time, and every connection is a
//! task of its own.

use std::io;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use warp::filters::BoxedFilter;
use warp::reply::Response;

/// How long a connection may wait for the headers of its next request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after a failed accept: most often the process has no descriptor left, and one must be closed first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `routes` until `stop`; then accepts no more, lets each connection finish its response, and waits for
/// them up to `patience`.
pub async fn serve(
    listener: TcpListener,
    routes: BoxedFilter<(Response,)>,
    stop: CancellationToken,
    patience: Duration,
) {
    let connections = GracefulShutdown::new();
    let service = warp::service(routes);
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
        // Tokens are small and urgent; without this they wait for the acknowledgement of the one before.
        drop(stream.set_nodelay(true));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service.clone()));
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                // Clients that go away are everyday life.
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(patience, connections.shutdown()).await.is_err() {
        tracing::warn!("connections were still open when the time to drain was over");
    }
}

async fn accept_failed(error: &io::Error) {
    let client_left =
        matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset);
    if !client_left {
        tracing::warn!(%error, "cannot accept a connection");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}
