//! Where a repository is.
//!
//! In: what a person or a configuration names. Out: [`Location`], parsed once, and the identities that follow from it.
//! Guaranteed: no control character, no leading `-`, no credential, no transport but local, `https`, `ssh` and (on loopback
//! only) `http`; what is shown holds no secret. Must not: look anything up on the network.

use std::fmt;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use crate::names::{AppName, SourceId};

/// Why a location was refused. No variant repeats the text where it could hold a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Nothing was given.
    #[error("the repository's address is empty")]
    Empty,
    /// A control character or a space at an end.
    #[error("the repository's address holds a control character")]
    Control,
    /// It would be read as an option.
    #[error("a repository's address may not start with `-`")]
    LeadingDash,
    /// A user name or password in an `http(s)` URL, or a password in an `ssh` one.
    #[error("credentials in a repository's address are refused")]
    Credentials,
    /// `ext::`, `git://` and others.
    #[error("transport {scheme:?} is not allowed: use https, ssh or a local path")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// `http://` to another machine can be altered on the way.
    #[error("plain http is allowed on loopback only; use https for {host:?}")]
    PlainHttp {
        /// The host.
        host: String,
    },
    /// Not a URL of a repository.
    #[error("not a repository's address: {why}")]
    Malformed {
        /// What is wrong.
        why: &'static str,
    },
}

/// How a remote is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `https://`
    Https,
    /// `http://` on loopback.
    Http,
    /// `ssh://` and `user@host:path`.
    Ssh,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Scheme::Https => "https",
            Scheme::Http => "http",
            Scheme::Ssh => "ssh",
        }
    }
}

/// A remote repository's address, without secrets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RemoteUrl {
    pub(super) scheme: Scheme,
    pub(super) user: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// With its leading `/`, as it is sent.
    pub(super) path: String,
    /// `host:path` without a leading `/`: relative to the user's home, which no `ssh://` URL can say to every server.
    pub(super) relative: bool,
}

impl RemoteUrl {
    /// The address as `git` gets it.
    pub(super) fn as_git(&self) -> String {
        let user = self
            .user
            .as_ref()
            .map(|user| format!("{user}@"))
            .unwrap_or_default();
        if self.relative {
            return format!("{user}{}:{}", self.host, self.path.trim_start_matches('/'));
        }
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!(
            "{}://{user}{}{port}{}",
            self.scheme.as_str(),
            self.host,
            self.path
        )
    }

    /// The scheme, host and port: the part that credentials belong to.
    pub(super) fn authority(&self) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}/", self.scheme.as_str(), self.host)
    }

    /// The host.
    pub fn host(&self) -> &str {
        &self.host
    }

    fn identity(&self) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let path = self.path.trim_matches('/');
        format!(
            "{}{port}/{}",
            self.host,
            path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/')
        )
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.as_git())
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_git())
    }
}

/// A repository's address, parsed once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// A folder on this machine: the repository or anything below it.
    Local(PathBuf),
    /// Another machine.
    Remote(RemoteUrl),
}

impl Location {
    /// Parses `raw`; a relative path is taken from `base`.
    pub fn parse(raw: &str, base: &Path) -> Result<Self, LocationError> {
        if raw.is_empty() {
            return Err(LocationError::Empty);
        }
        if raw.chars().any(char::is_control) || raw.trim() != raw {
            return Err(LocationError::Control);
        }
        if raw.starts_with('-') {
            return Err(LocationError::LeadingDash);
        }
        if raw.contains("://") {
            return parse_url(raw, false);
        }
        if let Some((transport, _)) = raw.split_once("::") {
            return Err(LocationError::Scheme {
                scheme: transport.to_owned(),
            });
        }
        match raw.split_once(':') {
            Some((host, path)) if !host.contains('/') => parse_scp(host, path),
            _ => Ok(Self::Local(tidy(&base.join(raw)))),
        }
    }

    /// The identity of this address alone; a local repository may have an `origin` that decides instead.
    pub fn source_id(&self) -> Result<SourceId, LocationError> {
        SourceId::try_from(match self {
            Location::Local(path) => path.to_string_lossy().into_owned(),
            Location::Remote(url) => url.identity(),
        })
        .map_err(|_| LocationError::Control)
    }

