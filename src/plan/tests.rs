//! The laws of planning.

use std::collections::BTreeMap;

use super::testing::*;
use super::*;
use crate::live::docker::op::Op;
use crate::live::world::{Restart, State};
use crate::render::model::{
    Condition as Wait, Dependency, Healthcheck, Mount, MountSource, NetworkMode, Restart as Policy, Service,
};
use crate::secret::Text;

fn needs(condition: Wait) -> Dependency {
    Dependency {
        condition,
        required: true,
        restart: false,
    }
}

fn volume(key: &str) -> Mount {
    Mount {
        source: MountSource::Volume(key.into()),
        read_only: false,
        propagation: None,
        selinux: None,
        nocopy: false,
        subpath: None,
        create_host_path: false,
    }
}

/// A proxy with a host port, an app, a database with a volume, a migration.
fn stack(digit: char, image: &str) -> crate::render::Desired {
    let mut db = service("db:1");
    db.volumes.insert("/data".into(), volume("pgdata"));
    db.healthcheck = Some(Healthcheck {
        test: vec!["CMD".into(), "check".into()],
        ..Healthcheck::default()
    });
    let mut migrate = service(image);
    migrate.job = true;
    migrate
        .depends_on
        .insert(service_name("db"), needs(Wait::ServiceHealthy));
    let mut api = service(image);
    api.environment.insert("KEY".into(), Text::plain("1"));
    api.restart = Some(Policy {
        name: "unless-stopped".into(),
        max_retries: 0,
    });
    api.replicas = 2;
    api.depends_on
        .insert(service_name("migrate"), needs(Wait::ServiceCompletedSuccessfully));
    let mut proxy = service("app:1");
    proxy.ports = vec![port(8080, 80)];
    proxy
        .depends_on
        .insert(service_name("api"), needs(Wait::ServiceStarted));
    desired(
        digit,
        &[("db", db), ("migrate", migrate), ("api", api), ("proxy", proxy)],
    )
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.engine.jobs.insert("migrate".into());
    bench
}

#[test]
fn unchanged_app_makes_no_calls() {
    for api in [(1, 41), (1, 51)] {
        let mut bench = Bench::with_api(api);
        bench.engine.jobs.insert("migrate".into());
        let desired = stack('1', "app:1");
        let plan = bench.deploy(&desired);
        assert_eq!(action(&plan, "api"), Action::Create);
        assert_eq!(
            calls(&plan, "proxy"),
            [
                "create container web-proxy-1",
                "await running api",
                "start web-proxy-1"
            ]
        );
        bench.assert_quiet(&desired);
        assert!(bench.plan(&desired).is_empty());
    }
}

#[test]
fn a_lost_store_recreates_nothing() {
    let mut bench = bench();
    let desired = stack('1', "app:1");
    bench.deploy(&desired);
    bench.stable = None;
    let jobs = std::mem::take(&mut bench.inventory).jobs;
    bench.inventory = crate::live::world::Inventory {
        rebuilt: true,
        jobs,
        ..Default::default()
    };
    bench.assert_quiet(&desired);
}

#[test]
fn a_new_image_is_started_before_the_old_one_stops() {
    let mut bench = bench();
    bench.deploy(&stack('1', "app:1"));
    let next = stack('2', "app:2");
    let plan = bench.deploy(&next);
    assert_eq!(action(&plan, "api"), Action::Recreate(Strategy::StartFirst));
    assert_eq!(
        calls(&plan, "api")[..8],
        [
            "create container web-api-1.next-2222222",
            "await completed migrate",
            "start web-api-1.next-2222222",
            "await healthy api",
            "disconnect web-api-1.next-2222222 from web_default",
            "connect web-api-1.next-2222222 to web_default",
            "stop web-api-1",
            "rename web-api-1 to web-api-1.prev-1111111",
        ]
    );
    bench.assert_quiet(&next);
    assert!(
        bench
            .engine
            .world
            .containers
            .iter()
            .any(|container| container.name == "web-api-1.prev-1111111")
    );
}

