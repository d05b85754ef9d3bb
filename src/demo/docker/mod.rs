//! The demo on a Docker engine of this machine: `examples/repo`, with names of its own.
//!
//! In: the program, an engine, a folder for temporary files. Out: the story. Guaranteed: two demos, or a demo and a real
//! shop, never meet on one engine. Must not: run on another machine's engine.

pub mod witness;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::DemoError;
use super::example;
use super::images::{IMAGES, PREFIX, archive_of};
use super::repository::{Repository, RepositoryError};
use super::server::get;
use super::shell::Shell;
use super::story::{Edit, PATIENCE, Script, Stage, Story};
use super::teller::{Teller, seconds};
use super::visitor::Visitor;
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::live::docker::client::Client;
use crate::live::docker::endpoint::{Address, Endpoint};
use crate::live::error::LiveError;
use witness::{Seen, Witness};

/// What the demo needs from whoever starts it.
#[derive(Debug, Clone)]
pub struct Demo {
    /// The program's own file.
    pub program: PathBuf,
    /// The engine that `docker` would use.
    pub endpoint: Endpoint,
    /// Where temporary folders are made.
    pub temporary: PathBuf,
    /// What the commands inherit: `PATH`, `TERM`, `LANG` and such, no setting of Driftless.
    pub variables: Vec<(OsString, OsString)>,
    /// Whether the reader sees colours.
    pub color: bool,
}

/// Tells the whole story. `say` prints a line.
pub async fn run(demo: &Demo, say: &dyn Fn(&str), stop: &CancellationToken) -> Result<(), DemoError> {
    let Address::Unix(socket) = demo.endpoint.address() else {
        return Err(DemoError::Remote(demo.endpoint.to_string()));
    };
    let client = Client::connect(&demo.endpoint).await?;
    let begun = Instant::now();
    let id = super::repository::random_id();
    let folder = super::repository::temporary(&demo.temporary)?;
    let names = Names::new(&id, free_port().map_err(RepositoryError::Io)?);
    let instance = format!("demo-{id}");
    let mut variables = demo.variables.clone();
    let mut set = |name: &str, value: OsString| variables.push((name.into(), value));
    set("HOME", folder.path().join("home").into());
    set("DOCKER_HOST", format!("unix://{}", socket.display()).into());
    set("DRIFTLESS_STATE", folder.path().join("state").into());
    set("DRIFTLESS_INSTANCE", instance.clone().into());
    set(if demo.color { "CLICOLOR_FORCE" } else { "NO_COLOR" }, "1".into());
    let shell = Shell {
        program: demo.program.clone(),
        folder: folder.path().join("shop"),
        variables,
    };
    std::fs::create_dir_all(folder.path().join("home")).map_err(RepositoryError::Io)?;
    let info = client.info();
    let platform = info.platform.clone();
    let greeting = format!(
        "Docker {} at {}; nothing here needs a network, and nothing stays.",
        info.version, demo.endpoint
    );
    let mut story = Story {
        teller: Teller::new(shell, say, stop, demo.color),
        script: script(&names),
        stage: OnDocker {
            witness: Witness::new(&client, &names, &instance),
            names: &names,
        },
        visitor: None,
    };
    story.teller.say(&greeting);
    let told = story.tell(&platform).await;
    story.end(told, begun).await
}

/// What the demo's copy says in the place of what the example says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The Compose project of `apps/web`.
    pub web: String,
    /// The Compose project of `apps/jobs`.
    pub jobs: String,
    /// What the images' names start with.
    pub images: String,
    /// The proxy's port on 127.0.0.1.
    pub port: u16,
}

impl Names {
    /// Names with `id` in them.
    pub fn new(id: &str, port: u16) -> Self {
        Self {
            web: format!("demo-{id}-shop"),
            jobs: format!("demo-{id}-jobs"),
            images: PREFIX.replace("driftless-demo", &format!("driftless-demo-{id}")),
            port,
        }
    }

    /// `text` of the example with these names.
    pub fn put_into(&self, text: &str) -> String {
        text.replace("name: shop-jobs\n", &format!("name: {}\n", self.jobs))
            .replace("name: shop\n", &format!("name: {}\n", self.web))
            .replace(
                "docker compose -p shop ps",
                &format!("docker compose -p {} ps", self.web),
            )
            .replace("SHOP_PORT=8080", &format!("SHOP_PORT={}", self.port))
            .replace(PREFIX, &self.images)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

/// A port that nobody has at this moment.
fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Services that run for ever.
const SERVICES: [&str; 4] = ["proxy", "app", "database", "watch"];

/// Services that end.
const JOBS: [&str; 2] = ["migrate", "catalogue"];

fn script(names: &Names) -> Script {
    Script {
        app: "web",
        deploy: "Deploy a repository: a proxy, an app, its database, a migration, a sidecar, a job",
        well: "the engine says: proxy, app, database, watch run and are healthy, the app is {}, the jobs ended with 0",
        untouched: "the engine's event log shows no change; the same containers run since the same second",
        made_to: "the engine was made to",
        shop: names.url(),
        gone: "no container, network, volume or image of the demo is left",
        release: Edit {
            path: "apps/web/compose.yaml",
            old: "web:1.8.2",
            new: "web:1.9.0",
            message: "The shop 1.9.0",
        },
        unrelated: Edit {
            path: "README.md",
            old: "# The shop\n",
            new: "# The corner shop\n",
            message: "Name the shop",
        },
        fix: Edit {
            path: "apps/web/compose.yaml",
            old: "      SHOP_NAME: The corner shop\n",
            new: "      SHOP_NAME: The corner shop\n      SHOP_CURRENCY: EUR\n",
            message: "Give the shop its currency",
        },
    }
}

struct OnDocker<'a> {
    witness: Witness<'a>,
    names: &'a Names,
}

#[async_trait(?Send)]
impl Stage for OnDocker<'_> {
    type Scene = std::collections::BTreeMap<String, Seen>;

