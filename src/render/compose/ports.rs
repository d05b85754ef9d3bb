//! Ports: the short and the long form, and `expose`.
//!
//! In: text such as `127.0.0.1:8080-8081:80-81/udp`. Out: [`Port`]s with ranges expanded. Guaranteed: equal intent gives
//! equal values. Must not: know which service they belong to.

use std::net::IpAddr;

use crate::render::model::Port;

/// The ports of one short form.
pub fn short(text: &str) -> Result<Vec<Port>, String> {
    let (address, protocol) = match text.rsplit_once('/') {
        Some((address, protocol)) => (address, protocol_of(protocol)?),
        None => (text, "tcp".to_owned()),
    };
    let (rest, target) = match address.rsplit_once(':') {
        Some((rest, target)) => (Some(rest), target),
        None => (None, address),
    };
    let (host_ip, published) = match rest {
        None => (String::new(), ""),
        Some(rest) => match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((ip, "")) => (ip_of(ip)?, ""),
            Some((ip, port)) => (
                ip_of(ip)?,
                port.strip_prefix(':').ok_or("a `:` is expected after `]`")?,
            ),
            None => match rest.rsplit_once(':') {
                Some((ip, port)) => (ip_of(ip)?, port),
                // `127.0.0.1:80` has an address and no host port; `8080:80` has a host port.
                None if rest.contains('.') => (ip_of(rest)?, ""),
                None => (String::new(), rest),
            },
        },
    };
    let targets = range(target)?.ok_or("the container port is missing")?;
    let published = range(published)?;
    expand(targets, published, &host_ip, &protocol)
}

/// Pairs container ports with host ports.
fn expand(
    targets: (u16, u16),
    published: Option<(u16, u16)>,
    host_ip: &str,
    protocol: &str,
) -> Result<Vec<Port>, String> {
    let port = |target, published| Port {
        target,
        protocol: protocol.to_owned(),
        published,
        host_ip: host_ip.to_owned(),
    };
    let (first, last) = targets;
    match published {
        None => Ok((first..=last).map(|target| port(target, None)).collect()),
        Some((0, 0)) if first == last => Ok(vec![port(first, None)]),
        Some(range) if first == last => Ok(vec![port(first, Some(range))]),
        Some((host_first, host_last)) if last - first == host_last - host_first => {
            let hosts = host_first..=host_last;
            Ok((first..=last)
                .zip(hosts)
                .map(|(target, host)| port(target, Some((host, host))))
                .collect())
        }
        Some(_) => Err("the ranges of host ports and container ports differ in length".to_owned()),
    }
}

/// One long form, after its fields were read.
pub fn long(target: &str, published: &str, host_ip: &str, protocol: &str) -> Result<Vec<Port>, String> {
    let protocol = if protocol.is_empty() {
        "tcp".to_owned()
    } else {
        protocol_of(protocol)?
    };
    let targets = range(target)?.ok_or("the container port is missing")?;
    let host_ip = if host_ip.is_empty() {
        String::new()
    } else {
        ip_of(host_ip)?
    };
    expand(targets, range(published)?, &host_ip, &protocol)
}

/// `80`, `80/udp` or `80-82` of `expose`, as `80/tcp`.
pub fn expose(text: &str) -> Result<Vec<String>, String> {
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, protocol)) => (ports, protocol_of(protocol)?),
        None => (text, "tcp".to_owned()),
    };
    let (first, last) = range(ports)?.ok_or("a port is expected")?;
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn protocol_of(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "tcp" | "udp" | "sctp") {
        Ok(lower)
    } else {
        Err(format!("`{text}` is not a protocol; tcp, udp and sctp are"))
    }
}

fn ip_of(text: &str) -> Result<String, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>()
        .map(|ip| ip.to_string())
        .map_err(|_| format!("`{text}` is not an IP address"))
}

fn range(text: &str) -> Result<Option<(u16, u16)>, String> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits
            .then(|| text.parse::<u16>().ok())
            .flatten()
            .ok_or_else(|| format!("`{text}` is not a port (0 to 65535)"))
    };
    if text.is_empty() {
        return Ok(None);
    }
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if first > last {
        return Err(format!("the range `{text}` runs backwards"));
    }
    Ok(Some((first, last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_expand_to_one_spelling() {
        for (text, shown) in [
            ("80", Ok("80/tcp")),
            ("80/udp", Ok("80/udp")),
            ("8080:80", Ok("8080:80/tcp")),
            ("127.0.0.1:8080:80", Ok("127.0.0.1:8080:80/tcp")),
            ("127.0.0.1::80", Ok("127.0.0.1::80/tcp")),
            ("127.0.0.1:80", Ok("127.0.0.1::80/tcp")),
            ("[::1]:8080:80", Ok("[::1]:8080:80/tcp")),
            ("3000-3001", Ok("3000/tcp 3001/tcp")),
            ("9090-9091:8080-8081", Ok("9090:8080/tcp 9091:8081/tcp")),
            ("3000-3005:80", Ok("3000-3005:80/tcp")),
            ("6060:6060/UDP", Ok("6060:6060/udp")),
            ("8080:80/http", Err(())),
            ("70000:80", Err(())),
            ("80:", Err(())),
            ("a:80", Err(())),
            ("1-2:3-5", Err(())),
            ("5-3:80", Err(())),
            ("", Err(())),
            ("999.1.1.1:80:80", Err(())),
            ("+80", Err(())),
        ] {
            let got =
                short(text).map(|ports| ports.iter().map(Port::to_string).collect::<Vec<_>>().join(" "));
            assert_eq!(got.as_deref().map_err(|_| ()), shown, "{text:?}");
        }
    }

    #[test]
    fn exposed_ports_have_one_spelling() {
        assert_eq!(expose("80"), Ok(vec!["80/tcp".to_owned()]));
        assert_eq!(
            expose("80-81/udp"),
            Ok(vec!["80/udp".to_owned(), "81/udp".to_owned()])
        );
        assert!(expose("x").is_err());
    }
}
