//! Repositories on this machine, read in place with libgit2, and what is read from a mirror.
//!
//! In: a path. Out: refs, commits and the state of the working directory. Guaranteed: nothing is written: no mirror, no
//! worktree, no index refresh. Must not: run hooks, filters or anything the repository's configuration names.

use std::collections::{BTreeSet, BinaryHeap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use git2::{ErrorClass, ErrorCode, Repository};

use super::checkout::Checkout;
use super::error::SourceError;
use super::location::{Location, parse_origin};
use super::path::RepoPath;
use super::reference::{GitRef, similar};
use super::{CommitInfo, Movement, Resolved};
use crate::clock::Timestamp;
use crate::names::Revision;

/// How many commits a walk looks at. What lies behind is treated as not here.
const WALK_LIMIT: usize = 20_000;

/// A file that differs from the commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uncommitted {
    /// The path as Git shows it.
    pub path: String,
    /// Whether Git does not know it at all.
    pub untracked: bool,
}

/// What differs from HEAD under `folder`, sorted. Ignored files are not named.
pub(super) fn uncommitted(
    repository: &Repository,
    folder: &RepoPath,
) -> Result<Vec<Uncommitted>, git2::Error> {
    if repository.is_bare() {
        return Ok(Vec::new());
    }
    let mut options = git2::StatusOptions::new();
    options
        .include_untracked(true)
        .recurse_untracked_dirs(true)
        .include_ignored(false)
        .update_index(false)
        .no_refresh(false);
    options.exclude_submodules(true).disable_pathspec_match(true);
    if !folder.is_root() {
        options.pathspec(folder.as_str());
    }
    let statuses = repository.statuses(Some(&mut options))?;
    let mut found: Vec<Uncommitted> = statuses
        .iter()
        .filter(|entry| !entry.status().is_ignored() && entry.status() != git2::Status::CURRENT)
        .map(|entry| Uncommitted {
            path: String::from_utf8_lossy(entry.path_bytes()).into_owned(),
            untracked: entry.status().contains(git2::Status::WT_NEW),
        })
        .collect();
    found.sort();
    Ok(found)
}

/// A repository on this machine.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) git_dir: PathBuf,
    pub(super) common_dir: PathBuf,
    pub(super) start: RepoPath,
    pub(super) origin: Option<Location>,
    pub(super) root: PathBuf,
    at: String,
    seen: Mutex<BTreeSet<String>>,
}

