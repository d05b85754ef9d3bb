//! `targets:` of `config.yaml`: where apps can be deployed to.
//!
//! In: the mapping, the folder that relative paths start at. Out: [`TargetSetting`]s by name. Guaranteed: a target is an engine
//! or a cluster; a setting of the other kind is an error with its place. Must not: look for a file, or connect.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::file::Folders;
use super::{Origin, absolute, parse_duration};
use crate::document::{Code, Diagnostic, FieldRules, Fields, Spanned};

/// Where an app can be deployed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSetting {
    pub platform: Platform,
    pub origin: Origin,
}

/// What a target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platform {
    /// A Docker engine: `default`, a context's name, or an address, as `--target` takes it.
    Docker(String),
    Kubernetes(ClusterSetting),
}

/// A cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterSetting {
    pub at: ClusterAt,
    /// The file that is read in the place of those that `kubectl` would read.
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of objects that name none.
    pub namespace: Option<String>,
    /// Whether `serve` may start the program that the kubeconfig names for credentials.
    pub exec: bool,
    /// The ServiceAccount that apps act as, as `NAME` of the app's namespace or `NAMESPACE/NAME`.
    pub account: Option<String>,
    /// Whether a repository may name another account; by itself where there is none here.
    pub choose_account: Option<bool>,
    /// The namespace of the instance's Lease; by itself the one above, else the context's.
    pub lease_namespace: Option<String>,
    /// How long the Lease lasts when nobody renews it.
    pub lease_duration: Option<Duration>,
}

/// Which cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ClusterAt {
    /// The kubeconfig's current context; in a pod without a kubeconfig its own cluster.
    #[default]
    Current,
    /// The cluster of the pod that this program runs in.
    InCluster,
    /// A context of the kubeconfig.
    Context(String),
}

impl ClusterAt {
    fn of(text: &str) -> Self {
        match text {
            "current" => Self::Current,
            "in-cluster" => Self::InCluster,
            context => Self::Context(context.to_owned()),
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Current => "current",
            Self::InCluster => "in-cluster",
            Self::Context(name) => name,
        }
    }
}

impl ClusterSetting {
    /// The account that an app acts as which names `asked`. `Err`: the repository may not choose, and what stands here.
    pub fn account_for<'a>(&'a self, asked: Option<&'a str>) -> Result<Option<&'a str>, Option<&'a str>> {
        let own = self.account.as_deref();
        match asked {
            None => Ok(own),
            Some(asked) if self.choose_account.unwrap_or(own.is_none()) || own == Some(asked) => {
                Ok(Some(asked))
            }
            Some(_) => Err(own),
        }
    }
}

/// Keys that only a cluster has.
const OF_CLUSTERS: &[&str] = &[
    "kubeconfig",
    "namespace",
    "exec",
    "service_account",
    "choose_account",
    "lease",
];

/// How long a Lease may last: shorter than the first, a slow answer would lose it; longer than the second, nobody would wait for
/// a holder that crashed.
const LEASE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(5 * 60));

/// Reads `targets:`.
pub(super) fn read(
    fields: &mut Fields<'_, '_>,
    folders: &Folders<'_>,
    targets: &mut BTreeMap<String, TargetSetting>,
) {
    let Some((mapping, _)) = fields.mapping("targets") else {
        return;
    };
    for item in mapping {
        let name = item.key.value.clone();
        let Some(mut target) = Fields::of(
            &item.value,
            format!("target `{name}`"),
            &FieldRules::SETTINGS,
            fields.diagnostics(),
        ) else {
            continue;
        };
        let named = match target.string("kubernetes") {
            Some(at) => {
                if target.has("docker") {
                    let finding = "a target is an engine or a cluster, not both";
                    let finding = Diagnostic::error(Code::SETTING_VALUE, &at.span, finding);
                    target.diagnostics().push(finding);
                    let _ = target.raw("docker");
                }
                let cluster = cluster(&mut target, &at, folders);
                Some((at, Platform::Kubernetes(cluster)))
            }
            None => {
                for key in OF_CLUSTERS {
                    if !target.has(key) {
                        continue;
                    }
                    let message = format!("`{key}` is for clusters, and {} is an engine", target.what());
                    let span = target.key_span(key);
                    let finding = Diagnostic::error(Code::SETTING_VALUE, span, message);
                    target.diagnostics().push(finding);
                    let _ = target.raw(key);
                }
                target.required_string("docker").map(|docker| {
                    let platform = Platform::Docker(docker.value.clone());
                    (docker, platform)
                })
            }
        };
        if let Some((text, platform)) = named {
            if usable(&text.value) {
                let origin = Origin::File(text.span.place());
                targets.insert(name, TargetSetting { platform, origin });
            } else {
                let (what, help) = match platform {
                    Platform::Docker(_) => (
                        "this names no engine",
                        "`default`, a docker context's name, `unix:///path` or `tcp://host:port`",
                    ),
                    Platform::Kubernetes(_) => (
                        "this names no cluster",
                        "`current`, `in-cluster`, or a context of the kubeconfig",
                    ),
                };
                let finding = Diagnostic::error(Code::SETTING_VALUE, &text.span, what).with_help(help);
                target.diagnostics().push(finding);
            }
        }
        target.finish(&[]);
    }
}

fn usable(text: &str) -> bool {
    !text.trim().is_empty() && !text.chars().any(char::is_control)
}

fn cluster(target: &mut Fields<'_, '_>, at: &Spanned<String>, folders: &Folders<'_>) -> ClusterSetting {
    let at = ClusterAt::of(&at.value);
    let kubeconfig = target.string("kubeconfig");
    if let Some(file) = kubeconfig.as_ref().filter(|_| at == ClusterAt::InCluster) {
        let finding = "a pod's own cluster has no kubeconfig";
        let finding = Diagnostic::error(Code::SETTING_VALUE, &file.span, finding);
        target.diagnostics().push(finding);
    }
    let account = target.string("service_account").filter(|account| {
        let parts: Vec<&str> = account.value.split('/').collect();
        let good = parts.len() <= 2
            && parts.iter().all(|part| {
                !part.is_empty()
                    && part
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
            });
        if !good {
            let message = format!("`{}` is not a name of a ServiceAccount", account.value);
            let finding = Diagnostic::error(Code::SETTING_VALUE, &account.span, message)
                .with_help("`deployer` of the app's namespace, or `tools/deployer`");
            target.diagnostics().push(finding);
        }
        good
    });
    let lease = target.nested("lease", format!("`lease` of {}", target.what()), |lease| {
        let namespace = lease.string("namespace").map(|name| name.value);
        let duration = lease.text("duration").and_then(|text| {
            let within =
                parse_duration(&text.value).filter(|duration| (LEASE.0..=LEASE.1).contains(duration));
            if within.is_none() {
                let finding = Diagnostic::error(
                    Code::SETTING_VALUE,
                    &text.span,
                    "a lease lasts between 15s and 5m",
                );
                lease.diagnostics().push(finding);
            }
            within
        });
        (namespace, duration)
    });
    let (lease_namespace, lease_duration) = lease.unwrap_or_default();
    ClusterSetting {
        at,
        lease_namespace,
        lease_duration,
        kubeconfig: kubeconfig.map(|file| absolute(folders.base, folders.home, &file.value)),
        namespace: target.string("namespace").map(|name| name.value),
        exec: target.bool("exec").is_some_and(|exec| exec.value),
        account: account.map(|account| account.value),
        choose_account: target.bool("choose_account").map(|choose| choose.value),
    }
}
