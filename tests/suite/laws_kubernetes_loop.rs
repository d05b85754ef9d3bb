//! The laws of the loop that hold on every target, on a real cluster with real pods; and what only a cluster can do to them:
//! rights that go, controllers that lag, nodes that are lost.

use std::time::{Duration, Instant};

use driftless::history::Phase;
use serde_json::{Value, json};

use crate::support::api_proxy::ApiFault;
use crate::support::cluster::Cluster;
use crate::support::kube_scene::{KubeScene, PATIENCE, config, web};
use crate::support::wait_until;

fn said(output: &crate::support::command::CommandOutput) -> String {
    output.stdout.clone() + &output.stderr
}

#[test]
fn hold_survives_unrelated_commit() {
    let scene = KubeScene::new("unrelated", &(web("web:1", "") + &config("settings", "1")));
    drop(scene.apply().success());
    scene.commit(&(web("web:crash", "") + &config("settings", "2")));
    drop(scene.apply().code(7));
    scene.repo.commit_file("README.md", "hello", "unrelated");
    scene.proxy.clear();
    drop(scene.apply().code(9));
    // The same objects under another commit: a comment renders to nothing.
    scene.commit(&("# a comment\n".to_owned() + &web("web:crash", "") + &config("settings", "2")));
    drop(scene.apply().code(9));
    scene.proxy.assert_read_only();
    assert_eq!(
        (scene.image().as_str(), scene.value("settings").as_deref()),
        ("web:1", Some("1"))
    );
    assert_eq!(
        scene.story().1.len(),
        2,
        "no release was made of an unrelated commit"
    );
}

#[test]
fn bad_previous_is_not_the_rollback_target() {
    let scene = KubeScene::new("bad-previous", &web("web:1", ""));
    drop(scene.apply().success());
    let good = scene.repo.head();
    for bad in [web("web:crash", ""), web("web:crash", "  minReadySeconds: 1\n")] {
        scene.commit(&bad);
        drop(
            scene
                .apply()
                .code(7)
                .says(&format!("rolled back to {}", &good[..7])),
        );
        assert_eq!(
            (scene.image().as_str(), scene.story().0.effective),
            ("web:1", Some(1))
        );
    }
}

#[test]
fn fix_forward_preempts() {
    let never_ready = web("web:1", "  minReadySeconds: 500\n");
    let scene = KubeScene::new("fix-forward", &(web("web:1", "") + &config("settings", "1")));
    let mut served = scene
        .env
        .start(&scene.repo.path(), &["serve", "--interval", "1h"]);
    served.wait_to_say("release 1 is stable", PATIENCE);
    scene.commit(&(never_ready + &config("settings", "2")));
    wait_until("the candidate is applied", PATIENCE, || {
        scene.value("settings").as_deref() == Some("2")
    });
    scene.commit(&(web("web:2", "") + &config("settings", "3")));
    served.wait_to_say("release 3 is stable", PATIENCE);
    assert_eq!(scene.image(), "web:2");
    let log = served.stderr();
    assert!(
        !log.contains("release 2 is stable") && !log.contains("rolled back"),
        "{log}"
    );
    assert_eq!(scene.story().1[1].stable_at, None);
}

#[test]
fn first_deploy_failure_freezes_and_keeps_evidence() {
    let scene = KubeScene::new("first", &web("web:crash", ""));
    let failed = scene.apply().code(8);
    for text in [
        scene.crash(),
        "there is no stable release to go back to",
        "driftless retry",
    ] {
        assert!(failed.stdout.contains(text), "{text:?} is missing\n{failed}");
    }
    let why = scene.run(&["why", &scene.app]).success();
    assert!(why.stdout.contains(scene.crash()), "{why}");
    // Left for inspection, and not touched again.
    assert_eq!(
        (scene.image().as_str(), scene.story().0.phase),
        ("web:crash", Phase::Frozen)
    );
    scene.proxy.clear();
    drop(scene.apply().code(8));
    scene.proxy.assert_read_only();
}

