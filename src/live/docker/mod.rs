//! Docker Engine (and what answers like one).
//!
//! In: an endpoint, as the `docker` command would find it. Out: [`client::Client`], the one connection layer; raw JSON for
//! what is observed, typed calls for what is changed. Guaranteed: every call has a deadline, and every failure is a
//! [`error::LiveError`] with a kind, a code and a next step. Must not: decide what to change.
pub mod op;
pub mod endpoint;
pub mod credentials;
mod transport;
pub mod info;
pub mod stream;
pub mod client;
mod container;
mod images;
mod observe;
mod execute;
pub mod logs;
mod events;
mod gaps;
mod probe;
pub mod target;
