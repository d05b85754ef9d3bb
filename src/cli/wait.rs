//! `driftless wait`: for scripts that go on once an app is well.

use std::time::Duration;

use clap::Args as ClapArgs;

use super::args::duration;

/// Waits until an app is healthy, in sync, or at a commit
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
    /// What to wait for: `healthy`, `synced` or `revision=COMMIT`
    #[arg(long = "for", value_name = "STATE", value_parser = state, default_value = "healthy")]
    pub state: State,
    /// When to give up, with exit code 10
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10m")]
    pub timeout: Duration,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Healthy,
    Synced,
    /// The first digits of a commit id.
    Revision(String),
}

fn state(text: &str) -> Result<State, String> {
    match text.split_once('=') {
        None if text == "healthy" => Ok(State::Healthy),
        None if text == "synced" => Ok(State::Synced),
        Some(("revision", commit))
            if (4..=40).contains(&commit.len()) && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            Ok(State::Revision(commit.to_ascii_lowercase()))
        }
        Some(("revision", _)) => Err("a commit is 4 to 40 hexadecimal digits".to_owned()),
        _ => Err("expected `healthy`, `synced` or `revision=COMMIT`".to_owned()),
    }
}

pub const EXAMPLES: &str = "\
driftless wait web --for=healthy --timeout 5m
driftless wait web --for=revision=$(git rev-parse HEAD)";
