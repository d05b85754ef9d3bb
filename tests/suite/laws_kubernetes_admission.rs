//! Laws of a cluster that refuses a release half-way or changes what it is sent, by real admission webhooks: one denies one object
//! of twelve when it is really sent, and lets every dry run pass; one puts a sidecar into each Deployment.

use base64::Engine as _;
use driftless::history::Phase;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::kube_scene::{KubeScene, config, web};
use crate::support::webhook::Webhook;

/// What is not the namespace's, by its path: gone with the value.
struct Gone(String);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = Cluster::shared().call("DELETE", &self.0, None);
    }
}

struct LateClass {
    name: String,
    _gone: Gone,
}

impl LateClass {
    const LIST: &'static str = "/apis/storage.k8s.io/v1/storageclasses";

    /// A claim of this class is healthy unbound: it waits for its first pod.
    fn new() -> Self {
        let name = Cluster::shared().unique("late");
        let class = json!({
            "metadata": { "name": name }, "provisioner": "example.com/none", "volumeBindingMode": "WaitForFirstConsumer",
        });
        let made = Cluster::shared().call("POST", Self::LIST, Some(&class));
        assert_eq!(made.status, 201, "{}", made.body);
        let _gone = Gone(format!("{}/{name}", Self::LIST));
        Self { name, _gone }
    }
}

/// What stood before, and the release of twelve objects whose eighth, the Service, is denied: seven come before it, and four
/// would come after it.
fn two_releases(class: &LateClass) -> (String, String) {
    let configs = |value: &str| {
        (1..=5)
            .map(|n| config(&format!("c{n}"), value))
            .collect::<String>()
    };
    let rest = |image: &str| {
        ["one", "two", "three", "four"]
            .map(|name| {
                web(image, "")
                    .replace("name: web", &format!("name: {name}"))
                    .replace("app: web", &format!("app: {name}"))
            })
            .concat()
    };
    let claim = format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{ name: data }}\nspec: {{ accessModes: [ReadWriteOnce], storageClassName: {}, \
         resources: {{ requests: {{ storage: 1Mi }} }} }}\n---\n",
        class.name
    );
    let service = "apiVersion: v1\nkind: Service\nmetadata: { name: door }\nspec: { selector: { app: one }, ports: [{ port: 80, targetPort: 8080 }] }\n---\n";
    (
        configs("1") + &rest("web:1"),
        configs("2") + &config("made", "2") + &claim + service + &rest("web:2"),
    )
}

const DENIED: &str = "doors need a permit";

fn is(request: &Value, operation: &str, name: &str) -> bool {
    request["operation"] == operation && request["name"] == name
}

fn values(scene: &KubeScene) -> Vec<String> {
    (1..=5)
        .map(|n| scene.value(&format!("c{n}")).unwrap_or_default())
        .collect()
}

fn generations(scene: &KubeScene) -> Vec<Value> {
    ["one", "two", "three", "four"]
        .map(|name| {
            let live = scene.space.get(&format!("apps/v1/deployments/{name}"));
            live.expect("it is there")["metadata"]["generation"].clone()
        })
        .to_vec()
}

#[test]
fn partial_apply_is_undone() {
    let class = LateClass::new();
    let (first, second) = two_releases(&class);
    let scene = KubeScene::new("partial", &first);
    let webhook = Webhook::start(&scene.space);
    drop(scene.apply().success());
    let before = generations(&scene);
    scene.commit(&second);
    webhook.refuse(|request| is(request, "CREATE", "door").then(|| DENIED.to_owned()));
    // The plan asks the server, by dry runs, and hears nothing of it.
    drop(scene.run(&["plan"]).says("door"));
    scene.proxy.clear();
    let failed = scene.apply().code(7).says("rolled back").says(DENIED);
    assert_eq!(webhook.refused(), ["CREATE Service door"], "{failed}");
    let changes = scene.take_changes();
    let denied = changes.iter().position(|change| change == "apply services door");
    assert_eq!(
        denied,
        Some(7),
        "seven objects were sent before it: {changes:#?}\n{failed}"
    );
    assert_eq!(values(&scene), ["1"; 5], "{failed}");
    assert_eq!(scene.value("made"), None, "{failed}");
    // Data stays, and the report says so.
    let claim = scene.space.get("v1/persistentvolumeclaims/data");
    assert!(
        claim.is_some_and(|claim| claim["metadata"]["deletionTimestamp"].is_null()),
        "{failed}"
    );
    assert!(failed.stdout.contains("PersistentVolumeClaim/data"), "{failed}");
    assert!(scene.space.get("v1/services/door").is_none());
    assert_eq!(
        generations(&scene),
        before,
        "what came after it was never touched"
    );
    assert_eq!(scene.story().0.phase, Phase::Held);
    scene.proxy.clear();
    drop(scene.apply().code(9));
    scene.proxy.assert_read_only();
    // With the permit the same commit goes out when a person asks.
    webhook.refuse_nothing();
    drop(scene.run(&["retry", &scene.app]).success());
    assert_eq!(values(&scene), ["2"; 5]);
    assert!(scene.space.get("v1/services/door").is_some());
    assert_eq!(scene.story().0.phase, Phase::Synced);
}

