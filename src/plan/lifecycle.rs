//! Plans that a person asks for by name: take an app down, restart services.
//!
//! In: what is there and what we own. Out: a [`Plan`]. Guaranteed: only what is proven ours is touched; volumes go only when
//! they are named. Must not: need anything of the desired state but the order of services.

use std::collections::{BTreeMap, BTreeSet};

use crate::live::docker::op::Op;
use crate::live::world::{Container, Inventory, Observed, Owner};
use crate::names::{Kind, ResourceKey, ServiceName};
use crate::render::Desired;

use super::docker::scene::{Group, groups};
use super::docker::steps::{healthy_for, id, runs};
use super::{Action, Blocked, Cause, Change, Phase, Plan, Preflight, Stance, Step, basis, order};

fn change(kind: Kind, name: &str, action: Action, cause: Cause) -> Change {
    Change {
        key: ResourceKey::new(kind, name),
        action,
        cause,
        fields: Vec::new(),
        needs: Vec::new(),
        phase: Phase::Apply,
        steps: Vec::new(),
        notes: Vec::new(),
    }
}

fn plan_of(desired: &Desired, observed: &Observed, changes: Vec<Change>) -> Plan {
    let release = crate::release::digest(&desired.content, &BTreeMap::new());
    Plan {
        key: desired.key.clone(),
        revision: desired.revision.clone(),
        target: observed.engine.id.clone(),
        basis: match &observed.cluster {
            Some(cluster) => basis::of_objects(Some(cluster), &release),
            None => basis::digest(observed, &release),
        },
        release,
        content: desired.content.clone(),
        images: BTreeMap::new(),
        specs: BTreeMap::new(),
        known: BTreeMap::new(),
        changes,
        preflight: Preflight::default(),
        problems: Vec::new(),
        warnings: Vec::new(),
    }
}

fn ours(container: &Container, inventory: &Inventory) -> bool {
    match container.owner {
        Owner::Ours => true,
        Owner::Unmanaged | Owner::OtherInstance(_) => inventory.containers.contains_key(&container.id),
        Owner::OtherApp(_) => false,
    }
}

fn members<'a>(group: &Group<'a>) -> Vec<&'a Container> {
    let all = group
        .current
        .values()
        .chain(&group.next)
        .chain(&group.surplus)
        .chain(&group.parked);
    all.copied().collect()
}

/// Plans to remove an app: containers in reverse order, networks, and the volumes that the command names.
pub fn down(desired: &Desired, observed: &Observed, inventory: &Inventory, stance: &Stance<'_>) -> Plan {
    if let (Some(bundle), Some(cluster)) = (&desired.bundle, &observed.cluster) {
        let scene = super::kubernetes::Scene {
            desired,
            bundle,
            observed: cluster,
            inventory,
            stance,
            new: false,
        };
        return plan_of(desired, observed, super::kubernetes::down(&scene));
    }
    let groups = groups(&desired.project, observed, inventory);
    let edges = order::edges(&desired.project);
    let mut names: Vec<String> = order::sorted(&edges).iter().map(ServiceName::to_string).collect();
    let undeclared: Vec<String> = groups
        .keys()
        .filter(|name| !names.contains(name))
        .cloned()
        .collect();
    names.extend(undeclared);
    let mut changes = Vec::new();
    for name in names.iter().rev() {
        let Some(group) = groups.get(name) else { continue };
        let all = members(group);
        let mine: Vec<&&Container> = all
            .iter()
            .filter(|container| ours(container, inventory))
            .collect();
        if mine.is_empty() {
            let mut kept = change(Kind::Service, name, Action::Keep, Cause::NoLongerDeclared);
            kept.notes.push("not made by Driftless; left alone".to_owned());
            changes.push(kept);
            continue;
        }
        let mut gone = change(Kind::Service, name, Action::Delete, Cause::NoLongerDeclared);
        for container in mine {
            if runs(container) {
                gone.steps.push(Step::Op(Op::Stop {
                    container: id(container),
                    grace: None,
                }));
            }
            gone.steps.push(Step::Op(Op::RemoveContainer {
                container: id(container),
                force: false,
            }));
        }
        // Whatever needs this service goes first.
        gone.needs = edges
            .iter()
            .filter(|(_, needs)| needs.iter().any(|need| need.as_str() == name))
            .map(|(dependent, _)| ResourceKey::new(Kind::Service, dependent.as_str()))
            .filter(|key| changes.iter().any(|change: &Change| change.key == *key))
            .collect();
        changes.push(gone);
    }
    let services: Vec<ResourceKey> = changes.iter().map(|change| change.key.clone()).collect();
    for live in observed.networks.values() {
        let mine = live.owner.owner == Owner::Ours || inventory.networks.contains_key(&live.name);
        if !mine || matches!(live.owner.owner, Owner::OtherApp(_)) {
            continue;
        }
        let label = label(&live.owner.key, &live.name, changes.iter());
        let other = live.attached.iter().find(|attached| {
            let known = observed
                .containers
                .iter()
                .find(|container| container.id == **attached);
            known.is_none_or(|container| !ours(container, inventory))
        });
        let mut gone = change(Kind::Network, &label, Action::Delete, Cause::NoLongerDeclared);
        match other {
            Some(other) => {
                gone.action = Action::Keep;
                gone.notes
                    .push(format!("still used by container {}", other.short()));
            }
            None => {
                gone.needs.clone_from(&services);
                gone.steps.push(Step::Op(Op::RemoveNetwork {
                    name: live.name.clone(),
                }));
            }
        }
        changes.push(gone);
    }
    for live in observed.volumes.values() {
        let mine = live.owner.owner == Owner::Ours || inventory.volumes.contains_key(&live.name);
        if !mine || matches!(live.owner.owner, Owner::OtherApp(_)) {
            continue;
        }
        let label = label(&live.owner.key, &live.name, changes.iter());
        let named = stance
            .delete_volumes
            .iter()
            .any(|name| *name == live.name || *name == live.owner.key);
        let mut gone = change(Kind::Volume, &label, Action::Delete, Cause::NoLongerDeclared);
        if named {
            gone.needs.clone_from(&services);
            gone.steps.push(Step::Op(Op::RemoveVolume {
                name: live.name.clone(),
            }));
        } else {
            gone.action = Action::Blocked(Blocked::Prune);
        }
        changes.push(gone);
    }
    plan_of(desired, observed, changes)
}

