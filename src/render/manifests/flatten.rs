//! Documents → objects: `kind: List` and the typed lists are taken apart.
//!
//! In: a document's root. Out: its objects, lists inside of lists included. Guaranteed: an item of a typed list
//! (`ConfigMapList`) gets the version and kind that the list says, as the API server gives them. Must not: check objects.

use crate::document::{Code, Diagnostic, Diagnostics, Node};

/// One object, and what its list says of it.
pub struct Item<'n> {
    pub node: &'n Node,
    /// The list's `apiVersion` and the kind that its own names, for items that say nothing themselves.
    pub from_list: Option<(String, String)>,
}

/// The objects of a document. Nesting is bounded by the loader's depth.
pub fn objects<'n>(root: &'n Node, findings: &mut Diagnostics) -> Vec<Item<'n>> {
    let mut found = Vec::new();
    take(root, None, &mut found, findings);
    found
}

fn take<'n>(
    node: &'n Node,
    from_list: Option<(String, String)>,
    found: &mut Vec<Item<'n>>,
    findings: &mut Diagnostics,
) {
    let kind = node.get("kind").and_then(Node::as_str).unwrap_or_default();
    let Some(items) = node.get("items").filter(|_| kind.ends_with("List")) else {
        found.push(Item { node, from_list });
        return;
    };
    if items.is_null() {
        return;
    }
    let Some(items) = items.as_sequence() else {
        findings.push(
            Diagnostic::error(
                Code::WRONG_TYPE,
                &items.span,
                format!("`items` of a {kind} must be a list"),
            )
            .with_label(format!("this is {}", items.value.kind())),
        );
        return;
    };
    let version = node.get("apiVersion").and_then(Node::as_str).unwrap_or_default();
    let inner = kind.strip_suffix("List").filter(|inner| !inner.is_empty());
    let from_list = inner.map(|inner| (version.to_owned(), inner.to_owned()));
    for item in items {
        take(item, from_list.clone(), found, findings);
    }
}
