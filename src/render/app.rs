//! An app as the repository declares it: where it lies, where it goes, and by which rules it is run.
//!
//! In: `driftless.yaml` or the folder conventions (`discover.rs`). Out: [`App`]. Guaranteed: names, durations and choices
//! are parsed; nobody downstream checks again. Must not: hold addresses or credentials of a target (those are the
//! operator's).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::document::Place;
use crate::expand::{Capabilities, Chart, Request};
use crate::names::{AppName, ServiceName};
use crate::source::RepoPath;

/// One folder of a source, deployed as one unit to one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// Its folder in the repository, `""` for the root.
    pub path: String,
    /// What was found there.
    pub kind: AppKind,
    /// The target that the repository names, if it does.
    pub target: Option<String>,
    /// Apps of the same source that must be healthy first.
    pub after: Vec<AppName>,
    /// Compose profiles that are enabled.
    pub profiles: Vec<String>,
    /// How it is run.
    pub rules: Rules,
    /// Where `driftless.yaml` declares it; `None` by convention.
    pub declared: Option<Place>,
}

/// What kind of manifests an app has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppKind {
    /// A Compose file, by its path in the repository.
    Compose { file: String },
    /// Kubernetes objects in YAML and JSON files.
    Manifests {
        /// The folder that holds them.
        folder: String,
        /// All YAML and JSON files of the app by their path in the repository, sorted. Whether each one holds objects is
        /// seen when they are read.
        files: Vec<String>,
    },
    /// A kustomization.
    Kustomization {
        /// Its folder.
        folder: String,
        /// Its `kustomization.yaml`.
        file: String,
    },
    /// A Helm chart.
    Chart {
        /// Its folder.
        folder: String,
        /// What `helm:` in driftless.yaml says of it.
        helm: Helm,
    },
}

/// How a chart is rendered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Helm {
    /// Values files by their path in the repository; a later one wins.
    pub values: Vec<String>,
    /// The release's name; `None`: the app's.
    pub release: Option<String>,
}

impl AppKind {
    /// What it is, in words: `app web is made of …`.
    pub fn what(&self) -> &'static str {
        match self {
            AppKind::Compose { .. } => "a Compose file",
            AppKind::Manifests { .. } => "Kubernetes manifests",
            AppKind::Kustomization { .. } => "a kustomization",
            AppKind::Chart { .. } => "a Helm chart",
        }
    }

    /// The file that says what the app is.
    pub fn file(&self) -> String {
        match self {
            AppKind::Compose { file } | AppKind::Kustomization { file, .. } => file.clone(),
            AppKind::Manifests { folder, files } => files.first().unwrap_or(folder).clone(),
            AppKind::Chart { folder, .. } if folder.is_empty() => "Chart.yaml".to_owned(),
            AppKind::Chart { folder, .. } => format!("{folder}/Chart.yaml"),
        }
    }

    /// What must be rendered by a tool before [`manifests::expanded`](super::manifests::expanded) reads it; `None` for what
    /// is read from the commit itself.
    pub fn request(
        &self,
        app: &AppName,
        namespace: Option<&str>,
        cluster: Option<&Capabilities>,
    ) -> Option<Request> {
        match self {
            AppKind::Compose { .. } | AppKind::Manifests { .. } => None,
            AppKind::Kustomization { folder, .. } => RepoPath::parse(folder).ok().map(Request::Kustomize),
            AppKind::Chart { folder, helm } => Some(Request::Helm(Chart {
                folder: RepoPath::parse(folder).ok()?,
                values: helm
                    .values
                    .iter()
                    .filter_map(|file| RepoPath::parse(file).ok())
                    .collect(),
                release: helm.release.clone().unwrap_or_else(|| app.as_str().to_owned()),
                namespace: namespace
                    .or_else(|| cluster?.namespace.as_deref())
                    .unwrap_or("default")
                    .to_owned(),
                kube_version: cluster.and_then(|cluster| cluster.kube_version.clone()),
                api_versions: cluster
                    .map(|cluster| cluster.api_versions.clone())
                    .unwrap_or_default(),
            })),
        }
    }

    /// Whether what it is rendered to depends on the cluster that it goes to.
    pub fn asks_cluster(&self) -> bool {
        matches!(self, AppKind::Chart { .. })
    }

    /// Whether it is deployed to a Kubernetes cluster.
    pub fn is_kubernetes(&self) -> bool {
        !matches!(self, AppKind::Compose { .. })
    }
}

/// What an app needs of its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs<'a> {
    /// A Docker engine.
    Engine,
    /// A cluster, and the account that the app names.
    Cluster { account: Option<&'a str> },
}

impl<'a> Needs<'a> {
    /// Those of an app that is made of objects, or of containers.
    pub fn new(objects: bool, rules: &'a Rules) -> Self {
        if objects {
            Needs::Cluster {
                account: rules.service_account.as_deref(),
            }
        } else {
            Needs::Engine
        }
    }

