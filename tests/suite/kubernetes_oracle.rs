//! Our plan against what `kubectl diff` and `kubectl apply --dry-run=server` say of the same files: objects of many kinds, with
//! everything that is known to make false differences.
//!
//! `kubectl` reads the files by itself and asks the same API server; from its answers only values are taken. Each object's
//! verdict (new, unchanged, changed, refused) and each changed field must be ours. The few differences that are there on purpose
//! are named one by one, here and in `docs/kubernetes.md`.

mod corpus;
mod kubectl;

use std::collections::{BTreeMap, BTreeSet};

use corpus::{Corpus, Verdict};
use kubectl::{Fields, Kubectl, Shown};
use serde_json::Value;

use crate::support::cluster::Cluster;
use crate::support::kube_scene::{KubeScene, PATIENCE};

/// What our plan and `kubectl` must have seen.
const OBJECTS: usize = 85;
const KINDS: usize = 45;

/// How often the corpus is looked at while nothing happens.
const LOOKS: usize = 50;

/// Objects that `kubectl` can't try before others of the same files are there: ours are known to come with one apply.
const TOGETHER: &[(&str, &str)] = &[
    ("Widget/defaulted", "no matches for kind \"Widget\""),
    ("Widget/lists", "no matches for kind \"Widget\""),
    ("Widget/plain", "no matches for kind \"Widget\""),
    ("Gadget/UNIQUE", "no matches for kind \"Gadget\""),
    ("ConfigMap/beside", "namespaces \"UNIQUE-beside\" not found"),
];

/// Fields that `kubectl` would change and we leave, whatever else changes; with the reason.
const LEFT: &[(&str, &str, &str)] = &[(
    "ClusterRole/UNIQUE-whole",
    "rules",
    "a controller aggregates them, and its fields are left to it",
)];

/// What is refused even when it may be made anew; with the reason.
const NEVER_ANEW: &[(&str, &str)] = &[
    (
        "CustomResourceDefinition/gadgets.UNIQUE.example.com",
        "what it defines would be lost",
    ),
    ("PersistentVolume/UNIQUE-share", "what it holds would be lost"),
    ("PersistentVolumeClaim/waiting", "what it holds would be lost"),
    ("Deployment/chosen", "its new text is no valid object either"),
];

/// What the API server refuses not only because a field can't change: see the two in the corpus.
const WRONG: &[&str] = &["Deployment/chosen", "Deployment/turning"];

/// Changed fields as our plan has them, with the texts before and after; `None` where they are masked.
type Texts = BTreeMap<String, Option<(Option<String>, Option<String>)>>;

/// Objects in which a new field excludes an old one. Where somebody has set the old one again by hand, `kubectl` can't apply the
/// new one; we take the old one away with it.
const EXCLUDING: &[&str] = &["Deployment/web", "Deployment/worker", "PodDisruptionBudget/web"];

/// What somebody deletes.
const DELETED: &[&str] = &[
    "ConfigMap/bare",
    "Lease/leader",
    "NetworkPolicy/deny",
    "PriorityClass/UNIQUE-low",
    "Role/nothing",
    "Service/upstream",
];

/// What can't be written whole: controllers have added to it.
const NOT_WRITTEN_WHOLE: &[&str] = &[
    "ClusterRole/UNIQUE-whole",
    "Job/import",
    "PersistentVolume/UNIQUE-data",
    "Pod/shell",
];

/// What our plan says of one object.
#[derive(Debug, PartialEq)]
enum Ours {
    New,
    Unchanged,
    Changed(Texts),
    Anew,
    Refused(String),
}

/// One app that holds the corpus, and what is outside of its namespace; all of it is deleted at the end.
struct Oracle<'c> {
    scene: KubeScene<'c>,
    kubectl: Kubectl<'c>,
    corpus: Corpus,
    unique: String,
}

