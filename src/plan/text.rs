//! A plan as people and programs read it: lines with roles, plain text, Markdown, a view for JSON.
//!
//! In: plans, and what only the caller knows (target names, ages). Out: text. Guaranteed: one line per change and field,
//! sorted and stable, columns aligned; no secret value, whatever the field. Must not: colour (roles say what a part is), or
//! know time.

use std::collections::BTreeMap;

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use crate::names::{Digest, Kind};
use crate::secret::Text;

use super::{Action, Author, Blocked, Cause, Change, FieldDiff, Moved, Phase, Plan, Strategy};

/// What a part of a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Plain,
    /// The app's line.
    Heading,
    Create,
    Update,
    Replace,
    Delete,
    Drift,
    Blocked,
    /// The name of a field.
    Field,
    From,
    To,
    /// In the place of a secret.
    Secret,
    /// Who moved: git or live.
    Moved,
    Place,
    Note,
    Summary,
}

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub role: Role,
    pub text: String,
}

/// One line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line(pub Vec<Part>);

impl Line {
    fn with(mut self, role: Role, text: impl Into<String>) -> Self {
        let text = text.into();
        if !text.is_empty() {
            self.0.push(Part { role, text });
        }
        self
    }

    fn width(&self) -> usize {
        self.0.iter().map(|part| part.text.width()).sum()
    }

    /// Spaces up to `column`, two at least once something is there.
    fn pad(self, column: usize) -> Self {
        let gap = column
            .saturating_sub(self.width())
            .max(if self.0.is_empty() { 0 } else { 2 });
        self.with(Role::Plain, " ".repeat(gap))
    }

    /// The line without roles.
    pub fn plain(&self) -> String {
        let text: String = self.0.iter().map(|part| part.text.as_str()).collect();
        text.trim_end().to_owned()
    }
}

/// The column in which values and descriptions begin.
const VALUES: usize = 25;
/// The furthest: `spec.template.spec.containers[main].image` stands before it.
const FURTHEST: usize = 54;
/// The widest value that still pushes the columns after it.
const WIDEST: usize = 48;
/// The longest text of one value.
const LONGEST: usize = 64;

/// One app's lines: its heading, changes with their fields, problems.
pub fn lines(plan: &Plan, target: &str) -> Vec<Line> {
    let shown: Vec<&Change> = plan.changes.iter().filter(|change| visible(change)).collect();
    let heading = Line::default().with(Role::Heading, format!("  {} on {target}", plan.key.app));
    if shown.is_empty() && plan.problems.is_empty() && plan.warnings.is_empty() {
        return vec![heading.with(Role::Plain, "  no changes")];
    }
    let keys = shown.iter().map(|change| 6 + key(change).width() + 2);
    let names = shown
        .iter()
        .flat_map(|change| &change.fields)
        .map(|field| 8 + field.field.width() + 2);
    let column = keys.chain(names).max().unwrap_or(VALUES).clamp(VALUES, FURTHEST);
    let values = shown
        .iter()
        .flat_map(|change| &change.fields)
        .map(|field| value(field).iter().map(|part| part.text.width()).sum());
    let after = column + values.max().unwrap_or(0_usize).min(WIDEST) + 2;
    let mut lines = vec![heading];
    for change in shown {
        let (symbol, role) = symbol(change);
        lines.push(
            Line::default()
                .with(Role::Plain, " ".repeat(5_usize.saturating_sub(symbol.len())))
                .with(role, symbol)
                .with(Role::Plain, " ")
                .with(role, key(change))
                .pad(column)
                .with(Role::Plain, describe(change)),
        );
        for field in &change.fields {
            let mut line = Line::default()
                .with(Role::Plain, "        ")
                .with(Role::Field, &field.field)
                .pad(column);
            line.0.extend(value(field));
            let mut line = line.pad(after).with(Role::Moved, moved(field.moved));
            if let Some(place) = &field.place {
                line = line
                    .pad(after + 7)
                    .with(Role::Place, format!("{}:{}", place.file, place.line));
            }
            lines.push(line);
        }
        for note in authors(change).iter().chain(&change.notes) {
            lines.push(
                Line::default()
                    .with(Role::Plain, "        ")
                    .with(Role::Note, format!("({note})")),
            );
        }
    }
    for warning in &plan.warnings {
        lines.push(
            Line::default()
                .with(Role::Plain, "    ")
                .with(Role::Drift, "warning")
                .with(Role::Plain, format!(": {warning}")),
        );
    }
    for problem in &plan.problems {
        let mut line = Line::default()
            .with(Role::Plain, "    ")
            .with(Role::Blocked, format!("error[{}]", problem.code))
            .with(Role::Plain, format!(": {}", problem.message));
        if let Some(place) = &problem.place {
            line = line.with(Role::Place, format!("  {}:{}", place.file, place.line));
        }
        lines.push(line);
        if let Some(help) = &problem.help {
            lines.push(
                Line::default()
                    .with(Role::Plain, "        ")
                    .with(Role::Note, format!("help: {help}")),
            );
        }
    }
    lines
}

