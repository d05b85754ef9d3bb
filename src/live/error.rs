//! What can go wrong between us and an engine or a cluster, as data.
//!
//! In: io, HTTP and engine failures. Out: [`LiveError`] with a [`FailureKind`], a code and a hint. Guaranteed: request
//! bodies (which hold environment values) never get in; an engine's own message is kept, and [`LiveError::cleaned`]
//! removes known secrets from it at the edge. Must not: retry, or decide what a failure means for a release.

use std::fmt;
use std::time::Duration;

use crate::document::Code;
use crate::secret::Mask;

/// Who has to do something about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// Nobody: the same call may succeed later.
    Retry,
    /// The author: what Git asks for cannot be done.
    NeedsCommit,
    /// The operator of the machine: access, disk, ports, credentials, versions.
    NeedsOperator,
    /// Us.
    Bug,
}

/// The text of an underlying failure, one link of the chain. Kept as text so that errors can be stored and compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause(String);

impl Cause {
    /// The chain of `error`, each message once.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut parts: Vec<String> = Vec::new();
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            if !text.is_empty() && !parts.last().is_some_and(|last| last.contains(&text)) {
                parts.push(text);
            }
            next = error.source();
        }
        Self(parts.join(": "))
    }

    /// A cause from a message.
    pub fn text(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

/// A failed call to an engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {problem}")]
pub struct LiveError {
    /// What was being done: `create container web-api-1`.
    pub call: String,
    /// What happened.
    pub problem: Problem,
    /// The failure underneath, where there is one.
    #[source]
    pub cause: Option<Cause>,
}

/// What happened to a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// There is no socket where the engine should listen.
    #[error("no engine listens at {address}")]
    Absent {
        /// The endpoint's address.
        address: String,
    },
    /// The socket is there and we may not use it.
    #[error("permission denied on {address}")]
    PermissionDenied {
        /// The endpoint's address.
        address: String,
    },
    /// Nobody accepts the connection, or the host cannot be reached or resolved.
    #[error("cannot connect to {address}")]
    Unreachable {
        /// The endpoint's address.
        address: String,
    },
    /// TLS could not be agreed on.
    #[error("no trusted TLS connection to {address}")]
    Tls {
        /// The endpoint's address.
        address: String,
    },
    /// Something answers that is not an engine.
    #[error("what answers at {address} is not a Docker engine")]
    NotDocker {
        /// The endpoint's address.
        address: String,
    },
    /// The engine's newest API is older than our oldest.
    #[error("the engine speaks API {engine} and Driftless needs {ours} or newer")]
    EngineTooOld {
        /// The engine's newest API version.
        engine: String,
        /// Our oldest.
        ours: String,
    },
    /// The engine's oldest API is newer than our newest.
    #[error("the engine speaks API {engine} and newer; this Driftless knows {ours} at most")]
    EngineTooNew {
        /// The engine's oldest API version.
        engine: String,
        /// Our newest.
        ours: String,
    },
    /// No answer in time. What was asked may have happened.
    #[error("no answer within {after:?}")]
    Deadline {
        /// How long we waited.
        after: Duration,
    },
    /// A stream that was going on stopped saying anything.
    #[error("no progress for {after:?}")]
    Stalled {
        /// How long nothing came.
        after: Duration,
    },
    /// The connection broke during a call. What was asked may have happened.
    #[error("the connection was cut")]
    Cut,
    /// An answer that cannot be understood.
    #[error("the engine's answer cannot be read")]
    Unreadable,
    /// No such object (404).
    #[error("{message}")]
    NotFound {
        /// The engine's words.
        message: String,
    },
    /// The object is in a state that does not allow it (409).
    #[error("{message}")]
    Conflict {
        /// The engine's words.
        message: String,
    },
    /// The container name belongs to another container.
    #[error("{message}")]
    NameTaken {
        /// The engine's words.
        message: String,
    },
    /// The host port belongs to someone else.
    #[error("{message}")]
    PortTaken {
        /// The port, where the engine's words name it.
        port: Option<u16>,
        /// The engine's words.
        message: String,
    },
    /// The engine refused the request (400, 403, 405, 501).
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// The container's first program cannot be started.
    #[error("{message}")]
    CannotStart {
        /// The engine's words.
        message: String,
    },
    /// No space left on the engine's disk.
    #[error("{message}")]
    DiskFull {
        /// The engine's words.
        message: String,
    },
    /// The engine failed (5xx).
    #[error("the engine failed ({status}): {message}")]
    Engine {
        /// The HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// The registry has no such image, or none that we may see.
    #[error("the image was not found: {message}")]
    ImageNotFound {
        /// The engine's words.
        message: String,
    },
    /// The registry wants other credentials.
    #[error("the registry denied access: {message}")]
    RegistryDenied {
        /// The engine's words.
        message: String,
    },
    /// The registry limits our rate.
    #[error("the registry limits the rate of pulls: {message}")]
    RegistryLimited {
        /// The engine's words.
        message: String,
    },
    /// The registry cannot be reached or fails.
    #[error("the registry does not answer: {message}")]
    RegistryDown {
        /// The engine's words.
        message: String,
    },
    /// The image exists, for other platforms.
    #[error("the image does not exist for this platform: {message}")]
    WrongPlatform {
        /// The engine's words.
        message: String,
    },
    /// A request that we built wrongly.
    #[error("the request could not be built")]
    BadRequest,
    /// Nobody accepts the connection at an API server's address, or it cannot be reached or resolved.
    #[error("cannot connect to {address}")]
    ApiUnreachable {
        /// The server's address.
        address: String,
    },
    /// TLS could not be agreed on with an API server.
    #[error("no trusted TLS connection to {address}")]
    ApiTls {
        /// The server's address.
        address: String,
    },
    /// The API server of a cluster refused a request.
    #[error("{}", .0.message)]
    Api(Box<Refusal>),
    /// The kubeconfig can't be used.
    #[error("{message}")]
    Kubeconfig {
        /// Why.
        message: String,
    },
    /// The kubeconfig starts a program, and that is not allowed.
    #[error("the kubeconfig runs `{program}` for its credentials, and this target does not allow that")]
    ExecPlugin {
        /// The program.
        program: String,
    },
    /// We may not act as the account that the app or the operator names.
    #[error("Driftless may not act as {account}: {message}")]
    NotActing {
        /// The account, as the API server names it.
        account: String,
        /// The server's words.
        message: String,
    },
    /// Another process of this instance's name changes things on the cluster.
    #[error("another Driftless of this name works here: {holder} holds the lease {lease}, for {} s at least", .left.as_secs())]
    LeaseHeld {
        /// Namespace and name.
        lease: String,
        /// Who: host, process, and a random part.
        holder: String,
        /// How long it lasts from now on, if it is not renewed.
        left: Duration,
    },
    /// Something answers that is not an API server.
    #[error("what answers at {address} is not a Kubernetes API server")]
    NotACluster {
        /// The server's address.
        address: String,
    },
    /// The cluster does not serve a kind.
    #[error("{message}")]
    KindMissing {
        /// Which, and what it serves instead.
        message: String,
    },
}

/// Why an API server refused an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The server's `reason`, as `Invalid` or `Forbidden`.
    pub reason: String,
    /// The server's words.
    pub message: String,
    /// Field and words, each once.
    pub causes: Vec<(String, String)>,
    /// Seconds after which the server wants to be asked again.
    pub retry_after: Option<u64>,
}

