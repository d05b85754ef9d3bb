//! `driftless logs`: what the containers of an app print.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use clap::Args as ClapArgs;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::Context;
use super::args::duration;
use super::error::CommandError;
use super::session::{Access, Session, block_on};
use super::style;
use crate::clock::{Clock as _, SystemClock};
use crate::engine::{Turn, look};
use crate::live::LiveError;
use crate::live::docker::logs::{Line, LogAsk};
use crate::live::kubernetes::logs::{LogAsk as PodLogAsk, Told};
use crate::live::kubernetes::world::{Observed as Cluster, PodContainer};
use crate::live::ownership::{NEXT, PARKED};
use crate::live::world::{Container, Owner};
use crate::names::{ObjectKey, ServiceName};
use crate::render::Desired;
use crate::report::Exit;
use crate::report::text::{Role, visible};
use crate::secret::Mask;

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

/// Kinds whose pods have logs.
const PRINTING: &[&str] = &[
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "ReplicationController",
    "Job",
    "CronJob",
    "Pod",
];

/// The app and the service of `APP[/SERVICE]`.
pub fn app_and_service(what: &str) -> (&str, Option<&str>) {
    match what.split_once('/') {
        Some((app, service)) => (app, Some(service)),
        None => (what, None),
    }
}

/// A service of an app by its name; on a cluster one of these kinds.
pub fn service_of(desired: &Desired, kinds: &[&str], name: &str) -> Result<ServiceName, CommandError> {
    if let Some(bundle) = &desired.bundle {
        // `Deployment/web`, or `web` where only one workload is called so.
        let full = |key: &ObjectKey| format!("{}/{}", key.kind, key.name);
        let workloads: Vec<&ObjectKey> = bundle
            .objects
            .iter()
            .map(|one| &one.key)
            .filter(|key| kinds.contains(&&*key.kind))
            .collect();
        let named = workloads
            .iter()
            .filter(|key| full(key) == name || *name == *key.name);
        return match named.copied().collect::<Vec<_>>().as_slice() {
            [only] => {
                let namespace = bundle.namespace.as_deref().unwrap_or_default();
                Ok(ServiceName::of_object(only, namespace))
            }
            [] => {
                let what = format!("workload of `{}`", desired.key.app);
                let known: Vec<String> = match name.contains('/') {
                    true => workloads.iter().map(|key| full(key)).collect(),
                    false => workloads.iter().map(|key| key.name.to_string()).collect(),
                };
                Err(CommandError::unknown(
                    &what,
                    name,
                    known.iter().map(String::as_str),
                ))
            }
            several => {
                let names: Vec<String> = several.iter().map(|key| full(key)).collect();
                let what = format!(
                    "`{name}` is the name of several workloads of `{}`",
                    desired.key.app
                );
                Err(CommandError::new(Exit::Usage, what).hint(format!("name one: {}", names.join(", "))))
            }
        };
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
            let service = service
                .map(|name| service_of(&turn.desired, PRINTING, name))
                .transpose()?;
            return pods(args, context, &turn, cluster, service.as_ref(), &mask).await;
        }
        let target = session.engine(&subject.app).await?;
        let service = match service {
            Some(name) if looked.observed.containers.iter().any(|one| one.service == name) => {
                Some(name.to_owned())
            }
            Some(name) => Some(service_of(&turn.desired, PRINTING, name)?.to_string()),
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
        let mut heads = Heads::new(context);
        names.iter().for_each(|name| heads.add(name));
        // What follows comes as it comes; without it, one container after the other, each whole.
        let (send, said) = unbounded_channel();
        let reading = futures_util::future::join_all(shown.iter().zip(&names).map(|(one, name)| {
            let send = send.clone();
            let head = heads.of(name);
            let (target, mask, ask) = (&target, &mask, &ask);
            async move {
                let each = |line: Line| {
                    let line = format!("{head}{}\n", visible(&mask.clean(&line.text)));
                    drop(send.send(Said::Line(line)));
                };
                target.follow_logs(&one.id, ask, each).await
            }
        }));
        drop(send);
        let reading = async { reading.await.into_iter().collect::<Result<(), LiveError>>() };
        print(reading, said, context).await
    })
}

