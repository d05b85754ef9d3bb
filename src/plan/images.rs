//! What each service's image means here and now: the observation and the desired reference combined (decision 1).
//!
//! In: a reference as written or as pinned by a stored release, the observed facts. Out: [`Resolved`] images, pulls for
//! pre-flight, problems. Guaranteed: containers are made by image id or by digest, never by tag. Must not: ask a registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::image::ImageRef;
use crate::live::docker::op::Op;
use crate::live::world::{ImageFact, LocalImage, Observed};
use crate::names::ServiceName;
use crate::release::Pinned;
use crate::render::model::{PullPolicy, Service};
use crate::render::{Desired, Places};

use super::{Problem, ProblemKind, Stance};

/// What an image is here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resolved {
    /// The engine's id, when it has it.
    pub id: Option<String>,
    /// What a create request names: the id, else the pinned reference that pre-flight pulls.
    pub create: String,
    /// The image's configuration, when the engine has it.
    pub config: Option<Arc<Value>>,
    pub pinned: Pinned,
}

/// All images of a plan.
#[derive(Debug, Default)]
pub(crate) struct Images {
    pub by_service: BTreeMap<ServiceName, Resolved>,
    pub pulls: Vec<Op>,
    pub problems: Vec<Problem>,
}

/// Resolves the image of every service.
pub(crate) fn resolve(desired: &Desired, observed: &Observed, stance: &Stance<'_>) -> Images {
    let mut images = Images::default();
    for (name, service) in &desired.project.services {
        match of_service(name, service, observed, stance) {
            Ok((resolved, pull)) => {
                if let Some(pull) = pull
                    && service.replicas > 0
                    && !images.pulls.contains(&pull)
                {
                    images.pulls.push(pull);
                }
                images.by_service.insert(name.clone(), resolved);
            }
            Err(problem) => {
                images.problems.push(placed(*problem, name, &desired.places));
                let reference = service.image.shown().to_owned();
                let pinned = Pinned {
                    reference: reference.clone(),
                    repo_digest: None,
                    id: None,
                };
                images.by_service.insert(
                    name.clone(),
                    Resolved {
                        id: None,
                        create: reference,
                        config: None,
                        pinned,
                    },
                );
            }
        }
    }
    images
}

fn placed(mut problem: Problem, name: &ServiceName, places: &Places) -> Problem {
    problem.place = places.find(&format!("services.{name}.image")).cloned();
    problem
}

fn of_service(
    name: &ServiceName,
    service: &Service,
    observed: &Observed,
    stance: &Stance<'_>,
) -> Result<(Resolved, Option<Op>), Box<Problem>> {
    if let Some(pinned) = stance.pinned.get(name) {
        return of_pinned(name, service, pinned, observed);
    }
    let reference = service.image.value.as_str();
    match observed.images.get(reference) {
        Some(ImageFact::Local(image)) => match newer(image, reference) {
            Some(pinned) if service.pull_policy != PullPolicy::Never => {
                Ok(remote(service, reference, pinned, observed))
            }
            _ => Ok((local(service, image, reference), None)),
        },
        Some(ImageFact::Remote { digest }) if service.pull_policy != PullPolicy::Never => {
            Ok(remote(service, reference, pin(reference, digest), observed))
        }
        Some(ImageFact::Remote { .. }) => Err(Box::new(absent(
            name,
            "E0530",
            format!(
                "{} is not on the engine, and `pull_policy: never` forbids to pull it",
                service.image.shown()
            ),
            "load the image on the engine's host, or change the policy",
        ))),
        Some(ImageFact::Absent(error)) => {
            let code = known_code(&error.code);
            Err(Box::new(absent(name, code, error.message.clone(), help(code))))
        }
        None => Err(Box::new(absent(
            name,
            "E0530",
            format!("{} was not looked up", service.image.shown()),
            "run the command again",
        ))),
    }
}

