//! What an app is turned towards when it may not simply follow Git.
//!
//! In: what Git wants, and what the store says of the app. Out: [`Orders`]. Guaranteed: `sync: manual`, and an app whose
//! predecessors are not done, get nothing new; what the machine settled on is kept as it should be. Must not: write.

use crate::history::{Phase, StoreError};
use crate::names::AppKey;
use crate::render::Desired;

use super::look::desired_of;
use super::world::{Commit, World};

/// What a run of an app is about.
pub(super) enum Orders {
    /// What Git wants: nothing of it is new, or it is held, or a person began it.
    Git,
    /// The release that the machine settled on, with the reason why it is not Git's.
    Effective {
        desired: Box<Desired>,
        commit: Commit,
        why: String,
    },
    /// Nothing, with the reason.
    Rest(String),
}

/// Decides for an app that must get nothing new. `keep`: because others come first; else because of `sync: manual`.
pub(super) fn orders(world: &World, key: &AppKey, git: &Desired, keep: bool) -> Result<Orders, StoreError> {
    let history = world.history.as_ref();
    let state = history.state(key)?;
    let is_git = |number: Option<u64>| -> Result<bool, StoreError> {
        let Some(number) = number else { return Ok(false) };
        Ok(history
            .summary(key, number)?
            .is_some_and(|summary| summary.content == git.content))
    };
    if is_git(state.effective)? || (state.phase.in_flight() && is_git(state.candidate)?) {
        return Ok(Orders::Git);
    }
    for hold in history.holds(key)? {
        if is_git(hold.release)? {
            return Ok(Orders::Git);
        }
    }
    let why = if keep {
        "what is new waits for others; what runs is kept".to_owned()
    } else {
        format!(
            "`sync: manual`: what is new at {} waits for `driftless apply {}`",
            git.revision.short(),
            key.app
        )
    };
    // While it is frozen nothing is healed (decision 17), and what is unfinished is not judged by another release.
    if state.phase == Phase::Frozen || state.phase.in_flight() || (keep && state.phase == Phase::Held) {
        return Ok(Orders::Rest(why));
    }
    let Some(number) = state.effective else {
        return Ok(Orders::Rest(why));
    };
    match history.release(key, number) {
        Ok(Some(record)) => Ok(Orders::Effective {
            commit: Commit {
                revision: record.revision.clone(),
                subject: record.subject.clone(),
                author: record.author.clone(),
                time: None,
            },
            desired: Box::new(desired_of(&record)),
            why,
        }),
        Ok(None) | Err(StoreError::Sealed { .. }) => Ok(Orders::Rest(why)),
        Err(error) => Err(error),
    }
}
