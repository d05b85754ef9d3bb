//! Manifests, kustomizations and charts, against `kubectl`, `kustomize` and `helm` themselves; and what a hostile repository
//! tries to make of the renderers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use driftless::expand::{Chart, Cut, ExpandError, Expander, Limits, Rendered};
use driftless::render::manifests;
use driftless::source::{Checkout, RepoPath};

use crate::support::cluster::Cluster;

/// A `PATH` with the suite's tools first.
fn path() -> String {
    let tools = Cluster::tool("kustomize");
    format!("{}:/usr/bin:/bin", tools.parent().expect("a folder").display())
}

struct Room {
    folder: tempfile::TempDir,
}

impl Room {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn expander(&self) -> Expander {
        Expander::new(path(), self.folder.path().join("cache"))
    }

    /// The same files on disk, for the tool itself.
    fn write(&self, files: &[(&str, &str)]) -> PathBuf {
        let root = self.folder.path().join("plain");
        for (path, text) in files {
            let file = root.join(path);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            std::fs::write(file, text).expect("a file");
        }
        root
    }

    fn rooms(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("cache"))
            .map(|entries| {
                entries
                    .flatten()
                    .filter(|entry| entry.file_name().to_string_lossy().starts_with("room-"))
                    .count()
            })
            .unwrap_or_default()
    }
}

fn at(path: &str) -> RepoPath {
    RepoPath::parse(path).expect("a path")
}

