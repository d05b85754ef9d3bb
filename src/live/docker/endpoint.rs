//! Which engine the `docker` command would talk to.
//!
//! In: the `--target` value, the environment's Docker variables (as values) and a way to read files. Out: [`Endpoint`]. Guaranteed:
//! the docker CLI's precedence (explicit, `DOCKER_HOST`, `DOCKER_CONTEXT`, the configured context, the default socket). Must not:
//! read the environment or connect.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::document::Code;

use crate::live::error::FailureKind;

/// Where an engine listens unless somebody says otherwise.
pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// The Docker variables of the environment, as the edge found them. An empty variable counts as unset, as for docker.
#[derive(Debug, Clone, Default)]
pub struct DockerEnv {
    /// `DOCKER_HOST`.
    pub host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub context: Option<String>,
    /// `DOCKER_CONFIG`: the folder that holds `config.json`.
    pub config: Option<PathBuf>,
    /// `DOCKER_CERT_PATH`.
    pub cert_path: Option<PathBuf>,
    /// `DOCKER_TLS_VERIFY`: any value means yes.
    pub tls_verify: Option<String>,
    /// `HOME`.
    pub home: Option<PathBuf>,
}

impl DockerEnv {
    /// The folder of the docker CLI's configuration, if there can be one.
    pub fn config_dir(&self) -> Option<PathBuf> {
        let given = self.config.clone().filter(|dir| !dir.as_os_str().is_empty());
        given.or_else(|| {
            self.home
                .as_ref()
                .filter(|home| !home.as_os_str().is_empty())
                .map(|home| home.join(".docker"))
        })
    }
}

/// The few questions that resolution asks the file system.
pub trait Files: Send + Sync {
    /// The file's bytes; `None` if there is no such file.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// Whether the file exists.
    fn exists(&self, path: &Path) -> bool;
}

/// The machine's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskFiles;

impl Files for DiskFiles {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

/// How to reach an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket on this machine.
    Unix(PathBuf),
    /// TCP, in the clear or with TLS.
    Tcp {
        /// Host name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
        /// A path before `/v1.x`, without a slash at its end; usually empty.
        base: String,
        /// TLS, unless in the clear.
        tls: Option<Tls>,
    },
}

/// TLS files, read when a connection is made. The server is always verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Authorities to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate and key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// An engine to talk to and the name people see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    name: String,
    address: Address,
}

impl Endpoint {
    /// The engine's name: `docker:default`, `docker:nas`, or its address. It is also valid as a `--target`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How to reach it.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it is a socket on this machine, so that its bind mounts are this machine's files.
    pub fn is_local(&self) -> bool {
        matches!(self.address, Address::Unix(_))
    }

    /// The socket at `path`.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            name: format!("unix://{}", path.display()),
            address: Address::Unix(path),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp {
                host,
                port,
                base,
                tls,
            } => {
                let scheme = if tls.is_some() { "https" } else { "tcp" };
                write!(f, "{scheme}://{}:{port}{base}", bracketed(host))
            }
        }
    }
}

/// A host as it stands in a URL.
pub(crate) fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// Why no endpoint could be found.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The target is none of the forms that we know.
    #[error("{raw:?} is not a Docker target: {reason}")]
    NotATarget {
        /// What was given; shortened to its scheme where it may hold a password.
        raw: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An ssh endpoint.
    #[error("{origin} points to {host}, and ssh endpoints are not supported yet")]
    Ssh {
        /// Who named it.
        origin: String,
        /// The ssh URL.
        host: String,
    },
    /// A transport that is not on this platform.
    #[error("{origin} points to {host}, a transport that is not supported")]
    Transport {
        /// Who named it.
        origin: String,
        /// The URL.
        host: String,
    },
    /// TLS without verification.
    #[error("{origin} asks for TLS without verification, which is not supported")]
    Unverified {
        /// Who asked for it.
        origin: String,
    },
    /// No such context.
    #[error("there is no Docker context {name:?} (named by {origin})")]
    NoContext {
        /// The context.
        name: String,
        /// Who named it.
        origin: String,
    },
    /// A context without a Docker endpoint.
    #[error("the Docker context {name:?} has no Docker endpoint")]
    ContextWithoutEndpoint {
        /// The context.
        name: String,
    },
    /// A file could not be read.
    #[error("read {path}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not the JSON it should be. The parser's words name a place and never the content.
    #[error("read {path}: {reason}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
}

