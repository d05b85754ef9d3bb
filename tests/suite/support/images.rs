//! The offline test images: busybox and `tests/engines/web.rs`, imported as one-layer images.
//!
//! `web.rs` tells what its server does and which environment variables change it (`STOP`, `HEALTH`, `EXIT_AFTER_MS`, …), so a
//! test's compose file can ask for more than the images here say.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::command::CommandOutput;
use super::engines_cache;

const HEALTHCHECK: &str =
    "HEALTHCHECK --interval=500ms --timeout=2s --retries=3 CMD [\"/bin/web\",\"probe\"]";

/// Every image: its name, and the changes to the bare root file system.
const IMAGES: &[(&str, &[&str])] = &[
    // A shell with busybox: for jobs and sidecars.
    ("base:1", &["CMD [\"sh\"]"]),
    // Healthy within a second; lets accepted requests end on SIGTERM.
    (
        "web:1",
        &[
            "ENV VERSION=1",
            "LABEL app.version=1",
            "CMD [\"/bin/web\"]",
            HEALTHCHECK,
        ],
    ),
    (
        "web:2",
        &[
            "ENV VERSION=2",
            "LABEL app.version=2",
            "CMD [\"/bin/web\"]",
            HEALTHCHECK,
        ],
    ),
    (
        "web:3",
        &[
            "ENV VERSION=3",
            "LABEL app.version=3",
            "CMD [\"/bin/web\"]",
            HEALTHCHECK,
        ],
    ),
    // Runs and answers, but its healthcheck fails.
    (
        "web:broken",
        &[
            "ENV VERSION=broken",
            "ENV HEALTH=bad",
            "CMD [\"/bin/web\"]",
            "HEALTHCHECK --interval=500ms --timeout=2s --retries=2 CMD [\"/bin/web\",\"probe\"]",
        ],
    ),
    // Exits with 3 after 0.3 s, saying `boom`.
    (
        "web:crash",
        &[
            "ENV VERSION=crash",
            "CMD [\"sh\",\"-c\",\"echo boom >&2; sleep 0.3; exit 3\"]",
        ],
    ),
    // Ignores SIGTERM, so a stop lasts the whole grace period.
    (
        "web:slow-stop",
        &[
            "ENV VERSION=slow-stop",
            "ENV STOP=ignore",
            "CMD [\"/bin/web\"]",
            HEALTHCHECK,
        ],
    ),
    // Has no healthcheck.
    ("web:plain", &["ENV VERSION=plain", "CMD [\"/bin/web\"]"]),
];

/// The names of all images.
pub fn names() -> impl Iterator<Item = &'static str> {
    IMAGES.iter().map(|(name, _)| *name)
}

/// Imports all images into an engine; `docker` makes a CLI command that talks to it.
pub fn load(docker: impl Fn() -> Command + Sync) {
    let archive = archive(&engines_cache().join("tools"));
    std::thread::scope(|scope| {
        for (name, changes) in IMAGES {
            let (archive, docker) = (&archive, &docker);
            scope.spawn(move || {
                let mut import = docker();
                import.arg("import");
                for change in changes.iter().chain(["EXPOSE 8080", "ENV PATH=/bin"].iter()) {
                    import.args(["--change", change]);
                }
                import.args(["-", name]);
                drop(CommandOutput::with_input(&mut import, archive).success());
            });
        }
    });
}

/// The root file system: busybox under its names, the web server, and what a libc expects in /etc.
fn archive(tools: &Path) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut entry = |path: &str, kind: tar::EntryType, mode: u32, content: &[u8], link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        match link {
            Some(link) => archive.append_link(&mut header, path, link),
            None => archive.append_data(&mut header, path, content),
        }
        .expect("an archive in memory takes every entry");
    };
    for (folder, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("root", 0o700),
        ("tmp", 0o1777),
        ("proc", 0o755),
        ("sys", 0o755),
        ("dev", 0o755),
    ] {
        entry(&format!("{folder}/"), tar::EntryType::Directory, mode, b"", None);
    }
    for program in ["busybox", "web"] {
        let content = fs::read(tools.join(program)).expect("setup.sh made the tools");
        entry(
            &format!("bin/{program}"),
            tar::EntryType::Regular,
            0o755,
            &content,
            None,
        );
    }
    let applets = CommandOutput::of(Command::new(tools.join("busybox")).arg("--list")).success();
    for applet in applets.stdout.lines().filter(|applet| *applet != "busybox") {
        entry(
            &format!("bin/{applet}"),
            tar::EntryType::Symlink,
            0o777,
            b"",
            Some("busybox"),
        );
    }
    let users = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\n";
    entry("etc/passwd", tar::EntryType::Regular, 0o644, users, None);
    entry(
        "etc/group",
        tar::EntryType::Regular,
        0o644,
        b"root:x:0:\napp:x:1000:\n",
        None,
    );
    archive
        .into_inner()
        .expect("an archive in memory can be finished")
}
