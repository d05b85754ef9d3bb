//! Replacing a container: by which strategy, and what becomes of the old one.
//!
//! In: a turn at a container that only a new one can follow. Out: its steps. Guaranteed: start-first only where nothing rules
//! it out; the effective release's containers are parked, never removed. Must not: compare.

use super::*;

impl<'a> Turn<'a> {
    pub(super) fn replace(
        &mut self,
        decided: &mut Decided,
        index: u32,
        old: &'a Container,
        cause: Cause,
        why: &str,
    ) {
        let rolling_back = self.scene.stance.roll_back_from.is_some();
        let fate = self.fate(index, old);
        let parked = self.parked(index).filter(|_| rolling_back || !old.running());
        let before_start = self.before_start(decided, Some(old));
        let ids = self.parent_ids.clone();
        let resolve = |name: &str| ids.get(name).cloned();
        let mut new = self.making(index, before_start, &resolve);
        new.aside = decided.set_aside.contains_key(&*old.id.0);
        let name = new.final_name();
        if let Some(parked) = parked {
            let steps = new.revive(parked, Some((old, &fate)));
            self.steps.extend(steps);
            self.revived(parked, name);
            self.note_action(Action::Revive, cause);
            return;
        }
        let reference = new.reference();
        let strategy = self.strategy(old);
        let steps = match &strategy {
            Strategy::StartFirst => new.start_first(old, &fate),
            Strategy::StopFirst { .. } => new.stop_first(old, &fate),
        };
        self.steps.extend(steps);
        self.made(reference);
        let has_git = self
            .fields
            .iter()
            .any(|field| field.moved == Moved::Git && !recorded_only(&field.field));
        if !has_git && self.fields.is_empty() {
            self.notes.push(why.to_owned());
        }
        if old.name != name && self.scene.name_taken(&name) {
            self.name_is_free(decided, &name);
        }
        self.note_action(Action::Recreate(strategy), cause);
    }

    /// Whether the replaced container is the way back, or only the leftover of a release that never settled.
    pub(super) fn fate(&self, index: u32, old: &Container) -> Fate {
        let name = container_name(self.scene.project(), self.name, self.service, index);
        let stable = self.scene.stable.as_ref();
        let revision = self
            .scene
            .owned(old)
            .map(|owned| owned.revision.short().to_owned());
        let suffix = revision
            .or_else(|| stable.map(|stable| stable.record.revision.short().to_owned()))
            .unwrap_or_else(|| old.id.short().get(..7).unwrap_or("old").to_owned());
        let mut aside = format!("{name}{PARKED}{suffix}");
        if self.scene.name_taken(&aside) {
            aside = format!("{aside}-{}", old.id.short().get(..7).unwrap_or("old"));
        }
        let keep = match stable {
            Some(_) => self.scene.is_stable(self.name, old) && !self.scene.unchanged_since_stable(self.name),
            // Without a settled release there is no telling what worked: an adopted container is kept, and everything
            // after a lost store.
            None => !self.scene.inventory.containers.contains_key(&old.id) || self.scene.inventory.rebuilt,
        };
        let keep = keep && self.scene.stance.roll_back_from.is_none();
        if keep {
            Fate::Park(aside)
        } else {
            Fate::Remove(aside)
        }
    }

    /// Start-first where nothing rules it out (docker.md §7).
    pub(super) fn strategy(&self, old: &Container) -> Strategy {
        let service = self.service;
        let declared = service.update.order;
        let shared = service.volumes.iter().find(|(_, mount)| {
            !mount.read_only && !matches!(mount.source, MountSource::Tmpfs { .. } | MountSource::Tracked(_))
        });
        let ports = service.ports.iter().find(|port| {
            port.published
                .is_some_and(|(first, last)| u32::from(last.saturating_sub(first)) < service.replicas)
        });
        let fixed_address = service.networks.values().any(|endpoint| {
            endpoint.ipv4_address.is_some()
                || endpoint.ipv6_address.is_some()
                || endpoint.mac_address.is_some()
        }) || service.mac_address.is_some();
        let because = if declared == Some(UpdateOrder::StopFirst) {
            Some("update_config.order is stop-first".to_owned())
        } else if let Some(port) = ports {
            let host = port.published.map_or(0, |(first, _)| first);
            Some(format!("it publishes host port {host}"))
        } else if service.container_name.is_some() {
            Some("container_name is fixed".to_owned())
        } else if fixed_address {
            Some("its address is fixed".to_owned())
        } else if !matches!(
            service.network_mode,
            NetworkMode::Networks | NetworkMode::None | NetworkMode::Bridge
        ) {
            Some("it shares a network stack".to_owned())
        } else if !service.devices.is_empty() || !service.device_requests.is_empty() {
            Some("it uses devices".to_owned())
        } else if service.state != WantedState::Running {
            Some("it is not meant to run".to_owned())
        } else if !old.running() {
            Some("the old one does not run".to_owned())
        } else if declared == Some(UpdateOrder::StartFirst) {
            None
        } else if let Some((target, _)) = shared {
            Some(format!("both would write to {target}"))
        } else if !service.volumes_from.is_empty() {
            Some("it uses another service's volumes".to_owned())
        } else if steps::carries(self.scene, self.name, service, old) {
            Some("both would write to an anonymous volume".to_owned())
        } else {
            None
        };
        because.map_or(Strategy::StartFirst, |because| Strategy::StopFirst { because })
    }
}
