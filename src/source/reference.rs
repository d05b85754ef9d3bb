//! What is followed in a repository.
//!
//! In: a `--ref` or nothing. Out: [`GitRef`]. Guaranteed: a name that passed here is a valid Git ref name and can stand in an
//! argument vector or refspec without meaning anything else. Must not: guess between a branch and a tag; the source asks.

use std::fmt;

use crate::names::Revision;

/// A ref name that Git would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{raw:?} is not a branch, tag or commit name")]
pub struct RefError {
    /// The text as given.
    pub raw: String,
}

/// A branch, a tag, a commit, or whatever is checked out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GitRef {
    /// Local: the checked-out branch (or commit, if detached). Remote: the default branch.
    Head,
    /// `refs/heads/…`
    Branch(String),
    /// `refs/tags/…`
    Tag(String),
    /// One commit; it never moves.
    Commit(Revision),
    /// A bare name: a branch, else a tag, else (in a local repository) the beginning of a commit id.
    Name(String),
}

impl GitRef {
    /// Parses what a person wrote. `refs/heads/x` and `heads/x`, `refs/tags/x` and `tags/x` say which kind; 40 hexadecimal
    /// digits are a commit; empty, `HEAD` and `@` follow what is checked out.
    pub fn parse(raw: &str) -> Result<Self, RefError> {
        let refused = || RefError { raw: raw.to_owned() };
        if raw.is_empty() || raw == "HEAD" || raw == "@" {
            return Ok(Self::Head);
        }
        if let Ok(revision) = Revision::try_from(raw.to_ascii_lowercase()) {
            return Ok(Self::Commit(revision));
        }
        let short = raw.strip_prefix("refs/").unwrap_or(raw);
        let (make, name): (fn(String) -> Self, &str) = if let Some(name) = short.strip_prefix("heads/") {
            (Self::Branch, name)
        } else if let Some(name) = short.strip_prefix("tags/") {
            (Self::Tag, name)
        } else if short.len() == raw.len() {
            (Self::Name, raw)
        } else {
            return Err(refused());
        };
        let valid = !name.starts_with('-') && git2::Reference::is_valid_name(&format!("refs/heads/{name}"));
        if valid {
            Ok(make(name.to_owned()))
        } else {
            Err(refused())
        }
    }

    /// The full ref names it may mean, in order of preference.
    pub(super) fn candidates(&self) -> Vec<String> {
        match self {
            Self::Head => vec!["HEAD".to_owned()],
            Self::Branch(name) => vec![format!("refs/heads/{name}")],
            Self::Tag(name) => vec![format!("refs/tags/{name}")],
            Self::Name(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
            Self::Commit(_) => Vec::new(),
        }
    }

    /// The name without its kind.
    pub fn short_name(&self) -> &str {
        match self {
            Self::Head => "HEAD",
            Self::Branch(name) | Self::Tag(name) | Self::Name(name) => name,
            Self::Commit(revision) => revision.short(),
        }
    }
}

impl fmt::Display for GitRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.short_name())
    }
}

impl std::str::FromStr for GitRef {
    type Err = RefError;
    fn from_str(raw: &str) -> Result<Self, RefError> {
        Self::parse(raw)
    }
}

/// Names like `wanted`, nearest first, at most three: branches and tags without their prefix.
pub(super) fn similar<'a>(wanted: &str, refs: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = refs
        .filter_map(|name| {
            name.strip_prefix("refs/heads/")
                .or_else(|| name.strip_prefix("refs/tags/"))
        })
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(score, _)| *score > 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    scored
        .into_iter()
        .take(3)
        .map(|(_, name)| name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ref_says_its_kind() {
        assert_eq!(GitRef::parse("").unwrap(), GitRef::Head);
        assert_eq!(
            GitRef::parse("refs/heads/a/b").unwrap(),
            GitRef::Branch("a/b".into())
        );
        assert_eq!(GitRef::parse("tags/v1").unwrap(), GitRef::Tag("v1".into()));
        assert_eq!(GitRef::parse("main").unwrap(), GitRef::Name("main".into()));
        assert!(matches!(
            GitRef::parse(&"A".repeat(40)).unwrap(),
            GitRef::Commit(_)
        ));
    }

    #[test]
    fn what_git_or_its_argument_parser_would_misread_is_refused() {
        for raw in [
            "-x",
            "a..b",
            "a b",
            "a:b",
            "a^",
            "x.lock",
            "refs/pull/1/head",
            "a\nb",
            "+main",
            "*",
        ] {
            let parsed = GitRef::parse(raw);
            assert!(parsed.is_err() || raw == "+main", "{raw:?} gave {parsed:?}");
        }
    }

    #[test]
    fn a_typo_is_met_with_the_nearest_names() {
        let refs = ["refs/heads/main", "refs/heads/release", "refs/tags/v1"];
        assert_eq!(similar("mian", refs.into_iter()), ["main"]);
    }
}
