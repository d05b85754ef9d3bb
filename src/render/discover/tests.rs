use std::time::Duration;

use super::*;
use crate::render::app::{HealthRules, Patience};

const COMPOSE: &str = "services: {a: {image: x}}";

fn found(files: &[&str]) -> Discovery {
    let files = files.iter().map(|path| {
        (
            *path,
            if path.contains("k8s") {
                "apiVersion: v1\nkind: Pod\n"
            } else {
                COMPOSE
            },
        )
    });
    discover(&Checkout::in_memory(files), "infra").unwrap_or_else(|found| panic!("{found}"))
}

fn names(discovery: &Discovery) -> Vec<&str> {
    discovery.apps.iter().map(|app| app.name.as_str()).collect()
}

fn declared(text: &str) -> Result<Discovery, Diagnostics> {
    discover(
        &Checkout::in_memory([
            ("driftless.yaml", text),
            ("apps/web/compose.yaml", COMPOSE),
            ("db/compose.yaml", COMPOSE),
        ]),
        "infra",
    )
}

#[test]
fn a_compose_file_in_the_root_is_the_only_app_and_named_after_the_repository() {
    assert_eq!(
        names(&found(&["compose.yaml", "apps/web/compose.yaml"])),
        ["infra"]
    );
}

#[test]
fn folders_are_apps_and_nothing_below_a_hit_is() {
    let discovery = found(&[
        "apps/web/compose.yaml",
        "apps/web/inner/compose.yaml",
        "apps/group/blog/docker-compose.yml",
        "stacks/db/compose.yml",
        "hosts/nas/media/compose.yaml",
        "hosts/pi/compose.yaml",
        ".github/compose.yaml",
        "apps/x/node_modules/y/compose.yaml",
        "other/compose.yaml",
    ]);
    assert_eq!(names(&discovery), ["blog", "db", "media", "pi", "web"]);
    assert_eq!(
        discovery.app("media").and_then(|app| app.target.as_deref()),
        Some("nas")
    );
    assert_eq!(
        discovery.app("pi").and_then(|app| app.target.as_deref()),
        Some("pi")
    );
    assert_eq!(discovery.app("web").and_then(|app| app.target.as_deref()), None);
    assert!(discovery.broken.is_empty());
}

#[test]
fn without_the_known_folders_every_folder_counts() {
    assert_eq!(
        names(&found(&["web/compose.yaml", "a/b/db/compose.yaml", "README.md"])),
        ["db", "web"]
    );
}

#[test]
fn the_preferred_name_wins() {
    let discovery = found(&["apps/a/docker-compose.yml", "apps/a/compose.yaml"]);
    assert_eq!(
        discovery.apps[0].kind,
        AppKind::Compose {
            file: "apps/a/compose.yaml".to_owned()
        }
    );
}

#[test]
fn other_kinds_are_recognised() {
    let discovery = found(&["apps/a/k8s.yaml", "apps/b/Chart.yaml", "apps/c/compose.yaml"]);
    assert_eq!(names(&discovery), ["a", "b", "c"]);
    assert_eq!(
        discovery.apps[0].kind,
        AppKind::Manifests {
            folder: "apps/a".to_owned(),
            files: vec!["apps/a/k8s.yaml".to_owned()]
        }
    );
    assert_eq!(
        discovery.apps[1].kind,
        AppKind::Chart {
            folder: "apps/b".to_owned(),
            helm: Helm::default()
        }
    );
}

#[test]
fn a_base_that_a_kustomization_builds_on_is_not_an_app() {
    let files = [
        ("apps/web/base/kustomization.yaml", "resources: [pod.yaml]"),
        ("apps/web/prod/kustomization.yaml", "resources: [../base]"),
    ];
    let discovery = discover(&Checkout::in_memory(files), "infra").unwrap_or_default();
    assert_eq!(names(&discovery), ["prod"]);
}

#[test]
fn two_apps_of_one_name_are_both_broken_and_the_others_go_on() {
    let discovery = found(&[
        "hosts/a/web/compose.yaml",
        "hosts/b/web/compose.yaml",
        "apps/db/compose.yaml",
    ]);
    assert_eq!(names(&discovery), ["db"]);
    let shown = discovery.broken[0].diagnostics.to_string();
    assert!(shown.contains("`hosts/a/web`, `hosts/b/web`"), "{shown}");
}

#[test]
fn an_empty_repository_has_no_apps_and_that_is_no_error() {
    let discovery = found(&["README.md"]);
    assert!(discovery.apps.is_empty() && discovery.broken.is_empty());
}

