//! The sequences of calls: create, replace, put back, park.
//!
//! In: one container's request and what it replaces. Out: [`Step`]s in order. Guaranteed: nothing that runs is stopped, and
//! nothing removed, before its successor was created with everything connected and copied (promise 6); an old container is
//! parked before anything takes its name. Must not: decide whether a sequence is wanted.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::live::docker::op::{ContainerRef, Op, Symbol};
use crate::live::world::Container;
use crate::names::ServiceName;
use crate::plan::{Await, Condition, Step};
use crate::render::app::Rules;
use crate::render::model::{Service, WantedState};

use super::request::{Making, Template, container_name, injected_folders, seconds};
use super::scene::Scene;

/// Without a healthcheck, this long a new container must run before it is let in.
const STEADY: Duration = Duration::from_secs(2);

/// A container that is to be made.
pub(crate) struct New<'a> {
    pub scene: &'a Scene<'a>,
    pub name: &'a ServiceName,
    pub service: &'a Service,
    pub template: &'a Template,
    pub index: u32,
    /// Waits for dependencies, and parking of containers that hold its host ports: right before the start.
    pub before_start: Vec<Step>,
    pub parents: &'a dyn Fn(&str) -> Option<String>,
    /// The old container was set aside already, by a service that needs its host port.
    pub aside: bool,
}

/// What becomes of the container that is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Kept, stopped, under this name.
    Park(String),
    /// Set aside under this name, and removed once the new one is healthy.
    Remove(String),
}

impl Fate {
    fn aside(&self) -> &str {
        match self {
            Fate::Park(name) | Fate::Remove(name) => name,
        }
    }
}

/// A reference to a container that exists.
pub(crate) fn id(container: &Container) -> ContainerRef {
    ContainerRef::Id {
        id: container.id.clone(),
        name: container.name.clone(),
    }
}

