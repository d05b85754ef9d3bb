//! One look at an app: live state, what we own, where we stand, and the plan from here to there.
//!
//! In: a [`Turn`]. Out: a [`Look`]. Guaranteed: nothing is changed, live or in the store; a part that can't be read is an
//! error, never an empty part. `plan`, `diff`, `drift`, `status` and the loop all use this one look, so they can't disagree.
//! Must not: decide what is done about it.

use std::collections::BTreeMap;

use crate::history::{AppState, Hold, Phase, StoreError};
use crate::live::LiveError;
use crate::live::world::{Ask, ImageAsk, Inventory, Lookup, Observed};
use crate::names::{Digest, ServiceName};
use crate::plan::{Plan, Stance, plan};
use crate::release::{Pinned, Record};
use crate::render::Desired;
use crate::render::app::Prune;
use crate::render::model::{PullPolicy, Service};
use crate::secret::Mask;

use super::inventory;
use super::moves::{Moves, moves};
use super::world::{Turn, World};

/// What one look shows.
pub struct Look {
    pub observed: Observed,
    pub inventory: Inventory,
    pub state: AppState,
    /// E: what the machine last settled on.
    pub effective: Option<Record>,
    /// The hold on what Git wants, if there is one and no `retry` lifted it for once.
    pub hold: Option<Hold>,
    /// From live state to what Git wants.
    pub git: Plan,
}

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    #[error("{0}")]
    Live(Box<LiveError>),
    #[error("{0}")]
    Store(Box<StoreError>),
}

impl From<LiveError> for LookError {
    fn from(error: LiveError) -> Self {
        LookError::Live(Box::new(error))
    }
}

impl From<StoreError> for LookError {
    fn from(error: StoreError) -> Self {
        LookError::Store(Box::new(error))
    }
}

/// Looks at what Git wants of an app.
pub async fn look(turn: &Turn, world: &World) -> Result<Look, LookError> {
    let state = world.history.state(&turn.key)?;
    let effective = effective(turn, world, &state);
    let pinned = pins(&turn.desired, effective.as_ref());
    let way = match &effective {
        Some(record) if record.content == turn.desired.content => Way::Nowhere,
        other => Way::On {
            left: other.as_ref(),
            failed: state.phase == Phase::Frozen,
        },
    };
    let (observed, inventory) = observe(turn, world, &turn.desired, &pinned, way).await?;
    let git = plan_for(
        turn,
        world,
        &turn.desired,
        &pinned,
        (&observed, &inventory),
        effective.as_ref(),
        None,
    )?;
    let hold = world.history.held(&turn.key, &git.release)?;
    let hold = hold.filter(|hold| state.retry_once.as_ref() != Some(&hold.digest));
    Ok(Look {
        observed,
        inventory,
        state,
        effective,
        hold,
        git,
    })
}

/// Looks at a stored release of an app: what is between live state and it.
pub async fn look_at_release(
    turn: &Turn,
    world: &World,
    record: &Record,
    roll_back_from: Option<&Digest>,
) -> Result<(Plan, Observed, Inventory), LookError> {
    let state = world.history.state(&turn.key)?;
    let effective = effective(turn, world, &state);
    let desired = desired_of(record);
    let way = match roll_back_from {
        Some(_) => Way::Back,
        None => Way::Nowhere,
    };
    let (observed, inventory) = observe(turn, world, &desired, &record.images, way).await?;
    let plan = plan_for(
        turn,
        world,
        &desired,
        &record.images,
        (&observed, &inventory),
        // In a rollback the fields are shown against what is being left; while healing, against the release itself.
        if roll_back_from.is_some() {
            effective.as_ref()
        } else {
            Some(record)
        },
        roll_back_from,
    )?;
    Ok((plan, observed, inventory))
}

/// The release that the machine last settled on. A record that can't be unsealed is as good as none for comparing: the plan
/// then compares with live state alone.
fn effective(turn: &Turn, world: &World, state: &AppState) -> Option<Record> {
    let number = state.effective?;
    match world.history.release(&turn.key, number) {
        Ok(record) => record,
        Err(error) => {
            tracing::warn!(app = %turn.key.app, "release {number} can't be read: {error}");
            None
        }
    }
}

/// Which way an app goes.
#[derive(Clone, Copy)]
pub(super) enum Way<'a> {
    /// On to what Git wants, from the release that is left by it, if there is one; `failed`: what is there now is one that
    /// failed and was left as it is.
    On { left: Option<&'a Record>, failed: bool },
    /// Nowhere: what is there is what is wanted.
    Nowhere,
    /// Back to a stored release, after a failure.
    Back,
}

async fn observe(
    turn: &Turn,
    world: &World,
    desired: &Desired,
    pinned: &BTreeMap<ServiceName, Pinned>,
    way: Way<'_>,
) -> Result<(Observed, Inventory), LookError> {
    if let Some(bundle) = &desired.bundle {
        return super::objects::observe(turn, world, desired, bundle, way).await;
    }
    let ask = Ask {
        instance: world.instance.clone(),
        key: turn.key.clone(),
        project: desired.project.name.clone(),
        images: images(&desired.project.services, pinned),
    };
    let observed = turn.target.engine()?.observe(&ask).await?;
    let mut inventory = world.history.inventory(&turn.key)?;
    if inventory.rebuilt {
        inventory = inventory::rebuild(&observed, &turn.desired.revision);
    }
    Ok((observed, inventory))
}

