pub mod docker;
pub mod ownership;
pub mod world;
pub use docker::error::{FailureKind, LiveError};
