//! Which fields of an object somebody manages, and what differs between two objects. Pure.
//!
//! In: `metadata.managedFields` and objects as JSON. Out: [`FieldSet`]s, projections, [`Difference`]s. Guaranteed: any JSON is
//! read without a panic; what can't be understood owns nothing. Must not: ask the server, or decide whose a field should be.
//!
//! The format is `FieldsV1` (Kubernetes API reference, `FieldsV1 v1 meta`): `f:<name>` is a field, `k:<keys>` a list item by
//! its keys, `v:<value>` an item of a set, `i:<index>` an item by position, `.` the thing itself.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::names::Digest;

/// Version of the digest of owned fields.
const VERSION: &str = "f1";

/// One step of a path into an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A field of a mapping.
    Field(String),
    /// A list item by the fields that identify it, as `name=web`.
    Item(Vec<(String, String)>),
    /// An item of a set of plain values, as JSON.
    Member(String),
    /// An item by its position.
    Index(usize),
}

/// A path into an object, shown as `spec.template.spec.containers[web].image`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Path(pub Vec<Segment>);

impl Path {
    /// A path of plain fields.
    pub fn of(fields: &[&str]) -> Self {
        Self(
            fields
                .iter()
                .map(|field| Segment::Field((*field).to_owned()))
                .collect(),
        )
    }

    fn with(&self, segment: Segment) -> Self {
        let mut path = self.0.clone();
        path.push(segment);
        Self(path)
    }

    /// Whether `self` is `other` or lies below it.
    pub fn starts_with(&self, other: &Path) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Whether one of the two lies on the way to the other.
    pub fn touches(&self, other: &Path) -> bool {
        self.starts_with(other) || other.starts_with(self)
    }

    /// What the value is called: the last field, or the `name` of the list item it stands in (`env[DB_PASSWORD].value` is
    /// called `DB_PASSWORD`).
    pub fn called(&self) -> &str {
        let named = self.0.iter().rev().take(2).find_map(|segment| match segment {
            Segment::Item(keys) => keys
                .iter()
                .find(|(key, _)| key == "name")
                .map(|(_, name)| name.as_str()),
            _ => None,
        });
        named
            .or_else(|| {
                self.0.iter().rev().find_map(|segment| match segment {
                    Segment::Field(name) => Some(name.as_str()),
                    _ => None,
                })
            })
            .unwrap_or("")
    }

