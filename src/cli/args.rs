//! The tree of commands and the options that every command has.
//!
//! In: arguments. Out: [`Cli`], parsed. Guaranteed: what a person reads in `--help` is made from these types. Must not:
//! read the environment or a file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand, ValueEnum};

use super::{
    apply, completion, config, demo, diff, doctor, down, drift, explain, history, init, logs, man, plan,
    render, restart, resume, retry, rollback, schema, serve, status, suspend, takeover, validate, wait, why,
};

/// Follows Git and keeps Docker and Kubernetes as Git says: plan, drift, and rollback to a proven release
#[derive(Debug, Parser)]
#[command(
    name = "driftless",
    version,
    disable_help_subcommand = true,
    subcommand_required = true
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    Plan(plan::Args),
    Diff(diff::Args),
    Apply(apply::Args),
    Status(status::Args),
    Drift(drift::Args),
    History(history::Args),
    Logs(logs::Args),
    Restart(restart::Args),
    Wait(wait::Args),
    Why(why::Args),
    Rollback(rollback::Args),
    Retry(retry::Args),
    Suspend(suspend::Args),
    Resume(resume::Args),
    Takeover(takeover::Args),
    Down(down::Args),
    Init(init::Args),
    Validate(validate::Args),
    Render(render::Args),
    Serve(serve::Args),
    Demo(demo::Args),
    Doctor(doctor::Args),
    Config(config::Args),
    Explain(explain::Args),
    Schema(schema::Args),
    Completion(completion::Args),
    Man(man::Args),
    #[command(name = "demo-server", hide = true)]
    DemoServer(demo::ServerArgs),
}

/// The options of every command.
#[derive(Debug, Clone, ClapArgs)]
pub struct Global {
    /// The form of the result; `human` is another word for `table`
    #[arg(short, long, global = true, hide = true, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    pub output: Format,
    /// Print the result only, no remarks
    #[arg(short, long, global = true, hide = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Log what is done; twice for more
    #[arg(short, long, global = true, hide = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// The repository: a folder or URL [default: the one you stand in]
    #[arg(long, global = true, hide = true, value_name = "REPO")]
    pub repo: Option<String>,
    /// The branch, tag or commit [default: the branch that is checked out]
    #[arg(long = "ref", global = true, hide = true, value_name = "REF")]
    pub reference: Option<String>,
    /// The engine: a name from config.yaml, a Docker context or a URL [default: the one `docker` uses]
    #[arg(long, global = true, hide = true, value_name = "TARGET")]
    pub target: Option<String>,
    /// The folder where releases and history are kept [default: $XDG_STATE_HOME/driftless]
    #[arg(long, global = true, hide = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// The name of this instance, written on everything it owns [default: the host name]
    #[arg(long, global = true, hide = true, value_name = "NAME")]
    pub instance: Option<String>,
    /// The operator's file [default: ~/.config/driftless/config.yaml, then /etc/driftless/config.yaml]
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Variables that are not in Git, as NAME=VALUE lines; may be given several times
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// A Compose profile to enable; may be given several times
    #[arg(long, global = true, hide = true, value_name = "NAME")]
    pub profile: Vec<String>,
    /// When to colour; NO_COLOR and CLICOLOR_FORCE are respected
    #[arg(long, global = true, hide = true, value_enum, value_name = "WHEN", default_value_t = When::Auto)]
    pub color: When,
    /// How progress is shown on standard error
    #[arg(long, global = true, hide = true, value_enum, value_name = "HOW", default_value_t = ProgressForm::Auto)]
    pub progress: ProgressForm,
    /// Never ask; what would be asked is refused
    #[arg(long, global = true, hide = true)]
    pub no_input: bool,
    /// The form of the log
    #[arg(long, global = true, hide = true, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Auto)]
    pub log_format: LogFormat,
}

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned text for people
    #[value(alias = "human")]
    Table,
    /// The same with more columns
    Wide,
    /// One JSON value
    Json,
    /// One YAML document
    Yaml,
    /// One name a line
    Name,
    /// For a pull request
    #[value(alias = "md")]
    Markdown,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    Auto,
    Always,
    Never,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressForm {
    /// `tty` on a terminal, else `plain`
    Auto,
    /// One line for each service, redrawn
    Tty,
    /// A new line for each event
    Plain,
    /// A JSON object for each event
    Json,
    /// None
    Quiet,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Auto,
    Text,
    Json,
}

/// What may be deleted once it is no longer declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Prune {
    /// Nothing
    None,
    /// Containers and networks, never volumes
    Safe,
    /// Volumes too, once confirmed
    All,
}

/// What `plan`, `diff` and `apply` look at.
#[derive(Debug, Clone, ClapArgs)]
pub struct Scope {
    /// Take over containers that run already but were not made by Driftless, even where they differ
    #[arg(long)]
    pub adopt: bool,
    /// What may be deleted once Git no longer has it; overrides the app's own setting
    #[arg(long, value_enum, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "safe")]
    pub prune: Option<Prune>,
}

/// A span of time as people write it: `90s`, `10m`, `2h 30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time span such as `90s`, `10m` or `2h30m`".to_owned();
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(span).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_read_as_people_write_them() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h30m"), Ok(Duration::from_secs(9000)));
        assert!(duration("soon").is_err() && duration("-5m").is_err() && duration("").is_err());
    }
}
