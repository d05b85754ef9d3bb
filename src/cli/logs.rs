//! `driftless logs`: what the containers of an app print.

use std::time::Duration;

use clap::Args as ClapArgs;

use tokio_util::sync::CancellationToken;

use super::Context;
use super::error::CommandError;
use super::session::{Access, Session, block_on};
use super::style;
use crate::clock::{Clock as _, SystemClock};
use crate::engine::{Turn, look};
use crate::health::kubernetes::fields::{controlled_by, list, name, namespace, text, uid};
use crate::live::docker::logs::{Line, LogAsk};
use crate::live::kubernetes::world::{Observed as Cluster, PodContainer};
use crate::live::ownership::{NEXT, PARKED};
use crate::live::world::{Container, Owner};
use crate::names::{ObjectKey, ServiceName};
use crate::render::Desired;
use crate::report::Exit;
use crate::report::text::{Role, visible};
use crate::secret::Mask;
use serde_json::Value;

use super::args::duration;

/// Prints what the containers of an app or of one service write
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app, or one service of it
    #[arg(value_name = "APP[/SERVICE]")]
    pub what: String,
    /// Go on printing until interrupted
    #[arg(short, long)]
    pub follow: bool,
    /// How many of the last lines of each container
    #[arg(long, value_name = "LINES", default_value_t = 100)]
    pub tail: usize,
    /// Only what is younger than this
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub since: Option<Duration>,
    /// Begin each line with its time
    #[arg(short, long)]
    pub timestamps: bool,
}

pub const EXAMPLES: &str = "\
driftless logs web
driftless logs web/api -f
driftless logs web/api --tail 20 --since 10m";

/// The colours of services, in turn.
const COLORS: &[Role] = &[Role::Name, Role::Good, Role::Change, Role::Strong, Role::Add];

/// The app and the service of `APP[/SERVICE]`.
pub fn app_and_service(what: &str) -> (&str, Option<&str>) {
    match what.split_once('/') {
        Some((app, service)) => (app, Some(service)),
        None => (what, None),
    }
}

/// A service of an app by its name.
pub fn service_of(desired: &Desired, name: &str) -> Result<ServiceName, CommandError> {
    if let Some(bundle) = &desired.bundle {
        // `Deployment/web`, or `web` where only one workload is called so.
        let named = |key: &ObjectKey| name == format!("{}/{}", key.kind, key.name) || *name == *key.name;
        let namespace = bundle.namespace.as_deref().unwrap_or_default();
        let workloads = bundle
            .objects
            .iter()
            .filter(|one| WORKLOADS.contains(&&*one.key.kind));
        let mut found = workloads.clone().filter(|one| named(&one.key));
        if let (Some(only), None) = (found.next(), found.next()) {
            return Ok(ServiceName::of_object(&only.key, namespace));
        }
        let names: Vec<String> = workloads
            .map(|one| format!("{}/{}", one.key.kind, one.key.name))
            .collect();
        let what = format!("workload of `{}`", desired.key.app);
        return Err(CommandError::unknown(
            &what,
            name,
            names.iter().map(String::as_str),
        ));
    }
    let services = &desired.project.services;
    let found = services.keys().find(|service| service.as_str() == name).cloned();
    found.ok_or_else(|| {
        CommandError::unknown(
            &format!("service of `{}`", desired.key.app),
            name,
            services.keys().map(ServiceName::as_str),
        )
    })
}

