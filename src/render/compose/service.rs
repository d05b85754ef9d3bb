//! One service.
//!
//! In: its interpolated node. Out: [`Service`]. Guaranteed: every key was held against the key list; short forms are
//! expanded. Must not: look at other services (that is `checks.rs`).

use std::collections::BTreeMap;

use super::context::{Context, fields, malformed, parsed, string_map, text_map};
use super::files::What;
use super::networks::sorted;
use super::{deploy, environment, files, healthcheck, keys, mounts, networks, ports};
use crate::document::{Code, Diagnostic, Diagnostics, Fields, Item, Node, Span, Value};
use crate::image::ImageRef;
use crate::names::ServiceName;
use crate::render::model::{
    Condition, Dependency, Device, Logging, Namespace, NetworkMode, Port, PullPolicy, Service, Ulimit,
    WantedState,
};
use crate::render::units;
use crate::secret::Text;

/// Reads a service.
pub(super) fn read(cx: &Context<'_>, item: &Item, diagnostics: &mut Diagnostics) -> Option<Service> {
    let name = item.key.value.as_str();
    let what = format!("service `{name}`");
    let mut read = fields(&item.value, &what, keys::SERVICE, diagnostics)?;
    let fields = &mut read;
    let deploy = deploy::read(fields);
    let mut service = Service {
        image: image(cx, fields),
        replicas: deploy.replicas,
        resources: deploy.resources,
        update: deploy.update,
        restart: deploy.restart,
        device_requests: deploy.device_requests,
        environment: environment::read(cx, fields),
        labels: text_map(cx, fields, "labels"),
        annotations: text_map(cx, fields, "annotations"),
        command: command(cx, fields, "command"),
        entrypoint: command(cx, fields, "entrypoint"),
        volumes: mounts::read(cx, fields),
        tmpfs: mounts::tmpfs(fields),
        configs: files::injected(What::Config, fields),
        secrets: files::injected(What::Secret, fields),
        network_mode: networks::mode(fields),
        networks: networks::endpoints(fields),
        healthcheck: healthcheck::read(fields),
        ports: read_ports(fields),
        expose: exposed(fields),
        depends_on: depends_on(fields),
        ..Service::default()
    };
    identity(fields, &mut service);
    process(fields, &mut service);
    security(fields, &mut service);
    machine(cx, fields, &mut service);
    extension(fields, &mut service);
    references(fields, &mut service);
    if service.network_mode == NetworkMode::Networks && service.networks.is_empty() {
        service.networks.insert("default".to_owned(), Default::default());
    }
    Some(service)
}

fn image(cx: &Context<'_>, fields: &mut Fields<'_, '_>) -> Text {
    let build = fields.node("build");
    let Some(image) = fields.string("image") else {
        if let Some(build) = build {
            let message = format!("{} is built from source, which is not supported", fields.what());
            fields.diagnostics().push(
                Diagnostic::error(Code::BUILD, &build.span, message)
                    .with_help("build and push the image in CI, and name it with `image:`"),
            );
        } else if !fields.has("image") {
            let span = fields.span();
            let message = format!("{} needs `image`", fields.what());
            fields
                .diagnostics()
                .push(Diagnostic::error(Code::MISSING_FIELD, span, message));
        } else {
            fields.required("image");
        }
        return Text::default();
    };
    if let Some(build) = build {
        let message = format!(
            "{} has `build` and `image`: the image is used, nothing is built",
            fields.what()
        );
        fields
            .diagnostics()
            .push(Diagnostic::warning(Code::NO_EFFECT, &build.span, message));
    }
    if let Err(error) = ImageRef::parse(&image.value) {
        let mut finding = Diagnostic::error(Code::BAD_IMAGE, &image.span, error.to_string());
        if cx.is_outside(&image.span) {
            finding = finding.without_source();
        }
        fields.diagnostics().push(finding);
    }
    cx.text("image", &image)
}

