//! The steps that every demo has: each is done with the commands that a person would type, and checked against the platform.
//!
//! In: a [`Stage`] (where it takes place), a [`Script`] (what is said and edited there). Out: the story, line by line; an
//! error where a step did not really happen. Guaranteed: what was made is removed, whatever happened. Must not: show
//! anything but what the commands said and the platform confirmed.

use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::error::DemoError;
use super::repository::Repository;
use super::teller::{Teller, seconds};
use super::visitor::Visitor;
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::live::error::LiveError;

/// How long the platform's own view may lag behind what a command said.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Where the story takes place, asked without Driftless.
#[async_trait(?Send)]
pub(super) trait Stage {
    /// Everything that must be the same after nothing was to be done.
    type Scene: PartialEq;

    async fn scene(&self) -> Result<Self::Scene, LiveError>;
    /// What is not as it should be while the shop's `version` runs; `None` when all is well.
    async fn trouble(&self, version: &str) -> Result<Option<String>, LiveError>;
    /// What was changed since `before`, which was seen at `since`.
    async fn changes(&self, before: &Self::Scene, since: Timestamp) -> Result<Vec<String>, LiveError>;
    /// What a customer reads; `None` where the shop can't be reached from here.
    async fn front_page(&self) -> Option<String>;
    /// A customer who asks all the time.
    fn visitor(&self) -> Visitor;
    /// Removes everything, and says what is still there.
    async fn remove_everything(&self) -> Result<Vec<String>, LiveError>;
}

/// One edit of a file, and the message of its commit.
pub(super) struct Edit {
    pub path: &'static str,
    pub old: &'static str,
    pub new: &'static str,
    pub message: &'static str,
}

/// What is said and edited on one platform.
pub(super) struct Script {
    /// The app that is released.
    pub app: &'static str,
    /// The heading of the first step.
    pub deploy: &'static str,
    /// What it means that all is well, `{}` for the version.
    pub well: &'static str,
    /// That nothing was done.
    pub untouched: &'static str,
    /// What a step that changed something says changed it.
    pub made_to: &'static str,
    /// Where the customer asks.
    pub shop: String,
    /// What is gone at the end.
    pub gone: &'static str,
    /// From 1.8.2 to 1.9.0, which can't work yet.
    pub release: Edit,
    /// Something that is no part of the app.
    pub unrelated: Edit,
    /// What 1.9.0 lacked.
    pub fix: Edit,
}

/// A story that is being told.
pub(super) struct Story<'a, S: Stage> {
    pub teller: Teller<'a>,
    pub stage: S,
    pub script: Script,
    /// Somebody who is shopping, from when there is a shop that can be reached.
    pub visitor: Option<Visitor>,
}

