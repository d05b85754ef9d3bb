//! Everything of one app, read once.
//!
//! In: an [`Ask`]. Out: [`Observed`]. Guaranteed: objects that the store or the cluster's own inventory lists are looked at,
//! too; a dry run is made only where something moved (tier 1: what was sent and what we own are as they were); a server
//! that is away makes the whole observation fail, a kind that may not be read is unknown. Must not: change anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use http::Method;
use serde_json::{Map, Value, json};

use super::client::{APPLY_PATCH, Api};
use super::fields;
use super::kinds::{Kinds, Resource};
use super::op::MANAGER;
use super::ownership::{self, Handed};
use super::world::{Ask, Belongs, Body, ClusterFacts, DryRun, LiveObject, Observed, Seen, Wanted};
use crate::live::{LiveError, Problem, Refusal};
use crate::names::{AppName, ObjectKey};
use crate::render::bundle::{Bundle, Manifest};

/// Reads at once.
const AT_ONCE: usize = 32;
/// From this many objects of one kind and namespace on, one list is cheaper than a call for each.
const LIST_FROM: usize = 8;

/// The name of an app's inventory object.
pub fn inventory_name(app: &AppName) -> String {
    let name: String = app
        .as_str()
        .to_ascii_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' || c == '-' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let name = format!("driftless-{}", name.trim_matches(['.', '-']));
    ownership::label_value(&name)
}

/// Reads everything that `ask` names.
pub(super) async fn observe(
    api: &Api,
    facts: ClusterFacts,
    namespace: &str,
    ask: &Ask<'_>,
) -> Result<Observed, LiveError> {
    let namespace = ask
        .bundle
        .namespace
        .clone()
        .unwrap_or_else(|| namespace.to_owned());
    let mut kinds = api.kinds(false).await?;
    let back = ask.back.into_iter().flat_map(|bundle| &bundle.objects);
    if ask
        .bundle
        .objects
        .iter()
        .chain(back)
        .any(|manifest| resource_of(&kinds, manifest).is_none())
    {
        kinds = api.kinds(true).await?;
    }
    let mut problems = Vec::new();
    let drafts = drafts(&kinds, ask, &namespace, &mut problems);
    let name = inventory_name(&ask.key.app);
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
    let (live, inventory) = futures_util::try_join!(read_all(api, &kinds, ask, &drafts), async {
        match api
            .find(&format!("read ConfigMap/{namespace}/{name}"), &path)
            .await
        {
            Ok(found) => Ok(found.and_then(|object| read_inventory(&object, ask))),
            // Without it the store alone says what is ours.
            Err(error) if is_forbidden(&error) => Ok(None),
            Err(error) => Err(error),
        }
    })?;
    let mut live = live;
    let listed: Vec<ObjectKey> = inventory
        .iter()
        .flat_map(BTreeMap::keys)
        .filter(|key| !live.contains_key(*key))
        .cloned()
        .collect();
    let more: BTreeMap<ObjectKey, Seen> = stream::iter(listed)
        .map(|key| read_one(api, &kinds, ask, key))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    live.extend(more);
    let namespaces: BTreeSet<String> = drafts
        .keys()
        .filter(|key| &*key.kind == "Namespace" && !matches!(live.get(*key), Some(Seen::Live(_))))
        .map(|key| key.name.to_string())
        .collect();
    let wanted: BTreeMap<ObjectKey, Wanted> = stream::iter(drafts)
        .map(|(key, draft)| {
            let seen = if draft.resource.is_some() {
                live.get(&key).cloned().unwrap_or(Seen::Absent)
            } else {
                draft.missing.clone()
            };
            let blind = key
                .namespace
                .as_deref()
                .is_some_and(|namespace| namespaces.contains(namespace));
            complete(api, ask, key, draft, seen, blind)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let others = live
        .into_iter()
        .filter(|(key, _)| !wanted.contains_key(key))
        .collect();
    Ok(Observed {
        at: ask.now,
        cluster: facts,
        namespace,
        wanted,
        others,
        inventory,
        problems,
        stuck: BTreeMap::new(),
        unserved: unserved(&kinds, ask),
    })
}

/// A manifest on its way to a request.
struct Draft {
    body: Value,
    /// `None`: its kind is not served.
    resource: Option<Resource>,
    missing: Seen,
}

fn version_of(api_version: &str) -> &str {
    api_version
        .rsplit_once('/')
        .map_or(api_version, |(_, version)| version)
}

fn resource_of<'k>(kinds: &'k Kinds, manifest: &Manifest) -> Option<&'k Resource> {
    let version = version_of(&manifest.api_version);
    kinds
        .find(&manifest.key.group, &manifest.key.kind, Some(version))
        .filter(|found| found.version == version)
}

