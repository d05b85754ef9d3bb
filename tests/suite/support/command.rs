//! A finished command, with assertions that show everything it said.

use std::fmt;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// What a command left behind.
#[must_use]
#[derive(Clone)]
pub struct CommandOutput {
    /// What was run, for messages.
    pub line: String,
    /// The exit code; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Everything it wrote to standard output.
    pub stdout: String,
    /// Everything it wrote to standard error.
    pub stderr: String,
}

impl CommandOutput {
    /// Runs `command` to its end, with nothing on its standard input.
    pub fn of(command: &mut Command) -> Self {
        command.stdin(Stdio::null());
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        Self::new(command, output)
    }

    /// Runs `command` to its end with `input` on its standard input.
    pub fn with_input(command: &mut Command, input: &[u8]) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let output = std::thread::scope(|scope| {
            // A command that ends early closes the pipe; its exit code tells more than the broken pipe.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().expect("the command can be waited for")
        });
        Self::new(command, output)
    }

    /// From a finished child.
    pub fn new(command: &Command, output: std::process::Output) -> Self {
        let mut line = command.get_program().to_string_lossy().into_owned();
        for argument in command.get_args() {
            line.push(' ');
            line.push_str(&shell_words::quote(&argument.to_string_lossy()));
        }
        Self {
            line,
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Requires exit code 0.
    #[track_caller]
    pub fn success(self) -> Self {
        self.code(0)
    }

    /// Requires exit code `expected`.
    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert!(
            self.status == Some(expected),
            "expected exit code {expected}\n{self}"
        );
        self
    }

    /// Requires `text` in standard output.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "expected {text:?} on standard output\n{self}"
        );
        self
    }

    /// Requires that `text` is not in standard output.
    #[track_caller]
    pub fn does_not_say(self, text: &str) -> Self {
        assert!(
            !self.stdout.contains(text),
            "did not expect {text:?} on standard output\n{self}"
        );
        self
    }

    /// Requires `text` in standard error.
    #[track_caller]
    pub fn complains(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "expected {text:?} on standard error\n{self}"
        );
        self
    }

    /// Standard output without the white space around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON on standard output: {error}\n{self}"))
    }
}

impl fmt::Display for CommandOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self
            .status
            .map_or("by a signal".to_owned(), |code| code.to_string());
        write!(
            f,
            "$ {}\n[exit {status}]\n--- stdout\n{}\n--- stderr\n{}",
            self.line, self.stdout, self.stderr
        )
    }
}

impl fmt::Debug for CommandOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
