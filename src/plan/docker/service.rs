//! The decision about one service: keep, heal, update, recreate, create, take over, put back, or leave.
//!
//! In: the scene, and what was decided about the services that this one needs. Out: one change for now, and what follows
//! after the bake. Guaranteed: nothing that is not proven ours is touched, except on adoption; the mildest means is taken.
//! Must not: order services, or delete what is no longer declared.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::live::docker::op::{ContainerRef, Op};
use crate::live::ownership::PARKED;
use crate::live::world::{Container, Health, Owner, State};
use crate::names::{Kind, ResourceKey, ServiceName};
use crate::plan::order::parents;
use crate::plan::{
    Action, Await, Blocked, Cause, Change, Condition, FieldDiff, Moved, Phase, Problem, ProblemKind, Step,
    Strategy,
};
use crate::render::model::{Condition as Wait, MountSource, NetworkMode, Service, UpdateOrder, WantedState};
use crate::secret::Text;

use super::drift::{Finding, Wanted};
use super::fields::recorded_only;
use super::request::{Template, container_name, too_new};
use super::scene::{Group, Scene};
use super::steps::{self, Fate, New, id, runs, set_aside};

mod before;
mod job;
mod replace;

/// What was decided so far, in order.
#[derive(Default)]
pub(crate) struct Decided {
    pub changes: Vec<Change>,
    /// After the bake.
    pub later: Vec<Change>,
    pub problems: Vec<Problem>,
    /// The containers that each service has once its change is done.
    pub containers: BTreeMap<ServiceName, Vec<ContainerRef>>,
    pub moved: BTreeMap<ServiceName, Motion>,
    /// One-shots that have nothing to do.
    pub jobs_done: BTreeSet<ServiceName>,
    /// Containers that were parked early for a host port that they hold.
    pub set_aside: BTreeMap<String, String>,
}

/// What a change does to the containers of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Motion {
    /// They stay.
    Still,
    /// They stay and are started.
    Started,
    /// New ones come.
    Replaced,
}

/// Decides about one service.
pub(crate) fn decide(scene: &Scene<'_>, decided: &mut Decided, name: &ServiceName, service: &Service) {
    let Some(template) = scene.templates.get(name) else {
        return;
    };
    let empty = Group::default();
    let group = scene.groups.get(name.as_str()).unwrap_or(&empty);
    let engine = &scene.observed.engine;
    for (field, mut problem) in too_new(name, service, engine.api, &engine.version) {
        problem.place = scene
            .desired
            .places
            .find(&format!("services.{name}.{field}"))
            .cloned();
        decided.problems.push(problem);
    }
    let mut turn = Turn {
        scene,
        name,
        service,
        template,
        group,
        parent_ids: parent_ids(decided, service),
        steps: Vec::new(),
        fields: Vec::new(),
        notes: Vec::new(),
        refs: Vec::new(),
        actions: Vec::new(),
        causes: Vec::new(),
        motion: Motion::Still,
    };
    if let Some(blocked) = turn.foreign() {
        let refs = group.current.values().map(|container| id(container)).collect();
        decided.containers.insert(name.clone(), refs);
        decided.moved.insert(name.clone(), Motion::Still);
        let mut change = turn.change(decided, Action::Blocked(blocked), Cause::NotFound);
        change.cause = Cause::Unchanged;
        decided.changes.push(change);
        return;
    }
    turn.leftovers();
    if service.job {
        turn.job(decided);
    } else {
        for index in 1..=service.replicas {
            turn.container(decided, index);
        }
    }
    turn.revived_by_hand();
    turn.conclude(decided);
}

fn parent_ids(decided: &Decided, service: &Service) -> BTreeMap<String, String> {
    let mut ids = BTreeMap::new();
    for parent in parents(service) {
        let first = decided
            .containers
            .get(&parent)
            .and_then(|containers| containers.first());
        let text = match first {
            Some(ContainerRef::Id { id, .. }) => id.0.to_string(),
            Some(ContainerRef::New { symbol, .. }) => format!("@symbol:{}@", symbol.0),
            None => continue,
        };
        ids.insert(parent.to_string(), text);
    }
    ids
}

/// The decision about one service in the making.
struct Turn<'a> {
    scene: &'a Scene<'a>,
    name: &'a ServiceName,
    service: &'a Service,
    template: &'a Template,
    group: &'a Group<'a>,
    parent_ids: BTreeMap<String, String>,
    steps: Vec<Step>,
    fields: Vec<FieldDiff>,
    notes: Vec<String>,
    refs: Vec<ContainerRef>,
    actions: Vec<Action>,
    causes: Vec<Cause>,
    motion: Motion,
}

