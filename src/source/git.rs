//! The one real [`Source`]: a Git repository, here or elsewhere.
//!
//! In: a [`SourceSpec`]. Out: revisions, checkouts, commits, the state of a working directory. Guaranteed: libgit2 runs on
//! blocking threads, never on the reactor; calls for one source do not overlap on the network. Must not: decide what a
//! changed revision means; [`Movement`] is a fact for the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::checkout::Checkout;
use super::child::{GitChild, Transport};
use super::error::SourceError;
use super::local::{self, Local, Uncommitted};
use super::location::Location;
use super::mirror::Mirror;
use super::path::RepoPath;
use super::reference::GitRef;
use super::watch::{Watch, WatchError};
use super::{CommitInfo, Movement, Resolved, Source, SourceSpec};
use crate::names::{AppName, Revision, SourceId};

enum Place {
    Local(Arc<Local>),
    Remote(Box<Mirror>),
}

/// A Git repository that is followed.
pub struct GitSource {
    id: SourceId,
    location: Location,
    reference: GitRef,
    place: Place,
    file_cap: u64,
    transport: Arc<dyn Transport>,
    /// One network call at a time: the second of two coinciding calls finds the first one's mirror.
    network: tokio::sync::Mutex<()>,
    /// Raised by a checkout that met a damaged object: the next checkout of a remote clones its mirror again.
    damaged: Arc<AtomicBool>,
}

impl GitSource {
    /// Opens a source. A local repository must exist; a remote one is not asked yet.
    pub fn open(spec: SourceSpec) -> Result<Self, SourceError> {
        Self::open_with(spec, Arc::new(GitChild::default()))
    }

