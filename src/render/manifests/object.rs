//! One object: its identity, and what must hold before an API server is asked.
//!
//! In: a node. Out: [`Object`] without what only a server sets, or findings. Guaranteed: every finding of the object is
//! reported, each with its place and a next step. Must not: check what only a schema knows (the API server does, in one
//! pass over all objects).

use base64::Engine as _;
use serde_json::Value as Json;

use super::flatten::Item;
use super::names;
use crate::document::{Code, Diagnostic, Diagnostics, Mapping, Node, Span, Value, did_you_mean};
use crate::names::ObjectKey;

/// An object whose identity is known.
pub struct Object<'n> {
    pub key: ObjectKey,
    pub api_version: String,
    pub value: Json,
    /// Where its name is written.
    pub name_span: &'n Span,
    /// `metadata.annotations` as written, for hooks.
    pub annotations: Option<&'n Mapping>,
}

/// The fields that `metadata` has (`ObjectMeta` is closed: an API server refuses others).
const METADATA: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "clusterName",
    "initializers",
];

/// What only a server sets.
const SERVER: &[&str] = &[
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "clusterName",
    "initializers",
];

/// What only `kubectl` and controllers write; it comes into Git with an export.
const WRITTEN_BY_TOOLS: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
];

/// The top-level keys that a misspelled one is measured against.
const TOP: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    "data",
    "stringData",
    "binaryData",
    "rules",
    "roleRef",
    "subjects",
    "subsets",
    "webhooks",
    "immutable",
    "status",
];

/// Whether a document was meant to be an object or a list of them.
pub fn looks_like_one(root: &Node) -> bool {
    let has = |key: &str| root.get(key).is_some();
    // A kustomization beside manifests that nobody builds has `kind` too; it is an object by its looks, and refused below.
    has("apiVersion") || has("kind") || (has("metadata") && (has("spec") || has("data")))
}

/// Reads one object.
pub fn read<'n>(item: &Item<'n>, findings: &mut Diagnostics) -> Option<Object<'n>> {
    let node = item.node;
    let Some(mapping) = node.as_mapping() else {
        findings.push(
            Diagnostic::error(
                Code::OBJECT_EXPECTED,
                &node.span,
                "a Kubernetes object must be a mapping",
            )
            .with_label(format!("this is {}", node.value.kind())),
        );
        return None;
    };
    let before = findings.len();
    if encrypted(mapping) {
        let span = mapping.item("sops").map_or(&node.span, |item| &item.key.span);
        findings.push(
            Diagnostic::error(
                Code::SOPS_DOCUMENT,
                span,
                "the document is encrypted with SOPS, which is not supported yet",
            )
            .with_help(
                "keep it out of the app's folder until it is (a name that starts with a dot is not read)",
            ),
        );
        return None;
    }
    misspelled(mapping, findings);
    let (version_from, kind_from) = item
        .from_list
        .as_ref()
        .map_or((None, None), |(version, kind)| (Some(version), Some(kind)));
    let api_version = text(
        node,
        mapping,
        "apiVersion",
        version_from,
        "`v1` or `apps/v1`",
        findings,
    );
    let kind = text(node, mapping, "kind", kind_from, "`Deployment`", findings);
    if api_version.as_deref() == Some("kustomize.config.k8s.io/v1beta1") {
        findings.push(
            Diagnostic::error(
                Code::OBJECT_EXPECTED,
                &node.span,
                "a kustomization is not an object of a cluster",
            )
            .with_help(
                "name the file kustomization.yaml in a folder of its own: it is then rendered with kustomize",
            ),
        );
        return None;
    }
    let metadata = metadata(node, mapping, kind.as_deref(), findings);
    let (api_version, kind) = (api_version?, kind?);
    if let Some(finding) = bad_version(mapping, &api_version) {
        findings.push(finding);
    }
    let metadata = metadata?;
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let name = name(metadata, group, &kind, findings);
    let namespace = namespace(metadata, findings);
    let annotations = texts(metadata, "annotations", findings);
    texts(metadata, "labels", findings);
    unsubstituted(node, group, &kind, findings);
    let name = name?;
    if findings
        .iter()
        .skip(before)
        .any(|one| one.severity == crate::document::Severity::Error)
    {
        return None;
    }
    let mut value = node.to_json();
    strip(&mut value);
    if let Json::Object(map) = &mut value {
        map.entry("apiVersion")
            .or_insert_with(|| api_version.clone().into());
        map.entry("kind").or_insert_with(|| kind.clone().into());
    }
    Some(Object {
        key: ObjectKey::new(group, &kind, namespace, name.0),
        api_version,
        value,
        name_span: name.1,
        annotations,
    })
}

