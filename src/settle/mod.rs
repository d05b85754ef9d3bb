//! Applied → Settled: deadlines, bake, probes, and the evidence that is taken before a rollback.
//!
//! In: the containers of a release and its [`HealthRules`]. Out: [`Settled`]. Guaranteed:
//! - a failure is called as soon as it is sure (crash loop, exit code, the engine's own healthcheck), not at a deadline;
//! - an engine that can't be asked stops the clock and is never a failure;
//! - what a person stopped by hand is *disturbed*, never failed;
//! - deadlines are wall-clock times in [`Timers`], saved by the caller, so a restart neither extends nor expires them: the
//!   time nobody looked is added back, and a verdict needs at least one fresh reading.
//!
//! Must not: change live state, or decide what follows.

mod containers;
mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp, elapsed};
use crate::health::{Cause, CauseKind, Verdict, kubernetes};
use crate::live::world::ContainerId;
use crate::live::{LiveError, Reach};
use crate::names::{AppName, ServiceName};
use crate::progress::{Event, Progress, Stage};
use crate::render::app::{HealthRules, HttpProbe};
use crate::render::model::WantedState;
use crate::secret::Mask;

/// Without a healthcheck, this long a running container counts as up (docker.md §6, `deploy.update_config.monitor`).
pub const STEADY: Duration = Duration::from_secs(5);
/// No progress for this long fails a release, unless its healthchecks need longer (decision 21).
const NO_PROGRESS: Duration = Duration::from_secs(300);
/// What a deadline that nobody wrote leaves beyond the longest patience of a cause: the cause is to be named, not the deadline.
const MARGIN: Duration = Duration::from_secs(30);
/// Log lines kept as evidence.
pub const EVIDENCE_LINES: usize = 50;
/// Probes in a row that fail a baking release.
const PROBES_IN_A_ROW: u32 = 3;

/// One service that is judged.
#[derive(Debug, Clone)]
pub struct Subject {
    pub service: ServiceName,
    pub containers: Vec<ContainerId>,
    pub job: bool,
    pub state: WantedState,
    /// How long a container without a healthcheck must run.
    pub steady: Duration,
    /// How long its healthcheck may take to a verdict.
    pub to_verdict: Duration,
    /// Restart counts when judging began: zero for what this release made.
    pub restarts: BTreeMap<ContainerId, u64>,
    /// It was failing before this release touched anything, and this release did not change it: it is reported, and never
    /// fails the release.
    pub broken_before: bool,
}

/// Wall-clock deadlines of one release's verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timers {
    pub started: Timestamp,
    /// The last time anything got better.
    pub progress: Timestamp,
    /// Since when everything has been healthy: bake time counts from here.
    pub healthy: Option<Timestamp>,
    /// The last reading; what lies between it and a restart is added back.
    pub read: Timestamp,
    /// What earlier readings of a cluster's objects have seen, by object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sightings: BTreeMap<String, kubernetes::Sightings>,
}

impl Timers {
    /// Timers that start at `now`.
    pub fn start(now: Timestamp) -> Self {
        Self {
            started: now,
            progress: now,
            healthy: None,
            read: now,
            sightings: BTreeMap::new(),
        }
    }

    /// The same timers after nobody looked until `now`.
    pub fn resume(&self, now: Timestamp) -> Self {
        let away = now.duration_since(self.read);
        let shift = |time: Timestamp| time.checked_add(away).unwrap_or(time);
        Self {
            started: shift(self.started),
            progress: shift(self.progress),
            healthy: self.healthy.map(shift),
            read: now,
            sightings: self
                .sightings
                .iter()
                .map(|(name, seen)| (name.clone(), seen.moved_on(elapsed(self.read, now))))
                .collect(),
        }
    }
}

/// How a verification ended.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Settled {
    pub end: End,
    /// The last verdict of each service.
    pub verdicts: BTreeMap<ServiceName, Verdict>,
    /// From the begin until everything was healthy and stayed so; the bake is not in it.
    pub took: Duration,
    /// How long it stayed healthy.
    pub baked: Duration,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// Everything was healthy and stayed so for the bake time.
    Healthy,
    /// At least one service failed; the evidence was taken while its containers still existed.
    Failed(Vec<Evidence>),
    /// Somebody stopped or removed a container by hand: heal and judge again.
    Disturbed { service: ServiceName, what: String },
    /// A stop or a newer commit ended the wait. Nothing is decided.
    Stopped,
}

/// What is kept of a failure (every field masked).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub service: ServiceName,
    /// The container's name.
    pub container: String,
    pub cause: Cause,
    /// Healthy of all containers of the service.
    pub healthy: usize,
    pub of: usize,
    pub exit_code: Option<i64>,
    /// The last probe or healthcheck and its answer.
    pub probe: Option<String>,
    /// The last lines that it printed, oldest first.
    pub logs: Vec<String>,
    /// The newest events of a cluster about it, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

