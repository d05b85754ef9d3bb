//! Who turns the crank: sources that are followed, apps that are due, one run per app at a time.
//!
//! In: sources, the operator's files and engines, a [`Stop`]. Out: runs, recorded by [`cycle`](super::cycle()). Guaranteed: one
//! run per app at a time; a newer commit ends the waits of an older one and goes next; a source that gives nothing changes
//! nothing; one bad or slow app, source or target does not delay another by more than its interval. Must not: read a
//! repository or an engine itself.
//!
//! ```text
//! Follower (one task a source) ──News──▶ Supervisor ──due──▶ run (one task an app)
//!      ▲ poll, watch, bell                  ▲    └─ Roster: who waits for what │
//!      └ renders what changed               └────────────── how it ended ──────┘
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::expand::Expander;
use crate::gate::Permit;
use crate::live::Reach;
use crate::live::stirred::Stirred;
use crate::names::{AppKey, AppName, SourceId};
use crate::render::app::{DriftMode, Needs, SyncMode};
use crate::render::{App, Inputs};
use crate::report::{End, Failure, Run, Stage, Trigger};
use crate::source::GitSource;

use super::chronicle::Chronicle;
use super::follow::{Followed, Follower, INTERRUPTED, News, Trouble};
use super::gone::{TakeDown, TookDown};
use super::moves::Neighbourhood;
use super::orders::{Orders, orders};
use super::roster::{CONTENDED, CONTENDED_SPAN, Due, Gate, Last, Roster, Running, Want};
use super::say;
use super::schedule::{self, NextRun};
use super::shutdown::Stop;
use super::world::{Commit, Options, Turn, World};

/// What the operator gives, asked for anew each time.
#[async_trait]
pub trait Operator: Send + Sync {
    /// Variables, secret files and env files for an app, and what a chart may know of its cluster; its target has to be among
    /// `allowed`, as below. Called on a blocking thread.
    fn inputs(&self, source: &GitSource, allowed: &[String], app: &App) -> Result<Inputs, Failure>;
    /// What runs kustomize and Helm.
    fn expander(&self) -> &Expander;
    /// What an app may reach of its host.
    fn permit(&self, app: &AppName) -> Permit;
    /// The target that the repository names for an app, or the only one; it has to be among `allowed` (empty: all).
    async fn target(
        &self,
        name: Option<&str>,
        allowed: &[String],
        needs: Needs<'_>,
    ) -> Result<Reach, Failure>;
    /// Where the watches of its targets tell whose live state moved.
    fn stirred(&self) -> Arc<Stirred>;
}

/// What turns: [`Engine`], or a test's.
#[async_trait]
pub trait Crank: Send + Sync {
    /// One turn for one app.
    async fn cycle(&self, turn: &Turn, world: &World, stop: &CancellationToken) -> Run;
    /// Takes an app down; volumes stay.
    async fn down(&self, turn: &Turn, world: &World, stop: &CancellationToken) -> Run;
}

/// The real one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Engine;

#[async_trait]
impl Crank for Engine {
    async fn cycle(&self, turn: &Turn, world: &World, stop: &CancellationToken) -> Run {
        super::cycle(turn, world, stop).await
    }

    async fn down(&self, turn: &Turn, world: &World, stop: &CancellationToken) -> Run {
        super::down(turn, world, stop).await
    }
}

/// How fast it goes.
#[derive(Clone, Copy)]
pub struct Pace {
    /// How many runs are under way at once. An app that has waited for its interval runs all the same.
    pub at_once: usize,
    /// How long an app has to be gone from Git before it is taken down.
    pub vanish_after: Duration,
    /// A number between 0 and 1, another one each time.
    pub dice: fn() -> f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            at_once: 8,
            vanish_after: Duration::from_secs(10 * 60),
            dice,
        }
    }
}

fn dice() -> f64 {
    let mut random = [0; 4];
    // Without randomness everybody throws the same: the waits stay right, they are only not spread.
    let _ = getrandom::fill(&mut random);
    f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX)
}

