//! What an engine's JSON says about one container.
//!
//! In: an inspect reply. Out: a [`Container`], normalised, so that two readings of an unchanged container are equal.
//! Guaranteed: only the fields that are used are read, and none of them is a closed list: what an engine says that we do not
//! know is kept as text. Must not: decide whether anything is drift.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use serde::Deserialize;

use crate::clock::Timestamp;
use crate::live::ownership::{self, compose};
use crate::live::world::{
    Container, ContainerId, Health, Inspect, Limits, LiveEndpoint, Owner, Restart, State,
};
use crate::names::{AppKey, Digest, InstanceName, ProjectName};

/// Labels of an object.
pub(super) type Labels = BTreeMap<String, String>;

/// What Compose writes on the containers of its hooks.
const HOOK: &str = "com.docker.compose.hook";

/// Who asks, for telling ours from others'.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    pub instance: &'a InstanceName,
    pub key: &'a AppKey,
    pub project: &'a ProjectName,
}

impl Asker<'_> {
    /// Whose an object with these labels is.
    pub fn owner(&self, labels: &Labels) -> Owner {
        let app = labels.get(ownership::APP).map(String::as_str).unwrap_or_default();
        match labels.get(ownership::INSTANCE) {
            None => Owner::Unmanaged,
            Some(other) if other != self.instance.as_str() => Owner::OtherInstance(other.clone()),
            Some(_) if app == ownership::app_label(self.key) => Owner::Ours,
            // An instance without a readable app was not written by us, whatever it says.
            Some(_) => ownership::parse_app_label(app).map_or(Owner::Unmanaged, Owner::OtherApp),
        }
    }

    /// Whether an object bears this project's label.
    pub fn in_project(&self, labels: &Labels) -> bool {
        labels
            .get(compose::PROJECT)
            .is_some_and(|project| project == self.project.as_str())
    }

    /// Whether a container with these labels belongs into an observation.
    pub fn concerns(&self, labels: &Labels) -> bool {
        if self.owner(labels) == Owner::Ours {
            return true;
        }
        // `docker compose run` and hooks: a person's, for a moment.
        let passing =
            labels.get(compose::ONEOFF).is_some_and(|oneoff| oneoff == "True") || labels.contains_key(HOOK);
        self.in_project(labels) && !passing
    }
}

/// The spec digest on an object of ours.
pub(super) fn spec_of(owner: &Owner, labels: &Labels) -> Option<Digest> {
    let label = labels.get(ownership::SPEC).filter(|_| *owner == Owner::Ours);
    label.map(|label| Digest::read_back(label))
}

