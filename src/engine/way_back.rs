//! The way back: a rollback is a run whose desired state is a *stored* release, never rendered again.
//!
//! In: a failed release and the stable one. Out: the run's end. Guaranteed: the hold on the failed release is on disk before
//! anything is put back; a rollback that fails freezes and is never rolled back itself. Must not: choose the release
//! (`rollback/` does).

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::gate::{self, ApprovedPlan, Permit};
use crate::history::{AppState, HeldBy, Hold, Phase, StoreError, Write};
use crate::live::kubernetes::world::Observed as Cluster;
use crate::live::world::{Inventory, Observed};
use crate::names::{Digest, Kind};
use crate::plan::{Change, Plan};
use crate::progress::{Event, Stage as Shown};
use crate::release::{Outcome, Record};
use crate::report::{End, Obstacle, RolledBack, Run};
use crate::rollback::{BUDGET_SPAN, Freeze};
use crate::settle::{self, Evidence};

use super::book::{Book, Notes};
use super::endings::{cause_line, changed_fields, disturbed, freeze, held, incident, look_failed};
use super::lease::under_lease;
use super::look::{Look, LookError, desired_of, look, look_at_release, mask_of};
use super::stage::{Bench, Passed, save, since};
use super::world::{Turn, World};
use super::{sightings, stand};

/// Puts the stable release `to` back after `failed` failed its gate.
#[expect(
    clippy::too_many_arguments,
    reason = "one call site; a struct would only rename the arguments"
)]
pub(super) async fn roll_back(
    bench: &Bench<'_>,
    approved: &ApprovedPlan,
    state: AppState,
    failed: u64,
    to: u64,
    evidence: Vec<Evidence>,
    gate_took: Duration,
    notes: &mut Notes,
) -> End {
    let (turn, world) = (bench.turn, bench.world);
    let plan = approved.plan();
    let no_way = |state, evidence, why: String| {
        freeze(
            bench,
            plan,
            state,
            failed,
            evidence,
            gate_took,
            &Freeze::NoWayBack(why).to_string(),
        )
    };
    let record = match world.history.release(&turn.key, to) {
        Ok(Some(record)) => record,
        Ok(None) => return no_way(state, evidence, format!("release {to} is not in the store")),
        Err(error @ StoreError::Sealed { .. }) => return no_way(state, evidence, error.to_string()),
        Err(error) => return bench.store_failed(&error, "E0640", true),
    };
    let now = world.clock.now();
    let cause = cause_line(&evidence);
    let mut rollbacks = state.rollbacks.clone();
    rollbacks.retain(|at| crate::clock::elapsed(*at, now) < BUDGET_SPAN);
    rollbacks.push(now);
    let state = AppState {
        phase: Phase::RollingBack,
        phase_since: Some(now),
        effective: Some(to),
        timers: None,
        retry_once: None,
        restarts_before: std::collections::BTreeMap::new(),
        rollbacks,
        ..state
    };
    let hold = Hold {
        digest: plan.release.clone(),
        since: now,
        cause: cause.clone(),
        by: HeldBy::Gate,
        release: Some(failed),
        revision: turn.commit.revision.clone(),
    };
    let writes = [
        Write::State(Box::new(state.clone())),
        Write::Hold(hold),
        Write::Outcome {
            number: failed,
            outcome: Outcome::RolledBack { cause, to },
        },
    ];
    if let Err(error) = world.history.write(&turn.key, &writes) {
        return bench.store_failed(&error, "E0640", true);
    }
    world.progress.event(Event::Stage {
        app: turn.key.app.clone(),
        stage: Shown::RollBack,
    });
    match put(bench, &record, &plan.release, state, notes).await {
        Put::Back { baked, .. } => End::RolledBack(Box::new(RolledBack {
            evidence,
            gate_took,
            to: (record.number, record.revision.clone()),
            // What counts for those who wait is when it served again; the bake only proves it.
            rollback_took: since(world, now).saturating_sub(baked),
            downtime: None,
            changed: changed_fields(plan),
            not_reverted: not_reverted(plan),
        })),
        Put::Failed {
            state,
            evidence: second,
            why,
        } => {
            let mut all = evidence;
            all.extend(second);
            freeze(bench, plan, state, failed, all, gate_took, &why)
        }
        Put::Ended(end) => *end,
    }
}

