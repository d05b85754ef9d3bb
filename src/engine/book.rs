//! The book of runs: how a run begins, and how it is closed and recorded.
//!
//! In: a [`Turn`], then the run's end and what it noted. Out: the [`Run`]. Guaranteed: every run that did or said something
//! new is in the history; a store that fails does not lose the run's end. Must not: decide how a run ends.

use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::history::RunRow;
use crate::names::{Digest, RunId};
use crate::plan::{self, Action, Change, Phase, Plan};
use crate::progress::Event;
use crate::report::{End, Run, Trigger};

use super::stage::{Bench, since};
use super::world::{Turn, World};

/// What a run gathers besides its end.
#[derive(Default)]
pub(super) struct Notes {
    pub release: Option<(u64, Digest)>,
    pub changes: Vec<String>,
    pub warnings: Vec<String>,
}

impl Notes {
    /// Notes what a plan is about to change.
    pub(super) fn plan(&mut self, plan: &Plan) {
        self.changes = plan
            .changes
            .iter()
            .filter(|change| change.acts() && change.action != Action::Record)
            .map(describe)
            .collect();
    }
}

fn describe(change: &Change) -> String {
    let late = if change.phase == Phase::AfterBake {
        ", after the bake"
    } else {
        ""
    };
    format!("{}: {}{late}", change.key, plan::change::verb(&change.action))
}

/// The record of a run, from its begin to its end.
pub(super) struct Book<'a> {
    turn: &'a Turn,
    world: &'a World,
    id: RunId,
    started: Timestamp,
}

impl<'a> Book<'a> {
    pub(super) fn open(turn: &'a Turn, world: &'a World) -> Self {
        Self {
            turn,
            world,
            id: world.run_id(),
            started: world.clock.now(),
        }
    }

    /// The run at work, with everything that it may use.
    pub(super) fn bench<'b>(&'b self, stop: &'b CancellationToken) -> Bench<'b> {
        Bench {
            turn: self.turn,
            world: self.world,
            run: &self.id,
            stop,
            mask: &self.turn.desired.mask,
        }
    }

    pub(super) fn close(self, end: End, notes: Notes) -> Run {
        let app = self.turn.key.app.clone();
        self.world.progress.event(Event::Over { app });
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
        // A look by the clock or by a watch that found nothing to do is not history: it would bury what happened.
        let by_itself = matches!(run.trigger, Trigger::Tick | Trigger::Drift);
        if !(by_itself && (run.end == End::NoChange || repeats(self.world, &run))) {
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
