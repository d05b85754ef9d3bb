//! Who may change a cluster: one Lease for each instance.
//!
//! In: who we are, where the Lease is. Out: leave to send one call, with its deadline; or who holds the Lease instead.
//! Guaranteed:
//! - no call that changes something is sent unless the Lease is ours for longer than the call may take, by our own clock and
//!   counted from before it was renewed; a renewal is refused by the server when somebody else has written the Lease meanwhile;
//! - clocks of two machines are never compared: a Lease counts as over when nobody has written it for its whole duration while
//!   we looked (as client-go has it), when its holder gave it back, or when its holder is a process of this very state folder
//!   that is no more;
//! - an account that may not use Leases is told once, and goes on without.
//!
//! Must not: start a task (who works with it keeps it alive, [`Keeper::keep`]), or be taken by what only reads.
//!
//! The API server can't enforce it on other objects: a call that was sent in time and is executed late is bounded by the
//! deadline that it bears, not by the Lease.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::client::{Api, is_not_found};
use super::op::MANAGER;
use super::ownership;
use crate::clock::{Clock, Timestamp};
use crate::live::{LiveError, Problem};
use crate::names::{InstanceName, TargetId};

/// How long a Lease lasts unless the operator says otherwise.
pub const DURATION: Duration = Duration::from_secs(30);
/// The annotation that says which state folder wrote it last, also when it was given back.
const WRITER: &str = "driftless.dev/writer";
/// How often a Lease of somebody else is looked at while it is waited for.
const LOOK: Duration = Duration::from_secs(1);
/// A call is given up this much before the Lease is over.
const MARGIN: Duration = Duration::from_secs(1);

/// Who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub host: String,
    pub pid: u32,
    /// Random, of this process.
    pub random: String,
    /// Random, and the same for every process of one state folder. It is written beside the holder's name.
    pub folder: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.host, self.pid, self.random)
    }
}

impl Holder {
    /// Whether `other` was a process of our own state folder on this machine that has ended. One process at a time works with a
    /// state folder, so such a one can't be at work any more.
    fn succeeds(&self, other: &Record) -> bool {
        let mut parts = other.holder.rsplitn(3, '_');
        let (_, pid, host) = (parts.next(), parts.next(), parts.next());
        let Some(pid) = pid.and_then(|pid| pid.parse::<i32>().ok()) else {
            return false;
        };
        // Our own number says nothing: in a container every process is number one.
        other.writer == self.folder
            && host == Some(self.host.as_str())
            && u32::try_from(pid) != Ok(self.pid)
            && nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH)
    }
}

/// What a Lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    holder: String,
    duration: Duration,
    writer: String,
    transitions: i64,
    acquired: String,
    /// Changes with every writing.
    version: String,
}

impl Record {
    fn of(object: &Value) -> Self {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let number = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_i64)
                .unwrap_or_default()
        };
        let annotations = object.pointer("/metadata/annotations");
        Self {
            holder: text("/spec/holderIdentity"),
            duration: Duration::from_secs(
                u64::try_from(number("/spec/leaseDurationSeconds")).unwrap_or_default(),
            ),
            writer: annotations
                .and_then(|all| all.get(WRITER)?.as_str())
                .unwrap_or_default()
                .to_owned(),
            transitions: number("/spec/leaseTransitions"),
            acquired: text("/spec/acquireTime"),
            version: text("/metadata/resourceVersion"),
        }
    }
}

/// Who has a Lease, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Host, process and a random part; `None`: it was given back.
    pub by: Option<String>,
    /// When it was written last, by its holder's clock.
    pub renewed: Option<Timestamp>,
    /// How long it lasts from then on.
    pub lasts: Duration,
}

impl Holding {
    pub(super) fn of(object: &Value) -> Self {
        let record = Record::of(object);
        let renewed = object.pointer("/spec/renewTime").and_then(Value::as_str);
        Self {
            by: Some(record.holder).filter(|holder| !holder.is_empty()),
            renewed: renewed.and_then(|time| time.parse().ok()),
            lasts: record.duration,
        }
    }
}

/// What was seen, and since when it is like that.
#[derive(Debug, Clone)]
struct Sight {
    /// `None`: there is no Lease.
    record: Option<Record>,
    since: Instant,
}

