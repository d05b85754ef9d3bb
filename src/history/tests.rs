//! Laws of the store, on real files.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;

use super::*;
use crate::journal::{Fact, Journal as _};
use crate::live::world::{Baseline, ContainerId, JobDone, Limits, OwnedContainer, Restart};
use crate::names::{Kind, ResourceKey};
use crate::release::Snapshot;
use crate::render::Places;
use crate::render::app::Rules;
use crate::render::model::{Project, Service};
use crate::secret::{Secret, Text};

const CANARY: &str = "canary-7f3a9c51d2e8b604";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).expect("a time")
}

fn opening(folder: &Path) -> Opening {
    Opening {
        folder: folder.to_owned(),
        key_file: None,
        command: "apply".to_owned(),
        now: at(0),
    }
}

fn open(folder: &Path) -> Store {
    Store::open(&opening(folder)).expect("open the store")
}

fn key(app: &str) -> AppKey {
    AppKey {
        source: "https://example.com/infra".try_into().expect("source"),
        app: app.try_into().expect("app"),
    }
}

fn revision(digit: char) -> Revision {
    Revision::try_from(digit.to_string().repeat(40)).expect("revision")
}

fn service(name: &str) -> ServiceName {
    name.try_into().expect("service")
}

fn record(app: &str, content: &str) -> Record {
    let environment = BTreeMap::from([("DATABASE_PASSWORD".to_owned(), Text::secret(CANARY))]);
    let api = Service {
        image: Text::plain("api:1"),
        environment,
        replicas: 1,
        ..Service::default()
    };
    let project = Project {
        name: "web".try_into().expect("project"),
        services: BTreeMap::from([(service("api"), api)]),
        disabled: Vec::new(),
        networks: BTreeMap::new(),
        volumes: BTreeMap::new(),
        configs: BTreeMap::new(),
        secrets: BTreeMap::new(),
        trees: BTreeMap::new(),
    };
    let images = BTreeMap::from([(
        service("api"),
        Pinned {
            reference: "api:1".to_owned(),
            repo_digest: None,
            id: Some("sha256:01".to_owned()),
        },
    )]);
    Record {
        key: key(app),
        number: 0,
        digest: Digest::of("r1", content.as_bytes()),
        content: Digest::of("c1", content.as_bytes()),
        revision: revision('a'),
        subject: "api 1.9.0".to_owned(),
        author: "Ada".to_owned(),
        images,
        created_at: at(1),
        outcome: Outcome::InProgress,
        stable_at: None,
        snapshot: Snapshot {
            project,
            bundle: None,
            rules: Rules::default(),
            places: Places::default(),
            secrets: vec![Secret::new(CANARY.to_owned())],
        },
    }
}

fn owned() -> OwnedContainer {
    OwnedContainer {
        service: service("api"),
        index: 1,
        spec: Digest::of("s1", b"spec"),
        revision: revision('a'),
        parked: None,
        baseline: Baseline {
            name: "web-api-1".to_owned(),
            image_id: "sha256:01".to_owned(),
            restart: Restart {
                name: "always".to_owned(),
                max_retries: 0,
            },
            limits: Limits::default(),
            endpoints: BTreeMap::new(),
        },
    }
}

fn intent(app: &str, op: &str) -> Intent {
    Intent {
        run: RunId::new(1, [0; 4]),
        key: key(app),
        resource: ResourceKey::new(Kind::Service, "api"),
        op: op.to_owned(),
        at: at(2),
    }
}

fn hold(content: &str) -> Hold {
    Hold {
        digest: Digest::of("r1", content.as_bytes()),
        since: at(5),
        cause: "exited with code 3, 2 times".to_owned(),
        by: HeldBy::Gate,
        release: Some(2),
        revision: revision('b'),
    }
}

fn run(app: &str, index: u8, exit_code: i32) -> RunRow {
    RunRow {
        id: RunId::new(i64::from(index), [index; 4]),
        key: key(app),
        trigger: "apply".to_owned(),
        started: at(i64::from(index)),
        ended: Some(at(i64::from(index) + 1)),
        revision: Some(revision('a')),
        release: Some(1),
        report: serde_json::json!({ "changes": [] }),
        exit_code,
    }
}

