//! The demo on a cluster: `examples/kubernetes`, in a namespace of its own.
//!
//! In: the program, a context of a kubeconfig, a folder for temporary files, an image where the cluster's nodes don't have
//! the demo's. Out: the story. Guaranteed: one namespace with a random name is made and deleted, and nothing else is
//! touched. Must not: load an image into a node, or ask whether it may (whoever starts it does).

mod images;
pub mod witness;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::DemoError;
use super::example;
use super::repository::{Repository, RepositoryError, random_id, temporary};
use super::shell::Shell;
use super::story::{Edit, Script, Stage, Story};
use super::teller::Teller;
use super::visitor::Visitor;
use crate::clock::Timestamp;
use crate::live::error::LiveError;
use crate::live::kubernetes::client::Api;
use crate::live::kubernetes::config::{ClusterSpec, resolve};
use witness::{Objects, Witness, text};

/// What the demo needs from whoever starts it.
#[derive(Debug, Clone)]
pub struct Demo {
    /// The program's own file.
    pub program: PathBuf,
    /// The cluster that `kubectl` would use, or another context.
    pub cluster: ClusterSpec,
    /// An image that the cluster can pull and that holds this program; else its nodes must have the demo's images.
    pub image: Option<String>,
    /// Where temporary folders are made.
    pub temporary: PathBuf,
    /// What the commands inherit: everything that a kubeconfig's credential program may need, no setting of Driftless.
    pub variables: Vec<(OsString, OsString)>,
    /// Which of kustomize and Helm are there; an app that needs another one is left out.
    pub tools: Tools,
    /// Whether the reader sees colours.
    pub color: bool,
}

/// What renders the example's apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tools {
    /// `kustomize`, or a `kubectl`.
    pub kustomize: bool,
    pub helm: bool,
}

/// A demo that knows its cluster and has done nothing yet.
pub struct Ready<'d> {
    demo: &'d Demo,
    config: kube::Config,
    /// The context, or `in-cluster`.
    pub context: String,
    /// The namespace that is made.
    pub namespace: String,
    id: String,
}

impl<'d> Ready<'d> {
    /// Reads the kubeconfig. Nothing is sent.
    pub async fn find(demo: &'d Demo) -> Result<Self, DemoError> {
        let resolved = resolve(&demo.cluster).await?;
        let id = random_id();
        Ok(Self {
            demo,
            config: resolved.config,
            context: resolved.context,
            namespace: format!("driftless-demo-{id}"),
            id,
        })
    }

    /// The server's address.
    pub fn address(&self) -> String {
        self.config
            .cluster_url
            .to_string()
            .trim_end_matches('/')
            .to_owned()
    }

    /// Tells the whole story. `say` prints a line.
    pub async fn run(self, say: &dyn Fn(&str), stop: &CancellationToken) -> Result<(), DemoError> {
        let begun = Instant::now();
        let folder = temporary(&self.demo.temporary)?;
        // A client belongs to the runtime that it is made in.
        let api = Api::new(self.config.clone())?;
        let witness = Witness::new(api, self.namespace.clone());
        let version = witness.version().await?;
        let home = folder.path().join("home");
        std::fs::create_dir_all(&home).map_err(RepositoryError::Io)?;
        let config = home.join("config.yaml");
        std::fs::write(&config, self.target()).map_err(RepositoryError::Io)?;
        let mut variables = self.demo.variables.clone();
        let mut set = |name: &str, value: OsString| variables.push((name.into(), value));
        set("DRIFTLESS_CONFIG", config.into());
        set("DRIFTLESS_STATE", folder.path().join("state").into());
        set("DRIFTLESS_INSTANCE", format!("demo-{}", self.id).into());
        set(
            if self.demo.color {
                "CLICOLOR_FORCE"
            } else {
                "NO_COLOR"
            },
            "1".into(),
        );
        if !self.demo.cluster.kubeconfigs.is_empty() {
            let files = std::env::join_paths(&self.demo.cluster.kubeconfigs);
            set("KUBECONFIG", files.unwrap_or_default());
        }
        let shell = Shell {
            program: self.demo.program.clone(),
            folder: folder.path().join("shop"),
            variables,
        };
        let tools = self.demo.tools;
        let mut story = Story {
            teller: Teller::new(shell, say, stop, self.demo.color),
            script: script(tools),
            stage: OnCluster { witness, tools },
            visitor: None,
        };
        story.teller.say(&format!(
            "Kubernetes {version} at k8s:{} ({}).",
            self.context,
            self.address()
        ));
        let told = story.tell(self.demo.image.as_deref()).await;
        story.end(told, begun).await
    }

