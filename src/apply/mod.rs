//! ApprovedPlan → Applied: walk the plan, bounded, journaled.
//!
//! In: an [`ApprovedPlan`] and one of its phases. Out: [`Applied`], one [`Outcome`] per change. Guaranteed:
//! - nothing is sent before the journal holds the intent ("no audit, no change");
//! - a change starts only when everything it needs is done; dependents of a failure are `Skipped { because }`;
//! - a stop is honoured between two steps, never within one, and the outcome says where it stood.
//!
//! Must not: decide. What to do on failure is `settle`'s and `rollback`'s work.

pub mod files;
mod objects;
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::gate::ApprovedPlan;
use crate::health::Cause;
use crate::journal::{Ending, Intent, Journal, JournalError};
use crate::live::LiveError;
use crate::live::Reach;
use crate::live::docker::op::{ContainerRef, Op};
use crate::live::kubernetes::world as kubernetes;
use crate::live::world::{Container, ContainerId, Symbols};
use crate::names::{AppKey, Digest, ObjectKey, ResourceKey, RunId};
use crate::plan::{Change, Phase, Step};
use crate::progress::{Event, Progress, Stage};
use crate::render::app::HealthRules;
use crate::secret::Mask;

/// Changes that are worked on at once.
const AT_ONCE: usize = 8;
/// Images that are pulled at once.
const PULLS_AT_ONCE: usize = 3;

/// Everything that applying needs besides the plan.
#[derive(Clone, Copy)]
pub struct Hands<'a> {
    pub target: &'a Reach,
    pub journal: &'a dyn Journal,
    pub clock: &'a dyn Clock,
    pub progress: &'a dyn Progress,
    /// Cleans engine messages of secret values.
    pub mask: &'a Mask,
    pub run: &'a RunId,
    /// Asks for an end at the next step boundary.
    pub stop: &'a CancellationToken,
    /// How the objects of a cluster are judged that a step waits for.
    pub health: &'a HealthRules,
}

/// What came of one phase of a plan.
#[derive(Debug)]
#[must_use]
pub struct Applied {
    /// In the plan's order.
    pub outcomes: Vec<(ResourceKey, Outcome)>,
    /// What steps made.
    pub symbols: Symbols,
    /// Objects of a cluster that were applied: the digest of what was sent, and what came of it.
    pub made: BTreeMap<ObjectKey, (Digest, kubernetes::Applied)>,
    /// Objects that are gone.
    pub gone: BTreeSet<ObjectKey>,
}

/// What steps made so far.
#[derive(Default)]
struct Made {
    symbols: Mutex<Symbols>,
    objects: Mutex<BTreeMap<ObjectKey, (Digest, kubernetes::Applied)>>,
    gone: Mutex<BTreeSet<ObjectKey>>,
}

/// What came of one change.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing was to be done.
    Kept,
    /// All its steps are done.
    Done {
        calls: usize,
    },
    Failed(StepFailure),
    Skipped {
        because: ResourceKey,
    },
    /// Stopped before this step.
    Cancelled {
        before: String,
    },
}

/// A step that did not work.
#[derive(Debug)]
pub struct StepFailure {
    /// The step's text.
    pub step: String,
    pub why: Why,
}

/// Why a step did not work.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    #[error("{0}")]
    Engine(Box<LiveError>),
    /// What was waited for will not come.
    #[error("{}", .cause.detail)]
    Gate {
        cause: Cause,
        container: Option<Box<Container>>,
    },
    #[error("{0}")]
    Journal(JournalError),
    #[error("write the files that containers bind: {0}")]
    Files(std::io::Error),
}

impl Applied {
    /// The first failure, in the plan's order.
    pub fn failure(&self) -> Option<(&ResourceKey, &StepFailure)> {
        self.outcomes.iter().find_map(|(key, outcome)| match outcome {
            Outcome::Failed(failure) => Some((key, failure)),
            _ => None,
        })
    }

    /// Whether it was stopped.
    pub fn cancelled(&self) -> Option<(&ResourceKey, &str)> {
        self.outcomes.iter().find_map(|(key, outcome)| match outcome {
            Outcome::Cancelled { before } => Some((key, before.as_str())),
            _ => None,
        })
    }

    /// Calls that were sent.
    pub fn calls(&self) -> usize {
        self.outcomes
            .iter()
            .map(|(_, outcome)| {
                if let Outcome::Done { calls } = outcome {
                    *calls
                } else {
                    0
                }
            })
            .sum()
    }
}