#[test]
fn an_undo_that_is_denied_freezes() {
    let class = LateClass::new();
    let (first, second) = two_releases(&class);
    let scene = KubeScene::new("undo-denied", &first);
    let webhook = Webhook::start(&scene.space);
    drop(scene.apply().success());
    scene.commit(&second);
    webhook.refuse(|request| {
        let back = is(request, "UPDATE", "c3") && request["object"]["data"]["key"] == "1";
        (is(request, "CREATE", "door") || back).then(|| DENIED.to_owned())
    });
    let frozen = scene.apply().code(8).says(DENIED).says("ConfigMap/c3");
    assert_eq!(scene.story().0.phase, Phase::Frozen);
    assert!(
        scene.space.get("v1/persistentvolumeclaims/data").is_some(),
        "{frozen}"
    );
    // Nothing more happens by itself.
    scene.proxy.clear();
    drop(scene.apply().code(8));
    scene.proxy.assert_read_only();
    drop(
        scene
            .run(&["why", &scene.app])
            .success()
            .says(DENIED)
            .says("driftless retry"),
    );
    // A person who sorted it out may go either way: on …
    webhook.refuse_nothing();
    drop(scene.run(&["retry", &scene.app]).success());
    assert_eq!(
        (values(&scene), scene.story().0.phase),
        (vec!["2".to_owned(); 5], Phase::Synced)
    );
    // … or back, by hand.
    drop(
        scene
            .run(&["rollback", &scene.app, "--yes", "--reason", "doors"])
            .success(),
    );
    assert_eq!(values(&scene), ["1"; 5]);
    assert!(scene.space.get("v1/services/door").is_none());
}

/// What an injector put into an object when it was sent, and what a controller wrote into it later, is theirs.
#[test]
fn injected_sidecars_and_bundles_are_not_drift() {
    let unused = Cluster::shared().unique("unused");
    let hooks = format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {{ name: {unused} }}\nwebhooks:\n- name: {unused}.example.com\n  \
         admissionReviewVersions: [v1]\n  sideEffects: None\n  failurePolicy: Ignore\n  clientConfig: {{ service: {{ name: nobody, namespace: default }} }}\n  \
         namespaceSelector: {{ matchLabels: {{ there: is-none }} }}\n  rules: [{{ apiGroups: [\"\"], apiVersions: [v1], resources: [configmaps], operations: [CREATE] }}]\n---\n"
    );
    let path = format!("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{unused}");
    let _gone = Gone(path.clone());
    let scene = KubeScene::new("injected", "");
    let webhook = Webhook::start(&scene.space);
    webhook.change(&scene.space, |request| {
        let deployment = request["kind"]["kind"] == "Deployment" && request["operation"] != "DELETE";
        let all = request["object"]["spec"]["template"]["spec"]["containers"].as_array()?;
        let there = all.iter().any(|container| container["name"] == "proxy");
        let proxy = json!({ "name": "proxy", "image": "base:1", "command": ["sleep", "1000000"] });
        (deployment && !there).then(|| {
            json!([
                { "op": "add", "path": "/spec/template/spec/containers/-", "value": proxy },
                { "op": "add", "path": "/spec/template/metadata/annotations", "value": { "example.com/injected": "yes" } },
            ])
        })
    });
    scene.commit(&(web("web:1", "") + &hooks));
    drop(scene.apply().success());
    let bundle = json!([{ "op": "add", "path": "/webhooks/0/clientConfig/caBundle",
        "value": base64::engine::general_purpose::STANDARD.encode(
            std::fs::read(Cluster::shared().folder().join("pki/ca.crt")).expect("the cluster's files")
        ) }]);
    let patch = [
        "patch",
        "validatingwebhookconfiguration",
        &unused,
        "--type=json",
        "--field-manager=cainjector",
        "--patch",
        &bundle.to_string(),
    ];
    drop(Cluster::shared().kubectl(&patch).success());
    let theirs = |scene: &KubeScene| {
        let deployment = scene.deployment();
        let containers = deployment["spec"]["template"]["spec"]["containers"]
            .as_array()
            .map(Vec::len);
        let hooks = Cluster::shared().get(&path).expect("it is there");
        (
            containers,
            hooks["webhooks"][0]["clientConfig"]["caBundle"].is_string(),
        )
    };
    let nothing_to_do = |code: i32| {
        scene.proxy.clear();
        drop(scene.apply().code(code));
        drop(scene.run(&["drift"]).success());
        scene.proxy.assert_read_only();
        assert_eq!(theirs(&scene), (Some(2), true));
    };
    nothing_to_do(0);
    scene.commit(&(web("web:2", "") + &hooks));
    drop(scene.apply().success());
    nothing_to_do(0);
    scene.commit(&(web("web:crash", "") + &hooks));
    drop(scene.apply().code(7).says("rolled back"));
    assert_eq!(scene.image(), "web:2");
    nothing_to_do(9);
}
