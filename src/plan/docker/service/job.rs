//! One-shots: a service that runs once for each spec and image.
//!
//! In: a turn at a one-shot. Out: its steps. Guaranteed: success is final; a rollback never runs one again; a failed one is
//! kept until its next run was created. Must not: judge its outcome.

use super::*;

impl<'a> Turn<'a> {
    /// A one-shot runs once for each spec and image; success is final.
    pub(super) fn job(&mut self, decided: &mut Decided) {
        let image = self
            .scene
            .images
            .get(self.name)
            .and_then(|image| image.id.clone());
        let old: Vec<&'a Container> = self.group.current.values().copied().collect();
        let done = self.scene.inventory.jobs.get(self.name).is_some_and(|done| {
            done.spec == self.template.spec && image.as_ref().is_none_or(|image| *image == done.image_id)
        });
        let settled = self
            .scene
            .stable
            .as_ref()
            .is_some_and(|stable| stable.record.digest == *self.scene.release);
        let rolling_back = self.scene.stance.roll_back_from.is_some();
        if done || settled || rolling_back {
            decided.jobs_done.insert(self.name.clone());
            self.refs = old.iter().map(|container| id(container)).collect();
            if !done {
                let why = if rolling_back {
                    "not run again in a rollback"
                } else {
                    "not run again for a settled release"
                };
                self.notes.push(why.to_owned());
            }
            self.note_action(Action::Keep, Cause::Unchanged);
            return;
        }
        if let Some(running) = old
            .iter()
            .find(|container| self.matches(container) && self.scene.ours(container))
        {
            let completed = running.state == State::Exited && running.exit_code == Some(0);
            let condition = Condition::Completed {
                containers: vec![id(running)],
                service: self.name.to_string(),
            };
            let wait = Step::Await(Await {
                condition,
                patience: steps::patience(self.scene, self.name, self.service),
            });
            if completed || runs(running) {
                self.refs = vec![id(running)];
                if completed {
                    decided.jobs_done.insert(self.name.clone());
                } else {
                    self.steps.push(wait);
                    self.notes.push("still runs".to_owned());
                }
                self.note_action(Action::Keep, Cause::Unchanged);
                return;
            }
            if running.state == State::Created {
                self.steps
                    .extend(steps::copies(self.service, self.template, &id(running)));
                self.steps.extend(self.before_start(decided, Some(running)));
                self.steps.push(Step::Op(Op::Start {
                    container: id(running),
                }));
                self.steps.push(wait);
                self.refs = vec![id(running)];
                self.motion = Motion::Started;
                self.note_action(Action::Heal, Cause::NotFound);
                return;
            }
        }
        let foreign = old.iter().any(|container| !self.scene.ours(container));
        if foreign && !self.scene.stance.adopt {
            self.refs = old.iter().map(|container| id(container)).collect();
            self.note_action(Action::Blocked(Blocked::NotAdopted), Cause::Drifted);
            return;
        }
        let cause = if old.is_empty() {
            Cause::NotFound
        } else {
            Cause::Declared(self.scene.desired.revision.clone())
        };
        let git = old.first().map(|old| {
            let ids = self.parent_ids.clone();
            let resolve = |name: &str| ids.get(name).cloned();
            let wanted = Wanted {
                scene: self.scene,
                name: self.name,
                service: self.service,
                template: self.template,
                index: 1,
                parents: &resolve,
            };
            wanted.find(old).fields
        });
        self.fields.extend(
            git.unwrap_or_default()
                .into_iter()
                .filter(|field| field.moved == Moved::Git),
        );
        let before_start = self.before_start(decided, old.first().copied());
        let ids = self.parent_ids.clone();
        let resolve = |name: &str| ids.get(name).cloned();
        let new = self.making(1, before_start, &resolve);
        let reference = new.reference();
        let steps = new.job(&old);
        self.steps.extend(steps);
        let condition = Condition::Completed {
            containers: vec![reference.clone()],
            service: self.name.to_string(),
        };
        self.steps.push(Step::Await(Await {
            condition,
            patience: steps::patience(self.scene, self.name, self.service),
        }));
        self.made(reference);
        if old.is_empty() {
            self.notes.push("runs once".to_owned());
        }
        let action = if old.is_empty() {
            Action::Create
        } else {
            Action::Recreate(Strategy::StopFirst {
                because: "it runs once".to_owned(),
            })
        };
        self.note_action(action, cause);
    }
}
