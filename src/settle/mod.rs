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

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp, elapsed};
use crate::health::{Cause, CauseKind, Expect, Verdict, docker};
use crate::live::world::{Container, ContainerId, Target};
use crate::names::{AppName, Kind, ResourceKey, ServiceName};
use crate::progress::{Event, Progress, Stage};
use crate::render::app::HealthRules;
use crate::render::model::WantedState;
use crate::secret::Mask;

/// Without a healthcheck, this long a running container counts as up (docker.md §6, `deploy.update_config.monitor`).
pub const STEADY: Duration = Duration::from_secs(5);
/// No progress for this long fails a release, unless its healthchecks need longer (decision 21).
const NO_PROGRESS: Duration = Duration::from_secs(300);
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
}

impl Timers {
    /// Timers that start at `now`.
    pub fn start(now: Timestamp) -> Self {
        Self {
            started: now,
            progress: now,
            healthy: None,
            read: now,
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
}

/// Everything that settling needs.
#[derive(Clone, Copy)]
pub struct Eyes<'a> {
    pub app: &'a AppName,
    pub target: &'a dyn Target,
    pub clock: &'a dyn Clock,
    pub progress: &'a dyn Progress,
    pub mask: &'a Mask,
    pub stop: &'a CancellationToken,
    /// Saves the timers; called before each verdict counts.
    pub save: &'a (dyn Fn(&Timers) + Send + Sync),
}

/// Watches `subjects` until they have baked, failed, or the wait is ended.
pub async fn settle(
    subjects: &[Subject],
    rules: &HealthRules,
    mut timers: Timers,
    eyes: Eyes<'_>,
) -> Settled {
    let begun = eyes.clock.now();
    let patience = rules.timeout.unwrap_or_else(|| {
        subjects
            .iter()
            .map(|subject| subject.to_verdict)
            .max()
            .unwrap_or_default()
            .max(NO_PROGRESS)
    });
    let ids: Vec<ContainerId> = subjects
        .iter()
        .flat_map(|subject| subject.containers.iter().cloned())
        .collect();
    let mut verdicts = BTreeMap::new();
    let mut best = 0;
    let mut failed_probes = 0;
    let mut stage = None;
    let mut saved = None;
    let mut reads = 0_u32;
    let end = loop {
        let now = eyes.clock.now();
        match eyes.target.inspect(&ids).await {
            Ok(found) => {
                // The time before the reading: a container is up at least this long, however late its answer is looked at.
                let reading = Reading { found: &found, now };
                verdicts = judge_all(subjects, &reading);
                if let Some((service, what)) = disturbed(subjects, &verdicts, &reading, &timers, eyes).await {
                    break End::Disturbed { service, what };
                }
                let failed: Vec<&Subject> = failing(subjects, &verdicts);
                if !failed.is_empty() {
                    break End::Failed(evidence(&failed, &verdicts, &found, None, eyes).await);
                }
                let healthy = healthy_containers(subjects, &reading);
                if healthy > best || reads == 0 {
                    best = healthy;
                    timers.progress = now;
                }
                let mut all_well = subjects.iter().all(|subject| {
                    subject.broken_before || verdicts.get(&subject.service).is_some_and(Verdict::settled_well)
                });
                let mut probe_text = None;
                if all_well && let Some(probe) = &rules.http {
                    match probe_once(probe, subjects, &found, eyes).await {
                        Ok(()) => failed_probes = 0,
                        Err(text) => {
                            failed_probes += 1;
                            all_well = false;
                            let cause = Cause::new(CauseKind::ProbeFailed, eyes.mask.clean(&text));
                            verdicts.insert(probe.service.clone(), Verdict::Failing(cause));
                            probe_text = Some(text);
                        }
                    }
                }
                if let (Some(probe), Some(text)) = (&rules.http, &probe_text)
                    && timers.healthy.is_some()
                    && failed_probes >= PROBES_IN_A_ROW
                {
                    let failed: Vec<&Subject> = subjects
                        .iter()
                        .filter(|subject| subject.service == probe.service)
                        .collect();
                    break End::Failed(evidence(&failed, &verdicts, &found, Some(text), eyes).await);
                }
                if all_well {
                    let since = *timers.healthy.get_or_insert(now);
                    let baked = elapsed(since, now);
                    if baked >= rules.bake {
                        break End::Healthy;
                    }
                    announce(&mut stage, Stage::Bake, eyes);
                    waiting(
                        eyes,
                        "everything is healthy; it must stay so",
                        Some(rules.bake - baked),
                        subjects,
                        &verdicts,
                    );
                } else {
                    // One failed probe of a baking release is not yet a relapse; anything else starts the bake again.
                    if probe_text.is_none() || failed_probes >= PROBES_IN_A_ROW {
                        timers.healthy = None;
                    }
                    let (waited, total) = (elapsed(timers.progress, now), elapsed(timers.started, now));
                    if waited >= patience || total >= rules.cap {
                        let (kind, limit) = if total >= rules.cap {
                            (CauseKind::Deadline, rules.cap)
                        } else {
                            (CauseKind::NoProgress, patience)
                        };
                        let unwell: Vec<&Subject> = subjects
                            .iter()
                            .filter(|subject| {
                                !verdicts.get(&subject.service).is_some_and(Verdict::settled_well)
                            })
                            .collect();
                        for subject in &unwell {
                            let was = verdicts
                                .get(&subject.service)
                                .and_then(Verdict::cause)
                                .map_or("", |cause| &cause.detail);
                            let cause =
                                Cause::new(kind, format!("not healthy after {}: {was}", seconds(limit)));
                            verdicts.insert(subject.service.clone(), Verdict::Failed(cause));
                        }
                        break End::Failed(
                            evidence(&unwell, &verdicts, &found, probe_text.as_deref(), eyes).await,
                        );
                    }
                    announce(&mut stage, Stage::Verify, eyes);
                    let left = (patience - waited).min(rules.cap - total);
                    waiting(eyes, "", Some(left), subjects, &verdicts);
                }
            }
            // Unknown pauses the clock: every deadline moves on by the time nobody could look.
            Err(error) => {
                let away = now.duration_since(timers.read);
                timers.started = timers.started.checked_add(away).unwrap_or(now);
                timers.progress = timers.progress.checked_add(away).unwrap_or(now);
                timers.healthy = None;
                let text = format!(
                    "the target does not answer; the clock is stopped ({})",
                    eyes.mask.clean(&error.to_string())
                );
                waiting(eyes, &text, None, subjects, &verdicts);
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
        verdicts,
    }
}

struct Reading<'a> {
    found: &'a [Container],
    now: Timestamp,
}

impl Reading<'_> {
    fn of(&self, id: &ContainerId) -> Option<&Container> {
        self.found.iter().find(|container| container.id == *id)
    }
}

/// The verdict of each subject: the worst of its containers.
pub fn verdicts(subjects: &[Subject], found: &[Container], now: Timestamp) -> BTreeMap<ServiceName, Verdict> {
    judge_all(subjects, &Reading { found, now })
}

fn judge_all(subjects: &[Subject], reading: &Reading<'_>) -> BTreeMap<ServiceName, Verdict> {
    subjects
        .iter()
        .map(|subject| {
            let worst = subject
                .containers
                .iter()
                .map(|id| judge_one(subject, id, reading))
                .max_by_key(Verdict::rank)
                // Scaled to zero: nothing is asked for.
                .unwrap_or(Verdict::Healthy);
            (subject.service.clone(), worst)
        })
        .collect()
}

fn judge_one(subject: &Subject, id: &ContainerId, reading: &Reading<'_>) -> Verdict {
    let Some(container) = reading.of(id) else {
        return Verdict::Missing;
    };
    let expect = Expect {
        job: subject.job,
        steady: subject.steady,
        restarts_before: subject.restarts.get(id).copied().unwrap_or(0),
        state: subject.state,
    };
    docker::judge(container, &expect, reading.now)
}

fn failing<'a>(subjects: &'a [Subject], verdicts: &BTreeMap<ServiceName, Verdict>) -> Vec<&'a Subject> {
    subjects
        .iter()
        .filter(|subject| {
            !subject.broken_before && matches!(verdicts.get(&subject.service), Some(Verdict::Failed(_)))
        })
        .collect()
}

