//! The stages that a release and a rollback share: apply, write down what is there, settle.
//!
//! In: an approved plan and the release it is for. Out: how it ended, as one [`Passed`]. Guaranteed: what live state became
//! is in the inventory before anything is judged, also after a failure. Must not: decide what follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::apply::{self, Applied, Hands, Outcome, StepFailure, Why};
use crate::clock::elapsed;
use crate::gate::ApprovedPlan;
use crate::health::{CauseKind, Expect, Verdict, docker};
use crate::history::{AppState, History};
use crate::live::LiveError;
use crate::live::kubernetes::world as kubernetes;
use crate::live::ownership::{NEXT, PARKED};
use crate::live::world::{Ask, Container, ContainerId, Inventory, Observed, Owner};
use crate::names::{Digest, Kind, ResourceKey, RunId, ServiceName};
use crate::plan::{Action, Change, Phase, Plan};
use crate::render::Desired;
use crate::render::model::WantedState;
use crate::report::{End, Failure, Stage};
use crate::secret::Mask;
use crate::settle::{self, Evidence, Eyes, Settled, Subject, Timers};

use super::inventory::{After, facts};
use super::world::{Turn, World};

/// The run at work.
pub(super) struct Bench<'a> {
    pub turn: &'a Turn,
    pub world: &'a World,
    pub run: &'a RunId,
    pub stop: &'a CancellationToken,
    pub mask: &'a Mask,
}

/// What a plan led to.
pub(super) enum Passed {
    /// It settled; what follows is to be decided from how.
    Settled(Settled),
    /// A step of apply failed because of the release: its evidence.
    Broke(Vec<Evidence>),
    /// It ended for a reason that says nothing about the release, with the run's end.
    Ended(Box<End>),
}