#[test]
fn everything_written_is_read_back_by_the_next_process() {
    let folder = tempfile::tempdir().expect("folder");
    let web = key("web");
    let state = AppState {
        phase: Phase::Baking,
        phase_since: Some(at(3)),
        candidate: Some(1),
        timers: Some(crate::settle::Timers::start(at(13))),
        drift: BTreeMap::from([("service/api restart".to_owned(), at(4))]),
        suspended: Some(Suspension {
            since: at(1),
            until: None,
            reason: "move".to_owned(),
            by: "ada".to_owned(),
        }),
        ..AppState::default()
    };
    let mut written = record("web", "one");
    {
        let store = open(folder.path());
        assert!(store.is_new());
        written.number = store.record_release(&written).expect("release");
        store.mark_stable(&web, 1, at(9)).expect("stable");
        store.save_state(&web, &state).expect("state");
        store.hold(&web, &hold("bad")).expect("hold");
        store.record_run(&run("web", 1, 0)).expect("run");
        store
            .note(
                &web,
                Fact::Own {
                    id: ContainerId("c1".into()),
                    container: owned(),
                },
            )
            .expect("note");
        store
            .note(
                &web,
                Fact::OwnNetwork {
                    name: "web_default".into(),
                    spec: Digest::of("s1", b"n"),
                },
            )
            .expect("note");
        let done = JobDone {
            spec: Digest::of("s1", b"j"),
            image_id: "sha256:02".to_owned(),
            at: at(6),
        };
        store
            .note(
                &web,
                Fact::JobDone {
                    service: service("migrate"),
                    done,
                },
            )
            .expect("note");
    }
    let store = open(folder.path());
    assert!(!store.is_new());
    written.outcome = Outcome::Stable;
    written.stable_at = Some(at(9));
    assert_eq!(store.release(&web, 1).expect("read"), Some(written.clone()));
    assert_eq!(store.newest_stable(&web).expect("read"), Some(written.clone()));
    assert_eq!(
        store
            .release_by_digest(&web, &written.digest)
            .expect("read")
            .map(|found| found.number),
        Some(1)
    );
    assert_eq!(
        store
            .release_by_commit(&web, &revision('a'))
            .expect("read")
            .map(|found| found.number),
        Some(1)
    );
    assert_eq!(store.release_by_commit(&web, &revision('f')).expect("read"), None);
    assert_eq!(store.state(&web).expect("read"), state);
    assert_eq!(store.holds(&web).expect("read"), vec![hold("bad")]);
    assert_eq!(store.runs(&web, 10).expect("read"), vec![run("web", 1, 0)]);
    assert_eq!(store.latest_runs().expect("read"), vec![run("web", 1, 0)]);
    let inventory = store.inventory(&web).expect("read");
    assert_eq!(
        inventory.containers,
        BTreeMap::from([(ContainerId("c1".into()), owned())])
    );
    assert_eq!(
        (inventory.networks.len(), inventory.jobs.len(), inventory.rebuilt),
        (1, 1, false)
    );
}

#[test]
fn no_secret_value_is_readable_in_the_state_folder() {
    use base64::Engine as _;
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    store.record_release(&record("web", "one")).expect("release");
    // Searched while the log still holds the pages, and after they were moved into the database.
    for round in ["open", "closed"] {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder.path()).expect("list") {
            let path = entry.expect("entry").path();
            let bytes = std::fs::read(&path).expect("read");
            let shapes = [
                CANARY.as_bytes().to_vec(),
                hex::encode(CANARY).into_bytes(),
                // Every alignment of the value within base64 text, without its changing ends.
                base64::engine::general_purpose::STANDARD
                    .encode(CANARY)
                    .as_bytes()[..24]
                    .to_vec(),
                base64::engine::general_purpose::STANDARD
                    .encode(&CANARY[1..])
                    .as_bytes()[..24]
                    .to_vec(),
                base64::engine::general_purpose::STANDARD
                    .encode(&CANARY[2..])
                    .as_bytes()[..24]
                    .to_vec(),
                b"DATABASE_PASSWORD".to_vec(),
            ];
            for shape in shapes {
                if bytes.windows(shape.len()).any(|window| window == shape) {
                    found.push((round, path.clone(), String::from_utf8_lossy(&shape).into_owned()));
                }
            }
        }
        assert_eq!(found, Vec::new());
        if round == "open" {
            store
                .connection()
                .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
                .expect("checkpoint");
        }
    }
    let held = store.release(&key("web"), 1).expect("read").expect("there");
    assert_eq!(held.snapshot.secrets[0].expose(), CANARY);
}

