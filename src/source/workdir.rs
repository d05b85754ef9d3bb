//! A working directory as it is now, for `plan --local DIR`.
//!
//! In: a folder a person named. Out: entries and bytes. Guaranteed: every open is beneath the root by the kernel's own
//! rule (`openat2`, `RESOLVE_BENEATH`, no links) where the kernel has it, so a tree that changes under us cannot lead
//! outside. Must not: show `.git`, follow links by itself, or write.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::checkout::{CheckoutError, EntryKind};
use super::path::RepoPath;
use super::tree::{Backend, RawEntry};
use crate::names::Revision;

pub(super) struct WorkDir {
    root: PathBuf,
    repository: Option<Mutex<git2::Repository>>,
}

fn io(path: &RepoPath) -> impl FnOnce(std::io::Error) -> CheckoutError + '_ {
    move |source| CheckoutError::Io {
        path: path.clone(),
        source,
    }
}

impl WorkDir {
    /// Opens the working directory that holds `dir`; says where `dir` is in it, its commit, and whether it is dirty.
    pub(super) fn open(dir: &Path) -> Result<(Self, RepoPath, Option<Revision>, bool), CheckoutError> {
        let dir = dir.canonicalize().map_err(io(&RepoPath::root()))?;
        let repository = git2::Repository::discover(&dir).ok();
        let workdir = repository
            .as_ref()
            .and_then(|repository| repository.workdir())
            .and_then(|dir| dir.canonicalize().ok());
        let Some((repository, root)) = repository.zip(workdir).filter(|(_, root)| dir.starts_with(root))
        else {
            return Ok((
                Self {
                    root: dir,
                    repository: None,
                },
                RepoPath::root(),
                None,
                true,
            ));
        };
        let start = match dir.strip_prefix(&root).ok().and_then(Path::to_str) {
            Some(start) => RepoPath::parse(start)?,
            None => RepoPath::root(),
        };
        let head = repository
            .head()
            .ok()
            .and_then(|head| head.target())
            .and_then(|oid| Revision::try_from(oid.to_string()).ok());
        let dirty = !super::local::uncommitted(&repository, &RepoPath::root())
            .unwrap_or_default()
            .is_empty();
        Ok((
            Self {
                root,
                repository: Some(Mutex::new(repository)),
            },
            start,
            head,
            dirty,
        ))
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn open_beneath(&self, path: &RepoPath) -> Result<File, std::io::Error> {
        #[cfg(target_os = "linux")]
        {
            use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
            let root = File::open(&self.root)?;
            let how = OpenHow::new()
                .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW)
                .resolve(
                    ResolveFlag::RESOLVE_BENEATH
                        | ResolveFlag::RESOLVE_NO_SYMLINKS
                        | ResolveFlag::RESOLVE_NO_MAGICLINKS,
                );
            let relative = if path.is_root() { "." } else { path.as_str() };
            match openat2(&root, relative, how) {
                Ok(file) => return Ok(File::from(file)),
                // Old kernels and some container sandboxes do not have the call; the canonical check below stands in.
                Err(nix::errno::Errno::ENOSYS | nix::errno::Errno::EPERM) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let full = self.root.join(path.as_str()).canonicalize()?;
        if !full.starts_with(&self.root) {
            return Err(std::io::Error::new(
                std::io::ErrorKind::PermissionDenied,
                "it leads outside the repository",
            ));
        }
        File::open(full)
    }
}

impl Backend for WorkDir {
    fn folder(&self, path: &RepoPath) -> Result<Option<Arc<Vec<RawEntry>>>, CheckoutError> {
        let file = match self.open_beneath(path) {
            Ok(file) => file,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(io(path)(error)),
        };
        if !file.metadata().map_err(io(path))?.is_dir() {
            return Ok(None);
        }
        let mut entries = Vec::new();
        for found in std::fs::read_dir(self.root.join(path.as_str())).map_err(io(path))? {
            let found = found.map_err(io(path))?;
            let name = found.file_name().into_vec();
            if name == b".git" {
                continue;
            }
            let Ok(meta) = found.metadata() else { continue };
            let kind = if meta.is_symlink() {
                EntryKind::Symlink
            } else if meta.is_dir() {
                EntryKind::Directory
            } else if meta.is_file() {
                EntryKind::File
            } else {
                // Sockets, pipes and devices are nothing that Git could hold.
                continue;
            };
            let mode = match kind {
                EntryKind::Symlink => 0o120_000,
                EntryKind::Directory => 0o040_000,
                EntryKind::File | EntryKind::Submodule if meta.mode() & 0o100 != 0 => 0o100_755,
                EntryKind::File | EntryKind::Submodule => 0o100_644,
            };
            entries.push(RawEntry {
                name,
                kind,
                mode,
                oid: None,
            });
        }
        Ok(Some(Arc::new(entries)))
    }

    fn bytes(&self, path: &RepoPath, entry: &RawEntry, cap: u64) -> Result<Vec<u8>, CheckoutError> {
        if entry.kind == EntryKind::Symlink {
            let target = std::fs::read_link(self.root.join(path.as_str())).map_err(io(path))?;
            return Ok(target.as_os_str().as_bytes().to_vec());
        }
        let file = self.open_beneath(path).map_err(io(path))?;
        let meta = file.metadata().map_err(io(path))?;
        if !meta.is_file() {
            return Err(CheckoutError::NotAFile { path: path.clone() });
        }
        let mut bytes = Vec::new();
        file.take(cap.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(io(path))?;
        let size = meta.len().max(bytes.len() as u64);
        if size > cap {
            return Err(CheckoutError::TooLarge {
                path: path.clone(),
                size,
                cap,
            });
        }
        Ok(bytes)
    }

    fn tree_oid(&self, _path: &RepoPath) -> Result<Option<super::checkout::ObjectId>, CheckoutError> {
        Ok(None)
    }

    fn tracks(&self, path: &RepoPath) -> bool {
        let Some(repository) = &self.repository else {
            return false;
        };
        let repository = repository.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(index) = repository.index() else {
            return false;
        };
        let below = format!("{}/", path.as_str());
        path.is_root()
            || index.get_path(Path::new(path.as_str()), 0).is_some()
            || index.find_prefix(below.as_str()).is_ok()
    }
}
