//! The journal and the inventory that it proves, in the store.

use rusqlite::{Row, Transaction, params};
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;

use crate::clock::Timestamp;
use crate::journal::{Ending, EntryId, Fact, Intent, Journal, JournalError, Ledger};
use crate::live::world::{ContainerId, Inventory};
use crate::names::{AppKey, AppName, Digest, Kind, ObjectKey, ResourceKey, RunId, ServiceName, SourceId};

use super::error::StoreError;
use super::store::{Store, from_json, limited, to_json};
use super::{Entry, KEPT_ENTRIES};

const CONTAINER: &str = "container";
const NETWORK: &str = "network";
const VOLUME: &str = "volume";
const JOB: &str = "job";
const OBJECT: &str = "object";

impl Journal for Store {
    fn intend(&self, intent: &Intent) -> Result<EntryId, JournalError> {
        let id = self.change(|transaction| {
            let app = self.app(transaction, &intent.key)?;
            transaction
                .prepare_cached(
                    "INSERT INTO journal (app, run, kind, name, op, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )
                .and_then(|mut insert| {
                    insert.execute(params![
                        app,
                        intent.run.as_str(),
                        intent.resource.kind.to_string(),
                        &*intent.resource.name,
                        intent.op,
                        intent.at.to_string(),
                    ])
                })
                .map_err(|error| self.sql(error))?;
            let id = transaction.last_insert_rowid();
            // Every hundredth entry looks for old ones: cheap on the way, bounded in the end.
            if id % 100 == 0 {
                self.collect_entries(transaction, app)?;
            }
            Ok(id)
        })?;
        Ok(EntryId(id))
    }

    fn complete(&self, entry: EntryId, ending: &Ending, at: Timestamp) -> Result<(), JournalError> {
        let (word, detail) = match ending {
            Ending::Done { id } => ("done", id.as_deref()),
            Ending::Refused { error } => ("refused", Some(error.as_str())),
            Ending::Unknown { error } => ("unknown", Some(error.as_str())),
        };
        self.change(|transaction| {
            transaction
                .prepare_cached("UPDATE journal SET ending = ?2, detail = ?3, ended = ?4 WHERE id = ?1")
                .and_then(|mut update| update.execute(params![entry.0, word, detail, at.to_string()]))
                .map_err(|error| self.sql(error))?;
            Ok(())
        })?;
        Ok(())
    }
}

impl Ledger for Store {
    fn note(&self, key: &AppKey, fact: Fact) -> Result<(), JournalError> {
        self.change(|transaction| {
            let app = self.app(transaction, key)?;
            match &fact {
                Fact::Own { id, container } => self.put(transaction, app, CONTAINER, &id.0, container)?,
                Fact::Disown { id } => self.remove(transaction, app, CONTAINER, &id.0)?,
                Fact::OwnNetwork { name, spec } => self.put(transaction, app, NETWORK, name, spec)?,
                Fact::DisownNetwork { name } => self.remove(transaction, app, NETWORK, name)?,
                Fact::OwnVolume { name, spec } => self.put(transaction, app, VOLUME, name, spec)?,
                Fact::DisownVolume { name } => self.remove(transaction, app, VOLUME, name)?,
                Fact::OwnObject { key, object } => {
                    self.put(transaction, app, OBJECT, &object_name(key)?, object)?
                }
                Fact::DisownObject { key } => self.remove(transaction, app, OBJECT, &object_name(key)?)?,
                Fact::JobDone { service, done } => self.put(transaction, app, JOB, service.as_str(), done)?,
            }
            transaction
                .execute(
                    "UPDATE apps SET inventory = 1 WHERE id = ?1 AND inventory = 0",
                    [app],
                )
                .map_err(|error| self.sql(error))?;
            Ok(())
        })?;
        Ok(())
    }
}

impl Store {
    fn collect_entries(&self, transaction: &Transaction<'_>, app: i64) -> Result<(), StoreError> {
        transaction
            .execute(
                "DELETE FROM journal WHERE app = ?1 AND ending IS NOT NULL AND id <=
                    (SELECT id FROM journal WHERE app = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                params![app, limited(KEPT_ENTRIES)],
            )
            .map_err(|error| self.sql(error))?;
        Ok(())
    }

    /// `filter` is one of our own texts.
    pub(super) fn read_entries(
        &self,
        key: &AppKey,
        filter: &'static str,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.read(|transaction| {
            let Some(app) = self.find_app(transaction, key)? else {
                return Ok(Vec::new());
            };
            let text = format!("SELECT * FROM journal WHERE app = ?1 AND {filter} LIMIT ?2");
            self.rows(transaction, &text, params![app, limited(limit)], |row| {
                self.read_entry(row, key)
            })
        })
    }

    fn read_entry(&self, row: &Row<'_>, key: &AppKey) -> Result<Entry, StoreError> {
        let run: String = self.column(row, "run")?;
        let kind: String = self.column(row, "kind")?;
        let name: String = self.column(row, "name")?;
        let ending: Option<String> = self.column(row, "ending")?;
        let detail: Option<String> = self.column(row, "detail")?;
        let ending = match ending.as_deref() {
            None => None,
            Some("done") => Some(Ending::Done { id: detail }),
            Some("refused") => Some(Ending::Refused {
                error: detail.unwrap_or_default(),
            }),
            // A word of a newer version is, to us, an end that we don't know.
            Some(_) => Some(Ending::Unknown {
                error: detail.unwrap_or_default(),
            }),
        };
        let ended = self.optional_time(row, "ended")?;
        let intent = Intent {
            run: RunId::read_back(&run),
            key: key.clone(),
            resource: ResourceKey::new(kind_of(&kind)?, name),
            op: self.column(row, "op")?,
            at: self.time(row, "at")?,
        };
        let at = ended.unwrap_or(intent.at);
        Ok(Entry {
            id: EntryId(self.column(row, "id")?),
            intent,
            ending: ending.map(|ending| (ending, at)),
        })
    }

