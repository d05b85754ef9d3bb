//! Health expressions of an app, in the field names of Flux (`healthCheckExprs`).
//!
//! In: CEL text per kind, and an object. Out: [`Judged`]. Guaranteed:
//! - Flux's order: `inProgress`, `failed`, `current`; none true is in progress;
//! - an expression that can't be evaluated on an object (a field that is not there yet), or that this version can't read in a
//!   stored release, is in progress, with the reason: never healthy, never failed.
//!
//! Must not: evaluate by itself (`expression.rs` does, and bounds the work).

use serde_json::Value;

use super::{Judged, fields};
use crate::expression::{Expression, Fault};
use crate::health::CauseKind;
use crate::render::app::HealthExpr;

/// The expressions of an app, read.
#[derive(Debug, Default)]
pub struct Expressions {
    all: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    group: String,
    kind: String,
    in_progress: Option<Result<Expression, Fault>>,
    failed: Option<Result<Expression, Fault>>,
    current: Result<Expression, Fault>,
}

impl Expressions {
    /// Reads expressions. A faulty one was refused where the app was rendered; one that is faulty only now has no answer.
    pub fn of(texts: &[HealthExpr]) -> Self {
        let read = |text: &String| Expression::parse(text);
        Self {
            all: texts
                .iter()
                .map(|text| Compiled {
                    group: text.group().to_owned(),
                    kind: text.kind.clone(),
                    in_progress: text.in_progress.as_ref().map(read),
                    failed: text.failed.as_ref().map(read),
                    current: read(&text.current),
                })
                .collect(),
        }
    }

    /// The verdict of the expressions for this kind, if there are any. Any version of the group matches.
    pub(super) fn judge(&self, object: &Value) -> Option<Judged> {
        let (group, kind) = (fields::group(object), fields::text(object, "/kind"));
        let rules = self
            .all
            .iter()
            .find(|rules| rules.group == group && rules.kind == kind)?;
        let ask = |field: &str, expr: &Result<Expression, Fault>| -> Result<bool, Judged> {
            let open = |why: String| {
                let said = format!("its health expression `{field}` has no answer yet: {why}");
                Judged::progressing(CauseKind::NotReady, fields::one_line(&said))
            };
            match expr {
                Ok(expr) => expr.holds(object).map_err(open),
                Err(fault) => Err(open(format!("it {fault}"))),
            }
        };
        let said = || {
            fields::condition(object, "Ready")
                .map(|ready| format!(" ({})", ready.words()))
                .unwrap_or_default()
        };
        let answer = || -> Result<Judged, Judged> {
            if let Some(expr) = &rules.in_progress
                && ask("inProgress", expr)?
            {
                return Ok(Judged::progressing(
                    CauseKind::NotReady,
                    format!("in progress{}", said()),
                ));
            }
            if let Some(expr) = &rules.failed
                && ask("failed", expr)?
            {
                let text = expr.as_ref().map(Expression::text).unwrap_or_default();
                return Ok(Judged::failed(
                    CauseKind::SaidFailed,
                    format!("its health expression `failed` holds: {text}{}", said()),
                ));
            }
            if ask("current", &rules.current)? {
                return Ok(Judged::healthy());
            }
            Ok(Judged::progressing(
                CauseKind::NotReady,
                format!("not current yet{}", said()),
            ))
        };
        Some(answer().unwrap_or_else(|open| open))
    }
}
