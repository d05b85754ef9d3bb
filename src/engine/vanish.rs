//! What becomes of an app that Git no longer has (decision 25). Pure.
//!
//! In: how often and for how long it was not there, and how many others are gone. Out: a [`Fate`]. Guaranteed: nothing is
//! taken down on one look, soon, or together with many others; an emptied repository takes nothing down. Must not: count.

use std::time::Duration;

/// Successful looks at the source that did not show it.
pub(super) const FETCHES: u32 = 2;

/// What one source shows of the apps that the store knows.
pub(super) struct Census {
    /// Apps of the source that own something.
    pub known: usize,
    /// Those of them that are gone.
    pub absent: usize,
    /// Apps that the source has.
    pub present: usize,
    /// Whether the source holds something that could not be read, and that may be one of the absent ones.
    pub uncertain: bool,
}

/// What becomes of an absent app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Not proven: not even counted.
    Unknown,
    /// Counted; not yet.
    Wait,
    /// More than one app in four is gone: a person decides.
    TooMany,
    Down,
}

/// Decides for an app that `fetches` looks in a row did not show, since `gone_for`.
pub(super) fn fate(census: &Census, fetches: u32, gone_for: Duration, after: Duration) -> Fate {
    if census.present == 0 || census.uncertain {
        return Fate::Unknown;
    }
    if fetches < FETCHES || gone_for < after {
        return Fate::Wait;
    }
    if census.absent.saturating_mul(4) > census.known {
        return Fate::TooMany;
    }
    Fate::Down
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(600);

    fn of(known: usize, absent: usize, present: usize) -> Census {
        Census {
            known,
            absent,
            present,
            uncertain: false,
        }
    }

    #[test]
    fn an_emptied_repository_takes_nothing_down() {
        assert_eq!(fate(&of(8, 8, 0), 99, AFTER * 99, AFTER), Fate::Unknown);
    }

    #[test]
    fn what_could_not_be_read_may_be_the_app_that_is_missing() {
        let census = Census {
            uncertain: true,
            ..of(8, 1, 7)
        };
        assert_eq!(fate(&census, 99, AFTER * 99, AFTER), Fate::Unknown);
    }

    #[test]
    fn one_look_or_a_short_time_is_no_proof() {
        assert_eq!(fate(&of(8, 1, 7), 1, AFTER * 9, AFTER), Fate::Wait);
        assert_eq!(
            fate(&of(8, 1, 7), 9, AFTER - Duration::from_secs(1), AFTER),
            Fate::Wait
        );
        assert_eq!(fate(&of(8, 1, 7), 2, AFTER, AFTER), Fate::Down);
    }

    #[test]
    fn more_than_one_app_in_four_is_a_persons_decision() {
        assert_eq!(fate(&of(4, 1, 3), 2, AFTER, AFTER), Fate::Down);
        assert_eq!(fate(&of(3, 1, 2), 2, AFTER, AFTER), Fate::TooMany);
        assert_eq!(fate(&of(8, 2, 6), 2, AFTER, AFTER), Fate::Down);
        assert_eq!(fate(&of(8, 3, 5), 2, AFTER, AFTER), Fate::TooMany);
    }
}