impl EndpointError {
    /// Who has to act.
    pub fn kind(&self) -> FailureKind {
        FailureKind::NeedsOperator
    }

    /// The diagnostic code.
    pub fn code(&self) -> Code {
        match self {
            EndpointError::NotATarget { .. } => Code::BAD_TARGET,
            EndpointError::Ssh { .. }
            | EndpointError::Transport { .. }
            | EndpointError::Unverified { .. } => Code::TARGET_TRANSPORT,
            EndpointError::NoContext { .. } | EndpointError::ContextWithoutEndpoint { .. } => {
                Code::NO_CONTEXT
            }
            EndpointError::Read { .. } | EndpointError::Malformed { .. } => Code::DOCKER_CONFIG,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            EndpointError::NotATarget { .. } => {
                "write docker, docker:CONTEXT, unix:///path/to/docker.sock or tcp://host:port".into()
            }
            EndpointError::Ssh { host, .. } => {
                let host = host.strip_prefix("ssh://").unwrap_or(host);
                format!(
                    "forward the socket: ssh -nNT -L /tmp/docker.sock:{DEFAULT_SOCKET} {host}, then --target unix:///tmp/docker.sock"
                )
            }
            EndpointError::Unverified { .. } => {
                "set DOCKER_TLS_VERIFY=1, or give the context the engine's ca.pem".into()
            }
            EndpointError::NoContext { .. } => "`docker context ls` lists the contexts".into(),
            _ => return None,
        })
    }
}

/// The part of `config.json` that names the context.
#[derive(Debug, Default, Deserialize)]
struct ConfigFile {
    #[serde(default, rename = "currentContext")]
    current_context: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ContextMeta {
    #[serde(default, rename = "Endpoints")]
    endpoints: std::collections::BTreeMap<String, ContextEndpoint>,
}

#[derive(Debug, Deserialize)]
struct ContextEndpoint {
    #[serde(default, rename = "Host")]
    host: String,
    #[serde(default, rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

/// The endpoint for `target`: `docker` (or nothing) is what the docker command would use, `docker:CONTEXT` a context of its
/// configuration, anything else an address.
pub fn resolve(target: Option<&str>, env: &DockerEnv, files: &dyn Files) -> Result<Endpoint, EndpointError> {
    let found = Resolver { env, files };
    match target {
        None | Some("docker") => found.as_docker_would(),
        Some(target) => match target.strip_prefix("docker:") {
            Some(context) => found.context(context, "--target"),
            None if target.contains("://") => {
                let address = found.parse_host(target, "--target", found.env_tls())?;
                Ok(Endpoint {
                    name: address.to_string(),
                    address,
                })
            }
            None => Err(EndpointError::NotATarget {
                raw: target.to_owned(),
                reason: "it has no scheme",
            }),
        },
    }
}

struct Resolver<'a> {
    env: &'a DockerEnv,
    files: &'a dyn Files,
}

impl Resolver<'_> {
    fn as_docker_would(&self) -> Result<Endpoint, EndpointError> {
        if let Some(endpoint) = self.host_variable()? {
            return Ok(endpoint);
        }
        if let Some(context) = set(self.env.context.as_deref()) {
            return self.context(context, "DOCKER_CONTEXT");
        }
        if let Some(dir) = self.env.config_dir() {
            let path = dir.join("config.json");
            let config: ConfigFile = self.json(&path)?.unwrap_or_default();
            if let Some(context) = set(config.current_context.as_deref()) {
                return self.context(context, &path.display().to_string());
            }
        }
        Ok(self.default_socket())
    }

    fn host_variable(&self) -> Result<Option<Endpoint>, EndpointError> {
        let Some(host) = set(self.env.host.as_deref()) else {
            return Ok(None);
        };
        let address = self.parse_host(host, "DOCKER_HOST", self.env_tls())?;
        if address == Address::Unix(DEFAULT_SOCKET.into()) {
            return Ok(Some(self.default_socket()));
        }
        Ok(Some(Endpoint {
            name: address.to_string(),
            address,
        }))
    }

