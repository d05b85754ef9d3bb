//! The one connection to an engine.
//!
//! In: an [`Endpoint`]. Out: raw JSON for everything that is observed, and bollard for typed and streaming calls, both over one transport.
//! Guaranteed: the API version is negotiated *and sent* (bollard negotiates and then sends none); every call has a deadline of our own;
//! reads never pass through closed enums (an unknown container state is an observation, not an error). Must not: retry a call that changes
//! something, or put a request's body into an error.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::http::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::credentials::Auth;
use super::endpoint::{Address, Endpoint};
use super::info::{Api, Info, info_of, negotiate};
use super::stream::JsonStream;
use super::transport::{OutBody, READ_CONNECTIONS, Transport, boxed};
use crate::live::error::{Cause, LiveError, Problem};

/// Directives for the tracing filter that no setting may lift: bollard prints whole answers, environments included, at
/// debug level.
pub const LOG_CAP: &str = "bollard=info,hyper=info,hyper_util=info,rustls=info";

/// For anything that only reads.
pub const READ_DEADLINE: Duration = Duration::from_secs(30);

/// For changes that the engine does by itself: create, rename, connect, update, remove.
pub const CHANGE_DEADLINE: Duration = Duration::from_secs(60);

/// What a stop or restart gets beyond the container's own grace.
pub const STOP_MARGIN: Duration = Duration::from_secs(30);

/// For a question that makes the engine ask a registry.
pub const REGISTRY_DEADLINE: Duration = Duration::from_secs(60);

/// How long a pull or load may say nothing. A slow registry says something all the time.
pub const STALL_DEADLINE: Duration = Duration::from_secs(120);

/// The largest answer that is read: 10,000 inspects' worth.
const ANSWER_MAX: usize = 256 << 20;

/// A connected engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    wire: Wire,
    api: Api,
    info: Info,
    docker: bollard::Docker,
}

impl Client {
    /// Connects, asks who answers, and settles on an API version.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, LiveError> {
        let transport = Transport::new(endpoint)?;
        let base = match endpoint.address() {
            Address::Tcp { base, .. } => base.as_str(),
            Address::Unix(_) => "",
        };
        let address = endpoint.address().to_string();
        let mut wire = Wire {
            transport,
            prefix: base.into(),
            address: address.into(),
            permits: Arc::new(Semaphore::new(READ_CONNECTIONS)),
        };
        let call = format!("connect to {endpoint}");
        // Unversioned and at once: both answer before a version is known.
        let (version, info) = tokio::join!(wire.first(&call, "/version"), wire.first(&call, "/info"));
        let version = version?;
        let not_docker = || {
            LiveError::new(
                &call,
                Problem::NotDocker {
                    address: wire.address.to_string(),
                },
            )
        };
        let api_newest = version["ApiVersion"]
            .as_str()
            .and_then(Api::parse)
            .ok_or_else(not_docker)?;
        let api_oldest = version["MinAPIVersion"].as_str().and_then(Api::parse);
        let api = negotiate(&call, api_newest, api_oldest)?;
        let info = info_of(&version, &info?, api_newest).ok_or_else(not_docker)?;
        wire.prefix = format!("{base}/v{api}").into();
        let docker = bollard_over(&wire, &call)?;
        Ok(Self(Arc::new(Inner {
            endpoint: endpoint.clone(),
            wire,
            api,
            info,
            docker,
        })))
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// The API version that every call is sent with.
    pub fn api(&self) -> Api {
        self.0.api
    }

    /// What the engine said about itself when we connected.
    pub fn info(&self) -> &Info {
        &self.0.info
    }

    /// Reads one thing. `path` comes from [`path`].
    pub async fn get(&self, call: &str, path: &str, query: &[(&str, &str)]) -> Result<Value, LiveError> {
        let wire = &self.0.wire;
        let answer = wire.get(call, &wire.uri(path, query), READ_DEADLINE).await?;
        answer.into_json(call, LiveError::answered)
    }

