//! THE SPINE: one turn of the loop for one app.
//!
//! In: a [`Turn`]. Out: always a [`Run`]. Guaranteed: every transition is saved before its side effect; a release that is
//! held is not applied; what is not known is not acted on. Must not: know how anything is done, only in which order.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::gate;
use crate::history::{AppState, Hold, Phase, Write};
use crate::journal::Ending;
use crate::live::kubernetes::world::Observed as Cluster;
use crate::names::TargetId;
use crate::plan;
use crate::progress;
use crate::release::Record;
use crate::render::app::RollbackMode;
use crate::report::{End, Run};
use crate::rollback::{self, Decision, Situation};
use crate::settle;

use super::admit::admit;
use super::book::{Book, Notes};
use super::candidate::candidate;
use super::endings::{
    DISTURBED, blocked, disturbed, drifted_fields, freeze, frozen, incident, judge, look_failed, stale,
};
use super::lease::{MOVED, under_lease};
use super::look::{Look, look, mask_of};
use super::one_way::one_way_step;
use super::rest::at_rest;
use super::stage::{Bench, Passed, save, since};
use super::world::{Turn, World};
use super::{sightings, stand, way_back};

/// How often a run heals what a person keeps changing while it is judged, before it gives up.
const JUDGE_AGAIN: usize = 3;

/// One turn of the loop: look, gate, apply, settle, decide.
pub async fn cycle(turn: &Turn, world: &World, stop: &CancellationToken) -> Run {
    let book = Book::open(turn, world);
    let mut notes = Notes::default();
    let end = under_lease(turn, spine(&book.bench(stop), &mut notes)).await;
    book.close(end, notes)
}

async fn spine(bench: &Bench<'_>, notes: &mut Notes) -> End {
    let (turn, world) = (bench.turn, bench.world);
    conclude_journal(turn, world);
    if let Some(end) = at_rest(bench, notes) {
        return end;
    }
    let (mut round, mut moved) = (0, false);
    loop {
        let look = match look(turn, world).await {
            Ok(look) => look,
            Err(error) => return look_failed(bench, error),
        };
        let effective = look.effective.as_ref().map(mask_of).unwrap_or_default();
        let mask = turn.desired.mask.union(&effective);
        let bench = Bench {
            mask: &mask,
            ..*bench
        };
        let end = match admit(&bench, &look) {
            Err(end) => *end,
            Ok(()) => match course(&look) {
                Course::Forward => forward(&bench, look, notes).await,
                Course::Stay(hold, record) => way_back::stay(&bench, &look, hold, &record, notes).await,
                Course::Frozen(hold) => frozen(&look, &hold),
            },
        };
        match end {
            End::Failed(failure) if failure.code == MOVED && !moved => moved = true,
            End::Failed(failure) if failure.code == DISTURBED && round < JUDGE_AGAIN => {
                round += 1;
                notes
                    .warnings
                    .push(format!("{}; healed, and judged again", failure.message));
            }
            end => return end,
        }
    }
}

/// What is to be made true.
enum Course {
    /// What Git wants.
    Forward,
    /// The effective release, because Git's is held.
    Stay(Hold, Box<Record>),
    /// Nothing: there was no way back.
    Frozen(Hold),
}

fn course(look: &Look) -> Course {
    match (&look.hold, &look.effective) {
        (None, _) => Course::Forward,
        (Some(hold), Some(record)) if look.state.phase != Phase::Frozen && record.digest != hold.digest => {
            Course::Stay(hold.clone(), Box::new(record.clone()))
        }
        (Some(hold), _) => Course::Frozen(hold.clone()),
    }
}

