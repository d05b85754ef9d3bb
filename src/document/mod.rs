//! Bytes → spanned YAML values.

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Place {
    pub file: std::sync::Arc<str>,
    pub line: u32,
    pub column: u32,
}
