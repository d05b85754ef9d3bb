//! A proxy before the engine's socket: records every request and breaks those that a test picks.
//!
//! It speaks HTTP/1.1 on both sides, one upstream connection per request, so it sees every request of a kept-alive
//! connection; bodies are streamed; upgraded connections (attach, exec, BuildKit) are piped through.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use regex::Regex;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::wait_until;

/// One request that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path with its query, without the `/v1.41` before it.
    pub path: String,
    /// The API version before the path (`1.41`); `None` when the client sent none.
    pub version: Option<String>,
}

impl Call {
    /// Whether it can change something: anything but GET and HEAD, and but `POST /auth`, which only checks a password.
    pub fn is_mutating(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD") && self.path != "/auth"
    }

    /// The path without its query.
    pub fn route(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// What happens to a picked request instead of the normal.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The engine does not see it; the client gets this status and message.
    Refuse(u16, String),
    /// The engine does not see it; the connection is closed.
    DropBefore,
    /// The engine does it; then the connection is closed without an answer.
    DropAfter,
    /// It waits at a gate (see [`Proxy::hold`]), then passes.
    Hold(Gate),
    /// The engine does not see it, and the client never hears: for a client that is killed before its call.
    Swallow(Gate),
    /// The engine does it, and the client never hears: for a client that is killed after its call.
    Withhold(Gate),
}

/// Where held requests wait.
#[derive(Debug, Clone)]
pub struct Gate {
    reached: CancellationToken,
    open: CancellationToken,
}

impl Gate {
    /// A gate that no request has reached.
    pub fn new() -> Self {
        Self {
            reached: CancellationToken::new(),
            open: CancellationToken::new(),
        }
    }

    /// Waits until a request stands at the gate.
    #[track_caller]
    pub fn wait_until_reached(&self, deadline: Duration) {
        wait_until("a request reaches the gate", deadline, || {
            self.reached.is_cancelled()
        });
    }

    /// A request stands here now.
    pub(super) fn reach(&self) {
        self.reached.cancel();
    }

    /// A request comes, and waits until the gate is open.
    pub(super) async fn pass(&self) {
        self.reach();
        self.open.cancelled().await;
    }

    /// Lets it, and all later ones, pass.
    pub fn open(&self) {
        self.open.cancel();
    }
}

struct Rule {
    method: Option<String>,
    path: Regex,
    skip: usize,
    times: usize,
    fault: Fault,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    rules: Vec<Rule>,
    nth_mutating: Option<(usize, Fault)>,
}

type Shared = Arc<Mutex<State>>;
type Tasks = Arc<Mutex<JoinSet<()>>>;
type Body = BoxBody<Bytes, hyper::Error>;

/// A running proxy; ends when dropped.
pub struct Proxy {
    folder: tempfile::TempDir,
    state: Shared,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy before `upstream`.
    pub fn start(upstream: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder for a socket");
        let state = Shared::default();
        let stop = CancellationToken::new();
        let socket =
            std::os::unix::net::UnixListener::bind(folder.path().join("docker.sock")).expect("a new socket");
        socket
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        let task = serve(socket, upstream.to_owned(), Arc::clone(&state));
        let until = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async { until.run_until_cancelled(task).await });
        });
        Self {
            folder,
            state,
            stop,
            thread: Some(thread),
        }
    }

    /// The socket that clients connect to.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// The socket as a value for `DOCKER_HOST`.
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// All requests since the start or the last [`Proxy::clear`], in the order in which they arrived.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.state).calls.clone()
    }

    /// The calls that can change something.
    pub fn mutating(&self) -> Vec<Call> {
        self.calls().into_iter().filter(Call::is_mutating).collect()
    }

    /// Requires that nothing could have changed anything.
    #[track_caller]
    pub fn assert_read_only(&self) {
        let sent: Vec<String> = self.mutating().iter().map(Call::to_string).collect();
        assert!(sent.is_empty(), "mutating calls were sent: {sent:#?}");
    }

    /// Calls per method and route, ids and names left as they are: for "the fewest calls".
    pub fn count(&self, method: &str, route: &str) -> usize {
        let route = Regex::new(&format!("^{route}$")).expect("a valid pattern");
        self.calls()
            .iter()
            .filter(|call| call.method == method && route.is_match(call.route()))
            .count()
    }

    /// How often each method was used.
    pub fn methods(&self) -> HashMap<String, usize> {
        let mut methods = HashMap::new();
        for call in self.calls() {
            *methods.entry(call.method).or_default() += 1;
        }
        methods
    }

    /// Forgets the calls and the faults.
    pub fn clear(&self) {
        let mut state = lock(&self.state);
        for rule in state.rules.drain(..) {
            if let Fault::Hold(gate) = rule.fault {
                gate.open();
            }
        }
        state.nth_mutating = None;
        state.calls.clear();
    }

    /// Breaks every request whose method is `method` (`*` for any) and whose path, without version, matches `path`.
    pub fn fault(&self, method: &str, path: &str, fault: Fault) {
        self.fault_nth(method, path, 0, usize::MAX, fault);
    }

    /// Breaks `times` matching requests after the first `skip` of them. The first rule that fits is taken.
    pub fn fault_nth(&self, method: &str, path: &str, skip: usize, times: usize, fault: Fault) {
        let method = (method != "*").then(|| method.to_owned());
        let path = Regex::new(path).expect("a valid pattern");
        lock(&self.state).rules.push(Rule {
            method,
            path,
            skip,
            times,
            fault,
        });
    }

    /// Breaks the `n`th call from now (counted from 0) that can change something.
    pub fn fault_nth_mutating(&self, n: usize, fault: Fault) {
        let mut state = lock(&self.state);
        state.nth_mutating = Some((n, fault));
    }

    /// Holds the first matching request at a gate.
    pub fn hold(&self, method: &str, path: &str) -> Gate {
        let gate = Gate::new();
        self.fault_nth(method, path, 0, 1, Fault::Hold(gate.clone()));
        gate
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves plain lists behind, which stay usable for the message of the test that failed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(socket: std::os::unix::net::UnixListener, upstream: PathBuf, state: Shared) {
    let listener = UnixListener::from_std(socket).expect("a listening socket");
    let tasks = Tasks::default();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (upstream, state, for_requests) = (upstream.clone(), Arc::clone(&state), Arc::clone(&tasks));
        let connection = async move {
            let service = service_fn(move |request| {
                pass(
                    request,
                    upstream.clone(),
                    Arc::clone(&state),
                    Arc::clone(&for_requests),
                )
            });
            let server = hyper::server::conn::http1::Builder::new();
            // An error here is a client that went away, or a fault that was asked for.
            let _ = server
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        };
        spawn(&tasks, connection);
    }
}

