//! `driftless resume`: the end of a suspension.

use clap::Args as ClapArgs;

use super::session::{Access, Session, block_on};
use super::{CommandError, Context};
use crate::history::AppState;
use crate::report::Exit;

/// Ends a suspension
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
}

pub const EXAMPLES: &str = "driftless resume web";

/// Runs the verb.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit, CommandError> {
    block_on(async {
        let session = Session::open_known(context, Access::Write, "resume").await?;
        let subject = session.subject(&args.app)?;
        let history = &session.world.history;
        let state = history.state(&subject.key)?;
        let was = state.suspended.is_some();
        if was {
            history.save_state(
                &subject.key,
                &AppState {
                    suspended: None,
                    ..state
                },
            )?;
        }
        if context.output.for_machines() {
            context.output.value(
                "Suspension",
                &serde_json::json!({ "app": args.app, "suspended": null, "was": was }),
            )?;
        } else if was {
            context.output.result(&format!(
                "{} is resumed; `driftless apply {}` applies what Git wants\n",
                args.app, args.app
            ));
        } else {
            context.output.note(&format!("{} was not suspended", args.app));
        }
        Ok(Exit::Done)
    })
}
