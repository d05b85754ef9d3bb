//! `driftless down`: an app goes.

use clap::Args as ClapArgs;

/// Removes the containers and networks of an app; volumes if named
///
/// Volumes keep their data unless they are named. The app's history stays.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
    /// Volumes to delete with their data, by the names in the Compose file
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub volumes: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

pub const EXAMPLES: &str = "\
driftless down web
driftless down web --volumes cache uploads   # their data is lost";
