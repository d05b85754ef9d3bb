//! What is wrong, where, why, and what to do.
//!
//! In: spans and words of any stage. Out: [`Diagnostic`], [`Diagnostics`]. Guaranteed: the one-line form is
//! `file:line:col: message`; the long form shows the source. Must not: print, or put source text into a message by itself.

use std::fmt;
use std::ops::Range;

use super::codes::Code;
use super::place::{Place, Span};
use super::snippet;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is refused.
    Warning,
    /// The file or app is refused.
    Error,
}

/// One finding. Build it with [`Diagnostic::error`] and the `with_…` methods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Which kind of finding.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, as a lower-case fragment.
    pub message: String,
    /// Where; `None` where no file is concerned.
    pub span: Option<Span>,
    /// What to say right at the place.
    pub label: Option<String>,
    /// Other places that belong to it.
    pub secondary: Vec<(Span, String)>,
    /// More facts.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
    redacted: Vec<Range<usize>>,
    hide_source: bool,
}

impl Diagnostic {
    /// An error at `span`.
    pub fn error(code: Code, span: &Span, message: impl Into<String>) -> Self {
        Self::build(code, Severity::Error, Some(span.clone()), message.into())
    }

    /// A warning at `span`.
    pub fn warning(code: Code, span: &Span, message: impl Into<String>) -> Self {
        Self::build(code, Severity::Warning, Some(span.clone()), message.into())
    }

    /// An error that concerns no file.
    pub fn without_place(code: Code, message: impl Into<String>) -> Self {
        Self::build(code, Severity::Error, None, message.into())
    }

    fn build(code: Code, severity: Severity, span: Option<Span>, message: String) -> Self {
        Self {
            code,
            severity,
            message: one_line(&message),
            span,
            label: None,
            secondary: Vec::new(),
            notes: Vec::new(),
            help: None,
            redacted: Vec::new(),
            hide_source: false,
        }
    }

    /// What to say right at the place.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(one_line(&label.into()));
        self
    }

    /// Another place that belongs to it; it may be in another file.
    #[must_use]
    pub fn with_secondary(mut self, span: &Span, label: impl Into<String>) -> Self {
        self.secondary.push((span.clone(), one_line(&label.into())));
        self
    }

    /// One more fact.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// What to do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Hides a byte range of the primary file wherever the snippet would show it. Values that are secret by
    /// [`crate::secret::looks_secret`] are hidden without being asked for.
    #[must_use]
    pub fn redact(mut self, range: Range<usize>) -> Self {
        self.redacted.push(range);
        self
    }

    /// Shows places only, never lines of the file.
    #[must_use]
    pub fn without_source(mut self) -> Self {
        self.hide_source = true;
        self
    }

    /// Whether lines of the file are left out.
    pub fn hides_source(&self) -> bool {
        self.hide_source
    }

    pub(super) fn redacted(&self) -> &[Range<usize>] {
        &self.redacted
    }

    /// Where, to keep.
    pub fn place(&self) -> Option<Place> {
        self.span.as_ref().map(Span::place)
    }

    /// The long form: message, source lines, notes, help. No line break at the end. `width` bounds the source lines.
    pub fn render(&self, color: bool, width: usize) -> String {
        snippet::render(self, color, width)
    }
}

/// Keys and words of a file can hold anything; in a message they stay on its line.
fn one_line(text: &str) -> String {
    if text.contains(char::is_control) {
        text.chars()
            .map(|c| {
                if c.is_control() {
                    char::REPLACEMENT_CHARACTER
                } else {
                    c
                }
            })
            .collect()
    } else {
        text.to_owned()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.span {
            Some(span) => write!(f, "{span}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// Findings in the order they were found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds many.
    pub fn extend(&mut self, more: impl IntoIterator<Item = Diagnostic>) {
        self.0.extend(more);
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether any is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|one| one.severity == Severity::Error)
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// All of them, to add what a later stage knows (a note, `without_source`).
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Diagnostic> {
        self.0.iter_mut()
    }

    /// `value` with the warnings, or everything if any is an error.
    pub fn into_result<T>(self, value: T) -> Result<(T, Diagnostics), Diagnostics> {
        if self.has_errors() {
            Err(self)
        } else {
            Ok((value, self))
        }
    }

    /// The long form of all, with an empty line between them.
    pub fn render(&self, color: bool, width: usize) -> String {
        self.0
            .iter()
            .map(|one| one.render(color, width))
            .collect::<Vec<_>>()
            .join("\n\n")
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(one: Diagnostic) -> Self {
        Self(vec![one])
    }
}

impl FromIterator<Diagnostic> for Diagnostics {
    fn from_iter<I: IntoIterator<Item = Diagnostic>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, one) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            one.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