/// Whose a Lease is. Pure.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stand {
    Ours,
    /// Nobody's. `other`: somebody else had it after us, so live state may have moved.
    Free {
        other: bool,
    },
    Held {
        by: String,
        left: Duration,
    },
}

fn stand(sight: &Sight, me: &Holder, now: Instant) -> Stand {
    let Some(record) = &sight.record else {
        return Stand::Free { other: false };
    };
    let other = record.writer != me.folder;
    if record.holder == me.to_string() {
        return Stand::Ours;
    }
    let waited = now.saturating_duration_since(sight.since);
    if record.holder.is_empty() || me.succeeds(record) || waited >= record.duration {
        return Stand::Free { other };
    }
    Stand::Held {
        by: record.holder.clone(),
        left: record.duration - waited,
    }
}

/// What we have of it, by our own clock.
#[derive(Debug, Clone, Copy)]
enum Grip {
    None,
    /// It is ours until then.
    Ours {
        until: Instant,
    },
    /// Leases can't be used here: asked again after that.
    Without {
        until: Instant,
    },
}

/// The Lease of one instance on one cluster, shared by all that work there.
pub struct Keeper {
    name: String,
    namespace: String,
    duration: Duration,
    instance: String,
    me: Holder,
    /// It is kept between two runs, and not given back after each.
    hold: bool,
    clock: Arc<dyn Clock>,
    /// As ourselves; another one after the connection was made anew.
    api: Mutex<Api>,
    /// The last thing that was read or written. Locked while a call is under way.
    sight: tokio::sync::Mutex<Option<Sight>>,
    grip: Mutex<Grip>,
    /// Since when it is ours, where somebody else had it before.
    taken_over: Mutex<Option<Timestamp>>,
    users: AtomicUsize,
    told: AtomicBool,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keeper({}/{})", self.namespace, self.name)
    }
}

/// A run that works under a Lease.
#[derive(Debug)]
pub struct User(Arc<Keeper>);

impl Drop for User {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::AcqRel);
    }
}

