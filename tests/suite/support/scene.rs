//! One app on a shared engine, behind a recording proxy: what a law about releases starts from.

use std::path::PathBuf;
use std::time::Duration;

use driftless::clock::Timestamp;
use driftless::history::{AppState, History as _, Opening, Store, Summary};

use super::command::CommandOutput;
use super::driftless::{Running, TestEnv};
use super::engine::Engine;
use super::proxy::{Call, Proxy};
use super::repo::Repo;

/// Nothing in these laws takes longer on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A user with one repository; everything of its apps is removed from the engine at the end.
pub struct Scene {
    pub engine: &'static Engine,
    pub proxy: Proxy,
    pub repo: Repo,
    pub env: TestEnv,
    /// The app's name, which is also its project's.
    pub app: String,
    others: Vec<String>,
}

impl Shown {
    /// Its image by the name that the tests know it by.
    pub fn image_tag(&self, scene: &Scene) -> String {
        let id = scene
            .engine
            .docker_text(&["inspect", "-f", "{{.Image}}", &self.id]);
        let format = "{{range .RepoTags}}{{.}} {{end}}";
        let tags = scene.engine.docker_text(&["image", "inspect", "-f", format, &id]);
        tags.split_whitespace()
            .find(|tag| tag.starts_with("web:") || tag.starts_with("base:"))
            .unwrap_or(&id)
            .to_owned()
    }
}

/// A container of an app as `docker ps` shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    pub service: String,
    pub state: String,
    pub image: String,
    pub name: String,
    pub id: String,
}

impl Scene {
    /// One app whose Compose file holds `services`, with a bake of a second; committed, not applied.
    pub fn new(engine: &'static Engine, services: &str) -> Self {
        Self::with_rules(engine, "health: { bake: 1s }", services)
    }

    /// The same with other rules of the app in `driftless.yaml`, as the inside of a flow mapping.
    pub fn with_rules(engine: &'static Engine, rules: &str, services: &str) -> Self {
        let proxy = Proxy::start(&engine.socket());
        let env = TestEnv::on(engine).var("DOCKER_HOST", &proxy.docker_host());
        let scene = Self {
            engine,
            proxy,
            repo: Repo::new(),
            env,
            app: engine.unique("shop"),
            others: Vec::new(),
        };
        scene.repo.write(
            "driftless.yaml",
            format!("apps:\n  {0}: {{ path: apps/{0}, {rules} }}\n", scene.app),
        );
        scene.commit(services);
        scene
    }

    /// Where the app's Compose file is.
    pub fn file(&self) -> String {
        format!("apps/{}/compose.yaml", self.app)
    }

    /// Commits another Compose file for the app.
    pub fn commit(&self, services: &str) -> String {
        self.repo
            .commit_file(&self.file(), services, &format!("change {}", self.app))
    }

    /// Another app of the repository that is cleaned up as well; its name.
    pub fn another(&mut self, rules: &str, services: &str) -> String {
        let name = self.engine.unique("other");
        let list = std::fs::read_to_string(self.repo.path().join("driftless.yaml")).expect("it was written");
        self.repo.write(
            "driftless.yaml",
            format!("{list}  {name}: {{ path: apps/{name}, {rules} }}\n"),
        );
        self.repo
            .commit_file(&format!("apps/{name}/compose.yaml"), services, "another app");
        self.others.push(name.clone());
        name
    }

    /// Runs a verb.
    pub fn run(&self, arguments: &[&str]) -> CommandOutput {
        self.env.run(&self.repo.path(), arguments)
    }

    /// `driftless apply --yes`.
    pub fn apply(&self) -> CommandOutput {
        self.run(&["apply", "--yes"])
    }

    /// Starts `driftless apply --yes` and returns at once.
    pub fn start_apply(&self) -> Running {
        self.env
            .start(&self.repo.path(), &["apply", "--yes", "--progress=plain"])
    }

