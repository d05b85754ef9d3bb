//! A customer who asks the shop all the time, to see what a release costs.
//!
//! In: how to ask. Out: how many answers were good. Guaranteed: one question at a time. Must not: judge.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

/// Between two questions.
const PACE: Duration = Duration::from_millis(20);

/// How long an answer may take before the customer goes away.
const PATIENCE: Duration = Duration::from_secs(5);

/// The customer; gone when dropped.
pub struct Visitor {
    counts: Arc<Counts>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    good: AtomicU64,
    bad: AtomicU64,
}

impl Visitor {
    /// Starts asking with `ask`, which says whether the answer was good.
    pub fn start<F>(ask: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = bool> + Send,
    {
        let counts = Arc::new(Counts::default());
        let mut task = JoinSet::new();
        let counted = counts.clone();
        task.spawn(async move {
            loop {
                let good = tokio::time::timeout(PATIENCE, ask()).await.unwrap_or(false);
                let count = if good { &counted.good } else { &counted.bad };
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PACE).await;
            }
        });
        Self { counts, _task: task }
    }

    /// Good and bad answers so far.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.counts.good.load(Ordering::Relaxed),
            self.counts.bad.load(Ordering::Relaxed),
        )
    }
}
