//! `driftless retry`: once more.

use clap::Args as ClapArgs;

use super::apply::show_runs;
use super::session::{Access, Session, block_on};
use super::{CommandError, Context};
use crate::engine::{cycle, look};
use crate::history::{AppState, Phase};
use crate::report::Exit;

/// Lifts the hold of an app and tries the held release once more
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
}

pub const EXAMPLES: &str = "driftless retry web";

/// Runs the verb.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit, CommandError> {
    block_on(async {
        let session = Session::open(context, Access::Write, "retry").await?;
        let app = session.apps(std::slice::from_ref(&args.app))?.into_iter().next();
        let app = app.ok_or_else(|| CommandError::unknown("app", &args.app, []))?;
        let turn = session
            .turn(&app, "retry", session.options(&app, None, false))
            .await?;
        let look = look(&turn, &session.world).await?;
        let history = &session.world.history;
        let Some(hold) = history.held(&turn.key, &look.git.release)? else {
            context.output.note(&format!(
                "{} is not held; `driftless apply {}` applies what Git wants",
                app.name, app.name
            ));
            return Ok(Exit::Done);
        };
        let phase = match look.state.phase {
            Phase::Frozen if look.state.effective.is_some() => Phase::Held,
            Phase::Frozen => Phase::New,
            phase => phase,
        };
        let state = AppState {
            retry_once: Some(hold.digest),
            phase,
            frozen: None,
            ..look.state
        };
        history.save_state(&turn.key, &state)?;
        super::signals::drain(&session.stop, context);
        let run = cycle(&turn, &session.world, &session.stop).await;
        session.listener.end();
        let exit = run.exit();
        show_runs(&[run], context)?;
        Ok(super::signals::exit(&session.stop, exit))
    })
}
