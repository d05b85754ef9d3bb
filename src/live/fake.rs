//! An engine in memory, stricter than a real one: it executes [`Op`]s on an [`Observed`].
//!
//! In: ops. Out: a changed observation, or an error that a real engine might have let pass. Guaranteed: touching an unknown
//! or foreign object, taking a taken name, starting on a taken port, removing what runs, or connecting twice is an error.
//! Must not: be lenient to make a test pass.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::docker::op::{ContainerRef, Op, Symbol};
use super::ownership::{self, compose};
use super::world::{
    Container, ContainerId, Engine, Health, Holder, ImageFact, Inspect, Limits, LiveEndpoint, LiveNetwork,
    LiveVolume, LocalImage, Observed, Owner, Ownership, Restart, State,
};
use crate::clock::Timestamp;
use crate::names::{Digest, TargetId};

/// The engine.
pub struct Fake {
    pub world: Observed,
    pub symbols: BTreeMap<Symbol, ContainerId>,
    /// Services whose containers end with 0 when they are started.
    pub jobs: BTreeSet<String>,
    /// The instance whose objects are ours.
    pub instance: String,
    /// What was called, one line each.
    pub log: Vec<String>,
    /// Fail the op whose text begins so.
    pub fail_at: Option<String>,
    /// Configurations of images by id.
    made: u64,
}

type Outcome = Result<(), String>;

impl Fake {
    /// An empty engine that speaks `api`.
    pub fn new(api: (u16, u16)) -> Self {
        let world = Observed {
            at: Timestamp::UNIX_EPOCH,
            engine: Engine {
                id: TargetId::try_from("ENGINE").expect("a target id"),
                version: "28.5.2".into(),
                api,
                platform: "linux/amd64".into(),
                local: true,
            },
            containers: Vec::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            holders: Vec::new(),
            cluster: None,
        };
        Self {
            world,
            symbols: BTreeMap::new(),
            jobs: BTreeSet::new(),
            instance: "test".into(),
            log: Vec::new(),
            fail_at: None,
            made: 0,
        }
    }

    /// Loads an image under a reference; its id follows from `seed`.
    pub fn image(&mut self, reference: &str, seed: &str, config: Value) {
        let digits = Digest::of("i", seed.as_bytes()).short(64).to_owned();
        let image = LocalImage {
            id: format!("sha256:{digits}"),
            repo_digests: Vec::new(),
            registry: None,
            config: Arc::new(config),
            platform: "linux/amd64".into(),
        };
        // A stored release asks by id.
        self.world
            .images
            .insert(image.id.clone(), ImageFact::Local(image.clone()));
        self.world
            .images
            .insert(reference.to_owned(), ImageFact::Local(image));
    }

    fn find(&mut self, container: &ContainerRef) -> Result<&mut Container, String> {
        let id = match container {
            ContainerRef::Id { id, .. } => id.clone(),
            ContainerRef::New { symbol, .. } => self
                .symbols
                .get(symbol)
                .cloned()
                .ok_or_else(|| format!("{container} was not made"))?,
        };
        let name = container.to_string();
        let found = self
            .world
            .containers
            .iter_mut()
            .find(|candidate| candidate.id == id);
        let found = found.ok_or_else(|| format!("no such container: {name}"))?;
        if found.name != name {
            return Err(format!("the plan calls {} {name}", found.name));
        }
        Ok(found)
    }

    /// A container by name.
    pub fn by_name(&mut self, name: &str) -> &mut Container {
        self.world
            .containers
            .iter_mut()
            .find(|container| container.name == name)
            .expect("a container of that name")
    }

    /// Does one op.
    pub fn execute(&mut self, op: &Op) -> Outcome {
        let text = op.to_string();
        if self
            .fail_at
            .as_ref()
            .is_some_and(|start| text.starts_with(start.as_str()))
        {
            return Err(format!("told to fail: {text}"));
        }
        self.log.push(text);
        let done = self.perform(op);
        self.derive();
        done
    }

