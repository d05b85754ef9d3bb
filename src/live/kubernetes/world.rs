//! What is read from a cluster and how it is written: the values and the one trait between the decisions and the API server.
//!
//! In: an [`Ask`] (what to look at) and [`Op`]s (what to do). Out: [`Observed`], [`Receipt`]s. Guaranteed: one observation
//! reads everything once, dry runs included, so planning needs no further call; one `Op` is one API call. What can't be read
//! is [`Seen::Unknown`], never absent. Must not: decide anything.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::Manager;
use super::lease::Keeper;
use super::logs::{LogAsk, Told};
use super::op::Op;
use crate::clock::Timestamp;
use crate::expand::Capabilities;
use crate::live::{LiveError, Refusal};
use crate::names::{AppKey, Digest, InstanceName, ObjectKey, TargetId};
use crate::render::bundle::Bundle;

/// A cluster, as the loop sees it: read all, do one.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// Its name for people, as `k8s:prod`.
    fn name(&self) -> &str;
    /// The UID of its namespace `kube-system`, as at the connect.
    fn id(&self) -> &TargetId;
    /// What a chart may know of it. Read once, and again when the answer is old.
    async fn capabilities(&self) -> Result<Capabilities, LiveError>;
    /// Reads everything of an app in the fewest calls. An error is *unknown*, never *empty*.
    async fn observe(&self, ask: &Ask<'_>) -> Result<Observed, LiveError>;
    /// Whether all these objects are as their last apply left them, by watches alone and without a call. `false` where
    /// nothing is watched, and where a watch proves nothing: then `observe` tells.
    fn as_left(&self, owned: &BTreeMap<ObjectKey, OwnedObject>) -> bool;
    /// Whether the server refused this connection's credentials: it has to be connected anew.
    fn is_refused(&self) -> bool;
    /// What says whether we may change it, where something does.
    fn keeper(&self) -> Option<&Arc<Keeper>> {
        None
    }
    /// Does one thing: exactly one API call.
    async fn execute(&self, op: &Op) -> Result<Receipt, LiveError>;
    /// Reads these objects again with what bears on their health: their pods, replica sets and events.
    async fn surroundings(&self, keys: &[ObjectKey]) -> Result<Surroundings, LiveError>;
    /// The last `tail` lines that a container of a pod printed, oldest first; of the one before it with `previous`.
    async fn logs(&self, container: &PodContainer, tail: usize) -> Result<Vec<String>, LiveError>;
    /// Tells what the containers of pods print whose controllers, or who themselves, are among `owners`; it returns when all is
    /// told, never when it is followed.
    async fn pod_logs(
        &self,
        owners: &[ObjectKey],
        ask: &LogAsk,
        tell: &mut (dyn for<'t> FnMut(Told<'t>) + Send),
    ) -> Result<(), LiveError>;
    /// `GET path` of a service's port through the API server's proxy, for an app's HTTP probe: the status, or why there is
    /// none as text.
    async fn probe(&self, namespace: &str, service: &str, port: u16, path: &str) -> Result<u16, String>;
}

/// What an observation has to answer.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub instance: &'a InstanceName,
    pub key: &'a AppKey,
    /// What is wanted.
    pub bundle: &'a Bundle,
    /// What we own, from the store.
    pub owned: &'a BTreeMap<ObjectKey, OwnedObject>,
    /// The release that is left by going to another one, and would be put back if that fails.
    pub back: Option<&'a Bundle>,
    /// Which differences are ignored, and whether other controllers' fields are taken.
    pub leave: &'a super::ownership::Leave,
    /// When it is asked.
    pub now: Timestamp,
}

/// Everything of one app on one cluster at one moment.
#[derive(Debug, Clone)]
pub struct Observed {
    pub at: Timestamp,
    pub cluster: ClusterFacts,
    /// The namespace of objects that name none.
    pub namespace: String,
    /// The wanted objects as they are sent, by their key with the namespace filled in, with what is live.
    pub wanted: BTreeMap<ObjectKey, Wanted>,
    /// What is live of objects that are ours and no longer wanted.
    pub others: BTreeMap<ObjectKey, Seen>,
    /// What the app's inventory object in the cluster lists; `None` where there is no such object.
    pub inventory: Option<BTreeMap<ObjectKey, String>>,
    /// Objects that can't be meant: two that are the same once the namespace is known, and the like.
    pub problems: Vec<(ObjectKey, String)>,
    /// Pods that keep a StatefulSet from going back, by the set: to be deleted after its template was put back.
    pub stuck: BTreeMap<ObjectKey, (String, String)>,
    /// Objects of [`Ask::back`] whose kind is no longer served in their version, and what is served: no way back.
    pub unserved: Vec<(ObjectKey, String)>,
}

