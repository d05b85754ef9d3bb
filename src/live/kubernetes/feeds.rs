//! Watches over the kinds that our apps use, so that an app at rest costs no call.
//!
//! In: which objects are ours. Out: whether all of them are as we left them, without asking the server; names of apps whose
//! objects moved, to [`Stirred`]. Guaranteed: a watch is a hint and a list is the truth: each kind is listed again after
//! [`Pace::relist`], and what the events had missed is news then; a watch that was cut, ended, expired (410) or fell silent
//! proves nothing until it is in step again, and the caller reads instead; a kind that may not be watched is never "as we
//! left it". Must not: decide, or read for a run.
//!
//! ```text
//! list ──▶ watch ──closed──▶ watch from where it was
//!  ▲          ├─ 410, or the list is old ──▶ list
//!  └──pause───┴─ cut, refused, silent: out of step
//! ```
//!
//! One watch covers a kind in the whole cluster and shows only objects that bear our instance's label. An account that may
//! not see the whole cluster gets one for each namespace that it asks about.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Api, escape};
use super::kinds::Resource;
use super::ownership;
use super::shelf::Shelf;
use super::world::OwnedObject;
use crate::live::stirred::Stirred;
use crate::live::{LiveError, Problem};
use crate::names::{InstanceName, ObjectKey};

/// What a watching target needs besides its connection.
#[derive(Clone)]
pub struct Watching {
    /// Whose objects are watched.
    pub instance: InstanceName,
    /// Who is told.
    pub stirred: Arc<Stirred>,
    pub pace: Pace,
}

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// After this time the list is read again, whatever the watch said.
    pub relist: Duration,
    /// How long the server keeps one watch open.
    pub keep: Duration,
    /// A watch without any word for this long proves nothing. Servers send a bookmark about once a minute.
    pub silence: Duration,
    /// The first pause after a failure; it doubles, up to [`Pace::longest`].
    pub pause: Duration,
    pub longest: Duration,
    /// A kind that nobody asked about for this long is watched no longer.
    pub idle: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            relist: Duration::from_secs(10 * 60),
            keep: Duration::from_secs(290),
            silence: Duration::from_secs(130),
            pause: Duration::from_millis(200),
            longest: Duration::from_secs(60),
            idle: Duration::from_secs(60 * 60),
        }
    }
}

/// Items of one page of a list.
const PAGE: usize = 500;

/// What one watch covers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    group: String,
    version: String,
    kind: String,
    /// `None`: the whole cluster.
    namespace: Option<String>,
}

impl Subject {
    fn of(key: &ObjectKey, owned: &OwnedObject) -> Self {
        let version = owned
            .api_version
            .rsplit_once('/')
            .map_or(owned.api_version.as_str(), |(_, version)| version);
        Self {
            group: key.group.to_string(),
            version: version.to_owned(),
            kind: key.kind.to_string(),
            namespace: None,
        }
    }

