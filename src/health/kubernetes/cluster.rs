//! Kinds without pods that Kubernetes itself brings: storage, addresses, autoscaling, definitions, and what is healthy once it is there.
//!
//! In: the object. Out: [`Judged`], or `None` for a kind that is not known here. Guaranteed: addresses and autoscaling do not
//! hold a release back unless the app asks for it. Must not: know custom resources (custom.rs does).

use std::time::Duration;

use serde_json::Value;

use super::events;
use super::fields::{self, Condition};
use super::weigh::{Stand, Watch};
use super::{Judged, Scene};
use crate::health::{Cause, CauseKind, Verdict};

/// Kinds that are healthy once the API server has them.
const PLAIN: [(&str, &[&str]); 12] = [
    (
        "",
        &[
            "ConfigMap",
            "Secret",
            "ServiceAccount",
            "LimitRange",
            "ResourceQuota",
            "Endpoints",
            "PodTemplate",
        ],
    ),
    ("apps", &["ControllerRevision"]),
    ("policy", &["PodDisruptionBudget"]),
    ("discovery.k8s.io", &["EndpointSlice"]),
    (
        "rbac.authorization.k8s.io",
        &["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"],
    ),
    (
        "networking.k8s.io",
        &["NetworkPolicy", "IngressClass", "IPAddress", "ServiceCIDR"],
    ),
    (
        "storage.k8s.io",
        &["StorageClass", "CSIDriver", "CSINode", "VolumeAttributesClass"],
    ),
    ("scheduling.k8s.io", &["PriorityClass"]),
    ("node.k8s.io", &["RuntimeClass"]),
    ("coordination.k8s.io", &["Lease"]),
    (
        "admissionregistration.k8s.io",
        &[
            "ValidatingWebhookConfiguration",
            "MutatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
        ],
    ),
    (
        "flowcontrol.apiserver.k8s.io",
        &["FlowSchema", "PriorityLevelConfiguration"],
    ),
];

/// Judges an object of a kind that Kubernetes brings, or of the Gateway API.
pub fn judge(scene: &Scene<'_>, group: &str, kind: &str) -> Option<Judged> {
    if PLAIN
        .iter()
        .any(|(known, kinds)| *known == group && kinds.contains(&kind))
    {
        return Some(Judged::healthy());
    }
    Some(match (group, kind) {
        ("", "PersistentVolumeClaim") => claim(scene),
        ("", "PersistentVolume") => match fields::text(scene.object, "/status/phase") {
            "Failed" => Judged::failed(
                CauseKind::SaidFailed,
                fields::one_line(&format!(
                    "the volume failed: {}",
                    fields::text(scene.object, "/status/message")
                )),
            ),
            _ => Judged::healthy(),
        },
        ("", "Namespace") => match fields::text(scene.object, "/status/phase") {
            "Terminating" => Judged::progressing(CauseKind::Terminating, "it is being deleted"),
            _ => Judged::healthy(),
        },
        ("", "Service") => service(scene),
        ("networking.k8s.io" | "extensions", "Ingress") => addressed(scene, "no address yet"),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(scene.object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(scene.object),
        ("apiregistration.k8s.io", "APIService") => must_hold(scene.object, "Available"),
        ("gateway.networking.k8s.io", "Gateway") => gateway(scene),
        ("gateway.networking.k8s.io", "GatewayClass") => must_hold(scene.object, "Accepted"),
        ("gateway.networking.k8s.io", _) if kind.ends_with("Route") => route(scene),
        _ => return None,
    })
}

fn must_hold(object: &Value, kind: &str) -> Judged {
    match fields::condition(object, kind) {
        Some(found) if found.holds() => Judged::healthy(),
        Some(found) => Judged::progressing(CauseKind::NotReady, found.words()),
        None => Judged::progressing(CauseKind::NotReady, format!("{kind} is not said yet")),
    }
}

fn service(scene: &Scene<'_>) -> Judged {
    if fields::text(scene.object, "/spec/type") == "LoadBalancer" {
        addressed(scene, "its load balancer has no address yet")
    } else {
        Judged::healthy()
    }
}

fn addressed(scene: &Scene<'_>, lacking: &str) -> Judged {
    let judged = if fields::list(scene.object, "/status/loadBalancer/ingress").is_empty() {
        Judged::progressing(CauseKind::NotReady, lacking)
    } else {
        Judged::healthy()
    };
    gating_if(judged, scene.waits_for_address())
}

fn gating_if(mut judged: Judged, gating: bool) -> Judged {
    judged.gating = gating;
    judged
}

/// An autoscaler that can't scale is worth a warning; the release is not at fault for it.
fn autoscaler(object: &Value) -> Judged {
    let bad = ["AbleToScale", "ScalingActive"]
        .into_iter()
        .filter_map(|kind| fields::condition(object, kind))
        // Scaled to zero by hand: it is switched off on purpose.
        .find(|found| found.denied() && found.reason != "ScalingDisabled");
    match bad {
        Some(found) => Judged::new(Verdict::Failing(Cause::new(CauseKind::NotReady, found.words()))),
        None => Judged::healthy(),
    }
    .not_gating()
}

fn definition(object: &Value) -> Judged {
    if let Some(names) = fields::condition(object, "NamesAccepted")
        && names.denied()
    {
        return Judged::failed(
            CauseKind::SaidFailed,
            format!("its names are not accepted: {}", names.words()),
        );
    }
    match fields::condition(object, "Established") {
        Some(found) if found.holds() => Judged::healthy(),
        Some(found) if found.denied() && found.reason != "Installing" => Judged::failed(
            CauseKind::SaidFailed,
            format!("it can't be established: {}", found.words()),
        ),
        _ => Judged::progressing(CauseKind::NotReady, "it is not established yet"),
    }
}

/// A claim. One that waits for its first consumer and has none is as it should be.
fn claim(scene: &Scene<'_>) -> Judged {
    let object = scene.object;
    match fields::text(object, "/status/phase") {
        "Bound" => return Judged::healthy(),
        "Lost" => return Judged::failed(CauseKind::SaidFailed, "its volume is lost"),
        _ => {}
    }
    let events = events::about(scene.events, object);
    let consumed = scene.pods.iter().any(|pod| {
        !fields::deleted(pod)
            && fields::namespace(pod) == fields::namespace(object)
            && fields::list(pod, "/spec/volumes").iter().any(|volume| {
                fields::text(volume, "/persistentVolumeClaim/claimName") == fields::name(object)
            })
    });
    let waits = match class_of(scene) {
        Some(class) => fields::text(class, "/volumeBindingMode") == "WaitForFirstConsumer",
        None => events
            .first()
            .is_some_and(|newest| matches!(newest.reason, "WaitForFirstConsumer" | "WaitForPodScheduled")),
    };
    if waits && !consumed {
        return Judged::healthy().note("it is bound when the first pod uses it");
    }
    let Some(failed) = events.iter().find(|event| event.reason == "ProvisioningFailed") else {
        return Judged::progressing(CauseKind::NotStarted, "it is not bound yet");
    };
    let kind = if failed.message.contains("not found") {
        CauseKind::ConfigMissing
    } else {
        CauseKind::Volume
    };
    trouble(
        scene,
        kind,
        &format!("it can't be bound: {}", failed.message),
        failed.first,
    )
}

fn class_of<'a>(scene: &Scene<'a>) -> Option<&'a Value> {
    let name = fields::text(scene.object, "/spec/storageClassName");
    scene.classes.iter().find(|class| {
        if name.is_empty() {
            fields::annotation(class, "storageclass.kubernetes.io/is-default-class") == "true"
        } else {
            fields::name(class) == name
        }
    })
}

