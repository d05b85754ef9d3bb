//! Releases in the store: sealed on the way in, unsealed only when a whole record is asked for.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, ToSql, Transaction, params};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::names::{AppKey, Digest, Revision, ServiceName};
use crate::release::{Outcome, Pinned, Record, Snapshot};

use super::error::StoreError;
use super::store::{Store, from_json, limited, number, raw, to_json};
use super::{AppState, KEPT_RELEASES, Summary};

/// Everything but what is sealed.
const PLAIN: &str =
    "number, digest, content, revision, subject, author, images, created_at, outcome, stable_at";

impl Store {
    pub(super) fn insert_release(&self, record: &Record) -> Result<u64, StoreError> {
        let key = &record.key;
        let plain = serde_json::to_vec(&record.snapshot)
            .map(Zeroizing::new)
            .map_err(|error| StoreError::unreadable("a snapshot", error))?;
        let sealed = self.sealer.seal(key, &record.digest, &plain)?;
        let images = to_json(&record.images, "the images of a release")?;
        let outcome = to_json(&record.outcome, "the outcome of a release")?;
        self.change(|transaction| {
            let app = self.app(transaction, key)?;
            let next: i64 = transaction
                .query_row(
                    "INSERT INTO numbers (app, last) VALUES (?1, 1)
                     ON CONFLICT (app) DO UPDATE SET last = last + 1 RETURNING last",
                    [app],
                    |row| row.get(0),
                )
                .map_err(|error| self.sql(error))?;
            transaction
                .execute(
                    "INSERT INTO releases (app, number, digest, content, revision, subject, author, images, created_at,
                        outcome, stable_at, key_id, snapshot)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                    params![
                        app,
                        next,
                        record.digest.as_str(),
                        record.content.as_str(),
                        record.revision.as_str(),
                        record.subject,
                        record.author,
                        images,
                        record.created_at.to_string(),
                        outcome,
                        record.stable_at.map(|at| at.to_string()),
                        sealed.key_id,
                        sealed.bytes,
                    ],
                )
                .map_err(|error| self.sql(error))?;
            self.collect_releases(transaction, app)?;
            Ok(number(next))
        })
    }

    /// Removes what is beyond [`KEPT_RELEASES`] and neither stable, held nor named by the app's state.
    fn collect_releases(&self, transaction: &Transaction<'_>, app: i64) -> Result<(), StoreError> {
        let state: Option<String> = transaction
            .query_row("SELECT state FROM apps WHERE id = ?1", [app], |row| row.get(0))
            .optional()
            .map_err(|error| self.sql(error))?
            .flatten();
        let state: AppState = state.map_or_else(
            || Ok(AppState::default()),
            |text| from_json(&text, "an app's state"),
        )?;
        let named = [state.candidate, state.effective, state.stable].map(|number| number.map_or(-1, raw));
        transaction
            .execute(
                "DELETE FROM releases WHERE app = ?1 AND stable_at IS NULL
                    AND digest NOT IN (SELECT digest FROM holds WHERE app = ?1)
                    AND number NOT IN (?3, ?4, ?5)
                    AND number <= (SELECT number FROM releases WHERE app = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
                params![app, limited(KEPT_RELEASES), named[0], named[1], named[2]],
            )
            .map_err(|error| self.sql(error))?;
        Ok(())
    }

    pub(super) fn update_outcome(
        &self,
        transaction: &Transaction<'_>,
        app: i64,
        key: &AppKey,
        number: u64,
        outcome: &Outcome,
    ) -> Result<(), StoreError> {
        let text = to_json(outcome, "the outcome of a release")?;
        let changed = transaction
            .execute(
                "UPDATE releases SET outcome = ?3 WHERE app = ?1 AND number = ?2",
                params![app, raw(number), text],
            )
            .map_err(|error| self.sql(error))?;
        if changed == 0 {
            return Err(StoreError::NoRelease {
                key: key.clone(),
                number,
            });
        }
        Ok(())
    }

    pub(super) fn set_stable(
        &self,
        transaction: &Transaction<'_>,
        app: i64,
        number: u64,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        transaction
            .execute(
                "UPDATE releases SET stable_at = ?3 WHERE app = ?1 AND number = ?2",
                params![app, raw(number), at.to_string()],
            )
            .and_then(|_| transaction.execute("UPDATE apps SET inventory = 1 WHERE id = ?1", [app]))
            .map_err(|error| self.sql(error))?;
        Ok(())
    }

    /// `filter` is one of our own texts; `?2` in it is `value`.
    pub(super) fn read_summaries(
        &self,
        key: &AppKey,
        filter: &'static str,
        value: Option<&dyn ToSql>,
        limit: usize,
    ) -> Result<Vec<Summary>, StoreError> {
        self.read(|transaction| {
            let Some(app) = self.find_app(transaction, key)? else {
                return Ok(Vec::new());
            };
            let text = format!(
                "SELECT {PLAIN} FROM releases WHERE app = ?1 AND {filter} ORDER BY number DESC LIMIT ?3"
            );
            self.rows(transaction, &text, params![app, value, limited(limit)], |row| {
                self.read_summary(row, key)
            })
        })
    }

    fn read_summary(&self, row: &Row<'_>, key: &AppKey) -> Result<Summary, StoreError> {
        let digest: String = self.column(row, "digest")?;
        let content: String = self.column(row, "content")?;
        let revision: String = self.column(row, "revision")?;
        let images: BTreeMap<ServiceName, Pinned> = self.json(row, "images", "the images of a release")?;
        Ok(Summary {
            key: key.clone(),
            number: number(self.column(row, "number")?),
            digest: Digest::read_back(&digest),
            content: Digest::read_back(&content),
            revision: Revision::try_from(revision)
                .map_err(|error| StoreError::unreadable("a commit id", error))?,
            subject: self.column(row, "subject")?,
            author: self.column(row, "author")?,
            images,
            created_at: self.time(row, "created_at")?,
            outcome: self.json(row, "outcome", "the outcome of a release")?,
            stable_at: self.optional_time(row, "stable_at")?,
        })
    }

    pub(super) fn read_release(&self, key: &AppKey, number: u64) -> Result<Option<Record>, StoreError> {
        let found = self.read(|transaction| {
            let Some(app) = self.find_app(transaction, key)? else {
                return Ok(None);
            };
            let text =
                format!("SELECT {PLAIN}, key_id, snapshot FROM releases WHERE app = ?1 AND number = ?2");
            let rows = self.rows(transaction, &text, params![app, raw(number)], |row| {
                let key_id: String = self.column(row, "key_id")?;
                let sealed: Vec<u8> = self.column(row, "snapshot")?;
                Ok((self.read_summary(row, key)?, key_id, sealed))
            })?;
            Ok(rows.into_iter().next())
        })?;
        let Some((summary, key_id, sealed)) = found else {
            return Ok(None);
        };
        let plain = self.sealer.open(key, &summary.digest, number, &key_id, &sealed)?;
        let snapshot: Snapshot = serde_json::from_slice(&plain)
            .map_err(|error| StoreError::unreadable("a snapshot", Shape(error.classify())))?;
        Ok(Some(summary.with(snapshot)))
    }
}

/// A parse error of a snapshot without its text, which could quote a secret value.
#[derive(Debug, thiserror::Error)]
#[error("its form is not the one of this version ({0:?})")]
struct Shape(serde_json::error::Category);

impl Summary {
    /// The whole record.
    pub fn with(self, snapshot: Snapshot) -> Record {
        Record {
            key: self.key,
            number: self.number,
            digest: self.digest,
            content: self.content,
            revision: self.revision,
            subject: self.subject,
            author: self.author,
            images: self.images,
            created_at: self.created_at,
            outcome: self.outcome,
            stable_at: self.stable_at,
            snapshot,
        }
    }
}
