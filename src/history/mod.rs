//! What was, what is owned, and where each app stands: releases (sealed), runs, holds, the journal, the inventory.
//!
//! In: facts, each written before or right after what it speaks of. Out: the same facts, after any crash.
//! Guaranteed: one owner per state folder, readers beside it; a write that returned is on disk; a store that is damaged or
//! of a newer major version is an error and stays untouched; no secret value is readable in it (decision 4). Must not:
//! decide anything, or take a missing store for "nothing is owned": then [`Inventory::rebuilt`] is set and the engine
//! reads ownership from labels.
//!
//! ```text
//! <state>/            0700
//!   state.db  -wal -shm   SQLite, WAL, synchronous=FULL
//!   state.key             what snapshots are sealed with (or `state_key_file`)
//!   lock                  held by the owner; says who it is
//! ```

mod error;
mod ledger;
mod lock;
mod releases;
mod schema;
mod seal;
mod state;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::journal::{Ending, EntryId, Intent, Ledger};
use crate::live::world::Inventory;
use crate::names::{
    AppKey, AppName, Digest, ObjectKey, ProjectName, Revision, RunId, ServiceName, SourceId, TargetId,
};
use crate::release::{Outcome, Pinned, Record};

pub use error::{SealCause, StoreError, StoreErrorKind};
pub use lock::{Owner, owner};
pub use schema::Version;
pub use state::{AppState, BlockedBy, Phase, Suspension, Vanished};
pub use store::{Opening, Store};

/// How many releases of an app are kept beyond those that must be (stable ones, held ones, those its state names).
pub const KEPT_RELEASES: usize = 50;
/// How many runs of an app are kept.
pub const KEPT_RUNS: usize = 500;
/// How many journal entries of an app are kept; unfinished ones always are.
pub const KEPT_ENTRIES: usize = 5000;

/// The memory of an instance. [`Store`] is the one implementation.
pub trait History: Ledger {
    /// Whether there was no store before: everything that it says about ownership and holds is "not known".
    fn is_new(&self) -> bool;

    /// Writes all of `writes` or none, durably. A transition and what belongs to it go in one call.
    fn write(&self, key: &AppKey, writes: &[Write]) -> Result<(), StoreError>;

    /// Stores a release and gives it the app's next number (`record.number` is not read).
    fn record_release(&self, record: &Record) -> Result<u64, StoreError>;
    /// A release with its snapshot unsealed. [`StoreError::Sealed`] when that can't be.
    fn release(&self, key: &AppKey, number: u64) -> Result<Option<Record>, StoreError>;
    /// A release without its snapshot: readable without the key.
    fn summary(&self, key: &AppKey, number: u64) -> Result<Option<Summary>, StoreError>;
    /// The newest release with this digest.
    fn release_by_digest(&self, key: &AppKey, digest: &Digest) -> Result<Option<Summary>, StoreError>;
    /// The newest release of this commit.
    fn release_by_commit(&self, key: &AppKey, revision: &Revision) -> Result<Option<Summary>, StoreError>;
    /// Newest first.
    fn releases(&self, key: &AppKey, limit: usize) -> Result<Vec<Summary>, StoreError>;
    /// The newest release that ever became stable, without its snapshot.
    fn newest_stable_summary(&self, key: &AppKey) -> Result<Option<Summary>, StoreError>;

    /// The newest release that ever became stable.
    fn newest_stable(&self, key: &AppKey) -> Result<Option<Record>, StoreError> {
        match self.newest_stable_summary(key)? {
            Some(summary) => self.release(key, summary.number),
            None => Ok(None),
        }
    }
    /// What came of a release.
    fn set_outcome(&self, key: &AppKey, number: u64, outcome: &Outcome) -> Result<(), StoreError> {
        self.write(
            key,
            &[Write::Outcome {
                number,
                outcome: outcome.clone(),
            }],
        )
    }
    /// It is stable; from the first one on, the inventory is no longer "rebuilt".
    fn mark_stable(&self, key: &AppKey, number: u64, at: Timestamp) -> Result<(), StoreError> {
        self.write(key, &[Write::Stable { number, at }])
    }

    /// Holds of an app, oldest first.
    fn holds(&self, key: &AppKey) -> Result<Vec<Hold>, StoreError>;
    /// The hold on this release, if there is one.
    fn held(&self, key: &AppKey, digest: &Digest) -> Result<Option<Hold>, StoreError> {
        Ok(self.holds(key)?.into_iter().find(|hold| hold.digest == *digest))
    }
    /// Holds a release; a hold on the same digest is replaced.
    fn hold(&self, key: &AppKey, hold: &Hold) -> Result<(), StoreError> {
        self.write(key, &[Write::Hold(hold.clone())])
    }
    /// Lifts a hold, if there is one.
    fn lift(&self, key: &AppKey, digest: &Digest) -> Result<(), StoreError> {
        self.write(key, &[Write::Lift(digest.clone())])
    }

