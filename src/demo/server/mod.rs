//! The software inside the demo's images: what `driftless demo-server ROLE` runs.
//!
//! In: a role, variables, a place to say things. Out: a process that behaves as a good one does: it answers health checks
//! truthfully, and on a stop it finishes what it accepted. Guaranteed: no role reaches further than its own network and
//! folder. Must not: be of use outside the demo.

mod address;
mod check;
mod database;
mod http;
mod shop;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use check::get;

/// Where a role says what it does: the container's output.
pub type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// The variables of a container.
pub type Variables = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What the process is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The shop itself: HTTP on `PORT`, products from `DATABASE`.
    Web,
    /// Hands requests on to the upstream of a configuration file.
    Proxy(PathBuf),
    /// A small key-value store with its file in a folder.
    Database(PathBuf),
    /// Brings the database to the schema that this version needs, and ends.
    Migrate,
    /// Writes the catalogue into a file, and ends.
    Catalogue(PathBuf),
    /// Asks a URL again and again, and says when the answer changes.
    Watch(String),
    /// A health check: asks once.
    Check(String),
}

/// Why a role ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Nothing of ours is called that.
    #[error(
        "no such role: {0:?}; there are web, proxy, database, migrate, job catalogue FILE, watch URL and check URL"
    )]
    Role(Vec<String>),
    /// What it needs is not there.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The answer to a check was not the one hoped for.
    #[error("{0}")]
    Unhealthy(String),
    /// A line of a configuration file is not understood.
    #[error("{0}")]
    Configuration(String),
}

impl ServerError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

impl Role {
    /// Reads the arguments of the container.
    pub fn parse(arguments: &[String]) -> Result<Self, ServerError> {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Ok(match words.as_slice() {
            ["web"] => Self::Web,
            ["proxy"] => Self::Proxy(PathBuf::from("/etc/proxy.conf")),
            ["proxy", file] => Self::Proxy(PathBuf::from(file)),
            ["database"] => Self::Database(PathBuf::from("/data")),
            ["database", folder] => Self::Database(PathBuf::from(folder)),
            ["migrate"] => Self::Migrate,
            ["job", "catalogue", file] => Self::Catalogue(PathBuf::from(file)),
            ["watch", url] => Self::Watch((*url).to_owned()),
            ["check", url] => Self::Check((*url).to_owned()),
            _ => return Err(ServerError::Role(arguments.to_vec())),
        })
    }
}

/// Runs `role` until it is done or `stop` is cancelled.
pub async fn run(
    role: Role,
    variables: Variables,
    say: Say,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    let port = |default| {
        variables("PORT")
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    match role {
        Role::Web => shop::web(port(8080), variables.clone(), say, stop).await,
        Role::Proxy(file) => http::proxy(&file, &variables, say, stop).await,
        Role::Database(folder) => database::serve(port(5432), &folder, say, stop).await,
        Role::Migrate => shop::migrate(&variables, &say).await,
        Role::Catalogue(file) => shop::catalogue(&file, &variables, &say),
        Role::Watch(url) => check::watch(&address::of_url(&url, &variables), &say, &stop).await,
        Role::Check(url) => check::once(&address::of_url(&url, &variables))
            .await
            .map(|told| say(&told))
            .map_err(ServerError::Unhealthy),
    }
}

#[cfg(test)]
mod tests;
