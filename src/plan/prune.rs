//! What is no longer declared, what protects it, and the delete budget.
//!
//! In: the scene, the changes of now. Out: changes for after the bake. Guaranteed: only what this observation and our
//! inventory or labels prove ours; containers before networks; volumes only by name and with `prune: all`; nothing at all
//! beyond the budget. Must not: delete what a profile only left out.

use std::collections::{BTreeMap, BTreeSet};

use crate::live::docker::op::{ContainerRef, Op};
use crate::live::world::{Container, Inventory, Observed, Owner};
use crate::names::{Digest, Kind, ResourceKey};
use crate::render::app::Prune;
use crate::render::model::Project;

use super::docker::scene::{Group, Scene, declared};
use super::docker::steps::{id, runs};
use super::{Action, Blocked, Cause, Change, Phase, Stance, Step};

/// How many deletions of `objects` are allowed at once.
pub(crate) fn allowed(objects: usize) -> usize {
    objects.div_ceil(10).max(5)
}

fn later(kind: Kind, name: &str, action: Action, cause: Cause) -> Change {
    Change {
        key: ResourceKey::new(kind, name),
        action,
        cause,
        fields: Vec::new(),
        needs: Vec::new(),
        phase: Phase::AfterBake,
        steps: Vec::new(),
        notes: Vec::new(),
    }
}

/// Deletions for what is not declared any more, in order: services, networks, volumes.
pub(crate) fn undeclared(
    scene: &Scene<'_>,
    used_networks: &BTreeSet<String>,
    set_aside: &BTreeMap<String, String>,
) -> Vec<Change> {
    let declared = declared(scene.project());
    let mut changes = Vec::new();
    let mut deleted: BTreeSet<&str> = BTreeSet::new();
    for (name, group) in scene.groups.iter().rev() {
        if declared.contains(name.as_str()) || name.is_empty() {
            continue;
        }
        let all: Vec<&Container> = members(group).filter(|container| scene.ours(container)).collect();
        let foreign = members(group).count() - all.len();
        if all.is_empty() {
            let mut kept = later(Kind::Service, name, Action::Keep, Cause::NoLongerDeclared);
            kept.notes.push("not made by Driftless; left alone".to_owned());
            changes.push(kept);
            continue;
        }
        // What is only parked is not an orphan: it is the way back, and tidied as such.
        if group.current.is_empty() && group.next.is_empty() {
            continue;
        }
        let mut change = later(Kind::Service, name, Action::Delete, Cause::NoLongerDeclared);
        for container in &all {
            if scene.owned(container).is_some_and(|owned| owned.parked.is_some()) {
                continue;
            }
            let aside = set_aside.get(&*container.id.0);
            deleted.insert(&container.id.0);
            if runs(container) && aside.is_none() {
                change.steps.push(Step::Op(Op::Stop {
                    container: id(container),
                    grace: None,
                }));
            }
            let name = aside.unwrap_or(&container.name).clone();
            let container = ContainerRef::Id {
                id: container.id.clone(),
                name,
            };
            change.steps.push(Step::Op(Op::RemoveContainer {
                container,
                force: false,
            }));
        }
        if foreign > 0 {
            change.notes.push(format!(
                "{foreign} of its containers were not made by Driftless; they stay"
            ));
        }
        changes.push(change);
    }
    changes.extend(networks(
        scene.project(),
        scene.observed,
        scene.inventory,
        used_networks,
        &deleted,
        scene,
    ));
    changes.extend(volumes(
        scene.project(),
        scene.observed,
        scene.inventory,
        scene.stance,
    ));
    let objects = scene
        .observed
        .containers
        .iter()
        .filter(|container| scene.ours(container))
        .count()
        + scene
            .observed
            .networks
            .values()
            .filter(|network| network.owner.owner == Owner::Ours)
            .count()
        + scene
            .observed
            .volumes
            .values()
            .filter(|volume| volume.owner.owner == Owner::Ours)
            .count();
    limit(&mut changes, scene.stance.prune, objects);
    changes
}

fn members<'a, 'b>(group: &'b Group<'a>) -> impl Iterator<Item = &'a Container> + use<'a, 'b> {
    group
        .current
        .values()
        .chain(&group.next)
        .chain(&group.surplus)
        .chain(&group.parked)
        .copied()
}

fn networks(
    project: &Project,
    observed: &Observed,
    inventory: &Inventory,
    used: &BTreeSet<String>,
    deleted: &BTreeSet<&str>,
    scene: &Scene<'_>,
) -> Vec<Change> {
    let ours = observed
        .networks
        .values()
        .filter(|live| live.owner.owner == Owner::Ours || inventory.networks.contains_key(&live.name));
    let mut changes = Vec::new();
    for live in ours {
        let external = project
            .networks
            .values()
            .any(|network| network.external && network.name == live.name);
        if used.contains(&live.name) || external {
            continue;
        }
        let label = if live.owner.key.is_empty() || project.networks.contains_key(&live.owner.key) {
            &live.name
        } else {
            &live.owner.key
        };
        // Containers of ours leave it during this plan, or are deleted right before.
        let other = live.attached.iter().find(|id| {
            let known = observed.containers.iter().find(|container| container.id == **id);
            !deleted.contains(&*id.0)
                && known.is_none_or(|container| !scene.ours(container) || disabled(project, container))
        });
        let mut change = later(Kind::Network, label, Action::Delete, Cause::NoLongerDeclared);
        if let Some(other) = other {
            change.action = Action::Keep;
            change
                .notes
                .push(format!("still used by container {}", other.short()));
        } else {
            change.steps.push(Step::Op(Op::RemoveNetwork {
                name: live.name.clone(),
            }));
        }
        changes.push(change);
    }
    changes
}

