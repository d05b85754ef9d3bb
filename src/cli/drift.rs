//! `driftless drift`: what was changed outside Git.

use clap::Args as ClapArgs;

/// Shows what was changed outside Git, field by field
///
/// Live state is compared with what should run now: the stable release while a newer one is held, else Git. A hold is not
/// drift; `driftless diff` compares with Git.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The apps to look at [default: all]
    #[arg(value_name = "APP")]
    pub apps: Vec<String>,
}

pub const EXAMPLES: &str = "\
driftless drift || echo \"somebody changed something\"
driftless drift web -o json";
