//! `driftless wait`: for scripts that go on once an app is well.

use std::time::Duration;

use clap::Args as ClapArgs;

use super::session::{Access, Session, block_on};
use super::standing::{Standing, Sync};
use super::{CommandError, Context};
use crate::clock::{Clock as _, SystemClock, elapsed};
use crate::report::Exit;

use super::args::duration;

/// Waits until an app is healthy, in sync, or at a commit
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
    /// What to wait for: `healthy`, `synced` or `revision=COMMIT`
    #[arg(long = "for", value_name = "STATE", value_parser = state, default_value = "healthy")]
    pub wanted: State,
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

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);

/// Runs the verb.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit, CommandError> {
    block_on(async {
        let mut session = Session::open_known(context, Access::Read, "wait").await?;
        let begun = SystemClock.now();
        let mut told = String::new();
        loop {
            let standing = Standing::of(&session, session.subject(&args.app)?).await?;
            if reached(&args.wanted, &standing) {
                show(&standing, true, context)?;
                return Ok(Exit::Done);
            }
            let left = args.timeout.saturating_sub(elapsed(begun, SystemClock.now()));
            if left.is_zero() {
                show(&standing, false, context)?;
                return Ok(Exit::GaveUpWaiting);
            }
            let now = format!(
                "{} is {}, {}",
                standing.app,
                standing.sync.word(),
                standing.health
            );
            if now != told {
                context.output.note(&format!("waiting: {now}"));
                told = now;
            }
            session.world.clock.sleep(EVERY.min(left)).await;
            session.refresh().await?;
        }
    })
}

fn reached(wanted: &State, standing: &Standing) -> bool {
    let well = matches!(standing.health, "healthy" | "suspended");
    match wanted {
        State::Healthy => well,
        State::Synced => standing.sync == Sync::Synced,
        State::Revision(commit) => {
            let runs = |revision: &Option<String>| {
                revision
                    .as_ref()
                    .is_some_and(|revision| revision.starts_with(commit.as_str()))
            };
            // A commit that does not change the app makes no release: then the app is at it when Git is and all is in sync.
            well && (runs(&standing.revision)
                || standing.sync == Sync::Synced && runs(&standing.git_revision))
        }
    }
}

fn show(standing: &Standing, reached: bool, context: &Context) -> Result<(), CommandError> {
    let output = &context.output;
    if output.for_machines() {
        return output.value(
            "Wait",
            &serde_json::json!({ "reached": reached, "status": standing }),
        );
    }
    let given_up = if reached { "" } else { "gave up waiting: " };
    let revision = standing
        .revision
        .as_deref()
        .and_then(|revision| revision.get(..7))
        .map(|short| format!(" @ {short}"))
        .unwrap_or_default();
    let text = format!(
        "{given_up}{}{revision} is {}, {}",
        standing.app,
        standing.sync.word(),
        standing.health
    );
    if reached {
        output.result(&format!("{text}\n"))
    } else {
        output.note(&text)
    }
    Ok(())
}
