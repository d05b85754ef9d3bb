//! `driftless init`: a first look at a repository.

use clap::Args as ClapArgs;
use serde_json::json;

use super::Context;
use super::error::CommandError;
use super::here::{Here, expanded, inputs};
use super::table::{Cell, Table, cell, column};
use crate::document::Diagnostics;
use crate::engine::Snapshot;
use crate::render::discover::FILE;
use crate::report::Exit;
use crate::report::text::Role;

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
        column("SERVICES"),
        column("").shrinks(),
    ]);
    let mut items = Vec::new();
    let mut problems = Diagnostics::new();
    for app in &snapshot.discovery.apps {
        let inputs = inputs(context, &settings, app, source.local_root())?;
        let expanded = expanded(context, &settings, &snapshot, app, inputs)?;
        let (services, remark) = match expanded.and_then(|inputs| snapshot.desired(app, &inputs)) {
            Ok(desired) => {
                let count = desired
                    .bundle
                    .as_ref()
                    .map_or(desired.project.services.len(), |bundle| bundle.objects.len());
                (count.to_string(), String::new())
            }
            Err(found) => {
                let first = found.iter().next().map(ToString::to_string).unwrap_or_default();
                problems.extend(found);
                ("-".to_owned(), first)
            }
        };
        let path = if app.path.is_empty() { "." } else { &app.path };
        let target = app.target.as_deref().unwrap_or("-");
        let role = if remark.is_empty() { Role::Plain } else { Role::Bad };
        items.push(json!({ "app": app.name, "path": path, "target": app.target, "services": services, "problem": remark }));
        table.row([
            Cell::from(app.name.as_str()),
            path.into(),
            target.into(),
            services.into(),
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
            cell(Role::Bad, first),
        ]);
        problems.extend(broken.diagnostics.clone());
    }
    if items.is_empty() {
        return Err(CommandError::new(
            Exit::Invalid,
            "nothing that can be deployed was found in this repository",
        )
        .hint("a folder with a committed compose.yaml is an app; `driftless explain app` tells more"));
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
