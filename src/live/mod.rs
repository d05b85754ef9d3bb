//! The worlds that we change: what is there, and one thing done.
//!
//! In: what to look at, ops. Out: observations, receipts. Guaranteed: one observation reads everything once; one op is one API
//! call; what can't be read is an error or *unknown*, never empty. Must not: decide.

pub mod error;
mod lines;
pub mod stirred;
pub mod docker;
pub mod kubernetes;
pub mod ownership;
pub mod world;
pub mod reach;
#[cfg(test)]
pub mod fake;
pub use error::{FailureKind, LiveError, Problem, Refusal};
pub use reach::Reach;
