//! `driftless config`: the settings that are in force.

use clap::{Args as ClapArgs, Subcommand};

use super::Context;
use super::error::CommandError;
use super::session::settings;
use super::table::{Cell, Table, cell, column};
use crate::report::Exit;
use crate::report::text::Role;

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

/// Prints them.
pub fn run(args: Args, context: &mut Context) -> Result<Exit, CommandError> {
    let Command::Show(show) = args.command;
    let settings = settings(context)?;
    let rows = settings.show();
    let origin = if show.origin {
        column("FROM")
    } else {
        column("FROM").wide()
    };
    let mut table = Table::new([column("SETTING"), column("VALUE").shrinks(), origin]);
    for row in &rows {
        let value = match &row.value {
            Some(value) => Cell::from(value.as_str()),
            None => cell(Role::Dim, "-"),
        };
        table.row([Cell::from(row.key.as_str()), value, row.origin.as_str().into()]);
    }
    context.output.list("SettingList", &rows, &table)?;
    if settings.file.is_none() {
        context
            .output
            .note("no config.yaml was found; `driftless doctor` says where it is looked for");
    }
    Ok(Exit::Done)
}
