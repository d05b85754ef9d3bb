//! `driftless status`: where every app stands.

use clap::Args as ClapArgs;

/// Shows every app: in sync, healthy, at which commit; worst first
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// One app in detail [default: one line for each app]
    #[arg(value_name = "APP")]
    pub app: Option<String>,
    /// Keep watching until interrupted
    #[arg(short, long)]
    pub watch: bool,
}

pub const EXAMPLES: &str = "\
driftless status
driftless status web
driftless status -w
driftless status -o json | jq -r '.items[] | select(.held) | .app'";
