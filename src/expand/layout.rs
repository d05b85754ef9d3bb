//! The private copy of what a renderer may read.
//!
//! In: a checkout and the roots of what is needed. Out: entries with their object ids, a digest over them, and on demand the
//! files in a temporary folder. Guaranteed: links are followed inside the repository and written as what they lead to;
//! one that leads outside is refused; nothing is written outside of the folder. Must not: write before the caps are
//! checked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::Limits;
use super::error::ExpandError;
use crate::source::{Checkout, EntryKind, ObjectId, RepoPath};

/// The repository's root in the room.
pub(super) const ROOT: &str = "root";
/// The tool's home in the room.
pub(super) const HOME: &str = "home";

/// Folders that links lead to are entered this deep: a link to its own parent ends here.
const LINKS: usize = 8;

/// What is laid out.
#[derive(Debug)]
pub(super) struct Layout {
    /// Path in the copy → path in the commit and content.
    files: BTreeMap<RepoPath, (RepoPath, ObjectId)>,
    /// Folders that must exist even when empty.
    folders: BTreeSet<RepoPath>,
    bytes: u64,
}

struct Walk<'a> {
    checkout: &'a Checkout,
    limits: &'a Limits,
    layout: Layout,
}

impl Layout {
    /// Looks at everything below `roots` (folders or files).
    pub fn of(checkout: &Checkout, roots: &[RepoPath], limits: &Limits) -> Result<Self, ExpandError> {
        let mut walk = Walk {
            checkout,
            limits,
            layout: Self {
                files: BTreeMap::new(),
                folders: BTreeSet::new(),
                bytes: 0,
            },
        };
        for root in roots {
            // The record of inputs: all of the folder counts. (A file counts by being read.)
            if checkout.is_dir(root) {
                checkout.tree_oid(root)?;
            }
            walk.enter(root, root, 0)?;
        }
        Ok(walk.layout)
    }

    /// A digest over paths and contents.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (path, (_, oid)) in &self.files {
            hash.update(path.as_str());
            hash.update([0]);
            hash.update(oid.as_bytes());
        }
        hex::encode(hash.finalize())
    }

    /// The YAML files.
    pub fn sources(&self) -> Vec<RepoPath> {
        let yaml = |path: &&RepoPath| {
            [".yaml", ".yml", ".json"]
                .iter()
                .any(|end| path.as_str().ends_with(end))
        };
        self.files.keys().filter(yaml).cloned().collect()
    }

    /// Writes the copy below `parent`. It is removed when it is dropped.
    pub fn write(&self, checkout: &Checkout, parent: &Path) -> Result<TempDir, ExpandError> {
        private(parent).map_err(ExpandError::Layout)?;
        let room = tempfile::Builder::new()
            .prefix("room-")
            .tempdir_in(parent)
            .map_err(ExpandError::Layout)?;
        let root = room.path().join(ROOT);
        private(&root).map_err(ExpandError::Layout)?;
        private(&room.path().join(HOME)).map_err(ExpandError::Layout)?;
        for folder in &self.folders {
            private(&root.join(folder.as_str())).map_err(ExpandError::Layout)?;
        }
        for (path, (from, _)) in &self.files {
            let blob = checkout.read(from)?;
            let target = root.join(path.as_str());
            if let Some(folder) = target.parent() {
                private(folder).map_err(ExpandError::Layout)?;
            }
            std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o400)
                .open(&target)
                .and_then(|mut file| file.write_all(&blob.bytes))
                .map_err(ExpandError::Layout)?;
        }
        Ok(room)
    }
}

/// A folder that only its owner enters, and those above it.
fn private(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

impl Walk<'_> {
    /// `from` in the commit becomes `at` in the copy.
    fn enter(&mut self, from: &RepoPath, at: &RepoPath, links: usize) -> Result<(), ExpandError> {
        let Some(entry) = self.checkout.stat(from)? else {
            return Ok(());
        };
        match entry.kind {
            EntryKind::File => return self.file(&entry.path, at, entry.oid),
            EntryKind::Directory => {}
            // Another repository's files are not here; what needs them says that they are missing.
            EntryKind::Submodule | EntryKind::Symlink => return Ok(()),
        }
        self.layout.folders.insert(at.clone());
        let listing = self.checkout.list(from)?;
        if let Some(refused) = listing.refused.into_iter().next() {
            return Err(refused.into());
        }
        for entry in listing.entries {
            let inside = at.join(&entry.name).map_err(crate::source::CheckoutError::from)?;
            match entry.kind {
                EntryKind::File => self.file(&entry.path, &inside, entry.oid)?,
                EntryKind::Directory => self.enter(&entry.path, &inside, links)?,
                EntryKind::Symlink if links < LINKS => {
                    // A link to nothing is laid out as nothing; one that leads outside is refused by `stat`.
                    self.enter(&entry.path, &inside, links + 1)?;
                }
                EntryKind::Symlink | EntryKind::Submodule => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &RepoPath, at: &RepoPath, oid: Option<ObjectId>) -> Result<(), ExpandError> {
        if self.layout.files.contains_key(at) {
            return Ok(());
        }
        // Its size is known only by reading it; commits are local, and the blob is read again only on a cache miss.
        let blob = self.checkout.read(from)?;
        self.layout.bytes += blob.bytes.len() as u64;
        if self.layout.bytes > self.limits.files || self.layout.files.len() >= self.limits.count {
            return Err(ExpandError::Limit {
                what: format!(
                    "what can be rendered has more than {} MiB or {} files",
                    self.limits.files >> 20,
                    self.limits.count
                ),
            });
        }
        self.layout
            .files
            .insert(at.clone(), (from.clone(), oid.unwrap_or(blob.oid)));
        Ok(())
    }
}
