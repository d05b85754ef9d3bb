//! Where an app stands, by one look: how far live state is from what should run now, and how well that runs.
//!
//! In: a [`Turn`] and its [`Look`]. Out: a [`Stand`]. Guaranteed: nothing is changed; what is compared with is the effective
//! release (decision 17), so a hold is no drift; a service whose containers are not all there is never called healthy. Must
//! not: decide what is done about it.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::health::{Cause as HealthCause, CauseKind, Verdict};
use crate::history::{AppState, Phase};
use crate::live::world::{Container, Inventory, Observed};
use crate::names::{Kind, ServiceName};
use crate::plan::{Action, Blocked, Cause, Change, FieldDiff, Moved, Plan};
use crate::release::Record;
use crate::render::Desired;
use crate::settle;

use super::look::{Look, LookError, desired_of, look_at_release};
use super::objects;
use super::sightings::{self, Sightings};
use super::stage::{serving, subjects};
use super::world::{Turn, World};

/// Where an app stands.
pub struct Stand {
    /// What live state was compared with.
    pub desired: Desired,
    pub observed: Observed,
    /// What was changed outside Git, with only the fields that live state moved.
    pub drift: Vec<Change>,
    pub services: BTreeMap<ServiceName, ServiceStand>,
}

/// How one service does.
#[derive(Debug, Clone)]
pub struct ServiceStand {
    pub verdict: Verdict,
    /// Containers that run, or have done their job.
    pub ready: usize,
    pub of: usize,
    /// Names of its containers.
    pub containers: Vec<String>,
}

impl Stand {
    /// The worst verdict, with its service.
    pub fn worst(&self) -> Option<(&ServiceName, &Verdict)> {
        self.services
            .iter()
            .map(|(name, service)| (name, &service.verdict))
            .max_by_key(|(_, verdict)| verdict.rank())
    }

    /// Since when a drifted thing is as it is, where the platform tells: the end of a container that was stopped, the time of
    /// a field's last author.
    pub fn since(&self, change: &Change, field: &FieldDiff) -> Option<Timestamp> {
        if let Some(at) = field.by.as_ref().and_then(|by| by.at) {
            return Some(at);
        }
        if change.key.kind != Kind::Service || field.field != "state" {
            return None;
        }
        self.observed
            .containers
            .iter()
            .filter(|container| container.service == *change.key.name && !container.running())
            .filter_map(|container| container.finished_at)
            .max()
    }

    /// Since when each drifted thing is as it is, as far as it is known: as the engine tells, else when it was first seen.
    pub fn drift_since(&self, state: &AppState) -> Sightings {
        let mut all: Sightings = sightings::names(&self.drift)
            .into_iter()
            .filter_map(|name| state.drift.get(&name).map(|since| (name, *since)))
            .collect();
        for change in &self.drift {
            for field in &change.fields {
                if let Some(since) = self.since(change, field) {
                    all.insert(sightings::name(change, &field.field), since);
                }
            }
        }
        all
    }
}

/// Compares live state with what should run now.
pub async fn stand(turn: &Turn, world: &World, look: &Look) -> Result<Stand, LookError> {
    let base = base(turn, world, look)?;
    let (desired, plan, observed, inventory) = match base {
        Some(record) => {
            let (plan, observed, inventory) = look_at_release(turn, world, &record, None).await?;
            (desired_of(&record), plan, observed, inventory)
        }
        None => (
            turn.desired.as_ref().clone(),
            look.git.clone(),
            look.observed.clone(),
            look.inventory.clone(),
        ),
    };
    let settled = look.state.effective.is_some() || look.state.candidate.is_some();
    let drift = if settled {
        drift(&plan, look.state.phase == Phase::Frozen)
    } else {
        Vec::new()
    };
    let now = world.clock.now();
    let services = match &observed.cluster {
        Some(cluster) => objects::standing(turn, &desired, cluster, &inventory, &look.state, now).await?,
        None => services(&desired, &plan, &observed, &inventory, look, now),
    };
    Ok(Stand {
        desired,
        observed,
        drift,
        services,
    })
}

/// The stored release that live state is compared with, where it is not what Git wants anyway. While frozen, that is the
/// release that was left standing.
fn base(turn: &Turn, world: &World, look: &Look) -> Result<Option<Record>, LookError> {
    if look.state.phase == Phase::Frozen {
        return match look.state.candidate {
            Some(number) => Ok(world.history.release(&turn.key, number).unwrap_or_default()),
            None => Ok(None),
        };
    }
    Ok(look
        .effective
        .as_ref()
        .filter(|record| record.digest != look.git.release)
        .cloned())
}

/// Changes of a plan towards what should run now that somebody outside Git is the cause of.
pub(super) fn drift(plan: &Plan, frozen: bool) -> Vec<Change> {
    plan.changes
        .iter()
        .filter(|change| {
            !matches!(
                change.action,
                Action::Keep
                    | Action::Adopt
                    | Action::Tidy
                    | Action::Blocked(Blocked::NotAdopted | Blocked::OtherInstance(_) | Blocked::OtherApp(_))
            )
        })
        .filter_map(|change| {
            // What a failed release did by itself is no drift: its containers may have ended.
            let fields: Vec<FieldDiff> = change
                .fields
                .iter()
                .filter(|field| field.moved == Moved::Live && !(frozen && field.field == "state"))
                .cloned()
                .collect();
            let caused = change.cause == Cause::Drifted && !frozen;
            (caused || !fields.is_empty()).then(|| Change {
                fields,
                ..change.clone()
            })
        })
        .collect()
}

fn services(
    desired: &Desired,
    plan: &Plan,
    observed: &Observed,
    inventory: &Inventory,
    look: &Look,
    now: Timestamp,
) -> BTreeMap<ServiceName, ServiceStand> {
    let subjects = subjects(desired, plan, observed, observed, &look.state, now);
    let verdicts = settle::verdicts(&subjects, &observed.containers, now);
    let one_shot: BTreeSet<&ServiceName> = subjects
        .iter()
        .filter(|subject| subject.job)
        .map(|subject| &subject.service)
        .collect();
    verdicts
        .into_iter()
        .map(|(name, verdict)| {
            let containers: Vec<&Container> = serving(observed, &name).collect();
            let job = one_shot.contains(&name);
            let of = desired
                .project
                .services
                .get(&name)
                .map_or(1, |service| service.replicas as usize);
            let done = job && inventory.jobs.contains_key(&name);
            let ready = if done {
                of
            } else {
                containers
                    .iter()
                    .filter(|one| one.running() || job && one.exit_code == Some(0))
                    .count()
            };
            let verdict = match verdict {
                Verdict::Healthy if done => Verdict::Healthy,
                Verdict::Healthy if containers.is_empty() => Verdict::Missing,
                Verdict::Healthy if containers.len() < of => Verdict::Failing(HealthCause::new(
                    CauseKind::NotStarted,
                    format!("{} of {of} containers are there", containers.len()),
                )),
                other => other,
            };
            let containers = containers
                .iter()
                .map(|container| container.name.clone())
                .collect();
            (
                name,
                ServiceStand {
                    verdict,
                    ready,
                    of,
                    containers,
                },
            )
        })
        .collect()
}
