//! What it means that the API server refuses an object.
//!
//! In: a refusal of the dry run, the manifest. Out: the problem with its place in Git and the next step; whether an object made
//! anew could be taken. Guaranteed: no value of a Secret is repeated. Must not: decide whether it is made anew.

use serde_json::Value;

use super::Scene;
use super::object::problem;
use crate::live::Refusal;
use crate::live::kubernetes::ownership;
use crate::live::kubernetes::refusal::path_of;
use crate::names::ObjectKey;
use crate::plan::{Problem, ProblemKind};

/// Whether only fields stand in the way that the manifest does not have: what was filled in for the object as it was, such as the
/// parameters of a rolling update. Nobody owns those, so no apply takes them away.
pub(super) fn is_left_over(refusal: &Refusal, body: &Value) -> bool {
    let left_over = |(field, words): &(String, String)| {
        words.starts_with("Forbidden:") && path_of(field).get(body).is_none_or(Value::is_null)
    };
    refusal.status == 422 && !refusal.causes.is_empty() && refusal.causes.iter().all(left_over)
}

/// What a refusal means for the plan: the field's line in Git, and whose turn it is.
pub(super) fn refused(scene: &Scene<'_>, key: &ObjectKey, refusal: &Refusal) -> Box<Problem> {
    let resource = scene.resource(key);
    let (code, kind) = match refusal.status {
        _ if refusal.by_admission() => ("E0584", ProblemKind::Preflight),
        401 | 403 => ("E0582", ProblemKind::Target),
        422 if refusal.is_immutable() => ("E0586", ProblemKind::Preflight),
        422 | 400 => ("E0581", ProblemKind::Preflight),
        _ => ("E0580", ProblemKind::Preflight),
    };
    // The words of a refusal may repeat a value; those of a Secret are left out.
    let secret = &*key.kind == "Secret";
    let causes: Vec<String> = refusal
        .causes
        .iter()
        .map(|(field, words)| {
            if secret {
                field.clone()
            } else {
                format!("{field}: {words}")
            }
        })
        .collect();
    let words = match (causes.is_empty(), secret) {
        (false, _) => causes.join("; "),
        (true, true) => refusal.reason.clone(),
        (true, false) => refusal.message.clone(),
    };
    let manifest = scene.manifest(key).map(|manifest| &manifest.value);
    let pointer = refusal
        .causes
        .first()
        .map(|(field, _)| path_of(field).pointer(manifest.unwrap_or(&Value::Null)));
    let mut problem = problem(
        scene,
        key,
        code,
        format!("{resource}: {words}"),
        pointer.as_deref(),
        kind,
    );
    problem.help = Some(match code {
        "E0582" => {
            "the account needs the verb `patch` for it; `driftless doctor` lists what is missing, and what grants it"
                .to_owned()
        }
        "E0586" => format!("driftless explain {code}"),
        "E0584" => "change the manifest, or the cluster's policy".to_owned(),
        _ if manifest.is_some_and(|manifest| is_left_over(refusal, manifest)) => format!(
            "the manifest does not have this field: the server has filled it in for the object as it was; `{}: \"true\"` allows it \
             to be made anew",
            ownership::FORCE
        ),
        _ if refusal.status == 404 && refusal.message.starts_with("namespaces ") => {
            let namespace = key.namespace.as_deref().unwrap_or_default();
            format!("`kubectl create namespace {namespace}`, or add a Namespace to the app")
        }
        _ => "correct the manifest; nothing was changed".to_owned(),
    });
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_that_the_manifest_does_not_have_is_left_over() {
        let refusal = |words: &str| Refusal {
            status: 422,
            causes: vec![("spec.strategy.rollingUpdate".to_owned(), words.to_owned())],
            ..Refusal::default()
        };
        let forbidden = refusal("Forbidden: may not be specified when strategy `type` is 'Recreate'");
        let body = |strategy: Value| json!({"spec": {"strategy": strategy}});
        assert!(is_left_over(&forbidden, &body(json!({"type": "Recreate"}))));
        assert!(is_left_over(
            &forbidden,
            &body(json!({"type": "Recreate", "rollingUpdate": null}))
        ));
        let both = body(json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}));
        assert!(!is_left_over(&forbidden, &both));
        // Made anew, it would still be missing.
        assert!(!is_left_over(&refusal("Required value"), &body(json!({}))));
    }
}
