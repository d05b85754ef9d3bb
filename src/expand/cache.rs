//! What was rendered before.
//!
//! In: a key over the tool, its version, its arguments and the digest of what it can read. Out: the text of the first time.
//! Guaranteed: an entry is whole or not there; files are the owner's alone; the oldest go when there are too many. Must not:
//! fail: a cache that can't be used is as good as none.
//!
//! A chart may use random values (`randAlphaNum`, `genCA`): the cache keeps them until something it reads changes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::Rendered;

/// The entries that are kept.
const KEPT: usize = 200;

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

fn entry(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("{key}.json"))
}

pub(super) async fn read(folder: &Path, key: &str) -> Option<Rendered> {
    let bytes = tokio::fs::read(entry(folder, key)).await.ok()?;
    serde_json::from_slice(&bytes).ok()
}

pub(super) async fn write(folder: &Path, key: &str, rendered: &Rendered) {
    let (folder, path) = (folder.to_owned(), entry(folder, key));
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
