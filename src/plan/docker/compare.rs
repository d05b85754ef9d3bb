//! The full semantic comparison of a container that we did not make with what a service asks for (docker.md §3).
//!
//! In: the raw inspect reply, the image's configuration, the canonical request. Out: the fields that differ. Guaranteed: a
//! value that the engine fills in, appends or inherits is never a difference; a field that is not understood is not one
//! either. Must not: judge what the short list covers (state, name, restart policy, limits, networks), or show a live value
//! as if it came from the commit.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::secret::{Text, looks_secret};

/// One field that differs: live value, wanted value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub field: String,
    pub from: Option<Text>,
    pub to: Option<Text>,
}

/// Compares `wanted` (a canonical request) with `live` (an inspect reply). `parent` resolves the containers that share
/// namespaces; `tree` gives the repository path of a mount source that is a file or folder of the commit.
pub(crate) fn differences(
    live: &Value,
    image: Option<&Value>,
    wanted: &Value,
    parent: &dyn Fn(&str) -> Option<String>,
    tree: &dyn Fn(&str) -> Option<String>,
) -> Vec<Difference> {
    let mut found = Found { list: Vec::new() };
    let config = live.get("Config").unwrap_or(&Value::Null);
    let host = live.get("HostConfig").unwrap_or(&Value::Null);
    let wanted_host = wanted.get("HostConfig").unwrap_or(&Value::Null);
    let image = image.unwrap_or(&Value::Null);

    environment(config, image, wanted, &mut found);
    labels(config, wanted, &mut found);
    command(config, image, wanted, &mut found);
    healthcheck(config, image, wanted, &mut found);
    inherited(config, image, wanted, &mut found);
    for (field, name) in [("Tty", "tty"), ("OpenStdin", "stdin_open")] {
        found.flags(name, config.get(field), wanted.get(field));
    }
    for (field, name) in [
        ("Hostname", "hostname"),
        ("Domainname", "domainname"),
        ("StopTimeout", "stop_grace_period"),
    ] {
        found.when_set(name, config.get(field), wanted.get(field));
    }
    for (field, name) in HOST_WHEN_SET {
        found.when_set(name, host.get(field), wanted_host.get(field));
    }
    for (field, name) in [("Privileged", "privileged"), ("ReadonlyRootfs", "read_only")] {
        found.flags(name, host.get(field), wanted_host.get(field));
    }
    for (field, name) in HOST_SETS {
        found.sets(name, &list(host, field), &list(wanted_host, field));
    }
    capabilities(host, wanted_host, &mut found);
    security(host, wanted_host, &mut found);
    logging(host, wanted_host, &mut found);
    ulimits(host, wanted_host, &mut found);
    devices(host, wanted_host, &mut found);
    found.maps("sysctls", &map(host, "Sysctls"), &map(wanted_host, "Sysctls"));
    found.maps(
        "storage_opt",
        &map(host, "StorageOpt"),
        &map(wanted_host, "StorageOpt"),
    );
    namespaces(host, wanted_host, parent, &mut found);
    ports(host, wanted_host, &mut found);
    mounts(live, host, wanted_host, tree, &mut found);
    found.list.sort_by(|a, b| a.field.cmp(&b.field));
    found.list
}

/// Compared only where the service says something: else the engine's default, which may be anything.
const HOST_WHEN_SET: &[(&str, &str)] = &[
    ("ShmSize", "shm_size"),
    ("Runtime", "runtime"),
    ("Init", "init"),
    ("UsernsMode", "userns_mode"),
    ("UTSMode", "uts"),
    ("CgroupParent", "cgroup_parent"),
    ("CgroupnsMode", "cgroup"),
    ("OomKillDisable", "resources.oom_kill_disable"),
    ("OomScoreAdj", "resources.oom_score_adj"),
    ("MemorySwappiness", "resources.memory_swappiness"),
    ("CpuRealtimePeriod", "resources.cpu_rt_period"),
    ("CpuRealtimeRuntime", "resources.cpu_rt_runtime"),
];

/// Lists whose order means nothing.
const HOST_SETS: &[(&str, &str)] = &[
    ("GroupAdd", "group_add"),
    ("Dns", "dns"),
    ("DnsSearch", "dns_search"),
    ("DnsOptions", "dns_opt"),
    ("ExtraHosts", "extra_hosts"),
    ("DeviceCgroupRules", "device_cgroup_rules"),
];

struct Found {
    list: Vec<Difference>,
}

