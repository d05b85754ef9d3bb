//! Our reading of Compose files against that of `docker compose`.
//!
//! Each file of `tests/cases/compose` is rendered and printed; `docker compose config` then reads the original and what we
//! printed. Both must mean the same to it. This proves three things at once: we drop nothing, we invent nothing, and what
//! `driftless render` prints is a Compose file.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use driftless::names::AppName;
use driftless::render::app::{App, AppKind, Rules};
use driftless::render::{Inputs, compose, compose_yaml};
use driftless::source::Checkout;
use serde_json::{Map, Value};

use crate::support::engine::Version;
use crate::support::root;

#[test]
fn docker_compose_reads_our_rendering_as_it_reads_the_original() {
    let program = Version::V28.programs().join("docker-compose");
    assert!(
        program.exists(),
        "`make setup` brings docker compose: {} is not there",
        program.display()
    );
    let folder = root().join("tests/cases/compose");
    let files = files(&folder);
    let names: Vec<&String> = files.keys().filter(|name| name.ends_with(".yaml")).collect();
    assert!(names.len() >= 25, "the corpus has {} files", names.len());
    let mut differences = Vec::new();
    for name in names {
        let variables = name.replace(".yaml", ".env");
        let original = config(
            &program,
            &folder,
            name,
            files.get(&variables).map(|_| variables.as_str()),
            None,
        );
        let ours = print(name, &variables, &files)
            .and_then(|printed| config(&program, &folder, "-", None, Some(&printed)));
        match (original.map(normal), ours.map(normal)) {
            (Ok(original), Ok(ours)) if original == ours => {}
            (Ok(original), Ok(ours)) => differences.push(format!("{name}\n{}", difference(&original, &ours))),
            (original, ours) => {
                differences.extend(
                    [original.err(), ours.err()]
                        .into_iter()
                        .flatten()
                        .map(|why| format!("{name}\n{why}")),
                );
            }
        }
    }
    assert!(
        differences.is_empty(),
        "- compose, + ours\n{}",
        differences.join("\n")
    );
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect()
}

fn print(name: &str, variables: &str, files: &BTreeMap<String, String>) -> Result<String, String> {
    let mut all = files.clone();
    // In the commit, so that nothing is masked.
    if let Some(text) = files.get(variables) {
        all.insert(".env".to_owned(), text.clone());
    }
    let app = App {
        name: AppName::try_from("compose").unwrap(),
        path: String::new(),
        kind: AppKind::Compose {
            file: name.to_owned(),
        },
        target: None,
        after: Vec::new(),
        profiles: Vec::new(),
        rules: Rules::default(),
        declared: None,
    };
    let loaded = compose::load(&Checkout::in_memory(all), &app, name, &Inputs::default())
        .map_err(|found| found.to_string())?;
    Ok(compose_yaml(&loaded.project))
}

/// What `docker compose config` makes of a file, or of `text`.
fn config(
    program: &Path,
    folder: &Path,
    file: &str,
    variables: Option<&str>,
    text: Option<&str>,
) -> Result<Value, String> {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", "/usr/bin:/bin")
        .current_dir(folder);
    command
        .args(["--project-directory", "."])
        .args(variables.map(|name| format!("--env-file={name}")));
    command.args(["-f", file, "config", "--format", "json"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, text.unwrap_or_default().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!(
            "docker compose refuses {file}: {complaint}\n{}",
            text.unwrap_or_default()
        ));
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap())
}

/// One spelling where Compose keeps several, and nothing that is ours or masked.
fn normal(mut config: Value) -> Value {
    let top = config.as_object_mut().unwrap();
    // Masked; configs are printed with their content in place of their file.
    top.remove("secrets");
    top.remove("configs");
    top.retain(|key, _| !key.starts_with("x-"));
    for service in top
        .get_mut("services")
        .and_then(Value::as_object_mut)
        .unwrap()
        .values_mut()
    {
        let service = service.as_object_mut().unwrap();
        service.retain(|key, value| !key.starts_with("x-") && !value.is_null());
        limits(service);
        defaults(service);
    }
    sorted(&mut config);
    config
}

