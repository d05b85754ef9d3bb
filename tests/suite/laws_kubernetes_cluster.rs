//! Laws of what a real cluster is and serves: what charts learn of it, and a part of its API that does not answer.

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::kube_scene::{KubeScene, PATIENCE, config};

/// A kind of its own group; gone with the value.
struct Definition {
    group: String,
}

impl Definition {
    fn new() -> Self {
        let group = format!("{}.example.com", Cluster::shared().unique("parts"));
        let definition = Self { group };
        definition.make();
        definition
    }

    fn path(&self) -> String {
        format!(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/parts.{}",
            self.group
        )
    }

    fn make(&self) {
        let group = &self.group;
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("parts.{group}") },
            "spec": { "group": group, "scope": "Namespaced",
                "names": { "plural": "parts", "singular": "part", "kind": "Part" },
                "versions": [{ "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }] },
        });
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let made = Cluster::shared().call("POST", path, Some(&definition));
        assert_eq!(made.status, 201, "{}", made.body);
        Cluster::shared().wait_for(&format!("/apis/{group}/v1"), PATIENCE, |_| true);
    }

    fn manifest(&self, name: &str, size: u32) -> String {
        format!(
            "apiVersion: {}/v1\nkind: Part\nmetadata: {{ name: {name} }}\nspec: {{ size: {size} }}\n---\n",
            self.group
        )
    }
}

impl Drop for Definition {
    fn drop(&mut self) {
        Cluster::shared().call("DELETE", &self.path(), None);
    }
}

