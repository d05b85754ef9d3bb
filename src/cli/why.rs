//! `driftless why`: one answer.

use clap::Args as ClapArgs;

/// Says what blocks an app, since when, and what would unblock it
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
}

pub const EXAMPLES: &str = "driftless why web";
