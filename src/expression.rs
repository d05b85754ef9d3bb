//! CEL text → what it says of a JSON value.
//!
//! In: an expression of a repository, and an object. Out: [`Expression`], and its answer: true or false, or why there is none.
//! Guaranteed: a fault of the text has its line and column; a panic of the parser or the evaluation is an answer like any other;
//! the work is bounded: expressions are short, and loops nest at most twice, since CEL here has no cost limit of its own.
//! Must not: see anything but the object: no clock, no other object, no secret of the app.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kube_cel::KubeCelExt as _;
use kube_cel::cel::common::ast::operators::{OPT_INDEX, OPT_SELECT};
use kube_cel::cel::common::ast::{EntryExpr, Expr};
use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::parser::Parser;
use kube_cel::cel::{Context, IdedExpr, Value as Cel};
use serde_json::Value;

/// Longest expression.
const LONGEST: usize = 4096;
/// Deepest nesting of loops (`exists`, `all`, `filter`, `map`).
const DEEPEST: u32 = 2;
/// The parser's stack: some kilobytes for each of the characters.
const STACK: usize = 128 << 20;
/// Most levels of what was read (`a.b.c` has three): the stack of each walk over it grows with them.
const MOST_LEVELS: usize = 64;

/// An expression that was read.
pub struct Expression {
    source: Box<str>,
    parsed: IdedExpr,
}

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Fault {
    /// What is wrong with it, in one line that can follow its name.
    pub why: String,
    /// Line and column in the text, from 1, where they are known.
    pub at: Option<(usize, usize)>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({})", self.source)
    }
}

impl Expression {
    /// Reads `source`.
    pub fn parse(source: &str) -> Result<Self, Fault> {
        if source.len() > LONGEST {
            return Err(whole(format!("is longer than {LONGEST} characters")));
        }
        // The parser is another's, its input a repository's: a panic in it is an error of the expression, and its recursion,
        // which is as deep as the text is long, gets a stack that holds it.
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, || read(source))
                .map_err(|error| whole(format!("can't be read now: {error}")))?
                .join()
                .unwrap_or_else(|_| Err(whole("can't be read: the parser gave up".to_owned())))
        })
    }

    /// Its text in one line of bounded length.
    pub fn text(&self) -> String {
        one_line(&self.source)
    }

    /// What it says of `object`, whose fields are its variables; else why it has no answer.
    pub fn holds(&self, object: &Value) -> Result<bool, String> {
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
            Cel::resolve(&self.parsed, &context).map_err(|error| one_line(&error.to_string()))
        }))
        .unwrap_or_else(|_| Err("the evaluation gave up".to_owned()));
        match answer? {
            Cel::Bool(answer) => Ok(answer),
            _ => Err("it does not answer with true or false".to_owned()),
        }
    }
}

fn read(source: &str) -> Result<Expression, Fault> {
    let parsed = Parser::new().enable_optional_syntax(true).parse(source);
    let mut parsed = parsed.map_err(|errors| {
        let Some(first) = errors.errors.first() else {
            return whole("can't be read".to_owned());
        };
        let position = |number| usize::try_from(number).ok().filter(|number| *number > 0);
        Fault {
            why: format!("can't be read: {}", one_line(&first.msg)),
            at: position(first.pos.0).zip(position(first.pos.1)),
        }
    })?;
    if levels(&parsed) > MOST_LEVELS {
        return Err(whole(format!("has more than {MOST_LEVELS} levels")));
    }
    if nesting(&parsed) > DEEPEST {
        return Err(whole(format!("nests loops more than {DEEPEST} deep")));
    }
    mend(&mut parsed);
    Ok(Expression {
        source: source.into(),
        parsed,
    })
}

fn whole(why: String) -> Fault {
    Fault { why, at: None }
}

fn one_line(text: &str) -> String {
    const LIMIT: usize = 400;
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > LIMIT {
        line = line.chars().take(LIMIT).collect::<String>() + "…";
    }
    line
}

/// What an expression is made of, a level below it.
fn parts(expr: &IdedExpr) -> Vec<&IdedExpr> {
    match &expr.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map
            .entries
            .iter()
            .flat_map(|entry| of_entry(&entry.expr))
            .collect(),
        Expr::Struct(made) => made
            .entries
            .iter()
            .flat_map(|entry| of_entry(&entry.expr))
            .collect(),
        Expr::Comprehension(loops) => vec![
            &loops.iter_range,
            &loops.accu_init,
            &loops.loop_cond,
            &loops.loop_step,
            &loops.result,
        ],
    }
}

/// How many levels an expression has, counted without recursion: nothing is known of it yet.
fn levels(expr: &IdedExpr) -> usize {
    let (mut levels, mut row) = (0, vec![expr]);
    while !row.is_empty() && levels <= MOST_LEVELS {
        levels += 1;
        row = row.into_iter().flat_map(parts).collect();
    }
    levels
}

