//! The demo's steps: each is done with the commands that a person would type, and checked against the engine.
//!
//! In: the program, an engine of this machine, a folder for temporary files. Out: the story, line by line; an error where
//! a step did not really happen. Guaranteed: what was made is removed, whatever happened. Must not: show anything but what
//! the commands said and the engine confirmed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::images::{IMAGES, archive};
use super::program::Program;
use super::repository::{Names, Repository, RepositoryError};
use super::server::get;
use super::shell::{Shell, ShellError};
use super::visitor::Visitor;
use super::witness::{Seen, Witness};
use crate::clock::{Clock, SystemClock};
use crate::live::docker::client::Client;
use crate::live::docker::endpoint::{Address, Endpoint};
use crate::live::error::LiveError;

/// What the demo needs from whoever starts it.
#[derive(Debug, Clone)]
pub struct Demo {
    /// The program's own file.
    pub program: PathBuf,
    /// The engine that `docker` would use.
    pub endpoint: Endpoint,
    /// Where temporary folders are made.
    pub temporary: PathBuf,
    /// What the commands inherit: `PATH`, `TERM`, `LANG` and such, no setting of Driftless.
    pub variables: Vec<(OsString, OsString)>,
    /// Whether the reader sees colours.
    pub color: bool,
}

/// Why the demo did not go as told.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Another machine's engine.
    #[error(
        "the demo makes and breaks containers, so it runs on an engine of this machine only, and {0} is not one"
    )]
    Remote(String),
    /// An engine for other programs than this one.
    #[error(
        "the engine runs {engine} containers, and this program, of which the demo's images are made, is for {program}"
    )]
    Platform {
        /// What the engine runs.
        engine: String,
        /// What we are.
        program: String,
    },
    /// The engine failed a call.
    #[error(transparent)]
    Engine(#[from] LiveError),
    /// The images could not be made.
    #[error("make the demo's images from this program")]
    Images(#[source] std::io::Error),
    /// The temporary repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A command could not be run to its end.
    #[error(transparent)]
    Shell(ShellError),
    /// A step did not really happen.
    #[error("step {step} did not happen: {what}")]
    NotSo {
        /// Its number.
        step: u32,
        /// What was expected and what was found.
        what: String,
    },
    /// Something of the demo could not be removed.
    #[error("still there: {}; remove it by hand", .0.join(", "))]
    Left(Vec<String>),
    /// Ctrl-C. Everything was removed.
    #[error("interrupted; everything that the demo made is removed")]
    Interrupted,
}

impl From<ShellError> for DemoError {
    fn from(error: ShellError) -> Self {
        match error {
            ShellError::Stopped => Self::Interrupted,
            other => Self::Shell(other),
        }
    }
}

/// How long the engine's own view may lag behind what a command said.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells the whole story. `say` prints a line.
pub async fn run(demo: &Demo, say: &dyn Fn(&str), stop: &CancellationToken) -> Result<(), DemoError> {
    let Address::Unix(socket) = demo.endpoint.address() else {
        return Err(DemoError::Remote(demo.endpoint.to_string()));
    };
    let client = Client::connect(&demo.endpoint).await?;
    let begun = Instant::now();
    let mut random = [0; 3];
    // Without randomness two demos at once would meet; one alone still works.
    let _ = getrandom::fill(&mut random);
    let id = hex::encode(random);
    let folder = tempfile::Builder::new()
        .prefix("driftless-demo-")
        .tempdir_in(&demo.temporary);
    let folder = folder.map_err(RepositoryError::Io)?;
    let names = Names::new(&id, free_port().map_err(RepositoryError::Io)?);
    let instance = format!("demo-{id}");
    let mut variables = demo.variables.clone();
    let mut set = |name: &str, value: OsString| variables.push((name.into(), value));
    set("HOME", folder.path().join("home").into());
    set("DOCKER_HOST", format!("unix://{}", socket.display()).into());
    set("DRIFTLESS_STATE", folder.path().join("state").into());
    set("DRIFTLESS_INSTANCE", instance.clone().into());
    set(if demo.color { "CLICOLOR_FORCE" } else { "NO_COLOR" }, "1".into());
    let shell = Shell {
        program: demo.program.clone(),
        folder: folder.path().join("shop"),
        variables,
    };
    std::fs::create_dir_all(folder.path().join("home")).map_err(RepositoryError::Io)?;
    let witness = Witness::new(&client, &names, &instance);
    let mut story = Story {
        shell,
        witness: &witness,
        names: &names,
        say,
        stop,
        color: demo.color,
        step: 0,
        begun: Instant::now(),
        commits: 0,
    };
    let info = client.info();
    story.say(&format!(
        "Docker {} at {}; nothing here needs a network, and nothing stays.",
        info.version, demo.endpoint
    ));
    let told = story.tell(&info.platform).await;
    // Also after a failure or a Ctrl-C: what was made goes.
    let removed = story.clean_up(told.is_ok()).await;
    told?;
    removed?;
    let took = begun.elapsed();
    (story.say)("");
    story.say(&format!(
        "All of it happened, in {}. Try it on a repository of your own: driftless plan",
        seconds(took)
    ));
    Ok(())
}

/// A port that nobody has at this moment.
fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

struct Story<'a> {
    shell: Shell,
    witness: &'a Witness<'a>,
    names: &'a Names,
    say: &'a dyn Fn(&str),
    stop: &'a CancellationToken,
    color: bool,
    step: u32,
    begun: Instant,
    commits: i64,
}

