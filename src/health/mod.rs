//! Observed → Verdict. Pure rules: early failure, classes, patience (health-and-rollback model, `docs/health.md`).
//!
//! In: a container as it is now and what is expected of it. Out: a [`Verdict`] with its cause. Guaranteed: the same reading
//! gives the same verdict; *unknown* is never a failure. Must not: wait, ask an engine, or decide what follows.

pub mod docker;
pub mod kubernetes;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a reading says about one container, service or app. [`Verdict::rank`] orders them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does what is asked of it.
    Healthy,
    /// It was asked to be stopped or paused, and is.
    Suspended,
    /// It is on its way.
    Progressing(Cause),
    /// It is not there.
    Missing,
    /// The engine can't be asked. Never a reason to roll back.
    Unknown(Cause),
    /// It is in trouble that may pass: it fails the release when it lasts longer than the cause's patience.
    Failing(Cause),
    /// It will not become healthy by itself.
    Failed(Cause),
}

/// Why a verdict is what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    pub kind: CauseKind,
    /// One masked line with the facts: `exited with code 3, 2 times`.
    pub detail: String,
}

/// The causes that the rules know (the table in `docs/health.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// Created, not started yet.
    NotStarted,
    /// Running, its healthcheck has not passed yet.
    Starting,
    /// Running without a healthcheck, for less than the required time.
    NotLongEnough,
    /// A one-shot that still runs.
    JobRunning,
    /// The healthcheck fails.
    Unhealthy,
    /// The app's HTTP probe fails.
    ProbeFailed,
    /// It ended with a non-zero code, again and again.
    CrashLoop,
    /// It ended once with a non-zero code.
    Crashed,
    /// The kernel killed it for its memory use.
    OutOfMemory,
    /// Its command can't be run (126, 127) or the engine could not start it.
    CannotRun,
    /// A service that should keep running ended with code 0.
    EndedByItself,
    /// A one-shot ended with a non-zero code.
    JobFailed,
    /// Somebody stopped, paused or removed it from outside while it was judged.
    Foreign,
    /// The engine can't be reached.
    EngineUnreachable,
    /// Nothing moved for too long.
    NoProgress,
    /// The absolute end of waiting.
    Deadline,
    /// The image does not exist, may not be pulled, or its name is wrong.
    ImageMissing,
    /// The image can't be pulled now: the registry is slow, busy or away.
    ImagePull,
    /// A ConfigMap, a Secret or a key that the container refers to is not there.
    ConfigMissing,
    /// No node has room for it.
    Unschedulable,
    /// A quota forbids more pods.
    Quota,
    /// Admission refused it: a policy, a limit range, a webhook.
    Refused,
    /// It can't be created now, for a reason that may pass.
    NotCreated,
    /// A volume can't be attached or mounted.
    Volume,
    /// It was put off its node for using more than its own limit of disk.
    OverLimit,
    /// Its node was lost or drained, or it was evicted or preempted.
    NodeTrouble,
    /// A rollout that moves.
    RollingOut,
    /// The controller has not seen this release yet: what the status says is about an older one.
    NotObserved,
    /// It is being deleted.
    Terminating,
    /// Its own conditions say that it is not ready.
    NotReady,
    /// Its own status says that it has failed.
    SaidFailed,
}

/// What sort of trouble a cause is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// It will not heal by itself.
    Config,
    /// It may heal.
    Transient,
    /// There is no room.
    Capacity,
    /// It was not caused by this release.
    Foreign,
}

impl Cause {
    /// A cause.
    pub fn new(kind: CauseKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }
}

impl CauseKind {
    /// What sort of trouble it is.
    pub fn class(self) -> Class {
        match self {
            CauseKind::Foreign | CauseKind::EngineUnreachable | CauseKind::NodeTrouble => Class::Foreign,
            CauseKind::Unschedulable | CauseKind::Quota => Class::Capacity,
            CauseKind::ImagePull
            | CauseKind::NotCreated
            | CauseKind::Volume
            | CauseKind::RollingOut
            | CauseKind::NotObserved
            | CauseKind::Terminating
            | CauseKind::NotReady => Class::Transient,
            CauseKind::ImageMissing
            | CauseKind::ConfigMissing
            | CauseKind::Refused
            | CauseKind::OverLimit
            | CauseKind::SaidFailed => Class::Config,
            CauseKind::NotStarted
            | CauseKind::Starting
            | CauseKind::NotLongEnough
            | CauseKind::JobRunning => Class::Transient,
            CauseKind::Crashed | CauseKind::ProbeFailed | CauseKind::NoProgress | CauseKind::Deadline => {
                Class::Transient
            }
            CauseKind::Unhealthy
            | CauseKind::CrashLoop
            | CauseKind::OutOfMemory
            | CauseKind::CannotRun
            | CauseKind::EndedByItself
            | CauseKind::JobFailed => Class::Config,
        }
    }
}

impl Verdict {
    /// The cause, where there is one.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Verdict::Progressing(cause)
            | Verdict::Unknown(cause)
            | Verdict::Failing(cause)
            | Verdict::Failed(cause) => Some(cause),
            Verdict::Healthy | Verdict::Suspended | Verdict::Missing => None,
        }
    }

    /// Whether nothing more is waited for.
    pub fn settled_well(&self) -> bool {
        matches!(self, Verdict::Healthy | Verdict::Suspended)
    }

    /// One word for tables.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Healthy => "healthy",
            Verdict::Suspended => "suspended",
            Verdict::Progressing(_) => "progressing",
            Verdict::Missing => "missing",
            Verdict::Unknown(_) => "unknown",
            Verdict::Failing(_) => "failing",
            Verdict::Failed(_) => "failed",
        }
    }

    /// How bad it is, for the worst of several.
    pub fn rank(&self) -> u8 {
        match self {
            Verdict::Healthy => 0,
            Verdict::Suspended => 1,
            Verdict::Progressing(_) => 2,
            Verdict::Missing => 3,
            Verdict::Unknown(_) => 4,
            Verdict::Failing(_) => 5,
            Verdict::Failed(_) => 6,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// What is expected of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// A one-shot: healthy means exited with 0.
    pub job: bool,
    /// How long a container without a healthcheck must have run with its restart count unchanged.
    pub steady: Duration,
    /// Restart count when the judgement began.
    pub restarts_before: u64,
    /// `running`, `paused` or `stopped`.
    pub state: crate::render::model::WantedState,
}
