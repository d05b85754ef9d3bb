//! Git → [`Checkout`].
//!
//! In: a location, a ref, a place for mirrors, credentials. Out: the commit a ref points to, and an immutable view of it.
//! Guaranteed: the network is touched only by a `git` child that can be killed, with a deadline and a cap on its output; an
//! unchanged remote costs one `git ls-remote` of one ref; every way a repository can fail is a typed [`SourceError`] and
//! changes nothing live. Must not: run anything a repository names (hooks, filters, submodules), or show a credential.
//!
//! ```text
//! Location ──┬─ local ──── git2, in place ───────────────┐
//!            └─ remote ─── git child ── bare mirror ─────┴─ git2 by object id ── Checkout
//! ```

pub mod path;
pub mod checkout;
pub mod local;
mod tree;
mod workdir;

pub use checkout::{Blob, Checkout, CheckoutError, DEFAULT_FILE_CAP, Entry, EntryKind, Input, Inputs, Listing, ObjectId, Origin};
pub use local::Uncommitted;
pub use path::{PathError, RepoPath};
