//! `driftless suspend`: hands off for a while.

use std::time::Duration;

use clap::Args as ClapArgs;

use super::args::duration;

/// Stops all changes to an app for a while; drift is still shown
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
    /// For how long [default: until `driftless resume`]
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub time: Option<Duration>,
    /// Why; it is shown in `status` and `why`
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

pub const EXAMPLES: &str = "driftless suspend web --for 2h --reason \"database migration by hand\"";
