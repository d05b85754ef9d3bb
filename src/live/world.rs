//! What is read from a target and how it is written: the values and the one trait between the decisions and the world.
//!
//! In: an [`Ask`] (what to look at) and [`Op`]s (what to do). Out: [`Observed`], [`Receipt`]s. Guaranteed: one observation
//! reads everything once, so planning needs no further call; one `Op` is one API call. Must not: decide anything.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::live::LiveError;
use crate::live::docker::op::{Op, Symbol};
use crate::live::kubernetes;
use crate::live::kubernetes::world::OwnedObject;
use crate::names::{AppKey, Digest, InstanceName, ObjectKey, ProjectName, Revision, ServiceName, TargetId};
use crate::secret::MASKED;

/// A target, as the loop sees it: read all, do one.
#[async_trait]
pub trait Target: Send + Sync {
    /// Its name for people, as `docker:nas`.
    fn name(&self) -> &str;
    /// The engine's own id, as at the connect.
    fn id(&self) -> &TargetId;
    /// Reads everything of an app in the fewest calls. An error is *unknown*, never *empty*.
    async fn observe(&self, ask: &Ask) -> Result<Observed, LiveError>;
    /// Does one thing: exactly one API call.
    async fn execute(&self, op: &Op, symbols: &Symbols) -> Result<Receipt, LiveError>;
    /// Reads these containers again; one that is gone is left out. The caller names its own: `owner` is `Ours` for whatever
    /// Driftless made, and `Unmanaged` for the rest.
    async fn inspect(&self, ids: &[ContainerId]) -> Result<Vec<Container>, LiveError>;
    /// The last `tail` lines that a container printed, oldest first, both streams.
    async fn logs(&self, id: &ContainerId, tail: usize) -> Result<Vec<String>, LiveError>;
    /// Whether somebody asked the engine to stop, kill, pause or remove this container since `since` (from the engine's
    /// own events: a `kill` before the `die`). What a person did is no proof against a release.
    async fn stopped_by_hand(&self, id: &ContainerId, since: Timestamp) -> Result<bool, LiveError>;
    /// The exit code of this container's last end since `since`, from the engine's own events: while it runs again the engine
    /// shows none. `None`: no end is remembered.
    async fn last_exit(&self, id: &ContainerId, since: Timestamp) -> Result<Option<i64>, LiveError>;
    /// `GET path` at a container's address, for an app's HTTP probe: the status, or why there is none as masked text.
    async fn probe(&self, container: &Container, port: u16, path: &str) -> Result<u16, String>;
}

/// What an observation has to answer.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Who asks.
    pub instance: InstanceName,
    /// The app.
    pub key: AppKey,
    /// Its Compose project.
    pub project: ProjectName,
    /// Images whose meaning here is needed, by reference (as written, `name@sha256:…`, or an image id).
    pub images: BTreeMap<String, ImageAsk>,
}

/// How one image is looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageAsk {
    /// `linux/arm64`; `None` is the engine's own.
    pub platform: Option<String>,
    /// Ask the registry even when the engine has the image (decision 1).
    pub registry: Lookup,
}

/// Whether an image's registry is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lookup {
    /// Only when the engine does not have it.
    #[default]
    WhenAbsent,
    Always,
    Never,
}

/// Everything of one app on one engine at one moment.
#[derive(Debug, Clone)]
pub struct Observed {
    pub at: Timestamp,
    pub engine: Engine,
    /// Containers of this project or this app, parked ones included; sorted by name.
    pub containers: Vec<Container>,
    /// All networks that bear this project's labels, or whose name the ask could mean; by live name.
    pub networks: BTreeMap<String, LiveNetwork>,
    /// Likewise volumes; by live name.
    pub volumes: BTreeMap<String, LiveVolume>,
    /// What the asked images mean here and now.
    pub images: BTreeMap<String, ImageFact>,
    /// Host ports and names held by any container of the engine, ours included.
    pub holders: Vec<Holder>,
    /// Everything of one app on a cluster. The containers above are then empty.
    pub cluster: Option<Arc<kubernetes::world::Observed>>,
}

/// Facts about the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    pub id: TargetId,
    /// The engine's version, as `28.5.2`.
    pub version: String,
    /// The API version in use, as (1, 41).
    pub api: (u16, u16),
    /// `linux/amd64`.
    pub platform: String,
    /// Whether it runs on this machine (a Unix socket), so that files and container addresses are reachable.
    pub local: bool,
}

/// An engine's container id (64 hex digits).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerId(pub Arc<str>);

