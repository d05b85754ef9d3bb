//! The house rules that the compiler does not know: `use crate::…` points up the page of `lib.rs`, and the pure folders
//! reach neither the network nor the disk. Tests inside `src/` are free: they look at anything.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use crate::guard::rust_files;
use crate::support::root;

/// Folders that compute and never act.
const PURE: &[&str] = &[
    "document", "render", "health", "plan", "gate", "rollback", "report",
];

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a valid pattern")
}

static EFFECT: LazyLock<Regex> = LazyLock::new(|| {
    // Of std::process only what starts or ends one: an ExitCode is a plain value.
    pattern(
        r"\b(?:tokio|bollard|kube|git2|rusqlite)::|\bstd::(?:fs|env)\b|\buse std::\{[^;]*\b(?:fs|env)\b|\bprocess::(?:Command|Child|Stdio|exit|abort)\b",
    )
});
static CRATE_PATH: LazyLock<Regex> = LazyLock::new(|| pattern(r"\bcrate::(\w+)"));
static CRATE_GROUP: LazyLock<Regex> = LazyLock::new(|| pattern(r"\bcrate::\{([^;]*)\};"));
static SUPER_PATH: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?m)^(?:pub(?:\([^)]*\))? )?use ((?:super::)+)(\w+)"));
static TEST_FILE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r#"#\[cfg\(test\)\]\s*(?:#\[path = "([^"]+)"\]\s*)?(?:pub(?:\([^)]*\))? )?mod (\w+);"#)
});

/// The top modules, in the order of their lines.
fn order(lib: &str) -> Vec<String> {
    pattern(r"(?m)(?:^|;)\s*(?:pub(?:\([^)]*\))? )?mod (\w+)\b")
        .captures_iter(lib)
        .map(|found| found[1].to_owned())
        .collect()
}

/// The module path of a file below `src/`: `live/docker/mod.rs` is `live`, `docker`.
fn module_path(file: &Path) -> Vec<String> {
    let mut parts: Vec<String> = file
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// The text without comments and without `#[cfg(test)]` modules, which rustfmt closes with a brace in the first column.
fn production(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            let mut item = lines.next().unwrap_or_default();
            while item.starts_with("#[") {
                item = lines.next().unwrap_or_default();
            }
            if item.ends_with('{') {
                lines.by_ref().find(|line| *line == "}");
            } else if !item.ends_with(';') && !item.ends_with('}') {
                lines.by_ref().find(|line| line.ends_with(';') || *line == "}");
            }
            continue;
        }
        let code = line.split("//").next().unwrap_or_default();
        kept.push_str(code);
        kept.push('\n');
    }
    kept
}

/// The top modules that a file uses.
fn used(text: &str, module: &[String]) -> BTreeSet<String> {
    let mut used: BTreeSet<String> = CRATE_PATH
        .captures_iter(text)
        .map(|found| found[1].to_owned())
        .collect();
    for group in CRATE_GROUP.captures_iter(text) {
        let mut depth = 0;
        let mut name = String::new();
        for character in group[1].chars().chain([',']) {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    used.insert(name.split("::").next().unwrap_or_default().trim().to_owned());
                    name.clear();
                }
                other if depth == 0 => name.push(other),
                _ => {}
            }
        }
    }
    for found in SUPER_PATH.captures_iter(text) {
        if found[1].matches("super").count() == module.len() {
            used.insert(found[2].to_owned());
        }
    }
    used
}

/// What is wrong with one file; `order` is that of `lib.rs`.
fn offences(file: &Path, text: &str, order: &[String]) -> Vec<String> {
    let module = module_path(file);
    let text = production(text);
    let place = |name: &str| order.iter().position(|known| known == name);
    let mut found = Vec::new();
    if let Some(own) = place(&module[0]) {
        for name in used(&text, &module) {
            if place(&name).is_some_and(|other| other > own) {
                found.push(format!(
                    "src/{} uses crate::{name}, which stands below {} in lib.rs",
                    file.display(),
                    module[0]
                ));
            }
        }
    }
    if PURE.contains(&module[0].as_str()) {
        for effect in EFFECT.find_iter(&text) {
            found.push(format!(
                "src/{} is in a pure folder and says `{}`",
                file.display(),
                effect.as_str().trim()
            ));
        }
    }
    found
}

