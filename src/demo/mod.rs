//! `driftless demo`: a whole turn of the loop on throw-away containers, and the software that runs in them.
//!
//! In: an engine on this machine and the program's own file. Out: the story, told while it happens, and whether each step
//! really did. Guaranteed: everything it makes has names of its own, and is removed again, after a failure and a Ctrl-C
//! too. Must not: touch what it did not make, or need a network.

pub mod images;
pub mod program;
pub mod repository;
pub mod server;
pub mod shell;
pub mod story;
pub mod visitor;
pub mod witness;

pub use story::{Demo, DemoError, run};
