//! Builders and a walk for the planner's tests.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::clock::Timestamp;
use crate::document::Place;
use crate::live::fake::Fake;
use crate::live::world::{Baseline, Inventory, JobDone, OwnedContainer, Owner, State};
use crate::names::{AppKey, Digest, InstanceName, Kind, Revision, ServiceName};
use crate::release::{Outcome, Record, Snapshot};
use crate::render::app::{Prune, Rules};
use crate::render::model::{Endpoint, Network, Port, Project, Service, Volume};
use crate::render::{Desired, Places};
use crate::secret::{Mask, Text};

use super::{Action, Condition, Phase, Plan, Stance, Step};

pub fn service_name(name: &str) -> ServiceName {
    ServiceName::try_from(name).expect("a service name")
}

pub fn revision(digit: char) -> Revision {
    Revision::try_from(digit.to_string().repeat(40)).expect("a revision")
}

/// A service of one container in the default network.
pub fn service(image: &str) -> Service {
    Service {
        image: Text::plain(image),
        replicas: 1,
        networks: BTreeMap::from([("default".to_owned(), Endpoint::default())]),
        ..Service::default()
    }
}

pub fn port(host: u16, target: u16) -> Port {
    Port {
        target,
        protocol: "tcp".into(),
        published: Some((host, host)),
        host_ip: String::new(),
    }
}

/// An app with these services.
pub fn desired(digit: char, services: &[(&str, Service)]) -> Desired {
    let network = Network {
        name: "web_default".into(),
        ..Network::default()
    };
    let mut volumes = BTreeMap::new();
    for (_, service) in services {
        for mount in service.volumes.values() {
            if let crate::render::model::MountSource::Volume(key) = &mount.source {
                volumes.insert(
                    key.clone(),
                    Volume {
                        name: format!("web_{key}"),
                        ..Volume::default()
                    },
                );
            }
        }
    }
    let project = Project {
        name: "web".try_into().expect("a project name"),
        services: services
            .iter()
            .map(|(name, service)| (service_name(name), service.clone()))
            .collect(),
        disabled: Vec::new(),
        networks: BTreeMap::from([("default".to_owned(), network)]),
        volumes,
        configs: BTreeMap::new(),
        secrets: BTreeMap::new(),
        trees: BTreeMap::new(),
    };
    of_project(digit, project)
}

pub fn of_project(digit: char, project: Project) -> Desired {
    let mut places = Places::default();
    for (line, name) in project.services.keys().enumerate() {
        let line = u32::try_from(line).unwrap_or(0) * 10 + 3;
        places.note(
            format!("services.{name}"),
            Place {
                file: "apps/web/compose.yaml".into(),
                line,
                column: 3,
            },
        );
    }
    let content = Digest::of("c1", serde_json::to_string(&project).expect("json").as_bytes());
    Desired {
        key: AppKey {
            source: "https://git.example/infra".try_into().expect("a source"),
            app: "web".try_into().expect("a name"),
        },
        revision: revision(digit),
        project,
        bundle: None,
        rules: Rules::default(),
        content,
        places,
        mask: Mask::default(),
        warnings: Vec::new(),
    }
}

