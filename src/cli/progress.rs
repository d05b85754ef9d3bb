//! What is happening, on standard error: redrawn lines on a terminal, plain lines in a file, JSON for programs.
//!
//! In: [`Event`]s. Out: lines. Guaranteed: an event never waits for a slow reader of anything but standard error; one write
//! for each picture, so nothing flickers; no escape code where nobody looks at a terminal. Must not: be needed to
//! understand the result, which stands on standard output.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use unicode_width::UnicodeWidthStr as _;

use super::args::ProgressForm;
use super::output::Output;
use super::style;
use super::table::fit;
use crate::names::{AppName, ResourceKey};
use crate::progress::{Event, Progress, Silent, Stage};
use crate::report::text::{Role, visible};
use crate::report::when::span;

/// Someone who listens, and whom to tell that it is over.
pub struct Listener {
    progress: Arc<dyn Progress>,
    lines: Option<Arc<Redrawn>>,
}

impl Listener {
    /// Chooses the form.
    pub fn new(form: ProgressForm, verbose: u8, output: &Output) -> Self {
        let color = output.color_on_stderr();
        let form = match form {
            ProgressForm::Auto if output.quiet() => ProgressForm::Quiet,
            ProgressForm::Auto if output.redraws() => ProgressForm::Tty,
            ProgressForm::Auto => ProgressForm::Plain,
            asked => asked,
        };
        match form {
            ProgressForm::Quiet => Self {
                progress: Arc::new(Silent),
                lines: None,
            },
            ProgressForm::Json => Self {
                progress: Arc::new(Json),
                lines: None,
            },
            ProgressForm::Tty if output.redraws() => {
                let picture = Picture::new(output.width().unwrap_or(80), color);
                let lines = Arc::new(Redrawn(Mutex::new(picture)));
                Self {
                    progress: lines.clone(),
                    lines: Some(lines),
                }
            }
            ProgressForm::Tty | ProgressForm::Plain | ProgressForm::Auto => {
                let plain = Plain {
                    steps: verbose > 0,
                    color,
                    told: Mutex::new(BTreeMap::new()),
                };
                Self {
                    progress: Arc::new(plain),
                    lines: None,
                }
            }
        }
    }

    /// What the engine talks to.
    pub fn progress(&self) -> Arc<dyn Progress> {
        self.progress.clone()
    }

    /// Takes the picture away, so that the result can be printed.
    pub fn end(&self) {
        if let Some(lines) = &self.lines {
            say(&lines.0.lock().unwrap_or_else(PoisonError::into_inner).erase());
        }
    }
}

fn say(text: &str) {
    let mut stream = std::io::stderr().lock();
    // Nobody is left to be told that standard error is gone.
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}

struct Json;

impl Progress for Json {
    fn event(&self, event: Event) {
        say(&format!("{}\n", value(&event)));
    }
}

fn value(event: &Event) -> serde_json::Value {
    match event {
        Event::Stage { app, stage } => json!({ "event": "stage", "app": app, "stage": stage.to_string() }),
        Event::Step { app, resource, text } => {
            json!({ "event": "step", "app": app, "resource": resource.to_string(), "text": text })
        }
        Event::Done {
            app,
            resource,
            text,
            took,
        } => json!({
            "event": "done", "app": app, "resource": resource.to_string(), "text": text, "seconds": took.as_secs_f64()
        }),
        Event::Failed { app, resource, error } => {
            json!({ "event": "failed", "app": app, "resource": resource.to_string(), "error": error })
        }
        Event::Skipped {
            app,
            resource,
            because,
        } => {
            json!({ "event": "skipped", "app": app, "resource": resource.to_string(), "because": because })
        }
        Event::Waiting {
            app,
            resource,
            what,
            left,
        } => json!({
            "event": "waiting", "app": app, "resource": resource.as_ref().map(ToString::to_string), "what": what,
            "secondsLeft": left.map(|left| left.as_secs())
        }),
        Event::Over { app } => json!({ "event": "over", "app": app }),
    }
}

/// A new line for each thing that is new.
struct Plain {
    steps: bool,
    color: bool,
    told: Mutex<BTreeMap<(AppName, Option<ResourceKey>), String>>,
}

impl Progress for Plain {
    fn event(&self, event: Event) {
        if let Some(line) = self.line(&event) {
            say(&format!("{line}\n"));
        }
    }
}

