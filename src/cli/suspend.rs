//! `driftless suspend`: hands off for a while.

use std::time::Duration;

use super::plan::now;
use super::rollback::who;
use super::session::{Access, Session, block_on};
use super::{CommandError, Context};
use crate::clock::{Clock as _, SystemClock};
use crate::history::{AppState, Suspension};
use crate::report::Exit;
use clap::Args as ClapArgs;

use super::args::duration;

/// Stops all changes to an app for a while; drift is still shown
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
    /// For how long [default: until `driftless resume`]
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub time: Option<Duration>,
    /// Why; it is shown in `status` and `why`
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

pub const EXAMPLES: &str = "driftless suspend web --for 2h --reason \"database migration by hand\"";

/// Runs the verb.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit, CommandError> {
    block_on(async {
        let session = Session::open_known(context, Access::Write, "suspend").await?;
        let subject = session.subject(&args.app)?;
        let since = SystemClock.now();
        let until = args
            .time
            .map(|time| since.checked_add(time))
            .transpose()
            .map_err(|error| CommandError::new(Exit::Usage, "that is too long a time").because(&error))?;
        let suspension = Suspension {
            since,
            until,
            reason: args
                .reason
                .clone()
                .unwrap_or_else(|| "no reason given".to_owned()),
            by: who(context),
        };
        let history = &session.world.history;
        let state = AppState {
            suspended: Some(suspension.clone()),
            ..history.state(&subject.key)?
        };
        history.save_state(&subject.key, &state)?;
        if context.output.for_machines() {
            context.output.value(
                "Suspension",
                &serde_json::json!({ "app": args.app, "suspended": suspension }),
            )?;
        } else {
            let until = until.map_or_else(String::new, |until| format!(" until {}", now().clock(until)));
            context.output.result(&format!(
                "{} is suspended{until}; `driftless resume {}` ends it\n",
                args.app, args.app
            ));
        }
        Ok(Exit::Done)
    })
}