#[test]
fn files_are_for_their_owner_alone() {
    let parent = tempfile::tempdir().expect("folder");
    let folder = parent.path().join("state/driftless");
    let store = open(&folder);
    store.record_release(&record("web", "one")).expect("release");
    assert_eq!(
        std::fs::metadata(&folder).expect("folder").permissions().mode() & 0o777,
        0o700
    );
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("list") {
        let entry = entry.expect("entry");
        assert_eq!(
            entry.metadata().expect("file").permissions().mode() & 0o777,
            0o600,
            "{:?}",
            entry.path()
        );
        names.push(entry.file_name().into_string().expect("name"));
    }
    names.sort();
    assert_eq!(
        names,
        ["lock", "state.db", "state.db-shm", "state.db-wal", "state.key"]
    );
}

#[test]
fn a_lost_key_costs_the_snapshots_and_nothing_else() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    let web = key("web");
    store.record_release(&record("web", "one")).expect("release");
    store.mark_stable(&web, 1, at(2)).expect("stable");
    std::fs::remove_file(folder.path().join("state.key")).expect("lose it");
    let lost = store.release(&web, 1).expect_err("sealed");
    assert!(
        matches!(
            lost,
            StoreError::Sealed {
                cause: SealCause::NoKey,
                number: 1,
                ..
            }
        ),
        "{lost}"
    );
    assert_eq!(
        store
            .newest_stable_summary(&web)
            .expect("read")
            .map(|found| found.number),
        Some(1)
    );
    // The next release gets a new key; the old one stays sealed, and says why.
    assert_eq!(store.record_release(&record("web", "two")).expect("release"), 2);
    assert!(store.release(&web, 2).expect("read").is_some());
    let other = store.release(&web, 1).expect_err("sealed");
    assert!(
        matches!(
            other,
            StoreError::Sealed {
                cause: SealCause::OtherKey,
                ..
            }
        ),
        "{other}"
    );
}

#[test]
fn a_snapshot_opens_only_for_its_own_release() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    let web = key("web");
    store.record_release(&record("web", "one")).expect("release");
    store.record_release(&record("web", "two")).expect("release");
    store
        .connection()
        .execute_batch(
            "UPDATE releases SET snapshot = (SELECT snapshot FROM releases WHERE number = 1) WHERE number = 2",
        )
        .expect("forge");
    assert!(store.release(&web, 1).expect("read").is_some());
    let forged = store.release(&web, 2).expect_err("forged");
    assert!(
        matches!(
            forged,
            StoreError::Sealed {
                cause: SealCause::Damaged,
                ..
            }
        ),
        "{forged}"
    );
}

#[test]
fn a_second_owner_is_refused_and_told_who_has_it() {
    let folder = tempfile::tempdir().expect("folder");
    let first = open(folder.path());
    let refused = Store::open(&opening(folder.path())).expect_err("locked");
    let StoreError::Locked {
        owner: Some(named), ..
    } = &refused
    else {
        panic!("{refused}")
    };
    assert_eq!(
        (named.pid, named.command.as_str(), named.since),
        (std::process::id(), "apply", at(0))
    );
    assert!(
        refused
            .to_string()
            .contains(&format!("process {}", std::process::id())),
        "{refused}"
    );
    assert_eq!(refused.kind(), StoreErrorKind::Locked);
    assert_eq!(owner(folder.path()), Some(Some(named.clone())));
    drop(first);
    assert_eq!(owner(folder.path()), None);
    open(folder.path());
}

