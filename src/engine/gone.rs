//! Taking down an app that is gone from Git (decision 25).
//!
//! In: its key. Out: the run, or why it is left as it is. Guaranteed: only on the engine that it was applied to, only where
//! its last rules allow pruning, never a volume. Must not: decide that it is gone.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::history::StoreError;
use crate::names::AppKey;
use crate::render::app::Prune;
use crate::report::{Failure, Run, Stage, Trigger};

use super::look::desired_of;
use super::supervisor::{Crank, Operator};
use super::world::{Commit, Options, Turn, World};

pub(super) struct TakeDown {
    pub key: AppKey,
    /// The commit that no longer has it.
    pub commit: Commit,
    /// The target that it named, where that is known.
    pub target: Option<String>,
    pub allowed: Vec<String>,
    pub waits: CancellationToken,
}

/// What came of it.
pub(super) enum TookDown {
    Run(Box<Run>),
    Left(String),
}

impl TakeDown {
    pub(super) async fn run(
        self,
        operator: &dyn Operator,
        crank: &dyn Crank,
        world: &World,
        drain: &CancellationToken,
    ) -> Result<TookDown, Failure> {
        let left = |why: &str| Ok(TookDown::Left(format!("{why} (driftless down {})", self.key.app)));
        let history = world.history.as_ref();
        let state = history.state(&self.key).map_err(|error| store(&error))?;
        let newest = || -> Result<Option<u64>, StoreError> {
            Ok(history
                .releases(&self.key, 1)?
                .first()
                .map(|summary| summary.number))
        };
        let number = match state.effective.or(state.candidate) {
            Some(number) => Some(number),
            None => newest().map_err(|error| store(&error))?,
        };
        let Some(number) = number else {
            return left("no release of it is known");
        };
        let record = match history.release(&self.key, number) {
            Ok(Some(record)) => record,
            Ok(None) => return left("its last release is not in the store"),
            Err(error @ StoreError::Sealed { .. }) => return left(&error.to_string()),
            Err(error) => return Err(store(&error)),
        };
        if record.snapshot.rules.prune == Prune::None {
            return left("`prune: none`: it is left as it is");
        }
        let desired = desired_of(&record);
        let target = operator
            .target(self.target.as_deref(), &self.allowed, desired.needs())
            .await?;
        if state.target.as_ref() != Some(target.id()) {
            return left(&format!(
                "{} is not the engine that it was applied to",
                target.name()
            ));
        }
        let turn = Turn {
            key: self.key,
            target,
            desired: Arc::new(desired),
            commit: self.commit,
            neighbours: Arc::default(),
            trigger: Trigger::Commit,
            options: Options::default(),
            waits: self.waits,
        };
        Ok(TookDown::Run(Box::new(crank.down(&turn, world, drain).await)))
    }
}

fn store(error: &StoreError) -> Failure {
    Failure {
        stage: Stage::Store,
        code: "E0640".to_owned(),
        message: error.to_string(),
        place: None,
        help: Some("driftless doctor".to_owned()),
        retry: true,
        touched: false,
    }
}
