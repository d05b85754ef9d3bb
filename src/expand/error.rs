//! Why a renderer gave no text.

use std::time::Duration;

use super::tools::Tool;
use crate::document::{Code, Diagnostic, Diagnostics, File};
use crate::source::CheckoutError;

/// Why a renderer gave no text. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ExpandError {
    /// The tool is not installed: the operator's to solve.
    #[error("{} is not installed", .tool.name())]
    ToolMissing {
        /// Which one.
        tool: Tool,
    },
    /// The tool is there and cannot be run.
    #[error("run {program}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What the commit says is wrong: with places.
    #[error("{0}")]
    Findings(Diagnostics),
    /// A path of the commit cannot be read.
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
    /// A limit was reached.
    #[error("{what}")]
    Limit {
        /// Which one, as a sentence.
        what: String,
    },
    /// The deadline passed, and the tool was ended.
    #[error("{} was not done after {} s", .tool.name(), .after.as_secs())]
    Deadline {
        /// Which tool.
        tool: Tool,
        /// The deadline.
        after: Duration,
    },
    /// The private copy cannot be written.
    #[error("lay the commit out for the renderer")]
    Layout(#[source] std::io::Error),
    /// The program is shutting down.
    #[error("rendering was interrupted")]
    Interrupted,
}

impl ExpandError {
    /// Whether a commit can solve it. Else it is the machine's, and the same commit is tried again.
    pub fn needs_commit(&self) -> bool {
        matches!(self, Self::Findings(_) | Self::Checkout(_))
    }

    /// As findings; `file` is what the app is made of, for what has no place of its own.
    pub fn diagnostics(self, file: &str) -> Diagnostics {
        let whole = File::new(file, "").whole();
        let source = std::error::Error::source(&self).map(|source| format!(": {source}"));
        let message = format!("{self}{}", source.unwrap_or_default());
        let one = |code| Diagnostic::error(code, &whole, message.clone());
        match &self {
            Self::Findings(_) => {}
            Self::ToolMissing { tool } => {
                let help = match tool {
                    Tool::Kustomize | Tool::Kubectl => "install kustomize (or kubectl) where Driftless runs",
                    Tool::Helm => "install helm where Driftless runs",
                };
                return one(Code::TOOL_MISSING).with_help(help).into();
            }
            Self::Checkout(_) => return one(Code::APP_PATH).into(),
            Self::Limit { .. } | Self::Deadline { .. } => return one(Code::RENDER_LIMIT).into(),
            Self::Start { .. } | Self::Layout(_) | Self::Interrupted => return one(Code::RENDERER).into(),
        }
        match self {
            Self::Findings(findings) => findings,
            // Returned above.
            _ => Diagnostics::new(),
        }
    }
}
