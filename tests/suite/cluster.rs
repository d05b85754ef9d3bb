//! The throw-away Kubernetes itself: what a law stands on must hold.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::api_proxy::{ApiFault, ApiProxy};
use crate::support::cluster::Cluster;
use crate::support::command::CommandOutput;
use crate::support::{wait_for, wait_until};

const SOON: Duration = Duration::from_secs(20);

fn pod(name: &str, image: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 1, containers: [{{name: main, image: \"{image}\", \
         readinessProbe: {{httpGet: {{path: /health, port: 8080}}, periodSeconds: 1}}}}]}}}}\n---\n"
    )
}

fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| {
        all.iter()
            .any(|one| one["type"] == "Ready" && one["status"] == "True")
    })
}

fn config(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "data": { "key": "value" } })
}

#[test]
fn a_pod_runs_and_is_ready_and_a_sick_one_is_not() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("pods");
    space.apply_yaml(&(pod("well", "web:1") + &pod("sick", "web:broken") + &pod("missing", "web:missing")));
    space.wait_for("v1/pods/well", SOON, is_ready);
    let sick = space.wait_for("v1/pods/sick", SOON, |pod| pod["status"]["phase"] == "Running");
    assert!(!is_ready(&sick));
    space.wait_for("v1/pods/missing", SOON, |pod| {
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
        waiting == "ErrImagePull" || waiting == "ImagePullBackOff"
    });
    if cluster.has_node() {
        assert!(space.http_get("well", 8080, "/").starts_with("version=1 "));
        drop(
            space
                .kubectl(&["logs", "well"])
                .success()
                .says("listening on 8080"),
        );
        drop(
            space
                .kubectl(&["exec", "well", "--", "cat", "/etc/passwd"])
                .success()
                .says("app:x:1000"),
        );
    }
}

#[test]
fn a_crashing_pod_counts_its_restarts_and_a_job_ends() {
    let cluster = Cluster::shared();
    let space = cluster.namespace("crash");
    let job = |image: &str| {
        format!(
            "---\n{{apiVersion: batch/v1, kind: Job, metadata: {{name: {image}}}, spec: {{backoffLimit: 0, template: {{spec: {{restartPolicy: Never, \
             containers: [{{name: main, image: \"job:{image}\"}}]}}}}}}}}\n"
        )
    };
    space.apply_yaml(&(pod("crash", "web:crash") + &job("ok") + &job("fail")));
    let ended = |kind: &str| {
        let kind = kind.to_owned();
        move |job: &Value| {
            let conditions = job["status"]["conditions"].as_array();
            conditions.is_some_and(|all| {
                all.iter()
                    .any(|one| one["type"] == kind.as_str() && one["status"] == "True")
            })
        }
    };
    space.wait_for("batch/v1/jobs/ok", SOON, ended("Complete"));
    space.wait_for("batch/v1/jobs/fail", SOON, ended("Failed"));
    space.wait_for("v1/pods/crash", SOON, |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        status["restartCount"].as_i64() >= Some(1) && status["lastState"]["terminated"]["exitCode"] == 3
    });
    if cluster.has_node() {
        // While a container ends, the one that the status names as the previous may just have been removed.
        wait_until("the previous container's log is there", SOON, || {
            let log = space.kubectl(&["logs", "--previous", "crash"]);
            log.status == Some(0) && log.stdout.contains("boom")
        });
    }
}

