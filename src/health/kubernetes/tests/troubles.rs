//! The table of early failures, row by row.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::*;
use super::fixtures::*;

fn one(pod: Value) -> Stage {
    rollout([4, 1, 3, 3], vec![pod])
}

#[test]
fn crash_loop_fails_at_the_second_exit() {
    let mut stage = one(with_state(new_pod("a"), exit(1, "Error", 4), json!({}), 0));
    let judged = stage.look(5);
    is_failing(&judged, CauseKind::Crashed);
    assert_eq!(detail(&judged), "1/3 pods: app: exit code 1, once");
    // Restarted once and gone again; the reason CrashLoopBackOff comes later or never.
    stage.pods = vec![with_state(
        new_pod("a"),
        exit(1, "Error", 8),
        exit(1, "Error", 4),
        1,
    )];
    let judged = stage.look(9);
    is_failed(&judged, CauseKind::CrashLoop);
    assert_eq!(detail(&judged), "1/3 pods: app: exit code 1, twice");
    // Seen only when it runs again.
    stage.pods = vec![with_state(
        new_pod("a"),
        json!({"running": {"startedAt": after(20)}}),
        exit(1, "Error", 12),
        2,
    )];
    let judged = stage.look(21);
    is_failed(&judged, CauseKind::CrashLoop);
    let culprit = judged.culprit.expect("a culprit");
    assert!(culprit.previous && culprit.exit_code == Some(1), "{culprit:?}");
}

#[test]
fn exits_before_the_apply_do_not_count() {
    let mut stage = one(backing_off(new_pod("a"), 1, "Error", 8, 5));
    stage.applied.at = at(&after(6));
    stage.applied.restarts = restart_counts(&stage.pods);
    is_progressing(&stage.look(10), CauseKind::RollingOut);
    // Two more are ours.
    stage.pods = vec![backing_off(new_pod("a"), 1, "Error", 10, 30)];
    is_failed(&stage.look(31), CauseKind::CrashLoop);
}

#[test]
fn one_crash_is_forgiven_when_the_probe_passes_and_held_for_a_minute_where_none_does() {
    let restarted = || {
        let mut pod = new_pod("a");
        pod["status"]["containerStatuses"][0]["restartCount"] = json!(1);
        pod["status"]["containerStatuses"][0]["lastState"] = exit(1, "Error", 4);
        pod["status"]["containerStatuses"][0]["state"] = json!({"running": {"startedAt": after(5)}});
        pod
    };
    let mut stage = rollout([3; 4], vec![restarted(), new_pod("b"), new_pod("c")]);
    is_failing(&stage.look(20), CauseKind::Crashed);
    is_healthy(&stage.look(65));
    let mut probed = restarted();
    probed["spec"]["containers"][0]["readinessProbe"] = json!({"httpGet": {"path": "/", "port": 80}});
    stage.pods[0] = probed;
    is_healthy(&stage.look(20));
}

#[test]
fn restarts_of_long_ago_are_forgotten() {
    let mut pod = new_pod("a");
    pod["status"]["containerStatuses"][0]["restartCount"] = json!(7);
    pod["status"]["containerStatuses"][0]["lastState"] = exit(1, "Error", 4);
    let mut stage = rollout([3; 4], vec![pod]);
    is_failed(&stage.look(60), CauseKind::CrashLoop);
    is_healthy(&stage.look(700));
}

#[test]
fn out_of_memory_fails_at_the_second_kill() {
    let mut stage = one(backing_off(new_pod("a"), 137, "OOMKilled", 1, 4));
    is_failing(&stage.look(5), CauseKind::Crashed);
    stage.pods = vec![backing_off(new_pod("a"), 137, "OOMKilled", 2, 14)];
    let judged = stage.look(15);
    is_failed(&judged, CauseKind::OutOfMemory);
    assert!(detail(&judged).contains("memory"), "{judged:?}");
}

#[test]
fn a_service_that_ends_with_zero_again_and_again_is_none() {
    let mut stage = one(backing_off(new_pod("a"), 0, "Completed", 2, 14));
    is_failed(&stage.look(15), CauseKind::EndedByItself);
}

#[test]
fn a_command_that_cannot_run_has_fifteen_seconds() {
    for pod in [
        with_state(new_pod("a"), exit(127, "Error", 2), json!({}), 0),
        waiting(
            new_pod("a"),
            "RunContainerError",
            "exec: \"/nope\": no such file or directory",
        ),
        waiting(new_pod("a"), "CreateContainerError", "no command specified"),
        with_state(
            new_pod("a"),
            json!({"waiting": {"reason": "CrashLoopBackOff"}}),
            exit(128, "StartError", 2),
            0,
        ),
    ] {
        let mut stage = one(pod);
        is_failing(&stage.look(5), CauseKind::CannotRun);
        is_failed(&stage.look(20), CauseKind::CannotRun);
    }
}

