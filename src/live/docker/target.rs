//! A Docker engine as a [`Target`].
//!
//! In: an [`Endpoint`] and where credentials are. Out: observations, receipts, logs. Guaranteed: what [`Target`] promises; one
//! engine for the life of the value. Must not: decide.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::http::Method;
use serde_json::{Map, Value};

use super::client::{CHANGE_DEADLINE, Client, path};
use super::container::Asker;
use super::credentials::Credentials;
use super::endpoint::Endpoint;
use super::info::Info;
use super::logs::{Line, LogAsk};
use super::op::Op;
use super::{events, execute, gaps, logs, observe, probe};
use crate::clock::{Clock, Timestamp};
use crate::image::ImageRef;
use crate::live::error::{LiveError, Problem};
use crate::live::world::{Ask, Container, ContainerId, Engine, Observed, Receipt, Symbols, Target};
use crate::names::TargetId;

/// For loading an image of a demo: a few megabytes over a local socket.
const IMPORT_DEADLINE: Duration = Duration::from_secs(300);

/// One connected engine.
#[derive(Clone)]
pub struct DockerTarget {
    client: Client,
    credentials: Credentials,
    clock: Arc<dyn Clock>,
    engine: Engine,
}

impl fmt::Debug for DockerTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerTarget")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl DockerTarget {
    /// Connects and finds out who answers.
    pub async fn connect(
        endpoint: &Endpoint,
        credentials: Credentials,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LiveError> {
        let client = Client::connect(endpoint).await?;
        let info = client.info();
        let id = info.id.as_str().try_into();
        let engine = Engine {
            id: id.map_err(|error| {
                LiveError::caused(format!("connect to {endpoint}"), Problem::Unreadable, &error)
            })?,
            version: info.version.clone(),
            api: (client.api().major, client.api().minor),
            platform: info.platform.clone(),
            local: endpoint.is_local(),
        };
        Ok(Self {
            client,
            credentials,
            clock,
            engine,
        })
    }

    /// Facts about the engine, as at the connect.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Everything it said about itself, for `doctor`.
    pub fn info(&self) -> &Info {
        self.client.info()
    }

    /// The connection, for questions that no plan needs.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Hands each line that `ask` is about to `each`, as it comes; ends with the container when following.
    pub async fn follow_logs(
        &self,
        id: &ContainerId,
        ask: &LogAsk,
        each: impl FnMut(Line) + Send,
    ) -> Result<(), LiveError> {
        logs::follow(&self.client, id, ask, each).await
    }

    /// How long each service had no running, healthy container since `before`, by the engine's events; `None` when the engine no
    /// longer remembers all of them. `after` tells which new containers have a healthcheck.
    pub async fn service_gaps(
        &self,
        ask: &Ask,
        before: &Observed,
        after: &[Container],
    ) -> Result<Option<BTreeMap<String, Duration>>, LiveError> {
        let now = self.clock.now();
        // Unfiltered: only the count of all events tells whether the oldest were dropped.
        let events = events::past(&self.client, before.at, now, &Value::Object(Map::new())).await?;
        if events.len() >= gaps::REMEMBERED {
            return Ok(None);
        }
        let asker = Asker {
            instance: &ask.instance,
            key: &ask.key,
            project: &ask.project,
        };
        Ok(Some(gaps::gaps(
            &before.containers,
            after,
            &events,
            asker,
            now.as_nanosecond(),
        )))
    }

    /// Makes a one-layer image out of a root file system (a tar archive) and returns its id. `changes` are Dockerfile lines
    /// (`CMD ["/bin/x"]`). Only for the demo, whose images come from nowhere else.
    pub async fn import_image(
        &self,
        archive: Bytes,
        reference: &ImageRef,
        changes: &[String],
    ) -> Result<String, LiveError> {
        let call = format!("import image {}", reference.familiar());
        let name = reference.familiar_name();
        let mut query = vec![
            ("fromSrc", "-"),
            ("repo", name.as_str()),
            ("tag", reference.tag().unwrap_or("latest")),
        ];
        query.extend(changes.iter().map(|change| ("changes", change.as_str())));
        let answer = self
            .client
            .upload(
                &call,
                Method::POST,
                "/images/create",
                &query,
                archive,
                IMPORT_DEADLINE,
            )
            .await?;
        // Progress, one object per line; the last names the image, or what went wrong after the 200.
        let last = serde_json::Deserializer::from_slice(&answer)
            .into_iter::<Value>()
            .filter_map(Result::ok)
            .last();
        let last = last.unwrap_or_default();
        if let Some(error) = last["error"].as_str() {
            return Err(LiveError::answered(&call, 500, error.to_owned()));
        }
        let id = last["status"]
            .as_str()
            .filter(|status| status.starts_with("sha256:"));
        id.map(str::to_owned)
            .ok_or_else(|| LiveError::new(&call, Problem::Unreadable))
    }

    /// Removes an image by name or id; one that is gone is fine, one in use is an error. Only for the demo.
    pub async fn remove_image(&self, reference: &str) -> Result<(), LiveError> {
        let call = format!("remove image {reference}");
        let sent = self
            .client
            .send(
                &call,
                Method::DELETE,
                &path(&["images", reference]),
                &[],
                None,
                CHANGE_DEADLINE,
            )
            .await;
        match sent {
            Err(LiveError {
                problem: Problem::NotFound { .. } | Problem::ImageNotFound { .. },
                ..
            }) => Ok(()),
            other => other.map(drop),
        }
    }
}

#[async_trait]
impl Target for DockerTarget {
    fn name(&self) -> &str {
        self.client.endpoint().name()
    }

    fn id(&self) -> &TargetId {
        &self.engine.id
    }

    async fn observe(&self, ask: &Ask) -> Result<Observed, LiveError> {
        observe::observe(
            &self.client,
            &self.credentials,
            &self.engine,
            ask,
            self.clock.now(),
        )
        .await
    }

    async fn execute(&self, op: &Op, symbols: &Symbols) -> Result<Receipt, LiveError> {
        execute::execute(&self.client, &self.credentials, op, symbols).await
    }

    async fn inspect(&self, ids: &[ContainerId]) -> Result<Vec<Container>, LiveError> {
        let ids: Vec<String> = ids.iter().map(|id| id.0.as_ref().to_owned()).collect();
        let found = observe::inspect_all(&self.client, &ids, None).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn logs(&self, id: &ContainerId, tail: usize) -> Result<Vec<String>, LiveError> {
        logs::last(&self.client, id, tail).await
    }

    async fn stopped_by_hand(&self, id: &ContainerId, since: Timestamp) -> Result<bool, LiveError> {
        events::stopped_by_hand(&self.client, id, since, self.clock.now()).await
    }

    async fn last_exit(&self, id: &ContainerId, since: Timestamp) -> Result<Option<i64>, LiveError> {
        events::last_exit(&self.client, id, since, self.clock.now()).await
    }

    async fn probe(&self, container: &Container, port: u16, path: &str) -> Result<u16, String> {
        if !self.engine.local {
            return Err(format!(
                "{} is not on this machine, so its containers can't be reached",
                self.name()
            ));
        }
        let Some(ip) = container.address() else {
            return Err(format!("{} has no address", container.name));
        };
        probe::get(ip, port, path).await
    }
}
