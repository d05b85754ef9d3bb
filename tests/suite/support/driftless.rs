//! Runs the built `driftless` as a user would, with nothing of the machine's environment.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::command::CommandOutput;
use super::engine::Engine;
use super::{engines_cache, wait_for};

/// A user's home: environment, configuration and state for some runs of `driftless`.
pub struct TestEnv {
    home: tempfile::TempDir,
    engine: Option<&'static Engine>,
    variables: Vec<(String, String)>,
}

impl TestEnv {
    /// Without any engine: `DOCKER_HOST` names a socket that does not exist.
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("a folder for a home");
        let nothing = format!("unix://{}/no-engine.sock", home.path().display());
        Self {
            home,
            engine: None,
            variables: Vec::new(),
        }
        .var("DOCKER_HOST", &nothing)
    }

    /// On a shared engine, inside its network.
    pub fn on(engine: &'static Engine) -> Self {
        let mut env = Self::new().var("DOCKER_HOST", &engine.docker_host());
        env.engine = Some(engine);
        env
    }

    /// Sets an environment variable for all runs.
    pub fn var(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// Sets an environment variable for all later runs; `DOCKER_HOST` for a proxy, say.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(existing, _)| existing != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// The home folder.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The state folder (`$XDG_STATE_HOME/driftless`).
    pub fn state(&self) -> PathBuf {
        self.home().join(".local/state/driftless")
    }

    /// The folder of `config.yaml`.
    pub fn config(&self) -> PathBuf {
        self.home().join(".config/driftless")
    }

    /// Writes a file below the configuration folder, such as `config.yaml` or `vars/web.env`.
    pub fn write_config(&self, path: &str, text: &str) {
        let file = self.config().join(path);
        std::fs::create_dir_all(file.parent().expect("a file lies in a folder"))
            .expect("folders can be made");
        std::fs::write(file, text).expect("the file can be written");
    }

    /// The command that would be run in `folder`; for a test that wants to change more.
    pub fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let binary = env!("CARGO_BIN_EXE_driftless");
        let mut command = self
            .engine
            .map_or_else(|| Command::new(binary), |engine| engine.inside(binary));
        command.args(arguments).current_dir(folder).env_clear();
        command.env("PATH", path());
        command
            .env("HOME", self.home())
            .env("COLUMNS", "120")
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC");
        command.env("XDG_STATE_HOME", self.home().join(".local/state"));
        command.env("XDG_CONFIG_HOME", self.home().join(".config"));
        command.env("XDG_CACHE_HOME", self.home().join(".cache"));
        command.env("XDG_DATA_HOME", self.home().join(".local/share"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `driftless` in `folder` to its end.
    pub fn run(&self, folder: &Path, arguments: &[&str]) -> CommandOutput {
        CommandOutput::of(&mut self.command(folder, arguments))
    }

    /// Starts `driftless` in `folder`, for `serve` and for runs that are interrupted.
    pub fn start(&self, folder: &Path, arguments: &[&str]) -> Running {
        let logs = tempfile::tempdir().expect("a folder for the output");
        let file = |name: &str| File::create(logs.path().join(name)).expect("a file in a new folder");
        let mut command = self.command(folder, arguments);
        let child = command
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn();
        let line = CommandOutput::new(&command, no_output()).line;
        Running {
            child: child.expect("driftless starts"),
            logs,
            line,
        }
    }
}

impl Default for TestEnv {
    fn default() -> Self {
        Self::new()
    }
}

/// The machine's programs, and after them those that a small machine lacks (ssh).
fn path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(engines_cache().join("tools"));
    path
}

fn no_output() -> std::process::Output {
    std::process::Output {
        status: std::process::ExitStatus::default(),
        stdout: Vec::new(),
        stderr: Vec::new(),
    }
}

/// A `driftless` that runs; killed when dropped.
pub struct Running {
    child: Child,
    logs: tempfile::TempDir,
    line: String,
}

impl Running {
    /// Its process id (nsenter replaces itself, so it is the program's own).
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        std::fs::read_to_string(self.logs.path().join("stdout")).unwrap_or_default()
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.logs.path().join("stderr")).unwrap_or_default()
    }

    /// Waits until it has written `text` to either stream.
    #[track_caller]
    pub fn wait_to_say(&mut self, text: &str, deadline: Duration) {
        let start = std::time::Instant::now();
        loop {
            // Before its words: what it says last is said before it ends.
            let ended = self.child.try_wait().ok().flatten();
            let said = self.stdout() + &self.stderr();
            if said.contains(text) {
                return;
            }
            let line = &self.line;
            assert!(ended.is_none(), "{line} ended without saying {text:?}:\n{said}");
            assert!(
                start.elapsed() < deadline,
                "waited {deadline:?} in vain for {text:?} from {line}:\n{said}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).expect("a process id"));
        nix::sys::signal::kill(pid, signal).expect("the process is there");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self, deadline: Duration) -> CommandOutput {
        let status = wait_for(&format!("the end of {}", self.line), deadline, || {
            self.child.try_wait().ok().flatten()
        });
        CommandOutput {
            line: self.line.clone(),
            status: status.code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    /// SIGTERM, then waits for its end.
    #[track_caller]
    pub fn terminate(self, deadline: Duration) -> CommandOutput {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.wait(deadline)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
