//! From the troubles of pods to what they mean for their workload, and how long a trouble may stand.
//!
//! In: the pods of the newest revision. Out: [`Weighed`]. Guaranteed: a cause counts when it is on at least
//! `min(2, replicas)` of them or on a quarter of those that are there (a rolling update may make only one new pod at a time);
//! each pod's patience runs from when *its* trouble was first seen; nothing before our apply is charged. Must not: read status
//! of the workload itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::pods::{self, PodStand, Trouble};
use super::{Culprit, Scene, Sightings, fields};
use crate::clock::Timestamp;
use crate::health::{Cause, CauseKind, Verdict};

/// Keeps time for the troubles of one object.
pub struct Watch<'a> {
    scene: &'a Scene<'a>,
    /// What this look has seen, for the next.
    pub seen: Sightings,
}

/// How a trouble stands against its patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// It fails the release.
    Over,
    /// It will, then.
    Due(Timestamp),
    /// It never does by itself.
    Open,
}

impl<'a> Watch<'a> {
    /// A watch that begins with what earlier looks have seen.
    pub fn new(scene: &'a Scene<'a>) -> Self {
        Self {
            scene,
            seen: Sightings {
                complete: scene.seen.complete,
                ..Sightings::default()
            },
        }
    }

    /// Notes that a trouble is there, and says how it stands. `told`: since when, where the object tells.
    pub fn stand(
        &mut self,
        subject: &str,
        kind: CauseKind,
        told: Option<Timestamp>,
        patience: Option<Duration>,
    ) -> Stand {
        let key = format!("{kind:?}/{subject}");
        let scene = self.scene;
        let since = scene.seen.since.get(&key).copied().unwrap_or_else(|| {
            told.map_or(scene.now, |told| told.max(scene.applied.at))
                .min(scene.now)
        });
        self.seen.since.insert(key, since);
        let Some(patience) = patience else {
            return Stand::Open;
        };
        let due = fields::later(since, patience);
        if due <= scene.now {
            Stand::Over
        } else {
            Stand::Due(due)
        }
    }
}

/// What the pods of a workload say together.
#[derive(Debug, Clone, Default)]
pub struct Weighed {
    /// `Failed`, `Failing`, or nothing wrong.
    pub verdict: Option<Verdict>,
    /// What is not the release's doing.
    pub foreign: Option<Cause>,
    pub culprit: Option<Culprit>,
    pub due: Option<Timestamp>,
    pub ready: u32,
    pub steps: u64,
}

impl Weighed {
    /// Whether the pods fail the release.
    pub fn failed(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Failed(_)))
    }
}

struct Case<'a> {
    pod: &'a Value,
    trouble: Trouble,
    stand: Stand,
}

/// Weighs the pods of the newest revision. `others`: older pods whose lost nodes explain why nothing moves.
/// `replicas`: how many are asked for; `None` for a pod by itself.
pub fn weigh(
    watch: &mut Watch<'_>,
    newest: &[&Value],
    others: &[&Value],
    replicas: Option<u32>,
    crashes: bool,
) -> Weighed {
    let scene = watch.scene;
    let mut weighed = Weighed::default();
    let mut cases: BTreeMap<CauseKind, Vec<Case<'_>>> = BTreeMap::new();
    let mut present = 0_usize;
    for pod in newest {
        let PodStand {
            ready,
            over,
            trouble,
            foreign,
            steps,
        } = pods::look(scene, pod, crashes);
        if fields::deleted(pod) {
            weighed.foreign = weighed.foreign.or_else(|| foreign.map(node_cause));
            continue;
        }
        weighed.steps += steps;
        weighed.ready += u32::from(ready);
        if let Some(text) = foreign {
            weighed.foreign.get_or_insert_with(|| node_cause(text));
            continue;
        }
        present += usize::from(!over);
        if let Some(trouble) = trouble {
            let subject = format!(
                "{}/{}",
                fields::uid(pod),
                trouble.container.as_deref().unwrap_or("-")
            );
            let stand = watch.stand(&subject, trouble.kind, trouble.since, trouble.patience);
            cases
                .entry(trouble.kind)
                .or_default()
                .push(Case { pod, trouble, stand });
        }
    }
    for pod in others {
        let stand = pods::look(scene, pod, false);
        weighed.foreign = weighed.foreign.or_else(|| stand.foreign.map(node_cause));
    }
    if let Some((kind, cases)) = worst(&cases, present, replicas) {
        conclude(&mut weighed, kind, cases, present, replicas);
    }
    weighed
}

