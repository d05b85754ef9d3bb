//! `E02xx`: Compose files and manifests.

codes! {
    WRONG_TYPE = 201, "wrong-type", "a value has the wrong type",
"The key is known, but its value is of another kind than it takes: a list where text is needed, text where a number
is needed, and so on. The message says what was found and what is expected.

    services:
      web:
        image: [nginx]      # text is expected
        image: nginx
";
    MISSING_FIELD = 202, "missing-field", "a required key is missing",
"A key that the object cannot do without is not there. The place shown is the object. Add the key; the message
names it.

    services:
      web: {}               # needs `image`
";
    NOT_ALLOWED = 203, "value-not-allowed", "a value is not one of those allowed",
"The key takes one of a fixed set of words, and this is none of them. The message lists them and suggests the
nearest.

    restart: allways        # no | always | on-failure | unless-stopped
";
    UNKNOWN_FIELD = 207, "unknown-field", "a key is not known here",
"The key is not one that this object has. A misspelled key would otherwise be ignored without a word, so it is an
error; the nearest known key is suggested. Check also the indentation: the key may belong one level up or down.
Keys that start with `x-` are yours and are never an error.

    deploy:
      replica: 3            # did you mean `replicas`?
";
    MALFORMED = 204, "malformed-value", "a value is spelled wrong",
"A duration, a size, a port, an address, a mode or a similar value cannot be read. The message shows what it is meant
to be. Durations are `10s`, `1m30s`, `2d`; sizes `512m`, `1.5g` (powers of 1024); ports `8080:80`,
`127.0.0.1:8080:80/udp`, `3000-3005`; mounts `source:target[:ro]`.
";
    NOT_SUPPORTED = 205, "not-supported-yet", "a key is known, but cannot be honoured yet",
"The compose-spec knows the key, and Driftless knows that it would have to act on it but cannot yet. Deploying without
it would be something else than the file says, so the app is refused instead. The note says why, and what to use
in its place if there is something.
";
    BUILD = 206, "build-not-supported", "a service is built from source",
"Driftless deploys images; it does not build them. Build and push the image in CI and name it:

    services:
      web:
        image: registry.example/web:1.4

A service with both `build` and `image` is accepted with a warning: the image is used.
";
    BAD_IMAGE = 208, "bad-image", "an image reference is not valid",
"`image` must be a reference as Docker reads it: `nginx`, `nginx:1.27`, `ghcr.io/acme/api:1.9`,
`name@sha256:...`. Repositories are lower case. An image id names an image on one machine only and is refused.
";
    OVERRIDE_FILE = 209, "override-file", "an override file would be merged in",
"`docker compose up` merges `compose.override.yaml` (or the files that COMPOSE_FILE names) into the Compose file.
Driftless cannot do that yet, and does not deploy half of what the folder says. Merge the files into one, or name one
file under `path` in `driftless.yaml`; then only that file is read, as with `docker compose -f`.
";
    VARIABLE_UNDEFINED = 210, "variable-undefined", "a variable has no value and no default",
"`docker compose` would put an empty text in its place and go on: a database with an empty password. Driftless refuses.
Give the value in one of these places (the first that has it wins):

    vars/APP.env beside config.yaml, or --env-file FILE     the operator's values; they are masked everywhere
    .env beside the Compose file, when it is in Git

or say in the file what is meant: `${VAR:-default}`, or `${VAR-}` for \"empty on purpose\". The environment of the
Driftless process is never used. A literal `$` is written `$$`.
";
    VARIABLE_REQUIRED = 211, "variable-required", "a required variable is not set",
"The file says `${VAR:?message}` (or `${VAR?message}`), and nothing gives VAR a value. Set it in `vars/APP.env` beside
config.yaml, with --env-file, or in a `.env` that is in Git.
";
    INTERPOLATION = 212, "bad-interpolation", "a `${...}` expression is not valid",
"Known forms are `$VAR`, `${VAR}`, `${VAR:-default}`, `${VAR-default}`, `${VAR:?message}`, `${VAR?message}`,
`${VAR:+other}`, `${VAR+other}`; defaults may nest. A literal `$` is written `$$`; in an env file, single quotes
keep a value as it is.
";
    ENV_FILE_MISSING = 213, "env-file-missing", "an env file does not exist",
"`env_file` names a file that is not in the commit, and the operator did not give it. Env files are often kept out of
Git on purpose: give it as `vars/APP/NAME` beside config.yaml (`env_file: ./local.env` of the app `web` is
`vars/web/local.env`), or mark it as optional:

    env_file:
      - path: ./local.env
        required: false
";
    ENV_FILE_SYNTAX = 214, "env-file-syntax", "a line of an env file is not valid",
"Lines are `NAME=value`, `NAME=\"value\"`, `NAME='value'`, `export NAME=value`, a name alone, a `#` comment, or empty.
A quoted value may go over several lines. The line itself is not shown, because it may be a secret.
";
    BAD_NAME = 215, "bad-name", "a name is not valid",
"Names of projects and services have rules, because they become names of containers, networks and host names: letters,
digits, `-`, `_` and (services only) `.`; a project's name is lower case and starts with a letter or digit.
";
    UNKNOWN_SERVICE = 220, "unknown-service", "a service depends on one that does not exist",
"`depends_on`, `links`, `volumes_from`, or a `service:NAME` mode names a service that the file does not have. The
nearest name is suggested. A dependency that may be absent is marked `required: false`.
";
    DEPENDENCY_CYCLE = 221, "dependency-cycle", "services depend on each other in a circle",
"There is no order in which they could be started. The whole circle is shown. `links`, `volumes_from` and
`network_mode: service:NAME` count as dependencies, too.
";
    UNDECLARED = 222, "undeclared", "a network, volume, config or secret is not declared",
"A service uses a name that is not under the top-level `networks`, `volumes`, `configs` or `secrets`. Declare it; an
empty entry is enough for networks and volumes. In `volumes`, a path starts with `./`, `/` or `../`:

    volumes:
      - data:/var/lib/data      # the named volume `data`: declare it
      - ./data:/var/lib/data    # the folder `data`
";
    NEVER_HEALTHY = 223, "never-healthy", "a dependency cannot become healthy",
"A service waits with `condition: service_healthy` for one whose healthcheck is switched off (`disable: true` or
`NONE`). It would wait for ever. A dependency without a healthcheck in the file may have one in its image; that is
checked when the plan is made.
";
    PORT_CLASH = 224, "port-clash", "two containers want the same host port",
