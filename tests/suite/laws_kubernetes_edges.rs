//! Laws of objects and their surroundings on a real cluster: whose an object is, rights, lost stores, jobs and secrets.

use base64::Engine as _;
use driftless::history::Phase;
use serde_json::json;

use crate::support::kube_scene::{KubeScene, config, web};
use crate::support::site::files_below;

#[test]
fn prune_never_deletes_a_recreated_object() {
    let scene = KubeScene::new("recreated", &(config("one", "1") + &config("two", "1")));
    drop(scene.apply().success());
    drop(scene.space.kubectl(&["delete", "configmap", "one"]).success());
    drop(
        scene
            .space
            .kubectl(&["create", "configmap", "one", "--from-literal=key=by hand"])
            .success(),
    );
    scene.commit(&config("two", "1"));
    scene.proxy.clear();
    drop(scene.apply());
    assert_eq!(scene.proxy.count("delete *"), 0, "{:?}", scene.proxy.counts());
    assert_eq!(scene.value("one").as_deref(), Some("by hand"));
}

#[test]
fn list_forbidden_is_unknown_and_prunes_nothing() {
    let mut scene = KubeScene::new("forbidden", &(config("one", "1") + &config("two", "1")));
    drop(scene.apply().success());
    let account = scene.space.account(
        "blind",
        &json!([{ "apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"] }]),
        &json!([]),
    );
    account.wait_until_may("list", "deployments.apps");
    let kubeconfig = account.kubeconfig().to_owned();
    drop(account);
    scene.use_account(&kubeconfig);
    scene.commit(&config("two", "2"));
    scene.proxy.clear();
    let refused = scene.apply();
    assert!(refused.status.is_some_and(|code| code != 0), "{refused}");
    let said = refused.stdout.clone() + &refused.stderr;
    assert!(said.contains("forbidden"), "{refused}");
    scene.proxy.assert_read_only();
    assert_eq!(
        (scene.value("one").as_deref(), scene.value("two").as_deref()),
        (Some("1"), Some("1"))
    );
}

#[test]
fn what_can_not_be_seen_is_not_pruned_until_it_is_seen() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: { name: old }\nstringData: { key: value }\n---\n";
    let mut scene = KubeScene::with_rules("unseen", "health: { bake: 0s }", &(config("one", "1") + secret));
    drop(scene.apply().success());
    let admin = scene.space.cluster().kubeconfig();
    let rules = json!([{ "apiGroups": [""], "resources": ["configmaps", "events", "pods"], "verbs": ["*"] }]);
    let wide = json!([{ "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list"] }]);
    let account = scene.space.account("half-blind", &rules, &wide);
    account.wait_until_may("list", "configmaps");
    let kubeconfig = account.kubeconfig().to_owned();
    drop(account);
    scene.use_account(&kubeconfig);
    scene.commit(&config("one", "2"));
    scene.proxy.clear();
    let blind = scene.apply();
    assert_eq!(scene.proxy.count("delete *"), 0, "{blind}");
    assert!(scene.space.get("v1/secrets/old").is_some(), "{blind}");
    // Seen again it goes: it was unknown, never forgotten.
    scene.use_account(&admin);
    let seen = scene.apply().success();
    assert!(scene.space.get("v1/secrets/old").is_none(), "{blind}\n{seen}");
    assert_eq!(scene.value("one").as_deref(), Some("2"));
}

