//! The rules for one container on a Docker engine.
//!
//! In: a [`Container`] and what is expected of it. Out: its [`Verdict`]. Guaranteed: only status is proof (exit codes,
//! restart counts, the engine's own healthcheck); nothing depends on how often it is read. Must not: treat a stop that a
//! person asked for as a failure: the caller asks the engine for that ([`CauseKind::Foreign`]).

use std::time::Duration;

use super::{Cause, CauseKind, Expect, Verdict};
use crate::clock::{Timestamp, elapsed};
use crate::live::world::{Container, Health, State};
use crate::render::model::{Healthcheck, WantedState};

/// Non-zero exits of one container of the new release that fail it (decision 21).
pub const CRASH_LIMIT: u64 = 2;
/// How long one crash may stand before the next one must have followed or the container be well again.
const ONE_CRASH_PATIENCE: Duration = Duration::from_secs(60);

/// Judges `container` as it was read at `now`.
pub fn judge(container: &Container, expect: &Expect, now: Timestamp) -> Verdict {
    match expect.state {
        WantedState::Stopped => return judge_stopped(container),
        WantedState::Paused if container.state == State::Paused => return Verdict::Suspended,
        WantedState::Paused | WantedState::Running => {}
    }
    if expect.job {
        judge_job(container)
    } else {
        judge_service(container, expect, now)
    }
}

fn judge_stopped(container: &Container) -> Verdict {
    match container.state {
        State::Created | State::Exited | State::Dead => Verdict::Suspended,
        _ => progressing(CauseKind::NotStarted, "stopping"),
    }
}

fn judge_job(container: &Container) -> Verdict {
    match (&container.state, container.exit_code) {
        (State::Exited, Some(0)) => Verdict::Healthy,
        (State::Exited | State::Dead, code) => Verdict::Failed(match cannot_run(container) {
            Some(cause) => cause,
            None if container.oom_killed => Cause::new(CauseKind::OutOfMemory, out_of_memory(container)),
            None => Cause::new(
                CauseKind::JobFailed,
                format!("the job exited with code {}", code.unwrap_or(-1)),
            ),
        }),
        (State::Created, _) => match cannot_run(container) {
            Some(cause) => Verdict::Failed(cause),
            None => progressing(CauseKind::NotStarted, "not started yet"),
        },
        (State::Restarting, _) => crashed(container, 0),
        _ => progressing(CauseKind::JobRunning, "the job is running"),
    }
}

fn judge_service(container: &Container, expect: &Expect, now: Timestamp) -> Verdict {
    let crashes = container.restart_count.saturating_sub(expect.restarts_before);
    match &container.state {
        State::Running if crashes >= CRASH_LIMIT => crashed(container, crashes),
        State::Running => match container.health {
            Health::Healthy => Verdict::Healthy,
            Health::Starting => progressing(CauseKind::Starting, "its healthcheck has not passed yet"),
            Health::Unhealthy => Verdict::Failed(Cause::new(CauseKind::Unhealthy, unhealthy(container))),
            Health::None => {
                let up = container
                    .started_at
                    .map_or(Duration::ZERO, |started| elapsed(started, now));
                if up < expect.steady {
                    progressing(CauseKind::NotLongEnough, "running, not long enough yet")
                } else if crashes > 0 && up < ONE_CRASH_PATIENCE {
                    Verdict::Failing(Cause::new(CauseKind::Crashed, crash_text(container, crashes)))
                } else {
                    Verdict::Healthy
                }
            }
        },
        State::Created => match cannot_run(container) {
            Some(cause) => Verdict::Failed(cause),
            None => progressing(CauseKind::NotStarted, "not started yet"),
        },
        State::Paused => Verdict::Failing(Cause::new(CauseKind::Foreign, "paused from outside")),
        State::Removing => Verdict::Missing,
        State::Restarting => crashed(container, crashes),
        // The engine restarts a crashed container by itself when its policy says so, and shows `restarting` meanwhile;
        // so `exited` is final: nothing will start it again.
        State::Exited | State::Dead => Verdict::Failed(match (cannot_run(container), container.exit_code) {
            (Some(cause), _) => cause,
            (None, Some(0)) => Cause::new(
                CauseKind::EndedByItself,
                "it exited with code 0 although it should keep running \
                 (a one-shot says so with `x-driftless: { job: true }`)",
            ),
            (None, _) if container.oom_killed => Cause::new(CauseKind::OutOfMemory, out_of_memory(container)),
            (None, _) => Cause::new(CauseKind::Crashed, crash_text(container, crashes + 1)),
        }),
        State::Other(other) => Verdict::Unknown(Cause::new(
            CauseKind::EngineUnreachable,
            format!("unknown state {other:?}"),
        )),
    }
}

