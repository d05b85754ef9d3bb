//! The effective create request of a service.
//!
//! In: a normalised service, the names its networks and volumes have on the engine, the engine's API version. Out: a
//! [`Template`], equal for all containers of the service, and from it the request for one of them. Guaranteed: a field that
//! the engine is too old for is a problem, never dropped; the template does not depend on the engine's version, so that an
//! upgraded engine recreates nothing. Must not: look at live containers, or resolve images.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::live::docker::op::CopyFile;
use crate::live::ownership::{self, compose};
use crate::names::{AppKey, Digest, InstanceName, ServiceName};
use crate::plan::{Problem, ProblemKind};
use crate::render::model::{Mount, MountSource, Namespace, NetworkMode, Project, Service};
use crate::secret::Secret;

/// The version of Compose whose labels are written.
pub(crate) const COMPOSE_VERSION: &str = "2.40.3";

/// What a request needs to know beside the service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub key: &'a AppKey,
    pub instance: &'a InstanceName,
    pub project: &'a Project,
    /// Live names of networks by their key in the project.
    pub networks: &'a BTreeMap<String, String>,
    pub files_dir: &'a str,
    pub data_dir: &'a str,
}

/// A service's create request without what differs between its containers: name, number, image, own labels.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    /// Without `Image`, `Labels` hold only the service's; namespaces of other services are `container:@service:NAME@`.
    body: Secret<Value>,
    /// Networks in order of joining, by live name, with endpoint settings without our aliases.
    pub endpoints: Vec<(String, Value)>,
    /// Files copied in before the first start.
    pub files: Vec<CopyFile>,
    pub spec: Digest,
}

/// How one container of a template is made.
pub(crate) struct Making<'a> {
    pub service: &'a ServiceName,
    pub index: u32,
    /// The image id, or a pinned reference while the id is unknown.
    pub image: &'a str,
    pub image_config: Option<&'a Value>,
    pub api: (u16, u16),
    /// Whether the service's name and aliases are announced (not while a new container is tried beside the old one).
    pub announced: bool,
    /// Id or symbol text of the container whose namespaces are shared, by service.
    pub parents: &'a dyn Fn(&str) -> Option<String>,
    /// Anonymous volumes of the container that is replaced: place → volume name.
    pub carried: &'a BTreeMap<String, String>,
}

/// A request with the networks that have to be connected after it, because the engine takes only one at create.
pub(crate) struct Request {
    pub body: Secret<Value>,
    pub connect: Vec<(String, Value)>,
}

/// The name of a service's container.
pub(crate) fn container_name(project: &Project, name: &ServiceName, service: &Service, index: u32) -> String {
    match &service.container_name {
        Some(fixed) => fixed.clone(),
        None => format!("{}-{name}-{index}", project.name),
    }
}

/// The template of a service.
pub(crate) fn template(setting: &Setting<'_>, name: &ServiceName, service: &Service) -> Template {
    let endpoints = endpoints(setting, service);
    let body = body(setting, service, &endpoints);
    let files = files(setting.project, service);
    let spec = super::spec::of_service(&body, &endpoints, &files, name);
    Template {
        body: Secret::new(body),
        endpoints,
        files,
        spec,
    }
}

impl Template {
    /// The canonical request: for comparing two templates and a template with a live container. Holds secrets.
    pub fn canonical(&self) -> &Value {
        self.body.expose()
    }

    /// The endpoint settings with which one container joins a network.
    pub fn endpoint(
        &self,
        endpoint: &Value,
        container: &str,
        service: &ServiceName,
        announced: bool,
    ) -> Value {
        let mut endpoint = endpoint.clone();
        let extra: Vec<Value> = endpoint
            .get("Aliases")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let mut aliases = Vec::new();
        if announced {
            aliases.push(json!(container));
            aliases.push(json!(service.as_str()));
            aliases.extend(extra);
        }
        aliases.dedup();
        if let Some(map) = endpoint.as_object_mut() {
            map.insert("Aliases".to_owned(), Value::Array(aliases));
        }
        endpoint
    }

