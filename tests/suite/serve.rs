//! `driftless serve` as a user runs it: a commit becomes running containers, what is stopped comes back, a fix goes first.

use std::time::{Duration, Instant};

use crate::support::driftless::{Running, TestEnv};
use crate::support::engine::Engine;
use crate::support::repo::Repo;
use crate::support::scene::Scene;
use crate::support::wait_until;

const SOON: Duration = Duration::from_secs(60);

/// A repository with one app under a name of its own, and the loop that follows it.
struct Served {
    engine: &'static Engine,
    app: String,
    repo: Repo,
    env: TestEnv,
}

impl Served {
    fn new(engine: &'static Engine, image: &str) -> Self {
        let app = engine.unique("served");
        let served = Self {
            engine,
            repo: Repo::new(),
            env: TestEnv::on(engine),
            app,
        };
        let (app, repo) = (&served.app, &served.repo);
        repo.write(
            "driftless.yaml",
            format!("apps:\n  {app}: {{ path: apps/{app}, health: {{ bake: 1s }} }}\n"),
        );
        served.write(image, "");
        drop(repo.commit("first"));
        served
    }

    fn write(&self, image: &str, more: &str) {
        let file = format!("apps/{}/compose.yaml", self.app);
        self.repo.write(
            &file,
            format!("services:\n  web:\n    image: {image}\n    stop_grace_period: 1s\n{more}"),
        );
    }

    fn serve(&self) -> Running {
        self.env.start(&self.repo.path(), &["serve", "--interval", "2s"])
    }

    /// Images of the app's running containers. They are created by image id, so the image's own label tells its name.
    fn running(&self) -> Vec<String> {
        let project = format!("label=com.docker.compose.project={}", self.app);
        let all = self.engine.docker_text(&[
            "ps",
            "--filter",
            &project,
            "--format",
            "{{.Label \"app.version\"}}",
        ]);
        all.lines().map(|version| format!("web:{version}")).collect()
    }

    fn container(&self) -> String {
        let project = format!("label=com.docker.compose.project={}", self.app);
        self.engine
            .docker_text(&["ps", "-q", "--no-trunc", "--filter", &project])
            .trim()
            .to_owned()
    }

    #[track_caller]
    fn wait_for(&self, image: &str, served: &Running) {
        let start = Instant::now();
        while self.running() != [image] {
            assert!(
                start.elapsed() < SOON,
                "{image} does not run; {:?} does, and serve says:\n{}",
                self.running(),
                served.stderr()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

on_engines! {
    fn serve_follows_commits_heals_what_was_stopped_and_ends_well(engine) {
        let served = Served::new(engine, "web:1");
        let mut loop_ = served.serve();
        served.wait_for("web:1", &loop_);
        loop_.wait_to_say("release 1 is stable", SOON);

        served.write("web:2", "");
        drop(served.repo.commit("second"));
        served.wait_for("web:2", &loop_);
        loop_.wait_to_say("release 2 is stable", SOON);

        let before = served.container();
        drop(engine.docker(&["stop", "-t", "0", &before]).success());
        served.wait_for("web:2", &loop_);
        loop_.wait_to_say("healed", SOON);

        let ended = loop_.terminate(SOON);
        assert_eq!(ended.status, Some(0), "{ended:?}");
        assert_eq!(served.running(), ["web:2"], "nothing is stopped with the loop");
    }

    fn fix_forward_preempts(engine) {
        let served = Served::new(engine, "web:1");
        let mut loop_ = served.serve();
        loop_.wait_to_say("release 1 is stable", SOON);

        // It runs, and its healthcheck stays undecided for longer than any test waits.
        served.write(
            "web:2",
            "    environment: { START_DELAY_MS: \"600000\" }\n    healthcheck: { test: [CMD, /bin/web, probe], interval: 1s, retries: 500 }\n",
        );
        drop(served.repo.commit("never healthy"));
        // Start-first: the old one runs on beside it.
        wait_until("the candidate runs", SOON, || served.running().contains(&"web:2".to_owned()));

        served.write("web:3", "");
        drop(served.repo.commit("the fix"));
        let pushed = Instant::now();
        served.wait_for("web:3", &loop_);
        let took = pushed.elapsed();
        loop_.wait_to_say("release 3 is stable", SOON);
        assert!(took < Duration::from_secs(10), "the fix waited {took:?}");
        let said = loop_.stderr();
        assert!(!said.contains("release 2 is stable") && !said.contains("rolled back"), "{said}");
        drop(loop_.terminate(SOON));
    }

    fn reported_drift_keeps_the_time_it_was_first_seen(engine) {
        let scene = Scene::with_rules(engine, "drift: report, health: { bake: 1s }", "services:\n  web:\n    image: web:1\n    restart: always\n");
        let mut loop_ = scene.env.start(&scene.repo.path(), &["serve", "--interval", "1s"]);
        loop_.wait_to_say("release 1 is stable", SOON);
        let id = scene.serving("web").id;
        let looks = || scene.proxy.count("GET", "/volumes");
        let two_more_ticks = || {
            let seen = looks();
            wait_until("two more ticks", SOON, || looks() >= seen + 2);
        };
        drop(engine.docker(&["update", "--restart", "no", &id]).success());
        wait_until("the drift is noted", SOON, || !scene.story().0.drift.is_empty());
        let first = scene.story().0.drift;
        assert_eq!(first.keys().collect::<Vec<_>>(), ["service/web restart"]);
        scene.proxy.clear();
        two_more_ticks();
        assert_eq!(scene.story().0.drift, first, "a later look does not make it younger");
        scene.proxy.assert_read_only();
        drop(scene.run(&["drift"]).code(1).says("first seen "));
        let told = scene.run(&["drift", "-o", "json"]).code(1).json();
        let since = &told["items"][0]["changes"][0]["fields"][0]["firstSeen"];
        assert_eq!(*since, first["service/web restart"].to_string());
        let status = scene.run(&["status", &scene.app, "-o", "json"]).json();
        assert_eq!(status["items"][0]["driftSince"]["service/web restart"], *since, "{status:#}");
        // What is put right is forgotten, and what stops later is told by the engine.
        drop(engine.docker(&["update", "--restart", "always", &id]).success());
        wait_until("it is forgotten", SOON, || scene.story().0.drift.is_empty());
        drop(engine.docker(&["stop", "-t", "0", &id]).success());
        let told = scene.run(&["drift", "-o", "json"]).code(1).json();
        let field = &told["items"][0]["changes"][0]["fields"][0];
        assert!(field["field"] == "state" && field["since"].is_string(), "{told:#}");
        drop(loop_.terminate(SOON));
    }

    fn one_bad_app_does_not_stop_others_under_serve(engine) {
        let served = Served::new(engine, "web:1");
        let (app, repo) = (&served.app, &served.repo);
        repo.write("driftless.yaml", format!(
            "apps:\n  bad: {{ path: apps/bad }}\n  {app}: {{ path: apps/{app}, health: {{ bake: 1s }} }}\n"
        ));
        repo.write("apps/bad/compose.yaml", "services:\n  web:\n    image: web:1\n    replica: 2\n");
        drop(repo.commit("with a bad one"));
        let mut loop_ = served.serve();
        loop_.wait_to_say("E0207", SOON);
        served.wait_for("web:1", &loop_);
        // Emptied: said, and nothing is deleted.
        repo.remove("apps");
        repo.remove("driftless.yaml");
        drop(repo.commit("nothing at all"));
        loop_.wait_to_say("E0405", SOON);
        wait_until("it is still there", SOON, || served.running() == ["web:1"]);
        drop(loop_.terminate(SOON));
    }
}
