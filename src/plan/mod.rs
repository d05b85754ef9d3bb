//! Desired + Observed + Inventory → Plan. Pure, total, deterministic.
//!
//! In: what Git or a stored release wants, what is there, what we own. Out: a [`Plan`] that can be printed, saved, reviewed
//! and applied. Guaranteed: equal inputs give an equal plan and equal text; a plan over an unchanged world has no step;
//! deletions only where this very observation and the inventory both prove ownership. Must not: ask anything, or know time.

pub mod change;
mod images;
mod order;
mod docker;
mod kubernetes;
pub(crate) mod prune;
mod basis;
mod lifecycle;
pub mod text;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::live::kubernetes::world::OwnedObject;
use crate::live::world::{Inventory, Observed};
use crate::names::{AppKey, AppName, Digest, InstanceName, ObjectKey, Revision, ServiceName, TargetId};
use crate::release::{Pinned, Record};

use crate::render::app::Prune;
use crate::render::{Bundle, Desired};

pub use kubernetes::find as manifest;
pub use lifecycle::{down, restart};

pub use change::{
    Action, Author, Await, Blocked, Cause, Change, Condition, FieldDiff, Moved, Phase, Step, Strategy,
};

/// The ordered changes from observed to desired.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub key: AppKey,
    pub revision: Revision,
    pub target: TargetId,
    /// Digest *release* D of what is planned.
    pub release: Digest,
    /// Digest *content* of what is planned.
    pub content: Digest,
    /// What each service's image means.
    pub images: BTreeMap<ServiceName, Pinned>,
    /// Digest *spec* of each planned service: what its containers are recorded with once this plan is applied (labels are
    /// fixed at creation, so after an in-place update only the inventory knows).
    pub specs: BTreeMap<ServiceName, Digest>,
    /// What the inventory should say of objects of a cluster that stay as they are.
    pub known: BTreeMap<ObjectKey, OwnedObject>,
    /// What was decided on; a saved plan is refused when it moved (decision 6).
    pub basis: Digest,
    /// In order of execution: networks, volumes, services by dependency, deletions.
    pub changes: Vec<Change>,
    /// What pre-flight must do and check before anything is touched.
    pub preflight: Preflight,
    /// Everything that makes the plan impossible. A plan with a problem is never applied.
    pub problems: Vec<Problem>,
    /// What a person should know before it is applied, and what does not stand in its way.
    pub warnings: Vec<String>,
}

/// Pre-flight: checks and pulls for the whole app before anything is touched (promise 6).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Preflight {
    /// `Op::PullImage` for every image that is not there.
    pub pulls: Vec<crate::live::docker::op::Op>,
    /// Trees of the commit to lay out as files below the state folder: hash → tree.
    pub trees: Vec<String>,
}

/// Why a plan can't be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The diagnostic code, as `E0510`.
    pub code: &'static str,
    pub message: String,
    pub place: Option<crate::document::Place>,
    pub help: Option<String>,
    /// Whose turn it is, for the exit code.
    pub kind: ProblemKind,
}

/// What sort of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemKind {
    /// Refused by a rule: adoption, ownership, budget, privileges (exit 9).
    Refused,
    /// Pre-flight found that it can't work: image missing, port taken, network missing (exit 6, nothing touched).
    Preflight,
    /// The target is in the way: too old for a field (exit 5).
    Target,
}

/// What the planner may do.
#[derive(Debug, Clone)]
pub struct Stance<'a> {
    pub instance: &'a InstanceName,
    /// The effective release (E): what the machine last settled on, for "who moved" and for field diffs.
    pub effective: Option<&'a Record>,
    /// The release that is being rolled back from, when this is a rollback.
    pub roll_back_from: Option<&'a Digest>,
    pub prune: Prune,
    /// Take over live objects that differ (decision 16).
    pub adopt: bool,
    /// Take over objects of another instance (`driftless takeover`).
    pub takeover: bool,
    /// Volumes that the command names for deletion.
    pub delete_volumes: &'a [String],
    /// Where trees of the commit are laid out, and where data of relative binds lives, as absolute paths on the engine's host.
    pub files_dir: &'a str,
    pub data_dir: &'a str,
    /// Objects that other apps of the same commit no longer declare: they may be taken from them.
    pub handed_over: &'a BTreeSet<ObjectKey>,
    /// Objects that other apps of the same commit declare: they are left to them.
    pub claimed: &'a BTreeMap<ObjectKey, AppName>,
    /// Images pinned by the release when a stored release is planned; empty for Git.
    pub pinned: &'a BTreeMap<ServiceName, Pinned>,
}

