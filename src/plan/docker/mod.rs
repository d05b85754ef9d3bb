//! The decisions for a plain Docker engine: Desired + Observed + Inventory → changes.
//!
//! In: one app. Out: changes in order of execution. Guaranteed: networks and volumes first, then services by what they
//! need, deletions last. Must not: ask anything.

pub(crate) mod compare;
pub(crate) mod drift;
pub(crate) mod fields;
pub(crate) mod limits;
pub(crate) mod network;
pub(crate) mod ports;
pub(crate) mod request;
pub(crate) mod scene;
pub(crate) mod service;
pub(crate) mod spec;
pub(crate) mod steps;

use std::collections::{BTreeMap, BTreeSet};

use crate::live::docker::op::{ContainerRef, Op};
use crate::live::world::{Inventory, Observed};
use crate::names::{Digest, Kind, ResourceKey, ServiceName};
use crate::render::Desired;

use super::images::Resolved;
use super::{Change, Phase, Problem, Stance, Step, order, prune};

use request::Setting;
use scene::{Scene, Stable};

/// What was decided for one app.
pub(crate) struct Outcome {
    pub changes: Vec<Change>,
    pub problems: Vec<Problem>,
    /// Spec digests of the services.
    pub specs: BTreeMap<ServiceName, Digest>,
}

/// Decides about everything of one app.
pub(crate) fn decide(
    desired: &Desired,
    observed: &Observed,
    inventory: &Inventory,
    stance: &Stance<'_>,
    images: &BTreeMap<ServiceName, Resolved>,
    release: &Digest,
) -> Outcome {
    let networks = network::networks(desired, observed, inventory, stance);
    let volumes = network::volumes(desired, observed, inventory, stance);
    let setting = Setting {
        key: &desired.key,
        instance: stance.instance,
        project: &desired.project,
        networks: &networks.names,
        files_dir: stance.files_dir,
        data_dir: stance.data_dir,
    };
    let stable_names = stance
        .effective
        .map(|record| network::names(&record.snapshot.project, observed, inventory));
    let stable = stance
        .effective
        .zip(stable_names.as_ref())
        .map(|(record, names)| {
            let setting = Setting {
                project: &record.snapshot.project,
                networks: names,
                ..setting
            };
            Stable {
                record,
                templates: scene::templates(&setting),
            }
        });
    let groups = scene::groups(&desired.project, observed, inventory);
    let mut edges = order::edges(&desired.project);
    for (name, others) in ports::edges(&desired.project, observed, &groups) {
        for other in others {
            // Two services that swap ports can't both wait: then the holder is set aside early.
            if !reaches(&edges, &other, &name) {
                edges.entry(name.clone()).or_default().insert(other);
            }
        }
    }
    let sorted = order::sorted(&edges);
    let scene = Scene {
        desired,
        observed,
        inventory,
        stance,
        setting,
        templates: scene::templates(&setting),
        images,
        stable,
        groups,
        release,
        edges,
    };

    let mut decided = service::Decided {
        changes: networks.changes,
        ..service::Decided::default()
    };
    decided.problems.extend(networks.problems);
    decided.changes.extend(volumes.changes);
    decided.problems.extend(volumes.problems);
    for name in &sorted {
        if let Some(service) = desired.project.services.get(name) {
            service::decide(&scene, &mut decided, name, service);
        }
    }

    let used: BTreeSet<String> = networks.names.values().cloned().collect();
    let revived: BTreeSet<String> = decided
        .containers
        .values()
        .flatten()
        .filter_map(existing)
        .collect();
    let specs = scene
        .templates
        .iter()
        .map(|(name, template)| (name.clone(), template.spec.clone()))
        .collect();
    let mut changes = decided.changes;
    changes.extend(decided.later);
    changes.extend(prune::parked(&scene, &revived, release));
    changes.extend(prune::undeclared(&scene, &used, &decided.set_aside));
    once(&mut changes);
    containers_first(&mut changes);
    Outcome {
        changes,
        problems: decided.problems,
        specs,
    }
}

fn existing(container: &ContainerRef) -> Option<String> {
    match container {
        ContainerRef::Id { id, .. } => Some(id.0.to_string()),
        ContainerRef::New { .. } => None,
    }
}

/// Whether `from` needs `to`, directly or not.
fn reaches(
    edges: &BTreeMap<ServiceName, BTreeSet<ServiceName>>,
    from: &ServiceName,
    to: &ServiceName,
) -> bool {
    let mut open = vec![from];
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name) {
            open.extend(edges.get(name).into_iter().flatten());
        }
    }
    false
}

/// Deletions are walked side by side: networks and volumes wait until the containers that use them are gone.
fn containers_first(changes: &mut [Change]) {
    let late = |change: &Change| change.phase == Phase::AfterBake;
    let mut services: Vec<ResourceKey> = changes
        .iter()
        .filter(|change| late(change) && change.key.kind == Kind::Service)
        .map(|change| change.key.clone())
        .collect();
    services.sort();
    services.dedup();
    for change in changes
        .iter_mut()
        .filter(|change| late(change) && change.key.kind != Kind::Service)
    {
        change.needs.clone_from(&services);
    }
}

/// A container is removed once, by the first change that does it.
fn once(changes: &mut Vec<Change>) {
    let mut removed = BTreeSet::new();
    for change in changes.iter_mut() {
        change.steps.retain(|step| match step {
            Step::Op(Op::RemoveContainer {
                container: ContainerRef::Id { id, .. },
                ..
            }) => removed.insert(id.clone()),
            _ => true,
        });
    }
    changes.retain(|change| change.action != super::Action::Tidy || change.acts());
}
