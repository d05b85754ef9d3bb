//! Since when something is not as it should be: the first sighting of each drifted field.
//!
//! In: what a run saw drifted, and what runs before it saw. Out: the sightings to keep. Guaranteed: the first time stays as
//! long as the drift does, and is forgotten with it; nothing is written when nothing is new. Must not: decide what is drift.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::history::AppState;
use crate::plan::Change;

use super::stage::Bench;

/// When each drifted field was first seen, by its name.
pub type Sightings = BTreeMap<String, Timestamp>;

/// The drifted fields by their names in the store: `service/api restart`, or the resource alone where no field is known.
pub fn names(drift: &[Change]) -> Vec<String> {
    drift
        .iter()
        .flat_map(|change| {
            let fields: Vec<String> = change
                .fields
                .iter()
                .map(|field| name(change, &field.field))
                .collect();
            if fields.is_empty() {
                vec![change.key.to_string()]
            } else {
                fields
            }
        })
        .collect()
}

/// The name of one drifted field.
pub fn name(change: &Change, field: &str) -> String {
    format!("{} {field}", change.key)
}

/// The sightings after one more look.
fn after(before: &Sightings, drifted: Vec<String>, now: Timestamp) -> Sightings {
    drifted
        .into_iter()
        .map(|name| {
            let since = before.get(&name).copied().unwrap_or(now);
            (name, since)
        })
        .collect()
}

/// Notes in `state` what is drifted now; whether that is news.
pub(super) fn sight(state: &mut AppState, drift: &[Change], now: Timestamp) -> bool {
    let sightings = after(&state.drift, names(drift), now);
    let news = sightings != state.drift;
    state.drift = sightings;
    news
}

/// Saves what is drifted now, where that is news. What can't be saved is noted again by the next look.
pub(super) fn note(bench: &Bench<'_>, mut state: AppState, drift: &[Change]) {
    if !sight(&mut state, drift, bench.world.clock.now()) {
        return;
    }
    if let Err(error) = bench.world.history.save_state(&bench.turn.key, &state) {
        tracing::warn!(app = %bench.turn.key.app, "the drift can't be noted: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: u8) -> Timestamp {
        format!("2026-11-21T12:{minute:02}:00Z")
            .parse()
            .expect("a timestamp")
    }

    fn names_of(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_first_time_stays_as_long_as_the_drift_does() {
        let first = after(&Sightings::new(), names_of(&["service/web restart"]), at(1));
        let second = after(&first, names_of(&["service/web restart", "network/front"]), at(2));
        assert_eq!(second["service/web restart"], at(1));
        assert_eq!(second["network/front"], at(2));
        let third = after(&second, names_of(&["network/front"]), at(3));
        assert_eq!(third, Sightings::from([("network/front".to_owned(), at(2))]));
        // What comes back is seen anew.
        let fourth = after(&third, names_of(&["service/web restart"]), at(4));
        assert_eq!(
            fourth,
            Sightings::from([("service/web restart".to_owned(), at(4))])
        );
    }
}
