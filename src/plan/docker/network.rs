//! Networks and volumes of a project.
//!
//! In: what the project declares, what is there. Out: changes, and the live name of each network. Guaranteed: a volume is
//! never replaced; a network that must change gets a successor with another name, so that containers move one by one and
//! the old one stays until the release has baked; nothing foreign is touched. Must not: create what is external.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::live::docker::op::Op;
use crate::live::ownership::{self, compose};
use crate::live::world::{Inventory, LiveNetwork, LiveVolume, Observed, Owner, Ownership};
use crate::names::{AppKey, Digest, InstanceName, Kind, ResourceKey};
use crate::plan::{
    Action, Blocked, Cause, Change, FieldDiff, Moved, Phase, Problem, ProblemKind, Stance, Step,
};
use crate::render::Desired;
use crate::render::model::{Network, Project, Volume};
use crate::secret::Text;

use super::request::needs_api;
use super::spec;

/// Names of labels and of the project that stand on every object.
#[derive(Clone, Copy)]
pub(crate) struct Marks<'a> {
    pub key: &'a AppKey,
    pub instance: &'a InstanceName,
    pub project: &'a Project,
}

/// What was decided about networks.
#[derive(Default)]
pub(crate) struct Decided {
    pub changes: Vec<Change>,
    pub problems: Vec<Problem>,
    /// Live names by key.
    pub names: BTreeMap<String, String>,
}

/// The live names of a stored project's networks: the one that has its settings, else the plain name.
pub(crate) fn names(
    project: &Project,
    observed: &Observed,
    inventory: &Inventory,
) -> BTreeMap<String, String> {
    project
        .networks
        .iter()
        .map(|(key, network)| {
            let spec = spec_of_network(network);
            let found = if network.external {
                None
            } else {
                successor(key, network, &spec, observed, inventory)
            };
            (
                key.clone(),
                found.map_or_else(|| network.name.clone(), |live| live.name.clone()),
            )
        })
        .collect()
}

/// A live network of ours that has these very settings.
fn successor<'a>(
    key: &str,
    network: &Network,
    spec: &Digest,
    observed: &'a Observed,
    inventory: &Inventory,
) -> Option<&'a LiveNetwork> {
    let ours =
        |live: &&LiveNetwork| live.owner.owner == Owner::Ours || inventory.networks.contains_key(&live.name);
    let known = |live: &&LiveNetwork| inventory.networks.get(&live.name).or(live.spec.as_ref()) == Some(spec);
    let plain = observed
        .networks
        .get(&network.name)
        .filter(|live| ours(live) && known(live));
    plain.or_else(|| {
        observed
            .networks
            .values()
            .find(|live| live.owner.key == key && ours(live) && known(live))
    })
}

fn labels(
    marks: &Marks<'_>,
    own: &BTreeMap<String, Text>,
    kind: &str,
    key: &str,
    spec: &Digest,
) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = own
        .iter()
        .map(|(name, text)| (name.clone(), text.value.clone()))
        .collect();
    let ours = [
        (ownership::INSTANCE, marks.instance.to_string()),
        (ownership::APP, ownership::app_label(marks.key)),
        (ownership::SPEC, spec.to_string()),
        (compose::PROJECT, marks.project.name.to_string()),
        (kind, key.to_owned()),
        (compose::CONFIG_HASH, spec.short(64).to_owned()),
        (compose::VERSION, super::request::COMPOSE_VERSION.to_owned()),
    ];
    labels.extend(ours.into_iter().map(|(name, value)| (name.to_owned(), value)));
    labels
}

