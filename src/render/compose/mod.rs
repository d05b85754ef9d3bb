//! The Compose dialect: one file → [`Project`].
//!
//! In: a file of the commit, profiles, the operator's inputs. Out: the normalised project, the place of every field, the
//! values that must be masked, warnings. Guaranteed: all errors of the file at once where that is possible; every key of
//! the compose-spec is used, ignored for a stated reason, or refused ([`keys`]); an undefined variable is an error in what
//! is used, and only there (`x-` fragments and services of other profiles may hold anything). Must not: read the
//! environment, a file system or an engine.
//!
//! ```text
//! bytes ─ document ─ profiles ─ interpolate ─ service/networks/files ─ checks ─ Project
//!                     .env, operator's variables ┘
//! ```

mod checks;
mod context;
mod deploy;
mod environment;
mod files;
mod healthcheck;
mod mounts;
mod networks;
mod ports;
mod print;
mod service;
pub mod env_file;
pub mod interpolate;
pub mod keys;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::document::{
    self, Budget, Code, Diagnostic, Diagnostics, Dialect, File, Item, Mapping, Node, Span, Value,
};
use crate::names::{ProjectName, ServiceName};
use crate::secret::Mask;
use crate::source::{Checkout, CheckoutError, RepoPath};

use super::model::{Network, Project};
use super::{App, Inputs, Places};
use context::Context;

pub use mounts::TREE_CAP;
pub use print::compose_yaml;

/// The names of a Compose file, in the order of Compose's preference.
pub const FILE_NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];

/// Files that Compose would merge into it.
pub const OVERRIDE_NAMES: [&str; 4] = [
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What a file gives.
#[derive(Debug)]
pub struct Loaded {
    /// The project.
    pub project: Project,
    /// Where each field is written.
    pub places: Places,
    /// Every secret value that went in.
    pub mask: Mask,
    /// Warnings only.
    pub warnings: Diagnostics,
}

/// Reads `file` of `app`.
pub fn load(checkout: &Checkout, app: &App, file: &str, inputs: &Inputs) -> Result<Loaded, Diagnostics> {
    let mut diagnostics = Diagnostics::new();
    let loaded = Loader::run(checkout, app, file, inputs, &mut diagnostics);
    // Values from outside the commit stay out of messages: a malformed port that an operator gave is "(secret)".
    let mask = Mask::new(
        inputs
            .variables
            .values()
            .cloned()
            .chain(loaded.iter().flat_map(|(_, secrets)| secrets.clone())),
    );
    for one in diagnostics.iter_mut() {
        one.message = mask.clean(&one.message);
    }
    match loaded {
        Some(((project, places), secrets)) if !diagnostics.has_errors() => Ok(Loaded {
            project,
            places,
            mask: Mask::new(secrets),
            warnings: diagnostics,
        }),
        _ => Err(diagnostics),
    }
}

/// The Compose file itself can't be read.
fn unreadable(error: &CheckoutError, whole: &Span) -> Diagnostic {
    match error {
        CheckoutError::TooLarge { .. } => Diagnostic::error(Code::FILE_TOO_LARGE, whole, error.to_string()),
        _ => mounts::checkout_error(error, whole),
    }
}

struct Loader<'a> {
    cx: Context<'a>,
    app: &'a App,
    top: Mapping,
}

