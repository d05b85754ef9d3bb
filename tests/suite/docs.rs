//! Generated pages are those of this program, and what the documentation tells people to type exists.

use crate::support::root;

/// `UPDATE_DOCS=1` (`make docs`) writes them.
#[test]
fn generated_pages_are_current() {
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    let mut stale = Vec::new();
    for (path, text) in driftless::cli::docs::pages() {
        let file = root().join(path);
        if update {
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("docs/ can be made");
            std::fs::write(&file, &text).expect("the page can be written");
        } else if std::fs::read_to_string(&file).ok().as_deref() != Some(&text) {
            stale.push(path);
        }
    }
    assert!(stale.is_empty(), "{stale:?} are stale: `make docs` writes them");
}

/// The shell lines of README.md and docs/: `$ driftless …`, or a line that begins with `driftless`, inside a fence.
#[test]
fn every_command_in_the_documentation_is_known() {
    let mut files = vec![root().join("README.md")];
    files.extend(
        std::fs::read_dir(root().join("docs"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path()),
    );
    let known: Vec<String> = driftless::cli::docs::helps()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let mut wrong = Vec::new();
    for file in files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "md"))
    {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        let mut fenced = false;
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
                continue;
            }
            let line = line.trim_start().trim_start_matches("$ ");
            let Some(rest) = line.strip_prefix("driftless ").filter(|_| fenced) else {
                continue;
            };
            let verb = rest
                .split_whitespace()
                .find(|word| !word.starts_with('-'))
                .unwrap_or_default();
            let is_word = !verb.is_empty() && verb.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            if is_word && !known.iter().any(|name| name == verb) {
                wrong.push(format!("{}: {line}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