impl ContainerId {
    /// The first twelve digits, as `docker ps` shows them.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// One container as it is.
#[derive(Debug, Clone)]
pub struct Container {
    pub id: ContainerId,
    /// Without the leading slash.
    pub name: String,
    /// The service that its labels name; empty when none does.
    pub service: String,
    /// The container number (`com.docker.compose.container-number`), 1 when absent.
    pub index: u32,
    pub owner: Owner,
    /// The spec digest on its label, if it is ours.
    pub spec: Option<Digest>,
    pub state: State,
    pub exit_code: Option<i64>,
    pub oom_killed: bool,
    /// The engine's own error text for the last start.
    pub error: String,
    pub restart_count: u64,
    pub created_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub health: Health,
    /// Exit code and output of the last healthcheck.
    pub last_check: Option<(i64, String)>,
    /// The id of the image it was made from.
    pub image_id: String,
    /// The image reference it was made with.
    pub image_ref: String,
    pub restart: Restart,
    pub limits: Limits,
    /// Networks it is attached to, by network name.
    pub endpoints: BTreeMap<String, LiveEndpoint>,
    /// The whole inspect reply, for comparing containers that we did not make (docker.md §3).
    pub inspect: Inspect,
}

/// An engine's inspect reply, parsed only when somebody asks: most observations never do, and parsing every reply whole
/// would cost more than reading it. It holds environments, so it can't be printed.
#[derive(Clone)]
pub struct Inspect(Arc<Reply>);

struct Reply {
    raw: Bytes,
    parsed: OnceLock<serde_json::Value>,
}

impl Inspect {
    /// The reply as it came.
    pub fn raw(raw: Bytes) -> Self {
        Self(Arc::new(Reply {
            raw,
            parsed: OnceLock::new(),
        }))
    }

    /// The reply as JSON; `null` if it is none. Every use is a place to review, as with [`crate::secret::Secret::expose`].
    pub fn expose(&self) -> &serde_json::Value {
        self.0
            .parsed
            .get_or_init(|| serde_json::from_slice(&self.0.raw).unwrap_or_default())
    }
}

impl From<serde_json::Value> for Inspect {
    fn from(value: serde_json::Value) -> Self {
        Self(Arc::new(Reply {
            raw: Bytes::new(),
            parsed: OnceLock::from(value),
        }))
    }
}

impl fmt::Debug for Inspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASKED)
    }
}

impl Container {
    /// Whether its processes run (paused ones exist but do not run).
    pub fn running(&self) -> bool {
        self.state == State::Running
    }

    /// An address at which this machine can reach it, if the engine is local and it has one.
    pub fn address(&self) -> Option<IpAddr> {
        self.endpoints.values().find_map(|endpoint| endpoint.ip)
    }
}

/// Whose container it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// This instance's and this app's.
    Ours,
    /// This instance's, but of another app that claims the same project.
    OtherApp(AppKey),
    /// Another Driftless instance's.
    OtherInstance(String),
    /// In the project by Compose's labels, without ours: made by `docker compose`.
    Unmanaged,
}

/// A container's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
    /// A state this version does not know (Podman has more).
    Other(String),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Created => "created",
            State::Running => "running",
            State::Paused => "paused",
            State::Restarting => "restarting",
            State::Removing => "removing",
            State::Exited => "exited",
            State::Dead => "dead",
            State::Other(other) => other,
        })
    }
}

/// What the engine's healthcheck says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// There is no check.
    None,
    Starting,
    Healthy,
    Unhealthy,
}

/// A live restart policy; no name is `no`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    pub name: String,
    pub max_retries: i64,
}

/// The changeable limits of a live container, as inspect shows them: zero and -1 and absent all mean "not set" and are
/// normalised to `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    pub nano_cpus: Option<i64>,
    pub cpu_shares: Option<i64>,
    pub cpu_period: Option<i64>,
    pub cpu_quota: Option<i64>,
    pub cpuset: Option<String>,
    pub memory: Option<i64>,
    /// -1 (no limit) is kept.
    pub memory_swap: Option<i64>,
    pub memory_reservation: Option<i64>,
    pub pids_limit: Option<i64>,
    pub blkio_weight: Option<u16>,
}

/// How a live container is attached to a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveEndpoint {
    pub network_id: String,
    /// Sorted; without the container's own short id and name.
    pub aliases: Vec<String>,
    /// The configured static address, if any.
    pub ipv4_address: Option<String>,
    /// The address it has now (not part of any comparison).
    pub ip: Option<IpAddr>,
}

/// A live network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveNetwork {
    pub id: String,
    pub name: String,
    pub owner: Ownership,
    pub spec: Option<Digest>,
    /// Ids of attached containers, any project's.
    pub attached: Vec<ContainerId>,
    pub inspect: Arc<serde_json::Value>,
}

