//! Waves and hooks: when an object's turn is.
//!
//! In: an object's annotations. Out: [`Moment`], or that the object is left out. Guaranteed: a number or a word that can't
//! be honoured is a finding with its place. Must not: order anything.
//!
//! | Moment | `driftless.dev/hook` | `argocd.argoproj.io/hook` | `helm.sh/hook` |
//! |---|---|---|---|
//! | before everything | `pre` | `PreSync` | `pre-install`, `pre-upgrade` |
//! | with the state | (none) | `Sync` | `crd-install` |
//! | when all is healthy | `post` | `PostSync` | `post-install`, `post-upgrade` |
//! | while rolling back | `rollback` | | `pre-rollback`, `post-rollback` |
//! | left out, with a warning | | `SyncFail`, `PreDelete`, `PostDelete`, `Skip` | `test`, `pre-delete`, `post-delete` |
//!
//! Our own annotation wins over Argo CD's, that over Helm's. `SyncFail` is left out rather than taken for a rollback: it
//! runs where nothing is rolled back, as a rule to tell somebody. A hook that has a moment before or after *and* one in a
//! rollback keeps the former: a rollback applies a whole release, hooks included.

use super::object::Object;
use crate::document::{Code, Diagnostic, Diagnostics, Node, did_you_mean};
use crate::render::bundle::Hook;

/// When an object's turn is.
pub struct Moment {
    pub wave: i32,
    pub hook: Option<Hook>,
}

/// The object is of no moment that a release has; a warning says so.
pub struct LeftOut;

const OWN_WAVE: &str = "driftless.dev/wave";
const ARGO_WAVE: &str = "argocd.argoproj.io/sync-wave";
const HELM_WEIGHT: &str = "helm.sh/hook-weight";
const OWN_HOOK: &str = "driftless.dev/hook";
const ARGO_HOOK: &str = "argocd.argoproj.io/hook";
const HELM_HOOK: &str = "helm.sh/hook";

/// What one word of an annotation means.
#[derive(Clone, Copy, PartialEq)]
enum Word {
    Hook(Hook),
    State,
    LeftOut,
}

const OWN: &[(&str, Word)] = &[
    ("pre", Word::Hook(Hook::Pre)),
    ("post", Word::Hook(Hook::Post)),
    ("rollback", Word::Hook(Hook::Rollback)),
];
const ARGO: &[(&str, Word)] = &[
    ("PreSync", Word::Hook(Hook::Pre)),
    ("Sync", Word::State),
    ("PostSync", Word::Hook(Hook::Post)),
    ("SyncFail", Word::LeftOut),
    ("PreDelete", Word::LeftOut),
    ("PostDelete", Word::LeftOut),
    ("Skip", Word::LeftOut),
];
const HELM: &[(&str, Word)] = &[
    ("pre-install", Word::Hook(Hook::Pre)),
    ("pre-upgrade", Word::Hook(Hook::Pre)),
    ("post-install", Word::Hook(Hook::Post)),
    ("post-upgrade", Word::Hook(Hook::Post)),
    ("pre-rollback", Word::Hook(Hook::Rollback)),
    ("post-rollback", Word::Hook(Hook::Rollback)),
    ("crd-install", Word::State),
    ("test", Word::LeftOut),
    ("test-success", Word::LeftOut),
    ("test-failure", Word::LeftOut),
    ("pre-delete", Word::LeftOut),
    ("post-delete", Word::LeftOut),
];

/// Reads the annotations of one object.
pub fn moment(object: &Object<'_>, findings: &mut Diagnostics) -> Result<Moment, LeftOut> {
    let node = |name: &str| object.annotations?.get(name).filter(|node| !node.is_null());
    let (hook, helm) = [(OWN_HOOK, OWN), (ARGO_HOOK, ARGO), (HELM_HOOK, HELM)]
        .iter()
        .find_map(|(name, words)| {
            Some((
                hook(object, name, words, node(name)?, findings),
                *name == HELM_HOOK,
            ))
        })
        .unwrap_or((Ok(None), false));
    let weight = node(HELM_WEIGHT).filter(|_| helm).map(|node| (HELM_WEIGHT, node));
    let wave = node(OWN_WAVE)
        .map(|node| (OWN_WAVE, node))
        .or_else(|| node(ARGO_WAVE).map(|node| (ARGO_WAVE, node)))
        .or(weight)
        .map_or(0, |(name, node)| wave(object, name, node, findings));
    Ok(Moment { wave, hook: hook? })
}

fn wave(object: &Object<'_>, name: &str, node: &Node, findings: &mut Diagnostics) -> i32 {
    let text = node.as_str().unwrap_or_default();
    text.trim().parse().unwrap_or_else(|_| {
        let message = format!("`{name}` of {} is not a whole number: `{text}`", object.key);
        findings.push(
            Diagnostic::error(Code::BAD_WAVE, &node.span, message)
                .with_help("write a number in quotes, for example \"-1\" or \"10\""),
        );
        0
    })
}

fn hook(
    object: &Object<'_>,
    name: &str,
    words: &[(&str, Word)],
    node: &Node,
    findings: &mut Diagnostics,
) -> Result<Option<Hook>, LeftOut> {
    let mut meant = Vec::new();
    let text = node.as_str().unwrap_or_default();
    for raw in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if let Some((_, word)) = words.iter().find(|(known, _)| *known == raw) {
            meant.push(*word);
            continue;
        }
        let mut finding = Diagnostic::error(
            Code::BAD_HOOK,
            &node.span,
            format!("`{name}` of {} cannot be `{raw}`", object.key),
        );
        if let Some(near) = did_you_mean(raw, words.iter().map(|(known, _)| *known)) {
            finding = finding.with_label(format!("did you mean `{near}`?"));
        }
        let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
        findings.push(finding.with_note(format!("known: {}", known.join(", "))));
        return Ok(None);
    }
    let has = |hook: Hook| meant.contains(&Word::Hook(hook));
    if has(Hook::Pre) && has(Hook::Post) {
        findings.push(
            Diagnostic::error(
                Code::BAD_HOOK,
                &node.span,
                format!("{} is to run before and after a release", object.key),
            )
            .with_help("write two objects with two names, one for each moment"),
        );
        return Ok(None);
    }
    if let Some(hook) = [Hook::Pre, Hook::Post, Hook::Rollback]
        .into_iter()
        .find(|hook| has(*hook))
    {
        return Ok(Some(hook));
    }
    if meant.is_empty() || meant.contains(&Word::State) {
        return Ok(None);
    }
    findings.push(
        Diagnostic::warning(
            Code::MANIFEST_LEFT_OUT,
            &node.span,
            format!("{} is left out: a release has no moment `{text}`", object.key),
        )
        .with_help("`driftless.dev/hook: pre`, `post` or `rollback` gives it one"),
    );
    Err(LeftOut)
}
