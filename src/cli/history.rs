//! `driftless history`: the releases of an app and what came of them.

use clap::Args as ClapArgs;

use super::args::Format;
use super::output::no_markdown;
use super::plan::now;
use super::session::{Access, Session, block_on};
use super::subject::Subject;
use super::table::{Table, cell, column};
use super::{CommandError, Context};
use crate::history::Summary;
use crate::release::Outcome;
use crate::report::text::Role;
use crate::report::told::word;
use crate::report::when::span;
use crate::report::{Exit, Run};
use serde::Serialize;

/// Lists the releases of an app, and what came of each
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
    /// How many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    pub limit: usize,
    /// Every run, those that changed nothing included
    #[arg(long)]
    pub runs: bool,
}

pub const EXAMPLES: &str = "\
driftless history web
driftless history web -n 3 -o wide
driftless history web --runs";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    release: u64,
    revision: String,
    subject: String,
    author: String,
    created_at: crate::clock::Timestamp,
    outcome: &'static str,
    cause: Option<String>,
    stable_at: Option<crate::clock::Timestamp>,
    /// It is what runs now.
    running: bool,
    held: bool,
    digest: String,
    images: std::collections::BTreeMap<String, String>,
}

/// Runs the verb.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit, CommandError> {
    if context.output.format == Format::Markdown {
        return Err(no_markdown());
    }
    block_on(async {
        let session = Session::open_known(context, Access::Read, "history").await?;
        let subject = session.subject(&args.app)?;
        if args.runs {
            runs(args, &session, &subject, context)
        } else {
            releases(args, &session, &subject, context)
        }
    })
}

fn releases(
    args: &Args,
    session: &Session,
    subject: &Subject,
    context: &Context,
) -> Result<Exit, CommandError> {
    let history = &session.world.history;
    let state = history.state(&subject.key)?;
    let holds = history.holds(&subject.key)?;
    let releases = history.releases(&subject.key, args.limit)?;
    let now = now();
    let mut table = Table::new([
        column("RELEASE"),
        column("COMMIT"),
        column("WHEN"),
        column("OUTCOME"),
        column("STABLE SINCE"),
        column("SUBJECT").shrinks(),
        column("AUTHOR").wide(),
        column("IMAGES").wide(),
    ]);
    let mut items = Vec::new();
    for release in &releases {
        let item = item(
            release,
            state.effective == Some(release.number),
            holds.iter().any(|hold| hold.digest == release.digest),
        );
        let (role, mut outcome) = outcome(&release.outcome);
        if item.running {
            outcome.push_str(", running");
        }
        if item.held {
            outcome.push_str(", held");
        }
        let images = item
            .images
            .iter()
            .map(|(service, image)| format!("{service}={image}"));
        table.row([
            cell(
                if item.running { Role::Strong } else { Role::Plain },
                format!("{}#{}", subject.key.app, release.number),
            ),
            release.revision.short().into(),
            now.ago(release.created_at).into(),
            cell(role, outcome),
            release
                .stable_at
                .map_or_else(|| "-".to_owned(), |at| now.clock(at))
                .into(),
            release.subject.as_str().into(),
            release.author.as_str().into(),
            images.collect::<Vec<_>>().join(" ").into(),
        ]);
        items.push(item);
    }
    context.output.list("ReleaseList", &items, &table)?;
    if releases.is_empty() {
        context.output.note(&format!(
            "nothing was applied yet: driftless apply {}",
            subject.key.app
        ));
    }
    Ok(Exit::Done)
}

fn item(release: &Summary, running: bool, held: bool) -> Item {
    let cause = match &release.outcome {
        Outcome::Failed { cause } | Outcome::RolledBack { cause, .. } => Some(cause.clone()),
        _ => None,
    };
    Item {
        release: release.number,
        revision: release.revision.to_string(),
        subject: release.subject.clone(),
        author: release.author.clone(),
        created_at: release.created_at,
        outcome: match release.outcome {
            Outcome::InProgress => "inProgress",
            Outcome::Stable => "stable",
            Outcome::Failed { .. } => "failed",
            Outcome::RolledBack { .. } => "rolledBack",
            Outcome::Superseded => "superseded",
        },
        cause,
        stable_at: release.stable_at,
        running,
        held,
        digest: release.digest.to_string(),
        images: release
            .images
            .iter()
            .map(|(service, pinned)| {
                (
                    service.to_string(),
                    pinned
                        .repo_digest
                        .clone()
                        .unwrap_or_else(|| pinned.reference.clone()),
                )
            })
            .collect(),
    }
}

fn outcome(outcome: &Outcome) -> (Role, String) {
    match outcome {
        Outcome::InProgress => (Role::Plain, "in progress".to_owned()),
        Outcome::Stable => (Role::Good, "stable".to_owned()),
        Outcome::Failed { .. } => (Role::Bad, "failed".to_owned()),
        Outcome::RolledBack { to, .. } => (Role::Bad, format!("rolled back to {to}")),
        Outcome::Superseded => (Role::Dim, "superseded".to_owned()),
    }
}

fn runs(args: &Args, session: &Session, subject: &Subject, context: &Context) -> Result<Exit, CommandError> {
    let rows = session.world.history.runs(&subject.key, args.limit)?;
    let now = now();
    let mut table = Table::new([
        column("WHEN"),
        column("BY"),
        column("COMMIT"),
        column("RELEASE").right(),
        column("RESULT"),
        column("TOOK").right(),
        column("EXIT").right(),
        column("CHANGES").shrinks(),
        column("RUN").wide(),
    ]);
    let mut items = Vec::new();
    for row in rows {
        // A report of another version may not be readable; the row still is.
        let run: Option<Run> = serde_json::from_value(row.report.clone()).ok();
        let result = run.as_ref().map_or("-", |run| word(&run.end));
        let role = if row.exit_code == 0 {
            Role::Plain
        } else {
            Role::Bad
        };
        table.row([
            now.ago(row.started).into(),
            row.trigger.as_str().into(),
            row.revision
                .as_ref()
                .map_or("-", |revision| revision.short())
                .into(),
            row.release
                .map_or_else(|| "-".to_owned(), |number| number.to_string())
                .into(),
            cell(role, result),
            run.as_ref()
                .map_or_else(|| "-".to_owned(), |run| span(run.took))
                .into(),
            row.exit_code.to_string().into(),
            run.as_ref()
                .map(|run| run.changes.join(", "))
                .unwrap_or_default()
                .into(),
            row.id.as_str().into(),
        ]);
        items.push(serde_json::json!({
            "id": row.id, "trigger": row.trigger, "started": row.started, "ended": row.ended, "revision": row.revision,
            "release": row.release, "result": result, "exitCode": row.exit_code, "report": row.report,
        }));
    }
    context.output.list("RunList", &items, &table)?;
    Ok(Exit::Done)
}
