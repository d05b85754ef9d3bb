//! The colours of each role; restraint is the rule.
//!
//! In: a [`Role`]. Out: an ANSI style. Guaranteed: no meaning is carried by colour alone. Must not: decide whether colour
//! is on.

use anstyle::{AnsiColor, Style};

use crate::report::text::{Role, Text};

/// The style of a role.
pub fn of(role: Role) -> Style {
    match role {
        Role::Plain => Style::new(),
        Role::Strong => Style::new().bold(),
        Role::Dim => Style::new().dimmed(),
        Role::Good => AnsiColor::Green.on_default(),
        Role::Bad => AnsiColor::Red.on_default().bold(),
        Role::Warn => AnsiColor::Yellow.on_default(),
        Role::Add => AnsiColor::Green.on_default(),
        Role::Change => AnsiColor::Yellow.on_default(),
        Role::Remove => AnsiColor::Red.on_default(),
        Role::Name => AnsiColor::Cyan.on_default(),
    }
}

/// `text` with its styles, or without any.
pub fn paint(text: &Text, color: bool) -> String {
    if !color {
        return text.to_string();
    }
    let mut painted = String::new();
    for line in text.lines() {
        for span in line.spans() {
            painted.push_str(&word(span.role, &span.text, true));
        }
        painted.push('\n');
    }
    painted
}

/// One word in its role's style.
pub fn word(role: Role, text: &str, color: bool) -> String {
    let style = of(role);
    if color && role != Role::Plain && !text.trim().is_empty() {
        format!("{style}{text}{style:#}")
    } else {
        text.to_owned()
    }
}
