//! A validating admission webhook of a test, as a policy engine in a cluster is one: the API server asks it before each change in
//! one namespace, and it refuses what the test picks. A dry run it lets pass: it is one that has no answer for those.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, named};
use super::namespace::Namespace;

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

/// Says of an `AdmissionRequest` (`admission.k8s.io/v1`) why it is refused.
type Rule = Box<dyn Fn(&Value) -> Option<String> + Send>;

#[derive(Default)]
struct State {
    rule: Option<Rule>,
    refused: Vec<String>,
}

/// A running webhook; it is taken out of the cluster and ends when dropped.
pub struct Webhook<'c> {
    cluster: &'c Cluster,
    name: String,
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl<'c> Webhook<'c> {
    /// Starts one before the objects of `space`; when this returns, the API server asks it.
    pub fn start(space: &Namespace<'c>) -> Self {
        let cluster = space.cluster();
        let state = Arc::<Mutex<State>>::default();
        let stop = CancellationToken::new();
        let listener = std::net::TcpListener::bind((cluster.host(), 0)).expect("a free port");
        listener
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        let address = listener.local_addr().expect("it is bound");
        let task = serve(
            listener,
            TlsAcceptor::from(cluster.served_tls()),
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
        let webhook = Self {
            cluster,
            name: format!("{}.example.com", space.name()),
            state,
            stop,
            thread: Some(thread),
        };
        webhook.register(space.name(), address);
        webhook.wait_until_asked(space);
        webhook
    }

    fn register(&self, namespace: &str, address: SocketAddr) {
        let authority = std::fs::read(self.cluster.folder().join("pki/ca.crt")).expect("the cluster's files");
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": self.name },
            "webhooks": [{
                "name": self.name,
                "clientConfig": { "url": format!("https://{address}/"), "caBundle": base64::engine::general_purpose::STANDARD.encode(authority) },
                "rules": [{ "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "scope": "Namespaced", "operations": ["CREATE", "UPDATE", "DELETE"] }],
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
                "failurePolicy": "Fail", "sideEffects": "NoneOnDryRun", "admissionReviewVersions": ["v1"], "timeoutSeconds": 10,
            }],
        });
        let made = self.cluster.call("POST", CONFIGURATIONS, Some(&configuration));
        assert_eq!(made.status, 201, "{}", made.body);
    }

    /// The API server learns of a webhook a moment after it is registered.
    fn wait_until_asked(&self, space: &Namespace<'c>) {
        self.refuse(|request| (request["name"] == "is-it-asked").then(|| "it is asked".to_owned()));
        let (maps, deadline) = (
            space.path("v1/configmaps"),
            Instant::now() + Duration::from_secs(20),
        );
        while self
            .cluster
            .call("POST", &maps, Some(&named("is-it-asked")))
            .status
            < 400
        {
            space.delete("v1/configmaps/is-it-asked");
            assert!(
                Instant::now() < deadline,
                "the API server does not ask the webhook"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        self.refuse_nothing();
    }

    /// From now on refuses the requests for which `rule` has a reason.
    pub fn refuse(&self, rule: impl Fn(&Value) -> Option<String> + Send + 'static) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.rule = Some(Box::new(rule));
        state.refused.clear();
    }

    /// From now on lets everything pass.
    pub fn refuse_nothing(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State::default();
    }

    /// What it refused since the last rule, each as `OPERATION KIND NAME`.
    pub fn refused(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.refused.clone()
    }
}

impl Drop for Webhook<'_> {
    fn drop(&mut self) {
        // Registered and not there, it would refuse everything, the namespace's end included.
        let _ = self
            .cluster
            .call("DELETE", &format!("{CONFIGURATIONS}/{}", self.name), None);
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: std::net::TcpListener, tls: TlsAcceptor, state: Arc<Mutex<State>>) {
    let listener = TcpListener::from_std(listener).expect("a listening socket");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        // Ends with the runtime, which ends with the value.
        drop(tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request| review(request, Arc::clone(&state)));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }));
    }
}

async fn review(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let asked: Value = serde_json::from_slice(&body).expect("the API server sends JSON");
    let asked = &asked["request"];
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let reason = match &state.rule {
        Some(rule) if asked["dryRun"] != true => rule(asked),
        _ => None,
    };
    let mut answer = json!({ "uid": asked["uid"], "allowed": reason.is_none() });
    if let Some(reason) = reason {
        answer["status"] = json!({ "code": 403, "message": reason });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        state.refused.push(format!(
            "{} {} {}",
            text(&asked["operation"]),
            text(&asked["kind"]["kind"]),
            text(&asked["name"])
        ));
    }
    let review =
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer });
    Ok(Response::builder()
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(review.to_string()))
        .expect("a plain answer"))
}