/// The whole text of plans, each with its target's name, the summary included.
pub fn plan_text(plans: &[(&Plan, &str)]) -> String {
    let mut text = String::new();
    for (plan, target) in plans {
        for line in lines(plan, target) {
            text.push_str(&line.plain());
            text.push('\n');
        }
    }
    text.push_str(&summary(plans.iter().map(|(plan, _)| *plan)));
    text.push('\n');
    text
}

/// What the plans do, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub create: usize,
    pub update: usize,
    /// Of the updates and creations: those that put drift right.
    pub drift: usize,
    pub replace: usize,
    pub delete: usize,
    pub adopt: usize,
    pub blocked: usize,
    pub problems: usize,
}

/// Counts the changes of plans.
pub fn counts<'a>(plans: impl Iterator<Item = &'a Plan>) -> Counts {
    let mut counts = Counts::default();
    for plan in plans {
        counts.problems += plan.problems.len();
        for change in &plan.changes {
            match change.action {
                Action::Create | Action::Scale { .. } => counts.create += 1,
                Action::Update | Action::Heal | Action::Recreate(_) | Action::Revive | Action::Restart => {
                    counts.update += 1
                }
                Action::Replace => counts.replace += 1,
                Action::Delete => counts.delete += 1,
                Action::Adopt => counts.adopt += 1,
                Action::Blocked(_) => counts.blocked += 1,
                Action::Keep | Action::Tidy | Action::Record => {}
            }
            counts.drift += usize::from(drifted(change) && !matches!(change.action, Action::Blocked(_)));
        }
    }
    counts
}

/// The last line: `Plan p-7k2m: 1 to create, …`.
pub fn summary<'a>(plans: impl Iterator<Item = &'a Plan> + Clone) -> String {
    let counts = counts(plans.clone());
    let drift = if counts.drift > 0 {
        format!(" ({} drift)", counts.drift)
    } else {
        String::new()
    };
    let mut text = format!(
        "Plan {}: {} to create, {} to update{drift}, {} to replace, {} to delete, {} blocked",
        id(plans),
        counts.create,
        counts.update,
        counts.replace,
        counts.delete,
        counts.blocked
    );
    if counts.adopt > 0 {
        text.push_str(&format!(", {} taken over", counts.adopt));
    }
    if counts.problems > 0 {
        text.push_str(&format!("; {} in the way", counts.problems));
    }
    text.push('.');
    text
}

/// A short name for plans, from what they were decided on and what they aim at.
pub fn id<'a>(plans: impl Iterator<Item = &'a Plan>) -> String {
    let mut text = String::new();
    for plan in plans {
        text.push_str(&format!(
            "{}\n{}\n{}\n{}\n",
            plan.key.source, plan.key.app, plan.release, plan.basis
        ));
    }
    // Letters and digits that can't be mistaken for one another.
    const ALPHABET: &[u8] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let digest = Digest::of("p", text.as_bytes());
    let bytes = hex::decode(digest.short(8)).unwrap_or_default();
    let name: String = bytes
        .iter()
        .filter_map(|byte| ALPHABET.get(usize::from(byte % 32)))
        .map(|letter| char::from(*letter))
        .collect();
    format!("p-{name}")
}

