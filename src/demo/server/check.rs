//! Asking: the health check, and the sidecar that asks all the time.
//!
//! In: a URL. Out: what was answered, in the words that a person wants to read as evidence. Guaranteed: an end after two
//! seconds. Must not: follow redirects.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{Say, ServerError, database};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often the sidecar asks.
const PACE: Duration = Duration::from_secs(2);

/// The longest answer that is read.
const ANSWER_MAX: u64 = 64 << 10;

/// Asks `url` once: `http://host:port/path` wants a 2xx, `tcp://host:port` a database that answers.
pub(super) async fn once(url: &str) -> Result<String, String> {
    let asked = tokio::time::timeout(PATIENCE, ask(url)).await;
    asked.unwrap_or_else(|_| Err(format!("GET {url}: no answer within {} s", PATIENCE.as_secs())))
}

async fn ask(url: &str) -> Result<String, String> {
    if let Some(address) = url.strip_prefix("tcp://") {
        return database::ask(address, "PING")
            .await
            .map_err(|error| format!("PING {address}: {error}"));
    }
    let (status, body) = get(url).await.map_err(|error| format!("GET {url}: {error}"))?;
    let first = body.lines().next().unwrap_or_default();
    let told = format!("GET {url} -> {status} {first}");
    if (200..300).contains(&status) {
        Ok(told)
    } else {
        Err(told)
    }
}

/// The status and body of a `GET`.
pub async fn get(url: &str) -> std::io::Result<(u16, String)> {
    let invalid = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| invalid("not an http:// URL"))?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let mut stream = TcpStream::connect(host).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut bytes).await?;
    let text = String::from_utf8_lossy(&bytes);
    // An answer that was cut off before its head was complete is no answer.
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| invalid("the connection ended within the answer"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((
        status.ok_or_else(|| invalid("not an HTTP answer"))?,
        body.to_owned(),
    ))
}

/// The sidecar: says each change of the answer, until it is stopped.
pub(super) async fn watch(url: &str, say: &Say, stop: &CancellationToken) -> Result<(), ServerError> {
    let mut last = None;
    loop {
        let now = match once(url).await {
            Ok(told) | Err(told) => told,
        };
        if last.as_ref() != Some(&now) {
            say(&now);
            last = Some(now);
        }
        tokio::select! {
            // Nothing is in flight between two questions.
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PACE) => {}
        }
    }
}
