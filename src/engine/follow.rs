//! One source, followed: asked, read when it moved, rendered where something changed.
//!
//! In: a source and the operator's files. Out: [`News`], one for each time it was asked. Guaranteed: an unchanged revision is
//! neither fetched nor listed nor rendered; an app whose files and whose operator's files are as before is not rendered
//! again; every way a source can fail is news, never silence, and never "no apps". Must not: know a target, or write.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::document::{Code, Diagnostics};
use crate::names::{AppName, Revision};
use crate::render::{self, App, Desired, Inputs};
use crate::report::{Failure, Stage};
use crate::source::{self, GitSource, Movement, Source as _, Watch};

use super::schedule;
use super::snapshot::{ReadError, Snapshot, expand};
use super::supervisor::{Operator, Pace};
use super::world::Commit;

/// A ref that suddenly shares no history with what was followed.
pub(super) const UNRELATED: &str = "E0423";
/// Work of ours that broke off: a bug, said as one.
pub(super) const INTERRUPTED: &str = "E0632";

/// A source that is followed.
#[derive(Clone)]
pub struct Followed {
    pub source: Arc<GitSource>,
    /// How often it is asked, and how often its apps are looked at.
    pub interval: Duration,
    /// Names of targets that it may deploy to; empty: all.
    pub targets: Vec<String>,
}

/// What one asking of a source gave.
pub(super) struct News {
    /// Its place among the sources.
    pub source: usize,
    pub what: What,
}

pub(super) enum What {
    /// It moved, or the operator's files did: all its apps, as they are wanted now.
    Read(Reading),
    /// It was asked, and everything is as before.
    Unchanged,
    /// It gave nothing that may be used.
    Trouble(Trouble),
}

/// Everything that a source wants at one commit.
pub(super) struct Reading {
    pub commit: Commit,
    /// Each after those that it names in `after`.
    pub apps: Vec<Rendered>,
    /// Names or folders of what can't be used, with the reason.
    pub broken: Vec<(String, Failure)>,
}

/// One app at one commit.
#[derive(Clone)]
pub(super) struct Rendered {
    pub app: App,
    pub result: Result<Arc<Desired>, Failure>,
    /// What it was rendered from besides Git.
    given: Arc<Inputs>,
    /// What was looked at in Git.
    looked_at: source::Inputs,
}

/// Why a source gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub code: String,
    pub text: String,
    pub help: Option<String>,
}

/// What was read last.
struct Seen {
    snapshot: Arc<Snapshot>,
    rendered: BTreeMap<AppName, Rendered>,
}

pub(super) struct Follower {
    pub index: usize,
    pub followed: Followed,
    pub operator: Arc<dyn Operator>,
    pub pace: Pace,
    pub news: mpsc::Sender<News>,
    pub bell: watch::Receiver<u64>,
    pub drain: CancellationToken,
    seen: Option<Seen>,
    /// A commit that can't be used whatever is tried, and why.
    useless: Option<(Revision, Trouble)>,
    failures: u32,
    watch: Option<Watch>,
    /// A watch that can't be had is said once.
    watch_refused: bool,
}

impl Follower {
    pub(super) fn new(
        index: usize,
        followed: Followed,
        operator: Arc<dyn Operator>,
        pace: Pace,
        news: mpsc::Sender<News>,
        bell: watch::Receiver<u64>,
        drain: CancellationToken,
    ) -> Self {
        Self {
            index,
            followed,
            operator,
            pace,
            news,
            bell,
            drain,
            seen: None,
            useless: None,
            failures: 0,
            watch: None,
            watch_refused: false,
        }
    }

    /// Asks until the loop ends.
    pub(super) async fn follow(mut self) {
        let drain = self.drain.clone();
        loop {
            // The watch stands before the question, so that no commit can fall between the two.
            self.set_watch();
            let what = tokio::select! {
                // Cancelled half-way: a `git` child dies with its future, a mirror is repaired at the next start, and
                // nothing was told to anybody.
                () = drain.cancelled() => return,
                what = self.ask() => what,
            };
            self.failures = match what {
                What::Trouble(_) => {
                    // A repository that went away and came back is another folder to watch.
                    self.watch = None;
                    self.failures.saturating_add(1)
                }
                _ => 0,
            };
            tokio::select! {
                // Cancelled while the loop is busy: the news dies with the loop that it was for.
                () = drain.cancelled() => return,
                sent = self.news.send(News { source: self.index, what }) => if sent.is_err() { return },
            }
            let wait = schedule::poll_again(
                self.followed.interval,
                self.failures,
                self.followed.source.is_local(),
                (self.pace.dice)(),
            );
            tokio::select! {
                () = drain.cancelled() => return,
                // A timer that loses is thrown away; the question comes anyway.
                () = tokio::time::sleep(wait) => {}
                // A signal that came while nobody waited is kept by the watch.
                () = moved(self.watch.as_ref()) => {}
                // The counter keeps its value; only "seen" is noted.
                Ok(()) = self.bell.changed() => {}
            }
        }
    }

