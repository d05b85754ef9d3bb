//! The watch over an engine's containers.
//!
//! In: the containers of each service. Out: verdicts and evidence. Guaranteed: what a person stopped or removed by hand is
//! disturbed, never failed; the evidence is taken while the containers exist. Must not: keep time.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::{EVIDENCE_LINES, Evidence, Eyes, Pulse, Subject, Timers, Watch};
use crate::clock::Timestamp;
use crate::health::{Cause, CauseKind, Expect, Verdict, docker};
use crate::live::LiveError;
use crate::live::world::{Container, ContainerId};
use crate::names::ServiceName;
use crate::render::app::HttpProbe;

/// The containers of some services, watched.
pub(super) struct Containers<'a> {
    subjects: &'a [Subject],
    ids: Vec<ContainerId>,
    found: Vec<Container>,
    eyes: Eyes<'a>,
}

impl<'a> Containers<'a> {
    pub(super) fn new(subjects: &'a [Subject], eyes: Eyes<'a>) -> Self {
        let ids = subjects
            .iter()
            .flat_map(|subject| subject.containers.iter().cloned())
            .collect();
        Self {
            subjects,
            ids,
            found: Vec::new(),
            eyes,
        }
    }
}

#[async_trait]
impl Watch for Containers<'_> {
    async fn read(&mut self, now: Timestamp, timers: &mut Timers) -> Result<Pulse, LiveError> {
        self.found = self.eyes.target.engine()?.inspect(&self.ids).await?;
        let reading = Reading {
            found: &self.found,
            now,
        };
        let verdicts = judge_all(self.subjects, &reading);
        let disturbed = disturbed(self.subjects, &verdicts, &reading, timers, self.eyes).await;
        Ok(Pulse {
            exempt: self
                .subjects
                .iter()
                .filter(|subject| subject.broken_before)
                .map(|subject| subject.service.clone())
                .collect(),
            score: healthy_containers(self.subjects, &reading) as u64,
            disturbed,
            verdicts,
            stops_clock: false,
        })
    }

    async fn probe(&mut self, probe: &HttpProbe) -> Result<(), String> {
        probe_once(probe, self.subjects, &self.found, self.eyes).await
    }

    async fn evidence(
        &mut self,
        failed: &BTreeSet<ServiceName>,
        verdicts: &BTreeMap<ServiceName, Verdict>,
        probe: Option<&str>,
    ) -> Vec<Evidence> {
        let failed: Vec<&Subject> = self
            .subjects
            .iter()
            .filter(|subject| failed.contains(&subject.service))
            .collect();
        evidence(&failed, verdicts, &self.found, probe, self.eyes).await
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
                    if ended && by_hand(id, timers, eyes).await {
                        return Some((subject.service.clone(), "stopped from outside".to_owned()));
                    }
                }
            }
            _ => {}
        }
    }
    None
}

async fn by_hand(id: &ContainerId, timers: &Timers, eyes: Eyes<'_>) -> bool {
    match eyes.target.engine() {
        Ok(engine) => engine.stopped_by_hand(id, timers.started).await.unwrap_or(false),
        Err(_) => false,
    }
}

async fn logs(container: &Container, eyes: Eyes<'_>) -> Vec<String> {
    match eyes.target.engine() {
        Ok(engine) => engine
            .logs(&container.id, EVIDENCE_LINES)
            .await
            .unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

async fn probe_once(
    probe: &HttpProbe,
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
        let engine = eyes.target.engine().map_err(|error| error.to_string())?;
        match engine.probe(container, probe.port, &probe.path).await {
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
        let (cause, exit_code) = match culprit {
            Some(container) => ended_with(container, cause, eyes).await,
            None => (cause, None),
        };
        let (name, logs, check) = match culprit {
            Some(container) => (
                container.name.clone(),
                logs(container, eyes).await,
                container
                    .last_check
                    .as_ref()
                    .map(|(code, output)| format!("healthcheck exited {code}: {}", output.trim())),
            ),
            None => (String::new(), Vec::new(), None),
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
            events: Vec::new(),
        });
    }
    all
}

/// The cause with the exit code that belongs to it. The engine forgets the code as soon as the container runs again; its
/// events do not, for a while.
async fn ended_with(container: &Container, cause: Cause, eyes: Eyes<'_>) -> (Cause, Option<i64>) {
    if !docker::lacks_exit_code(&cause) {
        return (cause, container.exit_code.filter(|_| !container.running()));
    }
    let since = container.created_at.unwrap_or(eyes.clock.now());
    let known = match eyes.target.engine() {
        Ok(engine) => engine.last_exit(&container.id, since).await.ok().flatten(),
        Err(_) => None,
    };
    match known {
        Some(code) => (docker::with_exit_code(&cause, code), Some(code)),
        None => (cause, None),
    }
}

/// The evidence of a container that failed a wait inside `apply`.
pub async fn evidence_of(
    service: ServiceName,
    container: &Container,
    cause: &Cause,
    eyes: Eyes<'_>,
) -> Evidence {
    let logs = self::logs(container, eyes).await;
    let (cause, exit_code) = ended_with(container, cause.clone(), eyes).await;
    Evidence {
        service,
        container: container.name.clone(),
        cause: Cause::new(cause.kind, eyes.mask.clean(&cause.detail)),
        healthy: 0,
        of: 1,
        exit_code,
        probe: container.last_check.as_ref().map(|(code, output)| {
            eyes.mask
                .clean(&format!("healthcheck exited {code}: {}", output.trim()))
        }),
        logs: logs.iter().map(|line| eyes.mask.clean(line)).collect(),
        events: Vec::new(),
    }
}