impl<S: Stage> Story<'_, S> {
    pub async fn deploy(&mut self, repository: &Repository) -> Result<(), DemoError> {
        self.teller.heading(self.script.deploy);
        self.teller.commit(repository, "The shop 1.8.2", &[])?;
        self.teller.driftless(&["apply", "--yes"], 0).await?;
        self.all_is_well("1.8.2").await?;
        self.teller.driftless(&["status"], 0).await?;
        self.teller.done();
        Ok(())
    }

    pub async fn change_nothing(&mut self) -> Result<(), DemoError> {
        self.teller
            .heading("Apply again: nothing is to be done, and nothing is");
        self.nothing_changes(0).await?;
        self.teller.done();
        Ok(())
    }

    /// Runs `apply`, which is to leave everything as it is.
    async fn nothing_changes(&self, expected: i32) -> Result<(), DemoError> {
        let before = self.stage.scene().await?;
        let since = SystemClock.now();
        self.teller.driftless(&["apply", "--yes"], expected).await?;
        let changes = self.stage.changes(&before, since).await?;
        let same = changes.is_empty() && self.stage.scene().await? == before;
        self.teller.check(
            same,
            self.script.untouched,
            &format!("{}: {}", self.script.made_to, changes.join(", ")),
        )
    }

    /// From here on somebody is shopping. Where the shop can't be reached, nobody is.
    pub async fn open_the_shop(&mut self) {
        self.visitor = self.stage.front_page().await.map(|_| self.stage.visitor());
    }

    pub async fn ship_a_broken_release(&mut self, repository: &Repository) -> Result<(), DemoError> {
        self.teller.heading(
            "Ship a broken release: it fails its health gate, and the proven one stays or comes back",
        );
        let lines = self.script.release.make(repository)?;
        self.teller
            .commit(repository, self.script.release.message, &lines)?;
        let before = self.visitor.as_ref().map(Visitor::counts);
        self.teller.driftless(&["apply", "--yes"], 7).await?;
        self.all_is_well("1.8.2").await?;
        self.shopping(before);
        self.teller.driftless(&["why", self.script.app], 0).await?;
        self.teller.done();
        Ok(())
    }

    pub async fn commit_something_else(&mut self, repository: &Repository) -> Result<(), DemoError> {
        self.teller
            .heading("Commit something that does not change the app: the failed release stays held");
        let lines = self.script.unrelated.make(repository)?;
        self.teller
            .commit(repository, self.script.unrelated.message, &lines)?;
        self.nothing_changes(9).await?;
        self.teller.done();
        Ok(())
    }

    pub async fn ship_the_fix(&mut self, repository: &Repository) -> Result<(), DemoError> {
        self.teller
            .heading("Ship the fix: a commit that changes the app lifts the hold");
        let lines = self.script.fix.make(repository)?;
        self.teller.commit(repository, self.script.fix.message, &lines)?;
        let before = self.visitor.as_ref().map(Visitor::counts);
        self.teller.driftless(&["apply", "--yes"], 0).await?;
        self.all_is_well("1.9.0").await?;
        self.shopping(before);
        self.teller.driftless(&["history", self.script.app], 0).await?;
        self.teller.done();
        Ok(())
    }

    /// Ends the story: also after a failure or a Ctrl-C, what was made goes.
    pub async fn end(mut self, told: Result<(), DemoError>, begun: Instant) -> Result<(), DemoError> {
        self.visitor = None;
        let removed = self.clean_up(told.is_ok()).await;
        match (told, removed) {
            // It promises that everything is removed.
            (Err(DemoError::Interrupted), Err(left)) => return Err(left),
            (Err(why), Err(left)) => {
                self.teller.say(&format!("{left}"));
                return Err(why);
            }
            (Err(why), Ok(())) | (Ok(()), Err(why)) => return Err(why),
            (Ok(()), Ok(())) => {}
        }
        self.teller.say("");
        self.teller.say(&format!(
            "All of it happened, in {}. Try it on a repository of your own: driftless plan",
            seconds(begun.elapsed())
        ));
        Ok(())
    }

    /// Removes everything; says so only if the story came to its end.
    async fn clean_up(&mut self, told: bool) -> Result<(), DemoError> {
        if told {
            self.teller.heading("Remove everything again");
        }
        let left = self.stage.remove_everything().await?;
        if !left.is_empty() {
            return Err(DemoError::Left(left));
        }
        if told {
            self.teller.good(self.script.gone);
            self.teller.done();
        }
        Ok(())
    }

    /// Asks the platform, not the command, whether everything runs; and a customer whether the shop is open.
    pub async fn all_is_well(&self, version: &str) -> Result<(), DemoError> {
        let begun = Instant::now();
        while let Some(trouble) = self.stage.trouble(version).await? {
            if begun.elapsed() > PATIENCE || self.teller.stop.is_cancelled() {
                return self.teller.not_so(trouble);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.teller.good(&self.script.well.replace("{}", version));
        // Where a customer can't get to, the platform's word is enough.
        if let Some(page) = self.stage.front_page().await {
            let told = format!("{} says: {page}", self.script.shop);
            self.teller.check(
                page.contains(version),
                &told,
                &format!("{told}, which is not {version}"),
            )?;
        }
        Ok(())
    }

    /// What the release cost those who were shopping meanwhile.
    fn shopping(&self, before: Option<(u64, u64)>) {
        let now = self.visitor.as_ref().map(Visitor::counts);
        if let (Some((good, bad)), Some((good_before, bad_before))) = (now, before) {
            let (good, bad) = (good - good_before, bad - bad_before);
            self.teller.remark(&format!(
                "a customer asked {} times meanwhile: {good} answers, {bad} failures",
                good + bad
            ));
        }
    }
}

impl Edit {
    fn make(&self, repository: &Repository) -> Result<Vec<String>, DemoError> {
        Ok(repository.edit(self.path, self.old, self.new)?)
    }
}