impl Bench<'_> {
    pub(super) fn hands<'b>(&'b self, desired: &'b Desired) -> Hands<'b> {
        Hands {
            target: &self.turn.target,
            journal: self.world.history.as_ref(),
            clock: self.world.clock.as_ref(),
            progress: self.world.progress.as_ref(),
            mask: self.mask,
            run: self.run,
            stop: &self.turn.waits,
            health: &desired.rules.health,
        }
    }

    pub(super) fn eyes<'b>(&'b self, save: &'b (dyn Fn(&Timers) + Send + Sync)) -> Eyes<'b> {
        Eyes {
            app: &self.turn.key.app,
            target: &self.turn.target,
            clock: self.world.clock.as_ref(),
            progress: self.world.progress.as_ref(),
            mask: self.mask,
            stop: &self.turn.waits,
            save,
        }
    }

    /// A failure of the store: nothing may be changed without it.
    pub(super) fn store_failed(&self, error: &dyn std::fmt::Display, code: &str, touched: bool) -> End {
        End::Failed(Failure {
            stage: Stage::Store,
            code: code.to_owned(),
            message: self.mask.clean(&error.to_string()),
            place: None,
            help: Some("driftless doctor".to_owned()),
            retry: true,
            touched,
        })
    }

    /// Everything that can be done before anything is touched: files that containers bind, images.
    pub(super) async fn pre_flight(
        &self,
        approved: &ApprovedPlan,
        desired: &Desired,
    ) -> Result<(), Box<End>> {
        let files = self.world.files(&self.turn.key);
        for hash in &approved.plan().preflight.trees {
            let Some(tree) = desired.project.trees.get(hash) else {
                continue;
            };
            apply::files::lay_out(&files, hash, tree).map_err(|error| {
                let failure = StepFailure {
                    step: format!("lay out {}", tree.path),
                    why: Why::Files(error),
                };
                self.step_failed(&failure, Stage::PreFlight, false)
            })?;
        }
        apply::pre_flight(approved, self.hands(desired))
            .await
            .map_err(|failure| self.step_failed(&failure, Stage::PreFlight, false))
    }

    fn step_failed(&self, failure: &StepFailure, stage: Stage, touched: bool) -> Box<End> {
        let (code, retry, help) = match &failure.why {
            Why::Engine(error) => (error.code().to_string(), error.may_pass(), error.hint()),
            Why::Gate { .. } => ("E0620".to_owned(), false, None),
            Why::Journal(_) => ("E0640".to_owned(), true, Some("driftless doctor".to_owned())),
            Why::Files(_) => (
                "E0641".to_owned(),
                true,
                Some("check the state folder's room and rights".to_owned()),
            ),
        };
        let mut message = self.mask.clean(&failure.why.to_string());
        let mut source = std::error::Error::source(&failure.why);
        while let Some(cause) = source {
            let text = self.mask.clean(&cause.to_string());
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Box::new(End::Failed(Failure {
            stage,
            code,
            message,
            place: None,
            help,
            retry,
            touched,
        }))
    }

    /// Applies a plan, writes down what is there, and waits for the verdict.
    pub(super) async fn pass(
        &self,
        approved: &ApprovedPlan,
        desired: &Desired,
        before: (&Observed, &Inventory),
        parked_from: Option<&Digest>,
        state: &mut AppState,
    ) -> (Passed, usize) {
        if let Some(cluster) = &before.0.cluster {
            return self
                .pass_objects(approved, desired, cluster, before.1, state)
                .await;
        }
        let applied = apply::apply(approved, Phase::Apply, self.hands(desired)).await;
        let calls = applied.calls();
        let touched = calls > 0 || applied.failure().is_some();
        let seen = match self
            .write_down(approved.plan(), desired, before.1, &applied, parked_from)
            .await
        {
            Ok(observed) => observed,
            Err(end) => return (Passed::Ended(end), calls),
        };
        if let Some((resource, stood)) = applied.cancelled() {
            return (
                Passed::Ended(Box::new(
                    self.interrupted(&format!("{resource}, before: {stood}")),
                )),
                calls,
            );
        }
        if let Some((resource, failure)) = applied.failure() {
            let died = self.died(resource, failure, desired, before.0, &seen).await;
            let passed = match died {
                Some(evidence) => Passed::Broke(vec![evidence]),
                None => self.broke(resource, failure, touched).await,
            };
            return (passed, calls);
        }
        let subjects = subjects(
            desired,
            approved.plan(),
            before.0,
            &seen,
            state,
            self.world.clock.now(),
        );
        state.restarts_before = subjects
            .iter()
            .flat_map(|subject| {
                subject
                    .restarts
                    .iter()
                    .map(|(id, count)| (id.to_string(), *count))
            })
            .collect();
        let mut rules = desired.rules.health.clone();
        if proven(
            approved.plan(),
            desired,
            &seen,
            rules.bake,
            self.world.clock.now(),
        ) {
            rules.bake = Duration::ZERO;
        }
        let now = self.world.clock.now();
        let timers = state
            .timers
            .as_ref()
            .map_or_else(|| Timers::start(now), |timers| timers.resume(now));
        let settled = self.settle(&subjects, &rules, timers, state).await;
        if matches!(settled.end, settle::End::Healthy)
            // A one-shot that succeeded is written down only now, when it has ended.
            && let Err(end) = self.write_down(approved.plan(), desired, before.1, &applied, parked_from).await
        {
            return (Passed::Ended(end), calls);
        }
        (Passed::Settled(settled), calls)
    }

    pub(super) fn save_timers(&self, state: &AppState, timers: &Timers) {
        let mut next = state.clone();
        next.timers = Some(timers.clone());
        if let Err(error) = self.world.history.save_state(&self.turn.key, &next) {
            tracing::warn!(app = %self.turn.key.app, "the timers can't be saved: {error}");
        }
    }

    async fn settle(
        &self,
        subjects: &[Subject],
        rules: &crate::render::app::HealthRules,
        timers: Timers,
        state: &AppState,
    ) -> Settled {
        let save = |timers: &Timers| self.save_timers(state, timers);
        self.bounded(settle::settle(subjects, rules, timers, self.eyes(&save)))
            .await
    }

    /// Watches for as long as the caller wants to wait.
    pub(super) async fn bounded(&self, watch: impl Future<Output = Settled>) -> Settled {
        let Some(wait) = self.turn.options.wait else {
            return watch.await;
        };
        tokio::pin!(watch);
        tokio::select! {
            // Safe to cancel: the timers are saved, and the next run goes on from them.
            settled = &mut watch => settled,
            () = self.world.clock.sleep(wait) => {
                self.turn.waits.cancel();
                watch.await
            }
        }
    }

    pub(super) fn observe_failed(&self, error: &LiveError, touched: bool) -> End {
        End::Failed(Failure {
            stage: Stage::Observe,
            code: error.code().to_string(),
            message: self.mask.clean(&error.to_string()),
            place: None,
            help: error.hint(),
            retry: true,
            touched,
        })
    }

    /// Reads live state again and writes down what is ours now.
    async fn write_down(
        &self,
        plan: &Plan,
        desired: &Desired,
        before: &Inventory,
        applied: &Applied,
        parked_from: Option<&Digest>,
    ) -> Result<Observed, Box<End>> {
        let ask = Ask {
            instance: self.world.instance.clone(),
            key: self.turn.key.clone(),
            project: desired.project.name.clone(),
            images: BTreeMap::new(),
        };
        let observed = match self.turn.target.engine() {
            Ok(engine) => engine.observe(&ask).await,
            Err(error) => Err(error),
        };
        let observed =
            observed.map_err(|error| Box::new(self.observe_failed(&error, applied.calls() > 0)))?;
        let failed: BTreeSet<&ResourceKey> = applied
            .outcomes
            .iter()
            .filter(|(_, outcome)| !matches!(outcome, Outcome::Done { .. } | Outcome::Kept))
            .map(|(key, _)| key)
            .collect();
        let done = plan
            .changes
            .iter()
            .map(|change| &change.key)
            .filter(|key| !failed.contains(key))
            .cloned()
            .collect();
        let after = After {
            plan,
            project: &desired.project,
            before,
            observed: &observed,
            done: &done,
            parked_from,
            now: self.world.clock.now(),
        };
        for fact in facts(&after) {
            self.world
                .history
                .note(&self.turn.key, fact)
                .map_err(|error| Box::new(self.store_failed(&error, "E0640", true)))?;
        }
        Ok(observed)
    }

    /// The container that this run made for a service and that ended by itself, where the engine refused a step because of
    /// that: one that passed its gate and died before it was let in. It is the release that failed, not the step.
    async fn died(
        &self,
        resource: &ResourceKey,
        failure: &StepFailure,
        desired: &Desired,
        before: &Observed,
        seen: &Observed,
    ) -> Option<Evidence> {
        let Why::Engine(error) = &failure.why else {
            return None;
        };
        if error.engine_is_away() {
            return None;
        }
        let service = ServiceName::try_from(&*resource.name).ok()?;
        let expect = Expect {
            job: desired.project.services.get(&service)?.job,
            steady: Duration::ZERO,
            restarts_before: 0,
            state: WantedState::Running,
        };
        let now = self.world.clock.now();
        for container in &seen.containers {
            let ours = container.service == service.as_str() && container.owner == Owner::Ours;
            // What never ran says nothing: its error is that of the call.
            let ran = container.state != crate::live::world::State::Created;
            if !ours || !ran || find(before, &container.id).is_some() {
                continue;
            }
            let (Verdict::Failed(cause) | Verdict::Failing(cause)) = docker::judge(container, &expect, now)
            else {
                continue;
            };
            let since = container.created_at.unwrap_or(now);
            let by_hand = match self.turn.target.engine() {
                Ok(engine) => engine
                    .stopped_by_hand(&container.id, since)
                    .await
                    .unwrap_or(false),
                Err(_) => false,
            };
            if cause.kind == CauseKind::Foreign || by_hand {
                continue;
            }
            let save = |_: &Timers| {};
            return Some(settle::evidence_of(service, container, &cause, self.eyes(&save)).await);
        }
        None
    }

    /// What a failed step of apply says about the release.
    pub(super) async fn broke(&self, resource: &ResourceKey, failure: &StepFailure, touched: bool) -> Passed {
        let service = ServiceName::try_from(&*resource.name).ok();
        match &failure.why {
            Why::Gate { cause, container } => {
                if let (Some(container), Some(service)) = (container, service.clone()) {
                    let save = |_: &Timers| {};
                    let evidence = settle::evidence_of(service, container, cause, self.eyes(&save)).await;
                    return Passed::Broke(vec![evidence]);
                }
                Passed::Broke(
                    service
                        .map(|service| bare_evidence(service, cause.clone()))
                        .into_iter()
                        .collect(),
                )
            }
            // The engine is away, or the answer was lost: that says nothing about the release. The next run concludes it.
            Why::Engine(error) if error.may_pass() => {
                Passed::Ended(self.step_failed(failure, Stage::Apply, touched))
            }
            Why::Engine(error) if touched => {
                let cause = crate::health::Cause::new(
                    crate::health::CauseKind::CannotRun,
                    self.mask.clean(&error.to_string()),
                );
                Passed::Broke(
                    service
                        .map(|service| bare_evidence(service, cause))
                        .into_iter()
                        .collect(),
                )
            }
            _ => Passed::Ended(self.step_failed(failure, Stage::Apply, touched)),
        }
    }

    /// A wait or a walk was ended from outside: by a signal, by a newer commit, or by the caller's own bound.
    pub(super) fn interrupted(&self, stood: &str) -> End {
        if self.stop.is_cancelled() {
            End::Stopped {
                stood: stood.to_owned(),
            }
        } else if self.turn.options.wait.is_some() {
            End::StillVerifying {
                what: stood.to_owned(),
            }
        } else {
            End::Superseded
        }
    }

    /// Deletions and what else waits for the bake. A failure here is not the release's: it is tried again by the next run.
    pub(super) async fn after_bake(
        &self,
        approved: &ApprovedPlan,
        desired: &Desired,
        cluster: Option<Arc<kubernetes::Observed>>,
        warnings: &mut Vec<String>,
    ) {
        if !approved
            .plan()
            .changes
            .iter()
            .any(|change| change.phase == Phase::AfterBake && change.acts())
        {
            return;
        }
        self.world.progress.event(crate::progress::Event::Stage {
            app: self.turn.key.app.clone(),
            stage: crate::progress::Stage::Prune,
        });
        let applied = apply::apply(approved, Phase::AfterBake, self.hands(desired)).await;
        let cluster = cluster.as_deref();
        if let Some((resource, failure)) = applied.failure() {
            warnings.push(format!(
                "{resource} could not be removed: {}",
                self.mask.clean(&failure.why.to_string())
            ));
        }
        match self.world.history.inventory(&self.turn.key) {
            Ok(inventory) => {
                let written = match cluster {
                    Some(cluster) => self.write_down_gone(cluster, &inventory, &applied),
                    None => self
                        .write_down(approved.plan(), desired, &inventory, &applied, None)
                        .await
                        .map(drop),
                };
                if let Err(end) = written {
                    warnings.push(format!("what was removed is not written down yet: {end:?}"));
                }
            }
            Err(error) => warnings.push(format!("the inventory can't be read: {error}")),
        }
    }
}

