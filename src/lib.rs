//! Driftless: a GitOps reconciler.
pub mod names;
pub mod image;
pub mod clock;
pub mod secret;
pub mod progress;
pub mod document;
pub mod source;
pub mod render;
pub mod live;
pub mod health;
pub mod release;
pub mod journal;
pub mod plan;
pub mod gate;
pub mod apply;
pub mod settle;
pub mod rollback;
