//! Deployment, ReplicaSet, StatefulSet, DaemonSet.
//!
//! In: the workload, its revisions, its pods. Out: [`Judged`]. Guaranteed: the counts of the workload's own status decide
//! what is healthy (as kstatus has it); the pods of the newest revision decide early what has failed. Must not: count a pod of
//! an older revision against the release.

use serde_json::Value;

use super::events;
use super::pods;
use super::weigh::{Stand, Watch, Weighed, weigh};
use super::{Judged, Scene, fields};
use crate::clock::elapsed;
use crate::health::{Cause, CauseKind, Verdict};

/// Timestamps of the cluster are cut to seconds, and its clock is not ours.
const SKEW: std::time::Duration = std::time::Duration::from_secs(2);

/// `spec.replicas`, 1 where it is left out.
fn replicas(object: &Value) -> u32 {
    if fields::has(object, "/spec/replicas") {
        fields::count(object, "/spec/replicas")
    } else {
        1
    }
}

/// The pods that an owner controls, those being deleted included.
fn children<'a>(scene: &Scene<'a>, owner: &Value) -> Vec<&'a Value> {
    scene
        .pods
        .iter()
        .filter(|pod| fields::controlled_by(pod, owner))
        .collect()
}

fn staying<'a>(pods: &[&'a Value]) -> Vec<&'a Value> {
    pods.iter().copied().filter(|pod| !fields::deleted(pod)).collect()
}

/// A workload's own numbers and what its pods say, on their way to a verdict.
struct Course {
    weighed: Weighed,
    /// Why its pods can't be made.
    creation: Option<(Cause, Stand)>,
    /// The workload's own word that it makes no progress.
    deadline: Option<Cause>,
    /// What its counts still lack.
    lacking: Option<String>,
    healthy: u32,
    of: u32,
    steps: u64,
    note: Option<String>,
}

impl Course {
    /// The order is the rule: what is sure comes first, what is not the release's doing before any deadline.
    fn end(self, watch: Watch<'_>) -> Judged {
        let Self {
            weighed,
            creation,
            deadline,
            lacking,
            healthy,
            of,
            steps,
            note,
        } = self;
        let mut due = None;
        let mut culprit = weighed.culprit.clone();
        let verdict = if weighed.failed() {
            weighed.verdict.unwrap_or(Verdict::Healthy)
        } else if let Some((cause, Stand::Over)) = &creation {
            culprit = None;
            Verdict::Failed(cause.clone())
        } else if let (Some(_), Some(foreign)) = (&lacking, weighed.foreign) {
            Verdict::Progressing(foreign)
        } else if let (Some(_), Some(mut cause)) = (&lacking, deadline) {
            if let Some(why) = weighed.verdict.as_ref().and_then(Verdict::cause) {
                cause.detail = format!("{}: {}", cause.detail, why.detail);
            }
            Verdict::Failed(cause)
        } else if let Some((cause, stand)) = creation {
            if let Stand::Due(at) = stand {
                due = Some(at);
            }
            culprit = None;
            Verdict::Failing(cause)
        } else if let Some(verdict) = weighed.verdict {
            due = weighed.due;
            verdict
        } else if let Some(lacking) = lacking {
            culprit = None;
            Verdict::Progressing(Cause::new(CauseKind::RollingOut, lacking))
        } else {
            culprit = None;
            Verdict::Healthy
        };
        let mut judged = Judged::new(verdict);
        judged.healthy = healthy.min(of);
        judged.of = of;
        judged.culprit = culprit;
        judged.note = note;
        judged.steps = steps.saturating_add(weighed.steps);
        judged.due = due;
        judged.seen = watch.seen;
        judged
    }
}

/// Sorts why the API server refused to make a pod.
fn refusal(message: &str) -> CauseKind {
    let any = |pieces: &[&str]| pieces.iter().any(|piece| message.contains(piece));
    if any(&["exceeded quota", "failed quota", "insufficient quota"]) {
        CauseKind::Quota
    } else if any(&[
        "failed calling webhook",
        "deadline exceeded",
        "connection refused",
        "timed out",
        "etcdserver",
        "Internal error",
        "already exists",
    ]) {
        // A webhook that is away refuses nothing for good.
        CauseKind::NotCreated
    } else if any(&["forbidden", "denied", "invalid", "violates"]) {
        CauseKind::Refused
    } else {
        CauseKind::NotCreated
    }
}