impl Refusal {
    /// Whether an admission webhook or policy said no, not the API itself.
    pub fn by_admission(&self) -> bool {
        self.message.contains("denied the request")
            || self.message.contains("admission webhook")
            || self.message.contains("ValidatingAdmissionPolicy")
    }

    /// Whether fields that can't be changed would have been, and that is all: an object made anew could be so.
    pub fn is_immutable(&self) -> bool {
        let all = match self.causes.as_slice() {
            [] => is_about_immutability(&self.message),
            causes => causes.iter().all(|(_, words)| is_about_immutability(words)),
        };
        self.status == 422 && all
    }
}

/// The API server has no reason of its own for it; these are the words of its kinds.
fn is_about_immutability(words: &str) -> bool {
    const WORDS: &[&str] = &[
        // Most kinds, and by custom the rules of custom resources.
        "immutable",
        // PriorityClass
        "may not be changed",
        // Service (`may not change once set`), Pod (`pod updates may not change fields other than …`)
        "may not change",
        // RoleBinding
        "cannot change roleref",
        // StorageClass, VolumeAttributesClass, StatefulSet
        "updates to",
    ];
    let words = words.to_ascii_lowercase();
    WORDS.iter().any(|one| words.contains(one))
}

impl LiveError {
    /// A failure of `call`.
    pub fn new(call: impl Into<String>, problem: Problem) -> Self {
        Self {
            call: call.into(),
            problem,
            cause: None,
        }
    }