/// A live volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveVolume {
    pub name: String,
    pub owner: Ownership,
    pub spec: Option<Digest>,
    pub inspect: Arc<serde_json::Value>,
}

/// Whose network or volume it is, with its key in the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    pub owner: Owner,
    /// `com.docker.compose.network` / `.volume`; empty when it has none.
    pub key: String,
    /// Whether it bears this project's label at all (an external one does not).
    pub in_project: bool,
}

/// What an image reference means here and now.
#[derive(Debug, Clone, PartialEq)]
pub enum ImageFact {
    /// The engine has it.
    Local(LocalImage),
    /// The engine does not have it; the registry answers with this digest (`sha256:…`).
    Remote { digest: String },
    /// Neither has it, or the registry can't be asked.
    Absent(LiveErrorText),
}

/// An image in the engine's store.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalImage {
    /// The engine's id.
    pub id: String,
    /// `name@sha256:…`, empty when it exists nowhere else.
    pub repo_digests: Vec<String>,
    /// When the registry was asked too: its digest.
    pub registry: Option<String>,
    /// `Config` of the image, as inspect shows it.
    pub config: Arc<serde_json::Value>,
    /// `linux/amd64`.
    pub platform: String,
}

/// Why an image can't be had, as text and kind (an error value that can be compared and kept in an observation).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveErrorText {
    /// The diagnostic code, as `E0510`.
    pub code: String,
    pub message: String,
    /// Whether asking again later may help (a registry that is down), or a commit or the operator is needed.
    pub retry: bool,
}

/// A container of the engine that holds a name and maybe host ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub id: ContainerId,
    pub name: String,
    pub project: String,
    pub running: bool,
    /// Host ports: address (empty: all), port, protocol.
    pub ports: Vec<(String, u16, String)>,
}

/// What a run made, by the symbols that later steps use.
#[derive(Debug, Clone, Default)]
pub struct Symbols(BTreeMap<Symbol, ContainerId>);

impl Symbols {
    /// Notes what a symbol stands for from now on.
    pub fn set(&mut self, symbol: Symbol, id: ContainerId) {
        self.0.insert(symbol, id);
    }

    /// What it stands for.
    pub fn get(&self, symbol: &Symbol) -> Option<&ContainerId> {
        self.0.get(symbol)
    }
}

/// What an engine answered to one op.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The id of what was made, if something was.
    pub id: Option<String>,
    /// The engine's warnings, masked by the caller.
    pub warnings: Vec<String>,
    /// For an image pull: the image's id.
    pub image: Option<String>,
}

/// What this instance knows that it made or took over, from its store (rebuilt from labels when the store is gone).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    pub containers: BTreeMap<ContainerId, OwnedContainer>,
    /// Live names of networks that we made or adopted → spec digest.
    pub networks: BTreeMap<String, Digest>,
    /// Live names of volumes that we made or adopted → spec digest.
    pub volumes: BTreeMap<String, Digest>,
    /// One-shots that succeeded: what they ran with. Success is final for it.
    pub jobs: BTreeMap<ServiceName, JobDone>,
    /// Objects of a cluster that we made or took over.
    #[serde(default)]
    pub objects: BTreeMap<ObjectKey, OwnedObject>,
    /// True when there was no store and this was read from labels: holds and baselines are unknown.
    #[serde(default)]
    pub rebuilt: bool,
}

/// A container that we made or took over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedContainer {
    pub service: ServiceName,
    pub index: u32,
    /// The spec that it effectively has: its label's, or what in-place updates made of it.
    pub spec: Digest,
    /// The commit of the release that it serves or served.
    pub revision: Revision,
    /// Parked: the stopped container of the previous stable release, and that release's digest.
    pub parked: Option<Digest>,
    pub baseline: Baseline,
}

/// What can change about a container during its life (decision 4), as it was right after we last wrote to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    pub name: String,
    pub image_id: String,
    pub restart: Restart,
    pub limits: Limits,
    pub endpoints: BTreeMap<String, LiveEndpoint>,
}

impl Baseline {
    /// The baseline of `container` as it is now. Addresses are left out: they change with every start.
    pub fn of(container: &Container) -> Self {
        let mut endpoints = container.endpoints.clone();
        endpoints.values_mut().for_each(|endpoint| endpoint.ip = None);
        Self {
            name: container.name.clone(),
            image_id: container.image_id.clone(),
            restart: container.restart.clone(),
            limits: container.limits.clone(),
            endpoints,
        }
    }
}

/// What a one-shot succeeded with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDone {
    pub spec: Digest,
    pub image_id: String,
    pub at: Timestamp,
}
