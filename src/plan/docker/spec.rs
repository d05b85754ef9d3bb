//! Spec digests: what a container, network or volume was made with.
//!
//! In: canonical requests. Out: `s1:…` digests. Guaranteed: independent of the container's number and name, of the image
//! (it is compared by id), of our labels and of the engine's version; content of injected files is in it as a hash. Must
//! not: change for equal intent between two versions of the program without a new prefix.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::live::docker::op::CopyFile;
use crate::names::{Digest, ServiceName};

/// The version of these rules. A digest with another prefix was made by another version of the program; then the live
/// object is compared field by field instead (decision 2).
pub(crate) const VERSION: &str = "s1";

/// The spec of a service.
pub(crate) fn of_service(
    body: &Value,
    endpoints: &[(String, Value)],
    files: &[CopyFile],
    service: &ServiceName,
) -> Digest {
    let files: Vec<Value> = files
        .iter()
        .map(|file| {
            json!([
                file.path,
                file.mode,
                file.uid,
                file.gid,
                hex::encode(Sha256::digest(file.content.expose().as_ref()))
            ])
        })
        .collect();
    let text = canonical(&json!({
        "service": service.as_str(),
        "body": body,
        "endpoints": endpoints,
        "files": files,
    }));
    Digest::of(VERSION, text.as_bytes())
}

/// The spec of a network or volume from its create request.
pub(crate) fn of_request(kind: &str, body: &Value) -> Digest {
    Digest::of(VERSION, canonical(&json!([kind, body])).as_bytes())
}

/// JSON with sorted keys and no spaces: equal values have equal text, whatever features the JSON library is built with.
pub(crate) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            text.push('{');
            for (place, (name, value)) in entries.into_iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                text.push_str(&Value::String(name.clone()).to_string());
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        Value::Array(list) => {
            text.push('[');
            for (place, value) in list.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write(value, text);
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}
