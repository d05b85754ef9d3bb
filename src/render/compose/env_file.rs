//! `.env` and `env_file:` as Compose reads them.
//!
//! In: the text of one file and the variables known before it. Out: its entries in order, each with its line and whether a
//! value from outside the commit went in. Guaranteed: quotes, `export`, comments, escapes and values over several lines
//! mean what they mean to `docker compose`; a line that it would refuse is a fault with its line. Must not: open files.

use super::interpolate::{self, Fault, Variables};

/// One entry.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its value; `None` for a name alone, which takes the value of that variable if there is one.
    pub value: Option<String>,
    /// Whether a value from outside the commit went in.
    pub outside: bool,
    /// 1-based.
    pub line: usize,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvFault {
    /// The line is no assignment.
    #[error("{why}")]
    Syntax { why: String, line: usize },
    /// A value can't be interpolated.
    #[error("{fault}")]
    Interpolation { line: usize, fault: Fault },
}

impl EnvFault {
    /// 1-based.
    pub fn line(&self) -> usize {
        match self {
            EnvFault::Syntax { line, .. } | EnvFault::Interpolation { line, .. } => *line,
        }
    }
}

/// How values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Quotes and interpolation.
    Compose,
    /// `format: raw`: everything after the `=` as it is.
    Raw,
}

/// The entries of `text`. A value may use `known` and entries above it. All faults are collected.
pub fn parse(
    text: &str,
    format: Format,
    known: &Variables,
    outside: bool,
) -> Result<Vec<Entry>, Vec<EnvFault>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser {
        rest: text,
        line: 1,
        known: known.clone(),
        outside,
        entries: Vec::new(),
        faults: Vec::new(),
    };
    while parser.entry(format) {}
    if parser.faults.is_empty() {
        Ok(parser.entries)
    } else {
        Err(parser.faults)
    }
}

struct Parser<'t> {
    rest: &'t str,
    line: usize,
    known: Variables,
    outside: bool,
    entries: Vec<Entry>,
    faults: Vec<EnvFault>,
}

impl<'t> Parser<'t> {
    fn entry(&mut self, format: Format) -> bool {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.advance(blank);
            if self.rest.is_empty() {
                return false;
            }
            if !self.rest.starts_with('#') {
                break;
            }
            self.take_line();
        }
        let line = self.line;
        if let Some(after) = self
            .rest
            .strip_prefix("export")
            .filter(|rest| rest.starts_with([' ', '\t']))
        {
            self.rest = after.trim_start_matches([' ', '\t']);
        }
        let end = self.rest.find(['=', ':', '\n']).unwrap_or(self.rest.len());
        let name = self.rest.get(..end).unwrap_or_default().trim();
        let allowed = |c: char| c.is_alphanumeric() || "_.-[]".contains(c);
        if name.is_empty() || !name.chars().all(allowed) {
            let why = if name.contains(char::is_whitespace) {
                "a name cannot hold spaces; write `NAME=value`"
            } else {
                "a line must be `NAME=value`, a name alone, a comment or empty"
            };
            self.faults.push(EnvFault::Syntax {
                why: why.to_owned(),
                line,
            });
            self.take_line();
            return true;
        }
        let name = name.to_owned();
        let assigned = self
            .rest
            .get(end..)
            .is_some_and(|rest| rest.starts_with(['=', ':']));
        if !assigned {
            self.take_line();
            let variable = self.known.get(&name).cloned();
            let outside = variable.as_ref().is_some_and(|variable| variable.outside);
            self.push(Entry {
                name,
                value: variable.map(|variable| variable.value),
                outside,
                line,
            });
            return true;
        }
        self.advance(end + 1);
        if format == Format::Raw {
            let value = self.take_line().trim_end_matches('\r').to_owned();
            self.push(Entry {
                name,
                value: Some(value),
                outside: self.outside,
                line,
            });
            return true;
        }
        self.rest = self.rest.trim_start_matches([' ', '\t', '\u{b}', '\u{c}', '\r']);
        let value = match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote, line),
            _ => {
                let whole = self.take_line();
                // `#` starts a comment only after a space; an empty value may be followed by one at once.
                let value = whole.split_once(" #").map_or(whole, |(value, _)| value);
                let value = if value.starts_with('#') && whole.len() == value.len() {
                    value
                } else {
                    value.trim_end()
                };
                Some((value.to_owned(), true))
            }
        };
        let Some((value, expand)) = value else { return true };
        let done = if expand && interpolate::needed(&value) {
            interpolate::interpolate(&value, &self.known)
        } else {
            Ok(interpolate::Interpolated {
                text: value,
                outside: false,
            })
        };
        match done {
            Ok(done) => {
                let outside = self.outside || done.outside;
                self.push(Entry {
                    name,
                    value: Some(done.text),
                    outside,
                    line,
                });
            }
            Err(fault) => self.faults.push(EnvFault::Interpolation { line, fault }),
        }
        true
    }

    fn push(&mut self, entry: Entry) {
        if let Some(value) = &entry.value {
            self.known.set(entry.name.clone(), value.clone(), entry.outside);
        }
        self.entries.push(entry);
    }

    /// The value up to the closing quote, and whether it is interpolated. What follows on the line is ignored if it is a
    /// comment or blank.
    fn quoted(&mut self, quote: char, line: usize) -> Option<(String, bool)> {
        let mut value = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        let mut escaped = false;
        let end = loop {
            let Some((at, c)) = chars.next() else {
                self.faults.push(EnvFault::Syntax {
                    why: "the quote is not closed".to_owned(),
                    line,
                });
                self.rest = "";
                return None;
            };
            match c {
                '\\' if !escaped => {
                    escaped = true;
                    continue;
                }
                c if c == quote && !escaped => break at,
                c if c == quote => value.push(c),
                c => {
                    if escaped {
                        value.push('\\');
                    }
                    value.push(c);
                }
            }
            escaped = false;
        };
        self.advance(end + 1);
        let after = self.rest.split('\n').next().unwrap_or_default().trim();
        if !after.is_empty() && !after.starts_with('#') {
            let why = "text follows the closing quote".to_owned();
            self.faults.push(EnvFault::Syntax { why, line: self.line });
        }
        self.take_line();
        Some(if quote == '"' {
            (unescape(&value), true)
        } else {
            (value, false)
        })
    }

    fn advance(&mut self, bytes: usize) {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line += taken.bytes().filter(|byte| *byte == b'\n').count();
        self.rest = rest;
    }

    fn take_line(&mut self) -> &'t str {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let line = self.rest.get(..end).unwrap_or_default();
        self.advance((end + 1).min(self.rest.len()));
        line
    }
}

