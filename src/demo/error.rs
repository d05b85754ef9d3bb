//! Why a demo did not go as told.

use super::repository::RepositoryError;
use super::shell::ShellError;
use crate::live::error::LiveError;

/// Why the demo did not go as told.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Another machine's engine.
    #[error(
        "the demo makes and breaks containers, so it runs on an engine of this machine only, and {0} is not one"
    )]
    Remote(String),
    /// An engine for other programs than this one.
    #[error(
        "the engine runs {engine} containers, and this program, of which the demo's images are made, is for {program}"
    )]
    Platform {
        /// What the engine runs.
        engine: String,
        /// What we are.
        program: String,
    },
    /// The engine or the API server failed a call.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// The images could not be made.
    #[error("make the demo's images from this program")]
    Images(#[source] std::io::Error),
    /// The cluster can't run the demo's images.
    #[error("{node} can't run the demo's image {image}: {why}")]
    NoImage {
        /// Which one.
        image: String,
        /// `the node node-1`, or `the cluster`.
        node: String,
        /// The kubelet's words.
        why: String,
        /// Whether it is one that the person named.
        named: bool,
    },
    /// The temporary repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A command could not be run to its end.
    #[error(transparent)]
    Shell(ShellError),
    /// A step did not really happen.
    #[error("step {step} did not happen: {what}")]
    NotSo {
        /// Its number.
        step: u32,
        /// What was expected and what was found.
        what: String,
    },
    /// Something of the demo could not be removed.
    #[error("still there: {}; remove it by hand", .0.join(", "))]
    Left(Vec<String>),
    /// Ctrl-C. Everything was removed.
    #[error("interrupted; everything that the demo made is removed")]
    Interrupted,
}

impl From<ShellError> for DemoError {
    fn from(error: ShellError) -> Self {
        match error {
            ShellError::Stopped => Self::Interrupted,
            other => Self::Shell(other),
        }
    }
}
