//! What `driftless doctor` says of a cluster, and of the rights that apps need there.

use std::collections::{BTreeMap, BTreeSet};

use super::Checks;
use crate::cli::Context;
use crate::cli::error::CommandError;
use crate::cli::here::{Here, expanded, inputs};
use crate::cli::session::block_on;
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::live::LiveError;
use crate::live::kubernetes::checkup::Checkup;
use crate::live::kubernetes::config::ClusterSpec;
use crate::live::kubernetes::kinds::Kinds;
use crate::live::kubernetes::lease::Holding;
use crate::live::kubernetes::rights::{Need, Right, Whose, needs};
use crate::names::ObjectKey;
use crate::render::App;
use crate::report::Exit;
use crate::report::when::span;
use crate::settings::Settings;

/// The oldest minor release whose server-side apply is stable.
const OLDEST: (u32, u32) = (1, 22);
/// Clocks that are further apart than this make certificates, tokens and told times wrong.
const APART: i64 = 30;

/// One connection, and those that use it.
pub struct Cluster {
    name: Option<String>,
    spec: ClusterSpec,
    seats: Vec<Seat>,
}

/// One namespace and account on a cluster, and the apps that are there.
struct Seat {
    spec: ClusterSpec,
    apps: Vec<App>,
}

/// Adds an app to the cluster that it goes to; with no app, the cluster alone.
pub fn add(clusters: &mut Vec<Cluster>, name: Option<String>, spec: ClusterSpec, app: Option<&App>) {
    let same = |one: &Cluster| {
        (&one.spec.kubeconfigs, &one.spec.context, one.spec.exec)
            == (&spec.kubeconfigs, &spec.context, spec.exec)
    };
    let at = clusters.iter().position(same).unwrap_or_else(|| {
        clusters.push(Cluster {
            name,
            spec: spec.clone(),
            seats: Vec::new(),
        });
        clusters.len() - 1
    });
    let seats = &mut clusters[at].seats;
    let apps = app.cloned().into_iter();
    match seats.iter_mut().find(|seat| seat.spec == spec) {
        Some(seat) => seat.apps.extend(apps),
        None => seats.push(Seat {
            spec,
            apps: apps.collect(),
        }),
    }
}

/// What the apps of a seat are made of, as far as that can be rendered.
struct Wanted {
    objects: Vec<ObjectKey>,
    /// One of them has a probe of its own.
    probed: bool,
    /// Apps whose objects are not known.
    unrendered: Vec<String>,
}

impl Wanted {
    fn of(context: &Context, settings: &Settings, seat: &Seat, here: Option<&Here>) -> Self {
        let mut wanted = Self {
            objects: Vec::new(),
            probed: false,
            unrendered: Vec::new(),
        };
        let Some(here) = here else { return wanted };
        for app in &seat.apps {
            wanted.probed |= app.rules.health.http.is_some();
            let rendered = inputs(context, settings, app, here.source.local_root())
                .and_then(|inputs| expanded(context, settings, &here.snapshot, app, inputs));
            match rendered.map(|inputs| inputs.and_then(|inputs| here.snapshot.desired(app, &inputs))) {
                Ok(Ok(desired)) => {
                    let objects = desired.bundle.iter().flat_map(|bundle| &bundle.objects);
                    wanted.objects.extend(objects.map(|object| object.key.clone()));
                }
                _ => wanted.unrendered.push(app.name.to_string()),
            }
        }
        wanted
    }
}

/// Everything about one cluster.
pub fn cluster(
    checks: &mut Checks,
    context: &Context,
    settings: &Settings,
    one: &Cluster,
    here: Option<&Here>,
) {
    let wanted: Vec<Wanted> = one
        .seats
        .iter()
        .map(|seat| Wanted::of(context, settings, seat, here))
        .collect();
    let looked = block_on(async {
        look(checks, settings, one, &wanted).await;
        Ok(())
    });
    if let Err(error) = looked {
        checks.failed("cluster", &error, Exit::Target);
    }
}

