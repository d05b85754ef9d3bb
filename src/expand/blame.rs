//! A tool's words → a finding with its place.
//!
//! In: what the tool printed on standard error, paths already the repository's. Out: one [`Diagnostic`]. Guaranteed: the
//! tool's last lines are shown, bounded. Must not: lose the message where no place is found in it.

use super::kustomization::Written;
use crate::document::{Code, Diagnostic, Diagnostics, File, Node};
use crate::source::{Checkout, RepoPath};

/// The most characters of a tool's words in a finding.
const SHOWN: usize = 2_000;

/// The first line without `Error:`, and what follows it, both bounded.
fn words(stderr: &str) -> (String, Option<String>) {
    let mut lines = stderr
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty() && !line.contains("Use --debug flag") && !line.starts_with("level="))
        .skip_while(|line| !line.starts_with("Error") && stderr.contains("\nError"));
    let first = lines.next().unwrap_or("it ended without a message");
    let first = first.strip_prefix("Error: ").unwrap_or(first);
    let rest: String = lines.collect::<Vec<_>>().join("\n").chars().take(SHOWN).collect();
    (
        first.chars().take(SHOWN).collect(),
        (!rest.is_empty()).then_some(rest),
    )
}

fn finding(code: Code, span: &crate::document::Span, tool: &str, stderr: &str) -> Diagnostic {
    let (first, rest) = words(stderr);
    let found = Diagnostic::error(code, span, format!("{tool}: {first}"));
    match rest {
        Some(rest) => found.with_note(rest),
        None => found,
    }
}

/// kustomize names files and fields in its message, without lines: the longest text of a kustomization that is in the
/// message is what it speaks of.
pub(super) fn kustomize(stderr: &str, folder: &RepoPath, strings: &[Written]) -> Diagnostic {
    let quoted = |text: &str| {
        [('\'', '\''), ('"', '"'), ('`', '`')]
            .iter()
            .any(|(open, close)| stderr.contains(&format!("{open}{text}{close}")))
    };
    let named = strings
        .iter()
        .filter(|written| written.text.len() > 1 && quoted(&written.text))
        .max_by_key(|written| written.text.len());
    let whole = file(folder, "kustomization.yaml").whole();
    let span = named.map_or(&whole, |written| &written.span);
    if stderr.contains("external plugins disabled")
        || stderr.contains("--enable-helm")
        || stderr.contains("--enable-alpha-plugins")
    {
        return finding(Code::RENDER_REFUSED, span, "kustomize", stderr).with_help(
            "programs and charts inside of a kustomization are not run; commit what they generate",
        );
    }
    finding(Code::RENDERER, span, "kustomize", stderr)
}

/// Helm names templates as `CHART/templates/x.yaml:LINE:COLUMN`, with the chart's name in the place of its folder.
pub(super) fn helm(stderr: &str, folder: &RepoPath, chart: &str) -> Diagnostic {
    let span = template(stderr, folder, chart).unwrap_or_else(|| file(folder, "Chart.yaml").whole());
    finding(Code::RENDERER, &span, "helm", stderr)
}

fn file(folder: &RepoPath, name: &str) -> File {
    let path = folder.join(name).unwrap_or_else(|_| folder.clone());
    File::new(path.as_str(), "")
}

fn template(stderr: &str, folder: &RepoPath, chart: &str) -> Option<crate::document::Span> {
    let start = format!("{chart}/");
    let at = stderr.match_indices(&start).map(|(at, _)| at).find(|at| {
        // A word of its own, not the end of another path.
        let before = stderr.get(..*at).and_then(|text| text.chars().next_back());
        before.is_none_or(|before| " (\"'".contains(before))
    })?;
    let rest = stderr.get(at + start.len()..)?;
    let end = rest.find([':', ' ', ')', '"', '\n']).unwrap_or(rest.len());
    let path = rest.get(..end).filter(|path| path.contains('.'))?;
    let mut numbers = rest.get(end..)?.split(':').skip(1);
    let mut number = || {
        let digits: String = numbers.next()?.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<usize>().ok()
    };
    // Columns of Go's templates count bytes from 0.
    let line = number();
    let column = line.and_then(|_| number()).map(|column| column + 1);
    let file = file(folder, path);
    Some(match line {
        Some(line) => file.place_only(line, column.unwrap_or(0)),
        None => file.whole(),
    })
}

/// Dependencies of a chart that are not in its `charts/` folder: Helm would have to fetch them.
pub(super) fn dependencies(checkout: &Checkout, folder: &RepoPath, root: &Node) -> Diagnostics {
    let mut findings = Diagnostics::new();
    let vendored: Vec<String> = folder
        .join("charts")
        .ok()
        .filter(|charts| checkout.is_dir(charts))
        .and_then(|charts| checkout.list(&charts).ok())
        .map(|listing| listing.entries.into_iter().map(|entry| entry.name).collect())
        .unwrap_or_default();
    for one in root
        .get("dependencies")
        .and_then(Node::as_sequence)
        .unwrap_or_default()
    {
        let Some(name) = one.get("name").and_then(Node::as_str) else {
            continue;
        };
        // `redis`, `redis-18.1.0.tgz`; a folder may have any name, so an unknown one is given the benefit of the doubt.
        let here = vendored.iter().any(|file| {
            file == name
                || !file.ends_with(".tgz")
                || file.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
        });
        if !here {
            findings.push(
                Diagnostic::error(
                    Code::RENDER_REMOTE,
                    &one.span,
                    format!("the chart's dependency `{name}` is not in `{folder}/charts`"),
                )
                .with_help("run `helm dependency build` and commit the charts folder"),
            );
        }
    }
    findings
}
