//! One live container against what is asked of it: what differs and the mildest way to put it right.
//!
//! In: a container, its baseline, its template. Out: [`Finding`]. Guaranteed: only what can change during a container's life
//! is compared when we made it (docker.md §3); unknown is never drift. Must not: look at other services' decisions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::live::world::{Baseline, Container, LiveEndpoint, State};
use crate::names::ServiceName;
use crate::plan::{FieldDiff, Moved};
use crate::render::model::{Service, WantedState};
use crate::secret::Text;

use super::compare;
use super::limits::{self, Goal, UPDATABLE};
use super::request::{Template, container_name};
use super::scene::Scene;
use super::spec;

/// What was found about one container.
#[derive(Debug, Default)]
pub(crate) struct Finding {
    pub fields: Vec<FieldDiff>,
    /// Only a new container can have what is asked for; why.
    pub recreate: Option<String>,
    /// The body of an update call; empty when none is needed.
    pub update: Map<String, Value>,
    pub rename: bool,
    /// Networks to join, leave, and leave and join again.
    pub connect: Vec<String>,
    pub disconnect: Vec<String>,
    pub reconnect: Vec<String>,
    /// The state to reach from the present one.
    pub state: Option<(State, WantedState)>,
    /// What it has was compared in full, and nothing differs: it can be recorded under the wanted spec.
    pub full: bool,
    pub notes: Vec<String>,
}

impl Finding {
    /// Whether nothing has to be done.
    pub fn is_clean(&self) -> bool {
        self.recreate.is_none()
            && self.update.is_empty()
            && !self.rename
            && self.connect.is_empty()
            && self.disconnect.is_empty()
            && self.reconnect.is_empty()
            && self.state.is_none()
    }

    /// Whether all that differs was moved outside Git.
    pub fn live_only(&self) -> bool {
        self.fields.iter().all(|field| field.moved == Moved::Live)
    }
}

/// What a container is compared with.
pub(crate) struct Wanted<'a> {
    pub scene: &'a Scene<'a>,
    pub name: &'a ServiceName,
    pub service: &'a Service,
    pub template: &'a Template,
    pub index: u32,
    pub parents: &'a dyn Fn(&str) -> Option<String>,
}

