//! How long a service had no working replica.
//!
//! In: what was there before, what is there now, and the engine's events between. Out: the time per service without any running
//! and healthy container. Guaranteed: a figure only where the events are complete; a service that was not up before has no
//! downtime until it has been up once. Must not: estimate.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::container::{Asker, Labels};
use crate::live::ownership::{self, compose};
use crate::live::world::{Container, Health};

/// An engine remembers this many events (moby's `eventsLimit`). As many or more may be the end of a longer story.
pub(super) const REMEMBERED: usize = 256;

/// The gaps per service from `events` (all of the engine's, oldest first), up to `until` in nanoseconds since the epoch.
pub(super) fn gaps(
    before: &[Container],
    after: &[Container],
    events: &[Value],
    asker: Asker<'_>,
    until: i128,
) -> BTreeMap<String, Duration> {
    let mut checked: BTreeSet<&str> = before
        .iter()
        .chain(after)
        .filter(|one| one.health != Health::None)
        .map(|one| &*one.id.0)
        .collect();
    let heard: Vec<Heard<'_>> = events
        .iter()
        .filter_map(|event| Heard::of(event, asker))
        .collect();
    checked.extend(
        heard
            .iter()
            .filter(|one| one.action.starts_with("health_status"))
            .map(|one| one.id),
    );

    let mut services: BTreeMap<&str, Service<'_>> = BTreeMap::new();
    for one in before
        .iter()
        .filter(|one| one.running() && matches!(one.health, Health::None | Health::Healthy))
    {
        services.entry(&one.service).or_default().up.insert(&one.id.0);
    }
    for one in &heard {
        let service = services.entry(one.service).or_default();
        match one.action {
            "start" | "unpause" if !checked.contains(one.id) => service.rise(one.id, one.at),
            // A paused container keeps its health, and the engine does not repeat it.
            "unpause" if service.paused.remove(one.id) => service.rise(one.id, one.at),
            "health_status: healthy" => service.rise(one.id, one.at),
            "pause" => {
                if service.up.contains(one.id) {
                    service.paused.insert(one.id);
                }
                service.fall(one.id, one.at);
            }
            "die" | "destroy" | "health_status: unhealthy" => service.fall(one.id, one.at),
            _ => {}
        }
    }
    services
        .into_iter()
        .map(|(name, service)| {
            let open = service.down_since.map_or(0, |since| until.saturating_sub(since));
            let nanos = u64::try_from(service.down + open.max(0)).unwrap_or(u64::MAX);
            (name.to_owned(), Duration::from_nanos(nanos))
        })
        .collect()
}

struct Heard<'a> {
    id: &'a str,
    service: &'a str,
    action: &'a str,
    at: i128,
}

impl<'a> Heard<'a> {
    /// The event, if it is about a container of this app.
    fn of(event: &'a Value, asker: Asker<'_>) -> Option<Self> {
        if event["Type"] != "container" {
            return None;
        }
        let attributes = event["Actor"]["Attributes"].as_object()?;
        let labels: Labels = attributes
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        let service = attributes
            .get(ownership::SERVICE)
            .or_else(|| attributes.get(compose::SERVICE));
        asker.concerns(&labels).then_some(Self {
            id: event["Actor"]["ID"].as_str()?,
            service: service?.as_str()?,
            action: event["Action"].as_str()?,
            at: event["timeNano"].as_i64()?.into(),
        })
    }
}

#[derive(Default)]
struct Service<'a> {
    up: BTreeSet<&'a str>,
    paused: BTreeSet<&'a str>,
    down_since: Option<i128>,
    down: i128,
}

impl<'a> Service<'a> {
    fn rise(&mut self, id: &'a str, at: i128) {
        self.up.insert(id);
        if let Some(since) = self.down_since.take() {
            self.down += (at - since).max(0);
        }
    }

    fn fall(&mut self, id: &'a str, at: i128) {
        if self.up.remove(id) && self.up.is_empty() {
            self.down_since = Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::names::AppKey;

    fn gaps_of(before: &[(&str, &str)], events: &[(i64, &str, &str)]) -> Duration {
        let (instance, project) = (
            "nas".try_into().expect("a name"),
            "web".try_into().expect("a name"),
        );
        let key = AppKey {
            source: "/s".try_into().expect("a source"),
            app: "web".try_into().expect("a name"),
        };
        let asker = Asker {
            instance: &instance,
            key: &key,
            project: &project,
        };
        let labels = json!({ compose::PROJECT: "web", compose::SERVICE: "api" });
        let before: Vec<Container> = before
            .iter()
            .map(|(id, health)| {
                let reply = json!({ "Id": id, "Config": { "Labels": labels },
                    "State": { "Status": "running", "Health": { "Status": health } } });
                super::super::container::read(reply.to_string().into(), Some(asker)).expect("a container")
            })
            .collect();
        let events: Vec<Value> = events
            .iter()
            .map(|(at, id, action)| {
                json!({ "Type": "container", "Action": action, "timeNano": at * 1_000_000_000, "Actor": { "ID": id, "Attributes": labels } })
            })
            .collect();
        let found = gaps(&before, &[], &events, asker, 100_000_000_000);
        found.get("api").copied().unwrap_or_default()
    }

    #[test]
    fn only_the_time_without_any_working_replica_counts() {
        let secs = Duration::from_secs;
        // Stop-first: from the death to the new one's first success.
        let swap = [
            (1, "old", "kill"),
            (2, "old", "die"),
            (3, "new", "start"),
            (7, "new", "health_status: healthy"),
        ];
        assert_eq!(gaps_of(&[("old", "healthy")], &swap), secs(5));
        // Start-first: never.
        let smooth = [
            (3, "new", "start"),
            (5, "new", "health_status: healthy"),
            (6, "old", "die"),
        ];
        assert_eq!(gaps_of(&[("old", "healthy")], &smooth), secs(0));
        // Two replicas, one after the other.
        let rolling = [
            (1, "a", "die"),
            (2, "a", "start"),
            (3, "b", "die"),
            (4, "b", "start"),
        ];
        assert_eq!(gaps_of(&[("a", ""), ("b", "")], &rolling), secs(0));
        // Still down.
        assert_eq!(gaps_of(&[("old", "")], &[(40, "old", "die")]), secs(60));
        // Was never up.
        assert_eq!(
            gaps_of(
                &[],
                &[(1, "new", "start"), (2, "new", "die"), (4, "new", "start")]
            ),
            secs(2)
        );
        assert_eq!(gaps_of(&[], &[(9, "new", "create")]), secs(0));
        assert_eq!(
            gaps_of(&[("a", "healthy")], &[(1, "a", "pause"), (4, "a", "unpause")]),
            secs(3)
        );
    }
}
