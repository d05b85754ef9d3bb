//! Laws of the way back on a real cluster: what stands in it, what is left as it is, what moves between apps.

use driftless::history::Phase;
use serde_json::{Value, json};

use crate::support::api_proxy::ApiFault;
use crate::support::cluster::Cluster;
use crate::support::command::CommandOutput;
use crate::support::kube_scene::{KubeScene, PATIENCE, config, web};
use crate::support::wait_until;

/// A StatefulSet of two pods that come one after the other.
fn ordered(image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{ name: db }}\nspec:\n  replicas: 2\n  serviceName: db\n  selector: {{ matchLabels: {{ app: db }} }}\n  \
         template:\n    metadata: {{ labels: {{ app: db }} }}\n    spec:\n      terminationGracePeriodSeconds: 1\n      containers:\n      - name: main\n        \
         image: {image}\n        readinessProbe: {{ httpGet: {{ path: /health, port: 8080 }}, periodSeconds: 1 }}\n---\n"
    )
}

/// Nor of one whose first pod never came up, on the way to a fix.
#[test]
fn an_ordered_set_is_fixed_past_a_stuck_pod() {
    let scene = KubeScene::new("ordered-fix", &ordered("web:crash"));
    drop(scene.apply().code(8));
    scene.commit(&ordered("web:1"));
    drop(scene.apply().success());
    let pods = scene.space.list("v1/pods");
    let images: Vec<&str> = pods
        .iter()
        .filter_map(|pod| pod["spec"]["containers"][0]["image"].as_str())
        .collect();
    assert_eq!(images, ["web:1", "web:1"]);
    // Also from a pod that no node takes.
    let nowhere = ordered("web:2").replace(
        "      containers:",
        "      nodeSelector: { there: is-none }\n      containers:",
    );
    let rules = |health: &str| {
        let app = &scene.app;
        let text = format!(
            "apps:\n  {app}: {{ path: apps/{app}, target: here, rollback: notify, health: {{ bake: 1s{health} }} }}\n"
        );
        scene.repo.write("driftless.yaml", text);
    };
    rules(", timeout: 5s");
    scene.commit(&nowhere);
    drop(scene.apply().code(8));
    rules("");
    scene.commit(&ordered("web:2"));
    drop(scene.apply().success());
    assert_eq!(scene.story().0.phase, Phase::Synced);
}