/// The key under which people know an object; the live name where two share one.
fn label<'a>(key: &str, name: &str, mut changes: impl Iterator<Item = &'a Change>) -> String {
    let taken = changes.any(|change| change.key.kind != Kind::Service && *change.key.name == *key);
    if key.is_empty() || taken {
        name.to_owned()
    } else {
        key.to_owned()
    }
}

/// Plans to restart services (all when none is named) in order of their dependencies, each waited for.
pub fn restart(
    desired: &Desired,
    observed: &Observed,
    inventory: &Inventory,
    services: &[ServiceName],
) -> Plan {
    if let Some(cluster) = &observed.cluster {
        return plan_of(
            desired,
            observed,
            super::kubernetes::restart(desired, cluster, services),
        );
    }
    let groups = groups(&desired.project, observed, inventory);
    let edges = order::edges(&desired.project);
    let mut changes: Vec<Change> = Vec::new();
    for name in order::sorted(&edges) {
        let Some(service) = desired.project.services.get(&name) else {
            continue;
        };
        let asked = services.is_empty() || services.contains(&name);
        // What lives in a restarted container's network would hang in an empty one.
        let parents = order::parents(service);
        let shared = parents.iter().find(|parent| {
            changes
                .iter()
                .any(|change| *change.key.name == *parent.as_str() && change.acts())
        });
        if service.job || !(asked || shared.is_some()) {
            continue;
        }
        let cause = match shared {
            Some(parent) if !asked => Cause::Follows(ResourceKey::new(Kind::Service, parent.as_str())),
            _ => Cause::Unchanged,
        };
        let mut again = change(Kind::Service, name.as_str(), Action::Restart, cause);
        let group = groups.get(name.as_str());
        for container in group.iter().flat_map(|group| group.current.values()) {
            if !ours(container, inventory) {
                again.notes.push(format!(
                    "{} was not made by Driftless; left alone",
                    container.name
                ));
                continue;
            }
            again.steps.push(Step::Op(Op::Restart {
                container: id(container),
                grace: None,
            }));
            again.steps.push(healthy_for(
                &desired.rules,
                None,
                &name,
                service,
                vec![id(container)],
            ));
        }
        let needs: BTreeSet<ResourceKey> = edges
            .get(&name)
            .into_iter()
            .flatten()
            .map(|need| ResourceKey::new(Kind::Service, need.as_str()))
            .filter(|key| changes.iter().any(|change| change.key == *key))
            .collect();
        again.needs = needs.into_iter().collect();
        if again.steps.is_empty() {
            again.action = Action::Keep;
        }
        changes.push(again);
    }
    plan_of(desired, observed, changes)
}
