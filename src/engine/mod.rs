//! What turns the crank.
//!
//! In: apps that are due. Out: runs. Guaranteed: one run per app at a time; every run ends in a recorded [`Run`]
//! (`crate::report::Run`); a failure is a result, never an exception. Must not: know Docker's calls, or print.
//!
//! ```text
//! supervisor ── due? ──▶ cycle ── look ─▶ gate ─▶ apply ─▶ settle ─▶ decide ─┬─ keep ─▶ prune
//!                          ▲                                                 ├─ way back (a stored release, same steps)
//!                          └────────── judge again ◀─────────────────────────┴─ freeze
//! ```

pub mod moves;
pub mod world;
pub mod snapshot;
pub mod inventory;
mod lease;
pub mod objects;
pub mod look;
pub mod sightings;
pub mod stand;
mod stage;
mod way_back;
mod book;
mod admit;
mod candidate;
mod one_way;
mod endings;
mod rest;
pub mod cycle;
mod down;
mod restart;
pub mod schedule;
pub mod shutdown;
mod vanish;
mod chronicle;
mod orders;
mod roster;
mod say;
mod follow;
mod gone;
pub mod supervisor;

pub use cycle::cycle;
pub use down::{down, down_plan};
pub use follow::Followed;
pub use look::{Look, LookError, look, look_at_release};
pub use restart::restart;
pub use shutdown::Stop;
pub use snapshot::{ReadError, Snapshot};
pub use stand::{ServiceStand, Stand, stand};
pub use supervisor::{Crank, Ended, Operator, Pace, SuperviseError, Supervisor};
pub use way_back::{put_back, rollback_plan};
pub use world::{Commit, Expected, Options, Turn, World};
