//! One app on the shared cluster, behind a recording proxy: what a law about objects starts from.

use std::path::Path;
use std::time::Duration;

use driftless::clock::Timestamp;
use driftless::history::{AppState, History as _, Opening, Store, Summary};
use serde_json::Value;

use super::api_proxy::ApiProxy;
use super::cluster::Cluster;
use super::command::CommandOutput;
use super::driftless::{Running, TestEnv};
use super::namespace::Namespace;
use super::repo::Repo;

/// Nothing in these laws takes longer on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A user with one repository and one app, whose namespace is the test's own.
pub struct KubeScene<'c> {
    pub space: Namespace<'c>,
    pub proxy: ApiProxy,
    pub repo: Repo,
    pub env: TestEnv,
    /// The app's name, which is also the namespace's: no other test has it.
    pub app: String,
}

/// A Deployment of one pod, ready within a second or two.
pub fn web(image: &str, more: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: web }}\nspec:\n  replicas: 1\n{more}  selector: {{ matchLabels: {{ app: web }} }}\n  \
         template:\n    metadata: {{ labels: {{ app: web }} }}\n    spec:\n      terminationGracePeriodSeconds: 1\n      containers:\n      - name: main\n        \
         image: {image}\n        readinessProbe: {{ httpGet: {{ path: /health, port: 8080 }}, periodSeconds: 1 }}\n---\n"
    )
}

/// A ConfigMap with one key.
pub fn config(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name} }}\ndata: {{ key: \"{value}\" }}\n---\n"
    )
}

impl KubeScene<'static> {
    /// One app that holds `manifests`, with a bake of a second; committed, not applied.
    pub fn new(name: &str, manifests: &str) -> Self {
        Self::with_rules(name, "health: { bake: 1s }", manifests)
    }

    /// The same with other rules of the app in `driftless.yaml`, as the inside of a flow mapping.
    pub fn with_rules(name: &str, rules: &str, manifests: &str) -> Self {
        Self::on(Cluster::shared(), name, rules, manifests)
    }
}

impl<'c> KubeScene<'c> {
    /// The same on a cluster of the test's own.
    pub fn on(cluster: &'c Cluster, name: &str, rules: &str, manifests: &str) -> Self {
        let space = cluster.namespace(name);
        let proxy = ApiProxy::start(cluster);
        let kubeconfig = proxy.kubeconfig();
        let env = TestEnv::new().var("KUBECONFIG", kubeconfig.to_str().expect("a plain path"));
        let scene = Self {
            app: space.name().to_owned(),
            space,
            proxy,
            repo: Repo::new(),
            env,
        };
        let app = &scene.app;
        scene.repo.write(
            "driftless.yaml",
            format!("apps:\n  {app}: {{ path: apps/{app}, target: here, {rules} }}\n"),
        );
        // A repository can't name a cluster; its user does.
        let target = format!("targets: {{ here: {{ kubernetes: current, namespace: {app} }} }}\n");
        scene.env.write_config("config.yaml", &target);
        scene.commit(manifests);
        scene
    }

    /// Whoever uses this kubeconfig from now on, through the proxy.
    pub fn use_account(&mut self, kubeconfig: &Path) {
        let through = self.proxy.kubeconfig_of(kubeconfig);
        self.env
            .set("KUBECONFIG", through.to_str().expect("a plain path"));
    }

    /// Where the app's manifests are.
    pub fn file(&self) -> String {
        format!("apps/{}/app.yaml", self.app)
    }

    /// Commits other manifests for the app.
    pub fn commit(&self, manifests: &str) -> String {
        self.repo
            .commit_file(&self.file(), manifests, &format!("change {}", self.app))
    }

    /// Runs a verb.
    pub fn run(&self, arguments: &[&str]) -> CommandOutput {
        self.env.run(&self.repo.path(), arguments)
    }

    /// `driftless apply --yes`.
    pub fn apply(&self) -> CommandOutput {
        self.run(&["apply", "--yes"])
    }

    /// Starts `driftless apply --yes` and returns at once.
    pub fn start_apply(&self) -> Running {
        self.env
            .start(&self.repo.path(), &["apply", "--yes", "--progress=plain"])
    }

    /// Where the app stands, and its releases, newest first.
    pub fn story(&self) -> (AppState, Vec<Summary>) {
        let opening = Opening {
            folder: self.env.state(),
            key_file: None,
            command: "test".to_owned(),
            now: Timestamp::UNIX_EPOCH,
        };
        let store = Store::beside(&opening)
            .expect("the store can be read")
            .expect("there is a store");
        let apps = store.apps().expect("the store can be read");
        let entry = apps.iter().find(|entry| entry.key.app.as_str() == self.app);
        let key = &entry.expect("the app is in the store").key;
        let state = store.state(key).expect("the store can be read");
        (state, store.releases(key, 100).expect("the store can be read"))
    }

    /// What is said of a crash of `web:crash`: its last output, or, where pods are scripted and print nothing, its exit code.
    pub fn crash(&self) -> &'static str {
        if self.space.cluster().has_node() {
            "boom"
        } else {
            "exit code 3"
        }
    }

    /// The value of a ConfigMap's one key; `None` when there is no such ConfigMap.
    pub fn value(&self, name: &str) -> Option<String> {
        let map = self.space.get(&format!("v1/configmaps/{name}"))?;
        Some(map["data"]["key"].as_str().unwrap_or_default().to_owned())
    }

    /// The image that the Deployment `web` asks for.
    #[track_caller]
    pub fn image(&self) -> String {
        let web = self.deployment();
        let image = &web["spec"]["template"]["spec"]["containers"][0]["image"];
        image.as_str().expect("a container has an image").to_owned()
    }

    /// The Deployment `web`.
    #[track_caller]
    pub fn deployment(&self) -> Value {
        self.space
            .get("apps/v1/deployments/web")
            .expect("the Deployment is there")
    }

    /// What changed something, except the app's list in the cluster, each as `VERB RESOURCE NAME`; forgotten by the look.
    pub fn take_changes(&self) -> Vec<String> {
        let calls = self.proxy.mutating();
        self.proxy.clear();
        calls
            .iter()
            .map(|call| format!("{} {}", call.kind(), call.name.as_deref().unwrap_or_default()))
            .filter(|text| !text.ends_with(&format!("configmaps driftless-{}", self.app)))
            .collect()
    }
}