"A host port can be held by one container. Two services publish the same port (and address and protocol), or one
service with several replicas publishes a fixed one. Publish another port or a range, or put a proxy before them.
";
    CONFLICT = 225, "conflict", "two keys contradict each other",
"Both keys are valid, but not together: `network_mode` with `networks`, `container_name` with several replicas, an
external network with a driver, `mem_limit` and `deploy.resources.limits.memory` with different values, two mounts at
one place. Keep one of them.
";
    PATH_OUTSIDE = 230, "path-outside", "a path leads out of the repository",
"Files are read from the commit, so a relative path must stay in the repository (and data that is not in Git in the
app's folder). A path on the engine's host is written as an absolute path.
";
    PATH_REFUSED = 231, "path-refused", "a path cannot be used",
"The path depends on who runs it (`~`), is in a submodule, or has a name that no safe repository holds. The message
says which.
";
    FILE_MISSING = 232, "file-missing", "a file is not in the commit",
"A config or secret names a file that the commit does not have. Secrets are often kept out of Git on purpose: put the
file at `secrets/APP/NAME` beside config.yaml.
";
    TREE_TOO_LARGE = 233, "tree-too-large", "bound files of the commit are too large",
"Relative binds that are in Git are stored with each release, so that a rollback can bring them back; together they may
have 10 MiB per app. Put large files into the image, a named volume, or at an absolute path on the host.
";
    NO_SERVICES = 240, "no-services", "a Compose file has no services",
"The file is empty, or has no `services`. An app without services is refused, because it is far more often an accident
than a wish to remove everything; `driftless down APP` removes an app.
";
    SECRET_MISSING = 241, "secret-missing", "the content of a config or secret is not there",
"A secret or config takes its content from a variable that is not set, or from a path of one machine. Give the variable
in `vars/APP.env`, or the file at `secrets/APP/NAME` beside config.yaml.
";
    APP_TWICE = 250, "app-twice", "two apps have the same name",
"An app is named after its folder, and its name must be unique in the repository: holds, history and container names
hang on it. Rename one folder, or write a `driftless.yaml` that names them:

    apps:
      web-nas: { path: hosts/nas/web, target: nas }
      web-pi:  { path: hosts/pi/web,  target: pi }
";
    APP_KIND = 251, "app-kind-not-yet", "this kind of app cannot be deployed yet",
"The folder holds Kubernetes manifests, a kustomization or a Helm chart. Driftless recognises them, but this version
deploys Compose files only. Other apps of the repository are not affected.
";
    APP_PATH = 252, "app-path", "an app's path holds nothing to deploy",
"`path` in driftless.yaml must be a folder of the repository that holds a Compose file (or manifests), or such a file.
";
    APP_AFTER = 253, "app-after", "`after` cannot be followed",
"`after` names an app that does not exist, or apps wait for each other in a circle.
";
    NO_EFFECT = 290, "no-effect", "something in the file has no effect",
"A warning. The key is valid, but nothing on this kind of target follows from it; the message says why. The rest of the
file is used as it is.
";
    NOT_PASSED = 291, "not-passed", "a variable is passed through, but not set",
"A warning. `environment: [NAME]` (or `NAME:` without a value) passes a variable through from outside. The operator gave
no value for it, so the container does not get it, as with Compose. The environment of Driftless itself is never used.
";
    BIND_READ_ONLY = 292, "bind-read-only", "a bound file of the commit is read-only",
"A warning. A relative bind that is in Git is laid out from the commit and mounted read-only: what a container writes
into it would be lost with the next commit. Write `:ro` to say so. Data belongs in a named volume or in a folder that is
not in Git.
";
}
