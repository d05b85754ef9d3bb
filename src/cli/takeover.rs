//! `driftless takeover`: from another instance.

use clap::Args as ClapArgs;

/// Makes this instance the owner of apps that another one deployed
///
/// Nothing is restarted. Stop the other instance first, or the two will disagree.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The apps to take over [default: all of this repository]
    #[arg(value_name = "APP")]
    pub apps: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

pub const EXAMPLES: &str = "driftless takeover web --yes";
