//! Which apps a repository has.
//!
//! In: a [`Checkout`] and the repository's name. Out: [`Discovery`]: apps, and those that can't be used with the reasons.
//! Guaranteed: a `driftless.yaml` lists all apps (no mixing); without one the folder conventions hold; one bad app never
//! hides another; a repository that can't be listed is an error, never "no apps". Must not: render.
//!
//! # Conventions
//! 1. Manifests in the root: one app, named after the repository.
//! 2. Else, where the root has `apps/`, `stacks/` or `hosts/`: every folder below them that holds manifests.
//! 3. Else: every folder that holds manifests.
//!
//! A folder that holds manifests is one app, named after it; what lies below belongs to it. Below `hosts/<target>/` the
//! folder names the target. Folders that start with a dot, and those of build tools, are not entered.

mod declared;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::app::{App, AppKind, Rules};
use super::compose::FILE_NAMES;
use crate::document::{self, Budget, Code, Diagnostic, Diagnostics, Dialect, File, Node};
use crate::names::AppName;
use crate::source::{Checkout, CheckoutError, EntryKind, Listing, RepoPath};

/// The repository's own file.
pub const FILE: &str = "driftless.yaml";

/// Folders that never hold apps.
const SKIPPED: &[&str] = &[
    "node_modules",
    "vendor",
    "target",
    "__pycache__",
    "venv",
    "dist",
    "testdata",
];

/// How deep folders are entered.
const DEPTH: usize = 8;

/// What was found.
#[derive(Debug, Default)]
pub struct Discovery {
    /// Usable apps, by name. Those of a kind that is not built yet are among them; rendering says so.
    pub apps: Vec<App>,
    /// Apps that can't be used.
    pub broken: Vec<Broken>,
}

/// An app that can't be used. The others go on.
#[derive(Debug)]
pub struct Broken {
    /// Its name, or its folder where the name is the problem.
    pub name: String,
    /// Why.
    pub diagnostics: Diagnostics,
}

impl Discovery {
    /// The app called `name`.
    pub fn app(&self, name: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.name.as_str() == name)
    }

    fn breaks(&mut self, name: impl Into<String>, diagnostic: Diagnostic) {
        self.broken.push(Broken {
            name: name.into(),
            diagnostics: diagnostic.into(),
        });
    }
}

/// Finds the apps of `checkout` below [`Checkout::start`]. `repository` names an app in the root.
pub fn discover(checkout: &Checkout, repository: &str) -> Result<Discovery, Diagnostics> {
    let base = checkout.start().clone();
    let own = child(&base, FILE);
    if checkout.is_file(&own) {
        return declared::read(checkout, &base, &own);
    }
    let mut discovery = Discovery::default();
    let mut finder = Finder {
        checkout,
        hits: Vec::new(),
        kustomized: BTreeSet::new(),
    };
    let listing = checkout.list(&base).map_err(|error| failed(&error, &base))?;
    if let Some(kind) = finder.manifests(&base, &listing) {
        let name = base.file_name().unwrap_or(repository);
        accept(&mut discovery, &base, name, None, kind);
        return Ok(discovery);
    }
    let known: Vec<RepoPath> = ["apps", "stacks", "hosts"]
        .iter()
        .map(|name| child(&base, name))
        .filter(|path| checkout.is_dir(path))
        .collect();
    let mut starts = known.clone();
    if starts.is_empty() {
        starts = folders(&listing);
    }
    for start in starts {
        // `apps`, `stacks` and `hosts` themselves are no apps.
        let below = if known.contains(&start) {
            folders(&checkout.list(&start).map_err(|error| failed(&error, &start))?)
        } else {
            vec![start]
        };
        for folder in below {
            finder.descend(&folder, DEPTH)?;
        }
    }
    let kustomized = std::mem::take(&mut finder.kustomized);
    for (path, kind) in finder.hits {
        if kustomized.contains(&path) {
            continue;
        }
        let name = path.file_name().unwrap_or(repository).to_owned();
        let inside = path.relative_to(&base).unwrap_or_else(|| path.clone());
        let mut segments = inside.segments();
        let target = (segments.next() == Some("hosts"))
            .then(|| segments.next().map(str::to_owned))
            .flatten();
        accept(&mut discovery, &path, &name, target, kind);
    }
    unique(&mut discovery);
    discovery.apps.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(discovery)
}

