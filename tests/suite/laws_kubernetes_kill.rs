//! `kill -9` before and after every call that changes something, with real workloads: the next run ends where an undisturbed one
//! ends, nothing is done twice, nothing is left half-way.

use driftless::history::Phase;
use nix::sys::signal::Signal;

use crate::support::api_proxy::ApiFault;
use crate::support::kube_scene::{KubeScene, PATIENCE, config, web};
use crate::support::proxy::Gate;

/// Kills `driftless apply` before or after one of its changing calls.
#[derive(Debug, Clone, Copy)]
enum Kill {
    Before(usize),
    After(usize),
}

/// A Job that goes before the rest of its release.
fn migration(release: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{ name: migrate, annotations: {{ driftless.dev/wave: \"-1\" }} }}\nspec:\n  backoffLimit: 0\n  template:\n    \
         spec:\n      restartPolicy: Never\n      containers: [{{ name: main, image: \"job:ok\", env: [{{ name: RELEASE, value: \"{release}\" }}] }}]\n---\n"
    )
}

fn first() -> String {
    web("web:1", "") + &config("settings", "1") + &config("old", "1")
}

fn second(image: &str) -> String {
    web(image, "") + &config("settings", "2") + &config("new", "2") + &migration("2")
}

/// How the world looks when everything is over.
#[derive(Debug, PartialEq)]
struct Left {
    image: String,
    ready_pods: usize,
    settings: Option<String>,
    old: Option<String>,
    new: Option<String>,
    /// How often a pod of the migration was made.
    migrations: usize,
    phase: Phase,
    releases: usize,
}

fn left(scene: &KubeScene) -> Left {
    scene.space.wait_available("web", PATIENCE);
    let pods = scene.space.list("v1/pods");
    let (state, releases) = scene.story();
    Left {
        image: scene.image(),
        ready_pods: pods
            .iter()
            .filter(|pod| {
                pod["metadata"]["labels"]["app"] == "web" && pod["metadata"]["deletionTimestamp"].is_null()
            })
            .count(),
        settings: scene.value("settings"),
        old: scene.value("old"),
        new: scene.value("new"),
        // From the job controller's events: the job itself goes with the release that brought it.
        migrations: scene
            .space
            .list("v1/events")
            .iter()
            .filter(|event| event["involvedObject"]["kind"] == "Job" && event["reason"] == "SuccessfulCreate")
            .map(|event| event["count"].as_u64().unwrap_or(1) as usize)
            .sum(),
        phase: state.phase,
        releases: releases.len(),
    }
}

/// Applies the first release, then the second with `image`, killed as `kill` says and run again. What is there at the end, and
/// the number of changing calls of an undisturbed run.
fn killed(image: &str, kill: Option<Kill>) -> (Left, usize) {
    let broken = image == "web:crash";
    let scene = KubeScene::with_rules("killed", "health: { bake: 0s }", &first());
    drop(scene.apply().success());
    scene.commit(&second(image));
    scene.proxy.clear();
    let mut calls = 0;
    if let Some(kill) = kill {
        let gate = Gate::new();
        match kill {
            Kill::Before(n) => scene.proxy.fault_nth_mutating(n, ApiFault::Swallow(gate.clone())),
            Kill::After(n) => scene
                .proxy
                .fault_nth_mutating(n, ApiFault::Withhold(gate.clone())),
        }
        let applying = scene.start_apply();
        gate.wait_until_reached(PATIENCE);
        applying.signal(Signal::SIGKILL);
        assert_eq!(applying.wait(PATIENCE).status, None);
        let cut = scene.proxy.mutating().pop();
        scene.proxy.clear();
        let again = scene.apply();
        let expected: &[i32] = if broken { &[7, 9] } else { &[0] };
        let told = cut.map(|call| call.to_string()).unwrap_or_default();
        assert!(
            again.status.is_some_and(|code| expected.contains(&code)),
            "{kill:?} {told}\n{again}"
        );
    } else {
        drop(scene.apply().code(if broken { 7 } else { 0 }));
        calls = scene.proxy.mutating().len();
    }
    scene.proxy.clear();
    let idle = scene.apply();
    assert_eq!(idle.status, Some(if broken { 9 } else { 0 }), "{kill:?}\n{idle}");
    scene.proxy.assert_read_only();
    (left(&scene), calls)
}

/// Each call is met from one side here and from the other in the other sweep: both sides in both would take twice as long and
/// tell little more.
fn every_kill(image: &str, odd: usize) {
    let (undisturbed, calls) = killed(image, None);
    // Three objects, a job and a deletion or the way back, at the least.
    assert!(calls >= 5, "{calls} calls");
    assert_eq!(undisturbed.migrations, 1, "{undisturbed:?}");
    let kills: Vec<Kill> = (0..calls)
        .map(|n| {
            if n % 2 == odd {
                Kill::Before(n)
            } else {
                Kill::After(n)
            }
        })
        .collect();
    let at_once = 3;
    std::thread::scope(|scope| {
        for part in 0..at_once {
            let mine = kills.iter().skip(part).step_by(at_once);
            let undisturbed = &undisturbed;
            scope.spawn(move || {
                for kill in mine {
                    let (end, _) = killed(image, Some(*kill));
                    assert_eq!(&end, undisturbed, "{kill:?} of {calls}");
                }
            });
        }
    });
}

#[test]
fn kill_nine_between_any_two_calls_converges() {
    every_kill("web:2", 0);
}

#[test]
fn kill_nine_between_any_two_calls_of_a_rollback_converges() {
    every_kill("web:crash", 1);
}