/// One app on one engine, with what a store would remember.
pub struct Bench {
    pub engine: Fake,
    pub inventory: Inventory,
    pub stable: Option<Record>,
    pub instance: InstanceName,
    pub prune: Prune,
    pub adopt: bool,
    pub delete_volumes: Vec<String>,
    pub roll_back_from: Option<Digest>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with_api((1, 51))
    }

    pub fn with_api(api: (u16, u16)) -> Self {
        let mut engine = Fake::new(api);
        engine.image(
            "app:1",
            "app:1",
            json!({ "Env": ["PATH=/bin"], "Cmd": ["serve"] }),
        );
        engine.image(
            "app:2",
            "app:2",
            json!({ "Env": ["PATH=/bin"], "Cmd": ["serve"] }),
        );
        engine.image(
            "db:1",
            "db:1",
            json!({ "Cmd": ["db"], "Volumes": { "/data": {} } }),
        );
        Self {
            engine,
            inventory: Inventory::default(),
            stable: None,
            instance: "test".try_into().expect("an instance"),
            prune: Prune::Safe,
            adopt: false,
            delete_volumes: Vec::new(),
            roll_back_from: None,
        }
    }

    pub fn plan(&self, desired: &Desired) -> Plan {
        let pinned = match (&self.roll_back_from, &self.stable) {
            (Some(_), Some(stable)) => stable.images.clone(),
            _ => BTreeMap::new(),
        };
        let stance = Stance {
            instance: &self.instance,
            effective: self.stable.as_ref(),
            roll_back_from: self.roll_back_from.as_ref(),
            prune: self.prune,
            adopt: self.adopt,
            takeover: false,
            delete_volumes: &self.delete_volumes,
            files_dir: "/state/files/web",
            data_dir: "/state/data/web",
            handed_over: &BTreeSet::new(),
            claimed: &BTreeMap::new(),
            pinned: &pinned,
        };
        super::plan(desired, &self.engine.world, &self.inventory, &stance)
    }

    /// Walks one phase in an order that respects `needs`; the first failure ends it.
    pub fn walk(&mut self, plan: &Plan, phase: Phase) -> Result<(), String> {
        self.engine.symbols.clear();
        let changes: Vec<_> = plan
            .changes
            .iter()
            .filter(|change| change.phase == phase)
            .collect();
        for (place, change) in changes.iter().enumerate() {
            for need in &change.needs {
                let later = changes.iter().skip(place + 1).any(|other| other.key == *need);
                assert!(!later, "{} comes before {need}, which it needs", change.key);
            }
            for step in &change.steps {
                match step {
                    Step::Op(op) => self
                        .engine
                        .execute(op)
                        .map_err(|error| format!("{}: {op}: {error}", change.key))?,
                    Step::Object(op) => {
                        return Err(format!("{}: {op}: an engine has no objects", change.key));
                    }
                    Step::Await(awaited) => self
                        .check(&awaited.condition)
                        .map_err(|error| format!("{}: {error}", change.key))?,
                }
            }
        }
        Ok(())
    }

    fn check(&mut self, condition: &Condition) -> Result<(), String> {
        let (containers, job) = match condition {
            Condition::Healthy { containers, .. } | Condition::Running { containers, .. } => {
                (containers, false)
            }
            Condition::Completed { containers, .. } => (containers, true),
            Condition::ObjectReady { key }
            | Condition::ObjectObserved { key }
            | Condition::ObjectGone { key } => {
                return Err(format!("{key}: an engine has no objects"));
            }
        };
        for reference in containers {
            let name = reference.to_string();
            let found = self
                .engine
                .world
                .containers
                .iter()
                .find(|container| container.name == name);
            let container = found.ok_or_else(|| format!("waits for {name}, which is not there"))?;
            let met = if job {
                container.state == State::Exited && container.exit_code == Some(0)
            } else {
                container.running()
            };
            if !met {
                return Err(format!("{name} is {}", container.state));
            }
        }
        Ok(())
    }

    /// Notes what is ours now, as the engine's inventory does.
    pub fn record(&mut self, plan: &Plan) {
        let adopted: BTreeSet<&str> = plan
            .changes
            .iter()
            .filter(|change| change.action == Action::Adopt)
            .map(|change| &*change.key.name)
            .collect();
        let before = std::mem::take(&mut self.inventory);
        let mut after = Inventory {
            jobs: before.jobs.clone(),
            ..Inventory::default()
        };
        for container in &self.engine.world.containers {
            let old = before.containers.get(&container.id);
            let ours = container.owner == Owner::Ours
                || old.is_some()
                || adopted.contains(container.service.as_str());
            let Ok(service) = ServiceName::try_from(container.service.as_str()) else {
                continue;
            };
            if !ours {
                continue;
            }
            let parked = container.name.contains(".prev-").then(|| {
                old.and_then(|old| old.parked.clone())
                    .or_else(|| self.stable.as_ref().map(|stable| stable.digest.clone()))
                    .unwrap_or_else(|| Digest::read_back("unknown"))
            });
            let spec = plan
                .specs
                .get(&service)
                .filter(|_| parked.is_none())
                .cloned()
                .or_else(|| old.map(|old| old.spec.clone()));
            let spec = spec.or_else(|| container.spec.clone()).expect("a spec");
            if self.engine.jobs.contains(&container.service)
                && container.exit_code == Some(0)
                && container.spec.as_ref() == Some(&spec)
            {
                let done = JobDone {
                    spec: spec.clone(),
                    image_id: container.image_id.clone(),
                    at: Timestamp::UNIX_EPOCH,
                };
                after.jobs.insert(service.clone(), done);
            }
            let revision = match old {
                Some(old) if parked.is_some() || old.spec == spec => old.revision.clone(),
                _ => plan.revision.clone(),
            };
            let owned = OwnedContainer {
                service,
                index: container.index,
                spec,
                revision,
                parked,
                baseline: Baseline::of(container),
            };
            after.containers.insert(container.id.clone(), owned);
        }
        for network in self
            .engine
            .world
            .networks
            .values()
            .filter(|network| network.owner.owner == Owner::Ours)
        {
            after
                .networks
                .extend(network.spec.clone().map(|spec| (network.name.clone(), spec)));
        }
        for volume in self
            .engine
            .world
            .volumes
            .values()
            .filter(|volume| volume.owner.owner == Owner::Ours)
        {
            after
                .volumes
                .extend(volume.spec.clone().map(|spec| (volume.name.clone(), spec)));
        }
        self.inventory = after;
    }

    /// Makes `desired`'s plan the stable release.
    pub fn settle(&mut self, desired: &Desired, plan: &Plan) {
        self.stable = Some(Record {
            key: plan.key.clone(),
            number: 1,
            digest: plan.release.clone(),
            content: plan.content.clone(),
            revision: plan.revision.clone(),
            subject: String::new(),
            author: String::new(),
            images: plan.images.clone(),
            created_at: Timestamp::UNIX_EPOCH,
            outcome: Outcome::Stable,
            stable_at: Some(Timestamp::UNIX_EPOCH),
            snapshot: Snapshot {
                project: desired.project.clone(),
                bundle: None,
                rules: desired.rules.clone(),
                places: desired.places.clone(),
                secrets: Vec::new(),
            },
        });
    }

    /// A whole turn: plan, apply, bake, prune, settle. Returns the plan.
    pub fn deploy(&mut self, desired: &Desired) -> Plan {
        let plan = self.plan(desired);
        assert_eq!(plan.problems, [], "{}", text(&plan));
        self.walk(&plan, Phase::Apply)
            .unwrap_or_else(|error| panic!("{error}\n{}", text(&plan)));
        self.record(&plan);
        self.walk(&plan, Phase::AfterBake)
            .unwrap_or_else(|error| panic!("{error}\n{}", text(&plan)));
        self.record(&plan);
        self.settle(desired, &plan);
        plan
    }

    /// Whether nothing at all is left to do.
    pub fn assert_quiet(&self, desired: &Desired) {
        let plan = self.plan(desired);
        assert_eq!(plan.problems, []);
        assert!(
            plan.changes.iter().all(|change| change.steps.is_empty()),
            "{}",
            text(&plan)
        );
        assert!(
            plan.changes
                .iter()
                .all(|change| matches!(change.action, Action::Keep)),
            "{}",
            text(&plan)
        );
    }
}