    /// The value at this path.
    pub fn get<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.0
            .iter()
            .try_fold(value, |value, segment| match (segment, value) {
                (Segment::Field(name), Value::Object(map)) => map.get(name),
                (Segment::Item(keys), Value::Array(items)) => items.iter().find(|item| is_item(item, keys)),
                (Segment::Member(member), Value::Array(items)) => {
                    items.iter().find(|item| is_member(item, member))
                }
                (Segment::Index(at), Value::Array(items)) => items.get(*at),
                _ => None,
            })
    }

    /// The JSON pointer of this path in `value`, as far as it goes there.
    pub fn pointer(&self, value: &Value) -> String {
        let mut pointer = String::new();
        let mut at = Some(value);
        for segment in &self.0 {
            let step = match (segment, at) {
                (Segment::Field(name), _) => name.replace('~', "~0").replace('/', "~1"),
                (Segment::Item(keys), Some(Value::Array(items))) => {
                    match items.iter().position(|item| is_item(item, keys)) {
                        Some(index) => index.to_string(),
                        None => break,
                    }
                }
                (Segment::Index(index), _) => index.to_string(),
                _ => break,
            };
            pointer.push('/');
            pointer.push_str(&step);
            at = at.and_then(|value| Path(vec![segment.clone()]).get(value));
        }
        pointer
    }

    /// Takes the value at this path out. A list item is taken out whole.
    pub fn remove(&self, value: &mut Value) -> Option<Value> {
        let (last, way) = self.0.split_last()?;
        let mut at = value;
        for segment in way {
            at = match (segment, at) {
                (Segment::Field(name), Value::Object(map)) => map.get_mut(name)?,
                (Segment::Item(keys), Value::Array(items)) => {
                    items.iter_mut().find(|item| is_item(item, keys))?
                }
                (Segment::Index(index), Value::Array(items)) => items.get_mut(*index)?,
                _ => return None,
            };
        }
        match (last, at) {
            (Segment::Field(name), Value::Object(map)) => map.remove(name),
            (Segment::Item(keys), Value::Array(items)) => {
                let index = items.iter().position(|item| is_item(item, keys))?;
                Some(items.remove(index))
            }
            (Segment::Member(member), Value::Array(items)) => {
                let index = items.iter().position(|item| is_member(item, member))?;
                Some(items.remove(index))
            }
            (Segment::Index(index), Value::Array(items)) if *index < items.len() => {
                Some(items.remove(*index))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Field(name) if name.contains(['.', '/', '[']) => write!(f, "[{name}]")?,
                Segment::Field(name) if at == 0 => f.write_str(name)?,
                Segment::Field(name) => write!(f, ".{name}")?,
                Segment::Item(keys) => {
                    let values: Vec<&str> = keys.iter().map(|(_, value)| value.as_str()).collect();
                    write!(f, "[{}]", values.join("/"))?;
                }
                Segment::Member(member) => write!(f, "[{}]", member.trim_matches('"'))?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// The one key of a list of a built-in kind that a manifest may leave to its default.
const DEFAULT_KEY: (&str, &str) = ("protocol", "TCP");

pub(super) fn is_item(item: &Value, keys: &[(String, String)]) -> bool {
    keys.iter().all(|(key, wanted)| match item.get(key) {
        Some(value) => plain(value) == *wanted,
        None => (key.as_str(), wanted.as_str()) == DEFAULT_KEY,
    })
}

fn is_member(item: &Value, member: &str) -> bool {
    serde_json::from_str::<Value>(member).is_ok_and(|member| member == *item)
}

/// A scalar as people write it.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A set of fields, as one manager owns them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FieldSet(Map<String, Value>);

/// One entry of `metadata.managedFields`.
#[derive(Debug, Clone, PartialEq)]
pub struct Manager {
    pub name: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// `status`, `scale`, or none.
    pub subresource: Option<String>,
    pub at: Option<Timestamp>,
    pub fields: FieldSet,
}

/// The managers of an object, in the order in which the server lists them.
pub fn managers(object: &Value) -> Vec<Manager> {
    let entries = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .map(|entry| {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            Manager {
                name: text("manager").to_owned(),
                operation: text("operation").to_owned(),
                subresource: Some(text("subresource"))
                    .filter(|text| !text.is_empty())
                    .map(str::to_owned),
                at: text("time").parse().ok(),
                fields: FieldSet(
                    entry
                        .get("fieldsV1")
                        .and_then(Value::as_object)
                        .cloned()
                        .unwrap_or_default(),
                ),
            }
        })
        .collect()
}

impl FieldSet {
    /// Whether it has no field at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The part of `value` that is in the set.
    pub fn project(&self, value: &Value) -> Value {
        project(value, &self.0)
    }

    /// The fields at the ends of the set that `value` has.
    pub fn leaves(&self, value: &Value) -> Vec<Path> {
        let mut found = Vec::new();
        leaves(value, &self.0, &Path::default(), &mut found);
        found
    }

    /// Whether the field at `path` is in the set, itself or as a part of something that is owned whole.
    pub fn owns(&self, object: &Value, path: &Path) -> bool {
        self.leaves(object).iter().any(|leaf| path.starts_with(leaf))
    }
}

fn child<'v>(value: &'v Value, key: &str) -> Option<(Segment, &'v Value)> {
    let (kind, rest) = key.split_once(':')?;
    match (kind, value) {
        ("f", Value::Object(map)) => Some((Segment::Field(rest.to_owned()), map.get(rest)?)),
        ("k", Value::Array(items)) => {
            let keys: Map<String, Value> = serde_json::from_str(rest).ok()?;
            let keys: Vec<(String, String)> = keys
                .iter()
                .map(|(key, value)| (key.clone(), plain(value)))
                .collect();
            let item = items.iter().find(|item| is_item(item, &keys))?;
            Some((Segment::Item(keys), item))
        }
        ("v", Value::Array(items)) => {
            let wanted: Value = serde_json::from_str(rest).ok()?;
            let item = items.iter().find(|item| **item == wanted)?;
            Some((Segment::Member(item.to_string()), item))
        }
        ("i", Value::Array(items)) => {
            let index: usize = rest.parse().ok()?;
            Some((Segment::Index(index), items.get(index)?))
        }
        _ => None,
    }
}

fn below(set: &Map<String, Value>) -> impl Iterator<Item = (&String, &Map<String, Value>)> {
    set.iter()
        .filter(|(key, _)| *key != ".")
        .filter_map(|(key, value)| Some((key, value.as_object()?)))
}

fn project(value: &Value, set: &Map<String, Value>) -> Value {
    if set.is_empty() {
        return value.clone();
    }
    match value {
        Value::Object(_) => Value::Object(
            below(set)
                .filter_map(|(key, set)| match child(value, key)? {
                    (Segment::Field(name), inner) => Some((name, project(inner, set))),
                    _ => None,
                })
                .collect(),
        ),
        Value::Array(items) => {
            // In their own order: of containers that run one after another, or variables that refer to earlier ones, it tells.
            let mut found: Vec<(usize, Value)> = below(set)
                .filter_map(|(key, set)| {
                    let (_, inner) = child(value, key)?;
                    let at = items.iter().position(|item| std::ptr::eq(item, inner))?;
                    Some((at, project(inner, set)))
                })
                .collect();
            found.sort_by_key(|(at, _)| *at);
            Value::Array(found.into_iter().map(|(_, item)| item).collect())
        }
        scalar => scalar.clone(),
    }
}

fn leaves(value: &Value, set: &Map<String, Value>, path: &Path, found: &mut Vec<Path>) {
    let mut any = false;
    for (key, set) in below(set) {
        any = true;
        if let Some((segment, inner)) = child(value, key) {
            leaves(inner, set, &path.with(segment), found);
        }
    }
    if !any {
        found.push(path.clone());
    }
}

/// What only a server sets, or what changes with every write: no part of any comparison.
const SERVER_SIDE: &[&str] = &[
    "managedFields",
    "resourceVersion",
    "generation",
    "uid",
    "creationTimestamp",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// An object without `status` and without what only a server sets.
pub fn stripped(object: &Value) -> Value {
    let mut object = object.clone();
    if let Value::Object(map) = &mut object {
        map.remove("status");
        if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
            for field in SERVER_SIDE {
                metadata.remove(*field);
            }
            for field in ["labels", "annotations"] {
                if metadata
                    .get(field)
                    .is_some_and(|value| value.as_object().is_some_and(Map::is_empty))
                {
                    metadata.remove(field);
                }
            }
        }
    }
    object
}

/// The digest of what `manager` owns of a live object (its `Apply` entry). It moves when anybody changes, takes over or
/// removes one of those fields, and with nothing else.
pub fn owned(object: &Value, manager: &str) -> Digest {
    let mine: Vec<Manager> = managers(object)
        .into_iter()
        .filter(|entry| entry.name == manager && entry.operation == "Apply" && entry.subresource.is_none())
        .collect();
    let bare = stripped(object);
    let parts: Vec<Value> = mine.iter().map(|entry| entry.fields.project(&bare)).collect();
    Digest::of(VERSION, canonical(&Value::Array(parts)).as_bytes())
}

/// The digest of an object as it is sent.
pub fn digest(object: &Value) -> Digest {
    Digest::of(VERSION, canonical(object).as_bytes())
}

/// JSON with sorted keys.
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, String> =
                map.iter().map(|(key, value)| (key, canonical(value))).collect();
            let parts: Vec<String> = sorted
                .into_iter()
                .map(|(key, value)| format!("{}:{value}", Value::String(key.clone())))
                .collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        scalar => scalar.to_string(),
    }
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub path: Path,
    pub from: Option<Value>,
    pub to: Option<Value>,
}

