//! How a run ended, said once: the ends that several ways of a run share, with what each leaves in the store.
//!
//! In: what happened. Out: the run's [`End`]. Guaranteed: the state is saved before the end is told; text is masked. Must not:
//! decide that it ended.

use std::time::Duration;

use crate::gate::{self, ApprovedPlan, Permit};
use crate::history::{AppState, BlockedBy, HeldBy, Hold, Phase, Write};
use crate::names::Digest;
use crate::plan::{Action, Change, Moved, Plan, ProblemKind};
use crate::release::{Outcome, Record};
use crate::render::model::Project;
use crate::report::{End, Failure, Frozen, HeldRelease, Obstacle, Stage};
use crate::settle::Evidence;

use super::look::{Look, LookError};
use super::sightings;
use super::stage::{Bench, save};
use super::world::Turn;

/// The code of a run that a person's hand disturbed.
pub(super) const DISTURBED: &str = "E0621";

/// No way back, or none wanted: held, and nothing more is changed.
pub(super) fn freeze(
    bench: &Bench<'_>,
    plan: &Plan,
    state: AppState,
    number: u64,
    evidence: Vec<Evidence>,
    gate_took: Duration,
    why: &str,
) -> End {
    let now = bench.world.clock.now();
    let cause = cause_line(&evidence);
    let state = AppState {
        phase: Phase::Frozen,
        phase_since: Some(now),
        timers: None,
        retry_once: None,
        frozen: Some(why.to_owned()),
        ..state
    };
    let writes = [
        Write::State(Box::new(state)),
        Write::Outcome {
            number,
            outcome: Outcome::Failed { cause: cause.clone() },
        },
        Write::Hold(Hold {
            digest: plan.release.clone(),
            since: now,
            cause,
            by: HeldBy::Gate,
            release: Some(number),
            revision: bench.turn.commit.revision.clone(),
        }),
    ];
    if let Err(error) = bench.world.history.write(&bench.turn.key, &writes) {
        return bench.store_failed(&error, "E0640", true);
    }
    End::Frozen(Box::new(Frozen {
        evidence,
        gate_took,
        why: why.to_owned(),
        changed: changed_fields(plan),
    }))
}

/// One masked line that says why a release failed.
pub(super) fn cause_line(evidence: &[Evidence]) -> String {
    match evidence.first() {
        Some(first) => format!("{}: {}", first.service.resource(), first.cause.detail),
        None => "its gate failed".to_owned(),
    }
}

/// The fields that Git moved, as `service/api image`; of an object that is made anew as a whole, that it is.
pub(super) fn changed_fields(plan: &Plan) -> Vec<String> {
    let mut changed = Vec::new();
    for change in &plan.changes {
        let moved = change.fields.iter().filter(|field| field.moved == Moved::Git);
        changed.extend(moved.map(|field| format!("{} {}", change.key, field.field)));
        if change.action == Action::Replace && change.fields.is_empty() {
            changed.push(format!("{} (replaced)", change.key));
        }
    }
    changed
}

pub(super) fn drifted_fields(plan: &Plan) -> Vec<String> {
    let acting: Vec<Change> = plan
        .changes
        .iter()
        .filter(|change| change.acts())
        .cloned()
        .collect();
    sightings::names(&acting)
}

pub(super) fn frozen(look: &Look, hold: &Hold) -> End {
    End::Frozen(Box::new(Frozen {
        evidence: Vec::new(),
        gate_took: Duration::ZERO,
        why: look.state.frozen.clone().unwrap_or_else(|| hold.cause.clone()),
        changed: Vec::new(),
    }))
}

/// What is held, for a report.
pub(super) fn held(hold: &Hold, running: Option<&Record>) -> HeldRelease {
    HeldRelease {
        digest: hold.digest.clone(),
        revision: hold.revision.clone(),
        since: hold.since,
        cause: hold.cause.clone(),
        running: running.map(|record| (record.number, record.revision.clone())),
    }
}

pub(super) fn disturbed(why: String) -> End {
    End::Failed(Failure {
        stage: Stage::Verify,
        code: DISTURBED.to_owned(),
        message: why,
        place: None,
        help: Some("find out who stops it; the next run heals it again".to_owned()),
        retry: true,
        touched: true,
    })
}

/// The stable release is in trouble by itself.
pub(super) fn incident(bench: &Bench<'_>, state: AppState, evidence: &[Evidence]) -> End {
    let message = cause_line(evidence);
    let now = bench.world.clock.now();
    let state = AppState {
        phase: Phase::Synced,
        timers: None,
        candidate: None,
        failures: state.failures.saturating_add(1),
        last_error: Some(BlockedBy {
            code: "E0622".to_owned(),
            text: message.clone(),
            since: now,
            digest: None,
        }),
        ..state
    };
    if let Err(end) = save(bench.world.history.as_ref(), bench, &state, true) {
        return *end;
    }
    End::Failed(Failure {
        stage: Stage::Verify,
        code: "E0622".to_owned(),
        message,
        place: None,
        help: Some(format!("driftless logs {}", bench.turn.key.app)),
        retry: true,
        touched: true,
    })
}

