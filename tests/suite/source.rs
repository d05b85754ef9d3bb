//! Repositories as they are in the world: on disk, behind HTTP, behind ssh; well, gone, rewritten, hostile.

mod server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use driftless::names::Revision;
use driftless::secret::Secret;
use driftless::source::{
    CheckoutError, Credentials, ErrorKind, GitRef, GitSource, Location, Movement, RepoPath, Source,
    SourceError, SourceSpec,
};
use server::{HttpServer, Mood};

use crate::support::sshd::Sshd;

struct Repo {
    dir: PathBuf,
}

impl Repo {
    fn init(dir: &Path) -> Self {
        let repo = Self { dir: dir.to_owned() };
        std::fs::create_dir_all(dir).unwrap();
        repo.git(&["init", "-q", "-b", "main"]);
        repo
    }

    fn git(&self, args: &[&str]) -> String {
        git(&self.dir, args, b"")
    }

    fn commit(&self, file: &str, content: &str) -> Revision {
        let path = self.dir.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", &format!("Write {file}")]);
        self.head()
    }

    fn head(&self) -> Revision {
        Revision::try_from(self.git(&["rev-parse", "HEAD"])).unwrap()
    }
}

fn git(dir: &Path, args: &[&str], input: &[u8]) -> String {
    use std::io::Write as _;
    let mut child = Command::new("git")
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .envs([
            ("GIT_AUTHOR_NAME", "Ada"),
            ("GIT_AUTHOR_EMAIL", "a@b"),
            ("GIT_COMMITTER_NAME", "Ada"),
            ("GIT_COMMITTER_EMAIL", "a@b"),
        ])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A repository `infra` served over HTTP, and a folder for mirrors.
struct World {
    _tmp: tempfile::TempDir,
    root: PathBuf,
    repo: Repo,
    http: HttpServer,
}

impl World {
    fn new() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let root = tmp.path().canonicalize().unwrap();
        let repo = Repo::init(&root.join("srv/infra"));
        let http = HttpServer::start(&root.join("srv"));
        Self {
            _tmp: tmp,
            root,
            repo,
            http,
        }
    }

    fn spec(&self, url: &str) -> SourceSpec {
        let location = Location::parse(url, &self.root).unwrap();
        let mut spec = SourceSpec::new(location, self.root.join("state/mirrors"));
        spec.deadline = Duration::from_secs(20);
        spec
    }

    fn source(&self, reference: &str) -> GitSource {
        let mut spec = self.spec(&self.http.url("infra/.git"));
        spec.reference = GitRef::parse(reference).unwrap();
        GitSource::open(spec).unwrap()
    }

    fn mirror(&self) -> PathBuf {
        let mut mirrors = std::fs::read_dir(self.root.join("state/mirrors")).unwrap();
        mirrors.next().unwrap().unwrap().path().join("repo.git")
    }
}

fn path(raw: &str) -> RepoPath {
    RepoPath::parse(raw).unwrap()
}

#[tokio::test]
async fn an_unchanged_remote_costs_one_process() {
    let world = World::new();
    let first = world.repo.commit("web/compose.yaml", "a");
    let source = world.source("main");
    let resolved = source.resolve().await.unwrap();
    assert_eq!(
        (&resolved.revision, resolved.branch.as_deref()),
        (&first, Some("refs/heads/main"))
    );
    let checkout = source.checkout(&first).await.unwrap();
    assert_eq!(checkout.read(&path("web/compose.yaml")).unwrap().bytes, b"a");
    assert_eq!(source.processes(), 2, "one ls-remote, one fetch");
    for _ in 0..3 {
        let before = (source.processes(), world.http.requests());
        assert_eq!(source.resolve().await.unwrap().revision, first);
        source.checkout(&first).await.unwrap();
        assert_eq!(
            (source.processes(), world.http.requests()),
            (before.0 + 1, before.1 + 2)
        );
    }
    let second = world.repo.commit("web/compose.yaml", "b");
    let before = source.processes();
    assert_eq!(source.resolve().await.unwrap().revision, second);
    source.checkout(&second).await.unwrap();
    assert_eq!(source.processes(), before + 2);
    assert_eq!(
        source.movement(&first, &second).await.unwrap(),
        Movement::Advanced
    );
    let info = source.commit_info(&second).await.unwrap();
    assert_eq!(
        (info.subject.as_str(), info.author.as_str()),
        ("Write web/compose.yaml", "Ada")
    );
    assert_eq!(
        source.commits_between(Some(&first), &second, 10).await.unwrap(),
        [info]
    );
    assert!(source.take_notices().is_empty());
}