fn disabled(project: &Project, container: &Container) -> bool {
    project
        .disabled
        .iter()
        .any(|name| name.as_str() == container.service)
}

fn volumes(
    project: &Project,
    observed: &Observed,
    inventory: &Inventory,
    stance: &Stance<'_>,
) -> Vec<Change> {
    let declared: BTreeSet<&str> = project
        .volumes
        .values()
        .map(|volume| volume.name.as_str())
        .collect();
    let mut changes = Vec::new();
    for live in observed.volumes.values() {
        let ours = live.owner.owner == Owner::Ours
            || (live.owner.owner == Owner::Unmanaged && inventory.volumes.contains_key(&live.name));
        if declared.contains(live.name.as_str()) || !ours || project.volumes.contains_key(&live.owner.key) {
            continue;
        }
        let label = if live.owner.key.is_empty() {
            &live.name
        } else {
            &live.owner.key
        };
        let named = stance
            .delete_volumes
            .iter()
            .any(|name| *name == live.name || *name == live.owner.key);
        let mut change = later(Kind::Volume, label, Action::Delete, Cause::NoLongerDeclared);
        if stance.prune == Prune::All && named {
            change.steps.push(Step::Op(Op::RemoveVolume {
                name: live.name.clone(),
            }));
        } else {
            change.action = Action::Blocked(Blocked::Prune);
        }
        changes.push(change);
    }
    changes
}

/// Holds deletions back: all of them without leave to prune, all of them beyond the budget.
fn limit(changes: &mut [Change], prune: Prune, objects: usize) {
    let deletes = |changes: &[Change]| -> usize {
        let removals = |change: &Change| {
            change
                .steps
                .iter()
                .filter(|step| {
                    matches!(
                        step,
                        Step::Op(
                            Op::RemoveContainer { .. } | Op::RemoveNetwork { .. } | Op::RemoveVolume { .. }
                        )
                    )
                })
                .count()
        };
        changes
            .iter()
            .filter(|change| change.action == Action::Delete)
            .map(removals)
            .sum()
    };
    let count = deletes(changes);
    let allowed = allowed(objects);
    for change in changes
        .iter_mut()
        .filter(|change| change.action == Action::Delete)
    {
        if prune == Prune::None {
            change.action = Action::Blocked(Blocked::Prune);
            change.steps.clear();
        } else if count > allowed {
            change.action = Action::Blocked(Blocked::DeleteBudget {
                deletes: count,
                allowed,
            });
            change.steps.clear();
        }
    }
}

fn is_stable(scene: &Scene<'_>, service: &str, container: &Container) -> bool {
    crate::names::ServiceName::try_from(service).is_ok_and(|service| scene.is_stable(&service, container))
}

/// Parked containers that are no way back any more, after the bake: one parked set is kept for an app.
pub(crate) fn parked(scene: &Scene<'_>, revived: &BTreeSet<String>, release: &Digest) -> Vec<Change> {
    let stable = scene.stable.as_ref().map(|stable| &stable.record.digest);
    let moves_on = stable.is_some_and(|stable| stable != release);
    let mut changes = Vec::new();
    for (name, group) in &scene.groups {
        let mut parked: Vec<&Container> = group
            .parked
            .iter()
            .copied()
            .filter(|container| scene.ours(container) && !revived.contains(&*container.id.0))
            .collect();
        // The youngest first: of several for one number, it is the way back.
        parked.sort_by(|a, b| (b.finished_at, &b.id).cmp(&(a.finished_at, &a.id)));
        let mut seen = BTreeSet::new();
        let mut steps = Vec::new();
        for container in parked {
            let owned = scene.owned(container);
            // A run that was killed after it set a container aside could not write down what for: what the container is
            // tells whether it is the way back.
            let unknown = owned.is_some_and(|owned| owned.parked.is_none());
            let of = match owned {
                Some(_) if unknown => stable.filter(|_| is_stable(scene, name, container)),
                _ => owned.and_then(|owned| owned.parked.as_ref()),
            };
            let index = owned.map_or(container.index, |owned| owned.index);
            let stale = if moves_on {
                of != stable
            } else {
                unknown || !seen.insert(index)
            };
            if stale {
                steps.push(Step::Op(Op::RemoveContainer {
                    container: id(container),
                    force: runs(container),
                }));
            }
        }
        if !steps.is_empty() {
            let mut change = later(Kind::Service, name, Action::Tidy, Cause::Unchanged);
            change.steps = steps;
            change.notes.push("parked for an older release".to_owned());
            changes.push(change);
        }
    }
    changes
}