/// Passes a plan through the gate, or says why it was refused.
pub(super) fn judge(
    bench: &Bench<'_>,
    plan: Plan,
    project: Option<&Project>,
    permit: &Permit,
    state: &AppState,
) -> Result<ApprovedPlan, Box<End>> {
    let digest = plan.release.clone();
    gate::judge(plan, project, permit)
        .map_err(|refusal| Box::new(refused(bench, state.clone(), &digest, refusal)))
}

fn refused(bench: &Bench<'_>, state: AppState, digest: &Digest, refusal: gate::Refusal) -> End {
    let problems: Vec<Obstacle> = refusal
        .problems
        .iter()
        .map(|problem| Obstacle {
            code: problem.code.to_owned(),
            message: bench.mask.clean(&problem.message),
            place: problem.place.clone(),
            help: problem.help.clone(),
            pre_flight: problem.kind != ProblemKind::Refused,
        })
        .collect();
    note_blocked(
        bench,
        state,
        digest.clone(),
        problems
            .first()
            .map(|first| (first.code.clone(), first.message.clone())),
    );
    if refusal.kind() == ProblemKind::Target {
        let first = problems.into_iter().next();
        return End::Failed(Failure {
            stage: Stage::Observe,
            code: first
                .as_ref()
                .map_or_else(|| "E0506".to_owned(), |problem| problem.code.clone()),
            message: first
                .as_ref()
                .map_or_else(String::new, |problem| problem.message.clone()),
            place: first.as_ref().and_then(|problem| problem.place.clone()),
            help: first.and_then(|problem| problem.help),
            retry: false,
            touched: false,
        });
    }
    End::Refused { problems }
}

pub(super) fn blocked(bench: &Bench<'_>, state: AppState, digest: Digest, end: End) -> End {
    let what = match &end {
        End::Failed(failure) => Some((failure.code.clone(), failure.message.clone())),
        _ => None,
    };
    note_blocked(bench, state, digest, what);
    end
}

fn note_blocked(bench: &Bench<'_>, state: AppState, digest: Digest, what: Option<(String, String)>) {
    let now = bench.world.clock.now();
    let Some((code, text)) = what else { return };
    let since = state
        .blocked
        .as_ref()
        .filter(|before| before.code == code && before.digest.as_ref() == Some(&digest))
        .map_or(now, |before| before.since);
    let state = AppState {
        phase: if state.effective.is_some() {
            Phase::Blocked
        } else {
            Phase::New
        },
        candidate: None,
        blocked: Some(BlockedBy {
            code,
            text,
            since,
            digest: Some(digest),
        }),
        failures: state.failures.saturating_add(1),
        ..state
    };
    if let Err(error) = bench.world.history.save_state(&bench.turn.key, &state) {
        tracing::warn!(app = %bench.turn.key.app, "the state can't be saved: {error}");
    }
}

pub(super) fn stale(turn: &Turn) -> End {
    End::Refused {
        problems: vec![Obstacle {
            code: "E0612".to_owned(),
            message: "Git or live state moved since this plan was made".to_owned(),
            place: None,
            help: Some(format!("driftless plan {}", turn.key.app)),
            pre_flight: false,
        }],
    }
}

pub(super) fn look_failed(bench: &Bench<'_>, error: LookError) -> End {
    match error {
        LookError::Live(error) => {
            let now = bench.world.clock.now();
            if let Ok(state) = bench.world.history.state(&bench.turn.key) {
                let text = bench.mask.clean(&error.to_string());
                let code = error.code().to_string();
                let since = state
                    .last_error
                    .as_ref()
                    .filter(|last| last.code == code)
                    .map_or(now, |last| last.since);
                let last = BlockedBy {
                    code,
                    text,
                    since,
                    digest: None,
                };
                let state = AppState {
                    last_error: Some(last),
                    failures: state.failures.saturating_add(1),
                    ..state
                };
                if let Err(error) = bench.world.history.save_state(&bench.turn.key, &state) {
                    tracing::warn!(app = %bench.turn.key.app, "the state can't be saved: {error}");
                }
            }
            End::Failed(Failure {
                stage: Stage::Observe,
                code: error.code().to_string(),
                message: bench.mask.clean(&chain(error.as_ref())),
                place: None,
                help: error.hint(),
                retry: error.may_pass(),
                touched: false,
            })
        }
        LookError::Store(error) => bench.store_failed(&error, "E0640", false),
    }
}

/// An error and its causes, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = cause.source();
    }
    text
}