pub fn text(plan: &Plan) -> String {
    super::text::plan_text(&[(plan, "docker:nas")])
}

/// The action on a service.
pub fn action(plan: &Plan, name: &str) -> Action {
    let found = plan
        .changes
        .iter()
        .find(|change| change.key.kind == Kind::Service && *change.key.name == *name);
    found
        .unwrap_or_else(|| panic!("no {name} in\n{}", text(plan)))
        .action
        .clone()
}

/// The calls of a service's changes, one line each.
pub fn calls(plan: &Plan, name: &str) -> Vec<String> {
    let changes = plan
        .changes
        .iter()
        .filter(|change| change.key.kind == Kind::Service && *change.key.name == *name);
    changes
        .flat_map(|change| &change.steps)
        .map(|step| match step {
            Step::Op(op) => op.to_string(),
            Step::Object(op) => op.to_string(),
            Step::Await(awaited) => match &awaited.condition {
                Condition::Healthy { service, .. } => format!("await healthy {service}"),
                Condition::Running { service, .. } => format!("await running {service}"),
                Condition::Completed { service, .. } => format!("await completed {service}"),
                Condition::ObjectReady { key } => format!("await ready {key}"),
                Condition::ObjectObserved { key } => format!("await observed {key}"),
                Condition::ObjectGone { key } => format!("await gone {key}"),
            },
        })
        .collect()
}