    /// The request for one container.
    pub fn request(&self, setting: &Setting<'_>, service: &Service, making: &Making<'_>) -> Request {
        let mut body = self.body.expose().clone();
        let name = container_name(setting.project, making.service, service, making.index);
        let joined: Vec<(String, Value)> = self
            .endpoints
            .iter()
            .map(|(network, endpoint)| {
                (
                    network.clone(),
                    self.endpoint(endpoint, &name, making.service, making.announced),
                )
            })
            .collect();
        let (at_create, connect) = if making.api >= (1, 44) || joined.len() < 2 {
            (joined, Vec::new())
        } else {
            let mut joined = joined;
            let rest = joined.split_off(1);
            (joined, rest)
        };
        let labels = labels(setting, service, making, &self.spec);
        let entrypoint = cleared_entrypoint(service, making.image_config);
        if let Some(map) = body.as_object_mut() {
            map.insert("Image".to_owned(), json!(making.image));
            map.insert("Labels".to_owned(), json!(labels));
            if let Some(entrypoint) = entrypoint {
                map.insert("Entrypoint".to_owned(), entrypoint);
            }
            if !at_create.is_empty() {
                let endpoints: Map<String, Value> = at_create.into_iter().collect();
                map.insert(
                    "NetworkingConfig".to_owned(),
                    json!({ "EndpointsConfig": endpoints }),
                );
            }
            if making.api >= (1, 44)
                && let Some(mac) = map.remove("MacAddress")
                && let Some((network, _)) = self.endpoints.first()
                && let Some(endpoint) = map
                    .get_mut("NetworkingConfig")
                    .and_then(|config| config.pointer_mut("/EndpointsConfig"))
                && let Some(Value::Object(endpoint)) = endpoint.get_mut(network)
            {
                endpoint.entry("MacAddress").or_insert(mac);
            }
            if let Some(Value::Object(host)) = map.get_mut("HostConfig") {
                finish_host(host, making);
            }
        }
        Request {
            body: Secret::new(body),
            connect,
        }
    }
}

/// Resolves the namespaces of other services, and mounts the anonymous volumes that are carried over.
fn finish_host(host: &mut Map<String, Value>, making: &Making<'_>) {
    for field in ["NetworkMode", "PidMode", "IpcMode"] {
        let Some(Value::String(text)) = host.get_mut(field) else {
            continue;
        };
        if let Some(parent) = text
            .strip_prefix("container:@service:")
            .and_then(|rest| rest.strip_suffix('@'))
        {
            *text = format!("container:{}", (making.parents)(parent).unwrap_or_default());
        }
    }
    if let Some(Value::Array(from)) = host.get_mut("VolumesFrom") {
        for entry in from {
            let Value::String(text) = entry else { continue };
            let Some(rest) = text.strip_prefix("@service:") else {
                continue;
            };
            let Some((parent, mode)) = rest.split_once('@') else {
                continue;
            };
            *text = format!("{}{mode}", (making.parents)(parent).unwrap_or_default());
        }
    }
    if !making.carried.is_empty() {
        let mounts = host.entry("Mounts").or_insert_with(|| json!([]));
        if let Value::Array(mounts) = mounts {
            mounts.retain(|mount| {
                let target = mount.get("Target").and_then(Value::as_str).unwrap_or_default();
                !making.carried.contains_key(target)
            });
            for (target, volume) in making.carried {
                mounts.push(json!({ "Type": "volume", "Source": volume, "Target": target }));
            }
        }
    }
}

/// `command: []` empties the image's command. The engine reads an empty list as "the image's", unless the entrypoint is set
/// too: setting it clears the image's command.
fn cleared_entrypoint(service: &Service, image: Option<&Value>) -> Option<Value> {
    let cleared = service.command.as_ref().is_some_and(Vec::is_empty) && service.entrypoint.is_none();
    if !cleared {
        return None;
    }
    let entrypoint = image?.get("Entrypoint")?;
    entrypoint
        .as_array()
        .is_some_and(|list| !list.is_empty())
        .then(|| entrypoint.clone())
}