impl Plain {
    fn line(&self, event: &Event) -> Option<String> {
        let mark = |role, text| style::word(role, text, self.color);
        let line = match event {
            Event::Stage { app, stage } => format!("  {app}: {stage}"),
            Event::Step { app, resource, text } if self.steps => format!("  {app} {resource}: {text}"),
            Event::Step { .. } | Event::Over { .. } => return None,
            Event::Done {
                app,
                resource,
                text,
                took,
            } => {
                format!(
                    "{} {app} {resource}: {text} ({})",
                    mark(Role::Good, "✔"),
                    span(*took)
                )
            }
            Event::Failed { app, resource, error } => {
                format!("{} {app} {resource}: {error}", mark(Role::Bad, "✘"))
            }
            Event::Skipped {
                app,
                resource,
                because,
            } => format!("- {app} {resource}: left out, because {because}"),
            Event::Waiting {
                app, resource, what, ..
            } => {
                // The time that is left changes with every look; only what is waited for is news.
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                let known = told.insert((app.clone(), resource.clone()), what.clone());
                if known.as_ref() == Some(what) {
                    return None;
                }
                match resource {
                    Some(resource) => format!("  {app} {resource}: {what}"),
                    None => format!("  {app}: {what}"),
                }
            }
        };
        Some(visible(&line.replace('\u{1b}', "\u{241b}")).replace('\u{241b}', "\u{1b}"))
    }
}

struct Redrawn(Mutex<Picture>);

impl Progress for Redrawn {
    fn event(&self, event: Event) {
        let mut picture = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        picture.take(event);
        let drawn = picture.draw();
        say(&drawn);
    }
}

fn waiting(what: &str, left: Option<Duration>) -> String {
    let left = left.map(|left| format!("  ({} left)", span(left)));
    format!("{what}{}", left.unwrap_or_default())
}

/// Most lines that are drawn; what is done goes first when there are more.
const MOST_LINES: usize = 16;

/// The lines of all services as they stand.
struct Picture {
    width: usize,
    color: bool,
    apps: BTreeMap<AppName, App>,
    drawn: usize,
}

#[derive(Default)]
struct App {
    stage: Option<Stage>,
    /// What the app as a whole waits for.
    waiting: Option<(String, Option<Duration>)>,
    /// Its run has ended, and those of others go on.
    over: bool,
    lines: BTreeMap<ResourceKey, State>,
}

#[derive(Clone)]
enum State {
    Doing(String),
    Waiting(String, Option<Duration>),
    Done(String, Duration),
    Failed(String),
    Skipped(String),
}

impl Picture {
    fn new(width: usize, color: bool) -> Self {
        Self {
            width,
            color,
            apps: BTreeMap::new(),
            drawn: 0,
        }
    }

    fn take(&mut self, event: Event) {
        let (app, line) = match event {
            Event::Stage { app, stage } => {
                let app = self.apps.entry(app).or_default();
                (app.stage, app.waiting, app.over) = (Some(stage), None, false);
                return;
            }
            Event::Step { app, resource, text } => (app, (resource, State::Doing(text))),
            Event::Done {
                app,
                resource,
                text,
                took,
            } => (app, (resource, State::Done(text, took))),
            Event::Failed { app, resource, error } => (app, (resource, State::Failed(error))),
            Event::Skipped {
                app,
                resource,
                because,
            } => (app, (resource, State::Skipped(because))),
            Event::Over { app } => {
                let app = self.apps.entry(app).or_default();
                (app.waiting, app.over) = (None, true);
                return;
            }
            Event::Waiting {
                app,
                resource: Some(resource),
                what,
                left,
            } => (app, (resource, State::Waiting(what, left))),
            Event::Waiting {
                app,
                resource: None,
                what,
                left,
            } => {
                self.apps.entry(app).or_default().waiting = Some((what, left));
                return;
            }
        };
        self.apps.entry(app).or_default().lines.insert(line.0, line.1);
    }

    /// One write: up to the first line, each line over the old one, the rest cleared.
    fn draw(&mut self) -> String {
        let lines = self.lines();
        let mut text = self.up();
        for line in &lines {
            text.push_str(line);
            text.push_str("\u{1b}[K\n");
        }
        text.push_str("\u{1b}[J");
        self.drawn = lines.len();
        text
    }

    fn erase(&mut self) -> String {
        let text = if self.drawn > 0 {
            format!("{}\u{1b}[J", self.up())
        } else {
            String::new()
        };
        self.drawn = 0;
        self.apps.clear();
        text
    }

