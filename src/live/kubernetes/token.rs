//! A bearer token in a file that somebody renews (`tokenFile:`, or a pod's own).
//!
//! In: a path. Out: the header of a call. Guaranteed: the file is read again after a minute, and at once when the server refused
//! the token; a file that is away for a moment does not take the last token away. Must not: show the token.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

/// As client-go reads it.
const AGE: Duration = Duration::from_secs(60);

/// A token that is kept in a file.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    known: Mutex<Option<(Instant, HeaderValue)>>,
}

impl TokenFile {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            known: Mutex::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The header of a call that is made now.
    pub(super) fn header(&self) -> io::Result<HeaderValue> {
        let mut known = self.lock();
        if let Some((read, header)) = known.as_ref()
            && read.elapsed() < AGE
        {
            return Ok(header.clone());
        }
        match self.read() {
            Ok(header) => {
                *known = Some((Instant::now(), header.clone()));
                Ok(header)
            }
            // Renewed by writing and moving: there may be no file for a moment.
            Err(error) => known.as_ref().map(|(_, header)| header.clone()).ok_or(error),
        }
    }

    /// Whether the file has another token than the one that was just refused.
    pub(super) fn renewed(&self, refused: &HeaderValue) -> bool {
        let mut known = self.lock();
        if known.as_ref().is_some_and(|(_, header)| header != refused) {
            // Somebody else was refused before us, and has read it.
            return true;
        }
        match self.read() {
            Ok(header) if header != *refused => {
                *known = Some((Instant::now(), header));
                true
            }
            _ => false,
        }
    }

    fn read(&self) -> io::Result<HeaderValue> {
        let text = std::fs::read_to_string(&self.path)?;
        let token = text.trim();
        let unusable = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        if token.is_empty() {
            return Err(unusable("it is empty"));
        }
        let header = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut header = header.map_err(|_| unusable("it holds no token"))?;
        header.set_sensitive(true);
        Ok(header)
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, HeaderValue)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_read_again_in_time_and_when_it_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let write = |text: &str| std::fs::write(&path, text).expect("a file");
        let file = TokenFile::new(&path);
        assert!(file.header().is_err());
        write("canary-one\n");
        let one = file.header().expect("a token");
        assert_eq!(one, "Bearer canary-one");
        assert!(!format!("{file:?}").contains("canary"));
        write("two");
        assert_eq!(file.header().expect("a token"), "Bearer canary-one");
        assert!(file.renewed(&one));
        assert_eq!(file.header().expect("a token"), "Bearer two");
        assert!(file.renewed(&one), "who was refused later has the new one too");
        assert!(!file.renewed(&file.header().expect("a token")));
        write("three");
        tokio::time::advance(AGE).await;
        assert_eq!(file.header().expect("a token"), "Bearer three");
        std::fs::remove_file(&path).expect("a file");
        tokio::time::advance(AGE).await;
        assert_eq!(file.header().expect("the last one"), "Bearer three");
    }
}