    /// Whether it is a cluster.
    pub fn cluster(self) -> bool {
        matches!(self, Needs::Cluster { .. })
    }
}

impl App {
    /// What it needs of its target.
    pub fn needs(&self) -> Needs<'_> {
        Needs::new(self.kind.is_kubernetes(), &self.rules)
    }
}

/// How an app is run. Every field has the product's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// When a release counts as healthy.
    pub health: HealthRules,
    /// What follows a failed gate.
    pub rollback: RollbackMode,
    /// What follows drift.
    pub drift: DriftMode,
    /// What may be deleted once it is no longer declared.
    pub prune: Prune,
    /// Whether `serve` applies by itself.
    pub sync: SyncMode,
    /// `service/field` patterns whose drift is not reported, for example `api:/deploy/resources`.
    pub ignore: Vec<String>,
    /// Where relative binds that are not in Git live on the engine's host; the default is `<state>/data/<app>`.
    pub host_dir: Option<String>,
    /// The ServiceAccount of the app's namespace that is acted as on a cluster; `None`: the operator's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
}

/// When a release counts as healthy (decision 21).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthRules {
    /// No progress for this long fails the release. `None`: computed from the healthchecks, 300 s at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How long everything must stay healthy before the release is stable.
    pub bake: Duration,
    /// The absolute end of waiting.
    pub cap: Duration,
    /// An HTTP probe by service, never by URL (decision 30).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpProbe>,
    // What follows is for objects of a cluster. Each is left out where it is not set: digests and stored releases of earlier
    // versions stay what they are.
    /// Expressions for kinds that the rules do not know, or know wrongly; each group and kind once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expressions: Vec<HealthExpr>,
    /// Other patience than the defaults.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub patience: BTreeMap<Patience, Duration>,
    /// How many pods of a DaemonSet may be unwell on nodes that look well.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_unhealthy_nodes: u32,
    /// Load balancers, ingresses and gateways hold the release back until they have an address.
    #[serde(skip_serializing_if = "is_false")]
    pub wait_for_addresses: bool,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// How objects of one kind say how they are, as Flux writes it (`healthCheckExprs`): CEL over the object's fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthExpr {
    pub api_version: String,
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_progress: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    pub current: String,
}

impl HealthExpr {
    /// The group of its API version; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

/// A trouble of pods whose patience can be set (the table in `docs/kubernetes-health.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Patience {
    ImageMissing,
    ImagePull,
    CannotRun,
    ConfigMissing,
    Crash,
    OutOfMemory,
    Ended,
    Probe,
    Unschedulable,
    Quota,
    Refused,
    NotCreated,
    Volume,
}

impl Patience {
    /// Each with its word in `driftless.yaml`.
    pub const ALL: &[(&str, Self)] = &[
        ("image_missing", Self::ImageMissing),
        ("image_pull", Self::ImagePull),
        ("cannot_run", Self::CannotRun),
        ("config_missing", Self::ConfigMissing),
        ("crash", Self::Crash),
        ("out_of_memory", Self::OutOfMemory),
        ("ended", Self::Ended),
        ("probe", Self::Probe),
        ("unschedulable", Self::Unschedulable),
        ("quota", Self::Quota),
        ("refused", Self::Refused),
        ("not_created", Self::NotCreated),
        ("volume", Self::Volume),
    ];
}

impl HealthRules {
    /// The longest patience that the app asks for by itself: a deadline for progress that nobody wrote must not be shorter.
    pub fn longest_patience(&self) -> Duration {
        self.patience.values().max().copied().unwrap_or_default()
    }
}

impl Default for HealthRules {
    fn default() -> Self {
        Self {
            timeout: None,
            bake: Duration::from_secs(10),
            cap: Duration::from_secs(30 * 60),
            http: None,
            expressions: Vec::new(),
            patience: BTreeMap::new(),
            max_unhealthy_nodes: 0,
            wait_for_addresses: false,
        }
    }
}

/// `http: { service, port, path }`: any 2xx or 3xx answer within 5 s passes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProbe {
    pub service: ServiceName,
    pub port: u16,
    pub path: String,
}

/// What follows a failed gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RollbackMode {
    /// The stable release is put back.
    #[default]
    Auto,
    /// Nothing is changed; a person is told.
    Notify,
    /// Nothing is changed and nobody is told beyond the result.
    Off,
}

/// What `serve` does with drift.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriftMode {
    #[default]
    Correct,
    Report,
}

/// What may be deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prune {
    None,
    /// Containers and networks; never volumes.
    #[default]
    Safe,
    All,
}

/// Whether `serve` applies new commits by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncMode {
    #[default]
    Auto,
    Manual,
}
