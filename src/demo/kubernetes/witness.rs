//! What the API server says: the demo believes no output, its own included.
//!
//! In: a connected API server and the demo's namespace. Out: facts, what a person would do by hand, and the removal of the
//! namespace. Guaranteed: nothing outside of that namespace is read or changed, but for the namespace itself and the
//! cluster's version; only the very namespace that the demo made is deleted. Must not: ask the store.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::demo::images::{IMAGES, PREFIX};
use crate::live::error::LiveError;
use crate::live::kubernetes::client::{Api, MERGE_PATCH};

/// How long the namespace may take to go, with everything in it.
const GONE: Duration = Duration::from_secs(120);
/// How long a new namespace may take to get its account.
const ACCOUNT: Duration = Duration::from_secs(30);
/// How long the images may take to run; one that is pulled takes its time.
const IMAGES_READY: Duration = Duration::from_secs(180);
/// How often something is asked again.
const PACE: Duration = Duration::from_millis(200);

/// The pod that shows whether the images are there.
const PROBE: &str = "driftless-demo-images";

/// Everything that the example makes, but for pods: `Kind`, path of the list.
const KINDS: &[(&str, &str)] = &[
    ("ConfigMap", "api/v1/configmaps"),
    ("Service", "api/v1/services"),
    ("Deployment", "apis/apps/v1/deployments"),
    ("StatefulSet", "apis/apps/v1/statefulsets"),
    ("Job", "apis/batch/v1/jobs"),
    ("CronJob", "apis/batch/v1/cronjobs"),
];

/// The API server, asked about one demo.
pub struct Witness {
    api: Api,
    namespace: String,
    /// The UID of the namespace that we made.
    made: std::sync::OnceLock<String>,
}

/// Why the images don't run.
#[derive(Debug)]
pub struct NotRunning {
    pub image: String,
    pub node: String,
    pub why: String,
}

/// Every object of the demo's apps by `Kind/name`, without what its controllers say about it.
pub type Objects = BTreeMap<String, Value>;

impl Witness {
    /// About the demo in `namespace`.
    pub fn new(api: Api, namespace: String) -> Self {
        Self {
            api,
            namespace,
            made: std::sync::OnceLock::new(),
        }
    }

