//! Every diagnostic code, with the text that `driftless explain CODE` prints.
//!
//! In: nothing. Out: [`Code`]. Guaranteed: numbers and slugs are unique, and every code has a title and an explanation
//! (a test reads the whole table). Must not: be renumbered: a published code keeps its meaning.
//!
//! One file per area; a stage adds its codes to its area's file:
//! `E01xx` YAML and documents · `E02xx` Compose and manifests · `E03xx` settings · `E04xx` source and Git ·
//! `E05xx` target and engine · `E06xx` plan, gate, apply · `E07xx` usage · `E08xx` Kubernetes manifests and renderers.

use std::fmt;

/// A diagnostic code. Its constants are declared in this folder's tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u16);

/// What is known about a code.
#[derive(Debug)]
pub struct Entry {
    /// The code.
    pub code: Code,
    /// A stable name for machines, for example `duplicate-key`.
    pub slug: &'static str,
    /// One line.
    pub title: &'static str,
    /// What it means, why it is refused, what to do, an example.
    pub explanation: &'static str,
}

/// Declares codes: constants on [`Code`] and the area's table.
macro_rules! codes {
    ($($name:ident = $number:literal, $slug:literal, $title:literal, $explanation:literal;)*) => {
        impl super::Code {
            $(
                #[doc = $title]
                pub const $name: super::Code = super::Code($number);
            )*
        }
        pub(super) const TABLE: &[super::Entry] = &[$(
            super::Entry { code: super::Code($number), slug: $slug, title: $title, explanation: $explanation },
        )*];
    };
}

mod yaml;
mod compose;
mod settings;
mod source;
mod target;
mod cluster;
mod run;
mod usage;
mod kubernetes;

const TABLES: [&[Entry]; 9] = [
    yaml::TABLE,
    compose::TABLE,
    settings::TABLE,
    source::TABLE,
    target::TABLE,
    cluster::TABLE,
    run::TABLE,
    usage::TABLE,
    kubernetes::TABLE,
];

impl Code {
    /// All codes, in order of their areas.
    pub fn all() -> impl Iterator<Item = &'static Entry> {
        TABLES.iter().flat_map(|table| table.iter())
    }

    /// The number, without the `E`.
    pub fn number(self) -> u16 {
        self.0
    }

    /// What is known about it.
    pub fn entry(self) -> Option<&'static Entry> {
        Self::all().find(|entry| entry.code == self)
    }

    /// Its machine name.
    pub fn slug(self) -> &'static str {
        self.entry().map_or("unknown", |entry| entry.slug)
    }

    /// Finds a code by what a person types: `E0105`, `e105`, `0105`, `105` or its slug.
    pub fn find(text: &str) -> Option<&'static Entry> {
        let text = text.trim();
        let number = text.strip_prefix(['E', 'e']).unwrap_or(text).parse::<u16>().ok();
        Self::all().find(|entry| Some(entry.code.0) == number || entry.slug.eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{:04}", self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_is_unique_and_explained() {
        let (mut numbers, mut slugs) = (BTreeSet::new(), BTreeSet::new());
        for table in TABLES {
            let area = table.first().map_or(0, |entry| entry.code.0 / 100);
            for entry in table {
                assert_eq!(
                    entry.code.0 / 100,
                    area,
                    "{} stands in the wrong area's table",
                    entry.code
                );
                assert!(numbers.insert(entry.code.0), "{} is declared twice", entry.code);
                assert!(slugs.insert(entry.slug), "{} is used twice", entry.slug);
                assert!(
                    entry
                        .slug
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
                );
                assert!(
                    !entry.title.is_empty() && !entry.title.ends_with('.'),
                    "{}: title",
                    entry.code
                );
                assert!(
                    entry.explanation.len() >= 80,
                    "{} needs an explanation",
                    entry.code
                );
                assert!(
                    entry.explanation.ends_with('\n'),
                    "{}: explanation ends with a line break",
                    entry.code
                );
            }
        }
    }

    #[test]
    fn a_code_is_found_by_any_of_its_names() {
        for text in ["E0105", "e105", "0105", "105", "duplicate-key", "Duplicate-Key"] {
            assert_eq!(
                Code::find(text).map(|entry| entry.code),
                Some(Code::DUPLICATE_KEY),
                "{text}"
            );
        }
        assert!(Code::find("E9999").is_none());
        assert!(Code::find("").is_none());
    }
}
