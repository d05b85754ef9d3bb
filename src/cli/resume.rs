//! `driftless resume`: the end of a suspension.

use clap::Args as ClapArgs;

/// Ends a suspension
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
}

pub const EXAMPLES: &str = "driftless resume web";
