//! What a kustomization can refer to, and what it must not ask for.
//!
//! In: a checkout and a kustomization's folder. Out: the folders and files that it reaches, or refusals with their places.
//! Guaranteed: what is not among the roots is not in the copy, so kustomize can't read it. Must not: know kustomize's
//! fields one by one: any text that names something of the commit counts as a reference.

use std::collections::BTreeSet;

use super::error::ExpandError;
use crate::document::{self, Budget, Code, Diagnostic, Diagnostics, Dialect, Mapping, Node, Span, Value};
use crate::source::{Checkout, RepoPath};

const FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The fields whose items kustomize would fetch.
const FETCHED: &[&str] = &[
    "resources",
    "bases",
    "components",
    "crds",
    "configurations",
    "generators",
    "transformers",
    "validators",
];

/// What would run a program.
const REFUSED: &[(&str, &str)] = &[
    ("helmCharts", "charts inside of a kustomization are not rendered"),
    (
        "helmChartInflationGenerator",
        "charts inside of a kustomization are not rendered",
    ),
    ("helmGlobals", "charts inside of a kustomization are not rendered"),
];

/// Text of a kustomization and where it is written, to find what a message speaks of.
#[derive(Debug)]
pub(super) struct Written {
    pub text: String,
    pub span: Span,
}

/// What a kustomization reaches.
#[derive(Debug, Default)]
pub(super) struct Reach {
    pub roots: Vec<RepoPath>,
    pub strings: Vec<Written>,
}

/// Follows references from `folder`.
pub(super) fn reach(checkout: &Checkout, folder: &RepoPath) -> Result<Reach, ExpandError> {
    let mut found = Reach::default();
    let mut findings = Diagnostics::new();
    let mut roots = BTreeSet::from([folder.clone()]);
    let mut waiting = vec![folder.clone()];
    let mut seen = BTreeSet::new();
    while let Some(folder) = waiting.pop() {
        if !seen.insert(folder.clone()) {
            continue;
        }
        let file = FILES
            .iter()
            .filter_map(|name| folder.join(name).ok())
            .find(|file| checkout.is_file(file));
        let Some(file) = file else { continue };
        let blob = checkout.read(&file)?;
        let documents =
            match document::parse_bytes(file.as_str(), &blob.bytes, Dialect::Kubectl, &Budget::default()) {
                Ok(documents) => documents,
                Err(broken) => {
                    findings.extend(broken);
                    continue;
                }
            };
        for document in &documents {
            if let Some(mapping) = document.root.as_mapping() {
                refuse(checkout, &folder, mapping, &mut findings);
            }
            let first = found.strings.len();
            strings(&document.root, &mut found.strings);
            for written in found.strings.iter().skip(first) {
                for text in [
                    Some(written.text.as_str()),
                    written.text.split_once('=').map(|(_, file)| file),
                ] {
                    let Some(target) = text.and_then(|text| folder.join(text).ok()) else {
                        continue;
                    };
                    // `.` and the like name the folder itself; the root as a whole only where it is the app.
                    if target.is_root() || folder.starts_with(&target) {
                        continue;
                    }
                    if checkout.is_dir(&target) {
                        waiting.push(target.clone());
                        roots.insert(target);
                    } else if checkout.is_file(&target) {
                        roots.insert(target);
                    }
                }
            }
        }
    }
    if findings.has_errors() {
        return Err(ExpandError::Findings(findings));
    }
    // What lies below another root comes with it.
    found.roots = roots
        .iter()
        .filter(|path| !roots.iter().any(|root| root != *path && path.starts_with(root)))
        .cloned()
        .collect();
    Ok(found)
}

fn refuse(checkout: &Checkout, folder: &RepoPath, mapping: &Mapping, findings: &mut Diagnostics) {
    for (key, why) in REFUSED {
        if let Some(item) = mapping.item(key) {
            findings.push(
                Diagnostic::error(Code::RENDER_REFUSED, &item.key.span, format!("`{key}`: {why}")).with_help(
                    "let an app of its own name the chart's folder, or commit what `helm template` prints",
                ),
            );
        }
    }
    for key in FETCHED {
        for item in mapping.get(key).and_then(Node::as_sequence).unwrap_or_default() {
            let Some(text) = item.as_str() else { continue };
            if let Some(finding) = reference(checkout, folder, text, item) {
                findings.push(finding);
            }
        }
    }
}

/// What is wrong with one reference; a missing file is kustomize's to report.
fn reference(checkout: &Checkout, folder: &RepoPath, text: &str, item: &Node) -> Option<Diagnostic> {
    // An inline generator or transformer.
    if text.contains('\n') {
        return None;
    }
    let target = folder.join(text);
    if target
        .as_ref()
        .is_ok_and(|target| matches!(checkout.stat(target), Ok(Some(_))))
    {
        return None;
    }
    let remote = text.contains("://")
        || ["git::", "git@", "github.com", "gh:"]
            .iter()
            .any(|start| text.starts_with(start))
        || text.contains("?ref=")
        || text.contains("//");
    if remote {
        return Some(
            Diagnostic::error(
                Code::RENDER_REMOTE,
                &item.span,
                "the kustomization refers to the network".to_owned(),
            )
            .with_label("this is not in the commit")
            .with_help("copy it into the repository (`kustomize localize`), and refer to the copy"),
        );
    }
    target.err().map(|error| {
        Diagnostic::error(Code::PATH_OUTSIDE, &item.span, error.to_string())
            .with_help("a kustomization can refer to files of its repository only")
    })
}

/// Every text of a tree, on one line and short enough to be a path.
fn strings(node: &Node, found: &mut Vec<Written>) {
    match &node.value {
        Value::String(text) if text.len() < 1024 && !text.is_empty() && !text.contains('\n') => {
            found.push(Written {
                text: text.clone(),
                span: node.span.clone(),
            })
        }
        Value::Sequence(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Mapping(mapping) => mapping.iter().for_each(|item| {
            found.push(Written {
                text: item.key.value.clone(),
                span: item.key.span.clone(),
            });
            strings(&item.value, found);
        }),
        _ => {}
    }
}
