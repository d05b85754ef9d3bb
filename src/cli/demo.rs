//! `driftless demo`: the whole turn of the loop, on throw-away containers.

use std::ffi::OsString;
use std::io::Write as _;
use std::sync::Arc;

use clap::Args as ClapArgs;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{CommandError, Context};
use crate::demo::{self, DemoError, server};
use crate::live::docker::endpoint::{self, DiskFiles};
use crate::report::Exit;

/// Shows all of it in a minute, offline, on throw-away containers
///
/// Deploys an example repository, shows a no-op, makes drift and heals it, ships a broken release and shows the rollback
/// and the hold, ships the fix, and removes everything again. Exits non-zero if any step did not really happen.
#[derive(Debug, ClapArgs)]
pub struct Args {}

/// The web server inside the demo's images.
#[derive(Debug, ClapArgs)]
pub struct ServerArgs {
    /// What the images pass on
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

pub const EXAMPLES: &str = "driftless demo";

/// What the demo's commands see of the person's environment; no setting of Driftless, Git or Docker is among it.
const INHERITED: &[&str] = &[
    "PATH", "TERM", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "COLUMNS", "TMPDIR",
];

/// Runs the demo.
pub fn run(_: Args, context: &Context) -> Result<Exit, CommandError> {
    let endpoint = endpoint::resolve(
        context.global.target.as_deref(),
        &super::session::docker_env(context),
        &DiskFiles,
    )?;
    let program = std::env::current_exe().map_err(|error| {
        CommandError::new(Exit::Usage, "this program's own file can't be found").because(&error)
    })?;
    let mut variables: Vec<(OsString, OsString)> = context
        .environment
        .variables()
        .filter(|(name, _)| INHERITED.iter().any(|inherited| *name == *inherited))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(width) = context.output.width() {
        // What the commands print is indented.
        let inner = width.saturating_sub(6).max(60).to_string();
        variables.retain(|(name, _)| name != "COLUMNS");
        variables.push(("COLUMNS".into(), inner.into()));
    }
    let temporary = std::env::temp_dir();
    let color = context.output.color();
    let told = demo::Demo {
        program,
        endpoint,
        temporary,
        variables,
        color,
    };
    let say = |line: &str| context.output.result(&format!("{line}\n"));
    let (done, signalled) = until_stopped(|stop| async move { demo::run(&told, &say, &stop).await })?;
    match done {
        Ok(()) => Ok(Exit::Done),
        Err(error) => Err(explained(&error, signalled)),
    }
}

fn explained(error: &DemoError, signalled: Option<Exit>) -> CommandError {
    let built = match error {
        DemoError::Engine(error) => CommandError::from(error.clone()),
        DemoError::Remote(_) => CommandError::new(Exit::Refused, error.to_string())
            .hint("unset DOCKER_HOST and DOCKER_CONTEXT, or name a local one: --target unix:///var/run/docker.sock")
            .hint("`make demo` in the repository starts an engine of its own when none answers"),
        DemoError::Platform { .. } => CommandError::new(Exit::Target, error.to_string()),
        DemoError::Interrupted => CommandError::new(signalled.unwrap_or(Exit::Interrupted), error.to_string()),
        _ => CommandError::new(Exit::ApplyFailed, error.to_string()),
    };
    match std::error::Error::source(error) {
        Some(cause) => built.because(cause),
        None => built,
    }
}

/// Runs what is inside the demo's images.
pub fn serve(args: &ServerArgs, context: &Context) -> Result<Exit, CommandError> {
    let failed =
        |error: server::ServerError| CommandError::new(Exit::Differences, error.to_string()).because(&error);
    let role = server::Role::parse(&args.arguments).map_err(failed)?;
    let environment = context.environment.clone();
    let variables: server::Variables = Arc::new(move |name| environment.text(name).map(str::to_owned));
    // A server's tasks speak from several threads, each a whole line at a time, and nobody's terminal is concerned.
    let say: server::Say = Arc::new(|line| {
        let _ = writeln!(std::io::stdout(), "{line}");
    });
    // A signal is how a container is stopped: not an error.
    let (done, _) = until_stopped(|stop| server::run(role, variables, say.clone(), stop))?;
    match done {
        // A health check's output is kept by the engine as evidence: the answer alone.
        Err(server::ServerError::Unhealthy(answer)) => {
            say(&answer);
            Ok(Exit::Differences)
        }
        done => done.map(|()| Exit::Done).map_err(failed),
    }
}

/// Runs `work` with a token that SIGINT and SIGTERM cancel, and says which of them did.
fn until_stopped<F: Future>(
    work: impl FnOnce(CancellationToken) -> F,
) -> Result<(F::Output, Option<Exit>), CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::new(Exit::Usage, "the runtime can't be started").because(&error)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (
            signal(SignalKind::interrupt()).map_err(failed)?,
            signal(SignalKind::terminate()).map_err(failed)?,
        );
        let stop = CancellationToken::new();
        let mut signalled = None;
        let mut work = std::pin::pin!(work(stop.clone()));
        loop {
            tokio::select! {
                done = &mut work => return Ok((done, signalled)),
                // Safe to cancel: a signal stream keeps what it has not delivered.
                _ = interrupt.recv() => signalled = Some(Exit::Interrupted),
                _ = terminate.recv() => signalled = Some(Exit::Terminated),
            }
            stop.cancel();
        }
    })
}