/// Trouble of an object by itself, with its patience.
pub(super) fn trouble(
    scene: &Scene<'_>,
    kind: CauseKind,
    text: &str,
    since: Option<crate::clock::Timestamp>,
) -> Judged {
    let mut watch = Watch::new(scene);
    let stand = watch.stand(fields::uid(scene.object), kind, since, scene.rules.patience(kind));
    let cause = Cause::new(kind, fields::one_line(text));
    let mut judged = match stand {
        Stand::Over => Judged::new(Verdict::Failed(cause)),
        Stand::Due(_) | Stand::Open => Judged::new(Verdict::Failing(cause)),
    };
    if let Stand::Due(due) = stand {
        judged.due = Some(due);
    }
    judged.seen = watch.seen;
    judged
}

fn current(condition: &Condition<'_>, object: &Value) -> bool {
    match (condition.observed, fields::int(object, "/metadata/generation")) {
        (Some(observed), Some(live)) => observed >= live,
        _ => true,
    }
}

/// A route is accepted by *each* of its parents, for the generation that is live.
fn route(scene: &Scene<'_>) -> Judged {
    /// Controllers that write no parents at all are told apart from slow ones by time only.
    const NO_PARENT: Duration = Duration::from_secs(30);
    let object = scene.object;
    let parents = fields::list(object, "/status/parents");
    if parents.is_empty() {
        return if fields::list(object, "/spec/parentRefs").is_empty() {
            Judged::healthy().note("it names no parent")
        } else if super::workloads::young(scene, NO_PARENT) {
            Judged::progressing(CauseKind::NotReady, "no gateway has accepted it yet")
        } else {
            trouble(scene, CauseKind::Refused, "no gateway has accepted it", None)
        };
    }
    for parent in parents {
        let name = fields::text(parent, "/parentRef/name");
        for kind in ["Accepted", "ResolvedRefs"] {
            let found = fields::list(parent, "/conditions")
                .iter()
                .map(Condition::read)
                .find(|found| found.kind == kind);
            match found {
                Some(found) if !current(&found, object) => {
                    return Judged::progressing(
                        CauseKind::NotObserved,
                        format!("gateway {name} has not seen this version yet"),
                    );
                }
                Some(found) if found.holds() => {}
                Some(found) if found.denied() => {
                    let text = format!("gateway {name}: {kind} is False: {}", found.words());
                    return trouble(scene, CauseKind::Refused, &text, found.since);
                }
                // ResolvedRefs is only written where there are references.
                None if kind == "ResolvedRefs" => {}
                _ => {
                    return Judged::progressing(
                        CauseKind::NotReady,
                        format!("gateway {name} has not answered yet ({kind})"),
                    );
                }
            }
        }
    }
    Judged::healthy()
}

fn gateway(scene: &Scene<'_>) -> Judged {
    let object = scene.object;
    if let Some(accepted) = fields::condition(object, "Accepted")
        && accepted.denied()
        && current(&accepted, object)
    {
        let text = format!("not accepted: {}", accepted.words());
        return trouble(scene, CauseKind::Refused, &text, accepted.since);
    }
    let judged = match fields::condition(object, "Programmed").or_else(|| fields::condition(object, "Ready"))
    {
        Some(found) if !current(&found, object) => {
            return Judged::progressing(
                CauseKind::NotObserved,
                "its controller has not seen this version yet",
            );
        }
        Some(found) if found.holds() => return Judged::healthy(),
        Some(found) => Judged::progressing(CauseKind::NotReady, found.words()),
        None => Judged::progressing(CauseKind::NotReady, "it is not programmed yet"),
    };
    // An address comes from outside the cluster, as with a load balancer.
    gating_if(judged, scene.waits_for_address())
}
