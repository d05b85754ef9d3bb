//! Networks and volumes of the project, and how a service joins them.
//!
//! In: fields. Out: [`Network`], [`Volume`], [`Endpoint`], [`NetworkMode`]. Guaranteed: a live name is settled here: `name:`,
//! or the project's name and the key. Must not: know which exist.

use std::collections::BTreeMap;

use super::context::{Context, fields, malformed, string_map, text_map};
use super::keys;
use crate::document::{Code, Diagnostic, Diagnostics, Fields, Item, Node, Spanned, Value};
use crate::names::{ProjectName, ServiceName};
use crate::render::model::{Endpoint, Ipam, IpamPool, Namespace, Network, NetworkMode, Volume};

/// One entry of top-level `networks`.
pub(super) fn network(
    cx: &Context<'_>,
    project: &ProjectName,
    item: &Item,
    diagnostics: &mut Diagnostics,
) -> Network {
    let key = item.key.value.as_str();
    let mut network = Network {
        name: format!("{project}_{key}"),
        ..Network::default()
    };
    if item.value.is_null() {
        return network;
    }
    let what = format!("network `{key}`");
    let Some(mut read) = fields(&item.value, &what, keys::NETWORK, diagnostics) else {
        return network;
    };
    let name = read.string("name");
    let (external, external_name) = external(&mut read, key);
    network.external = external;
    network.name = name
        .map(|name| name.value)
        .or(external_name)
        .unwrap_or(network.name);
    network.driver = read.string("driver").map(|driver| driver.value);
    network.driver_opts = string_map(&mut read, "driver_opts");
    network.internal = read.bool("internal").is_some_and(|flag| flag.value);
    network.attachable = read.bool("attachable").is_some_and(|flag| flag.value);
    network.enable_ipv4 = read.bool("enable_ipv4").map(|flag| flag.value);
    network.enable_ipv6 = read.bool("enable_ipv6").map(|flag| flag.value);
    network.labels = text_map(cx, &mut read, "labels");
    network.ipam = read.nested("ipam", format!("`ipam` of {what}"), |ipam| {
        let driver = ipam.string("driver").map(|driver| driver.value);
        let options = string_map(ipam, "options");
        let items = ipam.sequence("config").unwrap_or_default();
        let pools = items.iter().filter_map(|item| pool(item, &what, ipam)).collect();
        Ipam {
            driver,
            pools,
            options,
        }
    });
    if external {
        conflicts(&item.value, &what, diagnostics);
    }
    network
}

fn pool(node: &Node, what: &str, ipam: &mut Fields<'_, '_>) -> Option<IpamPool> {
    let rules = &crate::document::FieldRules::COMPOSE;
    let mut pool = Fields::of(
        node,
        format!("an address pool of {what}"),
        rules,
        ipam.diagnostics(),
    )?;
    let mut text = |key| pool.string(key).map(|text| text.value);
    let mut done = IpamPool {
        subnet: text("subnet"),
        gateway: text("gateway"),
        ip_range: text("ip_range"),
        aux_addresses: BTreeMap::new(),
    };
    done.aux_addresses = string_map(&mut pool, "aux_addresses");
    pool.finish(&[]);
    Some(done)
}

/// One entry of top-level `volumes`.
pub(super) fn volume(
    cx: &Context<'_>,
    project: &ProjectName,
    item: &Item,
    diagnostics: &mut Diagnostics,
) -> Volume {
    let key = item.key.value.as_str();
    let mut volume = Volume {
        name: format!("{project}_{key}"),
        ..Volume::default()
    };
    if item.value.is_null() {
        return volume;
    }
    let what = format!("volume `{key}`");
    let Some(mut read) = fields(&item.value, &what, keys::VOLUME, diagnostics) else {
        return volume;
    };
    let name = read.string("name");
    let (external, external_name) = external(&mut read, key);
    volume.external = external;
    volume.name = name
        .map(|name| name.value)
        .or(external_name)
        .unwrap_or(volume.name);
    volume.driver = read.string("driver").map(|driver| driver.value);
    volume.driver_opts = string_map(&mut read, "driver_opts");
    volume.labels = text_map(cx, &mut read, "labels");
    if external {
        conflicts(&item.value, &what, diagnostics);
    }
    volume
}

/// `external: true`, or the older `external: { name: … }`. The second value is the live name.
fn external(read: &mut Fields<'_, '_>, key: &str) -> (bool, Option<String>) {
    match read.node("external").map(|node| &node.value) {
        Some(Value::Mapping(_)) => {
            let what = format!("`external` of {}", read.what());
            let name = read
                .nested("external", what, |inner| {
                    inner.string("name").map(|name| name.value)
                })
                .flatten();
            (true, Some(name.unwrap_or_else(|| key.to_owned())))
        }
        Some(_) => {
            let external = read.bool("external").is_some_and(|flag| flag.value);
            (external, external.then(|| key.to_owned()))
        }
        None => (false, None),
    }
}

/// Something external is not ours to shape.
fn conflicts(node: &Node, what: &str, diagnostics: &mut Diagnostics) {
    for item in node.as_mapping().into_iter().flatten() {
        let key = item.key.value.as_str();
        if !matches!(key, "name" | "external") && !key.starts_with("x-") && !item.value.is_null() {
            let message = format!("{what} is external, so `{key}` has no effect on it");
            diagnostics.push(
                Diagnostic::error(Code::CONFLICT, &item.key.span, message)
                    .with_help("an external object is used as it is; remove the key, or `external`"),
            );
        }
    }
}