    fn within(&self, namespace: Option<&str>) -> Self {
        Self {
            namespace: namespace.map(str::to_owned),
            ..self.clone()
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.kind)?;
        match &self.namespace {
            Some(namespace) => write!(f, " in {namespace}"),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// Nothing is known yet.
    Opening,
    /// Listed, and followed since.
    InStep,
    /// It was, and something is in the way.
    Behind,
    /// This account may not see it.
    Forbidden,
    /// Nobody asked for long: its task has ended.
    Ended,
}

struct State {
    shelf: Shelf,
    stand: Stand,
    heard: Instant,
    asked: Instant,
}

/// One watch, as its task and its readers share it.
struct Feed(Mutex<State>);

impl Feed {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stand(&self, stand: Stand) {
        let mut state = self.lock();
        state.stand = stand;
        state.heard = Instant::now();
    }
}

/// All watches of one connection. They end with it.
pub(super) struct Feeds {
    api: Api,
    watching: Watching,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    feeds: BTreeMap<Subject, Arc<Feed>>,
    tasks: JoinSet<()>,
}

impl Feeds {
    pub(super) fn new(api: Api, watching: Watching) -> Self {
        Self {
            api,
            watching,
            inner: Mutex::default(),
        }
    }

    /// Whether all these objects are as their last apply left them, by the watches alone. Kinds that are not watched yet
    /// are from now on, and the answer is no. To be called where tasks can be started.
    pub(super) fn as_left(&self, owned: &BTreeMap<ObjectKey, OwnedObject>) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        while inner.tasks.try_join_next().is_some() {}
        // All of them, also after the first no: every kind is to be watched.
        owned.iter().fold(true, |all, (key, owned)| {
            let subject = Subject::of(key, owned);
            let feed = self.feed(&mut inner, &subject);
            let stand = feed.lock().stand;
            let shown = match (stand, key.namespace.as_deref()) {
                (Stand::Forbidden, Some(namespace)) => self
                    .feed(&mut inner, &subject.within(Some(namespace)))
                    .shows(key, owned, self.watching.pace.silence),
                _ => feed.shows(key, owned, self.watching.pace.silence),
            };
            all && shown
        })
    }

    fn feed(&self, inner: &mut Inner, subject: &Subject) -> Arc<Feed> {
        if let Some(feed) = inner.feeds.get(subject) {
            let mut state = feed.lock();
            if state.stand != Stand::Ended {
                state.asked = Instant::now();
                drop(state);
                return Arc::clone(feed);
            }
        }
        let now = Instant::now();
        let feed = Arc::new(Feed(Mutex::new(State {
            shelf: Shelf::default(),
            stand: Stand::Opening,
            heard: now,
            asked: now,
        })));
        let task = Task {
            api: self.api.clone(),
            watching: self.watching.clone(),
            subject: subject.clone(),
            feed: Arc::clone(&feed),
        };
        inner.tasks.spawn(task.follow());
        inner.feeds.insert(subject.clone(), Arc::clone(&feed));
        feed
    }
}

impl Feed {
    fn shows(&self, key: &ObjectKey, owned: &OwnedObject, silence: Duration) -> bool {
        let state = self.lock();
        state.stand == Stand::InStep && state.heard.elapsed() < silence && state.shelf.as_left(key, owned)
    }
}

/// How one watch ended.
enum Over {
    /// As the server ends every watch: it goes on from where it was.
    Closed,
    /// The place where it was is gone from the server's memory: the list is read again.
    Expired,
    /// Cut, silent, or refused.
    Broken(LiveError),
}

/// The one who follows.
struct Task {
    api: Api,
    watching: Watching,
    subject: Subject,
    feed: Arc<Feed>,
}

impl Task {
    async fn follow(self) {
        let pace = self.watching.pace;
        let mut failures = 0;
        loop {
            if self.feed.lock().asked.elapsed() > pace.idle {
                self.feed.stand(Stand::Ended);
                return;
            }
            let error = match self.turn(&mut failures).await {
                Ok(()) => continue,
                Err(error) => error,
            };
            let forbidden = matches!(&error.problem, Problem::Api(refusal) if refusal.status == 403);
            self.feed.stand(if forbidden {
                Stand::Forbidden
            } else {
                Stand::Behind
            });
            failures += 1;
            tracing::debug!(subject = %self.subject, "not watched: {error}");
            // What an account may is rarely changed: asked again slowly.
            let wait = if forbidden {
                pace.longest
            } else {
                paused(pace, failures)
            };
            sleep(wait).await;
        }
    }

    /// One list, and watches from it until it is old.
    async fn turn(&self, failures: &mut u32) -> Result<(), LiveError> {
        let pace = self.watching.pace;
        let Subject {
            group, kind, version, ..
        } = &self.subject;
        let call = format!("watch {}", self.subject);
        let resource = self.api.resource(group, kind, Some(version)).await?;
        let Some(resource) = resource.filter(|found| found.version == *version) else {
            let message = format!("the cluster does not serve the kind `{kind}` as {group}/{version}");
            return Err(LiveError::new(&call, Problem::KindMissing { message }));
        };
        let old = Instant::now() + pace.relist;
        let mut from = self.list(&call, &resource).await?;
        while Instant::now() < old {
            match self.watch(&call, &resource, &mut from, old, failures).await {
                Over::Closed => {}
                Over::Expired => break,
                Over::Broken(error) => {
                    if matches!(&error.problem, Problem::Api(refusal) if refusal.status == 403) {
                        return Err(error);
                    }
                    self.feed.stand(Stand::Behind);
                    *failures += 1;
                    tracing::debug!(subject = %self.subject, "the watch broke: {error}");
                    sleep(paused(pace, *failures)).await;
                }
            }
        }
        Ok(())
    }