    /// The same, with what was underneath.
    pub fn caused(
        call: impl Into<String>,
        problem: Problem,
        cause: &(dyn std::error::Error + 'static),
    ) -> Self {
        Self {
            call: call.into(),
            problem,
            cause: Some(Cause::of(cause)),
        }
    }

    /// Who has to act.
    pub fn kind(&self) -> FailureKind {
        use FailureKind::{Bug, NeedsCommit, NeedsOperator, Retry};
        match &self.problem {
            // An engine that restarts removes its socket for a moment, so its absence is not the end.
            Problem::Absent { .. } | Problem::Unreachable { .. } | Problem::ApiUnreachable { .. } => Retry,
            Problem::Deadline { .. } | Problem::Stalled { .. } | Problem::Cut | Problem::Unreadable => Retry,
            // Observed and gone, or busy with something else: the next run plans from what is there then.
            Problem::NotFound { .. } | Problem::Conflict { .. } | Problem::Engine { .. } => Retry,
            Problem::RegistryLimited { .. } | Problem::RegistryDown { .. } => Retry,
            Problem::LeaseHeld { .. } => Retry,
            Problem::PermissionDenied { .. }
            | Problem::Tls { .. }
            | Problem::ApiTls { .. }
            | Problem::NotDocker { .. } => NeedsOperator,
            Problem::EngineTooOld { .. } | Problem::EngineTooNew { .. } => NeedsOperator,
            Problem::NameTaken { .. } | Problem::PortTaken { .. } | Problem::DiskFull { .. } => NeedsOperator,
            Problem::RegistryDenied { .. } => NeedsOperator,
            Problem::Refused { status: 400, .. } => NeedsCommit,
            Problem::Refused { .. } => NeedsOperator,
            Problem::CannotStart { .. } => NeedsCommit,
            Problem::ImageNotFound { .. } | Problem::WrongPlatform { .. } => NeedsCommit,
            Problem::BadRequest => Bug,
            Problem::Api(refusal) => match refusal.status {
                400 | 422 => NeedsCommit,
                401 => NeedsOperator,
                403 if refusal.by_admission() => NeedsCommit,
                403 => NeedsOperator,
                _ => Retry,
            },
            Problem::KindMissing { .. } => NeedsCommit,
            Problem::Kubeconfig { .. }
            | Problem::ExecPlugin { .. }
            | Problem::NotActing { .. }
            | Problem::NotACluster { .. } => NeedsOperator,
        }
    }

    /// The diagnostic code.
    pub fn code(&self) -> Code {
        match &self.problem {
            Problem::Absent { .. } => Code::ENGINE_ABSENT,
            Problem::PermissionDenied { .. } => Code::SOCKET_DENIED,
            Problem::Unreachable { .. } | Problem::ApiUnreachable { .. } => Code::ENGINE_UNREACHABLE,
            Problem::Tls { .. } | Problem::ApiTls { .. } => Code::ENGINE_TLS,
            Problem::NotDocker { .. } => Code::NOT_AN_ENGINE,
            Problem::EngineTooOld { .. } => Code::ENGINE_TOO_OLD,
            Problem::EngineTooNew { .. } => Code::ENGINE_TOO_NEW,
            Problem::Deadline { .. } => Code::ENGINE_DEADLINE,
            Problem::Stalled { .. } => Code::ENGINE_STALLED,
            Problem::Cut => Code::ENGINE_CUT,
            Problem::Unreadable => Code::ENGINE_UNREADABLE,
            Problem::NotFound { .. } => Code::OBJECT_GONE,
            Problem::Conflict { .. } => Code::OBJECT_BUSY,
            Problem::NameTaken { .. } => Code::NAME_TAKEN,
            Problem::PortTaken { .. } => Code::PORT_TAKEN,
            Problem::Refused { .. } => Code::ENGINE_REFUSED,
            Problem::CannotStart { .. } => Code::CANNOT_START,
            Problem::DiskFull { .. } => Code::DISK_FULL,
            Problem::Engine { .. } => Code::ENGINE_FAILED,
            Problem::ImageNotFound { .. } => Code::IMAGE_NOT_FOUND,
            Problem::RegistryDenied { .. } => Code::REGISTRY_DENIED,
            Problem::RegistryLimited { .. } => Code::REGISTRY_LIMITED,
            Problem::RegistryDown { .. } => Code::REGISTRY_DOWN,
            Problem::WrongPlatform { .. } => Code::WRONG_PLATFORM,
            Problem::BadRequest => Code::ENGINE_REQUEST,
            Problem::Api(refusal) if refusal.by_admission() => Code::ADMISSION_DENIED,
            Problem::Api(refusal) => match refusal.status {
                401 | 403 => Code::API_FORBIDDEN,
                404 => Code::OBJECT_GONE,
                409 => Code::OBJECT_BUSY,
                422 if refusal.is_immutable() => Code::IMMUTABLE_FIELD,
                422 => Code::API_INVALID,
                429 => Code::API_LIMITED,
                500..=599 => Code::ENGINE_FAILED,
                _ => Code::API_REFUSED,
            },
            Problem::Kubeconfig { .. } => Code::KUBECONFIG,
            Problem::ExecPlugin { .. } => Code::EXEC_PLUGIN,
            Problem::NotActing { .. } => Code::NOT_ACTING,
            Problem::LeaseHeld { .. } => Code::LEASE_HELD,
            Problem::NotACluster { .. } => Code::NOT_A_CLUSTER,
            Problem::KindMissing { .. } => Code::KIND_MISSING,
        }
    }

    /// What to do next, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        Some(match &self.problem {
            Problem::Absent { .. } => {
                "start the engine, or name another one with --target or DOCKER_HOST".into()
            }
            Problem::PermissionDenied { address } => match address.strip_prefix("unix://") {
                Some(path) => {
                    format!("run as a user who may open {path} (usually a member of the group `docker`)")
                }
                None => "run as a user who may use this engine".into(),
            },
            Problem::ApiUnreachable { .. } => {
                "check that the cluster runs and that `server:` of the kubeconfig is right; `kubectl version` asks the same one".into()
            }
            Problem::Unreachable { .. } => {
                "check that the engine runs and that its host and port are right".into()
            }
            Problem::ApiTls { .. } => {
                "check `certificate-authority` and the client's certificate in the kubeconfig, and that `server:` is the one they are for".into()
            }
            Problem::Tls { .. } => {
                "check ca.pem, cert.pem and key.pem of this endpoint (DOCKER_CERT_PATH or the context's)"
                    .into()
            }
            Problem::NotDocker { .. } => {
                "check the address; a TLS port needs certificates (DOCKER_TLS_VERIFY=1)".into()
            }
            Problem::EngineTooOld { .. } => "upgrade the engine to Docker 20.10 or newer".into(),
            Problem::EngineTooNew { .. } => "upgrade Driftless".into(),
            Problem::NameTaken { .. } => {
                "rename or remove the other container, or change container_name".into()
            }
            Problem::PortTaken { port: Some(port), .. } => {
                format!("find who listens on port {port} (`ss -ltnp`), or publish another one")
            }
            Problem::PortTaken { .. } => {
                "find who listens on that port (`ss -ltnp`), or publish another one".into()
            }
            Problem::DiskFull { .. } => "free space on the engine's disk (`docker system df`)".into(),
            Problem::CannotStart { .. } => {
                "check command, entrypoint, devices and the image's programs".into()
            }
            Problem::ImageNotFound { .. } => {
                "check the name and the tag; a private image needs `docker login`".into()
            }
            Problem::RegistryDenied { .. } => {
                "log in to the registry as the user that runs Driftless (`docker login`)".into()
            }
            Problem::WrongPlatform { .. } => "use an image for this platform, or set `platform:`".into(),
            Problem::LeaseHeld { .. } => {
                "one process at a time changes things for one instance: let that one do it, or give this one another name (`instance:`)"
                    .into()
            }
            Problem::NotActing { .. } => {
                "give the account that Driftless connects with the verb `impersonate` on serviceaccounts and groups"
                    .into()
            }
            Problem::Api(refusal) if refusal.status == 401 => {
                "the credentials of the kubeconfig are wrong or have expired: renew them (`kubectl auth whoami` uses the same ones)".into()
            }
            Problem::Api(refusal) if refusal.status == 403 && !refusal.by_admission() => {
                "`driftless doctor` lists every right that is missing, and the rule that grants it".into()
            }
            Problem::Kubeconfig { .. } => {
                "name another file with KUBECONFIG, or another context with --target k8s:CONTEXT".into()
            }
            Problem::ExecPlugin { .. } => {
                "`exec: true` of the target in config.yaml allows it, or use a kubeconfig with a token or a certificate".into()
            }
            Problem::NotACluster { .. } => {
                "check `server:` of the kubeconfig: a proxy or a login page may answer in its place".into()
            }
            _ => return None,
        })
    }

    /// Whether what was asked may have happened although the call failed.
    pub fn may_have_happened(&self) -> bool {
        matches!(
            self.problem,
            Problem::Deadline { .. }
                | Problem::Stalled { .. }
                | Problem::Cut
                | Problem::Unreadable
                | Problem::Engine { .. }
        ) || matches!(&self.problem, Problem::Api(refusal) if refusal.status >= 500)
    }

    /// Whether nobody could be asked: what is live is unknown, not empty.
    pub fn engine_is_away(&self) -> bool {
        matches!(
            self.problem,
            Problem::Absent { .. }
                | Problem::PermissionDenied { .. }
                | Problem::Unreachable { .. }
                | Problem::ApiUnreachable { .. }
                | Problem::Tls { .. }
                | Problem::ApiTls { .. }
                | Problem::NotDocker { .. }
                | Problem::Deadline { .. }
                | Problem::Cut
                | Problem::NotACluster { .. }
        ) || matches!(&self.problem, Problem::Api(refusal) if refusal.status == 401 || refusal.status == 429 || refusal.status >= 500)
    }

    /// Whether asking again soon may help: nobody has to act, or whoever does is not waited for (a token that is renewed, an
    /// engine that is started).
    pub fn may_pass(&self) -> bool {
        self.kind() == FailureKind::Retry || self.engine_is_away()
    }

    /// This error with every value of `mask` removed from the engine's words.
    pub fn cleaned(mut self, mask: &Mask) -> Self {
        self.call = mask.clean(&self.call);
        if let Some(message) = self.problem.message_mut() {
            *message = mask.clean(message);
        }
        self.cause = self.cause.map(|cause| Cause(mask.clean(&cause.0)));
        self
    }

    /// The failure that an engine's error answer means.
    pub(crate) fn answered(call: &str, status: u16, message: String) -> Self {
        Self::new(call, classify(status, message))
    }

    /// The failure that an engine's error answer to a registry call (pull, distribution) means. Engines differ: 28 passes a
    /// registry's 401 and 429 on, 29 answers 500 with the reason only in the text.
    pub(crate) fn registry(call: &str, status: u16, message: String) -> Self {
        Self::new(call, classify_registry(status, message))
    }
}