fn images(
    services: &BTreeMap<ServiceName, Service>,
    pinned: &BTreeMap<ServiceName, Pinned>,
) -> BTreeMap<String, ImageAsk> {
    let mut asks = BTreeMap::new();
    for (name, service) in services {
        if let Some(pin) = pinned.get(name) {
            for reference in [&pin.id, &pin.repo_digest].into_iter().flatten() {
                asks.entry(reference.clone()).or_insert(ImageAsk {
                    platform: service.platform.clone(),
                    registry: Lookup::Never,
                });
            }
            continue;
        }
        let registry = match service.pull_policy {
            PullPolicy::Missing => Lookup::WhenAbsent,
            PullPolicy::Always | PullPolicy::Every(_) => Lookup::Always,
            PullPolicy::Never => Lookup::Never,
        };
        asks.insert(
            service.image.value.clone(),
            ImageAsk {
                platform: service.platform.clone(),
                registry,
            },
        );
    }
    asks
}

/// Images are re-resolved only when the app's content changes (decision 1): while it is the effective release's, its images
/// are what they were. `pull_policy: always` asks for more.
fn pins(desired: &Desired, effective: Option<&Record>) -> BTreeMap<ServiceName, Pinned> {
    let Some(record) = effective.filter(|record| record.content == desired.content) else {
        return BTreeMap::new();
    };
    record
        .images
        .iter()
        .filter(|(name, _)| {
            desired
                .project
                .services
                .get(*name)
                .is_some_and(|service| matches!(service.pull_policy, PullPolicy::Missing | PullPolicy::Never))
        })
        .map(|(name, pin)| (name.clone(), pin.clone()))
        .collect()
}

fn plan_for(
    turn: &Turn,
    world: &World,
    desired: &Desired,
    pinned: &BTreeMap<ServiceName, Pinned>,
    (observed, inventory): (&Observed, &Inventory),
    effective: Option<&Record>,
    roll_back_from: Option<&Digest>,
) -> Result<Plan, StoreError> {
    let moves = match &desired.bundle {
        // A stored release takes nothing from another app; what others declare now is left to them all the same.
        Some(_) => moves(
            world.history.as_ref(),
            &turn.key,
            desired,
            inventory,
            &turn.neighbours,
        )?,
        None => Moves::default(),
    };
    let files = world.files(&turn.key).to_string_lossy().into_owned();
    let data = world.data(&turn.key, &desired.rules);
    let stance = Stance {
        instance: &world.instance,
        effective,
        roll_back_from,
        prune: turn.options.prune.unwrap_or(if roll_back_from.is_some() {
            Prune::Safe
        } else {
            desired.rules.prune
        }),
        adopt: turn.options.adopt,
        takeover: turn.options.takeover,
        delete_volumes: &turn.options.delete_volumes,
        files_dir: &files,
        data_dir: &data,
        handed_over: &moves.handed_over,
        claimed: &moves.claimed,
        pinned,
    };
    let mask = desired.mask.union(&effective.map(mask_of).unwrap_or_default());
    Ok(masked(plan(desired, observed, inventory, &stance), &mask))
}

/// The plan without secret values in what people read: a value keeps its origin only where the model has a text for it, and
/// a device or a mount that a variable names is a plain path. What is executed is not touched.
fn masked(mut plan: Plan, mask: &Mask) -> Plan {
    for change in &mut plan.changes {
        let texts = change
            .fields
            .iter_mut()
            .flat_map(|field| [&mut field.from, &mut field.to]);
        for text in texts.flatten().filter(|text| !text.secret) {
            text.value = mask.clean(&text.value);
        }
        for note in &mut change.notes {
            *note = mask.clean(note);
        }
    }
    for problem in &mut plan.problems {
        problem.message = mask.clean(&problem.message);
        problem.help = problem.help.as_deref().map(|help| mask.clean(help));
    }
    for warning in &mut plan.warnings {
        *warning = mask.clean(warning);
    }
    plan
}

/// The desired state that a stored release is. It is never rendered again.
pub fn desired_of(record: &Record) -> Desired {
    Desired {
        key: record.key.clone(),
        revision: record.revision.clone(),
        project: record.snapshot.project.clone(),
        bundle: record.snapshot.bundle.clone(),
        rules: record.snapshot.rules.clone(),
        content: record.content.clone(),
        places: record.snapshot.places.clone(),
        mask: mask_of(record),
        warnings: Vec::new(),
    }
}

/// The mask of a stored release.
pub fn mask_of(record: &Record) -> Mask {
    Mask::new(
        record
            .snapshot
            .secrets
            .iter()
            .map(|secret| secret.expose().clone()),
    )
}
