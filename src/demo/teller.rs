//! Tells a story: headings, commands with what they say, what is proven about them.
//!
//! In: a shell, a place to say lines. Out: lines; an error where a command ended otherwise than told, or a fact is none.
//! Guaranteed: what a command said is shown as it said it. Must not: know where the story takes place.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::DemoError;
use super::repository::Repository;
use super::shell::Shell;
use crate::clock::{Clock as _, SystemClock};

/// The voice of a demo.
pub(super) struct Teller<'a> {
    pub shell: Shell,
    say: &'a dyn Fn(&str),
    pub stop: &'a CancellationToken,
    color: bool,
    step: u32,
    begun: Instant,
    commits: i64,
}

/// `1.5 s`
pub(super) fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

impl<'a> Teller<'a> {
    pub fn new(shell: Shell, say: &'a dyn Fn(&str), stop: &'a CancellationToken, color: bool) -> Self {
        Self {
            shell,
            say,
            stop,
            color,
            step: 0,
            begun: Instant::now(),
            commits: 0,
        }
    }

    /// Runs a command, shows it and what it says, and requires its exit code.
    pub async fn driftless(&self, arguments: &[&str], expected: i32) -> Result<String, DemoError> {
        let begun = Instant::now();
        self.line(&self.bold(&format!("$ driftless {}", arguments.join(" "))));
        let bar = self.dim("│");
        let ran = self
            .shell
            .run(
                arguments,
                &|line| self.line(format!("{bar} {line}").trim_end()),
                self.stop,
            )
            .await?;
        let code = ran.code.map_or("by a signal".to_owned(), |code| code.to_string());
        self.line(&format!(
            "{bar} {}",
            self.dim(&format!("[exit {code}, {}]", seconds(begun.elapsed())))
        ));
        if ran.code != Some(expected) {
            return self.not_so(format!(
                "`driftless {}` ended with {code}, not {expected}",
                arguments.join(" ")
            ));
        }
        Ok(ran.text)
    }

    /// Commits what was edited, and shows its lines.
    pub fn commit(
        &mut self,
        repository: &Repository,
        message: &str,
        lines: &[String],
    ) -> Result<(), DemoError> {
        // A second apart, so that the order of the commits is that of their times.
        let at = SystemClock.now().as_second() + self.commits;
        self.commits += 1;
        for line in lines {
            self.line(&format!("  {}", self.dim(line)));
        }
        let id = repository.commit(message, at)?;
        self.remark(&format!("git commit -am {message:?}   -> {id}"));
        Ok(())
    }

    pub fn check(&self, holds: bool, good: &str, bad: &str) -> Result<(), DemoError> {
        if !holds {
            return self.not_so(bad.to_owned());
        }
        self.good(good);
        Ok(())
    }

    pub fn not_so<T>(&self, what: String) -> Result<T, DemoError> {
        if self.stop.is_cancelled() {
            return Err(DemoError::Interrupted);
        }
        self.line(&format!("{} {what}", self.paint("31", "✘")));
        Err(DemoError::NotSo {
            step: self.step,
            what,
        })
    }

    pub fn heading(&mut self, text: &str) {
        self.step += 1;
        self.begun = Instant::now();
        (self.say)("");
        (self.say)(&self.bold(&format!("{}. {text}", self.step)));
    }

    pub fn done(&self) {
        self.line(&self.dim(&format!("{} for this step", seconds(self.begun.elapsed()))));
    }

    pub fn good(&self, text: &str) {
        self.line(&format!("{} {text}", self.paint("32", "✔")));
    }

    /// What the demo does by itself, in the words of a person who would do it.
    pub fn remark(&self, text: &str) {
        self.line(&format!("# {text}"));
    }

    pub fn line(&self, text: &str) {
        (self.say)(&format!("   {text}"));
    }

    /// Outside of the steps.
    pub fn say(&self, text: &str) {
        (self.say)(text);
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