impl<'c> Oracle<'c> {
    fn new(cluster: &'c Cluster) -> Self {
        let mut scene = KubeScene::on(cluster, "oracle", "health: { bake: 1s }", "");
        scene.env.set("DRIFTLESS_INSTANCE", "oracle");
        scene.repo.remove(&scene.file());
        let unique = cluster.unique("oracle");
        let corpus = Corpus::read(&unique);
        let kinds: BTreeSet<&str> = corpus.documents.iter().map(|one| kind(&one.key)).collect();
        assert!(
            corpus.verdicts().len() >= OBJECTS,
            "{} objects",
            corpus.verdicts().len()
        );
        assert!(kinds.len() >= KINDS, "{kinds:?}");
        let kubectl = Kubectl { cluster };
        Self {
            scene,
            kubectl,
            corpus,
            unique,
        }
    }

    /// A name of the tables above in this run.
    fn own(&self, text: &str) -> String {
        text.replace("UNIQUE", &self.unique)
    }

    /// Whether one of the tables above has the object.
    fn is_one_of(&self, keys: &[&str], object: &Value) -> bool {
        let key = kubectl::key_of(object);
        keys.iter().any(|one| self.own(one) == key)
    }

    fn commit(&self, files: &BTreeMap<String, String>) {
        for (name, text) in files {
            self.scene
                .repo
                .write(&format!("apps/{}/{name}", self.scene.app), text);
        }
        self.scene.repo.commit("change the corpus");
    }

    /// The objects of files as `kubectl` reads them, with our marks, which are no part of the question.
    fn read(&self, files: &BTreeMap<String, String>) -> Vec<Value> {
        let labels = [
            ("app.kubernetes.io/managed-by", "driftless"),
            ("driftless.dev/app", &self.scene.app),
            ("driftless.dev/instance", "oracle"),
        ];
        self.kubectl.read(files, &labels, |object| {
            // Outside of namespaces all names are this test's own.
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let placed = object["metadata"]["namespace"].is_string() || name.contains(&self.unique);
            (!placed).then(|| self.scene.app.clone())
        })
    }

    /// What our plan says of each object.
    #[track_caller]
    fn plan(&self) -> BTreeMap<String, Ours> {
        let said = self.scene.run(&["plan", "--output", "json"]);
        let plan = said.json()["plans"][0].clone();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let mut all = BTreeMap::new();
        assert!(plan.is_object(), "no plan was made\n{said}");
        for change in plan["changes"].as_array().expect("a list") {
            let ours = match change["action"].as_str().unwrap_or_default() {
                "record" => continue,
                "create" => Ours::New,
                "keep" => Ours::Unchanged,
                "replace" => Ours::Anew,
                "update" | "heal" => {
                    let fields = change["fields"].as_array().expect("a list").iter();
                    Ours::Changed(
                        fields
                            .map(|field| {
                                let shown = field["secret"] == false;
                                let values = shown.then(|| (text(&field["from"]), text(&field["to"])));
                                (text(&field["field"]).expect("a path"), values)
                            })
                            .collect(),
                    )
                }
                other => panic!("{}: {other}", change["resource"]),
            };
            let key = short(change["resource"].as_str().unwrap_or_default());
            assert!(all.insert(key, ours).is_none(), "{change:#} is there twice");
        }
        for problem in plan["problems"].as_array().expect("a list") {
            let message = problem["message"].as_str().unwrap_or_default();
            let key = short(message.split(": ").next().unwrap_or_default());
            let code = text(&problem["code"]).expect("a code");
            assert!(
                all.insert(key, Ours::Refused(format!("{code} {message}")))
                    .is_none(),
                "{message}"
            );
        }
        let known: BTreeSet<&String> = all.keys().collect();
        let wanted = self.corpus.verdicts();
        assert_eq!(
            known,
            wanted.keys().collect(),
            "the plan names each object once\n{said}"
        );
        all
    }

    /// What `kubectl` would change, without what is left on purpose. That must be there to be left.
    fn diff(&self, objects: &[Value]) -> BTreeMap<String, Shown> {
        let mut shown = self.kubectl.diff(objects, "driftless");
        for (object, field, why) in LEFT {
            if let Some(shown) = shown.get_mut(&self.own(object)) {
                let there = shown.fields.remove(*field);
                assert!(
                    there.is_some() || shown.new,
                    "{object}: {field} differs no more: {why}"
                );
            }
        }
        shown
    }