/// `command` and `entrypoint`: text is split as a shell would, without a shell.
fn command(cx: &Context<'_>, fields: &mut Fields<'_, '_>, key: &'static str) -> Option<Vec<Text>> {
    let node = fields.node(key)?;
    match &node.value {
        Value::Sequence(items) => {
            let mut parts = Vec::with_capacity(items.len());
            for item in items {
                match cx.node_text("", item) {
                    Some(text) => parts.push(text),
                    None => fields.wrong(key, "a list of text", item),
                }
            }
            Some(parts)
        }
        Value::String(text) => match shell_words::split(text) {
            Ok(parts) => {
                let outside = cx.is_outside(&node.span);
                // A word that stands in the file as it is did not come from outside.
                let written = node
                    .span
                    .text()
                    .split(|c: char| c.is_whitespace() || c == '"' || c == '\'');
                let from_outside = |part: &str| outside && !written.clone().any(|word| word == part);
                Some(
                    parts
                        .into_iter()
                        .map(|part| cx.text_of("", part.clone(), from_outside(&part)))
                        .collect(),
                )
            }
            Err(_) => {
                let message = format!("`{key}` of {} has a quote that is not closed", fields.what());
                fields.diagnostics().push(malformed(&node.span, message));
                None
            }
        },
        _ => {
            fields.wrong(key, "text or a list of text", node);
            None
        }
    }
}

fn read_ports(fields: &mut Fields<'_, '_>) -> Vec<Port> {
    let mut all = Vec::new();
    for node in fields.sequence("ports").unwrap_or_default() {
        let result = match &node.value {
            Value::Mapping(_) => {
                let what = format!("a port of {}", fields.what());
                let Some(mut port) = super::context::fields(node, &what, keys::PORT, fields.diagnostics())
                else {
                    continue;
                };
                port.word("mode", &["host", "ingress"]);
                let mut text = |key| port.text(key).map(|text| text.value).unwrap_or_default();
                let (target, published, ip, protocol) = (
                    text("target"),
                    text("published"),
                    text("host_ip"),
                    text("protocol"),
                );
                ports::long(&target, &published, &ip, &protocol)
            }
            _ => match node.as_text() {
                Some(text) => ports::short(&text),
                None => {
                    fields.wrong("ports", "a list of `host:container` or mappings", node);
                    continue;
                }
            },
        };
        match result {
            Ok(ports) => all.extend(ports),
            Err(why) => {
                let message = format!("a port of {} is not valid: {why}", fields.what());
                fields.diagnostics().push(malformed(&node.span, message));
            }
        }
    }
    all.sort();
    all.dedup();
    all
}

fn exposed(fields: &mut Fields<'_, '_>) -> Vec<String> {
    let mut all = Vec::new();
    for text in fields.texts("expose").unwrap_or_default() {
        match ports::expose(&text.value) {
            Ok(ports) => all.extend(ports),
            Err(why) => {
                let message = format!("`expose` of {} is not valid: {why}", fields.what());
                fields.diagnostics().push(malformed(&text.span, message));
            }
        }
    }
    all.sort();
    all.dedup();
    all
}

fn service_name(fields: &mut Fields<'_, '_>, raw: &str, span: &Span) -> Option<ServiceName> {
    match ServiceName::try_from(raw) {
        Ok(name) => Some(name),
        Err(error) => {
            fields
                .diagnostics()
                .push(Diagnostic::error(Code::BAD_NAME, span, error.to_string()));
            None
        }
    }
}

fn depends_on(fields: &mut Fields<'_, '_>) -> BTreeMap<ServiceName, Dependency> {
    let mut all = BTreeMap::new();
    let Some(node) = fields.node("depends_on") else {
        return all;
    };
    match &node.value {
        Value::Sequence(_) => {
            for name in fields.texts("depends_on").unwrap_or_default() {
                if let Some(name) = service_name(fields, &name.value, &name.span) {
                    all.insert(name, STARTED);
                }
            }
        }
        Value::Mapping(mapping) => {
            for item in mapping {
                let Some(name) = service_name(fields, &item.key.value, &item.key.span) else {
                    continue;
                };
                let what = format!("`depends_on.{name}` of {}", fields.what());
                let rules = &crate::document::FieldRules::COMPOSE;
                let Some(mut entry) = Fields::of(&item.value, what, rules, fields.diagnostics()) else {
                    continue;
                };
                let words = [
                    "service_started",
                    "service_healthy",
                    "service_completed_successfully",
                ];
                entry.required("condition");
                let condition = match entry.word("condition", &words).map(|word| word.value) {
                    Some("service_healthy") => Condition::ServiceHealthy,
                    Some("service_completed_successfully") => Condition::ServiceCompletedSuccessfully,
                    _ => Condition::ServiceStarted,
                };
                let required = entry.bool("required").is_none_or(|flag| flag.value);
                let restart = entry.bool("restart").is_some_and(|flag| flag.value);
                entry.finish(&[]);
                all.insert(
                    name,
                    Dependency {
                        condition,
                        required,
                        restart,
                    },
                );
            }
        }
        _ => fields.wrong("depends_on", "a list of services or a mapping", node),
    }
    all
}

