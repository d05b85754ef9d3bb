//! What a person should see of a failure, before a rollback takes it away.
//!
//! In: the scene and what it was judged as. Out: [`Findings`]. Guaranteed: warnings before chatter, the newest first; which log to
//! fetch is named exactly. Must not: fetch logs, or mask: every text here goes through the caller's mask.

use super::events::{self, Event};
use super::{Culprit, Judged, Scene, fields};
use crate::clock::Timestamp;

/// Events that are kept.
const EVENTS: usize = 5;

/// What to keep of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// `2/3 pods: app: CrashLoopBackOff, exit code 1, twice`, or the state in one word.
    pub line: String,
    /// The five newest events, newest first.
    pub events: Vec<EventLine>,
    /// The log to fetch: of which container, and whether of the instance before the present one.
    pub log: Option<Culprit>,
    pub exit_code: Option<i64>,
    /// The last answer of a probe that failed.
    pub probe: Option<String>,
}

/// One event for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLine {
    pub at: Option<Timestamp>,
    /// `Pod/web-7d9-abcde`.
    pub object: String,
    pub reason: String,
    pub message: String,
    pub times: u32,
    pub warning: bool,
}

/// Picks the evidence of one judged object.
pub fn gather(scene: &Scene<'_>, judged: &Judged) -> Findings {
    let mut related: Vec<Event<'_>> = Vec::new();
    let mut take = |object| {
        for event in events::about(scene.events, object) {
            if !related.contains(&event) {
                related.push(event);
            }
        }
    };
    take(scene.object);
    let mut owners = vec![scene.object];
    for revision in scene.revisions {
        if fields::controlled_by(revision, scene.object) {
            take(revision);
            owners.push(revision);
        }
    }
    for pod in scene.pods {
        let blamed = judged.culprit.as_ref().is_some_and(|culprit| {
            culprit.pod == fields::name(pod) && culprit.namespace == fields::namespace(pod)
        });
        if blamed || owners.iter().any(|owner| fields::controlled_by(pod, owner)) {
            take(pod);
        }
    }
    let probe = judged.culprit.as_ref().and_then(|culprit| {
        related
            .iter()
            .filter(|event| event.reason == "Unhealthy" && event.name == culprit.pod)
            .max_by_key(|event| event.last)
            .map(|event| fields::one_line(event.message))
    });
    // The newest warnings tell why; `Scheduled` and `Pulled` of the replacement would push them out.
    related.sort_by_key(|event| std::cmp::Reverse((event.level == "Warning", event.last)));
    related.truncate(EVENTS);
    related.sort_by_key(|event| std::cmp::Reverse(event.last));
    Findings {
        line: line(judged),
        events: related.iter().map(told).collect(),
        log: judged
            .culprit
            .clone()
            .filter(|culprit| culprit.container.is_some()),
        exit_code: judged.culprit.as_ref().and_then(|culprit| culprit.exit_code),
        probe,
    }
}

/// One line about how an object is.
pub fn line(judged: &Judged) -> String {
    match (judged.verdict.cause(), &judged.note) {
        (Some(cause), _) => cause.detail.clone(),
        (None, Some(note)) => format!("{} ({note})", judged.verdict.word()),
        (None, None) => judged.verdict.word().to_owned(),
    }
}

fn told(event: &Event<'_>) -> EventLine {
    EventLine {
        at: event.last,
        object: format!("{}/{}", event.kind, event.name),
        reason: event.reason.to_owned(),
        message: fields::one_line(event.message),
        times: event.times,
        warning: event.level == "Warning",
    }
}
