//! Where a checkout's entries come from: a commit's trees, a working directory, or memory.
//!
//! In: a path whose links the checkout already resolved. Out: raw entries and bytes. Guaranteed: nothing here follows a
//! symbolic link, so no backend can be led outside its root. Must not: write anything.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::checkout::{CheckoutError, EntryKind, ObjectId};
use super::path::RepoPath;

/// One name in a folder, as it is stored; the name is not yet checked.
#[derive(Debug, Clone)]
pub(super) struct RawEntry {
    pub name: Vec<u8>,
    pub kind: EntryKind,
    pub mode: u32,
    /// `None` where the object id is not known without reading the file (a working directory).
    pub oid: Option<ObjectId>,
}

/// A source of entries. Sync on purpose: rendering is pure code.
pub(super) trait Backend: Send + Sync {
    /// The names in a folder, `None` where there is no folder at that path.
    fn folder(&self, path: &RepoPath) -> Result<Option<Arc<Vec<RawEntry>>>, CheckoutError>;
    /// The bytes of the file or link at `path`.
    fn bytes(&self, path: &RepoPath, entry: &RawEntry, cap: u64) -> Result<Vec<u8>, CheckoutError>;
    /// The tree's id where the backend has one.
    fn tree_oid(&self, path: &RepoPath) -> Result<Option<ObjectId>, CheckoutError>;
    /// Whether Git has the path (or something below it) under version control.
    fn tracks(&self, path: &RepoPath) -> bool;
}

/// A folder that was read: its tree's id and entries; `None` where there is no folder.
type Loaded = Option<(git2::Oid, Arc<Vec<RawEntry>>)>;

/// Trees of a commit, read by object id.
pub(super) struct CommitTree {
    /// libgit2 handles are not `Sync`; reads are short, so one lock is enough.
    repository: Mutex<git2::Repository>,
    root: git2::Oid,
    folders: Mutex<HashMap<RepoPath, Loaded>>,
    /// Raised when an object is damaged, so that the source can repair its mirror.
    damaged: Arc<AtomicBool>,
}

impl CommitTree {
    pub(super) fn new(repository: git2::Repository, root: git2::Oid, damaged: Arc<AtomicBool>) -> Self {
        Self {
            repository: Mutex::new(repository),
            root,
            folders: Mutex::default(),
            damaged,
        }
    }

    fn corrupt(&self, path: &RepoPath, source: git2::Error) -> CheckoutError {
        self.damaged.store(true, Ordering::Relaxed);
        CheckoutError::Corrupt {
            path: path.clone(),
            source: Box::new(source),
        }
    }

    fn load(&self, path: &RepoPath) -> Result<Loaded, CheckoutError> {
        if let Some(known) = self
            .folders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(path)
        {
            return Ok(known.clone());
        }
        let oid = match path.parent() {
            None => Some(self.root),
            Some(parent) => self.load(&parent)?.and_then(|(_, entries)| {
                let name = path.file_name().unwrap_or_default().as_bytes();
                let entry = entries
                    .iter()
                    .find(|entry| entry.name == name && entry.kind == EntryKind::Directory)?;
                entry.oid.map(ObjectId::to_git)
            }),
        };
        let loaded = match oid {
            None => None,
            Some(oid) => {
                let repository = self.repository.lock().unwrap_or_else(PoisonError::into_inner);
                let tree = repository
                    .find_tree(oid)
                    .map_err(|source| self.corrupt(path, source))?;
                let entries = tree
                    .iter()
                    .map(|entry| RawEntry {
                        name: entry.name_bytes().to_vec(),
                        kind: kind_of(entry.filemode()),
                        mode: u32::try_from(entry.filemode()).unwrap_or_default(),
                        oid: Some(ObjectId::from_git(entry.id())),
                    })
                    .collect();
                Some((oid, Arc::new(entries)))
            }
        };
        self.folders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.clone(), loaded.clone());
        Ok(loaded)
    }
}

fn kind_of(mode: i32) -> EntryKind {
    match mode & 0o170_000 {
        0o040_000 => EntryKind::Directory,
        0o120_000 => EntryKind::Symlink,
        0o160_000 => EntryKind::Submodule,
        _ => EntryKind::File,
    }
}

impl Backend for CommitTree {
    fn folder(&self, path: &RepoPath) -> Result<Option<Arc<Vec<RawEntry>>>, CheckoutError> {
        Ok(self.load(path)?.map(|(_, entries)| entries))
    }

    fn bytes(&self, path: &RepoPath, entry: &RawEntry, cap: u64) -> Result<Vec<u8>, CheckoutError> {
        let oid = entry
            .oid
            .ok_or_else(|| CheckoutError::NotFound { path: path.clone() })?
            .to_git();
        let repository = self.repository.lock().unwrap_or_else(PoisonError::into_inner);
        let database = repository.odb().map_err(|source| self.corrupt(path, source))?;
        // The header tells the size before any content is inflated.
        let (size, kind) = database
            .read_header(oid)
            .map_err(|source| self.corrupt(path, source))?;
        let size = size as u64;
        if size > cap {
            return Err(CheckoutError::TooLarge {
                path: path.clone(),
                size,
                cap,
            });
        }
        if kind != git2::ObjectType::Blob {
            return Err(CheckoutError::NotAFile { path: path.clone() });
        }
        // libgit2 hashes what it reads (strict object verification), so silent corruption is an error here.
        Ok(database
            .read(oid)
            .map_err(|source| self.corrupt(path, source))?
            .data()
            .to_vec())
    }

