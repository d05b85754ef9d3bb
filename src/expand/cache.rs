//! What was rendered before.
//!
//! In: a key over the tool, its version, its arguments and the digest of what it can read. Out: the text of the first time.
//! Guaranteed: an entry is whole or not there; files are the owner's alone; the oldest go when there are too many; what
//! holds a Secret is never written. Must not: fail: a cache that can't be used is as good as none.
//!
//! A chart may use random values (`randAlphaNum`, `genCA`): the cache keeps them until something it reads changes, those of
//! Secrets until the program ends.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::Rendered;

/// The entries that are kept.
const KEPT: usize = 200;

/// The entries that are kept in memory.
const KEPT_SECRET: usize = 50;

/// Another layout of the entries has another number.
const VERSION: &str = "1";

pub(super) fn key(renderer: &str, args: &[OsString], inputs: &str) -> String {
    let mut hash = Sha256::new();
    for part in [VERSION, renderer, inputs] {
        hash.update(part);
        hash.update([0]);
    }
    for arg in args {
        hash.update(arg.as_encoded_bytes());
        hash.update([0]);
    }
    hex::encode(hash.finalize())
}

/// The texts that were rendered before: on disk, and those that hold Secrets in memory.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    secret: Mutex<BTreeMap<String, Rendered>>,
}

impl Cache {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            secret: Mutex::default(),
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn entry(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.json"))
    }

    fn secret(&self) -> MutexGuard<'_, BTreeMap<String, Rendered>> {
        self.secret.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn read(&self, key: &str) -> Option<Rendered> {
        if let Some(known) = self.secret().get(key) {
            return Some(known.clone());
        }
        let bytes = tokio::fs::read(self.entry(key)).await.ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    pub async fn write(&self, key: &str, rendered: &Rendered) {
        // No secret value is readable in the state folder.
        if holds_secrets(&rendered.output) {
            let mut secret = self.secret();
            if secret.len() >= KEPT_SECRET {
                secret.pop_first();
            }
            secret.insert(key.to_owned(), rendered.clone());
            return;
        }
        let (folder, path) = (self.folder.clone(), self.entry(key));
        let Ok(bytes) = serde_json::to_vec(rendered) else {
            return;
        };
        // Cancelled while it waits: the entry is renamed into place or not there.
        let _ = tokio::task::spawn_blocking(move || {
            let file = tempfile::NamedTempFile::new_in(&folder)?;
            std::fs::write(file.path(), bytes)?;
            file.persist(path)?;
            evict(&folder)
        })
        .await;
    }
}

/// Whether any object may be a Secret, however its kind is written.
fn holds_secrets(output: &[u8]) -> bool {
    String::from_utf8_lossy(output)
        .lines()
        .any(|line| line.contains("kind") && line.contains("Secret"))
}

fn evict(folder: &Path) -> std::io::Result<()> {
    let mut entries: Vec<(SystemTime, PathBuf)> = std::fs::read_dir(folder)?
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "json"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    if entries.len() > KEPT {
        entries.sort();
        for (_, path) in entries.iter().take(entries.len() - KEPT) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Output as base64: a tool may print bytes that are no text.
pub(super) mod text {
    use base64::Engine as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(serde::de::Error::custom)
    }
}
