//! `driftless doctor`: is this machine ready?

use std::path::Path;

use clap::Args as ClapArgs;
use serde::Serialize;

use super::Context;
use super::error::CommandError;
use super::here::Here;
use super::session::{block_on, docker_env, settings};
use super::table::Table;
use crate::history::owner;
use crate::live::docker::client::Client;
use crate::live::docker::endpoint::{DiskFiles, Endpoint, resolve};
use crate::report::Exit;
use crate::report::text::{Line, Role, Text};
use crate::settings::{Origin, Settings};

/// Checks this machine, the engine and the settings
///
/// Each finding comes with what to do about it. Nothing is changed.
#[derive(Debug, ClapArgs)]
pub struct Args {}

pub const EXAMPLES: &str = "\
driftless doctor
driftless doctor --target tcp://nas:2376";

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Good,
    Note,
    Bad,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    #[serde(rename = "nextStep")]
    next: Option<String>,
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn good(&mut self, name: &'static str, found: impl Into<String>) {
        self.0.push(Check {
            name,
            state: State::Good,
            found: found.into(),
            next: None,
        });
    }

    fn note(&mut self, name: &'static str, found: impl Into<String>, next: impl Into<String>) {
        self.0.push(Check {
            name,
            state: State::Note,
            found: found.into(),
            next: Some(next.into()),
        });
    }

    fn bad(&mut self, name: &'static str, found: impl Into<String>, next: impl Into<String>) {
        self.0.push(Check {
            name,
            state: State::Bad,
            found: found.into(),
            next: Some(next.into()),
        });
    }

    fn failed(&mut self, name: &'static str, error: &CommandError) {
        let (found, next) = error.in_short();
        self.0.push(Check {
            name,
            state: State::Bad,
            found,
            next,
        });
    }
}

/// Checks everything, one after the other; a check that fails does not end the others.
pub fn run(_: Args, context: &mut Context) -> Result<Exit, CommandError> {
    let mut checks = Checks::default();
    git(&mut checks, context);
    let mut exit = Exit::Done;
    match settings(context) {
        Err(error) => {
            checks.failed("settings", &error);
            exit = Exit::Invalid;
        }
        Ok(settings) => {
            configured(&mut checks, &settings);
            state(&mut checks, &settings);
            if engine(&mut checks, context, &settings).is_err() {
                exit = Exit::Target;
            }
            repository(&mut checks, context, settings);
        }
    }
    registries(&mut checks, context);
    if exit == Exit::Done && checks.0.iter().any(|check| check.state == State::Bad) {
        exit = Exit::Usage;
    }
    tell(&checks.0, exit, context)?;
    Ok(exit)
}

fn tell(checks: &[Check], exit: Exit, context: &Context) -> Result<(), CommandError> {
    if context.output.for_machines() {
        return context.output.list("CheckList", checks, &Table::new([]));
    }
    let mut text = Text::new();
    for check in checks {
        let (role, mark) = match check.state {
            State::Good => (Role::Good, "✔"),
            State::Note => (Role::Warn, "!"),
            State::Bad => (Role::Bad, "✘"),
        };
        text.push(
            Line::new()
                .span(role, mark)
                .plain(format!(" {:<12} ", check.name))
                .plain(check.found.as_str()),
        );
        if let Some(next) = &check.next {
            text.push(
                Line::new()
                    .plain(" ".repeat(15))
                    .span(Role::Name, "= help: ")
                    .plain(next.as_str()),
            );
        }
    }
    text.push_exit(exit, context.output.width().unwrap_or(0));
    context.output.text(&text);
    Ok(())
}

/// The oldest Git with the options that hardened fetches use.
const GIT_OLDEST: (u32, u32) = (2, 30);

fn git(checks: &mut Checks, context: &Context) {
    let mut command = std::process::Command::new("git");
    let variables = context
        .environment
        .variables()
        .filter(|(name, _)| *name == "PATH");
    let printed = command.arg("--version").env_clear().envs(variables).output();
    let Ok(printed) = printed else {
        return checks.bad(
            "git",
            "there is no `git` on PATH",
            "install git; it fetches remote repositories",
        );
    };
    let text = String::from_utf8_lossy(&printed.stdout).trim().to_owned();
    let version = text.split_whitespace().nth(2).unwrap_or_default();
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < GIT_OLDEST {
        let (major, minor) = GIT_OLDEST;
        checks.bad(
            "git",
            format!("git {version}"),
            format!("{major}.{minor} or newer is needed"),
        );
    } else {
        checks.good("git", format!("git {version}"));
    }
}

