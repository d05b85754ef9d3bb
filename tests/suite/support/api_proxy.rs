//! A proxy before a cluster's API server: records every request and breaks those that a test picks.
//!
//! It serves with the API server's own certificate, so a kubeconfig needs only another address ([`ApiProxy::kubeconfig`]), and
//! tokens pass through. It speaks HTTP/1.1 on both sides, one upstream connection per request, so it sees every request of
//! a kept-alive connection; bodies are streamed, a watch event by event; upgraded connections (exec, port-forward) are piped.
//! What it knows of the API's paths is in [`super::api_call`].

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::api_call::{ApiCall, Pick};
use super::cluster::{Client, Cluster};
use super::engine::Answer;
use super::proxy::Gate;

/// What happens to a picked request instead of the normal.
#[derive(Debug, Clone)]
pub enum ApiFault {
    /// The API server does not see it; the client gets this status, as the API server words it.
    Refuse(u16),
    /// As [`ApiFault::Refuse`] with 429 and `Retry-After` in seconds.
    TooMany(u32),
    /// The API server does not see it; the connection is closed.
    DropBefore,
    /// The API server does it; then the connection is closed without an answer.
    DropAfter,
    /// The API server does not see it, and no answer ever comes.
    Hang,
    /// It waits at a gate (see [`ApiProxy::hold`]), then passes.
    Hold(Gate),
    /// The API server does not see it, and the client never hears: for a client that is killed before its call.
    Swallow(Gate),
    /// The API server does it, and the client never hears: for a client that is killed after its call.
    Withhold(Gate),
    /// The connection of a watch breaks after this many events. Only watches meet it, as the three below.
    CutWatch(usize),
    /// A watch ends after this many events as its timeout would end it.
    EndWatch(usize),
    /// A watch says 410 (`Expired`) after this many events, and ends.
    ExpireWatch(usize),
    /// A watch falls silent after this many events, its connection stays.
    StallWatch(usize),
}

impl ApiFault {
    fn is_for_watches(&self) -> bool {
        matches!(
            self,
            ApiFault::CutWatch(_)
                | ApiFault::EndWatch(_)
                | ApiFault::ExpireWatch(_)
                | ApiFault::StallWatch(_)
        )
    }
}

struct Rule {
    pick: Pick,
    skip: usize,
    times: usize,
    fault: ApiFault,
}

#[derive(Default)]
struct State {
    calls: Vec<ApiCall>,
    rules: Vec<Rule>,
    nth_mutating: Option<(usize, ApiFault)>,
    cut: CancellationToken,
    open_watches: usize,
}

type Shared = Arc<Mutex<State>>;
type Tasks = Arc<Mutex<JoinSet<()>>>;
type Broken = Box<dyn std::error::Error + Send + Sync>;
type Body = BoxBody<Bytes, Broken>;

