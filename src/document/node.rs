//! The tree: values that know where they were written and what their text was.
//!
//! In: what the loader builds, or a render step that rewrites it. Out: [`Node`], [`Mapping`]. Guaranteed: a mapping keeps
//! its order and has each key once; a scalar keeps its text. Must not: know what any key means.

use super::place::{Span, Spanned};
use super::scalar::{Dialect, Style, resolve};

/// A tag that means something to a later stage. The core tags (`!!str` …) are applied by the loader; others are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tag {
    /// `!reset`: take away what an earlier file said.
    Reset,
    /// `!override`: put this in the place of what an earlier file said, instead of merging.
    Override,
}

/// How a scalar was written, kept beside its value so that it can be typed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// Its text after unescaping and folding, before typing.
    pub raw: String,
    /// Its quotes.
    pub style: Style,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing: `~`, `null`, or no text at all.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number that fits 64 bits; its spelling is in [`Node::raw`].
    Int(i64),
    /// Any other number; its spelling is in [`Node::raw`].
    Float(f64),
    /// Text.
    String(String),
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping.
    Mapping(Mapping),
}

impl Value {
    /// What it is, for messages: `a number`, `a list` …
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::String(_) => "text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

/// A value and where it was written. Nodes that came through an alias or a merge key point to their definition.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it holds.
    pub value: Value,
    /// Where it was written.
    pub span: Span,
    /// A tag for a later stage.
    pub tag: Option<Tag>,
    /// How it was written; `None` for lists and mappings.
    pub scalar: Option<Scalar>,
}

impl Node {
    /// A list or mapping, or a value that nobody wrote (a default).
    pub fn new(value: Value, span: Span) -> Self {
        Self {
            value,
            span,
            tag: None,
            scalar: None,
        }
    }

    /// Text that is to stay text.
    pub fn string(text: impl Into<String>, span: Span) -> Self {
        let text = text.into();
        let scalar = Some(Scalar {
            raw: text.clone(),
            style: Style::DoubleQuoted,
        });
        Self {
            value: Value::String(text),
            span,
            tag: None,
            scalar,
        }
    }

    /// The same scalar with another text, typed anew: for interpolation.
    #[must_use]
    pub fn with_text(&self, raw: impl Into<String>, dialect: Dialect) -> Self {
        let (raw, style) = (raw.into(), self.style().unwrap_or(Style::Plain));
        let value = resolve(&raw, style, dialect);
        Self {
            value,
            span: self.span.clone(),
            tag: self.tag,
            scalar: Some(Scalar { raw, style }),
        }
    }

    /// A scalar's text before typing (`"1.0"` of `1.0`). `None` for lists, mappings and values that nobody wrote.
    pub fn raw(&self) -> Option<&str> {
        self.scalar.as_ref().map(|scalar| scalar.raw.as_str())
    }

    /// A scalar's quotes.
    pub fn style(&self) -> Option<Style> {
        self.scalar.as_ref().map(|scalar| scalar.style)
    }

