//! Text that knows the role of each word, so that a terminal can colour it and a file gets it plain.
//!
//! In: words and roles. Out: [`Text`]; its `Display` is the plain form. Guaranteed: no control characters: what containers
//! and manifests say can't move a cursor. Must not: know a terminal.

use std::fmt;

use unicode_width::UnicodeWidthStr as _;

use super::Exit;

/// What a word is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Plain,
    Strong,
    Dim,
    Good,
    Bad,
    Warn,
    Add,
    Change,
    Remove,
    /// Something a person can type.
    Name,
}

/// A piece of a line in one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub role: Role,
    pub text: String,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line(Vec<Span>);

impl Line {
    /// An empty line.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds words in a role. Control characters become visible; a tab becomes spaces.
    #[must_use]
    pub fn span(mut self, role: Role, text: impl Into<String>) -> Self {
        let text: String = text.into();
        let text = if text.contains(char::is_control) {
            visible(&text)
        } else {
            text
        };
        self.0.push(Span { role, text });
        self
    }

    /// Adds words without a role.
    #[must_use]
    pub fn plain(self, text: impl Into<String>) -> Self {
        self.span(Role::Plain, text)
    }

    /// Adds spaces up to a column, one at least.
    #[must_use]
    pub fn to_column(self, column: usize) -> Self {
        let spaces = column.saturating_sub(self.width()).max(1);
        self.plain(" ".repeat(spaces))
    }

    /// How many columns a terminal needs for it.
    pub fn width(&self) -> usize {
        self.0.iter().map(|span| span.text.width()).sum()
    }

    /// Its pieces.
    pub fn spans(&self) -> &[Span] {
        &self.0
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|span| f.write_str(&span.text))
    }
}

/// Some lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text(Vec<Line>);

/// The width that is assumed where nobody tells one.
pub const ASSUMED: usize = 100;
/// Spaces between the last words and the exit code, where there is room, and at least.
const BEFORE_EXIT: std::ops::RangeInclusive<usize> = 2..=6;

impl Text {
    /// No lines.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line.
    pub fn push(&mut self, line: Line) {
        self.0.push(line);
    }

    /// Adds lines.
    pub fn append(&mut self, other: Text) {
        self.0.extend(other.0);
    }

    /// Adds `[exit 7]`: at the end of the last line where it fits in `width` (0: nobody told), else on its own.
    pub fn push_exit(&mut self, exit: Exit, width: usize) {
        if exit == Exit::Done {
            return;
        }
        let words = format!("[exit {}]", exit.code());
        let room = if width == 0 { ASSUMED } else { width };
        match self.0.last_mut() {
            Some(last) if last.width() + BEFORE_EXIT.start() + words.len() <= room => {
                let gap = (room - last.width() - words.len()).min(*BEFORE_EXIT.end());
                *last = std::mem::take(last).plain(" ".repeat(gap)).span(Role::Dim, words);
            }
            _ => self.0.push(Line::new().plain("  ").span(Role::Dim, words)),
        }
    }

    /// Its lines.
    pub fn lines(&self) -> &[Line] {
        &self.0
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|line| writeln!(f, "{}", line.to_string().trim_end()))
    }
}

/// Escape sequences go, other control characters and those that turn the direction of writing become `\u{fffd}`.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\t' => shown.push_str("    "),
            '\u{1b}' => skip_escape(&mut rest),
            '\r' | '\n' => shown.push(' '),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => shown.push('\u{fffd}'),
            other if other.is_control() => shown.push('\u{fffd}'),
            other => shown.push(other),
        }
    }
    shown.trim_end().to_owned() + if text.ends_with(' ') { " " } else { "" }
}

/// Skips what follows an escape character: `[ … letter` or `] … BEL`, else one character.
fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.next() {
        Some('[') => {
            for c in rest.by_ref() {
                if ('\u{40}'..='\u{7e}').contains(&c) {
                    break;
                }
            }
        }
        Some(']') => {
            while let Some(c) = rest.next() {
                if c == '\u{7}' || (c == '\u{1b}' && rest.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_container_says_cannot_move_the_cursor() {
        let line = Line::new().plain("a\u{1b}[2Jb\u{1b}]0;title\u{7}c\rd\u{202e}e\u{0}");
        assert_eq!(line.to_string(), "abc d\u{fffd}e\u{fffd}");
    }

    #[test]
    fn the_exit_code_stands_at_the_end_where_it_fits() {
        let mut text = Text::new();
        text.push(Line::new().plain("short"));
        text.push_exit(Exit::RolledBack, 80);
        assert_eq!(text.to_string(), "short      [exit 7]\n");
        text.push(Line::new().plain("x".repeat(78)));
        text.push_exit(Exit::RolledBack, 80);
        assert!(text.to_string().ends_with("x\n  [exit 7]\n"));
    }
}