fn labels(
    setting: &Setting<'_>,
    service: &Service,
    making: &Making<'_>,
    spec: &Digest,
) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = service
        .labels
        .iter()
        .map(|(name, value)| (name.clone(), value.value.clone()))
        .collect();
    let depends: Vec<String> = service
        .depends_on
        .iter()
        .map(|(name, dependency)| {
            let condition = match dependency.condition {
                crate::render::model::Condition::ServiceStarted => "service_started",
                crate::render::model::Condition::ServiceHealthy => "service_healthy",
                crate::render::model::Condition::ServiceCompletedSuccessfully => {
                    "service_completed_successfully"
                }
            };
            format!("{name}:{condition}:{}", dependency.restart)
        })
        .collect();
    let ours = [
        (ownership::INSTANCE, setting.instance.to_string()),
        (ownership::APP, ownership::app_label(setting.key)),
        (ownership::SERVICE, making.service.to_string()),
        (ownership::SPEC, spec.to_string()),
        (compose::PROJECT, setting.project.name.to_string()),
        (compose::SERVICE, making.service.to_string()),
        (compose::NUMBER, making.index.to_string()),
        (compose::ONEOFF, "False".to_owned()),
        (compose::CONFIG_HASH, spec.short(64).to_owned()),
        (compose::DEPENDS_ON, depends.join(",")),
        (compose::WORKING_DIR, setting.data_dir.to_owned()),
        (compose::CONFIG_FILES, String::new()),
        (compose::VERSION, COMPOSE_VERSION.to_owned()),
        (compose::IMAGE, making.image.to_owned()),
    ];
    labels.extend(ours.into_iter().map(|(name, value)| (name.to_owned(), value)));
    labels
}

/// The networks of a service in order of joining: by priority, then by key.
fn endpoints(setting: &Setting<'_>, service: &Service) -> Vec<(String, Value)> {
    let mut joined: Vec<_> = service.networks.iter().collect();
    joined.sort_by(|(a, x), (b, y)| y.priority.cmp(&x.priority).then(a.cmp(b)));
    joined
        .into_iter()
        .map(|(key, endpoint)| {
            let name = setting.networks.get(key).cloned().unwrap_or_else(|| key.clone());
            let mut settings = Map::new();
            settings.insert("Aliases".to_owned(), json!(endpoint.aliases));
            let mut ipam = Map::new();
            put(&mut ipam, "IPv4Address", endpoint.ipv4_address.as_ref());
            put(&mut ipam, "IPv6Address", endpoint.ipv6_address.as_ref());
            put_list(&mut ipam, "LinkLocalIPs", &endpoint.link_local_ips);
            if !ipam.is_empty() {
                settings.insert("IPAMConfig".to_owned(), Value::Object(ipam));
            }
            put(&mut settings, "MacAddress", endpoint.mac_address.as_ref());
            put_map(&mut settings, "DriverOpts", &endpoint.driver_opts);
            let links: Vec<String> = service
                .links
                .iter()
                .filter_map(|(alias, target)| {
                    let linked = setting.project.services.get(target)?;
                    Some(format!(
                        "{}:{alias}",
                        container_name(setting.project, target, linked, 1)
                    ))
                })
                .collect();
            put_list(&mut settings, "Links", &links);
            (name, Value::Object(settings))
        })
        .collect()
}

