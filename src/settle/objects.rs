//! The watch over a cluster's objects.
//!
//! In: the objects of a release with what was applied. Out: verdicts and evidence. Guaranteed: status of an older generation
//! is never success; only pods of the new revision count; trouble of nodes stops the clock; logs and events are taken before
//! anything is put back. Must not: keep time (patience of a cause is the rules' own, with their sightings).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::{EVIDENCE_LINES, Evidence, Eyes, Pulse, Timers, Watch};
use crate::clock::Timestamp;
use crate::health::kubernetes::fields;
use crate::health::kubernetes::{Applied, Judged, Rules, Scene, Sightings, evidence, judge, time_to_verdict};
use crate::health::{Cause, CauseKind, Verdict};
use crate::live::LiveError;
use crate::live::kubernetes::world::{PodContainer, Surroundings};
use crate::names::{ObjectKey, ServiceName};
use crate::render::app::HttpProbe;

/// One object that is watched.
#[derive(Debug, Clone)]
pub struct Watched {
    pub key: ObjectKey,
    /// The name under which it is judged.
    pub name: ServiceName,
    /// The generation that our apply led to.
    pub generation: Option<i64>,
    /// Restart counts of its pods before anything was applied.
    pub restarts: BTreeMap<String, u64>,
    /// It was failing before this release touched anything, and this release did not change it.
    pub broken_before: bool,
    /// The object as it is wanted, for the time that its probes may take.
    pub wanted: Value,
}

/// Judges one object once.
pub fn judge_object(one: &Watched, around: &Surroundings, rules: &Rules, now: Timestamp) -> Judged {
    let applied = Applied {
        at: now,
        generation: one.generation,
        restarts: one.restarts.clone(),
    };
    judge(&scene(one, around, rules, now, &applied, &Sightings::default()))
}

fn scene<'s>(
    one: &Watched,
    around: &'s Surroundings,
    rules: &'s Rules,
    now: Timestamp,
    applied: &'s Applied,
    seen: &'s Sightings,
) -> Scene<'s> {
    Scene {
        now,
        object: around
            .objects
            .get(&one.key)
            .and_then(Option::as_ref)
            .unwrap_or(&Value::Null),
        revisions: &around.revisions,
        pods: &around.pods,
        events: &around.events,
        nodes: &around.nodes,
        classes: &around.classes,
        applied,
        seen,
        rules,
    }
}

/// The objects of a release, watched.
pub struct Objects<'a> {
    watched: Vec<Watched>,
    rules: &'a Rules,
    eyes: Eyes<'a>,
    around: Surroundings,
    judged: BTreeMap<ServiceName, Judged>,
    now: Timestamp,
    started: Timestamp,
    seen: BTreeMap<String, Sightings>,
}

impl<'a> Objects<'a> {
    /// A watch over `watched`.
    pub fn new(watched: Vec<Watched>, rules: &'a Rules, eyes: Eyes<'a>) -> Self {
        let now = eyes.clock.now();
        Self {
            watched,
            rules,
            eyes,
            around: Surroundings::default(),
            judged: BTreeMap::new(),
            now,
            started: now,
            seen: BTreeMap::new(),
        }
    }

    pub(super) fn time_to_verdict(&self) -> Duration {
        self.watched
            .iter()
            .map(|one| time_to_verdict(&one.wanted))
            .max()
            .unwrap_or_default()
    }

    /// What each object was judged as at the last reading.
    pub fn judged(&self) -> &BTreeMap<ServiceName, Judged> {
        &self.judged
    }

    /// The evidence of one object that failed a wait, or whose step failed, with that cause.
    pub async fn gather(&mut self, cause: &Cause) -> Option<Evidence> {
        let mut timers = Timers::start(self.now);
        self.read(self.now, &mut timers).await.ok()?;
        let name = self.watched.first()?.name.clone();
        let verdicts = BTreeMap::from([(name.clone(), Verdict::Failed(cause.clone()))]);
        self.evidence(&BTreeSet::from([name]), &verdicts, None)
            .await
            .pop()
    }

    fn service(&self, probe: &HttpProbe) -> Option<&Watched> {
        self.watched
            .iter()
            .find(|one| &*one.key.kind == "Service" && *one.key.name == *probe.service.as_str())
    }

    /// A pod that a Service sends its traffic to; the newest, which is of the release.
    fn behind(&self, service: &Watched) -> Option<PodContainer> {
        let live = self.around.objects.get(&service.key)?.as_ref()?;
        let selector = live.pointer("/spec/selector")?.as_object()?;
        let chosen = |pod: &&Value| {
            !selector.is_empty()
                && fields::namespace(pod) == fields::namespace(live)
                && selector
                    .iter()
                    .all(|(label, value)| Some(fields::label(pod, label)) == value.as_str())
        };
        let newest = |pod: &&Value| fields::text(pod, "/metadata/creationTimestamp").to_owned();
        let pod = self.around.pods.iter().filter(chosen).max_by_key(newest)?;
        let container = fields::list(pod, "/spec/containers").first()?;
        Some(PodContainer {
            namespace: fields::namespace(pod).to_owned(),
            pod: fields::name(pod).to_owned(),
            container: Some(fields::text(container, "/name").to_owned()),
            previous: false,
        })
    }

