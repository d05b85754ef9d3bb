//! Image references as Docker reads them.
//!
//! In: the text of an `image:` key or of an engine's answer. Out: [`ImageRef`], with the domain, `library/` and so on
//! filled in. Guaranteed: an `ImageRef` can be put into a request unescaped, and two spellings of one reference are
//! equal. Must not: ask anybody what a tag means (that is an observation), or accept an image id as a reference.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The registry domain that a reference without one means.
pub const DOCKER_HUB: &str = "docker.io";

/// The key under which the docker CLI stores Docker Hub's credentials.
pub const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// The longest repository name (domain and path) that registries accept.
const NAME_MAX: usize = 255;

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageRefError {
    /// Nothing was given.
    #[error("the image reference is empty")]
    Empty,
    /// A bare image id: it names an image on one machine only.
    #[error("{raw:?} is an image id, not a reference that a registry knows")]
    IsId {
        /// The text as given.
        raw: String,
    },
    /// The repository holds upper-case letters.
    #[error("image reference {raw:?}: the repository name must be lower case")]
    UpperCase {
        /// The text as given.
        raw: String,
    },
    /// The registry's domain is malformed.
    #[error("image reference {raw:?}: {domain:?} is not a registry domain")]
    Domain {
        /// The text as given.
        raw: String,
        /// The part that should be a domain.
        domain: String,
    },
    /// The repository path is malformed.
    #[error("image reference {raw:?}: {path:?} is not a repository name")]
    Path {
        /// The text as given.
        raw: String,
        /// The part that should be the path.
        path: String,
    },
    /// The tag is malformed.
    #[error("image reference {raw:?}: {tag:?} is not a tag (letters, digits, `_`, `.`, `-`; 128 at most)")]
    Tag {
        /// The text as given.
        raw: String,
        /// The part that should be the tag.
        tag: String,
    },
    /// The digest is malformed.
    #[error(
        "image reference {raw:?}: {digest:?} is not a digest (`sha256:` and 64 lower-case hexadecimal digits)"
    )]
    Digest {
        /// The text as given.
        raw: String,
        /// The part that should be the digest.
        digest: String,
    },
    /// The name is longer than registries accept.
    #[error("image reference {raw:?}: the name is longer than {NAME_MAX} characters")]
    TooLong {
        /// The text as given.
        raw: String,
    },
}

