//! Paths inside a repository.
//!
//! In: raw text from a manifest, a tree or the command line. Out: [`RepoPath`]. Guaranteed: a `RepoPath` is relative to the
//! repository's root, normalised, never leaves it, and names nothing that Git keeps for itself. Must not: look at a file
//! system; whether the path exists, and where a link leads, is the [`Checkout`](super::Checkout)'s to say.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a path was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is absolute, or its `..` segments climb above the root. (E0430)
    #[error("path outside the repository: {raw:?}")]
    Outside {
        /// The text as given.
        raw: String,
    },
    /// It holds a name that no safe tree holds: a control character, `.git`, or bytes that are not UTF-8. (E0431)
    #[error("unsafe path {raw:?}: {why}")]
    Unsafe {
        /// The text as given; `{:?}` escapes what is not printable.
        raw: String,
        /// The rule that it breaks.
        why: &'static str,
    },
}

/// A path inside a repository: segments joined by `/`, without `.` and `..`; the root is the empty path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoPath(Arc<str>);

impl RepoPath {
    /// The repository's root.
    pub fn root() -> Self {
        Self::default()
    }

    /// Parses `raw` relative to the root. `./a//b/../c` becomes `a/c`.
    pub fn parse(raw: &str) -> Result<Self, PathError> {
        Self::root().join(raw)
    }

    /// The path that `raw` means when it is written in a file of this folder. `..` may climb as long as it stays inside
    /// the repository.
    pub fn join(&self, raw: &str) -> Result<Self, PathError> {
        let outside = || PathError::Outside { raw: raw.to_owned() };
        if raw.starts_with('/') {
            return Err(outside());
        }
        let mut segments: Vec<&str> = self.segments().collect();
        for segment in raw.split('/') {
            match segment {
                "" | "." => {}
                ".." => {
                    segments.pop().ok_or_else(outside)?;
                }
                name => {
                    check_name(name).map_err(|why| PathError::Unsafe {
                        raw: raw.to_owned(),
                        why,
                    })?;
                    segments.push(name);
                }
            }
        }
        Ok(Self(segments.join("/").into()))
    }

    /// The path as text; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The folder that holds it; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(Self(
            self.0.rsplit_once('/').map_or("", |(folder, _)| folder).into(),
        ))
    }

    /// The last segment; `None` for the root.
    pub fn file_name(&self) -> Option<&str> {
        if self.is_root() {
            None
        } else {
            self.0.rsplit('/').next()
        }
    }

    /// The segments from the root down.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// Whether it is `folder` or lies below it.
    pub fn starts_with(&self, folder: &RepoPath) -> bool {
        folder.is_root()
            || self
                .0
                .strip_prefix(folder.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// This path seen from `folder`, which must hold it.
    pub fn relative_to(&self, folder: &RepoPath) -> Option<Self> {
        if !self.starts_with(folder) {
            return None;
        }
        Some(Self(
            self.0
                .get(folder.0.len()..)
                .unwrap_or_default()
                .trim_start_matches('/')
                .into(),
        ))
    }

    /// A path one segment below, where `name` passed [`check_name`].
    pub(super) fn child(&self, name: &str) -> Self {
        if self.is_root() {
            Self(name.into())
        } else {
            Self(format!("{}/{name}", self.0).into())
        }
    }
}

/// Refuses a name that a hostile tree uses to reach outside of it or to deceive a reader.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name == "." || name == ".." {
        return Err("`.`, `..` and empty names are no file names");
    }
    if name.contains('/') {
        return Err("a `/` cannot be part of a name");
    }
    if name.chars().any(char::is_control) {
        return Err("a control character in a name");
    }
    // What HFS+ and NTFS fold into `.git` counts as `.git`, as in Git's own fsck.
    let folded: String = name
        .chars()
        .filter(|c| !matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'))
        .flat_map(char::to_lowercase)
        .collect();
    let stem = folded
        .split(':')
        .next()
        .unwrap_or_default()
        .trim_end_matches([' ', '.']);
    if stem == ".git" || stem == "git~1" {
        return Err("`.git` belongs to Git itself");
    }
    Ok(())
}

impl TryFrom<String> for RepoPath {
    type Error = PathError;
    fn try_from(raw: String) -> Result<Self, PathError> {
        Self::parse(&raw)
    }
}

impl std::str::FromStr for RepoPath {
    type Err = PathError;
    fn from_str(raw: &str) -> Result<Self, PathError> {
        Self::parse(raw)
    }
}

impl From<RepoPath> for String {
    fn from(path: RepoPath) -> String {
        path.0.as_ref().to_owned()
    }
}

/// The root is shown as `.`.
impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if self.is_root() { "." } else { &self.0 })
    }
}

impl fmt::Debug for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(raw: &str) -> RepoPath {
        RepoPath::parse(raw).unwrap()
    }

    #[test]
    fn dots_that_stay_inside_are_normalised() {
        assert_eq!(path("./apps//web/../api/").as_str(), "apps/api");
        assert_eq!(
            path("apps/web").join("../base/compose.yaml").unwrap().as_str(),
            "apps/base/compose.yaml"
        );
        assert_eq!(path("apps").join("..").unwrap(), RepoPath::root());
        assert_eq!(RepoPath::root().to_string(), ".");
    }

    #[test]
    fn a_path_never_leaves_the_repository() {
        for raw in ["..", "../x", "a/../../x", "/etc/passwd"] {
            assert!(matches!(
                path("a").join(".").and_then(|_| RepoPath::parse(raw)),
                Err(PathError::Outside { .. })
            ));
        }
        assert!(matches!(
            path("a/b").join("../../../c"),
            Err(PathError::Outside { .. })
        ));
    }

    #[test]
    fn names_that_git_or_a_terminal_would_misread_are_refused() {
        for raw in [
            ".git/config",
            "a/.GIT",
            ".git ",
            ".git.",
            "git~1",
            ".g\u{200c}it",
            ".git::$INDEX",
            "a\nb",
            "a\u{1b}[2J",
        ] {
            assert!(
                matches!(RepoPath::parse(raw), Err(PathError::Unsafe { .. })),
                "{raw:?}"
            );
        }
        for raw in [".gitignore", ".github/x", "git", "legit", ".gitea"] {
            assert!(RepoPath::parse(raw).is_ok(), "{raw:?}");
        }
    }

    #[test]
    fn prefixes_end_at_segments() {
        assert!(path("apps/web/x").starts_with(&path("apps/web")));
        assert!(!path("apps/website").starts_with(&path("apps/web")));
        assert_eq!(
            path("apps/web/x").relative_to(&path("apps")).unwrap().as_str(),
            "web/x"
        );
        assert_eq!(path("apps").relative_to(&path("apps")).unwrap(), RepoPath::root());
        assert_eq!(path("a/b").parent().unwrap().as_str(), "a");
        assert_eq!(path("a").parent(), Some(RepoPath::root()));
        assert_eq!(RepoPath::root().parent(), None);
    }

    proptest! {
        #[test]
        fn any_accepted_path_is_normal_and_inside(base in "[a-z]{1,3}(/[a-z]{1,3}){0,3}", raw in "[a-z./]{0,20}") {
            if let Ok(joined) = path(&base).join(&raw) {
                prop_assert!(joined.segments().all(|segment| segment != "." && segment != ".." && !segment.is_empty()));
                prop_assert!(!joined.as_str().starts_with('/') && !joined.as_str().ends_with('/'));
                prop_assert_eq!(RepoPath::parse(joined.as_str()).unwrap(), joined);
            }
        }
    }
}
