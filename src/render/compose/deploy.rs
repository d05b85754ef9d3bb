//! `deploy:`, `scale:`, and every key about limits.
//!
//! In: a service's fields. Out: replicas, [`Resources`], the update order, the restart policy. Guaranteed: where two keys
//! mean the same (`mem_limit` and `deploy.resources.limits.memory`), they agree or it is an error. Must not: know an engine.

use super::context::{fields, malformed, parsed};
use super::keys;
use crate::document::{Code, Diagnostic, Fields, Node, Spanned};
use crate::render::model::{DeviceRequest, Resources, Restart, Update, UpdateOrder};
use crate::render::units;

/// What `deploy` and its older relatives say.
#[derive(Default)]
pub(super) struct Deploy {
    pub replicas: u32,
    pub resources: Resources,
    pub update: Update,
    pub restart: Option<Restart>,
    pub device_requests: Vec<DeviceRequest>,
}

/// Reads them all.
pub(super) fn read(service: &mut Fields<'_, '_>) -> Deploy {
    let mut deploy = Deploy {
        resources: limits(service),
        restart: restart(service),
        ..Deploy::default()
    };
    let scale = service.int_in("scale", 0..=10_000);
    let mut replicas = None;
    if let Some(node) = service.node("deploy") {
        let what = format!("`deploy` of {}", service.what());
        if let Some(mut section) = fields(node, &what, keys::DEPLOY, service.diagnostics()) {
            replicas = section.int_in("replicas", 0..=10_000);
            mode(&mut section);
            if let Some(node) = section.node("update_config") {
                deploy.update = update(node, &what, &mut section);
            }
            if let Some(node) = section.node("restart_policy")
                && let Some(policy) = restart_policy(node, &what, &mut section)
            {
                deploy.restart = Some(policy);
            }
            if let Some(node) = section.node("resources") {
                resources(node, &what, &mut section, &mut deploy);
            }
        }
    }
    if let (Some(scale), Some(replicas)) = (&scale, &replicas)
        && scale.value != replicas.value
    {
        service.diagnostics().push(
            Diagnostic::error(
                Code::CONFLICT,
                &scale.span,
                "`scale` and `deploy.replicas` say different numbers",
            )
            .with_secondary(&replicas.span, "`deploy.replicas` is here"),
        );
    }
    let count = replicas.or(scale).map_or(1, |count| count.value);
    deploy.replicas = u32::try_from(count).unwrap_or(1);
    if let Some(node) = service.node("gpus") {
        gpus(node, service, &mut deploy.device_requests);
    }
    deploy
}

fn mode(section: &mut Fields<'_, '_>) {
    let allowed = ["replicated", "global", "replicated-job", "global-job"];
    let Some(mode) = section.word("mode", &allowed) else {
        return;
    };
    if mode.value != "replicated" {
        let message = format!(
            "`mode: {}` of {} is not supported on a single engine",
            mode.value,
            section.what()
        );
        let help = if mode.value.ends_with("job") {
            "a one-shot is marked with `x-driftless: { job: true }`"
        } else {
            "leave it out: on one engine a service runs `replicas` containers"
        };
        section
            .diagnostics()
            .push(Diagnostic::error(Code::NOT_SUPPORTED, &mode.span, message).with_help(help));
    }
}

fn update(node: &Node, what: &str, section: &mut Fields<'_, '_>) -> Update {
    let what = format!("`update_config` of {what}");
    let Some(mut config) = fields(node, &what, keys::UPDATE, section.diagnostics()) else {
        return Update::default();
    };
    Update {
        order: config
            .word("order", &["start-first", "stop-first"])
            .map(|order| match order.value {
                "start-first" => UpdateOrder::StartFirst,
                _ => UpdateOrder::StopFirst,
            }),
        monitor: parsed(
            &mut config,
            "monitor",
            "a duration such as `10s`",
            units::nanoseconds,
        ),
        parallelism: config
            .int_in("parallelism", 0..=10_000)
            .and_then(|number| u32::try_from(number.value).ok()),
    }
}

/// `restart:`.
fn restart(service: &mut Fields<'_, '_>) -> Option<Restart> {
    let text = service.string("restart")?;
    let (name, retries) = match text.value.split_once(':') {
        Some((name, retries)) => (name, Some(retries)),
        None => (text.value.as_str(), None),
    };
    let max_retries = match retries {
        None => Some(0),
        Some(retries) if name == "on-failure" => retries.parse::<u32>().ok().map(i64::from),
        Some(_) => None,
    };
    match max_retries {
        Some(max_retries) if matches!(name, "no" | "always" | "unless-stopped" | "on-failure") => {
            Some(Restart {
                name: name.to_owned(),
                max_retries,
            })
        }
        _ => {
            let message = format!("`restart` of {} cannot be `{}`", service.what(), text.value);
            let words = ["no", "always", "unless-stopped", "on-failure"];
            let mut finding = Diagnostic::error(Code::NOT_ALLOWED, &text.span, message)
                .with_note("allowed: no, always, unless-stopped, on-failure, on-failure:NUMBER");
            if let Some(near) = crate::document::did_you_mean(name, words) {
                finding = finding.with_label(format!("did you mean `{near}`?"));
            }
            service.diagnostics().push(finding);
            None
        }
    }
}

