//! One pod: is it ready, what is wrong with it, and is that the release's doing.
//!
//! In: a pod, the events and nodes around it. Out: a [`PodStand`]. Guaranteed: exits are counted from the counts at apply; init
//! containers and sidecars are looked at like main ones; events add words and times, status decides where it can. Must not:
//! compare pods or keep time (weigh.rs does).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::events::{self, Event};
use super::pull::{Pull, meaning};
use super::{Scene, fields, probes};
use crate::clock::{Timestamp, elapsed};
use crate::health::CauseKind;

/// Non-zero exits of one container that fail a release (decision 21).
pub const CRASH_LIMIT: u64 = 2;
/// How long one crash may stand before the next one must have followed or the container be well again.
const ONE_CRASH_PATIENCE: Duration = Duration::from_secs(60);
/// After this long without a crash the kubelet forgets them too.
const FORGET_CRASHES: Duration = Duration::from_secs(600);
/// How long an eviction explains that a pod is missing; later its successor should be there.
const EVICTION_EXPLAINS: Duration = Duration::from_secs(60);

/// What is wrong with a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub kind: CauseKind,
    /// Without the pod: `CrashLoopBackOff, exit code 1, twice`.
    pub text: String,
    pub container: Option<String>,
    pub previous: bool,
    pub exit_code: Option<i64>,
    /// Since when, where the object tells it.
    pub since: Option<Timestamp>,
    /// How long it may stand; `None`: it fails nothing by itself.
    pub patience: Option<Duration>,
}

/// How a pod stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodStand {
    pub ready: bool,
    /// It ended and will not run again.
    pub over: bool,
    pub trouble: Option<Trouble>,
    /// It is in a state that is not the release's doing.
    pub foreign: Option<String>,
    /// How far it is: scheduled, initialised, started, ready.
    pub steps: u64,
}

/// The restart counts of all containers of `pods`, keyed by pod UID and container: what [`super::Applied::restarts`] holds.
pub fn restart_counts(pods: &[Value]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for pod in pods {
        for status in statuses(pod) {
            counts.insert(
                count_key(pod, fields::text(status.value, "/name")),
                restarts(status.value),
            );
        }
    }
    counts
}

/// Whether a pod that is not ready won't become so by itself: it has no node, or a container of it can't be started, or has
/// crashed twice.
pub fn is_hopeless(pod: &Value) -> bool {
    let unscheduled = fields::condition(pod, "PodScheduled").is_some_and(|scheduled| scheduled.denied());
    unscheduled
        || statuses(pod).any(|status| {
            let cant_start = matches!(
                fields::text(status.value, "/state/waiting/reason"),
                "CrashLoopBackOff"
                    | "ImagePullBackOff"
                    | "ErrImagePull"
                    | "ErrImageNeverPull"
                    | "InvalidImageName"
                    | "CreateContainerConfigError"
                    | "CreateContainerError"
                    | "RunContainerError"
            );
            cant_start || restarts(status.value) >= 2
        })
}

fn count_key(pod: &Value, container: &str) -> String {
    format!("{}/{container}", fields::uid(pod))
}

fn restarts(status: &Value) -> u64 {
    fields::int(status, "/restartCount")
        .unwrap_or(0)
        .max(0)
        .unsigned_abs()
}

struct Status<'a> {
    value: &'a Value,
    spec: Option<&'a Value>,
    /// Runs once, before the others.
    init: bool,
}

fn statuses(pod: &Value) -> impl Iterator<Item = Status<'_>> {
    let of = |at: &'static str, spec: &'static str| {
        fields::list(pod, at).iter().map(move |value| {
            let name = fields::text(value, "/name");
            let spec = fields::list(pod, spec)
                .iter()
                .find(|container| fields::text(container, "/name") == name);
            // A sidecar is an init container that never ends.
            let sidecar = spec.is_some_and(|spec| fields::text(spec, "/restartPolicy") == "Always");
            Status {
                value,
                spec,
                init: at == "/status/initContainerStatuses" && !sidecar,
            }
        })
    };
    of("/status/initContainerStatuses", "/spec/initContainers")
        .chain(of("/status/containerStatuses", "/spec/containers"))
}