/// How putting a stored release in place ended.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one, and it is taken apart at once"
)]
enum Put {
    /// It runs and is healthy; `baked` is how long that was watched.
    Back { calls: usize, baked: Duration },
    Failed {
        state: AppState,
        evidence: Vec<Evidence>,
        why: String,
    },
    /// Nothing is decided: interrupted, or the engine is away.
    Ended(Box<End>),
}

/// Makes live state equal to a stored release and waits for its verdict.
async fn put(
    bench: &Bench<'_>,
    record: &Record,
    from: &Digest,
    mut state: AppState,
    notes: &mut Notes,
) -> Put {
    let mask = bench.turn.desired.mask.union(&mask_of(record));
    let bench = &Bench {
        mask: &mask,
        ..*bench
    };
    if let Err(end) = bench.take_lease(Timestamp::MAX).await {
        return Put::Ended(end);
    }
    let (plan, observed, inventory) = match look_at_release(bench.turn, bench.world, record, Some(from)).await
    {
        Ok(looked) => looked,
        Err(error) => return Put::Ended(Box::new(look_failed(bench, error))),
    };
    // A release that was approved once is not denied on the way back: refusing it would keep the broken one.
    let approved = match gate::judge(plan, Some(&record.snapshot.project), &Permit::default()) {
        Ok(approved) => approved,
        Err(refusal) => {
            let first = refusal
                .problems
                .first()
                .map_or(String::new(), |problem| bench.mask.clean(&problem.message));
            return Put::Failed {
                state,
                evidence: Vec::new(),
                why: Freeze::NoWayBack(first).to_string(),
            };
        }
    };
    let desired = desired_of(record);
    if let Err(end) = bench.pre_flight(&approved, &desired).await {
        return match *end {
            End::Failed(failure) if !failure.retry => Put::Failed {
                state,
                evidence: Vec::new(),
                why: Freeze::NoWayBack(failure.message).to_string(),
            },
            end => Put::Ended(Box::new(end)),
        };
    }
    let (passed, calls) = bench
        .pass(&approved, &desired, (&observed, &inventory), None, &mut state)
        .await;
    let evidence = match passed {
        Passed::Ended(end) => return Put::Ended(end),
        Passed::Broke(evidence) => evidence,
        Passed::Settled(settled) => match settled.end {
            settle::End::Healthy => {
                return match conclude(
                    bench,
                    &approved,
                    record,
                    state,
                    &desired,
                    observed.cluster.clone(),
                    notes,
                )
                .await
                {
                    Ok(()) => Put::Back {
                        calls,
                        baked: settled.baked,
                    },
                    Err(end) => Put::Ended(end),
                };
            }
            settle::End::Failed(evidence) => evidence,
            settle::End::Disturbed { service, what } => {
                return Put::Ended(Box::new(disturbed(format!("{service} was {what}"))));
            }
            settle::End::Stopped => {
                return Put::Ended(Box::new(bench.interrupted("the rollback is being verified")));
            }
        },
    };
    Put::Failed {
        state,
        evidence,
        why: Freeze::RollbackFailed.to_string(),
    }
}

async fn conclude(
    bench: &Bench<'_>,
    approved: &ApprovedPlan,
    record: &Record,
    state: AppState,
    desired: &crate::render::Desired,
    cluster: Option<Arc<Cluster>>,
    notes: &mut Notes,
) -> Result<(), Box<End>> {
    let now = bench.world.clock.now();
    let state = AppState {
        phase: Phase::Held,
        phase_since: Some(now),
        candidate: None,
        effective: Some(record.number),
        stable: Some(record.number),
        timers: None,
        frozen: None,
        blocked: None,
        failures: 0,
        last_error: None,
        last_success: Some(now),
        last_seen: Some(bench.turn.commit.revision.clone()),
        drift: std::collections::BTreeMap::new(),
        ..state
    };
    save(bench.world.history.as_ref(), bench, &state, true)?;
    bench
        .after_bake(approved, desired, cluster, &mut notes.warnings)
        .await;
    Ok(())
}

