//! `driftless completion`: what a shell needs to complete our commands.

use clap::Args as ClapArgs;
use clap_complete::Shell;

use super::error::CommandError;
use super::{Context, help};
use crate::report::Exit;

/// Prints the completion script of a shell.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

pub const EXAMPLES: &str = "\
driftless completion bash > /etc/bash_completion.d/driftless
driftless completion zsh > ~/.zfunc/_driftless
driftless completion fish > ~/.config/fish/completions/driftless.fish";

/// Prints the script.
pub fn run(args: Args, context: &mut Context) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut help::plain(), "driftless", &mut script);
    context.output.result(&String::from_utf8_lossy(&script));
    Ok(Exit::Done)
}
