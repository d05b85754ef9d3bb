//! Checkout → Desired. Pure.
//!
//! In: a [`Checkout`](crate::source::Checkout) and the operator's inputs. Out: apps (`discover`), and for each one its
//! [`Desired`] state with the place of every field. Guaranteed: the same inputs give the same value; whatever a target
//! would ignore is an error, never dropped. Must not: read the environment, the clock, a file system or a target.

pub mod app;
pub mod model;
pub mod bundle;
pub mod units;
pub mod discover;
pub mod compose;
pub mod manifests;
pub mod digest;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::document::{Code, Diagnostic, Diagnostics, File, Place};
use crate::expand::{Capabilities, Rendered};
use crate::names::{AppKey, Digest, ObjectKey, Revision};
use crate::secret::Mask;
use crate::source::Checkout;

pub use app::App;
pub use bundle::Bundle;
pub use compose::compose_yaml;
pub use discover::{Broken, Discovery, discover};
pub use manifests::bundle_yaml;
pub use model::Project;

/// What the operator gives besides Git (decision 11). Rendering reads no file system: the caller collects it.
#[derive(Clone, Default)]
pub struct Inputs {
    /// Variables: `vars/<app>.env` and `--env-file`, the latter winning.
    pub variables: BTreeMap<String, String>,
    /// `secrets/<app>/<name>`: content of configs and secrets by their key.
    pub secret_files: BTreeMap<String, Vec<u8>>,
    /// Files that `env_file:` names and that are not in Git, by the path as written or from the repository's root.
    pub env_files: BTreeMap<String, String>,
    /// What an external renderer made of the app's folder, for an app that is a kustomization or a chart.
    pub rendered: Option<Arc<Rendered>>,
    /// What a chart may know of the cluster that it goes to; `None` where none is known.
    pub cluster: Option<Arc<Capabilities>>,
    /// Whether a `.env` that is not in Git lies beside the Compose file; only for the help of an error.
    pub untracked_env: bool,
}

impl std::fmt::Debug for Inputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inputs")
            .field("variables", &self.variables.keys())
            .field("secret_files", &self.secret_files.keys())
            .field("env_files", &self.env_files.keys())
            .finish_non_exhaustive()
    }
}

/// Renders `app` as `checkout` has it. Every error of its files at once where that is possible; warnings are in
/// [`Desired::warnings`].
pub fn render(
    checkout: &Checkout,
    app: &App,
    inputs: &Inputs,
    key: AppKey,
    revision: Revision,
) -> Result<Desired, Diagnostics> {
    let file = match &app.kind {
        app::AppKind::Compose { file } => file,
        app::AppKind::Manifests { files, .. } => {
            let read = manifests::from_checkout(checkout, files, namespace(app))?;
            return Ok(of_objects(app, read, key, revision));
        }
        app::AppKind::Kustomization { .. } | app::AppKind::Chart { .. } => {
            let Some(rendered) = &inputs.rendered else {
                let message = format!(
                    "app `{}` is {}, and nothing rendered it",
                    app.name,
                    app.kind.what()
                );
                let whole = File::new(app.kind.file(), "").whole();
                return Err(Diagnostic::error(Code::APP_KIND, &whole, message).into());
            };
            let read = manifests::expanded(checkout, rendered, namespace(app))?;
            return Ok(of_objects(app, read, key, revision));
        }
    };
    let loaded = compose::load(checkout, app, file, inputs)?;
    let mut warnings: Vec<Warning> = Vec::new();
    for one in loaded.warnings.iter() {
        let help = one
            .help
            .as_ref()
            .map(|help| format!(" ({help})"))
            .unwrap_or_default();
        warnings.push(Warning {
            message: format!("{}{help}", one.message),
            place: one.place(),
        });
    }
    Ok(Desired {
        key,
        revision,
        content: digest::content(&loaded.project, &app.rules),
        project: loaded.project,
        bundle: None,
        rules: app.rules.clone(),
        places: loaded.places,
        mask: loaded.mask,
        warnings,
    })
}

/// The namespace that the app's target gives: `prod/blog`.
pub fn namespace(app: &App) -> Option<&str> {
    app.target
        .as_deref()?
        .split_once('/')
        .map(|(_, namespace)| namespace)
}

fn of_objects(app: &App, read: manifests::Read, key: AppKey, revision: Revision) -> Desired {
    let warnings = read
        .warnings
        .iter()
        .map(|one| Warning {
            message: match &one.help {
                Some(help) => format!("{} ({help})", one.message),
                None => one.message.clone(),
            },
            place: one.place(),
        })
        .collect();
    Desired {
        content: digest::of_bundle(&read.bundle, &app.rules),
        project: Project::empty(&key.app),
        bundle: Some(read.bundle),
        rules: app.rules.clone(),
        places: read.places,
        mask: read.mask,
        warnings,
        key,
        revision,
    }
}

/// What Git (or a stored release) wants of one app.
#[derive(Debug, Clone)]
pub struct Desired {
    /// Which app.
    pub key: AppKey,
    /// The commit it was rendered from.
    pub revision: Revision,
    /// The rendered project, images not resolved (decision 1). Without any service for an app of Kubernetes objects.
    pub project: Project,
    /// The objects of an app that goes to a cluster.
    pub bundle: Option<Bundle>,
    /// The rules it is run by.
    pub rules: app::Rules,
    /// Digest *content*: the rendered app before image resolution (decision 2).
    pub content: Digest,
    /// Where each field is written: `services.api.image` → file:line:col. Looked up with [`Desired::place`].
    pub places: Places,
    /// Every secret value that went in, for cleaning free text.
    pub mask: Mask,
    /// Things a person should know that are not errors, with their places.
    pub warnings: Vec<Warning>,
}

impl Desired {
    /// What it needs of its target.
    pub fn needs(&self) -> app::Needs<'_> {
        app::Needs::new(self.bundle.is_some(), &self.rules)
    }
}

/// A remark about an app that does not stop it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What is remarkable and what to do.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
}

/// Where fields are written.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Places(BTreeMap<String, Place>);

impl Places {
    /// Notes that `path` (as `services.api.image`) is written at `place`.
    pub fn note(&mut self, path: impl Into<String>, place: Place) {
        self.0.insert(path.into(), place);
    }

    /// The place of `path` itself.
    pub fn exact(&self, path: &str) -> Option<&Place> {
        self.0.get(path)
    }

    /// The place of the field at the JSON pointer `pointer` of a Kubernetes object (`Deployment/web:/spec/replicas`), or of
    /// the closest thing around it that has one: the object itself in the end.
    pub fn field(&self, object: &ObjectKey, pointer: &str) -> Option<&Place> {
        let prefix = format!("{object}:");
        let mut path = format!("{prefix}{pointer}");
        loop {
            if let Some(place) = self.0.get(&path) {
                return Some(place);
            }
            let at = path.get(prefix.len()..)?.rfind('/')?;
            path.truncate(prefix.len() + at);
        }
    }

    /// The place of `path`, or of the closest thing around it that has one.
    pub fn find(&self, path: &str) -> Option<&Place> {
        // A field of a Kubernetes object: its steps are parted by `/`, and its name may hold dots.
        if let Some(at) = path
            .find(":/")
            .filter(|at| path.get(..=*at).is_some_and(|object| self.0.contains_key(object)))
        {
            let mut path = path;
            loop {
                if let Some(place) = self.0.get(path) {
                    return Some(place);
                }
                let cut = path.rfind('/').filter(|cut| *cut > at)?;
                path = path.get(..cut)?;
            }
        }
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return Some(place);
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}
