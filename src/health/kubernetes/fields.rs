//! Reading live JSON without trusting it.
//!
//! In: an object as the API server answered it, or anything at all. Out: its fields, or what absence means. Guaranteed: no
//! input panics; a field of the wrong type reads as absent. Must not: judge.

use std::time::Duration;

use serde_json::Value;

use crate::clock::Timestamp;

/// Longer than any wait that is meant.
const LONGEST: i64 = 10 * 366 * 24 * 3600;

/// The text at a JSON pointer, `""` where there is none.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The whole number at a JSON pointer.
pub fn int(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

/// A count: absent is zero, as the API server leaves zeros out.
pub fn count(value: &Value, pointer: &str) -> u32 {
    u32::try_from(int(value, pointer).unwrap_or(0).max(0)).unwrap_or(u32::MAX)
}

/// A duration in whole seconds.
pub fn seconds(value: &Value, pointer: &str) -> Option<Duration> {
    let secs = int(value, pointer)?.clamp(0, LONGEST);
    Some(Duration::from_secs(secs.unsigned_abs()))
}

/// The list at a JSON pointer.
pub fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Whether `true` stands at a JSON pointer.
pub fn flag(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// Whether anything but null stands at a JSON pointer.
pub fn has(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).is_some_and(|found| !found.is_null())
}

/// The RFC 3339 time at a JSON pointer.
pub fn time(value: &Value, pointer: &str) -> Option<Timestamp> {
    text(value, pointer).parse().ok()
}

/// A time moved on; the same time where that leaves the calendar.
pub fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(time)
}

/// One entry of `status.conditions`.
#[derive(Debug, Clone, Copy)]
pub struct Condition<'a> {
    pub kind: &'a str,
    pub status: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
    /// `lastTransitionTime`.
    pub since: Option<Timestamp>,
    pub observed: Option<i64>,
}

impl<'a> Condition<'a> {
    /// Reads one entry.
    pub fn read(value: &'a Value) -> Self {
        Self {
            kind: text(value, "/type"),
            status: text(value, "/status"),
            reason: text(value, "/reason"),
            message: text(value, "/message"),
            since: time(value, "/lastTransitionTime"),
            observed: int(value, "/observedGeneration"),
        }
    }

    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.status == "True"
    }

    /// Whether it says no; `Unknown` is neither.
    pub fn denied(&self) -> bool {
        self.status == "False"
    }

    /// Its message, or its reason, or its name: what a person reads.
    pub fn words(&self) -> String {
        let said = match (self.reason, self.message) {
            ("", "") => return format!("{} is {}", self.kind, self.status),
            (reason, "") => reason.to_owned(),
            ("", message) => message.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        };
        one_line(&said)
    }
}

/// All conditions of an object.
pub fn conditions(object: &Value) -> impl Iterator<Item = Condition<'_>> {
    list(object, "/status/conditions").iter().map(Condition::read)
}

/// The condition of that type.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<Condition<'a>> {
    conditions(object).find(|condition| condition.kind == kind)
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// `metadata.namespace`.
pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// Whether it is being deleted.
pub fn deleted(object: &Value) -> bool {
    has(object, "/metadata/deletionTimestamp")
}

/// Whether `owner` is the controller of `object`.
pub fn controlled_by(object: &Value, owner: &Value) -> bool {
    let wanted = uid(owner);
    !wanted.is_empty()
        && list(object, "/metadata/ownerReferences")
            .iter()
            .any(|reference| text(reference, "/uid") == wanted && flag(reference, "/controller"))
}

/// A label.
pub fn label<'a>(object: &'a Value, key: &str) -> &'a str {
    object
        .pointer("/metadata/labels")
        .and_then(|labels| labels.get(key))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// An annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    object
        .pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get(key))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The API group of `apiVersion`, `""` for the core group.
pub fn group(object: &Value) -> &str {
    text(object, "/apiVersion")
        .split_once('/')
        .map_or("", |(group, _)| group)
}

/// A message as one line of bounded length.
pub fn one_line(message: &str) -> String {
    const LIMIT: usize = 400;
    let mut line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > LIMIT {
        line = line.chars().take(LIMIT).collect::<String>() + "…";
    }
    line
}