/// Whether a pod is ready by its own condition.
pub fn ready(pod: &Value) -> bool {
    !fields::deleted(pod) && fields::condition(pod, "Ready").is_some_and(|ready| ready.holds())
}

/// How a pod stands. `crashes`: whether exits count (those of a Job's pods are the Job's own business).
pub fn look(scene: &Scene<'_>, pod: &Value, crashes: bool) -> PodStand {
    let phase = fields::text(pod, "/status/phase");
    let over = matches!(phase, "Succeeded" | "Failed");
    let events = events::about(scene.events, pod);
    let foreign = foreign(scene, pod, over);
    let trouble = if over {
        over_limit(pod)
    } else {
        let mut found = container_troubles(scene, pod, &events, crashes);
        found.extend(pod_trouble(scene, pod, &events));
        // What fails soonest is what a person must know.
        found
            .into_iter()
            .min_by_key(|trouble| trouble.patience.unwrap_or(Duration::MAX))
    };
    let ready = ready(pod) && !over;
    let steps = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
        .iter()
        .filter(|kind| fields::condition(pod, kind).is_some_and(|found| found.holds()))
        .count();
    PodStand {
        ready,
        over,
        trouble,
        foreign,
        steps: u64::try_from(steps).unwrap_or(0),
    }
}

/// Whether the pod's state is not the release's doing: its node is lost, or all are that it could go to; it was evicted,
/// preempted or drained.
fn foreign(scene: &Scene<'_>, pod: &Value, over: bool) -> Option<String> {
    let node = fields::text(pod, "/spec/nodeName");
    if !node.is_empty()
        && let Some(why) = scene
            .nodes
            .iter()
            .find(|one| fields::name(one) == node)
            .and_then(node_down)
    {
        return Some(format!("node {node} {why}"));
    }
    if node.is_empty()
        && let Some(first) = scene.nodes.first()
        && scene.nodes.iter().all(|one| node_down(one).is_some())
    {
        let why = node_down(first).unwrap_or_default();
        return Some(format!("no node is ready: {} {why}", fields::name(first)));
    }
    let reason = fields::text(pod, "/status/reason");
    let recent =
        |since: Option<Timestamp>| since.is_none_or(|since| elapsed(since, scene.now) < EVICTION_EXPLAINS);
    if let Some(disrupted) = fields::condition(pod, "DisruptionTarget")
        && disrupted.holds()
        && over_limit(pod).is_none()
        && recent(disrupted.since)
    {
        return Some(disrupted.words());
    }
    let away = matches!(
        reason,
        "NodeLost"
            | "NodeShutdown"
            | "NodeAffinity"
            | "Terminated"
            | "Preempting"
            | "UnexpectedAdmissionError"
            | "Evicted"
            | "Shutdown"
    ) || reason.starts_with("OutOf");
    if over && away && over_limit(pod).is_none() && recent(ended(pod)) {
        return Some(fields::one_line(&format!(
            "{reason}: {}",
            fields::text(pod, "/status/message")
        )));
    }
    None
}

/// When a pod ended, as well as it tells.
fn ended(pod: &Value) -> Option<Timestamp> {
    let turned = |kind| fields::condition(pod, kind).and_then(|found| found.since);
    statuses(pod)
        .filter_map(|status| fields::time(status.value, "/state/terminated/finishedAt"))
        .max()
        .or_else(|| turned("DisruptionTarget"))
        .or_else(|| turned("Ready"))
        .or_else(|| fields::time(pod, "/status/startTime"))
        .or_else(|| fields::time(pod, "/metadata/creationTimestamp"))
}

