//! `$VAR`, `${VAR}`, `${VAR:-default}` and so on, as Compose reads them.
//!
//! In: text and [`Variables`]. Out: the text with every expression replaced, and whether any value came from outside the
//! commit. Guaranteed: defaults nest; only the branch that is taken is evaluated; an undefined variable without a default
//! is a fault, never a silent blank (decision 11); no input panics or recurses without bound. Must not: read the
//! environment of this process.

use std::collections::BTreeMap;

/// Nesting of defaults beyond which an expression is refused.
const DEPTH: usize = 32;

/// One value that may be interpolated.
#[derive(Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its value.
    pub value: String,
    /// Whether it came from outside the commit, so that what it goes into is secret (decision 5).
    pub outside: bool,
}

/// The values that may be interpolated, by name.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, Variable>);

impl Variables {
    /// Sets `name`; the last one wins.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>, outside: bool) {
        self.0.insert(
            name.into(),
            Variable {
                value: value.into(),
                outside,
            },
        );
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Variable> {
        self.0.get(name)
    }

    /// All names, for "did you mean".
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Text after interpolation.
#[derive(Clone, PartialEq, Eq)]
pub struct Interpolated {
    /// The text.
    pub text: String,
    /// Whether a value from outside the commit went in.
    pub outside: bool,
}

/// Why a text can't be interpolated. `at` is the byte range of the expression in the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No value and no default.
    #[error("variable `{name}` is not defined")]
    Undefined {
        name: String,
        at: std::ops::Range<usize>,
    },
    /// `${VAR:?message}` without a value.
    #[error("required variable `{name}` is not set{}", if message.is_empty() { String::new() } else { format!(": {message}") })]
    Required {
        name: String,
        message: String,
        at: std::ops::Range<usize>,
    },
    /// Not an expression.
    #[error("invalid interpolation: {why}")]
    Syntax {
        why: &'static str,
        at: std::ops::Range<usize>,
    },
}

impl Fault {
    /// The byte range of the expression in the text that was interpolated.
    pub fn at(&self) -> std::ops::Range<usize> {
        match self {
            Fault::Undefined { at, .. } | Fault::Required { at, .. } | Fault::Syntax { at, .. } => at.clone(),
        }
    }
}

/// Whether `text` has anything to replace.
pub fn needed(text: &str) -> bool {
    text.contains('$')
}

/// `text` with every expression replaced.
pub fn interpolate(text: &str, variables: &Variables) -> Result<Interpolated, Fault> {
    let mut done = Interpolated {
        text: String::with_capacity(text.len()),
        outside: false,
    };
    expand(text, 0, variables, &mut done, DEPTH)?;
    Ok(done)
}

fn expand(
    text: &str,
    base: usize,
    variables: &Variables,
    done: &mut Interpolated,
    depth: usize,
) -> Result<(), Fault> {
    let mut position = 0;
    while let Some(found) = text.get(position..).and_then(|rest| rest.find('$')) {
        let dollar = position + found;
        done.text.push_str(text.get(position..dollar).unwrap_or_default());
        let rest = text.get(dollar + 1..).unwrap_or_default();
        let name_length = name_length(rest);
        position = match rest.as_bytes().first() {
            Some(b'$') => {
                done.text.push('$');
                dollar + 2
            }
            Some(b'{') => {
                let at = |end: usize| base + dollar..base + end;
                let Some(end) = closing_brace(rest) else {
                    return Err(Fault::Syntax {
                        why: "`${` is not closed",
                        at: at(text.len()),
                    });
                };
                let inner = rest.get(1..end).unwrap_or_default();
                let end = dollar + 1 + end + 1;
                braced(inner, base + dollar + 2, &at(end), variables, done, depth)?;
                end
            }
            Some(_) if name_length > 0 => {
                let name = rest.get(..name_length).unwrap_or_default();
                let end = dollar + 1 + name_length;
                let Some(variable) = variables.get(name) else {
                    return Err(Fault::Undefined {
                        name: name.to_owned(),
                        at: base + dollar..base + end,
                    });
                };
                put(variable, done);
                end
            }
            // A `$` before anything else stands for itself, as in Compose.
            _ => {
                done.text.push('$');
                dollar + 1
            }
        };
    }
    done.text.push_str(text.get(position..).unwrap_or_default());
    Ok(())
}

fn put(variable: &Variable, done: &mut Interpolated) {
    done.text.push_str(&variable.value);
    done.outside |= variable.outside;
}

