//! `driftless serve`: the daemon.
//!
//! In: settings. Out: the loop, until a signal. Guaranteed: the operator's variables and secrets are read anew for each
//! rendering; an engine or a source that is away at the start is waited for. Must not: decide when anything runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use clap::Args as ClapArgs;
use tokio::time::Instant;

use super::args::{ProgressForm, duration};
use super::clusters::Clusters;
use super::place::{Finder, Place, connect_engine, expander, kubeconfigs, leases};
use super::progress::Listener;
use super::session::{
    block_on, docker_env, open_source, operator_inputs, read_env, registry_credentials, settings_with,
    source_setting,
};
use super::{CommandError, Context};
use crate::clock::{Clock as _, SystemClock};
use crate::engine::shutdown::listening;
use crate::engine::{Followed, Operator, Stop, SuperviseError, Supervisor, World};
use crate::expand::{Capabilities, Expander};
use crate::gate::Permit;
use crate::history::{Opening, Store};
use crate::live::docker::credentials::Credentials;
use crate::live::docker::endpoint::DockerEnv;
use crate::live::kubernetes::feeds::{Pace, Watching};
use crate::live::stirred::Stirred;
use crate::live::{LiveError, Problem, Reach};
use crate::names::AppName;
use crate::progress::Silent;
use crate::render::app::Needs;
use crate::render::{App, Inputs};
use crate::report::{Exit, Failure, Stage};
use crate::settings::{Platform, Settings, show_duration};
use crate::source::GitSource;

/// How long an engine's identity is trusted: an engine that was set up anew behind the same address is found within this.
const TRUSTED: Duration = Duration::from_secs(60);

/// How long a cluster may take to say what it can: charts wait for it, and other apps for them.
const ASKED: Duration = Duration::from_secs(10);
/// How long one that did not answer is not asked again: one wait is enough for all charts.
const SILENT: Duration = Duration::from_secs(15);

/// A connected engine, and since when.
type Connection = (Instant, Reach);

/// Follows the repository: applies commits, heals drift, rolls back
///
/// Runs until SIGTERM or Ctrl-C, and then stops at a step boundary. A local repository is watched, a remote one polled.
/// SIGHUP asks every source at once and reads the operator's variables and secrets again; config.yaml itself is read at the
/// start.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// How often a remote repository is asked
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub interval: Option<Duration>,
}

pub const EXAMPLES: &str = "\
driftless serve
driftless serve --repo https://git.example/infra --ref main --interval 1m
driftless serve --repo git@git.example:infra.git --target tcp://nas:2376";

/// Runs the verb.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CommandError> {
    block_on(async {
        let settings = settings_with(context, args.interval.map(show_duration))?;
        let declared = match settings.sources.as_slice() {
            [] => vec![source_setting(context, &settings)?],
            declared => declared.to_vec(),
        };
        let mut sources = Vec::new();
        for setting in &declared {
            let source = open_source(context, &settings, setting)?;
            tracing::info!(source = %source.id(), interval = show_duration(settings.interval_of(setting)), "following");
            sources.push(Followed {
                source: Arc::new(source),
                interval: settings.interval_of(setting),
                targets: setting.targets.clone(),
            });
        }
        let store = Store::open(&Opening {
            folder: settings.state.value.clone(),
            key_file: settings.state_key_file.value.clone(),
            command: "serve".to_owned(),
            now: SystemClock.now(),
        })?;
        let form = context.global.progress;
        let world = World {
            instance: settings.instance.value.clone(),
            history: Arc::new(store),
            clock: Arc::new(SystemClock),
            // The log tells what happens; a picture of it is drawn only for a person who asks.
            progress: match form {
                ProgressForm::Auto => Arc::new(Silent),
                asked => Listener::new(asked, context.global.verbose, &context.output).progress(),
            },
            state: settings.state.value.clone(),
        };
        let env = docker_env(context);
        let credentials = registry_credentials(context, &env);
        let folder = &context.environment.folder;
        let stirred: Arc<Stirred> = Arc::default();
        let operator = Arc::new(Configured {
            expander: expander(&context.environment, &settings),
            env,
            credentials,
            env_files: context
                .global
                .env_file
                .iter()
                .map(|file| folder.join(file))
                .collect(),
            kubeconfigs: kubeconfigs(&context.environment),
            clusters: Clusters::under(leases(&settings, true)).watching(Watching {
                instance: world.instance.clone(),
                stirred: Arc::clone(&stirred),
                pace: Pace::default(),
            }),
            settings,
            stirred,
            silent: Mutex::default(),
            connected: Mutex::default(),
        });
        let stop = Stop::new();
        let supervisor = Supervisor::new(world, sources, operator.clone());
        let work = async {
            tokio::select! {
                ended = supervisor.run(&stop) => ended,
                // Safe to cancel: a renewal whose answer nobody read is read back by the next holder.
                never = operator.clusters.keep() => match never {},
            }
        };
        let heard = listening(&stop, work).await;
        let (ended, signal) = heard.map_err(|error| {
            CommandError::new(Exit::ApplyFailed, "signals can't be listened to").because(&error)
        })?;
        let ended = ended.map_err(|error| {
            let hint = match &error {
                SuperviseError::NoSource => {
                    "name a repository with --repo, or declare `sources:` in config.yaml"
                }
                SuperviseError::Twice(_) => {
                    "two refs of one repository need two instances, each with its own --state"
                }
            };
            CommandError::new(Exit::Usage, error.to_string()).hint(hint)
        })?;
        // What a run that was left may still be doing is bounded by the lease: then it ends by itself.
        if ended.left.is_empty() {
            operator.clusters.give_back().await;
        }
        tracing::info!(runs = ended.drained, "stopped");
        for key in &ended.left {
            tracing::warn!(app = %key.app, "left in the middle of its run; the next start concludes it");
        }
        // A daemon that was asked to end and did is well; one that had to leave work behind says so.
        Ok(match signal {
            Some(crate::engine::shutdown::Signal::Interrupt) if !ended.left.is_empty() => Exit::Interrupted,
            Some(crate::engine::shutdown::Signal::Terminate) if !ended.left.is_empty() => Exit::Terminated,
            _ => Exit::Done,
        })
    })
}