async fn look(checks: &mut Checks, settings: &Settings, one: &Cluster, wanted: &[Wanted]) {
    let connected = async {
        let checkup = Checkup::open(&one.spec).await?;
        let asked = SystemClock.now();
        let (version, date) = checkup.version().await?;
        Ok::<_, LiveError>((
            checkup,
            version,
            date.map(|date| apart(date, asked, SystemClock.now())),
        ))
    };
    let (checkup, version, apart) = match connected.await {
        Ok(connected) => connected,
        Err(error) => return failed(checks, "cluster", error),
    };
    release(checks, one, &checkup, &version);
    if let Some(apart) = apart {
        clock(checks, apart);
    }
    match checkup.identity().await {
        Ok(Some(identity)) => {
            let groups: Vec<&str> = identity
                .groups
                .iter()
                .map(String::as_str)
                .filter(|group| *group != "system:authenticated")
                .collect();
            let groups = if groups.is_empty() {
                String::new()
            } else {
                format!(" ({})", groups.join(", "))
            };
            checks.good("account", format!("{}{groups}", identity.user));
        }
        Ok(None) => checks.good("account", "the server does not say who this is (before 1.28)"),
        Err(error) => return failed(checks, "account", error),
    }
    let kinds = match checkup.kinds().await {
        Ok(kinds) => kinds,
        Err(error) => return failed(checks, "API", error),
    };
    for group in kinds.stale() {
        checks.note(
            "API",
            format!("the server of `{group}` does not answer: its objects are unknown, and left alone"),
            "`kubectl get apiservices` says why",
        );
    }
    leases(checks, settings, one, &checkup).await;
    for (seat, wanted) in one.seats.iter().zip(wanted) {
        if !wanted.unrendered.is_empty() {
            checks.note(
                "rights",
                format!(
                    "{} can't be rendered, so what its objects need is not known",
                    wanted.unrendered.join(", ")
                ),
                "`driftless validate` tells why",
            );
        }
        if let Err(error) = rights(checks, &checkup, &kinds, seat, wanted).await {
            failed(checks, "rights", error);
        }
    }
}

fn failed(checks: &mut Checks, name: &'static str, error: LiveError) {
    checks.failed(name, &CommandError::from(error), Exit::Target);
}

fn release(checks: &mut Checks, one: &Cluster, checkup: &Checkup, version: &str) {
    let target = match &one.name {
        Some(name) => format!("{name}, context `{}`", checkup.context),
        None => format!("context `{}`", checkup.context),
    };
    let found = format!("Kubernetes {version} at {} ({target})", checkup.address());
    let mut numbers = version.trim_start_matches('v').split('.').map(|part| {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse::<u32>().unwrap_or(0)
    });
    let minor = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if minor < OLDEST {
        let (major, minor) = OLDEST;
        checks.bad_target(
            "cluster",
            found,
            format!("{major}.{minor} or newer is needed: server-side apply is not stable before"),
        );
    } else {
        checks.good("cluster", found);
    }
}

/// How many seconds the server's clock is before ours, which was asked between two moments. The header has whole seconds.
fn apart(server: Timestamp, before: Timestamp, after: Timestamp) -> i64 {
    if server.as_second() > after.as_second() {
        server.as_second() - after.as_second()
    } else {
        (server.as_second() - before.as_second()).min(0)
    }
}

fn clock(checks: &mut Checks, apart: i64) {
    if apart.abs() <= APART {
        return checks.good("clock", "as that of the API server");
    }
    let told = span(std::time::Duration::from_secs(apart.unsigned_abs()));
    let way = if apart > 0 { "behind" } else { "before" };
    checks.note(
        "clock",
        format!("{told} {way} that of the API server"),
        "synchronise the clocks (NTP): certificates and tokens may be refused, and times of changes are told wrongly",
    );
}

async fn leases(checks: &mut Checks, settings: &Settings, one: &Cluster, checkup: &Checkup) {
    let namespaces: BTreeSet<&str> = one
        .seats
        .iter()
        .map(|seat| lease_of(&seat.spec, checkup))
        .collect();
    for namespace in namespaces {
        match checkup.lease(namespace, &settings.instance.value).await {
            Ok(found) => checks.good("lease", held(namespace, found)),
            // Whether it may be read is among the rights.
            Err(error) if error.kind() == crate::live::FailureKind::NeedsOperator => {}
            Err(error) => failed(checks, "lease", error),
        }
    }
}

fn lease_of<'a>(spec: &'a ClusterSpec, checkup: &'a Checkup) -> &'a str {
    spec.lease.namespace.as_deref().unwrap_or(&checkup.namespace)
}

fn held(namespace: &str, found: Option<Holding>) -> String {
    let Some(Holding {
        by: Some(by),
        renewed,
        lasts,
    }) = found
    else {
        return format!("in `{namespace}`: nobody holds it");
    };
    let renewed = renewed.map(|renewed| {
        let ago = SystemClock.now().duration_since(renewed).unsigned_abs();
        let over = if ago > lasts { ", which is over" } else { "" };
        format!(", renewed {} ago for {}{over}", span(ago), span(lasts))
    });
    format!("in `{namespace}`: held by {by}{}", renewed.unwrap_or_default())
}

