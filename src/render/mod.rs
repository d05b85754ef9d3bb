//! Checkout → Desired. Pure.
//!
//! In: a [`Checkout`](crate::source::Checkout) and the operator's inputs. Out: apps (`discover`), and for each one its
//! [`Desired`] state with the place of every field. Guaranteed: the same inputs give the same value; whatever a target
//! would ignore is an error, never dropped. Must not: read the environment, the clock, a file system or a target.

pub mod app;
pub mod model;

use std::collections::BTreeMap;

use crate::document::Place;
use crate::names::{AppKey, Digest, Revision};
use crate::secret::Mask;

pub use app::App;
pub use model::Project;

/// What Git (or a stored release) wants of one app.
#[derive(Debug, Clone)]
pub struct Desired {
    /// Which app.
    pub key: AppKey,
    /// The commit it was rendered from.
    pub revision: Revision,
    /// The rendered project, images not resolved (decision 1).
    pub project: Project,
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

    /// The place of `path`, or of the closest thing around it that has one.
    pub fn find(&self, path: &str) -> Option<&Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return Some(place);
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}