fn configured(checks: &mut Checks, settings: &Settings) {
    match &settings.file {
        Some(file) => checks.good("settings", file.display().to_string()),
        None => checks.good(
            "settings",
            "no config.yaml; the defaults hold (~/.config/driftless, /etc/driftless)",
        ),
    }
    let name = &settings.instance.value;
    let inside = ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|mark| Path::new(mark).exists());
    if settings.instance.origin == Origin::Default && inside {
        checks.note(
            "instance",
            format!("{name}, the host name of this container"),
            "set DRIFTLESS_INSTANCE: another container would have another name, and not own what this one deployed",
        );
    } else {
        checks.good("instance", format!("{name} ({})", settings.instance.origin));
    }
}

fn state(checks: &mut Checks, settings: &Settings) {
    let folder = &settings.state.value;
    let shown = folder.display();
    let metadata = match std::fs::metadata(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return checks.good("state", format!("{shown} (made by the first apply)"));
        }
        Err(error) => {
            return checks.bad(
                "state",
                format!("{shown}: {error}"),
                "name another folder with --state",
            );
        }
        Ok(metadata) => metadata,
    };
    if !metadata.is_dir() {
        return checks.bad(
            "state",
            format!("{shown} is no folder"),
            "name another one with --state",
        );
    }
    if open_to_others(&metadata) {
        return checks.bad(
            "state",
            format!("{shown} is open to other users"),
            format!("chmod 700 {shown}"),
        );
    }
    match owner(folder) {
        Some(Some(owner)) => checks.good("state", format!("{shown}, in use by {owner}")),
        Some(None) => checks.good("state", format!("{shown}, in use")),
        None => checks.good("state", shown.to_string()),
    }
}

#[cfg(unix)]
fn open_to_others(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0
}

#[cfg(not(unix))]
fn open_to_others(_: &std::fs::Metadata) -> bool {
    false
}

/// `--target` or its setting, the only configured one, or the one that `docker` uses.
fn engine_of(context: &Context, settings: &Settings) -> Result<Endpoint, CommandError> {
    let only = settings
        .targets
        .keys()
        .next()
        .filter(|_| settings.targets.len() == 1);
    let name = settings.target.value.as_ref().or(only);
    let spec = name
        .map(|name| settings.endpoint(name))
        .filter(|spec| *spec != "default");
    Ok(resolve(spec, &docker_env(context), &DiskFiles)?)
}

fn engine(checks: &mut Checks, context: &Context, settings: &Settings) -> Result<(), ()> {
    let connected = engine_of(context, settings).and_then(|endpoint| {
        let client = block_on(async { Ok(Client::connect(&endpoint).await?) })?;
        Ok((endpoint, client))
    });
    let (endpoint, client) = match connected {
        Ok(connected) => connected,
        Err(error) => {
            checks.failed("engine", &error);
            return Err(());
        }
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
    Ok(())
}

fn repository(checks: &mut Checks, context: &Context, settings: Settings) {
    let Here { source, snapshot, .. } = match Here::read_with(context, settings) {
        Ok(here) => here,
        Err(error) => return checks.failed("repository", &error),
    };
    let count = snapshot.discovery.apps.len();
    let apps = if count == 1 {
        "1 app".to_owned()
    } else {
        format!("{count} apps")
    };
    checks.good(
        "repository",
        format!("{} @ {}: {apps}", source.id(), snapshot.commit.revision.short()),
    );
    for broken in snapshot.broken() {
        checks.bad(
            "repository",
            format!("`{}` can't be used", broken.name),
            "`driftless validate` tells why",
        );
    }
    if !snapshot.uncommitted.is_empty() {
        let count = snapshot.uncommitted.len();
        let files = if count == 1 {
            "1 file".to_owned()
        } else {
            format!("{count} files")
        };
        checks.note(
            "repository",
            format!("{files} not committed"),
            "only commits are deployed; `driftless plan --local .` shows the rest",
        );
    }
}

/// The configuration of `docker login`: readable, JSON, and its helpers on `PATH`. Nothing secret is read out of it.
fn registries(checks: &mut Checks, context: &Context) {
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