    fn path(&self, resource: &Resource) -> String {
        let mark = ownership::label_value(self.watching.instance.as_str());
        let selector = escape(&format!("{}={mark}", ownership::INSTANCE));
        format!(
            "{}?labelSelector={selector}",
            resource.path(self.subject.namespace.as_deref())
        )
    }

    /// Reads the whole list; returns the version that it is of.
    async fn list(&self, call: &str, resource: &Resource) -> Result<String, LiveError> {
        let base = self.path(resource);
        let mut items: Vec<Value> = Vec::new();
        let mut next = String::new();
        let version = loop {
            let mut page = self.api.get(call, &format!("{base}&limit={PAGE}{next}")).await?;
            if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
                items.extend(more);
            }
            let metadata = |name: &str| {
                page.pointer(&format!("/metadata/{name}"))
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            match metadata("continue") {
                token if token.is_empty() => break metadata("resourceVersion"),
                token => next = format!("&continue={}", escape(&token)),
            }
        };
        let mut state = self.feed.lock();
        let missed = state.shelf.replace(&items);
        state.heard = Instant::now();
        drop(state);
        for app in &missed {
            tracing::debug!(subject = %self.subject, app, "the list shows what no event did");
            self.watching.stirred.note(app);
        }
        Ok(version)
    }

    /// One watch from the version `from`, which it moves along.
    async fn watch(
        &self,
        call: &str,
        resource: &Resource,
        from: &mut String,
        old: Instant,
        failures: &mut u32,
    ) -> Over {
        let pace = self.watching.pace;
        let keep = pace.keep.min(old.saturating_duration_since(Instant::now()));
        let path = format!(
            "{}&watch=1&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}",
            self.path(resource),
            escape(from),
            keep.as_secs().max(1)
        );
        let silent = || Over::Broken(LiveError::new(call, Problem::Deadline { after: pace.silence }));
        let mut events = match timeout(pace.silence, self.api.events(call, &path)).await {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => return expired_or(error),
            Err(_) => return silent(),
        };
        self.feed.stand(Stand::InStep);
        loop {
            let event = match timeout(pace.silence, events.next()).await {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => return expired_or(error),
                Ok(None) => return Over::Closed,
                Err(_) => return silent(),
            };
            *failures = 0;
            if let Some(error) = self.take(call, event, from) {
                return expired_or(error);
            }
        }
    }

    /// Takes in one event.
    fn take(&self, call: &str, event: WatchEvent<Value>, from: &mut String) -> Option<LiveError> {
        let mut state = self.feed.lock();
        state.heard = Instant::now();
        let (object, moved) = match &event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, state.shelf.put(object)),
            WatchEvent::Deleted(object) => (object, state.shelf.remove(object)),
            WatchEvent::Bookmark(mark) => {
                from.clone_from(&mark.metadata.resource_version);
                return None;
            }
            WatchEvent::Error(status) => {
                let answer = serde_json::to_value(status).unwrap_or_default();
                let refusal = super::refusal::refusal(&answer, status.code, None);
                return Some(LiveError::new(call, Problem::Api(Box::new(refusal))));
            }
        };
        if let Some(version) = object
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str)
        {
            version.clone_into(from);
        }
        drop(state);
        if let Some(app) = moved {
            self.watching.stirred.note(&app);
        }
        None
    }
}

/// 410 is the server's word for "too old".
fn expired_or(error: LiveError) -> Over {
    match &error.problem {
        Problem::Api(refusal) if refusal.status == 410 => Over::Expired,
        _ => Over::Broken(error),
    }
}

fn paused(pace: Pace, failures: u32) -> Duration {
    let factor = 1u32
        .checked_shl(failures.saturating_sub(1).min(16))
        .unwrap_or(u32::MAX);
    pace.pause.saturating_mul(factor).min(pace.longest)
}
