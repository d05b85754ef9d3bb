//! A Docker engine as a target: everything read in the fewest calls, one call per op, on real engines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use driftless::clock::{Clock as _, SystemClock, Timestamp};
use driftless::image::ImageRef;
use driftless::live::docker::credentials::Credentials;
use driftless::live::docker::endpoint::Endpoint;
use driftless::live::docker::logs::{LogAsk, Stream};
use driftless::live::docker::op::{ContainerRef, CopyFile, Op, Symbol};
use driftless::live::docker::target::DockerTarget;
use driftless::live::ownership::{self, compose};
use driftless::live::world::{
    Ask, Baseline, Container, ContainerId, Health, ImageAsk, ImageFact, Lookup, Owner, Receipt, State,
    Symbols, Target,
};
use driftless::names::AppKey;
use driftless::secret::Secret;
use serde_json::{Value, json};

use crate::support::engine::{Engine, Version};
use crate::support::proxy::{Fault, Proxy};
use crate::support::registry::{FakeRegistry, PASSWORD, Registry};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

async fn connect(socket: std::path::PathBuf, credentials: Credentials) -> DockerTarget {
    DockerTarget::connect(&Endpoint::unix(socket), credentials, Arc::new(SystemClock))
        .await
        .unwrap()
}

/// An app of its own on a shared engine.
struct App {
    target: DockerTarget,
    ask: Ask,
    symbols: Symbols,
}

impl App {
    async fn on(engine: &Engine) -> Self {
        Self::at(engine, engine.socket()).await
    }

    async fn at(engine: &Engine, socket: std::path::PathBuf) -> Self {
        let project = engine.unique("target");
        let ask = Ask {
            instance: "suite".try_into().unwrap(),
            key: AppKey {
                source: "/srv/infra".try_into().unwrap(),
                app: project.as_str().try_into().unwrap(),
            },
            project: project.as_str().try_into().unwrap(),
            images: BTreeMap::new(),
        };
        Self {
            target: connect(socket, Credentials::default()).await,
            ask,
            symbols: Symbols::default(),
        }
    }

    fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.ask.project)
    }

    fn labels(&self, service: &str) -> Value {
        json!({
            ownership::INSTANCE: "suite", ownership::APP: ownership::app_label(&self.ask.key),
            ownership::SERVICE: service, ownership::SPEC: "v1:77",
            compose::PROJECT: self.ask.project.as_str(), compose::SERVICE: service, compose::NUMBER: "1",
            compose::ONEOFF: "False", compose::NETWORK: "default", compose::VOLUME: "data",
        })
    }

    async fn op(&self, op: Op) -> Receipt {
        self.target
            .execute(&op, &self.symbols)
            .await
            .unwrap_or_else(|error| panic!("{op}: {error}: {error:?}"))
    }

    async fn create(&mut self, service: &str, mut body: Value) -> ContainerRef {
        body["Labels"] = self.labels(service);
        self.create_bare(service, body).await
    }

    async fn create_bare(&mut self, service: &str, body: Value) -> ContainerRef {
        let (symbol, name) = (Symbol(service.into()), self.name(service));
        let op = Op::CreateContainer {
            symbol: symbol.clone(),
            name: name.clone(),
            body: Secret::new(body),
            platform: None,
        };
        let id = self.op(op).await.id.unwrap();
        self.symbols.set(symbol.clone(), ContainerId(id.into()));
        ContainerRef::New { symbol, name }
    }

    async fn only(&self) -> Container {
        let mut seen = self.target.observe(&self.ask).await.unwrap().containers;
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.remove(0)
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Container) -> bool) -> Container {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let seen = self.only().await;
            if wanted(&seen) {
                return seen;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "waited in vain until {what}: {seen:#?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn remove(&self, container: &ContainerRef) {
        self.op(Op::RemoveContainer {
            container: container.clone(),
            force: true,
        })
        .await;
    }
}

fn sleeper() -> Value {
    json!({ "Image": "base:1", "Cmd": ["sleep", "600"], "StopTimeout": 1 })
}

