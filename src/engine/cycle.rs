//! THE SPINE: one turn of the loop for one app.
//!
//! In: a [`Turn`]. Out: always a [`Run`]. Guaranteed: every transition is saved before its side effect; a release that is
//! held is not applied; what is not known is not acted on. Must not: know how anything is done, only in which order.

use tokio_util::sync::CancellationToken;

use crate::clock::{Timestamp, elapsed};
use crate::gate::{self, Permit};
use crate::history::{AppState, BlockedBy, Hold, Phase, RunRow, Write};
use crate::live::ownership::PARKED;
use crate::names::{Digest, RunId};
use crate::plan::{self, Cause, Change, Phase as PlanPhase, Plan, ProblemKind, Stance};
use crate::release::{Outcome, Record, Snapshot};
use crate::report::{End, Failure, Frozen, HeldRelease, Obstacle, Run, Stage, Trigger};
use crate::rollback::{self, Decision, Situation};
use crate::secret::{Mask, Secret};
use crate::settle;

use super::look::{Look, LookError, look, look_at_release, mask_of};
use super::stage::{Bench, Passed, save, since};
use super::way_back;
use super::world::{Turn, World};

/// How often a run heals what a person keeps changing while it is judged, before it gives up.
const JUDGE_AGAIN: usize = 3;

/// One turn of the loop: look, gate, apply, settle, decide.
pub async fn cycle(turn: &Turn, world: &World, stop: &CancellationToken) -> Run {
    let book = Book::open(turn, world);
    let (end, notes) = spine(turn, world, stop, &book.id).await;
    book.close(end, notes)
}

/// What a run gathers besides its end.
#[derive(Default)]
pub(super) struct Notes {
    pub release: Option<(u64, Digest)>,
    pub changes: Vec<String>,
    pub warnings: Vec<String>,
}

/// The record of a run, from its begin to its end.
struct Book<'a> {
    turn: &'a Turn,
    world: &'a World,
    id: RunId,
    started: Timestamp,
}

impl<'a> Book<'a> {
    fn open(turn: &'a Turn, world: &'a World) -> Self {
        Self {
            turn,
            world,
            id: world.run_id(),
            started: world.clock.now(),
        }
    }

    fn close(self, end: End, notes: Notes) -> Run {
        let run = Run {
            id: self.id,
            key: self.turn.key.clone(),
            target: self.turn.target.name().to_owned(),
            trigger: self.turn.trigger.clone(),
            started: self.started,
            took: since(self.world, self.started),
            revision: Some(self.turn.commit.revision.clone()),
            subject: self.turn.commit.subject.clone(),
            release: notes.release,
            end,
            changes: notes.changes,
            warnings: notes.warnings,
        };
        // A poll that found nothing to do is not history: it would bury what happened.
        if !(run.trigger == Trigger::Tick && (run.end == End::NoChange || repeats(self.world, &run))) {
            let row = RunRow {
                id: run.id.clone(),
                key: run.key.clone(),
                trigger: trigger_text(&run.trigger),
                started: run.started,
                ended: Some(self.world.clock.now()),
                revision: run.revision.clone(),
                release: run.release.as_ref().map(|(number, _)| *number),
                report: serde_json::to_value(&run).unwrap_or_default(),
                exit_code: i32::from(run.exit().code()),
            };
            if let Err(error) = self.world.history.record_run(&row) {
                tracing::warn!(app = %run.key.app, "the run can't be recorded: {error}");
            }
        }
        run
    }
}

/// Whether a run changed nothing and says of the same commit what the run before said: held, suspended, drifted, refused.
/// A minute's tick would else fill a day with one sentence, and push out what happened.
fn repeats(world: &World, run: &Run) -> bool {
    let idle = match &run.end {
        End::Held { healed, .. } => *healed == 0,
        End::Failed(failure) => !failure.touched,
        End::Drifted { .. } | End::Refused { .. } | End::Frozen(_) => true,
        _ => false,
    };
    if !idle {
        return false;
    }
    let end = serde_json::to_value(&run.end).ok();
    let before = world.history.runs(&run.key, 1).unwrap_or_default();
    before
        .first()
        .is_some_and(|before| before.revision == run.revision && before.report.get("end") == end.as_ref())
}

fn trigger_text(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Person(verb) => verb.clone(),
        Trigger::Commit => "commit".to_owned(),
        Trigger::Tick => "tick".to_owned(),
        Trigger::Drift => "drift".to_owned(),
        Trigger::Recovery => "recovery".to_owned(),
    }
}