/// `made`: how many pods there are already. Each new one starts the patience again: under a tight quota a rollout is refused
/// its surge and moves on all the same, as old pods go.
fn creation(watch: &mut Watch<'_>, scene: &Scene<'_>, message: &str, made: u32) -> (Cause, Stand) {
    let kind = refusal(message);
    let text = fields::one_line(&format!("its pods can't be created: {message}"));
    let patience = scene.rules.patience(kind);
    let subject = format!("{}/{made}", fields::uid(scene.object));
    let stand = watch.stand(&subject, kind, None, patience);
    (Cause::new(kind, text), stand)
}

/// Creation failures of workloads that tell them in events only. Asked when the counts lack pods, so that status is the proof.
pub(super) fn creation_by_event(
    watch: &mut Watch<'_>,
    scene: &Scene<'_>,
    owner: &Value,
) -> Option<(Cause, Stand)> {
    let events = events::about(scene.events, owner);
    let event = events.iter().find(|event| {
        event.reason == "FailedCreate"
            && event
                .last
                .is_none_or(|last| fields::later(last, SKEW) >= scene.applied.at)
    })?;
    // A pod made after the newest refusal says that it is over.
    if events
        .iter()
        .any(|other| other.reason == "SuccessfulCreate" && other.last.is_some() && other.last > event.last)
    {
        return None;
    }
    Some(creation(watch, scene, event.message, made(owner)))
}

fn creation_by_condition(watch: &mut Watch<'_>, scene: &Scene<'_>, object: &Value) -> Option<(Cause, Stand)> {
    let failure = fields::condition(object, "ReplicaFailure").filter(|failure| failure.holds())?;
    Some(creation(watch, scene, failure.message, made(object)))
}

/// How many pods a workload has made, by its own status.
fn made(object: &Value) -> u32 {
    fields::count(object, "/status/replicas").max(fields::count(object, "/status/currentNumberScheduled"))
}

/// The ReplicaSet of the Deployment's present template: the one with the Deployment's own revision. `None` too when the list is
/// older than that revision, so that an old one is never taken for it.
pub(super) fn newest_replica_set<'a>(scene: &Scene<'a>) -> Option<&'a Value> {
    const REVISION: &str = "deployment.kubernetes.io/revision";
    let number = |object: &Value| fields::annotation(object, REVISION).parse::<u64>().ok();
    let newest = scene
        .revisions
        .iter()
        .filter(|set| fields::controlled_by(set, scene.object))
        .max_by_key(|set| number(set))?;
    match (number(scene.object), number(newest)) {
        (Some(own), Some(found)) if found < own => None,
        _ => Some(newest),
    }
}