/// Whether a change has anything to say to people.
fn visible(change: &Change) -> bool {
    match change.action {
        Action::Record => false,
        Action::Keep => {
            change.acts()
                || change
                    .steps
                    .iter()
                    .any(|step| matches!(step, super::Step::Await(_)))
                || change.cause == Cause::NoLongerDeclared
        }
        _ => true,
    }
}

fn drifted(change: &Change) -> bool {
    change.cause == Cause::Drifted
}

fn key(change: &Change) -> String {
    change.key.to_string()
}

fn symbol(change: &Change) -> (&'static str, Role) {
    if let Action::Blocked(why) = &change.action {
        let deletes = matches!(why, Blocked::Prune | Blocked::DeleteBudget { .. });
        return (if deletes { "-" } else { "!" }, Role::Blocked);
    }
    if drifted(change) {
        return ("!", Role::Drift);
    }
    match change.action {
        Action::Create => ("+", Role::Create),
        Action::Scale { from, to } if to > from => ("+", Role::Create),
        Action::Scale { .. } | Action::Delete => ("-", Role::Delete),
        Action::Replace => ("-/+", Role::Replace),
        Action::Adopt => ("=", Role::Plain),
        Action::Keep | Action::Tidy | Action::Record => (" ", Role::Plain),
        _ => ("~", Role::Update),
    }
}

/// What is done, and why where it is not plain from the symbol.
fn describe(change: &Change) -> String {
    let late = if change.phase == Phase::AfterBake && change.acts() {
        ", once the release is healthy"
    } else {
        ""
    };
    let with = match &change.cause {
        Cause::Follows(other) => format!(" with {other}"),
        _ => String::new(),
    };
    let what = match &change.action {
        Action::Create if drifted(change) => "removed outside Git; created again".to_owned(),
        Action::Create => String::new(),
        Action::Adopt => "taken over as it is".to_owned(),
        Action::Update => "update in place".to_owned(),
        Action::Heal if drifted(change) => "changed outside Git".to_owned(),
        Action::Heal => "put right in place".to_owned(),
        Action::Recreate(Strategy::StartFirst) => format!("recreate{with}, start-first (no fixed host port)"),
        Action::Recreate(Strategy::StopFirst { because }) => {
            format!("recreate{with}, stop-first ({because})")
        }
        Action::Scale { from, to } => format!("scale {from} -> {to}"),
        Action::Revive => "put back what was parked".to_owned(),
        Action::Replace => "replace".to_owned(),
        Action::Restart => format!("restart{with}"),
        Action::Tidy => "put away".to_owned(),
        Action::Delete => "no longer declared".to_owned(),
        Action::Keep | Action::Record => String::new(),
        Action::Blocked(why) => format!("blocked: {}", blocked(change, why)),
    };
    let rolled = matches!(change.cause, Cause::RollBack { .. }) && change.acts();
    let back = if rolled && !matches!(change.action, Action::Revive) {
        " (rollback)"
    } else {
        ""
    };
    format!("{what}{back}{late}")
}

fn blocked(change: &Change, why: &Blocked) -> String {
    match why {
        Blocked::Prune if change.key.kind == Kind::Volume => {
            "volumes go only by name (driftless explain prune)".to_owned()
        }
        Blocked::Prune => "prune is \"none\" (driftless explain prune)".to_owned(),
        Blocked::DeleteBudget { deletes, allowed } => {
            format!("{deletes} deletions at once, {allowed} allowed (driftless explain prune)")
        }
        Blocked::NotAdopted => {
            "not made by Driftless and different from Git (--adopt takes it over)".to_owned()
        }
        Blocked::OtherInstance(other) => {
            format!("belongs to Driftless instance `{other}` (driftless takeover)")
        }
        Blocked::OtherApp(other) => format!("belongs to app `{other}`"),
        Blocked::VolumeConfig => "its settings can't change without losing its data".to_owned(),
        Blocked::Other(reason) => reason.clone(),
    }
}

