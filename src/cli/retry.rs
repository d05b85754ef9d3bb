//! `driftless retry`: once more.

use clap::Args as ClapArgs;

/// Lifts the hold of an app and tries the held release once more
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
}

pub const EXAMPLES: &str = "driftless retry web";
