//! Bytes → spanned YAML values, and diagnostics that show the line they speak of.
//!
//! In: the bytes of one file, its name, the [`Dialect`] whose scalar rules apply, a [`Budget`]. Out: [`Document`]s whose
//! every node knows where it was written, or [`Diagnostics`]. Guaranteed: no input panics, takes more than its budget, or
//! loses a key in silence; scalars are typed as the platform's own tool types them, and keep their text so that they can be
//! typed again after interpolation. Must not: open files, know what any key means, or decide what is secret (that is
//! [`crate::secret::looks_secret`]; snippets ask it).

pub mod codes;
mod place;
mod node;
mod scalar;
mod diagnostic;
mod snippet;
mod build;
mod load;
mod fields;

pub use codes::{Code, Entry as CodeEntry};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use fields::{FieldRules, Fields, did_you_mean};
pub use load::{Budget, Document, parse, parse_bytes};
pub use node::{Item, Mapping, Node, Scalar, Tag, Value};
pub use place::{File, Place, Span, Spanned};
pub use scalar::{Dialect, Style, resolve};

#[cfg(test)]
mod tests;
