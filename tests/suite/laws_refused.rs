//! What is refused, with its code, place and exit code, and with nothing touched: on real engines, with the real program.

use std::io::{Read as _, Write as _};

use crate::support::command::CommandOutput;
use crate::support::driftless::TestEnv;
use crate::support::proxy::Proxy;
use crate::support::registry::FakeRegistry;
use crate::support::repo::Repo;
use crate::support::site::{Site, sweep};
use crate::support::sshd::Sshd;

const WEB: &str = "services:\n  web: { image: 'web:1' }\n";

impl Site<'_> {
    /// Applies, and requires that nothing was touched.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], code: i32, says: &[&str]) {
        let before = self.snapshot();
        self.proxy.clear();
        let said = self.run(arguments).code(code);
        let all = said.stdout.clone() + &said.stderr;
        for text in says {
            assert!(all.contains(text), "{text:?} is not said\n{said}");
        }
        self.proxy.assert_read_only();
        assert_eq!(self.snapshot(), before);
    }
}

on_engines! {
    fn other_instance_is_refused(engine) {
        let site = Site::applied(engine, WEB);
        let state = tempfile::tempdir().unwrap();
        let state = state.path().to_str().unwrap();
        let other = ["apply", "--yes", "--instance", "elsewhere", "--state", state];
        site.refuses(&other, 9, &["E0604", "takeover", "Nothing was touched"]);
        site.change("web:1", "web:2");
        site.refuses(&other, 9, &["E0604"]);
        drop(site.apply().success());
        site.assert_in_sync("for whom it belongs to");
    }

    fn port_taken_by_someone_else_touches_nothing(engine) {
        let port = engine.free_port();
        let site = Site::applied(engine, WEB);
        let holder = engine.unique("holder");
        engine.docker_text(&["run", "-d", "--name", &holder, "-p", &format!("127.0.0.1:{port}:8080"), "web:plain"]);
        site.commit(&format!("services:\n  web:\n    image: web:2\n    ports: ['127.0.0.1:{port}:8080']\n"));
        let place = "app/compose.yaml:4";
        site.refuses(&["apply", "--yes"], 6, &["E0523", &format!("{port}/tcp"), &holder, place, "Nothing was touched"]);
        engine.docker_text(&["rm", "-f", &holder]);
        drop(site.apply().success());
        assert!(engine.wait_for_http(port, "/").contains('2'));
    }

    fn missing_image_touches_nothing(engine) {
        let registry = FakeRegistry::start(engine);
        let site = Site::applied(engine, "services:\n  web: { image: 'web:1' }\n  side: { image: 'web:1' }\n");
        for (status, code) in [(404, "E0530"), (401, "E0531")] {
            let image = registry.image(status);
            site.commit(&format!("services:\n  web:\n    image: {image}\n  side: {{ image: 'web:2' }}\n"));
            site.refuses(&["apply", "--yes"], 6, &[code, &image, "app/compose.yaml:3", "Nothing was touched"]);
        }
        site.commit(WEB);
        drop(site.apply().success());
    }

    fn external_network_missing(engine) {
        let site = Site::applied(engine, WEB);
        let network = engine.unique("outside");
        let text = format!("services:\n  web:\n    image: web:1\n    networks: [out]\n    volumes: ['kept:/kept']\nnetworks:\n  out: {{ external: true, name: {network} }}\nvolumes:\n  kept: {{ external: true, name: {network} }}\n");
        site.commit(&text);
        let says = ["E0571", "E0572", &network, "app/compose.yaml:7", "app/compose.yaml:9", "docker network create", "Nothing was touched"];
        site.refuses(&["apply", "--yes"], 6, &says);
        engine.docker_text(&["network", "create", &network]);
        engine.docker_text(&["volume", "create", &network]);
        drop(site.apply().success());
        site.commit(WEB);
        drop(site.apply().success());
        // What is somebody else's is left alone when it is no longer used.
        site.assert_in_sync("when it is not used any more");
        engine.docker_text(&["inspect", &network]);
    }

    fn saved_plan_is_refused_when_git_or_live_moved(engine) {
        let site = Site::applied(engine, WEB);
        site.change("web:1", "web:2");
        let save = || drop(site.run(&["plan", "--out", "saved.plan"]).success());
        let saved = ["apply", "--yes", "saved.plan"];
        save();
        site.change("web:2", "web:3");
        site.refuses(&saved, 9, &["E0612", "Git moved"]);
        save();
        engine.docker_text(&["stop", &site.container("web")]);
        site.refuses(&saved, 9, &["E0612"]);
        save();
        let text = std::fs::read_to_string(site.folder("saved.plan")).unwrap();
        site.repo.write("saved.plan", text.replacen("\"release\": \"", "\"release\": \"x", 1));
        let changed = site.run(&saved);
        assert!(matches!(changed.status, Some(2 | 9)), "{changed}");
        site.repo.write("saved.plan", text);
        drop(site.run(&saved).success());
        assert_eq!(engine.inspect(&site.container("web"))["Config"]["Labels"]["app.version"], "3");
        site.refuses(&saved, 9, &["E0612"]);
    }
}