// Go writes `null` for an absent map, list or pointer, so everything is optional.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reply<'a> {
    id: String,
    #[serde(default, borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    created: Option<Cow<'a, str>>,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    restart_count: Option<u64>,
    #[serde(default, borrow)]
    state: Option<StateReply<'a>>,
    #[serde(default)]
    config: Option<ConfigReply>,
    #[serde(default)]
    host_config: Option<HostReply>,
    #[serde(default)]
    network_settings: Option<NetworksReply>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct StateReply<'a> {
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    exit_code: Option<i64>,
    #[serde(rename = "OOMKilled")]
    oom_killed: Option<bool>,
    error: Option<String>,
    #[serde(borrow)]
    started_at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    finished_at: Option<Cow<'a, str>>,
    health: Option<HealthReply>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HealthReply {
    status: Option<String>,
    log: Option<Vec<CheckReply>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CheckReply {
    exit_code: Option<i64>,
    output: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ConfigReply {
    image: Option<String>,
    labels: Option<Labels>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostReply {
    restart_policy: Option<RestartReply>,
    nano_cpus: Option<i64>,
    cpu_shares: Option<i64>,
    cpu_period: Option<i64>,
    cpu_quota: Option<i64>,
    cpuset_cpus: Option<String>,
    memory: Option<i64>,
    memory_swap: Option<i64>,
    memory_reservation: Option<i64>,
    pids_limit: Option<i64>,
    blkio_weight: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RestartReply {
    name: Option<String>,
    maximum_retry_count: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworksReply {
    networks: Option<BTreeMap<String, Option<EndpointReply>>>,
}

/// An endpoint, as inspect and the list of containers show it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct EndpointReply {
    #[serde(rename = "NetworkID")]
    pub network_id: Option<String>,
    aliases: Option<Vec<String>>,
    #[serde(rename = "IPAMConfig")]
    ipam_config: Option<IpamReply>,
    #[serde(rename = "IPAddress")]
    ip_address: Option<String>,
    #[serde(rename = "GlobalIPv6Address")]
    ipv6_address: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IpamReply {
    #[serde(rename = "IPv4Address")]
    ipv4_address: Option<String>,
}

/// The container that `raw`, an inspect reply, describes; `None` if it describes none.
pub(super) fn read(raw: Bytes, asker: Option<Asker<'_>>) -> Option<Container> {
    // The parser's words are left out: they may quote an environment.
    let reply: Reply<'_> = serde_json::from_slice(&raw).ok()?;
    let labels = reply.config.as_ref().and_then(|config| config.labels.as_ref());
    let empty = Labels::new();
    let labels = labels.unwrap_or(&empty);
    // Who names containers by id names their own; `Ours` then only says that Driftless made it.
    let owner = match asker {
        Some(asker) => asker.owner(labels),
        None if labels.contains_key(ownership::INSTANCE) => Owner::Ours,
        None => Owner::Unmanaged,
    };
    let name = reply.name.unwrap_or_default().trim_start_matches('/').to_owned();
    let service = labels
        .get(ownership::SERVICE)
        .or_else(|| labels.get(compose::SERVICE));
    let state = reply.state.unwrap_or_default();
    let host = reply.host_config.unwrap_or_default();
    let short = reply.id.get(..12).unwrap_or(&reply.id);
    let networks = reply
        .network_settings
        .unwrap_or_default()
        .networks
        .unwrap_or_default();
    let endpoints = networks
        .into_iter()
        .map(|(network, endpoint)| (network, endpoint.unwrap_or_default().read(short, &name)))
        .collect();
    let restart = host.restart_policy.as_ref();
    let policy = restart
        .and_then(|policy| policy.name.clone())
        .filter(|name| !name.is_empty());
    Some(Container {
        service: service.cloned().unwrap_or_default(),
        index: labels
            .get(compose::NUMBER)
            .and_then(|number| number.parse().ok())
            .unwrap_or(1),
        spec: spec_of(&owner, labels),
        owner,
        state: state_of(&state.status.unwrap_or_default()),
        exit_code: state.exit_code,
        oom_killed: state.oom_killed.unwrap_or_default(),
        error: state.error.unwrap_or_default(),
        restart_count: reply.restart_count.unwrap_or_default(),
        created_at: time(reply.created.as_deref()),
        started_at: time(state.started_at.as_deref()),
        finished_at: time(state.finished_at.as_deref()),
        health: health_of(state.health.as_ref()),
        last_check: state.health.and_then(|health| health.log?.pop()).map(|check| {
            (
                check.exit_code.unwrap_or_default(),
                check.output.unwrap_or_default(),
            )
        }),
        image_id: reply.image.unwrap_or_default(),
        image_ref: reply.config.and_then(|config| config.image).unwrap_or_default(),
        restart: Restart {
            name: policy.unwrap_or_else(|| "no".to_owned()),
            max_retries: restart
                .and_then(|policy| policy.maximum_retry_count)
                .unwrap_or_default(),
        },
        limits: limits_of(host),
        endpoints,
        id: ContainerId(reply.id.into()),
        name,
        inspect: Inspect::raw(raw),
    })
}

impl EndpointReply {
    /// 1.41 adds the short id to the aliases as soon as the container is connected; newer ones keep it in `DNSNames`.
    fn read(self, short: &str, name: &str) -> LiveEndpoint {
        let mut aliases = self.aliases.unwrap_or_default();
        aliases.retain(|alias| alias != short && alias != name);
        aliases.sort();
        aliases.dedup();
        let ip = |text: Option<String>| text.and_then(|text| text.parse::<IpAddr>().ok());
        LiveEndpoint {
            network_id: self.network_id.unwrap_or_default(),
            aliases,
            ipv4_address: self
                .ipam_config
                .and_then(|ipam| ipam.ipv4_address)
                .filter(|text| !text.is_empty()),
            ip: ip(self.ip_address).or_else(|| ip(self.ipv6_address)),
        }
    }
}

fn limits_of(host: HostReply) -> Limits {
    let set = |value: Option<i64>| value.filter(|value| *value > 0);
    Limits {
        nano_cpus: set(host.nano_cpus),
        cpu_shares: set(host.cpu_shares),
        cpu_period: set(host.cpu_period),
        cpu_quota: set(host.cpu_quota),
        cpuset: host.cpuset_cpus.filter(|cpus| !cpus.is_empty()),
        memory: set(host.memory),
        // -1 is "no limit", which is not the default of twice the memory.
        memory_swap: host.memory_swap.filter(|swap| *swap != 0),
        memory_reservation: set(host.memory_reservation),
        pids_limit: set(host.pids_limit),
        blkio_weight: host.blkio_weight.filter(|weight| *weight != 0),
    }
}

fn state_of(status: &str) -> State {
    match status {
        "created" => State::Created,
        "running" => State::Running,
        "paused" => State::Paused,
        "restarting" => State::Restarting,
        "removing" => State::Removing,
        "exited" => State::Exited,
        "dead" => State::Dead,
        other => State::Other(other.to_owned()),
    }
}

fn health_of(health: Option<&HealthReply>) -> Health {
    match health.and_then(|health| health.status.as_deref()) {
        Some("starting") => Health::Starting,
        Some("healthy") => Health::Healthy,
        Some("unhealthy") => Health::Unhealthy,
        _ => Health::None,
    }
}

/// Go's zero time stands for "never".
fn time(text: Option<&str>) -> Option<Timestamp> {
    text.filter(|text| !text.starts_with("0001-"))
        .and_then(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read_json(value: &Value) -> Container {
        let (instance, key, project) = asker();
        let asker = Asker {
            instance: &instance,
            key: &key,
            project: &project,
        };
        read(value.to_string().into(), Some(asker)).expect("a container")
    }

    fn asker() -> (InstanceName, AppKey, ProjectName) {
        let key = AppKey {
            source: "https://git.example/infra".try_into().expect("a source"),
            app: "web".try_into().expect("an app"),
        };
        (
            "nas".try_into().expect("an instance"),
            key,
            "web".try_into().expect("a project"),
        )
    }

    #[test]
    fn what_is_not_set_reads_the_same_in_every_dialect() {
        let id = "a".repeat(64);
        let old = json!({
            "Id": id, "Name": "/web-api-1", "State": { "Status": "running", "ExitCode": 0, "FinishedAt": "0001-01-01T00:00:00Z" },
            "HostConfig": { "Memory": 0, "MemorySwap": 0, "PidsLimit": null, "NanoCpus": 0, "CpusetCpus": "", "BlkioWeight": 0,
                "RestartPolicy": { "Name": "", "MaximumRetryCount": 0 } },
            "NetworkSettings": { "Networks": { "web_default": { "Aliases": ["web-api-1", "api", "aaaaaaaaaaaa", "api"], "IPAMConfig": {}, "IPAddress": "172.18.0.2" } } },
        });
        let new = json!({
            "Id": id, "Name": "/web-api-1", "State": { "Status": "running", "ExitCode": 0, "FinishedAt": null },
            "HostConfig": { "PidsLimit": -1, "RestartPolicy": { "Name": "no" } },
            "NetworkSettings": { "Networks": { "web_default": { "Aliases": ["api"], "IPAMConfig": null, "IPAddress": "172.18.0.2", "DNSNames": ["web-api-1", "api", "aaaaaaaaaaaa"] } } },
        });
        let (old, new) = (read_json(&old), read_json(&new));
        assert_eq!(old.limits, Limits::default());
        assert_eq!(old.limits, new.limits);
        assert_eq!(old.restart, new.restart);
        assert_eq!(old.endpoints, new.endpoints);
        assert_eq!(old.endpoints["web_default"].aliases, ["api"]);
        assert_eq!((old.finished_at, old.name.as_str()), (None, "web-api-1"));
        let unlimited =
            read_json(&json!({ "Id": id, "HostConfig": { "Memory": 1 << 20, "MemorySwap": -1 } }));
        assert_eq!(
            (unlimited.limits.memory, unlimited.limits.memory_swap),
            (Some(1 << 20), Some(-1))
        );
    }

    #[test]
    fn an_unknown_state_is_kept_as_text() {
        let podman = read_json(&json!({
            "Id": "b".repeat(64), "State": { "Status": "stopping", "Health": { "Status": "", "Log": null } },
        }));
        assert_eq!(podman.state, State::Other("stopping".into()));
        assert_eq!((podman.health, podman.last_check), (Health::None, None));
        assert!(read(Bytes::from_static(b"{}"), None).is_none());
        assert!(read(Bytes::from_static(b"<html>"), None).is_none());
    }

    #[test]
    fn the_last_check_is_the_newest() {
        let sick = read_json(
            &json!({ "Id": "c", "State": { "Status": "running", "Health": { "Status": "unhealthy",
            "Log": [{ "ExitCode": 0, "Output": "ok" }, { "ExitCode": 1, "Output": "503\n\u{fffd}" }] } } }),
        );
        assert_eq!(sick.health, Health::Unhealthy);
        assert_eq!(sick.last_check, Some((1, "503\n\u{fffd}".into())));
    }

    #[test]
    fn ownership_is_read_from_labels_alone() {
        let (instance, key, project) = asker();
        let asker = Asker {
            instance: &instance,
            key: &key,
            project: &project,
        };
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let app = ownership::app_label(&key);
        let ours = labels(&[
            (ownership::INSTANCE, "nas"),
            (ownership::APP, &app),
            (ownership::SPEC, "v1:1"),
        ]);
        assert_eq!(asker.owner(&ours), Owner::Ours);
        assert!(asker.concerns(&ours) && !asker.in_project(&ours));
        let other_app = labels(&[
            (ownership::INSTANCE, "nas"),
            (ownership::APP, "blog@/srv"),
            (compose::PROJECT, "web"),
        ]);
        assert!(matches!(asker.owner(&other_app), Owner::OtherApp(key) if key.app.as_str() == "blog"));
        let other = labels(&[
            (ownership::INSTANCE, "pi"),
            (ownership::APP, &app),
            (ownership::SPEC, "v1:1"),
        ]);
        assert_eq!(asker.owner(&other), Owner::OtherInstance("pi".into()));
        assert!(!asker.concerns(&other), "another project's");
        assert_eq!(spec_of(&asker.owner(&other), &other), None);
        let composed = labels(&[(compose::PROJECT, "web"), (compose::ONEOFF, "False")]);
        assert_eq!(asker.owner(&composed), Owner::Unmanaged);
        assert!(asker.concerns(&composed));
        assert!(!asker.concerns(&labels(&[(compose::PROJECT, "web"), (compose::ONEOFF, "True")])));
        assert!(!asker.concerns(&labels(&[(compose::PROJECT, "web"), (HOOK, "pre_start")])));
    }
}
