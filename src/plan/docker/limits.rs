//! What can be changed about a container without a new one: limits and the restart policy.
//!
//! In: what a service asks for, what is live, what was live right after we last wrote. Out: the body of one update call, the
//! fields that differ, or why only a new container can have them. Guaranteed: "zero means unchanged" and the engine's other
//! rules of update (docker.md §2) are respected. Must not: touch anything that update can't change.

use serde_json::{Map, Value, json};

use crate::live::world::{Baseline, Container, Limits, Restart};
use crate::plan::Moved;
use crate::render::model::Service;

/// What a service asks of a live container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Goal {
    pub restart: Restart,
    pub limits: Limits,
}

impl Goal {
    /// The goal of a service.
    pub fn of(service: &Service) -> Self {
        let limits = &service.resources;
        let set = |value: Option<i64>| value.filter(|value| *value != 0);
        Self {
            restart: Restart {
                name: service
                    .restart
                    .as_ref()
                    .map_or_else(|| "no".to_owned(), |restart| restart.name.clone()),
                max_retries: service.restart.as_ref().map_or(0, |restart| restart.max_retries),
            },
            limits: Limits {
                nano_cpus: set(limits.nano_cpus),
                cpu_shares: set(limits.cpu_shares),
                cpu_period: set(limits.cpu_period),
                cpu_quota: set(limits.cpu_quota),
                cpuset: limits.cpuset.clone().filter(|cpus| !cpus.is_empty()),
                memory: set(limits.memory),
                memory_swap: set(limits.memory_swap),
                memory_reservation: set(limits.memory_reservation),
                pids_limit: set(limits.pids_limit).filter(|limit| *limit > 0),
                blkio_weight: limits.blkio_weight.filter(|weight| *weight != 0),
            },
        }
    }
}

/// One limit that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub field: &'static str,
    pub from: Option<String>,
    pub to: Option<String>,
    pub moved: Moved,
}

/// What brings a container to its goal.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Adjust {
    /// The body of the update call; empty when nothing is to be done.
    pub body: Map<String, Value>,
    pub fields: Vec<Difference>,
    /// Why an update can't do it.
    pub recreate: Option<String>,
}

/// The fields of a create request that an update can change.
pub(crate) const UPDATABLE: &[&str] = &[
    "RestartPolicy",
    "NanoCpus",
    "CpuShares",
    "CpuPeriod",
    "CpuQuota",
    "CpusetCpus",
    "Memory",
    "MemorySwap",
    "MemoryReservation",
    "PidsLimit",
    "BlkioWeight",
];

/// One limit in JSON, for a table over fields of different types.
struct Row {
    field: &'static str,
    name: &'static str,
    live: Option<Value>,
    goal: Option<Value>,
    before: Option<Option<Value>>,
    base: Option<Option<Value>>,
}

/// What brings `live` to `goal`. `before` is the goal that it was last brought to: a field in which they agree and that
/// differs now was moved by somebody else.
pub(crate) fn adjust(
    live: &Container,
    baseline: Option<&Baseline>,
    goal: &Goal,
    before: Option<&Goal>,
) -> Adjust {
    let mut adjust = Adjust::default();
    restart(live, goal, before, &mut adjust);
    let swap = swap_goal(live, baseline, goal);
    for row in rows(live, baseline, goal, before, swap) {
        limit(row, &mut adjust);
    }
    // Memory above the present swap limit is refused unless both are sent.
    if adjust.body.contains_key("Memory") || adjust.body.contains_key("MemorySwap") {
        if let Some(memory) = goal.limits.memory {
            adjust.body.insert("Memory".to_owned(), json!(memory));
        }
        if let Some(swap) = swap {
            adjust.body.insert("MemorySwap".to_owned(), json!(swap));
        }
    }
    let quota = adjust.body.contains_key("CpuPeriod") || adjust.body.contains_key("CpuQuota");
    let nano = adjust.body.contains_key("NanoCpus");
    let now = &live.limits;
    if (nano && (now.cpu_period.is_some() || now.cpu_quota.is_some())) || (quota && now.nano_cpus.is_some()) {
        adjust.recreate = Some("the engine can't change between `cpus` and a CPU quota in place".to_owned());
    }
    adjust
}

fn restart(live: &Container, goal: &Goal, before: Option<&Goal>, adjust: &mut Adjust) {
    let now = normal(&live.restart);
    let wanted = normal(&goal.restart);
    if now == wanted {
        return;
    }
    let moved = match before {
        Some(before) if normal(&before.restart) != wanted => Moved::Git,
        _ => Moved::Live,
    };
    adjust.body.insert(
        "RestartPolicy".to_owned(),
        json!({ "Name": wanted.name, "MaximumRetryCount": wanted.max_retries }),
    );
    adjust.fields.push(Difference {
        field: "restart",
        from: Some(policy(&now)),
        to: Some(policy(&wanted)),
        moved,
    });
}

/// A restart policy with one spelling: no name is `no`, and retries count only for `on-failure`.
pub(crate) fn normal(restart: &Restart) -> Restart {
    let name = if restart.name.is_empty() {
        "no"
    } else {
        &restart.name
    };
    let max_retries = if name == "on-failure" {
        restart.max_retries.max(0)
    } else {
        0
    };
    Restart {
        name: name.to_owned(),
        max_retries,
    }
}

fn policy(restart: &Restart) -> String {
    match (restart.name.as_str(), restart.max_retries) {
        (name, 0) => name.to_owned(),
        (name, retries) => format!("{name}:{retries}"),
    }
}