fn healthy_containers(subjects: &[Subject], reading: &Reading<'_>) -> usize {
    subjects
        .iter()
        .flat_map(|subject| subject.containers.iter().map(move |id| (subject, id)))
        .filter(|(subject, id)| judge_one(subject, id, reading).settled_well())
        .count()
}

/// Whether a person's hand explains what looks like a failure. Asked only when something looks like one.
async fn disturbed(
    subjects: &[Subject],
    verdicts: &BTreeMap<ServiceName, Verdict>,
    reading: &Reading<'_>,
    timers: &Timers,
    eyes: Eyes<'_>,
) -> Option<(ServiceName, String)> {
    for subject in subjects.iter().filter(|subject| !subject.broken_before) {
        match verdicts.get(&subject.service) {
            Some(Verdict::Missing) => {
                return Some((subject.service.clone(), "removed from outside".to_owned()));
            }
            Some(Verdict::Failing(cause)) if cause.kind == CauseKind::Foreign => {
                return Some((subject.service.clone(), cause.detail.clone()));
            }
            Some(Verdict::Failed(cause))
                if matches!(
                    cause.kind,
                    CauseKind::EndedByItself | CauseKind::Crashed | CauseKind::JobFailed
                ) =>
            {
                for id in &subject.containers {
                    let ended = reading.of(id).is_some_and(|container| !container.running());
                    // When the engine can't say, the exit code stands: it is status, the event is only a hint.
                    if ended
                        && eyes
                            .target
                            .stopped_by_hand(id, timers.started)
                            .await
                            .unwrap_or(false)
                    {
                        return Some((subject.service.clone(), "stopped from outside".to_owned()));
                    }
                }
            }
            _ => {}
        }
    }
    None
}

