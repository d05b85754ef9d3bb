//! `environment:` and `env_file:`, and the `.env` beside the Compose file.
//!
//! In: a service's fields, files of the commit, the operator's files. Out: the container's environment. Guaranteed: later
//! sources win (`env_file` in order, then `environment`); each value knows whether it is secret. Must not: read this
//! process's environment.

use std::collections::BTreeMap;

use super::context::Context;
use super::env_file::{self, EnvFault, Format};
use crate::document::{Code, Diagnostic, Diagnostics, FieldRules, Fields, File, Node, Span, Value};
use crate::secret::Text;
use crate::source::{CheckoutError, Origin, RepoPath};

/// Reads both keys.
pub(super) fn read(cx: &Context<'_>, fields: &mut Fields<'_, '_>) -> BTreeMap<String, Text> {
    let mut environment = BTreeMap::new();
    if let Some(node) = fields.node("env_file") {
        let single = std::slice::from_ref(node);
        let items = node.as_sequence().unwrap_or(single);
        for item in items {
            read_file(cx, fields, item, &mut environment);
        }
    }
    for (name, value, node) in super::context::pairs(fields, "environment") {
        let outside = cx.is_outside(&node.span);
        match (value, cx.variables.get(&name.value)) {
            (Some(value), _) => {
                let text = cx.text_of(&name.value, value, outside);
                environment.insert(name.value, text);
            }
            (None, Some(variable)) => {
                let text = cx.text_of(&name.value, variable.value.clone(), variable.outside);
                environment.insert(name.value, text);
            }
            (None, None) => {
                // Compose leaves the variable out; one that an env_file set is left out too.
                environment.remove(&name.value);
                let message = format!(
                    "`{}` is passed through, but nobody gives it a value: it is left out",
                    name.value
                );
                let help = format!(
                    "set it in `vars/{}.env` beside config.yaml, or with --env-file",
                    cx.app
                );
                fields
                    .diagnostics()
                    .push(Diagnostic::warning(Code::NOT_PASSED, &name.span, message).with_help(help));
            }
        }
    }
    environment
}

fn read_file(
    cx: &Context<'_>,
    fields: &mut Fields<'_, '_>,
    item: &Node,
    environment: &mut BTreeMap<String, Text>,
) {
    let (path, required, format) = match &item.value {
        Value::Mapping(_) => {
            let what = format!("`env_file` of {}", fields.what());
            let Some(mut entry) = Fields::of(item, what, &FieldRules::COMPOSE, fields.diagnostics()) else {
                return;
            };
            let path = entry.required_string("path");
            let required = entry.bool("required").is_none_or(|required| required.value);
            let format = entry
                .word("format", &["raw"])
                .map_or(Format::Compose, |_| Format::Raw);
            entry.finish(&[]);
            let Some(path) = path else { return };
            (path.value, required, format)
        }
        Value::String(path) => (path.clone(), true, Format::Compose),
        _ => return fields.wrong("env_file", "a path, or a list of paths", item),
    };
    let Some(found) = find_file(cx, &path, &item.span, fields.diagnostics()) else {
        return;
    };
    let (file, outside) = match found {
        Some(found) => found,
        None if !required => return,
        None => {
            let message = format!("env file `{path}` does not exist in the commit");
            let help = format!(
                "commit it, give it to Driftless as `vars/{}/{}` beside config.yaml, or say `required: false`",
                cx.app,
                path.rsplit('/').next().unwrap_or(&path)
            );
            let missing = Diagnostic::error(Code::ENV_FILE_MISSING, &item.span, message).with_help(help);
            return fields.diagnostics().push(missing);
        }
    };
    match env_file::parse(file.text(), format, &cx.variables, outside) {
        Ok(entries) => {
            for entry in entries {
                if let Some(value) = entry.value {
                    let text = cx.text_of(&entry.name, value, entry.outside);
                    environment.insert(entry.name, text);
                }
            }
        }
        Err(faults) => report(&file, faults, outside, fields.diagnostics()),
    }
}

