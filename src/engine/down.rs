//! `down`: removes an app's containers and networks, because a person asked for it.
//!
//! In: a turn. Out: the run. Guaranteed: volumes stay unless the command names them; the app is forgotten only when all of it
//! is gone. Must not: take down an app that left Git (`gone.rs` decides that).

use std::collections::{BTreeMap, BTreeSet};

use tokio_util::sync::CancellationToken;

use crate::apply;
use crate::clock::Timestamp;
use crate::gate::Permit;
use crate::history::{AppState, Phase};
use crate::live::world::Inventory;
use crate::plan::{self, Plan, Stance};
use crate::render::app::Prune;
use crate::report::{End, Failure, Run, Stage};

use super::book::{Book, Notes};
use super::endings::{judge, look_failed};
use super::lease::under_lease;
use super::look::{Look, look};
use super::stage::Bench;
use super::world::{Turn, World};

/// Removes an app's containers and networks, and the volumes that the command names.
pub async fn down(turn: &Turn, world: &World, stop: &CancellationToken) -> Run {
    let book = Book::open(turn, world);
    let mut notes = Notes::default();
    let end = under_lease(turn, take_down(&book.bench(stop), &mut notes)).await;
    book.close(end, notes)
}

async fn take_down(bench: &Bench<'_>, notes: &mut Notes) -> End {
    let (turn, world) = (bench.turn, bench.world);
    if let Err(end) = bench.take_lease(Timestamp::MAX).await {
        return *end;
    }
    let look = match look(turn, world).await {
        Ok(look) => look,
        Err(error) => return look_failed(bench, error),
    };
    let plan = down_plan(turn, world, &look);
    notes.plan(&plan);
    let approved = match judge(bench, plan, None, &Permit::default(), &look.state) {
        Ok(approved) => approved,
        Err(end) => return *end,
    };
    let applied = apply::apply(&approved, plan::Phase::Apply, bench.hands(&turn.desired)).await;
    let late = apply::apply(&approved, plan::Phase::AfterBake, bench.hands(&turn.desired)).await;
    if let Some((resource, stood)) = applied.cancelled().or(late.cancelled()) {
        return bench.interrupted(&format!("{resource}, before: {stood}"));
    }
    if let Some((resource, failure)) = applied.failure().or(late.failure()) {
        return End::Failed(Failure {
            stage: Stage::Apply,
            code: "E0623".to_owned(),
            message: bench
                .mask
                .clean(&format!("{resource}: {}: {}", failure.step, failure.why)),
            place: None,
            help: Some("run it again: what is gone stays gone".to_owned()),
            retry: true,
            touched: true,
        });
    }
    let state = AppState {
        phase: Phase::New,
        phase_since: Some(world.clock.now()),
        effective: None,
        candidate: None,
        timers: None,
        ..look.state
    };
    let kept = Inventory {
        volumes: look
            .inventory
            .volumes
            .iter()
            .filter(|(name, _)| !turn.options.delete_volumes.contains(name))
            .map(|(name, spec)| (name.clone(), spec.clone()))
            .collect(),
        ..Inventory::default()
    };
    let written = world
        .history
        .put_inventory(&turn.key, &kept)
        .and_then(|()| world.history.save_state(&turn.key, &state))
        .and_then(|()| world.history.unclaim(&turn.key));
    match written {
        Ok(()) => End::Stable {
            healed: false,
            calls: applied.calls() + late.calls(),
        },
        Err(error) => bench.store_failed(&error, "E0640", true),
    }
}

/// The plan of `down`: also what the command shows before it asks.
pub fn down_plan(turn: &Turn, world: &World, look: &Look) -> Plan {
    let (files, data) = (
        world.files(&turn.key).to_string_lossy().into_owned(),
        world.data(&turn.key, &turn.desired.rules),
    );
    let pinned = BTreeMap::new();
    let stance = Stance {
        instance: &world.instance,
        effective: look.effective.as_ref(),
        roll_back_from: None,
        prune: Prune::All,
        adopt: false,
        takeover: turn.options.takeover,
        delete_volumes: &turn.options.delete_volumes,
        files_dir: &files,
        data_dir: &data,
        handed_over: &BTreeSet::new(),
        claimed: &BTreeMap::new(),
        pinned: &pinned,
    };
    plan::down(&turn.desired, &look.observed, &look.inventory, &stance)
}
