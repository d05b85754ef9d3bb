//! `driftless validate`: everything that can be known without an engine.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

/// Checks every file that would be deployed, offline
///
/// Reads the working tree, needs neither network nor engine, and reports every problem with its place and what to do.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The folder to check [default: the repository you stand in]
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// The form of the findings
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = FindingsFormat::Human)]
    pub format: FindingsFormat,
}

/// The form of the findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FindingsFormat {
    /// With the lines of the files
    Human,
    /// One JSON value
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Annotations of GitHub Actions
    Github,
}

pub const EXAMPLES: &str = "\
driftless validate
driftless validate apps/web
driftless validate --format github        # in a GitHub workflow";
