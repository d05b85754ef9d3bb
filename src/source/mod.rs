//! Git → [`Checkout`].
//!
//! In: a location, a ref, a place for mirrors, credentials. Out: the commit a ref points to, and an immutable view of it.
//! Guaranteed: the network is touched only by a `git` child that can be killed, with a deadline and a cap on its output; an
//! unchanged remote costs one `git ls-remote` of one ref; every way a repository can fail is a typed [`SourceError`] and
//! changes nothing live. Must not: run anything a repository names (hooks, filters, submodules), or show a credential.
//!
//! ```text
//! Location ──┬─ local ──── git2, in place ───────────────┐
//!            └─ remote ─── git child ── bare mirror ─────┴─ git2 by object id ── Checkout
//! ```

pub mod path;
pub mod location;
pub mod reference;
pub mod checkout;
mod tree;
mod workdir;
pub mod error;
mod classify;
pub mod child;
pub mod local;
mod mirror;
pub mod watch;
pub mod git;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

pub use checkout::{
    Blob, Checkout, CheckoutError, DEFAULT_FILE_CAP, Entry, EntryKind, Input, Inputs, Listing, ObjectId,
    Origin,
};
pub use error::{ErrorKind, SourceError};
pub use git::GitSource;
pub use local::Uncommitted;
pub use location::{Location, LocationError, RemoteUrl};
pub use path::{PathError, RepoPath};
pub use reference::{GitRef, RefError};
pub use watch::{Watch, WatchError};

use crate::clock::Timestamp;
use crate::names::Revision;
use crate::secret::Secret;

/// Where desired state comes from.
#[async_trait]
pub trait Source: Send + Sync {
    /// The commit that the followed ref points to now.
    async fn resolve(&self) -> Result<Resolved, SourceError>;
    /// A view of a commit; fetched if it is not here yet.
    async fn checkout(&self, revision: &Revision) -> Result<Checkout, SourceError>;
}

/// What a ref points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The commit.
    pub revision: Revision,
    /// The full name of the branch or tag, `None` for a commit or a detached HEAD.
    pub branch: Option<String>,
    /// The default branch that HEAD named before, where the remote renamed it. It is followed, and said.
    pub renamed_from: Option<String>,
}

/// How a ref moved between two commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Movement {
    /// Not at all.
    Unchanged,
    /// Forward: the new commit has the old one in its history.
    Advanced,
    /// History was rewritten; `back` when the new commit is an ancestor of the old one.
    Forced {
        /// Whether it only went back.
        back: bool,
    },
    /// The two share no history.
    Unrelated,
}

/// What is shown of a commit; control characters are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its id.
    pub id: Revision,
    /// The first line of its message.
    pub subject: String,
    /// The author's name.
    pub author: String,
    /// When it was committed.
    pub time: Timestamp,
}

/// How a remote lets us in.
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    /// Nothing is sent.
    #[default]
    Anonymous,
    /// What the person's own Git uses: the credential helpers and settings of `~/.gitconfig`, `~/.ssh`, the agent. For the CLI.
    Ambient,
    /// A user name and a password or token, for `https`.
    Basic {
        /// The user name; forges that take a token ignore it.
        user: String,
        /// The password or token. It reaches `git` through its environment only.
        password: Secret<String>,
    },
    /// A private key file, for `ssh`.
    SshKey {
        /// The file; `ssh` demands that only its owner may read it.
        file: PathBuf,
    },
}

/// Variables that `git` and `ssh` may see; nothing else of the environment reaches them.
pub const PASSED_VARIABLES: &[&str] = &[
    "PATH",
    "HOME",
    "XDG_CONFIG_HOME",
    "SSH_AUTH_SOCK",
    "TMPDIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
];

/// The environment of the `git` child: made from nothing.
#[derive(Clone)]
pub struct GitEnvironment(Vec<(OsString, OsString)>);

impl GitEnvironment {
    /// Keeps those of `variables` that are on [`PASSED_VARIABLES`].
    pub fn from_variables(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut kept: Vec<_> = variables
            .into_iter()
            .filter(|(name, _)| name.to_str().is_some_and(|name| PASSED_VARIABLES.contains(&name)))
            .collect();
        if !kept.iter().any(|(name, _)| name == "PATH") {
            kept.extend(Self::default().0);
        }
        Self(kept)
    }

    pub(crate) fn pairs(&self) -> &[(OsString, OsString)] {
        &self.0
    }
}

impl Default for GitEnvironment {
    fn default() -> Self {
        Self(vec![(
            "PATH".into(),
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
        )])
    }
}

/// Names only: a proxy's address may hold a password.
impl std::fmt::Debug for GitEnvironment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// Bounds on what a remote can make us take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// The most bytes of a child's standard output (a list of refs).
    pub output: u64,
    /// The most bytes of one file.
    pub file: u64,
    /// How many commits of history a fetch brings.
    pub depth: u32,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            output: 16 * 1024 * 1024,
            file: DEFAULT_FILE_CAP,
            depth: 50,
        }
    }
}

/// Everything a source needs to be opened.
#[derive(Debug, Clone)]
pub struct SourceSpec {
    /// Where it is.
    pub location: Location,
    /// What is followed.
    pub reference: GitRef,
    /// Where mirrors of remotes live: `<state>/mirrors`.
    pub mirror_dir: PathBuf,
    /// How a remote lets us in.
    pub credentials: Credentials,
    /// The known_hosts file for `ssh`; `None`: ssh's own.
    pub known_hosts: Option<PathBuf>,
    /// What the children may see.
    pub environment: GitEnvironment,
    /// How long one `git` process may take.
    pub deadline: Duration,
    /// Bounds.
    pub caps: Caps,
}

impl SourceSpec {
    /// A source with the defaults: HEAD, anonymous, a minute for each process.
    pub fn new(location: Location, mirror_dir: impl Into<PathBuf>) -> Self {
        Self {
            location,
            reference: GitRef::Head,
            mirror_dir: mirror_dir.into(),
            credentials: Credentials::default(),
            known_hosts: None,
            environment: GitEnvironment::default(),
            deadline: Duration::from_secs(60),
            caps: Caps::default(),
        }
    }
}
