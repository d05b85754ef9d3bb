//! `driftless drift`: what was changed outside Git.

use clap::Args as ClapArgs;
use serde::Serialize;

use super::args::Format;
use super::output::no_markdown;
use super::plan::now;
use super::session::{Access, Session, block_on};
use super::{CommandError, Context};
use crate::clock::Timestamp;
use crate::engine::{Stand, look, sightings, stand};
use crate::plan::{Action, Change, FieldDiff};
use crate::render::App;
use crate::report::Exit;
use crate::report::text::{Line, Role, Text};
use crate::report::when::Now;

/// Shows what was changed outside Git, field by field
///
/// Live state is compared with what should run now: the stable release while a newer one is held, else Git. A hold is not
/// drift; `driftless diff` compares with Git.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The apps to look at [default: all]
    #[arg(value_name = "APP")]
    pub apps: Vec<String>,
}

pub const EXAMPLES: &str = "\
driftless drift || echo \"somebody changed something\"
driftless drift web -o json";

/// One app's drift, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    app: String,
    target: String,
    /// The release that live state was compared with.
    release: Option<u64>,
    revision: Option<String>,
    drifted: bool,
    changes: Vec<ChangeItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangeItem {
    resource: String,
    fields: Vec<FieldItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FieldItem {
    field: String,
    expected: Option<String>,
    live: Option<String>,
    secret: bool,
    /// Who set it, where the platform writes that down.
    by: Option<String>,
    /// Since when, where the platform tells.
    since: Option<Timestamp>,
    /// When `serve` saw it first.
    first_seen: Option<Timestamp>,
    file: Option<String>,
    line: Option<u32>,
}

/// One app that was compared.
struct Compared {
    item: Item,
    stand: Stand,
}

/// Runs the verb.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit, CommandError> {
    if context.output.format == Format::Markdown {
        return Err(no_markdown());
    }
    block_on(async {
        let session = Session::open(context, Access::Read, "drift").await?;
        let mut exit = Exit::Done;
        for (_, error) in session.broken(&args.apps) {
            exit = Exit::worst([exit, error.exit()]);
            context.output.error(&error);
        }
        let mut all = Vec::new();
        for app in session.apps(&args.apps)? {
            match compare(&session, &app).await {
                Ok(compared) => all.push(compared),
                Err(error) => {
                    exit = Exit::worst([exit, error.exit()]);
                    context.output.error(&error);
                }
            }
        }
        show(&all, context)?;
        if session.no_history {
            context
                .output
                .note("no history here yet: nothing was applied that could drift");
        }
        let drifted = all.iter().any(|one| one.item.drifted);
        Ok(Exit::worst([
            exit,
            if drifted { Exit::Differences } else { Exit::Done },
        ]))
    })
}

async fn compare(session: &Session, app: &App) -> Result<Compared, CommandError> {
    let turn = session
        .turn(app, "drift", session.options(app, None, false))
        .await?;
    let look = look(&turn, &session.world).await?;
    let stand = stand(&turn, &session.world, &look).await?;
    let record = look.effective.as_ref();
    let changes: Vec<ChangeItem> = stand
        .drift
        .iter()
        .map(|change| {
            let resource = change.key.to_string();
            let fields = change.fields.iter().map(|field| FieldItem {
                field: field.field.clone(),
                expected: field.to.as_ref().map(|text| text.shown().to_owned()),
                live: field.from.as_ref().map(|text| text.shown().to_owned()),
                secret: [&field.from, &field.to]
                    .into_iter()
                    .flatten()
                    .any(|text| text.secret),
                by: field.by.as_ref().map(|by| by.name.clone()),
                since: stand.since(change, field),
                first_seen: look
                    .state
                    .drift
                    .get(&sightings::name(change, &field.field))
                    .copied(),
                file: field.place.as_ref().map(|place| place.file.to_string()),
                line: field.place.as_ref().map(|place| place.line),
            });
            ChangeItem {
                fields: fields.collect(),
                resource,
            }
        })
        .collect();
    let item = Item {
        app: app.name.to_string(),
        target: turn.target.name().to_owned(),
        release: record.map(|record| record.number),
        revision: record.map(|record| record.revision.to_string()),
        drifted: !changes.is_empty(),
        changes,
    };
    Ok(Compared { item, stand })
}

