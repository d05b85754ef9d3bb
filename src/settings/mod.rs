//! The operator's own configuration: `config.yaml`, the environment, the flags.
//!
//! In: one file, the environment and the flags as values. Out: [`Settings`], each value with its [`Origin`].
//! Guaranteed: flag > environment > file > default; an unknown or unusable setting is an error with its place, never
//! ignored; secret values are given by file or environment only, and are never shown. Must not: print, connect to
//! anything, or know what a repository declares (that is `driftless.yaml`, decision 10).
//!
//! ```yaml
//! instance: nas                   # the name written on everything this instance owns; default: the host name
//! state: /var/lib/driftless       # default: ~/.local/state/driftless
//! state_key_file: /etc/driftless/state.key
//! interval: 1m                    # how often sources are polled
//! log_format: auto                # auto | text | json
//! vars: vars                      # <vars>/<app>.env; default: beside this file
//! secrets: secrets                # <secrets>/<app>/<name>
//! sources:
//!   - name: infra
//!     url: https://git.example.com/acme/infra.git
//!     ref: main
//!     interval: 30s
//!     auth: { username: deploy, token_file: /etc/driftless/git-token }
//!     targets: [nas]              # the targets that it may deploy to; default: all
//! targets:
//!   nas: { docker: unix:///var/run/docker.sock }      # default | a context's name | unix:// | tcp://
//!   prod:
//!     kubernetes: prod-eu         # a context of the kubeconfig, `current`, or `in-cluster`
//!     kubeconfig: prod.kubeconfig # default: KUBECONFIG, ~/.kube/config
//!     namespace: shop             # of objects that name none
//!     exec: true                  # lets `serve` run the program that the kubeconfig names for credentials
//!     service_account: deployer   # what apps act as: of the app's namespace, or NAMESPACE/NAME
//!     choose_account: true        # a repository may name another one
//!     lease: { namespace: driftless-system, duration: 30s }   # what keeps two processes of this instance apart
//! allow:
//!   proxy: [host-network]         # what `serve` denies unless it is named here, by app
//! ```

mod duration;
mod file;
mod resolve;
mod show;
mod targets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::document::Place;
use crate::names::{AppName, InstanceName};
use crate::secret::Secret;

pub use duration::{parse_duration, show_duration};
pub use resolve::{ENVIRONMENT, Flags, Inputs};
pub use show::Row;
pub use targets::{ClusterAt, ClusterSetting, Platform, TargetSetting};

/// What an app can be allowed to reach of its host (decision 29); the names are those of `gate::host`.
pub const ALLOWABLE: &[&str] = &[
    "privileged",
    "host-network",
    "host-pid",
    "host-ipc",
    "host-namespaces",
    "engine-socket",
    "host-files",
    "devices",
    "capabilities",
    "unconfined",
];

/// Everything that an operator can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The `config.yaml` that was read, if there is one.
    pub file: Option<PathBuf>,
    pub instance: Set<InstanceName>,
    /// The state folder.
    pub state: Set<PathBuf>,
    /// What release snapshots are sealed with; `None`: `state.key` in the state folder.
    pub state_key_file: Set<Option<PathBuf>>,
    /// How often sources are polled, unless a source says otherwise.
    pub interval: Set<Duration>,
    pub log_format: Set<LogFormat>,
    /// Holds `<app>.env`.
    pub vars: Set<PathBuf>,
    /// Holds `<app>/<name>`.
    pub secrets: Set<PathBuf>,
    /// What is followed. With `--repo` or `DRIFTLESS_REPO` it is that one alone.
    pub sources: Vec<SourceSetting>,
    /// By name.
    pub targets: BTreeMap<String, TargetSetting>,
    /// `--target` or `DRIFTLESS_TARGET`: a name in `targets`, or what one would hold.
    pub target: Set<Option<String>>,
    /// By app: names on [`ALLOWABLE`].
    pub allow: BTreeMap<AppName, Set<Vec<String>>>,
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set<T> {
    pub value: T,
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(Place),
    /// The variable.
    Environment(&'static str),
    /// The flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.pad("default"),
            Origin::File(place) => f.pad(&place.to_string()),
            Origin::Environment(name) | Origin::Flag(name) => f.pad(name),
        }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    Text,
    Json,
}