    fn tree_oid(&self, path: &RepoPath) -> Result<Option<ObjectId>, CheckoutError> {
        Ok(self.load(path)?.map(|(oid, _)| ObjectId::from_git(oid)))
    }

    fn tracks(&self, path: &RepoPath) -> bool {
        let Some(parent) = path.parent() else { return true };
        self.folder(&parent).ok().flatten().is_some_and(|entries| {
            entries
                .iter()
                .any(|entry| Some(entry.name.as_slice()) == path.file_name().map(str::as_bytes))
        })
    }
}

/// Files in memory, for tests of everything that reads a checkout.
pub(super) struct MemoryTree {
    folders: BTreeMap<RepoPath, Arc<Vec<RawEntry>>>,
    blobs: HashMap<ObjectId, Vec<u8>>,
    oids: BTreeMap<RepoPath, ObjectId>,
}

/// What a path holds in memory.
#[derive(Debug, Clone)]
pub(super) enum MemoryEntry {
    File { bytes: Vec<u8>, executable: bool },
    Link(String),
}

impl MemoryTree {
    pub(super) fn new(files: BTreeMap<RepoPath, MemoryEntry>) -> Self {
        let mut folders: BTreeMap<RepoPath, BTreeMap<Vec<u8>, RawEntry>> = BTreeMap::new();
        folders.insert(RepoPath::root(), BTreeMap::new());
        let mut blobs = HashMap::new();
        for (path, entry) in files {
            let (bytes, kind, mode) = match entry {
                MemoryEntry::File {
                    bytes,
                    executable: false,
                } => (bytes, EntryKind::File, 0o100_644),
                MemoryEntry::File {
                    bytes,
                    executable: true,
                } => (bytes, EntryKind::File, 0o100_755),
                MemoryEntry::Link(target) => (target.into_bytes(), EntryKind::Symlink, 0o120_000),
            };
            let oid = ObjectId::of_blob(&bytes);
            blobs.insert(oid, bytes);
            let mut below = RawEntry {
                name: Vec::new(),
                kind,
                mode,
                oid: Some(oid),
            };
            let mut at = path;
            while let (Some(parent), Some(name)) = (at.parent(), at.file_name()) {
                below.name = name.as_bytes().to_vec();
                let siblings = folders.entry(parent.clone()).or_default();
                siblings.entry(below.name.clone()).or_insert(below);
                below = RawEntry {
                    name: Vec::new(),
                    kind: EntryKind::Directory,
                    mode: 0o040_000,
                    oid: None,
                };
                at = parent;
            }
        }
        // Deepest folders first, so that each tree's id is known when its parent's is computed.
        let mut paths: Vec<RepoPath> = folders.keys().cloned().collect();
        paths.sort_by_key(|path| std::cmp::Reverse(path.segments().count()));
        let mut oids: BTreeMap<RepoPath, ObjectId> = BTreeMap::new();
        for path in &paths {
            if let Some(entries) = folders.get_mut(path) {
                for entry in entries
                    .values_mut()
                    .filter(|entry| entry.kind == EntryKind::Directory)
                {
                    entry.oid = oids
                        .get(&path.child(&String::from_utf8_lossy(&entry.name)))
                        .copied();
                }
                oids.insert(path.clone(), tree_id(entries.values()));
            }
        }
        let folders = folders
            .into_iter()
            .map(|(path, entries)| (path, Arc::new(entries.into_values().collect())))
            .collect();
        Self { folders, blobs, oids }
    }
}

/// The id that Git gives a tree of `entries`.
fn tree_id<'a>(entries: impl Iterator<Item = &'a RawEntry>) -> ObjectId {
    let mut sorted: Vec<&RawEntry> = entries.collect();
    // Git sorts a folder as if its name ended in `/`.
    sorted.sort_by_cached_key(|entry| {
        let mut key = entry.name.clone();
        if entry.kind == EntryKind::Directory {
            key.push(b'/');
        }
        key
    });
    let mut bytes = Vec::new();
    for entry in sorted {
        bytes.extend_from_slice(format!("{:o} ", entry.mode).as_bytes());
        bytes.extend_from_slice(&entry.name);
        bytes.push(0);
        bytes.extend_from_slice(entry.oid.unwrap_or_default().as_bytes());
    }
    ObjectId::of(git2::ObjectType::Tree, &bytes)
}

impl Backend for MemoryTree {
    fn folder(&self, path: &RepoPath) -> Result<Option<Arc<Vec<RawEntry>>>, CheckoutError> {
        Ok(self.folders.get(path).cloned())
    }

    fn bytes(&self, path: &RepoPath, entry: &RawEntry, cap: u64) -> Result<Vec<u8>, CheckoutError> {
        let bytes = entry.oid.and_then(|oid| self.blobs.get(&oid));
        let bytes = bytes.ok_or_else(|| CheckoutError::NotFound { path: path.clone() })?;
        let size = bytes.len() as u64;
        if size > cap {
            return Err(CheckoutError::TooLarge {
                path: path.clone(),
                size,
                cap,
            });
        }
        Ok(bytes.clone())
    }

    fn tree_oid(&self, path: &RepoPath) -> Result<Option<ObjectId>, CheckoutError> {
        Ok(self.oids.get(path).copied())
    }

    fn tracks(&self, path: &RepoPath) -> bool {
        self.folders.contains_key(path)
            || path
                .parent()
                .and_then(|parent| self.folders.get(&parent).cloned())
                .is_some_and(|entries| {
                    entries
                        .iter()
                        .any(|entry| Some(entry.name.as_slice()) == path.file_name().map(str::as_bytes))
                })
    }
}