fn accept(discovery: &mut Discovery, path: &RepoPath, name: &str, target: Option<String>, kind: AppKind) {
    match AppName::try_from(name) {
        Ok(name) => discovery.apps.push(App {
            name,
            path: path.as_str().to_owned(),
            kind,
            target,
            after: Vec::new(),
            profiles: Vec::new(),
            rules: Rules::default(),
            declared: None,
        }),
        Err(error) => {
            let place = File::new(file_of(&kind), "").whole();
            let finding = Diagnostic::error(Code::BAD_NAME, &place, error.to_string())
                .with_help("rename the folder, or name the app in a driftless.yaml");
            discovery.breaks(path.as_str(), finding);
        }
    }
}

/// The manifest that says what the app is.
fn file_of(kind: &AppKind) -> &str {
    match kind {
        AppKind::Compose { file } | AppKind::NotYet { file, .. } => file,
    }
}

/// Takes out apps that share a name: neither can be meant.
fn unique(discovery: &mut Discovery) {
    let mut by_name: BTreeMap<AppName, Vec<App>> = BTreeMap::new();
    for app in std::mem::take(&mut discovery.apps) {
        by_name.entry(app.name.clone()).or_default().push(app);
    }
    for (name, mut apps) in by_name {
        if apps.len() < 2 {
            discovery.apps.append(&mut apps);
            continue;
        }
        let places: Vec<String> = apps.iter().map(|app| format!("`{}`", app.path)).collect();
        let message = format!("{} apps are called `{name}`: {}", apps.len(), places.join(", "));
        let mut spans = apps.iter().map(|app| File::new(file_of(&app.kind), "").whole());
        let Some(first) = spans.next() else { continue };
        let mut finding = Diagnostic::error(Code::APP_TWICE, &first, message)
            .with_help("rename a folder, or name both in a driftless.yaml");
        for span in spans {
            finding = finding.with_secondary(&span, "the other one");
        }
        discovery.breaks(name.as_str(), finding);
    }
}

fn child(base: &RepoPath, name: &str) -> RepoPath {
    base.join(name).unwrap_or_else(|_| base.clone())
}

fn failed(error: &CheckoutError, path: &RepoPath) -> Diagnostics {
    let place = File::new(path.as_str(), "").whole();
    Diagnostic::error(Code::APP_PATH, &place, error.to_string()).into()
}

/// The folders of a listing that may hold apps.
fn folders(listing: &Listing) -> Vec<RepoPath> {
    listing
        .entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Directory)
        .filter(|entry| !entry.name.starts_with('.') && !SKIPPED.contains(&entry.name.as_str()))
        .map(|entry| entry.path.clone())
        .collect()
}

struct Finder<'a> {
    checkout: &'a Checkout,
    hits: Vec<(RepoPath, AppKind)>,
    /// Folders that a kustomization refers to.
    kustomized: BTreeSet<RepoPath>,
}

