//! Which names an API server takes.
//!
//! In: raw text. Out: whether it fits. Guaranteed: what is refused here is refused by every API server for that kind.
//! Must not: refuse what some kind of some group may be called.

/// A DNS label (RFC 1123): namespaces.
pub fn is_label(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| fits(byte) || byte == b'-')
        && name.bytes().next().is_some_and(fits)
        && name.bytes().next_back().is_some_and(fits)
}

/// A DNS subdomain (RFC 1123): most objects. Its parts may be longer than 63.
pub fn is_subdomain(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=253).contains(&name.len())
        && name.split('.').all(|part| {
            part.bytes().all(|byte| fits(byte) || byte == b'-')
                && part.bytes().next().is_some_and(fits)
                && part.bytes().next_back().is_some_and(fits)
        })
}

/// A segment of a URL's path: roles and bindings, and groups whose rules are not known here.
fn is_path_segment(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%'])
}

/// Why `name` is no name of this kind, in words.
pub fn refused(group: &str, kind: &str, name: &str) -> Option<&'static str> {
    let label = "lower-case letters, digits and `-`, starting and ending with a letter or digit, 63 at most";
    let subdomain =
        "lower-case letters, digits, `-` and `.`, starting and ending with a letter or digit, 253 at most";
    let (fits, rule): (fn(&str) -> bool, _) = match (group, kind) {
        ("", "Namespace" | "Service") => (is_label, label),
        ("rbac.authorization.k8s.io", _) => (is_path_segment, "anything but `/` and `%`"),
        // Served by API servers of their own, with rules of their own.
        (group, _) if group == "openshift.io" || group.ends_with(".openshift.io") => {
            (is_path_segment, "anything but `/` and `%`")
        }
        _ => (is_subdomain, subdomain),
    };
    (!fits(name)).then_some(rule)
}
