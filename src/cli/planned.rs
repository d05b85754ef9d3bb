//! Plans of several apps: made together, shown together, saved and compared.
//!
//! In: a [`Session`] and the apps in scope. Out: [`Planned`] for each, and what could not be planned. Guaranteed: one bad app
//! stops no other; a saved plan holds nothing executable (decision 6). Must not: change anything.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Context;
use super::args::Scope;
use super::error::CommandError;
use super::output::Output;
use super::session::{Access, Session};
use crate::engine::{Expected, Look, Options, Turn, look};
use crate::names::{AppName, Digest, Revision, SourceId};
use crate::plan::text::{self as plan_text, Role as PlanRole};
use crate::render::App;
use crate::report::Exit;
use crate::report::text::{Line, Role, Text};

/// One app with the turn that is due for it; nothing is looked at yet.
pub struct Ready {
    pub app: App,
    pub turn: Turn,
    pub target: String,
}

impl Ready {
    async fn of(session: &Session, app: App, verb: &str, options: Options) -> Result<Self, CommandError> {
        let turn = session.turn(&app, verb, options).await?;
        let target = session.target(&app).await?.name().to_owned();
        Ok(Self { app, turn, target })
    }

    /// Makes `apps` ready, and gathers those that can't be.
    pub async fn all(
        session: &Session,
        apps: Vec<App>,
        verb: &str,
        options: impl Fn(&App) -> Options,
    ) -> (Vec<Self>, Vec<(String, CommandError)>) {
        let (mut ready, mut broken) = (Vec::new(), Vec::new());
        for app in apps {
            let (name, options) = (app.name.to_string(), options(&app));
            match Self::of(session, app, verb, options).await {
                Ok(one) => ready.push(one),
                Err(error) => broken.push((name, error)),
            }
        }
        (ready, broken)
    }
}

/// One app with the plan that was made for it.
pub struct Planned {
    pub app: App,
    pub turn: Turn,
    pub look: Look,
    pub target: String,
}

impl From<Planned> for Ready {
    fn from(planned: Planned) -> Self {
        let Planned {
            app, turn, target, ..
        } = planned;
        Self { app, turn, target }
    }
}

/// What planning several apps came to.
#[derive(Default)]
pub struct Plans {
    pub planned: Vec<Planned>,
    pub broken: Vec<(String, CommandError)>,
}

impl Plans {
    /// Plans `apps`, and gathers what can't be planned.
    pub async fn make(
        session: &Session,
        apps: Vec<App>,
        verb: &str,
        options: impl Fn(&App) -> Options,
    ) -> Self {
        let (ready, broken) = Ready::all(session, apps, verb, options).await;
        let mut plans = Self {
            planned: Vec::new(),
            broken,
        };
        for Ready { app, turn, target } in ready {
            match look(&turn, &session.world).await {
                Ok(look) => plans.planned.push(Planned {
                    app,
                    turn,
                    look,
                    target,
                }),
                Err(error) => plans.broken.push((app.name.to_string(), error.into())),
            }
        }
        plans
    }

    /// What a reading verb shows: a commit, or the files of a folder as they are, compared with live state.
    pub async fn read(
        context: &Context,
        verb: &str,
        names: &[String],
        local: Option<&Path>,
        scope: &Scope,
    ) -> Result<(Session, Self), CommandError> {
        let session = match local {
            Some(folder) => Session::open_local(context, folder, verb).await?,
            None => Session::open(context, Access::Read, verb).await?,
        };
        let apps = session.apps(names)?;
        let mut plans = Self::make(&session, apps, verb, |app| {
            session.options(app, scope.prune, scope.adopt)
        })
        .await;
        plans.broken.extend(session.broken(names));
        Ok((session, plans))
    }

    /// The worst exit code of what could not be planned, [`Exit::Done`] if everything was.
    pub fn broken_exit(&self) -> Exit {
        broken_exit(&self.broken)
    }

    /// Says what could not be planned.
    pub fn say_broken(&self, output: &Output) {
        say_broken(&self.broken, output);
    }

