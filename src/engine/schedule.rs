//! When an app runs next, and when a source is asked next. Pure.
//!
//! In: how a run ended, how often in a row it failed, a number between 0 and 1 as the dice. Out: a [`NextRun`], a duration.
//! Guaranteed: what can end by itself is tried again, later and later, never all at the same moment; what only a commit
//! or a person can end is looked at slowly. Must not: read a clock or throw the dice itself.

use std::time::Duration;

use crate::report::{End, Run, Stage};

/// The longest wait after failures.
pub const LONGEST: Duration = Duration::from_secs(5 * 60);
/// The longest wait while the engine does not answer: asking costs one call, and it shall be back soon after the engine is.
pub const LONGEST_AWAY: Duration = Duration::from_secs(30);
/// The first wait after a failure, before the dice.
const FIRST: Duration = Duration::from_secs(2);
/// No wait is shorter, so that a full jitter never becomes a hot loop.
const SHORTEST: Duration = Duration::from_millis(250);

/// When an app is due again, unless a commit comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextRun {
    /// With the next tick of its interval.
    Tick,
    /// At once: it was ended so that something else could go first.
    Now,
    /// It may succeed by itself: within this time.
    Retry { within: Duration },
    /// Only a commit or a person can change it: looked at again slowly, in case the world changed instead.
    OnChange,
    /// The process ends.
    Never,
}

/// When an app runs next after `run`, which was failure number `failures` in a row (0: it was none).
pub fn next_run(run: &Run, failures: u32) -> NextRun {
    match &run.end {
        End::NoChange
        | End::Stable { .. }
        | End::Drifted { .. }
        | End::Held { .. }
        | End::RolledBack(_)
        | End::Frozen(_) => NextRun::Tick,
        End::Superseded | End::StillVerifying { .. } => NextRun::Now,
        End::Stopped { .. } => NextRun::Never,
        End::Failed(failure) if failure.retry => {
            let longest = if failure.stage == Stage::Observe && !failure.touched {
                LONGEST_AWAY
            } else {
                LONGEST
            };
            NextRun::Retry {
                within: doubled(FIRST, failures, longest),
            }
        }
        // A suspended app is looked at with every tick, so that it goes on soon after its time is over.
        End::Refused { problems } if problems.iter().all(|problem| problem.code == "E0610") => NextRun::Tick,
        // Another process works there: it may end, and then this one goes on.
        End::Refused { problems } if problems.iter().all(|problem| problem.code == "E0613") => {
            NextRun::Retry {
                within: doubled(FIRST, failures, LONGEST_AWAY),
            }
        }
        End::Failed(_) | End::Refused { .. } => NextRun::OnChange,
    }
}

/// Whether a run counts as a failure for the back-off.
pub fn is_failure(run: &Run) -> bool {
    match &run.end {
        End::Failed(_) => true,
        End::Refused { problems } => !problems.iter().all(|problem| problem.code == "E0610"),
        _ => false,
    }
}

impl NextRun {
    /// The wait, for an app that is looked at every `interval`; `None`: never.
    pub fn delay(self, interval: Duration, dice: f64) -> Option<Duration> {
        match self {
            NextRun::Tick => Some(tick(interval, dice)),
            NextRun::Now => Some(Duration::ZERO),
            NextRun::Retry { within } => Some(jittered(within, dice)),
            NextRun::OnChange => Some(tick(interval.max(LONGEST), dice)),
            NextRun::Never => None,
        }
    }
}

/// A look at an app, at most `interval` after the last one and up to a fifth earlier: fifty apps do not look together.
pub fn tick(interval: Duration, dice: f64) -> Duration {
    interval.mul_f64(0.8 + 0.2 * dice.clamp(0.0, 1.0))
}

/// A poll of a source: `interval` ±10 %.
pub fn poll(interval: Duration, dice: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * dice.clamp(0.0, 1.0))
}

/// A poll of a source that failed `failures` times in a row. A repository on this machine costs nothing to look at, so it
/// is not backed off from.
pub fn poll_again(interval: Duration, failures: u32, local: bool, dice: f64) -> Duration {
    if local || failures == 0 {
        return poll(interval, dice);
    }
    let longest = interval.max(LONGEST);
    // Half of it is certain: a server that is in trouble is not asked more often than one that is well.
    let bound = doubled(interval, failures, longest);
    bound / 2 + jittered(bound / 2, dice)
}

