//! Steps on objects of a cluster: one journaled call, and waits for what an object becomes.
//!
//! In: an op or a condition. Out: whether it worked. Guaranteed: the journal holds the intent before the call; a cluster that
//! can't be asked stops the clock of a wait; a wait for a deletion that takes too long names the finalizers. Must not: decide.

use std::sync::PoisonError;

use serde_json::Value;

use super::wait::End;
use super::{Hands, Made, StepFailure, Why, pause_before};
use crate::health::kubernetes::{Applied, Rules, Scene, Sightings, judge};
use crate::health::{Cause, CauseKind, Verdict};
use crate::journal::{Ending, Intent};
use crate::live::kubernetes::fields;
use crate::live::kubernetes::op::Op;
use crate::names::{AppKey, ObjectKey, ResourceKey};
use crate::plan::Await;
use crate::progress::Event;

/// One journaled call. It is not interrupted by a stop: its outcome must be known.
pub(super) async fn send(
    key: &AppKey,
    resource: &ResourceKey,
    op: &Op,
    made: &Made,
    hands: Hands<'_>,
) -> Result<(), StepFailure> {
    let fail = |why| StepFailure {
        step: op.to_string(),
        why,
    };
    let intent = Intent {
        run: hands.run.clone(),
        key: key.clone(),
        resource: resource.clone(),
        op: hands.mask.clean(&op.to_string()),
        at: hands.clock.now(),
    };
    let entry = hands
        .journal
        .intend(&intent)
        .map_err(|error| fail(Why::Journal(error)))?;
    let answer = match hands.target.cluster() {
        Ok(cluster) => cluster.execute(op).await,
        Err(error) => Err(error),
    };
    let ending = match &answer {
        Ok(receipt) => Ending::Done {
            id: receipt.object.as_ref().map(|object| object.uid.clone()),
        },
        Err(error) if error.may_have_happened() => Ending::Unknown {
            error: hands.mask.clean(&error.to_string()),
        },
        Err(error) => Ending::Refused {
            error: hands.mask.clean(&error.to_string()),
        },
    };
    let completed = hands.journal.complete(entry, &ending, hands.clock.now());
    let receipt = answer.map_err(|error| fail(Why::Engine(Box::new(error.cleaned(hands.mask)))))?;
    completed.map_err(|error| fail(Why::Journal(error)))?;
    for warning in &receipt.warnings {
        tracing::warn!(app = %key.app, "the cluster warns: {}", hands.mask.clean(warning));
    }
    if let (Op::Apply { key, body, .. }, Some(object)) = (op, receipt.object) {
        let mut objects = made.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.insert(key.clone(), (fields::digest(&body.0), object));
    }
    Ok(())
}

/// Waits until an object is ready by the rules of its kind.
pub(super) async fn ready(
    key: &AppKey,
    resource: &ResourceKey,
    object: &ObjectKey,
    awaited: &Await,
    made: &Made,
    hands: Hands<'_>,
) -> End {
    let generation = {
        let objects = made.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get(object).and_then(|(_, object)| object.generation)
    };
    let applied = Applied {
        generation,
        ..Applied::at(hands.clock.now())
    };
    let rules = Rules::of(hands.health);
    let mut seen = Sightings::default();
    let mut patience = awaited.patience;
    let mut read = 0;
    loop {
        let pause = pause_before(read);
        let now = hands.clock.now();
        let around = match hands.target.cluster() {
            Ok(cluster) => cluster.surroundings(std::slice::from_ref(object)).await,
            Err(error) => Err(error),
        };
        match around {
            Ok(around) => {
                let judged = judge(&Scene {
                    now,
                    object: around
                        .objects
                        .get(object)
                        .and_then(Option::as_ref)
                        .unwrap_or(&Value::Null),
                    revisions: &around.revisions,
                    pods: &around.pods,
                    events: &around.events,
                    nodes: &around.nodes,
                    classes: &around.classes,
                    applied: &applied,
                    seen: &seen,
                    rules: &rules,
                });
                if judged.passes() {
                    return End::Met;
                }
                let detail = judged
                    .verdict
                    .cause()
                    .map_or(judged.verdict.word(), |cause| &cause.detail)
                    .to_owned();
                let detail = hands.mask.clean(&detail);
                if let Verdict::Failed(cause) = &judged.verdict {
                    let cause = Cause::new(cause.kind, detail);
                    return End::Failed(Why::Gate {
                        cause,
                        container: None,
                    });
                }
                if patience.is_zero() {
                    let cause = Cause::new(CauseKind::NoProgress, format!("gave up waiting: {detail}"));
                    return End::Failed(Why::Gate {
                        cause,
                        container: None,
                    });
                }
                hands.progress.event(Event::Waiting {
                    app: key.app.clone(),
                    resource: Some(resource.clone()),
                    what: format!("wait until it is ready ({detail})"),
                    left: Some(patience),
                });
                if !judged.stops_clock() {
                    patience = patience.saturating_sub(pause);
                }
                seen = judged.seen;
            }
            Err(error) if error.engine_is_away() => away(key, resource, hands),
            Err(error) => return End::Failed(Why::Engine(Box::new(error.cleaned(hands.mask)))),
        }
        read += 1;
        tokio::select! {
            // Safe to cancel: a sleep and a token hold no state.
            () = hands.clock.sleep(pause) => {}
            () = hands.stop.cancelled() => return End::Stopped,
        }
    }
}

