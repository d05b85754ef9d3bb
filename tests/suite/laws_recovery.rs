//! Laws of what comes after a failure, on real engines: fixes, reverts, kills, signals, and rollbacks that fail.

use driftless::history::Phase;
use nix::sys::signal::Signal;

use crate::support::engine::{Engine, Version};
use crate::support::proxy::{Fault, Gate};
use crate::support::scene::{PATIENCE, Scene};
use crate::support::wait_until;

fn web(version: &str) -> String {
    format!("services:\n  web:\n    image: web:{version}\n    stop_grace_period: 2s\n")
}

/// Replaced stop-first, because of its host port, and with a volume.
fn with_port(version: &str, port: u16, more: &str) -> String {
    format!(
        "{}    ports: [\"127.0.0.1:{port}:8080\"]\n    volumes: [\"data:/data\"]\n    environment: {{ MORE: \"{more}\" }}\nvolumes: {{ data: {{}} }}\n",
        web(version)
    )
}

/// Which image each running container has, by service.
fn images(scene: &Scene) -> Vec<(String, String)> {
    scene
        .running()
        .iter()
        .map(|shown| (shown.service.clone(), shown.image_tag(scene)))
        .collect()
}

fn runs(image: &str) -> Vec<(String, String)> {
    vec![("web".to_owned(), image.to_owned())]
}

