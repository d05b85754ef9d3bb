//! Pod, Job, CronJob.
//!
//! In: the object and its pods. Out: [`Judged`]. Guaranteed: a Job is healthy only when it is complete; how often it may fail
//! is its own `backoffLimit`; what can never start fails early all the same. Must not: judge a CronJob's past runs.

use serde_json::Value;

use super::weigh::{Stand, Watch, weigh};
use super::workloads::creation_by_event;
use super::{Judged, Scene, fields};
use crate::health::{Cause, CauseKind, Verdict};

/// Judges a Job.
pub fn job(scene: &Scene<'_>) -> Judged {
    let object = scene.object;
    let holds = |kind: &str| fields::condition(object, kind).filter(|found| found.holds());
    if holds("Complete").is_some() {
        let mut judged = Judged::healthy();
        judged.seen.complete = true;
        judged.steps = 100;
        return judged;
    }
    let pods: Vec<&Value> = scene
        .pods
        .iter()
        .filter(|pod| fields::controlled_by(pod, object))
        .collect();
    // `FailureTarget` is set before the last pods are gone, `Failed` after.
    if let Some(failed) = holds("Failed").or_else(|| holds("FailureTarget")) {
        let mut judged = Judged::failed(
            CauseKind::JobFailed,
            format!("the job failed: {}", failed.words()),
        );
        if let Some(pod) = last_failed(&pods) {
            let (container, code, reason) = ended_container(pod);
            judged.culprit = Some(super::Culprit {
                namespace: fields::namespace(pod).to_owned(),
                pod: fields::name(pod).to_owned(),
                container,
                previous: false,
                exit_code: code,
            });
            if let (Some(code), Verdict::Failed(cause)) = (code, &mut judged.verdict) {
                cause.detail = format!("the job exited with code {code}: {}", failed.words());
                if reason == "OOMKilled" {
                    cause.kind = CauseKind::OutOfMemory;
                }
            }
        }
        return judged;
    }
    if fields::flag(object, "/spec/suspend") {
        return Judged::new(Verdict::Suspended).note("it is suspended (spec.suspend)");
    }
    let mut watch = Watch::new(scene);
    let wanted = fields::int(object, "/spec/completions")
        .or_else(|| fields::int(object, "/spec/parallelism"))
        .map_or(1, |found| u32::try_from(found.max(0)).unwrap_or(u32::MAX));
    let parallel = fields::int(object, "/spec/parallelism")
        .map_or(1, |found| u32::try_from(found.max(0)).unwrap_or(u32::MAX));
    let weighed = weigh(&mut watch, &pods, &[], Some(parallel.min(wanted.max(1))), false);
    let [active, done, failures, ready] = ["active", "succeeded", "failed", "ready"]
        .map(|name| fields::count(object, &format!("/status/{name}")));
    let refused = if active == 0 {
        creation_by_event(&mut watch, scene, object)
    } else {
        None
    };
    let failed_so_far = match failures {
        0 => String::new(),
        1 => ", one try failed".to_owned(),
        more => format!(", {more} tries failed"),
    };
    let running = Verdict::Progressing(Cause::new(
        CauseKind::JobRunning,
        if wanted > 1 {
            format!("the job is running, {done} of {wanted} done{failed_so_far}")
        } else {
            format!("the job is running{failed_so_far}")
        },
    ));
    let mut due = weighed.due;
    let verdict = match (weighed.verdict, refused, weighed.foreign) {
        (Some(failed @ Verdict::Failed(_)), _, _) => failed,
        (_, Some((cause, Stand::Over)), _) => Verdict::Failed(cause),
        (_, _, Some(foreign)) => Verdict::Progressing(foreign),
        (_, Some((cause, stand)), _) => {
            due = match stand {
                Stand::Due(at) => Some(at),
                Stand::Over | Stand::Open => None,
            };
            Verdict::Failing(cause)
        }
        (Some(failing), None, None) => failing,
        (None, None, None) => running,
    };
    let mut judged = Judged::new(verdict);
    (judged.healthy, judged.of) = (done.min(wanted), wanted);
    judged.culprit = weighed.culprit;
    judged.due = due;
    judged.steps = weighed
        .steps
        .min(90)
        .saturating_add(u64::from(done) * 4)
        .saturating_add(u64::from(ready));
    judged.seen = watch.seen;
    judged
}

/// The pod that failed last.
fn last_failed<'a>(pods: &[&'a Value]) -> Option<&'a Value> {
    let failed =
        |pod: &&&Value| fields::text(pod, "/status/phase") == "Failed" || ended_container(pod).1.is_some();
    pods.iter()
        .filter(failed)
        .max_by_key(|pod| fields::time(pod, "/metadata/creationTimestamp"))
        .copied()
}

