//! The database file: made, checked, migrated.
//!
//! In: a path. Out: a connection to a store of a known schema. Guaranteed: forward migrations in one transaction each; a
//! newer *major* is refused untouched, a newer minor is used as it is (a major version only ever gains tables and
//! columns); what exists but is no store of ours is an error, never an empty store. Must not: know what the rows mean.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::StoreError;
use super::lock::private;

/// The database's name in the state folder.
pub const DATABASE: &str = "state.db";

/// `DRFT`, in the header of the file.
const APPLICATION: i32 = 0x4452_4654;

/// A schema version, kept in `PRAGMA user_version` as `major × 1000 + minor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: i32,
    pub minor: i32,
}

impl Version {
    /// What this program writes.
    pub const KNOWN: Version = Version {
        major: 1,
        minor: MIGRATIONS.len() as i32 - 1,
    };

    fn from_raw(raw: i32) -> Self {
        Self {
            major: raw / 1000,
            minor: raw % 1000,
        }
    }

    fn raw(self) -> i32 {
        self.major * 1000 + self.minor
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Schema 1, by minor version. Add to the end; never change what was released.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE apps (
        id INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        app TEXT NOT NULL,
        target TEXT,
        project TEXT,
        -- 0: not known to this store; 1: known; 2: rebuilt from labels
        inventory INTEGER NOT NULL DEFAULT 0,
        state TEXT,
        UNIQUE (source, app)
    ) STRICT;
    CREATE UNIQUE INDEX apps_project ON apps (target, project) WHERE target IS NOT NULL AND project IS NOT NULL;

    CREATE TABLE releases (
        app INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        digest TEXT NOT NULL,
        content TEXT NOT NULL,
        revision TEXT NOT NULL,
        subject TEXT NOT NULL,
        author TEXT NOT NULL,
        images TEXT NOT NULL,
        created_at TEXT NOT NULL,
        outcome TEXT NOT NULL,
        stable_at TEXT,
        key_id TEXT NOT NULL,
        snapshot BLOB NOT NULL,
        PRIMARY KEY (app, number)
    ) STRICT;
    CREATE INDEX releases_digest ON releases (app, digest);
    CREATE INDEX releases_revision ON releases (app, revision);

    -- Numbers are never used twice, also when the newest release was collected.
    CREATE TABLE numbers (app INTEGER PRIMARY KEY REFERENCES apps (id) ON DELETE CASCADE, last INTEGER NOT NULL) STRICT;

    CREATE TABLE holds (
        app INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
        digest TEXT NOT NULL,
        hold TEXT NOT NULL,
        PRIMARY KEY (app, digest)
    ) STRICT;

    CREATE TABLE runs (
        seq INTEGER PRIMARY KEY,
        app INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
        id TEXT NOT NULL,
        trigger TEXT NOT NULL,
        started TEXT NOT NULL,
        ended TEXT,
        revision TEXT,
        release INTEGER,
        report TEXT NOT NULL,
        exit_code INTEGER NOT NULL,
        UNIQUE (app, id)
    ) STRICT;

    CREATE TABLE journal (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        app INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
        run TEXT NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        op TEXT NOT NULL,
        at TEXT NOT NULL,
        ending TEXT,
        detail TEXT,
        ended TEXT
    ) STRICT;
    CREATE INDEX journal_app ON journal (app, id);
    CREATE INDEX journal_unfinished ON journal (app) WHERE ending IS NULL;

    CREATE TABLE inventory (
        app INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (app, kind, name)
    ) STRICT, WITHOUT ROWID;
"];

/// Opens the owner's connection, making the database when there is none. `true`: it was made.
pub(super) fn open(folder: &Path) -> Result<(Connection, bool), StoreError> {
    let path = folder.join(DATABASE);
    let exists = path
        .try_exists()
        .map_err(StoreError::io("look for the store", &path))?;
    if !exists {
        create(folder, &path)?;
    }
    let mut connection = connect(
        &path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    let found = identify(&connection, &path)?;
    check(&connection, &path)?;
    let sql = |error| StoreError::sql(&path, error);
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(sql)?;
    connection
        .pragma_update(None, "foreign_keys", true)
        .map_err(sql)?;
    migrate(&mut connection, found).map_err(sql)?;
    Ok((connection, !exists))
}

/// Opens a reader's connection. `None`: there is no store.
pub(super) fn open_reader(folder: &Path) -> Result<Option<Connection>, StoreError> {
    let path = folder.join(DATABASE);
    if !path
        .try_exists()
        .map_err(StoreError::io("look for the store", &path))?
    {
        return Ok(None);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = connect(&path, flags).and_then(|connection| Ok((identify(&connection, &path)?, connection)));
    let (found, connection) = match opened {
        Ok(opened) => opened,
        // A WAL database needs its index file beside it, also for reading; where none can be made (a read-only folder)
        // and nobody writes, the file is all there is. (With a log beside it, it is not: then this stays an error.)
        Err(error) if unopenable(&error) && super::lock::owner(folder).is_none() && !has_log(&path) => {
            let uri = format!("file:{}?immutable=1", uri_path(&path));
            let connection = connect(Path::new(&uri), flags | OpenFlags::SQLITE_OPEN_URI)?;
            (identify(&connection, &path)?, connection)
        }
        Err(error) => return Err(error),
    };
    if found < Version::KNOWN {
        return Err(StoreError::Outdated {
            path,
            found,
            known: Version::KNOWN,
        });
    }
    Ok(Some(connection))
}

fn has_log(path: &Path) -> bool {
    let log = PathBuf::from(format!("{}-wal", path.display()));
    std::fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

fn unopenable(error: &StoreError) -> bool {
    match error {
        StoreError::ReadOnly { .. } => true,
        StoreError::Sql { source, .. } => source.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen),
        _ => false,
    }
}

fn uri_path(path: &Path) -> String {
    path.to_string_lossy()
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23")
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let sql = |error| StoreError::sql(path, error);
    let connection = Connection::open_with_flags(path, flags).map_err(sql)?;
    // Readers never block the writer in WAL; this is for the moments of recovery and of a schema change.
    connection.busy_timeout(Duration::from_secs(5)).map_err(sql)?;
    Ok(connection)
}

/// Makes the database under another name and moves it into place whole, so that a half-made one is never met, and an
/// empty file with the store's name is damage, not a new store.
fn create(folder: &Path, path: &Path) -> Result<(), StoreError> {
    let fresh = folder.join(format!("{DATABASE}.new"));
    let leftovers = |of: &Path| {
        ["", "-wal", "-shm", "-journal"].map(|suffix| PathBuf::from(format!("{}{suffix}", of.display())))
    };
    // The log of a database that is gone would be replayed into the new one.
    for old in leftovers(&fresh).iter().chain(&leftovers(path)) {
        match std::fs::remove_file(old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", old)(error));
            }
            _ => {}
        }
    }
    private(OpenOptions::new().write(true).create_new(true))
        .open(&fresh)
        .map_err(StoreError::io("create the store", &fresh))?;
    let sql = |error| StoreError::sql(&fresh, error);
    let mut connection = connect(
        &fresh,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection
        .pragma_update(None, "application_id", APPLICATION)
        .map_err(sql)?;
    migrate(
        &mut connection,
        Version {
            major: Version::KNOWN.major,
            minor: -1,
        },
    )
    .map_err(sql)?;
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(sql)?;
    connection.close().map_err(|(_, error)| sql(error))?;
    File::open(&fresh)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(&fresh, path))
        .and_then(|()| sync_folder(path))
        .map_err(StoreError::io("create the store", path))
}

/// Makes the directory entry of `path` durable.
pub(super) fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if cfg!(unix) => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// Whether it is ours, and which version.
fn identify(connection: &Connection, path: &Path) -> Result<Version, StoreError> {
    let sql = |error| StoreError::sql(path, error);
    let application: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(sql)?;
    let raw: i32 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(sql)?;
    if application != APPLICATION || raw < 1000 {
        let detail = "it is not a Driftless store, or was emptied".to_owned();
        return Err(StoreError::Corrupt {
            path: path.to_owned(),
            detail,
        });
    }
    let found = Version::from_raw(raw);
    if found.major > Version::KNOWN.major {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: Version::KNOWN,
        });
    }
    Ok(found)
}

fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let answer: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| StoreError::sql(path, error))?;
    if answer == "ok" {
        return Ok(());
    }
    Err(StoreError::Corrupt {
        path: path.to_owned(),
        detail: answer.replace('\n', " "),
    })
}

/// Each minor version in its own transaction: a crash leaves the last whole one.
fn migrate(connection: &mut Connection, found: Version) -> Result<(), rusqlite::Error> {
    for (minor, text) in (0_i32..).zip(MIGRATIONS) {
        if minor <= found.minor {
            continue;
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(text)?;
        transaction.pragma_update(None, "user_version", Version { minor, ..found }.raw())?;
        transaction.commit()?;
    }
    Ok(())
}
