//! A [`Run`] in words: the text of a terminal, and Markdown for a review.
//!
//! In: runs, the moment they are told at. Out: [`Text`]. Guaranteed: every failed gate tells the last probe, the exit code,
//! the last log lines, what changed and the next step; the same run gives the same text. Must not: mask: that was done when
//! the run was made.

use unicode_width::UnicodeWidthStr as _;

use super::text::{self, Line, Role, Text};
use super::when::{Now, span};
use super::{End, Exit, Failure, HeldRelease, Obstacle, Run, Stage, Trigger};
use crate::settle::Evidence;

/// Log lines that are shown of each failed container; `why` shows all that were kept.
const LOG_LINES: usize = 5;
/// Events that are shown of each failed object.
const EVENTS: usize = 2;
/// Where the facts stand.
const FACTS: usize = 18;
/// Where they stand at most.
const FURTHEST: usize = 40;

/// What a run came to. `width` is the terminal's, 0 where nobody tells.
pub fn run(run: &Run, now: &Now, width: usize) -> Text {
    let mut text = Text::new();
    text.push(headline(run, now));
    details(run, &mut text, width);
    next_step(run).into_iter().for_each(|line| text.push(line));
    text.push_exit(run.exit(), width);
    for warning in &run.warnings {
        text.push(
            Line::new()
                .plain("  ")
                .span(Role::Warn, "warning: ")
                .plain(warning.as_str()),
        );
    }
    text
}

/// Several runs, and for more than one a last line with their sum.
pub fn runs(all: &[Run], now: &Now, width: usize) -> Text {
    let mut text = Text::new();
    for one in all {
        text.append(run(one, now, width));
    }
    if all.len() > 1 {
        let exit = Exit::worst(all.iter().map(Run::exit));
        let well = all.iter().filter(|run| run.exit() == Exit::Done).count();
        let mut line = Line::new().plain(format!("{well} of {} apps are as Git says", all.len()));
        if exit != Exit::Done {
            line = line.plain("; the worst: ").plain(exit.meaning());
        }
        text.push(line);
        text.push_exit(exit, width);
    }
    text
}

/// Everything that was kept of a failed gate; nothing of a run that ended otherwise.
pub fn kept(run: &Run, width: usize) -> Text {
    let mut text = Text::new();
    push_failure(&run.end, &mut text, usize::MAX, width);
    text
}

/// What a failed gate showed, and what the release had changed.
fn push_failure(end: &End, text: &mut Text, log_lines: usize, width: usize) {
    let width = if width == 0 { text::ASSUMED } else { width };
    let (evidence, changed, kept) = match end {
        End::RolledBack(back) => (&back.evidence, &back.changed, back.not_reverted.as_slice()),
        End::Frozen(frozen) => (&frozen.evidence, &frozen.changed, &[][..]),
        _ => return,
    };
    // The names of objects are longer than those of services.
    let heads = evidence.iter().map(|one| head(one).width());
    let column = (heads.max().unwrap_or(0) + 6).clamp(FACTS, FURTHEST);
    push_evidence(evidence, text, column, log_lines);
    push_changed(changed, kept, text, column, width);
}

fn head(evidence: &Evidence) -> String {
    evidence.service.resource().to_string()
}

