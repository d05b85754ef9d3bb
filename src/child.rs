//! A child process that cannot outlive its use: `git`, `kustomize`, `helm`.
//!
//! In: a program, arguments, an environment built from nothing, a deadline, caps. Out: what it printed. Guaranteed: it
//! leads its own process group, and the whole group dies on the deadline, on a cap, and when the caller goes away. Must
//! not: be given anything by way of a shell's parsing, or see this process's environment.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// One run of a program.
pub struct Call {
    /// The program: a path, or a name that is looked for on the `PATH` of `env`.
    pub program: OsString,
    /// Arguments, without secrets.
    pub args: Vec<OsString>,
    /// The whole environment. A credential may be here, so there is no `Debug`.
    pub env: Vec<(OsString, OsString)>,
    /// The folder to run in.
    pub dir: PathBuf,
    /// Inherited as standard input; nothing if `None`.
    pub stdin: Option<File>,
    /// How long it may take.
    pub deadline: Duration,
    /// The most bytes of standard output.
    pub cap: u64,
}

/// What a run printed.
#[derive(Debug, Default)]
pub struct Printed {
    /// Whether it ended with success.
    pub success: bool,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error, its first 256 KiB.
    pub stderr: String,
}

/// Why a run has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It cannot be started.
    #[error("start the program")]
    Start(#[source] std::io::Error),
    /// The deadline passed; its process group was killed.
    #[error("no answer in time")]
    Deadline,
    /// It printed too much; its process group was killed.
    #[error("too much output")]
    OverCap,
}

const STDERR_CAP: u64 = 256 * 1024;

/// Runs a program to its end. Dropped while it waits: the group is killed.
pub async fn run(call: Call) -> Result<Printed, CallError> {
    let mut command = tokio::process::Command::new(&call.program);
    command
        .args(&call.args)
        .env_clear()
        .envs(call.env)
        .current_dir(&call.dir);
    command
        .stdin(call.stdin.map_or_else(Stdio::null, Stdio::from))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(CallError::Start)?;
    let mut group = Group(child.id());
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(CallError::Start(std::io::Error::other("no pipes")));
    };
    let run = async {
        let read_out = async {
            let bytes = read_capped(stdout, call.cap).await;
            // Over the cap: stop at once rather than after standard error ends too.
            if bytes.len() as u64 > call.cap {
                Err(CallError::OverCap)
            } else {
                Ok(bytes)
            }
        };
        let read_err = async { Ok(read_drained(stderr, STDERR_CAP).await) };
        let (stdout, stderr) = tokio::try_join!(read_out, read_err)?;
        let status = child.wait().await.map_err(CallError::Start)?;
        Ok(Printed {
            success: status.success(),
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    };
    let printed = match tokio::time::timeout(call.deadline, run).await {
        Ok(printed) => printed?,
        // The group is killed when `group` is dropped.
        Err(_) => return Err(CallError::Deadline),
    };
    // Reaped: its id may belong to somebody else from now on.
    group.0 = None;
    Ok(printed)
}

/// Kills the whole group (git, its remote helper, ssh) unless the leader was reaped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) {
            // It fails only where the group is gone already, which is what is wanted.
            let _ =
                nix::sys::signal::killpg(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

async fn read_capped(pipe: impl AsyncRead + Unpin, cap: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A pipe that breaks ends the output; the exit status tells the rest.
    let _ = pipe.take(cap.saturating_add(1)).read_to_end(&mut bytes).await;
    bytes
}

async fn read_drained(mut pipe: impl AsyncRead + Unpin, cap: u64) -> Vec<u8> {
    let mut bytes = read_capped(&mut pipe, cap).await;
    bytes.truncate(usize::try_from(cap).unwrap_or(usize::MAX));
    let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    bytes
}