    fn default_socket(&self) -> Endpoint {
        Endpoint {
            name: "docker:default".to_owned(),
            address: Address::Unix(DEFAULT_SOCKET.into()),
        }
    }

    fn context(&self, name: &str, origin: &str) -> Result<Endpoint, EndpointError> {
        // `default` is not stored: it is DOCKER_HOST, else the socket.
        if name == "default" {
            return Ok(self.host_variable()?.unwrap_or_else(|| self.default_socket()));
        }
        let missing = || EndpointError::NoContext {
            name: name.to_owned(),
            origin: origin.to_owned(),
        };
        let dir = self.env.config_dir().ok_or_else(missing)?.join("contexts");
        let id = hex::encode(Sha256::digest(name.as_bytes()));
        let meta: ContextMeta = self
            .json(&dir.join("meta").join(&id).join("meta.json"))?
            .ok_or_else(missing)?;
        let endpoint = meta
            .endpoints
            .get("docker")
            .filter(|endpoint| !endpoint.host.is_empty())
            .ok_or_else(|| EndpointError::ContextWithoutEndpoint {
                name: name.to_owned(),
            })?;
        let origin = format!("the context {name:?}");
        let tls = self.tls_files(&dir.join("tls").join(&id).join("docker"));
        if endpoint.skip_tls_verify
            && !endpoint.host.starts_with("unix:")
            && !endpoint.host.starts_with("ssh:")
        {
            return Err(EndpointError::Unverified { origin });
        }
        let address = self.parse_host(&endpoint.host, &origin, tls)?;
        Ok(Endpoint {
            name: format!("docker:{name}"),
            address,
        })
    }

    /// TLS as `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` ask for it.
    fn env_tls(&self) -> Option<Tls> {
        set(self.env.tls_verify.as_deref())?;
        let given = self
            .env
            .cert_path
            .clone()
            .filter(|dir| !dir.as_os_str().is_empty());
        Some(
            given
                .or_else(|| self.env.config_dir())
                .and_then(|dir| self.tls_files(&dir))
                .unwrap_or_default(),
        )
    }

    /// The TLS files of one folder; `None` if there are none.
    fn tls_files(&self, dir: &Path) -> Option<Tls> {
        let file = |name: &str| Some(dir.join(name)).filter(|path| self.files.exists(path));
        let tls = Tls {
            ca: file("ca.pem"),
            client: file("cert.pem").zip(file("key.pem")),
        };
        (tls != Tls::default()).then_some(tls)
    }

    fn parse_host(&self, raw: &str, origin: &str, tls: Option<Tls>) -> Result<Address, EndpointError> {
        // The docker CLI reads `host:port` as tcp.
        let (scheme, rest) = raw.split_once("://").unwrap_or(("tcp", raw));
        let wrong = |reason| EndpointError::NotATarget {
            raw: format!("{scheme}://…"),
            reason,
        };
        match scheme {
            "unix" => {
                let path = if rest.is_empty() { DEFAULT_SOCKET } else { rest };
                if !path.starts_with('/') {
                    return Err(EndpointError::NotATarget {
                        raw: raw.to_owned(),
                        reason: "the socket's path is not absolute",
                    });
                }
                Ok(Address::Unix(path.into()))
            }
            "tcp" | "http" | "https" => {
                let tls = match scheme {
                    "https" => Some(tls.unwrap_or_default()),
                    "http" => None,
                    _ => tls,
                };
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                if authority.contains('@') {
                    return Err(wrong("an engine's address holds no user or password"));
                }
                if path.contains(['?', '#']) {
                    return Err(wrong("an engine's address has no query"));
                }
                let default_port = if tls.is_some() { 2376 } else { 2375 };
                let (host, port) = split_port(authority, default_port)
                    .ok_or_else(|| wrong("its host or port is not valid"))?;
                let path = path.trim_end_matches('/');
                let base = if path.is_empty() {
                    String::new()
                } else {
                    format!("/{path}")
                };
                Ok(Address::Tcp {
                    host,
                    port,
                    base,
                    tls,
                })
            }
            "ssh" => Err(EndpointError::Ssh {
                origin: origin.to_owned(),
                host: without_password(raw),
            }),
            "npipe" | "fd" => Err(EndpointError::Transport {
                origin: origin.to_owned(),
                host: raw.to_owned(),
            }),
            _ => Err(wrong("its scheme is unknown")),
        }
    }

