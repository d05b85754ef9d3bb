//! What `driftless doctor` says of a Docker engine and of registries.

use super::Checks;
use crate::cli::Context;
use crate::cli::session::{block_on, docker_env};
use crate::live::docker::client::Client;
use crate::live::docker::endpoint::Endpoint;
use crate::report::Exit;

/// What it is, and what about it Driftless has to live with.
pub fn engine(checks: &mut Checks, endpoint: &Endpoint) {
    let client = match block_on(async { Ok(Client::connect(endpoint).await?) }) {
        Ok(client) => client,
        Err(error) => return checks.failed("engine", &error, Exit::Target),
    };
    let info = client.info();
    let kind = if info.podman { "Podman" } else { "Docker" };
    let cgroup = info
        .cgroup_version
        .map(|version| format!(", cgroup v{version}"))
        .unwrap_or_default();
    checks.good(
        "engine",
        format!(
            "{kind} {} at {} (API {}, {}{cgroup})",
            info.version,
            endpoint.name(),
            client.api(),
            info.platform
        ),
    );
    if info.podman {
        checks.note(
            "engine",
            "Podman's service lacks a part of Docker's API",
            "use it as it answers; start-first may not work",
        );
    }
    if info.rootless {
        checks.note(
            "engine",
            "it runs rootless",
            "host ports below 1024 and some limits may be refused by it",
        );
    }
    if info.cgroup_version == Some(1) {
        checks.note(
            "engine",
            "it uses cgroup v1",
            "limits work; the kernel and Docker are giving it up",
        );
    }
    if info.swarm_active {
        checks.note(
            "engine",
            "it is part of a swarm",
            "containers are deployed beside the swarm's services, which are not touched",
        );
    }
    if !info.live_restore {
        checks.note(
            "engine",
            "containers stop when the engine restarts",
            "`live-restore: true` in daemon.json keeps them running",
        );
    }
}

/// The configuration of `docker login`: readable, JSON, and its helpers on `PATH`. Nothing secret is read out of it.
pub fn registries(checks: &mut Checks, context: &Context) {
    let Some(folder) = docker_env(context).config_dir() else {
        return;
    };
    let file = folder.join("config.json");
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return checks.good("registries", "no credentials; images are pulled anonymously");
        }
        Err(error) => {
            return checks.bad(
                "registries",
                format!("{}: {error}", file.display()),
                "make it readable, or set DOCKER_CONFIG",
            );
        }
    };
    let Ok(config) = serde_json::from_str::<serde_json::Value>(&text) else {
        return checks.bad(
            "registries",
            format!("{} is no JSON", file.display()),
            "`docker login` writes it anew",
        );
    };
    let one = config["credsStore"].as_str();
    let each = config["credHelpers"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(_, helper)| helper.as_str());
    let helpers: std::collections::BTreeSet<&str> = each.chain(one).collect();
    let path = context.environment.text("PATH").unwrap_or_default();
    let missing: Vec<&str> = helpers
        .into_iter()
        .filter(|helper| {
            !std::env::split_paths(path)
                .any(|folder| folder.join(format!("docker-credential-{helper}")).is_file())
        })
        .collect();
    if missing.is_empty() {
        let count = config["auths"].as_object().map_or(0, serde_json::Map::len);
        checks.good("registries", format!("{} ({count} logins)", file.display()));
    } else {
        checks.bad(
            "registries",
            format!(
                "no docker-credential-{} on PATH",
                missing.join(", docker-credential-")
            ),
            "install it, or log in without it",
        );
    }
}