/// The loop.
pub struct Supervisor {
    pub world: World,
    pub sources: Vec<Followed>,
    pub operator: Arc<dyn Operator>,
    pub pace: Pace,
    pub crank: Arc<dyn Crank>,
}

/// Why the loop does not begin.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    #[error("there is nothing to follow")]
    NoSource,
    /// Apps are told apart by source and name, so one repository is followed at one ref.
    #[error("the repository {0} is followed twice")]
    Twice(SourceId),
}

/// How the loop ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Runs that ended at a step boundary.
    pub drained: usize,
    /// Apps whose run was left in the middle; the next start concludes it.
    pub left: Vec<AppKey>,
}

impl Supervisor {
    /// A loop at the usual pace.
    pub fn new(world: World, sources: Vec<Followed>, operator: Arc<dyn Operator>) -> Self {
        Self {
            world,
            sources,
            operator,
            pace: Pace::default(),
            crank: Arc::new(Engine),
        }
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: &Stop) -> Result<Ended, SuperviseError> {
        if self.sources.is_empty() {
            return Err(SuperviseError::NoSource);
        }
        let mut ids = BTreeSet::new();
        if let Some(twice) = self
            .sources
            .iter()
            .find(|followed| !ids.insert(followed.source.id().clone()))
        {
            return Err(SuperviseError::Twice(twice.source.id().clone()));
        }
        let (tell, news) = mpsc::channel(self.sources.len().max(4));
        let sources = self
            .sources
            .iter()
            .map(|followed| Source::new(followed.clone()))
            .collect();
        let mut floor = Floor {
            chronicle: Chronicle::new(self.world.clone()),
            house: self,
            sources,
            roster: Roster::default(),
            runs: JoinSet::new(),
            at_work: HashMap::new(),
            stop: stop.clone(),
        };
        floor.turn(tell, news).await;
        Ok(floor.drain().await)
    }
}

/// What is known of a source.
struct Source {
    followed: Followed,
    trouble: Option<Trouble>,
    commit: Option<Commit>,
    /// Apps that it has, usable or not.
    present: BTreeSet<AppName>,
    /// Whether it holds something without a usable name that can't be read.
    strays: bool,
    /// What was said of missing apps, so that it is said once.
    said: Option<String>,
    /// All its apps at the commit.
    apps: Arc<Neighbourhood>,
}

impl Source {
    fn new(followed: Followed) -> Self {
        Self {
            followed,
            trouble: None,
            commit: None,
            present: BTreeSet::new(),
            strays: false,
            said: None,
            apps: Arc::default(),
        }
    }
}

/// What a task of an app comes back with.
enum Came {
    Run(Box<Run>),
    /// It came to no run.
    Failed(Failure),
    /// It is gone from Git and stays on its engine, with the reason.
    Left(String),
}

/// The loop at work.
struct Floor {
    house: Supervisor,
    chronicle: Chronicle,
    sources: Vec<Source>,
    roster: Roster,
    runs: JoinSet<Came>,
    at_work: HashMap<Id, AppKey>,
    stop: Stop,
}