impl Problem {
    fn message_mut(&mut self) -> Option<&mut String> {
        match self {
            Problem::NotFound { message }
            | Problem::Conflict { message }
            | Problem::NameTaken { message }
            | Problem::PortTaken { message, .. }
            | Problem::Refused { message, .. }
            | Problem::CannotStart { message }
            | Problem::DiskFull { message }
            | Problem::Engine { message, .. }
            | Problem::ImageNotFound { message }
            | Problem::RegistryDenied { message }
            | Problem::RegistryLimited { message }
            | Problem::RegistryDown { message }
            | Problem::WrongPlatform { message }
            | Problem::Kubeconfig { message }
            | Problem::NotActing { message, .. }
            | Problem::KindMissing { message } => Some(message),
            Problem::Api(refusal) => Some(&mut refusal.message),
            _ => None,
        }
    }
}

fn classify(status: u16, message: String) -> Problem {
    let lower = message.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    if has(&["no space left on device"]) {
        return Problem::DiskFull { message };
    }
    if has(&["port is already allocated", "address already in use"]) {
        return Problem::PortTaken {
            port: port_in(&message),
            message,
        };
    }
    if has(&[
        "executable file not found",
        "exec format error",
        "oci runtime create failed",
        "failed to create task for container",
        // A device that the host does not have: the request is at fault, not the engine.
        "error gathering device information",
    ]) {
        return Problem::CannotStart { message };
    }
    match status {
        404 if has(&["no such image"]) => Problem::ImageNotFound { message },
        404 => Problem::NotFound { message },
        409 if has(&["is already in use by container", "name is already in use"]) => {
            Problem::NameTaken { message }
        }
        409 => Problem::Conflict { message },
        400..=499 | 501 => Problem::Refused { status, message },
        _ => Problem::Engine { status, message },
    }
}

