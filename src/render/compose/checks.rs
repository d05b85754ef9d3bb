//! What one service can't know: references, cycles, clashes.
//!
//! In: the project as read, and the nodes it came from. Out: findings; `job` set on the targets of
//! `service_completed_successfully` (decision 23). Guaranteed: a cycle is printed whole; every finding has the place where
//! it is written. Must not: change anything else.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::{Code, Diagnostic, Diagnostics, Item, Node, Span, Value, did_you_mean};
use crate::names::ServiceName;
use crate::render::model::{Condition, Port, Project};

type Nodes = BTreeMap<ServiceName, Item>;

/// All checks.
pub(super) fn run(project: &mut Project, nodes: &Nodes, diagnostics: &mut Diagnostics) {
    dependencies(project, nodes, diagnostics);
    cycles(project, nodes, diagnostics);
    ports(project, nodes, diagnostics);
    names(project, nodes, diagnostics);
}

/// Where `key` of `service` is written; the entry called `entry` in it, if it can be found.
fn place(nodes: &Nodes, service: &ServiceName, key: &str, entry: Option<&str>) -> Option<Span> {
    let item = nodes.get(service)?;
    Some(entry_span(&item.value, key, entry).unwrap_or_else(|| item.key.span.clone()))
}

fn entry_span(node: &Node, key: &str, entry: Option<&str>) -> Option<Span> {
    let item = node.as_mapping()?.item(key)?;
    let inner = entry.and_then(|entry| match &item.value.value {
        Value::Mapping(mapping) => mapping.item(entry).map(|item| item.key.span.clone()),
        Value::Sequence(items) => items
            .iter()
            .find(|item| match &item.value {
                Value::Mapping(mapping) => mapping
                    .get("source")
                    .and_then(Node::as_text)
                    .is_some_and(|source| source == entry),
                _ => item
                    .as_text()
                    .is_some_and(|text| text == entry || text.split([':', '=']).next() == Some(entry)),
            })
            .map(|item| item.span.clone()),
        _ => None,
    });
    Some(inner.unwrap_or_else(|| item.key.span.clone()))
}

fn at(code: Code, span: Option<Span>, message: String) -> Diagnostic {
    match span {
        Some(span) => Diagnostic::error(code, &span, message),
        None => Diagnostic::without_place(code, message),
    }
}

/// A network, volume, config or secret that a service uses and nobody declares.
pub(super) fn undefined<'k>(
    kind: &str,
    key: &str,
    user: &ServiceName,
    item: Option<&Item>,
    declared: impl Iterator<Item = &'k str>,
) -> Diagnostic {
    let one = kind.trim_end_matches('s');
    let span =
        item.map(|item| entry_span(&item.value, kind, Some(key)).unwrap_or_else(|| item.key.span.clone()));
    let message = format!("service `{user}` uses {one} `{key}`, which is not declared");
    let finding = at(Code::UNDECLARED, span, message);
    let finding = match did_you_mean(key, declared) {
        Some(near) => finding.with_label(format!("did you mean `{near}`?")),
        None => finding,
    };
    let bind = if kind == "volumes" {
        "; a folder is written `./name`"
    } else {
        ""
    };
    finding.with_help(format!("declare it under top-level `{kind}`{bind}"))
}

fn dependencies(project: &mut Project, nodes: &Nodes, diagnostics: &mut Diagnostics) {
    let known: BTreeSet<ServiceName> = project.services.keys().cloned().collect();
    let disabled: BTreeSet<ServiceName> = project.disabled.iter().cloned().collect();
    let mut jobs = BTreeSet::new();
    let unchecked: BTreeSet<ServiceName> = project
        .services
        .iter()
        .filter(|(_, service)| service.healthcheck.as_ref().is_some_and(|check| check.disabled()))
        .map(|(name, _)| name.clone())
        .collect();
    for (name, service) in &mut project.services {
        service.depends_on.retain(|target, dependency| {
            let span = [
                ("depends_on", Some(target.as_str())),
                ("links", Some(target.as_str())),
                ("volumes_from", Some(target.as_str())),
                ("network_mode", None),
                ("pid", None),
                ("ipc", None),
            ]
            .into_iter()
            .find_map(|(key, entry)| entry_span(&nodes.get(name)?.value, key, entry));
            if known.contains(target) {
                match dependency.condition {
                    Condition::ServiceCompletedSuccessfully => {
                        jobs.insert(target.clone());
                    }
                    Condition::ServiceHealthy if unchecked.contains(target) => {
                        let message = format!(
                            "service `{name}` waits until `{target}` is healthy, but the healthcheck of `{target}` is switched off"
                        );
                        let finding = at(Code::NEVER_HEALTHY, span, message);
                        diagnostics.push(finding.with_help("give it a healthcheck, or wait for service_started"));
                    }
                    _ => {}
                }
                return true;
            }
            if disabled.contains(target) {
                // docker.md §4: what is not enabled counts as satisfied.
                if let Some(span) = span {
                    let message = format!(
                        "service `{name}` depends on `{target}`, whose profiles are not enabled: it does not wait for it"
                    );
                    diagnostics.push(Diagnostic::warning(Code::NO_EFFECT, &span, message));
                }
                return false;
            }
            if !dependency.required {
                if let Some(span) = span {
                    let message = format!("service `{name}` depends on `{target}`, which does not exist");
                    diagnostics.push(Diagnostic::warning(Code::NO_EFFECT, &span, message));
                }
                return false;
            }
            let message = format!("service `{name}` depends on `{target}`, which does not exist");
            let finding = at(Code::UNKNOWN_SERVICE, span, message);
            diagnostics.push(match did_you_mean(target.as_str(), known.iter().map(ServiceName::as_str)) {
                Some(near) => finding.with_label(format!("did you mean `{near}`?")),
                None => finding,
            });
            true
        });
    }
    for job in jobs {
        if let Some(service) = project.services.get_mut(&job) {
            service.job = true;
        }
    }
}

