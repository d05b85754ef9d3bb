//! Laws that need an engine that goes away, a network from inside, or every key that the renderer honours.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::driftless::TestEnv;
use crate::support::engine::{Engine, Version};
use crate::support::proxy::Fault;
use crate::support::site::{Site, snapshot};
use crate::support::{wait_for, wait_until};

/// Twenty services that differ in every key that is honoured. `NAME` is the app.
fn everything(version: Version) -> String {
    let newer = version != Version::V20;
    let (start, note) = if newer {
        (
            ", start_period: 5s, start_interval: 200ms",
            "annotations: { note: here }",
        )
    } else {
        ("", "labels: [one=1, 'two=2']")
    };
    EVERYTHING.replace(", NEWER", start).replace("NOTE", note)
}

const EVERYTHING: &str = r#"
x-base: &base
  image: web:plain
  restart: unless-stopped
services:
  environment:
    <<: *base
    environment: { NUMBER: 1, WORDS: "two words", EMPTY: '', QUOTES: "a'b\"c", DOLLAR: "$$HOME", PATH: /bin:/sbin, TRUTH: "true" }
    env_file: [./app.env]
    labels: { team: infra, "with.dots": "a=b", empty: "" }
  listed:
    <<: *base
    environment: [ONE=1, "TWO=x=y", THREE=]
    NOTE
  ports:
    <<: *base
    ports: ["127.0.0.1:21080:8080", "127.0.0.1::8081", "8082", "127.0.0.1:21090-21091:9000-9001/udp", { target: 8083, published: "21093", protocol: udp, mode: host }]
    expose: ["3000", 3001/udp]
  kernel:
    <<: *base
    ulimits: { nproc: 4096, nofile: { soft: 1000, hard: 2000 } }
    sysctls: { net.core.somaxconn: 512, net.ipv4.ip_unprivileged_port_start: "0" }
    shm_size: 32m
    cap_add: [NET_ADMIN, SYS_TIME]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    oom_score_adj: 100
    cgroup_parent: /docker/NAME
  mounts:
    <<: *base
    volumes:
      - data:/data
      - data:/again:ro
      - /anonymous
      - /tmp:/host:ro
      - ./site:/site
      - ./site/one.conf:/etc/one.conf:ro
      - { type: volume, source: data, target: /nocopy, volume: { nocopy: true } }
      - { type: tmpfs, target: /scratch, tmpfs: { size: 1m, mode: 0700 } }
    tmpfs: [/run, "/cache:size=1m"]
  files:
    <<: *base
    configs: [inline, { source: tracked, target: /etc/tracked, mode: 0440, uid: "1", gid: "2" }]
    secrets: [given, { source: variable, target: other }]
    volumes: ["data:/data", /more]
  health-text:
    <<: *base
    healthcheck: { test: "/bin/web probe || exit 1", interval: 1s, timeout: 5s, retries: 4, NEWER }
  health-list:
    <<: *base
    healthcheck: { test: [CMD, /bin/web, probe], interval: 1s }
  health-image:
    <<: *base
    image: web:1
    healthcheck: { retries: 9 }
  health-off:
    <<: *base
    image: web:1
    healthcheck: { disable: true }
  always:
    <<: *base
    restart: always
    init: false
    stop_signal: SIGINT
    stop_grace_period: 2s
  on-failure:
    <<: *base
    restart: on-failure:5
    stop_signal: SIGKILL
    tty: true
    stdin_open: true
  policy:
    image: web:plain
    stop_signal: SIGKILL
    deploy: { restart_policy: { condition: on-failure, max_attempts: 3 }, replicas: 2, resources: { limits: { cpus: "0.50", memory: 64M, pids: 50 }, reservations: { memory: 16M } } }
  limits:
    <<: *base
    mem_limit: 64m
    mem_reservation: 32m
    memswap_limit: 128m
    cpus: 0.75
    cpu_shares: 512
    cpuset: "0"
    pids_limit: 60
    logging: { driver: json-file, options: { max-size: 1m, max-file: 3 } }
  networks:
    <<: *base
    networks: { fixed: { ipv4_address: 10.177.0.10, aliases: [www, web2], priority: 100 }, back: { aliases: [behind] }, default: {} }
    extra_hosts: ["one:10.0.0.1", "two=10.0.0.2"]
    dns: [10.0.0.53]
    dns_search: [example.org]
    dns_opt: ["ndots:2"]
  beside:
    <<: *base
    environment: { PORT: "9090" }
    network_mode: "service:networks"
    pid: "service:always"
    ipc: "service:shared"
  shared:
    <<: *base
    ipc: shareable
    hostname: shared
    domainname: example.org
    user: "1000:1000"
    group_add: ["100"]
    working_dir: /tmp
    read_only: true
  words:
    <<: *base
    entrypoint: /bin/sh -c
    command: ["exec /bin/web"]
  empty:
    <<: *base
    entrypoint: ["/bin/web"]
    command: []
    network_mode: none
  job:
    image: base:1
    command: sh -c 'echo "a b" && exit 0'
    x-driftless: { job: true }
  once:
    image: base:1
    command: ["true"]
  after:
    <<: *base
    depends_on: { once: { condition: service_completed_successfully }, health-list: { condition: service_healthy } }
    volumes_from: ["files:ro"]
    scale: 1
