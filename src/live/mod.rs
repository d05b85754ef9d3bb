pub mod docker;
pub mod ownership;
pub mod world;
#[cfg(test)]
pub mod fake;
pub use docker::error::{FailureKind, LiveError};
