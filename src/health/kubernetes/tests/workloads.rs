//! Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, Pod.

use serde_json::json;

use super::super::*;
use super::fixtures::*;

#[test]
fn a_finished_rollout_is_healthy_and_says_of_how_many() {
    let mut stage = rollout([3; 4], ["a", "b", "c"].map(new_pod).to_vec());
    let judged = stage.look(10);
    is_healthy(&judged);
    assert_eq!((judged.healthy, judged.of, judged.gating), (3, 3, true));
}

#[test]
fn stale_status_is_not_success() {
    // The status is complete, but about generation 1; ours is 2.
    let mut stage = rollout([3; 4], Vec::new());
    stage.object["status"]["observedGeneration"] = json!(1);
    is_progressing(&stage.look(1), CauseKind::NotObserved);
    // The watch's object is still the one before our apply: generation and observed agree, ours is newer.
    stage.object["metadata"]["generation"] = json!(1);
    stage.applied.generation = Some(2);
    is_progressing(&stage.look(1), CauseKind::NotObserved);
    // No status at all yet.
    stage.object["metadata"]["generation"] = json!(2);
    stage.object["status"] = json!({});
    is_progressing(&stage.look(1), CauseKind::NotObserved);
}

#[test]
fn stale_failure_is_not_failure_either() {
    let mut stage = rollout([3, 1, 2, 2], vec![backing_off(new_pod("a"), 1, "Error", 5, 60)]);
    stage.object["status"]["observedGeneration"] = json!(1);
    is_progressing(&stage.look(70), CauseKind::NotObserved);
}

#[test]
fn each_step_of_a_rollout_is_progress_and_grows() {
    let mut steps = Vec::new();
    for counts in [
        [3, 0, 3, 3],
        [4, 1, 3, 3],
        [4, 1, 4, 4],
        [4, 2, 3, 3],
        [4, 3, 4, 4],
        [3, 3, 3, 3],
    ] {
        let judged = rollout(counts, Vec::new()).look(5);
        assert!(
            matches!(
                &judged.verdict,
                Verdict::Healthy
                    | Verdict::Progressing(Cause {
                        kind: CauseKind::RollingOut,
                        ..
                    })
            ),
            "{judged:?}"
        );
        steps.push(judged.steps);
    }
    assert!(steps.first() < steps.last(), "{steps:?}");
    let judged = rollout([4, 3, 3, 3], Vec::new()).look(5);
    assert_eq!(detail(&judged), "1 pod of an older revision is still there");
}

#[test]
fn old_pods_do_not_fail_the_fix() {
    // Revision 3 crash-loops for ever; the pods of revision 4 are fine so far.
    let broken = backing_off(pod("old-1", "ReplicaSet", "old"), 1, "Error", 40, 5);
    let mut stage = rollout([3, 1, 1, 1], vec![broken, new_pod("a")]);
    is_progressing(&stage.look(20), CauseKind::RollingOut);
    let broken = backing_off(set_pod("db-1", "db-bad"), 1, "Error", 40, 5);
    let mut stage = Stage::of(stateful_set(3, 3, 1, 2));
    stage.pods = vec![set_pod("db-0", "db-1"), broken, set_pod("db-2", "db-2")];
    is_progressing(&stage.look(20), CauseKind::RollingOut);
}

#[test]
fn a_list_of_replica_sets_that_is_older_than_the_revision_judges_no_pod() {
    let mut stage = rollout(
        [3, 0, 3, 3],
        vec![backing_off(pod("o", "ReplicaSet", "old"), 1, "Error", 9, 5)],
    );
    stage.revisions = vec![replica_set("old", 3)];
    is_progressing(&stage.look(20), CauseKind::RollingOut);
}

#[test]
fn the_deadline_of_the_spec_fails_and_says_why() {
    let mut stage = rollout([4, 1, 3, 3], vec![waiting(new_pod("a"), "ContainerCreating", "")]);
    stage.object["status"]["conditions"][1] = condition(
        "Progressing",
        "False",
        "ProgressDeadlineExceeded",
        "ReplicaSet \"web-new\" has timed out progressing.",
        600,
    );
    let judged = stage.look(601);
    is_failed(&judged, CauseKind::NoProgress);
    assert_eq!(detail(&judged), "no progress for 600s (progressDeadlineSeconds)");
}

