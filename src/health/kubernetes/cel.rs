//! Health expressions of an app, in the field names of Flux (`healthCheckExprs`).
//!
//! In: CEL text per kind, and an object. Out: [`Judged`]. Guaranteed:
//! - Flux's order: `inProgress`, `failed`, `current`; none true is in progress;
//! - an expression that can't be evaluated on an object (a field that is not there yet) is in progress, with the reason;
//! - the work is bounded: expressions are short, and loops nest at most twice, since CEL here has no cost limit of its own.
//!
//! Must not: see anything but the object: no clock, no other object, no secret of the app.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kube_cel::KubeCelExt as _;
use kube_cel::cel::common::ast::{EntryExpr, Expr};
use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::parser::Parser;
use kube_cel::cel::{Context, IdedExpr, Value as Cel};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Judged, fields};
use crate::health::CauseKind;

/// Longest expression.
const LONGEST: usize = 4096;
/// Deepest nesting of loops (`exists`, `all`, `filter`, `map`).
const DEEPEST: u32 = 2;

/// The expressions for one kind, as they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthExpr {
    pub api_version: String,
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_progress: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    pub current: String,
}

/// Why an expression can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the health expression `{field}` of {kind} {why}")]
pub struct ExpressionError {
    pub kind: String,
    /// `inProgress`, `failed` or `current`.
    pub field: &'static str,
    /// What is wrong with it, in one line.
    pub why: String,
}

/// Expressions that were read.
#[derive(Default)]
pub struct Expressions {
    all: Vec<Compiled>,
}

struct Compiled {
    group: String,
    kind: String,
    in_progress: Option<IdedExpr>,
    failed: Option<IdedExpr>,
    current: IdedExpr,
}

impl std::fmt::Debug for Expressions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = self.all.iter().map(|one| format!("{}/{}", one.group, one.kind));
        f.debug_list().entries(kinds).finish()
    }
}

impl Expressions {
    /// Reads expressions; all faults are told together.
    pub fn compile(texts: &[HealthExpr]) -> Result<Self, Vec<ExpressionError>> {
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        for text in texts {
            let mut read = |field, source: &str| match parse(source) {
                Ok(expr) => Some(expr),
                Err(why) => {
                    errors.push(ExpressionError {
                        kind: text.kind.clone(),
                        field,
                        why,
                    });
                    None
                }
            };
            let in_progress = text
                .in_progress
                .as_deref()
                .and_then(|source| read("inProgress", source));
            let failed = text.failed.as_deref().and_then(|source| read("failed", source));
            if let Some(current) = read("current", &text.current) {
                all.push(Compiled {
                    group: text
                        .api_version
                        .split_once('/')
                        .map_or("", |(group, _)| group)
                        .to_owned(),
                    kind: text.kind.clone(),
                    in_progress,
                    failed,
                    current,
                });
            }
        }
        if errors.is_empty() {
            Ok(Self { all })
        } else {
            Err(errors)
        }
    }

    /// The verdict of the expressions for this kind, if there are any. Any version of the group matches.
    pub(super) fn judge(&self, object: &Value) -> Option<Judged> {
        let (group, kind) = (fields::group(object), fields::text(object, "/kind"));
        let rules = self
            .all
            .iter()
            .find(|rules| rules.group == group && rules.kind == kind)?;
        let ask = |field: &str, expr: &IdedExpr| {
            evaluate(expr, object).map_err(|why| {
                Judged::progressing(
                    CauseKind::NotReady,
                    fields::one_line(&format!(
                        "its health expression `{field}` has no answer yet: {why}"
                    )),
                )
            })
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
                return Ok(Judged::failed(
                    CauseKind::SaidFailed,
                    format!("its health expression says that it failed{}", said()),
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

fn parse(source: &str) -> Result<IdedExpr, String> {
    if source.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} characters"));
    }
    // The parser is another's, its input a repository's: a panic in it is an error of the expression.
    let parsed = catch_unwind(AssertUnwindSafe(|| {
        Parser::new()
            .enable_optional_syntax(true)
            .parse(source)
            .map_err(|error| error.to_string())
    }))
    .unwrap_or_else(|_| Err("the parser gave up".to_owned()));
    let expr = parsed.map_err(|error| format!("can't be read: {}", fields::one_line(&error)))?;
    if nesting(&expr) > DEEPEST {
        return Err(format!("nests loops more than {DEEPEST} deep"));
    }
    Ok(expr)
}

/// How deep loops stand in loops.
fn nesting(expr: &IdedExpr) -> u32 {
    let most = |parts: &mut dyn Iterator<Item = &IdedExpr>| parts.map(nesting).max().unwrap_or(0);
    match &expr.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
        Expr::Call(call) => most(&mut call.target.as_deref().into_iter().chain(&call.args)),
        Expr::Select(select) => nesting(&select.operand),
        Expr::List(list) => most(&mut list.elements.iter()),
        Expr::Map(map) => most(&mut map.entries.iter().flat_map(|entry| parts(&entry.expr))),
        Expr::Struct(made) => most(&mut made.entries.iter().flat_map(|entry| parts(&entry.expr))),
        Expr::Comprehension(loops) => {
            let inside = most(&mut [&loops.loop_cond, &loops.loop_step, &loops.result].into_iter());
            let outside = most(&mut [&loops.iter_range, &loops.accu_init].into_iter());
            outside.max(inside + 1)
        }
    }
}

fn parts(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

fn evaluate(expr: &IdedExpr, object: &Value) -> Result<bool, String> {
    let answer = catch_unwind(AssertUnwindSafe(|| {
        let mut context = Context::default().with_all();
        // A part that is not there reads as empty, so that `has(status.conditions)` works from the first moment.
        for part in ["metadata", "spec", "status", "data"] {
            if !object.get(part).is_some_and(Value::is_object) {
                context.add_variable_from_value(part, convert(&Value::Object(serde_json::Map::new())));
            }
        }
        for (name, value) in object.as_object().into_iter().flatten() {
            if !value.is_null() {
                context.add_variable_from_value(name.as_str(), convert(value));
            }
        }
        Cel::resolve(expr, &context).map_err(|error| error.to_string())
    }))
    .unwrap_or_else(|_| Err("the evaluation gave up".to_owned()));
    match answer? {
        Cel::Bool(answer) => Ok(answer),
        _ => Err("it does not answer with true or false".to_owned()),
    }
}

/// JSON as CEL sees it in Kubernetes: whole numbers are `int`, never `uint`.
fn convert(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(found) => Cel::Bool(*found),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Cel::Int(whole),
            (None, Some(real)) => Cel::Float(real),
            (None, None) => Cel::Null,
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(convert).collect())),
        Value::Object(entries) => {
            let map: HashMap<Key, Cel> = entries
                .iter()
                .map(|(key, value)| (Key::String(Arc::new(key.clone())), convert(value)))
                .collect();
            Cel::Map(Map { map: Arc::new(map) })
        }
    }
}
