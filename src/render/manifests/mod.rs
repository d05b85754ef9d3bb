//! Kubernetes documents → [`Bundle`].
//!
//! In: the YAML and JSON files of an app, or a renderer's output with what is known of its origin. Out: the bundle, the
//! place of every field, what must be masked, warnings. Guaranteed: scalars are typed as `kubectl` types them; every object
//! has an identity that an API server would take, each once; all findings of all files are reported at once; no value of a
//! Secret is in a finding. Must not: ask a cluster, run a tool, or know which kinds are namespaced.
//!
//! # What is left out, and what is taken away
//! - files in which nothing looks like an object, hooks of moments that a release does not have: with a warning
//! - empty documents, `status`, what only a server sets, and annotations that only `kubectl` and controllers write
//!
//! # Hooks and waves
//! See [`hooks`].

mod expanded;
mod flatten;
mod hooks;
mod names;
mod object;
pub mod options;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Places;
use super::bundle::{Bundle, Manifest};
use crate::document::{self, Budget, Code, Diagnostic, Diagnostics, Dialect, File, Node, Place, Span, Value};
use crate::names::ObjectKey;
use crate::secret::Mask;
use crate::source::{Checkout, RepoPath};

pub use expanded::expanded;
pub use names::is_subdomain;

/// What reading gave.
#[derive(Debug, Clone, Default)]
pub struct Read {
    /// The objects.
    pub bundle: Bundle,
    /// Where each field is written; [`Places::field`] finds it.
    pub places: Places,
    /// The values of Secrets, for cleaning free text.
    pub mask: Mask,
    /// What does not stop the app.
    pub warnings: Diagnostics,
}

/// Which file of the repository a line of rendered output comes from; see [`read_rendered`].
pub trait Origins {
    /// The place of the object `key`, whose document begins at `line` (1-based) of the output.
    fn origin(&self, line: u32, key: &ObjectKey) -> Option<Place>;

    /// The object as a file of the repository has it, where it is known: its fields are taken for those of the output where
    /// they are equal.
    fn source(&self, _key: &ObjectKey) -> Option<&Node> {
        None
    }
}

/// Reads the files of [`AppKind::Manifests`](super::app::AppKind::Manifests) from the commit.
pub fn from_checkout(
    checkout: &Checkout,
    files: &[String],
    namespace: Option<&str>,
) -> Result<Read, Diagnostics> {
    let mut reader = Reader::new(namespace);
    for name in files {
        let whole = File::new(name.as_str(), "").whole();
        match RepoPath::parse(name)
            .map_err(Into::into)
            .and_then(|path| checkout.read(&path))
        {
            Ok(blob) => reader.file(name, &blob.bytes),
            Err(error) => reader
                .findings
                .push(Diagnostic::error(Code::APP_PATH, &whole, error.to_string())),
        }
    }
    reader.finish(None)
}

/// Reads files by name and content.
pub fn read<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    namespace: Option<&str>,
) -> Result<Read, Diagnostics> {
    let mut reader = Reader::new(namespace);
    for (name, bytes) in files {
        reader.file(name, bytes);
    }
    reader.finish(None)
}

/// Reads what `renderer` (`helm v3.22.0`) printed. `name` is what the output is called in findings.
pub fn read_rendered(
    name: &str,
    output: &[u8],
    renderer: &str,
    origins: &dyn Origins,
    namespace: Option<&str>,
) -> Result<Read, Diagnostics> {
    let mut reader = Reader::new(namespace);
    reader.origins = Some(origins);
    match document::parse_bytes(name, output, Dialect::Kubectl, &budget(output.len())) {
        Ok(documents) => {
            for document in documents {
                reader.document(&document.root);
            }
        }
        Err(findings) => reader.findings.extend(findings),
    }
    reader.finish(Some(renderer.to_owned()))
}

/// An app's objects as YAML documents, the values of Secrets masked.
pub fn bundle_yaml(bundle: &Bundle) -> String {
    let mut text = String::new();
    for manifest in &bundle.objects {
        let mut value = manifest.value.clone();
        if &*manifest.key.kind == "Secret" {
            for field in ["data", "stringData"] {
                for value in value
                    .get_mut(field)
                    .and_then(serde_json::Value::as_object_mut)
                    .into_iter()
                    .flatten()
                {
                    *value.1 = crate::secret::MASKED.into();
                }
            }
        }
        if !text.is_empty() {
            text.push_str("---\n");
        }
        if let Some(place) = &manifest.place {
            text.push_str(&format!("# {}:{}\n", place.file, place.line));
        }
        // Plain JSON values always have a YAML form.
        text.push_str(&serde_saphyr::to_string(&value).unwrap_or_default());
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}

/// A renderer's output is bounded by its own cap; its values are counted by what such a text can hold.
fn budget(bytes: usize) -> Budget {
    let default = Budget::default();
    Budget {
        bytes: bytes.max(default.bytes),
        nodes: default.nodes.max(bytes / 4),
        ..default
    }
}

/// One object on its way into the bundle.
struct Found {
    manifest: Manifest,
    span: Span,
}

struct Reader<'a> {
    namespace: Option<&'a str>,
    origins: Option<&'a dyn Origins>,
    objects: BTreeMap<ObjectKey, Found>,
    places: Places,
    secrets: Vec<String>,
    findings: Diagnostics,
}