    fn json<T: serde::de::DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, EndpointError> {
        let read = self.files.read(path).map_err(|source| EndpointError::Read {
            path: path.to_owned(),
            source,
        })?;
        let Some(bytes) = read else { return Ok(None) };
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|error| EndpointError::Malformed {
            path: path.to_owned(),
            reason: place(&error),
        })
    }
}

/// Where a JSON file is wrong. serde's own words may quote the content, and this file holds credentials.
pub(crate) fn place(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => "a value is not of the expected type",
        serde_json::error::Category::Eof => "it ends too early",
        _ => "it is not valid JSON",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

fn set(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}

fn without_password(raw: &str) -> String {
    match raw
        .split_once("://")
        .and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?)))
    {
        Some((scheme, (user, host))) => {
            format!("{scheme}://{}@{host}", user.split(':').next().unwrap_or_default())
        }
        None => raw.to_owned(),
    }
}

/// Host and port of `authority`; an empty host is this machine.
fn split_port(authority: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (host, rest)
    } else {
        let at = authority.find(':').unwrap_or(authority.len());
        authority.split_at(at)
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        None if port.is_empty() => default,
        None => return None,
    };
    let host = if host.is_empty() { "localhost" } else { host };
    let valid = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
    valid.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct FakeFiles(BTreeMap<PathBuf, String>);

    impl FakeFiles {
        fn with(mut self, path: &str, text: &str) -> Self {
            self.0.insert(path.into(), text.to_owned());
            self
        }

        fn with_context(self, name: &str, host: &str, extra: &str) -> Self {
            let id = hex::encode(Sha256::digest(name.as_bytes()));
            let meta = format!(
                r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{{"docker":{{"Host":"{host}"{extra}}}}}}}"#
            );
            self.with(&format!("/home/a/.docker/contexts/meta/{id}/meta.json"), &meta)
        }
    }

    impl Files for FakeFiles {
        fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
            Ok(self.0.get(path).map(|text| text.clone().into_bytes()))
        }
        fn exists(&self, path: &Path) -> bool {
            self.0.contains_key(path)
        }
    }

    fn env() -> DockerEnv {
        DockerEnv {
            home: Some("/home/a".into()),
            ..DockerEnv::default()
        }
    }

    fn shown(target: Option<&str>, env: &DockerEnv, files: &FakeFiles) -> String {
        match resolve(target, env, files) {
            Ok(endpoint) => format!("{} = {}", endpoint.name(), endpoint.address()),
            Err(error) => error.code().to_string(),
        }
    }

    #[test]
    fn precedence_is_the_docker_commands() {
        let files = FakeFiles::default()
            .with_context("nas", "tcp://nas:2375", "")
            .with_context("lab", "unix:///run/lab.sock", "")
            .with(
                "/home/a/.docker/config.json",
                r#"{"auths":{},"currentContext":"nas"}"#,
            );
        let mut env = env();
        assert_eq!(shown(None, &env, &files), "docker:nas = tcp://nas:2375");
        env.context = Some("lab".into());
        assert_eq!(
            shown(Some("docker"), &env, &files),
            "docker:lab = unix:///run/lab.sock"
        );
        env.host = Some("tcp://other:1".into());
        assert_eq!(shown(None, &env, &files), "tcp://other:1 = tcp://other:1");
        assert_eq!(
            shown(Some("docker:nas"), &env, &files),
            "docker:nas = tcp://nas:2375"
        );
        assert_eq!(
            shown(Some("docker:default"), &env, &files),
            "tcp://other:1 = tcp://other:1"
        );
        assert_eq!(
            shown(Some("unix:///x.sock"), &env, &files),
            "unix:///x.sock = unix:///x.sock"
        );
        env = DockerEnv {
            host: Some(String::new()),
            context: Some("default".into()),
            ..super::tests::env()
        };
        assert_eq!(
            shown(None, &env, &files),
            "docker:default = unix:///var/run/docker.sock"
        );
        assert_eq!(
            shown(None, &DockerEnv::default(), &files),
            "docker:default = unix:///var/run/docker.sock"
        );
    }

    #[test]
    fn addresses_read_as_docker_reads_them() {
        let files = FakeFiles::default();
        for (host, expected) in [
            ("unix://", "docker:default = unix:///var/run/docker.sock"),
            (
                "unix:///run/user/1000/docker.sock",
                "unix:///run/user/1000/docker.sock = unix:///run/user/1000/docker.sock",
            ),
            ("unix://relative", "E0550"),
            ("tcp://nas", "tcp://nas:2375 = tcp://nas:2375"),
            ("nas:99", "tcp://nas:99 = tcp://nas:99"),
            ("tcp://:99", "tcp://localhost:99 = tcp://localhost:99"),
            ("tcp://[::1]:99", "tcp://[::1]:99 = tcp://[::1]:99"),
            ("http://nas:99/sub/", "tcp://nas:99/sub = tcp://nas:99/sub"),
            ("https://nas", "https://nas:2376 = https://nas:2376"),
            ("tcp://u:p@nas", "E0550"),
            ("tcp://nas:x", "E0550"),
            ("tcp://nas:0", "E0550"),
            ("tcp://a b", "E0550"),
            ("ssh://u@nas", "E0551"),
            ("npipe:////./pipe/docker_engine", "E0551"),
            ("fd://", "E0551"),
            ("gopher://x", "E0550"),
        ] {
            let env = DockerEnv {
                host: Some(host.to_owned()),
                ..env()
            };
            assert_eq!(shown(None, &env, &files), expected, "{host}");
        }
        assert_eq!(shown(Some("nas"), &env(), &files), "E0550");
    }

    #[test]
    fn tls_comes_from_the_variables_or_the_context() {
        let id = hex::encode(Sha256::digest(b"nas"));
        let mut files = FakeFiles::default().with_context("nas", "tcp://nas", "");
        for file in ["ca.pem", "cert.pem", "key.pem"] {
            files = files.with(&format!("/certs/{file}"), "x");
            files = files.with(&format!("/home/a/.docker/contexts/tls/{id}/docker/{file}"), "x");
        }
        let host = Some("tcp://nas".to_owned());
        let env = DockerEnv {
            host,
            cert_path: Some("/certs".into()),
            tls_verify: Some("1".into()),
            ..env()
        };
        let endpoint = resolve(None, &env, &files).expect("resolves");
        let Address::Tcp {
            port: 2376,
            tls: Some(tls),
            ..
        } = endpoint.address()
        else {
            panic!("{endpoint:?}")
        };
        assert_eq!(
            tls.client,
            Some(("/certs/cert.pem".into(), "/certs/key.pem".into()))
        );
        assert_eq!(
            shown(Some("docker:nas"), &super::tests::env(), &files),
            "docker:nas = https://nas:2376"
        );
        assert!(!endpoint.is_local());
    }

    #[test]
    fn a_context_that_cannot_be_used_says_why() {
        let files = FakeFiles::default()
            .with_context("far", "ssh://me:pw@far", "")
            .with_context("none", "", "")
            .with_context("skip", "tcp://nas:2376", r#","SkipTLSVerify":true"#)
            .with(
                "/home/a/.docker/config.json",
                r#"{"auths":{"r":{"auth":"canary"}"#,
            );
        assert_eq!(shown(Some("docker:gone"), &env(), &files), "E0552");
        assert_eq!(shown(Some("docker:none"), &env(), &files), "E0552");
        assert_eq!(shown(Some("docker:skip"), &env(), &files), "E0551");
        let error = resolve(Some("docker:far"), &env(), &files).expect_err("ssh");
        assert!(error.hint().expect("a hint").contains("ssh -nNT -L"));
        assert!(!format!("{error} {:?}", error.hint()).contains("pw"));
        let error = resolve(None, &env(), &files).expect_err("broken file");
        assert_eq!(error.code(), Code::DOCKER_CONFIG);
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}
