//! Registries on the loopback of an engine's network: a real one, and one that answers what a test wants.
//!
//! An engine takes every registry in 127.0.0.0/8 without TLS.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::command::CommandOutput;
use super::engine::Engine;
use super::{engines_cache, wait_until};

/// The user that [`Registry::with_password`] knows.
pub const USER: &str = "deployer";
/// Their password; a canary that must not be seen anywhere.
pub const PASSWORD: &str = "canary-password-7431";
/// bcrypt, the only form that the registry takes.
const HTPASSWD: &str = "deployer:$2b$04$DlwXujwtzAP5AVrqkueKFeX1uME97XC36Jv7TJtwPpC6UGB7jNp46\n";

/// Debian's docker-registry inside an engine's namespaces: it ends with the engine at the latest.
pub struct Registry {
    engine: &'static Engine,
    port: u16,
    folder: String,
}

impl Registry {
    /// Starts a registry that serves everyone.
    pub fn start(engine: &'static Engine) -> Self {
        Self::launch(engine, false)
    }

    /// Starts a registry that serves only [`USER`] with [`PASSWORD`] (HTTP Basic).
    pub fn with_password(engine: &'static Engine) -> Self {
        Self::launch(engine, true)
    }

    fn launch(engine: &'static Engine, password: bool) -> Self {
        let port = engine.free_port();
        let folder = format!("{}/registry-{port}", engine.scratch().display());
        let auth = if password {
            format!("auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n")
        } else {
            String::new()
        };
        let config = format!(
            "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: true}}}}\n{auth}\
             storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n"
        );
        let script =
            "mkdir -p \"$1/data\"; printf %s \"$2\" >\"$1/config.yml\"; printf %s \"$3\" >\"$1/htpasswd\"
            \"$0\" serve \"$1/config.yml\" >\"$1/log\" 2>&1 & echo $! >\"$1/pid\"";
        let mut command = engine.within("sh");
        command
            .args(["-c", script])
            .arg(engines_cache().join("tools/docker-registry"))
            .args([&folder, &config, HTPASSWD]);
        drop(CommandOutput::of(command.stdout(Stdio::null()).stderr(Stdio::null())).success());
        let registry = Self { engine, port, folder };
        wait_until("the registry answers", Duration::from_secs(10), || {
            engine.http_get(port, "/v2/").is_ok()
        });
        if password {
            let mut login = engine.docker_command();
            login.args([
                "login",
                &registry.address(),
                "--username",
                USER,
                "--password-stdin",
            ]);
            drop(CommandOutput::with_input(&mut login, PASSWORD.as_bytes()).success());
        }
        registry
    }

    /// `127.0.0.1:PORT`, what an image reference starts with.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Pushes a local image as `name` (`shop/web:1`, say) and returns its repository digest. The tag that the push needed is
    /// removed again, so a deployment must pull.
    pub fn push(&self, image: &str, name: &str) -> String {
        let reference = format!("{}/{name}", self.address());
        drop(self.engine.docker(&["tag", image, &reference]).success());
        let pushed = self.engine.docker(&["push", &reference]).success();
        drop(self.engine.docker(&["rmi", &reference]).success());
        let digest = pushed
            .stdout
            .split_whitespace()
            .skip_while(|word| *word != "digest:")
            .nth(1);
        digest
            .unwrap_or_else(|| panic!("no digest in\n{pushed}"))
            .to_owned()
    }

    /// Ends it, as an outage would.
    pub fn stop(&self) {
        let script = "kill -KILL $(cat \"$0/pid\")";
        drop(CommandOutput::of(self.engine.within("sh").args(["-c", script, &self.folder])).success());
        wait_until("the registry is gone", Duration::from_secs(5), || {
            self.engine.http_get(self.port, "/v2/").is_err()
        });
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let script = "kill -KILL $(cat \"$0/pid\"); rm -rf \"$0\"";
        drop(CommandOutput::of(self.engine.within("sh").args([
            "-c",
            script,
            &self.folder,
        ])));
    }
}

/// A registry that answers every request with the status that the repository names: `127.0.0.1:PORT/s429/x:1` with 429.
pub struct FakeRegistry {
    engine: &'static Engine,
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl FakeRegistry {
    /// Starts it; it ends when dropped.
    pub fn start(engine: &'static Engine) -> Self {
        let port = engine.free_port();
        // The socket belongs to the engine's network wherever it is served from.
        let listener = engine
            .in_network(|| TcpListener::bind(("127.0.0.1", port)))
            .expect("the port is free");
        let (seen, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (log, ended) = (Arc::clone(&seen), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let log = Arc::clone(&log);
                // A client that goes away early is its own business.
                std::thread::spawn(move || drop(answer(stream, &log)));
            }
        });
        Self {
            engine,
            port,
            seen,
            stop,
        }
    }

    /// An image reference whose pull is answered with `status`.
    pub fn image(&self, status: u16) -> String {
        format!("127.0.0.1:{}/s{status}/x:1", self.port)
    }

    /// The requests so far, as `GET /v2/…`.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept call.
        let _ = self.engine.connect(([127, 0, 0, 1], self.port));
    }
}

fn answer(mut stream: TcpStream, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // Engine 29 tries TLS first, and falls back to plain HTTP when a hello is answered by a plain HTTP line.
    let mut first = [0];
    if stream.peek(&mut first)? == 1 && first[0] == 0x16 {
        return stream.write_all(b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\n");
    }
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
    }
    let (method, path) = request
        .rsplit_once(' ')
        .and_then(|(start, _)| start.split_once(' '))
        .unwrap_or_default();
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(format!("{method} {path}"));
    let status: u16 = path
        .strip_prefix("/v2/s")
        .and_then(|rest| rest.split('/').next())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(200);
    let (code, extra) = match status {
        401 => ("UNAUTHORIZED", "WWW-Authenticate: Basic realm=\"x\"\r\n"),
        404 => ("MANIFEST_UNKNOWN", ""),
        429 => ("TOOMANYREQUESTS", "Retry-After: 1\r\n"),
        _ => ("UNKNOWN", ""),
    };
    let body = if status == 200 {
        "{}".to_owned()
    } else {
        serde_json::json!({ "errors": [{ "code": code, "message": format!("made up {status}") }] })
            .to_string()
    };
    let head = format!(
        "HTTP/1.1 {status} Made Up\r\nContent-Type: application/json\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\
         {extra}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    if method == "HEAD" {
        Ok(())
    } else {
        stream.write_all(body.as_bytes())
    }
}
