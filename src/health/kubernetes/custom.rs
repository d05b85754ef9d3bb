//! Custom resources: a table of the commonest, and a rule for the rest.
//!
//! In: an object of any kind. Out: [`Judged`]. Guaranteed: a resource whose controller has said nothing yet is not called healthy at
//! once (kustomize-controller#387), and not waited for for ever either; a condition about an older generation does not count.
//! Must not: hold a rule that an app could write as an expression (cel.rs).

use std::time::Duration;

use serde_json::Value;

use super::cluster::trouble;
use super::workloads::young;
use super::{Judged, Scene, fields};
use crate::clock::elapsed;
use crate::health::{CauseKind, Verdict};

/// How long a controller has to say something about a new object.
const FIRST_WORD: Duration = Duration::from_secs(30);
/// How long a status may be about the object before our apply, where it names no generation.
const SECOND_WORD: Duration = Duration::from_secs(5);
/// What is noted where nothing speaks for an object but that it is there.
pub const NO_SIGNAL: &str = "no health signal";

/// Where a kind tells how it is.
enum Signal {
    /// It has no status that tells: it is healthy once it is there.
    Plain,
    /// All these conditions hold.
    Hold(&'static [&'static str]),
    /// A word at a pointer.
    Word {
        at: &'static str,
        good: &'static [&'static str],
        bad: &'static [&'static str],
    },
}

