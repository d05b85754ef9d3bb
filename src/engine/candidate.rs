//! The release that is tried, with its number.
//!
//! In: the plan towards what Git wants. Out: the number of its record. Guaranteed: one record per try; a release that another
//! commit left unfinished is superseded, never called good. Must not: apply anything.

use crate::history::{AppState, StoreError};
use crate::plan::Plan;
use crate::release::{Outcome, Record, Snapshot};
use crate::report::End;
use crate::secret::Secret;

use super::stage::Bench;

/// The number of the release that is tried: a known one when Git returns to it, else a new record.
pub(super) fn candidate(
    bench: &Bench<'_>,
    state: &AppState,
    plan: &Plan,
    effective: Option<&Record>,
) -> Result<u64, Box<End>> {
    let (turn, world) = (bench.turn, bench.world);
    if let Some(record) = effective.filter(|record| record.digest == plan.release) {
        return Ok(record.number);
    }
    let store = |error: StoreError| Box::new(bench.store_failed(&error, "E0640", false));
    if let Some(known) = world
        .history
        .release_by_digest(&turn.key, &plan.release)
        .map_err(store)?
    {
        let untried = state.candidate == Some(known.number) && state.phase.in_flight();
        if untried || known.stable_at.is_some() || known.revision == turn.commit.revision {
            return Ok(known.number);
        }
    }
    if let Some(open) = state.candidate.filter(|_| state.phase.in_flight()) {
        // A newer commit goes first: what was being tried is never called good.
        world
            .history
            .set_outcome(&turn.key, open, &Outcome::Superseded)
            .map_err(store)?;
    }
    let record = Record {
        key: turn.key.clone(),
        number: 0,
        digest: plan.release.clone(),
        content: plan.content.clone(),
        revision: turn.commit.revision.clone(),
        subject: turn.commit.subject.clone(),
        author: turn.commit.author.clone(),
        images: plan.images.clone(),
        created_at: world.clock.now(),
        outcome: Outcome::InProgress,
        stable_at: None,
        snapshot: Snapshot {
            project: turn.desired.project.clone(),
            bundle: turn.desired.bundle.clone(),
            rules: turn.desired.rules.clone(),
            places: turn.desired.places.clone(),
            secrets: turn
                .desired
                .mask
                .values()
                .map(|value| Secret::new(value.to_owned()))
                .collect(),
        },
    };
    world.history.record_release(&record).map_err(store)
}