    fn perform(&mut self, op: &Op) -> Outcome {
        match op {
            Op::PullImage { reference, .. } => {
                let seed = reference.clone();
                self.image(reference, &seed, json!({}));
                Ok(())
            }
            Op::CreateNetwork { name, body } => self.create_network(name, body),
            Op::CreateVolume { name, body } => self.create_volume(name, body),
            Op::CreateContainer {
                symbol, name, body, ..
            } => self.create(symbol, name, body.expose()),
            Op::CopyFiles {
                container,
                root,
                files,
            } => {
                let container = self.find(container)?;
                let read_only =
                    container.inspect.expose().pointer("/HostConfig/ReadonlyRootfs") == Some(&json!(true));
                if read_only && root == "/" {
                    return Err("the root file system is read-only".into());
                }
                files
                    .iter()
                    .all(|file| file.path.starts_with(root.as_str()))
                    .then_some(())
                    .ok_or_else(|| "a file outside".into())
            }
            Op::ConnectNetwork {
                network,
                container,
                endpoint,
            } => {
                let live = self
                    .world
                    .networks
                    .get(network)
                    .ok_or_else(|| format!("no network {network}"))?
                    .id
                    .clone();
                let container = self.find(container)?;
                if container.endpoints.contains_key(network) {
                    return Err(format!("{} is in {network} already", container.name));
                }
                let endpoint = attach(endpoint, &live, &container.name);
                container.endpoints.insert(network.clone(), endpoint);
                Ok(())
            }
            Op::DisconnectNetwork { network, container } => {
                let container = self.find(container)?;
                container
                    .endpoints
                    .remove(network)
                    .map(|_| ())
                    .ok_or_else(|| format!("not in {network}"))
            }
            Op::Start { container } => self.start(container),
            Op::Stop { container, .. } => {
                let container = self.find(container)?;
                if !matches!(
                    container.state,
                    State::Running | State::Paused | State::Restarting
                ) {
                    return Err(format!("{} does not run", container.name));
                }
                container.state = State::Exited;
                container.exit_code = Some(143);
                container.health = Health::None;
                Ok(())
            }
            Op::Restart { container, .. } => {
                let container = self.find(container)?;
                container
                    .running()
                    .then_some(())
                    .ok_or_else(|| "it does not run".into())
            }
            Op::Pause { container } => change_state(self.find(container)?, &State::Running, State::Paused),
            Op::Unpause { container } => change_state(self.find(container)?, &State::Paused, State::Running),
            Op::Rename { container, to } => {
                if self.world.containers.iter().any(|other| other.name == *to) {
                    return Err(format!("the name {to} is taken"));
                }
                let container = self.find(container)?;
                // The engine keeps announcing the old name as an alias only where it was asked for.
                for endpoint in container.endpoints.values_mut() {
                    endpoint.aliases.retain(|alias| alias != to);
                }
                container.name.clone_from(to);
                Ok(())
            }
            Op::Update { container, body } => update(self.find(container)?, body),
            Op::RemoveContainer { container, force } => {
                let found = self.find(container)?;
                if found.owner != Owner::Ours {
                    return Err(format!("{} is not ours", found.name));
                }
                if matches!(found.state, State::Running | State::Paused | State::Restarting) && !force {
                    return Err(format!("{} runs", found.name));
                }
                let id = found.id.clone();
                self.world.containers.retain(|container| container.id != id);
                Ok(())
            }
            Op::RemoveNetwork { name } => {
                let network = self
                    .world
                    .networks
                    .get(name)
                    .ok_or_else(|| format!("no network {name}"))?;
                if network.owner.owner != Owner::Ours || !network.attached.is_empty() {
                    return Err(format!("{name} is in use or not ours"));
                }
                self.world.networks.remove(name);
                Ok(())
            }
            Op::RemoveVolume { name } => self
                .world
                .volumes
                .remove(name)
                .map(|_| ())
                .ok_or_else(|| format!("no volume {name}")),
        }
    }

    fn owner(&self, labels: &Value) -> Owner {
        match labels.get(ownership::INSTANCE).and_then(Value::as_str) {
            Some(instance) if instance == self.instance => Owner::Ours,
            Some(other) => Owner::OtherInstance(other.to_owned()),
            None => Owner::Unmanaged,
        }
    }

    fn create_network(&mut self, name: &str, body: &Value) -> Outcome {
        if self.world.networks.contains_key(name) {
            return Err(format!("network {name} exists"));
        }
        self.made += 1;
        let (owner, spec) = self.ownership(body, compose::NETWORK);
        let network = LiveNetwork {
            id: format!("net{}", self.made),
            name: name.to_owned(),
            owner,
            spec,
            attached: Vec::new(),
            inspect: Arc::new(body.clone()),
        };
        self.world.networks.insert(name.to_owned(), network);
        Ok(())
    }

