use super::*;
use crate::names::AppName;
use crate::render::app::{AppKind, Rules};
use crate::render::model::{Condition, MountSource, NetworkMode, Service};

fn app() -> App {
    App {
        name: AppName::try_from("web").unwrap(),
        path: "apps/web".to_owned(),
        kind: AppKind::Compose {
            file: "apps/web/compose.yaml".to_owned(),
        },
        target: None,
        after: Vec::new(),
        profiles: Vec::new(),
        rules: Rules::default(),
        declared: None,
    }
}

fn load_with(files: &[(&str, &str)], inputs: &Inputs) -> Result<Loaded, Diagnostics> {
    load(
        &Checkout::in_memory(files.iter().copied()),
        &app(),
        "apps/web/compose.yaml",
        inputs,
    )
}

fn load_text(text: &str) -> Result<Loaded, Diagnostics> {
    load_with(&[("apps/web/compose.yaml", text)], &Inputs::default())
}

/// The service `web` of a file that is only this service's keys.
fn web(keys: &str) -> Service {
    let text = format!("services:\n  web:\n    image: nginx\n{}", indent(keys));
    let loaded = load_text(&text).unwrap_or_else(|found| panic!("{found}"));
    loaded.project.services.into_values().next().unwrap()
}

fn indent(keys: &str) -> String {
    keys.lines().map(|line| format!("    {line}\n")).collect()
}

/// `code: message` of every error.
fn errors(text: &str) -> Vec<String> {
    match load_text(text) {
        Ok(_) => Vec::new(),
        Err(found) => found
            .iter()
            .filter(|one| one.severity == document::Severity::Error)
            .map(|one| format!("{}: {}", one.code, one))
            .collect(),
    }
}

