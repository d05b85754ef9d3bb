//! What must be read to judge an object.
//!
//! In: a live (or desired) object. Out: [`Needs`]. Guaranteed: a scene filled from it lets every rule work; what could not be read
//! may be left empty, and only makes the verdict later, never wrong. Must not: read anything.

use serde_json::Value;

use super::fields;

/// The lists of a [`super::Scene`] that one object asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// The namespace of all lists but nodes and classes.
    pub namespace: Option<String>,
    /// Revisions: API version, kind and plural, with the object's own selector.
    pub revisions: Option<Revisions>,
    pub pods: Pods,
    /// Events of the namespace (about the object, its revisions, its pods).
    pub events: bool,
    pub nodes: bool,
    pub classes: bool,
}

/// A kind of revision objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revisions {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
}

/// Which pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Pods {
    #[default]
    None,
    /// Those that a label selector finds; the rules check the owner.
    Selected(String),
    /// All of the namespace.
    All,
}

const REPLICA_SETS: Revisions = Revisions {
    api_version: "apps/v1",
    kind: "ReplicaSet",
    plural: "replicasets",
};
const CONTROLLER_REVISIONS: Revisions = Revisions {
    api_version: "apps/v1",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
};

/// What must be read to judge `object`.
pub fn needs(object: &Value) -> Needs {
    let namespace = Some(fields::namespace(object))
        .filter(|found| !found.is_empty())
        .map(str::to_owned);
    let workload = |revisions| Needs {
        namespace: namespace.clone(),
        revisions,
        pods: Pods::Selected(selector(object)),
        events: true,
        nodes: true,
        classes: false,
    };
    match (fields::group(object), fields::text(object, "/kind")) {
        ("apps", "Deployment") => workload(Some(REPLICA_SETS)),
        ("apps", "DaemonSet") => workload(Some(CONTROLLER_REVISIONS)),
        ("apps", "StatefulSet" | "ReplicaSet") | ("batch", "Job") => workload(None),
        ("", "Pod") => Needs {
            namespace,
            events: true,
            nodes: true,
            ..Needs::default()
        },
        ("", "PersistentVolumeClaim") => Needs {
            namespace,
            pods: Pods::All,
            events: true,
            classes: true,
            ..Needs::default()
        },
        _ => Needs {
            namespace,
            ..Needs::default()
        },
    }
}

/// `spec.selector` as the API server takes it in a query. A Job's is filled in by the server; before that its name label must do.
fn selector(object: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(labels) = object
        .pointer("/spec/selector/matchLabels")
        .and_then(Value::as_object)
    {
        for (key, value) in labels {
            parts.push(format!("{key}={}", value.as_str().unwrap_or_default()));
        }
    }
    for expression in fields::list(object, "/spec/selector/matchExpressions") {
        let key = fields::text(expression, "/key");
        let values = fields::list(expression, "/values")
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(",");
        match fields::text(expression, "/operator") {
            "In" => parts.push(format!("{key} in ({values})")),
            "NotIn" => parts.push(format!("{key} notin ({values})")),
            "Exists" => parts.push(key.to_owned()),
            "DoesNotExist" => parts.push(format!("!{key}")),
            // An operator of the future narrows nothing; owners are checked anyway.
            _ => {}
        }
    }
    if parts.is_empty() && fields::text(object, "/kind") == "Job" {
        parts.push(format!("batch.kubernetes.io/job-name={}", fields::name(object)));
    }
    parts.join(",")
}
