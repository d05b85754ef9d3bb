//! `driftless restart`: the same release again.

use clap::Args as ClapArgs;

/// Restarts the containers of an app or service; changes nothing else
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app, or one service of it
    #[arg(value_name = "APP[/SERVICE]")]
    pub what: String,
}

pub const EXAMPLES: &str = "\
driftless restart web/api
driftless restart web";
