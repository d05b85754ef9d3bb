//! Why a source cannot be read.
//!
//! In: what libgit2, `git`, `ssh` or the file system said. Out: [`SourceError`] with a code, a kind and a hint. Guaranteed: none
//! of these changes anything live, and none holds a credential. Must not: be guessed from anything but the text that the
//! tools print under `LC_ALL=C`.

use std::time::Duration;

use super::checkout::CheckoutError;
use super::location::LocationError;
use super::reference::RefError;

/// Who can end a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Time: try again later.
    Retry,
    /// Whoever writes the repository.
    NeedsCommit,
    /// Whoever runs Driftless.
    NeedsOperator,
    /// Us.
    Bug,
}

/// Why a source cannot be read. `at` is the location as it may be shown; `detail` is what the tool said, cleaned.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// E0401: the address is refused.
    #[error("address refused")]
    Location(#[from] LocationError),
    /// E0401: the ref's name is refused.
    #[error("ref refused")]
    Ref(#[from] RefError),
    /// E0402: there is no repository at the address.
    #[error("not a Git repository: {at}")]
    NotARepository {
        /// Where.
        at: String,
    },
    /// E0403: the ref never was there.
    #[error("no branch, tag or commit {name:?} in {at}")]
    UnknownRef {
        /// Where.
        at: String,
        /// The ref.
        name: String,
        /// Names like it.
        similar: Vec<String>,
    },
    /// E0404: the ref was there before and is gone.
    #[error("{name:?} was deleted in {at}")]
    RefDeleted {
        /// Where.
        at: String,
        /// The ref.
        name: String,
        /// What the default branch is now, where it says so.
        default_branch: Option<String>,
    },
    /// E0405: no commit, or a commit without any file.
    #[error("the repository is empty: {at}")]
    Emptied {
        /// Where.
        at: String,
    },
    /// E0406: it was there before and is gone.
    #[error("the repository is gone: {at}")]
    Vanished {
        /// Where.
        at: String,
    },
    /// E0407: the server wants other credentials, or none are enough.
    #[error("access refused by {at}: {detail}")]
    AuthRefused {
        /// Where.
        at: String,
        /// What the tool said.
        detail: String,
    },
    /// E0408: the ssh host's key is not known.
    #[error("unknown ssh host key of {at}")]
    UnknownHostKey {
        /// Where.
        at: String,
        /// The host, as known_hosts names it.
        host: String,
    },
    /// E0409: the ssh host shows another key than the known one.
    #[error("the ssh host key of {at} changed: known {known}, offered {offered}")]
    ChangedHostKey {
        /// Where.
        at: String,
        /// The known key's fingerprint.
        known: String,
        /// The offered key's fingerprint.
        offered: String,
    },
    /// E0410: no answer in time.
    #[error("no answer from {at} within {after:?}")]
    Timeout {
        /// Where.
        at: String,
        /// The deadline.
        after: Duration,
    },
    /// E0411: something answered, and it was not Git.
    #[error("{at} answers, but not as a Git server")]
    NotAGitServer {
        /// Where.
        at: String,
    },
    /// E0412: the server points to another host.
    #[error("{at} redirects to another address, which is not followed")]
    RedirectRefused {
        /// Where.
        at: String,
        /// The host it points to, where known.
        to: Option<String>,
    },
    /// E0413: the certificate or the TLS handshake.
    #[error("no secure connection to {at}: {detail}")]
    Tls {
        /// Where.
        at: String,
        /// What the tool said.
        detail: String,
    },
    /// E0414: no connection, a name that does not resolve, a 5xx, a cut.
    #[error("{at} cannot be reached: {detail}")]
    Unreachable {
        /// Where.
        at: String,
        /// What the tool said.
        detail: String,
    },
    /// E0415: the answer is larger than allowed.
    #[error("{at} sent more than {cap} bytes")]
    OverCap {
        /// Where.
        at: String,
        /// The cap.
        cap: u64,
    },
    /// E0416: another process works on the mirror.
    #[error("the mirror of {at} is in use by another process")]
    MirrorBusy {
        /// Where.
        at: String,
    },
    /// E0417: the mirror cannot be written.
    #[error("the mirror of {at} cannot be used")]
    Mirror {
        /// Where.
        at: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// E0418: a damaged object, here or there.
    #[error("a damaged object in {at}: {detail}")]
    Corrupt {
        /// Where.
        at: String,
        /// What the tool said.
        detail: String,
    },
    /// E0419: `git` cannot be started.
    #[error("`git` cannot be started")]
    GitMissing {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// E0420: the repository belongs to another user.
    #[error("the repository {at} belongs to another user")]
    ForeignOwner {
        /// Where.
        at: String,
    },
    /// E0421: something we have no name for.
    #[error("git failed at {at}: {detail}")]
    Other {
        /// Where.
        at: String,
        /// What the tool said.
        detail: String,
    },
    /// E0422: no such commit.
    #[error("no commit {revision} in {at}")]
    UnknownCommit {
        /// Where.
        at: String,
        /// The commit.
        revision: String,
    },
    /// The working directory cannot be read; the code is the inner one's.
    #[error("read the working directory")]
    Checkout(#[from] CheckoutError),
}

impl SourceError {
    /// The diagnostic code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Location(_) | Self::Ref(_) => "E0401",
            Self::NotARepository { .. } => "E0402",
            Self::UnknownRef { .. } => "E0403",
            Self::RefDeleted { .. } => "E0404",
            Self::Emptied { .. } => "E0405",
            Self::Vanished { .. } => "E0406",
            Self::AuthRefused { .. } => "E0407",
            Self::UnknownHostKey { .. } => "E0408",
            Self::ChangedHostKey { .. } => "E0409",
            Self::Timeout { .. } => "E0410",
            Self::NotAGitServer { .. } => "E0411",
            Self::RedirectRefused { .. } => "E0412",
            Self::Tls { .. } => "E0413",
            Self::Unreachable { .. } => "E0414",
            Self::OverCap { .. } => "E0415",
            Self::MirrorBusy { .. } => "E0416",
            Self::Mirror { .. } => "E0417",
            Self::Corrupt { .. } => "E0418",
            Self::GitMissing { .. } => "E0419",
            Self::ForeignOwner { .. } => "E0420",
            Self::Other { .. } => "E0421",
            Self::UnknownCommit { .. } => "E0422",
            Self::Checkout(inner) => inner.code(),
        }
    }

    /// Who can end it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Timeout { .. }
            | Self::Unreachable { .. }
            | Self::MirrorBusy { .. }
            | Self::Other { .. } => ErrorKind::Retry,
            Self::UnknownRef { .. }
            | Self::RefDeleted { .. }
            | Self::Emptied { .. }
            | Self::UnknownCommit { .. }
            | Self::Corrupt { .. } => ErrorKind::NeedsCommit,
            Self::Location(_)
            | Self::Ref(_)
            | Self::NotARepository { .. }
            | Self::Vanished { .. }
            | Self::AuthRefused { .. }
            | Self::UnknownHostKey { .. }
            | Self::ChangedHostKey { .. }
            | Self::NotAGitServer { .. }
            | Self::RedirectRefused { .. }
            | Self::Tls { .. }
            | Self::OverCap { .. }
            | Self::Mirror { .. }
            | Self::GitMissing { .. }
            | Self::ForeignOwner { .. }
            | Self::Checkout(_) => ErrorKind::NeedsOperator,
        }
    }

    /// The next step, where there is one to name.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Location(LocationError::Credentials) => {
                "leave them out of the address and give them as the source's credentials, or use git's own credential helper".into()
            }
            Self::Location(_) => "use a path, file://, https://, ssh:// or git@host:path".into(),
            Self::Ref(_) => "name a branch, a tag or the 40 digits of a commit".into(),
            Self::NotARepository { .. } => "name a folder inside a repository with --repo, or run `git init` there".into(),
            Self::UnknownRef { similar, .. } if !similar.is_empty() => format!("did you mean {}?", similar.join(", ")),
            Self::UnknownRef { .. } => "`git ls-remote` lists what there is; --ref names another".into(),
            Self::RefDeleted { default_branch: Some(branch), .. } => {
                format!("nothing was changed; the default branch is now {branch:?}: push the ref again, or follow another one with --ref")
            }
            Self::RefDeleted { .. } => "nothing was changed; push it again, or follow another one with --ref".into(),
            Self::Emptied { .. } => "nothing was changed; an empty repository never means \"delete everything\"".into(),
            Self::Vanished { .. } => "nothing was changed; was it moved, deleted, or made private?".into(),
            Self::AuthRefused { .. } => "check the source's credentials, and that they may read this repository".into(),
            Self::UnknownHostKey { host, .. } => {
                format!("compare `ssh-keyscan {host}` with the fingerprint the host's owner publishes, then add it to known_hosts")
            }
            Self::ChangedHostKey { .. } => {
                "ask the host's owner whether the key was replaced; only then put the new one into known_hosts".into()
            }
            Self::NotAGitServer { .. } => "a login page or a proxy may stand in between; check the address".into(),
            Self::RedirectRefused { to: Some(host), .. } => format!("if {host:?} is right, use that address for the source"),
            Self::RedirectRefused { .. } => "use the address it points to for the source".into(),
            Self::Tls { .. } => "check the host's certificate, and that the CA certificates are installed".into(),
            Self::GitMissing { .. } => "install git, or put it on PATH".into(),
            Self::ForeignOwner { .. } => "run as its owner, or `git config --global --add safe.directory` for it".into(),
            Self::Corrupt { .. } => "`git fsck` in the repository names what is damaged".into(),
            Self::Timeout { .. } | Self::Unreachable { .. } | Self::MirrorBusy { .. } => "it is tried again".into(),
            Self::OverCap { .. } | Self::Mirror { .. } | Self::Other { .. } | Self::UnknownCommit { .. } | Self::Checkout(_) => {
                return None;
            }
        })
    }
}
