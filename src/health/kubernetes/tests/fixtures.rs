//! A cluster's answers, shortened to what bears on health.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::*;

pub fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

/// When the release was applied, in all fixtures.
pub fn applied_at() -> Timestamp {
    at("2026-11-21T12:00:00Z")
}

/// Seconds after the apply, as the API server writes times.
pub fn after(secs: i64) -> String {
    fields::later(applied_at(), Duration::from_secs(secs.unsigned_abs())).to_string()
}

/// A scene that owns its parts.
pub struct Stage {
    pub now: Timestamp,
    pub object: Value,
    pub revisions: Vec<Value>,
    pub pods: Vec<Value>,
    pub events: Vec<Value>,
    pub nodes: Vec<Value>,
    pub classes: Vec<Value>,
    pub applied: Applied,
    pub seen: Sightings,
    pub rules: Rules,
}

impl Stage {
    pub fn of(object: Value) -> Self {
        Self {
            now: applied_at(),
            object,
            revisions: Vec::new(),
            pods: Vec::new(),
            events: Vec::new(),
            nodes: vec![node("n1"), node("n2"), node("n3")],
            classes: Vec::new(),
            applied: Applied::at(applied_at()),
            seen: Sightings::default(),
            rules: Rules::default(),
        }
    }

    pub fn scene(&self) -> Scene<'_> {
        Scene {
            now: self.now,
            object: &self.object,
            revisions: &self.revisions,
            pods: &self.pods,
            events: &self.events,
            nodes: &self.nodes,
            classes: &self.classes,
            applied: &self.applied,
            seen: &self.seen,
            rules: &self.rules,
        }
    }

    /// Looks `secs` after the apply, and remembers what was seen.
    pub fn look(&mut self, secs: i64) -> Judged {
        self.now = at(&after(secs));
        let judged = judge(&self.scene());
        self.seen = judged.seen.clone();
        judged
    }
}

pub fn kind(judged: &Judged) -> Option<CauseKind> {
    judged.verdict.cause().map(|cause| cause.kind)
}

pub fn detail(judged: &Judged) -> &str {
    judged.verdict.cause().map_or("", |cause| &cause.detail)
}

#[track_caller]
pub fn is_failed(judged: &Judged, wanted: CauseKind) {
    assert!(
        judged.fails() && kind(judged) == Some(wanted),
        "wanted Failed({wanted:?}): {judged:?}"
    );
}

#[track_caller]
pub fn is_failing(judged: &Judged, wanted: CauseKind) {
    assert!(
        matches!(judged.verdict, Verdict::Failing(_)) && kind(judged) == Some(wanted),
        "wanted Failing({wanted:?}): {judged:?}"
    );
}

#[track_caller]
pub fn is_progressing(judged: &Judged, wanted: CauseKind) {
    assert!(
        matches!(judged.verdict, Verdict::Progressing(_)) && kind(judged) == Some(wanted),
        "wanted Progressing({wanted:?}): {judged:?}"
    );
}

#[track_caller]
pub fn is_healthy(judged: &Judged) {
    assert_eq!(judged.verdict, Verdict::Healthy, "{judged:?}");
}

pub fn condition(kind: &str, status: &str, reason: &str, message: &str, secs: i64) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message,
           "lastTransitionTime": after(secs), "lastUpdateTime": after(secs)})
}

/// A Deployment of generation 2, observed; `counts`: replicas, updated, ready, available.
pub fn deployment(wanted: u32, counts: [u32; 4]) -> Value {
    let [all, updated, ready, available] = counts;
    let done = counts.iter().all(|count| *count == wanted);
    let (reason, message) = if done {
        (
            "NewReplicaSetAvailable",
            "ReplicaSet \"web-7d9\" has successfully progressed.",
        )
    } else {
        ("ReplicaSetUpdated", "ReplicaSet \"web-7d9\" is progressing.")
    };
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "uid": "d-uid", "generation": 2,
            "creationTimestamp": "2026-11-01T08:00:00Z",
            "annotations": {"deployment.kubernetes.io/revision": "4"}},
        "spec": {"replicas": wanted, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": template()},
        "status": {"observedGeneration": 2, "replicas": all, "updatedReplicas": updated,
            "readyReplicas": ready, "availableReplicas": available,
            "conditions": [
                condition("Available", if available >= wanted { "True" } else { "False" }, "MinimumReplicas", "", 0),
                condition("Progressing", "True", reason, message, 0)]}
    })
}

