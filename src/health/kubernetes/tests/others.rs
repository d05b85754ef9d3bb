//! Kinds without pods, custom resources, expressions, and what must be read.

use serde_json::{Value, json};

use super::super::cel::Expressions;
use super::super::*;
use super::fixtures::*;
use crate::render::app::HealthExpr;

fn object(api: &str, kind: &str, spec: Value, status: Value) -> Value {
    json!({"apiVersion": api, "kind": kind,
        "metadata": {"name": "x", "namespace": "shop", "uid": "x-uid", "generation": 1, "creationTimestamp": after(0)},
        "spec": spec, "status": status})
}

fn look(object: Value, secs: i64) -> Judged {
    Stage::of(object).look(secs)
}

#[test]
fn a_claim_without_consumer_is_healthy_where_its_class_waits_for_one() {
    let claim = || {
        object(
            "v1",
            "PersistentVolumeClaim",
            json!({"storageClassName": "local"}),
            json!({"phase": "Pending"}),
        )
    };
    is_progressing(&look(claim(), 5), CauseKind::NotStarted);
    let mut stage = Stage::of(claim());
    stage.classes = vec![
        json!({"kind": "StorageClass", "metadata": {"name": "local"}, "volumeBindingMode": "WaitForFirstConsumer"}),
    ];
    is_healthy(&stage.look(5));
    // With a consumer it must be bound.
    let mut pod = new_pod("a");
    pod["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "x"}}]);
    stage.pods = vec![pod];
    is_progressing(&stage.look(5), CauseKind::NotStarted);
    // Where classes can't be read, the event tells.
    let mut stage = Stage::of(claim());
    stage.events = vec![event(
        "PersistentVolumeClaim",
        "x",
        "x-uid",
        "Normal",
        "WaitForFirstConsumer",
        "waiting for first consumer to be created before binding",
        1,
    )];
    is_healthy(&stage.look(5));
    is_healthy(&look(
        object(
            "v1",
            "PersistentVolumeClaim",
            json!({}),
            json!({"phase": "Bound"}),
        ),
        5,
    ));
    is_failed(
        &look(
            object("v1", "PersistentVolumeClaim", json!({}), json!({"phase": "Lost"})),
            5,
        ),
        CauseKind::SaidFailed,
    );
}

#[test]
fn a_claim_that_cannot_be_provisioned_fails_in_patience() {
    let mut stage = Stage::of(object(
        "v1",
        "PersistentVolumeClaim",
        json!({"storageClassName": "no"}),
        json!({"phase": "Pending"}),
    ));
    let say = |message: &str| {
        vec![event(
            "PersistentVolumeClaim",
            "x",
            "x-uid",
            "Warning",
            "ProvisioningFailed",
            message,
            2,
        )]
    };
    stage.events = say("storageclass.storage.k8s.io \"no\" not found");
    is_failing(&stage.look(5), CauseKind::ConfigMissing);
    is_failed(&stage.look(47), CauseKind::ConfigMissing);
    stage.events = say("failed to provision volume: rpc error: code = ResourceExhausted");
    is_failing(&stage.look(48), CauseKind::Volume);
}

#[test]
fn addresses_do_not_hold_a_release_back_unless_asked_to() {
    for (api, kind, spec) in [
        ("v1", "Service", json!({"type": "LoadBalancer"})),
        ("networking.k8s.io/v1", "Ingress", json!({})),
    ] {
        let judged = look(object(api, kind, spec.clone(), json!({"loadBalancer": {}})), 5);
        is_progressing(&judged, CauseKind::NotReady);
        assert!(judged.passes() && !judged.fails() && !judged.stops_clock());
        let mut stage = Stage::of(object(api, kind, spec.clone(), json!({"loadBalancer": {}})));
        stage.rules.wait_for_addresses = true;
        assert!(!stage.look(5).passes());
        is_healthy(&look(
            object(
                api,
                kind,
                spec,
                json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}}),
            ),
            5,
        ));
    }
    is_healthy(&look(
        object(
            "v1",
            "Service",
            json!({"type": "ClusterIP", "clusterIP": "10.1.1.1"}),
            json!({"loadBalancer": {}}),
        ),
        5,
    ));
}