#[test]
fn a_paused_rollout_is_suspended_and_no_replicas_are_healthy() {
    let mut paused = rollout([3, 0, 3, 3], Vec::new());
    paused.object["spec"]["paused"] = json!(true);
    assert_eq!(paused.look(5).verdict, Verdict::Suspended);
    let mut none = Stage::of(deployment(0, [0; 4]));
    let judged = none.look(5);
    is_healthy(&judged);
    assert_eq!((judged.healthy, judged.of), (0, 0));
}

#[test]
fn pods_that_are_ready_for_less_than_min_ready_seconds_are_not_available() {
    let mut stage = rollout([3, 3, 3, 1], ["a", "b", "c"].map(new_pod).to_vec());
    stage.object["spec"]["minReadySeconds"] = json!(30);
    let judged = stage.look(5);
    is_progressing(&judged, CauseKind::RollingOut);
    assert_eq!(detail(&judged), "1 of 3 pods have been ready for 30s");
}

#[test]
fn a_quota_fails_within_its_patience_and_not_at_the_deadline() {
    let mut stage = rollout([3, 0, 3, 3], Vec::new());
    let message = "pods \"web-new-x\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=3, limited: pods=3";
    stage.revisions[1]["status"]["conditions"] =
        json!([condition("ReplicaFailure", "True", "FailedCreate", message, 1)]);
    let judged = stage.look(5);
    is_failing(&judged, CauseKind::Quota);
    assert_eq!(judged.due, Some(at(&after(35))));
    assert_eq!(CauseKind::Quota.class(), Class::Capacity);
    is_failed(&stage.look(35), CauseKind::Quota);
    // A pod that could be made all the same is progress.
    stage.revisions[1]["status"]["replicas"] = json!(4);
    is_failing(&stage.look(36), CauseKind::Quota);
}

#[test]
fn a_refused_pod_is_config_and_a_webhook_that_is_away_is_not() {
    for (message, wanted) in [
        (
            "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": privileged",
            CauseKind::Refused,
        ),
        (
            "admission webhook \"deny.example\" denied the request: no team label",
            CauseKind::Refused,
        ),
        (
            "pods \"a\" is forbidden: maximum cpu usage per Container is 1, but limit is 2",
            CauseKind::Refused,
        ),
        (
            "pods \"a\" is forbidden: error looking up service account shop/web: serviceaccount \"web\" not found",
            CauseKind::Refused,
        ),
        (
            "Internal error occurred: failed calling webhook \"w\": connection refused",
            CauseKind::NotCreated,
        ),
    ] {
        let mut stage = rollout([3, 0, 3, 3], Vec::new());
        stage.revisions[1]["status"]["conditions"] =
            json!([condition("ReplicaFailure", "True", "FailedCreate", message, 1)]);
        is_failing(&stage.look(5), wanted);
    }
    assert_eq!(CauseKind::Refused.class(), Class::Config);
    assert_eq!(CauseKind::NotCreated.class(), Class::Transient);
}

#[test]
fn an_old_replica_set_that_cannot_make_pods_is_nothing_to_the_new_one() {
    let mut stage = rollout([4, 1, 3, 3], vec![new_pod("a")]);
    stage.revisions[0]["status"]["conditions"] = json!([condition(
        "ReplicaFailure",
        "True",
        "FailedCreate",
        "exceeded quota: x",
        1
    )]);
    stage.object["status"]["conditions"]
        .as_array_mut()
        .expect("a list")
        .push(condition(
            "ReplicaFailure",
            "True",
            "FailedCreate",
            "exceeded quota: x",
            1,
        ));
    is_progressing(&stage.look(100), CauseKind::RollingOut);
}

#[test]
fn node_loss_is_not_the_release() {
    let mut stage = rollout(
        [4, 2, 3, 3],
        vec![
            new_pod("a"),
            with_state(
                new_pod("b"),
                json!({"running": {"startedAt": after(2)}}),
                json!({}),
                0,
            ),
        ],
    );
    stage.pods[1]["spec"]["nodeName"] = json!("n2");
    stage.nodes[1] = lost(node("n2"));
    stage.object["status"]["conditions"][1] = condition(
        "Progressing",
        "False",
        "ProgressDeadlineExceeded",
        "timed out",
        600,
    );
    let judged = stage.look(700);
    is_progressing(&judged, CauseKind::NodeTrouble);
    assert!(
        judged.stops_clock() && detail(&judged).contains("node n2"),
        "{judged:?}"
    );
    // A pod that no node can take because all are lost; while one is left, it is the release that finds no room.
    let mut stage = rollout([1, 1, 0, 0], vec![unscheduled(new_pod("a"), 1)]);
    for index in 0..stage.nodes.len() {
        is_failed(&stage.look(700), CauseKind::Unschedulable);
        stage.nodes[index] = lost(stage.nodes[index].clone());
    }
    let judged = stage.look(700);
    is_progressing(&judged, CauseKind::NodeTrouble);
    assert!(judged.stops_clock(), "{judged:?}");
}