    fn create_volume(&mut self, name: &str, body: &Value) -> Outcome {
        if self.world.volumes.contains_key(name) {
            return Err(format!("volume {name} exists"));
        }
        let (owner, spec) = self.ownership(body, compose::VOLUME);
        let mut inspect = body.clone();
        if let (Some(options), Some(map)) = (body.get("DriverOpts").cloned(), inspect.as_object_mut()) {
            map.insert("Options".into(), options);
        }
        let volume = LiveVolume {
            name: name.to_owned(),
            owner,
            spec,
            inspect: Arc::new(inspect),
        };
        self.world.volumes.insert(name.to_owned(), volume);
        Ok(())
    }

    fn ownership(&self, body: &Value, key: &str) -> (Ownership, Option<Digest>) {
        let labels = body.get("Labels").cloned().unwrap_or_default();
        let text = |name: &str| labels.get(name).and_then(Value::as_str).map(str::to_owned);
        let owner = Ownership {
            owner: self.owner(&labels),
            key: text(key).unwrap_or_default(),
            in_project: text(compose::PROJECT).is_some(),
        };
        (owner, text(ownership::SPEC).map(|spec| Digest::read_back(&spec)))
    }

    /// Makes a container as `POST /containers/create` does.
    pub fn create(&mut self, symbol: &Symbol, name: &str, body: &Value) -> Outcome {
        if self.world.containers.iter().any(|other| other.name == name) {
            return Err(format!("the name {name} is taken"));
        }
        let reference = body.get("Image").and_then(Value::as_str).unwrap_or_default();
        let Some(ImageFact::Local(image)) = self.world.images.get(reference).cloned() else {
            return Err(format!("no such image: {reference}"));
        };
        self.made += 1;
        let id = format!("{:064x}", 0xabc0_0000_u64 + self.made);
        let mut host = body.get("HostConfig").cloned().unwrap_or_default();
        for field in ["NetworkMode", "PidMode", "IpcMode"] {
            let Some(mode) = host.get(field).and_then(Value::as_str).map(str::to_owned) else {
                continue;
            };
            if let Some(parent) = mode.strip_prefix("container:") {
                let id = match parent
                    .strip_prefix("@symbol:")
                    .and_then(|rest| rest.strip_suffix('@'))
                {
                    Some(symbol) => self
                        .symbols
                        .get(&Symbol(symbol.into()))
                        .cloned()
                        .ok_or("an unknown symbol")?
                        .0
                        .to_string(),
                    None => parent.to_owned(),
                };
                if !self
                    .world
                    .containers
                    .iter()
                    .any(|container| *container.id.0 == *id)
                {
                    return Err(format!("no such parent: {id}"));
                }
                host[field] = json!(format!("container:{id}"));
            }
        }
        let mut endpoints = BTreeMap::new();
        let asked = body
            .pointer("/NetworkingConfig/EndpointsConfig")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        if asked.len() > 1 && self.world.engine.api < (1, 44) {
            return Err("only one network at create".into());
        }
        for (network, endpoint) in asked {
            let live = self
                .world
                .networks
                .get(&network)
                .ok_or_else(|| format!("no network {network}"))?;
            endpoints.insert(network, attach(&endpoint, &live.id, name));
        }
        for mount in host.get("Mounts").and_then(Value::as_array).into_iter().flatten() {
            let source = mount.get("Source").and_then(Value::as_str).unwrap_or_default();
            let named =
                mount.get("Type") == Some(&json!("volume")) && !source.is_empty() && source.len() != 64;
            if named && !self.world.volumes.contains_key(source) {
                return Err(format!("no volume {source}"));
            }
        }
        let labels = body.get("Labels").cloned().unwrap_or_default();
        let text = |name: &str| {
            labels
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let config = inspected_config(body, &image.config, &id);
        let container = Container {
            id: ContainerId(id.clone().into()),
            name: name.to_owned(),
            service: text(compose::SERVICE),
            index: text(compose::NUMBER).parse().unwrap_or(1),
            owner: self.owner(&labels),
            spec: Some(text(ownership::SPEC))
                .filter(|spec| !spec.is_empty())
                .map(|spec| Digest::read_back(&spec)),
            state: State::Created,
            exit_code: Some(0),
            oom_killed: false,
            error: String::new(),
            restart_count: 0,
            created_at: None,
            started_at: None,
            finished_at: None,
            health: Health::None,
            last_check: None,
            image_id: image.id.clone(),
            image_ref: reference.to_owned(),
            restart: Restart {
                name: String::new(),
                max_retries: 0,
            },
            limits: Limits::default(),
            endpoints,
            inspect: Inspect::from(
                json!({ "Id": id, "Config": config, "HostConfig": host, "Mounts": mounts(&host, &image.config, self.made) }),
            ),
        };
        self.world.containers.push(container);
        self.world.containers.sort_by(|a, b| a.name.cmp(&b.name));
        self.symbols.insert(symbol.clone(), ContainerId(id.into()));
        let made = self.find(&ContainerRef::New {
            symbol: symbol.clone(),
            name: name.to_owned(),
        })?;
        update(made, &host)
    }

    fn start(&mut self, reference: &ContainerRef) -> Outcome {
        let jobs = self.jobs.clone();
        let wanted = ports(self.find(reference)?);
        let id = self.find(reference)?.id.clone();
        for holder in &self.world.holders {
            if holder.running && holder.id != id && holder.ports.iter().any(|port| wanted.contains(port)) {
                return Err(format!("port is already allocated by {}", holder.name));
            }
        }
        let container = self.find(reference)?;
        if matches!(container.state, State::Running | State::Paused | State::Dead) {
            return Err(format!("{} can't be started", container.name));
        }
        if jobs.contains(&container.service) {
            container.state = State::Exited;
            container.exit_code = Some(0);
            container.started_at = Some(Timestamp::UNIX_EPOCH);
            return Ok(());
        }
        container.state = State::Running;
        let checked = container
            .inspect
            .expose()
            .pointer("/Config/Healthcheck/Test")
            .is_some();
        container.health = if checked { Health::Healthy } else { Health::None };
        Ok(())
    }

    /// What follows from the containers: holders, and what is attached to networks.
    fn derive(&mut self) {
        let foreign: Vec<Holder> = self
            .world
            .holders
            .drain(..)
            .filter(|holder| !holder.project.is_empty() && holder.project != "web")
            .collect();
        self.world.holders = foreign;
        for container in &self.world.containers {
            let running = matches!(container.state, State::Running | State::Paused);
            self.world.holders.push(Holder {
                id: container.id.clone(),
                name: container.name.clone(),
                project: "web".into(),
                running,
                ports: if running { ports(container) } else { Vec::new() },
            });
        }
        self.world.containers.sort_by(|a, b| a.name.cmp(&b.name));
        for network in self.world.networks.values_mut() {
            network.attached = self
                .world
                .containers
                .iter()
                .filter(|container| {
                    container.endpoints.contains_key(&network.name) && container.state == State::Running
                })
                .map(|container| container.id.clone())
                .collect();
        }
    }
}

fn change_state(container: &mut Container, from: &State, to: State) -> Outcome {
    if container.state != *from {
        return Err(format!("{} is {}", container.name, container.state));
    }
    container.state = to;
    Ok(())
}

fn attach(endpoint: &Value, network: &str, own: &str) -> LiveEndpoint {
    let mut aliases: Vec<String> = endpoint
        .get("Aliases")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|alias| *alias != own)
        .map(str::to_owned)
        .collect();
    aliases.sort();
    let ipv4_address = endpoint
        .pointer("/IPAMConfig/IPv4Address")
        .and_then(Value::as_str)
        .map(str::to_owned);
    LiveEndpoint {
        network_id: network.to_owned(),
        aliases,
        ipv4_address,
        ip: None,
    }
}

