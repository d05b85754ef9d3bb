//! The words of `--help`: groups, examples, exit codes. The pages of `docs/` and the manual are made from the same tree.
//!
//! In: the tree of [`super::args`]. Out: a [`clap::Command`] that is complete. Guaranteed: every command stands in exactly
//! one group and has examples (a test looks). Must not: print.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Arg, ArgAction, ColorChoice, Command, CommandFactory as _};

use super::args::Cli;
use super::environment::Environment;
use super::{
    apply, completion, config, demo, diff, doctor, down, drift, explain, history, init, logs, man, plan,
    render, restart, resume, retry, rollback, schema, serve, status, suspend, takeover, validate, wait, why,
};
use crate::report::Exit;

/// What is known about a command beside its arguments.
pub struct About {
    pub name: &'static str,
    pub examples: &'static str,
    pub exits: &'static [Exit],
}

/// The groups in the order people need them.
pub const GROUPS: &[(&str, &[About])] = &[
    ("Every day", DAILY),
    ("When it fails", TROUBLE),
    ("Set up", SET_UP),
];

const fn about(name: &'static str, examples: &'static str, exits: &'static [Exit]) -> About {
    About {
        name,
        examples,
        exits,
    }
}

const READS: &[Exit] = &[Exit::Done, Exit::Usage, Exit::Invalid, Exit::Source, Exit::Target];
const COMPARES: &[Exit] = &[
    Exit::Done,
    Exit::Differences,
    Exit::Usage,
    Exit::Invalid,
    Exit::Source,
    Exit::Target,
];
const CHANGES: &[Exit] = &[
    Exit::Done,
    Exit::Usage,
    Exit::Invalid,
    Exit::Source,
    Exit::Target,
    Exit::ApplyFailed,
    Exit::RolledBack,
    Exit::NeedsHuman,
    Exit::Refused,
    Exit::GaveUpWaiting,
    Exit::Interrupted,
];
const ACTS: &[Exit] = &[
    Exit::Done,
    Exit::Usage,
    Exit::Target,
    Exit::ApplyFailed,
    Exit::Refused,
];
const STORES: &[Exit] = &[Exit::Done, Exit::Usage, Exit::Refused];
const LOCAL: &[Exit] = &[Exit::Done, Exit::Usage];

const DAILY: &[About] = &[
    about("plan", plan::EXAMPLES, READS),
    about("diff", diff::EXAMPLES, COMPARES),
    about("apply", apply::EXAMPLES, CHANGES),
    about("status", status::EXAMPLES, READS),
    about("drift", drift::EXAMPLES, COMPARES),
    about("history", history::EXAMPLES, LOCAL),
    about("logs", logs::EXAMPLES, &[Exit::Done, Exit::Usage, Exit::Target]),
    about("restart", restart::EXAMPLES, ACTS),
    about(
        "wait",
        wait::EXAMPLES,
        &[Exit::Done, Exit::Usage, Exit::Target, Exit::GaveUpWaiting],
    ),
];
const TROUBLE: &[About] = &[
    about("why", why::EXAMPLES, READS),
    about("rollback", rollback::EXAMPLES, CHANGES),
    about("retry", retry::EXAMPLES, CHANGES),
    about("suspend", suspend::EXAMPLES, STORES),
    about("resume", resume::EXAMPLES, STORES),
    about("takeover", takeover::EXAMPLES, ACTS),
    about("down", down::EXAMPLES, ACTS),
];
const SET_UP: &[About] = &[
    about(
        "init",
        init::EXAMPLES,
        &[Exit::Done, Exit::Usage, Exit::Invalid, Exit::Source],
    ),
    about(
        "validate",
        validate::EXAMPLES,
        &[Exit::Done, Exit::Usage, Exit::Invalid, Exit::Source],
    ),
    about(
        "render",
        render::EXAMPLES,
        &[Exit::Done, Exit::Usage, Exit::Invalid, Exit::Source],
    ),
    about(
        "serve",
        serve::EXAMPLES,
        &[
            Exit::Done,
            Exit::Usage,
            Exit::Invalid,
            Exit::Refused,
            Exit::Terminated,
        ],
    ),
    about(
        "demo",
        demo::EXAMPLES,
        &[Exit::Done, Exit::Target, Exit::ApplyFailed],
    ),
    about(
        "doctor",
        doctor::EXAMPLES,
        &[Exit::Done, Exit::Usage, Exit::Target],
    ),
    about(
        "config",
        config::EXAMPLES,
        &[Exit::Done, Exit::Usage, Exit::Invalid],
    ),
    about("explain", explain::EXAMPLES, LOCAL),
    about("schema", schema::EXAMPLES, LOCAL),
    about("completion", completion::EXAMPLES, LOCAL),
    about("man", man::EXAMPLES, LOCAL),
];

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default())
    .usage(AnsiColor::Yellow.on_default())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// The narrowest and widest text: below it nothing is legible, above it the eye loses the line.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=100;