/// A running proxy; ends when dropped.
pub struct ApiProxy {
    folder: tempfile::TempDir,
    address: SocketAddr,
    upstream: SocketAddr,
    admin: PathBuf,
    client: Client,
    state: Shared,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ApiProxy {
    /// Starts a proxy before the API server of `cluster`, on a free port of 127.0.0.1.
    pub fn start(cluster: &Cluster) -> Self {
        let state = Shared::default();
        let stop = CancellationToken::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        let address = listener.local_addr().expect("it is bound");
        let upstream = Upstream {
            address: cluster.server(),
            tls: TlsConnector::from(cluster.tls()),
        };
        let task = serve(
            listener,
            TlsAcceptor::from(cluster.served_tls()),
            upstream,
            Arc::clone(&state),
        );
        let until = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async { until.run_until_cancelled(task).await });
        });
        Self {
            folder: tempfile::tempdir().expect("a folder for kubeconfigs"),
            address,
            upstream: cluster.server(),
            admin: cluster.kubeconfig(),
            client: cluster.client_to(address),
            state,
            stop,
            thread: Some(thread),
        }
    }

    /// The kubeconfig of the cluster's admin through this proxy.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of(&self.admin)
    }

    /// Another kubeconfig of the cluster (an account's), through this proxy.
    pub fn kubeconfig_of(&self, direct: &Path) -> PathBuf {
        let text = std::fs::read_to_string(direct).expect("a kubeconfig of the cluster");
        let path = self.folder.path().join(direct.file_name().expect("a file"));
        let through = text.replace(
            &format!("https://{}", self.upstream),
            &format!("https://{}", self.address),
        );
        std::fs::write(&path, through).expect("a folder of our own");
        path
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A call as admin through this proxy, which waits for each part of an answer no longer than `patience`.
    pub fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> io::Result<Answer> {
        let mut client = self.client.clone();
        client.patience = patience;
        client.call(method, path, body)
    }

    /// All requests since the start or the last [`ApiProxy::clear`], in the order in which they arrived.
    pub fn calls(&self) -> Vec<ApiCall> {
        lock(&self.state).calls.clone()
    }

    /// The calls that can change something.
    pub fn mutating(&self) -> Vec<ApiCall> {
        self.calls().into_iter().filter(ApiCall::is_mutating).collect()
    }

    /// How many calls fit, such as `apply deployments.apps` or `watch *` (see [`Pick`]).
    pub fn count(&self, pick: &str) -> usize {
        let pick = Pick::from(pick);
        self.calls().iter().filter(|call| pick.fits(call)).count()
    }

    /// How often each verb met each resource: `{"apply deployments.apps": 2, "get /api": 1}`.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for call in self.calls() {
            *counts.entry(call.kind()).or_default() += 1;
        }
        counts
    }

    /// Requires that nothing could have changed anything.
    #[track_caller]
    pub fn assert_read_only(&self) {
        let sent: Vec<String> = self.mutating().iter().map(ApiCall::to_string).collect();
        assert!(sent.is_empty(), "mutating calls were sent: {sent:#?}");
    }

    /// Requires that no call came at all.
    #[track_caller]
    pub fn assert_silent(&self) {
        let sent: Vec<String> = self.calls().iter().map(ApiCall::to_string).collect();
        assert!(sent.is_empty(), "calls were sent: {sent:#?}");
    }

    /// How many watches and followed logs are open now.
    pub fn open_watches(&self) -> usize {
        lock(&self.state).open_watches
    }

    /// Forgets the calls and the faults. Open watches stay open.
    pub fn clear(&self) {
        let mut state = lock(&self.state);
        for rule in state.rules.drain(..) {
            if let ApiFault::Hold(gate) = rule.fault {
                gate.open();
            }
        }
        state.nth_mutating = None;
        state.calls.clear();
    }

    /// Breaks every request that fits `pick` (see [`Pick`]), until [`ApiProxy::clear`].
    pub fn fault(&self, pick: &str, fault: ApiFault) {
        self.fault_nth(pick, 0, usize::MAX, fault);
    }

    /// Breaks the next `times` requests that fit.
    pub fn fault_next(&self, times: usize, pick: &str, fault: ApiFault) {
        self.fault_nth(pick, 0, times, fault);
    }

    /// Breaks `times` fitting requests after the first `skip` of them. The first rule that fits is taken.
    pub fn fault_nth(&self, pick: &str, skip: usize, times: usize, fault: ApiFault) {
        lock(&self.state).rules.push(Rule {
            pick: Pick::from(pick),
            skip,
            times,
            fault,
        });
    }

    /// Breaks the `n`th call from now (counted from 0) that can change something: for a crash-point sweep.
    pub fn fault_nth_mutating(&self, n: usize, fault: ApiFault) {
        lock(&self.state).nth_mutating = Some((n, fault));
    }

    /// Holds the first fitting request at a gate.
    pub fn hold(&self, pick: &str) -> Gate {
        let gate = Gate::new();
        self.fault_next(1, pick, ApiFault::Hold(gate.clone()));
        gate
    }

    /// Breaks the connections of all watches and followed logs that are open now.
    pub fn cut_watches(&self) {
        let mut state = lock(&self.state);
        std::mem::take(&mut state.cut).cancel();
    }
}

impl Drop for ApiProxy {
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

#[derive(Clone)]
struct Upstream {
    address: SocketAddr,
    tls: TlsConnector,
}

async fn serve(listener: std::net::TcpListener, tls: TlsAcceptor, upstream: Upstream, state: Shared) {
    let listener = TcpListener::from_std(listener).expect("a listening socket");
    let tasks = Tasks::default();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (tls, upstream) = (tls.clone(), upstream.clone());
        let (state, for_requests) = (Arc::clone(&state), Arc::clone(&tasks));
        spawn(&tasks, async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request| {
                pass(
                    request,
                    upstream.clone(),
                    Arc::clone(&state),
                    Arc::clone(&for_requests),
                )
            });
            // An error here is a client that went away, or a fault that was asked for.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
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
    Connect(#[from] io::Error),
    #[error("upstream request")]
    Http(#[from] hyper::Error),
}

async fn pass(
    mut request: Request<Incoming>,
    upstream: Upstream,
    state: Shared,
    tasks: Tasks,
) -> Result<Response<Body>, Cut> {
    let (call, fault) = record(&state, &request);
    match &fault {
        Some(ApiFault::Refuse(status)) => {
            // Read to its end as the API server would: a client that still writes would see a broken pipe instead.
            let _ = request.into_body().collect().await;
            return Ok(refusal(*status, None));
        }
        Some(ApiFault::TooMany(seconds)) => {
            let _ = request.into_body().collect().await;
            return Ok(refusal(429, Some(*seconds)));
        }
        Some(ApiFault::DropBefore) => return Err(Cut::OnPurpose),
        Some(ApiFault::Hang) => return std::future::pending().await,
        Some(ApiFault::Hold(gate)) => gate.pass().await,
        Some(ApiFault::Swallow(gate)) => {
            gate.reach();
            return std::future::pending().await;
        }
        _ => {}
    }
    let socket = TcpStream::connect(upstream.address).await?;
    let _ = socket.set_nodelay(true);
    let stream = upstream
        .tls
        .connect(ServerName::from(upstream.address.ip()), socket)
        .await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    spawn(&tasks, async move {
        let _ = connection.with_upgrades().await;
    });
    let client_side = request
        .headers()
        .contains_key(UPGRADE)
        .then(|| hyper::upgrade::on(&mut request));
    let mut response = sender.send_request(request).await?;
    match &fault {
        Some(ApiFault::DropAfter) => {
            let _ = response.into_body().collect().await;
            return Err(Cut::OnPurpose);
        }
        Some(ApiFault::Withhold(gate)) => {
            let _ = response.into_body().collect().await;
            gate.reach();
            return std::future::pending().await;
        }
        _ => {}
    }
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(client_side)) = (response.status(), client_side) {
        let server_side = hyper::upgrade::on(&mut response);
        spawn(&tasks, async move {
            if let (Ok(client), Ok(server)) = tokio::join!(client_side, server_side) {
                let _ =
                    tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server)).await;
            }
        });
    }
    if call.is_stream() && response.status().is_success() {
        return Ok(response.map(|body| Watch::new(body, &state, fault).boxed()));
    }
    Ok(response.map(|body| body.map_err(Broken::from).boxed()))
}

