//! Where one app stands: what the state machine must remember over a restart.
//!
//! In: nothing. Out: [`AppState`], saved whole before each side effect. Guaranteed: additive: a field that an older version
//! did not write reads as its default. Must not: hold secret values; every text is masked by who writes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::names::{Digest, ProjectName, Revision, RunId, TargetId};
use crate::settle::Timers;

/// Where one app stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppState {
    pub phase: Phase,
    pub phase_since: Option<Timestamp>,
    /// The run that is, or was last, at work.
    pub run: Option<RunId>,
    /// D: the release that is being tried.
    pub candidate: Option<u64>,
    /// E: the release that the machine last settled on (decision 17).
    pub effective: Option<u64>,
    /// G: the newest stable release.
    pub stable: Option<u64>,
    /// The clocks of the verification that is under way.
    pub timers: Option<Timers>,
    /// How often the candidate was tried, from 1.
    pub attempt: u32,
    /// A held release that `retry` allowed once more.
    pub retry_once: Option<Digest>,
    /// When rollbacks were made, oldest first, for the budget (decision 22). Older ones may be dropped.
    pub rollbacks: Vec<Timestamp>,
    pub suspended: Option<Suspension>,
    pub blocked: Option<BlockedBy>,
    /// Why it is frozen, masked.
    pub frozen: Option<String>,
    /// The app is gone from Git (decision 25).
    pub vanished: Option<Vanished>,
    /// Drift by `resource field`, as `service/api restart`: when it was first seen.
    pub drift: BTreeMap<String, Timestamp>,
    /// The newest commit that was looked at.
    pub last_seen: Option<Revision>,
    /// When live state was last found, or made, as it should be.
    pub last_success: Option<Timestamp>,
    /// The last error that kept it from being looked at or applied, masked.
    pub last_error: Option<BlockedBy>,
    /// How many tries in a row ended in an error, for the back-off.
    pub failures: u32,
    pub next_attempt: Option<Timestamp>,
    /// The engine that it was last applied to.
    pub target: Option<TargetId>,
    pub project: Option<ProjectName>,
    /// Restart counts by container id when the candidate's judgement began.
    pub restarts_before: BTreeMap<String, u64>,
}

/// The states of `docs/health.md`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing was ever settled.
    #[default]
    New,
    /// Live state follows Git.
    Synced,
    /// A candidate passed planning.
    Planned,
    Applying,
    Verifying,
    Baking,
    /// Deletions, after the bake.
    Pruning,
    RollingBack,
    VerifyingRollback,
    /// The stable release runs, Git's is held.
    Held,
    /// No way back, or none wanted: nothing is changed until a person or a new commit decides.
    Frozen,
    /// Pre-flight or a rule refused; nothing was touched.
    Blocked,
}

impl Phase {
    /// Whether a run that died in this phase left something to conclude.
    pub fn in_flight(self) -> bool {
        matches!(
            self,
            Phase::Planned
                | Phase::Applying
                | Phase::Verifying
                | Phase::Baking
                | Phase::Pruning
                | Phase::RollingBack
                | Phase::VerifyingRollback
        )
    }

    /// One lower-case word, or two.
    pub fn word(self) -> &'static str {
        match self {
            Phase::New => "new",
            Phase::Synced => "synced",
            Phase::Planned => "planned",
            Phase::Applying => "applying",
            Phase::Verifying => "verifying",
            Phase::Baking => "baking",
            Phase::Pruning => "pruning",
            Phase::RollingBack => "rolling back",
            Phase::VerifyingRollback => "verifying rollback",
            Phase::Held => "held",
            Phase::Frozen => "frozen",
            Phase::Blocked => "blocked",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// A person asked for nothing to be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    pub since: Timestamp,
    /// `None`: until `resume`.
    pub until: Option<Timestamp>,
    pub reason: String,
    pub by: String,
}

/// Why nothing goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedBy {
    /// The diagnostic code, as `E0510`.
    pub code: String,
    /// Masked.
    pub text: String,
    pub since: Timestamp,
    /// The release digest that it concerns, so that a new one is tried.
    #[serde(default)]
    pub digest: Option<Digest>,
}

/// An app that Git no longer has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vanished {
    /// Successful fetches that did not show it.
    pub fetches: u32,
    pub since: Timestamp,
}