impl New<'_> {
    /// The name that it has in the end.
    pub fn final_name(&self) -> String {
        container_name(self.scene.project(), self.name, self.service, self.index)
    }

    fn symbol(&self) -> Symbol {
        Symbol(format!("{}-{}", self.name, self.index).into())
    }

    /// A reference to it under its final name.
    pub fn reference(&self) -> ContainerRef {
        ContainerRef::New {
            symbol: self.symbol(),
            name: self.final_name(),
        }
    }

    /// Creates it under `name` with everything connected and copied; not started.
    fn make(&self, name: &str, announced: bool, carried: &BTreeMap<String, String>) -> Vec<Step> {
        let image = self.scene.images.get(self.name);
        let making = Making {
            service: self.name,
            index: self.index,
            image: image.map_or_else(
                || self.service.image.value.as_str(),
                |image| image.create.as_str(),
            ),
            image_config: image.and_then(|image| image.config.as_deref()),
            api: self.scene.observed.engine.api,
            announced,
            parents: self.parents,
            carried,
        };
        let request = self.template.request(&self.scene.setting, self.service, &making);
        let container = ContainerRef::New {
            symbol: self.symbol(),
            name: name.to_owned(),
        };
        let mut steps = vec![Step::Op(Op::CreateContainer {
            symbol: self.symbol(),
            name: name.to_owned(),
            body: request.body,
            platform: self.service.platform.clone(),
        })];
        for (network, endpoint) in request.connect {
            steps.push(Step::Op(Op::ConnectNetwork {
                network,
                container: container.clone(),
                endpoint,
            }));
        }
        steps.extend(copies(self.service, self.template, &container));
        steps
    }

    fn start(&self) -> Vec<Step> {
        let container = self.reference();
        match self.service.state {
            WantedState::Running => vec![Step::Op(Op::Start { container })],
            WantedState::Paused => {
                vec![
                    Step::Op(Op::Start {
                        container: container.clone(),
                    }),
                    Step::Op(Op::Pause { container }),
                ]
            }
            WantedState::Stopped => Vec::new(),
        }
    }

    /// Nothing is replaced.
    pub fn create(self) -> Vec<Step> {
        let mut steps = self.make(&self.final_name(), true, &BTreeMap::new());
        if self.service.state != WantedState::Stopped {
            steps.extend(self.before_start.iter().cloned());
        }
        steps.extend(self.start());
        steps
    }

    /// The old one stops, then the new one starts (docker.md §5).
    pub fn stop_first(self, old: &Container, fate: &Fate) -> Vec<Step> {
        let next = self.next_name();
        let mut steps = self.make(&next, true, &carried(self.scene, self.name, self.service, old));
        if self.service.state != WantedState::Stopped {
            steps.extend(self.before_start.iter().cloned());
        }
        steps.extend(self.set_aside(old, fate));
        let container = ContainerRef::New {
            symbol: self.symbol(),
            name: next,
        };
        steps.push(Step::Op(Op::Rename {
            container,
            to: self.final_name(),
        }));
        steps.extend(self.start());
        if self.service.state == WantedState::Running {
            steps.push(healthy(
                self.scene,
                self.name,
                self.service,
                vec![self.reference()],
            ));
        }
        steps.extend(removal(old, fate));
        steps
    }

    /// The new one runs and is healthy before the old one stops (docker.md §7).
    pub fn start_first(self, old: &Container, fate: &Fate) -> Vec<Step> {
        let next = self.next_name();
        // Nobody finds the new one by the service's name before it is healthy: the engine's DNS answers with every holder
        // of an alias, healthy or not.
        let mut steps = self.make(&next, false, &BTreeMap::new());
        steps.extend(self.before_start.iter().cloned());
        let container = ContainerRef::New {
            symbol: self.symbol(),
            name: next,
        };
        steps.push(Step::Op(Op::Start {
            container: container.clone(),
        }));
        steps.push(healthy(
            self.scene,
            self.name,
            self.service,
            vec![container.clone()],
        ));
        for (network, endpoint) in &self.template.endpoints {
            let endpoint = self
                .template
                .endpoint(endpoint, &self.final_name(), self.name, true);
            steps.push(Step::Op(Op::DisconnectNetwork {
                network: network.clone(),
                container: container.clone(),
            }));
            steps.push(Step::Op(Op::ConnectNetwork {
                network: network.clone(),
                container: container.clone(),
                endpoint,
            }));
        }
        steps.extend(self.set_aside(old, fate));
        steps.push(Step::Op(Op::Rename {
            container,
            to: self.final_name(),
        }));
        steps.extend(removal(old, fate));
        steps
    }

    /// A finished or failed one-shot makes room for the next run.
    pub fn job(self, old: &[&Container]) -> Vec<Step> {
        if old.is_empty() {
            return self.create();
        }
        let next = self.next_name();
        let mut steps = self.make(&next, true, &BTreeMap::new());
        for old in old {
            if runs(old) {
                steps.push(Step::Op(Op::Stop {
                    container: id(old),
                    grace: None,
                }));
            }
            steps.push(Step::Op(Op::RemoveContainer {
                container: id(old),
                force: false,
            }));
        }
        let container = ContainerRef::New {
            symbol: self.symbol(),
            name: next,
        };
        steps.push(Step::Op(Op::Rename {
            container,
            to: self.final_name(),
        }));
        steps.extend(self.before_start.iter().cloned());
        steps.extend(self.start());
        steps
    }

    fn set_aside(&self, old: &Container, fate: &Fate) -> Vec<Step> {
        if self.aside {
            Vec::new()
        } else {
            set_aside(old, fate)
        }
    }

    fn next_name(&self) -> String {
        let suffix = crate::live::ownership::NEXT;
        format!(
            "{}{suffix}{}",
            self.final_name(),
            self.scene.desired.revision.short()
        )
    }

    /// A parked container becomes the service's again; what failed in its place is stopped and removed.
    pub fn revive(self, parked: &Container, current: Option<(&Container, &Fate)>) -> Vec<Step> {
        let mut steps = Vec::new();
        steps.extend(self.before_start.iter().cloned());
        if let Some((old, fate)) = current {
            steps.extend(self.set_aside(old, fate));
        }
        let container = id(parked);
        for (network, endpoint) in &self.template.endpoints {
            let endpoint = self
                .template
                .endpoint(endpoint, &self.final_name(), self.name, true);
            if parked.endpoints.contains_key(network) {
                steps.push(Step::Op(Op::DisconnectNetwork {
                    network: network.clone(),
                    container: container.clone(),
                }));
            }
            steps.push(Step::Op(Op::ConnectNetwork {
                network: network.clone(),
                container: container.clone(),
                endpoint,
            }));
        }
        let restart = super::limits::Goal::of(self.service).restart;
        steps.push(Step::Op(Op::Update {
            container: container.clone(),
            body: json!({ "RestartPolicy": { "Name": restart.name, "MaximumRetryCount": restart.max_retries } }),
        }));
        // It has its name already where a run was killed after it renamed it; the engine refuses to do it twice.
        if parked.name != self.final_name() {
            steps.push(Step::Op(Op::Rename {
                container,
                to: self.final_name(),
            }));
        }
        let container = ContainerRef::Id {
            id: parked.id.clone(),
            name: self.final_name(),
        };
        if self.service.state != WantedState::Stopped && !parked.running() {
            steps.push(Step::Op(Op::Start {
                container: container.clone(),
            }));
        }
        if self.service.state == WantedState::Running {
            steps.push(healthy(self.scene, self.name, self.service, vec![container]));
        }
        if let Some((old, fate)) = current {
            steps.extend(removal(old, fate));
        }
        steps
    }
}

