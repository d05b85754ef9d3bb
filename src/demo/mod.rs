//! `driftless demo`: a whole turn of the loop on a throw-away repository, and the software that runs in it.
//!
//! In: an engine of this machine or a cluster, and the program's own file. Out: the story, told while it happens, and
//! whether each step really did. Guaranteed: everything it makes has names of its own, and is removed again, after a
//! failure and a Ctrl-C too. Must not: touch what it did not make, or need a network.

pub mod images;
pub mod program;
pub mod example;
pub mod repository;
pub mod server;
pub mod shell;
pub mod visitor;
pub mod error;
mod teller;
mod story;
pub mod docker;
pub mod kubernetes;

pub use error::DemoError;
