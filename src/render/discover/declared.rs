//! `driftless.yaml`: the repository's own list of apps.
//!
//! In: the file. Out: [`Discovery`]. Guaranteed: an entry with a mistake is a broken app, the others are usable; a file
//! that can't be read at all is an error. Must not: accept a key it does not know.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, Discovery, kind_at};
use crate::document::{
    self, Budget, Code, Diagnostic, Diagnostics, Dialect, FieldRules, Fields, File, Item, Span, Spanned,
    did_you_mean,
};
use crate::expression::Expression;
use crate::names::{AppName, ServiceName};
use crate::render::app::{
    App, AppKind, DriftMode, HealthExpr, HealthRules, Helm, HttpProbe, Patience, Prune, RollbackMode, Rules,
    SyncMode,
};
use crate::render::{manifests, units};
use crate::source::{Checkout, RepoPath};

/// Reads `file`; paths in it start at `base`.
pub(super) fn read(checkout: &Checkout, base: &RepoPath, file: &RepoPath) -> Result<Discovery, Diagnostics> {
    let whole = File::new(file.as_str(), "").whole();
    let blob = checkout
        .read(file)
        .map_err(|error| Diagnostic::error(Code::APP_PATH, &whole, error.to_string()))?;
    let documents = document::parse_bytes(file.as_str(), &blob.bytes, Dialect::Compose, &Budget::default())?;
    let mut diagnostics = Diagnostics::new();
    let mut documents = documents.into_iter();
    let Some(root) = documents.next().map(|document| document.root) else {
        let message = "the file is empty: list the apps under `apps`, or remove it";
        return Err(Diagnostic::error(Code::SETTING_MISSING, &whole, message).into());
    };
    if let Some(second) = documents.next() {
        let message = "a second document in one file";
        diagnostics.push(Diagnostic::error(
            Code::SETTING_NOT_ALLOWED,
            &second.root.span,
            message,
        ));
    }
    let mut discovery = Discovery::default();
    let mut places = BTreeMap::new();
    if let Some(mut top) = Fields::of(&root, "driftless.yaml", &FieldRules::SETTINGS, &mut diagnostics) {
        top.required("apps");
        let apps = top.mapping("apps").map(|(apps, _)| apps);
        top.finish(&[]);
        for item in apps.into_iter().flatten() {
            let mut findings = Diagnostics::new();
            match app(checkout, base, item, &mut findings) {
                Some(app) if !findings.has_errors() => {
                    places.insert(app.name.clone(), item.key.clone());
                    discovery.apps.push(app);
                }
                _ => discovery.broken.push(Broken {
                    name: item.key.value.clone(),
                    diagnostics: findings,
                }),
            }
        }
    }
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    follow(&mut discovery, &places);
    discovery.apps.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(discovery)
}