/// Full jitter: anywhere up to `bound`.
fn jittered(bound: Duration, dice: f64) -> Duration {
    bound.mul_f64(dice.clamp(0.0, 1.0)).max(SHORTEST.min(bound))
}

/// `first` doubled with every failure after the first, at most `longest`.
fn doubled(first: Duration, failures: u32, longest: Duration) -> Duration {
    let factor = 1u32
        .checked_shl(failures.saturating_sub(1).min(20))
        .unwrap_or(u32::MAX);
    first.checked_mul(factor).unwrap_or(longest).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::names::{AppKey, RunId};
    use crate::report::{Failure, Obstacle, Trigger};

    fn run(end: End) -> Run {
        Run {
            id: RunId::read_back("r-1"),
            key: AppKey {
                source: "s".try_into().expect("name"),
                app: "web".try_into().expect("name"),
            },
            target: "docker:here".to_owned(),
            trigger: Trigger::Tick,
            started: Timestamp::from_second(1_790_000_000).expect("a time"),
            took: Duration::ZERO,
            revision: None,
            subject: String::new(),
            release: None,
            end,
            changes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn failed(stage: Stage, retry: bool) -> Run {
        run(End::Failed(Failure {
            stage,
            code: "E0501".to_owned(),
            message: "no".to_owned(),
            place: None,
            help: None,
            retry,
            touched: false,
        }))
    }

    #[test]
    fn back_off_doubles_up_to_its_cap() {
        let within = |failures, stage| match next_run(&failed(stage, true), failures) {
            NextRun::Retry { within } => within.as_secs(),
            other => panic!("{other:?}"),
        };
        let apply: Vec<u64> = (1..=10).map(|failures| within(failures, Stage::Apply)).collect();
        assert_eq!(apply, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(within(u32::MAX, Stage::Apply), 300);
        assert_eq!(
            within(10, Stage::Observe),
            30,
            "an engine that is back is found within half a minute"
        );
    }

    #[test]
    fn jitter_spreads_over_the_whole_wait_and_is_never_a_hot_loop() {
        let bound = NextRun::Retry {
            within: Duration::from_secs(8),
        };
        let minute = Duration::from_secs(60);
        assert_eq!(bound.delay(minute, 0.0), Some(SHORTEST));
        assert_eq!(bound.delay(minute, 0.5), Some(Duration::from_secs(4)));
        assert_eq!(bound.delay(minute, 1.0), Some(Duration::from_secs(8)));
        assert_eq!(poll(minute, 0.0), Duration::from_secs(54));
        assert_eq!(poll(minute, 1.0), Duration::from_secs(66));
        assert_eq!(tick(minute, 1.0), minute);
    }

    #[test]
    fn what_only_a_commit_can_end_waits_for_one() {
        assert_eq!(next_run(&failed(Stage::PreFlight, false), 1), NextRun::OnChange);
        let obstacle = |code: &str| {
            run(End::Refused {
                problems: vec![Obstacle {
                    code: code.to_owned(),
                    message: String::new(),
                    place: None,
                    help: None,
                    pre_flight: false,
                }],
            })
        };
        assert_eq!(next_run(&obstacle("E0606"), 1), NextRun::OnChange);
        assert_eq!(next_run(&obstacle("E0610"), 0), NextRun::Tick);
        assert!(!is_failure(&obstacle("E0610")));
        assert_eq!(
            next_run(&run(End::Stopped { stood: String::new() }), 0),
            NextRun::Never
        );
        assert_eq!(next_run(&run(End::Superseded), 0), NextRun::Now);
    }

    #[test]
    fn a_source_in_trouble_is_asked_less_and_less() {
        let minute = Duration::from_secs(60);
        assert_eq!(poll_again(minute, 1, false, 1.0), minute);
        assert_eq!(poll_again(minute, 2, false, 1.0), minute * 2);
        assert_eq!(poll_again(minute, 9, false, 1.0), LONGEST);
        assert_eq!(poll_again(minute, 9, false, 0.0).as_secs(), 150);
        assert_eq!(poll_again(minute, 9, true, 1.0), Duration::from_secs(66));
    }
}
