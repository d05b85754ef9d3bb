//! Repositories as strangers lay theirs out: no Driftless file needed, and the first hour with the product works on each.

use crate::support::driftless::TestEnv;
use crate::support::engine::{Engine, Version};
use crate::support::repo::Repo;

/// One layout: its files, the app that is looked at, and one of its containers' services.
struct Layout {
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    /// Files that lie in the working directory and are not in Git.
    untracked: &'static [(&'static str, &'static str)],
    app: &'static str,
    service: &'static str,
}

const LAYOUTS: &[Layout] = &[
    Layout {
        name: "a compose file at the root",
        files: &[(
            "compose.yaml",
            "name: ROOT\nservices:\n  web: { image: \"web:1\" }\n",
        )],
        untracked: &[],
        app: "",
        service: "web",
    },
    Layout {
        name: "the old file name, with a version and a fragment",
        files: &[(
            "docker-compose.yml",
            "version: \"3.8\"\nname: ROOT\nx-common: &common\n  restart: always\n  logging: { driver: json-file, options: { max-size: 1m } }\nservices:\n  web:\n    <<: *common\n    image: web:1\n    environment:\n      - MODE=prod\n",
        )],
        untracked: &[],
        app: "",
        service: "web",
    },
    Layout {
        name: "one folder for each stack at the root",
        files: &[
            (
                "NAME-media/compose.yaml",
                "services:\n  player: { image: \"web:1\", volumes: [\"library:/library\"] }\nvolumes: { library: }\n",
            ),
            (
                "NAME-dns/compose.yaml",
                "services:\n  dns: { image: \"web:1\", mem_limit: 64m }\n",
            ),
            ("README.md", "# home\n"),
        ],
        untracked: &[],
        app: "NAME-media",
        service: "player",
    },
    Layout {
        name: "apps/*",
        files: &[
            (
                "apps/NAME-web/docker-compose.yml",
                "services:\n  api:\n    image: web:1\n    depends_on: { db: { condition: service_healthy } }\n  db: { image: \"web:1\" }\n",
            ),
            (
                "apps/NAME-jobs/compose.yml",
                "services:\n  once: { image: \"base:1\", command: \"true\", x-driftless: { job: true } }\n",
            ),
        ],
        untracked: &[],
        app: "NAME-web",
        service: "api",
    },
    Layout {
        name: "stacks/*, with a .env in Git",
        files: &[
            (
                "stacks/NAME-web/compose.yaml",
                "services:\n  web:\n    image: web:${TAG:?say which}\n    environment: { GREETING: \"${GREETING:-hello}\" }\n",
            ),
            ("stacks/NAME-web/.env", "TAG=1\nGREETING=\"good morning\"\n"),
        ],
        untracked: &[],
        app: "NAME-web",
        service: "web",
    },
    Layout {
        name: "a .env that is not in Git, given by the operator",
        files: &[
            (
                "apps/NAME-web/compose.yaml",
                "services:\n  web:\n    image: web:1\n    environment: { DB_PASSWORD: \"${DB_PASSWORD}\" }\n",
            ),
            (".gitignore", ".env\n"),
        ],
        untracked: &[("apps/NAME-web/.env", "DB_PASSWORD=hunter2hunter2\n")],
        app: "NAME-web",
        service: "web",
    },
    Layout {
        name: "hosts/<target>/*",
        files: &[
            (
                "hosts/nas/NAME-web/compose.yaml",
                "services:\n  web: { image: \"web:1\" }\n",
            ),
            (
                "hosts/pi/NAME-dns/compose.yaml",
                "services:\n  dns: { image: \"web:1\" }\n",
            ),
        ],
        untracked: &[],
        app: "NAME-web",
        service: "web",
    },
    Layout {
        name: "configuration files beside the compose file",
        files: &[
            (
                "apps/NAME-web/compose.yaml",
                "services:\n  web:\n    image: web:1\n    volumes:\n      - ./conf:/conf:ro\n      - ./data:/data\n      - type: tmpfs\n        target: /scratch\n    configs: [motd]\nconfigs:\n  motd: { file: ./motd.txt }\n",
            ),
            ("apps/NAME-web/conf/site.conf", "listen 80\n"),
            ("apps/NAME-web/motd.txt", "hello\n"),
        ],
        untracked: &[],
        app: "NAME-web",
        service: "web",
    },
    Layout {
        name: "a sidecar, profiles and several networks",
        files: &[(
            "apps/NAME-web/compose.yaml",
            "services:\n  vpn: { image: \"web:1\", networks: { front: { aliases: [gate] }, back: } }\n  torrent: { image: \"base:1\", command: [sleep, \"1000\"], network_mode: \"service:vpn\" }\n  debug: { image: \"web:1\", profiles: [debug] }\nnetworks: { front: , back: { internal: true } }\n",
        )],
        untracked: &[],
        app: "NAME-web",
        service: "torrent",
    },
    Layout {
        name: "a driftless.yaml that names everything",
        files: &[
            (
                "driftless.yaml",
                "apps:\n  NAME-web: { path: deploy/site, health: { bake: 1s }, drift: correct }\n",
            ),
            (
                "deploy/site/compose.yaml",
                "services:\n  web: { image: \"web:1\", ports: [\"127.0.0.1::8080\"], deploy: { replicas: 2, resources: { limits: { memory: 64M } } } }\n",
            ),
        ],
        untracked: &[],
        app: "NAME-web",
        service: "web",
    },
];