    /// Applies what is committed, and waits until controllers have done to it what they do.
    #[track_caller]
    fn apply(&self, says: &str) {
        drop(self.scene.apply().success().says(says));
        let role = self.own("/apis/rbac.authorization.k8s.io/v1/clusterroles/UNIQUE-whole");
        self.kubectl.cluster.wait_for(&role, PATIENCE, |role| {
            let rules = role["rules"].as_array();
            rules.is_some_and(|rules| !rules.is_empty())
        });
        self.scene
            .space
            .wait_for("v1/persistentvolumeclaims/data", PATIENCE, |claim| {
                claim["status"]["phase"] == "Bound"
            });
    }

    /// Nothing is to do, by our word and by `kubectl`'s.
    #[track_caller]
    fn assert_settled(&self, files: &BTreeMap<String, String>) {
        let moved: Vec<_> = self
            .plan()
            .into_iter()
            .filter(|(_, ours)| *ours != Ours::Unchanged)
            .collect();
        assert!(moved.is_empty(), "our plan: {moved:#?}");
        let shown = self.diff(&self.read(files));
        let moved: Vec<_> = shown
            .into_iter()
            .filter(|(_, shown)| shown.new || !shown.fields.is_empty())
            .collect();
        assert!(moved.is_empty(), "kubectl's: {moved:#?}");
    }

    /// What somebody did to `count` objects is drift to both, and goes. A field that was only added is no drift: it is its maker's.
    #[track_caller]
    fn assert_healed(&self, files: &BTreeMap<String, String>, count: usize) -> BTreeMap<String, Ours> {
        let ours = self.plan();
        assert_eq!(self.disagreements(&ours, &self.read(files)), [""; 0]);
        let drifted = ours.values().filter(|ours| **ours != Ours::Unchanged).count();
        assert!(drifted * 4 > count * 3, "{drifted} of {count}: {ours:#?}");
        self.apply("healed");
        self.assert_settled(files);
        ours
    }

    /// Our plan and `kubectl diff` name the same changes, and what the API server refuses is refused by our plan.
    fn disagreements(&self, ours: &BTreeMap<String, Ours>, objects: &[Value]) -> Vec<String> {
        let (taken, said) = self.kubectl.try_to_apply(objects);
        let invalid = kubectl::invalid(&said);
        let (tried, refused): (Vec<Value>, Vec<Value>) = objects
            .iter()
            .cloned()
            .partition(|object| taken.contains(&kubectl::key_of(object)));
        let shown = self.diff(&tried);
        let mut found = Vec::new();
        for object in &refused {
            let key = kubectl::key_of(object);
            match &ours[&key] {
                _ if !invalid.contains(&key) => {
                    found.push(format!("{key}: kubectl says neither yes nor 422:\n{said}"))
                }
                Ours::Refused(why) if why.starts_with("E0586") => {}
                Ours::Refused(why) if why.starts_with("E0581") && WRONG.contains(&key.as_str()) => {}
                Ours::Anew => {}
                Ours::Changed(_) if self.is_one_of(EXCLUDING, object) => {}
                ours => found.push(format!("{key}: the API server says 422, and our plan {ours:?}")),
            }
        }
        for (key, shown) in shown {
            match (&ours[&key], shown.new) {
                (Ours::New, true) => {}
                (Ours::Unchanged, false) if shown.fields.is_empty() => {}
                (Ours::Changed(fields), false)
                    if fields.is_empty() && self.corpus.verdicts()[&key] != Verdict::Taken =>
                {
                    found.push(format!("{key}: our plan has a change without a field"));
                }
                (Ours::Changed(fields), false) => found.extend(compare(&key, fields, &shown.fields)),
                (ours, new) => {
                    found.push(format!(
                        "{key}: kubectl diff (new: {new}) has {:#?}, and our plan {ours:?}",
                        shown.fields
                    ));
                }
            }
        }
        found
    }
}