#[test]
fn an_account_may_what_its_rules_say() {
    let space = Cluster::shared().namespace("account");
    let read = json!([{ "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list"] }]);
    let nodes = json!([{ "apiGroups": [""], "resources": ["nodes"], "verbs": ["list"] }]);
    let account = space.account("reader", &read, &nodes);
    account.wait_until_may("list", "deployments.apps");
    let proxy = ApiProxy::start(space.cluster());
    let mut through = space
        .cluster()
        .kubectl_command(&proxy.kubeconfig_of(account.kubeconfig()));
    let who = CommandOutput::of(through.args([
        "auth",
        "whoami",
        "--output",
        "jsonpath={.status.userInfo.username}",
    ]));
    assert_eq!(who.success().text(), account.user());
    drop(account.kubectl(&["get", "deployments"]).success());
    drop(account.kubectl(&["get", "pods"]).code(1).complains("forbidden"));
    account.set_rules(&json!([]));
    account.wait_until_may_not("list", "deployments.apps");
    drop(
        account
            .kubectl(&["get", "deployments"])
            .code(1)
            .complains("forbidden"),
    );
}

#[test]
fn the_api_proxy_tells_what_each_call_was() {
    let space = Cluster::shared().namespace("proxy");
    let proxy = ApiProxy::start(space.cluster());
    let kubectl = |arguments: &[&str], input: &str| {
        let mut command = space.cluster().kubectl_command(&proxy.kubeconfig());
        command.args(["--namespace", space.name()]).args(arguments);
        CommandOutput::with_input(&mut command, input.as_bytes()).success()
    };
    let manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: one}, data: {key: value}}";
    let apply = ["apply", "--server-side", "--field-manager=tester", "-f", "-"];
    drop(kubectl(&[&apply[..], &["--dry-run=server"]].concat(), manifest));
    proxy.assert_read_only();
    assert_eq!(proxy.count("apply configmaps"), 1);
    proxy.clear();
    proxy.assert_silent();
    drop(kubectl(&apply, manifest));
    let calls = proxy.mutating();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(
        calls[0].to_string(),
        format!("apply configmaps {}/one", space.name())
    );
    assert_eq!(calls[0].field_manager.as_deref(), Some("tester"));
    assert!(calls[0].user_agent.starts_with("kubectl/"), "{calls:?}");
    drop(kubectl(&["get", "configmap", "one"], "").says("one"));
    drop(kubectl(&["delete", "configmap", "one"], ""));
    assert_eq!(proxy.counts()["delete configmaps"], 1);
    assert!(proxy.count("get configmaps one") >= 1, "{:?}", proxy.counts());
    if space.cluster().has_node() {
        // An upgraded connection.
        space.apply_yaml(&pod("web", "web:2"));
        space.wait_for("v1/pods/web", SOON, is_ready);
        drop(kubectl(&["exec", "-i", "web", "--", "wc", "-c"], "12345").says("5"));
    }
}

#[test]
fn the_api_proxy_breaks_what_the_test_picks() {
    let space = Cluster::shared().namespace("faults");
    let proxy = ApiProxy::start(space.cluster());
    let maps = space.path("v1/configmaps");
    let create = |name: &str| proxy.call("POST", &maps, Some(&config(name)), SOON);
    let exists = |name: &str| space.get(&format!("v1/configmaps/{name}")).is_some();

    // Statuses, for the next calls only; the API server does not see them.
    for status in [500, 503] {
        proxy.fault_next(1, "create configmaps", ApiFault::Refuse(status));
        assert_eq!(create("refused").unwrap().status, status);
    }
    proxy.fault_next(1, "mutate *", ApiFault::TooMany(7));
    let refused = create("refused").unwrap();
    assert_eq!(refused.status, 429);
    assert!(
        refused.body.contains("\"retryAfterSeconds\":7"),
        "{}",
        refused.body
    );
    assert!(!exists("refused"));
    assert_eq!(create("refused").unwrap().status, 201);

    // Dropped before: not done. Dropped after: done, but nobody was told. Hung: nothing.
    proxy.fault_next(1, "create *", ApiFault::DropBefore);
    assert!(create("before").is_err());
    assert!(!exists("before"));
    proxy.fault_next(1, "create *", ApiFault::DropAfter);
    assert!(create("after").is_err());
    assert!(exists("after"));
    proxy.fault_next(1, "create *", ApiFault::Hang);
    assert!(
        proxy
            .call("POST", &maps, Some(&config("hung")), Duration::from_millis(200))
            .is_err()
    );
    assert!(!exists("hung"));

    // The third mutating call from now; and held at a gate.
    proxy.clear();
    proxy.fault_nth_mutating(2, ApiFault::Refuse(500));
    let statuses: Vec<u16> = ["a", "b", "c", "d"]
        .iter()
        .map(|name| create(name).unwrap().status)
        .collect();
    assert_eq!(statuses, [201, 201, 500, 201]);
    let gate = proxy.hold("create configmaps");
    std::thread::scope(|scope| {
        let held = scope.spawn(|| create("held"));
        gate.wait_until_reached(SOON);
        assert!(!exists("held"));
        gate.open();
        assert_eq!(held.join().unwrap().unwrap().status, 201);
    });
}

