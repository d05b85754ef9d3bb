//! Plan → ApprovedPlan: the only way to `apply`.
//!
//! In: a [`Plan`] and what the caller may do. Out: an [`ApprovedPlan`], whose fields nobody else can make, or a
//! [`Refusal`]. Guaranteed: a plan with a problem, with a blocked change that must not be skipped, or with host take-over
//! that nobody allowed is never applied. Must not: look at the world again.

pub mod host;

use crate::plan::{Action, Blocked, Change, Plan, Problem, ProblemKind};
use crate::render::Project;

/// A plan that may be applied.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovedPlan(Plan);

impl ApprovedPlan {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.0
    }
}

/// Who asks, and what the operator allowed for this app.
#[derive(Debug, Clone, Default)]
pub struct Permit {
    /// True for `serve`: host take-over is denied unless allowed; a person's command line is only warned.
    pub unattended: bool,
    /// Host take-over that the operator allowed for this app in `config.yaml`, by its names in [`host::Reach`].
    pub allowed: Vec<String>,
}

/// Why a plan is not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Everything that is in the way, worst first.
    pub problems: Vec<Problem>,
}

impl Refusal {
    /// The kind that decides the exit code: the worst of all.
    pub fn kind(&self) -> ProblemKind {
        self.problems
            .iter()
            .map(|problem| problem.kind)
            .max()
            .unwrap_or(ProblemKind::Refused)
    }
}

/// Judges `plan` for `project`.
pub fn judge(plan: Plan, project: Option<&Project>, permit: &Permit) -> Result<ApprovedPlan, Refusal> {
    let mut problems = plan.problems.clone();
    problems.extend(plan.changes.iter().filter_map(|change| match &change.action {
        Action::Blocked(blocked) => refuse(blocked, change, plan.key.app.as_str()),
        _ => None,
    }));
    if let (true, Some(project)) = (permit.unattended, project) {
        problems.extend(host::denied(project, &permit.allowed, &plan.key));
    }
    if problems.is_empty() {
        return Ok(ApprovedPlan(plan));
    }
    problems.sort_by_key(|problem| std::cmp::Reverse(problem.kind));
    Err(Refusal { problems })
}

/// What a blocked change means for the whole plan. A deletion that is not allowed is only left out: the plan says so, and
/// everything else goes on.
fn refuse(blocked: &Blocked, change: &Change, app: &str) -> Option<Problem> {
    let what = &change.key;
    let (code, message, help) = match blocked {
        Blocked::Prune | Blocked::DeleteBudget { .. } => return None,
        Blocked::NotAdopted => (
            "E0603",
            match change.notes.as_slice() {
                [] => format!("{what} exists already, was not made by Driftless and differs from Git"),
                notes => format!(
                    "{what} exists already and was not made by Driftless: {}",
                    notes.join("; ")
                ),
            },
            format!(
                "`driftless plan {app} --adopt` shows what would change; `driftless apply {app} --adopt` takes it over"
            ),
        ),
        Blocked::OtherInstance(other) => (
            "E0604",
            format!("{what} belongs to the Driftless instance `{other}`"),
            format!("if that instance is gone for good: `driftless takeover {app}`"),
        ),
        Blocked::OtherApp(other) => (
            "E0605",
            format!("{what} belongs to the app `{other}`"),
            "give one of the two apps another project name (top-level `name:` in its Compose file)"
                .to_owned(),
        ),
        Blocked::VolumeConfig => (
            "E0606",
            format!("{what} can't be changed without losing its data"),
            "declare a volume with a new name and move the data, or put the old settings back".to_owned(),
        ),
        Blocked::Other(reason) => (
            "E0607",
            format!("{what}: {reason}"),
            "driftless explain E0607".to_owned(),
        ),
    };
    Some(Problem {
        code,
        message,
        place: None,
        help: Some(help),
        kind: ProblemKind::Refused,
    })
}
