//! `driftless serve`: the daemon.

use std::time::Duration;

use clap::Args as ClapArgs;

use super::args::duration;

/// Follows the repository: applies commits, heals drift, rolls back
///
/// Runs until SIGTERM or Ctrl-C, and then stops at a step boundary. A local repository is watched, a remote one polled.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// How often a remote repository is asked
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub interval: Option<Duration>,
}

pub const EXAMPLES: &str = "\
driftless serve
driftless serve --repo https://git.example/infra --ref main --interval 1m
driftless serve --repo git@git.example:infra.git --target tcp://nas:2376";
