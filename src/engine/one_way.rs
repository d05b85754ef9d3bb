//! What a release did that can't be taken back.
//!
//! In: a failed release's manifests, what it applied, the cluster. Out: the object that stands in the way of a rollback, if
//! there is one. Guaranteed: a migration that ran to its end is told, also when it is gone by now. Must not: decide
//! (`rollback/` does), or change anything.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::live::LiveError;
use crate::live::kubernetes::world::{Observed as Cluster, OwnedObject};
use crate::names::ObjectKey;
use crate::render::manifests::options::{KIND, ROLLBACK};

use super::world::Turn;

fn annotation<'v>(object: &'v Value, name: &str) -> &'v str {
    object
        .pointer("/metadata/annotations")
        .and_then(|all| all.get(name))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Whether a manifest says that what it does can't be taken back.
fn is_one_way(manifest: &Value) -> bool {
    match annotation(manifest, ROLLBACK) {
        "freeze" => true,
        "safe" | "never" => false,
        _ => annotation(manifest, KIND) == "migration",
    }
}

/// The objects of a release that it applied anew and that are a one-way step, Jobs and others.
fn applied_one_way(
    cluster: &Cluster,
    before: &BTreeMap<ObjectKey, OwnedObject>,
    now: &BTreeMap<ObjectKey, OwnedObject>,
) -> Vec<ObjectKey> {
    cluster
        .wanted
        .iter()
        .filter(|(key, wanted)| {
            let sent = now.get(*key).map(|owned| (&owned.uid, &owned.sent));
            let untouched = before.get(*key).map(|owned| (&owned.uid, &owned.sent)) == sent;
            is_one_way(&wanted.body.0) && sent.is_some() && !untouched
        })
        .map(|(key, _)| key.clone())
        .collect()
}

/// Whether a Job is over and did its work; one that is gone is taken for that.
fn ran(job: Option<&Value>) -> bool {
    let Some(job) = job else { return true };
    job.pointer("/status/conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Complete" && condition["status"] == "True")
}

/// The first one-way step that the failed release took.
pub(super) async fn one_way_step(
    turn: &Turn,
    cluster: &Cluster,
    before: &BTreeMap<ObjectKey, OwnedObject>,
    now: &BTreeMap<ObjectKey, OwnedObject>,
) -> Result<Option<String>, LiveError> {
    let steps = applied_one_way(cluster, before, now);
    if steps.is_empty() {
        return Ok(None);
    }
    let around = turn.target.cluster()?.surroundings(&steps).await?;
    Ok(steps
        .into_iter()
        .find(|key| &*key.kind != "Job" || ran(around.objects.get(key).and_then(Option::as_ref)))
        .map(|key| key.within(&cluster.namespace)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_migration_is_one_way_unless_it_says_that_it_is_safe() {
        let job = |annotations: Value| json!({"kind": "Job", "metadata": {"annotations": annotations}});
        assert!(is_one_way(&job(json!({"driftless.dev/kind": "migration"}))));
        assert!(is_one_way(&job(json!({"driftless.dev/rollback": "freeze"}))));
        let safe = json!({"driftless.dev/kind": "migration", "driftless.dev/rollback": "safe"});
        assert!(!is_one_way(&job(safe)));
        assert!(!is_one_way(&job(json!({}))));
        assert!(!is_one_way(&json!({"kind": "Job"})));
    }

    #[test]
    fn a_job_counts_once_it_completed() {
        let job =
            |kind: &str, status: &str| json!({"status": {"conditions": [{"type": kind, "status": status}]}});
        assert!(ran(Some(&job("Complete", "True"))));
        assert!(!ran(Some(&job("Complete", "False"))));
        assert!(!ran(Some(&job("Failed", "True"))));
        assert!(!ran(Some(&json!({}))));
        assert!(ran(None));
    }
}