fn body(setting: &Setting<'_>, service: &Service, endpoints: &[(String, Value)]) -> Value {
    let mut body = Map::new();
    put(&mut body, "Hostname", service.hostname.as_ref());
    put(&mut body, "Domainname", service.domainname.as_ref());
    put(&mut body, "User", service.user.as_ref());
    put(&mut body, "WorkingDir", service.working_dir.as_ref());
    put(&mut body, "StopSignal", service.stop_signal.as_ref());
    if let Some(grace) = service.stop_grace_period {
        body.insert("StopTimeout".to_owned(), json!(seconds(grace)));
    }
    put_true(&mut body, "Tty", service.tty);
    put_true(&mut body, "OpenStdin", service.stdin_open);
    put(&mut body, "MacAddress", service.mac_address.as_ref());
    if let Some(command) = &service.command {
        body.insert("Cmd".to_owned(), texts(command));
    }
    if let Some(entrypoint) = &service.entrypoint {
        // An empty list would mean "the image's" to the engine; one empty word resets it.
        let reset = entrypoint.is_empty();
        body.insert(
            "Entrypoint".to_owned(),
            if reset { json!([""]) } else { texts(entrypoint) },
        );
    }
    let env: Vec<String> = service
        .environment
        .iter()
        .map(|(name, value)| format!("{name}={}", value.value))
        .collect();
    put_list(&mut body, "Env", &env);
    let labels: BTreeMap<&String, &String> = service
        .labels
        .iter()
        .map(|(name, text)| (name, &text.value))
        .collect();
    if !labels.is_empty() {
        body.insert("Labels".to_owned(), json!(labels));
    }
    if let Some(check) = &service.healthcheck {
        let mut health = Map::new();
        put_list(&mut health, "Test", &check.test);
        put(&mut health, "Interval", check.interval);
        put(&mut health, "Timeout", check.timeout);
        put(&mut health, "StartPeriod", check.start_period);
        put(&mut health, "StartInterval", check.start_interval);
        put(&mut health, "Retries", check.retries);
        body.insert("Healthcheck".to_owned(), Value::Object(health));
    }
    let mut exposed: BTreeMap<String, Value> = service
        .expose
        .iter()
        .map(|port| (port.clone(), json!({})))
        .collect();
    exposed.extend(
        service
            .ports
            .iter()
            .map(|port| (format!("{}/{}", port.target, port.protocol), json!({}))),
    );
    if !exposed.is_empty() {
        body.insert("ExposedPorts".to_owned(), json!(exposed));
    }
    body.insert("HostConfig".to_owned(), host_config(setting, service, endpoints));
    Value::Object(body)
}

fn host_config(setting: &Setting<'_>, service: &Service, endpoints: &[(String, Value)]) -> Value {
    let mut host = Map::new();
    let mode = match &service.network_mode {
        NetworkMode::Networks => endpoints.first().map(|(name, _)| name.clone()),
        NetworkMode::None => Some("none".to_owned()),
        NetworkMode::Host => Some("host".to_owned()),
        NetworkMode::Bridge => Some("bridge".to_owned()),
        NetworkMode::Service(parent) => Some(format!("container:@service:{parent}@")),
        NetworkMode::Container(name) => Some(format!("container:{name}")),
    };
    put(&mut host, "NetworkMode", mode);
    put(&mut host, "PidMode", service.pid.as_ref().map(namespace));
    put(&mut host, "IpcMode", service.ipc.as_ref().map(namespace));
    put(&mut host, "UTSMode", service.uts.as_ref());
    put(&mut host, "UsernsMode", service.userns_mode.as_ref());
    put(&mut host, "CgroupnsMode", service.cgroup.as_ref());
    put(&mut host, "CgroupParent", service.cgroup_parent.as_ref());
    put(&mut host, "Runtime", service.runtime.as_ref());
    // Always written: an absent policy is `no`, and a default that is spelled out can't shift.
    let restart = service.restart.as_ref();
    host.insert(
        "RestartPolicy".to_owned(),
        json!({
            "Name": restart.map_or("no", |restart| restart.name.as_str()),
            "MaximumRetryCount": restart.map_or(0, |restart| restart.max_retries),
        }),
    );
    ports(&mut host, service);
    mounts(&mut host, setting, service);
    resources(&mut host, service);
    put_list(&mut host, "GroupAdd", &service.group_add);
    put_list(&mut host, "CapAdd", &service.cap_add);
    put_list(&mut host, "CapDrop", &service.cap_drop);
    put_true(&mut host, "Privileged", service.privileged);
    put_true(&mut host, "ReadonlyRootfs", service.read_only);
    put_list(&mut host, "SecurityOpt", &service.security_opt);
    put_list(&mut host, "Dns", &service.dns);
    put_list(&mut host, "DnsSearch", &service.dns_search);
    put_list(&mut host, "DnsOptions", &service.dns_opt);
    put_list(&mut host, "ExtraHosts", &service.extra_hosts);
    put_map(&mut host, "Sysctls", &service.sysctls);
    put_map(&mut host, "StorageOpt", &service.storage_opt);
    let annotations: BTreeMap<String, String> = service
        .annotations
        .iter()
        .map(|(name, text)| (name.clone(), text.value.clone()))
        .collect();
    put_map(&mut host, "Annotations", &annotations);
    put(&mut host, "ShmSize", service.shm_size);
    put(&mut host, "Init", service.init);
    if let Some(logging) = &service.logging {
        host.insert(
            "LogConfig".to_owned(),
            json!({ "Type": logging.driver.as_deref().unwrap_or(""), "Config": logging.options }),
        );
    }
    if !service.volumes_from.is_empty() {
        let from: Vec<String> = service
            .volumes_from
            .iter()
            .map(|from| volumes_from(from))
            .collect();
        put_list(&mut host, "VolumesFrom", &from);
    }
    Value::Object(host)
}

