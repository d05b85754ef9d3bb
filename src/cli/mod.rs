//! The command line: one file per verb, and one printer.
//!
//! In: arguments, the environment, a terminal. Out: text on two streams and an [`Exit`]. Guaranteed: the same engine as in
//! the service; standard output holds only the result, standard error only messages; nothing waits for an answer that
//! nobody can give. Must not: decide anything that the service would have to decide again.

mod args;
pub mod docs;
mod environment;
mod error;
mod fields;
mod here;
mod help;
mod logging;
mod output;
mod place;
mod progress;
mod session;
mod planned;
mod signals;
mod standing;
mod style;
mod subject;
mod table;
mod topics;

mod apply;
mod clusters;
mod completion;
mod config;
mod demo;
mod diff;
mod doctor;
mod down;
mod drift;
mod explain;
mod history;
mod init;
mod logs;
mod man;
mod plan;
mod render;
mod restart;
mod resume;
mod retry;
mod rollback;
mod schema;
mod serve;
mod status;
mod suspend;
mod takeover;
mod validate;
mod wait;
mod why;

use std::ffi::OsString;

use clap::FromArgMatches as _;

pub use args::{Cli, Command};
pub use error::CommandError;

use crate::report::Exit;
use environment::Environment;
use output::Output;

/// What every verb gets.
pub struct Context {
    pub environment: Environment,
    pub global: args::Global,
    pub output: Output,
}

/// Runs one command line to its end.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let environment = match Environment::of_process() {
        Ok(environment) => environment,
        Err(error) => {
            return output::last_words(
                &format!("error: the current folder cannot be read: {error}\n"),
                Exit::Usage,
            );
        }
    };
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = help::command(help::width(&environment), help::color(&arguments));
    let cli = match command
        .try_get_matches_from(arguments)
        .and_then(|found| Cli::from_arg_matches(&found))
    {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is the reader's choice; there is nobody left to tell.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
        }
    };
    let output = Output::new(&cli.global, &environment);
    let mut logged = cli.global.clone();
    if matches!(cli.command, Command::Serve(_)) {
        // A daemon's log is its result: what it does is told without being asked for.
        logged.verbose = logged.verbose.max(1);
    }
    logging::start(&logged, &output);
    let mut context = Context {
        environment,
        global: cli.global,
        output,
    };
    match run(cli.command, &mut context) {
        Ok(exit) => exit,
        Err(error) => {
            context.output.error(&error);
            error.exit()
        }
    }
}

fn run(command: Command, context: &mut Context) -> Result<Exit, CommandError> {
    match command {
        Command::Explain(args) => explain::run(args, context),
        Command::Schema(args) => schema::run(args, context),
        Command::Completion(args) => completion::run(args, context),
        Command::Man(args) => man::run(args, context),
        Command::Demo(args) => demo::run(args, context),
        Command::DemoServer(args) => demo::serve(&args, context),
        Command::Plan(args) => plan::run(&args, context),
        Command::Apply(args) => apply::run(&args, context),
        Command::Serve(args) => serve::run(&args, context),
        Command::Doctor(args) => doctor::run(args, context),
        Command::Config(args) => config::run(args, context),
        Command::Render(args) => render::run(args, context),
        Command::Validate(args) => validate::run(args, context),
        Command::Init(args) => init::run(args, context),
        Command::Drift(args) => drift::run(&args, context),
        Command::Diff(args) => diff::run(&args, context),
        Command::History(args) => history::run(&args, context),
        Command::Logs(args) => logs::run(&args, context),
        Command::Restart(args) => restart::run(&args, context),
        Command::Wait(args) => wait::run(&args, context),
        Command::Why(args) => why::run(&args, context),
        Command::Suspend(args) => suspend::run(&args, context),
        Command::Resume(args) => resume::run(&args, context),
        Command::Down(args) => down::run(&args, context),
        Command::Takeover(args) => takeover::run(&args, context),
        Command::Status(args) => status::run(&args, context),
        Command::Rollback(args) => rollback::run(&args, context),
        Command::Retry(args) => retry::run(&args, context),
    }
}
