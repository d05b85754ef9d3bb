//! Objects of a cluster that move between the apps of one commit. Pure, but for the store.
//!
//! In: what an app declares and owns, the other apps of the commit, the store. Out: [`Moves`]. Guaranteed: an object is taken
//! from an app only when that app is followed at this commit, declares it no longer, and is free to follow Git; what another
//! app of the commit declares is left to it, whichever of the two runs first. So it never has two owners, and it is never
//! deleted on the way. Must not: look at a cluster (ownership by UID is the plan's to check).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::history::{History, Phase, StoreError};
use crate::live::world::Inventory;
use crate::names::{AppKey, AppName, ObjectKey};
use crate::render::Desired;

/// The apps of one commit.
#[derive(Default)]
pub struct Neighbourhood {
    pub apps: BTreeMap<AppName, Neighbour>,
    /// Something without a usable name can't be read: an app that is not seen may still be there.
    pub uncertain: bool,
}

/// One of them.
pub struct Neighbour {
    /// The target that it names.
    pub target: Option<String>,
    /// `sync: manual`: what is new waits for a person.
    pub manual: bool,
    /// `None`: it can't be used at this commit.
    pub desired: Option<Arc<Desired>>,
}

/// What moves, as one app sees it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Objects that other apps no longer declare: they may be taken from them.
    pub handed_over: BTreeSet<ObjectKey>,
    /// Objects of ours that others declare: they are left to them.
    pub claimed: BTreeMap<ObjectKey, AppName>,
}

/// Whether an app declares an object. A manifest without a namespace is in the app's own, which only the target may know.
fn declares(desired: &Desired, key: &ObjectKey) -> bool {
    let Some(bundle) = &desired.bundle else {
        return false;
    };
    bundle.objects.iter().any(|manifest| {
        let one = &manifest.key;
        let here = match (&one.namespace, &bundle.namespace) {
            (Some(own), _) => Some(own) == key.namespace.as_ref(),
            (None, Some(own)) => key.namespace.as_deref().is_none_or(|there| there == own.as_str()),
            (None, None) => true,
        };
        one.kind == key.kind && one.group == key.group && one.name == key.name && here
    })
}

/// Whether the store alone shows that something of an app may have moved. Cheap where nothing did.
pub fn may_move(history: &dyn History, key: &AppKey, desired: &Desired) -> Result<bool, StoreError> {
    let inventory = history.inventory(key)?;
    Ok(inventory.objects.keys().any(|key| !declares(desired, key))
        || !coming(history, key, desired, &inventory)?.is_empty())
}

/// Objects that an app declares and does not own, and another app of its source does.
fn coming(
    history: &dyn History,
    key: &AppKey,
    desired: &Desired,
    inventory: &Inventory,
) -> Result<BTreeMap<ObjectKey, AppName>, StoreError> {
    let objects = desired.bundle.iter().flat_map(|bundle| &bundle.objects);
    let new = objects.filter(|manifest| {
        !inventory.objects.keys().any(|key| {
            key.kind == manifest.key.kind && key.group == manifest.key.group && key.name == manifest.key.name
        })
    });
    if new.count() == 0 {
        return Ok(BTreeMap::new());
    }
    let owners = history.object_owners(&key.source)?;
    Ok(owners
        .into_iter()
        .filter(|(owner, object)| *owner != key.app && declares(desired, object))
        .map(|(owner, object)| (object, owner))
        .collect())
}

/// What moves to and from an app.
pub fn moves(
    history: &dyn History,
    key: &AppKey,
    desired: &Desired,
    inventory: &Inventory,
    around: &Neighbourhood,
) -> Result<Moves, StoreError> {
    let mut moves = Moves::default();
    let Some(own) = around.apps.get(&key.app) else {
        return Ok(moves);
    };
    let place = |neighbour: &Neighbour| {
        let target = neighbour.target.as_deref();
        target.map(|name| name.split_once('/').map_or(name, |(target, _)| target).to_owned())
    };
    let beside = |neighbour: &Neighbour| place(neighbour) == place(own);
    for object in inventory
        .objects
        .keys()
        .filter(|object| !declares(desired, object))
    {
        let claims = |(name, neighbour): &(&AppName, &Neighbour)| {
            **name != key.app
                && beside(neighbour)
                && neighbour
                    .desired
                    .as_ref()
                    .is_some_and(|desired| declares(desired, object))
        };
        if let Some((name, _)) = around.apps.iter().find(claims) {
            moves.claimed.insert(object.clone(), name.clone());
        }
    }
    for (object, owner) in coming(history, key, desired, inventory)? {
        let giver = AppKey {
            source: key.source.clone(),
            app: owner,
        };
        let gives = match around.apps.get(&giver.app) {
            Some(neighbour) => match &neighbour.desired {
                Some(desired) => {
                    beside(neighbour)
                        && !declares(desired, &object)
                        && is_free(history, &giver, Some(desired), neighbour.manual)?
                }
                None => false,
            },
            None => !around.uncertain && is_free(history, &giver, None, false)?,
        };
        if gives {
            moves.handed_over.insert(object);
        }
    }
    Ok(moves)
}

/// Whether an app follows Git, so that what it no longer declares is no longer wanted by it. One that is held, rolled back,
/// frozen or suspended still wants what its effective release has.
fn is_free(
    history: &dyn History,
    key: &AppKey,
    desired: Option<&Desired>,
    manual: bool,
) -> Result<bool, StoreError> {
    let state = history.state(key)?;
    let follows = matches!(
        state.phase,
        Phase::Synced | Phase::Planned | Phase::Applying | Phase::Verifying | Phase::Baking | Phase::Pruning
    );
    if !follows || state.suspended.is_some() {
        return Ok(false);
    }
    let Some(desired) = desired else {
        return Ok(true);
    };
    let wanted = crate::release::digest(&desired.content, &BTreeMap::new());
    if history.held(key, &wanted)?.is_some() {
        return Ok(false);
    }
    if !manual {
        return Ok(true);
    }
    let Some(number) = state.effective else {
        return Ok(false);
    };
    let running = history.summary(key, number)?;
    Ok(running.is_some_and(|running| running.content == desired.content))
}