/// The operator as config.yaml and the files beside it.
struct Configured {
    settings: Settings,
    env: DockerEnv,
    credentials: Credentials,
    env_files: Vec<PathBuf>,
    expander: Expander,
    kubeconfigs: Vec<PathBuf>,
    /// Told by the watches of every cluster.
    stirred: Arc<Stirred>,
    /// Clusters that could not be asked what they can, by the target's name.
    silent: Mutex<BTreeMap<Option<String>, (Instant, Failure)>>,
    /// Engines by their name.
    connected: Mutex<BTreeMap<String, Connection>>,
    clusters: Clusters,
}

impl Configured {
    /// The name of the target that an app goes to; `None`: what `docker` would use.
    fn pick(
        &self,
        name: Option<&str>,
        allowed: &[String],
        kubernetes: bool,
    ) -> Result<Option<String>, Failure> {
        let asked = self.settings.target.value.as_deref();
        let refuse = |message: String, help: String| Err(no_target("E0550", message, Some(help), false));
        if let Some(name) = name {
            if asked.is_some_and(|asked| asked != name) {
                let message = format!("it is for the target `{name}`, and this instance serves another one");
                return refuse(
                    message,
                    format!("declare it in config.yaml:  targets: {{ {name}: {{ docker: … }} }}"),
                );
            }
            let declared = target_part(name);
            if asked.is_none() && !self.settings.targets.contains_key(declared) {
                let message = format!("it is for the target `{name}`, which is not configured");
                return refuse(
                    message,
                    format!("in config.yaml:  targets: {{ {name}: {{ docker: default }} }}"),
                );
            }
        }
        let one = match asked.or(name) {
            Some(one) => Some(one.to_owned()),
            None => {
                let fits = |name: &&String| {
                    self.settings.targets.get(target_part(name)).is_none_or(|target| {
                        matches!(target.platform, Platform::Kubernetes { .. }) == kubernetes
                    })
                };
                let fit: Vec<&String> = match allowed {
                    [] => self.settings.targets.keys().filter(fits).collect(),
                    allowed => allowed.iter().filter(fits).collect(),
                };
                match fit.as_slice() {
                    [] => None,
                    [only] => Some((*only).clone()),
                    several => {
                        let names: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
                        let message = format!("it fits several targets: {}", names.join(", "));
                        return refuse(message, "name one with `target:` in driftless.yaml".to_owned());
                    }
                }
            }
        };
        if let Some(one) = &one
            && !allowed.is_empty()
            && !allowed.contains(one)
            && !allowed.iter().any(|name| name == target_part(one))
        {
            let message = format!("its source may not deploy to the target `{one}`");
            return refuse(
                message,
                "the source's `targets:` in config.yaml lists where it may go".to_owned(),
            );
        }
        Ok(one)
    }