/// What differs between two objects, leaf by leaf, in order of the paths. List items are matched by the key that
/// Kubernetes uses for such lists, where the items have one; else by position. Where matched items stand in another order, the
/// list differs by the keys of its items.
pub fn differences(from: &Value, to: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    differ(Some(from), Some(to), &Path::default(), &mut found);
    found
}

fn differ(from: Option<&Value>, to: Option<&Value>, path: &Path, found: &mut Vec<Difference>) {
    match (from, to) {
        (Some(from), Some(to)) if from == to => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                differ(
                    a.get(key),
                    b.get(key),
                    &path.with(Segment::Field(key.clone())),
                    found,
                );
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => match item_keys(a, b) {
            Some(keys) => {
                let name = |item: &Value| -> Vec<(String, String)> {
                    keys.iter()
                        .filter_map(|key| Some(((*key).to_owned(), item.get(*key).map(plain)?)))
                        .collect()
                };
                let common = |items: &[Value], others: &[Value]| -> Vec<Value> {
                    let there: Vec<_> = others.iter().map(name).collect();
                    let names = items.iter().map(name).filter(|keys| there.contains(keys));
                    let shown = |keys: Vec<(String, String)>| -> Vec<String> {
                        keys.into_iter().map(|(_, value)| value).collect()
                    };
                    names.map(|keys| shown(keys).join("/").into()).collect()
                };
                let (before, after) = (common(a, b), common(b, a));
                if before != after {
                    found.push(Difference {
                        path: path.clone(),
                        from: Some(before.into()),
                        to: Some(after.into()),
                    });
                }
                let mut names: Vec<Vec<(String, String)>> = a.iter().chain(b.iter()).map(name).collect();
                names.sort();
                names.dedup();
                for keys in names {
                    let find = |items: &'_ [Value]| items.iter().position(|item| name(item) == keys);
                    let (x, y) = (find(a).map(|at| &a[at]), find(b).map(|at| &b[at]));
                    differ(x, y, &path.with(Segment::Item(keys)), found);
                }
            }
            None => {
                let plain_values = a
                    .iter()
                    .chain(b.iter())
                    .all(|item| !item.is_object() && !item.is_array());
                if plain_values || a.len() != b.len() {
                    found.push(Difference {
                        path: path.clone(),
                        from: Some(Value::Array(a.clone())),
                        to: Some(Value::Array(b.clone())),
                    });
                } else {
                    for (at, (x, y)) in a.iter().zip(b).enumerate() {
                        differ(Some(x), Some(y), &path.with(Segment::Index(at)), found);
                    }
                }
            }
        },
        (None, None) => {}
        (from, to) => found.push(Difference {
            path: path.clone(),
            from: from.cloned(),
            to: to.cloned(),
        }),
    }
}