fn crashed(container: &Container, crashes: u64) -> Verdict {
    if let Some(cause) = cannot_run(container) {
        return Verdict::Failed(cause);
    }
    if crashes >= CRASH_LIMIT {
        let (kind, text) = if container.oom_killed {
            (
                CauseKind::OutOfMemory,
                format!("{}, {crashes} times", out_of_memory(container)),
            )
        } else {
            (CauseKind::CrashLoop, crash_text(container, crashes))
        };
        return Verdict::Failed(Cause::new(kind, text));
    }
    Verdict::Failing(Cause::new(
        CauseKind::Crashed,
        crash_text(container, crashes.max(1)),
    ))
}

/// 126 and 127 are what a shell and runc answer when a command can't be run (docs: `docker run`, exit status).
fn cannot_run(container: &Container) -> Option<Cause> {
    if !container.error.is_empty() {
        return Some(Cause::new(
            CauseKind::CannotRun,
            format!("the engine can't start it: {}", container.error),
        ));
    }
    match container.exit_code {
        Some(code @ (126 | 127)) if container.state != State::Running => Some(Cause::new(
            CauseKind::CannotRun,
            format!("its command can't be run (exit code {code})"),
        )),
        _ => None,
    }
}

fn crash_text(container: &Container, crashes: u64) -> String {
    let times = if crashes == 1 {
        String::new()
    } else {
        format!(", {crashes} times")
    };
    match (container.exit_code, &container.state) {
        // While it runs again the engine shows exit code 0: the code of the crash is gone.
        (Some(0) | None, State::Running) | (None, _) => format!("{RESTARTED}{times}"),
        (Some(code), _) => exited(code, &times),
    }
}

const RESTARTED: &str = "restarted";

fn exited(code: i64, times: &str) -> String {
    format!("exited with code {code}{times}")
}

/// Whether a cause is a crash whose exit code the engine showed no longer.
pub fn lacks_exit_code(cause: &Cause) -> bool {
    cause.kind == CauseKind::Crashed && cause.detail.starts_with(RESTARTED)
}

/// Such a cause, once the exit code is known.
pub fn with_exit_code(cause: &Cause, code: i64) -> Cause {
    match cause.detail.strip_prefix(RESTARTED) {
        Some(times) if cause.kind == CauseKind::Crashed => Cause::new(cause.kind, exited(code, times)),
        _ => cause.clone(),
    }
}

fn out_of_memory(_: &Container) -> String {
    "killed for using more memory than its limit (exit code 137)".to_owned()
}

fn unhealthy(container: &Container) -> String {
    match &container.last_check {
        Some((code, output)) => {
            let line = output.trim().lines().last().unwrap_or_default();
            let line = if line.is_empty() {
                String::new()
            } else {
                format!(": {line}")
            };
            format!("its healthcheck fails (exit code {code}{line})")
        }
        None => "its healthcheck fails".to_owned(),
    }
}

fn progressing(kind: CauseKind, detail: &str) -> Verdict {
    Verdict::Progressing(Cause::new(kind, detail))
}

