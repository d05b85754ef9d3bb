//! What every reader of a Compose file needs: the folder, the values, what came from outside, and short ways to report.
//!
//! In: one app's file and inputs. Out: [`Context`]. Guaranteed: a [`Text`] made here is secret exactly when decision 5 says
//! so. Must not: know keys.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::interpolate::{self, Fault, Variables};
use super::keys;
use crate::document::{
    Code, Diagnostic, Diagnostics, FieldRules, Fields, File, Mapping, Node, Span, Spanned, Value,
};
use crate::render::{Inputs, model::Tree};
use crate::secret::{Text, looks_secret};
use crate::source::{Checkout, RepoPath};

/// Shared by all readers of one app.
pub(super) struct Context<'a> {
    pub checkout: &'a Checkout,
    /// The folder of the Compose file.
    pub folder: RepoPath,
    pub app: &'a str,
    pub inputs: &'a Inputs,
    pub variables: Variables,
    /// Whether a `.env` that is not in Git lies beside the file.
    pub untracked_env: bool,
    /// Spans of scalars that a value from outside went into. Nodes that came through an alias share the span of their
    /// definition, and its expression.
    outside: RefCell<HashSet<(String, usize)>>,
    /// Outside values that were used.
    pub secrets: RefCell<BTreeSet<String>>,
    /// Files and folders that are bound.
    pub trees: RefCell<BTreeMap<String, Tree>>,
    undefined: RefCell<BTreeMap<String, Diagnostic>>,
    /// Scalars that could not be interpolated: what a reader says about their raw text means nothing.
    failed: RefCell<HashSet<(String, usize)>>,
}

impl<'a> Context<'a> {
    pub fn new(checkout: &'a Checkout, folder: RepoPath, app: &'a str, inputs: &'a Inputs) -> Self {
        Self {
            checkout,
            folder,
            app,
            inputs,
            variables: Variables::default(),
            untracked_env: inputs.untracked_env,
            outside: RefCell::default(),
            secrets: RefCell::default(),
            trees: RefCell::default(),
            undefined: RefCell::default(),
            failed: RefCell::default(),
        }
    }

    /// `node` with every text interpolated. `x-` keys of the user's are left alone, `x-driftless` is not.
    pub fn interpolated(&self, node: &Node, diagnostics: &mut Diagnostics) -> Node {
        match &node.value {
            Value::String(text) if interpolate::needed(text) => {
                match interpolate::interpolate(text, &self.variables) {
                    Ok(done) => {
                        if done.outside {
                            self.mark_outside(&node.span);
                        }
                        let mut changed = Node::string(done.text, node.span.clone());
                        changed.tag = node.tag;
                        changed
                    }
                    Err(fault) => {
                        self.report(fault, &node.span, text, diagnostics);
                        node.clone()
                    }
                }
            }
            Value::Sequence(items) => {
                let items = items
                    .iter()
                    .map(|item| self.interpolated(item, diagnostics))
                    .collect();
                with_value(node, Value::Sequence(items))
            }
            Value::Mapping(mapping) => {
                let mut done = Mapping::new();
                for item in mapping {
                    let key = item.key.value.as_str();
                    let value = if key.starts_with("x-") && key != "x-driftless" {
                        item.value.clone()
                    } else {
                        self.interpolated(&item.value, diagnostics)
                    };
                    done.insert(item.key.clone(), value);
                }
                with_value(node, Value::Mapping(done))
            }
            _ => node.clone(),
        }
    }

    /// Reports a fault at the expression itself where the source shows it. One undefined variable is one finding.
    pub fn report(&self, fault: Fault, span: &Span, text: &str, diagnostics: &mut Diagnostics) {
        self.failed
            .borrow_mut()
            .insert((span.file().name().to_owned(), span.start()));
        let expression = text.get(fault.at()).unwrap_or_default();
        let place = match span.text().find(expression).filter(|_| !expression.is_empty()) {
            Some(at) => span
                .file()
                .span(span.start() + at..span.start() + at + expression.len()),
            None => span.clone(),
        };
        match &fault {
            Fault::Undefined { name, .. } => {
                let mut undefined = self.undefined.borrow_mut();
                if let Some(first) = undefined.get_mut(name) {
                    if first.secondary.len() < 3 && first.span.as_ref() != Some(&place) {
                        first.secondary.push((place, "and here".to_owned()));
                    }
                    return;
                }
                let finding = Diagnostic::error(Code::VARIABLE_UNDEFINED, &place, fault.to_string())
                    .with_help(self.where_to_define(name));
                undefined.insert(name.clone(), finding);
            }
            Fault::Required { name, .. } => diagnostics.push(
                Diagnostic::error(Code::VARIABLE_REQUIRED, &place, fault.to_string())
                    .with_help(self.where_to_define(name)),
            ),
            Fault::Syntax { .. } => diagnostics.push(
                Diagnostic::error(Code::INTERPOLATION, &place, fault.to_string())
                    .with_help("a `$` that is meant to stay is written `$$`"),
            ),
        }
    }

