//! A cluster as the loop's target.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use serde_json::Value;
use tokio::time::Instant;

use super::account::Account;
use super::client::Api;
use super::config::{ClusterSpec, resolve};
use super::feeds::{Feeds, Watching};
use super::lease::{Keeper, Leases};
use super::logs::{LogAsk, Told};
use super::op::Op;
use super::world::{Ask, Cluster, ClusterFacts, Observed, OwnedObject, PodContainer, Receipt, Surroundings};
use super::{execute, logs, observe, surroundings};
use crate::expand::{Capabilities, minor_version};
use crate::live::{LiveError, Problem};
use crate::names::{ObjectKey, TargetId};

/// How long a cluster's identity is trusted: one that was set up anew behind the same address is found within this.
const TRUSTED: Duration = Duration::from_secs(60);

/// How long it may take until charts are told of a new kind, or of a cluster that was upgraded.
const CAPABLE: Duration = Duration::from_secs(10 * 60);

/// One cluster, as one account and with one namespace for objects that name none.
pub struct KubernetesTarget {
    name: String,
    namespace: String,
    seat: Arc<Seat>,
    link: Arc<Link>,
}

/// A connection, shared by all namespaces and accounts that are used on a cluster.
struct Link {
    /// As ourselves: who the cluster is concerns no app's account.
    api: Api,
    /// What says whether we may change it.
    keeper: Option<Arc<Keeper>>,
    context: String,
    namespace: String,
    /// As at the connect.
    id: TargetId,
    facts: Mutex<(Instant, ClusterFacts)>,
    /// What charts may know, and since when.
    capable: tokio::sync::Mutex<Option<(Instant, Capabilities)>>,
    /// Where this connection is kept for long enough to watch.
    watching: Option<Watching>,
    /// By account; `None` is ourselves.
    seats: Mutex<BTreeMap<Option<Account>, Arc<Seat>>>,
}

/// What one account sees and does. Its watches are its own: what it may not read is unknown to its apps.
struct Seat {
    api: Api,
    feeds: Option<Feeds>,
}

impl Link {
    fn seat(&self, account: Option<Account>) -> Result<Arc<Seat>, LiveError> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = seats.get(&account) {
            return Ok(Arc::clone(known));
        }
        let api = match &account {
            Some(account) => self.api.acting_as(account.clone())?,
            None => self.api.clone(),
        };
        let feeds = self.watching.clone();
        let seat = Arc::new(Seat {
            feeds: feeds.map(|watching| Feeds::new(api.clone(), watching)),
            api,
        });
        seats.insert(account, Arc::clone(&seat));
        Ok(seat)
    }

    /// What charts may know. An old answer serves where there is no newer one: what runs is not rendered anew for an outage.
    async fn capable(&self) -> Result<Capabilities, LiveError> {
        let mut known = self.capable.lock().await;
        if let Some((since, capable)) = &*known
            && since.elapsed() < CAPABLE
        {
            return Ok(capable.clone());
        }
        let before = known.as_ref().map(|(_, capable)| capable.clone());
        let asked = async {
            let facts = self.facts().await?;
            Ok::<_, LiveError>((facts.version, self.api.kinds(before.is_some()).await?))
        };
        let (version, kinds) = match (asked.await, before.clone()) {
            (Ok(asked), _) => asked,
            (Err(_), Some(before)) => {
                *known = Some((Instant::now(), before.clone()));
                return Ok(before);
            }
            (Err(error), None) => return Err(error),
        };
        let earlier = before.map(|before| before.api_versions).unwrap_or_default();
        let capable = Capabilities {
            namespace: None,
            kube_version: minor_version(&version),
            api_versions: kinds.api_versions(&earlier),
        };
        *known = Some((Instant::now(), capable.clone()));
        Ok(capable)
    }

    /// Who the cluster is; asked again when the last answer is old.
    async fn facts(&self) -> Result<ClusterFacts, LiveError> {
        {
            let known = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
            if known.0.elapsed() < TRUSTED {
                return Ok(known.1.clone());
            }
        }
        let now = facts(&self.api).await?;
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), now.clone());
        Ok(now)
    }
}

impl KubernetesTarget {
    /// Reads the kubeconfig and asks the cluster who it is. With `watching`, the kinds of our objects are watched from the
    /// first [`Cluster::as_left`] on. `leases`: who changes something has this instance's there.
    pub async fn connect(
        name: Option<&str>,
        spec: &ClusterSpec,
        watching: Option<Watching>,
        leases: Option<&Leases>,
    ) -> Result<Arc<Self>, LiveError> {
        let resolved = resolve(spec).await?;
        let api = Api::new(resolved.config)?;
        let facts = facts(&api).await?;
        let keeper = leases.map(|leases| {
            let namespace = spec.lease.namespace.as_ref().unwrap_or(&resolved.namespace);
            leases.keeper(&facts.id, namespace, spec.lease.duration, &api)
        });
        let link = Arc::new(Link {
            keeper,
            api,
            context: resolved.context,
            namespace: resolved.namespace,
            id: facts.id.clone(),
            facts: Mutex::new((Instant::now(), facts)),
            capable: tokio::sync::Mutex::default(),
            watching,
            seats: Mutex::default(),
        });
        Self::on(&link, name, spec)
    }