/// An image reference: domain, path, and a tag, a digest, both or neither.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl ImageRef {
    /// Parses `raw` by Docker's rules: `nginx` is `docker.io/library/nginx`, and the first part is a domain only if it
    /// holds a `.` or `:`, is `localhost`, or has upper-case letters.
    pub fn parse(raw: &str) -> Result<Self, ImageRefError> {
        if raw.is_empty() {
            return Err(ImageRefError::Empty);
        }
        let id = raw.strip_prefix("sha256:").unwrap_or(raw);
        if id.len() == 64 && id.bytes().all(is_lower_hex) {
            return Err(ImageRefError::IsId { raw: raw.to_owned() });
        }
        let (rest, digest) = match raw.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some((_, digest)) => {
                return Err(ImageRefError::Digest {
                    raw: raw.to_owned(),
                    digest: digest.to_owned(),
                });
            }
            None => (raw, None),
        };
        let (domain, remainder) = split_domain(rest);
        if !is_domain(domain) {
            return Err(ImageRefError::Domain {
                raw: raw.to_owned(),
                domain: domain.to_owned(),
            });
        }
        let (path, tag) = match remainder.split_once(':') {
            Some((path, tag)) if is_tag(tag) => (path, Some(tag.to_owned())),
            Some((_, tag)) => {
                return Err(ImageRefError::Tag {
                    raw: raw.to_owned(),
                    tag: tag.to_owned(),
                });
            }
            None => (remainder, None),
        };
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ImageRefError::UpperCase { raw: raw.to_owned() });
        }
        if !path.split('/').all(is_path_component) {
            return Err(ImageRefError::Path {
                raw: raw.to_owned(),
                path: path.to_owned(),
            });
        }
        let path = if domain == DOCKER_HUB && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if domain.len() + 1 + path.len() > NAME_MAX {
            return Err(ImageRefError::TooLong { raw: raw.to_owned() });
        }
        Ok(Self {
            domain: domain.to_owned(),
            path,
            tag,
            digest,
        })
    }

    /// The registry's domain, with its port: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag as written, if one was.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest as written (`sha256:…`), if one was.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The whole repository name: `docker.io/library/nginx`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The repository name as people write it: `nginx`, `grafana/loki`, `ghcr.io/a/b`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DOCKER_HUB {
            return self.name();
        }
        if split_domain(&self.path).0 != DOCKER_HUB {
            // `docker.io/localhost/x` without its domain would name another registry.
            return self.name();
        }
        match self.path.strip_prefix("library/") {
            // `library/a.b/c` would read as a domain; only a single component may lose its prefix.
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The reference as people write it: `nginx:1.27`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    /// The reference with nothing left out: `docker.io/library/nginx:1.27`; `:latest` where neither tag nor digest is given.
    pub fn canonical(&self) -> String {
        self.tagged().with_suffix(self.name())
    }

    /// This reference, with `latest` as its tag if it has neither tag nor digest.
    pub fn tagged(&self) -> Self {
        let mut tagged = self.clone();
        if tagged.tag.is_none() && tagged.digest.is_none() {
            tagged.tag = Some("latest".to_owned());
        }
        tagged
    }

    /// This repository at exactly `digest`, without a tag: what is pulled.
    pub fn pinned(&self, digest: &str) -> Result<Self, ImageRefError> {
        if !is_digest(digest) {
            return Err(ImageRefError::Digest {
                raw: self.familiar(),
                digest: digest.to_owned(),
            });
        }
        Ok(Self {
            tag: None,
            digest: Some(digest.to_owned()),
            ..self.clone()
        })
    }

    /// The key under which the docker CLI keeps this registry's credentials.
    pub fn registry_key(&self) -> &str {
        if self.domain == DOCKER_HUB {
            DOCKER_HUB_KEY
        } else {
            &self.domain
        }
    }

    fn with_suffix(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(digest);
        }
        name
    }
}

/// The domain and the rest, with the default domain filled in.
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            // The old name of the Hub's index.
            if first == "index.docker.io" {
                (DOCKER_HUB, rest)
            } else {
                (first, rest)
            }
        }
        _ => (DOCKER_HUB, name),
    }
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (domain, None),
    };
    if port.is_some_and(|port| port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit())) {
        return false;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    }
    host.split('.').all(|part| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    })
}