#[test]
fn an_eviction_explains_a_missing_pod_for_a_while_and_history_nothing() {
    let mut evicted = new_pod("b");
    evicted["status"] = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory.",
        "conditions": [condition("DisruptionTarget", "True", "TerminationByKubelet", "The node was low on resource: memory.", 10)]});
    let mut stage = rollout([4, 2, 3, 3], vec![new_pod("a"), evicted]);
    let judged = stage.look(20);
    is_progressing(&judged, CauseKind::NodeTrouble);
    assert!(judged.stops_clock());
    is_progressing(&stage.look(100), CauseKind::RollingOut);
}

#[test]
fn pods_evicted_twice_for_their_own_limit_fail_the_release() {
    let full = |name: &str| {
        let mut pod = new_pod(name);
        pod["status"] = json!({"phase": "Failed", "reason": "Evicted",
            "message": "Pod ephemeral local storage usage exceeds the total limit of containers 10Mi."});
        pod
    };
    let mut stage = rollout([4, 1, 3, 3], vec![full("a")]);
    is_failing(&stage.look(20), CauseKind::OverLimit);
    stage.pods.push(full("b"));
    is_failed(&stage.look(20), CauseKind::OverLimit);
}

#[test]
fn a_stateful_set_is_healthy_when_all_run_its_update_revision() {
    let mut stage = Stage::of(stateful_set(3, 3, 3, 3));
    is_healthy(&stage.look(5));
    is_progressing(
        &Stage::of(stateful_set(3, 3, 2, 3)).look(5),
        CauseKind::RollingOut,
    );
    is_progressing(
        &Stage::of(stateful_set(3, 3, 3, 2)).look(5),
        CauseKind::RollingOut,
    );
    is_progressing(
        &Stage::of(stateful_set(3, 2, 2, 2)).look(5),
        CauseKind::RollingOut,
    );
    is_progressing(
        &Stage::of(stateful_set(3, 4, 3, 4)).look(5),
        CauseKind::RollingOut,
    );
}

#[test]
fn a_new_pod_of_a_stateful_set_fails_it_early() {
    let mut stage = Stage::of(stateful_set(3, 3, 1, 2));
    stage.pods = vec![
        set_pod("db-0", "db-1"),
        set_pod("db-1", "db-1"),
        backing_off(set_pod("db-2", "db-2"), 1, "Error", 2, 9),
    ];
    let judged = stage.look(10);
    is_failed(&judged, CauseKind::CrashLoop);
    assert_eq!(
        detail(&judged),
        "1/3 pods: app: CrashLoopBackOff, exit code 1, twice"
    );
}

