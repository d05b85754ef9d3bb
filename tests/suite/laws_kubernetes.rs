//! Laws of releases on a real cluster with real pods, plain YAML: nothing to do, failures and the way back, drift, prune.

use std::time::{Duration, Instant};

use driftless::history::Phase;
use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::kube_scene::{KubeScene, PATIENCE, config, web};

#[test]
fn unchanged_objects_make_no_mutating_calls() {
    let scene = KubeScene::new("noop", &(web("web:1", "") + &config("settings", "1")));
    drop(scene.apply().success().says("deployed"));
    // Its gate asked for its own pods: another app of the namespace may have thousands.
    let calls = scene.proxy.calls();
    let pods: Vec<&str> = calls
        .iter()
        .filter(|call| call.verb == "list" && ["pods", "replicasets.apps"].contains(&call.resource.as_str()))
        .map(|call| call.path.as_str())
        .collect();
    assert!(
        !pods.is_empty() && pods.iter().all(|path| path.contains("labelSelector=app%3Dweb")),
        "{pods:#?}"
    );
    scene.proxy.clear();
    drop(scene.apply().success());
    scene.proxy.assert_read_only();
    // Not even a dry run: what was sent last is still what is wanted.
    assert_eq!(scene.proxy.count("apply *"), 0, "{:?}", scene.proxy.counts());
    assert_eq!(scene.story().1.len(), 1);
}

#[test]
fn crash_loop_rolls_back() {
    let scene = KubeScene::new("crash", &(web("web:1", "") + &config("settings", "1")));
    drop(scene.apply().success());
    let good = scene.repo.head();
    scene.commit(&(web("web:crash", "") + &config("settings", "2") + &config("extra", "new")));
    let start = Instant::now();
    let failed = scene
        .apply()
        .code(7)
        .says(&format!("rolled back to {}", &good[..7]));
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert!(failed.stdout.contains(scene.crash()), "{failed}");
    assert_eq!(scene.image(), "web:1");
    assert_eq!(scene.value("settings").as_deref(), Some("1"));
    assert_eq!(scene.value("extra"), None, "made by the failed release");
    scene.space.wait_available("web", PATIENCE);
    assert_eq!(scene.story().0.phase, Phase::Held);
    // The same commit is not tried again.
    scene.proxy.clear();
    drop(scene.apply().code(9));
    scene.proxy.assert_read_only();
    let why = scene.run(&["why", &scene.app]);
    assert!(why.stdout.contains(scene.crash()), "{why}");
    // A fix goes out at once, whatever is left of the old pods.
    scene.commit(&(web("web:2", "") + &config("settings", "2")));
    drop(scene.apply().success());
    assert_eq!(
        (scene.image(), scene.story().0.phase),
        ("web:2".to_owned(), Phase::Synced)
    );
}

#[test]
fn image_pull_failure_rolls_back() {
    // A scripted pod has every image.
    if !Cluster::shared().has_node() {
        return;
    }
    // A registry that can't be reached may come back, so such a release has its whole timeout; a name that no registry can
    // have is given up within its own patience.
    for (name, rules, image, shown) in [
        (
            "pull",
            "health: { bake: 1s, timeout: 5s }",
            "web:missing",
            "web:missing",
        ),
        ("name", "health: { bake: 1s }", "Web:1", "InvalidImageName"),
    ] {
        let scene = KubeScene::with_rules(name, rules, &web("web:1", ""));
        drop(scene.apply().success());
        let good = scene.repo.head();
        scene.commit(&web(image, ""));
        let start = Instant::now();
        let failed = scene
            .apply()
            .code(7)
            .says(&format!("rolled back to {}", &good[..7]));
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{:?}\n{failed}",
            start.elapsed()
        );
        assert!(failed.stdout.contains(shown), "{failed}");
        assert_eq!(
            (scene.image().as_str(), scene.story().0.phase),
            ("web:1", Phase::Held)
        );
    }
}

#[test]
fn old_pods_do_not_fail_the_fix() {
    let scene = KubeScene::new("old-pods", &web("web:crash", ""));
    drop(scene.apply().code(8));
    assert_eq!(scene.story().0.phase, Phase::Frozen);
    // The crashing pod of the first release is still there while the fix is judged.
    scene.commit(&web("web:1", ""));
    drop(scene.apply().success());
    assert_eq!(scene.story().0.phase, Phase::Synced);
}

