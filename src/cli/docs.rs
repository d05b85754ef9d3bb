//! The generated pages of `docs/`.
//!
//! In: the tree of commands, codes, exit codes, settings. Out: pages by their path. Guaranteed: the same binary gives the
//! same pages; a test fails when `docs/` holds others (`make docs` writes them). Must not: write files.

use std::fmt::Write as _;

use super::fields::{self, Kind};
use super::help::{self, GROUPS};
use super::topics::TOPICS;
use crate::document::Code;
use crate::report::Exit;

const NOTE: &str = "<!-- Generated: `make docs` writes this page. -->\n";

/// Path and text of each page.
pub fn pages() -> Vec<(&'static str, String)> {
    vec![
        ("docs/cli.md", cli()),
        ("docs/exit-codes.md", exit_codes()),
        ("docs/codes.md", codes()),
        ("docs/driftless-yaml.md", settings()),
        ("docs/words.md", words()),
    ]
}

/// What `--help` prints at 80 columns: of the program, then of each command.
pub fn helps() -> Vec<(String, String)> {
    let mut command = help::command(80, clap::ColorChoice::Never);
    command.build();
    let mut all = vec![("driftless".to_owned(), command.render_help().to_string())];
    for about in GROUPS.iter().flat_map(|(_, verbs)| verbs.iter()) {
        if let Some(verb) = command.find_subcommand_mut(about.name) {
            all.push((about.name.to_owned(), verb.render_help().to_string()));
        }
    }
    all
}

/// Whether this program takes a command line that somebody wrote down, or its words about it.
pub fn takes(line: &[String]) -> Result<(), String> {
    match help::command(80, clap::ColorChoice::Never).try_get_matches_from(line) {
        Err(error) if error.use_stderr() => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn cli() -> String {
    let mut page = format!("{NOTE}# Command line\n\n");
    for (at, (name, help)) in helps().into_iter().enumerate() {
        if at > 0 {
            let _ = writeln!(page, "## driftless {name}\n");
        }
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        let _ = writeln!(page, "```text\n{}\n```\n", lines.join("\n").trim());
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn exit_codes() -> String {
    let mut page = format!("{NOTE}# Exit codes\n\n| Code | Meaning |\n|--:|---|\n");
    for exit in Exit::ALL {
        let _ = writeln!(page, "| {} | {} |", exit.code(), exit.meaning());
    }
    page.push_str("\nOf several apps the worst counts: 8 > 7 > 6 > 5 > 4 > 3 > 9 > 10 > 0. `plan --detailed-exitcode` alone uses 0 (no changes),\n1 (error) and 2 (changes).\n");
    page
}

fn codes() -> String {
    let mut page = format!("{NOTE}# Codes\n\n`driftless explain CODE` prints the same.\n");
    for entry in Code::all() {
        let _ = write!(
            page,
            "\n## {} {}\n\n{}.\n\n```text\n{}```\n",
            entry.code,
            entry.slug,
            capital(entry.title),
            entry.explanation
        );
    }
    page
}

fn settings() -> String {
    let mut page = format!(
        "{NOTE}# driftless.yaml\n\nThe usual layouts need none. `driftless schema` prints the JSON schema for editors.\n\n| Setting | Takes | Default | What it is |\n|---|---|---|---|\n"
    );
    for field in fields::REPOSITORY.iter().filter(|field| field.name() != "*") {
        let default = match (field.default, &field.kind) {
            ("", Kind::Object | Kind::Names) => "",
            ("", _) => "(required)",
            (default, _) => default,
        };
        let takes = field.takes().replace('|', "\\|");
        let _ = writeln!(
            page,
            "| `{}` | {takes} | {default} | {} |",
            field.path.replace("apps.*", "apps.NAME"),
            field.summary
        );
    }
    for field in fields::REPOSITORY.iter().filter(|field| !field.text.is_empty()) {
        let _ = write!(page, "\n## {}\n\n{}", field.short(), field.text);
    }
    page
}

fn words() -> String {
    let mut page = format!("{NOTE}# Words\n\n`driftless explain WORD` prints the same.\n");
    for topic in TOPICS.iter().filter(|topic| !topic.text.is_empty()) {
        let _ = write!(
            page,
            "\n## {}\n\n{}.\n\n{}",
            topic.name,
            capital(topic.summary),
            topic.text
        );
    }
    page
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}