    /// The operator's file of the demo: one target, so that every app goes there. A JSON text is a YAML text.
    fn target(&self) -> String {
        let context = match &self.demo.cluster.context {
            Some(context) => context.as_str(),
            None if self.demo.cluster.kubeconfigs.is_empty() => "in-cluster",
            None => "current",
        };
        json!({ "targets": { self.context.as_str(): { "kubernetes": context, "namespace": self.namespace, "exec": true } } })
            .to_string()
    }
}

/// Where things are listed.
const DEPLOYMENTS: &str = "apis/apps/v1/deployments";
const CONFIG_MAPS: &str = "api/v1/configmaps";

/// Deployments with their pods; `status` where kustomize is there.
const SERVICES: [(&str, i64); 3] = [("app", 2), ("proxy", 1), ("status", 2)];

fn script(tools: Tools) -> Script {
    Script {
        app: "shop",
        deploy: "Deploy a repository: a proxy, an app, its database and its migration; a status page, a job",
        well: if tools
            == (Tools {
                kustomize: true,
                helm: true,
            }) {
            "the API server says: app, proxy, status and database have all their pods ready, the app is {}, the jobs completed"
        } else {
            "the API server says: every workload has all its pods ready, the app is {}, every job completed"
        },
        untouched: "the API server says: every object is as it was, down to who wrote each field and when",
        made_to: "changed meanwhile",
        shop: "the shop, through the API server's proxy,".to_owned(),
        gone: "the namespace is gone, and everything was in it",
        release: Edit {
            path: "apps/shop/app.yaml",
            old: "web:1.8.2",
            new: "web:1.9.0",
            message: "The shop 1.9.0",
        },
        unrelated: Edit {
            path: "README.md",
            old: "# The shop, on a cluster\n",
            new: "# The corner shop, on a cluster\n",
            message: "Name the shop",
        },
        fix: Edit {
            path: "apps/shop/settings.yaml",
            old: "  SHOP_NAME: The corner shop\n",
            new: "  SHOP_NAME: The corner shop\n  SHOP_CURRENCY: EUR\n",
            message: "Give the shop its currency",
        },
    }
}

struct OnCluster {
    witness: Witness,
    tools: Tools,
}

impl OnCluster {
    async fn field(&self, list: &str, name: &str, pointer: &str) -> Result<Value, LiveError> {
        let object = self.witness.object(list, name).await?;
        Ok(object.pointer(pointer).cloned().unwrap_or_default())
    }
}

/// Whether a Deployment or a StatefulSet has `wanted` pods, all of the newest revision and ready.
fn complete(object: &Value, wanted: i64) -> bool {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    number("/spec/replicas") == wanted
        && number("/status/observedGeneration") == number("/metadata/generation")
        && number("/status/replicas") == wanted
        && number("/status/updatedReplicas") == wanted
        && number("/status/readyReplicas") == wanted
}

/// The version of the shop that a pod's template names.
fn version(container: &Value) -> &str {
    let variables = container.pointer("/env").and_then(Value::as_array);
    let told = variables
        .into_iter()
        .flatten()
        .find(|variable| text(variable, "/name") == "SHOP_VERSION");
    match told {
        Some(variable) => text(variable, "/value"),
        None => text(container, "/image")
            .rsplit_once(':')
            .map_or("", |(_, tag)| tag),
    }
}

#[async_trait(?Send)]
impl Stage for OnCluster {
    type Scene = Objects;

    async fn scene(&self) -> Result<Objects, LiveError> {
        self.witness.objects().await
    }

    async fn trouble(&self, wanted: &str) -> Result<Option<String>, LiveError> {
        for (name, pods) in SERVICES {
            let object = self.witness.object(DEPLOYMENTS, name).await?;
            if (name != "status" || self.tools.kustomize) && !complete(&object, pods) {
                return Ok(Some(format!(
                    "Deployment/{name} is not well: {}",
                    object["status"]
                )));
            }
            if name == "app" {
                let container = object.pointer("/spec/template/spec/containers/0");
                let found = container.map_or("", version);
                if found != wanted {
                    return Ok(Some(format!("Deployment/app is {found:?}, not {wanted}")));
                }
            }
        }
        let database = self
            .witness
            .object("apis/apps/v1/statefulsets", "database")
            .await?;
        if !complete(&database, 1) {
            return Ok(Some(format!(
                "StatefulSet/database is not well: {}",
                database["status"]
            )));
        }
        for (name, there) in [("migrate", true), ("catalogue", self.tools.helm)] {
            let job = self.witness.object("apis/batch/v1/jobs", name).await?;
            if there && job.pointer("/status/succeeded").and_then(Value::as_i64) != Some(1) {
                return Ok(Some(format!("Job/{name} did not complete: {}", job["status"])));
            }
        }
        Ok(None)
    }

