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

/// The pages that people read, with their names.
fn written() -> Vec<(String, String)> {
    let mut files = vec![
        root().join("README.md"),
        root().join("examples/kubernetes/README.md"),
        root().join("examples/repo/README.md"),
    ];
    let docs = std::fs::read_dir(root().join("docs"))
        .expect("docs/ is there")
        .flatten();
    files.extend(docs.map(|entry| entry.path()));
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md") && file.exists());
    let read = |file: &std::path::PathBuf| std::fs::read_to_string(file).expect("a page");
    files
        .iter()
        .map(|file| (file.display().to_string(), read(file)))
        .collect()
}

/// The command lines of one page: `$ driftless …` or a line that begins with `driftless` inside a fence, and `` `driftless …` ``
/// in the text.
fn commands(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            let line = line
                .trim_start()
                .trim_start_matches("│ ")
                .trim_start()
                .trim_start_matches("$ ");
            found.extend(line.starts_with("driftless ").then(|| line.to_owned()));
        } else {
            let code = line.split('`').skip(1).step_by(2);
            found.extend(
                code.filter(|code| code.starts_with("driftless "))
                    .map(str::to_owned),
            );
        }
    }
    found
}

/// The words of a line up to where the shell goes on with something else; `None` where it is a pattern, not a command.
fn words(line: &str) -> Option<Vec<String>> {
    let ends = [" ; ", "; ", " && ", " || ", " | ", " > ", " # ", "  "];
    let end = ends
        .iter()
        .filter_map(|end| line.find(end))
        .min()
        .unwrap_or(line.len());
    let line = &line[..end];
    let is_pattern = line.contains(['…', '[', '<', '{', '$']);
    let words = shell_words::split(line).ok()?;
    // `driftless-APP` and the like begin a name; a verb is a lower-case word or a flag.
    let verb = words
        .get(1)
        .is_some_and(|word| word.starts_with(|c: char| c == '-' || c.is_ascii_lowercase()));
    (!is_pattern && verb).then_some(words)
}

#[test]
fn every_command_in_the_documentation_is_taken() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (file, text) in written() {
        for line in commands(&text) {
            let Some(words) = words(&line) else { continue };
            count += 1;
            if let Err(error) = driftless::cli::docs::takes(&words) {
                wrong.push(format!(
                    "{file}: {line}\n  {}",
                    error.lines().next().unwrap_or_default()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        count > 50,
        "the pages hold {count} commands only: they are not found any more"
    );
}