fn cycles(project: &Project, nodes: &Nodes, diagnostics: &mut Diagnostics) {
    let mut done: BTreeSet<&ServiceName> = BTreeSet::new();
    for start in project.services.keys() {
        // Depth first, with the path to show; iterative, because a file can have thousands of services.
        let mut path: Vec<(&ServiceName, Vec<&ServiceName>)> = Vec::new();
        let next = |name: &ServiceName| -> Vec<&ServiceName> {
            project
                .services
                .get(name)
                .map(|service| service.depends_on.keys().rev().collect())
                .unwrap_or_default()
        };
        if done.contains(start) {
            continue;
        }
        path.push((start, next(start)));
        while let Some((name, waiting)) = path.last_mut() {
            let Some(target) = waiting.pop() else {
                done.insert(name);
                path.pop();
                continue;
            };
            if let Some(from) = path.iter().position(|(name, _)| *name == target) {
                let mut names: Vec<&str> = path.iter().skip(from).map(|(name, _)| name.as_str()).collect();
                names.push(target.as_str());
                let span = path
                    .last()
                    .and_then(|(last, _)| place(nodes, last, "depends_on", Some(target.as_str())));
                let message = format!(
                    "services depend on each other in a circle: {}",
                    names.join(" -> ")
                );
                diagnostics.push(
                    at(Code::DEPENDENCY_CYCLE, span, message).with_help("remove one of these dependencies"),
                );
                return;
            }
            if !done.contains(target) && project.services.contains_key(target) {
                path.push((target, next(target)));
            }
        }
    }
}

fn overlap(one: &Port, other: &Port) -> bool {
    let everywhere = |ip: &str| matches!(ip, "" | "0.0.0.0" | "::");
    one.protocol == other.protocol
        && (one.host_ip == other.host_ip || everywhere(&one.host_ip) || everywhere(&other.host_ip))
        && one.fixed().is_some()
        && one.fixed() == other.fixed()
}

fn ports(project: &Project, nodes: &Nodes, diagnostics: &mut Diagnostics) {
    let mut taken: BTreeMap<u16, Vec<(&ServiceName, &Port)>> = BTreeMap::new();
    for (name, service) in &project.services {
        for port in &service.ports {
            let Some(number) = port.fixed() else { continue };
            if service.replicas > 1 {
                let message = format!(
                    "service `{name}` has {} replicas, but only one container can hold host port {number}",
                    service.replicas
                );
                diagnostics.push(
                    at(Code::PORT_CLASH, place(nodes, name, "ports", None), message)
                        .with_help("publish a range such as `8080-8089:80`, let the engine choose (`- 80`), or put a proxy before it"),
                );
            }
            let holders = taken.entry(number).or_default();
            if let Some((other, _)) = holders.iter().find(|(_, held)| overlap(held, port)) {
                let message = if *other == name {
                    format!(
                        "service `{name}` publishes host port {number}/{} twice",
                        port.protocol
                    )
                } else {
                    format!(
                        "services `{other}` and `{name}` both publish host port {number}/{}",
                        port.protocol
                    )
                };
                let mut finding = at(Code::PORT_CLASH, place(nodes, name, "ports", None), message);
                if let Some(span) = place(nodes, other, "ports", None).filter(|_| *other != name) {
                    finding = finding.with_secondary(&span, format!("`{other}` publishes it here"));
                }
                diagnostics.push(finding);
            }
            holders.push((name, port));
        }
    }
}

fn names(project: &Project, nodes: &Nodes, diagnostics: &mut Diagnostics) {
    let mut taken: BTreeMap<&str, &ServiceName> = BTreeMap::new();
    for (name, service) in &project.services {
        let Some(container) = service.container_name.as_deref() else {
            continue;
        };
        let span = place(nodes, name, "container_name", None);
        if service.replicas > 1 {
            let message = format!(
                "service `{name}` has {} replicas, but `container_name` is one name",
                service.replicas
            );
            diagnostics.push(at(Code::CONFLICT, span.clone(), message).with_help("remove `container_name`"));
        }
        if let Some(other) = taken.insert(container, name) {
            let message = format!("services `{other}` and `{name}` have the same `container_name`");
            diagnostics.push(at(Code::CONFLICT, span, message));
        }
    }
}
