//! The `git` child: the only thing that touches the network.
//!
//! In: arguments, an environment built from nothing, a deadline, caps. Out: what it printed. Guaranteed: what
//! [`crate::child`] guarantees; no argument and no kept text holds a credential. Must not: see this process's environment.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

pub use crate::child::{CallError, Printed};

/// One run of `git`.
#[derive(Default)]
pub struct Call {
    /// Arguments, without secrets.
    pub args: Vec<OsString>,
    /// Further environment variables. A credential may be here, so there is no `Debug`.
    pub env: Vec<(OsString, OsString)>,
    /// The folder to run in.
    pub dir: PathBuf,
    /// Inherited as standard input: the lock, so that it stays held as long as the child lives, even when we are killed.
    pub lock: Option<File>,
    /// How long it may take.
    pub deadline: Duration,
    /// The most bytes of standard output.
    pub cap: u64,
}

/// The seam between a mirror and `git`; tests count and script it.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Runs `git` once.
    async fn run(&self, call: Call) -> Result<Printed, CallError>;
    /// How many processes were started so far.
    fn processes(&self) -> u64;
}

/// The real `git`, found on the `PATH` of the environment it is given.
#[derive(Debug, Default)]
pub struct GitChild {
    started: AtomicU64,
}

#[async_trait]
impl Transport for GitChild {
    async fn run(&self, call: Call) -> Result<Printed, CallError> {
        self.started.fetch_add(1, Ordering::Relaxed);
        crate::child::run(crate::child::Call {
            program: "git".into(),
            args: call.args,
            env: call.env,
            dir: call.dir,
            stdin: call.lock,
            deadline: call.deadline,
            cap: call.cap,
        })
        .await
    }

    fn processes(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }
}
