//! What of the loop is particular to a cluster: looking, writing down, judging.
//!
//! In: a turn whose desired state is a bundle. Out: observations, facts for the inventory, what is watched. Guaranteed: an
//! object becomes ours only when an apply answered, or when its marks and the cluster's own inventory prove it; restart
//! counts are taken before anything is touched. Must not: decide what is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::apply::Applied;
use crate::clock::Timestamp;
use crate::gate::ApprovedPlan;
use crate::health::Verdict;
use crate::health::kubernetes::{Rules, StuckPod, failing_pod, restart_counts, stuck_pod};
use crate::history::AppState;
use crate::journal::Fact;
use crate::live::kubernetes::fields;
use crate::live::kubernetes::ownership::Leave;
use crate::live::kubernetes::world::{Ask, Belongs, Observed as Cluster, OwnedObject, Seen, Wanted};
use crate::live::world::{Engine, Inventory, Observed};
use crate::names::{Digest, ObjectKey, ServiceName};
use crate::plan::{Phase, Plan};
use crate::render::app::HealthRules;
use crate::render::{Bundle, Desired};
use crate::report::End;
use crate::settle::{self, Objects, Settled, Timers, Watched};

use super::look::{LookError, Way};
use super::stage::{Bench, Passed};
use super::stand::ServiceStand;
use super::world::{Turn, World};

/// Kinds that are what they are once they are there: nobody has to watch them.
const STILL: &[&str] = &[
    "Namespace",
    "ConfigMap",
    "Secret",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "NetworkPolicy",
    "LimitRange",
    "ResourceQuota",
    "PriorityClass",
    "StorageClass",
    "IngressClass",
    "RuntimeClass",
    "PodDisruptionBudget",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "Endpoints",
    "EndpointSlice",
];

/// Reads everything of an app on its cluster.
pub(super) async fn observe(
    turn: &Turn,
    world: &World,
    desired: &Desired,
    bundle: &Bundle,
    way: Way<'_>,
) -> Result<(Observed, Inventory), LookError> {
    let mut inventory = world.history.inventory(&turn.key)?;
    let leave = Leave {
        force: false,
        ignore: desired.rules.ignore.clone(),
    };
    let ask = Ask {
        instance: &world.instance,
        key: &turn.key,
        bundle,
        owned: &inventory.objects,
        back: match way {
            Way::On { left, .. } => left.and_then(|record| record.snapshot.bundle.as_ref()),
            Way::Back | Way::Nowhere => None,
        },
        leave: &leave,
        now: world.clock.now(),
    };
    let mut cluster = turn.target.cluster()?.observe(&ask).await?;
    match way {
        Way::Back | Way::On { failed: true, .. } => cluster.stuck = stuck(turn, &cluster, stuck_pod).await?,
        Way::On { failed: false, .. } => cluster.stuck = stuck(turn, &cluster, failing_pod).await?,
        Way::Nowhere => {}
    }
    if inventory.rebuilt {
        inventory.objects = rebuild(&cluster);
    }
    let observed = Observed {
        at: cluster.at,
        engine: Engine {
            id: cluster.cluster.id.clone(),
            version: cluster.cluster.version.clone(),
            api: (0, 0),
            platform: String::new(),
            local: false,
        },
        containers: Vec::new(),
        networks: BTreeMap::new(),
        volumes: BTreeMap::new(),
        images: BTreeMap::new(),
        holders: Vec::new(),
        cluster: Some(Arc::new(cluster)),
    };
    Ok((observed, inventory))
}

/// Pods that would keep a StatefulSet from going to another template.
async fn stuck(
    turn: &Turn,
    cluster: &Cluster,
    find: fn(&serde_json::Value, &[serde_json::Value]) -> Option<StuckPod>,
) -> Result<BTreeMap<ObjectKey, (String, String)>, LookError> {
    let sets: Vec<ObjectKey> = cluster
        .wanted
        .iter()
        .filter(|(key, wanted)| &*key.kind == "StatefulSet" && matches!(wanted.seen, Seen::Live(_)))
        .map(|(key, _)| key.clone())
        .collect();
    if sets.is_empty() {
        return Ok(BTreeMap::new());
    }
    let around = turn.target.cluster()?.surroundings(&sets).await?;
    Ok(around
        .objects
        .iter()
        .filter_map(|(key, set)| {
            let pod = find(set.as_ref()?, &around.pods)?;
            Some((key.clone(), (pod.name, pod.uid)))
        })
        .collect())
}