/// A bad app, its files, and what must be said of it: code and place.
struct Bad {
    name: &'static str,
    file: Vec<u8>,
    code: &'static str,
    /// `LINE:COLUMN` in its Compose file.
    place: &'static str,
}

fn bad(name: &'static str, file: impl Into<Vec<u8>>, code: &'static str, place: &'static str) -> Bad {
    Bad {
        name,
        file: file.into(),
        code,
        place,
    }
}

fn bad_apps() -> Vec<Bad> {
    let service = |key: &str| format!("services:\n  web:\n    image: web:1\n    {key}\n");
    let bomb = (1..10).fold("a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n".to_owned(), |text, level| {
        let before = level - 1;
        let aliases = vec![format!("*a{before}"); 10].join(",");
        format!("{text}a{level}: &a{level} [{aliases}]\n")
    });
    vec![
        bad("tab", "services:\n\tweb:\n\t\timage: web:1\n", "E0102", "2:1"),
        bad("duplicate-key", service("image: web:2"), "E0105", "4:5"),
        bad("alias-bomb", bomb, "E0112", ""),
        bad(
            "depth",
            format!("services:\n  web: {}{}\n", "[".repeat(500), "]".repeat(500)),
            "E0108",
            "2:",
        ),
        bad("nul", service("hostname: \"a\0b\""), "E0114", "4:"),
        bad(
            "bad-utf8",
            [service("hostname: a").as_bytes(), b"    user: \xff\xfe\n"].concat(),
            "E0104",
            "5:",
        ),
        bad("too-large", vec![b'#'; 50 << 20], "E0103", ""),
        bad("syntax", "services: [\n", "E0101", ""),
        bad("unknown-key", service("comand: [a]"), "E0207", "4:5"),
        bad("wrong-type", service("environment: 5"), "E0201", "4:18"),
        bad(
            "undefined",
            service("hostname: ${NOBODY_SET_THIS:?say it}"),
            "E0211",
            "4:15",
        ),
        bad(
            "no-default",
            service("hostname: ${NOBODY_SET_THIS}"),
            "E0210",
            "4:15",
        ),
        bad("env-file", service("env_file: ./absent.env"), "E0213", "4:15"),
        bad(
            "circle",
            "services:\n  a: { image: x, depends_on: [b] }\n  b: { image: x, depends_on: [a] }\n",
            "E0221",
            "",
        ),
        bad(
            "unknown-service",
            service("depends_on: [dbb]\n  db: { image: x }"),
            "E0220",
            "4:18",
        ),
        bad(
            "never-healthy",
            service(
                "depends_on: { db: { condition: service_healthy } }\n  db: { image: x, healthcheck: { disable: true } }",
            ),
            "E0223",
            "4:",
        ),
        bad(
            "port-clash",
            service("ports: ['8080:80']\n  b: { image: x, ports: ['8080:81'] }"),
            "E0224",
            "",
        ),
        bad(
            "path-outside",
            service("volumes: ['../../../etc:/x']"),
            "E0230",
            "4:15",
        ),
        bad("duration", service("stop_grace_period: soon"), "E0204", "4:24"),
        bad("size", service("mem_limit: much"), "E0204", "4:16"),
        bad("port", service("ports: ['99999:80']"), "E0204", "4:13"),
        bad(
            "image",
            "services:\n  web:\n    image: 'UPPER/Case:1'\n",
            "E0208",
            "3:12",
        ),
        bad("build-only", "services:\n  web:\n    build: .\n", "E0206", "3:"),
        bad("later", service("extends: { service: other }"), "E0205", "4:5"),
        bad("word", service("restart: allways"), "E0203", "4:14"),
        bad("no-image", "services:\n  web: { command: [a] }\n", "E0202", "2:"),
        bad("undeclared", service("volumes: ['data:/data']"), "E0222", "4:15"),
        bad(
            "conflict",
            service("network_mode: host\n    networks: [a]\nnetworks: { a: {} }"),
            "E0225",
            "",
        ),
        bad("no-services", "services: {}\n", "E0240", ""),
    ]
}

