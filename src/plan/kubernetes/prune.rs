//! Objects that are ours and no longer declared.
//!
//! In: the scene. Out: deletions for after the bake, and what is kept with the reason. Guaranteed: only what this
//! observation shows to be ours, by UID or by field manager and marks; nothing that an annotation protects; no data; nothing
//! beyond the delete budget. Must not: take what can't be read for gone.

use crate::live::kubernetes::op::Op;
use crate::live::kubernetes::world::{Belongs, LiveObject, Seen};
use crate::names::ObjectKey;
use crate::plan::prune::allowed;
use crate::plan::{Action, Blocked, Cause, Change, Phase, Step};
use crate::render::app::Prune;
use serde_json::Value;

use super::Scene;
use super::object::gone;

/// Kinds that hold data, or others' objects: deleted only with `prune: all`.
const DATA: &[&str] = &[
    "Namespace",
    "PersistentVolumeClaim",
    "PersistentVolume",
    "CustomResourceDefinition",
];

fn later(scene: &Scene<'_>, key: &ObjectKey, action: Action, note: Option<String>) -> Change {
    Change {
        key: scene.resource(key),
        action,
        cause: Cause::NoLongerDeclared,
        fields: Vec::new(),
        needs: Vec::new(),
        phase: Phase::AfterBake,
        steps: Vec::new(),
        notes: note.into_iter().collect(),
    }
}

/// What protects an object from being pruned.
fn protection(live: &LiveObject) -> Option<&'static str> {
    let annotation = |name: &str| {
        live.value
            .pointer("/metadata/annotations")
            .and_then(|all| all.get(name))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    if annotation("driftless.dev/prune") == "false" {
        return Some("driftless.dev/prune: \"false\"");
    }
    if annotation("kustomize.toolkit.fluxcd.io/prune") == "disabled" {
        return Some("kustomize.toolkit.fluxcd.io/prune: disabled");
    }
    if annotation("helm.sh/resource-policy") == "keep" {
        return Some("helm.sh/resource-policy: keep");
    }
    let options = annotation("argocd.argoproj.io/sync-options");
    if options
        .split(',')
        .any(|option| ["Prune=false", "Delete=false"].contains(&option.trim()))
    {
        return Some("argocd.argoproj.io/sync-options: Prune=false");
    }
    None
}

fn delete(scene: &Scene<'_>, key: &ObjectKey, live: &LiveObject) -> Change {
    let mut change = later(scene, key, Action::Delete, None);
    change.steps = vec![
        Step::Object(Op::Delete {
            key: key.clone(),
            uid: live.uid.clone(),
        }),
        gone(key),
    ];
    change
}

/// What is done about objects that the app no longer declares. `declared` objects remain.
pub(crate) fn undeclared(scene: &Scene<'_>, declared: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    for (key, seen) in &scene.observed.others {
        let live = match seen {
            Seen::Live(live) => live,
            Seen::Unknown(why) => {
                changes.push(later(
                    scene,
                    key,
                    Action::Keep,
                    Some(format!("can't be read, so it is not deleted: {why}")),
                ));
                continue;
            }
            Seen::Absent | Seen::KindToCome | Seen::NoKind(_) => continue,
        };
        if live.belongs != Belongs::Ours {
            let note = match &live.belongs {
                Belongs::OtherApp(app) => format!("belongs to the app `{app}` now; left to it"),
                _ => "deleted and made again by somebody else; left alone".to_owned(),
            };
            changes.push(later(scene, key, Action::Keep, Some(note)));
            continue;
        }
        if scene.stance.claimed.contains_key(key) {
            let note = scene
                .stance
                .claimed
                .get(key)
                .map(|app| format!("handed over to the app `{app}`"));
            changes.push(later(scene, key, Action::Keep, note));
            continue;
        }
        let adopted = scene
            .inventory
            .objects
            .get(key)
            .is_some_and(|owned| owned.adopted);
        if scene.rolling_back() && adopted {
            let note = "was there before the release that took it over; left as it is".to_owned();
            changes.push(later(scene, key, Action::Keep, Some(note)));
            continue;
        }
        if live.deleting.is_some() {
            let mut change = later(scene, key, Action::Keep, Some("is being deleted".to_owned()));
            change.steps.push(gone(key));
            changes.push(change);
            continue;
        }
        if let Some(protection) = protection(live) {
            changes.push(later(
                scene,
                key,
                Action::Keep,
                Some(format!("kept: {protection}")),
            ));
            continue;
        }
        let data = DATA.contains(&&*key.kind);
        changes.push(match scene.stance.prune {
            Prune::All => delete(scene, key, live),
            Prune::Safe if !data => delete(scene, key, live),
            _ => later(scene, key, Action::Blocked(Blocked::Prune), None),
        });
    }
    let deletes = changes
        .iter()
        .filter(|change| change.action == Action::Delete)
        .count();
    let allowed = allowed(declared + deletes);
    if deletes > allowed && scene.stance.prune != Prune::All {
        for change in changes
            .iter_mut()
            .filter(|change| change.action == Action::Delete)
        {
            change.action = Action::Blocked(Blocked::DeleteBudget { deletes, allowed });
            change.steps.clear();
        }
    }
    // What others may need goes last: the reverse of the order in which it was made.
    changes.reverse();
    changes
}

/// Deletions of everything that is ours, for `down`.
pub(crate) fn everything(scene: &Scene<'_>) -> Vec<Change> {
    let wanted = scene
        .observed
        .wanted
        .iter()
        .map(|(key, wanted)| (key, &wanted.seen));
    let mut changes: Vec<Change> = wanted
        .chain(&scene.observed.others)
        .filter_map(|(key, seen)| match seen {
            Seen::Live(live) if live.belongs == Belongs::Ours => Some((key, live)),
            _ => None,
        })
        .map(|(key, live)| match protection(live) {
            Some(protection) => later(scene, key, Action::Keep, Some(format!("kept: {protection}"))),
            None if DATA.contains(&&*key.kind) => later(scene, key, Action::Blocked(Blocked::Prune), None),
            None => delete(scene, key, live),
        })
        .collect();
    for change in &mut changes {
        change.phase = Phase::Apply;
    }
    changes.reverse();
    changes
}
