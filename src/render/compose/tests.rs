use super::*;
use crate::names::AppName;
use crate::render::app::{AppKind, Rules};
use crate::render::model::{Condition, MountSource, NetworkMode, Service};

fn app() -> App {
    App {
        name: AppName::try_from("web").unwrap(),
        path: "apps/web".to_owned(),
        kind: AppKind::Compose { file: "apps/web/compose.yaml".to_owned() },
        target: None,
        after: Vec::new(),
        profiles: Vec::new(),
        rules: Rules::default(),
        declared: None,
    }
}

fn load_with(files: &[(&str, &str)], inputs: &Inputs) -> Result<Loaded, Diagnostics> {
    load(&Checkout::in_memory(files.iter().copied()), &app(), "apps/web/compose.yaml", inputs)
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
        Err(found) => found.iter().filter(|one| one.severity == document::Severity::Error).map(|one| format!("{}: {}", one.code, one)).collect(),
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
    let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Inputs { variables, ..Inputs::default() }
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
            assert_eq!(table.iter().filter(|(known, _)| *known == key).count(), 1, "`{key}` of {name}");
        }
        assert_eq!(table.len(), keys.split(' ').count(), "{name} has a key that the spec does not have");
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
    let command: Vec<&str> = web.command.as_ref().unwrap().iter().map(|part| part.value.as_str()).collect();
    assert_eq!(command, ["nginx", "-g", "daemon off;"]);
    let environment: Vec<(&str, &str)> =
        web.environment.iter().map(|(key, text)| (key.as_str(), text.value.as_str())).collect();
    assert_eq!(environment, [("DEBUG", "false"), ("MODE", "prod"), ("PORT", "80")]);
    assert_eq!(loaded.warnings.len(), 1, "EMPTY is passed through, but not set");
    let ports: Vec<String> = web.ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["8080:80/tcp", "8443:443/tcp"]);
    assert_eq!(web.volumes["/data"].source, MountSource::Volume("data".to_owned()));
    assert_eq!(web.volumes["/x"].source, MountSource::Host("/srv/x".to_owned()));
    assert!(web.volumes["/x"].read_only);
    assert_eq!(web.volumes["/state"].source, MountSource::Data("state".to_owned()));
    assert_eq!(web.networks["front"].aliases, ["www"]);
    let (_, dependency) = web.depends_on.iter().next().unwrap();
    assert_eq!((dependency.condition, dependency.restart), (Condition::ServiceHealthy, true));
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