/// Whether its processes exist: it must be stopped before it is removed.
pub(crate) fn runs(container: &Container) -> bool {
    use crate::live::world::State;
    matches!(
        container.state,
        State::Running | State::Paused | State::Restarting
    )
}

/// Stops a container and takes its name, its restart policy and its networks away.
pub(crate) fn set_aside(old: &Container, fate: &Fate) -> Vec<Step> {
    let mut steps = Vec::new();
    if runs(old) {
        steps.push(Step::Op(Op::Stop {
            container: id(old),
            grace: None,
        }));
    }
    steps.push(Step::Op(Op::Rename {
        container: id(old),
        to: fate.aside().to_owned(),
    }));
    let container = ContainerRef::Id {
        id: old.id.clone(),
        name: fate.aside().to_owned(),
    };
    if old.restart.name != "no" && !old.restart.name.is_empty() {
        // Else the engine starts it again when it starts itself.
        steps.push(Step::Op(Op::Update {
            container: container.clone(),
            body: json!({ "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 } }),
        }));
    }
    for network in old.endpoints.keys() {
        if matches!(network.as_str(), "host" | "none") {
            continue;
        }
        steps.push(Step::Op(Op::DisconnectNetwork {
            network: network.clone(),
            container: container.clone(),
        }));
    }
    steps
}

fn removal(old: &Container, fate: &Fate) -> Vec<Step> {
    match fate {
        Fate::Park(_) => Vec::new(),
        Fate::Remove(name) => {
            let container = ContainerRef::Id {
                id: old.id.clone(),
                name: name.clone(),
            };
            vec![Step::Op(Op::RemoveContainer {
                container,
                force: false,
            })]
        }
    }
}

/// Configs and secrets, before the first start. A read-only root file system takes files only where a volume is mounted.
pub(crate) fn copies(service: &Service, template: &Template, container: &ContainerRef) -> Vec<Step> {
    if template.files.is_empty() {
        return Vec::new();
    }
    let copy = |root: String, files| {
        Step::Op(Op::CopyFiles {
            container: container.clone(),
            root,
            files,
        })
    };
    if !service.read_only {
        return vec![copy("/".to_owned(), template.files.clone())];
    }
    let folder = |path: &str| path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let mut folders = injected_folders(service);
    folders.extend(template.files.iter().map(|file| folder(&file.path)));
    folders.sort();
    folders.dedup();
    folders
        .into_iter()
        .filter_map(|root| {
            let files: Vec<_> = template
                .files
                .iter()
                .filter(|file| folder(&file.path) == root)
                .cloned()
                .collect();
            (!files.is_empty()).then(|| copy(if root.is_empty() { "/".to_owned() } else { root }, files))
        })
        .collect()
}

/// Anonymous volumes of `old` that the new container mounts again, so that their data survives.
fn carried(
    scene: &Scene<'_>,
    name: &ServiceName,
    service: &Service,
    old: &Container,
) -> BTreeMap<String, String> {
    let config = scene.images.get(name).and_then(|image| image.config.as_deref());
    let declared = config
        .and_then(|config| config.get("Volumes"))
        .and_then(Value::as_object);
    let injected = if service.read_only {
        injected_folders(service)
    } else {
        Vec::new()
    };
    let mut carried = BTreeMap::new();
    for mount in old
        .inspect
        .expose()
        .get("Mounts")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let text = |field: &str| mount.get(field).and_then(Value::as_str).unwrap_or_default();
        let (target, volume) = (text("Destination"), text("Name"));
        if text("Type") != "volume"
            || !super::compare::is_anonymous(volume)
            || injected.iter().any(|folder| folder == target)
        {
            continue;
        }
        let wanted = service.volumes.get(target);
        let anonymous =
            wanted.is_some_and(|mount| mount.source == crate::render::model::MountSource::Anonymous);
        let of_image = wanted.is_none()
            && !service.tmpfs.contains_key(target)
            && (config.is_none() || declared.is_some_and(|volumes| volumes.contains_key(target)));
        if anonymous || of_image {
            carried.insert(target.to_owned(), volume.to_owned());
        }
    }
    carried
}

/// Whether a new container would share an anonymous volume with the one it replaces.
pub(crate) fn carries(scene: &Scene<'_>, name: &ServiceName, service: &Service, old: &Container) -> bool {
    !carried(scene, name, service, old).is_empty()
}

/// Waits until these containers are healthy.
pub(crate) fn healthy(
    scene: &Scene<'_>,
    name: &ServiceName,
    service: &Service,
    containers: Vec<ContainerRef>,
) -> Step {
    healthy_for(
        &scene.desired.rules,
        image_of(scene, name),
        name,
        service,
        containers,
    )
}

/// Waits until these containers are healthy by the service's and the image's healthcheck.
pub(crate) fn healthy_for(
    rules: &Rules,
    image: Option<&Value>,
    name: &ServiceName,
    service: &Service,
    containers: Vec<ContainerRef>,
) -> Step {
    // `bake: 0s` asks for no watching, and this wait is watching, too: it lets in what runs. A short bake does not shorten it:
    // what crashes within a second or two must not be let in because somebody is in a hurry afterwards.
    let steady = match service.update.monitor {
        Some(nanos) => Duration::from_nanos(nanos.max(0).unsigned_abs()),
        None if rules.health.bake.is_zero() => Duration::ZERO,
        None => STEADY,
    };
    let condition = Condition::Healthy {
        containers,
        service: name.to_string(),
        steady,
    };
    Step::Await(Await {
        condition,
        patience: patience_of(rules, image, service),
    })
}

fn image_of<'a>(scene: &'a Scene<'_>, name: &ServiceName) -> Option<&'a Value> {
    scene.images.get(name)?.config.as_deref()
}

/// How long a service may show no progress.
pub(crate) fn patience(scene: &Scene<'_>, name: &ServiceName, service: &Service) -> Duration {
    patience_of(&scene.desired.rules, image_of(scene, name), service)
}

/// The app's own rule, else what the healthcheck needs, 300 s at least.
fn patience_of(rules: &Rules, image: Option<&Value>, service: &Service) -> Duration {
    if let Some(timeout) = rules.health.timeout {
        return timeout;
    }
    let image = image.and_then(|config| config.get("Healthcheck"));
    let check = service.healthcheck.as_ref();
    let number = |own: Option<i64>, field: &str, default: i64| {
        own.filter(|own| *own > 0)
            .or_else(|| image?.get(field)?.as_i64().filter(|value| *value > 0))
            .unwrap_or(default)
    };
    let interval = seconds(number(
        check.and_then(|check| check.interval),
        "Interval",
        30_000_000_000,
    ));
    let timeout = seconds(number(
        check.and_then(|check| check.timeout),
        "Timeout",
        30_000_000_000,
    ));
    let start = seconds(number(
        check.and_then(|check| check.start_period),
        "StartPeriod",
        0,
    ));
    let retries = number(check.and_then(|check| check.retries), "Retries", 3);
    let computed = start
        .saturating_add(retries.saturating_mul(interval.saturating_add(timeout)))
        .saturating_add(10);
    Duration::from_secs(computed.clamp(300, 24 * 3600).unsigned_abs())
}
