//! Calls to an API server: one deadline each, answers as JSON, refusals as data.
//!
//! In: a [`kube::Config`]. Out: JSON, or a [`LiveError`]. Guaranteed: a call ends within its deadline; 429 is tried again when
//! the server says so, within the deadline, for calls of every kind (the server did not execute them); a body is never in
//! an error. Must not: cache anything but what kinds are served.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body as HttpBody;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::sync::{RwLock, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

use super::account::Account;
use super::kinds::{Kinds, Resource};
use super::refusal::refusal;
use super::token::TokenFile;
use crate::live::{LiveError, Problem, Refusal};

/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Calls at once.
const AT_ONCE: usize = 32;

/// The API server of one cluster.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    address: Arc<str>,
    slots: Arc<Semaphore>,
    kinds: Arc<RwLock<Option<Arc<Kinds>>>>,
    /// Set by the first 401, or certificate that is not trusted.
    refused: Arc<AtomicBool>,
    /// How long a call may take.
    deadline: Duration,
    /// Where our token is a file's.
    token: Option<Arc<TokenFile>>,
    /// Who is acted as, if it is not ourselves, and the headers that say so.
    account: Option<Acting>,
}

#[derive(Clone)]
struct Acting {
    account: Arc<Account>,
    headers: Arc<[(HeaderName, HeaderValue)]>,
}

/// An answer.
pub struct Answer {
    pub value: Value,
    /// The server's `Warning` headers.
    pub warnings: Vec<String>,
}

/// Content types of PATCH.
pub const APPLY_PATCH: &str = "application/apply-patch+yaml";
pub const MERGE_PATCH: &str = "application/merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";

impl Api {
    /// A client for the cluster that `config` names. Nothing is sent yet.
    pub fn new(mut config: kube::Config) -> Result<Self, LiveError> {
        let own = Account::take(&mut config.auth_info);
        // A token that is written down wins over one in a file, as with `kubectl`. The client would keep a file's token for a
        // minute, refused or not, and its line end too.
        let file = config.auth_info.token_file.take();
        let token = file
            .filter(|_| config.auth_info.token.is_none())
            .map(|path| Arc::new(TokenFile::new(path)));
        let address: Arc<str> = config.cluster_url.to_string().into();
        let client = kube::Client::try_from(config).map_err(|error| {
            let message = "the credentials or certificates in it can't be used".to_owned();
            LiveError::caused("connect to the cluster", Problem::Kubeconfig { message }, &error)
        })?;
        let api = Self {
            client,
            address,
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            kinds: Arc::default(),
            refused: Arc::default(),
            deadline: DEADLINE,
            token,
            account: None,
        };
        match own {
            Some(account) => api.acting_as(account),
            None => Ok(api),
        }
    }

    /// The same connection, used as another account.
    pub fn acting_as(&self, account: Account) -> Result<Self, LiveError> {
        let Some(headers) = account.headers() else {
            let message = format!("`{account}` can't be acted as: it is no name");
            return Err(LiveError::new(
                "connect to the cluster",
                Problem::Kubeconfig { message },
            ));
        };
        Ok(Self {
            account: Some(Acting {
                account: Arc::new(account),
                headers,
            }),
            ..self.clone()
        })
    }

    /// The same connection for calls that take no longer than `deadline`, the server's work on them included.
    pub fn within(&self, deadline: Duration) -> Self {
        Self {
            deadline: deadline.min(DEADLINE),
            ..self.clone()
        }
    }

