//! Git against applied: which fields of a service a commit changes.
//!
//! In: a service as an earlier release had it and as this one has it. Out: [`FieldDiff`]s with manifest paths and places.
//! Guaranteed: text that is secret stays marked; equal services have no difference. Must not: look at live state.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::plan::{FieldDiff, Moved};
use crate::render::Places;
use crate::render::model::{Content, Mount, MountSource, Port, Project, Restart, Service};
use crate::secret::Text;

use super::limits::shown;

/// Every field in which `after` differs from `before`, sorted by field.
pub(crate) fn between(
    name: &str,
    (old_project, before): (&Project, &Service),
    (new_project, after): (&Project, &Service),
    places: &Places,
) -> Vec<FieldDiff> {
    let old = leaves(old_project, before);
    let new = leaves(new_project, after);
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| FieldDiff {
            field: key.clone(),
            from: old.get(key).cloned(),
            to: new.get(key).cloned(),
            moved: Moved::Git,
            place: places.find(&format!("services.{name}.{key}")).cloned(),
            by: None,
        })
        .collect()
}

/// Fields whose change needs no new container and is only recorded.
pub(crate) fn recorded_only(field: &str) -> bool {
    let head = field.split('.').next().unwrap_or(field);
    matches!(
        head,
        "depends_on" | "replicas" | "update" | "pull_policy" | "job" | "state"
    )
}

/// All fields of a service as text, by manifest path.
fn leaves(project: &Project, service: &Service) -> BTreeMap<String, Text> {
    let mut leaves = BTreeMap::new();
    // Serialising a plain data structure to JSON does not fail.
    let Ok(Value::Object(map)) = serde_json::to_value(service) else {
        return leaves;
    };
    for (field, value) in map {
        match field.as_str() {
            "ports" => put(
                &mut leaves,
                &field,
                list(service.ports.iter().map(Port::to_string)),
            ),
            "volumes" => {
                for (target, mount) in &service.volumes {
                    put(
                        &mut leaves,
                        &format!("volumes.{target}"),
                        mount_text(project, mount),
                    );
                }
            }
            "restart" => put(
                &mut leaves,
                &field,
                service
                    .restart
                    .as_ref()
                    .map(Restart::to_string)
                    .unwrap_or_default(),
            ),
            "configs" | "secrets" => {
                let (injected, contents) = match field.as_str() {
                    "configs" => (&service.configs, &project.configs),
                    _ => (&service.secrets, &project.secrets),
                };
                for (path, entry) in injected {
                    let text = contents
                        .get(&entry.source)
                        .map_or_else(Text::default, |content| fingerprint(&entry.source, content));
                    leaves.insert(format!("{field}.{path}"), text);
                    let rights = [("uid", entry.uid), ("gid", entry.gid), ("mode", entry.mode)];
                    for (name, value) in rights {
                        if let Some(value) = value {
                            put(&mut leaves, &format!("{field}.{path}.{name}"), value.to_string());
                        }
                    }
                }
            }
            _ => flatten(&field, &value, &mut leaves),
        }
    }
    leaves
}

fn put(leaves: &mut BTreeMap<String, Text>, field: &str, value: String) {
    leaves.insert(field.to_owned(), Text::plain(value));
}

fn list(entries: impl Iterator<Item = String>) -> String {
    entries.collect::<Vec<_>>().join(", ")
}

/// Content is shown by its hash, and a secret's not at all: the hash of a short secret gives it away.
fn fingerprint(source: &str, content: &Content) -> Text {
    use sha2::{Digest as _, Sha256};
    let hash = hex::encode(Sha256::digest(&content.bytes));
    let text = format!("{source}@{}", hash.get(..7).unwrap_or_default());
    if content.secret {
        Text::secret(hash)
    } else {
        Text::plain(text)
    }
}

fn mount_text(project: &Project, mount: &Mount) -> String {
    let mut text = match &mount.source {
        MountSource::Volume(key) => format!("volume {key}"),
        MountSource::Anonymous => "anonymous volume".to_owned(),
        MountSource::Host(path) => path.clone(),
        MountSource::Tracked(hash) => {
            let path = project.trees.get(hash).map_or("", |tree| tree.path.as_str());
            let digits = hash.rsplit(':').next().unwrap_or(hash);
            format!("{path}@{}", digits.get(..7).unwrap_or(digits))
        }
        MountSource::Data(path) => format!("./{}", path.trim_start_matches("./")),
        MountSource::Tmpfs { .. } => "tmpfs".to_owned(),
    };
    let MountSource::Tmpfs { size, mode } = &mount.source else {
        let options = [
            mount.read_only.then(|| "read-only".to_owned()),
            mount.propagation.clone(),
            mount.selinux.clone(),
            mount.nocopy.then(|| "nocopy".to_owned()),
            mount.subpath.as_ref().map(|path| format!("subpath {path}")),
        ];
        let options: Vec<String> = options.into_iter().flatten().collect();
        if !options.is_empty() {
            text.push_str(&format!(" ({})", options.join(", ")));
        }
        return text;
    };
    for part in [
        size.map(|size| format!(" size {size}")),
        mode.map(|mode| format!(" mode {mode:o}")),
    ]
    .into_iter()
    .flatten()
    {
        text.push_str(&part);
    }
    text
}

fn flatten(path: &str, value: &Value, leaves: &mut BTreeMap<String, Text>) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            if let Some(text) = text_leaf(value) {
                leaves.insert(path.to_owned(), text);
                return;
            }
            if map.is_empty() {
                put(leaves, path, String::new());
            }
            for (key, value) in map {
                flatten(&format!("{path}.{key}"), value, leaves);
            }
        }
        Value::Array(entries) => {
            let mut secret = false;
            let words: Vec<String> = entries
                .iter()
                .map(|entry| match text_leaf(entry) {
                    Some(text) => {
                        secret |= text.secret;
                        text.value
                    }
                    None => scalar(path, entry),
                })
                .collect();
            let value = words.join(" ");
            leaves.insert(
                path.to_owned(),
                Text {
                    value: if words.is_empty() { "[]".to_owned() } else { value },
                    secret,
                },
            );
        }
        scalar_value => put(leaves, path, scalar(path, scalar_value)),
    }
}

/// A serialised [`Text`], if it is one.
fn text_leaf(value: &Value) -> Option<Text> {
    let map = value.as_object()?;
    let known = map.keys().all(|key| key == "value" || key == "secret");
    let text = map.get("value")?.as_str()?;
    let secret = map.get("secret").and_then(Value::as_bool).unwrap_or(false);
    known.then(|| Text {
        value: text.to_owned(),
        secret,
    })
}

fn scalar(path: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_i64() {
            Some(number)
                if path.starts_with("healthcheck.")
                    || path == "stop_grace_period"
                    || path == "update.monitor" =>
            {
                duration_or_number(path.rsplit('.').next().unwrap_or(path), number)
            }
            Some(_) if path.starts_with("resources.") || path == "shm_size" => shown(path, value),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// A duration in nanoseconds for people; `retries` is a plain number.
pub(crate) fn duration_or_number(name: &str, value: i64) -> String {
    if name == "retries" {
        return value.to_string();
    }
    if value % 1_000_000_000 != 0 {
        return format!("{}ms", value / 1_000_000);
    }
    let seconds = value / 1_000_000_000;
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let text: String = parts
        .iter()
        .filter(|(number, _)| *number != 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}
