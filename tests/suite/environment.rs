//! The fixtures themselves, on real engines: what a law stands on must hold.

use std::time::Duration;

use crate::support::command::CommandOutput;
use crate::support::driftless::TestEnv;
use crate::support::engine::{Engine, Version};
use crate::support::proxy::{Fault, Proxy};
use crate::support::registry::{FakeRegistry, PASSWORD, Registry};
use crate::support::repo::{Repo, hermetic_git};
use crate::support::sshd::Sshd;
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

    fn the_proxy_sees_every_call_and_changes_none(engine) {
        let proxy = Proxy::start(&engine.socket());
        let docker = |arguments: &[&str]| CommandOutput::of(engine.docker_command().env("DOCKER_HOST", proxy.docker_host()).args(arguments));
        let name = engine.unique("seen");
        drop(docker(&["ps"]).success());
        proxy.assert_read_only();
        assert_eq!(proxy.count("GET", "/containers/json"), 1);
        assert!(proxy.calls().iter().any(|call| call.version.is_some()));
        proxy.clear();
        // An attached run: create, attach (a hijacked connection), wait, start; a stream that ends with the container.
        let output = docker(&["run", "--name", &name, "base:1", "sh", "-c", "echo hello; exit 7"]);
        drop(output.code(7).says("hello"));
        let routes: Vec<String> = proxy.mutating().iter().map(|call| call.route().to_owned()).collect();
        assert_eq!(routes[0], "/containers/create");
        assert!(routes.iter().any(|route| route.ends_with("/attach")), "{routes:?}");
        // Chunked bodies in both directions, and many at once.
        let piped = CommandOutput::with_input(
            engine.docker_command().env("DOCKER_HOST", proxy.docker_host()).args(["run", "-i", "--rm", "base:1", "wc", "-c"]),
            &vec![b'x'; 1_000_000],
        );
        assert_eq!(piped.success().text(), "1000000");
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| drop(docker(&["inspect", &name]).success()));
            }
        });
        assert_eq!(proxy.count("GET", &format!("/containers/{name}/json")), 10);
        drop(docker(&["rm", &name]).success());
    }

    fn the_proxy_breaks_what_the_test_picks(engine) {
        let proxy = Proxy::start(&engine.socket());
        let docker = |arguments: &[&str]| CommandOutput::of(engine.docker_command().env("DOCKER_HOST", proxy.docker_host()).args(arguments));
        let names = [engine.unique("broken"), engine.unique("broken"), engine.unique("broken")];
        let exists = |name: &str| engine.docker(&["inspect", name]).status == Some(0);
        // The second create is refused; the engine does not see it.
        proxy.fault_nth("POST", "^/containers/create", 1, 1, Fault::Refuse(500, "no space left on device".to_owned()));
        drop(docker(&["create", "--name", &names[0], "base:1"]).success());
        drop(docker(&["create", "--name", &names[1], "base:1"]).complains("no space left on device"));
        assert!(exists(&names[0]) && !exists(&names[1]));
        // Dropped before: not done. Dropped after: done, but nobody was told.
        proxy.clear();
        proxy.fault("POST", "^/containers/create", Fault::DropBefore);
        assert_ne!(docker(&["create", "--name", &names[1], "base:1"]).status, Some(0));
        assert!(!exists(&names[1]));
        proxy.clear();
        proxy.fault("POST", "^/containers/create", Fault::DropAfter);
        assert_ne!(docker(&["create", "--name", &names[2], "base:1"]).status, Some(0));
        assert!(exists(&names[2]));
        // Held: nothing happens until the gate opens.
        proxy.clear();
        let gate = proxy.hold("DELETE", "^/containers/");
        std::thread::scope(|scope| {
            let removal = scope.spawn(|| docker(&["rm", &names[2]]));
            gate.wait_until_reached(Duration::from_secs(5));
            assert!(exists(&names[2]));
            gate.open();
            drop(removal.join().unwrap().success());
        });
        assert!(!exists(&names[2]));
        drop(engine.docker(&["rm", &names[0]]).success());
    }

    fn compose_runs_as_the_oracle(engine) {
        let (project, port) = (engine.unique("oracle"), engine.free_port());
        let repo = Repo::with(&[("compose.yaml", &format!(
            "name: {project}\nservices:\n  web:\n    image: web:1\n    ports: [\"127.0.0.1:{port}:8080\"]\n"
        ))]);
        drop(engine.compose(&repo.path(), &["up", "-d"]).success());
        assert!(engine.wait_for_http(port, "/").starts_with("version=1 "));
        drop(engine.compose(&repo.path(), &["down", "-t", "0"]).success());
    }

    fn a_registry_takes_a_push_and_serves_a_pull_by_digest(engine) {
        let registry = Registry::start(engine);
        let digest = registry.push("web:2", "shop/web:2");
        let by_digest = format!("{}/shop/web@{digest}", registry.address());
        assert_ne!(engine.docker(&["image", "inspect", &by_digest]).status, Some(0));
        drop(engine.docker(&["pull", &by_digest]).success());
        drop(engine.docker(&["rmi", &by_digest]).success());
        registry.stop();
        assert_ne!(engine.docker(&["pull", &by_digest]).status, Some(0));
    }

    fn a_registry_with_a_password_refuses_the_anonymous(engine) {
        let registry = Registry::with_password(engine);
        registry.push("web:3", "private/web:3");
        let reference = format!("{}/private/web:3", registry.address());
        // Without the credentials that the login left in the CLI's folder. A CLI would prompt for them; the API answers.
        let elsewhere = tempfile::tempdir().unwrap();
        let refused = CommandOutput::of(engine.docker_command().env("DOCKER_CONFIG", elsewhere.path()).args(["pull", &reference]));
        assert_ne!(refused.status, Some(0), "{refused}");
        assert!(!format!("{refused}").contains(PASSWORD));
        drop(engine.docker(&["pull", &reference]).success());
        drop(engine.docker(&["rmi", &reference]).success());
    }

    fn a_fake_registry_answers_any_status(engine) {
        let registry = FakeRegistry::start(engine);
        for (status, reason) in [(404, "404"), (500, "500"), (429, "toomanyrequests")] {
            let refused = engine.docker(&["pull", &registry.image(status)]);
            assert_ne!(refused.status, Some(0), "{refused}");
            let said = refused.stderr.to_lowercase();
            assert!(said.contains(reason) || said.contains(&format!("made up {status}")) || said.contains("not found"), "{refused}");
        }
        assert!(registry.seen().iter().any(|request| request.contains("/v2/s404/")), "{:?}", registry.seen());
    }
}

