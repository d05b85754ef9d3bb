//! What the verbs over the engine share: settings, store, source, targets, and the apps in scope.
//!
//! In: a [`Context`]. Out: a [`Session`], from which turns are made. Guaranteed: a verb that only reads takes no lock and
//! writes nothing; the target of an app is the one that the repository and the operator agree on, never a guess between
//! two. Must not: print.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::args::{LogFormat, Prune};
use super::clusters::Clusters;
use super::error::CommandError;
use super::place::{Finder, Place, PlaceError, connect_engine, expander, kubeconfigs, leases};
use super::progress::Listener;
use crate::clock::{Clock as _, SystemClock};
use crate::engine::moves::{Neighbour, Neighbourhood, may_move};
use crate::engine::snapshot::expand;
use crate::engine::{Options, ReadError, Snapshot, Turn, World};
use crate::expand::Expander;
use crate::gate::Permit;
use crate::history::{Opening, Store, StoreError, StoreErrorKind};
use crate::live::Reach;
use crate::live::docker::credentials::Credentials as RegistryCredentials;
use crate::live::docker::endpoint::{DockerEnv, Endpoint};
use crate::live::docker::target::DockerTarget;
use crate::names::{AppKey, AppName};
use crate::render::app::Needs;
use crate::render::compose::env_file::{Format, parse as parse_env};
use crate::render::{self, App, Inputs};
use crate::report::{Exit, Trigger};
use crate::settings::{Flags, Inputs as SettingInputs, Platform, Settings, SourceSetting};
use crate::source::{Credentials, GitEnvironment, GitRef, GitSource, Location, SourceSpec};

/// What a verb does with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing is written; works beside a daemon.
    Read,
    /// Takes the lock.
    Write,
}

/// Everything that a verb over the engine needs.
pub struct Session {
    pub settings: Settings,
    pub world: World,
    pub source: Arc<GitSource>,
    pub snapshot: Snapshot,
    pub listener: Listener,
    pub stop: CancellationToken,
    /// Whether there was no store: holds and history are unknown.
    pub no_history: bool,
    /// Why Git could not be read, for verbs that do without it.
    pub git_away: Option<CommandError>,
    env: DockerEnv,
    credentials: RegistryCredentials,
    env_files: Vec<PathBuf>,
    profiles: Vec<String>,
    kubeconfigs: Vec<PathBuf>,
    expander: Expander,
    connected: std::sync::Mutex<BTreeMap<String, Reach>>,
    clusters: Clusters,
    ahead: tokio::sync::Mutex<Option<Ahead>>,
    /// A store that lives only as long as this command, where there is none to read.
    _temporary: Option<tempfile::TempDir>,
}

/// A connection that is begun while Git is read: an engine takes as long to say who it is.
struct Ahead {
    endpoint: Endpoint,
    connecting: BoxFuture<'static, Result<Reach, CommandError>>,
    /// What it came to, where that was before anybody asked.
    connected: Option<Result<Reach, CommandError>>,
}

impl Ahead {
    /// Begins where there is only one place to go, whatever the apps say. What is wrong is told when an app needs it.
    fn begin(context: &Context, settings: &Settings) -> Option<Self> {
        let env = docker_env(context);
        let finder = Finder {
            settings,
            docker: &env,
            kubeconfigs: &[],
            person: true,
        };
        let name = match (&settings.target.value, settings.targets.keys().next()) {
            (Some(asked), _) => Some(asked.as_str()),
            (None, None) => None,
            (None, Some(only)) if settings.targets.len() == 1 => Some(only.as_str()),
            _ => return None,
        };
        let Ok(Place::Engine(endpoint)) = finder.find(name, Needs::Engine) else {
            return None;
        };
        let credentials = registry_credentials(context, &env);
        let to = endpoint.clone();
        let connecting = async move { Ok(connect_engine(&to, &credentials).await?) }.boxed();
        Some(Self {
            endpoint,
            connecting,
            connected: None,
        })
    }