fn namespace(namespace: &Namespace) -> String {
    match namespace {
        Namespace::Host => "host".to_owned(),
        Namespace::Service(parent) => format!("container:@service:{parent}@"),
        Namespace::Container(name) => format!("container:{name}"),
        Namespace::Other(other) => other.clone(),
    }
}

fn volumes_from(from: &str) -> String {
    if let Some(container) = from.strip_prefix("container:") {
        return container.to_owned();
    }
    match from.split_once(':') {
        Some((service, mode)) => format!("@service:{service}@:{mode}"),
        None => format!("@service:{from}@"),
    }
}

fn ports(host: &mut Map<String, Value>, service: &Service) {
    let mut bindings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for port in &service.ports {
        let published = match port.published {
            None => String::new(),
            Some((first, last)) if first == last => first.to_string(),
            Some((first, last)) => format!("{first}-{last}"),
        };
        bindings
            .entry(format!("{}/{}", port.target, port.protocol))
            .or_default()
            .push(json!({ "HostIp": port.host_ip, "HostPort": published }));
    }
    if !bindings.is_empty() {
        host.insert("PortBindings".to_owned(), json!(bindings));
    }
}

fn mounts(host: &mut Map<String, Value>, setting: &Setting<'_>, service: &Service) {
    let mut binds = Vec::new();
    let mut list = Vec::new();
    for (target, mount) in &service.volumes {
        match &mount.source {
            // The old `Binds` syntax makes a missing host folder and takes SELinux flags; `Mounts` does neither.
            MountSource::Host(source) if mount.create_host_path || mount.selinux.is_some() => {
                binds.push(bind(source, target, mount));
            }
            MountSource::Data(path) => {
                binds.push(bind(&below(setting.data_dir, path), target, mount));
            }
            MountSource::Host(source) => list.push(bind_mount(source, target, mount, mount.read_only)),
            MountSource::Tracked(hash) => {
                let source = crate::plan::tree_path(setting.files_dir, hash);
                list.push(bind_mount(&source, target, mount, true));
            }
            MountSource::Volume(key) => {
                let name = setting
                    .project
                    .volumes
                    .get(key)
                    .map_or(key.as_str(), |volume| volume.name.as_str());
                list.push(volume_mount(Some(name), target, mount));
            }
            MountSource::Anonymous => list.push(volume_mount(None, target, mount)),
            MountSource::Tmpfs { size, mode } => {
                let mut options = Map::new();
                put(&mut options, "SizeBytes", *size);
                put(&mut options, "Mode", *mode);
                let mut entry = json!({ "Type": "tmpfs", "Target": target });
                if !options.is_empty()
                    && let Some(entry) = entry.as_object_mut()
                {
                    entry.insert("TmpfsOptions".to_owned(), Value::Object(options));
                }
                list.push(entry);
            }
        }
    }
    // Files can't be copied into a read-only root file system. They go into volumes that are mounted over their folders.
    if service.read_only {
        for folder in injected_folders(service) {
            list.push(json!({ "Type": "volume", "Target": folder }));
        }
    }
    put_list(host, "Binds", &binds);
    if !list.is_empty() {
        host.insert("Mounts".to_owned(), Value::Array(list));
    }
    put_map(host, "Tmpfs", &service.tmpfs);
}

