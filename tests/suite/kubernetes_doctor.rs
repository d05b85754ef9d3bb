//! `driftless doctor` about a cluster: what it finds, what is missing, and that what it says to grant is enough.

use serde_json::{Value, json};

use crate::support::command::CommandOutput;
use crate::support::driftless::TestEnv;
use crate::support::kube_scene::{KubeScene, config, web};
use crate::support::repo::Repo;

/// The findings of one name, as `state: text`.
fn found(doctor: &CommandOutput, name: &str) -> Vec<String> {
    let checks = doctor.json();
    let checks = checks["items"].as_array().expect("a list").iter();
    let named = checks.filter(|check| check["name"] == name);
    named
        .map(|check| {
            format!(
                "{}: {}",
                check["state"].as_str().unwrap(),
                check["found"].as_str().unwrap()
            )
        })
        .collect()
}

/// The rules that the findings say to grant: in the namespace, and in the whole cluster.
fn rules(doctor: &CommandOutput) -> (Value, Value) {
    let (mut own, mut wide) = (Vec::new(), Vec::new());
    for check in doctor.json()["items"].as_array().expect("a list") {
        let Some((role, rule)) = check["nextStep"]
            .as_str()
            .and_then(|next| next.split_once(" needs "))
        else {
            continue;
        };
        let rule: Value = serde_yaml::from_str(rule).expect("a rule as YAML");
        if role == "a ClusterRole" {
            wide.push(rule);
        } else {
            own.push(rule);
        }
    }
    (Value::Array(own), Value::Array(wide))
}

#[test]
fn doctor_of_a_cluster_finds_all_good_for_its_admin() {
    let scene = KubeScene::new("doctor", &(web("web:1", "") + &config("settings", "1")));
    let doctor = scene.run(&["doctor"]).success();
    let version = scene.space.cluster().get("/version").unwrap()["gitVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    for text in [
        format!("Kubernetes {version} at https://"),
        "account".to_owned(),
        "as that of the API server".to_owned(),
        "nobody holds it".to_owned(),
        format!("all that {} needs is allowed", scene.app),
    ] {
        assert!(doctor.stdout.contains(&text), "{text:?} is missing\n{doctor}");
    }
    for name in ["engine", "registries", "✘"] {
        assert!(!doctor.stdout.contains(name), "{name}\n{doctor}");
    }
    scene.proxy.assert_read_only();
    // Whoever holds the Lease is named.
    let lease = json!({
        "metadata": { "name": "driftless-doctor" },
        "spec": { "holderIdentity": "nas_4711_ab", "leaseDurationSeconds": 30, "renewTime": "2026-01-02T03:04:05.000000Z" },
    });
    let path = scene.space.path("coordination.k8s.io/v1/leases");
    assert_eq!(
        scene.space.cluster().call("POST", &path, Some(&lease)).status,
        201
    );
    drop(
        scene
            .run(&["--instance", "doctor", "doctor"])
            .success()
            .says("held by nas_4711_ab")
            .says("which is over"),
    );
}

#[test]
fn doctor_names_each_missing_right_and_granting_them_is_enough() {
    let mut scene = KubeScene::new("doctor-weak", &(web("web:1", "") + &config("settings", "1")));
    let weak = scene.space.cluster().weak_kubeconfig();
    scene.use_account(&weak);
    let before = scene.run(&["doctor"]).code(5);
    for text in [
        "may not get namespaces kube-system",
        "may not create, delete, get, patch deployments (apps)",
        "may not list nodes; what a lost node does counts as the release's failure",
        "a Role in `",
        "leases",
    ] {
        assert!(before.stdout.contains(text), "{text:?} is missing\n{before}");
    }
    let doctor = scene.run(&["doctor", "-o", "json"]).code(5);
    let (own, wide) = rules(&doctor);
    let account = scene.space.account("enough", &own, &wide);
    account.wait_until_may("patch", "deployments.apps");
    let kubeconfig = account.kubeconfig().to_owned();
    let user = account.user();
    scene.use_account(&kubeconfig);
    scene.proxy.clear();
    let after = scene.run(&["doctor", "-o", "json"]).success();
    assert_eq!(
        found(&after, "rights"),
        [format!(
            "good: in `{0}`: all that {0} needs is allowed",
            scene.app
        )]
    );
    assert!(found(&after, "account")[0].contains(&user), "{after}");
    scene.proxy.assert_read_only();
    // And nothing that a release does is refused.
    drop(scene.apply().success());
    scene.commit(&web("web:crash", ""));
    drop(scene.apply().code(7).says(scene.crash()));
    drop(scene.run(&["logs", &scene.app]).success());
    drop(scene.run(&["down", &scene.app, "--yes"]).success());
}

