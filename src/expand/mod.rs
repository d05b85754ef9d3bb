//! The external renderers: kustomize and Helm, as sandboxed children. The only effect between source and plan.
//!
//! In: a [`Checkout`], a folder, the caller's `PATH`, a cache folder. Out: [`Rendered`]: YAML text and what is known of
//! where it comes from. Guaranteed: a tool sees a private copy of the part of the commit that it needs and nothing else of
//! the repository, an environment built from nothing, no network where the machine allows to cut it, and limits on time,
//! memory, file sizes and output; equal inputs give the equal text, from the cache. Must not: read the text (`render/`
//! does), or reach a cluster.
//!
//! ```text
//! Checkout ─ reach (what can it refer to?) ─ layout (entries, digest) ─┬─ cache hit ──────────────┐
//!                     │ refusals with places                          └─ copy ─ sandboxed child ─┴─ Rendered
//! ```

mod blame;
mod cache;
mod error;
mod kustomization;
mod layout;
mod tools;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::document::{self, Budget, Dialect};
use crate::source::{Checkout, CheckoutError, RepoPath};

pub use error::ExpandError;
pub use tools::{Cut, Tool, Tools};

/// What a run of a tool may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Wall-clock time; the processor time is bounded by the same number.
    pub deadline: Duration,
    /// Bytes of standard output.
    pub output: u64,
    /// Bytes of address space.
    pub memory: u64,
    /// Bytes of the laid-out part of the commit, and of one file that the tool writes.
    pub files: u64,
    /// Files of the laid-out part.
    pub count: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(60),
            output: 64 << 20,
            memory: 4 << 30,
            files: 256 << 20,
            count: 20_000,
        }
    }
}

/// What a tool made of a folder.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendered {
    /// What it printed, byte by byte. It may hold Secrets.
    #[serde(with = "cache::text")]
    pub output: Vec<u8>,
    /// The tool and its version: `kustomize v5.8.2`.
    pub renderer: String,
    /// The folder that was rendered.
    pub folder: RepoPath,
    /// The YAML files that it could have read: where an object may come from.
    pub sources: Vec<RepoPath>,
    /// Which of the two it was, for reading the output.
    pub by: By,
}

/// Without the output: it may hold Secrets.
impl std::fmt::Debug for Rendered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rendered")
            .field("renderer", &self.renderer)
            .field("folder", &self.folder)
            .field("bytes", &self.output.len())
            .finish_non_exhaustive()
    }
}

/// The two kinds of renderers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// kustomize, or kubectl's.
    Kustomize,
    /// Helm, whose output names its templates.
    Helm,
}

/// What is to be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The kustomization in this folder.
    Kustomize(RepoPath),
    /// A chart.
    Helm(Chart),
}

/// A chart and how it is rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// The chart's folder.
    pub folder: RepoPath,
    /// Values files; a later one wins.
    pub values: Vec<RepoPath>,
    /// `.Release.Name`.
    pub release: String,
    /// `.Release.Namespace`.
    pub namespace: String,
    /// `.Capabilities.KubeVersion`; `None`: what the tool was built for.
    pub kube_version: Option<String>,
    /// Further `.Capabilities.APIVersions`.
    pub api_versions: Vec<String>,
}

/// What a chart may ask of its cluster (`.Capabilities`), and the namespace that it goes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `.Release.Namespace`, where the app's target names none.
    pub namespace: Option<String>,
    /// As `v1.34.0`: without the patch, whose change renders nothing anew. `None`: what the tool was built for.
    pub kube_version: Option<String>,
    /// As `apps/v1` and `apps/v1/Deployment`, sorted; empty: what the tool was built for.
    pub api_versions: Vec<String>,
}

/// `v1.34.4+k3s1` → `v1.34.0`.
pub fn minor_version(version: &str) -> Option<String> {
    let mut parts = version.trim_start_matches('v').split('.');
    let major: u32 = parts.next()?.parse().ok()?;
    let minor = parts.next()?;
    let end = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
    let minor: u32 = minor.get(..end)?.parse().ok()?;
    Some(format!("v{major}.{minor}.0"))
}

