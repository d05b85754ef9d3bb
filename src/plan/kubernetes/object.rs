//! One object: what is done about it, and why.
//!
//! In: the object as it is sent, what is live, the dry run. Out: a change, or the problem that stands in the way.
//! Guaranteed: the values of a Secret and of what looks like one are masked; a difference says who moved. Must not: look at
//! any other object.

use std::sync::Arc;

use serde_json::Value;

use super::refused::{is_left_over, refused};
use super::{GONE, OBSERVED, Scene};
use crate::live::Refusal;
use crate::live::kubernetes::fields::{self, Difference, Path, plain, stripped};
use crate::live::kubernetes::op::{MANAGER, Op};
use crate::live::kubernetes::ownership::{self, Handed};
use crate::live::kubernetes::world::{Belongs, Body, DryRun, LiveObject, OwnedObject, Seen, Wanted};
use crate::names::ObjectKey;
use crate::plan::{
    Action, Author, Await, Blocked, Cause, Change, Condition, FieldDiff, Moved, Phase, Problem, ProblemKind,
    Step,
};
use crate::secret::{Text, looks_secret};

/// What was decided about one object.
pub(crate) struct Decided {
    pub change: Change,
    /// What the inventory should say where nothing is sent.
    pub known: Option<OwnedObject>,
}

/// Annotations that allow an object to be made anew: ours, Flux's; Argo CD's is a list.
const FORCE: &[&str] = &[ownership::FORCE, "kustomize.toolkit.fluxcd.io/force"];

/// Kinds that are never made anew: what they hold would be lost.
const KEPT: &[&str] = &[
    "Namespace",
    "PersistentVolumeClaim",
    "PersistentVolume",
    "CustomResourceDefinition",
];

pub(crate) fn decide(scene: &Scene<'_>, key: &ObjectKey, wanted: &Wanted) -> Result<Decided, Box<Problem>> {
    let owned = scene.inventory.objects.get(key);
    match &wanted.seen {
        Seen::NoKind(message) => Err(problem(
            scene,
            key,
            "E0585",
            message.clone(),
            None,
            ProblemKind::Preflight,
        )),
        Seen::Unknown(message) => {
            let message = format!("{} can't be read: {message}", scene.resource(key));
            Err(problem(scene, key, "E0582", message, None, ProblemKind::Target))
        }
        Seen::KindToCome | Seen::Absent => absent(scene, key, wanted, owned),
        Seen::Live(live) => present(scene, key, wanted, live, owned),
    }
}

fn change(scene: &Scene<'_>, key: &ObjectKey, action: Action, cause: Cause) -> Change {
    Change {
        key: scene.resource(key),
        action,
        cause,
        fields: Vec::new(),
        needs: Vec::new(),
        phase: Phase::Apply,
        steps: Vec::new(),
        notes: Vec::new(),
    }
}

fn kept(scene: &Scene<'_>, key: &ObjectKey, note: Option<&str>, known: Option<OwnedObject>) -> Decided {
    let mut change = change(scene, key, Action::Keep, Cause::Unchanged);
    change.notes.extend(note.map(str::to_owned));
    Decided { change, known }
}

fn apply(key: &ObjectKey, wanted: &Wanted, uid: Option<&str>) -> Step {
    Step::Object(Op::Apply {
        key: key.clone(),
        body: Arc::clone(&wanted.body),
        uid: uid.map(str::to_owned),
    })
}

fn is_job(key: &ObjectKey) -> bool {
    &*key.kind == "Job" && &*key.group == "batch"
}

/// Whether what was last sent under a name was a later release's than the one that is settled on: one that was rolled back.
/// Healing runs the settled release's job no second time, and takes no definition back.
fn sent_later(scene: &Scene<'_>, wanted: &Wanted, owned: Option<&OwnedObject>) -> bool {
    // What a rebuilt inventory lists was sent by nobody knows which release.
    let known = owned.filter(|_| !scene.new && !scene.inventory.rebuilt);
    known.is_some_and(|owned| owned.sent != fields::digest(&wanted.body.0))
}

const DEFINED_LATER: &str = "definitions are never rolled back: objects may be stored in the new version";

const RAN_LATER: &str = "the job of the release that was rolled back ran last; jobs are never run again";

fn is_definition(key: &ObjectKey) -> bool {
    &*key.kind == "CustomResourceDefinition"
}

