//! Throw-away Git repositories with the same commit ids in every run.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::command::CommandOutput;

/// A repository with a work tree, on branch `main`, without a commit yet.
pub struct Repo {
    folder: tempfile::TempDir,
    commits: Cell<u32>,
}

impl Repo {
    /// An empty repository.
    pub fn new() -> Self {
        let repo = Self {
            folder: tempfile::tempdir().expect("a folder for a repository"),
            commits: Cell::new(0),
        };
        std::fs::create_dir(repo.path()).expect("a folder in a new folder");
        drop(repo.git(&["init", "--quiet", "--initial-branch=main"]));
        repo
    }

    /// A repository with one commit that holds `files`, as (path, text).
    pub fn with(files: &[(&str, &str)]) -> Self {
        let repo = Self::new();
        for (path, text) in files {
            repo.write(path, text);
        }
        repo.commit("first");
        repo
    }

    /// The work tree. Its last part is always `infra`, so an app that takes its folder's name has a known one.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("infra")
    }

    /// The work tree as a `file://` URL.
    pub fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    /// Writes a file and the folders above it.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let file = self.path().join(path);
        std::fs::create_dir_all(file.parent().expect("a file lies in a folder"))
            .expect("folders can be made");
        std::fs::write(file, text).expect("the file can be written");
    }

    /// Replaces the one occurrence of `old` in a file.
    #[track_caller]
    pub fn replace(&self, path: &str, old: &str, new: &str) {
        let text = std::fs::read_to_string(self.path().join(path)).expect("the file is there");
        assert_eq!(
            text.matches(old).count(),
            1,
            "{old:?} must occur once in {path}:\n{text}"
        );
        self.write(path, text.replace(old, new));
    }

    /// Removes a file or folder.
    pub fn remove(&self, path: &str) {
        drop(self.git(&["rm", "-rq", "--ignore-unmatch", "--", path]));
        let file = self.path().join(path);
        let _ = if file.is_dir() {
            std::fs::remove_dir_all(&file)
        } else {
            std::fs::remove_file(&file)
        };
    }

    /// Commits everything in the work tree, also when nothing changed, and returns the commit id.
    pub fn commit(&self, message: &str) -> String {
        drop(self.git(&["add", "--all"]));
        drop(self.git(&["commit", "--quiet", "--allow-empty", "--message", message]));
        self.head()
    }

    /// Writes one file and commits.
    pub fn commit_file(&self, path: &str, text: &str, message: &str) -> String {
        self.write(path, text);
        self.commit(message)
    }

    /// The id of the checked-out commit.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).text().to_owned()
    }

    /// Makes a branch here and checks it out.
    pub fn branch(&self, name: &str) {
        drop(self.git(&["checkout", "--quiet", "-b", name]));
    }

    /// Checks out a branch, tag or commit.
    pub fn checkout(&self, name: &str) {
        drop(self.git(&["checkout", "--quiet", name]));
    }

    /// Tags the checked-out commit.
    pub fn tag(&self, name: &str) {
        drop(self.git(&["tag", "--annotate", "--message", name, name]));
    }

    /// A bare repository beside this one, registered as `origin`; [`Repo::push`] updates it.
    pub fn bare_origin(&self) -> PathBuf {
        let bare = self.folder.path().join("origin.git");
        let target = bare.display().to_string();
        drop(self.git(&["clone", "--quiet", "--bare", ".", &target]));
        drop(self.git(&["remote", "add", "origin", &target]));
        bare
    }

    /// Pushes the checked-out branch to `origin`, by force.
    pub fn push(&self) {
        drop(self.git(&["push", "--quiet", "--force", "origin", "HEAD"]));
    }

    /// Runs `git` in the work tree and requires success.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> CommandOutput {
        // Each call is a minute later than the one before: commits have an order in time and the same ids in every run.
        self.commits.set(self.commits.get() + 1);
        let minute = self.commits.get();
        let date = format!(
            "2026-01-{:02}T{:02}:{:02}:00Z",
            1 + minute / 1440,
            minute / 60 % 24,
            minute % 60
        );
        let mut command = hermetic_git(&self.path());
        command
            .env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_DATE", &date)
            .args(arguments);
        CommandOutput::of(&mut command).success()
    }
}

/// A `git` command in `folder` that reads no configuration of the machine or the user.
pub fn hermetic_git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("HOME", folder);
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "Ada Example")
            .env(format!("GIT_{role}_EMAIL"), "ada@example.org");
    }
    command
}
