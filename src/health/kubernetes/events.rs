//! Events, whichever of the two APIs they came from.
//!
//! In: Event objects (`v1` or `events.k8s.io/v1`). Out: what they say, about whom, when. Guaranteed: events are hints: no rule
//! fails anything on an event alone where status could tell. Must not: rely on their number (the API server merges and drops).

use serde_json::Value;

use super::fields;
use crate::clock::Timestamp;

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// `Warning` or `Normal`.
    pub level: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
    /// The object that it is about.
    pub kind: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    /// When it was first and last seen.
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
    /// How often, at least.
    pub times: u32,
}

impl<'a> Event<'a> {
    /// Reads an event of either API.
    pub fn read(event: &'a Value) -> Self {
        let pick = |new: &str, old: &str| -> &'a str {
            let found = fields::text(event, new);
            if found.is_empty() {
                fields::text(event, old)
            } else {
                found
            }
        };
        let when = |pointers: &[&str]| pointers.iter().find_map(|pointer| fields::time(event, pointer));
        let times = ["/series/count", "/count", "/deprecatedCount"]
            .iter()
            .map(|pointer| fields::count(event, pointer))
            .max()
            .unwrap_or(0)
            .max(1);
        Self {
            level: fields::text(event, "/type"),
            reason: fields::text(event, "/reason"),
            message: pick("/note", "/message"),
            kind: pick("/regarding/kind", "/involvedObject/kind"),
            name: pick("/regarding/name", "/involvedObject/name"),
            uid: pick("/regarding/uid", "/involvedObject/uid"),
            first: when(&[
                "/firstTimestamp",
                "/deprecatedFirstTimestamp",
                "/eventTime",
                "/metadata/creationTimestamp",
            ]),
            last: when(&[
                "/series/lastObservedTime",
                "/lastTimestamp",
                "/deprecatedLastTimestamp",
                "/eventTime",
                "/firstTimestamp",
                "/metadata/creationTimestamp",
            ]),
            times,
        }
    }

    /// Whether it is about this object. A pod that was made again has the name of the old one, so the UID decides where both have one.
    pub fn about(&self, object: &Value) -> bool {
        let uid = fields::uid(object);
        if !self.uid.is_empty() && !uid.is_empty() {
            return self.uid == uid;
        }
        !self.name.is_empty()
            && self.name == fields::name(object)
            && (fields::text(object, "/kind").is_empty() || self.kind == fields::text(object, "/kind"))
    }
}

/// The events about an object, newest first.
pub fn about<'a>(events: &'a [Value], object: &Value) -> Vec<Event<'a>> {
    let mut found: Vec<Event<'a>> = events
        .iter()
        .map(Event::read)
        .filter(|event| event.about(object))
        .collect();
    found.sort_by_key(|event| std::cmp::Reverse(event.last));
    found
}
