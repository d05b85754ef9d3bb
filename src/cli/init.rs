//! `driftless init`: a first look at a repository.

use clap::Args as ClapArgs;

/// Shows what a repository would deploy, before anything is set up
///
/// Nothing needs to be written for the usual layouts. Where the defaults don't fit, driftless.yaml is written.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Write driftless.yaml even where the defaults fit
    #[arg(long)]
    pub write: bool,
}

pub const EXAMPLES: &str = "\
cd my-infra && driftless init
driftless init --write";