/// How deep loops stand in loops.
fn nesting(expr: &IdedExpr) -> u32 {
    let most = |parts: Vec<&IdedExpr>| parts.into_iter().map(nesting).max().unwrap_or(0);
    match &expr.expr {
        Expr::Comprehension(loops) => {
            let inside = most(vec![&loops.loop_cond, &loops.loop_step, &loops.result]);
            let outside = most(vec![&loops.iter_range, &loops.accu_init]);
            outside.max(inside + 1)
        }
        _ => most(parts(expr)),
    }
}

/// `a.?b` as `a[?'b']`: the interpreter fails on the first where there is no `b`, and answers the second with nothing, as CEL
/// says of both.
fn mend(expr: &mut IdedExpr) {
    match &mut expr.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        Expr::Call(call) => {
            if call.func_name == OPT_SELECT {
                OPT_INDEX.clone_into(&mut call.func_name);
            }
            call.target
                .as_deref_mut()
                .into_iter()
                .chain(&mut call.args)
                .for_each(mend);
        }
        Expr::Select(select) => mend(&mut select.operand),
        Expr::List(list) => list.elements.iter_mut().for_each(mend),
        Expr::Map(map) => map
            .entries
            .iter_mut()
            .for_each(|entry| mend_entry(&mut entry.expr)),
        Expr::Struct(made) => made
            .entries
            .iter_mut()
            .for_each(|entry| mend_entry(&mut entry.expr)),
        Expr::Comprehension(loops) => [
            &mut loops.iter_range,
            &mut loops.accu_init,
            &mut loops.loop_cond,
            &mut loops.loop_step,
            &mut loops.result,
        ]
        .into_iter()
        .for_each(mend),
    }
}

fn mend_entry(entry: &mut EntryExpr) {
    match entry {
        EntryExpr::StructField(field) => mend(&mut field.value),
        EntryExpr::MapEntry(entry) => {
            mend(&mut entry.key);
            mend(&mut entry.value);
        }
    }
}

fn of_entry(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_true_or_false_or_the_reason_why_there_is_none() {
        let widget = json!({"kind": "Widget", "status": {"phase": "Up", "count": 3}});
        let ask = |text: &str| Expression::parse(text).expect("it can be read").holds(&widget);
        assert_eq!(ask("status.phase == 'Up' && status.count + 1 == 4"), Ok(true));
        assert_eq!(ask("has(spec.size)"), Ok(false));
        assert_eq!(ask("status.?reason.orValue('') == 'x'"), Ok(false));
        assert_eq!(ask("status.?phase.orValue('') == 'Up'"), Ok(true));
        assert_eq!(ask("spec.?parts.?first.orValue('none') == 'none'"), Ok(true));
        assert_eq!(ask("[1, 2].exists(n, status.?many.orValue(n) == 2)"), Ok(true));
        assert!(ask("status.reason == 'x'").is_err());
        assert_eq!(
            ask("status.count"),
            Err("it does not answer with true or false".to_owned())
        );
    }

    #[test]
    fn a_fault_has_its_place_and_work_is_bounded() {
        let fault = |text: &str| Expression::parse(text).expect_err("a fault");
        let syntax = fault("status.phase ==\n  'Up' &&& true");
        assert!(
            syntax.why.starts_with("can't be read: Syntax error"),
            "{syntax:?}"
        );
        assert_eq!(syntax.at, Some((2, 10)), "{syntax:?}");
        assert!(
            fault("[1].all(a, [1].all(b, [1].all(c, true)))")
                .why
                .contains("nests loops more than 2 deep")
        );
        assert!(fault(&"x".repeat(5000)).why.contains("longer than 4096"));
        for deep in [
            "(".repeat(4000),
            format!("{}1{}", "[".repeat(90), "]".repeat(90)),
            "a?b:".repeat(90) + "c",
            "a.".repeat(2000) + "a",
            "a+".repeat(2000) + "a",
            "!".repeat(4000) + "a",
            "-".repeat(4000) + "1",
            format!("{}a{}", "f(".repeat(90), ")".repeat(90)),
        ] {
            let read =
                std::panic::catch_unwind(|| Expression::parse(&deep).map(|read| read.holds(&json!({}))));
            assert!(matches!(read, Ok(Err(_) | Ok(Err(_)))), "{deep}");
        }
        // What people write is far from any bound.
        let long = ["status.conditions.exists(c, c.type == 'Ready' && c.status == 'True')"; 8].join(" && ");
        assert_eq!(
            Expression::parse(&long)
                .expect("it can be read")
                .holds(&json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})),
            Ok(true)
        );
    }
}
