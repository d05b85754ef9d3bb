//! The whole key list of the compose-spec and what becomes of each key here.
//!
//! In: a key and where it stands. Out: used, ignored with the reason, or refused with the reason. Guaranteed: every key
//! that the compose-spec knows is in exactly one table (a test holds the lists of compose-spec 2025-10 against it), so no
//! key is dropped in silence. Must not: read values.

use crate::document::{Code, Diagnostic, Diagnostics, Mapping, did_you_mean};

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is read.
    Used,
    /// It is accepted and has no effect, by its nature; the reason is documentation only.
    Silent(&'static str),
    /// It is accepted and has no effect here, which a person should know.
    Ignored(&'static str),
    /// It is known and can't be honoured yet.
    Refused(&'static str),
}

use Fate::{Ignored, Refused, Silent, Used};

type Table = &'static [(&'static str, Fate)];

/// Top-level keys.
pub const TOP: Table = &[
    (
        "version",
        Silent("obsolete; the compose-spec says that it is informative only"),
    ),
    ("name", Used),
    ("services", Used),
    ("networks", Used),
    ("volumes", Used),
    ("configs", Used),
    ("secrets", Used),
    (
        "include",
        Refused("several files for one app are not supported yet"),
    ),
    ("models", Refused("AI models are not supported")),
];

/// Keys of a service.
pub const SERVICE: Table = &[
    ("annotations", Used),
    (
        "attach",
        Silent("it only says whose output `docker compose up` prints"),
    ),
    ("blkio_config", Used),
    ("build", Used),
    ("cap_add", Used),
    ("cap_drop", Used),
    ("cgroup", Used),
    ("cgroup_parent", Used),
    ("command", Used),
    ("configs", Used),
    ("container_name", Used),
    ("cpu_count", Refused("it exists on Windows engines only")),
    ("cpu_percent", Refused("it exists on Windows engines only")),
    ("cpu_period", Used),
    ("cpu_quota", Used),
    ("cpu_rt_period", Used),
    ("cpu_rt_runtime", Used),
    ("cpu_shares", Used),
    ("cpus", Used),
    ("cpuset", Used),
    ("credential_spec", Refused("it exists on Windows engines only")),
    ("depends_on", Used),
    ("deploy", Used),
    ("develop", Ignored("it is used by `docker compose watch` only")),
    ("device_cgroup_rules", Used),
    ("devices", Used),
    ("dns", Used),
    ("dns_opt", Used),
    ("dns_search", Used),
    ("domainname", Used),
    ("entrypoint", Used),
    ("env_file", Used),
    ("environment", Used),
    ("expose", Used),
    (
        "extends",
        Refused("services that extend others are not supported yet; use YAML anchors and `x-` fragments"),
    ),
    (
        "external_links",
        Refused("links to containers of other projects are not supported; use a shared external network"),
    ),
    ("extra_hosts", Used),
    ("gpus", Used),
    ("group_add", Used),
    ("healthcheck", Used),
    ("hostname", Used),
    ("image", Used),
    ("init", Used),
    ("ipc", Used),
    ("isolation", Refused("it exists on Windows engines only")),
    (
        "label_file",
        Refused("labels from files are not supported yet; write them under `labels`"),
    ),
    ("labels", Used),
    ("links", Used),
    ("logging", Used),
    ("mac_address", Used),
    ("mem_limit", Used),
    ("mem_reservation", Used),
    ("mem_swappiness", Used),
    ("memswap_limit", Used),
    ("models", Refused("AI models are not supported")),
    ("network_mode", Used),
    ("networks", Used),
    ("oom_kill_disable", Used),
    ("oom_score_adj", Used),
    ("pid", Used),
    ("pids_limit", Used),
    ("platform", Used),
    ("ports", Used),
    ("post_start", Refused("hooks are not supported yet")),
    (
        "pre_start",
        Refused(
            "hooks are not supported yet; use a service and `depends_on` with service_completed_successfully",
        ),
    ),
    ("pre_stop", Refused("hooks are not supported yet")),
    ("privileged", Used),
    ("profiles", Used),
    (
        "provider",
        Refused("services that an external program provides are not supported"),
    ),
    ("pull_policy", Used),
    (
        "pull_refresh_after",
        Refused("it is not supported yet; use `pull_policy: daily`, `weekly` or `every_12h`"),
    ),
    ("read_only", Used),
    ("restart", Used),
    ("runtime", Used),
    ("scale", Used),
    ("secrets", Used),
    ("security_opt", Used),
    ("shm_size", Used),
    ("stdin_open", Used),
    ("stop_grace_period", Used),
    ("stop_signal", Used),
    ("storage_opt", Used),
    ("sysctls", Used),
    ("tmpfs", Used),
    ("tty", Used),
    ("ulimits", Used),
    (
        "use_api_socket",
        Refused("handing the engine's socket and credentials to a container is not supported"),
    ),
    ("user", Used),
    ("userns_mode", Used),
    ("uts", Used),
    ("volumes", Used),
    ("volumes_from", Used),
    ("working_dir", Used),
];