fn drafts(
    kinds: &Kinds,
    ask: &Ask<'_>,
    namespace: &str,
    problems: &mut Vec<(ObjectKey, String)>,
) -> BTreeMap<ObjectKey, Draft> {
    let mut drafts = BTreeMap::new();
    for manifest in &ask.bundle.objects {
        let key = &manifest.key;
        let resource = resource_of(kinds, manifest).cloned();
        let (namespaced, missing) = match &resource {
            Some(resource) => (resource.namespaced, Seen::Absent),
            None => match brought(ask.bundle, key) {
                Some(namespaced) => (namespaced, Seen::KindToCome),
                None => (key.namespace.is_some(), no_kind(kinds, manifest)),
            },
        };
        let place = namespaced.then(|| key.namespace.as_deref().unwrap_or(namespace));
        let full = ObjectKey::new(&key.group, &key.kind, place, &key.name);
        let body = sent(manifest, &full, ask);
        if drafts.contains_key(&full) {
            problems.push((
                full,
                "is in the app twice once its namespace is filled in".to_owned(),
            ));
            continue;
        }
        drafts.insert(
            full,
            Draft {
                body,
                resource,
                missing,
            },
        );
    }
    drafts
}

/// What of the release that would be put back can't be: its kind is gone, or is served in other versions only.
fn unserved(kinds: &Kinds, ask: &Ask<'_>) -> Vec<(ObjectKey, String)> {
    let Some(back) = ask.back else {
        return Vec::new();
    };
    back.objects
        .iter()
        .filter(|manifest| resource_of(kinds, manifest).is_none() && brought(back, &manifest.key).is_none())
        .filter_map(|manifest| match no_kind(kinds, manifest) {
            Seen::NoKind(served) => Some((manifest.key.clone(), served)),
            // A server that does not answer is no kind that is gone.
            _ => None,
        })
        .collect()
}

/// Whether an app itself defines the kind, and then whether it is namespaced.
fn brought(bundle: &Bundle, key: &ObjectKey) -> Option<bool> {
    bundle
        .objects
        .iter()
        .filter(|manifest| &*manifest.key.kind == "CustomResourceDefinition")
        .filter_map(|manifest| manifest.value.get("spec"))
        .find(|spec| {
            spec.get("group").and_then(Value::as_str) == Some(&*key.group)
                && spec.pointer("/names/kind").and_then(Value::as_str) == Some(&*key.kind)
        })
        .map(|spec| spec.get("scope").and_then(Value::as_str) == Some("Namespaced"))
}

fn no_kind(kinds: &Kinds, manifest: &Manifest) -> Seen {
    let key = &manifest.key;
    if kinds.is_stale(&key.group) {
        return Seen::Unknown(format!(
            "the server of the API group `{}` does not answer",
            key.group
        ));
    }
    let versions = kinds.versions(&key.group, &key.kind);
    let served = if versions.is_empty() {
        format!(
            "the cluster does not know the kind `{}` of `{}`",
            key.kind, manifest.api_version
        )
    } else {
        format!(
            "the cluster serves `{}` as {}, not as {}",
            key.kind,
            versions.join(", "),
            manifest.api_version
        )
    };
    Seen::NoKind(served)
}

/// The manifest as it is sent: with our marks and its namespace.
fn sent(manifest: &Manifest, key: &ObjectKey, ask: &Ask<'_>) -> Value {
    let mut body = manifest.value.clone();
    let Some(map) = body.as_object_mut() else {
        return body;
    };
    map.remove("status");
    if &*key.kind == "Secret" && key.group.is_empty() {
        plain_secret(map);
    }
    let metadata = map.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        match &key.namespace {
            Some(namespace) => metadata.insert("namespace".to_owned(), json!(&**namespace)),
            None => metadata.remove("namespace"),
        };
        if !metadata.get("labels").is_some_and(Value::is_object) {
            metadata.insert("labels".to_owned(), json!({}));
        }
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            for (name, value) in ownership::labels(ask.instance, &ask.key.app) {
                labels.insert(name.to_owned(), json!(value));
            }
        }
    }
    body
}

