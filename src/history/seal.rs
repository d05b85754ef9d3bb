//! Sealing of release snapshots (decision 4): they hold secret values, so the database only ever gets ciphertext.
//!
//! In: the bytes of a snapshot and what they belong to. Out: sealed bytes. Guaranteed: XChaCha20-Poly1305 with a random
//! nonce; a sealed snapshot opens only for its own app and release. The key lies in its own file, outside the database,
//! and is made when something is sealed for the first time. Must not: show the key, or replace a lost one in silence
//! where a snapshot needs it.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::names::{AppKey, Digest};

use super::error::{SealCause, StoreError};
use super::lock::private;

/// The key file's default name in the state folder.
pub const KEY_FILE: &str = "state.key";

/// The version of the sealed form: part of what is authenticated.
const FORM: &str = "driftless snapshot 1";
const NONCE: usize = 24;

/// Seals and opens with the key in one file.
#[derive(Debug)]
pub(super) struct Sealer {
    path: PathBuf,
}

/// Sealed bytes and the id of the key that they need.
pub(super) struct Sealed {
    pub(super) bytes: Vec<u8>,
    pub(super) key_id: String,
}

impl Sealer {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Seals `plain` for one release.
    pub(super) fn seal(&self, key: &AppKey, digest: &Digest, plain: &[u8]) -> Result<Sealed, StoreError> {
        let secret = match self.load()? {
            Some(secret) => secret,
            None => self.create()?,
        };
        let mut nonce = [0_u8; NONCE];
        random(&mut nonce, &self.path)?;
        let about = about(key, digest);
        let cipher = XChaCha20Poly1305::new(Key::from_slice(secret.as_slice()));
        let sealed = cipher
            .encrypt(
                XNonce::from_slice(&nonce),
                Payload {
                    msg: plain,
                    aad: &about,
                },
            )
            .map_err(|error| StoreError::unreadable("a snapshot", error.to_string()))?;
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&sealed);
        Ok(Sealed {
            bytes,
            key_id: id(&secret),
        })
    }

    /// Opens what was sealed for one release.
    pub(super) fn open(
        &self,
        key: &AppKey,
        digest: &Digest,
        number: u64,
        key_id: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let fail = |cause| StoreError::Sealed {
            key: key.clone(),
            number,
            cause,
        };
        let secret = self.load()?.ok_or_else(|| fail(SealCause::NoKey))?;
        if id(&secret) != key_id {
            return Err(fail(SealCause::OtherKey));
        }
        let (nonce, body) = sealed
            .split_at_checked(NONCE)
            .ok_or_else(|| fail(SealCause::Damaged))?;
        let about = about(key, digest);
        XChaCha20Poly1305::new(Key::from_slice(secret.as_slice()))
            .decrypt(
                XNonce::from_slice(nonce),
                Payload {
                    msg: body,
                    aad: &about,
                },
            )
            .map(Zeroizing::new)
            .map_err(|_| fail(SealCause::Damaged))
    }

    /// The key, if there is one. Read each time: it is small, and then it is in memory only while it is used.
    fn load(&self) -> Result<Option<Zeroizing<[u8; 32]>>, StoreError> {
        let mut text = Zeroizing::new(String::with_capacity(128));
        match OpenOptions::new().read(true).open(&self.path) {
            Ok(file) => {
                file.take(128)
                    .read_to_string(&mut text)
                    .map_err(StoreError::io("read the key", &self.path))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("open the key", &self.path)(error)),
        }
        let mut secret = Zeroizing::new([0_u8; 32]);
        hex::decode_to_slice(text.trim(), secret.as_mut_slice()).map_err(|error| {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
            StoreError::io("read the key: 64 hexadecimal digits are expected in", &self.path)(source)
        })?;
        Ok(Some(secret))
    }

    /// Makes the key. It is on disk before anything is sealed with it.
    fn create(&self) -> Result<Zeroizing<[u8; 32]>, StoreError> {
        let mut secret = Zeroizing::new([0_u8; 32]);
        random(secret.as_mut_slice(), &self.path)?;
        let text = Zeroizing::new(format!("{}\n", hex::encode(secret.as_slice())));
        let fresh = self.path.with_extension("key.new");
        let write = || {
            let mut file =
                private(OpenOptions::new().write(true).create(true).truncate(true)).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            // A link, not a rename: it fails when somebody else made the key meanwhile.
            std::fs::hard_link(&fresh, &self.path)?;
            std::fs::remove_file(&fresh)?;
            super::schema::sync_folder(&self.path)
        };
        write().map_err(StoreError::io("create the key", &self.path))?;
        Ok(secret)
    }
}

/// What a snapshot belongs to: authenticated, so that one release's snapshot can't be put in the place of another's.
fn about(key: &AppKey, digest: &Digest) -> Vec<u8> {
    [FORM, key.source.as_str(), key.app.as_str(), digest.as_str()]
        .join("\0")
        .into_bytes()
}

/// Names a key without telling it.
fn id(secret: &[u8; 32]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"driftless key id\0");
    hash.update(secret);
    hex::encode(&hash.finalize()[..8])
}

fn random(bytes: &mut [u8], path: &Path) -> Result<(), StoreError> {
    getrandom::fill(bytes).map_err(|error| {
        StoreError::io("take random bytes for", path)(std::io::Error::other(error.to_string()))
    })
}
