//! What the engine remembers of the recent past.
//!
//! In: a container or a project and a time. Out: whether a person interfered, how it ended last. Guaranteed: nothing is
//! concluded from silence alone: the engine keeps only its last 256 events, so "nothing known" is not "nothing happened".
//! Must not: replace a fresh observation.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, READ_DEADLINE};
use super::logs::seconds;
use crate::clock::Timestamp;
use crate::live::error::{LiveError, Problem};
use crate::live::world::ContainerId;

/// How far a remote engine's clock may be behind ours. A local one has our clock.
const SKEW: Duration = Duration::from_secs(2);

/// Signals that end a program. Others (HUP, USR1, WINCH) ask it to reload or to rotate its log.
const ENDING: [&str; 5] = ["2", "3", "6", "9", "15"];

/// Whether somebody asked the engine to end, pause or remove the container.
pub(super) async fn stopped_by_hand(
    client: &Client,
    id: &ContainerId,
    since: Timestamp,
    now: Timestamp,
) -> Result<bool, LiveError> {
    let filters = json!({
        "type": ["container"],
        "container": [&*id.0],
        "event": ["kill", "stop", "restart", "pause", "destroy"],
    });
    let past = past(client, since, now, &filters).await?;
    Ok(past.iter().any(by_hand))
}

/// With which exit code the container ended last.
pub(super) async fn last_exit(
    client: &Client,
    id: &ContainerId,
    since: Timestamp,
    now: Timestamp,
) -> Result<Option<i64>, LiveError> {
    let filters = json!({ "type": ["container"], "container": [&*id.0], "event": ["die"] });
    let past = past(client, since, now, &filters).await?;
    Ok(past.last().and_then(exit_code))
}

fn exit_code(event: &Value) -> Option<i64> {
    event["Actor"]["Attributes"]["exitCode"].as_str()?.parse().ok()
}

/// A crash, the kernel's out-of-memory kill and a restart policy cause no event of these kinds: only a request does.
fn by_hand(event: &Value) -> bool {
    match event["Action"].as_str().unwrap_or_default() {
        "stop" | "restart" | "pause" | "destroy" => true,
        "kill" => {
            let signal = event["Actor"]["Attributes"]["signal"]
                .as_str()
                .unwrap_or_default();
            signal.is_empty() || ENDING.contains(&signal)
        }
        _ => false,
    }
}

/// Every event between the two times that the engine still remembers.
pub(super) async fn past(
    client: &Client,
    since: Timestamp,
    now: Timestamp,
    filters: &Value,
) -> Result<Vec<Value>, LiveError> {
    let call = "read past events";
    let skew = if client.endpoint().is_local() {
        Duration::ZERO
    } else {
        SKEW
    };
    let until = now.checked_add(skew).unwrap_or(now);
    let read = async {
        let mut stream = client
            .events_until(&seconds(since), &seconds(until), filters)
            .await?;
        let mut past = Vec::new();
        while let Some(event) = stream.next().await? {
            past.push(event);
        }
        Ok(past)
    };
    match tokio::time::timeout(READ_DEADLINE, read).await {
        Ok(past) => past,
        Err(_) => Err(LiveError::new(call, Problem::Deadline { after: READ_DEADLINE })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_tells_its_exit_code() {
        let die =
            json!({ "Action": "die", "Actor": { "Attributes": { "exitCode": "3", "image": "web:1" } } });
        assert_eq!(exit_code(&die), Some(3));
        assert_eq!(exit_code(&json!({ "Action": "die" })), None);
    }

    #[test]
    fn a_reload_is_no_stop() {
        let kill =
            |signal: &str| json!({ "Action": "kill", "Actor": { "Attributes": { "signal": signal } } });
        assert!(by_hand(&kill("15")) && by_hand(&kill("9")));
        assert!(!by_hand(&kill("1")) && !by_hand(&kill("28")));
        assert!(by_hand(&json!({ "Action": "pause" })));
        assert!(!by_hand(&json!({ "Action": "die" })));
    }
}
