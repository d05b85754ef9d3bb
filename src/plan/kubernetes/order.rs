//! What comes before what: hooks, waves, and kinds that others need.
//!
//! In: changes with their stages. Out: changes in order, each with what it needs. Guaranteed: inside a stage everything is
//! done at once; a stage starts when the one before it is done, and ready where readiness is what the next one needs.
//! Must not: drop a change.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::names::{ObjectKey, ResourceKey};
use crate::render::bundle::Hook;

use super::{READY, Scene};
use crate::plan::{Await, Change, Condition, Step};

/// A stage: hook, wave, rank of the kind. Smaller is earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stage {
    moment: i8,
    wave: i32,
    rank: u8,
}

/// Whether a hook is part of this run.
pub(crate) fn runs(hook: Option<Hook>, rolling_back: bool) -> bool {
    match hook {
        None => true,
        // Hooks of a release are not run on the way back: they belong to the way there.
        Some(Hook::Pre | Hook::Post) => !rolling_back,
        Some(Hook::Rollback) => rolling_back,
    }
}

/// Kinds that others need, in the order in which they are made (kubernetes design, "Order").
fn rank(key: &ObjectKey) -> u8 {
    match (&*key.group, &*key.kind) {
        ("", "Namespace") => 0,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => 1,
        ("rbac.authorization.k8s.io", "ClusterRole") => 2,
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => 3,
        (_, "PriorityClass" | "StorageClass" | "IngressClass" | "RuntimeClass" | "GatewayClass") => 3,
        ("", "ResourceQuota" | "LimitRange" | "ServiceAccount") => 4,
        ("rbac.authorization.k8s.io", _) => 5,
        ("", "ConfigMap" | "Secret" | "PersistentVolume" | "PersistentVolumeClaim") => 6,
        ("", "Service") => 7,
        (_, "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" | "APIService") => 9,
        _ => 8,
    }
}

pub(crate) fn stage(scene: &Scene<'_>, key: &ObjectKey) -> Stage {
    let manifest = scene.manifest(key);
    let moment = match manifest.and_then(|manifest| manifest.hook) {
        Some(Hook::Pre | Hook::Rollback) => -1,
        None => 0,
        Some(Hook::Post) => 1,
    };
    Stage {
        moment,
        wave: manifest.map_or(0, |manifest| manifest.wave),
        rank: rank(key),
    }
}

/// Puts changes in order and says what each one needs.
pub(crate) fn ordered(scene: &Scene<'_>, mut staged: Vec<(Stage, Change)>) -> Vec<Change> {
    staged.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.key.cmp(&b.1.key)));
    let mut stages: BTreeMap<Stage, Vec<Change>> = BTreeMap::new();
    for (stage, change) in staged {
        stages.entry(stage).or_default().push(change);
    }
    let all: Vec<Stage> = stages.keys().copied().collect();
    let mut before: Vec<ResourceKey> = Vec::new();
    let mut ordered = Vec::new();
    for (at, (stage, changes)) in stages.into_iter().enumerate() {
        // Readiness counts between moments and waves; between kinds it is enough that the object is there, but for
        // definitions, whose kind must be served.
        let last_of_wave = all
            .get(at + 1)
            .is_some_and(|next| (next.moment, next.wave) != (stage.moment, stage.wave));
        let waits = stage.rank == 1 || last_of_wave || stage.moment != 0;
        let mut now = Vec::new();
        for mut change in changes {
            if change.acts() {
                change.needs.clone_from(&before);
                now.push(change.key.clone());
                if waits && let Some(key) = applied(&change) {
                    change.steps.push(Step::Await(Await {
                        condition: Condition::ObjectReady { key },
                        patience: ready_within(scene),
                    }));
                }
            }
            ordered.push(change);
        }
        if !now.is_empty() {
            // A wave is over when all of it is ready, not only its last kinds.
            if last_of_wave {
                wait_for_all(scene, &mut ordered, stage);
            }
            before = now;
        }
    }
    ordered
}

/// Gives every acting change of a wave its wait.
fn wait_for_all(scene: &Scene<'_>, changes: &mut [Change], stage: Stage) {
    for change in changes.iter_mut().filter(|change| change.acts()) {
        let Some(key) = applied(change) else { continue };
        let own = self::stage(scene, &key);
        let waits = change.steps.iter().any(|step| {
            matches!(
                step,
                Step::Await(Await {
                    condition: Condition::ObjectReady { .. },
                    ..
                })
            )
        });
        if (own.moment, own.wave) == (stage.moment, stage.wave) && !waits {
            // The wait of an earlier kind must not hold up the later kinds that it may need: it is the last kinds' wait that
            // ends the wave. Workloads are last, so only they are waited for here.
            if own.rank >= 8 {
                change.steps.push(Step::Await(Await {
                    condition: Condition::ObjectReady { key },
                    patience: ready_within(scene),
                }));
            }
        }
    }
}

/// How long an object may take to become ready before the next stage.
fn ready_within(scene: &Scene<'_>) -> Duration {
    let health = &scene.desired.rules.health;
    health
        .timeout
        .unwrap_or_else(|| READY.max(health.longest_patience()))
}

/// The object that a change applies.
pub(crate) fn applied(change: &Change) -> Option<ObjectKey> {
    change.steps.iter().find_map(|step| match step {
        Step::Object(crate::live::kubernetes::op::Op::Apply { key, .. }) => Some(key.clone()),
        _ => None,
    })
}