fn headline(run: &Run, now: &Now) -> Line {
    let took = span(run.took);
    let good = || named(Line::new().span(Role::Good, "✔ "), run);
    let bad = || named(Line::new().span(Role::Bad, "✘ "), run);
    let count = run.changes.len();
    match &run.end {
        End::NoChange => good().plain(" no changes"),
        End::Stable { .. } if run.trigger == Trigger::Person("down".to_owned()) => {
            good().plain(format!(" taken down in {took}: {}", changes(count)))
        }
        End::Stable { .. } if run.trigger == Trigger::Person("restart".to_owned()) => {
            good().plain(format!(" restarted in {took}, healthy"))
        }
        End::Stable { .. } if run.trigger == Trigger::Person("rollback".to_owned()) => {
            let release = run
                .release
                .as_ref()
                .map(|(number, _)| format!(" {number}"))
                .unwrap_or_default();
            Line::new()
                .span(Role::Good, "✔ ")
                .span(Role::Strong, run.key.app.as_str())
                .plain(format!(" put back to release{release}, healthy, in {took}"))
        }
        End::Stable { healed: true, .. } => good().plain(format!(" healed in {took}: {}", changes(count))),
        End::Stable { .. } => {
            let release = run
                .release
                .as_ref()
                .map(|(number, _)| format!(" as {}#{number}", run.key.app))
                .unwrap_or_default();
            good().plain(format!(
                " deployed{release}, healthy and stable in {took}: {}",
                changes(count)
            ))
        }
        End::Drifted { fields } => named(Line::new().span(Role::Warn, "! "), run)
            .plain(format!(" was changed outside Git: {}", fields_of(fields.len()))),
        End::Held { held, healed } => {
            let healed = if *healed > 0 {
                format!("; {} put right", changes(*healed))
            } else {
                String::new()
            };
            bad_about(run, &held.revision).plain(format!(
                " is held since {}: {}{healed}",
                now.clock(held.since),
                held.cause
            ))
        }
        End::RolledBack(back) => {
            let downtime = match back.downtime {
                Some(time) => format!(" (measured downtime {})", span(time)),
                None => String::new(),
            };
            bad().plain(format!(
                " failed its gate after {}; rolled back to {} in {}{downtime}",
                span(back.gate_took),
                back.to.1.short(),
                span(back.rollback_took)
            ))
        }
        End::Frozen(frozen) => bad().plain(format!(
            " failed its gate after {}; not rolled back: {}",
            span(frozen.gate_took),
            frozen.why
        )),
        End::Failed(failure) => bad()
            .plain(format!(" stopped while {}: ", stage(failure.stage)))
            .plain(coded(&failure.code, &failure.message)),
        End::Refused { problems } => bad().plain(match problems.len() {
            1 => " refused".to_owned(),
            count => format!(" refused for {count} reasons"),
        }),
        End::Stopped { stood } => {
            named(Line::new().span(Role::Warn, "■ "), run).plain(format!(" stopped {stood}"))
        }
        End::Superseded => named(Line::new().span(Role::Dim, "↷ "), run).plain(" gave way to a newer commit"),
        End::StillVerifying { what } => named(Line::new().span(Role::Warn, "… "), run)
            .plain(format!(" is applied and not yet judged after {took}: {what}")),
    }
}

fn named(line: Line, run: &Run) -> Line {
    let line = line.span(Role::Strong, run.key.app.as_str());
    match &run.revision {
        Some(revision) => line.plain(" @ ").span(Role::Strong, revision.short()),
        None => line,
    }
}

fn bad_about(run: &Run, revision: &crate::names::Revision) -> Line {
    let line = Line::new()
        .span(Role::Bad, "✘ ")
        .span(Role::Strong, run.key.app.as_str());
    line.plain(" @ ").span(Role::Strong, revision.short())
}

fn details(run: &Run, text: &mut Text, width: usize) {
    match &run.end {
        End::Stable { .. } | End::StillVerifying { .. } | End::Stopped { .. } => {
            for change in &run.changes {
                text.push(Line::new().plain("    ").plain(change.as_str()));
            }
        }
        End::Drifted { fields } => {
            for field in fields {
                text.push(Line::new().plain("    ").plain(field.as_str()));
            }
        }
        End::Held { held, .. } => push_running(held, text),
        end @ (End::RolledBack(_) | End::Frozen(_)) => push_failure(end, text, LOG_LINES, width),
        End::Failed(failure) => {
            if let Some(place) = &failure.place {
                fact("at", place.to_string(), text);
            }
            // What was planned; which of it was reached is in the journal.
            for change in run.changes.iter().filter(|_| failure.touched) {
                fact("planned", change.as_str(), text);
            }
        }
        End::Refused { problems } => problems.iter().for_each(|problem| push_obstacle(problem, text)),
        End::NoChange | End::Superseded => {}
    }
}

fn push_running(held: &HeldRelease, text: &mut Text) {
    if let Some((number, revision)) = &held.running {
        fact(
            "running",
            format!("{} (release {number})", revision.short()),
            text,
        );
    }
}

