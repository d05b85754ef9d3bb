//! kstatus, the rules that Flux and kpt use: the same where they are right, and each difference on purpose.

use serde_json::{Value, json};

use super::super::*;
use super::fixtures::*;

/// What kstatus answers (its documented rules, `pkg/kstatus` of cli-utils).
#[derive(Clone, Copy, PartialEq, Debug)]
enum Theirs {
    Current,
    InProgress,
    Failed,
    Terminating,
}
use Theirs::{Current, Failed, InProgress, Terminating};

fn same(ours: &Judged, theirs: Theirs) -> bool {
    match (&ours.verdict, theirs) {
        (Verdict::Healthy | Verdict::Suspended, Current) | (Verdict::Failed(_), Failed) => true,
        (Verdict::Progressing(cause), Terminating) => cause.kind == CauseKind::Terminating,
        (Verdict::Progressing(_) | Verdict::Failing(_), InProgress) => true,
        _ => false,
    }
}

fn plain(api: &str, kind: &str, spec: Value, status: Value) -> Value {
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x", "namespace": "shop", "uid": "x-uid", "generation": 1, "creationTimestamp": after(0)}, "spec": spec, "status": status})
}

fn patched(mut value: Value, pointer: &str, new: Value) -> Value {
    *value.pointer_mut(pointer).expect("a field of the fixture") = new;
    value
}

fn conditions(found: Value) -> Value {
    json!({"conditions": found})
}

