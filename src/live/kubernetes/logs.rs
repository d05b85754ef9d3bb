//! What the containers of pods print.
//!
//! In: the objects whose pods are meant, and which lines. Out: [`Told`]. Guaranteed: pods are found by who controls them, through
//! a ReplicaSet or a Job as well; where it is followed, a pod that comes is followed too, a container that restarts goes on
//! without a line told twice, a pod that ends is no error, and a server that is away is waited for. Must not: mask.
//!
//! ```text
//! pods: list, then watch ──▶ a container began ──▶ its log ──ended, and it runs again──▶ its log, after the last line told
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream, SelectAll};
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::client::{Api, escape};
use super::world::PodContainer;
use crate::clock::Timestamp;
use crate::live::lines::Lines;
use crate::live::{FailureKind, LiveError, Problem};
use crate::names::ObjectKey;

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub struct LogAsk {
    /// The last so many of each container.
    pub tail: usize,
    /// Only what is younger than this.
    pub since: Option<Duration>,
    /// Go on with what is printed from now on, and with pods that come.
    pub follow: bool,
}

/// What is told, in this order: all that is there, that this is all, and then what they print.
#[derive(Debug)]
pub enum Told<'a> {
    /// A container; before any line of it.
    Found(&'a PodContainer),
    /// All that there are now have been found.
    Listed,
    Line {
        of: &'a PodContainer,
        /// When it was printed, as the node wrote it.
        at: &'a str,
        text: &'a str,
    },
    /// Why something is missing: of a container, or of all.
    Note {
        of: Option<&'a PodContainer>,
        text: String,
    },
}

/// Items of one page of a list.
const PAGE: usize = 500;
/// How long the server keeps one watch open.
const KEEP: Duration = Duration::from_secs(290);
/// A watch without any word for this long is given up. Servers send a bookmark about once a minute.
const SILENCE: Duration = Duration::from_secs(130);
/// How often pods are listed where they may not be watched.
const POLL: Duration = Duration::from_secs(3);
/// The longest pause after failures.
const LONGEST: Duration = Duration::from_secs(30);

