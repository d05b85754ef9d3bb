//! `driftless demo`: the whole turn of the loop, on throw-away containers.

use clap::Args as ClapArgs;

/// Shows all of it in a minute, offline, on throw-away containers
///
/// Deploys an example repository, shows a no-op, makes drift and heals it, ships a broken release and shows the rollback
/// and the hold, ships the fix, and removes everything again. Exits non-zero if any step did not really happen.
#[derive(Debug, ClapArgs)]
pub struct Args {}

/// The web server inside the demo's images.
#[derive(Debug, ClapArgs)]
pub struct ServerArgs {
    /// What the images pass on
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

pub const EXAMPLES: &str = "driftless demo";
