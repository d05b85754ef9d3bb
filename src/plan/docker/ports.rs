//! Host ports: who holds them, and what has to move first.
//!
//! In: holders on the engine, what services publish. Out: steps that free a port, or a problem that names the holder.
//! Guaranteed: only containers of this app are ever moved for a port. Must not: look at ports that the engine chooses.

use std::collections::{BTreeMap, BTreeSet};

use crate::live::world::{Container, Holder, Observed};
use crate::names::ServiceName;
use crate::plan::{Problem, ProblemKind, Step};
use crate::render::model::{Port, Project, Service};

use super::scene::{Group, Scene};
use super::service::{Decided, early};
use super::steps::runs;

/// Whether a holder has the host port that `port` publishes.
fn holds(holder: &Holder, port: &Port) -> bool {
    let Some(wanted) = port.fixed() else { return false };
    let any = |ip: &str| matches!(ip, "" | "0.0.0.0" | "::");
    holder.running
        && holder.ports.iter().any(|(ip, number, protocol)| {
            *number == wanted
                && *protocol == port.protocol
                && (any(ip) || any(&port.host_ip) || *ip == port.host_ip)
        })
}

/// Services that must be changed first because their old container holds a host port that this one publishes now.
pub(crate) fn edges(
    project: &Project,
    observed: &Observed,
    groups: &BTreeMap<String, Group<'_>>,
) -> BTreeMap<ServiceName, BTreeSet<ServiceName>> {
    let mut edges: BTreeMap<ServiceName, BTreeSet<ServiceName>> = BTreeMap::new();
    for (name, service) in &project.services {
        for port in &service.ports {
            for holder in observed.holders.iter().filter(|holder| holds(holder, port)) {
                let owner = groups
                    .iter()
                    .find(|(_, group)| group.current.values().any(|container| container.id == holder.id));
                let Some(other) = owner.and_then(|(owner, _)| ServiceName::try_from(owner.as_str()).ok())
                else {
                    continue;
                };
                let keeps = project
                    .services
                    .get(&other)
                    .is_none_or(|service| service.ports.iter().any(|port| holds(holder, port)));
                if other != *name && !keeps {
                    edges.entry(name.clone()).or_default().insert(other);
                }
            }
        }
    }
    edges
}

/// What has to happen before a new container of a service can bind its host ports.
pub(crate) fn free(
    scene: &Scene<'_>,
    decided: &mut Decided,
    name: &ServiceName,
    service: &Service,
    group: &Group<'_>,
    replaced: Option<&Container>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let own = |holder: &Holder| {
        let mine = group
            .current
            .values()
            .chain(&group.next)
            .chain(&group.surplus)
            .chain(&group.parked);
        replaced.is_some_and(|container| container.id == holder.id)
            || mine.into_iter().any(|container| container.id == holder.id)
    };
    for port in &service.ports {
        if service.replicas > 1 && port.fixed().is_some() {
            problem(
                scene,
                decided,
                name,
                port,
                format!(
                    "publishes host port {} from {} containers",
                    text(port),
                    service.replicas
                ),
                "publish it without a host port, or run one container".to_owned(),
            );
            continue;
        }
        for holder in scene
            .observed
            .holders
            .iter()
            .filter(|holder| holds(holder, port) && !own(holder))
        {
            match of_app(scene, holder) {
                Some((_, container)) if !scene.ours(container) => {}
                Some((owner, container)) => {
                    let moved = ServiceName::try_from(owner).ok().is_some_and(|owner| {
                        // Decided before this one, and it gives the port up.
                        decided.changes.iter().any(|change| {
                            change.key.kind == crate::names::Kind::Service
                                && *change.key.name == *owner.as_str()
                                && change.acts()
                        })
                    });
                    let keeps = ServiceName::try_from(owner)
                        .ok()
                        .and_then(|owner| scene.project().services.get(&owner))
                        .is_some_and(|service| service.ports.iter().any(|other| holds(holder, other)));
                    if keeps {
                        problem(
                            scene,
                            decided,
                            name,
                            port,
                            format!("publishes host port {}, as service `{owner}` does", text(port)),
                            "publish each host port once".to_owned(),
                        );
                    } else if !moved && runs(container) {
                        steps.extend(early(scene, decided, container));
                    }
                    continue;
                }
                None => {}
            }
            let whose = if holder.project.is_empty() {
                String::new()
            } else {
                format!(" of project `{}`", holder.project)
            };
            problem(
                scene,
                decided,
                name,
                port,
                format!(
                    "needs host port {}, which container `{}`{whose} holds",
                    text(port),
                    holder.name
                ),
                format!("`docker stop {}`, or publish another port", holder.name),
            );
        }
    }
    steps
}

fn text(port: &Port) -> String {
    let number = port.fixed().unwrap_or_default();
    format!("{number}/{}", port.protocol)
}

fn of_app<'a>(scene: &'a Scene<'_>, holder: &Holder) -> Option<(&'a str, &'a Container)> {
    scene.groups.iter().find_map(|(name, group)| {
        let mut all = group
            .current
            .values()
            .chain(&group.next)
            .chain(&group.surplus)
            .chain(&group.parked);
        all.find(|container| container.id == holder.id)
            .map(|container| (name.as_str(), *container))
    })
}

fn problem(
    scene: &Scene<'_>,
    decided: &mut Decided,
    name: &ServiceName,
    _: &Port,
    what: String,
    help: String,
) {
    let problem = Problem {
        code: "E0523",
        message: format!("service `{name}` {what}"),
        place: scene
            .desired
            .places
            .find(&format!("services.{name}.ports"))
            .cloned(),
        help: Some(help),
        kind: ProblemKind::Preflight,
    };
    if !decided.problems.contains(&problem) {
        decided.problems.push(problem);
    }
}