impl Finder<'_> {
    fn descend(&mut self, folder: &RepoPath, depth: usize) -> Result<(), Diagnostics> {
        let listing = self
            .checkout
            .list(folder)
            .map_err(|error| failed(&error, folder))?;
        if let Some(kind) = self.manifests(folder, &listing) {
            self.hits.push((folder.clone(), kind));
            return Ok(());
        }
        if depth > 0 {
            for folder in folders(&listing) {
                self.descend(&folder, depth - 1)?;
            }
        }
        Ok(())
    }

    /// What `folder` is, if it holds manifests.
    fn manifests(&mut self, folder: &RepoPath, listing: &Listing) -> Option<AppKind> {
        let file = |name: &str| {
            let found = listing.entries.iter().find(|entry| entry.name == name)?;
            matches!(found.kind, EntryKind::File | EntryKind::Symlink).then(|| found.path.clone())
        };
        for name in FILE_NAMES {
            if let Some(path) = file(name) {
                return Some(AppKind::Compose {
                    file: path.as_str().to_owned(),
                });
            }
        }
        for name in ["kustomization.yaml", "kustomization.yml", "Kustomization"] {
            if let Some(path) = file(name) {
                self.references(folder, &path);
                return Some(AppKind::NotYet {
                    what: "a kustomization",
                    file: path.as_str().to_owned(),
                });
            }
        }
        if let Some(path) = file("Chart.yaml") {
            return Some(AppKind::NotYet {
                what: "a Helm chart",
                file: path.as_str().to_owned(),
            });
        }
        let manifest = listing.entries.iter().find(|entry| {
            let yaml = entry.name.ends_with(".yaml") || entry.name.ends_with(".yml");
            yaml && !entry.name.starts_with('.')
                && entry.kind == EntryKind::File
                && self.is_manifest(&entry.path)
        })?;
        Some(AppKind::NotYet {
            what: "Kubernetes manifests",
            file: manifest.path.as_str().to_owned(),
        })
    }

    /// Whether a YAML file has `apiVersion` and `kind` at the start of lines. It is not parsed: a template need not be YAML.
    fn is_manifest(&self, path: &RepoPath) -> bool {
        let Ok(blob) = self.checkout.read(path) else {
            return false;
        };
        let text = String::from_utf8_lossy(&blob.bytes);
        let has = |key: &str| text.lines().any(|line| line.starts_with(key));
        has("apiVersion:") && has("kind:")
    }

    /// Notes the folders that a kustomization builds on: they are not apps of their own (decision 26).
    fn references(&mut self, folder: &RepoPath, path: &RepoPath) {
        let Ok(blob) = self.checkout.read(path) else {
            return;
        };
        let name = path.as_str().to_owned();
        // One that can't be read is reported when it is rendered.
        let Ok(documents) = document::parse_bytes(name, &blob.bytes, Dialect::Kubectl, &Budget::default())
        else {
            return;
        };
        for document in documents {
            for key in ["resources", "bases", "components"] {
                for item in document
                    .root
                    .get(key)
                    .and_then(Node::as_sequence)
                    .unwrap_or_default()
                {
                    if let Some(target) = item.as_str().and_then(|raw| folder.join(raw).ok()) {
                        self.kustomized.insert(target);
                    }
                }
            }
        }
    }
}

/// What an app's folder or file is, for `path` of driftless.yaml.
fn kind_at(checkout: &Checkout, path: &RepoPath) -> Option<AppKind> {
    let file = path.as_str().to_owned();
    if checkout.is_file(path) {
        let name = path.file_name().unwrap_or_default();
        let mut finder = Finder {
            checkout,
            hits: Vec::new(),
            kustomized: BTreeSet::new(),
        };
        return match name {
            "Chart.yaml" => Some(AppKind::NotYet {
                what: "a Helm chart",
                file,
            }),
            "kustomization.yaml" | "kustomization.yml" | "Kustomization" => {
                finder.kustomized.clear();
                Some(AppKind::NotYet {
                    what: "a kustomization",
                    file,
                })
            }
            _ if finder.is_manifest(path) => Some(AppKind::NotYet {
                what: "Kubernetes manifests",
                file,
            }),
            _ if name.ends_with(".yaml") || name.ends_with(".yml") => Some(AppKind::Compose { file }),
            _ => None,
        };
    }
    let listing = checkout.list(path).ok()?;
    Finder {
        checkout,
        hits: Vec::new(),
        kustomized: BTreeSet::new(),
    }
    .manifests(path, &listing)
}