impl Local {
    /// Finds the repository that holds `path`.
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let at = path.to_string_lossy().into_owned();
        let real = path
            .canonicalize()
            .map_err(|_| SourceError::NotARepository { at: at.clone() })?;
        let repository = Repository::discover(&real).map_err(|error| describe(&at, &error))?;
        let root = match repository.workdir() {
            Some(workdir) => workdir.canonicalize().unwrap_or_else(|_| workdir.to_owned()),
            None => repository
                .path()
                .canonicalize()
                .unwrap_or_else(|_| repository.path().to_owned()),
        };
        let start = repository
            .workdir()
            .and_then(|_| real.strip_prefix(&root).ok()?.to_str().map(str::to_owned))
            .and_then(|start| RepoPath::parse(&start).ok())
            .unwrap_or_default();
        let origin = repository
            .find_remote("origin")
            .ok()
            .and_then(|remote| remote.url().ok().map(str::to_owned))
            .and_then(|url| parse_origin(&url, &root));
        Ok(Self {
            git_dir: repository.path().to_owned(),
            common_dir: repository.commondir().to_owned(),
            start,
            origin,
            root,
            at,
            seen: Mutex::default(),
        })
    }

    pub(super) fn repository(&self) -> Result<Repository, SourceError> {
        Repository::open(&self.git_dir).map_err(|error| match describe(&self.at, &error) {
            // It opened when the source was made.
            SourceError::NotARepository { at } => SourceError::Vanished { at },
            other => other,
        })
    }

    pub(super) fn resolve(&self, reference: &GitRef) -> Result<Resolved, SourceError> {
        let repository = self.repository()?;
        let resolved = resolve(&repository, reference, &self.at);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match resolved {
            Ok(resolved) => {
                seen.extend(resolved.branch.clone());
                seen.insert(reference.short_name().to_owned());
                Ok(resolved)
            }
            Err(SourceError::UnknownRef { at, name, .. })
                if seen.contains(&name) || seen.contains(reference.short_name()) =>
            {
                Err(SourceError::RefDeleted {
                    at,
                    name,
                    default_branch: None,
                })
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn uncommitted(&self, folder: &RepoPath) -> Result<Vec<Uncommitted>, SourceError> {
        let repository = self.repository()?;
        uncommitted(&repository, folder).map_err(|error| describe(&self.at, &error))
    }
}

fn resolve(repository: &Repository, reference: &GitRef, at: &str) -> Result<Resolved, SourceError> {
    let wrong = |error: git2::Error| describe(at, &error);
    let unknown = |name: &str| {
        let names: Vec<String> = repository
            .references()
            .map(|all| {
                all.flatten()
                    .filter_map(|one| one.name().ok().map(str::to_owned))
                    .collect()
            })
            .unwrap_or_default();
        if names.is_empty() {
            return SourceError::Emptied { at: at.to_owned() };
        }
        let similar = similar(name, names.iter().map(String::as_str));
        SourceError::UnknownRef {
            at: at.to_owned(),
            name: name.to_owned(),
            similar,
        }
    };
    if let GitRef::Commit(revision) = reference {
        let commit = git2::Oid::from_str(revision.as_str()).and_then(|oid| repository.find_commit(oid));
        return match commit {
            Ok(_) => Ok(Resolved {
                revision: revision.clone(),
                branch: None,
                renamed_from: None,
            }),
            Err(error) if error.code() == ErrorCode::NotFound => Err(SourceError::UnknownCommit {
                at: at.to_owned(),
                revision: revision.to_string(),
            }),
            Err(error) => Err(wrong(error)),
        };
    }
    for name in reference.candidates() {
        let found = match repository.find_reference(&name) {
            Ok(found) => found,
            Err(error) if error.code() == ErrorCode::NotFound => continue,
            Err(error) => return Err(wrong(error)),
        };
        let branch = match found.symbolic_target() {
            Ok(Some(target)) => Some(target.to_owned()),
            _ if name == "HEAD" => None,
            _ => Some(name.clone()),
        };
        let commit = match found.resolve().and_then(|found| found.peel_to_commit()) {
            Ok(commit) => commit,
            // An unborn branch: HEAD names a branch that has no commit.
            Err(error)
                if error.code() == ErrorCode::NotFound
                    && name == "HEAD"
                    && error.class() == ErrorClass::Reference =>
            {
                let branch = branch.unwrap_or(name);
                return Err(unknown(branch.strip_prefix("refs/heads/").unwrap_or(&branch)));
            }
            Err(error) => return Err(wrong(error)),
        };
        return Ok(Resolved {
            revision: revision_of(commit.id(), at)?,
            branch,
            renamed_from: None,
        });
    }
    if let GitRef::Name(name) = reference
        && (4..40).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_hexdigit())
        && let Ok(commit) = repository
            .revparse_single(name)
            .and_then(|object| object.peel_to_commit())
    {
        return Ok(Resolved {
            revision: revision_of(commit.id(), at)?,
            branch: None,
            renamed_from: None,
        });
    }
    Err(unknown(reference.short_name()))
}

fn revision_of(oid: git2::Oid, at: &str) -> Result<Revision, SourceError> {
    Revision::try_from(oid.to_string()).map_err(|error| SourceError::Other {
        at: at.to_owned(),
        detail: format!("{error}: only SHA-1 repositories are read"),
    })
}

fn commit_of<'r>(
    repository: &'r Repository,
    revision: &Revision,
    at: &str,
) -> Result<git2::Commit<'r>, SourceError> {
    git2::Oid::from_str(revision.as_str())
        .and_then(|oid| repository.find_commit(oid))
        .map_err(|error| match error.code() {
            ErrorCode::NotFound => SourceError::UnknownCommit {
                at: at.to_owned(),
                revision: revision.to_string(),
            },
            _ => describe(at, &error),
        })
}

/// A view of `revision`. A commit without any entry is an emptied repository.
pub(super) fn checkout(
    repository: Repository,
    revision: &Revision,
    start: &RepoPath,
    at: &str,
    damaged: Arc<AtomicBool>,
) -> Result<Checkout, SourceError> {
    let root = {
        let commit = commit_of(&repository, revision, at)?;
        let damage = |error: git2::Error| SourceError::Corrupt {
            at: at.to_owned(),
            detail: error.message().to_owned(),
        };
        let tree = commit.tree().map_err(damage)?;
        if tree.is_empty() {
            return Err(SourceError::Emptied { at: at.to_owned() });
        }
        tree.id()
    };
    Ok(Checkout::of_commit(
        revision.clone(),
        start.clone(),
        repository,
        root,
        damaged,
    ))
}

fn info_of(commit: &git2::Commit<'_>, revision: Revision) -> CommitInfo {
    let clean = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .chars()
            .filter(|c| !c.is_control())
            .collect::<String>()
    };
    CommitInfo {
        id: revision,
        subject: clean(commit.summary_bytes().unwrap_or_default()),
        author: clean(commit.author().name_bytes()),
        time: Timestamp::from_second(commit.time().seconds()).unwrap_or(Timestamp::UNIX_EPOCH),
    }
}

/// Subject, author and time of a commit.
pub(super) fn commit_info(
    repository: &Repository,
    revision: &Revision,
    at: &str,
) -> Result<CommitInfo, SourceError> {
    Ok(info_of(&commit_of(repository, revision, at)?, revision.clone()))
}