#[test]
fn a_driftless_yaml_lists_all_apps_and_every_rule() {
    let discovery = declared(
        "apps:
  web:
    path: apps/web
    target: nas
    after: [db]
    profiles: [prod]
    sync: manual
    health: { timeout: 5m, bake: 30s, cap: 10m, http: { service: a, port: 80, path: /healthz } }
    rollback: notify
    drift: report
    prune: none
    ignore: ['a:/labels']
    host_dir: /srv/web
  db: { path: db }
",
    )
    .unwrap_or_else(|found| panic!("{found}"));
    let app = discovery.app("web").unwrap();
    assert_eq!(app.rules.health.bake.as_secs(), 30);
    assert_eq!(app.rules.health.timeout.map(|t| t.as_secs()), Some(300));
    assert_eq!(app.rules.health.http.as_ref().map(|http| http.port), Some(80));
    assert_eq!(
        (
            app.rules.rollback,
            app.rules.drift,
            app.rules.prune,
            app.rules.sync
        ),
        (
            RollbackMode::Notify,
            DriftMode::Report,
            Prune::None,
            SyncMode::Manual
        )
    );
    assert_eq!(app.after[0].as_str(), "db");
    assert_eq!(app.declared.as_ref().map(|place| place.line), Some(2));
    assert_eq!(discovery.apps.len(), 2);
}

use crate::render::app::{DriftMode, Prune, RollbackMode, SyncMode};

