//! Who is due: every app that is followed, with what it waits for. Pure.
//!
//! In: what sources want, how runs ended, the time. Out: which apps may run now, and when the next one is due. Guaranteed:
//! requests for one app coalesce into one; the newest commit wins; an app runs after those that it names in `after`, and
//! a failed one is named, not forgotten. Must not: start anything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::names::{AppKey, Digest, Revision};
use crate::render::{App, Desired};
use crate::report::{Failure, Trigger};

use super::world::Commit;

/// An app that is followed.
pub(super) struct Slot {
    /// The place of its source.
    pub source: usize,
    pub interval: Duration,
    pub want: Want,
    /// The target that it names, or named last.
    pub target: Option<String>,
    /// A request that is not served yet.
    pub request: Option<Trigger>,
    /// When it is looked at without any request.
    pub next: Instant,
    /// Since when it could have run, while it waits for its turn.
    pub due_since: Option<Instant>,
    pub running: Option<Running>,
    /// How its last run ended, and for which commit.
    pub last: Option<Last>,
    /// Failed runs in a row.
    pub failures: u32,
    /// Whether the store says when it is tried again.
    pub noted_next: bool,
    /// What was said last about why it is not run, so that it is said once.
    pub said: Option<String>,
    /// When it was healed, for [`CONTENDED_SPAN`].
    pub healed: VecDeque<Instant>,
}

/// So many heals within [`CONTENDED_SPAN`] mean that somebody puts the change back each time.
pub(super) const CONTENDED: usize = 3;
/// See [`CONTENDED`].
pub(super) const CONTENDED_SPAN: Duration = Duration::from_secs(10 * 60);

/// How long what a commit changed has the machine to itself: a commit asks every other app to be looked at, too, which nobody
/// waits for.
pub(super) const HEAD_START: Duration = Duration::from_millis(200);

/// What is wanted of an app.
pub(super) enum Want {
    /// This, of this commit.
    Release {
        app: Box<App>,
        desired: Arc<Desired>,
        commit: Commit,
    },
    /// It can't be used at this commit.
    Broken { revision: Revision, why: Failure },
    /// It is gone from Git.
    Absent,
    /// It is gone from Git and is left as it is.
    Left,
    /// It is gone from Git for long enough: to be taken down.
    Down { commit: Commit },
}

/// A run that is under way.
pub(super) struct Running {
    pub waits: CancellationToken,
    /// When it began, if it brings something new.
    pub news_since: Option<Instant>,
    /// The commit that it counts for.
    pub revision: Option<Revision>,
    /// What it works towards.
    pub content: Option<Digest>,
}

/// How a run ended.
pub(super) struct Last {
    pub revision: Option<Revision>,
    /// Why dependents can't go on.
    pub bad: Option<String>,
}

/// Whether an app may follow those that it names in `after`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// One of them is not done yet.
    Waiting,
    /// One of them failed, with the reason.
    Closed(String),
}

/// What an app is to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Serve its request, or look at it.
    Run,
    /// Look at it, without anything new: its predecessors are not done.
    Keep,
}

impl Slot {
    pub(super) fn new(source: usize, interval: Duration, now: Instant) -> Self {
        Self {
            source,
            interval,
            want: Want::Absent,
            target: None,
            request: None,
            next: now,
            due_since: None,
            running: None,
            last: None,
            failures: 0,
            noted_next: false,
            said: None,
            healed: VecDeque::new(),
        }
    }

    /// Notes a heal. Returns whether it was the one that shows a fight.
    pub(super) fn note_heal(&mut self, now: Instant) -> bool {
        self.forget_heals(now);
        self.healed.push_back(now);
        self.healed.len() == CONTENDED
    }

    /// Whether a change of live state is looked at at once. Where two programs fight over a field, it is looked at with the
    /// interval only: answering each change would make the fight as fast as both can write.
    pub(super) fn may_stir(&mut self, now: Instant) -> bool {
        self.forget_heals(now);
        self.healed.len() < CONTENDED
    }

    fn forget_heals(&mut self, now: Instant) {
        self.healed.retain(|at| now.duration_since(*at) < CONTENDED_SPAN);
    }

    /// The content that is wanted, if there is one.
    pub(super) fn content(&self) -> Option<&Digest> {
        match &self.want {
            Want::Release { desired, .. } => Some(&desired.content),
            _ => None,
        }
    }

