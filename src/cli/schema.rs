//! `driftless schema`: what an editor needs to check our files.

use clap::{Args as ClapArgs, ValueEnum};

use super::Context;
use super::error::CommandError;
use super::fields;
use crate::report::Exit;

/// Prints the JSON schema of driftless.yaml
///
/// Editors check and complete the file when its first line is
/// `# yaml-language-server: $schema=./driftless.schema.json`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Which file
    #[arg(value_enum, value_name = "FILE", default_value_t = Which::Driftless)]
    pub file: Which,
}

/// Whose schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The repository's driftless.yaml
    Driftless,
}

pub const EXAMPLES: &str = "\
driftless schema > driftless.schema.json";

/// Prints it.
pub fn run(args: Args, context: &mut Context) -> Result<Exit, CommandError> {
    let schema = match args.file {
        Which::Driftless => fields::schema(
            fields::REPOSITORY,
            "driftless.schema.json",
            "driftless.yaml: the apps of a repository",
        ),
    };
    context.output.result(&format!("{schema:#}\n"));
    Ok(Exit::Done)
}
