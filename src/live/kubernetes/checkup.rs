//! What `driftless doctor` asks a cluster.
//!
//! In: where it is. Out: facts, each by itself: what can't be had does not hide the rest. Guaranteed: nothing is changed; works
//! for an account that may do nothing. Must not: judge.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use http::Method;
use serde_json::{Value, json};

use super::account::Account;
use super::client::{Api, is_not_found};
use super::config::{ClusterSpec, resolve};
use super::kinds::Kinds;
use super::lease::{Holding, lease_name};
use super::rights::Right;
use crate::clock::Timestamp;
use crate::live::{LiveError, Problem};
use crate::names::InstanceName;

/// Questions at once.
const AT_ONCE: usize = 16;

/// A cluster that is asked about itself and about us.
pub struct Checkup {
    api: Api,
    /// The context's name, or `in-cluster`.
    pub context: String,
    /// The context's own namespace.
    pub namespace: String,
}

/// As whom the server knows us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub user: String,
    pub groups: Vec<String>,
}

impl Checkup {
    /// Reads the kubeconfig. Nothing is sent.
    pub async fn open(spec: &ClusterSpec) -> Result<Self, LiveError> {
        let resolved = resolve(spec).await?;
        Ok(Self {
            api: Api::new(resolved.config)?,
            context: resolved.context,
            namespace: resolved.namespace,
        })
    }

    /// The same, asking as a ServiceAccount of `namespace`.
    pub fn acting_as(&self, namespace: &str, account: &str) -> Result<Self, LiveError> {
        Ok(Self {
            api: self.api.acting_as(Account::service(namespace, account))?,
            context: self.context.clone(),
            namespace: self.namespace.clone(),
        })
    }

    /// The server's address.
    pub fn address(&self) -> &str {
        self.api.address()
    }

    /// Its version, and its clock where it tells the time.
    pub async fn version(&self) -> Result<(String, Option<Timestamp>), LiveError> {
        let (headers, answer) = self
            .api
            .whole(
                "read the cluster's version",
                Method::GET,
                "/version",
                None,
                None,
                None,
            )
            .await?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let version = answer.get("gitVersion").and_then(Value::as_str);
        let Some(version) = version else {
            let address = self.address().to_owned();
            return Err(LiveError::new(
                "read the cluster's version",
                Problem::NotACluster { address },
            ));
        };
        let date = headers
            .get(http::header::DATE)
            .and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        Ok((version.to_owned(), date.map(|date| date.timestamp())))
    }

    /// Who we are; `None` where the server does not say (before 1.28).
    pub async fn identity(&self) -> Result<Option<Identity>, LiveError> {
        let call = "ask who we are";
        let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let answer = match self.ask(call, path, &review).await {
            Ok(answer) => answer,
            Err(error) if is_not_found(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let user = answer
            .pointer("/status/userInfo/username")
            .and_then(Value::as_str);
        let groups = answer
            .pointer("/status/userInfo/groups")
            .and_then(Value::as_array);
        let groups = groups.into_iter().flatten().filter_map(Value::as_str);
        Ok(user.map(|user| Identity {
            user: user.to_owned(),
            groups: groups.map(str::to_owned).collect(),
        }))
    }

    /// What the cluster serves.
    pub async fn kinds(&self) -> Result<Arc<Kinds>, LiveError> {
        self.api.kinds(false).await
    }

    /// Those of `rights` that we do not have.
    pub async fn missing(&self, rights: BTreeSet<Right>) -> Result<BTreeSet<Right>, LiveError> {
        let asked = stream::iter(rights).map(|right| async move {
            let allowed = self.may(&right).await?;
            Ok::<_, LiveError>((!allowed).then_some(right))
        });
        let missing: Vec<Option<Right>> = asked.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(missing.into_iter().flatten().collect())
    }

    async fn may(&self, right: &Right) -> Result<bool, LiveError> {
        let (resource, subresource) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "namespace": right.namespace, "verb": right.verb, "group": right.group,
                "resource": resource, "subresource": subresource, "name": right.name,
            } },
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = self.ask("ask what we may do", path, &review).await?;
        Ok(answer.pointer("/status/allowed").and_then(Value::as_bool) == Some(true))
    }

    /// Who holds the Lease of an instance; `None` where there is none.
    pub async fn lease(
        &self,
        namespace: &str,
        instance: &InstanceName,
    ) -> Result<Option<Holding>, LiveError> {
        let path = format!(
            "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{}",
            lease_name(instance)
        );
        let found = self.api.find("read the lease", &path).await?;
        Ok(found.map(|lease| Holding::of(&lease)))
    }

    async fn ask(&self, call: &str, path: &str, review: &Value) -> Result<Value, LiveError> {
        let answer = self
            .api
            .json(call, Method::POST, path, Some("application/json"), Some(review))
            .await?;
        Ok(answer.value)
    }
}