impl<'a> Turn<'a> {
    fn key(&self) -> ResourceKey {
        ResourceKey::new(Kind::Service, self.name.as_str())
    }

    /// A container of the service that somebody else owns.
    fn foreign(&self) -> Option<Blocked> {
        let all = self
            .group
            .current
            .values()
            .chain(&self.group.next)
            .chain(&self.group.parked)
            .chain(&self.group.surplus);
        for container in all {
            match &container.owner {
                Owner::OtherInstance(other) if !self.scene.ours(container) && !self.scene.stance.takeover => {
                    return Some(Blocked::OtherInstance(other.clone()));
                }
                Owner::OtherApp(other) => return Some(Blocked::OtherApp(other.app.to_string())),
                Owner::Ours | Owner::Unmanaged | Owner::OtherInstance(_) => {}
            }
        }
        None
    }

    /// Containers of a run that did not finish are put away first: their names are needed.
    fn leftovers(&mut self) {
        for container in self.group.next.iter().chain(&self.group.surplus) {
            if !self.scene.ours(container) || self.promoted(container) {
                continue;
            }
            self.steps.push(Step::Op(Op::RemoveContainer {
                container: id(container),
                force: true,
            }));
            self.notes.push(format!(
                "{} is left over from a run that did not finish",
                container.name
            ));
        }
    }

    /// Whether a container made by an interrupted run is what is wanted in a place that nothing else holds.
    fn promoted(&self, container: &Container) -> bool {
        let index = self
            .scene
            .owned(container)
            .map_or(container.index, |owned| owned.index);
        let first = self
            .group
            .next
            .iter()
            .find(|next| self.matches(next) && next.index == container.index);
        !self.service.job
            && container.name.contains(crate::live::ownership::NEXT)
            && !self.group.current.contains_key(&index)
            && index <= self.service.replicas
            && self.scene.ours(container)
            && first.is_some_and(|first| first.id == container.id)
    }

    /// Whether a container has the wanted spec and image.
    fn matches(&self, container: &Container) -> bool {
        let image = self
            .scene
            .images
            .get(self.name)
            .and_then(|image| image.id.as_ref());
        self.scene.spec_of(container).as_ref() == Some(&self.template.spec)
            && image == Some(&container.image_id)
    }