impl<'a> Loader<'a> {
    fn run(
        checkout: &'a Checkout,
        app: &'a App,
        file: &str,
        inputs: &'a Inputs,
        diagnostics: &mut Diagnostics,
    ) -> Option<((Project, Places), Vec<String>)> {
        let whole = File::new(file, "").whole();
        let path = RepoPath::parse(file)
            .map_err(|error| diagnostics.push(mounts::path_error(&error, &whole)))
            .ok()?;
        let folder = path.parent().unwrap_or_default();
        siblings(checkout, app, &folder, &path, &whole, diagnostics);
        let blob = checkout
            .read(&path)
            .map_err(|error| diagnostics.push(unreadable(&error, &whole)))
            .ok()?;
        let documents = document::parse_bytes(file, &blob.bytes, Dialect::Compose, &Budget::default())
            .map_err(|found| diagnostics.extend(found))
            .ok()?;
        let mut documents = documents.into_iter();
        let Some(root) = documents.next().map(|document| document.root) else {
            diagnostics.push(Diagnostic::error(Code::NO_SERVICES, &whole, "the file is empty"));
            return None;
        };
        if let Some(second) = documents.next() {
            diagnostics.push(
                Diagnostic::error(
                    Code::NOT_SUPPORTED,
                    &second.root.span,
                    "a second document in one Compose file",
                )
                .with_help("several documents that are merged are not supported yet; keep one"),
            );
        }
        tags(&root, diagnostics);
        let Value::Mapping(top) = root.value else {
            let message = "a Compose file must be a mapping with `services`";
            diagnostics.push(Diagnostic::error(Code::WRONG_TYPE, &root.span, message));
            return None;
        };
        keys::check(&top, "the file", keys::TOP, diagnostics);
        let mut cx = Context::new(checkout, folder, app.name.as_str(), inputs);
        environment::load_variables(&mut cx, diagnostics);
        let mut loader = Loader { cx, app, top };
        let name = loader.name(&root.span, diagnostics)?;
        loader.compose_variables(file, &root.span, diagnostics);
        let done = loader.project(name, &root.span, diagnostics);
        *diagnostics = loader.cx.conclude(std::mem::take(diagnostics));
        Some((done?, loader.cx.secrets.take().into_iter().collect()))
    }

    /// Decision 7: top-level `name:`, else the app's name in the form that Compose allows.
    fn name(&mut self, whole: &Span, diagnostics: &mut Diagnostics) -> Option<ProjectName> {
        let (raw, span) = match self.top.get("name").filter(|node| !node.is_null()) {
            Some(node) => {
                let node = self.cx.interpolated(node, diagnostics);
                let Some(text) = node.as_text() else {
                    diagnostics.push(Diagnostic::error(
                        Code::WRONG_TYPE,
                        &node.span,
                        "`name` must be text",
                    ));
                    return None;
                };
                (text, node.span)
            }
            None => (project_name(self.app.name.as_str()), whole.clone()),
        };
        match ProjectName::try_from(raw) {
            Ok(name) => {
                let wanted = self.cx.variables.get("COMPOSE_PROJECT_NAME");
                if wanted.is_some_and(|wanted| wanted.value != name.as_str()) {
                    let message = "COMPOSE_PROJECT_NAME has no effect here: the project is named in the file";
                    let warning = Diagnostic::warning(Code::NO_EFFECT, whole, message);
                    diagnostics.push(warning.with_help("write `name:` at the top"));
                }
                self.cx
                    .variables
                    .set("COMPOSE_PROJECT_NAME", name.as_str(), false);
                Some(name)
            }
            Err(error) => {
                diagnostics.push(Diagnostic::error(Code::BAD_NAME, &span, error.to_string()));
                None
            }
        }
    }

    /// Variables that steer Compose itself. None is dropped in silence.
    fn compose_variables(&self, file: &str, whole: &Span, diagnostics: &mut Diagnostics) {
        let given = |variable: &str| {
            self.cx
                .variables
                .get(variable)
                .map(|variable| variable.value.clone())
        };
        let own = file.rsplit('/').next().unwrap_or(file);
        if given("COMPOSE_FILE").is_some_and(|files| files.trim_start_matches("./") != own) {
            diagnostics.push(
                Diagnostic::error(Code::OVERRIDE_FILE, whole, "COMPOSE_FILE names other files than this one")
                    .with_help("several files for one app are not supported yet; name the one file under `path` in driftless.yaml"),
            );
        }
    }