/// Judges a Deployment.
pub fn deployment(scene: &Scene<'_>) -> Judged {
    let object = scene.object;
    if fields::flag(object, "/spec/paused") {
        return Judged::new(Verdict::Suspended).note("its rollout is paused (spec.paused)");
    }
    let mut watch = Watch::new(scene);
    let wanted = replicas(object);
    let set = newest_replica_set(scene);
    let pods = set.map(|set| staying(&children(scene, set))).unwrap_or_default();
    let weighed = weigh(&mut watch, &pods, &[], Some(wanted), true);
    let [all, updated, ready, available] = [
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
    ]
    .map(|name| fields::count(object, &format!("/status/{name}")));
    let old = all.saturating_sub(updated);
    let progressing = fields::condition(object, "Progressing");
    let lacking = if updated < wanted {
        Some(format!("{updated} of {wanted} pods are of the new revision"))
    } else if old > 0 {
        Some(if old == 1 {
            "1 pod of an older revision is still there".to_owned()
        } else {
            format!("{old} pods of older revisions are still there")
        })
    } else if all > wanted {
        Some(format!("{all} pods are there, {wanted} are asked for"))
    } else if ready < wanted {
        Some(format!("{ready} of {wanted} pods are ready"))
    } else if available < wanted {
        let steady = fields::seconds(object, "/spec/minReadySeconds").unwrap_or_default();
        Some(format!(
            "{available} of {wanted} pods have been ready for {}s",
            steady.as_secs()
        ))
    } else if progressing
        .is_some_and(|found| !found.reason.is_empty() && found.reason != "NewReplicaSetAvailable")
    {
        Some("its controller is not done with the rollout".to_owned())
    } else if fields::condition(object, "Available").is_some_and(|found| !found.holds()) {
        Some("it is not available".to_owned())
    } else {
        None
    };
    let deadline = progressing
        .filter(|found| found.reason == "ProgressDeadlineExceeded")
        .map(|_| {
            let secs = fields::seconds(object, "/spec/progressDeadlineSeconds")
                .map_or(600, |deadline| deadline.as_secs());
            Cause::new(
                CauseKind::NoProgress,
                format!("no progress for {secs}s (progressDeadlineSeconds)"),
            )
        });
    let creation = match set {
        _ if lacking.is_none() => None,
        Some(set) => creation_by_condition(&mut watch, scene, set),
        // Without its ReplicaSets the Deployment's copy must do, though it may tell of an old one.
        None if scene.revisions.is_empty() => creation_by_condition(&mut watch, scene, object),
        None => None,
    };
    let healthy = if set.is_some() && !scene.pods.is_empty() {
        weighed.ready
    } else {
        ready.min(updated)
    };
    Course {
        weighed,
        creation,
        deadline,
        lacking,
        healthy,
        of: wanted,
        steps: steps(&[updated, ready, available, wanted.saturating_sub(old)]),
        note: None,
    }
    .end(watch)
}

fn steps(counts: &[u32]) -> u64 {
    counts.iter().copied().map(u64::from).sum()
}

/// Judges a ReplicaSet that stands by itself.
pub fn replica_set(scene: &Scene<'_>) -> Judged {
    let object = scene.object;
    let mut watch = Watch::new(scene);
    let wanted = replicas(object);
    let pods = staying(&children(scene, object));
    let weighed = weigh(&mut watch, &pods, &[], Some(wanted), true);
    let [all, ready, available] = ["replicas", "readyReplicas", "availableReplicas"]
        .map(|name| fields::count(object, &format!("/status/{name}")));
    let lacking = if all != wanted {
        Some(format!("{all} pods are there, {wanted} are asked for"))
    } else if ready < wanted || available < wanted {
        Some(format!("{} of {wanted} pods are ready", ready.min(available)))
    } else {
        None
    };
    let creation = match lacking {
        Some(_) => creation_by_condition(&mut watch, scene, object),
        None => None,
    };
    Course {
        weighed,
        creation,
        deadline: None,
        lacking,
        healthy: ready,
        of: wanted,
        steps: steps(&[all.min(wanted), ready, available]),
        note: None,
    }
    .end(watch)
}

/// Judges a StatefulSet.
pub fn stateful_set(scene: &Scene<'_>) -> Judged {
    let object = scene.object;
    let mut watch = Watch::new(scene);
    let wanted = replicas(object);
    let newest = fields::text(object, "/status/updateRevision");
    let all_pods = children(scene, object);
    let (new_pods, old_pods): (Vec<&Value>, Vec<&Value>) = all_pods
        .iter()
        .copied()
        .partition(|pod| !newest.is_empty() && fields::label(pod, "controller-revision-hash") == newest);
    let weighed = weigh(&mut watch, &new_pods, &old_pods, Some(wanted), true);
    let [all, updated, current, ready, available] = [
        "replicas",
        "updatedReplicas",
        "currentReplicas",
        "readyReplicas",
        "availableReplicas",
    ]
    .map(|name| fields::count(object, &format!("/status/{name}")));
    let by_hand = fields::text(object, "/spec/updateStrategy/type") == "OnDelete";
    let partition = fields::count(object, "/spec/updateStrategy/rollingUpdate/partition").min(wanted);
    let same = fields::text(object, "/status/currentRevision") == newest && !newest.is_empty();
    let updated = if same { updated.max(current) } else { updated };
    let expected = if by_hand { 0 } else { wanted - partition };
    let steady =
        fields::has(object, "/spec/minReadySeconds") && fields::has(object, "/status/availableReplicas");
    let lacking = if all < wanted {
        Some(format!("{all} of {wanted} pods are there"))
    } else if all > wanted {
        Some(format!("{all} pods are there, {wanted} are asked for"))
    } else if updated < expected {
        Some(format!("{updated} of {expected} pods are of the new revision"))
    } else if ready < wanted {
        Some(format!("{ready} of {wanted} pods are ready"))
    } else if steady && available < wanted {
        Some(format!(
            "{available} of {wanted} pods have been ready long enough"
        ))
    } else {
        None
    };
    let creation = match lacking {
        Some(_) if all < wanted => creation_by_event(&mut watch, scene, object),
        _ => None,
    };
    let behind = wanted.saturating_sub(updated);
    let note = match (by_hand, behind) {
        (_, 0) => None,
        (true, _) => Some(format!(
            "{behind} pods still run the old revision until they are deleted (updateStrategy OnDelete)"
        )),
        (false, _) if partition > 0 => Some(format!(
            "{behind} pods keep the old revision (partition {partition})"
        )),
        _ => None,
    };
    Course {
        weighed,
        creation,
        deadline: None,
        lacking,
        healthy: ready,
        of: wanted,
        steps: steps(&[all.min(wanted), updated, ready]),
        note,
    }
    .end(watch)
}

