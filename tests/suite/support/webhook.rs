//! An admission webhook of a test, as a policy engine or an injector in a cluster is one: the API server asks it before each
//! change in one namespace, and it refuses or changes what the test picks. It refuses no dry run: it is one that has no answer
//! for those.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
use super::engine::Answer;
use super::namespace::Namespace;

/// A ConfigMap that shows whether the webhook is asked.
const PROBE: &str = "is-it-asked";

/// What a webhook is registered as.
#[derive(Debug, Clone, Copy)]
enum Sort {
    Validating,
    Mutating,
}

impl Sort {
    fn list(self) -> String {
        let kind = format!("{self:?}").to_lowercase();
        format!("/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations")
    }
}

/// Says of an `AdmissionRequest` (`admission.k8s.io/v1`) why it is refused.
type Refuse = Box<dyn Fn(&Value) -> Option<String> + Send>;
/// Says of an `AdmissionRequest` how its object is changed, as a JSON patch.
type Change = Box<dyn Fn(&Value) -> Option<Value> + Send>;

#[derive(Default)]
struct State {
    refuse: Option<Refuse>,
    change: Option<Change>,
    refused: Vec<String>,
}

/// A running webhook; it is taken out of the cluster and ends when dropped.
pub struct Webhook<'c> {
    cluster: &'c Cluster,
    namespace: String,
    address: SocketAddr,
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
            namespace: space.name().to_owned(),
            address,
            state,
            stop,
            thread: Some(thread),
        };
        webhook.register(Sort::Validating);
        webhook.refuse(|request| (request["name"] == PROBE).then(|| "it is asked".to_owned()));
        webhook.wait_until_asked(space, |answer| answer.status >= 400);
        webhook.refuse_nothing();
        webhook
    }

    fn name(&self) -> String {
        format!("{}.example.com", self.namespace)
    }

    fn register(&self, sort: Sort) {
        let (address, name) = (self.address, self.name());
        let authority = std::fs::read(self.cluster.folder().join("pki/ca.crt")).expect("the cluster's files");
        let configuration = json!({
            "metadata": { "name": name },
            "webhooks": [{
                "name": name,
                "clientConfig": { "url": format!("https://{address}/{sort:?}"), "caBundle": base64::engine::general_purpose::STANDARD.encode(authority) },
                "rules": [{ "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "scope": "Namespaced", "operations": ["CREATE", "UPDATE", "DELETE"] }],
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": self.namespace } },
                "failurePolicy": "Fail", "sideEffects": "NoneOnDryRun", "admissionReviewVersions": ["v1"], "timeoutSeconds": 10,
            }],
        });
        let made = self.cluster.call("POST", &sort.list(), Some(&configuration));
        assert_eq!(made.status, 201, "{}", made.body);
    }

    /// The API server learns of a webhook a moment after it is registered.
    fn wait_until_asked(&self, space: &Namespace<'c>, asked: impl Fn(&Answer) -> bool) {
        let (maps, deadline) = (
            space.path("v1/configmaps"),
            Instant::now() + Duration::from_secs(20),
        );
        while !asked(&self.cluster.call("POST", &maps, Some(&named(PROBE)))) {
            space.delete(&format!("v1/configmaps/{PROBE}"));
            assert!(
                Instant::now() < deadline,
                "the API server does not ask the webhook"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        space.delete(&format!("v1/configmaps/{PROBE}"));
    }

    /// From now on changes the objects for which `rule` has a JSON patch, in dry runs too, as an injector does.
    pub fn change(&self, space: &Namespace<'c>, rule: impl Fn(&Value) -> Option<Value> + Send + 'static) {
        let probe = |request: &Value| {
            let patch = json!([{ "op": "add", "path": "/data", "value": { "asked": "yes" } }]);
            (request["name"] == PROBE && request["operation"] != "DELETE").then_some(patch)
        };
        self.lock().change = Some(Box::new(move |request| probe(request).or_else(|| rule(request))));
        self.register(Sort::Mutating);
        self.wait_until_asked(space, |answer| answer.body.contains("\"asked\""));
    }

    /// From now on refuses the requests for which `rule` has a reason.
    pub fn refuse(&self, rule: impl Fn(&Value) -> Option<String> + Send + 'static) {
        let mut state = self.lock();
        state.refuse = Some(Box::new(rule));
        state.refused.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on refuses nothing.
    pub fn refuse_nothing(&self) {
        let mut state = self.lock();
        state.refuse = None;
        state.refused.clear();
    }

    /// What it refused since the last rule, each as `OPERATION KIND NAME`.
    pub fn refused(&self) -> Vec<String> {
        self.lock().refused.clone()
    }
}

impl Drop for Webhook<'_> {
    fn drop(&mut self) {
        // Registered and not there, it would refuse everything, the namespace's end included.
        for sort in [Sort::Validating, Sort::Mutating] {
            let path = format!("{}/{}", sort.list(), self.name());
            let _ = self.cluster.call("DELETE", &path, None);
        }
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
    let mutating = request.uri().path().ends_with("Mutating");
    let body = request.into_body().collect().await?.to_bytes();
    let asked: Value = serde_json::from_slice(&body).expect("the API server sends JSON");
    let asked = &asked["request"];
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let mut answer = json!({ "uid": asked["uid"], "allowed": true });
    if mutating {
        if let Some(patch) = state.change.as_ref().and_then(|rule| rule(asked)) {
            answer["patchType"] = json!("JSONPatch");
            answer["patch"] = json!(base64::engine::general_purpose::STANDARD.encode(patch.to_string()));
        }
    } else if asked["dryRun"] != true
        && let Some(reason) = state.refuse.as_ref().and_then(|rule| rule(asked))
    {
        answer["allowed"] = json!(false);
        answer["status"] = json!({ "code": 403, "message": reason });
        let text = |name: &str| asked.pointer(name).and_then(Value::as_str).unwrap_or_default();
        let told = format!("{} {} {}", text("/operation"), text("/kind/kind"), text("/name"));
        state.refused.push(told);
    }
    let review =
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer });
    Ok(Response::builder()
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(review.to_string()))
        .expect("a plain answer"))
}
