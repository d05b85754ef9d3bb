//! No JSON makes the rules panic, and the same scene gives the same answer.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::cel::Expressions;
use super::super::*;
use super::fixtures::*;
use crate::render::app::HealthExpr;

fn fixtures() -> Vec<Stage> {
    let crashing = backing_off(new_pod("a"), 1, "Error", 3, 9);
    let pulling = waiting(new_pod("b"), "ImagePullBackOff", "not found");
    let mut full = rollout(
        [4, 2, 3, 3],
        vec![crashing, pulling, unscheduled(new_pod("c"), 1)],
    );
    full.events = vec![
        pod_event("a", "Killing", "Container app failed liveness probe", 8),
        pod_event("b", "Failed", "Failed to pull image", 3),
    ];
    full.revisions[1]["status"]["conditions"] = json!([condition(
        "ReplicaFailure",
        "True",
        "FailedCreate",
        "exceeded quota",
        1
    )]);
    let mut set = Stage::of(stateful_set(3, 3, 1, 2));
    set.pods = vec![
        set_pod("db-0", "db-1"),
        backing_off(set_pod("db-2", "db-2"), 137, "OOMKilled", 3, 9),
    ];
    let mut daemon = Stage::of(daemon_set(3, 2, 2));
    daemon.pods = vec![daemon_pod("ag-1", "n1", "h2"), daemon_pod("ag-2", "n2", "h1")];
    daemon.nodes[1] = lost(node("n2"));
    let mut work = Stage::of(job(
        json!({"failed": 1, "conditions": [condition("Failed", "True", "BackoffLimitExceeded", "", 9)]}),
    ));
    work.pods = vec![job_pod("migrate-x")];
    let claim = Stage::of(
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "x", "namespace": "shop", "uid": "x"}, "spec": {}, "status": {"phase": "Pending"}}),
    );
    let route = Stage::of(
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "x", "generation": 3},
        "spec": {"parentRefs": [{}]}, "status": {"parents": [{"parentRef": {"name": "gw"}, "conditions": [condition("Accepted", "False", "No", "", 1)]}]}}),
    );
    let mut widget = Stage::of(
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "x", "generation": 3},
        "status": {"conditions": [condition("Ready", "True", "", "", 1)]}}),
    );
    widget.rules.expressions = Expressions::of(&[HealthExpr {
        api_version: "example.com/v1".into(),
        kind: "Widget".into(),
        in_progress: None,
        failed: Some("status.conditions.exists(e, e.type == 'Failed')".into()),
        current:
            "status.conditions.exists(e, e.type == 'Ready' && e.status == 'True') && metadata.generation > 1"
                .into(),
    }]);
    let pod = Stage::of(backing_off(new_pod("one"), 1, "Error", 2, 4));
    vec![full, set, daemon, work, claim, route, widget, pod]
}

/// Everything in a value that can be changed, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(entries) => {
            for (key, item) in entries {
                places(
                    item,
                    &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                    found,
                );
            }
        }
        _ => {}
    }
}

fn mutate(value: &mut Value, place: usize, new: Value) {
    let mut found = Vec::new();
    places(value, "", &mut found);
    let place = &found[place % found.len()];
    if let Some(spot) = value.pointer_mut(place) {
        *spot = new;
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(i64::MAX)),
        Just(json!(i64::MIN)),
        Just(json!("True")),
        Just(json!("9999-12-31T23:59:59Z")),
        Just(json!("-009999-01-02T01:59:59Z")),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(("[a-zA-Z/~]{0,8}", inner), 0..3)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_json_panics_and_the_same_scene_gives_the_same_answer(
        which in 0_usize..8,
        changes in prop::collection::vec((0_usize..5, any::<usize>(), any_value()), 1..6),
        secs in prop_oneof![Just(0_i64), 0_i64..2000, Just(100_000_000_000)],
    ) {
        let mut stage = fixtures().into_iter().nth(which).expect("a fixture");
        for (part, place, new) in changes {
            let list = match part {
                0 => { mutate(&mut stage.object, place, new); continue; }
                1 => &mut stage.pods,
                2 => &mut stage.events,
                3 => &mut stage.revisions,
                _ => &mut stage.nodes,
            };
            if !list.is_empty() {
                let index = place % list.len();
                mutate(&mut list[index], place / 7, new);
            }
        }
        stage.now = at(&after(secs));
        let first = judge(&stage.scene());
        prop_assert_eq!(&first, &judge(&stage.scene()));
        prop_assert!(!(first.fails() && first.stops_clock()));
        let _ = evidence::gather(&stage.scene(), &first);
        let _ = (needs(&stage.object), time_to_verdict(&stage.object), restart_counts(&stage.pods), stuck_pod(&stage.object, &stage.pods));
        // With what was seen, later: a failure that nothing changed stays one.
        stage.seen = first.seen.moved_on(std::time::Duration::from_secs(7));
        let _ = judge(&stage.scene());
    }

    #[test]
    fn no_expression_panics(text in prop_oneof![
        ".{0,40}",
        "[a-z.()\\[\\]'? :|&!=<>+0-9,{}-]{0,40}",
        Just("status.conditions[5].x.y".to_owned()),
        Just("[1][9223372036854775807]".to_owned()),
        Just("9223372036854775807 + 1 > 0".to_owned()),
        Just("1 / 0 == 1".to_owned()),
        Just("duration('x') == duration('1s')".to_owned()),
        Just("'a'.matches('(')".to_owned()),
    ]) {
        let expression = HealthExpr { api_version: "example.com/v1".into(), kind: "Widget".into(), in_progress: None, failed: None, current: text };
        let mut stage = Stage::of(json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {}, "status": {"conditions": []}}));
        stage.rules.expressions = Expressions::of(&[expression]);
        let _ = stage.look(5);
    }
}
