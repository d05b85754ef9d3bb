//! `driftless init`: a first look at a repository.

use clap::Args as ClapArgs;
use serde_json::json;

use super::Context;
use super::drift::counted;
use super::error::CommandError;
use super::here::{Here, expanded, inputs};
use super::place::{Finder, Place, kubeconfigs};
use super::session::{docker_env, target_of};
use super::table::{Cell, Table, cell, column};
use crate::document::Diagnostics;
use crate::engine::Snapshot;
use crate::live::kubernetes::config::chosen;
use crate::render::App;
use crate::render::discover::FILE;
use crate::report::Exit;
use crate::report::text::Role;
use crate::settings::Settings;

/// Shows what a repository would deploy, before anything is set up
///
/// Nothing needs to be written for the usual layouts. Where the defaults don't fit, driftless.yaml is written.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Write driftless.yaml even where the defaults fit
    #[arg(long)]
    pub write: bool,
}

pub const EXAMPLES: &str = "\
cd my-infra && driftless init
driftless init --write";

/// Looks, shows, and writes where that is asked for or needed.
pub fn run(args: Args, context: &mut Context) -> Result<Exit, CommandError> {
    let Here {
        settings,
        source,
        snapshot,
    } = Here::read(context)?;
    let mut table = Table::new([
        column("APP"),
        column("PATH"),
        column("TARGET"),
        column("HOLDS"),
        column("MADE OF"),
        column("").shrinks(),
    ]);
    let mut items = Vec::new();
    let mut problems = Diagnostics::new();
    let mut unnamed = Unnamed::default();
    for app in &snapshot.discovery.apps {
        let inputs = inputs(context, &settings, app, source.local_root())?;
        let expanded = expanded(context, &settings, &snapshot, app, inputs)?;
        let (count, holds, remark) = match expanded.and_then(|inputs| snapshot.desired(app, &inputs)) {
            Ok(desired) => match &desired.bundle {
                Some(bundle) => {
                    let count = bundle.objects.len();
                    (count.to_string(), counted(count, "object"), String::new())
                }
                None => {
                    let count = desired.project.services.len();
                    (count.to_string(), counted(count, "service"), String::new())
                }
            },
            Err(found) => {
                let first = found.iter().next().map(ToString::to_string).unwrap_or_default();
                problems.extend(found);
                ("-".to_owned(), "-".to_owned(), first)
            }
        };
        let path = if app.path.is_empty() { "." } else { &app.path };
        let goes = goes(context, &settings, app, &mut unnamed);
        let (made, role) = (
            app.kind.what(),
            if remark.is_empty() { Role::Plain } else { Role::Bad },
        );
        items.push(json!({
            "app": app.name, "path": path, "target": app.target, "services": count, "problem": remark,
            "madeOf": made, "goesTo": goes,
        }));
        table.row([
            Cell::from(app.name.as_str()),
            path.into(),
            goes.unwrap_or_else(|| "-".to_owned()).into(),
            holds.into(),
            made.into(),
            cell(role, remark),
        ]);
    }
    for broken in snapshot.broken() {
        let first = broken
            .diagnostics
            .iter()
            .next()
            .map(ToString::to_string)
            .unwrap_or_default();
        items.push(json!({ "app": broken.name, "problem": first }));
        table.row([
            Cell::from(broken.name.as_str()),
            "-".into(),
            "-".into(),
            "-".into(),
            "-".into(),
            cell(Role::Bad, first),
        ]);
        problems.extend(broken.diagnostics.clone());
    }
    if items.is_empty() {
        return Err(CommandError::new(
            Exit::Invalid,
            "nothing that can be deployed was found in this repository",
        )
        .hint("a folder with a committed compose.yaml, or with Kubernetes manifests, a kustomization or a chart, is an app; `driftless explain app` tells more"));
    }
    context.output.list("AppList", &items, &table)?;
    let declared = snapshot.discovery.apps.iter().any(|app| app.declared.is_some());
    if args.write {
        write(&snapshot, source.local_root(), context)?;
    } else if !declared && problems.is_empty() {
        context
            .output
            .note("\nThe defaults fit: no driftless.yaml is needed. Next: `driftless plan`.");
    } else if problems.is_empty() {
        context
            .output
            .note("\ndriftless.yaml lists these apps. Next: `driftless plan`.");
    }
    unnamed.tell(context);
    if !snapshot.uncommitted.is_empty() {
        context
            .output
            .note("Uncommitted changes are not included; `driftless plan --local .` shows them.");
    }
    if problems.has_errors() {
        return Err(
            CommandError::new(Exit::Invalid, "not every app can be deployed as it is")
                .hint("`driftless validate` shows each problem with its place"),
        );
    }
    Ok(Exit::Done)
}