fn restart_policy(node: &Node, what: &str, section: &mut Fields<'_, '_>) -> Option<Restart> {
    let what = format!("`restart_policy` of {what}");
    let mut policy = fields(node, &what, keys::RESTART, section.diagnostics())?;
    // Compose takes the engine's own words here too.
    let words = ["none", "on-failure", "any", "no", "always", "unless-stopped"];
    let condition = policy
        .word("condition", &words)
        .map_or("any", |condition| condition.value);
    let attempts = policy
        .int_in("max_attempts", 0..=i64::from(i32::MAX))
        .map_or(0, |attempts| attempts.value);
    let name = match condition {
        "none" | "no" => "no",
        "any" => "always",
        other => other,
    };
    Some(Restart {
        name: name.to_owned(),
        max_retries: if name == "on-failure" { attempts } else { 0 },
    })
}

/// A size in bytes: a number or text with a unit.
fn size(fields: &mut Fields<'_, '_>, key: &'static str) -> Option<i64> {
    parsed(fields, key, "a size such as `512m`", units::bytes)
}

/// The limits that stand in the service itself.
fn limits(service: &mut Fields<'_, '_>) -> Resources {
    let positive = 0..=i64::MAX;
    Resources {
        nano_cpus: parsed(
            service,
            "cpus",
            "a number of CPUs such as `0.5`",
            units::nano_cpus,
        )
        .filter(|cpus| *cpus > 0),
        cpu_shares: number(service, "cpu_shares", positive.clone()),
        cpu_period: microseconds(service, "cpu_period"),
        cpu_quota: microseconds(service, "cpu_quota"),
        cpu_rt_period: microseconds(service, "cpu_rt_period"),
        cpu_rt_runtime: microseconds(service, "cpu_rt_runtime"),
        cpuset: service.text("cpuset").map(|set| set.value),
        memory: size(service, "mem_limit"),
        memory_swap: parsed(service, "memswap_limit", "a size such as `1g`, or -1", |text| {
            if text.trim() == "-1" {
                Some(-1)
            } else {
                units::bytes(text)
            }
        }),
        memory_reservation: size(service, "mem_reservation"),
        memory_swappiness: number(service, "mem_swappiness", 0..=100),
        // 0 and below is "without limit", which is also the default.
        pids_limit: number(service, "pids_limit", -1..=i64::MAX).filter(|pids| *pids > 0),
        blkio_weight: blkio(service),
        oom_kill_disable: service.bool("oom_kill_disable").map(|flag| flag.value),
        oom_score_adj: number(service, "oom_score_adj", -1000..=1000),
    }
}

fn number(
    fields: &mut Fields<'_, '_>,
    key: &'static str,
    range: std::ops::RangeInclusive<i64>,
) -> Option<i64> {
    fields.int_in(key, range).map(|number| number.value)
}

/// A number of microseconds, or a duration.
fn microseconds(fields: &mut Fields<'_, '_>, key: &'static str) -> Option<i64> {
    parsed(
        fields,
        key,
        "a number of microseconds or a duration such as `50ms`",
        |text| {
            text.parse()
                .ok()
                .or_else(|| units::nanoseconds(text).map(|nanos| nanos / 1000))
        },
    )
}

fn blkio(service: &mut Fields<'_, '_>) -> Option<u16> {
    let node = service.node("blkio_config")?;
    let what = format!("`blkio_config` of {}", service.what());
    let mut config = fields(node, &what, keys::BLKIO, service.diagnostics())?;
    config
        .int_in("weight", 10..=1000)
        .and_then(|weight| u16::try_from(weight.value).ok())
}