/// Keys of `deploy`.
pub const DEPLOY: Table = &[
    ("endpoint_mode", Ignored("it has a meaning in a Swarm only")),
    (
        "labels",
        Ignored("they are labels of a Swarm service; containers get those under `labels`"),
    ),
    ("mode", Used),
    ("placement", Ignored("it has a meaning in a Swarm only")),
    ("replicas", Used),
    ("resources", Used),
    ("restart_policy", Used),
    (
        "rollback_config",
        Ignored("Driftless rolls a whole app back by its own rules"),
    ),
    ("update_config", Used),
];

/// Keys of `deploy.update_config`.
pub const UPDATE: Table = &[
    (
        "delay",
        Ignored("the health gate decides when the next container is replaced"),
    ),
    (
        "failure_action",
        Ignored("what follows a failed release is the app's `rollback` rule"),
    ),
    (
        "max_failure_ratio",
        Ignored("a release is healthy when all of it is"),
    ),
    ("monitor", Used),
    ("order", Used),
    ("parallelism", Used),
];

/// Keys of `deploy.restart_policy`.
pub const RESTART: Table = &[
    ("condition", Used),
    ("delay", Ignored("the engine has its own growing delay")),
    ("max_attempts", Used),
    ("window", Ignored("the engine has no such window")),
];

/// Keys of `blkio_config`.
pub const BLKIO: Table = &[
    (
        "device_read_bps",
        Refused("limits per device are not supported yet"),
    ),
    (
        "device_read_iops",
        Refused("limits per device are not supported yet"),
    ),
    (
        "device_write_bps",
        Refused("limits per device are not supported yet"),
    ),
    (
        "device_write_iops",
        Refused("limits per device are not supported yet"),
    ),
    ("weight", Used),
    (
        "weight_device",
        Refused("limits per device are not supported yet"),
    ),
];

/// Keys of `healthcheck`.
pub const HEALTHCHECK: Table = &[
    ("disable", Used),
    ("interval", Used),
    ("retries", Used),
    ("start_interval", Used),
    ("start_period", Used),
    ("test", Used),
    ("timeout", Used),
];

/// Keys of a long port.
pub const PORT: Table = &[
    ("app_protocol", Silent("a hint for people and other platforms")),
    ("host_ip", Used),
    ("mode", Silent("host and ingress are the same on one engine")),
    ("name", Silent("a name for people")),
    ("protocol", Used),
    ("published", Used),
    ("target", Used),
];

/// Keys of a long mount.
pub const MOUNT: Table = &[
    ("bind", Used),
    ("consistency", Silent("engines on Linux do not have it")),
    ("image", Refused("mounts of images are not supported yet")),
    ("read_only", Used),
    ("source", Used),
    ("target", Used),
    ("tmpfs", Used),
    ("type", Used),
    ("volume", Used),
];

/// Keys of a service's network.
pub const ENDPOINT: Table = &[
    ("aliases", Used),
    ("driver_opts", Used),
    ("gw_priority", Refused("it is not supported yet")),
    ("interface_name", Refused("it is not supported yet")),
    ("ipv4_address", Used),
    ("ipv6_address", Used),
    ("link_local_ips", Used),
    ("mac_address", Used),
    ("priority", Used),
];