const STARTED: Dependency = Dependency {
    condition: Condition::ServiceStarted,
    required: true,
    restart: false,
};

/// Who the container is.
fn identity(fields: &mut Fields<'_, '_>, service: &mut Service) {
    let mut text = |key| fields.string(key).map(|text| text.value);
    service.platform = text("platform");
    service.working_dir = text("working_dir");
    service.hostname = text("hostname");
    service.domainname = text("domainname");
    service.mac_address = text("mac_address");
    service.runtime = text("runtime");
    // Compose wants text; a bare number is what people write.
    service.user = fields.text("user").map(|user| user.value);
    service.group_add = sorted(fields.texts("group_add"));
    if let Some(name) = fields.string("container_name") {
        let fits = name.value.len() >= 2
            && name.value.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .value
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if !fits {
            let message = format!(
                "`container_name` of {} is not a name that engines take",
                fields.what()
            );
            fields.diagnostics().push(malformed(&name.span, message));
        }
        service.container_name = Some(name.value);
    }
    if let Some(policy) = fields.string("pull_policy") {
        service.pull_policy = match policy.value.as_str() {
            "always" => PullPolicy::Always,
            "never" => PullPolicy::Never,
            "missing" | "if_not_present" => PullPolicy::Missing,
            "daily" => PullPolicy::Every(86_400_000_000_000),
            "weekly" => PullPolicy::Every(604_800_000_000_000),
            "build" => {
                let message = format!(
                    "`pull_policy: build` of {} is not supported: nothing is built",
                    fields.what()
                );
                fields
                    .diagnostics()
                    .push(Diagnostic::error(Code::BUILD, &policy.span, message));
                PullPolicy::Missing
            }
            other => match other.strip_prefix("every_").and_then(units::nanoseconds) {
                Some(period) => PullPolicy::Every(period),
                None => {
                    let message = format!("`pull_policy` of {} cannot be `{other}`", fields.what());
                    fields.diagnostics().push(
                        Diagnostic::error(Code::NOT_ALLOWED, &policy.span, message).with_note(
                            "allowed: always, never, missing, if_not_present, daily, weekly, every_DURATION",
                        ),
                    );
                    PullPolicy::Missing
                }
            },
        };
    }
}

/// How the process runs.
fn process(fields: &mut Fields<'_, '_>, service: &mut Service) {
    service.init = fields.bool("init").map(|flag| flag.value);
    service.stdin_open = fields.bool("stdin_open").is_some_and(|flag| flag.value);
    service.tty = fields.bool("tty").is_some_and(|flag| flag.value);
    service.stop_signal = fields.text("stop_signal").map(|signal| signal.value);
    service.stop_grace_period = parsed(
        fields,
        "stop_grace_period",
        "a duration such as `30s`",
        units::nanoseconds,
    );
    service.shm_size = parsed(fields, "shm_size", "a size such as `64m`", units::bytes);
    service.sysctls = string_map(fields, "sysctls");
    service.storage_opt = string_map(fields, "storage_opt");
    if let Some((mapping, _)) = fields.mapping("ulimits") {
        for item in mapping {
            let what = format!("ulimit `{}` of {}", item.key.value, fields.what());
            if let Some(limit) = ulimit(&item.value, &what, fields.diagnostics()) {
                service.ulimits.insert(item.key.value.clone(), limit);
            }
        }
    }
    service.logging = fields.nested("logging", format!("`logging` of {}", fields.what()), |logging| {
        Logging {
            driver: logging.string("driver").map(|driver| driver.value),
            options: string_map(logging, "options"),
        }
    });
}

fn ulimit(node: &Node, what: &str, diagnostics: &mut Diagnostics) -> Option<Ulimit> {
    let number = |node: &Node| node.as_int().or_else(|| node.as_text()?.trim().parse().ok());
    if let Value::Mapping(_) = &node.value {
        let mut read = Fields::of(node, what, &crate::document::FieldRules::COMPOSE, diagnostics)?;
        let (soft, hard) = (read.required("soft"), read.required("hard"));
        let (soft, hard) = (soft.and_then(number), hard.and_then(number));
        read.finish(&[]);
        return Some(Ulimit {
            soft: soft?,
            hard: hard?,
        });
    }
    match number(node) {
        Some(value) => Some(Ulimit {
            soft: value,
            hard: value,
        }),
        None => {
            diagnostics.push(malformed(
                &node.span,
                format!("{what} must be a number, or `soft` and `hard`"),
            ));
            None
        }
    }
}

