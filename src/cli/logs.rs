//! `driftless logs`: what the containers of an app print.

use std::time::Duration;

use clap::Args as ClapArgs;

use super::args::duration;

/// Prints what the containers of an app or of one service write
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app, or one service of it
    #[arg(value_name = "APP[/SERVICE]")]
    pub what: String,
    /// Go on printing until interrupted
    #[arg(short, long)]
    pub follow: bool,
    /// How many of the last lines of each container
    #[arg(long, value_name = "LINES", default_value_t = 100)]
    pub tail: usize,
    /// Only what is younger than this
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub since: Option<Duration>,
    /// Begin each line with its time
    #[arg(short, long)]
    pub timestamps: bool,
}

pub const EXAMPLES: &str = "\
driftless logs web
driftless logs web/api -f
driftless logs web/api --tail 20 --since 10m";