fn migration(annotations: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: migrate\n  annotations: {{ driftless.dev/wave: \"-1\", {annotations} }}\nspec:\n  backoffLimit: 0\n  \
         template:\n    spec:\n      restartPolicy: Never\n      containers: [{{ name: main, image: 'job:ok' }}]\n---\n"
    )
}

/// Kubernetes never replaces a pod of an ordered set that is not ready, so a template that was put back alone changes nothing.
#[test]
fn an_ordered_set_comes_back_from_a_stuck_pod() {
    let scene = KubeScene::new("ordered", &ordered("web:1"));
    drop(scene.apply().success());
    scene.commit(&ordered("web:crash"));
    drop(scene.apply().code(7).says("rolled back"));
    let pods = scene.space.list("v1/pods");
    let images: Vec<&str> = pods
        .iter()
        .filter_map(|pod| pod["spec"]["containers"][0]["image"].as_str())
        .collect();
    assert_eq!(images, ["web:1", "web:1"]);
    assert_eq!(scene.story().0.phase, Phase::Held);
}

#[test]
fn one_way_migration() {
    let scene = KubeScene::new("one-way", &web("web:1", ""));
    drop(scene.apply().success());
    scene.commit(&(migration("driftless.dev/kind: migration") + &web("web:crash", "")));
    let frozen = scene.apply().code(8).says("Job/migrate");
    assert!(frozen.stdout.contains("driftless.dev/rollback: safe"), "{frozen}");
    // No traffic to the old code: it may not understand what the migration left.
    assert_eq!(scene.image(), "web:crash");
    assert_eq!(scene.story().0.phase, Phase::Frozen);
    let why = scene.run(&["why", &scene.app]);
    assert!(why.stdout.contains("Job/migrate"), "{why}");
    // A fix goes out from there.
    scene.commit(&(migration("driftless.dev/kind: migration") + &web("web:2", "")));
    drop(scene.apply().success());
    // One that says that the old version can live with it does not stand in the way.
    let safe = "driftless.dev/kind: migration, driftless.dev/rollback: safe, round: \"2\"";
    scene.commit(&(migration(safe) + &web("web:crash", "")));
    drop(scene.apply().code(7).says("rolled back"));
    assert_eq!(
        (scene.image().as_str(), scene.story().0.phase),
        ("web:2", Phase::Held)
    );
}

/// Two apps in one namespace.
struct Two {
    scene: KubeScene<'static>,
    second: String,
}

impl Two {
    /// `first_last`: whether the app that gives is after the one that takes in the order of names.
    fn new(name: &str, giver: &str, taker: &str) -> Self {
        let scene = KubeScene::new(name, giver);
        let second = format!("zz-{}", scene.app);
        let two = Self { scene, second };
        two.scene.repo.write(
            "driftless.yaml",
            format!(
                "apps:\n  {first}: {{ path: apps/{first}, target: here, health: {{ bake: 1s }} }}\n  {second}: {{ path: apps/{second}, target: here, health: {{ bake: 1s }} }}\n",
                first = two.scene.app,
                second = two.second
            ),
        );
        two.write(giver, taker);
        drop(two.scene.repo.commit("two apps"));
        two
    }

    fn write(&self, first: &str, second: &str) {
        self.scene.repo.write(&self.scene.file(), first);
        self.scene
            .repo
            .write(&format!("apps/{}/app.yaml", self.second), second);
    }

    fn owner(&self, short: &str) -> String {
        let object = self.scene.space.get(short).expect("it is there");
        object["metadata"]["labels"]["driftless.dev/app"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    fn listed(&self, app: &str) -> String {
        let name = format!("v1/configmaps/driftless-{app}");
        let list = self.scene.space.get(&name).expect("the app's list is there");
        list["data"]["objects"].as_str().unwrap_or_default().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> CommandOutput {
        self.scene.run(arguments)
    }
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().expect("a uid").to_owned()
}

fn pods(scene: &KubeScene) -> Vec<String> {
    let mut all: Vec<String> = scene.space.list("v1/pods").iter().map(uid).collect();
    all.sort();
    all
}

#[test]
fn moved_object_is_handed_over() {
    let two = Two::new(
        "moved",
        &(web("web:1", "") + &config("first", "1")),
        &config("second", "1"),
    );
    let (first, second) = (two.scene.app.clone(), two.second.clone());
    drop(two.run(&["apply", "--yes"]).success());
    let (before, running) = (uid(&two.scene.deployment()), pods(&two.scene));
    // There and back: once the giver comes first, once the taker.
    for (from, to) in [(&first, &second), (&second, &first)] {
        if *to == second {
            two.write(
                &config("first", "1"),
                &(web("web:1", "") + &config("second", "1")),
            );
        } else {
            two.write(
                &(web("web:1", "") + &config("first", "1")),
                &config("second", "1"),
            );
        }
        drop(two.scene.repo.commit("move"));
        two.scene.proxy.clear();
        drop(two.run(&["apply", "--yes"]).success());
        let deleted = two.scene.proxy.count("delete *");
        assert_eq!(deleted, 0, "{:?}", two.scene.proxy.counts());
        assert_eq!(uid(&two.scene.deployment()), before);
        assert_eq!(pods(&two.scene), running, "not one pod was made anew");
        assert_eq!(two.owner("apps/v1/deployments/web"), *to);
        assert!(two.listed(to).contains("Deployment"));
        // Once more: everything is as it should be, and who gave it does not take it back or delete it.
        two.scene.proxy.clear();
        drop(two.run(&["apply", "--yes"]).success());
        two.scene.proxy.assert_read_only();
        drop(two.run(&["apply", from, "--yes", "--prune=all"]).success());
        assert_eq!(uid(&two.scene.deployment()), before);
        let left = two.run(&["drift"]);
        assert_eq!(left.status, Some(0), "{left}");
    }
    assert!(!two.listed(&first).is_empty());
}

/// Killed between the two runs, or with only one of them asked for, it ends the same.
#[test]
fn a_move_survives_a_kill_between_the_two() {
    let two = Two::new(
        "half-moved",
        &(config("moves", "1") + &config("first", "1")),
        &config("second", "1"),
    );
    drop(two.run(&["apply", "--yes"]).success());
    let before = uid(&two.scene.space.get("v1/configmaps/moves").expect("it is there"));
    two.write(
        &config("first", "1"),
        &(config("moves", "1") + &config("second", "1")),
    );
    drop(two.scene.repo.commit("move"));
    // Whoever gives it up first leaves it to the other.
    drop(two.run(&["apply", &two.scene.app, "--yes"]).success());
    let there = two
        .scene
        .space
        .get("v1/configmaps/moves")
        .expect("it is left alone");
    assert_eq!(uid(&there), before);
    two.scene.proxy.fault_nth_mutating(1, ApiFault::DropAfter);
    let cut = two.run(&["apply", &two.second, "--yes"]);
    two.scene.proxy.clear();
    drop(cut);
    drop(two.run(&["apply", "--yes"]).success());
    assert_eq!(two.owner("v1/configmaps/moves"), two.second);
    let there = two.scene.space.get("v1/configmaps/moves").expect("it is there");
    assert_eq!(uid(&there), before);
}

#[test]
fn what_a_held_app_still_wants_is_not_taken_from_it() {
    let two = Two::new(
        "kept",
        &(web("web:1", "") + &config("moves", "1")),
        &config("second", "1"),
    );
    drop(two.run(&["apply", "--yes"]).success());
    let before = uid(&two.scene.space.get("v1/configmaps/moves").expect("it is there"));
    // The giver's new release fails, so its old one, which has the object, is what it wants.
    two.write(&web("web:crash", ""), &config("second", "1"));
    drop(two.scene.repo.commit("broken"));
    drop(two.run(&["apply", &two.scene.app, "--yes"]).code(7));
    two.write(
        &web("web:crash", ""),
        &(config("moves", "1") + &config("second", "1")),
    );
    drop(two.scene.repo.commit("move"));
    let refused = two.run(&["apply", &two.second, "--yes"]).code(9);
    let said = refused.stdout.clone() + &refused.stderr;
    assert!(said.contains(&two.scene.app), "{refused}");
    assert_eq!(two.owner("v1/configmaps/moves"), two.scene.app);
    let there = two.scene.space.get("v1/configmaps/moves").expect("it is there");
    assert_eq!(uid(&there), before);
}

/// A release that took something over and failed does not delete it on its way back.
#[test]
fn what_was_there_before_a_failed_release_stays() {
    let scene = KubeScene::new("was-there", &web("web:1", ""));
    drop(scene.apply().success());
    scene.space.apply_yaml(&config("foreign", "1"));
    let before = uid(&scene.space.get("v1/configmaps/foreign").expect("it was made"));
    scene.commit(&(web("web:crash", "") + &config("foreign", "1") + &config("made", "1")));
    drop(scene.apply().code(7));
    wait_until("what the release made is gone", PATIENCE, || {
        scene.value("made").is_none()
    });
    let there = scene
        .space
        .get("v1/configmaps/foreign")
        .expect("it is left as it was");
    assert_eq!(uid(&there), before);
}

/// The stable release needs a version of a kind that somebody no longer serves: there is no way back, and half of one is none.
#[test]
fn rollback_target_gone_freezes() {
    let scene = KubeScene::new("target-gone", "");
    let group = format!("{}.example.com", scene.app);
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let path = format!("{definitions}/parts.{group}");
    let version = |name: &str, storage: bool| {
        json!({ "name": name, "served": true, "storage": storage,
            "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } })
    };
    let definition = json!({
        "metadata": { "name": format!("parts.{group}") },
        "spec": { "group": group, "scope": "Namespaced",
            "names": { "plural": "parts", "singular": "part", "kind": "Part" },
            "versions": [version("v1", false), version("v2", true)] },
    });
    let cluster = scene.space.cluster();
    let made = cluster.call("POST", definitions, Some(&definition));
    assert_eq!(made.status, 201, "{}", made.body);
    let _gone_at_the_end = Gone(&path);
    cluster.wait_for(&format!("/apis/{group}/v1"), PATIENCE, |_| true);
    let part = |version: &str| {
        format!(
            "apiVersion: {group}/{version}\nkind: Part\nmetadata: {{ name: one, annotations: {{ driftless.dev/health: ignore }} }}\nspec: {{ size: 3 }}\n---\n"
        )
    };
    scene.commit(&(web("web:1", "") + &config("settings", "1") + &part("v1")));
    drop(scene.apply().success());
    let retired = json!([{ "op": "replace", "path": "/spec/versions/0/served", "value": false }]);
    let patch = [
        "patch",
        "crd",
        &format!("parts.{group}"),
        "--type=json",
        "--patch",
        &retired.to_string(),
    ];
    drop(cluster.kubectl(&patch).success());
    cluster.wait_gone(&format!("/apis/{group}/v1"), PATIENCE);
    scene.commit(&(web("web:crash", "") + &config("settings", "2") + &part("v2")));
    // Before anything is changed it says that this is a one-way street.
    let plan = scene.run(&["plan"]);
    assert!(plan.stdout.contains("no way back"), "{plan}");
    let frozen = scene.apply().code(8).says("no way back").says("`Part`");
    assert_eq!(scene.story().0.phase, Phase::Frozen);
    // Not one object of the old release was put back.
    assert_eq!(
        (scene.image().as_str(), scene.value("settings").as_deref()),
        ("web:crash", Some("2")),
        "{frozen}"
    );
    scene.proxy.clear();
    drop(scene.apply().code(8));
    scene.proxy.assert_read_only();
    scene.commit(&(web("web:2", "") + &config("settings", "2") + &part("v2")));
    drop(scene.apply().success());
}

/// Objects may be stored in the failed release's version by now: its definition stays, on the way back and while it is held.
#[test]
fn stored_versions_are_never_taken_back() {
    let scene = KubeScene::new("stored", "");
    let group = format!("{}.example.com", scene.app);
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/parts.{group}");
    let _gone_at_the_end = Gone(&path);
    let release = |image: &str, newest: &str| {
        let version = |name: &str| {
            format!(
                "  - {{ name: {name}, served: true, storage: {}, schema: {{ openAPIV3Schema: {{ type: object, x-kubernetes-preserve-unknown-fields: true }} }} }}\n",
                name == newest
            )
        };
        // Both are in both releases: the API server itself would let the old one back.
        let versions = version("v1") + &version("v2");
        format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{ name: parts.{group} }}\nspec:\n  group: {group}\n  \
             scope: Namespaced\n  names: {{ plural: parts, singular: part, kind: Part }}\n  versions:\n{versions}---\n\
             apiVersion: {group}/{newest}\nkind: Part\nmetadata: {{ name: one, annotations: {{ driftless.dev/health: ignore }} }}\nspec: {{ made: {newest} }}\n---\n"
        ) + &web(image, "")
    };
    scene.commit(&release("web:1", "v1"));
    drop(scene.apply().success());
    scene.commit(&release("web:crash", "v2"));
    drop(scene.apply().code(7).says("rolled back"));
    let storage = || {
        let live = scene.space.cluster().get(&path).expect("it is there");
        let versions = live["spec"]["versions"].as_array().cloned().unwrap_or_default();
        let stored = versions.iter().find(|one| one["storage"] == true);
        stored.map(|one| one["name"].clone())
    };
    let part = || {
        let live = scene.space.get(&format!("{group}/v1/parts/one"));
        live.expect("it is there")["spec"]["made"].clone()
    };
    assert_eq!((storage(), part()), (Some(json!("v2")), json!("v1")));
    assert_eq!(
        (scene.image().as_str(), scene.story().0.phase),
        ("web:1", Phase::Held)
    );
    // That is how it stays: no drift, and nothing to heal.
    scene.proxy.clear();
    drop(scene.apply().code(9));
    drop(scene.run(&["drift"]).success());
    scene.proxy.assert_read_only();
    // Nor when Git goes back itself.
    scene.commit(&release("web:1", "v1"));
    drop(scene.apply().success());
    assert_eq!(storage(), Some(json!("v2")));
    scene.commit(&release("web:2", "v2"));
    drop(scene.apply().success());
    assert_eq!((storage(), part()), (Some(json!("v2")), json!("v2")));
}

/// What lies outside of namespaces, gone with the value.
struct Gone<'a>(&'a str);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        let _ = Cluster::shared().call("DELETE", self.0, None);
    }
}

/// Scaled out far beyond what Git says, then a bad release: neither it nor its rollback touches the number.
#[test]
fn autoscaler_keeps_its_replicas_through_a_rollback() {
    let scaled = |image: &str| {
        web(image, "")
            + "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: { name: web }\nspec:\n  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: web }\n  \
               minReplicas: 1\n  maxReplicas: 20\n  metrics: [{ type: Resource, resource: { name: cpu, target: { type: Utilization, averageUtilization: 80 } } }]\n---\n"
    };
    let scene = KubeScene::new("scaled-out", &scaled("web:1"));
    drop(scene.apply().success());
    let path = format!(
        "{}?fieldManager=kube-controller-manager",
        scene.space.path("apps/v1/deployments/web/scale")
    );
    let answer = scene
        .space
        .cluster()
        .call("PATCH", &path, Some(&json!({ "spec": { "replicas": 12 } })));
    assert_eq!(answer.status, 200, "{}", answer.body);
    scene.space.wait_available("web", PATIENCE);
    scene.commit(&scaled("web:crash"));
    drop(scene.apply().code(7).says("rolled back"));
    scene.space.wait_available("web", PATIENCE);
    assert_eq!(
        (scene.image().as_str(), &scene.deployment()["spec"]["replicas"]),
        ("web:1", &json!(12))
    );
    let ready = &scene.deployment()["status"]["readyReplicas"];
    assert_eq!(ready, &json!(12));
    // No difference remains, for us or for the cluster.
    scene.proxy.clear();
    drop(scene.apply().code(9));
    drop(scene.run(&["drift"]).success());
    scene.proxy.assert_read_only();
}
