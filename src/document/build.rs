//! Events → tree.
//!
//! In: the parser's events for one file. Out: its documents, or findings. Guaranteed: every budget is checked before the
//! memory is taken; no recursion. Must not: read text itself, except to place a mark.

use std::collections::HashMap;

use base64::Engine as _;
use granit_parser::{ErrorKind, Event, ScalarStyle, ScanError};

use super::codes::Code;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::load::{Budget, Document};
use super::node::{Item, Mapping, Node, Scalar, Tag, Value};
use super::place::{File, Span, Spanned};
use super::scalar::{Dialect, Style, resolve};

/// A budget is used up, or there are enough findings: reading ends.
pub(super) struct Stop;

/// A node with what copying it costs.
#[derive(Clone)]
struct Built {
    node: Node,
    size: usize,
    height: usize,
}

/// What the next node of a mapping will be.
enum Next {
    Key,
    Value(Spanned<String>),
    Merge(Span),
    /// The value of a key that was refused.
    Ignored,
}

enum Kind {
    Sequence(Vec<Node>),
    Mapping {
        items: Vec<Item>,
        keys: HashMap<String, Span>,
        next: Next,
        merge: Option<(usize, Vec<Mapping>)>,
    },
}

struct Frame {
    kind: Kind,
    start: granit_parser::Span,
    flow: bool,
    end: usize,
    anchor: usize,
    tag: Option<Tag>,
    size: usize,
    height: usize,
}

pub(super) struct Builder<'f> {
    file: &'f File,
    dialect: Dialect,
    budget: Budget,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Built>,
    root: Option<Node>,
    documents: Vec<Document>,
    index: usize,
    nodes: usize,
    alias_nodes: usize,
    findings: Diagnostics,
}

impl<'f> Builder<'f> {
    pub(super) fn new(file: &'f File, dialect: Dialect, budget: Budget) -> Self {
        Self {
            file,
            dialect,
            budget,
            frames: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            documents: Vec::new(),
            index: 0,
            nodes: 0,
            alias_nodes: 0,
            findings: Diagnostics::new(),
        }
    }

    pub(super) fn finish(self) -> Result<Vec<Document>, Diagnostics> {
        self.findings
            .into_result(self.documents)
            .map(|(documents, _)| documents)
    }

    pub(super) fn full(&self) -> bool {
        self.findings.len() >= self.budget.findings
    }

    fn report(&mut self, finding: Diagnostic) -> Result<(), Stop> {
        self.findings.push(finding);
        if self.full() { Err(Stop) } else { Ok(()) }
    }

    fn span(&self, at: &granit_parser::Span) -> Span {
        let range = at.byte_range().unwrap_or(0..0);
        // Block scalars end after their last line break.
        let text = self.file.text().get(range.clone()).unwrap_or_default();
        let end = range.start
            + text
                .trim_end_matches(['\n', '\r', ' ', '\t'])
                .len()
                .max(usize::from(!text.is_empty()));
        self.span_from(at.start, range.start, end.min(range.end))
    }

    fn span_from(&self, mark: granit_parser::Marker, start: usize, end: usize) -> Span {
        Span::new(self.file, start..end, mark.line(), mark.col() + 1)
    }

    /// A block list at the indentation of its key is announced at its first item; it begins at the dash.
    fn begin_at_dash(&self, span: Span) -> Span {
        let before = self.file.text().get(..span.start()).unwrap_or_default();
        let blank = before.len() - before.trim_end_matches(' ').len();
        if blank == 0 || span.text().starts_with('-') || !before.trim_end_matches(' ').ends_with('-') {
            return span;
        }
        let column = (span.column() as usize).saturating_sub(blank + 1);
        Span::new(
            self.file,
            span.start() - blank - 1..span.end(),
            span.line() as usize,
            column,
        )
    }