on_engines! {
    /// The list of bad input: each is a typed error with code and place, the app beside it is deployed.
    fn one_bad_app_does_not_stop_others(engine) {
        let good = engine.unique("good");
        let (repo, proxy) = (Repo::new(), Proxy::start(&engine.socket()));
        let env = TestEnv::new().var("DOCKER_HOST", &proxy.docker_host());
        let name = |bad: &Bad| format!("{good}-{}", bad.name);
        let mut settings = format!("apps:\n  {good}: {{ path: apps/{good}, health: {{ bake: 300ms }} }}\n");
        repo.write(&format!("apps/{good}/compose.yaml"), WEB);
        let all = bad_apps();
        for bad in &all {
            settings += &format!("  {0}: {{ path: apps/{0} }}\n", name(bad));
            repo.write(&format!("apps/{}/compose.yaml", name(bad)), &bad.file);
        }
        repo.write("driftless.yaml", settings);
        repo.commit("one good, many bad");
        // Everything that can be said without an engine is said by `validate` too, in the same words.
        let said = env.run(&repo.path(), &["apply", "--yes"]).code(3);
        for bad in &all {
            let file = format!("apps/{}/compose.yaml", name(bad));
            let error = said
                .stderr
                .split("error[")
                .find(|error| error.contains(&file))
                .unwrap_or_else(|| panic!("nothing is said of {}\n{said}", bad.name));
            assert!(error.starts_with(bad.code), "{}: {} is wanted\n{error}", bad.name, bad.code);
            let place = if bad.place.is_empty() { file.clone() } else { format!("{file}:{}", bad.place) };
            assert!(error.contains(&place), "{}: {} is wanted\n{error}", bad.name, bad.place);
        }
        assert!(said.stdout.contains(&good) && said.stdout.contains("deployed"), "{said}");
        let text = engine.docker_text(&["ps", "-a", "--format", "{{.Names}}", "--filter", &format!("name={good}")]);
        assert_eq!(text, format!("{good}-web-1"));
        // Alone, each has its own exit code; nothing was written about it.
        proxy.clear();
        drop(env.run(&repo.path(), &["apply", "--yes", &name(&all[0])]).code(3).complains(all[0].code));
        proxy.assert_read_only();
        sweep(engine, &good);
    }

    fn wrong_words_on_the_command_line_touch_nothing(engine) {
        let site = Site::applied(engine, WEB);
        let near = format!("{}x", site.app);
        site.refuses(&["apply", "--yes", &near], 2, &["there is no app", "did you mean", &site.app]);
        site.refuses(&["aply"], 2, &["apply"]);
        site.refuses(&["apply", "--yes", "--wait=soon"], 2, &["90s"]);
        site.refuses(&["apply"], 0, &["no changes"]);
        site.change("web:1", "web:2");
        // Nobody is there to confirm, so nothing is done, and it does not wait for ever.
        site.refuses(&["apply"], 9, &["--yes"]);
        // Two targets fit.
        let host = format!("unix://{}", site.proxy.socket().display());
        site.env.write_config("config.yaml", &format!("targets:\n  nas: {{ docker: '{host}' }}\n  pi: {{ docker: '{host}' }}\n"));
        site.refuses(&["apply", "--yes"], 2, &["fits several targets", "nas", "pi", "--target"]);
        site.refuses(&["apply", "--yes", "--target", "nass"], 5, &["nass"]);
        drop(site.run(&["apply", "--yes", "--target", "nas"]).success());
    }
}

/// A repository that can be used, and a home without an engine.
fn elsewhere() -> (Repo, TestEnv) {
    let env = TestEnv::new();
    (Repo::with(&[("apps/web/compose.yaml", WEB)]), env)
}