fn file(path: &str, content: &str) -> CopyFile {
    CopyFile {
        path: path.into(),
        mode: 0o440,
        uid: 1000,
        gid: 7,
        content: Secret::new(content.as_bytes().into()),
    }
}

on_engines! {
    fn an_app_lives_through_every_op(engine) {
        run(async {
            let mut app = App::on(engine).await;
            let (network, second, volume) = (app.name("net"), app.name("net2"), app.name("data"));
            for name in [&network, &second] {
                let body = json!({ "Labels": app.labels("net") });
                assert!(app.op(Op::CreateNetwork { name: name.clone(), body }).await.id.is_some());
            }
            app.op(Op::CreateVolume { name: volume.clone(), body: json!({ "Labels": app.labels("net") }) }).await;
            let endpoint = json!({ "Aliases": ["api", app.name("api")] });
            let body = json!({
                "Image": "base:1", "Env": ["CANARY=canary-4711"], "User": "app", "StopTimeout": 1,
                "Cmd": ["sh", "-c", "trap 'exit 0' TERM; echo to-out; echo to-err >&2; ls -ln /run/secrets/db; ls -lnd /tmp /run/secrets; cat /run/secrets/db; echo; while :; do sleep 0.1; done"],
                "HostConfig": {
                    "NetworkMode": network, "RestartPolicy": { "Name": "on-failure", "MaximumRetryCount": 3 },
                    "Memory": 64 << 20, "Mounts": [{ "Type": "volume", "Source": volume, "Target": "/data" }],
                },
                "NetworkingConfig": { "EndpointsConfig": { network.clone(): endpoint.clone() } },
            });
            let api = app.create("api", body).await;
            let made = app.only().await;
            assert_eq!((&made.state, made.health, made.started_at), (&State::Created, Health::None, None));
            assert_eq!(made.name, app.name("api"));
            app.op(Op::CopyFiles { container: api.clone(), root: "/".into(), files: vec![file("/run/secrets/db", "from-git"), file("/tmp/x", "y")] }).await;
            app.op(Op::ConnectNetwork { network: second.clone(), container: api.clone(), endpoint: json!({ "Aliases": ["db", "api"] }) }).await;
            app.op(Op::Start { container: api.clone() }).await;
            // It runs already: success.
            app.op(Op::Start { container: api.clone() }).await;

            let seen = app.only().await;
            assert!(seen.running() && seen.started_at.is_some() && seen.finished_at.is_none(), "{seen:#?}");
            assert_eq!((seen.service.as_str(), seen.index, &seen.owner), ("api", 1, &Owner::Ours));
            assert_eq!(seen.spec.as_ref().unwrap().as_str(), "v1:77");
            assert_eq!((seen.restart.name.as_str(), seen.restart.max_retries), ("on-failure", 3));
            assert_eq!((seen.limits.memory, seen.limits.pids_limit, seen.limits.cpuset.as_deref()), (Some(64 << 20), None, None));
            assert_eq!(seen.endpoints[&network].aliases, ["api"]);
            assert_eq!(seen.endpoints[&second].aliases, ["api", "db"]);
            assert!(seen.address().is_some());
            assert!(!format!("{seen:?}").contains("canary"));
            assert_eq!(seen.inspect.expose()["Config"]["Image"], "base:1");

            let observed = app.target.observe(&app.ask).await.unwrap();
            let live = &observed.networks[&network];
            assert_eq!((live.attached.as_slice(), &live.owner.owner, live.owner.in_project), (&[seen.id.clone()][..], &Owner::Ours, true));
            assert_eq!(live.owner.key, "default");
            assert!(!observed.networks["bridge"].owner.in_project);
            assert_eq!(observed.volumes[&volume].spec.as_ref().unwrap().as_str(), "v1:77");
            assert!(observed.holders.iter().any(|holder| holder.id == seen.id && holder.running && holder.project == app.ask.project.as_str()));

            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            let printed = loop {
                let printed = app.target.logs(&seen.id, 50).await.unwrap();
                if printed.iter().any(|line| line.contains("from-git")) {
                    break printed;
                }
                assert!(std::time::Instant::now() < deadline, "{printed:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            assert!(printed.contains(&"to-out".to_owned()) && printed.contains(&"to-err".to_owned()), "{printed:?}");
            let listed = |what: &str| {
                let line = printed.iter().find(|line| line.ends_with(what)).unwrap_or_else(|| panic!("{what} in {printed:?}"));
                line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
            };
            let secret = listed(" /run/secrets/db");
            assert_eq!((secret[0].as_str(), secret[2].as_str(), secret[3].as_str()), ("-r--r-----", "1000", "7"));
            assert_eq!(listed(" /tmp")[0], "drwxrwxrwt", "a folder of the image keeps its mode");
            assert_eq!((listed(" /run/secrets")[0].as_str(), listed(" /run/secrets")[2].as_str()), ("drwxr-xr-x", "0"));
            assert_eq!(app.target.logs(&seen.id, 1).await.unwrap().len(), 1);

            let before = Baseline::of(&seen);
            app.op(Op::Update { container: api.clone(), body: json!({ "Memory": 96 << 20, "MemorySwap": -1, "RestartPolicy": { "Name": "no" } }) }).await;
            app.op(Op::DisconnectNetwork { network: second.clone(), container: api.clone() }).await;
            let gone = app.op(Op::DisconnectNetwork { network: second.clone(), container: api.clone() }).await;
            assert_eq!(gone.warnings.len(), 1);
            app.op(Op::Pause { container: api.clone() }).await;
            assert_eq!(app.only().await.state, State::Paused);
            app.op(Op::Unpause { container: api.clone() }).await;
            app.op(Op::Restart { container: api.clone(), grace: Some(1) }).await;
            let updated = app.only().await;
            assert_eq!(updated.id, seen.id);
            assert_eq!((updated.limits.memory, updated.limits.memory_swap, updated.restart.name.as_str()), (Some(96 << 20), Some(-1), "no"));
            assert_eq!(updated.endpoints.keys().collect::<Vec<_>>(), [&network]);
            assert_ne!(Baseline::of(&updated), before);

            app.op(Op::Stop { container: api.clone(), grace: Some(60) }).await;
            app.op(Op::Stop { container: api.clone(), grace: None }).await;
            let parked = format!("{}{}1234567", app.name("api"), ownership::PARKED);
            app.op(Op::Rename { container: api.clone(), to: parked.clone() }).await;
            let stopped = app.only().await;
            assert_eq!((&stopped.state, stopped.exit_code, stopped.name.as_str()), (&State::Exited, Some(0), parked.as_str()));
            assert!(stopped.finished_at.is_some());
            let again = app.target.inspect(&[stopped.id.clone(), ContainerId("f".repeat(64).into())]).await.unwrap();
            assert_eq!(again.len(), 1);
            assert_eq!((again[0].owner.clone(), again[0].spec.clone()), (Owner::Ours, stopped.spec.clone()));

            app.op(Op::RemoveContainer { container: api.clone(), force: false }).await;
            // Gone already: success that says so; but nobody can start it.
            assert_eq!(app.op(Op::RemoveContainer { container: api.clone(), force: false }).await.warnings.len(), 1);
            app.op(Op::Stop { container: api.clone(), grace: Some(1) }).await;
            let start = app.target.execute(&Op::Start { container: api.clone() }, &app.symbols).await.unwrap_err();
            assert_eq!(start.code().to_string(), "E0520");
            for _ in 0..2 {
                app.op(Op::RemoveNetwork { name: network.clone() }).await;
                app.op(Op::RemoveNetwork { name: second.clone() }).await;
                app.op(Op::RemoveVolume { name: volume.clone() }).await;
            }
            let empty = app.target.observe(&app.ask).await.unwrap();
            assert!(empty.containers.is_empty() && !empty.networks.contains_key(&network) && !empty.volumes.contains_key(&volume));
        });
    }

    fn a_container_shares_the_network_of_one_that_the_same_plan_makes(engine) {
        run(async {
            let mut app = App::on(engine).await;
            let main = app.create("main", sleeper()).await;
            app.op(Op::Start { container: main.clone() }).await;
            let mut body = sleeper();
            body["HostConfig"] = json!({ "NetworkMode": "container:@symbol:main@" });
            let side = app.create("side", body).await;
            app.op(Op::Start { container: side.clone() }).await;
            let seen = app.target.observe(&app.ask).await.unwrap().containers;
            let [main_seen, side_seen] = &seen[..] else { panic!("{seen:#?}") };
            assert_eq!(side_seen.inspect.expose()["HostConfig"]["NetworkMode"], format!("container:{}", main_seen.id));
            let unknown = Op::Start { container: ContainerRef::New { symbol: Symbol("nobody".into()), name: "nobody".into() } };
            assert_eq!(app.target.execute(&unknown, &app.symbols).await.unwrap_err().kind(), driftless::live::FailureKind::Bug);
            app.remove(&side).await;
            app.remove(&main).await;
        });
    }

    fn files_reach_a_read_only_container_through_a_volume(engine) {
        run(async {
            let mut app = App::on(engine).await;
            let volume = app.name("files");
            app.op(Op::CreateVolume { name: volume.clone(), body: json!({}) }).await;
            let body = json!({
                "Image": "base:1", "Cmd": ["cat", "/run/secrets/db"],
                "HostConfig": { "ReadonlyRootfs": true, "Mounts": [{ "Type": "volume", "Source": volume, "Target": "/run/secrets" }] },
            });
            let reader = app.create("reader", body).await;
            let copy = |root: &str| Op::CopyFiles { container: reader.clone(), root: root.into(), files: vec![file("/run/secrets/db", "from-git")] };
            assert!(app.target.execute(&copy("/"), &app.symbols).await.is_err());
            app.op(copy("/run/secrets")).await;
            app.op(Op::Start { container: reader.clone() }).await;
            let ended = app.until("it has ended", |one| one.state == State::Exited).await;
            assert_eq!(app.target.logs(&ended.id, 5).await.unwrap(), ["from-git"]);
            app.remove(&reader).await;
            app.op(Op::RemoveVolume { name: volume }).await;
        });
    }

    fn an_observation_takes_the_fewest_calls(engine) {
        let proxy = Proxy::start(&engine.socket());
        run(async {
            let mut app = App::at(engine, proxy.socket()).await;
            let mut made = Vec::new();
            for service in ["a", "b", "c", "d"] {
                made.push(app.create(service, sleeper()).await);
            }
            let ids: Vec<String> = made.iter().map(|one| id_of(&app, one)).collect();
            app.ask.images = [("base:1", Lookup::WhenAbsent), ("web:1", Lookup::Always), ("web:2", Lookup::Never)]
                .map(|(name, registry)| (name.to_owned(), ImageAsk { platform: None, registry })).into();
            proxy.clear();
            let observed = app.target.observe(&app.ask).await.unwrap();
            assert_eq!(observed.containers.len(), 4);
            assert!(observed.images.values().all(|fact| matches!(fact, ImageFact::Local(_))), "{:#?}", observed.images);
            let mut sent: Vec<String> = proxy.calls().iter().map(|call| call.route().to_owned()).collect();
            sent.sort();
            let mut expected: Vec<String> = ["/containers/json", "/images/base:1/json", "/images/web:1/json", "/images/web:2/json", "/networks", "/volumes"]
                .map(str::to_owned).into();
            expected.extend(ids.iter().map(|id| format!("/containers/{id}/json")));
            expected.sort();
            assert_eq!(sent, expected);
            proxy.assert_read_only();

            // One that vanishes between the list and its inspect is gone everywhere.
            proxy.clear();
            proxy.fault("GET", &format!("^/containers/{}/json", ids[1]), Fault::Refuse(404, "No such container".into()));
            let observed = app.target.observe(&app.ask).await.unwrap();
            assert_eq!(observed.containers.len(), 3);
            assert!(!observed.holders.iter().any(|holder| *holder.id.0 == *ids[1]));
            // But what fails is not gone: nothing is known then.
            for (path, status) in [(format!("^/containers/{}/json", ids[2]), 500), ("^/networks".to_owned(), 500), ("^/volumes".to_owned(), 404), ("^/images/base".to_owned(), 500), ("^/containers/json".to_owned(), 404)] {
                proxy.clear();
                proxy.fault("GET", &path, Fault::Refuse(status, "made up".into()));
                assert!(app.target.observe(&app.ask).await.is_err(), "{path}");
            }
            proxy.clear();
            for one in &made {
                app.remove(one).await;
            }
        });
    }

    fn others_containers_are_told_apart(engine) {
        run(async {
            let mut app = App::on(engine).await;
            let project = app.ask.project.to_string();
            let ours = ownership::app_label(&app.ask.key);
            for (service, labels) in [
                ("ours", json!({ ownership::INSTANCE: "suite", ownership::APP: ours })),
                ("composed", json!({ compose::PROJECT: project, compose::SERVICE: "db", compose::NUMBER: "2", compose::ONEOFF: "False" })),
                ("instance", json!({ ownership::INSTANCE: "other", ownership::APP: ours, compose::PROJECT: project })),
                ("app", json!({ ownership::INSTANCE: "suite", ownership::APP: "blog@/srv/infra", compose::PROJECT: project })),
                ("oneoff", json!({ compose::PROJECT: project, compose::ONEOFF: "True" })),
                ("hook", json!({ compose::PROJECT: project, "com.docker.compose.hook": "pre_start" })),
                ("elsewhere", json!({ compose::PROJECT: format!("{project}x"), ownership::INSTANCE: "other", ownership::APP: ours })),
            ] {
                let mut body = sleeper();
                body["Labels"] = labels;
                app.create_bare(service, body).await;
            }
            let observed = app.target.observe(&app.ask).await.unwrap();
            let owners: Vec<(String, Owner)> = observed.containers.iter().map(|one| (one.name.clone(), one.owner.clone())).collect();
            let blog = AppKey { source: "/srv/infra".try_into().unwrap(), app: "blog".try_into().unwrap() };
            assert_eq!(owners, [
                (app.name("app"), Owner::OtherApp(blog)),
                (app.name("composed"), Owner::Unmanaged),
                (app.name("instance"), Owner::OtherInstance("other".into())),
                (app.name("ours"), Owner::Ours),
            ]);
            let composed = &observed.containers[1];
            assert_eq!((composed.service.as_str(), composed.index), ("db", 2));
            for service in ["ours", "composed", "instance", "app", "oneoff", "hook", "elsewhere"] {
                let name = app.name(service);
                let holder = observed.holders.iter().find(|holder| holder.name == name).unwrap();
                let container = ContainerRef::Id { id: holder.id.clone(), name };
                assert!(!holder.running && holder.ports.is_empty());
                app.remove(&container).await;
            }
        });
    }

    fn ports_are_held_by_who_publishes_them(engine) {
        run(async {
            let mut app = App::on(engine).await;
            let (all, one) = (engine.free_port(), engine.free_port());
            let mut body = sleeper();
            body["ExposedPorts"] = json!({ "80/tcp": {}, "53/udp": {} });
            body["HostConfig"] = json!({ "PortBindings": {
                "80/tcp": [{ "HostPort": all.to_string() }], "53/udp": [{ "HostIp": "127.0.0.1", "HostPort": one.to_string() }],
            } });
            let web = app.create("web", body).await;
            app.op(Op::Start { container: web.clone() }).await;
            let observed = app.target.observe(&app.ask).await.unwrap();
            let holder = observed.holders.iter().find(|holder| holder.name == app.name("web")).unwrap();
            assert_eq!(holder.ports, [(String::new(), all, "tcp".to_owned()), ("127.0.0.1".to_owned(), one, "udp".to_owned())]);
            app.remove(&web).await;
        });
    }

    fn a_person_who_stops_something_is_seen_and_a_crash_is_none(engine) {
        run(async {
            let mut app = App::on(engine).await;
            let since = SystemClock.now();
            let crash = app.create("crash", json!({ "Image": "base:1", "Cmd": ["sh", "-c", "exit 3"] })).await;
            app.op(Op::Start { container: crash.clone() }).await;
            let crashed = app.until("it has ended", |one| one.state == State::Exited).await;
            assert_eq!((crashed.exit_code, crashed.oom_killed), (Some(3), false));
            assert!(!app.target.stopped_by_hand(&crashed.id, since).await.unwrap());
            app.remove(&crash).await;

            let web = app.create("web", json!({ "Image": "web:1", "StopTimeout": 1 })).await;
            app.op(Op::Start { container: web.clone() }).await;
            let well = app.until("it is healthy", |one| one.health == Health::Healthy).await;
            assert_eq!(well.last_check.as_ref().unwrap().0, 0);
            assert!(!app.target.stopped_by_hand(&well.id, since).await.unwrap());
            engine.docker_text(&["kill", "--signal", "HUP", &well.id.0]);
            engine.docker_text(&["stop", &well.id.0]);
            assert!(app.target.stopped_by_hand(&well.id, since).await.unwrap());
            assert!(!app.target.stopped_by_hand(&well.id, SystemClock.now()).await.unwrap());
            app.remove(&web).await;
        });
    }

    fn downtime_is_what_the_engine_saw(engine) {
        run(async {
            let mut app = App::on(engine).await;
            let web = app.create("web", sleeper()).await;
            app.op(Op::Start { container: web.clone() }).await;
            let before = app.target.observe(&app.ask).await.unwrap();
            app.op(Op::Stop { container: web.clone(), grace: Some(0) }).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            app.op(Op::Start { container: web.clone() }).await;
            let after = [app.only().await];
            // The tests that share this engine may have filled its memory of events; then there is no figure.
            if let Some(gaps) = app.target.service_gaps(&app.ask, &before, &after).await.unwrap() {
                let gap = gaps["web"];
                assert!(gap >= Duration::from_millis(300) && gap < Duration::from_secs(20), "{gap:?}");
            }
            app.remove(&web).await;
        });
    }

    fn logs_are_followed_to_the_end(engine) {
        run(async {
            let mut app = App::on(engine).await;
            for tty in [false, true] {
                // 20.10 ends a followed log at the death of the container and loses what it has not written by then.
                let script = "echo one; sleep 0.2; echo two >&2; sleep 0.2; echo three; sleep 0.5; printf end";
                let talk = app.create("talk", json!({ "Image": "base:1", "Cmd": ["sh", "-c", script], "Tty": tty })).await;
                app.op(Op::Start { container: talk.clone() }).await;
                let id = ContainerId(id_of(&app, &talk).into());
                let mut seen = Vec::new();
                let ask = LogAsk { follow: true, ..LogAsk::default() };
                let followed = app.target.follow_logs(&id, &ask, |line| seen.push((line.stream, line.text)));
                tokio::time::timeout(Duration::from_secs(20), followed).await.unwrap().unwrap();
                let second = if tty { Stream::Out } else { Stream::Err };
                let expected = [(Stream::Out, "one"), (second, "two"), (Stream::Out, "three")];
                assert_eq!(seen.get(..3), Some(&expected.map(|(stream, text)| (stream, text.to_owned()))[..]), "tty {tty}");
                app.until("it has ended", |one| one.state == State::Exited).await;
                assert_eq!(app.target.logs(&id, 2).await.unwrap(), ["three", "end"]);
                app.remove(&talk).await;
            }
            // Much more than is kept, in lines of every length.
            let flood = app.create("flood", json!({ "Image": "base:1", "Cmd": ["sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo line-$i-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; i=$((i+1)); done; echo last"] })).await;
            app.op(Op::Start { container: flood.clone() }).await;
            let ended = app.until("it has ended", |one| one.state == State::Exited).await;
            let kept = app.target.logs(&ended.id, 100_000).await.unwrap();
            assert_eq!(kept.last().unwrap(), "last");
            assert!(kept.len() < 2000 && kept.iter().map(String::len).sum::<usize>() <= 64 << 10);
            app.remove(&flood).await;
        });
    }

    fn a_probe_reaches_the_container_itself(engine) {
        // The engine's bridges are in a network of their own, so the prober must be there too.
        engine.in_network(|| {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let mut app = App::on(engine).await;
                let web = app.create("web", json!({ "Image": "web:1", "StopTimeout": 1 })).await;
                app.op(Op::Start { container: web.clone() }).await;
                let seen = app.until("it is healthy", |one| one.health == Health::Healthy).await;
                assert_eq!(app.target.probe(&seen, 8080, "/").await, Ok(200));
                let nobody = app.target.probe(&seen, 8081, "/").await.unwrap_err();
                assert!(nobody.contains("8081") && nobody.contains("refused"), "{nobody}");
                assert!(app.target.probe(&seen, 8080, "no slash").await.is_err());
                app.remove(&web).await;
            });
        });
    }

    fn images_are_told_by_the_engine_or_its_registry(engine) {
        let (open, closed, fake) = (Registry::start(engine), Registry::with_password(engine), FakeRegistry::start(engine));
        let (digest, secret) = (open.push("web:1", "shop/web:1"), closed.push("web:2", "shop/web:2"));
        run(async {
            let mut app = App::on(engine).await;
            let ask = |platform: Option<&str>, registry| ImageAsk { platform: platform.map(str::to_owned), registry };
            let absent = |fact: &ImageFact| match fact {
                ImageFact::Absent(why) => (why.code.clone(), why.retry),
                other => panic!("{other:?}"),
            };
            let (there, private) = (format!("{}/shop/web:1", open.address()), format!("{}/shop/web:2", closed.address()));
            let pinned = format!("{}/shop/web:1@{digest}", open.address());
            let missing = format!("{}/shop/none:1", open.address());
            let local_id = engine.inspect("base:1")["Id"].as_str().unwrap().to_owned();
            let no_id = format!("sha256:{}", "0".repeat(64));
            app.ask.images = BTreeMap::from([
                (there.clone(), ask(None, Lookup::WhenAbsent)),
                (pinned.clone(), ask(None, Lookup::WhenAbsent)),
                (private.clone(), ask(None, Lookup::WhenAbsent)),
                (missing.clone(), ask(None, Lookup::WhenAbsent)),
                (format!("{}/shop/never:1", open.address()), ask(None, Lookup::Never)),
                (fake.image(429), ask(None, Lookup::WhenAbsent)),
                (fake.image(500), ask(None, Lookup::WhenAbsent)),
                ("base:1".into(), ask(None, Lookup::Always)),
                ("docker.io/library/web:1".into(), ask(Some("linux/s390x"), Lookup::WhenAbsent)),
                (local_id.clone(), ask(None, Lookup::WhenAbsent)),
                (no_id.clone(), ask(None, Lookup::WhenAbsent)),
            ]);
            let images = app.target.observe(&app.ask).await.unwrap().images;
            assert_eq!(images[&there], ImageFact::Remote { digest: digest.clone() });
            assert_eq!(images[&pinned], ImageFact::Remote { digest: digest.clone() });
            assert_eq!(absent(&images[&private]), ("E0531".into(), false));
            assert_eq!(absent(&images[&missing]), ("E0530".into(), false));
            assert_eq!(absent(&images[&format!("{}/shop/never:1", open.address())]), ("E0530".into(), false));
            assert_eq!(absent(&images[&fake.image(429)]), ("E0532".into(), true));
            assert!(absent(&images[&fake.image(500)]).1, "{:?}", images[&fake.image(500)]);
            assert_eq!(absent(&images["docker.io/library/web:1"]), ("E0534".into(), false));
            assert_eq!(absent(&images[&no_id]), ("E0530".into(), false));
            for name in ["base:1", &local_id] {
                let ImageFact::Local(image) = &images[name] else { panic!("{:?}", images[name]) };
                assert_eq!((image.id.as_str(), image.repo_digests.len(), image.registry.as_deref()), (local_id.as_str(), 0, None));
                assert_eq!(image.config["Cmd"], json!(["sh"]));
                assert_eq!(image.platform, app.target.engine().platform);
            }

            // With the credentials of a `docker login`, both the question and the pull are answered.
            let credentials = Credentials { config_dir: Some(engine.cli_config()), ..Credentials::default() };
            app.target = connect(engine.socket(), credentials).await;
            app.ask.images = BTreeMap::from([(private.clone(), ask(None, Lookup::WhenAbsent))]);
            let images = app.target.observe(&app.ask).await.unwrap().images;
            assert_eq!(images[&private], ImageFact::Remote { digest: secret.clone() });
            let by_digest = format!("{}/shop/web@{secret}", closed.address());
            app.op(Op::PullImage { reference: by_digest.clone(), platform: None }).await;
            let anonymous = connect(engine.socket(), Credentials::default()).await;
            let refused = Op::PullImage { reference: private.clone(), platform: None };
            let refused = anonymous.execute(&refused, &app.symbols).await.unwrap_err();
            assert_eq!(refused.code().to_string(), "E0531");
            assert!(!format!("{refused:?}").contains(PASSWORD));
            app.ask.images = BTreeMap::from([(by_digest.clone(), ask(None, Lookup::Always))]);
            let images = app.target.observe(&app.ask).await.unwrap().images;
            let ImageFact::Local(image) = &images[&by_digest] else { panic!("{images:?}") };
            assert_eq!((image.repo_digests.contains(&by_digest), image.registry.as_deref()), (true, Some(secret.as_str())));
            // A registry that is away takes nothing from an image that is here.
            closed.stop();
            let images = app.target.observe(&app.ask).await.unwrap().images;
            assert!(matches!(&images[&by_digest], ImageFact::Local(image) if image.registry.is_none()));
            app.target.remove_image(&by_digest).await.unwrap();
            app.target.remove_image(&by_digest).await.unwrap();
            let images = app.target.observe(&app.ask).await.unwrap().images;
            assert_eq!(absent(&images[&by_digest]), ("E0533".into(), true));
        });
    }

    fn an_image_is_made_from_files(engine) {
        run(async {
            let app = App::on(engine).await;
            let mut archive = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            header.set_size(1);
            archive.append_data(&mut header, "bin/x", &b"x"[..]).unwrap();
            let reference = ImageRef::parse(&format!("{}:7", app.name("image"))).unwrap();
            let changes = ["CMD [\"/bin/x\"]".to_owned(), "ENV A=1".to_owned()];
            let id = app.target.import_image(archive.into_inner().unwrap().into(), &reference, &changes).await.unwrap();
            let seen = engine.inspect(&reference.familiar());
            assert_eq!((seen["Id"].as_str(), &seen["Config"]["Cmd"]), (Some(id.as_str()), &json!(["/bin/x"])));
            assert!(app.target.import_image(b"no archive".as_slice().into(), &reference, &["NONSENSE".to_owned()]).await.is_err());
            app.target.remove_image(&reference.familiar()).await.unwrap();
        });
    }
}

fn id_of(app: &App, container: &ContainerRef) -> String {
    let ContainerRef::New { symbol, .. } = container else {
        panic!("{container}")
    };
    app.symbols.get(symbol).unwrap().0.to_string()
}

#[test]
fn an_engine_that_is_down_is_unknown_and_not_empty() {
    let engine = Engine::private(Version::V28);
    run(async {
        let app = App::on(&engine).await;
        app.target.observe(&app.ask).await.unwrap();
        engine.stop_daemon();
        let error = app.target.observe(&app.ask).await.unwrap_err();
        assert!(error.engine_is_away(), "{error:?}");
        let id = ContainerId("a".repeat(64).into());
        assert!(app.target.inspect(std::slice::from_ref(&id)).await.is_err());
        assert!(app.target.logs(&id, 1).await.is_err());
        assert!(
            app.target
                .stopped_by_hand(&id, Timestamp::UNIX_EPOCH)
                .await
                .is_err()
        );
        engine.start_daemon();
        app.target.observe(&app.ask).await.unwrap();
    });
}