    fn set_watch(&mut self) {
        if self.watch.is_some() {
            return;
        }
        match self.followed.source.watch() {
            Ok(watch) => self.watch = watch,
            Err(error) => {
                if !std::mem::replace(&mut self.watch_refused, true) {
                    let cause = chain(&error);
                    tracing::warn!(source = %self.followed.source.id(), "polling only: {cause}");
                }
            }
        }
    }

    async fn ask(&mut self) -> What {
        let source = Arc::clone(&self.followed.source);
        let resolved = source.resolve().await;
        for notice in source.take_notices() {
            tracing::info!(source = %source.id(), "{notice}");
        }
        let resolved = match resolved {
            Ok(resolved) => resolved,
            Err(error) => {
                return What::Trouble(Trouble {
                    code: error.code().to_owned(),
                    text: chain(&error),
                    help: error.hint(),
                });
            }
        };
        if let Some((revision, trouble)) = &self.useless
            && *revision == resolved.revision
        {
            return What::Trouble(trouble.clone());
        }
        let seen = self.seen.as_ref().map(|seen| Arc::clone(&seen.snapshot));
        if let Some(snapshot) = seen.filter(|snapshot| snapshot.commit.revision == resolved.revision) {
            return self.render(snapshot, false).await;
        }
        if let Some(before) = &resolved.renamed_from {
            tracing::warn!(source = %source.id(), "the default branch {before:?} was renamed; the new one is followed");
        }
        let snapshot = match Snapshot::read_at(&source, &resolved.revision, resolved.branch.clone()).await {
            Ok(snapshot) => Arc::new(snapshot),
            Err(error) => return What::Trouble(self.unreadable(error, &resolved.revision)),
        };
        if let Some(trouble) = self.judge_movement(&snapshot).await {
            self.useless = Some((resolved.revision, trouble.clone()));
            return What::Trouble(trouble);
        }
        self.useless = None;
        self.render(snapshot, true).await
    }

    fn unreadable(&mut self, error: ReadError, revision: &Revision) -> Trouble {
        match error {
            ReadError::Source(error) => Trouble {
                code: error.code().to_owned(),
                text: chain(&*error),
                help: error.hint(),
            },
            ReadError::Checkout(error) => Trouble {
                code: error.code().to_owned(),
                text: chain(&error),
                help: None,
            },
            ReadError::Discovery(diagnostics) => {
                let failure = of_diagnostics(&diagnostics);
                let place = failure
                    .place
                    .map_or_else(String::new, |place| format!("{place}: "));
                let trouble = Trouble {
                    code: failure.code,
                    text: format!("{place}{}", failure.message),
                    help: failure.help,
                };
                // It is the same at every poll: read again only when the ref moves.
                self.useless = Some((revision.clone(), trouble.clone()));
                trouble
            }
            ReadError::Name(error) => Trouble {
                code: "E0401".to_owned(),
                text: chain(&error),
                help: None,
            },
        }
    }

    /// Whether the new commit may be followed. A rewritten history is: that is how people correct a branch. One that
    /// shares nothing with the old one is more often the wrong repository than a wish.
    async fn judge_movement(&self, snapshot: &Snapshot) -> Option<Trouble> {
        let source = &self.followed.source;
        let before = &self.seen.as_ref()?.snapshot.commit.revision;
        let after = &snapshot.commit.revision;
        match source.movement(before, after).await {
            Ok(Movement::Unchanged | Movement::Advanced) => None,
            Ok(Movement::Forced { back }) => {
                let how = if back { "went back" } else { "was rewritten" };
                tracing::warn!(source = %source.id(), "history {how} from {} to {}; it is followed", before.short(), after.short());
                None
            }
            Ok(Movement::Unrelated) => Some(Trouble {
                code: UNRELATED.to_owned(),
                text: format!(
                    "{} shares no history with {}, which was followed so far",
                    after.short(),
                    before.short()
                ),
                help: Some(
                    "nothing was changed; if the new history is meant, start `driftless serve` again"
                        .to_owned(),
                ),
            }),
            Err(error) => {
                let cause = chain(&error);
                tracing::warn!(source = %source.id(), "how history moved from {} to {} is not known: {cause}", before.short(), after.short());
                None
            }
        }
    }