async fn spine(turn: &Turn, world: &World, stop: &CancellationToken, run: &RunId) -> (End, Notes) {
    let mut notes = Notes::default();
    let bench = Bench {
        turn,
        world,
        run,
        stop,
        mask: &turn.desired.mask,
    };
    conclude_journal(turn, world);
    for round in 0..=JUDGE_AGAIN {
        let look = match look(turn, world).await {
            Ok(look) => look,
            Err(error) => return (look_failed(&bench, error), notes),
        };
        let mask = turn
            .desired
            .mask
            .union(&look.effective.as_ref().map(mask_of).unwrap_or_default());
        let bench = Bench { mask: &mask, ..bench };
        let end = match admit(&bench, &look) {
            Err(end) => *end,
            Ok(()) => match course(&look) {
                Course::Forward => forward(&bench, look, &mut notes).await,
                Course::Stay(hold, record) => way_back::stay(&bench, &look, hold, &record, &mut notes).await,
                Course::Frozen(hold) => frozen(&look, &hold),
            },
        };
        match end {
            End::Failed(failure) if failure.code == DISTURBED && round < JUDGE_AGAIN => {
                notes
                    .warnings
                    .push(format!("{}; healed, and judged again", failure.message));
            }
            end => return (end, notes),
        }
    }
    unreachable_end(notes)
}

/// The last round returns its own end; this only satisfies the compiler without a panic.
fn unreachable_end(notes: Notes) -> (End, Notes) {
    (End::Superseded, notes)
}

/// The code of a run that a person's hand disturbed.
pub(super) const DISTURBED: &str = "E0621";

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

