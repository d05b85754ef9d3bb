//! The long form of a diagnostic: lines of its files with marks under them.
//!
//! In: a [`Diagnostic`]. Out: text. Guaranteed: bounded by the lines it shows, however long file and line are; control
//! characters never reach a terminal; values that are secret by name or shape, or redacted, are masked (decision 5).
//! Must not: decide anything.

use std::collections::BTreeSet;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::diagnostic::{Diagnostic, Severity};
use super::place::{File, Span, floor_boundary};
use crate::secret::{MASKED, looks_secret};

/// Lines longer than this are cut around their mark.
const LONG_LINE: usize = 600;
/// Bytes kept before and after the mark of a long line.
const KEPT: (usize, usize) = (120, 280);
/// How far up a parent line is looked for.
const LOOK_UP: usize = 200;

/// See [`Diagnostic::render`].
pub(super) fn render(diagnostic: &Diagnostic, color: bool, width: usize) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level
        .primary_title(printable(&diagnostic.message))
        .id(diagnostic.code.to_string());
    let mut group = Group::with_title(title);
    for shown in by_file(diagnostic) {
        group = shown.add_to(group, diagnostic);
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(printable(note)));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(printable(help)));
    }
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let text = renderer
        .decor_style(DecorStyle::Ascii)
        .term_width(width.max(40))
        .render(&[group]);
    // The place is given as an origin of its own, because a column counted in a cut or masked line would be wrong. The
    // renderer then announces the source with an origin that has no name: that line goes.
    let named =
        |line: &&str| !line.contains(":::") || anstream::adapter::strip_str(line).to_string().trim() != ":::";
    text.lines().filter(named).collect::<Vec<_>>().join("\n")
}

/// Text without control characters other than line breaks.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

struct Mark<'d> {
    span: &'d Span,
    label: Option<&'d str>,
    primary: bool,
}

/// What is shown of one file.
struct Shown<'d> {
    file: &'d File,
    marks: Vec<Mark<'d>>,
}

fn by_file(diagnostic: &Diagnostic) -> Vec<Shown<'_>> {
    let mut all: Vec<Shown<'_>> = Vec::new();
    let primary = diagnostic.span.iter().map(|span| Mark {
        span,
        label: diagnostic.label.as_deref(),
        primary: true,
    });
    let secondary = diagnostic.secondary.iter().map(|(span, label)| Mark {
        span,
        label: Some(label),
        primary: false,
    });
    for mark in primary.chain(secondary) {
        match all.iter_mut().find(|shown| shown.file == mark.span.file()) {
            Some(shown) => shown.marks.push(mark),
            None => all.push(Shown {
                file: mark.span.file(),
                marks: vec![mark],
            }),
        }
    }
    all
}