/// The container of a pod that ended badly, with code and reason.
fn ended_container(pod: &Value) -> (Option<String>, Option<i64>, &str) {
    for status in fields::list(pod, "/status/initContainerStatuses")
        .iter()
        .chain(fields::list(pod, "/status/containerStatuses"))
    {
        for at in ["/state/terminated", "/lastState/terminated"] {
            let Some(ended) = status.pointer(at) else {
                continue;
            };
            if let Some(code) = fields::int(ended, "/exitCode").filter(|code| *code != 0) {
                let name = fields::text(status, "/name").to_owned();
                return (Some(name), Some(code), fields::text(ended, "/reason"));
            }
        }
    }
    (None, None, "")
}

/// A CronJob is informational: what it started is not what the release changed.
pub fn cron_job(scene: &Scene<'_>) -> Judged {
    let object = scene.object;
    let judged = if fields::flag(object, "/spec/suspend") {
        Judged::new(Verdict::Suspended).note("it is suspended (spec.suspend)")
    } else {
        let last = fields::text(object, "/status/lastScheduleTime");
        let good = fields::text(object, "/status/lastSuccessfulTime");
        let judged = Judged::healthy();
        match (last, good) {
            ("", _) => judged.note("it has not run yet"),
            (_, "") => judged.note(format!("last started {last}, no run has succeeded yet")),
            _ => judged.note(format!("last started {last}, last success {good}")),
        }
    };
    judged.not_gating()
}

/// Judges a pod that stands by itself.
pub fn pod(scene: &Scene<'_>) -> Judged {
    let object = scene.object;
    let restarts = fields::text(object, "/spec/restartPolicy");
    let mut watch = Watch::new(scene);
    let weighed = weigh(&mut watch, &[object], &[], None, true);
    let verdict = match fields::text(object, "/status/phase") {
        "Succeeded" if matches!(restarts, "Never" | "OnFailure") => Verdict::Healthy,
        "Succeeded" => Verdict::Failed(Cause::new(
            CauseKind::EndedByItself,
            "it ended although it should keep running",
        )),
        "Failed" => match weighed.foreign {
            Some(foreign) => Verdict::Progressing(foreign),
            None => {
                let (_, code, reason) = ended_container(object);
                let message = fields::text(object, "/status/message");
                // It will not run again, so the reason why it was put off stays true however long ago that was.
                let away = matches!(
                    fields::text(object, "/status/reason"),
                    "Evicted" | "Preempting" | "NodeLost" | "NodeShutdown" | "Shutdown" | "Terminated"
                );
                match code {
                    Some(_) if reason == "OOMKilled" => Verdict::Failed(Cause::new(
                        CauseKind::OutOfMemory,
                        "killed for using more memory than its limit",
                    )),
                    Some(code) => {
                        Verdict::Failed(Cause::new(CauseKind::Crashed, format!("exited with code {code}")))
                    }
                    None if matches!(weighed.verdict, Some(Verdict::Failing(_) | Verdict::Failed(_))) => {
                        let cause = weighed.verdict.as_ref().and_then(Verdict::cause).cloned();
                        Verdict::Failed(cause.unwrap_or_else(|| Cause::new(CauseKind::OverLimit, "evicted")))
                    }
                    None if away => Verdict::Progressing(Cause::new(
                        CauseKind::NodeTrouble,
                        fields::one_line(&format!("{}: {message}", fields::text(object, "/status/reason"))),
                    )),
                    None => Verdict::Failed(Cause::new(
                        CauseKind::Crashed,
                        fields::one_line(&format!("the pod failed {message}")),
                    )),
                }
            }
        },
        _ => match (weighed.verdict, weighed.foreign) {
            (Some(verdict @ Verdict::Failed(_)), _) => verdict,
            (_, Some(foreign)) if weighed.ready == 0 => Verdict::Progressing(foreign),
            (Some(verdict), _) => verdict,
            (None, _) if weighed.ready == 1 => Verdict::Healthy,
            (None, _) => Verdict::Progressing(Cause::new(CauseKind::Starting, "it is not ready yet")),
        },
    };
    let mut judged = Judged::new(verdict);
    judged.culprit = weighed.culprit.or_else(|| {
        let (container, exit_code, _) = ended_container(object);
        container.is_some().then(|| super::Culprit {
            namespace: fields::namespace(object).to_owned(),
            pod: fields::name(object).to_owned(),
            container,
            previous: false,
            exit_code,
        })
    });
    if judged.verdict.settled_well() {
        judged.culprit = None;
    }
    judged.due = weighed
        .due
        .filter(|_| matches!(judged.verdict, Verdict::Failing(_)));
    judged.steps = weighed.steps;
    judged.seen = watch.seen;
    judged
}