/// Runs the renderers.
#[derive(Debug)]
pub struct Expander {
    tools: Tools,
    cache: cache::Cache,
    limits: Limits,
}

impl Expander {
    /// `path` is the caller's `PATH`; `cache` a private folder, made when needed. Nothing is run yet. What holds Secrets is
    /// kept in memory only: keep the value as long as the program runs.
    pub fn new(path: impl Into<OsString>, cache: impl Into<PathBuf>) -> Self {
        Self {
            tools: Tools::new(path),
            cache: cache::Cache::new(cache),
            limits: Limits::default(),
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The tools, for `doctor`.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Renders one or the other.
    pub async fn expand(&self, checkout: &Checkout, request: &Request) -> Result<Rendered, ExpandError> {
        match request {
            Request::Kustomize(folder) => self.kustomize(checkout, folder).await,
            Request::Helm(chart) => self.helm(checkout, chart).await,
        }
    }

    /// `kustomize build FOLDER`, or `kubectl kustomize FOLDER` where only that is there.
    pub async fn kustomize(&self, checkout: &Checkout, folder: &RepoPath) -> Result<Rendered, ExpandError> {
        let view = checkout.clone();
        let (from, limits) = (folder.clone(), self.limits);
        let (reach, layout) = blocking(move || {
            let reach = kustomization::reach(&view, &from)?;
            let layout = layout::Layout::of(&view, &reach.roots, &limits)?;
            Ok((reach, layout))
        })
        .await?;
        let tool = match self.tools.find(Tool::Kustomize).await {
            Ok(found) => found,
            Err(missing) => self.tools.find(Tool::Kubectl).await.map_err(|_| missing)?,
        };
        let mut args: Vec<OsString> = match tool.tool {
            Tool::Kubectl => vec!["kustomize".into()],
            _ => vec!["build".into()],
        };
        args.push("--load-restrictor".into());
        args.push("LoadRestrictionsRootOnly".into());
        args.push(path_argument(folder));
        self.render(
            checkout,
            layout,
            tool,
            args,
            By::Kustomize,
            folder,
            |stderr, strings| blame::kustomize(stderr, folder, strings),
            &reach.strings,
        )
        .await
    }

    /// `helm template RELEASE CHART`.
    pub async fn helm(&self, checkout: &Checkout, chart: &Chart) -> Result<Rendered, ExpandError> {
        let (view, wanted, limits) = (checkout.clone(), chart.clone(), self.limits);
        let (layout, name) = blocking(move || {
            let name = check_chart(&view, &wanted)?;
            let mut roots = vec![wanted.folder.clone()];
            roots.extend(wanted.values.iter().cloned());
            Ok((layout::Layout::of(&view, &roots, &limits)?, name))
        })
        .await?;
        let tool = self.tools.find(Tool::Helm).await?;
        let mut args: Vec<OsString> = ["template", &chart.release].map(OsString::from).to_vec();
        args.push(path_argument(&chart.folder));
        args.extend(["--namespace", &chart.namespace, "--include-crds"].map(OsString::from));
        if let Some(version) = &chart.kube_version {
            args.extend(["--kube-version", version].map(OsString::from));
        }
        for version in &chart.api_versions {
            args.extend(["--api-versions", version].map(OsString::from));
        }
        for values in &chart.values {
            args.push("--values".into());
            args.push(path_argument(values));
        }
        self.render(
            checkout,
            layout,
            tool,
            args,
            By::Helm,
            &chart.folder,
            |stderr, _| blame::helm(stderr, &chart.folder, &name),
            &[],
        )
        .await
    }

    #[expect(clippy::too_many_arguments, reason = "one caller for each tool")]
    async fn render(
        &self,
        checkout: &Checkout,
        layout: layout::Layout,
        tool: tools::Found,
        args: Vec<OsString>,
        by: By,
        folder: &RepoPath,
        blame: impl Fn(&str, &[kustomization::Written]) -> document::Diagnostic,
        strings: &[kustomization::Written],
    ) -> Result<Rendered, ExpandError> {
        let key = cache::key(&tool.renderer(), &args, &layout.digest());
        if let Some(known) = self.cache.read(&key).await {
            return Ok(known);
        }
        let (cache, view) = (self.cache.folder().to_owned(), checkout.clone());
        let sources = layout.sources();
        // The copy lives until the tool has ended, or until this future is dropped (which kills the tool first).
        let room = blocking(move || layout.write(&view, &cache)).await?;
        let printed = self.tools.run(&tool, args, room.path(), &self.limits).await?;
        if !printed.success {
            let stderr = clean(&printed.stderr, room.path());
            if let Some(limit) = limit_hit(&stderr) {
                return Err(ExpandError::Limit {
                    what: format!("{} ran out of {limit}", tool.tool.name()),
                });
            }
            return Err(ExpandError::Findings(blame(&stderr, strings).into()));
        }
        let rendered = Rendered {
            output: printed.stdout,
            renderer: tool.renderer(),
            folder: folder.clone(),
            sources,
            by,
        };
        self.cache.write(&key, &rendered).await;
        Ok(rendered)
    }
}

/// A path as an argument that can't be taken for a flag.
fn path_argument(path: &RepoPath) -> OsString {
    format!("./{}", path.as_str()).into()
}

/// What can be said of a chart before it is rendered: its files are YAML, and its dependencies are here. Its name.
fn check_chart(checkout: &Checkout, chart: &Chart) -> Result<String, ExpandError> {
    let mut findings = document::Diagnostics::new();
    let mut name = String::new();
    let manifest = chart.folder.join("Chart.yaml").map_err(CheckoutError::from)?;
    for file in std::iter::once(&manifest).chain(&chart.values) {
        let blob = checkout.read(file)?;
        match document::parse_bytes(file.as_str(), &blob.bytes, Dialect::Kubectl, &Budget::default()) {
            Ok(documents) if *file == manifest => {
                let root = documents.first().map(|document| &document.root);
                let text = root.and_then(|root| root.get("name")?.as_str());
                name = text.unwrap_or_default().to_owned();
                findings.extend(
                    root.map(|root| blame::dependencies(checkout, &chart.folder, root))
                        .unwrap_or_default(),
                );
            }
            Ok(_) => {}
            Err(found) => findings.extend(found),
        }
    }
    if findings.has_errors() {
        return Err(ExpandError::Findings(findings));
    }
    Ok(name)
}

/// Messages speak of the repository's paths, not of the copy's.
fn clean(stderr: &str, room: &Path) -> String {
    let root = room.join(layout::ROOT);
    let mut text = stderr.replace(&format!("{}/", root.display()), "");
    text = text.replace(&root.display().to_string(), ".");
    text.replace(&room.display().to_string(), "")
}

/// What the kernel or Go's runtime says when a limit is reached.
fn limit_hit(stderr: &str) -> Option<&'static str> {
    let has = |text: &str| stderr.contains(text);
    if has("out of memory") || has("cannot allocate memory") || has("failed to reserve") {
        Some("memory")
    } else if has("SIGXCPU") || has("CPU time limit exceeded") {
        Some("processor time")
    } else if has("file too large") || has("SIGXFSZ") {
        Some("room for a file")
    } else {
        None
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExpandError> + Send + 'static,
) -> Result<T, ExpandError> {
    // Cancelled while it waits: reading and copying go on to their end, and the copy is removed when it is dropped.
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(ExpandError::Interrupted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_of_a_cluster_is_no_other_version() {
        for (version, minor) in [
            ("v1.34.4", Some("v1.34.0")),
            ("v1.34.4+k3s1", Some("v1.34.0")),
            ("1.29+", Some("v1.29.0")),
            ("v1.30.1-gke.7", Some("v1.30.0")),
            ("unknown", None),
            ("", None),
        ] {
            assert_eq!(minor_version(version).as_deref(), minor, "{version}");
        }
    }
}