    /// All findings, once all is read: with those about undefined variables, without those that only follow from them.
    pub fn conclude(&self, found: Diagnostics) -> Diagnostics {
        let failed = self.failed.borrow();
        let follows = |one: &Diagnostic| {
            let own = matches!(one.code, Code::VARIABLE_REQUIRED | Code::INTERPOLATION);
            let at = one
                .span
                .as_ref()
                .map(|span| (span.file().name().to_owned(), span.start()));
            !own && at.is_some_and(|at| failed.contains(&at))
        };
        let mut all: Diagnostics = found.into_iter().filter(|one| !follows(one)).collect();
        all.extend(std::mem::take(&mut *self.undefined.borrow_mut()).into_values());
        all
    }

    fn where_to_define(&self, name: &str) -> String {
        let app = self.app;
        let mut help = format!(
            "set it in `vars/{app}.env` beside config.yaml, or with --env-file; `${{{name}-}}` if it is empty on purpose"
        );
        if self.untracked_env {
            help.push_str("; a `.env` lies beside the file but is not in Git, so it is not read: `--env-file` can name it");
        }
        help
    }

    fn mark_outside(&self, span: &Span) {
        self.outside
            .borrow_mut()
            .insert((span.file().name().to_owned(), span.start()));
    }

    /// Whether a value from outside the commit went into the scalar at `span`.
    pub fn is_outside(&self, span: &Span) -> bool {
        let outside = self.outside.borrow();
        !outside.is_empty() && outside.contains(&(span.file().name().to_owned(), span.start()))
    }

    /// The value of a field called `name`, secret by origin, name or shape.
    pub fn text(&self, name: &str, value: &Spanned<String>) -> Text {
        self.text_of(name, value.value.clone(), self.is_outside(&value.span))
    }

    /// As [`Context::text`], where the origin is known.
    pub fn text_of(&self, name: &str, value: String, outside: bool) -> Text {
        let secret = (outside && !value.is_empty()) || looks_secret(name, &value);
        if secret {
            self.secrets.borrow_mut().insert(value.clone());
        }
        Text { value, secret }
    }

    /// The text of a scalar of a field called `name`; `None` for lists, mappings and null.
    pub fn node_text(&self, name: &str, node: &Node) -> Option<Text> {
        scalar(node).map(|value| self.text_of(name, value, self.is_outside(&node.span)))
    }

    /// Notes the values of plain fields that came from outside, so that the mask knows them.
    pub fn collect_outside(&self, node: &Node) {
        match &node.value {
            Value::Sequence(items) => items.iter().for_each(|item| self.collect_outside(item)),
            Value::Mapping(mapping) => mapping.iter().for_each(|item| self.collect_outside(&item.value)),
            Value::String(text) if self.is_outside(&node.span) => {
                self.secrets.borrow_mut().insert(text.clone());
            }
            _ => {}
        }
    }

    /// Where `line` of `file` is.
    pub fn line_span(file: &File, line: usize) -> Span {
        let start: usize = file
            .text()
            .split_inclusive('\n')
            .take(line.saturating_sub(1))
            .map(str::len)
            .sum();
        let length = file
            .text()
            .get(start..)
            .and_then(|rest| rest.lines().next())
            .map_or(0, str::len);
        file.span(start..start + length)
    }
}

/// The node with another value.
fn with_value(node: &Node, value: Value) -> Node {
    Node {
        value,
        span: node.span.clone(),
        tag: node.tag,
        scalar: None,
    }
}

/// A value that is spelled wrong.
pub(super) fn malformed(span: &Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code::MALFORMED, span, message)
}

/// A mapping read as `what`, after its keys were held against `table`.
pub(super) fn fields<'n, 'd>(
    node: &'n Node,
    what: &str,
    table: &'static [(&'static str, keys::Fate)],
    diagnostics: &'d mut Diagnostics,
) -> Option<Fields<'n, 'd>> {
    if let Value::Mapping(mapping) = &node.value {
        keys::check(mapping, what, table, diagnostics);
    }
    Fields::of(node, what, &FieldRules::COMPOSE, diagnostics)
}