    fn with_scene<T>(&self, one: &Watched, look: impl FnOnce(&Scene<'_>) -> T) -> T {
        let applied = Applied {
            at: self.started,
            generation: one.generation,
            restarts: one.restarts.clone(),
        };
        let nothing = Sightings::default();
        let seen = self.seen.get(one.name.as_str()).unwrap_or(&nothing);
        look(&scene(one, &self.around, self.rules, self.now, &applied, seen))
    }
}

#[async_trait]
impl Watch for Objects<'_> {
    async fn read(&mut self, now: Timestamp, timers: &mut Timers) -> Result<Pulse, LiveError> {
        let keys: Vec<ObjectKey> = self.watched.iter().map(|one| one.key.clone()).collect();
        self.around = self.eyes.target.cluster()?.surroundings(&keys).await?;
        (self.now, self.started) = (now, timers.started);
        self.seen.clone_from(&timers.sightings);
        let mut pulse = Pulse::default();
        let mut judged = BTreeMap::new();
        for one in &self.watched {
            let found = self.with_scene(one, judge);
            timers.sightings.insert(one.name.to_string(), found.seen.clone());
            if one.broken_before || !found.gating {
                pulse.exempt.insert(one.name.clone());
            }
            pulse.score += found.steps;
            pulse.stops_clock |= found.stops_clock();
            // An object that is gone was removed by somebody: it is healed and judged again.
            if found.verdict == Verdict::Missing && !one.broken_before && pulse.disturbed.is_none() {
                pulse.disturbed = Some((one.name.clone(), "removed from outside".to_owned()));
            }
            pulse.verdicts.insert(one.name.clone(), found.verdict.clone());
            judged.insert(one.name.clone(), found);
        }
        self.judged = judged;
        Ok(pulse)
    }

    fn probed(&self, probe: &HttpProbe) -> ServiceName {
        match self.service(probe) {
            Some(service) => service.name.clone(),
            None => probe.service.clone(),
        }
    }

    async fn probe(&mut self, probe: &HttpProbe) -> Result<(), String> {
        let cluster = self.eyes.target.cluster().map_err(|error| error.to_string())?;
        let service = self.service(probe);
        let Some(namespace) = service.and_then(|one| one.key.namespace.as_deref()) else {
            return Err(format!("the app has no Service `{}` to probe", probe.service));
        };
        let shown = format!("GET http://{}:{}{}", probe.service, probe.port, probe.path);
        match cluster
            .probe(namespace, probe.service.as_str(), probe.port, &probe.path)
            .await
        {
            Ok(200..=399) => Ok(()),
            Ok(status) => Err(format!("{shown} -> {status}")),
            Err(error) => Err(format!("{shown} -> {error}")),
        }
    }

    async fn evidence(
        &mut self,
        failed: &BTreeSet<ServiceName>,
        verdicts: &BTreeMap<ServiceName, Verdict>,
        probe: Option<&str>,
    ) -> Vec<Evidence> {
        let mut all = Vec::new();
        for one in self.watched.iter().filter(|one| failed.contains(&one.name)) {
            let Some(judged) = self.judged.get(&one.name) else {
                continue;
            };
            let found = self.with_scene(one, |scene| evidence::gather(scene, judged));
            let culprit = found.log.as_ref().map(|culprit| PodContainer {
                namespace: culprit.namespace.clone(),
                pod: culprit.pod.clone(),
                container: culprit.container.clone(),
                previous: culprit.previous,
            });
            // A probe of the app asks a Service; what its pods say explains the answer.
            let culprit = culprit.or_else(|| probe.and_then(|_| self.behind(one)));
            // A container that never started has no log, and that is no silence.
            let logs = match (&culprit, self.eyes.target.cluster()) {
                (Some(container), Ok(cluster)) => cluster.logs(container, EVIDENCE_LINES).await.ok(),
                _ => None,
            };
            let mask = self.eyes.mask;
            let cause = verdicts
                .get(&one.name)
                .and_then(Verdict::cause)
                .cloned()
                .unwrap_or_else(|| Cause::new(CauseKind::NoProgress, found.line.clone()));
            let pod = culprit.filter(|_| logs.is_some()).map(|culprit| culprit.pod);
            all.push(Evidence {
                service: one.name.clone(),
                container: pod.unwrap_or_default(),
                cause: Cause::new(cause.kind, mask.clean(&cause.detail)),
                // Where the app's own probe fails, what the cluster says of the object does not count.
                healthy: if probe.is_some() {
                    0
                } else {
                    judged.healthy as usize
                },
                of: judged.of as usize,
                exit_code: found.exit_code,
                probe: probe
                    .map(str::to_owned)
                    .or(found.probe)
                    .map(|text| mask.clean(&text)),
                logs: logs.iter().flatten().map(|line| mask.clean(line)).collect(),
                events: found
                    .events
                    .iter()
                    .map(|event| mask.clean(&format!("{} {}: {}", event.object, event.reason, event.message)))
                    .collect(),
            });
        }
        all
    }
}