#[test]
fn image_pull_failure_is_permanent_or_passing_by_its_message() {
    let missing = "Back-off pulling image \"r.example/web:no\": ErrImagePull: rpc error: code = NotFound desc = r.example/web:no: not found";
    for (reason, message) in [
        ("ImagePullBackOff", missing),
        ("ErrImagePull", "pull access denied, authorization failed"),
        ("InvalidImageName", "Failed to apply default image tag \"A:b\""),
        (
            "ErrImageNeverPull",
            "Container image \"x\" is not present with pull policy of Never",
        ),
    ] {
        let mut stage = one(waiting(new_pod("a"), reason, message));
        let judged = stage.look(5);
        is_failing(&judged, CauseKind::ImageMissing);
        assert_eq!(judged.due, Some(at(&after(20))));
        is_failed(&stage.look(20), CauseKind::ImageMissing);
    }
    let mut stage = one(waiting(
        new_pod("a"),
        "ErrImagePull",
        "unexpected status code 503 Service Unavailable",
    ));
    is_failing(&stage.look(5), CauseKind::ImagePull);
    is_failing(&stage.look(299), CauseKind::ImagePull);
    is_failed(&stage.look(305), CauseKind::ImagePull);
    assert_eq!(
        (CauseKind::ImageMissing.class(), CauseKind::ImagePull.class()),
        (Class::Config, Class::Transient)
    );
}

#[test]
fn a_back_off_without_words_is_told_by_its_event() {
    let mut stage = one(waiting(
        new_pod("a"),
        "ImagePullBackOff",
        "Back-off pulling image \"registry.example/web:1.2\"",
    ));
    is_failing(&stage.look(5), CauseKind::ImagePull);
    stage.events = vec![pod_event(
        "a",
        "Failed",
        "Failed to pull image \"registry.example/web:1.2\": manifest unknown",
        3,
    )];
    is_failing(&stage.look(6), CauseKind::ImageMissing);
}

#[test]
fn a_missing_config_may_come_in_the_same_apply() {
    let mut stage = one(waiting(
        new_pod("a"),
        "CreateContainerConfigError",
        "configmap \"web\" not found",
    ));
    is_failing(&stage.look(5), CauseKind::ConfigMissing);
    is_failing(&stage.look(49), CauseKind::ConfigMissing);
    is_failed(&stage.look(50), CauseKind::ConfigMissing);
    let mut stage = one(waiting(new_pod("a"), "ContainerCreating", ""));
    stage.events = vec![pod_event(
        "a",
        "FailedMount",
        "MountVolume.SetUp failed for volume \"cfg\" : secret \"keys\" not found",
        3,
    )];
    is_failing(&stage.look(5), CauseKind::ConfigMissing);
}

#[test]
fn init_containers_and_sidecars_fail_early_too() {
    let init = |policy: Option<&str>, state: Value, last: Value, restarts: u64| {
        let mut pod = waiting(new_pod("a"), "PodInitializing", "");
        pod["spec"]["initContainers"] = json!([{"name": "prepare", "image": "x:1"}]);
        if let Some(policy) = policy {
            pod["spec"]["initContainers"][0]["restartPolicy"] = json!(policy);
        }
        pod["status"]["initContainerStatuses"] = json!([{"name": "prepare", "image": "x:1", "ready": false, "restartCount": restarts, "state": state, "lastState": last}]);
        pod
    };
    let loops = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let mut stage = one(init(None, loops.clone(), exit(1, "Error", 8), 1));
    let judged = stage.look(9);
    is_failed(&judged, CauseKind::CrashLoop);
    assert_eq!(
        judged.culprit.and_then(|culprit| culprit.container).as_deref(),
        Some("prepare")
    );
    is_failed(
        &one(init(Some("Always"), loops, exit(2, "Error", 8), 1)).look(9),
        CauseKind::CrashLoop,
    );
    is_failing(
        &one(init(
            None,
            json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}}),
            json!({}),
            0,
        ))
        .look(9),
        CauseKind::ImageMissing,
    );
    // Done is done.
    is_progressing(
        &one(init(None, exit(0, "Completed", 4), json!({}), 0)).look(9),
        CauseKind::RollingOut,
    );
}