#[test]
fn the_api_proxy_breaks_watches() {
    let space = Cluster::shared().namespace("watches");
    let proxy = ApiProxy::start(space.cluster());
    for name in ["one", "two", "three"] {
        let made = space
            .cluster()
            .call("POST", &space.path("v1/configmaps"), Some(&config(name)));
        assert_eq!(made.status, 201);
    }
    // From the beginning: an event for each, and for the one that Kubernetes puts into every namespace.
    let watch = |patience: Duration| {
        let path = space.path("v1/configmaps?watch=1&resourceVersion=0&timeoutSeconds=20");
        proxy.call("GET", &path, None, patience)
    };
    let events = |text: &str| {
        text.lines()
            .map(|line| line.split('"').nth(3).unwrap().to_owned())
            .collect::<Vec<_>>()
    };

    proxy.fault_next(1, "watch configmaps", ApiFault::EndWatch(2));
    assert_eq!(events(&watch(SOON).unwrap().body), ["ADDED", "ADDED"]);
    proxy.fault_next(1, "watch configmaps", ApiFault::ExpireWatch(1));
    let expired = watch(SOON).unwrap().body;
    assert_eq!(events(&expired), ["ADDED", "ERROR"], "{expired}");
    assert!(expired.contains("\"code\":410"), "{expired}");
    // The client sees a connection that was not closed in order.
    proxy.fault_next(1, "watch configmaps", ApiFault::CutWatch(2));
    assert_eq!(watch(SOON).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    proxy.fault_next(1, "watch configmaps", ApiFault::StallWatch(1));
    assert!(watch(Duration::from_millis(300)).is_err());
    proxy.fault_next(1, "watch configmaps", ApiFault::Refuse(410));
    assert_eq!(watch(SOON).unwrap().status, 410);
    assert_eq!(proxy.count("watch configmaps"), 5);
    // All at once.
    wait_until("the watches are closed", SOON, || proxy.open_watches() == 0);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(SOON));
        wait_until("a watch is open", SOON, || proxy.open_watches() == 1);
        proxy.cut_watches();
        assert_eq!(
            watching.join().unwrap().unwrap_err().kind(),
            std::io::ErrorKind::UnexpectedEof
        );
    });
    // An event reaches a client while the watch goes on.
    let mut live = space.cluster().kubectl_command(&proxy.kubeconfig());
    live.args([
        "--namespace",
        space.name(),
        "get",
        "configmaps",
        "--watch-only",
        "--output",
        "name",
    ]);
    let mut child = live.stdout(std::process::Stdio::piped()).spawn().unwrap();
    wait_until("a watch is open", SOON, || proxy.open_watches() == 1);
    space
        .cluster()
        .call("POST", &space.path("v1/configmaps"), Some(&config("live")));
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(child.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    assert_eq!(line.trim(), "configmap/live");
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the watches are closed", SOON, || proxy.open_watches() == 0);
}

