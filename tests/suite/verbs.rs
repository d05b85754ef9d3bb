//! The verbs over the engine, as a person uses them: exit codes, words and JSON shapes on real engines.

use std::time::Duration;

use crate::support::driftless::TestEnv;
use crate::support::engine::Engine;
use crate::support::repo::Repo;
use crate::support::wait_until;

/// One app in a repository of its own, on a shared engine.
struct Stage {
    env: TestEnv,
    repo: Repo,
    app: String,
    engine: &'static Engine,
}

impl Stage {
    fn on(engine: &'static Engine) -> Self {
        let app = engine.unique("verbs");
        let repo = Repo::with(&[
            (
                "driftless.yaml",
                &format!("apps:\n  {app}: {{ path: stack, health: {{ bake: 1s }} }}\n"),
            ),
            (
                "stack/compose.yaml",
                "services:\n  api:\n    image: web:1\n    restart: unless-stopped\n    volumes: [\"data:/data\"]\nvolumes:\n  data:\n",
            ),
        ]);
        let env = TestEnv::on(engine).var("USER", "ada");
        Self {
            env,
            repo,
            app,
            engine,
        }
    }

    #[track_caller]
    fn run(&self, arguments: &[&str], code: i32) -> crate::support::command::CommandOutput {
        let mut all = vec!["--instance", "suite-verbs"];
        all.extend(arguments);
        self.env.run(&self.repo.path(), &all).code(code)
    }

    #[track_caller]
    fn json(&self, arguments: &[&str], code: i32) -> serde_json::Value {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        let value = self.run(&all, code).json();
        assert_eq!(value["apiVersion"], "driftless/v1");
        value
    }

    fn ship(&self, image: &str) {
        let file = self.repo.path().join("stack/compose.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().map(|line| {
            if line.contains("image:") {
                format!("    image: {image}\n")
            } else {
                format!("{line}\n")
            }
        });
        let text: String = lines.collect();
        self.repo
            .commit_file("stack/compose.yaml", &text, &format!("ship {image}"));
    }

    fn container(&self) -> String {
        format!("{}-api-1", self.app)
    }

    #[track_caller]
    fn sync(&self) -> String {
        self.json(&["status", &self.app], 0)["items"][0]["sync"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let label = format!("label=com.docker.compose.project={}", self.app);
        for (list, remove) in [
            (["ps", "-aq", "--filter"].as_slice(), ["rm", "-fv"].as_slice()),
            (&["network", "ls", "-q", "--filter"], &["network", "rm"]),
            (&["volume", "ls", "-q", "--filter"], &["volume", "rm"]),
        ] {
            let found = self.engine.docker(&[list, &[label.as_str()]].concat()).stdout;
            let found: Vec<&str> = found.split_whitespace().collect();
            if !found.is_empty() {
                drop(self.engine.docker(&[remove, &found].concat()));
            }
        }
    }
}