    /// What a chart may know of its cluster.
    async fn capabilities(&self, app: &App, allowed: &[String]) -> Result<Capabilities, Failure> {
        let known = || self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, failure)) = known().get(&app.target)
            && since.elapsed() < SILENT
        {
            return Err(failure.clone());
        }
        let asked = async {
            let target = self.target(app.target.as_deref(), allowed, app.needs()).await?;
            match target.cluster() {
                Ok(cluster) => cluster.capabilities().await,
                Err(error) => Err(error),
            }
            .map_err(|error| away(&error))
        };
        let asked = match tokio::time::timeout(ASKED, asked).await {
            Ok(asked) => asked,
            Err(_) => Err(away(&LiveError::new(
                "ask the cluster what it can",
                Problem::Deadline { after: ASKED },
            ))),
        };
        match &asked {
            Ok(_) => known().remove(&app.target),
            Err(failure) => known().insert(app.target.clone(), (Instant::now(), failure.clone())),
        };
        asked
    }

    fn known(&self, name: &str) -> Option<Reach> {
        let connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, target) = connected.get(name)?;
        (since.elapsed() < TRUSTED).then(|| target.clone())
    }
}

#[async_trait]
impl Operator for Configured {
    fn inputs(&self, source: &GitSource, allowed: &[String], app: &App) -> Result<Inputs, Failure> {
        let read = || {
            let mut inputs = operator_inputs(&self.settings, &app.name)?;
            for file in &self.env_files {
                inputs.variables.extend(read_env(file)?);
            }
            Ok(inputs)
        };
        let mut inputs = read().map_err(|error: CommandError| {
            let value = error.to_value();
            let text = |key: &str| {
                value
                    .get(key)
                    .and_then(serde_json::Value::as_str)
                    .map(str::to_owned)
            };
            Failure {
                stage: Stage::Render,
                code: text("code").unwrap_or_else(|| "E0312".to_owned()),
                message: text("message").unwrap_or_default(),
                place: None,
                help: None,
                retry: false,
                touched: false,
            }
        })?;
        if let Some(root) = source.local_root() {
            inputs.untracked_env = root.join(&app.path).join(".env").is_file();
        }
        if app.kind.asks_cluster() {
            // This is a blocking thread: the cluster is waited for here, once for a connection.
            let asked = tokio::runtime::Handle::current().block_on(self.capabilities(app, allowed));
            inputs.cluster = Some(Arc::new(asked?));
        }
        Ok(inputs)
    }

    fn expander(&self) -> &Expander {
        &self.expander
    }

    fn permit(&self, app: &AppName) -> Permit {
        Permit {
            unattended: true,
            allowed: self.settings.allowed(app).to_vec(),
        }
    }

    async fn target(
        &self,
        name: Option<&str>,
        allowed: &[String],
        needs: Needs<'_>,
    ) -> Result<Reach, Failure> {
        let name = self.pick(name, allowed, needs.cluster())?;
        let finder = Finder {
            settings: &self.settings,
            docker: &self.env,
            kubeconfigs: &self.kubeconfigs,
            person: false,
        };
        let place = finder
            .find(name.as_deref(), needs)
            .map_err(|error| no_target(&error.code().to_string(), error.to_string(), error.hint(), false))?;
        let away = |error: LiveError| away(&error);
        let endpoint = match place {
            Place::Engine(endpoint) => endpoint,
            Place::Cluster { name, spec } => {
                return self.clusters.reach(name.as_deref(), &spec).await.map_err(away);
            }
        };
        if let Some(known) = self.known(endpoint.name()) {
            return Ok(known);
        }
        let target = connect_engine(&endpoint, &self.credentials).await.map_err(away)?;
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        connected.insert(endpoint.name().to_owned(), (Instant::now(), target.clone()));
        Ok(target)
    }

    fn stirred(&self) -> Arc<Stirred> {
        Arc::clone(&self.stirred)
    }
}

/// `prod` of `prod/blog`.
fn target_part(name: &str) -> &str {
    name.split_once('/').map_or(name, |(target, _)| target)
}

fn away(error: &LiveError) -> Failure {
    no_target(
        &error.code().to_string(),
        error.to_string(),
        error.hint(),
        error.may_pass(),
    )
}

fn no_target(code: &str, message: String, help: Option<String>, retry: bool) -> Failure {
    Failure {
        stage: Stage::Observe,
        code: code.to_owned(),
        message,
        place: None,
        help,
        retry,
        touched: false,
    }
}