impl Wanted<'_> {
    fn live_diff(&self, field: &str, from: Option<String>, to: Option<String>) -> FieldDiff {
        FieldDiff {
            field: field.to_owned(),
            from: from.map(Text::plain),
            to: to.map(Text::plain),
            moved: Moved::Live,
            place: self
                .scene
                .desired
                .places
                .find(&format!("services.{}.{field}", self.name))
                .cloned(),
            by: None,
        }
    }

    /// Compares one container.
    pub fn find(&self, live: &Container) -> Finding {
        let mut finding = Finding::default();
        let owned = self.scene.owned(live);
        let baseline = owned.map(|owned| &owned.baseline);
        let goal = Goal::of(self.service);
        let known = self.scene.spec_of(live);
        let comparable = known
            .as_ref()
            .is_some_and(|known| known.version() == spec::VERSION);
        let git = self.git_fields();
        let before = self.scene.stable_service(self.name);

        let before_goal = if comparable && known.as_ref() == Some(&self.template.spec) {
            Some(goal.clone())
        } else if comparable {
            let made_with = before.filter(|(_, _, template)| Some(&template.spec) == known.as_ref());
            match made_with {
                Some((_, service, template)) => {
                    self.changed(template, &mut finding);
                    Some(Goal::of(service))
                }
                None => {
                    finding.recreate = Some("it was made with other settings".to_owned());
                    None
                }
            }
        } else {
            self.in_full(live, &mut finding);
            if before.is_some_and(|(_, _, template)| hashes(template) != hashes(self.template)) {
                finding.recreate = Some("files that are copied in changed".to_owned());
            }
            None
        };
        finding.fields.extend(git);
        self.image(live, &mut finding);
        self.short_list(live, baseline, &goal, before_goal.as_ref(), &mut finding);
        self.ignore(&mut finding);
        if finding.recreate.is_some() && finding.fields.is_empty() && !comparable {
            finding.full = false;
        }
        dedup(&mut finding.fields);
        finding
    }

    /// What the commit changes, from the effective release to this one.
    fn git_fields(&self) -> Vec<FieldDiff> {
        let Some((project, before, _)) = self.scene.stable_service(self.name) else {
            return Vec::new();
        };
        super::fields::between(
            self.name.as_str(),
            (project, before),
            (self.scene.project(), self.service),
            &self.scene.desired.places,
        )
    }

    /// Whether a change of the request can be made in place: limits, the restart policy, one more network.
    fn changed(&self, before: &Template, finding: &mut Finding) {
        let strip = |template: &Template| {
            let mut body = template.canonical().clone();
            if let Some(host) = body.get_mut("HostConfig").and_then(Value::as_object_mut) {
                for field in UPDATABLE {
                    host.remove(*field);
                }
            }
            body
        };
        if strip(before) != strip(self.template) {
            finding.recreate = Some("its settings changed".to_owned());
        } else if hashes(before) != hashes(self.template) {
            finding.recreate = Some("files that are copied in changed".to_owned());
        } else {
            let joined: BTreeMap<&String, &Value> = self
                .template
                .endpoints
                .iter()
                .map(|(name, value)| (name, value))
                .collect();
            let kept = before
                .endpoints
                .iter()
                .all(|(name, value)| joined.get(name) == Some(&value));
            if !kept {
                finding.recreate = Some("its networks changed".to_owned());
            }
        }
    }

    /// Everything, for a container that this version of the program did not make.
    fn in_full(&self, live: &Container, finding: &mut Finding) {
        let config = self
            .scene
            .images
            .get(self.name)
            .and_then(|image| image.config.as_deref());
        let files = format!("{}/", self.scene.setting.files_dir.trim_end_matches('/'));
        let tree = |source: &str| {
            let hash = source.strip_prefix(&files)?;
            self.scene.project().trees.get(hash).map(|tree| tree.path.clone())
        };
        let differences = compare::differences(
            live.inspect.expose(),
            config,
            self.template.canonical(),
            self.parents,
            &tree,
        );
        finding.full = differences.is_empty();
        if let Some(first) = differences.first() {
            finding.recreate = Some(format!("`{}` differs", first.field));
        }
        for difference in differences {
            let place = self
                .scene
                .desired
                .places
                .find(&format!("services.{}.{}", self.name, difference.field))
                .cloned();
            finding.fields.push(FieldDiff {
                field: difference.field,
                from: difference.from,
                to: difference.to,
                moved: Moved::Live,
                place,
                by: None,
            });
        }
        if !self.template.files.is_empty() {
            finding.notes.push(
                "the content of configs and secrets in the running container is not compared".to_owned(),
            );
        }
    }

    fn image(&self, live: &Container, finding: &mut Finding) {
        let Some(image) = self.scene.images.get(self.name) else {
            return;
        };
        if image.id.as_ref() == Some(&live.image_id) {
            return;
        }
        finding.recreate = Some("its image changed".to_owned());
        if finding.fields.iter().any(|field| field.field == "image") {
            return;
        }
        let digest = |id: &str| {
            let digits = id.rsplit(':').next().unwrap_or(id);
            format!(
                "{} ({})",
                self.service.image.shown(),
                digits.get(..12).unwrap_or(digits)
            )
        };
        let same_text = live.image_ref == self.service.image.value
            || live.image_ref.starts_with("sha256:")
            || live.image_ref.contains('@');
        let from = if same_text {
            digest(&live.image_id)
        } else {
            live.image_ref.clone()
        };
        finding.fields.push(FieldDiff {
            field: "image".to_owned(),
            from: Some(Text::plain(from)),
            to: Some(Text {
                value: digest(image.pinned.identity()),
                secret: self.service.image.secret,
            }),
            moved: Moved::Git,
            place: self
                .scene
                .desired
                .places
                .find(&format!("services.{}.image", self.name))
                .cloned(),
            by: None,
        });
    }

    fn short_list(
        &self,
        live: &Container,
        baseline: Option<&Baseline>,
        goal: &Goal,
        before: Option<&Goal>,
        finding: &mut Finding,
    ) {
        let adjust = limits::adjust(live, baseline, goal, before);
        if adjust.recreate.is_some() && finding.recreate.is_none() {
            finding.recreate.clone_from(&adjust.recreate);
        }
        finding.update = adjust.body;
        for difference in adjust.fields {
            let mut field = self.live_diff(difference.field, difference.from, difference.to);
            field.moved = difference.moved;
            finding.fields.push(field);
        }

        let name = container_name(self.scene.project(), self.name, self.service, self.index);
        if live.name != name {
            finding.rename = true;
            // A changed `container_name` is Git's; anything else was done by hand.
            let by_git = baseline.is_some_and(|baseline| baseline.name == live.name)
                && !live.name.contains(crate::live::ownership::NEXT);
            let mut field = self.live_diff("name", Some(live.name.clone()), Some(name.clone()));
            if by_git {
                field.moved = Moved::Git;
            }
            if !(by_git && finding.fields.iter().any(|field| field.field == "container_name")) {
                finding.fields.push(field);
            }
        }
        self.networks(live, baseline, &name, finding);
        self.state(live, finding);
    }

    fn networks(&self, live: &Container, baseline: Option<&Baseline>, name: &str, finding: &mut Finding) {
        if self.template.endpoints.is_empty() {
            return;
        }
        let wanted: BTreeMap<&String, &Value> = self
            .template
            .endpoints
            .iter()
            .map(|(name, value)| (name, value))
            .collect();
        for (network, endpoint) in &wanted {
            let Some(now) = live.endpoints.get(*network) else {
                finding.connect.push((*network).clone());
                let by_git = baseline.is_some_and(|baseline| !baseline.endpoints.contains_key(*network));
                if !by_git {
                    finding.fields.push(self.live_diff(
                        &format!("networks.{network}"),
                        Some("detached".to_owned()),
                        Some("attached".to_owned()),
                    ));
                }
                continue;
            };
            let text = |path: &str| endpoint.pointer(path).and_then(Value::as_str).unwrap_or_default();
            let address = text("/IPAMConfig/IPv4Address");
            let moved_address =
                !address.is_empty() && now.ipv4_address.as_deref().unwrap_or_default() != address;
            let expected = self.aliases(endpoint, name, live);
            let has: BTreeSet<&str> = now.aliases.iter().map(String::as_str).collect();
            let lost: Vec<&&str> = expected.iter().filter(|alias| !has.contains(**alias)).collect();
            let stale = stale(self.scene, network, now) && live.running();
            if stale || moved_address || !lost.is_empty() {
                finding.reconnect.push((*network).clone());
                let (from, to) = if stale {
                    ("attached to a removed network".to_owned(), "attached".to_owned())
                } else if moved_address {
                    (
                        now.ipv4_address
                            .clone()
                            .unwrap_or_else(|| "any address".to_owned()),
                        address.to_owned(),
                    )
                } else {
                    let missing: Vec<&str> = lost.iter().map(|alias| **alias).collect();
                    (
                        format!("without alias {}", missing.join(", ")),
                        "with it".to_owned(),
                    )
                };
                finding
                    .fields
                    .push(self.live_diff(&format!("networks.{network}"), Some(from), Some(to)));
            }
        }
        for network in live.endpoints.keys() {
            if !wanted.contains_key(network) {
                finding.disconnect.push(network.clone());
                finding.fields.push(self.live_diff(
                    &format!("networks.{network}"),
                    Some("attached".to_owned()),
                    None,
                ));
            }
        }
    }

    /// The aliases that the container must have, without its own names: the engine adds and drops those by itself.
    fn aliases<'b>(&'b self, endpoint: &'b Value, name: &str, live: &Container) -> BTreeSet<&'b str> {
        let extra = endpoint
            .get("Aliases")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        extra
            .chain([self.name.as_str()])
            .filter(|alias| *alias != name && *alias != live.name)
            .collect()
    }

    fn state(&self, live: &Container, finding: &mut Finding) {
        let reached = match (self.service.state, &live.state) {
            (WantedState::Running, State::Running | State::Restarting | State::Other(_)) => true,
            (WantedState::Paused, State::Paused) => true,
            (WantedState::Stopped, State::Created | State::Exited | State::Dead) => true,
            _ => live.state == State::Removing,
        };
        if reached {
            return;
        }
        if live.state == State::Dead && finding.recreate.is_none() {
            finding.recreate =
                Some("the engine could not remove it completely; it can't be started again".to_owned());
        }
        let wanted = match self.service.state {
            WantedState::Running => "running",
            WantedState::Paused => "paused",
            WantedState::Stopped => "stopped",
        };
        finding.state = Some((live.state.clone(), self.service.state));
        let now = match (live.state.clone(), live.exit_code) {
            (State::Exited, Some(code)) => format!("exited ({code})"),
            (state, _) => state.to_string(),
        };
        let asked_by_git = finding
            .fields
            .iter()
            .any(|field| field.field == "state" && field.moved == Moved::Git);
        if !asked_by_git {
            finding
                .fields
                .push(self.live_diff("state", Some(now), Some(wanted.to_owned())));
        }
    }

    /// Drops drift that the app's rules leave to somebody else: `service:/field/path`.
    fn ignore(&self, finding: &mut Finding) {
        let ignored: Vec<String> = self
            .scene
            .desired
            .rules
            .ignore
            .iter()
            .filter_map(|pattern| {
                let (service, path) = pattern.split_once(':')?;
                let service = service.strip_prefix("service/").unwrap_or(service);
                (service == "*" || service == self.name.as_str()).then(|| {
                    let path = path.trim_matches('/').replace('/', ".");
                    path.strip_prefix("deploy.").map(str::to_owned).unwrap_or(path)
                })
            })
            .collect();
        if ignored.is_empty() {
            return;
        }
        let hit = |field: &str| {
            ignored
                .iter()
                .any(|path| field == path || field.starts_with(&format!("{path}.")))
        };
        let keys = [
            ("RestartPolicy", "restart"),
            ("NanoCpus", "resources.nano_cpus"),
            ("CpuShares", "resources.cpu_shares"),
            ("CpuPeriod", "resources.cpu_period"),
            ("CpuQuota", "resources.cpu_quota"),
            ("CpusetCpus", "resources.cpuset"),
            ("Memory", "resources.memory"),
            ("MemorySwap", "resources.memory_swap"),
            ("MemoryReservation", "resources.memory_reservation"),
            ("PidsLimit", "resources.pids_limit"),
            ("BlkioWeight", "resources.blkio_weight"),
        ];
        let git: BTreeSet<String> = finding
            .fields
            .iter()
            .filter(|field| field.moved == Moved::Git)
            .map(|field| field.field.clone())
            .collect();
        for (key, field) in keys {
            if hit(field) && !git.contains(field) {
                finding.update.remove(key);
            }
        }
        let network = |name: &String| !hit(&format!("networks.{name}"));
        finding.connect.retain(network);
        finding.disconnect.retain(network);
        finding.reconnect.retain(network);
        if hit("state") {
            finding.state = None;
        }
        if hit("name") {
            finding.rename = false;
        }
        finding
            .fields
            .retain(|field| field.moved == Moved::Git || !hit(&field.field));
        if finding.fields.is_empty()
            && finding
                .recreate
                .as_deref()
                .is_some_and(|why| why.starts_with("a limit"))
        {
            finding.recreate = None;
        }
    }
}

/// Whether the network that a container hangs on was removed and made again under the same name.
fn stale(scene: &Scene<'_>, network: &str, endpoint: &LiveEndpoint) -> bool {
    let now = scene
        .observed
        .networks
        .get(network)
        .map(|network| network.id.as_str());
    !endpoint.network_id.is_empty() && now.is_some_and(|now| !now.is_empty() && now != endpoint.network_id)
}

fn hashes(template: &Template) -> Vec<(&str, u32, u32, u32, &[u8])> {
    let mut files: Vec<_> = template
        .files
        .iter()
        .map(|file| {
            (
                file.path.as_str(),
                file.mode,
                file.uid,
                file.gid,
                file.content.expose().as_ref(),
            )
        })
        .collect();
    files.sort_unstable();
    files
}

/// One line per field, sorted; what Git says about a field wins over the same field found live.
fn dedup(fields: &mut Vec<FieldDiff>) {
    fields.sort_by(|a, b| (&a.field, a.moved).cmp(&(&b.field, b.moved)));
    fields.dedup_by(|later, earlier| later.field == earlier.field);
}
