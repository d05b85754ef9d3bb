//! Whether anything of an app may be changed at all.
//!
//! In: what is known of the app and what was seen. Out: nothing, or the refusal that ends the run. Guaranteed: a suspended
//! app, an engine that is not the known one and a project that another app claims stop every change. Must not: judge a plan
//! (`gate/` does).

use crate::report::{End, Obstacle};

use super::look::Look;
use super::stage::Bench;

/// Whether anything may be changed at all.
pub(super) fn admit(bench: &Bench<'_>, look: &Look) -> Result<(), Box<End>> {
    let now = bench.world.clock.now();
    if let Some(suspension) = look
        .state
        .suspended
        .as_ref()
        .filter(|suspended| suspended.until.is_none_or(|until| until > now))
    {
        let until = suspension
            .until
            .map_or("until it is resumed".to_owned(), |until| {
                format!("until {until:.0}")
            });
        let message = format!("suspended {until} by {}: {}", suspension.by, suspension.reason);
        let help = format!("driftless resume {}", bench.turn.key.app);
        return Err(refuse("E0610", message, help));
    }
    if let Some(known) = look
        .state
        .target
        .as_ref()
        .filter(|known| **known != look.observed.engine.id)
    {
        let message = format!(
            "{} is another engine than the one this app was applied to (id {}, was {known})",
            bench.turn.target.name(),
            look.observed.engine.id
        );
        let help = format!(
            "if the engine was set up anew: `driftless takeover {}`",
            bench.turn.key.app
        );
        if !bench.turn.options.takeover {
            return Err(refuse("E0611", message, help));
        }
    }
    bench
        .world
        .history
        .claim(
            &bench.turn.key,
            &look.observed.engine.id,
            &bench.turn.desired.project.name,
        )
        .map_err(|error| {
            let help =
                "give one of the two apps another project name (top-level `name:` in its Compose file)";
            refuse("E0605", error.to_string(), help.to_owned())
        })
}

fn refuse(code: &str, message: String, help: String) -> Box<End> {
    Box::new(End::Refused {
        problems: vec![Obstacle {
            code: code.to_owned(),
            message,
            place: None,
            help: Some(help),
            pre_flight: false,
        }],
    })
}