#[test]
fn crd_and_its_resource_in_one_commit_converge_in_one_run() {
    let scene = KubeScene::new("crd", "");
    let group = format!("{}.example.com", scene.app);
    let definition = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{ name: widgets.{group} }}\nspec:\n  group: {group}\n  \
         scope: Namespaced\n  names: {{ plural: widgets, singular: widget, kind: Widget }}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    \
         schema: {{ openAPIV3Schema: {{ type: object, x-kubernetes-preserve-unknown-fields: true }} }}\n---\n"
    );
    let widget = format!(
        "apiVersion: {group}/v1\nkind: Widget\nmetadata: {{ name: one }}\nspec: {{ size: 3 }}\n---\n"
    );
    scene.commit(&(widget + &definition));
    let applied = scene.apply();
    let made = scene.space.get(&format!("{group}/v1/widgets/one"));
    scene.proxy.clear();
    let again = scene.apply();
    let calls = scene.proxy.mutating();
    // Definitions are not the namespace's: gone before anything can fail.
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{group}");
    scene.space.cluster().call("DELETE", &path, None);
    drop(applied.success());
    assert_eq!(made.expect("the resource is there")["spec"]["size"], 3);
    drop(again.success());
    assert!(calls.is_empty(), "{calls:?}");
}

#[test]
fn five_broken_manifests_give_five_errors() {
    let scene = KubeScene::new("broken", "");
    let mut all = config("fine", "1");
    let broken = |number: usize| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: bad{number} }}\nspec: {{ ports: [{{ port: {} }}] }}\n---\n",
            70_000 + number
        )
    };
    let mut places = Vec::new();
    for number in 1..=5 {
        places.push(format!("app.yaml:{}", all.lines().count() + 1));
        all += &broken(number);
    }
    scene.commit(&all);
    scene.proxy.clear();
    let refused = scene.apply();
    let said = refused.stdout.clone() + &refused.stderr;
    assert!(refused.status.is_some_and(|code| code != 0), "{refused}");
    for (number, place) in (1..=5).zip(&places) {
        assert!(
            said.contains(&format!("bad{number}")),
            "bad{number} is missing\n{refused}"
        );
        let line = place.trim_start_matches("app.yaml:").parse::<usize>().unwrap();
        // The place is in the document of the object: at its start or at the field that is wrong.
        assert!(
            (line..line + 4).any(|line| said.contains(&format!("app.yaml:{line}"))),
            "{place} is missing\n{refused}"
        );
    }
    scene.proxy.assert_read_only();
    assert_eq!(scene.value("fine"), None);
}

#[test]
fn removed_field_is_removed_live() {
    let scene = KubeScene::new("field", "");
    let map = |data: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: settings }}\ndata: {data}\n")
    };
    scene.space.apply_yaml(&map("{ one: \"1\", two: \"2\" }"));
    scene.commit(&map("{ one: \"1\", two: \"2\" }"));
    drop(scene.run(&["apply", "--yes", "--adopt"]).success());
    scene.commit(&map("{ one: \"1\" }"));
    drop(scene.apply().success());
    let live = scene.space.get("v1/configmaps/settings").unwrap();
    assert_eq!(live["data"], json!({ "one": "1" }));
    // Also when the field goes in the very commit that adopts.
    scene.space.apply_yaml(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: other}, data: {one: \"1\", two: \"2\"}}",
    );
    scene.commit(
        &(map("{ one: \"1\" }")
            + "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: other}, data: {one: \"1\"}}\n"),
    );
    drop(scene.run(&["apply", "--yes", "--adopt"]).success());
    assert_eq!(
        scene.space.get("v1/configmaps/other").unwrap()["data"],
        json!({ "one": "1" })
    );
}

#[test]
fn autoscaler_keeps_its_replicas() {
    let scaled = |image: &str| {
        web(image, "")
            + "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: { name: web }\nspec:\n  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: web }\n  \
               minReplicas: 1\n  maxReplicas: 5\n  metrics: [{ type: Resource, resource: { name: cpu, target: { type: Utilization, averageUtilization: 80 } } }]\n---\n"
    };
    let scene = KubeScene::new("scaled", &scaled("web:1"));
    drop(scene.apply().success());
    let path = format!(
        "{}?fieldManager=kube-controller-manager",
        scene.space.path("apps/v1/deployments/web/scale")
    );
    let answer = scene
        .space
        .cluster()
        .call("PATCH", &path, Some(&json!({ "spec": { "replicas": 3 } })));
    assert_eq!(answer.status, 200, "{}", answer.body);
    scene.space.wait_available("web", PATIENCE);
    scene.proxy.clear();
    drop(scene.apply().success());
    scene.proxy.assert_read_only();
    scene.commit(&scaled("web:2"));
    drop(scene.apply().success());
    assert_eq!(
        (scene.image().as_str(), &scene.deployment()["spec"]["replicas"]),
        ("web:2", &json!(3))
    );
}

