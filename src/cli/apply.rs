//! `driftless apply`: plan, confirm, change, judge, and roll back what fails.

use std::time::Duration;

use clap::Args as ClapArgs;

use super::args::{Prune, Scope, duration};
use super::planned::{Plans, Ready, SavedPlan, say_missing};
use super::session::{Access, Session, block_on};
use super::subject::{InGit, Subject};
use super::{CommandError, Context, plan};
use crate::engine::{Expected, Options, cycle, down};
use crate::render::App;
use crate::report::{Exit, Run};

/// Makes live state as Git says, and rolls back what fails
///
/// Everything that can be checked is checked before anything is touched: manifests, images, ports, names. What fails its
/// health gate is put back to the last stable release, and the failed one is held. Without `--yes` the plan is shown and
/// confirmed on a terminal; without a terminal nothing is done.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The apps to apply [default: all], or one file that `plan --out` saved
    #[arg(value_name = "APP|PLAN")]
    pub what: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Wait until all is healthy and baked, or at most this long; the next run concludes the rest
    #[arg(long, value_name = "TIME", value_parser = duration, num_args = 0..=1, require_equals = true)]
    pub wait: Option<Option<Duration>>,
    /// Leave a failed release as it is, for looking at it; it is held all the same
    #[arg(long)]
    pub no_rollback: bool,
    #[command(flatten)]
    pub scope: Scope,
}

pub const EXAMPLES: &str = "\
driftless apply                  # shows the plan and asks
driftless apply --yes --wait     # for scripts; exit code 7: rolled back
driftless apply web --yes --wait=5m
driftless apply web.plan --yes   # refused when Git or live state moved";

/// Runs the verb.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit, CommandError> {
    block_on(async {
        let saved = saved_plan(args, context)?;
        let asked: Vec<String> = match &saved {
            Some(saved) => saved.apps.iter().map(|app| app.app.to_string()).collect(),
            None => args.what.clone(),
        };
        let (prune, adopt) = match &saved {
            Some(saved) => (saved.prune.as_deref().and_then(prune_word), saved.adopt),
            None => (args.scope.prune, args.scope.adopt),
        };
        let session = Session::open(context, Access::Write, "apply").await?;
        if let Some(saved) = &saved
            && (saved.source != session.snapshot.source || saved.revision != session.snapshot.commit.revision)
        {
            return Err(stale("Git moved since this plan was made"));
        }
        let apps = session.apps(&asked)?;
        let options = |app: &App| Options {
            no_rollback: args.no_rollback,
            wait: args.wait.flatten(),
            ..session.options(app, prune, adopt)
        };
        // Who confirms needs a plan to look at. Otherwise the run's own look is the only one: it compares with a saved plan, too.
        let (mut plans, ready) = if args.yes {
            let (ready, broken) = Ready::all(&session, apps, "apply", options).await;
            let planned = Vec::new();
            (Plans { planned, broken }, ready)
        } else {
            (Plans::make(&session, apps, "apply", options).await, Vec::new())
        };
        plans.broken.extend(session.broken(&asked));
        let nothing = ready.is_empty() && plans.planned.is_empty() && plans.broken.is_empty();
        let gone = if asked.is_empty() {
            session.gone()?
        } else {
            Vec::new()
        };
        let gone: Vec<Subject> = gone
            .into_iter()
            .filter(|subject| matches!(subject.git, InGit::Gone))
            .collect();
        let prune_gone = saved.is_none() && matches!(args.scope.prune, Some(Prune::Safe | Prune::All));
        for subject in &gone {
            let app = &subject.key.app;
            context.output.warn(&match prune_gone {
                true => format!("`{app}` is not in Git any more and is taken down; its volumes stay"),
                false => format!("`{app}` is not in Git any more and is left as it is; `driftless down {app}` or --prune removes it"),
            });
        }
        if !args.yes && (plans.acts() || prune_gone && !gone.is_empty()) {
            plan::show(&session, &plans, context)?;
            confirm(context)?;
        } else {
            plans.say_broken(&context.output);
            say_missing(nothing, &session, &context.output);
        }
        let broken = plans.broken_exit();
        let confirmed = plans.planned.into_iter().map(|planned| {
            let expected = Expected {
                release: planned.look.git.release.clone(),
                basis: planned.look.git.basis.clone(),
            };
            (Ready::from(planned), Some(expected))
        });
        let mut due: Vec<(Ready, Option<Expected>)> = ready
            .into_iter()
            .map(|ready| (ready, None))
            .chain(confirmed)
            .collect();
        if let Some(saved) = &saved {
            for (ready, expected) in &mut due {
                let app = saved.apps.iter().find(|app| app.app == ready.app.name);
                *expected = app.map(|app| app.expected());
            }
        }
        super::signals::drain(&session.stop, context);
        let mut runs = apply_all(&session, due).await;
        for subject in gone.iter().filter(|_| prune_gone && !session.stop.is_cancelled()) {
            if let Some(turn) = session
                .turn_of_record(subject, "down", Options::default())
                .await?
            {
                runs.push(down(&turn, &session.world, &session.stop).await);
            }
        }
        session.listener.end();
        show_runs(&runs, context)?;
        let exit = Exit::worst(runs.iter().map(Run::exit).chain([broken]));
        Ok(super::signals::exit(&session.stop, exit))
    })
}

