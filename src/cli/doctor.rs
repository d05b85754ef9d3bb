//! `driftless doctor`: is this machine ready?

use clap::Args as ClapArgs;

/// Checks this machine, the engine and the settings
///
/// Each finding comes with what to do about it. Nothing is changed.
#[derive(Debug, ClapArgs)]
pub struct Args {}

pub const EXAMPLES: &str = "\
driftless doctor
driftless doctor --target tcp://nas:2376";