/// The width of help texts.
pub fn width(environment: &Environment) -> usize {
    environment
        .width()
        .unwrap_or(*WIDTHS.end())
        .clamp(*WIDTHS.start(), *WIDTHS.end())
}

/// What `--color` says; it is needed before the arguments are parsed, because their errors are coloured.
pub fn color(arguments: &[OsString]) -> ColorChoice {
    let mut words = arguments
        .iter()
        .skip(1)
        .map(|word| word.to_string_lossy())
        .take_while(|word| word != "--");
    let mut choice = ColorChoice::Auto;
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("--color") {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('=').map(|value| value.to_owned().into()),
            None => None,
        };
        match value.as_deref() {
            Some("always") => choice = ColorChoice::Always,
            Some("never") => choice = ColorChoice::Never,
            Some("auto") => choice = ColorChoice::Auto,
            _ => {}
        }
    }
    choice
}

/// The tree without colours, at the default width: for documentation, completion and manual pages.
pub fn plain() -> Command {
    command(*WIDTHS.end(), ColorChoice::Never)
}

/// The whole tree. `-h` and `--help` are the same: one page for a command, with the options of all commands on the page of
/// `driftless` alone.
pub fn command(width: usize, color: ColorChoice) -> Command {
    let mut command = Cli::command()
        .styles(STYLES)
        .color(color)
        .term_width(width)
        .max_term_width(width);
    // clap removes the styles again where colour is off.
    let (header, reset) = (STYLES.get_header(), STYLES.get_header().render_reset());
    let (overview, globals) = (overview(&command, width), globals(&command, width));
    command = command
        .disable_help_flag(true)
        .arg(
            Arg::new("help")
                .short('h')
                .long("help")
                .help("Print help")
                .action(ArgAction::HelpShort)
                .global(true)
                .hide(true),
        )
        .help_template(format!(
            "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{overview}{header}Options of all commands:{reset}\n{globals}{{after-help}}"
        ))
        .after_help("`driftless COMMAND --help` tells about a command, `driftless explain` about words and codes.");
    for about in GROUPS.iter().flat_map(|(_, verbs)| verbs.iter()) {
        let mut after = format!("{header}Examples:{reset}\n");
        for line in about.examples.lines() {
            let _ = writeln!(after, "  {line}");
        }
        let _ = write!(
            after,
            "\n{header}Exit codes:{reset}\n{}",
            exits(about.exits, width)
        );
        let more = "The options of all commands: `driftless --help`. All exit codes: `driftless explain exit-codes`.";
        let _ = write!(after, "\n\n{}", hanging("", more, width));
        command = command.mut_subcommand(about.name, |verb| {
            let long = verb.get_long_about().map(ToString::to_string).unwrap_or_default();
            // The first paragraph is the summary, which stands above it already.
            let rest = long
                .split("\n\n")
                .skip(1)
                .map(|text| format!("{}\n\n", hanging("", text, width)));
            let rest: String = rest.collect::<String>().replace('{', "(").replace('}', ")");
            verb.after_help(after.clone())
                .after_long_help(after)
                .help_template(format!(
                    "{{about}}\n\n{rest}{{usage-heading}} {{usage}}\n\n{{all-args}}{{after-help}}"
                ))
        });
    }
    command
}