/// `plan`, `apply`, a no-op, a stop by hand, `drift`, and the heal: on this layout as it is.
fn first_hour(engine: &'static Engine, layout: &Layout) {
    let name = engine.unique("s");
    let at = |text: &str| text.replace("NAME", &name).replace("ROOT", &name);
    let repo = Repo::new();
    for (path, text) in layout.files {
        repo.write(&at(path), at(text));
    }
    repo.commit("as a stranger wrote it");
    for (path, text) in layout.untracked {
        repo.write(&at(path), at(text));
    }
    let env = TestEnv::on(engine);
    env.write_config(
        "config.yaml",
        &format!("targets: {{ nas: {{ docker: {} }} }}\n", engine.docker_host()),
    );
    if !layout.untracked.is_empty() {
        drop(env.run(&repo.path(), &["plan"]).code(3).complains("vars/"));
        for (_, text) in layout.untracked {
            env.write_config(&format!("vars/{}.env", at(layout.app)), &at(text));
        }
    }
    let app = at(layout.app);
    // A root app is named after its repository.
    let app = if app.is_empty() {
        repo.path().file_name().unwrap().to_str().unwrap().to_owned()
    } else {
        app
    };
    let folder = repo.path();
    let run = |arguments: &[&str]| env.run(&folder, arguments);
    drop(run(&["validate"]));
    drop(run(&["plan", &app]).success().says("to create"));
    drop(run(&["apply", &app, "--yes", "--wait"]).success().says("stable"));
    drop(run(&["apply", &app, "--yes"]).success().says("no changes"));
    drop(run(&["plan", &app]).success().says("no changes"));
    let filter = format!("label=com.docker.compose.service={}", layout.service);
    let of_app = format!("label=dev.driftless.app={app}@");
    let all = engine.docker_text(&["ps", "--filter", &filter, "--format", "{{.Names}} {{.Labels}}"]);
    let container = all
        .lines()
        .find(|line| line.contains(&of_app[6..]))
        .and_then(|line| line.split(' ').next())
        .unwrap_or_else(|| panic!("{}: no container of {} runs:\n{all}", layout.name, layout.service))
        .to_owned();
    drop(engine.docker(&["stop", "-t", "0", &container]).success());
    drop(run(&["drift", &app]).code(1).says("state"));
    drop(run(&["apply", &app, "--yes"]).success().says("healed"));
    drop(run(&["drift", &app]).code(0));
    drop(run(&["down", &app, "--yes"]).success());
    let left = engine.docker_text(&["ps", "-aq", "--filter", &format!("name={container}")]);
    assert_eq!(left.trim(), "", "{}: `down` left a container", layout.name);
}

macro_rules! layouts {
    ($($test:ident = $index:literal),+ $(,)?) => {
        $(
            #[test]
            fn $test() {
                first_hour(Engine::shared(Version::V28), &LAYOUTS[$index]);
            }
        )+
    };
}

layouts! {
    root_compose_file = 0,
    old_file_name = 1,
    one_folder_for_each_stack = 2,
    apps_folder = 3,
    stacks_with_env_in_git = 4,
    env_outside_git = 5,
    hosts_folder = 6,
    configuration_beside = 7,
    sidecar_profiles_networks = 8,
    own_file = 9,
}

on_engines! {
    fn override_files_are_refused_with_a_code(engine) {
        let name = engine.unique("s");
        let repo = Repo::with(&[
            (&format!("apps/{name}/compose.yaml"), "services: { web: { image: \"web:1\" } }\n"),
            (&format!("apps/{name}/compose.override.yaml"), "services: { web: { environment: { A: b } } }\n"),
        ]);
        drop(TestEnv::on(engine).run(&repo.path(), &["plan"]).code(3).complains("error[E02"));
    }
}
