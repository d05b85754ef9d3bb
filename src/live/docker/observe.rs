//! Reading everything of one app, in the fewest calls.
//!
//! In: an [`Ask`]. Out: [`Observed`]. Guaranteed: one list per kind, one inspect per container of the project, one question
//! per image; a failure is an error and never an empty answer; what vanished between the list and its inspect is left out
//! everywhere. Must not: change anything, or call twice for one fact.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{Client, path};
use super::container::{Asker, EndpointReply, Labels, read, spec_of};
use super::credentials::Credentials;
use super::images;
use super::transport::READ_CONNECTIONS;
use crate::clock::Timestamp;
use crate::live::error::{LiveError, Problem};
use crate::live::ownership::compose;
use crate::live::world::{
    Ask, Container, ContainerId, Engine, Holder, LiveNetwork, LiveVolume, Observed, Ownership,
};

/// One entry of `GET /containers/json`: what it shows without an inspect.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    labels: Option<Labels>,
    #[serde(default)]
    ports: Option<Vec<ListedPort>>,
    #[serde(default)]
    network_settings: Option<ListedNetworks>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedPort {
    #[serde(default, rename = "IP")]
    ip: Option<String>,
    #[serde(default)]
    public_port: Option<u16>,
    #[serde(default, rename = "Type")]
    protocol: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ListedNetworks {
    networks: Option<BTreeMap<String, Option<EndpointReply>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volumes {
    #[serde(default)]
    volumes: Option<Vec<Value>>,
}

/// Reads everything that `ask` is about. `at` is the moment before the first call.
pub(super) async fn observe(
    client: &Client,
    credentials: &Credentials,
    engine: &Engine,
    ask: &Ask,
    at: Timestamp,
) -> Result<Observed, LiveError> {
    let asker = Asker {
        instance: &ask.instance,
        key: &ask.key,
        project: &ask.project,
    };
    let containers = async {
        let listed: Vec<Listed> =
            list(client, "list containers", "/containers/json", &[("all", "1")]).await?;
        let concerned = listed
            .iter()
            .filter(|one| one.labels.as_ref().is_some_and(|labels| asker.concerns(labels)));
        let ids: Vec<String> = concerned.map(|one| one.id.clone()).collect();
        let found = inspect_all(client, &ids, Some(asker)).await?;
        Ok::<_, LiveError>((listed, ids, found))
    };
    let networks = list::<Vec<Value>>(client, "list networks", "/networks", &[]);
    let volumes = list::<Volumes>(client, "list volumes", "/volumes", &[]);
    let images = images::look_up(client, credentials, &ask.images);
    // All at once: none needs another's answer, and the first that fails ends the rest.
    let ((mut listed, ids, found), networks, volumes, images) =
        tokio::try_join!(containers, networks, volumes, images)?;

    let mut containers = Vec::with_capacity(found.len());
    let mut gone = BTreeSet::new();
    for (id, found) in ids.into_iter().zip(found) {
        match found {
            Some(container) => containers.push(container),
            None => drop(gone.insert(id)),
        }
    }
    listed.retain(|one| !gone.contains(&one.id));
    containers.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
    let attached = Attached::of(&listed);
    Ok(Observed {
        at,
        engine: engine.clone(),
        containers,
        networks: networks
            .into_iter()
            .filter_map(|network| live_network(network, asker, &attached))
            .collect(),
        volumes: volumes
            .volumes
            .unwrap_or_default()
            .into_iter()
            .filter_map(|volume| live_volume(volume, asker))
            .collect(),
        images,
        holders: listed.into_iter().map(holder).collect(),
        cluster: None,
    })
}

/// Inspects all of `ids`, several at a time, in their order; one that is gone is `None`.
pub(super) async fn inspect_all(
    client: &Client,
    ids: &[String],
    asker: Option<Asker<'_>>,
) -> Result<Vec<Option<Container>>, LiveError> {
    let reads: Vec<_> = ids.iter().map(|id| inspect_one(client, id)).collect();
    let mut answers = futures_util::stream::iter(reads).buffered(READ_CONNECTIONS);
    let mut found = Vec::with_capacity(ids.len());
    while let Some(answer) = answers.next().await {
        let Some((call, raw)) = answer? else {
            found.push(None);
            continue;
        };
        let container = read(raw, asker).ok_or_else(|| LiveError::new(call, Problem::Unreadable))?;
        found.push(Some(container));
    }
    Ok(found)
}

async fn inspect_one(client: &Client, id: &str) -> Result<Option<(String, Bytes)>, LiveError> {
    let call = format!("inspect container {}", id.get(..12).unwrap_or(id));
    let raw = client
        .find_raw(&call, &path(&["containers", id, "json"]), &[])
        .await?;
    Ok(raw.map(|raw| (call, raw)))
}

async fn list<T: DeserializeOwned>(
    client: &Client,
    call: &str,
    path: &str,
    query: &[(&str, &str)],
) -> Result<T, LiveError> {
    let unreadable = || LiveError::new(call, Problem::Unreadable);
    let raw = client.find_raw(call, path, query).await?;
    // A list is never "not found": what says so is not an engine. And `null`, Go's empty list, reads as an empty one.
    let raw = raw.ok_or_else(unreadable)?;
    let raw = if raw.trim_ascii() == b"null" {
        Bytes::from_static(b"[]")
    } else {
        raw
    };
    serde_json::from_slice(&raw).map_err(|_| unreadable())
}

/// Who is attached to which network, by its id and by its name: a container that never ran knows only the name.
struct Attached(BTreeMap<String, BTreeSet<ContainerId>>);

impl Attached {
    fn of(listed: &[Listed]) -> Self {
        let mut attached: BTreeMap<String, BTreeSet<ContainerId>> = BTreeMap::new();
        for one in listed {
            let networks = one
                .network_settings
                .as_ref()
                .and_then(|settings| settings.networks.as_ref());
            for (name, endpoint) in networks.into_iter().flatten() {
                let id = endpoint.as_ref().and_then(|endpoint| endpoint.network_id.clone());
                let key = id.filter(|id| !id.is_empty()).unwrap_or_else(|| name.clone());
                attached
                    .entry(key)
                    .or_default()
                    .insert(ContainerId(one.id.as_str().into()));
            }
        }
        Self(attached)
    }

    fn to(&self, id: &str, name: &str) -> Vec<ContainerId> {
        let both = [id, name].into_iter().filter_map(|key| self.0.get(key)).flatten();
        both.cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn live_network(network: Value, asker: Asker<'_>, attached: &Attached) -> Option<(String, LiveNetwork)> {
    let (name, id) = (
        network["Name"].as_str()?.to_owned(),
        network["Id"].as_str()?.to_owned(),
    );
    let labels = labels_of(&network);
    let owner = ownership_of(&labels, asker, compose::NETWORK);
    let spec = spec_of(&owner.owner, &labels);
    let attached = attached.to(&id, &name);
    Some((
        name.clone(),
        LiveNetwork {
            id,
            name,
            owner,
            spec,
            attached,
            inspect: Arc::new(network),
        },
    ))
}

fn live_volume(volume: Value, asker: Asker<'_>) -> Option<(String, LiveVolume)> {
    let name = volume["Name"].as_str()?.to_owned();
    let labels = labels_of(&volume);
    let owner = ownership_of(&labels, asker, compose::VOLUME);
    let spec = spec_of(&owner.owner, &labels);
    Some((
        name.clone(),
        LiveVolume {
            name,
            owner,
            spec,
            inspect: Arc::new(volume),
        },
    ))
}

fn ownership_of(labels: &Labels, asker: Asker<'_>, key: &str) -> Ownership {
    Ownership {
        owner: asker.owner(labels),
        key: labels.get(key).cloned().unwrap_or_default(),
        in_project: asker.in_project(labels),
    }
}

fn labels_of(object: &Value) -> Labels {
    let labels = object["Labels"].as_object().into_iter().flatten();
    labels
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn holder(listed: Listed) -> Holder {
    let names = listed.names.unwrap_or_default();
    // Legacy links add names of the form `/other/alias`.
    let own = names
        .iter()
        .map(|name| name.trim_start_matches('/'))
        .find(|name| !name.contains('/'));
    let name = own.map_or_else(|| listed.id.chars().take(12).collect(), str::to_owned);
    let mut ports: Vec<(String, u16, String)> = listed
        .ports
        .unwrap_or_default()
        .into_iter()
        .filter_map(|port| {
            let address = port.ip.filter(|ip| ip != "0.0.0.0").unwrap_or_default();
            Some((
                address,
                port.public_port?,
                port.protocol.unwrap_or_else(|| "tcp".to_owned()),
            ))
        })
        .collect();
    ports.sort();
    ports.dedup();
    // The engine publishes on both families when nobody names one; that is one "all".
    let all: Vec<_> = ports.iter().filter(|port| port.0.is_empty()).cloned().collect();
    ports.retain(|port| port.0 != "::" || !all.iter().any(|one| (one.1, &one.2) == (port.1, &port.2)));
    Holder {
        id: ContainerId(listed.id.into()),
        name,
        project: listed
            .labels
            .and_then(|mut labels| labels.remove(compose::PROJECT))
            .unwrap_or_default(),
        running: matches!(listed.state.as_deref(), Some("running" | "paused" | "restarting")),
        ports,
    }
}