impl<'d> Shown<'d> {
    fn add_to(&self, group: Group<'d>, diagnostic: &Diagnostic) -> Group<'d> {
        let Some(first) = self.marks.first() else {
            return group;
        };
        let mut origin = Origin::path(printable(self.file.name()));
        if first.span.line() > 0 {
            origin = origin
                .line(first.span.line() as usize)
                .char_column(first.span.column() as usize);
        }
        let group = group.element(origin);
        let text = self.file.text();
        let visible = |span: &Span| span.line() > 0 && span.start() <= text.len() && span.end() <= text.len();
        if diagnostic.hides_source() || text.is_empty() || !self.marks.iter().all(|mark| visible(mark.span)) {
            return group;
        }
        // Redactions speak of the primary file.
        let redacted: &[Range<usize>] = if self.marks.iter().any(|mark| mark.primary) {
            diagnostic.redacted()
        } else {
            &[]
        };
        group.element(self.snippet(redacted))
    }

    fn snippet(&self, redacted: &[Range<usize>]) -> Snippet<'d, annotate_snippets::Annotation<'d>> {
        let text = self.file.text();
        let mut lines: BTreeSet<usize> = BTreeSet::new();
        let mut context = None;
        for mark in &self.marks {
            let start = line_start(text, mark.span.start());
            // A gap of one or two lines is shown, not folded, so the neighbours must be there.
            let mut up = start;
            for distance in 0..3 {
                lines.insert(up);
                if distance == 1 && mark.primary && !line_at(text, up).trim().is_empty() {
                    context = Some(up);
                }
                let Some(end) = up.checked_sub(1) else { break };
                up = line_start(text, end);
            }
            let mut down = start;
            for _ in 0..2 {
                down = floor_boundary(text, down + line_at(text, down).len());
                let Some(next) = text
                    .get(down..)
                    .and_then(|rest| rest.find('\n'))
                    .map(|at| down + at + 1)
                else {
                    break;
                };
                if next >= text.len() {
                    break;
                }
                lines.insert(next);
                down = next;
            }
        }
        let first = lines.first().copied().unwrap_or_default();
        let first_number = 1 + text
            .get(..first)
            .unwrap_or_default()
            .bytes()
            .filter(|byte| *byte == b'\n')
            .count();
        let mut source = String::new();
        let mut annotations = Vec::new();
        let mut at = first;
        for start in lines {
            // Lines in between are folded: only their number counts.
            let between = text
                .get(at..start)
                .unwrap_or_default()
                .bytes()
                .filter(|byte| *byte == b'\n')
                .count();
            source.extend(std::iter::repeat_n('\n', between));
            at = start;
            let line = line_at(text, start);
            let marks: Vec<&Mark<'_>> = self
                .marks
                .iter()
                .filter(|mark| line_start(text, mark.span.start()) == start)
                .collect();
            let focus = marks
                .first()
                .map_or(0, |mark| mark.span.start().saturating_sub(start));
            let mut hidden: Vec<Range<usize>> = redacted
                .iter()
                .map(|range| range.start.max(start)..range.end.min(start + line.len()))
                .filter(|range| range.start < range.end)
                .map(|range| range.start - start..range.end - start)
                .collect();
            hidden.extend(secret_parts(text, start));
            let clean = Clean::new(line, focus, hidden);
            let base = source.len();
            for mark in marks {
                let from = mark.span.start() - start;
                // A value of several lines is marked on its first.
                let to =
                    (mark.span.end().max(mark.span.start()) - start).min(line.trim_end().len().max(from));
                let range = clean.place(from)..clean.place(to).max(clean.place(from));
                let kind = if mark.primary {
                    AnnotationKind::Primary
                } else {
                    AnnotationKind::Context
                };
                annotations.push(
                    kind.span(base + range.start..base + range.end)
                        .label(mark.label.map(printable)),
                );
            }
            if context == Some(start) {
                annotations.push(AnnotationKind::Visible.span(base..base + clean.text.len()));
            }
            source.push_str(&clean.text);
        }
        Snippet::source(source)
            .line_start(first_number)
            .annotations(annotations)
    }
}

/// One line as it may be shown, and where its bytes went.
struct Clean {
    text: String,
    moved: Vec<(usize, usize)>,
}

impl Clean {
    fn new(line: &str, focus: usize, mut hidden: Vec<Range<usize>>) -> Self {
        hidden.sort_by_key(|range| range.start);
        let window = if line.len() > LONG_LINE {
            focus.saturating_sub(KEPT.0)..focus.saturating_add(KEPT.1)
        } else {
            0..line.len()
        };
        let mut clean = Self {
            text: String::new(),
            moved: Vec::new(),
        };
        let mut masked_to = 0;
        if window.start > 0 {
            clean.text.push('…');
        }
        let end = floor_boundary(line, window.end);
        for (at, character) in line.char_indices().skip_while(|(at, _)| *at < window.start) {
            if at >= end {
                clean.moved.push((at, clean.text.len()));
                clean.text.push('…');
                break;
            }
            if at < masked_to {
                continue;
            }
            clean.moved.push((at, clean.text.len()));
            match hidden
                .iter()
                .filter(|range| range.contains(&at))
                .map(|range| range.end)
                .max()
            {
                Some(to) => {
                    masked_to = to;
                    clean.text.push_str(MASKED);
                }
                None if character.is_control() && character != '\t' => {
                    clean.text.push(char::REPLACEMENT_CHARACTER)
                }
                None => clean.text.push(character),
            }
        }
        clean
    }

    /// Where the byte at `at` of the line is shown. Inside of a mask: at its start.
    fn place(&self, at: usize) -> usize {
        match self.moved.partition_point(|(old, _)| *old < at) {
            index if index >= self.moved.len() => self.text.len(),
            index => match self.moved.get(index) {
                Some((old, new)) if *old == at => *new,
                _ => index
                    .checked_sub(1)
                    .and_then(|index| self.moved.get(index))
                    .map_or(0, |(_, new)| *new),
            },
        }
    }
}

fn line_start(text: &str, at: usize) -> usize {
    text.get(..at)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |newline| newline + 1)
}

/// The line that starts at `start`, without its break.
fn line_at(text: &str, start: usize) -> &str {
    let line = text
        .get(start..)
        .unwrap_or_default()
        .split('\n')
        .next()
        .unwrap_or_default();
    line.strip_suffix('\r').unwrap_or(line)
}

