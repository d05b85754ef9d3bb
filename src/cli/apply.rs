//! `driftless apply`: plan, confirm, change, judge, and roll back what fails.

use std::time::Duration;

use clap::Args as ClapArgs;

use super::args::{Scope, duration};

/// Makes live state as Git says, and rolls back what fails
///
/// Everything that can be checked is checked before anything is touched: manifests, images, ports, names. What fails its
/// health gate is put back to the last stable release, and the failed one is held. Without `--yes` the plan is shown and
/// confirmed on a terminal; without a terminal nothing is done.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The apps to apply [default: all], or one file that `plan --out` saved
    #[arg(value_name = "APP|PLAN")]
    pub what: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Wait until all is healthy and baked, or at most this long; the next run concludes the rest
    #[arg(long, value_name = "TIME", value_parser = duration, num_args = 0..=1, require_equals = true)]
    pub wait: Option<Option<Duration>>,
    /// Leave a failed release as it is, for looking at it; it is held all the same
    #[arg(long)]
    pub no_rollback: bool,
    #[command(flatten)]
    pub scope: Scope,
}

pub const EXAMPLES: &str = "\
driftless apply                  # shows the plan and asks
driftless apply --yes --wait     # for scripts; exit code 7: rolled back
driftless apply web --yes --wait=5m
driftless apply web.plan --yes   # refused when Git or live state moved";