    /// The commit that is wanted.
    pub(super) fn revision(&self) -> Option<&Revision> {
        match &self.want {
            Want::Release { commit, .. } => Some(&commit.revision),
            Want::Broken { revision, .. } => Some(revision),
            Want::Absent | Want::Left | Want::Down { .. } => None,
        }
    }

    /// Notes a request; one that says more than the one before takes its place.
    pub(super) fn ask(&mut self, trigger: Trigger) {
        let weight = |trigger: &Trigger| match trigger {
            Trigger::Tick => 0,
            Trigger::Drift => 1,
            Trigger::Recovery => 2,
            Trigger::Commit | Trigger::Person(_) => 3,
        };
        if self
            .request
            .as_ref()
            .is_none_or(|before| weight(before) <= weight(&trigger))
        {
            self.request = Some(trigger);
        }
    }

    /// Ends the waits of a run that works towards something else than what is wanted now.
    pub(super) fn pre_empt(&self) {
        if let Some(running) = &self.running
            && running.content.as_ref() != self.content()
        {
            running.waits.cancel();
        }
    }

    /// Whether its request brings something that predecessors must have first.
    pub(super) fn brings_news(&self) -> bool {
        matches!(
            self.request,
            Some(Trigger::Commit | Trigger::Recovery | Trigger::Person(_))
        )
    }
}

/// All apps, by key.
#[derive(Default)]
pub(super) struct Roster(pub BTreeMap<AppKey, Slot>);

impl Roster {
    /// Whether `key` may follow its predecessors at the commit that it wants.
    pub(super) fn gate(&self, key: &AppKey) -> Gate {
        let Some(Slot {
            want: Want::Release { app, commit, .. },
            ..
        }) = self.0.get(key)
        else {
            return Gate::Open;
        };
        let mut gate = Gate::Open;
        for name in &app.after {
            let first = AppKey {
                source: key.source.clone(),
                app: name.clone(),
            };
            let at = commit.revision.short();
            // One that is not followed can't be waited for; discovery has said so.
            let Some(slot) = self.0.get(&first) else {
                return Gate::Closed(format!("waits for `{name}`, which is not there at {at}"));
            };
            match (&slot.want, &slot.last) {
                (Want::Broken { .. }, _) => {
                    return Gate::Closed(format!("waits for `{name}`, which can't be used at {at}"));
                }
                (Want::Absent | Want::Left | Want::Down { .. }, _) => {
                    return Gate::Closed(format!("waits for `{name}`, which is not there at {at}"));
                }
                (Want::Release { .. }, Some(last)) if last.revision.as_ref() == Some(&commit.revision) => {
                    if let Some(bad) = &last.bad {
                        return Gate::Closed(format!("waits for `{name}` at {at}: {bad}"));
                    }
                }
                (Want::Release { .. }, Some(Last { bad: Some(bad), .. })) if slot.request.is_none() => {
                    return Gate::Closed(format!("waits for `{name}` at {at}: {bad}"));
                }
                (Want::Release { .. }, _) => gate = Gate::Waiting,
            }
        }
        gate
    }

    /// What `key` is to do at `now`, if anything.
    pub(super) fn due(&self, key: &AppKey, now: Instant) -> Option<Due> {
        let slot = self.0.get(key)?;
        if slot.running.is_some() {
            return None;
        }
        let tick = slot.next <= now;
        match &slot.want {
            Want::Absent | Want::Left | Want::Broken { .. } => None,
            Want::Down { .. } => tick.then_some(Due::Run),
            Want::Release { .. } if slot.brings_news() => match self.gate(key) {
                Gate::Open => Some(Due::Run),
                Gate::Waiting | Gate::Closed(_) => tick.then_some(Due::Keep),
            },
            // A look that nobody waits for does not cut a back-off short.
            Want::Release { .. } => {
                (tick || (slot.request.is_some() && slot.failures == 0)).then_some(Due::Run)
            }
        }
    }

    /// Until when looks that nobody waits for are put off.
    pub(super) fn put_off(&self, now: Instant) -> Option<Instant> {
        let running = self.0.values().filter_map(|slot| slot.running.as_ref());
        running
            .filter_map(|running| Some(running.news_since? + HEAD_START))
            .filter(|until| *until > now)
            .max()
    }

    /// When something becomes due by the clock alone.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0
            .values()
            .filter(|slot| {
                slot.running.is_none() && matches!(slot.want, Want::Release { .. } | Want::Down { .. })
            })
            .map(|slot| match slot.due_since {
                // It is due, and there was no room: then at the latest when it has waited for an interval.
                Some(since) => since + slot.interval,
                None => slot.next,
            })
            .min()
    }
}