impl User {
    /// The run is over: the Lease is given back if it was the last one.
    pub async fn leave(self) {
        let keeper = Arc::clone(&self.0);
        drop(self);
        if !keeper.hold && keeper.users.load(Ordering::Acquire) == 0 {
            keeper.give_back().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    /// A run begins that may need it.
    pub fn enter(self: &Arc<Self>) -> User {
        self.users.fetch_add(1, Ordering::AcqRel);
        User(Arc::clone(self))
    }

    /// Makes the Lease ours, or says who has it. `looked`: when live state was read that something is to be done about; the
    /// answer is `false` when somebody else may have changed it since.
    pub async fn take(&self, looked: Timestamp) -> Result<bool, LiveError> {
        // Confirmed a moment ago, by this run or another one.
        if !self.fresh() {
            self.renew_or_take(!self.hold).await?;
        }
        Ok(lock(&self.taken_over).is_none_or(|since| since <= looked))
    }

    /// Leave for one call that changes something: how long it may take.
    pub(super) async fn before_call(&self) -> Result<Duration, LiveError> {
        for _ in 0..2 {
            let left = match *lock(&self.grip) {
                Grip::Without { .. } => return Ok(Duration::MAX),
                Grip::Ours { until } => until.saturating_duration_since(Instant::now()),
                Grip::None => Duration::ZERO,
            };
            if left >= self.duration / 2 {
                return Ok(left.saturating_sub(MARGIN));
            }
            self.renew_or_take(false).await?;
        }
        Err(LiveError::new(
            "renew the lease",
            Problem::Deadline {
                after: self.duration / 2,
            },
        ))
    }

    /// Keeps it ours for as long as this is polled, once it is.
    pub async fn keep(&self) -> Infallible {
        loop {
            sleep(self.duration / 8).await;
            self.renew_when_due().await;
        }
    }

    async fn renew_when_due(&self) {
        let due = match *lock(&self.grip) {
            Grip::Ours { until } => until.saturating_duration_since(Instant::now()) < self.duration * 3 / 4,
            Grip::None | Grip::Without { .. } => false,
        };
        if due && let Err(error) = self.renew_or_take(false).await {
            tracing::debug!(lease = %self.path(), "not renewed: {error}");
        }
    }

    fn fresh(&self) -> bool {
        match *lock(&self.grip) {
            Grip::Ours { until } => {
                until.saturating_duration_since(Instant::now()) > self.duration - self.duration / 8
            }
            Grip::Without { until } => until > Instant::now(),
            Grip::None => false,
        }
    }

    fn path(&self) -> String {
        format!(
            "/apis/coordination.k8s.io/v1/namespaces/{}/leases/{}",
            self.namespace, self.name
        )
    }

    fn api(&self) -> Api {
        // Soon enough for another try while it is still ours.
        lock(&self.api).within(self.duration / 4)
    }

    /// `patient`: where somebody has it whom we know nothing of, it is watched for as long as it lasts.
    async fn renew_or_take(&self, patient: bool) -> Result<(), LiveError> {
        let mut sight = self.sight.lock().await;
        // Somebody else did it while we waited.
        if self.fresh() {
            return Ok(());
        }
        let begun = Instant::now();
        let mut version = None;
        loop {
            // What we wrote ourselves is written over without a look: the server refuses it if it is no longer the newest.
            let known = sight.as_ref().map(|sight| stand(sight, &self.me, Instant::now()));
            if known != Some(Stand::Ours) {
                self.look(&mut sight).await?;
            }
            let Some(seen) = sight.as_ref() else {
                // Leases can't be used here.
                return Ok(());
            };
            match stand(seen, &self.me, Instant::now()) {
                Stand::Held { by, left } => {
                    *lock(&self.grip) = Grip::None;
                    let now = seen.record.as_ref().map(|record| record.version.clone());
                    let renewed = version.is_some() && version != now;
                    if !patient || renewed {
                        return Err(self.held(&by, left));
                    }
                    // A holder that lives writes it soon; one that does not is waited for until it is over.
                    version = now;
                    sleep(LOOK.min(left)).await;
                }
                free_or_ours => {
                    let sent = Instant::now();
                    if self.write(&mut sight, self.me.to_string(), self.duration).await? {
                        *lock(&self.grip) = Grip::Ours {
                            until: sent + self.duration,
                        };
                        if free_or_ours == (Stand::Free { other: true }) {
                            *lock(&self.taken_over) = Some(self.clock.now());
                        }
                        if free_or_ours != Stand::Ours {
                            tracing::debug!(lease = %self.path(), holder = %self.me, "taken");
                        }
                        return Ok(());
                    }
                    if sight.is_none() {
                        return Ok(());
                    }
                    // Somebody wrote it between our look and our writing.
                    *sight = None;
                    if begun.elapsed() > self.duration {
                        return Err(LiveError::new(
                            "take the lease",
                            Problem::Deadline { after: self.duration },
                        ));
                    }
                }
            }
        }
    }

    fn held(&self, by: &str, left: Duration) -> LiveError {
        let problem = Problem::LeaseHeld {
            lease: format!("{}/{}", self.namespace, self.name),
            holder: by.to_owned(),
            left: Duration::from_secs(left.as_secs()),
        };
        LiveError::new("take the lease", problem)
    }

    /// Reads it. The sight is gone where Leases can't be used.
    async fn look(&self, sight: &mut Option<Sight>) -> Result<(), LiveError> {
        let found = match self.api().find("read the lease", &self.path()).await {
            Ok(found) => found.map(|object| Record::of(&object)),
            Err(error) if is_forbidden(&error) => {
                self.without(&error);
                *sight = None;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let since = sight.as_ref().filter(|before| before.record == found);
        *sight = Some(Sight {
            since: since.map_or_else(Instant::now, |before| before.since),
            record: found,
        });
        Ok(())
    }

    /// Writes it over what was seen; `false` when it is another one meanwhile, or when Leases can't be used (no sight then).
    async fn write(
        &self,
        sight: &mut Option<Sight>,
        holder: String,
        duration: Duration,
    ) -> Result<bool, LiveError> {
        let Some(seen) = sight.clone() else {
            return Ok(false);
        };
        let now = self.clock.now();
        // As the API server keeps it: six digits.
        let time = now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let before = seen.record.as_ref();
        let ours = before.is_some_and(|record| record.holder == self.me.to_string());
        let mut body = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": self.name, "namespace": self.namespace,
                "labels": { ownership::MANAGED_BY: MANAGER, ownership::INSTANCE: ownership::label_value(&self.instance) },
                "annotations": { WRITER: self.me.folder },
            },
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": duration.as_secs().max(1),
                "renewTime": time,
                "acquireTime": before.filter(|_| ours).map_or(&time, |record| &record.acquired),
                "leaseTransitions": before.map_or(0, |record| record.transitions + i64::from(!ours)),
            },
        });
        let (method, path, call) = match before {
            Some(record) => {
                body["metadata"]["resourceVersion"] = json!(record.version);
                (Method::PUT, self.path(), "renew the lease")
            }
            None => {
                let path = self.path();
                let list = path
                    .rsplit_once('/')
                    .map_or(path.as_str(), |(list, _)| list)
                    .to_owned();
                (Method::POST, list, "make the lease")
            }
        };
        match self
            .api()
            .json(call, method, &path, Some("application/json"), Some(&body))
            .await
        {
            Ok(answer) => {
                *sight = Some(Sight {
                    record: Some(Record::of(&answer.value)),
                    since: Instant::now(),
                });
                Ok(true)
            }
            Err(error) => match &error.problem {
                Problem::Api(refusal) if refusal.status == 409 => Ok(false),
                // Its namespace is not there: nobody can hold it, and the app may be about to bring it. Else it was deleted.
                Problem::Api(refusal) if refusal.status == 404 => {
                    if before.is_none() {
                        self.without(&error);
                        *sight = None;
                    }
                    Ok(false)
                }
                _ if is_forbidden(&error) => {
                    self.without(&error);
                    *sight = None;
                    Ok(false)
                }
                // It may have been written: what there is is looked at.
                _ => {
                    *sight = None;
                    Err(error)
                }
            },
        }
    }

