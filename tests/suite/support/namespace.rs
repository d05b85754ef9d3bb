//! What one test owns in a cluster: a namespace, and accounts with the rights that it picks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::{Cluster, named};
use super::command::CommandOutput;

/// A namespace of one test. When it is dropped it is deleted in the background; a failing test shows its pods and events first.
pub struct Namespace<'c> {
    cluster: &'c Cluster,
    name: String,
}

impl<'c> Namespace<'c> {
    #[track_caller]
    pub(super) fn create(cluster: &'c Cluster, name: String) -> Self {
        let made = cluster.call("POST", "/api/v1/namespaces", Some(&named(&name)));
        assert_eq!(made.status, 201, "{}", made.body);
        let namespace = Self { cluster, name };
        // Pods are refused before it is there.
        namespace.wait_for("v1/serviceaccounts/default", Duration::from_secs(20), |_| true);
        namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster that it is in.
    pub fn cluster(&self) -> &'c Cluster {
        self.cluster
    }

    /// Runs kubectl as admin in this namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> CommandOutput {
        self.cluster
            .kubectl(&[&["--namespace", &self.name], arguments].concat())
    }

    /// `kubectl apply -f -` as a person at a terminal does it (client-side; field manager `kubectl-client-side-apply`).
    #[track_caller]
    pub fn apply_yaml(&self, yaml: &str) {
        drop(
            self.cluster
                .kubectl_with(&["--namespace", &self.name, "apply", "-f", "-"], yaml)
                .success(),
        );
    }

    /// The path of `GROUP/VERSION/RESOURCE[/NAME[/SUBRESOURCE]]` (`v1/pods`, `apps/v1/deployments/web/scale`) in this namespace.
    pub fn path(&self, short: &str) -> String {
        let mut parts = short.split('/');
        let first = parts.next().unwrap_or_default();
        // The core group has no name, and versions start with v and a digit.
        let core = first.starts_with('v') && first[1..].starts_with(|c: char| c.is_ascii_digit());
        let prefix = if core {
            format!("/api/{first}")
        } else {
            format!("/apis/{first}/{}", parts.next().unwrap_or_default())
        };
        let rest = parts.collect::<Vec<_>>().join("/");
        format!("{prefix}/namespaces/{}/{rest}", self.name)
    }

    /// The object (see [`Namespace::path`]); `None` when there is none.
    #[track_caller]
    pub fn get(&self, short: &str) -> Option<Value> {
        self.cluster.get(&self.path(short))
    }

    /// The items of a list, with the query behind the path if any: `v1/pods?labelSelector=app%3Dweb`.
    #[track_caller]
    pub fn list(&self, short: &str) -> Vec<Value> {
        let mut list = self.get(short).unwrap_or_default();
        list["items"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// A JSON merge patch as admin, also of a subresource: `patch("apps/v1/deployments/web/scale", json!({"spec": {"replicas": 3}}))`.
    #[track_caller]
    pub fn patch(&self, short: &str, patch: &Value) -> Value {
        let answer = self.cluster.call("PATCH", &self.path(short), Some(patch));
        assert_eq!(answer.status, 200, "{short}: {}", answer.body);
        serde_json::from_str(&answer.body).expect("the API server answers JSON")
    }

    /// Deletes an object as admin; it may be gone already.
    #[track_caller]
    pub fn delete(&self, short: &str) {
        let answer = self.cluster.call("DELETE", &self.path(short), None);
        assert!(
            matches!(answer.status, 200 | 202 | 404),
            "{short}: {}",
            answer.body
        );
    }

    /// Waits until there is such an object for which `condition` holds, and returns it.
    #[track_caller]
    pub fn wait_for(&self, short: &str, deadline: Duration, condition: impl FnMut(&Value) -> bool) -> Value {
        self.cluster.wait_for(&self.path(short), deadline, condition)
    }

    /// Waits until the controller has seen the newest spec of a Deployment and all its pods are new and available.
    #[track_caller]
    pub fn wait_available(&self, deployment: &str, deadline: Duration) -> Value {
        self.wait_for(&format!("apps/v1/deployments/{deployment}"), deadline, |object| {
            let (wanted, status) = (&object["spec"]["replicas"], &object["status"]);
            let all = |field: &str| status[field].as_i64().unwrap_or(0) == wanted.as_i64().unwrap_or(1);
            status["observedGeneration"] == object["metadata"]["generation"]
                && all("replicas")
                && all("updatedReplicas")
                && all("availableReplicas")
        })
    }

    /// The body of `GET path` from a pod, which listens on `port`.
    #[track_caller]
    pub fn http_get(&self, pod: &str, port: u16, path: &str) -> String {
        let object = self.get(&format!("v1/pods/{pod}")).expect("the pod exists");
        let address: std::net::IpAddr = object["status"]["podIP"]
            .as_str()
            .and_then(|address| address.parse().ok())
            .expect("the pod has an address");
        let answer = self
            .cluster
            .http_get_at((address, port), path)
            .expect("the pod answers");
        answer.body
    }

    /// A new ServiceAccount with `rules` in this namespace and `cluster_rules` everywhere (arrays of PolicyRule, or null).
    #[track_caller]
    pub fn account(&self, name: &str, rules: &Value, cluster_rules: &Value) -> Account<'_> {
        let core = self.path("v1/serviceaccounts");
        self.make(&core, &named(name));
        let account = Account {
            namespace: self,
            name: name.to_owned(),
            kubeconfig: self
                .cluster
                .folder()
                .join(format!("kubeconfig-{}-{name}", self.name)),
        };
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        let subject = json!([{ "kind": "ServiceAccount", "name": name, "namespace": self.name }]);
        let bind = |kind: &str, role: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role });
        self.make(
            &self.path("rbac.authorization.k8s.io/v1/roles"),
            &json!({ "metadata": { "name": name }, "rules": rules }),
        );
        self.make(
            &self.path("rbac.authorization.k8s.io/v1/rolebindings"),
            &json!({ "metadata": { "name": name }, "subjects": subject, "roleRef": bind("Role", name) }),
        );
        // The namespace owns what lies outside of it, so the garbage collector takes it along.
        let owner = self
            .cluster
            .get(&format!("/api/v1/namespaces/{}", self.name))
            .expect("it exists");
        let wide = account.cluster_role();
        let metadata = json!({ "name": wide, "ownerReferences": [{
            "apiVersion": "v1", "kind": "Namespace", "name": self.name, "uid": owner["metadata"]["uid"],
        }] });
        self.make(
            &format!("{rbac}/clusterroles"),
            &json!({ "metadata": metadata, "rules": cluster_rules }),
        );
        self.make(
            &format!("{rbac}/clusterrolebindings"),
            &json!({ "metadata": metadata, "subjects": subject, "roleRef": bind("ClusterRole", &wide) }),
        );
        let token = self.make(&format!("{core}/{name}/token"), &json!({ "spec": {} }));
        let token = token["status"]["token"]
            .as_str()
            .expect("the API server makes tokens");
        let admin = std::fs::read_to_string(self.cluster.kubeconfig()).expect("the admin's kubeconfig");
        std::fs::write(&account.kubeconfig, with_token(&admin, token)).expect("the cluster's folder");
        account
    }

    #[track_caller]
    fn make(&self, path: &str, object: &Value) -> Value {
        let answer = self.cluster.call("POST", path, Some(object));
        assert_eq!(answer.status, 201, "POST {path}: {}", answer.body);
        serde_json::from_str(&answer.body).expect("the API server answers JSON")
    }
}