networks:
  default: {}
  fixed: { driver: bridge, ipam: { config: [{ subnet: 10.177.0.0/24, gateway: 10.177.0.1 }] }, labels: { a: b } }
  back: { internal: true, driver_opts: { com.docker.network.bridge.enable_icc: "true" } }
volumes: { data: { labels: [x=y] } }
configs: { inline: { content: "a $$b\n" }, tracked: { file: ./site/one.conf } }
secrets: { given: { file: ./given.txt }, variable: { environment: FROM_OPERATOR } }
"#;

on_engines! {
    /// Right after the apply, after fifty polls, and after a restart of the engine.
    fn no_false_drift(shared) {
        let engine = &Engine::private(shared.version());
        let site = Site::new(engine, &everything(engine.version()));
        site.repo.write("app/app.env", "FROM_FILE=yes\nQUOTED=\"a b\"\n");
        site.repo.write("app/site/one.conf", "one\n");
        site.repo.write("app/site/deep/two.conf", "two\n");
        site.env.write_config(&format!("vars/{}.env", site.app), "FROM_OPERATOR=hush\n");
        site.env.write_config(&format!("secrets/{}/given", site.app), "hush, too\n");
        site.repo.commit("everything");
        drop(site.apply().success());
        let before = site.snapshot();
        assert!(before.keys().filter(|key| key.starts_with("container")).count() >= 23, "{before:#?}");
        site.assert_in_sync("right after the apply");
        site.proxy.clear();
        for poll in 1..=50 {
            let plan = site.run(&["plan", "--detailed-exitcode"]);
            assert_eq!(plan.status, Some(0), "poll {poll}: {plan}");
        }
        site.proxy.assert_read_only();
        engine.stop_daemon();
        engine.start_daemon();
        // The engine revives by restart policy, and not always what shares the network of one that is not up yet.
        let stopped = || {
            let filter = format!("label=com.docker.compose.project={}", site.app);
            let running = engine.docker_text(&["ps", "--filter", &filter, "--format", "{{.Names}}"]);
            let all = before.keys().filter_map(|key| key.strip_prefix("container /"));
            all.filter(|name| !running.lines().any(|one| one == *name) && !name.contains("-job-") && !name.contains("-once-")).map(str::to_owned).collect::<Vec<_>>()
        };
        wait_until("the containers are back", Duration::from_secs(20), || stopped().iter().all(|name| name.contains("-beside-")));
        for name in stopped() {
            engine.docker_text(&["start", &name]);
        }
        wait_for("health is known again", Duration::from_secs(20), || (!engine.docker_text(&["ps"]).contains("health: starting")).then_some(()));
        site.assert_in_sync("after a restart of the engine");
        assert!(before.keys().eq(site.snapshot().keys()));
    }

    fn engine_down_is_unknown_not_empty(shared) {
        let engine = &Engine::private(shared.version());
        let site = Site::applied(engine, "services:\n  web: { image: 'web:1', restart: always }\n");
        let (id, history) = (site.id("web"), || site.run(&["history", "-o", "json"]).stdout);
        let direct = TestEnv::new().var("DOCKER_HOST", &engine.docker_host());
        let state = site.env.state().to_str().unwrap().to_owned();
        let ask = |arguments: &[&str]| direct.run(&site.repo.path(), &[arguments, &["--state", &state]].concat());
        // Alive at the door and silent in the middle of a look: what one list does not say is not taken for empty.
        for route in ["^/containers/json", "^/containers/[0-9a-f]+/json", "^/networks$", "^/volumes$"] {
            for verb in [&["plan"][..], &["apply", "--yes"]] {
                site.proxy.clear();
                site.proxy.fault("GET", route, Fault::Refuse(500, "the disk is on fire".to_owned()));
                let said = site.run(verb).code(5);
                assert!((said.stdout.clone() + &said.stderr).contains("the disk is on fire"), "{route}: {said}");
                assert!(!said.stdout.contains("to create"), "{route}: {said}");
                site.proxy.assert_read_only();
            }
        }
        site.proxy.clear();
        site.assert_in_sync("when all lists are answered again");
        let told = history();
        // Hung in the middle of a look, then dead: cut, and not an empty answer.
        engine.freeze_daemon();
        site.proxy.clear();
        let hung = site.env.start(&site.repo.path(), &["plan"]);
        wait_until("plan waits for the engine", Duration::from_secs(10), || !site.proxy.calls().is_empty());
        engine.kill_daemon();
        let hung = hung.wait(Duration::from_secs(15)).code(5);
        assert!(hung.stderr.contains("error[E05"), "{hung}");
        for verb in [&["plan"][..], &["apply", "--yes"]] {
            let said = ask(verb).code(5);
            assert!(said.stderr.contains("error[E0503]") && said.stderr.contains("Connection refused"), "{said}");
            assert!(!said.stdout.contains("to create"), "{said}");
        }
        // Git moves meanwhile: still nothing is known, so nothing is planned.
        site.repo.commit_file("README.md", "about", "unrelated");
        drop(ask(&["apply", "--yes"]).code(5));
        assert_eq!(history(), told, "nothing is written into history about what is not known");
        engine.start_daemon();
        wait_for("the container is healthy again", Duration::from_secs(20), || {
            let health = engine.docker(&["inspect", "-f", "{{.State.Health.Status}}", &id]);
            (health.text() == "healthy").then_some(())
        });
        site.assert_in_sync("when the engine is back");
        assert_eq!(site.id("web"), id);
    }

    /// The engine's DNS answers with every holder of a name, healthy or not: the new container gets it when it is healthy.
    fn a_new_container_is_found_only_when_it_is_healthy(engine) {
        let site = Site::applied(engine, &swapped("1"));
        let network = network_of_client(engine, &site);
        let found = || {
            std::thread::scope(|scope| {
                let asking = scope.spawn(|| {
                    nix::sched::setns(&network, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                    resolve("web").unwrap()
                });
                asking.join().unwrap()
            })
        };
        let old = found();
        assert_eq!(old.len(), 1);
        // The first call after its gate.
        let gate = site.proxy.hold("POST", "^/networks/[^/]+/disconnect$");
        site.commit(&swapped("2"));
        let applying = site.env.start(&site.repo.path(), &["apply", "--yes"]);
        gate.wait_until_reached(Duration::from_secs(40));
        assert_eq!(found(), old);
        gate.open();
        drop(applying.wait(Duration::from_secs(40)).success());
        assert!(found().len() == 1 && found() != old);
    }

    /// A client beside the service that asks for its name each time and takes the next address where one refuses, as
    /// every HTTP client does: no request that was accepted is cut, while three versions follow each other.
    fn start_first_swap_cuts_no_accepted_request(engine) {
        let site = Site::applied(engine, &swapped("1"));
        let network = network_of_client(engine, &site);
        let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let clients: Vec<_> = ["/", "/slow/150", "/slow/400"]
                .into_iter()
                .map(|path| {
                    let (network, stop, asked) = (&network, &stop, &asked);
                    scope.spawn(move || {
                        nix::sched::setns(network, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                        let mut seen = BTreeMap::<String, usize>::new();
                        let mut failed = Vec::new();
                        while !stop.load(Ordering::Relaxed) {
                            match ask("web", path) {
                                Ok(body) => {
                                    let version = body.split("version=").nth(1).and_then(|rest| rest.split_whitespace().next());
                                    *seen.entry(version.unwrap_or("?").to_owned()).or_default() += 1;
                                }
                                Err(why) => failed.push(why),
                            }
                            asked.fetch_add(1, Ordering::Relaxed);
                            std::thread::sleep(Duration::from_millis(2));
                        }
                        (path, seen, failed)
                    })
                })
                .collect();
            wait_until("the clients ask", Duration::from_secs(10), || asked.load(Ordering::Relaxed) > 20);
            for image in ["2", "3"] {
                site.commit(&swapped(image));
                drop(site.run(&["plan"]).success().says("start-first"));
                drop(site.apply().success());
            }
            let enough = asked.load(Ordering::Relaxed) + 20;
            wait_until("the clients ask on", Duration::from_secs(10), || asked.load(Ordering::Relaxed) > enough);
            stop.store(true, Ordering::Relaxed);
            for client in clients {
                let (path, seen, failed) = client.join().unwrap();
                assert!(failed.is_empty(), "{path}: {} failed of {seen:?}: {:#?}", failed.len(), &failed[..failed.len().min(5)]);
                assert_eq!(seen.keys().collect::<Vec<_>>(), ["1", "2", "3"], "{path}: {seen:?}");
            }
        });
        assert!(snapshot(engine, &site.app).keys().filter(|key| key.contains("/")).count() >= 2);
    }
}

