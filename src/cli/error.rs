//! Why a command ended: one type at the edge, with an exit code and the next step.
//!
//! In: errors of every stage. Out: [`CommandError`], its text and its JSON. Guaranteed: the message, each cause once, the
//! next step, the exit code. Must not: be matched on; what may be matched is the stage's own error.

use crate::document::{Code, Diagnostic, Diagnostics, Place, did_you_mean};
use crate::live::docker::credentials::CredentialsError;
use crate::live::docker::endpoint::EndpointError;
use crate::live::error::LiveError;
use crate::report::Exit;
use crate::report::text::{Line, Role, Text};
use crate::source::{CheckoutError, SourceError};

/// Why a command ended.
#[derive(Debug)]
pub struct CommandError {
    exit: Exit,
    code: Option<String>,
    message: String,
    place: Option<Place>,
    causes: Vec<String>,
    notes: Vec<String>,
    hints: Vec<String>,
    found: Diagnostics,
}

impl CommandError {
    /// An error with its exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: None,
            message: message.into(),
            place: None,
            causes: Vec::new(),
            notes: Vec::new(),
            hints: Vec::new(),
            found: Diagnostics::new(),
        }
    }

    /// Something that a person named and that is not there.
    pub fn unknown<'a>(kind: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let error = Self::new(Exit::Usage, format!("there is no {kind} `{name}`"));
        match did_you_mean(name, known.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None if known.is_empty() => error,
            None => {
                let mut shown: Vec<&str> = known.iter().copied().take(12).collect();
                shown.sort_unstable();
                let more = known.len() - shown.len();
                let tail = if more > 0 {
                    format!(" and {more} more")
                } else {
                    String::new()
                };
                error.hint(format!("there are: {}{tail}", shown.join(", ")))
            }
        }
    }

    /// A diagnostic code.
    #[must_use]
    pub fn code(mut self, code: impl ToString) -> Self {
        self.code = Some(code.to_string());
        self
    }

    /// Where.
    #[must_use]
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// What was underneath, with its own causes; a cause that the text already tells is left out.
    #[must_use]
    pub fn because(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            let told = |told: &String| told.contains(&text);
            if !text.is_empty() && !told(&self.message) && !self.causes.iter().any(told) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// One more fact.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// What to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The message alone; the first finding's where files are at fault.
    pub fn message(&self) -> &str {
        self.found
            .iter()
            .next()
            .map_or(&self.message, |found| &found.message)
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// One line and the next step, for a list of checks.
    pub fn in_short(&self) -> (String, Option<String>) {
        let first = self
            .found
            .iter()
            .next()
            .map(|one| format!(": {one}"))
            .unwrap_or_default();
        let next = self
            .hints
            .first()
            .cloned()
            .or_else(|| self.found.iter().next().and_then(|one| one.help.clone()));
        (format!("{}{first}", self.message), next)
    }

    /// Findings in files, with their lines.
    pub fn snippets(&self, color: bool, width: usize) -> String {
        if self.found.is_empty() {
            String::new()
        } else {
            format!("{}\n", self.found.render(color, width))
        }
    }

    /// Everything but the findings in files.
    pub fn to_text(&self, width: usize) -> Text {
        let mut text = Text::new();
        let mut head = Line::new().span(Role::Bad, "error");
        if let Some(code) = &self.code {
            head = head.span(Role::Bad, format!("[{code}]"));
        }
        text.push(head.span(Role::Strong, format!(": {}", self.message)));
        if let Some(place) = &self.place {
            text.push(Line::new().span(Role::Dim, "  --> ").plain(place.to_string()));
        }
        for cause in &self.causes {
            text.push(Line::new().span(Role::Dim, "  caused by: ").plain(cause.as_str()));
        }
        for note in &self.notes {
            text.push(Line::new().span(Role::Dim, "  = note: ").plain(note.as_str()));
        }
        for hint in &self.hints {
            text.push(Line::new().span(Role::Name, "  = help: ").plain(hint.as_str()));
        }
        text.push_exit(self.exit, width);
        text
    }

    /// For programs.
    pub fn to_value(&self) -> serde_json::Value {
        let findings: Vec<serde_json::Value> = self.found.iter().map(finding).collect();
        serde_json::json!({
            "exitCode": self.exit.code(),
            "code": self.code,
            "message": self.message,
            "place": self.place,
            "causes": self.causes,
            "notes": self.notes,
            "hints": self.hints,
            "findings": findings,
        })
    }
}

/// One diagnostic for programs.
pub fn finding(one: &Diagnostic) -> serde_json::Value {
    serde_json::json!({
        "code": one.code,
        "slug": one.code.slug(),
        "severity": one.severity,
        "message": one.message,
        "place": one.place(),
        "label": one.label,
        "notes": one.notes,
        "help": one.help,
    })
}

impl From<Diagnostics> for CommandError {
    fn from(found: Diagnostics) -> Self {
        let errors = found
            .iter()
            .filter(|one| one.severity == crate::document::Severity::Error)
            .count();
        let message = match errors {
            1 => "1 problem was found".to_owned(),
            count => format!("{count} problems were found"),
        };
        let codes: std::collections::BTreeSet<Code> = found.iter().map(|one| one.code).collect();
        let first = codes.into_iter().next();
        let error = Self {
            found,
            ..Self::new(Exit::Invalid, message)
        }
        .note("nothing was changed");
        match first {
            Some(code) => error.hint(format!("`driftless explain {code}` tells more")),
            None => error,
        }
    }
}

impl From<Diagnostic> for CommandError {
    fn from(one: Diagnostic) -> Self {
        Diagnostics::from(one).into()
    }
}

impl From<SourceError> for CommandError {
    fn from(error: SourceError) -> Self {
        let built = Self::new(Exit::Source, error.to_string())
            .code(error.code())
            .because(&error);
        hinted(built, error.hint())
    }
}

impl From<CheckoutError> for CommandError {
    fn from(error: CheckoutError) -> Self {
        Self::new(Exit::Source, error.to_string())
            .code(error.code())
            .because(&error)
    }
}

impl From<LiveError> for CommandError {
    fn from(error: LiveError) -> Self {
        let built = Self::new(Exit::Target, error.to_string())
            .code(error.code())
            .because(&error);
        hinted(built, error.hint())
    }
}

impl From<EndpointError> for CommandError {
    fn from(error: EndpointError) -> Self {
        let built = Self::new(Exit::Target, error.to_string())
            .code(error.code())
            .because(&error);
        hinted(built, error.hint())
    }
}

impl From<CredentialsError> for CommandError {
    fn from(error: CredentialsError) -> Self {
        let built = Self::new(Exit::Target, error.to_string())
            .code(error.code())
            .because(&error);
        hinted(built, error.hint())
    }
}

fn hinted(error: CommandError, hint: Option<String>) -> CommandError {
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::error::Problem;

    #[test]
    fn an_error_tells_each_cause_once_and_the_next_step() {
        let cause = std::io::Error::other("connection refused (os error 111)");
        let problem = Problem::Absent {
            address: "unix:///var/run/docker.sock".into(),
        };
        let error = CommandError::from(LiveError::caused("connect to default", problem, &cause));
        insta::assert_snapshot!(error.to_text(80), @r"
        error[E0501]: connect to default: no engine listens at unix:///var/run/docker.sock
          caused by: connection refused (os error 111)
          = help: start the engine, or name another one with --target or DOCKER_HOST
          [exit 5]
        ");
        assert_eq!(error.exit(), Exit::Target);
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_one() {
        let error = CommandError::unknown("app", "wbe", ["web", "blog"]);
        assert!(error.to_text(80).to_string().contains("did you mean `web`?"));
        let error = CommandError::unknown("app", "nothing-like-it", ["web", "blog"]);
        assert!(error.to_text(80).to_string().contains("there are: blog, web"));
    }
}
