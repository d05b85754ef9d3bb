//! A Kubernetes cluster: read everything once, then one call for each op.
//!
//! In: an [`world::Ask`], [`op::Op`]s. Out: [`world::Observed`], [`world::Receipt`]s. Guaranteed: every call has a deadline;
//! what can't be read is unknown, never absent; objects are written by server-side apply with one field manager. Must not:
//! decide what is changed.

pub mod fields;
pub mod account;
pub mod op;
pub mod world;
pub mod kinds;
pub mod ownership;
pub mod config;
mod token;
pub mod lease;
pub mod client;
pub mod refusal;
mod observe;
mod execute;
mod surroundings;
pub mod logs;
mod shelf;
pub mod feeds;
pub mod rights;
pub mod checkup;
pub mod target;

pub use observe::{annotated, inventory_name, inventory_object};
pub use target::KubernetesTarget;