/// `[a-z0-9]+` runs with `.`, `_`, `__` or any number of `-` between them.
fn is_path_component(component: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().copied().is_some_and(alnum) || !bytes.last().copied().is_some_and(alnum) {
        return false;
    }
    bytes
        .split(|b| alnum(*b))
        .filter(|run| !run.is_empty())
        .all(|run| matches!(run, b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// `sha256:` and `sha512:` of their full length: the algorithms that registries use.
fn is_digest(digest: &str) -> bool {
    let (algorithm, digits) = digest.split_once(':').unwrap_or_default();
    let length = match algorithm {
        "sha256" => 64,
        "sha512" => 128,
        _ => return false,
    };
    digits.len() == length && digits.bytes().all(is_lower_hex)
}

fn is_lower_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

impl std::str::FromStr for ImageRef {
    type Err = ImageRefError;
    fn from_str(raw: &str) -> Result<Self, ImageRefError> {
        Self::parse(raw)
    }
}

impl TryFrom<String> for ImageRef {
    type Error = ImageRefError;
    fn try_from(raw: String) -> Result<Self, ImageRefError> {
        Self::parse(&raw)
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> String {
        image.familiar()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.familiar())
    }
}

impl fmt::Debug for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.familiar(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn references_read_as_docker_reads_them() {
        let pinned = format!("nginx:1@sha256:{HEX}");
        let canonical = format!("docker.io/library/nginx:1@sha256:{HEX}");
        for (raw, canonical, familiar, key) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx", DOCKER_HUB_KEY),
            (
                "nginx:1.27",
                "docker.io/library/nginx:1.27",
                "nginx:1.27",
                DOCKER_HUB_KEY,
            ),
            (
                "library/nginx",
                "docker.io/library/nginx:latest",
                "nginx",
                DOCKER_HUB_KEY,
            ),
            (
                "docker.io/nginx",
                "docker.io/library/nginx:latest",
                "nginx",
                DOCKER_HUB_KEY,
            ),
            (
                "index.docker.io/nginx",
                "docker.io/library/nginx:latest",
                "nginx",
                DOCKER_HUB_KEY,
            ),
            (
                "grafana/loki:3",
                "docker.io/grafana/loki:3",
                "grafana/loki:3",
                DOCKER_HUB_KEY,
            ),
            ("ghcr.io/a/b:x", "ghcr.io/a/b:x", "ghcr.io/a/b:x", "ghcr.io"),
            (
                "localhost/app",
                "localhost/app:latest",
                "localhost/app",
                "localhost",
            ),
            (
                "localhost:5000/app",
                "localhost:5000/app:latest",
                "localhost:5000/app",
                "localhost:5000",
            ),
            (
                "localhost:5000",
                "docker.io/library/localhost:5000",
                "localhost:5000",
                DOCKER_HUB_KEY,
            ),
            (
                "[::1]:5000/app",
                "[::1]:5000/app:latest",
                "[::1]:5000/app",
                "[::1]:5000",
            ),
            (
                "docker.io/localhost/x",
                "docker.io/localhost/x:latest",
                "docker.io/localhost/x",
                DOCKER_HUB_KEY,
            ),
            ("Host/app", "Host/app:latest", "Host/app", "Host"),
            (
                "a/b__c--d.e_f",
                "docker.io/a/b__c--d.e_f:latest",
                "a/b__c--d.e_f",
                DOCKER_HUB_KEY,
            ),
            (&pinned, &canonical, &pinned, DOCKER_HUB_KEY),
        ] {
            let image = ImageRef::parse(raw).unwrap_or_else(|error| panic!("{raw}: {error}"));
            assert_eq!(image.canonical(), canonical, "{raw}");
            assert_eq!(image.familiar(), familiar, "{raw}");
            assert_eq!(image.registry_key(), key, "{raw}");
            assert_eq!(ImageRef::parse(&image.familiar()).as_ref(), Ok(&image), "{raw}");
        }
    }

    #[test]
    fn what_is_not_a_reference_says_why() {
        let long = format!("a/{}", "b".repeat(300));
        let short_digest = format!("nginx@sha256:{}", &HEX[1..]);
        for (raw, part) in [
            ("", "empty"),
            (HEX, "image id"),
            ("Nginx", "lower case"),
            ("a/Nginx", "lower case"),
            ("nginx:", "not a tag"),
            ("nginx:-x", "not a tag"),
            ("a b", "not a repository name"),
            ("a//b", "not a repository name"),
            ("a/-b", "not a repository name"),
            ("a/b._c", "not a repository name"),
            ("a/b___c", "not a repository name"),
            ("a.-b/c", "not a registry domain"),
            ("host:x/c", "not a registry domain"),
            ("https://ghcr.io/a", "not a registry domain"),
            (&short_digest, "not a digest"),
            (&long, "longer than"),
        ] {
            let error = ImageRef::parse(raw).expect_err(raw).to_string();
            assert!(error.contains(part), "{raw}: {error}");
        }
    }

    #[test]
    fn a_pinned_reference_has_no_tag() {
        let image = ImageRef::parse("nginx:1").expect("valid");
        let pinned = image.pinned(&format!("sha256:{HEX}")).expect("valid");
        assert_eq!(pinned.familiar(), format!("nginx@sha256:{HEX}"));
        assert!(image.pinned("sha256:1").is_err());
    }
}
