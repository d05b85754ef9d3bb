//! An app at rest: nothing is wanted anew, nothing moved live, and both are known without a call.
//!
//! In: a turn that nobody waits for, the store, the target's watches. Out: the run's end where everything is known to be as it
//! should be. Guaranteed: nothing is rendered, planned or asked; whatever is not certain ends in a look. Must not: be asked on
//! behalf of a person: a command reads.

use crate::history::{AppState, Hold, Phase, StoreError};
use crate::live::kubernetes::world::Cluster;
use crate::live::world::Inventory;
use crate::names::Digest;
use crate::render::Bundle;
use crate::report::{End, HeldRelease, Trigger};

use super::book::Notes;
use super::cycle::no_change;
use super::endings::held;
use super::stage::Bench;
use super::way_back::still_held;

/// The end of a run that has nothing to look at; `None`: look.
pub(super) fn at_rest(bench: &Bench<'_>, notes: &mut Notes) -> Option<End> {
    let (turn, world) = (bench.turn, bench.world);
    let cluster = turn.target.cluster().ok()?;
    let bundle = turn.desired.bundle.as_ref()?;
    if !matches!(turn.trigger, Trigger::Tick | Trigger::Drift) {
        return None;
    }
    let history = world.history.as_ref();
    let mut read = || -> Result<Option<End>, StoreError> {
        let state = history.state(&turn.key)?;
        let wanted = crate::release::digest(&turn.desired.content, &Default::default());
        let hold = history.held(&turn.key, &wanted)?;
        let Some(running) = state.effective else {
            return Ok(None);
        };
        let Some(running) = history.summary(&turn.key, running)? else {
            return Ok(None);
        };
        if !rests(&state, hold.as_ref(), &running.digest, &wanted)
            || state.target.as_ref() != Some(cluster.id())
        {
            return Ok(None);
        }
        let inventory = history.inventory(&turn.key)?;
        if !as_left(cluster, bundle, &inventory, hold.is_some()) {
            return Ok(None);
        }
        notes.release = Some((running.number, running.digest.clone()));
        Ok(Some(match hold {
            Some(hold) => {
                still_held(bench, &state, &[]);
                End::Held {
                    held: HeldRelease {
                        running: Some((running.number, running.revision)),
                        ..held(&hold, None)
                    },
                    healed: 0,
                }
            }
            None => no_change(bench, state, cluster.id()),
        }))
    };
    // A store that can't be read is the look's to report.
    read().ok().flatten()
}

/// Whether an app stands where nothing is to be done while live state stays as it is. Pure.
fn rests(state: &AppState, hold: Option<&Hold>, running: &Digest, wanted: &Digest) -> bool {
    let settled = match hold {
        None => state.phase == Phase::Synced && running == wanted,
        Some(_) => state.phase == Phase::Held && running != wanted && state.retry_once.is_none(),
    };
    settled
        && state.effective == state.stable
        && state.candidate.is_none()
        && state.timers.is_none()
        && state.suspended.is_none()
        && state.blocked.is_none()
        && state.frozen.is_none()
        && state.vanished.is_none()
        && state.last_error.is_none()
        && state.failures == 0
        && state.drift.is_empty()
}

/// Whether all that is ours is as our last apply left it.
fn as_left(cluster: &dyn Cluster, bundle: &Bundle, inventory: &Inventory, held: bool) -> bool {
    // What runs while a release is held is another bundle than Git's: then the inventory alone says what there is.
    let covered = held
        || bundle
            .objects
            .iter()
            .filter(|manifest| manifest.hook.is_none())
            .all(|manifest| {
                inventory.objects.keys().any(|key| {
                    key.kind == manifest.key.kind
                        && key.group == manifest.key.group
                        && key.name == manifest.key.name
                        && (manifest.key.namespace.is_none() || manifest.key.namespace == key.namespace)
                })
            });
    covered && !inventory.rebuilt && !inventory.objects.is_empty() && cluster.as_left(&inventory.objects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::history::HeldBy;
    use crate::names::Revision;

    fn state(phase: Phase) -> AppState {
        AppState {
            phase,
            effective: Some(1),
            stable: Some(1),
            ..AppState::default()
        }
    }

    fn hold() -> Hold {
        Hold {
            digest: digest("2"),
            since: Timestamp::UNIX_EPOCH,
            cause: "it crashed".to_owned(),
            by: HeldBy::Gate,
            release: Some(2),
            revision: Revision::try_from("0123456789012345678901234567890123456789").expect("a revision"),
        }
    }

    fn digest(text: &str) -> Digest {
        Digest::of("t", text.as_bytes())
    }

    #[test]
    fn only_what_is_settled_rests() {
        let (one, two) = (digest("1"), digest("2"));
        assert!(rests(&state(Phase::Synced), None, &one, &one));
        assert!(!rests(&state(Phase::Synced), None, &one, &two), "a new release");
        assert!(rests(&state(Phase::Held), Some(&hold()), &one, &two));
        assert!(!rests(&state(Phase::RollingBack), Some(&hold()), &one, &two));
        assert!(!rests(&state(Phase::Synced), Some(&hold()), &one, &one));
        for phase in [
            Phase::New,
            Phase::Applying,
            Phase::Pruning,
            Phase::Frozen,
            Phase::Blocked,
        ] {
            assert!(!rests(&state(phase), None, &one, &one), "{phase}");
        }
        let retried = AppState {
            retry_once: Some(two.clone()),
            ..state(Phase::Held)
        };
        assert!(!rests(&retried, Some(&hold()), &one, &two));
        let failed = AppState {
            failures: 1,
            ..state(Phase::Synced)
        };
        assert!(!rests(&failed, None, &one, &one));
        let drifted = AppState {
            drift: [("ConfigMap/a data.key".to_owned(), Timestamp::UNIX_EPOCH)].into(),
            ..state(Phase::Synced)
        };
        assert!(!rests(&drifted, None, &one, &one));
    }
}
