//! What says "ours" on an object of a cluster, and which of its fields are somebody else's. Pure.
//!
//! In: live objects, the inventory, the manifest. Out: [`Belongs`], the [`Body`] that may be sent, the `managedFields` of a
//! take-over. Guaranteed: labels alone never make an object ours (decision 3); a field that a controller owns is left to it
//! unless that was asked for. Must not: ask the server, or decide what is done about an object that is not ours.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fields::{self, Manager, Path, Segment};
use super::op::MANAGER;
use super::world::{Belongs, OwnedObject};
use crate::names::{AppName, InstanceName, ObjectKey};

/// Says which program manages an object (Kubernetes' recommended labels).
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The app.
pub const APP: &str = "driftless.dev/app";
/// The instance.
pub const INSTANCE: &str = "driftless.dev/instance";
/// `"true"`: fields of other controllers are taken, and immutable objects are made anew.
pub const FORCE: &str = "driftless.dev/force";

/// The longest label value (Kubernetes: 63 characters).
const LABEL_MAX: usize = 63;

/// A name as a label value: shortened with a digest where it is too long.
pub fn label_value(name: &str) -> String {
    if name.len() <= LABEL_MAX {
        return name.to_owned();
    }
    let digest = crate::names::Digest::of("l1", name.as_bytes());
    let head: String = name.chars().take(LABEL_MAX - 9).collect();
    format!("{head}-{}", digest.short(8))
}