/// Where an app would go now, as far as that is seen without asking anybody.
fn goes(context: &Context, settings: &Settings, app: &App, unnamed: &mut Unnamed) -> Option<String> {
    let (docker, kubeconfigs) = (docker_env(context), kubeconfigs(&context.environment));
    let finder = Finder {
        settings,
        docker: &docker,
        kubeconfigs: &kubeconfigs,
        person: true,
    };
    // What is wrong with a target is told by what needs it.
    let name = target_of(settings, app).ok()?;
    match finder.find(name, app.needs()).ok()? {
        Place::Engine(endpoint) => Some(endpoint.name().to_owned()),
        Place::Cluster { name: declared, spec } => match chosen(&spec) {
            Ok((cluster, namespace)) => {
                if name.is_none() {
                    unnamed.apps.push(app.name.to_string());
                    unnamed.at = Some((cluster.clone(), namespace.clone()));
                }
                let cluster = declared.unwrap_or(cluster);
                // A target may spell out its namespace: `prod/blog`.
                Some(match cluster.contains('/') {
                    true => format!("k8s:{cluster}"),
                    false => format!("k8s:{cluster}/{namespace}"),
                })
            }
            Err(error) => {
                unnamed.lost.get_or_insert(error.problem.to_string());
                None
            }
        },
    }
}

/// Apps on a cluster whose target nobody names.
#[derive(Default)]
struct Unnamed {
    apps: Vec<String>,
    /// Where `kubectl` would put them: context and namespace.
    at: Option<(String, String)>,
    /// Why there is no cluster to go to.
    lost: Option<String>,
}

impl Unnamed {
    /// How to give them one, so that they do not follow the current context of whoever runs a command.
    fn tell(&self, context: &Context) {
        let output = &context.output;
        if let Some(lost) = &self.lost {
            output.note(&format!(
                "\nNo cluster is found for the Kubernetes apps: {lost}.\nName one with KUBECONFIG or --target k8s:CONTEXT."
            ));
        }
        let Some((cluster, namespace)) = &self.at else {
            return;
        };
        let apps = match self.apps.as_slice() {
            [one] => format!("{one} goes"),
            [first, second] => format!("{first} and {second} go"),
            all => format!("{} apps go", all.len()),
        };
        output.note(&format!(
            "\n{apps} where `kubectl` points now. To tie them to this cluster, declare it in config.yaml:\n  \
             targets: {{ prod: {{ kubernetes: {cluster}, namespace: {namespace} }} }}\n\
             and name it in driftless.yaml with `target: prod`. `driftless doctor` says what is missing there."
        ));
    }
}

fn write(snapshot: &Snapshot, root: Option<&std::path::Path>, context: &Context) -> Result<(), CommandError> {
    let root = root.ok_or_else(|| {
        CommandError::new(
            Exit::Usage,
            "a driftless.yaml can only be written into a repository on this machine",
        )
    })?;
    let file = root.join(FILE);
    let mut text = String::from("# yaml-language-server: $schema=./driftless.schema.json\napps:\n");
    for app in &snapshot.discovery.apps {
        let target = app
            .target
            .as_ref()
            .map(|target| format!("\n    target: {target}"))
            .unwrap_or_default();
        let path = if app.path.is_empty() { "." } else { &app.path };
        text.push_str(&format!("  {}:\n    path: {path}{target}\n", app.name));
    }
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&file);
    made.and_then(|mut made| std::io::Write::write_all(&mut made, text.as_bytes()))
        .map_err(|error| {
            let failed =
                CommandError::new(Exit::Usage, format!("cannot write {}", file.display())).because(&error);
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                failed.hint("it is there already: edit it")
            } else {
                failed
            }
        })?;
    context.output.note(&format!(
        "\nwrote {}; commit it to put it in force",
        file.display()
    ));
    Ok(())
}
