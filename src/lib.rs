//! Driftless: a GitOps reconciler.
pub mod names;
pub mod clock;
pub mod secret;
