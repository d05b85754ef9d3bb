//! The long form of a diagnostic: its lines of the file with marks under them.
use super::diagnostic::Diagnostic;

/// See [`Diagnostic::render`].
pub(super) fn render(diagnostic: &Diagnostic, _color: bool, _width: usize) -> String {
    format!("error[{}]: {diagnostic}", diagnostic.code)
}