#[test]
fn only_a_bake_of_zero_lets_in_what_was_not_watched() {
    use std::time::Duration;
    let cases = [
        (Duration::from_secs(10), None, Duration::from_secs(2)),
        (Duration::from_millis(300), None, Duration::from_secs(2)),
        (Duration::ZERO, None, Duration::ZERO),
        // What the author writes for this very wait counts, whatever the bake is.
        (Duration::ZERO, Some(1_500_000_000), Duration::from_millis(1500)),
    ];
    for (bake, monitor, expected) in cases {
        let mut bench = bench();
        bench.deploy(&desired('1', &[("api", service("app:1"))]));
        let mut api = service("app:2");
        api.update.monitor = monitor;
        let mut next = desired('2', &[("api", api)]);
        next.rules.health.bake = bake;
        let plan = bench.plan(&next);
        let change = plan.changes.iter().find(|change| &*change.key.name == "api");
        let waits: Vec<Duration> = change
            .into_iter()
            .flat_map(|change| &change.steps)
            .filter_map(|step| match step {
                Step::Await(Await {
                    condition: Condition::Healthy { steady, .. },
                    ..
                }) => Some(*steady),
                _ => None,
            })
            .collect();
        assert_eq!(waits, [expected], "{bake:?} {monitor:?}");
    }
}

#[test]
fn failed_create_never_removes_the_old_container() {
    let mut bench = bench();
    bench.deploy(&stack('1', "app:1"));
    let mut next = stack('2', "app:2");
    let proxy = next
        .project
        .services
        .get_mut(&service_name("proxy"))
        .expect("proxy");
    proxy.image = Text::plain("app:2");
    let plan = bench.plan(&next);
    for change in &plan.changes {
        let mut created = false;
        for step in &change.steps {
            match step {
                Step::Op(Op::CreateContainer { .. }) => created = true,
                Step::Op(Op::Stop { .. } | Op::RemoveContainer { .. } | Op::Rename { .. })
                    if change.phase == Phase::Apply =>
                {
                    assert!(created, "{}", text(&plan));
                }
                _ => {}
            }
        }
    }
    bench.engine.fail_at = Some("create container web-proxy-1".into());
    assert!(bench.walk(&plan, Phase::Apply).is_err());
    assert!(bench.engine.by_name("web-proxy-1").running());
}

#[test]
fn a_host_port_is_handed_over_stop_first() {
    let mut bench = bench();
    bench.deploy(&stack('1', "app:1"));
    let mut next = stack('2', "app:1");
    next.project
        .services
        .get_mut(&service_name("proxy"))
        .expect("proxy")
        .image = Text::plain("app:2");
    let plan = bench.deploy(&next);
    assert_eq!(
        action(&plan, "proxy"),
        Action::Recreate(Strategy::StopFirst {
            because: "it publishes host port 8080".into()
        })
    );
    assert_eq!(
        calls(&plan, "proxy"),
        [
            "create container web-proxy-1.next-2222222",
            "stop web-proxy-1",
            "rename web-proxy-1 to web-proxy-1.prev-1111111",
            "disconnect web-proxy-1.prev-1111111 from web_default",
            "rename web-proxy-1.next-2222222 to web-proxy-1",
            "start web-proxy-1",
            "await healthy proxy",
        ]
    );
    bench.assert_quiet(&next);
}

#[test]
fn a_failed_release_goes_back_to_what_was_parked() {
    let mut bench = bench();
    let good = stack('1', "app:1");
    bench.deploy(&good);
    let bad = stack('2', "app:2");
    let plan = bench.plan(&bad);
    bench.walk(&plan, Phase::Apply).expect("applied");
    bench.record(&plan);
    bench.engine.by_name("web-api-1").state = State::Exited;
    bench.roll_back_from = Some(plan.release.clone());
    let back = bench.plan(&good);
    assert_eq!(action(&back, "api"), Action::Revive, "{}", text(&back));
    assert_eq!(action(&back, "migrate"), Action::Keep);
    assert_eq!(action(&back, "db"), Action::Keep);
    assert!(back.preflight.pulls.is_empty());
    bench
        .walk(&back, Phase::Apply)
        .unwrap_or_else(|error| panic!("{error}"));
    bench.record(&back);
    bench.walk(&back, Phase::AfterBake).expect("tidied");
    bench.record(&back);
    bench.roll_back_from = None;
    bench.assert_quiet(&good);
    assert!(
        bench
            .engine
            .world
            .containers
            .iter()
            .all(|container| !container.name.contains(".prev-"))
    );
}

