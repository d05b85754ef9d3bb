//! What bears on the health of some objects, read in the fewest calls.
//!
//! In: keys. Out: [`Surroundings`]. Guaranteed: the objects themselves are read; what may not be read around them is left
//! out, which makes a verdict later, not wrong. Must not: judge.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use super::client::{Api, is_not_found};
use super::world::Surroundings;
use crate::live::{LiveError, Problem};
use crate::names::ObjectKey;

const AT_ONCE: usize = 16;

/// Kinds whose health is that of their pods.
const WORKLOADS: &[&str] = &[
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
    let workloads = keys.iter().any(|key| WORKLOADS.contains(&&*key.kind));
    let namespaces: BTreeSet<&str> = keys
        .iter()
        .filter(|key| WORKLOADS.contains(&&*key.kind) || &*key.kind == "PersistentVolumeClaim")
        .filter_map(|key| key.namespace.as_deref())
        .collect();
    let daemons = keys.iter().any(|key| &*key.kind == "DaemonSet");
    let around = async {
        let mut found = Surroundings::default();
        for namespace in namespaces {
            let (sets, revisions, pods, events) = futures_util::try_join!(
                list(
                    api,
                    format!("/apis/apps/v1/namespaces/{namespace}/replicasets"),
                    "ReplicaSet"
                ),
                async {
                    if daemons {
                        list(
                            api,
                            format!("/apis/apps/v1/namespaces/{namespace}/controllerrevisions"),
                            "ControllerRevision",
                        )
                        .await
                    } else {
                        Ok(Vec::new())
                    }
                },
                list(api, format!("/api/v1/namespaces/{namespace}/pods"), "Pod"),
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
        Ok(found)
    };
    let (objects, around) = futures_util::try_join!(objects, around)?;
    Ok(Surroundings { objects, ..around })
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