fn refused(env: &TestEnv, repo: &Repo, arguments: &[&str], code: i32, says: &[&str]) -> CommandOutput {
    let mut last = None;
    for verb in [&["plan"][..], &["apply", "--yes"]] {
        let said = env.run(&repo.path(), &[verb, arguments].concat()).code(code);
        for text in says {
            assert!(
                said.stderr.contains(text) || said.stdout.contains(text),
                "{text:?} is not said\n{said}"
            );
        }
        last = Some(said);
    }
    last.unwrap()
}

#[test]
fn a_source_that_cannot_be_read_is_exit_4_with_its_reason() {
    let (repo, env) = elsewhere();
    let empty = tempfile::tempdir().unwrap();
    let folder = empty.path().to_str().unwrap();
    drop(refused(&env, &repo, &["--repo", folder], 4, &["E0402", folder]));
    drop(refused(&env, &repo, &["--repo", "/nowhere/at/all"], 4, &["E040"]));
    drop(refused(
        &env,
        &repo,
        &["--ref", "no-such-branch"],
        4,
        &["E0403", "no-such-branch"],
    ));
    drop(refused(&env, &repo, &["--repo", "ext::sh -c id"], 4, &["E0401"]));
    drop(refused(
        &env,
        &repo,
        &["--repo", "https://127.0.0.1:1/x.git"],
        4,
        &["E0414"],
    ));
    let sshd = Sshd::start();
    drop(repo.bare_origin());
    let url = sshd.url(&repo.path().join("../origin.git"));
    drop(refused(&env, &repo, &["--repo", &url], 4, &["E0408", "host key"]));
    std::fs::create_dir_all(env.home().join(".ssh")).unwrap();
    let known = env.home().join("known_hosts");
    std::fs::write(&known, sshd.known_hosts()).unwrap();
    let settings = |key: &std::path::Path| {
        format!(
            "sources:\n  - url: {url}\n    auth: {{ known_hosts_file: {}, ssh_key_file: {} }}\n",
            known.display(),
            key.display()
        )
    };
    let wrong = env.home().join("wrong-key");
    std::fs::write(&wrong, "no key\n").unwrap();
    env.write_config("config.yaml", &settings(&wrong));
    let outside = Repo::new();
    std::fs::remove_dir_all(outside.path().join(".git")).unwrap();
    drop(refused(&env, &outside, &[], 4, &["E0407"]));
    // With the right key the source is read; what is missing now is an engine.
    env.write_config("config.yaml", &settings(&sshd.client_key()));
    drop(refused(&env, &outside, &[], 5, &["E0501"]));
}

#[test]
fn an_engine_that_cannot_be_used_is_exit_5_with_its_reason() {
    let (repo, mut env) = elsewhere();
    drop(refused(
        &env,
        &repo,
        &[],
        5,
        &["E0501", "no-engine.sock", "--target"],
    ));
    env.set("DOCKER_HOST", "gopher://nas");
    drop(refused(&env, &repo, &[], 5, &["E055", "gopher"]));
    env.set("DOCKER_HOST", "tcp://127.0.0.1:1");
    drop(refused(&env, &repo, &[], 5, &["E050"]));
    // Something that is no engine, and one of long ago.
    for (answer, code) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 28\r\nconnection: close\r\n\r\n{\"ApiVersion\":\"1.24\",\"x\":11}",
            "E0506",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>",
            "E05",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                // A client that goes away early is its own business.
                let _ = stream
                    .read(&mut request)
                    .and_then(|_| stream.write_all(answer.as_bytes()));
            }
        });
        env.set("DOCKER_HOST", &format!("unix://{}", socket.display()));
        drop(refused(&env, &repo, &[], 5, &[code]));
    }
    // As root without the right to pass over file modes, which a person in no `docker` group does not have either.
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    env.set("DOCKER_HOST", &format!("unix://{}", socket.display()));
    let command = env.command(&repo.path(), &["plan"]);
    let mut weak = std::process::Command::new("setpriv");
    weak.args(["--bounding-set", "-dac_override", "--inh-caps", "-dac_override"])
        .arg(command.get_program())
        .args(command.get_args());
    weak.env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(repo.path());
    drop(
        CommandOutput::of(&mut weak)
            .code(5)
            .complains("E0502")
            .complains("docker.sock"),
    );
}
