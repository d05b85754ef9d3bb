//! What we own, written down from what is there: after every apply, and from labels when the store is gone.
//!
//! In: an observation and the plan that led to it. Out: facts for the inventory. Guaranteed: only objects that bear our
//! labels, or that the plan took over, become ours; a baseline is what was read, never what was asked for. Must not: take a
//! missing store for "nothing is owned".

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::journal::Fact;
use crate::live::ownership::{NEXT, PARKED};
use crate::live::world::{Baseline, Container, Inventory, JobDone, Observed, OwnedContainer, Owner, State};
use crate::names::{Digest, Kind, ResourceKey, Revision, ServiceName};
use crate::plan::{Action, Plan};
use crate::render::Project;

/// The inventory that labels prove (decision: a missing store is never an empty inventory).
pub fn rebuild(observed: &Observed, revision: &Revision) -> Inventory {
    let mut inventory = Inventory {
        rebuilt: true,
        ..Inventory::default()
    };
    for container in observed
        .containers
        .iter()
        .filter(|container| container.owner == Owner::Ours)
    {
        let (Ok(service), Some(spec)) = (ServiceName::try_from(container.service.as_str()), &container.spec)
        else {
            continue;
        };
        if container.name.contains(NEXT) {
            continue;
        }
        inventory.containers.insert(
            container.id.clone(),
            OwnedContainer {
                service,
                index: container.index,
                spec: spec.clone(),
                revision: revision.clone(),
                // Of which release it was the container is not known any more: no way back by parking until the next one.
                parked: container
                    .name
                    .contains(PARKED)
                    .then(|| Digest::read_back("unknown")),
                baseline: Baseline::of(container),
            },
        );
    }
    for network in observed
        .networks
        .values()
        .filter(|network| network.owner.owner == Owner::Ours)
    {
        if let Some(spec) = &network.spec {
            inventory.networks.insert(network.name.clone(), spec.clone());
        }
    }
    for volume in observed
        .volumes
        .values()
        .filter(|volume| volume.owner.owner == Owner::Ours)
    {
        if let Some(spec) = &volume.spec {
            inventory.volumes.insert(volume.name.clone(), spec.clone());
        }
    }
    inventory
}

/// What is true after a plan was walked.
pub struct After<'a> {
    pub plan: &'a Plan,
    pub project: &'a Project,
    /// The inventory before.
    pub before: &'a Inventory,
    pub observed: &'a Observed,
    /// Services whose change is done, or that had none.
    pub done: &'a BTreeSet<ResourceKey>,
    /// The release that containers were parked from.
    pub parked_from: Option<&'a Digest>,
    pub now: Timestamp,
}

/// The facts to write.
pub fn facts(after: &After<'_>) -> Vec<Fact> {
    let adopted: BTreeSet<&ResourceKey> = after
        .plan
        .changes
        .iter()
        .filter(|change| {
            // What was changed in place on the way is taken over too: a plan that may not do so was refused.
            let kept = matches!(change.action, Action::Update | Action::Heal | Action::Restart);
            change.action == Action::Adopt || kept && after.done.contains(&change.key)
        })
        .map(|change| &change.key)
        .collect();
    let mut facts = Vec::new();
    for container in &after.observed.containers {
        let Ok(service) = ServiceName::try_from(container.service.as_str()) else {
            continue;
        };
        let key = ResourceKey::new(Kind::Service, service.as_str());
        let taken =
            adopted.contains(&key) && matches!(container.owner, Owner::Unmanaged | Owner::OtherInstance(_));
        // With `--adopt` a container that differs is replaced; what was put aside of it is ours to tidy later.
        let aside = matches!(container.owner, Owner::Unmanaged | Owner::OtherInstance(_))
            && container.name.contains(PARKED);
        let ours = container.owner == Owner::Ours
            || after.before.containers.contains_key(&container.id)
            || taken
            || aside;
        if !ours || container.name.contains(NEXT) {
            continue;
        }
        if let Some(done) = job_done(container, &service, after) {
            facts.push(Fact::JobDone {
                service: service.clone(),
                done,
            });
        }
        facts.push(Fact::Own {
            id: container.id.clone(),
            container: owned(container, service, &key, after),
        });
    }
    let there: BTreeSet<_> = after
        .observed
        .containers
        .iter()
        .map(|container| &container.id)
        .collect();
    facts.extend(
        after
            .before
            .containers
            .keys()
            .filter(|id| !there.contains(id))
            .map(|id| Fact::Disown { id: id.clone() }),
    );
    own_named(after, &adopted, &mut facts);
    // A fact that is in the inventory already is not written again: a no-op run writes nothing.
    facts.retain(|fact| !known(fact, after.before));
    facts
}