#[test]
fn without_parked_containers_a_rollback_makes_them_again() {
    let mut bench = bench();
    let good = stack('1', "app:1");
    bench.deploy(&good);
    let plan = bench.plan(&stack('2', "app:2"));
    bench.walk(&plan, Phase::Apply).expect("applied");
    bench.record(&plan);
    bench
        .engine
        .world
        .containers
        .retain(|container| !container.name.contains(".prev-"));
    bench.roll_back_from = Some(plan.release.clone());
    let back = bench.plan(&good);
    assert!(matches!(action(&back, "api"), Action::Recreate(_)));
    bench
        .walk(&back, Phase::Apply)
        .unwrap_or_else(|error| panic!("{error}"));
    bench.record(&back);
    bench.roll_back_from = None;
    bench.assert_quiet(&good);
}

#[test]
fn drift_is_healed_by_the_mildest_means() {
    let mut bench = bench();
    let desired = stack('1', "app:1");
    bench.deploy(&desired);
    bench.engine.by_name("web-api-1").state = State::Exited;
    bench.engine.by_name("web-api-2").state = State::Paused;
    bench.engine.by_name("web-db-1").endpoints.clear();
    bench.engine.by_name("web-proxy-1").name = "oops".into();
    let plan = bench.plan(&desired);
    assert_eq!(action(&plan, "api"), Action::Heal);
    assert_eq!(calls(&plan, "db"), ["connect web-db-1 to web_default"]);
    assert_eq!(calls(&plan, "proxy")[0], "rename oops to web-proxy-1");
    assert!(
        plan.changes
            .iter()
            .filter(|change| change.acts())
            .all(|change| change.cause == Cause::Drifted)
    );
    bench
        .walk(&plan, Phase::Apply)
        .unwrap_or_else(|error| panic!("{error}"));
    bench.record(&plan);
    bench.assert_quiet(&desired);

    bench.engine.by_name("web-api-1").restart = Restart {
        name: "no".into(),
        max_retries: 0,
    };
    bench.engine.by_name("web-db-1").limits.memory = Some(64 << 20);
    let plan = bench.plan(&desired);
    assert_eq!(calls(&plan, "api"), ["update web-api-1 in place"]);
    assert!(
        text(&plan).contains("\"no\" -> unless-stopped"),
        "{}",
        text(&plan)
    );
    // A limit can't be taken from a running container.
    assert!(
        matches!(action(&plan, "db"), Action::Recreate(_)),
        "{}",
        text(&plan)
    );
    bench
        .walk(&plan, Phase::Apply)
        .unwrap_or_else(|error| panic!("{error}"));
    bench.record(&plan);
    bench.assert_quiet(&desired);
    assert!(
        bench
            .engine
            .world
            .containers
            .iter()
            .all(|container| !container.name.contains(".prev-"))
    );
}

#[test]
fn a_removed_container_is_drift() {
    let mut bench = bench();
    let desired = stack('1', "app:1");
    bench.deploy(&desired);
    bench
        .engine
        .world
        .containers
        .retain(|container| container.name != "web-proxy-1");
    let plan = bench.plan(&desired);
    let change = plan
        .changes
        .iter()
        .find(|change| &*change.key.name == "proxy")
        .expect("proxy");
    assert_eq!(
        (change.action.clone(), change.cause.clone()),
        (Action::Create, Cause::Drifted)
    );
}

#[test]
fn limits_are_changed_without_a_new_container() {
    let mut bench = bench();
    let with = |digit, memory: i64| {
        let mut api = service("app:1");
        api.resources.memory = Some(memory);
        desired(digit, &[("api", api)])
    };
    bench.deploy(&with('1', 64 << 20));
    let id = bench.engine.by_name("web-api-1").id.clone();
    let more = with('2', 256 << 20);
    let plan = bench.deploy(&more);
    assert_eq!(action(&plan, "api"), Action::Update);
    assert!(text(&plan).contains("64 MiB -> 256 MiB"), "{}", text(&plan));
    assert_eq!(bench.engine.by_name("web-api-1").id, id);
    bench.assert_quiet(&more);
    // Removing it again needs a new one.
    let none = desired('3', &[("api", service("app:1"))]);
    let plan = bench.deploy(&none);
    assert!(matches!(action(&plan, "api"), Action::Recreate(_)));
    bench.assert_quiet(&none);
}

