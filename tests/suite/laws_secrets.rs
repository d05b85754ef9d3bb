//! Canary values in every place where a secret can come from, every kind of failure, and a search of everything that is said.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;

use crate::support::command::CommandOutput;
use crate::support::registry::FakeRegistry;
use crate::support::site::{Site, files_below};

/// A value that occurs nowhere else; with characters that URL encoding changes.
fn canary(place: &str) -> String {
    format!("canary+{place}/7f3a9c51=e")
}

const PLACES: &[&str] = &[
    "vars",
    "env-file",
    "secret-file",
    "outside-env-file",
    "untracked-dotenv",
    "literal",
    "registry",
];

/// A canary in every form that is looked for.
fn forms(value: &str) -> Vec<(&'static str, String)> {
    let base64 = base64::engine::general_purpose::STANDARD;
    let encoded: String = value
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        ("plain", value.to_owned()),
        ("url", encoded),
        ("hex", hex.clone()),
        ("HEX", hex.to_uppercase()),
    ];
    // In base64 a text looks different by where it starts; what all three forms have inside is looked for.
    for (start, name) in ["base64", "base64+1", "base64+2"].into_iter().enumerate() {
        let text = base64.encode(format!("{}{value}", &"xx"[..start]));
        forms.push((name, text[4..text.len() - 4].to_owned()));
    }
    forms
}

/// What was searched and found.
struct Search {
    forms: Vec<(String, String)>,
    any: regex::bytes::Regex,
    leaks: BTreeSet<String>,
    texts: usize,
}

impl Search {
    fn new() -> Self {
        let of = |place: &&str| {
            forms(&canary(place))
                .into_iter()
                .map(|(form, text)| (format!("{place} as {form}"), text))
                .collect::<Vec<_>>()
        };
        let forms: Vec<(String, String)> = PLACES.iter().flat_map(of).collect();
        let any = forms
            .iter()
            .map(|(_, text)| regex::escape(text))
            .collect::<Vec<_>>()
            .join("|");
        Self {
            forms,
            any: regex::bytes::Regex::new(&any).unwrap(),
            leaks: BTreeSet::new(),
            texts: 0,
        }
    }

    fn bytes(&mut self, whence: &str, bytes: &[u8]) {
        self.texts += 1;
        for found in self.any.find_iter(bytes) {
            let form = self
                .forms
                .iter()
                .find(|(_, text)| text.as_bytes() == found.as_bytes());
            self.leaks.insert(format!(
                "{} in {whence}",
                form.map_or("a canary", |(form, _)| form)
            ));
        }
    }

    fn output(&mut self, said: &CommandOutput) {
        self.bytes(&format!("stdout of {}", said.line), said.stdout.as_bytes());
        self.bytes(&format!("stderr of {}", said.line), said.stderr.as_bytes());
    }
}

