//! `driftless config`: the settings that are in force.

use clap::{Args as ClapArgs, Subcommand};

/// Shows the settings that are in force
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do with them.
#[derive(Debug, Subcommand)]
pub enum Command {
    Show(ShowArgs),
}

/// Prints every setting with its value, secrets masked
#[derive(Debug, ClapArgs)]
pub struct ShowArgs {
    /// Say where each value comes from: flag, environment, file and line, or default
    #[arg(long)]
    pub origin: bool,
}

pub const EXAMPLES: &str = "\
driftless config show
driftless config show --origin";