/// SOPS writes its own key beside `apiVersion`, with the message authentication code of the whole.
fn encrypted(mapping: &Mapping) -> bool {
    mapping.get("sops").is_some_and(|sops| {
        ["mac", "version", "lastmodified"]
            .iter()
            .any(|key| sops.get(key).is_some())
    })
}

/// A required text at the top: what is written, or what the list says.
fn text(
    node: &Node,
    mapping: &Mapping,
    key: &str,
    from_list: Option<&String>,
    example: &str,
    findings: &mut Diagnostics,
) -> Option<String> {
    match mapping.get(key) {
        Some(value) if !value.is_null() => match value.as_str() {
            Some(text) if !text.is_empty() => Some(text.to_owned()),
            _ => {
                let message = format!("`{key}` must be text such as {example}");
                findings.push(
                    Diagnostic::error(Code::WRONG_TYPE, &value.span, message)
                        .with_label(format!("this is {}", value.value.kind())),
                );
                None
            }
        },
        _ => {
            if let Some(text) = from_list.filter(|text| !text.is_empty()) {
                return Some(text.clone());
            }
            let named = mapping
                .get("kind")
                .and_then(Node::as_str)
                .map_or_else(|| "the object".to_owned(), |kind| format!("the {kind}"));
            findings.push(
                Diagnostic::error(
                    Code::MISSING_FIELD,
                    &start(node),
                    format!("{named} needs `{key}`"),
                )
                .with_label(format!("`{key}` is missing here"))
                .with_help(format!("add `{key}`, for example {example}")),
            );
            None
        }
    }
}

/// The first key of an object: a whole document under a mark hides what is meant.
fn start(node: &Node) -> Span {
    node.as_mapping()
        .and_then(|mapping| mapping.iter().next())
        .map_or_else(|| node.span.clone(), |item| item.key.span.clone())
}

fn bad_version(mapping: &Mapping, version: &str) -> Option<Diagnostic> {
    let parts: Vec<&str> = version.split('/').collect();
    let good = match parts[..] {
        [version] => !version.is_empty(),
        [group, version] => names::is_subdomain(group) && !version.is_empty(),
        _ => false,
    };
    if good {
        return None;
    }
    let span = &mapping.get("apiVersion")?.span;
    Some(
        Diagnostic::error(
            Code::MALFORMED,
            span,
            format!("`{version}` is not an API version"),
        )
        .with_help("it is `v1`, or a group and a version such as `apps/v1`"),
    )
}

fn metadata<'n>(
    node: &'n Node,
    mapping: &'n Mapping,
    kind: Option<&str>,
    findings: &mut Diagnostics,
) -> Option<&'n Node> {
    let kind = kind.unwrap_or("object");
    let metadata = mapping.get("metadata").filter(|metadata| !metadata.is_null());
    let Some(metadata) = metadata else {
        // A misspelled one was reported already.
        if !mapping
            .keys()
            .any(|key| did_you_mean(key, ["metadata"]).is_some())
        {
            findings.push(
                Diagnostic::error(
                    Code::MISSING_FIELD,
                    &start(node),
                    format!("the {kind} needs `metadata.name`"),
                )
                .with_label("`metadata` is missing here")
                .with_help("add `metadata: { name: … }`"),
            );
        }
        return None;
    };
    let Some(fields) = metadata.as_mapping() else {
        findings.push(
            Diagnostic::error(Code::WRONG_TYPE, &metadata.span, "`metadata` must be a mapping")
                .with_label(format!("this is {}", metadata.value.kind())),
        );
        return None;
    };
    for item in fields {
        let key = item.key.value.as_str();
        if METADATA.contains(&key) {
            continue;
        }
        let mut finding = Diagnostic::error(
            Code::UNKNOWN_FIELD,
            &item.key.span,
            format!("unknown field `{key}` in `metadata` of the {kind}"),
        );
        match did_you_mean(
            key,
            METADATA.iter().copied().filter(|known| !SERVER.contains(known)),
        ) {
            Some(near) => finding = finding.with_label(format!("did you mean `{near}`?")),
            None => finding = finding.with_help("check the indentation: it may belong one level up or down"),
        }
        findings.push(finding);
    }
    Some(metadata)
}

