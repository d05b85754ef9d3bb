//! A renderer's output → objects with the places that a person can edit.
//!
//! In: [`Rendered`] and the checkout that it was made of. Out: [`Read`]. Guaranteed: every object has a place in the
//! repository. Must not: read anything that the renderer could not.
//!
//! Helm says of each document which template it is from; within the template only the line of `kind:` can be found. Of
//! kustomize's output an object is known by its kind and name (prefixes, suffixes and hashes allowed for), and a field is
//! taken for the source's where it has the same value there; what a patch changed is shown at the object's place.

use std::collections::BTreeSet;

use super::{Origins, Read, flatten, read_rendered};
use crate::document::{self, Budget, Diagnostics, Dialect, File, Node, Place, Span};
use crate::expand::{By, Rendered};
use crate::names::ObjectKey;
use crate::source::{Checkout, RepoPath};

/// Reads what a renderer made of an app's folder.
pub fn expanded(
    checkout: &Checkout,
    rendered: &Rendered,
    namespace: Option<&str>,
) -> Result<Read, Diagnostics> {
    let origins: Box<dyn Origins + '_> = match rendered.by {
        By::Helm => Box::new(Templates::of(checkout, rendered)),
        By::Kustomize => Box::new(Sources::of(checkout, rendered)),
    };
    let name = format!("{} (rendered)", rendered.folder);
    read_rendered(&name, &rendered.output, &rendered.renderer, &*origins, namespace)
}

fn whole(path: &RepoPath) -> Place {
    File::new(path.as_str(), "").whole().place()
}

struct Templates<'c> {
    checkout: &'c Checkout,
    chart: Place,
    /// Lines of `# Source: …` comments, and the files that they name.
    sources: Vec<(u32, RepoPath)>,
}

impl<'c> Templates<'c> {
    fn of(checkout: &'c Checkout, rendered: &Rendered) -> Self {
        let text = String::from_utf8_lossy(&rendered.output);
        let sources = (1u32..)
            .zip(text.lines())
            .filter_map(|(number, line)| {
                // The chart's name stands in the place of its folder.
                let (_, path) = line.strip_prefix("# Source: ")?.split_once('/')?;
                Some((number, rendered.folder.join(path.trim()).ok()?))
            })
            .collect();
        let chart = rendered
            .folder
            .join("Chart.yaml")
            .unwrap_or_else(|_| rendered.folder.clone());
        Self {
            checkout,
            chart: whole(&chart),
            sources,
        }
    }
}

impl Origins for Templates<'_> {
    fn origin(&self, line: u32, key: &ObjectKey) -> Option<Place> {
        let before = self.sources.partition_point(|(number, _)| *number <= line);
        let Some((_, path)) = before.checked_sub(1).and_then(|at| self.sources.get(at)) else {
            return Some(self.chart.clone());
        };
        let mut place = whole(path);
        // A template that writes the kind once is shown there.
        if let Ok(blob) = self.checkout.read(path) {
            let text = String::from_utf8_lossy(&blob.bytes);
            let mut lines = (1u32..).zip(text.lines()).filter(|(_, line)| {
                line.strip_prefix("kind:")
                    .is_some_and(|kind| kind.trim().trim_matches(['"', '\'']) == &*key.kind)
            });
            if let (Some((number, _)), None) = (lines.next(), lines.next()) {
                place.line = number;
                place.column = 1;
            }
        }
        Some(place)
    }
}

struct Source {
    group: String,
    kind: String,
    name: String,
    span: Span,
    node: Node,
    /// Whether a kustomization lists its file as a resource: a patch has the looks of what it patches.
    resource: bool,
}

struct Sources {
    kustomization: Place,
    all: Vec<Source>,
}

impl Sources {
    fn of(checkout: &Checkout, rendered: &Rendered) -> Self {
        let mut all = Vec::new();
        let mut own = None;
        let mut resources = BTreeSet::new();
        for path in &rendered.sources {
            let kustomization = crate::render::discover::KUSTOMIZATIONS
                .iter()
                .any(|name| path.file_name() == Some(name));
            if kustomization && path.parent().as_ref() == Some(&rendered.folder) {
                own = Some(whole(path));
            }
            let Ok(blob) = checkout.read(path) else { continue };
            // What can't be read as YAML was no resource, or kustomize would have said so.
            let Ok(documents) =
                document::parse_bytes(path.as_str(), &blob.bytes, Dialect::Kubectl, &Budget::default())
            else {
                continue;
            };
            for document in &documents {
                if kustomization {
                    generated(&document.root, &mut all);
                    let folder = path.parent().unwrap_or_else(RepoPath::root);
                    let listed = document.root.get("resources").and_then(Node::as_sequence);
                    resources.extend(
                        listed
                            .unwrap_or_default()
                            .iter()
                            .filter_map(|item| folder.join(item.as_str()?).ok()),
                    );
                    continue;
                }
                for item in flatten::objects(&document.root, &mut Diagnostics::new()) {
                    all.extend(source(item.node));
                }
            }
        }
        for source in &mut all {
            source.resource |= resources
                .iter()
                .any(|path| path.as_str() == source.span.file().name());
        }
        // Stable: the first of two files keeps its turn.
        all.sort_by_key(|source| !source.resource);
        Self {
            kustomization: own.unwrap_or_else(|| whole(&rendered.folder)),
            all,
        }
    }

    fn find(&self, key: &ObjectKey) -> Option<&Source> {
        let same = |source: &&Source| source.group == *key.group && source.kind == *key.kind;
        let exact = self
            .all
            .iter()
            .filter(same)
            .find(|source| source.name == *key.name);
        exact.or_else(|| {
            self.all
                .iter()
                .filter(same)
                .filter(|source| key.name.contains(source.name.as_str()))
                .max_by_key(|source| (source.resource, source.name.len()))
        })
    }
}

/// An object of a file.
fn source(node: &Node) -> Option<Source> {
    let version = node.get("apiVersion")?.as_str()?;
    Some(Source {
        group: version.split_once('/').map_or("", |(group, _)| group).to_owned(),
        kind: node.get("kind")?.as_str()?.to_owned(),
        name: node.get("metadata")?.get("name")?.as_str()?.to_owned(),
        span: node.span.clone(),
        node: node.clone(),
        resource: false,
    })
}

/// What a kustomization generates.
fn generated(root: &Node, all: &mut Vec<Source>) {
    for (key, kind) in [("configMapGenerator", "ConfigMap"), ("secretGenerator", "Secret")] {
        for item in root.get(key).and_then(Node::as_sequence).unwrap_or_default() {
            if let Some(name) = item.get("name").and_then(Node::as_str) {
                all.push(Source {
                    group: String::new(),
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                    span: item.span.clone(),
                    node: item.clone(),
                    resource: true,
                });
            }
        }
    }
}

impl Origins for Sources {
    fn origin(&self, _: u32, key: &ObjectKey) -> Option<Place> {
        Some(
            self.find(key)
                .map_or_else(|| self.kustomization.clone(), |source| source.span.place()),
        )
    }

    fn source(&self, key: &ObjectKey) -> Option<&Node> {
        self.find(key).map(|source| &source.node)
    }
}