/// A pod that keeps a StatefulSet from going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckPod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// The pod that an `OrderedReady` StatefulSet would wait for in vain after its template was put back: it is of the newest
/// revision and not ready. Kubernetes waits for it before it replaces it, so it must be deleted by hand once the controller
/// has observed the template that was put back (kubernetes#67250). Asked before that.
pub fn stuck_pod(set: &Value, pods: &[Value]) -> Option<StuckPod> {
    waited_for(set, pods).map(stuck)
}

/// The same on the way to another template, where only a pod counts that has no hope of becoming ready: it has no node, or one
/// of its containers can't be started or keeps crashing. One that is merely slow, such as a database that recovers, is left to
/// Kubernetes.
pub fn failing_pod(set: &Value, pods: &[Value]) -> Option<StuckPod> {
    waited_for(set, pods)
        .filter(|pod| pods::is_hopeless(pod))
        .map(stuck)
}

fn stuck(pod: &Value) -> StuckPod {
    StuckPod {
        namespace: fields::namespace(pod).to_owned(),
        name: fields::name(pod).to_owned(),
        uid: fields::uid(pod).to_owned(),
    }
}

fn waited_for<'p>(set: &Value, pods: &'p [Value]) -> Option<&'p Value> {
    let ordered = matches!(
        fields::text(set, "/spec/podManagementPolicy"),
        "" | "OrderedReady"
    );
    let by_hand = fields::text(set, "/spec/updateStrategy/type") == "OnDelete";
    let observed = fields::int(set, "/status/observedGeneration") >= fields::int(set, "/metadata/generation");
    let newest = fields::text(set, "/status/updateRevision");
    if !ordered || by_hand || !observed || newest.is_empty() {
        return None;
    }
    let partition = fields::int(set, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0);
    let ordinal = |pod: &Value| {
        fields::name(pod)
            .rsplit_once('-')
            .and_then(|(_, number)| number.parse::<i64>().ok())
            .unwrap_or(-1)
    };
    pods.iter()
        .filter(|pod| {
            fields::controlled_by(pod, set)
                && !fields::deleted(pod)
                && fields::label(pod, "controller-revision-hash") == newest
                && ordinal(pod) >= partition
                && !pods::ready(pod)
        })
        .max_by_key(|pod| ordinal(pod))
}