fn network_body(network: &Network) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert(
        "Driver".to_owned(),
        json!(network.driver.as_deref().unwrap_or("bridge")),
    );
    if !network.driver_opts.is_empty() {
        body.insert("Options".to_owned(), json!(network.driver_opts));
    }
    body.insert("Internal".to_owned(), json!(network.internal));
    body.insert("Attachable".to_owned(), json!(network.attachable));
    if let Some(enabled) = network.enable_ipv6 {
        body.insert("EnableIPv6".to_owned(), json!(enabled));
    }
    if let Some(enabled) = network.enable_ipv4 {
        body.insert("EnableIPv4".to_owned(), json!(enabled));
    }
    if let Some(ipam) = &network.ipam {
        let pools: Vec<Value> = ipam
            .pools
            .iter()
            .map(|pool| {
                let mut entry = Map::new();
                for (field, value) in [
                    ("Subnet", &pool.subnet),
                    ("Gateway", &pool.gateway),
                    ("IPRange", &pool.ip_range),
                ] {
                    if let Some(value) = value {
                        entry.insert(field.to_owned(), json!(value));
                    }
                }
                if !pool.aux_addresses.is_empty() {
                    entry.insert("AuxiliaryAddresses".to_owned(), json!(pool.aux_addresses));
                }
                Value::Object(entry)
            })
            .collect();
        let mut entry = Map::new();
        entry.insert(
            "Driver".to_owned(),
            json!(ipam.driver.as_deref().unwrap_or("default")),
        );
        entry.insert("Config".to_owned(), json!(pools));
        if !ipam.options.is_empty() {
            entry.insert("Options".to_owned(), json!(ipam.options));
        }
        body.insert("IPAM".to_owned(), Value::Object(entry));
    }
    body
}

/// The digest of what the project itself asks for: its settings and its own labels, none of ours.
fn spec_of(kind: &str, mut body: Map<String, Value>, own: &BTreeMap<String, Text>) -> Digest {
    let labels: BTreeMap<&String, &String> = own.iter().map(|(name, text)| (name, &text.value)).collect();
    body.insert("Labels".to_owned(), json!(labels));
    spec::of_request(kind, &Value::Object(body))
}

fn spec_of_network(network: &Network) -> Digest {
    spec_of("network", network_body(network), &network.labels)
}

fn volume_body(volume: &Volume) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert(
        "Driver".to_owned(),
        json!(volume.driver.as_deref().unwrap_or("local")),
    );
    if !volume.driver_opts.is_empty() {
        body.insert("DriverOpts".to_owned(), json!(volume.driver_opts));
    }
    body
}

fn spec_of_volume(volume: &Volume) -> Digest {
    spec_of("volume", volume_body(volume), &volume.labels)
}

fn change(kind: Kind, key: &str, action: Action, cause: Cause) -> Change {
    Change {
        key: ResourceKey::new(kind, key),
        action,
        cause,
        fields: Vec::new(),
        needs: Vec::new(),
        phase: Phase::Apply,
        steps: Vec::new(),
        notes: Vec::new(),
    }
}

/// Decides about all networks.
pub(crate) fn networks(
    desired: &Desired,
    observed: &Observed,
    inventory: &Inventory,
    stance: &Stance<'_>,
) -> Decided {
    let marks = Marks {
        key: &desired.key,
        instance: stance.instance,
        project: &desired.project,
    };
    let mut decided = Decided::default();
    for (key, network) in &desired.project.networks {
        let place = || desired.places.find(&format!("networks.{key}")).cloned();
        if network.external {
            decided.names.insert(key.clone(), network.name.clone());
            if !observed.networks.contains_key(&network.name) {
                decided.problems.push(Problem {
                    code: "E0571",
                    message: format!("the external network `{}` does not exist", network.name),
                    place: place(),
                    help: Some(format!(
                        "`docker network create {}`, or remove `external: true`",
                        network.name
                    )),
                    kind: ProblemKind::Preflight,
                });
            }
            continue;
        }
        if network.enable_ipv4.is_some() && observed.engine.api < (1, 48) {
            let engine = &observed.engine;
            let mut problem = needs_api(
                "`enable_ipv4`",
                &format!("network `{key}`"),
                (1, 48),
                engine.api,
                &engine.version,
            );
            problem.place = place();
            decided.problems.push(problem);
        }
        one_network(&marks, key, network, observed, inventory, stance, &mut decided);
    }
    decided
}