    async fn changes(&self, before: &Objects, _: Timestamp) -> Result<Vec<String>, LiveError> {
        let now = self.witness.objects().await?;
        let names = before
            .keys()
            .chain(now.keys())
            .collect::<std::collections::BTreeSet<_>>();
        Ok(names
            .into_iter()
            .filter(|name| before.get(*name) != now.get(*name))
            .cloned()
            .collect())
    }

    async fn front_page(&self) -> Option<String> {
        self.witness.front_page().await
    }

    fn visitor(&self) -> Visitor {
        Visitor::start(self.witness.customer())
    }

    async fn remove_everything(&self) -> Result<Vec<String>, LiveError> {
        self.witness.remove_namespace().await
    }
}

impl Story<'_, OnCluster> {
    async fn tell(&mut self, image: Option<&str>) -> Result<(), DemoError> {
        self.prepare(image).await?;
        let repository = self.repository(image)?;
        self.deploy(&repository).await?;
        self.change_nothing().await?;
        self.drift_and_heal().await?;
        self.open_the_shop().await;
        self.ship_a_broken_release(&repository).await?;
        self.commit_something_else(&repository).await?;
        self.ship_the_fix(&repository).await?;
        self.move_two_fields(&repository).await?;
        self.prune(&repository).await
    }

    /// The namespace, and a node that can run the images.
    async fn prepare(&self, image: Option<&str>) -> Result<(), DemoError> {
        let witness = &self.stage.witness;
        let work = async {
            witness.make_namespace().await?;
            self.teller.say(&format!(
                "The namespace {} is made for this and deleted at the end; nothing else is touched.",
                witness.namespace()
            ));
            witness.images_run(image).await
        };
        let ran = tokio::select! {
            ran = work => ran?,
            // What was made is in the namespace, or is the namespace.
            () = self.teller.stop.cancelled() => return Err(DemoError::Interrupted),
        };
        ran.map_err(|broken| DemoError::NoImage {
            image: broken.image,
            node: broken.node,
            why: broken.why,
            named: image.is_some(),
        })
    }

    fn repository(&self, image: Option<&str>) -> Result<Repository, DemoError> {
        let Tools { kustomize, helm } = self.stage.tools;
        let mut left_out = Vec::new();
        for (there, app, needs) in [
            (kustomize, "status", "kustomize or kubectl is"),
            (helm, "catalogue", "helm is"),
        ] {
            if !there {
                self.teller
                    .say(&format!("The app `{app}` is left out: no {needs} on the PATH."));
                left_out.push(app);
            }
        }
        let files: Vec<(&str, &str)> = example::KUBERNETES
            .iter()
            .filter(|(path, _)| {
                !left_out
                    .iter()
                    .any(|app| path.starts_with(&format!("apps/{app}/")))
            })
            .copied()
            .collect();
        let image = image.map(str::to_owned);
        let wording = move |text: &str| {
            let text = left_out
                .iter()
                .fold(text.to_owned(), |text, app| without(&text, app));
            match &image {
                Some(reference) => images::with_image(&text, reference),
                None => text,
            }
        };
        Ok(Repository::create(&self.teller.shell.folder, &files, wording)?)
    }

    async fn drift_and_heal(&mut self) -> Result<(), DemoError> {
        self.teller
            .heading("Somebody changes things by hand: drift is shown with who did it, and healed");
        let witness = &self.stage.witness;
        let before = self.stage.field(DEPLOYMENTS, "app", "/metadata/uid").await?;
        self.teller
            .remark("kubectl edit configmap/shop              SHOP_NAME: The other shop");
        let name = json!({ "data": { "SHOP_NAME": "The other shop" } });
        witness.edit(CONFIG_MAPS, "shop", &name, "kubectl-edit").await?;
        self.teller
            .remark("kubectl edit deployment/app              replicas: 1");
        let one = json!({ "spec": { "replicas": 1 } });
        witness.edit(DEPLOYMENTS, "app", &one, "kubectl-edit").await?;
        self.teller.remark("kubectl delete deployment/proxy");
        witness.delete(DEPLOYMENTS, "proxy").await?;
        let shown = self.teller.driftless(&["drift"], 1).await?;
        self.teller.check(
            shown.contains("kubectl-edit"),
            "the drift is told with the name under which it was made",
            "the drift does not say that `kubectl edit` made it",
        )?;
        self.teller.driftless(&["apply", "--yes"], 0).await?;
        self.all_is_well("1.8.2").await?;
        let (uid, name) = futures_util::try_join!(
            self.stage.field(DEPLOYMENTS, "app", "/metadata/uid"),
            self.stage.field(CONFIG_MAPS, "shop", "/data/SHOP_NAME"),
        )?;
        self.teller.check(
            uid == before && name == "The corner shop",
            "the name and the replicas are back, each in the object that it was in",
            &format!("SHOP_NAME is {name}, and Deployment/app is {uid}, which was {before}"),
        )?;
        self.teller.driftless(&["drift"], 0).await?;
        self.teller.done();
        Ok(())
    }

    async fn move_two_fields(&mut self, repository: &Repository) -> Result<(), DemoError> {
        self.teller
            .heading("Git and a hand move different fields of one object: the plan tells them apart");
        let (path, old, new) = ("apps/shop/app.yaml", "memory: 128Mi", "memory: 192Mi");
        let lines = repository.edit(path, old, new)?;
        self.teller
            .commit(repository, "More memory for the app", &lines)?;
        self.teller
            .remark("kubectl edit deployment/app              replicas: 3");
        let three = json!({ "spec": { "replicas": 3 } });
        let witness = &self.stage.witness;
        witness.edit(DEPLOYMENTS, "app", &three, "kubectl-edit").await?;
        let shown = self.teller.driftless(&["plan"], 0).await?;
        let moved = |field: &str, by: &str| {
            shown
                .lines()
                .any(|line| line.contains(field) && line.split_whitespace().any(|word| word == by))
        };
        self.teller.check(
            moved("memory", "git") && moved("replicas", "live"),
            "the memory moved in Git, the replicas live",
            "the plan does not say that the memory moved in Git and the replicas live",
        )?;
        self.teller.driftless(&["apply", "--yes"], 0).await?;
        self.all_is_well("1.9.0").await?;
        let limit = "/spec/template/spec/containers/0/resources/limits/memory";
        let memory = self.stage.field(DEPLOYMENTS, "app", limit).await?;
        self.teller.check(
            memory == "192Mi",
            "the app has 2 pods with 192Mi each",
            &format!("the app's memory is {memory}"),
        )?;
        self.teller.done();
        Ok(())
    }

    async fn prune(&mut self, repository: &Repository) -> Result<(), DemoError> {
        self.teller
            .heading("Git drops an object: it is deleted last, when everything else is healthy");
        repository.remove("apps/shop/report.yaml")?;
        let removed = ["-apps/shop/report.yaml".to_owned()];
        self.teller
            .commit(repository, "No nightly report any more", &removed)?;
        let before = self.stage.scene().await?;
        self.teller.driftless(&["plan"], 0).await?;
        self.teller.driftless(&["apply", "--yes"], 0).await?;
        let now = self.stage.scene().await?;
        let mut expected: Vec<&String> = before.keys().collect();
        expected.retain(|name| *name != "CronJob/report");
        self.teller.check(
            expected.len() + 1 == before.len() && now.keys().eq(expected),
            "the API server has every other object, and no CronJob/report",
            &format!("there are now {:?}", now.keys()),
        )?;
        self.all_is_well("1.9.0").await?;
        self.teller.done();
        Ok(())
    }
}