#[test]
fn a_probe_has_the_budget_of_its_spec() {
    let mut pod = with_state(
        new_pod("a"),
        json!({"running": {"startedAt": after(2)}}),
        json!({}),
        0,
    );
    pod["spec"]["containers"][0]["readinessProbe"] = json!({"httpGet": {"path": "/", "port": 80}, "initialDelaySeconds": 5, "periodSeconds": 5, "failureThreshold": 2, "timeoutSeconds": 1});
    // 5 + 2 × 5 + 1 + 30 after its start.
    let mut stage = one(pod);
    is_progressing(&stage.look(10), CauseKind::RollingOut);
    stage.events = vec![pod_event(
        "a",
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 503",
        12,
    )];
    let judged = stage.look(13);
    is_failing(&judged, CauseKind::Unhealthy);
    assert_eq!(judged.due, Some(at(&after(48))));
    let judged = stage.look(48);
    is_failed(&judged, CauseKind::Unhealthy);
    assert_eq!(
        detail(&judged),
        "1/3 pods: app: running, not ready: Readiness probe failed: HTTP probe failed with statuscode: 503"
    );
    // Events expire or may not be read: status is the proof.
    stage.events.clear();
    is_failed(&stage.look(49), CauseKind::Unhealthy);
    // An author that chose a longer deadline gets it.
    let mut stage = one(stage.pods[0].clone());
    stage.object["spec"]["progressDeadlineSeconds"] = json!(1800);
    is_progressing(&stage.look(600), CauseKind::RollingOut);
}

#[test]
fn the_second_liveness_kill_fails() {
    let mut stage = one(backing_off(new_pod("a"), 0, "Completed", 2, 40));
    stage.events = vec![
        pod_event(
            "a",
            "Killing",
            "Container app failed liveness probe, will be restarted",
            40,
        ),
        pod_event("a", "Unhealthy", "Liveness probe failed: connection refused", 39),
    ];
    let judged = stage.look(41);
    is_failed(&judged, CauseKind::Unhealthy);
    assert!(
        detail(&judged)
            .contains("killed by its liveness probe twice: Liveness probe failed: connection refused"),
        "{judged:?}"
    );
}

#[test]
fn pending_forever_fails_in_patience() {
    let mut stage = one(unscheduled(new_pod("a"), 1));
    let judged = stage.look(60);
    is_failing(&judged, CauseKind::Unschedulable);
    assert_eq!(CauseKind::Unschedulable.class(), Class::Capacity);
    is_failing(&stage.look(120), CauseKind::Unschedulable);
    is_failed(&stage.look(121), CauseKind::Unschedulable);
    // A new node is coming: it may take until the deadline.
    stage.events = vec![event(
        "Pod",
        "a",
        "a-uid",
        "Normal",
        "TriggeredScaleUp",
        "pod triggered scale-up: [{pool 1->2 (max: 5)}]",
        70,
    )];
    let judged = stage.look(400);
    is_failing(&judged, CauseKind::Unschedulable);
    assert_eq!(judged.due, None);
}

#[test]
fn volumes_have_three_minutes() {
    let mut stage = one(waiting(new_pod("a"), "ContainerCreating", ""));
    stage.events = vec![pod_event(
        "a",
        "FailedAttachVolume",
        "Multi-Attach error for volume \"pvc-1\"",
        5,
    )];
    is_failing(&stage.look(10), CauseKind::Volume);
    is_failed(&stage.look(185), CauseKind::Volume);
    // An event about trouble that is over says nothing.
    stage.pods = vec![new_pod("a")];
    is_progressing(&stage.look(186), CauseKind::RollingOut);
}

#[test]
fn one_pod_of_ten_is_not_the_release_and_two_are() {
    let ten = |bad: usize| {
        let mut stage = Stage::of(deployment(10, [10, 10, 8, 8]));
        stage.revisions = vec![replica_set("new", 4)];
        stage.pods = (0..10)
            .map(|index| {
                let pod = new_pod(&format!("p{index}"));
                if index < bad {
                    backing_off(pod, 1, "Error", 3, 9)
                } else {
                    pod
                }
            })
            .collect();
        stage.look(10)
    };
    is_failing(&ten(1), CauseKind::CrashLoop);
    let judged = ten(2);
    is_failed(&judged, CauseKind::CrashLoop);
    assert_eq!(
        detail(&judged),
        "2/10 pods: app: CrashLoopBackOff, exit code 1, 3 times"
    );
    // A careful rollout makes one new pod at a time: that one speaks for all.
    let mut careful = Stage::of(deployment(10, [11, 1, 10, 10]));
    careful.revisions = vec![replica_set("new", 4)];
    careful.pods = vec![backing_off(new_pod("p"), 1, "Error", 2, 9)];
    is_failed(&careful.look(10), CauseKind::CrashLoop);
}

