//! `driftless render`: the final manifests.

use clap::Args as ClapArgs;

/// Prints the final manifests of an app, secrets masked
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
}

pub const EXAMPLES: &str = "\
driftless render web
driftless render web --ref feature-x -o json";