/// Applies apps in the order of `after`; those that do not wait for each other go on at once.
async fn apply_all(session: &Session, mut left: Vec<(Ready, Option<Expected>)>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    while !left.is_empty() {
        let names: Vec<_> = left.iter().map(|(ready, _)| ready.app.name.clone()).collect();
        let (now, later): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|(ready, _)| !ready.app.after.iter().any(|name| names.contains(name)));
        let work = now.into_iter().map(|(ready, expected)| {
            let failed = ready.app.after.iter().find(|name| {
                runs.iter()
                    .any(|run| run.key.app == **name && run.exit() != Exit::Done)
            });
            let refused = failed.map(|name| format!("`after: {name}` did not end well"));
            async move {
                let mut turn = ready.turn;
                turn.options.expect = expected;
                match refused {
                    Some(why) => super::planned::skipped(&turn, &session.world, &ready.target, why),
                    None => cycle(&turn, &session.world, &session.stop).await,
                }
            }
        });
        let done = futures_util::future::join_all(work).await;
        runs.extend(done);
        left = later;
    }
    runs
}

/// Prints what runs came to.
pub fn show_runs(runs: &[Run], context: &Context) -> Result<(), CommandError> {
    let output = &context.output;
    if output.for_machines() {
        #[derive(serde::Serialize)]
        struct Item<'a> {
            #[serde(flatten)]
            run: &'a Run,
            #[serde(rename = "exitCode")]
            exit_code: u8,
        }
        let items: Vec<Item<'_>> = runs
            .iter()
            .map(|run| Item {
                run,
                exit_code: run.exit().code(),
            })
            .collect();
        return output.value("Runs", &serde_json::json!({ "items": items }));
    }
    if output.format == super::args::Format::Markdown {
        output.result(&crate::report::told::markdown(runs, &plan::now()));
        return Ok(());
    }
    output.text(&crate::report::told::runs(
        runs,
        &plan::now(),
        output.width().unwrap_or(0),
    ));
    Ok(())
}

fn saved_plan(args: &Args, context: &Context) -> Result<Option<SavedPlan>, CommandError> {
    let [only] = args.what.as_slice() else {
        return Ok(None);
    };
    let path = context.environment.folder.join(only);
    if !path.is_file() {
        return Ok(None);
    }
    let unreadable = |error: &(dyn std::error::Error + 'static)| {
        CommandError::new(
            Exit::Usage,
            format!("`{only}` is not a plan that `driftless plan --out` saved"),
        )
        .because(error)
    };
    let bytes = std::fs::read(&path).map_err(|error| unreadable(&error))?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| unreadable(&error))
}

fn prune_word(word: &str) -> Option<Prune> {
    match word {
        "none" => Some(Prune::None),
        "safe" => Some(Prune::Safe),
        "all" => Some(Prune::All),
        _ => None,
    }
}

fn stale(why: &str) -> CommandError {
    CommandError::new(Exit::Refused, why)
        .code("E0612")
        .hint("make a new one: driftless plan --out FILE")
        .note("nothing was changed")
}

/// Asks on a terminal; elsewhere it refuses, and never hangs.
pub fn confirm(context: &Context) -> Result<(), CommandError> {
    if context.global.no_input || !context.environment.stdin {
        return Err(
            CommandError::new(Exit::Refused, "nobody can confirm here, so nothing was changed")
                .hint("say --yes"),
        );
    }
    if answered_yes(context, "Apply this? Only `yes` is taken: ")? {
        Ok(())
    } else {
        Err(CommandError::new(
            Exit::Refused,
            "not confirmed, so nothing was changed",
        ))
    }
}

/// Asks, and takes nothing but `yes` for a yes.
pub fn answered_yes(context: &Context, question: &str) -> Result<bool, CommandError> {
    context.output.write_err(question);
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|error| CommandError::new(Exit::Refused, "the answer can't be read").because(&error))?;
    Ok(answer.trim() == "yes")
}