    /// Whether it holds nothing.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = &self.value {
            Some(text)
        } else {
            None
        }
    }

    /// The text of any scalar but null: a string's own, else as it was spelled (`1.10` stays `1.10`).
    pub fn as_text(&self) -> Option<String> {
        match &self.value {
            Value::String(text) => Some(text.clone()),
            Value::Bool(value) => Some(self.raw().map_or_else(|| value.to_string(), str::to_owned)),
            Value::Int(value) => Some(self.raw().map_or_else(|| value.to_string(), str::to_owned)),
            Value::Float(value) => Some(self.raw().map_or_else(|| value.to_string(), str::to_owned)),
            Value::Null | Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// A boolean's value.
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(value) = self.value {
            Some(value)
        } else {
            None
        }
    }

    /// A whole number's value.
    pub fn as_int(&self) -> Option<i64> {
        if let Value::Int(value) = self.value {
            Some(value)
        } else {
            None
        }
    }

    /// Any number's value.
    pub fn as_float(&self) -> Option<f64> {
        match self.value {
            #[expect(clippy::cast_precision_loss, reason = "the caller asked for a float")]
            Value::Int(value) => Some(value as f64),
            Value::Float(value) => Some(value),
            _ => None,
        }
    }

    /// A list's items.
    pub fn as_sequence(&self) -> Option<&[Node]> {
        if let Value::Sequence(items) = &self.value {
            Some(items)
        } else {
            None
        }
    }

    /// A mapping.
    pub fn as_mapping(&self) -> Option<&Mapping> {
        if let Value::Mapping(mapping) = &self.value {
            Some(mapping)
        } else {
            None
        }
    }

    /// The value of `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_mapping()?.get(key)
    }

    /// The node at `path`: keys of mappings, indices of lists.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        let mut node = self;
        for step in path {
            node = match &node.value {
                Value::Mapping(mapping) => mapping.get(step)?,
                Value::Sequence(items) => items.get(step.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(node)
    }

    /// The tree without places, for schemas, digests and requests. Numbers JSON cannot hold (`.inf`, `.nan`) become text.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Float(value) => float_to_json(*value)
                .unwrap_or_else(|| Json::String(self.raw().map_or_else(|| value.to_string(), str::to_owned))),
            Value::String(text) => Json::String(text.clone()),
            Value::Sequence(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Mapping(mapping) => Json::Object(
                mapping
                    .iter()
                    .map(|item| (item.key.value.clone(), item.value.to_json()))
                    .collect(),
            ),
        }
    }
}

/// Whole floats become integers, as Go's JSON encoder writes them (`1.0` → `1`, `08` → `8`).
fn float_to_json(value: f64) -> Option<serde_json::Value> {
    /// Below 2^63, so that the integer holds it.
    const LIMIT: f64 = 9.2e18;
    if value.fract() == 0.0 && value.abs() < LIMIT {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and within range")]
        return Some(serde_json::Value::from(value as i64));
    }
    serde_json::Number::from_f64(value).map(serde_json::Value::Number)
}

/// One key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The key and where it was written.
    pub key: Spanned<String>,
    /// Its value.
    pub value: Node,
}

/// A mapping in the order it was written. A key is in it once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mapping {
    items: Vec<Item>,
}

impl Mapping {
    /// An empty mapping.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes items whose keys are known to differ.
    pub(super) fn from_distinct(items: Vec<Item>) -> Self {
        Self { items }
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.item(key).map(|item| &item.value)
    }

    /// The value of `key`, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.items
            .iter_mut()
            .find(|item| item.key.value == key)
            .map(|item| &mut item.value)
    }

    /// The key with its place, and its value.
    pub fn item(&self, key: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.key.value == key)
    }

    /// Whether `key` is in it.
    pub fn contains(&self, key: &str) -> bool {
        self.item(key).is_some()
    }

    /// Sets `key`: in its old position if it was there, else at the end. Returns what was there.
    pub fn insert(&mut self, key: Spanned<String>, value: Node) -> Option<Node> {
        match self.items.iter_mut().find(|item| item.key.value == key.value) {
            Some(item) => {
                item.key = key;
                Some(std::mem::replace(&mut item.value, value))
            }
            None => {
                self.items.push(Item { key, value });
                None
            }
        }
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &str) -> Option<Item> {
        let at = self.items.iter().position(|item| item.key.value == key)?;
        Some(self.items.remove(at))
    }

    /// All items in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Item> {
        self.items.iter()
    }

    /// All items in order, to change their values.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Item> {
        self.items.iter_mut()
    }

    /// All keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.items.iter().map(|item| item.key.value.as_str())
    }

    /// How many keys.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it has no key.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl<'a> IntoIterator for &'a Mapping {
    type Item = &'a Item;
    type IntoIter = std::slice::Iter<'a, Item>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl IntoIterator for Mapping {
    type Item = Item;
    type IntoIter = std::vec::IntoIter<Item>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}