fn braced(
    inner: &str,
    base: usize,
    at: &std::ops::Range<usize>,
    variables: &Variables,
    done: &mut Interpolated,
    depth: usize,
) -> Result<(), Fault> {
    let length = name_length(inner);
    let (name, rest) = inner.split_at(length);
    if name.is_empty() {
        return Err(Fault::Syntax {
            why: "a variable name is expected after `${`",
            at: at.clone(),
        });
    }
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Fault::Syntax {
            why: "defaults are nested too deeply",
            at: at.clone(),
        });
    };
    let (colon, operator) = match rest.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let word = operator.get(1..).unwrap_or_default();
    let word_base = base + length + usize::from(colon) + 1;
    let variable = variables.get(name);
    let filled = variable.filter(|variable| !colon || !variable.value.is_empty());
    match (operator.as_bytes().first(), filled) {
        (None, _) if colon => Err(Fault::Syntax {
            why: "an operator is expected after `:`",
            at: at.clone(),
        }),
        (None, Some(variable)) | (Some(b'-' | b'?'), Some(variable)) => {
            put(variable, done);
            Ok(())
        }
        (None, None) => Err(Fault::Undefined {
            name: name.to_owned(),
            at: at.clone(),
        }),
        (Some(b'-'), None) => expand(word, word_base, variables, done, depth),
        (Some(b'+'), Some(variable)) => {
            done.outside |= variable.outside;
            expand(word, word_base, variables, done, depth)
        }
        (Some(b'+'), None) => Ok(()),
        (Some(b'?'), None) => {
            let mut message = Interpolated {
                text: String::new(),
                outside: false,
            };
            // A message that can't be interpolated, or that would show an outside value, is shown as it is written.
            if expand(word, word_base, variables, &mut message, depth).is_err() || message.outside {
                message.text = word.to_owned();
            }
            Err(Fault::Required {
                name: name.to_owned(),
                message: message.text,
                at: at.clone(),
            })
        }
        _ => Err(Fault::Syntax {
            why: "after the name only `:-`, `-`, `:?`, `?`, `:+` and `+` are known",
            at: at.clone(),
        }),
    }
}

/// How many bytes of `text` are a variable name.
fn name_length(text: &str) -> usize {
    if !text.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic()) {
        return 0;
    }
    text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric())
        .unwrap_or(text.len())
}

/// Where the brace that `text` starts with is closed. Every inner brace counts, as in Compose.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => {
                open = open.checked_sub(1)?;
                if open == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let mut variables = Variables::default();
        variables.set("SET", "value", false);
        variables.set("EMPTY", "", false);
        variables.set("PASS", "hunter22", true);
        variables.set("RAW", "a$SET", false);
        variables
    }

    #[test]
    fn every_form_means_what_compose_means() {
        for (text, result) in [
            ("plain", Some("plain")),
            ("$SET", Some("value")),
            ("${SET}", Some("value")),
            ("a${SET}b", Some("avalueb")),
            ("$SET.x", Some("value.x")),
            ("$$SET", Some("$SET")),
            ("$${SET}", Some("${SET}")),
            ("$$$SET", Some("$value")),
            ("$1", Some("$1")),
            ("cost 5$", Some("cost 5$")),
            ("$ x", Some("$ x")),
            ("$NONE", None),
            ("${NONE}", None),
            ("${NONE-}", Some("")),
            ("${NONE:-d}", Some("d")),
            ("${NONE-d}", Some("d")),
            ("${EMPTY}", Some("")),
            ("${EMPTY:-d}", Some("d")),
            ("${EMPTY-d}", Some("")),
            ("${SET:-d}", Some("value")),
            ("${SET:+alt}", Some("alt")),
            ("${SET+alt}", Some("alt")),
            ("${EMPTY:+alt}", Some("")),
            ("${EMPTY+alt}", Some("alt")),
            ("${NONE:+alt}", Some("")),
            ("${NONE:?}", None),
            ("${EMPTY:?}", None),
            ("${EMPTY?}", Some("")),
            ("${SET:?needed}", Some("value")),
            ("${NONE:-${SET}}", Some("value")),
            ("${NONE:-a${NONE:-b${NONE:-c}}}", Some("abc")),
            ("${SET:-${NONE}}", Some("value")),
            ("${NONE:-${NONE}}", None),
            ("${NONE:-{}}x", Some("{}x")),
            ("${NONE:-http://h:80/?a-b}", Some("http://h:80/?a-b")),
            ("${RAW}", Some("a$SET")),
            ("${SET", None),
            ("${}", None),
            ("${1}", None),
            ("${SET!x}", None),
            ("${SET:}", None),
            ("${NONE:-ä}", Some("ä")),
        ] {
            assert_eq!(
                interpolate(text, &variables())
                    .ok()
                    .map(|done| done.text)
                    .as_deref(),
                result,
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_value_from_outside_taints_and_an_unused_one_does_not() {
        assert!(interpolate("x${PASS}", &variables()).is_ok_and(|done| done.outside));
        assert!(interpolate("${SET:-$PASS}", &variables()).is_ok_and(|done| !done.outside));
        assert!(interpolate("${NONE:-$PASS}", &variables()).is_ok_and(|done| done.outside));
        assert!(interpolate("${PASS:+on}", &variables()).is_ok_and(|done| done.outside));
    }

    #[test]
    fn a_fault_knows_its_expression() {
        let text = "ab ${NONE:-x${OTHER}} c";
        let fault = interpolate(text, &variables()).err();
        assert_eq!(
            fault.map(|fault| text[fault.at()].to_owned()).as_deref(),
            Some("${OTHER}")
        );
        let fault = interpolate("${NONE:?give $SET}", &variables()).err();
        assert_eq!(
            fault.map(|f| f.to_string()).as_deref(),
            Some("required variable `NONE` is not set: give value")
        );
        let fault = interpolate("${NONE:?not $PASS}", &variables()).err();
        assert_eq!(
            fault.map(|f| f.to_string()).as_deref(),
            Some("required variable `NONE` is not set: not $PASS")
        );
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = format!("{}x{}", "${A:-".repeat(5000), "}".repeat(5000));
        assert!(matches!(
            interpolate(&deep, &variables()),
            Err(Fault::Syntax { .. })
        ));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[${}:?+A-C é-]{0,40}") {
            let _ = interpolate(&text, &variables());
        }
    }
}