/// Runs the verb.
pub fn run(args: &Args, context: &mut Context) -> Result<Exit, CommandError> {
    block_on(async {
        let (app, service) = app_and_service(&args.what);
        let session = Session::open_known(context, Access::Read, "logs").await?;
        let subject = session.subject(app)?;
        let turn = session
            .turn_for(&subject, "logs", session.options(&subject.app, None, false))
            .await?;
        let looked = look(&turn, &session.world).await?;
        // A secret of what runs is as secret as one of what Git wants.
        let running = looked
            .effective
            .as_ref()
            .map(crate::engine::look::mask_of)
            .unwrap_or_default();
        let mask = turn.desired.mask.union(&running);
        if let Some(cluster) = &looked.observed.cluster {
            let service = service.map(|name| service_of(&turn.desired, name)).transpose()?;
            return pods(args, context, &turn, cluster, service.as_ref(), &mask).await;
        }
        let target = session.engine(&subject.app).await?;
        let service = match service {
            Some(name) if looked.observed.containers.iter().any(|one| one.service == name) => {
                Some(name.to_owned())
            }
            Some(name) => Some(service_of(&turn.desired, name)?.to_string()),
            None => None,
        };
        let shown: Vec<&Container> = looked
            .observed
            .containers
            .iter()
            .filter(|one| {
                !one.name.contains(PARKED)
                    && !one.name.contains(NEXT)
                    && !matches!(one.owner, Owner::OtherApp(_))
            })
            .filter(|one| service.as_ref().is_none_or(|service| one.service == *service))
            .collect();
        if shown.is_empty() {
            context
                .output
                .note(&format!("{} has no container now", args.what));
            return Ok(Exit::Done);
        }
        let since = args
            .since
            .and_then(|span| SystemClock.now().checked_sub(span).ok());
        let ask = LogAsk {
            tail: Some(args.tail),
            since,
            follow: args.follow,
            timestamps: args.timestamps,
        };
        let names: Vec<String> = shown
            .iter()
            .map(|one| format!("{}-{}", one.service, one.index))
            .collect();
        let width = names.iter().map(String::len).max().unwrap_or(0);
        let color = context.output.color();
        // What follows comes as it comes; without it, one container after the other, each whole.
        let (send, mut lines) = tokio::sync::mpsc::unbounded_channel();
        let gone = CancellationToken::new();
        let reading =
            futures_util::future::join_all(shown.iter().zip(&names).enumerate().map(|(at, (one, name))| {
                let send = send.clone();
                let head = style::word(COLORS[at % COLORS.len()], &format!("{name:width$} | "), color);
                let (target, mask, ask) = (&target, &mask, &ask);
                async move {
                    let each =
                        |line: Line| drop(send.send(format!("{head}{}\n", visible(&mask.clean(&line.text)))));
                    target.follow_logs(&one.id, ask, each).await
                }
            }));
        drop(send);
        let read = async {
            tokio::select! {
                // Safe to cancel: whoever read standard output went away and wants no more lines.
                ended = reading => ended.into_iter().find_map(Result::err),
                () = gone.cancelled() => None,
            }
        };
        let print = async {
            while let Some(line) = lines.recv().await {
                context.output.result(&line);
                if context.output.closed() {
                    gone.cancel();
                    return;
                }
            }
        };
        let (failed, ()) = tokio::join!(read, print);
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(Exit::Done),
        }
    })
}

/// Kinds that have pods.
const WORKLOADS: &[&str] = &[
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "Job",
    "Pod",
];

/// The logs of the pods of an app on a cluster, one container after the other.
async fn pods(
    args: &Args,
    context: &mut Context,
    turn: &Turn,
    observed: &Cluster,
    service: Option<&ServiceName>,
    mask: &Mask,
) -> Result<Exit, CommandError> {
    if args.follow || args.since.is_some() || args.timestamps {
        return Err(CommandError::new(
            Exit::Usage,
            "--follow, --since and --timestamps work on Docker engines only, so far",
        )
        .hint("kubectl logs -f --selector …"));
    }
    let keys: Vec<ObjectKey> = observed
        .wanted
        .keys()
        .filter(|key| WORKLOADS.contains(&&*key.kind))
        .filter(|key| {
            let own = ServiceName::of_object(key, &observed.namespace);
            service.is_none_or(|name| *name == own || name.as_str() == key.to_string())
        })
        .cloned()
        .collect();
    let cluster = turn.target.cluster()?;
    let around = cluster.surroundings(&keys).await?;
    let owners: Vec<&Value> = around.objects.values().flatten().collect();
    let revisions: Vec<&Value> = around
        .revisions
        .iter()
        .filter(|revision| owners.iter().any(|owner| controlled_by(revision, owner)))
        .collect();
    let mut shown = 0;
    for pod in &around.pods {
        let of_app = owners
            .iter()
            .chain(&revisions)
            .any(|owner| controlled_by(pod, owner) || uid(pod) == uid(owner));
        if !of_app {
            continue;
        }
        for container in list(pod, "/spec/containers") {
            let at = PodContainer {
                namespace: namespace(pod).to_owned(),
                pod: name(pod).to_owned(),
                container: Some(text(container, "/name").to_owned()),
                previous: false,
            };
            shown += 1;
            for line in cluster.logs(&at, args.tail).await? {
                let head = format!("{}/{} | ", at.pod, text(container, "/name"));
                context
                    .output
                    .result(&format!("{head}{}\n", visible(&mask.clean(&line))));
                if context.output.closed() {
                    return Ok(Exit::Done);
                }
            }
        }
    }
    if shown == 0 {
        context.output.note(&format!("{} has no pod now", args.what));
    }
    Ok(Exit::Done)
}
