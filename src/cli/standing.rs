//! Where apps stand, in the words of `status`, `wait` and `why`.
//!
//! In: a [`Session`]. Out: [`Standing`]s, worst first. Guaranteed: what can't be read is `unknown`, never "empty"; nothing is
//! written. Must not: print.

use std::collections::BTreeMap;

use serde::Serialize;

use super::error::CommandError;
use super::session::Session;
use super::subject::{InGit, Subject};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::engine::{Look, Stand, look, sightings, stand};
use crate::health::Verdict;
use crate::history::{AppState, Hold, Phase, Summary};
use crate::report::text::Role;

/// How an app stands to what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Sync {
    /// Live state is what Git wants.
    Synced,
    /// Nothing was applied yet.
    New,
    /// Git wants something that was not applied yet.
    Behind,
    /// A run is at work, or died at work.
    Applying,
    Suspended,
    /// Live state was changed outside Git.
    Drifted,
    /// Git has it no more.
    Gone,
    /// Git's release is held; an earlier one runs.
    Held,
    /// Pre-flight or a rule refuses what Git wants.
    Blocked,
    /// Its manifest is wrong.
    Invalid,
    /// It can't be known now.
    Unknown,
    /// A release failed and there was no way back.
    Frozen,
}

impl Sync {
    /// One lower-case word.
    pub fn word(self) -> &'static str {
        match self {
            Sync::Synced => "synced",
            Sync::New => "new",
            Sync::Behind => "behind",
            Sync::Applying => "applying",
            Sync::Suspended => "suspended",
            Sync::Drifted => "drifted",
            Sync::Gone => "gone",
            Sync::Held => "held",
            Sync::Blocked => "blocked",
            Sync::Invalid => "invalid",
            Sync::Unknown => "unknown",
            Sync::Frozen => "frozen",
        }
    }

    /// How it is coloured.
    pub fn role(self) -> Role {
        match self {
            Sync::Synced => Role::Good,
            Sync::New | Sync::Behind | Sync::Applying => Role::Plain,
            Sync::Suspended | Sync::Drifted | Sync::Gone | Sync::Unknown => Role::Warn,
            Sync::Held | Sync::Blocked | Sync::Invalid | Sync::Frozen => Role::Bad,
        }
    }

    /// Whether something is in the way.
    pub fn worse_than_drift(self) -> bool {
        self > Sync::Drifted || self == Sync::Suspended
    }
}

/// One app, as `status` tells it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    pub app: String,
    pub target: Option<String>,
    pub sync: Sync,
    /// `healthy`, `suspended`, `progressing`, `missing`, `unknown`, `failing`, `failed`, or `-` where nothing is to run.
    pub health: &'static str,
    #[serde(skip)]
    rank: u8,
    /// Containers that run and those that should.
    pub ready: usize,
    pub of: usize,
    /// The commit of the release that runs.
    pub revision: Option<String>,
    pub subject: Option<String>,
    pub release: Option<u64>,
    pub since: Option<Timestamp>,
    pub git_revision: Option<String>,
    pub held: Option<HeldView>,
    pub frozen: Option<String>,
    pub blocked: Option<String>,
    pub suspended: Option<String>,
    pub error: Option<String>,
    /// What was changed outside Git, as `service/api restart`.
    pub drift: Vec<String>,
    /// Since when, by the same names: as the engine tells, else when `serve` first saw it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub drift_since: BTreeMap<String, Timestamp>,
    pub services: Vec<ServiceView>,
}

/// What is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldView {
    pub revision: String,
    pub release: Option<u64>,
    pub since: Timestamp,
    pub cause: String,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    pub service: String,
    pub health: &'static str,
    pub detail: Option<String>,
    pub ready: usize,
    pub of: usize,
    pub containers: Vec<String>,
}

impl Standing {
    /// The apps that are named, else all; the worst first.
    pub async fn of_all(session: &Session, names: &[String]) -> Result<Vec<Self>, CommandError> {
        let subjects = session.subjects(names)?;
        let work = subjects.into_iter().map(|subject| Self::of(session, subject));
        let all: Result<Vec<Self>, CommandError> =
            futures_util::future::join_all(work).await.into_iter().collect();
        let mut all = all?;
        all.sort_by(|a, b| (b.badness(), &a.app).cmp(&(a.badness(), &b.app)));
        Ok(all)
    }