    /// Says that nothing is declared, and which apps Git no longer has: they are left as they are (decision 25).
    pub fn say_missing(&self, session: &Session, output: &Output) {
        say_missing(self.planned.is_empty() && self.broken.is_empty(), session, output);
    }

    /// Whether any plan would send a call, or take something over.
    pub fn acts(&self) -> bool {
        self.planned.iter().any(acts)
    }

    /// The text of all plans.
    pub fn text(&self, session: &Session, now: &crate::report::when::Now) -> Text {
        let mut text = Text::new();
        text.push(heading(session, now));
        for planned in &self.planned {
            for line in plan_text::lines(&planned.look.git, &planned.target) {
                text.push(painted(&line));
            }
            if let Some(hold) = &planned.look.hold {
                text.push(
                    Line::new()
                        .plain("    ")
                        .span(Role::Warn, format!("held since {}", now.clock(hold.since)))
                        .plain(format!(
                            ": {}; `driftless retry {}` tries it once more",
                            hold.cause, planned.app.name
                        )),
                );
            }
            for warning in &planned.turn.desired.warnings {
                let place = warning
                    .place
                    .as_ref()
                    .map(|place| format!("  {place}"))
                    .unwrap_or_default();
                text.push(
                    Line::new()
                        .plain("    ")
                        .span(Role::Warn, "warning: ")
                        .plain(format!("{}{place}", warning.message)),
                );
            }
            for reach in crate::gate::host::reaches(&planned.turn.desired.project) {
                text.push(
                    Line::new()
                        .plain("    ")
                        .span(Role::Warn, "warning: ")
                        .plain(format!(
                            "service `{}` asks for {}, which gives it the host",
                            reach.service,
                            planned.turn.desired.mask.clean(&reach.detail)
                        )),
                );
            }
        }
        // Where nothing could be planned, "0 to create" would look like an answer.
        if !self.planned.is_empty() || self.broken.is_empty() {
            let plans = self.planned.iter().map(|planned| &planned.look.git);
            text.push(Line::new().plain(plan_text::summary(plans)));
        }
        text
    }

    /// For programs.
    pub fn views(&self) -> Vec<plan_text::PlanView> {
        self.planned
            .iter()
            .map(|planned| plan_text::view(&planned.look.git, &planned.target))
            .collect()
    }

    /// For a pull request.
    pub fn markdown(&self) -> String {
        let plans: Vec<(&crate::plan::Plan, &str)> = self
            .planned
            .iter()
            .map(|planned| (&planned.look.git, planned.target.as_str()))
            .collect();
        plan_text::markdown(&plans)
    }
}

/// The worst exit code of what could not be used, [`Exit::Done`] if everything was.
pub fn broken_exit(broken: &[(String, CommandError)]) -> Exit {
    Exit::worst(broken.iter().map(|(_, error)| error.exit()))
}

/// Says what could not be used.
pub fn say_broken(broken: &[(String, CommandError)], output: &Output) {
    for (_, error) in broken {
        output.error(error);
    }
}

/// Says that nothing is declared, and which apps Git no longer has: they are left as they are (decision 25).
pub fn say_missing(nothing: bool, session: &Session, output: &Output) {
    if nothing {
        output.note("no app is declared here for this target; `driftless init` shows what is looked for");
    }
    let snapshot = &session.snapshot;
    let declared = |name: &AppName| {
        snapshot.discovery.app(name.as_str()).is_some()
            || snapshot
                .broken()
                .iter()
                .any(|broken| broken.name == name.as_str())
    };
    // What can't be read here says nothing about what is to be applied.
    for entry in session.world.history.apps().unwrap_or_default() {
        if entry.key.source == snapshot.source && entry.target.is_some() && !declared(&entry.key.app) {
            let app = &entry.key.app;
            output.note(&format!(
                "app `{app}` is gone from Git and was left as it is; `driftless down {app}` removes it"
            ));
        }
    }
}

