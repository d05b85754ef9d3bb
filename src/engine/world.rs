//! Every seam in one value: what the loop needs from outside, passed in.
//!
//! In: a store, a clock, a listener, folders. Out: [`World`], [`Turn`]. Guaranteed: there are no statics; two worlds in one
//! process do not know of each other. Must not: read the environment.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::gate::Permit;
use crate::history::History;
use crate::live::Reach;
use crate::names::{AppKey, Digest, InstanceName, Revision, RunId};
use crate::progress::Progress;
use crate::render::Desired;
use crate::render::app::{Prune, Rules};
use crate::report::Trigger;

use super::moves::Neighbourhood;

/// What every run shares.
#[derive(Clone)]
pub struct World {
    pub instance: InstanceName,
    pub history: Arc<dyn History>,
    pub clock: Arc<dyn Clock>,
    pub progress: Arc<dyn Progress>,
    /// `<state>`: holds `files/<app>/<hash>` (trees of commits) and `data/<app>` (relative binds that are not in Git).
    pub state: PathBuf,
}

impl World {
    /// Where trees of the commit are laid out for an app.
    pub fn files(&self, key: &AppKey) -> PathBuf {
        self.state.join("files").join(key.app.as_str())
    }

    /// Where data of relative binds lives on the engine's host.
    pub fn data(&self, key: &AppKey, rules: &Rules) -> String {
        match &rules.host_dir {
            Some(folder) => folder.clone(),
            None => self
                .state
                .join("data")
                .join(key.app.as_str())
                .to_string_lossy()
                .into_owned(),
        }
    }

    /// A new run's id: sorts by time, unique by four random bytes.
    pub fn run_id(&self) -> RunId {
        let mut random = [0; 4];
        // Without randomness the id is still unique by its millisecond for one app, which has one run at a time.
        let _ = getrandom::fill(&mut random);
        RunId::new(self.clock.now().as_millisecond(), random)
    }
}

/// One app that is due, with what Git wants of it.
#[derive(Clone)]
pub struct Turn {
    pub key: AppKey,
    pub target: Reach,
    pub desired: Arc<Desired>,
    pub commit: Commit,
    /// The other apps of the commit, where that may matter.
    pub neighbours: Arc<Neighbourhood>,
    pub trigger: Trigger,
    pub options: Options,
    /// Ends waits without ending writes: cancelled by a stop, or by a newer commit that goes first.
    pub waits: CancellationToken,
}

/// The commit that is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub revision: Revision,
    pub subject: String,
    pub author: String,
    pub time: Option<Timestamp>,
}

/// What the caller wants besides.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub permit: Permit,
    /// Overrides the app's rule.
    pub prune: Option<Prune>,
    /// Take over live objects that differ.
    pub adopt: bool,
    /// Take over objects of another instance (`driftless takeover`).
    pub takeover: bool,
    /// `--no-rollback`.
    pub no_rollback: bool,
    /// Volumes that the command names for deletion.
    pub delete_volumes: Vec<String>,
    /// The plan that a person saw: another one is refused as stale.
    pub expect: Option<Expected>,
    /// How long the caller waits for a verdict; the next run concludes what is open then.
    pub wait: Option<Duration>,
    /// Report drift instead of healing it (`drift: report` under `serve`).
    pub report_drift: bool,
}

/// What was shown to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub release: Digest,
    pub basis: Digest,
}