/// What names a cluster's folder: its processes by their environment, its mounts, its cgroups.
fn traces(folder: &Path) -> Vec<String> {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(environment) = std::fs::read(process.path().join("environ")) else {
            continue;
        };
        if String::from_utf8_lossy(&environment).contains(&format!("DIR={}", folder.display())) {
            found.push(format!("process {}", process.path().display()));
        }
    }
    if std::fs::read_to_string("/proc/self/mounts")
        .unwrap()
        .contains(name)
    {
        found.push("a mount".to_owned());
    }
    for controller in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        if controller.file_name() == name || controller.path().join(name).exists() {
            found.push(format!("a cgroup in {}", controller.path().display()));
        }
    }
    found
}

#[test]
fn a_private_cluster_loses_its_node_and_leaves_nothing() {
    let cluster = Cluster::private_with(&[("CONTROLLER_FLAGS", "--node-monitor-grace-period=4s")]);
    if !cluster.has_node() {
        return;
    }
    let (folder, link) = (cluster.folder().to_owned(), cluster.link());
    assert!(link.exists());
    assert!(traces(&folder).len() > 5, "{:?}", traces(&folder));
    let space = cluster.namespace("lost");
    space.apply_yaml(&pod("web", "web:1"));
    space.wait_for("v1/pods/web", SOON, is_ready);
    cluster.pause_node();
    cluster.wait_for("/api/v1/nodes/node-1", SOON, |node| !is_ready(node));
    space.wait_for("v1/pods/web", SOON, |pod| !is_ready(pod));
    cluster.resume_node();
    cluster.wait_for("/api/v1/nodes/node-1", SOON, is_ready);
    drop(space);
    drop(cluster);
    assert!(!folder.exists(), "{} is left", folder.display());
    assert!(!link.exists(), "{} is left", link.display());
    assert_eq!(traces(&folder), [""; 0]);
}

#[test]
fn nothing_of_a_cluster_outlives_a_killed_script() {
    let mut cluster = Cluster::private();
    let folder = cluster.folder().to_owned();
    let link = cluster.has_node().then(|| cluster.link());
    cluster.kill_script();
    wait_until("its processes are gone", Duration::from_secs(10), || {
        !traces(&folder).iter().any(|trace| trace.starts_with("process"))
    });
    wait_until("its link is gone", Duration::from_secs(10), || {
        link.as_ref().is_none_or(|link| !link.exists())
    });
    drop(cluster);
    // The folder and the cgroups go with the next cluster's start. That one is as on a machine that can't run a node.
    let cluster = Cluster::private_with(&[("CONTROL_PLANE_ONLY", "1")]);
    assert!(!folder.exists(), "{} is left", folder.display());
    assert_eq!(traces(&folder), [""; 0]);
    assert!(!cluster.has_node());
    let space = cluster.namespace("scripted");
    drop(
        cluster
            .kubectl(&[
                "--namespace",
                space.name(),
                "create",
                "deployment",
                "web",
                "--image",
                "web:1",
                "--replicas",
                "2",
            ])
            .success(),
    );
    space.wait_available("web", SOON);
    space.apply_yaml(&(pod("sick", "web:broken") + &pod("crash", "web:crash")));
    space.wait_for("v1/pods/crash", SOON, |pod| {
        pod["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(2)
    });
    let sick = space.wait_for("v1/pods/sick", SOON, |pod| pod["status"]["phase"] == "Running");
    assert!(!is_ready(&sick));
    space.delete("apps/v1/deployments/web");
    let folder = cluster.folder().to_owned();
    wait_for("the pods of the Deployment are gone", SOON, || {
        (space.list("v1/pods?labelSelector=app%3Dweb").is_empty()).then_some(())
    });
    drop(space);
    drop(cluster);
    assert_eq!(traces(&folder), [""; 0]);
}

#[test]
fn the_tools_of_the_suite_are_built() {
    for (tool, arguments, version) in [
        ("kubectl", &["version", "--client"][..], "v1.34."),
        ("kustomize", &["version"], ""),
        ("helm", &["version", "--short"], "v3."),
    ] {
        let mut command = std::process::Command::new(Cluster::tool(tool));
        drop(CommandOutput::of(command.args(arguments)).success().says(version));
    }
}