fn output(program: &str, dir: &Path, args: &[&str]) -> Vec<u8> {
    let output = Command::new(Cluster::tool(program))
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", path())
        .env("HOME", dir)
        .stdin(Stdio::null())
        .output()
        .expect("the tool runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn chart(folder: &str, values: &[&str]) -> Chart {
    Chart {
        folder: at(folder),
        values: values.iter().map(|file| at(file)).collect(),
        release: "blue".to_owned(),
        namespace: "shop".to_owned(),
        kube_version: None,
        api_versions: Vec::new(),
    }
}

fn shown(result: Result<Rendered, ExpandError>) -> String {
    match result {
        Ok(rendered) => panic!("rendered: {}", String::from_utf8_lossy(&rendered.output)),
        Err(error) => error
            .diagnostics("app")
            .iter()
            .map(|one| {
                format!(
                    "{} {one} {} {}",
                    one.code,
                    one.label.as_deref().unwrap_or_default(),
                    one.help.as_deref().unwrap_or_default()
                )
            })
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers:
      - name: web
        image: web:1
";

const OVERLAY: &[(&str, &str)] = &[
    ("k8s/base/kustomization.yaml", "resources: [web.yaml]\n"),
    ("k8s/base/web.yaml", DEPLOYMENT),
    (
        "k8s/prod/kustomization.yaml",
        "resources: [../base]\nnamePrefix: prod-\nimages: [{name: web, newTag: '7'}]\ncomponents: [../../parts/tls]\nconfigMapGenerator:\n- name: settings\n  files: [app.conf]\n  literals: ['on=yes', 'date=2001-12-14']\n",
    ),
    ("k8s/prod/app.conf", "listen = 80\n"),
    (
        "parts/tls/kustomization.yaml",
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [secret.yaml]\n",
    ),
    (
        "parts/tls/secret.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: tls}\nstringData: {key: canary}\n",
    ),
    ("unrelated/huge.txt", "x"),
];

#[tokio::test]
async fn a_kustomization_is_rendered_as_kustomize_renders_it_and_every_object_has_its_place() {
    let room = Room::new();
    let plain = room.write(OVERLAY);
    let checkout = Checkout::in_memory(OVERLAY.iter().copied());
    let rendered = room
        .expander()
        .kustomize(&checkout, &at("k8s/prod"))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        String::from_utf8_lossy(&rendered.output),
        String::from_utf8_lossy(&output("kustomize", &plain, &["build", "k8s/prod"]))
    );
    assert!(
        rendered.renderer.starts_with("kustomize v5."),
        "{}",
        rendered.renderer
    );
    assert!(!rendered.sources.contains(&at("unrelated/huge.txt")));
    assert_eq!(room.rooms(), 0, "the copy is removed");

    let read =
        manifests::expanded(&checkout, &rendered, Some("shop")).unwrap_or_else(|found| panic!("{found}"));
    let places: Vec<String> = read
        .bundle
        .objects
        .iter()
        .map(|object| format!("{} {}", object.key.kind, object.place.as_ref().expect("a place")))
        .collect();
    assert_eq!(
        places,
        [
            "ConfigMap k8s/prod/kustomization.yaml:6:3",
            "Secret parts/tls/secret.yaml:1:1",
            "Deployment k8s/base/web.yaml:1:1",
        ]
    );
    let deployment = &read.bundle.objects[2];
    let field = |pointer: &str| {
        read.places
            .field(&deployment.key, pointer)
            .map(ToString::to_string)
    };
    assert_eq!(field("/spec/replicas").as_deref(), Some("k8s/base/web.yaml:6:13"));
    // The kustomization sets the image: the line of the base would be wrong.
    assert_eq!(
        field("/spec/template/spec/containers/0/image").as_deref(),
        Some("k8s/base/web.yaml:12:9")
    );
    let map = &read.bundle.objects[0].value["data"];
    assert_eq!((&map["on"], &map["date"]), (&"yes".into(), &"2001-12-14".into()));
    assert!(!read.mask.clean("a canary").contains("canary"));
}

const CHART: &[(&str, &str)] = &[
    (
        "charts/web/Chart.yaml",
        "apiVersion: v2\nname: shop-web\nversion: 1.0.0\n",
    ),
    ("charts/web/values.yaml", "replicas: 1\nflag: 'yes'\n"),
    (
        "charts/web/templates/web.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ .Release.Name }}\n  namespace: {{ .Release.Namespace }}\nspec:\n  replicas: {{ .Values.replicas }}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  flag: {{ .Values.flag | quote }}\n  found: {{ lookup \"v1\" \"Namespace\" \"\" \"default\" | toJson | quote }}\n",
    ),
    (
        "charts/web/templates/test.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: test\n  annotations: {helm.sh/hook: test}\n",
    ),
    (
        "charts/web/templates/migrate.yaml",
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: migrate\n  annotations: {helm.sh/hook: 'pre-install,pre-upgrade', helm.sh/hook-weight: '3'}\n",
    ),
    (
        "charts/web/crds/thing.yaml",
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\n",
    ),
    ("env/prod.yaml", "replicas: 5\n"),
];

#[tokio::test]
async fn a_chart_is_rendered_as_helm_renders_it_and_every_object_has_its_template() {
    let room = Room::new();
    let plain = room.write(CHART);
    let checkout = Checkout::in_memory(CHART.iter().copied());
    let rendered = room
        .expander()
        .helm(&checkout, &chart("charts/web", &["env/prod.yaml"]))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let args = [
        "template",
        "blue",
        "charts/web",
        "--namespace",
        "shop",
        "--include-crds",
        "-f",
        "env/prod.yaml",
    ];
    assert_eq!(
        String::from_utf8_lossy(&rendered.output),
        String::from_utf8_lossy(&output("helm", &plain, &args))
    );
    let read =
        manifests::expanded(&checkout, &rendered, Some("shop")).unwrap_or_else(|found| panic!("{found}"));
    let objects: Vec<String> = read
        .bundle
        .objects
        .iter()
        .map(|object| {
            format!(
                "{} {:?} {} {}",
                object.key,
                object.hook,
                object.wave,
                object.place.as_ref().expect("a place")
            )
        })
        .collect();
    assert_eq!(
        objects,
        [
            "ConfigMap/blue None 0 charts/web/templates/web.yaml:10:1",
            "CustomResourceDefinition/things.example.com None 0 charts/web/crds/thing.yaml:2:1",
            "Deployment/shop/blue None 0 charts/web/templates/web.yaml:2:1",
            "Job/migrate Some(Pre) 3 charts/web/templates/migrate.yaml:2:1",
        ]
    );
    assert_eq!(read.bundle.objects[2].value["spec"]["replicas"], 5);
    assert_eq!(read.bundle.objects[0].value["data"]["found"], "{}");
    assert!(
        read.warnings.to_string().contains("Pod/test is left out"),
        "{}",
        read.warnings
    );
}

#[tokio::test]
async fn the_same_inputs_are_rendered_once_and_another_file_of_the_repository_is_no_input() {
    let room = Room::new();
    let expander = room.expander();
    let checkout = Checkout::in_memory(OVERLAY.iter().copied());
    let first = expander
        .kustomize(&checkout, &at("k8s/base"))
        .await
        .expect("rendered");
    let entries = || {
        std::fs::read_dir(room.folder.path().join("cache"))
            .expect("the cache")
            .count()
    };
    assert_eq!(entries(), 1);
    let mut other: Vec<(&str, &str)> = OVERLAY.to_vec();
    other.push(("README.md", "changed"));
    let again = expander
        .kustomize(&Checkout::in_memory(other.iter().copied()), &at("k8s/base"))
        .await
        .expect("rendered");
    assert_eq!((first, entries()), (again, 1));
    let more = DEPLOYMENT.replace("web:1", "web:2");
    other.push(("k8s/base/web.yaml", &more));
    expander
        .kustomize(&Checkout::in_memory(other), &at("k8s/base"))
        .await
        .expect("rendered");
    assert_eq!(entries(), 2);
}

#[tokio::test]
async fn what_holds_secrets_is_rendered_once_and_not_written_down() {
    let room = Room::new();
    let bin = room.folder.path().join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    for (name, program) in [
        ("sh", PathBuf::from("/bin/sh")),
        ("real", Cluster::tool("kustomize")),
    ] {
        std::os::unix::fs::symlink(program, bin.join(name)).expect("a link");
    }
    let runs = room.folder.path().join("runs");
    std::fs::write(
        bin.join("kustomize"),
        format!("#!/bin/sh\necho \"$1\" >> {}\nexec real \"$@\"\n", runs.display()),
    )
    .expect("a file");
    std::fs::set_permissions(
        bin.join("kustomize"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("mode");
    let expander = Expander::new(&bin, room.folder.path().join("cache"));
    let checkout = Checkout::in_memory(OVERLAY.iter().copied());
    let first = expander
        .kustomize(&checkout, &at("k8s/prod"))
        .await
        .expect("rendered");
    let again = expander
        .kustomize(&checkout, &at("k8s/prod"))
        .await
        .expect("rendered");
    assert_eq!(first, again);
    assert!(String::from_utf8_lossy(&first.output).contains("canary"));
    assert_eq!(std::fs::read_to_string(&runs).expect("runs"), "version\nbuild\n");
    let left = std::fs::read_dir(room.folder.path().join("cache"))
        .expect("the cache")
        .count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn kubectl_renders_where_kustomize_is_missing_and_a_missing_tool_is_named() {
    let room = Room::new();
    let only = room.folder.path().join("bin");
    std::fs::create_dir(&only).expect("a folder");
    let checkout = Checkout::in_memory(OVERLAY.iter().copied());
    for name in ["sh", "unshare"] {
        std::os::unix::fs::symlink(Path::new("/usr/bin").join(name), only.join(name)).expect("a link");
    }
    let expander = Expander::new(&only, room.folder.path().join("cache"));
    let error = expander.kustomize(&checkout, &at("k8s/prod")).await;
    let text = shown(error);
    assert!(
        text.contains("E0820") && text.contains("kustomize is not installed") && text.contains("install"),
        "{text}"
    );
    let text = shown(
        expander
            .helm(
                &Checkout::in_memory(CHART.iter().copied()),
                &chart("charts/web", &[]),
            )
            .await,
    );
    assert!(text.contains("helm is not installed"), "{text}");
    std::os::unix::fs::symlink(Cluster::tool("kubectl"), only.join("kubectl")).expect("a link");
    let rendered = expander
        .kustomize(&checkout, &at("k8s/prod"))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(rendered.renderer.ends_with("(kubectl)"), "{}", rendered.renderer);
}

#[tokio::test]
async fn what_leads_out_of_the_commit_or_runs_a_program_is_refused() {
    let room = Room::new();
    let expander = room.expander();
    for (kustomization, code, message) in [
        (
            "resources: [../../../etc/passwd]",
            "E0230",
            "k8s/kustomization.yaml:1:13: path outside the repository",
        ),
        ("resources: [/etc/passwd]", "E0230", "path outside the repository"),
        (
            "resources: ['https://example.com/x.yaml']",
            "E0822",
            "k8s/kustomization.yaml:1:13",
        ),
        (
            "resources: ['git::https://example.com/x']",
            "E0822",
            "refers to the network",
        ),
        (
            "resources: ['github.com/acme/x?ref=main']",
            "E0822",
            "refers to the network",
        ),
        (
            "bases: ['git@github.com:acme/x']",
            "E0822",
            "refers to the network",
        ),
        ("helmCharts: [{name: x}]", "E0823", "`helmCharts`"),
        ("generators: [exec.yaml]", "E0823", "k8s/kustomization.yaml"),
        (
            "configMapGenerator: [{name: x, files: [../../../etc/passwd]}]",
            "E0593",
            "kustomize:",
        ),
        (
            "resources: [nope.yaml]",
            "E0593",
            "k8s/kustomization.yaml:1:13: kustomize: accumulating",
        ),
        (
            "resorces: [web.yaml]",
            "E0593",
            "k8s/kustomization.yaml:1:1: kustomize: invalid Kustomization",
        ),
        ("resources: [", "E0101", "k8s/kustomization.yaml"),
    ] {
        let files = [
            ("k8s/kustomization.yaml", kustomization),
            ("k8s/web.yaml", DEPLOYMENT),
            (
                "k8s/exec.yaml",
                "apiVersion: x.y/v1\nkind: Run\nmetadata:\n  name: g\n  annotations:\n    config.kubernetes.io/function: |\n      exec: {path: ./run.sh}\n",
            ),
            ("k8s/run.sh", "#!/bin/sh\ntouch /tmp/driftless-escaped\n"),
        ];
        let text = shown(expander.kustomize(&Checkout::in_memory(files), &at("k8s")).await);
        assert!(
            text.contains(code) && text.contains(message),
            "{kustomization}\n{text}"
        );
        assert!(!text.contains("room-"), "the copy's folder is not shown: {text}");
    }
    assert!(!Path::new("/tmp/driftless-escaped").exists());
    let linked = Checkout::in_memory_with_links(
        [("k8s/kustomization.yaml", "resources: [x.yaml]")],
        [("k8s/x.yaml", "../../etc/passwd")],
    );
    let text = shown(expander.kustomize(&linked, &at("k8s")).await);
    assert!(text.contains("link outside the repository"), "{text}");
    assert_eq!(room.rooms(), 0);
}

#[tokio::test]
async fn a_link_inside_the_repository_is_followed() {
    let room = Room::new();
    let checkout = Checkout::in_memory_with_links(
        [
            ("k8s/kustomization.yaml", "resources: [x.yaml, more]"),
            ("shared/web.yaml", DEPLOYMENT),
            ("parts/more/kustomization.yaml", "configMapGenerator: [{name: x}]"),
        ],
        [
            ("k8s/x.yaml", "../shared/web.yaml"),
            ("k8s/more", "../parts/more"),
            ("k8s/round", "."),
        ],
    );
    let rendered = room
        .expander()
        .kustomize(&checkout, &at("k8s"))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let text = String::from_utf8_lossy(&rendered.output).into_owned();
    assert!(
        text.contains("name: web") && text.contains("kind: ConfigMap"),
        "{text}"
    );
}

#[tokio::test]
async fn mistakes_of_a_chart_name_the_file_and_the_line() {
    let room = Room::new();
    let expander = room.expander();
    for (file, content, code, message) in [
        (
            "charts/web/templates/web.yaml",
            "a: 1\nb: {{ .Values.x.y }}\n",
            "E0593",
            "charts/web/templates/web.yaml:2:14: helm: template: shop-web",
        ),
        (
            "charts/web/templates/web.yaml",
            "a: 1\nb: {{ if }}\n",
            "E0593",
            "charts/web/templates/web.yaml:2: helm: parse error",
        ),
        (
            "charts/web/templates/web.yaml",
            "a: 1\n b: [\n",
            "E0593",
            "charts/web/templates/web.yaml: helm: YAML parse error",
        ),
        (
            "charts/web/templates/web.yaml",
            "{{ fail \"no such thing\" }}",
            "E0593",
            "charts/web/templates/web.yaml:1:4: helm: execution error",
        ),
        ("env/prod.yaml", "a: 1\n b: [\n", "E0101", "env/prod.yaml:2"),
        (
            "charts/web/Chart.yaml",
            "apiVersion: v2\nname: shop-web\nversion: 1.0.0\ndependencies:\n- name: redis\n  version: 1.0.0\n  repository: https://example.com\n",
            "E0822",
            "charts/web/Chart.yaml:5:3: the chart's dependency `redis` is not in",
        ),
    ] {
        let mut files: Vec<(&str, &str)> = CHART.to_vec();
        files.retain(|(path, _)| *path != file);
        files.push((file, content));
        let checkout = Checkout::in_memory(files);
        let text = shown(
            expander
                .helm(&checkout, &chart("charts/web", &["env/prod.yaml"]))
                .await,
        );
        assert!(text.contains(code) && text.contains(message), "{content}\n{text}");
    }
}

#[tokio::test]
async fn a_renderer_that_takes_too_long_or_says_too_much_is_ended() {
    let room = Room::new();
    let bin = room.folder.path().join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    for name in ["sh", "unshare", "sleep", "yes"] {
        std::os::unix::fs::symlink(Path::new("/usr/bin").join(name), bin.join(name)).expect("a link");
    }
    let script = |text: &str| {
        let file = bin.join("kustomize");
        std::fs::write(
            &file,
            format!("#!/bin/sh\n[ \"$1\" = version ] && echo v0 && exit\n{text}\n"),
        )
        .expect("a file");
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    };
    let checkout = Checkout::in_memory(OVERLAY.iter().copied());
    let limits = Limits {
        deadline: Duration::from_secs(1),
        output: 1 << 20,
        ..Limits::default()
    };
    let expander = || Expander::new(&bin, room.folder.path().join("cache")).with_limits(limits);
    let start = Instant::now();
    script("sleep 600 & wait");
    let text = shown(expander().kustomize(&checkout, &at("k8s/prod")).await);
    assert!(
        text.contains("E0824") && text.contains("not done after 1 s"),
        "{text}"
    );
    script("yes");
    let text = shown(expander().kustomize(&checkout, &at("k8s/prod")).await);
    assert!(
        text.contains("E0824") && text.contains("printed more than 1 MiB"),
        "{text}"
    );
    assert!(start.elapsed() < Duration::from_secs(60));
    // What the child sees: nothing of this process, its homes in the room, no network where the machine can cut it, limits.
    script(
        "{ set; echo limits $(ulimit -t) $(ulimit -v); while read line; do echo \"net $line\"; done < /proc/net/dev; } >&2; exit 1",
    );
    let error = expander().kustomize(&checkout, &at("k8s/prod")).await;
    let text = match error {
        Err(ExpandError::Findings(found)) => found.render(false, 400),
        other => panic!("{other:?}"),
    };
    assert!(text.contains("HOME='/home'") && !text.contains("CARGO"), "{text}");
    assert!(text.contains("limits 1 4194304"), "{text}");
    if expander().tools().cut().await != Cut::Not {
        let interfaces = text
            .lines()
            .filter(|line| line.contains("net ") && line.contains(": "))
            .count();
        assert!(
            text.contains("net lo:") && interfaces == 1,
            "only the loopback: {text}"
        );
    }
    let small = Limits { count: 2, ..limits };
    let text = shown(
        Expander::new(path(), room.folder.path().join("cache"))
            .with_limits(small)
            .kustomize(&checkout, &at("k8s/prod"))
            .await,
    );
    assert!(text.contains("E0824") && text.contains("or 2 files"), "{text}");
    assert_eq!(room.rooms(), 0);
}

#[test]
fn plain_manifests_are_read_as_kubectl_reads_them() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, annotations: {a: b}}\nspec:\n  a: [yes, No, on, OFF, y, N, 'yes', true, True, tRue]\n  b: [0644, 08, 0o644, 1_000, 0x1F, 0b11, 1:30, 1.0, 1e3, .5, -0, +1, 123456789012345678]\n  c: [2001-12-14, 2001-12-14t21:59:43.10-05:00, ~, null, Null, '', .inf.x]\n  n: key\n  anchors: &a {x: 1}\n  merged: {<<: *a, z: 2}\n  block: |\n    yes\n    0644\n  folded: >-\n    a\n    b\n";
    let room = Room::new();
    let plain = room.write(&[("x.yaml", text)]);
    let theirs = output(
        "kubectl",
        &plain,
        &[
            "annotate",
            "--local",
            "-o",
            "json",
            "-f",
            "x.yaml",
            "a=b",
            "--overwrite",
        ],
    );
    let theirs: serde_json::Value = serde_json::from_slice(&theirs).expect("JSON");
    let read = manifests::read([("x.yaml", text.as_bytes())], None).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(read.bundle.objects[0].value["spec"], theirs["spec"]);
}
