//! Laws of two processes of one instance's name on a real cluster: at most one changes things, and one that is gone is followed.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::api_proxy::{ApiFault, ApiProxy};
use crate::support::driftless::{Running, TestEnv};
use crate::support::kube_scene::{KubeScene, PATIENCE, config, web};
use crate::support::proxy::Gate;
use crate::support::wait_until;

/// The shortest that an operator may set.
const LEASE: Duration = Duration::from_secs(15);
/// As long as a lease, a wait between two tries, and a machine that is busy.
const FOLLOWED: Duration = Duration::from_secs(90);

/// A scene whose instance has a name that no other test has, and a short lease.
fn scene(name: &str, manifests: &str) -> KubeScene<'static> {
    let scene = KubeScene::with_rules(name, "health: { bake: 0s }", manifests);
    settle_in(&scene.env, &scene.app);
    scene
}

fn settle_in(env: &TestEnv, app: &str) {
    let text = format!(
        "instance: {app}\ntargets: {{ here: {{ kubernetes: current, namespace: {app}, lease: {{ duration: 15s }} }} }}\n"
    );
    env.write_config("config.yaml", &text);
}

/// A second user of the same repository and the same instance name: another state folder, and a proxy of its own.
struct Second {
    env: TestEnv,
    proxy: ApiProxy,
}

impl Second {
    fn of(scene: &KubeScene) -> Self {
        let proxy = ApiProxy::start(scene.space.cluster());
        let kubeconfig = proxy.kubeconfig();
        let env = TestEnv::new().var("KUBECONFIG", kubeconfig.to_str().expect("a plain path"));
        settle_in(&env, &scene.app);
        Self { env, proxy }
    }

    fn serve(&self, scene: &KubeScene) -> Running {
        serve(&self.env, scene)
    }
}

fn serve(env: &TestEnv, scene: &KubeScene) -> Running {
    env.start(&scene.repo.path(), &["serve", "--interval", "1s"])
}

fn lease(scene: &KubeScene) -> Option<Value> {
    let short = format!("coordination.k8s.io/v1/leases/driftless-{}", scene.app);
    scene.space.get(&short)
}