    /// The same connection for another namespace, or as another account.
    pub fn beside(&self, name: Option<&str>, spec: &ClusterSpec) -> Result<Arc<Self>, LiveError> {
        Self::on(&self.link, name, spec)
    }

    fn on(link: &Arc<Link>, name: Option<&str>, spec: &ClusterSpec) -> Result<Arc<Self>, LiveError> {
        let namespace = spec.namespace.as_ref().unwrap_or(&link.namespace);
        let account = spec
            .account
            .as_ref()
            .map(|account| Account::service(namespace, account));
        Ok(Arc::new(Self {
            name: format!("k8s:{}", name.unwrap_or(&link.context)),
            namespace: namespace.clone(),
            seat: link.seat(account)?,
            link: Arc::clone(link),
        }))
    }

    /// The namespace of objects that name none.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The server's address.
    pub fn address(&self) -> &str {
        self.link.api.address()
    }
}

async fn facts(api: &Api) -> Result<ClusterFacts, LiveError> {
    let (namespace, version) = futures_util::try_join!(
        api.get("read the namespace kube-system", "/api/v1/namespaces/kube-system"),
        api.get("read the cluster's version", "/version"),
    )?;
    let uid = namespace
        .pointer("/metadata/uid")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let id = TargetId::try_from(uid).map_err(|_| {
        let address = api.address().to_owned();
        LiveError::new("read the namespace kube-system", Problem::NotACluster { address })
    })?;
    let version = version
        .get("gitVersion")
        .and_then(Value::as_str)
        .unwrap_or("unknown")
        .to_owned();
    Ok(ClusterFacts { id, version })
}

#[async_trait]
impl Cluster for KubernetesTarget {
    fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> &TargetId {
        &self.link.id
    }

    async fn capabilities(&self) -> Result<Capabilities, LiveError> {
        let capable = self.link.capable().await?;
        Ok(Capabilities {
            namespace: Some(self.namespace.clone()),
            ..capable
        })
    }

    async fn observe(&self, ask: &Ask<'_>) -> Result<Observed, LiveError> {
        let facts = self.link.facts().await?;
        observe::observe(&self.seat.api, facts, &self.namespace, ask).await
    }

    fn as_left(&self, owned: &BTreeMap<ObjectKey, OwnedObject>) -> bool {
        self.seat.feeds.as_ref().is_some_and(|feeds| feeds.as_left(owned))
    }

    fn is_refused(&self) -> bool {
        self.seat.api.is_refused()
    }

    async fn execute(&self, op: &Op) -> Result<Receipt, LiveError> {
        match &self.link.keeper {
            Some(keeper) => {
                let within = keeper.before_call().await?;
                execute::execute(&self.seat.api.within(within), op).await
            }
            None => execute::execute(&self.seat.api, op).await,
        }
    }

    fn keeper(&self) -> Option<&Arc<Keeper>> {
        self.link.keeper.as_ref()
    }

    async fn surroundings(&self, keys: &[ObjectKey]) -> Result<Surroundings, LiveError> {
        surroundings::surroundings(&self.seat.api, keys).await
    }

    async fn logs(&self, container: &PodContainer, tail: usize) -> Result<Vec<String>, LiveError> {
        let mut path = format!(
            "/api/v1/namespaces/{}/pods/{}/log?tailLines={tail}",
            container.namespace, container.pod
        );
        if let Some(name) = &container.container {
            path.push_str(&format!("&container={name}"));
        }
        if container.previous {
            path.push_str("&previous=true");
        }
        let call = format!("read the log of Pod/{}/{}", container.namespace, container.pod);
        let (bytes, _) = self
            .seat
            .api
            .bytes(
                &call,
                Method::GET,
                &path,
                None,
                Some("text/plain, application/json"),
                None,
            )
            .await?;
        Ok(String::from_utf8_lossy(&bytes)
            .lines()
            .map(str::to_owned)
            .collect())
    }

    async fn pod_logs(
        &self,
        owners: &[ObjectKey],
        ask: &LogAsk,
        tell: &mut (dyn for<'t> FnMut(Told<'t>) + Send),
    ) -> Result<(), LiveError> {
        if ask.follow {
            logs::follow(&self.seat.api, owners, ask, tell).await
        } else {
            logs::read(&self.seat.api, owners, ask, tell).await
        }
    }

    async fn probe(&self, namespace: &str, service: &str, port: u16, path: &str) -> Result<u16, String> {
        let path = format!("/api/v1/namespaces/{namespace}/services/{service}:{port}/proxy{path}");
        let call = format!("probe Service/{namespace}/{service}");
        match self
            .seat
            .api
            .bytes(&call, Method::GET, &path, None, Some("*/*"), None)
            .await
        {
            Ok(_) => Ok(200),
            Err(error) => match &error.problem {
                Problem::Api(refusal) => Ok(refusal.status),
                problem => Err(problem.to_string()),
            },
        }
    }
}
