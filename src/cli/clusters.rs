//! Connections to clusters, each made once.
//!
//! In: specifications. Out: clusters as targets. Guaranteed: all namespaces and accounts of one context share a connection; two
//! that ask at once connect once, and a cluster that does not answer holds up nobody who wants another; a kubeconfig that was
//! changed, or whose credentials were refused, is read again. Must not: choose a cluster.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::live::kubernetes::KubernetesTarget;
use crate::live::kubernetes::config::ClusterSpec;
use crate::live::kubernetes::feeds::Watching;
use crate::live::kubernetes::lease::Leases;
use crate::live::kubernetes::world::Cluster;
use crate::live::{LiveError, Reach};

/// What tells that a file is another one than before, without reading it: its time and its length.
type Stamp = Option<(SystemTime, u64)>;

/// What a connection is kept under: the files, the context, and whether a program may run.
type Key = (Vec<PathBuf>, Option<String>, bool);

/// A place for one connection, and whoever makes it.
type Slot = Arc<tokio::sync::Mutex<Option<Linked>>>;

struct Linked {
    target: Arc<KubernetesTarget>,
    /// The kubeconfig files that led to it.
    stamps: Vec<Stamp>,
}

/// All connections of one command.
#[derive(Default)]
pub struct Clusters {
    watching: Option<Watching>,
    leases: Option<Leases>,
    slots: Mutex<BTreeMap<Key, Slot>>,
}

impl Clusters {
    /// Connections that change things under `leases`; those of a command that only reads have none.
    pub fn under(leases: Leases) -> Self {
        Self {
            leases: Some(leases),
            ..Self::default()
        }
    }

    /// The same, kept for long enough to watch.
    #[must_use]
    pub fn watching(self, watching: Watching) -> Self {
        Self {
            watching: Some(watching),
            ..self
        }
    }

    /// Keeps the leases that are held for as long as this is polled.
    pub async fn keep(&self) -> Infallible {
        match &self.leases {
            Some(leases) => leases.keep().await,
            None => std::future::pending().await,
        }
    }

    /// Gives the leases back: nothing is changed any more.
    pub async fn give_back(&self) {
        if let Some(leases) = &self.leases {
            leases.give_back().await;
        }
    }

    /// The cluster of a specification, connected.
    pub async fn reach(&self, name: Option<&str>, spec: &ClusterSpec) -> Result<Reach, LiveError> {
        let key = (spec.kubeconfigs.clone(), spec.context.clone(), spec.exec);
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(key).or_default())
        };
        // Held while connecting: who comes meanwhile waits for this one.
        let mut slot = slot.lock().await;
        let stamps = stamps(spec);
        if let Some(known) = slot.as_ref()
            && !known.target.is_refused()
            && known.stamps == stamps
        {
            let target: Arc<dyn Cluster> = known.target.beside(name, spec)?;
            return Ok(target.into());
        }
        // The old connection, with its watches, ends when the last run that uses it does.
        *slot = None;
        let target =
            KubernetesTarget::connect(name, spec, self.watching.clone(), self.leases.as_ref()).await?;
        *slot = Some(Linked {
            target: Arc::clone(&target),
            stamps,
        });
        let target: Arc<dyn Cluster> = target;
        Ok(target.into())
    }
}

fn stamps(spec: &ClusterSpec) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let known = std::fs::metadata(path).ok()?;
        Some((known.modified().ok()?, known.len()))
    };
    spec.kubeconfigs.iter().map(stamp).collect()
}