/// Pulls what is missing, before anything is touched. A failure here leaves everything as it was.
pub async fn pre_flight(approved: &ApprovedPlan, hands: Hands<'_>) -> Result<(), StepFailure> {
    let plan = approved.plan();
    if plan.preflight.pulls.is_empty() {
        return Ok(());
    }
    hands.progress.event(Event::Stage {
        app: plan.key.app.clone(),
        stage: Stage::PreFlight,
    });
    let symbols = Mutex::new(Symbols::default());
    let mut queue = plan.preflight.pulls.iter();
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < PULLS_AT_ONCE && !hands.stop.is_cancelled() {
            let Some(op) = queue.next() else { break };
            let resource = ResourceKey::new(crate::names::Kind::Service, "images");
            hands.progress.event(Event::Step {
                app: plan.key.app.clone(),
                resource: resource.clone(),
                text: op.to_string(),
            });
            let symbols = &symbols;
            running.push(async move { send(&plan.key, &resource, op, symbols, hands).await });
        }
        match running.next().await {
            Some(Ok(())) => {}
            // The other pulls are dropped with this future: a pull that is cut off leaves layers, never a container.
            Some(Err(failure)) => return Err(failure),
            None => return Ok(()),
        }
    }
}

/// Walks one phase of an approved plan.
pub async fn apply(approved: &ApprovedPlan, phase: Phase, hands: Hands<'_>) -> Applied {
    let plan = approved.plan();
    let changes: Vec<&Change> = plan
        .changes
        .iter()
        .filter(|change| change.phase == phase)
        .collect();
    let made = Made::default();
    let mut results: Vec<Option<Outcome>> = changes.iter().map(|_| None).collect();
    let mut started = vec![false; changes.len()];
    let mut running = FuturesUnordered::new();
    loop {
        for index in 0..changes.len() {
            if started[index] || running.len() >= AT_ONCE {
                continue;
            }
            match readiness(index, &changes, &results) {
                Readiness::Waits => {}
                Readiness::Blocked(because) => {
                    started[index] = true;
                    hands.progress.event(Event::Skipped {
                        app: plan.key.app.clone(),
                        resource: changes[index].key.clone(),
                        because: because.to_string(),
                    });
                    results[index] = Some(Outcome::Skipped { because });
                }
                Readiness::Ready => {
                    started[index] = true;
                    let (change, made) = (changes[index], &made);
                    running.push(async move { (index, one(&plan.key, change, made, hands).await) });
                }
            }
        }
        match running.next().await {
            Some((index, outcome)) => results[index] = Some(outcome),
            // Nothing runs; a change that was skipped in this turn may have been what another one waited for.
            None if started.iter().all(|started| *started) => break,
            None if !progress_possible(&changes, &results, &started) => break,
            None => {}
        }
    }
    let outcomes = changes
        .iter()
        .zip(results)
        .map(|(change, outcome)| {
            // Only a cycle in `needs` could leave a change untouched; the planner refuses cycles.
            let outcome = outcome.unwrap_or(Outcome::Cancelled {
                before: "its first step".to_owned(),
            });
            (change.key.clone(), outcome)
        })
        .collect();
    drop(running);
    Applied {
        outcomes,
        symbols: inner(made.symbols),
        made: inner(made.objects),
        gone: inner(made.gone),
    }
}

enum Readiness {
    Ready,
    Waits,
    Blocked(ResourceKey),
}

fn readiness(index: usize, changes: &[&Change], results: &[Option<Outcome>]) -> Readiness {
    let mut waits = false;
    for need in &changes[index].needs {
        for (other, change) in changes.iter().enumerate() {
            if other == index || change.key != *need {
                continue;
            }
            match &results[other] {
                None => waits = true,
                Some(Outcome::Kept | Outcome::Done { .. }) => {}
                Some(_) => return Readiness::Blocked(need.clone()),
            }
        }
    }
    if waits { Readiness::Waits } else { Readiness::Ready }
}

fn progress_possible(changes: &[&Change], results: &[Option<Outcome>], started: &[bool]) -> bool {
    (0..changes.len())
        .any(|index| !started[index] && !matches!(readiness(index, changes, results), Readiness::Waits))
}