/// The image of a stored release: by id where the engine still has it, else by digest.
fn of_pinned(
    name: &ServiceName,
    service: &Service,
    pinned: &Pinned,
    observed: &Observed,
) -> Result<(Resolved, Option<Op>), Box<Problem>> {
    let facts = [
        pinned.id.as_deref(),
        pinned.repo_digest.as_deref(),
        Some(service.image.value.as_str()),
    ];
    for key in facts.into_iter().flatten() {
        let Some(ImageFact::Local(image)) = observed.images.get(key) else {
            continue;
        };
        let same = pinned.id.as_ref() == Some(&image.id)
            || pinned
                .repo_digest
                .as_ref()
                .is_some_and(|digest| image.repo_digests.contains(digest));
        if same {
            let mut resolved = local(service, image, &service.image.value);
            resolved.pinned = Pinned {
                id: Some(image.id.clone()),
                ..pinned.clone()
            };
            return Ok((resolved, None));
        }
    }
    // The container that runs proves that the engine has the image, whatever was asked.
    if let Some(id) = &pinned.id
        && observed
            .containers
            .iter()
            .any(|container| container.image_id == *id)
    {
        let resolved = Resolved {
            id: Some(id.clone()),
            create: id.clone(),
            config: None,
            pinned: pinned.clone(),
        };
        return Ok((resolved, None));
    }
    match &pinned.repo_digest {
        Some(digest) => {
            let pull = Op::PullImage {
                reference: digest.clone(),
                platform: service.platform.clone(),
            };
            Ok((
                Resolved {
                    id: None,
                    create: digest.clone(),
                    config: None,
                    pinned: pinned.clone(),
                },
                Some(pull),
            ))
        }
        None => Err(Box::new(absent(
            name,
            "E0530",
            format!(
                "image {} of the release is gone from the engine, and no registry has it",
                pinned.reference
            ),
            "make the image again on the engine's host",
        ))),
    }
}

fn local(service: &Service, image: &LocalImage, reference: &str) -> Resolved {
    let pinned = Pinned {
        reference: service.image.shown().to_owned(),
        repo_digest: repo_digest(image, reference),
        id: Some(image.id.clone()),
    };
    Resolved {
        id: Some(image.id.clone()),
        create: image.id.clone(),
        config: Some(Arc::clone(&image.config)),
        pinned,
    }
}

/// The image's digest in the repository that `reference` names. One of another repository is not taken: it comes and goes
/// with what other people tag and push, and would make another release of the same image, past its hold.
fn repo_digest(image: &LocalImage, reference: &str) -> Option<String> {
    let wanted = ImageRef::parse(reference).ok();
    let same = |digest: &&String| match (&wanted, ImageRef::parse(digest)) {
        (Some(wanted), Ok(found)) => (wanted.domain(), wanted.path()) == (found.domain(), found.path()),
        _ => false,
    };
    image.repo_digests.iter().find(same).cloned()
}

/// The pinned reference in the registry, when the engine's image is not what the registry has now.
fn newer(image: &LocalImage, reference: &str) -> Option<String> {
    let digest = image.registry.as_ref()?;
    let known = image
        .repo_digests
        .iter()
        .any(|known| known.ends_with(digest.as_str()));
    (!known).then(|| pin(reference, digest))
}

/// An image that has to be pulled, unless another name already brought it.
fn remote(service: &Service, reference: &str, pinned: String, observed: &Observed) -> (Resolved, Option<Op>) {
    let digest = pinned.rsplit_once('@').map_or("", |(_, digest)| digest);
    let here = observed.images.values().find_map(|fact| match fact {
        ImageFact::Local(image) if image.repo_digests.iter().any(|known| known.ends_with(digest)) => {
            Some(image)
        }
        _ => None,
    });
    if let Some(image) = here {
        let mut resolved = local(service, image, reference);
        resolved.pinned.repo_digest = Some(pinned);
        return (resolved, None);
    }
    let shown = Pinned {
        reference: service.image.shown().to_owned(),
        repo_digest: Some(pinned.clone()),
        id: None,
    };
    let pull = Op::PullImage {
        reference: pinned.clone(),
        platform: service.platform.clone(),
    };
    (
        Resolved {
            id: None,
            create: pinned,
            config: None,
            pinned: shown,
        },
        Some(pull),
    )
}

fn pin(reference: &str, digest: &str) -> String {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    // A colon after the last slash is a tag; one before it belongs to a port.
    let cut = match (name.rfind(':'), name.rfind('/')) {
        (Some(colon), Some(slash)) if colon < slash => None,
        (colon, _) => colon,
    };
    format!("{}@{digest}", cut.and_then(|cut| name.get(..cut)).unwrap_or(name))
}

fn absent(name: &ServiceName, code: &'static str, message: String, help: &str) -> Problem {
    Problem {
        code,
        message: format!("service `{name}`: {message}"),
        place: None,
        help: Some(help.to_owned()),
        kind: ProblemKind::Preflight,
    }
}

fn known_code(code: &str) -> &'static str {
    const KNOWN: &[&str] = &[
        "E0530", "E0531", "E0532", "E0533", "E0534", "E0503", "E0508", "E0509", "E0510", "E0560", "E0561",
    ];
    KNOWN
        .iter()
        .find(|known| **known == code)
        .copied()
        .unwrap_or("E0530")
}

fn help(code: &str) -> &'static str {
    match code {
        "E0531" => "`docker login` as the user that runs Driftless",
        "E0532" | "E0533" | "E0503" | "E0508" | "E0509" | "E0510" => "try again later",
        "E0534" => "use an image for the engine's platform, or set `platform:`",
        _ => "check the image's name and tag",
    }
}