#[test]
fn prune_is_last_and_never_volumes() {
    let mut bench = bench();
    bench.deploy(&stack('1', "app:1"));
    let mut next = stack('2', "app:1");
    next.project.services.remove(&service_name("db"));
    next.project.volumes.clear();
    next.project
        .services
        .get_mut(&service_name("migrate"))
        .expect("migrate")
        .depends_on
        .clear();
    let plan = bench.plan(&next);
    for change in plan
        .changes
        .iter()
        .filter(|change| change.action == Action::Delete)
    {
        assert_eq!(change.phase, Phase::AfterBake);
    }
    assert_eq!(action(&plan, "db"), Action::Delete);
    assert!(text(&plan).contains("- volume/pgdata"), "{}", text(&plan));
    bench.deploy(&next);
    assert!(bench.engine.world.volumes.contains_key("web_pgdata"));
    bench.prune = Prune::All;
    bench.delete_volumes = vec!["pgdata".into()];
    let plan = bench.deploy(&next);
    assert!(text(&plan).contains("1 to delete"), "{}", text(&plan));
    assert!(!bench.engine.world.volumes.contains_key("web_pgdata"));
}

#[test]
fn a_mass_deletion_is_held() {
    let mut bench = Bench::new();
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let many: Vec<(&str, Service)> = names.iter().map(|name| (*name, service("app:1"))).collect();
    bench.deploy(&desired('1', &many));
    let plan = bench.plan(&desired('2', &many[..1]));
    assert_eq!(
        action(&plan, "g"),
        Action::Blocked(Blocked::DeleteBudget {
            deletes: 6,
            allowed: 5
        })
    );
    let some = bench.plan(&desired('2', &many[..3]));
    assert_eq!(action(&some, "g"), Action::Delete);
}

#[test]
fn a_one_shot_runs_once() {
    let mut bench = bench();
    let first = stack('1', "app:1");
    let plan = bench.deploy(&first);
    assert_eq!(
        calls(&plan, "migrate").last().map(String::as_str),
        Some("await completed migrate")
    );
    bench
        .engine
        .world
        .containers
        .retain(|container| container.service != "migrate");
    bench.assert_quiet(&first);
}

#[test]
fn children_follow_the_container_whose_network_they_share() {
    let mut bench = Bench::new();
    let app = |digit, image: &str| {
        let mut side = service("app:1");
        side.networks.clear();
        side.network_mode = NetworkMode::Service(service_name("api"));
        desired(digit, &[("api", service(image)), ("side", side)])
    };
    bench.deploy(&app('1', "app:1"));
    bench.assert_quiet(&app('1', "app:1"));
    let next = app('2', "app:2");
    let plan = bench.deploy(&next);
    let change = plan
        .changes
        .iter()
        .find(|change| &*change.key.name == "side")
        .expect("side");
    assert!(matches!(change.cause, Cause::Follows(_)), "{}", text(&plan));
    bench.assert_quiet(&next);
}

#[test]
fn a_port_moves_between_services() {
    let mut bench = Bench::new();
    let with = |digit, owner: &str| {
        let one = |name: &str| {
            let mut service = service("app:1");
            if name == owner {
                service.ports = vec![port(9000, 80)];
            }
            service
        };
        desired(digit, &[("a", one("a")), ("b", one("b"))])
    };
    bench.deploy(&with('1', "b"));
    let next = with('2', "a");
    bench.deploy(&next);
    bench.assert_quiet(&next);
    // From a service that is gone.
    let mut c = service("app:1");
    c.ports = vec![port(9000, 80)];
    let gone = desired('3', &[("b", service("app:1")), ("c", c)]);
    bench.deploy(&gone);
    bench.assert_quiet(&gone);
}

