//! What an API server says when it refuses something. Pure.
//!
//! In: a `Status` answer. Out: a [`Refusal`], and the [`Path`] of a field that it names. Guaranteed: an object that does not fit
//! its kind's schema is refused as any other wrong object is. Must not: decide what a refusal means for a plan.

use serde_json::Value;

use super::fields::{Path, Segment, plain};
use crate::live::Refusal;

/// How the API server begins when an applied object does not fit its kind's schema or types. It answers 500 then.
const NO_FIT: &[&str] = &[
    "failed to create typed patch object",
    "failed to convert new object",
];

/// A `Status` answer as data.
pub fn refusal(answer: &Value, status: u16, retry_after: Option<u64>) -> Refusal {
    let text = |value: &Value, key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let mut causes: Vec<(String, String)> = Vec::new();
    for cause in answer
        .pointer("/details/causes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let cause = (text(cause, "field"), text(cause, "message"));
        // Old servers list one field twice.
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    }
    let retry_after = retry_after.or_else(|| {
        answer
            .pointer("/details/retryAfterSeconds")
            .and_then(Value::as_u64)
    });
    let message = text(answer, "message");
    if status == 500 && NO_FIT.iter().any(|start| message.starts_with(start)) {
        return Refusal {
            status: 422,
            reason: "Invalid".to_owned(),
            causes: misfits(&message),
            message,
            retry_after: None,
        };
    }
    Refusal {
        status,
        reason: text(answer, "reason"),
        message,
        causes,
        retry_after,
    }
}

/// The fields in `failed to create typed patch object (…): .spec.replicas: expected numeric …`; several are a list in lines.
fn misfits(message: &str) -> Vec<(String, String)> {
    let (_, said) = message.split_once("): ").unwrap_or_default();
    let fields = said.lines().filter_map(|line| line.trim().strip_prefix('.'));
    fields
        .filter_map(|line| line.split_once(": "))
        .map(|(field, words)| (field.to_owned(), words.to_owned()))
        .collect()
}

/// The path of a field as API servers write it: `spec.containers[0].image`, `spec.containers[name="main"].env`,
/// `metadata.annotations[example.com/x]`.
pub fn path_of(field: &str) -> Path {
    let mut segments = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        if let Some((inner, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            segments.push(segment(inner));
            rest = after;
            continue;
        }
        let start = rest.trim_start_matches(['.', '[']);
        let (name, after) = start.split_at(start.find(['.', '[']).unwrap_or(start.len()));
        if !name.is_empty() {
            segments.push(Segment::Field(name.to_owned()));
        }
        rest = after;
    }
    Path(segments)
}

/// What stands between brackets: a position, the keys of a list item as `name="main",port=80`, else a field's name.
fn segment(inner: &str) -> Segment {
    if let Ok(at) = inner.parse() {
        return Segment::Index(at);
    }
    let keys: Option<Vec<(String, String)>> = inner
        .split(',')
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let value: Value = serde_json::from_str(value).ok()?;
            Some((key.to_owned(), plain(&value)))
        })
        .collect();
    keys.map_or_else(
        || Segment::Field(inner.trim_matches('"').to_owned()),
        Segment::Item,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_that_does_not_fit_its_schema_is_invalid_and_no_failure_of_the_server() {
        let one = json!({"kind": "Status", "code": 500, "message":
            "failed to create typed patch object (shop/web; /v1, Kind=Pod): .spec.containers[name=\"main\"].env: duplicate entries for key [name=\"A\"]"});
        let found = refusal(&one, 500, None);
        assert_eq!((found.status, found.reason.as_str()), (422, "Invalid"));
        let (field, words) = &found.causes[0];
        assert_eq!(words, "duplicate entries for key [name=\"A\"]");
        let pod = json!({"spec": {"containers": [{"name": "other"}, {"name": "main", "env": []}]}});
        assert_eq!(path_of(field).pointer(&pod), "/spec/containers/1/env");
        let two = json!({"message": "failed to create typed patch object (shop/web; apps/v1, Kind=Deployment): errors:\n  \
            .spec.replicas: expected numeric (int or float), got string\n  .spec.paused: expected boolean, got string"});
        let fields: Vec<String> = refusal(&two, 500, None)
            .causes
            .into_iter()
            .map(|(field, _)| field)
            .collect();
        assert_eq!(fields, ["spec.replicas", "spec.paused"]);
        assert_eq!(
            refusal(&json!({"message": "etcd is away"}), 500, None).status,
            500
        );
    }

    #[test]
    fn fields_are_found_as_servers_name_them() {
        let object = json!({"metadata": {"annotations": {"example.com/x": "1"}}, "spec": {"ports": [{"port": 80, "protocol": "TCP"}]}});
        for (field, pointer) in [
            ("spec.ports[0].port", "/spec/ports/0/port"),
            ("spec.ports[port=80,protocol=\"TCP\"].port", "/spec/ports/0/port"),
            (
                "metadata.annotations[example.com/x]",
                "/metadata/annotations/example.com~1x",
            ),
            ("data[\"a.b\"]", "/data/a.b"),
            ("", ""),
            ("[[", ""),
        ] {
            assert_eq!(path_of(field).pointer(&object), pointer, "{field}");
        }
    }
}