fn node_cause(text: String) -> Cause {
    Cause::new(CauseKind::NodeTrouble, text)
}

/// Whether `count` pods of those that are there are enough to speak for the release.
fn enough(count: usize, present: usize, replicas: Option<u32>) -> bool {
    let asked = usize::try_from(replicas.unwrap_or(1)).unwrap_or(usize::MAX);
    count > 0 && (count >= asked.min(2) || count.saturating_mul(4) >= present)
}

/// How soon enough of the cases are over: `Some(None)` now, `None` never. An own limit must be broken twice: one eviction may be bad luck.
fn verdict_at(
    kind: CauseKind,
    cases: &[Case<'_>],
    present: usize,
    replicas: Option<u32>,
) -> Option<Option<Timestamp>> {
    if kind == CauseKind::OverLimit && cases.len() < 2 {
        return None;
    }
    let over = cases.iter().filter(|case| case.stand == Stand::Over).count();
    if enough(over, present, replicas) {
        return Some(None);
    }
    let mut dues: Vec<Timestamp> = cases
        .iter()
        .filter_map(|case| match case.stand {
            Stand::Due(due) => Some(due),
            Stand::Over | Stand::Open => None,
        })
        .collect();
    dues.sort_unstable();
    dues.iter()
        .enumerate()
        .find(|(index, _)| enough(over + index + 1, present, replicas))
        .map(|(_, due)| Some(*due))
}

/// The cause that decides: the one that fails first, then the one on most pods.
fn worst<'m, 'a>(
    cases: &'m BTreeMap<CauseKind, Vec<Case<'a>>>,
    present: usize,
    replicas: Option<u32>,
) -> Option<(CauseKind, &'m [Case<'a>])> {
    cases
        .iter()
        .map(|(kind, cases)| (*kind, cases.as_slice()))
        .min_by_key(|(kind, cases)| {
            let order = match verdict_at(*kind, cases, present, replicas) {
                Some(None) => (0, None),
                Some(due) => (1, due),
                None => (2, None),
            };
            (order, std::cmp::Reverse(cases.len()))
        })
}

fn conclude(
    weighed: &mut Weighed,
    kind: CauseKind,
    cases: &[Case<'_>],
    present: usize,
    replicas: Option<u32>,
) {
    let at = verdict_at(kind, cases, present, replicas);
    // The one that has been in it the longest tells best.
    let Some(case) = cases.iter().min_by_key(|case| match case.stand {
        Stand::Over => (0, None),
        Stand::Due(due) => (1, Some(due)),
        Stand::Open => (2, None),
    }) else {
        return;
    };
    let text = match replicas {
        Some(asked) => format!("{}/{asked} pods: {}", cases.len(), case.trouble.text),
        None => case.trouble.text.clone(),
    };
    let cause = Cause::new(kind, text);
    weighed.verdict = Some(if at == Some(None) {
        Verdict::Failed(cause)
    } else {
        Verdict::Failing(cause)
    });
    weighed.due = at.flatten();
    weighed.culprit = Some(Culprit {
        namespace: fields::namespace(case.pod).to_owned(),
        pod: fields::name(case.pod).to_owned(),
        container: case.trouble.container.clone(),
        previous: case.trouble.previous,
        exit_code: case.trouble.exit_code,
    });
}