    /// Runs `work`, and meanwhile connects; a connection that is not there when `work` ends is not waited for.
    async fn beside<T>(ahead: &mut Option<Self>, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if let Some(ahead) = ahead {
            tokio::select! {
                // Safe to cancel: neither is dropped here.
                done = &mut work => return done,
                connected = &mut ahead.connecting => ahead.connected = Some(connected),
            }
        }
        work.await
    }

    async fn finish(self) -> Result<Reach, CommandError> {
        match self.connected {
            Some(connected) => connected,
            None => self.connecting.await,
        }
    }
}

/// Runs a verb's work on a runtime of its own.
pub fn block_on<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| {
            CommandError::new(Exit::ApplyFailed, "the runtime can't be started").because(&error)
        })?
        .block_on(work)
}

/// The settings that this command runs under.
pub fn settings(context: &Context) -> Result<Settings, CommandError> {
    settings_with(context, None)
}

/// The same with a poll interval from a flag.
pub fn settings_with(context: &Context, interval: Option<String>) -> Result<Settings, CommandError> {
    let global = &context.global;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let flags = Flags {
        config: global.config.as_deref().map(text),
        instance: global.instance.clone(),
        state: global.state.as_deref().map(text),
        repo: global.repo.clone(),
        reference: global.reference.clone(),
        target: global.target.clone(),
        interval,
        log_format: match global.log_format {
            LogFormat::Auto => None,
            LogFormat::Text => Some("text".to_owned()),
            LogFormat::Json => Some("json".to_owned()),
        },
    };
    let environment: BTreeMap<String, String> = context
        .environment
        .variables()
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned())))
        .collect();
    let host = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    let inputs = SettingInputs {
        environment: &environment,
        flags: &flags,
        working_dir: &context.environment.folder,
        host_name: host.as_deref(),
        read: &|path| std::fs::read(path),
    };
    let (settings, warnings) = Settings::load(&inputs)?;
    context.output.diagnostics(&warnings);
    Ok(settings)
}

/// The source that a command is about: `--repo`, else the repository one stands in, else the only configured one.
pub fn source_setting(context: &Context, settings: &Settings) -> Result<SourceSetting, CommandError> {
    let standing = || SourceSetting {
        name: None,
        url: ".".to_owned(),
        reference: context.global.reference.clone(),
        interval: None,
        auth: crate::settings::Auth::default(),
        targets: Vec::new(),
        origin: crate::settings::Origin::Default,
    };
    let named = context.global.repo.is_some() || context.environment.text("DRIFTLESS_REPO").is_some();
    if named && let Some(source) = settings.sources.first() {
        return Ok(source.clone());
    }
    let here = Location::parse(".", &context.environment.folder).ok();
    let in_repository = here.is_some_and(|location| {
        GitSource::open(SourceSpec::new(location, settings.state.value.join("mirrors"))).is_ok()
    });
    match settings.sources.as_slice() {
        [only] if !in_repository => Ok(only.clone()),
        [] | [_] => Ok(standing()),
        _ if in_repository => Ok(standing()),
        several => {
            let urls: Vec<&str> = several.iter().map(|source| source.url.as_str()).collect();
            Err(
                CommandError::new(Exit::Usage, "which repository? config.yaml declares several")
                    .hint(format!("name one with --repo: {}", urls.join(", "))),
            )
        }
    }
}