/// `stringData` is only ever written: as `data` it has an owner and can be compared.
fn plain_secret(map: &mut Map<String, Value>) {
    let Some(Value::Object(plain)) = map.remove("stringData") else {
        return;
    };
    let data = map.entry("data").or_insert_with(|| json!({}));
    if !data.is_object() {
        *data = json!({});
    }
    for (name, value) in plain {
        let encoded = base64::engine::general_purpose::STANDARD.encode(fields::plain(&value));
        if let Some(data) = data.as_object_mut() {
            data.insert(name, json!(encoded));
        }
    }
}

async fn read_all(
    api: &Api,
    kinds: &Kinds,
    ask: &Ask<'_>,
    drafts: &BTreeMap<ObjectKey, Draft>,
) -> Result<BTreeMap<ObjectKey, Seen>, LiveError> {
    let keys: BTreeSet<&ObjectKey> = drafts
        .iter()
        .filter(|(_, draft)| draft.resource.is_some())
        .map(|(key, _)| key)
        .chain(ask.owned.keys())
        .collect();
    let mut groups: BTreeMap<(&str, &str, Option<&str>), Vec<ObjectKey>> = BTreeMap::new();
    for key in keys {
        groups
            .entry((&key.group, &key.kind, key.namespace.as_deref()))
            .or_default()
            .push(key.clone());
    }
    let (many, few): (Vec<_>, Vec<_>) = groups.into_values().partition(|keys| keys.len() >= LIST_FROM);
    let single = stream::iter(few.into_iter().flatten())
        .map(|key| read_one(api, kinds, ask, key))
        .buffer_unordered(AT_ONCE)
        .try_collect::<BTreeMap<ObjectKey, Seen>>();
    let listed = stream::iter(many)
        .map(|keys| read_list(api, kinds, ask, keys))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<BTreeMap<ObjectKey, Seen>>>();
    let (mut found, lists) = futures_util::try_join!(single, listed)?;
    found.extend(lists.into_iter().flatten());
    Ok(found)
}

fn is_forbidden(error: &LiveError) -> bool {
    matches!(&error.problem, Problem::Api(refusal) if refusal.status == 403)
}

/// Whether the server of the object's group does not answer, while the API server itself does: that is unknown for objects of
/// this group, and says nothing about others.
fn is_unanswered(error: &LiveError, kinds: &Kinds, key: &ObjectKey) -> bool {
    kinds.is_stale(&key.group) && matches!(&error.problem, Problem::Api(refusal) if refusal.status >= 500)
}

async fn read_one(
    api: &Api,
    kinds: &Kinds,
    ask: &Ask<'_>,
    key: ObjectKey,
) -> Result<(ObjectKey, Seen), LiveError> {
    let Some(resource) = kinds.find(&key.group, &key.kind, written(ask, &key)) else {
        // A kind that is gone took its objects along, unless its server only does not answer.
        let seen = if kinds.is_stale(&key.group) {
            Seen::Unknown(format!(
                "the server of the API group `{}` does not answer",
                key.group
            ))
        } else {
            Seen::Absent
        };
        return Ok((key, seen));
    };
    let path = format!("{}/{}", resource.path(key.namespace.as_deref()), key.name);
    let seen = match api.find(&format!("read {key}"), &path).await {
        Ok(Some(object)) => Seen::Live(Box::new(live_object(object, ask, &key))),
        Ok(None) => Seen::Absent,
        Err(error) if is_forbidden(&error) || is_unanswered(&error, kinds, &key) => {
            Seen::Unknown(error.problem.to_string())
        }
        Err(error) => return Err(error),
    };
    Ok((key, seen))
}

