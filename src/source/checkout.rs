//! An immutable view of a repository at one revision.
//!
//! In: a commit's trees, a working directory (`--local`) or a map in memory. Out: folders, files and the record of what was
//! read. Guaranteed: reads are sync and see one state; a link inside the repository is followed, one that leads outside is
//! refused; a hostile name is refused for its own path only; what was looked at (absence included) is recorded, so that
//! an app whose inputs are equal needs no rendering. Must not: write, fetch, or read past its size cap.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::path::{PathError, RepoPath, check_name};
use super::tree::{Backend, CommitTree, MemoryEntry, MemoryTree, RawEntry};
use super::workdir::WorkDir;
use crate::names::Revision;

/// The most bytes that [`Checkout::read`] returns unless told otherwise: 32 MiB.
pub const DEFAULT_FILE_CAP: u64 = 32 * 1024 * 1024;

/// Links that lead to links are followed this often, as on Linux.
const LINK_BUDGET: usize = 40;

/// A Git object's id (SHA-1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectId([u8; 20]);

impl ObjectId {
    /// The id that Git gives a file of these bytes.
    pub fn of_blob(bytes: &[u8]) -> Self {
        Self::of(git2::ObjectType::Blob, bytes)
    }

    /// The raw id.
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    pub(super) fn of(kind: git2::ObjectType, bytes: &[u8]) -> Self {
        // Hashing bytes in memory has no way to fail; a zero id would compare as changed, which is the safe side.
        git2::Oid::hash_object(kind, bytes)
            .map(Self::from_git)
            .unwrap_or_default()
    }

    pub(super) fn from_git(oid: git2::Oid) -> Self {
        let mut raw = [0; 20];
        raw.iter_mut()
            .zip(oid.as_bytes())
            .for_each(|(to, from)| *to = *from);
        Self(raw)
    }

    pub(super) fn to_git(self) -> git2::Oid {
        git2::Oid::from_bytes(&self.0).unwrap_or(git2::Oid::ZERO_SHA1)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for ObjectId {
    type Error = String;
    fn try_from(raw: String) -> Result<Self, String> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(&raw, &mut bytes).map_err(|_| format!("{raw:?} is not an object id"))?;
        Ok(Self(bytes))
    }
}

impl From<ObjectId> for String {
    fn from(oid: ObjectId) -> String {
        oid.to_string()
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link; it is followed inside the repository only.
    Symlink,
    /// Another repository's commit; its files are not here.
    Submodule,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its full path.
    pub path: RepoPath,
    /// What it is.
    pub kind: EntryKind,
    /// Its object id; `None` in a working directory, where it is known only after reading.
    pub oid: Option<ObjectId>,
    /// Git's file mode, for example `0o100644`.
    pub mode: u32,
}

impl Entry {
    /// Whether the file may be executed.
    pub fn executable(&self) -> bool {
        self.kind == EntryKind::File && self.mode & 0o111 != 0
    }
}

/// The entries of a folder, and those that were refused.
#[derive(Debug, Default)]
pub struct Listing {
    /// Sorted by name.
    pub entries: Vec<Entry>,
    /// Hostile names: each one typed error; the rest of the folder stays usable.
    pub refused: Vec<CheckoutError>,
}

/// A file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// The content.
    pub bytes: Vec<u8>,
    /// Its object id.
    pub oid: ObjectId,
    /// Where it really lies, after links.
    pub path: RepoPath,
    /// Whether it may be executed.
    pub executable: bool,
}

/// What one look at a path gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// A file with this content.
    Blob(ObjectId),
    /// A folder with these names and kinds (not their content).
    Names(ObjectId),
    /// A whole folder, content included.
    Tree(ObjectId),
    /// The kind of entry was asked for, and it was this (`f`, `d`, `l`, `s`).
    Kind(char),
    /// Nothing was there, or it was refused.
    Absent,
}

