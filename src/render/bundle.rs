//! The normalised Kubernetes objects of one app: what it asks of a cluster.
//!
//! In: built by `render/manifests` from files or from a renderer's output, or read back from a sealed release record. Out:
//! values with one spelling for each meaning, sorted. Guaranteed: every object has an API version, a kind and a name, each
//! key once; `serde` round trip without loss; `Debug` shows no field of any object. Must not: hold live state, or know which
//! kinds are namespaced (only the cluster does).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::document::Place;
use crate::names::ObjectKey;

/// All objects of one app.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    /// The namespace of objects that name none, where the app's target gives one (`target: prod/blog`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Sorted by key. An object without a namespace of its own has `None` here, cluster-scoped or not.
    pub objects: Vec<Manifest>,
    /// What rendered them, where something did: `kustomize v5.8.2`, `helm v3.22.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renderer: Option<String>,
}

/// One object as desired.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its identity as written.
    pub key: ObjectKey,
    /// `apiVersion` as written, as `apps/v1`.
    pub api_version: String,
    /// The whole object, `apiVersion`, `kind` and `metadata` included, without `status` and without what only a server
    /// sets (`metadata.uid`, `resourceVersion`, `generation`, `creationTimestamp`, `managedFields`).
    pub value: Value,
    /// Where it is written: the document's place, for rendered output the template's or the kustomization's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The same number applies before the next one starts (`driftless.dev/wave`, `argocd.argoproj.io/sync-wave`); 0 by default.
    #[serde(default)]
    pub wave: i32,
    /// When it runs, if it is not simply part of the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<Hook>,
}

/// A hook's moment, from `driftless.dev/hook`, `argocd.argoproj.io/hook` or `helm.sh/hook`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Before everything else; its failure fails the release.
    Pre,
    /// After everything else is healthy.
    Post,
    /// Only while rolling back.
    Rollback,
}

impl Manifest {
    /// An annotation's value.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.value
            .get("metadata")?
            .get("annotations")?
            .get(name)?
            .as_str()
    }
}

/// The key only: an object's fields may be secret.
impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manifest")
            .field("key", &self.key)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