/// `(case, object, their answer, why ours differs)`.
fn cases() -> Vec<(&'static str, Value, Theirs, Option<&'static str>)> {
    let deadline = patched(
        deployment(3, [4, 1, 3, 3]),
        "/status/conditions/1",
        condition("Progressing", "False", "ProgressDeadlineExceeded", "", 600),
    );
    let unavailable = patched(
        deployment(3, [3; 4]),
        "/status/conditions/0",
        condition("Available", "False", "MinimumReplicasUnavailable", "", 0),
    );
    let rolling = patched(
        deployment(3, [3; 4]),
        "/status/conditions/1",
        condition("Progressing", "True", "ReplicaSetUpdated", "", 0),
    );
    let partition = patched(
        stateful_set(3, 3, 1, 3),
        "/spec/updateStrategy/rollingUpdate/partition",
        json!(2),
    );
    let on_delete = patched(
        stateful_set(3, 3, 0, 1),
        "/spec/updateStrategy",
        json!({"type": "OnDelete"}),
    );
    let mut unscheduled_pod = unscheduled(new_pod("a"), -60);
    unscheduled_pod["metadata"]["creationTimestamp"] = json!("2026-11-21T11:50:00Z");
    let mut failed_pod = new_pod("a");
    failed_pod["status"] = json!({"phase": "Failed"});
    let mut done_pod = new_pod("a");
    (done_pod["status"], done_pod["spec"]["restartPolicy"]) = (json!({"phase": "Succeeded"}), json!("Never"));
    let mut deleted = deployment(3, [3; 4]);
    deleted["metadata"]["deletionTimestamp"] = json!(after(1));
    let mut silent = plain("example.com/v1", "Widget", json!({}), json!(null));
    silent.as_object_mut().expect("an object").remove("status");
    let mut refused = replica_set("new", 4);
    refused["status"]["conditions"] = json!([condition(
        "ReplicaFailure",
        "True",
        "FailedCreate",
        "exceeded quota",
        0
    )]);
    vec![
        ("being deleted", deleted, Terminating, None),
        (
            "not observed",
            patched(deployment(3, [3; 4]), "/status/observedGeneration", json!(1)),
            InProgress,
            None,
        ),
        ("Deployment done", deployment(3, [3; 4]), Current, None),
        ("Deployment none", deployment(0, [0; 4]), Current, None),
        ("Deployment deadline", deadline, Failed, None),
        (
            "Deployment not all updated",
            deployment(3, [4, 1, 3, 3]),
            InProgress,
            None,
        ),
        (
            "Deployment surplus",
            deployment(3, [4, 3, 4, 4]),
            InProgress,
            None,
        ),
        (
            "Deployment not all ready",
            deployment(3, [3, 3, 2, 2]),
            InProgress,
            None,
        ),
        ("Deployment not available", unavailable, InProgress, None),
        ("Deployment still progressing", rolling, InProgress, None),
        ("StatefulSet done", stateful_set(3, 3, 3, 3), Current, None),
        ("StatefulSet too few", stateful_set(3, 2, 2, 2), InProgress, None),
        ("StatefulSet surplus", stateful_set(3, 4, 3, 4), InProgress, None),
        (
            "StatefulSet not ready",
            stateful_set(3, 3, 3, 1),
            InProgress,
            None,
        ),
        ("StatefulSet revision", stateful_set(3, 3, 1, 3), InProgress, None),
        ("StatefulSet partition", partition, Current, None),
        (
            "StatefulSet OnDelete, not ready",
            on_delete,
            Current,
            Some("kstatus calls OnDelete current whatever its pods do"),
        ),
        ("DaemonSet done", daemon_set(3, 3, 3), Current, None),
        ("DaemonSet not updated", daemon_set(3, 1, 3), InProgress, None),
        ("DaemonSet not ready", daemon_set(3, 3, 2), InProgress, None),
        ("ReplicaSet failure", refused, InProgress, None),
        (
            "Job complete",
            job(conditions(json!([condition("Complete", "True", "", "", 1)]))),
            Current,
            None,
        ),
        (
            "Job failed",
            job(conditions(json!([condition(
                "Failed",
                "True",
                "BackoffLimitExceeded",
                "",
                1
            )]))),
            Failed,
            None,
        ),
        (
            "Job running",
            job(json!({"startTime": after(0), "active": 1})),
            Current,
            Some("a Job that has started has not done its work"),
        ),
        (
            "CronJob",
            plain("batch/v1", "CronJob", json!({}), json!({})),
            Current,
            None,
        ),
        ("Pod ready", new_pod("a"), Current, None),
        ("Pod succeeded", done_pod, Current, None),
        (
            "Pod failed",
            failed_pod,
            Current,
            Some("a pod that failed is not current"),
        ),
        (
            "Pod not scheduled for 60 s",
            unscheduled_pod,
            Failed,
            Some("120 s, and longer when the autoscaler adds a node"),
        ),
        (
            "PVC bound",
            plain(
                "v1",
                "PersistentVolumeClaim",
                json!({}),
                json!({"phase": "Bound"}),
            ),
            Current,
            None,
        ),
        (
            "PVC pending",
            plain(
                "v1",
                "PersistentVolumeClaim",
                json!({}),
                json!({"phase": "Pending"}),
            ),
            InProgress,
            None,
        ),
        (
            "Service",
            plain(
                "v1",
                "Service",
                json!({"type": "ClusterIP", "clusterIP": "10.0.0.1"}),
                json!({}),
            ),
            Current,
            None,
        ),
        (
            "Service LB without address",
            plain(
                "v1",
                "Service",
                json!({"type": "LoadBalancer", "clusterIP": "10.0.0.1"}),
                json!({}),
            ),
            Current,
            Some("shown as on its way; it holds nothing back"),
        ),
        (
            "Ingress",
            plain(
                "networking.k8s.io/v1",
                "Ingress",
                json!({}),
                json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}),
            ),
            Current,
            None,
        ),
        (
            "PDB",
            plain(
                "policy/v1",
                "PodDisruptionBudget",
                json!({}),
                json!({"observedGeneration": 1, "currentHealthy": 0, "desiredHealthy": 1}),
            ),
            Current,
            None,
        ),
        (
            "ConfigMap",
            plain("v1", "ConfigMap", json!({}), json!({})),
            Current,
            None,
        ),
        (
            "CRD established",
            plain(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                json!({}),
                conditions(json!([
                    condition("NamesAccepted", "True", "", "", 0),
                    condition("Established", "True", "", "", 0)
                ])),
            ),
            Current,
            None,
        ),
        (
            "CRD installing",
            plain(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                json!({}),
                conditions(json!([condition("Established", "False", "Installing", "", 0)])),
            ),
            InProgress,
            None,
        ),
        (
            "CRD names",
            plain(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                json!({}),
                conditions(json!([condition(
                    "NamesAccepted",
                    "False",
                    "PluralConflict",
                    "",
                    0
                )])),
            ),
            Failed,
            None,
        ),
        (
            "custom, ready",
            plain(
                "example.com/v1",
                "Widget",
                json!({}),
                conditions(json!([condition("Ready", "True", "", "", 0)])),
            ),
            Current,
            None,
        ),
        (
            "custom, not ready",
            plain(
                "example.com/v1",
                "Widget",
                json!({}),
                conditions(json!([condition("Ready", "False", "", "", 0)])),
            ),
            InProgress,
            None,
        ),
        (
            "custom, reconciling",
            plain(
                "example.com/v1",
                "Widget",
                json!({}),
                conditions(json!([condition("Reconciling", "True", "", "", 0)])),
            ),
            InProgress,
            None,
        ),
        (
            "custom, stalled",
            plain(
                "example.com/v1",
                "Widget",
                json!({}),
                conditions(json!([condition("Stalled", "True", "", "", 0)])),
            ),
            Failed,
            None,
        ),
        (
            "custom, no status",
            silent,
            Current,
            Some("its controller has 30 s to say something"),
        ),
    ]
}

#[test]
fn the_rules_are_those_of_kstatus_but_for_the_differences_on_purpose() {
    for (name, object, theirs, why) in cases() {
        let ours = Stage::of(object).look(2);
        match why {
            None => assert!(
                same(&ours, theirs),
                "{name}: kstatus says {theirs:?}, we say {ours:?}"
            ),
            Some(why) => assert!(
                !same(&ours, theirs),
                "{name}: this is no difference any more ({why}): {ours:?}"
            ),
        }
    }
}
