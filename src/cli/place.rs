//! Where an app goes: the operator's words → an engine's endpoint or a cluster's specification.
//!
//! In: settings, a target's name, what kind of app it is. Out: a [`Place`]. Guaranteed: engines are found where `docker` finds
//! them, clusters where `kubectl` does; a service starts no credential program unless the operator allowed it. Must not:
//! connect.

use std::path::PathBuf;
use std::sync::Arc;

use super::environment::Environment;
use crate::clock::SystemClock;
use crate::expand::Expander;
use crate::live::docker::credentials::Credentials as RegistryCredentials;
use crate::live::docker::endpoint::{self, DiskFiles, DockerEnv, Endpoint, EndpointError};
use crate::live::docker::target::DockerTarget;
use crate::live::kubernetes::KubernetesTarget;
use crate::live::kubernetes::config::ClusterSpec;
use crate::live::kubernetes::feeds::Watching;
use crate::live::kubernetes::world::Cluster;
use crate::live::world::Target;
use crate::live::{LiveError, Reach};
use crate::settings::{Platform, Settings};

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
    /// The place that `name` means for an app.
    pub fn find(&self, name: Option<&str>, kubernetes: bool) -> Result<Place, EndpointError> {
        let (declared, namespace) = match name.and_then(|name| name.split_once('/')) {
            Some((target, namespace)) if !target.contains(':') || target.starts_with(KUBERNETES) => {
                (Some(target), Some(namespace.to_owned()))
            }
            _ => (name, None),
        };
        let setting = declared.and_then(|name| self.settings.targets.get(name));
        let cluster = |context: Option<String>, own: Option<String>, exec: bool| Place::Cluster {
            name: name
                .map(str::to_owned)
                .filter(|name| setting.is_some() && !name.starts_with(KUBERNETES)),
            spec: ClusterSpec {
                kubeconfigs: self.kubeconfigs.to_vec(),
                context,
                namespace: namespace.clone().or(own),
                exec: exec || self.person,
            },
        };
        if let Some(setting) = setting {
            return match &setting.platform {
                Platform::Kubernetes {
                    context,
                    namespace,
                    exec,
                } => Ok(cluster(context.clone(), namespace.clone(), *exec)),
                Platform::Docker(spec) => self.engine(Some(spec)),
            };
        }
        match declared {
            Some("k8s") => Ok(cluster(None, None, false)),
            Some(text) if text.starts_with(KUBERNETES) => {
                let context = text.trim_start_matches(KUBERNETES);
                Ok(cluster(
                    Some(context.to_owned()).filter(|name| !name.is_empty()),
                    None,
                    false,
                ))
            }
            Some(context) if kubernetes && context != "default" && !context.contains("://") => {
                Ok(cluster(Some(context.to_owned()), None, false))
            }
            None if kubernetes => Ok(cluster(None, None, false)),
            other => self.engine(other),
        }
    }

    fn engine(&self, spec: Option<&str>) -> Result<Place, EndpointError> {
        let spec = spec.filter(|spec| *spec != "default");
        Ok(Place::Engine(endpoint::resolve(spec, self.docker, &DiskFiles)?))
    }
}

impl Place {
    /// What a connection is kept under.
    pub fn name(&self) -> String {
        match self {
            Place::Engine(endpoint) => endpoint.name().to_owned(),
            Place::Cluster { name, spec } => format!(
                "{KUBERNETES}{}/{}/{}",
                name.as_deref().unwrap_or_default(),
                spec.context.as_deref().unwrap_or_default(),
                spec.namespace.as_deref().unwrap_or_default()
            ),
        }
    }

    /// Connects; a cluster is watched where the connection is to be kept.
    pub async fn connect(
        &self,
        credentials: &RegistryCredentials,
        watching: Option<Watching>,
    ) -> Result<Reach, LiveError> {
        match self {
            Place::Engine(endpoint) => {
                let target: Arc<dyn Target> = Arc::new(
                    DockerTarget::connect(endpoint, credentials.clone(), Arc::new(SystemClock)).await?,
                );
                Ok(target.into())
            }
            Place::Cluster { name, spec } => {
                let cluster: Arc<dyn Cluster> =
                    KubernetesTarget::connect(name.as_deref(), spec, watching).await?;
                Ok(cluster.into())
            }
        }
    }
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

/// What runs kustomize and Helm, found on the caller's `PATH`; what they print is kept in the state folder.
pub fn expander(environment: &Environment, settings: &Settings) -> Expander {
    let path = environment
        .variables()
        .find(|(name, _)| *name == "PATH")
        .map(|(_, value)| value.clone())
        .unwrap_or_default();
    Expander::new(path, settings.state.value.join("rendered"))
}