async fn probe_once(
    probe: &crate::render::app::HttpProbe,
    subjects: &[Subject],
    found: &[Container],
    eyes: Eyes<'_>,
) -> Result<(), String> {
    let ids = subjects
        .iter()
        .filter(|subject| subject.service == probe.service)
        .flat_map(|subject| &subject.containers);
    for container in ids.filter_map(|id| found.iter().find(|container| container.id == *id)) {
        let shown = format!("GET http://{}:{}{}", container.name, probe.port, probe.path);
        match eyes.target.probe(container, probe.port, &probe.path).await {
            Ok(200..=399) => {}
            Ok(status) => return Err(format!("{shown} -> {status}")),
            Err(error) => return Err(format!("{shown} -> {error}")),
        }
    }
    Ok(())
}

/// Takes what proves a failure, while the containers still exist.
async fn evidence(
    failed: &[&Subject],
    verdicts: &BTreeMap<ServiceName, Verdict>,
    found: &[Container],
    probe: Option<&str>,
    eyes: Eyes<'_>,
) -> Vec<Evidence> {
    let reading = Reading {
        found,
        now: eyes.clock.now(),
    };
    let mut all = Vec::new();
    for subject in failed {
        let culprit = subject
            .containers
            .iter()
            .max_by_key(|id| judge_one(subject, id, &reading).rank())
            .and_then(|id| reading.of(id));
        let cause = verdicts
            .get(&subject.service)
            .and_then(Verdict::cause)
            .cloned()
            .unwrap_or_else(|| Cause::new(CauseKind::NoProgress, "not healthy"));
        let healthy = subject
            .containers
            .iter()
            .filter(|id| judge_one(subject, id, &reading).settled_well())
            .count();
        let (name, logs, exit_code, check) = match culprit {
            Some(container) => (
                container.name.clone(),
                eyes.target
                    .logs(&container.id, EVIDENCE_LINES)
                    .await
                    .unwrap_or_default(),
                container.exit_code.filter(|_| !container.running()),
                container
                    .last_check
                    .as_ref()
                    .map(|(code, output)| format!("healthcheck exited {code}: {}", output.trim())),
            ),
            None => (String::new(), Vec::new(), None, None),
        };
        all.push(Evidence {
            service: subject.service.clone(),
            container: name,
            cause: Cause::new(cause.kind, eyes.mask.clean(&cause.detail)),
            healthy,
            of: subject.containers.len(),
            exit_code,
            probe: probe
                .map(str::to_owned)
                .or(check)
                .map(|text| eyes.mask.clean(&text)),
            logs: logs.iter().map(|line| eyes.mask.clean(line)).collect(),
        });
    }
    all
}

/// The evidence of a container that failed a wait inside `apply`.
pub async fn evidence_of(
    service: ServiceName,
    container: &Container,
    cause: &Cause,
    eyes: Eyes<'_>,
) -> Evidence {
    let logs = eyes
        .target
        .logs(&container.id, EVIDENCE_LINES)
        .await
        .unwrap_or_default();
    Evidence {
        service,
        container: container.name.clone(),
        cause: Cause::new(cause.kind, eyes.mask.clean(&cause.detail)),
        healthy: 0,
        of: 1,
        exit_code: container.exit_code.filter(|_| !container.running()),
        probe: container.last_check.as_ref().map(|(code, output)| {
            eyes.mask
                .clean(&format!("healthcheck exited {code}: {}", output.trim()))
        }),
        logs: logs.iter().map(|line| eyes.mask.clean(line)).collect(),
    }
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

fn waiting(
    eyes: Eyes<'_>,
    text: &str,
    left: Option<Duration>,
    subjects: &[Subject],
    verdicts: &BTreeMap<ServiceName, Verdict>,
) {
    let unwell: Vec<String> = subjects
        .iter()
        .filter_map(|subject| match verdicts.get(&subject.service) {
            Some(verdict) if !verdict.settled_well() => Some(format!(
                "{}: {}",
                subject.service,
                verdict.cause().map_or(verdict.word(), |cause| &cause.detail)
            )),
            _ => None,
        })
        .collect();
    let what = if text.is_empty() {
        unwell.join(", ")
    } else {
        text.to_owned()
    };
    let service = subjects.first().map_or("app", |subject| subject.service.as_str());
    eyes.progress.event(Event::Waiting {
        app: eyes.app.clone(),
        resource: ResourceKey::new(Kind::Service, service),
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