fn one_network(
    marks: &Marks<'_>,
    key: &str,
    network: &Network,
    observed: &Observed,
    inventory: &Inventory,
    stance: &Stance<'_>,
    decided: &mut Decided,
) {
    let spec = spec_of_network(network);
    let create = |name: &str| {
        let mut body = network_body(network);
        body.insert("Name".to_owned(), json!(name));
        if observed.engine.api < (1, 44) {
            // Older engines make two networks of one name without it.
            body.insert("CheckDuplicate".to_owned(), json!(true));
        }
        body.insert(
            "Labels".to_owned(),
            json!(labels(marks, &network.labels, compose::NETWORK, key, &spec)),
        );
        Step::Op(Op::CreateNetwork {
            name: name.to_owned(),
            body: Value::Object(body),
        })
    };
    if let Some(live) = successor(key, network, &spec, observed, inventory) {
        decided.names.insert(key.to_owned(), live.name.clone());
        let kept = change(Kind::Network, key, Action::Keep, Cause::Unchanged);
        decided.changes.push(kept);
        return;
    }
    decided.names.insert(key.to_owned(), network.name.clone());
    let Some(live) = observed.networks.get(&network.name) else {
        let cause = if inventory.networks.get(&network.name) == Some(&spec) {
            Cause::Drifted
        } else {
            Cause::NotFound
        };
        let mut made = change(Kind::Network, key, Action::Create, cause);
        made.steps.push(create(&network.name));
        decided.changes.push(made);
        return;
    };
    if let Some(blocked) = foreign(&live.owner, inventory.networks.contains_key(&live.name), stance) {
        decided.changes.push(change(
            Kind::Network,
            key,
            Action::Blocked(blocked),
            Cause::Unchanged,
        ));
        return;
    }
    let ours = live.owner.owner == Owner::Ours || inventory.networks.contains_key(&network.name);
    let comparable = inventory
        .networks
        .get(&network.name)
        .or(live.spec.as_ref())
        .is_some_and(|spec| spec.version() == spec::VERSION);
    let differing = network_differences(network, live);
    if !comparable && differing.is_empty() && (ours || live.owner.in_project || stance.adopt) {
        let action = if ours { Action::Keep } else { Action::Adopt };
        let kept = change(Kind::Network, key, action, Cause::Unchanged);
        decided.changes.push(kept);
        return;
    }
    if !ours && !stance.adopt {
        let mut blocked = change(
            Kind::Network,
            key,
            Action::Blocked(Blocked::NotAdopted),
            Cause::Drifted,
        );
        blocked.fields = differing;
        if !live.owner.in_project {
            blocked.notes.push(format!(
                "a network `{}` exists that is not this project's; `external: true` uses it",
                network.name
            ));
        }
        decided.changes.push(blocked);
        return;
    }
    // A network can't be changed. Its successor gets a name of its own and the containers move to it one by one; the old
    // one is removed after the bake, so the way back stays open.
    let plain = format!("{}_{key}", marks.project.name);
    let same_subnet = network
        .ipam
        .iter()
        .flat_map(|ipam| &ipam.pools)
        .filter_map(|pool| pool.subnet.as_deref())
        .any(|subnet| subnets(live).contains(&subnet));
    let blocked = if network.name != plain {
        Some(format!(
            "network `{}` can't be changed while it exists, and its name is fixed; remove it by hand or give it another `name:`",
            network.name
        ))
    } else if same_subnet {
        Some(format!(
            "network `{}` can't be changed while it exists, because its successor would have the same subnet",
            network.name
        ))
    } else {
        None
    };
    if let Some(reason) = blocked {
        let mut blocked = change(
            Kind::Network,
            key,
            Action::Blocked(Blocked::Other(reason)),
            Cause::Unchanged,
        );
        blocked.fields = differing;
        decided.changes.push(blocked);
        return;
    }
    let name = format!("{}_{}", network.name, spec.short(7));
    let mut replaced = change(Kind::Network, key, Action::Replace, Cause::NotFound);
    replaced.fields = differing;
    replaced
        .notes
        .push(format!("its successor is {name}; containers move one by one"));
    replaced.steps.push(create(&name));
    decided.names.insert(key.to_owned(), name);
    decided.changes.push(replaced);
}

