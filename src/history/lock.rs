//! One owner per state folder.
//!
//! In: the folder, who asks. Out: a [`Lock`] held until it is dropped or the process ends, however it ends: the operating
//! system holds it (`flock`), not the file's content. Guaranteed: two owners never exist, also within one process. Must
//! not: wait, or break somebody else's lock; the content of the file only says who to name.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

use super::error::StoreError;

/// The lock file's name in the state folder.
pub const LOCK_FILE: &str = "lock";

/// The process that owns a state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub pid: u32,
    /// The verb, as `serve`; never whole arguments, which could hold a secret.
    pub command: String,
    pub since: Timestamp,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`driftless {}` (process {}, since {})",
            self.command, self.pid, self.since
        )
    }
}

/// Ownership of a state folder.
#[derive(Debug)]
pub struct Lock {
    // Held for its lock only. The file stays when the lock goes: removing it would let a third process lock a new file
    // while a second one still waits on, or holds, the old one.
    _file: File,
}

impl Lock {
    /// Takes the lock of `folder`, or says who has it.
    pub fn acquire(folder: &Path, owner: &Owner) -> Result<Self, StoreError> {
        let path = folder.join(LOCK_FILE);
        let mut file = private(
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false),
        )
        .open(&path)
        .map_err(StoreError::io("open the lock", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    folder: folder.to_owned(),
                    owner: read(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(StoreError::io("lock", &path)(source)),
        }
        // Who owns it is a courtesy to others: a full disk must not keep us from running and saying so.
        let text = serde_json::to_vec(owner).unwrap_or_default();
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(&text));
        Ok(Self { _file: file })
    }
}

/// Who owns `folder` now, if anybody does.
pub fn owner(folder: &Path) -> Option<Option<Owner>> {
    let mut file = File::open(folder.join(LOCK_FILE)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read(&mut file)),
        // Nobody has it; ours goes with `file`.
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

/// `None` while the owner is just writing it.
fn read(file: &mut File) -> Option<Owner> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(64 * 1024).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// New files of the state folder are for their owner alone.
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}