/// Opens a source as its setting says.
pub fn open_source(
    context: &Context,
    settings: &Settings,
    setting: &SourceSetting,
) -> Result<GitSource, CommandError> {
    let location = Location::parse(&setting.url, &context.environment.folder)
        .map_err(|error| CommandError::from(crate::source::SourceError::Location(error)))?;
    let mut spec = SourceSpec::new(location, settings.state.value.join("mirrors"));
    if let Some(reference) = &setting.reference {
        spec.reference = GitRef::parse(reference)
            .map_err(|error| CommandError::from(crate::source::SourceError::Ref(error)))?;
    }
    spec.environment = GitEnvironment::from_variables(
        context
            .environment
            .variables()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    spec.known_hosts.clone_from(&setting.auth.known_hosts_file);
    spec.credentials = if let Some(file) = &setting.auth.ssh_key_file {
        Credentials::SshKey { file: file.clone() }
    } else {
        match setting.auth.basic() {
            Ok(Some((user, password))) => Credentials::Basic { user, password },
            // A person's own Git knows how to get in.
            Ok(None) => Credentials::Ambient,
            Err(error) => {
                return Err(
                    CommandError::new(Exit::Source, "the source's secret can't be read").because(&error),
                );
            }
        }
    };
    Ok(GitSource::open(spec)?)
}

async fn read_if_there(source: &GitSource) -> Result<(Snapshot, Option<CommandError>), CommandError> {
    match Snapshot::read(source).await {
        Ok(snapshot) => Ok((snapshot, None)),
        Err(error) => {
            let nothing = Snapshot::unread(source.id().clone()).map_err(ReadError::Name)?;
            Ok((nothing, Some(error.into())))
        }
    }
}

impl Session {
    /// Opens everything that a verb needs and reads the source once.
    pub async fn open(context: &Context, access: Access, verb: &str) -> Result<Self, CommandError> {
        let settings = settings(context)?;
        let setting = source_setting(context, &settings)?;
        let source = Arc::new(open_source(context, &settings, &setting)?);
        let mut ahead = Ahead::begin(context, &settings);
        let snapshot = Ahead::beside(&mut ahead, Snapshot::read(&source)).await?;
        let mut session = Self::with(context, settings, source, snapshot, access, verb)?;
        session.ahead = tokio::sync::Mutex::new(ahead);
        Ok(session)
    }

    /// The same for a verb that can do without Git: what the store knows is enough for it.
    pub async fn open_known(context: &Context, access: Access, verb: &str) -> Result<Self, CommandError> {
        let settings = settings(context)?;
        let setting = source_setting(context, &settings)?;
        let source = Arc::new(open_source(context, &settings, &setting)?);
        let (snapshot, away) = read_if_there(&source).await?;
        let session = Self::with(context, settings, source, snapshot, access, verb)?;
        Ok(Self {
            git_away: away,
            ..session
        })
    }

    /// Reads the source again.
    pub async fn refresh(&mut self) -> Result<(), CommandError> {
        (self.snapshot, self.git_away) = read_if_there(&self.source).await?;
        Ok(())
    }

    /// The same for the files of a folder as they lie there (`plan --local`).
    pub async fn open_local(context: &Context, folder: &Path, verb: &str) -> Result<Self, CommandError> {
        let settings = settings(context)?;
        let folder = context.environment.folder.join(folder);
        let location = Location::parse(&folder.to_string_lossy(), &context.environment.folder)
            .map_err(|error| CommandError::from(crate::source::SourceError::Location(error)))?;
        let source = Arc::new(GitSource::open(SourceSpec::new(
            location,
            settings.state.value.join("mirrors"),
        ))?);
        let head = Snapshot::read(&source).await.ok().map(|snapshot| snapshot.commit);
        let root = source
            .root_app_name()
            .map_or_else(|| AppName::try_from("app"), Ok)
            .map_err(ReadError::Name)?;
        let snapshot = Snapshot::local(&folder, source.id().clone(), &root, head)?;
        Self::with(context, settings, source, snapshot, Access::Read, verb)
    }

    fn with(
        context: &Context,
        settings: Settings,
        source: Arc<GitSource>,
        snapshot: Snapshot,
        access: Access,
        verb: &str,
    ) -> Result<Self, CommandError> {
        let listener = Listener::new(context.global.progress, context.global.verbose, &context.output);
        let opening = Opening {
            folder: settings.state.value.clone(),
            key_file: settings.state_key_file.value.clone(),
            command: verb.to_owned(),
            now: SystemClock.now(),
        };
        let mut temporary = None;
        let mut no_history = false;
        let store = match access {
            Access::Write => Store::open(&opening)?,
            Access::Read => match Store::beside(&opening)? {
                Some(store) => store,
                None => {
                    no_history = true;
                    let folder = tempfile::tempdir().map_err(|error| {
                        CommandError::new(Exit::ApplyFailed, "no temporary folder").because(&error)
                    })?;
                    let store = Store::open(&Opening {
                        folder: folder.path().to_owned(),
                        key_file: None,
                        ..opening
                    })?;
                    temporary = Some(folder);
                    store
                }
            },
        };
        let world = World {
            instance: settings.instance.value.clone(),
            history: Arc::new(store),
            clock: Arc::new(SystemClock),
            progress: listener.progress(),
            state: settings.state.value.clone(),
        };
        let env = docker_env(context);
        let credentials = registry_credentials(context, &env);
        let expander = expander(&context.environment, &settings);
        let clusters = match access {
            Access::Write => Clusters::under(leases(&settings, false)),
            Access::Read => Clusters::default(),
        };
        Ok(Self {
            settings,
            world,
            source,
            snapshot,
            listener,
            stop: CancellationToken::new(),
            no_history,
            git_away: None,
            env,
            credentials,
            env_files: context
                .global
                .env_file
                .iter()
                .map(|path| context.environment.folder.join(path))
                .collect(),
            profiles: context.global.profile.clone(),
            kubeconfigs: kubeconfigs(&context.environment),
            expander,
            connected: std::sync::Mutex::new(BTreeMap::new()),
            clusters,
            ahead: tokio::sync::Mutex::default(),
            _temporary: temporary,
        })
    }

    /// The apps in scope: those that are named, else all that are for this target; in the order in which they are applied.
    pub fn apps(&self, names: &[String]) -> Result<Vec<App>, CommandError> {
        let (ordered, refused) = self.snapshot.ordered();
        for name in names {
            let known = self.snapshot.discovery.apps.iter().map(|app| app.name.as_str());
            if self.snapshot.discovery.app(name).is_none() {
                if let Some(broken) = self.snapshot.broken().iter().find(|broken| broken.name == *name) {
                    return Err(broken.diagnostics.clone().into());
                }
                let all: Vec<&str> = known
                    .chain(self.snapshot.broken().iter().map(|broken| broken.name.as_str()))
                    .collect();
                return Err(CommandError::unknown("app", name, all));
            }
            if let Some((_, why)) = refused.iter().find(|(app, _)| app.name.as_str() == name) {
                return Err(CommandError::new(
                    Exit::Invalid,
                    format!("app `{name}` can't be applied: {why}"),
                ));
            }
        }
        let chosen = |app: &&&App| {
            if names.is_empty() {
                self.is_for_this_target(app)
            } else {
                names.iter().any(|name| name == app.name.as_str())
            }
        };
        Ok(ordered
            .iter()
            .filter(chosen)
            .map(|app| self.with_profiles(app))
            .collect())
    }

    /// Apps that can't be used, with the reason, as far as they are in scope.
    pub fn broken(&self, names: &[String]) -> Vec<(String, CommandError)> {
        if !names.is_empty() {
            return Vec::new();
        }
        let mut all: Vec<(String, CommandError)> = self
            .snapshot
            .broken()
            .iter()
            .map(|broken| (broken.name.clone(), broken.diagnostics.clone().into()))
            .collect();
        all.extend(self.snapshot.ordered().1.into_iter().map(|(app, why)| {
            (
                app.name.to_string(),
                CommandError::new(
                    Exit::Invalid,
                    format!("app `{}` can't be applied: {why}", app.name),
                ),
            )
        }));
        all
    }

    fn is_for_this_target(&self, app: &App) -> bool {
        match (&self.settings.target.value, &app.target) {
            (Some(asked), Some(named)) => asked == named,
            _ => true,
        }
    }

    fn with_profiles(&self, app: &App) -> App {
        let mut app = app.clone();
        app.profiles.extend(self.profiles.iter().cloned());
        app
    }

    /// The key of an app.
    pub fn key(&self, app: &App) -> AppKey {
        self.snapshot.key(app)
    }

    /// The target of an app, connected once.
    pub async fn target(&self, app: &App) -> Result<Reach, CommandError> {
        let endpoint = match self.place(app)? {
            Place::Engine(endpoint) => endpoint,
            Place::Cluster { name, spec } => return Ok(self.clusters.reach(name.as_deref(), &spec).await?),
        };
        let name = endpoint.name().to_owned();
        if let Some(known) = self.connections().get(&name) {
            return Ok(known.clone());
        }
        let ahead = self.ahead.lock().await.take();
        let target = match ahead.filter(|ahead| endpoint == ahead.endpoint) {
            Some(ahead) => ahead.finish().await?,
            None => connect_engine(&endpoint, &self.credentials).await?,
        };
        self.connections().insert(name, target.clone());
        Ok(target)
    }

    /// The engine of an app, for what only engines can.
    pub async fn engine(&self, app: &App) -> Result<DockerTarget, CommandError> {
        match self.place(app)? {
            Place::Engine(endpoint) => {
                Ok(DockerTarget::connect(&endpoint, self.credentials.clone(), Arc::new(SystemClock)).await?)
            }
            Place::Cluster { .. } => Err(self
                .target(app)
                .await?
                .engine()
                .map_or_else(CommandError::from, |_| {
                    CommandError::new(Exit::Target, "this needs a Docker engine")
                })),
        }
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Reach>> {
        self.connected
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Where an app goes: `--target`, else what the repository names, else the only configured target, else what `docker`
    /// or `kubectl` would use. Two that fit are an error that lists both.
    pub fn place(&self, app: &App) -> Result<Place, CommandError> {
        let name = target_of(&self.settings, app)?;
        let finder = Finder {
            settings: &self.settings,
            docker: &self.env,
            kubeconfigs: &self.kubeconfigs,
            person: true,
        };
        Ok(finder.find(name, app.needs())?)
    }

    /// What the operator gives for an app besides Git.
    pub fn inputs(&self, app: &App) -> Result<Inputs, CommandError> {
        let mut inputs = operator_inputs(&self.settings, &app.name)?;
        for file in &self.env_files {
            inputs.variables.extend(read_env(file)?);
        }
        if let Some(root) = self.source.local_root() {
            let file = root.join(&app.path).join(".env");
            inputs.untracked_env = file.is_file();
        }
        Ok(inputs)
    }

    /// The inputs with what kustomize or Helm made of the app.
    pub async fn expand(&self, app: &App, inputs: Inputs) -> Result<Inputs, CommandError> {
        let mut inputs = inputs;
        if app.kind.asks_cluster() {
            let target = self.target(app).await?;
            inputs.cluster = Some(Arc::new(target.cluster()?.capabilities().await?));
        }
        Ok(expand(&self.snapshot.checkout, app, &self.expander, inputs).await?)
    }

    /// A turn for an app.
    pub async fn turn(&self, app: &App, verb: &str, options: Options) -> Result<Turn, CommandError> {
        let inputs = self.inputs(app)?;
        // Rendered before the engine is asked: a wrong manifest is said even where no engine answers. Only charts know their
        // cluster.
        let inputs = self.expand(app, inputs).await?;
        let desired = self.snapshot.desired(app, &inputs)?;
        let neighbours = self.neighbours(&desired).await?;
        Ok(Turn {
            key: desired.key.clone(),
            target: self.target(app).await?,
            desired: Arc::new(desired),
            commit: self.snapshot.commit.clone(),
            neighbours,
            trigger: Trigger::Person(verb.to_owned()),
            options,
            waits: self.stop.child_token(),
        })
    }

    /// All apps of the commit that go to clusters, rendered, where an object may have moved between them; else none.
    async fn neighbours(&self, desired: &render::Desired) -> Result<Arc<Neighbourhood>, CommandError> {
        let history = self.world.history.as_ref();
        if desired.bundle.is_none() || !may_move(history, &desired.key, desired)? {
            return Ok(Arc::default());
        }
        let mut around = Neighbourhood {
            uncertain: !self.snapshot.broken().is_empty(),
            ..Neighbourhood::default()
        };
        for app in self
            .snapshot
            .discovery
            .apps
            .iter()
            .filter(|app| app.kind.is_kubernetes())
        {
            let app = self.with_profiles(app);
            // One that can't be rendered keeps what it has; its own turn says why.
            let rendered = match self.inputs(&app) {
                Ok(inputs) => match self.expand(&app, inputs).await {
                    Ok(inputs) => self.snapshot.desired(&app, &inputs).ok(),
                    Err(_) => None,
                },
                Err(_) => None,
            };
            let neighbour = Neighbour {
                target: app.target.clone(),
                manual: false,
                desired: rendered.map(Arc::new),
            };
            around.apps.insert(app.name.clone(), neighbour);
        }
        Ok(Arc::new(around))
    }

    /// The options that most verbs have.
    pub fn options(&self, app: &App, prune: Option<Prune>, adopt: bool) -> Options {
        Options {
            permit: Permit {
                unattended: false,
                allowed: self.settings.allowed(&app.name).to_vec(),
            },
            prune: prune.map(|prune| match prune {
                Prune::None => render::app::Prune::None,
                Prune::Safe => render::app::Prune::Safe,
                Prune::All => render::app::Prune::All,
            }),
            adopt,
            ..Options::default()
        }
    }
}

/// The name of the target that an app goes to, where one is given.
pub fn target_of<'a>(settings: &'a Settings, app: &'a App) -> Result<Option<&'a str>, CommandError> {
    let platform = if app.kind.is_kubernetes() {
        "kubernetes"
    } else {
        "docker"
    };
    let name = match (&settings.target.value, &app.target) {
        (Some(asked), Some(named)) if asked != named => {
            return Err(CommandError::new(
                Exit::Usage,
                format!(
                    "app `{}` is for the target `{named}`, and `--target {asked}` names another one",
                    app.name
                ),
            )
            .hint(format!(
                "in config.yaml:  targets: {{ {named}: {{ {platform}: {asked} }} }}"
            )));
        }
        (Some(asked), _) => Some(asked.as_str()),
        (None, Some(named)) => {
            let declared = named.split_once('/').map_or(named.as_str(), |(target, _)| target);
            if !settings.targets.contains_key(declared) {
                return Err(CommandError::new(Exit::Target, format!("app `{}` is for the target `{named}`, which is not configured", app.name))
                    .code("E0550")
                    .at(app.declared.clone())
                    .hint(if app.kind.is_kubernetes() {
                        format!("in config.yaml:  targets: {{ {declared}: {{ kubernetes: current }} }}  (or a context of your kubeconfig)")
                    } else {
                        format!("in config.yaml:  targets: {{ {named}: {{ docker: default }} }}  (or a context, or an address)")
                    }));
            }
            Some(named.as_str())
        }
        (None, None) => match fitting(settings, app).as_slice() {
            [] => None,
            [only] => Some(*only),
            names => {
                return Err(CommandError::new(
                    Exit::Usage,
                    format!("app `{}` fits several targets: {}", app.name, names.join(", ")),
                )
                .hint("name one with --target, or with `target:` in driftless.yaml"));
            }
        },
    };
    Ok(name)
}

/// The declared targets that can take an app: engines for Compose, clusters for Kubernetes objects.
fn fitting<'a>(settings: &'a Settings, app: &App) -> Vec<&'a str> {
    settings
        .targets
        .iter()
        .filter(|(_, target)| {
            matches!(target.platform, Platform::Kubernetes { .. }) == app.kind.is_kubernetes()
        })
        .map(|(name, _)| name.as_str())
        .collect()
}

/// The variables that the docker command reads.
pub fn docker_env(context: &Context) -> DockerEnv {
    let environment = &context.environment;
    let text = |name: &str| environment.text(name).map(str::to_owned);
    DockerEnv {
        host: text("DOCKER_HOST"),
        context: text("DOCKER_CONTEXT"),
        config: text("DOCKER_CONFIG").map(PathBuf::from),
        cert_path: text("DOCKER_CERT_PATH").map(PathBuf::from),
        tls_verify: text("DOCKER_TLS_VERIFY"),
        home: environment.home().map(Path::to_owned),
    }
}

/// Where registry credentials come from, and what credential helpers may see.
pub fn registry_credentials(context: &Context, env: &DockerEnv) -> RegistryCredentials {
    const HELPER: &[&str] = &[
        "HOME",
        "XDG_RUNTIME_DIR",
        "DBUS_SESSION_BUS_ADDRESS",
        "DISPLAY",
        "GNUPGHOME",
        "PASSWORD_STORE_DIR",
    ];
    let passed =
        |name: &str| HELPER.contains(&name) || name.starts_with("AWS_") || name.starts_with("GOOGLE_");
    RegistryCredentials {
        config_dir: env.config_dir(),
        path: context
            .environment
            .variables()
            .find(|(name, _)| *name == "PATH")
            .map(|(_, value)| value.clone()),
        env: context
            .environment
            .variables()
            .filter(|(name, _)| name.to_str().is_some_and(passed))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    }
}

/// `vars/<app>.env`, `vars/<app>/…` and `secrets/<app>/…` beside `config.yaml` (decision 11).
pub fn operator_inputs(settings: &Settings, app: &AppName) -> Result<Inputs, CommandError> {
    let mut inputs = Inputs::default();
    let file = settings.vars_file(app);
    if file.is_file() {
        inputs.variables = read_env(&file)?;
    }
    for (name, bytes) in files_below(&settings.secrets_dir(app))? {
        inputs.secret_files.insert(name, bytes);
    }
    for (name, bytes) in files_below(&settings.vars.value.join(app.as_str()))? {
        inputs
            .env_files
            .insert(name, String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(inputs)
}

fn files_below(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, CommandError> {
    let unreadable = |path: &Path, error: &std::io::Error| {
        CommandError::new(Exit::Invalid, format!("`{}` can't be read", path.display())).because(error)
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, &error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name().and_then(|name| name.to_str())) {
            let bytes = std::fs::read(&path).map_err(|error| unreadable(&path, &error))?;
            files.push((name.to_owned(), bytes));
        }
    }
    Ok(files)
}

/// Variables of a file of NAME=VALUE lines.
pub fn read_env(file: &Path) -> Result<BTreeMap<String, String>, CommandError> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        CommandError::new(Exit::Invalid, format!("`{}` can't be read", file.display())).because(&error)
    })?;
    // Its values are secret: an error names the line, never the text.
    parse_env(&text, Format::Compose, &Default::default(), true)
        .map(|entries| {
            entries
                .into_iter()
                .filter_map(|entry| Some((entry.name, entry.value?)))
                .collect()
        })
        .map_err(|faults| {
            let line = faults.first().map_or(1, |fault| fault.line());
            CommandError::new(
                Exit::Invalid,
                format!("`{}` line {line} is not NAME=VALUE", file.display()),
            )
        })
}

