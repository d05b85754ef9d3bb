//! `driftless rollback`: back to a release that was proven.

use clap::Args as ClapArgs;

use super::apply::{confirm, show_runs};
use super::args::Format;
use super::output::no_markdown;
use super::planned::plan_text;
use super::session::{Access, Session, block_on};
use super::subject::Subject;
use super::{CommandError, Context};
use crate::engine::{look, put_back, rollback_plan};
use crate::history::Phase;
use crate::plan::Plan;
use crate::plan::text::view;
use crate::release::Record;
use crate::report::Exit;
use crate::report::text::{Line, Role, Text};

/// Puts an earlier stable release back, and holds the present one
///
/// The whole app goes back, from the stored release: nothing is rendered again. Volumes keep their data. Git's release is
/// held, or the next run would undo the rollback; `driftless retry APP` or a commit that changes the app lifts the hold.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
    /// Which release: its number or its commit [default: the stable one before this]
    #[arg(long, value_name = "RELEASE|COMMIT")]
    pub to: Option<String>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub plan: bool,
    /// Why; it is shown where the hold is shown
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

pub const EXAMPLES: &str = "\
driftless rollback web --plan
driftless rollback web --to 91d0e77
driftless rollback web --to 12 --yes --reason \"payments fail since 14:00\"";

/// Runs the verb.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit, CommandError> {
    block_on(async {
        let access = if args.plan { Access::Read } else { Access::Write };
        let session = Session::open_known(context, access, "rollback").await?;
        let subject = session.subject(&args.app)?;
        let options = session.options(&subject.app, None, false);
        let turn = session.turn_for(&subject, "rollback", options).await?;
        let number = choose(&session, &subject, args.to.as_deref())?;
        let record = session
            .world
            .history
            .release(&subject.key, number)?
            .ok_or_else(|| {
                CommandError::new(
                    Exit::Refused,
                    format!("release {number} of `{}` is not in the store", subject.key.app),
                )
            })?;
        let look = look(&turn, &session.world).await?;
        let plan = rollback_plan(&turn, &session.world, &record, &look.git.release).await?;
        if args.plan || !args.yes {
            show(&plan, &record, turn.target.name(), context)?;
        }
        if args.plan {
            return Ok(Exit::Done);
        }
        if !args.yes {
            confirm(context)?;
        }
        super::signals::drain(&session.stop, context);
        let by = (who(context), args.reason.clone());
        let run = put_back(&turn, &session.world, &record, by, &session.stop).await;
        session.listener.end();
        let exit = run.exit();
        show_runs(&[run], context)?;
        Ok(super::signals::exit(&session.stop, exit))
    })
}

/// Who asks.
pub fn who(context: &Context) -> String {
    let name = context
        .environment
        .text("USER")
        .or_else(|| context.environment.text("LOGNAME"));
    name.map_or_else(|| nix::unistd::geteuid().to_string(), str::to_owned)
}

/// The number of the release that is put back.
fn choose(session: &Session, subject: &Subject, to: Option<&str>) -> Result<u64, CommandError> {
    let app = &subject.key.app;
    let state = session.world.history.state(&subject.key)?;
    let releases = session
        .world
        .history
        .releases(&subject.key, usize::from(u16::MAX))?;
    let stable = || releases.iter().filter(|release| release.stable_at.is_some());
    let known = || {
        let all: Vec<String> = stable()
            .take(8)
            .map(|release| format!("{} ({})", release.number, release.revision.short()))
            .collect();
        match all.is_empty() {
            true => format!("no release of `{app}` ever became stable"),
            false => format!("stable releases: {}", all.join(", ")),
        }
    };
    if let Some(to) = to {
        let by_number = to.trim_start_matches('#').parse::<u64>().ok();
        let found = releases
            .iter()
            .find(|release| Some(release.number) == by_number)
            .or_else(|| {
                let commit = to.to_ascii_lowercase();
                let is_commit = commit.len() >= 4 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
                releases
                    .iter()
                    .find(|release| is_commit && release.revision.as_str().starts_with(&commit))
            });
        return match found {
            None => {
                Err(CommandError::new(Exit::Usage, format!("`{app}` has no release `{to}`")).hint(known()))
            }
            Some(found) if found.stable_at.is_none() => Err(CommandError::new(
                Exit::Refused,
                format!(
                    "release {} of `{app}` ({}) never became stable",
                    found.number,
                    found.revision.short()
                ),
            )
            .note(known())
            .hint(format!(
                "`driftless retry {app}` tries the release that Git has once more"
            ))),
            Some(found) => Ok(found.number),
        };
    }
    // While frozen, what runs is the release that failed.
    let current = if state.phase == Phase::Frozen {
        state.candidate
    } else {
        state.effective
    };
    let digest = releases
        .iter()
        .find(|release| Some(release.number) == current)
        .map(|release| &release.digest);
    stable()
        .find(|release| {
            current.is_none_or(|current| release.number < current) && Some(&release.digest) != digest
        })
        .map(|release| release.number)
        .ok_or_else(|| {
            CommandError::new(
                Exit::Refused,
                format!("`{app}` has no earlier stable release to go back to"),
            )
            .note(known())
            .hint(format!("driftless history {app}"))
        })
}

fn show(plan: &Plan, record: &Record, target: &str, context: &Context) -> Result<(), CommandError> {
    let output = &context.output;
    if output.for_machines() {
        return output.value(
            "Plan",
            &serde_json::json!({
                "to": { "release": record.number, "revision": record.revision, "subject": record.subject },
                "plans": [view(plan, target)],
            }),
        );
    }
    if output.format == Format::Markdown {
        return Err(no_markdown());
    }
    let mut text = Text::new();
    text.push(
        Line::new()
            .plain("back to release ")
            .span(Role::Strong, record.number.to_string())
            .plain(" @ ")
            .span(Role::Name, record.revision.short())
            .plain(format!(" \"{}\"", record.subject)),
    );
    text.append(plan_text(plan, target));
    output.text(&text);
    Ok(())
}
