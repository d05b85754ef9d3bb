//! Settled + stable releases → Decision. Pure.
//!
//! In: how a verification ended and what is known of the app. Out: a [`Decision`]. Guaranteed: a rollback goes to the newest
//! *stable stored* release and nowhere else; a rollback is never rolled back; the budget is kept. Must not: re-render, or
//! ask anything. Carrying a decision out is a run like any other, whose desired state is the stored release.

use std::time::Duration;

use crate::clock::{Timestamp, elapsed};
use crate::names::Digest;
use crate::render::app::RollbackMode;
use crate::settle::End;

/// Rollbacks of one app in one hour (decision 22).
pub const BUDGET: usize = 3;
/// The hour.
pub const BUDGET_SPAN: Duration = Duration::from_secs(3600);

/// What follows a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is stable now.
    Keep,
    /// Nothing is decided: it was stopped, or a newer commit goes first.
    Undecided,
    /// Heal what a person changed, and judge again.
    JudgeAgain { why: String },
    /// Put this release back, and hold the one that failed.
    RollBack { to: u64 },
    /// Change nothing more, hold the one that failed, and call a person.
    Freeze { why: Freeze },
}

/// Why there is no way on without a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freeze {
    /// The app's rule says so.
    Mode(RollbackMode),
    /// There has never been a stable release.
    FirstDeploy,
    /// The stable release is the one that failed.
    SameRelease,
    /// The rollback itself failed its gate.
    RollbackFailed,
    /// Too many rollbacks lately.
    Budget,
    /// The release took a step that can't be taken back: which object.
    OneWay(String),
    /// The stored release can't be brought back: its record can't be read, or its images are gone.
    NoWayBack(String),
}

impl std::fmt::Display for Freeze {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Freeze::Mode(RollbackMode::Off) => f.write_str("`rollback: off` leaves it as it is"),
            Freeze::Mode(_) => f.write_str("`rollback: notify` leaves it as it is"),
            Freeze::FirstDeploy => f.write_str("there is no stable release to go back to"),
            Freeze::SameRelease => f.write_str("the stable release is the one that failed"),
            Freeze::RollbackFailed => {
                f.write_str("the rollback failed its gate too; a rollback is never rolled back")
            }
            Freeze::Budget => write!(f, "{BUDGET} rollbacks within the last hour; more would only flap"),
            Freeze::OneWay(object) => write!(
                f,
                "{object} can't be taken back, and the old version may not live with what it did (`driftless.dev/rollback: safe` on it says that it can)"
            ),
            Freeze::NoWayBack(why) => write!(f, "no way back: {why}"),
        }
    }
}

/// What is known when a decision is taken.
#[derive(Debug, Clone)]
pub struct Situation<'a> {
    /// The release that was verified.
    pub candidate: &'a Digest,
    /// Whether it was itself a rollback.
    pub rolling_back: bool,
    /// The newest stable stored release: number and digest.
    pub stable: Option<(u64, &'a Digest)>,
    pub mode: RollbackMode,
    /// A step of the candidate that can't be taken back, such as a migration that ran to its end.
    pub one_way: Option<&'a str>,
    /// When rollbacks began lately.
    pub rollbacks: &'a [Timestamp],
    pub now: Timestamp,
}

/// Decides what follows.
pub fn decide(end: &End, situation: &Situation<'_>) -> Decision {
    match end {
        End::Healthy => Decision::Keep,
        End::Stopped => Decision::Undecided,
        End::Disturbed { service, what } => Decision::JudgeAgain {
            why: format!("{service} was {what}"),
        },
        End::Failed(_) => after_failure(situation),
    }
}

/// Decides what follows a failure, of a gate or of a step of `apply`.
pub fn after_failure(situation: &Situation<'_>) -> Decision {
    let freeze = |why| Decision::Freeze { why };
    if situation.rolling_back {
        return freeze(Freeze::RollbackFailed);
    }
    if situation.mode != RollbackMode::Auto {
        return freeze(Freeze::Mode(situation.mode));
    }
    let Some((to, digest)) = situation.stable else {
        return freeze(Freeze::FirstDeploy);
    };
    if digest == situation.candidate {
        return freeze(Freeze::SameRelease);
    }
    if let Some(object) = situation.one_way {
        return freeze(Freeze::OneWay(object.to_owned()));
    }
    let recent = situation
        .rollbacks
        .iter()
        .filter(|at| elapsed(**at, situation.now) < BUDGET_SPAN)
        .count();
    if recent >= BUDGET {
        return freeze(Freeze::Budget);
    }
    Decision::RollBack { to }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    struct Case {
        candidate: Digest,
        stable: Digest,
        rollbacks: Vec<Timestamp>,
    }

    impl Case {
        fn new() -> Self {
            Self {
                candidate: Digest::of("r1", b"new"),
                stable: Digest::of("r1", b"old"),
                rollbacks: Vec::new(),
            }
        }

        fn situation(&self) -> Situation<'_> {
            Situation {
                candidate: &self.candidate,
                rolling_back: false,
                stable: Some((4, &self.stable)),
                mode: RollbackMode::Auto,
                one_way: None,
                rollbacks: &self.rollbacks,
                now: at("2026-11-21T12:00:00Z"),
            }
        }
    }

    #[test]
    fn a_failed_release_goes_back_to_the_newest_stable_one() {
        assert_eq!(
            decide(&End::Failed(Vec::new()), &Case::new().situation()),
            Decision::RollBack { to: 4 }
        );
    }

    #[test]
    fn a_rollback_is_never_rolled_back() {
        let case = Case::new();
        let situation = Situation {
            rolling_back: true,
            ..case.situation()
        };
        assert_eq!(
            after_failure(&situation),
            Decision::Freeze {
                why: Freeze::RollbackFailed
            }
        );
    }

    #[test]
    fn the_first_deploy_has_no_way_back() {
        let case = Case::new();
        let situation = Situation {
            stable: None,
            ..case.situation()
        };
        assert_eq!(
            after_failure(&situation),
            Decision::Freeze {
                why: Freeze::FirstDeploy
            }
        );
    }

    #[test]
    fn the_fourth_rollback_in_an_hour_freezes_and_an_old_one_does_not_count() {
        let mut case = Case::new();
        case.rollbacks = vec![
            at("2026-11-21T10:30:00Z"),
            at("2026-11-21T11:10:00Z"),
            at("2026-11-21T11:20:00Z"),
        ];
        assert_eq!(after_failure(&case.situation()), Decision::RollBack { to: 4 });
        case.rollbacks.push(at("2026-11-21T11:50:00Z"));
        assert_eq!(
            after_failure(&case.situation()),
            Decision::Freeze { why: Freeze::Budget }
        );
    }

    #[test]
    fn a_release_is_not_rolled_back_to_itself() {
        let case = Case::new();
        let situation = Situation {
            stable: Some((4, &case.candidate)),
            ..case.situation()
        };
        assert_eq!(
            after_failure(&situation),
            Decision::Freeze {
                why: Freeze::SameRelease
            }
        );
    }

    #[test]
    fn a_stop_decides_nothing() {
        assert_eq!(
            decide(&End::Stopped, &Case::new().situation()),
            Decision::Undecided
        );
    }
}