    /// One app. Only a store that can't be read is an error; all else is part of where it stands.
    pub async fn of(session: &Session, subject: Subject) -> Result<Self, CommandError> {
        let state = session.world.history.state(&subject.key)?;
        let running = match state.effective {
            Some(number) => session.world.history.summary(&subject.key, number)?,
            None => None,
        };
        let holds = session.world.history.holds(&subject.key)?;
        let mut standing = Self::by_store(session, &subject, &state, running.as_ref());
        let options = session.options(&subject.app, None, false);
        let turn = match session.turn_for(&subject, "status", options).await {
            Ok(turn) => turn,
            Err(error) => {
                standing.sync = if error.exit() == crate::report::Exit::Invalid {
                    Sync::Invalid
                } else {
                    Sync::Unknown
                };
                standing.held = standing.held.or_else(|| held_by(&state, &holds));
                standing.error = Some(error.message().to_owned());
                return Ok(standing.with_git(&subject));
            }
        };
        standing.target = Some(turn.target.name().to_owned());
        let looked = match look(&turn, &session.world).await {
            Ok(looked) => looked,
            Err(error) => {
                standing.held = held_by(&state, &holds);
                standing.sync = Sync::Unknown;
                standing.error = Some(CommandError::from(error).message().to_owned());
                return Ok(standing.with_git(&subject));
            }
        };
        match stand(&turn, &session.world, &looked).await {
            Ok(stood) => standing.seen(&looked, &stood),
            Err(error) => {
                standing.sync = Sync::Unknown;
                standing.error = Some(CommandError::from(error).message().to_owned());
            }
        }
        Ok(standing.with_git(&subject))
    }

    fn by_store(session: &Session, subject: &Subject, state: &AppState, running: Option<&Summary>) -> Self {
        let now = SystemClock.now();
        let in_git = matches!(subject.git, InGit::Yes);
        Self {
            app: subject.key.app.to_string(),
            target: None,
            sync: Sync::Unknown,
            health: "unknown",
            rank: 4,
            ready: 0,
            of: 0,
            revision: running.map(|release| release.revision.to_string()),
            subject: running.map(|release| release.subject.clone()),
            release: running.map(|release| release.number),
            since: running
                .and_then(|release| release.stable_at)
                .or(state.phase_since),
            git_revision: in_git.then(|| session.snapshot.commit.revision.to_string()),
            held: None,
            frozen: state.frozen.clone().filter(|_| state.phase == Phase::Frozen),
            blocked: None,
            suspended: state
                .suspended
                .as_ref()
                .filter(|one| one.until.is_none_or(|until| until > now))
                .map(|one| {
                    let until = one
                        .until
                        .map_or_else(String::new, |until| format!(" until {until:.0}"));
                    format!("by {}{until}: {}", one.by, one.reason)
                }),
            error: state
                .last_error
                .as_ref()
                .map(|error| format!("[{}] {}", error.code, error.text)),
            drift: Vec::new(),
            drift_since: BTreeMap::new(),
            services: Vec::new(),
        }
    }

    fn seen(&mut self, look: &Look, stood: &Stand) {
        self.held = look.hold.as_ref().map(held_view);
        if let Some(problem) = look.git.problems.first() {
            self.blocked = Some(format!("[{}] {}", problem.code, problem.message));
        } else if let Some(blocked) = look
            .state
            .blocked
            .as_ref()
            .filter(|one| one.digest.as_ref() == Some(&look.git.release))
        {
            self.blocked = Some(format!("[{}] {}", blocked.code, blocked.text));
        }
        self.drift = sightings::names(&stood.drift);
        self.drift_since = stood.drift_since(&look.state);
        self.services = stood
            .services
            .iter()
            .map(|(name, one)| ServiceView {
                service: name.to_string(),
                health: one.verdict.word(),
                detail: one
                    .verdict
                    .cause()
                    .map(|cause| stood.desired.mask.clean(&cause.detail)),
                ready: one.ready,
                of: one.of,
                containers: one.containers.clone(),
            })
            .collect();
        (self.ready, self.of) = stood
            .services
            .values()
            .fold((0, 0), |(ready, of), one| (ready + one.ready, of + one.of));
        let worst = stood.worst().map(|(_, verdict)| verdict);
        let settled = look.state.effective.is_some() || look.state.candidate.is_some();
        (self.health, self.rank) = match worst {
            // Nothing was applied, so nothing is missing either.
            Some(Verdict::Missing) if !settled => ("-", 0),
            Some(verdict) => (verdict.word(), verdict.rank()),
            None => ("-", 0),
        };
        self.sync = sync(self, look);
    }

