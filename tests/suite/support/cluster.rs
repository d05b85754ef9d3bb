//! A real Kubernetes that leaves nothing behind: API server, controllers, scheduler, and a node with real pods.
//!
//! `tests/cluster/throwaway.sh` starts it in namespaces of its own in a few seconds. It ends when its [`Cluster`] is dropped or
//! when the test process dies: it lives as long as a pipe that only the test process holds open. Pods, services' endpoints
//! and the API server are routed from the machine; a webhook of a test listens on [`Cluster::host`].
//!
//! Tests share one cluster and keep apart by a [`Namespace`] each. Images are those of the Docker engines (`web:1`, `job:ok`,
//! …, see `tests/cluster/images.sh`); a missing image fails to pull at once. On a machine that can't run a node, the test
//! output says so, and a [`super::scripted_node`] plays the pods.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};

use super::command::CommandOutput;
use super::engine::Answer;
use super::namespace::Namespace;
use super::scripted_node::ScriptedNode;
use super::{root, wait_until};

/// A running throw-away cluster.
pub struct Cluster {
    folder: PathBuf,
    parts: PathBuf,
    pid: u32,
    host: String,
    no_node: Option<String>,
    server: SocketAddr,
    token: String,
    tls: Arc<rustls::ClientConfig>,
    child: Child,
    lifeline: Option<ChildStdin>,
    names: AtomicUsize,
    private: bool,
    scripted: Option<ScriptedNode>,
}

static SHARED: OnceLock<Cluster> = OnceLock::new();
/// A cluster takes a gigabyte: beside the shared one there is at most one more.
static PRIVATE: AtomicBool = AtomicBool::new(false);

