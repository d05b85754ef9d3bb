//! The store: one SQLite file, one owner.
//!
//! In: a state folder. Out: [`Store`], the one implementation of [`History`]. Guaranteed: see [`super`]. Must not: be held
//! over an await while in a query; every method is one short transaction.

use std::fs::DirBuilder;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde::de::DeserializeOwned;

use crate::clock::Timestamp;
use crate::journal::{EntryId, Intent};
use crate::live::world::Inventory;
use crate::names::{AppKey, AppName, Digest, ObjectKey, ProjectName, Revision, RunId, SourceId, TargetId};
use crate::release::{Outcome, Record};

use super::error::StoreError;
use super::lock::{Lock, Owner};
use super::schema;
use super::seal::{KEY_FILE, Sealer};
use super::{AppEntry, AppState, Entry, History, Hold, KEPT_RUNS, RunRow, Summary, Write};

/// Where a store is, and who asks.
#[derive(Debug, Clone)]
pub struct Opening {
    pub folder: PathBuf,
    /// Default: `state.key` in the folder.
    pub key_file: Option<PathBuf>,
    /// The verb, for those who find the folder locked.
    pub command: String,
    pub now: Timestamp,
}

/// A state folder's database. See [`History`].
#[derive(Debug)]
pub struct Store {
    pub(super) path: PathBuf,
    pub(super) sealer: Sealer,
    connection: Mutex<Connection>,
    is_new: bool,
    /// `None`: a reader. Declared last: the database is closed before the lock goes.
    lock: Option<Lock>,
}

impl Store {
    /// Opens the store as its owner, making folder and database where there are none.
    pub fn open(opening: &Opening) -> Result<Self, StoreError> {
        let folder = &opening.folder;
        create_folder(folder).map_err(StoreError::io("create the state folder", folder))?;
        let owner = Owner {
            pid: std::process::id(),
            command: opening.command.clone(),
            since: opening.now,
        };
        let lock = Lock::acquire(folder, &owner)?;
        let (connection, is_new) = schema::open(folder)?;
        Ok(Self::with(opening, connection, is_new, Some(lock)))
    }

    /// Opens it for reading, whether or not an owner is at work beside. `None`: there is no store.
    pub fn beside(opening: &Opening) -> Result<Option<Self>, StoreError> {
        let connection = schema::open_reader(&opening.folder)?;
        Ok(connection.map(|connection| Self::with(opening, connection, false, None)))
    }

    fn with(opening: &Opening, connection: Connection, is_new: bool, lock: Option<Lock>) -> Self {
        let key = opening
            .key_file
            .clone()
            .unwrap_or_else(|| opening.folder.join(KEY_FILE));
        Self {
            path: opening.folder.join(schema::DATABASE),
            sealer: Sealer::new(key),
            connection: Mutex::new(connection),
            is_new,
            lock,
        }
    }

    /// Whether this one may write.
    pub fn is_owner(&self) -> bool {
        self.lock.is_some()
    }

    /// The connection. A panic in another thread leaves at worst a rolled-back transaction, so poison is no news.
    pub(super) fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sql(&self, error: rusqlite::Error) -> StoreError {
        StoreError::sql(&self.path, error)
    }

