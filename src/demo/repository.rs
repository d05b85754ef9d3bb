//! The repository that the demo follows: `examples/repo`, with names of its own.
//!
//! In: an empty folder, what is to be different. Out: files, commits. Guaranteed: nobody's Git configuration, identity or
//! hooks take part. Must not: reach outside its folder.

use std::path::{Path, PathBuf};

use super::images::PREFIX;

/// `examples/repo`, as it was when the program was built.
pub const FILES: &[(&str, &str)] = &[
    ("README.md", include_str!("../../examples/repo/README.md")),
    (
        "driftless.yaml",
        include_str!("../../examples/repo/driftless.yaml"),
    ),
    ("apps/web/.env", include_str!("../../examples/repo/apps/web/.env")),
    (
        "apps/web/compose.yaml",
        include_str!("../../examples/repo/apps/web/compose.yaml"),
    ),
    (
        "apps/web/proxy.conf",
        include_str!("../../examples/repo/apps/web/proxy.conf"),
    ),
    (
        "apps/jobs/compose.yaml",
        include_str!("../../examples/repo/apps/jobs/compose.yaml"),
    ),
];

/// Whose commits they are.
const AUTHOR: (&str, &str) = ("driftless demo", "demo@driftless.invalid");

/// What the demo's copy says in the place of what the example says, so that two demos, or a demo and a real shop, never
/// meet on one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The Compose project of `apps/web`.
    pub web: String,
    /// The Compose project of `apps/jobs`.
    pub jobs: String,
    /// What the images' names start with.
    pub images: String,
    /// The proxy's port on 127.0.0.1.
    pub port: u16,
}

impl Names {
    /// Names with `id` in them.
    pub fn new(id: &str, port: u16) -> Self {
        Self {
            web: format!("demo-{id}-shop"),
            jobs: format!("demo-{id}-jobs"),
            images: PREFIX.replace("driftless-demo", &format!("driftless-demo-{id}")),
            port,
        }
    }

    /// `text` of the example with these names.
    pub fn put_into(&self, text: &str) -> String {
        text.replace("name: shop-jobs\n", &format!("name: {}\n", self.jobs))
            .replace("name: shop\n", &format!("name: {}\n", self.web))
            .replace(
                "docker compose -p shop ps",
                &format!("docker compose -p {} ps", self.web),
            )
            .replace("SHOP_PORT=8080", &format!("SHOP_PORT={}", self.port))
            .replace(PREFIX, &self.images)
    }
}

/// A repository that the demo writes.
pub struct Repository {
    folder: PathBuf,
    git: git2::Repository,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id, shortened.
    pub id: String,
    /// The lines that it changed, with `-` or `+` in front; empty for the first commit.
    pub lines: Vec<String>,
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
    /// The example with `names`, in a new repository in `folder`, not yet committed.
    pub fn create(folder: &Path, names: &Names) -> Result<Self, RepositoryError> {
        let mut options = git2::RepositoryInitOptions::new();
        options.initial_head("main").external_template(false);
        let git = git2::Repository::init_opts(folder, &options)?;
        let mut config = git.config()?.open_level(git2::ConfigLevel::Local)?;
        // A person's own settings must not change a byte of what is committed here.
        config.set_bool("core.autocrlf", false)?;
        config.set_str("core.excludesFile", "/dev/null")?;
        config.set_str("core.attributesFile", "/dev/null")?;
        for (path, text) in FILES {
            let file = folder.join(path);
            std::fs::create_dir_all(file.parent().unwrap_or(folder))?;
            std::fs::write(file, names.put_into(text))?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            git,
        })
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Replaces `old`, which must be there, in a file.
    pub fn edit(&self, path: &str, old: &str, new: &str) -> Result<Vec<String>, RepositoryError> {
        let file = self.folder.join(path);
        let before = std::fs::read_to_string(&file)?;
        if !before.contains(old) {
            return Err(RepositoryError::NotThere {
                what: old.to_owned(),
                path: path.to_owned(),
            });
        }
        let after = before.replacen(old, new, 1);
        std::fs::write(&file, &after)?;
        let diff = similar::TextDiff::from_lines(&before, &after);
        let changed = diff
            .iter_all_changes()
            .filter(|change| change.tag() != similar::ChangeTag::Equal);
        Ok(changed
            .map(|change| format!("{}{}", change.tag(), change.to_string().trim_end()))
            .collect())
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

#[cfg(test)]
mod tests {
    use super::super::images::IMAGES;
    use super::*;

    fn files(folder: &Path, below: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, below, found);
            } else {
                found.push(path.strip_prefix(below).unwrap().to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn the_program_holds_every_file_of_the_example() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/repo");
        let mut found = Vec::new();
        files(&folder, &folder, &mut found);
        found.sort();
        let mut known: Vec<&str> = FILES.iter().map(|(path, _)| *path).collect();
        known.sort();
        assert_eq!(found, known);
    }

    #[test]
    fn the_demo_has_nothing_in_common_with_the_example_by_name() {
        let names = Names::new("1a2b", 41000);
        for (path, text) in FILES {
            let own = names.put_into(text);
            assert!(!own.contains(PREFIX), "{path}");
            assert!(!own.lines().any(|line| line.starts_with("name: shop")), "{path}");
        }
        let all: String = FILES.iter().map(|(_, text)| names.put_into(text)).collect();
        for expected in [
            "name: demo-1a2b-shop\n",
            "name: demo-1a2b-jobs\n",
            "SHOP_PORT=41000",
            "localhost/driftless-demo-1a2b/web:1.8.2",
        ] {
            assert!(all.contains(expected), "{expected}");
        }
    }

    #[test]
    fn every_image_of_the_example_is_made() {
        for (path, text) in FILES.iter().filter(|(path, _)| path.ends_with("compose.yaml")) {
            for name in text
                .split(PREFIX)
                .skip(1)
                .map(|rest| rest.split_whitespace().next().unwrap())
            {
                assert!(
                    IMAGES.iter().any(|image| image.name == name),
                    "{path} wants {name}"
                );
            }
        }
    }

    #[test]
    fn a_commit_holds_what_was_edited_and_no_identity_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::create(folder.path(), &Names::new("1a2b", 41000)).unwrap();
        let first = repository.commit("first", 1_700_000_000).unwrap();
        let lines = repository
            .edit("apps/web/compose.yaml", "web:1.8.2", "web:1.9.0")
            .unwrap();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with('-') && lines[1].starts_with('+') && lines[1].ends_with("web:1.9.0"));
        let second = repository.commit("second", 1_700_000_001).unwrap();
        assert_ne!(first, second);
        let git = git2::Repository::open(folder.path()).unwrap();
        let head = git.head().unwrap().peel_to_commit().unwrap();
        assert_eq!(head.author().email().unwrap(), AUTHOR.1);
        assert!(head.tree().unwrap().get_path(Path::new("apps/web/.env")).is_ok());
        assert!(repository.edit("README.md", "no such words", "").is_err());
    }
}
