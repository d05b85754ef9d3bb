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

pub mod world;
pub mod snapshot;
pub mod inventory;
pub mod look;
pub mod stand;
mod stage;
mod way_back;
pub mod cycle;
pub mod schedule;
pub mod shutdown;
mod vanish;
mod chronicle;
mod orders;
mod roster;
mod say;
mod follow;
mod take_down;
pub mod supervisor;

pub use cycle::{cycle, down, put_back, restart};
pub use follow::Followed;
pub use look::{Look, LookError, look, look_at_release};
pub use shutdown::Stop;
pub use snapshot::{ReadError, Snapshot};
pub use stand::{ServiceStand, Stand, stand};
pub use supervisor::{Crank, Ended, Operator, Pace, SuperviseError, Supervisor};
pub use world::{Commit, Expected, Options, Turn, World};