/// An eviction for the pod's *own* limit of disk comes again on every node: that is the release's doing.
fn over_limit(pod: &Value) -> Option<Trouble> {
    let message = fields::text(pod, "/status/message");
    let own = fields::text(pod, "/status/reason") == "Evicted"
        && (message.contains("exceeds the total limit of containers")
            || message.contains("exceeded its local ephemeral storage limit")
            || message.contains("exceeds the limit"));
    own.then(|| Trouble {
        kind: CauseKind::OverLimit,
        text: fields::one_line(&format!("evicted for its own limit: {message}")),
        container: None,
        previous: false,
        exit_code: None,
        since: ended(pod),
        patience: Some(Duration::ZERO),
    })
}

/// Why nothing on a node can be trusted to run; `None` for a node that is well.
pub fn node_down(node: &Value) -> Option<String> {
    match fields::condition(node, "Ready") {
        Some(ready) if ready.holds() => None,
        Some(ready) => Some(format!("is not ready ({})", ready.words())),
        None => None,
    }
}

/// Whether a node is kept from new pods.
pub fn cordoned(node: &Value) -> bool {
    fields::flag(node, "/spec/unschedulable")
}

/// Trouble of the pod before any container runs: no node, no volume, no sandbox.
fn pod_trouble(scene: &Scene<'_>, pod: &Value, events: &[Event<'_>]) -> Option<Trouble> {
    let rules = scene.rules;
    let whole = |kind, text: &str, since, patience| Trouble {
        kind,
        text: fields::one_line(text),
        container: None,
        previous: false,
        exit_code: None,
        since,
        patience,
    };
    if let Some(scheduled) = fields::condition(pod, "PodScheduled")
        && scheduled.denied()
    {
        if scheduled.reason != "Unschedulable" {
            return None;
        }
        let grows = events.iter().any(|event| event.reason == "TriggeredScaleUp");
        let (text, patience) = if grows {
            (
                format!(
                    "no node has room; the autoscaler is adding one ({})",
                    scheduled.message
                ),
                None,
            )
        } else {
            (
                format!("no node has room: {}", scheduled.message),
                rules.patience(CauseKind::Unschedulable),
            )
        };
        return Some(whole(CauseKind::Unschedulable, &text, scheduled.since, patience));
    }
    let creating = statuses(pod).any(|status| {
        matches!(
            fields::text(status.value, "/state/waiting/reason"),
            "ContainerCreating" | "PodInitializing"
        )
    });
    let unstarted = fields::list(pod, "/status/containerStatuses").is_empty()
        && fields::condition(pod, "PodScheduled").is_some_and(|scheduled| scheduled.holds());
    if !creating && !unstarted {
        return None;
    }
    let event = events.iter().find(|event| {
        matches!(
            event.reason,
            "FailedMount" | "FailedAttachVolume" | "FailedMapVolume" | "FailedCreatePodSandBox"
        )
    })?;
    let kind = match event.reason {
        "FailedCreatePodSandBox" => CauseKind::NotCreated,
        _ if names_missing_config(event.message) => CauseKind::ConfigMissing,
        _ => CauseKind::Volume,
    };
    let text = format!("{}: {}", event.reason, event.message);
    Some(whole(kind, &text, event.first, rules.patience(kind)))
}

fn names_missing_config(message: &str) -> bool {
    (message.contains("configmap \"")
        || message.contains("secret \"")
        || message.contains("references non-existent"))
        && (message.contains("not found") || message.contains("references non-existent"))
}

fn container_troubles(scene: &Scene<'_>, pod: &Value, events: &[Event<'_>], crashes: bool) -> Vec<Trouble> {
    let mut found = Vec::new();
    for status in statuses(pod) {
        found.extend(waiting(scene, &status, events));
        found.extend(crashed(scene, pod, &status, events, crashes));
        found.extend(unready(scene, pod, &status, events));
    }
    found
}