/// The older keys for limits under `deploy`.
fn limits(service: &mut Map<String, Value>) {
    for (old, path) in [
        ("cpus", ["limits", "cpus"]),
        ("mem_limit", ["limits", "memory"]),
        ("pids_limit", ["limits", "pids"]),
        ("mem_reservation", ["reservations", "memory"]),
    ] {
        if let Some(value) = service.remove(old) {
            at(service, &["deploy", "resources", path[0]]).insert(path[1].to_owned(), value);
        }
    }
    if let Some(scale) = service.remove("scale") {
        at(service, &["deploy"]).insert("replicas".to_owned(), scale);
    }
    // `deploy.restart_policy` is printed as `restart`, which means the same on one engine.
    if let Some(deploy) = service.get_mut("deploy").and_then(Value::as_object_mut) {
        deploy
            .retain(|key, value| key != "placement" || value.as_object().is_some_and(|map| !map.is_empty()));
        if let Some(policy) = deploy.remove("restart_policy") {
            let attempts = policy
                .get("max_attempts")
                .map(|number| format!(":{number}"))
                .unwrap_or_default();
            let restart = format!("{}{attempts}", policy["condition"].as_str().unwrap());
            service.insert("restart".to_owned(), Value::String(restart));
        }
    }
    if let Some(deploy) = service.get_mut("deploy").and_then(Value::as_object_mut) {
        deploy.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
    }
    if service
        .get("deploy")
        .and_then(Value::as_object)
        .is_some_and(Map::is_empty)
    {
        service.remove("deploy");
    }
    // CPUs and sizes are sometimes text and sometimes numbers.
    for section in ["limits", "reservations"] {
        let pointer = format!("/resources/{section}");
        if let Some(map) = service
            .get_mut("deploy")
            .and_then(|deploy| deploy.pointer_mut(&pointer))
        {
            for value in map.as_object_mut().unwrap().values_mut() {
                if let Value::Number(number) = value {
                    *value = Value::String(number.to_string());
                }
            }
        }
    }
}

fn at<'m>(map: &'m mut Map<String, Value>, path: &[&str]) -> &'m mut Map<String, Value> {
    path.iter().fold(map, |map, key| {
        map.entry(*key)
            .or_insert_with(|| Value::Object(Map::new()))
            .as_object_mut()
            .unwrap()
    })
}

/// What Compose leaves out or writes out, depending on the form that was used.
fn defaults(service: &mut Map<String, Value>) {
    for port in service
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let port = port.as_object_mut().unwrap();
        port.remove("mode");
        port.entry("protocol").or_insert_with(|| "tcp".into());
    }
    for mount in service
        .get_mut("volumes")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let mount = mount.as_object_mut().unwrap();
        for kind in ["bind", "volume", "tmpfs"] {
            if let Some(inner) = mount.get_mut(kind).and_then(Value::as_object_mut) {
                // Absent is true.
                inner.retain(|key, value| key != "create_host_path" || value == &Value::Bool(false));
                if inner.is_empty() {
                    mount.remove(kind);
                }
            }
        }
    }
    for port in service
        .get_mut("expose")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let text = port.as_str().unwrap().to_owned();
        *port = Value::String(if text.contains('/') {
            text
        } else {
            format!("{text}/tcp")
        });
    }
    for (kind, prefix) in [("configs", "/"), ("secrets", "/run/secrets/")] {
        for entry in service
            .get_mut(kind)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let entry = entry.as_object_mut().unwrap();
            let source = entry["source"].as_str().unwrap().to_owned();
            let target = entry
                .get("target")
                .and_then(Value::as_str)
                .map_or(source, str::to_owned);
            let target = if target.starts_with('/') {
                target
            } else {
                format!("{prefix}{target}")
            };
            entry.insert("target".to_owned(), Value::String(target));
        }
    }
    for request in service
        .get_mut("gpus")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        // Implied by `gpus`.
        request.as_object_mut().unwrap().remove("capabilities");
    }
    for link in service
        .get_mut("links")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let text = link.as_str().unwrap().to_owned();
        *link = Value::String(if text.contains(':') {
            text
        } else {
            format!("{text}:{text}")
        });
    }
    for option in service
        .get_mut("security_opt")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        *option = Value::String(option.as_str().unwrap().replacen(':', "=", 1));
    }
    service.retain(|key, value| !matches!(key.as_str(), "tty" | "stdin_open") || value == &Value::Bool(true));
}

/// Lists whose order means nothing here.
fn sorted(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(sorted);
            if items.iter().all(Value::is_object) {
                items.sort_by_key(Value::to_string);
            }
        }
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                sorted(value);
                let set = matches!(
                    key.as_str(),
                    "expose"
                        | "cap_add"
                        | "cap_drop"
                        | "aliases"
                        | "links"
                        | "extra_hosts"
                        | "tmpfs"
                        | "group_add"
                        | "security_opt"
                );
                if let (true, Value::Array(items)) = (set, value) {
                    items.sort_by_key(Value::to_string);
                }
            }
        }
        _ => {}
    }
}

fn difference(original: &Value, ours: &Value) -> String {
    let text = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    let (original, ours) = (text(original), text(ours));
    let diff = similar::TextDiff::from_lines(original.as_str(), ours.as_str());
    diff.unified_diff().context_radius(2).to_string()
}
