//! Laws of the loop on real engines: what fails goes back to the stable release, and stays held.

use driftless::history::Phase;
use driftless::release::Outcome;

use crate::support::command::CommandOutput;
use crate::support::proxy::Fault;
use crate::support::registry::Registry;
use crate::support::scene::{PATIENCE, Scene, Shown};
use crate::support::wait_until;

/// A service that is healthy within a second.
fn web(version: &str) -> String {
    format!("services:\n  web:\n    image: web:{version}\n    stop_grace_period: 2s\n")
}

/// The same with more keys of the service, each on its line.
fn web_with(version: &str, more: &[&str]) -> String {
    more.iter()
        .fold(web(version), |text, line| format!("{text}    {line}\n"))
}

/// Which of its images runs; requires that it is the only container that does.
#[track_caller]
fn only_web(scene: &Scene, image: &str) -> Shown {
    let all = scene.running();
    let [only] = all.as_slice() else {
        panic!("one container must run: {:#?}", scene.containers());
    };
    assert_eq!(
        (only.service.as_str(), only.image_tag(scene)),
        ("web", image.to_owned()),
        "{all:#?}"
    );
    only.clone()
}

/// Requires that the app is held and that another apply does nothing at all.
#[track_caller]
fn stays_held(scene: &Scene) -> CommandOutput {
    let before = scene.containers();
    scene.proxy.clear();
    let again = scene.apply().code(9).says("is held");
    scene.proxy.assert_read_only();
    assert_eq!(scene.containers(), before);
    again
}