async fn rights(
    checks: &mut Checks,
    checkup: &Checkup,
    kinds: &Kinds,
    seat: &Seat,
    wanted: &Wanted,
) -> Result<(), LiveError> {
    let namespace = seat.spec.namespace.as_deref().unwrap_or(&checkup.namespace);
    let lease = lease_of(&seat.spec, checkup);
    let needs = needs(kinds, &wanted.objects, namespace, wanted.probed, lease);
    let of = |whose: Whose| {
        let needs = needs.iter().filter(move |need| need.whose == whose);
        needs.map(|need| need.right.clone()).collect::<BTreeSet<Right>>()
    };
    let mut missing = checkup.missing(of(Whose::Own)).await?;
    let mut who = "";
    match &seat.spec.account {
        None => missing.extend(checkup.missing(of(Whose::Apps)).await?),
        Some(account) => {
            who = account;
            let acting = checkup.acting_as(namespace, account)?;
            missing.extend(acting.missing(of(Whose::Apps)).await?);
        }
    }
    let lacking: Vec<&Need> = needs
        .iter()
        .filter(|need| missing.contains(&need.right))
        .collect();
    let hard = lacking.iter().any(|need| need.without.is_none());
    if !hard {
        checks.good("rights", format!("in `{namespace}`: {}", whom(seat, wanted)));
    }
    for Lack {
        need,
        resources,
        verbs,
    } in lacks(&lacking)
    {
        let place = match &need.right.namespace {
            Some(namespace) => format!("in `{namespace}`"),
            None => "cluster-wide".to_owned(),
        };
        let subject = match (need.whose, who) {
            (Whose::Apps, who) if !who.is_empty() => format!("{who} "),
            _ => String::new(),
        };
        let group = match need.right.group.as_str() {
            "" => String::new(),
            group => format!(" ({group})"),
        };
        let name = need
            .right
            .name
            .as_ref()
            .map(|name| format!(" {name}"))
            .unwrap_or_default();
        let found = format!(
            "{place}: {subject}may not {} {}{name}{group}",
            verbs.join(", "),
            resources.join(", "),
        );
        let next = grant(need, &resources, &verbs);
        match need.without {
            None => checks.bad_target("rights", found, next),
            Some(without) => checks.note("rights", format!("{found}; {without}"), next),
        }
    }
    Ok(())
}

/// `all that blog and shop need is allowed`.
fn whom(seat: &Seat, wanted: &Wanted) -> String {
    match seat.apps.as_slice() {
        _ if !wanted.unrendered.is_empty() => "what every app needs is allowed".to_owned(),
        [] => "what every app needs is allowed; what its objects need is seen in its repository".to_owned(),
        [one] => format!("all that {} needs is allowed", one.name),
        [first, second] => format!("all that {} and {} need is allowed", first.name, second.name),
        all => format!("all that {} apps need is allowed", all.len()),
    }
}

/// Rights that are missing together.
struct Lack<'n> {
    need: &'n Need,
    resources: Vec<&'n str>,
    verbs: Vec<&'static str>,
}

/// One entry for resources of one group that lack the same verbs for the same reason.
fn lacks<'n>(lacking: &[&'n Need]) -> Vec<Lack<'n>> {
    let mut by_resource: BTreeMap<_, (&'n Need, Vec<&'static str>)> = BTreeMap::new();
    for &need in lacking {
        let right = &need.right;
        let key = (
            need.without.is_some(),
            need.whose,
            &right.namespace,
            &right.group,
            &right.resource,
            &right.name,
            need.without,
        );
        by_resource
            .entry(key)
            .or_insert((need, Vec::new()))
            .1
            .push(right.verb);
    }
    let mut lacks: Vec<Lack<'n>> = Vec::new();
    for (need, verbs) in by_resource.into_values() {
        let resource = need.right.resource.as_str();
        let same = |lack: &&mut Lack<'n>| {
            let (one, other) = (&lack.need.right, &need.right);
            (
                lack.need.whose,
                lack.need.without,
                &one.namespace,
                &one.group,
                &one.name,
                &lack.verbs,
            ) == (
                need.whose,
                need.without,
                &other.namespace,
                &other.group,
                &other.name,
                &verbs,
            )
        };
        match lacks.iter_mut().find(same) {
            Some(lack) => lack.resources.push(resource),
            None => lacks.push(Lack {
                need,
                resources: vec![resource],
                verbs,
            }),
        }
    }
    lacks
}

/// The rule that would allow it.
fn grant(need: &Need, resources: &[&str], verbs: &[&str]) -> String {
    let role = match &need.right.namespace {
        Some(namespace) => format!("a Role in `{namespace}`"),
        None => "a ClusterRole".to_owned(),
    };
    let group = match need.right.group.as_str() {
        "" => "\"\"",
        group => group,
    };
    let name = need
        .right
        .name
        .as_ref()
        .map(|name| format!(", resourceNames: [{name}]"))
        .unwrap_or_default();
    format!(
        "{role} needs {{ apiGroups: [{group}], resources: [{}]{name}, verbs: [{}] }}",
        resources.join(", "),
        verbs.join(", ")
    )
}