/// Keys of a network.
pub const NETWORK: Table = &[
    ("attachable", Used),
    ("driver", Used),
    ("driver_opts", Used),
    ("enable_ipv4", Used),
    ("enable_ipv6", Used),
    ("external", Used),
    ("internal", Used),
    ("ipam", Used),
    ("labels", Used),
    ("name", Used),
];

/// Keys of a volume.
pub const VOLUME: Table = &[
    ("driver", Used),
    ("driver_opts", Used),
    ("external", Used),
    ("labels", Used),
    ("name", Used),
];

/// Keys of a config.
pub const CONFIG: Table = &[
    ("content", Used),
    ("environment", Used),
    (
        "external",
        Refused("external configs exist in a Swarm only; use `file:`, `content:` or `environment:`"),
    ),
    ("file", Used),
    (
        "labels",
        Silent("a config is a file in a container here; a file has no labels"),
    ),
    (
        "name",
        Silent("a config is a file in a container here, not an object of the engine"),
    ),
    ("template_driver", Refused("templates exist in a Swarm only")),
];

/// Keys of a secret.
pub const SECRET: Table = &[
    ("driver", Refused("secret drivers exist in a Swarm only")),
    ("driver_opts", Refused("secret drivers exist in a Swarm only")),
    ("environment", Used),
    (
        "external",
        Refused(
            "external secrets exist in a Swarm only; use `file:` or `environment:`, and give the value beside `config.yaml`",
        ),
    ),
    ("file", Used),
    (
        "labels",
        Silent("a secret is a file in a container here; a file has no labels"),
    ),
    (
        "name",
        Silent("a secret is a file in a container here, not an object of the engine"),
    ),
    ("template_driver", Refused("templates exist in a Swarm only")),
];

/// Keys of `x-driftless` in a service.
pub const EXTENSION: Table = &[
    ("autoscale", Refused("it is not supported yet")),
    ("job", Used),
    (
        "probes",
        Refused("probes are not supported yet; use `healthcheck`, or `health.http` in driftless.yaml"),
    ),
    ("state", Used),
    (
        "strategy",
        Refused("it is not supported yet; `deploy.update_config.order` chooses start-first or stop-first"),
    ),
];

/// Every table with its name, for documentation and tests.
pub const TABLES: &[(&str, Table)] = &[
    ("top level", TOP),
    ("service", SERVICE),
    ("deploy", DEPLOY),
    ("deploy.update_config", UPDATE),
    ("deploy.restart_policy", RESTART),
    ("blkio_config", BLKIO),
    ("healthcheck", HEALTHCHECK),
    ("ports", PORT),
    ("volumes (of a service)", MOUNT),
    ("networks (of a service)", ENDPOINT),
    ("network", NETWORK),
    ("volume", VOLUME),
    ("config", CONFIG),
    ("secret", SECRET),
    ("x-driftless", EXTENSION),
];

/// Reports every key of `mapping` that is not used: unknown ones and refused ones as errors, ignored ones as warnings.
pub fn check(mapping: &Mapping, what: &str, table: Table, diagnostics: &mut Diagnostics) {
    for item in mapping {
        let (key, span) = (item.key.value.as_str(), &item.key.span);
        let finding = match table
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, fate)| *fate)
        {
            Some(Used | Silent(_)) => continue,
            // A null value asks for nothing.
            Some(Ignored(_) | Refused(_)) if item.value.is_null() => continue,
            Some(Ignored(why)) => Diagnostic::warning(
                Code::NO_EFFECT,
                span,
                format!("`{key}` of {what} has no effect: {why}"),
            ),
            Some(Refused(why)) => Diagnostic::error(
                Code::NOT_SUPPORTED,
                span,
                format!("`{key}` of {what} is not supported"),
            )
            .with_note(why.to_owned()),
            None if key.starts_with("x-") => continue,
            None => {
                let unknown = Diagnostic::error(
                    Code::UNKNOWN_FIELD,
                    span,
                    format!("unknown field `{key}` in {what}"),
                );
                match did_you_mean(key, table.iter().map(|(known, _)| *known)) {
                    Some(near) => unknown.with_label(format!("did you mean `{near}`?")),
                    None => unknown,
                }
            }
        };
        diagnostics.push(finding);
    }
}
