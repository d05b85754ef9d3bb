//! What counts as a change of an app: digest *content* (decision 2).
//!
//! In: a rendered [`Project`] and the app's rules. Out: `v1:<sha256>` over canonical JSON (keys sorted, no blanks).
//! Guaranteed: equal intent has equal digests; another version of the rule has another prefix. Must not: hash anything
//! that does not reach an engine or the gate.
//!
//! # Not counted
//! - where something is written (files, lines), comments, the order of keys, quotes, anchors, `x-` fragments, `version:`
//! - how it is spelled: short or long form, `1m` or `60s`, a list or a mapping, the variable a value came from
//! - whether a value is secret (the value itself counts)
//! - services of profiles that are not enabled; networks, volumes, configs and secrets that no service uses
//! - the path of a bound file of the commit (its content, modes and names count)
//! - rules that only say what follows: `rollback`, `drift`, `prune`, `sync`, `ignore`, `after`, `host_dir`;
//!   and who does it: `serviceAccount`
//! - health rules that equal the default
//!
//! What an image tag means is counted in the *release* digest, not here.

use serde_json::Value;

use super::app::{HealthRules, Rules};
use super::bundle::Bundle;
use super::model::Project;
use crate::names::Digest;

/// The version of the rule.
pub const VERSION: &str = "v1";

/// The content digest of a project under its rules.
pub fn content(project: &Project, rules: &Rules) -> Digest {
    let mut text = String::new();
    // A project is maps with text keys, lists, text and numbers: JSON can hold all of it.
    let mut value = serde_json::to_value(project).unwrap_or_default();
    if let Value::Object(map) = &mut value {
        map.remove("disabled");
        // Their keys stand in the mounts, and are hashes of their content.
        map.remove("trees");
        if rules.health != HealthRules::default() {
            map.insert(
                "health".to_owned(),
                serde_json::to_value(&rules.health).unwrap_or_default(),
            );
        }
    }
    canonical(&value, &mut text);
    Digest::of(VERSION, text.as_bytes())
}

/// The content digest of an app's objects under its rules. Where an object is written, and what rendered it, does not count.
pub fn of_bundle(bundle: &Bundle, rules: &Rules) -> Digest {
    let mut text = String::new();
    let objects: Vec<Value> = bundle
        .objects
        .iter()
        .map(|object| serde_json::json!([object.value, object.wave, object.hook]))
        .collect();
    let health = (rules.health != HealthRules::default()).then_some(&rules.health);
    plainly(&serde_json::json!([bundle.namespace, objects, health]), &mut text);
    Digest::of(VERSION, text.as_bytes())
}

/// JSON with sorted keys.
fn plainly(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for key in keys {
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                plainly(map.get(key).unwrap_or(&Value::Null), out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                plainly(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// JSON with sorted keys and without secrecy flags. (`serde_json` sorts by itself only while no crate of the build asks it
/// to keep the order.)
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map
                .iter()
                .filter(|(key, value)| *key != "secret" || !value.is_boolean())
                .map(|(key, _)| key)
                .collect();
            keys.sort();
            out.push('{');
            for (at, key) in keys.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                canonical(map.get(key).unwrap_or(&Value::Null), out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}
