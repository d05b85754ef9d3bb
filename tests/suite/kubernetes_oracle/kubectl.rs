//! What `kubectl` makes of the corpus: how it reads it, what it would change, what the API server refuses it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::support::cluster::Cluster;
use crate::support::command::CommandOutput;

/// Changed fields by their path, with the values before and after.
pub type Fields = BTreeMap<String, (Option<Value>, Option<Value>)>;

/// `kubectl` as admin of a cluster, without a namespace of its own.
pub struct Kubectl<'c> {
    pub cluster: &'c Cluster,
}

/// What `kubectl diff` shows of one object.
#[derive(Debug)]
pub struct Shown {
    /// Whether there was no such object.
    pub new: bool,
    pub fields: Fields,
}

/// The key of an object as the corpus has it.
pub fn key_of(object: &Value) -> String {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    format!("{}/{}", text("/kind"), text("/metadata/name"))
}

impl Kubectl<'_> {
    fn run(&self, arguments: &[&str], objects: &[Value], variables: &[(&str, &Path)]) -> CommandOutput {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string();
        let mut command = self.cluster.kubectl_command(&self.cluster.kubeconfig());
        command.args(arguments).args(["--filename", "-"]);
        command.envs(variables.iter().copied());
        CommandOutput::with_input(&mut command, list.as_bytes())
    }

    /// The objects of files, read by `kubectl` alone, with our marks and with the namespace that `place` gives.
    pub fn read(
        &self,
        files: &BTreeMap<String, String>,
        labels: &[(&str, &str)],
        place: impl Fn(&Value) -> Option<String>,
    ) -> Vec<Value> {
        let all = files.values().cloned().collect::<Vec<_>>().join("\n---\n");
        let mut command = self.cluster.kubectl_command(&self.cluster.kubeconfig());
        command.args(["label", "--local", "--overwrite", "--output=json", "--filename=-"]);
        command.args(labels.iter().map(|(name, value)| format!("{name}={value}")));
        let said = CommandOutput::with_input(&mut command, all.as_bytes()).success();
        let objects = serde_json::Deserializer::from_str(&said.stdout).into_iter::<Value>();
        let mut objects: Vec<Value> = objects.map(|one| one.expect("kubectl prints JSON")).collect();
        for object in &mut objects {
            if let Some(namespace) = place(object) {
                object["metadata"]["namespace"] = namespace.into();
            }
        }
        objects
    }

    /// What `kubectl diff --server-side` shows, object by object.
    pub fn diff(&self, objects: &[Value], manager: &str) -> BTreeMap<String, Shown> {
        let folder = tempfile::tempdir().expect("a folder");
        let copy = folder.path().join("copy.sh");
        std::fs::write(
            &copy,
            "#!/bin/sh\ncp -R \"$1\" \"$TREES/live\" && cp -R \"$2\" \"$TREES/merged\"\n",
        )
        .expect("a script");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&copy, mode).expect("a file of our own");
        let manager = format!("--field-manager={manager}");
        let said = self.run(
            &[
                "diff",
                "--server-side",
                "--force-conflicts",
                "--concurrency=8",
                &manager,
            ],
            objects,
            &[("KUBECTL_EXTERNAL_DIFF", &copy), ("TREES", folder.path())],
        );
        drop(said.success());
        let (live, merged) = (
            tree(&folder.path().join("live")),
            tree(&folder.path().join("merged")),
        );
        assert_eq!(merged.len(), objects.len(), "kubectl shows each object");
        let shown = merged.into_iter().map(|(key, after)| {
            let fields = live.get(&key).map(|before| differences(before, &after));
            let new = fields.is_none();
            let fields = fields.unwrap_or_default();
            (key, Shown { new, fields })
        });
        shown.collect()
    }

    /// What an apply would do: the objects that are taken, and what was said of all others.
    pub fn try_to_apply(&self, objects: &[Value]) -> (BTreeSet<String>, CommandOutput) {
        let said = self.run(
            &[
                "apply",
                "--server-side",
                "--force-conflicts",
                "--field-manager=driftless",
                "--dry-run=server",
            ],
            objects,
            &[],
        );
        let line =
            Regex::new(r"(?m)^([^/\s]+)/(\S+) serverside-applied \(server dry run\)$").expect("a pattern");
        let taken: BTreeSet<(String, String)> = line
            .captures_iter(&said.stdout)
            .map(|found| {
                (
                    found[1].split('.').next().unwrap_or_default().to_owned(),
                    found[2].to_owned(),
                )
            })
            .collect();
        let taken = objects
            .iter()
            .map(key_of)
            .filter(|key| {
                let (kind, name) = key.split_once('/').expect("a key");
                taken.contains(&(kind.to_ascii_lowercase(), name.to_owned()))
            })
            .collect();
        (taken, said)
    }

    /// Applies for another manager, as somebody who works past Git.
    pub fn apply_as(&self, manager: &str, objects: &[Value]) {
        let manager = format!("--field-manager={manager}");
        let arguments = ["apply", "--server-side", "--force-conflicts", &manager];
        drop(self.run(&arguments, objects, &[]).success());
    }

    /// Writes whole objects over what is there, as an editor does. What they don't have goes. A controller that writes its
    /// status at the same moment makes it a conflict; then it is done again.
    pub fn replace(&self, objects: &[Value]) {
        for _ in 0..5 {
            let said = self.run(&["replace", "--field-manager=kubectl-replace"], objects, &[]);
            let mut errors = said.stderr.lines().filter(|line| line.starts_with("Error"));
            if said.status == Some(0) {
                return;
            }
            assert!(errors.all(|line| line.contains("(Conflict)")), "{said}");
        }
        panic!("kubectl replace meets a conflict each time");
    }

    /// Deletes them, and waits until they are gone.
    pub fn delete(&self, objects: &[Value]) {
        drop(self.run(&["delete"], objects, &[]).success());
    }
}