#[tokio::test]
async fn one_ref_of_many_is_found_and_a_typo_names_its_neighbours() {
    let world = World::new();
    let first = world.repo.commit("a", "a");
    let lines: String = (1_000..6_000)
        .map(|number| format!("{first} refs/heads/topic-{number}\n"))
        .collect();
    let packed = format!("# pack-refs with: peeled fully-peeled sorted \n{lines}");
    std::fs::write(world.repo.dir.join(".git/packed-refs"), packed).unwrap();
    world.repo.git(&["tag", "-a", "-m", "x", "v1"]);
    assert_eq!(
        world.source("topic-4999").resolve().await.unwrap().revision,
        first
    );
    let tag = world.source("v1").resolve().await.unwrap();
    assert_eq!(
        (tag.revision, tag.branch.as_deref()),
        (first.clone(), Some("refs/tags/v1")),
        "an annotated tag is its commit"
    );
    assert_eq!(
        world.source(first.as_str()).resolve().await.unwrap().revision,
        first
    );
    match world.source("mian").resolve().await.unwrap_err() {
        error @ SourceError::UnknownRef { .. } => {
            assert!(error.hint().unwrap().contains("main"), "{:?}", error.hint())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_rewritten_history_is_told_from_an_unrelated_one() {
    let world = World::new();
    let first = world.repo.commit("a", "1");
    let second = world.repo.commit("a", "2");
    let source = world.source("main");
    source
        .checkout(&source.resolve().await.unwrap().revision)
        .await
        .unwrap();

    world.repo.git(&["reset", "-q", "--hard", first.as_str()]);
    let back = source.resolve().await.unwrap().revision;
    source.checkout(&back).await.unwrap();
    assert_eq!(
        source.movement(&second, &back).await.unwrap(),
        Movement::Forced { back: true }
    );

    let other = world.repo.commit("b", "3");
    source
        .checkout(&source.resolve().await.unwrap().revision)
        .await
        .unwrap();
    assert_eq!(
        source.movement(&second, &other).await.unwrap(),
        Movement::Forced { back: false }
    );

    world.repo.git(&["checkout", "-q", "--orphan", "fresh"]);
    let orphan = world.repo.commit("c", "4");
    world.repo.git(&["branch", "-f", "main", "fresh"]);
    assert_eq!(source.resolve().await.unwrap().revision, orphan);
    source.checkout(&orphan).await.unwrap();
    assert_eq!(
        source.movement(&second, &orphan).await.unwrap(),
        Movement::Unrelated
    );
    // What was deployed before can still be read: nothing was thrown away.
    assert!(source.checkout(&second).await.unwrap().is_file(&path("a")));
}

#[tokio::test]
async fn a_history_longer_than_the_mirror_is_deepened_before_it_counts_as_rewritten() {
    let world = World::new();
    let first = world.repo.commit("a", "0");
    let mut spec = world.spec(&world.http.url("infra/.git"));
    spec.caps.depth = 2;
    let source = GitSource::open(spec).unwrap();
    source.checkout(&first).await.unwrap();
    for number in 1..8 {
        world.repo.commit("a", &number.to_string());
    }
    let tip = source.resolve().await.unwrap().revision;
    source.checkout(&tip).await.unwrap();
    assert_eq!(source.movement(&first, &tip).await.unwrap(), Movement::Advanced);
}

#[tokio::test]
async fn deleted_emptied_renamed_and_vanished_are_told_apart() {
    let world = World::new();
    world.repo.commit("a", "1");
    let (main, head) = (world.source("main"), world.source("HEAD"));
    main.resolve().await.unwrap();
    head.resolve().await.unwrap();

    world.repo.git(&["branch", "-m", "main", "trunk"]);
    match main.resolve().await.unwrap_err() {
        SourceError::RefDeleted {
            name, default_branch, ..
        } => assert_eq!(
            (name.as_str(), default_branch.as_deref()),
            ("main", Some("trunk"))
        ),
        other => panic!("{other:?}"),
    }
    let renamed = head.resolve().await.unwrap();
    assert_eq!(renamed.renamed_from.as_deref(), Some("refs/heads/main"));
    assert_eq!(renamed.branch.as_deref(), Some("refs/heads/trunk"));
    assert_eq!(
        head.resolve().await.unwrap().renamed_from,
        None,
        "it is said once"
    );

    world.repo.git(&["rm", "-q", "-r", "."]);
    world.repo.git(&["commit", "-q", "-m", "Remove all"]);
    let empty = head.resolve().await.unwrap().revision;
    assert_eq!(head.checkout(&empty).await.unwrap_err().code(), "E0405");

    world.repo.git(&["update-ref", "-d", "refs/heads/trunk"]);
    assert_eq!(head.resolve().await.unwrap_err().code(), "E0405");
    std::fs::rename(&world.repo.dir, world.root.join("srv/elsewhere")).unwrap();
    assert_eq!(head.resolve().await.unwrap_err().code(), "E0406");
    let never = GitSource::open(world.spec(&world.http.url("never"))).unwrap();
    assert_eq!(never.resolve().await.unwrap_err().code(), "E0402");
}

#[tokio::test]
async fn each_way_a_server_can_refuse_has_its_code() {
    let world = World::new();
    world.repo.commit("a", "1");
    let source = world.source("main");
    for (mood, code, kind) in [
        (Mood::Status(401), "E0407", ErrorKind::NeedsOperator),
        (Mood::Status(403), "E0407", ErrorKind::NeedsOperator),
        (Mood::Status(500), "E0414", ErrorKind::Retry),
        (Mood::Status(503), "E0414", ErrorKind::Retry),
        (Mood::Html, "E0411", ErrorKind::NeedsOperator),
        (
            Mood::Redirect("http://localhost:1/elsewhere".into()),
            "E0412",
            ErrorKind::NeedsOperator,
        ),
    ] {
        world.http.be(mood.clone());
        let error = source.resolve().await.unwrap_err();
        assert_eq!((error.code(), error.kind()), (code, kind), "{mood:?}: {error}");
    }
    match source.resolve().await.unwrap_err() {
        SourceError::RedirectRefused { to, .. } => assert_eq!(to.as_deref(), Some("localhost")),
        other => panic!("{other:?}"),
    }
    world.http.be(Mood::Git);
    source.resolve().await.unwrap();
    let closed = GitSource::open(world.spec("http://127.0.0.1:1/x")).unwrap();
    assert_eq!(closed.resolve().await.unwrap_err().code(), "E0414");
    let tls = GitSource::open(world.spec(&format!("https://{}/infra", world.http.address))).unwrap();
    assert_eq!(tls.resolve().await.unwrap_err().code(), "E0413");
}

#[tokio::test]
async fn a_redirect_on_the_same_host_is_learned_once() {
    let world = World::new();
    let first = world.repo.commit("a", "1");
    let source = GitSource::open(world.spec(&world.http.url("old"))).unwrap();
    world.http.be(Mood::Redirect("/infra/.git".to_owned()));
    assert_eq!(source.resolve().await.unwrap().revision, first);
    source.checkout(&first).await.unwrap();
    let before = source.processes();
    source.resolve().await.unwrap();
    assert_eq!(source.processes(), before + 1);
    assert_eq!(source.take_notices().len(), 1);
}

#[tokio::test]
async fn silence_ends_at_the_deadline_and_leaves_no_process() {
    let world = World::new();
    world.repo.commit("a", "1");
    world.http.be(Mood::Silence);
    let mut spec = world.spec(&world.http.url("infra/.git"));
    spec.deadline = Duration::from_millis(700);
    let source = GitSource::open(spec).unwrap();
    let started = Instant::now();
    assert_eq!(source.resolve().await.unwrap_err().code(), "E0410");
    assert!(started.elapsed() < Duration::from_secs(10));
    no_child_of(&world.http.address).await;

    // A caller that goes away takes the children along.
    let source = world.source("main");
    let _ = tokio::time::timeout(Duration::from_millis(700), source.resolve()).await;
    no_child_of(&world.http.address).await;
}

/// Waits until no process names `address` in its arguments.
async fn no_child_of(address: &str) {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let alive = std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            std::fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(address))
        });
        if !alive {
            return;
        }
        assert!(Instant::now() < until, "a git process lives on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_flood_of_refs_stops_at_the_cap() {
    let world = World::new();
    world.http.be(Mood::Flood);
    let mut spec = world.spec(&world.http.url("infra/.git"));
    spec.caps.output = 64 * 1024;
    let source = GitSource::open(spec).unwrap();
    assert_eq!(source.resolve().await.unwrap_err().code(), "E0415");
}

#[tokio::test]
async fn a_password_opens_the_door_and_is_seen_nowhere() {
    let world = World::new();
    let first = world.repo.commit("a", "1");
    // user:canary-4711
    world
        .http
        .be(Mood::Guarded("Basic dXNlcjpjYW5hcnktNDcxMQ==".into()));
    let mut spec = world.spec(&world.http.url("infra/.git"));
    spec.credentials = Credentials::Basic {
        user: "user".into(),
        password: Secret::new("canary-4711".into()),
    };
    assert!(!format!("{spec:?}").contains("canary"));
    let source = GitSource::open(spec.clone()).unwrap();
    assert_eq!(source.resolve().await.unwrap().revision, first);
    source.checkout(&first).await.unwrap();
    world.http.be(Mood::Guarded("Basic other".into()));
    let error = source.resolve().await.unwrap_err();
    assert_eq!(error.code(), "E0407");
    assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("canary"));
    let found = Command::new("grep")
        .args(["-r", "-l", "-e", "canary", "-e", "dXNlcjpjYW5hcnk"])
        .arg(world.root.join("state"))
        .output()
        .unwrap();
    assert!(
        found.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&found.stdout)
    );
}

