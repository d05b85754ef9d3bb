//! Real Docker engines that leave nothing behind.
//!
//! Each runs in network, mount and PID namespaces of its own (`tests/engines/throwaway.sh`), so its bridges, firewall rules and
//! published ports are its own too: a test reaches them with [`Engine::http_get`] and [`Engine::connect`], a program with
//! [`Engine::inside`]. The engine ends when its [`Engine`] is dropped or when the test process dies: it lives as long as a
//! pipe that only the test process holds open.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::command::CommandOutput;
use super::{engines_cache, images, root, wait_until};

/// The engine versions that the suite can run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 20.10, API 1.41: the oldest that Driftless supports.
    V20,
    /// 28.5, API 1.51.
    V28,
    /// 29, API 1.56; only with `make test-engines`.
    V29,
}

impl Version {
    fn number(self) -> &'static str {
        match self {
            Version::V20 => "20",
            Version::V28 => "28",
            Version::V29 => "29",
        }
    }

    /// The folder with the engine's programs: `DRIFTLESS_ENGINE_20` and so on, else where `setup.sh` puts it.
    pub fn programs(self) -> PathBuf {
        std::env::var_os(format!("DRIFTLESS_ENGINE_{}", self.number()))
            .map_or_else(|| engines_cache().join(self.number()).join("bin"), PathBuf::from)
    }
}