    /// The same over another transport, for tests.
    pub fn open_with(spec: SourceSpec, transport: Arc<dyn Transport>) -> Result<Self, SourceError> {
        let place = match &spec.location {
            Location::Local(path) => Place::Local(Arc::new(Local::open(path)?)),
            Location::Remote(url) => Place::Remote(Box::new(Mirror::open(
                url.clone(),
                &spec.mirror_dir,
                spec.credentials,
                spec.known_hosts,
                spec.environment,
                spec.deadline,
                spec.caps,
                Arc::clone(&transport),
            )?)),
        };
        let id = match &place {
            Place::Local(local) => match &local.origin {
                Some(origin) => origin.source_id()?,
                None => Location::Local(local.root.clone()).source_id()?,
            },
            Place::Remote(_) => spec.location.source_id()?,
        };
        Ok(Self {
            id,
            location: spec.location,
            reference: spec.reference,
            place,
            file_cap: spec.caps.file,
            transport,
            network: tokio::sync::Mutex::default(),
            damaged: Arc::default(),
        })
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// What is followed.
    pub fn reference(&self) -> &GitRef {
        &self.reference
    }

    /// Whether it is on this machine, read in place.
    pub fn is_local(&self) -> bool {
        matches!(self.place, Place::Local(_))
    }

    /// Its identity (decision 7): the canonical `origin` without scheme, user and `.git` (`github.com/acme/infra`), else the
    /// absolute path of the repository's root. ssh and https clones of one repository are one source.
    pub fn id(&self) -> &SourceId {
        &self.id
    }

    /// The name of an app at the repository's root: the `origin`'s last part, else the folder's.
    pub fn root_app_name(&self) -> Option<AppName> {
        match &self.place {
            Place::Local(local) => {
                let origin = local.origin.as_ref().and_then(Location::base_name);
                origin.or_else(|| Location::Local(local.root.clone()).base_name())
            }
            Place::Remote(_) => self.location.base_name(),
        }
    }

    /// The folder that the location named below the repository's root.
    pub fn start(&self) -> RepoPath {
        match &self.place {
            Place::Local(local) => local.start.clone(),
            Place::Remote(_) => RepoPath::root(),
        }
    }

    /// The working directory's or bare repository's root, for a local source.
    pub fn local_root(&self) -> Option<&std::path::Path> {
        match &self.place {
            Place::Local(local) => Some(&local.root),
            Place::Remote(_) => None,
        }
    }

    /// How many `git` processes this source's transport has started.
    pub fn processes(&self) -> u64 {
        self.transport.processes()
    }

    /// What a person should know about repairs and redirects since the last call.
    pub fn take_notices(&self) -> Vec<String> {
        match &self.place {
            Place::Local(_) => Vec::new(),
            Place::Remote(mirror) => mirror.take_notices(),
        }
    }

    /// Subject, author and time of a commit that was resolved or checked out before.
    pub async fn commit_info(&self, revision: &Revision) -> Result<CommitInfo, SourceError> {
        let revision = revision.clone();
        self.read(move |repository, at| local::commit_info(repository, &revision, at))
            .await
    }

    /// The commits that `to` has and `from` has not, newest first, at most `limit`. A remote's history reaches as far back as
    /// its mirror's depth.
    pub async fn commits_between(
        &self,
        from: Option<&Revision>,
        to: &Revision,
        limit: usize,
    ) -> Result<Vec<CommitInfo>, SourceError> {
        let (from, to) = (from.cloned(), to.clone());
        self.read(move |repository, at| local::commits_between(repository, from.as_ref(), &to, limit, at))
            .await
    }

    /// How the ref moved from `from` to `to`, both checked out before. A short history is deepened once.
    pub async fn movement(&self, from: &Revision, to: &Revision) -> Result<Movement, SourceError> {
        let look = || {
            let (from, to) = (from.clone(), to.clone());
            self.read(move |repository, at| local::movement(repository, &from, &to, at))
        };
        if let Some(movement) = look().await? {
            return Ok(movement);
        }
        if let Place::Remote(mirror) = &self.place {
            let _one = self.network.lock().await;
            mirror.deepen(to, &self.reference).await?;
        }
        // Still too short: history that cannot be shown to continue is treated as rewritten.
        Ok(look().await?.unwrap_or(Movement::Forced { back: false }))
    }

    /// What is not committed below `folder`; empty for a remote or bare repository.
    pub async fn status_of_worktree(&self, folder: &RepoPath) -> Result<Vec<Uncommitted>, SourceError> {
        match &self.place {
            Place::Local(local) => {
                let (local, folder) = (Arc::clone(local), folder.clone());
                blocking(&self.location, move || local.uncommitted(&folder)).await
            }
            Place::Remote(_) => Ok(Vec::new()),
        }
    }

    /// Watches a local repository's refs; `None` for a remote one.
    pub fn watch(&self) -> Result<Option<Watch>, WatchError> {
        match &self.place {
            Place::Local(local) => Watch::start(&local.git_dir, &local.common_dir).map(Some),
            Place::Remote(_) => Ok(None),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&git2::Repository, &str) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        match &self.place {
            Place::Local(local) => {
                let (local, at) = (Arc::clone(local), self.location.to_string());
                blocking(&self.location, move || look(&local.repository()?, &at)).await
            }
            Place::Remote(mirror) => {
                let at = mirror.at();
                let repository = mirror
                    .repository()
                    .map_err(|error| local::describe(&at, &error))?;
                blocking(&self.location, move || look(&repository, &at)).await
            }
        }
    }
}

#[async_trait]
impl Source for GitSource {
    async fn resolve(&self) -> Result<Resolved, SourceError> {
        match &self.place {
            Place::Local(local) => {
                let (local, reference) = (Arc::clone(local), self.reference.clone());
                blocking(&self.location, move || local.resolve(&reference)).await
            }
            Place::Remote(mirror) => {
                let _one = self.network.lock().await;
                mirror.resolve(&self.reference).await
            }
        }
    }

    async fn checkout(&self, revision: &Revision) -> Result<Checkout, SourceError> {
        if let Place::Remote(mirror) = &self.place {
            let _one = self.network.lock().await;
            if self.damaged.swap(false, Ordering::Relaxed) {
                mirror.reclone(revision, &self.reference).await?;
            } else {
                mirror.fetch(revision, &self.reference).await?;
            }
        }
        let (start, wanted, cap) = (self.start(), revision.clone(), self.file_cap);
        let damaged = Arc::clone(&self.damaged);
        match &self.place {
            Place::Local(local) => {
                let (local, at) = (Arc::clone(local), self.location.to_string());
                blocking(&self.location, move || {
                    local::checkout(local.repository()?, &wanted, &start, &at, damaged)
                })
                .await
            }
            Place::Remote(mirror) => {
                let at = mirror.at();
                let repository = mirror
                    .repository()
                    .map_err(|error| local::describe(&at, &error))?;
                blocking(&self.location, move || {
                    local::checkout(repository, &wanted, &start, &at, damaged)
                })
                .await
            }
        }
        .map(|checkout| checkout.with_cap(cap))
    }
}

impl std::fmt::Debug for GitSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitSource")
            .field("location", &self.location)
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

async fn blocking<T: Send + 'static>(
    location: &Location,
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    // Cancelled while it waits: libgit2 reads on to the end of this one look, and nothing was written.
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(SourceError::Other {
            at: location.to_string(),
            detail: String::from("reading was interrupted"),
        })
    })
}
