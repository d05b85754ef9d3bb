//! `driftless demo` and what it is made of, on real engines and a real cluster.

use std::time::Duration;

use driftless::demo::docker::Names;
use driftless::demo::example;
use driftless::demo::images::{self, IMAGES};
use driftless::demo::program::Program;
use serde_json::Value;

use crate::support::cluster::Cluster;
use crate::support::command::CommandOutput;
use crate::support::driftless::TestEnv;
use crate::support::engine::{Engine, Version};
use crate::support::wait_until;

/// Everything that an engine holds, by kind and name.
fn everything(engine: &Engine) -> Vec<String> {
    let mut all = Vec::new();
    for (kind, arguments) in [
        ("container", &["ps", "-a", "--format", "{{.ID}}"][..]),
        ("network", &["network", "ls", "--format", "{{.Name}}"]),
        ("volume", &["volume", "ls", "--format", "{{.Name}}"]),
        (
            "image",
            &[
                "image",
                "ls",
                "-a",
                "--format",
                "{{.Repository}}:{{.Tag}} {{.ID}}",
            ],
        ),
    ] {
        all.extend(
            engine
                .docker_text(arguments)
                .lines()
                .map(|line| format!("{kind} {line}")),
        );
    }
    all.sort();
    all
}

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
        for (path, text) in example::DOCKER {
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
            said.status == Some(1) && said.stdout.contains("503 SHOP_CURRENCY is not set")
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

/// An engine of its own, so that what is there before and after can be compared as a whole.
fn on_a_private_engine(version: Version, work: impl FnOnce(&'static Engine, TestEnv)) {
    let engine: &'static Engine = Box::leak(Box::new(Engine::private(version)));
    let before = everything(engine);
    let env = TestEnv::on(engine);
    let folder = tempfile::tempdir().unwrap();
    let env = env.var("TMPDIR", folder.path().to_str().unwrap());
    work(engine, env);
    assert_eq!(everything(engine), before, "what the engine holds");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

fn the_demo_runs(version: Version) {
    on_a_private_engine(version, |_, env| {
        let told = env.run(env.home(), &["demo"]).success();
        for said in ["held", "rolled back", "no change", "All of it happened"] {
            assert!(told.stdout.contains(said), "{said:?} is not in\n{told}");
        }
        assert!(!told.stdout.contains('\x1b'), "escape codes in a pipe\n{told}");
        // Nothing of it is in the person's own folders.
        assert!(!env.state().exists());
    });
}

#[test]
fn demo_runs_and_leaves_nothing_behind_on_engine_20() {
    the_demo_runs(Version::V20);
}

#[test]
fn demo_runs_and_leaves_nothing_behind_on_engine_28() {
    the_demo_runs(Version::V28);
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    on_a_private_engine(Version::V28, |engine, env| {
        let mut demo = env.start(env.home(), &["demo"]);
        wait_until("a container runs", Duration::from_secs(60), || {
            !engine.docker_text(&["ps", "-q"]).is_empty()
        });
        demo.wait_to_say("database", Duration::from_secs(30));
        let ended = demo.terminate(Duration::from_secs(60));
        drop(
            ended
                .code(143)
                .complains("everything that the demo made is removed"),
        );
    });
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

/// A user of the shared cluster, whose node has the demo's images, with the cluster's tools on the `PATH`.
fn on_the_cluster() -> (&'static Cluster, TestEnv) {
    let cluster = Cluster::shared();
    let mut env = TestEnv::new().var("KUBECONFIG", cluster.kubeconfig().to_str().unwrap());
    let path = std::env::var("PATH").unwrap_or_default();
    let tools = Cluster::tool("kubectl").parent().unwrap().to_owned();
    env.set("PATH", &format!("{}:{path}", tools.display()));
    static IMPORTED: std::sync::Once = std::sync::Once::new();
    IMPORTED.call_once(|| {
        let archive = tempfile::NamedTempFile::new().unwrap();
        let file = archive.path().to_str().unwrap();
        drop(env.run(env.home(), &["demo", "--save-images", file]).success());
        cluster.import_images(archive.path());
    });
    (cluster, env)
}

/// The namespaces of demos that are there.
fn demos(cluster: &Cluster) -> Vec<String> {
    let list = cluster.get("/api/v1/namespaces").unwrap();
    let names = list["items"].as_array().unwrap().iter();
    let names = names.map(|one| one["metadata"]["name"].as_str().unwrap().to_owned());
    names.filter(|name| name.starts_with("driftless-demo-")).collect()
}

#[test]
fn the_kubernetes_example_is_read_by_kubectl_kustomize_and_helm_too() {
    let (cluster, _) = on_the_cluster();
    let space = cluster.namespace("example");
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in example::KUBERNETES {
        let file = folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let at = |path: &str| folder.path().join(path).to_str().unwrap().to_owned();
    let dry = ["apply", "--dry-run=server", "-o", "name"];
    let shop = space
        .kubectl(&[&dry[..], &["-f", &at("apps/shop")]].concat())
        .success();
    assert_eq!(shop.stdout.lines().count(), 10, "{shop}");
    let status = space.kubectl(&[&dry[..], &["-k", &at("apps/status/overlays/prod")]].concat());
    assert_eq!(status.success().stdout, "deployment.apps/status\n");
    let values = at("apps/catalogue/values-prod.yaml");
    let mut helm = std::process::Command::new(Cluster::tool("helm"));
    helm.args([
        "template",
        "catalogue",
        &at("apps/catalogue"),
        "--values",
        &values,
    ]);
    let rendered = CommandOutput::of(&mut helm).success().stdout;
    assert!(rendered.contains("autumn"), "{rendered}");
    let arguments = [&["--namespace", space.name()], &dry[..], &["-f", "-"]].concat();
    let catalogue = cluster.kubectl_with(&arguments, &rendered).success();
    assert_eq!(catalogue.stdout, "job.batch/catalogue\n");
}

/// Only one demo at a time, so that what is there afterwards is that one's.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn demo_runs_and_leaves_nothing_behind_on_a_cluster() {
    let (cluster, env) = on_the_cluster();
    if !cluster.has_node() {
        return;
    }
    let _alone = alone();
    let told = env.run(env.home(), &["demo", "--kubernetes", "--yes"]).success();
    for said in [
        "held",
        "rolled back",
        "no changes",
        "SHOP_CURRENCY is not set",
        "kubectl-edit",
        "CronJob/report: deleted",
        "All of it happened",
    ] {
        assert!(told.stdout.contains(said), "{said:?} is not in\n{told}");
    }
    assert!(!told.stdout.contains('\x1b'), "escape codes in a pipe\n{told}");
    assert_eq!(demos(cluster), Vec::<String>::new(), "{told}");
    // Nothing of it is in the person's own folders.
    assert!(!env.state().exists());
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind_on_a_cluster() {
    let (cluster, env) = on_the_cluster();
    let _alone = alone();
    let mut demo = env.start(env.home(), &["demo", "--kubernetes", "--yes"]);
    demo.wait_to_say("StatefulSet/database", Duration::from_secs(120));
    assert_eq!(demos(cluster).len(), 1);
    let ended = demo.terminate(Duration::from_secs(180));
    drop(
        ended
            .code(143)
            .complains("everything that the demo made is removed"),
    );
    assert_eq!(demos(cluster), Vec::<String>::new());
}

#[test]
fn a_cluster_without_the_images_is_told_how_to_get_them() {
    let (cluster, env) = on_the_cluster();
    if !cluster.has_node() {
        return;
    }
    let _alone = alone();
    let arguments = [
        "demo",
        "--kubernetes",
        "--yes",
        "--image",
        "driftless.test/none:1",
    ];
    let refused = env.run(env.home(), &arguments);
    drop(
        refused
            .code(5)
            .complains("driftless.test/none:1")
            .complains("make image")
            .complains("the node node-1"),
    );
    assert_eq!(demos(cluster), Vec::<String>::new());
}

#[test]
fn the_demo_asks_before_it_touches_a_cluster() {
    let (cluster, env) = on_the_cluster();
    let _alone = alone();
    let refused = env.run(env.home(), &["demo", "--kubernetes"]);
    drop(
        refused
            .code(9)
            .complains("context `test`")
            .complains(&cluster.server().to_string())
            .complains("--yes"),
    );
    assert_eq!(demos(cluster), Vec::<String>::new());
    let engine = env.run(
        env.home(),
        &["demo", "--kubernetes", "--target", "tcp://192.0.2.1:2375"],
    );
    drop(engine.code(2).complains("is a Docker engine"));
}

#[test]
fn one_image_can_stand_for_all_of_the_demos() {
    let (cluster, env) = on_the_cluster();
    if !cluster.has_node() {
        return;
    }
    let _alone = alone();
    // One of the demo's own holds the program, as what `make image` builds does; and nothing of the others' settings.
    let reference = format!("{}proxy:1.4.0", images::PREFIX);
    // Without kustomize and Helm the story is told with what plain manifests need.
    let mut env = env;
    env.set("PATH", "/nothing");
    let arguments = ["demo", "--kubernetes", "--yes", "--image", &reference];
    let told = env.run(env.home(), &arguments).success();
    for said in [
        "`status` is left out",
        "`catalogue` is left out",
        "SHOP_REQUIRES",
        "All of it happened",
    ] {
        assert!(told.stdout.contains(said), "{said:?} is not in\n{told}");
    }
    assert_eq!(demos(cluster), Vec::<String>::new(), "{told}");
}
