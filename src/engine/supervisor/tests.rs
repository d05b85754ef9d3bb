//! Laws of the loop, on real repositories and the real store, with time that is set and a crank that is scripted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use super::super::roster::HEAD_START;
use super::*;
use crate::clock::{Clock, Timestamp};
use crate::expand::Expander;
use crate::history::{AppState, History, Opening, Phase, Store};
use crate::live::docker::op::Op;
use crate::live::world::Target;
use crate::live::world::{Ask, Container, ContainerId, Observed, Receipt, Symbols};
use crate::live::{LiveError, Reach};
use crate::names::{Digest, TargetId};
use crate::progress::Silent;
use crate::release::{Outcome, Record, Snapshot};
use crate::report::End;
use crate::source::{Location, SourceSpec};

const MINUTE: Duration = Duration::from_secs(60);

/// Wall-clock time that follows the runtime's (paused) time.
struct PausedClock(Instant);

#[async_trait]
impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        let since = Instant::now().duration_since(self.0);
        Timestamp::from_second(1_790_000_000).expect("a time") + since
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// An engine that may be looked at, and nothing else.
struct EmptyEngine(TargetId);

#[async_trait]
impl Target for EmptyEngine {
    fn name(&self) -> &str {
        "docker:here"
    }
    fn id(&self) -> &TargetId {
        &self.0
    }
    async fn observe(&self, _: &Ask) -> Result<Observed, LiveError> {
        Ok(Observed {
            at: Timestamp::from_second(1_790_000_000).expect("a time"),
            engine: crate::live::world::Engine {
                id: engine_id(),
                version: "28.5.2".to_owned(),
                api: (1, 51),
                platform: "linux/amd64".to_owned(),
                local: true,
            },
            containers: Vec::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            holders: Vec::new(),
            cluster: None,
        })
    }
    async fn execute(&self, op: &Op, _: &Symbols) -> Result<Receipt, LiveError> {
        panic!("nothing may be changed here: {op:?}")
    }
    async fn inspect(&self, _: &[ContainerId]) -> Result<Vec<Container>, LiveError> {
        Ok(Vec::new())
    }
    async fn logs(&self, _: &ContainerId, _: usize) -> Result<Vec<String>, LiveError> {
        Ok(Vec::new())
    }
    async fn stopped_by_hand(&self, _: &ContainerId, _: Timestamp) -> Result<bool, LiveError> {
        Ok(false)
    }
    async fn last_exit(&self, _: &ContainerId, _: Timestamp) -> Result<Option<i64>, LiveError> {
        Ok(None)
    }
    async fn probe(&self, _: &Container, _: u16, _: &str) -> Result<u16, String> {
        Ok(200)
    }
}

fn engine_id() -> TargetId {
    "engine-1".try_into().expect("an id")
}

/// What the operator gives, as a test sets it.
struct Desk {
    expander: Expander,
    variables: Mutex<BTreeMap<String, String>>,
    /// How often it was asked.
    asked: Mutex<usize>,
    stirred: Arc<Stirred>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            expander: Expander::new("", "/nonexistent"),
            variables: Mutex::default(),
            asked: Mutex::default(),
            stirred: Arc::default(),
        }
    }
}

#[async_trait]
impl Operator for Desk {
    fn inputs(&self, _: &GitSource, _: &[String], _: &App) -> Result<Inputs, Failure> {
        *self.asked.lock().expect("lock") += 1;
        Ok(Inputs {
            variables: self.variables.lock().expect("lock").clone(),
            ..Inputs::default()
        })
    }
    fn expander(&self) -> &Expander {
        &self.expander
    }
    fn permit(&self, _: &AppName) -> Permit {
        Permit::default()
    }
    async fn target(&self, _: Option<&str>, _: &[String], _: Needs<'_>) -> Result<Reach, Failure> {
        Ok(Reach::Engine(Arc::new(EmptyEngine(engine_id()))))
    }
    fn stirred(&self) -> Arc<Stirred> {
        Arc::clone(&self.stirred)
    }
}

/// One turn that was made.
#[derive(Clone)]
struct Turned {
    app: String,
    commit: String,
    image: String,
    trigger: Trigger,
    began: Instant,
    ended: Option<Instant>,
    desired: Arc<crate::render::Desired>,
    down: bool,
}