impl<'a> Reader<'a> {
    fn new(namespace: Option<&'a str>) -> Self {
        Self {
            namespace: namespace.filter(|name| !name.is_empty()),
            origins: None,
            objects: BTreeMap::new(),
            places: Places::default(),
            secrets: Vec::new(),
            findings: Diagnostics::new(),
        }
    }

    fn finish(self, renderer: Option<String>) -> Result<Read, Diagnostics> {
        let (_, warnings) = self.findings.into_result(())?;
        let mut objects: Vec<Manifest> = self.objects.into_values().map(|found| found.manifest).collect();
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Read {
            bundle: Bundle {
                namespace: self.namespace.map(str::to_owned),
                objects,
                renderer,
            },
            places: self.places,
            mask: Mask::new(self.secrets),
            warnings,
        })
    }

    fn file(&mut self, name: &str, bytes: &[u8]) {
        let parsed = if name.ends_with(".json") {
            json(name, bytes)
        } else {
            document::parse_bytes(name, bytes, Dialect::Kubectl, &Budget::default())
                .map(|documents| documents.into_iter().map(|document| document.root).collect())
        };
        let roots: Vec<Node> = match parsed {
            Ok(roots) => roots,
            Err(findings) if looks_like_objects(bytes) => {
                self.findings.extend(findings);
                return;
            }
            // A template, or another tool's file.
            Err(_) => return self.left_out(name),
        };
        if !roots.is_empty() && !roots.iter().any(object::looks_like_one) {
            return self.left_out(name);
        }
        for root in &roots {
            self.document(root);
        }
    }

    fn left_out(&mut self, name: &str) {
        let whole = File::new(name, "").whole();
        self.findings.push(
            Diagnostic::warning(
                Code::MANIFEST_LEFT_OUT,
                &whole,
                "no Kubernetes object is in this file; it is left out",
            )
            .with_help("move it out of the app's folder, or let its name start with a dot"),
        );
    }

    fn document(&mut self, root: &Node) {
        // One document is read by itself, so that what it finds can be told from the others'.
        let mut findings = Diagnostics::new();
        for item in flatten::objects(root, &mut findings) {
            self.object(&item, &mut findings);
        }
        if self.origins.is_some() {
            for finding in findings.iter_mut() {
                let line = finding.span.as_ref().map_or(0, Span::line);
                let key = ObjectKey::new("", "", None, "");
                if let Some(place) = self.origin(line, &key) {
                    finding.notes.push(format!("rendered from {place}"));
                }
            }
        }
        self.findings.extend(findings);
    }

    fn origin(&self, line: u32, key: &ObjectKey) -> Option<Place> {
        self.origins.and_then(|origins| origins.origin(line, key))
    }

    fn object(&mut self, item: &flatten::Item<'_>, findings: &mut Diagnostics) {
        let Some(read) = object::read(item, findings) else {
            return;
        };
        let moment = match hooks::moment(&read, findings) {
            Ok(moment) => moment,
            Err(hooks::LeftOut) => return,
        };
        options::check(&read, findings);
        let span = item.node.span.clone();
        // The namespace that the object will have decides whether two are one. The app's is also put in the place of none for
        // cluster-scoped kinds, which changes nothing there: neither of the two has one.
        let mut identity = read.key.clone();
        if identity.namespace.is_none() {
            identity.namespace = self.namespace.map(Arc::from);
        }
        if let Some(first) = self.objects.get(&identity) {
            let message = format!("{} is declared twice", read.key);
            let mut finding = Diagnostic::error(Code::OBJECT_TWICE, read.name_span, message)
                .with_label("again here")
                .with_secondary(&first.span, "first here")
                .with_help("remove one of them, or rename it");
            if let Some(place) = first.manifest.place.as_ref().filter(|_| self.origins.is_some()) {
                finding = finding.with_note(format!("the first one is from {place}"));
            }
            findings.push(finding);
            return;
        }
        let place = match self.origins {
            Some(_) => self.origin(span.line(), &read.key),
            None => Some(span.place()),
        };
        self.note(&read.key, item.node, place.as_ref());
        self.secrets.extend(object::secret_values(&read.key, &read.value));
        self.objects.insert(
            identity,
            Found {
                span: read.name_span.clone(),
                manifest: Manifest {
                    api_version: read.api_version,
                    place,
                    wave: moment.wave,
                    hook: moment.hook,
                    value: read.value,
                    key: read.key,
                },
            },
        );
    }

    /// Notes where the fields of an object are written. Of rendered output only the object's origin is known.
    fn note(&mut self, key: &ObjectKey, node: &Node, place: Option<&Place>) {
        let Some(place) = place else { return };
        let mut path = format!("{key}:");
        if self.places.exact(&path).is_some() {
            // Another group has the same kind and name: the first one keeps its places.
            return;
        }
        self.places.note(path.as_str(), place.clone());
        match self.origins {
            None => fields(&mut self.places, &mut path, node),
            Some(origins) => {
                if let Some(source) = origins.source(key) {
                    equal_fields(&mut self.places, &mut path, node, source);
                }
            }
        }
    }
}

