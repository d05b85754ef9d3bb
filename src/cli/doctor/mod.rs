//! `driftless doctor`: is this machine ready, and are its targets?

mod cluster;
mod engine;
mod tools;

use std::path::Path;

use clap::Args as ClapArgs;
use serde::Serialize;

use super::Context;
use super::error::CommandError;
use super::here::{Here, with_profiles};
use super::place::{Finder, Place, kubeconfigs};
use super::session::{docker_env, settings, target_of};
use super::table::Table;
use crate::history::owner;
use crate::render::App;
use crate::render::app::Needs;
use crate::report::Exit;
use crate::report::text::{Line, Role, Text};
use crate::settings::{Origin, Settings};

/// Checks this machine, the settings, and the engine or the cluster
///
/// Which target is looked at: `--target`, else those of the repository's apps, else the only one of config.yaml, else the
/// engine that `docker` would use. Of a cluster it says who Driftless is there, and which rights the apps lack. Each finding
/// comes with what to do about it. Nothing is changed.
#[derive(Debug, ClapArgs)]
pub struct Args {}

pub const EXAMPLES: &str = "\
driftless doctor
driftless doctor --target tcp://nas:2376
driftless doctor --target k8s:prod";

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

/// What was found so far, and what it comes to.
struct Checks {
    all: Vec<Check>,
    exit: Exit,
}

impl Checks {
    fn good(&mut self, name: &'static str, found: impl Into<String>) {
        self.all.push(Check {
            name,
            state: State::Good,
            found: found.into(),
            next: None,
        });
    }

    fn note(&mut self, name: &'static str, found: impl Into<String>, next: impl Into<String>) {
        self.all.push(Check {
            name,
            state: State::Note,
            found: found.into(),
            next: Some(next.into()),
        });
    }

    fn bad(&mut self, name: &'static str, found: impl Into<String>, next: impl Into<String>) {
        self.comes_to(Exit::Usage);
        self.all.push(Check {
            name,
            state: State::Bad,
            found: found.into(),
            next: Some(next.into()),
        });
    }

    /// The same where a target is at fault.
    fn bad_target(&mut self, name: &'static str, found: impl Into<String>, next: impl Into<String>) {
        self.bad(name, found, next);
        self.comes_to(Exit::Target);
    }

    /// The first that is more than usage counts.
    fn comes_to(&mut self, exit: Exit) {
        if matches!(self.exit, Exit::Done | Exit::Usage) {
            self.exit = exit;
        }
    }

    fn failed(&mut self, name: &'static str, error: &CommandError, exit: Exit) {
        let (found, next) = error.in_short();
        self.comes_to(exit);
        self.all.push(Check {
            name,
            state: State::Bad,
            found,
            next,
        });
    }
}

/// Checks everything, one after the other; a check that fails does not end the others.
pub fn run(_: Args, context: &mut Context) -> Result<Exit, CommandError> {
    let mut checks = Checks {
        all: Vec::new(),
        exit: Exit::Done,
    };
    git(&mut checks, context);
    match settings(context) {
        Err(error) => checks.failed("settings", &error, Exit::Invalid),
        Ok(settings) => {
            configured(&mut checks, &settings);
            state(&mut checks, &settings);
            let here = Here::read_with(context, settings.clone());
            targets(&mut checks, context, &settings, here.as_ref().ok());
            repository(&mut checks, &here);
            if let Ok(here) = &here {
                tools::tools(&mut checks, context, here);
            }
        }
    }
    tell(&checks.all, checks.exit, context)?;
    Ok(checks.exit)
}

/// The places that the apps go to, else the one that an app would go to.
fn targets(checks: &mut Checks, context: &Context, settings: &Settings, here: Option<&Here>) {
    let docker = docker_env(context);
    let kubeconfigs = kubeconfigs(&context.environment);
    let finder = Finder {
        settings,
        docker: &docker,
        kubeconfigs: &kubeconfigs,
        person: true,
    };
    let apps: Vec<App> = here
        .iter()
        .flat_map(|here| &here.snapshot.discovery.apps)
        .filter(|app| match (&settings.target.value, &app.target) {
            (Some(asked), Some(named)) => asked == named,
            _ => true,
        })
        .map(|app| with_profiles(context, app))
        .collect();
    let mut engines = Vec::new();
    let mut clusters = Vec::new();
    let mut add = |checks: &mut Checks, found: Result<Place, CommandError>, app: Option<&App>| match found {
        Ok(Place::Engine(endpoint)) if engines.contains(&endpoint) => {}
        Ok(Place::Engine(endpoint)) => engines.push(endpoint),
        Ok(Place::Cluster { name, spec }) => cluster::add(&mut clusters, name, spec, app),
        Err(error) => checks.failed("target", &error, error.exit()),
    };
    for app in &apps {
        let found = target_of(settings, app)
            .and_then(|name| finder.find(name, app.needs()).map_err(CommandError::from));
        add(checks, found, Some(app));
    }
    if apps.is_empty() {
        let only = settings.targets.keys().next();
        let only = only.filter(|_| settings.targets.len() == 1);
        let name = settings.target.value.as_ref().or(only).map(String::as_str);
        let found = finder.find(name, Needs::Engine).map_err(CommandError::from);
        add(checks, found, None);
    }
    for endpoint in &engines {
        engine::engine(checks, endpoint);
    }
    if !engines.is_empty() {
        engine::registries(checks, context);
    }
    for one in &clusters {
        cluster::cluster(checks, context, settings, one, here);
    }
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

fn repository(checks: &mut Checks, here: &Result<Here, CommandError>) {
    let Here { source, snapshot, .. } = match here {
        Ok(here) => here,
        Err(error) => return checks.failed("repository", error, Exit::Usage),
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
