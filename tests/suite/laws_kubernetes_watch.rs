//! Laws of `serve` on a real cluster: what the watches show costs no call, what moved is seen at once, and a broken watch
//! loses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use driftless::history::Phase;
use driftless::live::kubernetes::KubernetesTarget;
use driftless::live::kubernetes::config::ClusterSpec;
use driftless::live::kubernetes::feeds::{Pace, Watching};
use driftless::live::kubernetes::fields;
use driftless::live::kubernetes::world::{Cluster as _, OwnedObject};
use driftless::live::stirred::Stirred;
use driftless::names::{Digest, InstanceName, ObjectKey};
use serde_json::json;

use crate::support::api_proxy::ApiFault;
use crate::support::cluster::Cluster;
use crate::support::driftless::Running;
use crate::support::kube_scene::{KubeScene, PATIENCE, config, web};
use crate::support::wait_until;

/// Longer than any test: what happens within a test is not due to the clock.
const NEVER: &str = "1h";

fn serve(scene: &KubeScene, interval: &str) -> Running {
    scene
        .env
        .start(&scene.repo.path(), &["serve", "--interval", interval])
}

/// Commits something that no app is made of, waits until the loop has looked at the app because of it, and returns the calls
/// that this took, watches aside.
fn unrelated_commit(scene: &KubeScene, text: &str) -> Vec<String> {
    scene.proxy.clear();
    let head = scene.repo.commit_file("README.md", text, "unrelated");
    wait_until("the loop has seen the commit", PATIENCE, || {
        let seen = scene.story().0.last_seen;
        seen.is_some_and(|seen| seen.as_str() == head)
    });
    let calls = scene.proxy.calls();
    calls
        .iter()
        // A lease is renewed by the clock, whatever the apps do.
        .filter(|call| !call.watch && call.resource != "leases.coordination.k8s.io")
        .map(ToString::to_string)
        .collect()
}

/// Waits until the app rests on its watches.
fn wait_for_rest(scene: &KubeScene) {
    let mut round = 0;
    wait_until("a look costs no call", PATIENCE, || {
        round += 1;
        unrelated_commit(scene, &format!("warm up {round}")).is_empty()
    });
}

/// Sets a ConfigMap's key as a person does it.
fn by_hand(scene: &KubeScene, name: &str, value: &str) {
    let patch = json!({"data": {"key": value}}).to_string();
    let patched = scene
        .space
        .kubectl(&["patch", "configmap", name, "--type=merge", "--patch", &patch]);
    drop(patched.success());
}

#[test]
fn noop_sends_no_call() {
    let scene = KubeScene::new("quiet", &(web("web:1", "") + &config("settings", "1")));
    let mut served = serve(&scene, "1s");
    served.wait_to_say("release 1 is stable", PATIENCE);
    wait_for_rest(&scene);
    for round in 1..=5 {
        let calls = unrelated_commit(&scene, &format!("round {round}"));
        assert!(calls.is_empty(), "round {round}: {calls:?}\n{}", served.stderr());
    }
    assert_eq!(scene.story().1.len(), 1, "no release came of it");
    // What changes the app is applied as before.
    scene.commit(&(web("web:2", "") + &config("settings", "1")));
    served.wait_to_say("release 2 is stable", PATIENCE);
    assert_eq!(scene.image(), "web:2");
    assert_eq!(served.terminate(PATIENCE).status, Some(0));
}

#[test]
fn drift_is_seen_by_the_watch_and_healed() {
    let scene = KubeScene::new(
        "stir",
        &(web("web:1", "") + &config("changed", "1") + &config("deleted", "1") + &config("bare", "1")),
    );
    let mut served = serve(&scene, NEVER);
    served.wait_to_say("release 1 is stable", PATIENCE);
    wait_for_rest(&scene);
    by_hand(&scene, "changed", "by hand");
    scene
        .space
        .wait_for("v1/configmaps/changed", PATIENCE, |map| map["data"]["key"] == "1");
    served.wait_to_say("healed", PATIENCE);
    wait_for_rest(&scene);
    scene.space.delete("v1/configmaps/deleted");
    wait_until("the ConfigMap is made again", PATIENCE, || {
        scene.value("deleted").is_some()
    });
    wait_for_rest(&scene);
    // Without our mark a watch by that mark shows it no more.
    let label = ["label", "configmap", "bare", "driftless.dev/instance-"];
    drop(scene.space.kubectl(&label).success());
    scene.space.wait_for("v1/configmaps/bare", PATIENCE, |map| {
        map["metadata"]["labels"]["driftless.dev/instance"].is_string()
    });
    let runs = scene.run(&["history", &scene.app, "--runs"]);
    assert!(runs.stdout.contains("drift"), "{runs}");
}

#[test]
fn a_held_app_rests_and_is_healed_to_the_stable_release() {
    let scene = KubeScene::new("held-quiet", &(web("web:1", "") + &config("settings", "1")));
    let mut served = serve(&scene, NEVER);
    served.wait_to_say("release 1 is stable", PATIENCE);
    scene.commit(&(web("web:crash", "") + &config("settings", "2")));
    wait_until("the release is rolled back", PATIENCE, || {
        scene.story().0.phase == Phase::Held
    });
    wait_for_rest(&scene);
    assert!(unrelated_commit(&scene, "held").is_empty());
    by_hand(&scene, "settings", "by hand");
    scene.space.wait_for("v1/configmaps/settings", PATIENCE, |map| {
        map["data"]["key"] == "1"
    });
    assert_eq!(scene.story().0.phase, Phase::Held);
    assert_eq!(scene.image(), "web:1");
}