/// Towards what Git wants: a new release, or the same one healed.
async fn forward(bench: &Bench<'_>, look: Look, notes: &mut Notes) -> End {
    let Look {
        observed,
        inventory,
        mut state,
        effective,
        git,
        ..
    } = look;
    let (turn, world) = (bench.turn, bench.world);
    let new = effective
        .as_ref()
        .is_none_or(|record| record.digest != git.release);
    notes.plan(&git);
    if let Some(expected) = &turn.options.expect
        && (expected.release != git.release || expected.basis != git.basis)
    {
        return stale(turn);
    }
    let project = Some(&turn.desired.project);
    let approved = match judge(bench, git, project, &turn.options.permit, &state) {
        Ok(approved) => approved,
        Err(end) => return *end,
    };
    let plan = approved.plan();
    let idle = plan.is_empty()
        && !plan
            .changes
            .iter()
            .any(|change| change.action == plan::Action::Adopt);
    if !new && idle && !state.phase.in_flight() {
        notes.release = effective
            .as_ref()
            .map(|record| (record.number, record.digest.clone()));
        if let Some(cluster) = &observed.cluster
            && let Err(end) = bench.write_down_objects(plan, cluster, &inventory, None, &[])
        {
            return *end;
        }
        return no_change(bench, state, &observed.engine.id);
    }
    if !new && turn.options.report_drift && !state.phase.in_flight() {
        sightings::note(bench, state, &stand::drift(plan, false));
        return End::Drifted {
            fields: drifted_fields(plan),
        };
    }
    if let Err(end) = bench.take_lease(observed.at).await {
        return *end;
    }
    let number = match candidate(bench, &state, plan, effective.as_ref()) {
        Ok(number) => number,
        Err(end) => return *end,
    };
    notes.release = Some((number, plan.release.clone()));
    let began = world.clock.now();
    let resumed = state.phase.in_flight() && state.candidate == Some(number);
    if !resumed {
        state = AppState {
            attempt: 0,
            timers: None,
            restarts_before: BTreeMap::new(),
            ..state
        };
    }
    state = AppState {
        phase: Phase::Applying,
        phase_since: Some(began),
        run: Some(bench.run.clone()),
        candidate: Some(number),
        attempt: state.attempt + 1,
        target: Some(observed.engine.id.clone()),
        project: Some(turn.desired.project.name.clone()),
        last_seen: Some(turn.commit.revision.clone()),
        blocked: None,
        frozen: None,
        ..state
    };
    if let Err(end) = save(world.history.as_ref(), bench, &state, false) {
        return *end;
    }
    if let Err(end) = bench.pre_flight(&approved, &turn.desired).await {
        return blocked(bench, state, plan.release.clone(), *end);
    }
    world.progress.event(progress::Event::Stage {
        app: turn.key.app.clone(),
        stage: progress::Stage::Apply,
    });
    let parked_from = effective.as_ref().map(|record| record.digest.clone());
    let (passed, calls) = bench
        .pass(
            &approved,
            &turn.desired,
            (&observed, &inventory),
            parked_from.as_ref(),
            &mut state,
        )
        .await;
    let (evidence, ended) = match passed {
        Passed::Ended(end) => return *end,
        Passed::Broke(evidence) => (evidence.clone(), settle::End::Failed(evidence)),
        Passed::Settled(settled) => match settled.end {
            settle::End::Failed(evidence) => (evidence.clone(), settle::End::Failed(evidence)),
            other => (Vec::new(), other),
        },
    };
    let stable = match world.history.newest_stable_summary(&turn.key) {
        Ok(summary) => summary,
        Err(error) => return bench.store_failed(&error, "E0640", true),
    };
    let one_way = match (&ended, &observed.cluster) {
        (settle::End::Failed(_), Some(cluster)) => {
            let now = match world.history.inventory(&turn.key) {
                Ok(now) => now,
                Err(error) => return bench.store_failed(&error, "E0640", true),
            };
            match one_way_step(turn, cluster, &inventory.objects, &now.objects).await {
                Ok(step) => step,
                // Not known: the next run concludes it.
                Err(error) => return bench.observe_failed(&error, true),
            }
        }
        _ => None,
    };
    let mode = if turn.options.no_rollback {
        RollbackMode::Notify
    } else {
        turn.desired.rules.rollback
    };
    let situation = Situation {
        candidate: &plan.release,
        rolling_back: false,
        stable: stable.as_ref().map(|summary| (summary.number, &summary.digest)),
        mode,
        one_way: one_way.as_deref(),
        rollbacks: &state.rollbacks,
        now: world.clock.now(),
    };
    match rollback::decide(&ended, &situation) {
        Decision::Keep => {
            let cluster = observed.cluster.clone();
            keep(bench, &approved, state, (number, new), calls, cluster, notes).await
        }
        Decision::Undecided => bench.interrupted("the release is being verified"),
        Decision::JudgeAgain { why } => disturbed(why),
        // A failing heal is an incident of the stable release, not a bad release: there is nothing to go back to.
        _ if !new => incident(bench, state, &evidence),
        Decision::RollBack { to } => {
            way_back::roll_back(
                bench,
                &approved,
                state,
                number,
                to,
                evidence,
                since(world, began),
                notes,
            )
            .await
        }
        Decision::Freeze { why } => freeze(
            bench,
            plan,
            state,
            number,
            evidence,
            since(world, began),
            &why.to_string(),
        ),
    }
}

