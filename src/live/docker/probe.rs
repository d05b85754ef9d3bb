//! An app's own HTTP probe.
//!
//! In: a container's address, a port, a path. Out: the status, or why there is none. Guaranteed: one request with a deadline,
//! straight to the container: no proxy, no redirect, no name looked up. Must not: read what the app answers beside the status.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;

/// From the connect to the status line.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// `GET path` at `ip:port`.
pub(super) async fn get(ip: IpAddr, port: u16, path: &str) -> Result<u16, String> {
    let address = SocketAddr::new(ip, port);
    match tokio::time::timeout(PROBE_DEADLINE, ask(address, path)).await {
        Ok(answer) => answer.map_err(|error| format!("GET http://{address}{path}: {error}")),
        Err(_) => Err(format!(
            "GET http://{address}{path}: no answer within {PROBE_DEADLINE:?}"
        )),
    }
}

async fn ask(address: SocketAddr, path: &str) -> Result<u16, String> {
    let text = |error: &(dyn std::error::Error + 'static)| crate::live::error::Cause::of(error).to_string();
    let request = Request::get(path)
        .header(HOST, address.to_string())
        .header(USER_AGENT, concat!("driftless/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| text(&error))?;
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .map_err(|error| text(&error))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| text(&error))?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    // The connection is driven here and ends with this future. It may end first, having delivered the answer.
    let answered = tokio::select! {
        answered = &mut answer => answered,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error),
        },
    };
    answered
        .map(|answer| answer.status().as_u16())
        .map_err(|error| text(&error))
}
