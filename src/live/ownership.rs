//! What says "ours", and what must never be touched.
//!
//! In: labels. Out: [`Owner`](super::Owner). Guaranteed: labels identify, nothing more (decision 3): commit, time and
//! release live in the store, or every commit would recreate every container. Must not: guess ownership from names.

/// The instance that owns an object.
pub const INSTANCE: &str = "dev.driftless.instance";
/// The app it belongs to, as `<app name>@<source id>`.
pub const APP: &str = "dev.driftless.app";
/// The service it belongs to.
pub const SERVICE: &str = "dev.driftless.service";
/// The digest of the request it was made with.
pub const SPEC: &str = "dev.driftless.spec";

/// Compose's own labels, so that `docker compose ps`, `logs`, `exec` see our containers (docker.md §1).
pub mod compose {
    pub const PROJECT: &str = "com.docker.compose.project";
    pub const SERVICE: &str = "com.docker.compose.service";
    pub const NUMBER: &str = "com.docker.compose.container-number";
    pub const ONEOFF: &str = "com.docker.compose.oneoff";
    pub const CONFIG_HASH: &str = "com.docker.compose.config-hash";
    pub const DEPENDS_ON: &str = "com.docker.compose.depends_on";
    pub const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
    pub const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
    pub const VERSION: &str = "com.docker.compose.version";
    pub const IMAGE: &str = "com.docker.compose.image";
    pub const NETWORK: &str = "com.docker.compose.network";
    pub const VOLUME: &str = "com.docker.compose.volume";
}

/// The separator of a parked container's name: `web-api-1.prev-91d0e77`.
pub const PARKED: &str = ".prev-";
/// The suffix of a container that is being brought up beside the one it replaces: `web-api-1.next-4f1c2ab`.
pub const NEXT: &str = ".next-";

/// The value of [`APP`] for an app.
pub fn app_label(key: &crate::names::AppKey) -> String {
    format!("{}@{}", key.app, key.source)
}

/// The app that a value of [`APP`] names, if it is one.
pub fn parse_app_label(label: &str) -> Option<crate::names::AppKey> {
    let (app, source) = label.split_once('@')?;
    Some(crate::names::AppKey {
        app: app.try_into().ok()?,
        source: source.try_into().ok()?,
    })
}