/// `deploy.resources`.
fn resources(node: &Node, what: &str, section: &mut Fields<'_, '_>, deploy: &mut Deploy) {
    let what = format!("`resources` of {what}");
    let found = section.nested("resources", what.clone(), |resources| {
        let limits = resources.nested("limits", format!("`limits` of {what}"), |limits| {
            let cpus = parsed(limits, "cpus", "a number of CPUs such as `0.5`", units::nano_cpus);
            let pids = number(limits, "pids", -1..=i64::MAX).filter(|pids| *pids > 0);
            (cpus.filter(|cpus| *cpus > 0), size(limits, "memory"), pids)
        });
        let reservations =
            resources.nested("reservations", format!("`reservations` of {what}"), |reserved| {
                if let Some(cpus) = reserved.node("cpus") {
                    let message = "`reservations.cpus` has no effect: an engine cannot reserve CPUs";
                    reserved
                        .diagnostics()
                        .push(Diagnostic::warning(Code::NO_EFFECT, &cpus.span, message));
                }
                if let Some(generic) = reserved.node("generic_resources") {
                    let message = "`generic_resources` have a meaning in a Swarm only";
                    reserved.diagnostics().push(Diagnostic::error(
                        Code::NOT_SUPPORTED,
                        &generic.span,
                        message,
                    ));
                }
                let memory = size(reserved, "memory");
                let devices = reserved.sequence("devices").unwrap_or_default();
                let devices: Vec<_> = devices
                    .iter()
                    .filter_map(|device| device_request(device, true, reserved))
                    .collect();
                (memory, devices)
            });
        (limits.unwrap_or_default(), reservations.unwrap_or_default())
    });
    let Some(((cpus, memory, pids), (reserved, devices))) = found else {
        return;
    };
    let own = &mut deploy.resources;
    let pairs = [
        (
            cpus,
            &mut own.nano_cpus,
            "`cpus` and `deploy.resources.limits.cpus`",
        ),
        (
            memory,
            &mut own.memory,
            "`mem_limit` and `deploy.resources.limits.memory`",
        ),
        (
            pids,
            &mut own.pids_limit,
            "`pids_limit` and `deploy.resources.limits.pids`",
        ),
        (
            reserved,
            &mut own.memory_reservation,
            "`mem_reservation` and `deploy.resources.reservations.memory`",
        ),
    ];
    for (new, slot, both) in pairs {
        match (new, *slot) {
            (Some(new), Some(old)) if new != old => {
                let message = format!("{both} say different values");
                section.diagnostics().push(
                    Diagnostic::error(Code::CONFLICT, &node.span, message).with_help("keep one of them"),
                );
            }
            (Some(new), _) => *slot = Some(new),
            (None, _) => {}
        }
    }
    deploy.device_requests.extend(devices);
}

/// `gpus: all` or a list of requests.
fn gpus(node: &Node, service: &mut Fields<'_, '_>, requests: &mut Vec<DeviceRequest>) {
    match (node.as_str(), node.as_sequence()) {
        (Some("all"), _) => requests.push(DeviceRequest {
            count: Some(-1),
            capabilities: vec![vec!["gpu".to_owned()]],
            ..DeviceRequest::default()
        }),
        (_, Some(items)) => {
            requests.extend(
                items
                    .iter()
                    .filter_map(|item| device_request(item, false, service)),
            );
        }
        _ => service.wrong("gpus", "`all` or a list of devices", node),
    }
}

fn device_request(
    node: &Node,
    needs_capabilities: bool,
    fields: &mut Fields<'_, '_>,
) -> Option<DeviceRequest> {
    let what = format!("a device of {}", fields.what());
    let mut device = Fields::of(
        node,
        what,
        &crate::document::FieldRules::COMPOSE,
        fields.diagnostics(),
    )?;
    let mut request = DeviceRequest {
        driver: device
            .string("driver")
            .map(|driver| driver.value)
            .unwrap_or_default(),
        device_ids: strings(device.texts("device_ids")),
        options: super::context::string_map(&mut device, "options"),
        ..DeviceRequest::default()
    };
    let capabilities = strings(device.texts("capabilities"));
    if capabilities.is_empty() && needs_capabilities {
        device.required("capabilities");
    }
    request.capabilities = vec![if capabilities.is_empty() {
        vec!["gpu".to_owned()]
    } else {
        capabilities
    }];
    if let Some(count) = device.text("count") {
        request.count = match count.value.as_str() {
            "all" => Some(-1),
            number => number.parse().ok(),
        };
        if request.count.is_none() {
            let message = "`count` of a device is a number or `all`";
            device.diagnostics().push(malformed(&count.span, message));
        }
        if !request.device_ids.is_empty() {
            let message = "a device has either `count` or `device_ids`";
            device
                .diagnostics()
                .push(Diagnostic::error(Code::CONFLICT, &count.span, message));
        }
    } else if request.device_ids.is_empty() {
        request.count = Some(-1);
    }
    device.finish(&[]);
    Some(request)
}

fn strings(texts: Option<Vec<Spanned<String>>>) -> Vec<String> {
    texts
        .unwrap_or_default()
        .into_iter()
        .map(|text| text.value)
        .collect()
}
