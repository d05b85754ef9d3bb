//! What can be done to an engine: the closed list. One variant is exactly one API call.
//!
//! In: decisions of `plan/docker`. Out: nothing here; `execute.rs` sends them. Guaranteed: nothing outside this list is
//! ever sent; `Debug` and `Display` show no secret. Must not: carry a choice (an `if` at execution belongs to the plan).

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::live::world::ContainerId;
use crate::secret::Secret;

/// A container that an earlier step of the same plan makes, as `api-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(pub Arc<str>);

/// A container that exists, or that an earlier step makes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContainerRef {
    /// It exists.
    Id { id: ContainerId, name: String },
    /// An earlier step makes it.
    New { symbol: Symbol, name: String },
}

impl fmt::Display for ContainerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContainerRef::Id { name, .. } | ContainerRef::New { name, .. } => f.pad(name),
        }
    }
}

/// One API call.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// `POST /images/create`. `reference` is pinned (`name@sha256:…`) where a digest is known. The engine then also gets
    /// no tag; containers are made by image id.
    PullImage {
        reference: String,
        platform: Option<String>,
    },
    /// `POST /networks/create`
    CreateNetwork { name: String, body: Value },
    /// `POST /volumes/create`
    CreateVolume { name: String, body: Value },
    /// `POST /containers/create`. `body` is the whole create request as the API documents it (`HostConfig` and
    /// `NetworkingConfig` included). In it the text `@symbol:NAME@` stands for the id of another symbol's container
    /// (`container:@symbol:api-1@` in a network mode).
    CreateContainer {
        symbol: Symbol,
        name: String,
        body: Secret<Value>,
        platform: Option<String>,
    },
    /// `PUT /containers/{id}/archive?path=<root>`: configs and secrets, before the first start. All files lie below `root`:
    /// `/`, or the place of a volume when the root file system is read-only.
    CopyFiles {
        container: ContainerRef,
        root: String,
        files: Vec<CopyFile>,
    },
    /// `POST /networks/{name}/connect` with full endpoint settings.
    ConnectNetwork {
        network: String,
        container: ContainerRef,
        endpoint: Value,
    },
    /// `POST /networks/{name}/disconnect`
    DisconnectNetwork {
        network: String,
        container: ContainerRef,
    },
    /// `POST /containers/{id}/start`
    Start { container: ContainerRef },
    /// `POST /containers/{id}/stop`; `grace` in seconds, `None` is the container's own.
    Stop {
        container: ContainerRef,
        grace: Option<i64>,
    },
    /// `POST /containers/{id}/restart`
    Restart {
        container: ContainerRef,
        grace: Option<i64>,
    },
    /// `POST /containers/{id}/pause`
    Pause { container: ContainerRef },
    /// `POST /containers/{id}/unpause`
    Unpause { container: ContainerRef },
    /// `POST /containers/{id}/rename`
    Rename { container: ContainerRef, to: String },
    /// `POST /containers/{id}/update`: limits and restart policy.
    Update { container: ContainerRef, body: Value },
    /// `DELETE /containers/{id}`; never with its volumes (`v=0`). `force` kills a running one.
    RemoveContainer { container: ContainerRef, force: bool },
    /// `DELETE /networks/{name}`
    RemoveNetwork { name: String },
    /// `DELETE /volumes/{name}`: only by a command that names the volume (decision 25).
    RemoveVolume { name: String },
}

/// One file that is copied into a container.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyFile {
    /// Absolute path in the container.
    pub path: String,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub content: Secret<Arc<[u8]>>,
}

impl fmt::Display for Op {
    /// One line for the journal and verbose output: what is called on what, without bodies.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::PullImage { reference, .. } => write!(f, "pull image {reference}"),
            Op::CreateNetwork { name, .. } => write!(f, "create network {name}"),
            Op::CreateVolume { name, .. } => write!(f, "create volume {name}"),
            Op::CreateContainer { name, .. } => write!(f, "create container {name}"),
            Op::CopyFiles { container, files, .. } => {
                write!(f, "copy {} files into {container}", files.len())
            }
            Op::ConnectNetwork {
                network, container, ..
            } => write!(f, "connect {container} to {network}"),
            Op::DisconnectNetwork { network, container } => {
                write!(f, "disconnect {container} from {network}")
            }
            Op::Start { container } => write!(f, "start {container}"),
            Op::Stop { container, .. } => write!(f, "stop {container}"),
            Op::Restart { container, .. } => write!(f, "restart {container}"),
            Op::Pause { container } => write!(f, "pause {container}"),
            Op::Unpause { container } => write!(f, "unpause {container}"),
            Op::Rename { container, to } => write!(f, "rename {container} to {to}"),
            Op::Update { container, .. } => write!(f, "update {container} in place"),
            Op::RemoveContainer { container, .. } => write!(f, "remove container {container}"),
            Op::RemoveNetwork { name } => write!(f, "remove network {name}"),
            Op::RemoveVolume { name } => write!(f, "remove volume {name}"),
        }
    }
}