fn push_evidence(all: &[Evidence], text: &mut Text, column: usize, log_lines: usize) {
    let fact = |head: &str, value: String, text: &mut Text| {
        push_fact(head, Line::new().plain(value), text, column);
    };
    for evidence in all {
        fact(
            &head(evidence),
            format!(
                "{}/{} healthy: {}",
                evidence.healthy, evidence.of, evidence.cause.detail
            ),
            text,
        );
        if let Some(probe) = evidence
            .probe
            .as_ref()
            .filter(|probe| !evidence.cause.detail.contains(probe.as_str()))
        {
            fact("last probe", probe.clone(), text);
        }
        if let Some(code) = evidence
            .exit_code
            .filter(|code| !evidence.cause.detail.contains(&format!("code {code}")))
        {
            fact("exit code", code.to_string(), text);
        }
        let from = evidence.logs.len().saturating_sub(log_lines);
        for (at, line) in evidence.logs[from..].iter().enumerate() {
            let line = Line::new()
                .span(Role::Dim, format!("{} | ", evidence.container))
                .plain(line.as_str());
            push_fact(if at == 0 { "last output" } else { "" }, line, text, column);
        }
        // As with the log: the newest tell most, and `why` shows all.
        let events = if log_lines == usize::MAX {
            usize::MAX
        } else {
            EVENTS
        };
        for (at, event) in evidence.events.iter().take(events).enumerate() {
            fact(if at == 0 { "events" } else { "" }, event.clone(), text);
        }
        if evidence.logs.is_empty() && !evidence.container.is_empty() {
            fact("last output", "(it printed nothing)".to_owned(), text);
        }
    }
}

fn push_changed(changed: &[String], kept: &[String], text: &mut Text, column: usize, width: usize) {
    let fact = |head: &str, value: String, text: &mut Text| {
        push_fact(head, Line::new().plain(value), text, column);
    };
    let both = format!(
        "{}        not reverted: {} (data never is)",
        changed.join(", "),
        kept.join(", ")
    );
    if !changed.is_empty() && !kept.is_empty() && column + both.width() <= width {
        fact("changed", both, text);
        return;
    }
    if !changed.is_empty() {
        fact("changed", changed.join(", "), text);
    }
    if !kept.is_empty() {
        fact(
            "not reverted",
            format!("{} (data never is)", kept.join(", ")),
            text,
        );
    }
}

fn push_obstacle(problem: &Obstacle, text: &mut Text) {
    let mut line = Line::new()
        .plain("    ")
        .span(Role::Bad, coded(&problem.code, &problem.message));
    if let Some(place) = &problem.place {
        line = line.plain("  ").span(Role::Dim, place.to_string());
    }
    text.push(line);
    if let Some(help) = &problem.help {
        text.push(
            Line::new()
                .plain("      ")
                .span(Role::Name, "= help: ")
                .plain(help.as_str()),
        );
    }
}

fn fact(head: &str, value: impl Into<String>, text: &mut Text) {
    push_fact(head, Line::new().plain(value.into()), text, FACTS);
}

fn push_fact(head: &str, value: Line, text: &mut Text, column: usize) {
    let mut line = Line::new().plain("    ").span(Role::Dim, head).to_column(column);
    for span in value.spans() {
        line = line.span(span.role, span.text.as_str());
    }
    text.push(line);
}

fn next_step(run: &Run) -> Vec<Line> {
    let app = &run.key.app;
    let line = || Line::new().plain("  ");
    let retry = format!("`driftless retry {app}`");
    let one = match &run.end {
        End::NoChange | End::Stable { .. } | End::Superseded => return Vec::new(),
        End::Drifted { .. } => line()
            .span(Role::Name, format!("`driftless apply {app}`"))
            .plain(" puts it right."),
        End::Held { held, .. } => lifts(line().plain(held.revision.short()), app.as_str(), &retry),
        End::RolledBack(_) => {
            let revision = run.revision.as_ref().map_or("it", |revision| revision.short());
            lifts(line().plain(revision), app.as_str(), &retry)
        }
        End::Frozen(frozen) => {
            let service = frozen
                .evidence
                .first()
                .map(|evidence| format!("/{}", evidence.service))
                .unwrap_or_default();
            let logs = format!("`driftless logs {app}{service}`");
            return vec![
                line()
                    .plain("Nothing more is done by itself. ")
                    .span(Role::Name, logs)
                    .plain(" shows what it printed."),
                line()
                    .plain(format!("A commit that changes {app}, or "))
                    .span(Role::Name, retry)
                    .plain(", tries again."),
            ];
        }
        End::Failed(failure) => {
            let help = failure
                .help
                .iter()
                .map(|help| line().span(Role::Name, "= help: ").plain(help.as_str()));
            return help.chain([line().plain(after_failure(failure))]).collect();
        }
        End::Refused { problems } if problems.iter().any(|problem| problem.pre_flight) => {
            line().plain("Nothing was touched: it was found before the first change.")
        }
        End::Refused { .. } => line().plain("Nothing was touched."),
        End::Stopped { .. } => line().plain("The next run goes on from there."),
        End::StillVerifying { .. } => line().plain("The next run concludes it, or rolls it back."),
    };
    vec![one]
}

