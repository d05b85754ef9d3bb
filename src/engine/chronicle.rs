//! What the loop itself writes down: errors of sources, apps that can't be used, when something is tried again.
//!
//! In: what the supervisor learns. Out: the same in the store, for `status` and `why`. Guaranteed: an app's state is never
//! written while its run is at work (which holds a copy of it): what came up meanwhile is written when it ends; what is
//! in the store already is not written again. Must not: decide.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{Timestamp, elapsed};
use crate::history::{AppState, BlockedBy, RunRow, StoreError, Vanished};
use crate::names::{AppKey, Revision, SourceId};
use crate::report::{End, Failure, Obstacle, Run, Trigger};

use super::vanish::FETCHES;
use super::world::{Commit, World};

/// A change of an app's state; returns whether there was anything to change.
type Amend = Box<dyn FnOnce(&mut AppState) -> bool + Send>;

pub(super) struct Chronicle {
    world: World,
    /// Apps with a run at work, and what is to be written after it.
    busy: BTreeMap<AppKey, Vec<Amend>>,
}

impl Chronicle {
    pub(super) fn new(world: World) -> Self {
        Self {
            world,
            busy: BTreeMap::new(),
        }
    }

    /// A run of `key` begins: its state is not touched until [`Chronicle::idle`].
    pub(super) fn busy(&mut self, key: &AppKey) {
        self.busy.entry(key.clone()).or_default();
    }

    pub(super) fn idle(&mut self, key: &AppKey) {
        for amend in self.busy.remove(key).unwrap_or_default() {
            self.amend(key, amend);
        }
    }

    /// All apps of a source that the store knows.
    pub(super) fn known(&self, source: &SourceId) -> Vec<AppKey> {
        self.entries(source, false)
    }

    /// Those of them that own something on an engine.
    pub(super) fn owning(&self, source: &SourceId) -> Vec<AppKey> {
        self.entries(source, true)
    }

    fn entries(&self, source: &SourceId, owning: bool) -> Vec<AppKey> {
        match self.world.history.apps() {
            Ok(apps) => apps
                .into_iter()
                .filter(|entry| entry.key.source == *source && (!owning || entry.project.is_some()))
                .map(|entry| entry.key)
                .collect(),
            Err(error) => {
                tracing::error!(source = %source, "the store can't be read: {error}");
                Vec::new()
            }
        }
    }

    /// What sets off the first run of an app in this process.
    pub(super) fn first(&self, key: &AppKey, revision: &Revision) -> Trigger {
        match self.world.history.state(key) {
            Ok(state) if state.phase.in_flight() => Trigger::Recovery,
            Ok(state) if state.last_seen.as_ref() == Some(revision) => Trigger::Tick,
            _ => Trigger::Commit,
        }
    }

    /// Notes why an app can't go on, unless that is what is noted.
    pub(super) fn error(&mut self, key: &AppKey, code: &str, text: &str) {
        let now = self.now();
        let (code, text) = (code.to_owned(), text.to_owned());
        self.amend(key, Box::new(move |state| note_error(state, code, text, now)));
    }

    /// Takes the note back if it is about `code`.
    pub(super) fn no_error(&mut self, key: &AppKey, code: &str) {
        let code = code.to_owned();
        self.amend(
            key,
            Box::new(move |state| {
                let about = state.last_error.as_ref().is_some_and(|last| last.code == code);
                if about {
                    state.last_error = None;
                }
                about
            }),
        );
    }

    /// The app is in Git.
    pub(super) fn present(&mut self, key: &AppKey) {
        self.amend(key, Box::new(|state| state.vanished.take().is_some()));
    }

    /// The app is not in Git, by one more look if it counts. Looks so far, and for how long it is gone.
    pub(super) fn missed(&mut self, key: &AppKey, counts: bool) -> (u32, Duration) {
        let now = self.now();
        let before = match self.world.history.state(key) {
            Ok(state) => state.vanished,
            Err(error) => {
                tracing::error!(app = %key.app, "the store can't be read: {error}");
                return (0, Duration::ZERO);
            }
        };
        if !counts {
            return before.map_or((0, Duration::ZERO), |gone| {
                (gone.fetches, elapsed(gone.since, now))
            });
        }
        let mut gone = before.unwrap_or(Vanished {
            fetches: 0,
            since: now,
        });
        // Beyond what is asked for, another look says nothing new and is not worth a write.
        if gone.fetches < FETCHES {
            gone.fetches += 1;
            let noted = gone.clone();
            self.amend(
                key,
                Box::new(move |state| {
                    state.vanished = Some(noted);
                    true
                }),
            );
        }
        (gone.fetches, elapsed(gone.since, now))
    }