/// The release is stable: written down, then what waited for the bake is deleted.
async fn keep(
    bench: &Bench<'_>,
    approved: &gate::ApprovedPlan,
    state: AppState,
    (number, new): (u64, bool),
    calls: usize,
    cluster: Option<Arc<Cluster>>,
    notes: &mut Notes,
) -> End {
    let now = bench.world.clock.now();
    let digest = approved.plan().release.clone();
    let mut state = AppState {
        phase: Phase::Pruning,
        phase_since: Some(now),
        effective: Some(number),
        stable: Some(number),
        timers: None,
        retry_once: None,
        failures: 0,
        last_error: None,
        last_success: Some(now),
        drift: BTreeMap::new(),
        ..state
    };
    let mut writes = vec![Write::State(Box::new(state.clone())), Write::Lift(digest)];
    if new {
        writes.push(Write::Stable { number, at: now });
    }
    if let Err(error) = bench.world.history.write(&bench.turn.key, &writes) {
        return bench.store_failed(&error, "E0640", true);
    }
    bench
        .after_bake(approved, &bench.turn.desired, cluster, &mut notes.warnings)
        .await;
    (state.phase, state.phase_since, state.candidate) = (Phase::Synced, Some(bench.world.clock.now()), None);
    if let Err(end) = save(bench.world.history.as_ref(), bench, &state, true) {
        return *end;
    }
    End::Stable { healed: !new, calls }
}

/// Everything is as Git says on the target `id`.
pub(super) fn no_change(bench: &Bench<'_>, state: AppState, id: &TargetId) -> End {
    // Saved only when it says something new: a no-op poll writes nothing.
    let unlike = !matches!(state.phase, Phase::Synced)
        || state.last_seen.as_ref() != Some(&bench.turn.commit.revision)
        || state.failures > 0
        || state.last_error.is_some()
        || !state.drift.is_empty();
    if unlike {
        let now = bench.world.clock.now();
        let state = AppState {
            phase: Phase::Synced,
            phase_since: if state.phase == Phase::Synced {
                state.phase_since
            } else {
                Some(now)
            },
            last_seen: Some(bench.turn.commit.revision.clone()),
            last_success: Some(now),
            target: Some(id.clone()),
            candidate: None,
            blocked: None,
            frozen: None,
            failures: 0,
            last_error: None,
            drift: BTreeMap::new(),
            ..state
        };
        if let Err(end) = save(bench.world.history.as_ref(), bench, &state, false) {
            return *end;
        }
    }
    End::NoChange
}

/// Calls of a run that died are closed as unknown: what they did is read from live state, never guessed.
fn conclude_journal(turn: &Turn, world: &World) {
    let Ok(open) = world.history.unfinished(&turn.key) else {
        return;
    };
    for (entry, intent) in open {
        let ending = Ending::Unknown {
            error: "the process ended before the answer".to_owned(),
        };
        tracing::info!(app = %turn.key.app, "an unfinished call of an earlier run: {}", intent.op);
        if let Err(error) = world.history.complete(entry, &ending, world.clock.now()) {
            tracing::warn!(app = %turn.key.app, "the journal can't be completed: {error}");
        }
    }
}
