//! Which kinds a cluster serves.
//!
//! In: the API server's discovery documents. Out: [`Kinds`]. Guaranteed: a kind that a broken aggregated API should serve is
//! *unknown*, not missing. Must not: ask for a kind by itself; the caller reads discovery again when one is missing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// How the objects of one kind are addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    pub group: String,
    pub version: String,
    pub kind: String,
    /// As in the path: `deployments`.
    pub plural: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
}

impl Resource {
    /// The path of all objects, or of those in one namespace.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }

    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// Everything that a cluster serves.
#[derive(Debug, Clone, Default)]
pub struct Kinds {
    /// By group and kind, the preferred version first.
    served: BTreeMap<(String, String), Vec<Resource>>,
    /// Groups whose server does not answer.
    stale: BTreeSet<String>,
    /// Every group and version, those of groups that do not answer included.
    versions: BTreeSet<(String, String)>,
}

impl Kinds {
    /// The resource of a kind in the version that is written, else in the preferred one.
    pub fn find(&self, group: &str, kind: &str, version: Option<&str>) -> Option<&Resource> {
        let versions = self.served.get(&(group.to_owned(), kind.to_owned()))?;
        versions
            .iter()
            .find(|resource| Some(resource.version.as_str()) == version)
            .or_else(|| versions.first())
    }

    /// Whether the group's server could not be asked: what it serves is not known.
    pub fn is_stale(&self, group: &str) -> bool {
        self.stale.contains(group)
    }

    /// Groups whose server does not answer.
    pub fn stale(&self) -> impl Iterator<Item = &str> {
        self.stale.iter().map(String::as_str)
    }

    /// Whether nothing was read, as when an old server answers the aggregated question with an empty list.
    pub fn is_empty(&self) -> bool {
        self.served.is_empty()
    }

    /// The other versions of a kind that are served, for an error about a version that is not.
    pub fn versions(&self, group: &str, kind: &str) -> Vec<&str> {
        let versions = self.served.get(&(group.to_owned(), kind.to_owned()));
        versions
            .into_iter()
            .flatten()
            .map(|resource| resource.version.as_str())
            .collect()
    }

    /// What charts ask for: `apps/v1`, `apps/v1/Deployment`. Of a group that does not answer what `before` had.
    pub fn api_versions(&self, before: &[String]) -> Vec<String> {
        let name = |group: &str, version: &str| {
            if group.is_empty() {
                version.to_owned()
            } else {
                format!("{group}/{version}")
            }
        };
        let mut all: BTreeSet<String> = self
            .versions
            .iter()
            .map(|(group, version)| name(group, version))
            .collect();
        for resource in self.served.values().flatten() {
            all.insert(format!(
                "{}/{}",
                name(&resource.group, &resource.version),
                resource.kind
            ));
        }
        let kept = before.iter().filter(|text| {
            let group = text.split_once('/').map_or("", |(group, _)| group);
            self.is_stale(group)
        });
        all.extend(kept.cloned());
        all.into_iter().collect()
    }

    /// Adds one document of aggregated discovery (`APIGroupDiscoveryList`).
    pub fn read_aggregated(&mut self, document: &Value) {
        for group in items(document) {
            let name = text(group.pointer("/metadata/name"));
            for version in group
                .get("versions")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                self.versions.insert((name.clone(), text(version.get("version"))));
                if text(version.get("freshness")) == "Stale" {
                    self.stale.insert(name.clone());
                }
                for resource in version
                    .get("resources")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    let kind = resource.get("responseKind");
                    self.add(Resource {
                        group: name.clone(),
                        version: text(version.get("version")),
                        kind: text(kind.and_then(|kind| kind.get("kind"))),
                        plural: text(resource.get("resource")),
                        namespaced: text(resource.get("scope")) == "Namespaced",
                        verbs: texts(resource.get("verbs")),
                    });
                }
            }
        }
    }

    /// Adds one `APIResourceList`.
    pub fn read_list(&mut self, group: &str, version: &str, document: &Value) {
        self.versions.insert((group.to_owned(), version.to_owned()));
        for resource in document
            .get("resources")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let plural = text(resource.get("name"));
            // `deployments/status` is a part of one, not a kind.
            if plural.contains('/') {
                continue;
            }
            self.add(Resource {
                group: group.to_owned(),
                version: version.to_owned(),
                kind: text(resource.get("kind")),
                plural,
                namespaced: resource
                    .get("namespaced")
                    .and_then(Value::as_bool)
                    .unwrap_or_default(),
                verbs: texts(resource.get("verbs")),
            });
        }
    }

    /// Notes that a version of a group could not be asked.
    pub fn note_stale(&mut self, group: &str, version: &str) {
        self.versions.insert((group.to_owned(), version.to_owned()));
        self.stale.insert(group.to_owned());
    }

    fn add(&mut self, resource: Resource) {
        if resource.kind.is_empty() || resource.plural.is_empty() {
            return;
        }
        let key = (resource.group.clone(), resource.kind.clone());
        let versions = self.served.entry(key).or_default();
        if !versions.iter().any(|known| known.version == resource.version) {
            versions.push(resource);
        }
    }
}

fn items(document: &Value) -> impl Iterator<Item = &Value> {
    document
        .get("items")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn texts(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_written_version_wins_over_the_preferred_one() {
        let mut kinds = Kinds::default();
        kinds.read_aggregated(&json!({"items": [{"metadata": {"name": "batch"}, "versions": [
            {"version": "v1", "freshness": "Current", "resources": [
                {"resource": "jobs", "responseKind": {"kind": "Job"}, "scope": "Namespaced", "verbs": ["get"]}]},
            {"version": "v1beta1", "freshness": "Current", "resources": [
                {"resource": "jobs", "responseKind": {"kind": "Job"}, "scope": "Namespaced", "verbs": ["get"]}]}
        ]}]}));
        let version = |asked| {
            kinds
                .find("batch", "Job", asked)
                .map(|found| found.version.clone())
        };
        assert_eq!(version(None).as_deref(), Some("v1"));
        assert_eq!(version(Some("v1beta1")).as_deref(), Some("v1beta1"));
        assert_eq!(
            kinds
                .find("batch", "Job", None)
                .map(|found| found.path(Some("a")))
                .as_deref(),
            Some("/apis/batch/v1/namespaces/a/jobs")
        );
    }

    #[test]
    fn a_group_that_does_not_answer_is_unknown() {
        let mut kinds = Kinds::default();
        kinds.read_aggregated(
            &json!({"items": [{"metadata": {"name": "metrics.k8s.io"}, "versions": [
            {"version": "v1beta1", "freshness": "Stale", "resources": []}]}]}),
        );
        assert!(kinds.is_stale("metrics.k8s.io"));
        assert!(kinds.find("metrics.k8s.io", "PodMetrics", None).is_none());
        // Charts see it as it was: an outage of a metrics server is no other cluster.
        let before = [
            "metrics.k8s.io/v1beta1/PodMetrics".to_owned(),
            "gone/v1/Kind".to_owned(),
        ];
        assert_eq!(
            kinds.api_versions(&before),
            ["metrics.k8s.io/v1beta1", "metrics.k8s.io/v1beta1/PodMetrics"]
        );
    }
}