fn classify_registry(status: u16, message: String) -> Problem {
    let lower = message.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    if has(&["no space left on device"]) {
        Problem::DiskFull { message }
    } else if status == 429 || has(&["toomanyrequests", "too many requests", "rate limit"]) {
        Problem::RegistryLimited { message }
    } else if has(&[
        "no matching manifest",
        "does not match the specified platform",
        "no match for platform",
    ]) {
        Problem::WrongPlatform { message }
    } else if has(&[
        "repository does not exist",
        "manifest unknown",
        "name unknown",
        "not found",
        "does not exist",
    ]) || status == 404
    {
        // "pull access denied … repository does not exist or may require 'docker login'" is a Hub image that is not there.
        Problem::ImageNotFound { message }
    } else if matches!(status, 401 | 403)
        || has(&[
            "unauthorized",
            "authentication required",
            "no basic auth",
            "denied",
            "forbidden",
            "401",
            "403",
        ])
    {
        Problem::RegistryDenied { message }
    } else if has(&[
        "no such host",
        "connection refused",
        "connection reset",
        "i/o timeout",
        "timeout",
        "tls",
        "x509",
        "eof",
        "unreachable",
        "server misbehaving",
        "internal server error",
        "bad gateway",
        "service unavailable",
        "unexpected status",
        "dial tcp",
    ]) {
        Problem::RegistryDown { message }
    } else {
        classify(status, message)
    }
}

