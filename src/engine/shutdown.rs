//! How the loop ends: at a step boundary, recorded; or at once, when a person insists.
//!
//! In: SIGTERM, SIGINT, SIGHUP. Out: a [`Stop`] that everything below the loop looks at. Guaranteed: the first signal lets each
//! run finish the call that it is in and write down where it stood; the second one leaves at once, and the journal says
//! what was open. Must not: end a process itself.

use std::future::Future;
use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Two tokens, and a bell.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Finish the step, record it, return.
    pub drain: CancellationToken,
    /// Do not even wait for that.
    pub leave: CancellationToken,
    /// Rings when everything shall be looked at anew (SIGHUP).
    bell: watch::Sender<u64>,
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// Nothing is asked for yet.
    pub fn new() -> Self {
        Self {
            drain: CancellationToken::new(),
            leave: CancellationToken::new(),
            bell: watch::Sender::new(0),
        }
    }

    /// Asks every source now, and reads the operator's files of every app again.
    pub fn ring(&self) {
        self.bell.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Hears [`Stop::ring`].
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }
}

/// Which signal ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    Terminate,
}

/// Does `work` while listening: the first SIGTERM or SIGINT drains, the second leaves, SIGHUP rings. Returns what `work` came
/// to, and the first signal if there was one.
pub async fn listening<F: Future>(stop: &Stop, work: F) -> io::Result<(F::Output, Option<Signal>)> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut first = None;
    tokio::pin!(work);
    loop {
        let got = tokio::select! {
            // `work` is pinned outside: losing a race here only pauses it until the next turn.
            output = &mut work => return Ok((output, first)),
            // Signal streams keep what came in between; not being polled for a turn loses nothing.
            Some(()) = terminate.recv() => Signal::Terminate,
            Some(()) = interrupt.recv() => Signal::Interrupt,
            Some(()) = hang_up.recv() => {
                stop.ring();
                continue;
            }
        };
        if stop.drain.is_cancelled() {
            tracing::warn!("leaving at once; what was under way is concluded at the next start");
            stop.leave.cancel();
        } else {
            tracing::info!("stopping at the next step; a second signal leaves at once");
            first = Some(got);
            stop.drain.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_signal_drains_and_the_second_leaves() {
        let stop = Stop::new();
        let me = nix::unistd::getpid();
        let inner = stop.clone();
        let mut bell = stop.bell();
        let work = async move {
            nix::sys::signal::kill(me, nix::sys::signal::Signal::SIGHUP).expect("signal");
            bell.changed().await.expect("rings");
            nix::sys::signal::kill(me, nix::sys::signal::Signal::SIGTERM).expect("signal");
            inner.drain.cancelled().await;
            assert!(!inner.leave.is_cancelled());
            nix::sys::signal::kill(me, nix::sys::signal::Signal::SIGTERM).expect("signal");
            inner.leave.cancelled().await;
            7
        };
        let ended = listening(&stop, work).await.expect("signals can be heard");
        assert_eq!(ended, (7, Some(Signal::Terminate)));
    }
}