fn absent(
    scene: &Scene<'_>,
    key: &ObjectKey,
    wanted: &Wanted,
    owned: Option<&OwnedObject>,
) -> Result<Decided, Box<Problem>> {
    if is_job(key) {
        let done = owned.is_some_and(|owned| owned.done && owned.sent == fields::digest(&wanted.body.0));
        if done {
            return Ok(kept(scene, key, None, owned.cloned()));
        }
        if scene.rolling_back() {
            return Ok(kept(
                scene,
                key,
                Some("jobs are never run again by a rollback"),
                owned.cloned(),
            ));
        }
        if sent_later(scene, wanted, owned) {
            return Ok(kept(scene, key, Some(RAN_LATER), owned.cloned()));
        }
    }
    if let Some(DryRun::Refused(refusal) | DryRun::Immutable(refusal)) = &wanted.dry {
        return Err(refused(scene, key, refusal));
    }
    let cause = if owned.is_some() && !scene.new {
        Cause::Drifted
    } else {
        Cause::NotFound
    };
    let mut made = change(scene, key, Action::Create, cause);
    if let Some(DryRun::NotPossible(why)) = &wanted.dry {
        made.notes
            .push(format!("not checked by the server beforehand: {why}"));
    }
    made.steps.push(apply(key, wanted, None));
    Ok(Decided {
        change: made,
        known: None,
    })
}