    /// When a failed app is tried again; `None`: there is nothing to try again.
    pub(super) fn next_attempt(&mut self, key: &AppKey, after: Option<Duration>) {
        let at = after.and_then(|after| self.now().checked_add(after).ok());
        self.amend(
            key,
            Box::new(move |state| {
                let new = state.next_attempt != at;
                state.next_attempt = at;
                new
            }),
        );
    }

    /// A run that came to nothing before it began: recorded, and noted as the app's last error.
    pub(super) fn failed(
        &mut self,
        key: &AppKey,
        commit: &Commit,
        trigger: Trigger,
        failure: Failure,
    ) -> Run {
        let place = failure
            .place
            .as_ref()
            .map_or_else(String::new, |place| format!("{place}: "));
        let text = format!("{place}{}", failure.message);
        self.error(key, &failure.code, &text);
        self.record(key, commit, trigger, End::Failed(failure))
    }

    /// An app that is left out, with the reason.
    pub(super) fn refused(
        &mut self,
        key: &AppKey,
        commit: &Commit,
        code: &str,
        why: String,
        help: &str,
    ) -> Run {
        self.error(key, code, &why);
        let problem = Obstacle {
            code: code.to_owned(),
            message: why,
            place: None,
            help: Some(help.to_owned()),
            pre_flight: false,
        };
        self.record(
            key,
            commit,
            Trigger::Commit,
            End::Refused {
                problems: vec![problem],
            },
        )
    }

    /// Records a run that is not the repetition of the one before.
    fn record(&self, key: &AppKey, commit: &Commit, trigger: Trigger, end: End) -> Run {
        let now = self.now();
        let run = Run {
            id: self.world.run_id(),
            key: key.clone(),
            target: String::new(),
            trigger,
            started: now,
            took: Duration::ZERO,
            revision: Some(commit.revision.clone()),
            subject: commit.subject.clone(),
            release: None,
            end,
            changes: Vec::new(),
            warnings: Vec::new(),
        };
        if let Err(error) = self.write(&run, now) {
            tracing::error!(app = %key.app, "the run can't be recorded: {error}");
        }
        run
    }

    fn write(&self, run: &Run, now: Timestamp) -> Result<(), StoreError> {
        let report = serde_json::to_value(run).unwrap_or_default();
        let before = self.world.history.runs(&run.key, 1)?;
        let repeated = before.first().is_some_and(|before| {
            before.revision == run.revision && before.report.get("end") == report.get("end")
        });
        if repeated {
            return Ok(());
        }
        self.world.history.record_run(&RunRow {
            id: run.id.clone(),
            key: run.key.clone(),
            trigger: "serve".to_owned(),
            started: run.started,
            ended: Some(now),
            revision: run.revision.clone(),
            release: None,
            report,
            exit_code: i32::from(run.exit().code()),
        })
    }

    fn amend(&mut self, key: &AppKey, amend: Amend) {
        if let Some(later) = self.busy.get_mut(key) {
            later.push(amend);
            return;
        }
        let written = self.world.history.state(key).and_then(|mut state| {
            if amend(&mut state) {
                self.world.history.save_state(key, &state)
            } else {
                Ok(())
            }
        });
        if let Err(error) = written {
            tracing::error!(app = %key.app, "the state can't be saved: {error}");
        }
    }

    fn now(&self) -> Timestamp {
        self.world.clock.now()
    }
}

fn note_error(state: &mut AppState, code: String, text: String, now: Timestamp) -> bool {
    let same = state.last_error.as_ref().filter(|last| last.code == code);
    if same.is_some_and(|last| last.text == text) {
        return false;
    }
    let since = same.map_or(now, |last| last.since);
    state.last_error = Some(BlockedBy {
        code,
        text,
        since,
        digest: None,
    });
    true
}
