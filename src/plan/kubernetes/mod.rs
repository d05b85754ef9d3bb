//! Objects of a cluster: what is wanted, what is there, what we own → changes. Pure.
//!
//! In: a [`Bundle`], one observation with its dry runs, the inventory. Out: changes in order, problems, and what the inventory
//! should say of objects that stay as they are. Guaranteed: nothing is deleted that is not ours by this observation; an
//! object of another tool is never touched unless that was asked for; five objects that the server refuses are five
//! problems. Must not: ask anything, or know time.

mod object;
mod order;
mod prune;
mod record;
mod refused;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::live::kubernetes::op::Op;
use crate::live::kubernetes::world::{Belongs, Observed, OwnedObject, Seen};
use crate::live::world::Inventory;
use crate::names::{Digest, Kind, ObjectKey, ResourceKey, ServiceName};
use crate::render::bundle::{Bundle, Manifest};
use crate::render::{Desired, Places};

use super::{Action, Cause, Change, Phase, Problem, Stance, Step};

/// How long one object may take to become ready before the next stage, unless it says so itself.
pub(crate) const READY: Duration = Duration::from_secs(300);
/// How long a deletion may take before the wait says what holds it.
pub(crate) const GONE: Duration = Duration::from_secs(120);

/// How long a controller may take to see what was applied.
pub(crate) const OBSERVED: Duration = Duration::from_secs(60);

/// What was decided for one app.
pub(crate) struct Outcome {
    pub changes: Vec<Change>,
    pub problems: Vec<Problem>,
    /// What the inventory should say of objects that this plan leaves as they are.
    pub known: BTreeMap<ObjectKey, OwnedObject>,
}

/// Everything that is known while one app is planned.
pub(crate) struct Scene<'a> {
    pub desired: &'a Desired,
    pub bundle: &'a Bundle,
    pub observed: &'a Observed,
    pub inventory: &'a Inventory,
    pub stance: &'a Stance<'a>,
    /// Whether what is planned is another release than the effective one.
    pub new: bool,
}

impl Scene<'_> {
    /// An object's key for people: without the namespace where it is the app's own.
    pub fn resource(&self, key: &ObjectKey) -> ResourceKey {
        ResourceKey::new(Kind::Object, key.within(&self.observed.namespace))
    }

    /// The manifest of an object, by its key with the namespace filled in.
    pub fn manifest(&self, key: &ObjectKey) -> Option<&Manifest> {
        find(self.bundle, key)
    }

    /// Where the field at a JSON pointer of an object is written.
    pub fn place(&self, key: &ObjectKey, pointer: &str) -> Option<crate::document::Place> {
        let manifest = self.manifest(key)?;
        place(&self.desired.places, manifest, pointer)
    }

    /// Whether this is the way back to a stored release.
    pub fn rolling_back(&self) -> bool {
        self.stance.roll_back_from.is_some()
    }
}

fn place(places: &Places, manifest: &Manifest, pointer: &str) -> Option<crate::document::Place> {
    places
        .field(&manifest.key, pointer)
        .cloned()
        .or_else(|| manifest.place.clone())
}

/// The manifest with a key, whose own namespace may be left to the app.
pub fn find<'b>(bundle: &'b Bundle, key: &ObjectKey) -> Option<&'b Manifest> {
    bundle.objects.iter().find(|manifest| {
        manifest.key.kind == key.kind
            && manifest.key.group == key.group
            && manifest.key.name == key.name
            && (manifest.key.namespace.is_none()
                || key.namespace.is_none()
                || manifest.key.namespace == key.namespace)
    })
}

/// Decides about every object of an app.
pub(crate) fn decide(
    desired: &Desired,
    bundle: &Bundle,
    observed: &Observed,
    inventory: &Inventory,
    stance: &Stance<'_>,
    release: &Digest,
) -> Outcome {
    let scene = Scene {
        desired,
        bundle,
        observed,
        inventory,
        stance,
        new: stance.effective.is_none_or(|record| record.digest != *release),
    };
    let mut outcome = Outcome {
        changes: Vec::new(),
        problems: Vec::new(),
        known: BTreeMap::new(),
    };
    for (key, message) in &observed.problems {
        outcome.problems.push(Problem {
            code: "E0591",
            message: format!("{key} {message}"),
            place: scene.place(key, ""),
            help: Some("remove one of the two, or name another namespace".to_owned()),
            kind: super::ProblemKind::Refused,
        });
    }
    let mut staged = Vec::new();
    for (key, wanted) in &observed.wanted {
        let hook = scene.manifest(key).and_then(|manifest| manifest.hook);
        if !order::runs(hook, scene.rolling_back()) {
            // A hook of another moment is ours if it is there, and stays as it is.
            if let Some(owned) = inventory.objects.get(key) {
                outcome.known.insert(key.clone(), owned.clone());
            }
            continue;
        }
        match object::decide(&scene, key, wanted) {
            Ok(decided) => {
                if let Some(known) = decided.known {
                    outcome.known.insert(key.clone(), known);
                }
                staged.push((order::stage(&scene, key), decided.change));
            }
            Err(problem) => outcome.problems.push(*problem),
        }
    }
    let mut changes = order::ordered(&scene, staged);
    changes.extend(prune::undeclared(&scene, changes.len()));
    record::around(&scene, &mut changes);
    outcome.changes = changes;
    outcome
}

/// What of the release that is left could not be put back if the new one failed.
pub(crate) fn no_way_back(observed: &Observed) -> Vec<String> {
    let said = |(key, served): &(ObjectKey, String)| {
        format!(
            "no way back if this release fails: {} of the release before it can't be made any more: {served}",
            key.within(&observed.namespace)
        )
    };
    observed.unserved.iter().map(said).collect()
}

/// Kinds whose pods can be started anew.
const RESTARTABLE: &[&str] = &["Deployment", "StatefulSet", "DaemonSet"];

/// The plan that starts workloads' pods anew: those that are named, else all.
pub(crate) fn restart(desired: &Desired, observed: &Observed, names: &[ServiceName]) -> Vec<Change> {
    observed
        .wanted
        .iter()
        .filter(|(key, _)| RESTARTABLE.contains(&&*key.kind))
        .map(|(key, wanted)| (ServiceName::of_object(key, &observed.namespace), key, wanted))
        .filter(|(name, key, _)| {
            // A name may spell out the app's own namespace.
            let asked = |one: &ServiceName| one == name || one.as_str() == key.to_string();
            names.is_empty() || names.iter().any(asked)
        })
        .filter_map(|(name, key, wanted)| match &wanted.seen {
            Seen::Live(live) if live.belongs == Belongs::Ours => Some(Change {
                key: name.resource(),
                action: Action::Restart,
                cause: Cause::Declared(desired.revision.clone()),
                fields: Vec::new(),
                needs: Vec::new(),
                phase: Phase::Apply,
                steps: vec![Step::Object(Op::Restart {
                    key: key.clone(),
                    uid: live.uid.clone(),
                    at: observed.at,
                })],
                notes: Vec::new(),
            }),
            _ => None,
        })
        .collect()
}

/// The plan that removes everything of an app that is ours.
pub(crate) fn down(scene: &Scene<'_>) -> Vec<Change> {
    let mut changes = prune::everything(scene);
    record::removed(scene, &mut changes);
    changes
}