/// The marks that every object of an app bears.
pub fn labels(instance: &InstanceName, app: &AppName) -> [(&'static str, String); 3] {
    [
        (MANAGED_BY, MANAGER.to_owned()),
        (APP, label_value(app.as_str())),
        (INSTANCE, label_value(instance.as_str())),
    ]
}

/// Whether a path is one of our marks: they are no difference that anybody asked for.
pub fn is_mark(path: &Path) -> bool {
    matches!(path.0.as_slice(), [Segment::Field(a), Segment::Field(b), Segment::Field(name)]
        if a == "metadata" && b == "labels" && [MANAGED_BY, APP, INSTANCE].contains(&name.as_str()))
}

/// An object without our marks. It has a map of labels even so, so that another label of it is one field that came or went.
pub fn unmarked(mut object: Value) -> Value {
    let metadata = object.pointer_mut("/metadata").and_then(Value::as_object_mut);
    if let Some(labels) = metadata.map(|metadata| metadata.entry("labels").or_insert_with(|| json!({})))
        && let Some(labels) = labels.as_object_mut()
    {
        for name in [MANAGED_BY, APP, INSTANCE] {
            labels.remove(name);
        }
    }
    object
}

/// Whether `live` bears the marks that `body` would give it.
pub fn bears_marks_of(live: &Value, body: &Value) -> bool {
    let mark = |object: &Value, name: &str| {
        let labels = object.pointer("/metadata/labels");
        labels.and_then(|labels| labels.get(name)).cloned()
    };
    [MANAGED_BY, APP, INSTANCE]
        .iter()
        .all(|name| mark(live, name) == mark(body, name))
}

/// Whose `live` is.
pub fn belongs(live: &Value, owned: Option<&OwnedObject>, instance: &InstanceName, app: &AppName) -> Belongs {
    let uid = live
        .pointer("/metadata/uid")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let label = |name: &str| {
        live.pointer("/metadata/labels")
            .and_then(|labels| labels.get(name))
            .and_then(Value::as_str)
    };
    let annotation = |name: &str| {
        live.pointer("/metadata/annotations")
            .and_then(|all| all.get(name))
            .and_then(Value::as_str)
    };
    let (our_instance, our_app) = (label_value(instance.as_str()), label_value(app.as_str()));
    let managers = fields::managers(live);
    let applied_by_us = managers
        .iter()
        .any(|manager| manager.name == MANAGER && manager.operation == "Apply");
    if applied_by_us && let Some(other) = label(INSTANCE).filter(|name| *name != our_instance) {
        return Belongs::OtherInstance(other.to_owned());
    }
    if applied_by_us && let Some(other) = label(APP).filter(|name| *name != our_app) {
        return Belongs::OtherApp(other.to_owned());
    }
    match owned {
        Some(owned) if owned.uid == uid => return Belongs::Ours,
        Some(owned) if !applied_by_us => {
            return Belongs::Recreated {
                before: owned.uid.clone(),
            };
        }
        _ => {}
    }
    if applied_by_us && label(APP) == Some(&our_app) && label(INSTANCE) == Some(&our_instance) {
        return Belongs::Ours;
    }
    let has_manager = |name: &str| managers.iter().any(|manager| manager.name == name);
    if annotation("argocd.argoproj.io/tracking-id").is_some()
        || label("argocd.argoproj.io/instance").is_some()
        || has_manager("argocd-controller")
    {
        return Belongs::Tool("Argo CD".to_owned());
    }
    if label("kustomize.toolkit.fluxcd.io/name").is_some() || label("helm.toolkit.fluxcd.io/name").is_some() {
        return Belongs::Tool("Flux".to_owned());
    }
    if annotation("meta.helm.sh/release-name").is_some() {
        return Belongs::Tool("Helm".to_owned());
    }
    Belongs::Unmanaged
}

/// Whether a manager is a person at a terminal: what such a one changed is drift, not another program's field.
pub fn is_person(manager: &str) -> bool {
    manager.starts_with("kubectl")
        || [
            "before-first-apply",
            "k9s",
            "lens",
            "Mozilla",
            "OpenLens",
            "curl",
            "oc",
        ]
        .contains(&manager)
}

/// Managers whose whole set is handed to us on objects that are ours: what client-side `kubectl apply` left behind (as
/// Flux does it).
const HANDED_OVER: &[&str] = &["kubectl-client-side-apply", "kubectl", "before-first-apply"];

/// Whose fields are left alone, and which differences are ignored.
#[derive(Debug, Clone, Default)]
pub struct Leave {
    /// Take every field, whoever owns it.
    pub force: bool,
    /// `Kind/name:/json/pointer` or `*:/pointer`; or `manager:NAME`.
    pub ignore: Vec<String>,
}

/// What an app leaves alone of one object.
fn ignored(key: &ObjectKey, rules: &[String]) -> Vec<Path> {
    rules
        .iter()
        .filter_map(|rule| rule.split_once(":/"))
        .filter(|(object, _)| {
            let short = format!("{}/{}", key.kind, key.name);
            *object == "*"
                || *object == short
                || *object == key.to_string()
                || *object == format!("{}/*", key.kind)
        })
        .map(|(_, pointer)| {
            Path(
                pointer
                    .split('/')
                    .map(|part| part.replace("~1", "/").replace("~0", "~"))
                    .map(|part| part.parse().map_or(Segment::Field(part), Segment::Index))
                    .collect(),
            )
        })
        .collect()
}

/// Takes out of `body` what is left to its owner, and puts live values where a difference is ignored. Returns what was left,
/// with the owner.
pub fn leave(
    body: &mut Value,
    live: &Value,
    key: &ObjectKey,
    managers: &[Manager],
    how: &Leave,
) -> Vec<(Path, String)> {
    let mut left = Vec::new();
    let mine = |path: &Path| {
        managers.iter().any(|manager| {
            manager.name == MANAGER && manager.operation == "Apply" && manager.fields.owns(live, path)
        })
    };
    for path in ignored(key, &how.ignore) {
        if let (Some(there), Some(_)) = (path.get(live).cloned(), path.get(body)) {
            set(body, &path, there);
        }
    }
    let by_rule = |manager: &Manager| {
        how.ignore
            .iter()
            .any(|rule| rule.strip_prefix("manager:") == Some(&manager.name))
    };
    let others = managers
        .iter()
        .filter(|manager| manager.name != MANAGER && manager.subresource.as_deref() != Some("status"));
    for manager in others {
        if (how.force || is_person(&manager.name)) && !by_rule(manager) {
            continue;
        }
        for path in manager.fields.leaves(live) {
            let (Some(wanted), Some(there)) = (path.get(body), path.get(live)) else {
                continue;
            };
            if fields::canonical(wanted) == fields::canonical(there) {
                continue;
            }
            if mine(&path) {
                set(body, &path, there.clone());
            } else if path.remove(body).is_some() {
                left.push((path, manager.name.clone()));
            }
        }
    }
    left
}

fn set(body: &mut Value, path: &Path, to: Value) {
    let Some((last, way)) = path.0.split_last() else {
        return;
    };
    let mut at = body;
    for segment in way {
        let next = match (segment, at) {
            (Segment::Field(name), Value::Object(map)) => map.get_mut(name),
            (Segment::Index(index), Value::Array(items)) => items.get_mut(*index),
            (Segment::Item(keys), Value::Array(items)) => {
                items.iter_mut().find(|item| fields::is_item(item, keys))
            }
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => return,
        }
    }
    match (last, at) {
        (Segment::Field(name), Value::Object(map)) => {
            map.insert(name.clone(), to);
        }
        (Segment::Index(index), Value::Array(items)) => {
            if let Some(slot) = items.get_mut(*index) {
                *slot = to;
            }
        }
        _ => {}
    }
}

/// What is handed over to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handed {
    /// What client-side apply left behind.
    Applied,
    /// Also what people have set in what the object says, its metadata aside.
    ByHand,
}