/// Who set what is live: once for all fields of one author.
fn authors(change: &Change) -> Vec<String> {
    let mut by: BTreeMap<&Author, Vec<&str>> = BTreeMap::new();
    for field in &change.fields {
        if let Some(author) = &field.by {
            by.entry(author).or_default().push(&field.field);
        }
    }
    let one = by.len() == 1 && by.values().all(|fields| fields.len() == change.fields.len());
    by.into_iter()
        .map(|(author, fields)| {
            let what = if one {
                String::new()
            } else {
                format!("{}: ", fields.join(", "))
            };
            let at = author.at.map_or(String::new(), |at| format!(" at {at:.0}"));
            format!("{what}set by {}{at}", author.name)
        })
        .collect()
}

fn moved(moved: Moved) -> &'static str {
    match moved {
        Moved::Git => "git",
        Moved::Live => "live",
    }
}

/// A field's values for people.
fn value(field: &FieldDiff) -> Vec<Part> {
    let part = |role, text: String| Part { role, text };
    let secret = |text: &Option<Text>| text.as_ref().is_some_and(|text| text.secret);
    match (&field.from, &field.to) {
        (from, to) if secret(from) && secret(to) => vec![part(Role::Secret, "(secret changed)".to_owned())],
        (None, Some(to)) if to.secret => vec![part(Role::Secret, "(secret set)".to_owned())],
        (Some(from), None) if from.secret => vec![part(Role::Secret, "(secret removed)".to_owned())],
        (from, to) => {
            let (from, to) = (
                from.as_ref().map(|text| quoted(field, text)),
                to.as_ref().map(|text| quoted(field, text)),
            );
            let short = match (&from, &to) {
                (Some(from), Some(to)) if field.field.rsplit('.').next() == Some("image") => {
                    tag_only(from, to)
                }
                _ => None,
            };
            vec![
                part(Role::From, cut(from.as_deref().unwrap_or("(not set)"))),
                part(Role::Plain, " -> ".to_owned()),
                part(Role::To, cut(short.or(to).as_deref().unwrap_or("(not set)"))),
            ]
        }
    }
}

/// Empty text and a restart policy of `no` are quoted: bare, one is nothing and the other is a boolean in YAML.
fn quoted(field: &FieldDiff, text: &Text) -> String {
    match text.shown() {
        "" => "\"\"".to_owned(),
        "no" if field.field == "restart" => "\"no\"".to_owned(),
        shown => shown.to_owned(),
    }
}

/// The new tag alone, when only the tag changes.
fn tag_only(from: &str, to: &str) -> Option<String> {
    let (name, tag) = to.rsplit_once(':')?;
    let (before, _) = from.rsplit_once(':')?;
    (name == before && !tag.contains('/') && !name.contains('@')).then(|| tag.to_owned())
}

/// One line of at most [`LONGEST`] characters.
fn cut(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let more = line.len() < text.trim_end().len();
    if line.chars().count() <= LONGEST && !more {
        return line.to_owned();
    }
    let kept: String = line.chars().take(LONGEST - 1).collect();
    format!("{kept}…")
}

/// A plan for `-o json`: values that are secret are masked.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    pub id: String,
    pub app: String,
    pub target: String,
    pub revision: String,
    pub release: String,
    pub basis: String,
    pub counts: Counts,
    pub changes: Vec<ChangeView>,
    pub problems: Vec<ProblemView>,
    pub warnings: Vec<String>,
    /// Images that are pulled before anything is touched.
    pub pulls: Vec<String>,
}

/// One change for programs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeView {
    pub resource: String,
    pub action: &'static str,
    pub cause: &'static str,
    pub description: String,
    pub after_bake: bool,
    /// Calls that it sends.
    pub calls: usize,
    pub fields: Vec<FieldView>,
    pub needs: Vec<String>,
    pub notes: Vec<String>,
}

/// One field for programs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldView {
    pub field: String,
    pub from: Option<String>,
    pub to: Option<String>,
    pub secret: bool,
    pub moved: &'static str,
    /// Who set what is live, and when, where the platform writes that down.
    pub by: Option<String>,
    pub at: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
}