/// The text of one plan.
pub fn plan_text(plan: &crate::plan::Plan, target: &str) -> Text {
    let mut text = Text::new();
    for line in plan_text::lines(plan, target) {
        text.push(painted(&line));
    }
    text.push(Line::new().plain(plan_text::summary(std::iter::once(plan))));
    text
}

/// Whether a plan has anything to do.
pub fn acts(planned: &Planned) -> bool {
    let plan = &planned.look.git;
    !plan.is_empty()
        || !plan.problems.is_empty()
        || plan.changes.iter().any(|change| {
            matches!(
                change.action,
                crate::plan::Action::Adopt | crate::plan::Action::Blocked(_)
            )
        })
        || planned
            .look
            .effective
            .as_ref()
            .is_none_or(|record| record.digest != plan.release)
}

fn heading(session: &Session, now: &crate::report::when::Now) -> Line {
    let commit = &session.snapshot.commit;
    let branch = session.snapshot.branch.as_deref().map(|name| {
        name.trim_start_matches("refs/heads/")
            .trim_start_matches("refs/tags/")
            .to_owned()
    });
    let ago = commit.time.map(|time| now.ago(time));
    let inside: Vec<String> = branch.into_iter().chain(ago).collect();
    let inside = if inside.is_empty() {
        String::new()
    } else {
        format!(" ({})", inside.join(", "))
    };
    let source = shown_source(session);
    Line::new()
        .span(Role::Strong, source)
        .plain(" @ ")
        .span(Role::Name, commit.revision.short())
        .plain(format!(" \"{}\"{inside}", commit.subject))
}

fn painted(line: &plan_text::Line) -> Line {
    line.0.iter().fold(Line::new(), |painted, part| {
        painted.span(role(part.role), part.text.clone())
    })
}

fn role(role: PlanRole) -> Role {
    match role {
        PlanRole::Heading => Role::Strong,
        PlanRole::Create => Role::Add,
        PlanRole::Update | PlanRole::Drift => Role::Change,
        PlanRole::Replace | PlanRole::Delete => Role::Remove,
        PlanRole::Blocked => Role::Bad,
        PlanRole::Place | PlanRole::Note => Role::Dim,
        _ => Role::Plain,
    }
}

/// A saved plan: what was decided on, in figures, and its masked text for people.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedPlan {
    pub api_version: String,
    pub kind: String,
    pub source: SourceId,
    pub revision: Revision,
    pub target: Option<String>,
    pub adopt: bool,
    pub prune: Option<String>,
    pub apps: Vec<SavedApp>,
    pub text: String,
}

/// One app of a saved plan.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedApp {
    pub app: AppName,
    pub release: Digest,
    pub basis: Digest,
}

impl SavedApp {
    /// What `apply` compares.
    pub fn expected(&self) -> Expected {
        Expected {
            release: self.release.clone(),
            basis: self.basis.clone(),
        }
    }
}

/// A source as people know it: the folder's name for a local repository without an origin, else its address.
fn shown_source(session: &Session) -> String {
    let id = session.snapshot.source.as_str();
    match id.strip_prefix('/') {
        Some(path) => path.rsplit('/').next().unwrap_or(path).to_owned(),
        None => id.split_once('/').map_or(id, |(_, path)| path).to_owned(),
    }
}

/// The run of an app whose predecessor did not end well: nothing is touched.
pub fn skipped(turn: &Turn, world: &crate::engine::World, target: &str, why: String) -> crate::report::Run {
    crate::report::Run {
        id: world.run_id(),
        key: turn.key.clone(),
        target: target.to_owned(),
        trigger: turn.trigger.clone(),
        started: world.clock.now(),
        took: std::time::Duration::ZERO,
        revision: Some(turn.commit.revision.clone()),
        subject: turn.commit.subject.clone(),
        release: None,
        end: crate::report::End::Refused {
            problems: vec![crate::report::Obstacle {
                code: "E0607".to_owned(),
                message: why,
                place: None,
                help: Some("put that app right first".to_owned()),
                pre_flight: false,
            }],
        },
        changes: Vec::new(),
        warnings: Vec::new(),
    }
}
