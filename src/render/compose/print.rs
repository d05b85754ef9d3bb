//! A project as a Compose file that people read and `docker compose config` accepts.
//!
//! In: [`Project`]. Out: YAML. Guaranteed: no secret value is in it; `$` is escaped, so reading it again changes nothing.
//! Must not: be read back by us (the sealed record keeps the model itself).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::render::model::{
    Condition, Content, Injected, Mount, MountSource, Namespace, NetworkMode, Project, PullPolicy, Service,
    UpdateOrder, WantedState,
};
use crate::render::units::show_nanoseconds;
use crate::secret::{MASKED, Text};

/// The project as YAML, secrets masked.
pub fn compose_yaml(project: &Project) -> String {
    let value = json(project);
    // Serialising a tree of plain values into a string has no way to fail.
    serde_saphyr::to_string(&value).unwrap_or_default()
}

fn json(project: &Project) -> Value {
    let mut top = Map::new();
    top.insert("name".into(), text(project.name.as_str()));
    let services = project
        .services
        .iter()
        .map(|(name, one)| (name.to_string(), service(project, one)))
        .collect();
    top.insert("services".into(), Value::Object(services));
    let section = |map: Map<String, Value>| (!map.is_empty()).then_some(Value::Object(map));
    let networks = project.networks.iter().map(|(key, network)| {
        let mut one = Map::new();
        put(&mut one, "name", Some(text(&network.name)));
        if network.external {
            put(&mut one, "external", Some(json!(true)));
            return (key.clone(), Value::Object(one));
        }
        put(&mut one, "driver", network.driver.as_deref().map(text));
        put(&mut one, "driver_opts", strings(&network.driver_opts));
        put(&mut one, "internal", network.internal.then_some(json!(true)));
        put(&mut one, "attachable", network.attachable.then_some(json!(true)));
        put(&mut one, "enable_ipv4", network.enable_ipv4.map(Value::from));
        put(&mut one, "enable_ipv6", network.enable_ipv6.map(Value::from));
        put(&mut one, "labels", texts(&network.labels));
        put(
            &mut one,
            "ipam",
            network.ipam.as_ref().map(|ipam| {
                let mut inner = Map::new();
                put(&mut inner, "driver", ipam.driver.as_deref().map(text));
                let pools: Vec<Value> = ipam
                    .pools
                    .iter()
                    .map(|pool| escaped(&serde_json::to_value(pool).unwrap_or_default()))
                    .collect();
                put(
                    &mut inner,
                    "config",
                    (!pools.is_empty()).then_some(Value::Array(pools)),
                );
                put(&mut inner, "options", strings(&ipam.options));
                Value::Object(inner)
            }),
        );
        (key.clone(), Value::Object(one))
    });
    top.extend(section(networks.collect()).map(|networks| ("networks".to_owned(), networks)));
    let volumes = project.volumes.iter().map(|(key, volume)| {
        let mut one = Map::new();
        put(&mut one, "name", Some(text(&volume.name)));
        if volume.external {
            put(&mut one, "external", Some(json!(true)));
        } else {
            put(&mut one, "driver", volume.driver.as_deref().map(text));
            put(&mut one, "driver_opts", strings(&volume.driver_opts));
            put(&mut one, "labels", texts(&volume.labels));
        }
        (key.clone(), Value::Object(one))
    });
    top.extend(section(volumes.collect()).map(|volumes| ("volumes".to_owned(), volumes)));
    let configs = project
        .configs
        .iter()
        .map(|(key, content)| (key.clone(), config(content)));
    top.extend(section(configs.collect()).map(|configs| ("configs".to_owned(), configs)));
    // The compose-spec has no inline secrets; the placeholder stands where a file's name does.
    let secrets = project
        .secrets
        .keys()
        .map(|key| (key.clone(), json!({ "file": format!("./{MASKED}") })));
    top.extend(section(secrets.collect()).map(|secrets| ("secrets".to_owned(), secrets)));
    Value::Object(top)
}