impl Cluster {
    /// The cluster that all tests of this binary share; started by the first that asks. A test works in a [`Namespace`] of
    /// its own, and never touches what it did not make.
    pub fn shared() -> &'static Cluster {
        SHARED.get_or_init(|| Cluster::start(&[]))
    }

    /// A cluster of its own, for a test that pauses its node or breaks it. It ends with the value.
    pub fn private() -> Cluster {
        Cluster::private_with(&[])
    }

    /// As [`Cluster::private`], with variables that `throwaway.sh` knows: `APISERVER_FLAGS`, `CONTROLLER_FLAGS`,
    /// `CONTROL_PLANE_ONLY`.
    pub fn private_with(variables: &[(&str, &str)]) -> Cluster {
        let start = Instant::now();
        while PRIVATE.swap(true, Ordering::AcqRel) {
            assert!(
                start.elapsed() < Duration::from_secs(300),
                "another test keeps its private cluster"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut cluster = Cluster::start(variables);
        cluster.private = true;
        cluster
    }

    fn start(variables: &[(&str, &str)]) -> Cluster {
        let mut child = Command::new(root().join("tests/cluster/throwaway.sh"))
            .args([
                "sh",
                "-c",
                "echo \"$DRIFTLESS_CLUSTER_PID\"; echo \"$DRIFTLESS_CLUSTER_DIR\"; echo \"$DRIFTLESS_CLUSTER_HOST\"; \
                 echo \"$DRIFTLESS_CLUSTER_NODE\"; exec cat >/dev/null",
            ])
            .env("DRIFTLESS_CLUSTER_PARTS", parts())
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/cluster/throwaway.sh can be run");
        let lifeline = child.stdin.take();
        let mut said = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let mut line = || match said.next() {
            Some(Ok(line)) => line,
            _ => panic!("the cluster did not start; what it said is above"),
        };
        let (pid, folder, host, node) = (line(), PathBuf::from(line()), line(), line());
        let read =
            |name: &str| std::fs::read_to_string(folder.join(name)).expect("the cluster wrote its files");
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(folder.join("pki/ca.crt")).expect("the cluster's certificate"))
            .expect("a usable certificate");
        let mut cluster = Cluster {
            parts: parts().to_owned(),
            pid: pid.parse().expect("a process id"),
            host,
            no_node: (node != "yes").then_some(node),
            server: read("server").trim().parse().expect("an address"),
            token: read("pki/admin-token"),
            tls: Arc::new(
                rustls::ClientConfig::builder_with_provider(Arc::new(
                    rustls::crypto::ring::default_provider(),
                ))
                .with_safe_default_protocol_versions()
                .expect("the versions of this provider")
                .with_root_certificates(roots)
                .with_no_client_auth(),
            ),
            folder,
            child,
            lifeline,
            names: AtomicUsize::new(1),
            private: false,
            scripted: None,
        };
        if let Some(reason) = &cluster.no_node {
            assert!(
                std::env::var_os("DRIFTLESS_REQUIRE_NODE").is_none() || !variables.is_empty(),
                "DRIFTLESS_REQUIRE_NODE is set, and this machine can't run a node: {reason}"
            );
            // Not `eprintln`: that is shown for failed tests only.
            let _ = writeln!(
                io::stderr(),
                "NOTE: a test cluster runs without a node ({reason}); the status of its pods is scripted"
            );
            cluster.scripted = Some(ScriptedNode::start(cluster.client()));
        }
        cluster
    }

    /// The kubeconfig of its admin.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The kubeconfig of a user that may do nothing but what everyone may.
    pub fn weak_kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig-weak")
    }

    /// Its folder: kubeconfigs, `log/`, `pki/`. It is gone with the cluster.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the API server listens.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// The machine's address as the cluster sees it: a webhook or a metrics sink of a test listens here.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether pods are real. `false` on a machine that can't run a kubelet: their status is scripted then.
    pub fn has_node(&self) -> bool {
        self.no_node.is_none()
    }

    /// One of the tools that setup.sh built: `kubectl`, `kustomize`, `helm`.
    pub fn tool(name: &str) -> PathBuf {
        parts().join("tools").join(name)
    }

    /// The end of what each component logged, for a message.
    pub fn log(&self, component: &str) -> String {
        std::fs::read_to_string(self.folder.join(format!("log/{component}.log"))).unwrap_or_default()
    }

    /// A namespace for one test: `driftless-test-NAME-N`. It is deleted in the background when the value is dropped.
    #[track_caller]
    pub fn namespace(&self, name: &str) -> Namespace<'_> {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        Namespace::create(self, format!("driftless-test-{name}-{number}"))
    }

    /// A name that no other test on this cluster has, for objects outside of namespaces.
    pub fn unique(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// A kubectl command with the environment and configuration of nobody.
    pub fn kubectl_command(&self, kubeconfig: &Path) -> Command {
        let mut command = Command::new(Cluster::tool("kubectl"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.folder)
            .env("KUBECONFIG", kubeconfig);
        command
    }

    /// Runs kubectl as admin.
    pub fn kubectl(&self, arguments: &[&str]) -> CommandOutput {
        CommandOutput::of(self.kubectl_command(&self.kubeconfig()).args(arguments))
    }

    /// Runs kubectl as admin with `input` on its standard input.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> CommandOutput {
        CommandOutput::with_input(
            self.kubectl_command(&self.kubeconfig()).args(arguments),
            input.as_bytes(),
        )
    }

    /// A call as admin, without kubectl: fast enough to poll with. `path` from `/api` or `/apis` on.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.client()
            .call(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The object at `path`; `None` when there is none.
    #[track_caller]
    pub fn get(&self, path: &str) -> Option<Value> {
        let answer = self.call("GET", path, None);
        match answer.status {
            200 => Some(serde_json::from_str(&answer.body).expect("the API server answers JSON")),
            404 => None,
            other => panic!("GET {path}: {other} {}", answer.body),
        }
    }

    /// Waits until there is an object at `path` for which `condition` holds, and returns it; panics with the object as it is.
    #[track_caller]
    pub fn wait_for(
        &self,
        path: &str,
        deadline: Duration,
        mut condition: impl FnMut(&Value) -> bool,
    ) -> Value {
        let start = Instant::now();
        loop {
            let object = self.get(path);
            match object {
                Some(object) if condition(&object) => return object,
                other => assert!(
                    start.elapsed() < deadline,
                    "waited {deadline:?} in vain for {path}; now it is {}",
                    other.map_or("missing".to_owned(), |mut object| {
                        object["metadata"]["managedFields"].take();
                        format!("{object:#}")
                    })
                ),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until nothing is at `path`.
    #[track_caller]
    pub fn wait_gone(&self, path: &str, deadline: Duration) {
        wait_until(&format!("{path} is gone"), deadline, || self.get(path).is_none());
    }

    /// `GET path` from an address in the cluster, such as a pod's.
    pub fn http_get_at(&self, address: impl Into<SocketAddr>, path: &str) -> io::Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&address.into(), Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n\r\n")?;
        read_answer(&mut stream)
    }

    /// A command that runs `program` in all of the cluster's namespaces.
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

    /// Gives the node the images of an archive that `docker save` could have written. Nothing where there is no node.
    #[track_caller]
    pub fn import_images(&self, archive: &Path) {
        if !self.has_node() {
            return;
        }
        let bytes = std::fs::read(archive).expect("the archive can be read");
        let mut import = self.within(self.parts.join("bin/ctr"));
        import
            .env("LD_LIBRARY_PATH", self.parts.join("lib"))
            .args([
                "--address",
                "/run/containerd/containerd.sock",
                "--namespace",
                "k8s.io",
            ])
            .args(["images", "import", "-"]);
        drop(CommandOutput::with_input(&mut import, &bytes).success());
    }

    /// The machine's end of the link to a cluster with a node.
    pub fn link(&self) -> PathBuf {
        let slot = std::fs::read_to_string(self.folder.join("slot")).expect("the cluster wrote its slot");
        PathBuf::from(format!("/sys/class/net/driftless{}", slot.trim()))
    }

    /// Whether it ends with this test.
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// A process in the cluster's namespaces.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn client(&self) -> Client {
        self.client_to(self.server)
    }

    pub(super) fn client_to(&self, server: SocketAddr) -> Client {
        Client {
            server,
            tls: Arc::clone(&self.tls),
            token: self.token.clone(),
            patience: Duration::from_secs(30),
        }
    }

    pub(super) fn tls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.tls)
    }

    /// What a server of a test shows to be trusted by the API server's clients and by the API server, on 127.0.0.1 and on
    /// [`Cluster::host`]: the API server's own certificate.
    pub(super) fn served_tls(&self) -> Arc<rustls::ServerConfig> {
        let pki = self.folder.join("pki");
        let certificate = CertificateDer::from_pem_file(pki.join("apiserver.crt")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(pki.join("apiserver.key")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the versions of this provider")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate and its key");
        Arc::new(config)
    }

    // Everything below is for private clusters only: it would break the tests that share one.

    /// Stops the node's heartbeat, as when a machine or its network is lost: NotReady after 10 s. Its containers go on.
    pub fn pause_node(&self) {
        self.signal("kubelet", "STOP");
    }

    /// Stops all controllers: what is applied stays unseen by them.
    pub fn pause_controllers(&self) {
        self.signal("kube-controller-manager", "STOP");
    }

    /// Ends [`Cluster::pause_controllers`].
    pub fn resume_controllers(&self) {
        self.signal("kube-controller-manager", "CONT");
    }

    /// Ends [`Cluster::pause_node`].
    pub fn resume_node(&self) {
        self.signal("kubelet", "CONT");
    }

    /// Hangs the API server: connections succeed, nothing answers.
    pub fn pause_api_server(&self) {
        self.signal("kube-apiserver", "STOP");
    }

    /// Ends [`Cluster::pause_api_server`].
    pub fn resume_api_server(&self) {
        self.signal("kube-apiserver", "CONT");
    }

    /// Kills the API server and starts it again, on the same data; returns when it answers.
    pub fn restart_api_server(&self) {
        assert!(self.private, "the shared cluster must not be restarted");
        let started =
            || std::fs::read_to_string(self.folder.join("conf/kube-apiserver.pid")).unwrap_or_default();
        let before = started();
        let script = nix::unistd::Pid::from_raw(i32::try_from(self.pid).expect("a process id"));
        nix::sys::signal::kill(script, nix::sys::signal::Signal::SIGUSR1).expect("the cluster runs");
        wait_until("the API server is back", Duration::from_secs(60), || {
            let ready = || self.client().call("GET", "/readyz", None);
            !["", &before].contains(&started().as_str()) && ready().is_ok_and(|answer| answer.status == 200)
        });
    }

    /// Kills the script that holds the cluster, as an out-of-memory kill would.
    pub fn kill_script(&mut self) {
        assert!(self.private, "the shared cluster must not be killed");
        self.child.kill().expect("the script runs");
        self.child.wait().expect("a child can be waited for");
    }

    fn signal(&self, component: &str, signal: &str) {
        assert!(self.private, "the shared cluster must not be paused");
        let pid = std::fs::read_to_string(self.folder.join(format!("conf/{component}.pid")))
            .expect("the component was started");
        drop(
            CommandOutput::of(
                self.within("sh")
                    .args(["-c", "kill -\"$0\" \"$1\"", signal, pid.trim()]),
            )
            .success(),
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.scripted.take());
        drop(self.lifeline.take());
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(15) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // Killing the script ends the namespaces (--pdeathsig, --kill-child), and with them everything.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.private {
            PRIVATE.store(false, Ordering::Release);
        }
    }
}