impl Plan {
    /// Whether it would send no call at all.
    pub fn is_empty(&self) -> bool {
        self.preflight.pulls.is_empty() && !self.changes.iter().any(Change::acts)
    }
}

/// Plans what brings `observed` to `desired`.
pub fn plan(desired: &Desired, observed: &Observed, inventory: &Inventory, stance: &Stance<'_>) -> Plan {
    if let Some(bundle) = &desired.bundle {
        return of_objects(desired, bundle, observed, inventory, stance);
    }
    let images = images::resolve(desired, observed, stance);
    let pinned: BTreeMap<ServiceName, Pinned> = images
        .by_service
        .iter()
        .map(|(name, image)| (name.clone(), image.pinned.clone()))
        .collect();
    let release = crate::release::digest(&desired.content, &pinned);
    let outcome = docker::decide(desired, observed, inventory, stance, &images.by_service, &release);
    let mut problems = images.problems;
    problems.extend(outcome.problems);
    let acts = outcome
        .changes
        .iter()
        .any(|change| change.phase == Phase::Apply && change.acts());
    let preflight = Preflight {
        pulls: if acts { images.pulls } else { Vec::new() },
        trees: if acts {
            desired.project.trees.keys().cloned().collect()
        } else {
            Vec::new()
        },
    };
    Plan {
        key: desired.key.clone(),
        revision: desired.revision.clone(),
        target: observed.engine.id.clone(),
        basis: basis::digest(observed, &release),
        release,
        content: desired.content.clone(),
        images: pinned,
        specs: outcome.specs,
        known: BTreeMap::new(),
        changes: outcome.changes,
        preflight,
        problems,
        warnings: Vec::new(),
    }
}

fn of_objects(
    desired: &Desired,
    bundle: &Bundle,
    observed: &Observed,
    inventory: &Inventory,
    stance: &Stance<'_>,
) -> Plan {
    let release = crate::release::digest(&desired.content, &BTreeMap::new());
    let outcome = match &observed.cluster {
        Some(cluster) => kubernetes::decide(desired, bundle, cluster, inventory, stance, &release),
        // An engine was looked at: the target is another one than the app needs.
        None => kubernetes::Outcome {
            changes: Vec::new(),
            problems: vec![Problem {
                code: "E0550",
                message: "the app is made of Kubernetes objects, and its target is no cluster".to_owned(),
                place: None,
                help: Some("name a cluster with --target, or with `target:` in driftless.yaml".to_owned()),
                kind: ProblemKind::Target,
            }],
            known: BTreeMap::new(),
        },
    };
    Plan {
        key: desired.key.clone(),
        revision: desired.revision.clone(),
        target: observed.engine.id.clone(),
        basis: basis::of_objects(observed.cluster.as_deref(), &release),
        release,
        content: desired.content.clone(),
        images: BTreeMap::new(),
        specs: BTreeMap::new(),
        known: outcome.known,
        changes: outcome.changes,
        preflight: Preflight::default(),
        problems: outcome.problems,
        warnings: observed
            .cluster
            .as_deref()
            .map(kubernetes::no_way_back)
            .unwrap_or_default(),
    }
}

/// Where a tree of the commit lies on the engine's host: a folder's files are below this path, a single file is it. The
/// hash is in the path, so that changed content is a changed mount.
pub fn tree_path(files_dir: &str, hash: &str) -> String {
    format!("{}/{hash}", files_dir.trim_end_matches('/'))
}
