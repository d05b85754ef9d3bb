//! Names that are parsed once and do not turn into one another.
//!
//! In: raw text from Git, the command line or an engine. Out: typed names. Guaranteed: a value of one of these types
//! satisfies its rule, so nobody downstream checks again. Must not: hold anything secret, or do I/O.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Why a raw name was refused. The edge adds the place and the next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {raw:?} is not valid: {rule}")]
pub struct NameError {
    /// What kind of name it was meant to be, for example `app name`.
    pub what: &'static str,
    /// The text as given.
    pub raw: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;
            fn try_from(raw: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> bool = $check;
                if check(raw) {
                    Ok(Self(raw.into()))
                } else {
                    Err(NameError { what: $what, raw: raw.to_owned(), rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(raw: String) -> Result<Self, NameError> {
                Self::try_from(raw.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(raw: &str) -> Result<Self, NameError> {
                Self::try_from(raw)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

fn is_label(raw: &str, extra: &[char]) -> bool {
    (1..=128).contains(&raw.len())
        && raw.starts_with(|c: char| c.is_ascii_alphanumeric())
        && raw
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || extra.contains(&c))
}

name_type!(
    /// An app's name: unique within a source; a folder name or a key of `driftless.yaml`.
    AppName, "app name", "it must start with a letter or digit and hold only letters, digits, `-`, `_` and `.` (128 at most)",
    |raw| is_label(raw, &['-', '_', '.'])
);
name_type!(
    /// What is judged and watched of an app: a Compose service (compose-spec: `^[a-zA-Z0-9._-]+$`), or a Kubernetes object
    /// as `Deployment/web` ([`ServiceName::of_object`]).
    ServiceName, "service name", "it may hold only letters, digits, `-`, `_` and `.` (128 at most)",
    |raw| {
        let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        // An object's kind starts with a capital letter, and no Compose service has a slash.
        match raw.split_once('/') {
            Some((kind, rest)) => kind.starts_with(|c: char| c.is_ascii_uppercase()) && plain(kind) && !rest.is_empty(),
            None => raw.len() <= 128 && plain(raw),
        }
    }
);
name_type!(
    /// A Compose project name (compose-spec: lower case, digits, `-`, `_`, starting with a letter or digit).
    ProjectName, "project name", "it must start with a lower-case letter or digit and hold only lower-case letters, digits, `-` and `_`",
    |raw| is_label(raw, &['-', '_']) && !raw.chars().any(|c| c.is_ascii_uppercase())
);
name_type!(
    /// The name of this Driftless instance; it is written on every object it owns (`dev.driftless.instance`).
    InstanceName, "instance name", "it must start with a letter or digit and hold only letters, digits, `-`, `_` and `.` (128 at most)",
    |raw| is_label(raw, &['-', '_', '.'])
);
name_type!(
    /// A source's identity: the canonical `origin` URL without credentials, else the absolute path of the repository.
    SourceId, "source id", "it must not be empty or hold control characters",
    |raw| !raw.is_empty() && !raw.chars().any(char::is_control)
);
name_type!(
    /// A target's identity: for Docker the engine's `/info` ID.
    TargetId, "target id", "it must not be empty or hold control characters",
    |raw| !raw.is_empty() && !raw.chars().any(char::is_control)
);
name_type!(
    /// A commit id: 40 hexadecimal digits.
    Revision, "commit id", "it must be 40 hexadecimal digits",
    |raw| raw.len() == 40 && raw.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
);

impl ProjectName {
    /// A name that stands for an app without a Compose project, where its own can't.
    pub fn of_objects() -> Self {
        Self("objects".into())
    }
}

impl ServiceName {
    /// The name under which an object is judged: `Deployment/web`, with the namespace where it is not the app's own.
    pub fn of_object(key: &ObjectKey, namespace: &str) -> Self {
        Self(key.within(namespace).into())
    }

    /// The thing of a plan that it is: `service/api`, or the object itself.
    pub fn resource(&self) -> ResourceKey {
        let kind = if self.is_object() {
            Kind::Object
        } else {
            Kind::Service
        };
        ResourceKey::new(kind, self.0.clone())
    }

    /// Whether it names a Kubernetes object.
    pub fn is_object(&self) -> bool {
        self.0.contains('/')
    }
}

impl Revision {
    /// The first seven digits, as Git shows them.
    pub fn short(&self) -> &str {
        &self.as_str()[..7]
    }
}

/// A digest with the version of the rule that made it, as `v1:<64 hex digits>` of a SHA-256.
///
/// Three kinds exist (`docs/architecture.md`): content, release and spec. Two digests are comparable only when their
/// version prefix is equal; a different prefix means another version of Driftless wrote it, never that something changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(Arc<str>);

impl Digest {
    /// The digest of `bytes` under the rule version `version` (for example `v1`).
    pub fn of(version: &str, bytes: &[u8]) -> Self {
        Self(format!("{version}:{}", hex::encode(Sha256::digest(bytes))).into())
    }

    /// A digest read back from a label or the store. It is not checked: a foreign value compares as different.
    pub fn read_back(raw: &str) -> Self {
        Self(raw.into())
    }

    /// The whole text, prefix included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The rule version that made it.
    pub fn version(&self) -> &str {
        self.0.split_once(':').map_or("", |(version, _)| version)
    }

    /// The first `length` hexadecimal digits, for names and messages.
    pub fn short(&self, length: usize) -> &str {
        let digits = self.0.split_once(':').map_or(&*self.0, |(_, digits)| digits);
        digits.get(..length).unwrap_or(digits)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// App identity within an instance: the source it comes from and its name there (decision 7).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AppKey {
    /// Where it comes from.
    pub source: SourceId,
    /// Its name there.
    pub app: AppName,
}

/// What kind of live object a [`ResourceKey`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A Compose network.
    Network,
    /// A Compose volume.
    Volume,
    /// A Compose config.
    Config,
    /// A Compose secret.
    Secret,
    /// A Compose service: all its containers.
    Service,
    /// A Kubernetes object; the name is `Deployment/web`.
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Network => "network",
            Kind::Volume => "volume",
            Kind::Config => "config",
            Kind::Secret => "secret",
            Kind::Service => "service",
            Kind::Object => "object",
        })
    }
}

/// One thing of an app that people see in a plan, as `service/api`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceKey {
    /// The kind.
    pub kind: Kind,
    /// Its key in the manifest (not the live object's name).
    pub name: Arc<str>,
}

impl ResourceKey {
    /// A key.
    pub fn new(kind: Kind, name: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            name: name.into(),
        }
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == Kind::Object {
            return f.pad(&self.name);
        }
        f.pad(&format!("{}/{}", self.kind, self.name))
    }
}

/// A Kubernetes object's identity: what the API server addresses it by, without the version it is written in.
///
/// The version is not part of it: `apps/v1` and `apps/v1beta1` name the same Deployment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// The API group, `""` for the core group.
    pub group: Arc<str>,
    /// The kind, as `Deployment`.
    pub kind: Arc<str>,
    /// `None` for cluster-scoped objects.
    pub namespace: Option<Arc<str>>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key. An empty namespace is none.
    pub fn new(group: &str, kind: &str, namespace: Option<&str>, name: &str) -> Self {
        Self {
            group: group.into(),
            kind: kind.into(),
            namespace: namespace.filter(|text| !text.is_empty()).map(Into::into),
            name: name.into(),
        }
    }
}

impl ObjectKey {
    /// As people write it where `namespace` is understood: `Deployment/web`.
    pub fn within(&self, namespace: &str) -> String {
        match &self.namespace {
            Some(own) if &**own != namespace => format!("{}/{own}/{}", self.kind, self.name),
            _ => format!("{}/{}", self.kind, self.name),
        }
    }
}

/// `Deployment/web` in words, with the namespace where it has one: `Deployment/shop/web`.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => f.pad(&format!("{}/{namespace}/{}", self.kind, self.name)),
            None => f.pad(&format!("{}/{}", self.kind, self.name)),
        }
    }
}

/// One run of one app; sorts by time. Shown as `r-` and 10 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Arc<str>);

impl RunId {
    /// A run id from a time in milliseconds since the epoch and four random bytes.
    pub fn new(millis: i64, random: [u8; 4]) -> Self {
        Self(format!("r-{:010x}{}", millis, hex::encode(random)).into())
    }

    /// An id read back from the store.
    pub fn read_back(raw: &str) -> Self {
        Self(raw.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_their_rule_excludes() {
        assert!(AppName::try_from("web").is_ok());
        assert!(AppName::try_from("-web").is_err());
        assert!(AppName::try_from("a/b").is_err());
        assert!(ProjectName::try_from("Web").is_err());
        assert!(Revision::try_from("4f1c2ab").is_err());
    }

    #[test]
    fn a_digest_knows_its_version() {
        let digest = Digest::of("v1", b"x");
        assert_eq!(digest.version(), "v1");
        assert_eq!(digest.short(7).len(), 7);
    }
}