/// Writes the request down, and picks the fault that it meets.
fn record(state: &Shared, request: &Request<Incoming>) -> (ApiCall, Option<ApiFault>) {
    let call = ApiCall::new(request);
    let mut state = lock(state);
    let mut picked = None;
    for rule in &mut state.rules {
        if !rule.pick.fits(&call) || (rule.fault.is_for_watches() && !call.watch) {
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
    state.calls.push(call.clone());
    (call, picked)
}

fn status_object(code: u16) -> Value {
    let (reason, message) = match code {
        401 => ("Unauthorized", "Unauthorized"),
        403 => ("Forbidden", "forbidden: made up by the test"),
        404 => ("NotFound", "not found: made up by the test"),
        409 => (
            "Conflict",
            "the object has been modified; please apply your changes to the latest version and try again",
        ),
        410 => ("Expired", "too old resource version: 1 (2)"),
        429 => ("TooManyRequests", "too many requests, please try again later"),
        500 => ("InternalError", "Internal error occurred: made up by the test"),
        503 => (
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        504 => ("Timeout", "request timed out: made up by the test"),
        _ => ("", "made up by the test"),
    };
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code })
}

fn refusal(code: u16, retry_after: Option<u32>) -> Response<Body> {
    let mut status = status_object(code);
    if let Some(seconds) = retry_after {
        status["details"] = json!({ "retryAfterSeconds": seconds });
    }
    let body = Full::new(Bytes::from(status.to_string()))
        .map_err(|never| match never {})
        .boxed();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).expect("a status code");
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The stream of a watch, one line per event, or of a followed log. Passes chunks on as they come.
struct Watch {
    inner: Incoming,
    state: Shared,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// How many events may still pass, and what comes then.
    left: Option<(usize, ApiFault)>,
    ended: bool,
}

impl Watch {
    fn new(inner: Incoming, state: &Shared, fault: Option<ApiFault>) -> Self {
        let mut locked = lock(state);
        locked.open_watches += 1;
        let left = fault.and_then(|fault| match fault {
            ApiFault::CutWatch(n)
            | ApiFault::EndWatch(n)
            | ApiFault::ExpireWatch(n)
            | ApiFault::StallWatch(n) => Some((n, fault)),
            _ => None,
        });
        Self {
            inner,
            state: Arc::clone(state),
            cut: Box::pin(locked.cut.clone().cancelled_owned()),
            left,
            ended: false,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.state).open_watches -= 1;
    }
}

impl hyper::body::Body for Watch {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.cut.as_mut().poll(context).is_ready() {
            self.ended = true;
            return Poll::Ready(Some(Err(Cut::OnPurpose.into())));
        }
        if let Some((0, fault)) = &self.left {
            return match fault {
                ApiFault::StallWatch(_) => Poll::Pending,
                ApiFault::ExpireWatch(_) => {
                    self.ended = true;
                    let event = format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", status_object(410));
                    Poll::Ready(Some(Ok(Frame::data(Bytes::from(event)))))
                }
                ApiFault::EndWatch(_) => {
                    self.ended = true;
                    Poll::Ready(None)
                }
                _ => {
                    self.ended = true;
                    Poll::Ready(Some(Err(Cut::OnPurpose.into())))
                }
            };
        }
        let frame = match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        let Some((left, _)) = &mut self.left else {
            return Poll::Ready(Some(Ok(frame)));
        };
        let Ok(mut data) = frame.into_data() else {
            return Poll::Ready(None);
        };
        for (position, _) in data
            .clone()
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
        {
            *left -= 1;
            if *left == 0 {
                data.truncate(position + 1);
                break;
            }
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
