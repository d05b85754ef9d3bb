//! Connections to one engine: Unix socket, TCP, TLS.
//!
//! In: an [`Endpoint`]. Out: HTTP/1.1 requests sent. Guaranteed: reads share a bounded pool of kept connections; calls that change something
//! get a fresh connection each, so an old one that the engine has closed can never make it unclear whether a call was sent. Must not:
//! retry, log, or look into bodies.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Incoming};
use hyper::http::{Request, Response, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error as HttpError};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};

use super::endpoint::{Address, Endpoint, Tls, bracketed};
use crate::live::error::{LiveError, Problem};

/// How long a connection may take to come about.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Kept connections for reads; also how many reads run at once.
pub(crate) const READ_CONNECTIONS: usize = 16;

/// How long an idle kept connection lives: shorter than any engine's own limit.
const IDLE: Duration = Duration::from_secs(20);

/// What is sent.
pub(crate) type OutBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A way to send requests to one engine.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    reads: Client<Connector, OutBody>,
    calls: Client<Connector, OutBody>,
    authority: Arc<str>,
}

impl Transport {
    /// Prepares connections to `endpoint`; TLS files are read now, nothing is connected yet.
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self, LiveError> {
        let (way, authority) = match endpoint.address() {
            Address::Unix(path) => (Way::Unix(path.clone().into()), "docker".to_owned()),
            Address::Tcp { host, port, tls, .. } => {
                let tls = tls
                    .as_ref()
                    .map(|tls| tls_config(endpoint, tls, host))
                    .transpose()?;
                (
                    Way::Tcp {
                        host: host.as_str().into(),
                        port: *port,
                        tls,
                    },
                    format!("{}:{port}", bracketed(host)),
                )
            }
        };
        let client = |kept: usize| {
            Client::builder(TokioExecutor::new())
                .pool_timer(hyper_util::rt::TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(kept)
                .retry_canceled_requests(false)
                .build(Connector(way.clone()))
        };
        Ok(Self {
            reads: client(READ_CONNECTIONS),
            calls: client(0),
            authority: authority.into(),
        })
    }

    /// The authority of request URIs: what becomes the `Host` header.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Sends a read over a kept connection.
    pub(crate) async fn read(&self, request: Request<OutBody>) -> Result<Response<Incoming>, HttpError> {
        self.reads.request(request).await
    }

    /// Sends a request over a connection of its own.
    pub(crate) async fn call(&self, request: Request<OutBody>) -> Result<Response<Incoming>, HttpError> {
        self.calls.request(request).await
    }
}

/// Any body in the one form that the transport sends.
pub(crate) fn boxed<B>(body: B) -> OutBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    body.map_err(Into::into).boxed_unsync()
}

#[derive(Debug, Clone)]
enum Way {
    Unix(Arc<Path>),
    Tcp {
        host: Arc<str>,
        port: u16,
        tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
    },
}

/// Connects where the endpoint says, whatever the URI says.
#[derive(Debug, Clone)]
struct Connector(Way);

impl Connector {
    async fn connect(way: Way) -> std::io::Result<Stream> {
        match way {
            #[cfg(unix)]
            Way::Unix(path) => Ok(Stream::new(tokio::net::UnixStream::connect(&path).await?)),
            #[cfg(not(unix))]
            Way::Unix(_) => Err(std::io::Error::from(std::io::ErrorKind::Unsupported)),
            Way::Tcp { host, port, tls } => {
                let stream = tokio::net::TcpStream::connect((&*host, port)).await?;
                stream.set_nodelay(true)?;
                match tls {
                    None => Ok(Stream::new(stream)),
                    Some((config, name)) => {
                        let connector = tokio_rustls::TlsConnector::from(config);
                        Ok(Stream::new(connector.connect(name, stream).await?))
                    }
                }
            }
        }
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connecting = Self::connect(self.0.clone());
        Box::pin(async move {
            let timed = tokio::time::timeout(CONNECT_DEADLINE, connecting).await;
            timed
                .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
                .map(TokioIo::new)
        })
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection of any kind.
struct Stream(Box<dyn Duplex>);

impl Stream {
    fn new(stream: impl Duplex + 'static) -> Self {
        Self(Box::new(stream))
    }
}

// `Connection` is asked of the hyper wrapper, which passes the question on to the stream inside.
impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

/// The provider is named here and not installed for the process, so nothing depends on who came first.
fn tls_config(
    endpoint: &Endpoint,
    tls: &Tls,
    host: &str,
) -> Result<(Arc<rustls::ClientConfig>, ServerName<'static>), LiveError> {
    let call = || format!("prepare TLS for {endpoint}");
    let problem = || Problem::Tls {
        address: endpoint.address().to_string(),
    };
    let bad_file = |path: &Path, error: &(dyn std::error::Error + 'static)| {
        let cause = std::io::Error::other(format!(
            "{}: {}",
            path.display(),
            crate::live::error::Cause::of(error)
        ));
        LiveError::caused(call(), problem(), &cause)
    };
    let mut roots = rustls::RootCertStore::empty();
    // A system without certificates is fine when the endpoint brings its own authority.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &tls.ca {
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad_file(path, &error))? {
            let certificate = certificate.map_err(|error| bad_file(path, &error))?;
            roots.add(certificate).map_err(|error| bad_file(path, &error))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| LiveError::caused(call(), problem(), &error))?
        .with_root_certificates(roots);
    let config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = CertificateDer::pem_file_iter(cert)
                .and_then(|chain| chain.collect::<Result<Vec<_>, _>>())
                .map_err(|error| bad_file(cert, &error))?;
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| bad_file(key, &error))?;
            builder
                .with_client_auth_cert(chain, secret)
                .map_err(|error| bad_file(cert, &error))?
        }
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| LiveError::caused(call(), problem(), &error))?;
    Ok((Arc::new(config), name))
}
