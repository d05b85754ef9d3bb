//! What is happening, while it happens: for a terminal, a log, and later a page.
//!
//! In: events of a run, in order. Out: nothing; a listener shows or drops them. Guaranteed: no event holds a secret value;
//! emitting never waits and never fails. Must not: be read by a decision.

use std::time::Duration;

use crate::names::{AppName, ResourceKey};

/// One event of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A stage of the run begins: `pull`, `apply`, `verify`, `bake`, `roll back`, `prune`.
    Stage { app: AppName, stage: Stage },
    /// A step of a change begins; `text` is the op's line.
    Step {
        app: AppName,
        resource: ResourceKey,
        text: String,
    },
    /// A change is done.
    Done {
        app: AppName,
        resource: ResourceKey,
        text: String,
        took: Duration,
    },
    /// A change failed.
    Failed {
        app: AppName,
        resource: ResourceKey,
        error: String,
    },
    /// A change was left out because another one failed.
    Skipped {
        app: AppName,
        resource: ResourceKey,
        because: String,
    },
    /// Something is waited for, and how long is left before it counts as failed.
    Waiting {
        app: AppName,
        /// What is waited for; `None` where it is the app as a whole.
        resource: Option<ResourceKey>,
        what: String,
        left: Option<Duration>,
    },
    /// The run is over; what it came to is told elsewhere.
    Over { app: AppName },
}

/// The stages of a run that people see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    PreFlight,
    Apply,
    Verify,
    Bake,
    RollBack,
    Prune,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Stage::PreFlight => "pre-flight",
            Stage::Apply => "apply",
            Stage::Verify => "verify",
            Stage::Bake => "bake",
            Stage::RollBack => "roll back",
            Stage::Prune => "prune",
        })
    }
}

/// Who listens.
pub trait Progress: Send + Sync {
    /// Takes an event; must return at once.
    fn event(&self, event: Event);
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event) {}
}