on_engines! {
    fn drift_status_and_diff_tell_what_moved(engine) {
        let stage = Stage::on(engine);
        assert_eq!(stage.sync(), "new");
        drop(stage.run(&["drift"], 0).says("nothing applied yet"));
        drop(stage.run(&["diff"], 1).says("+    image: web:1"));
        drop(stage.run(&["apply", "--yes"], 0));
        assert_eq!(stage.sync(), "synced");
        drop(stage.run(&["diff"], 0));
        drop(stage.run(&["drift"], 0).says("no drift"));

        drop(engine.docker(&["stop", "-t", "1", &stage.container()]).success());
        let drift = stage.json(&["drift"], 1);
        let field = &drift["items"][0]["changes"][0]["fields"][0];
        assert_eq!((&field["field"], &field["expected"]), (&"state".into(), &"running".into()));
        assert!(field["since"].is_string(), "the engine tells when it ended: {drift}");
        drop(stage.run(&["drift", "-o", "name"], 1).says(&stage.app));
        assert_eq!(stage.sync(), "drifted");
        drop(stage.run(&["diff"], 1).says("+state: running"));
        drop(stage.run(&["apply", "--yes"], 0));
        assert_eq!(stage.json(&["drift"], 0)["items"][0]["drifted"], false);

        stage.ship("web:2");
        assert_eq!(stage.sync(), "behind");
        drop(stage.run(&["drift"], 0));
        drop(stage.run(&["diff"], 1).says("-    image: web:1").says("+    image: web:2"));
        let near = format!("{}x", stage.app);
        for verb in ["drift", "status", "history", "why", "logs", "restart", "rollback", "retry", "down", "suspend", "wait"] {
            drop(stage.run(&[verb, &near], 2).complains("did you mean"));
        }
    }

    fn rollback_holds_and_retry_lifts_once(engine) {
        let stage = Stage::on(engine);
        drop(stage.run(&["apply", "--yes"], 0));
        drop(stage.run(&["rollback", &stage.app], 9).complains("no earlier stable release"));
        let first = stage.repo.head();
        stage.ship("web:2");
        drop(stage.run(&["apply", "--yes"], 0));
        let plan = stage.json(&["rollback", &stage.app, "--plan"], 0);
        assert_eq!((&plan["to"]["release"], &plan["to"]["revision"]), (&1.into(), &first.clone().into()));
        drop(stage.run(&["rollback", &stage.app], 9).complains("say --yes"));
        drop(stage.run(&["rollback", &stage.app, "--to", "99", "--yes"], 2).complains("stable releases: 2"));

        drop(stage.run(&["rollback", &stage.app, "--to", &first[..7], "--yes", "--reason", "it was slow"], 0));
        let status = stage.json(&["status", &stage.app], 0);
        assert_eq!((&status["items"][0]["sync"], &status["items"][0]["release"]), (&"held".into(), &1.into()));
        drop(stage.run(&["why", &stage.app], 0).says("rolled back by ada: it was slow").says("driftless retry"));
        drop(stage.run(&["drift"], 0));
        drop(stage.run(&["apply", "--yes"], 9));
        drop(stage.run(&["retry", &stage.app], 0));
        assert_eq!(stage.sync(), "synced");
        drop(stage.run(&["retry", &stage.app], 0).complains("is not held"));

        stage.ship("web:broken");
        drop(stage.run(&["apply", "--yes"], 7));
        let why = stage.json(&["why", &stage.app], 0);
        assert_eq!(why["sync"], "held");
        assert_eq!(why["lastFailure"]["evidence"][0]["service"], "api", "{why}");
        drop(stage.run(&["why", &stage.app], 0).says("last output").says("none by itself"));
        drop(stage.run(&["retry", &stage.app], 7));
        let history = stage.json(&["history", &stage.app], 0);
        let outcomes: Vec<&str> = history["items"].as_array().unwrap().iter().map(|item| item["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["rolledBack", "stable", "stable"]);
        drop(stage.run(&["history", &stage.app, "--runs"], 0).says("rolled back").says("retry"));
        assert_eq!(stage.json(&["history", &stage.app, "--runs", "-n", "1"], 0)["items"][0]["exitCode"], 7);
    }

    fn suspend_stops_changes_and_wait_gives_up(engine) {
        let stage = Stage::on(engine);
        drop(stage.run(&["wait", &stage.app, "--timeout", "1s"], 10).complains("gave up waiting"));
        drop(stage.run(&["apply", "--yes"], 0));
        drop(stage.run(&["wait", &stage.app], 0).says("is synced, healthy"));
        drop(stage.run(&["wait", &stage.app, "--for", &format!("revision={}", stage.repo.head())], 0));
        drop(stage.run(&["suspend", &stage.app, "--for", "2h", "--reason", "by hand"], 0));
        assert_eq!(stage.sync(), "suspended");
        stage.ship("web:2");
        drop(stage.run(&["apply", "--yes"], 9).says("by hand"));
        drop(stage.run(&["why", &stage.app], 0).says("driftless resume"));
        drop(stage.run(&["resume", &stage.app], 0));
        drop(stage.run(&["apply", "--yes"], 0));
        assert_eq!(stage.json(&["wait", &stage.app, "--for", "synced"], 0)["reached"], true);
    }

    fn logs_are_prefixed_and_restart_keeps_the_container(engine) {
        let stage = Stage::on(engine);
        drop(stage.run(&["apply", "--yes"], 0));
        drop(stage.run(&["logs", &stage.app], 0).says("api-1 | "));
        drop(stage.run(&["logs", &format!("{}/apy", stage.app)], 2).complains("did you mean `api`"));
        let before = engine.inspect(&stage.container());
        drop(stage.run(&["restart", &format!("{}/api", stage.app)], 0).says("restarted"));
        let after = engine.inspect(&stage.container());
        assert_eq!(before["Id"], after["Id"]);
        assert_ne!(before["State"]["StartedAt"], after["State"]["StartedAt"]);
        let all = ["--instance", "suite-verbs", "logs", &stage.app, "-f", "--tail", "1"];
        let mut follow = stage.env.start(&stage.repo.path(), &all);
        follow.wait_to_say("api-1 | ", Duration::from_secs(20));
    }

    fn down_keeps_volumes_unless_they_are_named(engine) {
        let stage = Stage::on(engine);
        drop(stage.run(&["apply", "--yes"], 0));
        drop(stage.run(&["down", &stage.app], 9).complains("say --yes"));
        drop(stage.run(&["down", &stage.app, "--volumes", "dta", "--yes"], 2).complains("did you mean `data`"));
        let volume = format!("{}_data", stage.app);
        // The app is no longer in Git: it is taken down from what is stored.
        stage.repo.commit_file("driftless.yaml", "apps: {}\n", "nothing any more");
        assert_eq!(stage.sync(), "gone");
        drop(stage.run(&["apply", "--yes"], 0).complains(&format!("driftless down {}", stage.app)));
        drop(stage.run(&["down", &stage.app, "--yes"], 0).says("taken down"));
        drop(engine.docker(&["inspect", &stage.container()]).code(1));
        drop(engine.docker(&["volume", "inspect", &volume]).success());
        drop(stage.run(&["down", &stage.app, "--volumes", "data", "--yes"], 0));
        drop(engine.docker(&["volume", "inspect", &volume]).code(1));
    }

    fn takeover_makes_another_instances_containers_ours(engine) {
        let stage = Stage::on(engine);
        let other = |arguments: &[&str]| {
            let state = stage.env.home().join("other");
            let mut all = vec!["--instance", "suite-other", "--state", state.to_str().unwrap()];
            all.extend(arguments);
            stage.env.run(&stage.repo.path(), &all)
        };
        drop(other(&["apply", "--yes"]).success());
        let before = engine.inspect(&stage.container());
        drop(stage.run(&["apply", "--yes"], 9).says("suite-other").says("driftless takeover"));
        drop(stage.run(&["takeover", &stage.app], 9).complains("say --yes"));
        drop(stage.run(&["takeover", &stage.app, "--yes"], 0));
        assert_eq!(before["Id"], engine.inspect(&stage.container())["Id"], "nothing is restarted");
        drop(stage.run(&["apply", "--yes"], 0).says("no changes"));
        stage.ship("web:2");
        drop(stage.run(&["apply", "--yes"], 0));
        assert_eq!(stage.sync(), "synced");
    }
}

#[test]
fn an_absent_engine_is_unknown_and_status_goes_on() {
    let env = TestEnv::new();
    let repo = Repo::with(&[("compose.yaml", "services:\n  api:\n    image: web:1\n")]);
    let status = env.run(&repo.path(), &["status", "-o", "json"]).success().json();
    assert_eq!(
        (&status["items"][0]["sync"], &status["items"][0]["health"]),
        (&"unknown".into(), &"unknown".into())
    );
    assert!(status["items"][0]["error"].as_str().unwrap().len() > 10);
    drop(env.run(&repo.path(), &["drift"]).code(5));
    drop(
        env.run(&repo.path(), &["why", "infra"])
            .success()
            .says("driftless doctor"),
    );
    let mut watch = env.start(&repo.path(), &["status", "-w"]);
    watch.wait_to_say("unknown", Duration::from_secs(20));
    wait_until("it still runs", Duration::from_secs(1), || {
        watch.stdout().contains("infra")
    });
}
