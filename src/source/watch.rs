//! Wakes the loop when a local repository's refs move.
//!
//! In: a repository's folders. Out: a signal without content. Guaranteed: a commit, a branch switch, a reset and a pack of refs
//! wake it; reading the repository does not. Must not: be relied on: inotify loses events on network and overlay file
//! systems, so the engine's poll stands behind it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::timeout;

/// One commit touches several files within milliseconds; they are one signal.
const SETTLE: Duration = Duration::from_millis(20);
/// A repository that is never quiet is looked at after so many of these.
const RESTLESS: usize = 20;

/// The watch cannot be set up; the poll alone has to do.
#[derive(Debug, thiserror::Error)]
#[error("watch the repository's refs")]
pub struct WatchError(#[from] notify::Error);

/// A watch on a repository's refs. It ends when dropped.
pub struct Watch {
    moved: Arc<Notify>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// `git_dir` holds HEAD; `common_dir` holds refs and packed-refs (they differ in a linked worktree).
    pub(super) fn start(git_dir: &Path, common_dir: &Path) -> Result<Self, WatchError> {
        let moved = Arc::new(Notify::new());
        let wake = Arc::clone(&moved);
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let (git_dir, common_dir) = (real(git_dir), real(common_dir));
        let refs = common_dir.join("refs");
        let told: [PathBuf; 2] = [git_dir.join("HEAD"), common_dir.join("packed-refs")];
        let below = refs.clone();
        // No debouncer of the library: each has a thread that wakes eighty times a second, whether anything happens or not.
        let mut watcher = notify::recommended_watcher(move |result: notify::Result<notify::Event>| {
            let relevant = match result {
                Ok(event) => {
                    let changes = match event.kind {
                        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Any | EventKind::Other => {
                            true
                        }
                        EventKind::Modify(kind) => !matches!(kind, ModifyKind::Metadata(_)),
                        EventKind::Access(_) => false,
                    };
                    let about_refs = event.paths.iter().any(|path| {
                        (told.contains(path) || path.starts_with(&below))
                            && path.extension().is_none_or(|end| end != "lock")
                    });
                    event.need_rescan() || (changes && about_refs)
                }
                // Something was lost: one needless look is cheaper than a missed commit.
                Err(_) => true,
            };
            if relevant {
                wake.notify_one();
            }
        })?;
        watcher.watch(&refs, RecursiveMode::Recursive)?;
        watcher.watch(&common_dir, RecursiveMode::NonRecursive)?;
        if git_dir != common_dir {
            watcher.watch(&git_dir, RecursiveMode::NonRecursive)?;
        }
        Ok(Self {
            moved,
            _watcher: watcher,
        })
    }

    /// Returns when the refs may have moved since the last return, and are quiet. A signal that came in between is not lost,
    /// nor is one whose wait is cancelled.
    pub async fn moved(&self) {
        self.moved.notified().await;
        let mut again = Again(Some(&self.moved));
        for _ in 0..RESTLESS {
            if timeout(SETTLE, self.moved.notified()).await.is_err() {
                break;
            }
        }
        again.0 = None;
    }
}

/// Gives a signal back when the wait for quiet is cancelled.
struct Again<'a>(Option<&'a Notify>);

impl Drop for Again<'_> {
    fn drop(&mut self) {
        if let Some(moved) = self.0 {
            moved.notify_one();
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
