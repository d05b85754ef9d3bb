//! A cluster as the loop's target.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde_json::Value;

use super::client::Api;
use super::config::{ClusterSpec, resolve};
use super::op::Op;
use super::world::{Ask, Cluster, ClusterFacts, Observed, PodContainer, Receipt, Surroundings};
use super::{execute, observe, surroundings};
use crate::live::{LiveError, Problem};
use crate::names::{ObjectKey, TargetId};

/// One cluster, reached with one identity.
pub struct KubernetesTarget {
    name: String,
    namespace: String,
    api: Api,
    facts: ClusterFacts,
}

impl KubernetesTarget {
    /// Reads the kubeconfig and asks the cluster who it is.
    pub async fn connect(name: Option<&str>, spec: &ClusterSpec) -> Result<Arc<Self>, LiveError> {
        let resolved = resolve(spec).await?;
        let api = Api::new(resolved.config)?;
        let facts = facts(&api).await?;
        Ok(Arc::new(Self {
            name: format!("k8s:{}", name.unwrap_or(&resolved.context)),
            namespace: resolved.namespace,
            api,
            facts,
        }))
    }

    /// The namespace of objects that name none.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The server's address.
    pub fn address(&self) -> &str {
        self.api.address()
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
        &self.facts.id
    }

    async fn observe(&self, ask: &Ask<'_>) -> Result<Observed, LiveError> {
        observe::observe(&self.api, self.facts.clone(), &self.namespace, ask).await
    }

    async fn execute(&self, op: &Op) -> Result<Receipt, LiveError> {
        execute::execute(&self.api, op).await
    }

    async fn surroundings(&self, keys: &[ObjectKey]) -> Result<Surroundings, LiveError> {
        surroundings::surroundings(&self.api, keys).await
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

    async fn probe(&self, namespace: &str, service: &str, port: u16, path: &str) -> Result<u16, String> {
        let path = format!("/api/v1/namespaces/{namespace}/services/{service}:{port}/proxy{path}");
        let call = format!("probe Service/{namespace}/{service}");
        match self
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
