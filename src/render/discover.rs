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
//!
//! A kustomization that another one builds on is part of that one, and no app; where several build on one base, which of
//! them runs where is not guessed (decision 26). A library chart is no app. Plain manifests are read with the folders
//! below theirs, except those that are an app of another kind.

mod declared;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::app::{App, AppKind, Helm, Rules};
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

/// The names of a kustomization's file, in kustomize's order.
pub const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// A chart's file.
const CHART: &str = "Chart.yaml";

/// The most files of one app of plain manifests.
const FILES: usize = 10_000;

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
        builds_on: BTreeMap::new(),
        parts: BTreeSet::new(),
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
    let builds_on = finder.builds_on;
    let bases: BTreeSet<&RepoPath> = builds_on.values().flatten().chain(&finder.parts).collect();
    for (path, kind) in finder.hits {
        if bases.contains(&path) {
            continue;
        }
        let siblings = siblings(&path, &builds_on, &bases);
        if let Some((base, others)) = siblings {
            overlays(&mut discovery, &path, &kind, base, &others);
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
            let place = File::new(kind.file(), "").whole();
            let finding = Diagnostic::error(Code::BAD_NAME, &place, error.to_string())
                .with_help("rename the folder, or name the app in a driftless.yaml");
            discovery.breaks(path.as_str(), finding);
        }
    }
}

/// Another kustomization that builds on the same folder as `path` does, and is no base itself: that folder, and all of them.
fn siblings<'f>(
    path: &RepoPath,
    builds_on: &'f BTreeMap<RepoPath, BTreeSet<RepoPath>>,
    bases: &BTreeSet<&RepoPath>,
) -> Option<(&'f RepoPath, Vec<&'f RepoPath>)> {
    builds_on.get(path)?.iter().find_map(|base| {
        let others: Vec<&RepoPath> = builds_on
            .iter()
            .filter(|(other, on)| *other != path && !bases.contains(other) && on.contains(base))
            .map(|(other, _)| other)
            .collect();
        (!others.is_empty()).then_some((base, others))
    })
}

fn overlays(
    discovery: &mut Discovery,
    path: &RepoPath,
    kind: &AppKind,
    base: &RepoPath,
    others: &[&RepoPath],
) {
    let names: Vec<String> = others.iter().map(|other| format!("`{other}`")).collect();
    let message = format!("`{path}` builds on `{base}`, and so does {}", names.join(", "));
    let finding = Diagnostic::error(Code::OVERLAYS, &File::new(kind.file(), "").whole(), message)
        .with_help("write a driftless.yaml that says which of them runs where");
    discovery.breaks(path.as_str(), finding);
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
        let mut spans = apps.iter().map(|app| File::new(app.kind.file(), "").whole());
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
    /// The folders that each kustomization builds on.
    builds_on: BTreeMap<RepoPath, BTreeSet<RepoPath>>,
    /// Components: parts of others that any number may share.
    parts: BTreeSet<RepoPath>,
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
        // What lies in a library chart is its own, too.
        if depth > 0 && own_kind(&listing).is_none() {
            for folder in folders(&listing) {
                self.descend(&folder, depth - 1)?;
            }
        }
        Ok(())
    }

    /// What `folder` is, if it holds manifests.
    fn manifests(&mut self, folder: &RepoPath, listing: &Listing) -> Option<AppKind> {
        let name = || folder.as_str().to_owned();
        match own_kind(listing) {
            Some((Own::Compose, file)) => {
                return Some(AppKind::Compose {
                    file: file.as_str().to_owned(),
                });
            }
            Some((Own::Kustomization, file)) => {
                self.references(folder, &file);
                return Some(AppKind::Kustomization {
                    folder: name(),
                    file: file.as_str().to_owned(),
                });
            }
            Some((Own::Chart, file)) => {
                return (!self.is_library(&file)).then(|| AppKind::Chart {
                    folder: name(),
                    helm: Helm::default(),
                });
            }
            None => {}
        }
        let here = listing
            .entries
            .iter()
            .any(|entry| is_data(entry.kind, &entry.name) && self.is_manifest(&entry.path));
        if !here {
            return None;
        }
        let mut files = Vec::new();
        self.files(listing, DEPTH, &mut files);
        files.sort();
        Some(AppKind::Manifests {
            folder: name(),
            files,
        })
    }

    /// The YAML and JSON files of an app of plain manifests: here, and in the folders below that are no app of another kind.
    fn files(&self, listing: &Listing, depth: usize, files: &mut Vec<String>) {
        for entry in &listing.entries {
            if files.len() < FILES && is_data(entry.kind, &entry.name) && entry.name != FILE {
                files.push(entry.path.as_str().to_owned());
            }
        }
        if depth == 0 {
            return;
        }
        for folder in folders(listing) {
            // A folder that can't be listed was refused by its own error when it is entered; here it holds nothing.
            if let Ok(inner) = self.checkout.list(&folder)
                && own_kind(&inner).is_none()
            {
                self.files(&inner, depth - 1, files);
            }
        }
    }

    /// Whether a file has `apiVersion` and `kind` at the start of lines. It is not parsed: a template need not be YAML.
    fn is_manifest(&self, path: &RepoPath) -> bool {
        let Ok(blob) = self.checkout.read(path) else {
            return false;
        };
        let text = String::from_utf8_lossy(&blob.bytes);
        let json = path.as_str().ends_with(".json");
        let has = |key: &str| {
            text.lines().any(|line| {
                if json {
                    line.contains(&format!("\"{key}\""))
                } else {
                    let plain = line.strip_prefix(['"', '\'']).unwrap_or(line);
                    plain
                        .strip_prefix(key)
                        .is_some_and(|rest| rest.trim_start_matches(['"', '\'', ' ']).starts_with(':'))
                }
            })
        };
        has("apiVersion") && has("kind")
    }

    /// Notes the folders that a kustomization builds on: they are not apps of their own (decision 26).
    fn references(&mut self, folder: &RepoPath, path: &RepoPath) {
        let mut on = BTreeSet::new();
        for key in ["resources", "bases", "components"] {
            for item in self
                .roots(path)
                .iter()
                .filter_map(|root| root.get(key).and_then(Node::as_sequence))
                .flatten()
            {
                let target = item.as_str().and_then(|raw| folder.join(raw).ok());
                let Some(target) = target.filter(|target| self.checkout.is_dir(target)) else {
                    continue;
                };
                if key == "components" {
                    self.parts.insert(target);
                } else {
                    on.insert(target);
                }
            }
        }
        self.builds_on.insert(folder.clone(), on);
    }

    fn is_library(&self, chart: &RepoPath) -> bool {
        self.roots(chart)
            .iter()
            .any(|root| root.get("type").and_then(Node::as_str) == Some("library"))
    }

    /// The documents of a file. One that can't be read is reported when it is rendered.
    fn roots(&self, path: &RepoPath) -> Vec<Node> {
        let Ok(blob) = self.checkout.read(path) else {
            return Vec::new();
        };
        let budget = Budget::default();
        document::parse_bytes(path.as_str(), &blob.bytes, Dialect::Kubectl, &budget)
            .map(|documents| documents.into_iter().map(|document| document.root).collect())
            .unwrap_or_default()
    }
}