fn lifts(line: Line, app: &str, retry: &str) -> Line {
    line.plain(format!(" is held. A commit that changes {app}, or "))
        .span(Role::Name, retry)
        .plain(", lifts the hold.")
}

fn after_failure(failure: &Failure) -> String {
    let touched = if failure.touched {
        "It stopped where it stood"
    } else {
        "Nothing was touched"
    };
    let again = match (failure.retry, failure.touched) {
        (true, _) => "; the next run tries again by itself",
        (false, true) => "; the next run goes on from there",
        (false, false) => "",
    };
    format!("{touched}{again}.")
}

fn coded(code: &str, message: &str) -> String {
    if code.is_empty() {
        message.to_owned()
    } else {
        format!("[{code}] {message}")
    }
}

fn changes(count: usize) -> String {
    match count {
        0 => "nothing had to change".to_owned(),
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    }
}

fn fields_of(count: usize) -> String {
    if count == 1 {
        "1 field".to_owned()
    } else {
        format!("{count} fields")
    }
}

fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Source => "reading Git",
        Stage::Render => "rendering",
        Stage::Observe => "reading live state",
        Stage::Plan => "planning",
        Stage::PreFlight => "checking before apply",
        Stage::Apply => "applying",
        Stage::Verify => "verifying",
        Stage::Store => "writing to the store",
    }
}

/// For a pull request: one table, and the words of each failed app below it, in a fence that the words can't leave.
pub fn markdown(all: &[Run], now: &Now) -> String {
    let mut text = String::from("| App | Target | Commit | Result | Time |\n|---|---|---|---|--:|\n");
    for run in all {
        let mark = match run.exit() {
            Exit::Done => "✅",
            Exit::Differences | Exit::GaveUpWaiting | Exit::Interrupted => "🟡",
            _ => "❌",
        };
        let revision = run.revision.as_ref().map_or("–", |revision| revision.short());
        text.push_str(&format!(
            "| **{}** | {} | `{revision}` | {mark} {} | {} |\n",
            cell(run.key.app.as_str()),
            cell(&run.target),
            cell(word(&run.end)),
            span(run.took)
        ));
    }
    for bad in all.iter().filter(|run| run.exit() != Exit::Done) {
        let told = self::run(bad, now, 0).to_string();
        let fence = "`".repeat(longest_fence(&told).max(2) + 1);
        text.push_str(&format!("\n{fence}\n{told}{fence}\n"));
    }
    text
}

/// One or two words for a table.
pub fn word(end: &End) -> &'static str {
    match end {
        End::NoChange => "no changes",
        End::Stable { healed: true, .. } => "healed",
        End::Stable { .. } => "deployed",
        End::Drifted { .. } => "drifted",
        End::Held { .. } => "held",
        End::RolledBack(_) => "rolled back",
        End::Frozen(_) => "frozen",
        End::Failed(_) => "failed",
        End::Refused { .. } => "refused",
        End::Stopped { .. } => "stopped",
        End::Superseded => "superseded",
        End::StillVerifying { .. } => "verifying",
    }
}

/// Text that stays in its table cell and means nothing to a forge.
fn cell(text: &str) -> String {
    let mut safe = String::new();
    for c in super::text::visible(text).chars() {
        match c {
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '#' => safe.extend(['\\', c]),
            '<' => safe.push_str("&lt;"),
            // A word joiner keeps a forge from notifying the person or linking the number.
            '@' => safe.push_str("@\u{2060}"),
            other => safe.push(other),
        }
    }
    safe
}

fn longest_fence(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