impl Floor {
    async fn turn(&mut self, tell: mpsc::Sender<News>, mut news: mpsc::Receiver<News>) {
        let mut followers = JoinSet::new();
        let mut followed = HashMap::new();
        for index in 0..self.sources.len() {
            let task = followers.spawn(self.follower(index, &tell).follow());
            followed.insert(task.id(), index);
        }
        let drain = self.stop.drain.clone();
        let stirred = self.house.operator.stirred();
        loop {
            let put_off = self.launch();
            let next = put_off.into_iter().chain(self.roster.next()).min();
            tokio::select! {
                biased;
                // First, so that no run is started or taken for ended by chance; a token stays cancelled.
                () = drain.cancelled() => break,
                // `recv` and `join_next` are cancel-safe by their documentation: what was not returned is still there.
                Some(news) = news.recv() => self.hear(news),
                Some(ended) = self.runs.join_next_with_id() => self.ended(ended),
                // Cancel-safe by its documentation.
                apps = stirred.next() => self.stirred(&apps),
                Some(ended) = followers.join_next_with_id() => {
                    let id = match &ended {
                        Ok((id, ())) => *id,
                        Err(error) => error.id(),
                    };
                    // A follower only returns when the loop ends: this one broke, and is set up again.
                    if let Some(index) = followed.remove(&id) {
                        tracing::error!(source = %self.sources[index].followed.source.id(), "following broke off; it begins anew");
                        let task = followers.spawn(self.follower(index, &tell).follow());
                        followed.insert(task.id(), index);
                    }
                }
                // A timer that loses is made anew from the roster.
                () = until(next) => {}
            }
        }
        // Followers write nothing: they end wherever they are.
        followers.shutdown().await;
    }

    fn follower(&self, index: usize, tell: &mpsc::Sender<News>) -> Follower {
        Follower::new(
            index,
            self.sources[index].followed.clone(),
            Arc::clone(&self.house.operator),
            self.house.pace,
            tell.clone(),
            self.stop.bell(),
            self.stop.drain.clone(),
        )
    }

    /// Waits for runs to end at a step boundary, unless even that is too long.
    async fn drain(mut self) -> Ended {
        let mut ended = Ended::default();
        let leave = self.stop.leave.clone();
        loop {
            tokio::select! {
                // A token stays cancelled.
                () = leave.cancelled() => break,
                // Cancel-safe: a run that was not returned is still in the set.
                came = self.runs.join_next_with_id() => match came {
                    Some(came) => {
                        ended.drained += 1;
                        self.ended(came);
                    }
                    None => break,
                },
            }
        }
        ended.left = self.at_work.values().cloned().collect();
        self.runs.shutdown().await;
        ended
    }

    /// Starts what is due: what commits changed first, then who was asked for, then who has waited longest. Returns when it is
    /// to be asked again, if looks were put off for something new.
    fn launch(&mut self) -> Option<Instant> {
        if self.stop.drain.is_cancelled() {
            return None;
        }
        let now = Instant::now();
        let mut due: Vec<((bool, bool), Instant, AppKey, Due)> = Vec::new();
        let mut closed = Vec::new();
        for key in self.roster.0.keys() {
            if let Some(slot) = self.roster.0.get(key)
                && slot.running.is_none()
                && matches!(slot.request, Some(Trigger::Commit | Trigger::Recovery))
                && let Gate::Closed(why) = self.roster.gate(key)
                && slot.said.as_ref() != Some(&why)
            {
                closed.push((key.clone(), why));
            }
        }
        for (key, why) in closed {
            self.wait_for(&key, why);
        }
        let keys: Vec<AppKey> = self.roster.0.keys().cloned().collect();
        for key in keys {
            let what = self.roster.due(&key, now);
            let Some(slot) = self.roster.0.get_mut(&key) else {
                continue;
            };
            match what {
                None => slot.due_since = None,
                Some(what) => {
                    let since = *slot.due_since.get_or_insert(now);
                    let rank = (!slot.brings_news(), slot.request.is_none());
                    due.push((rank, since, key, what));
                }
            }
        }
        due.sort_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
        let (news, looks): (Vec<_>, Vec<_>) = due.into_iter().partition(|((look, _), ..)| !look);
        for (_, since, key, what) in news {
            let overdue = self.overdue(&key, since, now);
            if self.has_room() || overdue {
                self.start(&key, what);
            }
        }
        let put_off = self.roster.put_off(now);
        for (_, since, key, what) in looks {
            let overdue = self.overdue(&key, since, now);
            if (self.has_room() && put_off.is_none()) || overdue {
                self.start(&key, what);
            }
        }
        put_off
    }