    fn with_git(mut self, subject: &Subject) -> Self {
        match &subject.git {
            InGit::Gone => self.sync = Sync::Gone,
            InGit::Broken(error) => {
                self.sync = Sync::Invalid;
                self.error = Some(error.message().to_owned());
            }
            InGit::Yes | InGit::Unknown => {}
        }
        self
    }

    fn badness(&self) -> (u8, Sync, u8) {
        // Something that does not run is worse than something that only differs.
        let sick = self.rank >= 5 || self.health == "missing";
        let loud = u8::from(sick) + u8::from(self.sync == Sync::Frozen);
        (loud, self.sync, self.rank)
    }

    /// What a watcher takes for news: everything but the passing of time.
    pub fn gist(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// How its health is coloured.
    pub fn health_role(&self) -> Role {
        role_of(self.health)
    }

    /// The one thing to say about it.
    pub fn note(&self) -> String {
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        match self.sync {
            Sync::Held => self
                .held
                .as_ref()
                .map(|held| format!("{}: {}", &held.revision[..7], held.cause))
                .unwrap_or_default(),
            Sync::Frozen => of(&self.frozen),
            Sync::Blocked => of(&self.blocked),
            Sync::Suspended => of(&self.suspended),
            Sync::Gone => format!("not in Git any more; `driftless down {}` removes it", self.app),
            Sync::Invalid | Sync::Unknown => of(&self.error),
            Sync::Drifted => self.drift.join(", "),
            _ => self
                .services
                .iter()
                .find(|service| service.detail.is_some() && service.health != "healthy")
                .map(|service| {
                    format!(
                        "{}: {}",
                        service.service,
                        service.detail.as_deref().unwrap_or_default()
                    )
                })
                .unwrap_or_default(),
        }
    }
}

fn sync(standing: &Standing, look: &Look) -> Sync {
    let state = &look.state;
    if standing.suspended.is_some() {
        Sync::Suspended
    } else if look.hold.is_some() && (state.phase == Phase::Frozen || look.effective.is_none()) {
        Sync::Frozen
    } else if look.hold.is_some() {
        Sync::Held
    } else if state.phase.in_flight() {
        Sync::Applying
    } else if standing.blocked.is_some() {
        Sync::Blocked
    } else if state.effective.is_none() {
        Sync::New
    } else if !standing.drift.is_empty() {
        Sync::Drifted
    } else if look
        .effective
        .as_ref()
        .is_some_and(|record| record.digest != look.git.release)
    {
        Sync::Behind
    } else {
        Sync::Synced
    }
}

/// The hold that keeps an app from Git's release, as far as the store alone can tell.
fn held_by(state: &AppState, holds: &[Hold]) -> Option<HeldView> {
    let held = matches!(state.phase, Phase::Held | Phase::Frozen);
    holds.last().filter(|_| held).map(held_view)
}

fn held_view(hold: &Hold) -> HeldView {
    HeldView {
        revision: hold.revision.to_string(),
        release: hold.release,
        since: hold.since,
        cause: hold.cause.clone(),
    }
}

/// How a word about health is coloured.
pub fn role_of(health: &str) -> Role {
    match health {
        "healthy" => Role::Good,
        "failing" | "failed" | "missing" => Role::Bad,
        "unknown" | "progressing" => Role::Warn,
        _ => Role::Plain,
    }
}