#[test]
fn a_partition_is_done_when_the_pods_above_it_are_new() {
    let mut stage = Stage::of(stateful_set(3, 3, 1, 3));
    stage.object["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(2);
    let judged = stage.look(5);
    is_healthy(&judged);
    assert_eq!(
        judged.note.as_deref(),
        Some("2 pods keep the old revision (partition 2)")
    );
}

#[test]
fn on_delete_says_how_many_pods_are_old() {
    let mut stage = Stage::of(stateful_set(3, 3, 0, 3));
    stage.object["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    let judged = stage.look(5);
    is_healthy(&judged);
    assert!(
        judged
            .note
            .is_some_and(|note| note.starts_with("3 pods still run the old revision"))
    );
}

#[test]
fn a_stateful_set_tells_quota_in_events_only() {
    let mut stage = Stage::of(stateful_set(3, 2, 0, 2));
    stage.events = vec![event(
        "StatefulSet",
        "db",
        "s-uid",
        "Warning",
        "FailedCreate",
        "create Pod db-2 in StatefulSet db failed error: pods \"db-2\" is forbidden: exceeded quota: q",
        2,
    )];
    is_failing(&stage.look(5), CauseKind::Quota);
    is_failed(&stage.look(35), CauseKind::Quota);
    // Before our apply it is history; after a later success too.
    let mut stage = Stage::of(stateful_set(3, 2, 0, 2));
    stage.events = vec![event(
        "StatefulSet",
        "db",
        "s-uid",
        "Warning",
        "FailedCreate",
        "exceeded quota: q",
        2,
    )];
    stage.events.push(event(
        "StatefulSet",
        "db",
        "s-uid",
        "Normal",
        "SuccessfulCreate",
        "create Pod db-2",
        4,
    ));
    is_progressing(&stage.look(60), CauseKind::RollingOut);
}

#[test]
fn the_stuck_pod_is_the_one_that_ordered_ready_waits_for() {
    let mut set = stateful_set(3, 3, 0, 2);
    let newest = set["status"]["updateRevision"]
        .as_str()
        .expect("it has one")
        .to_owned();
    let bad = backing_off(set_pod("db-2", &newest), 1, "Error", 9, 5);
    let pods = vec![set_pod("db-0", "db-old"), set_pod("db-1", "db-old"), bad];
    assert_eq!(
        stuck_pod(&set, &pods).map(|pod| (pod.name, pod.uid)),
        Some(("db-2".into(), "db-2-uid".into()))
    );
    // On the way on it is taken away only where it has no hope.
    assert!(failing_pod(&set, &pods).is_some());
    let mut slow = pods.clone();
    slow[2] = with_state(
        set_pod("db-2", &newest),
        json!({"running": {"startedAt": after(2)}}),
        exit(1, "Error", 2),
        1,
    );
    assert!(stuck_pod(&set, &slow).is_some() && failing_pod(&set, &slow).is_none());
    slow[2] = unscheduled(set_pod("db-2", &newest), 1);
    assert!(failing_pod(&set, &slow).is_some());
    // Pods of the revision before are none of its business.
    assert_eq!(stuck_pod(&set, &pods[..2]), None);
    let mut parallel = set.clone();
    parallel["spec"]["podManagementPolicy"] = json!("Parallel");
    assert_eq!(stuck_pod(&parallel, &pods), None);
    // Before the controller has seen the template, the revision is the old one.
    set["status"]["observedGeneration"] = json!(1);
    assert_eq!(stuck_pod(&set, &pods), None);
}

#[test]
fn a_daemon_set_does_not_wait_for_lost_or_cordoned_nodes() {
    let sick = with_state(
        daemon_pod("ag-3", "n3", "h2"),
        json!({"running": {"startedAt": after(2)}}),
        json!({}),
        0,
    );
    let mut stage = Stage::of(daemon_set(3, 3, 2));
    stage.pods = vec![
        daemon_pod("ag-1", "n1", "h2"),
        daemon_pod("ag-2", "n2", "h2"),
        sick,
    ];
    is_progressing(&stage.look(5), CauseKind::RollingOut);
    stage.nodes[2] = lost(node("n3"));
    let judged = stage.look(5);
    is_healthy(&judged);
    assert!(judged.note.is_some());
    stage.nodes[2] = node("n3");
    stage.nodes[2]["spec"]["unschedulable"] = json!(true);
    is_healthy(&stage.look(5));
    stage.nodes[2] = node("n3");
    stage.rules.max_unhealthy_nodes = 1;
    is_healthy(&stage.look(5));
}

#[test]
fn a_daemon_set_fails_on_its_new_pods_only() {
    let revision = |name: &str, number: i64, hash: &str| {
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": number,
            "metadata": {"name": name, "uid": name, "labels": {"controller-revision-hash": hash}, "ownerReferences": [owner("DaemonSet", "ds-uid")]}})
    };
    let mut stage = Stage::of(daemon_set(3, 1, 1));
    stage.revisions = vec![revision("agent-h1", 1, "h1"), revision("agent-h2", 2, "h2")];
    stage.pods = vec![
        backing_off(daemon_pod("ag-1", "n1", "h1"), 1, "Error", 9, 5),
        daemon_pod("ag-2", "n2", "h2"),
    ];
    is_progressing(&stage.look(10), CauseKind::RollingOut);
    stage.pods[1] = backing_off(daemon_pod("ag-2", "n2", "h2"), 1, "Error", 2, 5);
    is_failed(&stage.look(10), CauseKind::CrashLoop);
}

#[test]
fn job_must_complete() {
    let mut stage = Stage::of(job(json!({"active": 1, "ready": 1})));
    is_progressing(&stage.look(5), CauseKind::JobRunning);
    stage.object = job(json!({"active": 1, "failed": 1}));
    let judged = stage.look(6);
    assert_eq!(detail(&judged), "the job is running, one try failed");
    stage.object = job(json!({"succeeded": 1, "completionTime": after(9), "conditions": [
        condition("SuccessCriteriaMet", "True", "CompletionsReached", "", 8), condition("Complete", "True", "CompletionsReached", "", 9)]}));
    is_healthy(&stage.look(10));
    // Its TTL removes it: it stays done.
    stage.object = json!(null);
    is_healthy(&stage.look(20));
    stage.seen = Sightings::default();
    assert_eq!(stage.look(20).verdict, Verdict::Missing);
}

