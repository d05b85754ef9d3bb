//! Runs the program itself, as a person would type it.
//!
//! In: arguments. Out: its lines while they come, and its exit code. Guaranteed: the child sees no setting, configuration
//! or credentials of the person who runs the demo; it ends with the demo. Must not: interpret the lines.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// How long a stopped child gets to reach a step boundary.
const GRACE: Duration = Duration::from_secs(20);

/// How long one command may take at all.
const DEADLINE: Duration = Duration::from_secs(300);

/// Where the commands are run.
pub struct Shell {
    /// The program.
    pub program: PathBuf,
    /// The folder it stands in: the repository.
    pub folder: PathBuf,
    /// All of its environment.
    pub variables: Vec<(OsString, OsString)>,
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// All it said, on both streams.
    pub text: String,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// It could not be started or read.
    #[error("run {program}")]
    Io {
        program: String,
        #[source]
        source: std::io::Error,
    },
    /// It did not end.
    #[error("`driftless {arguments}` did not end within {} s", DEADLINE.as_secs())]
    Hangs { arguments: String },
    /// A person pressed Ctrl-C.
    #[error("interrupted")]
    Stopped,
}

impl Shell {
    /// Runs the program with `arguments`; `line` hears of each line when it comes.
    pub async fn run(
        &self,
        arguments: &[&str],
        line: &dyn Fn(&str),
        stop: &CancellationToken,
    ) -> Result<Ran, ShellError> {
        let failed = |source| ShellError::Io {
            program: self.program.display().to_string(),
            source,
        };
        // One pipe for both streams, so that the lines stay in the order in which they were written.
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .kill_on_drop(true);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(failed)?)
            .stderr(writer);
        let mut child = command.spawn().map_err(failed)?;
        // The command holds the pipe's other end: without this the lines would never end.
        drop(command);
        let receiver = Receiver::from_owned_fd(reader.into()).map_err(failed)?;
        let mut lines = BufReader::new(receiver).lines();
        let mut text = String::new();
        let mut read = async || -> std::io::Result<()> {
            while let Some(next) = lines.next_line().await? {
                line(&next);
                text.push_str(&next);
                text.push('\n');
            }
            Ok(())
        };
        let mut deadline = std::pin::pin!(tokio::time::sleep(DEADLINE));
        let ended = tokio::select! {
            ended = read() => ended.map_err(failed),
            () = &mut deadline => Err(ShellError::Hangs { arguments: arguments.join(" ") }),
            () = stop.cancelled() => Err(ShellError::Stopped),
        };
        if let Err(error) = ended {
            // It stops at a step boundary; only then is it safe to remove what it was making.
            terminate(&child);
            let _ = tokio::time::timeout(GRACE, async { (read().await, child.wait().await) }).await;
            let _ = child.kill().await;
            return Err(error);
        }
        let status = child.wait().await.map_err(failed)?;
        Ok(Ran {
            code: status.code(),
            text,
        })
    }
}

fn terminate(child: &tokio::process::Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid {
        // It may have ended already (a Ctrl-C in a terminal reaches both of us).
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    }
}
