//! What must hold before a container starts: dependencies in their condition, free ports and names.
//!
//! In: a turn, what was decided before it. Out: waits, or problems. Guaranteed: a wait that can never end is a problem of the
//! plan. Must not: wait for what is met already.

use super::*;

impl Turn<'_> {
    /// Everything that must be there when the container starts: dependencies in their condition, free host ports.
    pub(super) fn before_start(&self, decided: &mut Decided, replaced: Option<&Container>) -> Vec<Step> {
        let mut steps = self.waits(decided);
        steps.extend(super::super::ports::free(
            self.scene,
            decided,
            self.name,
            self.service,
            self.group,
            replaced,
        ));
        steps
    }

    pub(super) fn waits(&self, decided: &mut Decided) -> Vec<Step> {
        let mut steps = Vec::new();
        for (name, dependency) in &self.service.depends_on {
            let Some(service) = self.scene.project().services.get(name) else {
                continue;
            };
            let containers = decided.containers.get(name).cloned().unwrap_or_default();
            if containers.is_empty() {
                continue;
            }
            let moved = decided.moved.get(name).copied().unwrap_or(Motion::Still) != Motion::Still;
            let group = self.scene.groups.get(name.as_str());
            let all = |test: fn(&Container) -> bool| {
                group.is_some_and(|group| group.current.values().all(|container| test(container)))
            };
            let label = name.to_string();
            let condition = match dependency.condition {
                Wait::ServiceStarted if !moved && all(Container::running) => continue,
                Wait::ServiceStarted if service.state != WantedState::Running => continue,
                Wait::ServiceStarted if service.job => continue,
                Wait::ServiceStarted => Condition::Running {
                    containers,
                    service: label,
                },
                Wait::ServiceHealthy if !moved && all(|container| container.health == Health::Healthy) => {
                    continue;
                }
                Wait::ServiceHealthy => {
                    self.has_check(decided, name, service);
                    let steady = std::time::Duration::ZERO;
                    Condition::Healthy {
                        containers,
                        service: label,
                        steady,
                    }
                }
                Wait::ServiceCompletedSuccessfully if decided.jobs_done.contains(name) => continue,
                Wait::ServiceCompletedSuccessfully => Condition::Completed {
                    containers,
                    service: label,
                },
            };
            steps.push(Step::Await(Await {
                condition,
                patience: steps::patience(self.scene, name, service),
            }));
        }
        steps
    }

    /// `service_healthy` on a service without a healthcheck would wait for ever.
    pub(super) fn has_check(&self, decided: &mut Decided, name: &ServiceName, service: &Service) {
        let own = service.healthcheck.as_ref();
        let off = own.is_some_and(crate::render::model::Healthcheck::disabled);
        let given = own.is_some_and(|check| !check.test.is_empty());
        let Some(config) = self
            .scene
            .images
            .get(name)
            .and_then(|image| image.config.as_deref())
        else {
            return;
        };
        let test = config.pointer("/Healthcheck/Test").and_then(Value::as_array);
        let inherited = test.is_some_and(|test| test.first().is_some_and(|first| first != "NONE"));
        if off || !(given || inherited) {
            decided.problems.push(Problem {
                code: "E0573",
                message: format!(
                    "service `{}` waits for `{name}` to be healthy, and nothing checks `{name}`",
                    self.name
                ),
                place: self
                    .scene
                    .desired
                    .places
                    .find(&format!("services.{}.depends_on.{name}", self.name))
                    .cloned(),
                help: Some(format!(
                    "add a `healthcheck` to `{name}`, or use `condition: service_started`"
                )),
                kind: ProblemKind::Preflight,
            });
        }
    }

    pub(super) fn name_is_free(&self, decided: &mut Decided, name: &str) {
        let own = |id: &crate::live::world::ContainerId| {
            let group = self.group;
            let all = group
                .current
                .values()
                .chain(&group.next)
                .chain(&group.parked)
                .chain(&group.surplus);
            all.into_iter().any(|container| container.id == *id)
        };
        let holder = self
            .scene
            .observed
            .holders
            .iter()
            .find(|holder| holder.name == name && !own(&holder.id));
        if let Some(holder) = holder {
            let whose = if holder.project.is_empty() {
                String::new()
            } else {
                format!(" of project `{}`", holder.project)
            };
            decided.problems.push(Problem {
                code: "E0522",
                message: format!(
                    "service `{}` needs the container name `{name}`, which a container{whose} has",
                    self.name
                ),
                place: self
                    .scene
                    .desired
                    .places
                    .find(&format!("services.{}.container_name", self.name))
                    .cloned(),
                help: Some(format!("`docker rename {name} OTHER`, or choose another name")),
                kind: ProblemKind::Preflight,
            });
        }
    }
}
