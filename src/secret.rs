//! Values that have no way to be printed, and the mask that removes them from text.
//!
//! In: values that came from outside the commit, or whose name or shape says secret (decision 5). Out: [`Secret`],
//! [`Mask`]. Guaranteed: `Debug` shows a placeholder, there is no `Display`, and `Serialize` exists only for the sealed
//! release record. Must not: decide what is secret anywhere else than in [`looks_secret`] and by origin.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What stands in the place of a secret in every surface.
pub const MASKED: &str = "(secret)";

/// A value that cannot be printed. `Serialize` is for the sealed release record only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one call that needs it. Every use is a place to review.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASKED)
    }
}

/// Text from a manifest that knows whether it may be shown.
///
/// `secret` is set when any part of it came from outside the commit (an operator's variable, an env file that is not in
/// Git, a secret file) or when [`looks_secret`] says so for the name it is stored under.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Text {
    /// The value itself. Only requests to the engine and the sealed record may read it when `secret` is set.
    pub value: String,
    /// Whether it must be masked wherever people or programs could read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

impl Text {
    /// Text that may be shown.
    pub fn plain(value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            secret: false,
        }
    }

    /// Text that must be masked.
    pub fn secret(value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            secret: true,
        }
    }

    /// What may be shown: the value, or the placeholder.
    pub fn shown(&self) -> &str {
        if self.secret { MASKED } else { &self.value }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.shown(), f)
    }
}

/// The published list of name parts that make a literal secret (docs/secrets.md).
pub const SECRET_NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "private_key",
    "private-key",
    "privatekey",
    "credential",
    "access_key",
    "access-key",
    "accesskey",
    "auth_key",
    "client_key",
    "signing_key",
    "encryption_key",
    "master_key",
    "session_key",
    "database_url",
    "dsn",
];

/// Whether a literal stored under `name` is secret by its name or its shape: a name on [`SECRET_NAMES`] (unless it ends in
/// `_file`), a PEM block, or a URL with a password in it.
pub fn looks_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let by_name = !name.ends_with("_file")
        && !name.ends_with("_path")
        && (SECRET_NAMES.iter().any(|part| name.contains(part)) || name == "pass" || name.ends_with("_pass"));
    let by_shape = value.contains("-----BEGIN ") || url_with_password(value) || known_token(value);
    !value.is_empty() && (by_name || by_shape)
}

fn url_with_password(value: &str) -> bool {
    value.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority
            .rsplit_once('@')
            .is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, p)| !p.is_empty()))
    })
}

fn known_token(value: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "ghp_",
        "gho_",
        "ghs_",
        "github_pat_",
        "glpat-",
        "xoxb-",
        "xoxp-",
        "AKIA",
        "AGE-SECRET-KEY-1",
    ];
    PREFIXES
        .iter()
        .any(|prefix| value.starts_with(prefix) && value.len() >= prefix.len() + 12)
}

/// All secret values of one run, so that free text (log tails, engine errors) can be cleaned of them.
#[derive(Clone, Default)]
pub struct Mask(Arc<BTreeSet<String>>);

impl Mask {
    /// A mask over `values`. Values shorter than four characters are left out: masking every `1` or `no` would destroy the
    /// text and prove the value instead of hiding it.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        Self(Arc::new(
            values
                .into_iter()
                .flat_map(variants)
                .filter(|value| value.len() >= 4)
                .collect(),
        ))
    }

    /// The values themselves, for the sealed record of a release.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Both masks' values.
    pub fn union(&self, other: &Mask) -> Mask {
        Mask(Arc::new(self.0.union(&other.0).cloned().collect()))
    }

    /// `text` with every known secret value replaced.
    pub fn clean(&self, text: &str) -> String {
        let mut cleaned = text.to_owned();
        // Longest first, so that a secret that contains another is replaced whole.
        let mut values: Vec<&String> = self.0.iter().collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        for value in values {
            if cleaned.contains(value.as_str()) {
                cleaned = cleaned.replace(value.as_str(), MASKED);
            }
        }
        cleaned
    }
}

/// The shapes in which a value can come back from an engine or a program: as it is, trimmed, line by line, JSON-escaped,
/// base64 and percent-encoded.
fn variants(value: String) -> Vec<String> {
    use base64::Engine as _;
    let trimmed = value.trim().to_owned();
    let json = serde_json::to_string(&value).unwrap_or_default();
    let mut all = vec![
        base64::engine::general_purpose::STANDARD.encode(&value),
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&value),
        url::form_urlencoded::byte_serialize(value.as_bytes()).collect(),
        hex::encode(&value),
        json.trim_matches('"').to_owned(),
        trimmed,
    ];
    if value.contains('\n') {
        all.extend(value.lines().filter(|line| line.len() >= 12).map(str::to_owned));
    }
    all.push(value);
    if all.last().is_some_and(|value| value.len() < 4) {
        Vec::new()
    } else {
        all
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} values)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_cannot_be_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), MASKED);
        assert_eq!(format!("{:?}", Text::secret("hunter2")), format!("{MASKED:?}"));
    }

    #[test]
    fn names_and_shapes_on_the_list_are_secret() {
        assert!(looks_secret("POSTGRES_PASSWORD", "x"));
        assert!(!looks_secret("POSTGRES_PASSWORD_FILE", "/run/secrets/pg"));
        assert!(looks_secret("URL", "postgres://u:p@db/x"));
        assert!(!looks_secret("URL", "http://db/x"));
        assert!(!looks_secret("KEY", "value"));
    }

    #[test]
    fn the_mask_removes_every_shape_of_a_value() {
        let mask = Mask::new(["can\"ary-1234".to_owned()]);
        let cleaned =
            mask.clean("a can\"ary-1234 b can\\\"ary-1234 c Y2FuImFyeS0xMjM0 d 63616e226172792d31323334");
        assert_eq!(cleaned, "a (secret) b (secret) c (secret) d (secret)");
    }
}
