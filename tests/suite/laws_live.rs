//! What must hold while nothing changes and when live state moves, on real engines and with the real program.

use crate::support::site::{Site, list};

/// A project with a bit of everything that a poll reads: two services, a job that ended, a volume, a second network.
const SMALL: &str = "\
services:
  web:
    image: web:1
    networks: [front, default]
    volumes: ['data:/data']
  worker:
    image: base:1
    command: ['sleep', '3600']
    stop_signal: SIGKILL
    depends_on:
      prepare: { condition: service_completed_successfully }
  prepare:
    image: base:1
    command: ['true']
networks: { front: {}, default: {} }
volumes: { data: {} }
";

on_engines! {
    /// And the reads are bounded: one list per kind, one inspect per container, one question per image reference, and what
    /// the connection itself asks. Nothing grows with the number of runs.
    fn unchanged_app_makes_no_mutating_calls(engine) {
        let site = Site::applied(engine, SMALL);
        let before = site.snapshot();
        site.assert_in_sync("right after the apply");
        site.proxy.clear();
        drop(site.apply().success().says("no changes"));
        let reads = |route: &str| site.proxy.count("GET", route);
        let calls = || site.proxy.calls().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        // Planned for the person, then looked at again by the run itself.
        for (route, each) in [("/containers/json", 1), ("/containers/[^/]+/json", 3), ("/networks", 1), ("/volumes", 1)] {
            assert!(reads(route) <= 2 * each, "{route} is read {} times:\n{}", reads(route), calls());
        }
        assert!(site.proxy.calls().len() <= 20, "{} calls:\n{}", site.proxy.calls().len(), calls());
        // A commit that does not touch the app is no reason either.
        site.repo.commit_file("README.md", "about", "unrelated");
        site.assert_in_sync("after an unrelated commit");
        assert_eq!(site.snapshot(), before);
    }
}

/// Seven services that differ only in what a person will do to them.
const HANDS: &str = "\
services:
  stopped: &one
    image: base:1
    command: ['sleep', '3600']
    stop_signal: SIGKILL
    restart: unless-stopped
    mem_limit: 64m
    networks: [front, default]
  paused: *one
  removed: *one
  renamed: *one
  detached: *one
  limited: *one
  restarted: *one
networks: { front: {}, default: {} }
";