fn spawn(tasks: &Tasks, task: impl Future<Output = ()> + Send + 'static) {
    let mut tasks = lock(tasks);
    while tasks.try_join_next().is_some() {}
    tasks.spawn(task);
}

/// An error here closes the client's connection without an answer.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("cut by the test")]
    OnPurpose,
    #[error("upstream connection")]
    Connect(#[from] std::io::Error),
    #[error("upstream request")]
    Http(#[from] hyper::Error),
}

async fn pass(
    mut request: Request<Incoming>,
    upstream: PathBuf,
    state: Shared,
    tasks: Tasks,
) -> Result<Response<Body>, Cut> {
    let fault = record(&state, &request);
    let cut_after = matches!(fault, Some(Fault::DropAfter));
    let withheld = match &fault {
        Some(Fault::Withhold(gate)) => Some(gate.clone()),
        _ => None,
    };
    match fault {
        Some(Fault::Refuse(status, message)) => {
            // Read to its end as the engine would: a client that still writes would see a broken pipe instead of the answer.
            let _ = request.into_body().collect().await;
            return Ok(refusal(status, &message));
        }
        Some(Fault::DropBefore) => return Err(Cut::OnPurpose),
        Some(Fault::Hold(gate)) => {
            gate.reached.cancel();
            gate.open.cancelled().await;
        }
        Some(Fault::Swallow(gate)) => {
            gate.reached.cancel();
            return std::future::pending().await;
        }
        Some(Fault::DropAfter | Fault::Withhold(_)) | None => {}
    }
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(UnixStream::connect(upstream).await?)).await?;
    spawn(&tasks, async move {
        let _ = connection.with_upgrades().await;
    });
    let client_side = request
        .headers()
        .contains_key(hyper::header::UPGRADE)
        .then(|| hyper::upgrade::on(&mut request));
    let mut response = sender.send_request(request).await?;
    if cut_after {
        // To the end of the body: a streamed operation (a pull) is then really done.
        let _ = response.into_body().collect().await;
        return Err(Cut::OnPurpose);
    }
    if let Some(gate) = withheld {
        let _ = response.into_body().collect().await;
        gate.reached.cancel();
        return std::future::pending().await;
    }
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(client_side)) = (response.status(), client_side) {
        let engine_side = hyper::upgrade::on(&mut response);
        spawn(&tasks, async move {
            if let (Ok(client), Ok(engine)) = tokio::join!(client_side, engine_side) {
                let _ =
                    tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(engine)).await;
            }
        });
    }
    Ok(response.map(|body| body.boxed()))
}

fn refusal(status: u16, message: &str) -> Response<Body> {
    let text = serde_json::json!({ "message": message }).to_string();
    let mut response = Response::new(
        Full::new(Bytes::from(text))
            .map_err(|never| match never {})
            .boxed(),
    );
    *response.status_mut() = StatusCode::from_u16(status).expect("a status code");
    response.headers_mut().insert(
        "content-type",
        hyper::header::HeaderValue::from_static("application/json"),
    );
    response
}

/// Writes the request down, and picks the fault that it meets.
fn record(state: &Shared, request: &Request<Incoming>) -> Option<Fault> {
    let whole = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let (version, path) = match whole.strip_prefix("/v").and_then(|rest| rest.split_once('/')) {
        Some((version, path)) if version.starts_with(|c: char| c.is_ascii_digit()) => {
            (Some(version.to_owned()), format!("/{path}"))
        }
        _ => (None, whole.to_owned()),
    };
    let call = Call {
        method: request.method().to_string(),
        path,
        version,
    };
    let mut state = lock(state);
    let mut picked = None;
    for rule in &mut state.rules {
        let fits = rule.method.as_ref().is_none_or(|method| *method == call.method)
            && rule.path.is_match(&call.path);
        if !fits {
            continue;
        }
        if rule.skip > 0 {
            rule.skip -= 1;
        } else if rule.times > 0 {
            rule.times -= 1;
            picked = Some(rule.fault.clone());
            break;
        }
    }
    if call.is_mutating() {
        state.nth_mutating = match state.nth_mutating.take() {
            Some((0, fault)) => {
                picked = Some(fault);
                None
            }
            Some((n, fault)) => Some((n - 1, fault)),
            None => None,
        };
    }
    state.calls.push(call);
    picked
}
