//! Intent before, outcome after: the audit record of every change to live state (promise 10).
//!
//! In: what is about to be called. Out: nothing to decide on, only proof. Guaranteed by implementations: `intend` returns
//! only when the entry is on disk; an error means the call must not be made ("no audit, no change"). Must not: hold
//! request bodies or secret values.

use crate::clock::Timestamp;
use crate::live::kubernetes::world::OwnedObject;
use crate::live::world::{ContainerId, JobDone, OwnedContainer};
use crate::names::{AppKey, Digest, ObjectKey, ResourceKey, RunId, ServiceName};

/// A mutating call that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub run: RunId,
    pub key: AppKey,
    pub resource: ResourceKey,
    /// The op's one-line text.
    pub op: String,
    pub at: Timestamp,
}

/// The number of an entry in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId(pub i64);

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The engine confirmed it; `id` names what was made.
    Done { id: Option<String> },
    /// The engine refused it; nothing happened. Masked text.
    Refused { error: String },
    /// The answer was lost: it may or may not have happened.
    Unknown { error: String },
}

/// The journal could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write the journal")]
pub struct JournalError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Where intents and endings are written.
pub trait Journal: Send + Sync {
    /// Writes an intent durably.
    fn intend(&self, intent: &Intent) -> Result<EntryId, JournalError>;
    /// Completes it.
    fn complete(&self, entry: EntryId, ending: &Ending, at: Timestamp) -> Result<(), JournalError>;
}

/// One fact for the inventory, written right after the call that made it true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// We made it, took it over, or changed it.
    Own {
        id: ContainerId,
        container: OwnedContainer,
    },
    /// It is gone, or no longer ours.
    Disown { id: ContainerId },
    /// We made or took over a network.
    OwnNetwork { name: String, spec: Digest },
    /// It is gone.
    DisownNetwork { name: String },
    /// We made or took over a volume.
    OwnVolume { name: String, spec: Digest },
    /// It is gone.
    DisownVolume { name: String },
    /// We made or took over an object of a cluster, or wrote to it.
    OwnObject { key: ObjectKey, object: OwnedObject },
    /// It is gone, or no longer ours.
    DisownObject { key: ObjectKey },
    /// A one-shot succeeded.
    JobDone { service: ServiceName, done: JobDone },
}

/// The journal together with the inventory that it proves.
pub trait Ledger: Journal {
    /// Writes one fact.
    fn note(&self, key: &AppKey, fact: Fact) -> Result<(), JournalError>;
}