#[test]
fn an_autoscaler_only_warns() {
    let judged = look(
        object(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            json!({}),
            json!({"conditions": [
        condition("AbleToScale", "True", "SucceededGetScale", "", 0),
        condition("ScalingActive", "False", "FailedGetResourceMetric", "the HPA was unable to compute the replica count", 0)]}),
        ),
        500,
    );
    is_failing(&judged, CauseKind::NotReady);
    assert!(judged.passes() && !judged.fails());
    let off = json!({"conditions": [condition("ScalingActive", "False", "ScalingDisabled", "scaling is disabled since the replica count of the target is zero", 0)]});
    is_healthy(&look(
        object("autoscaling/v2", "HorizontalPodAutoscaler", json!({}), off),
        5,
    ));
}

#[test]
fn a_cron_job_is_informational() {
    let judged = look(
        object(
            "batch/v1",
            "CronJob",
            json!({"schedule": "@daily"}),
            json!({"lastScheduleTime": after(0)}),
        ),
        5,
    );
    is_healthy(&judged);
    assert!(
        !judged.gating
            && judged
                .note
                .is_some_and(|note| note.contains("no run has succeeded yet"))
    );
}

#[test]
fn plain_kinds_are_healthy_once_they_are_there() {
    for (api, kind) in [
        ("v1", "ConfigMap"),
        ("v1", "Secret"),
        ("v1", "ServiceAccount"),
        ("policy/v1", "PodDisruptionBudget"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
        ("v1", "Namespace"),
        ("storage.k8s.io/v1", "StorageClass"),
    ] {
        let mut plain = object(api, kind, json!({}), json!({}));
        plain.as_object_mut().expect("an object").remove("status");
        is_healthy(&look(plain, 0));
    }
}

#[test]
fn a_definition_must_be_established_and_its_names_accepted() {
    let crd = |conditions: Value| {
        look(
            object(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                json!({}),
                json!({"conditions": conditions}),
            ),
            1,
        )
    };
    is_progressing(&crd(json!([])), CauseKind::NotReady);
    is_progressing(
        &crd(json!([condition("Established", "False", "Installing", "", 0)])),
        CauseKind::NotReady,
    );
    is_healthy(&crd(json!([
        condition("NamesAccepted", "True", "NoConflicts", "", 0),
        condition("Established", "True", "InitialNamesAccepted", "", 0)
    ])));
    is_failed(
        &crd(json!([condition(
            "NamesAccepted",
            "False",
            "PluralConflict",
            "\"things\" is already in use",
            0
        )])),
        CauseKind::SaidFailed,
    );
    is_failed(
        &crd(json!([condition(
            "Established",
            "False",
            "NotAccepted",
            "not all names are accepted",
            0
        )])),
        CauseKind::SaidFailed,
    );
    let service = |status: &str| {
        look(
            object(
                "apiregistration.k8s.io/v1",
                "APIService",
                json!({}),
                json!({"conditions": [condition("Available", status, "MissingEndpoints", "", 0)]}),
            ),
            1,
        )
    };
    is_progressing(&service("False"), CauseKind::NotReady);
    is_healthy(&service("True"));
}

#[test]
fn a_route_is_accepted_by_each_parent_for_the_live_generation() {
    let parent = |name: &str, accepted: &str, observed: i64| {
        let with = |kind: &str, status: &str, reason: &str| {
            let mut found = condition(kind, status, reason, "", 1);
            found["observedGeneration"] = json!(observed);
            found
        };
        json!({"parentRef": {"name": name}, "controllerName": "example.com/gw",
            "conditions": [with("Accepted", accepted, "NoMatchingParent"), with("ResolvedRefs", "True", "ResolvedRefs")]})
    };
    let route = |parents: Value| {
        let mut route = object(
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            json!({"parentRefs": [{"name": "gw"}]}),
            json!({"parents": parents}),
        );
        route["metadata"]["generation"] = json!(3);
        Stage::of(route)
    };
    is_healthy(&route(json!([parent("gw", "True", 3), parent("gw2", "True", 3)])).look(5));
    is_progressing(
        &route(json!([parent("gw", "True", 3), parent("gw2", "True", 2)])).look(5),
        CauseKind::NotObserved,
    );
    let mut refused = route(json!([parent("gw", "False", 3)]));
    is_failing(&refused.look(5), CauseKind::Refused);
    is_failed(&refused.look(31), CauseKind::Refused);
    is_progressing(&route(json!([])).look(5), CauseKind::NotReady);
    is_failing(&route(json!([])).look(31), CauseKind::Refused);
}

#[test]
fn a_gateway_without_address_does_not_hold_back() {
    let gateway = |conditions: Value| {
        look(
            object(
                "gateway.networking.k8s.io/v1",
                "Gateway",
                json!({}),
                json!({"conditions": conditions}),
            ),
            5,
        )
    };
    is_healthy(&gateway(json!([
        condition("Accepted", "True", "Accepted", "", 0),
        condition("Programmed", "True", "Programmed", "", 0)
    ])));
    let open = gateway(json!([
        condition("Accepted", "True", "Accepted", "", 0),
        condition("Programmed", "False", "AddressNotAssigned", "", 0)
    ]));
    assert!(open.passes() && !open.verdict.settled_well());
    let refused = gateway(json!([condition(
        "Accepted",
        "False",
        "InvalidParameters",
        "",
        0
    )]));
    is_failing(&refused, CauseKind::Refused);
    assert!(refused.gating);
}

#[test]
fn a_custom_resource_has_thirty_seconds_to_say_something() {
    let mut silent = object("example.com/v1", "Widget", json!({}), json!(null));
    silent.as_object_mut().expect("an object").remove("status");
    is_progressing(&look(silent.clone(), 0), CauseKind::NotReady);
    is_progressing(&look(silent.clone(), 29), CauseKind::NotReady);
    let judged = look(silent, 30);
    is_healthy(&judged);
    assert_eq!(judged.note.as_deref(), Some("no health signal"));
}

#[test]
fn a_custom_resource_is_as_its_conditions_say() {
    let widget = |status: Value| look(object("example.com/v1", "Widget", json!({}), status), 100);
    is_healthy(&widget(
        json!({"conditions": [condition("Ready", "True", "Up", "", 1)]}),
    ));
    let judged =
        widget(json!({"conditions": [condition("Ready", "False", "Waiting", "for its database", 1)]}));
    is_progressing(&judged, CauseKind::NotReady);
    assert_eq!(detail(&judged), "Waiting: for its database");
    is_progressing(
        &widget(json!({"conditions": [condition("Ready", "Unknown", "", "", 1)]})),
        CauseKind::NotReady,
    );
    is_healthy(&widget(
        json!({"conditions": [condition("Available", "True", "", "", 1)]}),
    ));
    is_progressing(
        &widget(
            json!({"conditions": [condition("Ready", "True", "", "", 1), condition("Synced", "False", "ReconcileError", "no", 1)]}),
        ),
        CauseKind::NotReady,
    );
    is_failed(
        &widget(
            json!({"conditions": [condition("Stalled", "True", "BadSpec", "no such thing", 1), condition("Ready", "True", "", "", 1)]}),
        ),
        CauseKind::SaidFailed,
    );
    is_progressing(
        &widget(
            json!({"conditions": [condition("Reconciling", "True", "", "", 1), condition("Ready", "True", "", "", 1)]}),
        ),
        CauseKind::NotReady,
    );
}

#[test]
fn a_condition_of_an_older_generation_is_not_success() {
    let mut widget = object(
        "example.com/v1",
        "Widget",
        json!({}),
        json!({"conditions": [condition("Ready", "True", "", "", 1)]}),
    );
    widget["metadata"]["generation"] = json!(4);
    widget["status"]["conditions"][0]["observedGeneration"] = json!(3);
    is_progressing(&look(widget.clone(), 600), CauseKind::NotObserved);
    widget["status"]["conditions"][0]["observedGeneration"] = json!(4);
    is_healthy(&look(widget.clone(), 0));
    // Where nothing names a generation, one more look is taken.
    widget["status"]["conditions"][0]
        .as_object_mut()
        .expect("an object")
        .remove("observedGeneration");
    is_progressing(&look(widget.clone(), 1), CauseKind::NotObserved);
    is_healthy(&look(widget.clone(), 5));
    widget["status"]["observedGeneration"] = json!(3);
    is_progressing(&look(widget, 600), CauseKind::NotObserved);
}

#[test]
fn common_operators_speak_their_own_words() {
    let widget = |api: &str, kind: &str, status: Value| look(object(api, kind, json!({}), status), 100);
    is_healthy(&widget("monitoring.coreos.com/v1", "ServiceMonitor", json!({})));
    is_healthy(&widget("traefik.io/v1alpha1", "IngressRoute", json!({})));
    is_healthy(&widget(
        "argoproj.io/v1alpha1",
        "Rollout",
        json!({"phase": "Healthy"}),
    ));
    is_failing(
        &widget(
            "argoproj.io/v1alpha1",
            "Rollout",
            json!({"phase": "Degraded", "message": "aborted"}),
        ),
        CauseKind::Refused,
    );
    is_progressing(
        &widget("argoproj.io/v1alpha1", "Rollout", json!({"phase": "Paused"})),
        CauseKind::NotReady,
    );
    is_progressing(
        &widget(
            "cert-manager.io/v1",
            "Certificate",
            json!({"conditions": [condition("Ready", "False", "DoesNotExist", "", 1)]}),
        ),
        CauseKind::NotReady,
    );
    is_healthy(&widget(
        "elasticsearch.k8s.elastic.co/v1",
        "Elasticsearch",
        json!({"health": "yellow"}),
    ));
    is_progressing(
        &widget("kibana.k8s.elastic.co/v1", "Kibana", json!({"health": "red"})),
        CauseKind::NotReady,
    );
    is_progressing(
        &widget(
            "s3.aws.crossplane.io/v1beta1",
            "Bucket",
            json!({"conditions": [condition("Synced", "True", "", "", 1), condition("Ready", "False", "Creating", "", 1)]}),
        ),
        CauseKind::NotReady,
    );
    let mut flux = object(
        "kustomize.toolkit.fluxcd.io/v1",
        "Kustomization",
        json!({"suspend": true}),
        json!({}),
    );
    assert_eq!(look(flux.clone(), 5).verdict, Verdict::Suspended);
    flux["spec"] = json!({});
    flux["status"] = json!({"observedGeneration": 1, "conditions": [condition("Ready", "True", "ReconciliationSucceeded", "", 1)]});
    is_healthy(&look(flux, 5));
}

fn expressions(in_progress: Option<&str>, failed: Option<&str>, current: &str) -> Vec<HealthExpr> {
    vec![HealthExpr {
        api_version: "example.com/v1".into(),
        kind: "Widget".into(),
        in_progress: in_progress.map(str::to_owned),
        failed: failed.map(str::to_owned),
        current: current.to_owned(),
    }]
}

#[test]
fn expressions_are_asked_in_flux_order() {
    let mut stage = Stage::of(object(
        "example.com/v2",
        "Widget",
        json!({}),
        json!({"phase": "Busy", "count": 3}),
    ));
    stage.rules.expressions = Expressions::of(&expressions(
        Some("status.phase == 'Busy'"),
        Some("status.count == 3"),
        "status.count == 3",
    ));
    is_progressing(&stage.look(100), CauseKind::NotReady);
    stage.object["status"]["phase"] = json!("Idle");
    is_failed(&stage.look(100), CauseKind::SaidFailed);
    stage.rules.expressions = Expressions::of(&expressions(None, None, "status.count + 1 == 4"));
    is_healthy(&stage.look(100));
    stage.object["status"]["count"] = json!(2);
    is_progressing(&stage.look(100), CauseKind::NotReady);
    // Another kind is judged as ever.
    stage.object["kind"] = json!("Gadget");
    is_healthy(&stage.look(100));
}

#[test]
fn expressions_as_flux_users_write_them_work() {
    let ready = condition("Ready", "True", "", "", 1);
    let mut stage = Stage::of(object(
        "example.com/v1",
        "Widget",
        json!({}),
        json!({"conditions": [ready]}),
    ));
    for current in [
        "status.conditions.filter(e, e.type == 'Ready').all(e, e.status == 'True')",
        "has(status.conditions) && status.conditions.exists(e, e.type == 'Ready' && e.status == 'True')",
        "status.?conditions.orValue([]).exists(e, e.type == 'Ready' && e.status == 'True')",
        "metadata.generation == 1 && status.conditions.size() > 0",
    ] {
        stage.rules.expressions = Expressions::of(&expressions(None, None, current));
        is_healthy(&stage.look(5));
    }
    // A field that is not there yet is no failure.
    stage.object.as_object_mut().expect("an object").remove("status");
    stage.rules.expressions = Expressions::of(&expressions(None, Some("status.phase == 'Failed'"), "true"));
    let judged = stage.look(5);
    is_progressing(&judged, CauseKind::NotReady);
    assert!(
        detail(&judged).contains("`failed` has no answer yet"),
        "{judged:?}"
    );
    stage.rules.expressions = Expressions::of(&expressions(None, None, "has(status.conditions)"));
    is_progressing(&stage.look(5), CauseKind::NotReady);
    stage.rules.expressions = Expressions::of(&expressions(None, None, "1 + 1"));
    assert!(detail(&stage.look(5)).contains("true or false"));
}

#[test]
fn an_expression_that_can_not_be_read_any_more_is_no_verdict() {
    let mut stage = Stage::of(object(
        "example.com/v1",
        "Widget",
        json!({}),
        json!({"phase": "Up"}),
    ));
    stage.rules.expressions = Expressions::of(&expressions(None, Some("status.("), "true"));
    let judged = stage.look(100);
    is_progressing(&judged, CauseKind::NotReady);
    assert!(
        detail(&judged).contains("`failed` has no answer yet: it can't be read"),
        "{judged:?}"
    );
}

#[test]
fn expressions_read_the_field_names_of_flux() {
    let read: HealthExpr = serde_json::from_value(json!({"apiVersion": "example.com/v1", "kind": "Widget", "inProgress": "a", "failed": "b", "current": "c"})).expect("an expression");
    assert_eq!(read.in_progress.as_deref(), Some("a"));
}

#[test]
fn what_must_be_read_follows_the_kind() {
    let wanted = needs(&deployment(3, [3; 4]));
    assert_eq!(
        wanted.revisions.map(|revisions| revisions.plural),
        Some("replicasets")
    );
    assert_eq!(wanted.pods, needs::Pods::Selected("app=web".into()));
    assert!(wanted.events && wanted.nodes && wanted.namespace.as_deref() == Some("shop"));
    let mut set = stateful_set(1, 1, 1, 1);
    set["spec"]["selector"] = json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}, {"key": "canary", "operator": "DoesNotExist"}]});
    assert_eq!(
        needs(&set).pods,
        needs::Pods::Selected("app in (a,b),!canary".into())
    );
    assert_eq!(
        needs(&job(json!({}))).pods,
        needs::Pods::Selected("batch.kubernetes.io/job-name=migrate".into())
    );
    assert_eq!(
        needs(&object("v1", "PersistentVolumeClaim", json!({}), json!({}))).pods,
        needs::Pods::All
    );
    assert_eq!(
        needs(&object("v1", "ConfigMap", json!({}), json!({}))),
        Needs {
            namespace: Some("shop".into()),
            ..Needs::default()
        }
    );
}