    fn without(&self, error: &LiveError) {
        *lock(&self.grip) = Grip::Without {
            until: Instant::now() + self.duration,
        };
        if is_not_found(error) {
            tracing::debug!(lease = %self.path(), "no lease: {error}");
        } else if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "no lease keeps two instances of the name `{}` apart here: {error}; allow get, create and update of leases \
                 (coordination.k8s.io) in the namespace `{}`",
                self.instance,
                self.namespace
            );
        }
    }

    /// Gives it back, so that the next one needs not wait. What can't be given back ends by itself.
    async fn give_back(&self) {
        let mut sight = self.sight.lock().await;
        let ours = matches!(*lock(&self.grip), Grip::Ours { .. });
        if !ours || self.users.load(Ordering::Acquire) > 0 {
            return;
        }
        *lock(&self.grip) = Grip::None;
        if let Err(error) = self
            .write(&mut sight, String::new(), Duration::from_secs(1))
            .await
        {
            tracing::debug!(lease = %self.path(), "not given back: {error}");
        }
    }
}

fn is_forbidden(error: &LiveError) -> bool {
    matches!(&error.problem, Problem::Api(refusal) if [403, 405].contains(&refusal.status))
}

/// Where the Lease is, and how long it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseSpec {
    pub namespace: Option<String>,
    pub duration: Duration,
}

impl Default for LeaseSpec {
    fn default() -> Self {
        Self {
            namespace: None,
            duration: DURATION,
        }
    }
}

/// All Leases of one process.
pub struct Leases {
    instance: InstanceName,
    me: Holder,
    hold: bool,
    clock: Arc<dyn Clock>,
    keepers: Mutex<BTreeMap<(TargetId, String), Arc<Keeper>>>,
}

impl Leases {
    /// `hold`: they are kept until [`Leases::give_back`], not given back after each run.
    pub fn new(instance: InstanceName, me: Holder, hold: bool, clock: Arc<dyn Clock>) -> Self {
        Self {
            instance,
            me,
            hold,
            clock,
            keepers: Mutex::default(),
        }
    }

    /// The keeper of a cluster's Lease; the same one for every connection to it.
    pub(super) fn keeper(
        &self,
        cluster: &TargetId,
        namespace: &str,
        duration: Duration,
        api: &Api,
    ) -> Arc<Keeper> {
        let mut keepers = lock(&self.keepers);
        let keeper = keepers
            .entry((cluster.clone(), namespace.to_owned()))
            .or_insert_with(|| {
                Arc::new(Keeper {
                    name: lease_name(&self.instance),
                    namespace: namespace.to_owned(),
                    duration,
                    instance: self.instance.to_string(),
                    me: self.me.clone(),
                    hold: self.hold,
                    clock: Arc::clone(&self.clock),
                    api: Mutex::new(api.clone()),
                    sight: tokio::sync::Mutex::new(None),
                    grip: Mutex::new(Grip::None),
                    taken_over: Mutex::new(None),
                    users: AtomicUsize::new(0),
                    told: AtomicBool::new(false),
                })
            });
        *lock(&keeper.api) = api.clone();
        Arc::clone(keeper)
    }