pub fn template() -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": pod_spec()})
}

pub fn pod_spec() -> Value {
    json!({"restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "nodeName": "n1",
        "containers": [{"name": "app", "image": "registry.example/web:1.2", "imagePullPolicy": "IfNotPresent", "resources": {}}]})
}

pub fn replica_set(uid: &str, revision: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": format!("web-{uid}"), "namespace": "shop", "uid": uid, "generation": 1,
            "annotations": {"deployment.kubernetes.io/revision": revision.to_string()},
            "labels": {"app": "web", "pod-template-hash": uid},
            "ownerReferences": [owner("Deployment", "d-uid")]},
        "spec": {"replicas": 3}, "status": {"observedGeneration": 1, "replicas": 3}
    })
}

pub fn owner(kind: &str, uid: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "name": "web", "uid": uid, "controller": true, "blockOwnerDeletion": true})
}

/// A pod that runs and is ready.
pub fn pod(name: &str, owner_kind: &str, owner_uid: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("{name}-uid"), "creationTimestamp": after(1),
            "labels": {"app": "web"}, "ownerReferences": [owner(owner_kind, owner_uid)]},
        "spec": pod_spec(),
        "status": {"phase": "Running", "startTime": after(1), "qosClass": "BestEffort",
            "conditions": [
                condition("PodScheduled", "True", "", "", 1), condition("Initialized", "True", "", "", 1),
                condition("ContainersReady", "True", "", "", 3), condition("Ready", "True", "", "", 3)],
            "containerStatuses": [{"name": "app", "image": "registry.example/web:1.2", "imageID": "registry.example/web@sha256:1",
                "containerID": "containerd://1", "ready": true, "started": true, "restartCount": 0,
                "state": {"running": {"startedAt": after(2)}}, "lastState": {}}]}
    })
}

/// Puts a state on the pod's only container, which is then not ready.
pub fn with_state(mut pod: Value, state: Value, last: Value, restarts: u64) -> Value {
    let status = &mut pod["status"]["containerStatuses"][0];
    status["state"] = state;
    status["lastState"] = last;
    status["restartCount"] = json!(restarts);
    status["ready"] = json!(false);
    status["started"] = json!(false);
    pod["status"]["conditions"][2] = condition(
        "ContainersReady",
        "False",
        "ContainersNotReady",
        "containers with unready status: [app]",
        1,
    );
    pod["status"]["conditions"][3] = condition(
        "Ready",
        "False",
        "ContainersNotReady",
        "containers with unready status: [app]",
        1,
    );
    pod
}

pub fn waiting(pod: Value, reason: &str, message: &str) -> Value {
    let mut pod = with_state(
        pod,
        json!({"waiting": {"reason": reason, "message": message}}),
        json!({}),
        0,
    );
    pod["status"]["phase"] = json!("Pending");
    pod
}

pub fn exit(code: i64, reason: &str, secs: i64) -> Value {
    json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": after(secs - 1), "finishedAt": after(secs), "containerID": "containerd://0"}})
}

/// After `exits` exits with `code`, the last at `secs`, waiting for the next start.
pub fn backing_off(pod: Value, code: i64, reason: &str, exits: u64, secs: i64) -> Value {
    with_state(
        pod,
        json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container=app"}}),
        exit(code, reason, secs),
        exits - 1,
    )
}

pub fn unscheduled(mut pod: Value, secs: i64) -> Value {
    pod["status"] = json!({"phase": "Pending", "conditions": [condition("PodScheduled", "False", "Unschedulable",
        "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available.", secs)]});
    pod["spec"].as_object_mut().expect("a spec").remove("nodeName");
    pod
}

