//! `config.yaml` → what it says, with places.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::document::{
    Budget, Code, Diagnostic, Diagnostics, Dialect, FieldRules, Fields, Span, Spanned, did_you_mean,
    parse_bytes,
};
use crate::names::AppName;
use crate::secret::looks_secret;

use super::{
    ALLOWABLE, Auth, Origin, SecretFrom, Set, SourceSetting, TargetSetting, absolute, parse_duration, targets,
};

/// What the file says. Texts are checked by `resolve`, where the environment and flags may override them.
#[derive(Debug, Default)]
pub(super) struct FileModel {
    pub(super) texts: BTreeMap<&'static str, Spanned<String>>,
    pub(super) sources: Vec<SourceSetting>,
    pub(super) targets: BTreeMap<String, TargetSetting>,
    pub(super) allow: BTreeMap<AppName, Set<Vec<String>>>,
}

const TEXTS: &[&str] = &[
    "instance",
    "state",
    "state_key_file",
    "interval",
    "log_format",
    "vars",
    "secrets",
];

/// Where relative paths of the file start, and what `~` is.
pub(super) struct Folders<'a> {
    pub(super) base: &'a Path,
    pub(super) home: Option<&'a Path>,
}

pub(super) fn read(name: &str, bytes: &[u8], folders: &Folders<'_>, found: &mut Diagnostics) -> FileModel {
    let documents = match parse_bytes(name, bytes, Dialect::Compose, &Budget::default()) {
        Ok(documents) => documents,
        Err(findings) => {
            found.extend(findings);
            return FileModel::default();
        }
    };
    let mut documents = documents.into_iter();
    let Some(document) = documents.next() else {
        return FileModel::default();
    };
    if let Some(second) = documents.next() {
        found.push(
            Diagnostic::error(Code::SETTING_VALUE, &second.root.span, "a second document")
                .with_help("`config.yaml` is one document: remove the `---` line"),
        );
    }
    let mut model = FileModel::default();
    let Some(mut fields) = Fields::of(&document.root, "`config.yaml`", &FieldRules::SETTINGS, found) else {
        return model;
    };
    for key in TEXTS {
        if let Some(text) = fields.text(key) {
            model.texts.insert(key, text);
        }
    }
    targets::read(&mut fields, folders, &mut model.targets);
    sources(&mut fields, &mut model, folders);
    allow(&mut fields, &mut model);
    fields.finish(&[]);
    model
}

fn sources(fields: &mut Fields<'_, '_>, model: &mut FileModel, folders: &Folders<'_>) {
    let declares_targets = fields.has("targets");
    let Some(items) = fields.sequence("sources") else {
        return;
    };
    for (index, item) in items.iter().enumerate() {
        let what = format!("source {}", index + 1);
        let Some(mut source) = Fields::of(item, what, &FieldRules::SETTINGS, fields.diagnostics()) else {
            continue;
        };
        let name = source.string("name");
        let url = source.required_string("url");
        let reference = source.text("ref").map(|text| text.value);
        let interval = source
            .text("interval")
            .and_then(|text| interval(&text, source.diagnostics()));
        let auth = source
            .nested("auth", "`auth`", |fields| auth(fields, folders))
            .unwrap_or_default();
        let wanted = source.texts("targets").unwrap_or_default();
        for target in &wanted {
            let declared = target
                .value
                .split_once('/')
                .map_or(target.value.as_str(), |(name, _)| name);
            if declares_targets && !model.targets.contains_key(declared) {
                let known = model.targets.keys().map(String::as_str);
                let finding = Diagnostic::error(
                    Code::SETTING_VALUE,
                    &target.span,
                    format!("no target `{}` is declared", target.value),
                );
                source.diagnostics().push(suggest(finding, &target.value, known));
            }
        }
        if let Some(url) = url.and_then(|url| checked_url(url, source.diagnostics())) {
            let name = name.map(|name| name.value);
            let twin = model.sources.iter().any(|other| {
                (name.is_some() && other.name == name)
                    || (other.url == url.value && other.reference == reference)
            });
            if twin {
                source.diagnostics().push(
                    Diagnostic::error(Code::SETTING_VALUE, &url.span, "this source is declared twice")
                        .with_help("two sources may share neither a name nor url and ref"),
                );
            }
            model.sources.push(SourceSetting {
                name,
                origin: Origin::File(url.span.place()),
                url: url.value,
                reference,
                interval,
                auth,
                targets: wanted.into_iter().map(|target| target.value).collect(),
            });
        }
        source.finish(&[]);
    }
}