    /// The store, opened beside whoever owns it.
    pub fn store(&self) -> Store {
        let opening = Opening {
            folder: self.env.state(),
            key_file: None,
            command: "test".to_owned(),
            now: Timestamp::UNIX_EPOCH,
        };
        Store::beside(&opening)
            .expect("the store can be read")
            .expect("there is a store")
    }

    /// Where the app stands, and its releases, newest first.
    pub fn story(&self) -> (AppState, Vec<Summary>) {
        let store = self.store();
        let apps = store.apps().expect("the store can be read");
        let entry = apps.iter().find(|entry| entry.key.app.as_str() == self.app);
        let key = &entry.expect("the app is in the store").key;
        let state = store.state(key).expect("the store can be read");
        (state, store.releases(key, 100).expect("the store can be read"))
    }

    /// All containers of the app, ended ones too, in a fixed order.
    pub fn containers(&self) -> Vec<Shown> {
        self.containers_of(&self.app)
    }

    /// The same of another app.
    pub fn containers_of(&self, app: &str) -> Vec<Shown> {
        let listed = self.engine.docker_text(&[
            "ps",
            "-a",
            "--no-trunc",
            "--filter",
            &format!("label=com.docker.compose.project={app}"),
            "--format",
            "{{.Label \"com.docker.compose.service\"}}\t{{.State}}\t{{.Image}}\t{{.Names}}\t{{.ID}}",
        ]);
        let mut all: Vec<Shown> = listed
            .lines()
            .map(|line| {
                let mut parts = line.split('\t').map(str::to_owned);
                let mut next = || parts.next().expect("five columns");
                Shown {
                    service: next(),
                    state: next(),
                    image: next(),
                    name: next(),
                    id: next(),
                }
            })
            .collect();
        all.sort();
        all
    }

    /// The containers that run.
    pub fn running(&self) -> Vec<Shown> {
        self.containers()
            .into_iter()
            .filter(|shown| shown.state == "running")
            .collect()
    }

    /// The one running container of a service.
    #[track_caller]
    pub fn serving(&self, service: &str) -> Shown {
        let all = self.running();
        let mut of_it: Vec<&Shown> = all.iter().filter(|shown| shown.service == service).collect();
        assert_eq!(
            of_it.len(),
            1,
            "one container of {service} must run: {:#?}",
            self.containers()
        );
        of_it.remove(0).clone()
    }

    /// What the one running container of a service answers to `GET path` in the app's network.
    #[track_caller]
    pub fn answer(&self, service: &str, path: &str) -> String {
        let shown = self.serving(service);
        let address = self
            .engine
            .address_of(&shown.id, &format!("{}_default", self.app));
        self.engine
            .http_get_at((address, 8080), path)
            .expect("the container answers")
            .body
    }

    /// The calls since the last look that can change something.
    pub fn take_mutating(&self) -> Vec<Call> {
        let calls = self.proxy.mutating();
        self.proxy.clear();
        calls
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.env.state()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for app in self.others.iter().chain([&self.app]) {
            let filter = format!("label=com.docker.compose.project={app}");
            for (list, remove) in [
                (
                    ["ps", "-aq", "--filter", filter.as_str()],
                    ["rm", "-f", "-v"].as_slice(),
                ),
                (["network", "ls", "-q", "--filter"], ["network", "rm"].as_slice()),
                (
                    ["volume", "ls", "-q", "--filter"],
                    ["volume", "rm", "-f"].as_slice(),
                ),
            ] {
                let mut arguments = list.to_vec();
                if arguments.last() == Some(&"--filter") {
                    arguments.push(&filter);
                }
                let found = self.engine.docker(&arguments).stdout;
                let ids: Vec<&str> = found.split_whitespace().collect();
                if !ids.is_empty() {
                    // What is left over by a failed test only costs memory of a throw-away engine.
                    drop(self.engine.docker(&[remove, ids.as_slice()].concat()));
                }
            }
        }
    }
}
