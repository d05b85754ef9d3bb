//! Serving HTTP so that a stop cuts nobody off, and the proxy.
//!
//! In: a listener and a handler. Out: answers. Guaranteed: a connection that the kernel accepted before the stop is
//! answered, and only then does the process end. Must not: keep a resolved address (the engine's DNS changes under us).

use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::{Request, Response, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Say, ServerError, Variables, address};

/// What is answered.
pub(super) type Answer = Response<Full<Bytes>>;

/// How long the upstream may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// The largest request or answer that is handed on.
const BODY_MAX: usize = 8 << 20;

/// An answer of plain text.
pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body.into())));
    *answer.status_mut() = status;
    answer
}

/// Serves `handle` on `port` until `stop`, then finishes what was accepted.
pub(super) async fn serve<H, F>(
    port: u16,
    handle: H,
    say: &Say,
    stop: &CancellationToken,
) -> Result<(), ServerError>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let listener = TcpListener::bind(("0.0.0.0", port))
        .await
        .map_err(ServerError::io(format!("listen on {port}")))?;
    say(&format!("listening on {port}"));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => {
                // A failed accept is the caller's misfortune (it went away), or ours for a moment (too many files).
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, handle.clone(), stop.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
    // What waits in the kernel's queue was accepted as far as its sender knows.
    while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
        connections.spawn(connection(stream, handle.clone(), stop.clone()));
    }
    drop(listener);
    say("stopping: finishing accepted requests");
    while connections.join_next().await.is_some() {}
    say("stopped");
    Ok(())
}

async fn connection<H, F>(stream: TcpStream, handle: H, stop: CancellationToken)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Answer>,
{
    let service = service_fn(|request| {
        let (answer, stop) = (handle(request), stop.clone());
        async move {
            let mut answer = answer.await;
            if stop.is_cancelled() {
                answer
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            // A connection on which nothing was asked yet would be closed unanswered: give its request the time to arrive.
            tokio::select! {
                served = connection.as_mut() => served,
                () = tokio::time::sleep(Duration::from_millis(200)) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    // The client went away; there is nobody to tell.
    drop(served);
}

/// Hands each request on to the upstream that `file` names.
pub(super) async fn proxy(
    file: &Path,
    variables: &Variables,
    say: Say,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    let text = std::fs::read_to_string(file).map_err(ServerError::io(format!("read {}", file.display())))?;
    let (port, upstream) = configuration(&text).map_err(ServerError::Configuration)?;
    say(&format!("handing on to {upstream}"));
    let upstream: Arc<str> = address::of(&upstream, variables).into();
    let handle = move |request: Request<Incoming>| {
        let upstream = upstream.clone();
        async move {
            if request.uri().path() == "/proxy-health" {
                return self::text(StatusCode::OK, "ok\n");
            }
            hand_on(request, &upstream)
                .await
                .unwrap_or_else(|why| self::text(StatusCode::BAD_GATEWAY, format!("{upstream}: {why}\n")))
        }
    };
    serve(port, handle, &say, &stop).await
}

/// `listen PORT` and `upstream HOST:PORT`.
pub(super) fn configuration(text: &str) -> Result<(u16, String), String> {
    let (mut port, mut upstream) = (None, None);
    for line in text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
    {
        match line.split_once(' ') {
            Some(("listen", value)) => port = value.trim().parse().ok(),
            Some(("upstream", value)) => upstream = Some(value.trim().to_owned()),
            _ => return Err(format!("proxy.conf: `{line}` is not understood")),
        }
    }
    port.zip(upstream)
        .ok_or_else(|| "proxy.conf: `listen PORT` and `upstream HOST:PORT` are needed".to_owned())
}

async fn hand_on(request: Request<Incoming>, upstream: &str) -> Result<Answer, String> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX)
        .collect()
        .await
        .map_err(|error| error.to_string())?
        .to_bytes();
    let stream = dial(upstream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let asked = async {
        let mut request = Request::from_parts(parts, Full::new(body));
        request
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let (mut parts, body) = answer.into_parts();
        let body = Limited::new(body, BODY_MAX)
            .collect()
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        // The upstream's connection ends; ours goes on.
        parts.headers.remove(CONNECTION);
        Ok(Response::from_parts(parts, Full::new(body)))
    };
    let (answer, _) = tokio::join!(asked, connection);
    answer
}

/// Connects to the first address of `upstream` that accepts. Nothing was sent before, so trying another one is safe.
async fn dial(upstream: &str) -> Result<TcpStream, String> {
    let mut why = "no such name".to_owned();
    for address in lookup_host(upstream).await.map_err(|error| error.to_string())? {
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = "it does not accept".to_owned(),
        }
    }
    Err(why)
}