/// `networks` of a service.
pub(super) fn endpoints(service: &mut Fields<'_, '_>) -> BTreeMap<String, Endpoint> {
    let mut joined = BTreeMap::new();
    let Some(node) = service.node("networks") else {
        return joined;
    };
    match &node.value {
        Value::Sequence(_) => {
            for name in service.texts("networks").unwrap_or_default() {
                joined.insert(name.value, Endpoint::default());
            }
        }
        Value::Mapping(mapping) => {
            for item in mapping {
                let endpoint = if item.value.is_null() {
                    Some(Endpoint::default())
                } else {
                    endpoint(item, service)
                };
                joined.insert(item.key.value.clone(), endpoint.unwrap_or_default());
            }
        }
        _ => service.wrong("networks", "a list of names or a mapping", node),
    }
    joined
}

fn endpoint(item: &Item, service: &mut Fields<'_, '_>) -> Option<Endpoint> {
    let what = format!("network `{}` of {}", item.key.value, service.what());
    let mut read = fields(&item.value, &what, keys::ENDPOINT, service.diagnostics())?;
    let mut endpoint = Endpoint {
        aliases: sorted(read.texts("aliases")),
        ipv4_address: address(&mut read, "ipv4_address", |ip| ip.is_ipv4()),
        ipv6_address: address(&mut read, "ipv6_address", |ip| ip.is_ipv6()),
        link_local_ips: sorted(read.texts("link_local_ips")),
        mac_address: read.string("mac_address").map(|mac| mac.value),
        priority: read.int("priority").map_or(0, |priority| priority.value),
        driver_opts: BTreeMap::new(),
    };
    endpoint.driver_opts = string_map(&mut read, "driver_opts");
    Some(endpoint)
}

fn address(
    read: &mut Fields<'_, '_>,
    key: &'static str,
    fits: fn(&std::net::IpAddr) -> bool,
) -> Option<String> {
    let text = read.string(key)?;
    match text.value.parse::<std::net::IpAddr>() {
        Ok(ip) if fits(&ip) => Some(ip.to_string()),
        _ => {
            let message = format!(
                "`{key}` of {} is not such an address: {:?}",
                read.what(),
                text.value
            );
            read.diagnostics().push(malformed(&text.span, message));
            None
        }
    }
}

/// A list whose order means nothing.
pub(super) fn sorted(texts: Option<Vec<Spanned<String>>>) -> Vec<String> {
    let mut values: Vec<String> = texts
        .unwrap_or_default()
        .into_iter()
        .map(|text| text.value)
        .collect();
    values.sort();
    values.dedup();
    values
}

/// `network_mode`.
pub(super) fn mode(service: &mut Fields<'_, '_>) -> NetworkMode {
    let Some(text) = service.string("network_mode") else {
        return NetworkMode::Networks;
    };
    let mode = match text.value.as_str() {
        "none" => Some(NetworkMode::None),
        "host" => Some(NetworkMode::Host),
        "bridge" | "default" => Some(NetworkMode::Bridge),
        other => match other.split_once(':') {
            Some(("service", name)) => ServiceName::try_from(name).ok().map(NetworkMode::Service),
            Some(("container", name)) if !name.is_empty() => Some(NetworkMode::Container(name.to_owned())),
            _ => None,
        },
    };
    let mode = mode.unwrap_or_else(|| {
        let message = format!("`network_mode` of {} cannot be `{}`", service.what(), text.value);
        service.diagnostics().push(
            Diagnostic::error(Code::NOT_ALLOWED, &text.span, message)
                .with_note("allowed: none, host, bridge, service:NAME, container:NAME")
                .with_help("to join a network of the engine, declare it under top-level `networks` with `external: true`"),
        );
        NetworkMode::Networks
    });
    if let Some(networks) = service.node("networks") {
        let message = format!("{} has both `network_mode` and `networks`", service.what());
        service.diagnostics().push(
            Diagnostic::error(Code::CONFLICT, &text.span, message)
                .with_secondary(&networks.span, "`networks` is here"),
        );
    }
    mode
}

/// `pid` and `ipc`.
pub(super) fn namespace(
    service: &mut Fields<'_, '_>,
    key: &'static str,
    words: &[&str],
) -> Option<Namespace> {
    let text = service.string(key)?;
    let namespace = match text.value.split_once(':') {
        None if text.value == "host" => Some(Namespace::Host),
        None if words.contains(&text.value.as_str()) => Some(Namespace::Other(text.value.clone())),
        Some(("service", name)) => ServiceName::try_from(name).ok().map(Namespace::Service),
        Some(("container", name)) if !name.is_empty() => Some(Namespace::Container(name.to_owned())),
        _ => None,
    };
    if namespace.is_none() {
        let mut allowed = vec!["host", "service:NAME", "container:NAME"];
        allowed.extend(words);
        let message = format!("`{key}` of {} cannot be `{}`", service.what(), text.value);
        let finding = Diagnostic::error(Code::NOT_ALLOWED, &text.span, message);
        service
            .diagnostics()
            .push(finding.with_note(format!("allowed: {}", allowed.join(", "))));
    }
    namespace
}