    /// Where an app stands; [`AppState::default`] for one that was never seen.
    fn state(&self, key: &AppKey) -> Result<AppState, StoreError>;
    /// Saves it. A transition is saved before its side effect.
    fn save_state(&self, key: &AppKey, state: &AppState) -> Result<(), StoreError> {
        self.write(key, &[Write::State(Box::new(state.clone()))])
    }

    /// Stores a run; one with the same id is replaced (so that a run can be noted when it begins).
    fn record_run(&self, run: &RunRow) -> Result<(), StoreError>;
    /// Newest first.
    fn runs(&self, key: &AppKey, limit: usize) -> Result<Vec<RunRow>, StoreError>;
    /// The newest run of every app that has one.
    fn latest_runs(&self) -> Result<Vec<RunRow>, StoreError>;

    /// Calls that were about to be made and whose end is not known, oldest first: what a crash left behind.
    fn unfinished(&self, key: &AppKey) -> Result<Vec<(EntryId, Intent)>, StoreError>;
    /// Newest first.
    fn journal(&self, key: &AppKey, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// What the app owns. With [`Inventory::rebuilt`] set and nothing else, this store does not know: read the labels and
    /// give the result to [`History::put_inventory`] before changing anything.
    fn inventory(&self, key: &AppKey) -> Result<Inventory, StoreError>;
    /// Which app of a source owns which objects of clusters.
    fn object_owners(&self, source: &SourceId) -> Result<Vec<(AppName, ObjectKey)>, StoreError>;
    /// Replaces it whole.
    fn put_inventory(&self, key: &AppKey, inventory: &Inventory) -> Result<(), StoreError>;

    /// All apps that this store knows, in order of their keys.
    fn apps(&self) -> Result<Vec<AppEntry>, StoreError>;
    /// Says that `project` on `target` is this app's. [`StoreError::ProjectClaimed`] when it is another's. An app has one
    /// claim: a new one replaces the old one.
    fn claim(&self, key: &AppKey, target: &TargetId, project: &ProjectName) -> Result<(), StoreError>;
    /// Gives the claim up (`down`), keeping everything else.
    fn unclaim(&self, key: &AppKey) -> Result<(), StoreError>;
    /// Forgets an app whole: releases, holds, runs, journal, inventory. Only for one that owns nothing any more.
    fn forget(&self, key: &AppKey) -> Result<(), StoreError>;
}

/// One part of an atomic [`History::write`].
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    State(Box<AppState>),
    Outcome {
        number: u64,
        outcome: Outcome,
    },
    /// Also sets the outcome.
    Stable {
        number: u64,
        at: Timestamp,
    },
    Hold(Hold),
    Lift(Digest),
}

/// A release without what is sealed.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub key: AppKey,
    pub number: u64,
    pub digest: Digest,
    pub content: Digest,
    pub revision: Revision,
    pub subject: String,
    pub author: String,
    pub images: BTreeMap<ServiceName, Pinned>,
    pub created_at: Timestamp,
    pub outcome: Outcome,
    pub stable_at: Option<Timestamp>,
}

/// A release that must not be applied (decision 18).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub digest: Digest,
    pub since: Timestamp,
    /// One masked line.
    pub cause: String,
    pub by: HeldBy,
    /// The release's number, if it got one.
    pub release: Option<u64>,
    pub revision: Revision,
}

/// Who holds a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum HeldBy {
    /// It failed its gate.
    Gate,
    /// A person rolled back (decision 19).
    Person { who: String, why: Option<String> },
}

/// One run of one app.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    pub id: RunId,
    pub key: AppKey,
    /// `apply`, `serve/poll`, …
    pub trigger: String,
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
    pub revision: Option<Revision>,
    pub release: Option<u64>,
    /// The masked report.
    pub report: serde_json::Value,
    pub exit_code: i32,
}

/// One journaled call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: EntryId,
    pub intent: Intent,
    /// `None`: not known (yet).
    pub ending: Option<(Ending, Timestamp)>,
}

/// An app that the store knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppEntry {
    pub key: AppKey,
    /// The engine and Compose project that it claims.
    pub target: Option<TargetId>,
    pub project: Option<ProjectName>,
}