    /// The demo's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    fn path(&self, list: &str) -> String {
        // `apis/apps/v1/deployments` → `/apis/apps/v1/namespaces/NS/deployments`
        let (group, plural) = list.rsplit_once('/').unwrap_or(("api/v1", list));
        format!("/{group}/namespaces/{}/{plural}", self.namespace)
    }

    /// The cluster's version.
    pub async fn version(&self) -> Result<String, LiveError> {
        let answer = self.api.get("read the cluster's version", "/version").await?;
        Ok(text(&answer, "/gitVersion").to_owned())
    }

    /// Makes the namespace, and waits until pods can be made in it.
    pub async fn make_namespace(&self) -> Result<(), LiveError> {
        let call = format!("create the namespace {}", self.namespace);
        let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.namespace } });
        let made = self
            .api
            .json(
                &call,
                Method::POST,
                "/api/v1/namespaces",
                Some("application/json"),
                Some(&body),
            )
            .await?;
        let _ = self.made.set(text(&made.value, "/metadata/uid").to_owned());
        let until = Instant::now() + ACCOUNT;
        let account = format!("{}/default", self.path("api/v1/serviceaccounts"));
        while self
            .api
            .find("read the namespace's account", &account)
            .await?
            .is_none()
            && Instant::now() < until
        {
            sleep(PACE).await;
        }
        Ok(())
    }

    /// Runs every image once, as a node runs it; `reference` where one image stands for all.
    pub async fn images_run(&self, reference: Option<&str>) -> Result<Result<(), NotRunning>, LiveError> {
        let images: Vec<String> = match reference {
            Some(reference) => vec![reference.to_owned()],
            None => IMAGES
                .iter()
                .map(|image| format!("{PREFIX}{}", image.name))
                .collect(),
        };
        let containers: Vec<Value> = images
            .iter()
            .enumerate()
            .map(|(at, image)| {
                let mut container = json!({
                    "name": format!("image-{at}"), "image": image, "command": ["driftless", "--version"],
                    "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                });
                // No registry has the demo's own images: a node has them, or has not.
                if reference.is_none() {
                    container["imagePullPolicy"] = json!("Never");
                }
                container
            })
            .collect();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": PROBE },
            "spec": {
                "restartPolicy": "Never", "automountServiceAccountToken": false, "containers": containers,
                "securityContext": { "runAsNonRoot": true, "runAsUser": 65534, "seccompProfile": { "type": "RuntimeDefault" } },
            },
        });
        let pods = self.path("api/v1/pods");
        let json = Some("application/json");
        self.api
            .json("run the demo's images", Method::POST, &pods, json, Some(&pod))
            .await?;
        let at = format!("{pods}/{PROBE}");
        let until = Instant::now() + IMAGES_READY;
        let ended = loop {
            let pod = self.api.get("read the pod of the demo's images", &at).await?;
            match images_state(&pod) {
                Some(ended) => break ended,
                None if Instant::now() > until => break Err(too_late(&pod)),
                None => sleep(PACE).await,
            }
        };
        let now = format!("{at}?gracePeriodSeconds=0");
        self.api
            .json(
                "remove the pod of the demo's images",
                Method::DELETE,
                &now,
                None,
                None,
            )
            .await?;
        Ok(ended)
    }

    /// All objects of the demo's apps.
    pub async fn objects(&self) -> Result<Objects, LiveError> {
        let mut found = Objects::new();
        for (kind, list) in KINDS {
            let path = format!("{}?labelSelector=driftless.dev/app", self.path(list));
            let mut page = self.api.get(&format!("list {kind}s"), &path).await?;
            let items = page.get_mut("items").map(Value::take).unwrap_or_default();
            let Value::Array(items) = items else { continue };
            for mut object in items {
                let name = text(&object, "/metadata/name").to_owned();
                said_by_controllers(&mut object);
                found.insert(format!("{kind}/{name}"), object);
            }
        }
        Ok(found)
    }

    /// One object as it is, status included; null where there is none.
    pub async fn object(&self, list: &str, name: &str) -> Result<Value, LiveError> {
        let path = format!("{}/{name}", self.path(list));
        let found = self.api.find(&format!("read {name}"), &path).await?;
        Ok(found.unwrap_or_default())
    }

    /// A change by hand: what `kubectl edit` and its like send, under the name that they write down.
    pub async fn edit(&self, list: &str, name: &str, patch: &Value, manager: &str) -> Result<(), LiveError> {
        let path = format!("{}/{name}?fieldManager={manager}", self.path(list));
        let call = format!("change {name} by hand");
        self.api
            .json(&call, Method::PATCH, &path, Some(MERGE_PATCH), Some(patch))
            .await
            .map(drop)
    }

    /// A deletion by hand.
    pub async fn delete(&self, list: &str, name: &str) -> Result<(), LiveError> {
        let path = format!("{}/{name}", self.path(list));
        let call = format!("delete {name} by hand");
        self.api
            .json(&call, Method::DELETE, &path, None, None)
            .await
            .map(drop)
    }

    /// The front page of the shop, through the API server: the same from wherever the cluster is reached.
    pub async fn front_page(&self) -> Option<String> {
        let path = format!("{}/proxy:80/proxy/", self.path("api/v1/services"));
        let asked = self.api.bytes(
            "read the shop's front page",
            Method::GET,
            &path,
            None,
            Some("*/*"),
            None,
        );
        let (bytes, _) = asked.await.ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// A customer's question, again and again.
    pub fn customer(
        &self,
    ) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>> + Send + 'static {
        let other = std::sync::Arc::new(Self::new(self.api.clone(), self.namespace.clone()));
        move || {
            let asked = std::sync::Arc::clone(&other);
            Box::pin(async move { asked.front_page().await.is_some() })
        }
    }

    /// Deletes the namespace that we made, waits until it is gone, and says what is still there.
    pub async fn remove_namespace(&self) -> Result<Vec<String>, LiveError> {
        let Some(uid) = self.made.get() else {
            return Ok(Vec::new());
        };
        let call = format!("delete the namespace {}", self.namespace);
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": { "uid": uid } });
        let json = Some("application/json");
        self.api
            .json(&call, Method::DELETE, &path, json, Some(&options))
            .await?;
        let until = Instant::now() + GONE;
        while self.api.find(&call, &path).await?.is_some() {
            if Instant::now() > until {
                return Ok(vec![format!("Namespace/{}", self.namespace)]);
            }
            sleep(PACE).await;
        }
        Ok(Vec::new())
    }
}