impl From<ReadError> for CommandError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Source(error) => (*error).into(),
            ReadError::Checkout(error) => error.into(),
            ReadError::Discovery(found) => (*found).into(),
            ReadError::Name(error) => {
                CommandError::new(Exit::Invalid, error.to_string()).hint("name the apps in a driftless.yaml")
            }
        }
    }
}

impl From<PlaceError> for CommandError {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::Endpoint(error) => error.into(),
            error @ PlaceError::Account { .. } => {
                let made = CommandError::new(Exit::Refused, error.to_string()).code("E0595");
                match error.hint() {
                    Some(hint) => made.hint(hint),
                    None => made,
                }
            }
        }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let (exit, code, hint) = match error.kind() {
            StoreErrorKind::Locked => (
                Exit::Refused,
                "E0642",
                "that process owns the state folder until it ends; reading verbs work beside it",
            ),
            StoreErrorKind::Refused => (
                Exit::Refused,
                "E0605",
                "give one of the two apps another project name",
            ),
            _ => (Exit::ApplyFailed, "E0640", "driftless doctor"),
        };
        CommandError::new(exit, error.to_string())
            .code(code)
            .because(&error)
            .hint(hint)
    }
}

impl From<crate::engine::LookError> for CommandError {
    fn from(error: crate::engine::LookError) -> Self {
        match error {
            crate::engine::LookError::Live(error) => (*error).into(),
            crate::engine::LookError::Store(error) => (*error).into(),
        }
    }
}