/// What the container may do.
fn security(fields: &mut Fields<'_, '_>, service: &mut Service) {
    service.privileged = fields.bool("privileged").is_some_and(|flag| flag.value);
    service.read_only = fields.bool("read_only").is_some_and(|flag| flag.value);
    service.cap_add = sorted(fields.texts("cap_add"));
    service.cap_drop = sorted(fields.texts("cap_drop"));
    for option in fields.texts("security_opt").unwrap_or_default() {
        let (name, value) = match option.value.split_once(['=', ':']) {
            Some((name, value)) => (name, Some(value)),
            None => (option.value.as_str(), None),
        };
        let refused = match (name, value) {
            ("seccomp", Some(value)) if !matches!(value, "unconfined" | "builtin") => {
                Some("a seccomp profile from a file is not supported yet")
            }
            ("systempaths", _) => Some("`systempaths` is not supported yet"),
            (name, None) if name != "no-new-privileges" => Some("it must be `name=value`"),
            _ => None,
        };
        if let Some(why) = refused {
            let message = format!("`security_opt` {:?} of {}: {why}", option.value, fields.what());
            let code = if value.is_none() {
                Code::MALFORMED
            } else {
                Code::NOT_SUPPORTED
            };
            fields
                .diagnostics()
                .push(Diagnostic::error(code, &option.span, message));
            continue;
        }
        service.security_opt.push(match value {
            Some(value) => format!("{name}={value}"),
            None => name.to_owned(),
        });
    }
    service.security_opt.sort();
    service.security_opt.dedup();
    service.pid = networks::namespace(fields, "pid", &["private"]);
    service.ipc = networks::namespace(fields, "ipc", &["none", "private", "shareable"]);
    service.uts = fields.word("uts", &["host"]).map(|word| word.value.to_owned());
    service.userns_mode = fields.string("userns_mode").map(|mode| mode.value);
    service.cgroup = fields
        .word("cgroup", &["host", "private"])
        .map(|word| word.value.to_owned());
    service.cgroup_parent = fields.string("cgroup_parent").map(|parent| parent.value);
}

/// Names, addresses and devices of the machine around it.
fn machine(cx: &Context<'_>, fields: &mut Fields<'_, '_>, service: &mut Service) {
    let list = |fields: &mut Fields<'_, '_>, key| {
        let texts = fields.text_or_texts(key).unwrap_or_default();
        texts.into_iter().map(|text| text.value).collect::<Vec<_>>()
    };
    service.dns = list(fields, "dns");
    service.dns_search = list(fields, "dns_search");
    service.dns_opt = list(fields, "dns_opt");
    service.extra_hosts = extra_hosts(cx, fields);
    service.device_cgroup_rules = list(fields, "device_cgroup_rules");
    for node in fields.sequence("devices").unwrap_or_default() {
        if let Some(device) = device(node, fields) {
            service.devices.push(device);
        }
    }
}

fn extra_hosts(_: &Context<'_>, fields: &mut Fields<'_, '_>) -> Vec<String> {
    let mut all = Vec::new();
    let Some(node) = fields.node("extra_hosts") else {
        return all;
    };
    let add = |all: &mut Vec<String>, host: &str, ip: &str| {
        let ip = ip.trim();
        let ip = ip
            .strip_prefix('[')
            .and_then(|ip| ip.strip_suffix(']'))
            .unwrap_or(ip);
        all.push(format!("{}:{ip}", host.trim()));
    };
    match &node.value {
        Value::Sequence(items) => {
            for item in items {
                let text = item.as_text().unwrap_or_default();
                match text.split_once(['=', ':']) {
                    Some((host, ip)) if !host.is_empty() && !ip.is_empty() => add(&mut all, host, ip),
                    _ => {
                        let message = format!(
                            "an entry of `extra_hosts` of {} must be `host=address`",
                            fields.what()
                        );
                        fields.diagnostics().push(malformed(&item.span, message));
                    }
                }
            }
        }
        Value::Mapping(mapping) => {
            for item in mapping {
                let single = std::slice::from_ref(&item.value);
                for address in item.value.as_sequence().unwrap_or(single) {
                    match address.as_text() {
                        Some(text) => add(&mut all, &item.key.value, &text),
                        None => fields.wrong("extra_hosts", "addresses", address),
                    }
                }
            }
        }
        _ => fields.wrong("extra_hosts", "a list of `host=address` or a mapping", node),
    }
    all.sort();
    all.dedup();
    all
}