    /// Keeps what is held for as long as this is polled.
    pub async fn keep(&self) -> Infallible {
        loop {
            sleep(Duration::from_secs(1)).await;
            let all: Vec<Arc<Keeper>> = lock(&self.keepers).values().cloned().collect();
            futures_util::future::join_all(all.iter().map(|keeper| keeper.renew_when_due())).await;
        }
    }

    /// Gives all back: the process ends.
    pub async fn give_back(&self) {
        let all: Vec<Arc<Keeper>> = lock(&self.keepers).values().cloned().collect();
        futures_util::future::join_all(all.iter().map(|keeper| keeper.give_back())).await;
    }
}

/// The name of an instance's Lease.
pub fn lease_name(instance: &InstanceName) -> String {
    let name: String = instance
        .as_str()
        .to_ascii_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    ownership::label_value(&format!("driftless-{}", name.trim_matches(['.', '-'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Holder {
        Holder {
            host: "nas_2".to_owned(),
            pid: std::process::id(),
            random: "r1".to_owned(),
            folder: "aa11".to_owned(),
        }
    }

    fn sight(holder: &str, writer: &str) -> Sight {
        Sight {
            record: Some(Record {
                holder: holder.to_owned(),
                duration: Duration::from_secs(15),
                writer: writer.to_owned(),
                transitions: 0,
                acquired: String::new(),
                version: "7".to_owned(),
            }),
            since: Instant::now(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_free_when_it_was_given_back_or_not_written_for_its_duration() {
        let now = Instant::now();
        let nobody = Sight {
            record: None,
            since: now,
        };
        assert_eq!(stand(&nobody, &me(), now), Stand::Free { other: false });
        assert_eq!(stand(&sight("", "bb22"), &me(), now), Stand::Free { other: true });
        assert_eq!(
            stand(&sight("", "aa11"), &me(), now),
            Stand::Free { other: false }
        );
        assert_eq!(stand(&sight(&me().to_string(), "aa11"), &me(), now), Stand::Ours);
        let other = sight("other_1_r2", "bb22");
        let after = |seconds| stand(&other, &me(), now + Duration::from_secs(seconds));
        assert_eq!(
            after(5),
            Stand::Held {
                by: "other_1_r2".to_owned(),
                left: Duration::from_secs(10)
            }
        );
        assert_eq!(after(15), Stand::Free { other: true });
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_dead_process_of_the_same_folder_and_machine_is_succeeded() {
        let now = Instant::now();
        let mut child = std::process::Command::new("true").spawn().expect("a process");
        let pid = child.id();
        child.wait().expect("it ends");
        let dead = |host: &str, folder: &str| sight(&format!("{host}_{pid}_r2"), folder);
        assert_eq!(
            stand(&dead("nas_2", "aa11"), &me(), now),
            Stand::Free { other: false }
        );
        let is_held = |sight: &Sight| matches!(stand(sight, &me(), now), Stand::Held { .. });
        assert!(
            is_held(&dead("other", "aa11")),
            "another machine's numbers say nothing here"
        );
        assert!(
            is_held(&dead("nas_2", "bb22")),
            "another folder may be on another machine of that name"
        );
        let parent = nix::unistd::getppid();
        assert!(is_held(&sight(&format!("nas_2_{parent}_r2"), "aa11")), "it lives");
        let own = Holder { pid, ..me() };
        let in_a_container = stand(&dead("nas_2", "aa11"), &own, now);
        assert!(
            matches!(in_a_container, Stand::Held { .. }),
            "our own number says nothing"
        );
    }

    #[test]
    fn a_lease_has_a_name_that_a_cluster_takes() {
        let name = |instance: &str| lease_name(&InstanceName::try_from(instance).expect("a name"));
        assert_eq!(name("nas"), "driftless-nas");
        assert_eq!(name("Web_1.example"), "driftless-web-1.example");
        assert!(name(&"x".repeat(120)).len() <= 63);
    }
}
