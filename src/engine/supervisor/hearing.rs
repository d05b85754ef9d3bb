//! What news from a source mean: which apps want what, which are broken, and which are missing.
//!
//! In: [`News`] of a follower. Out: what each app's slot wants, and what the chronicle notes. Guaranteed: a source that gives
//! nothing changes nothing; a missing app is counted before it is gone. Must not: start a run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::live::kubernetes::ownership::label_value;
use crate::names::{AppKey, AppName};
use crate::render::app::SyncMode;
use crate::render::{App, Desired};
use crate::report::{Failure, Trigger};

use super::super::follow::{News, Reading, Trouble, What};
use super::super::moves::{Neighbour, Neighbourhood};
use super::super::roster::{Slot, Want};
use super::super::say;
use super::super::vanish::{Census, Fate, fate};
use super::super::world::Commit;
use super::{Floor, TOO_MANY};

impl Floor {
    pub(super) fn hear(&mut self, news: News) {
        let index = news.source;
        match news.what {
            What::Trouble(trouble) => self.trouble(index, trouble),
            What::Unchanged => {
                self.recovered(index);
                self.missing(index);
            }
            What::Read(reading) => {
                self.recovered(index);
                self.read(index, reading);
                self.missing(index);
            }
        }
    }

    /// A watch saw that live state of these apps moved: each is looked at, now.
    pub(super) fn stirred(&mut self, apps: &BTreeSet<String>) {
        let now = Instant::now();
        for (key, slot) in &mut self.roster.0 {
            if apps.contains(&label_value(key.app.as_str())) && slot.may_stir(now) {
                slot.ask(Trigger::Drift);
            }
        }
    }

    /// A source gave nothing: it is said, and nothing live is changed for it.
    fn trouble(&mut self, index: usize, trouble: Trouble) {
        let source = &mut self.sources[index];
        if source.trouble.as_ref() == Some(&trouble) {
            return;
        }
        let id = source.followed.source.id().clone();
        let hint = trouble.help.as_deref().unwrap_or("it is tried again");
        tracing::warn!(source = %id, code = trouble.code, "{}; nothing is changed ({hint})", trouble.text);
        source.trouble = Some(trouble.clone());
        let mut keys: BTreeSet<AppKey> = self.chronicle.known(&id).into_iter().collect();
        keys.extend(self.roster.0.keys().filter(|key| key.source == id).cloned());
        for key in keys {
            self.chronicle.error(&key, &trouble.code, &trouble.text);
        }
    }

    fn recovered(&mut self, index: usize) {
        let source = &mut self.sources[index];
        let Some(trouble) = source.trouble.take() else {
            return;
        };
        let id = source.followed.source.id().clone();
        tracing::info!(source = %id, "it can be read again");
        for key in self.chronicle.known(&id) {
            self.chronicle.no_error(&key, &trouble.code);
        }
    }

    fn read(&mut self, index: usize, reading: Reading) {
        let source = &mut self.sources[index];
        let id = source.followed.source.id().clone();
        let interval = source.followed.interval;
        let commit = reading.commit;
        let moved = source
            .commit
            .as_ref()
            .is_none_or(|before| before.revision != commit.revision);
        if moved {
            tracing::info!(source = %id, revision = commit.revision.short(), apps = reading.apps.len(), "{:?}", commit.subject);
        }
        source.commit = Some(commit.clone());
        source.present.clear();
        source.strays = false;
        source.said = None;
        let key = |app: AppName| AppKey {
            source: id.clone(),
            app,
        };
        let mut around = Neighbourhood::default();
        for one in &reading.apps {
            let neighbour = Neighbour {
                target: one.app.target.clone(),
                manual: one.app.rules.sync == SyncMode::Manual,
                desired: one.result.as_ref().ok().map(Arc::clone),
            };
            around.apps.insert(one.app.name.clone(), neighbour);
        }
        for one in reading.apps {
            let key = key(one.app.name.clone());
            self.sources[index].present.insert(key.app.clone());
            match one.result {
                Ok(desired) => self.want(&key, index, interval, one.app, desired, &commit),
                Err(why) => self.broken(&key, index, interval, &commit, why),
            }
        }
        for (name, why) in reading.broken {
            match AppName::try_from(name.as_str()) {
                Ok(app) => {
                    let known = self.roster.0.contains_key(&key(app.clone()))
                        || self.chronicle.known(&id).iter().any(|known| known.app == app);
                    // A name that nothing is known by may be a known app's folder.
                    self.sources[index].strays |= !known;
                    self.sources[index].present.insert(app.clone());
                    let unusable = Neighbour {
                        target: None,
                        manual: false,
                        desired: None,
                    };
                    around.apps.entry(app.clone()).or_insert(unusable);
                    self.broken(&key(app), index, interval, &commit, why);
                }
                Err(_) => {
                    self.sources[index].strays = true;
                    if moved {
                        tracing::warn!(source = %id, code = why.code, "{name} can't be used: {}", why.message);
                    }
                }
            }
        }
        around.uncertain = self.sources[index].strays;
        self.sources[index].apps = Arc::new(around);
        let present = &self.sources[index].present;
        for (key, slot) in &mut self.roster.0 {
            let gone = key.source == id && !present.contains(&key.app);
            if gone && !matches!(slot.want, Want::Absent | Want::Left | Want::Down { .. }) {
                tracing::warn!(app = %key.app, "it is gone from {id} at {}; nothing is taken down yet", commit.revision.short());
                slot.want = Want::Absent;
                slot.request = None;
            }
        }
    }