/// Files that exist only for tests.
fn test_files(source: &Path, files: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut tests = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(file).expect("the file can be read");
        let parent = file.parent().expect("a file lies in a folder");
        let mut children = source.to_owned();
        children.extend(module_path(file.strip_prefix(source).expect("a file of src")));
        for found in TEST_FILE.captures_iter(&text) {
            if let Some(path) = found.get(1) {
                tests.insert(parent.join(path.as_str()));
            }
            for folder in [parent, children.as_path()] {
                tests.insert(folder.join(format!("{}.rs", &found[2])));
                // A folder of tests: everything below it.
                let inner = folder.join(&found[2]);
                tests.extend(files.iter().filter(|file| file.starts_with(&inner)).cloned());
            }
        }
    }
    tests
}

#[test]
fn every_use_points_up_the_page_and_pure_folders_have_no_effects() {
    let source = root().join("src");
    let order = order(&std::fs::read_to_string(source.join("lib.rs")).expect("src/lib.rs is there"));
    assert!(!order.is_empty(), "lib.rs declares no module");
    let files = rust_files(&source);
    let tests = test_files(&source, &files);
    let mut found = Vec::new();
    for file in files.difference(&tests) {
        let name = file.strip_prefix(&source).expect("a file of src");
        if name == Path::new("lib.rs") || name == Path::new("main.rs") {
            continue;
        }
        found.extend(offences(
            name,
            &std::fs::read_to_string(file).expect("the file can be read"),
            &order,
        ));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_use_that_points_down_is_found_in_every_form() {
    let order: Vec<String> = ["names", "render", "plan", "apply"].map(str::to_owned).to_vec();
    let of = |file: &str, text: &str| offences(Path::new(file), text, &order).len();
    assert_eq!(
        of(
            "plan/mod.rs",
            "use crate::names::AppName;\nuse crate::plan::Plan;"
        ),
        0
    );
    assert_eq!(of("names.rs", "use crate::plan::Plan;"), 1);
    assert_eq!(of("render/app.rs", "fn f() -> crate::plan::Plan { todo!() }"), 1);
    assert_eq!(
        of(
            "render/app.rs",
            "use crate::{\n    names::{AppName, plan},\n    apply::Applied,\n};"
        ),
        1
    );
    assert_eq!(of("render/mod.rs", "use super::plan::Plan;"), 1);
    assert_eq!(of("render/app.rs", "use super::plan::Plan;"), 0);
    assert_eq!(of("render/app.rs", "use super::super::plan::Plan;"), 1);
    assert_eq!(
        of("names.rs", "// see crate::plan\n/// [`crate::plan`]\nstruct X;"),
        0
    );
    assert_eq!(
        of(
            "names.rs",
            "struct X;\n#[cfg(test)]\nmod tests {\n    use crate::plan::Plan;\n}\n"
        ),
        0
    );
    assert_eq!(
        of(
            "names.rs",
            "#[cfg(test)]\nmod tests {\n    fn x() {}\n}\nuse crate::plan::Plan;\n"
        ),
        1
    );
}

#[test]
fn an_effect_in_a_pure_folder_is_found_in_every_form() {
    let of = |file: &str, text: &str| offences(Path::new(file), text, &[]).len();
    assert_eq!(of("plan/mod.rs", "use std::fs;"), 1);
    assert_eq!(of("plan/mod.rs", "let text = std::fs::read(path);"), 1);
    assert_eq!(of("plan/mod.rs", "use std::{collections::BTreeMap, env};"), 1);
    assert_eq!(of("render/compose/mod.rs", "use tokio::sync::Mutex;"), 1);
    assert_eq!(of("report/exit.rs", "std::process::Command::new(program)"), 1);
    assert_eq!(of("report/exit.rs", "use std::process::ExitCode;"), 0);
    assert_eq!(of("live/docker/mod.rs", "use tokio::sync::Mutex;"), 0);
    assert_eq!(of("plan/mod.rs", "use std::{collections::BTreeMap, fmt};"), 0);
    assert_eq!(
        of("plan/mod.rs", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"),
        0
    );
}