    fn put<T: serde::Serialize>(
        &self,
        transaction: &Transaction<'_>,
        app: i64,
        kind: &str,
        name: &str,
        value: &T,
    ) -> Result<(), StoreError> {
        let text = to_json(value, "a fact of the inventory")?;
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO inventory (app, kind, name, value) VALUES (?1, ?2, ?3, ?4)",
            )
            .and_then(|mut insert| insert.execute(params![app, kind, name, text]))
            .map_err(|error| self.sql(error))?;
        Ok(())
    }

    fn remove(
        &self,
        transaction: &Transaction<'_>,
        app: i64,
        kind: &str,
        name: &str,
    ) -> Result<(), StoreError> {
        transaction
            .prepare_cached("DELETE FROM inventory WHERE app = ?1 AND kind = ?2 AND name = ?3")
            .and_then(|mut delete| delete.execute(params![app, kind, name]))
            .map_err(|error| self.sql(error))?;
        Ok(())
    }

    pub(super) fn read_inventory(&self, key: &AppKey) -> Result<Inventory, StoreError> {
        const WHAT: &str = "a fact of the inventory";
        self.read(|transaction| {
            let mut inventory = Inventory {
                rebuilt: true,
                ..Inventory::default()
            };
            let Some(app) = self.find_app(transaction, key)? else {
                return Ok(inventory);
            };
            let known: i64 = transaction
                .query_row("SELECT inventory FROM apps WHERE id = ?1", [app], |row| {
                    row.get(0)
                })
                .map_err(|error| self.sql(error))?;
            inventory.rebuilt = known != 1;
            let facts = self.rows(
                transaction,
                "SELECT kind, name, value FROM inventory WHERE app = ?1",
                [app],
                |row| -> Result<(String, String, String), StoreError> {
                    Ok((
                        self.column(row, "kind")?,
                        self.column(row, "name")?,
                        self.column(row, "value")?,
                    ))
                },
            )?;
            for (kind, name, value) in facts {
                match kind.as_str() {
                    CONTAINER => {
                        inventory
                            .containers
                            .insert(ContainerId(name.into()), from_json(&value, WHAT)?);
                    }
                    NETWORK => {
                        inventory
                            .networks
                            .insert(name, from_json::<Digest>(&value, WHAT)?);
                    }
                    VOLUME => {
                        inventory.volumes.insert(name, from_json::<Digest>(&value, WHAT)?);
                    }
                    JOB => {
                        let service = ServiceName::try_from(name)
                            .map_err(|error| StoreError::unreadable(WHAT, error))?;
                        inventory.jobs.insert(service, from_json(&value, WHAT)?);
                    }
                    OBJECT => {
                        inventory
                            .objects
                            .insert(from_json(&name, WHAT)?, from_json(&value, WHAT)?);
                    }
                    // A kind of a newer minor version: not ours to delete or to read.
                    _ => {}
                }
            }
            Ok(inventory)
        })
    }

    pub(super) fn read_object_owners(
        &self,
        source: &SourceId,
    ) -> Result<Vec<(AppName, ObjectKey)>, StoreError> {
        self.read(|transaction| {
            self.rows(
                transaction,
                "SELECT apps.app AS app, inventory.name AS name FROM inventory JOIN apps ON apps.id = inventory.app
                    WHERE inventory.kind = ?1 AND apps.source = ?2",
                params![OBJECT, source.as_str()],
                |row| {
                    let app: String = self.column(row, "app")?;
                    let name: String = self.column(row, "name")?;
                    let app = app
                        .try_into()
                        .map_err(|error| StoreError::unreadable("an app's name", error))?;
                    Ok((app, from_json(&name, "the key of an object")?))
                },
            )
        })
    }

    pub(super) fn replace_inventory(&self, key: &AppKey, inventory: &Inventory) -> Result<(), StoreError> {
        self.change(|transaction| {
            let app = self.app(transaction, key)?;
            transaction
                .execute(
                    "DELETE FROM inventory WHERE app = ?1 AND kind IN (?2, ?3, ?4, ?5, ?6)",
                    params![app, CONTAINER, NETWORK, VOLUME, JOB, OBJECT],
                )
                .map_err(|error| self.sql(error))?;
            for (id, container) in &inventory.containers {
                self.put(transaction, app, CONTAINER, &id.0, container)?;
            }
            for (name, spec) in &inventory.networks {
                self.put(transaction, app, NETWORK, name, spec)?;
            }
            for (name, spec) in &inventory.volumes {
                self.put(transaction, app, VOLUME, name, spec)?;
            }
            for (key, object) in &inventory.objects {
                self.put(transaction, app, OBJECT, &object_name(key)?, object)?;
            }
            for (service, done) in &inventory.jobs {
                self.put(transaction, app, JOB, service.as_str(), done)?;
            }
            transaction
                .execute(
                    "UPDATE apps SET inventory = ?2 WHERE id = ?1",
                    params![app, if inventory.rebuilt { 2 } else { 1 }],
                )
                .map_err(|error| self.sql(error))?;
            Ok(())
        })
    }
}

/// An object's key as the name of its row.
fn object_name(key: &ObjectKey) -> Result<String, StoreError> {
    to_json(key, "the key of an object")
}

fn kind_of(word: &str) -> Result<Kind, StoreError> {
    let text: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = word.into_deserializer();
    Kind::deserialize(text).map_err(|error| StoreError::unreadable("a kind of resource", error))
}