/// A service that is replaced start-first, and a client beside it.
fn swapped(image: &str) -> String {
    format!(
        "services:\n  web: {{ image: 'web:{image}', networks: [default, back] }}\n  client: {{ image: 'base:1', command: ['sleep', '3600'], stop_signal: SIGKILL }}\nnetworks: {{ default: {{}}, back: {{}} }}\n"
    )
}

/// The network of the client's container, as a file to enter it by.
fn network_of_client(engine: &Engine, site: &Site<'_>) -> std::fs::File {
    let pid = engine.docker_text(&["inspect", "-f", "{{.State.Pid}}", &site.container("client")]);
    std::fs::File::open(format!("/proc/{}/root/proc/{pid}/ns/net", engine.pid())).unwrap()
}

/// One request to a name: its addresses are asked for anew, and tried one after the other.
fn ask(name: &str, path: &str) -> Result<String, String> {
    let addresses = resolve(name).map_err(|error| format!("{name} can't be resolved: {error}"))?;
    let mut refused = Vec::new();
    for address in &addresses {
        // Long enough for the kernel to say that an address has nobody, or to repeat a packet that was lost.
        match TcpStream::connect_timeout(&SocketAddr::from((*address, 8080)), Duration::from_secs(5)) {
            Ok(stream) => {
                return request(stream, path)
                    .map_err(|error| format!("{address} accepted and then: {error}"));
            }
            Err(error) => refused.push(format!("{address}: {error}")),
        }
    }
    Err(format!("no address of {addresses:?} accepts: {refused:?}"))
}