#[test]
fn one_bad_entry_breaks_only_its_app() {
    for (entry, code, message) in [
        (
            "{ path: apps/web, tarket: nas }",
            "E0307",
            "unknown field `tarket`",
        ),
        ("{ path: nowhere }", "E0252", "does not exist"),
        ("{ path: apps }", "E0252", "holds nothing"),
        ("{ path: ../x }", "E0230", "outside the repository"),
        ("{ path: apps/web, rollback: yes }", "E0303", "cannot be `yes`"),
        (
            "{ path: apps/web, health: { bake: 30 } }",
            "E0303",
            "not a duration",
        ),
        (
            "{ path: apps/web, health: { http: { service: 'http://x', port: 80 } } }",
            "E0303",
            "service name",
        ),
        ("{ path: apps/web, host_dir: data }", "E0303", "absolute"),
        ("{ path: apps/web, after: [nope] }", "E0253", "does not exist"),
        ("{ path: apps/web, after: [bad] }", "E0253", "circle: bad -> bad"),
        ("{}", "E0302", "needs `path`"),
        ("5", "E0301", "must be a mapping"),
    ] {
        let discovery =
            declared(&format!("apps:\n  bad: {entry}\n  db: {{ path: db }}\n")).unwrap_or_default();
        assert_eq!(names(&discovery), ["db"], "{entry}");
        let shown: Vec<String> = discovery.broken[0]
            .diagnostics
            .iter()
            .map(|one| format!("{} {one}", one.code))
            .collect();
        assert!(
            shown
                .iter()
                .any(|one| one.starts_with(code) && one.contains(message)),
            "{entry}: {shown:?}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_never_no_apps() {
    assert!(declared("apps: [").is_err());
    assert!(declared("app: {}").is_err());
    assert!(declared("").is_err());
    assert!(declared("apps: {}").is_ok_and(|discovery| discovery.apps.is_empty()));
}

#[test]
fn several_overlays_of_one_base_are_not_guessed() {
    let files = [
        ("apps/web/base/kustomization.yaml", "resources: [pod.yaml]"),
        ("apps/web/prod/kustomization.yaml", "resources: [../base]"),
        ("apps/web/staging/kustomization.yaml", "resources: [../base]"),
        (
            "apps/db/kustomization.yaml",
            "resources: [pod.yaml]\ncomponents: [../../parts/tls]",
        ),
        ("parts/tls/kustomization.yaml", "kind: Component"),
    ];
    let discovery = discover(&Checkout::in_memory(files), "infra").unwrap_or_default();
    assert_eq!(names(&discovery), ["db"]);
    let broken: Vec<&str> = discovery.broken.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(broken, ["apps/web/prod", "apps/web/staging"]);
    let shown = discovery.broken[0].diagnostics.to_string();
    assert!(
        shown.contains("builds on `apps/web/base`, and so does `apps/web/staging`"),
        "{shown}"
    );
}

#[test]
fn an_app_of_manifests_has_the_files_below_it_but_not_those_of_other_kinds() {
    let manifest = "kind: Pod\napiVersion: v1\n";
    let discovery = discover(
        &Checkout::in_memory([
            ("apps/a/pod.yaml", manifest),
            ("apps/a/.hidden.yaml", manifest),
            ("apps/a/README.md", "x"),
            ("apps/a/crds/one.yml", manifest),
            ("apps/a/crds/two.json", "{}"),
            ("apps/a/chart/Chart.yaml", "name: x"),
            ("apps/a/chart/templates/x.yaml", manifest),
            ("apps/lib/Chart.yaml", "type: library"),
            ("apps/lib/templates/x.yaml", manifest),
            ("apps/j/x.json", "{\"apiVersion\": \"v1\",\n \"kind\": \"Pod\"}"),
        ]),
        "infra",
    )
    .unwrap_or_default();
    assert_eq!(names(&discovery), ["a", "j"]);
    let AppKind::Manifests { files, .. } = &discovery.apps[0].kind else {
        panic!("{:?}", discovery.apps[0].kind)
    };
    assert_eq!(
        files,
        &["apps/a/crds/one.yml", "apps/a/crds/two.json", "apps/a/pod.yaml"]
    );
}

#[test]
fn values_files_of_a_chart_are_files_of_the_commit() {
    let chart = |helm: &str| {
        discover(
            &Checkout::in_memory([
                (
                    "driftless.yaml",
                    format!("apps:\n  web: {{ path: charts/web, helm: {helm} }}\n").as_str(),
                ),
                ("charts/web/Chart.yaml", "name: web"),
                ("env/prod.yaml", "a: 1"),
            ]),
            "infra",
        )
        .unwrap_or_else(|found| panic!("{found}"))
    };
    let fine = chart("{ values: [../../env/prod.yaml], release: blue }");
    assert_eq!(
        fine.app("web").map(|app| app.kind.clone()),
        Some(AppKind::Chart {
            folder: "charts/web".to_owned(),
            helm: Helm {
                values: vec!["env/prod.yaml".to_owned()],
                release: Some("blue".to_owned())
            }
        })
    );
    for (helm, message) in [
        (
            "{ values: [prod.yaml] }",
            "`charts/web/prod.yaml` is not in the commit",
        ),
        ("{ values: [../../../prod.yaml] }", "outside the repository"),
        ("{ release: My_App }", "is not a name of a Helm release"),
        ("{ set: { a: 1 } }", "unknown field `set`"),
    ] {
        let shown = chart(helm).broken[0].diagnostics.to_string();
        assert!(shown.contains(message), "{helm}: {shown}");
    }
}

#[test]
fn health_rules_for_clusters_are_read_and_checked() {
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\n";
    let widget = "{ apiVersion: example.com/v1, kind: Widget, current: \"status.phase == 'Up'\" }";
    let one = |rules: &str| {
        let file = format!("apps:\n  web: {{ path: web, health: {{ {rules} }} }}\n");
        let files = [("driftless.yaml", file.as_str()), ("web/app.yaml", object)];
        let found = discover(&Checkout::in_memory(files), "infra").unwrap_or_else(|found| panic!("{found}"));
        match (found.apps.first(), found.broken.first()) {
            (Some(app), None) => Ok(app.rules.health.clone()),
            (_, Some(broken)) => Err(broken.diagnostics.to_string()),
            (None, None) => Err(String::new()),
        }
    };
    let rules = one(&format!(
        "expressions: [{widget}], patience: {{ crash: 2m, probe: 90s }}, max_unhealthy_nodes: 2, wait_for_addresses: true"
    ))
    .expect("it is right");
    assert_eq!(rules.expressions[0].group(), "example.com");
    assert_eq!(
        rules.patience,
        [
            (Patience::Crash, Duration::from_secs(120)),
            (Patience::Probe, Duration::from_secs(90))
        ]
        .into()
    );
    assert_eq!((rules.max_unhealthy_nodes, rules.wait_for_addresses), (2, true));
    // What an earlier version stored reads as it was meant.
    let stored: HealthRules =
        serde_json::from_str(r#"{"bake":{"secs":10,"nanos":0},"cap":{"secs":1800,"nanos":0}}"#)
            .expect("an old record");
    assert_eq!(stored, HealthRules::default());
    for (rules, told) in [
        (
            format!("expressions: [{widget}, {widget}]"),
            "a second expression for the kind Widget",
        ),
        (
            "expressions: [{ apiVersion: a/v1, kind: Widget }]".to_owned(),
            "needs `current`",
        ),
        (
            widget
                .replace("phase ==", "phase = =")
                .replace("{ api", "expressions: [{ api")
                + "]",
            "driftless.yaml:2:",
        ),
        ("patience: { crash: soon }".to_owned(), "is not a duration"),
        ("patience: { crashes: 1m }".to_owned(), "unknown field `crashes`"),
        ("max_unhealthy_nodes: -1".to_owned(), "must be between"),
    ] {
        let said = one(&rules).expect_err(&rules);
        assert!(said.contains(told), "{rules}: {said}");
    }
    // Containers have none of it.
    let found = declared("apps:\n  web: { path: apps/web, health: { patience: { crash: 1m } } }\n")
        .unwrap_or_else(|found| panic!("{found}"));
    let said = found.broken[0].diagnostics.to_string();
    assert!(said.contains("`patience` is for objects of a cluster"), "{said}");
}