fn present(
    scene: &Scene<'_>,
    key: &ObjectKey,
    wanted: &Wanted,
    live: &LiveObject,
    owned: Option<&OwnedObject>,
) -> Result<Decided, Box<Problem>> {
    let blocked = |why: Blocked, fields: Vec<FieldDiff>, note: Option<String>| {
        let mut change = change(
            scene,
            key,
            Action::Blocked(why),
            Cause::Declared(scene.desired.revision.clone()),
        );
        change.fields = fields;
        change.notes.extend(note);
        Ok(Decided { change, known: None })
    };
    let mut adopting = None;
    match &live.belongs {
        Belongs::Ours => {}
        Belongs::OtherInstance(_) | Belongs::OtherApp(_) if scene.stance.takeover => adopting = Some(None),
        Belongs::OtherInstance(other) => {
            return blocked(Blocked::OtherInstance(other.clone()), Vec::new(), None);
        }
        Belongs::OtherApp(other) if scene.stance.handed_over.contains(key) => {
            adopting = Some(Some(format!("handed over by the app `{other}`")));
        }
        // It moved on with a newer commit. The way back does not take it from its new app, nor fail for it.
        Belongs::OtherApp(other) if scene.rolling_back() => {
            let note = format!("belongs to the app `{other}` now; left to it");
            return Ok(kept(scene, key, Some(&note), owned.cloned()));
        }
        Belongs::OtherApp(other) => return blocked(Blocked::OtherApp(other.clone()), Vec::new(), None),
        Belongs::Recreated { .. } => {
            adopting = Some(Some("it was deleted and made again by somebody else".to_owned()))
        }
        Belongs::Tool(tool) => {
            let note = format!("managed by {tool}; release it there first, or both keep changing it");
            if !scene.stance.adopt {
                return blocked(
                    Blocked::NotAdopted,
                    differing(scene, key, wanted, live, owned),
                    Some(note),
                );
            }
            adopting = Some(Some(note));
        }
        Belongs::Unmanaged => adopting = Some(None),
    }
    if live.deleting.is_some() {
        return Ok(after_deletion(scene, key, wanted, live));
    }
    if scene.rolling_back() && is_job(key) {
        return Ok(kept(
            scene,
            key,
            Some("jobs are never rolled back"),
            owned.cloned(),
        ));
    }
    if scene.rolling_back() && is_definition(key) {
        return Ok(kept(scene, key, Some(DEFINED_LATER), owned.cloned()));
    }
    let hook = scene.manifest(key).and_then(|manifest| manifest.hook).is_some();
    if hook && is_job(key) && scene.new {
        return Ok(anew(
            scene,
            key,
            wanted,
            live,
            "a hook runs once for each release",
        ));
    }
    if is_job(key) && live.belongs == Belongs::Ours && sent_later(scene, wanted, owned) {
        return Ok(kept(scene, key, Some(RAN_LATER), owned.cloned()));
    }
    if is_definition(key) && live.belongs == Belongs::Ours && sent_later(scene, wanted, owned) {
        return Ok(kept(scene, key, Some(DEFINED_LATER), owned.cloned()));
    }
    match &wanted.dry {
        Some(DryRun::Refused(refusal)) if !is_left_over(refusal, &wanted.body.0) => {
            return Err(refused(scene, key, refusal));
        }
        Some(DryRun::Refused(refusal) | DryRun::Immutable(refusal)) => {
            return immutable(scene, key, wanted, live, refusal);
        }
        _ => {}
    }
    let sent = fields::digest(&wanted.body.0);
    let fields = differing(scene, key, wanted, live, owned);
    let known = OwnedObject {
        uid: live.uid.clone(),
        sent: sent.clone(),
        owned: live.owned.clone(),
        api_version: wanted.body.0.get("apiVersion").map(plain).unwrap_or_default(),
        generation: owned.and_then(|owned| owned.generation).or(live.generation),
        done: owned.is_some_and(|owned| owned.done && owned.sent == sent),
        adopted: owned.is_some_and(|owned| owned.adopted && owned.uid == live.uid),
    };
    let left: Vec<String> = wanted
        .left
        .iter()
        .map(|(path, who)| format!("{path} is left to {who}"))
        .collect();
    if let Some(note) = adopting {
        if !fields.is_empty()
            && !scene.stance.adopt
            && !scene.stance.takeover
            && !scene.stance.handed_over.contains(key)
        {
            return blocked(Blocked::NotAdopted, fields, note);
        }
        let mut taken = change(scene, key, Action::Adopt, Cause::NotFound);
        if !fields.is_empty() {
            taken.action = Action::Update;
        }
        taken.notes.extend(note);
        taken.notes.extend(left);
        taken.fields = fields;
        taken.steps = steps(key, wanted, live);
        return Ok(Decided {
            change: taken,
            known: None,
        });
    }
    let same_as_sent = owned.is_some_and(|owned| owned.sent == sent && owned.uid == live.uid);
    let marked = live.managers.iter().any(|manager| manager.name == MANAGER);
    let unmarked = !ownership::bears_marks_of(&live.value, &wanted.body.0);
    if fields.is_empty()
        && marked
        && !unmarked
        && (same_as_sent || wanted.dry.is_none() || equal(wanted, live))
    {
        return Ok(Decided {
            known: Some(known),
            ..kept(scene, key, None, None)
        });
    }
    let moved_live = if fields.is_empty() {
        unmarked && same_as_sent
    } else {
        fields.iter().all(|field| field.moved == Moved::Live)
    };
    let cause = match scene.stance.roll_back_from {
        Some(from) => Cause::RollBack { from: from.clone() },
        None if moved_live => Cause::Drifted,
        None => Cause::Declared(scene.desired.revision.clone()),
    };
    let action = if moved_live && !scene.rolling_back() {
        Action::Heal
    } else {
        Action::Update
    };
    let mut update = change(scene, key, action, cause);
    if fields.is_empty() {
        update.notes.push(if unmarked {
            "our labels are put back".to_owned()
        } else {
            "only which fields are ours changes".to_owned()
        });
    }
    if let Some(DryRun::NotPossible(why)) = &wanted.dry {
        update.notes.push(format!("compared without the server: {why}"));
    }
    if let Some(DryRun::Excluded(_)) = &wanted.dry {
        let note = "what was set by hand excludes what Git says, and is taken away";
        update.notes.push(note.to_owned());
    }
    update.notes.extend(left);
    update.fields = fields;
    update.steps = steps(key, wanted, live);
    let another_template = || {
        update
            .fields
            .iter()
            .any(|field| field.field.starts_with("spec.template"))
    };
    if let Some((name, uid)) = scene
        .observed
        .stuck
        .get(key)
        .filter(|_| scene.rolling_back() || another_template())
    {
        // An ordered set never replaces a pod that is not ready: with the new template, that pod has to go by hand. Not before
        // the controller knows the template, or it would make the same pod again.
        update.steps.push(Step::Await(Await {
            condition: Condition::ObjectObserved { key: key.clone() },
            patience: OBSERVED,
        }));
        update.steps.push(Step::Object(Op::DeletePod {
            namespace: key.namespace.as_deref().unwrap_or_default().to_owned(),
            name: name.clone(),
            uid: uid.clone(),
        }));
    }
    Ok(Decided {
        change: update,
        known: None,
    })
}

/// The `managedFields` after what is handed over to us, if anything is.
fn handed_over(wanted: &Wanted, live: &LiveObject) -> Option<Value> {
    let what = match &wanted.dry {
        Some(DryRun::Excluded(_)) => Handed::ByHand,
        _ => Handed::Applied,
    };
    ownership::handed_over(&live.value, &live.managed.0, &live.managers, &wanted.body.0, what)
}

