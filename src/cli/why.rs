//! `driftless why`: one answer.

use clap::Args as ClapArgs;

use super::args::Format;
use super::output::no_markdown;
use super::plan::now;
use super::session::{Access, Session, block_on};
use super::standing::{Standing, Sync};
use super::{CommandError, Context};
use crate::history::{AppState, RunRow};
use crate::report::text::{Line, Role, Text};
use crate::report::{End, Exit, Run, told};
use crate::settle::Evidence;

/// Says what blocks an app, since when, and what would unblock it
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
}

pub const EXAMPLES: &str = "driftless why web";

/// How many runs are searched for the evidence of the last failure.
const SEARCHED: usize = 100;

/// One answer.
struct Answer {
    /// What is the matter, in one sentence.
    what: String,
    since: Option<crate::clock::Timestamp>,
    /// What would unblock it; commands a person can type.
    next: Vec<String>,
    /// Whether the evidence of the last failed gate belongs to it.
    gate: bool,
}

/// Runs the verb.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit, CommandError> {
    if context.output.format == Format::Markdown {
        return Err(no_markdown());
    }
    block_on(async {
        let session = Session::open_known(context, Access::Read, "why").await?;
        let subject = session.subject(&args.app)?;
        let state = session.world.history.state(&subject.key)?;
        let runs = session.world.history.runs(&subject.key, SEARCHED)?;
        let standing = Standing::of(&session, subject).await?;
        let answer = answer(&standing, &state);
        let failed = if answer.gate {
            last_failure(&runs, standing.held.as_ref().map(|held| held.revision.as_str()))
        } else {
            None
        };
        show(&standing, &answer, &state, failed.as_ref(), context)?;
        Ok(Exit::Done)
    })
}

fn answer(standing: &Standing, state: &AppState) -> Answer {
    let app = &standing.app;
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    let to = |what: String, next: Vec<String>| Answer {
        what,
        since: None,
        next,
        gate: false,
    };
    match standing.sync {
        Sync::Held | Sync::Frozen => {
            let (what, since) = match (&standing.held, standing.sync) {
                (Some(held), Sync::Held) => (
                    format!(
                        "{} is not applied again: {}",
                        held.revision.get(..7).unwrap_or_default(),
                        held.cause
                    ),
                    Some(held.since),
                ),
                (Some(held), _) => (
                    format!(
                        "{} failed and was not rolled back: {}",
                        held.revision.get(..7).unwrap_or_default(),
                        of(&standing.frozen)
                    ),
                    Some(held.since),
                ),
                (None, _) => (of(&standing.frozen), state.phase_since),
            };
            Answer {
                what,
                since,
                next: vec![
                    format!("a commit that changes {app}"),
                    format!("driftless retry {app}     tries it once more"),
                ],
                gate: true,
            }
        }
        Sync::Suspended => Answer {
            what: format!("suspended {}", of(&standing.suspended)),
            since: state.suspended.as_ref().map(|one| one.since),
            next: vec![format!("driftless resume {app}")],
            gate: false,
        },
        Sync::Blocked => Answer {
            what: of(&standing.blocked),
            since: state.blocked.as_ref().map(|one| one.since),
            next: vec![
                format!("driftless plan {app}     shows what is in the way"),
                format!("then: driftless apply {app}"),
            ],
            gate: false,
        },
        Sync::Invalid => to(
            of(&standing.error),
            vec![format!(
                "driftless plan {app}     shows the place; a commit puts it right"
            )],
        ),
        Sync::Unknown => Answer {
            what: format!("live state can't be read: {}", of(&standing.error)),
            since: state.last_error.as_ref().map(|one| one.since),
            next: vec!["driftless doctor     checks the way to the target".to_owned()],
            gate: false,
        },
        Sync::Gone => to(
            "Git has it no more".to_owned(),
            vec![format!("driftless down {app}     removes it; volumes stay")],
        ),
        Sync::Drifted => Answer {
            since: standing.drift_since.values().min().copied(),
            ..to(
                format!(
                    "live state was changed outside Git: {}",
                    standing.drift.join(", ")
                ),
                vec![
                    format!("driftless apply {app}     puts it right"),
                    format!("driftless drift {app}     shows it field by field"),
                ],
            )
        },
        Sync::Behind => to(
            "Git wants something that was not applied yet".to_owned(),
            vec![format!("driftless apply {app}")],
        ),
        Sync::New => Answer {
            what: match &standing.error {
                Some(error) => format!("it was never applied with success: {error}"),
                None => "it was never applied".to_owned(),
            },
            since: None,
            next: vec![format!("driftless apply {app}")],
            gate: true,
        },
        Sync::Applying => Answer {
            what: format!("a run is at work, or ended in the middle ({})", state.phase),
            since: state.phase_since,
            next: vec![format!("driftless apply {app}     goes on from there")],
            gate: false,
        },
        Sync::Synced if matches!(standing.health, "healthy" | "suspended" | "-") => to(
            "nothing is in its way: it runs what Git wants, and is well".to_owned(),
            Vec::new(),
        ),
        Sync::Synced => Answer {
            what: format!(
                "it runs what Git wants, and is {}: {}",
                standing.health,
                standing.note()
            ),
            since: state.last_error.as_ref().map(|one| one.since),
            next: vec![
                format!("driftless logs {app}"),
                format!("driftless rollback {app}     puts an earlier release back"),
            ],
            gate: false,
        },
    }
}