fn config(content: &Content) -> Value {
    let shown = match std::str::from_utf8(&content.bytes) {
        _ if content.secret => MASKED.to_owned(),
        Ok(text) => text.to_owned(),
        Err(_) => format!("({} bytes)", content.bytes.len()),
    };
    json!({ "content": escape(&shown) })
}

fn escape(raw: &str) -> String {
    raw.replace('$', "$$")
}

fn text(raw: &str) -> Value {
    Value::String(escape(raw))
}

fn escaped(value: &Value) -> Value {
    match value {
        Value::String(raw) => text(raw),
        Value::Array(items) => Value::Array(items.iter().map(escaped).collect()),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| (key.clone(), escaped(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

fn put(map: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    map.extend(value.map(|value| (key.to_owned(), value)));
}

fn strings(map: &BTreeMap<String, String>) -> Option<Value> {
    (!map.is_empty()).then(|| {
        map.iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect()
    })
}

fn texts(map: &BTreeMap<String, Text>) -> Option<Value> {
    (!map.is_empty()).then(|| {
        map.iter()
            .map(|(key, value)| (key.clone(), text(value.shown())))
            .collect()
    })
}

fn list(items: &[String]) -> Option<Value> {
    (!items.is_empty()).then(|| items.iter().map(|item| text(item)).collect())
}

fn duration(nanos: Option<i64>) -> Option<Value> {
    nanos.map(|nanos| Value::String(show_nanoseconds(nanos)))
}

/// A number as text: sizes and limits are text in `docker compose config`, too.
fn number(value: Option<i64>) -> Option<Value> {
    value.map(|value| Value::String(value.to_string()))
}

fn service(project: &Project, service: &Service) -> Value {
    let mut one = Map::new();
    let mut put = |key: &str, value: Option<Value>| put(&mut one, key, value);
    let words = |parts: &Vec<Text>| -> Value { parts.iter().map(|part| text(part.shown())).collect() };
    let flag = |set: bool| set.then_some(json!(true));
    put("image", Some(text(service.image.shown())));
    put("platform", service.platform.as_deref().map(text));
    put(
        "pull_policy",
        match service.pull_policy {
            PullPolicy::Missing => None,
            PullPolicy::Always => Some(text("always")),
            PullPolicy::Never => Some(text("never")),
            PullPolicy::Every(nanos) => Some(Value::String(format!("every_{}", show_nanoseconds(nanos)))),
        },
    );
    put("container_name", service.container_name.as_deref().map(text));
    put("command", service.command.as_ref().map(words));
    put("entrypoint", service.entrypoint.as_ref().map(words));
    put("environment", texts(&service.environment));
    put("labels", texts(&service.labels));
    put("annotations", texts(&service.annotations));
    put("user", service.user.as_deref().map(text));
    put("group_add", list(&service.group_add));
    put("working_dir", service.working_dir.as_deref().map(text));
    put("hostname", service.hostname.as_deref().map(text));
    put("domainname", service.domainname.as_deref().map(text));
    put("mac_address", service.mac_address.as_deref().map(text));
    let ports: Vec<Value> = service.ports.iter().map(port).collect();
    put("ports", (!ports.is_empty()).then_some(Value::Array(ports)));
    put("expose", list(&service.expose));
    let volumes: Vec<Value> = service
        .volumes
        .iter()
        .map(|(target, one)| mount(project, target, one))
        .collect();
    put("volumes", (!volumes.is_empty()).then_some(Value::Array(volumes)));
    let tmpfs: Vec<String> = service
        .tmpfs
        .iter()
        .map(|(place, options)| {
            if options.is_empty() {
                place.clone()
            } else {
                format!("{place}:{options}")
            }
        })
        .collect();
    put("tmpfs", list(&tmpfs));
    put("configs", injected(&service.configs));
    put("secrets", injected(&service.secrets));
    put("volumes_from", list(&service.volumes_from));
    let links: Vec<String> = service
        .links
        .iter()
        .map(|(alias, target)| format!("{target}:{alias}"))
        .collect();
    put("links", list(&links));
    put(
        "network_mode",
        match &service.network_mode {
            NetworkMode::Networks => None,
            NetworkMode::None => Some(text("none")),
            NetworkMode::Host => Some(text("host")),
            NetworkMode::Bridge => Some(text("bridge")),
            NetworkMode::Service(name) => Some(text(&format!("service:{name}"))),
            NetworkMode::Container(name) => Some(text(&format!("container:{name}"))),
        },
    );
    let networks: Map<String, Value> = service
        .networks
        .iter()
        .map(|(key, endpoint)| {
            let value = escaped(&serde_json::to_value(endpoint).unwrap_or_default());
            let empty = value.as_object().is_some_and(Map::is_empty);
            (key.clone(), if empty { Value::Null } else { value })
        })
        .collect();
    put(
        "networks",
        (!networks.is_empty()).then_some(Value::Object(networks)),
    );
    put("pid", service.pid.as_ref().map(namespace));
    put("ipc", service.ipc.as_ref().map(namespace));
    put("uts", service.uts.as_deref().map(text));
    put("userns_mode", service.userns_mode.as_deref().map(text));
    put("cgroup", service.cgroup.as_deref().map(text));
    put("cgroup_parent", service.cgroup_parent.as_deref().map(text));
    put("runtime", service.runtime.as_deref().map(text));
    let depends: Map<String, Value> = service
        .depends_on
        .iter()
        .map(|(name, dependency)| {
            let condition = match dependency.condition {
                Condition::ServiceStarted => "service_started",
                Condition::ServiceHealthy => "service_healthy",
                Condition::ServiceCompletedSuccessfully => "service_completed_successfully",
            };
            let mut value = json!({ "condition": condition, "required": dependency.required });
            if let (true, Some(map)) = (dependency.restart, value.as_object_mut()) {
                map.insert("restart".to_owned(), json!(true));
            }
            (name.to_string(), value)
        })
        .collect();
    put(
        "depends_on",
        (!depends.is_empty()).then_some(Value::Object(depends)),
    );
    put(
        "healthcheck",
        service.healthcheck.as_ref().map(|check| {
            let mut inner = Map::new();
            super::print::put(&mut inner, "test", list(&check.test));
            super::print::put(&mut inner, "interval", duration(check.interval));
            super::print::put(&mut inner, "timeout", duration(check.timeout));
            super::print::put(&mut inner, "start_period", duration(check.start_period));
            super::print::put(&mut inner, "start_interval", duration(check.start_interval));
            super::print::put(&mut inner, "retries", check.retries.map(Value::from));
            Value::Object(inner)
        }),
    );
    put(
        "restart",
        service
            .restart
            .as_ref()
            .map(|restart| Value::String(restart.to_string())),
    );
    put("deploy", deploy(service));
    let limits = &service.resources;
    put("cpu_shares", limits.cpu_shares.map(Value::from));
    put("cpu_period", number(limits.cpu_period));
    put("cpu_quota", number(limits.cpu_quota));
    put("cpu_rt_period", number(limits.cpu_rt_period));
    put("cpu_rt_runtime", number(limits.cpu_rt_runtime));
    put("cpuset", limits.cpuset.as_deref().map(text));
    put("memswap_limit", number(limits.memory_swap));
    put("mem_swappiness", limits.memory_swappiness.map(Value::from));
    put(
        "blkio_config",
        limits.blkio_weight.map(|weight| json!({ "weight": weight })),
    );
    put("oom_kill_disable", limits.oom_kill_disable.map(Value::from));
    put("oom_score_adj", limits.oom_score_adj.map(Value::from));
    put("shm_size", number(service.shm_size));
    let ulimits: Map<String, Value> = service
        .ulimits
        .iter()
        .map(|(name, limit)| {
            let one = if limit.soft == limit.hard {
                json!(limit.soft)
            } else {
                json!({ "soft": limit.soft, "hard": limit.hard })
            };
            (name.clone(), one)
        })
        .collect();
    put("ulimits", (!ulimits.is_empty()).then_some(Value::Object(ulimits)));
    put("cap_add", list(&service.cap_add));
    put("cap_drop", list(&service.cap_drop));
    put("privileged", flag(service.privileged));
    put("read_only", flag(service.read_only));
    put("security_opt", list(&service.security_opt));
    put("dns", list(&service.dns));
    put("dns_search", list(&service.dns_search));
    put("dns_opt", list(&service.dns_opt));
    let hosts: Vec<String> = service
        .extra_hosts
        .iter()
        .map(|host| host.replacen(':', "=", 1))
        .collect();
    put("extra_hosts", list(&hosts));
    put("sysctls", strings(&service.sysctls));
    let devices: Vec<Value> = service
        .devices
        .iter()
        .map(|device| {
            json!({ "source": escape(&device.source), "target": escape(&device.target), "permissions": device.permissions })
        })
        .collect();
    put("devices", (!devices.is_empty()).then_some(Value::Array(devices)));
    put("device_cgroup_rules", list(&service.device_cgroup_rules));
    put("gpus", gpus(service));
    put("init", service.init.map(Value::from));
    put("stop_signal", service.stop_signal.as_deref().map(text));
    put("stop_grace_period", duration(service.stop_grace_period));
    put(
        "logging",
        service.logging.as_ref().map(|logging| {
            let mut inner = Map::new();
            super::print::put(&mut inner, "driver", logging.driver.as_deref().map(text));
            super::print::put(&mut inner, "options", strings(&logging.options));
            Value::Object(inner)
        }),
    );
    put("storage_opt", strings(&service.storage_opt));
    put("stdin_open", flag(service.stdin_open));
    put("tty", flag(service.tty));
    let mut extension = Map::new();
    if service.job {
        extension.insert("job".to_owned(), json!(true));
    }
    match service.state {
        WantedState::Running => {}
        WantedState::Paused => drop(extension.insert("state".to_owned(), json!("paused"))),
        WantedState::Stopped => drop(extension.insert("state".to_owned(), json!("stopped"))),
    }
    put(
        "x-driftless",
        (!extension.is_empty()).then_some(Value::Object(extension)),
    );
    Value::Object(one)
}

fn port(port: &crate::render::model::Port) -> Value {
    let mut one = Map::new();
    one.insert("target".into(), Value::from(port.target));
    if let Some((first, last)) = port.published {
        let published = if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        };
        one.insert("published".into(), Value::String(published));
    }
    if !port.host_ip.is_empty() {
        one.insert("host_ip".into(), Value::String(port.host_ip.clone()));
    }
    one.insert("protocol".into(), Value::String(port.protocol.clone()));
    Value::Object(one)
}

fn mount(project: &Project, target: &str, mount: &Mount) -> Value {
    let mut one = Map::new();
    let (kind, source) = match &mount.source {
        MountSource::Volume(key) => ("volume", Some(key.clone())),
        MountSource::Anonymous => ("volume", None),
        MountSource::Host(path) => ("bind", Some(path.clone())),
        MountSource::Tracked(hash) => (
            "bind",
            Some(format!(
                "./{}",
                project
                    .trees
                    .get(hash)
                    .map_or(hash.as_str(), |tree| tree.path.as_str())
            )),
        ),
        MountSource::Data(path) => ("bind", Some(format!("./{path}"))),
        MountSource::Tmpfs { .. } => ("tmpfs", None),
    };
    one.insert("type".into(), text(kind));
    put(&mut one, "source", source.as_deref().map(text));
    one.insert("target".into(), text(target));
    put(&mut one, "read_only", mount.read_only.then_some(json!(true)));
    let mut inner = Map::new();
    match &mount.source {
        MountSource::Tmpfs { size, mode } => {
            put(&mut inner, "size", number(*size));
            put(&mut inner, "mode", mode.map(Value::from));
        }
        MountSource::Volume(_) | MountSource::Anonymous => {
            put(&mut inner, "nocopy", mount.nocopy.then_some(json!(true)));
            put(&mut inner, "subpath", mount.subpath.as_deref().map(text));
        }
        _ => {
            put(&mut inner, "propagation", mount.propagation.as_deref().map(text));
            put(&mut inner, "selinux", mount.selinux.as_deref().map(text));
            put(
                &mut inner,
                "create_host_path",
                (!mount.create_host_path).then_some(json!(false)),
            );
        }
    }
    put(
        &mut one,
        kind,
        (!inner.is_empty()).then_some(Value::Object(inner)),
    );
    Value::Object(one)
}

fn injected(places: &BTreeMap<String, Injected>) -> Option<Value> {
    let items: Vec<Value> = places
        .iter()
        .map(|(place, entry)| {
            let mut one = Map::new();
            one.insert("source".into(), text(&entry.source));
            one.insert("target".into(), text(place));
            put(&mut one, "uid", entry.uid.map(|id| Value::String(id.to_string())));
            put(&mut one, "gid", entry.gid.map(|id| Value::String(id.to_string())));
            put(
                &mut one,
                "mode",
                entry.mode.map(|mode| Value::String(format!("0{mode:o}"))),
            );
            Value::Object(one)
        })
        .collect();
    (!items.is_empty()).then_some(Value::Array(items))
}

fn namespace(namespace: &Namespace) -> Value {
    match namespace {
        Namespace::Host => text("host"),
        Namespace::Service(name) => text(&format!("service:{name}")),
        Namespace::Container(name) => text(&format!("container:{name}")),
        Namespace::Other(word) => text(word),
    }
}

fn deploy(service: &Service) -> Option<Value> {
    let mut one = Map::new();
    if service.replicas != 1 {
        one.insert("replicas".into(), Value::from(service.replicas));
    }
    let resources = &service.resources;
    let mut limits = Map::new();
    let cpus = resources.nano_cpus.map(|nanos| {
        let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
        Value::String(text.trim_end_matches('0').trim_end_matches('.').to_owned())
    });
    put(&mut limits, "cpus", cpus);
    put(&mut limits, "memory", number(resources.memory));
    put(&mut limits, "pids", resources.pids_limit.map(Value::from));
    let mut inner = Map::new();
    put(
        &mut inner,
        "limits",
        (!limits.is_empty()).then_some(Value::Object(limits)),
    );
    let reserved = resources
        .memory_reservation
        .map(|bytes| json!({ "memory": bytes.to_string() }));
    put(&mut inner, "reservations", reserved);
    put(
        &mut one,
        "resources",
        (!inner.is_empty()).then_some(Value::Object(inner)),
    );
    let mut update = Map::new();
    put(
        &mut update,
        "order",
        service.update.order.map(|order| match order {
            UpdateOrder::StartFirst => text("start-first"),
            UpdateOrder::StopFirst => text("stop-first"),
        }),
    );
    put(&mut update, "monitor", duration(service.update.monitor));
    put(
        &mut update,
        "parallelism",
        service.update.parallelism.map(Value::from),
    );
    put(
        &mut one,
        "update_config",
        (!update.is_empty()).then_some(Value::Object(update)),
    );
    (!one.is_empty()).then_some(Value::Object(one))
}

fn gpus(service: &Service) -> Option<Value> {
    let items: Vec<Value> = service
        .device_requests
        .iter()
        .map(|request| {
            let mut one = Map::new();
            put(
                &mut one,
                "driver",
                (!request.driver.is_empty()).then(|| text(&request.driver)),
            );
            let count = request.count.map(|count| {
                if count < 0 {
                    text("all")
                } else {
                    Value::from(count)
                }
            });
            put(&mut one, "count", count);
            put(&mut one, "device_ids", list(&request.device_ids));
            let capabilities: Vec<String> = request.capabilities.iter().flatten().cloned().collect();
            put(&mut one, "capabilities", list(&capabilities));
            put(&mut one, "options", strings(&request.options));
            Value::Object(one)
        })
        .collect();
    (!items.is_empty()).then_some(Value::Array(items))
}