impl Found {
    fn add(&mut self, field: impl Into<String>, from: Option<String>, to: Option<String>) {
        let field = field.into();
        let text = |value: String| Text {
            secret: looks_secret(&field, &value),
            value,
        };
        let (from, to) = (from.map(text), to.map(text));
        self.list.push(Difference { field, from, to });
    }

    fn flags(&mut self, name: &str, live: Option<&Value>, wanted: Option<&Value>) {
        let flag = |value: Option<&Value>| value.and_then(Value::as_bool).unwrap_or_default();
        if flag(live) != flag(wanted) {
            self.add(name, Some(flag(live).to_string()), Some(flag(wanted).to_string()));
        }
    }

    fn when_set(&mut self, name: &str, live: Option<&Value>, wanted: Option<&Value>) {
        if let Some(wanted) = wanted
            && live.unwrap_or(&Value::Null) != wanted
        {
            self.add(
                name,
                live.filter(|live| !live.is_null()).map(plain),
                Some(plain(wanted)),
            );
        }
    }

    fn sets(&mut self, name: &str, live: &[String], wanted: &[String]) {
        let set = |list: &[String]| -> BTreeSet<String> {
            list.iter().map(|entry| entry.replacen('=', ":", 1)).collect()
        };
        if set(live) != set(wanted) {
            self.add(name, some(live.join(", ")), some(wanted.join(", ")));
        }
    }