/// Whether anything may be changed at all.
fn admit(bench: &Bench<'_>, look: &Look) -> Result<(), Box<End>> {
    let now = bench.world.clock.now();
    let refuse = |code: &str, message: String, help: Option<String>| {
        let obstacle = Obstacle {
            code: code.to_owned(),
            message,
            place: None,
            help,
            pre_flight: false,
        };
        Err(Box::new(End::Refused {
            problems: vec![obstacle],
        }))
    };
    if let Some(suspension) = look
        .state
        .suspended
        .as_ref()
        .filter(|suspended| suspended.until.is_none_or(|until| until > now))
    {
        let until = suspension
            .until
            .map_or("until it is resumed".to_owned(), |until| {
                format!("until {until:.0}")
            });
        let message = format!("suspended {until} by {}: {}", suspension.by, suspension.reason);
        return refuse(
            "E0610",
            message,
            Some(format!("driftless resume {}", bench.turn.key.app)),
        );
    }
    if let Some(known) = look
        .state
        .target
        .as_ref()
        .filter(|known| **known != look.observed.engine.id)
    {
        let message = format!(
            "{} is another engine than the one this app was applied to (id {}, was {known})",
            bench.turn.target.name(),
            look.observed.engine.id
        );
        let help = format!(
            "if the engine was set up anew: `driftless takeover {}`",
            bench.turn.key.app
        );
        if !bench.turn.options.takeover {
            return refuse("E0611", message, Some(help));
        }
    }
    bench
        .world
        .history
        .claim(
            &bench.turn.key,
            &look.observed.engine.id,
            &bench.turn.desired.project.name,
        )
        .map_err(|error| {
            let help =
                "give one of the two apps another project name (top-level `name:` in its Compose file)";
            Box::new(End::Refused {
                problems: vec![Obstacle {
                    code: "E0605".to_owned(),
                    message: error.to_string(),
                    place: None,
                    help: Some(help.to_owned()),
                    pre_flight: false,
                }],
            })
        })
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
    notes.changes = git
        .changes
        .iter()
        .filter(|change| change.acts())
        .map(describe)
        .collect();
    if let Some(expected) = &turn.options.expect
        && (expected.release != git.release || expected.basis != git.basis)
    {
        return stale(turn);
    }
    let refusal_digest = git.release.clone();
    let approved = match gate::judge(git, Some(&turn.desired.project), &turn.options.permit) {
        Ok(approved) => approved,
        Err(refusal) => return refused(bench, state, &refusal_digest, refusal),
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
        return no_change(bench, state, &observed);
    }
    if !new && turn.options.report_drift && !state.phase.in_flight() {
        let fields = drifted_fields(plan);
        return End::Drifted { fields };
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
            restarts_before: std::collections::BTreeMap::new(),
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
    world.progress.event(crate::progress::Event::Stage {
        app: turn.key.app.clone(),
        stage: crate::progress::Stage::Apply,
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
    let mode = if turn.options.no_rollback {
        crate::render::app::RollbackMode::Notify
    } else {
        turn.desired.rules.rollback
    };
    let situation = Situation {
        candidate: &plan.release,
        rolling_back: false,
        stable: stable.as_ref().map(|summary| (summary.number, &summary.digest)),
        mode,
        rollbacks: &state.rollbacks,
        now: world.clock.now(),
    };
    match rollback::decide(&ended, &situation) {
        Decision::Keep => keep(bench, &approved, state, number, new, calls, notes).await,
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
    number: u64,
    new: bool,
    calls: usize,
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
        drift: std::collections::BTreeMap::new(),
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
        .after_bake(approved, &bench.turn.desired, &mut notes.warnings)
        .await;
    (state.phase, state.phase_since, state.candidate) = (Phase::Synced, Some(bench.world.clock.now()), None);
    if let Err(end) = save(bench.world.history.as_ref(), bench, &state, true) {
        return *end;
    }
    End::Stable { healed: !new, calls }
}

/// The number of the release that is tried: a known one when Git returns to it, else a new record.
fn candidate(
    bench: &Bench<'_>,
    state: &AppState,
    plan: &Plan,
    effective: Option<&Record>,
) -> Result<u64, Box<End>> {
    let (turn, world) = (bench.turn, bench.world);
    if let Some(record) = effective.filter(|record| record.digest == plan.release) {
        return Ok(record.number);
    }
    let store = |error: crate::history::StoreError| Box::new(bench.store_failed(&error, "E0640", false));
    if let Some(known) = world
        .history
        .release_by_digest(&turn.key, &plan.release)
        .map_err(store)?
    {
        let untried = state.candidate == Some(known.number) && state.phase.in_flight();
        if untried || known.stable_at.is_some() || known.revision == turn.commit.revision {
            return Ok(known.number);
        }
    }
    if let Some(open) = state.candidate.filter(|_| state.phase.in_flight()) {
        // A newer commit goes first: what was being tried is never called good.
        world
            .history
            .set_outcome(&turn.key, open, &Outcome::Superseded)
            .map_err(store)?;
    }
    let record = Record {
        key: turn.key.clone(),
        number: 0,
        digest: plan.release.clone(),
        content: plan.content.clone(),
        revision: turn.commit.revision.clone(),
        subject: turn.commit.subject.clone(),
        author: turn.commit.author.clone(),
        images: plan.images.clone(),
        created_at: world.clock.now(),
        outcome: Outcome::InProgress,
        stable_at: None,
        snapshot: Snapshot {
            project: turn.desired.project.clone(),
            rules: turn.desired.rules.clone(),
            places: turn.desired.places.clone(),
            secrets: turn
                .desired
                .mask
                .values()
                .map(|value| Secret::new(value.to_owned()))
                .collect(),
        },
    };
    world.history.record_release(&record).map_err(store)
}

fn no_change(bench: &Bench<'_>, state: AppState, observed: &crate::live::world::Observed) -> End {
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
            target: Some(observed.engine.id.clone()),
            candidate: None,
            blocked: None,
            frozen: None,
            failures: 0,
            last_error: None,
            drift: std::collections::BTreeMap::new(),
            ..state
        };
        if let Err(end) = save(bench.world.history.as_ref(), bench, &state, false) {
            return *end;
        }
    }
    End::NoChange
}

/// No way back, or none wanted: held, and nothing more is changed.
pub(super) fn freeze(
    bench: &Bench<'_>,
    plan: &Plan,
    state: AppState,
    number: u64,
    evidence: Vec<settle::Evidence>,
    gate_took: std::time::Duration,
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
            by: crate::history::HeldBy::Gate,
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
pub(super) fn cause_line(evidence: &[settle::Evidence]) -> String {
    match evidence.first() {
        Some(first) => format!("service/{}: {}", first.service, first.cause.detail),
        None => "its gate failed".to_owned(),
    }
}

/// The fields that Git moved, as `service/api image`.
pub(super) fn changed_fields(plan: &Plan) -> Vec<String> {
    plan.changes
        .iter()
        .flat_map(|change| {
            change
                .fields
                .iter()
                .filter(|field| field.moved == plan::Moved::Git)
                .map(move |field| format!("{} {}", change.key, field.field))
        })
        .collect()
}

fn drifted_fields(plan: &Plan) -> Vec<String> {
    plan.changes
        .iter()
        .filter(|change| change.acts())
        .flat_map(|change| {
            let fields: Vec<String> = change
                .fields
                .iter()
                .map(|field| format!("{} {}", change.key, field.field))
                .collect();
            if fields.is_empty() {
                vec![change.key.to_string()]
            } else {
                fields
            }
        })
        .collect()
}

fn describe(change: &Change) -> String {
    let late = if change.phase == PlanPhase::AfterBake {
        ", after the bake"
    } else {
        ""
    };
    format!("{}: {}{late}", change.key, plan::change::verb(&change.action))
}

fn frozen(look: &Look, hold: &Hold) -> End {
    End::Frozen(Box::new(Frozen {
        evidence: Vec::new(),
        gate_took: std::time::Duration::ZERO,
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
pub(super) fn incident(bench: &Bench<'_>, state: AppState, evidence: &[settle::Evidence]) -> End {
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

fn blocked(bench: &Bench<'_>, state: AppState, digest: Digest, end: End) -> End {
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

fn stale(turn: &Turn) -> End {
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
                retry: error.kind() == crate::live::FailureKind::Retry,
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

/// Calls of a run that died are closed as unknown: what they did is read from live state, never guessed.
fn conclude_journal(turn: &Turn, world: &World) {
    let Ok(open) = world.history.unfinished(&turn.key) else {
        return;
    };
    for (entry, intent) in open {
        let ending = crate::journal::Ending::Unknown {
            error: "the process ended before the answer".to_owned(),
        };
        tracing::info!(app = %turn.key.app, "an unfinished call of an earlier run: {}", intent.op);
        if let Err(error) = world.history.complete(entry, &ending, world.clock.now()) {
            tracing::warn!(app = %turn.key.app, "the journal can't be completed: {error}");
        }
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
    let bench = Bench {
        turn,
        world,
        run: &book.id,
        stop,
        mask: &turn.desired.mask,
    };
    let end = way_back::by_hand(&bench, record, by, &mut notes).await;
    book.close(end, notes)
}

/// Removes an app's containers and networks, and the volumes that the command names.
pub async fn down(turn: &Turn, world: &World, stop: &CancellationToken) -> Run {
    let book = Book::open(turn, world);
    let mut notes = Notes::default();
    let bench = Bench {
        turn,
        world,
        run: &book.id,
        stop,
        mask: &turn.desired.mask,
    };
    let end = take_down(&bench, &mut notes).await;
    book.close(end, notes)
}

async fn take_down(bench: &Bench<'_>, notes: &mut Notes) -> End {
    let (turn, world) = (bench.turn, bench.world);
    let look = match look(turn, world).await {
        Ok(look) => look,
        Err(error) => return look_failed(bench, error),
    };
    let plan = down_plan(turn, world, &look);
    notes.changes = plan
        .changes
        .iter()
        .filter(|change| change.acts())
        .map(describe)
        .collect();
    let approved = match gate::judge(plan, None, &Permit::default()) {
        Ok(approved) => approved,
        Err(refusal) => {
            let digest = look.git.release.clone();
            return refused(bench, look.state, &digest, refusal);
        }
    };
    let applied = crate::apply::apply(&approved, PlanPhase::Apply, bench.hands()).await;
    let late = crate::apply::apply(&approved, PlanPhase::AfterBake, bench.hands()).await;
    if let Some((resource, stood)) = applied.cancelled().or(late.cancelled()) {
        return bench.interrupted(&format!("{resource}, before: {stood}"));
    }
    if let Some((resource, failure)) = applied.failure().or(late.failure()) {
        return End::Failed(Failure {
            stage: Stage::Apply,
            code: "E0623".to_owned(),
            message: bench
                .mask
                .clean(&format!("{resource}: {}: {}", failure.step, failure.why)),
            place: None,
            help: Some("run it again: what is gone stays gone".to_owned()),
            retry: true,
            touched: true,
        });
    }
    let state = AppState {
        phase: Phase::New,
        phase_since: Some(world.clock.now()),
        effective: None,
        candidate: None,
        timers: None,
        ..look.state
    };
    let kept = crate::live::world::Inventory {
        volumes: look
            .inventory
            .volumes
            .iter()
            .filter(|(name, _)| !turn.options.delete_volumes.contains(name))
            .map(|(name, spec)| (name.clone(), spec.clone()))
            .collect(),
        ..crate::live::world::Inventory::default()
    };
    let written = world
        .history
        .put_inventory(&turn.key, &kept)
        .and_then(|()| world.history.save_state(&turn.key, &state))
        .and_then(|()| world.history.unclaim(&turn.key));
    match written {
        Ok(()) => End::Stable {
            healed: false,
            calls: applied.calls() + late.calls(),
        },
        Err(error) => bench.store_failed(&error, "E0640", true),
    }
}

/// The plan of `down`: also what the command shows before it asks.
pub fn down_plan(turn: &Turn, world: &World, look: &Look) -> Plan {
    let (files, data) = (
        world.files(&turn.key).to_string_lossy().into_owned(),
        world.data(&turn.key, &turn.desired.rules),
    );
    let pinned = std::collections::BTreeMap::new();
    let stance = Stance {
        instance: &world.instance,
        effective: look.effective.as_ref(),
        roll_back_from: None,
        prune: crate::render::app::Prune::All,
        adopt: false,
        takeover: turn.options.takeover,
        delete_volumes: &turn.options.delete_volumes,
        files_dir: &files,
        data_dir: &data,
        pinned: &pinned,
    };
    plan::down(&turn.desired, &look.observed, &look.inventory, &stance)
}

/// Restarts services of an app, one after the other in order of their dependencies; nothing is recreated.
pub async fn restart(
    turn: &Turn,
    world: &World,
    services: &[crate::names::ServiceName],
    stop: &CancellationToken,
) -> Run {
    let book = Book::open(turn, world);
    let mut notes = Notes::default();
    let bench = Bench {
        turn,
        world,
        run: &book.id,
        stop,
        mask: &turn.desired.mask,
    };
    let end = restart_services(&bench, services, &mut notes).await;
    book.close(end, notes)
}

async fn restart_services(
    bench: &Bench<'_>,
    services: &[crate::names::ServiceName],
    notes: &mut Notes,
) -> End {
    let (turn, world) = (bench.turn, bench.world);
    let look = match look(turn, world).await {
        Ok(look) => look,
        Err(error) => return look_failed(bench, error),
    };
    if let Err(end) = admit(bench, &look) {
        return *end;
    }
    let plan = plan::restart(&turn.desired, &look.observed, &look.inventory, services);
    notes.changes = plan
        .changes
        .iter()
        .filter(|change| change.acts())
        .map(describe)
        .collect();
    let approved = match gate::judge(plan, None, &Permit::default()) {
        Ok(approved) => approved,
        Err(refusal) => {
            let digest = look.git.release.clone();
            return refused(bench, look.state, &digest, refusal);
        }
    };
    let desired = look
        .effective
        .as_ref()
        .map_or_else(|| turn.desired.as_ref().clone(), super::look::desired_of);
    let mut state = AppState {
        timers: None,
        restarts_before: std::collections::BTreeMap::new(),
        ..look.state
    };
    let (passed, calls) = bench
        .pass(
            &approved,
            &desired,
            (&look.observed, &look.inventory),
            None,
            &mut state,
        )
        .await;
    match passed {
        Passed::Ended(end) => *end,
        Passed::Broke(evidence) => incident(bench, state, &evidence),
        Passed::Settled(settled) => match settled.end {
            settle::End::Healthy => {
                state.timers = None;
                match save(world.history.as_ref(), bench, &state, true) {
                    Ok(()) => End::Stable { healed: true, calls },
                    Err(end) => *end,
                }
            }
            settle::End::Failed(evidence) => incident(bench, state, &evidence),
            settle::End::Disturbed { service, what } => disturbed(format!("{service} was {what}")),
            settle::End::Stopped => bench.interrupted("the restarted services are being verified"),
        },
    }
}

/// Whether a container is kept aside for a rollback.
pub fn is_parked(name: &str) -> bool {
    name.contains(PARKED)
}

/// Whether a plan's change is caused by live state alone.
pub fn is_drift(change: &Change) -> bool {
    change.cause == Cause::Drifted
}

/// The mask of a turn together with that of a stored release.
pub(super) fn joint_mask(turn: &Turn, record: &Record) -> Mask {
    turn.desired.mask.union(&mask_of(record))
}

/// Time since a moment, for reports.
pub fn ago(then: Timestamp, now: Timestamp) -> std::time::Duration {
    elapsed(then, now)
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
