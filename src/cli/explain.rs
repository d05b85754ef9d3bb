//! `driftless explain`: codes, exit codes, settings and words.

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::Context;
use super::error::CommandError;
use super::fields::{self, Field};
use super::table::{Cell, Table, column};
use super::topics::{self, TOPICS, Topic};
use crate::document::{Code, CodeEntry};
use crate::report::Exit;
use crate::report::text::{Line, Role, Text};

/// Explains a code, an exit code, a setting or a word
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// What: E0105, 7, health.bake, prune [default: list everything]
    #[arg(value_name = "CODE|FIELD|WORD")]
    pub what: Option<String>,
}

pub const EXAMPLES: &str = "\
driftless explain                 # everything there is
driftless explain E0105           # a code of an error
driftless explain 7               # an exit code
driftless explain health.bake     # a setting
driftless explain hold            # a word";

/// What was found.
enum Found {
    Code(&'static CodeEntry),
    Exit(Exit),
    Field(&'static Field),
    Topic(&'static Topic),
}

/// Prints it.
pub fn run(args: Args, context: &mut Context) -> Result<Exit, CommandError> {
    let output = &context.output;
    let Some(what) = args.what else {
        let (items, table) = everything();
        output.list("ExplanationList", &items, &table)?;
        return Ok(Exit::Done);
    };
    let found = find(&what);
    if found.is_empty() {
        return Err(CommandError::unknown("code, setting or word", &what, names())
            .hint("`driftless explain` lists everything"));
    }
    if output.for_machines() {
        let items: Vec<Value> = found.iter().map(Found::value).collect();
        output.list("ExplanationList", &items, &Table::new([]))?;
        return Ok(Exit::Done);
    }
    let mut text = Text::new();
    for (at, one) in found.iter().enumerate() {
        if at > 0 {
            text.push(Line::new());
        }
        one.tell(&mut text);
    }
    output.text(&text);
    Ok(Exit::Done)
}

/// Everything that goes by this name: a word can be a setting too (`prune`).
fn find(what: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let number = what.trim().trim_start_matches("exit ").parse::<u8>().ok();
    found.extend(
        Exit::ALL
            .iter()
            .filter(|exit| Some(exit.code()) == number)
            .map(|exit| Found::Exit(*exit)),
    );
    if number.is_none() || what.trim().len() >= 3 {
        found.extend(Code::find(what).map(Found::Code));
    }
    found.extend(topics::find(what).map(Found::Topic));
    let same = |name: &str| name.eq_ignore_ascii_case(what.trim());
    let exact = |field: &&Field| same(field.path) || same(field.short());
    let by_end = |field: &&Field| same(field.name());
    let fields: Vec<&Field> = fields::REPOSITORY.iter().filter(exact).collect();
    let fields = if fields.is_empty() {
        fields::REPOSITORY.iter().filter(by_end).collect()
    } else {
        fields
    };
    // The topic `app` already tells what the setting `apps` would.
    if !matches!(found.as_slice(), [Found::Topic(topic)] if topic.name == "app") {
        found.extend(fields.into_iter().map(Found::Field));
    }
    found
}

fn names() -> impl Iterator<Item = &'static str> {
    let topics = TOPICS.iter().map(|topic| topic.name);
    topics
        .chain(fields::REPOSITORY.iter().map(Field::short))
        .chain(Code::all().map(|entry| entry.slug))
}

fn everything() -> (Vec<Value>, Table) {
    let mut table = Table::new([column("NAME"), column("KIND"), column("WHAT").shrinks()]);
    let mut items = Vec::new();
    let topics = TOPICS.iter().map(Found::Topic);
    let fields = fields::REPOSITORY
        .iter()
        .filter(|field| field.name() != "*")
        .map(Found::Field);
    let exits = Exit::ALL.iter().map(|exit| Found::Exit(*exit));
    for found in topics
        .chain(fields)
        .chain(exits)
        .chain(Code::all().map(Found::Code))
    {
        table.row([
            Cell::from(found.name()),
            found.kind().into(),
            found.summary().into(),
        ]);
        items.push(found.value());
    }
    (items, table)
}

impl Found {
    fn name(&self) -> String {
        match self {
            Found::Code(entry) => entry.code.to_string(),
            Found::Exit(exit) => exit.code().to_string(),
            Found::Field(field) => field.short().to_owned(),
            Found::Topic(topic) => topic.name.to_owned(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Found::Code(_) => "code",
            Found::Exit(_) => "exit code",
            Found::Field(_) => "setting",
            Found::Topic(_) => "word",
        }
    }

    fn summary(&self) -> &'static str {
        match self {
            Found::Code(entry) => entry.title,
            Found::Exit(exit) => exit.meaning(),
            Found::Field(field) => field.summary,
            Found::Topic(topic) => topic.summary,
        }
    }

    fn body(&self) -> String {
        match self {
            Found::Code(entry) => entry.explanation.to_owned(),
            Found::Exit(_) => String::new(),
            Found::Field(field) => {
                let default = if field.default.is_empty() {
                    "none, it must be written"
                } else {
                    field.default
                };
                let head = match field.kind {
                    fields::Kind::Object => String::new(),
                    _ => format!("takes: {}\ndefault: {default}\n", field.takes()),
                };
                let space = if head.is_empty() || field.text.is_empty() {
                    ""
                } else {
                    "\n"
                };
                format!("{head}{space}{}", field.text)
            }
            Found::Topic(topic) if topic.name == "exit-codes" => {
                let line = |exit: &Exit| format!("{:>5}  {}\n", exit.code(), exit.meaning());
                let lines: String = Exit::ALL.iter().map(line).collect();
                format!(
                    "{lines}\nOf several apps the worst counts: 8 > 7 > 6 > 5 > 4 > 3 > 9 > 10 > 0. With `plan --detailed-exitcode`:\n0 no changes, 1 error, 2 changes.\n"
                )
            }
            Found::Topic(topic) => topic.text.to_owned(),
        }
    }

    fn tell(&self, text: &mut Text) {
        let name = match self {
            Found::Exit(exit) => format!("exit code {}", exit.code()),
            Found::Code(entry) => format!("{} ({})", entry.code, entry.slug),
            Found::Field(field) => format!("{} in driftless.yaml", field.path.replace("apps.*", "apps.NAME")),
            Found::Topic(topic) => topic.name.to_owned(),
        };
        text.push(
            Line::new()
                .span(Role::Strong, name)
                .plain(format!(": {}", self.summary())),
        );
        let body = self.body();
        if !body.is_empty() {
            text.push(Line::new());
        }
        for line in body.lines() {
            text.push(Line::new().plain(line));
        }
    }

    fn value(&self) -> Value {
        json!({ "name": self.name(), "kind": self.kind(), "summary": self.summary(), "text": self.body() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(what: &str) -> String {
        let mut text = Text::new();
        find(what).iter().for_each(|found| found.tell(&mut text));
        text.to_string()
    }

    #[test]
    fn everything_that_is_listed_can_be_asked_for() {
        let (items, _) = everything();
        for item in items {
            let name = item["name"].as_str().expect("a name");
            assert!(!find(name).is_empty(), "{name}");
        }
    }

    #[test]
    fn a_small_number_is_an_exit_code() {
        assert!(told("7").starts_with("exit code 7: "));
        assert!(told("E0105").starts_with("E0105 (duplicate-key): "));
        assert!(told("0105").starts_with("E0105"));
        assert!(told("130").contains("exit code 130"));
    }

    #[test]
    fn a_word_that_is_a_setting_too_gets_both() {
        let told = told("prune");
        assert!(
            told.contains("prune: deleting") && told.contains("apps.NAME.prune in driftless.yaml"),
            "{told}"
        );
    }

    #[test]
    fn settings_are_found_by_their_path_or_their_end() {
        assert!(told("health.bake").contains("default: 10s"));
        assert!(told("apps.*.health.bake").contains("default: 10s"));
        assert!(told("bake").contains("stable"));
    }
}