/// Everything that settling needs.
#[derive(Clone, Copy)]
pub struct Eyes<'a> {
    pub app: &'a AppName,
    pub target: &'a Reach,
    pub clock: &'a dyn Clock,
    pub progress: &'a dyn Progress,
    pub mask: &'a Mask,
    pub stop: &'a CancellationToken,
    /// Saves the timers; called before each verdict counts.
    pub save: &'a (dyn Fn(&Timers) + Send + Sync),
}

pub use containers::{evidence_of, verdicts};
pub use objects::{Objects, Watched, judge_object};

/// What a target's watch reads, again and again.
#[async_trait]
pub(super) trait Watch: Send {
    /// Reads everything once and judges it.
    async fn read(&mut self, now: Timestamp, timers: &mut Timers) -> Result<Pulse, LiveError>;
    /// The name under which whoever the app's own probe asks is judged.
    fn probed(&self, probe: &HttpProbe) -> ServiceName {
        probe.service.clone()
    }
    /// Asks the app's own probe.
    async fn probe(&mut self, probe: &HttpProbe) -> Result<(), String>;
    /// Takes what proves a failure, while it still can be read.
    async fn evidence(
        &mut self,
        failed: &BTreeSet<ServiceName>,
        verdicts: &BTreeMap<ServiceName, Verdict>,
        probe: Option<&str>,
    ) -> Vec<Evidence>;
}

/// One reading.
#[derive(Default)]
pub(super) struct Pulse {
    pub verdicts: BTreeMap<ServiceName, Verdict>,
    /// What fails nothing and is not waited for.
    pub exempt: BTreeSet<ServiceName>,
    /// Grows while things get better.
    pub score: u64,
    /// A person's hand explains what looks like a failure.
    pub disturbed: Option<(ServiceName, String)>,
    /// What is seen is not the release's doing: no deadline runs.
    pub stops_clock: bool,
}

impl Pulse {
    fn waits_for(&self, name: &ServiceName) -> bool {
        !self.exempt.contains(name) && !self.verdicts.get(name).is_some_and(Verdict::settled_well)
    }

    fn unwell(&self) -> BTreeSet<ServiceName> {
        self.verdicts
            .keys()
            .filter(|name| self.waits_for(name))
            .cloned()
            .collect()
    }

