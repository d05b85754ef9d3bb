//! What the tests stand on: real throw-away engines, a recording proxy, repositories, registries and the built binary.
#![expect(
    dead_code,
    reason = "a fixture is whole: what one can do is not cut to what today's laws ask of it"
)]

pub mod command;
#[macro_use]
pub mod engine;
pub mod images;
pub mod repo;
pub mod driftless;
pub mod proxy;
pub mod registry;
pub mod site;
pub mod scene;
pub mod sshd;
pub mod cluster;
pub mod namespace;
pub mod scripted_node;
pub mod api_call;
pub mod api_proxy;
pub mod kube_scene;
pub mod webhook;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Waits until `condition` holds; panics with `what` when it does not within `deadline`.
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < deadline,
            "waited {deadline:?} in vain until {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `attempt` gives a value; panics with `what` when it does not within `deadline`.
#[track_caller]
pub fn wait_for<T>(what: &str, deadline: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(
            start.elapsed() < deadline,
            "waited {deadline:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The folder of the package.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where `tests/engines/setup.sh` puts engines and tools.
pub fn engines_cache() -> PathBuf {
    let cache = std::env::var_os("DRIFTLESS_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/driftless"),
        PathBuf::from,
    );
    cache
        .join("engines")
        .join(include_str!("../../engines/generation").trim())
}
