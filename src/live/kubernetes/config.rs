//! Where a cluster is, found as `kubectl` finds it.
//!
//! In: the kubeconfig files that the caller names, a context, whether credential programs may run. Out: a
//! [`kube::Config`]. Guaranteed: a context that does not exist is an error that lists those that do; no program of a
//! kubeconfig is started unless that is allowed. Must not: read the environment or the home folder (`cli/` and `settings/`
//! name the files).

use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::lease::LeaseSpec;
use crate::live::{LiveError, Problem};

/// Which cluster, as whom.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterSpec {
    /// The files that are merged, in order; those that do not exist are left out. Empty: the account of the pod that this
    /// program runs in.
    pub kubeconfigs: Vec<PathBuf>,
    /// The context; `None`: the current one.
    pub context: Option<String>,
    /// The namespace of objects that name none; `None`: the context's.
    pub namespace: Option<String>,
    /// Whether the kubeconfig may start a program for its credentials.
    pub exec: bool,
    /// The ServiceAccount that is acted as, of the namespace above unless it names its own (`tools/deployer`).
    pub account: Option<String>,
    /// Where the Lease of this instance is, by itself in the context's namespace.
    pub lease: LeaseSpec,
}

/// A configuration with what people know it by.
pub struct Resolved {
    pub config: kube::Config,
    /// The context's name, or `in-cluster`.
    pub context: String,
    /// The context's own, whatever the specification says.
    pub namespace: String,
}

const CALL: &str = "read the kubeconfig";

/// Resolves a specification.
pub async fn resolve(spec: &ClusterSpec) -> Result<Resolved, LiveError> {
    if spec.kubeconfigs.is_empty() {
        let config = kube::Config::incluster().map_err(|error| {
            let message = "there is no kubeconfig, and this program does not run in a pod".to_owned();
            LiveError::caused(CALL, Problem::Kubeconfig { message }, &error)
        })?;
        return Ok(Resolved {
            namespace: config.default_namespace.clone(),
            config: tuned(config),
            context: "in-cluster".to_owned(),
        });
    }
    let merged = merged(spec)?;
    let context = named(spec, &merged)?;
    let user = merged
        .contexts
        .iter()
        .find(|known| known.name == context)
        .and_then(|known| known.context.as_ref()?.user.clone());
    let program = merged
        .auth_infos
        .iter()
        .find(|info| Some(&info.name) == user.as_ref())
        .and_then(|info| info.auth_info.as_ref()?.exec.as_ref()?.command.clone());
    if let Some(program) = program.filter(|_| !spec.exec) {
        return Err(LiveError::new(CALL, Problem::ExecPlugin { program }));
    }
    let options = KubeConfigOptions {
        context: Some(context.clone()),
        ..KubeConfigOptions::default()
    };
    let config = kube::Config::from_custom_kubeconfig(merged, &options)
        .await
        .map_err(|error| unusable(&error))?;
    Ok(Resolved {
        namespace: config.default_namespace.clone(),
        config: tuned(config),
        context,
    })
}

/// The context and the namespace that a specification comes to. Nothing is asked, and no program is started.
pub fn chosen(spec: &ClusterSpec) -> Result<(String, String), LiveError> {
    let (context, own) = if spec.kubeconfigs.is_empty() {
        ("in-cluster".to_owned(), None)
    } else {
        let merged = merged(spec)?;
        let name = named(spec, &merged)?;
        let context = merged.contexts.into_iter().find(|known| known.name == name);
        (name, context.and_then(|known| known.context?.namespace))
    };
    let namespace = spec.namespace.clone().or(own);
    Ok((context, namespace.unwrap_or_else(|| "default".to_owned())))
}

/// The context's name; an error that lists them where there is no such.
fn named(spec: &ClusterSpec, merged: &Kubeconfig) -> Result<String, LiveError> {
    let refused = |message| Err(LiveError::new(CALL, Problem::Kubeconfig { message }));
    let Some(context) = spec.context.clone().or_else(|| merged.current_context.clone()) else {
        return refused(format!(
            "it has no current context; it knows {}",
            contexts(merged)
        ));
    };
    if !merged.contexts.iter().any(|known| known.name == context) {
        return refused(format!(
            "it has no context `{context}`; it knows {}",
            contexts(merged)
        ));
    }
    Ok(context)
}

/// The contexts that the files hold, for `driftless doctor` and for completions.
pub fn known_contexts(spec: &ClusterSpec) -> Result<Vec<String>, LiveError> {
    Ok(merged(spec)?
        .contexts
        .into_iter()
        .map(|context| context.name)
        .collect())
}

fn merged(spec: &ClusterSpec) -> Result<Kubeconfig, LiveError> {
    let mut merged: Option<Kubeconfig> = None;
    for path in spec.kubeconfigs.iter().filter(|path| path.exists()) {
        let next = Kubeconfig::read_from(path).map_err(|error| unusable(&error))?;
        merged = Some(match merged {
            Some(before) => before.merge(next).map_err(|error| unusable(&error))?,
            None => next,
        });
    }
    merged.ok_or_else(|| {
        let names: Vec<String> = spec
            .kubeconfigs
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let message = format!("there is no kubeconfig at {}", names.join(", "));
        LiveError::new(CALL, Problem::Kubeconfig { message })
    })
}

fn contexts(config: &Kubeconfig) -> String {
    let names: Vec<String> = config
        .contexts
        .iter()
        .map(|context| format!("`{}`", context.name))
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn unusable(error: &KubeconfigError) -> LiveError {
    LiveError::new(
        CALL,
        Problem::Kubeconfig {
            message: error.to_string(),
        },
    )
}

/// Deadlines and retries are ours: the client's own would wait up to a quarter of an hour.
fn tuned(mut config: kube::Config) -> kube::Config {
    config.default_retry = false;
    config
}