/// Git's release is held: what runs is the effective one, and it is kept as it should be.
pub(super) async fn stay(
    bench: &Bench<'_>,
    look: &Look,
    hold: Hold,
    record: &Record,
    notes: &mut Notes,
) -> End {
    notes.release = Some((record.number, record.digest.clone()));
    let resuming = matches!(look.state.phase, Phase::RollingBack | Phase::VerifyingRollback);
    // While a rollback is unfinished, the held release is what is being left; later, live state is only healed.
    let from = resuming.then_some(&hold.digest);
    let (plan, observed, inventory) = match look_at_release(bench.turn, bench.world, record, from).await {
        Ok(looked) => looked,
        Err(error) => return look_failed(bench, error),
    };
    let idle = !plan.changes.iter().any(|change| change.acts());
    let report_only = bench.turn.options.report_drift && !resuming;
    if !resuming && (idle || report_only) {
        still_held(bench, &look.state, &stand::drift(&plan, false));
        return End::Held {
            held: held(&hold, Some(record)),
            healed: 0,
        };
    }
    if resuming {
        return match put(bench, record, &hold.digest, look.state.clone(), notes).await {
            Put::Back { calls: healed, .. } => End::Held {
                held: held(&hold, Some(record)),
                healed,
            },
            Put::Failed { state, evidence, why } => freeze(
                bench,
                &look.git,
                state,
                hold.release.unwrap_or(0),
                evidence,
                Duration::ZERO,
                &why,
            ),
            Put::Ended(end) => *end,
        };
    }
    notes.changes = plan
        .changes
        .iter()
        .filter(|change| change.acts())
        .map(|change| change.key.to_string())
        .collect();
    heal(bench, look, plan, (&observed, &inventory), &hold, record, notes).await
}

async fn heal(
    bench: &Bench<'_>,
    look: &Look,
    plan: Plan,
    before: (&Observed, &Inventory),
    hold: &Hold,
    record: &Record,
    notes: &mut Notes,
) -> End {
    let approved = match gate::judge(plan, Some(&record.snapshot.project), &Permit::default()) {
        Ok(approved) => approved,
        Err(refusal) => {
            return End::Refused {
                problems: refusal.problems.iter().map(obstacle).collect(),
            };
        }
    };
    if let Err(end) = bench.take_lease(before.0.at).await {
        return *end;
    }
    let desired = desired_of(record);
    if let Err(end) = bench.pre_flight(&approved, &desired).await {
        return *end;
    }
    let mut state = AppState {
        timers: None,
        restarts_before: std::collections::BTreeMap::new(),
        ..look.state.clone()
    };
    let (passed, calls) = bench.pass(&approved, &desired, before, None, &mut state).await;
    let evidence = match passed {
        Passed::Ended(end) => return *end,
        Passed::Broke(evidence) => evidence,
        Passed::Settled(settled) => match settled.end {
            settle::End::Healthy => {
                return match conclude(
                    bench,
                    &approved,
                    record,
                    state,
                    &desired,
                    before.0.cluster.clone(),
                    notes,
                )
                .await
                {
                    Ok(()) => End::Held {
                        held: held(hold, Some(record)),
                        healed: calls,
                    },
                    Err(end) => *end,
                };
            }
            settle::End::Failed(evidence) => evidence,
            settle::End::Disturbed { service, what } => return disturbed(format!("{service} was {what}")),
            settle::End::Stopped => return bench.interrupted("what was healed is being verified"),
        },
    };
    let end = incident(bench, state.clone(), &evidence);
    // It stays held: an incident of the stable release does not make Git's release any better.
    let still = AppState {
        phase: Phase::Held,
        timers: None,
        candidate: None,
        failures: state.failures.saturating_add(1),
        ..state
    };
    match save(bench.world.history.as_ref(), bench, &still, true) {
        Ok(()) => end,
        Err(end) => *end,
    }
}

