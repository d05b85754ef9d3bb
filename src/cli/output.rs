//! The only printer: results to standard output, messages to standard error.
//!
//! In: texts, tables, values. Out: bytes on two streams. Guaranteed: no escape code and no carriage return where nobody
//! looks at a terminal; a reader that went away is a quiet end; machine forms carry `apiVersion`. Must not: decide what is
//! worth saying.

use std::cell::Cell;

use serde::Serialize;

use super::args::{Format, Global, When};
use super::environment::Environment;
use super::error::CommandError;
use super::style;
use super::table::Table;
use crate::report::Exit;
use crate::report::text::{Role, Text};

/// The version of every machine form.
pub const API_VERSION: &str = "driftless/v1";

/// The two streams.
pub struct Output {
    /// The form that was asked for.
    pub format: Format,
    quiet: bool,
    width: Option<usize>,
    color_out: bool,
    color_err: bool,
    terminal_err: bool,
    clears: bool,
    dumb: bool,
    log_filter: Option<String>,
    closed: Cell<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a, T> {
    api_version: &'static str,
    kind: &'a str,
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize)]
struct Items<'a, T> {
    items: &'a [T],
}

impl Output {
    /// The streams of the process.
    pub fn new(global: &Global, environment: &Environment) -> Self {
        let color = |terminal| colored(global.color, environment, terminal);
        Self {
            format: global.output,
            quiet: global.quiet,
            width: environment.width(),
            color_out: color(environment.stdout),
            color_err: color(environment.stderr),
            terminal_err: environment.stderr,
            clears: environment.stdout && !environment.dumb(),
            dumb: environment.dumb(),
            log_filter: environment.text("DRIFTLESS_LOG").map(str::to_owned),
            closed: Cell::new(false),
        }
    }

    /// Whether the reader of standard output went away: who follows something ends then.
    pub fn closed(&self) -> bool {
        self.closed.get()
    }

    /// Whether standard output is coloured.
    pub fn color(&self) -> bool {
        self.color_out
    }

    /// Whether standard error is coloured.
    pub fn color_on_stderr(&self) -> bool {
        self.color_err
    }

    /// Whether lines on standard error can be drawn again.
    pub fn redraws(&self) -> bool {
        self.terminal_err && !self.dumb
    }

    /// Whether remarks are left out.
    pub fn quiet(&self) -> bool {
        self.quiet
    }

    /// The width to fit text into; `None` where nothing limits it.
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// What `DRIFTLESS_LOG` asks for.
    pub fn log_filter(&self) -> Option<&str> {
        self.log_filter.as_deref()
    }

    /// Whether the result is for programs.
    pub fn for_machines(&self) -> bool {
        matches!(self.format, Format::Json | Format::Yaml)
    }

    /// Plain text as the result.
    pub fn result(&self, text: &str) {
        self.write_out(text);
    }

    /// Takes everything off the terminal that standard output is; `false` where it is none.
    pub fn clear(&self) -> bool {
        if !self.clears || self.for_machines() {
            return false;
        }
        if write_to(&mut std::io::stdout().lock(), "\u{1b}[H\u{1b}[2J", true).is_err() {
            self.closed.set(true);
        }
        true
    }

    /// Text with roles as the result.
    pub fn text(&self, text: &Text) {
        self.write_out(&style::paint(text, self.color_out));
    }

    /// One value as the result, for programs; `kind` names its type. The other forms are the caller's.
    pub fn value(&self, kind: &str, value: &impl Serialize) -> Result<(), CommandError> {
        let envelope = Envelope {
            api_version: API_VERSION,
            kind,
            body: value,
        };
        self.write_out(&serialized(self.format, &envelope)?);
        Ok(())
    }

    /// A list as the result, in whichever form was asked for. `items` and the rows of `table` are in the same order.
    pub fn list<T: Serialize>(&self, kind: &str, items: &[T], table: &Table) -> Result<(), CommandError> {
        match self.format {
            Format::Json | Format::Yaml => self.value(kind, &Items { items }),
            Format::Name => {
                self.write_out(&table.names().map(|name| format!("{name}\n")).collect::<String>());
                Ok(())
            }
            Format::Markdown => Err(no_markdown()),
            Format::Table | Format::Wide => {
                self.write_out(&table.render(self.format == Format::Wide, self.width, self.color_out));
                Ok(())
            }
        }
    }