    /// One reading transaction, so that several queries see one moment.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction().map_err(|error| self.sql(error))?;
        work(&transaction)
    }

    /// One writing transaction: all of `work` or nothing, on disk when this returns.
    pub(super) fn change<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.lock.is_none() {
            return Err(StoreError::Reader);
        }
        let mut connection = self.connection();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| self.sql(error))?;
        let value = work(&transaction)?;
        transaction.commit().map_err(|error| self.sql(error))?;
        Ok(value)
    }

    /// The row id of an app, if it is known.
    pub(super) fn find_app(
        &self,
        transaction: &Transaction<'_>,
        key: &AppKey,
    ) -> Result<Option<i64>, StoreError> {
        transaction
            .prepare_cached("SELECT id FROM apps WHERE source = ?1 AND app = ?2")
            .and_then(|mut query| {
                query
                    .query_row(params![key.source.as_str(), key.app.as_str()], |row| row.get(0))
                    .optional()
            })
            .map_err(|error| self.sql(error))
    }

    /// The row id of an app, which is made known.
    pub(super) fn app(&self, transaction: &Transaction<'_>, key: &AppKey) -> Result<i64, StoreError> {
        if let Some(id) = self.find_app(transaction, key)? {
            return Ok(id);
        }
        transaction
            .execute(
                "INSERT INTO apps (source, app) VALUES (?1, ?2)",
                params![key.source.as_str(), key.app.as_str()],
            )
            .map_err(|error| self.sql(error))?;
        Ok(transaction.last_insert_rowid())
    }

    /// All rows of a query, each read by `read`.
    pub(super) fn rows<T>(
        &self,
        transaction: &Transaction<'_>,
        text: &str,
        values: impl rusqlite::Params,
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut query = transaction
            .prepare_cached(text)
            .map_err(|error| self.sql(error))?;
        let mut rows = query.query(values).map_err(|error| self.sql(error))?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().map_err(|error| self.sql(error))? {
            all.push(read(row)?);
        }
        Ok(all)
    }

    /// One column of a row.
    pub(super) fn column<T: rusqlite::types::FromSql>(
        &self,
        row: &Row<'_>,
        name: &'static str,
    ) -> Result<T, StoreError> {
        row.get(name).map_err(|error| self.sql(error))
    }

    pub(super) fn time(&self, row: &Row<'_>, name: &'static str) -> Result<Timestamp, StoreError> {
        let text: String = self.column(row, name)?;
        text.parse()
            .map_err(|error: jiff::Error| StoreError::unreadable("a time", error))
    }

    pub(super) fn optional_time(
        &self,
        row: &Row<'_>,
        name: &'static str,
    ) -> Result<Option<Timestamp>, StoreError> {
        let text: Option<String> = self.column(row, name)?;
        text.map(|text| {
            text.parse()
                .map_err(|error: jiff::Error| StoreError::unreadable("a time", error))
        })
        .transpose()
    }

    pub(super) fn json<T: DeserializeOwned>(
        &self,
        row: &Row<'_>,
        name: &'static str,
        what: &'static str,
    ) -> Result<T, StoreError> {
        let text: String = self.column(row, name)?;
        from_json(&text, what)
    }

    fn read_run(&self, row: &Row<'_>, key: AppKey) -> Result<RunRow, StoreError> {
        let id: String = self.column(row, "id")?;
        let revision: Option<String> = self.column(row, "revision")?;
        let release: Option<i64> = self.column(row, "release")?;
        Ok(RunRow {
            id: RunId::read_back(&id),
            key,
            trigger: self.column(row, "trigger")?,
            started: self.time(row, "started")?,
            ended: self.optional_time(row, "ended")?,
            revision: revision
                .map(|raw| {
                    Revision::try_from(raw).map_err(|error| StoreError::unreadable("a commit id", error))
                })
                .transpose()?,
            release: release.map(number),
            report: self.json(row, "report", "a report")?,
            exit_code: self.column(row, "exit_code")?,
        })
    }

    fn read_key(&self, row: &Row<'_>) -> Result<AppKey, StoreError> {
        let source: String = self.column(row, "source")?;
        let app: String = self.column(row, "app")?;
        let unreadable = |error| StoreError::unreadable("an app's name", error);
        Ok(AppKey {
            source: source.try_into().map_err(unreadable)?,
            app: app.try_into().map_err(unreadable)?,
        })
    }
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str, what: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::unreadable(what, error))
}

pub(super) fn to_json<T: serde::Serialize>(value: &T, what: &'static str) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::unreadable(what, error))
}

/// Numbers are stored signed, as SQLite has them; none of ours is negative.
pub(super) fn number(raw: i64) -> u64 {
    raw.unsigned_abs()
}

