//! Everything → Run: what one turn of the loop came to, as one value with many renderings.
//!
//! In: the plan, what was applied, how it settled, what was decided. Out: [`Run`], which is stored, printed, and turned into
//! an exit code. Guaranteed: always a result, never an exception; every text in it is masked. Must not: hold a secret, or
//! know a terminal.

pub mod exit;
pub mod text;
pub mod told;
pub mod when;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::document::Place;
use crate::names::{AppKey, Digest, Revision, RunId};
use crate::settle::Evidence;

pub use exit::Exit;

/// One turn of the loop for one app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Run {
    pub id: RunId,
    pub key: AppKey,
    /// The target's name, as `docker:nas`.
    pub target: String,
    pub trigger: Trigger,
    pub started: Timestamp,
    pub took: Duration,
    /// The commit that was looked at, and its subject line.
    pub revision: Option<Revision>,
    pub subject: String,
    /// The release that this run was about: number and digest. `None` when it came to none.
    pub release: Option<(u64, Digest)>,
    pub end: End,
    /// One line for each change that was made.
    pub changes: Vec<String>,
    /// Remarks that did not stop it.
    pub warnings: Vec<String>,
}

/// What set a run off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A person's command, with its verb.
    Person(String),
    /// A new commit.
    Commit,
    /// The clock.
    Tick,
    /// Live state changed.
    Drift,
    /// The process was started and found unfinished work.
    Recovery,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum End {
    /// Live equals what is wanted; no call was sent.
    NoChange,
    /// Everything is applied, healthy, and stable. `healed`: the release was stable already and only drift was put right.
    Stable { healed: bool, calls: usize },
    /// Drift is there, and the rule is to report it.
    Drifted { fields: Vec<String> },
    /// Git's release is held; the effective one is (or was put) in place.
    Held { held: HeldRelease, healed: usize },
    /// The gate failed, the stable release is back and healthy.
    RolledBack(Box<RolledBack>),
    /// The gate failed and there was no rollback, or it failed: a person is needed.
    Frozen(Box<Frozen>),
    /// It ended before anything was decided, with its reason.
    Failed(Failure),
    /// Not allowed; nothing was touched.
    Refused { problems: Vec<Obstacle> },
    /// Stopped at a step boundary by a signal.
    Stopped { stood: String },
    /// A newer commit goes first.
    Superseded,
    /// The caller's time is over; the next run concludes it.
    StillVerifying { what: String },
}

/// A release that may not be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRelease {
    pub digest: Digest,
    pub revision: Revision,
    pub since: Timestamp,
    pub cause: String,
    /// What runs instead: number and commit.
    pub running: Option<(u64, Revision)>,
}

/// A failed gate and the way back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolledBack {
    pub evidence: Vec<Evidence>,
    /// How long the gate took to fail.
    pub gate_took: Duration,
    /// The release that is back: number and commit.
    pub to: (u64, Revision),
    pub rollback_took: Duration,
    /// Time without any running, healthy replica, where the engine's events tell (decision 33).
    pub downtime: Option<Duration>,
    /// Fields that the failed release had changed, as `service/api image`.
    pub changed: Vec<String>,
    /// What a rollback never takes back, as `volume/pgdata`.
    pub not_reverted: Vec<String>,
}

/// A failed gate without a way back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frozen {
    pub evidence: Vec<Evidence>,
    pub gate_took: Duration,
    /// Why nothing more is done.
    pub why: String,
    pub changed: Vec<String>,
}

/// A stage that did not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub stage: Stage,
    /// The diagnostic code, as `E0501`.
    pub code: String,
    pub message: String,
    pub place: Option<Place>,
    /// The next step for a person.
    pub help: Option<String>,
    /// Whether the next run may succeed by itself.
    pub retry: bool,
    /// Whether anything live was touched.
    pub touched: bool,
}

/// Something in the way of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    pub code: String,
    pub message: String,
    pub place: Option<Place>,
    pub help: Option<String>,
    /// Refused by a rule, or found impossible in pre-flight.
    pub pre_flight: bool,
}

/// The stages of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Source,
    Render,
    Observe,
    Plan,
    PreFlight,
    Apply,
    Verify,
    Store,
}

impl Run {
    /// The exit code that this run alone means (`product.md`'s table).
    pub fn exit(&self) -> Exit {
        match &self.end {
            End::NoChange | End::Stable { .. } | End::Superseded => Exit::Done,
            End::Drifted { .. } => Exit::Differences,
            End::Held { .. } => Exit::Refused,
            End::RolledBack(_) => Exit::RolledBack,
            End::Frozen(_) => Exit::NeedsHuman,
            End::Failed(failure) => match failure.stage {
                Stage::Source => Exit::Source,
                Stage::Render => Exit::Invalid,
                Stage::Observe => Exit::Target,
                Stage::Plan | Stage::PreFlight | Stage::Apply | Stage::Verify | Stage::Store => {
                    Exit::ApplyFailed
                }
            },
            End::Refused { problems } if problems.iter().any(|problem| problem.pre_flight) => {
                Exit::ApplyFailed
            }
            End::Refused { .. } => Exit::Refused,
            End::Stopped { .. } => Exit::Interrupted,
            End::StillVerifying { .. } => Exit::GaveUpWaiting,
        }
    }
}
