//! `healthcheck:`.
//!
//! In: a service's fields. Out: the check as the engine takes it. Guaranteed: `disable: true` and `NONE` have one spelling.
//! Must not: know what the image brings along.

use super::context::{fields, malformed, parsed};
use super::keys;
use crate::document::{Code, Diagnostic, Fields, Value};
use crate::render::model::Healthcheck;
use crate::render::units;

/// Reads the key.
pub(super) fn read(service: &mut Fields<'_, '_>) -> Option<Healthcheck> {
    let node = service.node("healthcheck")?;
    let what = format!("`healthcheck` of {}", service.what());
    let mut health = fields(node, &what, keys::HEALTHCHECK, service.diagnostics())?;
    let mut check = Healthcheck {
        interval: parsed(
            &mut health,
            "interval",
            "a duration such as `10s`",
            units::nanoseconds,
        ),
        timeout: parsed(
            &mut health,
            "timeout",
            "a duration such as `10s`",
            units::nanoseconds,
        ),
        start_period: parsed(
            &mut health,
            "start_period",
            "a duration such as `10s`",
            units::nanoseconds,
        ),
        start_interval: parsed(
            &mut health,
            "start_interval",
            "a duration such as `10s`",
            units::nanoseconds,
        ),
        retries: health
            .int_in("retries", 0..=i64::from(i32::MAX))
            .map(|retries| retries.value),
        test: Vec::new(),
    };
    if let Some(test) = health.node("test") {
        match &test.value {
            Value::Sequence(_) => {
                check.test = health
                    .texts("test")
                    .unwrap_or_default()
                    .into_iter()
                    .map(|part| part.value)
                    .collect();
                let first = check.test.first().map(String::as_str);
                if !matches!(first, None | Some("CMD" | "CMD-SHELL" | "NONE")) {
                    let message = format!("`test` of {what} must start with CMD, CMD-SHELL or NONE");
                    health.diagnostics().push(
                        Diagnostic::error(Code::NOT_ALLOWED, &test.span, message).with_help(
                            "write a command with arguments as [CMD, …], or as one text for the shell",
                        ),
                    );
                } else if matches!(first, Some("CMD" | "CMD-SHELL")) && check.test.len() < 2 {
                    health
                        .diagnostics()
                        .push(malformed(&test.span, format!("`test` of {what} has no command")));
                }
            }
            _ => {
                if let Some(text) = health.text("test") {
                    check.test = vec!["CMD-SHELL".to_owned(), text.value];
                }
            }
        }
    }
    if health.bool("disable").is_some_and(|disable| disable.value) {
        check.test = vec!["NONE".to_owned()];
    }
    if check.disabled() {
        check = Healthcheck {
            test: vec!["NONE".to_owned()],
            ..Healthcheck::default()
        };
    }
    Some(check)
}
