//! A node that only says it is one, for machines that can't run a kubelet: it is Ready, and it plays each pod by its image.
//!
//! `web:*` and `base:*` run and are ready, `web:broken` runs and is not, `web:crash` restarts with exit code 3, `job:ok` and
//! `job:fail` end, everything else can't be pulled. The real scheduler and controllers do the rest. No logs, no exec, no
//! network: a law that needs them asks [`super::cluster::Cluster::has_node`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cluster::Client;

/// A playing thread; ends when dropped.
pub(super) struct ScriptedNode {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedNode {
    pub(super) fn start(client: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let node = json!({ "metadata": { "name": "node-1", "labels": {
            "kubernetes.io/hostname": "node-1", "kubernetes.io/os": "linux",
        } } });
        let made = client.call("POST", "/api/v1/nodes", Some(&node));
        assert!(made.as_ref().is_ok_and(|made| made.status == 201), "{made:?}");
        beat(&client);
        let thread = std::thread::spawn(move || {
            let mut last_beat = Instant::now();
            while !until.load(Ordering::Acquire) {
                if last_beat.elapsed() > Duration::from_secs(2) {
                    beat(&client);
                    last_beat = Instant::now();
                }
                play(&client);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for ScriptedNode {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn beat(client: &Client) {
    let resources = json!({ "cpu": "8", "memory": "16Gi", "pods": "240", "ephemeral-storage": "100Gi" });
    let status = json!({ "status": { "capacity": resources, "allocatable": resources, "conditions": [
        { "type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now() },
    ] } });
    // A cluster that ends answers nothing any more.
    let _ = client.call("PATCH", "/api/v1/nodes/node-1/status", Some(&status));
}

fn play(client: &Client) {
    let Ok(answer) = client.call("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1", None) else {
        return;
    };
    let list: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    for pod in list["items"].as_array().into_iter().flatten() {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
        let path = format!("/api/v1/namespaces/{}/pods/{}", text("namespace"), text("name"));
        if pod["metadata"]["deletionTimestamp"].is_string() {
            let _ = client.call("DELETE", &path, Some(&json!({ "gracePeriodSeconds": 0 })));
        } else if let Some(status) = next_status(pod) {
            let _ = client.call(
                "PATCH",
                &format!("{path}/status"),
                Some(&json!({ "status": status })),
            );
        }
    }
}

/// The status that the pod should have now; `None` when it has it.
fn next_status(pod: &Value) -> Option<Value> {
    let phase = pod["status"]["phase"].as_str().unwrap_or("Pending");
    let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_i64();
    if matches!(phase, "Succeeded" | "Failed")
        || (phase == "Running" && restarts.is_none_or(|count| count == 0 || count > 4))
    {
        return None;
    }
    let containers: Vec<(&str, &str)> = pod["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|container| {
            let text = |field: &str| container[field].as_str().unwrap_or_default();
            (text("name"), text("image"))
        })
        .collect();
    let started = pod["status"]["startTime"]
        .as_str()
        .map_or_else(now, str::to_owned);
    let once = pod["spec"]["restartPolicy"] == "Never";
    let mut phase = "Running";
    let mut all_ready = true;
    let mut statuses = Vec::new();
    for (name, image) in containers {
        let ended = |code: i64| {
            json!({ "terminated": {
                "exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" },
                "startedAt": started, "finishedAt": now(), "containerID": "containerd://scripted",
            } })
        };
        let running = json!({ "running": { "startedAt": started } });
        let waiting = |reason: &str| json!({ "waiting": { "reason": reason } });
        let (state, last, ready, count) = match image.rsplit('/').next().unwrap_or_default() {
            "web:broken" => (running, json!({}), false, 0),
            "web:crash" => (
                waiting("CrashLoopBackOff"),
                ended(3),
                false,
                restarts.unwrap_or(0) + 1,
            ),
            "job:fail" if !once => (
                waiting("CrashLoopBackOff"),
                ended(1),
                false,
                restarts.unwrap_or(0) + 1,
            ),
            "job:fail" => {
                phase = "Failed";
                (ended(1), json!({}), false, 0)
            }
            "job:ok" => {
                phase = "Succeeded";
                (ended(0), json!({}), false, 0)
            }
            image if image.starts_with("web:") || image.starts_with("base:") => (running, json!({}), true, 0),
            _ => {
                phase = "Pending";
                (waiting("ErrImagePull"), json!({}), false, 0)
            }
        };
        all_ready &= ready;
        statuses.push(json!({
            "name": name, "image": image, "imageID": "", "ready": ready, "started": ready,
            "restartCount": count, "state": state, "lastState": last,
        }));
    }
    if phase == "Pending" && pod["status"]["containerStatuses"].is_array() {
        return None;
    }
    let ready = if all_ready { "True" } else { "False" };
    let condition =
        |kind: &str, status: &str| json!({ "type": kind, "status": status, "lastTransitionTime": now() });
    Some(json!({
        "phase": phase, "startTime": started, "podIP": "10.78.0.2", "podIPs": [{ "ip": "10.78.0.2" }], "hostIP": "127.0.0.1",
        "conditions": [
            condition("PodScheduled", "True"), condition("Initialized", "True"),
            condition("ContainersReady", ready), condition("Ready", ready),
        ],
        "containerStatuses": statuses,
    }))
}
