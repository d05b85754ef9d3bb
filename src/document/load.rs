//! Bytes → documents.
//!
//! In: the bytes or text of one file. Out: its [`Document`]s, or every finding. Guaranteed: work and memory are bounded by
//! the [`Budget`]; aliases are expanded, merge keys applied. Must not: stop at the first finding where it can go on.

use std::sync::Arc;

use granit_parser::Parser;

use super::build::Builder;
use super::codes::Code;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::node::Node;
use super::place::{File, Span};
use super::scalar::Dialect;

/// What one file may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of the file.
    pub bytes: usize,
    /// Levels of nesting.
    pub depth: usize,
    /// Values, after aliases are expanded.
    pub nodes: usize,
    /// Values that anchors and aliases copy.
    pub alias_nodes: usize,
    /// Findings after which reading stops.
    pub findings: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes: 8 << 20,
            depth: 128,
            nodes: 500_000,
            alias_nodes: 100_000,
            findings: 50,
        }
    }
}

/// One document of a file. Empty documents are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its position in the file, counted from 0, empty ones included.
    pub index: usize,
    /// Its value.
    pub root: Node,
}

impl Document {
    /// The file it is from.
    pub fn file(&self) -> &File {
        self.root.span.file()
    }

    /// Where the value at `path` is written; `path` holds keys and list indices.
    pub fn span_at(&self, path: &[&str]) -> Option<&Span> {
        self.root.at(path).map(|node| &node.span)
    }

    /// Where the key at the end of `path` is written.
    pub fn key_span_at(&self, path: &[&str]) -> Option<&Span> {
        let (last, parents) = path.split_last()?;
        self.root
            .at(parents)?
            .as_mapping()?
            .item(last)
            .map(|item| &item.key.span)
    }

    /// Where the value at a JSON pointer (RFC 6901: `/spec/replicas`) is written.
    pub fn span_at_pointer(&self, pointer: &str) -> Option<&Span> {
        if pointer.is_empty() {
            return Some(&self.root.span);
        }
        let steps: Vec<String> = pointer
            .strip_prefix('/')?
            .split('/')
            .map(|step| step.replace("~1", "/").replace("~0", "~"))
            .collect();
        self.span_at(&steps.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Checks size, encoding and NUL bytes before anything else, then reads as [`parse`] does.
pub fn parse_bytes(
    name: impl Into<Arc<str>>,
    bytes: &[u8],
    dialect: Dialect,
    budget: &Budget,
) -> Result<Vec<Document>, Diagnostics> {
    let name = name.into();
    if bytes.len() > budget.bytes {
        return Err(too_large(&File::new(name, "").whole(), bytes.len(), budget).into());
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        let place = place_of_byte(name, bytes, at);
        return Err(
            Diagnostic::error(Code::NUL_BYTE, &place, "the file holds a NUL byte")
                .with_help("the file is binary or UTF-16; store it as UTF-8 text")
                .into(),
        );
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(&File::new(name, text), dialect, budget),
        Err(bad) => {
            let place = place_of_byte(name, bytes, bad.valid_up_to());
            let byte = bytes.get(bad.valid_up_to()).copied().unwrap_or_default();
            Err(Diagnostic::error(
                Code::BAD_ENCODING,
                &place,
                format!("byte 0x{byte:02X} is not UTF-8"),
            )
            .with_help("save the file as UTF-8")
            .into())
        }
    }
}

fn too_large(span: &Span, bytes: usize, budget: &Budget) -> Diagnostic {
    let message = format!(
        "the file has {bytes} bytes, more than the limit of {}",
        budget.bytes
    );
    Diagnostic::error(Code::FILE_TOO_LARGE, span, message)
        .with_help("split the file, or keep bulk data out of manifests")
}

fn place_of_byte(name: Arc<str>, bytes: &[u8], at: usize) -> Span {
    let before = bytes.get(..at).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(before.get(start..).unwrap_or_default())
        .chars()
        .count()
        + 1;
    File::new(name, "").place_only(line, column)
}

/// Reads all documents of `file`. All findings are reported, or none: a file with an error yields no document.
pub fn parse(file: &File, dialect: Dialect, budget: &Budget) -> Result<Vec<Document>, Diagnostics> {
    if file.text().len() > budget.bytes {
        return Err(too_large(&file.whole(), file.text().len(), budget).into());
    }
    let mut builder = Builder::new(file, dialect, *budget);
    let options = granit_parser::options! {
        emit_unresolved_aliases: true,
        emit_comments: false,
        flow_nesting_limit: budget.depth.saturating_add(1),
        block_nesting_limit: budget.depth.saturating_add(1),
    };
    let mut parser = Parser::new_from_str_with_options(file.text(), options);
    while let Some(next) = parser.next_event() {
        match next {
            Ok((event, span)) => {
                if builder.event(event, &span).is_err() {
                    break;
                }
            }
            Err(error) => {
                builder.syntax(&error);
                // Later documents can be read all the same; the rest of this one cannot.
                if builder.full() || !matches!(parser.proceed_next_document(), Ok(true)) {
                    break;
                }
            }
        }
    }
    builder.finish()
}