impl Drop for Oracle<'_> {
    fn drop(&mut self) {
        if self.kubectl.cluster.is_private() {
            return;
        }
        // What is in the namespace goes with it, and what a definition defines with the definition.
        let names: Vec<&str> = (self.corpus.documents.iter())
            .map(|one| one.key.as_str())
            .filter(|key| key.contains(&self.unique) && kind(key) != "Gadget")
            .collect();
        let delete = ["delete", "--ignore-not-found", "--wait=false"];
        drop(self.kubectl.cluster.kubectl(&[&delete[..], &names].concat()));
    }
}

fn kind(key: &str) -> &str {
    key.split('/').next().unwrap_or_default()
}

/// `Kind/name` of `Kind/name` or `Kind/namespace/name`.
fn short(resource: &str) -> String {
    let name = resource.rsplit('/').next().unwrap_or_default();
    format!("{}/{name}", kind(resource))
}

/// Fields that only one of the two names, or with other values.
fn compare(key: &str, ours: &Texts, theirs: &Fields) -> Vec<String> {
    let plain = |value: &Option<Value>| {
        value
            .as_ref()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let all: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let found = all
        .into_iter()
        .filter_map(|field| match (ours.get(field), theirs.get(field)) {
            (Some(None), Some(_)) => None,
            (Some(Some(a)), Some((from, to))) => {
                let b = (plain(from), plain(to));
                (*a != b).then(|| {
                    format!("{key}: {field} goes by our plan from {a:?}, by kubectl diff from {b:?}")
                })
            }
            (a, b) => Some(format!(
                "{key}: {field} is in our plan {a:?}, in kubectl diff {b:?}"
            )),
        });
    found.collect()
}

#[test]
fn our_plan_is_that_of_kubectl() {
    let oracle = Oracle::new(Cluster::shared());
    let (wanted, before) = (oracle.corpus.verdicts(), oracle.corpus.files(|_| false));
    let none: &[String] = &[];

    // Nothing is there: all of it is new to both.
    oracle.commit(&before);
    let objects = oracle.read(&before);
    let ours = oracle.plan();
    assert!(ours.values().all(|one| *one == Ours::New), "{ours:#?}");
    let together: Vec<&str> = TOGETHER.iter().map(|(key, _)| *key).collect();
    let waits = |object: &&Value| oracle.is_one_of(&together, object);
    let (waiting, alone): (Vec<&Value>, Vec<&Value>) = objects.iter().partition(waits);
    let (waiting, alone): (Vec<Value>, Vec<Value>) = (
        waiting.into_iter().cloned().collect(),
        alone.into_iter().cloned().collect(),
    );
    assert_eq!(waiting.len(), TOGETHER.len());
    let (taken, said) = oracle.kubectl.try_to_apply(&waiting);
    assert!(taken.is_empty(), "{taken:?}");
    for (object, words) in TOGETHER {
        assert!(said.stderr.contains(&oracle.own(words)), "{object}\n{said}");
    }
    assert_eq!(oracle.disagreements(&ours, &alone), none);

    // It is read as kubectl reads it.
    assert_eq!(rendered_otherwise(&oracle, &objects), none);

    // All of it is there: none of it differs.
    oracle.apply("deployed");
    oracle.assert_settled(&before);

    // One field of each object changes in Git.
    let after = oracle.corpus.files(|_| true);
    oracle.commit(&after);
    let ours = oracle.plan();
    assert_eq!(oracle.disagreements(&ours, &oracle.read(&after)), none);
    let verdict = |ours: &Ours| match ours {
        Ours::Unchanged => Verdict::Same,
        Ours::Changed(fields) if fields.is_empty() => Verdict::Taken,
        Ours::Changed(_) => Verdict::Changed,
        _ => Verdict::Refused,
    };
    let otherwise: Vec<_> = ours
        .iter()
        .filter(|(key, ours)| verdict(ours) != wanted[*key])
        .collect();
    assert!(otherwise.is_empty(), "not as the marks say: {otherwise:#?}");

    // What is refused may be made anew where it says so.
    oracle.commit(&oracle.corpus.forced());
    let never: BTreeSet<String> = NEVER_ANEW.iter().map(|(key, _)| oracle.own(key)).collect();
    let otherwise: Vec<_> = oracle
        .plan()
        .into_iter()
        .filter(|(key, ours)| {
            let wanted = wanted[key] == Verdict::Refused && !never.contains(key);
            wanted != (*ours == Ours::Anew)
        })
        .collect();
    assert!(otherwise.is_empty(), "made anew or not: {otherwise:#?}");

    // What can change does.
    let after = oracle.corpus.files(|one| one.verdict != Verdict::Refused);
    oracle.commit(&after);
    oracle.apply("deployed");
    oracle.assert_settled(&after);

    // Somebody sets everything back past Git, field by field.
    let changed: Vec<Value> = oracle
        .read(&before)
        .into_iter()
        .filter(|object| wanted[&kubectl::key_of(object)] == Verdict::Changed)
        .collect();
    // With the old field beside the new one an object would be wrong.
    let (_, added): (Vec<Value>, Vec<Value>) = changed
        .iter()
        .cloned()
        .partition(|object| oracle.is_one_of(EXCLUDING, object));
    oracle.kubectl.apply_as("kubectl-edit", &added);
    oracle.assert_healed(&after, added.len());

    // And again whole objects, so that fields are missing; some are deleted.
    let (deleted, written): (Vec<Value>, Vec<Value>) = changed
        .into_iter()
        .filter(|object| !oracle.is_one_of(NOT_WRITTEN_WHOLE, object))
        .partition(|object| oracle.is_one_of(DELETED, object));
    oracle.kubectl.replace(&written);
    oracle.kubectl.delete(&deleted);
    assert_eq!(deleted.len(), DELETED.len());
    let ours = oracle.assert_healed(&after, written.len() + deleted.len());
    let Ours::Changed(fields) = &ours["PodDisruptionBudget/web"] else {
        panic!("{ours:#?}");
    };
    let text = |text: &str| Some(text.to_owned());
    let wanted = [
        ("spec.maxUnavailable", Some((text("50%"), None))),
        ("spec.minAvailable", Some((None, text("50%")))),
    ];
    assert_eq!(
        *fields,
        wanted.map(|(field, texts)| (field.to_owned(), texts)).into()
    );
}

#[test]
fn what_the_api_server_refuses_is_refused_by_our_plan() {
    let scene = KubeScene::new("oracle-refused", "");
    let pod = |more: &str| format!("spec: {{ containers: [{{ name: main, image: \"web:1\", {more} }}] }}");
    let refused = [
        (
            "Pod",
            "twice",
            "v1",
            pod("env: [{ name: A, value: \"1\" }, { name: A, value: \"2\" }]"),
        ),
        ("Pod", "unknown", "v1", pod("imagePolicy: Always")),
        ("Pod", "wrong-type", "v1", pod("command: web")),
        (
            "Pod",
            "no-quantity",
            "v1",
            pod("resources: { limits: { memory: 1Gx } }"),
        ),
        (
            "Pod",
            "too-much",
            "v1",
            pod("resources: { limits: { cpu: 1 }, requests: { cpu: 2 } }"),
        ),
        (
            "Pod",
            "no-volume",
            "v1",
            pod("volumeMounts: [{ name: none, mountPath: /none }]"),
        ),
        (
            "Service",
            "no-port",
            "v1",
            "spec: { ports: [{ port: 70000 }] }".to_owned(),
        ),
        ("ConfigMap", "number", "v1", "data: { key: 1 }".to_owned()),
        ("ConfigMap", "label", "v1", "data: {}".to_owned()),
        (
            "CronJob",
            "never",
            "batch/v1",
            "spec: { schedule: never, jobTemplate: {} }".to_owned(),
        ),
        ("Deployment", "empty", "apps/v1", "spec: {}".to_owned()),
        ("PersistentVolumeClaim", "empty", "v1", "spec: {}".to_owned()),
    ];
    let manifests = refused.iter().map(|(kind, name, version, rest)| {
        let labels = if *name == "label" {
            ", labels: { a: \"b c\" }"
        } else {
            ""
        };
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{ name: {name}{labels} }}\n{rest}\n---\n")
    });
    let manifests: String = manifests.collect();
    scene.commit(&manifests);
    let kubectl = Kubectl {
        cluster: scene.space.cluster(),
    };
    let objects = kubectl.read(
        &BTreeMap::from([(String::new(), manifests)]),
        &[("some", "mark")],
        |_| Some(scene.app.clone()),
    );
    let (taken, said) = kubectl.try_to_apply(&objects);
    assert!(taken.is_empty(), "{taken:?}\n{said}");
    let said = scene.run(&["plan", "--output", "json"]);
    let plan = said.json()["plans"][0].clone();
    assert!(plan.is_object(), "no plan was made\n{said}");
    let problems: Vec<&str> = plan["problems"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["message"].as_str())
        .collect();
    for (kind, name, ..) in &refused {
        let key = format!("{kind}/{name}: ");
        assert!(
            problems.iter().any(|message| message.starts_with(&key)),
            "{key}{problems:#?}\n{said}"
        );
    }
    assert_eq!(problems.len(), refused.len(), "{problems:#?}");
    drop(scene.apply().code(6));
    scene.proxy.assert_read_only();
}

