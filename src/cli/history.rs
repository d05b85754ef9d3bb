//! `driftless history`: the releases of an app and what came of them.

use clap::Args as ClapArgs;

/// Lists the releases of an app, and what came of each
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
    /// How many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    pub limit: usize,
    /// Every run, those that changed nothing included
    #[arg(long)]
    pub runs: bool,
}

pub const EXAMPLES: &str = "\
driftless history web
driftless history web -n 3 -o wide
driftless history web --runs";