    /// Renders what changed. `moved` is false when the commit is the one that was read last: then only the operator's
    /// files can have changed.
    async fn render(&mut self, snapshot: Arc<Snapshot>, moved: bool) -> What {
        let before = self
            .seen
            .as_ref()
            .map(|seen| seen.rendered.clone())
            .unwrap_or_default();
        let operator = Arc::clone(&self.operator);
        let (source, read) = (Arc::clone(&self.followed.source), Arc::clone(&snapshot));
        let allowed = self.followed.targets.clone();
        let work = move || render_all(&read, &source, &allowed, operator.as_ref(), &before, moved);
        // Cancelled while it waits: rendering ends by itself and writes nothing.
        let Ok((rendered, changed)) = tokio::task::spawn_blocking(work).await else {
            return What::Trouble(Trouble {
                code: INTERRUPTED.to_owned(),
                text: "rendering was interrupted".to_owned(),
                help: None,
            });
        };
        let reading = Reading {
            commit: snapshot.commit.clone(),
            apps: rendered.clone(),
            broken: broken(&snapshot),
        };
        self.seen = Some(Seen {
            snapshot,
            rendered: rendered
                .into_iter()
                .map(|one| (one.app.name.clone(), one))
                .collect(),
        });
        if moved || changed {
            What::Read(reading)
        } else {
            What::Unchanged
        }
    }
}

/// A watch's signal; never, where there is none.
async fn moved(watch: Option<&Watch>) {
    match watch {
        Some(watch) => watch.moved().await,
        None => std::future::pending().await,
    }
}

/// All usable apps in order, and whether any is not as `before`.
fn render_all(
    snapshot: &Snapshot,
    source: &GitSource,
    allowed: &[String],
    operator: &dyn Operator,
    before: &BTreeMap<AppName, Rendered>,
    moved: bool,
) -> (Vec<Rendered>, bool) {
    let mut changed = false;
    let (apps, _) = snapshot.ordered();
    let rendered = apps
        .into_iter()
        .map(|app| {
            let known = before.get(&app.name).filter(|known| known.app == *app);
            let given = match operator.inputs(source, allowed, app) {
                Ok(given) => given,
                Err(failure) => {
                    let same = known.is_some_and(|known| known.result.as_ref().err() == Some(&failure));
                    changed |= !same;
                    return Rendered {
                        app: app.clone(),
                        result: Err(failure),
                        given: Arc::default(),
                        looked_at: source::Inputs::default(),
                    };
                }
            };
            if let Some(known) = known
                && same(&known.given, &given)
                && (!moved && !known.looked_at.is_empty() || snapshot.checkout.same_inputs(&known.looked_at))
            {
                return known.clone();
            }
            changed = true;
            let view = snapshot.checkout.recording();
            // This is a blocking thread: the renderer's child is waited for here.
            let expanded = tokio::runtime::Handle::current().block_on(expand(
                &view,
                app,
                operator.expander(),
                given.clone(),
            ));
            let result = expanded
                .and_then(|inputs| {
                    render::render(
                        &view,
                        app,
                        &inputs,
                        snapshot.key(app),
                        snapshot.commit.revision.clone(),
                    )
                })
                .map(Arc::new)
                .map_err(|diagnostics| of_diagnostics(&diagnostics));
            Rendered {
                app: app.clone(),
                result,
                given: Arc::new(given),
                looked_at: view.inputs(),
            }
        })
        .collect();
    (rendered, changed)
}

/// What can't be used, from discovery and from the order of apps.
fn broken(snapshot: &Snapshot) -> Vec<(String, Failure)> {
    let found = snapshot
        .broken()
        .iter()
        .map(|one| (one.name.clone(), of_diagnostics(&one.diagnostics)));
    let (_, refused) = snapshot.ordered();
    let unordered = refused.into_iter().map(|(app, why)| {
        let failure = Failure {
            stage: Stage::Render,
            code: Code::APP_AFTER.to_string(),
            message: why,
            place: app.declared.clone(),
            help: None,
            retry: false,
            touched: false,
        };
        (app.name.to_string(), failure)
    });
    found.chain(unordered).collect()
}

/// The first error of many; how many more there are is said.
fn of_diagnostics(diagnostics: &Diagnostics) -> Failure {
    let errors = || {
        diagnostics
            .iter()
            .filter(|one| one.severity == crate::document::Severity::Error)
    };
    let first = errors().next().or_else(|| diagnostics.iter().next());
    let more = match errors().count() {
        0 | 1 => String::new(),
        many => format!(" (and {} more)", many - 1),
    };
    Failure {
        stage: Stage::Render,
        code: first.map_or_else(|| INTERRUPTED.to_owned(), |one| one.code.to_string()),
        message: first.map_or_else(
            || "it can't be used".to_owned(),
            |one| format!("{}{more}", one.message),
        ),
        place: first.and_then(crate::document::Diagnostic::place),
        help: first.and_then(|one| one.help.clone()),
        retry: false,
        touched: false,
    }
}

/// Whether the operator gives the same. Values are compared, never shown.
fn same(a: &Inputs, b: &Inputs) -> bool {
    a.variables == b.variables
        && a.secret_files == b.secret_files
        && a.env_files == b.env_files
        && a.untracked_env == b.untracked_env
        && a.cluster == b.cluster
}

/// An error and its causes, each once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = cause.source();
    }
    text
}