    pub(super) fn event(&mut self, event: Event<'_>, at: &granit_parser::Span) -> Result<(), Stop> {
        match event {
            Event::DocumentStart(..) => {
                self.frames.clear();
                self.anchors.clear();
                self.root = None;
            }
            Event::DocumentEnd => {
                if let Some(root) = self.root.take().filter(|root| !root.is_null()) {
                    self.documents.push(Document {
                        index: self.index,
                        root,
                    });
                }
                self.index += 1;
            }
            Event::Scalar(raw, style, anchor, tag) => {
                let span = self.span(at);
                self.count(1, &span)?;
                let node = self.scalar(&raw, style, tag.as_deref(), at, span)?;
                self.place(
                    Built {
                        node,
                        size: 1,
                        height: 1,
                    },
                    anchor,
                )?;
            }
            Event::SequenceStart(style, anchor, tag) => {
                let kind = Kind::Sequence(Vec::new());
                self.open(
                    kind,
                    style == granit_parser::StructureStyle::Flow,
                    anchor,
                    tag.as_deref(),
                    at,
                )?;
            }
            Event::MappingStart(style, anchor, tag) => {
                let kind = Kind::Mapping {
                    items: Vec::new(),
                    keys: HashMap::new(),
                    next: Next::Key,
                    merge: None,
                };
                self.open(
                    kind,
                    style == granit_parser::StructureStyle::Flow,
                    anchor,
                    tag.as_deref(),
                    at,
                )?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(at)?,
            Event::Alias(id) => self.alias(id, at)?,
            Event::UnresolvedAlias(name) => {
                let span = self.span(at);
                let finding = Diagnostic::error(
                    Code::ALIAS_UNKNOWN,
                    &span,
                    format!("no anchor `&{name}` before this alias"),
                )
                .with_help(format!("quote it if it is text: \"*{name}\""));
                self.report(finding)?;
                self.place(
                    Built {
                        node: Node::new(Value::Null, span),
                        size: 1,
                        height: 1,
                    },
                    0,
                )?;
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, span: &Span) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= self.budget.nodes {
            return Ok(());
        }
        let message = format!("the file holds more than {} values", self.budget.nodes);
        self.findings
            .push(Diagnostic::error(Code::TOO_MANY_NODES, span, message).with_help("split the file"));
        Err(Stop)
    }

    fn copy(&mut self, nodes: usize, span: &Span) -> Result<(), Stop> {
        self.alias_nodes = self.alias_nodes.saturating_add(nodes);
        if self.alias_nodes <= self.budget.alias_nodes {
            return Ok(());
        }
        let message = format!(
            "anchors and aliases copy more than {} values",
            self.budget.alias_nodes
        );
        self.findings
            .push(Diagnostic::error(Code::ALIAS_BUDGET, span, message));
        Err(Stop)
    }

    fn deep(&mut self, levels: usize, span: &Span) -> Result<(), Stop> {
        if self.frames.len().saturating_add(levels) <= self.budget.depth {
            return Ok(());
        }
        let message = format!("values are nested more than {} levels deep", self.budget.depth);
        self.findings
            .push(Diagnostic::error(Code::TOO_DEEP, span, message));
        Err(Stop)
    }

    fn open(
        &mut self,
        kind: Kind,
        flow: bool,
        anchor: usize,
        tag: Option<&granit_parser::Tag>,
        at: &granit_parser::Span,
    ) -> Result<(), Stop> {
        let span = self.span(at);
        self.count(1, &span)?;
        self.deep(1, &span)?;
        let wanted = if matches!(kind, Kind::Sequence(_)) {
            "seq"
        } else {
            "map"
        };
        let tag = match tag.map(|tag| self.known(tag)) {
            None | Some(Known::NonSpecific) => None,
            Some(Known::Ours(tag)) => Some(tag),
            Some(Known::Core(suffix)) if suffix == wanted => None,
            Some(Known::Core(suffix)) => {
                self.mismatch(
                    &suffix,
                    if wanted == "seq" { "a list" } else { "a mapping" },
                    &span,
                )?;
                None
            }
            Some(Known::No(text)) => {
                self.unknown_tag(&text, at, &span)?;
                None
            }
        };
        let end = span.end();
        self.frames.push(Frame {
            kind,
            start: *at,
            flow,
            end,
            anchor,
            tag,
            size: 1,
            height: 1,
        });
        Ok(())
    }

    fn close(&mut self, at: &granit_parser::Span) -> Result<(), Stop> {
        let Some(frame) = self.frames.pop() else {
            return Ok(());
        };
        let end = if frame.flow {
            at.byte_range().map_or(frame.end, |range| range.end)
        } else {
            frame.end
        };
        let start = frame.start.byte_range().map_or(0, |range| range.start);
        let mut span = self.span_from(frame.start.start, start, end.max(start));
        if !frame.flow && matches!(frame.kind, Kind::Sequence(_)) {
            span = self.begin_at_dash(span);
        }
        let value = match frame.kind {
            Kind::Sequence(items) => Value::Sequence(items),
            Kind::Mapping {
                mut items,
                mut keys,
                merge,
                ..
            } => {
                if let Some((position, sources)) = merge {
                    if self.dialect == Dialect::Kubectl {
                        // Against the letter of YAML, `kubectl` (yaml.v2) lets a merge win over keys written before it.
                        override_earlier(&mut items, position, &sources);
                    }
                    // A written key wins over a merged one, an earlier merged mapping over a later one.
                    let mut merged = Vec::new();
                    for item in sources.into_iter().flatten() {
                        if !keys.contains_key(&item.key.value) {
                            keys.insert(item.key.value.clone(), item.key.span.clone());
                            merged.push(item);
                        }
                    }
                    items.splice(position..position, merged);
                }
                Value::Mapping(Mapping::from_distinct(items))
            }
        };
        let node = Node {
            value,
            span,
            tag: frame.tag,
            scalar: None,
        };
        self.place(
            Built {
                node,
                size: frame.size,
                height: frame.height,
            },
            frame.anchor,
        )
    }

    fn alias(&mut self, id: usize, at: &granit_parser::Span) -> Result<(), Stop> {
        let span = self.span(at);
        let Some((size, height)) = self
            .anchors
            .get(&id)
            .map(|anchored| (anchored.size, anchored.height))
        else {
            let finding = Diagnostic::error(
                Code::ALIAS_RECURSIVE,
                &span,
                "this alias is inside the value it names",
            );
            self.report(finding)?;
            return self.place(
                Built {
                    node: Node::new(Value::Null, span),
                    size: 1,
                    height: 1,
                },
                0,
            );
        };
        self.copy(size, &span)?;
        self.count(size, &span)?;
        self.deep(height, &span)?;
        match self.anchors.get(&id).cloned() {
            Some(built) => self.place_at(built, 0, span.end()),
            None => Ok(()),
        }
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, built: Built, anchor: usize) -> Result<(), Stop> {
        let end = built.node.span.end();
        self.place_at(built, anchor, end)
    }

    fn place_at(&mut self, built: Built, anchor: usize, end: usize) -> Result<(), Stop> {
        if anchor != 0 {
            // Anchors inside anchors would otherwise copy one value once per level.
            self.copy(built.size, &built.node.span)?;
            self.anchors.insert(anchor, built.clone());
        }
        let Built {
            mut node,
            size,
            height,
        } = built;
        let dialect = self.dialect;
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.size = frame.size.saturating_add(size);
        frame.height = frame.height.max(height.saturating_add(1));
        frame.end = frame.end.max(end);
        let (items, keys, next, merge) = match &mut frame.kind {
            Kind::Sequence(items) => {
                items.push(node);
                return Ok(());
            }
            Kind::Mapping {
                items,
                keys,
                next,
                merge,
            } => (items, keys, next, merge),
        };
        let finding = match std::mem::replace(next, Next::Key) {
            Next::Key => {
                *next = Next::Ignored;
                let plain = node.style() == Some(Style::Plain);
                match key_text(&node, dialect) {
                    Err(kind) => Some(not_text(&node, kind)),
                    Ok(key) => match keys.get(&key) {
                        Some(first) => Some(
                            Diagnostic::error(
                                Code::DUPLICATE_KEY,
                                &node.span,
                                format!("key `{key}` is written twice"),
                            )
                            .with_label("again here")
                            .with_secondary(first, "first written here"),
                        ),
                        None => {
                            keys.insert(key.clone(), node.span.clone());
                            *next = if plain && key == "<<" {
                                Next::Merge(node.span)
                            } else {
                                Next::Value(Spanned::new(key, node.span))
                            };
                            None
                        }
                    },
                }
            }
            Next::Value(key) => {
                // Nothing is written there; the key is what people look for.
                if node.is_null()
                    && node.span.start() == node.span.end()
                    && node.span.file() == key.span.file()
                {
                    node.span = key.span.clone();
                }
                items.push(Item { key, value: node });
                None
            }
            Next::Merge(key) => match merge_sources(node) {
                Ok(sources) => {
                    keys.remove("<<");
                    *merge = Some((items.len(), sources));
                    // A second `<<` is a duplicate like any other key.
                    keys.insert("<<".to_owned(), key);
                    None
                }
                Err(wrong) => Some(
                    Diagnostic::error(
                        Code::MERGE_KEY,
                        &wrong.span,
                        "`<<` takes a mapping or a list of mappings",
                    )
                    .with_label(format!("this is {}", wrong.value.kind())),
                ),
            },
            Next::Ignored => None,
        };
        finding.map_or(Ok(()), |finding| self.report(finding))
    }

    fn scalar(
        &mut self,
        raw: &str,
        style: ScalarStyle,
        tag: Option<&granit_parser::Tag>,
        at: &granit_parser::Span,
        span: Span,
    ) -> Result<Node, Stop> {
        let mut style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::SingleQuoted,
            ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
        };
        // The parser writes `~` where nothing is written.
        let mut raw = if style == Style::Plain && span.start() == span.end() {
            ""
        } else {
            raw
        }
        .to_owned();
        let mut kept = None;
        let mut value = resolve(&raw, style, self.dialect);
        match tag.map(|tag| self.known(tag)) {
            None => {}
            Some(Known::Ours(tag)) => kept = Some(tag),
            Some(Known::No(text)) => self.unknown_tag(&text, at, &span)?,
            Some(Known::NonSpecific) => {
                style = Style::DoubleQuoted;
                value = Value::String(raw.clone());
            }
            Some(Known::Core(suffix)) => match tagged(&suffix, &raw, self.dialect) {
                Ok(Tagged::Text(text)) => {
                    style = Style::DoubleQuoted;
                    value = Value::String(text.clone());
                    raw = text;
                }
                Ok(Tagged::Value(typed)) => value = typed,
                Err(()) => self.mismatch(&suffix, value.kind(), &span)?,
            },
        }
        Ok(Node {
            value,
            span,
            tag: kept,
            scalar: Some(Scalar { raw, style }),
        })
    }

    fn known(&self, tag: &granit_parser::Tag) -> Known {
        let full = format!("{}{}", tag.handle(), tag.suffix());
        if let Some(suffix) = full.strip_prefix("tag:yaml.org,2002:") {
            return match suffix {
                "str" | "int" | "float" | "bool" | "null" | "seq" | "map" | "timestamp" | "binary"
                | "merge" => Known::Core(suffix.to_owned()),
                _ => Known::No(format!("!!{suffix}")),
            };
        }
        match (full.as_str(), self.dialect) {
            ("!", _) => Known::NonSpecific,
            ("!reset", Dialect::Compose) => Known::Ours(Tag::Reset),
            ("!override", Dialect::Compose) => Known::Ours(Tag::Override),
            _ => Known::No(tag.original()),
        }
    }

    fn unknown_tag(&mut self, tag: &str, at: &granit_parser::Span, span: &Span) -> Result<(), Stop> {
        let place = at.tag_span().map_or_else(|| span.clone(), |tag| self.span(&tag));
        self.report(
            Diagnostic::error(Code::UNKNOWN_TAG, &place, format!("tag `{tag}` is not known"))
                .with_help("remove the tag, or quote the value if it is text"),
        )
    }

    fn mismatch(&mut self, suffix: &str, found: &str, span: &Span) -> Result<(), Stop> {
        self.report(
            Diagnostic::error(
                Code::TAG_MISMATCH,
                span,
                format!("the value does not fit its tag `!!{suffix}`"),
            )
            .with_label(format!("this is {found}")),
        )
    }

    pub(super) fn syntax(&mut self, error: &ScanError) {
        self.frames.clear();
        self.root = None;
        self.index += 1;
        let text = self.file.text();
        let mark = error.marker();
        let at = mark.byte_offset().unwrap_or(text.len()).min(text.len());
        let line_start = text
            .get(..at)
            .and_then(|before| before.rfind('\n'))
            .map_or(0, |newline| newline + 1);
        let line = text
            .get(line_start..)
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default();
        let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
        let tab = line.get(..indentation).and_then(|blank| blank.find('\t'));
        let kind = error.kind();
        let tab_error = matches!(
            kind,
            ErrorKind::TabNotAllowed
                | ErrorKind::TabInBlockIndentation
                | ErrorKind::TabInIndentation
                | ErrorKind::TabAtBlockScalarStart
                | ErrorKind::TabInPlainScalar
        );
        let finding = if matches!(kind, ErrorKind::RecursionLimitExceeded) {
            let span = self.span_from(*mark, at, at);
            let message = format!("values are nested more than {} levels deep", self.budget.depth);
            Diagnostic::error(Code::TOO_DEEP, &span, message)
        } else if tab_error || tab.is_some() {
            let span = match tab {
                Some(tab) => Span::new(
                    self.file,
                    line_start + tab..line_start + tab + 1,
                    mark.line(),
                    tab + 1,
                ),
                None => self.span_from(*mark, at, at),
            };
            Diagnostic::error(Code::YAML_TAB, &span, "a tab is used for indentation")
                .with_help("indent with spaces")
        } else {
            let span = self.span_from(*mark, at, at);
            Diagnostic::error(Code::YAML_SYNTAX, &span, error.info())
        };
        self.findings.push(finding);
    }
}

enum Known {
    NonSpecific,
    Core(String),
    Ours(Tag),
    No(String),
}

enum Tagged {
    Text(String),
    Value(Value),
}

/// The value of a scalar under a core tag.
fn tagged(suffix: &str, raw: &str, dialect: Dialect) -> Result<Tagged, ()> {
    let value = resolve(raw, Style::Plain, dialect);
    match (suffix, value) {
        ("str" | "timestamp" | "merge", _) => Ok(Tagged::Text(raw.to_owned())),
        ("int", value @ Value::Int(_)) | ("bool", value @ Value::Bool(_)) | ("null", value @ Value::Null) => {
            Ok(Tagged::Value(value))
        }
        ("float", value @ Value::Float(_)) => Ok(Tagged::Value(value)),
        #[expect(clippy::cast_precision_loss, reason = "the author asked for a float")]
        ("float", Value::Int(value)) => Ok(Tagged::Value(Value::Float(value as f64))),
        ("binary", _) => {
            let packed: String = raw.chars().filter(|c| !c.is_whitespace()).collect();
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(packed)
                .map_err(|_| ())?;
            String::from_utf8(bytes).map(Tagged::Text).map_err(|_| ())
        }
        _ => Err(()),
    }
}

/// A key as text. `kubectl` makes text of numbers and booleans (`n:` becomes `false:`); Compose refuses them.
fn key_text(node: &Node, dialect: Dialect) -> Result<String, &'static str> {
    match (&node.value, dialect) {
        (Value::String(text), _) => Ok(text.clone()),
        (Value::Bool(value), Dialect::Kubectl) => Ok(value.to_string()),
        (Value::Int(value), Dialect::Kubectl) => Ok(value.to_string()),
        (Value::Float(value), Dialect::Kubectl) => Ok(value.to_string()),
        (value, _) => Err(value.kind()),
    }
}

