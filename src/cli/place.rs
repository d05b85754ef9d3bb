//! Where an app goes: the operator's words → an engine's endpoint or a cluster's specification.
//!
//! In: settings, a target's name, what kind of app it is. Out: a [`Place`]. Guaranteed: engines are found where `docker` finds
//! them, clusters where `kubectl` does; a service starts no credential program unless the operator allowed it. Must not:
//! connect.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::environment::Environment;
use crate::clock::SystemClock;
use crate::document::Code;
use crate::expand::Expander;
use crate::live::docker::credentials::Credentials as RegistryCredentials;
use crate::live::docker::endpoint::{self, DiskFiles, DockerEnv, Endpoint, EndpointError};
use crate::live::docker::target::DockerTarget;
use crate::live::kubernetes::config::ClusterSpec;
use crate::live::kubernetes::lease::{DURATION, Holder, LeaseSpec, Leases};
use crate::live::world::Target;
use crate::live::{LiveError, Reach};
use crate::render::app::Needs;
use crate::settings::{ClusterAt, ClusterSetting, Platform, Settings};

/// Where something goes.
pub enum Place {
    Engine(Endpoint),
    Cluster { name: Option<String>, spec: ClusterSpec },
}

/// The prefix of a target that names a cluster by its context.
pub const KUBERNETES: &str = "k8s:";

/// Who asks, and what the machine says of engines and clusters.
pub struct Finder<'a> {
    pub settings: &'a Settings,
    pub docker: &'a DockerEnv,
    /// Where `kubectl` looks; none in a pod.
    pub kubeconfigs: &'a [PathBuf],
    /// A person's own command: a kubeconfig's credential program may run, as it does for `kubectl`.
    pub person: bool,
}

impl Finder<'_> {
    /// The place that `name` means for what an app needs.
    pub fn find(&self, name: Option<&str>, needs: Needs<'_>) -> Result<Place, PlaceError> {
        let (declared, namespace) = match name.and_then(|name| name.split_once('/')) {
            Some((target, namespace)) if !target.contains(':') || target.starts_with(KUBERNETES) => {
                (Some(target), Some(namespace.to_owned()))
            }
            _ => (name, None),
        };
        let setting = declared.and_then(|name| self.settings.targets.get(name));
        let cluster = |at: &ClusterSetting| {
            let asked = match needs {
                Needs::Cluster { account } => account,
                Needs::Engine => None,
            };
            let account = at.account_for(asked).map_err(|own| PlaceError::Account {
                target: name.unwrap_or_default().to_owned(),
                asked: asked.unwrap_or_default().to_owned(),
                own: own.map(str::to_owned),
            })?;
            Ok(Place::Cluster {
                name: name
                    .map(str::to_owned)
                    .filter(|name| setting.is_some() && !name.starts_with(KUBERNETES)),
                spec: ClusterSpec {
                    kubeconfigs: match (&at.at, &at.kubeconfig) {
                        (ClusterAt::InCluster, _) => Vec::new(),
                        (_, Some(file)) => vec![file.clone()],
                        (_, None) => self.kubeconfigs.to_vec(),
                    },
                    context: match &at.at {
                        ClusterAt::Context(context) => Some(context.clone()),
                        ClusterAt::Current | ClusterAt::InCluster => None,
                    },
                    namespace: namespace.clone().or_else(|| at.namespace.clone()),
                    exec: at.exec || self.person,
                    account: account.map(str::to_owned),
                    lease: LeaseSpec {
                        namespace: at.lease_namespace.clone().or_else(|| at.namespace.clone()),
                        duration: at.lease_duration.unwrap_or(DURATION),
                    },
                },
            })
        };
        let context = |name: Option<&str>| ClusterSetting {
            at: name.map_or(ClusterAt::Current, |name| ClusterAt::Context(name.to_owned())),
            ..ClusterSetting::default()
        };
        if let Some(setting) = setting {
            return match &setting.platform {
                Platform::Kubernetes(setting) => cluster(setting),
                Platform::Docker(spec) => self.engine(Some(spec)),
            };
        }
        match declared {
            Some("k8s") => cluster(&context(None)),
            Some(text) if text.starts_with(KUBERNETES) => {
                let name = text.trim_start_matches(KUBERNETES);
                cluster(&context(Some(name).filter(|name| !name.is_empty())))
            }
            Some(name) if needs.cluster() && name != "default" && !name.contains("://") => {
                cluster(&context(Some(name)))
            }
            None if needs.cluster() => cluster(&context(None)),
            other => self.engine(other),
        }
    }

    fn engine(&self, spec: Option<&str>) -> Result<Place, PlaceError> {
        let spec = spec.filter(|spec| *spec != "default");
        Ok(Place::Engine(endpoint::resolve(spec, self.docker, &DiskFiles)?))
    }
}

