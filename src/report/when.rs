//! Times and spans as people read them.
//!
//! In: timestamps, spans, a time zone. Out: words. Guaranteed: a clock that was set back gives "just now", never nonsense.
//! Must not: ask for the time or the zone.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::clock::{Timestamp, elapsed};

/// The moment and the place that a text is made for.
#[derive(Debug, Clone)]
pub struct Now {
    pub at: Timestamp,
    pub zone: TimeZone,
}

impl Now {
    /// How long ago: `just now`, `40s ago`, `3h ago`, `12d ago`.
    pub fn ago(&self, then: Timestamp) -> String {
        match elapsed(then, self.at).as_secs() {
            0..5 => "just now".to_owned(),
            seconds @ 5..60 => format!("{seconds}s ago"),
            seconds @ 60..3600 => format!("{}m ago", seconds / 60),
            seconds @ 3600..172_800 => format!("{}h ago", seconds / 3600),
            seconds => format!("{}d ago", seconds / 86_400),
        }
    }

    /// The time of day today, else with the date: `14:02`, `Nov 20 14:02`, `2025-11-20`.
    pub fn clock(&self, then: Timestamp) -> String {
        let (then, now) = (
            then.to_zoned(self.zone.clone()),
            self.at.to_zoned(self.zone.clone()),
        );
        let form = if then.date() == now.date() {
            "%H:%M"
        } else if then.year() == now.year() {
            "%b %-d %H:%M"
        } else {
            "%Y-%m-%d"
        };
        then.strftime(form).to_string()
    }
}

/// A span: `0s`, `0.4s`, `9s`, `2m00s`, `1h05m`.
pub fn span(duration: Duration) -> String {
    let seconds = (duration.as_millis() + 500) / 1000;
    if duration.is_zero() {
        "0s".to_owned()
    } else if duration < Duration::from_millis(950) {
        format!("{:.1}s", duration.as_secs_f64().max(0.1))
    } else if seconds < 60 {
        format!("{seconds}s")
    } else if seconds < 3600 {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    } else {
        format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_in_the_golden_output() {
        let of = |millis| span(Duration::from_millis(millis));
        assert_eq!(
            [0, 20, 400, 960, 9_000, 59_600, 120_000, 3_900_000].map(of),
            ["0s", "0.1s", "0.4s", "1s", "9s", "1m00s", "2m00s", "1h05m"]
        );
    }

    #[test]
    fn times_are_short_when_they_are_near() {
        let at: Timestamp = "2026-11-21T15:00:00Z".parse().expect("a time");
        let now = Now {
            at,
            zone: TimeZone::UTC,
        };
        let of = |text: &str| text.parse::<Timestamp>().expect("a time");
        assert_eq!(now.clock(of("2026-11-21T14:02:00Z")), "14:02");
        assert_eq!(now.clock(of("2026-11-02T14:02:00Z")), "Nov 2 14:02");
        assert_eq!(now.clock(of("2025-11-02T14:02:00Z")), "2025-11-02");
        assert_eq!(now.ago(of("2026-11-21T12:00:00Z")), "3h ago");
        assert_eq!(now.ago(of("2026-11-21T15:01:00Z")), "just now");
    }
}