/// The group (a leading dot: any that ends so), the kinds (`*`: all), and their signal.
type Row = (&'static str, &'static [&'static str], Signal);

const TABLE: &[Row] = &[
    (
        "monitoring.coreos.com",
        &[
            "ServiceMonitor",
            "PodMonitor",
            "PrometheusRule",
            "Probe",
            "ScrapeConfig",
            "AlertmanagerConfig",
        ],
        Signal::Plain,
    ),
    (
        "monitoring.coreos.com",
        &["Prometheus", "Alertmanager", "ThanosRuler"],
        Signal::Hold(&["Available", "Reconciled"]),
    ),
    ("traefik.io", &["*"], Signal::Plain),
    ("networking.istio.io", &["*"], Signal::Plain),
    ("security.istio.io", &["*"], Signal::Plain),
    ("telemetry.istio.io", &["*"], Signal::Plain),
    ("metallb.io", &["*"], Signal::Plain),
    ("crd.projectcalico.org", &["*"], Signal::Plain),
    (
        "cilium.io",
        &["CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"],
        Signal::Plain,
    ),
    (
        "argoproj.io",
        &[
            "AppProject",
            "WorkflowTemplate",
            "AnalysisTemplate",
            "ClusterAnalysisTemplate",
            "CronWorkflow",
            "EventSource",
            "Sensor",
        ],
        Signal::Plain,
    ),
    (
        "argoproj.io",
        &["Rollout"],
        Signal::Word {
            at: "/status/phase",
            good: &["Healthy"],
            bad: &["Degraded"],
        },
    ),
    (
        "argoproj.io",
        &["Application"],
        Signal::Word {
            at: "/status/health/status",
            good: &["Healthy"],
            bad: &["Degraded"],
        },
    ),
    (
        "argoproj.io",
        &["Workflow"],
        Signal::Word {
            at: "/status/phase",
            good: &["Succeeded"],
            bad: &["Failed", "Error"],
        },
    ),
    ("bitnami.com", &["SealedSecret"], Signal::Hold(&["Synced"])),
    (
        "projectcontour.io",
        &["HTTPProxy"],
        Signal::Word {
            at: "/status/currentStatus",
            good: &["valid"],
            bad: &["invalid"],
        },
    ),
    ("postgresql.cnpg.io", &["Cluster"], Signal::Hold(&["Ready"])),
    (
        "postgresql.cnpg.io",
        &["ScheduledBackup", "ImageCatalog", "ClusterImageCatalog"],
        Signal::Plain,
    ),
    (
        "acid.zalan.do",
        &["postgresql"],
        Signal::Word {
            at: "/status/PostgresClusterStatus",
            good: &["Running"],
            bad: &["CreateFailed", "UpdateFailed", "SyncFailed", "Invalid"],
        },
    ),
    (
        "elasticsearch.k8s.elastic.co",
        &["Elasticsearch"],
        Signal::Word {
            at: "/status/health",
            good: &["green", "yellow"],
            bad: &[],
        },
    ),
    (
        ".k8s.elastic.co",
        &["*"],
        Signal::Word {
            at: "/status/health",
            good: &["green"],
            bad: &[],
        },
    ),
    (
        "rabbitmq.com",
        &["RabbitmqCluster"],
        Signal::Hold(&["AllReplicasReady", "ReconcileSuccess"]),
    ),
    (
        "mongodbcommunity.mongodb.com",
        &["MongoDBCommunity"],
        Signal::Word {
            at: "/status/phase",
            good: &["Running"],
            bad: &["Failed"],
        },
    ),
    ("snapshot.storage.k8s.io", &["VolumeSnapshotClass"], Signal::Plain),
    (
        "operators.coreos.com",
        &["ClusterServiceVersion"],
        Signal::Word {
            at: "/status/phase",
            good: &["Succeeded"],
            bad: &["Failed"],
        },
    ),
    ("operators.coreos.com", &["OperatorGroup"], Signal::Plain),
    (
        "velero.io",
        &["Schedule"],
        Signal::Word {
            at: "/status/phase",
            good: &["Enabled"],
            bad: &["FailedValidation"],
        },
    ),
    (
        "velero.io",
        &["Backup", "Restore"],
        Signal::Word {
            at: "/status/phase",
            good: &["Completed"],
            bad: &["Failed", "FailedValidation", "PartiallyFailed"],
        },
    ),
    (
        "tekton.dev",
        &["PipelineRun", "TaskRun"],
        Signal::Hold(&["Succeeded"]),
    ),
    ("tekton.dev", &["Pipeline", "Task", "ClusterTask"], Signal::Plain),
    ("kafka.strimzi.io", &["*"], Signal::Hold(&["Ready"])),
    (
        "serving.knative.dev",
        &["Service", "Configuration", "Route", "Revision"],
        Signal::Hold(&["Ready"]),
    ),
    (
        "cert-manager.io",
        &["Certificate", "Issuer", "ClusterIssuer"],
        Signal::Hold(&["Ready"]),
    ),
    (
        "external-secrets.io",
        &[
            "ExternalSecret",
            "SecretStore",
            "ClusterSecretStore",
            "ClusterExternalSecret",
            "PushSecret",
        ],
        Signal::Hold(&["Ready"]),
    ),
    (
        "keda.sh",
        &["ScaledObject", "ScaledJob"],
        Signal::Hold(&["Ready"]),
    ),
    (
        "keda.sh",
        &["TriggerAuthentication", "ClusterTriggerAuthentication"],
        Signal::Plain,
    ),
    (
        "kyverno.io",
        &["ClusterPolicy", "Policy"],
        Signal::Hold(&["Ready"]),
    ),
    (
        "cluster.x-k8s.io",
        &["Cluster", "Machine", "MachineDeployment"],
        Signal::Hold(&["Ready"]),
    ),
    (".fluxcd.io", &["*"], Signal::Hold(&["Ready"])),
    (".crossplane.io", &["*"], Signal::Hold(&["Synced", "Ready"])),
];

/// Flux kinds that are plain settings: their controller writes no status.
const FLUX_PLAIN: [&str; 2] = ["Alert", "Provider"];

fn row(group: &str, kind: &str) -> Option<&'static Signal> {
    TABLE
        .iter()
        .find(|(known, kinds, _)| {
            (*known == group || known.starts_with('.') && group.ends_with(known))
                && (kinds.contains(&"*") || kinds.contains(&kind))
        })
        .map(|(_, _, signal)| signal)
}

/// Judges an object of a kind that nothing else knows.
pub fn judge(scene: &Scene<'_>) -> Judged {
    let object = scene.object;
    let (group, kind) = (fields::group(object), fields::text(object, "/kind"));
    if fields::flag(object, "/spec/suspend") && group.ends_with(".fluxcd.io") {
        return Judged::new(Verdict::Suspended).note("it is suspended (spec.suspend)");
    }
    if group == "notification.toolkit.fluxcd.io" && FLUX_PLAIN.contains(&kind) {
        return Judged::healthy();
    }
    if let Some(stalled) = fields::condition(object, "Stalled").filter(fields::Condition::holds) {
        return Judged::failed(CauseKind::SaidFailed, stalled.words());
    }
    if let Some(moving) = fields::condition(object, "Reconciling").filter(fields::Condition::holds) {
        return Judged::progressing(CauseKind::NotReady, moving.words());
    }
    match row(group, kind) {
        Some(Signal::Plain) => Judged::healthy(),
        Some(Signal::Hold(kinds)) => all_hold(scene, kinds),
        Some(Signal::Word { at, good, bad }) => word(scene, at, good, bad),
        None => unknown_kind(scene),
    }
}

fn silent(scene: &Scene<'_>, what: &str) -> Judged {
    if young(scene, FIRST_WORD) {
        Judged::progressing(
            CauseKind::NotReady,
            format!("its controller has not said {what} yet"),
        )
    } else {
        Judged::healthy().note(NO_SIGNAL)
    }
}

fn word(scene: &Scene<'_>, at: &str, good: &[&str], bad: &[&str]) -> Judged {
    let said = fields::text(scene.object, at);
    if said.is_empty() {
        return silent(scene, "how it is");
    }
    let reason = match fields::text(scene.object, "/status/message") {
        "" => said.to_owned(),
        message => fields::one_line(&format!("{said}: {message}")),
    };
    if bad.contains(&said) {
        trouble(scene, CauseKind::Refused, &format!("it says {reason}"), None)
    } else if !good.contains(&said) {
        Judged::progressing(CauseKind::NotReady, format!("it says {reason}"))
    } else {
        fresh(scene).unwrap_or_else(Judged::healthy)
    }
}

/// A good status that names no generation may still be about the object before our apply.
fn fresh(scene: &Scene<'_>) -> Option<Judged> {
    let object = scene.object;
    let named = fields::has(object, "/status/observedGeneration")
        || fields::conditions(object).any(|condition| condition.observed.is_some());
    let changed = fields::int(object, "/metadata/generation").is_some_and(|generation| generation > 1);
    (!named && changed && elapsed(scene.applied.at, scene.now) < SECOND_WORD).then(|| {
        Judged::progressing(
            CauseKind::NotObserved,
            "its status does not tell which version it is about; looking once more",
        )
    })
}

fn all_hold(scene: &Scene<'_>, kinds: &[&str]) -> Judged {
    let object = scene.object;
    for (told, kind) in (0_u64..).zip(kinds) {
        let Some(found) = fields::condition(object, kind) else {
            let mut judged = silent(scene, kind);
            judged.steps = told;
            return judged;
        };
        if let (Some(observed), Some(live)) = (found.observed, fields::int(object, "/metadata/generation"))
            && observed < live
        {
            return Judged::progressing(
                CauseKind::NotObserved,
                format!("{kind} is about an older version (generation {observed} of {live})"),
            );
        }
        if !found.holds() {
            let mut judged = Judged::progressing(CauseKind::NotReady, found.words());
            judged.steps = told;
            return judged;
        }
    }
    fresh(scene).unwrap_or_else(Judged::healthy)
}

/// Groups that come with Kubernetes: their kinds without status are healthy once they are there.
fn built_in(group: &str) -> bool {
    matches!(
        group,
        "" | "apps"
            | "batch"
            | "autoscaling"
            | "policy"
            | "extensions"
            | "admissionregistration.k8s.io"
            | "authentication.k8s.io"
            | "certificates.k8s.io"
            | "coordination.k8s.io"
            | "discovery.k8s.io"
            | "events.k8s.io"
            | "flowcontrol.apiserver.k8s.io"
            | "internal.apiserver.k8s.io"
            | "networking.k8s.io"
            | "node.k8s.io"
            | "rbac.authorization.k8s.io"
            | "resource.k8s.io"
            | "scheduling.k8s.io"
            | "storage.k8s.io"
            | "storagemigration.k8s.io"
    )
}

/// The rule for a kind that no table knows: its Ready, Available or Synced condition, and otherwise time.
fn unknown_kind(scene: &Scene<'_>) -> Judged {
    let object = scene.object;
    let deciding = ["Ready", "Available", "Healthy", "Succeeded"]
        .into_iter()
        .find(|kind| fields::condition(object, kind).is_some());
    let synced = fields::condition(object, "Synced").is_some();
    match (deciding, synced) {
        (Some(kind), true) => all_hold(scene, &["Synced", kind]),
        (Some(kind), false) => all_hold(scene, &[kind]),
        (None, true) => all_hold(scene, &["Synced"]),
        (None, false) => {
            let status = object.get("status").and_then(Value::as_object);
            let told = status.is_some_and(|status| !status.is_empty());
            let observed = fields::has(object, "/status/observedGeneration");
            if built_in(fields::group(object)) {
                Judged::healthy()
            } else if told && observed {
                // Its controller has seen it and has no complaint to make.
                Judged::healthy().note(NO_SIGNAL)
            } else {
                silent(scene, "anything")
            }
        }
    }
}