fn device(node: &Node, fields: &mut Fields<'_, '_>) -> Option<Device> {
    if let Value::Mapping(_) = &node.value {
        let what = format!("a device of {}", fields.what());
        let rules = &crate::document::FieldRules::COMPOSE;
        let mut read = Fields::of(node, what, rules, fields.diagnostics())?;
        let source = read.required_string("source").map(|source| source.value);
        let target = read.string("target").map(|target| target.value);
        let permissions = read
            .string("permissions")
            .map_or_else(|| "rwm".to_owned(), |text| text.value);
        read.finish(&[]);
        let source = source?;
        return Some(Device {
            target: target.unwrap_or_else(|| source.clone()),
            source,
            permissions,
        });
    }
    let Some(text) = node.as_text() else {
        fields.wrong("devices", "a list of `host:container` or mappings", node);
        return None;
    };
    if !text.starts_with('/') && text.contains('=') {
        let message = format!("a CDI device of {} is not supported yet", fields.what());
        fields
            .diagnostics()
            .push(Diagnostic::error(Code::NOT_SUPPORTED, &node.span, message));
        return None;
    }
    let parts: Vec<&str> = text.split(':').collect();
    let permissions = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let (source, target, mode) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, mode] if permissions(mode) => (*source, *source, *mode),
        [source, target] => (*source, *target, "rwm"),
        [source, target, mode] if permissions(mode) => (*source, *target, *mode),
        _ => ("", "", ""),
    };
    if source.is_empty() || target.is_empty() {
        let message = format!(
            "a device of {} must be `host[:container[:permissions]]`: {text:?}",
            fields.what()
        );
        fields.diagnostics().push(malformed(&node.span, message));
        return None;
    }
    Some(Device {
        source: source.to_owned(),
        target: target.to_owned(),
        permissions: mode.to_owned(),
    })
}

/// `x-driftless`.
fn extension(fields: &mut Fields<'_, '_>, service: &mut Service) {
    let Some(node) = fields.node("x-driftless") else {
        return;
    };
    let what = format!("`x-driftless` of {}", fields.what());
    let Some(mut extension) = super::context::fields(node, &what, keys::EXTENSION, fields.diagnostics())
    else {
        return;
    };
    service.job = extension.bool("job").is_some_and(|flag| flag.value);
    service.state = match extension
        .word("state", &["running", "paused", "stopped"])
        .map(|word| word.value)
    {
        Some("paused") => WantedState::Paused,
        Some("stopped") => WantedState::Stopped,
        _ => WantedState::Running,
    };
}

/// What refers to other services besides `depends_on`. Each implies that the other is started first, as in Compose.
fn references(fields: &mut Fields<'_, '_>, service: &mut Service) {
    for link in fields.texts("links").unwrap_or_default() {
        let (target, alias) = link.value.split_once(':').unwrap_or((&link.value, &link.value));
        if let Some(target) = service_name(fields, target, &link.span) {
            service.depends_on.entry(target.clone()).or_insert(Dependency {
                restart: true,
                ..STARTED
            });
            service.links.insert(alias.to_owned(), target);
        }
    }
    for from in fields.texts("volumes_from").unwrap_or_default() {
        let bare = from
            .value
            .strip_suffix(":ro")
            .or_else(|| from.value.strip_suffix(":rw"))
            .unwrap_or(&from.value);
        if !bare.starts_with("container:")
            && let Some(target) = service_name(fields, bare, &from.span)
        {
            service.depends_on.entry(target).or_insert(STARTED);
        }
        service.volumes_from.push(from.value);
    }
    let mode = match &service.network_mode {
        NetworkMode::Service(target) => Some(target.clone()),
        _ => None,
    };
    let of = |namespace: &Option<Namespace>| match namespace {
        Some(Namespace::Service(target)) => Some(target.clone()),
        _ => None,
    };
    for target in [mode, of(&service.pid), of(&service.ipc)].into_iter().flatten() {
        service.depends_on.entry(target).or_insert(Dependency {
            restart: true,
            ..STARTED
        });
    }
}
