//! What can be wrong with the store, by what has to be done about it.

use std::path::{Path, PathBuf};

use crate::names::{AppKey, ProjectName};

use super::lock::Owner;
use super::schema::Version;

/// The store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process owns the state folder (exit 9).
    #[error("the state folder `{}` is in use by {}", folder.display(), owner.as_ref().map_or_else(|| "another process".to_owned(), Owner::to_string))]
    Locked { folder: PathBuf, owner: Option<Owner> },
    /// A newer major version wrote it. It was not touched.
    #[error("the store `{}` has schema {found}, and this version knows {known}: a newer Driftless wrote it", path.display())]
    Newer {
        path: PathBuf,
        found: Version,
        known: Version,
    },
    /// An older version wrote it, and a reader must not migrate it.
    #[error("the store `{}` has schema {found}, and this version needs {known}: any command that changes something migrates it", path.display())]
    Outdated {
        path: PathBuf,
        found: Version,
        known: Version,
    },
    /// It is damaged, or not a store of ours. It is never taken for an empty one.
    #[error("the store `{}` is damaged: {detail}", path.display())]
    Corrupt { path: PathBuf, detail: String },
    /// One row of it can't be read back.
    #[error("the store holds {what} that this version can't read")]
    Unreadable {
        what: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No room on the disk.
    #[error("no room on the disk of the store `{}`", path.display())]
    Full {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    /// It can't be written: a read-only file system, or missing permission.
    #[error("the store `{}` can't be written", path.display())]
    ReadOnly {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    /// It was opened for reading, by [`Store::beside`](super::Store::beside).
    #[error("the store is open for reading only")]
    Reader,
    /// The snapshot of a release can't be unsealed; everything else of the release can be read.
    #[error("the snapshot of release {number} of {} can't be unsealed: {cause}", key.app)]
    Sealed {
        key: AppKey,
        number: u64,
        cause: SealCause,
    },
    /// Two apps claim one Compose project on one engine (decision 7).
    #[error("the project {project} on this target belongs to the app {} of {}", by.app, by.source)]
    ProjectClaimed { project: ProjectName, by: AppKey },
    /// No release of this number.
    #[error("{} has no release {number}", key.app)]
    NoRelease { key: AppKey, number: u64 },
    /// A file of the state folder.
    #[error("{what} `{}`", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Anything else that the database says.
    #[error("the store `{}` refused", path.display())]
    Sql {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
}

/// Why a snapshot can't be unsealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealCause {
    /// The key file is gone.
    #[error("the key file is missing")]
    NoKey,
    /// There is a key file, but another one than it was sealed with.
    #[error("it was sealed with another key")]
    OtherKey,
    /// The sealed bytes were changed.
    #[error("the sealed bytes are damaged")]
    Damaged,
}

/// What sort of trouble it is, for exit codes and health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Somebody else owns it: exit 9.
    Locked,
    /// Another version, damage: an operator is needed.
    Operator,
    /// No room or not writable: nothing may be changed until that is over; it heals by itself.
    Unwritable,
    /// This snapshot only.
    Sealed,
    /// Refused by a rule: exit 9.
    Refused,
    /// What was asked for is not there.
    NotFound,
    /// A fault of the program or the machine.
    Fault,
}

impl StoreError {
    /// What sort of trouble it is.
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            StoreError::Locked { .. } => StoreErrorKind::Locked,
            StoreError::Newer { .. } | StoreError::Outdated { .. } | StoreError::Corrupt { .. } => {
                StoreErrorKind::Operator
            }
            StoreError::Full { .. } | StoreError::ReadOnly { .. } => StoreErrorKind::Unwritable,
            StoreError::Sealed { .. } => StoreErrorKind::Sealed,
            StoreError::ProjectClaimed { .. } => StoreErrorKind::Refused,
            StoreError::NoRelease { .. } => StoreErrorKind::NotFound,
            StoreError::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull
                | std::io::ErrorKind::QuotaExceeded
                | std::io::ErrorKind::ReadOnlyFilesystem
                | std::io::ErrorKind::PermissionDenied => StoreErrorKind::Unwritable,
                _ => StoreErrorKind::Fault,
            },
            // On a full or failing disk, SQLite's index file can't grow: that is told as a failed call, not as "full".
            StoreError::Sql { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::SystemIoFailure | rusqlite::ErrorCode::CannotOpen) => {
                    StoreErrorKind::Unwritable
                }
                _ => StoreErrorKind::Fault,
            },
            StoreError::Unreadable { .. } | StoreError::Reader => StoreErrorKind::Fault,
        }
    }

    /// Sorts an error of the database at `path` into what has to be done about it.
    pub(super) fn sql(path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full { path, source },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreError::ReadOnly { path, source },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt {
                path,
                detail: source.to_string(),
            },
            _ => StoreError::Sql { path, source },
        }
    }

    /// A value that was written by us, or by a newer version, and can't be read back.
    pub(super) fn unreadable(
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        StoreError::Unreadable {
            what,
            source: source.into(),
        }
    }

    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| StoreError::Io {
            what,
            path: path.to_owned(),
            source,
        }
    }
}

impl From<StoreError> for crate::journal::JournalError {
    fn from(error: StoreError) -> Self {
        crate::journal::JournalError(Box::new(error))
    }
}
