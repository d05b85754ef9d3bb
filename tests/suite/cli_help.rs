//! What the command line says without an engine: help, explanations, completion, forms, colours.

use std::process::Stdio;

use crate::support::driftless::TestEnv;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn every_help_reads_as_agreed() {
    let mut all = String::new();
    for (name, help) in driftless::cli::docs::helps() {
        all.push_str(&format!("==== {name}\n{help}\n"));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn help_of_the_binary_is_the_one_of_the_pages() {
    let env = TestEnv::new().var("COLUMNS", "80");
    for (name, help) in driftless::cli::docs::helps() {
        let arguments: Vec<&str> = if name == "driftless" {
            vec!["--help"]
        } else {
            vec![&name, "--help"]
        };
        let printed = env.run(env.home(), &arguments).success();
        assert_eq!(printed.stdout.trim(), help.trim(), "{name}");
        assert!(printed.stderr.is_empty());
    }
}

#[test]
fn an_unknown_command_is_usage_and_gets_the_nearest() {
    let env = TestEnv::new();
    let _ = env.run(env.home(), &["aply"]).code(2).complains("apply");
    let _ = env
        .run(env.home(), &["plan", "--reff", "x"])
        .code(2)
        .complains("--ref");
    let _ = env.run(env.home(), &[]).code(2).complains("Usage");
    let _ = env
        .run(env.home(), &["status", "-o", "markdwn"])
        .code(2)
        .complains("markdown");
}

#[test]
fn explain_knows_codes_exits_settings_and_words() {
    let env = TestEnv::new();
    let _ = env
        .run(env.home(), &["explain", "E0105"])
        .success()
        .says("duplicate-key");
    let _ = env
        .run(env.home(), &["explain", "7"])
        .success()
        .says("rolled back");
    let _ = env
        .run(env.home(), &["explain", "health.bake"])
        .success()
        .says("default: 10s");
    let _ = env
        .run(env.home(), &["explain", "prune"])
        .success()
        .says("never volumes");
    let _ = env
        .run(env.home(), &["explain", "exit-codes"])
        .success()
        .says("130");
    let _ = env
        .run(env.home(), &["explain", "rolback"])
        .code(2)
        .complains("did you mean `rollback`?");
    let all = env.run(env.home(), &["explain", "-o", "json"]).success().json();
    assert_eq!(all["apiVersion"], "driftless/v1");
    assert!(all["items"].as_array().is_some_and(|items| items.len() > 60));
}

#[test]
fn completion_and_manual_exist_for_what_is_there() {
    let env = TestEnv::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let _ = env
            .run(env.home(), &["completion", shell])
            .success()
            .says("rollback")
            .does_not_say("\u{1b}");
    }
    let _ = env.run(env.home(), &["man"]).success().says(".TH");
    let _ = env
        .run(env.home(), &["man", "apply"])
        .success()
        .says("rolls back what fails");
    let pages = folder();
    let path = pages.path().join("man1").display().to_string();
    let _ = env.run(env.home(), &["man", "--out", &path]).success();
    assert!(pages.path().join("man1/driftless-apply.1").is_file());
}

#[test]
fn the_schema_is_json_and_knows_the_settings() {
    let env = TestEnv::new();
    let schema = env.run(env.home(), &["schema"]).success().json();
    assert!(schema["properties"]["apps"]["additionalProperties"]["properties"]["rollback"].is_object());
}

/// Every setting of the schema is accepted in a real file, and one that is not in it is refused.
#[test]
fn schema_and_reader_know_the_same_settings() {
    let env = TestEnv::new();
    let here = folder();
    std::fs::create_dir(here.path().join("web")).expect("a folder");
    std::fs::write(
        here.path().join("web/compose.yaml"),
        "services: { api: { image: 'a:1' } }\n",
    )
    .expect("a file");
    let write = |text: &str| std::fs::write(here.path().join("driftless.yaml"), text).expect("a file");
    let full = "apps:\n  web:\n    path: web\n    target: nas\n    after: []\n    profiles: [x]\n    health: { timeout: 5m, bake: 30s, cap: 1h, http: { service: api, port: 80, path: / } }\n    rollback: notify\n    drift: report\n    prune: none\n    sync: manual\n    ignore: ['api:/x']\n    host_dir: /srv/web\n";
    write(full);
    let _ = env.run(here.path(), &["validate"]).success();
    let schema = env.run(here.path(), &["schema"]).success().json();
    let app = &schema["properties"]["apps"]["additionalProperties"]["properties"];
    // `helm` is for charts, `serviceAccount` for objects: errors beside a Compose file.
    for key in app
        .as_object()
        .expect("settings")
        .keys()
        .filter(|key| !["helm", "serviceAccount"].contains(&key.as_str()))
    {
        assert!(
            full.contains(&format!("    {key}:")),
            "`{key}` is in the schema and not in this test's file"
        );
    }
    // Some rules are for objects of a cluster, and errors beside a Compose file: an app of those has them.
    let health = app["health"]["properties"].as_object().expect("settings");
    let patience: Vec<String> = health["patience"]["properties"]
        .as_object()
        .expect("settings")
        .keys()
        .map(|key| format!("{key}: 1m"))
        .collect();
    let expression = "{ apiVersion: a/v1, kind: A, inProgress: 'false', failed: 'false', current: 'true' }";
    let rules = format!(
        "timeout: 5m, bake: 30s, cap: 1h, http: {{ service: api, port: 80, path: / }}, patience: {{ {} }}, \
         expressions: [{expression}], max_unhealthy_nodes: 1, wait_for_addresses: true",
        patience.join(", ")
    );
    for key in health.keys() {
        assert!(
            rules.contains(&format!("{key}: ")),
            "`{key}` is in the schema and not in this test's rules"
        );
    }
    std::fs::create_dir(here.path().join("map")).expect("a folder");
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\n";
    std::fs::write(here.path().join("map/app.yaml"), object).expect("a file");
    write(&format!(
        "{full}  map: {{ path: map, serviceAccount: deployer, health: {{ {rules} }} }}\n"
    ));
    let _ = env.run(here.path(), &["validate"]).success();
    write(&full.replace("    sync:", "    sinc:"));
    let _ = env
        .run(here.path(), &["validate"])
        .code(3)
        .says("sinc")
        .says("sync");
}

#[test]
fn colour_is_for_terminals_and_for_those_who_ask() {
    let env = TestEnv::new();
    let _ = env
        .run(env.home(), &["explain", "hold"])
        .success()
        .does_not_say("\u{1b}");
    let _ = env.run(env.home(), &["--help"]).success().does_not_say("\u{1b}");
    let _ = env
        .run(env.home(), &["explain", "hold", "--color", "always"])
        .success()
        .says("\u{1b}[");
    let asked = TestEnv::new().var("CLICOLOR_FORCE", "1");
    let _ = asked
        .run(asked.home(), &["explain", "hold"])
        .success()
        .says("\u{1b}[");
    let never = TestEnv::new().var("CLICOLOR_FORCE", "1").var("NO_COLOR", "1");
    let _ = never
        .run(never.home(), &["explain", "hold"])
        .success()
        .does_not_say("\u{1b}");
}

#[test]
fn a_reader_that_goes_away_is_a_quiet_end() {
    let env = TestEnv::new();
    let mut child = env
        .command(env.home(), &["explain"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("driftless starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn settings_say_where_they_come_from() {
    let env = TestEnv::new().var("DRIFTLESS_INSTANCE", "here");
    env.write_config("config.yaml", "interval: 2m\n");
    let shown = env.run(env.home(), &["config", "show", "--origin"]).success();
    let shown = shown.says("DRIFTLESS_INSTANCE").says("config.yaml:1:11");
    assert!(
        shown
            .stdout
            .lines()
            .any(|line| line.starts_with("interval") && line.contains("2m")),
        "{shown}"
    );
    env.write_config("config.yaml", "intervall: 2m\n");
    let _ = env
        .run(env.home(), &["config", "show"])
        .code(3)
        .complains("did you mean `interval`?")
        .complains("[exit 3]");
}