#[test]
fn a_failed_job_names_the_code_and_the_pod() {
    let mut ended = job_pod("migrate-x");
    ended["status"]["phase"] = json!("Failed");
    ended["status"]["containerStatuses"][0]["state"] = exit(3, "Error", 8);
    let mut stage = Stage::of(job(json!({"failed": 3, "conditions": [
        condition("Failed", "True", "BackoffLimitExceeded", "Job has reached the specified backoff limit", 9)]})));
    stage.pods = vec![ended];
    let judged = stage.look(10);
    is_failed(&judged, CauseKind::JobFailed);
    assert!(
        detail(&judged).starts_with("the job exited with code 3"),
        "{judged:?}"
    );
    let culprit = judged.culprit.expect("a culprit");
    assert_eq!(
        (
            culprit.pod.as_str(),
            culprit.container.as_deref(),
            culprit.exit_code
        ),
        ("migrate-x", Some("app"), Some(3))
    );
}

#[test]
fn a_suspended_job_is_suspended_and_its_tries_are_its_own() {
    let mut stage = Stage::of(job(json!({})));
    stage.object["spec"]["suspend"] = json!(true);
    assert_eq!(stage.look(5).verdict, Verdict::Suspended);
    let mut retrying = job_pod("migrate-x");
    retrying["spec"]["restartPolicy"] = json!("OnFailure");
    let mut stage = Stage::of(job(json!({"active": 1})));
    stage.pods = vec![backing_off(retrying, 1, "Error", 3, 9)];
    is_progressing(&stage.look(10), CauseKind::JobRunning);
    stage.pods = vec![waiting(job_pod("migrate-x"), "ErrImagePull", "not found")];
    is_failing(&stage.look(10), CauseKind::ImageMissing);
    is_failed(&stage.look(25), CauseKind::ImageMissing);
}

#[test]
fn a_pod_by_itself_must_be_ready_or_have_ended_well() {
    let lone = |phase: &str, policy: &str| {
        let mut pod = new_pod("one");
        pod["spec"]["restartPolicy"] = json!(policy);
        pod["status"]["phase"] = json!(phase);
        pod
    };
    is_healthy(&Stage::of(lone("Running", "Always")).look(5));
    is_healthy(&Stage::of(lone("Succeeded", "Never")).look(5));
    is_failed(
        &Stage::of(lone("Succeeded", "Always")).look(5),
        CauseKind::EndedByItself,
    );
    let mut failed = lone("Failed", "Never");
    failed["status"]["containerStatuses"][0]["state"] = exit(2, "Error", 4);
    is_failed(&Stage::of(failed).look(5), CauseKind::Crashed);
    let mut evicted = lone("Failed", "Never");
    evicted["status"] =
        json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."});
    assert!(Stage::of(evicted).look(500).stops_clock());
    is_progressing(
        &Stage::of(waiting(new_pod("one"), "ContainerCreating", "")).look(5),
        CauseKind::Starting,
    );
}

#[test]
fn a_replica_set_by_itself_is_judged_like_a_rollout() {
    let mut stage = Stage::of(replica_set("new", 4));
    stage.object["status"] =
        json!({"observedGeneration": 1, "replicas": 3, "readyReplicas": 3, "availableReplicas": 3});
    is_healthy(&stage.look(5));
    stage.object["status"] = json!({"observedGeneration": 1, "replicas": 0, "conditions": [
        condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota: q", 1)]});
    is_failing(&stage.look(5), CauseKind::Quota);
}

#[test]
fn what_is_being_deleted_says_what_it_waits_for() {
    let mut stage = rollout([3; 4], Vec::new());
    stage.object["metadata"]["deletionTimestamp"] = json!(after(1));
    stage.object["metadata"]["finalizers"] = json!(["example.com/cleanup"]);
    let judged = stage.look(5);
    is_progressing(&judged, CauseKind::Terminating);
    assert_eq!(
        detail(&judged),
        "it is being deleted and waits on finalizer example.com/cleanup"
    );
    assert_eq!(Stage::of(json!(null)).look(5).verdict, Verdict::Missing);
}