/// Tells what the containers printed so far, one after the other, each whole.
pub(super) async fn read(
    api: &Api,
    owners: &[ObjectKey],
    ask: &LogAsk,
    tell: &mut (dyn for<'t> FnMut(Told<'t>) + Send),
) -> Result<(), LiveError> {
    let mut family = Family::new(api, owners);
    let mut found = Vec::new();
    for namespace in family.namespaces() {
        for pod in list(api, &pods_of(&namespace)).await?.0 {
            if family.has(&pod).await? {
                found.extend(containers(&pod));
            }
        }
    }
    found.iter().for_each(|one| tell(Told::Found(&one.at)));
    tell(Told::Listed);
    let mut failed = None;
    for one in &found {
        if let Some(text) = one.waits() {
            let of = Some(&one.at);
            tell(Told::Note { of, text });
            continue;
        }
        let ended = match lines(api, &one.at, &Part::last(ask)).await {
            Ok(mut lines) => loop {
                match lines.next().await {
                    Some(Ok(line)) => {
                        let (at, text) = stamped(&line);
                        let of = &one.at;
                        tell(Told::Line { of, at, text });
                    }
                    Some(Err(error)) => break Err(error),
                    None => break Ok(()),
                }
            },
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => {}
            Err(error) if error.kind() == FailureKind::NeedsOperator => return Err(error),
            Err(error) => {
                if !is_gone(&error) {
                    let (of, text) = (Some(&one.at), error.problem.to_string());
                    tell(Told::Note { of, text });
                    failed.get_or_insert(error);
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Tells what the containers print, and those that come, for as long as it is polled. Only what nobody can help ends it.
pub(super) async fn follow(
    api: &Api,
    owners: &[ObjectKey],
    ask: &LogAsk,
    tell: &mut (dyn for<'t> FnMut(Told<'t>) + Send),
) -> Result<(), LiveError> {
    let mut family = Family::new(api, owners);
    let namespaces = family.namespaces();
    let mut unlisted = namespaces.len();
    if unlisted == 0 {
        tell(Told::Listed);
    }
    let mut news: SelectAll<BoxStream<'static, News>> = SelectAll::new();
    news.extend(namespaces.iter().map(|namespace| Pods::follow(api, namespace)));
    let mut all: BTreeMap<Key, Followed> = BTreeMap::new();
    let mut away = false;
    while let Some(next) = news.next().await {
        let trouble = match next {
            News::Pod(pod) => match family.has(&pod).await {
                Ok(false) => None,
                Ok(true) => {
                    away = false;
                    for seen in containers(&pod) {
                        if !all.contains_key(&seen.key) {
                            tell(Told::Found(&seen.at));
                        }
                        let one = all
                            .entry(seen.key.clone())
                            .or_insert_with(|| Followed::new(seen.clone()));
                        one.seen = seen;
                        if unlisted == 0 && one.is_due() {
                            news.push(one.open(api, Duration::ZERO));
                        }
                    }
                    None
                }
                Err(error) => Some(error),
            },
            News::Listed => {
                away = false;
                if unlisted == 1 {
                    tell(Told::Listed);
                    for one in all.values_mut() {
                        if let Some(text) = one.seen.waits() {
                            let of = Some(&one.seen.at);
                            tell(Told::Note { of, text });
                        } else {
                            one.part = Part::last(ask);
                            one.read.clone_from(&one.seen.id);
                            news.push(one.open(api, Duration::ZERO));
                        }
                    }
                }
                unlisted = unlisted.saturating_sub(1);
                None
            }
            News::Away(error) => Some(error),
            News::Line(key, line) => {
                if let Some(one) = all.get_mut(&key) {
                    let (at, text) = stamped(&line);
                    if one.is_new(at) {
                        let of = &one.seen.at;
                        tell(Told::Line { of, at, text });
                    }
                }
                None
            }
            News::Over(key, ended) => {
                let Some(one) = all.get_mut(&key) else { continue };
                if let Some(text) = one.over(ended)? {
                    let of = Some(&one.seen.at);
                    tell(Told::Note { of, text });
                }
                if one.is_due() {
                    let pause = paused(one.failures);
                    news.push(one.open(api, pause));
                }
                None
            }
        };
        if let Some(error) = trouble {
            if unlisted > 0 || error.kind() != FailureKind::Retry {
                return Err(error);
            }
            if !away {
                let text = format!("{error}; trying again");
                tell(Told::Note { of: None, text });
            }
            away = true;
        }
    }
    Ok(())
}

/// A container of one pod: the pod's UID and the container's name.
type Key = (String, String);

enum News {
    /// A pod as it is now.
    Pod(Value),
    /// All pods of a namespace have been told.
    Listed,
    /// The pods of a namespace can't be read now.
    Away(LiveError),
    Line(Key, String),
    Over(Key, Result<(), LiveError>),
}

/// A container as its pod tells of it.
#[derive(Debug, Clone)]
struct Seen {
    key: Key,
    at: PodContainer,
    /// Its own id, another one after each restart; empty before it begins.
    id: String,
    running: bool,
    /// Why it has not begun.
    reason: String,
}

impl Seen {
    /// What to say of a container that never began.
    fn waits(&self) -> Option<String> {
        self.id
            .is_empty()
            .then(|| format!("it has not started: {}", self.reason))
    }
}

/// A container that is followed.
struct Followed {
    seen: Seen,
    /// Which lines are wanted of the container `read`.
    part: Part,
    /// The id of the container whose log was opened last.
    read: String,
    /// A log is open.
    reading: bool,
    /// It ended in the middle.
    cut: bool,
    failures: u32,
    /// The newest line that was told.
    last: Option<Timestamp>,
    /// Lines up to here were told before the log was opened.
    told: Option<Timestamp>,
    /// The line before this one was left out.
    skips: bool,
}

impl Followed {
    fn new(seen: Seen) -> Self {
        Self {
            seen,
            part: Part::whole(),
            read: String::new(),
            reading: false,
            cut: false,
            failures: 0,
            last: None,
            told: None,
            skips: false,
        }
    }

    /// Whether there is something to read that is not being read.
    fn is_due(&self) -> bool {
        !self.reading
            && !self.seen.id.is_empty()
            && (self.seen.id != self.read || self.seen.running || self.cut)
    }

    fn open(&mut self, api: &Api, pause: Duration) -> BoxStream<'static, News> {
        // A container that began while we looked is wanted from its first line on.
        if self.read != self.seen.id {
            self.read.clone_from(&self.seen.id);
            self.part = Part::whole();
        }
        (self.reading, self.cut, self.told) = (true, false, self.last);
        let part = Part {
            from: self.last,
            follow: true,
            ..self.part.clone()
        };
        let (api, at, key) = (api.clone(), self.seen.at.clone(), self.seen.key.clone());
        let over = key.clone();
        let opened = async move {
            sleep(pause).await;
            match lines(&api, &at, &part).await {
                Ok(lines) => lines,
                Err(error) => stream::once(async { Err(error) }).boxed(),
            }
        };
        // The first failure ends it; so does the end.
        let ended = |line: &Result<String, LiveError>| line.is_err();
        stream::once(opened)
            .flatten()
            .map(Some)
            .chain(stream::once(async { None }))
            .scan(false, move |done, line| {
                let next = (!*done).then(|| match line {
                    Some(line) => {
                        *done = ended(&line);
                        match line {
                            Ok(line) => News::Line(key.clone(), line),
                            Err(error) => News::Over(key.clone(), Err(error)),
                        }
                    }
                    None => News::Over(over.clone(), Ok(())),
                });
                std::future::ready(next)
            })
            .boxed()
    }

    /// Whether a line of this time was not told yet.
    fn is_new(&mut self, at: &str) -> bool {
        // The rest of a very long line has no time of its own.
        let Ok(time) = at.parse::<Timestamp>() else {
            return !self.skips;
        };
        self.skips = self.told.is_some_and(|told| time <= told);
        if !self.skips {
            (self.failures, self.last) = (0, self.last.max(Some(time)));
        }
        !self.skips
    }

    /// Its log ended; what to say of that.
    fn over(&mut self, ended: Result<(), LiveError>) -> Result<Option<String>, LiveError> {
        self.reading = false;
        match ended {
            // Its status may be late.
            Ok(()) => Ok(None),
            // The pod went, or the container waits again: its next status tells.
            Err(error) if is_gone(&error) => {
                self.seen.running = false;
                self.read.clone_from(&self.seen.id);
                Ok(None)
            }
            Err(error) if error.kind() == FailureKind::NeedsOperator => Err(error),
            Err(error) => {
                self.cut = true;
                self.failures += 1;
                Ok((self.failures == 1).then(|| format!("{}; trying again", error.problem)))
            }
        }
    }
}

fn paused(failures: u32) -> Duration {
    Duration::from_secs(1u64.checked_shl(failures).unwrap_or(u64::MAX)).min(LONGEST)
}

/// Which part of a log.
#[derive(Debug, Clone, Default)]
struct Part {
    tail: Option<usize>,
    since: Option<Duration>,
    /// Goes before the two: what was printed from then on.
    from: Option<Timestamp>,
    follow: bool,
}

impl Part {
    fn whole() -> Self {
        Self::default()
    }

    fn last(ask: &LogAsk) -> Self {
        Self {
            tail: Some(ask.tail),
            since: ask.since,
            ..Self::default()
        }
    }

    fn query(&self) -> String {
        let mut query = String::new();
        if let Some(from) = self.from {
            // The server takes whole seconds.
            query.push_str(&format!("&sinceTime={}", from.strftime("%Y-%m-%dT%H:%M:%SZ")));
        } else {
            if let Some(tail) = self.tail {
                query.push_str(&format!("&tailLines={tail}"));
            }
            if let Some(since) = self.since {
                let whole = since.as_secs() + u64::from(since.subsec_nanos() > 0);
                query.push_str(&format!("&sinceSeconds={}", whole.max(1)));
            }
        }
        if self.follow {
            query.push_str("&follow=true");
        }
        query
    }
}

/// The lines of a container, each with its time before it.
async fn lines(
    api: &Api,
    at: &PodContainer,
    part: &Part,
) -> Result<BoxStream<'static, Result<String, LiveError>>, LiveError> {
    let container = at.container.as_deref().unwrap_or_default();
    let path = format!(
        "{}/{}/log?container={container}&timestamps=true{}",
        pods_of(&at.namespace),
        at.pod,
        part.query()
    );
    let call = format!("read the log of Pod/{}/{}", at.namespace, at.pod);
    let mut begun = Some(Lines::default());
    let body = api.stream(&call, &path).await?;
    Ok(body
        .map(Some)
        .chain(stream::once(async { None }))
        .flat_map(move |data| {
            let mut found = Vec::new();
            match (data, &mut begun) {
                (Some(Ok(data)), Some(lines)) => lines.take(&data, |line| found.push(Ok(line))),
                // What was cut is read again.
                (Some(Err(error)), _) => {
                    begun = None;
                    found.push(Err(error));
                }
                (None, _) => found.extend(begun.take().and_then(Lines::finish).map(Ok)),
                (Some(Ok(_)), None) => {}
            }
            stream::iter(found)
        })
        .boxed())
}

/// The time of a line and its text; no time where it has none.
fn stamped(line: &str) -> (&str, &str) {
    let (at, text) = line.split_once(' ').unwrap_or((line, ""));
    if at.parse::<Timestamp>().is_ok() {
        (at, text)
    } else {
        ("", line)
    }
}

/// The pod is no more, or its container has nothing to show now.
fn is_gone(error: &LiveError) -> bool {
    matches!(&error.problem, Problem::Api(refusal) if [400, 404].contains(&refusal.status))
}

fn is_forbidden(error: &LiveError) -> bool {
    matches!(&error.problem, Problem::Api(refusal) if refusal.status == 403)
}

fn pods_of(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn items<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> + Clone {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// All objects of a list, and the version that it is of.
async fn list(api: &Api, path: &str) -> Result<(Vec<Value>, String), LiveError> {
    let call = format!("list {path}");
    let mut all = Vec::new();
    let mut next = String::new();
    loop {
        let mut page = api.get(&call, &format!("{path}?limit={PAGE}{next}")).await?;
        if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
            all.extend(more);
        }
        match text(&page, "/metadata/continue") {
            "" => return Ok((all, text(&page, "/metadata/resourceVersion").to_owned())),
            token => next = format!("&continue={}", escape(token)),
        }
    }
}

/// The containers of a pod, those that run before the others first.
fn containers(pod: &Value) -> Vec<Seen> {
    let status = |name: &str| {
        items(pod, "/status/initContainerStatuses")
            .chain(items(pod, "/status/containerStatuses"))
            .find(|status| text(status, "/name") == name)
    };
    items(pod, "/spec/initContainers")
        .chain(items(pod, "/spec/containers"))
        .map(|container| {
            let name = text(container, "/name");
            let status = status(name).unwrap_or(&Value::Null);
            Seen {
                key: (text(pod, "/metadata/uid").to_owned(), name.to_owned()),
                at: PodContainer {
                    namespace: text(pod, "/metadata/namespace").to_owned(),
                    pod: text(pod, "/metadata/name").to_owned(),
                    container: Some(name.to_owned()),
                    previous: false,
                },
                id: text(status, "/containerID").to_owned(),
                running: status.pointer("/state/running").is_some(),
                reason: reason(pod, status),
            }
        })
        .collect()
}

/// Why a container has not begun, in the cluster's words.
fn reason(pod: &Value, status: &Value) -> String {
    let unscheduled = items(pod, "/status/conditions").find(|condition| {
        text(condition, "/type") == "PodScheduled" && text(condition, "/status") == "False"
    });
    let (reason, message) = match unscheduled {
        Some(condition) => (text(condition, "/reason"), text(condition, "/message")),
        None => (
            text(status, "/state/waiting/reason"),
            text(status, "/state/waiting/message"),
        ),
    };
    match (reason, message) {
        ("", _) => text(pod, "/status/phase").to_owned(),
        (reason, "") => reason.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

/// Whose pods are meant.
struct Family<'a> {
    api: &'a Api,
    owners: BTreeSet<&'a ObjectKey>,
    /// Whether a ReplicaSet or a Job is of one of them, by its UID.
    between: BTreeMap<String, bool>,
}

impl<'a> Family<'a> {
    fn new(api: &'a Api, owners: &'a [ObjectKey]) -> Self {
        Self {
            api,
            owners: owners.iter().collect(),
            between: BTreeMap::new(),
        }
    }

    fn namespaces(&self) -> BTreeSet<String> {
        let named = self.owners.iter().filter_map(|key| key.namespace.as_deref());
        named.map(str::to_owned).collect()
    }

    async fn has(&mut self, pod: &Value) -> Result<bool, LiveError> {
        let namespace = text(pod, "/metadata/namespace");
        let own = ObjectKey::new("", "Pod", Some(namespace), text(pod, "/metadata/name"));
        let Some((uid, controller)) = controller(pod, namespace) else {
            return Ok(self.owners.contains(&own));
        };
        if self.owners.contains(&own) || self.owners.contains(&controller) {
            return Ok(true);
        }
        let path = match (&*controller.group, &*controller.kind) {
            ("apps", "ReplicaSet") => format!("/apis/apps/v1/namespaces/{namespace}/replicasets"),
            ("batch", "Job") => format!("/apis/batch/v1/namespaces/{namespace}/jobs"),
            _ => return Ok(false),
        };
        if !self.between.contains_key(uid) {
            for object in list(self.api, &path).await?.0 {
                let of = controller_of(&object, namespace).is_some_and(|key| self.owners.contains(&key));
                self.between.insert(text(&object, "/metadata/uid").to_owned(), of);
            }
        }
        Ok(*self.between.entry(uid.to_owned()).or_default())
    }
}

/// The UID and the key of an object's controller, which is in the same namespace.
fn controller<'v>(object: &'v Value, namespace: &str) -> Option<(&'v str, ObjectKey)> {
    let owner = items(object, "/metadata/ownerReferences")
        .find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))?;
    let group = text(owner, "/apiVersion")
        .split_once('/')
        .map_or("", |(group, _)| group);
    let key = ObjectKey::new(group, text(owner, "/kind"), Some(namespace), text(owner, "/name"));
    Some((text(owner, "/uid"), key))
}

fn controller_of(object: &Value, namespace: &str) -> Option<ObjectKey> {
    controller(object, namespace).map(|(_, key)| key)
}

/// The pods of one namespace: listed, then watched.
struct Pods {
    api: Api,
    path: String,
    known: VecDeque<News>,
    version: Option<String>,
    events: Option<BoxStream<'static, Result<WatchEvent<Value>, LiveError>>>,
    failures: u32,
    /// They may not be watched.
    polled: bool,
}

impl Pods {
    fn follow(api: &Api, namespace: &str) -> BoxStream<'static, News> {
        let pods = Self {
            api: api.clone(),
            path: pods_of(namespace),
            known: VecDeque::new(),
            version: None,
            events: None,
            failures: 0,
            polled: false,
        };
        stream::unfold(pods, |mut pods| async {
            let news = pods.next().await;
            Some((news, pods))
        })
        .boxed()
    }

    async fn next(&mut self) -> News {
        loop {
            if let Some(news) = self.known.pop_front() {
                return news;
            }
            if let Some(mut events) = self.events.take() {
                match timeout(SILENCE, events.next()).await {
                    Ok(Some(Ok(event))) => {
                        self.failures = 0;
                        let (news, version) = match event {
                            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                                let version = text(&pod, "/metadata/resourceVersion").to_owned();
                                (Some(News::Pod(pod)), Some(version))
                            }
                            WatchEvent::Deleted(pod) => {
                                (None, Some(text(&pod, "/metadata/resourceVersion").to_owned()))
                            }
                            WatchEvent::Bookmark(mark) => (None, Some(mark.metadata.resource_version)),
                            // The place where it was is gone from the server's memory, as a rule.
                            WatchEvent::Error(_) => (None, None),
                        };
                        if version.is_some() {
                            self.events = Some(events);
                        }
                        self.version = version;
                        self.known.extend(news);
                    }
                    // As the server ends every watch: it goes on from where it was.
                    Ok(None) => self.failures += 1,
                    Ok(Some(Err(_))) | Err(_) => {
                        self.failures += 1;
                        self.version = None;
                    }
                }
                continue;
            }
            if self.failures > 0 {
                sleep(paused(self.failures - 1)).await;
            }
            let read = match self.version.take() {
                Some(version) if !self.polled => match self.watch(version).await {
                    Err(error) if is_forbidden(&error) => {
                        self.polled = true;
                        Ok(())
                    }
                    watched => watched,
                },
                Some(_) => {
                    sleep(POLL).await;
                    Ok(())
                }
                None => self.list().await,
            };
            if let Err(error) = read {
                self.failures += 1;
                return News::Away(error);
            }
        }
    }

    async fn list(&mut self) -> Result<(), LiveError> {
        let (pods, version) = list(&self.api, &self.path).await?;
        self.known.extend(pods.into_iter().map(News::Pod));
        self.known.push_back(News::Listed);
        (self.version, self.failures) = (Some(version), 0);
        Ok(())
    }

    async fn watch(&mut self, version: String) -> Result<(), LiveError> {
        let path = format!(
            "{}?watch=1&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}",
            self.path,
            escape(&version),
            KEEP.as_secs()
        );
        let call = format!("watch {}", self.path);
        let late = || LiveError::new(&call, Problem::Deadline { after: SILENCE });
        self.events = Some(
            timeout(SILENCE, self.api.events(&call, &path))
                .await
                .map_err(|_| late())??,
        );
        self.version = Some(version);
        Ok(())
    }
}