#[test]
fn emptied_repository_deletes_nothing() {
    let scene = KubeScene::new("emptied", &(config("one", "1") + &config("two", "1")));
    drop(scene.apply().success());
    scene.proxy.clear();
    // No documents, then no folder, then no file at all.
    scene.commit("# nothing left\n");
    let refused = scene.apply();
    assert!(refused.status.is_some_and(|code| code != 0), "{refused}");
    scene.repo.remove(&scene.file());
    drop(scene.repo.commit("no folder"));
    drop(scene.apply());
    scene.repo.remove("driftless.yaml");
    drop(scene.repo.commit("nothing"));
    drop(scene.apply());
    scene.proxy.assert_read_only();
    assert_eq!(
        (scene.value("one").as_deref(), scene.value("two").as_deref()),
        (Some("1"), Some("1"))
    );
}

#[test]
fn one_bad_app_does_not_stop_others() {
    let scene = KubeScene::new("others", &config("fine", "1"));
    let app = &scene.app;
    scene.repo.write(
        "driftless.yaml",
        format!("apps:\n  {app}: {{ path: apps/{app}, target: here, health: {{ bake: 1s }} }}\n  {app}-bad: {{ path: apps/bad, target: here }}\n"),
    );
    scene.repo.write(
        "apps/bad/app.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n\tname: tab\n",
    );
    drop(scene.repo.commit("with a bad one"));
    let all = scene.apply().code(3);
    assert!(said(&all).contains("apps/bad/app.yaml:4"), "{all}");
    assert_eq!(scene.value("fine").as_deref(), Some("1"));
}

/// What one instance made, another one does not touch until it is told to.
#[test]
fn another_instance_is_refused() {
    let mut scene = KubeScene::new("instances", &config("settings", "1"));
    drop(scene.apply().success());
    scene.env.set("DRIFTLESS_INSTANCE", "another");
    scene.env.set(
        "DRIFTLESS_STATE",
        scene
            .repo
            .path()
            .join(".git/other")
            .to_str()
            .expect("a plain path"),
    );
    scene.commit(&config("settings", "2"));
    scene.proxy.clear();
    let refused = scene.apply().code(9);
    assert!(said(&refused).contains("takeover"), "{refused}");
    scene.proxy.assert_read_only();
    assert_eq!(scene.value("settings").as_deref(), Some("1"));
}

/// Every kind of trouble that a call can have: the run ends in an error that says so, or in the state that was wanted; the
/// next one converges without help.
#[test]
fn faults_of_the_api_server_lose_nothing() {
    let scene = KubeScene::new("faults", &(config("one", "0") + &config("two", "0")));
    drop(scene.apply().success());
    let faults = [
        ("apply configmaps", ApiFault::TooMany(1)),
        ("apply configmaps", ApiFault::Refuse(500)),
        ("apply configmaps", ApiFault::Refuse(503)),
        ("apply configmaps", ApiFault::DropBefore),
        ("apply configmaps", ApiFault::DropAfter),
        ("get configmaps", ApiFault::Refuse(503)),
        ("get configmaps", ApiFault::DropBefore),
        ("get /apis", ApiFault::Refuse(503)),
    ];
    for (number, (pick, fault)) in faults.into_iter().enumerate() {
        let value = (number + 1).to_string();
        scene.commit(&(config("one", &value) + &config("two", &value)));
        let what = format!("{pick}: {fault:?}");
        scene.proxy.fault_next(1, pick, fault);
        let first = scene.apply();
        scene.proxy.clear();
        if first.status != Some(0) {
            assert!(matches!(first.status, Some(5 | 6)), "{what}: {first}");
            assert!(
                said(&first).contains("error") || said(&first).contains('✘'),
                "{what}: {first}"
            );
            drop(scene.apply().success());
        }
        for name in ["one", "two"] {
            assert_eq!(scene.value(name), Some(value.clone()), "{what}: {first}");
        }
    }
    assert_eq!(scene.story().0.phase, Phase::Synced);
}

/// As `kubectl auth can-i` takes it.
fn spelled(resource: &str) -> String {
    match resource {
        "deployments" | "replicasets" => format!("{resource}.apps"),
        other => other.to_owned(),
    }
}

