//! Waits inside apply (decision 14): reads containers until a condition holds, can't hold any more, or patience ends.
//!
//! In: an [`Await`]. Out: [`End`]. Guaranteed: an engine that can't be asked stops the clock instead of failing the wait; a
//! container that fails for good ends the wait at once. Must not: change anything.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Hands, Made, Why, objects, pause_before, resolve};
use crate::clock::Timestamp;
use crate::health::{Cause, CauseKind, Expect, Verdict, docker};
use crate::live::docker::op::ContainerRef;
use crate::live::world::{Container, ContainerId};
use crate::names::{AppKey, ResourceKey};
use crate::plan::{Await, Condition};
use crate::progress::Event;
use crate::render::model::WantedState;

pub(super) enum End {
    Met,
    /// A stop was asked for; nothing is half done.
    Stopped,
    Failed(Why),
}

/// One line for people: `wait until db is healthy`.
pub(super) fn text(awaited: &Await) -> String {
    match &awaited.condition {
        Condition::Healthy { service, .. } => format!("wait until {service} is healthy"),
        Condition::Running { service, .. } => format!("wait until {service} runs"),
        Condition::Completed { service, .. } => format!("wait until {service} has completed"),
        Condition::ObjectReady { key } => format!("wait until {key} is ready"),
        Condition::ObjectObserved { key } => format!("wait until the controller has seen {key}"),
        Condition::ObjectGone { key } => format!("wait until {key} is gone"),
    }
}

pub(super) async fn until(
    key: &AppKey,
    resource: &ResourceKey,
    awaited: &Await,
    made: &Made,
    hands: Hands<'_>,
) -> End {
    let symbols = &made.symbols;
    let (containers, job, steady, only_running) = match &awaited.condition {
        Condition::Healthy {
            containers, steady, ..
        } => (containers, false, *steady, false),
        Condition::Running { containers, .. } => (containers, false, Duration::ZERO, true),
        Condition::Completed { containers, .. } => (containers, true, Duration::ZERO, false),
        Condition::ObjectReady { key: object } => {
            return objects::ready(key, resource, object, awaited, made, hands).await;
        }
        Condition::ObjectObserved { key: object } => {
            return objects::observed(key, resource, object, awaited, hands).await;
        }
        Condition::ObjectGone { key: object } => {
            return objects::gone(key, resource, object, awaited, made, hands).await;
        }
    };
    let ids: Vec<ContainerId> = containers
        .iter()
        .filter_map(|container| resolve(container, symbols))
        .collect();
    if ids.len() != containers.len() {
        let cause = Cause::new(
            CauseKind::NotStarted,
            "a container that should have been made is not there",
        );
        return End::Failed(Why::Gate {
            cause,
            container: None,
        });
    }
    let mut patience = awaited.patience;
    // What this run made has no earlier crashes, also where it crashed before it was first read.
    let mut restarts: BTreeMap<ContainerId, u64> = containers
        .iter()
        .filter(|container| matches!(container, ContainerRef::New { .. }))
        .filter_map(|container| Some((resolve(container, symbols)?, 0)))
        .collect();
    let mut read = 0;
    loop {
        let pause = pause_before(read);
        // Before the reading: a container is up at least this long, however late its answer is looked at.
        let asked = hands.clock.now();
        let found = match hands.target.engine() {
            Ok(engine) => engine.inspect(&ids).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => {
                let mut unmet = None;
                for id in &ids {
                    let Some(container) = found.iter().find(|container| container.id == *id) else {
                        let cause = Cause::new(
                            CauseKind::Foreign,
                            "the container was removed while it was waited for",
                        );
                        return End::Failed(Why::Gate {
                            cause,
                            container: None,
                        });
                    };
                    let before = *restarts.entry(id.clone()).or_insert(container.restart_count);
                    match reading(container, job, steady, only_running, before, asked) {
                        Verdict::Healthy | Verdict::Suspended => {}
                        Verdict::Failed(cause) => {
                            let cause = Cause::new(cause.kind, hands.mask.clean(&cause.detail));
                            return End::Failed(Why::Gate {
                                cause,
                                container: Some(Box::new(container.clone())),
                            });
                        }
                        other => unmet = Some(other),
                    }
                }
                let Some(verdict) = unmet else { return End::Met };
                let detail = verdict
                    .cause()
                    .map(|cause| cause.detail.clone())
                    .unwrap_or_default();
                hands.progress.event(Event::Waiting {
                    app: key.app.clone(),
                    resource: Some(resource.clone()),
                    what: format!("{} ({})", text(awaited), hands.mask.clean(&detail)),
                    left: Some(patience),
                });
                if patience.is_zero() {
                    let cause = Cause::new(CauseKind::NoProgress, format!("gave up waiting: {detail}"));
                    let container = found.into_iter().next().map(Box::new);
                    return End::Failed(Why::Gate { cause, container });
                }
                patience = patience.saturating_sub(pause);
            }
            // Unknown pauses the clock: patience is not used up. The call's own deadline bounds each attempt, and a stop
            // ends the wait.
            Err(error) if error.engine_is_away() => {
                hands.progress.event(Event::Waiting {
                    app: key.app.clone(),
                    resource: Some(resource.clone()),
                    what: "the engine does not answer; the clock is stopped".to_owned(),
                    left: None,
                });
            }
            Err(error) => return End::Failed(Why::Engine(Box::new(error.cleaned(hands.mask)))),
        }
        read += 1;
        tokio::select! {
            // Safe to cancel: a sleep and a token hold no state.
            () = hands.clock.sleep(pause) => {}
            () = hands.stop.cancelled() => return End::Stopped,
        }
    }
}

fn reading(
    container: &Container,
    job: bool,
    steady: Duration,
    only_running: bool,
    before: u64,
    asked: Timestamp,
) -> Verdict {
    let expect = Expect {
        job,
        steady,
        restarts_before: before,
        state: WantedState::Running,
    };
    match docker::judge(container, &expect, asked) {
        // `service_started` asks for running, not for healthy.
        Verdict::Progressing(_) | Verdict::Failed(_) if only_running && container.running() => {
            Verdict::Healthy
        }
        verdict => verdict,
    }
}