fn bare_evidence(service: ServiceName, cause: crate::health::Cause) -> Evidence {
    Evidence {
        service,
        container: String::new(),
        cause,
        healthy: 0,
        of: 1,
        exit_code: None,
        probe: None,
        logs: Vec::new(),
        events: Vec::new(),
    }
}

/// What is judged: every service of the release with the containers that serve it now.
pub(super) fn subjects(
    desired: &Desired,
    plan: &Plan,
    before: &Observed,
    after: &Observed,
    state: &AppState,
    now: crate::clock::Timestamp,
) -> Vec<Subject> {
    desired
        .project
        .services
        .iter()
        .filter(|(_, service)| service.replicas > 0)
        .map(|(name, service)| {
            let containers: Vec<&Container> = serving(after, name).collect();
            let steady = service
                .update
                .monitor
                .and_then(|nanos| u64::try_from(nanos).ok())
                .map_or(
                    settle::STEADY.min(desired.rules.health.bake),
                    Duration::from_nanos,
                );
            let changed = plan
                .changes
                .iter()
                .any(|change| change.key.name.as_ref() == name.as_str() && changes_it(change));
            let restarts = containers
                .iter()
                .map(|container| {
                    let known = state.restarts_before.get(container.id.0.as_ref()).copied();
                    let earlier = find(before, &container.id).map(|container| container.restart_count);
                    (container.id.clone(), known.or(earlier).unwrap_or(0))
                })
                .collect();
            let mut subject = Subject {
                service: name.clone(),
                containers: containers.iter().map(|container| container.id.clone()).collect(),
                job: service.job,
                state: service.state,
                steady,
                to_verdict: docker::time_to_verdict(service.healthcheck.as_ref()),
                restarts,
                broken_before: false,
            };
            subject.broken_before =
                !changed && service.state == WantedState::Running && was_broken(&subject, before, now);
            subject
        })
        .collect()
}

