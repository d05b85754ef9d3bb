//! Reading a mapping key by key, exactly: every key is either read, known, `x-…`, or an error.
//!
//! In: a mapping, the [`FieldRules`] of its file. Out: values with their places, and findings. Guaranteed: a wrong type, a
//! missing key and an unknown key are each reported with place and next step, all of them, not only the first.
//! Must not: know any particular key.
//!
//! ```ignore
//! let mut service = Fields::of(node, "service `web`", &FieldRules::COMPOSE, &mut diagnostics)?;
//! let image = service.string("image");
//! let replicas = service.nested("deploy", "`deploy`", |deploy| deploy.int("replicas")).flatten();
//! service.finish(&["build"]);
//! ```

use std::collections::HashSet;

use super::codes::Code;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::node::{Item, Mapping, Node, Value};
use super::place::{Span, Spanned};

/// The codes to report with, and how strict types are.
#[derive(Debug, Clone, Copy)]
pub struct FieldRules {
    /// For a key that is not known.
    pub unknown: Code,
    /// For a value of the wrong type.
    pub wrong_type: Code,
    /// For a key that must be there.
    pub missing: Code,
    /// For a word that is not on a key's list.
    pub not_allowed: Code,
    /// Whether text that spells a number or a boolean counts as one, as `docker compose` casts after interpolation
    /// (`replicas: "3"`).
    pub casts: bool,
}

impl FieldRules {
    /// Compose files.
    pub const COMPOSE: Self = Self {
        unknown: Code::UNKNOWN_FIELD,
        wrong_type: Code::WRONG_TYPE,
        missing: Code::MISSING_FIELD,
        not_allowed: Code::NOT_ALLOWED,
        casts: true,
    };
    /// `driftless.yaml` and `config.yaml`.
    pub const SETTINGS: Self = Self {
        unknown: Code::SETTING_UNKNOWN,
        wrong_type: Code::SETTING_WRONG_TYPE,
        missing: Code::SETTING_MISSING,
        not_allowed: Code::SETTING_NOT_ALLOWED,
        casts: false,
    };
}

/// One mapping being read. A key whose value is null counts as read and absent.
pub struct Fields<'a, 'd> {
    mapping: &'a Mapping,
    span: &'a Span,
    what: String,
    rules: &'d FieldRules,
    read: HashSet<&'static str>,
    diagnostics: &'d mut Diagnostics,
}

impl<'a, 'd> Fields<'a, 'd> {
    /// Reads `node`, which `what` names in messages (``service `web` ``). Reports and gives `None` if it is no mapping.
    pub fn of(
        node: &'a Node,
        what: impl Into<String>,
        rules: &'d FieldRules,
        diagnostics: &'d mut Diagnostics,
    ) -> Option<Self> {
        let what = what.into();
        match &node.value {
            Value::Mapping(mapping) => Some(Self::new(mapping, &node.span, what, rules, diagnostics)),
            _ => {
                diagnostics.push(wrong_type(rules, &what, "a mapping", node));
                None
            }
        }
    }

    /// Reads the value of `item`; what is missing is reported at its key.
    pub fn of_item(
        item: &'a Item,
        what: impl Into<String>,
        rules: &'d FieldRules,
        diagnostics: &'d mut Diagnostics,
    ) -> Option<Self> {
        let mut fields = Self::of(&item.value, what, rules, diagnostics)?;
        fields.span = &item.key.span;
        Some(fields)
    }

    /// Reads `mapping`, written at `span`.
    pub fn new(
        mapping: &'a Mapping,
        span: &'a Span,
        what: impl Into<String>,
        rules: &'d FieldRules,
        diagnostics: &'d mut Diagnostics,
    ) -> Self {
        Self {
            mapping,
            span,
            what: what.into(),
            rules,
            read: HashSet::new(),
            diagnostics,
        }
    }

