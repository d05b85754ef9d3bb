//! One commit of one source with the apps that it declares.
//!
//! In: a source. Out: a [`Snapshot`], from which [`Turn`]s are made. Guaranteed: the source is resolved and read once for all
//! its apps; an app that can't be used is a result of its own and stops no other. Must not: read operator files (they are
//! passed in), or ask a target.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::document::Diagnostics;
use crate::expand::Expander;
use crate::live::Reach;
use crate::names::{AppKey, AppName, NameError, Revision, SourceId};
use crate::render::{self, App, Broken, Desired, Discovery, Inputs};
use crate::report::Trigger;
use crate::source::{Checkout, CheckoutError, GitSource, Source as _, SourceError, Uncommitted};

use super::world::{Commit, Options, Turn};

/// What a source holds at one commit.
pub struct Snapshot {
    pub source: SourceId,
    pub commit: Commit,
    /// The branch or tag, where it is one.
    pub branch: Option<String>,
    pub checkout: Checkout,
    pub discovery: Discovery,
    /// Changes of a local repository's working directory that are not part of the commit.
    pub uncommitted: Vec<Uncommitted>,
}

/// Why a source gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{0}")]
    Source(Box<SourceError>),
    #[error("{0}")]
    Checkout(#[from] CheckoutError),
    /// `driftless.yaml` is wrong as a whole.
    #[error("{0}")]
    Discovery(Box<Diagnostics>),
    #[error("the repository's name can't name an app")]
    Name(#[from] NameError),
}

impl From<SourceError> for ReadError {
    fn from(error: SourceError) -> Self {
        ReadError::Source(Box::new(error))
    }
}

/// Runs the external renderer that an app needs, and adds what it printed to the inputs.
pub async fn expand(
    checkout: &Checkout,
    app: &App,
    expander: &Expander,
    inputs: Inputs,
) -> Result<Inputs, Diagnostics> {
    let Some(request) = app
        .kind
        .request(&app.name, render::namespace(app), inputs.cluster.as_deref())
    else {
        return Ok(inputs);
    };
    let rendered = expander
        .expand(checkout, &request)
        .await
        .map_err(|error| error.diagnostics(&app.kind.file()))?;
    Ok(Inputs {
        rendered: Some(Arc::new(rendered)),
        ..inputs
    })
}

impl Snapshot {
    /// Resolves a source's ref and finds its apps.
    pub async fn read(source: &GitSource) -> Result<Self, ReadError> {
        let resolved = source.resolve().await?;
        Self::read_at(source, &resolved.revision, resolved.branch.clone()).await
    }

    /// The same at a revision that is known already.
    pub async fn read_at(
        source: &GitSource,
        revision: &Revision,
        branch: Option<String>,
    ) -> Result<Self, ReadError> {
        let checkout = source.checkout(revision).await?;
        let info = source.commit_info(revision).await?;
        let root = source
            .root_app_name()
            .map_or_else(|| "app".to_owned(), |name| name.to_string());
        let discovery =
            render::discover(&checkout, &root).map_err(|error| ReadError::Discovery(Box::new(error)))?;
        let uncommitted = source
            .status_of_worktree(&source.start())
            .await
            .unwrap_or_default();
        Ok(Self {
            source: source.id().clone(),
            commit: Commit {
                revision: revision.clone(),
                subject: info.subject,
                author: info.author,
                time: Some(info.time),
            },
            branch,
            checkout,
            discovery,
            uncommitted,
        })
    }

    /// The working tree of `folder` as it lies there (`plan --local`): for looking only, never for applying.
    pub fn local(
        folder: &Path,
        source: SourceId,
        root: &AppName,
        head: Option<Commit>,
    ) -> Result<Self, ReadError> {
        let checkout = Checkout::from_dir(folder)?;
        let discovery = render::discover(&checkout, root.as_str())
            .map_err(|error| ReadError::Discovery(Box::new(error)))?;
        let commit = match head {
            Some(commit) => commit,
            None => Commit {
                revision: Revision::try_from("0".repeat(40))?,
                subject: "working tree".to_owned(),
                author: String::new(),
                time: None,
            },
        };
        Ok(Self {
            source,
            commit,
            branch: None,
            checkout,
            discovery,
            uncommitted: Vec::new(),
        })
    }

    /// A source that can't be read now, for commands that do without Git: no app is in it, and none is gone either.
    pub fn unread(source: SourceId) -> Result<Self, NameError> {
        Ok(Self {
            source,
            commit: Commit {
                revision: Revision::try_from("0".repeat(40))?,
                subject: String::new(),
                author: String::new(),
                time: None,
            },
            branch: None,
            checkout: Checkout::in_memory(std::iter::empty::<(&str, &str)>()),
            discovery: Discovery::default(),
            uncommitted: Vec::new(),
        })
    }

    /// The key of one of its apps.
    pub fn key(&self, app: &App) -> AppKey {
        AppKey {
            source: self.source.clone(),
            app: app.name.clone(),
        }
    }

    /// Renders one of its apps.
    pub fn desired(&self, app: &App, inputs: &Inputs) -> Result<Desired, Diagnostics> {
        render::render(
            &self.checkout,
            app,
            inputs,
            self.key(app),
            self.commit.revision.clone(),
        )
    }

    /// A turn for one of its apps.
    pub fn turn(
        &self,
        app: &App,
        inputs: &Inputs,
        target: Reach,
        trigger: Trigger,
        options: Options,
        stop: &CancellationToken,
    ) -> Result<Turn, Diagnostics> {
        Ok(Turn {
            key: self.key(app),
            target,
            desired: Arc::new(self.desired(app, inputs)?),
            commit: self.commit.clone(),
            neighbours: Arc::default(),
            trigger,
            options,
            waits: stop.child_token(),
        })
    }

    /// Apps in the order in which they are applied: each after those that it names in `after`. An app in a cycle, or after
    /// one that does not exist, is broken and comes back with the reason.
    pub fn ordered(&self) -> (Vec<&App>, Vec<(&App, String)>) {
        let by_name: BTreeMap<&AppName, &App> =
            self.discovery.apps.iter().map(|app| (&app.name, app)).collect();
        let mut ordered: Vec<&App> = Vec::new();
        let mut left: Vec<&App> = by_name.values().copied().collect();
        let mut refused = Vec::new();
        left.retain(
            |app| match app.after.iter().find(|name| !by_name.contains_key(name)) {
                Some(missing) => {
                    refused.push((
                        *app,
                        format!("`after` names `{missing}`, and there is no such app"),
                    ));
                    false
                }
                None => true,
            },
        );
        loop {
            let ready: Vec<&App> = left
                .iter()
                .copied()
                .filter(|app| {
                    app.after
                        .iter()
                        .all(|name| ordered.iter().any(|done| done.name == *name))
                })
                .collect();
            if ready.is_empty() {
                break;
            }
            left.retain(|app| !ready.iter().any(|done| done.name == app.name));
            ordered.extend(ready);
        }
        refused.extend(left.into_iter().map(|app| {
            (
                app,
                "`after` leads back to the app itself, or to one that can't be applied".to_owned(),
            )
        }));
        (ordered, refused)
    }

    /// Apps that can't be used, by name or folder.
    pub fn broken(&self) -> &[Broken] {
        &self.discovery.broken
    }
}