#[test]
fn readers_work_beside_the_owner_and_after_it_and_never_write() {
    let folder = tempfile::tempdir().expect("folder");
    let web = key("web");
    assert!(
        Store::beside(&opening(folder.path()))
            .expect("no store")
            .is_none()
    );
    let store = open(folder.path());
    store.record_release(&record("web", "one")).expect("release");
    let reader = Store::beside(&opening(folder.path()))
        .expect("open")
        .expect("there");
    assert_eq!(reader.releases(&web, 10).expect("read").len(), 1);
    // A write in flight neither blocks the reader nor shows.
    store
        .change(|transaction| {
            let app = store.app(transaction, &web)?;
            transaction
                .execute("DELETE FROM releases WHERE app = ?1", [app])
                .expect("delete");
            assert_eq!(reader.releases(&web, 10)?.len(), 1);
            Err::<(), _>(StoreError::Reader)
        })
        .expect_err("given up");
    store.record_release(&record("web", "two")).expect("release");
    assert_eq!(reader.releases(&web, 10).expect("read").len(), 2);
    assert!(reader.release(&web, 2).expect("read").is_some());
    assert!(matches!(
        reader.save_state(&web, &AppState::default()),
        Err(StoreError::Reader)
    ));
    drop((store, reader));
    let reader = Store::beside(&opening(folder.path()))
        .expect("open")
        .expect("there");
    assert_eq!(reader.releases(&web, 10).expect("read").len(), 2);
}

#[test]
fn a_newer_major_is_refused_untouched_and_a_newer_minor_is_used() {
    let folder = tempfile::tempdir().expect("folder");
    drop(open(folder.path()));
    let path = folder.path().join("state.db");
    let set = |version: i32| {
        let connection = Connection::open(&path).expect("open");
        connection
            .pragma_update(None, "user_version", version)
            .expect("set");
    };
    set(2000);
    let before = std::fs::read(&path).expect("read");
    for refused in [
        Store::open(&opening(folder.path())).expect_err("newer"),
        Store::beside(&opening(folder.path())).expect_err("newer"),
    ] {
        assert!(
            refused
                .to_string()
                .contains("schema 2.0, and this version knows 1."),
            "{refused}"
        );
        assert_eq!(refused.kind(), StoreErrorKind::Operator);
    }
    assert_eq!(std::fs::read(&path).expect("read"), before);
    set(1007);
    drop(open(folder.path()));
    let connection = Connection::open(&path).expect("open");
    let version: i32 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("read");
    assert_eq!(version, 1007);
}

#[test]
fn a_damaged_store_is_never_an_empty_one() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    for index in 0..40 {
        store
            .record_release(&record("web", &format!("{index}")))
            .expect("release");
    }
    drop(store);
    let path = folder.path().join("state.db");
    let whole = std::fs::read(&path).expect("read");
    let mut scribbled = whole.clone();
    for byte in scribbled.iter_mut().skip(4096).take(3 * 4096) {
        *byte ^= 0x5a;
    }
    let cases: [(&str, Vec<u8>); 5] = [
        ("emptied", Vec::new()),
        ("half", whole[..whole.len() / 2].to_vec()),
        (
            "not a database",
            b"hello, this is a text file that somebody put here".repeat(100),
        ),
        ("scribbled", scribbled),
        ("header only", whole[..100].to_vec()),
    ];
    for (what, bytes) in cases {
        std::fs::write(&path, &bytes).expect("damage");
        let refused = Store::open(&opening(folder.path())).expect_err(what);
        assert!(matches!(refused, StoreError::Corrupt { .. }), "{what}: {refused}");
        assert_eq!(std::fs::read(&path).expect("read"), bytes, "{what}");
    }
}

#[test]
fn a_missing_store_owns_nothing_that_it_knows_of() {
    let folder = tempfile::tempdir().expect("folder");
    let web = key("web");
    let store = open(folder.path());
    assert_eq!(
        store.inventory(&web).expect("read"),
        Inventory {
            rebuilt: true,
            ..Inventory::default()
        }
    );
    // What was read from labels stays "rebuilt" over a restart, until a release is stable.
    let mut rebuilt = Inventory {
        rebuilt: true,
        ..Inventory::default()
    };
    rebuilt.containers.insert(ContainerId("c1".into()), owned());
    store.put_inventory(&web, &rebuilt).expect("put");
    store
        .note(
            &web,
            Fact::OwnVolume {
                name: "web_data".into(),
                spec: Digest::of("s1", b"v"),
            },
        )
        .expect("note");
    rebuilt.volumes.insert("web_data".into(), Digest::of("s1", b"v"));
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.inventory(&web).expect("read"), rebuilt);
    store.record_release(&record("web", "one")).expect("release");
    store.mark_stable(&web, 1, at(3)).expect("stable");
    assert!(!store.inventory(&web).expect("read").rebuilt);
    store
        .note(
            &web,
            Fact::Disown {
                id: ContainerId("c1".into()),
            },
        )
        .expect("note");
    assert!(store.inventory(&web).expect("read").containers.is_empty());
    assert!(store.inventory(&key("other")).expect("read").rebuilt);
}

