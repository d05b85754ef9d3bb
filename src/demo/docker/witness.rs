//! What the engine says: the demo believes no output, its own included.
//!
//! In: a connected engine and the demo's names. Out: facts, and the removal of everything that carries those names.
//! Guaranteed: nothing is changed or removed that does not carry a label of this demo. Must not: ask the store.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::http::Method;
use serde_json::{Value, json};

use super::Names;
use crate::clock::Timestamp;
use crate::demo::images::IMAGES;
use crate::live::docker::client::{CHANGE_DEADLINE, Client, READ_DEADLINE, STALL_DEADLINE, path};
use crate::live::error::LiveError;
use crate::live::ownership::{INSTANCE, PARKED, compose};

/// How often a removal that the engine is still busy with is tried.
const REMOVALS: u32 = 5;

/// The engine, asked about one demo.
pub struct Witness<'a> {
    client: &'a Client,
    names: &'a Names,
    instance: &'a str,
}

/// One container, as far as the story cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub id: String,
    pub name: String,
    /// The image's id: what runs, whatever the tag says now.
    pub image: String,
    /// `running`, `exited`, …
    pub state: String,
    /// `healthy`, `unhealthy`, `starting`; none without a healthcheck.
    pub health: Option<String>,
    pub exit_code: i64,
    pub started_at: String,
    pub restart: String,
}

impl Seen {
    fn of(inspect: &Value) -> Self {
        let text = |pointer: &str| {
            inspect
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            id: text("/Id"),
            name: text("/Name").trim_start_matches('/').to_owned(),
            image: text("/Image"),
            state: text("/State/Status"),
            health: inspect
                .pointer("/State/Health/Status")
                .and_then(Value::as_str)
                .map(str::to_owned),
            exit_code: inspect
                .pointer("/State/ExitCode")
                .and_then(Value::as_i64)
                .unwrap_or_default(),
            started_at: text("/State/StartedAt"),
            restart: text("/HostConfig/RestartPolicy/Name"),
        }
    }

    /// Whether it runs, and is healthy where that is known.
    pub fn well(&self) -> bool {
        self.state == "running" && self.health.as_deref().is_none_or(|health| health == "healthy")
    }
}

impl<'a> Witness<'a> {
    /// About the demo of `names` and `instance`.
    pub fn new(client: &'a Client, names: &'a Names, instance: &'a str) -> Self {
        Self {
            client,
            names,
            instance,
        }
    }

    /// Every container of the demo's projects, by service; parked ones are left out.
    pub async fn services(&self) -> Result<BTreeMap<String, Seen>, LiveError> {
        let mut found = BTreeMap::new();
        for project in [&self.names.web, &self.names.jobs] {
            let label = format!("{}={project}", compose::PROJECT);
            let listed = self.client.containers(&json!({ "label": [label] })).await?;
            let ids: Vec<&str> = listed.iter().filter_map(|item| item["Id"].as_str()).collect();
            for inspect in self.client.inspect(&ids).await?.into_iter().flatten() {
                let service = inspect["Config"]["Labels"][compose::SERVICE]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                let seen = Seen::of(&inspect);
                if !seen.name.contains(PARKED) {
                    found.insert(service, seen);
                }
            }
        }
        Ok(found)
    }

    /// The id of one of the demo's images, by its name and tag.
    pub async fn image(&self, name: &str) -> Result<String, LiveError> {
        let found = self.client.image(&format!("{}{name}", self.names.images)).await?;
        Ok(found
            .and_then(|image| image["Id"].as_str().map(str::to_owned))
            .unwrap_or_default())
    }

    /// What the engine was made to do to the demo's objects since `since`: its own event log, without health checks.
    pub async fn changes_since(&self, since: Timestamp, until: Timestamp) -> Result<Vec<String>, LiveError> {
        let seconds = |at: Timestamp| format!("{}.{:09}", at.as_second(), at.subsec_nanosecond());
        let options = bollard::query_parameters::EventsOptionsBuilder::default()
            .since(&seconds(since))
            .until(&seconds(until))
            .build();
        let mut changes = Vec::new();
        let stream = self.client.docker().events(Some(options));
        self.client
            .follow("read the engine's events", READ_DEADLINE, stream, |event| {
                let action = event.action.unwrap_or_default();
                let attributes = event.actor.and_then(|actor| actor.attributes).unwrap_or_default();
                let ours = [&self.names.web, &self.names.jobs].into_iter().any(|project| {
                    attributes.get(compose::PROJECT) == Some(project)
                        || attributes
                            .get("name")
                            .is_some_and(|name| name.starts_with(project.as_str()))
                });
                if ours && !action.starts_with("exec_") && !action.starts_with("health_status") {
                    changes.push(format!(
                        "{action} {}",
                        attributes.get("name").map_or("?", String::as_str)
                    ));
                }
            })
            .await?;
        Ok(changes)
    }