impl Drop for Namespace<'_> {
    #[expect(clippy::print_stderr, reason = "what a failing test shows")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seen = self.kubectl(&["get", "all,events", "--output", "wide"]);
            eprintln!("{seen}");
        }
        let client = self.cluster.client();
        // It may be gone with the cluster.
        let _ = client.call("DELETE", &format!("/api/v1/namespaces/{}", self.name), None);
    }
}

/// Somebody with chosen rights.
pub struct Account<'n> {
    namespace: &'n Namespace<'n>,
    name: String,
    kubeconfig: PathBuf,
}

impl Account<'_> {
    /// Its kubeconfig, with a token.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace.name, self.name)
    }

    /// A kubectl command of this account in its namespace.
    pub fn kubectl_command(&self) -> Command {
        let mut command = self.namespace.cluster.kubectl_command(&self.kubeconfig);
        command.args(["--namespace", &self.namespace.name]);
        command
    }

    /// Runs kubectl as this account.
    pub fn kubectl(&self, arguments: &[&str]) -> CommandOutput {
        CommandOutput::of(self.kubectl_command().args(arguments))
    }

    /// Replaces the rights in the namespace. They hold at once for new requests, within the API server's own delay of some
    /// milliseconds: use [`Account::wait_until_may`] or [`Account::wait_until_may_not`].
    #[track_caller]
    pub fn set_rules(&self, rules: &Value) {
        self.namespace.patch(
            &format!("rbac.authorization.k8s.io/v1/roles/{}", self.name),
            &json!({ "rules": rules }),
        );
    }

    /// Replaces the rights outside of the namespace.
    #[track_caller]
    pub fn set_cluster_rules(&self, rules: &Value) {
        let path = format!(
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/{}",
            self.cluster_role()
        );
        let answer = self
            .namespace
            .cluster
            .call("PATCH", &path, Some(&json!({ "rules": rules })));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// Waits until the API server grants `verb` on `resource` (`deployments.apps`) in the namespace.
    #[track_caller]
    pub fn wait_until_may(&self, verb: &str, resource: &str) {
        self.wait_until_allowed(verb, resource, true);
    }

    /// Waits until the API server refuses it.
    #[track_caller]
    pub fn wait_until_may_not(&self, verb: &str, resource: &str) {
        self.wait_until_allowed(verb, resource, false);
    }

    #[track_caller]
    fn wait_until_allowed(&self, verb: &str, resource: &str, wanted: bool) {
        let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
        let review = json!({ "spec": { "user": self.user(), "resourceAttributes": {
            "namespace": self.namespace.name, "verb": verb, "resource": resource, "group": group,
        } } });
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        super::wait_until(
            &format!("{verb} {resource} allowed: {wanted}"),
            Duration::from_secs(10),
            || self.namespace.make(path, &review)["status"]["allowed"] == wanted,
        );
    }

    fn cluster_role(&self) -> String {
        format!("{}-{}", self.namespace.name, self.name)
    }
}

/// A kubeconfig as `boot` writes it, with another token.
pub(super) fn with_token(kubeconfig: &str, token: &str) -> String {
    kubeconfig
        .lines()
        .map(|line| match line.split_once("{token: \"") {
            Some((before, _)) => format!("{before}{{token: \"{token}\"}}}}]\n"),
            None => format!("{line}\n"),
        })
        .collect()
}
