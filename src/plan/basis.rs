//! What a plan was decided on (decision 6).
//!
//! In: an observation. Out: a digest over what decisions depend on. Guaranteed: health, uptime, addresses, restart counts and
//! containers of other projects are not in it. Must not: hold environment values.

use serde_json::{Value, json};

use crate::live::kubernetes::fields;
use crate::live::kubernetes::world::{self as kubernetes, Seen};
use crate::live::world::{ImageFact, Observed, Owner, State};
use crate::names::Digest;

use super::docker::limits::normal;
use super::docker::spec::canonical;

/// The basis of a plan for objects of a cluster: which ones are there, whose they are, and what of them is ours.
pub(crate) fn of_objects(observed: Option<&kubernetes::Observed>, release: &Digest) -> Digest {
    let seen = |seen: &Seen| match seen {
        Seen::Live(live) => json!([
            live.uid,
            live.owned,
            format!("{:?}", live.belongs),
            live.deleting.is_some()
        ]),
        Seen::Absent => json!("absent"),
        Seen::KindToCome => json!("kind to come"),
        Seen::NoKind(_) => json!("no kind"),
        Seen::Unknown(_) => json!("unknown"),
    };
    let (wanted, others): (Vec<Value>, Vec<Value>) = observed.map_or_else(Default::default, |observed| {
        let wanted = observed
            .wanted
            .iter()
            .map(|(key, wanted)| json!([key, seen(&wanted.seen), fields::digest(&wanted.body.0)]));
        let others = observed
            .others
            .iter()
            .map(|(key, other)| json!([key, seen(other)]));
        (wanted.collect(), others.collect())
    });
    Digest::of("b1", json!([release, wanted, others]).to_string().as_bytes())
}

/// The basis of a plan for `release`.
pub(crate) fn digest(observed: &Observed, release: &Digest) -> Digest {
    let mut containers: Vec<Value> = observed
        .containers
        .iter()
        .map(|container| {
            // A container that the engine restarts is one that is meant to run.
            let state = match &container.state {
                State::Restarting => State::Running,
                state => state.clone(),
            };
            let exited = (state == State::Exited).then_some(container.exit_code == Some(0));
            let networks: Vec<Value> = container
                .endpoints
                .iter()
                .map(|(name, endpoint)| json!([name, endpoint.aliases, endpoint.ipv4_address]))
                .collect();
            let restart = normal(&container.restart);
            json!({
                "id": &*container.id.0,
                "name": container.name,
                "service": container.service,
                "index": container.index,
                "owner": owner(&container.owner),
                "spec": container.spec,
                "state": state.to_string(),
                "exited": exited,
                "image": container.image_id,
                "restart": [restart.name, restart.max_retries.to_string()],
                "limits": container.limits,
                "networks": networks,
            })
        })
        .collect();
    // Each is written once, not once for each comparison.
    containers.sort_by_cached_key(canonical);
    let networks: Vec<Value> = observed
        .networks
        .values()
        .map(|network| {
            json!([
                network.id,
                network.name,
                owner(&network.owner.owner),
                network.owner.key,
                network.spec
            ])
        })
        .collect();
    let volumes: Vec<Value> = observed
        .volumes
        .values()
        .map(|volume| {
            json!([
                volume.name,
                owner(&volume.owner.owner),
                volume.owner.key,
                volume.spec
            ])
        })
        .collect();
    let images: Vec<Value> = observed
        .images
        .iter()
        .map(|(reference, fact)| match fact {
            ImageFact::Local(image) => json!([reference, image.id, image.registry]),
            ImageFact::Remote { digest } => json!([reference, digest]),
            ImageFact::Absent(error) => json!([reference, error.code]),
        })
        .collect();
    let text = canonical(&json!({
        "engine": observed.engine.id.as_str(),
        "api": [observed.engine.api.0, observed.engine.api.1],
        "release": release,
        "containers": containers,
        "networks": networks,
        "volumes": volumes,
        "images": images,
    }));
    Digest::of("b1", text.as_bytes())
}

fn owner(owner: &Owner) -> String {
    match owner {
        Owner::Ours => "ours".to_owned(),
        Owner::Unmanaged => "unmanaged".to_owned(),
        Owner::OtherApp(key) => format!("app {}", crate::live::ownership::app_label(key)),
        Owner::OtherInstance(name) => format!("instance {name}"),
    }
}
