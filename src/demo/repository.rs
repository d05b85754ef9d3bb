//! The repository that the demo follows: an example, with what has to be different from it.
//!
//! In: an empty folder, the example's files, what they say here. Out: files, commits. Guaranteed: nobody's Git
//! configuration, identity or hooks take part. Must not: reach outside its folder.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Whose commits they are.
const AUTHOR: (&str, &str) = ("driftless demo", "demo@driftless.invalid");

/// A repository that the demo writes.
pub struct Repository {
    folder: PathBuf,
    git: git2::Repository,
    /// What the example's text is here.
    wording: Box<dyn Fn(&str) -> String>,
    /// The example's text of each file, with the edits so far.
    plain: RefCell<BTreeMap<String, String>>,
}

/// What went wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A file.
    #[error("write the demo's repository")]
    Io(#[from] std::io::Error),
    /// Git.
    #[error("commit to the demo's repository")]
    Git(#[from] git2::Error),
    /// The example changed and the story was not told.
    #[error("`{what}` is not in {path} of the example repository")]
    NotThere { what: String, path: String },
}

impl Repository {
    /// The example in a new repository in `folder`, as `wording` puts it, not yet committed.
    pub fn create<'f>(
        folder: &Path,
        files: impl IntoIterator<Item = &'f (&'f str, &'f str)>,
        wording: impl Fn(&str) -> String + 'static,
    ) -> Result<Self, RepositoryError> {
        let mut options = git2::RepositoryInitOptions::new();
        options.initial_head("main").external_template(false);
        let git = git2::Repository::init_opts(folder, &options)?;
        let mut config = git.config()?.open_level(git2::ConfigLevel::Local)?;
        // A person's own settings must not change a byte of what is committed here.
        config.set_bool("core.autocrlf", false)?;
        config.set_str("core.excludesFile", "/dev/null")?;
        config.set_str("core.attributesFile", "/dev/null")?;
        let mut plain = BTreeMap::new();
        for (path, text) in files {
            let file = folder.join(path);
            std::fs::create_dir_all(file.parent().unwrap_or(folder))?;
            std::fs::write(file, wording(text))?;
            plain.insert((*path).to_owned(), (*text).to_owned());
        }
        Ok(Self {
            folder: folder.to_owned(),
            git,
            wording: Box::new(wording),
            plain: RefCell::new(plain),
        })
    }

    /// Replaces `old`, which must be there, wherever it is in a file of the example; the lines that this changes, with `-` or
    /// `+` in front.
    pub fn edit(&self, path: &str, old: &str, new: &str) -> Result<Vec<String>, RepositoryError> {
        let mut plain = self.plain.borrow_mut();
        let text = plain.get_mut(path).filter(|text| text.contains(old));
        let text = text.ok_or_else(|| RepositoryError::NotThere {
            what: old.to_owned(),
            path: path.to_owned(),
        })?;
        let before = (self.wording)(text);
        *text = text.replace(old, new);
        let after = (self.wording)(text);
        std::fs::write(self.folder.join(path), &after)?;
        let diff = similar::TextDiff::from_lines(&before, &after);
        let changed = diff
            .iter_all_changes()
            .filter(|change| change.tag() != similar::ChangeTag::Equal);
        Ok(changed
            .map(|change| format!("{}{}", change.tag(), change.to_string().trim_end()))
            .collect())
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) -> Result<(), RepositoryError> {
        self.plain.borrow_mut().remove(path);
        Ok(std::fs::remove_file(self.folder.join(path))?)
    }

    /// Commits everything.
    pub fn commit(&self, message: &str, at: i64) -> Result<String, RepositoryError> {
        let author = git2::Signature::new(AUTHOR.0, AUTHOR.1, &git2::Time::new(at, 0))?;
        let mut index = self.git.index()?;
        index.add_all(["*"], git2::IndexAddOption::FORCE, None)?;
        index.write()?;
        let tree = self.git.find_tree(index.write_tree()?)?;
        let parent = self.git.head().ok().and_then(|head| head.peel_to_commit().ok());
        let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
        let id = self
            .git
            .commit(Some("HEAD"), &author, &author, message, &tree, &parents)?;
        Ok(id.to_string()[..7].to_owned())
    }
}

/// Letters and digits that no other demo has.
pub(super) fn random_id() -> String {
    let mut random = [0; 3];
    // Without randomness two demos at once would meet; one alone still works.
    let _ = getrandom::fill(&mut random);
    hex::encode(random)
}

/// A folder for everything of one demo, gone with the value.
pub(super) fn temporary(below: &Path) -> Result<tempfile::TempDir, RepositoryError> {
    let made = tempfile::Builder::new()
        .prefix("driftless-demo-")
        .tempdir_in(below);
    made.map_err(RepositoryError::Io)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &[(&str, &str)] = &[("README.md", "# The shop\n"), ("a/.env", "TAG=1\nOTHER=1\n")];

    #[test]
    fn a_commit_holds_what_was_edited_and_no_identity_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let repository =
            Repository::create(folder.path(), FILES, |text| text.replace("TAG=", "NAME=x:")).unwrap();
        let first = repository.commit("first", 1_700_000_000).unwrap();
        let lines = repository.edit("a/.env", "TAG=1", "TAG=2").unwrap();
        assert_eq!(lines, ["-NAME=x:1", "+NAME=x:2"]);
        repository.remove("README.md").unwrap();
        let second = repository.commit("second", 1_700_000_001).unwrap();
        assert_ne!(first, second);
        let git = git2::Repository::open(folder.path()).unwrap();
        let head = git.head().unwrap().peel_to_commit().unwrap();
        assert_eq!(head.author().email().unwrap(), AUTHOR.1);
        let tree = head.tree().unwrap();
        assert!(tree.get_path(Path::new("a/.env")).is_ok());
        assert!(tree.get_path(Path::new("README.md")).is_err());
        assert!(repository.edit("a/.env", "no such words", "").is_err());
    }
}