/// Whether nothing was touched and everything has been running for longer than the bake already: then it only has to be
/// healthy now.
fn proven(
    plan: &Plan,
    desired: &Desired,
    seen: &Observed,
    bake: Duration,
    now: crate::clock::Timestamp,
) -> bool {
    let touched = plan
        .changes
        .iter()
        .any(|change| change.phase == Phase::Apply && change.acts());
    let young = |container: &Container| {
        container.running()
            && container
                .started_at
                .is_none_or(|started| elapsed(started, now) < bake)
    };
    !touched
        && !desired
            .project
            .services
            .keys()
            .any(|name| serving(seen, name).any(young))
}

/// Containers that serve a service: not parked, not on their way in.
pub(super) fn serving<'a>(
    observed: &'a Observed,
    service: &'a ServiceName,
) -> impl Iterator<Item = &'a Container> {
    observed.containers.iter().filter(move |container| {
        container.service == service.as_str()
            && !matches!(container.owner, Owner::OtherApp(_))
            && !container.name.contains(PARKED)
            && !container.name.contains(NEXT)
    })
}

fn changes_it(change: &Change) -> bool {
    change.key.kind == Kind::Service
        && !matches!(change.action, Action::Keep | Action::Adopt)
        && change.acts()
}

fn find<'a>(observed: &'a Observed, id: &ContainerId) -> Option<&'a Container> {
    observed.containers.iter().find(|container| container.id == *id)
}

fn was_broken(subject: &Subject, before: &Observed, now: crate::clock::Timestamp) -> bool {
    let same: Vec<Container> = subject
        .containers
        .iter()
        .filter_map(|id| find(before, id))
        .cloned()
        .collect();
    same.len() == subject.containers.len()
        && !same.is_empty()
        && settle::verdicts(std::slice::from_ref(subject), &same, now)
            .values()
            .any(|verdict| matches!(verdict, Verdict::Failed(_) | Verdict::Failing(_)))
}

/// How long a run has taken.
pub(super) fn since(world: &World, started: crate::clock::Timestamp) -> Duration {
    elapsed(started, world.clock.now())
}

/// Saves where an app stands, as a result for the run.
pub(super) fn save(
    history: &dyn History,
    bench: &Bench<'_>,
    state: &AppState,
    touched: bool,
) -> Result<(), Box<End>> {
    history
        .save_state(&bench.turn.key, state)
        .map_err(|error| Box::new(bench.store_failed(&error, "E0640", touched)))
}