async fn read_list(
    api: &Api,
    kinds: &Kinds,
    ask: &Ask<'_>,
    keys: Vec<ObjectKey>,
) -> Result<BTreeMap<ObjectKey, Seen>, LiveError> {
    let one_by_one = || async {
        stream::iter(keys.clone())
            .map(|key| read_one(api, kinds, ask, key))
            .buffer_unordered(AT_ONCE)
            .try_collect::<BTreeMap<ObjectKey, Seen>>()
            .await
    };
    let Some(first) = keys.first() else {
        return Ok(BTreeMap::new());
    };
    let Some(resource) = kinds.find(&first.group, &first.kind, written(ask, first)) else {
        return one_by_one().await;
    };
    let base = resource.path(first.namespace.as_deref());
    let mut by_name: BTreeMap<String, Value> = BTreeMap::new();
    let mut next = String::new();
    loop {
        let path = format!("{base}?limit=500{next}");
        let page = match api.get(&format!("list {}", resource.plural), &path).await {
            Ok(page) => page,
            // Listing may be forbidden where reading one is not; an expired page starts over object by object.
            Err(error)
                if matches!(&error.problem, Problem::Api(refusal) if [403, 410].contains(&refusal.status))
                    || is_unanswered(&error, kinds, first) =>
            {
                return one_by_one().await;
            }
            Err(error) => return Err(error),
        };
        for item in page.get("items").and_then(Value::as_array).into_iter().flatten() {
            let Some(name) = item.pointer("/metadata/name").and_then(Value::as_str) else {
                continue;
            };
            let mut item = item.clone();
            if let Some(map) = item.as_object_mut() {
                // Items of a list bear no kind of their own.
                map.insert("kind".to_owned(), json!(resource.kind));
                map.insert("apiVersion".to_owned(), json!(resource.api_version()));
            }
            by_name.insert(name.to_owned(), item);
        }
        match page
            .pointer("/metadata/continue")
            .and_then(Value::as_str)
            .filter(|token| !token.is_empty())
        {
            Some(token) => next = format!("&continue={}", super::client::escape(token)),
            None => break,
        }
    }
    Ok(keys
        .iter()
        .map(|key| {
            let seen = by_name.remove(&*key.name).map_or(Seen::Absent, |object| {
                Seen::Live(Box::new(live_object(object, ask, key)))
            });
            (key.clone(), seen)
        })
        .collect())
}

/// The version in which an object is written, or was sent.
fn written<'a>(ask: &'a Ask<'_>, key: &ObjectKey) -> Option<&'a str> {
    let manifest = ask.bundle.objects.iter().find(|manifest| {
        manifest.key.kind == key.kind
            && manifest.key.group == key.group
            && manifest.key.name == key.name
            && (manifest.key.namespace.is_none() || manifest.key.namespace == key.namespace)
    });
    manifest
        .map(|manifest| version_of(&manifest.api_version))
        .or_else(|| ask.owned.get(key).map(|owned| version_of(&owned.api_version)))
}

pub(super) fn live_object(mut object: Value, ask: &Ask<'_>, key: &ObjectKey) -> LiveObject {
    let text = |object: &Value, pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let managers = fields::managers(&object);
    let belongs = ownership::belongs(&object, ask.owned.get(key), ask.instance, &ask.key.app);
    let owned = fields::owned(&object, MANAGER);
    let deleting = object
        .pointer("/metadata/deletionTimestamp")
        .and_then(Value::as_str)
        .map(|at| {
            let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
            let finalizers = finalizers
                .into_iter()
                .flatten()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect();
            (at.parse().ok(), finalizers)
        });
    let (uid, resource_version) = (
        text(&object, "/metadata/uid"),
        text(&object, "/metadata/resourceVersion"),
    );
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
    let managed = object
        .pointer_mut("/metadata")
        .and_then(Value::as_object_mut)
        .and_then(|metadata| metadata.remove("managedFields"));
    LiveObject {
        uid,
        resource_version,
        generation,
        value: object,
        managers,
        managed: Arc::new(Body(managed.unwrap_or(Value::Null))),
        belongs,
        owned,
        deleting,
    }
}

async fn complete(
    api: &Api,
    ask: &Ask<'_>,
    key: ObjectKey,
    draft: Draft,
    seen: Seen,
    blind: bool,
) -> Result<(ObjectKey, Wanted), LiveError> {
    let mut body = draft.body;
    let mut left = Vec::new();
    let Some(resource) = draft.resource else {
        return Ok((
            key,
            Wanted {
                body: Arc::new(Body(body)),
                seen,
                left,
                dry: None,
            },
        ));
    };
    let dry = match &seen {
        Seen::Live(live) => {
            let mut how = ask.leave.clone();
            how.force |= annotated(&body, ownership::FORCE);
            left = ownership::leave(&mut body, &live.value, &key, &live.managers, &how);
            let same = ask.owned.get(&key).is_some_and(|owned| {
                owned.uid == live.uid && owned.sent == fields::digest(&body) && owned.owned == live.owned
            });
            if same || live.deleting.is_some() {
                None
            } else {
                Some(try_on(api, &resource, &key, &body, live).await?)
            }
        }
        Seen::Absent if blind => None,
        Seen::Absent => Some(dry_run(api, &resource, &key, &body).await?),
        _ => None,
    };
    Ok((
        key,
        Wanted {
            body: Arc::new(Body(body)),
            seen,
            left,
            dry,
        },
    ))
}