on_engines! {
    fn fix_forward_preempts(engine) {
        let scene = Scene::new(engine, &web("1"));
        drop(scene.apply().success());
        scene.commit(&web("broken"));
        drop(scene.apply().code(7));
        // After the hold a fix deploys at once.
        scene.commit(&web("2"));
        drop(scene.apply().success().says("deployed"));
        assert_eq!(images(&scene), runs("web:2"));
        let (state, releases) = scene.story();
        assert_eq!((state.phase, state.stable), (Phase::Synced, Some(3)));
        assert!(releases[1].stable_at.is_none(), "{releases:#?}");
    }

    fn fix_forward_preempts_a_rollback(engine) {
        let port = engine.free_port();
        let scene = Scene::new(engine, &with_port("1", port, ""));
        drop(scene.apply().success());
        let daemon = scene.env.start(&scene.repo.path(), &["serve"]);
        // The first start of the bad release passes; the next one is that of the way back.
        let gate = Gate::new();
        scene.proxy.fault_nth("POST", "^/containers/[^/]+/start$", 1, 1, Fault::Hold(gate.clone()));
        scene.commit(&with_port("broken", port, ""));
        gate.wait_until_reached(PATIENCE);
        assert_eq!(scene.story().0.phase, Phase::RollingBack);
        scene.commit(&with_port("2", port, ""));
        gate.open();
        wait_until("the third release is stable", PATIENCE, || scene.story().0.stable == Some(3));
        assert_eq!(images(&scene), runs("web:2"));
        assert!(engine.wait_for_http(port, "/").starts_with("version=2 "));
        let (_, releases) = scene.story();
        assert_eq!(releases.len(), 3);
        assert_eq!(releases[1].stable_at, None);
        drop(daemon.terminate(PATIENCE).success());
    }

    fn manual_rollback_holds_gits_release(engine) {
        let scene = Scene::new(engine, &web("1"));
        drop(scene.apply().success());
        scene.commit(&web("2"));
        drop(scene.apply().success());
        drop(scene.run(&["rollback", &scene.app, "--yes", "--reason", "payments fail"]).success());
        assert_eq!(images(&scene), runs("web:1"));
        let (state, _) = scene.story();
        assert_eq!((state.phase, state.effective), (Phase::Held, Some(1)));
        // Git still asks for the second: no run brings it back by itself, not even to heal.
        scene.proxy.clear();
        drop(scene.apply().code(9).says("payments fail"));
        scene.proxy.assert_read_only();
        engine.docker_text(&["stop", &scene.serving("web").id]);
        drop(scene.apply().code(9));
        assert_eq!(images(&scene), runs("web:1"));
        scene.commit(&web("3"));
        drop(scene.apply().success());
        assert_eq!(images(&scene), runs("web:3"));
    }

    fn retry_lifts_the_hold_once(engine) {
        let scene = Scene::new(engine, &web("1"));
        drop(scene.apply().success());
        // Whether it is healthy lies outside of Git: in a volume's file that is not there yet.
        let compose = "services:\n  web:\n    image: web:2\n    stop_grace_period: 2s\n    volumes: [\"data:/data\"]\n\
            \x20   healthcheck: { test: \"test -e /data/ready\", interval: 500ms, retries: 2 }\nvolumes: { data: {} }\n";
        scene.commit(compose);
        drop(scene.apply().code(7));
        drop(scene.run(&["why", &scene.app]).success().says("healthcheck").says("driftless retry"));
        // Nothing changed: it fails again, and is held again.
        drop(scene.run(&["retry", &scene.app]).code(7));
        assert_eq!((images(&scene), scene.story().0.retry_once), (runs("web:1"), None));
        scene.proxy.clear();
        drop(scene.apply().code(9));
        scene.proxy.assert_read_only();
        let volume = format!("{}_data:/data", scene.app);
        engine.docker_text(&["run", "--rm", "-v", &volume, "base:1", "touch", "/data/ready"]);
        drop(scene.apply().code(9));
        drop(scene.run(&["retry", &scene.app]).success());
        assert_eq!(images(&scene), runs("web:2"));
        scene.proxy.clear();
        drop(scene.apply().success().says("no changes"));
        scene.proxy.assert_read_only();
    }

    fn a_rollback_is_never_rolled_back(engine) {
        // The bad release spoils the data that the stable one's healthcheck looks at.
        let port = engine.free_port();
        let compose = |more: &str| format!(
            "services:\n  web:\n    image: web:1\n    stop_grace_period: 2s\n    ports: [\"127.0.0.1:{port}:8080\"]\n    volumes: [\"data:/data\"]\n\
             \x20   healthcheck: {{ test: \"test ! -e /data/migrated\", interval: 500ms, retries: 2 }}\n{more}volumes: {{ data: {{}} }}\n"
        );
        let scene = Scene::new(engine, &compose(""));
        drop(scene.apply().success());
        scene.commit(&compose("    command: [\"sh\", \"-c\", \"touch /data/migrated; echo migrated; exit 5\"]\n"));
        let failed = scene.apply().code(8);
        for text in ["code 5", "migrated", "the rollback failed its gate too; a rollback is never rolled back"] {
            assert!(failed.stdout.contains(text), "{text:?} is missing\n{failed}");
        }
        let (state, left) = (scene.story().0, scene.containers());
        assert_eq!((state.phase, state.stable), (Phase::Frozen, Some(1)));
        scene.proxy.clear();
        drop(scene.apply().code(8));
        scene.proxy.assert_read_only();
        assert_eq!(scene.containers(), left);
        scene.commit(&compose("    command: [\"sh\", \"-c\", \"rm /data/migrated; exec web\"]\n"));
        drop(scene.apply().success());
        assert_eq!(images(&scene), runs("web:1"));
    }

    fn one_shots_are_not_run_again_by_a_rollback(engine) {
        let compose = |version: &str, note: &str| format!(
            "services:\n  migrate:\n    image: base:1\n    command: [\"sh\", \"-c\", \"echo {note} >> /data/log\"]\n    volumes: [\"data:/data\"]\n\
             \x20 web:\n    image: web:{version}\n    stop_grace_period: 2s\n    volumes: [\"data:/data\"]\n\
             \x20   depends_on: {{ migrate: {{ condition: service_completed_successfully }} }}\nvolumes: {{ data: {{}} }}\n"
        );
        let scene = Scene::new(engine, &compose("1", "one"));
        drop(scene.apply().success());
        let log = || scene.answer("web", "/file/data/log");
        assert_eq!(log(), "one\n");
        scene.commit(&compose("broken", "one"));
        drop(scene.apply().code(7));
        assert_eq!(log(), "one\n");
        // Also where the failed release had another job: it ran, and the old one does not run after it.
        scene.commit(&compose("broken", "two"));
        drop(scene.apply().code(7));
        assert_eq!(log(), "one\ntwo\n");
        scene.proxy.clear();
        drop(scene.apply().code(9));
        scene.proxy.assert_read_only();
        assert_eq!(log(), "one\ntwo\n");
    }

    fn a_revert_commit_is_recognised_without_a_deploy(engine) {
        let scene = Scene::new(engine, &web("1"));
        drop(scene.apply().success());
        scene.commit(&web("broken"));
        drop(scene.apply().code(7));
        let back = scene.containers();
        scene.commit(&web("1"));
        scene.proxy.clear();
        drop(scene.apply().success().says("no changes"));
        scene.proxy.assert_read_only();
        let (state, releases) = scene.story();
        assert_eq!((state.phase, state.effective, releases.len()), (Phase::Synced, Some(1), 2));
        assert_eq!(scene.containers(), back);
        // The bad one is still known as bad.
        scene.commit(&web("broken"));
        drop(scene.apply().code(9));
        scene.proxy.assert_read_only();
    }

    fn ctrl_c_stops_at_a_step_boundary(engine) {
        let port = engine.free_port();
        let scene = Scene::new(engine, &with_port("1", port, ""));
        drop(scene.apply().success());
        scene.commit(&with_port("2", port, ""));
        for (route, before) in [("^/containers/[^/]+/stop", "stop"), ("^/containers/[^/]+/start", "start")] {
            scene.proxy.clear();
            let gate = scene.proxy.hold("POST", route);
            let mut applying = scene.start_apply();
            gate.wait_until_reached(PATIENCE);
            applying.signal(Signal::SIGINT);
            applying.wait_to_say("stopping at the next step", PATIENCE);
            gate.open();
            let stopped = applying.wait(PATIENCE).code(130).says("service/web, before: ").says("The next run goes on from there");
            // The call that was on its way is done; no other one followed it.
            let sent = scene.proxy.mutating();
            assert!(sent.last().unwrap().route().ends_with(before), "{sent:#?}\n{stopped}");
        }
        drop(scene.apply().success());
        assert_eq!(images(&scene), runs("web:2"));
        assert!(engine.wait_for_http(port, "/").starts_with("version=2 "));
        let left = scene.containers();
        assert!(left.iter().all(|shown| !shown.name.contains(".next-")), "{left:#?}");
        scene.proxy.clear();
        drop(scene.apply().success().says("no changes"));
        scene.proxy.assert_read_only();
    }
}

