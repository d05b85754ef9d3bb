//! A test file without a `mod` line would never run, and nobody would notice.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every `.rs` file under `folder`.
pub fn rust_files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.insert(path);
        }
    }
    found
}

/// The files that `file` and what it declares with `mod name;` make up, `#[path = ".."]` included.
fn reached(file: &Path, all: &BTreeSet<PathBuf>, found: &mut BTreeSet<PathBuf>) {
    if !all.contains(file) || !found.insert(file.to_owned()) {
        return;
    }
    let stem = file.file_stem().unwrap_or_default();
    let parent = file.parent().expect("a file lies in a folder");
    let children = if stem == "mod" || stem == "main" || stem == "lib" {
        parent.to_owned()
    } else {
        parent.join(stem)
    };
    let declaration = regex::Regex::new(
        r#"(?m)(?:^|;)\s*(?:#\[path\s*=\s*"([^"]+)"\]\s*)?(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\b"#,
    )
    .expect("a valid pattern");
    let text = std::fs::read_to_string(file).expect("the file can be read");
    for captures in declaration.captures_iter(&text) {
        if let Some(path) = captures.get(1) {
            reached(&parent.join(path.as_str()), all, found);
        }
        reached(&children.join(format!("{}.rs", &captures[2])), all, found);
        reached(&children.join(&captures[2]).join("mod.rs"), all, found);
    }
}

#[test]
fn every_file_is_reached_by_a_mod_line() {
    for (folder, roots) in [("tests/suite", &["main.rs"][..]), ("src", &["lib.rs", "main.rs"])] {
        let folder = crate::support::root().join(folder);
        let all = rust_files(&folder);
        let mut found = BTreeSet::new();
        for root in roots {
            reached(&folder.join(root), &all, &mut found);
        }
        let forgotten: Vec<_> = all.difference(&found).collect();
        assert!(forgotten.is_empty(), "no `mod` line leads to {forgotten:?}");
    }
}