fn error(text: &str) -> String {
    let all = errors(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.into_iter().next().unwrap()
}

fn service_error(keys: &str) -> String {
    error(&format!("services:\n  web:\n    image: nginx\n{}", indent(keys)))
}

fn inputs(variables: &[(&str, &str)]) -> Inputs {
    let variables = variables
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    Inputs {
        variables,
        ..Inputs::default()
    }
}

#[test]
fn every_key_of_the_spec_has_a_fate() {
    // The property lists of compose-spec.json as of compose-go 2.9.1.
    #[rustfmt::skip]
    let spec: &[(&str, &str)] = &[
        ("top level", "version name include services models networks volumes secrets configs"),
        ("service", "annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset credential_spec depends_on deploy develop device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint env_file environment expose extends external_links extra_hosts gpus group_add healthcheck hostname image init ipc isolation label_file labels links logging mac_address mem_limit mem_reservation mem_swappiness memswap_limit models network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform ports post_start pre_start pre_stop privileged profiles provider pull_policy pull_refresh_after read_only restart runtime scale secrets security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode uts volumes volumes_from working_dir"),
        ("deploy", "endpoint_mode labels mode placement replicas resources restart_policy rollback_config update_config"),
        ("healthcheck", "disable interval retries start_interval start_period test timeout"),
        ("network", "attachable driver driver_opts enable_ipv4 enable_ipv6 external internal ipam labels name"),
        ("volume", "driver driver_opts external labels name"),
        ("secret", "driver driver_opts environment external file labels name template_driver"),
        ("config", "content environment external file labels name template_driver"),
        ("blkio_config", "device_read_bps device_read_iops device_write_bps device_write_iops weight weight_device"),
        ("networks (of a service)", "aliases interface_name ipv4_address ipv6_address link_local_ips mac_address driver_opts priority gw_priority"),
        ("ports", "name mode host_ip target published protocol app_protocol"),
        ("volumes (of a service)", "type source target read_only consistency bind volume tmpfs image"),
    ];
    for (name, keys) in spec {
        let (_, table) = keys::TABLES.iter().find(|(table, _)| table == name).unwrap();
        for key in keys.split(' ') {
            assert_eq!(
                table.iter().filter(|(known, _)| *known == key).count(),
                1,
                "`{key}` of {name}"
            );
        }
        assert_eq!(
            table.len(),
            keys.split(' ').count(),
            "{name} has a key that the spec does not have"
        );
    }
}

#[test]
fn a_typical_stack_is_read_whole() {
    let loaded = load_text(
        "
services:
  web:
    image: nginx:1.27
    command: nginx -g 'daemon off;'
    environment: { MODE: prod, DEBUG: false, PORT: 80, EMPTY: }
    ports: ['8080:80', { target: 443, published: '8443' }]
    volumes: ['data:/data', '/srv/x:/x:ro', './state:/state']
    networks: { front: { aliases: [www] } }
    depends_on: { db: { condition: service_healthy, restart: true } }
    healthcheck: { test: curl -f http://localhost, interval: 10s, retries: 3 }
    restart: unless-stopped
    deploy: { replicas: 1, resources: { limits: { cpus: '0.5', memory: 128M } } }
  db:
    image: postgres
    environment: [POSTGRES_PASSWORD=x, A=b=c]
volumes: { data: {} }
networks: { front: { driver: bridge } }
",
    )
    .unwrap_or_else(|found| panic!("{found}"));
    let project = &loaded.project;
    assert_eq!(project.name.as_str(), "web");
    let web = &project.services[&ServiceName::try_from("web").unwrap()];
    let command: Vec<&str> = web
        .command
        .as_ref()
        .unwrap()
        .iter()
        .map(|part| part.value.as_str())
        .collect();
    assert_eq!(command, ["nginx", "-g", "daemon off;"]);
    let environment: Vec<(&str, &str)> = web
        .environment
        .iter()
        .map(|(key, text)| (key.as_str(), text.value.as_str()))
        .collect();
    assert_eq!(
        environment,
        [("DEBUG", "false"), ("MODE", "prod"), ("PORT", "80")]
    );
    assert_eq!(loaded.warnings.len(), 1, "EMPTY is passed through, but not set");
    let ports: Vec<String> = web.ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["8080:80/tcp", "8443:443/tcp"]);
    assert_eq!(
        web.volumes["/data"].source,
        MountSource::Volume("data".to_owned())
    );
    assert_eq!(web.volumes["/x"].source, MountSource::Host("/srv/x".to_owned()));
    assert!(web.volumes["/x"].read_only);
    assert_eq!(
        web.volumes["/state"].source,
        MountSource::Data("state".to_owned())
    );
    assert_eq!(web.networks["front"].aliases, ["www"]);
    let (_, dependency) = web.depends_on.iter().next().unwrap();
    assert_eq!(
        (dependency.condition, dependency.restart),
        (Condition::ServiceHealthy, true)
    );
    let check = web.healthcheck.as_ref().unwrap();
    assert_eq!(check.test, ["CMD-SHELL", "curl -f http://localhost"]);
    assert_eq!((check.interval, check.retries), (Some(10_000_000_000), Some(3)));
    assert_eq!(web.resources.nano_cpus, Some(500_000_000));
    assert_eq!(web.resources.memory, Some(128 << 20));
    let db = &project.services[&ServiceName::try_from("db").unwrap()];
    assert!(db.environment["POSTGRES_PASSWORD"].secret);
    assert_eq!(db.environment["A"].value, "b=c");
    assert!(db.networks.contains_key("default"));
    assert_eq!(project.networks["default"].name, "web_default");
    assert_eq!(project.networks["front"].name, "web_front");
    assert_eq!(project.volumes["data"].name, "web_data");
    let place = loaded.places.find("services.web.environment.MODE").unwrap();
    assert_eq!((place.line, &*place.file), (6, "apps/web/compose.yaml"));
    assert_eq!(loaded.places.find("services.db.environment.A").unwrap().line, 16);
    assert_eq!(
        loaded.places.find("services.web.resources.memory").unwrap().line,
        13
    );
    assert_eq!(
        loaded.places.find("services.web.ports.8080:80/tcp").unwrap().line,
        7
    );
    assert_eq!(loaded.places.find("services.web.nothing.there").unwrap().line, 3);
}

#[test]
fn network_modes_and_implied_dependencies() {
    assert_eq!(web("network_mode: host").network_mode, NetworkMode::Host);
    assert!(web("network_mode: none").networks.is_empty());
    let text = "services: {a: {image: x, network_mode: 'service:b'}, b: {image: x}}";
    let loaded = load_text(text).unwrap_or_else(|found| panic!("{found}"));
    let a = &loaded.project.services[&ServiceName::try_from("a").unwrap()];
    assert!(a.depends_on.keys().any(|name| name.as_str() == "b"));
}

#[test]
fn bad_input_is_an_error_with_code_and_place() {
    for (keys, code, message) in [
        (
            "restrat: always",
            "E0207",
            "unknown field `restrat` in service `web`",
        ),
        ("restart: allways", "E0203", "cannot be `allways`"),
        ("restart: always:3", "E0203", "cannot be"),
        ("ports: [80, 'x:80']", "E0204", "`x` is not a port"),
        ("ports: 80", "E0201", "must be a list"),
        ("ports: ['70000:80']", "E0204", "not a port"),
        ("environment: 5", "E0201", "must be a mapping or a list"),
        ("environment: { A: [1] }", "E0201", "must be text"),
        ("command: { a: b }", "E0201", "must be text or a list"),
        ("command: \"it's\"", "E0204", "quote"),
        ("healthcheck: { interval: 10 }", "E0204", "duration"),
        ("healthcheck: { test: [curl, x] }", "E0203", "CMD"),
        ("healthcheck: { retries: some }", "E0201", "whole number"),
        ("healthcheck: { intervall: 1s }", "E0207", "intervall"),
        ("mem_limit: much", "E0204", "size"),
        ("shm_size: 5q", "E0204", "size"),
        ("cpus: many", "E0204", "number of CPUs"),
        ("stop_grace_period: soon", "E0204", "duration"),
        (
            "volumes: ['data:/data']",
            "E0222",
            "volume `data`, which is not declared",
        ),
        ("volumes: ['/a:/b', '/c:/b/']", "E0225", "two things at `/b`"),
        ("volumes: ['/a:b']", "E0204", "absolute path"),
        ("volumes: ['/a:/b:rx']", "E0204", "options"),
        ("volumes: ['../../../x:/b']", "E0230", "outside the repository"),
        ("volumes: ['../other:/b']", "E0230", "outside the app's folder"),
        ("volumes: ['~/x:/b']", "E0231", "depends on who runs it"),
        (
            "volumes: [{ type: image, source: x, target: /x }]",
            "E0205",
            "not supported",
        ),
        ("networks: [front]", "E0222", "network `front`"),
        ("configs: [app]", "E0222", "config `app`"),
        ("secrets: [pw]", "E0222", "secret `pw`"),
        ("network_mode: front", "E0203", "network_mode"),
        ("network_mode: host\nnetworks: [default]", "E0225", "both"),
        ("network_mode: service:db", "E0220", "depends on `db`"),
        ("depends_on: [db]", "E0220", "depends on `db`"),
        (
            "depends_on: { db: { condition: healthy, required: false } }",
            "E0203",
            "cannot be `healthy`",
        ),
        ("container_name: x y", "E0204", "container_name"),
        ("container_name: only\nscale: 2", "E0225", "one name"),
        ("ports: ['80:80']\nscale: 2", "E0224", "2 replicas"),
        ("scale: 2\ndeploy: { replicas: 3 }", "E0225", "different numbers"),
        (
            "mem_limit: 1g\ndeploy: { resources: { limits: { memory: 2g } } }",
            "E0225",
            "different values",
        ),
        ("deploy: { replica: 3 }", "E0207", "unknown field `replica`"),
        ("deploy: { mode: global }", "E0205", "global"),
        (
            "deploy: { resources: { limits: { memory: lots } } }",
            "E0204",
            "size",
        ),
        ("extends: { service: x }", "E0205", "extends"),
        ("pre_start: [{ command: x }]", "E0205", "pre_start"),
        (
            "blkio_config: { device_read_bps: [] }",
            "E0205",
            "device_read_bps",
        ),
        ("pull_policy: build", "E0206", "build"),
        ("pull_policy: sometimes", "E0203", "sometimes"),
        ("security_opt: ['seccomp:./x.json']", "E0205", "seccomp"),
        ("env_file: prod.env", "E0213", "does not exist in the commit"),
        ("env_file: ../../../x.env", "E0230", "outside the repository"),
        (
            "environment: { A: '${NOPE}' }",
            "E0210",
            "variable `NOPE` is not defined",
        ),
        ("environment: { A: '${NOPE:?say it}' }", "E0211", "say it"),
        ("environment: { A: '${NOPE' }", "E0212", "not closed"),
        ("user: !reset null", "E0205", "!reset"),
        ("x-driftless: { jobs: true }", "E0207", "unknown field `jobs`"),
        ("x-driftless: { probes: {} }", "E0205", "probes"),
        ("ulimits: { nofile: { soft: 1 } }", "E0202", "hard"),
        ("devices: ['a:b:c:d']", "E0204", "device"),
        ("extra_hosts: [here]", "E0204", "host=address"),
        ("profiles: prod", "E0201", "must be a list"),
    ] {
        let shown = service_error(keys);
        assert!(
            shown.starts_with(code) && shown.contains(message),
            "{keys}\n{shown}"
        );
        assert!(shown.contains("apps/web/compose.yaml:"), "{keys}\n{shown}");
    }
}

#[test]
fn bad_files_are_errors() {
    for (text, code, message) in [
        ("", "E0240", "empty"),
        ("services:", "E0240", "no `services`"),
        ("services: {}", "E0240", "empty"),
        ("services: [a]", "E0201", "mapping"),
        ("[a]", "E0201", "mapping"),
        (
            "servces: {a: {image: x}}\nservices: {a: {image: x}}",
            "E0207",
            "unknown field `servces`",
        ),
        (
            "include: [x.yaml]\nservices: {a: {image: x}}",
            "E0205",
            "`include`",
        ),
        ("services: {a: {}}", "E0202", "needs `image`"),
        ("services: {a: {build: .}}", "E0206", "built from source"),
        ("services: {a: {image: Nginx/X}}", "E0208", "lower case"),
        ("services: {a b: {image: x}}", "E0215", "service name"),
        ("name: Big\nservices: {a: {image: x}}", "E0215", "project name"),
        (
            "services: {a: {image: x}}\n---\nservices: {b: {image: x}}",
            "E0205",
            "second document",
        ),
        (
            "services: {a: {image: x, networks: [n]}}\nnetworks: {n: {external: true, driver: x}}",
            "E0225",
            "external",
        ),
        (
            "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {external: true}}",
            "E0205",
            "external",
        ),
        (
            "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {}}",
            "E0202",
            "exactly one of",
        ),
        (
            "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {file: ./pw}}",
            "E0232",
            "not in the commit",
        ),
        (
            "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {file: /etc/pw}}",
            "E0241",
            "one machine",
        ),
        (
            "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {environment: PW}}",
            "E0241",
            "not set",
        ),
        (
            "services: {a: {image: x, ports: ['80:80']}, b: {image: x, ports: ['127.0.0.1:80:8080']}}",
            "E0224",
            "both publish",
        ),
        (
            "services: {a: {image: x, container_name: nn}, b: {image: x, container_name: nn}}",
            "E0225",
            "same `container_name`",
        ),
        (
            "services: {a: {image: x, depends_on: {b: {condition: service_healthy}}}, b: {image: x, healthcheck: {disable: true}}}",
            "E0223",
            "switched off",
        ),
        (
            "services: {web: {image: x}, a: {image: x, depends_on: [wep]}}",
            "E0220",
            "wep",
        ),
    ] {
        let shown = error(text);
        assert!(
            shown.starts_with(code) && shown.contains(message),
            "{text}\n{shown}"
        );
    }
}

#[test]
fn a_circle_is_shown_whole() {
    let text = "services: {a: {image: x, depends_on: [b]}, b: {image: x, links: [c]}, c: {image: x, depends_on: [a]}}";
    assert!(error(text).contains("a -> b -> c -> a"));
}

#[test]
fn all_errors_of_a_file_are_found_at_once() {
    let text = "services: {a: {image: x, restat: no, ports: [x], mem_limit: y, environment: {A: $B, C: $B}}, b: {image: UP}}";
    assert_eq!(errors(text).len(), 5, "{:#?}", errors(text));
}

#[test]
fn an_undefined_variable_names_the_ways_out() {
    let loaded = load_with(
        &[("apps/web/compose.yaml", "services: {a: {image: 'x:${TAG}'}}")],
        &Inputs {
            untracked_env: true,
            ..Inputs::default()
        },
    );
    let found = loaded.unwrap_err();
    let help = found.iter().next().unwrap().help.clone().unwrap();
    for part in ["vars/web.env", "--env-file", "${TAG-}", "`.env` lies beside"] {
        assert!(help.contains(part), "{help}");
    }
}

#[test]
fn what_is_not_used_may_hold_anything() {
    let text = "
x-base: &base { image: 'x:${TAG-1}', environment: { A: '${NOPE}' } }
services:
  a: { image: x }
  b: { image: '${NOPE}', profiles: [debug] }
";
    let loaded = load_text(text).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(loaded.project.disabled.len(), 1);
}

#[test]
fn profiles_are_enabled_by_the_app_and_by_compose_profiles() {
    let text = "services: {a: {image: x}, b: {image: x, profiles: [p]}, c: {image: x, profiles: [q]}}";
    let names = |profiles: &[&str], inputs: &Inputs| {
        let app = App {
            profiles: profiles.iter().map(ToString::to_string).collect(),
            ..app()
        };
        let checkout = Checkout::in_memory([("apps/web/compose.yaml", text)]);
        let loaded = load(&checkout, &app, "apps/web/compose.yaml", inputs).unwrap();
        loaded
            .project
            .services
            .keys()
            .map(ToString::to_string)
            .collect::<String>()
    };
    assert_eq!(names(&[], &Inputs::default()), "a");
    assert_eq!(names(&["p"], &Inputs::default()), "ab");
    assert_eq!(names(&["*"], &Inputs::default()), "abc");
    assert_eq!(names(&[], &inputs(&[("COMPOSE_PROFILES", "q")])), "ac");
}

#[test]
fn a_dependency_on_a_disabled_service_is_satisfied() {
    let text = "services: {a: {image: x, depends_on: [b]}, b: {image: x, profiles: [p]}}";
    let loaded = load_text(text).unwrap();
    assert!(
        loaded
            .project
            .services
            .values()
            .all(|service| service.depends_on.is_empty())
    );
    assert_eq!(loaded.warnings.len(), 1);
}

#[test]
fn the_target_of_completed_successfully_is_a_job() {
    let text = "services: {a: {image: x, depends_on: {m: {condition: service_completed_successfully}}}, m: {image: x}, j: {image: x, x-driftless: {job: true}}}";
    let loaded = load_text(text).unwrap();
    let jobs: String = loaded
        .project
        .services
        .iter()
        .filter(|(_, s)| s.job)
        .map(|(name, _)| name.to_string())
        .collect();
    assert_eq!(jobs, "jm");
}

#[test]
fn what_comes_from_outside_the_commit_is_secret_and_what_is_in_it_is_not() {
    let files = [
        (
            "apps/web/compose.yaml",
            "services: {a: {image: 'x:$TAG', hostname: $HOST, command: 'run $PW2 $IN', environment: {A: $PW2, B: $IN, C: plain, D_TOKEN: t0k3n, E: }, env_file: [in.env, out.env]}}",
        ),
        ("apps/web/.env", "IN=inside\nTAG=1\nPW2=loses\n"),
        ("apps/web/in.env", "F=1\nG=$PW2\nH_PASSWORD=pw-in-git\n"),
    ];
    let mut given = inputs(&[
        ("PW2", "outside-value"),
        ("HOST", "secret-host"),
        ("E", "passed-on"),
    ]);
    given
        .env_files
        .insert("out.env".to_owned(), "Z=from-out\n".to_owned());
    let loaded = load_with(&files, &given).unwrap_or_else(|found| panic!("{found}"));
    let service = loaded.project.services.values().next().unwrap();
    let secret: String = service
        .environment
        .iter()
        .filter(|(_, text)| text.secret)
        .map(|(key, _)| &key[..1])
        .collect();
    assert_eq!(secret, "ADEGHZ");
    assert_eq!(
        service.environment["A"].value, "outside-value",
        "the operator's value wins over `.env`"
    );
    assert!(!service.image.secret);
    assert_eq!(
        service
            .command
            .as_ref()
            .unwrap()
            .iter()
            .filter(|part| part.secret)
            .count(),
        2,
        "`run` stands in the file"
    );
    for value in [
        "outside-value",
        "secret-host",
        "passed-on",
        "from-out",
        "pw-in-git",
        "t0k3n",
    ] {
        assert!(!loaded.mask.clean(value).contains(value), "{value}");
        assert!(!format!("{loaded:?}").contains(value) || value == "secret-host");
    }
    assert_eq!(loaded.mask.clean("run plain"), "run plain");
    let shown = compose_yaml(&loaded.project);
    for value in ["outside-value", "passed-on", "from-out", "pw-in-git", "t0k3n"] {
        assert!(!shown.contains(value), "{value}\n{shown}");
    }
}

#[test]
fn no_error_shows_a_value_from_outside() {
    let files = [(
        "apps/web/compose.yaml",
        "services: {a: {image: '$IMG', ports: ['$PORT:80'], restart: $R, mem_limit: $M, network_mode: $N, healthcheck: {interval: $M}}}",
    )];
    let canary = "CANARY-value-9";
    let given = inputs(&[
        ("IMG", canary),
        ("PORT", canary),
        ("R", canary),
        ("M", canary),
        ("N", canary),
    ]);
    let found = load_with(&files, &given).unwrap_err();
    assert!(found.len() >= 6);
    let shown = format!("{found:?}\n{}", found.render(false, 100));
    assert!(!shown.contains(canary), "{shown}");
}

#[test]
fn a_tracked_bind_is_content_and_an_untracked_one_is_data() {
    let files = [
        (
            "apps/web/compose.yaml",
            "services: {a: {image: x, volumes: ['./nginx.conf:/etc/nginx.conf', './conf:/conf:ro', './data:/data', './kept:/kept', '../shared/x.txt:/x:ro']}}",
        ),
        ("apps/web/nginx.conf", "server {}"),
        ("apps/web/conf/a/b.conf", "b"),
        ("apps/web/conf/c.conf", "c"),
        ("apps/web/kept/.gitkeep", ""),
        ("apps/shared/x.txt", "x"),
    ];
    let loaded = load_with(&files, &Inputs::default()).unwrap_or_else(|found| panic!("{found}"));
    let service = loaded.project.services.values().next().unwrap();
    let tree = |place: &str| match &service.volumes[place].source {
        MountSource::Tracked(hash) => &loaded.project.trees[hash],
        other => panic!("{other:?}"),
    };
    assert!(tree("/etc/nginx.conf").single && service.volumes["/etc/nginx.conf"].read_only);
    assert_eq!(
        tree("/conf").files.keys().collect::<Vec<_>>(),
        ["a/b.conf", "c.conf"]
    );
    assert!(tree("/x").single);
    assert_eq!(
        service.volumes["/data"].source,
        MountSource::Data("data".to_owned())
    );
    assert_eq!(
        service.volumes["/kept"].source,
        MountSource::Data("kept".to_owned())
    );
    assert_eq!(
        loaded.warnings.len(),
        1,
        "only the bind without `:ro` is remarked on"
    );
}

#[test]
fn bound_content_has_a_cap() {
    let big = "x".repeat(6 << 20);
    let other = "y".repeat(6 << 20);
    let text = "services: {a: {image: x, volumes: ['./a:/a:ro', './b:/b:ro']}}";
    let files = [
        ("apps/web/compose.yaml", text),
        ("apps/web/a", big.as_str()),
        ("apps/web/b", other.as_str()),
    ];
    let found = load_with(&files, &Inputs::default()).unwrap_err();
    assert_eq!(
        found.iter().next().map(|one| one.code),
        Some(Code::TREE_TOO_LARGE)
    );
}

#[test]
fn configs_and_secrets_have_content_places_and_modes() {
    let text = "
services:
  a:
    image: x
    configs: [app, { source: text, target: /etc/t, mode: 0440, uid: '1000' }]
    secrets: [pw, { source: given, target: g }, { source: env, target: /e, mode: '0400' }]
configs: { app: { file: ./app.conf }, text: { content: 'v=$$x $V' } }
secrets: { pw: { file: ./pw.txt }, given: { file: ./given.txt }, env: { environment: PW }, unused: { file: ./nope } }
";
    let files = [
        ("apps/web/compose.yaml", text),
        ("apps/web/app.conf", "conf"),
        ("apps/web/pw.txt", "in-git"),
        ("apps/web/.env", "V=1"),
    ];
    let mut given = inputs(&[("PW", "env-value")]);
    given
        .secret_files
        .insert("given".to_owned(), b"from-operator".to_vec());
    let loaded = load_with(&files, &given).unwrap_or_else(|found| panic!("{found}"));
    let project = &loaded.project;
    let service = project.services.values().next().unwrap();
    assert_eq!(service.configs.keys().collect::<Vec<_>>(), ["/app", "/etc/t"]);
    assert_eq!(
        (service.configs["/etc/t"].mode, service.configs["/etc/t"].uid),
        (Some(0o440), Some(1000))
    );
    assert_eq!(
        service.secrets.keys().collect::<Vec<_>>(),
        ["/e", "/run/secrets/g", "/run/secrets/pw"]
    );
    assert_eq!(service.secrets["/e"].mode, Some(0o400));
    assert_eq!(project.configs["text"].bytes, b"v=$x 1");
    assert!(!project.configs["app"].secret && project.secrets["pw"].secret);
    assert_eq!(project.secrets["given"].bytes, b"from-operator");
    assert_eq!(project.secrets["env"].bytes, b"env-value");
    assert!(!project.secrets.contains_key("unused"));
    assert!(!compose_yaml(project).contains("from-operator"));
}

#[test]
fn override_files_are_refused_unless_one_file_is_named() {
    let files = [
        ("apps/web/compose.yaml", "services: {a: {image: x}}"),
        ("apps/web/compose.override.yaml", "{}"),
    ];
    assert!(
        load_with(&files, &Inputs::default())
            .is_err_and(|found| found.iter().next().map(|one| one.code) == Some(Code::OVERRIDE_FILE))
    );
    let place = crate::document::Place {
        file: "driftless.yaml".into(),
        line: 1,
        column: 1,
    };
    let named = App {
        path: "apps/web/compose.yaml".to_owned(),
        declared: Some(place),
        ..app()
    };
    assert!(
        load(
            &Checkout::in_memory(files),
            &named,
            "apps/web/compose.yaml",
            &Inputs::default()
        )
        .is_ok()
    );
}

#[test]
fn variables_that_steer_compose_are_not_dropped_in_silence() {
    let file = ("apps/web/compose.yaml", "services: {a: {image: x}}");
    let named = load_with(
        &[file, ("apps/web/.env", "COMPOSE_PROJECT_NAME=other")],
        &Inputs::default(),
    )
    .unwrap();
    assert_eq!((named.project.name.as_str(), named.warnings.len()), ("web", 1));
    let files = load_with(
        &[file, ("apps/web/.env", "COMPOSE_FILE=compose.yaml:prod.yaml")],
        &Inputs::default(),
    );
    assert_eq!(
        files.unwrap_err().iter().next().map(|one| one.code),
        Some(Code::OVERRIDE_FILE)
    );
}

#[test]
fn build_beside_an_image_is_a_warning() {
    let loaded = load_text("services: {a: {image: x, build: .}}").unwrap();
    assert_eq!(loaded.warnings.len(), 1);
}

#[test]
fn anchors_and_merge_keys_are_honoured() {
    let text = "
x-log: &log { logging: { driver: local, options: { max-size: 10m } }, restart: always }
services:
  a: { <<: *log, image: x }
  b: { <<: *log, image: x, restart: 'no' }
";
    let loaded = load_text(text).unwrap_or_else(|found| panic!("{found}"));
    let restarts: Vec<String> = loaded
        .project
        .services
        .values()
        .map(|service| service.restart.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(restarts, ["always", "no"]);
}

#[test]
fn the_printed_project_reads_as_the_same_project() {
    let text = "
services:
  a:
    image: nginx:1
    command: [sh, -c, 'echo $$HOME \"yes\"']
    environment: { A: 'on', B: '1_000', C: '$$x' }
    ports: ['127.0.0.1:8080-8081:80/udp', '3000-3005:90', '[::1]::7']
    volumes: ['d:/d:ro', { type: tmpfs, target: /t, tmpfs: { size: 1m } }, '/h:/h:z']
    healthcheck: { test: [CMD, x], interval: 1m30s }
    deploy: { replicas: 2, resources: { limits: { cpus: 0.25, memory: 64m, pids: 5 } }, update_config: { order: start-first } }
    ulimits: { nofile: 5 }
    tmpfs: /run:size=1m
    extra_hosts: ['h=1.2.3.4', 'v6=::1']
    devices: ['/dev/null:/dev/x:r']
    gpus: all
    logging: { driver: local }
    x-driftless: { job: true, state: paused }
volumes: { d: }
";
    let first = load_text(text).unwrap_or_else(|found| panic!("{found}")).project;
    let printed = compose_yaml(&first);
    let second = load_text(&printed)
        .unwrap_or_else(|found| panic!("{found}\n{printed}"))
        .project;
    assert_eq!(first, second, "{printed}");
}

mod digests {
    use super::*;
    use crate::names::Digest;
    use crate::render::app::HealthRules;
    use crate::render::digest::content;

    fn digest(text: &str) -> Digest {
        content(
            &load_text(text).unwrap_or_else(|found| panic!("{found}")).project,
            &Rules::default(),
        )
    }

    const BASE: &str = "services: {a: {image: 'nginx:1', environment: {A: b, C: d}, ports: ['80:80'], healthcheck: {test: x, interval: 60s}}}";

    /// A published digest never changes within its version: a change here is a new version (`v2`), never a new number.
    #[test]
    fn the_digest_of_a_project_is_fixed() {
        assert_eq!(
            digest(BASE).as_str(),
            "v1:5cfcd56a0a988394ca4bc9b16b7ac2c95e8ad8cb5e4dd4d44cdd31ba772f3a81"
        );
    }

    #[test]
    fn spelling_does_not_count() {
        let other = "
# a comment
version: '3.9'
x-frag: &env { C: d }
services:
  a:
    ports: [{ target: 80, published: 80, protocol: tcp, name: www }]
    environment: [A=b, C=d]
    healthcheck: { interval: 1m, test: [CMD-SHELL, x] }
    image: nginx:${TAG:-1}
  off: { image: x, profiles: [never] }
volumes: { unused: }
";
        assert_eq!(digest(BASE), digest(other));
    }

    #[test]
    fn values_count_and_secrecy_does_not() {
        assert_ne!(digest(BASE), digest(&BASE.replace("A: b", "A: c")));
        assert_ne!(digest(BASE), digest(&BASE.replace("80:80", "81:80")));
        let mut project = load_text(BASE).unwrap().project;
        for service in project.services.values_mut() {
            service
                .environment
                .values_mut()
                .for_each(|text| text.secret = true);
        }
        assert_eq!(content(&project, &Rules::default()), digest(BASE));
    }

    #[test]
    fn health_rules_count_and_other_rules_do_not() {
        let project = load_text(BASE).unwrap().project;
        let slow = HealthRules {
            bake: std::time::Duration::from_secs(60),
            ..HealthRules::default()
        };
        assert_ne!(
            content(
                &project,
                &Rules {
                    health: slow,
                    ..Rules::default()
                }
            ),
            digest(BASE)
        );
        let other = Rules {
            rollback: crate::render::app::RollbackMode::Off,
            ignore: vec!["x".into()],
            ..Rules::default()
        };
        assert_eq!(content(&project, &other), digest(BASE));
    }

    #[test]
    fn bound_content_counts_and_its_place_does_not() {
        let of = |folder: &str, text: &str| {
            let file = format!("services: {{a: {{image: x, volumes: ['./{folder}:/c:ro']}}}}");
            let path = format!("apps/web/{folder}/f");
            let loaded = load_with(
                &[("apps/web/compose.yaml", &file), (&path, text)],
                &Inputs::default(),
            )
            .unwrap();
            content(&loaded.project, &Rules::default())
        };
        assert_eq!(of("one", "x"), of("two", "x"));
        assert_ne!(of("one", "x"), of("one", "y"));
    }
}

#[test]
fn a_thousand_small_apps_take_seconds_at_most() {
    let text = "services: {web: {image: 'nginx:${TAG:-1}', environment: {A: b}, ports: ['80:80'], volumes: ['d:/d'], depends_on: [db]}, db: {image: postgres, healthcheck: {test: x, interval: 5s}}}\nvolumes: {d: }";
    let checkout = Checkout::in_memory([("apps/web/compose.yaml", text)]);
    let start = std::time::Instant::now();
    for _ in 0..1000 {
        let loaded = load(&checkout, &app(), "apps/web/compose.yaml", &Inputs::default()).unwrap();
        let _ = crate::render::digest::content(&loaded.project, &Rules::default());
    }
    // The bound is for an unoptimised build on a busy machine: it catches what grows with the square.
    assert!(
        start.elapsed() < std::time::Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
}