/// Services that run for ever.
const SERVICES: [&str; 4] = ["proxy", "app", "database", "watch"];

/// Services that end.
const JOBS: [&str; 2] = ["migrate", "catalogue"];

impl Story<'_> {
    async fn tell(&mut self, platform: &str) -> Result<(), DemoError> {
        self.make_images(platform).await?;
        let repository = Repository::create(&self.shell.folder, self.names)?;
        self.deploy(&repository).await?;
        self.change_nothing().await?;
        self.drift_and_heal().await?;
        // From here on somebody is shopping. Where the port can't be reached (the demo runs in a container), nobody is.
        let visitor = self.front_page().await.map(|_| Visitor::start(&self.url()));
        self.ship_a_broken_release(&repository, visitor.as_ref()).await?;
        self.commit_something_else(&repository).await?;
        self.ship_the_fix(&repository, visitor.as_ref()).await
    }

    async fn make_images(&self, platform: &str) -> Result<(), DemoError> {
        let begun = Instant::now();
        let own = format!("{}/{}", std::env::consts::OS, processor());
        if platform != own {
            return Err(DemoError::Platform {
                engine: platform.to_owned(),
                program: own,
            });
        }
        let maps = std::fs::read_to_string("/proc/self/maps").map_err(DemoError::Images)?;
        let program = Program::read(&self.shell.program, &maps).map_err(DemoError::Images)?;
        let bytes = archive(&program, &self.names.images).map_err(DemoError::Images)?;
        tokio::select! {
            loaded = self.witness.load(bytes) => loaded?,
            // A half-loaded archive leaves whole images or none; those that are there are removed.
            () = self.stop.cancelled() => return Err(DemoError::Interrupted),
        }
        self.say(&format!(
            "{} images made of this program itself, in {}.",
            IMAGES.len(),
            seconds(begun.elapsed())
        ));
        Ok(())
    }

    async fn deploy(&mut self, repository: &Repository) -> Result<(), DemoError> {
        self.heading("Deploy a repository: a proxy, an app, its database, a migration, a sidecar, a job");
        self.commit(repository, "The shop 1.8.2", &[])?;
        self.driftless(&["apply", "--yes"], 0).await?;
        self.all_is_well("1.8.2").await?;
        self.driftless(&["status"], 0).await?;
        self.done();
        Ok(())
    }

    async fn change_nothing(&mut self) -> Result<(), DemoError> {
        self.heading("Apply again: nothing is to be done, and nothing is");
        let before = self.witness.services().await?;
        let since = SystemClock.now();
        self.driftless(&["apply", "--yes"], 0).await?;
        self.no_change_since(since).await?;
        let same = self.witness.services().await? == before;
        self.check(
            same,
            "the same containers run since the same second",
            "a container is not the one it was",
        )?;
        self.done();
        Ok(())
    }

    async fn drift_and_heal(&mut self) -> Result<(), DemoError> {
        self.heading("Somebody changes things by hand: drift is shown, and healed");
        let app = self.service("app").await?;
        let database = self.service("database").await?;
        self.remark(&format!("docker stop {}", app.name));
        self.witness.stop(&app).await?;
        self.remark(&format!("docker update --restart=no {}", database.name));
        self.witness.set_restart(&database, "no").await?;
        self.driftless(&["drift"], 1).await?;
        self.driftless(&["apply", "--yes"], 0).await?;
        self.all_is_well("1.8.2").await?;
        let healed = self.service("database").await?;
        self.check(
            healed.restart == "unless-stopped" && healed.id == database.id,
            "the database's restart policy is back, and its container was not replaced for that",
            &format!(
                "the database's restart policy is {:?}, its container {}",
                healed.restart, healed.id
            ),
        )?;
        self.driftless(&["drift"], 0).await?;
        self.done();
        Ok(())
    }

    async fn ship_a_broken_release(
        &mut self,
        repository: &Repository,
        visitor: Option<&Visitor>,
    ) -> Result<(), DemoError> {
        self.heading(
            "Ship a broken release: it fails its health gate, and the proven one stays or comes back",
        );
        let lines = repository.edit("apps/web/compose.yaml", "web:1.8.2", "web:1.9.0")?;
        self.commit(repository, "The shop 1.9.0", &lines)?;
        let before = visitor.map(Visitor::counts);
        self.driftless(&["apply", "--yes"], 7).await?;
        self.all_is_well("1.8.2").await?;
        self.shopping(visitor, before);
        self.driftless(&["why", "web"], 0).await?;
        self.done();
        Ok(())
    }

    async fn commit_something_else(&mut self, repository: &Repository) -> Result<(), DemoError> {
        self.heading("Commit something that does not change the app: the failed release stays held");
        let lines = repository.edit("README.md", "# The shop\n", "# The corner shop\n")?;
        self.commit(repository, "Name the shop", &lines)?;
        let since = SystemClock.now();
        self.driftless(&["apply", "--yes"], 9).await?;
        self.no_change_since(since).await?;
        self.done();
        Ok(())
    }

    async fn ship_the_fix(
        &mut self,
        repository: &Repository,
        visitor: Option<&Visitor>,
    ) -> Result<(), DemoError> {
        self.heading("Ship the fix: a commit that changes the app lifts the hold");
        let line = "      SHOP_NAME: The corner shop\n";
        let lines = repository.edit(
            "apps/web/compose.yaml",
            line,
            &format!("{line}      SHOP_CURRENCY: EUR\n"),
        )?;
        self.commit(repository, "Give the shop its currency", &lines)?;
        let before = visitor.map(Visitor::counts);
        self.driftless(&["apply", "--yes"], 0).await?;
        self.all_is_well("1.9.0").await?;
        self.shopping(visitor, before);
        self.driftless(&["history", "web"], 0).await?;
        self.done();
        Ok(())
    }

    /// Removes everything; says so only if the story came to its end.
    async fn clean_up(&mut self, told: bool) -> Result<(), DemoError> {
        if told {
            self.heading("Remove everything again");
        }
        let left = self.witness.remove_everything().await?;
        if !left.is_empty() {
            return Err(DemoError::Left(left));
        }
        if told {
            self.good("no container, network, volume or image of the demo is left");
            self.done();
        }
        Ok(())
    }

    /// Runs a command, shows it and what it says, and requires its exit code.
    async fn driftless(&self, arguments: &[&str], expected: i32) -> Result<String, DemoError> {
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

    fn commit(&mut self, repository: &Repository, message: &str, lines: &[String]) -> Result<(), DemoError> {
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

    /// Asks the engine, not the command, whether everything runs; and a customer whether the shop is open.
    async fn all_is_well(&self, version: &str) -> Result<(), DemoError> {
        let begun = Instant::now();
        let image = self.witness.image(&format!("web:{version}")).await?;
        let trouble = loop {
            let services = self.witness.services().await?;
            let ill = SERVICES
                .iter()
                .find(|name| !services.get(**name).is_some_and(Seen::well));
            let open = JOBS.iter().find(|name| {
                !services
                    .get(**name)
                    .is_some_and(|job| job.state == "exited" && job.exit_code == 0)
            });
            let other = services.get("app").filter(|app| app.image != image);
            let trouble = match (ill, open, other) {
                (None, None, None) => break None,
                (Some(name), ..) => format!("{name} is not well: {:?}", services.get(*name)),
                (_, Some(name), _) => format!("{name} did not end well: {:?}", services.get(*name)),
                (.., Some(app)) => format!("app runs {}, not {image} ({version})", app.image),
            };
            if begun.elapsed() > PATIENCE || self.stop.is_cancelled() {
                break Some(trouble);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        if let Some(trouble) = trouble {
            return self.not_so(trouble);
        }
        self.good(&format!(
            "the engine says: {} run and are healthy, the app is {version}, the jobs ended with 0",
            SERVICES.join(", ")
        ));
        // From inside a container the host's port is out of reach; the engine's word is enough then.
        if let Some(page) = self.front_page().await {
            let told = format!("{} says: {page}", self.url());
            self.check(
                page.contains(version),
                &told,
                &format!("{told}, which is not {version}"),
            )?;
        }
        Ok(())
    }

    async fn no_change_since(&self, since: crate::clock::Timestamp) -> Result<(), DemoError> {
        let changes = self.witness.changes_since(since, SystemClock.now()).await?;
        self.check(
            changes.is_empty(),
            "the engine's event log shows no change",
            &format!("the engine was made to: {}", changes.join(", ")),
        )
    }

    /// What the release cost those who were shopping meanwhile.
    fn shopping(&self, visitor: Option<&Visitor>, before: Option<(u64, u64)>) {
        if let (Some((good, bad)), Some((good_before, bad_before))) = (visitor.map(Visitor::counts), before) {
            let (good, bad) = (good - good_before, bad - bad_before);
            self.remark(&format!(
                "a customer asked {} times meanwhile: {good} answers, {bad} failures",
                good + bad
            ));
        }
    }

    async fn service(&self, name: &str) -> Result<Seen, DemoError> {
        match self.witness.services().await?.remove(name) {
            Some(seen) => Ok(seen),
            None => self.not_so(format!("there is no container of {name}")),
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.names.port)
    }

    async fn front_page(&self) -> Option<String> {
        let asked = tokio::time::timeout(PATIENCE, get(&self.url())).await;
        asked.ok()?.ok().map(|(_, body)| body.trim().to_owned())
    }

    fn check(&self, holds: bool, good: &str, bad: &str) -> Result<(), DemoError> {
        if !holds {
            return self.not_so(bad.to_owned());
        }
        self.good(good);
        Ok(())
    }

    fn not_so<T>(&self, what: String) -> Result<T, DemoError> {
        if self.stop.is_cancelled() {
            return Err(DemoError::Interrupted);
        }
        self.line(&format!("{} {what}", self.paint("31", "✘")));
        Err(DemoError::NotSo {
            step: self.step,
            what,
        })
    }

    fn heading(&mut self, text: &str) {
        self.step += 1;
        self.begun = Instant::now();
        (self.say)("");
        (self.say)(&self.bold(&format!("{}. {text}", self.step)));
    }

    fn done(&self) {
        self.line(&self.dim(&format!("{} for this step", seconds(self.begun.elapsed()))));
    }

    fn good(&self, text: &str) {
        self.line(&format!("{} {text}", self.paint("32", "✔")));
    }

    /// What the demo does by itself, in the words of a person who would do it.
    fn remark(&self, text: &str) {
        self.line(&format!("# {text}"));
    }

    fn line(&self, text: &str) {
        (self.say)(&format!("   {text}"));
    }

    fn say(&self, text: &str) {
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

/// This program's processor as engines name it.
fn processor() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