fn show(all: &[Compared], context: &Context) -> Result<(), CommandError> {
    let output = &context.output;
    match output.format {
        Format::Json | Format::Yaml => {
            let items: Vec<&Item> = all.iter().map(|one| &one.item).collect();
            return output.value("DriftList", &serde_json::json!({ "items": items }));
        }
        Format::Name => {
            for one in all.iter().filter(|one| one.item.drifted) {
                output.result(&format!("{}\n", one.item.app));
            }
            return Ok(());
        }
        _ => {}
    }
    let now = now();
    let mut text = Text::new();
    let column = all
        .iter()
        .flat_map(|one| &one.item.changes)
        .flat_map(|change| {
            change
                .fields
                .iter()
                .map(|field| 8 + field.field.len())
                .chain([6 + change.resource.len()])
        })
        .max()
        .unwrap_or(0)
        .clamp(23, 42)
        + 2;
    for one in all {
        let item = &one.item;
        let release = match (&item.release, &item.revision) {
            (Some(number), Some(revision)) => {
                format!(" (release {number}, {})", revision.get(..7).unwrap_or_default())
            }
            _ => String::new(),
        };
        let heading = Line::new()
            .span(Role::Strong, item.app.as_str())
            .plain(" on ")
            .plain(item.target.as_str());
        if !item.drifted {
            text.push(heading.plain(if item.release.is_some() {
                "  no drift"
            } else {
                "  nothing applied yet"
            }));
            continue;
        }
        text.push(heading.span(Role::Dim, release));
        for (change, shown) in one.stand.drift.iter().zip(&item.changes) {
            text.push(
                Line::new()
                    .plain("    ")
                    .span(Role::Change, "! ")
                    .span(Role::Change, shown.resource.as_str())
                    .to_column(column)
                    .plain(told(change)),
            );
            for (field, shown) in change.fields.iter().zip(&shown.fields) {
                text.push(field_line(field, shown, column, &now));
            }
        }
    }
    let drifted = all.iter().filter(|one| one.item.drifted).count();
    if drifted > 0 {
        let fields: usize = all
            .iter()
            .flat_map(|one| &one.item.changes)
            .map(|change| change.fields.len().max(1))
            .sum();
        text.push(
            Line::new()
                .plain(format!(
                    "{} changed outside Git in {drifted} of {} apps; ",
                    counted(fields, "field"),
                    all.len()
                ))
                .span(Role::Name, "`driftless apply`")
                .plain(" puts it right."),
        );
    }
    output.text(&text);
    Ok(())
}

fn told(change: &Change) -> &'static str {
    match change.action {
        Action::Create | Action::Revive | Action::Scale { .. } => "removed outside Git",
        _ => "changed outside Git",
    }
}

fn field_line(field: &FieldDiff, shown: &FieldItem, column: usize, now: &Now) -> Line {
    let value = |text: &Option<String>| match text.as_deref() {
        None => "(not set)".to_owned(),
        Some("") => "\"\"".to_owned(),
        Some("no") => "\"no\"".to_owned(),
        Some(text) => text.lines().next().unwrap_or_default().chars().take(64).collect(),
    };
    let mut line = Line::new()
        .plain("        ")
        .plain(field.field.as_str())
        .to_column(column);
    line = if shown.secret {
        line.span(Role::Dim, "(secret changed)")
    } else {
        line.span(Role::Remove, value(&shown.live))
            .plain(", should be ")
            .span(Role::Add, value(&shown.expected))
    };
    if let Some(by) = &shown.by {
        line = line.plain(format!("  by {by}"));
    }
    if let Some(since) = shown.since {
        line = line.plain(format!("  {}", now.ago(since)));
    } else if let Some(seen) = shown.first_seen {
        line = line.plain(format!("  first seen {}", now.ago(seen)));
    }
    if let (Some(file), Some(at)) = (&shown.file, shown.line) {
        line = line.span(Role::Dim, format!("  {file}:{at}"));
    }
    line
}

/// `1 field`, `2 fields`.
pub fn counted(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}