/// A file by its path as written: from the commit, else from the operator. `None` when the path itself is wrong.
fn find_file(
    cx: &Context<'_>,
    path: &str,
    span: &Span,
    diagnostics: &mut Diagnostics,
) -> Option<Option<(File, bool)>> {
    let given = |name: &str| {
        cx.inputs
            .env_files
            .get(name)
            .map(|text| (File::new(name, text), true))
    };
    if let Some(found) = given(path) {
        return Some(Some(found));
    }
    if path.starts_with(['/', '~']) {
        return Some(None);
    }
    let full = match cx.folder.join(path) {
        Ok(full) => full,
        Err(error) => {
            diagnostics.push(super::mounts::path_error(&error, span));
            return None;
        }
    };
    // The operator's copy is named as the file is: `./local.env` and `local.env` are one.
    let beside = full.relative_to(&cx.folder);
    if let Some(found) = beside
        .as_ref()
        .and_then(|beside| given(beside.as_str()))
        .or_else(|| given(full.as_str()))
    {
        return Some(Some(found));
    }
    match cx.checkout.read(&full) {
        Ok(blob) => {
            let outside = is_outside(cx, &full);
            match std::str::from_utf8(&blob.bytes) {
                Ok(text) => Some(Some((File::new(full.as_str(), text), outside))),
                Err(_) => {
                    let message = format!("env file `{full}` is not UTF-8 text");
                    diagnostics.push(Diagnostic::error(Code::ENV_FILE_SYNTAX, span, message));
                    None
                }
            }
        }
        Err(CheckoutError::NotFound { .. }) => Some(None),
        Err(error) => {
            diagnostics.push(super::mounts::checkout_error(&error, span));
            None
        }
    }
}

/// Whether a file that can be read is not part of the commit (only in a working directory).
pub(super) fn is_outside(cx: &Context<'_>, path: &RepoPath) -> bool {
    matches!(cx.checkout.origin(), Origin::WorkingTree { .. }) && !cx.checkout.is_tracked(path)
}

fn report(file: &File, faults: Vec<EnvFault>, outside: bool, diagnostics: &mut Diagnostics) {
    for fault in faults {
        let span = Context::line_span(file, fault.line());
        let code = match &fault {
            EnvFault::Syntax { .. } => Code::ENV_FILE_SYNTAX,
            EnvFault::Interpolation { .. } => Code::INTERPOLATION,
        };
        let mut finding = Diagnostic::error(code, &span, fault.to_string());
        if matches!(fault, EnvFault::Interpolation { .. }) {
            finding = finding
                .with_help("a `$` that is meant to stay is written `$$`, or the value in single quotes");
        }
        // A line of an env file is mostly a secret; one from outside the commit always is.
        diagnostics.push(if outside {
            finding.without_source()
        } else {
            finding.redact(span.range())
        });
    }
}

/// The values for interpolation: the `.env` beside the file, then the operator's, which win.
pub(super) fn load_variables(cx: &mut Context<'_>, diagnostics: &mut Diagnostics) {
    for (name, value) in &cx.inputs.variables {
        cx.variables.set(name.clone(), value.clone(), true);
    }
    let Ok(path) = cx.folder.join(".env") else { return };
    let blob = match cx.checkout.read(&path) {
        Ok(blob) => blob,
        Err(CheckoutError::NotFound { .. }) => return,
        // A folder named `.env` is somebody's virtual environment.
        Err(CheckoutError::NotAFile { .. }) => return,
        Err(error) => {
            return diagnostics.push(super::mounts::checkout_error(
                &error,
                &File::new(path.as_str(), "").whole(),
            ));
        }
    };
    cx.untracked_env = false;
    let outside = is_outside(cx, &path);
    let Ok(text) = std::str::from_utf8(&blob.bytes) else {
        let whole = File::new(path.as_str(), "").whole();
        return diagnostics.push(Diagnostic::error(
            Code::ENV_FILE_SYNTAX,
            &whole,
            "the file is not UTF-8 text",
        ));
    };
    let file = File::new(path.as_str(), text);
    match env_file::parse(text, Format::Compose, &cx.variables, outside) {
        Ok(entries) => {
            for entry in entries {
                let Some(value) = entry.value else { continue };
                if !cx.inputs.variables.contains_key(&entry.name) {
                    cx.variables.set(entry.name, value, entry.outside);
                }
            }
        }
        Err(faults) => report(&file, faults, outside, diagnostics),
    }
}