/// `managedFields` after the fields of client-side apply were handed to us, and after people let go of fields that Git no
/// longer has; `None` when there is nothing to hand over.
pub fn handed_over(
    live: &Value,
    managed: &Value,
    managers: &[Manager],
    body: &Value,
    what: Handed,
) -> Option<Value> {
    let entries = managed.as_array()?;
    let text = |entry: &Value, key: &str| {
        entry
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let whole = |entry: &Value| {
        HANDED_OVER.contains(&text(entry, "manager").as_str()) && text(entry, "subresource").is_empty()
    };
    let is_ours = |entry: &Value| {
        text(entry, "manager") == MANAGER
            && text(entry, "operation") == "Apply"
            && text(entry, "subresource").is_empty()
    };
    let ours = entries.iter().find(|entry| is_ours(entry));
    // Fields that were ours and are gone from Git, and that a person's edit still holds.
    let gone: Vec<Path> = managers
        .iter()
        .filter(|manager| manager.name == MANAGER && manager.operation == "Apply")
        .flat_map(|manager| manager.fields.leaves(live))
        .filter(|path| path.get(body).is_none() && path.get(live).is_some())
        .collect();
    let mut changed = false;
    let mut merged: Map<String, Value> = ours
        .and_then(|entry| entry.get("fieldsV1"))
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let mut api_version = ours.map(|entry| text(entry, "apiVersion"));
    let mut kept = Vec::new();
    for entry in entries {
        if is_ours(entry) {
            continue;
        }
        if whole(entry) {
            changed = true;
            if let Some(set) = entry.get("fieldsV1").and_then(Value::as_object) {
                merge(&mut merged, set);
            }
            api_version.get_or_insert_with(|| text(entry, "apiVersion"));
            continue;
        }
        let mut entry = entry.clone();
        let by_hand = is_person(&text(&entry, "manager")) && text(&entry, "subresource").is_empty();
        if by_hand && what == Handed::ByHand {
            let set = entry.get_mut("fieldsV1").and_then(Value::as_object_mut);
            let metadata = set.and_then(|set| {
                let metadata = set.remove("f:metadata");
                changed |= !set.is_empty();
                merge(&mut merged, set);
                metadata
            });
            let Some(metadata) = metadata else { continue };
            entry["fieldsV1"] = json!({ "f:metadata": metadata });
        } else if by_hand {
            for path in &gone {
                changed |= let_go(entry.get_mut("fieldsV1"), path);
            }
        }
        kept.push(entry);
    }
    if !changed {
        return None;
    }
    if !merged.is_empty() {
        let api_version = api_version
            .or_else(|| live.get("apiVersion").and_then(Value::as_str).map(str::to_owned))
            .unwrap_or_default();
        kept.push(json!({
            "manager": MANAGER, "operation": "Apply", "apiVersion": api_version, "fieldsType": "FieldsV1", "fieldsV1": merged,
        }));
    }
    Some(Value::Array(kept))
}

fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Object(a)), Value::Object(b)) => merge(a, b),
            (Some(_), _) => {}
            (None, value) => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Takes a path out of a FieldsV1 set; whether it was there.
fn let_go(set: Option<&mut Value>, path: &Path) -> bool {
    let Some((last, way)) = path.0.split_last() else {
        return false;
    };
    let mut at = set;
    for segment in way {
        at = match (at, key_of(segment)) {
            (Some(Value::Object(map)), Some(key)) => find_key(map, &key).and_then(|key| map.get_mut(&key)),
            _ => None,
        };
    }
    match (at, key_of(last)) {
        (Some(Value::Object(map)), Some(key)) => match find_key(map, &key) {
            Some(key) => map.remove(&key).is_some(),
            None => false,
        },
        _ => false,
    }
}