/// Saved only when it says something new: a poll that finds it held as before writes nothing.
pub(super) fn still_held(bench: &Bench<'_>, before: &AppState, drift: &[Change]) {
    let mut state = AppState {
        phase: Phase::Held,
        last_seen: Some(bench.turn.commit.revision.clone()),
        last_error: None,
        failures: 0,
        ..before.clone()
    };
    let seen = before.last_seen == state.last_seen && before.phase == Phase::Held;
    if !sightings::sight(&mut state, drift, bench.world.clock.now()) && seen {
        return;
    }
    if let Err(error) = bench.world.history.save_state(&bench.turn.key, &state) {
        tracing::warn!(app = %bench.turn.key.app, "the state can't be saved: {error}");
    }
}

/// Puts a stored release back because a person asked for it: Git's current release is held (decision 19).
pub async fn put_back(
    turn: &Turn,
    world: &World,
    record: &Record,
    by: (String, Option<String>),
    stop: &CancellationToken,
) -> Run {
    let book = Book::open(turn, world);
    let mut notes = Notes::default();
    let end = under_lease(turn, by_hand(&book.bench(stop), record, by, &mut notes)).await;
    book.close(end, notes)
}

/// A look at a stored release, for the command that shows a rollback before it is made.
pub async fn rollback_plan(
    turn: &Turn,
    world: &World,
    record: &Record,
    from: &Digest,
) -> Result<Plan, LookError> {
    look_at_release(turn, world, record, Some(from))
        .await
        .map(|(plan, _, _)| plan)
}

async fn by_hand(bench: &Bench<'_>, record: &Record, by: (String, Option<String>), notes: &mut Notes) -> End {
    let (turn, world) = (bench.turn, bench.world);
    if let Err(end) = bench.take_lease(Timestamp::MAX).await {
        return *end;
    }
    let Look { state, git, .. } = match look(turn, world).await {
        Ok(look) => look,
        Err(LookError::Store(error)) => return bench.store_failed(&error, "E0640", false),
        Err(error) => return look_failed(bench, error),
    };
    notes.release = Some((record.number, record.digest.clone()));
    let now = world.clock.now();
    let mut writes = Vec::new();
    // Git's own release is not held when it is the one that is put back.
    if git.release != record.digest {
        let known = world
            .history
            .release_by_digest(&turn.key, &git.release)
            .ok()
            .flatten();
        let why = by.1.as_ref().map_or(String::new(), |why| format!(": {why}"));
        writes.push(Write::Hold(Hold {
            digest: git.release.clone(),
            since: now,
            cause: format!("rolled back by {}{why}", by.0),
            by: HeldBy::Person { who: by.0, why: by.1 },
            release: known.map(|summary| summary.number),
            revision: turn.commit.revision.clone(),
        }));
    }
    writes.push(Write::Lift(record.digest.clone()));
    let state = AppState {
        phase: Phase::RollingBack,
        phase_since: Some(now),
        effective: Some(record.number),
        candidate: None,
        timers: None,
        restarts_before: std::collections::BTreeMap::new(),
        ..state
    };
    writes.push(Write::State(Box::new(state.clone())));
    if let Err(error) = world.history.write(&turn.key, &writes) {
        return bench.store_failed(&error, "E0640", false);
    }
    world.progress.event(Event::Stage {
        app: turn.key.app.clone(),
        stage: Shown::RollBack,
    });
    match put(bench, record, &git.release, state, notes).await {
        Put::Back { calls, .. } => End::Stable { healed: false, calls },
        Put::Failed { state, evidence, why } => freeze(
            bench,
            &git,
            state,
            record.number,
            evidence,
            since(world, now),
            &why,
        ),
        Put::Ended(end) => *end,
    }
}

fn obstacle(problem: &crate::plan::Problem) -> Obstacle {
    Obstacle {
        code: problem.code.to_owned(),
        message: problem.message.clone(),
        place: problem.place.clone(),
        help: problem.help.clone(),
        pre_flight: problem.kind != crate::plan::ProblemKind::Refused,
    }
}

/// Data is never put back: the volumes and claims that both releases write, or that the failed one made.
fn not_reverted(plan: &Plan) -> Vec<String> {
    plan.changes
        .iter()
        .filter(|change| match change.key.kind {
            Kind::Volume => true,
            Kind::Object => change.key.name.starts_with("PersistentVolumeClaim/"),
            _ => false,
        })
        .map(|change| change.key.to_string())
        .collect()
}