#[test]
fn the_corpus_does_not_drift_by_itself() {
    let cluster = Cluster::private();
    let oracle = Oracle::new(&cluster);
    let before = oracle.corpus.files(|_| false);
    oracle.commit(&before);
    oracle.apply("deployed");
    oracle.scene.proxy.clear();
    let look = |rounds: usize| {
        for round in 0..rounds {
            let drift = oracle.scene.run(&["drift"]);
            assert_eq!(drift.status, Some(0), "round {round}: {drift}");
        }
    };
    look(LOOKS / 2);
    // Another API server process, with nothing in its caches.
    cluster.restart_api_server();
    look(LOOKS / 2);
    oracle.scene.proxy.assert_read_only();
    oracle.assert_settled(&before);
}

/// What `driftless render` prints must mean to `kubectl` what the files do, but for what is taken away on purpose.
fn rendered_otherwise(oracle: &Oracle<'_>, objects: &[Value]) -> Vec<String> {
    let rendered = oracle.scene.run(&["render", &oracle.scene.app]).success();
    let rendered = oracle.read(&BTreeMap::from([("rendered".to_owned(), rendered.stdout)]));
    let rendered: BTreeMap<String, &Value> = rendered.iter().map(|one| (kubectl::key_of(one), one)).collect();
    let mut found = Vec::new();
    for object in objects {
        let key = kubectl::key_of(object);
        let mut object = object.clone();
        object.as_object_mut().expect("an object").remove("status");
        for pointer in [
            "/metadata",
            "/spec/template/metadata",
            "/spec/jobTemplate/metadata",
            "/spec/jobTemplate/spec/template/metadata",
        ] {
            if let Some(metadata) = object.pointer_mut(pointer).and_then(Value::as_object_mut) {
                metadata.retain(|name, value| name != "creationTimestamp" || !value.is_null());
            }
        }
        if kind(&key) == "Secret" {
            // Its values are masked.
            for field in ["data", "stringData"] {
                for value in object
                    .get_mut(field)
                    .and_then(Value::as_object_mut)
                    .into_iter()
                    .flatten()
                {
                    *value.1 = driftless::secret::MASKED.into();
                }
            }
        }
        match rendered.get(&key) {
            Some(ours) if **ours == object => {}
            ours => found.push(format!(
                "{key}: kubectl reads {object:#}\nand from what we print {ours:#?}"
            )),
        }
    }
    found
}
