//! Apps as verbs name them: those that Git has, and those that only the store knows any more.
//!
//! In: names from the command line. Out: [`Subject`]s and turns for them. Guaranteed: an app that Git lost, or whose manifest
//! broke, can still be looked at and taken down, from its newest stored release; a name that nobody knows gets a "did you
//! mean". Must not: guess an engine for an app whose release was applied to another one.

use std::sync::Arc;

use super::error::CommandError;
use super::session::Session;
use crate::document::Diagnostics;
use crate::engine::look::desired_of;
use crate::engine::{Commit, Options, Turn};
use crate::history::{AppState, StoreError};
use crate::names::{AppKey, AppName};
use crate::release::Record;
use crate::render::app::{AppKind, Rules};
use crate::render::{App, Desired};
use crate::report::{Exit, Trigger};

/// One app that a verb is about.
pub struct Subject {
    pub key: AppKey,
    pub app: App,
    /// Where it is declared; else it is known from the store only.
    pub git: InGit,
}

/// Whether Git has an app.
#[derive(Debug)]
pub enum InGit {
    Yes,
    /// Not in the commit that was read.
    Gone,
    /// It is there, and can't be used.
    Broken(CommandError),
    /// Git could not be read.
    Unknown,
}

/// The app as its stored release was: an app that Git does not show is known from there.
fn of_record(app: &App, record: &Record) -> App {
    if !matches!(&app.kind, AppKind::Compose { file } if file.is_empty()) {
        return app.clone();
    }
    let kind = match record.snapshot.bundle {
        Some(_) => AppKind::Manifests {
            folder: String::new(),
            files: Vec::new(),
        },
        None => app.kind.clone(),
    };
    App {
        kind,
        rules: record.snapshot.rules.clone(),
        ..app.clone()
    }
}

impl Session {
    /// The apps that are named, else all of this source: Git's for this target, then those that only the store knows.
    pub fn subjects(&self, names: &[String]) -> Result<Vec<Subject>, CommandError> {
        if names.is_empty() {
            let mut all: Vec<Subject> = self
                .apps(&[])?
                .into_iter()
                .map(|app| self.declared(app))
                .collect();
            let (_, refused) = self.snapshot.ordered();
            all.extend(refused.into_iter().map(|(app, why)| Subject {
                key: self.key(app),
                app: app.clone(),
                git: InGit::Broken(CommandError::new(
                    Exit::Invalid,
                    format!("app `{}` can't be applied: {why}", app.name),
                )),
            }));
            for broken in self.snapshot.broken() {
                let Ok(name) = AppName::try_from(broken.name.as_str()) else {
                    continue;
                };
                all.push(self.stored(name, InGit::Broken(broken.diagnostics.clone().into())));
            }
            all.extend(self.gone()?);
            return Ok(all);
        }
        names.iter().map(|name| self.subject(name)).collect()
    }

    /// One app by its name.
    pub fn subject(&self, name: &str) -> Result<Subject, CommandError> {
        let known: Vec<AppName> = self.stored_names()?;
        let stored = known.iter().find(|known| known.as_str() == name);
        if self.snapshot.discovery.app(name).is_some() {
            let names = [name.to_owned()];
            return match (self.apps(&names), stored) {
                (Ok(apps), _) => apps
                    .into_iter()
                    .next()
                    .map(|app| self.declared(app))
                    .ok_or_else(|| CommandError::unknown("app", name, [])),
                (Err(error), Some(stored)) => Ok(self.stored(stored.clone(), InGit::Broken(error))),
                (Err(error), None) => Err(error),
            };
        }
        let broken = self.snapshot.broken().iter().find(|broken| broken.name == name);
        match (stored, broken, &self.git_away) {
            (Some(stored), Some(broken), _) => {
                Ok(self.stored(stored.clone(), InGit::Broken(broken.diagnostics.clone().into())))
            }
            (None, Some(broken), _) => Err(broken.diagnostics.clone().into()),
            (Some(stored), None, None) => Ok(self.stored(stored.clone(), InGit::Gone)),
            (Some(stored), None, Some(_)) => Ok(self.stored(stored.clone(), InGit::Unknown)),
            (None, None, away) => {
                let declared = self.snapshot.discovery.apps.iter().map(|app| app.name.as_str());
                let broken = self.snapshot.broken().iter().map(|broken| broken.name.as_str());
                let error = CommandError::unknown(
                    "app",
                    name,
                    declared.chain(broken).chain(known.iter().map(AppName::as_str)),
                );
                Err(match away {
                    Some(_) => {
                        error.note("Git can't be read now, so only apps that were applied before are known")
                    }
                    None => error,
                })
            }
        }
    }