/// The parts of a line that decision 5 masks: values of secret names, values of a secret shape, and lines of a value that
/// started further up. Works on text, because a file that cannot be parsed needs it most; it hides too much rather than too
/// little.
fn secret_parts(text: &str, start: usize) -> Vec<Range<usize>> {
    let line = line_at(text, start);
    let content = line.len() - line.trim_start().len();
    let all = || std::iter::once(content..line.trim_end().len()).collect();
    let pair = pair(line);
    if let Some(parent) = parent_line(text, start) {
        let block = parent
            .trim_end()
            .trim_end_matches(['+', '-', '1', '2', '3'])
            .ends_with(['|', '>']);
        let of_secret = pair_name(parent).is_some_and(|name| name != "secrets" && looks_secret(name, "x"));
        if of_secret && (block || pair.is_none()) {
            return all();
        }
        let data = pair_name(parent)
            .is_some_and(|name| name == "stringData" || (name == "data" && text.contains("kind: Secret")));
        match (&pair, data) {
            (Some((_, value)), true) if !value.is_empty() => return vec![value.clone()],
            (None, true) => return all(),
            _ => {}
        }
        if inside_pem(text, start) {
            return all();
        }
    }
    if let Some((name, value)) = &pair
        && *name == "value"
        && !value.is_empty()
        && neighbours(text, start)
            .iter()
            .any(|near| is_secret_name_entry(near))
    {
        return vec![value.clone()];
    }
    let mut hidden = Vec::new();
    let mut from = 0;
    // Every `name: value` and `name=value`, for flow mappings and lists of variables.
    while let Some(at) = line
        .get(from..)
        .and_then(|rest| rest.find([':', '=']))
        .map(|at| from + at)
    {
        from = at + 1;
        let before = line
            .get(..at)
            .unwrap_or_default()
            .trim_end_matches([' ', '"', '\'']);
        let name_start = before
            .rfind(|c: char| !(c.is_alphanumeric() || "_-.".contains(c)))
            .map_or(0, |at| at + 1);
        let name = floor_name(before, name_start);
        let rest = line.get(from..).unwrap_or_default();
        let value_start = from + (rest.len() - rest.trim_start().len());
        let value = line.get(value_start..).unwrap_or_default().trim_end();
        if !name.is_empty() && name != "secrets" && !value.is_empty() && looks_secret(name, value) {
            hidden.push(value_start..value_start + value.len());
            break;
        }
    }
    let mut at = 0;
    for token in line.split_inclusive([' ', '\t', '"', '\'', '=', ',', '[', ']', '{', '}']) {
        if looks_secret("", token) {
            hidden.push(
                at..at
                    + token
                        .trim_end_matches([' ', '\t', '"', '\'', ',', ']', '}'])
                        .len(),
            );
        }
        at += token.len();
    }
    hidden
}

fn floor_name(before: &str, start: usize) -> &str {
    let mut start = start;
    while !before.is_char_boundary(start) {
        start += 1;
    }
    before.get(start..).unwrap_or_default()
}

/// `name: value` of a line, list dashes aside; the value as a range of the line, maybe empty.
fn pair(line: &str) -> Option<(&str, Range<usize>)> {
    let body = line.trim_start_matches([' ', '\t', '-']);
    let offset = line.len() - body.len();
    let colon = body
        .find(": ")
        .or_else(|| body.trim_end().ends_with(':').then(|| body.trim_end().len() - 1))?;
    let name = body.get(..colon)?.trim_matches(['"', '\'', ' ']);
    let rest = body.get(colon + 1..)?;
    let start = offset + colon + 1 + (rest.len() - rest.trim_start().len());
    Some((name, start.min(line.trim_end().len())..line.trim_end().len()))
}

fn pair_name(line: &str) -> Option<&str> {
    pair(line).map(|(name, _)| name)
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

fn lines_above(text: &str, start: usize) -> impl Iterator<Item = &str> {
    let mut at = start;
    std::iter::from_fn(move || {
        at = line_start(text, at.checked_sub(1)?);
        Some(line_at(text, at))
    })
    .take(LOOK_UP)
}

fn parent_line(text: &str, start: usize) -> Option<&str> {
    let own = indentation(line_at(text, start));
    // A list may stand at the indentation of its key.
    let item = line_at(text, start).trim_start().starts_with("- ");
    lines_above(text, start).find(|line| {
        let line_indentation = indentation(line);
        !line.trim().is_empty()
            && (line_indentation < own
                || (item && line_indentation == own && !line.trim_start().starts_with('-')))
    })
}

fn inside_pem(text: &str, start: usize) -> bool {
    let own = indentation(line_at(text, start));
    lines_above(text, start)
        .take_while(|line| indentation(line) >= own && !line.contains("-----END "))
        .any(|line| line.contains("-----BEGIN "))
}

fn neighbours(text: &str, start: usize) -> Vec<&str> {
    let below = text
        .get(start..)
        .and_then(|rest| rest.find('\n'))
        .map(|at| line_at(text, start + at + 1));
    lines_above(text, start).take(1).chain(below).collect()
}

fn is_secret_name_entry(line: &str) -> bool {
    pair(line).is_some_and(|(name, value)| {
        name == "name" && looks_secret(line.get(value).unwrap_or_default().trim_matches(['"', '\'']), "x")
    })
}