    fn want(
        &mut self,
        key: &AppKey,
        index: usize,
        interval: Duration,
        app: App,
        desired: Arc<Desired>,
        commit: &Commit,
    ) {
        let now = Instant::now();
        let known = self.roster.0.contains_key(key);
        let first = if known {
            Trigger::Commit
        } else {
            self.chronicle.first(key, &commit.revision)
        };
        let slot = self
            .roster
            .0
            .entry(key.clone())
            .or_insert_with(|| Slot::new(index, interval, now));
        let before = slot.content().cloned();
        let same_commit = slot.revision() == Some(&commit.revision);
        let returned = matches!(slot.want, Want::Absent | Want::Left | Want::Down { .. });
        let new = before.as_ref() != Some(&desired.content);
        // Other rules may want something else of the same content.
        let other_rules =
            matches!(&slot.want, Want::Release { app: before, .. } if before.rules != app.rules);
        slot.target = app.target.clone();
        slot.want = Want::Release {
            app: Box::new(app),
            desired,
            commit: commit.clone(),
        };
        slot.said = None;
        if new {
            slot.ask(first);
            // A commit that changes the app is a new chance: it does not wait for the back-off of the old one.
            slot.failures = 0;
            slot.pre_empt();
        } else if other_rules {
            slot.ask(Trigger::Commit);
        } else if !same_commit {
            slot.ask(Trigger::Tick);
        }
        if returned {
            self.chronicle.present(key);
        }
    }

    fn broken(&mut self, key: &AppKey, index: usize, interval: Duration, commit: &Commit, why: Failure) {
        let now = Instant::now();
        let slot = self
            .roster
            .0
            .entry(key.clone())
            .or_insert_with(|| Slot::new(index, interval, now));
        if let Want::Broken {
            revision,
            why: before,
        } = &slot.want
            && *revision == commit.revision
            && *before == why
        {
            return;
        }
        slot.want = Want::Broken {
            revision: commit.revision.clone(),
            why: why.clone(),
        };
        slot.request = None;
        let run = self.chronicle.failed(key, commit, Trigger::Commit, why);
        say::run(&run, 0, None);
        self.chronicle.present(key);
    }

    /// Apps that the store knows and the source no longer has (decision 25).
    fn missing(&mut self, index: usize) {
        let source = &self.sources[index];
        let Some(commit) = source.commit.clone() else {
            return;
        };
        let id = source.followed.source.id().clone();
        let known = self.chronicle.owning(&id);
        let absent: Vec<AppKey> = known
            .iter()
            .filter(|key| !source.present.contains(&key.app))
            .cloned()
            .collect();
        if absent.is_empty() {
            return;
        }
        let census = Census {
            known: known.len(),
            absent: absent.len(),
            present: source.present.len(),
            uncertain: source.strays,
        };
        let mut say = None;
        for key in absent {
            let busy = self.roster.0.get(&key).is_some_and(|slot| {
                slot.running.is_some() || matches!(slot.want, Want::Down { .. } | Want::Left)
            });
            if busy {
                continue;
            }
            let counted = !census.uncertain && census.present > 0;
            let (fetches, gone_for) = self.chronicle.missed(&key, counted);
            match fate(&census, fetches, gone_for, self.house.pace.vanish_after) {
                Fate::Wait => {}
                Fate::Unknown => {
                    say = Some(format!(
                        "{} can't be told to be gone: {}",
                        key.app,
                        match census.present {
                            0 => "the source shows no app at all",
                            _ => "something in it can't be read",
                        }
                    ));
                }
                Fate::TooMany => {
                    let text = format!(
                        "{} of {} apps are gone from Git: too many to take down without a person",
                        census.absent, census.known
                    );
                    self.chronicle.error(&key, TOO_MANY, &text);
                    say = Some(format!("{text} (driftless down {})", key.app));
                }
                Fate::Down => {
                    let interval = self.sources[index].followed.interval;
                    let now = Instant::now();
                    let slot = self
                        .roster
                        .0
                        .entry(key)
                        .or_insert_with(|| Slot::new(index, interval, now));
                    slot.want = Want::Down {
                        commit: commit.clone(),
                    };
                    slot.next = now;
                }
            }
        }
        let source = &mut self.sources[index];
        if say.is_some() && source.said != say {
            tracing::warn!(source = %id, "{}; nothing is taken down", say.as_deref().unwrap_or_default());
            source.said = say;
        }
    }
}
