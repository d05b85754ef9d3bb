//! `driftless plan`: what an apply would do, and why.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::args::Scope;

/// Shows what `apply` would change, and who moved: Git or live state
///
/// Reads Git and the engine, and changes nothing. Each changed field is shown with who moved it and the line where Git
/// says it. The symbols: + create, ~ update, -/+ replace, - delete, ! changed outside Git.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The apps to plan [default: all]
    #[arg(value_name = "APP")]
    pub apps: Vec<String>,
    /// Plan the files of a folder as they are, committed or not, instead of a commit
    #[arg(long, value_name = "DIR", conflicts_with_all = ["repo", "reference"])]
    pub local: Option<PathBuf>,
    /// Save the plan; `apply FILE` then does exactly this, or refuses
    #[arg(long, value_name = "FILE", conflicts_with = "local")]
    pub out: Option<PathBuf>,
    /// Exit with 0 = no changes, 1 = error, 2 = changes
    #[arg(long)]
    pub detailed_exitcode: bool,
    #[command(flatten)]
    pub scope: Scope,
}

pub const EXAMPLES: &str = "\
driftless plan                          # every app of this repository
driftless plan web --ref feature-x      # one app at another branch
driftless plan --local .                # uncommitted changes included
driftless plan --out web.plan           # later: driftless apply web.plan
driftless plan -o markdown              # for a pull request";