/// What is printed.
enum Said {
    Line(String),
    Note(String),
}

/// Prints what is said while `reading` goes on. Whoever closes standard output ends it.
async fn print(
    reading: impl Future<Output = Result<(), LiveError>>,
    mut said: UnboundedReceiver<Said>,
    context: &Context,
) -> Result<Exit, CommandError> {
    let gone = CancellationToken::new();
    let read = async {
        tokio::select! {
            // Safe to cancel: whoever read standard output went away and wants no more lines.
            ended = reading => ended,
            () = gone.cancelled() => Ok(()),
        }
    };
    let print = async {
        while let Some(said) = said.recv().await {
            match said {
                Said::Line(line) => context.output.result(&line),
                Said::Note(note) => context.output.note(&note),
            }
            if context.output.closed() {
                gone.cancel();
                return;
            }
        }
    };
    let (read, ()) = tokio::join!(read, print);
    read?;
    Ok(Exit::Done)
}

/// The names before the lines: aligned, each in a colour of its own.
struct Heads {
    color: bool,
    width: usize,
    known: BTreeMap<String, Role>,
}

impl Heads {
    fn new(context: &Context) -> Self {
        Self {
            color: context.output.color(),
            width: 0,
            known: BTreeMap::new(),
        }
    }

    fn add(&mut self, name: &str) {
        self.width = self.width.max(name.len());
        let next = COLORS[self.known.len() % COLORS.len()];
        self.known.entry(name.to_owned()).or_insert(next);
    }

    fn of(&self, name: &str) -> String {
        let role = self.known.get(name).copied().unwrap_or(Role::Plain);
        style::word(role, &format!("{name:width$} | ", width = self.width), self.color)
    }
}

/// The logs of the pods of an app on a cluster.
async fn pods(
    args: &Args,
    context: &Context,
    turn: &Turn,
    observed: &Cluster,
    service: Option<&ServiceName>,
    mask: &Mask,
) -> Result<Exit, CommandError> {
    // What runs may still be what Git no longer wants.
    let keys: Vec<ObjectKey> = observed
        .wanted
        .keys()
        .chain(observed.others.keys())
        .filter(|key| {
            let own = ServiceName::of_object(key, &observed.namespace);
            service.is_none_or(|name| *name == own || name.as_str() == key.to_string())
        })
        .cloned()
        .collect();
    let ask = PodLogAsk {
        tail: args.tail,
        since: args.since,
        follow: args.follow,
    };
    let mut heads = Heads::new(context);
    let (send, said) = unbounded_channel();
    let reading = async move {
        let mut tell = |told: Told<'_>| {
            let said = match told {
                Told::Found(one) => {
                    heads.add(&shown(one));
                    return;
                }
                Told::Listed if !heads.known.is_empty() => return,
                Told::Listed if args.follow => {
                    Said::Note(format!("{} has no pod now; waiting for one", args.what))
                }
                Told::Listed => Said::Note(format!("{} has no pod now", args.what)),
                Told::Line { of, at, text } => {
                    let at = if args.timestamps && !at.is_empty() {
                        format!("{at} ")
                    } else {
                        String::new()
                    };
                    let text = visible(&mask.clean(text));
                    Said::Line(format!("{}{at}{text}\n", heads.of(&shown(of))))
                }
                Told::Note { of: Some(of), text } => {
                    Said::Note(format!("{}: {}", shown(of), visible(&mask.clean(&text))))
                }
                Told::Note { of: None, text } => Said::Note(visible(&mask.clean(&text))),
            };
            drop(send.send(said));
        };
        turn.target.cluster()?.pod_logs(&keys, &ask, &mut tell).await
    };
    print(reading, said, context).await
}

/// A container as it is shown: `web-7d4b9c-x2x5l/main`.
fn shown(one: &PodContainer) -> String {
    match &one.container {
        Some(container) => format!("{}/{container}", one.pod),
        None => one.pod.clone(),
    }
}