/// The port in "Bind for 0.0.0.0:8080 failed" or "listen tcp4 0.0.0.0:80: bind: address already in use".
fn port_in(message: &str) -> Option<u16> {
    let end = message
        .find(" failed: port is already")
        .or_else(|| message.find(": bind: address already"))?;
    message.get(..end)?.rsplit(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_api_server_says_of_fields_that_cannot_change_is_known() {
        let refusal = |causes: &[&str]| Refusal {
            status: 422,
            causes: causes
                .iter()
                .map(|words| ("spec".to_owned(), (*words).to_owned()))
                .collect(),
            ..Refusal::default()
        };
        for words in [
            "Invalid value: {\"app\":\"web\"}: field is immutable",
            "Forbidden: updates to statefulset spec for fields other than 'replicas', … are forbidden",
            "Forbidden: updates to provisioner are forbidden.",
            "Invalid value: [\"None\"]: may not change once set",
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`, …",
            "Invalid value: 1000: may not be changed in an update.",
            "Invalid value: {…}: cannot change roleRef",
            "Forbidden: spec.persistentvolumesource is immutable after creation",
            "Invalid value: Immutable once set",
        ] {
            assert!(refusal(&[words]).is_immutable(), "{words}");
        }
        assert!(!refusal(&["Invalid value: 70000: must be between 1 and 65535, inclusive"]).is_immutable());
        // Made anew it would be refused as well.
        let also_wrong = refusal(&[
            "field is immutable",
            "`selector` does not match template `labels`",
        ]);
        assert!(!also_wrong.is_immutable());
    }

    #[test]
    fn engine_answers_have_the_code_of_what_happened() {
        for (status, message, code) in [
            (404, "No such container: web", "E0520"),
            (404, "No such image: nginx:1", "E0530"),
            (
                409,
                "Conflict. The container name \"/web\" is already in use by container \"1\".",
                "E0522",
            ),
            (409, "removal of container 1 is already in progress", "E0521"),
            (
                500,
                "driver failed programming external connectivity on endpoint web: Bind for 0.0.0.0:8080 failed: port is already allocated",
                "E0523",
            ),
            (
                500,
                "listen tcp4 0.0.0.0:80: bind: address already in use",
                "E0523",
            ),
            (400, "invalid mount config for type \"bind\"", "E0524"),
            (
                400,
                "OCI runtime create failed: exec: \"x\": executable file not found in $PATH",
                "E0525",
            ),
            (
                500,
                "error gathering device information while adding custom device \"/dev/x\": no such file or directory",
                "E0525",
            ),
            (500, "write /var/lib/docker/x: no space left on device", "E0526"),
            (500, "boom", "E0527"),
        ] {
            let error = LiveError::answered("call", status, message.to_owned());
            assert_eq!(error.code().to_string(), code, "{message}");
        }
    }

    #[test]
    fn registry_answers_of_28_and_29_mean_the_same() {
        for (status, message, code) in [
            (
                401,
                "Head \"http://r/v2/a/manifests/1\": no basic auth credentials",
                "E0531",
            ),
            (
                500,
                "failed to resolve reference \"r/a:1\": unexpected status from HEAD request to http://r/v2/a: 401 Unauthorized",
                "E0531",
            ),
            (429, "toomanyrequests", "E0532"),
            (500, "unexpected status: 429 Too Many Requests", "E0532"),
            (404, "manifest for r/a:1 not found: manifest unknown", "E0530"),
            (
                404,
                "pull access denied for x, repository does not exist or may require 'docker login'",
                "E0530",
            ),
            (
                404,
                "no matching manifest for linux/amd64 in the manifest list entries",
                "E0534",
            ),
            (
                500,
                "Get \"https://r/v2/\": dial tcp: lookup r: no such host",
                "E0533",
            ),
            (
                500,
                "received unexpected HTTP status: 503 Service Unavailable",
                "E0533",
            ),
        ] {
            assert_eq!(
                LiveError::registry("pull", status, message.to_owned())
                    .code()
                    .to_string(),
                code,
                "{message}"
            );
        }
    }

    #[test]
    fn the_port_is_read_from_the_engines_words() {
        assert_eq!(
            port_in("Bind for 0.0.0.0:8080 failed: port is already allocated"),
            Some(8080)
        );
        assert_eq!(
            port_in("listen tcp4 0.0.0.0:80: bind: address already in use"),
            Some(80)
        );
        assert_eq!(port_in("nothing"), None);
    }

    #[test]
    fn a_cleaned_error_holds_no_secret() {
        let mask = Mask::new(["canary-4711".to_owned()]);
        let error =
            LiveError::answered("create canary-4711", 400, "bad env canary-4711".to_owned()).cleaned(&mask);
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}