/// The name and where it is written.
fn name<'n>(
    metadata: &'n Node,
    group: &str,
    kind: &str,
    findings: &mut Diagnostics,
) -> Option<(&'n str, &'n Span)> {
    let Some(node) = metadata.get("name").filter(|name| !name.is_null()) else {
        if let Some(generated) = metadata.get("generateName") {
            findings.push(
                Diagnostic::error(
                    Code::GENERATE_NAME,
                    &generated.span,
                    format!("the {kind} has `generateName`: every apply would create another one"),
                )
                .with_help(
                    "write `name`; for a Job of each release add the annotation `driftless.dev/hook: pre`",
                ),
            );
        } else {
            findings.push(
                Diagnostic::error(
                    Code::MISSING_FIELD,
                    &start(metadata),
                    format!("the {kind} needs `metadata.name`"),
                )
                .with_label("`name` is missing here"),
            );
        }
        return None;
    };
    let Some(name) = node.as_str() else {
        findings.push(not_text(node, "`metadata.name`"));
        return None;
    };
    if name.contains("${") {
        findings.push(substitution(node, name, true));
        return None;
    }
    if let Some(rule) = names::refused(group, kind, name) {
        findings.push(
            Diagnostic::error(
                Code::OBJECT_NAME,
                &node.span,
                format!("`{name}` is not a name of a {kind}"),
            )
            .with_help(format!("it may hold {rule}")),
        );
        return None;
    }
    Some((name, &node.span))
}

fn namespace<'n>(metadata: &'n Node, findings: &mut Diagnostics) -> Option<&'n str> {
    let node = metadata.get("namespace").filter(|node| !node.is_null())?;
    let Some(name) = node.as_str() else {
        findings.push(not_text(node, "`metadata.namespace`"));
        return None;
    };
    if name.contains("${") {
        findings.push(substitution(node, name, true));
    } else if !name.is_empty() && !names::is_label(name) {
        findings.push(
            Diagnostic::error(
                Code::OBJECT_NAME,
                &node.span,
                format!("`{name}` is not a name of a namespace"),
            )
            .with_help("it may hold lower-case letters, digits and `-`, 63 at most"),
        );
    }
    Some(name)
}

fn not_text(node: &Node, what: &str) -> Diagnostic {
    let finding = Diagnostic::error(Code::WRONG_TYPE, &node.span, format!("{what} must be text"))
        .with_label(format!("this is {}", node.value.kind()));
    match node.raw() {
        Some(_) => finding.with_help(
            "put it in quotes: kubectl reads `yes`, `on`, `1.0`, `0x1F` as other things than text",
        ),
        None => finding,
    }
}

/// Labels or annotations: text to text.
fn texts<'n>(metadata: &'n Node, key: &str, findings: &mut Diagnostics) -> Option<&'n Mapping> {
    let node = metadata.get(key).filter(|node| !node.is_null())?;
    let Some(mapping) = node.as_mapping() else {
        findings.push(
            Diagnostic::error(
                Code::WRONG_TYPE,
                &node.span,
                format!("`metadata.{key}` must be a mapping"),
            )
            .with_label(format!("this is {}", node.value.kind())),
        );
        return None;
    };
    for item in mapping {
        if item.value.as_str().is_none() && !item.value.is_null() {
            let what = format!("`{}` of `metadata.{key}`", item.key.value);
            findings.push(not_text(&item.value, &what));
        }
    }
    Some(mapping)
}

