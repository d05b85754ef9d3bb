//! What a release leaves behind: the record that a rollback is made from.
//!
//! In: a rendered app with its images resolved. Out: [`Record`]. Guaranteed: a record is immutable but for its outcome, and
//! is enough to re-create the app without Git and without the registry's tags. Must not: be serialised anywhere but into
//! the store, which seals [`Snapshot`] (decision 4).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::names::{AppKey, Digest, Revision, ServiceName};
use crate::render::app::Rules;
use crate::render::{Bundle, Places, Project};

/// One release of one app.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Which app.
    pub key: AppKey,
    /// Its number within the app, from 1: `web#12`.
    pub number: u64,
    /// Digest *release* D: content + images; holds and history are keyed by it.
    pub digest: Digest,
    /// Digest *content*.
    pub content: Digest,
    /// The commit it was first rendered from.
    pub revision: Revision,
    /// The commit's subject line.
    pub subject: String,
    /// The commit's author name.
    pub author: String,
    /// What each service's image meant.
    pub images: BTreeMap<ServiceName, Pinned>,
    pub created_at: Timestamp,
    pub outcome: Outcome,
    /// When it became stable, if it ever did. Kept when a later release replaces it.
    pub stable_at: Option<Timestamp>,
    /// Everything that is needed to apply it again.
    pub snapshot: Snapshot,
}

/// The part of a record that holds secret values. It is sealed in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub project: Project,
    /// The objects of an app that goes to a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Bundle>,
    pub rules: Rules,
    pub places: Places,
    /// Every secret value that went in, for cleaning free text later.
    pub secrets: Vec<crate::secret::Secret<String>>,
}

/// What an image reference meant when the release was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// As written in the manifest (masked when it is secret).
    pub reference: String,
    /// `name@sha256:…` where the image exists in a registry.
    pub repo_digest: Option<String>,
    /// The image id on the engine, once it was there.
    pub id: Option<String>,
}

impl Pinned {
    /// What identifies the image in the release digest: the repository digest, else the local id (decision 2).
    pub fn identity(&self) -> &str {
        self.repo_digest
            .as_deref()
            .and_then(|pinned| pinned.rsplit_once('@').map(|(_, digest)| digest))
            .or(self.id.as_deref())
            .unwrap_or(&self.reference)
    }
}

/// What came of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It is being applied or verified.
    InProgress,
    /// It became healthy and stayed so for its bake time.
    Stable,
    /// It failed its gate; `cause` is masked text.
    Failed { cause: String },
    /// It failed and the stable release `to` was put back.
    RolledBack { cause: String, to: u64 },
    /// A newer release was applied before it settled.
    Superseded,
}

/// The release digest of `content` with these images: `r1:…`.
pub fn digest(content: &Digest, images: &BTreeMap<ServiceName, Pinned>) -> Digest {
    let mut text = String::from(content.as_str());
    for (service, pinned) in images {
        text.push('\n');
        text.push_str(service.as_str());
        text.push(' ');
        text.push_str(pinned.identity());
    }
    Digest::of("r1", text.as_bytes())
}