fn holder(scene: &KubeScene) -> String {
    let lease = lease(scene).expect("there is a lease");
    lease["spec"]["holderIdentity"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn lease_calls(proxy: &ApiProxy) -> usize {
    proxy.count("* leases.coordination.k8s.io")
}

#[test]
fn of_two_instances_of_one_name_at_most_one_changes_things() {
    let scene = scene("two", &config("settings", "1"));
    let second = Second::of(&scene);
    let mut first = serve(&scene.env, &scene);
    first.wait_to_say("release 1 is stable", PATIENCE);
    let held = holder(&scene);
    assert!(held.contains(&format!("_{}_", first.pid())), "{held}");
    // A command says who is there, and touches nothing.
    scene.commit(&config("settings", "2"));
    first.wait_to_say("release 2 is stable", PATIENCE);
    let refused = second.env.run(&scene.repo.path(), &["apply", "--yes"]).code(9);
    let said = refused.stdout.clone() + &refused.stderr;
    let name = format!("{0}/driftless-{0}", scene.app);
    for text in ["E0613", &held, &name, " s at least"] {
        assert!(said.contains(text), "{text:?} is missing\n{refused}");
    }
    second.proxy.assert_read_only();
    // So does a second daemon, for as long as the first one lives.
    let mut other = second.serve(&scene);
    other.wait_to_say("E0613", PATIENCE);
    for (release, value) in [(3, "3"), (4, "4"), (5, "5")] {
        scene.commit(&config("settings", value));
        first.wait_to_say(&format!("release {release} is stable"), PATIENCE);
        assert_eq!(scene.value("settings").as_deref(), Some(value));
    }
    second.proxy.assert_read_only();
    assert_eq!(holder(&scene), held);
    // Killed without a word, it is followed without help; not before its lease is over.
    first.signal(Signal::SIGKILL);
    let killed = Instant::now();
    assert_eq!(first.wait(PATIENCE).status, None);
    scene.commit(&config("settings", "6"));
    wait_until("the second one goes on", FOLLOWED, || {
        scene.value("settings").as_deref() == Some("6")
    });
    // It was renewed every few seconds, so that much of it was over already.
    assert!(killed.elapsed() > LEASE / 2, "{:?}", killed.elapsed());
    let after = holder(&scene);
    assert!(after.contains(&format!("_{}_", other.pid())), "{after}");
    assert_eq!(lease(&scene).expect("a lease")["spec"]["leaseTransitions"], 1);
    // One that ends in order gives it back: nobody waits.
    assert_eq!(other.terminate(PATIENCE).status, Some(0));
    assert_eq!(holder(&scene), "");
}

#[test]
fn a_command_takes_the_lease_only_to_change_something_and_gives_it_back() {
    let scene = scene("brief", &config("settings", "1"));
    drop(scene.apply().success());
    assert_eq!(holder(&scene), "");
    scene.proxy.clear();
    drop(scene.apply().success());
    for verb in [
        &["plan"][..],
        &["status"],
        &["drift"],
        &["why", &scene.app],
        &["diff"],
    ] {
        let _ = scene.run(verb);
    }
    assert_eq!(lease_calls(&scene.proxy), 0, "{:?}", scene.proxy.counts());
    // The next one need not wait, whoever it is.
    let second = Second::of(&scene);
    scene.commit(&config("settings", "2"));
    let start = Instant::now();
    drop(second.env.run(&scene.repo.path(), &["apply", "--yes"]).success());
    assert!(start.elapsed() < LEASE, "{:?}", start.elapsed());
    assert_eq!(scene.value("settings").as_deref(), Some("2"));
    // What it had changed meanwhile is looked at anew by the first one, not planned from what was there before.
    drop(scene.apply().success());
    assert_eq!(holder(&scene), "");
}

#[test]
fn a_command_follows_one_that_was_killed() {
    let scene = scene("followed", &(web("web:1", "") + &config("settings", "1")));
    let second = Second::of(&scene);
    let kill_at_work = || {
        let gate = Gate::new();
        scene.proxy.fault_nth_mutating(0, ApiFault::Swallow(gate.clone()));
        let applying = scene.start_apply();
        gate.wait_until_reached(PATIENCE);
        applying.signal(Signal::SIGKILL);
        assert_eq!(applying.wait(PATIENCE).status, None);
        scene.proxy.clear();
    };
    kill_at_work();
    // Another folder can't know that it is gone: it waits for the lease to be over, by its own clock.
    let start = Instant::now();
    drop(second.env.run(&scene.repo.path(), &["apply", "--yes"]).success());
    assert!(start.elapsed() >= LEASE, "{:?}", start.elapsed());
    // The same folder can: the process that held it is no more.
    scene.commit(&(web("web:1", "") + &config("settings", "2")));
    kill_at_work();
    let start = Instant::now();
    drop(scene.apply().success());
    assert!(start.elapsed() < LEASE, "{:?}", start.elapsed());
    assert_eq!(scene.value("settings").as_deref(), Some("2"));
}

#[test]
fn a_lease_that_was_lost_ends_the_run_before_its_next_call() {
    let later = config("later", "1").replace(
        "name: later",
        "name: later, annotations: { driftless.dev/wave: \"1\" }",
    );
    let scene = scene("lost-lease", &(web("web:1", "") + &later));
    let gate = scene.proxy.hold("list pods");
    let applying = scene.start_apply();
    gate.wait_until_reached(PATIENCE);
    // Somebody else writes it, as after a pause of ours that was too long.
    scene.space.patch(
        &format!("coordination.k8s.io/v1/leases/driftless-{}", scene.app),
        &json!({ "spec": { "holderIdentity": "thief_1_x", "leaseDurationSeconds": 600 } }),
    );
    let before = scene.proxy.count("update leases.coordination.k8s.io");
    wait_until("the loss is noticed", PATIENCE, || {
        scene.proxy.count("update leases.coordination.k8s.io") > before
    });
    wait_until("the new holder is seen", PATIENCE, || {
        scene.proxy.count("get leases.coordination.k8s.io") >= 2
    });
    gate.open();
    let ended = applying.wait(PATIENCE);
    let said = ended.stdout.clone() + &ended.stderr;
    assert!(ended.status.is_some_and(|code| code != 0), "{ended}");
    assert!(said.contains("thief_1_x"), "{ended}");
    assert_eq!(scene.value("later"), None, "{ended}");
    assert_eq!(holder(&scene), "thief_1_x");
}

#[test]
fn who_may_not_use_leases_is_told_and_goes_on() {
    let mut scene = scene("no-leases", &config("settings", "1"));
    let own = json!([{ "apiGroups": [""], "resources": ["*"], "verbs": ["*"] }]);
    let wide = json!([{ "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] }]);
    let account = scene.space.account("driftless", &own, &wide);
    account.wait_until_may("patch", "configmaps");
    let kubeconfig = account.kubeconfig().to_owned();
    drop(account);
    scene.use_account(&kubeconfig);
    let applied = scene.apply().success();
    let said = applied.stdout.clone() + &applied.stderr;
    for text in ["no lease keeps two instances", "leases", &scene.app] {
        assert!(said.contains(text), "{text:?} is missing\n{applied}");
    }
    assert_eq!(scene.value("settings").as_deref(), Some("1"));
    assert!(lease(&scene).is_none());
}

#[test]
fn a_daemon_at_rest_only_renews_its_lease() {
    let scene = scene("at-rest", &config("settings", "1"));
    let mut served = serve(&scene.env, &scene);
    served.wait_to_say("release 1 is stable", PATIENCE);
    let quiet = || scene.proxy.calls().iter().filter(|call| !call.watch).count();
    // Its watches are there when a look costs nothing.
    wait_until("it rests", PATIENCE, || {
        scene.proxy.clear();
        std::thread::sleep(Duration::from_secs(2));
        quiet() == lease_calls(&scene.proxy)
    });
    let held = holder(&scene);
    scene.proxy.clear();
    let renewed = |lease: &Value| lease["spec"]["renewTime"].as_str().unwrap_or_default().to_owned();
    let before = renewed(&lease(&scene).expect("a lease"));
    let start = Instant::now();
    wait_until("it is renewed", PATIENCE, || {
        renewed(&lease(&scene).expect("a lease")) != before
    });
    // A renewal costs one call, and there are few of them.
    let (calls, most) = (lease_calls(&scene.proxy), 2 + start.elapsed().as_secs() / 2);
    assert!(calls as u64 <= most, "{calls} in {:?}", start.elapsed());
    assert_eq!(quiet(), lease_calls(&scene.proxy), "{:?}", scene.proxy.counts());
    assert_eq!(holder(&scene), held);
    assert_eq!(served.terminate(PATIENCE).status, Some(0));
}