    /// Gives the engine the images.
    pub async fn load(&self, archive: Vec<u8>) -> Result<(), LiveError> {
        let options = bollard::query_parameters::ImportImageOptionsBuilder::default()
            .quiet(true)
            .build();
        let stream =
            self.client
                .docker()
                .import_image(options, bollard::body_full(Bytes::from(archive)), None);
        self.client
            .follow("load the demo's images", STALL_DEADLINE, stream, |_| ())
            .await
    }

    /// Stops a container, as a person could.
    pub async fn stop(&self, seen: &Seen) -> Result<(), LiveError> {
        let call = format!("stop container {}", seen.name);
        let deadline = CHANGE_DEADLINE;
        let at = path(&["containers", &seen.id, "stop"]);
        self.client
            .send(&call, Method::POST, &at, &[], None, deadline)
            .await
            .map(drop)
    }

    /// Sets a container's restart policy, as a person could.
    pub async fn set_restart(&self, seen: &Seen, policy: &str) -> Result<(), LiveError> {
        let call = format!("update container {}", seen.name);
        let body = json!({ "RestartPolicy": { "Name": policy } });
        let at = path(&["containers", &seen.id, "update"]);
        self.client
            .send(&call, Method::POST, &at, &[], Some(&body), CHANGE_DEADLINE)
            .await
            .map(drop)
    }

    /// Removes everything of this demo, and says what is still there.
    pub async fn remove_everything(&self) -> Result<Vec<String>, LiveError> {
        let mut left = self.left().await?;
        for attempt in 0..REMOVALS {
            if left.is_empty() {
                break;
            }
            if attempt > 0 {
                // The engine is still letting go of something.
                tokio::time::sleep(Duration::from_millis(300 * u64::from(attempt))).await;
            }
            for thing in &left {
                // What can't be removed now is seen again in the next list.
                drop(thing.remove(self.client).await);
            }
            left = self.left().await?;
        }
        Ok(left
            .into_iter()
            .map(|thing| format!("{} {}", thing.kind, thing.name))
            .collect())
    }

    /// Everything of this demo that the engine has, in the order in which it can be removed.
    async fn left(&self) -> Result<Vec<Thing>, LiveError> {
        let labels = [
            format!("{}={}", compose::PROJECT, self.names.web),
            format!("{}={}", compose::PROJECT, self.names.jobs),
            format!("{INSTANCE}={}", self.instance),
        ];
        let mut things: Vec<Thing> = Vec::new();
        let mut add = |kind, name: &Value| {
            if let Some(name) = name.as_str()
                && !things
                    .iter()
                    .any(|thing: &Thing| thing.kind == kind && thing.name == name)
            {
                things.push(Thing {
                    kind,
                    name: name.to_owned(),
                });
            }
        };
        let filters = labels.map(|label| json!({ "label": [label] }));
        for filter in &filters {
            self.client
                .containers(filter)
                .await?
                .iter()
                .for_each(|item| add("container", &item["Id"]));
        }
        for filter in &filters {
            self.client
                .networks(filter)
                .await?
                .iter()
                .for_each(|item| add("network", &item["Id"]));
        }
        for filter in &filters {
            self.client
                .volumes(filter)
                .await?
                .iter()
                .for_each(|item| add("volume", &item["Name"]));
        }
        for image in IMAGES {
            let name = format!("{}{}", self.names.images, image.name);
            if self.client.image(&name).await?.is_some() {
                add("image", &Value::String(name));
            }
        }
        Ok(things)
    }
}

struct Thing {
    kind: &'static str,
    name: String,
}

impl Thing {
    async fn remove(&self, client: &Client) -> Result<(), LiveError> {
        let (folder, query): (&str, &[(&str, &str)]) = match self.kind {
            "container" => ("containers", &[("force", "1"), ("v", "1")]),
            "network" => ("networks", &[]),
            "volume" => ("volumes", &[]),
            _ => ("images", &[]),
        };
        let call = format!("remove {} {}", self.kind, self.name);
        client
            .send(
                &call,
                Method::DELETE,
                &path(&[folder, &self.name]),
                query,
                None,
                CHANGE_DEADLINE,
            )
            .await
            .map(drop)
    }
}