/// The options of all commands.
fn globals(command: &Command, width: usize) -> String {
    let mut text = String::new();
    let literal = STYLES.get_literal();
    for argument in command
        .get_arguments()
        .filter(|argument| argument.is_global_set())
    {
        let long = argument
            .get_long()
            .map(|long| format!("--{long}"))
            .unwrap_or_default();
        let short = argument
            .get_short()
            .map_or("    ".to_owned(), |short| format!("-{short}, "));
        let value = argument
            .get_value_names()
            .filter(|_| argument.get_action().takes_values());
        let value = value
            .and_then(|names| names.first())
            .map(|name| format!(" <{name}>"))
            .unwrap_or_default();
        let mut help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let words: Vec<String> = argument
            .get_possible_values()
            .iter()
            .map(|value| value.get_name().to_owned())
            .collect();
        if !words.is_empty()
            && argument.get_action().takes_values()
            && !argument.is_hide_possible_values_set()
        {
            help = format!("{help} [{}]", words.join(", "));
        }
        let head = format!("  {:<25} ", format!("{short}{long}{value}"));
        let line = hanging(&head, &help, width);
        text.push_str(&line.replacen(&long, &format!("{literal}{long}{literal:#}"), 1));
        text.push('\n');
    }
    let head = format!("  {:<25} ", "-V, --version");
    let version = format!("{head}Print the version\n").replacen(
        "--version",
        &format!("{literal}--version{literal:#}"),
        1,
    );
    text.push_str(&version);
    text
}

/// `  0  done`, one line each, cut into lines of `width`.
fn exits(exits: &[Exit], width: usize) -> String {
    let mut lines = Vec::new();
    for exit in exits {
        lines.push(hanging(&format!("{:>5}  ", exit.code()), exit.meaning(), width));
    }
    lines.join("\n")
}

/// `text` after `head`, wrapped below itself.
pub fn hanging(head: &str, text: &str, width: usize) -> String {
    let indent = head.chars().count();
    let mut all = String::from(head);
    let mut column = indent;
    for (at, word) in text.split_whitespace().enumerate() {
        let length = word.chars().count();
        if at > 0 && column + 1 + length > width {
            all.push('\n');
            all.push_str(&" ".repeat(indent));
            column = indent;
        } else if at > 0 {
            all.push(' ');
            column += 1;
        }
        all.push_str(word);
        column += length;
    }
    all
}

fn overview(command: &Command, width: usize) -> String {
    let mut text = String::new();
    let (header, literal) = (STYLES.get_header(), STYLES.get_literal());
    for (group, verbs) in GROUPS {
        let _ = writeln!(text, "{header}{group}:{header:#}");
        for verb in *verbs {
            let summary = command
                .find_subcommand(verb.name)
                .and_then(Command::get_about)
                .map(ToString::to_string);
            let line = hanging(
                &format!("  {:<11} ", verb.name),
                &summary.unwrap_or_default(),
                width,
            );
            text.push_str(&line.replacen(verb.name, &format!("{literal}{}{literal:#}", verb.name), 1));
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        plain().debug_assert();
    }

    #[test]
    fn every_command_stands_in_one_group_and_has_words() {
        let command = plain();
        let grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, verbs)| verbs.iter().map(|verb| verb.name))
            .collect();
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = verb.get_name();
            assert_eq!(
                grouped.iter().filter(|other| **other == name).count(),
                1,
                "{name} stands in one group"
            );
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(
                !about.is_empty() && about.len() <= 66 && !about.ends_with('.'),
                "{name}: {about:?}"
            );
            assert!(verb.get_after_long_help().is_some(), "{name} has examples");
            for argument in verb.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{name} --{}: no words",
                    argument.get_id()
                );
            }
        }
        assert_eq!(
            grouped.len(),
            command
                .get_subcommands()
                .filter(|verb| !verb.is_hide_set())
                .count()
        );
    }

    /// The words of a shell line up to a pipe, a redirection or a remark.
    fn words(line: &str) -> Vec<String> {
        let line = line.replace("$(git rev-parse HEAD)", "4f1c2ab");
        let end = [" #", " | ", " > ", " || "]
            .iter()
            .filter_map(|mark| line.find(mark))
            .min()
            .unwrap_or(line.len());
        shell_words::split(&line[..end]).expect("a shell line")
    }

    #[test]
    fn every_example_is_a_command_that_parses() {
        for about in GROUPS.iter().flat_map(|(_, verbs)| verbs.iter()) {
            for line in about.examples.lines() {
                assert!(line.len() <= 76, "{line}: wider than a terminal");
                let line = line.rsplit(" && ").next().expect("a part");
                let words = words(line);
                assert!(words.iter().any(|word| word == about.name), "{line}");
                if let Err(error) = plain().try_get_matches_from(&words) {
                    panic!("{line}: {error}");
                }
            }
        }
    }

    #[test]
    fn color_is_known_before_parsing() {
        let choice = |line: &str| color(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(choice("driftless --color always nonsense"), ColorChoice::Always);
        assert_eq!(choice("driftless x --color=never"), ColorChoice::Never);
        assert_eq!(choice("driftless x -- --color=never"), ColorChoice::Auto);
    }
}