/// One problem for programs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProblemView {
    pub code: &'static str,
    pub message: String,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub help: Option<String>,
}

/// The view of a plan.
pub fn view(plan: &Plan, target: &str) -> PlanView {
    PlanView {
        id: id(std::iter::once(plan)),
        app: plan.key.app.to_string(),
        target: target.to_owned(),
        revision: plan.revision.to_string(),
        release: plan.release.to_string(),
        basis: plan.basis.to_string(),
        counts: counts(std::iter::once(plan)),
        changes: plan.changes.iter().map(change_view).collect(),
        problems: plan
            .problems
            .iter()
            .map(|problem| ProblemView {
                code: problem.code,
                message: problem.message.clone(),
                file: problem.place.as_ref().map(|place| place.file.to_string()),
                line: problem.place.as_ref().map(|place| place.line),
                help: problem.help.clone(),
            })
            .collect(),
        warnings: plan.warnings.clone(),
        pulls: plan.preflight.pulls.iter().map(ToString::to_string).collect(),
    }
}

fn change_view(change: &Change) -> ChangeView {
    let calls = change
        .steps
        .iter()
        .filter(|step| matches!(step, super::Step::Op(_) | super::Step::Object(_)))
        .count();
    ChangeView {
        resource: key(change),
        action: match change.action {
            Action::Create => "create",
            Action::Adopt => "adopt",
            Action::Update => "update",
            Action::Heal => "heal",
            Action::Recreate(_) => "recreate",
            Action::Scale { .. } => "scale",
            Action::Revive => "revive",
            Action::Replace => "replace",
            Action::Restart => "restart",
            Action::Tidy => "tidy",
            Action::Delete => "delete",
            Action::Record => "record",
            Action::Keep => "keep",
            Action::Blocked(_) => "blocked",
        },
        cause: match change.cause {
            Cause::Unchanged => "unchanged",
            Cause::NotFound => "not-found",
            Cause::Declared(_) => "declared",
            Cause::Drifted => "drifted",
            Cause::NoLongerDeclared => "no-longer-declared",
            Cause::Follows(_) => "follows",
            Cause::RollBack { .. } => "rollback",
        },
        description: describe(change),
        after_bake: change.phase == Phase::AfterBake,
        calls,
        fields: change
            .fields
            .iter()
            .map(|field| FieldView {
                field: field.field.clone(),
                from: field.from.as_ref().map(|text| text.shown().to_owned()),
                to: field.to.as_ref().map(|text| text.shown().to_owned()),
                secret: [&field.from, &field.to]
                    .into_iter()
                    .flatten()
                    .any(|text| text.secret),
                moved: moved(field.moved),
                by: field.by.as_ref().map(|by| by.name.clone()),
                at: field.by.as_ref().and_then(|by| by.at).map(|at| at.to_string()),
                file: field.place.as_ref().map(|place| place.file.to_string()),
                line: field.place.as_ref().map(|place| place.line),
            })
            .collect(),
        needs: change.needs.iter().map(ToString::to_string).collect(),
        notes: change.notes.clone(),
    }
}

/// Plans for a pull request: the text in a block under the counts.
pub fn markdown(plans: &[(&Plan, &str)]) -> String {
    let mut text = format!(
        "**{}**\n\n```diff\n",
        summary(plans.iter().map(|(plan, _)| *plan))
    );
    for (plan, target) in plans {
        for line in lines(plan, target) {
            // `diff` blocks colour lines by their first character.
            let role = line
                .0
                .iter()
                .map(|part| part.role)
                .find(|role| !matches!(role, Role::Plain));
            let mark = match role {
                Some(Role::Create) => "+",
                Some(Role::Delete | Role::Blocked) => "-",
                Some(Role::Update | Role::Replace | Role::Drift) => "!",
                _ => " ",
            };
            // A fence in a value would end the block.
            text.push_str(&format!("{mark}{}\n", line.plain().replace("```", "'''")));
        }
    }
    text.push_str("```\n");
    text
}