#[tokio::test]
async fn a_damaged_mirror_is_cloned_again_and_said() {
    let world = World::new();
    let first = world.repo.commit("a", "1");
    let source = world.source("main");
    source.checkout(&first).await.unwrap();
    let packs = world.mirror().join("objects/pack");
    for entry in std::fs::read_dir(&packs).unwrap().flatten() {
        std::fs::remove_file(entry.path()).unwrap();
        std::fs::write(entry.path(), b"PACK not really").unwrap();
    }
    let source = world.source("main");
    assert_eq!(
        source
            .checkout(&first)
            .await
            .unwrap()
            .read(&path("a"))
            .unwrap()
            .bytes,
        b"1"
    );
    assert!(
        source
            .take_notices()
            .iter()
            .any(|notice| notice.contains("cloned again"))
    );

    std::fs::write(world.mirror().join("HEAD"), b"nonsense").unwrap();
    let second = world.repo.commit("a", "2");
    assert!(source.checkout(&second).await.unwrap().is_file(&path("a")));
    assert!(
        source
            .take_notices()
            .iter()
            .any(|notice| notice.contains("cloned again"))
    );

    // Damage that shows only when a file is read: that read fails, and the next checkout repairs it.
    let blob = git(&world.repo.dir, &["rev-parse", "HEAD:a"], b"");
    for entry in std::fs::read_dir(world.mirror().join("objects/pack"))
        .unwrap()
        .flatten()
    {
        let bytes = std::fs::read(entry.path()).unwrap();
        std::fs::remove_file(entry.path()).unwrap();
        if entry.path().extension().is_some_and(|end| end == "pack") {
            let objects = Command::new("git")
                .arg("--git-dir")
                .arg(world.mirror())
                .arg("unpack-objects")
                .arg("-q")
                .stdin(std::process::Stdio::piped())
                .spawn();
            let mut objects = objects.unwrap();
            std::io::Write::write_all(&mut objects.stdin.take().unwrap(), &bytes).unwrap();
            objects.wait().unwrap();
        }
    }
    let object = world.mirror().join("objects").join(&blob[..2]).join(&blob[2..]);
    std::fs::remove_file(&object).unwrap();
    std::fs::write(&object, b"garbage").unwrap();
    let broken = source.checkout(&second).await.unwrap();
    assert_eq!(broken.read(&path("a")).unwrap_err().code(), "E0418");
    assert!(source.checkout(&second).await.unwrap().is_file(&path("a")));
    assert!(
        source
            .take_notices()
            .iter()
            .any(|notice| notice.contains("cloned again"))
    );
}