    /// Reads one thing that may be gone.
    pub async fn find(
        &self,
        call: &str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<Value>, LiveError> {
        let wire = &self.0.wire;
        let answer = wire.get(call, &wire.uri(path, query), READ_DEADLINE).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.into_json(call, LiveError::answered).map(Some)
    }

    /// As [`Client::find`], without parsing the answer.
    pub(super) async fn find_raw(
        &self,
        call: &str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<Bytes>, LiveError> {
        let wire = &self.0.wire;
        let answer = wire.get(call, &wire.uri(path, query), READ_DEADLINE).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !answer.status.is_success() {
            return Err(answer.failure(call, LiveError::answered));
        }
        Ok(Some(answer.body))
    }

    /// Sends one change and returns the answer, `Null` when it is empty. 304 (already so) is success.
    pub async fn send(
        &self,
        call: &str,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
        deadline: Duration,
    ) -> Result<Value, LiveError> {
        let bytes = body.map(serde_json::to_vec).transpose();
        let bytes = bytes
            .map_err(|_| LiveError::new(call, Problem::BadRequest))?
            .unwrap_or_default();
        let wire = &self.0.wire;
        let request = wire.request(call, method, &wire.uri(path, query), Bytes::from(bytes), None)?;
        let answer = within(call, deadline, wire.exchange(call, request, Via::Own)).await?;
        answer.into_json(call, LiveError::answered)
    }

    /// Sends a tar archive and returns the answer's bytes: an upload answers nothing, an import a stream of progress.
    pub(super) async fn upload(
        &self,
        call: &str,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        archive: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, LiveError> {
        let wire = &self.0.wire;
        let mut request = wire.request(call, method, &wire.uri(path, query), archive, None)?;
        let tar = HeaderValue::from_static("application/x-tar");
        request.headers_mut().insert(CONTENT_TYPE, tar);
        let answer = within(call, deadline, wire.exchange(call, request, Via::Own)).await?;
        if !answer.status.is_success() {
            return Err(answer.failure(call, LiveError::answered));
        }
        Ok(answer.body)
    }

    /// `GET /containers/json` with stopped ones; `filters` as the API documents them.
    pub async fn containers(&self, filters: &Value) -> Result<Vec<Value>, LiveError> {
        let filters = filters.to_string();
        let call = "list containers";
        array(
            call,
            self.get(call, "/containers/json", &[("all", "1"), ("filters", &filters)])
                .await?,
        )
    }

    /// `GET /containers/{id}/json`; `None` if there is none.
    pub async fn container(&self, id: &str) -> Result<Option<Value>, LiveError> {
        self.find(
            &format!("inspect container {id}"),
            &path(&["containers", id, "json"]),
            &[],
        )
        .await
    }

    /// Inspects all of `ids`, several at a time, in their order; one that is gone is `None`.
    pub async fn inspect(&self, ids: &[impl AsRef<str>]) -> Result<Vec<Option<Value>>, LiveError> {
        let mut found = Vec::with_capacity(ids.len());
        let owned: Vec<String> = ids.iter().map(|id| id.as_ref().to_owned()).collect();
        let reads = owned.iter().map(|id| self.container(id));
        let mut answers = futures_util::stream::iter(reads).buffered(READ_CONNECTIONS);
        while let Some(answer) = answers.next().await {
            found.push(answer?);
        }
        Ok(found)
    }

    /// `GET /networks`; its entries hold no attached containers, [`Client::network`] does.
    pub async fn networks(&self, filters: &Value) -> Result<Vec<Value>, LiveError> {
        let call = "list networks";
        array(
            call,
            self.get(call, "/networks", &[("filters", &filters.to_string())])
                .await?,
        )
    }

    /// `GET /networks/{name or id}`.
    pub async fn network(&self, name: &str) -> Result<Option<Value>, LiveError> {
        self.find(
            &format!("inspect network {name}"),
            &path(&["networks", name]),
            &[],
        )
        .await
    }

    /// `GET /volumes`.
    pub async fn volumes(&self, filters: &Value) -> Result<Vec<Value>, LiveError> {
        let call = "list volumes";
        let mut answer = self
            .get(call, "/volumes", &[("filters", &filters.to_string())])
            .await?;
        match answer["Volumes"].take() {
            // An engine without any volume answers null.
            Value::Null => Ok(Vec::new()),
            volumes => array(call, volumes),
        }
    }

    /// `GET /volumes/{name}`.
    pub async fn volume(&self, name: &str) -> Result<Option<Value>, LiveError> {
        self.find(&format!("inspect volume {name}"), &path(&["volumes", name]), &[])
            .await
    }

    /// `GET /images/{reference or id}/json`: what the engine itself has.
    pub async fn image(&self, reference: &str) -> Result<Option<Value>, LiveError> {
        self.find(
            &format!("inspect image {reference}"),
            &path(&["images", reference, "json"]),
            &[],
        )
        .await
    }

    /// `GET /distribution/{reference}/json`: the registry's answer, through the engine.
    pub async fn distribution(&self, reference: &str, auth: Option<&Auth>) -> Result<Value, LiveError> {
        let call = format!("look up image {reference}");
        let wire = &self.0.wire;
        let uri = wire.uri(&path(&["distribution", reference, "json"]), &[]);
        let request = wire.request(&call, Method::GET, &uri, Bytes::new(), auth)?;
        let answer = within(&call, REGISTRY_DEADLINE, wire.exchange(&call, request, Via::Own)).await?;
        answer.into_json(&call, LiveError::registry)
    }

    /// `GET /events`: what happens from now on, or from `since` (seconds since the epoch, with a fraction). A hint, never
    /// the truth: relist after every (re)connect.
    pub async fn events(&self, since: Option<&str>, filters: &Value) -> Result<JsonStream, LiveError> {
        let call = "follow events";
        let filters = filters.to_string();
        let mut query = vec![("filters", filters.as_str())];
        query.extend(since.map(|since| ("since", since)));
        Ok(JsonStream::new(call, self.stream(call, "/events", &query).await?))
    }

    /// `GET /events` of a stretch of time that is over: the stream ends at `until`.
    pub(super) async fn events_until(
        &self,
        since: &str,
        until: &str,
        filters: &Value,
    ) -> Result<JsonStream, LiveError> {
        let (call, filters) = ("read past events", filters.to_string());
        let query = [("since", since), ("until", until), ("filters", &filters)];
        Ok(JsonStream::new(call, self.stream(call, "/events", &query).await?))
    }

    /// Opens an answer that comes in pieces, over a connection of its own; the deadline covers only its beginning.
    pub(super) async fn stream(
        &self,
        call: &str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Incoming, LiveError> {
        let wire = &self.0.wire;
        let request = wire.request(call, Method::GET, &wire.uri(path, query), Bytes::new(), None)?;
        let response = within(call, READ_DEADLINE, wire.open(call, request, Via::Own)).await?;
        if !response.status().is_success() {
            let answer = within(call, READ_DEADLINE, wire.answer(call, response)).await?;
            return Err(answer.failure(call, LiveError::answered));
        }
        Ok(response.into_body())
    }

    /// bollard over the same transport and API version, for typed and streaming calls. Wrap each in [`Client::call`] or
    /// [`Client::follow`]: its own timeout is out of the way.
    pub fn docker(&self) -> &bollard::Docker {
        &self.0.docker
    }

    /// Runs one of bollard's calls with a deadline and our errors.
    pub async fn call<T>(
        &self,
        call: &str,
        deadline: Duration,
        future: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, LiveError> {
        within(call, deadline, async {
            future
                .await
                .map_err(|error| self.0.wire.bollard_error(call, error, false))
        })
        .await
    }

    /// Follows one of bollard's streams to its end. `stall` is the longest silence that is borne.
    pub async fn follow<T>(
        &self,
        call: &str,
        stall: Duration,
        stream: impl Stream<Item = Result<T, bollard::errors::Error>>,
        mut each: impl FnMut(T),
    ) -> Result<(), LiveError> {
        self.follow_as(call, stall, stream, &mut each, false).await
    }

    /// Pulls `reference` (`name@sha256:…` or `name:tag`). `each` hears of every line of progress.
    pub async fn pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        auth: Option<&Auth>,
        mut each: impl FnMut(bollard::models::CreateImageInfo),
    ) -> Result<(), LiveError> {
        let mut options =
            bollard::query_parameters::CreateImageOptionsBuilder::default().from_image(reference);
        if let Some(platform) = platform {
            options = options.platform(platform);
        }
        let stream = self
            .docker()
            .create_image(Some(options.build()), None, auth.map(Auth::to_bollard));
        self.follow_as(
            &format!("pull image {reference}"),
            STALL_DEADLINE,
            stream,
            &mut each,
            true,
        )
        .await
    }

    async fn follow_as<T>(
        &self,
        call: &str,
        stall: Duration,
        stream: impl Stream<Item = Result<T, bollard::errors::Error>>,
        each: &mut impl FnMut(T),
        registry: bool,
    ) -> Result<(), LiveError> {
        let mut stream = std::pin::pin!(stream);
        loop {
            match tokio::time::timeout(stall, stream.next()).await {
                Err(_) => return Err(LiveError::new(call, Problem::Stalled { after: stall })),
                Ok(None) => return Ok(()),
                Ok(Some(Ok(item))) => each(item),
                Ok(Some(Err(error))) => return Err(self.0.wire.bollard_error(call, error, registry)),
            }
        }
    }
}

/// A path of `segments`, each one escaped. References may hold `/`, which the engine's routes want bare.
pub fn path(segments: &[&str]) -> String {
    let mut path = String::new();
    for segment in segments {
        path.push('/');
        for byte in segment.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b'@' => {
                    path.push(char::from(byte));
                }
                _ => path.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    path
}

/// The transport and what every request needs.
#[derive(Debug, Clone)]
struct Wire {
    transport: Transport,
    prefix: Arc<str>,
    address: Arc<str>,
    permits: Arc<Semaphore>,
}

#[derive(Clone, Copy)]
enum Via {
    Pool,
    Own,
}

struct Answer {
    status: StatusCode,
    body: Bytes,
}

type ErrorOf = fn(&str, u16, String) -> LiveError;

impl Answer {
    fn into_json(self, call: &str, error_of: ErrorOf) -> Result<Value, LiveError> {
        if !self.status.is_success() && self.status != StatusCode::NOT_MODIFIED {
            return Err(self.failure(call, error_of));
        }
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        // The parser's words are left out: they may quote the answer.
        serde_json::from_slice(&self.body).map_err(|_| LiveError::new(call, Problem::Unreadable))
    }

    fn failure(&self, call: &str, error_of: ErrorOf) -> LiveError {
        let json: Option<Value> = serde_json::from_slice(&self.body).ok();
        let message = json.as_ref().and_then(|json| json["message"].as_str());
        let text = match message {
            Some(message) => message.to_owned(),
            None => String::from_utf8_lossy(&self.body)
                .trim()
                .chars()
                .take(500)
                .collect(),
        };
        let text = if text.is_empty() {
            self.status.to_string()
        } else {
            text
        };
        error_of(call, self.status.as_u16(), text)
    }
}

impl Wire {
    fn uri(&self, path: &str, query: &[(&str, &str)]) -> String {
        let mut uri = format!("http://{}{}{path}", self.transport.authority(), self.prefix);
        if !query.is_empty() {
            let pairs = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(query)
                .finish();
            uri.push('?');
            uri.push_str(&pairs);
        }
        uri
    }

    fn request(
        &self,
        call: &str,
        method: Method,
        uri: &str,
        body: Bytes,
        auth: Option<&Auth>,
    ) -> Result<Request<OutBody>, LiveError> {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(CONTENT_TYPE, "application/json");
        if let Some(auth) = auth {
            let value = HeaderValue::from_str(auth.header().expose());
            let mut value = value.map_err(|_| LiveError::new(call, Problem::BadRequest))?;
            value.set_sensitive(true);
            request = request.header("X-Registry-Auth", value);
        }
        request
            .body(boxed(Full::new(body)))
            .map_err(|error| LiveError::caused(call, Problem::BadRequest, &error))
    }

    /// A read over a kept connection. The engine may close one while we are about to use it, so a cut read is sent once
    /// more, over a new connection.
    async fn get(&self, call: &str, uri: &str, deadline: Duration) -> Result<Answer, LiveError> {
        // The semaphore is never closed; without a permit the read would only be unbounded.
        let _permit = self.permits.acquire().await.ok();
        let both = async {
            let request = self.request(call, Method::GET, uri, Bytes::new(), None)?;
            match self.exchange(call, request, Via::Pool).await {
                Err(LiveError {
                    problem: Problem::Cut,
                    ..
                }) => {
                    let again = self.request(call, Method::GET, uri, Bytes::new(), None)?;
                    self.exchange(call, again, Via::Own).await
                }
                answer => answer,
            }
        };
        within(call, deadline, both).await
    }

    /// A question before the version is known. Whatever is not an engine's JSON means that no engine is there.
    async fn first(&self, call: &str, path: &str) -> Result<Value, LiveError> {
        let answer = self.get(call, &self.uri(path, &[]), READ_DEADLINE).await?;
        if answer.status.is_server_error() {
            return Err(answer.failure(call, LiveError::answered));
        }
        let json = serde_json::from_slice::<Value>(&answer.body).ok();
        let json = json.filter(|json| answer.status.is_success() && json.is_object());
        json.ok_or_else(|| {
            LiveError::new(
                call,
                Problem::NotDocker {
                    address: self.address.to_string(),
                },
            )
        })
    }

    async fn exchange(&self, call: &str, request: Request<OutBody>, via: Via) -> Result<Answer, LiveError> {
        let response = self.open(call, request, via).await?;
        self.answer(call, response).await
    }

    async fn open(
        &self,
        call: &str,
        request: Request<OutBody>,
        via: Via,
    ) -> Result<Response<Incoming>, LiveError> {
        let sent = match via {
            Via::Pool => self.transport.read(request).await,
            Via::Own => self.transport.call(request).await,
        };
        sent.map_err(|error| self.connection_error(call, &error))
    }

    async fn answer(&self, call: &str, response: Response<Incoming>) -> Result<Answer, LiveError> {
        let status = response.status();
        match Limited::new(response.into_body(), ANSWER_MAX).collect().await {
            Ok(body) => Ok(Answer {
                status,
                body: body.to_bytes(),
            }),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(LiveError::new(call, Problem::Unreadable))
            }
            Err(error) => Err(LiveError::caused(call, Problem::Cut, &*error)),
        }
    }

    fn connection_error(&self, call: &str, error: &hyper_util::client::legacy::Error) -> LiveError {
        let problem = connection_problem(&self.address, error, error.is_connect());
        LiveError::caused(call, problem, error)
    }

    fn bollard_error(&self, call: &str, error: bollard::errors::Error, registry: bool) -> LiveError {
        use bollard::errors::Error;
        let error_of: ErrorOf = if registry {
            LiveError::registry
        } else {
            LiveError::answered
        };
        match error {
            Error::DockerResponseServerError { status_code, message } => error_of(call, status_code, message),
            Error::DockerStreamError { error } => error_of(call, 500, error),
            Error::HyperLegacyError { err } => self.connection_error(call, &err),
            Error::HyperResponseError { err } => LiveError::caused(call, Problem::Cut, &err),
            Error::IOError { err } => LiveError::caused(call, Problem::Cut, &err),
            // Their texts may quote the answer, which may hold an environment.
            Error::JsonDataError { .. } | Error::JsonSerdeError { .. } | Error::StrParseError { .. } => {
                LiveError::new(call, Problem::Unreadable)
            }
            Error::RequestTimeoutError => LiveError::new(
                call,
                Problem::Deadline {
                    after: BOLLARD_TIMEOUT,
                },
            ),
            other => LiveError {
                call: call.to_owned(),
                problem: Problem::BadRequest,
                cause: Some(Cause::text(other.to_string())),
            },
        }
    }
}

/// What a failure to send means.
fn connection_problem(address: &str, error: &(dyn std::error::Error + 'static), connecting: bool) -> Problem {
    use std::io::ErrorKind;
    let address = address.to_owned();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            if io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
                return Problem::Tls { address };
            }
            if connecting {
                return match io.kind() {
                    ErrorKind::NotFound => Problem::Absent { address },
                    ErrorKind::PermissionDenied => Problem::PermissionDenied { address },
                    _ => Problem::Unreachable { address },
                };
            }
        }
        if let Some(hyper) = error.downcast_ref::<hyper::Error>()
            && hyper.is_parse()
        {
            return Problem::NotDocker { address };
        }
        next = error.source();
    }
    if connecting {
        Problem::Unreachable { address }
    } else {
        Problem::Cut
    }
}

async fn within<T>(
    call: &str,
    deadline: Duration,
    future: impl Future<Output = Result<T, LiveError>>,
) -> Result<T, LiveError> {
    // Dropping the future closes a connection of its own; the engine sees the caller go away.
    match tokio::time::timeout(deadline, future).await {
        Ok(result) => result,
        Err(_) => Err(LiveError::new(call, Problem::Deadline { after: deadline })),
    }
}

fn array(call: &str, value: Value) -> Result<Vec<Value>, LiveError> {
    match value {
        Value::Array(items) => Ok(items),
        // Go's nil slice.
        Value::Null => Ok(Vec::new()),
        _ => Err(LiveError::new(call, Problem::Unreadable)),
    }
}

/// bollard's own limit, which must never come first: a day.
const BOLLARD_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

fn bollard_over(wire: &Wire, call: &str) -> Result<bollard::Docker, LiveError> {
    let (transport, prefix) = (wire.transport.clone(), wire.prefix.clone());
    let send = move |request: bollard::BollardRequest| {
        let (transport, request) = (transport.clone(), adapted(request, &prefix));
        async move {
            transport
                .call(request?)
                .await
                .map_err(bollard::errors::Error::from)
        }
    };
    let base = format!("http://{}", wire.transport.authority());
    let newest = bollard::API_DEFAULT_VERSION;
    bollard::Docker::connect_with_custom_transport(send, Some(base), BOLLARD_TIMEOUT.as_secs(), newest)
        .map_err(|error| wire.bollard_error(call, error, false))
}

/// bollard's request with what it leaves out: the API version in the path, and URL-safe base64 in `X-Registry-Auth` (it
/// encodes with `+` and `/`, which engines refuse).
fn adapted(
    request: bollard::BollardRequest,
    prefix: &str,
) -> Result<Request<OutBody>, bollard::errors::Error> {
    let (mut parts, body) = request.into_parts();
    let mut uri = parts.uri.into_parts();
    let old = uri.path_and_query.as_ref().map_or("/", PathAndQuery::as_str);
    uri.path_and_query = Some(PathAndQuery::try_from(format!("{prefix}{old}"))?);
    parts.uri = hyper::Uri::from_parts(uri)?;
    parts.headers.remove(HOST);
    if let Some(value) = parts.headers.get_mut("X-Registry-Auth") {
        let safe: Vec<u8> = value
            .as_bytes()
            .iter()
            .map(|byte| match byte {
                b'+' => b'-',
                b'/' => b'_',
                other => *other,
            })
            .collect();
        if let Ok(mut header) = HeaderValue::from_bytes(&safe) {
            header.set_sensitive(true);
            *value = header;
        }
    }
    Ok(Request::from_parts(parts, boxed(body)))
}
