//! `driftless logs` on a real cluster with real pods: which containers, whose lines, and what is followed.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::support::driftless::Running;
use crate::support::kube_scene::{KubeScene, PATIENCE};
use crate::support::wait_until;

/// A Deployment whose container runs `script`, and then lives on.
fn printing(name: &str, script: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: {name} }}\nspec:\n  replicas: 1\n  selector: {{ matchLabels: {{ app: {name} }} }}\n  \
         template:\n    metadata: {{ labels: {{ app: {name} }} }}\n    spec:\n      terminationGracePeriodSeconds: 0\n      \
         initContainers:\n      - {{ name: first, image: \"base:1\", command: [sh, -c, \"echo prepared\"] }}\n      \
         containers:\n      - {{ name: main, image: \"base:1\", command: [sh, -c, \"{script}; sleep 600\"] }}\n---\n"
    )
}

/// Prints a line that no other container has, and then a number every now and then.
const COUNTS: &str = "echo begins $(cat /proc/sys/kernel/random/uuid); n=0; while true; do n=$((n+1)); echo tick $n; sleep 0.2; done";

/// The lines of one stream that `follow` printed so far, without a last one that is not whole.
fn whole_lines(follow: &Running) -> Vec<String> {
    let said = follow.stdout();
    let whole = said.rfind('\n').map_or("", |end| &said[..end]);
    whole.lines().map(str::to_owned).collect()
}

impl KubeScene<'_> {
    fn pods(&self, app: &str) -> Vec<String> {
        let found = self.space.list(&format!("v1/pods?labelSelector=app%3D{app}"));
        let live = found
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        live.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    }

    fn follow(&self, arguments: &[&str]) -> Running {
        self.env.start(&self.repo.path(), arguments)
    }
}

