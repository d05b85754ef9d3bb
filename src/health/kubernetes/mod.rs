//! The rules for one object on a Kubernetes cluster.
//!
//! In: the object as the API server answered it, what surrounds it ([`Scene`]), and what was applied. Out: [`Judged`]: its
//! verdict, how far it is, who is to blame. Guaranteed:
//! - the same scene gives the same verdict; no JSON panics;
//! - status that is about an older generation than the one that our apply answered is never success, and never failure;
//! - only pods of the newest revision count, and trouble counts when the same cause is on enough of them;
//! - nodes lost, evictions and preemptions never fail a release: they stop its clock ([`Judged::stops_clock`]).
//!
//! Must not: ask the cluster, wait, read a clock, or mask (details carry text of the cluster: the caller masks them).
//!
//! Patience is kept here and not by the caller: a cause is `Failing` until its patience is over and `Failed` from then on.
//! The memory that this needs is in [`Sightings`]: the caller stores what one look answered and gives it to the next, and
//! moves it on by the time that nobody looked, as it moves its timers.

mod batch;
pub mod cel;
mod cluster;
mod custom;
pub mod events;
pub mod evidence;
pub mod fields;
pub mod needs;
mod pods;
mod probes;
mod pull;
mod weigh;
mod workloads;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use needs::{Needs, needs};
pub use pods::restart_counts;
pub use probes::{startup_budget, time_to_verdict};
pub use workloads::{StuckPod, failing_pod, stuck_pod};

use super::{Cause, CauseKind, Class, Verdict};
use crate::clock::Timestamp;
use crate::render::app::{HealthRules, Patience};
use crate::render::manifests::options::{
    ARGO_IGNORE_HEALTH, HEALTH, HEALTH_IGNORE, MAX_UNHEALTHY_NODES, WAIT_FOR_ADDRESS,
};

/// What surrounds one object and bears on its health. Lists may hold more than belongs to it: owners are checked here.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    pub now: Timestamp,
    /// The live object; null when it is not there.
    pub object: &'a Value,
    /// ReplicaSets of a Deployment, ControllerRevisions of a DaemonSet.
    pub revisions: &'a [Value],
    /// Pods of its namespace (or of its selector).
    pub pods: &'a [Value],
    /// Events of its namespace, of either API.
    pub events: &'a [Value],
    pub nodes: &'a [Value],
    /// StorageClasses, for claims that wait for their first consumer. May be empty.
    pub classes: &'a [Value],
    pub applied: &'a Applied,
    /// What the last look at this object answered.
    pub seen: &'a Sightings,
    pub rules: &'a Rules,
}

impl Scene<'_> {
    /// Whether this object holds the release back until it has an address: by its annotation, else by the app's rule.
    fn waits_for_address(&self) -> bool {
        match fields::annotation(self.object, WAIT_FOR_ADDRESS) {
            "true" => true,
            "false" => false,
            _ => self.rules.wait_for_addresses,
        }
    }

    /// How many of its pods may be unwell: by its annotation, else by the app's rule.
    fn max_unhealthy_nodes(&self) -> u32 {
        fields::annotation(self.object, MAX_UNHEALTHY_NODES)
            .parse()
            .unwrap_or(self.rules.max_unhealthy_nodes)
    }
}

/// When and as what the object was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// When it was applied (the caller's timer of the release: moved on with it). Nothing earlier is charged to the release.
    pub at: Timestamp,
    /// `metadata.generation` in the answer to our apply.
    pub generation: Option<i64>,
    /// [`restart_counts`] of its pods at that moment. Pods that are not in it are new: all their exits count.
    pub restarts: BTreeMap<String, u64>,
}

impl Applied {
    /// Applied at `at`; no generation known, no pods there.
    pub fn at(at: Timestamp) -> Self {
        Self {
            at,
            generation: None,
            restarts: BTreeMap::new(),
        }
    }
}

/// How the rules are set for an app.
#[derive(Debug, Default)]
pub struct Rules {
    /// Other patience than the defaults.
    pub patience: BTreeMap<CauseKind, Duration>,
    /// Expressions for kinds that the rules do not know, or know wrongly.
    pub expressions: cel::Expressions,
    /// How many pods of a DaemonSet may be unwell on nodes that look well.
    pub max_unhealthy_nodes: u32,
    /// Load balancers and ingresses hold the release back until they have an address.
    pub wait_for_addresses: bool,
}

