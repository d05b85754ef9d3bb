//! Where another service is, by the name that the repository gives it.
//!
//! In: `app:8080`, a container's variables. Out: what to connect to. Guaranteed: on Docker the name as it stands, for the
//! engine's DNS. Must not: resolve.

use super::Variables;

/// `host:port` with the address that Kubernetes gives each container for the Services of its namespace
/// (`APP_SERVICE_HOST`), where there is one: a cluster need not have DNS, and a Service keeps its address.
pub(super) fn of(address: &str, variables: &Variables) -> String {
    let Some((host, port)) = address.rsplit_once(':') else {
        return address.to_owned();
    };
    let name = host.replace('-', "_").to_uppercase();
    match variables(&format!("{name}_SERVICE_HOST")) {
        Some(ip) if ip.contains(':') => format!("[{ip}]:{port}"),
        Some(ip) => format!("{ip}:{port}"),
        None => address.to_owned(),
    }
}

/// The same within `scheme://host:port/path`.
pub(super) fn of_url(url: &str, variables: &Variables) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (address, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    format!("{scheme}://{}{path}", of(address, variables))
}