/// A text of an object; empty where there is none.
pub fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Takes out what controllers write by themselves: the rest moves only when somebody changes the object.
fn said_by_controllers(object: &mut Value) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    object.remove("status");
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
        if let Some(managers) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) {
            managers.retain(|manager| text(manager, "/subresource") != "status");
        }
    }
}

/// How the probe pod ended; `None` while that is open.
fn images_state(pod: &Value) -> Option<Result<(), NotRunning>> {
    let broken = |status: &Value, why: String| NotRunning {
        image: text(status, "/image").to_owned(),
        node: node(pod),
        why,
    };
    for status in pod
        .pointer("/status/containerStatuses")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let waiting = text(status, "/state/waiting/reason");
        if !["", "ContainerCreating", "PodInitializing"].contains(&waiting) {
            let message = text(status, "/state/waiting/message");
            let why = [waiting, message]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>();
            return Some(Err(broken(status, why.join(": "))));
        }
        let code = status
            .pointer("/state/terminated/exitCode")
            .and_then(Value::as_i64);
        if let Some(code) = code.filter(|code| *code != 0) {
            let message = text(status, "/state/terminated/message");
            return Some(Err(broken(
                status,
                format!("`driftless --version` ended with {code}: {message}")
                    .trim_end_matches(": ")
                    .to_owned(),
            )));
        }
    }
    (text(pod, "/status/phase") == "Succeeded").then_some(Ok(()))
}

fn node(pod: &Value) -> String {
    match text(pod, "/spec/nodeName") {
        "" => "the cluster".to_owned(),
        name => format!("the node {name}"),
    }
}

fn too_late(pod: &Value) -> NotRunning {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let why = conditions
        .into_iter()
        .flatten()
        .filter(|condition| text(condition, "/status") == "False")
        .map(|condition| text(condition, "/message"))
        .find(|message| !message.is_empty())
        .unwrap_or("its pod did not run in time");
    NotRunning {
        image: text(pod, "/spec/containers/0/image").to_owned(),
        node: node(pod),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_can_not_run_is_told_with_the_words_of_the_node() {
        let pod = |state: Value, phase: &str| json!({ "spec": { "nodeName": "n1" }, "status": { "phase": phase, "containerStatuses": [{ "image": "x:1", "state": state }] } });
        assert!(
            images_state(&pod(
                json!({ "waiting": { "reason": "ContainerCreating" } }),
                "Pending"
            ))
            .is_none()
        );
        assert!(matches!(
            images_state(&pod(json!({ "terminated": { "exitCode": 0 } }), "Succeeded")),
            Some(Ok(()))
        ));
        let missing = json!({ "waiting": { "reason": "ErrImageNeverPull", "message": "it is not present" } });
        let Some(Err(told)) = images_state(&pod(missing, "Pending")) else {
            panic!("it can't run");
        };
        assert_eq!(
            (told.image.as_str(), told.node.as_str(), told.why.as_str()),
            ("x:1", "the node n1", "ErrImageNeverPull: it is not present")
        );
        let other = json!({ "terminated": { "exitCode": 128, "message": "no such file" } });
        assert!(
            matches!(images_state(&pod(other, "Failed")), Some(Err(told)) if told.why.contains("128: no such file"))
        );
    }

    #[test]
    fn what_a_controller_says_is_no_change_of_an_object() {
        let seen = |status: i64, version: &str, replicas: i64| {
            let mut object = json!({
                "metadata": { "resourceVersion": version, "managedFields": [{ "manager": "driftless" }, { "manager": "x", "subresource": "status", "time": version }] },
                "spec": { "replicas": replicas }, "status": { "replicas": status },
            });
            said_by_controllers(&mut object);
            object
        };
        assert_eq!(seen(1, "7", 2), seen(2, "8", 2));
        assert_ne!(seen(1, "7", 2), seen(1, "7", 3));
    }
}