/// Somebody else's, unless it was taken over or is to be now: labels can't be changed, so the inventory knows better.
fn foreign(ownership: &Ownership, ours: bool, stance: &Stance<'_>) -> Option<Blocked> {
    match &ownership.owner {
        Owner::OtherInstance(_) if ours || stance.takeover => None,
        Owner::OtherInstance(other) => Some(Blocked::OtherInstance(other.clone())),
        Owner::OtherApp(other) => Some(Blocked::OtherApp(other.app.to_string())),
        Owner::Ours | Owner::Unmanaged => None,
    }
}

fn subnets(live: &LiveNetwork) -> Vec<&str> {
    let pools = live.inspect.pointer("/IPAM/Config").and_then(Value::as_array);
    pools
        .into_iter()
        .flatten()
        .filter_map(|pool| pool.get("Subnet").and_then(Value::as_str))
        .collect()
}

fn differing(field: &str, from: String, to: String) -> Option<FieldDiff> {
    (from != to).then(|| FieldDiff {
        field: field.to_owned(),
        from: (!from.is_empty()).then(|| Text::plain(from)),
        to: (!to.is_empty()).then(|| Text::plain(to)),
        moved: Moved::Git,
        place: None,
        by: None,
    })
}

fn network_differences(network: &Network, live: &LiveNetwork) -> Vec<FieldDiff> {
    let inspect = live.inspect.as_ref();
    let text = |field: &str| {
        inspect
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let flag = |field: &str| {
        inspect
            .get(field)
            .and_then(Value::as_bool)
            .unwrap_or_default()
            .to_string()
    };
    let mut fields = vec![
        differing(
            "driver",
            text("Driver"),
            network.driver.clone().unwrap_or_else(|| "bridge".to_owned()),
        ),
        differing("internal", flag("Internal"), network.internal.to_string()),
        differing("attachable", flag("Attachable"), network.attachable.to_string()),
    ];
    if let Some(enabled) = network.enable_ipv6 {
        fields.push(differing("enable_ipv6", flag("EnableIPv6"), enabled.to_string()));
    }
    let entries = |field: &str, name: &str| {
        inspect
            .get(field)
            .and_then(|map| map.get(name))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    for (name, value) in &network.driver_opts {
        fields.push(differing(
            &format!("driver_opts.{name}"),
            entries("Options", name),
            value.clone(),
        ));
    }
    for (name, value) in &network.labels {
        fields.push(differing(
            &format!("labels.{name}"),
            entries("Labels", name),
            value.value.clone(),
        ));
    }
    let wanted: Vec<&str> = network
        .ipam
        .iter()
        .flat_map(|ipam| &ipam.pools)
        .filter_map(|pool| pool.subnet.as_deref())
        .collect();
    if !wanted.is_empty() {
        fields.push(differing("ipam", subnets(live).join(", "), wanted.join(", ")));
    }
    fields.into_iter().flatten().collect()
}

/// Decides about all volumes.
pub(crate) fn volumes(
    desired: &Desired,
    observed: &Observed,
    inventory: &Inventory,
    stance: &Stance<'_>,
) -> Decided {
    let marks = Marks {
        key: &desired.key,
        instance: stance.instance,
        project: &desired.project,
    };
    let mut decided = Decided::default();
    for (key, volume) in &desired.project.volumes {
        let live = observed.volumes.get(&volume.name);
        if volume.external {
            if live.is_none() {
                decided.problems.push(Problem {
                    code: "E0572",
                    message: format!("the external volume `{}` does not exist", volume.name),
                    place: desired.places.find(&format!("volumes.{key}")).cloned(),
                    help: Some(format!(
                        "`docker volume create {}`, or remove `external: true`",
                        volume.name
                    )),
                    kind: ProblemKind::Preflight,
                });
            }
            continue;
        }
        decided
            .changes
            .push(one_volume(&marks, key, volume, live, inventory, stance));
    }
    decided
}

fn one_volume(
    marks: &Marks<'_>,
    key: &str,
    volume: &Volume,
    live: Option<&LiveVolume>,
    inventory: &Inventory,
    stance: &Stance<'_>,
) -> Change {
    let spec = spec_of_volume(volume);
    let Some(live) = live else {
        let gone = inventory.volumes.contains_key(&volume.name);
        let cause = if gone { Cause::Drifted } else { Cause::NotFound };
        let mut made = change(Kind::Volume, key, Action::Create, cause);
        if gone {
            made.notes
                .push("it was removed outside Git; the new one is empty".to_owned());
        }
        let mut body = volume_body(volume);
        body.insert("Name".to_owned(), json!(volume.name));
        body.insert(
            "Labels".to_owned(),
            json!(labels(marks, &volume.labels, compose::VOLUME, key, &spec)),
        );
        made.steps.push(Step::Op(Op::CreateVolume {
            name: volume.name.clone(),
            body: Value::Object(body),
        }));
        return made;
    };
    if let Some(blocked) = foreign(&live.owner, inventory.volumes.contains_key(&live.name), stance) {
        return change(Kind::Volume, key, Action::Blocked(blocked), Cause::Unchanged);
    }
    let known = inventory.volumes.get(&volume.name).or(live.spec.as_ref());
    let ours = live.owner.owner == Owner::Ours || inventory.volumes.contains_key(&volume.name);
    let comparable = known.is_some_and(|known| known.version() == spec::VERSION);
    let fields = volume_differences(volume, live);
    let same = if comparable {
        known == Some(&spec) || fields.is_empty()
    } else {
        fields.is_empty()
    };
    if !ours && !live.owner.in_project && !stance.adopt {
        let mut blocked = change(
            Kind::Volume,
            key,
            Action::Blocked(Blocked::NotAdopted),
            Cause::Unchanged,
        );
        blocked.notes.push(format!(
            "a volume `{}` exists that is not this project's; `external: true` uses it",
            volume.name
        ));
        return blocked;
    }
    if same {
        let action = if ours { Action::Keep } else { Action::Adopt };
        return change(Kind::Volume, key, action, Cause::Unchanged);
    }
    let mut blocked = change(
        Kind::Volume,
        key,
        Action::Blocked(Blocked::VolumeConfig),
        Cause::Unchanged,
    );
    blocked.fields = fields;
    blocked
}

/// Labels are left out: a volume's can't be changed, and they do not change what it is.
fn volume_differences(volume: &Volume, live: &LiveVolume) -> Vec<FieldDiff> {
    let inspect = live.inspect.as_ref();
    let driver = inspect
        .get("Driver")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let mut fields = vec![differing(
        "driver",
        driver,
        volume.driver.clone().unwrap_or_else(|| "local".to_owned()),
    )];
    let options = inspect.get("Options").and_then(Value::as_object);
    let option = |name: &str| {
        options
            .and_then(|map| map.get(name))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    for (name, value) in &volume.driver_opts {
        fields.push(differing(
            &format!("driver_opts.{name}"),
            option(name),
            value.clone(),
        ));
    }
    for name in options.into_iter().flat_map(Map::keys) {
        if !volume.driver_opts.contains_key(name) {
            fields.push(differing(
                &format!("driver_opts.{name}"),
                option(name),
                String::new(),
            ));
        }
    }
    fields.into_iter().flatten().collect()
}