/// The inventory that marks and the cluster's own list prove, where the store has none.
fn rebuild(cluster: &Cluster) -> BTreeMap<ObjectKey, OwnedObject> {
    let wanted = cluster.wanted.iter().map(|(key, wanted)| (key, &wanted.seen));
    wanted
        .chain(&cluster.others)
        .filter_map(|(key, seen)| match seen {
            Seen::Live(live) if live.belongs == Belongs::Ours => Some((
                key.clone(),
                OwnedObject {
                    uid: live.uid.clone(),
                    // What was sent is not known any more: the next plan compares by a dry run.
                    sent: Digest::read_back("unknown"),
                    owned: live.owned.clone(),
                    api_version: live
                        .value
                        .get("apiVersion")
                        .and_then(|text| text.as_str())
                        .unwrap_or_default()
                        .to_owned(),
                    generation: live.generation,
                    done: false,
                    // Not known: the way back keeps what it may not have made.
                    adopted: true,
                },
            )),
            _ => None,
        })
        .collect()
}

/// What the inventory should say after a phase of a plan.
fn facts(
    plan: &Plan,
    cluster: &Cluster,
    before: &Inventory,
    applied: Option<&Applied>,
    done: &[ObjectKey],
) -> Vec<Fact> {
    let mut now: BTreeMap<ObjectKey, OwnedObject> = plan.known.clone();
    for (key, (sent, object)) in applied.iter().flat_map(|applied| &applied.made) {
        let Some(wanted) = cluster.wanted.get(key) else {
            continue;
        };
        let api_version = wanted
            .body
            .0
            .get("apiVersion")
            .and_then(|text| text.as_str())
            .unwrap_or_default()
            .to_owned();
        now.insert(
            key.clone(),
            OwnedObject {
                uid: object.uid.clone(),
                sent: sent.clone(),
                owned: object.owned.clone(),
                api_version,
                generation: object.generation,
                done: false,
                adopted: match before.objects.get(key) {
                    Some(known) => known.adopted && known.uid == object.uid,
                    None => matches!(&wanted.seen, Seen::Live(live) if live.uid == object.uid && live.belongs != Belongs::Ours),
                },
            },
        );
    }
    for key in done {
        if let Some(owned) = now.get_mut(key) {
            owned.done = true;
        }
    }
    let mut facts: Vec<Fact> = now
        .into_iter()
        .filter(|(key, object)| before.rebuilt || before.objects.get(key) != Some(object))
        .map(|(key, object)| Fact::OwnObject { key, object })
        .collect();
    let gone = applied.iter().flat_map(|applied| &applied.gone).filter(|key| {
        // One that was deleted to be made anew is there again.
        applied.is_none_or(|applied| !applied.made.contains_key(*key))
    });
    facts.extend(gone.map(|key| Fact::DisownObject { key: key.clone() }));
    let left = before
        .objects
        .keys()
        .filter(|key| match cluster.others.get(*key) {
            Some(Seen::Absent) => true,
            Some(Seen::Live(live)) => live.belongs != Belongs::Ours,
            _ => false,
        });
    facts.extend(left.map(|key| Fact::DisownObject { key: key.clone() }));
    facts
}