enum SetKey {
    Exact(String),
    Keyed(BTreeMap<String, String>),
}

fn key_of(segment: &Segment) -> Option<SetKey> {
    Some(match segment {
        Segment::Field(name) => SetKey::Exact(format!("f:{name}")),
        Segment::Item(keys) => SetKey::Keyed(keys.iter().cloned().collect()),
        Segment::Member(member) => SetKey::Exact(format!("v:{member}")),
        Segment::Index(index) => SetKey::Exact(format!("i:{index}")),
    })
}

fn find_key(map: &Map<String, Value>, wanted: &SetKey) -> Option<String> {
    match wanted {
        SetKey::Exact(key) => map.contains_key(key).then(|| key.clone()),
        SetKey::Keyed(keys) => map
            .keys()
            .find(|key| {
                key.strip_prefix("k:")
                    .and_then(|raw| serde_json::from_str::<BTreeMap<String, Value>>(raw).ok())
                    .is_some_and(|found| {
                        found.len() == keys.len()
                            && found
                                .iter()
                                .all(|(key, value)| keys.get(key) == Some(&fields::plain(value)))
                    })
            })
            .cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(managed_fields: Value) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "uid": "u1", "managedFields": managed_fields, "labels": {"extra": "1"}},
            "spec": {"replicas": 20, "paused": true},
        })
    }

    fn handed(live: &Value, body: &Value) -> Option<Value> {
        handed_over(
            live,
            &live["metadata"]["managedFields"],
            &fields::managers(live),
            body,
            Handed::Applied,
        )
    }

    #[test]
    fn what_people_have_set_is_handed_over_without_their_metadata() {
        let live = live(json!([
            {"manager": "driftless", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {"f:extra": {}}}, "f:spec": {"f:paused": {}}}},
            {"manager": "kubectl-scale", "operation": "Update", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            {"manager": "injector", "operation": "Update", "fieldsV1": {"f:spec": {"f:minReadySeconds": {}}}},
        ]));
        let managed = &live["metadata"]["managedFields"];
        let body = json!({"spec": {"replicas": 3}});
        let after = handed_over(&live, managed, &fields::managers(&live), &body, Handed::ByHand);
        let after = after.expect("something to hand over");
        assert_eq!(
            after[0]["fieldsV1"],
            json!({"f:metadata": {"f:labels": {"f:extra": {}}}})
        );
        assert_eq!(
            (&after[1]["manager"], &after[2]["manager"]),
            (&json!("kubectl-scale"), &json!("injector"))
        );
        assert_eq!(
            after[3]["fieldsV1"],
            json!({"f:spec": {"f:replicas": {}, "f:paused": {}}})
        );
    }

    fn key() -> ObjectKey {
        ObjectKey::new("apps", "Deployment", Some("shop"), "web")
    }

    #[test]
    fn replicas_of_an_autoscaler_are_left_to_it() {
        let live = live(json!([
            {"manager": "driftless", "operation": "Apply", "fieldsV1": {"f:spec": {"f:paused": {}}}},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        ]));
        let mut body = json!({"spec": {"replicas": 3, "paused": false}});
        let left = leave(
            &mut body,
            &live,
            &key(),
            &fields::managers(&live),
            &Leave::default(),
        );
        assert_eq!(body, json!({"spec": {"paused": false}}));
        assert_eq!(
            left,
            vec![(
                Path::of(&["spec", "replicas"]),
                "kube-controller-manager".to_owned()
            )]
        );
    }

    #[test]
    fn what_a_person_changed_is_drift() {
        let live = live(
            json!([{"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]),
        );
        let mut body = json!({"spec": {"replicas": 3}});
        let left = leave(
            &mut body,
            &live,
            &key(),
            &fields::managers(&live),
            &Leave::default(),
        );
        assert!(left.is_empty());
        assert_eq!(body, json!({"spec": {"replicas": 3}}));
    }

    #[test]
    fn an_ignored_field_keeps_its_live_value() {
        let live = live(json!([]));
        let mut body = json!({"spec": {"replicas": 3}});
        let how = Leave {
            force: false,
            ignore: vec!["Deployment/web:/spec/replicas".to_owned()],
        };
        leave(&mut body, &live, &key(), &[], &how);
        assert_eq!(body, json!({"spec": {"replicas": 20}}));
    }

    #[test]
    fn fields_of_client_side_apply_are_handed_over() {
        let live = live(json!([
            {"manager": "kubectl-client-side-apply", "operation": "Update", "apiVersion": "apps/v1", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:paused": {}}}},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
        ]));
        let after = handed(&live, &json!({"spec": {"replicas": 3}})).expect("something to hand over");
        assert_eq!(after[1]["manager"], "driftless");
        assert_eq!(after[1]["operation"], "Apply");
        assert_eq!(
            after[1]["fieldsV1"],
            json!({"f:spec": {"f:replicas": {}, "f:paused": {}}})
        );
        assert_eq!(after.as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_person_lets_go_of_what_git_removed() {
        let live = live(json!([
            {"manager": "driftless", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:paused": {}}}},
            {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:paused": {}}}},
        ]));
        let after = handed(&live, &json!({"spec": {"replicas": 3}})).expect("something to hand over");
        assert_eq!(after[0]["fieldsV1"], json!({"f:spec": {}}));
        assert!(handed(&live, &json!({"spec": {"replicas": 3, "paused": true}})).is_none());
    }

    #[test]
    fn a_port_whose_protocol_is_the_default_is_not_gone_from_git() {
        let ports = json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:name": {}}}}});
        let mut object = live(json!([
            {"manager": "driftless", "operation": "Apply", "apiVersion": "v1", "fieldsV1": ports},
            {"manager": "kubectl-edit", "operation": "Update", "apiVersion": "v1", "fieldsV1": ports},
        ]));
        object["spec"] = json!({"ports": [{"port": 80, "protocol": "TCP", "name": "http"}]});
        assert_eq!(
            handed(
                &object,
                &json!({"spec": {"ports": [{"port": 80, "name": "http"}]}})
            ),
            None
        );
    }

    #[test]
    fn a_label_beside_our_marks_is_a_field_of_its_own() {
        let marked = json!({"metadata": {"name": "web", "labels": {APP: "web", MANAGED_BY: MANAGER}}});
        let mut labelled = marked.clone();
        labelled["metadata"]["labels"]["team"] = json!("a");
        let found = fields::differences(&unmarked(marked.clone()), &unmarked(labelled));
        let paths: Vec<String> = found.iter().map(|one| one.path.to_string()).collect();
        assert_eq!(paths, ["metadata.labels.team"]);
        let bare = json!({"metadata": {"name": "web"}});
        assert_eq!(unmarked(bare), unmarked(marked));
    }

    #[test]
    fn marks_alone_do_not_make_an_object_ours() {
        let (instance, app) = (
            InstanceName::try_from("nas").expect("a name"),
            AppName::try_from("web").expect("a name"),
        );
        let mut object = live(json!([]));
        object["metadata"]["labels"] = json!({"driftless.dev/app": "web", "driftless.dev/instance": "nas"});
        assert_eq!(belongs(&object, None, &instance, &app), Belongs::Unmanaged);
        object["metadata"]["managedFields"] =
            json!([{"manager": "driftless", "operation": "Apply", "fieldsV1": {}}]);
        assert_eq!(belongs(&object, None, &instance, &app), Belongs::Ours);
        object["metadata"]["labels"]["driftless.dev/app"] = json!("shop");
        assert_eq!(
            belongs(&object, None, &instance, &app),
            Belongs::OtherApp("shop".to_owned())
        );
    }

    #[test]
    fn an_object_that_was_made_again_is_not_ours() {
        let (instance, app) = (
            InstanceName::try_from("nas").expect("a name"),
            AppName::try_from("web").expect("a name"),
        );
        let owned = OwnedObject {
            uid: "u0".to_owned(),
            sent: crate::names::Digest::of("f1", b""),
            owned: crate::names::Digest::of("f1", b""),
            api_version: "apps/v1".to_owned(),
            generation: None,
            done: false,
            adopted: false,
        };
        assert_eq!(
            belongs(&live(json!([])), Some(&owned), &instance, &app),
            Belongs::Recreated {
                before: "u0".to_owned()
            }
        );
    }
}