/// The kinds of apps that one file gives away.
enum Own {
    Compose,
    Kustomization,
    Chart,
}

fn own_kind(listing: &Listing) -> Option<(Own, RepoPath)> {
    let file = |name: &str| {
        let found = listing.entries.iter().find(|entry| entry.name == name)?;
        matches!(found.kind, EntryKind::File | EntryKind::Symlink).then(|| found.path.clone())
    };
    let first = |names: &[&str]| names.iter().find_map(|name| file(name));
    first(&FILE_NAMES)
        .map(|path| (Own::Compose, path))
        .or_else(|| first(&KUSTOMIZATIONS).map(|path| (Own::Kustomization, path)))
        .or_else(|| file(CHART).map(|path| (Own::Chart, path)))
}

/// Whether an entry may hold manifests.
fn is_data(kind: EntryKind, name: &str) -> bool {
    let data = [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end));
    data && !name.starts_with('.') && kind == EntryKind::File
}

/// What an app's folder or file is, for `path` of driftless.yaml.
fn kind_at(checkout: &Checkout, path: &RepoPath) -> Option<AppKind> {
    let mut finder = Finder {
        checkout,
        hits: Vec::new(),
        builds_on: BTreeMap::new(),
        parts: BTreeSet::new(),
    };
    if !checkout.is_file(path) {
        return finder.manifests(path, &checkout.list(path).ok()?);
    }
    let name = path.file_name().unwrap_or_default();
    let file = path.as_str().to_owned();
    let folder = path.parent().unwrap_or_else(RepoPath::root).as_str().to_owned();
    if name == CHART {
        let helm = Helm::default();
        Some(AppKind::Chart { folder, helm })
    } else if KUSTOMIZATIONS.contains(&name) {
        Some(AppKind::Kustomization { folder, file })
    } else if finder.is_manifest(path) {
        let files = vec![file];
        Some(AppKind::Manifests { folder, files })
    } else if name.ends_with(".yaml") || name.ends_with(".yml") {
        Some(AppKind::Compose { file })
    } else {
        None
    }
}
