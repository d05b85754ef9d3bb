//! `driftless rollback`: back to a release that was proven.

use clap::Args as ClapArgs;

/// Puts an earlier stable release back, and holds the present one
///
/// The whole app goes back, from the stored release: nothing is rendered again. Volumes keep their data. Git's release is
/// held, or the next run would undo the rollback; `driftless retry APP` or a commit that changes the app lifts the hold.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
    /// Which release: its number or its commit [default: the stable one before this]
    #[arg(long, value_name = "RELEASE|COMMIT")]
    pub to: Option<String>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub plan: bool,
    /// Why; it is shown where the hold is shown
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

pub const EXAMPLES: &str = "\
driftless rollback web --plan
driftless rollback web --to 91d0e77
driftless rollback web --to 12 --yes --reason \"payments fail since 14:00\"";