    fn failed(&self) -> BTreeSet<ServiceName> {
        self.verdicts
            .iter()
            .filter(|(name, verdict)| !self.exempt.contains(*name) && matches!(verdict, Verdict::Failed(_)))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

/// Watches `subjects` until they have baked, failed, or the wait is ended.
pub async fn settle(subjects: &[Subject], rules: &HealthRules, timers: Timers, eyes: Eyes<'_>) -> Settled {
    let longest = subjects
        .iter()
        .map(|subject| subject.to_verdict)
        .max()
        .unwrap_or_default();
    let mut watch = containers::Containers::new(subjects, eyes);
    run(&mut watch, rules, longest, timers, eyes).await
}

/// Watches the objects of a cluster.
pub async fn settle_objects(
    objects: &mut Objects<'_>,
    rules: &HealthRules,
    timers: Timers,
    eyes: Eyes<'_>,
) -> Settled {
    let longest = objects.time_to_verdict().max(rules.longest_patience() + MARGIN);
    run(objects, rules, longest, timers, eyes).await
}

/// The clock of a verification: patience, bake, the absolute end.
async fn run(
    watch: &mut dyn Watch,
    rules: &HealthRules,
    longest: Duration,
    mut timers: Timers,
    eyes: Eyes<'_>,
) -> Settled {
    let begun = eyes.clock.now();
    let patience = rules.timeout.unwrap_or_else(|| longest.max(NO_PROGRESS));
    let mut pulse = Pulse::default();
    let mut best = 0;
    let mut failed_probes = 0;
    let mut stage = None;
    let mut saved = None;
    let mut reads = 0_u32;
    let end = loop {
        // The time before the reading: what runs is up at least this long, however late its answer is looked at.
        let now = eyes.clock.now();
        match watch.read(now, &mut timers).await {
            Ok(read) => {
                pulse = read;
                if let Some((service, what)) = pulse.disturbed.take() {
                    break End::Disturbed { service, what };
                }
                let failed = pulse.failed();
                if !failed.is_empty() {
                    break End::Failed(watch.evidence(&failed, &pulse.verdicts, None).await);
                }
                if pulse.score > best || reads == 0 {
                    best = pulse.score;
                    timers.progress = now;
                }
                let mut all_well = pulse.unwell().is_empty();
                let mut probe_text = None;
                if all_well && let Some(probe) = &rules.http {
                    match watch.probe(probe).await {
                        Ok(()) => failed_probes = 0,
                        Err(text) => {
                            failed_probes += 1;
                            all_well = false;
                            let cause = Cause::new(CauseKind::ProbeFailed, eyes.mask.clean(&text));
                            pulse
                                .verdicts
                                .insert(watch.probed(probe), Verdict::Failing(cause));
                            probe_text = Some(text);
                        }
                    }
                }
                if let (Some(probe), Some(text)) = (&rules.http, &probe_text)
                    && timers.healthy.is_some()
                    && failed_probes >= PROBES_IN_A_ROW
                {
                    let failed = BTreeSet::from([watch.probed(probe)]);
                    break End::Failed(watch.evidence(&failed, &pulse.verdicts, Some(text)).await);
                }
                if all_well {
                    let since = *timers.healthy.get_or_insert(now);
                    let baked = elapsed(since, now);
                    if baked >= rules.bake {
                        break End::Healthy;
                    }
                    announce(&mut stage, Stage::Bake, eyes);
                    let left = Some(rules.bake - baked);
                    waiting(eyes, "everything is healthy; it must stay so", left, &pulse);
                } else {
                    // One failed probe of a baking release is not yet a relapse; anything else starts the bake again.
                    if probe_text.is_none() || failed_probes >= PROBES_IN_A_ROW {
                        timers.healthy = None;
                    }
                    if pulse.stops_clock {
                        stop_clock(&mut timers, now);
                    }
                    let (waited, total) = (elapsed(timers.progress, now), elapsed(timers.started, now));
                    if waited >= patience || total >= rules.cap {
                        let (kind, limit) = if total >= rules.cap {
                            (CauseKind::Deadline, rules.cap)
                        } else {
                            (CauseKind::NoProgress, patience)
                        };
                        let unwell = pulse.unwell();
                        for name in &unwell {
                            let was = pulse
                                .verdicts
                                .get(name)
                                .and_then(Verdict::cause)
                                .map_or("", |cause| &cause.detail);
                            let cause =
                                Cause::new(kind, format!("not healthy after {}: {was}", seconds(limit)));
                            pulse.verdicts.insert(name.clone(), Verdict::Failed(cause));
                        }
                        break End::Failed(
                            watch
                                .evidence(&unwell, &pulse.verdicts, probe_text.as_deref())
                                .await,
                        );
                    }
                    announce(&mut stage, Stage::Verify, eyes);
                    let left = (patience - waited).min(rules.cap - total);
                    waiting(eyes, "", Some(left), &pulse);
                }
            }
            // Unknown pauses the clock: every deadline moves on by the time nobody could look.
            Err(error) => {
                stop_clock(&mut timers, now);
                timers.healthy = None;
                let text = format!(
                    "the target does not answer; the clock is stopped ({})",
                    eyes.mask.clean(&error.to_string())
                );
                waiting(eyes, &text, None, &pulse);
            }
        }
        timers.read = eyes.clock.now();
        // A restart continues from what was saved: every change of phase at once, plain ticks every few seconds.
        let worth = saved.as_ref().is_none_or(|last: &Timers| {
            last.healthy != timers.healthy || elapsed(last.read, timers.read).as_secs() >= 5
        });
        if worth {
            (eyes.save)(&timers);
            saved = Some(timers.clone());
        }
        reads += 1;
        let pause = Duration::from_millis(if reads < 40 { 150 } else { 500 });
        tokio::select! {
            // Safe to cancel: a sleep and a token hold no state.
            () = eyes.clock.sleep(pause) => {}
            () = eyes.stop.cancelled() => break End::Stopped,
        }
    };
    let healthy = timers.healthy.filter(|_| end == End::Healthy);
    Settled {
        took: elapsed(begun, healthy.unwrap_or_else(|| eyes.clock.now())),
        baked: healthy.map_or(Duration::ZERO, |since| elapsed(since, eyes.clock.now())),
        end,
        verdicts: pulse.verdicts,
    }
}

/// Moves every deadline on by the time since the last reading.
fn stop_clock(timers: &mut Timers, now: Timestamp) {
    let away = now.duration_since(timers.read);
    timers.started = timers.started.checked_add(away).unwrap_or(now);
    timers.progress = timers.progress.checked_add(away).unwrap_or(now);
}

fn announce(stage: &mut Option<Stage>, next: Stage, eyes: Eyes<'_>) {
    if *stage != Some(next) {
        *stage = Some(next);
        eyes.progress.event(Event::Stage {
            app: eyes.app.clone(),
            stage: next,
        });
    }
}

fn waiting(eyes: Eyes<'_>, text: &str, left: Option<Duration>, pulse: &Pulse) {
    let unwell: Vec<String> = pulse
        .unwell()
        .iter()
        .filter_map(|name| {
            let verdict = pulse.verdicts.get(name)?;
            Some(format!(
                "{name}: {}",
                verdict.cause().map_or(verdict.word(), |cause| &cause.detail)
            ))
        })
        .collect();
    let what = if text.is_empty() {
        unwell.join(", ")
    } else {
        text.to_owned()
    };
    eyes.progress.event(Event::Waiting {
        app: eyes.app.clone(),
        resource: None,
        what: eyes.mask.clean(&what),
        left,
    });
}

/// A duration for people: `90s`, `5m`, `1h 30m`.
pub fn seconds(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0..=119 => format!("{secs}s"),
        _ if secs.is_multiple_of(60) && secs < 7200 => format!("{}m", secs / 60),
        120..=7199 => format!("{}m{:02}s", secs / 60, secs % 60),
        _ => format!("{}h{:02}m", secs / 3600, secs % 3600 / 60),
    }
}
