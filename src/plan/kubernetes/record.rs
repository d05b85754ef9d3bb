//! The inventory object in the cluster: written before anything is made, and again when something was deleted.
//!
//! In: the changes of an app. Out: the same with the writes around them. Guaranteed: an object that this run makes is
//! listed before it exists, so a lost store can always be rebuilt. Must not: list what is not ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::live::kubernetes::op::Op;
use crate::live::kubernetes::world::{Belongs, Body, Seen};
use crate::live::kubernetes::{inventory_name, inventory_object};
use crate::names::{Kind, ObjectKey, ResourceKey};
use crate::plan::{Action, Cause, Change, Phase, Step};

use super::Scene;
use super::order::applied;

fn record(scene: &Scene<'_>, phase: Phase, step: Step) -> Change {
    Change {
        key: ResourceKey::new(
            Kind::Object,
            format!("ConfigMap/{}", inventory_name(&scene.desired.key.app)),
        ),
        action: Action::Record,
        cause: Cause::Unchanged,
        fields: Vec::new(),
        needs: Vec::new(),
        phase,
        steps: vec![step],
        notes: Vec::new(),
    }
}

fn put(scene: &Scene<'_>, objects: &BTreeMap<ObjectKey, String>) -> Step {
    let name = inventory_name(&scene.desired.key.app);
    let namespace = &scene.observed.namespace;
    Step::Object(Op::PutInventory {
        namespace: namespace.clone(),
        name,
        body: Arc::new(Body(inventory_object(
            namespace,
            scene.stance.instance,
            &scene.desired.key.app,
            objects,
        ))),
    })
}

fn uid(seen: &Seen) -> String {
    match seen {
        Seen::Live(live) => live.uid.clone(),
        _ => String::new(),
    }
}

/// Puts the writes of the inventory around the changes.
pub(crate) fn around(scene: &Scene<'_>, changes: &mut Vec<Change>) {
    let acts = changes.iter().any(Change::acts);
    if !acts {
        return;
    }
    let wanted: BTreeMap<ObjectKey, String> = scene
        .observed
        .wanted
        .iter()
        .map(|(key, wanted)| (key.clone(), uid(&wanted.seen)))
        .collect();
    let others = scene.observed.others.iter().filter_map(|(key, seen)| match seen {
        Seen::Live(live) if live.belongs == Belongs::Ours => Some((key.clone(), live.uid.clone())),
        Seen::Unknown(_) => Some((key.clone(), String::new())),
        _ => None,
    });
    let mut all = wanted.clone();
    all.extend(others);
    if scene
        .observed
        .inventory
        .as_ref()
        .is_none_or(|known| known.keys().ne(all.keys()))
    {
        let namespace = ObjectKey::new("", "Namespace", None, &scene.observed.namespace);
        let comes_with = changes
            .iter()
            .position(|change| applied(change).as_ref() == Some(&namespace));
        let mut first = record(scene, Phase::Apply, put(scene, &all));
        let key = first.key.clone();
        // It lies in the app's namespace, so it comes right after that, and before everything else.
        let at = match comes_with {
            Some(at) => {
                first.needs = changes
                    .get(at)
                    .map(|change| change.key.clone())
                    .into_iter()
                    .collect();
                at + 1
            }
            None => 0,
        };
        for (index, change) in changes.iter_mut().enumerate() {
            let waits = change.phase == Phase::Apply && change.acts() && Some(index) != comes_with;
            if waits {
                change.needs.push(key.clone());
            }
        }
        changes.insert(at, first);
    }
    let deleted: Vec<ResourceKey> = changes
        .iter()
        .filter(|change| change.phase == Phase::AfterBake && change.acts())
        .map(|change| change.key.clone())
        .collect();
    if !deleted.is_empty() {
        let mut left = all;
        left.retain(|key, _| !deleted.contains(&scene.resource(key)));
        let mut last = record(scene, Phase::AfterBake, put(scene, &left));
        last.needs = deleted;
        changes.push(last);
    }
}

/// Removes the inventory object after everything else is gone.
pub(crate) fn removed(scene: &Scene<'_>, changes: &mut Vec<Change>) {
    let blocked = changes
        .iter()
        .any(|change| matches!(change.action, Action::Blocked(_) | Action::Keep));
    if blocked || scene.observed.inventory.is_none() {
        return;
    }
    let step = Step::Object(Op::RemoveInventory {
        namespace: scene.observed.namespace.clone(),
        name: inventory_name(&scene.desired.key.app),
    });
    let mut last = record(scene, Phase::Apply, step);
    last.needs = changes
        .iter()
        .filter(|change| change.acts())
        .map(|change| change.key.clone())
        .collect();
    changes.push(last);
}