    /// What the mapping is called in messages.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Where the mapping is, or its key if it was read with [`Fields::of_item`].
    pub fn span(&self) -> &'a Span {
        self.span
    }

    /// Where `key` is written, or the mapping if it is not there.
    pub fn key_span(&self, key: &str) -> &'a Span {
        self.mapping.item(key).map_or(self.span, |item| &item.key.span)
    }

    /// The findings, to add one.
    pub fn diagnostics(&mut self) -> &mut Diagnostics {
        self.diagnostics
    }

    /// Whether `key` is written, null or not. Does not count as reading it.
    pub fn has(&self, key: &str) -> bool {
        self.mapping.contains(key)
    }

    /// The node of `key`, whatever it is, null included.
    pub fn raw(&mut self, key: &'static str) -> Option<&'a Node> {
        self.read.insert(key);
        self.mapping.get(key)
    }

    /// The node of `key` unless it is null.
    pub fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        self.raw(key).filter(|node| !node.is_null())
    }

    /// The node of `key`; its absence is reported.
    pub fn required(&mut self, key: &'static str) -> Option<&'a Node> {
        let node = self.node(key);
        if node.is_none() {
            let missing = Diagnostic::error(
                self.rules.missing,
                self.span,
                format!("{} needs `{key}`", self.what),
            );
            self.diagnostics
                .push(missing.with_label(format!("`{key}` is missing here")));
        }
        node
    }

    /// Text, and nothing else.
    pub fn string(&mut self, key: &'static str) -> Option<Spanned<String>> {
        let node = self.node(key)?;
        let text = node.as_str().map(str::to_owned);
        self.checked(key, "text", node, text)
    }

    /// Text that must be there.
    pub fn required_string(&mut self, key: &'static str) -> Option<Spanned<String>> {
        self.required(key)?;
        self.string(key)
    }

    /// Text, or a number or boolean as it is spelled.
    pub fn text(&mut self, key: &'static str) -> Option<Spanned<String>> {
        let node = self.node(key)?;
        self.checked(key, "text", node, node.as_text())
    }

    /// A boolean.
    pub fn bool(&mut self, key: &'static str) -> Option<Spanned<bool>> {
        let node = self.node(key)?;
        let cast = node.as_str().filter(|_| self.rules.casts).and_then(spelled_bool);
        self.checked(key, "true or false", node, node.as_bool().or(cast))
    }

    /// A whole number.
    pub fn int(&mut self, key: &'static str) -> Option<Spanned<i64>> {
        let node = self.node(key)?;
        let cast = node
            .as_str()
            .filter(|_| self.rules.casts)
            .and_then(|text| text.trim().parse().ok());
        self.checked(key, "a whole number", node, node.as_int().or(cast))
    }

    /// A whole number within `range`.
    pub fn int_in(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<Spanned<i64>> {
        let number = self.int(key)?;
        if range.contains(&number.value) {
            return Some(number);
        }
        let message = format!(
            "`{key}` of {} must be between {} and {}",
            self.what,
            range.start(),
            range.end()
        );
        self.diagnostics
            .push(Diagnostic::error(self.rules.not_allowed, &number.span, message));
        None
    }

    /// Any number.
    pub fn float(&mut self, key: &'static str) -> Option<Spanned<f64>> {
        let node = self.node(key)?;
        let cast = node
            .as_str()
            .filter(|_| self.rules.casts)
            .and_then(|text| text.trim().parse::<f64>().ok());
        self.checked(
            key,
            "a number",
            node,
            node.as_float().or(cast.filter(|number| number.is_finite())),
        )
    }

    /// One of a fixed set of words.
    pub fn word(&mut self, key: &'static str, allowed: &[&'static str]) -> Option<Spanned<&'static str>> {
        let text = self.text(key)?;
        if let Some(word) = allowed.iter().find(|word| **word == text.value) {
            return Some(Spanned::new(word, text.span));
        }
        // After interpolation the value can be an operator's secret: what the file says is shown instead.
        let written = text.span.text();
        let shown = if written.contains(text.value.as_str()) {
            text.value.as_str()
        } else {
            written
        };
        let message = format!("`{key}` of {} cannot be `{shown}`", self.what);
        let mut finding = Diagnostic::error(self.rules.not_allowed, &text.span, message);
        if let Some(near) = did_you_mean(&text.value, allowed.iter().copied()) {
            finding = finding.with_label(format!("did you mean `{near}`?"));
        }
        self.diagnostics
            .push(finding.with_note(format!("allowed: {}", allowed.join(", "))));
        None
    }

    /// A list's items.
    pub fn sequence(&mut self, key: &'static str) -> Option<&'a [Node]> {
        let node = self.node(key)?;
        if node.as_sequence().is_none() {
            self.wrong(key, "a list", node);
        }
        node.as_sequence()
    }

    /// A mapping and the node that holds it.
    pub fn mapping(&mut self, key: &'static str) -> Option<(&'a Mapping, &'a Node)> {
        let node = self.node(key)?;
        if node.as_mapping().is_none() {
            self.wrong(key, "a mapping", node);
        }
        node.as_mapping().map(|mapping| (mapping, node))
    }

    /// A list of texts; numbers and booleans count as they are spelled.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<Spanned<String>>> {
        let items = self.sequence(key)?;
        Some(
            items
                .iter()
                .filter_map(|item| self.checked(key, "a list of text", item, item.as_text()))
                .collect(),
        )
    }

    /// One text or a list of texts.
    pub fn text_or_texts(&mut self, key: &'static str) -> Option<Vec<Spanned<String>>> {
        let node = self.node(key)?;
        if matches!(node.value, Value::Sequence(_)) {
            return self.texts(key);
        }
        self.checked(key, "text or a list of text", node, node.as_text())
            .map(|one| vec![one])
    }

    /// Reads the mapping under `key` with `read`, then reports its unknown keys. `what` names it in messages.
    pub fn nested<T>(
        &mut self,
        key: &'static str,
        what: impl Into<String>,
        read: impl FnOnce(&mut Fields<'a, '_>) -> T,
    ) -> Option<T> {
        self.node(key)?;
        let mut inner = Fields::of_item(self.mapping.item(key)?, what, self.rules, self.diagnostics)?;
        let value = read(&mut inner);
        inner.finish(&[]);
        Some(value)
    }

    /// All items, for mappings whose keys are the user's (labels, services). Nothing is unknown then.
    pub fn items(&self) -> std::slice::Iter<'a, Item> {
        self.mapping.iter()
    }

    /// Reports the value of `key` as wrong.
    pub fn wrong(&mut self, key: &str, expected: &str, node: &Node) {
        let what = format!("`{key}` of {}", self.what);
        self.diagnostics
            .push(wrong_type(self.rules, &what, expected, node));
    }

    /// Reports every key that was neither read nor is `known`. Keys that start with `x-` are the user's.
    pub fn finish(self, known: &[&'static str]) {
        for item in self.mapping {
            let key = item.key.value.as_str();
            if self.read.contains(key) || known.contains(&key) || key.starts_with("x-") {
                continue;
            }
            let message = format!("unknown field `{key}` in {}", self.what);
            let mut finding = Diagnostic::error(self.rules.unknown, &item.key.span, message);
            let candidates = self.read.iter().copied().chain(known.iter().copied());
            if let Some(near) = did_you_mean(key, candidates) {
                finding = finding.with_label(format!("did you mean `{near}`?"));
            }
            self.diagnostics.push(finding);
        }
    }

    fn checked<T>(&mut self, key: &str, expected: &str, node: &Node, value: Option<T>) -> Option<Spanned<T>> {
        if value.is_none() {
            self.wrong(key, expected, node);
        }
        value.map(|value| Spanned::new(value, node.span.clone()))
    }
}

fn wrong_type(rules: &FieldRules, what: &str, expected: &str, node: &Node) -> Diagnostic {
    Diagnostic::error(rules.wrong_type, &node.span, format!("{what} must be {expected}"))
        .with_label(format!("this is {}", node.value.kind()))
}

/// compose-go's `toBoolean`.
fn spelled_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "y" | "yes" | "on" => Some(true),
        "false" | "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// The candidate that `word` most likely was meant to be, if one is near enough.
pub fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = word.to_lowercase();
    let allowed = (lower.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter(|candidate| *candidate != word)
        .map(|candidate| (strsim::osa_distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        // The name breaks ties, so that the order of a set does not show.
        .min()
        .map(|(_, candidate)| candidate)
}