#[test]
fn foreign_object_is_blocked_until_adopted() {
    let scene = KubeScene::new("foreign", &config("settings", "ours"));
    scene.space.apply_yaml(&config("settings", "theirs"));
    scene.proxy.clear();
    let blocked = scene.apply().code(9);
    assert!(
        (blocked.stdout.clone() + &blocked.stderr).contains("--adopt"),
        "{blocked}"
    );
    assert_eq!(
        (
            scene.proxy.count("mutate configmaps settings"),
            scene.value("settings").as_deref()
        ),
        (0, Some("theirs"))
    );
    drop(scene.run(&["apply", "--yes", "--adopt"]).success());
    assert_eq!(scene.value("settings").as_deref(), Some("ours"));
    // Another tool's mark is no leave either, even where nothing differs.
    let tracked = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: tracked, annotations: { argocd.argoproj.io/tracking-id: \"shop:/ConfigMap:x/tracked\" } }\ndata: { key: \"1\" }\n";
    scene.space.apply_yaml(tracked);
    scene.commit(&(config("settings", "ours") + &config("tracked", "1")));
    drop(scene.run(&["plan"]).says("managed by Argo CD"));
    drop(scene.apply().code(9).says("managed by Argo CD"));
    drop(scene.run(&["apply", "--yes", "--adopt"]).success());
    drop(scene.apply().success());
}

fn job(name: &str, image: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{ name: {name} }}\nspec:\n  backoffLimit: 0\n  template:\n    spec:\n      restartPolicy: Never\n      \
         containers: [{{ name: main, image: \"{image}\" }}]\n---\n"
    )
}

#[test]
fn job_must_complete() {
    let scene = KubeScene::new("job", &(config("settings", "1") + &job("migrate", "job:ok")));
    drop(scene.apply().success());
    let done = scene.space.get("batch/v1/jobs/migrate").unwrap();
    assert_eq!(done["status"]["succeeded"], 1);
    // It ran once; nothing runs it again.
    scene.proxy.clear();
    drop(scene.apply().success());
    scene.proxy.assert_read_only();
    scene.commit(&(config("settings", "2") + &job("migrate", "job:ok") + &job("next", "job:fail")));
    let failed = scene.apply().code(7);
    assert!(
        (failed.stdout.clone() + &failed.stderr).contains("next"),
        "{failed}"
    );
    assert_eq!(scene.value("settings").as_deref(), Some("1"));
    assert_eq!(scene.story().0.phase, Phase::Held);
}

#[test]
fn a_hold_runs_no_job_again() {
    let migrate = |release: &str| {
        let variable = format!("containers: [{{ env: [{{ name: RELEASE, value: \"{release}\" }}], ");
        job("migrate", "job:ok").replace("containers: [{ ", &variable)
    };
    let scene = KubeScene::new("job-held", &(web("web:1", "") + &migrate("1")));
    drop(scene.apply().success());
    scene.commit(&(web("web:crash", "") + &migrate("2")));
    drop(scene.apply().code(7));
    let ran = scene.space.get("batch/v1/jobs/migrate").unwrap();
    // The job of the failed release stays the last one that ran: the stable release's is no drift to be healed.
    scene.proxy.clear();
    drop(scene.apply().code(9));
    scene.proxy.assert_read_only();
    drop(scene.run(&["drift"]).success());
    // Nor when somebody, or its time to live, removed it.
    drop(scene.space.kubectl(&["delete", "job", "migrate"]).success());
    scene.proxy.clear();
    drop(scene.apply().code(9));
    scene.proxy.assert_read_only();
    // A fix with another job runs that one.
    scene.commit(&(web("web:2", "") + &migrate("3")));
    drop(scene.apply().success());
    let fixed = scene.space.get("batch/v1/jobs/migrate").unwrap();
    assert_ne!(fixed["metadata"]["uid"], ran["metadata"]["uid"]);
    assert_eq!(fixed["status"]["succeeded"], 1);
    // A job that fails itself is left as it failed, and says nothing about the release that came back.
    scene.commit(&(web("web:2", "") + &migrate("4").replace("job:ok", "job:fail")));
    drop(scene.apply().code(7));
    drop(scene.apply().code(9));
    let failed = scene.space.get("batch/v1/jobs/migrate").unwrap();
    assert_eq!(failed["status"]["failed"], 1);
    assert_eq!(scene.story().0.phase, Phase::Held);
}

#[test]
fn secret_data_never_shown() {
    let plain = [
        "canary-one-7f3a9c51",
        "canary-two-7f3a9c51",
        "canary-three-7f3a9c51",
    ];
    let coded: Vec<String> = plain
        .iter()
        .map(|text| base64::engine::general_purpose::STANDARD.encode(text))
        .collect();
    let secret = |value: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{ name: keys }}\ndata: {{ a: {value} }}\nstringData: {{ b: {} }}\n{more}---\n",
            plain[1]
        )
    };
    let scene = KubeScene::new("secret", &(config("settings", "1") + &secret(&coded[0], "")));
    let mut said = Vec::new();
    let look = |said: &mut Vec<String>| {
        for verb in [
            &["plan"][..],
            &["plan", "--json"],
            &["apply", "--yes", "--json"],
            &["status", "--json"],
            &["apply", "--yes", "-vv"],
        ] {
            said.push(scene.run(verb).to_string());
        }
        let why = scene.run(&["why", &scene.app]);
        said.push(why.to_string());
    };
    look(&mut said);
    assert!(scene.space.get("v1/secrets/keys").is_some(), "{said:#?}");
    // Another value, drift of it, and manifests that the renderer and the server refuse.
    scene.commit(&(config("settings", "1") + &secret(&coded[2], "")));
    look(&mut said);
    scene
        .space
        .patch("v1/secrets/keys", &json!({ "data": { "a": coded[0] } }));
    look(&mut said);
    scene.commit(&secret(plain[2], ""));
    look(&mut said);
    scene.commit(&secret(&coded[2], "immutable: maybe\n"));
    look(&mut said);
    for text in &said {
        for canary in plain.iter().copied().chain(coded.iter().map(String::as_str)) {
            assert!(!text.contains(canary), "{canary} in\n{text}");
        }
    }
    for (file, bytes) in files_below(&scene.env.state()) {
        for canary in plain.iter().copied().chain(coded.iter().map(String::as_str)) {
            let found = bytes
                .windows(canary.len())
                .any(|window| window == canary.as_bytes());
            assert!(!found, "{canary} in {}", file.display());
        }
    }
}

#[test]
fn a_lost_store_is_rebuilt_from_the_cluster() {
    let scene = KubeScene::new(
        "lost",
        &(web("web:1", "") + &config("settings", "1") + &config("old", "1")),
    );
    drop(scene.apply().success());
    let uid = |short: &str| scene.space.get(short).unwrap()["metadata"]["uid"].clone();
    let before = (uid("apps/v1/deployments/web"), uid("v1/configmaps/settings"));
    std::fs::remove_dir_all(scene.env.state()).unwrap();
    scene.proxy.clear();
    drop(scene.apply().success());
    assert_eq!(scene.proxy.count("delete *"), 0, "{:?}", scene.proxy.counts());
    assert_eq!(
        (uid("apps/v1/deployments/web"), uid("v1/configmaps/settings")),
        before
    );
    // What goes from Git while there is no store is known from the cluster's own list.
    std::fs::remove_dir_all(scene.env.state()).unwrap();
    scene.commit(&(web("web:1", "") + &config("settings", "1")));
    drop(scene.apply().success());
    assert_eq!(scene.value("old"), None);
    assert_eq!(
        (uid("apps/v1/deployments/web"), uid("v1/configmaps/settings")),
        before
    );
}