#[tokio::test]
async fn a_dead_process_lock_does_not_stop_the_mirror() {
    let world = World::new();
    let first = world.repo.commit("a", "1");
    let source = world.source("main");
    source.checkout(&first).await.unwrap();
    std::fs::write(world.mirror().join("shallow.lock"), b"").unwrap();
    std::fs::write(world.mirror().join("packed-refs.lock"), b"").unwrap();
    let second = world.repo.commit("a", "2");
    std::fs::write(
        world.mirror().join(format!("refs/driftless/tips/{second}.lock")),
        b"",
    )
    .unwrap();
    source.checkout(&second).await.unwrap();
    assert!(
        source
            .take_notices()
            .iter()
            .any(|notice| notice.contains("stale lock"))
    );
}

#[tokio::test]
async fn two_processes_share_one_mirror() {
    let world = World::new();
    let first = world.repo.commit("a", "1");
    let sources: Vec<GitSource> = (0..4).map(|_| world.source("main")).collect();
    let checkouts =
        futures_util::future::join_all(sources.iter().map(|source| source.checkout(&first))).await;
    assert!(checkouts.iter().all(Result::is_ok), "{checkouts:?}");
    assert_eq!(
        sources.iter().map(GitSource::processes).sum::<u64>(),
        1,
        "the others found what the first one fetched"
    );
}