/// Defines one test per engine version: `law::engine_20`, `law::engine_28` (and `law::engine_29` with the feature of that
/// name). The body gets the shared engine.
///
/// ```ignore
/// on_engines! {
///     fn unchanged_app_makes_no_mutating_calls(engine) { … }
/// }
/// ```
macro_rules! on_engines {
    ($($(#[$meta:meta])* fn $name:ident($engine:ident) $body:block)*) => {$(
        // Beside its module and not in it: there it sees what its file imports.
        $(#[$meta])*
        fn $name($engine: &'static $crate::support::engine::Engine) $body

        mod $name {
            #[test]
            fn engine_20() {
                super::$name($crate::support::engine::Engine::shared($crate::support::engine::Version::V20));
            }

            #[test]
            fn engine_28() {
                super::$name($crate::support::engine::Engine::shared($crate::support::engine::Version::V28));
            }

            #[cfg(feature = "engine-29")]
            #[test]
            fn engine_29() {
                super::$name($crate::support::engine::Engine::shared($crate::support::engine::Version::V29));
            }
        }
    )*};
}

/// An answer to an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// A running throw-away engine with the test images of [`images`].
pub struct Engine {
    version: Version,
    folder: PathBuf,
    pid: u32,
    network: File,
    child: Child,
    lifeline: Option<ChildStdin>,
    names: AtomicUsize,
    ports: AtomicU16,
}

static V20: OnceLock<Engine> = OnceLock::new();
static V28: OnceLock<Engine> = OnceLock::new();
static V29: OnceLock<Engine> = OnceLock::new();

impl Engine {
    /// The engine that all tests of this binary share; started by the first that asks. Tests keep apart by unique names and
    /// ports ([`Engine::unique`], [`Engine::free_port`]), and never touch what they did not make.
    pub fn shared(version: Version) -> &'static Engine {
        // In a run of the whole suite both will be wanted: start the other one meanwhile. With a filter, only what is asked for.
        static OTHER: std::sync::Once = std::sync::Once::new();
        OTHER.call_once(|| {
            if !std::env::args()
                .skip(1)
                .any(|argument| !argument.starts_with('-'))
            {
                for other in [Version::V20, Version::V28]
                    .into_iter()
                    .filter(|other| *other != version)
                {
                    std::thread::spawn(move || Engine::shared(other));
                }
            }
        });
        let engine = match version {
            Version::V20 => &V20,
            Version::V28 => &V28,
            Version::V29 => &V29,
        };
        engine.get_or_init(|| Engine::private(version))
    }

    /// An engine of its own, for a test that stops, kills or fills it. It ends with the value.
    pub fn private(version: Version) -> Engine {
        Engine::private_with(version, "")
    }

    /// As [`Engine::private`], with more flags for `dockerd`.
    pub fn private_with(version: Version, flags: &str) -> Engine {
        prepare();
        let engine = Engine::start(version, flags);
        images::load(|| engine.docker_command());
        engine
    }

    fn start(version: Version, flags: &str) -> Engine {
        let mut child = Command::new(root().join("tests/engines/throwaway.sh"))
            .arg(version.programs())
            .args([
                "sh",
                "-c",
                "echo \"$DRIFTLESS_ENGINE_PID $DRIFTLESS_ENGINE_DIR\"; exec cat >/dev/null",
            ])
            .env("DRIFTLESS_ENGINE_FLAGS", flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/engines/throwaway.sh can be run");
        let lifeline = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout is piped"))
            .read_line(&mut line)
            .expect("the script answers");
        let Some((pid, folder)) = line.trim().split_once(' ') else {
            panic!("engine {} did not start; what it said is above", version.number());
        };
        let network = File::open(format!("/proc/{pid}/ns/net")).expect("the engine runs");
        // In the engine's folder, which the script removes: a shared engine is never dropped.
        let cli_config = Path::new(folder).join("cli");
        std::fs::create_dir(&cli_config).expect("a folder in the engine's folder");
        std::os::unix::fs::symlink(
            engines_cache().join("28/cli-plugins"),
            cli_config.join("cli-plugins"),
        )
        .expect("a link in a new folder");
        Engine {
            version,
            folder: folder.into(),
            pid: pid.parse().expect("a process id"),
            network,
            child,
            lifeline,
            names: AtomicUsize::new(1),
            ports: AtomicU16::new(20_000),
        }
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its socket, reachable from everywhere on the machine.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    /// Its socket as a value for `DOCKER_HOST`.
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The `DOCKER_CONFIG` folder of its CLI: credentials of a `docker login` are here.
    pub fn cli_config(&self) -> PathBuf {
        self.folder.join("cli")
    }

    /// What `dockerd` logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// A name that no other test on this engine has, for a project, an app or a container.
    pub fn unique(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// A host port that nobody on this engine has. Below the ephemeral range, so the engine does not choose it either.
    pub fn free_port(&self) -> u16 {
        let port = self.ports.fetch_add(1, Ordering::Relaxed);
        assert!(port < 32_000, "the test ports of one engine are used up");
        port
    }

    /// A `docker` command (CLI 28, with `compose`) that talks to this engine.
    pub fn docker_command(&self) -> Command {
        let mut command = Command::new(Version::V28.programs().join("docker"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("HOME", self.cli_config())
            .env("DOCKER_CONFIG", self.cli_config());
        command.env("DOCKER_HOST", self.docker_host());
        command
    }

    /// Runs `docker` with `arguments`.
    pub fn docker(&self, arguments: &[&str]) -> CommandOutput {
        CommandOutput::of(self.docker_command().args(arguments))
    }

    /// Runs `docker` with `arguments`, requires success, and returns what it printed, trimmed.
    #[track_caller]
    pub fn docker_text(&self, arguments: &[&str]) -> String {
        self.docker(arguments).success().text().to_owned()
    }

    /// `docker inspect` of one object.
    #[track_caller]
    pub fn inspect(&self, object: &str) -> serde_json::Value {
        self.docker(&["inspect", object]).success().json()[0].take()
    }

    /// Runs `docker compose` in `folder`: the oracle.
    pub fn compose(&self, folder: &Path, arguments: &[&str]) -> CommandOutput {
        CommandOutput::of(
            self.docker_command()
                .current_dir(folder)
                .arg("compose")
                .args(arguments),
        )
    }

    /// A command that runs `program` in the engine's network, with the machine's files: published ports are on its 127.0.0.1
    /// and container addresses are routed.
    pub fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.pid))
            .arg("--")
            .arg(program);
        command
    }

    /// A command that runs `program` in all of the engine's namespaces: it ends with the engine at the latest.
    pub fn within(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target",
                &self.pid.to_string(),
                "--net",
                "--mount",
                "--pid",
                "--",
            ])
            .arg(program);
        command
    }

    /// A folder in the engine's memory, seen only by programs run with [`Engine::within`].
    pub fn scratch(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Runs `work` in the engine's network: sockets made there belong to it, wherever they are used.
    pub fn in_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        // A thread of its own: a namespace belongs to a thread, and this one ends before anyone else could run on it.
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    nix::sched::setns(&self.network, nix::sched::CloneFlags::CLONE_NEWNET)
                        .expect("the suite runs as root (make test)");
                    work()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Connects to an address in the engine's network.
    pub fn connect(&self, address: impl Into<SocketAddr>) -> io::Result<TcpStream> {
        let address = address.into();
        self.in_network(move || TcpStream::connect_timeout(&address, Duration::from_secs(5)))
    }

    /// `GET path` from a published port.
    pub fn http_get(&self, port: u16, path: &str) -> io::Result<Answer> {
        self.http_get_at(([127, 0, 0, 1], port), path)
    }

    /// `GET path` from any address in the engine's network, such as a container's.
    pub fn http_get_at(&self, address: impl Into<SocketAddr>, path: &str) -> io::Result<Answer> {
        let mut stream = self.connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        // A connection that is cut before the answer is complete must not look like an answer.
        let cut = || {
            io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("incomplete answer: {text:?}"),
            )
        };
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(cut)?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or_else(cut)?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        if length.is_some_and(|length| length != body.len()) {
            return Err(cut());
        }
        Ok(Answer {
            status,
            body: body.to_owned(),
        })
    }

    /// Waits until `GET path` from a published port answers 200, and returns the body.
    #[track_caller]
    pub fn wait_for_http(&self, port: u16, path: &str) -> String {
        super::wait_for(
            &format!("200 from port {port}{path}"),
            Duration::from_secs(20),
            || {
                self.http_get(port, path)
                    .ok()
                    .filter(|answer| answer.status == 200)
                    .map(|answer| answer.body)
            },
        )
    }

    /// The address of a container in `network`.
    #[track_caller]
    pub fn address_of(&self, container: &str, network: &str) -> std::net::IpAddr {
        let path = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
        self.docker_text(&["inspect", "-f", &path, container])
            .parse()
            .expect("an address")
    }

    // Everything below is for private engines only: it would break the tests that share one.

    /// Stops `dockerd` as an operator would (SIGTERM) and waits until it is gone.
    pub fn stop_daemon(&self) {
        self.signal_daemon("TERM");
        wait_until("dockerd has ended", Duration::from_secs(20), || {
            !self.daemon_lives()
        });
    }

    /// Kills `dockerd` (SIGKILL); shims and containers go on.
    pub fn kill_daemon(&self) {
        self.signal_daemon("KILL");
        wait_until("dockerd has ended", Duration::from_secs(5), || {
            !self.daemon_lives()
        });
    }

    /// Starts `dockerd` again, and waits until it answers.
    pub fn start_daemon(&self) {
        drop(
            CommandOutput::of(
                self.within(self.folder.join("start"))
                    .stdout(Stdio::null())
                    .stderr(Stdio::null()),
            )
            .success(),
        );
    }

    /// Hangs `dockerd`: connections succeed, nothing answers.
    pub fn freeze_daemon(&self) {
        self.signal_daemon("STOP");
    }

    /// Ends [`Engine::freeze_daemon`].
    pub fn thaw_daemon(&self) {
        self.signal_daemon("CONT");
    }

    /// Kills the script that holds the engine, as an out-of-memory kill would.
    pub fn kill_script(&mut self) {
        self.child.kill().expect("the script runs");
        self.child.wait().expect("a child can be waited for");
    }

    /// A process in the engine's namespaces.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    fn daemon(&self) -> String {
        std::fs::read_to_string(self.folder.join("engine-pid"))
            .expect("the engine was started")
            .trim()
            .to_owned()
    }

    fn daemon_lives(&self) -> bool {
        // A zombie has ended; its parent is the namespace's first process, which reaps it later.
        CommandOutput::of(self.within("grep").args([
            "-q",
            "^State:.[^Z]",
            &format!("/proc/{}/status", self.daemon()),
        ]))
        .status
            == Some(0)
    }

    fn signal_daemon(&self, signal: &str) {
        assert!(!self.is_shared(), "a shared engine must not be stopped");
        drop(CommandOutput::of(self.within("kill").args([&format!("-{signal}"), &self.daemon()])).success());
    }

    fn is_shared(&self) -> bool {
        [&V20, &V28, &V29]
            .iter()
            .any(|cell| cell.get().is_some_and(|engine| engine.pid == self.pid))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // Killing the script ends the namespaces (--pdeathsig, --kill-child), and with them everything.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Brings what is missing on this machine; a few milliseconds when nothing is. Plain `cargo test` works by this.
pub fn prepare() {
    static READY: OnceLock<()> = OnceLock::new();
    READY.get_or_init(|| {
        let status = Command::new(root().join("tests/engines/setup.sh"))
            .stdin(Stdio::null())
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "tests/engines/setup.sh failed; what it said is above"
        );
    });
}