fn app(checkout: &Checkout, base: &RepoPath, item: &Item, diagnostics: &mut Diagnostics) -> Option<App> {
    let name = AppName::try_from(item.key.value.as_str())
        .map_err(|error| {
            diagnostics.push(Diagnostic::error(
                Code::BAD_NAME,
                &item.key.span,
                error.to_string(),
            ))
        })
        .ok();
    let what = format!("app `{}`", item.key.value);
    let mut read = Fields::of(&item.value, what.clone(), &FieldRules::SETTINGS, diagnostics)?;
    let fields = &mut read;
    let path = fields.required_string("path");
    let target = fields.string("target").map(|target| target.value);
    let names = fields.text_or_texts("after").unwrap_or_default();
    let mut after = Vec::new();
    for name in names {
        match AppName::try_from(name.value.as_str()) {
            Ok(name) => after.push(name),
            Err(error) => {
                fields
                    .diagnostics()
                    .push(Diagnostic::error(Code::APP_AFTER, &name.span, error.to_string()));
            }
        }
    }
    let profiles = texts(fields.text_or_texts("profiles"));
    let mut for_clusters: Vec<(&'static str, Span)> = Vec::new();
    let rules = Rules {
        health: fields
            .nested("health", format!("`health` of {what}"), |fields| {
                for key in FOR_CLUSTERS.iter().filter(|key| fields.has(key)) {
                    for_clusters.push((*key, fields.key_span(key).clone()));
                }
                health(fields)
            })
            .unwrap_or_default(),
        rollback: match word(fields, "rollback", &["auto", "notify", "off"]) {
            Some("notify") => RollbackMode::Notify,
            Some("off") => RollbackMode::Off,
            _ => RollbackMode::Auto,
        },
        drift: match word(fields, "drift", &["correct", "report"]) {
            Some("report") => DriftMode::Report,
            _ => DriftMode::Correct,
        },
        prune: match word(fields, "prune", &["none", "safe", "all"]) {
            Some("none") => Prune::None,
            Some("all") => Prune::All,
            _ => Prune::Safe,
        },
        sync: match word(fields, "sync", &["auto", "manual"]) {
            Some("manual") => SyncMode::Manual,
            _ => SyncMode::Auto,
        },
        ignore: texts(fields.text_or_texts("ignore")),
        host_dir: host_dir(fields),
        service_account: service_account(fields, &mut for_clusters),
    };
    let helm = fields.nested("helm", format!("`helm` of {what}"), |helm| {
        (
            helm.text_or_texts("values").unwrap_or_default(),
            helm.text("release"),
        )
    });
    let helm_span = fields.key_span("helm").clone();
    read.finish(&[]);
    let path = path?;
    let full = match base.join(&path.value) {
        Ok(full) => full,
        Err(error) => {
            diagnostics.push(Diagnostic::error(
                Code::PATH_OUTSIDE,
                &path.span,
                error.to_string(),
            ));
            return None;
        }
    };
    let Some(mut kind) = kind_at(checkout, &full) else {
        let message = match checkout.stat(&full) {
            Ok(Some(_)) => format!("`{}` of {what} holds nothing that can be deployed", path.value),
            Ok(None) => format!("`{}` of {what} does not exist", path.value),
            Err(error) => error.to_string(),
        };
        diagnostics.push(Diagnostic::error(Code::APP_PATH, &path.span, message));
        return None;
    };
    if !kind.is_kubernetes() {
        for (key, span) in for_clusters {
            let message = format!(
                "`{key}` is for objects of a cluster, and {what} is made of {}",
                kind.what()
            );
            diagnostics.push(Diagnostic::error(Code::SETTING_NOT_ALLOWED, &span, message));
        }
    }
    if let Some((values, release)) = helm {
        match &mut kind {
            AppKind::Chart { folder, helm } => {
                *helm = chart(checkout, folder, &values, release, diagnostics);
            }
            _ => diagnostics.push(
                Diagnostic::error(
                    Code::SETTING_NOT_ALLOWED,
                    &helm_span,
                    format!("`helm` is for charts, and {what} is made of {}", kind.what()),
                )
                .with_help("remove `helm`, or let `path` name a folder with a Chart.yaml"),
            ),
        }
    }
    Some(App {
        name: name?,
        path: full.as_str().to_owned(),
        kind,
        target,
        after,
        profiles,
        rules,
        declared: Some(item.key.span.place()),
    })
}

/// Values files are named from the chart's folder, as Argo CD names them.
fn chart(
    checkout: &Checkout,
    folder: &str,
    values: &[Spanned<String>],
    release: Option<Spanned<String>>,
    diagnostics: &mut Diagnostics,
) -> Helm {
    let mut helm = Helm::default();
    for file in values {
        match RepoPath::parse(folder).and_then(|folder| folder.join(&file.value)) {
            Ok(path) if checkout.is_file(&path) => helm.values.push(path.as_str().to_owned()),
            Ok(path) => diagnostics.push(
                Diagnostic::error(
                    Code::FILE_MISSING,
                    &file.span,
                    format!("the values file `{path}` is not in the commit"),
                )
                .with_help("values files are named from the chart's folder"),
            ),
            Err(error) => diagnostics.push(Diagnostic::error(
                Code::PATH_OUTSIDE,
                &file.span,
                error.to_string(),
            )),
        }
    }
    helm.release = release.and_then(|name| {
        // Helm's own rule: a DNS subdomain of 53 characters at most.
        if name.value.len() <= 53 && manifests::is_subdomain(&name.value) {
            return Some(name.value);
        }
        let message = format!("`{}` is not a name of a Helm release", name.value);
        let help = "lower-case letters, digits, `-` and `.`, 53 characters at most";
        diagnostics.push(Diagnostic::error(Code::SETTING_NOT_ALLOWED, &name.span, message).with_help(help));
        None
    });
    helm
}

fn word(fields: &mut Fields<'_, '_>, key: &'static str, words: &[&'static str]) -> Option<&'static str> {
    fields.word(key, words).map(|word| word.value)
}

fn texts(texts: Option<Vec<Spanned<String>>>) -> Vec<String> {
    texts
        .unwrap_or_default()
        .into_iter()
        .map(|text| text.value)
        .collect()
}

