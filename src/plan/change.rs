//! What a plan is made of: changes that people read, and the steps that do them.
//!
//! In: nothing. Out: [`Change`], [`Step`]. Guaranteed: every change carries its cause, also when nothing is done. Must not:
//! hold a secret where it could be shown ([`FieldDiff`] holds [`Text`]).

use std::time::Duration;

use crate::clock::Timestamp;
use crate::document::Place;
use crate::live::docker::op::{ContainerRef, Op};
use crate::live::kubernetes::op as kubernetes;
use crate::names::{Digest, ObjectKey, ResourceKey, Revision};
use crate::secret::Text;

/// What happens to one thing of an app.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub key: ResourceKey,
    pub action: Action,
    pub cause: Cause,
    /// The fields that differ, in order of their names.
    pub fields: Vec<FieldDiff>,
    /// What must be done first, within the same phase.
    pub needs: Vec<ResourceKey>,
    pub phase: Phase,
    /// In order; a failed step ends the change.
    pub steps: Vec<Step>,
    /// Remarks in the plan's text: why stop-first, what restarts, what is not checked.
    pub notes: Vec<String>,
}

impl Change {
    /// Whether it sends any call.
    pub fn acts(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Op(_) | Step::Object(_)))
    }
}

/// When a change is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Now.
    Apply,
    /// Only after the release is healthy and has baked: deletions (prune is last).
    AfterBake,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Create,
    /// Taken over as it is, untouched.
    Adopt,
    /// Changed in place: the container keeps its id.
    Update,
    /// Put back into its wanted state without a new container: started, unpaused, reconnected, renamed.
    Heal,
    /// A new container takes the place of the old one, which is parked.
    Recreate(Strategy),
    /// More or fewer containers.
    Scale {
        from: usize,
        to: usize,
    },
    /// A parked container is put back (rollback).
    Revive,
    /// A network that can't be changed: a new one takes its place.
    Replace,
    /// Stopped and started again, because something it depends on was replaced.
    Restart,
    /// Leftovers of this program are put away: containers parked for an older release, or of a run that did not finish.
    Tidy,
    Delete,
    /// The inventory in the cluster is written: bookkeeping that no plan shows.
    Record,
    /// Nothing to do.
    Keep,
    /// Must not be done; the reason and the next step are in the note.
    Blocked(Blocked),
}

/// How a container is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// The new one runs and is healthy before the old one stops.
    StartFirst,
    /// The old one stops first; `because` says what rules start-first out.
    StopFirst { because: String },
}

/// Why a change must not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// Deleting it needs `prune: all` or a command that names it.
    Prune,
    /// More deletions than the budget allows.
    DeleteBudget { deletes: usize, allowed: usize },
    /// A live object that differs and is not ours: `--adopt` takes it over (decision 16).
    NotAdopted,
    /// It bears another instance's label: `driftless takeover`.
    OtherInstance(String),
    /// Another app of this instance claims it.
    OtherApp(String),
    /// A volume's settings can't be changed without losing its data.
    VolumeConfig,
    /// Anything else, in words.
    Other(String),
}

/// Why something is done or left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    Unchanged,
    NotFound,
    /// The commit that asks for it.
    Declared(Revision),
    /// Live state was changed outside Git.
    Drifted,
    NoLongerDeclared,
    /// Something it depends on is replaced.
    Follows(ResourceKey),
    /// The release that failed.
    RollBack {
        from: Digest,
    },
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDiff {
    /// As in the manifest: `image`, `environment.KEY`, `restart`; or `state` for the container itself.
    pub field: String,
    /// Before; `None` is "not set".
    pub from: Option<Text>,
    /// After.
    pub to: Option<Text>,
    pub moved: Moved,
    /// Where the manifest writes it.
    pub place: Option<Place>,
    /// Who set what is live, where the platform writes that down.
    pub by: Option<Author>,
}

/// Who set a live field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Author {
    /// The name under which it was done: a field manager of Kubernetes, as `kubectl-edit`.
    pub name: String,
    /// When.
    pub at: Option<Timestamp>,
}

/// Who moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moved {
    Git,
    Live,
}

/// One step of a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// One API call to an engine.
    Op(Op),
    /// One API call to a cluster.
    Object(kubernetes::Op),
    /// A wait inside apply (decision 14).
    Await(Await),
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq)]
pub struct Await {
    pub condition: Condition,
    /// No progress for this long fails the step.
    pub patience: Duration,
}

/// A condition on containers or objects.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// All run and pass their healthcheck; without one, they have run for `steady` without a restart.
    Healthy {
        containers: Vec<ContainerRef>,
        service: String,
        steady: Duration,
    },
    /// All run.
    Running {
        containers: Vec<ContainerRef>,
        service: String,
    },
    /// All have exited with 0.
    Completed {
        containers: Vec<ContainerRef>,
        service: String,
    },
    /// The object is healthy by the rules of its kind: a definition is established, a job complete, a workload available.
    ObjectReady { key: ObjectKey },
    /// The object's controller has seen what was last applied.
    ObjectObserved { key: ObjectKey },
    /// The object is gone.
    ObjectGone { key: ObjectKey },
}

/// What is done, in a word or two.
pub fn verb(action: &Action) -> &'static str {
    match action {
        Action::Create => "created",
        Action::Adopt => "taken over untouched",
        Action::Update => "updated in place",
        Action::Heal => "healed",
        Action::Recreate(Strategy::StartFirst) => "recreated, start-first",
        Action::Recreate(Strategy::StopFirst { .. }) => "recreated, stop-first",
        Action::Scale { .. } => "scaled",
        Action::Revive => "put back",
        Action::Replace => "replaced",
        Action::Restart => "restarted",
        Action::Tidy => "tidied up",
        Action::Delete => "deleted",
        Action::Record => "list of the app's objects written",
        Action::Keep => "kept",
        Action::Blocked(_) => "blocked",
    }
}