    fn up(&self) -> String {
        if self.drawn > 0 {
            format!("\u{1b}[{}F", self.drawn)
        } else {
            String::new()
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let total: usize = self.apps.values().map(|app| app.lines.len() + 1).sum();
        let hide_done = total > MOST_LINES;
        for (name, app) in &self.apps {
            let stage = match app.stage {
                _ if app.over => "is over".to_owned(),
                Some(stage) => stage.to_string(),
                None => String::new(),
            };
            let done = app
                .lines
                .values()
                .filter(|state| matches!(state, State::Done(..)))
                .count();
            let count = if hide_done && done > 0 {
                format!("  ({done} done)")
            } else {
                String::new()
            };
            let whole = match &app.waiting {
                Some((what, left)) => format!("  {}", waiting(what, *left)),
                None => String::new(),
            };
            lines.push(self.styled(Role::Strong, "", &format!("{name}  {stage}{count}{whole}")));
            let names = app.lines.keys().map(|resource| resource.to_string().width());
            let column = names.max().unwrap_or(0).clamp(20, 40);
            for (resource, state) in &app.lines {
                let (role, mark, text) = match state {
                    State::Done(..) if hide_done => continue,
                    State::Done(text, took) => (Role::Good, "✔", format!("{text} ({})", span(*took))),
                    State::Doing(text) => (Role::Name, "•", text.clone()),
                    State::Waiting(what, left) => (Role::Warn, "…", waiting(what, *left)),
                    State::Failed(error) => (Role::Bad, "✘", error.clone()),
                    State::Skipped(because) => (Role::Dim, "-", format!("left out, because {because}")),
                };
                lines.push(self.styled(role, mark, &format!("{:<column$} {text}", resource.to_string())));
            }
        }
        let more = lines.len().saturating_sub(MOST_LINES);
        lines.truncate(MOST_LINES);
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
        lines
    }

    /// Never wider than the terminal: a line that wraps would be counted wrongly.
    fn styled(&self, role: Role, mark: &str, text: &str) -> String {
        let text = visible(text);
        let room = self.width.saturating_sub(1);
        if mark.is_empty() {
            return style::word(role, &fit(&text, room), self.color);
        }
        format!(
            "  {} {}",
            style::word(role, mark, self.color),
            fit(&text, room.saturating_sub(4))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Kind;

    fn app() -> AppName {
        AppName::try_from("web").expect("a name")
    }

    fn api() -> ResourceKey {
        ResourceKey::new(Kind::Service, "api")
    }

    fn waiting(what: &str, left: u64) -> Event {
        Event::Waiting {
            app: app(),
            resource: Some(api()),
            what: what.into(),
            left: Some(Duration::from_secs(left)),
        }
    }

    #[test]
    fn plain_lines_tell_only_what_is_new() {
        let plain = Plain {
            steps: false,
            color: false,
            told: Mutex::default(),
        };
        assert_eq!(
            plain.line(&waiting("starting", 30)).as_deref(),
            Some("  web service/api: starting")
        );
        assert_eq!(plain.line(&waiting("starting", 29)), None);
        assert!(plain.line(&waiting("unhealthy", 28)).is_some());
        let step = Event::Step {
            app: app(),
            resource: api(),
            text: "create".into(),
        };
        assert_eq!(plain.line(&step), None);
    }

    #[test]
    fn a_picture_is_drawn_over_the_last_one() {
        let mut picture = Picture::new(40, false);
        picture.take(Event::Stage {
            app: app(),
            stage: Stage::Verify,
        });
        picture.take(waiting("its healthcheck has not passed yet", 29));
        let first = picture.draw();
        assert!(
            !first.contains("\u{1b}[2F") && first.contains("verify"),
            "{first:?}"
        );
        picture.take(Event::Waiting {
            app: app(),
            resource: None,
            what: "it must stay so".into(),
            left: None,
        });
        picture.take(Event::Done {
            app: app(),
            resource: api(),
            text: "healthy".into(),
            took: Duration::from_secs(3),
        });
        let second = picture.draw();
        assert!(
            second.starts_with("\u{1b}[2F")
                && second.contains("web  verify  it must stay so")
                && second.contains("✔")
                && second.contains("healthy (3s)"),
            "{second:?}"
        );
        assert_eq!(picture.erase(), "\u{1b}[2F\u{1b}[J");
        assert_eq!(picture.erase(), "");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut picture = Picture::new(40, false);
        picture.take(waiting(&"a very long reason ".repeat(9), 29));
        assert!(picture.lines().iter().all(|line| line.width() < 40));
    }
}
