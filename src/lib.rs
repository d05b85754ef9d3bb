//! Driftless: a GitOps reconciler.
pub mod names;
pub mod image;
pub mod clock;
pub mod secret;
pub mod source;