fn inner<T>(mutex: Mutex<T>) -> T {
    mutex
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn one(key: &AppKey, change: &Change, made: &Made, hands: Hands<'_>) -> Outcome {
    if change.steps.is_empty() {
        return Outcome::Kept;
    }
    let begun = Instant::now();
    let mut calls = 0;
    for step in &change.steps {
        if hands.stop.is_cancelled() {
            return Outcome::Cancelled {
                before: step_text(step),
            };
        }
        let result = match step {
            Step::Op(op) => {
                hands.progress.event(Event::Step {
                    app: key.app.clone(),
                    resource: change.key.clone(),
                    text: op.to_string(),
                });
                calls += 1;
                send(key, &change.key, op, &made.symbols, hands).await
            }
            Step::Object(op) => {
                hands.progress.event(Event::Step {
                    app: key.app.clone(),
                    resource: change.key.clone(),
                    text: op.to_string(),
                });
                calls += 1;
                objects::send(key, &change.key, op, made, hands).await
            }
            Step::Await(awaited) => match wait::until(key, &change.key, awaited, made, hands).await {
                wait::End::Met => Ok(()),
                wait::End::Stopped => {
                    return Outcome::Cancelled {
                        before: step_text(step),
                    };
                }
                wait::End::Failed(why) => Err(StepFailure {
                    step: step_text(step),
                    why,
                }),
            },
        };
        if let Err(failure) = result {
            hands.progress.event(Event::Failed {
                app: key.app.clone(),
                resource: change.key.clone(),
                error: failure.why.to_string(),
            });
            return Outcome::Failed(failure);
        }
    }
    hands.progress.event(Event::Done {
        app: key.app.clone(),
        resource: change.key.clone(),
        text: crate::plan::change::verb(&change.action).to_owned(),
        took: begun.elapsed(),
    });
    Outcome::Done { calls }
}

/// One journaled call. The call itself is not interrupted by a stop: a call that was sent is waited for (its own deadline
/// bounds it), because its outcome must be known.
async fn send(
    key: &AppKey,
    resource: &ResourceKey,
    op: &Op,
    symbols: &Mutex<Symbols>,
    hands: Hands<'_>,
) -> Result<(), StepFailure> {
    let fail = |why| StepFailure {
        step: op.to_string(),
        why,
    };
    let intent = Intent {
        run: hands.run.clone(),
        key: key.clone(),
        resource: resource.clone(),
        op: hands.mask.clean(&op.to_string()),
        at: hands.clock.now(),
    };
    let entry = hands
        .journal
        .intend(&intent)
        .map_err(|error| fail(Why::Journal(error)))?;
    let known = symbols
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone();
    let answer = match hands.target.engine() {
        Ok(engine) => engine.execute(op, &known).await,
        Err(error) => Err(error),
    };
    let ending = match &answer {
        Ok(receipt) => Ending::Done {
            id: receipt.id.clone(),
        },
        Err(error) if error.may_have_happened() => Ending::Unknown {
            error: hands.mask.clean(&error.to_string()),
        },
        Err(error) => Ending::Refused {
            error: hands.mask.clean(&error.to_string()),
        },
    };
    let completed = hands.journal.complete(entry, &ending, hands.clock.now());
    let receipt = answer.map_err(|error| fail(Why::Engine(Box::new(error.cleaned(hands.mask)))))?;
    completed.map_err(|error| fail(Why::Journal(error)))?;
    for warning in &receipt.warnings {
        tracing::warn!(app = %key.app, "the engine warns: {}", hands.mask.clean(warning));
    }
    if let (Op::CreateContainer { symbol, .. }, Some(id)) = (op, receipt.id) {
        symbols
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .set(symbol.clone(), ContainerId(id.into()));
    }
    Ok(())
}

fn step_text(step: &Step) -> String {
    match step {
        Step::Op(op) => op.to_string(),
        Step::Object(op) => op.to_string(),
        Step::Await(awaited) => wait::text(awaited),
    }
}

/// The id of a container that a step names.
fn resolve(container: &ContainerRef, symbols: &Mutex<Symbols>) -> Option<ContainerId> {
    match container {
        ContainerRef::Id { id, .. } => Some(id.clone()),
        ContainerRef::New { symbol, .. } => symbols
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .get(symbol)
            .cloned(),
    }
}

/// How often a waited-for condition is read: quick at first, because most starts take well under a second.
fn pause_before(read: u32) -> Duration {
    Duration::from_millis(match read {
        0..=9 => 100,
        10..=29 => 250,
        _ => 1000,
    })
}