/// The hash of a DaemonSet's present template: its newest ControllerRevision, or what the pods made last carry.
fn daemon_revision<'a>(scene: &Scene<'a>, pods: &[&'a Value]) -> &'a str {
    const HASH: &str = "controller-revision-hash";
    let recorded = scene
        .revisions
        .iter()
        .filter(|revision| fields::controlled_by(revision, scene.object))
        .max_by_key(|revision| fields::int(revision, "/revision"))
        .map(|revision| fields::label(revision, HASH))
        .filter(|hash| !hash.is_empty());
    recorded.unwrap_or_else(|| {
        pods.iter()
            .max_by_key(|pod| fields::time(pod, "/metadata/creationTimestamp"))
            .map_or("", |pod| fields::label(pod, HASH))
    })
}

/// The node a pod of a DaemonSet is for: bound, or named in its affinity.
fn node_of(pod: &Value) -> &str {
    let bound = fields::text(pod, "/spec/nodeName");
    if !bound.is_empty() {
        return bound;
    }
    fields::list(
        pod,
        "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms",
    )
    .iter()
    .flat_map(|term| fields::list(term, "/matchFields"))
    .filter(|field| fields::text(field, "/key") == "metadata.name")
    .find_map(|field| fields::list(field, "/values").first()?.as_str())
    .unwrap_or_default()
}

/// Judges a DaemonSet. What is on nodes that are lost or cordoned is nobody's fault and is not waited for.
pub fn daemon_set(scene: &Scene<'_>) -> Judged {
    let object = scene.object;
    let mut watch = Watch::new(scene);
    let [desired, updated, ready, available] = [
        "desiredNumberScheduled",
        "updatedNumberScheduled",
        "numberReady",
        "numberAvailable",
    ]
    .map(|name| fields::count(object, &format!("/status/{name}")));
    let by_hand = fields::text(object, "/spec/updateStrategy/type") == "OnDelete";
    let excused_node = |pod: &Value| {
        let name = node_of(pod);
        !name.is_empty()
            && scene.nodes.iter().any(|node| {
                fields::name(node) == name && (pods::node_down(node).is_some() || pods::cordoned(node))
            })
    };
    let mine = children(scene, object);
    let newest = daemon_revision(scene, &mine);
    let is_new = |pod: &Value| fields::label(pod, "controller-revision-hash") == newest;
    let (mut excused, mut excused_old) = (0_u32, 0_u32);
    for pod in mine.iter().filter(|pod| excused_node(pod)) {
        excused += u32::from(!pods::ready(pod));
        excused_old += u32::from(!is_new(pod) || fields::deleted(pod));
    }
    let judged: Vec<&Value> = mine
        .iter()
        .copied()
        .filter(|pod| !fields::deleted(pod) && is_new(pod) && !excused_node(pod))
        .collect();
    let allowed = scene.max_unhealthy_nodes();
    let expected = desired.saturating_sub(excused).saturating_sub(allowed);
    let to_update = if by_hand {
        0
    } else {
        desired.saturating_sub(excused_old).saturating_sub(allowed)
    };
    let lacking = if updated < to_update {
        Some(format!("{updated} of {to_update} nodes run the new revision"))
    } else if ready < expected || available < expected {
        Some(format!("{} of {expected} pods are ready", ready.min(available)))
    } else {
        None
    };
    let weighed = weigh(&mut watch, &judged, &[], Some(desired), true);
    // Nodes that are allowed to be unwell are not waited for, so what is wrong there does not fail anything either.
    let weighed = if lacking.is_none() && allowed > 0 {
        Weighed {
            verdict: None,
            ..weighed
        }
    } else {
        weighed
    };
    let creation = match lacking {
        Some(_) => creation_by_event(&mut watch, scene, object),
        None => None,
    };
    let behind = desired.saturating_sub(updated);
    let note = if by_hand && behind > 0 {
        Some(format!(
            "{behind} pods still run the old revision until they are deleted (updateStrategy OnDelete)"
        ))
    } else if excused > 0 {
        Some(format!(
            "{excused} pods on nodes that are not ready or cordoned are not waited for"
        ))
    } else {
        None
    };
    Course {
        weighed,
        creation,
        deadline: None,
        lacking,
        healthy: ready,
        of: desired,
        steps: steps(&[updated, ready, available]),
        note,
    }
    .end(watch)
}

/// Whether an object was made so lately that no status is expected yet.
pub(super) fn young(scene: &Scene<'_>, age: std::time::Duration) -> bool {
    // The later of both: an object that stood for long has a status of its older shape at best.
    let since = fields::time(scene.object, "/metadata/creationTimestamp")
        .map_or(scene.applied.at, |made| made.max(scene.applied.at));
    elapsed(since, scene.now) < age
}