#[test]
fn drift_is_healed_with_blame() {
    let scene = KubeScene::new(
        "drift",
        &(web("web:1", "") + &config("settings", "1") + &config("other", "1")),
    );
    drop(scene.apply().success());
    let patch = [
        "patch",
        "configmap",
        "settings",
        "--type=merge",
        "--patch",
        "{\"data\":{\"key\":\"by hand\"}}",
        "--field-manager=kubectl-edit",
    ];
    drop(scene.space.kubectl(&patch).success());
    let plan = scene.run(&["plan"]);
    let live = scene.space.get("v1/configmaps/settings").unwrap();
    let managers = live["metadata"]["managedFields"].as_array().unwrap().clone();
    let when = managers
        .iter()
        .find(|one| one["manager"] == "kubectl-edit")
        .unwrap()["time"]
        .as_str()
        .unwrap();
    for text in ["settings", "kubectl-edit", &when[11..16]] {
        assert!(plan.stdout.contains(text), "{text:?} is missing\n{plan}");
    }
    assert!(!plan.stdout.contains("ConfigMap/other"), "{plan}");
    scene.proxy.clear();
    drop(scene.apply().success());
    assert_eq!(scene.take_changes(), ["apply configmaps settings"]);
    assert_eq!(scene.value("settings").as_deref(), Some("1"));
    scene.proxy.clear();
    drop(scene.apply().success());
    scene.proxy.assert_read_only();
}

#[test]
fn prune_is_last_and_protected() {
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: { name: data }\nspec: { accessModes: [ReadWriteOnce], storageClassName: none, resources: { requests: { storage: 1Mi } } }\n---\n";
    let kept = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: kept, annotations: { driftless.dev/prune: \"false\" } }\n---\n";
    let scene = KubeScene::new("prune", &(web("web:1", "") + &config("old", "1") + kept));
    drop(scene.apply().success());
    scene.commit(&web("web:2", ""));
    scene.proxy.clear();
    drop(scene.apply().success());
    let changes = scene.take_changes();
    assert_eq!(changes, ["apply deployments.apps web", "delete configmaps old"]);
    assert_eq!(scene.value("old"), None);
    assert!(scene.value("kept").is_some());
    // A claim's data is nobody's to delete. A class that waits for its first pod lets the claim be healthy unbound.
    let class = scene.space.cluster().unique("late");
    let made = scene.space.cluster().kubectl_with(
        &["apply", "-f", "-"],
        &format!("{{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {{name: {class}}}, provisioner: test/none, volumeBindingMode: WaitForFirstConsumer}}"),
    );
    drop(made.success());
    let claim = claim.replace("storageClassName: none", &format!("storageClassName: {class}"));
    let scene = KubeScene::with_rules(
        "prune-data",
        "health: { bake: 0s, timeout: 5s }",
        &(config("one", "1") + &claim),
    );
    let first = scene.apply();
    scene.commit(&config("one", "2"));
    let second = scene.apply();
    let third = scene.apply();
    let live = scene.space.get("v1/persistentvolumeclaims/data");
    scene.space.cluster().call(
        "DELETE",
        &format!("/apis/storage.k8s.io/v1/storageclasses/{class}"),
        None,
    );
    drop(first.success());
    drop(second.success());
    drop(third.success());
    assert_eq!(scene.value("one").as_deref(), Some("2"));
    assert!(live.expect("never deleted")["metadata"]["deletionTimestamp"].is_null());
}

#[test]
fn pending_forever_fails_in_patience() {
    let nowhere = "      nodeSelector: { there: is-none }\n      containers:";
    let scene = KubeScene::with_rules("pending", "health: { bake: 1s, timeout: 5s }", &web("web:1", ""));
    drop(scene.apply().success());
    let good = scene.repo.head();
    scene.commit(&web("web:2", "").replace("      containers:", nowhere));
    let start = Instant::now();
    drop(
        scene
            .apply()
            .code(7)
            .says(&format!("rolled back to {}", &good[..7])),
    );
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    assert_eq!(
        (scene.image().as_str(), scene.story().0.phase),
        ("web:1", Phase::Held)
    );
}
