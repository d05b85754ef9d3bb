//! Whose live state moved, as the watches of targets see it.
//!
//! In: names of apps, from any task. Out: all names since the last look. Guaranteed: a name that was noted is taken once,
//! however often it was noted meanwhile, so a storm of events costs one look; nothing is lost while nobody waits. Must not:
//! say what moved: a hint is not proof, the look is.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Apps to be looked at.
#[derive(Debug, Default)]
pub struct Stirred {
    apps: Mutex<BTreeSet<String>>,
    bell: Notify,
}

impl Stirred {
    /// Something of this app moved. `app` is the name as targets mark it, which may be shortened.
    pub fn note(&self, app: &str) {
        if self.lock().insert(app.to_owned()) {
            self.bell.notify_one();
        }
    }

    /// Waits until something moved and takes all names. Safe to cancel: what was not returned is still there.
    pub async fn next(&self) -> BTreeSet<String> {
        loop {
            let apps = std::mem::take(&mut *self.lock());
            if !apps.is_empty() {
                return apps;
            }
            self.bell.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_taken_once_and_none_is_lost() {
        let stirred = Stirred::default();
        stirred.note("web");
        stirred.note("web");
        stirred.note("blog");
        assert_eq!(stirred.next().await, ["blog", "web"].map(str::to_owned).into());
        let waiting = stirred.next();
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        stirred.note("web");
        assert_eq!(waiting.await, ["web".to_owned()].into());
    }
}