    fn profiles(&self) -> Vec<String> {
        let mut profiles = self.app.profiles.clone();
        if let Some(more) = self.cx.variables.get("COMPOSE_PROFILES") {
            profiles.extend(
                more.value
                    .split(',')
                    .map(|one| one.trim().to_owned())
                    .filter(|one| !one.is_empty()),
            );
        }
        profiles
    }

    fn project(
        &self,
        name: ProjectName,
        whole: &Span,
        diagnostics: &mut Diagnostics,
    ) -> Option<(Project, Places)> {
        let Some(node) = self.top.get("services").filter(|node| !node.is_null()) else {
            diagnostics.push(Diagnostic::error(
                Code::NO_SERVICES,
                whole,
                "the file has no `services`",
            ));
            return None;
        };
        let Value::Mapping(services) = &node.value else {
            diagnostics.push(Diagnostic::error(
                Code::WRONG_TYPE,
                &node.span,
                "`services` must be a mapping",
            ));
            return None;
        };
        let mut project = Project {
            name,
            services: BTreeMap::new(),
            disabled: Vec::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            configs: BTreeMap::new(),
            secrets: BTreeMap::new(),
            trees: BTreeMap::new(),
        };
        let mut places = Places::default();
        let enabled = self.profiles();
        let mut nodes = BTreeMap::new();
        for item in services {
            if item.key.value.starts_with("x-") {
                continue;
            }
            let name = match ServiceName::try_from(item.key.value.as_str()) {
                Ok(name) => name,
                Err(error) => {
                    diagnostics.push(Diagnostic::error(
                        Code::BAD_NAME,
                        &item.key.span,
                        error.to_string(),
                    ));
                    continue;
                }
            };
            if !self.is_enabled(item, &enabled, diagnostics) {
                project.disabled.push(name);
                continue;
            }
            let value = self.cx.interpolated(&item.value, diagnostics);
            self.cx.collect_outside(&value);
            let item = Item {
                key: item.key.clone(),
                value,
            };
            note_places(
                &mut places,
                &format!("services.{name}"),
                &item.key.span,
                &item.value,
                0,
            );
            alias_places(&mut places, &name);
            if let Some(service) = service::read(&self.cx, &item, diagnostics) {
                project.services.insert(name.clone(), service);
                nodes.insert(name, item);
            }
        }
        project.disabled.sort();
        if project.services.is_empty() && project.disabled.is_empty() && !diagnostics.has_errors() {
            diagnostics.push(Diagnostic::error(
                Code::NO_SERVICES,
                &node.span,
                "`services` is empty",
            ));
        }
        self.objects(&mut project, &nodes, &mut places, diagnostics);
        checks::run(&mut project, &nodes, diagnostics);
        project.trees = self.cx.trees.take();
        Some((project, places))
    }

    fn is_enabled(&self, item: &Item, enabled: &[String], diagnostics: &mut Diagnostics) -> bool {
        let Some(node) = item.value.get("profiles").filter(|node| !node.is_null()) else {
            return true;
        };
        let node = self.cx.interpolated(node, diagnostics);
        let Some(items) = node.as_sequence() else {
            let message = format!("`profiles` of service `{}` must be a list", item.key.value);
            diagnostics.push(Diagnostic::error(Code::WRONG_TYPE, &node.span, message));
            return true;
        };
        let wanted: Vec<String> = items.iter().filter_map(Node::as_text).collect();
        wanted.is_empty() || enabled.iter().any(|one| one == "*" || wanted.contains(one))
    }