/// The command lines of everything that runs on the machine, until told to stop.
fn watch_processes(stop: &AtomicBool, seen: &Mutex<BTreeSet<Vec<u8>>>) {
    while !stop.load(Ordering::Relaxed) {
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            if let Ok(line) = std::fs::read(entry.path().join("cmdline")) {
                seen.lock().unwrap().insert(line);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

on_engines! {
    fn secrets_never_leave(engine) {
        let registry = FakeRegistry::start(engine);
        let compose = |web: &str| {
            format!(
                "services:\n  web:\n    image: web:1\n    environment: {{ TOKEN: '${{TOKEN}}', EXTRA: '${{EXTRA}}', POSTGRES_PASSWORD: '{}' }}\n    env_file: [./local.env]\n    secrets: [given]\n{web}secrets: {{ given: {{ file: ./given }} }}\n",
                canary("literal")
            )
        };
        let site = Site::new(engine, &compose(""));
        let given = |path: &str, text: String| site.env.write_config(&path.replace("NAME", &site.app), &text);
        given("vars/NAME.env", format!("TOKEN={}\n", canary("vars")));
        given("vars/NAME/local.env", format!("OUTSIDE={}\n", canary("outside-env-file")));
        given("secrets/NAME/given", canary("secret-file"));
        given("extra.env", format!("EXTRA={}\n", canary("env-file")));
        let extra = site.env.config().join("extra.env").display().to_string();
        site.repo.write(".gitignore", ".env\n");
        site.repo.write("app/.env", format!("DOTENV={}\n", canary("untracked-dotenv")));
        let login = serde_json::json!({ "auths": { registry.image(401).split('/').next().unwrap(): { "auth": base64::engine::general_purpose::STANDARD.encode(format!("user:{}", canary("registry"))) } } });
        std::fs::create_dir_all(site.env.home().join(".docker")).unwrap();
        std::fs::write(site.env.home().join(".docker/config.json"), login.to_string()).unwrap();
        site.repo.commit("ignored");

        let (stop, seen) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
        let mut search = Search::new();
        std::thread::scope(|scope| {
            scope.spawn(|| watch_processes(&stop, &seen));
            // The search goes on when an assertion fails: the watcher must end either way.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| told(&site, &extra, &registry, &compose, &mut search)));
            stop.store(true, Ordering::Relaxed);
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        for line in seen.lock().unwrap().iter() {
            search.bytes(&format!("the command line {}", String::from_utf8_lossy(line).replace('\0', " ")), line);
        }
        let files = files_below(&site.env.state());
        assert!(files.iter().any(|(path, _)| path.extension().is_some_and(|end| end == "db")), "{files:?}");
        for (path, bytes) in files.iter().chain(&files_below(&site.env.home().join(".cache"))) {
            search.bytes(&path.display().to_string(), bytes);
        }
        search.bytes("the saved plan", &std::fs::read(site.folder("saved.plan")).unwrap());
        assert!(search.texts > 60, "only {} texts were searched", search.texts);
        assert!(search.leaks.is_empty(), "{:#?}", search.leaks);
    }
}

/// Everything that can be asked, before and after every failure that a secret could come out with.
fn told(
    site: &Site<'_>,
    extra: &str,
    registry: &FakeRegistry,
    compose: &dyn Fn(&str) -> String,
    search: &mut Search,
) {
    let mut run = |arguments: &[&str]| {
        let said = site.run(&[arguments, &["--env-file", extra]].concat());
        search.output(&said);
        said
    };
    let ask_all = |run: &mut dyn FnMut(&[&str]) -> CommandOutput| {
        for verb in [
            "validate", "render", "plan", "diff", "drift", "status", "history", "why",
        ] {
            for form in [&[][..], &["-o", "json"], &["-v", "-v"]] {
                let app = if matches!(verb, "history" | "why") {
                    vec![verb, &site.app]
                } else {
                    vec![verb]
                };
                drop(run(&[&app[..], form].concat()));
            }
        }
    };
    drop(run(&["plan", "--local", "."]));
    drop(run(&["plan", "--out", "saved.plan"]).success());
    ask_all(&mut run);
    drop(run(&["apply", "--yes", "-v", "-v"]).success());
    // It does arrive where it belongs.
    let env = site.engine.docker_text(&["exec", &site.container("web"), "env"]);
    for place in ["vars", "env-file", "outside-env-file", "literal"] {
        assert!(env.contains(&canary(place)), "{place} does not arrive: {env}");
    }
    let file = site
        .engine
        .docker_text(&["exec", &site.container("web"), "cat", "/run/secrets/given"]);
    assert_eq!(file, canary("secret-file"));
    ask_all(&mut run);
    let failing = [
        // Said by a container that crashes, on both streams.
        (
            "    command: [sh, -c, 'echo \"token is $$TOKEN\"; echo \"$$POSTGRES_PASSWORD $$OUTSIDE $$EXTRA\" >&2; cat /run/secrets/given; exit 3']\n",
            7,
        ),
        // Said by a healthcheck.
        (
            "    healthcheck: { test: 'echo \"token is $$TOKEN, $$POSTGRES_PASSWORD\"; cat /run/secrets/given; exit 1', interval: 200ms, retries: 2 }\n",
            7,
        ),
        // Said by the engine, which repeats what it was asked.
        ("    devices: ['/dev/${TOKEN}:/dev/x']\n", 7),
    ];
    for (change, code) in failing {
        site.commit(&compose(change));
        let said = run(&["apply", "--yes", "-v", "-v"]);
        assert_eq!(said.status, Some(code), "{said}");
        if change.contains("token is") {
            assert!(
                (said.stdout.clone() + &said.stderr).contains("token is (secret)"),
                "what a container said is shown, masked\n{said}"
            );
        }
        drop(run(&["apply", "--yes", "-o", "json"]));
        drop(run(&["why", &site.app]));
    }
    ask_all(&mut run);
    // Said by a registry that does not take the password.
    site.commit(&compose("").replace("web:1", &registry.image(401)));
    drop(run(&["apply", "--yes", "-v", "-v"]).code(6));
    ask_all(&mut run);
}
