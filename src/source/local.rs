//! Repositories on this machine, read in place with libgit2.
//!
//! In: a path. Out: refs, commits and the state of the working directory. Guaranteed: nothing is written: no mirror, no
//! worktree, no index refresh. Must not: run hooks, filters or anything the repository's configuration names.

use super::path::RepoPath;

/// A file that differs from the commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uncommitted {
    /// The path as Git shows it.
    pub path: String,
    /// Whether Git does not know it at all.
    pub untracked: bool,
}

/// What differs from HEAD under `folder`, sorted. Ignored files are not named.
pub(super) fn uncommitted(repository: &git2::Repository, folder: &RepoPath) -> Result<Vec<Uncommitted>, git2::Error> {
    if repository.is_bare() {
        return Ok(Vec::new());
    }
    let mut options = git2::StatusOptions::new();
    options.include_untracked(true).recurse_untracked_dirs(true).include_ignored(false).update_index(false).no_refresh(false);
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