    /// Networks, volumes, configs and secrets that a service uses; the others are not rendered.
    fn objects(
        &self,
        project: &mut Project,
        nodes: &BTreeMap<ServiceName, Item>,
        places: &mut Places,
        diagnostics: &mut Diagnostics,
    ) {
        let mut uses: BTreeMap<&str, BTreeMap<String, ServiceName>> = BTreeMap::new();
        for (name, service) in &project.services {
            let mut note = |kind, key: &String| {
                uses.entry(kind)
                    .or_default()
                    .entry(key.clone())
                    .or_insert_with(|| name.clone());
            };
            service.networks.keys().for_each(|key| note("networks", key));
            for mount in service.volumes.values() {
                if let super::model::MountSource::Volume(key) = &mount.source {
                    note("volumes", key);
                }
            }
            service
                .configs
                .values()
                .for_each(|config| note("configs", &config.source));
            service
                .secrets
                .values()
                .for_each(|secret| note("secrets", &secret.source));
        }
        for kind in ["networks", "volumes", "configs", "secrets"] {
            let declared = self.declared(kind, diagnostics);
            for (key, user) in uses.remove(kind).unwrap_or_default() {
                let Some(item) = declared.iter().find(|item| item.key.value == key) else {
                    if kind == "networks" && key == "default" {
                        let network = Network {
                            name: format!("{}_default", project.name),
                            ..Network::default()
                        };
                        project.networks.insert(key, network);
                        continue;
                    }
                    let names = declared.iter().map(|item| item.key.value.as_str());
                    diagnostics.push(checks::undefined(kind, &key, &user, nodes.get(&user), names));
                    continue;
                };
                let item = Item {
                    key: item.key.clone(),
                    value: self.cx.interpolated(&item.value, diagnostics),
                };
                self.cx.collect_outside(&item.value);
                note_places(places, &format!("{kind}.{key}"), &item.key.span, &item.value, 0);
                match kind {
                    "networks" => {
                        let network = networks::network(&self.cx, &project.name, &item, diagnostics);
                        project.networks.insert(key, network);
                    }
                    "volumes" => {
                        let volume = networks::volume(&self.cx, &project.name, &item, diagnostics);
                        project.volumes.insert(key, volume);
                    }
                    "configs" => {
                        let content = files::content(&self.cx, files::What::Config, &item, diagnostics);
                        project.configs.extend(content.map(|content| (key, content)));
                    }
                    _ => {
                        let content = files::content(&self.cx, files::What::Secret, &item, diagnostics);
                        project.secrets.extend(content.map(|content| (key, content)));
                    }
                }
            }
        }
    }

    /// The entries of a top-level section; the keys of those that nothing uses are checked all the same.
    fn declared(&self, kind: &str, diagnostics: &mut Diagnostics) -> Vec<Item> {
        let Some(node) = self.top.get(kind).filter(|node| !node.is_null()) else {
            return Vec::new();
        };
        let Value::Mapping(mapping) = &node.value else {
            diagnostics.push(Diagnostic::error(
                Code::WRONG_TYPE,
                &node.span,
                format!("`{kind}` must be a mapping"),
            ));
            return Vec::new();
        };
        mapping
            .iter()
            .filter(|item| !item.key.value.starts_with("x-"))
            .cloned()
            .collect()
    }
}

/// The app's name in the form that Compose allows: lower case, without other signs.
fn project_name(app: &str) -> String {
    let lower = app.to_lowercase();
    let kept: String = lower
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}

/// Files beside the Compose file that Compose would look at.
fn siblings(
    checkout: &Checkout,
    app: &App,
    folder: &RepoPath,
    path: &RepoPath,
    whole: &Span,
    diagnostics: &mut Diagnostics,
) {
    let own = path.file_name().unwrap_or_default();
    // A file that driftless.yaml names is that file alone, as with `docker compose -f`.
    if app.declared.is_some() && app.path == path.as_str() {
        return;
    }
    let there = |name: &&str| folder.join(name).is_ok_and(|path| checkout.is_file(&path));
    for name in OVERRIDE_NAMES.iter().filter(|name| there(name)) {
        let message = format!("`{name}` lies beside `{own}`, and Compose would merge it in");
        diagnostics.push(Diagnostic::error(Code::OVERRIDE_FILE, whole, message).with_help(
            "override files are not supported yet; merge it into the file, or name the one file under `path` in driftless.yaml",
        ));
    }
    for name in FILE_NAMES.iter().filter(|name| **name != own && there(name)) {
        let message = format!("`{name}` lies beside `{own}` and is not read");
        diagnostics
            .push(Diagnostic::warning(Code::NO_EFFECT, whole, message).with_help("remove one of the two"));
    }
}

