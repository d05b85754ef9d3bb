//! The fixtures themselves, on real engines: what a law stands on must hold.

use std::time::Duration;

use crate::support::engine::{Engine, Version};
use crate::support::{images, wait_until};

on_engines! {
    fn an_engine_has_its_version_and_the_images(engine) {
        let expected = match engine.version() {
            Version::V20 => "20.10.",
            Version::V28 => "28.",
            Version::V29 => "29.",
        };
        let version = engine.docker_text(&["version", "-f", "{{.Server.Version}}"]);
        assert!(version.starts_with(expected), "{version}");
        let listed = engine.docker_text(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
        for name in images::names() {
            assert!(listed.lines().any(|line| line == name), "{name} is not in\n{listed}");
        }
    }

    fn published_ports_and_container_addresses_answer(engine) {
        let (name, port) = (engine.unique("published"), engine.free_port());
        engine.docker_text(&["run", "-d", "--name", &name, "-p", &format!("127.0.0.1:{port}:8080"), "web:1"]);
        assert!(engine.wait_for_http(port, "/").starts_with("version=1 host="));
        let address = engine.address_of(&name, "bridge");
        assert_eq!(engine.http_get_at((address, 8080), "/env/VERSION").unwrap().body, "1");
        let outside = std::net::TcpStream::connect(("127.0.0.1", port));
        assert!(outside.is_err(), "the port is published on the machine itself");
        wait_until("the healthcheck says healthy", Duration::from_secs(10), || {
            engine.docker_text(&["inspect", "-f", "{{.State.Health.Status}}", &name]) == "healthy"
        });
        engine.docker_text(&["rm", "-f", &name]);
    }

    fn a_graceful_stop_cuts_no_accepted_request(engine) {
        let (name, port) = (engine.unique("graceful"), engine.free_port());
        engine.docker_text(&["run", "-d", "--name", &name, "-p", &format!("127.0.0.1:{port}:8080"), "web:1"]);
        engine.wait_for_http(port, "/");
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| engine.http_get(port, "/slow/1500"));
            wait_until("the slow request is being served", Duration::from_secs(5), || {
                engine.docker_text(&["exec", &name, "netstat", "-tn"]).matches(":8080").count() > 0
            });
            engine.docker_text(&["stop", "-t", "10", &name]);
            assert_eq!(slow.join().unwrap().unwrap().status, 200);
        });
        assert_eq!(engine.inspect(&name)["State"]["ExitCode"], 0);
        engine.docker_text(&["rm", "-f", &name]);
    }
}

#[test]
fn a_private_engine_can_be_stopped_killed_frozen_and_leaves_nothing() {
    let engine = Engine::private(Version::V28);
    let folder = engine.socket().parent().unwrap().to_owned();
    engine.docker_text(&["run", "-d", "--name", "kept", "--restart", "always", "web:plain"]);
    engine.stop_daemon();
    assert!(!engine.docker(&["ps"]).stderr.is_empty());
    engine.start_daemon();
    wait_until("the container runs again", Duration::from_secs(10), || {
        engine.docker_text(&["inspect", "-f", "{{.State.Running}}", "kept"]) == "true"
    });
    engine.kill_daemon();
    engine.start_daemon();
    engine.freeze_daemon();
    engine.thaw_daemon();
    engine.docker_text(&["ps"]);
    drop(engine);
    assert!(!folder.exists(), "{} is left", folder.display());
    let group = folder.file_name().unwrap().to_str().unwrap().to_owned();
    let left = std::fs::read_dir("/sys/fs/cgroup")
        .unwrap()
        .flatten()
        .any(|entry| entry.path().join(&group).exists());
    assert!(!left, "a cgroup of {group} is left");
}

#[test]
fn nothing_of_an_engine_outlives_a_killed_script() {
    let mut engine = Engine::private(Version::V20);
    let folder = engine.socket().parent().unwrap().to_owned();
    engine.docker_text(&["run", "-d", "web:slow-stop"]);
    let process = std::path::PathBuf::from(format!("/proc/{}", engine.pid()));
    assert!(process.exists());
    engine.kill_script();
    wait_until("the namespaces are gone", Duration::from_secs(5), || {
        !process.exists()
    });
    drop(engine);
    // The folder and the cgroups go with the next engine's start.
    drop(Engine::private(Version::V20));
    assert!(!folder.exists(), "{} is left", folder.display());
}