#[test]
fn doctor_asks_as_the_account_that_an_app_acts_as() {
    let rules = "serviceAccount: deployer";
    let mut scene = KubeScene::with_rules("doctor-account", rules, &config("settings", "1"));
    let own = json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch", "create", "patch"] }]);
    let account = scene.space.account("deployer", &own, &json!([]));
    account.wait_until_may("patch", "configmaps");
    let doctor = scene.run(&["doctor"]).code(5);
    assert!(
        doctor.stdout.contains("deployer may not delete configmaps"),
        "{doctor}"
    );
    assert!(
        !doctor.stdout.contains("leases"),
        "the Lease is our own\n{doctor}"
    );
    let weak = scene.space.cluster().weak_kubeconfig();
    scene.use_account(&weak);
    drop(
        scene
            .run(&["doctor"])
            .code(5)
            .says("may not act as")
            .says("`impersonate`"),
    );
}

#[test]
fn doctor_of_a_cluster_that_does_not_answer_says_what_to_check() {
    let repo = Repo::with(&[("app/web.yaml", &config("settings", "1"))]);
    let mut env = TestEnv::new();
    let kubeconfig = env.home().join("kubeconfig");
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: away\ncontexts: [{name: away, context: {cluster: c, user: u}}]\n\
                clusters: [{name: c, cluster: {server: \"https://127.0.0.1:1\"}}]\nusers: [{name: u, user: {token: x}}]\n";
    std::fs::write(&kubeconfig, text).unwrap();
    env.set("KUBECONFIG", kubeconfig.to_str().unwrap());
    let doctor = env
        .run(&repo.path(), &["doctor"])
        .code(5)
        .says("cannot connect to https://127.0.0.1:1")
        .says("`server:` of the kubeconfig");
    assert!(!doctor.stdout.contains("engine"), "{doctor}");
    drop(
        env.run(&repo.path(), &["doctor", "--target", "k8s:other"])
            .code(5)
            .says("it has no context `other`; it knows `away`"),
    );
    // An app of containers goes to an engine, and the cluster is nobody's business.
    let repo = Repo::with(&[("compose.yaml", "services:\n  api:\n    image: web:1\n")]);
    let doctor = env.run(&repo.path(), &["doctor"]).code(5).says("✘ engine");
    assert!(!doctor.stdout.contains("cluster"), "{doctor}");
}

#[test]
fn doctor_names_the_renderers_that_a_repository_needs() {
    let scene = KubeScene::new("doctor-tools", "");
    scene.repo.write(
        &format!("apps/{}/kustomization.yaml", scene.app),
        "resources: []\n",
    );
    scene.repo.commit("a kustomization");
    let with = |path: &str| {
        let mut command = scene.env.command(&scene.repo.path(), &["doctor"]);
        CommandOutput::of(command.env("PATH", path))
    };
    let git = std::env::var("PATH").expect("a PATH");
    let tools = crate::support::cluster::Cluster::tool("kustomize");
    let tools = format!("{}:{git}", tools.parent().unwrap().display());
    drop(with(&tools).success().says("✔ kustomize    v"));
    let bare = tempfile::tempdir().unwrap();
    let program = std::env::split_paths(&git)
        .map(|folder| folder.join("git"))
        .find(|file| file.is_file());
    std::os::unix::fs::symlink(program.expect("git is there"), bare.path().join("git")).unwrap();
    let without = with(bare.path().to_str().unwrap()).code(2);
    assert!(
        without
            .stdout
            .contains("can't be rendered, so what its objects need is not known"),
        "{without}"
    );
    drop(
        without
            .says("kustomize is not installed")
            .says("install kustomize"),
    );
}