/// Depth is bounded by the loader.
fn fields(places: &mut Places, path: &mut String, node: &Node) {
    let length = path.len();
    match &node.value {
        Value::Mapping(mapping) => {
            for item in mapping {
                path.push('/');
                path.push_str(&item.key.value.replace('~', "~0").replace('/', "~1"));
                let scalar = item.value.scalar.is_some() && !item.value.is_null();
                let span = if scalar { &item.value.span } else { &item.key.span };
                places.note(path.as_str(), span.place());
                fields(places, path, &item.value);
                path.truncate(length);
            }
        }
        Value::Sequence(items) => {
            for (at, item) in items.iter().enumerate() {
                path.push('/');
                path.push_str(&at.to_string());
                places.note(path.as_str(), item.span.place());
                fields(places, path, item);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Notes the places of a source's fields that the output has with the same value.
fn equal_fields(places: &mut Places, path: &mut String, node: &Node, source: &Node) {
    let length = path.len();
    match (&node.value, &source.value) {
        (Value::Mapping(mapping), Value::Mapping(written)) => {
            for item in mapping {
                let Some(from) = written.item(&item.key.value) else {
                    continue;
                };
                path.push('/');
                path.push_str(&item.key.value.replace('~', "~0").replace('/', "~1"));
                if item.value.scalar.is_none() {
                    places.note(path.as_str(), from.key.span.place());
                    equal_fields(places, path, &item.value, &from.value);
                } else if item.value.value == from.value.value {
                    places.note(path.as_str(), from.value.span.place());
                }
                path.truncate(length);
            }
        }
        (Value::Sequence(items), Value::Sequence(written)) => {
            for (at, (item, from)) in items.iter().zip(written).enumerate() {
                path.push('/');
                path.push_str(&at.to_string());
                if item.scalar.is_none() || item.value == from.value {
                    places.note(path.as_str(), from.span.place());
                }
                equal_fields(places, path, item, from);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Whether text that can't be read was meant to be an object: then its mistakes are the app's.
fn looks_like_objects(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.lines().any(|line| {
        ["apiVersion", "kind", "\"apiVersion\"", "\"kind\""]
            .iter()
            .any(|key| line.trim_start_matches([' ', '{']).starts_with(key))
    })
}

/// JSON is read as YAML for its places. What YAML can't read (`\/`, surrogate pairs, several values in a row) is read as
/// JSON, without places.
fn json(name: &str, bytes: &[u8]) -> Result<Vec<Node>, Diagnostics> {
    let parsed = document::parse_bytes(name, bytes, Dialect::Kubectl, &Budget::default());
    let findings = match parsed {
        Ok(documents) => return Ok(documents.into_iter().map(|document| document.root).collect()),
        Err(findings) => findings,
    };
    let syntax = |one: &Diagnostic| [Code::YAML_SYNTAX, Code::YAML_TAB].contains(&one.code);
    if !findings.iter().all(syntax) {
        return Err(findings);
    }
    let file = File::new(name, &String::from_utf8_lossy(bytes));
    serde_json::Deserializer::from_slice(bytes)
        .into_iter::<serde_json::Value>()
        .map(|value| match value {
            Ok(value) => Ok(from_json(&value, &file.whole())),
            Err(error) => {
                let span = file.place_only(error.line(), error.column());
                Err(Diagnostic::error(Code::YAML_SYNTAX, &span, "this is not valid JSON").into())
            }
        })
        .collect()
}

/// Depth is bounded by `serde_json` (128).
fn from_json(value: &serde_json::Value, span: &Span) -> Node {
    use serde_json::Value as Json;
    let value = match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => return Node::string(text.as_str(), span.clone()),
        Json::Array(items) => Value::Sequence(items.iter().map(|item| from_json(item, span)).collect()),
        Json::Object(map) => {
            let mut mapping = document::Mapping::new();
            for (key, value) in map {
                let key = document::Spanned::new(key.clone(), span.clone());
                mapping.insert(key, from_json(value, span));
            }
            Value::Mapping(mapping)
        }
    };
    Node::new(value, span.clone())
}
