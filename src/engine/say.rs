//! One line for the log about how a run ended, and what it means for others.
//!
//! In: a [`Run`]. Out: a log line; whether those that wait for the app may go on. Guaranteed: only masked text of the run.
//! Must not: decide when it runs again.

use std::time::Duration;

use crate::report::{End, Run, Trigger};

/// Whether the run says anything about its commit.
pub(super) fn concludes(run: &Run) -> bool {
    !matches!(
        run.end,
        End::Superseded | End::Stopped { .. } | End::StillVerifying { .. }
    )
}

/// Why those that come after this app can't go on; `None`: they can.
pub(super) fn bad(run: &Run) -> Option<String> {
    match &run.end {
        End::NoChange | End::Stable { .. } | End::Drifted { .. } => None,
        _ => Some(text(run)),
    }
}

/// Logs how it ended.
pub(super) fn run(run: &Run, failures: u32, next: Option<Duration>) {
    let app = run.key.app.as_str();
    let revision = run.revision.as_ref().map_or("", |revision| revision.short());
    let took = format!("{:.1}s", run.took.as_secs_f64());
    let mut text = text(run);
    if let Some(next) = next {
        text = format!("{text}; tried again in {}s", next.as_secs_f64().ceil());
    }
    let (id, target) = (run.id.as_str(), run.target.as_str());
    match (&run.end, &run.trigger) {
        (End::NoChange | End::Held { healed: 0, .. }, Trigger::Tick | Trigger::Drift) => {
            tracing::debug!(app, revision, run = id, target, took, "{text}");
        }
        (End::Failed(_) | End::Refused { .. }, _) if failures > 1 => {
            tracing::info!(app, revision, run = id, target, took, failures, "{text}");
        }
        (End::Failed(_) | End::Refused { .. } | End::RolledBack(_), _) => {
            tracing::warn!(app, revision, run = id, target, took, "{text}");
        }
        (End::Frozen(_), _) => tracing::error!(app, revision, run = id, target, took, "{text}"),
        _ => tracing::info!(app, revision, run = id, target, took, "{text}"),
    }
    for change in &run.changes {
        tracing::debug!(app, run = id, "{change}");
    }
    for warning in &run.warnings {
        tracing::warn!(app, run = id, "{warning}");
    }
}

/// How it ended, in a few words.
fn text(run: &Run) -> String {
    match &run.end {
        End::NoChange => "nothing to do".to_owned(),
        End::Stable { healed: true, calls } => format!("healed ({calls} calls)"),
        End::Stable { healed: false, calls } => match &run.release {
            Some((number, _)) => format!("release {number} is stable ({calls} calls)"),
            None => format!("done ({calls} calls)"),
        },
        End::Drifted { fields } => format!("drifted: {}", fields.join(", ")),
        End::Held { held, healed: 0 } => format!("held since {:.0}: {}", held.since, held.cause),
        End::Held { healed, .. } => format!("held; what runs instead was healed ({healed} calls)"),
        End::RolledBack(back) => {
            let cause = back
                .evidence
                .first()
                .map_or_else(String::new, |one| format!(": {}", one.cause));
            format!(
                "the gate failed{cause}; rolled back to release {} ({})",
                back.to.0,
                back.to.1.short()
            )
        }
        End::Frozen(frozen) => format!("frozen: {}", frozen.why),
        End::Failed(failure) => format!("{}: {}", failure.code, failure.message),
        End::Refused { problems } => {
            let all: Vec<String> = problems
                .iter()
                .map(|problem| format!("{}: {}", problem.code, problem.message))
                .collect();
            all.join("; ")
        }
        End::Stopped { stood } => format!("stopped: {stood}"),
        End::Superseded => "a newer commit goes first".to_owned(),
        End::StillVerifying { what } => format!("still verifying: {what}"),
    }
}