impl Rules {
    /// The rules of an app.
    pub fn of(app: &HealthRules) -> Self {
        Self {
            patience: app
                .patience
                .iter()
                .map(|(trouble, time)| (cause(*trouble), *time))
                .collect(),
            expressions: cel::Expressions::of(&app.expressions),
            max_unhealthy_nodes: app.max_unhealthy_nodes,
            wait_for_addresses: app.wait_for_addresses,
        }
    }

    /// How long a cause may stand before it fails the release. `None`: it never does by itself.
    pub fn patience(&self, kind: CauseKind) -> Option<Duration> {
        if let Some(own) = self.patience.get(&kind) {
            return Some(*own);
        }
        let secs = match kind {
            CauseKind::CrashLoop
            | CauseKind::OutOfMemory
            | CauseKind::EndedByItself
            | CauseKind::OverLimit
            | CauseKind::JobFailed
            | CauseKind::SaidFailed => 0,
            CauseKind::CannotRun | CauseKind::ImageMissing => 15,
            CauseKind::Quota | CauseKind::Refused => 30,
            CauseKind::ConfigMissing => 45,
            CauseKind::Unschedulable => 120,
            CauseKind::Volume | CauseKind::NotCreated => 180,
            CauseKind::ImagePull => 300,
            _ => return None,
        };
        Some(Duration::from_secs(secs))
    }
}

fn cause(trouble: Patience) -> CauseKind {
    match trouble {
        Patience::ImageMissing => CauseKind::ImageMissing,
        Patience::ImagePull => CauseKind::ImagePull,
        Patience::CannotRun => CauseKind::CannotRun,
        Patience::ConfigMissing => CauseKind::ConfigMissing,
        Patience::Crash => CauseKind::CrashLoop,
        Patience::OutOfMemory => CauseKind::OutOfMemory,
        Patience::Ended => CauseKind::EndedByItself,
        Patience::Probe => CauseKind::Unhealthy,
        Patience::Unschedulable => CauseKind::Unschedulable,
        Patience::Quota => CauseKind::Quota,
        Patience::Refused => CauseKind::Refused,
        Patience::NotCreated => CauseKind::NotCreated,
        Patience::Volume => CauseKind::Volume,
    }
}

/// What earlier looks at one object have seen, by cause and pod. Serializable: it is stored with the timers of the release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sightings {
    /// Since when each trouble has been there.
    pub since: BTreeMap<String, Timestamp>,
    /// A Job that was seen complete: its TTL may remove it.
    #[serde(default)]
    pub complete: bool,
}

impl Sightings {
    /// The same sightings after nobody looked for `away`: no patience ran out meanwhile.
    pub fn moved_on(&self, away: Duration) -> Self {
        Self {
            since: self
                .since
                .iter()
                .map(|(key, time)| (key.clone(), fields::later(*time, away)))
                .collect(),
            complete: self.complete,
        }
    }
}

/// Whose log tells why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Culprit {
    pub namespace: String,
    pub pod: String,
    /// `None`: the pod as a whole (not scheduled, volumes, evicted); there is no log.
    pub container: Option<String>,
    /// The log of the instance before the present one.
    pub previous: bool,
    pub exit_code: Option<i64>,
}

/// What one look at an object concluded.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Judged {
    pub verdict: Verdict,
    /// Replicas that do what is asked, of all that are asked for; 1 of 1 for what has none.
    pub healthy: u32,
    pub of: u32,
    /// Kinds that never fail or hold back a release are not gating: their verdict is shown.
    pub gating: bool,
    pub culprit: Option<Culprit>,
    /// Said beside a verdict: `no health signal`, `2 pods still run the old revision`.
    pub note: Option<String>,
    /// Grows while the rollout moves: the caller keeps the best sum over all objects; a new best is progress.
    pub steps: u64,
    /// When a `Failing` becomes `Failed` if nothing changes.
    pub due: Option<Timestamp>,
    /// For the next look.
    pub seen: Sightings,
}

impl Judged {
    fn new(verdict: Verdict) -> Self {
        let well = verdict.settled_well();
        Self {
            verdict,
            healthy: u32::from(well),
            of: 1,
            gating: true,
            culprit: None,
            note: None,
            steps: u64::from(well),
            due: None,
            seen: Sightings::default(),
        }
    }

    fn healthy() -> Self {
        Self::new(Verdict::Healthy)
    }