impl LogFormat {
    pub(crate) const WORDS: &'static [&'static str] = &["auto", "text", "json"];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            LogFormat::Auto => "auto",
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

/// A repository to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSetting {
    pub name: Option<String>,
    /// As written; it holds no credential.
    pub url: String,
    /// Branch, tag or commit; `None`: the remote's HEAD.
    pub reference: Option<String>,
    /// `None`: [`Settings::interval`].
    pub interval: Option<Duration>,
    pub auth: Auth,
    /// Names in [`Settings::targets`] that it may deploy to; empty: all.
    pub targets: Vec<String>,
    pub origin: Origin,
}

/// How a source lets us in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Auth {
    pub username: Option<String>,
    pub password: Option<SecretFrom>,
    pub token: Option<SecretFrom>,
    pub ssh_key_file: Option<PathBuf>,
    pub known_hosts_file: Option<PathBuf>,
}

impl Auth {
    /// User name and password, or the token in the password's place, read now: a changed file counts at its next use.
    pub fn basic(&self) -> Result<Option<(String, Secret<String>)>, SecretError> {
        let Some(from) = self.token.as_ref().or(self.password.as_ref()) else {
            return Ok(None);
        };
        // Forges that take a token ignore the user name, but Git needs one.
        let user = self.username.clone().unwrap_or_else(|| "driftless".to_owned());
        Ok(Some((user, from.read()?)))
    }

    /// Whether nothing is configured.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFrom {
    /// Given by the environment.
    Value(Secret<String>),
    File(PathBuf),
}

impl SecretFrom {
    /// The secret; line ends at its end are not part of it.
    pub fn read(&self) -> Result<Secret<String>, SecretError> {
        match self {
            SecretFrom::Value(secret) => Ok(secret.clone()),
            SecretFrom::File(path) => read_secret(path).map(Secret::new).map_err(|source| SecretError {
                path: path.clone(),
                source,
            }),
        }
    }
}

/// An empty secret is a file that was not filled yet, never a password.
fn read_secret(path: &Path) -> io::Result<String> {
    let text = std::fs::read_to_string(path)?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty")),
        secret => Ok(secret.to_owned()),
    }
}

/// A file with a secret can't be read.
#[derive(Debug, thiserror::Error)]
#[error("read the secret in `{}`", path.display())]
pub struct SecretError {
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

impl Settings {
    /// The operator's variables for an app: `<vars>/<app>.env`. It need not exist.
    pub fn vars_file(&self, app: &AppName) -> PathBuf {
        self.vars.value.join(format!("{app}.env"))
    }

    /// The folder of the operator's secret files for an app. It need not exist.
    pub fn secrets_dir(&self, app: &AppName) -> PathBuf {
        self.secrets.value.join(app.as_str())
    }

    /// What `serve` may let an app reach of its host.
    pub fn allowed(&self, app: &AppName) -> &[String] {
        self.allow.get(app).map_or(&[], |set| &set.value)
    }

    /// How often a source is polled.
    pub fn interval_of(&self, source: &SourceSetting) -> Duration {
        source.interval.unwrap_or(self.interval.value)
    }

    /// The endpoint that `name` stands for: a configured target's, else `name` itself (a context or an address).
    pub fn endpoint<'a>(&'a self, name: &'a str) -> &'a str {
        match self.targets.get(name).map(|target| &target.platform) {
            Some(Platform::Docker(spec)) => spec,
            _ => name,
        }
    }
}

/// Joins a path that an operator wrote to the folder that it is relative to.
fn absolute(base: &Path, home: Option<&Path>, text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => base.join(text),
    }
}
