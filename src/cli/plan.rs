//! `driftless plan`: what an apply would do, and why.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::args::{Format, Prune, Scope};
use super::planned::{Plans, SavedApp, SavedPlan};
use super::session::{Session, block_on};
use super::{CommandError, Context};
use crate::clock::{Clock as _, SystemClock};
use crate::report::Exit;
use crate::report::when::Now;

/// Shows what `apply` would change, and who moved: Git or live state
///
/// Reads Git and the engine, and changes nothing. Each changed field is shown with who moved it and the line where Git
/// says it. The symbols: + create, ~ update, -/+ replace, - delete, ! changed outside Git.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The apps to plan [default: all]
    #[arg(value_name = "APP")]
    pub apps: Vec<String>,
    /// Plan the files of a folder as they are, committed or not, instead of a commit
    #[arg(long, value_name = "DIR", conflicts_with_all = ["repo", "reference"])]
    pub local: Option<PathBuf>,
    /// Save the plan; `apply FILE` then does exactly this, or refuses
    #[arg(long, value_name = "FILE", conflicts_with = "local")]
    pub out: Option<PathBuf>,
    /// Exit with 0 = no changes, 1 = error, 2 = changes
    #[arg(long)]
    pub detailed_exitcode: bool,
    #[command(flatten)]
    pub scope: Scope,
}

pub const EXAMPLES: &str = "\
driftless plan                          # every app of this repository
driftless plan web --ref feature-x      # one app at another branch
driftless plan --local .                # uncommitted changes included
driftless plan --out web.plan           # later: driftless apply web.plan
driftless plan -o markdown              # for a pull request";

/// The moment and the zone that texts are made for.
pub fn now() -> Now {
    Now {
        at: SystemClock.now(),
        zone: jiff::tz::TimeZone::system(),
    }
}

/// Runs the verb.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit, CommandError> {
    block_on(async {
        let (session, plans) =
            Plans::read(context, "plan", &args.apps, args.local.as_deref(), &args.scope).await?;
        show(&session, &plans, context)?;
        if let Some(file) = &args.out {
            save(&session, &plans, args, context, file)?;
        }
        let exit = plans.broken_exit();
        Ok(match (args.detailed_exitcode, exit) {
            (true, Exit::Done) if plans.acts() => Exit::Usage,
            (true, Exit::Done) => Exit::Done,
            // `--detailed-exitcode` has codes of its own (product.md): 0 empty, 1 error, 2 changes.
            (true, _) => Exit::Differences,
            (false, exit) => exit,
        })
    })
}

/// Prints plans in the form that was asked for.
pub fn show(session: &Session, plans: &Plans, context: &Context) -> Result<(), CommandError> {
    let output = &context.output;
    match output.format {
        Format::Json | Format::Yaml => output.value(
            "Plan",
            &serde_json::json!({
                "source": session.snapshot.source,
                "revision": session.snapshot.commit.revision,
                "history": !session.no_history,
                "plans": plans.views(),
            }),
        )?,
        Format::Markdown => output.result(&plans.markdown()),
        Format::Name => plans
            .planned
            .iter()
            .filter(|planned| super::planned::acts(planned))
            .for_each(|planned| {
                output.result(&format!("{}\n", planned.app.name));
            }),
        Format::Table | Format::Wide => output.text(&plans.text(session, &now())),
    }
    plans.say_broken(output);
    plans.say_missing(session, output);
    if session.no_history {
        output.note("no history here yet: holds are unknown");
    }
    let uncommitted = &session.snapshot.uncommitted;
    if !uncommitted.is_empty() {
        let first: Vec<&str> = uncommitted.iter().take(3).map(|one| one.path.as_str()).collect();
        let more = if uncommitted.len() > 3 {
            format!(" and {} more", uncommitted.len() - 3)
        } else {
            String::new()
        };
        output.note(&format!(
            "not included, because not committed: {}{more}; `driftless plan --local .` includes them",
            first.join(", ")
        ));
    }
    Ok(())
}

fn save(
    session: &Session,
    plans: &Plans,
    args: &Args,
    context: &Context,
    file: &std::path::Path,
) -> Result<(), CommandError> {
    if !plans.broken.is_empty() {
        return Err(
            CommandError::new(Exit::Invalid, "a plan with broken apps is not saved")
                .hint("name the apps that are to be in it"),
        );
    }
    let saved = SavedPlan {
        api_version: super::output::API_VERSION.to_owned(),
        kind: "SavedPlan".to_owned(),
        source: session.snapshot.source.clone(),
        revision: session.snapshot.commit.revision.clone(),
        target: session.settings.target.value.clone(),
        adopt: args.scope.adopt,
        prune: args.scope.prune.map(|prune| match prune {
            Prune::None => "none".to_owned(),
            Prune::Safe => "safe".to_owned(),
            Prune::All => "all".to_owned(),
        }),
        apps: plans
            .planned
            .iter()
            .map(|planned| SavedApp {
                app: planned.app.name.clone(),
                release: planned.look.git.release.clone(),
                basis: planned.look.git.basis.clone(),
            })
            .collect(),
        text: plans.text(session, &now()).to_string(),
    };
    let path = context.environment.folder.join(file);
    let bytes = serde_json::to_vec_pretty(&saved)
        .map_err(|error| CommandError::new(Exit::ApplyFailed, "the plan can't be written").because(&error))?;
    std::fs::write(&path, bytes).map_err(|error| {
        CommandError::new(
            Exit::ApplyFailed,
            format!("`{}` can't be written", file.display()),
        )
        .because(&error)
    })?;
    context.output.note(&format!(
        "saved: `driftless apply {}` does exactly this, or refuses",
        file.display()
    ));
    Ok(())
}
