//! What a scalar means: the typing rules of the two dialects.
//!
//! In: a scalar's text and how it was quoted. Out: a [`Value`]. Guaranteed: pure, so that it can be asked again after
//! interpolation changed the text. Must not: know where the scalar stands.
//!
//! Both tools are Go programs, so both dialects follow go-yaml: `yaml.v3` for `docker compose`, `yaml.v2` (the copy in
//! sigs.k8s.io/yaml) for `kubectl`. They differ from YAML 1.2 and from each other in fewer places than their version
//! numbers suggest: old octals (`0644` = 420), underscores (`1_000`) and binary (`0b11`) are numbers in both; `yes`, `on`,
//! `y` … are booleans only for `kubectl`; sexagesimals (`1:30`) stay text in both. Timestamps too: `yaml.v3` would make a Go
//! time of `2001-12-14`, which no Compose key takes, so the text is what its author meant. `oracle.tsv` is what Go measured.

use super::node::Value;

/// Whose typing rules apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// As `docker compose config` reads it; also our own files. `!reset` and `!override` are known tags.
    Compose,
    /// As `kubectl` reads it.
    Kubectl,
}

/// How a scalar was written. Only [`Style::Plain`] text is ever anything else than a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// In single quotes.
    SingleQuoted,
    /// In double quotes.
    DoubleQuoted,
    /// A block scalar: `|` or `>`.
    Block,
}