/// Facts about the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFacts {
    /// The UID of the namespace `kube-system`.
    pub id: TargetId,
    /// As `v1.34.4`.
    pub version: String,
}

/// One wanted object.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What is sent: the manifest with our labels and its namespace, without what others own.
    pub body: Arc<Body>,
    pub seen: Seen,
    /// Fields of the manifest that are left to their owner, and who that is.
    pub left: Vec<(super::fields::Path, String)>,
    /// What would come of sending it; `None` when it was not asked because nothing moved.
    pub dry: Option<DryRun>,
}

/// An object as it is sent. It may hold secret values, so it can't be printed.
#[derive(Clone, PartialEq)]
pub struct Body(pub Value);

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::secret::MASKED)
    }
}

/// What is live under a key.
#[derive(Debug, Clone)]
pub enum Seen {
    Absent,
    /// Its kind is not served yet; the app brings the definition along.
    KindToCome,
    /// The cluster does not serve its kind in that version, and the app does not bring it; what it serves instead.
    NoKind(String),
    Live(Box<LiveObject>),
    /// It can't be read: never taken for absent.
    Unknown(String),
}

/// One live object.
#[derive(Clone)]
pub struct LiveObject {
    pub uid: String,
    pub resource_version: String,
    pub generation: Option<i64>,
    /// Whole, `managedFields` left out.
    pub value: Value,
    pub managers: Vec<Manager>,
    /// `managedFields` as they are, for a take-over.
    pub managed: Arc<Body>,
    pub belongs: Belongs,
    /// The digest of what we own of it.
    pub owned: Digest,
    /// Since when it is being deleted, and the finalizers it waits for.
    pub deleting: Option<(Option<Timestamp>, Vec<String>)>,
}

impl fmt::Debug for LiveObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveObject")
            .field("uid", &self.uid)
            .field("belongs", &self.belongs)
            .finish_non_exhaustive()
    }
}

/// Whose an object is, by inventory and by the marks on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Belongs {
    /// In our inventory with this UID, or marked as this app's and applied by our field manager.
    Ours,
    /// In our inventory with another UID: deleted and made again by somebody else.
    Recreated { before: String },
    /// Marked by another app of this instance.
    OtherApp(String),
    /// Marked by another Driftless instance.
    OtherInstance(String),
    /// Managed by another tool: its name, as `Argo CD`.
    Tool(String),
    /// Nobody's that we know: made by hand or by `kubectl apply`.
    Unmanaged,
}

/// What a dry run answered.
#[derive(Debug, Clone)]
pub enum DryRun {
    /// What the object would be.
    Would(Arc<Body>),
    /// The server would refuse it.
    Refused(Refusal),
    /// A field that can't be changed would be.
    Immutable(Refusal),
    /// The server refuses it for what somebody has set by hand. By itself it would be taken, and be this.
    Excluded(Arc<Body>),
    /// It can't be asked (forbidden, or a webhook that does no dry runs); the reason.
    NotPossible(String),
}

/// What came of one op.
#[derive(Debug, Clone, Default)]
pub struct Receipt {
    /// The server's warnings.
    pub warnings: Vec<String>,
    /// The object after an apply.
    pub object: Option<Applied>,
}

/// An object right after we applied it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub uid: String,
    pub generation: Option<i64>,
    /// The digest of what we own of it.
    pub owned: Digest,
}

/// An object that we made or took over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedObject {
    pub uid: String,
    /// The digest of what we last sent.
    pub sent: Digest,
    /// The digest of what we owned right after that.
    pub owned: Digest,
    /// The version it was sent in, as `apps/v1`.
    pub api_version: String,
    /// The generation that our last apply led to.
    #[serde(default)]
    pub generation: Option<i64>,
    /// A job that completed: it is not run again, whatever became of it.
    #[serde(default)]
    pub done: bool,
    /// It was there before we took it over: taking that back does not delete it.
    #[serde(default)]
    pub adopted: bool,
}

/// Objects with what bears on their health.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// `None`: it is gone.
    pub objects: BTreeMap<ObjectKey, Option<Value>>,
    /// ReplicaSets and ControllerRevisions.
    pub revisions: Vec<Value>,
    pub pods: Vec<Value>,
    pub events: Vec<Value>,
    pub nodes: Vec<Value>,
    /// StorageClasses, where a claim is among the objects.
    pub classes: Vec<Value>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("objects", &self.objects.keys())
            .field("pods", &self.pods.len())
            .finish_non_exhaustive()
    }
}

/// A container of a pod, for its log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodContainer {
    pub namespace: String,
    pub pod: String,
    pub container: Option<String>,
    /// The run before the last restart.
    pub previous: bool,
}