    fn has_room(&self) -> bool {
        self.runs.len() < self.house.pace.at_once
    }

    /// An app that has waited for an interval runs beside the others: slow ones must not hold it up.
    fn overdue(&self, key: &AppKey, since: Instant, now: Instant) -> bool {
        self.roster
            .0
            .get(key)
            .is_some_and(|slot| since + slot.interval <= now)
    }

    /// Says once that an app waits for one that failed.
    fn wait_for(&mut self, key: &AppKey, why: String) {
        let Some(slot) = self.roster.0.get_mut(key) else {
            return;
        };
        let Want::Release { commit, .. } = &slot.want else {
            return;
        };
        let commit = commit.clone();
        slot.said = Some(why.clone());
        let run = self.chronicle.refused(
            key,
            &commit,
            WAITS,
            why,
            "it follows by itself once that one is well",
        );
        say::run(&run, 0, None);
    }

    fn start(&mut self, key: &AppKey, what: Due) {
        let Some(slot) = self.roster.0.get_mut(key) else {
            return;
        };
        slot.due_since = None;
        let news = what == Due::Run && slot.brings_news();
        let followed = &self.sources[slot.source].followed;
        let (operator, crank) = (Arc::clone(&self.house.operator), Arc::clone(&self.house.crank));
        let (world, drain) = (self.house.world.clone(), self.stop.drain.clone());
        let allowed = followed.targets.clone();
        let waits = drain.child_token();
        let (revision, content, task) = match &slot.want {
            Want::Absent | Want::Left | Want::Broken { .. } => return,
            Want::Down { commit } => {
                let down = TakeDown {
                    key: key.clone(),
                    commit: commit.clone(),
                    target: slot.target.clone(),
                    allowed,
                    waits: waits.clone(),
                };
                let task = self.runs.spawn(async move {
                    match down.run(operator.as_ref(), crank.as_ref(), &world, &drain).await {
                        Ok(TookDown::Run(run)) => Came::Run(run),
                        Ok(TookDown::Left(why)) => Came::Left(why),
                        Err(failure) => Came::Failed(failure),
                    }
                });
                (None, None, task)
            }
            Want::Release { app, desired, commit } => {
                let manual = app.rules.sync == SyncMode::Manual;
                let found = if manual || what == Due::Keep {
                    orders(&world, key, desired, what == Due::Keep)
                } else {
                    Ok(Orders::Git)
                };
                let (wanted, at) = match found {
                    Ok(Orders::Git) => (Arc::clone(desired), commit.clone()),
                    Ok(Orders::Effective { desired, commit, why }) => {
                        if slot.said.as_ref() != Some(&why) && what == Due::Run {
                            tracing::info!(app = %key.app, "{why}");
                            slot.said = Some(why);
                        }
                        (Arc::new(*desired), commit)
                    }
                    Ok(Orders::Rest(why)) => {
                        if what == Due::Run {
                            slot.request = None;
                            slot.last = Some(Last {
                                revision: Some(commit.revision.clone()),
                                bad: None,
                            });
                        }
                        slot.next = Instant::now() + schedule::tick(slot.interval, (self.house.pace.dice)());
                        if slot.said.as_ref() != Some(&why) {
                            tracing::info!(app = %key.app, "{why}");
                            slot.said = Some(why);
                        }
                        return;
                    }
                    Err(error) => {
                        tracing::error!(app = %key.app, "the store can't be read: {error}");
                        slot.next = Instant::now() + schedule::tick(slot.interval, (self.house.pace.dice)());
                        return;
                    }
                };
                let trigger = match what {
                    Due::Run => slot.request.take().unwrap_or(Trigger::Tick),
                    Due::Keep => Trigger::Tick,
                };
                let mut permit = operator.permit(&app.name);
                permit.unattended = true;
                let options = Options {
                    permit,
                    report_drift: app.rules.drift == DriftMode::Report,
                    ..Options::default()
                };
                let (name, content) = (app.target.clone(), wanted.content.clone());
                let neighbours = Arc::clone(&self.sources[slot.source].apps);
                let (key, waits) = (key.clone(), waits.clone());
                let revision = (what == Due::Run).then(|| commit.revision.clone());
                let task = self.runs.spawn(async move {
                    let target = match operator.target(name.as_deref(), &allowed, wanted.needs()).await {
                        Ok(target) => target,
                        Err(failure) => return Came::Failed(failure),
                    };
                    let turn = Turn {
                        key,
                        target,
                        desired: wanted,
                        commit: at,
                        neighbours,
                        trigger,
                        options,
                        waits,
                    };
                    Came::Run(Box::new(crank.cycle(&turn, &world, &drain).await))
                });
                (revision, Some(content), task)
            }
        };
        self.at_work.insert(task.id(), key.clone());
        self.chronicle.busy(key);
        slot.running = Some(Running {
            waits,
            news_since: news.then(Instant::now),
            revision,
            content,
        });
    }