fn everything_but(verb: &str, resource: &str) -> Value {
    let verbs = ["get", "list", "watch", "create", "patch", "delete", "update"];
    let group = |resource: &str| {
        if ["deployments", "replicasets"].contains(&resource) {
            "apps"
        } else {
            ""
        }
    };
    let all = [
        "configmaps",
        "deployments",
        "replicasets",
        "pods",
        "pods/log",
        "events",
        "services",
    ];
    let mut rules: Vec<Value> = all
        .iter()
        .map(|one| {
            let left: Vec<&str> = verbs
                .iter()
                .copied()
                .filter(|each| *one != resource || *each != verb)
                .collect();
            json!({ "apiGroups": [group(one)], "resources": [one], "verbs": left })
        })
        .collect();
    rules.push(json!({ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"] }));
    json!(rules)
}

#[test]
fn rbac_revoked_verb_by_verb() {
    let manifests = |value: &str| web("web:1", "") + &config("settings", value);
    let mut scene = KubeScene::new("rights", &manifests("0"));
    let outside = json!([
        { "apiGroups": [""], "resources": ["namespaces", "nodes"], "verbs": ["get", "list"] },
    ]);
    let account = scene.space.account("app", &everything_but("", ""), &outside);
    account.wait_until_may("patch", "configmaps");
    let kubeconfig = account.kubeconfig().to_owned();
    scene.env.set(
        "KUBECONFIG",
        scene
            .proxy
            .kubeconfig_of(&kubeconfig)
            .to_str()
            .expect("a plain path"),
    );
    drop(scene.apply().success());
    // Those without which nothing is known, or nothing can be done: an error that names what is missing, and nothing changes.
    let mut value = 0;
    for (verb, resource) in [
        ("get", "configmaps"),
        ("patch", "configmaps"),
        ("get", "deployments"),
    ] {
        value += 1;
        let before = scene.value("settings");
        account.set_rules(&everything_but(verb, resource));
        account.wait_until_may_not(verb, &spelled(resource));
        scene.commit(&manifests(&value.to_string()));
        scene.proxy.clear();
        let refused = scene.apply();
        let text = said(&refused);
        assert!(
            matches!(refused.status, Some(5 | 9)),
            "{verb} {resource}: {refused}"
        );
        assert!(
            text.contains(resource) && (text.contains("forbidden") || text.contains(verb)),
            "{verb} {resource}: {refused}"
        );
        assert_eq!(scene.value("settings"), before, "{verb} {resource}: {refused}");
        assert_eq!(scene.proxy.count("delete *"), 0);
        account.set_rules(&everything_but("", ""));
        account.wait_until_may(verb, &spelled(resource));
        drop(scene.apply().success());
        assert_eq!(scene.value("settings"), Some(value.to_string()));
    }
    // Those that only tell more: it goes on without them, and nothing is taken for gone.
    for (verb, resource) in [
        ("list", "events"),
        ("list", "replicasets"),
        ("list", "configmaps"),
        ("watch", "configmaps"),
        ("get", "pods/log"),
    ] {
        value += 1;
        account.set_rules(&everything_but(verb, resource));
        account.wait_until_may_not(verb, &spelled(resource));
        scene.commit(&manifests(&value.to_string()));
        drop(scene.apply().success());
        assert_eq!(
            scene.value("settings"),
            Some(value.to_string()),
            "{verb} {resource}"
        );
        assert_eq!(scene.proxy.count("delete *"), 0);
    }
    // A deletion that is not allowed is told, and made up for when it is.
    account.set_rules(&everything_but("delete", "configmaps"));
    account.wait_until_may_not("delete", "configmaps");
    scene.commit(&web("web:1", ""));
    let kept = scene.apply();
    assert!(said(&kept).contains("forbidden"), "{kept}");
    assert!(scene.value("settings").is_some());
    account.set_rules(&everything_but("", ""));
    account.wait_until_may("delete", "configmaps");
    drop(scene.apply().success());
    assert_eq!(scene.value("settings"), None);
}

/// A user with one app on a cluster of their own.
struct Own {
    cluster: Cluster,
}

impl Own {
    fn run(&self, name: &str, law: impl FnOnce(&KubeScene)) {
        self.run_with(name, "health: { bake: 1s }", law);
    }

    fn run_with(&self, name: &str, rules: &str, law: impl FnOnce(&KubeScene)) {
        let scene = KubeScene::on(
            &self.cluster,
            name,
            rules,
            &(web("web:1", "") + &config("settings", "1")),
        );
        drop(scene.apply().success());
        law(&scene);
    }
}

/// While controllers stand still, the status that is there is of the release before: it is no proof.
#[test]
fn stale_status_is_not_success() {
    let own = Own {
        cluster: Cluster::private(),
    };
    own.run("stale", |scene| {
        own.cluster.pause_controllers();
        scene.commit(&(web("web:2", "") + &config("settings", "1")));
        let mut run = scene.start_apply();
        run.wait_to_say("generation", PATIENCE);
        // The old pod is ready all the time, and yet nothing is stable.
        let (state, releases) = scene.story();
        assert_eq!((state.stable, releases.len()), (Some(1), 2), "{}", run.stderr());
        own.cluster.resume_controllers();
        let ended = run.wait(PATIENCE);
        assert_eq!(ended.status, Some(0), "{ended}");
        assert_eq!(scene.story().0.stable, Some(2));
        scene.space.wait_available("web", PATIENCE);
    });
}

#[test]
fn cluster_down_is_unknown_not_empty() {
    let own = Own {
        cluster: Cluster::private(),
    };
    // A scripted node does not outlive its API server's absence.
    if !own.cluster.has_node() {
        return;
    }
    own.run("down", |scene| {
        let mut served = scene
            .env
            .start(&scene.repo.path(), &["serve", "--interval", "1s"]);
        served.wait_to_say("following", PATIENCE);
        scene.proxy.clear();
        own.cluster.pause_api_server();
        // Git has less now; nobody may take the silence for consent.
        scene.commit(&web("web:1", ""));
        scene.proxy.fault("*", ApiFault::DropBefore);
        served.wait_to_say("tried again", PATIENCE);
        own.cluster.resume_api_server();
        scene.proxy.clear();
        wait_until("the next runs converge", Duration::from_secs(90), || {
            scene.value("settings").is_none()
        });
        assert_eq!(scene.image(), "web:1");
        wait_until("the deletion is concluded", PATIENCE, || {
            scene.story().0.phase == Phase::Synced
        });
        assert_eq!(served.terminate(PATIENCE).status, Some(0));
    });
}

/// A node that is lost while a release is judged stops the clock; the release is judged when it is back.
#[test]
fn node_loss_is_not_the_release() {
    let own = Own {
        cluster: Cluster::private(),
    };
    if !own.cluster.has_node() {
        return;
    }
    own.run_with("lost", "health: { bake: 1s, timeout: 10s }", |scene| {
        own.cluster.pause_node();
        wait_until("the node is lost", Duration::from_secs(90), || {
            let node = own.cluster.get("/api/v1/nodes").expect("nodes can be listed");
            let ready = node["items"][0]["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            ready
                .iter()
                .any(|one| one["type"] == "Ready" && one["status"] != "True")
        });
        scene.commit(&(web("web:2", "") + &config("settings", "2")));
        let mut run = scene.start_apply();
        run.wait_to_say("verify", PATIENCE);
        run.wait_to_say("no node is ready", PATIENCE);
        // All the time that the release has goes by twice: none of it counts.
        let lost = Instant::now();
        wait_until("the node was away for long", PATIENCE, || {
            lost.elapsed() > Duration::from_secs(20)
        });
        let (state, releases) = scene.story();
        assert_eq!((state.stable, releases.len()), (Some(1), 2), "{}", run.stderr());
        assert!(!run.stderr().contains("roll back"), "{}", run.stderr());
        own.cluster.resume_node();
        let ended = run.wait(Duration::from_secs(120));
        assert_eq!(ended.status, Some(0), "{ended}");
        assert!(!ended.stdout.contains("rolled back"), "{ended}");
        let (state, releases) = scene.story();
        assert_eq!((state.stable, releases.len()), (Some(2), 2));
    });
}