    /// A request as the account that is acted as, and the token that it bears where that is a file's.
    fn request(
        &self,
        call: &str,
        method: Method,
        path: &str,
    ) -> Result<(http::request::Builder, Option<HeaderValue>), LiveError> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in self.account.iter().flat_map(|acting| &*acting.headers) {
            request = request.header(name, value);
        }
        let Some(file) = &self.token else {
            return Ok((request, None));
        };
        let token = file.header().map_err(|error| {
            let message = format!("the token in `{}` can't be read", file.path().display());
            LiveError::caused(call, Problem::Kubeconfig { message }, &error)
        })?;
        Ok((request.header(http::header::AUTHORIZATION, &token), Some(token)))
    }

    /// Whether a token that was refused has been renewed meanwhile.
    fn renewed(&self, token: Option<&HeaderValue>) -> bool {
        let file = self.token.as_ref().zip(token);
        file.is_some_and(|(file, token)| file.renewed(token))
    }

    /// The server's address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether the server refused our credentials, or we its certificate, at least once.
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// `GET path`.
    pub async fn get(&self, call: &str, path: &str) -> Result<Value, LiveError> {
        Ok(self.json(call, Method::GET, path, None, None).await?.value)
    }

    /// `GET path`, with `None` for 404.
    pub async fn find(&self, call: &str, path: &str) -> Result<Option<Value>, LiveError> {
        match self.get(call, path).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One call with a JSON answer.
    pub async fn json(
        &self,
        call: &str,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Answer, LiveError> {
        let (bytes, warnings) = self.bytes(call, method, path, content_type, None, body).await?;
        let value = serde_json::from_slice(&bytes).map_err(|_| self.not_a_cluster(call))?;
        Ok(Answer { value, warnings })
    }

    /// One call with any answer.
    pub async fn bytes(
        &self,
        call: &str,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        accept: Option<&str>,
        body: Option<&Value>,
    ) -> Result<(Bytes, Vec<String>), LiveError> {
        let (headers, bytes) = self.whole(call, method, path, content_type, accept, body).await?;
        let warnings = texts(&headers, "warning").map(warning).collect();
        Ok((bytes, warnings))
    }

    /// The same with the answer's headers.
    pub async fn whole(
        &self,
        call: &str,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        accept: Option<&str>,
        body: Option<&Value>,
    ) -> Result<(HeaderMap, Bytes), LiveError> {
        let until = Instant::now() + self.deadline;
        // A change that the server would still be making after we gave it up is ended by the server itself.
        let bounded = (method != Method::GET && self.deadline < DEADLINE).then(|| {
            let joint = if path.contains('?') { '&' } else { '?' };
            format!("{path}{joint}timeout={}s", self.deadline.as_secs().max(1))
        });
        let path = bounded.as_deref().unwrap_or(path);
        let body = body
            .map(|value| serde_json::to_vec(value).unwrap_or_default())
            .unwrap_or_default();
        let after = self.deadline;
        let late = || LiveError::new(call, Problem::Deadline { after });
        let Ok(_slot) = timeout_at(until, self.slots.acquire())
            .await
            .map_err(|_| late())?
        else {
            return Err(late());
        };
        loop {
            let (request, token) = self.request(call, method.clone(), path)?;
            let mut request = request.header(http::header::ACCEPT, accept.unwrap_or("application/json"));
            if let Some(content_type) = content_type {
                request = request.header(http::header::CONTENT_TYPE, content_type);
            }
            let request = request
                .body(HttpBody::from(body.clone()))
                .map_err(|error| LiveError::caused(call, Problem::BadRequest, &error))?;
            let answer = timeout_at(until, self.client.send(request))
                .await
                .map_err(|_| late())?
                .map_err(|error| self.failed(call, &error))?;
            let (head, answer) = answer.into_parts();
            let status = head.status;
            let retry_after = texts(&head.headers, "retry-after")
                .next()
                .and_then(|text| text.parse::<u64>().ok());
            let bytes = timeout_at(until, answer.collect_bytes())
                .await
                .map_err(|_| late())?
                .map_err(|error| LiveError::caused(call, Problem::Cut, &error))?;
            if status.is_success() {
                return Ok((head.headers, bytes));
            }
            // The server did nothing: with the new token it is the same call.
            if status == StatusCode::UNAUTHORIZED && Instant::now() < until && self.renewed(token.as_ref()) {
                continue;
            }
            if status == StatusCode::TOO_MANY_REQUESTS {
                let pause = Duration::from_secs(retry_after.unwrap_or(1));
                if Instant::now() + pause < until {
                    sleep(pause).await;
                    continue;
                }
            }
            return Err(self.refused(call, status, retry_after, &bytes));
        }
    }

    fn refused(&self, call: &str, status: StatusCode, retry_after: Option<u64>, bytes: &Bytes) -> LiveError {
        if status == StatusCode::UNAUTHORIZED {
            self.refused.store(true, Ordering::Relaxed);
        }
        let Ok(answer) = serde_json::from_slice::<Value>(bytes) else {
            // A proxy's page, or plain words of the server itself.
            let words = String::from_utf8_lossy(bytes);
            let first = words
                .lines()
                .next()
                .unwrap_or_default()
                .chars()
                .take(200)
                .collect::<String>();
            if first.starts_with('<') {
                return self.not_a_cluster(call);
            }
            let refusal = Refusal {
                status: status.as_u16(),
                message: format!("{status}: {first}"),
                retry_after,
                ..Refusal::default()
            };
            return LiveError::new(call, Problem::Api(Box::new(refusal)));
        };
        self.denied(call, refusal(&answer, status.as_u16(), retry_after))
    }

    /// A refusal, with whom we acted as where that matters.
    fn denied(&self, call: &str, mut refusal: Refusal) -> LiveError {
        if let Some(acting) = self.account.as_ref().filter(|_| refusal.status == 403) {
            let account = acting.account.user.as_str();
            // The API server words it so; the object that is forbidden is the account, not what was asked for.
            if refusal.message.contains("cannot impersonate resource") {
                let problem = Problem::NotActing {
                    account: account.to_owned(),
                    message: refusal.message,
                };
                return LiveError::new(call, problem);
            }
            if !refusal.message.contains(account) {
                refusal.message.push_str(&format!(" (acting as {account})"));
            }
        }
        LiveError::new(call, Problem::Api(Box::new(refusal)))
    }

    fn not_a_cluster(&self, call: &str) -> LiveError {
        LiveError::new(
            call,
            Problem::NotACluster {
                address: self.address.to_string(),
            },
        )
    }

    fn failed(&self, call: &str, error: &kube::Error) -> LiveError {
        let text = {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            text.to_lowercase()
        };
        let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
        let address = self.address.to_string();
        let problem = if has(&["certificate", "invalidcertificate", "unknownissuer", "tls"]) {
            // A certificate that was renewed in its file is read by the next connection.
            self.refused.store(true, Ordering::Relaxed);
            Problem::ApiTls { address }
        } else if has(&[
            "connection refused",
            "dns",
            "unreachable",
            "tcp connect",
            "timed out",
            "connecttimeout",
            "connect error",
        ]) {
            Problem::ApiUnreachable { address }
        } else if has(&["auth", "exec"]) {
            Problem::Kubeconfig {
                message: format!("no credentials for {address}: {error}"),
            }
        } else {
            Problem::Cut
        };
        LiveError::caused(call, problem, error)
    }

    /// A watch: events as they come, until the server ends it or the caller drops it. It takes no slot and has no deadline:
    /// it is quiet most of the time, and who reads it notices a silence.
    pub async fn events(
        &self,
        call: &str,
        path: &str,
    ) -> Result<BoxStream<'static, Result<WatchEvent<Value>, LiveError>>, LiveError> {
        let events = loop {
            let (request, token) = self.request(call, Method::GET, path)?;
            let request = request
                .header(http::header::ACCEPT, "application/json")
                .body(Vec::new())
                .map_err(|error| LiveError::caused(call, Problem::BadRequest, &error))?;
            match self.client.request_events::<Value>(request).await {
                Ok(events) => break events,
                Err(kube::Error::Api(status)) if status.code == 401 && self.renewed(token.as_ref()) => {}
                Err(error) => return Err(self.watch_failed(call, error)),
            }
        };
        let (api, call) = (self.clone(), call.to_owned());
        Ok(events
            .map(move |event| event.map_err(|error| api.watch_failed(&call, error)))
            .boxed())
    }

    /// The body of `GET path` as it comes, until the server ends it or the caller drops it. It takes no slot, and only its begin
    /// has a deadline.
    pub async fn stream(
        &self,
        call: &str,
        path: &str,
    ) -> Result<BoxStream<'static, Result<Bytes, LiveError>>, LiveError> {
        let after = self.deadline;
        let late = || LiveError::new(call, Problem::Deadline { after });
        loop {
            let until = Instant::now() + after;
            let (request, token) = self.request(call, Method::GET, path)?;
            let request = request
                .header(http::header::ACCEPT, "text/plain, application/json")
                .header(http::header::ACCEPT_ENCODING, "identity")
                .body(HttpBody::empty())
                .map_err(|error| LiveError::caused(call, Problem::BadRequest, &error))?;
            let answer = timeout_at(until, self.client.send(request))
                .await
                .map_err(|_| late())?
                .map_err(|error| self.failed(call, &error))?;
            let (head, body) = answer.into_parts();
            if head.status.is_success() {
                let call = call.to_owned();
                return Ok(body
                    .into_data_stream()
                    .map(move |data| data.map_err(|error| LiveError::caused(&call, Problem::Cut, &error)))
                    .boxed());
            }
            let bytes = timeout_at(until, body.collect_bytes())
                .await
                .map_err(|_| late())?
                .map_err(|error| LiveError::caused(call, Problem::Cut, &error))?;
            if head.status != StatusCode::UNAUTHORIZED || !self.renewed(token.as_ref()) {
                return Err(self.refused(call, head.status, None, &bytes));
            }
        }
    }

    fn watch_failed(&self, call: &str, error: kube::Error) -> LiveError {
        match error {
            kube::Error::Api(status) => {
                if status.code == 401 {
                    self.refused.store(true, Ordering::Relaxed);
                }
                let answer = serde_json::to_value(&status).unwrap_or_default();
                self.denied(call, refusal(&answer, status.code, None))
            }
            error => self.failed(call, &error),
        }
    }

    /// What the cluster serves; read once, and again with `fresh`.
    pub async fn kinds(&self, fresh: bool) -> Result<Arc<Kinds>, LiveError> {
        let known = self.kinds.read().await.clone();
        if !fresh && let Some(kinds) = known {
            return Ok(kinds);
        }
        // Held while it is read: many apps that begin at once need it once.
        let mut slot = self.kinds.write().await;
        let newer = |now: &Arc<Kinds>| known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, now));
        if let Some(kinds) = slot.as_ref().filter(|now| newer(now)) {
            return Ok(Arc::clone(kinds));
        }
        let kinds = Arc::new(self.discover().await?);
        *slot = Some(Arc::clone(&kinds));
        Ok(kinds)
    }

    async fn discover(&self) -> Result<Kinds, LiveError> {
        const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                                  application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        let call = "read which kinds the cluster serves";
        let mut kinds = Kinds::default();
        let mut plain = Vec::new();
        for path in ["/api", "/apis"] {
            let (bytes, _) = self
                .bytes(call, Method::GET, path, None, Some(AGGREGATED), None)
                .await?;
            let document: Value = serde_json::from_slice(&bytes).map_err(|_| self.not_a_cluster(call))?;
            if document.get("kind").and_then(Value::as_str) == Some("APIGroupDiscoveryList") {
                kinds.read_aggregated(&document);
            } else {
                plain.push(document);
            }
        }
        // Servers before 1.26, and those that answer the aggregated question with nothing.
        for document in &plain {
            self.discover_plainly(call, document, &mut kinds).await?;
        }
        if kinds.is_empty() {
            for path in ["/api", "/apis"] {
                let document = self.get(call, path).await?;
                self.discover_plainly(call, &document, &mut kinds).await?;
            }
        }
        if kinds.is_empty() {
            return Err(self.not_a_cluster(call));
        }
        Ok(kinds)
    }

    async fn discover_plainly(
        &self,
        call: &str,
        document: &Value,
        kinds: &mut Kinds,
    ) -> Result<(), LiveError> {
        let texts = |value: Option<&Value>| -> Vec<String> {
            value
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect()
        };
        for version in texts(document.get("versions")) {
            let list = self.get(call, &format!("/api/{version}")).await?;
            kinds.read_list("", &version, &list);
        }
        for group in document
            .get("groups")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let name = group.get("name").and_then(Value::as_str).unwrap_or_default();
            let preferred = group
                .pointer("/preferredVersion/version")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let mut versions: Vec<String> = group
                .get("versions")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|version| version.get("version")?.as_str().map(str::to_owned))
                .collect();
            versions.sort_by_key(|version| version != preferred);
            for version in versions {
                match self.get(call, &format!("/apis/{name}/{version}")).await {
                    Ok(list) => kinds.read_list(name, &version, &list),
                    // One broken aggregated server must not hide the others; its kinds are unknown.
                    Err(error) if !error.engine_is_away() || matches!(error.problem, Problem::Api(_)) => {
                        kinds.note_stale(name, &version)
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// The resource of a kind. Discovery is read again when the kind is missing: its definition may be new.
    pub async fn resource(
        &self,
        group: &str,
        kind: &str,
        version: Option<&str>,
    ) -> Result<Option<Resource>, LiveError> {
        let kinds = self.kinds(false).await?;
        if let Some(found) = kinds.find(group, kind, version) {
            return Ok(Some(found.clone()));
        }
        let kinds = self.kinds(true).await?;
        Ok(kinds.find(group, kind, version).cloned())
    }
}

/// Whether the object is not there.
pub fn is_not_found(error: &LiveError) -> bool {
    matches!(&error.problem, Problem::Api(refusal) if refusal.status == 404)
}

fn texts<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h str> {
    let all = headers.get_all(name).into_iter();
    all.filter_map(|value| value.to_str().ok())
}

/// `299 - "text"` → `text`.
fn warning(header: &str) -> String {
    header
        .splitn(3, ' ')
        .nth(2)
        .unwrap_or(header)
        .trim_matches('"')
        .to_owned()
}

/// A value in a query.
pub fn escape(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