#[test]
fn a_chart_knows_its_cluster() {
    let mut scene = KubeScene::with_rules("chart", "health: { bake: 0s }", "");
    let tools = Cluster::tool("helm");
    let tools = tools.parent().expect("a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    scene.env.set("PATH", &format!("{}:{path}", tools.display()));
    let group = format!("{}.example.com", scene.app);
    let folder = format!("apps/{}", scene.app);
    scene.repo.remove(&format!("{folder}/app.yaml"));
    scene.repo.write(
        &format!("{folder}/Chart.yaml"),
        "apiVersion: v2\nname: web\nversion: 0.1.0\n",
    );
    let template = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: known, namespace: {{{{ .Release.Namespace }}}} }}\ndata:\n  \
         version: {{{{ .Capabilities.KubeVersion.Version | quote }}}}\n  \
         apps: {{{{ .Capabilities.APIVersions.Has \"apps/v1/Deployment\" | quote }}}}\n  \
         parts: {{{{ .Capabilities.APIVersions.Has \"{group}/v1/Part\" | quote }}}}\n"
    );
    scene
        .repo
        .commit_file(&format!("{folder}/templates/known.yaml"), &template, "a chart");
    drop(scene.apply().success());
    let known = || {
        scene
            .space
            .get("v1/configmaps/known")
            .expect("it is in the app's namespace")["data"]
            .clone()
    };
    let version = scene
        .space
        .cluster()
        .get("/version")
        .expect("every cluster has one");
    let minor = format!(
        "v{}.{}.0",
        version["major"].as_str().unwrap(),
        version["minor"].as_str().unwrap()
    );
    assert_eq!(
        known(),
        json!({ "version": minor, "apps": "true", "parts": "false" })
    );
    // Nothing moves while the cluster is the same.
    scene.proxy.clear();
    drop(scene.apply().success());
    scene.proxy.assert_read_only();
    // Without a cluster the tool's own defaults stand, and the operator's namespace.
    let offline = scene.run(&["render", &scene.app]).success();
    assert!(
        offline.stdout.contains(&format!("namespace: {}", scene.app)),
        "{offline}"
    );
    assert!(scene.run(&["validate"]).status == Some(0));
    // A kind that came makes another release, and the plan says so.
    let part = Definition { group: group.clone() };
    part.make();
    drop(scene.run(&["plan"]).says("parts"));
    drop(scene.apply().success());
    assert_eq!(known()["parts"], "true");
    assert_eq!(scene.story().1.len(), 2);
}

/// An API whose server does not exist, in front of what was there before; gone with the value.
struct Broken {
    path: String,
}

impl Broken {
    fn new(group: &str) -> Self {
        let name = format!("v1.{group}");
        let service = json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": { "name": name },
            "spec": { "group": group, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15,
                "insecureSkipTLSVerify": true, "service": { "name": "nobody", "namespace": "default", "port": 443 } },
        });
        let list = "/apis/apiregistration.k8s.io/v1/apiservices";
        let path = format!("{list}/{name}");
        // While its definition is there, the API server registers the group itself.
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let made = Cluster::shared().call("POST", list, Some(&service));
            if made.status == 201 {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{}", made.body);
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let unavailable = |live: &Value| {
            live["status"]["conditions"].as_array().is_some_and(|all| {
                all.iter()
                    .any(|one| one["type"] == "Available" && one["status"] == "False")
            })
        };
        Cluster::shared().wait_for(&path, PATIENCE, unavailable);
        Self { path }
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        Cluster::shared().call("DELETE", &self.path, None);
    }
}

#[test]
fn an_api_that_does_not_answer_is_unknown_and_concerns_nobody_else() {
    let part = Definition::new();
    let user = KubeScene::with_rules(
        "broken-api",
        "health: { bake: 0s }",
        &(part.manifest("one", 1) + &part.manifest("two", 1) + &config("settings", "1")),
    );
    drop(user.apply().success());
    assert_eq!(user.story().1.len(), 1);
    // The server of the group goes away, and everything in it can't be seen any more.
    let gone = Cluster::shared().call("DELETE", &part.path(), None);
    assert_eq!(gone.status, 200, "{}", gone.body);
    Cluster::shared().wait_gone(&part.path(), PATIENCE);
    let broken = Broken::new(&part.group);
    // Who does not use it does not notice.
    let other = KubeScene::with_rules("beside-broken", "health: { bake: 0s }", &config("settings", "1"));
    drop(other.apply().success());
    other.commit(&config("settings", "2"));
    drop(other.apply().success());
    assert_eq!(other.value("settings").as_deref(), Some("2"));
    // What is there is unknown: no plan to make it, and none to forget it.
    let plan = user.run(&["plan"]);
    let said = plan.stdout.clone() + &plan.stderr;
    assert!(
        said.contains(&format!("`{}` does not answer", part.group)),
        "{plan}"
    );
    assert!(
        !said.contains("1 to create") && !said.contains("2 to create"),
        "{plan}"
    );
    let told = format!(
        "the server of `{}` does not answer: its objects are unknown",
        part.group
    );
    drop(
        user.run(&["doctor"])
            .success()
            .says(&told)
            .says("kubectl get apiservices"),
    );
    // A change beside it waits: a release that can't be seen whole can't be judged.
    user.commit(&(part.manifest("one", 1) + &part.manifest("two", 1) + &config("settings", "9")));
    user.proxy.clear();
    let waits = user.apply().code(5);
    assert!(
        (waits.stdout.clone() + &waits.stderr).contains("does not answer"),
        "{waits}"
    );
    user.proxy.assert_read_only();
    assert_eq!(user.value("settings").as_deref(), Some("1"));
    // What Git drops meanwhile is kept, on the list too.
    user.commit(&config("settings", "2"));
    user.proxy.clear();
    let dropped = user.apply();
    assert_eq!(user.proxy.count("delete *"), 0, "{dropped}");
    let listed = || {
        let list = user.space.get(&format!("v1/configmaps/driftless-{}", user.app));
        let list = list.expect("the app's list is there");
        let text = list["data"]["objects"].as_str().unwrap_or_default().to_owned();
        (text.contains("\"one\""), text.contains("\"two\""))
    };
    assert_eq!(listed(), (true, true), "{dropped}");
    // The rest of the app goes on.
    assert_eq!(user.value("settings").as_deref(), Some("2"), "{dropped}");
    // The server is back. What is there now was made by somebody else, and is not ours to delete.
    drop(broken);
    part.make();
    let made = Cluster::shared().kubectl_with(
        &["--namespace", &user.app, "apply", "-f", "-"],
        &(part.manifest("one", 1) + &part.manifest("two", 1)),
    );
    drop(made.success());
    user.proxy.clear();
    let seen = user.apply().success();
    assert_eq!(user.proxy.count("delete *"), 0, "{seen}");
    assert!(user.space.get(&format!("{}/v1/parts/one", part.group)).is_some());
}
