//! Every end of a run, as people read it.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::*;
use crate::document::Place;
use crate::health::{Cause, CauseKind};
use crate::names::{AppKey, AppName, Digest, Revision, RunId, ServiceName, SourceId};
use crate::report::{Frozen, RolledBack, Trigger};

fn now() -> Now {
    Now {
        at: "2026-11-21T15:00:00Z".parse().expect("a time"),
        zone: TimeZone::UTC,
    }
}

fn revision(digits: &str) -> Revision {
    Revision::try_from(format!("{digits:0<40}")).expect("a commit id")
}

fn ended(end: End) -> Run {
    Run {
        id: RunId::new(1, [0; 4]),
        key: AppKey {
            source: SourceId::try_from("https://git.example/acme/infra").expect("a source"),
            app: AppName::try_from("web").expect("a name"),
        },
        target: "docker:nas".into(),
        trigger: Trigger::Person("apply".into()),
        started: "2026-11-21T14:57:00Z".parse().expect("a time"),
        took: Duration::from_secs(131),
        revision: Some(revision("4f1c2ab")),
        subject: "api 1.9.0".into(),
        release: Some((12, Digest::of("v1", b"x"))),
        end,
        changes: Vec::new(),
        warnings: Vec::new(),
    }
}

fn evidence() -> Evidence {
    Evidence {
        service: ServiceName::try_from("api").expect("a name"),
        container: "api-1".into(),
        cause: Cause::new(
            CauseKind::ProbeFailed,
            "GET http://10.0.3.7:8080/healthz -> 503, 5 of 5 probes",
        ),
        healthy: 0,
        of: 3,
        exit_code: None,
        probe: None,
        logs: vec!["starting".into(), "FATAL: env KEY is not valid base64".into()],
        events: Vec::new(),
    }
}

fn told(run: &Run) -> String {
    super::run(run, &now(), 100).to_string()
}

#[test]
fn a_rolled_back_release_tells_all_of_it() {
    let run = ended(End::RolledBack(Box::new(RolledBack {
        evidence: vec![evidence()],
        gate_took: Duration::from_secs(120),
        to: (11, revision("91d0e77")),
        rollback_took: Duration::from_secs(9),
        downtime: Some(Duration::ZERO),
        changed: vec!["image".into(), "environment.KEY".into()],
        not_reverted: vec!["volume/pgdata".into()],
    })));
    insta::assert_snapshot!(told(&run));
}

#[test]
fn a_frozen_app_tells_what_to_do() {
    let mut crashed = evidence();
    crashed.cause = Cause::new(CauseKind::CrashLoop, "ended again and again");
    crashed.exit_code = Some(3);
    crashed.probe = Some("GET / -> refused".into());
    crashed.logs.clear();
    let run = ended(End::Frozen(Box::new(Frozen {
        evidence: vec![crashed],
        gate_took: Duration::from_secs(7),
        why: "this is its first release, there is nothing to go back to".into(),
        changed: vec![],
    })));
    insta::assert_snapshot!(told(&run));
}

#[test]
fn a_held_release_tells_since_when_and_what_runs() {
    let held = HeldRelease {
        digest: Digest::of("v1", b"x"),
        revision: revision("4f1c2ab"),
        since: "2026-11-21T12:00:00Z".parse().expect("a time"),
        cause: "service/api: exited with code 3, 2 times".into(),
        running: Some((11, revision("91d0e77"))),
    };
    insta::assert_snapshot!(told(&ended(End::Held { held, healed: 1 })));
}

#[test]
fn the_good_ends_are_short() {
    let mut stable = ended(End::Stable {
        healed: false,
        calls: 9,
    });
    stable.changes = vec![
        "~ service/api  recreated, start-first".into(),
        "+ config/nginx  created".into(),
    ];
    stable.warnings = vec!["service/api has no healthcheck".into()];
    let mut healed = ended(End::Stable {
        healed: true,
        calls: 1,
    });
    healed.changes = vec!["! service/cache  restart policy set".into()];
    let all = [stable, healed, ended(End::NoChange), ended(End::Superseded)];
    insta::assert_snapshot!(all.iter().map(told).collect::<String>());
}

#[test]
fn the_other_ends_say_what_was_touched() {
    let failure = |touched, retry, help: Option<&str>| {
        End::Failed(Failure {
            stage: if touched { Stage::Apply } else { Stage::Observe },
            code: "E0503".into(),
            message: "connect to default: no engine listens at unix:///var/run/docker.sock".into(),
            place: None,
            help: help.map(str::to_owned),
            retry,
            touched,
        })
    };
    let obstacle = |pre_flight| Obstacle {
        code: "E0612".into(),
        message: "host port 80 is held by container `other`".into(),
        place: Some(Place {
            file: "apps/web/compose.yaml".into(),
            line: 7,
            column: 9,
        }),
        help: Some("stop it, or publish another port".into()),
        pre_flight,
    };
    let all = [
        failure(false, true, Some("start the engine")),
        failure(true, false, None),
        End::Refused {
            problems: vec![obstacle(true)],
        },
        End::Refused {
            problems: vec![obstacle(false), obstacle(false)],
        },
        End::Drifted {
            fields: vec!["service/cache restart: \"no\" -> unless-stopped".into()],
        },
        End::Stopped {
            stood: "after service/db, before service/api".into(),
        },
        End::StillVerifying {
            what: "service/api is starting".into(),
        },
    ];
    insta::assert_snapshot!(all.into_iter().map(|end| told(&ended(end))).collect::<String>());
}

#[test]
fn several_apps_end_with_the_worst() {
    let all = [
        ended(End::NoChange),
        ended(End::Stopped {
            stood: "before the first step".into(),
        }),
    ];
    insta::assert_snapshot!(super::runs(&all, &now(), 100).to_string());
}

#[test]
fn markdown_cannot_be_left_by_what_it_quotes() {
    let mut run = ended(End::RolledBack(Box::new(RolledBack {
        evidence: vec![Evidence {
            logs: vec!["``` <b>@acme</b>".into()],
            ..evidence()
        }],
        gate_took: Duration::from_secs(120),
        to: (11, revision("91d0e77")),
        rollback_took: Duration::from_secs(9),
        downtime: None,
        changed: vec![],
        not_reverted: vec![],
    })));
    run.target = "docker:a|b".into();
    insta::assert_snapshot!(markdown(&[ended(End::NoChange), run], &now()));
}

#[test]
fn escape_codes_of_a_container_are_not_repeated() {
    let run = ended(End::RolledBack(Box::new(RolledBack {
        evidence: vec![Evidence {
            logs: vec!["\u{1b}[31mred\u{1b}[0m\u{7}".into()],
            ..evidence()
        }],
        gate_took: Duration::ZERO,
        to: (11, revision("91d0e77")),
        rollback_took: Duration::ZERO,
        downtime: None,
        changed: vec![],
        not_reverted: vec![],
    })));
    assert!(!told(&run).contains('\u{1b}') && told(&run).contains("red"));
}
