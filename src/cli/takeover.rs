//! `driftless takeover`: from another instance.

use clap::Args as ClapArgs;

use super::apply::{confirm, show_runs};
use super::planned::Plans;
use super::session::{Access, Session, block_on};
use super::{CommandError, Context, plan};
use crate::engine::{Options, cycle};
use crate::report::{Exit, Run};

/// Makes this instance the owner of apps that another one deployed
///
/// Nothing is restarted. Stop the other instance first, or the two will disagree.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The apps to take over [default: all of this repository]
    #[arg(value_name = "APP")]
    pub apps: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

pub const EXAMPLES: &str = "driftless takeover web --yes";

/// Runs the verb.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit, CommandError> {
    block_on(async {
        let session = Session::open(context, Access::Write, "takeover").await?;
        let apps = session.apps(&args.apps)?;
        let options = |app: &_| Options {
            takeover: true,
            ..session.options(app, None, true)
        };
        let mut plans = Plans::make(&session, apps, "takeover", options).await;
        plans.broken.extend(session.broken(&args.apps));
        let broken = plans.broken_exit();
        if args.yes {
            plans.say_broken(&context.output);
        } else {
            plan::show(&session, &plans, context)?;
            confirm(context)?;
        }
        super::signals::drain(&session.stop, context);
        let mut runs: Vec<Run> = Vec::new();
        for planned in plans.planned {
            runs.push(cycle(&planned.turn, &session.world, &session.stop).await);
        }
        session.listener.end();
        show_runs(&runs, context)?;
        let exit = Exit::worst(runs.iter().map(Run::exit).chain([broken]));
        Ok(super::signals::exit(&session.stop, exit))
    })
}