pub fn event(
    kind: &str,
    name: &str,
    uid: &str,
    level: &str,
    reason: &str,
    message: &str,
    secs: i64,
) -> Value {
    json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("{name}.{reason}.{secs}"), "namespace": "shop"},
        "involvedObject": {"kind": kind, "namespace": "shop", "name": name, "uid": uid},
        "type": level, "reason": reason, "message": message, "count": 1,
        "firstTimestamp": after(secs), "lastTimestamp": after(secs)})
}

pub fn pod_event(name: &str, reason: &str, message: &str, secs: i64) -> Value {
    event(
        "Pod",
        name,
        &format!("{name}-uid"),
        "Warning",
        reason,
        message,
        secs,
    )
}

pub fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": format!("{name}-uid")}, "spec": {},
        "status": {"conditions": [condition("Ready", "True", "KubeletReady", "kubelet is posting ready status", 0)]}})
}

pub fn lost(mut node: Value) -> Value {
    node["status"]["conditions"][0] = condition(
        "Ready",
        "Unknown",
        "NodeStatusUnknown",
        "Kubelet stopped posting node status.",
        5,
    );
    node
}

/// A Deployment of 3 whose new ReplicaSet `new` has these pods, and whose old one has one pod left.
pub fn rollout(counts: [u32; 4], pods: Vec<Value>) -> Stage {
    let mut stage = Stage::of(deployment(3, counts));
    stage.revisions = vec![replica_set("old", 3), replica_set("new", 4)];
    stage.pods = pods;
    stage
}

pub fn new_pod(name: &str) -> Value {
    pod(name, "ReplicaSet", "new")
}

pub fn stateful_set(wanted: u32, all: u32, updated: u32, ready: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "shop", "uid": "s-uid", "generation": 2, "creationTimestamp": "2026-11-01T08:00:00Z"},
        "spec": {"replicas": wanted, "serviceName": "db", "podManagementPolicy": "OrderedReady",
            "selector": {"matchLabels": {"app": "db"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}, "template": template()},
        "status": {"observedGeneration": 2, "replicas": all, "readyReplicas": ready, "availableReplicas": ready,
            "updatedReplicas": updated, "currentReplicas": all.saturating_sub(updated),
            "currentRevision": if updated == wanted { "db-2" } else { "db-1" }, "updateRevision": "db-2", "collisionCount": 0}
    })
}

pub fn set_pod(name: &str, revision: &str) -> Value {
    let mut pod = pod(name, "StatefulSet", "s-uid");
    pod["metadata"]["labels"]["controller-revision-hash"] = json!(revision);
    pod
}

pub fn daemon_set(desired: u32, updated: u32, ready: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": "shop", "uid": "ds-uid", "generation": 2, "creationTimestamp": "2026-11-01T08:00:00Z"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": template()},
        "status": {"observedGeneration": 2, "desiredNumberScheduled": desired, "currentNumberScheduled": desired,
            "updatedNumberScheduled": updated, "numberReady": ready, "numberAvailable": ready, "numberMisscheduled": 0}
    })
}

pub fn daemon_pod(name: &str, node: &str, hash: &str) -> Value {
    let mut pod = pod(name, "DaemonSet", "ds-uid");
    pod["spec"]["nodeName"] = json!(node);
    pod["metadata"]["labels"]["controller-revision-hash"] = json!(hash);
    pod
}

pub fn job(status: Value) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "migrate", "namespace": "shop", "uid": "j-uid", "generation": 1, "creationTimestamp": after(0)},
        "spec": {"backoffLimit": 2, "completions": 1, "parallelism": 1, "template": template()}, "status": status})
}

pub fn job_pod(name: &str) -> Value {
    let mut pod = pod(name, "Job", "j-uid");
    pod["spec"]["restartPolicy"] = json!("Never");
    pod
}
