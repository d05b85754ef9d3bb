//! `driftless status`: where every app stands.

use std::time::Duration;

use clap::Args as ClapArgs;

use super::args::Format;
use super::output::no_markdown;
use super::plan::now;
use super::session::{Access, Session, block_on};
use super::standing::{Standing, Sync, role_of};
use super::table::{Table, cell, column};
use super::{CommandError, Context};
use crate::report::Exit;
use crate::report::text::{Line, Role, Text};
use crate::report::when::Now;

/// Shows every app: in sync, healthy, at which commit; worst first
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// One app in detail [default: one line for each app]
    #[arg(value_name = "APP")]
    pub app: Option<String>,
    /// Keep watching until interrupted
    #[arg(short, long)]
    pub watch: bool,
}

pub const EXAMPLES: &str = "\
driftless status
driftless status web
driftless status -w
driftless status -o json | jq -r '.items[] | select(.held) | .app'";

/// How often `-w` looks.
const WATCH: Duration = Duration::from_secs(2);

/// Runs the verb.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit, CommandError> {
    if context.output.format == Format::Markdown {
        return Err(no_markdown());
    }
    block_on(async {
        let mut session = Session::open_known(context, Access::Read, "status").await?;
        let names: Vec<String> = args.app.iter().cloned().collect();
        let mut last = None;
        loop {
            let all = Standing::of_all(&session, &names).await?;
            let seen = all.iter().map(Standing::gist).collect::<Vec<_>>();
            // A terminal is drawn again as times go by; a file gets a new picture only when something is new.
            let redrawn = args.watch && context.output.clear();
            if redrawn || last.as_ref() != Some(&seen) {
                show(&session, &all, args.app.is_some(), context)?;
            }
            if !args.watch || context.output.closed() {
                return Ok(Exit::Done);
            }
            last = Some(seen);
            session.world.clock.sleep(WATCH).await;
            session.refresh().await?;
        }
    })
}

fn show(session: &Session, all: &[Standing], one: bool, context: &Context) -> Result<(), CommandError> {
    let output = &context.output;
    let now = now();
    if let Some(error) = &session.git_away {
        output.warn(&format!(
            "Git can't be read, so this is what the store and the engine say: {}",
            error.message()
        ));
    }
    if all.is_empty() {
        output.note("no app is declared here for this target; `driftless init` shows what is looked for");
    }
    match (all, one) {
        ([only], true) if !output.for_machines() && output.format != Format::Name => {
            output.text(&detail(only, &now));
            Ok(())
        }
        _ => output.list("StatusList", all, &table(all, &now)),
    }
}

fn table(all: &[Standing], now: &Now) -> Table {
    let mut table = Table::new([
        column("APP"),
        column("SYNC"),
        column("HEALTH"),
        column("READY").wide().right(),
        column("REVISION"),
        column("RELEASE").right(),
        column("SINCE"),
        column("TARGET").wide(),
        column("NOTE").shrinks(),
    ]);
    for one in all {
        table.row([
            cell(Role::Strong, one.app.as_str()),
            cell(one.sync.role(), one.sync.word()),
            cell(one.health_role(), one.health),
            format!("{}/{}", one.ready, one.of).into(),
            one.revision.as_deref().map_or("-", short).into(),
            one.release
                .map_or_else(|| "-".to_owned(), |number| number.to_string())
                .into(),
            one.since
                .map_or_else(|| "-".to_owned(), |since| now.ago(since))
                .into(),
            cell(Role::Dim, one.target.as_deref().unwrap_or("-")),
            cell(Role::Plain, one.note()),
        ]);
    }
    table
}

fn short(revision: &str) -> &str {
    revision.get(..7).unwrap_or(revision)
}

fn detail(one: &Standing, now: &Now) -> Text {
    let mut text = Text::new();
    let fact = |head: &str| Line::new().plain("  ").span(Role::Dim, head).to_column(13);
    let target = one
        .target
        .as_deref()
        .map(|target| format!(" on {target}"))
        .unwrap_or_default();
    text.push(
        Line::new()
            .span(Role::Strong, one.app.as_str())
            .plain(target)
            .plain(": ")
            .span(one.sync.role(), one.sync.word())
            .plain(", ")
            .span(one.health_role(), one.health),
    );
    if let (Some(number), Some(revision)) = (one.release, &one.revision) {
        let subject = one
            .subject
            .as_deref()
            .map(|subject| format!(" \"{subject}\""))
            .unwrap_or_default();
        let since = one
            .since
            .map(|since| format!(", {}", now.ago(since)))
            .unwrap_or_default();
        text.push(
            fact("running")
                .plain(format!("release {number} @ "))
                .span(Role::Name, short(revision))
                .plain(format!("{subject}{since}")),
        );
    }
    if let Some(git) = &one.git_revision {
        let same = if one.sync == Sync::Behind {
            ", not applied yet"
        } else {
            ""
        };
        text.push(fact("in Git").span(Role::Name, short(git)).plain(same));
    }
    if let Some(held) = &one.held {
        text.push(
            fact("held")
                .span(Role::Name, short(&held.revision))
                .plain(format!(" since {}: {}", now.clock(held.since), held.cause)),
        );
    }
    for (head, said) in [
        ("frozen", &one.frozen),
        ("blocked", &one.blocked),
        ("suspended", &one.suspended),
        ("error", &one.error),
    ] {
        if let Some(said) = said {
            text.push(fact(head).plain(said.as_str()));
        }
    }
    for field in &one.drift {
        let line = fact("drift").span(Role::Change, field.as_str());
        text.push(match one.drift_since.get(field) {
            Some(since) => line.plain(format!("  since {}", now.ago(*since))),
            None => line,
        });
    }
    let column = one
        .services
        .iter()
        .map(|service| service.service.len())
        .max()
        .unwrap_or(0)
        + 6;
    for service in &one.services {
        let role = role_of(service.health);
        let mut line = Line::new()
            .plain("    ")
            .plain(service.service.as_str())
            .to_column(column)
            .plain(format!("{}/{}  ", service.ready, service.of))
            .span(role, service.health);
        if let Some(detail) = &service.detail {
            line = line.plain(format!(": {detail}"));
        }
        text.push(line);
    }
    if one.sync.worse_than_drift() {
        text.push(
            Line::new()
                .plain("  ")
                .span(Role::Name, format!("driftless why {}", one.app))
                .plain(" says more"),
        );
    }
    text
}
