//! Where an app goes: an engine or a cluster.
//!
//! In: a connected target. Out: the trait of its platform. Guaranteed: asking an engine for objects, or a cluster for
//! containers, is an error and never an empty answer. Must not: connect.

use std::sync::Arc;

use super::kubernetes::lease::Keeper;
use super::kubernetes::world::Cluster;
use super::world::Target;
use super::{LiveError, Problem};
use crate::names::TargetId;

/// A connected target.
#[derive(Clone)]
pub enum Reach {
    Engine(Arc<dyn Target>),
    Cluster(Arc<dyn Cluster>),
}

impl Reach {
    /// Its name for people.
    pub fn name(&self) -> &str {
        match self {
            Reach::Engine(target) => target.name(),
            Reach::Cluster(cluster) => cluster.name(),
        }
    }

    /// Its own id, as at the connect.
    pub fn id(&self) -> &TargetId {
        match self {
            Reach::Engine(target) => target.id(),
            Reach::Cluster(cluster) => cluster.id(),
        }
    }

    /// The engine that it is.
    pub fn engine(&self) -> Result<&dyn Target, LiveError> {
        match self {
            Reach::Engine(target) => Ok(target.as_ref()),
            Reach::Cluster(cluster) => Err(wrong(
                cluster.name(),
                "a cluster, and this app is made of containers",
            )),
        }
    }

    /// What says whether we may change it, where something does.
    pub fn keeper(&self) -> Option<&Arc<Keeper>> {
        match self {
            Reach::Engine(_) => None,
            Reach::Cluster(cluster) => cluster.keeper(),
        }
    }

    /// The cluster that it is.
    pub fn cluster(&self) -> Result<&dyn Cluster, LiveError> {
        match self {
            Reach::Cluster(cluster) => Ok(cluster.as_ref()),
            Reach::Engine(target) => Err(wrong(
                target.name(),
                "a Docker engine, and this app is made of Kubernetes objects",
            )),
        }
    }
}

fn wrong(name: &str, what: &str) -> LiveError {
    let message = format!("{name} is {what}");
    LiveError::new("use the target", Problem::Refused { status: 0, message })
}

impl From<Arc<dyn Target>> for Reach {
    fn from(target: Arc<dyn Target>) -> Self {
        Reach::Engine(target)
    }
}

impl From<Arc<dyn Cluster>> for Reach {
    fn from(cluster: Arc<dyn Cluster>) -> Self {
        Reach::Cluster(cluster)
    }
}