    async fn scene(&self) -> Result<Self::Scene, LiveError> {
        self.witness.services().await
    }

    async fn trouble(&self, version: &str) -> Result<Option<String>, LiveError> {
        let image = self.witness.image(&format!("web:{version}")).await?;
        let services = self.witness.services().await?;
        let ill = SERVICES
            .iter()
            .find(|name| !services.get(**name).is_some_and(Seen::well));
        let open = JOBS.iter().find(|name| {
            !services
                .get(**name)
                .is_some_and(|job| job.state == "exited" && job.exit_code == 0)
        });
        let other = services.get("app").filter(|app| app.image != image);
        Ok(match (ill, open, other) {
            (None, None, None) => None,
            (Some(name), ..) => Some(format!("{name} is not well: {:?}", services.get(*name))),
            (_, Some(name), _) => Some(format!("{name} did not end well: {:?}", services.get(*name))),
            (.., Some(app)) => Some(format!("app runs {}, not {image} ({version})", app.image)),
        })
    }

    async fn changes(&self, _: &Self::Scene, since: Timestamp) -> Result<Vec<String>, LiveError> {
        self.witness.changes_since(since, SystemClock.now()).await
    }

    async fn front_page(&self) -> Option<String> {
        // From inside a container the host's port is out of reach.
        let asked = tokio::time::timeout(PATIENCE, get(&self.names.url())).await;
        asked.ok()?.ok().map(|(_, body)| body.trim().to_owned())
    }

    fn visitor(&self) -> Visitor {
        let url = self.names.url();
        Visitor::start(move || {
            let url = url.clone();
            async move { matches!(get(&url).await, Ok((200, _))) }
        })
    }

    async fn remove_everything(&self) -> Result<Vec<String>, LiveError> {
        self.witness.remove_everything().await
    }
}

impl Story<'_, OnDocker<'_>> {
    async fn tell(&mut self, platform: &str) -> Result<(), DemoError> {
        self.make_images(platform).await?;
        let names = self.stage.names.clone();
        let repository = Repository::create(&self.teller.shell.folder, example::DOCKER, move |text| {
            names.put_into(text)
        })?;
        self.deploy(&repository).await?;
        self.change_nothing().await?;
        self.drift_and_heal().await?;
        self.open_the_shop().await;
        self.ship_a_broken_release(&repository).await?;
        self.commit_something_else(&repository).await?;
        self.ship_the_fix(&repository).await
    }

    async fn make_images(&self, platform: &str) -> Result<(), DemoError> {
        let begun = Instant::now();
        let own = format!("{}/{}", std::env::consts::OS, super::images::architecture());
        if platform != own {
            return Err(DemoError::Platform {
                engine: platform.to_owned(),
                program: own,
            });
        }
        let bytes =
            archive_of(&self.teller.shell.program, &self.stage.names.images).map_err(DemoError::Images)?;
        tokio::select! {
            loaded = self.stage.witness.load(bytes) => loaded?,
            // A half-loaded archive leaves whole images or none; those that are there are removed.
            () = self.teller.stop.cancelled() => return Err(DemoError::Interrupted),
        }
        self.teller.say(&format!(
            "{} images made of this program itself, in {}.",
            IMAGES.len(),
            seconds(begun.elapsed())
        ));
        Ok(())
    }

    async fn drift_and_heal(&mut self) -> Result<(), DemoError> {
        self.teller
            .heading("Somebody changes things by hand: drift is shown, and healed");
        let app = self.service("app").await?;
        let database = self.service("database").await?;
        self.teller.remark(&format!("docker stop {}", app.name));
        self.stage.witness.stop(&app).await?;
        self.teller
            .remark(&format!("docker update --restart=no {}", database.name));
        self.stage.witness.set_restart(&database, "no").await?;
        self.teller.driftless(&["drift"], 1).await?;
        self.teller.driftless(&["apply", "--yes"], 0).await?;
        self.all_is_well("1.8.2").await?;
        let healed = self.service("database").await?;
        self.teller.check(
            healed.restart == "unless-stopped" && healed.id == database.id,
            "the database's restart policy is back, and its container was not replaced for that",
            &format!(
                "the database's restart policy is {:?}, its container {}",
                healed.restart, healed.id
            ),
        )?;
        self.teller.driftless(&["drift"], 0).await?;
        self.teller.done();
        Ok(())
    }

    async fn service(&self, name: &str) -> Result<Seen, DemoError> {
        match self.stage.witness.services().await?.remove(name) {
            Some(seen) => Ok(seen),
            None => self.teller.not_so(format!("there is no container of {name}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_has_nothing_in_common_with_the_example_by_name() {
        let names = Names::new("1a2b", 41000);
        for (path, text) in example::DOCKER {
            let own = names.put_into(text);
            assert!(!own.contains(PREFIX), "{path}");
            assert!(!own.lines().any(|line| line.starts_with("name: shop")), "{path}");
        }
        let all: String = example::DOCKER
            .iter()
            .map(|(_, text)| names.put_into(text))
            .collect();
        for expected in [
            "name: demo-1a2b-shop\n",
            "name: demo-1a2b-jobs\n",
            "SHOP_PORT=41000",
            "localhost/driftless-demo-1a2b/web:1.8.2",
        ] {
            assert!(all.contains(expected), "{expected}");
        }
    }
}