#[test]
fn the_log_of_a_lost_database_is_not_replayed_into_a_new_one() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    store.record_release(&record("web", "one")).expect("release");
    let log = std::fs::read(folder.path().join("state.db-wal")).expect("read");
    drop(store);
    std::fs::remove_file(folder.path().join("state.db")).expect("lose it");
    std::fs::write(folder.path().join("state.db-wal"), log).expect("put the log back");
    let store = open(folder.path());
    assert!(store.is_new());
    assert_eq!(store.apps().expect("read"), Vec::new());
}

#[test]
fn an_intent_survives_kill_9_and_nothing_half_done_does() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join(KILL_HERE), "").expect("mark");
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "history::tests::child_that_is_killed", "--nocapture"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start");
    let ready = folder.path().join("ready");
    for _ in 0..3000 {
        if ready.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(ready.exists(), "the child did not get there");
    let named = owner(folder.path()).expect("owned").expect("named");
    assert_eq!(named.pid, child.id());
    child.kill().expect("kill");
    child.wait().expect("wait");
    let reader = Store::beside(&opening(folder.path()))
        .expect("read what the dead owner left")
        .expect("there");
    assert_eq!(reader.unfinished(&key("web")).expect("read").len(), 1);
    assert_eq!(owner(folder.path()), None);
    let store = open(folder.path());
    let left = store.unfinished(&key("web")).expect("read");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].1, intent("web", "start web-api-1"));
    let entries = store.journal(&key("web"), 10).expect("read");
    assert_eq!(entries.len(), 2);
    assert_eq!(
        entries[1].ending,
        Some((
            Ending::Done {
                id: Some("c1".to_owned())
            },
            at(3)
        ))
    );
    assert_eq!(store.state(&key("web")).expect("read").phase, Phase::Applying);
}

/// A file in the folder in which the test above starts the next one as a process of its own.
const KILL_HERE: &str = "kill-here";

/// Does nothing unless the test above starts it.
#[test]
fn child_that_is_killed() {
    let folder = Path::new(".");
    if !folder.join(KILL_HERE).exists() {
        return;
    }
    let store = open(folder);
    let web = key("web");
    store
        .save_state(
            &web,
            &AppState {
                phase: Phase::Applying,
                ..AppState::default()
            },
        )
        .expect("state");
    let first = store.intend(&intent("web", "create web-api-1")).expect("intend");
    store
        .complete(
            first,
            &Ending::Done {
                id: Some("c1".to_owned()),
            },
            at(3),
        )
        .expect("complete");
    store.intend(&intent("web", "start web-api-1")).expect("intend");
    let _: Result<(), StoreError> = store.change(|transaction| {
        transaction
            .execute("UPDATE apps SET state = '{\"phase\":\"synced\"}'", [])
            .expect("half");
        std::fs::write(folder.join("ready"), "").expect("ready");
        loop {
            std::thread::park();
        }
    });
}

#[test]
fn a_write_is_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    let web = key("web");
    let writes = [
        Write::Hold(hold("bad")),
        Write::State(Box::new(AppState {
            phase: Phase::Held,
            ..AppState::default()
        })),
        Write::Outcome {
            number: 9,
            outcome: Outcome::Superseded,
        },
    ];
    let refused = store.write(&web, &writes).expect_err("no release 9");
    assert!(
        matches!(refused, StoreError::NoRelease { number: 9, .. }),
        "{refused}"
    );
    assert_eq!(store.holds(&web).expect("read"), Vec::new());
    assert_eq!(store.state(&web).expect("read").phase, Phase::New);
    store.write(&web, &writes[..2]).expect("write");
    assert_eq!(
        store.held(&web, &hold("bad").digest).expect("read"),
        Some(hold("bad"))
    );
    store.lift(&web, &hold("bad").digest).expect("lift");
    assert_eq!(store.holds(&web).expect("read"), Vec::new());
}