/// Keys by which Kubernetes tells list items apart (`x-kubernetes-list-map-keys` of the built-in kinds), the most telling
/// first. A set fits when every item of both lists has all its keys and none appears twice.
const ITEM_KEYS: &[&[&str]] = &[
    &["name"],
    &["containerPort", "protocol"],
    &["port", "protocol"],
    &["containerPort"],
    &["port"],
    &["mountPath"],
    &["devicePath"],
    &["topologyKey", "whenUnsatisfiable"],
    &["ip"],
    &["uid"],
    &["type"],
];

fn item_keys(a: &[Value], b: &[Value]) -> Option<&'static [&'static str]> {
    if a.is_empty() && b.is_empty() {
        return None;
    }
    let fits = |items: &[Value], keys: &[&str]| {
        let mut seen: Vec<Vec<String>> = Vec::new();
        items.iter().all(|item| {
            let name: Option<Vec<String>> = keys
                .iter()
                .map(|key| {
                    item.get(*key)
                        .filter(|value| !value.is_object() && !value.is_array())
                        .map(plain)
                })
                .collect();
            match name {
                Some(name) if !seen.contains(&name) => {
                    seen.push(name);
                    true
                }
                _ => false,
            }
        })
    };
    ITEM_KEYS
        .iter()
        .copied()
        .find(|keys| fits(a, keys) && fits(b, keys))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment() -> Value {
        json!({
            "metadata": {
                "name": "web", "labels": {"app": "web", "team": "x"}, "uid": "u", "resourceVersion": "7",
                "managedFields": [
                    {"manager": "driftless", "operation": "Apply", "time": "2026-11-21T10:00:00Z", "fieldsV1": {
                        "f:metadata": {"f:labels": {"f:app": {}}},
                        "f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {}}}}}}
                    }},
                    {"manager": "kube-controller-manager", "operation": "Update", "subresource": "scale",
                     "time": "2026-11-21T11:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
                ]
            },
            "spec": {"replicas": 3, "template": {"spec": {"containers": [
                {"name": "proxy", "image": "proxy:1"}, {"name": "web", "image": "web:1", "imagePullPolicy": "IfNotPresent"}
            ]}}},
            "status": {"replicas": 3}
        })
    }

    #[test]
    fn only_owned_fields_are_projected() {
        let live = deployment();
        let mine = &managers(&live)[0];
        assert_eq!(
            mine.fields.project(&live),
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:1"}]}}}})
        );
    }

    #[test]
    fn the_owned_digest_moves_with_owned_fields_only() {
        let live = deployment();
        let before = owned(&live, "driftless");
        let mut other = live.clone();
        other["metadata"]["labels"]["team"] = json!("y");
        other["spec"]["replicas"] = json!(20);
        other["metadata"]["resourceVersion"] = json!("8");
        assert_eq!(owned(&other, "driftless"), before);
        let mut edited = live.clone();
        edited["spec"]["template"]["spec"]["containers"][1]["image"] = json!("web:2");
        assert_ne!(owned(&edited, "driftless"), before);
        let mut taken = live;
        taken["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"] = json!({});
        assert_ne!(owned(&taken, "driftless"), before);
    }

    #[test]
    fn list_items_are_compared_by_their_key() {
        let a = json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]});
        let b =
            json!({"containers": [{"name": "x"}, {"name": "a", "image": "1"}, {"name": "b", "image": "2"}]});
        let found = differences(&a, &b);
        let shown: Vec<String> = found.iter().map(|one| one.path.to_string()).collect();
        assert_eq!(shown, ["containers[b].image", "containers[x]"]);
        let mut body = b;
        found[0].path.remove(&mut body);
        assert_eq!(body["containers"][2], json!({"name": "b"}));
    }

    #[test]
    fn a_port_of_a_manifest_is_found_without_its_protocol() {
        let body = json!({"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "name": "dns-tcp"}]});
        let name = |protocol: &str| {
            let keys = vec![
                ("port".to_owned(), "53".to_owned()),
                ("protocol".to_owned(), protocol.to_owned()),
            ];
            Path(vec![
                Segment::Field("ports".to_owned()),
                Segment::Item(keys),
                Segment::Field("name".to_owned()),
            ])
        };
        assert_eq!(name("TCP").get(&body), Some(&json!("dns-tcp")));
        assert_eq!(name("UDP").get(&body), None);
        assert_eq!(name("TCP").pointer(&body), "/ports/1/name");
    }

    #[test]
    fn another_order_of_the_same_items_is_a_difference() {
        let list = |names: &[&str]| {
            let items: Vec<Value> = names
                .iter()
                .map(|name| json!({"name": name, "image": "1"}))
                .collect();
            json!({"initContainers": items})
        };
        let found = differences(&list(&["a", "b", "c"]), &list(&["b", "a", "d"]));
        let shown: Vec<String> = found.iter().map(|one| one.path.to_string()).collect();
        assert_eq!(
            shown,
            ["initContainers", "initContainers[c]", "initContainers[d]"]
        );
        assert_eq!(
            (found[0].from.clone(), found[0].to.clone()),
            (Some(json!(["a", "b"])), Some(json!(["b", "a"])))
        );
        // Items of others in between are none.
        assert_eq!(
            differences(&list(&["a", "b"]), &list(&["x", "a", "y", "b"])).len(),
            2
        );
    }

    #[test]
    fn the_owned_digest_moves_with_the_order_of_owned_items() {
        let object = |names: [&str; 3]| {
            json!({
                "metadata": {"managedFields": [{"manager": "driftless", "operation": "Apply", "fieldsV1": {
                    "f:containers": {"k:{\"name\":\"a\"}": {"f:name": {}}, "k:{\"name\":\"b\"}": {"f:name": {}}}
                }}]},
                "containers": names.map(|name| json!({"name": name})),
            })
        };
        let before = owned(&object(["a", "b", "injected"]), "driftless");
        assert_eq!(owned(&object(["injected", "a", "b"]), "driftless"), before);
        assert_ne!(owned(&object(["b", "a", "injected"]), "driftless"), before);
    }

    #[test]
    fn a_path_knows_what_its_value_is_called() {
        let a = json!({"env": [{"name": "DB_PASSWORD", "value": "a"}]});
        let b = json!({"env": [{"name": "DB_PASSWORD", "value": "b"}]});
        assert_eq!(differences(&a, &b)[0].path.called(), "DB_PASSWORD");
        assert_eq!(Path::of(&["spec", "replicas"]).called(), "replicas");
    }

    #[test]
    fn ownership_of_a_field_is_found() {
        let live = deployment();
        let all = managers(&live);
        assert!(all[1].fields.owns(&live, &Path::of(&["spec", "replicas"])));
        assert!(!all[0].fields.owns(&live, &Path::of(&["spec", "replicas"])));
    }
}