/// A `driftless.yaml` without one of its apps and the comment before it.
fn without(text: &str, app: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let Some(at) = lines.iter().position(|line| *line == format!("  {app}:")) else {
        return text.to_owned();
    };
    let comments = lines[..at]
        .iter()
        .rev()
        .take_while(|line| line.starts_with("  #"))
        .count();
    let end = lines[at + 1..]
        .iter()
        .position(|line| !line.is_empty() && !line.starts_with("   "))
        .map_or(lines.len(), |next| at + 1 + next);
    let kept = lines[..at - comments].iter().chain(&lines[end..]);
    kept.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_left_out_of_the_list_as_a_whole() {
        let list = example::KUBERNETES
            .iter()
            .find(|(path, _)| *path == "driftless.yaml")
            .unwrap()
            .1;
        let less = without(list, "status");
        assert!(!less.contains("status") && !less.contains("overlay"), "{less}");
        assert!(
            less.contains("  shop:\n") && less.contains("  catalogue:\n"),
            "{less}"
        );
        let least = without(&less, "catalogue");
        assert!(!least.contains("helm") && least.contains("probe: 8s"), "{least}");
        assert_eq!(without(list, "nothing"), list);
    }

    #[test]
    fn the_version_is_that_of_the_image_or_of_what_it_is_told() {
        let own = json!({ "image": "localhost/driftless-demo/web:1.9.0" });
        let told =
            json!({ "image": "r.example:5000/x", "env": [{ "name": "SHOP_VERSION", "value": "1.8.2" }] });
        assert_eq!((version(&own), version(&told)), ("1.9.0", "1.8.2"));
    }
}
