//! A real ssh server on loopback, for repositories at `ssh://` and `git@host:`.
//!
//! It runs in mount and PID namespaces with its own user database, and ends when its value is dropped or the test process dies.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::command::CommandOutput;
use super::{engines_cache, wait_until};

/// A running server that lets one key in as `git`.
pub struct Sshd {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Sshd {
    /// Starts it with new keys.
    pub fn start() -> Self {
        super::engine::prepare();
        let folder = tempfile::tempdir().expect("a folder for a server");
        let path = folder.path().display().to_string();
        for key in ["host", "client", "stranger"] {
            let mut keygen = Command::new(engines_cache().join("tools/ssh-keygen"));
            keygen
                .args(["-q", "-t", "ed25519", "-N", "", "-C", key, "-f"])
                .arg(folder.path().join(key));
            drop(CommandOutput::of(&mut keygen).success());
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        drop(listener);
        let write =
            |name: &str, text: String| std::fs::write(folder.path().join(name), text).expect("a new file");
        write(
            "config",
            format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {path}/host\nAuthorizedKeysFile {path}/client.pub\nPidFile none\n\
                 StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPrintMotd no\n"
            ),
        );
        write(
            "passwd",
            "root:x:0:0:root:/:/bin/sh\ngit:x:0:0:git:/:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n"
                .into(),
        );
        write(
            "shadow",
            "root:*:20000:0:99999:7:::\ngit:*:20000:0:99999:7:::\nsshd:*:20000:0:99999:7:::\n".into(),
        );
        // The shell is process 1: when its standard input ends, it ends, and the kernel ends the server and its sessions.
        let script = "mount --bind \"$0/passwd\" /etc/passwd; mount --bind \"$0/shadow\" /etc/shadow
            mount -t tmpfs tmpfs /run; mkdir /run/sshd
            \"$1\" -D -e -f \"$0/config\" >\"$0/log\" 2>&1 </dev/null & cat";
        let child = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--propagation",
                "private",
                "sh",
                "-c",
                script,
            ])
            .arg(&path)
            .arg(engines_cache().join("tools/sshd"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("unshare can be run");
        let server = Self { folder, port, child };
        wait_until("the ssh server answers", Duration::from_secs(10), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        server
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a repository at an absolute path.
    pub fn url(&self, repository: &std::path::Path) -> String {
        format!("ssh://git@127.0.0.1:{}{}", self.port, repository.display())
    }

    /// The private key that it lets in.
    pub fn client_key(&self) -> PathBuf {
        self.folder.path().join("client")
    }

    /// A private key that it knows nothing of.
    pub fn stranger_key(&self) -> PathBuf {
        self.folder.path().join("stranger")
    }

    /// Its line for a `known_hosts` file.
    pub fn known_hosts(&self) -> String {
        self.line("host.pub")
    }

    /// A line for a `known_hosts` file that names another key for it.
    pub fn false_known_hosts(&self) -> String {
        self.line("stranger.pub")
    }

    fn line(&self, key: &str) -> String {
        let key = std::fs::read_to_string(self.folder.path().join(key)).expect("the key was made");
        format!("[127.0.0.1]:{} {}\n", self.port, key.trim())
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // Ends unshare, and by --kill-child the namespaces.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