#[test]
fn patience_counts_per_pod_so_that_a_slow_rollout_is_not_a_failed_one() {
    let slow = |name: &str| {
        waiting(
            new_pod(name),
            "CreateContainerConfigError",
            "configmap \"web\" not found",
        )
    };
    let mut stage = one(slow("a"));
    is_failing(&stage.look(5), CauseKind::ConfigMissing);
    // The first is well now; the second has its own time.
    stage.pods = vec![new_pod("a"), slow("b")];
    is_failing(&stage.look(40), CauseKind::ConfigMissing);
    is_failing(&stage.look(84), CauseKind::ConfigMissing);
    is_failed(&stage.look(85), CauseKind::ConfigMissing);
}

#[test]
fn time_that_nobody_looked_runs_out_no_patience() {
    let mut stage = one(waiting(new_pod("a"), "ErrImagePull", "not found"));
    is_failing(&stage.look(5), CauseKind::ImageMissing);
    // The API server was away for ten minutes; the caller moves its memory on.
    stage.seen = stage.seen.moved_on(Duration::from_secs(600));
    is_failing(&stage.look(606), CauseKind::ImageMissing);
    is_failed(&stage.look(620), CauseKind::ImageMissing);
}

#[test]
fn sightings_survive_being_stored() {
    let mut stage = one(waiting(new_pod("a"), "ErrImagePull", "not found"));
    let _ = stage.look(5);
    let stored = serde_json::to_string(&stage.seen).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Sightings>(&stored).expect("sightings"),
        stage.seen
    );
}

#[test]
fn an_app_may_have_other_patience() {
    let mut stage = one(waiting(new_pod("a"), "ErrImagePull", "not found"));
    stage
        .rules
        .patience
        .insert(CauseKind::ImageMissing, Duration::from_secs(2));
    is_failing(&stage.look(5), CauseKind::ImageMissing);
    is_failed(&stage.look(7), CauseKind::ImageMissing);
}

#[test]
fn the_evidence_is_the_newest_warnings_and_the_right_log() {
    let mut stage = one(with_state(
        new_pod("a"),
        json!({"running": {"startedAt": after(20)}}),
        exit(1, "Error", 12),
        2,
    ));
    stage.events = (0..9)
        .map(|index| {
            pod_event(
                "a",
                "BackOff",
                &format!("Back-off restarting failed container, {index}"),
                index,
            )
        })
        .collect();
    stage.events.push(event(
        "Pod",
        "a",
        "a-uid",
        "Normal",
        "Pulled",
        "Container image already present",
        30,
    ));
    stage.events.push(event(
        "Pod",
        "b",
        "b-uid",
        "Warning",
        "BackOff",
        "somebody else",
        31,
    ));
    let judged = stage.look(21);
    let findings = evidence::gather(&stage.scene(), &judged);
    assert_eq!(
        findings.line,
        "1/3 pods: app: exit code 1, 3 times".replace("3 times", "twice")
    );
    assert_eq!(findings.events.len(), 5);
    assert!(
        findings
            .events
            .iter()
            .all(|event| event.warning && event.object == "Pod/a"),
        "{findings:?}"
    );
    assert!(findings.events[0].message.ends_with(", 8"));
    assert!(findings.log.is_some_and(|log| log.previous && log.pod == "a"));
}

#[test]
fn events_of_both_apis_are_read() {
    let new = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "eventTime": "2026-11-21T12:00:01.123456Z", "type": "Warning",
        "reason": "FailedMount", "note": "MountVolume.SetUp failed", "regarding": {"kind": "Pod", "name": "a", "uid": "a-uid"},
        "series": {"count": 4, "lastObservedTime": "2026-11-21T12:00:09.000000Z"}});
    let read = events::Event::read(&new);
    assert_eq!(
        (read.reason, read.message, read.uid, read.times),
        ("FailedMount", "MountVolume.SetUp failed", "a-uid", 4)
    );
    assert!(read.first < read.last);
    // The pod of the same name that was made again is another one.
    let mut again = new_pod("a");
    again["metadata"]["uid"] = json!("a2-uid");
    assert!(!read.about(&again));
}