/// A top-level key that is surely a slip of a known one that is not there. Other kinds have other keys, so most of what is
/// unknown here is the API server's to judge.
fn misspelled(mapping: &Mapping, findings: &mut Diagnostics) {
    let built_in = mapping
        .get("apiVersion")
        .and_then(Node::as_str)
        .is_none_or(|version| {
            let group = version.split_once('/').map_or("", |(group, _)| group);
            !group.contains('.') || group.ends_with(".k8s.io")
        });
    let measured = if built_in {
        TOP
    } else {
        TOP.get(..3).unwrap_or(TOP)
    };
    for item in mapping {
        let key = item.key.value.as_str();
        if TOP.contains(&key) {
            continue;
        }
        let near = did_you_mean(
            key,
            measured.iter().copied().filter(|known| !mapping.contains(known)),
        );
        if let Some(near) = near {
            let message = format!("unknown field `{key}`");
            findings.push(
                Diagnostic::error(Code::UNKNOWN_FIELD, &item.key.span, message)
                    .with_label(format!("did you mean `{near}`?")),
            );
        }
    }
}

/// Warns of values that only Flux would replace. A script in a ConfigMap, a command or an environment has `${…}` of its own.
fn unsubstituted(node: &Node, group: &str, kind: &str, findings: &mut Diagnostics) {
    if group.is_empty() && matches!(kind, "ConfigMap" | "Secret") {
        return;
    }
    let mut waiting = vec![node];
    while let Some(node) = waiting.pop() {
        match &node.value {
            Value::String(text) if is_variable(text) => findings.push(substitution(node, text, false)),
            Value::Sequence(items) => waiting.extend(items),
            Value::Mapping(mapping) => waiting.extend(
                mapping
                    .iter()
                    .filter(|item| {
                        let own = ["command", "args", "env", "annotations", "name", "namespace"];
                        !own.contains(&item.key.value.as_str())
                    })
                    .map(|item| &item.value),
            ),
            _ => {}
        }
    }
}

/// `${NAME}` or `${NAME:=default}`, and nothing else.
fn is_variable(text: &str) -> bool {
    text.strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .and_then(|inner| inner.split([':', '=', '-']).next())
        .is_some_and(|name| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
}

fn substitution(node: &Node, text: &str, error: bool) -> Diagnostic {
    let message = format!("`{text}` is not substituted");
    let finding = if error {
        Diagnostic::error(Code::SUBSTITUTION, &node.span, message)
    } else {
        Diagnostic::warning(
            Code::SUBSTITUTION,
            &node.span,
            message + ": it is applied as it stands",
        )
    };
    finding.with_help(
        "variables of Flux (`postBuild.substitute`) are not supported yet; a kustomization can set the value",
    )
}

/// Takes away what only a server or a tool writes.
fn strip(value: &mut Json) {
    let Json::Object(map) = value else { return };
    map.remove("status");
    if let Some(Json::Object(metadata)) = map.get_mut("metadata") {
        metadata.retain(|key, _| !SERVER.contains(&key.as_str()));
        if let Some(Json::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.retain(|key, _| !WRITTEN_BY_TOOLS.contains(&key.as_str()));
        }
        // Go's clients read a null as an empty text; `label:` without a value is written often.
        for key in ["labels", "annotations"] {
            if let Some(Json::Object(texts)) = metadata.get_mut(key) {
                for text in texts.values_mut().filter(|text| text.is_null()) {
                    *text = Json::String(String::new());
                }
            }
        }
    }
    // `kubectl create --dry-run -o yaml` writes `creationTimestamp: null` into templates.
    for pointer in [
        "/spec/template/metadata",
        "/spec/jobTemplate/metadata",
        "/spec/jobTemplate/spec/template/metadata",
    ] {
        if let Some(Json::Object(metadata)) = value.pointer_mut(pointer)
            && metadata.get("creationTimestamp").is_some_and(Json::is_null)
        {
            metadata.remove("creationTimestamp");
        }
    }
}

/// The values that no text may show: what a Secret holds, decoded and as written.
pub fn secret_values(key: &ObjectKey, value: &Json) -> Vec<String> {
    if !(key.group.is_empty() && &*key.kind == "Secret") {
        return Vec::new();
    }
    let mut values = Vec::new();
    for (field, encoded) in [("data", true), ("stringData", false)] {
        let Some(Json::Object(map)) = value.get(field) else {
            continue;
        };
        for text in map.values().filter_map(Json::as_str) {
            values.push(text.to_owned());
            let decoded = encoded
                .then(|| base64::engine::general_purpose::STANDARD.decode(text.trim()).ok())
                .flatten()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            values.extend(decoded);
        }
    }
    values
}