impl Bench<'_> {
    /// Writes down what is ours after a phase of a plan; nothing where nothing is new.
    pub(super) fn write_down_objects(
        &self,
        plan: &Plan,
        cluster: &Cluster,
        before: &Inventory,
        applied: Option<&Applied>,
        done: &[ObjectKey],
    ) -> Result<(), Box<End>> {
        for fact in facts(plan, cluster, before, applied, done) {
            self.world
                .history
                .note(&self.turn.key, fact)
                .map_err(|error| Box::new(self.store_failed(&error, "E0640", true)))?;
        }
        Ok(())
    }

    /// Takes out of the inventory what is gone now.
    pub(super) fn write_down_gone(
        &self,
        cluster: &Cluster,
        inventory: &Inventory,
        applied: &Applied,
    ) -> Result<(), Box<End>> {
        let gone = applied
            .gone
            .iter()
            .filter(|key| inventory.objects.contains_key(*key) && !cluster.wanted.contains_key(*key));
        for key in gone {
            self.world
                .history
                .note(&self.turn.key, Fact::DisownObject { key: key.clone() })
                .map_err(|error| Box::new(self.store_failed(&error, "E0640", true)))?;
        }
        Ok(())
    }

    /// Applies a plan to a cluster, writes down what it made, and waits for the verdict.
    pub(super) async fn pass_objects(
        &self,
        approved: &ApprovedPlan,
        desired: &Desired,
        cluster: &Cluster,
        before: &Inventory,
        state: &mut AppState,
    ) -> (Passed, usize) {
        let plan = approved.plan();
        let mut watched = watched(desired, cluster, before, state, Some(plan));
        // What is not there yet has no pods and was not broken: a first apply asks nothing here.
        let new = |one: &Watched| {
            let wanted = cluster.wanted.get(&one.key);
            wanted.is_some_and(|wanted| matches!(wanted.seen, Seen::Absent | Seen::KindToCome))
        };
        if !watched.iter().all(new)
            && let Err(end) = self.before(plan, desired, &mut watched, state).await
        {
            return (Passed::Ended(end), 0);
        }
        let applied = crate::apply::apply(approved, Phase::Apply, self.hands(desired)).await;
        let calls = applied.calls();
        if let Err(end) = self.write_down_objects(plan, cluster, before, Some(&applied), &[]) {
            return (Passed::Ended(end), calls);
        }
        if let Some((resource, stood)) = applied.cancelled() {
            let end = self.interrupted(&format!("{resource}, before: {stood}"));
            return (Passed::Ended(Box::new(end)), calls);
        }
        for one in &mut watched {
            if let Some((_, object)) = applied.made.get(&one.key) {
                one.generation = object.generation;
            }
        }
        if let Some((resource, failure)) = applied.failure() {
            let passed = self
                .broke_objects((resource, failure), desired, &applied, &watched, state)
                .await;
            return (passed, calls);
        }
        let now = self.world.clock.now();
        let timers = state
            .timers
            .as_ref()
            .map_or_else(|| Timers::start(now), |timers| timers.resume(now));
        let (settled, done) = self
            .settle_objects(watched, &desired.rules.health, timers, state)
            .await;
        if matches!(settled.end, settle::End::Healthy) {
            let now = match self.world.history.inventory(&self.turn.key) {
                Ok(inventory) => inventory,
                Err(error) => {
                    return (
                        Passed::Ended(Box::new(self.store_failed(&error, "E0640", true))),
                        calls,
                    );
                }
            };
            for key in done {
                let Some(mut object) = now.objects.get(&key).cloned().filter(|object| !object.done) else {
                    continue;
                };
                object.done = true;
                if let Err(error) = self
                    .world
                    .history
                    .note(&self.turn.key, Fact::OwnObject { key, object })
                {
                    return (
                        Passed::Ended(Box::new(self.store_failed(&error, "E0640", true))),
                        calls,
                    );
                }
            }
        }
        (Passed::Settled(settled), calls)
    }

    /// Restart counts, and what was broken already, before anything is touched. A run that goes on from an earlier one
    /// keeps what that one read.
    async fn before(
        &self,
        plan: &Plan,
        desired: &Desired,
        watched: &mut [Watched],
        state: &mut AppState,
    ) -> Result<(), Box<End>> {
        if state.timers.is_some() {
            return Ok(());
        }
        let keys: Vec<ObjectKey> = watched.iter().map(|one| one.key.clone()).collect();
        let around = match self.turn.target.cluster() {
            Ok(cluster) => cluster.surroundings(&keys).await,
            Err(error) => Err(error),
        };
        let around = around.map_err(|error| Box::new(self.observe_failed(&error, false)))?;
        let counts = restart_counts(&around.pods);
        state.restarts_before = counts.clone();
        let now = self.world.clock.now();
        let rules = Rules::of(&desired.rules.health);
        for one in watched.iter_mut() {
            one.restarts.clone_from(&counts);
            let touched = plan
                .changes
                .iter()
                .any(|change| change.acts() && change.key.name.as_ref() == one.name.as_str());
            let judged = settle::judge_object(one, &around, &rules, now);
            one.broken_before =
                !touched && matches!(judged.verdict, Verdict::Failed(_) | Verdict::Failing(_));
        }
        Ok(())
    }

    async fn settle_objects(
        &self,
        watched: Vec<Watched>,
        rules: &HealthRules,
        timers: Timers,
        state: &AppState,
    ) -> (Settled, Vec<ObjectKey>) {
        let save = |timers: &Timers| self.save_timers(state, timers);
        let jobs: Vec<(ObjectKey, ServiceName)> = watched
            .iter()
            .filter(|one| &*one.key.kind == "Job")
            .map(|one| (one.key.clone(), one.name.clone()))
            .collect();
        let health = Rules::of(rules);
        let mut objects = Objects::new(watched, &health, self.eyes(&save));
        let settled = {
            let watch = settle::settle_objects(&mut objects, rules, timers, self.eyes(&save));
            self.bounded(watch).await
        };
        let done = jobs
            .into_iter()
            .filter(|(_, name)| {
                objects
                    .judged()
                    .get(name)
                    .is_some_and(|judged| judged.verdict == Verdict::Healthy)
            })
            .map(|(key, _)| key)
            .collect();
        (settled, done)
    }

    /// What a failed step says about the release: with the object's own evidence where there is some.
    async fn broke_objects(
        &self,
        (resource, failure): (&crate::names::ResourceKey, &crate::apply::StepFailure),
        desired: &Desired,
        applied: &Applied,
        watched: &[Watched],
        state: &AppState,
    ) -> Passed {
        let touched = applied.calls() > 0 || !applied.made.is_empty();
        let passed = self.broke(resource, failure, touched).await;
        let Passed::Broke(evidence) = passed else {
            return passed;
        };
        let Some(one) = watched.iter().find(|one| one.name.as_str() == &*resource.name) else {
            return Passed::Broke(evidence);
        };
        let save = |timers: &Timers| self.save_timers(state, timers);
        let health = Rules::of(&desired.rules.health);
        let mut objects = Objects::new(vec![one.clone()], &health, self.eyes(&save));
        let gathered = match evidence.first() {
            Some(first) => objects.gather(&first.cause).await,
            None => None,
        };
        Passed::Broke(gathered.map_or(evidence, |gathered| vec![gathered]))
    }
}

