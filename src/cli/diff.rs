//! `driftless diff`: the plan as a unified diff.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use similar::TextDiff;

use super::args::Format;
use super::planned::{Plans, acts};
use super::session::block_on;
use super::style;
use super::{CommandError, Context};
use crate::engine::look::{desired_of, mask_of};
use crate::plan::{Change, Moved};
use crate::render::{Desired, bundle_yaml, compose_yaml};
use crate::report::Exit;
use crate::report::text::{Role, visible};

use super::args::Scope;

/// Shows the difference between live state and Git as a unified diff
///
/// The same comparison as `plan`, in the form that review tools know. Secrets are masked on both sides.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The apps to compare [default: all]
    #[arg(value_name = "APP")]
    pub apps: Vec<String>,
    /// Compare the files of a folder as they are, committed or not, instead of a commit
    #[arg(long, value_name = "DIR", conflicts_with_all = ["repo", "reference"])]
    pub local: Option<PathBuf>,
    #[command(flatten)]
    pub scope: Scope,
}

pub const EXAMPLES: &str = "\
driftless diff                 # exit code 1 when anything differs
driftless diff web --ref v1.9
driftless diff | delta";

/// One app's difference.
struct Difference {
    app: String,
    text: String,
}

/// Runs the verb.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit, CommandError> {
    block_on(async {
        let (_, plans) = Plans::read(context, "diff", &args.apps, args.local.as_deref(), &args.scope).await?;
        let differing: Vec<Difference> = plans
            .planned
            .iter()
            .filter(|planned| acts(planned))
            .map(difference)
            .collect();
        let output = &context.output;
        match output.format {
            Format::Json | Format::Yaml => {
                let items: Vec<_> = differing
                    .iter()
                    .map(|one| serde_json::json!({ "app": one.app, "diff": one.text }))
                    .collect();
                output.value("DiffList", &serde_json::json!({ "items": items }))?;
            }
            Format::Name => differing
                .iter()
                .for_each(|one| output.result(&format!("{}\n", one.app))),
            Format::Markdown => {
                for one in &differing {
                    output.result(&format!("**{}**\n\n````diff\n{}````\n\n", one.app, one.text));
                }
            }
            Format::Table | Format::Wide => differing
                .iter()
                .for_each(|one| output.result(&painted(&one.text, output.color()))),
        }
        plans.say_broken(output);
        let found = if differing.is_empty() {
            Exit::Done
        } else {
            Exit::Differences
        };
        Ok(Exit::worst([plans.broken_exit(), found]))
    })
}

fn manifest(desired: &Desired) -> String {
    match &desired.bundle {
        Some(bundle) => bundle_yaml(bundle),
        None => compose_yaml(&desired.project),
    }
}

/// From what should run now, as live state has changed it, to what Git wants; both masked.
fn difference(planned: &super::planned::Planned) -> Difference {
    let app = planned.app.name.to_string();
    let desired = &planned.turn.desired;
    let before = planned.look.effective.as_ref();
    let mask = desired.mask.union(&before.map(mask_of).unwrap_or_default());
    let old = before
        .map(|record| mask.clean(&manifest(&desired_of(record))))
        .unwrap_or_default();
    let new = mask.clean(&manifest(desired));
    let mut text = TextDiff::from_lines(&old, &new)
        .unified_diff()
        .context_radius(3)
        .header(&format!("live/{app}"), &format!("git/{app}"))
        .to_string();
    // What live state moved is in no manifest: each field as a hunk of its own.
    let moved = planned
        .look
        .git
        .changes
        .iter()
        .filter(|change| change.acts() || !change.fields.is_empty());
    let hunks: Vec<String> = moved.filter_map(hunk).collect();
    if !hunks.is_empty() {
        if text.is_empty() {
            text = format!("--- live/{app}\n+++ git/{app}\n");
        }
        text.push_str(&hunks.concat());
    }
    Difference {
        app,
        text: text.lines().map(|line| format!("{}\n", visible(line))).collect(),
    }
}

fn hunk(change: &Change) -> Option<String> {
    let fields: Vec<_> = change
        .fields
        .iter()
        .filter(|field| field.moved == Moved::Live)
        .collect();
    if fields.is_empty() {
        return None;
    }
    let side = |sign: char, value: &Option<crate::secret::Text>, field: &str| {
        let first = value
            .as_ref()
            .map(|value| value.shown().lines().next().unwrap_or_default().to_owned());
        first
            .map(|value| format!("{sign}{field}: {value}\n"))
            .unwrap_or_default()
    };
    let lines: Vec<(String, String)> = fields
        .iter()
        .map(|field| {
            (
                side('-', &field.from, &field.field),
                side('+', &field.to, &field.field),
            )
        })
        .collect();
    let count = |sides: Vec<&String>| sides.iter().filter(|side| !side.is_empty()).count();
    let (old, new) = (
        count(lines.iter().map(|(old, _)| old).collect()),
        count(lines.iter().map(|(_, new)| new).collect()),
    );
    let body: String = lines.into_iter().map(|(old, new)| old + &new).collect();
    Some(format!(
        "@@ -1,{old} +1,{new} @@ {} changed outside Git\n{body}",
        change.key
    ))
}

fn painted(text: &str, color: bool) -> String {
    text.lines()
        .map(|line| {
            let role = match line.as_bytes() {
                [b'-', b'-', b'-', ..] | [b'+', b'+', b'+', ..] => Role::Strong,
                [b'-', ..] => Role::Remove,
                [b'+', ..] => Role::Add,
                [b'@', ..] => Role::Name,
                _ => Role::Plain,
            };
            format!("{}\n", style::word(role, line, color))
        })
        .collect()
}