/// Why there is no place for an app.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("{0}")]
    Endpoint(#[from] EndpointError),
    /// The app names an account, and the operator does not let it.
    #[error("the app may not act as the ServiceAccount `{asked}` on the target `{target}`{}", own.as_ref().map_or_else(|| ": a repository may name none there".to_owned(), |own| format!(": the operator says `{own}`")))]
    Account {
        target: String,
        asked: String,
        own: Option<String>,
    },
}

impl PlaceError {
    /// The code for `driftless explain`.
    pub fn code(&self) -> Code {
        match self {
            PlaceError::Endpoint(error) => error.code(),
            PlaceError::Account { .. } => Code::ACCOUNT_NOT_ALLOWED,
        }
    }

    /// What to do next, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            PlaceError::Endpoint(error) => error.hint(),
            PlaceError::Account { target, .. } => {
                let target = target.split('/').next().unwrap_or_default();
                Some(format!(
                    "remove `serviceAccount:` from driftless.yaml, or in config.yaml:  targets: {{ {target}: {{ choose_account: true, … }} }}"
                ))
            }
        }
    }
}

/// Connects to an engine.
pub async fn connect_engine(
    endpoint: &Endpoint,
    credentials: &RegistryCredentials,
) -> Result<Reach, LiveError> {
    let target: Arc<dyn Target> =
        Arc::new(DockerTarget::connect(endpoint, credentials.clone(), Arc::new(SystemClock)).await?);
    Ok(target.into())
}

/// The kubeconfig files, as `kubectl` finds them: `KUBECONFIG`, else `~/.kube/config`; none in a pod that has neither.
pub fn kubeconfigs(environment: &Environment) -> Vec<PathBuf> {
    if let Some(list) = environment.text("KUBECONFIG").filter(|list| !list.is_empty()) {
        return std::env::split_paths(list)
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
    }
    let own = environment.home().map(|home| home.join(".kube/config"));
    let in_pod = environment.text("KUBERNETES_SERVICE_HOST").is_some();
    own.filter(|path| !in_pod || path.exists()).into_iter().collect()
}

/// The Leases of a command that changes things; with `hold` they are kept for as long as it runs.
pub fn leases(settings: &Settings, hold: bool) -> Leases {
    let host = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "localhost".to_owned());
    let me = Holder {
        host,
        pid: std::process::id(),
        random: random(),
        folder: folder_id(&settings.state.value.join("lease-id")),
    };
    Leases::new(settings.instance.value.clone(), me, hold, Arc::new(SystemClock))
}

fn random() -> String {
    let mut bytes = [0; 4];
    // Without randomness two processes are told apart by host and number alone.
    let _ = getrandom::fill(&mut bytes);
    hex::encode(bytes)
}

/// What tells a state folder from all others, made at its first use. Where it can't be kept, nobody is taken for a process of
/// this folder.
fn folder_id(file: &Path) -> String {
    let kept = || {
        std::fs::read_to_string(file)
            .ok()
            .filter(|id| !id.trim().is_empty())
    };
    if let Some(id) = kept() {
        return id.trim().to_owned();
    }
    let id = random() + &random();
    match std::fs::write(file, &id) {
        Ok(()) => id,
        Err(_) => random() + &random(),
    }
}

/// What runs kustomize and Helm, found on the caller's `PATH`; what they print is kept in the state folder.
pub fn expander(environment: &Environment, settings: &Settings) -> Expander {
    let path = environment
        .variables()
        .find(|(name, _)| *name == "PATH")
        .map(|(_, value)| value.clone())
        .unwrap_or_default();
    Expander::new(path, settings.state.value.join("rendered"))
}
