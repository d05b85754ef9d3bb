//! What a watch shows of our objects of one kind. Pure.
//!
//! In: lists and events. Out: whether an object is as we left it; which apps' objects moved. Guaranteed: only what we own of
//! an object counts: a status, or a field of another controller, moves nothing. Must not: keep an object (an identity, a
//! digest and the app's name are enough, and thousands fit), or decide what is done.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fields;
use super::op::MANAGER;
use super::ownership::APP;
use super::world::OwnedObject;
use crate::names::{Digest, ObjectKey};

/// One object, as far as it matters whether it is as we left it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sighting {
    uid: Box<str>,
    owned: Digest,
    deleting: bool,
    app: Box<str>,
}

type Name = (Option<Box<str>>, Box<str>);

/// All objects of one kind that bear our instance's mark.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    objects: BTreeMap<Name, Sighting>,
    filled: bool,
}

fn text<'v>(object: &'v Value, pointer: &str) -> Option<&'v str> {
    object.pointer(pointer).and_then(Value::as_str)
}

fn name_of(object: &Value) -> Option<Name> {
    let name = text(object, "/metadata/name")?;
    Some((
        text(object, "/metadata/namespace").map(Box::from),
        Box::from(name),
    ))
}

fn sighting(object: &Value) -> Sighting {
    let labels = object.pointer("/metadata/labels");
    let app = labels
        .and_then(|labels| labels.get(APP))
        .and_then(Value::as_str)
        .unwrap_or_default();
    Sighting {
        uid: text(object, "/metadata/uid").unwrap_or_default().into(),
        owned: fields::owned(object, MANAGER),
        deleting: text(object, "/metadata/deletionTimestamp").is_some(),
        app: app.into(),
    }
}

impl Shelf {
    /// A full list: the truth. Returns the apps of which it shows something else than the events before it did; the first
    /// list of all tells nobody anything.
    pub fn replace<'v>(&mut self, list: impl IntoIterator<Item = &'v Value>) -> BTreeSet<String> {
        let now: BTreeMap<Name, Sighting> = list
            .into_iter()
            .filter_map(|object| Some((name_of(object)?, sighting(object))))
            .collect();
        let before = std::mem::replace(&mut self.objects, now);
        if !std::mem::replace(&mut self.filled, true) {
            return BTreeSet::new();
        }
        let gone = before
            .iter()
            .filter(|(name, _)| !self.objects.contains_key(*name));
        let moved = self
            .objects
            .iter()
            .filter(|(name, seen)| before.get(*name) != Some(seen));
        gone.chain(moved).map(|(_, seen)| seen.app.to_string()).collect()
    }

    /// An event: the object is like this now. Returns its app when that is news.
    pub fn put(&mut self, object: &Value) -> Option<String> {
        let seen = sighting(object);
        let app = seen.app.to_string();
        let before = self.objects.insert(name_of(object)?, seen.clone());
        (before.as_ref() != Some(&seen)).then_some(app)
    }

    /// An event: the object is gone, or bears our mark no longer.
    pub fn remove(&mut self, object: &Value) -> Option<String> {
        let before = self.objects.remove(&name_of(object)?)?;
        Some(before.app.to_string())
    }

    /// Whether an object is what our last apply made of it. One that is done and gone is.
    pub fn as_left(&self, key: &ObjectKey, owned: &OwnedObject) -> bool {
        let name = (key.namespace.as_deref().map(Box::from), Box::from(&*key.name));
        match self.objects.get(&name) {
            Some(seen) => *seen.uid == *owned.uid && seen.owned == owned.owned && !seen.deleting,
            None => owned.done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(name: &str, value: &str, status: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": name, "namespace": "shop", "uid": "u1", "resourceVersion": status,
                "labels": {"driftless.dev/app": "web"},
                "managedFields": [{"manager": "driftless", "operation": "Apply", "apiVersion": "v1",
                    "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:key": {}}}}],
            },
            "data": {"key": value, "other": status},
            "status": {"phase": status},
        })
    }

    fn owned(value: &str) -> OwnedObject {
        OwnedObject {
            uid: "u1".to_owned(),
            sent: Digest::of("t", b""),
            owned: fields::owned(&map("a", value, ""), MANAGER),
            api_version: "v1".to_owned(),
            generation: None,
            done: false,
            adopted: false,
        }
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("", "ConfigMap", Some("shop"), name)
    }

    #[test]
    fn only_what_we_own_is_news() {
        let mut shelf = Shelf::default();
        assert!(shelf.replace([&map("a", "1", "x")]).is_empty());
        assert!(shelf.as_left(&key("a"), &owned("1")));
        assert_eq!(shelf.put(&map("a", "1", "y")), None, "a status is no news");
        assert_eq!(shelf.put(&map("a", "2", "y")).as_deref(), Some("web"));
        assert!(!shelf.as_left(&key("a"), &owned("1")));
        assert_eq!(shelf.put(&map("a", "1", "z")).as_deref(), Some("web"));
        assert!(shelf.as_left(&key("a"), &owned("1")));
    }

    #[test]
    fn what_is_gone_or_going_or_made_again_is_not_as_left() {
        let mut shelf = Shelf::default();
        shelf.put(&map("a", "1", ""));
        assert_eq!(shelf.remove(&map("a", "1", "")).as_deref(), Some("web"));
        assert!(!shelf.as_left(&key("a"), &owned("1")));
        let done = OwnedObject {
            done: true,
            ..owned("1")
        };
        assert!(shelf.as_left(&key("a"), &done), "a job that is done may be gone");
        let mut going = map("a", "1", "");
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        shelf.put(&going);
        assert!(!shelf.as_left(&key("a"), &owned("1")));
        let mut again = map("a", "1", "");
        again["metadata"]["uid"] = json!("u2");
        shelf.put(&again);
        assert!(!shelf.as_left(&key("a"), &owned("1")));
    }

    #[test]
    fn a_list_tells_what_the_events_did_not() {
        let mut shelf = Shelf::default();
        shelf.replace([&map("a", "1", ""), &map("b", "1", "")]);
        assert!(
            shelf
                .replace([&map("a", "1", "later"), &map("b", "1", "")])
                .is_empty()
        );
        assert_eq!(shelf.replace([&map("a", "1", "")]), ["web".to_owned()].into());
        assert_eq!(shelf.replace([&map("a", "9", "")]), ["web".to_owned()].into());
    }
}
