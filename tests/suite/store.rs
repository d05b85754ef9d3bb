//! The store on a disk that is full, or not writable: changes stop, reading goes on, and nobody has to help afterwards.

use std::path::{Path, PathBuf};
use std::process::Command;

use driftless::clock::Timestamp;
use driftless::history::{AppState, History as _, Opening, Phase, Store, StoreError, StoreErrorKind};
use driftless::journal::{Ending, EntryId, Intent, Journal as _};
use driftless::names::{AppKey, Kind, ResourceKey, RunId};

/// Names the small disk for the process that runs on it.
const DISK: &str = "SUITE_SMALL_DISK";

fn key() -> AppKey {
    AppKey {
        source: "https://example.com/infra".try_into().unwrap(),
        app: "web".try_into().unwrap(),
    }
}

fn at() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

fn opening(folder: &Path) -> Opening {
    Opening {
        folder: folder.to_owned(),
        key_file: None,
        command: "apply".to_owned(),
        now: at(),
    }
}

/// Writes an intent, or says what sort of trouble kept it from being written.
fn intend(store: &Store, op: &str) -> Result<EntryId, StoreErrorKind> {
    let intent = Intent {
        run: RunId::new(1, [0; 4]),
        key: key(),
        resource: ResourceKey::new(Kind::Service, "api"),
        op: op.to_owned(),
        at: at(),
    };
    store.intend(&intent).map_err(|error| {
        error
            .0
            .downcast_ref::<StoreError>()
            .expect("a typed error")
            .kind()
    })
}

/// Runs `test` of this file as a process that has a disk of 1 MB to itself.
fn on_a_small_disk(test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args([
            "-rm",
            "sh",
            "-c",
            r#"mount -t tmpfs -o size=1m none "$1" && exec "$0" --exact "$2" --nocapture"#,
        ])
        .arg(std::env::current_exe().unwrap())
        .arg(folder.path())
        .arg(format!("store::{test}"))
        .env(DISK, folder.path())
        .output()
        .expect("unshare can be run");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn small_disk() -> Option<PathBuf> {
    std::env::var_os(DISK).map(PathBuf::from)
}

#[test]
fn a_full_disk_stops_changes_and_heals_by_itself() {
    let Some(disk) = small_disk() else {
        return on_a_small_disk("a_full_disk_stops_changes_and_heals_by_itself");
    };
    let folder = disk.join("state");
    let grow = |size: &str| {
        assert!(
            Command::new("mount")
                .args(["-o", &format!("remount,size={size}")])
                .arg(&disk)
                .status()
                .unwrap()
                .success()
        );
    };
    let store = Store::open(&opening(&folder)).unwrap();
    let first = intend(&store, "create web-api-1").unwrap();
    let mut written = 1;
    let mut fill = |store: &Store| {
        let refused = loop {
            match intend(store, &"x".repeat(20_000)) {
                Ok(_) => written += 1,
                Err(kind) => break kind,
            }
            assert!(written < 500, "the disk never became full");
        };
        assert_eq!(refused, StoreErrorKind::Unwritable);
        assert_eq!(store.unfinished(&key()).unwrap().len(), written);
        written
    };
    fill(&store);
    let state = AppState {
        frozen: Some("x".repeat(100_000)),
        ..AppState::default()
    };
    assert_eq!(
        store.save_state(&key(), &state).unwrap_err().kind(),
        StoreErrorKind::Unwritable
    );
    // Room again: the same process goes on.
    grow("2m");
    store.save_state(&key(), &state).unwrap();
    let written = fill(&store);
    // A new process finds everything that was confirmed, as far as it can open the store at all on such a disk.
    drop(store);
    match Store::open(&opening(&folder)) {
        Ok(store) => assert_eq!(store.unfinished(&key()).unwrap().len(), written),
        Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unwritable, "{error}"),
    }
    grow("8m");
    let store = Store::open(&opening(&folder)).unwrap();
    assert_eq!(store.unfinished(&key()).unwrap().len(), written);
    store.complete(first, &Ending::Done { id: None }, at()).unwrap();
    intend(&store, &"x".repeat(20_000)).unwrap();
    assert_eq!(store.unfinished(&key()).unwrap().len(), written);
}

#[test]
fn a_disk_without_room_for_a_store_is_told_as_that() {
    let Some(disk) = small_disk() else {
        return on_a_small_disk("a_disk_without_room_for_a_store_is_told_as_that");
    };
    let filler = disk.join("filler");
    let mut size = 1 << 20;
    while std::fs::write(&filler, vec![1_u8; size]).is_err() {
        size -= 4096;
    }
    for _ in 0..2 {
        let refused = Store::open(&opening(&disk)).unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Unwritable, "{refused:?}");
    }
    std::fs::remove_file(&filler).unwrap();
    assert!(Store::open(&opening(&disk)).unwrap().is_new());
}

#[test]
fn a_read_only_disk_is_still_read() {
    let Some(disk) = small_disk() else {
        return on_a_small_disk("a_read_only_disk_is_still_read");
    };
    let remount = |mode: &str| {
        assert!(
            Command::new("mount")
                .args(["-o", &format!("remount,{mode}")])
                .arg(&disk)
                .status()
                .unwrap()
                .success()
        );
    };
    let folder = disk.join("state");
    let store = Store::open(&opening(&folder)).unwrap();
    store
        .save_state(
            &key(),
            &AppState {
                phase: Phase::Synced,
                ..AppState::default()
            },
        )
        .unwrap();
    drop(store);
    remount("ro");
    let reader = Store::beside(&opening(&folder)).unwrap().unwrap();
    assert_eq!(reader.state(&key()).unwrap().phase, Phase::Synced);
    drop(reader);
    let refused = Store::open(&opening(&folder)).unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Unwritable, "{refused:?}");
    remount("rw");
    let store = Store::open(&opening(&folder)).unwrap();
    intend(&store, "create web-api-1").unwrap();
}