/// The dry run on a live object. Where it is refused and somebody has set fields by hand, the same object is tried under another
/// name, where nothing but the manifest can be wrong.
async fn try_on(
    api: &Api,
    resource: &Resource,
    key: &ObjectKey,
    body: &Value,
    live: &LiveObject,
) -> Result<DryRun, LiveError> {
    let tried = dry_run(api, resource, key, body).await?;
    let by_hand =
        || ownership::handed_over(&live.value, &live.managed.0, &live.managers, body, Handed::ByHand);
    if !matches!(&tried, DryRun::Refused(refusal) if refusal.status == 422) || by_hand().is_none() {
        return Ok(tried);
    }
    let other = ObjectKey::new(
        &key.group,
        &key.kind,
        key.namespace.as_deref(),
        &format!("{}-anew", key.name),
    );
    let named = |object: &Value, name: &str| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("name".to_owned(), json!(name));
        }
        object
    };
    match dry_run(api, resource, &other, &named(body, &other.name)).await? {
        DryRun::Would(after) => Ok(DryRun::Excluded(Arc::new(Body(named(&after.0, &key.name))))),
        _ => Ok(tried),
    }
}

/// Whether an annotation says yes, as Flux and we write it.
pub fn annotated(object: &Value, name: &str) -> bool {
    let value = object
        .pointer("/metadata/annotations")
        .and_then(|all| all.get(name))
        .and_then(Value::as_str);
    value.is_some_and(|value| ["true", "enabled"].contains(&value.to_ascii_lowercase().as_str()))
}

/// The path of an apply.
pub(super) fn apply_path(resource: &Resource, key: &ObjectKey, dry: bool) -> String {
    let dry = if dry { "&dryRun=All" } else { "" };
    format!(
        "{}/{}?fieldManager={MANAGER}&force=true&fieldValidation=Strict{dry}",
        resource.path(key.namespace.as_deref()),
        key.name
    )
}

async fn dry_run(api: &Api, resource: &Resource, key: &ObjectKey, body: &Value) -> Result<DryRun, LiveError> {
    let call = format!("try to apply {key}");
    let answer = api
        .json(
            &call,
            Method::PATCH,
            &apply_path(resource, key, true),
            Some(APPLY_PATCH),
            Some(body),
        )
        .await;
    match answer {
        Ok(answer) => Ok(DryRun::Would(Arc::new(Body(answer.value)))),
        Err(error) => match error.problem {
            Problem::Api(refusal) => {
                let refusal: Refusal = *refusal;
                if refusal.is_immutable() {
                    Ok(DryRun::Immutable(refusal))
                } else if refusal.message.contains("does not support dry run")
                    || refusal.message.contains("dryRun")
                {
                    Ok(DryRun::NotPossible(refusal.message))
                } else if refusal.by_admission()
                    || (400..500).contains(&refusal.status) && ![401, 408, 429].contains(&refusal.status)
                {
                    Ok(DryRun::Refused(refusal))
                } else {
                    Err(LiveError {
                        problem: Problem::Api(Box::new(refusal)),
                        call,
                        cause: error.cause,
                    })
                }
            }
            problem => Err(LiveError {
                problem,
                call,
                cause: error.cause,
            }),
        },
    }
}

/// The field of the inventory object that holds the list.
pub const INVENTORY_FIELD: &str = "objects";

/// What the inventory object lists; `None` when it is another app's or instance's.
fn read_inventory(object: &Value, ask: &Ask<'_>) -> Option<BTreeMap<ObjectKey, String>> {
    if ownership::belongs(object, None, ask.instance, &ask.key.app) != Belongs::Ours {
        return None;
    }
    let text = object.pointer("/data")?.get(INVENTORY_FIELD)?.as_str()?;
    let entries: Vec<(ObjectKey, String)> = serde_json::from_str(text).ok()?;
    Some(entries.into_iter().collect())
}

/// The inventory object that lists `objects` with their UIDs.
pub fn inventory_object(
    namespace: &str,
    ask_instance: &crate::names::InstanceName,
    app: &AppName,
    objects: &BTreeMap<ObjectKey, String>,
) -> Value {
    let labels: Map<String, Value> = ownership::labels(ask_instance, app)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    let entries: Vec<(&ObjectKey, &String)> = objects.iter().collect();
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": inventory_name(app), "namespace": namespace, "labels": labels},
        "data": {INVENTORY_FIELD: serde_json::to_string(&entries).unwrap_or_default()},
    })
}
