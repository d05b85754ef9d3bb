//! `driftless down`: an app goes.

use clap::Args as ClapArgs;

use super::apply::{confirm, show_runs};
use super::planned::plan_text;
use super::session::{Access, Session, block_on};
use super::{CommandError, Context};
use crate::engine::{Options, down, down_plan, look};
use crate::plan::Change;
use crate::report::Exit;

/// Removes the containers and networks of an app; volumes if named
///
/// Volumes keep their data unless they are named. The app's history stays.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
    /// Volumes to delete with their data, by the names in the Compose file
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub volumes: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

pub const EXAMPLES: &str = "\
driftless down web
driftless down web --volumes cache uploads   # their data is lost";

/// Runs the verb.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit, CommandError> {
    block_on(async {
        let session = Session::open_known(context, Access::Write, "down").await?;
        let subject = session.subject(&args.app)?;
        let options = Options {
            delete_volumes: args.volumes.clone(),
            ..session.options(&subject.app, None, false)
        };
        let turn = session.turn_for(&subject, "down", options).await?;
        let look = look(&turn, &session.world).await?;
        let volumes: Vec<&str> = look
            .observed
            .volumes
            .values()
            .filter(|volume| volume.owner.in_project || look.inventory.volumes.contains_key(&volume.name))
            .flat_map(|volume| [volume.owner.key.as_str(), volume.name.as_str()])
            .filter(|name| !name.is_empty())
            .collect();
        if let Some(unknown) = args.volumes.iter().find(|name| !volumes.contains(&name.as_str())) {
            return Err(CommandError::unknown(
                &format!("volume of `{}`", args.app),
                unknown,
                volumes,
            ));
        }
        let plan = down_plan(&turn, &session.world, &look);
        if !plan.changes.iter().any(Change::acts) {
            context.output.note(&format!("nothing of {} is there", args.app));
        } else if !args.yes {
            if !context.output.for_machines() {
                context.output.text(&plan_text(&plan, turn.target.name()));
            }
            confirm(context)?;
        }
        super::signals::drain(&session.stop, context);
        let run = down(&turn, &session.world, &session.stop).await;
        session.listener.end();
        let exit = run.exit();
        show_runs(&[run], context)?;
        Ok(super::signals::exit(&session.stop, exit))
    })
}
