//! One variant = one call to the API server.

use std::fmt;
use std::sync::Arc;

use super::world::Body;
use crate::clock::Timestamp;
use crate::names::ObjectKey;

/// The field manager of everything that we apply.
pub const MANAGER: &str = "driftless";

/// A call that changes a cluster.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Server-side apply. `uid` is sent along where the object exists, so that one that was deleted and made again in
    /// between is a conflict, never overwritten. Fields of others were taken out before (or are taken over on purpose), so
    /// conflicts are forced.
    Apply {
        key: ObjectKey,
        body: Arc<Body>,
        uid: Option<String>,
    },
    /// Hands the fields that `kubectl apply` owns to us, so that a field removed in Git is removed live.
    TakeOver {
        key: ObjectKey,
        api_version: String,
        uid: String,
        resource_version: String,
        /// The entries of `managedFields` afterwards.
        managed_fields: Arc<Body>,
    },
    /// Deletes this very object, with all that depends on it (foreground).
    Delete { key: ObjectKey, uid: String },
    /// Deletes a pod that keeps a StatefulSet from going back.
    DeletePod {
        namespace: String,
        name: String,
        uid: String,
    },
    /// Starts a workload's pods anew, as `kubectl rollout restart` does it: a time in the template's annotations, under a
    /// field manager of its own, so that it is no part of what Git owns.
    Restart {
        key: ObjectKey,
        uid: String,
        at: Timestamp,
    },
    /// Writes which objects the app has into its inventory object.
    PutInventory {
        namespace: String,
        name: String,
        body: Arc<Body>,
    },
    /// Removes the inventory object.
    RemoveInventory { namespace: String, name: String },
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Apply { key, .. } => write!(f, "apply {key}"),
            Op::TakeOver { key, .. } => write!(f, "take over the fields of {key}"),
            Op::Restart { key, .. } => write!(f, "restart {key}"),
            Op::Delete { key, .. } => write!(f, "delete {key}"),
            Op::DeletePod { namespace, name, .. } => write!(f, "delete Pod/{namespace}/{name}"),
            Op::PutInventory { namespace, name, .. } => write!(f, "write the inventory {namespace}/{name}"),
            Op::RemoveInventory { namespace, name } => write!(f, "remove the inventory {namespace}/{name}"),
        }
    }
}