/// Waits until an object is gone. One that was made again under the same name counts as gone: it is another object.
pub(super) async fn gone(
    key: &AppKey,
    resource: &ResourceKey,
    object: &ObjectKey,
    awaited: &Await,
    made: &Made,
    hands: Hands<'_>,
) -> End {
    let mut uid: Option<String> = None;
    let what = "wait until it is gone";
    let end = look_until((key, resource, object), awaited, what, hands, |found| {
        let now = found
            .and_then(|found| found.pointer("/metadata/uid"))
            .and_then(Value::as_str);
        if now.is_none() || uid.as_deref().is_some_and(|before| Some(before) != now) {
            return Ok(());
        }
        uid = now.map(str::to_owned);
        let finalizers: Vec<&str> = found
            .and_then(|found| found.pointer("/metadata/finalizers"))
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        Err(match finalizers.as_slice() {
            [] => "it is still there".to_owned(),
            // The server's own, for our order of deletion.
            ["foregroundDeletion"] => "what depends on it goes first".to_owned(),
            names => format!("waiting on finalizer {}", names.join(", ")),
        })
    })
    .await;
    if matches!(end, End::Met) {
        made.gone
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(object.clone());
    }
    end
}

/// Waits until the controller of an object has seen its newest generation.
pub(super) async fn observed(
    key: &AppKey,
    resource: &ResourceKey,
    object: &ObjectKey,
    awaited: &Await,
    hands: Hands<'_>,
) -> End {
    let what = "wait until its controller has seen it";
    look_until((key, resource, object), awaited, what, hands, |found| {
        let number = |pointer: &str| found.and_then(|found| found.pointer(pointer)?.as_i64());
        match (
            number("/status/observedGeneration"),
            number("/metadata/generation"),
        ) {
            (Some(seen), Some(newest)) if seen >= newest => Ok(()),
            _ => Err("its status is of an older generation".to_owned()),
        }
    })
    .await
}

/// Reads an object until `met` says so; until then it says what it waits for.
async fn look_until(
    (key, resource, object): (&AppKey, &ResourceKey, &ObjectKey),
    awaited: &Await,
    what: &str,
    hands: Hands<'_>,
    mut met: impl FnMut(Option<&Value>) -> Result<(), String>,
) -> End {
    let mut patience = awaited.patience;
    let mut read = 0;
    loop {
        let pause = pause_before(read);
        let around = match hands.target.cluster() {
            Ok(cluster) => cluster.surroundings(std::slice::from_ref(object)).await,
            Err(error) => Err(error),
        };
        match around {
            Ok(around) => {
                let Err(detail) = met(around.objects.get(object).and_then(Option::as_ref)) else {
                    return End::Met;
                };
                if patience.is_zero() {
                    let cause = Cause::new(
                        CauseKind::NoProgress,
                        format!("{object}: gave up ({what}): {detail}"),
                    );
                    return End::Failed(Why::Gate {
                        cause,
                        container: None,
                    });
                }
                hands.progress.event(Event::Waiting {
                    app: key.app.clone(),
                    resource: Some(resource.clone()),
                    what: format!("{what} ({detail})"),
                    left: Some(patience),
                });
                patience = patience.saturating_sub(pause);
            }
            Err(error) if error.engine_is_away() => away(key, resource, hands),
            Err(error) => return End::Failed(Why::Engine(Box::new(error.cleaned(hands.mask)))),
        }
        read += 1;
        tokio::select! {
            // Safe to cancel: a sleep and a token hold no state.
            () = hands.clock.sleep(pause) => {}
            () = hands.stop.cancelled() => return End::Stopped,
        }
    }
}

fn away(key: &AppKey, resource: &ResourceKey, hands: Hands<'_>) {
    hands.progress.event(Event::Waiting {
        app: key.app.clone(),
        resource: Some(resource.clone()),
        what: "the cluster does not answer; the clock is stopped".to_owned(),
        left: None,
    });
}