    fn ended(&mut self, ended: Result<(Id, Came), JoinError>) {
        let (id, came) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                let failure = Failure {
                    stage: Stage::Apply,
                    code: INTERRUPTED.to_owned(),
                    message: "the run broke off; this is a bug".to_owned(),
                    place: None,
                    help: Some("please report it with the log around this line".to_owned()),
                    retry: true,
                    touched: true,
                };
                (error.id(), Came::Failed(failure))
            }
        };
        let Some(key) = self.at_work.remove(&id) else {
            return;
        };
        self.chronicle.idle(&key);
        let Some(slot) = self.roster.0.get_mut(&key) else {
            return;
        };
        let running = slot.running.take();
        let dice = (self.house.pace.dice)();
        let at = running.and_then(|running| running.revision);
        let run = match came {
            Came::Run(run) => *run,
            Came::Failed(failure) => {
                let (commit, trigger) = match &slot.want {
                    Want::Release { commit, .. } | Want::Down { commit } => (commit.clone(), Trigger::Tick),
                    _ => return,
                };
                self.chronicle.failed(&key, &commit, trigger, failure)
            }
            Came::Left(why) => {
                slot.want = Want::Left;
                tracing::warn!(app = %key.app, "it is gone from Git; {why}");
                return;
            }
        };
        let failed = schedule::is_failure(&run);
        slot.failures = if failed {
            slot.failures.saturating_add(1)
        } else {
            0
        };
        let next = schedule::next_run(&run, slot.failures);
        let delay = next.delay(slot.interval, dice);
        let now = Instant::now();
        let healed = matches!(&run.end, End::Stable { healed: true, .. })
            || matches!(&run.end, End::Held { healed, .. } if *healed > 0);
        if healed && slot.note_heal(now) {
            tracing::warn!(app = %key.app, "healed {CONTENDED} times within {} minutes: somebody puts the change back each time; from now on it is looked at every {}s only", CONTENDED_SPAN.as_secs() / 60, slot.interval.as_secs());
        }
        slot.next = now + delay.unwrap_or(slot.interval);
        if matches!(slot.want, Want::Down { .. }) && !failed && next != NextRun::Never {
            slot.want = Want::Absent;
        }
        if at.is_some() && say::concludes(&run) {
            slot.last = Some(Last {
                revision: at,
                bad: say::bad(&run),
            });
        }
        if failed || std::mem::replace(&mut slot.noted_next, failed) {
            slot.noted_next = failed;
            self.chronicle.next_attempt(&key, delay.filter(|_| failed));
        }
        say::run(
            &run,
            slot.failures,
            delay.filter(|_| failed || next == NextRun::OnChange),
        );
    }
}

/// An app that is left out because one before it failed.
pub(super) const WAITS: &str = "E0630";
/// Too many apps are gone at once.
pub(super) const TOO_MANY: &str = "E0631";

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

mod hearing;
#[cfg(test)]
mod tests;
