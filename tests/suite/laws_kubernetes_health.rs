//! Laws of an app's own health rules on a real cluster: expressions for custom resources, patience, annotations of objects.

use std::time::{Duration, Instant};

use driftless::history::Phase;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::kube_scene::{KubeScene, PATIENCE, config, web};

/// A kind `Widget` of its own group, whose controller is the test. Gone with the value.
struct Widgets {
    group: String,
}

impl Widgets {
    fn new() -> Self {
        let group = format!("{}.example.com", Cluster::shared().unique("widgets"));
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("widgets.{group}") },
            "spec": { "group": group, "scope": "Namespaced",
                "names": { "plural": "widgets", "singular": "widget", "kind": "Widget" },
                "versions": [{ "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                    "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }] },
        });
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let made = Cluster::shared().call("POST", path, Some(&definition));
        assert_eq!(made.status, 201, "{}", made.body);
        let widgets = Self { group };
        Cluster::shared().wait_for(&widgets.path(), PATIENCE, |live| {
            live["status"]["conditions"].as_array().is_some_and(|all| {
                all.iter()
                    .any(|one| one["type"] == "Established" && one["status"] == "True")
            })
        });
        widgets
    }

    fn path(&self) -> String {
        format!(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{}",
            self.group
        )
    }

    fn manifest(&self, size: u32) -> String {
        format!(
            "apiVersion: {}/v1\nkind: Widget\nmetadata: {{ name: one }}\nspec: {{ size: {size} }}\n---\n",
            self.group
        )
    }

    fn rules(&self) -> String {
        format!(
            "health: {{ bake: 1s, timeout: 40s, expressions: [{{ apiVersion: {}/v1, kind: Widget, inProgress: \"status.phase == 'Building'\", \
             failed: \"status.phase == 'Broken'\", current: \"status.phase == 'Up'\" }}] }}",
            self.group
        )
    }

    /// Waits until the widget has this size, and says of it what its controller would.
    #[track_caller]
    fn answer(&self, scene: &KubeScene, size: u32, phase: &str) {
        let one = format!("{}/v1/widgets/one", self.group);
        let live = scene
            .space
            .wait_for(&one, PATIENCE, |live| live["spec"]["size"] == size);
        let generation: &Value = &live["metadata"]["generation"];
        scene.space.patch(
            &format!("{one}/status"),
            &json!({ "status": { "phase": phase, "observedGeneration": generation } }),
        );
    }

    /// Waits until the widget was looked at `more` times from now.
    #[track_caller]
    fn wait_looked(&self, scene: &KubeScene, more: usize) {
        let pick = format!("get widgets.{}", self.group);
        let (start, before) = (Instant::now(), scene.proxy.count(&pick));
        while scene.proxy.count(&pick) < before + more {
            assert!(start.elapsed() < PATIENCE, "nobody looks at the widget");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Widgets {
    fn drop(&mut self) {
        Cluster::shared().call("DELETE", &self.path(), None);
    }
}

#[test]
fn an_expression_decides_how_a_custom_resource_is() {
    let widgets = Widgets::new();
    let scene = KubeScene::with_rules("expression", &widgets.rules(), "");
    scene.commit(&(widgets.manifest(1) + &config("settings", "1")));
    // In progress it waits, however often it looks; current it is stable.
    let applying = scene.start_apply();
    widgets.answer(&scene, 1, "Building");
    widgets.wait_looked(&scene, 5);
    widgets.answer(&scene, 1, "Up");
    drop(applying.wait(PATIENCE).success());
    assert_eq!(scene.story().0.phase, Phase::Synced);
    let good = scene.repo.head();
    // Failed it rolls back, and says which expression said so.
    scene.commit(&(widgets.manifest(2) + &config("settings", "2")));
    let applying = scene.start_apply();
    widgets.answer(&scene, 2, "Building");
    widgets.wait_looked(&scene, 5);
    widgets.answer(&scene, 2, "Broken");
    widgets.answer(&scene, 1, "Up");
    let failed = applying
        .wait(PATIENCE)
        .code(7)
        .says(&format!("rolled back to {}", &good[..7]));
    assert!(
        (failed.stdout.clone() + &failed.stderr)
            .contains("its health expression `failed` holds: status.phase == 'Broken'"),
        "{failed}"
    );
    assert_eq!(scene.value("settings").as_deref(), Some("1"));
    assert_eq!(scene.story().0.phase, Phase::Held);
    // It is part of the release: another expression is another release, which is tried.
    let healthy = widgets.rules().replace("status.phase == 'Broken'", "false");
    let declared = format!(
        "apps:\n  {0}: {{ path: apps/{0}, target: here, {healthy} }}\n",
        scene.app
    );
    scene
        .repo
        .commit_file("driftless.yaml", &declared, "another expression");
    let applying = scene.start_apply();
    widgets.answer(&scene, 2, "Up");
    drop(applying.wait(PATIENCE).success());
    assert_eq!(scene.value("settings").as_deref(), Some("2"));
}

#[test]
fn a_bad_expression_is_an_error_with_its_place() {
    let rules = "health: { expressions: [{ apiVersion: a.example.com/v1, kind: Widget, current: \"status.phase == 'Up' &&& x\" }] }";
    let scene = KubeScene::with_rules("bad-expression", rules, &config("settings", "1"));
    scene.proxy.clear();
    for verb in [&["validate"][..], &["apply", "--yes"]] {
        let refused = scene.run(verb);
        assert!(refused.status.is_some_and(|code| code != 0), "{refused}");
        let said = refused.stdout.clone() + &refused.stderr;
        let file = scene.repo.path().join("driftless.yaml");
        let column = std::fs::read_to_string(file)
            .expect("the file is there")
            .lines()
            .nth(1)
            .and_then(|line| line.find("&&& x"))
            .expect("the expression is there")
            + "&&&".len();
        for text in [
            &format!("driftless.yaml:2:{column}") as &str,
            "E0308",
            "`current` of Widget can't be read",
        ] {
            assert!(said.contains(text), "{text:?} is missing\n{refused}");
        }
    }
    scene.proxy.assert_read_only();
}

#[test]
fn patience_and_annotations_decide_what_is_waited_for() {
    // A crash that would be sure at once is given a time: here for ever, as far as this test is concerned.
    let rules = "health: { bake: 1s, patience: { crash: 5m } }";
    let scene = KubeScene::with_rules("patience", rules, &web("web:crash", ""));
    let mut applying = scene.start_apply();
    scene.space.wait_for("v1/pods", PATIENCE, |pods| {
        pods["items"].as_array().is_some_and(|all| {
            all.iter().any(|pod| {
                pod["status"]["containerStatuses"][0]["restartCount"]
                    .as_i64()
                    .is_some_and(|count| count >= 2)
            })
        })
    });
    applying.wait_to_say("exit", PATIENCE);
    assert_eq!(scene.story().0.phase, Phase::Applying, "it is still waited for");
    scene.commit(&web("web:1", ""));
    drop(applying.terminate(PATIENCE));
    drop(scene.apply().success());
    // What is never healthy holds nothing back where its object says so.
    let ignored = web("web:crash", "").replace(
        "metadata: { name: web }\nspec:\n  replicas",
        "metadata: { name: web, annotations: { driftless.dev/health: ignore } }\nspec:\n  replicas",
    );
    scene.commit(&ignored);
    drop(scene.apply().success());
    // A load balancer that gets no address holds a release back where that is asked for.
    let balancer = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: door, annotations: {{ driftless.dev/wait-for-address: \"{value}\" }} }}\n\
             spec: {{ type: LoadBalancer, selector: {{ app: web }}, ports: [{{ port: 80 }}] }}\n---\n"
        )
    };
    let scene = KubeScene::with_rules(
        "address",
        "health: { bake: 1s, timeout: 5s, wait_for_addresses: true }",
        &(web("web:1", "") + &balancer("false")),
    );
    drop(scene.apply().success());
    scene.commit(&(web("web:1", "") + &balancer("true")));
    let failed = scene.apply().code(7);
    assert!(
        (failed.stdout.clone() + &failed.stderr).contains("no address yet"),
        "{failed}"
    );
    scene.commit(&(web("web:1", "") + &balancer("maybe")));
    let refused = scene.run(&["validate"]);
    assert!(
        refused.status.is_some_and(|code| code != 0)
            && (refused.stdout.clone() + &refused.stderr).contains("E0810"),
        "{refused}"
    );
}