    /// A remark: not part of the result, left out by `-q`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.write_err(&format!("{text}\n"));
        }
    }

    /// Text with roles as a remark.
    pub fn note_text(&self, text: &Text) {
        if !self.quiet {
            self.write_err(&style::paint(text, self.color_err));
        }
    }

    /// A warning.
    pub fn warn(&self, text: &str) {
        let head = style::word(Role::Warn, "warning:", self.color_err);
        self.write_err(&format!("{head} {text}\n"));
    }

    /// Diagnostics of files, as remarks.
    pub fn diagnostics(&self, found: &crate::document::Diagnostics) {
        if !found.is_empty() {
            self.write_err(&format!(
                "{}\n",
                found.render(self.color_err, self.snippet_width())
            ));
        }
    }

    /// How wide lines of files may be.
    pub fn snippet_width(&self) -> usize {
        self.width.unwrap_or(120)
    }

    /// Why a command ends.
    pub fn error(&self, error: &CommandError) {
        let text = if self.for_machines() {
            let envelope = Envelope {
                api_version: API_VERSION,
                kind: "Error",
                body: error.to_value(),
            };
            serialized(self.format, &envelope).unwrap_or_else(|_| error.to_text(0).to_string())
        } else {
            let snippets = error.snippets(self.color_err, self.snippet_width());
            let text = style::paint(&error.to_text(self.snippet_width()), self.color_err);
            if snippets.is_empty() {
                text
            } else {
                format!("{snippets}\n{text}")
            }
        };
        self.write_err(&text);
    }

    /// Raw text to standard error; for progress.
    pub fn write_err(&self, text: &str) {
        // Nobody is left to be told that standard error is gone.
        let _ = write_to(
            &mut std::io::stderr().lock(),
            text,
            self.color_err || self.terminal_err,
        );
    }

    fn write_out(&self, text: &str) {
        if write_to(&mut std::io::stdout().lock(), text, self.color_out).is_err() {
            self.closed.set(true);
        }
    }
}

fn write_to(stream: &mut impl std::io::Write, text: &str, escapes: bool) -> std::io::Result<()> {
    if escapes {
        stream.write_all(text.as_bytes())?;
    } else {
        // The last guard: text of a manifest or a container that holds escape codes does not bring them into a file.
        for part in anstream::adapter::strip_str(text) {
            stream.write_all(part.as_bytes())?;
        }
    }
    stream.flush()
}

/// For the one case in which there are no streams yet.
pub fn last_words(text: &str, exit: Exit) -> Exit {
    let _ = write_to(&mut std::io::stderr().lock(), text, false);
    exit
}

fn serialized(format: Format, value: &impl Serialize) -> Result<String, CommandError> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        CommandError::new(Exit::ApplyFailed, "the result cannot be written in this form").because(error)
    };
    if format == Format::Yaml {
        return serde_yaml::to_string(value).map_err(|error| failed(&error));
    }
    let mut text = serde_json::to_string_pretty(value).map_err(|error| failed(&error))?;
    text.push('\n');
    Ok(text)
}

/// Not every result has a Markdown form.
pub fn no_markdown() -> CommandError {
    CommandError::new(Exit::Usage, "`-o markdown` is for plan and diff")
        .hint("use -o table, wide, json, yaml or name")
}

/// `--color`, then `NO_COLOR` (no-color.org), `CLICOLOR_FORCE` (bixense.com/clicolors), `TERM=dumb`, then the terminal.
fn colored(when: When, environment: &Environment, terminal: bool) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto if environment.text("NO_COLOR").is_some() => false,
        When::Auto
            if environment
                .text("CLICOLOR_FORCE")
                .is_some_and(|force| force != "0") =>
        {
            true
        }
        When::Auto => terminal && !environment.dumb(),
    }
}

/// A message to standard error from where no [`Output`] is at hand (a signal).
pub fn say_err(text: &str) {
    // Nobody is left to be told that standard error is gone.
    let _ = write_to(&mut std::io::stderr().lock(), text, false);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_follows_the_flag_then_the_environment_then_the_terminal() {
        let term = ("TERM", "xterm");
        let of = |when, variables: &[(&str, &str)], terminal| {
            colored(when, &Environment::for_tests(variables), terminal)
        };
        assert!(of(When::Auto, &[term], true));
        assert!(!of(When::Auto, &[term], false));
        assert!(!of(When::Auto, &[term, ("NO_COLOR", "1")], true));
        assert!(of(When::Auto, &[term, ("NO_COLOR", "")], true));
        assert!(!of(When::Auto, &[("TERM", "dumb")], true));
        assert!(!of(When::Auto, &[], true));
        assert!(of(When::Auto, &[("CLICOLOR_FORCE", "1")], false));
        assert!(!of(
            When::Auto,
            &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")],
            false
        ));
        assert!(of(When::Always, &[("NO_COLOR", "1")], false));
        assert!(!of(When::Never, &[term], true));
    }

    #[test]
    fn escape_codes_of_strangers_do_not_reach_a_file() {
        let mut written = Vec::new();
        write_to(&mut written, "a\u{1b}[31mred\u{1b}[0m\n", false).expect("a vector takes all");
        assert_eq!(written, b"ared\n");
    }

    #[test]
    fn machine_forms_say_what_they_are() {
        let envelope = Envelope {
            api_version: API_VERSION,
            kind: "AppList",
            body: Items { items: &["web"] },
        };
        let json = serialized(Format::Json, &envelope).expect("JSON");
        assert_eq!(
            json,
            "{\n  \"apiVersion\": \"driftless/v1\",\n  \"kind\": \"AppList\",\n  \"items\": [\n    \"web\"\n  ]\n}\n"
        );
        let yaml = serialized(Format::Yaml, &envelope).expect("YAML");
        assert_eq!(yaml, "apiVersion: driftless/v1\nkind: AppList\nitems:\n- web\n");
    }
}
