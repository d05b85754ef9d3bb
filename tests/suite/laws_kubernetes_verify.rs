//! Laws of the gate on a real cluster that have to do with what is around a release: room, volumes, and an API server that goes
//! away meanwhile.

use std::time::{Duration, Instant};

use driftless::history::Phase;

use crate::support::api_proxy::ApiFault;
use crate::support::kube_scene::{KubeScene, PATIENCE, config, web};
use crate::support::wait_until;

#[test]
fn a_full_quota_fails_in_patience() {
    let scene = KubeScene::with_rules("quota", "health: { bake: 1s, timeout: 8s }", &web("web:1", ""));
    scene.space.apply_yaml(
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: { name: few }\nspec: { hard: { pods: \"2\" } }\n",
    );
    drop(scene.apply().success());
    scene.commit(&web("web:1", "").replace("replicas: 1", "replicas: 4"));
    let start = Instant::now();
    drop(scene.apply().code(7).says("quota").says("rolled back"));
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    assert_eq!(scene.deployment()["spec"]["replicas"], 1);
    scene.space.wait_available("web", PATIENCE);
    assert_eq!(scene.story().0.phase, Phase::Held);
}

#[test]
fn a_claim_that_nothing_binds_fails_in_patience() {
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: { name: data }\n\
        spec: { accessModes: [ReadWriteOnce], storageClassName: there-is-none, resources: { requests: { storage: 1Mi } } }\n---\n";
    let scene = KubeScene::with_rules("unbound", "health: { bake: 1s, timeout: 8s }", &web("web:1", ""));
    drop(scene.apply().success());
    scene.commit(&(web("web:2", "") + claim));
    drop(
        scene
            .apply()
            .code(7)
            .says("PersistentVolumeClaim/data")
            .says("rolled back"),
    );
    assert_eq!(
        (scene.image().as_str(), scene.story().0.phase),
        ("web:1", Phase::Held)
    );
    // It may hold something by now, for all that is known.
    let claim = scene.space.get("v1/persistentvolumeclaims/data");
    assert!(claim.is_some_and(|claim| claim["metadata"]["deletionTimestamp"].is_null()));
}

/// While the API server does not answer, nothing is known of the release, so nothing counts against it.
#[test]
fn an_api_server_that_goes_away_does_not_fail_the_release() {
    let rules = "health: { bake: 4s, timeout: 10s }";
    let scene = KubeScene::with_rules("away", rules, &(web("web:1", "") + &config("settings", "1")));
    drop(scene.apply().success());
    scene.commit(&(web("web:2", "") + &config("settings", "2")));
    let mut run = scene.start_apply();
    run.wait_to_say("verify", PATIENCE);
    scene.proxy.fault("*", ApiFault::DropBefore);
    let away = Instant::now();
    wait_until("it was away for longer than a release may take", PATIENCE, || {
        away.elapsed() > Duration::from_secs(15)
    });
    assert!(!run.stderr().contains("roll back"), "{}", run.stderr());
    scene.proxy.clear();
    let ended = run.wait(PATIENCE);
    assert_eq!(ended.status, Some(0), "{ended}");
    let (state, releases) = scene.story();
    assert_eq!((state.stable, releases.len()), (Some(2), 2), "{ended}");
    assert_eq!(scene.image(), "web:2");
}