    /// The last part of the address, as a name for an app at the repository's root.
    pub fn base_name(&self) -> Option<AppName> {
        let path = match self {
            Location::Local(path) => path.file_name()?.to_string_lossy().into_owned(),
            Location::Remote(url) => url.identity().rsplit('/').next()?.to_owned(),
        };
        let name: String = path
            .strip_suffix(".git")
            .filter(|name| !name.is_empty())
            .unwrap_or(&path)
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        AppName::try_from(name.trim_start_matches(['-', '_', '.'])).ok()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Local(path) => f.pad(&path.to_string_lossy()),
            Location::Remote(url) => fmt::Display::fmt(url, f),
        }
    }
}

/// Reads an `origin` as it stands in a repository's configuration, where it may hold a credential: that is left out.
pub(super) fn parse_origin(raw: &str, base: &Path) -> Option<Location> {
    if raw.contains("://") {
        parse_url(raw, true).ok()
    } else {
        Location::parse(raw, base).ok()
    }
}

fn parse_url(raw: &str, lenient: bool) -> Result<Location, LocationError> {
    let malformed = |why| LocationError::Malformed { why };
    let url = url::Url::parse(raw).map_err(|_| malformed("it is not a URL"))?;
    let scheme = match url.scheme() {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        "ssh" | "git+ssh" | "ssh+git" => Scheme::Ssh,
        "file" => {
            let path = url
                .to_file_path()
                .map_err(|()| malformed("a file URL names a path on this machine"))?;
            return Ok(Location::Local(tidy(&path)));
        }
        other => {
            return Err(LocationError::Scheme {
                scheme: other.to_owned(),
            });
        }
    };
    if !lenient && (url.password().is_some() || (scheme != Scheme::Ssh && !url.username().is_empty())) {
        return Err(LocationError::Credentials);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(malformed(
            "a query or fragment has no meaning in a repository's address",
        ));
    }
    let host = url
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or(malformed("there is no host"))?
        .to_ascii_lowercase();
    let user = (scheme == Scheme::Ssh && !url.username().is_empty()).then(|| url.username().to_owned());
    if scheme == Scheme::Http && !lenient && !is_loopback(&host) {
        return Err(LocationError::PlainHttp { host });
    }
    let port = url.port().filter(|port| !(scheme == Scheme::Ssh && *port == 22));
    remote(RemoteUrl {
        scheme,
        user,
        host,
        port,
        path: url.path().to_owned(),
        relative: false,
    })
}

fn parse_scp(authority: &str, path: &str) -> Result<Location, LocationError> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, authority),
    };
    if user.as_ref().is_some_and(|user| user.contains(':')) {
        return Err(LocationError::Credentials);
    }
    let relative = !path.starts_with('/');
    let path = if relative {
        format!("/{path}")
    } else {
        path.to_owned()
    };
    remote(RemoteUrl {
        scheme: Scheme::Ssh,
        user,
        host: host.to_ascii_lowercase(),
        port: None,
        path,
        relative,
    })
}

