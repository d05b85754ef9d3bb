//! Host take-over: what lets a container own its host (decision 29).
//!
//! In: a project. Out: what each service reaches for. Guaranteed: judged on the normalised model, so that short syntax,
//! fragments and variables can't slip past. Must not: judge anything else; policies are a later layer beside this one.

use crate::names::{AppKey, ServiceName};
use crate::plan::{Problem, ProblemKind};
use crate::render::model::{MountSource, Namespace, NetworkMode, Project, Service};

/// One way in which a service reaches for its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    pub service: ServiceName,
    /// The name that `config.yaml` allows it by.
    pub name: &'static str,
    /// What it is, for people.
    pub detail: String,
}

/// Binds of these give the host away, or what holds it: the file system's root and the engines' sockets.
const SOCKETS: &[&str] = &[
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
];
const ROOTS: &[&str] = &[
    "/",
    "/etc",
    "/root",
    "/boot",
    "/proc",
    "/sys",
    "/dev",
    "/var/lib/docker",
    "/var/run",
    "/run",
];
const CAPABILITIES: &[&str] = &[
    "ALL",
    "SYS_ADMIN",
    "SYS_MODULE",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "DAC_READ_SEARCH",
    "NET_ADMIN",
    "BPF",
];

/// Everything that `project` reaches for.
pub fn reaches(project: &Project) -> Vec<Reach> {
    project
        .services
        .iter()
        .flat_map(|(name, service)| of_service(name, service))
        .collect()
}

fn of_service(name: &ServiceName, service: &Service) -> Vec<Reach> {
    let mut found = Vec::new();
    let mut reach = |key: &'static str, detail: String| {
        found.push(Reach {
            service: name.clone(),
            name: key,
            detail,
        });
    };
    if service.privileged {
        reach("privileged", "`privileged: true`".to_owned());
    }
    if service.network_mode == NetworkMode::Host {
        reach("host-network", "`network_mode: host`".to_owned());
    }
    if service.pid == Some(Namespace::Host) {
        reach("host-pid", "`pid: host`".to_owned());
    }
    if service.ipc == Some(Namespace::Host) {
        reach("host-ipc", "`ipc: host`".to_owned());
    }
    if service.userns_mode.as_deref() == Some("host") || service.uts.as_deref() == Some("host") {
        reach("host-namespaces", "a host user or UTS namespace".to_owned());
    }
    for mount in service.volumes.values() {
        let MountSource::Host(source) = &mount.source else {
            continue;
        };
        let path = if source.len() > 1 {
            source.trim_end_matches('/')
        } else {
            source.as_str()
        };
        if SOCKETS.contains(&path) {
            reach("engine-socket", format!("the engine's socket `{path}`"));
        } else if ROOTS.contains(&path) {
            reach("host-files", format!("the host folder `{path}`"));
        }
    }
    for device in &service.devices {
        reach("devices", format!("the device `{}`", device.source));
    }
    for capability in &service.cap_add {
        let bare = capability.trim_start_matches("CAP_");
        if CAPABILITIES.contains(&bare) {
            reach("capabilities", format!("the capability `{bare}`"));
        }
    }
    if service
        .security_opt
        .iter()
        .any(|option| option.ends_with("unconfined") || option == "label=disable")
    {
        reach("unconfined", "a switched-off security profile".to_owned());
    }
    found
}

/// What nobody allowed, as problems with the line to add.
pub fn denied(project: &Project, allowed: &[String], key: &AppKey) -> Vec<Problem> {
    reaches(project)
        .into_iter()
        .filter(|reach| !allowed.iter().any(|name| name == reach.name))
        .map(|reach| Problem {
            code: "E0608",
            message: format!(
                "service `{}` asks for {}, which gives it the host; `serve` allows that only by name",
                reach.service, reach.detail
            ),
            place: None,
            help: Some(format!(
                "in config.yaml:  allow: {{ {}: [{}] }}",
                key.app, reach.name
            )),
            kind: ProblemKind::Refused,
        })
        .collect()
}