/// The value of `raw` (after unescaping and folding) as `dialect` types it.
pub fn resolve(raw: &str, style: Style, dialect: Dialect) -> Value {
    if style != Style::Plain {
        return Value::String(raw.to_owned());
    }
    match raw {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if dialect == Dialect::Kubectl {
        match raw {
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Value::Bool(true),
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Value::Bool(false),
            _ => {}
        }
    }
    number(raw).unwrap_or_else(|| Value::String(raw.to_owned()))
}

/// go-yaml's `resolve` for text that starts like a number.
fn number(raw: &str) -> Option<Value> {
    match raw.as_bytes().first()? {
        // Here go-yaml leaves the text as it is, and Go takes single underscores between digits.
        b'.' => go_float(&between_digits(raw)?),
        b'+' | b'-' | b'0'..=b'9' => {
            // go-yaml strips every underscore before it looks, wherever it stands.
            let plain = raw.replace('_', "");
            integer(&plain).or_else(|| go_float(&plain))
        }
        _ => None,
    }
}

/// `text` without its underscores, if each stands between two digits.
fn between_digits(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let fits = (0..bytes.len())
        .filter(|at| bytes.get(*at) == Some(&b'_'))
        .all(|at| digit(at.checked_sub(1)) && digit(at.checked_add(1)));
    fits.then(|| text.replace('_', ""))
}

/// Go's `strconv.ParseInt(text, 0, 64)`, with `ParseUint` after it. What only fits an unsigned 64-bit number becomes a
/// float, as it does on its way through JSON.
fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let lower = digits.get(..2).map(str::to_ascii_lowercase);
    let (radix, digits) = match lower.as_deref() {
        Some("0x") => (16, digits.get(2..)?),
        Some("0o") => (8, digits.get(2..)?),
        Some("0b") => (2, digits.get(2..)?),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    // `from_str_radix` would take a second sign.
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    let signed = if negative {
        -i128::from(magnitude)
    } else {
        i128::from(magnitude)
    };
    match i64::try_from(signed) {
        Ok(value) => Some(Value::Int(value)),
        #[expect(
            clippy::cast_precision_loss,
            reason = "JSON readers of the platform lose it in the same way"
        )]
        Err(_) if !negative => Some(Value::Float(magnitude as f64)),
        Err(_) => None,
    }
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`, and finite: Go refuses what overflows, so it stays text.
fn go_float(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (unsigned.get(..at)?, Some(unsigned.get(at + 1..)?)),
        None => (unsigned, None),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_fits = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    if !mantissa_fits || !exponent_fits {
        return None;
    }
    text.parse::<f64>()
        .ok()
        .filter(|value| value.is_finite())
        .map(Value::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(raw: &str, dialect: Dialect) -> String {
        match resolve(raw, Style::Plain, dialect) {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => format!("bool {value}"),
            Value::Int(value) => format!("int {value}"),
            Value::Float(value) => format!("float {value}"),
            Value::String(value) => format!("text {value}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn scalars_are_typed_as_the_platforms_tool_types_them() {
        #[rustfmt::skip]
        let table: &[(&str, &str, &str)] = &[
            // text            compose              kubectl
            ("yes",            "text yes",          "bool true"),
            ("NO",             "text NO",           "bool false"),
            ("on",             "text on",           "bool true"),
            ("Off",            "text Off",          "bool false"),
            ("y",              "text y",            "bool true"),
            ("N",              "text N",            "bool false"),
            ("yEs",            "text yEs",          "text yEs"),
            ("true",           "bool true",         "bool true"),
            ("False",          "bool false",        "bool false"),
            ("tRue",           "text tRue",         "text tRue"),
            ("",               "null",              "null"),
            ("~",              "null",              "null"),
            ("null",           "null",              "null"),
            ("nil",            "text nil",          "text nil"),
            ("0644",           "int 420",           "int 420"),
            ("012",            "int 10",            "int 10"),
            ("08",             "float 8",           "float 8"),
            ("0o644",          "int 420",           "int 420"),
            ("-0o10",          "int -8",            "int -8"),
            ("0b101",          "int 5",             "int 5"),
            ("1_000",          "int 1000",          "int 1000"),
            ("1_000.5",        "float 1000.5",      "float 1000.5"),
            ("_1",             "text _1",           "text _1"),
            ("0x1F",           "int 31",            "int 31"),
            ("-0x1f",          "int -31",           "int -31"),
            ("0x",             "text 0x",           "text 0x"),
            ("0xG",            "text 0xG",          "text 0xG"),
            ("1:30",           "text 1:30",         "text 1:30"),
            ("8080:80",        "text 8080:80",      "text 8080:80"),
            ("22:22",          "text 22:22",        "text 22:22"),
            ("2001-12-14",     "text 2001-12-14",   "text 2001-12-14"),
            ("1.0",            "float 1",           "float 1"),
            ("1.",             "float 1",           "float 1"),
            (".5",             "float 0.5",         "float 0.5"),
            (".",              "text .",            "text ."),
            ("1.2.3",          "text 1.2.3",        "text 1.2.3"),
            ("1e3",            "float 1000",        "float 1000"),
            ("1e",             "text 1e",           "text 1e"),
            ("1e999",          "text 1e999",        "text 1e999"),
            ("+1",             "int 1",             "int 1"),
            ("+-1",            "text +-1",          "text +-1"),
            ("-",              "text -",            "text -"),
            ("--1",            "text --1",          "text --1"),
            ("0",              "int 0",             "int 0"),
            ("-0",             "int 0",             "int 0"),
            ("9223372036854775807",  "int 9223372036854775807",  "int 9223372036854775807"),
            ("-9223372036854775808", "int -9223372036854775808", "int -9223372036854775808"),
            ("18446744073709551615", "float 18446744073709552000", "float 18446744073709552000"),
            ("99999999999999999999", "float 100000000000000000000", "float 100000000000000000000"),
            (".inf",           "float inf",         "float inf"),
            ("inf",            "text inf",          "text inf"),
            ("NaN",            "text NaN",          "text NaN"),
            ("0x1p4",          "text 0x1p4",        "text 0x1p4"),
            ("٣",              "text ٣",            "text ٣"),
        ];
        for (raw, compose, kubectl) in table {
            assert_eq!(shown(raw, Dialect::Compose), *compose, "{raw:?} for compose");
            assert_eq!(shown(raw, Dialect::Kubectl), *kubectl, "{raw:?} for kubectl");
        }
    }

    #[test]
    fn quoted_text_is_always_a_string() {
        for style in [Style::SingleQuoted, Style::DoubleQuoted, Style::Block] {
            for raw in ["yes", "1", "", "null", "0x1F"] {
                assert_eq!(
                    resolve(raw, style, Dialect::Kubectl),
                    Value::String(raw.to_owned())
                );
            }
        }
    }

    /// Numbers compare as numbers; JSON, the last column, writes whole floats as integers.
    fn comparable(text: &str, json: bool) -> String {
        match text
            .strip_prefix("float ")
            .and_then(|number| number.parse::<f64>().ok())
        {
            Some(number) if json && number.fract() == 0.0 && number.abs() < 9.2e18 => {
                format!("int {number:.0}")
            }
            Some(number) => format!("float {number:e}"),
            None => text.to_owned(),
        }
    }

    #[test]
    fn scalars_are_typed_as_go_measured_them() {
        for line in include_str!("oracle.tsv")
            .lines()
            .filter(|line| !line.starts_with('#'))
        {
            let [raw, compose, kubectl] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("{line:?}")
            };
            assert_eq!(
                comparable(&shown(raw, Dialect::Compose), false),
                comparable(compose, false),
                "{raw:?} for compose"
            );
            assert_eq!(
                comparable(&shown(raw, Dialect::Kubectl), true),
                comparable(kubectl, true),
                "{raw:?} for kubectl"
            );
        }
    }
}
