//! Who works on a cluster holds its lease.
//!
//! In: a run. Out: the same run, under the lease of its target. Guaranteed: a run that changes nothing takes none; while a run
//! works its lease is kept; one that somebody else has ends the run before anything is touched. Must not: know how a lease works
//! (`live/` does).

use crate::clock::Timestamp;
use crate::live::Problem;
use crate::report::{End, Failure, Obstacle, Stage};

use super::stage::Bench;
use super::world::Turn;

/// Another process had the lease between our look and our taking it.
pub(super) const MOVED: &str = "E0614";

/// Does `work`, keeps the lease meanwhile if the work takes it, and gives it back afterwards.
pub(super) async fn under_lease<T>(turn: &Turn, work: impl Future<Output = T>) -> T {
    let Some(keeper) = turn.target.keeper() else {
        return work.await;
    };
    let user = keeper.enter();
    let done = tokio::select! {
        done = work => done,
        // Safe to cancel: a renewal whose answer nobody read is read back by the next one.
        never = keeper.keep() => match never {},
    };
    user.leave().await;
    done
}

impl Bench<'_> {
    /// Takes the lease before anything is changed that live state, as it was at `looked`, is the reason for.
    pub(super) async fn take_lease(&self, looked: Timestamp) -> Result<(), Box<End>> {
        let Some(keeper) = self.turn.target.keeper() else {
            return Ok(());
        };
        let error = match keeper.take(looked).await {
            Ok(true) => return Ok(()),
            Ok(false) => {
                return Err(Box::new(End::Failed(Failure {
                    stage: Stage::Observe,
                    code: MOVED.to_owned(),
                    message: "another Driftless of this name worked here meanwhile".to_owned(),
                    place: None,
                    help: None,
                    retry: true,
                    touched: false,
                })));
            }
            Err(error) => error,
        };
        if !matches!(error.problem, Problem::LeaseHeld { .. }) {
            return Err(Box::new(self.observe_failed(&error, false)));
        }
        Err(Box::new(End::Refused {
            problems: vec![Obstacle {
                code: error.code().to_string(),
                message: self.mask.clean(&error.problem.to_string()),
                place: None,
                help: error.hint(),
                pre_flight: false,
            }],
        }))
    }
}
