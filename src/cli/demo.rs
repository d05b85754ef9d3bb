//! `driftless demo`: the whole turn of the loop, on throw-away containers or in a namespace of its own.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args as ClapArgs;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::place::{Finder, Place, kubeconfigs};
use super::session::{block_on, docker_env, settings};
use super::{CommandError, Context};
use crate::demo::kubernetes::{Ready, Tools};
use crate::demo::{self, DemoError, images, server};
use crate::live::docker::endpoint::{self, DiskFiles};
use crate::live::kubernetes::config::ClusterSpec;
use crate::render::app::Needs;
use crate::report::Exit;

/// Shows all of it in a minute, on throw-away containers or pods
///
/// Deploys an example repository, shows a no-op, makes drift and heals it, ships a broken release and shows the rollback
/// and the hold, ships the fix, and removes everything again. Exits non-zero if any step did not really happen.
///
/// With --kubernetes it makes one namespace in the cluster of the current kubectl context, and deletes it at the end. The
/// images are made of this program. A cluster on this machine is given them by its own tool (--save-images); another one
/// pulls an image that holds this program (--image).
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// On the cluster of the current kubectl context, or of `--target k8s:CONTEXT`
    #[arg(long, conflicts_with = "save_images")]
    pub kubernetes: bool,
    /// An image that the cluster can pull and that holds this program, such as `make image` builds
    #[arg(long, value_name = "REF", requires = "kubernetes")]
    pub image: Option<String>,
    /// Do not ask whether this is the right cluster
    #[arg(short, long, requires = "kubernetes")]
    pub yes: bool,
    /// Write the demo's images as an archive, and do nothing else
    #[arg(long, value_name = "FILE")]
    pub save_images: Option<PathBuf>,
}

/// The web server inside the demo's images.
#[derive(Debug, ClapArgs)]
pub struct ServerArgs {
    /// What the images pass on
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

pub const EXAMPLES: &str = "\
driftless demo                                # on the engine of `docker`
driftless demo --save-images demo.tar         # kind load image-archive …
driftless demo --kubernetes                   # on the cluster of `kubectl`
driftless demo --kubernetes --image registry.example.com/driftless:1.0";

/// What the demo's commands see of the person's environment; no setting of Driftless, Git or Docker is among it.
const INHERITED: &[&str] = &[
    "PATH", "TERM", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "COLUMNS", "TMPDIR",
];

/// What they don't see on a cluster: a kubeconfig may run a program for its credentials, which needs the rest.
const WITHHELD: &[&str] = &["DRIFTLESS_", "GIT_", "KUBECONFIG", "NO_COLOR", "CLICOLOR"];

/// Runs the demo.
pub fn run(args: Args, context: &Context) -> Result<Exit, CommandError> {
    let program = std::env::current_exe().map_err(|error| {
        CommandError::new(Exit::Usage, "this program's own file can't be found").because(&error)
    })?;
    if let Some(file) = &args.save_images {
        return save_images(&program, &context.environment.folder.join(file), context);
    }
    let say = |line: &str| context.output.result(&format!("{line}\n"));
    let temporary = std::env::temp_dir();
    let color = context.output.color();
    if args.kubernetes {
        let told = demo::kubernetes::Demo {
            program,
            cluster: cluster(context)?,
            image: args.image.clone(),
            temporary,
            variables: variables(context, |name| {
                !WITHHELD.iter().any(|withheld| name.starts_with(withheld))
            }),
            tools: tools(context),
            color,
        };
        let ready = block_on(async { Ok(demo::kubernetes::Ready::find(&told).await) })?;
        let ready = ready.map_err(|error| explained(&error, None))?;
        if !args.yes {
            confirm(&ready, context)?;
        }
        return ended(until_stopped(|stop| async move { ready.run(&say, &stop).await })?);
    }
    let endpoint = endpoint::resolve(
        context.global.target.as_deref(),
        &super::session::docker_env(context),
        &DiskFiles,
    )?;
    let told = demo::docker::Demo {
        program,
        endpoint,
        temporary,
        variables: variables(context, |name| INHERITED.contains(&name)),
        color,
    };
    ended(until_stopped(|stop| async move {
        demo::docker::run(&told, &say, &stop).await
    })?)
}

fn ended((done, signalled): (Result<(), DemoError>, Option<Exit>)) -> Result<Exit, CommandError> {
    match done {
        Ok(()) => Ok(Exit::Done),
        Err(error) => Err(explained(&error, signalled)),
    }
}

/// What the commands inherit.
fn variables(context: &Context, keeps: impl Fn(&str) -> bool) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<(OsString, OsString)> = context
        .environment
        .variables()
        .filter(|(name, _)| name.to_str().is_some_and(&keeps))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(width) = context.output.width() {
        // What the commands print is indented.
        let inner = width.saturating_sub(6).max(60).to_string();
        variables.retain(|(name, _)| name != "COLUMNS");
        variables.push(("COLUMNS".into(), inner.into()));
    }
    variables
}

