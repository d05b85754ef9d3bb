//! What the decisions look at: one app's desired, stored and live state, sorted by service.
//!
//! In: the inputs of a plan. Out: [`Scene`]. Guaranteed: every container is in exactly one place of one [`Group`], and
//! Compose's one-off containers are in none. Must not: decide anything.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::live::ownership::{NEXT, PARKED, compose};
use crate::live::world::{Container, Inventory, Observed, OwnedContainer, Owner};
use crate::names::{Digest, ServiceName};
use crate::plan::Stance;
use crate::plan::images::Resolved;
use crate::release::Record;
use crate::render::Desired;
use crate::render::model::{Project, Service};

use super::request::{Setting, Template, container_name, template};

/// The live containers of one service.
#[derive(Debug, Default)]
pub(crate) struct Group<'a> {
    /// By number.
    pub current: BTreeMap<u32, &'a Container>,
    /// Made beside the current one by a run that did not finish.
    pub next: Vec<&'a Container>,
    /// Stopped containers of an earlier release.
    pub parked: Vec<&'a Container>,
    /// More than one container for a number: all but the best.
    pub surplus: Vec<&'a Container>,
}

/// Everything that the decisions of one plan look at.
pub(crate) struct Scene<'a> {
    pub desired: &'a Desired,
    pub observed: &'a Observed,
    pub inventory: &'a Inventory,
    pub stance: &'a Stance<'a>,
    pub setting: Setting<'a>,
    pub templates: BTreeMap<ServiceName, Template>,
    pub images: &'a BTreeMap<ServiceName, Resolved>,
    /// The release that the machine last settled on, as templates.
    pub stable: Option<Stable<'a>>,
    pub groups: BTreeMap<String, Group<'a>>,
    /// Digest *release* of what is planned.
    pub release: &'a Digest,
    /// What each service needs to be there first.
    pub edges: BTreeMap<ServiceName, BTreeSet<ServiceName>>,
}

/// The effective release, ready to be compared with.
pub(crate) struct Stable<'a> {
    pub record: &'a Record,
    pub templates: BTreeMap<ServiceName, Template>,
}

impl<'a> Scene<'a> {
    pub fn project(&self) -> &'a Project {
        &self.desired.project
    }

    /// The inventory's entry of a container.
    pub fn owned(&self, container: &Container) -> Option<&'a OwnedContainer> {
        self.inventory.containers.get(&container.id)
    }

    /// Whether a container is proven ours: by the inventory, or by this instance's and this app's labels.
    pub fn ours(&self, container: &Container) -> bool {
        match container.owner {
            Owner::Ours => true,
            // What was taken over keeps the other instance's label: labels can't be changed.
            Owner::Unmanaged | Owner::OtherInstance(_) => self.owned(container).is_some(),
            Owner::OtherApp(_) => false,
        }
    }

    /// The spec that a container effectively has.
    pub fn spec_of(&self, container: &Container) -> Option<Digest> {
        self.owned(container)
            .map(|owned| owned.spec.clone())
            .or_else(|| container.spec.clone())
    }

    /// The service of the effective release, with its template.
    pub fn stable_service(&self, name: &ServiceName) -> Option<(&'a Project, &'a Service, &Template)> {
        let stable = self.stable.as_ref()?;
        let project = &stable.record.snapshot.project;
        Some((project, project.services.get(name)?, stable.templates.get(name)?))
    }

    /// Whether a container is what the effective release runs for this service.
    pub fn is_stable(&self, name: &ServiceName, container: &Container) -> bool {
        let Some(stable) = &self.stable else { return false };
        let spec = stable.templates.get(name).map(|template| &template.spec);
        let image = stable
            .record
            .images
            .get(name)
            .and_then(|pinned| pinned.id.as_ref());
        spec.is_some()
            && spec == self.spec_of(container).as_ref()
            && image.is_none_or(|id| *id == container.image_id)
    }

    /// Whether the service is asked for exactly as the effective release has it.
    pub fn unchanged_since_stable(&self, name: &ServiceName) -> bool {
        let (Some(stable), Some(template)) = (&self.stable, self.templates.get(name)) else {
            return false;
        };
        let image = self.images.get(name).and_then(|image| image.id.as_ref());
        let was = stable
            .record
            .images
            .get(name)
            .and_then(|pinned| pinned.id.as_ref());
        stable
            .templates
            .get(name)
            .is_some_and(|before| before.spec == template.spec)
            && (image.is_none() || was.is_none() || image == was)
    }

    /// Whether any container of the engine has this name.
    pub fn name_taken(&self, name: &str) -> bool {
        self.observed.holders.iter().any(|holder| holder.name == name)
            || self
                .observed
                .containers
                .iter()
                .any(|container| container.name == name)
    }
}

/// Templates of all services of a project.
pub(crate) fn templates(setting: &Setting<'_>) -> BTreeMap<ServiceName, Template> {
    setting
        .project
        .services
        .iter()
        .map(|(name, service)| (name.clone(), template(setting, name, service)))
        .collect()
}

/// The live containers by service.
pub(crate) fn groups<'a>(
    project: &Project,
    observed: &'a Observed,
    inventory: &Inventory,
) -> BTreeMap<String, Group<'a>> {
    let mut groups: BTreeMap<String, Group<'a>> = BTreeMap::new();
    let mut sorted: Vec<&Container> = observed
        .containers
        .iter()
        // Only what we did not make can be one: parsing every inspect reply would cost more than reading it.
        .filter(|container| {
            container.owner != Owner::Unmanaged
                || inventory.containers.contains_key(&container.id)
                || !one_off(container)
        })
        .collect();
    sorted.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    for container in sorted {
        let owned = inventory.containers.get(&container.id);
        let service = owned.map_or_else(|| container.service.clone(), |owned| owned.service.to_string());
        let index = owned.map_or(container.index, |owned| owned.index);
        let group = groups.entry(service.clone()).or_default();
        if owned.is_some_and(|owned| owned.parked.is_some()) || container.name.contains(PARKED) {
            group.parked.push(container);
        } else if container.name.contains(NEXT) {
            group.next.push(container);
        } else {
            let wanted = ServiceName::try_from(service.as_str()).ok().and_then(|name| {
                Some(container_name(
                    project,
                    &name,
                    project.services.get(&name)?,
                    index,
                ))
            });
            let rank = |container: &Container| {
                let known = inventory.containers.contains_key(&container.id);
                let named = wanted.as_ref() == Some(&container.name);
                (known, named, container.running(), container.created_at)
            };
            match group.current.get(&index) {
                Some(other) if rank(other) >= rank(container) => group.surplus.push(container),
                Some(other) => {
                    group.surplus.push(other);
                    group.current.insert(index, container);
                }
                None => {
                    group.current.insert(index, container);
                }
            }
        }
    }
    groups
}

/// Whether Compose made it for `run` or as a hook: never part of a service.
fn one_off(container: &Container) -> bool {
    let labels = container.inspect.expose().pointer("/Config/Labels");
    let label = |name: &str| labels.and_then(|labels| labels.get(name)).and_then(Value::as_str);
    label(compose::ONEOFF).is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || label("com.docker.compose.hook").is_some()
}

/// Names of services as a set, for prune.
pub(crate) fn declared(project: &Project) -> BTreeSet<&str> {
    project
        .services
        .keys()
        .chain(&project.disabled)
        .map(ServiceName::as_str)
        .collect()
}