    fn progressing(kind: CauseKind, detail: impl Into<String>) -> Self {
        Self::new(Verdict::Progressing(Cause::new(kind, detail)))
    }

    fn failed(kind: CauseKind, detail: impl Into<String>) -> Self {
        Self::new(Verdict::Failed(Cause::new(kind, detail)))
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    fn not_gating(mut self) -> Self {
        self.gating = false;
        self
    }

    /// Whether the release waits for nothing here: it is well, or it is a kind that holds nothing back.
    pub fn passes(&self) -> bool {
        !self.gating || self.verdict.settled_well()
    }

    /// Whether it fails the release, now.
    pub fn fails(&self) -> bool {
        self.gating && matches!(self.verdict, Verdict::Failed(_))
    }

    /// Whether what is seen is not the release's doing, so that no deadline may run: nodes, evictions, an engine that is away.
    pub fn stops_clock(&self) -> bool {
        self.gating
            && !self.verdict.settled_well()
            && (matches!(self.verdict, Verdict::Unknown(_))
                || self
                    .verdict
                    .cause()
                    .is_some_and(|cause| cause.kind.class() == Class::Foreign))
    }
}

/// Judges one object.
pub fn judge(scene: &Scene<'_>) -> Judged {
    let mut judged = by_kind(scene);
    if fields::annotation(scene.object, HEALTH) == HEALTH_IGNORE
        || fields::annotation(scene.object, ARGO_IGNORE_HEALTH) == "true"
    {
        judged.gating = false;
    }
    judged
}

fn by_kind(scene: &Scene<'_>) -> Judged {
    let object = scene.object;
    if !object.is_object() {
        // A Job with a TTL goes away when it has done its work.
        if scene.seen.complete {
            let mut judged = Judged::healthy().note("completed, and removed after its time to live");
            judged.seen.complete = true;
            return judged;
        }
        return Judged::new(Verdict::Missing);
    }
    if fields::deleted(object) {
        return terminating(object);
    }
    if let Some(stale) = not_observed(scene) {
        return stale;
    }
    let kind = fields::text(object, "/kind");
    if let Some(judged) = scene.rules.expressions.judge(object) {
        return judged;
    }
    match (fields::group(object), kind) {
        ("apps", "Deployment") => workloads::deployment(scene),
        ("apps", "ReplicaSet") => workloads::replica_set(scene),
        ("apps", "StatefulSet") => workloads::stateful_set(scene),
        ("apps", "DaemonSet") => workloads::daemon_set(scene),
        ("batch", "Job") => batch::job(scene),
        ("batch", "CronJob") => batch::cron_job(scene),
        ("", "Pod") => batch::pod(scene),
        (group, kind) => cluster::judge(scene, group, kind).unwrap_or_else(|| custom::judge(scene)),
    }
}

fn terminating(object: &Value) -> Judged {
    let finalizers: Vec<&str> = fields::list(object, "/metadata/finalizers")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let text = if finalizers.is_empty() {
        "it is being deleted".to_owned()
    } else {
        format!(
            "it is being deleted and waits on finalizer {}",
            finalizers.join(", ")
        )
    };
    Judged::progressing(CauseKind::Terminating, fields::one_line(&text))
}

/// Kinds whose controller always writes `observedGeneration`: no such field means that it has not looked yet.
fn always_observed(object: &Value) -> bool {
    matches!(
        (fields::group(object), fields::text(object, "/kind")),
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
    )
}

/// The verdict while the status is about an older generation: the one that our apply answered, or a newer one that is live.
fn not_observed(scene: &Scene<'_>) -> Option<Judged> {
    let object = scene.object;
    let live = fields::int(object, "/metadata/generation");
    if let (Some(ours), Some(live)) = (scene.applied.generation, live)
        && live < ours
    {
        return Some(Judged::progressing(
            CauseKind::NotObserved,
            format!("what was read is older than what was applied (generation {live} of {ours})"),
        ));
    }
    let wanted = live.max(scene.applied.generation)?;
    match fields::int(object, "/status/observedGeneration") {
        Some(observed) if observed >= wanted => None,
        // Before Kubernetes 1.35 pods count generations without observing them.
        None if !always_observed(object) => None,
        observed => Some(Judged::progressing(
            CauseKind::NotObserved,
            format!(
                "its controller has not seen it yet (generation {} of {wanted})",
                observed.unwrap_or(0)
            ),
        )),
    }
}

#[cfg(test)]
mod tests;
