//! Ctrl-C and SIGTERM: the first ends at a step boundary, the second leaves at once.
//!
//! In: signals. Out: a cancelled token. Guaranteed: the first signal says what happens; the second ends the process without
//! asking anything. Must not: interrupt a call that was sent.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::report::Exit;

/// Which signal came first: 0 none, else the exit code's number.
static FIRST: AtomicU8 = AtomicU8::new(0);

/// Listens from now on.
pub fn drain(stop: &CancellationToken, context: &Context) {
    let stop = stop.clone();
    let quiet = context.output.quiet();
    #[expect(
        clippy::disallowed_methods,
        reason = "listens for as long as the process lives; there is nothing to await"
    )]
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        loop {
            let exit = tokio::select! {
                // Safe to cancel: a signal stream keeps what it has not delivered.
                _ = interrupt.recv() => Exit::Interrupted,
                _ = terminate.recv() => Exit::Terminated,
            };
            if FIRST.swap(exit.code(), Ordering::SeqCst) != 0 {
                #[expect(
                    clippy::exit,
                    clippy::disallowed_methods,
                    reason = "the second signal leaves at once, by promise"
                )]
                std::process::exit(i32::from(exit.code()));
            }
            if !quiet {
                super::output::say_err("\nstopping at the next step; once more leaves at once\n");
            }
            stop.cancel();
        }
    });
}

/// The exit code, when a signal ended the work.
pub fn exit(stop: &CancellationToken, exit: Exit) -> Exit {
    match FIRST.load(Ordering::SeqCst) {
        code if stop.is_cancelled() && code == Exit::Terminated.code() => Exit::Terminated,
        code if stop.is_cancelled() && code == Exit::Interrupted.code() => Exit::Interrupted,
        _ => exit,
    }
}