fn owned(
    container: &Container,
    service: ServiceName,
    key: &ResourceKey,
    after: &After<'_>,
) -> OwnedContainer {
    let before = after.before.containers.get(&container.id);
    let label = container.spec.clone();
    let parked = container.name.contains(PARKED).then(|| {
        before
            .and_then(|owned| owned.parked.clone())
            .or_else(|| after.parked_from.cloned())
            .unwrap_or_else(|| Digest::read_back("unknown"))
    });
    let planned = after
        .plan
        .specs
        .get(&service)
        .filter(|_| parked.is_none() && after.done.contains(key));
    let spec = planned
        .cloned()
        .or_else(|| before.map(|owned| owned.spec.clone()))
        .or(label)
        .unwrap_or_else(|| Digest::read_back("unknown"));
    let revision = match before {
        Some(owned) if owned.spec == spec || parked.is_some() => owned.revision.clone(),
        _ => after.plan.revision.clone(),
    };
    // What nobody wrote to keeps the baseline that it had: reading a new one would swallow what somebody changed meanwhile.
    let written = after
        .plan
        .changes
        .iter()
        .any(|change| change.key == *key && change.acts());
    let baseline = match before {
        Some(owned) if !written || !after.done.contains(key) => owned.baseline.clone(),
        _ => Baseline::of(container),
    };
    OwnedContainer {
        service,
        index: container.index,
        spec,
        revision,
        parked,
        baseline,
    }
}

fn job_done(container: &Container, service: &ServiceName, after: &After<'_>) -> Option<JobDone> {
    let job = after
        .project
        .services
        .get(service)
        .is_some_and(|service| service.job);
    let planned = after.plan.specs.get(service)?;
    let success =
        container.state == State::Exited && container.exit_code == Some(0) && container.started_at.is_some();
    // The label, not the plan, says with what it ran: a one-shot that is still to be replaced has not succeeded as planned.
    (job && success && !container.name.contains(PARKED) && container.spec.as_ref() == Some(planned)).then(
        || JobDone {
            spec: planned.clone(),
            image_id: container.image_id.clone(),
            at: container.finished_at.unwrap_or(after.now),
        },
    )
}

fn own_named(after: &After<'_>, adopted: &BTreeSet<&ResourceKey>, facts: &mut Vec<Fact>) {
    for network in after.observed.networks.values() {
        let key = ResourceKey::new(Kind::Network, network.owner.key.as_str());
        let taken = adopted.contains(&key) && network.owner.in_project;
        if network.owner.owner == Owner::Ours || taken || after.before.networks.contains_key(&network.name) {
            let spec = network
                .spec
                .clone()
                .unwrap_or_else(|| Digest::read_back("adopted"));
            facts.push(Fact::OwnNetwork {
                name: network.name.clone(),
                spec,
            });
        }
    }
    for volume in after.observed.volumes.values() {
        let key = ResourceKey::new(Kind::Volume, volume.owner.key.as_str());
        let taken = adopted.contains(&key) && volume.owner.in_project;
        if volume.owner.owner == Owner::Ours || taken || after.before.volumes.contains_key(&volume.name) {
            let spec = volume
                .spec
                .clone()
                .unwrap_or_else(|| Digest::read_back("adopted"));
            facts.push(Fact::OwnVolume {
                name: volume.name.clone(),
                spec,
            });
        }
    }
    let gone = |names: &BTreeMap<String, Digest>, there: &dyn Fn(&str) -> bool| -> Vec<String> {
        names.keys().filter(|name| !there(name)).cloned().collect()
    };
    let networks = gone(&after.before.networks, &|name| {
        after.observed.networks.contains_key(name)
    });
    facts.extend(networks.into_iter().map(|name| Fact::DisownNetwork { name }));
    let volumes = gone(&after.before.volumes, &|name| {
        after.observed.volumes.contains_key(name)
    });
    facts.extend(volumes.into_iter().map(|name| Fact::DisownVolume { name }));
}

fn known(fact: &Fact, before: &Inventory) -> bool {
    if before.rebuilt {
        return false;
    }
    match fact {
        Fact::Own { id, container } => before.containers.get(id) == Some(container),
        Fact::OwnNetwork { name, spec } => before.networks.get(name) == Some(spec),
        Fact::OwnVolume { name, spec } => before.volumes.get(name) == Some(spec),
        Fact::JobDone { service, done } => before
            .jobs
            .get(service)
            .is_some_and(|known| known.spec == done.spec && known.image_id == done.image_id),
        Fact::OwnObject { key, object } => before.objects.get(key) == Some(object),
        Fact::DisownObject { .. }
        | Fact::Disown { .. }
        | Fact::DisownNetwork { .. }
        | Fact::DisownVolume { .. } => false,
    }
}
