//! The exit codes: one enum, from which documentation and `explain` are made.
//!
//! In: how a run ended. Out: a number. Guaranteed: the numbers never change within a major version. Must not: be bypassed
//! with a bare number anywhere.

/// Every exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    Done,
    Differences,
    Usage,
    Invalid,
    Source,
    Target,
    ApplyFailed,
    RolledBack,
    NeedsHuman,
    Refused,
    GaveUpWaiting,
    Interrupted,
    Terminated,
}

impl Exit {
    /// All codes, in order.
    pub const ALL: &[Exit] = &[
        Exit::Done,
        Exit::Differences,
        Exit::Usage,
        Exit::Invalid,
        Exit::Source,
        Exit::Target,
        Exit::ApplyFailed,
        Exit::RolledBack,
        Exit::NeedsHuman,
        Exit::Refused,
        Exit::GaveUpWaiting,
        Exit::Interrupted,
        Exit::Terminated,
    ];

    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Differences => 1,
            Exit::Usage => 2,
            Exit::Invalid => 3,
            Exit::Source => 4,
            Exit::Target => 5,
            Exit::ApplyFailed => 6,
            Exit::RolledBack => 7,
            Exit::NeedsHuman => 8,
            Exit::Refused => 9,
            Exit::GaveUpWaiting => 10,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
        }
    }

    /// What it means.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "done, or no differences",
            Exit::Differences => "only: differences found (`diff`, `drift`)",
            Exit::Usage => "usage: an unknown command, option or app",
            Exit::Invalid => "the configuration or a manifest is invalid",
            Exit::Source => "source: unreachable, access refused, or a bad signature",
            Exit::Target => "target: unreachable or forbidden",
            Exit::ApplyFailed => {
                "apply failed and stopped where it stood; or pre-flight refused and nothing was touched"
            }
            Exit::RolledBack => {
                "the health gate failed, the release was rolled back, and the app is healthy again"
            }
            Exit::NeedsHuman => "the gate failed and the rollback failed or was impossible: needs a human",
            Exit::Refused => "refused: held, policy, lock, suspended, stale plan, adoption, mass delete",
            Exit::GaveUpWaiting => "gave up waiting; a daemon or the next run concludes it",
            Exit::Interrupted => "interrupted (SIGINT), at a step boundary",
            Exit::Terminated => "terminated (SIGTERM), at a step boundary",
        }
    }

    /// How bad it is, for the worst of several apps: 143 > 130 > 8 > 7 > 6 > 5 > 4 > 3 > 9 > 10 > 2 > 1 > 0 (decision 20).
    fn severity(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Differences => 1,
            Exit::Usage => 2,
            Exit::GaveUpWaiting => 3,
            Exit::Refused => 4,
            Exit::Invalid => 5,
            Exit::Source => 6,
            Exit::Target => 7,
            Exit::ApplyFailed => 8,
            Exit::RolledBack => 9,
            Exit::NeedsHuman => 10,
            Exit::Interrupted => 11,
            Exit::Terminated => 12,
        }
    }

    /// The worst of several; [`Exit::Done`] of none.
    pub fn worst(all: impl IntoIterator<Item = Exit>) -> Exit {
        all.into_iter()
            .max_by_key(|exit| exit.severity())
            .unwrap_or(Exit::Done)
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_follows_the_settled_order() {
        assert_eq!(
            Exit::worst([Exit::Refused, Exit::Invalid, Exit::Done]),
            Exit::Invalid
        );
        assert_eq!(
            Exit::worst([Exit::RolledBack, Exit::NeedsHuman]),
            Exit::NeedsHuman
        );
        assert_eq!(Exit::worst([Exit::Refused, Exit::GaveUpWaiting]), Exit::Refused);
        assert_eq!(Exit::worst([]), Exit::Done);
    }

    #[test]
    fn every_code_is_listed_once() {
        let codes: std::collections::BTreeSet<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes.len(), Exit::ALL.len());
    }
}