#[tokio::test]
async fn hostile_names_are_refused_for_their_own_path_only() {
    let world = World::new();
    let repo = &world.repo;
    let blob = git(&repo.dir, &["hash-object", "-w", "--stdin"], b"x");
    let raw_tree = |entries: &[(&str, &[u8], &str)]| {
        let mut tree = Vec::new();
        for (mode, name, id) in entries {
            tree.extend_from_slice(format!("{mode} ").as_bytes());
            tree.extend_from_slice(name);
            tree.push(0);
            tree.extend((0..20).map(|at| u8::from_str_radix(&id[at * 2..at * 2 + 2], 16).unwrap()));
        }
        git(
            &repo.dir,
            &["hash-object", "-w", "-t", "tree", "--literally", "--stdin"],
            &tree,
        )
    };
    let link = git(&repo.dir, &["hash-object", "-w", "--stdin"], b"../../etc/passwd");
    let root = raw_tree(&[
        ("100644", b"..", &blob),
        ("100644", b".git", &blob),
        ("100644", b"A.yaml", &blob),
        ("100644", b"a.yaml", &blob),
        ("100644", b"bad\nname", &blob),
        ("100644", b"bad\xff", &blob),
        ("120000", b"link", &link),
        ("100644", b"ok.yaml", &blob),
        ("160000", b"sub", &"1".repeat(40)),
    ]);
    let commit = git(&repo.dir, &["commit-tree", "-m", "hostile", &root], b"");
    repo.git(&["update-ref", "refs/heads/main", &commit]);

    let source = GitSource::open(world.spec(repo.dir.to_str().unwrap())).unwrap();
    let checkout = source
        .checkout(&source.resolve().await.unwrap().revision)
        .await
        .unwrap();
    let listing = checkout.list(&RepoPath::root()).unwrap();
    let names: Vec<&str> = listing.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["link", "ok.yaml", "sub"]);
    assert_eq!(listing.refused.len(), 6);
    assert!(
        listing
            .refused
            .iter()
            .all(|refused| !refused.to_string().contains('\n'))
    );
    assert!(checkout.read(&path("ok.yaml")).is_ok());
    assert!(matches!(
        checkout.read(&path("link")),
        Err(CheckoutError::LinkOutside { .. })
    ));
    assert!(matches!(
        checkout.read(&path("sub/x")),
        Err(CheckoutError::Submodule { .. })
    ));
    assert!(matches!(
        checkout.read(&path("a.yaml")),
        Err(CheckoutError::CaseClash { .. })
    ));

    // Over the network the objects are checked on receipt and the whole commit is refused; nothing is kept.
    let remote = world.source("main");
    let error = remote
        .checkout(&remote.resolve().await.unwrap().revision)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "E0418", "{error}");
}

