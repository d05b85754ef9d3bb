//! `driftless restart`: the same release again.

use clap::Args as ClapArgs;

use super::apply::show_runs;
use super::logs::{app_and_service, service_of};
use super::session::{Access, Session, block_on};
use super::{CommandError, Context};
use crate::engine::restart;
use crate::report::Exit;

/// Restarts the containers of an app or service; changes nothing else
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app, or one service of it
    #[arg(value_name = "APP[/SERVICE]")]
    pub what: String,
}

/// Kinds of a cluster that can be restarted.
const WORKLOADS: &[&str] = &["Deployment", "StatefulSet", "DaemonSet"];

pub const EXAMPLES: &str = "\
driftless restart web/api
driftless restart web";

/// Runs the verb.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit, CommandError> {
    block_on(async {
        let (app, service) = app_and_service(&args.what);
        let session = Session::open_known(context, Access::Write, "restart").await?;
        let subject = session.subject(app)?;
        let turn = session
            .turn_for(&subject, "restart", session.options(&subject.app, None, false))
            .await?;
        let services = match service {
            Some(name) => vec![service_of(&turn.desired, WORKLOADS, name)?],
            None => Vec::new(),
        };
        super::signals::drain(&session.stop, context);
        let run = restart(&turn, &session.world, &services, &session.stop).await;
        session.listener.end();
        let exit = run.exit();
        show_runs(&[run], context)?;
        Ok(super::signals::exit(&session.stop, exit))
    })
}
