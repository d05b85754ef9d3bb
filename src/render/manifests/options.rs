//! What an object says of how it is to be treated: our annotations and their values.
//!
//! In: an object's annotations. Out: findings. Guaranteed: a value that means nothing is an error with its place; an annotation
//! of ours that is not known is a warning, since a misspelled one would be without effect and without a word. Must not: act on
//! any of them (`health/`, `plan/` and `live/` do, by the names that are here or there).

use super::object::Object;
use crate::document::{Code, Diagnostic, Diagnostics, did_you_mean};

/// [`HEALTH_IGNORE`]: the object's health is shown and holds nothing back.
pub const HEALTH: &str = "driftless.dev/health";
pub const HEALTH_IGNORE: &str = "ignore";
/// Argo CD's word for the same, `"true"`.
pub const ARGO_IGNORE_HEALTH: &str = "argocd.argoproj.io/ignore-healthcheck";
/// `"true"` or `"false"`: whether the release waits for the address of this load balancer, ingress or gateway.
pub const WAIT_FOR_ADDRESS: &str = "driftless.dev/wait-for-address";
/// `migration`: a Job that changes what the old version may not understand.
pub const KIND: &str = "driftless.dev/kind";
/// `safe`, `freeze` or `never`: what a rollback does about the object.
pub const ROLLBACK: &str = "driftless.dev/rollback";
/// A number: how many pods of this DaemonSet may be unwell on nodes that look well.
pub const MAX_UNHEALTHY_NODES: &str = "driftless.dev/max-unhealthy-nodes";

/// What begins an annotation of ours.
const OURS: &str = "driftless.dev/";
/// Those that are read elsewhere.
const OTHERS: &[&str] = &[
    "driftless.dev/wave",
    "driftless.dev/hook",
    "driftless.dev/prune",
    "driftless.dev/force",
];

/// Checks the annotations of one object.
pub fn check(object: &Object<'_>, findings: &mut Diagnostics) {
    for item in object.annotations.into_iter().flatten() {
        let name = item.key.value.as_str();
        let text = item.value.as_str().unwrap_or_default();
        let takes = match name {
            HEALTH if text != HEALTH_IGNORE => "`ignore`",
            WAIT_FOR_ADDRESS if !["true", "false"].contains(&text) => "\"true\" or \"false\"",
            MAX_UNHEALTHY_NODES if text.parse::<u32>().is_err() => "a whole number in quotes",
            KIND if text != "migration" => "`migration`",
            ROLLBACK if !["safe", "freeze", "never"].contains(&text) => "`safe`, `freeze` or `never`",
            HEALTH | WAIT_FOR_ADDRESS | MAX_UNHEALTHY_NODES | KIND | ROLLBACK => continue,
            _ if name.starts_with(OURS) && !OTHERS.contains(&name) => {
                let known = OTHERS.iter().copied().chain([
                    HEALTH,
                    WAIT_FOR_ADDRESS,
                    MAX_UNHEALTHY_NODES,
                    KIND,
                    ROLLBACK,
                ]);
                let message = format!("`{name}` of {} means nothing", object.key);
                let mut finding = Diagnostic::warning(Code::BAD_OPTION, &item.key.span, message);
                if let Some(near) = did_you_mean(name, known) {
                    finding = finding.with_label(format!("did you mean `{near}`?"));
                }
                findings.push(finding);
                continue;
            }
            _ => continue,
        };
        let message = format!("`{name}` of {} cannot be `{text}`", object.key);
        findings.push(
            Diagnostic::error(Code::BAD_OPTION, &item.value.span, message)
                .with_help(format!("it takes {takes}")),
        );
    }
}