fn not_text(node: &Node, kind: &'static str) -> Diagnostic {
    let finding = Diagnostic::error(
        Code::KEY_NOT_TEXT,
        &node.span,
        format!("a key must be text, and this is {kind}"),
    );
    match node.raw() {
        Some(raw) if !raw.is_empty() => finding.with_help(format!("quote it: \"{raw}\"")),
        _ => finding,
    }
}

/// Gives the items before `position` what the first of `sources` that has their key says.
fn override_earlier(items: &mut [Item], position: usize, sources: &[Mapping]) {
    let mut first: HashMap<&str, &Item> = HashMap::new();
    for item in sources.iter().flatten() {
        first.entry(item.key.value.as_str()).or_insert(item);
    }
    for item in items.iter_mut().take(position) {
        if let Some(merged) = first.get(item.key.value.as_str()) {
            *item = (*merged).clone();
        }
    }
}

/// The mappings that a merge key names, or the node that is none.
fn merge_sources(node: Node) -> Result<Vec<Mapping>, Node> {
    match node.value {
        Value::Mapping(mapping) => Ok(vec![mapping]),
        Value::Sequence(items) => items
            .into_iter()
            .map(|item| match item.value {
                Value::Mapping(mapping) => Ok(mapping),
                _ => Err(item),
            })
            .collect(),
        _ => Err(node),
    }
}