/// Calls to an API server that need no kubectl: one connection each.
#[derive(Clone)]
pub(super) struct Client {
    server: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    token: String,
    pub(super) patience: Duration,
}

impl Client {
    pub(super) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Answer> {
        let connection =
            rustls::ClientConnection::new(Arc::clone(&self.tls), ServerName::from(self.server.ip()))
                .map_err(io::Error::other)?;
        let socket = TcpStream::connect_timeout(&self.server, Duration::from_secs(5))?;
        socket.set_read_timeout(Some(self.patience))?;
        let mut stream = rustls::StreamOwned::new(connection, socket);
        let content_type = match (method, body) {
            ("PATCH", _) => "Content-Type: application/merge-patch+json\r\n",
            (_, Some(_)) => "Content-Type: application/json\r\n",
            (_, None) => "",
        };
        let text = body.map(Value::to_string).unwrap_or_default();
        // 1.0: the answer ends with the connection and is not chunked.
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{content_type}Content-Length: {}\r\n\r\n{text}",
            self.server,
            self.token,
            text.len()
        )?;
        read_answer(&mut stream)
    }
}

fn read_answer(stream: &mut impl io::Read) -> io::Result<Answer> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
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
    Ok(Answer {
        status,
        body: body.to_owned(),
    })
}

/// The `metadata` of a new object.
pub(super) fn named(name: &str) -> Value {
    json!({ "metadata": { "name": name } })
}

/// The folder that `tests/cluster/setup.sh` fills; what is missing on this machine is made first. A few milliseconds when
/// nothing is; plain `cargo test` works by this.
pub fn parts() -> &'static Path {
    static PARTS: OnceLock<PathBuf> = OnceLock::new();
    PARTS.get_or_init(|| {
        let output = Command::new(root().join("tests/cluster/setup.sh"))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .expect("tests/cluster/setup.sh can be run");
        assert!(
            output.status.success(),
            "tests/cluster/setup.sh failed; what it said is above"
        );
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    })
}
