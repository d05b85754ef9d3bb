//! `restart`: restarts services of an app, because a person asked for it.
//!
//! In: a turn and the services' names. Out: the run. Guaranteed: one after the other in order of their dependencies, judged
//! like a release; nothing is recreated. Must not: change what an app is made of.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::gate::Permit;
use crate::history::AppState;
use crate::names::ServiceName;
use crate::plan;
use crate::report::{End, Run};
use crate::settle;

use super::admit::admit;
use super::book::{Book, Notes};
use super::endings::{disturbed, incident, judge, look_failed};
use super::lease::under_lease;
use super::look::{desired_of, look};
use super::stage::{Bench, Passed, save};
use super::world::{Turn, World};

/// Restarts services of an app, one after the other in order of their dependencies; nothing is recreated.
pub async fn restart(turn: &Turn, world: &World, services: &[ServiceName], stop: &CancellationToken) -> Run {
    let book = Book::open(turn, world);
    let mut notes = Notes::default();
    let end = under_lease(turn, restart_services(&book.bench(stop), services, &mut notes)).await;
    book.close(end, notes)
}

async fn restart_services(bench: &Bench<'_>, services: &[ServiceName], notes: &mut Notes) -> End {
    let (turn, world) = (bench.turn, bench.world);
    if let Err(end) = bench.take_lease(Timestamp::MAX).await {
        return *end;
    }
    let look = match look(turn, world).await {
        Ok(look) => look,
        Err(error) => return look_failed(bench, error),
    };
    if let Err(end) = admit(bench, &look) {
        return *end;
    }
    let plan = plan::restart(&turn.desired, &look.observed, &look.inventory, services);
    notes.plan(&plan);
    let approved = match judge(bench, plan, None, &Permit::default(), &look.state) {
        Ok(approved) => approved,
        Err(end) => return *end,
    };
    let desired = look
        .effective
        .as_ref()
        .map_or_else(|| turn.desired.as_ref().clone(), desired_of);
    let mut state = AppState {
        timers: None,
        restarts_before: BTreeMap::new(),
        ..look.state
    };
    let (passed, calls) = bench
        .pass(
            &approved,
            &desired,
            (&look.observed, &look.inventory),
            None,
            &mut state,
        )
        .await;
    match passed {
        Passed::Ended(end) => *end,
        Passed::Broke(evidence) => incident(bench, state, &evidence),
        Passed::Settled(settled) => match settled.end {
            settle::End::Healthy => {
                state.timers = None;
                match save(world.history.as_ref(), bench, &state, true) {
                    Ok(()) => End::Stable { healed: true, calls },
                    Err(end) => *end,
                }
            }
            settle::End::Failed(evidence) => incident(bench, state, &evidence),
            settle::End::Disturbed { service, what } => disturbed(format!("{service} was {what}")),
            settle::End::Stopped => bench.interrupted("the restarted services are being verified"),
        },
    }
}