#[test]
fn a_port_of_somebody_else_is_a_problem_that_names_him() {
    let mut bench = Bench::new();
    bench.engine.world.holders.push(crate::live::world::Holder {
        id: crate::live::world::ContainerId("f".repeat(64).into()),
        name: "nginx".into(),
        project: "other".into(),
        running: true,
        ports: vec![(String::new(), 8080, "tcp".into())],
    });
    let mut api = service("app:1");
    api.ports = vec![port(8080, 80)];
    let plan = bench.plan(&desired('1', &[("api", api)]));
    assert_eq!(plan.problems.len(), 1);
    assert!(
        plan.problems[0].message.contains("`nginx` of project `other`"),
        "{:?}",
        plan.problems
    );
    assert_eq!(plan.problems[0].kind, ProblemKind::Preflight);
}

#[test]
fn what_compose_made_is_taken_over_untouched_when_equal() {
    let mut bench = Bench::new();
    let desired = desired('1', &[("api", service("app:1"))]);
    bench.deploy(&desired);
    // As `docker compose up` would have left it.
    bench.inventory = Default::default();
    bench.stable = None;
    for container in &mut bench.engine.world.containers {
        container.owner = crate::live::world::Owner::Unmanaged;
        container.spec = None;
    }
    for network in bench.engine.world.networks.values_mut() {
        network.owner.owner = crate::live::world::Owner::Unmanaged;
        network.spec = None;
    }
    let plan = bench.plan(&desired);
    assert_eq!(action(&plan, "api"), Action::Adopt, "{}", text(&plan));
    assert!(plan.is_empty());
    let mut other = desired.clone();
    other
        .project
        .services
        .get_mut(&service_name("api"))
        .expect("api")
        .environment
        .insert("A".into(), Text::plain("1"));
    let plan = bench.plan(&other);
    assert_eq!(action(&plan, "api"), Action::Blocked(Blocked::NotAdopted));
    assert!(plan.is_empty());
    bench.adopt = true;
    assert!(matches!(action(&bench.plan(&other), "api"), Action::Recreate(_)));
}

#[test]
fn secrets_are_not_in_the_plans_text() {
    let mut bench = Bench::new();
    let with = |digit, value: &str| {
        let mut api = service("app:1");
        api.environment.insert("KEY".into(), Text::secret(value));
        desired(digit, &[("api", api)])
    };
    bench.deploy(&with('1', "canary-one"));
    let plan = bench.plan(&with('2', "canary-two"));
    let all = format!(
        "{}{:?}{}",
        text(&plan),
        plan,
        super::text::markdown(&[(&plan, "x")])
    );
    assert!(!all.contains("canary"), "{all}");
    assert!(
        !serde_json::to_string(&super::text::view(&plan, "x"))
            .expect("json")
            .contains("canary")
    );
    assert!(
        text(&plan).contains("environment.KEY  (secret changed)"),
        "{}",
        text(&plan)
    );
}

#[test]
fn a_field_that_the_engine_is_too_old_for_is_named() {
    let bench = Bench::with_api((1, 41));
    let mut api = service("app:1");
    api.healthcheck = Some(Healthcheck {
        start_interval: Some(1_000_000_000),
        ..Healthcheck::default()
    });
    let plan = bench.plan(&desired('1', &[("api", api)]));
    let problem = plan.problems.first().expect("a problem");
    assert_eq!(problem.kind, ProblemKind::Target);
    assert!(
        problem.message.contains("1.44") && problem.message.contains("1.41"),
        "{}",
        problem.message
    );
}

#[test]
fn the_text_reads_as_the_manual_shows_it() {
    let mut bench = bench();
    bench.deploy(&stack('1', "app:1"));
    bench.engine.by_name("web-db-1").restart = Restart {
        name: "always".into(),
        max_retries: 0,
    };
    let mut next = stack('2', "app:2");
    next.project
        .services
        .get_mut(&service_name("api"))
        .expect("api")
        .environment
        .insert("KEY".into(), Text::secret("x"));
    let mut cache = service("app:1");
    cache.replicas = 1;
    next.project.services.insert(service_name("cache"), cache);
    insta::assert_snapshot!(text(&bench.plan(&next)));
}

