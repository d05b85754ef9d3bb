//! `driftless man`: the manual pages, made from the same words as `--help`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Command};

use super::error::CommandError;
use super::{Context, help};
use crate::report::Exit;

/// Prints the manual page, or writes one page for each command.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The command whose page is printed; without it the page of `driftless` itself
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
    /// Write a page for every command into this folder instead
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub out: Option<PathBuf>,
}

pub const EXAMPLES: &str = "\
driftless man | man -l -
driftless man apply | man -l -
driftless man --out ~/.local/share/man/man1";

/// Prints or writes.
pub fn run(args: Args, context: &mut Context) -> Result<Exit, CommandError> {
    let mut program = help::plain();
    // A subcommand knows its whole name and the options of all commands only once the tree is built.
    program.build();
    let Some(folder) = args.out else {
        let page = match &args.command {
            None => page(program)?,
            Some(name) => {
                let found = program
                    .get_subcommands()
                    .find(|verb| verb.get_name() == name && !verb.is_hide_set());
                let verb = found.cloned().ok_or_else(|| {
                    let known = program.get_subcommands().map(Command::get_name);
                    CommandError::unknown("command", name, known)
                })?;
                page(verb)?
            }
        };
        context.output.result(&page);
        return Ok(Exit::Done);
    };
    let write = |name: &str, page: String| {
        let file = folder.join(format!("{name}.1"));
        std::fs::write(&file, page).map_err(|error| {
            CommandError::new(Exit::Usage, format!("cannot write {}", file.display())).because(&error)
        })
    };
    std::fs::create_dir_all(&folder).map_err(|error| {
        CommandError::new(
            Exit::Usage,
            format!("cannot make the folder {}", folder.display()),
        )
        .because(&error)
    })?;
    let verbs: Vec<Command> = program
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .cloned()
        .collect();
    write("driftless", page(program)?)?;
    for verb in verbs {
        write(&format!("driftless-{}", verb.get_name()), page(verb)?)?;
    }
    context
        .output
        .note(&format!("manual pages written to {}", folder.display()));
    Ok(Exit::Done)
}

fn page(command: Command) -> Result<String, CommandError> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| CommandError::new(Exit::Usage, "cannot make the manual page").because(&error))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