    fn maps(&mut self, name: &str, live: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) {
        let keys: BTreeSet<&String> = live.keys().chain(wanted.keys()).collect();
        for key in keys {
            if live.get(key) != wanted.get(key) {
                self.add(
                    format!("{name}.{key}"),
                    live.get(key).cloned(),
                    wanted.get(key).cloned(),
                );
            }
        }
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn list(value: &Value, field: &str) -> Vec<String> {
    value
        .get(field)
        .and_then(Value::as_array)
        .map(|list| list.iter().map(plain).collect())
        .unwrap_or_default()
}

fn map(value: &Value, field: &str) -> BTreeMap<String, String> {
    let entries = value.get(field).and_then(Value::as_object);
    entries
        .map(|map| {
            map.iter()
                .map(|(key, value)| (key.clone(), plain(value)))
                .collect()
        })
        .unwrap_or_default()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// `KEY=value` pairs by key; the last one counts.
fn pairs(value: &Value) -> BTreeMap<String, String> {
    let split = |entry: String| match entry.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (entry, String::new()),
    };
    list(value, "Env").into_iter().map(split).collect()
}

/// The engine appends the image's variables; the client may add proxy settings of its own.
fn environment(config: &Value, image: &Value, wanted: &Value, found: &mut Found) {
    let (live, inherited, wanted) = (pairs(config), pairs(image), pairs(wanted));
    // A live value did not come from this commit, so it counts as secret.
    for (key, value) in &wanted {
        if live.get(key) != Some(value) {
            let secret = looks_secret(key, value);
            found.list.push(Difference {
                field: format!("environment.{key}"),
                from: live.get(key).map(|value| Text::secret(value.clone())),
                to: Some(Text {
                    value: value.clone(),
                    secret,
                }),
            });
        }
    }
    for (key, value) in &live {
        let proxy = key.to_ascii_lowercase().ends_with("_proxy");
        if !wanted.contains_key(key) && inherited.get(key) != Some(value) && !proxy {
            // Without the image's configuration nobody can tell an inherited variable from an added one.
            if image.is_null() {
                continue;
            }
            found.list.push(Difference {
                field: format!("environment.{key}"),
                from: Some(Text::secret(value.clone())),
                to: None,
            });
        }
    }
}

fn labels(config: &Value, wanted: &Value, found: &mut Found) {
    let live = map(config, "Labels");
    for (key, value) in map(wanted, "Labels") {
        if live.get(&key) != Some(&value) {
            found.add(format!("labels.{key}"), live.get(&key).cloned(), Some(value));
        }
    }
}

/// Setting the entrypoint clears the image's command; a command alone keeps the image's entrypoint.
fn command(config: &Value, image: &Value, wanted: &Value, found: &mut Found) {
    let words = |value: Option<&Value>| -> Option<Vec<String>> {
        let list = value?.as_array()?;
        let words: Vec<String> = list.iter().map(plain).collect();
        Some(
            if words.len() == 1 && words.first().is_some_and(String::is_empty) {
                Vec::new()
            } else {
                words
            },
        )
    };
    let own_entrypoint = words(wanted.get("Entrypoint"));
    let own_command = words(wanted.get("Cmd"));
    let live_entrypoint = words(config.get("Entrypoint")).unwrap_or_default();
    let live_command = words(config.get("Cmd")).unwrap_or_default();
    let known = !image.is_null();
    let entrypoint = own_entrypoint
        .clone()
        .or_else(|| known.then(|| words(image.get("Entrypoint")).unwrap_or_default()));
    let command = match (own_command, own_entrypoint) {
        (Some(command), _) => Some(command),
        (None, Some(_)) => Some(Vec::new()),
        (None, None) => known.then(|| words(image.get("Cmd")).unwrap_or_default()),
    };
    for (name, live, wanted) in [
        ("entrypoint", live_entrypoint, entrypoint),
        ("command", live_command, command),
    ] {
        if let Some(wanted) = wanted
            && wanted != live
        {
            found.add(name, some(live.join(" ")), some(wanted.join(" ")));
        }
    }
}

/// Each absent field inherits the image's; the engine writes zero for both absent and default.
fn healthcheck(config: &Value, image: &Value, wanted: &Value, found: &mut Found) {
    let null = Value::Null;
    let live = config.get("Healthcheck").unwrap_or(&null);
    let inherited = image.get("Healthcheck").unwrap_or(&null);
    let own = wanted.get("Healthcheck").unwrap_or(&null);
    let test = match list(own, "Test") {
        test if !test.is_empty() => Some(test),
        _ if image.is_null() => None,
        _ => Some(list(inherited, "Test")),
    };
    let live_test = list(live, "Test");
    let off = |test: &[String]| test.is_empty() || test.first().is_some_and(|first| first == "NONE");
    if let Some(test) = test {
        if test != live_test && !(off(&test) && off(&live_test)) {
            found.add(
                "healthcheck.test",
                some(live_test.join(" ")),
                some(test.join(" ")),
            );
        }
        if off(&test) {
            return;
        }
    }
    let fields = [
        ("Interval", "interval"),
        ("Timeout", "timeout"),
        ("StartPeriod", "start_period"),
        ("StartInterval", "start_interval"),
        ("Retries", "retries"),
    ];
    let number = |value: &Value, field: &str| value.get(field).and_then(Value::as_i64).unwrap_or(0);
    for (field, name) in fields {
        let own = number(own, field);
        if own == 0 && image.is_null() {
            continue;
        }
        let wanted = if own != 0 { own } else { number(inherited, field) };
        if wanted != number(live, field) {
            let from = number(live, field);
            found.add(
                format!("healthcheck.{name}"),
                (from != 0).then(|| super::fields::duration_or_number(name, from)),
                (wanted != 0).then(|| super::fields::duration_or_number(name, wanted)),
            );
        }
    }
}

fn inherited(config: &Value, image: &Value, wanted: &Value, found: &mut Found) {
    for (field, name) in [
        ("User", "user"),
        ("WorkingDir", "working_dir"),
        ("StopSignal", "stop_signal"),
    ] {
        let expected = match text(wanted, field) {
            "" if image.is_null() => continue,
            "" => text(image, field),
            own => own,
        };
        let live = text(config, field);
        let same = live == expected
            || (name == "working_dir" && live.trim_end_matches('/') == expected.trim_end_matches('/'))
            // Older engines spell the default out.
            || (name == "stop_signal" && expected.is_empty() && live == "SIGTERM");
        if !same {
            found.add(name, some(live.to_owned()), some(expected.to_owned()));
        }
    }
}

fn capabilities(host: &Value, wanted: &Value, found: &mut Found) {
    for (field, name) in [("CapAdd", "cap_add"), ("CapDrop", "cap_drop")] {
        let normal = |list: Vec<String>| -> BTreeSet<String> {
            let bare = |cap: String| {
                let upper = cap.to_ascii_uppercase();
                upper.strip_prefix("CAP_").map_or(upper.clone(), str::to_owned)
            };
            list.into_iter().map(bare).collect()
        };
        let (live, wanted) = (normal(list(host, field)), normal(list(wanted, field)));
        if live != wanted {
            let join = |set: BTreeSet<String>| some(set.into_iter().collect::<Vec<_>>().join(", "));
            found.add(name, join(live), join(wanted));
        }
    }
}

/// The engine appends `label=disable` by itself.
fn security(host: &Value, wanted: &Value, found: &mut Found) {
    let live = list(host, "SecurityOpt");
    let wanted = list(wanted, "SecurityOpt");
    let missing = wanted.iter().any(|option| !live.contains(option));
    let added = live
        .iter()
        .any(|option| !wanted.contains(option) && !option.starts_with("label"));
    if missing || added {
        found.add("security_opt", some(live.join(", ")), some(wanted.join(", ")));
    }
}

/// Driver and options are merged with the engine's configuration at creation: only what the service sets is compared.
fn logging(host: &Value, wanted: &Value, found: &mut Found) {
    let (Some(live), Some(wanted)) = (host.get("LogConfig"), wanted.get("LogConfig")) else {
        return;
    };
    let driver = text(wanted, "Type");
    if !driver.is_empty() && driver != text(live, "Type") {
        found.add(
            "logging.driver",
            some(text(live, "Type").to_owned()),
            Some(driver.to_owned()),
        );
    }
    let options = map(live, "Config");
    for (key, value) in map(wanted, "Config") {
        if options.get(&key) != Some(&value) {
            found.add(
                format!("logging.options.{key}"),
                options.get(&key).cloned(),
                Some(value),
            );
        }
    }
}

/// Inspect adds the engine's default ulimits: only names that the service sets are compared.
fn ulimits(host: &Value, wanted: &Value, found: &mut Found) {
    let limits = |value: &Value| -> BTreeMap<String, String> {
        let entries = value
            .get("Ulimits")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let number =
            |entry: &Value, field: &str| entry.get(field).and_then(Value::as_i64).unwrap_or_default();
        entries
            .iter()
            .map(|entry| {
                (
                    text(entry, "Name").to_owned(),
                    format!("{}:{}", number(entry, "Soft"), number(entry, "Hard")),
                )
            })
            .collect()
    };
    let live = limits(host);
    for (name, value) in limits(wanted) {
        if live.get(&name) != Some(&value) {
            found.add(format!("ulimits.{name}"), live.get(&name).cloned(), Some(value));
        }
    }
}

fn devices(host: &Value, wanted: &Value, found: &mut Found) {
    let devices = |value: &Value| -> BTreeMap<String, String> {
        let entries = value
            .get("Devices")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        entries
            .iter()
            .map(|entry| {
                let source = text(entry, "PathOnHost");
                (
                    text(entry, "PathInContainer").to_owned(),
                    format!("{source}:{}", text(entry, "CgroupPermissions")),
                )
            })
            .collect()
    };
    found.maps("devices", &devices(host), &devices(wanted));
    let requests = |value: &Value| {
        value
            .get("DeviceRequests")
            .and_then(Value::as_array)
            .map_or(0, Vec::len)
    };
    if requests(host) != requests(wanted) {
        found.add(
            "gpus",
            Some(requests(host).to_string()),
            Some(requests(wanted).to_string()),
        );
    }
}

fn namespaces(host: &Value, wanted: &Value, parent: &dyn Fn(&str) -> Option<String>, found: &mut Found) {
    for (field, name) in [
        ("NetworkMode", "network_mode"),
        ("PidMode", "pid"),
        ("IpcMode", "ipc"),
    ] {
        let live = text(host, field);
        let mode = text(wanted, field);
        let same = match mode
            .strip_prefix("container:@service:")
            .and_then(|rest| rest.strip_suffix('@'))
        {
            Some(service) => parent(service).is_none_or(|id| live == format!("container:{id}")),
            // A container named by its name is found in the live state by its id.
            None if mode.starts_with("container:") => live.starts_with("container:"),
            // Which networks are joined is compared by endpoint.
            None if field == "NetworkMode" => match mode {
                "host" | "none" => live == mode,
                "bridge" => live == "bridge" || live == "default" || live.is_empty(),
                _ => !matches!(live, "host" | "none") && !live.starts_with("container:"),
            },
            None if mode.is_empty() => !(live == "host" || live.starts_with("container:")),
            None => live == mode,
        };
        if !same {
            let short = |text: &str| {
                text.get(..22)
                    .filter(|_| text.starts_with("container:"))
                    .unwrap_or(text)
                    .to_owned()
            };
            let shown = mode
                .strip_prefix("container:@")
                .map_or(mode.to_owned(), |rest| rest.trim_end_matches('@').to_owned());
            found.add(name, some(short(live)), some(shown));
        }
    }
}

/// Host addresses that mean "all" are one; an empty host port is the engine's choice.
fn ports(host: &Value, wanted: &Value, found: &mut Found) {
    let bindings = |value: &Value| -> BTreeSet<String> {
        let Some(map) = value.get("PortBindings").and_then(Value::as_object) else {
            return BTreeSet::new();
        };
        let mut all = BTreeSet::new();
        for (port, list) in map {
            for binding in list.as_array().into_iter().flatten() {
                let ip = match text(binding, "HostIp") {
                    "0.0.0.0" | "::" | "" => String::new(),
                    ip => format!("{ip}:"),
                };
                let published = match text(binding, "HostPort") {
                    "" | "0" => String::new(),
                    published => format!("{published}:"),
                };
                all.insert(format!("{ip}{published}{port}"));
            }
        }
        all
    };
    let (live, wanted) = (bindings(host), bindings(wanted));
    if live != wanted {
        let join = |set: BTreeSet<String>| some(set.into_iter().collect::<Vec<_>>().join(", "));
        found.add("ports", join(live), join(wanted));
    }
}

/// What is mounted at a place: type, name or source, and whether it can be written.
#[derive(PartialEq, Eq)]
struct Mounted {
    kind: String,
    source: String,
    writable: bool,
}

impl Mounted {
    fn shown(&self) -> String {
        let mode = if self.writable { "" } else { " (read-only)" };
        let source = if self.source.is_empty() {
            "anonymous volume"
        } else {
            &self.source
        };
        if self.kind == "tmpfs" {
            "tmpfs".to_owned()
        } else {
            format!("{source}{mode}")
        }
    }
}

fn mounts(
    live: &Value,
    host: &Value,
    wanted: &Value,
    tree: &dyn Fn(&str) -> Option<String>,
    found: &mut Found,
) {
    let now = live_mounts(live, host);
    let wanted = wanted_mounts(wanted);
    let same = |live: &Mounted, mount: &Mounted| {
        if live.kind != mount.kind {
            return false;
        }
        match mount.kind.as_str() {
            "tmpfs" => true,
            // An anonymous volume is compared by its place only.
            "volume" if mount.source.is_empty() => live.writable == mount.writable,
            // Files of the commit lie elsewhere in a project that we did not start. Their content can't be seen from here:
            // unknown, not different.
            "bind" if tree(&mount.source).is_some_and(|path| base(&path) == base(&live.source)) => true,
            _ => live.writable == mount.writable && live.source == mount.source,
        }
    };
    for (target, mount) in &wanted {
        if !now.get(target).is_some_and(|live| same(live, mount)) {
            found.add(
                format!("volumes.{target}"),
                now.get(target).map(Mounted::shown),
                Some(mount.shown()),
            );
        }
    }
    for (target, mount) in &now {
        let anonymous = mount.kind == "volume" && is_anonymous(&mount.source);
        if !wanted.contains_key(target) && !anonymous && mount.kind != "tmpfs" {
            found.add(format!("volumes.{target}"), Some(mount.shown()), None);
        }
    }
}

fn base(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// Whether a volume's name is one that the engine made up.
pub(crate) fn is_anonymous(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn live_mounts(live: &Value, host: &Value) -> BTreeMap<String, Mounted> {
    let mut mounts = BTreeMap::new();
    for entry in live.get("Mounts").and_then(Value::as_array).into_iter().flatten() {
        let kind = text(entry, "Type");
        let source = if kind == "volume" {
            text(entry, "Name")
        } else {
            text(entry, "Source")
        };
        let writable = entry.get("RW").and_then(Value::as_bool).unwrap_or(true);
        mounts.insert(
            text(entry, "Destination").to_owned(),
            Mounted {
                kind: kind.to_owned(),
                source: source.to_owned(),
                writable,
            },
        );
    }
    for target in map(host, "Tmpfs").into_keys() {
        mounts.insert(
            target,
            Mounted {
                kind: "tmpfs".to_owned(),
                source: String::new(),
                writable: true,
            },
        );
    }
    mounts
}

fn wanted_mounts(host: &Value) -> BTreeMap<String, Mounted> {
    let mut mounts = BTreeMap::new();
    for bind in list(host, "Binds") {
        let mut parts = bind.splitn(3, ':');
        let (source, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let writable = !parts
            .next()
            .unwrap_or_default()
            .split(',')
            .any(|option| option == "ro");
        mounts.insert(
            target.to_owned(),
            Mounted {
                kind: "bind".to_owned(),
                source: source.to_owned(),
                writable,
            },
        );
    }
    for entry in host.get("Mounts").and_then(Value::as_array).into_iter().flatten() {
        let writable = !entry.get("ReadOnly").and_then(Value::as_bool).unwrap_or(false);
        let kind = text(entry, "Type").to_owned();
        mounts.insert(
            text(entry, "Target").to_owned(),
            Mounted {
                kind,
                source: text(entry, "Source").to_owned(),
                writable,
            },
        );
    }
    for target in map(host, "Tmpfs").into_keys() {
        mounts.insert(
            target,
            Mounted {
                kind: "tmpfs".to_owned(),
                source: String::new(),
                writable: true,
            },
        );
    }
    mounts
}