/// A container that can't start.
fn waiting(scene: &Scene<'_>, status: &Status<'_>, events: &[Event<'_>]) -> Option<Trouble> {
    let reason = fields::text(status.value, "/state/waiting/reason");
    let message = fields::text(status.value, "/state/waiting/message");
    let name = fields::text(status.value, "/name");
    let image = fields::text(status.value, "/image");
    let mut said = message.to_owned();
    let kind = match reason {
        "" | "ContainerCreating" | "PodInitializing" | "CrashLoopBackOff" => return None,
        "InvalidImageName" | "ErrImageNeverPull" => CauseKind::ImageMissing,
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => {
            // `Back-off pulling image "x"` says nothing; the event before it does.
            if meaning(message) == Pull::Passing
                && let Some(event) = events.iter().find(|event| {
                    event.reason == "Failed"
                        && event.message.contains("ull image")
                        && (image.is_empty() || event.message.contains(image))
                })
                && meaning(event.message) == Pull::Permanent
            {
                said = event.message.to_owned();
            }
            match (reason, meaning(&said)) {
                ("SignatureValidationFailed", _) | (_, Pull::Permanent) => CauseKind::ImageMissing,
                (_, Pull::Passing) => CauseKind::ImagePull,
            }
        }
        "CreateContainerConfigError" => CauseKind::ConfigMissing,
        "CreateContainerError"
            if message.contains("deadline exceeded") || message.contains("is reserved for") =>
        {
            CauseKind::NotCreated
        }
        "CreateContainerError" | "RunContainerError" | "PostStartHookError" | "StartError" => {
            CauseKind::CannotRun
        }
        _ => CauseKind::NotCreated,
    };
    Some(Trouble {
        kind,
        text: fields::one_line(&if said.is_empty() {
            format!("{name}: {reason}")
        } else {
            format!("{name}: {reason}, {said}")
        }),
        container: Some(name.to_owned()),
        previous: false,
        exit_code: None,
        // `state.waiting` has no time.
        since: None,
        patience: scene.rules.patience(kind),
    })
}

/// A container that ended although it should run, or ended with a code that says that it failed.
fn crashed(
    scene: &Scene<'_>,
    pod: &Value,
    status: &Status<'_>,
    events: &[Event<'_>],
    counts: bool,
) -> Option<Trouble> {
    let name = fields::text(status.value, "/name");
    let backing_off = fields::text(status.value, "/state/waiting/reason") == "CrashLoopBackOff";
    let running = fields::has(status.value, "/state/running");
    let (ended, ended_now) = match status.value.pointer("/state/terminated") {
        Some(now) if now.is_object() => (now, true),
        _ => (status.value.pointer("/lastState/terminated")?, backing_off),
    };
    let code = fields::int(ended, "/exitCode")?;
    let reason = fields::text(ended, "/reason");
    let finished = fields::time(ended, "/finishedAt");
    // The runtime refused to start it; that is not an exit of the program.
    let refused = matches!(reason, "StartError" | "ContainerCannotRun");
    if refused && !running {
        return Some(Trouble {
            kind: CauseKind::CannotRun,
            text: fields::one_line(&format!(
                "{name}: it can't be started: {}",
                fields::text(ended, "/message")
            )),
            container: Some(name.to_owned()),
            previous: false,
            exit_code: Some(code),
            since: None,
            patience: scene.rules.patience(CauseKind::CannotRun),
        });
    }
    if !counts || (code == 0 && (status.init || fields::text(pod, "/spec/restartPolicy") != "Always")) {
        return None;
    }
    let before = scene.applied.restarts.get(&count_key(pod, name)).copied();
    let grown = restarts(status.value).saturating_sub(before.unwrap_or(0));
    // An exit before our apply is not ours: the count at apply did not hold it yet, its time tells.
    let mine = before.is_none() || finished.is_none_or(|at| at > scene.applied.at);
    let exits = grown + u64::from(ended_now && mine);
    if exits == 0 {
        return None;
    }
    let up =
        fields::time(status.value, "/state/running/startedAt").map(|started| elapsed(started, scene.now));
    if running && up.is_none_or(|up| up >= FORGET_CRASHES) {
        return None;
    }
    let killed = events.iter().find(|event| {
        event.reason == "Killing"
            && event.message.contains(name)
            && (event.message.contains("liveness probe") || event.message.contains("startup probe"))
    });
    let word = if backing_off { "CrashLoopBackOff, " } else { "" };
    let often = times(exits);
    let (kind, text) = match (code, killed) {
        (_, Some(event)) if reason != "OOMKilled" => {
            let probe = if event.message.contains("startup probe") {
                "startup"
            } else {
                "liveness"
            };
            (
                CauseKind::Unhealthy,
                format!("{word}killed by its {probe} probe {often}{}", last_probe(events)),
            )
        }
        _ if reason == "OOMKilled" => (
            CauseKind::OutOfMemory,
            format!("{word}killed for using more memory than its limit, {often}"),
        ),
        // A program that ends with 0 again and again is no service.
        (0, _) => (
            CauseKind::EndedByItself,
            format!("{word}it ended with exit code 0 {often}, although it should keep running"),
        ),
        (126 | 127, _) => (
            CauseKind::CannotRun,
            format!("{word}its command can't be run, exit code {code} {often}"),
        ),
        _ => (CauseKind::CrashLoop, format!("{word}exit code {code}, {often}")),
    };
    let final_now = exits >= CRASH_LIMIT && (code != 0 || killed.is_some() || backing_off);
    let patience = if final_now {
        let own = match kind {
            CauseKind::CrashLoop | CauseKind::OutOfMemory | CauseKind::EndedByItself => {
                scene.rules.patience(kind)
            }
            _ => None,
        };
        Some(own.unwrap_or_default())
    } else if kind == CauseKind::CannotRun {
        scene.rules.patience(kind)
    } else if running && fields::flag(status.value, "/ready") {
        // As on Docker: a probe that passes vouches for it; where nothing probes, one crash stands for a while.
        let vouched = status.spec.is_some_and(probes::probed);
        if vouched || up.is_some_and(|up| up >= ONE_CRASH_PATIENCE) {
            return None;
        }
        None
    } else {
        None
    };
    Some(Trouble {
        kind: if final_now || kind == CauseKind::CannotRun {
            kind
        } else {
            CauseKind::Crashed
        },
        text: format!("{name}: {text}"),
        container: Some(name.to_owned()),
        previous: running,
        exit_code: Some(code),
        since: finished,
        patience,
    })
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

/// A container that runs and is not ready.
fn unready(scene: &Scene<'_>, pod: &Value, status: &Status<'_>, events: &[Event<'_>]) -> Option<Trouble> {
    let spec = status.spec?;
    if status.init
        || !fields::has(status.value, "/state/running")
        || fields::flag(status.value, "/ready")
        || !probes::probed(spec)
    {
        return None;
    }
    let started = fields::time(status.value, "/state/running/startedAt");
    // A container that was ready once and is no longer has its time from then.
    let turned = fields::condition(pod, "ContainersReady")
        .filter(|ready| ready.denied())
        .and_then(|ready| ready.since);
    let since = started.max(turned);
    let patience = scene.rules.patience(CauseKind::Unhealthy).unwrap_or_else(|| {
        probes::startup_budget(spec).max(probes::chosen_deadline(scene.object).unwrap_or_default())
    });
    let failing = events.iter().any(|event| event.reason == "Unhealthy");
    let over = since.is_some_and(|since| elapsed(since, scene.now) >= patience);
    if !failing && !over {
        return None;
    }
    let name = fields::text(status.value, "/name");
    Some(Trouble {
        kind: CauseKind::Unhealthy,
        text: format!("{name}: running, not ready{}", last_probe(events)),
        container: Some(name.to_owned()),
        previous: false,
        exit_code: None,
        since,
        patience: Some(patience),
    })
}

/// The last words of a probe, to be put after a text.
fn last_probe(events: &[Event<'_>]) -> String {
    events
        .iter()
        .find(|event| event.reason == "Unhealthy")
        .map(|event| format!(": {}", fields::one_line(event.message)))
        .unwrap_or_default()
}