/// The calls that bring a live object to what is wanted.
fn steps(key: &ObjectKey, wanted: &Wanted, live: &LiveObject) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(after) = handed_over(wanted, live) {
        steps.push(Step::Object(Op::TakeOver {
            key: key.clone(),
            api_version: wanted.body.0.get("apiVersion").map(plain).unwrap_or_default(),
            uid: live.uid.clone(),
            resource_version: live.resource_version.clone(),
            managed_fields: Arc::new(Body(after)),
        }));
    }
    steps.push(apply(key, wanted, Some(&live.uid)));
    steps
}

fn after_deletion(scene: &Scene<'_>, key: &ObjectKey, wanted: &Wanted, live: &LiveObject) -> Decided {
    let mut made = change(scene, key, Action::Create, Cause::Drifted);
    let waits = live
        .deleting
        .as_ref()
        .map(|(_, finalizers)| finalizers.join(", "))
        .filter(|names| !names.is_empty());
    made.notes.push(match waits {
        Some(names) => format!("the old one is being deleted and waits on {names}"),
        None => "the old one is being deleted".to_owned(),
    });
    made.steps = vec![gone(key), apply(key, wanted, None)];
    Decided {
        change: made,
        known: None,
    }
}

pub(super) fn gone(key: &ObjectKey) -> Step {
    Step::Await(Await {
        condition: Condition::ObjectGone { key: key.clone() },
        patience: GONE,
    })
}

fn anew(scene: &Scene<'_>, key: &ObjectKey, wanted: &Wanted, live: &LiveObject, why: &str) -> Decided {
    let mut change = change(
        scene,
        key,
        Action::Replace,
        Cause::Declared(scene.desired.revision.clone()),
    );
    change.notes.push(why.to_owned());
    change.steps = vec![
        Step::Object(Op::Delete {
            key: key.clone(),
            uid: live.uid.clone(),
        }),
        gone(key),
        apply(key, wanted, None),
    ];
    Decided { change, known: None }
}

fn immutable(
    scene: &Scene<'_>,
    key: &ObjectKey,
    wanted: &Wanted,
    live: &LiveObject,
    refusal: &Refusal,
) -> Result<Decided, Box<Problem>> {
    let finished = is_job(key) && conditions(&live.value).any(|name| name == "Complete" || name == "Failed");
    let force = FORCE
        .iter()
        .any(|name| crate::live::kubernetes::annotated(&wanted.body.0, name));
    let replace = wanted
        .body
        .0
        .pointer("/metadata/annotations")
        .and_then(|all| all.get("argocd.argoproj.io/sync-options"))
        .and_then(Value::as_str)
        .is_some_and(|options| options.split(',').any(|option| option.trim() == "Replace=true"));
    if KEPT.contains(&&*key.kind) || !(finished || force || replace) {
        return Err(refused(scene, key, refusal));
    }
    let why = if finished {
        "the old run has ended; the job is run anew"
    } else {
        "a field can't be changed in place: deleted and made anew, as the object allows"
    };
    Ok(anew(scene, key, wanted, live, why))
}

fn conditions(object: &Value) -> impl Iterator<Item = &str> {
    object
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|condition| condition.get("status").and_then(Value::as_str) == Some("True"))
        .filter_map(|condition| condition.get("type")?.as_str())
}

/// Whether the dry run would change nothing, our marks included.
fn equal(wanted: &Wanted, live: &LiveObject) -> bool {
    match &wanted.dry {
        Some(DryRun::Would(after)) => {
            let takes = fields::owned(&after.0, MANAGER) == live.owned;
            takes && fields::differences(&stripped(&live.value), &stripped(&after.0)).is_empty()
        }
        Some(DryRun::Excluded(_)) => false,
        _ => true,
    }
}