/// How the next turns of an app end.
#[derive(Clone)]
enum Script {
    /// Stable after this time, whatever is cancelled.
    Slow(Duration),
    /// Until its waits are cancelled.
    Hang,
    Fail {
        retry: bool,
    },
    Break,
}

#[derive(Default)]
struct Scripted {
    turns: Mutex<Vec<Turned>>,
    scripts: Mutex<BTreeMap<String, Script>>,
}

impl Scripted {
    fn note(&self, turn: &Turn, down: bool) -> usize {
        let mut turns = self.turns.lock().expect("lock");
        let app = turn.key.app.to_string();
        assert!(
            !turns
                .iter()
                .any(|other| other.app == app && other.ended.is_none()),
            "two runs of {app} at once"
        );
        turns.push(Turned {
            app,
            commit: turn.commit.subject.clone(),
            image: turn
                .desired
                .project
                .services
                .values()
                .next()
                .map_or(String::new(), |service| service.image.value.clone()),
            trigger: turn.trigger.clone(),
            began: Instant::now(),
            ended: None,
            desired: Arc::clone(&turn.desired),
            down,
        });
        turns.len() - 1
    }

    fn close(&self, index: usize, turn: &Turn, world: &World, end: End) -> Run {
        self.turns.lock().expect("lock")[index].ended = Some(Instant::now());
        Run {
            id: world.run_id(),
            key: turn.key.clone(),
            target: turn.target.name().to_owned(),
            trigger: turn.trigger.clone(),
            started: world.clock.now(),
            took: Duration::ZERO,
            revision: Some(turn.commit.revision.clone()),
            subject: turn.commit.subject.clone(),
            release: None,
            end,
            changes: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// What the real crank leaves in the store when a release became stable.
fn settle(turn: &Turn, world: &World) -> End {
    let history = world.history.as_ref();
    let state = history.state(&turn.key).expect("state");
    let effective = state
        .effective
        .and_then(|number| history.summary(&turn.key, number).expect("summary"));
    if effective.is_some_and(|summary| summary.content == turn.desired.content) {
        return End::NoChange;
    }
    history
        .claim(&turn.key, &engine_id(), &turn.desired.project.name)
        .expect("claim");
    let record = Record {
        key: turn.key.clone(),
        number: 0,
        digest: Digest::of("r1", turn.desired.content.as_str().as_bytes()),
        content: turn.desired.content.clone(),
        revision: turn.commit.revision.clone(),
        subject: turn.commit.subject.clone(),
        author: String::new(),
        images: BTreeMap::new(),
        created_at: world.clock.now(),
        outcome: Outcome::Stable,
        stable_at: None,
        snapshot: Snapshot {
            project: turn.desired.project.clone(),
            bundle: None,
            rules: turn.desired.rules.clone(),
            places: turn.desired.places.clone(),
            secrets: Vec::new(),
        },
    };
    let number = history.record_release(&record).expect("record");
    let state = AppState {
        phase: Phase::Synced,
        effective: Some(number),
        stable: Some(number),
        target: Some(engine_id()),
        last_seen: Some(turn.commit.revision.clone()),
        last_error: None,
        ..state
    };
    history.save_state(&turn.key, &state).expect("save");
    End::Stable {
        healed: false,
        calls: 1,
    }
}

fn failure(retry: bool) -> End {
    End::Failed(Failure {
        stage: Stage::Apply,
        code: "E0527".to_owned(),
        message: "the engine failed".to_owned(),
        place: None,
        help: None,
        retry,
        touched: true,
    })
}

#[async_trait]
impl Crank for Scripted {
    async fn cycle(&self, turn: &Turn, world: &World, stop: &CancellationToken) -> Run {
        let index = self.note(turn, false);
        let script = self
            .scripts
            .lock()
            .expect("lock")
            .get(turn.key.app.as_str())
            .cloned();
        let end = match script {
            None => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                settle(turn, world)
            }
            Some(Script::Slow(time)) => {
                tokio::time::sleep(time).await;
                settle(turn, world)
            }
            Some(Script::Hang) => {
                turn.waits.cancelled().await;
                if stop.is_cancelled() {
                    End::Stopped {
                        stood: "service/web".to_owned(),
                    }
                } else {
                    End::Superseded
                }
            }
            Some(Script::Fail { retry }) => failure(retry),
            Some(Script::Break) => {
                self.turns.lock().expect("lock")[index].ended = Some(Instant::now());
                panic!("a bug of a run")
            }
        };
        self.close(index, turn, world, end)
    }

    async fn down(&self, turn: &Turn, world: &World, _: &CancellationToken) -> Run {
        assert!(turn.options.delete_volumes.is_empty());
        let index = self.note(turn, true);
        let state = AppState {
            effective: None,
            ..world.history.state(&turn.key).expect("state")
        };
        world.history.save_state(&turn.key, &state).expect("save");
        world.history.unclaim(&turn.key).expect("unclaim");
        self.close(
            index,
            turn,
            world,
            End::Stable {
                healed: false,
                calls: 1,
            },
        )
    }
}

/// A repository, a store, and everything scripted around the loop.
struct Bed {
    folder: tempfile::TempDir,
    history: Arc<Store>,
    desk: Arc<Desk>,
    crank: Arc<Scripted>,
    stop: Stop,
    began: Instant,
}

fn compose(image: &str) -> String {
    format!("services:\n  one:\n    image: {image}\n")
}

impl Bed {
    /// With one commit, `first`, of these apps (name, image).
    fn new(apps: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let history = Store::open(&Opening {
            folder: folder.path().join("state"),
            key_file: None,
            command: "serve".to_owned(),
            now: Timestamp::from_second(1_790_000_000).expect("a time"),
        })
        .expect("open the store");
        let bed = Self {
            folder,
            history: Arc::new(history),
            desk: Arc::default(),
            crank: Arc::default(),
            stop: Stop::new(),
            began: Instant::now(),
        };
        let mut options = git2::RepositoryInitOptions::new();
        options.initial_head("main");
        git2::Repository::init_opts(bed.repo(), &options).expect("a repository");
        for (app, image) in apps {
            bed.app(app, image);
        }
        bed.commit("first");
        bed
    }

    fn repo(&self) -> PathBuf {
        self.folder.path().join("infra")
    }

    fn app(&self, app: &str, image: &str) {
        self.write(&format!("apps/{app}/compose.yaml"), &compose(image));
    }

    fn write(&self, path: &str, text: &str) {
        let file = self.repo().join(path);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("folders");
        std::fs::write(file, text).expect("write");
    }

    fn remove(&self, path: &str) {
        let path = self.repo().join(path);
        if path.is_dir() {
            std::fs::remove_dir_all(path)
        } else {
            std::fs::remove_file(path)
        }
        .expect("remove");
    }

    fn commit(&self, subject: &str) {
        let repository = git2::Repository::open(self.repo()).expect("open");
        let parent = repository.head().ok().and_then(|head| head.peel_to_commit().ok());
        commit(&repository, subject, parent.as_ref());
    }

    fn supervisor(&self) -> Supervisor {
        let location = Location::Local(self.repo());
        let source =
            GitSource::open(SourceSpec::new(location, self.folder.path().join("mirrors"))).expect("a source");
        let world = World {
            instance: "test".try_into().expect("a name"),
            history: Arc::clone(&self.history) as Arc<dyn History>,
            clock: Arc::new(PausedClock(self.began)),
            progress: Arc::new(Silent),
            state: self.folder.path().join("state"),
        };
        Supervisor {
            world,
            sources: vec![Followed {
                source: Arc::new(source),
                interval: MINUTE,
                targets: Vec::new(),
            }],
            operator: Arc::clone(&self.desk) as Arc<dyn Operator>,
            pace: Pace {
                dice: || 1.0,
                ..Pace::default()
            },
            crank: Arc::clone(&self.crank) as Arc<dyn Crank>,
        }
    }

    fn script(&self, app: &str, script: Option<Script>) {
        let mut scripts = self.crank.scripts.lock().expect("lock");
        match script {
            Some(script) => scripts.insert(app.to_owned(), script),
            None => scripts.remove(app),
        };
    }

    fn turns(&self, app: &str) -> Vec<Turned> {
        self.crank
            .turns
            .lock()
            .expect("lock")
            .iter()
            .filter(|turn| turn.app == app)
            .cloned()
            .collect()
    }

    /// Turns of `app` for its first look at a commit, as `subject image`.
    fn commits(&self, app: &str) -> Vec<String> {
        self.turns(app)
            .iter()
            .filter(|turn| turn.trigger == Trigger::Commit && !turn.down)
            .map(|turn| format!("{} {}", turn.commit, turn.image))
            .collect()
    }

    fn key(&self, app: &str) -> AppKey {
        let root = self.repo().canonicalize().unwrap_or_else(|_| self.repo());
        let id = Location::Local(root).source_id().expect("an id");
        AppKey {
            source: id,
            app: app.try_into().expect("a name"),
        }
    }

    fn state(&self, app: &str) -> AppState {
        self.history.state(&self.key(app)).expect("state")
    }

    fn last_error(&self, app: &str) -> String {
        self.state(app)
            .last_error
            .map_or(String::new(), |error| error.code)
    }

    /// Waits (in set time) until it is so.
    #[track_caller]
    fn until<'a>(&'a self, what: &'a str, so: impl Fn(&Self) -> bool + 'a) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let end = Instant::now() + Duration::from_secs(3600);
            while !so(self) {
                assert!(Instant::now() < end, "{caller}: not within an hour: {what}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn for_minutes(&self, minutes: u32) {
        tokio::time::sleep(MINUTE * minutes).await;
    }

    /// The loop, with `script` beside it.
    async fn live(&self, script: impl Future<Output = ()>) -> Ended {
        self.live_with(self.supervisor(), script).await
    }

    async fn live_with(&self, supervisor: Supervisor, script: impl Future<Output = ()>) -> Ended {
        let beside = async {
            script.await;
            self.stop.drain.cancel();
        };
        let (ended, ()) = tokio::join!(supervisor.run(&self.stop), beside);
        ended.expect("it runs")
    }
}

fn commit(repository: &git2::Repository, subject: &str, parent: Option<&git2::Commit<'_>>) -> git2::Oid {
    let mut index = repository.index().expect("index");
    index
        .add_all(["*"], git2::IndexAddOption::DEFAULT, None)
        .expect("add");
    index.update_all(["*"], None).expect("update");
    index.write().expect("write");
    let tree = repository
        .find_tree(index.write_tree().expect("tree"))
        .expect("tree");
    let who =
        git2::Signature::new("Ada", "ada@example.com", &git2::Time::new(1_790_000_000, 0)).expect("who");
    let parents: Vec<&git2::Commit<'_>> = parent.into_iter().collect();
    let id = repository
        .commit(None, &who, &who, subject, &tree, &parents)
        .expect("commit");
    repository
        .reference("refs/heads/main", id, true, subject)
        .expect("ref");
    id
}

#[tokio::test(start_paused = true)]
async fn unchanged_poll_renders_nothing_and_a_tick_looks_once() {
    let bed = Bed::new(&[("web", "web:1")]);
    bed.live(async {
        bed.for_minutes(10).await;
        let turns = bed.turns("web");
        assert_eq!(bed.commits("web"), ["first web:1"]);
        assert!(
            (9..=12).contains(&turns.len()),
            "one look an interval: {}",
            turns.len()
        );
        assert!(
            turns
                .iter()
                .all(|turn| Arc::ptr_eq(&turn.desired, &turns[0].desired)),
            "it was rendered again"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn newest_commit_ends_the_waits_of_an_older_one_and_goes_next() {
    let bed = Bed::new(&[("web", "web:1")]);
    bed.script("web", Some(Script::Hang));
    bed.live(async {
        bed.until("the first run hangs", |bed| bed.turns("web").len() == 1)
            .await;
        bed.app("web", "web:2");
        bed.commit("second");
        bed.until("the second run begins", |bed| bed.turns("web").len() == 2)
            .await;
        let turns = bed.turns("web");
        assert_eq!(turns[0].ended, Some(turns[1].began), "it goes next, at once");
        assert_eq!(bed.commits("web"), ["first web:1", "second web:2"]);
        bed.script("web", None);
        bed.app("web", "web:3");
        bed.commit("third");
        bed.until("the third is settled", |bed| {
            bed.state("web").effective == Some(1)
        })
        .await;
        assert_eq!(bed.commits("web").last().map(String::as_str), Some("third web:3"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_during_a_run_become_one_run_of_the_newest() {
    let bed = Bed::new(&[("web", "web:1")]);
    bed.script("web", Some(Script::Slow(MINUTE * 20)));
    bed.live(async {
        bed.until("the first run begins", |bed| bed.turns("web").len() == 1)
            .await;
        for version in 2..=4 {
            bed.app("web", &format!("web:{version}"));
            bed.commit(&format!("c{version}"));
            bed.for_minutes(3).await;
        }
        bed.until("a second run ends", |bed| {
            bed.turns("web")
                .iter()
                .filter(|turn| turn.ended.is_some())
                .count()
                == 2
        })
        .await;
        assert_eq!(bed.commits("web"), ["first web:1", "c4 web:4"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_does_not_change_an_app_does_not_disturb_its_run() {
    let bed = Bed::new(&[("web", "web:1"), ("blog", "blog:1")]);
    bed.script("web", Some(Script::Hang));
    bed.live(async {
        bed.until("web hangs, blog runs", |bed| {
            bed.state("blog").effective.is_some()
        })
        .await;
        bed.app("blog", "blog:2");
        bed.commit("second");
        bed.until("blog follows", |bed| bed.commits("blog").len() == 2)
            .await;
        bed.for_minutes(5).await;
        let web = bed.turns("web");
        assert_eq!(web.len(), 1);
        assert_eq!(
            web[0].ended, None,
            "its waits were cancelled by an unrelated commit"
        );
    })
    .await;
}

/// A commit asks all apps to be looked at; those that it does not change wait a moment, so that they are in nobody's way.
#[tokio::test(start_paused = true)]
async fn what_a_commit_changed_goes_before_looks_that_nobody_waits_for() {
    let bed = Bed::new(&[("a", "a:1"), ("b", "b:1"), ("z", "z:1")]);
    bed.live(async {
        bed.until("all run", |bed| bed.state("z").effective.is_some())
            .await;
        bed.script("z", Some(Script::Slow(MINUTE)));
        bed.app("z", "z:2");
        bed.commit("second");
        bed.until("all are looked at", |bed| {
            ["a", "b", "z"]
                .iter()
                .all(|app| bed.turns(app).iter().any(|turn| turn.commit == "second"))
        })
        .await;
        let began = |app: &str| {
            let turns = bed.turns(app);
            turns
                .iter()
                .find(|turn| turn.commit == "second")
                .map(|turn| turn.began)
        };
        assert!(began("a") >= began("z").map(|at| at + HEAD_START));
        assert!(began("b") >= began("z").map(|at| at + HEAD_START));
        // They wait for the moment only, not for its run.
        assert!(began("b") < began("z").map(|at| at + MINUTE));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_bad_app_does_not_stop_others_and_is_recorded_once() {
    let bed = Bed::new(&[("web", "web:1")]);
    bed.write(
        "apps/bad/compose.yaml",
        "services:\n  one:\n    image: x:1\n    replica: 3\n",
    );
    bed.commit("second");
    bed.script("web", None);
    bed.live(async {
        bed.until("web runs", |bed| bed.state("web").effective.is_some())
            .await;
        bed.for_minutes(10).await;
        assert!(bed.turns("bad").is_empty());
        assert_eq!(bed.last_error("bad"), "E0207");
        let runs = bed.history.runs(&bed.key("bad"), 100).expect("runs");
        assert_eq!(runs.len(), 1, "once per commit, not at every poll");
        assert_eq!(runs[0].exit_code, 3);
        bed.app("bad", "good:1");
        bed.commit("third");
        bed.until("the fix runs", |bed| bed.state("bad").effective.is_some())
            .await;
        assert_eq!(bed.last_error("bad"), "");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_breaks_off_is_a_failure_of_its_app_alone() {
    let bed = Bed::new(&[("web", "web:1"), ("blog", "blog:1")]);
    bed.script("web", Some(Script::Break));
    bed.live(async {
        bed.until("both were tried", |bed| {
            bed.turns("web").len() > 1 && bed.state("blog").effective.is_some()
        })
        .await;
        assert_eq!(bed.last_error("web"), INTERRUPTED);
        bed.script("web", None);
        bed.until("it recovers", |bed| bed.state("web").effective.is_some())
            .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_and_a_commit_cuts_the_wait_short() {
    let bed = Bed::new(&[("web", "web:1")]);
    bed.script("web", Some(Script::Fail { retry: true }));
    bed.live(async {
        bed.until("ten failures", |bed| bed.turns("web").len() == 10)
            .await;
        let began: Vec<Instant> = bed.turns("web").iter().map(|turn| turn.began).collect();
        let waits: Vec<u64> = began.windows(2).map(|two| (two[1] - two[0]).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert!(bed.state("web").next_attempt.is_some());
        bed.script("web", None);
        bed.app("web", "web:2");
        bed.commit("second");
        bed.until("the fix runs", |bed| bed.turns("web").len() == 11)
            .await;
        let fix = bed.turns("web")[10].began;
        assert!(fix - began[9] <= MINUTE * 2, "it waited for the back-off");
        bed.until("the note is gone", |bed| bed.state("web").next_attempt.is_none())
            .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_only_a_commit_can_end_is_looked_at_slowly() {
    let bed = Bed::new(&[("web", "web:1")]);
    bed.script("web", Some(Script::Fail { retry: false }));
    bed.live(async {
        bed.for_minutes(11).await;
        assert_eq!(
            bed.turns("web").len(),
            3,
            "at once, after five minutes, after ten"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn slow_apps_do_not_delay_others_beyond_an_interval() {
    let apps: Vec<String> = (0..12).map(|number| format!("slow{number:02}")).collect();
    let mut declared: Vec<(&str, &str)> = apps.iter().map(|app| (app.as_str(), "slow:1")).collect();
    declared.push(("web", "web:1"));
    let bed = Bed::new(&declared);
    for app in &apps {
        bed.script(app, Some(Script::Slow(MINUTE * 30)));
    }
    bed.live(async {
        bed.until("the first eight began", |bed| {
            bed.crank.turns.lock().expect("lock").len() >= 8
        })
        .await;
        assert!(bed.turns("web").is_empty(), "eight at once");
        bed.until("web runs", |bed| bed.state("web").effective.is_some())
            .await;
        assert!(bed.began.elapsed() <= MINUTE + Duration::from_secs(2));
        bed.stop.leave.cancel();
    })
    .await;
}

const ORDERED: &str = "apps:\n  db: { path: apps/db }\n  web: { path: apps/web, after: [db] }\n";

#[tokio::test(start_paused = true)]
async fn an_app_follows_those_that_it_names_in_after() {
    let bed = Bed::new(&[("db", "db:1"), ("web", "web:1")]);
    bed.write("driftless.yaml", ORDERED);
    bed.commit("second");
    bed.script("db", Some(Script::Slow(Duration::from_secs(90))));
    bed.live(async {
        bed.until("web runs", |bed| bed.state("web").effective.is_some())
            .await;
        assert!(bed.turns("db")[0].ended <= Some(bed.turns("web")[0].began));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_predecessor_is_named_and_its_dependents_follow_once_it_is_well() {
    let bed = Bed::new(&[("db", "db:1"), ("web", "web:1")]);
    bed.write("driftless.yaml", ORDERED);
    bed.commit("second");
    bed.script("db", Some(Script::Fail { retry: true }));
    bed.live(async {
        bed.for_minutes(5).await;
        assert!(bed.turns("web").is_empty());
        let error = bed.state("web").last_error.expect("a reason");
        assert_eq!(error.code, WAITS);
        assert!(error.text.contains("`db`"), "{}", error.text);
        assert_eq!(bed.history.runs(&bed.key("web"), 100).expect("runs").len(), 1);
        bed.script("db", None);
        bed.until("web follows", |bed| bed.state("web").effective.is_some())
            .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn manual_apps_get_nothing_new_but_are_kept() {
    let bed = Bed::new(&[("web", "web:1")]);
    bed.live(bed.until("web runs", |bed| bed.state("web").effective.is_some()))
        .await;
    let bed = Bed {
        stop: Stop::new(),
        ..bed
    };
    bed.write(
        "driftless.yaml",
        "apps:\n  web: { path: apps/web, sync: manual }\n",
    );
    bed.app("web", "web:2");
    bed.commit("second");
    let before = bed.turns("web").len();
    bed.live(bed.for_minutes(5)).await;
    let after = bed.turns("web");
    assert!(after.len() > before, "what runs is looked at");
    assert!(
        after.iter().all(|turn| turn.image == "web:1"),
        "nothing new is applied"
    );
}

#[tokio::test(start_paused = true)]
async fn the_operators_files_are_read_anew_without_a_commit() {
    let bed = Bed::new(&[("web", "web:${TAG-1}")]);
    bed.live(async {
        bed.until("web runs", |bed| bed.state("web").effective.is_some())
            .await;
        bed.desk
            .variables
            .lock()
            .expect("lock")
            .insert("TAG".to_owned(), "2".to_owned());
        bed.until("it is rendered again", |bed| {
            bed.turns("web").iter().any(|turn| turn.image == "web:2")
        })
        .await;
    })
    .await;
}

/// Eight apps, settled.
async fn eight() -> Bed {
    let apps: Vec<String> = (1..=8).map(|number| format!("app{number}")).collect();
    let declared: Vec<(&str, &str)> = apps.iter().map(|app| (app.as_str(), "x:1")).collect();
    Bed::new(&declared)
}

impl Bed {
    async fn settled(&self) {
        self.until("all are settled", |bed| {
            (1..=8).all(|n| bed.state(&format!("app{n}")).effective.is_some())
        })
        .await;
    }

    fn downs(&self) -> Vec<String> {
        let turns = self.crank.turns.lock().expect("lock");
        turns
            .iter()
            .filter(|turn| turn.down)
            .map(|turn| turn.app.clone())
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_gone_from_git_is_taken_down_after_ten_minutes() {
    let bed = eight().await;
    bed.live(async {
        bed.settled().await;
        bed.remove("apps/app3");
        bed.commit("without app3");
        bed.for_minutes(9).await;
        assert!(bed.downs().is_empty());
        assert!(bed.state("app3").vanished.is_some());
        bed.until("it is taken down", |bed| !bed.downs().is_empty()).await;
        bed.for_minutes(30).await;
        assert_eq!(bed.downs(), ["app3"], "once, and no other");
        bed.app("app3", "x:2");
        bed.commit("with app3");
        bed.until("it is back", |bed| bed.state("app3").effective.is_some())
            .await;
        assert!(bed.state("app3").vanished.is_none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_app_that_comes_back_in_time_is_not_taken_down() {
    let bed = eight().await;
    bed.live(async {
        bed.settled().await;
        bed.remove("apps/app3");
        bed.commit("without app3");
        bed.for_minutes(8).await;
        bed.app("app3", "x:1");
        bed.commit("with app3");
        bed.for_minutes(8).await;
        bed.remove("apps/app3");
        bed.commit("without app3 again");
        bed.for_minutes(8).await;
        assert!(bed.downs().is_empty(), "the time starts anew");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn many_apps_that_are_gone_at_once_are_a_persons_decision() {
    let bed = eight().await;
    bed.live(async {
        bed.settled().await;
        for app in ["app1", "app2", "app3"] {
            bed.remove(&format!("apps/{app}"));
        }
        bed.commit("without three");
        bed.for_minutes(60).await;
        assert!(bed.downs().is_empty());
        assert_eq!(bed.last_error("app1"), TOO_MANY);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn prune_none_leaves_a_vanished_app() {
    let bed = eight().await;
    let declared: String = (1..=8)
        .map(|n| format!("  app{n}: {{ path: apps/app{n}, prune: none }}\n"))
        .collect();
    bed.write("driftless.yaml", &format!("apps:\n{declared}"));
    bed.commit("second");
    bed.live(async {
        bed.settled().await;
        bed.write(
            "driftless.yaml",
            &format!(
                "apps:\n{}",
                declared.replacen("  app1: { path: apps/app1, prune: none }\n", "", 1)
            ),
        );
        bed.commit("without app1");
        bed.for_minutes(30).await;
        assert!(bed.downs().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn emptied_repository_deletes_nothing() {
    let bed = eight().await;
    bed.live(async {
        bed.settled().await;
        bed.remove("apps");
        bed.commit("nothing at all");
        bed.for_minutes(60).await;
        assert!(bed.downs().is_empty());
        assert_eq!(bed.last_error("app1"), "E0405");
        bed.write("README.md", "no apps");
        bed.commit("no apps");
        bed.for_minutes(60).await;
        assert!(bed.downs().is_empty(), "no app at all is no proof");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_branch_or_repository_changes_nothing_and_recovers_by_itself() {
    let bed = eight().await;
    bed.live(async {
        bed.settled().await;
        let repository = git2::Repository::open(bed.repo()).expect("open");
        let head = repository
            .head()
            .expect("head")
            .peel_to_commit()
            .expect("commit")
            .id();
        repository
            .find_reference("refs/heads/main")
            .expect("ref")
            .delete()
            .expect("delete");
        bed.until("it is said", |bed| !bed.last_error("app1").is_empty())
            .await;
        repository
            .reference("refs/heads/main", head, true, "back")
            .expect("ref");
        bed.until("it recovers", |bed| bed.last_error("app1").is_empty())
            .await;
        let (here, away) = (bed.repo(), bed.folder.path().join("away"));
        std::fs::rename(&here, &away).expect("rename");
        bed.until("it is said", |bed| bed.last_error("app1") == "E0406")
            .await;
        bed.for_minutes(60).await;
        std::fs::rename(&away, &here).expect("rename");
        bed.app("app1", "x:2");
        bed.commit("after");
        bed.until("it follows again", |bed| bed.commits("app1").len() == 2)
            .await;
        assert!(bed.downs().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_rewritten_history_is_followed_and_an_unrelated_one_is_not() {
    let bed = Bed::new(&[("web", "web:1")]);
    bed.app("web", "web:2");
    bed.commit("second");
    bed.live(async {
        bed.until("web runs", |bed| bed.state("web").effective.is_some())
            .await;
        let repository = git2::Repository::open(bed.repo()).expect("open");
        let first = repository
            .head()
            .expect("head")
            .peel_to_commit()
            .expect("commit")
            .parent(0)
            .expect("first");
        bed.app("web", "web:3");
        let _ = commit(&repository, "rewritten", Some(&first));
        bed.until("it is followed", |bed| {
            bed.commits("web")
                .last()
                .is_some_and(|last| last == "rewritten web:3")
        })
        .await;
        bed.app("web", "web:4");
        let _ = commit(&repository, "another repository", None);
        bed.until("it is said", |bed| bed.last_error("web") == "E0423")
            .await;
        bed.for_minutes(10).await;
        assert!(bed.turns("web").iter().all(|turn| turn.image != "web:4"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_driftless_yaml_changes_nothing_for_any_app() {
    let bed = eight().await;
    bed.live(async {
        bed.settled().await;
        bed.write("driftless.yaml", "apps: [\n");
        bed.commit("broken");
        bed.until("it is said", |bed| !bed.last_error("app1").is_empty())
            .await;
        bed.for_minutes(60).await;
        assert!(bed.downs().is_empty());
        bed.remove("driftless.yaml");
        bed.commit("repaired");
        bed.until("it recovers", |bed| bed.last_error("app1").is_empty())
            .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_runs_at_a_step_and_says_how_many() {
    let bed = Bed::new(&[("web", "web:1"), ("blog", "blog:1")]);
    bed.script("web", Some(Script::Hang));
    bed.script("blog", Some(Script::Slow(Duration::from_secs(5))));
    let ended = bed
        .live(bed.until("both run", |bed| {
            bed.turns("web").len() + bed.turns("blog").len() == 2
        }))
        .await;
    assert_eq!(
        ended,
        Ended {
            drained: 2,
            left: Vec::new()
        }
    );
    assert!(bed.turns("web")[0].ended.is_some());
    assert!(
        bed.turns("blog")[0].ended.is_some(),
        "a call that is under way is finished"
    );
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_leaves_at_once_and_names_what_was_left() {
    let bed = Bed::new(&[("web", "web:1")]);
    bed.script("web", Some(Script::Slow(MINUTE * 30)));
    let ended = bed
        .live(async {
            bed.until("it runs", |bed| bed.turns("web").len() == 1).await;
            bed.stop.leave.cancel();
        })
        .await;
    assert_eq!(ended.left, [bed.key("web")]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_repeat_what_is_settled() {
    let bed = Bed::new(&[("web", "web:1")]);
    bed.live(bed.until("web runs", |bed| bed.state("web").effective.is_some()))
        .await;
    let bed = Bed {
        stop: Stop::new(),
        ..bed
    };
    bed.live(bed.for_minutes(3)).await;
    assert_eq!(
        bed.commits("web"),
        ["first web:1"],
        "after a restart it is a tick"
    );
}