/// The commits that `to` has and `from` has not, newest first, at most `limit`.
pub(super) fn commits_between(
    repository: &Repository,
    from: Option<&Revision>,
    to: &Revision,
    limit: usize,
    at: &str,
) -> Result<Vec<CommitInfo>, SourceError> {
    let wrong = |error: git2::Error| describe(at, &error);
    let tip = commit_of(repository, to, at)?.id();
    let mut hidden = HashSet::new();
    if let Some(from) = from.and_then(|from| commit_of(repository, from, at).ok()) {
        let (behind, _) = history(repository, from.id(), &HashSet::new(), WALK_LIMIT).map_err(wrong)?;
        hidden.extend(behind.iter().map(git2::Commit::id));
    }
    let (commits, _) = history(repository, tip, &hidden, limit).map_err(wrong)?;
    commits
        .iter()
        .map(|commit| Ok(info_of(commit, revision_of(commit.id(), at)?)))
        .collect()
}

/// How the tip moved. `None`: a shallow history does not reach far enough to tell.
pub(super) fn movement(
    repository: &Repository,
    from: &Revision,
    to: &Revision,
    at: &str,
) -> Result<Option<Movement>, SourceError> {
    if from == to {
        return Ok(Some(Movement::Unchanged));
    }
    let wrong = |error: git2::Error| describe(at, &error);
    let new = commit_of(repository, to, at)?.id();
    let Ok(old) = commit_of(repository, from, at).map(|commit| commit.id()) else {
        return Ok(if repository.is_shallow() {
            None
        } else {
            Some(Movement::Forced { back: false })
        });
    };
    if repository.is_shallow() {
        return shallow_movement(repository, old, new).map_err(wrong);
    }
    if repository.graph_descendant_of(new, old).map_err(wrong)? {
        return Ok(Some(Movement::Advanced));
    }
    if repository.graph_descendant_of(old, new).map_err(wrong)? {
        return Ok(Some(Movement::Forced { back: true }));
    }
    match repository.merge_base(old, new) {
        Ok(_) => Ok(Some(Movement::Forced { back: false })),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(Some(Movement::Unrelated)),
        Err(error) => Err(wrong(error)),
    }
}

/// libgit2's graph walks fail at the edge of a shallow history ("object not found", 1.9), so the few commits that a mirror
/// holds are walked here, and the edge is an answer: it may go on behind it.
fn shallow_movement(
    repository: &Repository,
    old: git2::Oid,
    new: git2::Oid,
) -> Result<Option<Movement>, git2::Error> {
    let (behind_new, new_cut) = history(repository, new, &HashSet::new(), WALK_LIMIT)?;
    if behind_new.iter().any(|commit| commit.id() == old) {
        return Ok(Some(Movement::Advanced));
    }
    let (behind_old, old_cut) = history(repository, old, &HashSet::new(), WALK_LIMIT)?;
    if behind_old.iter().any(|commit| commit.id() == new) {
        return Ok(Some(Movement::Forced { back: true }));
    }
    let known: HashSet<git2::Oid> = behind_new.iter().map(git2::Commit::id).collect();
    Ok(
        match behind_old.iter().any(|commit| known.contains(&commit.id())) {
            // Where the new history is cut, the old tip may still lie behind the cut.
            true if !new_cut => Some(Movement::Forced { back: false }),
            false if !new_cut && !old_cut => Some(Movement::Unrelated),
            _ => None,
        },
    )
}

/// The commits behind `tip`, newest first, without those in `hidden`, and whether the walk met the edge of what is here.
fn history<'r>(
    repository: &'r Repository,
    tip: git2::Oid,
    hidden: &HashSet<git2::Oid>,
    limit: usize,
) -> Result<(Vec<git2::Commit<'r>>, bool), git2::Error> {
    let mut found = Vec::new();
    let mut cut = false;
    let mut known = HashSet::from([tip]);
    let mut ahead = BinaryHeap::from([(i64::MAX, tip)]);
    while let Some((_, oid)) = ahead.pop() {
        if hidden.contains(&oid) {
            continue;
        }
        if found.len() >= limit {
            return Ok((found, true));
        }
        let commit = repository.find_commit(oid)?;
        for parent in commit.parent_ids().filter(|parent| known.insert(*parent)) {
            match repository.find_commit(parent) {
                Ok(parent) => ahead.push((parent.time().seconds(), parent.id())),
                Err(error) if error.code() == ErrorCode::NotFound => cut = true,
                Err(error) => return Err(error),
            }
        }
        // A grafted commit shows no parents although it has some.
        cut |= commit.parent_count() == 0
            && commit
                .raw_header()
                .is_ok_and(|header| header.contains("\nparent "));
        found.push(commit);
    }
    Ok((found, cut))
}

/// What libgit2 said, typed.
pub(super) fn describe(at: &str, error: &git2::Error) -> SourceError {
    let at = at.to_owned();
    match (error.code(), error.class()) {
        (ErrorCode::NotFound, ErrorClass::Repository | ErrorClass::Os) => SourceError::NotARepository { at },
        (ErrorCode::Owner, _) => SourceError::ForeignOwner { at },
        (
            _,
            ErrorClass::Odb | ErrorClass::Object | ErrorClass::Tree | ErrorClass::Zlib | ErrorClass::Indexer,
        ) => SourceError::Corrupt {
            at,
            detail: error.message().to_owned(),
        },
        _ => SourceError::Other {
            at,
            detail: error
                .message()
                .chars()
                .filter(|c| !c.is_control())
                .take(300)
                .collect(),
        },
    }
}