/// The escapes of double quotes. `\$` becomes `$$`, which interpolation reads as a plain `$`.
fn unescape(text: &str) -> String {
    let mut done = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            done.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => done.push('\n'),
            Some('r') => done.push('\r'),
            Some('t') => done.push('\t'),
            Some('a') => done.push('\u{7}'),
            Some('b') => done.push('\u{8}'),
            Some('f') => done.push('\u{c}'),
            Some('v') => done.push('\u{b}'),
            Some('\\') => done.push('\\'),
            Some('"') => done.push('"'),
            Some('$') => done.push_str("$$"),
            Some(other) => {
                done.push('\\');
                done.push(other);
            }
            None => done.push('\\'),
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, Option<String>)> {
        let mut known = Variables::default();
        known.set("HOST", "db", false);
        match parse(text, Format::Compose, &known, false) {
            Ok(entries) => entries
                .into_iter()
                .map(|entry| (entry.name, entry.value))
                .collect(),
            Err(faults) => vec![(
                "fault".to_owned(),
                faults.first().map(|f| format!("{}: {f}", f.line())),
            )],
        }
    }

    #[test]
    fn a_line_means_what_compose_means() {
        for (text, value) in [
            ("A=b", "b"),
            ("A = b", "b"),
            ("A: b", "b"),
            ("export A=b", "b"),
            ("A=b # note", "b"),
            ("A=b#c", "b#c"),
            ("A=", ""),
            ("A='b # c' # note", "b # c"),
            ("A=\"b\\nc\"", "b\nc"),
            ("A='b\\nc'", "b\\nc"),
            ("A='it\\'s'", "it's"),
            ("A=\"x\ny\"", "x\ny"),
            ("A=$HOST", "db"),
            ("A=${HOST:-x}/y", "db/y"),
            ("A='$HOST'", "$HOST"),
            ("A=\"\\$HOST\"", "$HOST"),
            ("A=$$HOST", "$HOST"),
            ("A=${NONE:-x}", "x"),
            ("A=b\r\n", "b"),
            ("\u{feff}A=b", "b"),
            ("A=a=b", "a=b"),
            ("A=b c", "b c"),
        ] {
            assert_eq!(read(text), [("A".to_owned(), Some(value.to_owned()))], "{text:?}");
        }
    }

    #[test]
    fn later_lines_see_earlier_ones_and_a_name_alone_passes_through() {
        let entries = read("# start\nA=1\n\nB=${A}2\nHOST\nNONE\n");
        let shown: Vec<_> = entries
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [
                ("A", Some("1")),
                ("B", Some("12")),
                ("HOST", Some("db")),
                ("NONE", None)
            ]
        );
    }

    #[test]
    fn a_bad_line_is_a_fault_with_its_line() {
        assert_eq!(
            read("A=1\nthis is\n")[0]
                .1
                .as_deref()
                .map(|m| m.starts_with("2: ")),
            Some(true)
        );
        assert_eq!(
            read("A=1\nB='x\n")[0].1.as_deref(),
            Some("2: the quote is not closed")
        );
        assert_eq!(
            read("A=pa$word\n")[0].1.as_deref(),
            Some("1: variable `word` is not defined")
        );
    }

    #[test]
    fn raw_files_are_taken_as_they_are() {
        let entries = parse("A='$x' # y\nB=\n", Format::Raw, &Variables::default(), true);
        let entries = entries.unwrap_or_default();
        assert_eq!(entries.first().and_then(|e| e.value.as_deref()), Some("'$x' # y"));
        assert!(entries.iter().all(|entry| entry.outside));
    }
}