#[test]
fn commit_ids_are_the_same_in_every_run() {
    let ids: Vec<String> = (0..2)
        .map(|_| Repo::with(&[("apps/web/compose.yaml", "services: {}\n")]).head())
        .collect();
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[0].len(), 40);
}

#[test]
fn the_ssh_server_serves_a_known_key_and_refuses_another() {
    let (server, repo) = (
        Sshd::start(),
        Repo::with(&[("apps/web/compose.yaml", "services: {}\n")]),
    );
    let home = tempfile::tempdir().unwrap();
    let known_hosts = home.path().join("known_hosts");
    std::fs::write(&known_hosts, server.known_hosts()).unwrap();
    let ls_remote = |key: &std::path::Path| {
        let ssh = format!(
            "{} -F none -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityFile={} -o UserKnownHostsFile={}",
            crate::support::engines_cache().join("tools/ssh").display(),
            key.display(),
            known_hosts.display()
        );
        let mut git = hermetic_git(home.path());
        CommandOutput::of(git.env("GIT_SSH_COMMAND", ssh).args([
            "ls-remote",
            &server.url(&repo.path()),
            "main",
        ]))
    };
    let listed = ls_remote(&server.client_key());
    assert_eq!(
        listed.clone().success().stdout,
        format!("{}\trefs/heads/main\n", repo.head()),
        "{}",
        server.log()
    );
    assert_ne!(ls_remote(&home.path().join("no-key")).status, Some(0));
}

#[test]
fn driftless_runs_without_the_environment_of_the_machine() {
    let env = TestEnv::new();
    let seen = CommandOutput::of(env.command(env.home(), &[]).arg("--version"));
    assert!(seen.status.is_some(), "{seen}");
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