/// How the objects of an app do now.
pub(super) async fn standing(
    turn: &Turn,
    desired: &Desired,
    cluster: &Cluster,
    inventory: &Inventory,
    state: &AppState,
    now: Timestamp,
) -> Result<BTreeMap<ServiceName, ServiceStand>, LookError> {
    let watched = watched(desired, cluster, inventory, state, None);
    let keys: Vec<ObjectKey> = watched.iter().map(|one| one.key.clone()).collect();
    let around = turn.target.cluster()?.surroundings(&keys).await?;
    let rules = Rules::of(&desired.rules.health);
    Ok(watched
        .into_iter()
        .map(|one| {
            let judged = settle::judge_object(&one, &around, &rules, now);
            let stand = ServiceStand {
                verdict: judged.verdict,
                ready: judged.healthy as usize,
                of: judged.of as usize,
                containers: judged.culprit.map(|culprit| culprit.pod).into_iter().collect(),
            };
            (one.name, stand)
        })
        .collect())
}

/// What is judged: every object whose state says something, by the name that people know. `plan` is what is about to be done.
pub(super) fn watched(
    desired: &Desired,
    cluster: &Cluster,
    inventory: &Inventory,
    state: &AppState,
    plan: Option<&Plan>,
) -> Vec<Watched> {
    let runs = |key: &ObjectKey, wanted: &Wanted| {
        let hook = desired
            .bundle
            .as_ref()
            .and_then(|bundle| crate::plan::manifest(bundle, key))
            .is_some_and(|manifest| manifest.hook.is_some());
        // Hooks were waited for inside apply; afterwards they may be gone.
        !hook && !STILL.contains(&&*key.kind) && !matches!(wanted.seen, Seen::NoKind(_))
    };
    cluster
        .wanted
        .iter()
        .filter(|(key, wanted)| runs(key, wanted))
        .filter(|(key, wanted)| {
            // A job that is done and gone stays done. One that ran for another release, and is not run now, says nothing
            // about this one.
            let Some(owned) = inventory.objects.get(*key).filter(|_| &*key.kind == "Job") else {
                return true;
            };
            if owned.sent != fields::digest(&wanted.body.0) {
                return inventory.rebuilt || plan.is_some_and(|plan| acts_on(plan, cluster, key));
            }
            !(owned.done && matches!(wanted.seen, Seen::Absent))
        })
        .map(|(key, wanted)| Watched {
            name: ServiceName::of_object(key, &cluster.namespace),
            generation: inventory.objects.get(key).and_then(|owned| owned.generation),
            restarts: state.restarts_before.clone(),
            broken_before: false,
            wanted: wanted.body.0.clone(),
            key: key.clone(),
        })
        .collect()
}

fn acts_on(plan: &Plan, cluster: &Cluster, key: &ObjectKey) -> bool {
    let name = ServiceName::of_object(key, &cluster.namespace);
    plan.changes
        .iter()
        .any(|change| change.acts() && &*change.key.name == name.as_str())
}
