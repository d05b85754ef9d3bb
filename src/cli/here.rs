//! What a verb without an engine works on: the repository at one commit, and its apps.
//!
//! In: a [`Context`]. Out: [`Here`]. Guaranteed: no engine is asked and no store is opened. Must not: print.

use std::path::Path;
use std::sync::Arc;

use super::Context;
use super::error::CommandError;
use super::place::expander;
use super::session::{block_on, open_source, operator_inputs, read_env, settings, source_setting, target_of};
use crate::document::Diagnostics;
use crate::engine::Snapshot;
use crate::engine::snapshot::expand;
use crate::expand::Capabilities;
use crate::render::{App, Inputs};
use crate::settings::{Platform, Settings};
use crate::source::GitSource;

/// A repository at one commit.
pub struct Here {
    pub settings: Settings,
    pub source: GitSource,
    pub snapshot: Snapshot,
}

impl Here {
    /// Reads it.
    pub fn read(context: &Context) -> Result<Self, CommandError> {
        Self::read_with(context, settings(context)?)
    }

    /// The same with settings that are known already.
    pub fn read_with(context: &Context, settings: Settings) -> Result<Self, CommandError> {
        let setting = source_setting(context, &settings)?;
        let source = open_source(context, &settings, &setting)?;
        let snapshot = block_on(async { Ok(Snapshot::read(&source).await?) })?;
        Ok(Self {
            settings,
            source,
            snapshot,
        })
    }

    /// An app by its name; an unknown one is an error with the nearest.
    pub fn app(&self, name: &str) -> Result<&App, CommandError> {
        if let Some(broken) = self.snapshot.broken().iter().find(|broken| broken.name == name) {
            return Err(broken.diagnostics.clone().into());
        }
        let known = self.snapshot.discovery.apps.iter().map(|app| app.name.as_str());
        self.snapshot
            .discovery
            .app(name)
            .ok_or_else(|| CommandError::unknown("app", name, known))
    }
}

/// What the operator gives to an app besides Git (decision 11). `root` is the repository's folder where there is one.
pub fn inputs(
    context: &Context,
    settings: &Settings,
    app: &App,
    root: Option<&Path>,
) -> Result<Inputs, CommandError> {
    let mut inputs = operator_inputs(settings, &app.name)?;
    for file in &context.global.env_file {
        inputs
            .variables
            .extend(read_env(&context.environment.folder.join(file))?);
    }
    inputs.untracked_env = root.is_some_and(|root| root.join(&app.path).join(".env").is_file());
    Ok(inputs)
}

/// The inputs with what kustomize or Helm made of the app.
pub fn expanded(
    context: &Context,
    settings: &Settings,
    snapshot: &Snapshot,
    app: &App,
    inputs: Inputs,
) -> Result<Result<Inputs, Diagnostics>, CommandError> {
    let mut inputs = inputs;
    if app.kind.asks_cluster() {
        // No cluster is asked here; its operator's words are known.
        let name = target_of(settings, app).ok().flatten();
        let setting = name.and_then(|name| settings.targets.get(name.split('/').next()?));
        if let Some(Platform::Kubernetes(cluster)) = setting.map(|setting| &setting.platform) {
            inputs.cluster = Some(Arc::new(Capabilities {
                namespace: cluster.namespace.clone(),
                ..Capabilities::default()
            }));
        }
    }
    let expander = expander(&context.environment, settings);
    block_on(async { Ok(expand(&snapshot.checkout, app, &expander, inputs).await) })
}

/// The app with `--profile` added.
pub fn with_profiles(context: &Context, app: &App) -> App {
    let mut app = app.clone();
    app.profiles.extend(context.global.profile.iter().cloned());
    app
}