#[tokio::test]
async fn a_local_repository_is_read_in_place() {
    let world = World::new();
    let first = world.repo.commit("apps/web/compose.yaml", "a");
    world.repo.git(&[
        "remote",
        "add",
        "origin",
        "https://oauth2:canary@github.com/acme/infra.git",
    ]);
    std::fs::write(world.repo.dir.join("apps/web/compose.yaml"), "uncommitted").unwrap();
    let below = world.repo.dir.join("apps/web");
    let source = GitSource::open(world.spec(below.to_str().unwrap())).unwrap();
    assert_eq!(
        (source.id().as_str(), source.start().as_str()),
        ("github.com/acme/infra", "apps/web")
    );
    assert_eq!(source.root_app_name().unwrap().as_str(), "infra");
    let resolved = source.resolve().await.unwrap();
    assert_eq!(
        (&resolved.revision, resolved.branch.as_deref()),
        (&first, Some("refs/heads/main"))
    );
    let checkout = source.checkout(&first).await.unwrap();
    assert_eq!(checkout.read(&path("apps/web/compose.yaml")).unwrap().bytes, b"a");
    let status = source.status_of_worktree(&path("apps")).await.unwrap();
    assert_eq!(
        status.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(),
        ["apps/web/compose.yaml"]
    );
    assert!(
        source
            .status_of_worktree(&path("other"))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(source.processes(), 0);
    assert!(!world.root.join("state").exists(), "no mirror");

    world.repo.git(&["checkout", "-q", "-f", "--detach"]);
    assert_eq!(source.resolve().await.unwrap().branch, None);
    let second = world.repo.commit("b", "2");
    assert_eq!(
        source.movement(&first, &second).await.unwrap(),
        Movement::Advanced
    );

    world
        .repo
        .git(&["worktree", "add", "-q", "../tree", "-b", "side"]);
    let tree = GitSource::open(world.spec(world.root.join("srv/tree").to_str().unwrap())).unwrap();
    assert_eq!(
        tree.resolve().await.unwrap().branch.as_deref(),
        Some("refs/heads/side")
    );
    world.repo.git(&["clone", "-q", "--bare", ".", "../bare.git"]);
    let mut bare = world.spec(&format!("file://{}", world.root.join("srv/bare.git").display()));
    bare.reference = GitRef::parse(&second.as_str()[..10]).unwrap();
    assert_eq!(
        GitSource::open(bare).unwrap().resolve().await.unwrap().revision,
        second
    );
}

#[tokio::test]
async fn a_local_repository_that_fails_says_how() {
    let world = World::new();
    let outside = tempfile::tempdir().unwrap();
    let code = |dir: &Path| {
        GitSource::open(world.spec(dir.to_str().unwrap()))
            .unwrap_err()
            .code()
    };
    assert_eq!(code(outside.path()), "E0402");
    assert_eq!(code(&outside.path().join("nope")), "E0402");
    let mut spec = world.spec(world.repo.dir.to_str().unwrap());
    let empty = GitSource::open(spec.clone()).unwrap();
    assert_eq!(empty.resolve().await.unwrap_err().code(), "E0405");
    let first = world.repo.commit("a", "1");
    spec.reference = GitRef::parse("mian").unwrap();
    let unknown = GitSource::open(spec.clone())
        .unwrap()
        .resolve()
        .await
        .unwrap_err();
    assert!(unknown.code() == "E0403" && unknown.hint().unwrap().contains("main"));
    spec.reference = GitRef::parse("main").unwrap();
    let main = GitSource::open(spec.clone()).unwrap();
    main.resolve().await.unwrap();
    world.repo.git(&["branch", "-m", "main", "trunk"]);
    assert_eq!(main.resolve().await.unwrap_err().code(), "E0404");
    spec.reference = GitRef::parse(&"1".repeat(40)).unwrap();
    assert_eq!(
        GitSource::open(spec).unwrap().resolve().await.unwrap_err().code(),
        "E0422"
    );

    // A damaged blob is an error of its path, not of the repository.
    let blob = world.repo.git(&["rev-parse", "HEAD:a"]);
    let object = world
        .repo
        .dir
        .join(".git/objects")
        .join(&blob[..2])
        .join(&blob[2..]);
    std::fs::remove_file(&object).unwrap();
    std::fs::write(&object, b"garbage").unwrap();
    assert_eq!(
        main.checkout(&first)
            .await
            .unwrap()
            .read(&path("a"))
            .unwrap_err()
            .code(),
        "E0418"
    );
    std::fs::remove_dir_all(&world.repo.dir).unwrap();
    assert_eq!(main.resolve().await.unwrap_err().code(), "E0406");
}

#[tokio::test]
async fn a_commit_wakes_the_watch_and_a_read_does_not() {
    let world = World::new();
    let first = world.repo.commit("a", "1");
    let source = GitSource::open(world.spec(world.repo.dir.to_str().unwrap())).unwrap();
    let watch = source.watch().unwrap().unwrap();
    source.resolve().await.unwrap();
    source.checkout(&first).await.unwrap().read(&path("a")).unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(400), watch.moved()).await;
    assert!(quiet.is_err(), "reading woke the watch");
    for act in [
        &["commit", "-q", "--allow-empty", "-m", "x"][..],
        &["checkout", "-q", "-b", "other"],
        &["branch", "deep/er"],
        &["reset", "-q", "--hard", "main~1"],
    ] {
        world.repo.git(act);
        tokio::time::timeout(Duration::from_secs(10), watch.moved())
            .await
            .unwrap_or_else(|_| panic!("{act:?} was missed"));
    }
}