/// How long a healthcheck may take to its first verdict: start period + retries × (interval + timeout) + 10 s, with the
/// engine's defaults of 30 s, 30 s and 3 where it says nothing.
pub fn time_to_verdict(check: Option<&Healthcheck>) -> Duration {
    let Some(check) = check.filter(|check| !check.disabled()) else {
        return Duration::ZERO;
    };
    let nanos = |value: Option<i64>, default_secs: u64| {
        value
            .filter(|nanos| *nanos > 0)
            .map_or(Duration::from_secs(default_secs), |nanos| {
                Duration::from_nanos(nanos.unsigned_abs())
            })
    };
    let retries = u32::try_from(check.retries.filter(|retries| *retries > 0).unwrap_or(3)).unwrap_or(3);
    nanos(check.start_period, 0)
        .saturating_add((nanos(check.interval, 30) + nanos(check.timeout, 30)).saturating_mul(retries))
        .saturating_add(Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::live::world::{ContainerId, Limits, Owner, Restart};

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().expect("a timestamp")
    }

    fn container(state: State) -> Container {
        Container {
            id: ContainerId("a".repeat(64).into()),
            name: "web-api-1".into(),
            service: "api".into(),
            index: 1,
            owner: Owner::Ours,
            spec: None,
            state,
            exit_code: Some(0),
            oom_killed: false,
            error: String::new(),
            restart_count: 0,
            created_at: None,
            started_at: Some("2026-11-21T11:59:50Z".parse().expect("a timestamp")),
            finished_at: None,
            health: Health::None,
            last_check: None,
            image_id: String::new(),
            image_ref: String::new(),
            restart: Restart {
                name: "always".into(),
                max_retries: 0,
            },
            limits: Limits::default(),
            endpoints: BTreeMap::new(),
            inspect: serde_json::Value::Null.into(),
        }
    }

    fn expect() -> Expect {
        Expect {
            job: false,
            steady: Duration::from_secs(5),
            restarts_before: 0,
            state: WantedState::Running,
        }
    }

    fn kind(verdict: &Verdict) -> Option<CauseKind> {
        verdict.cause().map(|cause| cause.kind)
    }

    #[test]
    fn running_long_enough_without_a_check_is_healthy() {
        assert_eq!(
            judge(&container(State::Running), &expect(), now()),
            Verdict::Healthy
        );
        let young = Expect {
            steady: Duration::from_secs(11),
            ..expect()
        };
        assert_eq!(
            kind(&judge(&container(State::Running), &young, now())),
            Some(CauseKind::NotLongEnough)
        );
    }

    #[test]
    fn the_second_crash_fails_and_the_first_does_not() {
        let mut crashing = container(State::Restarting);
        crashing.exit_code = Some(3);
        crashing.restart_count = 1;
        assert!(matches!(judge(&crashing, &expect(), now()), Verdict::Failing(_)));
        crashing.restart_count = 2;
        let verdict = judge(&crashing, &expect(), now());
        assert!(
            matches!(&verdict, Verdict::Failed(cause) if cause.detail == "exited with code 3, 2 times"),
            "{verdict:?}"
        );
    }

    #[test]
    fn crashes_before_this_release_do_not_count() {
        let mut old = container(State::Running);
        old.restart_count = 7;
        assert_eq!(
            judge(
                &old,
                &Expect {
                    restarts_before: 7,
                    ..expect()
                },
                now()
            ),
            Verdict::Healthy
        );
    }

    #[test]
    fn out_of_memory_is_named() {
        let mut killed = container(State::Exited);
        (killed.exit_code, killed.oom_killed) = (Some(137), true);
        assert_eq!(
            kind(&judge(&killed, &expect(), now())),
            Some(CauseKind::OutOfMemory)
        );
    }

    #[test]
    fn a_service_that_ends_with_zero_is_told_about_jobs() {
        let verdict = judge(&container(State::Exited), &expect(), now());
        assert!(
            verdict
                .cause()
                .is_some_and(|cause| cause.detail.contains("job: true"))
        );
        assert_eq!(
            judge(
                &container(State::Exited),
                &Expect {
                    job: true,
                    ..expect()
                },
                now()
            ),
            Verdict::Healthy
        );
    }

    #[test]
    fn a_command_that_cannot_run_fails_at_once() {
        let mut absent = container(State::Exited);
        absent.exit_code = Some(127);
        assert_eq!(
            kind(&judge(&absent, &expect(), now())),
            Some(CauseKind::CannotRun)
        );
    }

    #[test]
    fn unhealthy_is_the_engines_own_conclusion() {
        let mut sick = container(State::Running);
        (sick.health, sick.last_check) = (Health::Unhealthy, Some((1, "GET / -> 503\n".into())));
        let verdict = judge(&sick, &expect(), now());
        assert!(matches!(&verdict, Verdict::Failed(cause) if cause.detail.contains("503")));
    }

    #[test]
    fn an_unknown_state_is_unknown_and_not_a_failure() {
        assert!(matches!(
            judge(&container(State::Other("stopping".into())), &expect(), now()),
            Verdict::Unknown(_)
        ));
    }

    #[test]
    fn the_patience_follows_the_check() {
        let check = Healthcheck {
            test: vec!["CMD".into()],
            interval: Some(1_000_000_000),
            timeout: Some(1_000_000_000),
            retries: Some(2),
            ..Healthcheck::default()
        };
        assert_eq!(time_to_verdict(Some(&check)), Duration::from_secs(14));
        assert_eq!(time_to_verdict(None), Duration::ZERO);
    }
}