/// The swap limit to have. Where the service does not say, the engine's own choice at creation is kept (twice the memory,
/// or nothing on a kernel without swap accounting).
fn swap_goal(live: &Container, baseline: Option<&Baseline>, goal: &Goal) -> Option<i64> {
    if goal.limits.memory_swap.is_some() {
        return goal.limits.memory_swap;
    }
    let memory = goal.limits.memory?;
    if live.limits.memory_swap == Some(-1) && baseline.is_none_or(|base| base.limits.memory_swap == Some(-1))
    {
        return Some(-1);
    }
    match baseline {
        Some(base) if base.limits.memory == Some(memory) => base.limits.memory_swap,
        Some(base) if base.limits.memory.is_some() && base.limits.memory_swap.is_none() => None,
        _ if live.limits.memory == Some(memory) && baseline.is_none() => live.limits.memory_swap,
        _ => memory.checked_mul(2),
    }
}

fn rows(
    live: &Container,
    baseline: Option<&Baseline>,
    goal: &Goal,
    before: Option<&Goal>,
    swap: Option<i64>,
) -> Vec<Row> {
    let mut wanted = goal.limits.clone();
    wanted.memory_swap = swap;
    let now = table(&live.limits);
    let goal = table(&wanted);
    // The engine's own choice of swap is not something that was asked for before.
    let before = before.map(|before| table(&before.limits));
    let base = baseline.map(|base| table(&base.limits));
    now.into_iter()
        .zip(goal)
        .enumerate()
        .map(|(place, ((field, name, live), (_, _, goal)))| Row {
            field,
            name,
            live,
            goal,
            before: before
                .as_ref()
                .and_then(|table| table.get(place))
                .map(|(_, _, value)| value.clone()),
            base: base
                .as_ref()
                .and_then(|table| table.get(place))
                .map(|(_, _, value)| value.clone()),
        })
        .collect()
}

fn table(limits: &Limits) -> [(&'static str, &'static str, Option<Value>); 10] {
    let number = |value: Option<i64>| value.map(Value::from);
    [
        ("resources.nano_cpus", "NanoCpus", number(limits.nano_cpus)),
        ("resources.cpu_shares", "CpuShares", number(limits.cpu_shares)),
        ("resources.cpu_period", "CpuPeriod", number(limits.cpu_period)),
        ("resources.cpu_quota", "CpuQuota", number(limits.cpu_quota)),
        (
            "resources.cpuset",
            "CpusetCpus",
            limits.cpuset.clone().map(Value::from),
        ),
        ("resources.memory", "Memory", number(limits.memory)),
        ("resources.memory_swap", "MemorySwap", number(limits.memory_swap)),
        (
            "resources.memory_reservation",
            "MemoryReservation",
            number(limits.memory_reservation),
        ),
        ("resources.pids_limit", "PidsLimit", number(limits.pids_limit)),
        (
            "resources.blkio_weight",
            "BlkioWeight",
            limits.blkio_weight.map(Value::from),
        ),
    ]
}

fn limit(row: Row, adjust: &mut Adjust) {
    let Row {
        field,
        name,
        live,
        goal,
        before,
        base,
    } = row;
    let asked_before = before.clone().flatten();
    let wanted = match (&goal, &base) {
        (Some(goal), _) => Some(goal.clone()),
        // Git takes the limit away.
        (None, _) if asked_before.is_some() => None,
        // Never asked for: what the engine made of it stays.
        (None, Some(base)) => base.clone(),
        (None, None) if field == "resources.memory_swap" => live.clone(),
        (None, None) => None,
    };
    if live == wanted {
        return;
    }
    let derived = field == "resources.memory_swap" && asked_before.is_none() && goal.is_some();
    let moved = match &before {
        Some(before) if *before != goal && !(derived && base == Some(goal.clone())) => Moved::Git,
        _ => Moved::Live,
    };
    match &wanted {
        Some(value) => {
            adjust.body.insert(name.to_owned(), value.clone());
        }
        // Zero means "unchanged" to the engine for all limits but this one.
        None if name == "PidsLimit" => {
            adjust.body.insert(name.to_owned(), json!(-1));
        }
        None => {
            adjust.recreate = Some(format!(
                "a limit (`{}`) can't be removed from a running container",
                short(field)
            ));
        }
    }
    adjust.fields.push(Difference {
        field,
        from: live.map(|value| shown(field, &value)),
        to: wanted.map(|value| shown(field, &value)),
        moved,
    });
}

fn short(field: &str) -> &str {
    field.rsplit('.').next().unwrap_or(field)
}

/// A limit for people: bytes with a unit, CPUs as a number.
pub(crate) fn shown(field: &str, value: &Value) -> String {
    let bytes = matches!(
        short(field),
        "memory" | "memory_swap" | "memory_reservation" | "shm_size"
    );
    match value.as_i64() {
        Some(-1) if bytes => "unlimited".to_owned(),
        Some(number) if bytes => size(number),
        #[expect(clippy::cast_precision_loss, reason = "for display; CPUs have few digits")]
        Some(nano) if short(field) == "nano_cpus" => format!("{}", nano as f64 / 1e9),
        Some(number) => number.to_string(),
        None => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
    }
}

fn size(bytes: i64) -> String {
    for (unit, scale) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1_i64 << 10)] {
        if bytes >= scale && bytes % scale == 0 {
            return format!("{} {unit}", bytes / scale);
        }
    }
    format!("{bytes} B")
}