/// The last run whose gate failed: that of the commit that is held, where one is.
fn last_failure(runs: &[RunRow], held: Option<&str>) -> Option<Run> {
    runs.iter().find_map(|row| {
        let run: Run = serde_json::from_value(row.report.clone()).ok()?;
        let shows = match &run.end {
            End::RolledBack(back) => !back.evidence.is_empty() || !back.changed.is_empty(),
            // A run that only says that it still is frozen has nothing to show.
            End::Frozen(frozen) => !frozen.evidence.is_empty(),
            _ => false,
        };
        let of_held = |revision: &crate::names::Revision| held.is_none_or(|held| held == revision.as_str());
        (shows && run.revision.as_ref().is_some_and(of_held)).then_some(run)
    })
}

/// What a release had changed whose gate failed.
fn changed(run: &Run) -> &[String] {
    match &run.end {
        End::RolledBack(back) => &back.changed,
        End::Frozen(frozen) => &frozen.changed,
        _ => &[],
    }
}

/// What was kept of a run whose gate failed.
fn evidence(run: &Run) -> &[Evidence] {
    match &run.end {
        End::RolledBack(back) => &back.evidence,
        End::Frozen(frozen) => &frozen.evidence,
        _ => &[],
    }
}

fn show(
    standing: &Standing,
    answer: &Answer,
    state: &AppState,
    failed: Option<&Run>,
    context: &Context,
) -> Result<(), CommandError> {
    let output = &context.output;
    if output.for_machines() {
        return output.value("Why", &serde_json::json!({
            "app": standing.app, "sync": standing.sync, "health": standing.health, "what": answer.what, "since": answer.since,
            "nextAttempt": state.next_attempt, "unblockedBy": answer.next, "status": standing,
            "lastFailure": failed.map(|run| serde_json::json!({
                "run": run.id, "started": run.started, "evidence": evidence(run), "changed": changed(run),
            })),
        }));
    }
    let now = now();
    let mut text = Text::new();
    text.push(
        Line::new()
            .span(Role::Strong, standing.app.as_str())
            .plain(" is ")
            .span(standing.sync.role(), standing.sync.word())
            .plain(format!(": {}", answer.what)),
    );
    let fact = |head: &str| Line::new().plain("  ").span(Role::Dim, head).to_column(17);
    if let Some(since) = answer.since {
        text.push(fact("since").plain(format!("{} ({})", now.clock(since), now.ago(since))));
    }
    if let (Some(number), Some(revision)) = (standing.release, &standing.revision) {
        let line = fact("running").plain(format!(
            "release {number} @ {}, ",
            revision.get(..7).unwrap_or_default()
        ));
        text.push(line.span(standing.health_role(), standing.health));
    }
    if let Some(next) = state.next_attempt.filter(|next| *next > now.at) {
        text.push(fact("next attempt").plain(now.clock(next)));
    } else if answer.gate && !answer.next.is_empty() && standing.sync != Sync::New {
        text.push(fact("next attempt").plain("none by itself"));
    }
    for (at, next) in answer.next.iter().enumerate() {
        text.push(fact(if at == 0 { "unblocked by" } else { "" }).span(Role::Name, next.as_str()));
    }
    if let Some(run) = failed {
        let revision = run.revision.as_ref().map_or("it", |revision| revision.short());
        text.push(Line::new().plain("  ").span(
            Role::Dim,
            format!(
                "what was kept of {revision}'s failed gate, {}:",
                now.clock(run.started)
            ),
        ));
        text.append(told::kept(run, output.width().unwrap_or(0)));
    }
    output.text(&text);
    Ok(())
}