/// `!reset` and `!override` mean something only where files are merged.
fn tags(node: &Node, diagnostics: &mut Diagnostics) {
    if node.tag.is_some() {
        let message = "`!reset` and `!override` are not supported yet";
        diagnostics.push(
            Diagnostic::error(Code::NOT_SUPPORTED, &node.span, message)
                .with_note("they change how several files are merged, and an app has one file"),
        );
    }
    match &node.value {
        Value::Sequence(items) => items.iter().for_each(|item| tags(item, diagnostics)),
        Value::Mapping(mapping) => mapping.iter().for_each(|item| tags(&item.value, diagnostics)),
        _ => {}
    }
}

/// Fields of the model that a file writes under other keys: the first that is there is the place.
const ALIASES: &[(&str, &[&str])] = &[
    ("resources", &["deploy.resources", "mem_limit", "cpus"]),
    ("resources.nano_cpus", &["deploy.resources.limits.cpus", "cpus"]),
    (
        "resources.memory",
        &["deploy.resources.limits.memory", "mem_limit"],
    ),
    (
        "resources.memory_reservation",
        &["deploy.resources.reservations.memory", "mem_reservation"],
    ),
    ("resources.memory_swap", &["memswap_limit"]),
    ("resources.memory_swappiness", &["mem_swappiness"]),
    (
        "resources.pids_limit",
        &["deploy.resources.limits.pids", "pids_limit"],
    ),
    ("resources.cpu_shares", &["cpu_shares"]),
    ("resources.cpu_period", &["cpu_period"]),
    ("resources.cpu_quota", &["cpu_quota"]),
    ("resources.cpuset", &["cpuset"]),
    ("resources.blkio_weight", &["blkio_config.weight"]),
    ("resources.oom_kill_disable", &["oom_kill_disable"]),
    ("resources.oom_score_adj", &["oom_score_adj"]),
    ("replicas", &["deploy.replicas", "scale"]),
    ("update", &["deploy.update_config"]),
    ("restart", &["deploy.restart_policy", "restart"]),
    (
        "device_requests",
        &["gpus", "deploy.resources.reservations.devices"],
    ),
    ("job", &["x-driftless.job"]),
    ("state", &["x-driftless.state"]),
];

/// Notes the places of [`ALIASES`].
fn alias_places(places: &mut Places, service: &ServiceName) {
    for (field, written) in ALIASES {
        let path = |key: &str| format!("services.{service}.{key}");
        if let Some(place) = written.iter().find_map(|key| places.exact(&path(key)).cloned()) {
            places.note(path(field), place);
        }
    }
}

/// Notes where `node` and what is in it is written: values for scalars, keys for the rest; list entries of the form
/// `name=value` under their name.
fn note_places(places: &mut Places, path: &str, key: &Span, node: &Node, depth: usize) {
    match &node.value {
        Value::Mapping(mapping) => {
            places.note(path, key.place());
            if depth < 4 {
                for item in mapping {
                    note_places(
                        places,
                        &format!("{path}.{}", item.key.value),
                        &item.key.span,
                        &item.value,
                        depth + 1,
                    );
                }
            }
        }
        Value::Sequence(items) => {
            places.note(path, key.place());
            for item in items {
                let name = match &item.value {
                    Value::Mapping(mapping) => {
                        let named = ["target", "source", "path"]
                            .into_iter()
                            .find_map(|key| mapping.get(key));
                        named.and_then(Node::as_text)
                    }
                    _ => item.as_text().map(|text| match path.rsplit('.').next() {
                        Some("volumes") => text.split(':').nth(1).unwrap_or(&text).to_owned(),
                        _ => text.split('=').next().unwrap_or(&text).to_owned(),
                    }),
                };
                if let Some(name) = name {
                    places.note(format!("{path}.{name}"), item.span.place());
                }
            }
        }
        _ => places.note(path, node.span.place()),
    }
}