/// Kills `driftless apply` before or after one of its mutating calls.
#[derive(Debug, Clone, Copy)]
enum Kill {
    Before(usize),
    After(usize),
}

/// Applies release 1, then `next`, which is killed as `kill` says and run again. What is there at the end, and the number of
/// mutating calls of the undisturbed second apply.
fn killed(engine: &'static Engine, next: &str, kill: Option<Kill>) -> (Vec<(String, String, String)>, usize) {
    let port = engine.free_port();
    let scene = Scene::new(engine, &with_port("1", port, ""));
    drop(scene.apply().success());
    let first = scene.serving("web");
    engine.docker_text(&["exec", &first.id, "sh", "-c", "echo precious > /data/file"]);
    scene.commit(&with_port(next, port, ""));
    scene.proxy.clear();
    let expected: &[i32] = if next == "broken" { &[7, 9] } else { &[0] };
    let mut calls = 0;
    match kill {
        None => {
            calls =
                usize::from(expected.contains(&scene.apply().status.unwrap())) * scene.proxy.mutating().len()
        }
        Some(kill) => {
            let gate = Gate::new();
            match kill {
                Kill::Before(n) => scene.proxy.fault_nth_mutating(n, Fault::Swallow(gate.clone())),
                Kill::After(n) => scene.proxy.fault_nth_mutating(n, Fault::Withhold(gate.clone())),
            }
            let applying = scene.start_apply();
            gate.wait_until_reached(PATIENCE);
            applying.signal(Signal::SIGKILL);
            assert_eq!(applying.wait(PATIENCE).status, None);
            let last = scene.take_mutating().pop().unwrap();
            let again = scene.apply();
            assert!(
                again.status.is_some_and(|code| expected.contains(&code)),
                "{kill:?} {last}\n{again}"
            );
        }
    }
    // Whatever happened: it answers, the volume has its file, and one more apply finds nothing to do.
    let shown = if next == "broken" { "1" } else { next };
    assert!(
        engine
            .wait_for_http(port, "/")
            .starts_with(&format!("version={shown} ")),
        "{kill:?}"
    );
    assert_eq!(scene.answer("web", "/file/data/file"), "precious\n", "{kill:?}");
    scene.proxy.clear();
    let idle = scene.apply();
    assert_eq!(
        idle.status,
        Some(if next == "broken" { 9 } else { 0 }),
        "{kill:?}\n{idle}"
    );
    scene.proxy.assert_read_only();
    let end = scene.containers();
    if next == "broken" {
        assert_eq!(
            end[0].id, first.id,
            "{kill:?}: the stable container is back, not another one"
        );
    }
    // Without the part of a parked name that tells the commit: it is another one for each port.
    let bare = |name: &str| {
        let name = name.replace(&scene.app, "app");
        name.find(".prev-")
            .map_or(name.clone(), |at| format!("{}.prev", &name[..at]))
    };
    let end = end
        .iter()
        .map(|shown| (bare(&shown.name), shown.state.clone(), shown.image_tag(&scene)))
        .collect();
    (end, calls)
}

/// Each point is tried on one of the two engines, in turn: on both would take twice as long and tell little more.
fn every_kill(engine: &'static Engine, next: &str) {
    let (undisturbed, calls) = killed(engine, next, None);
    assert!(calls > 5, "{calls} calls");
    let odd = usize::from(engine.version() == Version::V20);
    let kills: Vec<Kill> = (0..calls)
        .flat_map(|n| [Kill::Before(n), Kill::After(n)])
        .skip(odd)
        .step_by(2)
        .collect();
    let at_once = 3;
    std::thread::scope(|scope| {
        for part in 0..at_once {
            let mine = kills.iter().skip(part).step_by(at_once);
            let undisturbed = &undisturbed;
            scope.spawn(move || {
                for kill in mine {
                    let (end, _) = killed(engine, next, Some(*kill));
                    assert_eq!(&end, undisturbed, "{kill:?} of {calls}");
                }
            });
        }
    });
}

on_engines! {
    fn kill_nine_at_every_mutating_call_converges(engine) {
        every_kill(engine, "broken");
    }

    fn kill_nine_at_every_mutating_call_of_a_good_release_converges(engine) {
        every_kill(engine, "2");
    }
}