#[test]
fn logs_are_those_of_all_pods_aligned_and_told_apart() {
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: { name: once }\nspec: { template: { spec: { restartPolicy: Never, containers: [{ name: main, image: \"job:ok\" }] } } }\n---\n";
    let scene = KubeScene::new(
        "logs",
        &(printing("web", "echo one; echo two") + &printing("longer-name", "echo three") + job),
    );
    drop(scene.apply().success());
    if !scene.space.cluster().has_node() {
        return;
    }
    // A stranger's pod in the same namespace, with the very labels.
    scene.space.apply_yaml(
        "{apiVersion: v1, kind: Pod, metadata: {name: stranger, labels: {app: other}}, spec: {containers: [{name: main, image: \"job:ok\"}], restartPolicy: Never}}",
    );
    let logs = |arguments: &[&str]| {
        let what = format!("{}{}", scene.app, arguments[0]);
        scene.run(&[&["logs", &what], &arguments[1..]].concat())
    };
    let (pod, other) = (&scene.pods("web")[0], &scene.pods("longer-name")[0]);
    let all = logs(&[""]).success();
    for (pod, container, text) in [
        (pod, "first", "prepared"),
        (pod, "main", "two"),
        (other, "main", "three"),
    ] {
        let line = all.stdout.lines().find(|line| {
            line.starts_with(&format!("{pod}/{container} ")) && line.ends_with(&format!(" | {text}"))
        });
        assert!(line.is_some(), "{pod} {container} {text}\n{all}");
    }
    assert!(all.stdout.contains("| done"), "{all}");
    assert!(!all.stdout.contains("stranger"), "{all}");
    let columns: BTreeSet<Option<usize>> = all.stdout.lines().map(|line| line.find(" | ")).collect();
    assert_eq!(columns.len(), 1, "{all}");

    let one = logs(&["/web", "--tail", "1"]).success();
    assert_eq!(
        one.stdout
            .lines()
            .map(|line| line.rsplit_once(" | ").unwrap().1)
            .collect::<Vec<_>>(),
        ["prepared", "two"]
    );
    drop(
        logs(&["/Deployment/web"])
            .success()
            .says("| one")
            .does_not_say("three"),
    );
    drop(logs(&["/wbe"]).code(2).complains("did you mean `web`"));
    drop(
        logs(&["/Deployment/wbe"])
            .code(2)
            .complains("did you mean `Deployment/web`"),
    );
    let timed = logs(&["/web", "--timestamps", "--tail", "1"]).success();
    let stamp = timed.stdout.lines().next().unwrap().rsplit_once(" | ").unwrap().1;
    let (time, text) = stamp.split_once(' ').unwrap();
    assert!(
        time.parse::<driftless::clock::Timestamp>().is_ok() && text == "prepared",
        "{timed}"
    );
    // What was printed long ago is left out; the time passes by itself.
    wait_until("one second is past", Duration::from_secs(20), || {
        !logs(&["", "--since", "1s"]).success().stdout.contains("| one")
    });
    drop(logs(&["/web", "--since", "1h"]).success().says("| one"));
}

#[test]
fn logs_name_what_has_not_started() {
    let scene = KubeScene::with_rules(
        "logs-wait",
        "health: { bake: 0s, timeout: 2s }, rollback: off",
        &printing("web", "echo one").replace(
            "name: main, image: \"base:1\"",
            "name: main, image: \"web:missing\"",
        ),
    );
    if !scene.space.cluster().has_node() {
        return;
    }
    drop(scene.apply().code(8));
    wait_until("the reason is told", PATIENCE, || {
        let logs = scene.run(&["logs", &scene.app]).success().says("| prepared");
        logs.stderr.contains("/main: it has not started: ") && logs.stderr.contains("Image")
    });
    // Nothing there is no error either.
    scene.space.delete("apps/v1/deployments/web");
    wait_until("it is said", PATIENCE, || {
        scene
            .run(&["logs", &scene.app])
            .success()
            .stderr
            .contains("has no pod now")
    });
}

#[test]
fn followed_logs_go_on_with_new_pods_restarts_and_cut_connections() {
    let scene = KubeScene::new("logs-follow", &printing("web", COUNTS));
    drop(scene.apply().success());
    if !scene.space.cluster().has_node() {
        return;
    }
    let first = scene.pods("web").remove(0);
    let mut follow = scene.follow(&["logs", &scene.app, "-f", "--tail", "1"]);
    follow.wait_to_say(&format!("{first}/main "), PATIENCE);

    // Every connection breaks: no line is lost, none is told twice.
    let ticks = |follow: &Running, pod: &str| -> Vec<u64> {
        let head = format!("{pod}/main ");
        let lines = whole_lines(follow);
        let of = lines.iter().filter(|line| line.starts_with(&head));
        of.filter_map(|line| line.rsplit_once("tick ")?.1.parse().ok())
            .collect()
    };
    for _ in 0..2 {
        let before = ticks(&follow, &first).len();
        scene.proxy.cut_watches();
        wait_until("it goes on", PATIENCE, || {
            ticks(&follow, &first).len() > before + 5
        });
    }
    let seen = ticks(&follow, &first);
    let whole: Vec<u64> = (seen[0]..seen[0] + seen.len() as u64).collect();
    assert_eq!(seen, whole, "{}", follow.stderr());

    // A pod that comes is followed from its first line on, one that is deleted is no error.
    scene.space.patch(
        "apps/v1/deployments/web/scale",
        &json!({ "spec": { "replicas": 2 } }),
    );
    wait_until("there are two pods", PATIENCE, || scene.pods("web").len() == 2);
    let second = scene.pods("web").into_iter().find(|pod| *pod != first).unwrap();
    follow.wait_to_say(&format!("{second}/first"), PATIENCE);
    follow.wait_to_say(&format!("{second}/main"), PATIENCE);
    scene.space.delete(&format!("v1/pods/{first}"));
    wait_until("the next one came", PATIENCE, || {
        let pods = scene.pods("web");
        pods.len() == 2 && !pods.contains(&first)
    });
    let third = scene.pods("web").into_iter().find(|pod| *pod != second).unwrap();
    follow.wait_to_say(&format!("{third}/main"), PATIENCE);
    wait_until("it is told from its begin", PATIENCE, || {
        ticks(&follow, &third).first() == Some(&1)
    });

    // Not SIGINT: a suite that a shell runs in the background inherits that it is ignored.
    let ended = follow.terminate(PATIENCE);
    assert_eq!(
        ended.status, None,
        "as an engine's logs: the signal ends it\n{ended}"
    );
    assert!(!ended.stdout.contains('\u{1b}'), "{ended}");
}

#[test]
fn followed_logs_tell_each_run_of_a_container_once() {
    let scene = KubeScene::with_rules(
        "logs-restart",
        "health: { bake: 0s, timeout: 2s }, rollback: off",
        &printing("web", "echo begins $(cat /proc/sys/kernel/random/uuid); exit 3"),
    );
    drop(scene.apply());
    if !scene.space.cluster().has_node() {
        return;
    }
    let pod = scene.pods("web").remove(0);
    let mut follow = scene.follow(&["logs", &format!("{}/web", scene.app), "-f"]);
    let begins = |follow: &Running| -> Vec<String> {
        let lines = whole_lines(follow);
        let told = lines.iter().filter_map(|line| line.rsplit_once("begins "));
        told.map(|(_, id)| id.to_owned()).collect()
    };
    follow.wait_to_say(&format!("{pod}/main"), PATIENCE);
    wait_until("it ran again", PATIENCE, || begins(&follow).len() >= 2);
    let told = begins(&follow);
    assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), told.len(), "{told:?}");
}

#[test]
fn logs_without_the_right_say_so() {
    let mut scene = KubeScene::new("logs-denied", &printing("web", "echo one"));
    drop(scene.apply().success());
    let reads = json!([{ "apiGroups": ["", "apps", "coordination.k8s.io"], "resources": ["configmaps", "deployments", "pods", "replicasets", "leases"], "verbs": ["get", "list"] }]);
    let wide = json!([{ "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] }]);
    let account = scene.space.account("reader", &reads, &wide);
    account.wait_until_may("list", "pods");
    let kubeconfig = account.kubeconfig().to_owned();
    scene.use_account(&kubeconfig);
    if !scene.space.cluster().has_node() {
        return;
    }
    for verb in [&["logs", &scene.app][..], &["logs", &scene.app, "-f"]] {
        drop(scene.run(verb).code(5).complains("pods/log").complains("get"));
    }
}
