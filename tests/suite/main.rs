//! The one integration test binary (relinking eight of them costs three times one). A file beside this one needs its `mod`
//! line here; `every_file_is_reached_by_a_mod_line` fails on a forgotten one.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and reads its own environment"
)]

#[macro_use]
mod support;
mod cli_help;
mod cluster;
mod compose_oracle;
mod demo;
mod docker_client;
mod docker_target;
mod docs;
mod environment;
mod guard;
mod kubernetes_doctor;
mod kubernetes_logs;
mod kubernetes_oracle;
mod kubernetes_output;
mod laws_engine;
mod laws_kubernetes;
mod laws_kubernetes_access;
mod laws_kubernetes_admission;
mod laws_kubernetes_cluster;
mod laws_kubernetes_edges;
mod laws_kubernetes_verify;
mod laws_kubernetes_watch;
mod laws_kubernetes_kill;
mod laws_kubernetes_loop;
mod laws_kubernetes_way_back;
mod laws_kubernetes_health;
mod laws_kubernetes_lease;
mod laws_live;
mod laws_refused;
mod laws_secrets;
mod laws_recovery;
mod laws_release;
mod layering;
mod manifests;
mod pages;
mod serve;
mod source;
mod store;
mod strangers;
mod verbs;