on_engines! {
    fn failed_create_never_removes_the_old_container(engine) {
        let port = engine.free_port();
        let compose = |version: &str| web_with(version, &[&format!("ports: [\"127.0.0.1:{port}:8080\"]")]);
        let scene = Scene::new(engine, &compose("1"));
        drop(scene.apply().success());
        let (old, started) = (only_web(&scene, "web:1"), |id: &str| scene.engine.inspect(id)["State"]["StartedAt"].take());
        let since = started(&old.id);
        for (status, message) in [(500, "no space left on device"), (400, "invalid mount config")] {
            let more = format!("environment: {{ TRY: \"{status}\" }}");
            scene.commit(&format!("{}    {more}\n", compose("2")));
            scene.proxy.clear();
            scene.proxy.fault("POST", "^/containers/create", Fault::Refuse(status, message.to_owned()));
            let refused = scene.apply().code(7).says(message);
            assert_eq!(refused.stdout.matches("create container").count(), 1, "said twice\n{refused}");
            let mut sent: Vec<String> = scene.take_mutating().iter().map(ToString::to_string).collect();
            sent.retain(|call| !call.contains("/containers/create"));
            assert!(sent.is_empty(), "{sent:#?}");
            assert_eq!((only_web(&scene, "web:1"), started(&old.id)), (old.clone(), since.clone()));
            assert!(engine.wait_for_http(port, "/").starts_with("version=1 "));
        }
        // Nothing is in the way of the next one.
        scene.commit(&compose("2"));
        drop(scene.apply().success());
        only_web(&scene, "web:2");
    }

    fn failed_release_returns_to_stable_and_holds(engine) {
        let memory = "command: [\"sh\", \"-c\", \"echo filling; tail /dev/zero\"]";
        let cases: [(&str, String, &[&str]); 5] = [
            ("unhealthy", web("broken"), &["healthcheck", "listening on 8080"]),
            // Once or twice: on a busy machine it ends before its first step is through.
            ("crash loop", web_with("crash", &["restart: always"]), &["exited with code 3", "boom"]),
            ("exit at once", web_with("1", &["command: [\"sh\", \"-c\", \"echo missing setting; exit 4\"]"]), &["code 4", "missing setting"]),
            ("ends with zero", web_with("plain", &["command: [\"true\"]"]), &["code 0", "job: true"]),
            ("out of memory", web_with("plain", &[memory, "mem_limit: 16m"]), &["memory", "filling"]),
        ];
        std::thread::scope(|scope| {
            for (what, bad, proof) in cases {
                scope.spawn(move || {
                    let scene = Scene::new(engine, &web("1"));
                    drop(scene.apply().success());
                    let stable = scene.repo.head();
                    only_web(&scene, "web:1");
                    let commit = scene.commit(&bad);
                    let failed = scene.apply().code(7);
                    for text in proof.iter().copied().chain(["rolled back to", &stable[..7], &commit[..7], "is held", "driftless retry"]) {
                        assert!(failed.stdout.contains(text), "{what}: {text:?} is missing\n{failed}");
                    }
                    only_web(&scene, "web:1");
                    assert!(scene.answer("web", "/").starts_with("version=1 "));
                    let (state, releases) = scene.story();
                    assert_eq!((state.phase, state.effective, state.stable), (Phase::Held, Some(1), Some(1)), "{what}");
                    assert!(matches!(&releases[0].outcome, Outcome::RolledBack { to: 1, .. }), "{what}: {releases:#?}");
                    drop(stays_held(&scene).says(&commit[..7]).says(&stable[..7]));
                });
            }
        });
    }

    fn hold_survives_unrelated_commit(engine) {
        let scene = Scene::new(engine, &web("1"));
        drop(scene.apply().success());
        let bad = scene.commit(&web("broken"));
        drop(scene.apply().code(7));
        let back = only_web(&scene, "web:1");
        scene.repo.commit_file("README.md", "hello", "unrelated");
        drop(stays_held(&scene).says(&bad[..7]));
        // The same release under another commit: a comment renders to nothing.
        scene.commit(&format!("# a comment\n{}", web("broken")));
        drop(stays_held(&scene));
        // The same image under another name in a registry is the same release.
        let registry = Registry::start(engine);
        let elsewhere = format!("{}/elsewhere/{}:1", registry.address(), scene.app);
        engine.docker_text(&["tag", "web:broken", &elsewhere]);
        engine.docker_text(&["push", &elsewhere]);
        drop(stays_held(&scene));
        engine.docker_text(&["rmi", &elsewhere]);
        drop(stays_held(&scene));
        assert_eq!(only_web(&scene, "web:1"), back);
        assert_eq!(scene.story().1.len(), 2, "no release was made of an unrelated commit");
    }

    fn self_heal_respects_hold(engine) {
        let scene = Scene::new(engine, &web("1"));
        drop(scene.apply().success());
        scene.commit(&web("broken"));
        drop(scene.apply().code(7));
        let back = only_web(&scene, "web:1");
        engine.docker_text(&["stop", &back.id]);
        drop(scene.apply().code(9).says("put right"));
        assert_eq!(only_web(&scene, "web:1"), back);
        // Removed altogether it is made again, from the stored release.
        engine.docker_text(&["rm", "-f", &back.id]);
        drop(scene.apply().code(9).says("put right"));
        assert_ne!(only_web(&scene, "web:1").id, back.id);
        assert_eq!(scene.story().0.phase, Phase::Held);
        drop(stays_held(&scene));
    }

    fn bad_previous_is_not_the_rollback_target(engine) {
        let scene = Scene::new(engine, &web("1"));
        drop(scene.apply().success());
        let good = scene.repo.head();
        for bad in [web("broken"), web_with("broken", &["environment: { EVEN: worse }"])] {
            scene.commit(&bad);
            drop(scene.apply().code(7).says(&format!("rolled back to {}", &good[..7])));
            only_web(&scene, "web:1");
            assert_eq!(scene.story().0.effective, Some(1));
        }
        // And a release that was good later is the way back from then on.
        let better = scene.commit(&web("2"));
        drop(scene.apply().success());
        scene.commit(&web_with("broken", &["environment: { EVEN: more }"]));
        drop(scene.apply().code(7).says(&format!("rolled back to {}", &better[..7])));
        only_web(&scene, "web:2");
    }

    fn first_deploy_failure_freezes_and_keeps_evidence(engine) {
        let scene = Scene::new(engine, &web_with("crash", &["restart: \"no\""]));
        let failed = scene.apply().code(8);
        for text in ["code 3", "boom", "there is no stable release to go back to", "driftless logs", "driftless retry"] {
            assert!(failed.stdout.contains(text), "{text:?} is missing\n{failed}");
        }
        let why = scene.run(&["why", &scene.app]).success();
        for text in ["code 3", "boom", "driftless retry"] {
            assert!(why.stdout.contains(text), "{text:?} is missing\n{why}");
        }
        // Left for inspection, and not touched again.
        let left = scene.containers();
        assert_eq!((left.len(), left[0].state.as_str(), left[0].image_tag(&scene)), (1, "exited", "web:crash".to_owned()), "{left:#?}");
        assert_eq!(scene.story().0.phase, Phase::Frozen);
        scene.proxy.clear();
        drop(scene.apply().code(8));
        scene.proxy.assert_read_only();
        scene.commit(&web("1"));
        drop(scene.apply().success());
        only_web(&scene, "web:1");
        assert_eq!(scene.story().0.phase, Phase::Synced);
    }

    fn parked_rollback_needs_no_registry(engine) {
        let registry = Registry::start(engine);
        let name = engine.unique("store/web");
        for (local, tag) in [("web:1", "good"), ("web:broken", "bad")] {
            registry.push(local, &format!("{name}:{tag}"));
        }
        let compose = |tag: &str| format!("services:\n  web:\n    image: {}/{name}:{tag}\n    stop_grace_period: 2s\n", registry.address());
        let scene = Scene::new(engine, &compose("good"));
        drop(scene.apply().success());
        let good = scene.serving("web");
        // Pulled before the outage; so only the way back has nobody to ask.
        let bad = format!("{}/{name}:bad", registry.address());
        engine.docker_text(&["pull", &bad]);
        registry.stop();
        let tag = format!("{}/{name}:good", registry.address());
        let _ = engine.docker(&["rmi", &tag]);
        scene.commit(&compose("bad"));
        drop(scene.apply().code(7));
        assert_eq!(scene.serving("web").id, good.id, "{:#?}", scene.containers());
        assert_eq!(scene.serving("web").name, good.name);
        assert!(scene.answer("web", "/").starts_with("version=1 "));
        assert_eq!(scene.proxy.count("POST", "/images/create"), 1, "{:#?}", scene.proxy.mutating());
        // Start-first never parked it. Stop-first did: the old one was set aside before the bad one started, and is back itself.
        let port = engine.free_port();
        let fixed = |version: &str| web_with(version, &[&format!("ports: [\"127.0.0.1:{port}:8080\"]")]);
        let scene = Scene::new(engine, &fixed("1"));
        drop(scene.apply().success());
        let good = scene.serving("web");
        scene.commit(&fixed("broken"));
        scene.proxy.clear();
        drop(scene.apply().code(7));
        assert_eq!(scene.serving("web"), good);
        assert!(engine.wait_for_http(port, "/").starts_with("version=1 "));
        assert_eq!(scene.proxy.count("POST", "/containers/create"), 1, "{:#?}", scene.proxy.mutating());
        assert_eq!(scene.proxy.count("POST", "/images/create"), 0, "{:#?}", scene.proxy.mutating());
    }

    fn one_bad_app_does_not_stop_others(engine) {
        let mut scene = Scene::new(engine, &web("1"));
        drop(scene.apply().success());
        let (good, unreadable) = (
            scene.another("health: { bake: 1s }", &web("2")),
            scene.another("health: { bake: 1s }", "services:\n  web:\n\timage: web:1\n"),
        );
        scene.commit(&web("broken"));
        let all = scene.apply().code(7);
        let place = format!("apps/{unreadable}/compose.yaml:3");
        assert!(format!("{}{}", all.stdout, all.stderr).contains(&place), "{all}");
        only_web(&scene, "web:1");
        let of_good = scene.containers_of(&good);
        assert_eq!((of_good.len(), of_good[0].state.as_str()), (1, "running"), "{all}");
        assert!(scene.containers_of(&unreadable).is_empty());
    }

    fn rollback_budget_of_three_an_hour_freezes(engine) {
        let scene = Scene::new(engine, &web("1"));
        drop(scene.apply().success());
        let bad = |number: usize| web_with("1", &["command: [\"sh\", \"-c\", \"exit 4\"]", &format!("environment: {{ TRY: \"{number}\" }}")]);
        for number in 1..=3 {
            scene.commit(&bad(number));
            drop(scene.apply().code(7));
        }
        scene.commit(&bad(4));
        drop(scene.apply().code(8).says("3 rollbacks within the last hour"));
        assert_eq!(scene.story().0.phase, Phase::Frozen);
        scene.proxy.clear();
        drop(scene.apply().code(8));
        scene.proxy.assert_read_only();
        scene.commit(&web("2"));
        drop(scene.apply().success());
        only_web(&scene, "web:2");
    }

    fn rollback_notify_and_off_leave_it(engine) {
        let port = engine.free_port();
        let fixed_port = format!("ports: [\"127.0.0.1:{port}:8080\"]");
        // Start-first: the old container goes on serving beside the failed one. Stop-first: the failed one is what there is.
        for (mode, more, left) in [
            ("notify", "init: false", ["web:1", "web:broken"].as_slice()),
            ("off", &fixed_port, &["web:broken"]),
        ] {
            let scene = Scene::with_rules(engine, &format!("health: {{ bake: 1s }}, rollback: {mode}"), &web_with("1", &[more]));
            drop(scene.apply().success());
            let bad = scene.commit(&web_with("broken", &[more]));
            drop(scene.apply().code(8).says(&format!("`rollback: {mode}` leaves it as it is")).says(&bad[..7]));
            let before = scene.containers();
            let mut images: Vec<String> = scene.running().iter().map(|shown| shown.image_tag(&scene)).collect();
            images.sort();
            assert_eq!(images, left, "{before:#?}");
            scene.proxy.clear();
            drop(scene.apply().code(8));
            scene.proxy.assert_read_only();
            assert_eq!(scene.containers(), before);
            // A commit is the way on.
            scene.commit(&web_with("2", &[more]));
            drop(scene.apply().success());
            only_web(&scene, "web:2");
        }
    }

    fn a_container_that_dies_before_it_is_let_in_fails_the_release(engine) {
        let scene = Scene::new(engine, &web_with("1", &["healthcheck: { disable: true }"]));
        drop(scene.apply().success());
        let old = only_web(&scene, "web:1");
        scene.commit(&web_with("plain", &["environment: { EXIT_AFTER_MS: \"2500\", EXIT_CODE: \"3\" }"]));
        scene.proxy.clear();
        let gate = scene.proxy.hold("POST", "^/networks/[^/]+/(dis)?connect$");
        let applying = scene.start_apply();
        gate.wait_until_reached(PATIENCE);
        wait_until("the new container has died", PATIENCE, || {
            scene.containers().iter().any(|shown| shown.name.contains(".next-") && shown.state == "exited")
        });
        gate.open();
        drop(applying.wait(PATIENCE).code(7).says("code 3").says("gives up"));
        assert_eq!(only_web(&scene, "web:1"), old);
        drop(stays_held(&scene));
    }
}
