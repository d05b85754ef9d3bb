//! `driftless diff`: the plan as a unified diff.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::args::Scope;

/// Shows the difference between live state and Git as a unified diff
///
/// The same comparison as `plan`, in the form that review tools know. Secrets are masked on both sides.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The apps to compare [default: all]
    #[arg(value_name = "APP")]
    pub apps: Vec<String>,
    /// Compare the files of a folder as they are, committed or not, instead of a commit
    #[arg(long, value_name = "DIR", conflicts_with_all = ["repo", "reference"])]
    pub local: Option<PathBuf>,
    #[command(flatten)]
    pub scope: Scope,
}

pub const EXAMPLES: &str = "\
driftless diff                 # exit code 1 when anything differs
driftless diff web --ref v1.9
driftless diff | delta";