fn host_dir(fields: &mut Fields<'_, '_>) -> Option<String> {
    let dir = fields.string("host_dir")?;
    if !dir.value.starts_with('/') || dir.value.split('/').any(|part| part == "..") {
        let message = format!(
            "`host_dir` of {} must be an absolute path on the engine's host",
            fields.what()
        );
        fields
            .diagnostics()
            .push(Diagnostic::error(Code::SETTING_NOT_ALLOWED, &dir.span, message));
        return None;
    }
    Some(dir.value)
}

/// A name in the app's namespace, and nothing else: which namespace that is, is the target's.
fn service_account(
    fields: &mut Fields<'_, '_>,
    for_clusters: &mut Vec<(&'static str, Span)>,
) -> Option<String> {
    let name = fields.string("serviceAccount")?;
    for_clusters.push(("serviceAccount", fields.key_span("serviceAccount").clone()));
    if manifests::is_subdomain(&name.value) {
        return Some(name.value);
    }
    let message = format!("`{}` is not a name of a ServiceAccount", name.value);
    let help = "lower-case letters, digits, `-` and `.`; it is one of the app's namespace";
    fields
        .diagnostics()
        .push(Diagnostic::error(Code::SETTING_NOT_ALLOWED, &name.span, message).with_help(help));
    None
}

fn duration(fields: &mut Fields<'_, '_>, key: &'static str) -> Option<std::time::Duration> {
    let text = fields.text(key)?;
    let value = units::duration(&text.value);
    if value.is_none() {
        let message = format!(
            "`{key}` of {} is not a duration such as `30s` or `5m`",
            fields.what()
        );
        fields
            .diagnostics()
            .push(Diagnostic::error(Code::SETTING_NOT_ALLOWED, &text.span, message));
    }
    value
}

fn health(fields: &mut Fields<'_, '_>) -> HealthRules {
    let default = HealthRules::default();
    let what = format!("`http` in {}", fields.what());
    HealthRules {
        timeout: duration(fields, "timeout"),
        bake: duration(fields, "bake").unwrap_or(default.bake),
        cap: duration(fields, "cap").unwrap_or(default.cap),
        http: fields.nested("http", what, probe).flatten(),
        expressions: expressions(fields),
        patience: fields
            .nested(
                "patience",
                format!("`patience` in {}", fields.what()),
                |patience| {
                    Patience::ALL
                        .iter()
                        .filter_map(|(word, trouble)| Some((*trouble, duration(patience, word)?)))
                        .collect()
                },
            )
            .unwrap_or_default(),
        max_unhealthy_nodes: fields
            .int_in("max_unhealthy_nodes", 0..=100_000)
            .and_then(|number| u32::try_from(number.value).ok())
            .unwrap_or_default(),
        wait_for_addresses: fields.bool("wait_for_addresses").is_some_and(|flag| flag.value),
    }
}

/// What only objects of a cluster have.
const FOR_CLUSTERS: &[&str] = &[
    "expressions",
    "patience",
    "max_unhealthy_nodes",
    "wait_for_addresses",
];

/// Health expressions in Flux's field names, each read once to see that it can be.
fn expressions(fields: &mut Fields<'_, '_>) -> Vec<HealthExpr> {
    let items = fields.sequence("expressions").unwrap_or_default();
    let mut all: Vec<HealthExpr> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let what = format!("expression {} in {}", index + 1, fields.what());
        let Some(mut read) = Fields::of(item, what, &FieldRules::SETTINGS, fields.diagnostics()) else {
            continue;
        };
        let api_version = read.required_string("apiVersion");
        let kind = read.required_string("kind");
        let _ = read.required("current");
        let name = kind.as_ref().map_or("?", |kind| kind.value.as_str()).to_owned();
        let mut cel = |key: &'static str| {
            let text = read.string(key)?;
            if let Err(fault) = Expression::parse(&text.value) {
                let message = format!("the health expression `{key}` of {name} {}", fault.why);
                let finding = Diagnostic::error(Code::BAD_EXPRESSION, &within(&text, fault.at), message);
                read.diagnostics().push(finding);
                return None;
            }
            Some(text.value)
        };
        let (in_progress, failed, current) = (cel("inProgress"), cel("failed"), cel("current"));
        read.finish(&[]);
        let (Some(api_version), Some(kind), Some(current)) = (api_version, kind, current) else {
            continue;
        };
        let expression = HealthExpr {
            api_version: api_version.value,
            kind: kind.value,
            in_progress,
            failed,
            current,
        };
        if all
            .iter()
            .any(|known| known.group() == expression.group() && known.kind == expression.kind)
        {
            let message = format!("a second expression for the kind {}", expression.kind);
            let finding = Diagnostic::error(Code::BAD_EXPRESSION, &kind.span, message)
                .with_help("any version of a group matches: one expression is enough");
            fields.diagnostics().push(finding);
            continue;
        }
        all.push(expression);
    }
    all
}