fn checked_url(url: Spanned<String>, found: &mut Diagnostics) -> Option<Spanned<String>> {
    if looks_secret("url", &url.value) {
        found.push(
            Diagnostic::error(
                Code::SETTING_SECRET,
                &url.span,
                "an address with a password in it",
            )
            .with_help(
                "put the password in a file of its own and name it: `auth: { username, password_file }`",
            )
            .without_source(),
        );
        return None;
    }
    if url.value.trim().is_empty() || url.value.starts_with('-') || url.value.chars().any(char::is_control) {
        found.push(Diagnostic::error(
            Code::SETTING_VALUE,
            &url.span,
            "this is no repository's address",
        ));
        return None;
    }
    Some(url)
}

fn auth(fields: &mut Fields<'_, '_>, folders: &Folders<'_>) -> Auth {
    for (inline, file) in [
        ("password", "password_file"),
        ("token", "token_file"),
        ("ssh_key", "ssh_key_file"),
    ] {
        if let Some(node) = fields.raw(inline) {
            fields.diagnostics().push(
                Diagnostic::error(
                    Code::SETTING_SECRET,
                    &node.span,
                    format!("`{inline}` does not belong in this file"),
                )
                .with_help(format!(
                    "put it in a file of its own and name it: `{file}: /path`"
                ))
                .without_source(),
            );
        }
    }
    let mut path = |key: &'static str| -> Option<PathBuf> {
        fields
            .string(key)
            .map(|text| absolute(folders.base, folders.home, &text.value))
    };
    let password = path("password_file").map(SecretFrom::File);
    let token = path("token_file").map(SecretFrom::File);
    let ssh_key_file = path("ssh_key_file");
    let known_hosts_file = path("known_hosts_file");
    let username = fields.string("username").map(|text| text.value);
    if password.is_some() && token.is_some() {
        let span = fields.span().clone();
        fields.diagnostics().push(
            Diagnostic::error(
                Code::SETTING_VALUE,
                &span,
                "both `password_file` and `token_file`",
            )
            .with_help("keep one of them"),
        );
    }
    Auth {
        username,
        password,
        token,
        ssh_key_file,
        known_hosts_file,
    }
}

fn allow(fields: &mut Fields<'_, '_>, model: &mut FileModel) {
    let Some(mut apps) = fields.mapping("allow").map(|(mapping, _)| mapping.iter()) else {
        return;
    };
    apps.by_ref().for_each(|item| {
        let app = match AppName::try_from(item.key.value.as_str()) {
            Ok(app) => app,
            Err(error) => {
                let finding = Diagnostic::error(Code::SETTING_VALUE, &item.key.span, error.to_string());
                return fields.diagnostics().push(finding);
            }
        };
        let Some(list) = item.value.as_sequence() else {
            return fields.wrong(app.as_str(), "a list of words", &item.value);
        };
        let mut names = Vec::new();
        for node in list {
            let word = node.as_text().unwrap_or_default();
            if ALLOWABLE.contains(&word.as_str()) {
                names.push(word);
            } else {
                let finding = Diagnostic::error(
                    Code::SETTING_NOT_ALLOWED,
                    &node.span,
                    format!("`{word}` is nothing that can be allowed"),
                )
                .with_note(format!("these can be: {}", ALLOWABLE.join(", ")));
                fields
                    .diagnostics()
                    .push(suggest(finding, &word, ALLOWABLE.iter().copied()));
            }
        }
        model.allow.insert(
            app,
            Set {
                value: names,
                origin: Origin::File(item.key.span.place()),
            },
        );
    });
}

/// A poll interval: a second at least, so that a remote is not hammered by a slip of the pen.
pub(super) fn usable_interval(text: &str) -> Result<Duration, &'static str> {
    match parse_duration(text) {
        None => Err("this is no duration"),
        Some(duration) if duration < Duration::from_secs(1) => Err("an interval is a second at least"),
        Some(duration) if duration > Duration::from_secs(7 * 86_400) => {
            Err("an interval is seven days at most")
        }
        Some(duration) => Ok(duration),
    }
}

fn interval(text: &Spanned<String>, found: &mut Diagnostics) -> Option<Duration> {
    usable_interval(&text.value)
        .map_err(|why| found.push(bad_interval(Some(&text.span), why)))
        .ok()
}

pub(super) fn bad_interval(span: Option<&Span>, why: &str) -> Diagnostic {
    let finding = match span {
        Some(span) => Diagnostic::error(Code::SETTING_VALUE, span, why),
        None => Diagnostic::without_place(Code::SETTING_VALUE, why),
    };
    finding.with_help("write it with units, as `30s`, `5m` or `1h30m`")
}

fn suggest<'c>(finding: Diagnostic, word: &str, known: impl IntoIterator<Item = &'c str>) -> Diagnostic {
    match did_you_mean(word, known) {
        Some(near) => finding.with_label(format!("did you mean `{near}`?")),
        None => finding,
    }
}