#[test]
fn an_interrupted_replacement_is_concluded() {
    let first = stack('1', "app:1");
    let next = stack('2', "app:2");
    let mut longest = 0;
    for stop in 0..200 {
        let mut bench = bench();
        bench.deploy(&first);
        let plan = bench.plan(&next);
        let steps: Vec<&Step> = plan
            .changes
            .iter()
            .filter(|change| change.phase == Phase::Apply)
            .flat_map(|change| &change.steps)
            .collect();
        longest = steps.len();
        if stop > longest {
            break;
        }
        for step in steps.iter().take(stop) {
            if let Step::Op(op) = step {
                bench.engine.execute(op).expect("a step");
            }
        }
        // The run is killed here; the next one plans from what is there.
        let again = bench.plan(&next);
        assert_eq!(again.problems, []);
        bench
            .walk(&again, Phase::Apply)
            .unwrap_or_else(|error| panic!("after {stop} steps: {error}\n{}", text(&again)));
        bench.record(&again);
        bench
            .walk(&again, Phase::AfterBake)
            .unwrap_or_else(|error| panic!("after {stop} steps: {error}\n{}", text(&again)));
        bench.record(&again);
        bench.settle(&next, &again);
        bench.assert_quiet(&next);
    }
    assert!(longest > 10);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn app() -> impl Strategy<Value = Vec<(u8, u8, u8, bool, Vec<usize>)>> {
        let one = (
            0..2_u8,
            1..3_u8,
            0..3_u8,
            any::<bool>(),
            proptest::collection::vec(0..6_usize, 0..3),
        );
        proptest::collection::vec(one, 1..6)
    }

    use proptest::strategy::Strategy;

    fn build(digit: char, shape: &[(u8, u8, u8, bool, Vec<usize>)]) -> crate::render::Desired {
        let names = ["a", "b", "c", "d", "e", "f"];
        let services: Vec<(&str, Service)> = shape
            .iter()
            .enumerate()
            .map(|(place, (image, replicas, memory, port_there, needs_on))| {
                let mut service = service(if *image == 0 { "app:1" } else { "app:2" });
                service.replicas = u32::from(*replicas);
                service.resources.memory = (*memory > 0).then(|| i64::from(*memory) << 26);
                if *port_there {
                    service.replicas = 1;
                    service.ports = vec![port(9000 + u16::try_from(place).unwrap_or(0), 80)];
                }
                for other in needs_on.iter().filter(|other| **other < place) {
                    service
                        .depends_on
                        .insert(service_name(names[*other]), needs(Wait::ServiceStarted));
                }
                (names[place], service)
            })
            .collect();
        desired(digit, &services)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn plan_apply_plan_is_all_keep(first in app(), second in app()) {
            let mut bench = Bench::new();
            let one = build('1', &first);
            bench.deploy(&one);
            bench.assert_quiet(&one);
            let two = build('2', &second);
            let plan = bench.deploy(&two);
            let held = plan.changes.iter().any(|change| matches!(change.action, Action::Blocked(_)));
            if !held {
                bench.assert_quiet(&two);
            }
        }

        #[test]
        fn shuffled_input_gives_the_same_text(first in app(), second in app(), seed in any::<u64>()) {
            let mut bench = Bench::new();
            bench.deploy(&build('1', &first));
            let two = build('2', &second);
            let plan = bench.plan(&two);
            let count = bench.engine.world.containers.len().max(1);
            bench.engine.world.containers.rotate_left(usize::try_from(seed % 7).unwrap_or(0) % count);
            bench.engine.world.holders.reverse();
            let again = bench.plan(&two);
            prop_assert_eq!(text(&plan), text(&again));
            prop_assert_eq!(plan.basis, again.basis);
            prop_assert_eq!(plan.changes, again.changes);
        }

        #[test]
        fn nothing_is_deleted_without_proof(first in app()) {
            let mut bench = Bench::new();
            bench.deploy(&build('1', &first));
            for container in &mut bench.engine.world.containers {
                container.owner = crate::live::world::Owner::Unmanaged;
            }
            bench.inventory = Default::default();
            bench.stable = None;
            let plan = bench.plan(&desired('2', &[]));
            let removes = plan.changes.iter().flat_map(|change| &change.steps).any(|step| matches!(step, Step::Op(Op::RemoveContainer { .. } | Op::Stop { .. })));
            prop_assert!(!removes);
        }
    }

    #[test]
    fn empty_plans_are_built() {
        let bench = Bench::new();
        let plan = bench.plan(&desired('1', &[]));
        assert_eq!(plan.images, BTreeMap::new());
    }
}
