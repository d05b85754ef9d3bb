//! The objects of `tests/cases/kubernetes`, as they are and as their marks change them.
//!
//! A comment at the end of a line says what becomes of it in the next commit, and what that comes to:
//!
//! | Mark | The line | The object |
//! |---|---|---|
//! | `key: old #> new` | gets another value | changes |
//! | `key: old #-` | goes | changes |
//! | `#+ key: new` | comes | changes |
//! | `#~ key: value` | comes, with the value that the server had filled in | stays as it is, and has another owner of the field |
//! | `key: 1000m #= 1` | is written in another way | stays as it is |
//! | `key: old #! new` | gets a value that can't be set on what is there | is refused |
//!
//! `${unique}` stands in all names outside of namespaces, for a name that no other test has.

use std::collections::BTreeMap;

use regex::Regex;

use crate::support::root;

/// What the marks of an object come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Same,
    Taken,
    Changed,
    Refused,
}

/// One object of the corpus.
pub struct Document {
    file: String,
    /// `Kind/name`; no two have the same, whatever their namespaces.
    pub key: String,
    pub verdict: Verdict,
    before: String,
    after: String,
}

/// All objects.
pub struct Corpus {
    pub documents: Vec<Document>,
}

impl Corpus {
    /// Reads all files, with `unique` in the names.
    pub fn read(unique: &str) -> Self {
        let kind = Regex::new(r#"\bkind"?: "?(\w+)"#).expect("a pattern");
        let name = Regex::new(r#"\bmetadata"?:(?s:.*?)\bname"?: "?([^\s",}]+)"#).expect("a pattern");
        let folder = root().join("tests/cases/kubernetes");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .expect("the corpus")
            .map(|entry| entry.expect("the corpus").path())
            .collect();
        files.sort();
        let mut documents = Vec::new();
        for path in files {
            let text = std::fs::read_to_string(&path).expect("a file of the corpus");
            let file = path.file_name().expect("a file").to_string_lossy().into_owned();
            for before in text.replace("${unique}", unique).split("\n---\n") {
                let find = |pattern: &Regex| {
                    let found = pattern.captures(before);
                    found.unwrap_or_else(|| panic!("no object in {file}:\n{before}"))[1].to_owned()
                };
                let key = format!("{}/{}", find(&kind), find(&name));
                let verdict = before.lines().filter_map(mark).map(|(verdict, _)| verdict).max();
                documents.push(Document {
                    file: file.clone(),
                    verdict: verdict.unwrap_or_else(|| panic!("{file}: no line of {key} has a mark")),
                    key,
                    after: before.lines().filter_map(next).collect::<Vec<_>>().join("\n"),
                    before: before.to_owned(),
                });
            }
        }
        Self { documents }
    }

    /// The verdict of each object.
    pub fn verdicts(&self) -> BTreeMap<String, Verdict> {
        let pairs = self.documents.iter().map(|one| (one.key.clone(), one.verdict));
        let verdicts: BTreeMap<String, Verdict> = pairs.collect();
        assert_eq!(verdicts.len(), self.documents.len(), "a key stands twice");
        verdicts
    }

    /// The files, with the next commit's text of the objects that `changes` picks.
    pub fn files(&self, changes: impl Fn(&Document) -> bool) -> BTreeMap<String, String> {
        self.files_by(|one| {
            if changes(one) {
                one.after.clone()
            } else {
                one.before.clone()
            }
        })
    }

    /// The next commit, in which what is refused says that it may be made anew.
    pub fn forced(&self) -> BTreeMap<String, String> {
        self.files_by(|one| match one.verdict {
            Verdict::Refused => {
                assert!(!one.after.contains("\n  annotations:"), "{}", one.key);
                let force = "\nmetadata:\n  annotations: { driftless.dev/force: \"true\" }\n";
                one.after.replacen("\nmetadata:\n", force, 1)
            }
            _ => one.after.clone(),
        })
    }

    fn files_by(&self, text: impl Fn(&Document) -> String) -> BTreeMap<String, String> {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for document in &self.documents {
            let file = files.entry(document.file.clone()).or_default();
            if !file.is_empty() {
                file.push_str("\n---\n");
            }
            file.push_str(&text(document));
        }
        files
    }
}

/// What a line's mark comes to, and what the line is afterwards.
fn mark(line: &str) -> Option<(Verdict, Option<String>)> {
    if let Some(kept) = line.strip_suffix(" #-") {
        assert!(!kept.trim().is_empty());
        return Some((Verdict::Changed, None));
    }
    let whole = line.trim_start();
    for (mark, verdict) in [("#+ ", Verdict::Changed), ("#~ ", Verdict::Taken)] {
        if let Some(new) = whole.strip_prefix(mark) {
            return Some((verdict, Some(line.replacen(whole, new, 1))));
        }
    }
    let marks = [
        (" #> ", Verdict::Changed),
        (" #= ", Verdict::Same),
        (" #! ", Verdict::Refused),
    ];
    marks.into_iter().find_map(|(mark, verdict)| {
        let (old, new) = line.split_once(mark)?;
        let key = old.find(": ").or_else(|| old.find("- "));
        let (key, _) = old.split_at(key.unwrap_or_else(|| panic!("no value to change: {line}")) + 2);
        Some((verdict, Some(format!("{key}{new}"))))
    })
}

fn next(line: &str) -> Option<String> {
    mark(line).map_or_else(|| Some(line.to_owned()), |(_, after)| after)
}
