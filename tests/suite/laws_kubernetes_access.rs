//! Laws of who asks a cluster, and as whom: accounts that apps act as.

use serde_json::json;

use crate::support::api_call::ApiCall;
use crate::support::command::CommandOutput;
use crate::support::kube_scene::{KubeScene, PATIENCE, config, web};
use crate::support::wait_until;

/// What is asked as ourselves, whatever an app's account may: who the cluster is, what it serves, and the instance's Lease,
/// which keeps processes apart and is no app's.
fn concerns_the_cluster(call: &ApiCall) -> bool {
    call.name.as_deref() == Some("kube-system")
        || call.resource.starts_with('/')
        || call.resource == "leases.coordination.k8s.io"
}

#[test]
fn an_app_can_do_no_more_than_its_account() {
    let rules = "health: { bake: 1s }, serviceAccount: deployer";
    let first = web("web:1", "") + &config("settings", "1");
    let scene = KubeScene::with_rules("account", rules, &first);
    let own = json!([{ "apiGroups": ["", "apps"], "resources": ["*"], "verbs": ["*"] }]);
    let account = scene.space.account("deployer", &own, &json!([]));
    account.wait_until_may("patch", "configmaps");
    let user = account.user();
    drop(scene.apply().success());
    let calls = scene.proxy.calls();
    let others: Vec<String> = calls
        .iter()
        .filter(|call| !concerns_the_cluster(call) && call.acting_as.as_deref() != Some(&user))
        .map(ApiCall::to_string)
        .collect();
    assert!(others.is_empty(), "not as {user}: {others:#?}");
    assert!(calls.iter().any(|call| call.acting_as.is_some()));
    // What lies beyond its rights is an error that names it, before anything is touched.
    let role = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{ name: {} }}\nrules: []\n---\n",
        scene.app
    );
    let elsewhere = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: stray, namespace: default }\n---\n";
    for (more, what) in [
        (role.as_str(), "clusterroles"),
        (elsewhere, "namespace \"default\""),
    ] {
        scene.commit(&(web("web:2", "") + &config("settings", "2") + more));
        scene.proxy.clear();
        let refused = scene.apply();
        assert!(refused.status.is_some_and(|code| code != 0), "{refused}");
        let said = refused.stdout.clone() + &refused.stderr;
        assert!(said.contains(&user) && said.contains(what), "{refused}");
        scene.proxy.assert_read_only();
    }
    assert_eq!(
        (scene.image().as_str(), scene.value("settings").as_deref()),
        ("web:1", Some("1"))
    );
    // The same commit as somebody who may: it was the account, and nothing else.
    let path = "/api/v1/namespaces/default/configmaps/stray";
    let declared = format!(
        "apps:\n  {0}: {{ path: apps/{0}, target: here, health: {{ bake: 1s }} }}\n",
        scene.app
    );
    scene
        .repo
        .commit_file("driftless.yaml", &declared, "as ourselves");
    let applied = scene.apply();
    scene.space.cluster().call("DELETE", path, None);
    drop(applied.success());
    assert_eq!(scene.image(), "web:2");
}

#[test]
fn the_operator_says_whether_a_repository_may_choose_its_account() {
    let scene = KubeScene::with_rules(
        "choice",
        "health: { bake: 0s }, serviceAccount: mine",
        &config("settings", "1"),
    );
    let own = json!([{ "apiGroups": [""], "resources": ["configmaps", "events", "pods"], "verbs": ["*"] }]);
    for name in ["mine", "theirs"] {
        scene
            .space
            .account(name, &own, &json!([]))
            .wait_until_may("patch", "configmaps");
    }
    let target = |more: &str| {
        let text = format!(
            "targets: {{ here: {{ kubernetes: current, namespace: {}, {more} }} }}\n",
            scene.app
        );
        scene.env.write_config("config.yaml", &text);
    };
    let acted_as = || {
        let user = |call: &ApiCall| call.acting_as.as_ref()?.rsplit(':').next().map(str::to_owned);
        scene.proxy.mutating().iter().find_map(user)
    };
    target("service_account: theirs");
    let refused = scene.apply().code(9);
    let said = refused.stdout.clone() + &refused.stderr;
    for text in ["E0595", "`mine`", "`theirs`", "choose_account"] {
        assert!(said.contains(text), "{text:?} is missing\n{refused}");
    }
    scene.proxy.assert_read_only();
    target("choose_account: false");
    drop(scene.apply().code(9));
    target("service_account: theirs, choose_account: true");
    drop(scene.apply().success());
    assert_eq!(acted_as().as_deref(), Some("mine"));
    // What names none has the operator's.
    let declared = format!(
        "apps:\n  {0}: {{ path: apps/{0}, target: here, health: {{ bake: 0s }} }}\n",
        scene.app
    );
    scene.repo.commit_file("driftless.yaml", &declared, "no account");
    scene.commit(&config("settings", "2"));
    scene.proxy.clear();
    drop(scene.apply().success());
    assert_eq!(acted_as().as_deref(), Some("theirs"));
}