    /// Apps that own something on an engine by the store, and that Git does not show.
    pub fn gone(&self) -> Result<Vec<Subject>, CommandError> {
        let git = if self.git_away.is_some() {
            || InGit::Unknown
        } else {
            || InGit::Gone
        };
        let shown = |name: &AppName| {
            self.snapshot.discovery.app(name.as_str()).is_some()
                || self
                    .snapshot
                    .broken()
                    .iter()
                    .any(|broken| broken.name == name.as_str())
        };
        let entries = self.world.history.apps()?;
        Ok(entries
            .into_iter()
            .filter(|entry| {
                entry.key.source == self.snapshot.source && entry.project.is_some() && !shown(&entry.key.app)
            })
            .map(|entry| self.stored(entry.key.app, git()))
            .collect())
    }

    fn stored_names(&self) -> Result<Vec<AppName>, CommandError> {
        let entries = self.world.history.apps()?;
        let ours = entries
            .into_iter()
            .filter(|entry| entry.key.source == self.snapshot.source);
        Ok(ours.map(|entry| entry.key.app).collect())
    }

    fn declared(&self, app: App) -> Subject {
        Subject {
            key: self.key(&app),
            app,
            git: InGit::Yes,
        }
    }

    fn stored(&self, name: AppName, git: InGit) -> Subject {
        let key = AppKey {
            source: self.snapshot.source.clone(),
            app: name.clone(),
        };
        let app = App {
            name,
            path: String::new(),
            kind: AppKind::Compose { file: String::new() },
            target: None,
            after: Vec::new(),
            profiles: Vec::new(),
            rules: Rules::default(),
            declared: None,
        };
        Subject { key, app, git }
    }

    /// A turn for an app: what Git wants, else what its newest stored release was.
    pub async fn turn_for(
        &self,
        subject: &Subject,
        verb: &str,
        options: Options,
    ) -> Result<Turn, CommandError> {
        let broken = match &subject.git {
            InGit::Yes => match self.rendered(&subject.app).await {
                Ok(Ok(_)) => return self.turn(&subject.app, verb, options).await,
                Ok(Err(found)) => Some(CommandError::from(found)),
                Err(error) => Some(error),
            },
            InGit::Gone | InGit::Unknown | InGit::Broken(_) => None,
        };
        match (self.turn_of_record(subject, verb, options).await, broken) {
            (Ok(Some(turn)), _) => Ok(turn),
            (Ok(None), Some(error)) => Err(error),
            (Ok(None), None) => Err(CommandError::new(
                Exit::Usage,
                format!(
                    "app `{}` has no stored release, and Git does not show how it should be",
                    subject.key.app
                ),
            )),
            (Err(error), _) => Err(error),
        }
    }

    /// What Git wants of an app, or why that can't be said.
    async fn rendered(&self, app: &App) -> Result<Result<Desired, Diagnostics>, CommandError> {
        let inputs = self.expand(app, self.inputs(app)?).await?;
        Ok(self.snapshot.desired(app, &inputs))
    }

    /// A turn towards what an app's newest stored release was; `None` if there is none.
    pub async fn turn_of_record(
        &self,
        subject: &Subject,
        verb: &str,
        options: Options,
    ) -> Result<Option<Turn>, CommandError> {
        let state = self.world.history.state(&subject.key)?;
        let Some(record) = self.newest(&subject.key, &state)? else {
            return Ok(None);
        };
        let target = self.target(&of_record(&subject.app, &record)).await?;
        if let Some(known) = state.target.as_ref().filter(|known| *known != target.id()) {
            return Err(CommandError::new(
                Exit::Refused,
                format!(
                    "{} is another engine than the one that `{}` was applied to (id {}, was {known})",
                    target.name(),
                    subject.key.app,
                    target.id()
                ),
            )
            .code("E0611")
            .hint("name the right one with --target"));
        }
        Ok(Some(Turn {
            key: subject.key.clone(),
            target,
            commit: Commit {
                revision: record.revision.clone(),
                subject: record.subject.clone(),
                author: record.author.clone(),
                time: None,
            },
            desired: Arc::new(desired_of(&record)),
            neighbours: Arc::default(),
            trigger: Trigger::Person(verb.to_owned()),
            options,
            waits: self.stop.child_token(),
        }))
    }

    /// The release that an app runs, was tried with last, or has at all.
    fn newest(&self, key: &AppKey, state: &AppState) -> Result<Option<Record>, StoreError> {
        let history = &self.world.history;
        let newest = || Ok::<_, StoreError>(history.releases(key, 1)?.first().map(|summary| summary.number));
        let number = match state.effective.or(state.candidate) {
            Some(number) => Some(number),
            None => newest()?,
        };
        number.map_or(Ok(None), |number| history.release(key, number))
    }
}