#[tokio::test]
async fn ssh_needs_a_known_host_and_the_right_key() {
    let world = World::new();
    let first = world.repo.commit("a", "1");
    let sshd = Sshd::start();
    let known_hosts = |name: &str, line: String| {
        let file = world.root.join(name);
        std::fs::write(&file, line).unwrap();
        file
    };
    let none = known_hosts("none", String::new());
    let open = |known: &Path, file: PathBuf| {
        let mut spec = world.spec(&sshd.url(&world.repo.dir));
        spec.known_hosts = Some(known.to_owned());
        spec.credentials = Credentials::SshKey { file };
        GitSource::open(spec).unwrap()
    };
    let known = known_hosts("known", sshd.known_hosts());
    let source = open(&known, sshd.client_key());
    assert_eq!(source.resolve().await.unwrap().revision, first);
    assert!(source.checkout(&first).await.unwrap().is_file(&path("a")));
    assert_eq!(source.processes(), 2);

    assert_eq!(
        open(&known, sshd.stranger_key())
            .resolve()
            .await
            .unwrap_err()
            .code(),
        "E0407"
    );
    let unknown = open(&none, sshd.client_key()).resolve().await.unwrap_err();
    assert!(
        unknown.code() == "E0408" && unknown.hint().unwrap().contains(&sshd.port().to_string()),
        "{unknown:?}"
    );
    assert_eq!(
        std::fs::read_to_string(&none).unwrap(),
        "",
        "no key is learned by itself"
    );
    match open(&known_hosts("false", sshd.false_known_hosts()), sshd.client_key())
        .resolve()
        .await
        .unwrap_err()
    {
        SourceError::ChangedHostKey { known, offered, .. } => {
            assert!(
                known.starts_with("SHA256:") && offered.starts_with("SHA256:") && known != offered,
                "{known} {offered}"
            );
        }
        other => panic!("{other:?}"),
    }
}
