//! Configs and secrets: their content, and where a service gets them.
//!
//! In: fields, the commit, the operator's files. Out: [`Content`], [`Injected`]. Guaranteed: a secret's content is always
//! secret; the operator's file wins over one in Git. Must not: read the host.

use std::collections::BTreeMap;

use super::context::{Context, fields, malformed};
use super::keys;
use crate::document::{Code, Diagnostic, Diagnostics, FieldRules, Fields, Item, Node, Value};
use crate::render::model::{Content, Injected};
use crate::source::CheckoutError;

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Config,
    Secret,
}

impl What {
    fn word(self) -> &'static str {
        match self {
            What::Config => "config",
            What::Secret => "secret",
        }
    }
}

/// One entry of top-level `configs` or `secrets`.
pub(super) fn content(
    cx: &Context<'_>,
    kind: What,
    item: &Item,
    diagnostics: &mut Diagnostics,
) -> Option<Content> {
    let key = item.key.value.as_str();
    let what = format!("{} `{key}`", kind.word());
    let table = if kind == What::Config {
        keys::CONFIG
    } else {
        keys::SECRET
    };
    let mut read = fields(&item.value, &what, table, diagnostics)?;
    let secret = kind == What::Secret;
    let (file, variable) = (read.string("file"), read.string("environment"));
    let text = if secret {
        None
    } else {
        read.node("content").filter(|_| read.has("content"))
    };
    let given = usize::from(file.is_some()) + usize::from(variable.is_some()) + usize::from(text.is_some());
    // `external` was reported already.
    if read.has("external") {
        return None;
    }
    if given != 1 {
        let of = if secret {
            "`file` or `environment`"
        } else {
            "`file`, `content` or `environment`"
        };
        let message = format!("{what} needs exactly one of {of}");
        read.diagnostics()
            .push(Diagnostic::error(Code::MISSING_FIELD, &item.key.span, message));
        return None;
    }
    if let Some(variable) = variable {
        let Some(found) = cx.variables.get(&variable.value) else {
            let message = format!(
                "{what} takes its content from the variable `{}`, which is not set",
                variable.value
            );
            let help = format!(
                "set it in `vars/{}.env` beside config.yaml, or with --env-file",
                cx.app
            );
            let missing = Diagnostic::error(Code::SECRET_MISSING, &variable.span, message).with_help(help);
            read.diagnostics().push(missing);
            return None;
        };
        if secret || found.outside {
            cx.secrets.borrow_mut().insert(found.value.clone());
        }
        return Some(Content {
            bytes: found.value.clone().into_bytes(),
            secret: secret || found.outside,
        });
    }
    if let Some(node) = text {
        let Some(text) = cx.node_text(key, node) else {
            read.wrong("content", "text", node);
            return None;
        };
        return Some(Content {
            bytes: text.value.into_bytes(),
            secret: text.secret,
        });
    }
    let file = file?;
    if let Some(bytes) = cx.inputs.secret_files.get(key) {
        if let Ok(text) = std::str::from_utf8(bytes) {
            cx.secrets.borrow_mut().insert(text.to_owned());
        }
        return Some(Content {
            bytes: bytes.clone(),
            secret: true,
        });
    }
    let help = format!(
        "commit it, or put it at `secrets/{}/{key}` beside config.yaml",
        cx.app
    );
    if file.value.starts_with(['/', '~']) {
        let message = format!(
            "`{}` is a path of one machine, so {what} has no content here",
            file.value
        );
        read.diagnostics()
            .push(Diagnostic::error(Code::SECRET_MISSING, &file.span, message).with_help(help));
        return None;
    }
    let finding = match cx.folder.join(&file.value) {
        Err(error) => super::mounts::path_error(&error, &file.span),
        Ok(path) => match cx.checkout.read(&path) {
            Ok(blob) => {
                let outside = super::environment::is_outside(cx, &path);
                if let (true, Ok(text)) = (secret || outside, std::str::from_utf8(&blob.bytes)) {
                    cx.secrets.borrow_mut().insert(text.to_owned());
                }
                return Some(Content {
                    bytes: blob.bytes,
                    secret: secret || outside,
                });
            }
            Err(CheckoutError::NotFound { .. }) => {
                let message = format!("the file of {what} is not in the commit: `{path}`");
                Diagnostic::error(Code::FILE_MISSING, &file.span, message).with_help(help)
            }
            Err(error) => super::mounts::checkout_error(&error, &file.span),
        },
    };
    read.diagnostics().push(finding);
    None
}

/// `configs` or `secrets` of a service, by place in the container.
pub(super) fn injected(kind: What, service: &mut Fields<'_, '_>) -> BTreeMap<String, Injected> {
    let key = if kind == What::Config {
        "configs"
    } else {
        "secrets"
    };
    let mut places = BTreeMap::new();
    for node in service.sequence(key).unwrap_or_default() {
        let (source, target, rest) = match &node.value {
            Value::String(name) => (name.clone(), None, (None, None, None)),
            Value::Mapping(_) => {
                let what = format!("a {} of {}", kind.word(), service.what());
                let rules = &FieldRules::COMPOSE;
                let Some(mut entry) = Fields::of(node, what, rules, service.diagnostics()) else {
                    continue;
                };
                let source = entry.required_string("source");
                let target = entry.string("target").map(|target| target.value);
                let rest = (id(&mut entry, "uid"), id(&mut entry, "gid"), mode(&mut entry));
                entry.finish(&[]);
                let Some(source) = source else { continue };
                (source.value, target, rest)
            }
            _ => {
                service.wrong(key, "a list of names or mappings", node);
                continue;
            }
        };
        let place = place(kind, &source, target.as_deref());
        let (uid, gid, mode) = rest;
        if places
            .insert(
                place.clone(),
                Injected {
                    source,
                    uid,
                    gid,
                    mode,
                },
            )
            .is_some()
        {
            let message = format!("{} puts two {key} at `{place}`", service.what());
            service
                .diagnostics()
                .push(Diagnostic::error(Code::CONFLICT, &node.span, message));
        }
    }
    places
}

fn place(kind: What, source: &str, target: Option<&str>) -> String {
    match (kind, target) {
        (_, Some(target)) if target.starts_with('/') => target.to_owned(),
        (What::Config, target) => format!("/{}", target.unwrap_or(source)),
        (What::Secret, target) => format!("/run/secrets/{}", target.unwrap_or(source)),
    }
}

fn id(entry: &mut Fields<'_, '_>, key: &'static str) -> Option<u32> {
    super::context::parsed(entry, key, "a numeric id", |text| text.parse().ok())
}

/// Permission bits: a YAML number (`0440` is octal there), or text that is always octal.
fn mode(entry: &mut Fields<'_, '_>) -> Option<u32> {
    let node: &Node = entry.node("mode")?;
    let bits = match &node.value {
        Value::Int(bits) => u32::try_from(*bits).ok(),
        Value::String(text) => u32::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
        _ => None,
    };
    let bits = bits.filter(|bits| *bits <= 0o7777);
    if bits.is_none() {
        let message = format!("`mode` of {} is not a file mode such as 0440", entry.what());
        entry.diagnostics().push(malformed(&node.span, message));
    }
    bits
}
