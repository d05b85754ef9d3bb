//! Laws of the operator's settings.

use super::*;
use crate::document::Diagnostics;

const FILE: &str = "/home/ada/.config/driftless/config.yaml";

const WHOLE: &str = "\
instance: nas
state: data
interval: 30s
sources:
  - name: infra
    url: https://git.example.com/acme/infra.git
    ref: main
    interval: 5m
    auth: { username: deploy, token_file: token }
    targets: [nas]
targets:
  nas: { docker: unix:///var/run/docker.sock }
allow:
  proxy: [host-network, engine-socket]
";

struct World {
    files: BTreeMap<PathBuf, Result<String, io::ErrorKind>>,
    environment: BTreeMap<String, String>,
    flags: Flags,
}

impl World {
    fn new(file: &str) -> Self {
        Self {
            files: BTreeMap::from([(PathBuf::from(FILE), Ok(file.to_owned()))]),
            environment: BTreeMap::from([("HOME".to_owned(), "/home/ada".to_owned())]),
            flags: Flags::default(),
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn load(&self) -> Result<(Settings, Diagnostics), Diagnostics> {
        Settings::load(&Inputs {
            environment: &self.environment,
            flags: &self.flags,
            working_dir: Path::new("/base"),
            host_name: Some("laptop.lan"),
            read: &|path| match self.files.get(path) {
                Some(Ok(text)) => Ok(text.clone().into_bytes()),
                Some(Err(kind)) => Err((*kind).into()),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        })
    }

    fn settings(&self) -> Settings {
        match self.load() {
            Ok((settings, warnings)) if warnings.is_empty() => settings,
            Ok((_, warnings)) => panic!("{}", warnings.render(false, 100)),
            Err(found) => panic!("{}", found.render(false, 100)),
        }
    }

    /// `code place: message` of each finding.
    fn findings(&self) -> Vec<String> {
        let found = match self.load() {
            Ok((_, warnings)) => warnings,
            Err(found) => found,
        };
        found.iter().map(|one| format!("{} {one}", one.code)).collect()
    }
}

fn app(name: &str) -> AppName {
    name.try_into().expect("app name")
}

#[test]
fn nothing_at_all_gives_the_defaults() {
    let mut world = World::new("");
    world.files.clear();
    let settings = world.settings();
    assert_eq!(settings.file, None);
    assert_eq!(settings.instance.value.as_str(), "laptop.lan");
    assert_eq!(
        settings.state.value,
        Path::new("/home/ada/.local/state/driftless")
    );
    assert_eq!(
        settings.vars_file(&app("web")),
        Path::new("/home/ada/.config/driftless/vars/web.env")
    );
    assert_eq!(
        settings.secrets_dir(&app("web")),
        Path::new("/home/ada/.config/driftless/secrets/web")
    );
    assert!(settings.sources.is_empty() && settings.targets.is_empty());
    assert!(settings.show().iter().all(|row| row.origin == "default"));
    let world = world
        .with("XDG_STATE_HOME", "/s")
        .with("XDG_CONFIG_HOME", "/c")
        .with("DRIFTLESS_INSTANCE", "");
    assert_eq!(world.settings().state.value, Path::new("/s/driftless"));
    assert_eq!(world.settings().vars.value, Path::new("/c/driftless/vars"));
}

#[test]
fn the_whole_file_is_read() {
    let settings = World::new(WHOLE).settings();
    assert_eq!(settings.file.as_deref(), Some(Path::new(FILE)));
    assert_eq!(
        settings.state.value,
        Path::new("/home/ada/.config/driftless/data"),
        "relative to the file"
    );
    let source = &settings.sources[0];
    assert_eq!(source.name.as_deref(), Some("infra"));
    assert_eq!(settings.interval_of(source), Duration::from_secs(300));
    assert_eq!(source.targets, ["nas"]);
    let token = SecretFrom::File("/home/ada/.config/driftless/token".into());
    assert_eq!(source.auth.token, Some(token));
    assert_eq!(settings.endpoint("nas"), "unix:///var/run/docker.sock");
    assert_eq!(settings.endpoint("default"), "default");
    assert_eq!(settings.allowed(&app("proxy")), ["host-network", "engine-socket"]);
    assert!(settings.allowed(&app("web")).is_empty());
}

#[test]
fn flag_beats_environment_beats_file_beats_default_and_each_value_knows_its_origin() {
    let mut world = World::new("interval: 30s\ninstance: nas\nlog_format: json\n")
        .with("DRIFTLESS_INTERVAL", "20s")
        .with("DRIFTLESS_INSTANCE", "env");
    world.flags.interval = Some("10s".to_owned());
    let settings = world.settings();
    assert_eq!(
        (settings.interval.value, &settings.interval.origin),
        (Duration::from_secs(10), &Origin::Flag("--interval"))
    );
    assert_eq!(settings.instance.value.as_str(), "env");
    assert_eq!(
        settings.instance.origin,
        Origin::Environment("DRIFTLESS_INSTANCE")
    );
    assert_eq!(settings.log_format.value, LogFormat::Json);
    assert_eq!(settings.log_format.origin.to_string(), format!("{FILE}:3:13"));
    assert_eq!(settings.vars.origin, Origin::Default);
}

#[test]
fn an_unknown_setting_is_an_error_with_its_place_and_the_nearest_one() {
    let found = World::new("instanse: nas\nsources:\n  - url: https://h/r\n    reff: main\n")
        .load()
        .expect_err("unknown");
    let text = found.render(false, 100);
    assert!(
        text.contains(&format!("{FILE}:1:1")) && text.contains("did you mean `instance`?"),
        "{text}"
    );
    assert!(
        text.contains(&format!("{FILE}:4:5")) && text.contains("did you mean `ref`?"),
        "{text}"
    );
    assert!(text.contains("E0307"), "{text}");
}

#[test]
fn every_unusable_value_is_named_with_its_place() {
    let cases = [
        (
            "interval: 30\n",
            "E0310 /home/ada/.config/driftless/config.yaml:1:11: this is no duration",
        ),
        (
            "interval: 10ms\n",
            "E0310 /home/ada/.config/driftless/config.yaml:1:11: an interval is a second at least",
        ),
        (
            "log_format: xml\n",
            "E0303 /home/ada/.config/driftless/config.yaml:1:13: `xml` is no log format",
        ),
        (
            "sources: infra\n",
            "E0301 /home/ada/.config/driftless/config.yaml:1:10: `sources` of `config.yaml` must be a list",
        ),
        (
            "sources:\n  - ref: main\n",
            "E0302 /home/ada/.config/driftless/config.yaml:2:5: source 1 needs `url`",
        ),
        (
            "targets:\n  nas: {}\n",
            "E0302 /home/ada/.config/driftless/config.yaml:2:8: target `nas` needs `docker`",
        ),
        (
            "allow:\n  web: [root]\n",
            "E0303 /home/ada/.config/driftless/config.yaml:2:9: `root` is nothing that can be allowed",
        ),
        (
            "- a\n",
            "E0301 /home/ada/.config/driftless/config.yaml:1:1: `config.yaml` must be a mapping",
        ),
        (
            "a: 1\n---\nb: 1\n",
            "E0310 /home/ada/.config/driftless/config.yaml:3:1: a second document",
        ),
    ];
    for (file, expected) in cases {
        let found = World::new(file).findings();
        assert!(found.contains(&expected.to_owned()), "{file:?}: {found:?}");
    }
    let found = World::new("instance: -x\n").findings();
    assert!(
        found[0].starts_with("E0310 /home/ada/.config/driftless/config.yaml:1:11: instance name"),
        "{found:?}"
    );
}

#[test]
fn a_source_names_only_declared_targets_and_is_declared_once() {
    let file = "targets: { nas: { docker: default } }\nsources:\n  - { url: https://h/r, targets: [nsa] }\n  - { url: https://h/r }\n";
    let found = World::new(file)
        .load()
        .expect_err("undeclared")
        .render(false, 100);
    assert!(
        found.contains("no target `nsa` is declared") && found.contains("did you mean `nas`?"),
        "{found}"
    );
    assert!(found.contains("this source is declared twice"), "{found}");
}

#[test]
fn a_secret_in_the_file_is_refused_and_never_shown() {
    const CANARY: &str = "canary-9d1b7c44";
    for file in [
        format!("sources:\n  - url: https://ada:{CANARY}@git.example.com/r\n"),
        format!("sources:\n  - url: https://git.example.com/r\n    auth: {{ token: {CANARY} }}\n"),
        format!("sources:\n  - url: https://git.example.com/r\n    auth: {{ password: {CANARY} }}\n"),
    ] {
        let found = World::new(&file).load().expect_err("a secret");
        let text = format!("{} {found:?}", found.render(false, 100));
        assert!(text.contains("E0311"), "{text}");
        assert!(!found.render(false, 100).contains(CANARY), "{text}");
    }
    let world = World::new("").with(
        "DRIFTLESS_REPO",
        &format!("https://ada:{CANARY}@git.example.com/r"),
    );
    let found = world.load().expect_err("a secret").render(false, 100);
    assert!(found.contains("E0311") && !found.contains(CANARY), "{found}");
}

#[test]
fn a_repository_by_variable_is_the_only_source_and_its_token_is_masked() {
    const CANARY: &str = "canary-5a2e8810";
    let world = World::new(WHOLE)
        .with("DRIFTLESS_REPO", "https://git.example.com/acme/other.git")
        .with("DRIFTLESS_REF", "prod")
        .with("DRIFTLESS_GIT_TOKEN", CANARY);
    let settings = world.settings();
    assert_eq!(settings.sources.len(), 1);
    let source = &settings.sources[0];
    assert_eq!(
        (source.reference.as_deref(), source.auth.username.as_deref()),
        (Some("prod"), None)
    );
    let (user, secret) = source.auth.basic().expect("no file").expect("a token");
    assert_eq!((user.as_str(), secret.expose().as_str()), ("driftless", CANARY));
    let shown = format!("{:?} {settings:?}", settings.show());
    assert!(
        shown.contains(crate::secret::MASKED) && !shown.contains(CANARY),
        "{shown}"
    );
    // The same repository as in the file keeps what is configured for it there.
    let mut world = World::new(WHOLE);
    world.flags.repo = Some("https://git.example.com/acme/infra.git".to_owned());
    let source = &world.settings().sources[0];
    assert_eq!(
        (source.name.as_deref(), source.reference.as_deref()),
        (Some("infra"), Some("main"))
    );
    assert!(!source.auth.is_empty());
    assert_eq!(source.origin, Origin::Flag("--repo"));
}

#[test]
fn a_secret_file_is_read_at_its_use_without_its_last_line_end() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("token");
    let auth = Auth {
        token: Some(SecretFrom::File(path.clone())),
        ..Auth::default()
    };
    assert_eq!(auth.basic().expect_err("not there").path, path);
    std::fs::write(&path, "\n").expect("write");
    assert_eq!(
        auth.basic().expect_err("not filled").source.to_string(),
        "the file is empty"
    );
    std::fs::write(&path, "one\n").expect("write");
    assert_eq!(auth.basic().expect("read").expect("token").1.expose(), "one");
    std::fs::write(&path, "two\r\n").expect("write");
    assert_eq!(auth.basic().expect("read").expect("token").1.expose(), "two");
}

#[test]
fn a_named_file_must_be_there_and_an_unreadable_one_is_never_skipped() {
    let mut world = World::new("");
    world.flags.config = Some("mine.yaml".to_owned());
    assert_eq!(world.findings().len(), 1);
    assert!(
        world.findings()[0].starts_with("E0312 `/base/mine.yaml` (named by --config) can't be read"),
        "{:?}",
        world.findings()
    );
    world
        .files
        .insert("/base/mine.yaml".into(), Ok("instance: mine\n".to_owned()));
    assert_eq!(world.settings().instance.value.as_str(), "mine");
    assert_eq!(world.settings().vars.value, Path::new("/base/vars"));
    let mut world = World::new("");
    world
        .files
        .insert(FILE.into(), Err(io::ErrorKind::PermissionDenied));
    world.files.insert(
        "/etc/driftless/config.yaml".into(),
        Ok("instance: etc\n".to_owned()),
    );
    assert!(world.findings()[0].starts_with("E0312"), "{:?}", world.findings());
    world.files.remove(Path::new(FILE));
    assert_eq!(world.settings().instance.value.as_str(), "etc");
}

#[test]
fn a_misspelled_variable_is_named_and_foreign_ones_are_not() {
    let world = World::new("")
        .with("DRIFTLESS_INTERVALL", "5s")
        .with("DRIFTLESS_PORT_7420_TCP", "tcp://10.0.0.1:7420");
    assert_eq!(
        world.findings(),
        ["E0307 the variable DRIFTLESS_INTERVALL is no setting: did you mean DRIFTLESS_INTERVAL?"]
    );
}

#[test]
fn durations_read_back_as_they_are_shown() {
    for (text, millis) in [
        ("500ms", 500),
        ("30s", 30_000),
        ("1h30m", 5_400_000),
        ("1d", 86_400_000),
    ] {
        let duration = parse_duration(text).expect(text);
        assert_eq!(duration, Duration::from_millis(millis));
        assert_eq!(show_duration(duration), text);
    }
    for text in [
        "",
        "5",
        "s",
        "5x",
        "-5s",
        "5 s",
        "1.5h",
        "99999999999999999999s",
        "999999999999999999d",
    ] {
        assert_eq!(parse_duration(text), None, "{text:?}");
    }
}

#[test]
fn a_cluster_is_described_and_its_keys_are_checked() {
    let file = "targets:\n  prod: { kubernetes: prod-eu, kubeconfig: prod.conf, namespace: shop, service_account: deployer, lease: { namespace: locks, duration: 20s } }\n  \
                own: { kubernetes: in-cluster, choose_account: false }\n  any: { kubernetes: current }\n\
                sources: [{ url: https://h/r, targets: [prod/shop, own] }]\n";
    let settings = World::new(file).settings();
    let cluster = |name: &str| match &settings.targets[name].platform {
        Platform::Kubernetes(cluster) => cluster.clone(),
        Platform::Docker(_) => panic!("a cluster"),
    };
    let prod = cluster("prod");
    assert_eq!(prod.at, ClusterAt::Context("prod-eu".to_owned()));
    assert_eq!(prod.lease_namespace.as_deref(), Some("locks"));
    assert_eq!(prod.lease_duration, Some(Duration::from_secs(20)));
    assert!(prod.kubeconfig.expect("a file").ends_with("driftless/prod.conf"));
    assert_eq!(cluster("own").at, ClusterAt::InCluster);
    // The operator's account stands; a repository chooses only where there is none, or where it may.
    let prod = cluster("prod");
    assert_eq!(prod.account_for(None), Ok(Some("deployer")));
    assert_eq!(prod.account_for(Some("deployer")), Ok(Some("deployer")));
    assert_eq!(prod.account_for(Some("admin")), Err(Some("deployer")));
    assert_eq!(cluster("own").account_for(Some("admin")), Err(None));
    assert_eq!(cluster("any").account_for(Some("mine")), Ok(Some("mine")));
    for (target, told) in [
        ("docker: default, exec: true", "`exec` is for clusters"),
        ("docker: default, kubernetes: a", "not both"),
        ("kubernetes: ''", "this names no cluster"),
        ("kubernetes: in-cluster, kubeconfig: a", "has no kubeconfig"),
        (
            "kubernetes: a, service_account: a/b/c",
            "is not a name of a ServiceAccount",
        ),
        ("kubernetes: a, account: b", "unknown field `account`"),
        ("kubernetes: a, lease: { duration: 1s }", "between 15s and 5m"),
        ("kubernetes: a, lease: { name: b }", "unknown field `name`"),
    ] {
        let findings = World::new(&format!("targets: {{ a: {{ {target} }} }}\n")).findings();
        assert!(
            findings.iter().any(|finding| finding.contains(told)),
            "{target}: {findings:?}"
        );
    }
}
