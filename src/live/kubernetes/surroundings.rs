//! What bears on the health of some objects, read in the fewest calls.
//!
//! In: keys. Out: [`Surroundings`]. Guaranteed: the objects themselves are read; what may not be read around them is left
//! out, which makes a verdict later, not wrong. Must not: judge.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use super::client::{Api, escape, is_not_found};
use super::world::Surroundings;
use crate::live::{LiveError, Problem};
use crate::names::ObjectKey;

const AT_ONCE: usize = 16;

/// Kinds whose health is that of their pods.
pub(super) const WORKLOADS: &[&str] = &[
    "Deployment",
    "ReplicaSet",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "CronJob",
    "Pod",
    "ReplicationController",
];

pub(super) async fn surroundings(api: &Api, keys: &[ObjectKey]) -> Result<Surroundings, LiveError> {
    let kinds = api.kinds(false).await?;
    let objects = stream::iter(keys.iter().cloned())
        .map(|key| {
            let kinds = std::sync::Arc::clone(&kinds);
            async move {
                let Some(resource) = kinds.find(&key.group, &key.kind, None) else {
                    return Ok::<_, LiveError>((key, None));
                };
                let path = format!("{}/{}", resource.path(key.namespace.as_deref()), key.name);
                let found = match api.get(&format!("read {key}"), &path).await {
                    Ok(object) => Some(object),
                    Err(error) if is_not_found(&error) => None,
                    Err(error) => return Err(error),
                };
                Ok((key, found))
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect();
    let objects: BTreeMap<ObjectKey, Option<Value>> = objects.await?;
    let workloads = keys.iter().any(|key| WORKLOADS.contains(&&*key.kind));
    let namespaces: BTreeSet<&str> = keys
        .iter()
        .filter(|key| WORKLOADS.contains(&&*key.kind) || &*key.kind == "PersistentVolumeClaim")
        .filter_map(|key| key.namespace.as_deref())
        .collect();
    let daemons = keys.iter().any(|key| &*key.kind == "DaemonSet");
    let mut found = Surroundings::default();
    for namespace in namespaces {
        let apps = format!("/apis/apps/v1/namespaces/{namespace}");
        let chosen = chosen(namespace, &objects);
        let (sets, revisions, pods, events) = futures_util::try_join!(
            lists(api, format!("{apps}/replicasets"), "ReplicaSet", &chosen),
            async {
                if daemons {
                    list(api, format!("{apps}/controllerrevisions"), "ControllerRevision").await
                } else {
                    Ok(Vec::new())
                }
            },
            lists(
                api,
                format!("/api/v1/namespaces/{namespace}/pods"),
                "Pod",
                &chosen
            ),
            list(
                api,
                format!("/api/v1/namespaces/{namespace}/events?limit=500"),
                "Event"
            ),
        )?;
        found.revisions.extend(sets);
        found.revisions.extend(revisions);
        found.pods.extend(pods);
        found.events.extend(events);
    }
    if workloads {
        found.nodes = list(api, "/api/v1/nodes".to_owned(), "Node").await?;
    }
    if keys.iter().any(|key| &*key.kind == "PersistentVolumeClaim") {
        found.classes = list(
            api,
            "/apis/storage.k8s.io/v1/storageclasses".to_owned(),
            "StorageClass",
        )
        .await?;
    }
    Ok(Surroundings { objects, ..found })
}

/// So many workloads are asked for by their selectors; for more, one list of the whole namespace is cheaper.
const SELECTED: usize = 3;

/// Which pods of a namespace are asked for: those of each workload, by its selector, or all (`None`) where there are many
/// workloads or one that has no selector, so that an app costs the same beside a thousand others in its namespace.
fn chosen(namespace: &str, objects: &BTreeMap<ObjectKey, Option<Value>>) -> Vec<Option<String>> {
    let mut selectors = Vec::new();
    for (key, object) in objects {
        let here = key.namespace.as_deref() == Some(namespace);
        match &*key.kind {
            "PersistentVolumeClaim" | "CronJob" | "Pod" if here => return vec![None],
            kind if here && WORKLOADS.contains(&kind) => match object.as_ref().and_then(selector) {
                Some(selector) => selectors.push(Some(selector)),
                None => return vec![None],
            },
            _ => {}
        }
    }
    if selectors.len() > SELECTED {
        return vec![None];
    }
    selectors
}

/// A workload's selector as a query knows it (Kubernetes API, "Label selectors"); `None` where it has none.
fn selector(object: &Value) -> Option<String> {
    let spec = object.pointer("/spec/selector")?;
    // A ReplicationController's is a plain map.
    let plain = spec.get("matchLabels").is_none() && spec.get("matchExpressions").is_none();
    let labels = if plain {
        Some(spec)
    } else {
        spec.get("matchLabels")
    };
    let mut terms = Vec::new();
    for (name, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        terms.push(format!("{name}={}", value.as_str()?));
    }
    let expressions = spec.get("matchExpressions").and_then(Value::as_array);
    for one in expressions.into_iter().flatten() {
        let name = one.get("key")?.as_str()?;
        let values = one.get("values").and_then(Value::as_array);
        let values: Vec<&str> = values.into_iter().flatten().filter_map(Value::as_str).collect();
        let values = values.join(",");
        terms.push(match one.get("operator")?.as_str()? {
            "In" => format!("{name} in ({values})"),
            "NotIn" => format!("{name} notin ({values})"),
            "Exists" => name.to_owned(),
            "DoesNotExist" => format!("!{name}"),
            _ => return None,
        });
    }
    (!terms.is_empty()).then(|| terms.join(","))
}

/// All items below `path` that one of the selectors fits.
async fn lists(
    api: &Api,
    path: String,
    kind: &str,
    selectors: &[Option<String>],
) -> Result<Vec<Value>, LiveError> {
    let path = &path;
    let found = futures_util::future::try_join_all(selectors.iter().map(|selector| {
        let path = match selector {
            Some(selector) => format!("{path}?labelSelector={}", escape(selector)),
            None => path.clone(),
        };
        list(api, path, kind)
    }))
    .await?;
    Ok(once(found.into_iter().flatten()))
}

/// Each object once: the selectors of two workloads may fit the same pod, which would count twice.
fn once(found: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    found
        .filter(|object| {
            let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
            uid.is_none_or(|uid| seen.insert(uid.to_owned()))
        })
        .collect()
}

/// All items below `path`; none where it may not be read.
async fn list(api: &Api, path: String, kind: &str) -> Result<Vec<Value>, LiveError> {
    match api.get(&format!("list {path}"), &path).await {
        Ok(mut page) => match page.get_mut("items").map(Value::take) {
            Some(Value::Array(mut items)) => {
                // Items of a list bear no kind of their own.
                for item in items.iter_mut().filter_map(Value::as_object_mut) {
                    item.insert("kind".to_owned(), kind.into());
                }
                Ok(items)
            }
            _ => Ok(Vec::new()),
        },
        Err(error) if matches!(&error.problem, Problem::Api(refusal) if [403, 404].contains(&refusal.status)) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workload(kind: &str, name: &str, selector: Value) -> (ObjectKey, Option<Value>) {
        (
            ObjectKey::new("apps", kind, Some("shop"), name),
            Some(json!({ "kind": kind, "spec": { "selector": selector } })),
        )
    }

    #[test]
    fn a_pod_that_two_selectors_fit_counts_once() {
        let pod = |uid: &str| json!({ "metadata": { "uid": uid } });
        let found = once([pod("canary"), pod("web"), pod("canary")].into_iter());
        assert_eq!(found, [pod("canary"), pod("web")]);
    }

    #[test]
    fn a_few_workloads_are_asked_for_by_their_selectors() {
        let labels = json!({ "matchLabels": { "app": "web", "tier": "front" } });
        let terms = json!({ "matchLabels": { "app": "db" }, "matchExpressions": [
            { "key": "zone", "operator": "In", "values": ["a", "b"] },
            { "key": "old", "operator": "DoesNotExist" },
            { "key": "size", "operator": "NotIn", "values": ["s"] },
            { "key": "owner", "operator": "Exists" },
        ] });
        let two = BTreeMap::from([
            workload("Deployment", "web", labels.clone()),
            workload("StatefulSet", "db", terms),
            (ObjectKey::new("", "ConfigMap", Some("shop"), "settings"), None),
        ]);
        let texts: Vec<_> = chosen("shop", &two).into_iter().flatten().collect();
        assert_eq!(
            texts,
            [
                "app=web,tier=front",
                "app=db,zone in (a,b),!old,size notin (s),owner"
            ]
        );
        assert!(chosen("other", &two).is_empty(), "no workload, no pods");
        let many: BTreeMap<_, _> = (0..=SELECTED)
            .map(|n| workload("Deployment", &n.to_string(), labels.clone()))
            .collect();
        assert_eq!(chosen("shop", &many), [None]);
        let controller = BTreeMap::from([workload("ReplicationController", "old", json!({ "app": "old" }))]);
        assert_eq!(chosen("shop", &controller), [Some("app=old".to_owned())]);
        for without in [
            workload("Deployment", "web", json!({})),
            workload(
                "Deployment",
                "web",
                json!({ "matchExpressions": [{ "key": "a", "operator": "Gt" }] }),
            ),
            (ObjectKey::new("apps", "Deployment", Some("shop"), "gone"), None),
            (
                ObjectKey::new("", "PersistentVolumeClaim", Some("shop"), "data"),
                None,
            ),
        ] {
            assert_eq!(
                chosen("shop", &BTreeMap::from([without.clone()])),
                [None],
                "{without:?}"
            );
        }
    }
}
