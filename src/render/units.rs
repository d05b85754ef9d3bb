//! Durations, byte sizes and CPU counts as Compose spells them.
//!
//! In: text such as `1m30s`, `512m`, `0.5`. Out: nanoseconds, bytes, billionths of a CPU. Guaranteed: the same text means
//! what it means to `docker compose` (go-str2duration, go-units); nothing overflows in silence. Must not: know keys.

use std::time::Duration;

/// Nanoseconds of a unit; longer names first where one starts with another.
const UNITS: &[(&str, i64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// Nanoseconds of a duration such as `1m30s`, `1.5h` or `2d`. `0` needs no unit; nothing is negative.
pub fn nanoseconds(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(0);
    }
    let mut total: i64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, *factor)?)?;
        rest = next;
    }
    Some(total)
}

/// A duration for our own rules.
pub fn duration(text: &str) -> Option<Duration> {
    nanoseconds(text)
        .and_then(|nanos| u64::try_from(nanos).ok())
        .map(Duration::from_nanos)
}

/// Nanoseconds as Compose prints them: `1m30s`.
pub fn show_nanoseconds(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut left = nanos;
    let mut text = String::new();
    for (unit, factor) in [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ] {
        if left >= factor {
            text.push_str(&format!("{}{unit}", left / factor));
            left %= factor;
        }
    }
    text
}

/// Bytes of a size such as `512m`, `1.5GiB`, `64kb` or `1024`; units are powers of 1024, as in Docker.
pub fn bytes(text: &str) -> Option<i64> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let factor: i64 = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if matches!(unit.as_str(), "" | "b") => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        "p" => 1 << 50,
        _ => return None,
    };
    scaled(number, factor)
}

/// Billionths of a CPU: `0.5` is 500 000 000.
pub fn nano_cpus(text: &str) -> Option<i64> {
    scaled(text.trim(), 1_000_000_000)
}

/// `number` (digits with at most one point) times `factor`, rounded down; exact, so no float is involved.
fn scaled(number: &str, factor: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Eighteen digits behind the point are more than any unit can show.
    let fraction = fraction.get(..fraction.len().min(18))?;
    let scale = 10i128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: i128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let value = whole
        .checked_mul(i128::from(factor))?
        .checked_add(fraction * i128::from(factor) / scale)?;
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_mean_what_compose_means() {
        for (text, nanos) in [
            ("10s", Some(10_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("1h", Some(3_600_000_000_000)),
            ("2d", Some(172_800_000_000_000)),
            ("100ms", Some(100_000_000)),
            ("5us", Some(5_000)),
            ("0", Some(0)),
            ("", None),
            ("10", None),
            ("-5s", None),
            ("10 s", None),
            ("ten", None),
            ("1.2.3s", None),
            ("99999999999w", None),
            ("s", None),
        ] {
            assert_eq!(nanoseconds(text), nanos, "{text:?}");
        }
        assert_eq!(show_nanoseconds(90_500_000_000), "1m30s500ms");
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, size) in [
            ("64", Some(64)),
            ("64b", Some(64)),
            ("1k", Some(1024)),
            ("1kb", Some(1024)),
            ("1KiB", Some(1024)),
            ("512m", Some(512 << 20)),
            ("1.5g", Some(3 << 29)),
            ("2 GB", Some(2 << 30)),
            ("", None),
            ("x", None),
            ("5q", None),
            ("1i", None),
            ("-1", None),
            ("9999999p", None),
        ] {
            assert_eq!(bytes(text), size, "{text:?}");
        }
    }

    #[test]
    fn cpus_are_exact() {
        assert_eq!(nano_cpus("0.1"), Some(100_000_000));
        assert_eq!(nano_cpus("1.25"), Some(1_250_000_000));
        assert_eq!(nano_cpus(".5"), Some(500_000_000));
        assert_eq!(nano_cpus("a"), None);
    }
}
