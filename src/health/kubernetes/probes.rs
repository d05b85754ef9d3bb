//! How long the probes of a pod may take to a verdict, from its spec alone.
//!
//! In: a container or an object with a pod template. Out: durations. Guaranteed: the defaults are the API server's (period 10 s,
//! threshold 3, timeout 1 s). Must not: look at status.

use std::time::Duration;

use serde_json::Value;

use super::fields;

/// Added to what the probes may take: starting, scheduling, one slow answer.
pub const MARGIN: Duration = Duration::from_secs(30);
/// The deadline of a Deployment that names none.
const PROGRESS_DEADLINE: u64 = 600;

/// How long one probe may take until it has passed or failed for good.
fn probe(container: &Value, kind: &str) -> Duration {
    let Some(probe) = container.get(kind).filter(|probe| probe.is_object()) else {
        return Duration::ZERO;
    };
    let or = |pointer: &str, default: u64| {
        fields::seconds(probe, pointer)
            .filter(|found| !found.is_zero())
            .unwrap_or(Duration::from_secs(default))
    };
    let failures = fields::int(probe, "/failureThreshold")
        .filter(|found| *found > 0)
        .unwrap_or(3);
    let failures = u32::try_from(failures).unwrap_or(u32::MAX);
    fields::seconds(probe, "/initialDelaySeconds")
        .unwrap_or_default()
        .saturating_add(or("/periodSeconds", 10).saturating_mul(failures))
        .saturating_add(or("/timeoutSeconds", 1))
}

/// Whether anything but "it runs" decides that this container is ready.
pub fn probed(container: &Value) -> bool {
    ["startupProbe", "readinessProbe"]
        .iter()
        .any(|kind| container.get(*kind).is_some_and(Value::is_object))
}

/// The time that a container has from its start until it must be ready.
///
/// The readiness probe begins when the startup probe has passed, so the two add up.
pub fn startup_budget(container: &Value) -> Duration {
    let success = fields::count(container, "/readinessProbe/successThreshold").saturating_sub(1);
    let period =
        fields::seconds(container, "/readinessProbe/periodSeconds").unwrap_or(Duration::from_secs(10));
    probe(container, "startupProbe")
        .saturating_add(probe(container, "readinessProbe"))
        .saturating_add(period.saturating_mul(success))
        .saturating_add(MARGIN)
}

/// The pod spec of an object: its own, its template's, or its job template's.
pub fn pod_spec(object: &Value) -> Option<&Value> {
    [
        "/spec/template/spec",
        "/spec/jobTemplate/spec/template/spec",
        "/spec",
    ]
    .iter()
    .filter_map(|pointer| object.pointer(pointer))
    .find(|spec| spec.get("containers").is_some())
}

/// How long an object may show no progress before that is a failure: what its spec says (`progressDeadlineSeconds`), or what
/// one pod's init containers and probes may take. Zero for what has no pods.
pub fn time_to_verdict(object: &Value) -> Duration {
    let Some(spec) = pod_spec(object) else {
        return Duration::ZERO;
    };
    let budget = fields::list(spec, "/containers")
        .iter()
        .filter(|container| probed(container))
        .map(startup_budget)
        .max()
        .unwrap_or_default();
    let sidecars = fields::list(spec, "/initContainers")
        .iter()
        .filter(|container| fields::text(container, "/restartPolicy") == "Always")
        .map(startup_budget)
        .fold(Duration::ZERO, Duration::saturating_add);
    let steady = fields::seconds(object, "/spec/minReadySeconds").unwrap_or_default();
    let own = budget.saturating_add(sidecars).saturating_add(steady);
    let job = fields::seconds(object, "/spec/activeDeadlineSeconds").unwrap_or_default();
    match (fields::group(object), fields::text(object, "/kind")) {
        ("apps", "Deployment") => own.max(
            fields::seconds(object, "/spec/progressDeadlineSeconds")
                .unwrap_or(Duration::from_secs(PROGRESS_DEADLINE)),
        ),
        ("batch", "Job") => own.max(job.saturating_add(MARGIN)),
        _ => own,
    }
}

/// A deadline for progress that the author chose: longer than the default that the API server fills in.
pub fn chosen_deadline(object: &Value) -> Option<Duration> {
    fields::seconds(object, "/spec/progressDeadlineSeconds")
        .filter(|found| *found > Duration::from_secs(PROGRESS_DEADLINE))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_startup_budget_adds_both_probes_and_a_margin() {
        let container = json!({"name": "app",
            "startupProbe": {"httpGet": {"path": "/", "port": 80}, "failureThreshold": 30, "periodSeconds": 2, "timeoutSeconds": 1},
            "readinessProbe": {"initialDelaySeconds": 5, "periodSeconds": 10, "failureThreshold": 3, "timeoutSeconds": 1}});
        assert_eq!(startup_budget(&container), Duration::from_secs(61 + 36 + 30));
        assert_eq!(
            startup_budget(&json!({"name": "app", "readinessProbe": {}})),
            Duration::from_secs(31 + 30)
        );
    }

    #[test]
    fn a_deployment_waits_at_least_its_own_deadline_and_a_set_its_probes() {
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": {"containers": [{"name": "app"}]}}}});
        assert_eq!(time_to_verdict(&deployment), Duration::from_secs(600));
        let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"minReadySeconds": 7, "template": {"spec":
            {"containers": [{"name": "app", "readinessProbe": {"periodSeconds": 1, "failureThreshold": 3, "timeoutSeconds": 1}}]}}}});
        assert_eq!(time_to_verdict(&set), Duration::from_secs(4 + 30 + 7));
        assert_eq!(time_to_verdict(&json!({"kind": "ConfigMap"})), Duration::ZERO);
    }
}