fn remote(url: RemoteUrl) -> Result<Location, LocationError> {
    let bad_start = |part: &str| part.is_empty() || part.starts_with('-');
    if bad_start(&url.host)
        || url.user.as_deref().is_some_and(bad_start)
        || url.path.trim_start_matches('/').starts_with('-')
    {
        return Err(LocationError::LeadingDash);
    }
    let plain = |part: &str| {
        part.chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.[]:%+".contains(c))
    };
    if !plain(&url.host) || !url.user.as_deref().is_none_or(plain) {
        return Err(LocationError::Malformed {
            why: "the host or user holds a character that none may hold",
        });
    }
    if url.path.trim_matches('/').is_empty() {
        return Err(LocationError::Malformed {
            why: "there is no path to a repository",
        });
    }
    Ok(Location::Remote(url))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The path without `.` and with `..` folded as text, so that one folder has one identity.
fn tidy(path: &Path) -> PathBuf {
    let mut tidied = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                tidied.pop();
            }
            part => tidied.push(part),
        }
    }
    tidied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &str) -> Result<Location, LocationError> {
        Location::parse(raw, Path::new("/home/me/infra"))
    }

    fn id(raw: &str) -> String {
        parse(raw).unwrap().source_id().unwrap().to_string()
    }

    #[test]
    fn one_repository_has_one_identity_however_it_is_reached() {
        for raw in [
            "https://github.com/acme/infra.git",
            "https://GitHub.com/acme/infra",
            "ssh://git@github.com/acme/infra.git",
            "ssh://git@github.com:22/acme/infra/",
            "git@github.com:acme/infra.git",
            "github.com:acme/infra",
        ] {
            assert_eq!(id(raw), "github.com/acme/infra", "{raw}");
        }
        assert_eq!(id("ssh://git@h:2222/a"), "h:2222/a");
        assert_eq!(id("."), "/home/me/infra");
        assert_eq!(id("../x/./y"), "/home/me/x/y");
        assert_eq!(id("file:///srv/git/x.git"), "/srv/git/x.git");
    }

    #[test]
    fn an_origin_with_a_token_gives_the_identity_without_it() {
        let origin = parse_origin(
            "https://oauth2:ghp_canary@github.com/acme/infra.git",
            Path::new("/"),
        )
        .unwrap();
        assert_eq!(origin.source_id().unwrap().as_str(), "github.com/acme/infra");
        assert!(!format!("{origin} {origin:?}").contains("canary"));
    }

    #[test]
    fn an_scp_like_path_stays_relative_to_the_home() {
        assert_eq!(parse("git@h:a/b.git").unwrap().to_string(), "git@h:a/b.git");
        assert_eq!(parse("h:/srv/b.git").unwrap().to_string(), "ssh://h/srv/b.git");
    }

    #[test]
    fn dangerous_addresses_are_refused() {
        assert_eq!(parse(""), Err(LocationError::Empty));
        assert_eq!(parse("-oProxyCommand=x"), Err(LocationError::LeadingDash));
        assert_eq!(parse("ssh://-oProxyCommand=x/y"), Err(LocationError::LeadingDash));
        assert_eq!(parse("git@-host:x"), Err(LocationError::LeadingDash));
        assert_eq!(parse("git@host:-x"), Err(LocationError::LeadingDash));
        assert_eq!(parse("https://h/a\nb"), Err(LocationError::Control));
        assert_eq!(parse("https://u:canary@h/a"), Err(LocationError::Credentials));
        assert_eq!(parse("https://canary@h/a"), Err(LocationError::Credentials));
        assert_eq!(parse("ssh://u:canary@h/a"), Err(LocationError::Credentials));
        assert!(matches!(
            parse("ext::sh -c id"),
            Err(LocationError::Scheme { .. })
        ));
        assert!(matches!(parse("git://h/a"), Err(LocationError::Scheme { .. })));
        assert!(matches!(
            parse("http://example.com/a"),
            Err(LocationError::PlainHttp { .. })
        ));
        assert!(parse("http://127.0.0.1:8080/a").is_ok() && parse("http://[::1]:80/a").is_ok());
        assert!(matches!(parse("https://h"), Err(LocationError::Malformed { .. })));
        assert!(matches!(
            parse("https://h/a?b=c"),
            Err(LocationError::Malformed { .. })
        ));
        assert!(
            !parse("https://u:canary@h/a")
                .unwrap_err()
                .to_string()
                .contains("canary")
        );
    }

    #[test]
    fn a_root_app_is_named_after_the_address() {
        assert_eq!(
            parse("git@github.com:acme/my-infra.git")
                .unwrap()
                .base_name()
                .unwrap()
                .as_str(),
            "my-infra"
        );
        assert_eq!(parse(".").unwrap().base_name().unwrap().as_str(), "infra");
        assert_eq!(
            parse("/srv/git/my stack.git")
                .unwrap()
                .base_name()
                .unwrap()
                .as_str(),
            "my-stack"
        );
    }
}
