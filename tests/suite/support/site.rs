//! One app of one user on an engine: a repository, a home, and a proxy that counts what is sent.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::command::CommandOutput;
use super::driftless::TestEnv;
use super::engine::Engine;
use super::proxy::Proxy;
use super::repo::Repo;

/// An app whose files lie in `app/` of a repository of its own; what it made is removed with the value.
pub struct Site<'e> {
    pub engine: &'e Engine,
    pub repo: Repo,
    pub env: TestEnv,
    pub proxy: Proxy,
    /// The name of the app and of its Compose project.
    pub app: String,
}

impl<'e> Site<'e> {
    /// An app with this Compose file, committed and not applied. `NAME` stands for the app's name.
    pub fn new(engine: &'e Engine, compose: &str) -> Self {
        let proxy = Proxy::start(&engine.socket());
        let site = Self {
            engine,
            repo: Repo::new(),
            env: TestEnv::new().var("DOCKER_HOST", &proxy.docker_host()),
            proxy,
            app: engine.unique("law"),
        };
        site.settings("health: { bake: 300ms }");
        site.write(compose);
        site.repo.commit("first");
        site
    }

    /// Like [`Site::new`], and applied.
    #[track_caller]
    pub fn applied(engine: &'e Engine, compose: &str) -> Self {
        let site = Self::new(engine, compose);
        drop(site.apply().success());
        site
    }

    /// Writes `driftless.yaml` with these settings for the app, without a commit.
    pub fn settings(&self, settings: &str) {
        let text = format!("apps:\n  {}:\n    path: app\n    {settings}\n", self.app);
        self.repo.write("driftless.yaml", text);
    }

    /// Writes the Compose file, without a commit.
    pub fn write(&self, compose: &str) {
        self.repo
            .write("app/compose.yaml", compose.replace("NAME", &self.app));
    }

    /// Writes the Compose file and commits.
    pub fn commit(&self, compose: &str) {
        self.write(compose);
        self.repo.commit("next");
    }

    /// Replaces one text in the Compose file and commits.
    #[track_caller]
    pub fn change(&self, old: &str, new: &str) {
        self.repo.replace("app/compose.yaml", old, new);
        self.repo.commit("next");
    }

    /// Runs `driftless` in the repository.
    pub fn run(&self, arguments: &[&str]) -> CommandOutput {
        self.env.run(&self.repo.path(), arguments)
    }

    /// `driftless apply --yes`.
    pub fn apply(&self) -> CommandOutput {
        self.run(&["apply", "--yes"])
    }

    /// The one plan of `driftless plan -o json`.
    #[track_caller]
    pub fn plan(&self) -> Value {
        self.run(&["plan", "-o", "json"]).success().json()["plans"][0].take()
    }

    /// Requires that nothing is to be done, and that asking sends nothing that changes anything.
    #[track_caller]
    pub fn assert_in_sync(&self, when: &str) {
        self.proxy.clear();
        let plan = self.plan();
        let acts: Vec<&Value> = list(&plan["changes"])
            .filter(|change| change["calls"] != 0 || change["fields"] != Value::Array(Vec::new()))
            .collect();
        assert!(
            acts.is_empty() && list(&plan["problems"]).next().is_none(),
            "{when}: {acts:#?} {:#?}",
            plan["problems"]
        );
        drop(self.apply().success().says("no changes"));
        self.proxy.assert_read_only();
    }

    /// The name of a service's first container.
    pub fn container(&self, service: &str) -> String {
        format!("{}-{service}-1", self.app)
    }

    /// The id of a service's first container.
    #[track_caller]
    pub fn id(&self, service: &str) -> String {
        self.engine
            .docker_text(&["inspect", "-f", "{{.Id}}", &self.container(service)])
    }

    /// Everything that the project has: containers with their ids, states and restarts, networks, volumes.
    #[track_caller]
    pub fn snapshot(&self) -> BTreeMap<String, String> {
        snapshot(self.engine, &self.app)
    }

    /// The path of `folder` in the repository.
    pub fn folder(&self, folder: &str) -> std::path::PathBuf {
        self.repo.path().join(folder)
    }

    /// Runs `docker compose` for the project as a person would.
    pub fn compose(&self, arguments: &[&str]) -> CommandOutput {
        let project = ["-p", &self.app, "-f", "app/compose.yaml"];
        self.engine
            .compose(&self.repo.path(), &[&project[..], arguments].concat())
    }
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        sweep(self.engine, &self.app);
    }
}

/// The elements of a JSON list.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Everything that a Compose project has on an engine.
#[track_caller]
pub fn snapshot(engine: &Engine, project: &str) -> BTreeMap<String, String> {
    let filter = format!("label=com.docker.compose.project={project}");
    let mut all = BTreeMap::new();
    let ids = engine.docker_text(&["ps", "-aq", "--no-trunc", "--filter", &filter]);
    if !ids.is_empty() {
        let format = "{{.Name}} {{.Id}} {{.State.Status}} {{.State.StartedAt}} {{.RestartCount}}";
        let ids: Vec<&str> = ids.lines().collect();
        let text = engine.docker_text(&[&["inspect", "-f", format][..], &ids].concat());
        all.extend(
            text.lines()
                .filter_map(|line| line.split_once(' '))
                .map(|(name, rest)| (format!("container {name}"), rest.to_owned())),
        );
    }
    for (kind, format) in [
        ("network", "{{.Name}} {{.ID}}"),
        ("volume", "{{.Name}} {{.Driver}}"),
    ] {
        let text = engine.docker_text(&[kind, "ls", "--filter", &filter, "--format", format]);
        all.extend(
            text.lines()
                .filter_map(|line| line.split_once(' '))
                .map(|(name, rest)| (format!("{kind} {name}"), rest.to_owned())),
        );
    }
    all
}

/// Removes everything of a Compose project.
pub fn sweep(engine: &Engine, project: &str) {
    let filter = format!("label=com.docker.compose.project={project}");
    for (kind, remove) in [
        ("container", &["container", "rm", "-fv"][..]),
        ("network", &["network", "rm"]),
        ("volume", &["volume", "rm"]),
    ] {
        let all = if kind == "container" { "-aq" } else { "-q" };
        let ids = engine.docker(&[kind, "ls", all, "--filter", &filter]);
        let ids: Vec<&str> = ids.stdout.lines().collect();
        if !ids.is_empty() {
            drop(engine.docker(&[remove, &ids].concat()));
        }
    }
}

/// All files below a folder with their bytes.
pub fn files_below(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(path),
                Ok(kind) if kind.is_file() => {
                    files.push((path.clone(), std::fs::read(&path).unwrap_or_default()))
                }
                _ => {}
            }
        }
    }
    files
}