/// The folders into which configs and secrets are copied, without those that a mount already covers.
pub(crate) fn injected_folders(service: &Service) -> Vec<String> {
    let mut folders: Vec<String> = service
        .configs
        .keys()
        .chain(service.secrets.keys())
        .map(|path| match path.rsplit_once('/') {
            Some(("", _)) | None => "/".to_owned(),
            Some((folder, _)) => folder.to_owned(),
        })
        .filter(|folder| {
            folder != "/" && !service.volumes.contains_key(folder) && !service.tmpfs.contains_key(folder)
        })
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

fn below(folder: &str, path: &str) -> String {
    let path = path.trim_start_matches("./").trim_matches('/');
    let folder = folder.trim_end_matches('/');
    if path.is_empty() || path == "." {
        folder.to_owned()
    } else {
        format!("{folder}/{path}")
    }
}

fn bind(source: &str, target: &str, mount: &Mount) -> String {
    let mut options = vec![if mount.read_only { "ro" } else { "rw" }];
    options.extend(mount.selinux.as_deref());
    options.extend(mount.propagation.as_deref());
    format!("{source}:{target}:{}", options.join(","))
}

fn bind_mount(source: &str, target: &str, mount: &Mount, read_only: bool) -> Value {
    let mut entry = json!({ "Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only });
    if let (Some(propagation), Some(entry)) = (&mount.propagation, entry.as_object_mut()) {
        entry.insert("BindOptions".to_owned(), json!({ "Propagation": propagation }));
    }
    entry
}

fn volume_mount(name: Option<&str>, target: &str, mount: &Mount) -> Value {
    let mut entry = Map::new();
    entry.insert("Type".to_owned(), json!("volume"));
    put(&mut entry, "Source", name);
    entry.insert("Target".to_owned(), json!(target));
    entry.insert("ReadOnly".to_owned(), json!(mount.read_only));
    let mut options = Map::new();
    put_true(&mut options, "NoCopy", mount.nocopy);
    put(&mut options, "Subpath", mount.subpath.as_ref());
    if !options.is_empty() {
        entry.insert("VolumeOptions".to_owned(), Value::Object(options));
    }
    Value::Object(entry)
}

fn resources(host: &mut Map<String, Value>, service: &Service) {
    let limits = &service.resources;
    put(host, "NanoCpus", set(limits.nano_cpus));
    put(host, "CpuShares", set(limits.cpu_shares));
    put(host, "CpuPeriod", set(limits.cpu_period));
    put(host, "CpuQuota", set(limits.cpu_quota));
    put(host, "CpuRealtimePeriod", set(limits.cpu_rt_period));
    put(host, "CpuRealtimeRuntime", set(limits.cpu_rt_runtime));
    put(
        host,
        "CpusetCpus",
        limits.cpuset.as_ref().filter(|cpus| !cpus.is_empty()),
    );
    put(host, "Memory", set(limits.memory));
    put(host, "MemorySwap", set(limits.memory_swap));
    put(host, "MemoryReservation", set(limits.memory_reservation));
    put(host, "MemorySwappiness", limits.memory_swappiness);
    put(
        host,
        "PidsLimit",
        set(limits.pids_limit).filter(|limit| *limit > 0),
    );
    put(
        host,
        "BlkioWeight",
        limits.blkio_weight.filter(|weight| *weight != 0),
    );
    put(host, "OomKillDisable", limits.oom_kill_disable);
    put(host, "OomScoreAdj", limits.oom_score_adj);
    let ulimits: Vec<Value> = service
        .ulimits
        .iter()
        .map(|(name, limit)| json!({ "Name": name, "Soft": limit.soft, "Hard": limit.hard }))
        .collect();
    put_values(host, "Ulimits", ulimits);
    let devices: Vec<Value> = service
        .devices
        .iter()
        .map(|device| {
            json!({
                "PathOnHost": device.source,
                "PathInContainer": device.target,
                "CgroupPermissions": device.permissions,
            })
        })
        .collect();
    put_values(host, "Devices", devices);
    put_list(host, "DeviceCgroupRules", &service.device_cgroup_rules);
    let requests: Vec<Value> = service
        .device_requests
        .iter()
        .map(|request| {
            json!({
                "Driver": request.driver,
                "Count": request.count.unwrap_or(0),
                "DeviceIDs": request.device_ids,
                "Capabilities": request.capabilities,
                "Options": request.options,
            })
        })
        .collect();
    put_values(host, "DeviceRequests", requests);
}

fn files(project: &Project, service: &Service) -> Vec<CopyFile> {
    let configs = service
        .configs
        .iter()
        .map(|(path, injected)| (path, injected, &project.configs));
    let secrets = service
        .secrets
        .iter()
        .map(|(path, injected)| (path, injected, &project.secrets));
    configs
        .chain(secrets)
        .filter_map(|(path, injected, contents)| {
            let content = contents.get(&injected.source)?;
            Some(CopyFile {
                path: path.clone(),
                mode: injected.mode.unwrap_or(0o444),
                uid: injected.uid.unwrap_or(0),
                gid: injected.gid.unwrap_or(0),
                content: Secret::new(Arc::from(content.bytes.as_slice())),
            })
        })
        .collect()
}

/// The fields that need a newer API than the oldest supported one. A field that the engine would drop in silence must be
/// in this table.
pub(crate) fn too_new(
    name: &ServiceName,
    service: &Service,
    api: (u16, u16),
    engine: &str,
) -> Vec<(String, Problem)> {
    let networks = service.networks.values();
    let table: [((u16, u16), &str, bool); 5] = [
        (
            (1, 44),
            "healthcheck.start_interval",
            service
                .healthcheck
                .as_ref()
                .is_some_and(|check| check.start_interval.is_some_and(|i| i != 0)),
        ),
        ((1, 43), "annotations", !service.annotations.is_empty()),
        (
            (1, 45),
            "volumes",
            service.volumes.values().any(|mount| mount.subpath.is_some()),
        ),
        (
            (1, 44),
            "networks",
            networks.clone().any(|endpoint| endpoint.mac_address.is_some()),
        ),
        ((1, 41), "cgroup", service.cgroup.is_some()),
    ];
    let what = |field: &str| match field {
        "volumes" => "`volume.subpath`".to_owned(),
        "networks" => "`mac_address` of a network".to_owned(),
        other => format!("`{other}`"),
    };
    table
        .into_iter()
        .filter(|(least, _, used)| *used && api < *least)
        .map(|(least, field, _)| {
            (
                field.to_owned(),
                needs_api(&what(field), &format!("service `{name}`"), least, api, engine),
            )
        })
        .collect()
}

/// The problem of a field that the engine is too old for.
pub(crate) fn needs_api(
    what: &str,
    whose: &str,
    least: (u16, u16),
    api: (u16, u16),
    engine: &str,
) -> Problem {
    Problem {
        code: "E0570",
        message: format!(
            "{what} of {whose} needs Docker API {}.{}, and the engine (version {engine}) speaks {}.{}",
            least.0, least.1, api.0, api.1
        ),
        place: None,
        help: Some("remove the field or upgrade the engine".to_owned()),
        kind: ProblemKind::Target,
    }
}

/// Whole seconds of a duration in nanoseconds, rounded up: half a second of grace must not become none.
pub(crate) fn seconds(nanoseconds: i64) -> i64 {
    nanoseconds.max(0).saturating_add(999_999_999) / 1_000_000_000
}

fn set(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value != 0)
}

fn texts(list: &[crate::secret::Text]) -> Value {
    Value::Array(list.iter().map(|text| json!(text.value)).collect())
}

fn put<T: serde::Serialize>(map: &mut Map<String, Value>, field: &str, value: Option<T>) {
    if let Some(value) = value {
        map.insert(field.to_owned(), json!(value));
    }
}

fn put_true(map: &mut Map<String, Value>, field: &str, value: bool) {
    if value {
        map.insert(field.to_owned(), json!(true));
    }
}

fn put_list(map: &mut Map<String, Value>, field: &str, list: &[String]) {
    if !list.is_empty() {
        map.insert(field.to_owned(), json!(list));
    }
}

fn put_values(map: &mut Map<String, Value>, field: &str, list: Vec<Value>) {
    if !list.is_empty() {
        map.insert(field.to_owned(), Value::Array(list));
    }
}

fn put_map(map: &mut Map<String, Value>, field: &str, entries: &BTreeMap<String, String>) {
    if !entries.is_empty() {
        map.insert(field.to_owned(), json!(entries));
    }
}
