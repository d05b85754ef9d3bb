//! Where something is written: files, places, spans.
//!
//! In: a file's name and text. Out: [`File`], [`Span`], [`Place`]. Guaranteed: lines and columns are 1-based and count
//! characters; a span knows its file. Must not: read files.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The text of one file and the name people know it by (relative to the repository, as a rule). Cheap to clone.
#[derive(Clone)]
pub struct File(Arc<Held>);

struct Held {
    name: Arc<str>,
    text: Box<str>,
}

impl File {
    /// Holds `text` under `name`. A byte order mark at the start is dropped: it has no column.
    pub fn new(name: impl Into<Arc<str>>, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self(Arc::new(Held {
            name: name.into(),
            text: text.into(),
        }))
    }

    /// The name people know the file by.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The whole text, without a byte order mark.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The span of a byte range. The range is clipped to the text and to character boundaries.
    pub fn span(&self, range: Range<usize>) -> Span {
        let text = self.text();
        let start = floor_boundary(text, range.start);
        let end = floor_boundary(text, range.end.max(start));
        let before = text.get(..start).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Span::new(self, start..end, line, column)
    }

    /// The file as a whole, for what has no line.
    pub fn whole(&self) -> Span {
        Span::new(self, 0..0, 0, 0)
    }

    /// A place whose text is not shown.
    pub fn place_only(&self, line: usize, column: usize) -> Span {
        Span::new(self, usize::MAX..usize::MAX, line, column)
    }
}

/// The nearest character boundary at or before `at`.
pub(super) fn floor_boundary(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}

impl PartialEq for File {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.name == other.0.name && self.0.text == other.0.text)
    }
}

impl Eq for File {}

// The text stays out: it can be long, and it can hold secrets.
impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({}, {} bytes)", self.0.name, self.0.text.len())
    }
}

/// A place that outlives the text it points into: kept in plans, reports and records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The file, as people know it.
    pub file: Arc<str>,
    /// 1-based; 0 = the file as a whole.
    pub line: u32,
    /// 1-based, in characters; 0 = the line or the file as a whole.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.column > 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        Ok(())
    }
}

/// A byte range in a file, with the line and column of its start.
#[derive(Clone, PartialEq, Eq)]
pub struct Span {
    file: File,
    start: u32,
    end: u32,
    line: u32,
    column: u32,
}

impl Span {
    /// A span from positions that are already known.
    pub(super) fn new(file: &File, range: Range<usize>, line: usize, column: usize) -> Self {
        let clip = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            file: file.clone(),
            start: clip(range.start),
            end: clip(range.end),
            line: clip(line),
            column: clip(column),
        }
    }

    /// The file that the span points into.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// First byte in [`File::text`].
    pub fn start(&self) -> usize {
        self.start as usize
    }

    /// One past the last byte.
    pub fn end(&self) -> usize {
        self.end as usize
    }

    /// The bytes it covers.
    pub fn range(&self) -> Range<usize> {
        self.start()..self.end()
    }

    /// 1-based; 0 = the file as a whole.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// 1-based, in characters.
    pub fn column(&self) -> u32 {
        self.column
    }

    /// The source text it covers; empty where there is none.
    pub fn text(&self) -> &str {
        self.file.text().get(self.range()).unwrap_or_default()
    }

    /// The place of its start, to keep.
    pub fn place(&self) -> Place {
        Place {
            file: self.file.0.name.clone(),
            line: self.line,
            column: self.column,
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place().fmt(f)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}..{}]", self.place(), self.start, self.end)
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// What was written.
    pub value: T,
    /// Where.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Pairs them.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    /// The same place, another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned {
            value: change(self.value),
            span: self.span,
        }
    }
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}