fn ports(container: &Container) -> Vec<(String, u16, String)> {
    let bindings = container
        .inspect
        .expose()
        .pointer("/HostConfig/PortBindings")
        .and_then(Value::as_object);
    let mut ports = Vec::new();
    for (port, list) in bindings.into_iter().flatten() {
        let protocol = port.split_once('/').map_or("tcp", |(_, protocol)| protocol);
        for binding in list.as_array().into_iter().flatten() {
            let text = |field: &str| binding.get(field).and_then(Value::as_str).unwrap_or_default();
            if let Ok(number) = text("HostPort").parse() {
                ports.push((text("HostIp").to_owned(), number, protocol.to_owned()));
            }
        }
    }
    ports
}

/// Limits and policy as an update changes them: zero and absent leave what was there.
fn update(container: &mut Container, body: &Value) -> Outcome {
    let number = |field: &str| {
        body.get(field)
            .and_then(Value::as_i64)
            .filter(|value| *value != 0)
    };
    let limits = &mut container.limits;
    if number("NanoCpus").is_some() && limits.cpu_quota.is_some()
        || number("CpuQuota").is_some() && limits.nano_cpus.is_some()
    {
        return Err("conflicting options".into());
    }
    let memory = number("Memory");
    let swap = number("MemorySwap");
    if let (Some(memory), Some(old), None) = (memory, limits.memory_swap, swap)
        && old > 0
        && memory > old
    {
        return Err("memory limit above the memory+swap limit".into());
    }
    limits.memory = memory.or(limits.memory);
    limits.memory_swap = swap.or(limits.memory_swap).or(memory.map(|memory| memory * 2));
    limits.nano_cpus = number("NanoCpus").or(limits.nano_cpus);
    limits.cpu_shares = number("CpuShares").or(limits.cpu_shares);
    limits.cpu_period = number("CpuPeriod").or(limits.cpu_period);
    limits.cpu_quota = number("CpuQuota").or(limits.cpu_quota);
    limits.memory_reservation = number("MemoryReservation").or(limits.memory_reservation);
    limits.cpuset = body
        .get("CpusetCpus")
        .and_then(Value::as_str)
        .map(str::to_owned)
        .or(limits.cpuset.take());
    limits.pids_limit = match number("PidsLimit") {
        Some(limit) if limit < 0 => None,
        other => other.or(limits.pids_limit),
    };
    if let Some(policy) = body.get("RestartPolicy") {
        container.restart = Restart {
            name: policy
                .get("Name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            max_retries: policy
                .get("MaximumRetryCount")
                .and_then(Value::as_i64)
                .unwrap_or(0),
        };
    }
    Ok(())
}

/// `Config` as inspect shows it: merged with the image's, defaults filled in.
fn inspected_config(body: &Value, image: &Value, id: &str) -> Value {
    let mut config = body.clone();
    if let Some(map) = config.as_object_mut() {
        map.remove("HostConfig");
        map.remove("NetworkingConfig");
        map.entry("Hostname").or_insert_with(|| json!(&id[..12]));
        let mut env: Vec<Value> = map
            .get("Env")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let key = |entry: &Value| {
            entry
                .as_str()
                .and_then(|text| text.split_once('='))
                .map(|(key, _)| key.to_owned())
        };
        let own: Vec<Option<String>> = env.iter().map(key).collect();
        let inherited = image
            .get("Env")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        env.extend(inherited.into_iter().filter(|entry| !own.contains(&key(entry))));
        map.insert("Env".into(), Value::Array(env));
        let cleared = map.contains_key("Entrypoint");
        for field in [
            "Entrypoint",
            "Cmd",
            "User",
            "WorkingDir",
            "StopSignal",
            "Healthcheck",
        ] {
            let keep = map.contains_key(field) || (field == "Cmd" && cleared);
            if let (false, Some(value)) = (keep, image.get(field)) {
                map.insert(field.into(), value.clone());
            }
        }
    }
    config
}

fn mounts(host: &Value, image: &Value, made: u64) -> Value {
    let mut mounts = Vec::new();
    let mut targets = BTreeSet::new();
    for bind in host
        .get("Binds")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        let mut parts = bind.splitn(3, ':');
        let (source, target, mode) = (
            parts.next(),
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        targets.insert(target.to_owned());
        mounts.push(json!({ "Type": "bind", "Source": source, "Destination": target, "RW": !mode.split(',').any(|option| option == "ro") }));
    }
    for mount in host.get("Mounts").and_then(Value::as_array).into_iter().flatten() {
        let text = |field: &str| mount.get(field).and_then(Value::as_str).unwrap_or_default();
        let writable = mount.get("ReadOnly").and_then(Value::as_bool) != Some(true);
        targets.insert(text("Target").to_owned());
        let name = if text("Source").is_empty() {
            format!("{made:064x}")
        } else {
            text("Source").to_owned()
        };
        mounts.push(json!({ "Type": text("Type"), "Name": name, "Source": text("Source"), "Destination": text("Target"), "RW": writable }));
    }
    for target in image
        .get("Volumes")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|volumes| volumes.keys())
    {
        if !targets.contains(target) {
            mounts.push(json!({ "Type": "volume", "Name": format!("{:064x}", made + 77), "Destination": target, "RW": true }));
        }
    }
    Value::Array(mounts)
}