/// The place of a line and column of `text` in its file, where the text is written as it is read.
fn within(text: &Spanned<String>, at: Option<(usize, usize)>) -> Span {
    let exact = || {
        let (line, column) = at?;
        let written = text.span.text();
        let start = text.span.start() + written.find(text.value.as_str())?;
        let before: usize = text
            .value
            .split_inclusive('\n')
            .take(line - 1)
            .map(str::len)
            .sum();
        let rest = text.value.get(before..)?;
        let skipped: usize = rest.chars().take(column - 1).map(char::len_utf8).sum();
        let from = start + before + skipped;
        Some(text.span.file().span(from..from + 1))
    };
    exact().unwrap_or_else(|| text.span.clone())
}

fn probe(fields: &mut Fields<'_, '_>) -> Option<HttpProbe> {
    fields.required("port");
    let service = fields.required_string("service");
    let port = fields
        .int_in("port", 1..=65_535)
        .and_then(|port| u16::try_from(port.value).ok());
    let path = fields
        .string("path")
        .map_or_else(|| "/".to_owned(), |path| path.value);
    if !path.starts_with('/') {
        let message = format!("`path` of {} must start with `/`", fields.what());
        let span = fields.key_span("path");
        fields
            .diagnostics()
            .push(Diagnostic::error(Code::SETTING_NOT_ALLOWED, span, message));
    }
    let service = service?;
    match ServiceName::try_from(service.value.as_str()) {
        Ok(service) => Some(HttpProbe {
            service,
            port: port?,
            path,
        }),
        Err(error) => {
            let finding = Diagnostic::error(Code::SETTING_NOT_ALLOWED, &service.span, error.to_string());
            fields
                .diagnostics()
                .push(finding.with_help("a probe names a service of the app, never a URL"));
            None
        }
    }
}

/// Apps whose `after` can't be followed are broken: they would wait for ever. A broken app may still be waited for: it is
/// reported by itself.
fn follow(discovery: &mut Discovery, places: &BTreeMap<AppName, Spanned<String>>) {
    let broken: BTreeSet<String> = discovery
        .broken
        .iter()
        .map(|broken| broken.name.clone())
        .collect();
    let known: Vec<AppName> = discovery.apps.iter().map(|app| app.name.clone()).collect();
    let edges: BTreeMap<AppName, Vec<AppName>> = discovery
        .apps
        .iter()
        .map(|app| (app.name.clone(), app.after.clone()))
        .collect();
    let mut bad: Vec<(AppName, String, Option<String>)> = Vec::new();
    for app in &discovery.apps {
        let unknown = app
            .after
            .iter()
            .find(|name| !known.contains(name) && !broken.contains(name.as_str()));
        if let Some(name) = unknown {
            let near = did_you_mean(name.as_str(), known.iter().map(AppName::as_str)).map(str::to_owned);
            let message = format!("app `{}` comes after `{name}`, which does not exist", app.name);
            bad.push((app.name.clone(), message, near));
        } else if let Some(circle) = circle(&app.name, &edges) {
            bad.push((
                app.name.clone(),
                format!("apps wait for each other in a circle: {circle}"),
                None,
            ));
        }
    }
    for (name, message, near) in bad {
        discovery.apps.retain(|app| app.name != name);
        let Some(place) = places.get(&name) else { continue };
        let finding = Diagnostic::error(Code::APP_AFTER, &place.span, message);
        discovery.breaks(
            name.as_str(),
            match near {
                Some(near) => finding.with_label(format!("did you mean `{near}`?")),
                None => finding,
            },
        );
    }
}

/// The way from `start` back to itself, if there is one.
fn circle(start: &AppName, edges: &BTreeMap<AppName, Vec<AppName>>) -> Option<String> {
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<Vec<&AppName>> = vec![vec![start]];
    while let Some(path) = waiting.pop() {
        for next in edges.get(*path.last()?).into_iter().flatten() {
            if next == start {
                let names: Vec<&str> = path
                    .iter()
                    .map(|name| name.as_str())
                    .chain([start.as_str()])
                    .collect();
                return Some(names.join(" -> "));
            }
            if seen.insert(next) {
                waiting.push(path.iter().copied().chain([next]).collect());
            }
        }
    }
    None
}