#[test]
fn who_may_not_act_as_the_account_is_told_so() {
    let mut scene = KubeScene::with_rules(
        "no-acting",
        "health: { bake: 0s }, serviceAccount: deployer",
        &config("settings", "1"),
    );
    let own = json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"] }]);
    let wide = json!([{ "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] }]);
    let account = scene.space.account("driftless", &own, &wide);
    account.wait_until_may("patch", "configmaps");
    let (kubeconfig, user) = (account.kubeconfig().to_owned(), account.user());
    drop(account);
    scene.use_account(&kubeconfig);
    scene.proxy.clear();
    let refused = scene.apply().code(5);
    let said = refused.stdout.clone() + &refused.stderr;
    let deployer = format!("system:serviceaccount:{}:deployer", scene.app);
    for text in ["E0594", &deployer, &user, "impersonate"] {
        assert!(said.contains(text), "{text:?} is missing\n{refused}");
    }
    scene.proxy.assert_read_only();
}

#[test]
fn a_cluster_is_connected_once_for_all_apps_and_accounts() {
    let scene = KubeScene::with_rules("shared", "health: { bake: 0s }", &config("one", "1"));
    let own = json!([{ "apiGroups": [""], "resources": ["*"], "verbs": ["*"] }]);
    let other = scene.space.cluster().namespace("shared-other");
    for space in [&scene.space, &other] {
        space
            .account("deployer", &own, &json!([]))
            .wait_until_may("patch", "configmaps");
    }
    let (app, other) = (&scene.app, other.name());
    let declared = format!(
        "apps:\n  {app}: {{ path: apps/{app}, target: here, health: {{ bake: 0s }} }}\n  \
         two: {{ path: two, target: here, serviceAccount: deployer, health: {{ bake: 0s }} }}\n  \
         three: {{ path: three, target: here/{other}, serviceAccount: deployer, health: {{ bake: 0s }} }}\n"
    );
    scene.repo.write("driftless.yaml", declared);
    scene.repo.write("two/app.yaml", config("two", "1"));
    scene
        .repo
        .commit_file("three/app.yaml", &config("three", "1"), "three apps");
    scene.proxy.clear();
    drop(scene.apply().success());
    assert_eq!(
        scene.proxy.count("get namespaces"),
        1,
        "{:?}",
        scene.proxy.counts()
    );
    assert_eq!(scene.proxy.count("get /apis"), 1, "{:?}", scene.proxy.counts());
    let as_whom = |name: &str| {
        let calls = scene.proxy.mutating();
        let call = calls.iter().find(|call| call.name.as_deref() == Some(name));
        call.expect("it was applied").acting_as.clone()
    };
    let account = |space: &str| Some(format!("system:serviceaccount:{space}:deployer"));
    assert_eq!(
        [as_whom("one"), as_whom("two"), as_whom("three")],
        [None, account(app), account(other)]
    );
}

/// A kubeconfig whose token is in a file, and the token that it had.
fn with_token_file(kubeconfig: &str, file: &str) -> (String, String) {
    let (_, rest) = kubeconfig.split_once("{token: \"").expect("it has a token");
    let (token, _) = rest.split_once('"').expect("it has an end");
    let apart = kubeconfig.replace(&format!("token: \"{token}\""), &format!("tokenFile: {file}"));
    (apart, token.to_owned())
}

#[test]
fn a_target_has_a_kubeconfig_of_its_own() {
    let mut scene = KubeScene::with_rules("own-file", "health: { bake: 0s }", &config("settings", "1"));
    // Nothing that `kubectl` would find; certificates and tokens are named relative to the file itself.
    let through = scene.proxy.kubeconfig();
    let text = std::fs::read_to_string(through).expect("a kubeconfig");
    let (apart, token) = with_token_file(&text, "secrets/token");
    // As editors and `kubectl create token > FILE` write it.
    scene
        .env
        .write_config("clusters/secrets/token", &format!("{token}\n"));
    scene.env.write_config("clusters/prod.yaml", &apart);
    let env = scene.env.config();
    assert!(env.join("clusters/prod.yaml").is_file());
    scene.env.write_config(
        "config.yaml",
        &format!(
            "targets: {{ here: {{ kubernetes: current, kubeconfig: clusters/prod.yaml, namespace: {} }} }}\n",
            scene.app
        ),
    );
    let elsewhere = scene.env.home().join("none");
    scene
        .env
        .set("KUBECONFIG", elsewhere.to_str().expect("a plain path"));
    drop(scene.apply().success());
    assert_eq!(scene.value("settings").as_deref(), Some("1"));
}

/// A token of the ServiceAccount `driftless` that is good as long as the Secret `name` is there.
fn bound_token(scene: &KubeScene, name: &str) -> String {
    let core = |short: &str| scene.space.path(&format!("v1/{short}"));
    let cluster = scene.space.cluster();
    let secret = json!({ "metadata": { "name": name } });
    let made = cluster.call("POST", &core("secrets"), Some(&secret));
    assert_eq!(made.status, 201, "{}", made.body);
    let made: serde_json::Value = serde_json::from_str(&made.body).expect("JSON");
    let bound = json!({ "spec": { "boundObjectRef": {
        "kind": "Secret", "apiVersion": "v1", "name": name, "uid": made["metadata"]["uid"],
    } } });
    let token = cluster.call("POST", &core("serviceaccounts/driftless/token"), Some(&bound));
    assert_eq!(token.status, 201, "{}", token.body);
    let token: serde_json::Value = serde_json::from_str(&token.body).expect("JSON");
    token["status"]["token"].as_str().expect("a token").to_owned()
}

#[test]
fn a_token_that_ends_is_renewed_from_its_file_while_serving() {
    let mut scene = KubeScene::with_rules("renewed", "health: { bake: 0s }", &config("settings", "1"));
    let own = json!([{ "apiGroups": [""], "resources": ["*"], "verbs": ["*"] }]);
    let wide = json!([{ "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] }]);
    let account = scene.space.account("driftless", &own, &wide);
    account.wait_until_may("patch", "configmaps");
    let direct = account.kubeconfig().to_owned();
    drop(account);
    scene.use_account(&direct);
    let through = scene.proxy.kubeconfig_of(&direct);
    let text = std::fs::read_to_string(&through).expect("a kubeconfig");
    std::fs::write(&through, with_token_file(&text, "token").0).expect("a kubeconfig");
    let file = through.parent().expect("a folder").join("token");
    let put = |token: &str| std::fs::write(&file, token).expect("a token");
    // The API server keeps what it knows of a token for some seconds.
    let end = |secret: &str| {
        scene.space.delete(&format!("v1/secrets/{secret}"));
        wait_until("the token is good no more", PATIENCE, || {
            let whoami = ["auth", "whoami"];
            let mut kubectl = scene.space.cluster().kubectl_command(&through);
            CommandOutput::of(kubectl.args(whoami)).status != Some(0)
        });
    };
    put(&bound_token(&scene, "one"));
    let mut served = scene
        .env
        .start(&scene.repo.path(), &["serve", "--interval", "1s"]);
    served.wait_to_say("release 1 is stable", PATIENCE);
    // Renewed before anybody was refused: nothing fails.
    let two = bound_token(&scene, "two");
    end("one");
    put(&two);
    scene.commit(&config("settings", "2"));
    served.wait_to_say("release 2 is stable", PATIENCE);
    assert!(!served.stderr().contains("Unauthorized"), "{}", served.stderr());
    // Renewed late: it goes on by itself.
    let three = bound_token(&scene, "three");
    end("two");
    scene.commit(&config("settings", "3"));
    served.wait_to_say("Unauthorized", PATIENCE);
    assert_eq!(scene.value("settings").as_deref(), Some("2"));
    put(&three);
    served.wait_to_say("release 3 is stable", PATIENCE);
    assert_eq!(scene.value("settings").as_deref(), Some("3"));
    for token in [two, three] {
        assert!(!served.stderr().contains(&token), "a token is in the log");
    }
    assert_eq!(served.terminate(PATIENCE).status, Some(0));
}