fn request(mut stream: TcpStream, path: &str) -> std::io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let complete = answer.starts_with("HTTP/1.1 200")
        && answer
            .split("\r\n\r\n")
            .nth(1)
            .is_some_and(|body| body.ends_with('\n'));
    if complete {
        Ok(answer)
    } else {
        Err(std::io::Error::other(format!("incomplete answer {answer:?}")))
    }
}

/// The addresses of a name, from the engine's own DNS server in a container's network.
fn resolve(name: &str) -> std::io::Result<Vec<Ipv4Addr>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut question = vec![
        0x12,
        0x34,
        1,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        0,
        u8::try_from(name.len()).unwrap(),
    ];
    question.extend(name.bytes());
    question.extend([0, 0, 1, 0, 1]);
    socket.send_to(&question, "127.0.0.11:53")?;
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer)?;
    // Each answer is the question's name (whole, or as a pointer), type A, class IN, a time, and four bytes.
    let mut rest = answer.get(question.len()..length).unwrap_or_default();
    let mut addresses = Vec::new();
    let name_size = |rest: &[u8]| {
        if rest.first().is_some_and(|first| *first >= 0xc0) {
            2
        } else {
            name.len() + 2
        }
    };
    while let Some((head, tail)) = rest
        .get(name_size(rest)..)
        .and_then(|rest| rest.split_at_checked(10))
    {
        let size = usize::from(u16::from_be_bytes([head[8], head[9]]));
        let Some((data, tail)) = tail.split_at_checked(size) else {
            break;
        };
        if let Ok(address) = <[u8; 4]>::try_from(data) {
            addresses.push(Ipv4Addr::from(address));
        }
        rest = tail;
    }
    if addresses.is_empty() {
        Err(std::io::Error::other(format!(
            "no address: {:?}",
            &answer[..length]
        )))
    } else {
        Ok(addresses)
    }
}
