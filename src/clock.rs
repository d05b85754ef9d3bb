//! The only place that asks the machine for the time.
//!
//! In: nothing. Out: wall-clock timestamps and waits. Guaranteed: everything else takes a [`Clock`], so tests run on a
//! set time. Must not: be bypassed; `clippy.toml` disallows `SystemTime::now` and `Timestamp::now` elsewhere.

use std::time::Duration;

use async_trait::async_trait;
pub use jiff::Timestamp;

/// Wall-clock time and waiting.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now, as wall-clock time.
    fn now(&self) -> Timestamp;
    /// Returns after `duration`.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the machine's clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The time between two instants, zero when `later` is before `earlier` (a clock that was set back).
pub fn elapsed(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}