/// `key` as text that `parse` understands; what it doesn't is reported with `expected`.
pub(super) fn parsed<T>(
    fields: &mut Fields<'_, '_>,
    key: &'static str,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let text = fields.text(key)?;
    let value = parse(&text.value);
    if value.is_none() {
        let message = format!("`{key}` of {} is not {expected}: {:?}", fields.what(), text.value);
        fields.diagnostics().push(malformed(&text.span, message));
    }
    value
}

/// A scalar as a container gets it. Compose hands over typed values, not their spelling: `1.10` becomes `1.1`, `0644`
/// becomes `420`. People are right to quote such values; being different from `docker compose up` would help nobody.
pub(super) fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(go_float(*number, node.raw())),
        _ => node.as_text(),
    }
}

/// Go's `%v`: the shortest text that reads back, with an exponent below 1e-4 and from 1e21 on.
fn go_float(number: f64, raw: Option<&str>) -> String {
    if let Some(raw) =
        raw.filter(|raw| raw.bytes().all(|byte| byte.is_ascii_digit()) && !raw.starts_with('0'))
    {
        // An unsigned number beyond 63 bits.
        return raw.to_owned();
    }
    let size = number.abs();
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 {
            "+Inf".to_owned()
        } else {
            "-Inf".to_owned()
        }
    } else if size == 0.0 || (1e-4..1e21).contains(&size) {
        number.to_string()
    } else {
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent
            .strip_prefix('-')
            .map_or(('+', exponent), |digits| ('-', digits));
        format!("{mantissa}e{sign}{digits:0>2}")
    }
}

/// A mapping of names to texts, or a list of `name=value`; values may be null or absent. The span is the value's.
pub(super) fn pairs<'n>(
    fields: &mut Fields<'n, '_>,
    key: &'static str,
) -> Vec<(Spanned<String>, Option<String>, &'n Node)> {
    let Some(node) = fields.node(key) else {
        return Vec::new();
    };
    let mut done = Vec::new();
    match &node.value {
        Value::Mapping(mapping) => {
            for item in mapping {
                match &item.value.value {
                    Value::Null => done.push((item.key.clone(), None, &item.value)),
                    Value::Sequence(_) | Value::Mapping(_) => {
                        fields.wrong(
                            &format!("{key}.{}", item.key.value),
                            "text, a number or a boolean",
                            &item.value,
                        );
                    }
                    _ => done.push((item.key.clone(), scalar(&item.value), &item.value)),
                }
            }
        }
        Value::Sequence(items) => {
            for item in items {
                let Some(text) = item.as_text() else {
                    fields.wrong(key, "a list of `name=value`", item);
                    continue;
                };
                let (name, value) = match text.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (text, None),
                };
                done.push((Spanned::new(name, item.span.clone()), value, item));
            }
        }
        _ => fields.wrong(key, "a mapping or a list of `name=value`", node),
    }
    done
}

/// A mapping (or list) of names to text, absent values as empty text.
pub(super) fn string_map(fields: &mut Fields<'_, '_>, key: &'static str) -> BTreeMap<String, String> {
    pairs(fields, key)
        .into_iter()
        .map(|(name, value, _)| (name.value, value.unwrap_or_default()))
        .collect()
}

/// A mapping (or list) of names to [`Text`].
pub(super) fn text_map(
    cx: &Context<'_>,
    fields: &mut Fields<'_, '_>,
    key: &'static str,
) -> BTreeMap<String, Text> {
    pairs(fields, key)
        .into_iter()
        .map(|(name, value, node)| {
            let text = cx.text_of(&name.value, value.unwrap_or_default(), cx.is_outside(&node.span));
            (name.value, text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_handed_over_as_compose_does() {
        for (raw, text) in [
            ("1.10", "1.1"),
            ("0644", "420"),
            ("1_000", "1000"),
            ("0x1F", "31"),
            ("1e3", "1000"),
            ("1e21", "1e+21"),
            ("1e-5", "1e-05"),
            ("18446744073709551615", "18446744073709551615"),
            ("true", "true"),
            ("1.2.3", "1.2.3"),
        ] {
            let node = Node::string("", File::new("x", raw).whole());
            let mut node = node;
            node.scalar = Some(crate::document::Scalar {
                raw: raw.into(),
                style: crate::document::Style::Plain,
            });
            let node = node.with_text(raw, crate::document::Dialect::Compose);
            assert_eq!(scalar(&node).as_deref(), Some(text), "{raw}");
        }
    }
}
