//! `driftless demo` and what it is made of, on real engines.

use std::time::Duration;

use driftless::demo::images::{self, IMAGES};
use driftless::demo::program::Program;
use driftless::demo::repository::{FILES, Names};
use serde_json::Value;

use crate::support::command::CommandOutput;
use crate::support::driftless::TestEnv;
use crate::support::engine::Engine;
use crate::support::wait_until;

/// The program's images under `prefix`, as the demo makes them.
fn load(engine: &Engine, prefix: &str) {
    let program = Program::read(env!("CARGO_BIN_EXE_driftless").as_ref(), &maps()).unwrap();
    let archive = images::archive(&program, prefix).unwrap();
    drop(CommandOutput::with_input(engine.docker_command().args(["load", "-q"]), &archive).success());
}

/// What the program has mapped while it runs: that of a copy that waits.
fn maps() -> String {
    let mut waiting = std::process::Command::new(env!("CARGO_BIN_EXE_driftless"))
        .args(["demo-server", "watch", "http://127.0.0.1:9/"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Its first line comes after everything was loaded.
    let mut first = String::new();
    let mut reader = std::io::BufReader::new(waiting.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut reader, &mut first).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", waiting.id())).unwrap();
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    maps
}

fn health(engine: &Engine, container: &str) -> Value {
    engine.inspect(container)["State"]["Health"]["Status"].take()
}

on_engines! {
    fn the_example_repository_runs_with_docker_compose_too(engine) {
        let (id, port) = (engine.unique("oracle"), engine.free_port());
        let names = Names::new(&id, port);
        load(engine, &names.images);
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in FILES {
            let file = folder.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, names.put_into(text)).unwrap();
        }
        let web = folder.path().join("apps/web");
        drop(engine.compose(&web, &["up", "-d", "--pull", "never"]).success());
        assert_eq!(engine.wait_for_http(port, "/"), "The corner shop 1.8.2: 3 products\n");
        for service in ["proxy", "app", "database"] {
            let container = format!("{}-{service}-1", names.web);
            wait_until(&format!("{service} is healthy"), Duration::from_secs(20), || health(engine, &container) == "healthy");
        }
        let migrate = format!("{}-migrate-1", names.web);
        assert_eq!(engine.inspect(&migrate)["State"]["ExitCode"], 0);
        let jobs = folder.path().join("apps/jobs");
        drop(engine.compose(&jobs, &["up", "--pull", "never"]).success());
        assert_eq!(engine.inspect(&format!("{}-catalogue-1", names.jobs))["State"]["ExitCode"], 0);
        // The release that breaks: it runs, and its health check says what is missing.
        let broken = engine.unique("broken");
        let image = format!("{}web:1.9.0", names.images);
        let check = "/driftless demo-server check http://127.0.0.1:8080/healthz";
        engine.docker_text(&["run", "-d", "--name", &broken, "--health-cmd", "none", &image]);
        wait_until("the check answers", Duration::from_secs(10), || {
            let said = engine.docker(&[&["exec", &broken][..], &check.split(' ').collect::<Vec<_>>()].concat());
            said.status == Some(1) && said.stderr.contains("503 SHOP_CURRENCY is not set")
        });
        engine.docker_text(&["rm", "-f", &broken]);
        // A stop is an end, not a crash.
        engine.docker_text(&["stop", &format!("{}-app-1", names.web)]);
        assert_eq!(engine.inspect(&format!("{}-app-1", names.web))["State"]["ExitCode"], 0);
        drop(engine.compose(&web, &["down", "-v", "-t", "1"]).success());
        drop(engine.compose(&jobs, &["down", "-v", "-t", "1"]).success());
        for image in IMAGES {
            engine.docker_text(&["rmi", &format!("{}{}", names.images, image.name)]);
        }
    }
}

#[test]
fn the_demo_refuses_an_engine_of_another_machine() {
    let env = TestEnv::new().var("DOCKER_HOST", "tcp://192.0.2.1:2375");
    let refused = env.run(env.home(), &["demo"]);
    drop(
        refused
            .code(9)
            .complains("an engine of this machine only")
            .complains("DOCKER_HOST"),
    );
}