/// What would change, field by field.
fn differing(
    scene: &Scene<'_>,
    key: &ObjectKey,
    wanted: &Wanted,
    live: &LiveObject,
    owned: Option<&OwnedObject>,
) -> Vec<FieldDiff> {
    // Our marks are no difference that anybody asked for.
    let bare = |object: &Value| ownership::unmarked(stripped(object));
    let before = bare(&live.value);
    let mut found: Vec<Difference> = match &wanted.dry {
        Some(DryRun::Would(after)) => fields::differences(&before, &bare(&after.0)),
        // Nobody could be asked what it would become: what the manifest names is compared as it is written.
        Some(DryRun::NotPossible(_)) => fields::differences(&before, &bare(&wanted.body.0))
            .into_iter()
            .filter(|one| one.to.is_some())
            .collect(),
        // As new it would also have what servers and controllers have filled in; of that nothing is said.
        Some(DryRun::Excluded(anew)) => fields::differences(&before, &bare(&anew.0))
            .into_iter()
            .filter(|one| one.path.get(&wanted.body.0).is_some())
            .collect(),
        _ => Vec::new(),
    };
    // What client-side apply owns and Git no longer has goes once its fields are ours; the dry run can't know that.
    if let Some(after) = handed_over(wanted, live) {
        found.extend(going(live, &after, &wanted.body.0));
    }
    let sent = fields::digest(&wanted.body.0);
    let git_is_same = owned.is_some_and(|owned| owned.sent == sent);
    let stable = scene
        .stance
        .effective
        .and_then(|record| record.snapshot.bundle.as_ref())
        .and_then(|bundle| super::find(bundle, key));
    let mut diffs: Vec<FieldDiff> = found
        .into_iter()
        .filter(|one| !ownership::is_mark(&one.path))
        .filter(|one| one.path != last_applied())
        .map(|one| {
            let same = stable.is_some_and(|stable| {
                one.path.get(&stable.value) == one.path.get(&wanted.body.0)
                    && one.path.get(&stable.value).is_some()
            });
            let pointer = scene
                .manifest(key)
                .map(|manifest| one.path.pointer(&manifest.value))
                .unwrap_or_default();
            let moved = if git_is_same || same {
                Moved::Live
            } else {
                Moved::Git
            };
            FieldDiff {
                moved,
                by: author(live, &one.path).filter(|_| moved == Moved::Live),
                place: scene.place(key, &pointer),
                from: one.from.as_ref().map(|value| shown(key, &one.path, value)),
                to: one.to.as_ref().map(|value| shown(key, &one.path, value)),
                field: one.path.to_string(),
            }
        })
        .collect();
    diffs.sort_by(|a, b| a.field.cmp(&b.field));
    diffs.dedup_by(|a, b| a.field == b.field);
    diffs
}

fn last_applied() -> Path {
    Path::of(&[
        "metadata",
        "annotations",
        "kubectl.kubernetes.io/last-applied-configuration",
    ])
}

/// Fields that go with a take-over: ours after it, not in the manifest, and nobody else's.
fn going(live: &LiveObject, after: &Value, body: &Value) -> Vec<Difference> {
    let mut object = live.value.clone();
    if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.insert("managedFields".to_owned(), after.clone());
    }
    let managers = fields::managers(&object);
    let (ours, others): (Vec<_>, Vec<_>) = managers
        .iter()
        .partition(|manager| manager.name == MANAGER && manager.operation == "Apply");
    let bare = stripped(&live.value);
    ours.iter()
        .flat_map(|manager| manager.fields.leaves(&bare))
        .filter(|path| path.get(body).is_none() && !others.iter().any(|other| other.fields.owns(&bare, path)))
        .filter_map(|path| {
            let from = path.get(&bare).cloned()?;
            Some(Difference {
                path,
                from: Some(from),
                to: None,
            })
        })
        .collect()
}

/// Who set a live field, as the server wrote it down: of several, the one who did it last.
fn author(live: &LiveObject, path: &Path) -> Option<Author> {
    let who = live
        .managers
        .iter()
        .filter(|manager| manager.name != MANAGER && manager.fields.owns(&live.value, path))
        .max_by_key(|manager| manager.at)?;
    Some(Author {
        name: who.name.clone(),
        at: who.at,
    })
}

/// A value as it may be shown.
fn shown(key: &ObjectKey, path: &Path, value: &Value) -> Text {
    let text = plain(value);
    let in_secret = &*key.kind == "Secret"
        && matches!(path.0.first(), Some(fields::Segment::Field(name)) if name == "data" || name == "stringData");
    if in_secret || looks_secret(path.called(), &text) || holds_secret(value) {
        return Text::secret(text);
    }
    Text::plain(text)
}

/// Whether a whole structure holds something that must not be shown.
fn holds_secret(value: &Value) -> bool {
    match value {
        Value::Object(map) => {
            let named = map.get("name").and_then(Value::as_str).unwrap_or_default();
            map.iter().any(|(name, value)| match value {
                Value::String(text) => {
                    looks_secret(name, text) || (name == "value" && looks_secret(named, text))
                }
                other => holds_secret(other),
            })
        }
        Value::Array(items) => items.iter().any(holds_secret),
        _ => false,
    }
}

pub(super) fn problem(
    scene: &Scene<'_>,
    key: &ObjectKey,
    code: &'static str,
    message: String,
    pointer: Option<&str>,
    kind: ProblemKind,
) -> Box<Problem> {
    Box::new(Problem {
        code,
        message,
        place: scene.place(key, pointer.unwrap_or_default()),
        help: None,
        kind,
    })
}