on_engines! {
    fn stopped_container_is_drift_and_is_healed(engine) {
        let site = Site::applied(engine, HANDS);
        let services = ["stopped", "paused", "removed", "renamed", "detached", "limited", "restarted"];
        let before: Vec<String> = services.iter().map(|service| site.id(service)).collect();
        let name = |service: &str| site.container(service);
        let front = format!("{}_front", site.app);
        for command in [
            &["stop", &name("stopped")][..],
            &["pause", &name("paused")],
            &["rm", "-f", &name("removed")],
            &["rename", &name("renamed"), &format!("{}-stray", site.app)],
            &["network", "disconnect", &front, &name("detached")],
            &["update", "--memory", "32m", &name("limited")],
            &["update", "--restart", "no", &name("restarted")],
        ] {
            engine.docker_text(command);
        }
        site.proxy.clear();
        let drift = site.plan();
        site.proxy.assert_read_only();
        let mut seen: Vec<String> = list(&drift["changes"])
            .filter(|change| change["calls"] != 0)
            .flat_map(|change| {
                assert_eq!(change["cause"], "drifted", "{change:#}");
                let resource = change["resource"].as_str().unwrap_or_default().to_owned();
                let fields: Vec<String> = list(&change["fields"])
                    .map(|field| format!("{resource} {} {}", field["field"].as_str().unwrap_or_default(), field["moved"].as_str().unwrap_or_default()))
                    .collect();
                if fields.is_empty() { vec![resource] } else { fields }
            })
            .collect();
        seen.sort();
        let mut wanted = vec![
            "service/stopped state live".to_owned(),
            "service/paused state live".to_owned(),
            "service/removed state live".to_owned(),
            "service/renamed name live".to_owned(),
            format!("service/detached networks.{front} live"),
            "service/limited resources.memory live".to_owned(),
            "service/restarted restart live".to_owned(),
        ];
        wanted.sort();
        assert_eq!(seen, wanted, "{drift:#}");
        drop(site.run(&["drift"]).code(1).says("resources.memory").says(&front));
        let told = site.run(&["drift", "-o", "json"]).code(1).json();
        let told: usize = list(&told["items"]).flat_map(|item| list(&item["changes"])).map(|change| list(&change["fields"]).count()).sum();
        assert_eq!(told, seen.len());
        drop(site.apply().success().says("healed"));
        for (service, id) in services.iter().zip(&before) {
            let now = engine.inspect(&name(service));
            assert_eq!(now["State"]["Status"], "running", "{service}");
            assert_eq!(now["HostConfig"]["Memory"], 64 << 20, "{service}");
            assert_eq!(now["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped", "{service}");
            assert!(now["NetworkSettings"]["Networks"][&front].is_object(), "{service}");
            assert_eq!(now["Id"] == id.as_str(), *service != "removed", "{service}");
        }
        drop(site.run(&["drift"]).code(0));
        site.assert_in_sync("after the healing");
    }

    fn update_in_place_keeps_the_container_id(engine) {
        let limits = |memory: &str, cpus: &str, pids: u32, restart: &str, image: &str| {
            format!("services: {{ web: {{ image: 'web:{image}', mem_limit: {memory}, cpus: {cpus}, pids_limit: {pids}, restart: '{restart}' }} }}\n")
        };
        let site = Site::applied(engine, &limits("64m", "0.5", 100, "no", "1"));
        let (id, container) = (site.id("web"), site.container("web"));
        let is = |memory: u64, cpus: u64, pids: u64, restart: &str| {
            let now = engine.inspect(&container);
            let host = &now["HostConfig"];
            assert_eq!(now["Id"], id.as_str());
            assert_eq!((&host["Memory"], &host["NanoCpus"]), (&(memory << 20).into(), &(cpus * 100_000_000).into()));
            assert_eq!((&host["PidsLimit"], &host["RestartPolicy"]["Name"]), (&pids.into(), &restart.into()));
            assert_eq!(now["State"]["Status"], "running");
        };
        is(64, 5, 100, "no");
        let started = engine.inspect(&container)["State"]["StartedAt"].clone();
        site.commit(&limits("128m", "1.0", 200, "on-failure:3", "1"));
        site.proxy.clear();
        drop(site.apply().success());
        let sent: Vec<String> = site.proxy.mutating().iter().map(|call| call.route().replace(&id, "ID")).collect();
        assert_eq!(sent, ["/containers/ID/update"]);
        is(128, 10, 200, "on-failure");
        assert_eq!(engine.inspect(&container)["State"]["StartedAt"], started);
        site.assert_in_sync("after the update");
        // A failed release goes back to what was updated in place, not to what the container was made with.
        site.commit(&limits("32m", "0.3", 50, "no", "broken"));
        drop(site.apply().code(7));
        is(128, 10, 200, "on-failure");
        site.commit(&limits("64m", "0.5", 100, "no", "1"));
        drop(site.apply().success());
        is(64, 5, 100, "no");
        site.assert_in_sync("after the way back");
    }

    fn prune_is_last_and_never_volumes(engine) {
        let old = "  old: { image: 'base:1', command: ['sleep', '3600'], stop_signal: SIGKILL, networks: [side], volumes: ['data:/data'] }\nnetworks: { side: {} }\nvolumes: { data: {} }\n";
        let site = Site::applied(engine, &format!("services:\n  web: {{ image: 'web:1' }}\n{old}"));
        let id = site.id("old");
        let left = || {
            let all = site.snapshot();
            ["container /NAME-old-1", "network NAME_side", "volume NAME_data"].map(|key| all.contains_key(&key.replace("NAME", &site.app)))
        };
        assert_eq!(left(), [true; 3]);
        site.commit("services:\n  web: { image: 'web:broken' }\n");
        drop(site.apply().code(7));
        assert_eq!((left(), site.id("old")), ([true; 3], id.clone()), "nothing is deleted for a release that is not healthy");
        site.proxy.clear();
        site.commit("services:\n  web: { image: 'web:2' }\n");
        drop(site.apply().success());
        assert_eq!(left(), [false, false, true]);
        let sent: Vec<String> = site.proxy.mutating().iter().map(ToString::to_string).collect();
        let first = |what: &str| sent.iter().position(|call| call.contains(what)).unwrap_or_else(|| panic!("no {what} in {sent:#?}"));
        let deleted = first(&format!("DELETE /containers/{id}"));
        assert!(deleted > first("/start") && deleted < first("DELETE /networks/"), "{sent:#?}");
        assert!(!sent.iter().any(|call| call.contains("/volumes")), "{sent:#?}");
        // What no project says any more is not asked for again.
        site.assert_in_sync("after the prune");
    }

    fn the_delete_budget_holds_deletions_back(engine) {
        let sleeper = "{ image: 'base:1', command: ['sleep', '3600'], stop_signal: SIGKILL }";
        let many: String = (1..=7).map(|number| format!("  s{number}: {sleeper}\n")).collect();
        let site = Site::applied(engine, &format!("services:\n{many}"));
        let before = site.snapshot();
        site.commit(&format!("services:\n  s1: {sleeper}\n"));
        drop(site.run(&["plan"]).success().says("6 blocked"));
        site.proxy.clear();
        drop(site.apply());
        site.proxy.assert_read_only();
        assert_eq!(site.snapshot(), before);
        // Five at once are within it.
        site.commit(&format!("services:\n  s1: {sleeper}\n  s2: {sleeper}\n"));
        drop(site.apply().success());
        assert_eq!(site.snapshot().keys().filter(|key| key.starts_with("container")).count(), 2);
    }

    fn emptied_repository_deletes_nothing(engine) {
        let site = Site::applied(engine, SMALL);
        let (before, good) = (site.snapshot(), site.repo.head());
        let nothing_happens = |what: &str, arguments: &[&str], code: i32, says: &str| {
            for verb in [&["plan"][..], &["apply", "--yes"]] {
                site.proxy.clear();
                let said = site.run(&[verb, arguments].concat()).code(code);
                assert!((said.stdout.clone() + &said.stderr).contains(says), "{what}: {says:?} is not said\n{said}");
                site.proxy.assert_read_only();
            }
            assert_eq!(site.snapshot(), before, "{what}");
        };
        site.repo.write("app/compose.yaml", "");
        site.repo.commit("an empty file");
        nothing_happens("an empty file", &[], 3, "E0240");
        site.repo.write("app/compose.yaml", "services: {}\n");
        site.repo.commit("no services");
        nothing_happens("no services", &[], 3, "E0240");
        site.repo.remove("app");
        site.repo.commit("the app's folder removed");
        nothing_happens("the app's folder removed", &[], 3, "E0252");
        site.repo.remove("driftless.yaml");
        site.repo.commit_file("README.md", "empty", "all removed");
        nothing_happens("all removed", &[], 0, "no app is declared here");
        nothing_happens("all removed", &[], 0, &format!("`{}` is gone from Git and was left as it is", site.app));
        site.repo.git(&["checkout", "--quiet", "--orphan", "other"]).stdout.clear();
        site.repo.commit("unrelated");
        drop(site.repo.git(&["branch", "-D", "main"]));
        nothing_happens("the branch deleted", &["--ref", "main"], 4, "E040");
        drop(site.repo.git(&["update-ref", "-d", "refs/heads/other"]));
        nothing_happens("no commit at all", &[], 4, "E0405");
        drop(site.repo.git(&["checkout", "--quiet", "--force", &good]));
        site.assert_in_sync("when all is back");
        assert_eq!(site.snapshot(), before);
    }

    fn docker_compose_ps_sees_our_containers(engine) {
        let site = Site::applied(engine, SMALL);
        let ps = site.compose(&["ps", "-a", "--format", "{{.Service}} {{.State}}"]).success();
        let mut seen: Vec<&str> = ps.stdout.lines().collect();
        seen.sort_unstable();
        assert_eq!(seen, ["prepare exited", "web running", "worker running"]);
        drop(site.compose(&["logs", "--no-color", "web"]).success().says("web 1 starting"));
        drop(site.compose(&["exec", "-T", "web", "/bin/web", "probe"]).success());
        drop(engine.docker(&["compose", "ls"]).success().says(&site.app));
        // And it can stop and start them; that is drift like any other.
        drop(site.compose(&["stop", "web"]).success());
        drop(site.run(&["plan"]).success().says("exited (0) -> running"));
        drop(site.apply().success());
        drop(site.compose(&["ps", "--format", "{{.Service}}"]).success().says("web"));
    }

    fn equal_running_compose_project_is_adopted_untouched(engine) {
        let site = Site::new(engine, PERSONS);
        drop(site.compose(&["up", "-d", "--pull", "never"]).success());
        let before = site.snapshot();
        site.proxy.clear();
        drop(site.apply().success());
        site.proxy.assert_read_only();
        assert_eq!(site.snapshot(), before);
        site.assert_in_sync("after the adoption");
        // From now on it is ours: healed, and changed.
        engine.docker_text(&["stop", &site.container("worker")]);
        let id = site.id("worker");
        drop(site.apply().success());
        assert_eq!((engine.inspect(&id)["State"]["Running"].clone(), site.id("worker")), (true.into(), id));
        site.change("web:1", "web:2");
        drop(site.apply().success());
        assert_eq!(engine.inspect(&site.container("web"))["Config"]["Image"], engine.inspect("web:2")["Id"]);
        site.assert_in_sync("after a change of what was adopted");
    }

    fn different_one_is_blocked_until_adopt(engine) {
        let site = Site::new(engine, PERSONS);
        drop(site.compose(&["up", "-d", "--pull", "never"]).success());
        let before = site.snapshot();
        site.change("COLOUR: red", "COLOUR: blue");
        for verb in [&["plan"][..], &["apply", "--yes"]] {
            site.proxy.clear();
            let said = site.run(verb);
            assert_eq!(said.status, Some(if verb[0] == "plan" { 0 } else { 9 }), "{said}");
            assert!(said.stdout.contains("--adopt") && said.stdout.contains("web"), "{said}");
            site.proxy.assert_read_only();
        }
        assert_eq!(site.snapshot(), before);
        drop(site.run(&["plan", "--adopt"]).success().says("environment.COLOUR"));
        let worker = site.id("worker");
        drop(site.run(&["apply", "--yes", "--adopt"]).success());
        assert!(engine.inspect(&site.container("web"))["Config"]["Env"].to_string().contains("COLOUR=blue"));
        assert_eq!(site.id("worker"), worker, "what is equal stays untouched");
        site.assert_in_sync("after the adoption");
    }
}

/// What a person started with `docker compose up`.
const PERSONS: &str = "\
services:
  web:
    image: web:1
    environment: { COLOUR: red, EMPTY: '' }
    ports: ['127.0.0.1::8080']
    restart: unless-stopped
    mem_limit: 64m
    networks: { front: { aliases: [site] }, default: {} }
    volumes: ['data:/data', '/scratch']
    healthcheck: { test: ['CMD', '/bin/web', 'probe'], interval: 300ms, retries: 5 }
    labels: { team: infra }
    logging: { driver: json-file, options: { max-size: 1m } }
    ulimits: { nofile: { soft: 1000, hard: 2000 } }
    stop_grace_period: 3s
  worker:
    image: base:1
    command: sh -c 'sleep 3600'
    stop_signal: SIGKILL
    read_only: true
    tmpfs: ['/tmp:size=1m']
    cap_drop: [ALL]
    depends_on: { web: { condition: service_healthy } }
networks: { front: { labels: { a: b } }, default: {} }
volumes: { data: { labels: { c: d } } }
";
