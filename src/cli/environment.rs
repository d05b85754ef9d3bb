//! What the process was started in: variables, folders, and whether somebody watches.
//!
//! In: the process. Out: [`Environment`], read once. Guaranteed: nothing else in `cli/` asks the process. Must not: decide
//! what a variable means for the product; that is `settings/`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

/// The process's surroundings, as they were at its start.
#[derive(Debug, Clone)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    /// The folder that a person stands in.
    pub folder: PathBuf,
    /// Whether standard input is a terminal, so that a question can be answered.
    pub stdin: bool,
    /// Whether standard output is a terminal.
    pub stdout: bool,
    /// Whether standard error is a terminal.
    pub stderr: bool,
    /// The terminal's width, where there is one.
    pub terminal_width: Option<usize>,
}

impl Environment {
    /// Reads it from the process.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of cli/ that reads the process's environment"
    )]
    pub fn of_process() -> std::io::Result<Self> {
        Ok(Self {
            variables: std::env::vars_os().collect(),
            folder: std::env::current_dir()?,
            stdin: std::io::stdin().is_terminal(),
            stdout: std::io::stdout().is_terminal(),
            stderr: std::io::stderr().is_terminal(),
            terminal_width: terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)),
        })
    }

    /// A variable that is set, not empty, and text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.variables
            .get(std::ffi::OsStr::new(name))?
            .to_str()
            .filter(|value| !value.is_empty())
    }

    /// A variable that is set to an absolute path (what the XDG rules ask for).
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.variables
            .get(std::ffi::OsStr::new(name))
            .map(Path::new)
            .filter(|path| path.is_absolute())
    }

    /// All variables.
    pub fn variables(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.variables.iter()
    }

    /// The person's home folder.
    pub fn home(&self) -> Option<&Path> {
        self.path("HOME")
    }

    /// The width to fit text into: `COLUMNS` where it is set, else the terminal's; `None` when nobody's terminal limits it.
    pub fn width(&self) -> Option<usize> {
        let columns = self
            .text("COLUMNS")
            .and_then(|text| text.parse().ok())
            .filter(|width| *width >= 20);
        columns.or(self.terminal_width.filter(|_| self.stdout || self.stderr))
    }

    /// Whether the terminal can't move its cursor.
    pub fn dumb(&self) -> bool {
        self.text("TERM").is_none_or(|term| term == "dumb")
    }

    #[cfg(test)]
    pub fn for_tests(variables: &[(&str, &str)]) -> Self {
        Self {
            variables: variables
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            folder: PathBuf::from("/repo"),
            stdin: false,
            stdout: false,
            stderr: false,
            terminal_width: None,
        }
    }
}