pub(super) fn raw(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn limited(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn create_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

impl History for Store {
    fn is_new(&self) -> bool {
        self.is_new
    }

    fn write(&self, key: &AppKey, writes: &[Write]) -> Result<(), StoreError> {
        self.change(|transaction| {
            let app = self.app(transaction, key)?;
            for write in writes {
                match write {
                    Write::State(state) => {
                        let text = to_json(state, "an app's state")?;
                        transaction
                            .execute("UPDATE apps SET state = ?2 WHERE id = ?1", params![app, text])
                            .map_err(|error| self.sql(error))?;
                    }
                    Write::Outcome { number, outcome } => {
                        self.update_outcome(transaction, app, key, *number, outcome)?;
                    }
                    Write::Stable { number, at } => {
                        self.update_outcome(transaction, app, key, *number, &Outcome::Stable)?;
                        self.set_stable(transaction, app, *number, *at)?;
                    }
                    Write::Hold(hold) => {
                        let text = to_json(hold, "a hold")?;
                        transaction
                            .execute(
                                "INSERT OR REPLACE INTO holds (app, digest, hold) VALUES (?1, ?2, ?3)",
                                params![app, hold.digest.as_str(), text],
                            )
                            .map_err(|error| self.sql(error))?;
                    }
                    Write::Lift(digest) => {
                        transaction
                            .execute(
                                "DELETE FROM holds WHERE app = ?1 AND digest = ?2",
                                params![app, digest.as_str()],
                            )
                            .map_err(|error| self.sql(error))?;
                    }
                }
            }
            Ok(())
        })
    }

    fn record_release(&self, record: &Record) -> Result<u64, StoreError> {
        self.insert_release(record)
    }

    fn release(&self, key: &AppKey, number: u64) -> Result<Option<Record>, StoreError> {
        self.read_release(key, number)
    }

    fn summary(&self, key: &AppKey, number: u64) -> Result<Option<Summary>, StoreError> {
        self.read_summaries(key, "number = ?2", Some(&raw(number)), 1)
            .map(|found| found.into_iter().next())
    }

    fn release_by_digest(&self, key: &AppKey, digest: &Digest) -> Result<Option<Summary>, StoreError> {
        self.read_summaries(key, "digest = ?2", Some(&digest.as_str()), 1)
            .map(|found| found.into_iter().next())
    }

    fn release_by_commit(&self, key: &AppKey, revision: &Revision) -> Result<Option<Summary>, StoreError> {
        self.read_summaries(key, "revision = ?2", Some(&revision.as_str()), 1)
            .map(|found| found.into_iter().next())
    }

    fn releases(&self, key: &AppKey, limit: usize) -> Result<Vec<Summary>, StoreError> {
        self.read_summaries(key, "?2 IS NULL", None, limit)
    }

    fn newest_stable_summary(&self, key: &AppKey) -> Result<Option<Summary>, StoreError> {
        self.read_summaries(key, "?2 IS NULL AND stable_at IS NOT NULL", None, 1)
            .map(|found| found.into_iter().next())
    }

    fn holds(&self, key: &AppKey) -> Result<Vec<Hold>, StoreError> {
        self.read(|transaction| {
            let Some(app) = self.find_app(transaction, key)? else {
                return Ok(Vec::new());
            };
            let mut holds: Vec<Hold> = self.rows(
                transaction,
                "SELECT hold FROM holds WHERE app = ?1",
                [app],
                |row| self.json(row, "hold", "a hold"),
            )?;
            holds.sort_by(|a, b| (a.since, &a.digest).cmp(&(b.since, &b.digest)));
            Ok(holds)
        })
    }

    fn state(&self, key: &AppKey) -> Result<AppState, StoreError> {
        self.read(|transaction| {
            let text: Option<Option<String>> = transaction
                .query_row(
                    "SELECT state FROM apps WHERE source = ?1 AND app = ?2",
                    params![key.source.as_str(), key.app.as_str()],
                    |row| row.get(0),
                )
                .optional()
                .map_err(|error| self.sql(error))?;
            text.flatten().map_or_else(
                || Ok(AppState::default()),
                |text| from_json(&text, "an app's state"),
            )
        })
    }

    fn record_run(&self, run: &RunRow) -> Result<(), StoreError> {
        let report = to_json(&run.report, "a report")?;
        self.change(|transaction| {
            let app = self.app(transaction, &run.key)?;
            transaction
                .execute(
                    "INSERT INTO runs (app, id, trigger, started, ended, revision, release, report, exit_code)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                     ON CONFLICT (app, id) DO UPDATE SET trigger = excluded.trigger, started = excluded.started,
                        ended = excluded.ended, revision = excluded.revision, release = excluded.release,
                        report = excluded.report, exit_code = excluded.exit_code",
                    params![
                        app,
                        run.id.as_str(),
                        run.trigger,
                        run.started.to_string(),
                        run.ended.map(|at| at.to_string()),
                        run.revision.as_ref().map(Revision::as_str),
                        run.release.map(raw),
                        report,
                        run.exit_code,
                    ],
                )
                .and_then(|_| {
                    transaction.execute(
                        "DELETE FROM runs WHERE app = ?1 AND seq <=
                            (SELECT seq FROM runs WHERE app = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
                        params![app, limited(KEPT_RUNS)],
                    )
                })
                .map_err(|error| self.sql(error))?;
            Ok(())
        })
    }

    fn runs(&self, key: &AppKey, limit: usize) -> Result<Vec<RunRow>, StoreError> {
        self.read(|transaction| {
            let Some(app) = self.find_app(transaction, key)? else {
                return Ok(Vec::new());
            };
            self.rows(
                transaction,
                "SELECT * FROM runs WHERE app = ?1 ORDER BY seq DESC LIMIT ?2",
                params![app, limited(limit)],
                |row| self.read_run(row, key.clone()),
            )
        })
    }

    fn latest_runs(&self) -> Result<Vec<RunRow>, StoreError> {
        self.read(|transaction| {
            self.rows(
                transaction,
                "SELECT runs.*, apps.source AS source, apps.app AS app_name FROM runs JOIN apps ON apps.id = runs.app
                 WHERE seq = (SELECT max(seq) FROM runs AS newer WHERE newer.app = runs.app)
                 ORDER BY apps.source, apps.app",
                [],
                |row| {
                    let source: String = self.column(row, "source")?;
                    let app: String = self.column(row, "app_name")?;
                    let unreadable = |error| StoreError::unreadable("an app's name", error);
                    let key = AppKey {
                        source: source.try_into().map_err(unreadable)?,
                        app: app.try_into().map_err(unreadable)?,
                    };
                    self.read_run(row, key)
                },
            )
        })
    }

    fn unfinished(&self, key: &AppKey) -> Result<Vec<(EntryId, Intent)>, StoreError> {
        let entries = self.read_entries(key, "ending IS NULL ORDER BY id ASC", usize::MAX)?;
        Ok(entries
            .into_iter()
            .map(|entry| (entry.id, entry.intent))
            .collect())
    }

    fn journal(&self, key: &AppKey, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.read_entries(key, "TRUE ORDER BY id DESC", limit)
    }

    fn inventory(&self, key: &AppKey) -> Result<Inventory, StoreError> {
        self.read_inventory(key)
    }

    fn object_owners(&self, source: &SourceId) -> Result<Vec<(AppName, ObjectKey)>, StoreError> {
        self.read_object_owners(source)
    }

    fn put_inventory(&self, key: &AppKey, inventory: &Inventory) -> Result<(), StoreError> {
        self.replace_inventory(key, inventory)
    }

    fn apps(&self) -> Result<Vec<AppEntry>, StoreError> {
        self.read(|transaction| {
            self.rows(
                transaction,
                "SELECT source, app, target, project FROM apps ORDER BY source, app",
                [],
                |row| {
                    let target: Option<String> = self.column(row, "target")?;
                    let project: Option<String> = self.column(row, "project")?;
                    let unreadable = |error| StoreError::unreadable("an app's claim", error);
                    Ok(AppEntry {
                        key: self.read_key(row)?,
                        target: target.map(TargetId::try_from).transpose().map_err(unreadable)?,
                        project: project
                            .map(ProjectName::try_from)
                            .transpose()
                            .map_err(unreadable)?,
                    })
                },
            )
        })
    }

    fn claim(&self, key: &AppKey, target: &TargetId, project: &ProjectName) -> Result<(), StoreError> {
        self.change(|transaction| {
            let app = self.app(transaction, key)?;
            let claimed = self.rows(
                transaction,
                "SELECT source, app FROM apps WHERE target = ?1 AND project = ?2 AND id <> ?3",
                params![target.as_str(), project.as_str(), app],
                |row| self.read_key(row),
            )?;
            if let Some(by) = claimed.into_iter().next() {
                return Err(StoreError::ProjectClaimed {
                    project: project.clone(),
                    by,
                });
            }
            transaction
                .execute(
                    "UPDATE apps SET target = ?2, project = ?3 WHERE id = ?1",
                    params![app, target.as_str(), project.as_str()],
                )
                .map_err(|error| self.sql(error))?;
            Ok(())
        })
    }

    fn unclaim(&self, key: &AppKey) -> Result<(), StoreError> {
        self.change(|transaction| {
            transaction
                .execute(
                    "UPDATE apps SET target = NULL, project = NULL WHERE source = ?1 AND app = ?2",
                    params![key.source.as_str(), key.app.as_str()],
                )
                .map_err(|error| self.sql(error))?;
            Ok(())
        })
    }

    fn forget(&self, key: &AppKey) -> Result<(), StoreError> {
        self.change(|transaction| {
            transaction
                .execute(
                    "DELETE FROM apps WHERE source = ?1 AND app = ?2",
                    params![key.source.as_str(), key.app.as_str()],
                )
                .map_err(|error| self.sql(error))?;
            Ok(())
        })
    }
}
