//! The order of services: what must be there first.
//!
//! In: edges. Out: names in order. Guaranteed: deterministic (ties by name); everything comes after what it needs, except
//! within a cycle, which is returned in order of names. Must not: lose a name.

use std::collections::{BTreeMap, BTreeSet};

use crate::names::ServiceName;
use crate::render::model::{Namespace, NetworkMode, Project, Service};

/// What each enabled service needs to be there first: `depends_on`, `links`, `volumes_from`, shared namespaces.
pub(crate) fn edges(project: &Project) -> BTreeMap<ServiceName, BTreeSet<ServiceName>> {
    let enabled = |name: &ServiceName| project.services.contains_key(name);
    project
        .services
        .iter()
        .map(|(name, service)| {
            let mut needs: BTreeSet<ServiceName> = service.depends_on.keys().cloned().collect();
            needs.extend(service.links.values().cloned());
            needs.extend(parents(service));
            needs.retain(|need| enabled(need) && need != name);
            (name.clone(), needs)
        })
        .collect()
}

/// The services whose namespaces or volumes a service shares: it must be made again when they are.
pub(crate) fn parents(service: &Service) -> BTreeSet<ServiceName> {
    let mut parents = BTreeSet::new();
    if let NetworkMode::Service(parent) = &service.network_mode {
        parents.insert(parent.clone());
    }
    for namespace in [&service.pid, &service.ipc].into_iter().flatten() {
        if let Namespace::Service(parent) = namespace {
            parents.insert(parent.clone());
        }
    }
    for from in &service.volumes_from {
        let name = from.split_once(':').map_or(from.as_str(), |(name, _)| name);
        if name != "container"
            && let Ok(parent) = ServiceName::try_from(name)
        {
            parents.insert(parent);
        }
    }
    parents
}

/// Names in an order in which everything comes after what it needs.
pub(crate) fn sorted(edges: &BTreeMap<ServiceName, BTreeSet<ServiceName>>) -> Vec<ServiceName> {
    let mut done: BTreeSet<&ServiceName> = BTreeSet::new();
    let mut order = Vec::with_capacity(edges.len());
    while order.len() < edges.len() {
        let open = edges.keys().filter(|name| !done.contains(*name));
        let ready = open.clone().find(|name| {
            edges.get(*name).is_none_or(|needs| {
                needs
                    .iter()
                    .all(|need| done.contains(need) || !edges.contains_key(need))
            })
        });
        // A cycle is refused when the project is rendered; here it must only not hang.
        let Some(next) = ready.or_else(|| open.clone().next()) else {
            break;
        };
        done.insert(next);
        order.push(next.clone());
    }
    order
}
