pub mod docker;
pub mod kubernetes;
pub mod ownership;
pub mod world;
pub mod reach;
#[cfg(test)]
pub mod fake;
pub use docker::error::{FailureKind, LiveError, Problem, Refusal};
pub use reach::Reach;