/// The objects that were refused with 422: `The Service "web" is invalid: …`.
pub fn invalid(said: &CommandOutput) -> BTreeSet<String> {
    let line = Regex::new(r#"(?m)^(?:The |Error from server \(Invalid\): )(\w+)\S* "([^"]+)" is invalid:"#)
        .expect("a pattern");
    line.captures_iter(&said.stderr)
        .map(|found| format!("{}/{}", &found[1], &found[2]))
        .collect()
}

/// The files that `kubectl diff` wrote: an object each.
fn tree(folder: &Path) -> BTreeMap<String, Value> {
    std::fs::read_dir(folder)
        .expect("kubectl ran the script")
        .map(|entry| {
            let text = std::fs::read_to_string(entry.expect("a folder").path()).expect("a file");
            let object: Value = serde_yaml::from_str(&text).expect("kubectl writes YAML");
            (key_of(&object), object)
        })
        .collect()
}

/// What differs in what somebody asks for: the status, and what a server counts, is not.
fn differences(before: &Value, after: &Value) -> Fields {
    let bare = |object: &Value| {
        let mut object = object.clone();
        let map = object.as_object_mut().expect("an object");
        map.remove("status");
        let metadata = map["metadata"].as_object_mut().expect("metadata");
        for counted in ["generation", "resourceVersion", "managedFields"] {
            metadata.remove(counted);
        }
        object
    };
    let mut found = Fields::new();
    compare(Some(&bare(before)), Some(&bare(after)), "", &mut found);
    found
}

fn compare(before: Option<&Value>, after: Option<&Value>, path: &str, found: &mut Fields) {
    match (before, after) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
                compare(a.get(name), b.get(name), &below(path, name), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a != b => {
            match (by_key(a, b), a.len() == b.len()) {
                (Some((a, b)), _) => {
                    let common = |these: &[(String, &Value)], those: &[(String, &Value)]| -> Vec<Value> {
                        let there = |key: &String| those.iter().any(|(other, _)| other == key);
                        these
                            .iter()
                            .filter(|(key, _)| there(key))
                            .map(|(key, _)| key.clone().into())
                            .collect()
                    };
                    let order = (common(&a, &b), common(&b, &a));
                    if order.0 != order.1 {
                        found.insert(path.to_owned(), (Some(order.0.into()), Some(order.1.into())));
                    }
                    let of = |items: &[(String, &Value)]| -> Map<String, Value> {
                        items
                            .iter()
                            .map(|(key, item)| (format!("[{key}]"), (*item).clone()))
                            .collect()
                    };
                    let (a, b) = (of(&a), of(&b));
                    for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                        compare(a.get(key), b.get(key), &format!("{path}{key}"), found);
                    }
                }
                (None, true) if a.iter().all(Value::is_object) => {
                    for (at, (a, b)) in a.iter().zip(b).enumerate() {
                        compare(Some(a), Some(b), &format!("{path}[{at}]"), found);
                    }
                }
                (None, _) => {
                    found.insert(path.to_owned(), (before.cloned(), after.cloned()));
                }
            }
        }
        (a, b) if a != b => {
            found.insert(path.to_owned(), (before.cloned(), after.cloned()));
        }
        _ => {}
    }
}

fn below(path: &str, name: &str) -> String {
    match name {
        _ if name.contains(['.', '/']) => format!("{path}[{name}]"),
        _ if path.is_empty() => name.to_owned(),
        _ => format!("{path}.{name}"),
    }
}

type Keyed<'v> = Vec<(String, &'v Value)>;

/// Two lists of objects by what tells their items apart in the API of Kubernetes; `None` where nothing does.
fn by_key<'v>(a: &'v [Value], b: &'v [Value]) -> Option<(Keyed<'v>, Keyed<'v>)> {
    const KEYS: &[&[&str]] = &[
        &["name"],
        &["containerPort", "protocol"],
        &["port", "protocol"],
        &["mountPath"],
        &["topologyKey"],
        &["ip"],
        &["type"],
    ];
    let keyed = |items: &'v [Value], keys: &[&str]| -> Option<Keyed<'v>> {
        let mut found = Keyed::new();
        for item in items {
            let parts: Option<Vec<String>> = keys
                .iter()
                .map(|key| {
                    item.get(*key)
                        .map(|value| value.as_str().map_or(value.to_string(), str::to_owned))
                })
                .collect();
            let key = parts?.join("/");
            if found.iter().any(|(other, _)| *other == key) {
                return None;
            }
            found.push((key, item));
        }
        Some(found)
    };
    KEYS.iter()
        .find_map(|keys| Some((keyed(a, keys)?, keyed(b, keys)?)))
}