#[test]
fn a_full_disk_stops_the_journal_and_heals_by_itself() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    let first = store.intend(&intent("web", "create")).expect("intend");
    let pages: i64 = store
        .connection()
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .expect("pages");
    store
        .connection()
        .pragma_update(None, "max_page_count", pages)
        .expect("limit");
    let op = "x".repeat(64 * 1024);
    let refused = store.intend(&intent("web", &op)).expect_err("full");
    let cause = refused.0.downcast_ref::<StoreError>().expect("typed");
    assert!(matches!(cause, StoreError::Full { .. }), "{cause}");
    assert_eq!(cause.kind(), StoreErrorKind::Unwritable);
    assert_eq!(store.unfinished(&key("web")).expect("read").len(), 1);
    store
        .connection()
        .pragma_update(None, "max_page_count", 1_000_000)
        .expect("room");
    store.intend(&intent("web", &op)).expect("intend");
    store
        .complete(
            first,
            &Ending::Unknown {
                error: "lost".to_owned(),
            },
            at(4),
        )
        .expect("complete");
    assert_eq!(store.unfinished(&key("web")).expect("read").len(), 1);
}

#[test]
fn two_apps_cannot_claim_one_project_on_one_engine() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    let engine: TargetId = "ENGINE-1".try_into().expect("target");
    let project: ProjectName = "web".try_into().expect("project");
    store.claim(&key("web"), &engine, &project).expect("claim");
    store.claim(&key("web"), &engine, &project).expect("again");
    let refused = store.claim(&key("shop"), &engine, &project).expect_err("claimed");
    assert!(
        matches!(&refused, StoreError::ProjectClaimed { by, .. } if *by == key("web")),
        "{refused}"
    );
    store
        .claim(&key("shop"), &"ENGINE-2".try_into().expect("target"), &project)
        .expect("another engine");
    store.unclaim(&key("web")).expect("unclaim");
    store.claim(&key("shop"), &engine, &project).expect("free now");
    let claims: Vec<_> = store
        .apps()
        .expect("apps")
        .into_iter()
        .map(|app| (app.key.app.to_string(), app.target))
        .collect();
    assert_eq!(
        claims,
        [("shop".to_owned(), Some(engine)), ("web".to_owned(), None)]
    );
}

#[test]
fn old_releases_go_but_never_stable_held_or_named_ones() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    let web = key("web");
    for index in 1..=4 {
        store
            .record_release(&record("web", &format!("{index}")))
            .expect("release");
    }
    store.mark_stable(&web, 1, at(1)).expect("stable");
    store.hold(&web, &hold("2")).expect("hold");
    store
        .save_state(
            &web,
            &AppState {
                effective: Some(3),
                ..AppState::default()
            },
        )
        .expect("state");
    for index in 5..=60 {
        assert_eq!(
            store
                .record_release(&record("web", &format!("{index}")))
                .expect("release"),
            index
        );
    }
    let kept: Vec<u64> = store
        .releases(&web, 1000)
        .expect("read")
        .into_iter()
        .map(|found| found.number)
        .collect();
    let expected: Vec<u64> = (11..=60).rev().chain([3, 2, 1]).collect();
    assert_eq!(kept, expected);
}

#[test]
fn a_run_is_noted_once_and_the_newest_is_first() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    store.record_run(&run("web", 1, 10)).expect("run");
    store.record_run(&run("web", 2, 0)).expect("run");
    store.record_run(&run("blog", 3, 7)).expect("run");
    store
        .record_run(&run("web", 1, 6))
        .expect("the same run, concluded");
    let codes: Vec<i32> = store
        .runs(&key("web"), 10)
        .expect("runs")
        .into_iter()
        .map(|run| run.exit_code)
        .collect();
    assert_eq!(codes, [0, 6]);
    let latest: Vec<_> = store
        .latest_runs()
        .expect("runs")
        .into_iter()
        .map(|run| (run.key.app.to_string(), run.exit_code))
        .collect();
    assert_eq!(latest, [("blog".to_owned(), 7), ("web".to_owned(), 0)]);
    store.forget(&key("web")).expect("forget");
    assert!(store.runs(&key("web"), 10).expect("runs").is_empty());
}

#[test]
fn a_state_of_an_older_version_reads_with_defaults() {
    let state: AppState = serde_json::from_str(r#"{"phase":"held","unknown_later_field":1}"#).expect("read");
    assert_eq!(
        state,
        AppState {
            phase: Phase::Held,
            ..AppState::default()
        }
    );
}