#[test]
fn broken_watches_lose_nothing() {
    let scene = KubeScene::new("cut", &config("settings", "1"));
    let mut served = serve(&scene, NEVER);
    served.wait_to_say("release 1 is stable", PATIENCE);
    wait_for_rest(&scene);
    let faults = [
        ApiFault::CutWatch(0),
        ApiFault::EndWatch(0),
        ApiFault::ExpireWatch(0),
        ApiFault::DropBefore,
        ApiFault::Refuse(500),
        ApiFault::TooMany(1),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let what = format!("{fault:?}");
        scene.proxy.fault_next(2, "watch configmaps", fault);
        scene.proxy.cut_watches();
        // Nobody sees this happen.
        let value = format!("by hand {number}");
        by_hand(&scene, "settings", &value);
        wait_until(&format!("healed after {what}"), PATIENCE, || {
            scene.value("settings").as_deref() == Some("1")
        });
        scene.proxy.clear();
        // Three heals within ten minutes would look like a fight.
        if number % 2 == 1 {
            drop(served.terminate(PATIENCE));
            served = serve(&scene, NEVER);
        }
        wait_for_rest(&scene);
    }
}

#[test]
fn an_account_of_one_namespace_watches_that() {
    let mut scene = KubeScene::new("narrow", &config("settings", "1"));
    let account = scene.space.account(
        "narrow",
        &json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]),
        &json!([{ "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] }]),
    );
    account.wait_until_may("list", "configmaps");
    let kubeconfig = account.kubeconfig().to_owned();
    drop(account);
    scene.use_account(&kubeconfig);
    let mut served = serve(&scene, NEVER);
    served.wait_to_say("release 1 is stable", PATIENCE);
    wait_for_rest(&scene);
    by_hand(&scene, "settings", "by hand");
    scene.space.wait_for("v1/configmaps/settings", PATIENCE, |map| {
        map["data"]["key"] == "1"
    });
}

#[test]
fn a_fight_is_not_fought_at_full_speed() {
    let scene = KubeScene::with_rules("fight", "health: { bake: 0s }", &config("settings", "1"));
    let mut served = serve(&scene, NEVER);
    served.wait_to_say("release 1 is stable", PATIENCE);
    wait_for_rest(&scene);
    // Somebody who puts it back each time.
    for round in 1..=3 {
        by_hand(&scene, "settings", &format!("mine {round}"));
        scene.space.wait_for("v1/configmaps/settings", PATIENCE, |map| {
            map["data"]["key"] == "1"
        });
        if round < 3 {
            wait_for_rest(&scene);
        }
    }
    served.wait_to_say("somebody puts the change back each time", PATIENCE);
    scene.proxy.clear();
    by_hand(&scene, "settings", "mine 4");
    // A commit makes the loop look; the change itself did not.
    drop(scene.repo.commit_file("README.md", "look", "unrelated"));
    scene.space.wait_for("v1/configmaps/settings", PATIENCE, |map| {
        map["data"]["key"] == "1"
    });
}

/// A watching target on the shared cluster, with a pace that a test can wait for.
async fn watching(
    kubeconfig: std::path::PathBuf,
    pace: Pace,
) -> (Arc<KubernetesTarget>, Arc<Stirred>, InstanceName) {
    let stirred = Arc::new(Stirred::default());
    let instance = InstanceName::try_from(format!("watch-{}", std::process::id()).as_str()).expect("a name");
    let spec = ClusterSpec {
        kubeconfigs: vec![kubeconfig],
        ..ClusterSpec::default()
    };
    let watching = Watching {
        instance: instance.clone(),
        stirred: Arc::clone(&stirred),
        pace,
    };
    let target = KubernetesTarget::connect(None, &spec, Some(watching), None).await;
    (target.expect("the cluster answers"), stirred, instance)
}

/// A silent watch is given up, and a list tells what neither event nor error did.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_watch_proves_nothing_and_the_list_is_the_truth() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("silent");
    let proxy = crate::support::api_proxy::ApiProxy::start(cluster);
    let pace = Pace {
        silence: Duration::from_secs(2),
        ..Pace::default()
    };
    let (target, stirred, instance) = watching(proxy.kubeconfig(), pace).await;
    let app = space.name().to_owned();
    let manifest = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "one", "labels": {"driftless.dev/instance": instance.as_str(), "driftless.dev/app": app}},
        "data": {"key": "1"},
    });
    let apply = [
        "apply",
        "--server-side",
        "--field-manager=driftless",
        "--namespace",
        space.name(),
        "--filename=-",
    ];
    drop(cluster.kubectl_with(&apply, &manifest.to_string()).success());
    let made = space.get("v1/configmaps/one").expect("it was made");
    let owned = OwnedObject {
        uid: made["metadata"]["uid"].as_str().expect("a uid").to_owned(),
        sent: Digest::of("t", b""),
        owned: fields::owned(&made, "driftless"),
        api_version: "v1".to_owned(),
        generation: None,
        done: false,
        adopted: false,
    };
    let key = ObjectKey::new("", "ConfigMap", Some(space.name()), "one");
    let all = BTreeMap::from([(key, owned)]);
    let as_left = || target.as_left(&all);
    wait_until("the watch is in step", PATIENCE, as_left);
    // From now on no watch says a word, and no error either.
    proxy.fault("watch configmaps", ApiFault::StallWatch(0));
    proxy.cut_watches();
    space.patch("v1/configmaps/one", &json!({"data": {"key": "by hand"}}));
    wait_until("a silent watch proves nothing", PATIENCE, || !as_left());
    proxy.clear();
    let told = tokio::time::timeout(PATIENCE, stirred.next())
        .await
        .expect("the change is told");
    assert!(told.contains(&app), "{told:?}");
    space.patch("v1/configmaps/one", &json!({"data": {"key": "1"}}));
    // It was set by another manager: what we own is less than before.
    assert!(!as_left());
}