/// The cluster that an app without a target would go to.
fn cluster(context: &Context) -> Result<ClusterSpec, CommandError> {
    let settings = settings(context)?;
    let kubeconfigs = kubeconfigs(&context.environment);
    let finder = Finder {
        settings: &settings,
        docker: &docker_env(context),
        kubeconfigs: &kubeconfigs,
        person: true,
    };
    match finder.find(context.global.target.as_deref(), Needs::Cluster { account: None })? {
        Place::Cluster { spec, .. } => Ok(spec),
        Place::Engine(endpoint) => Err(CommandError::new(
            Exit::Usage,
            format!("{} is a Docker engine", endpoint.name()),
        )
        .hint("name a context of your kubeconfig: --target k8s:CONTEXT")),
    }
}

fn tools(context: &Context) -> Tools {
    let path = context.environment.text("PATH").unwrap_or_default();
    let there = |name: &str| std::env::split_paths(path).any(|folder| folder.join(name).is_file());
    Tools {
        kustomize: there("kustomize") || there("kubectl"),
        helm: there("helm"),
    }
}

/// Asks whether this is the cluster that is meant; without a terminal it refuses.
fn confirm(ready: &Ready<'_>, context: &Context) -> Result<(), CommandError> {
    let what = format!(
        "the demo makes the namespace {} in the cluster of the context `{}` ({}), runs small pods in it, and deletes it at the end",
        ready.namespace,
        ready.context,
        ready.address()
    );
    if context.global.no_input || !context.environment.stdin {
        return Err(
            CommandError::new(Exit::Refused, format!("nobody can confirm here: {what}"))
                .hint("say --yes; another cluster is named by --target k8s:CONTEXT"),
        );
    }
    let mut question = what;
    question.replace_range(..1, "T");
    if super::apply::answered_yes(context, &format!("{question}.\nGo on? Only `yes` is taken: "))? {
        return Ok(());
    }
    Err(
        CommandError::new(Exit::Refused, "not confirmed, so nothing was done")
            .hint("another cluster is named by --target k8s:CONTEXT"),
    )
}

/// Writes the images for an engine or a node that the demo can't load them into by itself.
fn save_images(program: &Path, file: &Path, context: &Context) -> Result<Exit, CommandError> {
    let archive = images::archive_of(program, images::PREFIX)
        .map_err(|error| explained(&DemoError::Images(error), None))?;
    std::fs::write(file, archive).map_err(|error| {
        CommandError::new(Exit::Usage, format!("cannot write {}", file.display())).because(&error)
    })?;
    context.output.note(&format!(
        "wrote {} with {} images of {}",
        file.display(),
        images::IMAGES.len(),
        images::PREFIX
    ));
    Ok(Exit::Done)
}

fn explained(error: &DemoError, signalled: Option<Exit>) -> CommandError {
    let built = match error {
        DemoError::Live(error) => CommandError::from(error.clone()),
        DemoError::Remote(_) => CommandError::new(Exit::Refused, error.to_string())
            .hint("unset DOCKER_HOST and DOCKER_CONTEXT, or name a local one: --target unix:///var/run/docker.sock")
            .hint("`make demo` in the repository starts an engine of its own when none answers"),
        DemoError::Platform { .. } => CommandError::new(Exit::Target, error.to_string()),
        DemoError::NoImage { named: true, .. } => CommandError::new(Exit::Target, error.to_string())
            .hint("--image names one that the cluster can pull and that holds this program: `make image` builds it, and you push it"),
        DemoError::NoImage { .. } => CommandError::new(Exit::Target, error.to_string())
            .hint("a cluster on this machine: `driftless demo --save-images demo.tar`, then `kind load image-archive demo.tar`, `minikube image load demo.tar` or `k3s ctr images import demo.tar`")
            .hint("another one: push an image that holds this program (`make image` builds it), and name it with --image"),
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
