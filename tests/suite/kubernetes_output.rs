//! What the verbs print about apps on a cluster, as a person reads it.

use std::path::Path;

use crate::support::driftless::TestEnv;
use crate::support::kube_scene::{KubeScene, config, web};
use crate::support::repo::Repo;

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: { name: web }\nspec: { selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }\n---\n";

fn probing(scene: &KubeScene<'_>, path: &str) {
    let app = &scene.app;
    let probe = format!("http: {{ service: web, port: 80, path: {path} }}");
    scene.repo.write(
        "driftless.yaml",
        format!(
            "apps:\n  {app}: {{ path: apps/{app}, target: here, health: {{ bake: 1s, timeout: 4s, {probe} }} }}\n"
        ),
    );
}

#[test]
fn why_tells_the_story_of_a_failed_probe_and_of_no_other_failure() {
    let scene = KubeScene::new("why", &(web("web:1", "") + SERVICE));
    if !scene.space.cluster().has_node() {
        return;
    }
    drop(scene.apply().success());
    scene.commit(&(web("web:crash", "") + SERVICE));
    let crashed = scene.apply().code(7);
    // The facts stand in one column, however long the object's name is.
    let column = |head: &str| {
        let line = crashed
            .stdout
            .lines()
            .find(|line| line.trim_start().starts_with(head));
        let line = line.unwrap_or_else(|| panic!("{head} is missing\n{crashed}"));
        let after = line.find(head).unwrap() + head.len();
        after + line[after..].find(|c: char| c != ' ').unwrap()
    };
    for head in ["last output", "events", "changed"] {
        assert_eq!(column(head), column("Deployment/web"), "{head}\n{crashed}");
    }
    for (text, is) in [
        ("exit code 3, twice", true),
        ("exit code  ", false),
        ("driftless-", false),
    ] {
        let told = crashed.stdout.replace(&scene.app, "APP");
        assert_eq!(told.contains(text), is, "{text}\n{crashed}");
    }

    probing(&scene, "/nothing");
    scene.commit(&(web("web:2", "") + SERVICE));
    let failed = scene.apply().code(7);
    let why = scene.run(&["why", &scene.app]).success();
    for said in [&failed, &why] {
        for text in [
            "Service/web",
            "0/1 healthy",
            "GET http://web:80/nothing -> 404",
            "last output",
            "| listening on 8080",
            "changed",
            "containers[main].image",
        ] {
            assert!(said.stdout.contains(text), "{text} is missing\n{said}");
        }
        assert!(!said.stdout.contains("boom"), "that was another commit\n{said}");
    }
    let why = scene.run(&["why", &scene.app, "-o", "json"]).success().json();
    assert_eq!(why["lastFailure"]["evidence"][0]["service"], "Service/web");
    assert!(
        why["lastFailure"]["changed"][0]
            .as_str()
            .unwrap()
            .contains("image"),
        "{why}"
    );
}

#[test]
fn a_run_counts_what_the_plan_counts() {
    let scene = KubeScene::new("count", &(config("one", "1") + &config("two", "1")));
    drop(scene.run(&["plan"]).success().says("2 to create"));
    let applied = scene.apply().success().says(": 2 changes");
    assert!(
        !applied.stdout.contains(&format!("driftless-{}", scene.app)),
        "{applied}"
    );
}

#[test]
fn a_namespace_that_is_not_there_is_told_with_the_command_that_makes_it() {
    let scene = KubeScene::new("nowhere", &config("one", "1"));
    scene.env.write_config(
        "config.yaml",
        "targets: { here: { kubernetes: current, namespace: driftless-test-nowhere-at-all } }\n",
    );
    drop(
        scene
            .apply()
            .code(6)
            .says("`kubectl create namespace driftless-test-nowhere-at-all`"),
    );
}

fn kubeconfig(env: &mut TestEnv, folder: &Path) {
    let file = folder.join("kubeconfig");
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: home\ncontexts: [{name: home, context: {cluster: c, user: u, namespace: shop}}]\n\
                clusters: [{name: c, cluster: {server: \"https://127.0.0.1:1\"}}]\nusers: [{name: u, user: {token: x}}]\n";
    std::fs::write(&file, text).unwrap();
    env.set("KUBECONFIG", file.to_str().unwrap());
}

#[test]
fn init_says_which_cluster_manifests_go_to_and_how_to_keep_them_there() {
    let repo = Repo::with(&[
        ("apps/web/web.yaml", &web("web:1", "")),
        ("apps/old/compose.yaml", "services:\n  api:\n    image: web:1\n"),
    ]);
    let mut env = TestEnv::new();
    drop(
        env.run(&repo.path(), &["init"])
            .success()
            .complains("there is no kubeconfig at")
            .complains("--target k8s:CONTEXT"),
    );
    let folder = tempfile::tempdir().unwrap();
    kubeconfig(&mut env, folder.path());
    let init = env
        .run(&repo.path(), &["init"])
        .success()
        .says("k8s:home/shop")
        .says("1 object ")
        .says("1 service ")
        .complains("web goes where `kubectl` points now")
        .complains("targets: { prod: { kubernetes: home, namespace: shop } }");
    assert!(
        init.stdout
            .lines()
            .all(|line| !line.contains("old") || line.contains("unix://")),
        "{init}"
    );
    // Once it is named, nothing is proposed.
    env.write_config(
        "config.yaml",
        "targets: { prod: { kubernetes: home, namespace: shop }, nas: { docker: default } }\n",
    );
    let named = env.run(&repo.path(), &["init"]).success().says("k8s:prod/shop");
    assert!(!named.stderr.contains("kubectl"), "{named}");
}

#[test]
fn a_cluster_that_is_away_is_told_once_with_the_next_step() {
    let repo = Repo::with(&[("web.yaml", &config("settings", "1"))]);
    let mut env = TestEnv::new();
    let folder = tempfile::tempdir().unwrap();
    kubeconfig(&mut env, folder.path());
    for verb in [&["plan"][..], &["apply", "--yes"], &["drift"]] {
        let told = env.run(&repo.path(), verb).code(5);
        let errors: Vec<&str> = told
            .stderr
            .lines()
            .filter(|line| line.to_lowercase().contains("error"))
            .collect();
        assert_eq!(errors.len(), 2, "the error and its cause\n{told}");
        assert!(
            told.stderr.contains("= help: check that the cluster runs"),
            "{told}"
        );
    }
}