    /// The parked container that is this very release's.
    fn parked(&self, index: u32) -> Option<&'a Container> {
        let mut all = self.group.parked.iter().copied();
        all.find(|parked| parked.index == index && self.matches(parked))
    }

    fn container(&mut self, decided: &mut Decided, index: u32) {
        let promoted = self
            .group
            .next
            .iter()
            .find(|next| next.index == index && self.promoted(next))
            .copied();
        let current = self
            .group
            .current
            .get(&index)
            .copied()
            .filter(|container| container.state != State::Removing);
        match current.or(promoted) {
            Some(container) => self.present(decided, index, container),
            None => self.absent(decided, index),
        }
    }

    fn absent(&mut self, decided: &mut Decided, index: u32) {
        let cause = match self.scene.stance.roll_back_from {
            Some(from) => Cause::RollBack { from: from.clone() },
            None if self.scene.unchanged_since_stable(self.name) => Cause::Drifted,
            None => Cause::NotFound,
        };
        if cause == Cause::Drifted {
            self.fields.push(self.state_field("removed", "running"));
        }
        let before_start = self.before_start(decided, None);
        let parked = self.parked(index);
        let ids = self.parent_ids.clone();
        let resolve = |name: &str| ids.get(name).cloned();
        let new = self.making(index, before_start, &resolve);
        if let Some(parked) = parked {
            let name = new.final_name();
            self.steps.extend(new.revive(parked, None));
            self.revived(parked, name);
            self.note_action(Action::Revive, cause);
            return;
        }
        let reference = new.reference();
        self.name_is_free(decided, &new.final_name());
        let steps = new.create();
        self.steps.extend(steps);
        self.made(reference);
        let existing = self.group.current.len();
        let action = if existing > 0 && cause != Cause::Drifted {
            Action::Scale {
                from: existing,
                to: self.service.replicas as usize,
            }
        } else {
            Action::Create
        };
        self.note_action(action, cause);
    }

    fn present(&mut self, decided: &mut Decided, index: u32, live: &'a Container) {
        let finding = {
            let ids = self.parent_ids.clone();
            let resolve = |name: &str| ids.get(name).cloned();
            let wanted = Wanted {
                scene: self.scene,
                name: self.name,
                service: self.service,
                template: self.template,
                index,
                parents: &resolve,
            };
            wanted.find(live)
        };
        let ours = self.scene.ours(live);
        self.notes.extend(finding.notes.iter().cloned());
        for field in &finding.fields {
            if !self.fields.contains(field) {
                self.fields.push(field.clone());
            }
        }
        if !ours && !finding.is_clean() && !self.scene.stance.adopt {
            self.refs.push(id(live));
            self.note_action(Action::Blocked(Blocked::NotAdopted), Cause::Drifted);
            return;
        }
        let follows = self.follows(decided, live);
        if finding.recreate.is_some() || follows.is_some() {
            let cause = match (&finding.recreate, follows) {
                (None, Some(parent)) => Cause::Follows(parent),
                _ => self.cause(&finding),
            };
            self.replace(
                decided,
                index,
                live,
                cause,
                finding
                    .recreate
                    .as_deref()
                    .unwrap_or("what it shares is replaced"),
            );
            return;
        }
        if finding.is_clean() {
            self.untouched(decided, live, ours);
            return;
        }
        self.in_place(decided, index, live, &finding);
    }

    fn cause(&self, finding: &Finding) -> Cause {
        match self.scene.stance.roll_back_from {
            Some(from) => Cause::RollBack { from: from.clone() },
            None if finding.live_only() && !finding.fields.is_empty() => Cause::Drifted,
            None => Cause::Declared(self.scene.desired.revision.clone()),
        }
    }

    /// The parent whose namespaces this container shares, when it is replaced or was replaced without it.
    fn follows(&self, decided: &Decided, live: &Container) -> Option<ResourceKey> {
        let host = live.inspect.expose().get("HostConfig");
        for parent in parents(self.service) {
            let key = || ResourceKey::new(Kind::Service, parent.as_str());
            if decided.moved.get(&parent) == Some(&Motion::Replaced) {
                return Some(key());
            }
            let Some(ContainerRef::Id { id, .. }) =
                decided.containers.get(&parent).and_then(|list| list.first())
            else {
                continue;
            };
            let joined = match &self.service.network_mode {
                NetworkMode::Service(service) if *service == parent => host
                    .and_then(|host| host.get("NetworkMode"))
                    .and_then(Value::as_str)
                    .and_then(|mode| mode.strip_prefix("container:")),
                _ => None,
            };
            if joined.is_some_and(|joined| joined.len() == 64 && joined != &*id.0) {
                return Some(key());
            }
        }
        None
    }

    /// Nothing about the container itself has to change.
    fn untouched(&mut self, decided: &mut Decided, live: &Container, ours: bool) {
        self.refs.push(id(live));
        if let Some(because) = self.restarts_with(decided)
            && live.running()
        {
            self.steps.extend(self.before_start(decided, Some(live)));
            self.steps.push(Step::Op(Op::Restart {
                container: id(live),
                grace: None,
            }));
            self.notes.push(format!("restarts with {because}"));
            self.motion = self.motion.max(Motion::Started);
            self.note_action(Action::Restart, Cause::Follows(because));
            return;
        }
        let known = self.scene.inventory.containers.contains_key(&live.id) || ours;
        let action = if known { Action::Keep } else { Action::Adopt };
        let git: Vec<&FieldDiff> = self
            .fields
            .iter()
            .filter(|field| field.moved == Moved::Git)
            .collect();
        if !git.is_empty() && git.iter().all(|field| recorded_only(&field.field)) {
            self.notes
                .push("recorded; the container does not change".to_owned());
        }
        self.note_action(action, Cause::Unchanged);
    }

    /// A service with `restart: true` on this one's list, or whose network it lives in, that moves.
    fn restarts_with(&self, decided: &Decided) -> Option<ResourceKey> {
        let asked = self
            .service
            .depends_on
            .iter()
            .filter(|(_, dependency)| dependency.restart)
            .map(|(name, _)| name.clone());
        let asked: BTreeSet<ServiceName> = asked.collect();
        let replaced = asked
            .iter()
            .find(|name| decided.moved.get(*name) == Some(&Motion::Replaced));
        let shared = parents(self.service);
        // A stopped container's network is gone: what shared it hangs in an empty one.
        let started = shared
            .iter()
            .find(|name| decided.moved.get(*name) == Some(&Motion::Started));
        replaced
            .or(started)
            .map(|name| ResourceKey::new(Kind::Service, name.as_str()))
    }

    fn in_place(&mut self, decided: &mut Decided, index: u32, live: &'a Container, finding: &Finding) {
        let name = container_name(self.scene.project(), self.name, self.service, index);
        let mut container = id(live);
        let mut steps = Vec::new();
        if !finding.update.is_empty() {
            steps.push(Step::Op(Op::Update {
                container: container.clone(),
                body: Value::Object(finding.update.clone()),
            }));
        }
        if finding.rename {
            self.name_is_free(decided, &name);
            steps.push(Step::Op(Op::Rename {
                container,
                to: name.clone(),
            }));
            container = ContainerRef::Id {
                id: live.id.clone(),
                name: name.clone(),
            };
        }
        for network in finding.disconnect.iter().chain(&finding.reconnect) {
            steps.push(Step::Op(Op::DisconnectNetwork {
                network: network.clone(),
                container: container.clone(),
            }));
        }
        for (network, endpoint) in &self.template.endpoints {
            if finding.connect.contains(network) || finding.reconnect.contains(network) {
                let endpoint = self.template.endpoint(endpoint, &name, self.name, true);
                steps.push(Step::Op(Op::ConnectNetwork {
                    network: network.clone(),
                    container: container.clone(),
                    endpoint,
                }));
            }
        }
        if live.state == State::Created {
            // A run that died before the copy leaves a container without its files.
            steps.extend(steps::copies(self.service, self.template, &container));
        }
        let mut started = false;
        if let Some((from, wanted)) = &finding.state {
            if *wanted != WantedState::Stopped && !runs(live) {
                steps.extend(self.before_start(decided, Some(live)));
            }
            let op = |op: fn(ContainerRef) -> Op| Step::Op(op(container.clone()));
            let start = |container| Op::Start { container };
            let pause = |container| Op::Pause { container };
            match (wanted, from) {
                (WantedState::Running, State::Paused) => {
                    steps.push(op(|container| Op::Unpause { container }))
                }
                (WantedState::Running, _) => {
                    steps.push(op(start));
                    started = true;
                }
                (WantedState::Paused, State::Running | State::Restarting) => steps.push(op(pause)),
                (WantedState::Paused, _) => steps.extend([op(start), op(pause)]),
                (WantedState::Stopped, _) => steps.push(op(|container| Op::Stop {
                    container,
                    grace: None,
                })),
            }
        }
        self.steps.extend(steps);
        self.refs.push(container);
        if started {
            self.motion = self.motion.max(Motion::Started);
        }
        let cause = self.cause(finding);
        let update = cause != Cause::Drifted && !(finding.update.is_empty() && finding.connect.is_empty());
        self.note_action(if update { Action::Update } else { Action::Heal }, cause);
    }

    fn making<'b>(
        &self,
        index: u32,
        before_start: Vec<Step>,
        parents: &'b dyn Fn(&str) -> Option<String>,
    ) -> New<'b>
    where
        'a: 'b,
    {
        New {
            scene: self.scene,
            name: self.name,
            service: self.service,
            template: self.template,
            index,
            before_start,
            parents,
            aside: false,
        }
    }

    fn made(&mut self, reference: ContainerRef) {
        self.motion = Motion::Replaced;
        self.refs.push(reference);
    }

    fn revived(&mut self, parked: &Container, name: String) {
        self.made(ContainerRef::Id {
            id: parked.id.clone(),
            name,
        });
    }

    fn note_action(&mut self, action: Action, cause: Cause) {
        self.actions.push(action);
        self.causes.push(cause);
    }

    fn state_field(&self, from: &str, to: &str) -> FieldDiff {
        FieldDiff {
            field: "state".to_owned(),
            from: Some(Text::plain(from)),
            to: Some(Text::plain(to)),
            moved: Moved::Live,
            place: self
                .scene
                .desired
                .places
                .find(&format!("services.{}", self.name))
                .cloned(),
            by: None,
        }
    }

    /// A parked container that somebody started would write to what the new one writes to.
    fn revived_by_hand(&mut self) {
        for parked in &self.group.parked {
            let used = self
                .refs
                .iter()
                .any(|used| matches!(used, ContainerRef::Id { id, .. } if *id == parked.id));
            if used || !runs(parked) || !self.scene.ours(parked) {
                continue;
            }
            // Before anything else: it may hold a host port.
            self.steps.insert(
                0,
                Step::Op(Op::Stop {
                    container: id(parked),
                    grace: None,
                }),
            );
            self.fields
                .push(self.state_field(&format!("{} runs", parked.name), "parked"));
            self.note_action(Action::Heal, Cause::Drifted);
        }
    }

    fn change(&self, decided: &Decided, action: Action, cause: Cause) -> Change {
        let mut fields = self.fields.clone();
        fields.sort_by(|a, b| (&a.field, a.moved).cmp(&(&b.field, b.moved)));
        fields.dedup();
        let mut needs: Vec<ResourceKey> = Vec::new();
        for key in self.service.networks.keys() {
            needs.push(ResourceKey::new(Kind::Network, key.as_str()));
        }
        for mount in self.service.volumes.values() {
            if let MountSource::Volume(key) = &mount.source {
                needs.push(ResourceKey::new(Kind::Volume, key.as_str()));
            }
        }
        for name in self.scene.edges.get(self.name).into_iter().flatten() {
            needs.push(ResourceKey::new(Kind::Service, name.as_str()));
        }
        needs.sort();
        needs.dedup();
        needs.retain(|need| decided.changes.iter().any(|change| change.key == *need));
        let mut notes = self.notes.clone();
        notes.dedup();
        Change {
            key: self.key(),
            action,
            cause,
            fields,
            needs,
            phase: Phase::Apply,
            steps: self.steps.clone(),
            notes,
        }
    }

    fn conclude(mut self, decided: &mut Decided) {
        let rank = |action: &Action| match action {
            Action::Blocked(_) => 10,
            Action::Recreate(_) => 9,
            Action::Revive => 8,
            Action::Create => 7,
            Action::Scale { .. } => 6,
            Action::Update => 5,
            Action::Heal => 4,
            Action::Restart => 3,
            Action::Adopt => 2,
            _ => 1,
        };
        let chosen = self
            .actions
            .iter()
            .zip(&self.causes)
            .max_by_key(|(action, _)| rank(action));
        let (mut action, cause) = match chosen {
            Some((action, cause)) => (action.clone(), cause.clone()),
            None => (Action::Keep, Cause::Unchanged),
        };
        if matches!(action, Action::Blocked(_)) {
            // One container that must not be touched blocks its service: half a service is worse than an old one.
            self.steps.clear();
            self.motion = Motion::Still;
        } else if matches!(action, Action::Keep) && self.steps.iter().any(|step| matches!(step, Step::Op(_)))
        {
            action = Action::Tidy;
        }
        decided.containers.insert(self.name.clone(), self.refs.clone());
        decided.moved.insert(self.name.clone(), self.motion);
        let blocked = matches!(action, Action::Blocked(_));
        let change = self.change(decided, action, cause);
        decided.changes.push(change);
        if !blocked {
            self.surplus_replicas(decided);
        }
    }

    /// Containers beyond the wanted number go after the bake: until then the way back is short.
    fn surplus_replicas(&self, decided: &mut Decided) {
        let wanted = if self.service.job {
            u32::MAX
        } else {
            self.service.replicas
        };
        let more: Vec<&Container> = self
            .group
            .current
            .iter()
            .filter(|(index, container)| **index > wanted && self.scene.ours(container))
            .map(|(_, container)| *container)
            .collect();
        if more.is_empty() {
            return;
        }
        let mut steps = Vec::new();
        for container in more.iter().rev() {
            if runs(container) {
                steps.push(Step::Op(Op::Stop {
                    container: id(container),
                    grace: None,
                }));
            }
            steps.push(Step::Op(Op::RemoveContainer {
                container: id(container),
                force: false,
            }));
        }
        decided.later.push(Change {
            key: self.key(),
            action: Action::Scale {
                from: self.group.current.len(),
                to: self.service.replicas as usize,
            },
            cause: Cause::Declared(self.scene.desired.revision.clone()),
            fields: Vec::new(),
            needs: Vec::new(),
            phase: Phase::AfterBake,
            steps,
            notes: Vec::new(),
        });
    }
}

/// Sets a container of another service aside, because a new one needs the host port that it holds.
pub(crate) fn early(scene: &Scene<'_>, decided: &mut Decided, container: &Container) -> Vec<Step> {
    if decided.set_aside.contains_key(&*container.id.0) {
        return Vec::new();
    }
    let suffix = scene
        .stable
        .as_ref()
        .map_or("old", |stable| stable.record.revision.short());
    let mut aside = format!("{}{PARKED}{suffix}", container.name);
    if scene.name_taken(&aside) {
        aside = format!("{aside}-{}", container.id.short().get(..7).unwrap_or("old"));
    }
    decided
        .set_aside
        .insert(container.id.0.to_string(), aside.clone());
    set_aside(container, &Fate::Park(aside))
}