/// Everything a reader looked at. Equal inputs give an equal rendering. A path that was looked at in two ways has two entries.
pub type Inputs = BTreeMap<RepoPath, Vec<Input>>;

/// What a checkout shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A commit.
    Commit(Revision),
    /// A working directory, with what is in it now.
    WorkingTree {
        /// Its root: the repository's, or the folder itself outside of a repository.
        dir: PathBuf,
        /// The commit it is based on.
        head: Option<Revision>,
        /// Whether it differs from that commit.
        dirty: bool,
    },
    /// A map in memory.
    Memory,
}

/// Why a path of a checkout cannot be read. Nothing else is affected.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// The path itself is refused. (E0430, E0431)
    #[error(transparent)]
    Path(#[from] PathError),
    /// Nothing is at the path. (E0432)
    #[error("no such file: `{path}`")]
    NotFound {
        /// The path.
        path: RepoPath,
    },
    /// A folder or submodule where a file is needed. (E0433)
    #[error("`{path}` is not a file")]
    NotAFile {
        /// The path.
        path: RepoPath,
    },
    /// A file where a folder is needed. (E0433)
    #[error("`{path}` is not a folder")]
    NotAFolder {
        /// The path.
        path: RepoPath,
    },
    /// The path is, or lies in, a submodule. (E0434)
    #[error("`{path}` is in a submodule, and submodules are not read")]
    Submodule {
        /// The path.
        path: RepoPath,
    },
    /// A symbolic link that leads outside. (E0435)
    #[error("link outside the repository: `{path}` -> {target:?}")]
    LinkOutside {
        /// The link.
        path: RepoPath,
        /// Where it leads.
        target: String,
    },
    /// Links that never end. (E0435)
    #[error("too many levels of links at `{path}`")]
    LinkLoop {
        /// The path.
        path: RepoPath,
    },
    /// A name in a tree that no ordinary `git add` makes. (E0431)
    #[error("refused name {name:?} in `{folder}`: {why}")]
    Hostile {
        /// The folder.
        folder: RepoPath,
        /// The name; `{:?}` escapes it.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// Two names that are one file on other systems. (E0436)
    #[error("`{path}` and {other:?} differ only in case")]
    CaseClash {
        /// The path.
        path: RepoPath,
        /// Its twin.
        other: String,
    },
    /// The file is larger than the cap. (E0437)
    #[error("`{path}` is too large: {size} bytes, at most {cap} are read")]
    TooLarge {
        /// The path.
        path: RepoPath,
        /// Its size.
        size: u64,
        /// The cap.
        cap: u64,
    },
    /// The object is missing or damaged. (E0418)
    #[error("damaged or missing object at `{path}`")]
    Corrupt {
        /// The path.
        path: RepoPath,
        /// What libgit2 said.
        #[source]
        source: Box<git2::Error>,
    },
    /// The file system refused. (E0438)
    #[error("read `{path}`")]
    Io {
        /// The path.
        path: RepoPath,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl CheckoutError {
    /// The diagnostic code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Path(PathError::Outside { .. }) => "E0430",
            Self::Path(PathError::Unsafe { .. }) | Self::Hostile { .. } => "E0431",
            Self::NotFound { .. } => "E0432",
            Self::NotAFile { .. } | Self::NotAFolder { .. } => "E0433",
            Self::Submodule { .. } => "E0434",
            Self::LinkOutside { .. } | Self::LinkLoop { .. } => "E0435",
            Self::CaseClash { .. } => "E0436",
            Self::TooLarge { .. } => "E0437",
            Self::Corrupt { .. } => "E0418",
            Self::Io { .. } => "E0438",
        }
    }
}

/// A repository at one revision. Clones share the content and the record of inputs.
#[derive(Clone)]
pub struct Checkout {
    origin: Origin,
    start: RepoPath,
    cap: u64,
    tree: Arc<dyn Backend>,
    inputs: Arc<Mutex<Inputs>>,
}

impl fmt::Debug for Checkout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkout")
            .field("origin", &self.origin)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

impl Checkout {
    fn new(origin: Origin, start: RepoPath, tree: Arc<dyn Backend>) -> Self {
        Self {
            origin,
            start,
            cap: DEFAULT_FILE_CAP,
            tree,
            inputs: Arc::default(),
        }
    }

    pub(super) fn of_commit(
        revision: Revision,
        start: RepoPath,
        repository: git2::Repository,
        root: git2::Oid,
        damaged: Arc<AtomicBool>,
    ) -> Self {
        Self::new(
            Origin::Commit(revision),
            start,
            Arc::new(CommitTree::new(repository, root, damaged)),
        )
    }

    /// Files in memory: path to content. A path that is refused, or that lies under another file, is left out.
    pub fn in_memory<P: AsRef<str>, B: AsRef<[u8]>>(files: impl IntoIterator<Item = (P, B)>) -> Self {
        Self::in_memory_with_links(files, std::iter::empty::<(&str, &str)>())
    }

    /// Files and symbolic links (path to target) in memory.
    pub fn in_memory_with_links<P: AsRef<str>, B: AsRef<[u8]>, L: AsRef<str>, T: AsRef<str>>(
        files: impl IntoIterator<Item = (P, B)>,
        links: impl IntoIterator<Item = (L, T)>,
    ) -> Self {
        let mut entries = BTreeMap::new();
        for (path, bytes) in files {
            if let Ok(path) = RepoPath::parse(path.as_ref()) {
                entries.insert(
                    path,
                    MemoryEntry::File {
                        bytes: bytes.as_ref().to_vec(),
                        executable: false,
                    },
                );
            }
        }
        for (path, target) in links {
            if let Ok(path) = RepoPath::parse(path.as_ref()) {
                entries.insert(path, MemoryEntry::Link(target.as_ref().to_owned()));
            }
        }
        Self::new(
            Origin::Memory,
            RepoPath::root(),
            Arc::new(MemoryTree::new(entries)),
        )
    }

    /// The working directory that holds `dir`, for `plan --local DIR`: tracked and untracked files, without `.git`. The root
    /// is the repository's (so that `../` inside of it works), [`Checkout::start`] is `dir` in it.
    pub fn from_dir(dir: &Path) -> Result<Self, CheckoutError> {
        let (workdir, start, head, dirty) = WorkDir::open(dir)?;
        let origin = Origin::WorkingTree {
            dir: workdir.root().to_owned(),
            head,
            dirty,
        };
        Ok(Self::new(origin, start, Arc::new(workdir)))
    }

    /// What this shows.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The commit it shows, or the one that the working directory is based on.
    pub fn revision(&self) -> Option<&Revision> {
        match &self.origin {
            Origin::Commit(revision) => Some(revision),
            Origin::WorkingTree { head, .. } => head.as_ref(),
            Origin::Memory => None,
        }
    }

    /// The folder that the person named, where the location was below the repository's root; else the root.
    pub fn start(&self) -> &RepoPath {
        &self.start
    }

    /// The same view with another cap on file sizes.
    #[must_use]
    pub fn with_cap(mut self, bytes: u64) -> Self {
        self.cap = bytes;
        self
    }

    /// The same view with an empty record of inputs: one for each app.
    #[must_use]
    pub fn recording(&self) -> Self {
        Self {
            inputs: Arc::default(),
            ..self.clone()
        }
    }

    /// What was looked at through this handle and its clones.
    pub fn inputs(&self) -> Inputs {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether every look recorded in `inputs` would give the same here. An empty record proves nothing and is never equal.
    pub fn same_inputs(&self, inputs: &Inputs) -> bool {
        let view = self.recording();
        !inputs.is_empty()
            && inputs.iter().all(|(path, looks)| {
                looks.iter().all(|look| match look {
                    Input::Blob(oid) => view.resolve_file(path).is_ok_and(|(at, entry)| {
                        let here = entry.oid.map_or_else(
                            || {
                                view.tree
                                    .bytes(&at, &entry, self.cap)
                                    .ok()
                                    .map(|b| ObjectId::of_blob(&b))
                            },
                            Some,
                        );
                        here == Some(*oid)
                    }),
                    Input::Names(oid) => view.folder_at(path).is_ok_and(|(_, raw)| names_id(&raw) == *oid),
                    Input::Tree(oid) => view.tree_oid(path).is_ok_and(|here| here == Some(*oid)),
                    Input::Kind(kind) => view
                        .stat(path)
                        .ok()
                        .flatten()
                        .is_some_and(|entry| kind_char(entry.kind) == *kind),
                    Input::Absent => matches!(view.stat(path), Ok(None) | Err(_)),
                })
            })
    }

    /// The entries of a folder. Links to folders are followed on the way, not listed through.
    pub fn list(&self, path: &RepoPath) -> Result<Listing, CheckoutError> {
        let (at, raw) = self.record_failure(path, self.folder_at(path))?;
        self.record(path, Input::Names(names_id(&raw)));
        let clashes = clashes(&raw);
        let mut listing = Listing::default();
        for entry in raw.iter() {
            match checked_name(&at, &entry.name) {
                Err(refused) => listing.refused.push(refused),
                Ok(name) => {
                    let here = at.child(name);
                    if let Some(other) = clashes.get(name) {
                        listing.refused.push(CheckoutError::CaseClash {
                            path: here,
                            other: other.clone(),
                        });
                        continue;
                    }
                    listing.entries.push(Entry {
                        name: name.to_owned(),
                        path: here,
                        kind: entry.kind,
                        oid: entry.oid,
                        mode: entry.mode,
                    });
                }
            }
        }
        listing.entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    /// What is at `path` after following links; `None` if nothing. A refused path is an error.
    pub fn stat(&self, path: &RepoPath) -> Result<Option<Entry>, CheckoutError> {
        match self.resolve(path) {
            Ok((at, entry)) => {
                self.record(path, Input::Kind(kind_char(entry.kind)));
                let name = at.file_name().unwrap_or_default().to_owned();
                Ok(Some(Entry {
                    name,
                    path: at,
                    kind: entry.kind,
                    oid: entry.oid,
                    mode: entry.mode,
                }))
            }
            Err(error) => {
                self.record(path, Input::Absent);
                if matches!(error, CheckoutError::NotFound { .. }) {
                    Ok(None)
                } else {
                    Err(error)
                }
            }
        }
    }

    /// Whether a file is at `path` (after links).
    pub fn is_file(&self, path: &RepoPath) -> bool {
        matches!(self.stat(path), Ok(Some(entry)) if entry.kind == EntryKind::File)
    }

    /// Whether a folder is at `path` (after links).
    pub fn is_dir(&self, path: &RepoPath) -> bool {
        matches!(self.stat(path), Ok(Some(entry)) if entry.kind == EntryKind::Directory)
    }

    /// The file at `path`, following links inside the repository.
    pub fn read(&self, path: &RepoPath) -> Result<Blob, CheckoutError> {
        let (at, entry) = self.record_failure(path, self.resolve_file(path))?;
        let bytes = self.record_failure(path, self.tree.bytes(&at, &entry, self.cap))?;
        let oid = entry.oid.unwrap_or_else(|| ObjectId::of_blob(&bytes));
        self.record(path, Input::Blob(oid));
        Ok(Blob {
            bytes,
            oid,
            path: at,
            executable: entry.mode & 0o111 != 0,
        })
    }

    /// Every file, link and submodule below `path`, sorted; folders are entered, links are not. At most `limit` entries.
    pub fn walk(&self, path: &RepoPath, limit: usize) -> Result<Listing, CheckoutError> {
        let mut found = Listing::default();
        let mut folders = vec![path.clone()];
        while let Some(folder) = folders.pop() {
            let listing = self.list(&folder)?;
            found.refused.extend(listing.refused);
            for entry in listing.entries {
                if entry.kind == EntryKind::Directory {
                    folders.push(entry.path);
                } else if found.entries.len() < limit {
                    found.entries.push(entry);
                } else {
                    return Err(CheckoutError::TooLarge {
                        path: path.clone(),
                        size: limit as u64 + 1,
                        cap: limit as u64,
                    });
                }
            }
        }
        found.entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// The id of the tree at `path`: equal ids are equal content, all the way down. `None` where there is no folder, and in a
    /// working directory, which has no trees.
    pub fn tree_oid(&self, path: &RepoPath) -> Result<Option<ObjectId>, CheckoutError> {
        let at = match self.resolve(path) {
            Ok((at, _)) => at,
            Err(CheckoutError::NotFound { .. }) => {
                self.record(path, Input::Absent);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let oid = self.tree.tree_oid(&at)?;
        self.record(path, oid.map_or(Input::Absent, Input::Tree));
        Ok(oid)
    }

    /// Whether Git has the path under version control. In a commit everything is; in a working directory what is in the index.
    pub fn is_tracked(&self, path: &RepoPath) -> bool {
        self.resolve(path).is_ok_and(|(at, _)| self.tree.tracks(&at))
    }

    fn record(&self, path: &RepoPath, input: Input) {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        let looks = inputs.entry(path.clone()).or_default();
        if !looks.contains(&input) {
            looks.push(input);
        }
    }

    fn record_failure<T>(
        &self,
        path: &RepoPath,
        result: Result<T, CheckoutError>,
    ) -> Result<T, CheckoutError> {
        result.inspect_err(|_| self.record(path, Input::Absent))
    }

    fn resolve_file(&self, path: &RepoPath) -> Result<(RepoPath, RawEntry), CheckoutError> {
        let (at, entry) = self.resolve(path)?;
        match entry.kind {
            EntryKind::File => Ok((at, entry)),
            EntryKind::Submodule => Err(CheckoutError::Submodule { path: path.clone() }),
            EntryKind::Directory | EntryKind::Symlink => Err(CheckoutError::NotAFile { path: path.clone() }),
        }
    }

    fn folder_at(&self, path: &RepoPath) -> Result<(RepoPath, Arc<Vec<RawEntry>>), CheckoutError> {
        let (at, entry) = self.resolve(path)?;
        match entry.kind {
            EntryKind::Directory => {
                let raw = self
                    .tree
                    .folder(&at)?
                    .ok_or_else(|| CheckoutError::NotFound { path: path.clone() })?;
                Ok((at, raw))
            }
            EntryKind::Submodule => Err(CheckoutError::Submodule { path: path.clone() }),
            EntryKind::File | EntryKind::Symlink => Err(CheckoutError::NotAFolder { path: path.clone() }),
        }
    }

    /// Walks from the root, segment by segment, following links. The walk happens on `RepoPath`s, which cannot climb above
    /// the root, so a link that leads outside shows itself as a `PathError::Outside`.
    fn resolve(&self, path: &RepoPath) -> Result<(RepoPath, RawEntry), CheckoutError> {
        let missing = || CheckoutError::NotFound { path: path.clone() };
        let mut links = 0;
        let mut at = RepoPath::root();
        let mut entry = RawEntry {
            name: Vec::new(),
            kind: EntryKind::Directory,
            mode: 0o040_000,
            oid: None,
        };
        let mut ahead: Vec<String> = path.segments().rev().map(str::to_owned).collect();
        while let Some(segment) = ahead.pop() {
            match entry.kind {
                EntryKind::Directory => {}
                EntryKind::Submodule => return Err(CheckoutError::Submodule { path: path.clone() }),
                EntryKind::File | EntryKind::Symlink => return Err(missing()),
            }
            let folder = self.tree.folder(&at)?.ok_or_else(missing)?;
            let found = folder
                .iter()
                .find(|entry| entry.name == segment.as_bytes())
                .ok_or_else(missing)?
                .clone();
            if let Some(other) = twin(&folder, &segment) {
                return Err(CheckoutError::CaseClash {
                    path: at.child(&segment),
                    other,
                });
            }
            let here = at.child(&segment);
            if found.kind != EntryKind::Symlink {
                at = here;
                entry = found;
                continue;
            }
            links += 1;
            if links > LINK_BUDGET {
                return Err(CheckoutError::LinkLoop { path: path.clone() });
            }
            let target = String::from_utf8_lossy(&self.tree.bytes(&here, &found, 4096)?).into_owned();
            let aim = at.join(&target).map_err(|error| match error {
                PathError::Outside { .. } => CheckoutError::LinkOutside {
                    path: here.clone(),
                    target: target.clone(),
                },
                PathError::Unsafe { .. } => CheckoutError::Path(error),
            })?;
            // `join` folds `a/..` as text, where the kernel would first follow `a`. For a link whose own target climbs
            // through another link the two differ; it stays inside either way, which is what matters here.
            ahead.extend(aim.segments().rev().map(str::to_owned));
            at = RepoPath::root();
            entry = RawEntry {
                name: Vec::new(),
                kind: EntryKind::Directory,
                mode: 0o040_000,
                oid: None,
            };
        }
        Ok((at, entry))
    }
}

fn kind_char(kind: EntryKind) -> char {
    match kind {
        EntryKind::File => 'f',
        EntryKind::Directory => 'd',
        EntryKind::Symlink => 'l',
        EntryKind::Submodule => 's',
    }
}

/// A digest over names and kinds only, so that an edit of a file does not count as a change of its folder's listing.
fn names_id(entries: &[RawEntry]) -> ObjectId {
    let mut lines: Vec<Vec<u8>> = entries
        .iter()
        .map(|entry| {
            let mut line = vec![kind_char(entry.kind) as u8];
            line.extend_from_slice(&entry.name);
            line.push(0);
            line
        })
        .collect();
    lines.sort();
    ObjectId::of_blob(&lines.concat())
}

fn checked_name<'a>(folder: &RepoPath, raw: &'a [u8]) -> Result<&'a str, CheckoutError> {
    let hostile = |why| CheckoutError::Hostile {
        folder: folder.clone(),
        name: String::from_utf8_lossy(raw).into_owned(),
        why,
    };
    let name = std::str::from_utf8(raw).map_err(|_| hostile("a name that is not UTF-8"))?;
    check_name(name).map_err(hostile)?;
    Ok(name)
}

/// The sibling that differs from `name` only in case; without an allocation where both are ASCII, as this is on every path.
fn twin(entries: &[RawEntry], name: &str) -> Option<String> {
    let folded = (!name.is_ascii()).then(|| name.to_lowercase());
    let twin = entries.iter().find(|entry| {
        entry.name != name.as_bytes()
            && match &folded {
                Some(folded) => String::from_utf8_lossy(&entry.name).to_lowercase() == *folded,
                None => entry.name.eq_ignore_ascii_case(name.as_bytes()),
            }
    });
    twin.map(|entry| String::from_utf8_lossy(&entry.name).into_owned())
}

/// Names that differ from a sibling only in case, each with that sibling.
fn clashes(entries: &[RawEntry]) -> BTreeMap<String, String> {
    let mut folded: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in entries {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        folded.entry(name.to_lowercase()).or_default().push(name);
    }
    let mut clashes = BTreeMap::new();
    for names in folded.into_values().filter(|names| names.len() > 1) {
        for name in &names {
            if let Some(other) = names.iter().find(|other| *other != name) {
                clashes.insert(name.clone(), other.clone());
            }
        }
    }
    clashes
}

#[cfg(test)]
#[path = "checkout_tests.rs"]
mod tests;
