//! Speaks HTTP with one server; the only user of hyper's client.
//!
//! Connections are kept and used again. A server may close one at any time without saying so: a request that finds
//! its connection closed before anything was answered is sent once more, on a new one.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::target::Target;

type Connection = SendRequest<String>;

/// Why a server gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// There is no connection.
    #[error("cannot connect to {authority}: {error}")]
    Connect { authority: String, error: std::io::Error },
    /// The connection failed.
    #[error("{0}")]
    Broken(hyper::Error),
}

/// One server, and connections to it that wait for their next request.
#[derive(Debug)]
pub(super) struct HttpClient {
    target: Target,
    authorization: Option<HeaderValue>,
    idle: Mutex<Vec<Connection>>,
}

/// An answer, whose body is still to come.
pub(super) struct Reply<'client> {
    pub status: u16,
    body: Incoming,
    client: &'client HttpClient,
    connection: Option<Connection>,
}

impl HttpClient {
    /// `authorization`: the value of that header.
    pub(super) fn new(target: Target, authorization: Option<HeaderValue>) -> Self {
        Self { target, authorization, idle: Mutex::new(Vec::new()) }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Asks, and gives the answer when it has begun.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Reply<'_>, HttpError> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        let path = format!("{}{path}", self.target.prefix);
        *request.uri_mut() = path.parse().expect("a prefix from a URL, and a path of this program");
        let headers = request.headers_mut();
        let host = HeaderValue::from_str(&self.target.authority).expect("an authority from a URL");
        headers.insert(header::HOST, host);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        while let Some(mut connection) = self.take_idle() {
            // It fails if the server has closed it, and the next one may have been closed, too.
            if connection.ready().await.is_ok()
                && let Ok(response) = connection.send_request(request.clone()).await
            {
                return Ok(self.reply(response, connection));
            }
        }
        let mut connection = self.connect().await?;
        let response = connection.send_request(request).await.map_err(HttpError::Broken)?;
        Ok(self.reply(response, connection))
    }

    /// The idle connections. Nothing that holds the lock can panic.
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle().pop()
    }

    fn reply(&self, response: http::Response<Incoming>, connection: Connection) -> Reply<'_> {
        let status = response.status().as_u16();
        Reply { status, body: response.into_body(), client: self, connection: Some(connection) }
    }

    async fn connect(&self) -> Result<Connection, HttpError> {
        let Target { host, port, authority, .. } = &self.target;
        let failed = |error| HttpError::Connect { authority: authority.clone(), error };
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
        // A request is one small write that has nothing to wait for.
        drop(stream.set_nodelay(true));
        let (connection, driver) = handshake(TokioIo::new(stream)).await.map_err(HttpError::Broken)?;
        // It ends with the connection; whoever waits for an answer hears of errors.
        tokio::spawn(async move { drop(driver.await) });
        Ok(connection)
    }
}

impl Reply<'_> {
    /// The next bytes of the body; `None` at its end.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, HttpError>> {
        loop {
            let frame = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await;
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => return Some(Ok(data)),
                // Trailers.
                Some(Ok(Err(_))) => {}
                Some(Err(error)) => return Some(Err(HttpError::Broken(error))),
                None => {
                    self.client.idle().extend(self.connection.take());
                    return None;
                }
            }
        }
    }

    /// The whole body as text.
    pub(super) async fn text(mut self) -> Result<String, HttpError> {
        let mut bytes = Vec::new();
        while let Some(part) = self.next().await {
            bytes.extend_from_slice(&part?);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
