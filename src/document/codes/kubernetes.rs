//! `E08xx`: Kubernetes manifests and the tools that render them.

codes! {
    OBJECT_EXPECTED = 801, "object-expected", "a document is not a Kubernetes object",
"Every YAML document of a Kubernetes app is one object: a mapping with `apiVersion`, `kind` and `metadata.name`, or a
list of objects (`kind: List` with `items`). A file in which no document looks like an object is left out with a
warning; a document that stands among objects and is none is an error, because it is far more often a mistake.
";
    OBJECT_NAME = 803, "object-name", "an object's name is not valid",
"Names of objects are DNS names: lower-case letters, digits and `-` (for most kinds also `.`), starting and ending with a
letter or digit; at most 253 characters, namespaces and Services at most 63. Names of roles and bindings may hold any
character but `/` and `%`. The API server would refuse the object after others were applied already.

    metadata:
      name: My_App          # upper case and `_` are not allowed
      name: my-app
";
    GENERATE_NAME = 804, "generate-name", "`generateName` gives no name to compare with",
"An object with `generateName` gets a new name at each apply, so every run would create another one, and none could ever
be compared, healed or removed. Write `metadata.name`. For a Job that is to run at each release, give it a hook:

    metadata:
      name: migrate
      annotations: { driftless.dev/hook: pre }
";
    BAD_WAVE = 805, "bad-wave", "a wave is not a whole number",
"Objects are applied in waves, the lowest number first; 0 is the default, and numbers may be negative. The wave is read from
`driftless.dev/wave`, `argocd.argoproj.io/sync-wave`, or, for Helm's hooks, `helm.sh/hook-weight`. Annotations are text,
so the number is quoted:

    annotations: { driftless.dev/wave: \"-1\" }
";
    BAD_HOOK = 806, "bad-hook", "a hook's moment cannot be honoured",
"`driftless.dev/hook` is `pre` (before everything else), `post` (after everything is healthy) or `rollback` (only while
rolling back). Argo CD's PreSync and PostSync and Helm's pre-install, pre-upgrade, post-install, post-upgrade,
pre-rollback and post-rollback mean the same. One object has one moment: what is to run before *and* after is written
as two objects with two names.
";
    SOPS_DOCUMENT = 807, "sops-not-yet", "an encrypted file cannot be read yet",
"The document is encrypted with SOPS (it has a top-level `sops:` key, or values that start with `ENC[`). This version cannot
decrypt it, and applying it as it stands would replace a secret by its cipher text. Until decryption is supported, keep
the Secret out of the app's folder and create it by other means (kubectl, External Secrets, Sealed Secrets).
";
    SUBSTITUTION = 808, "substitution-not-yet", "variables in manifests are not substituted",
"`${NAME}` is replaced by Flux (`postBuild.substitute`) but not by kubectl, and not by this version. In a name it is an
error. Elsewhere it is a warning: the text is applied as it stands. Use a kustomization (`replacements`, `images`,
`configMapGenerator`) or a Helm chart for values that differ between environments.
";
    BAD_OPTION = 810, "bad-option", "an annotation of Driftless has a value or a name that means nothing",
"Objects say by annotation how they are to be treated; values are text, so numbers and booleans are quoted.

    driftless.dev/health: ignore                 # its health is shown and holds nothing back
    driftless.dev/wait-for-address: \"true\"       # a load balancer, ingress or gateway
    driftless.dev/max-unhealthy-nodes: \"2\"       # a DaemonSet

Others are `driftless.dev/wave`, `hook`, `prune` and `force`. A name that is not known is a warning, because it would be
without effect.
";
    OVERLAYS = 809, "several-overlays", "several overlays build on one base",
"Two or more kustomizations build on the same folder: as a rule they are the same app for different environments, and
which of them is to run where cannot be guessed. Say it in a `driftless.yaml`, which then lists all apps:

    apps:
      web:         { path: apps/web/overlays/prod,    target: prod/web }
      web-staging: { path: apps/web/overlays/staging, target: staging/web }
";
    TOOL_MISSING = 820, "renderer-missing", "the tool that renders the app is not installed",
"Kustomizations are rendered by `kustomize` (or, where that is missing, by `kubectl kustomize`), charts by `helm`. The program
was not found on the PATH of Driftless. Install it on the machine (or in the image) that runs Driftless;
`driftless doctor` shows what is found. Other apps are not affected, and nothing of this app is changed.
";
    RENDER_REMOTE = 822, "remote-base", "a kustomization or chart refers to the network",
"Rendering has no network: what runs is what the commit says, today and at a rollback. A remote base (`https://…`,
`git::…`, `github.com/…`) or a chart repository can change without a commit. Copy it into the repository
(`kustomize localize`, `helm dependency build` with the `charts/` folder committed), and refer to the copy.
";
    RENDER_REFUSED = 823, "renderer-refused", "a kustomization asks for what is not allowed",
"Generators and transformers that run programs or containers, Helm charts inside of kustomizations, and post-renderers are
refused: they would run code from the repository on the machine that holds the credentials. Render them beforehand and
commit the result, or use a chart folder as an app of its own.
";
    RENDER_LIMIT = 824, "renderer-limit", "rendering went beyond a limit",
"A renderer may take 60 s, a bounded amount of memory, processor time and file size, and print 64 MiB; the part of the
commit that it sees may have 256 MiB and 20 000 files. The message says which limit it was. A repository that is
larger than that below its root needs the app in a folder with less around it.
";
    MANIFEST_LEFT_OUT = 890, "left-out", "something in the folder is not deployed",
"A warning. A file of the app's folder holds no Kubernetes object, or an object is of a moment that a release does not have
(Helm's tests and delete hooks, Argo CD's Skip, SyncFail, PreDelete and PostDelete). It is left out; the rest is used
as it is.
";
}
