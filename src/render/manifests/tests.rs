use super::*;
use crate::render::bundle::Hook;

fn bundle(files: &[(&str, &str)]) -> Result<Read, Diagnostics> {
    read(
        files.iter().map(|(name, text)| (*name, text.as_bytes())),
        Some("shop"),
    )
}

fn one(text: &str) -> Read {
    bundle(&[("k8s/a.yaml", text)]).unwrap_or_else(|found| panic!("{}", found.render(false, 120)))
}

fn refused(text: &str) -> String {
    match bundle(&[("k8s/a.yaml", text)]) {
        Ok(read) => panic!("accepted: {:?}", read.bundle),
        Err(found) => found
            .iter()
            .map(|one| format!("{} {one} {}", one.code, one.label.as_deref().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

fn keys(read: &Read) -> Vec<String> {
    read.bundle
        .objects
        .iter()
        .map(|object| object.key.to_string())
        .collect()
}

fn config_map(name: &str, rest: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}{rest}}}\n")
}

#[test]
fn documents_lists_and_typed_lists_become_objects_in_order() {
    let read = bundle(&[
        (
            "k8s/b.yaml",
            "---\n# nothing\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: web}}\n- apiVersion: v1\n  kind: List\n  items: [{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: other}}]\n---\n",
        ),
        (
            "k8s/a.json",
            "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMapList\", \"items\": [\n\t{\"metadata\": {\"name\": \"c\"}, \"data\": {\"u\": \"http:\\/\\/x\\ud83d\\ude00\"}}]}",
        ),
    ])
    .unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(
        keys(&read),
        ["ConfigMap/c", "Service/web", "Deployment/other/web"]
    );
    assert_eq!(read.bundle.objects[0].value["kind"], "ConfigMap");
    assert_eq!(read.bundle.objects[0].value["data"]["u"], "http://x😀");
    assert_eq!(read.bundle.namespace.as_deref(), Some("shop"));
    let lone = one("apiVersion: v1\nkind: List\nitems:\n");
    assert!(lone.bundle.objects.is_empty());
}

#[test]
fn scalars_are_those_of_kubectl() {
    let read = one(
        "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: x}\nspec: {a: yes, b: 0644, c: 1_000, d: 1:30, e: 2001-12-14, f: 08, g: 0x1F, h: 'yes', i: ~, n: 1.0}\n",
    );
    assert_eq!(
        read.bundle.objects[0].value["spec"],
        serde_json::json!({
            "a": true, "b": 420, "c": 1000, "d": "1:30", "e": "2001-12-14", "f": 8, "g": 31, "h": "yes", "i": null,
            "false": 1
        })
    );
}

#[test]
fn five_broken_manifests_give_five_errors() {
    let found = bundle(&[
        ("k8s/1.yaml", "kind: ConfigMap\nmetadata: {name: a}\n"),
        ("k8s/2.yaml", "apiVersion: v1\nmetadata: {name: b}\n"),
        ("k8s/3.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n"),
        (
            "k8s/4.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadta: {name: d}\n",
        ),
        ("k8s/5.yaml", "apiVersion: v1\nkind: ConfigMap\n  metadata: [\n"),
        ("k8s/6.yaml", &config_map("fine", "")),
    ])
    .expect_err("broken");
    let shown: Vec<String> = found.iter().map(|one| format!("{} {one}", one.code)).collect();
    assert_eq!(shown.len(), 5, "{shown:#?}");
    for (finding, (place, message)) in shown.iter().zip([
        ("k8s/1.yaml:1:1", "the ConfigMap needs `apiVersion`"),
        ("k8s/2.yaml:1:1", "the object needs `kind`"),
        ("k8s/3.yaml:3:11", "the ConfigMap needs `metadata.name`"),
        ("k8s/4.yaml:3:1", "unknown field `metadta`"),
        ("k8s/5.yaml:", ""),
    ]) {
        assert!(finding.contains(place) && finding.contains(message), "{finding}");
    }
}

#[test]
fn what_an_api_server_would_refuse_is_refused_with_its_place() {
    for (text, code, message) in [
        (config_map("My_App", ""), "E0803", "a.yaml:3:18: `My_App` is not a name of a ConfigMap"),
        (config_map("-x", ""), "E0803", "not a name"),
        (config_map("1.5", ""), "E0201", "`metadata.name` must be text this is a number"),
        (config_map("x, namespace: a.b", ""), "E0803", "not a name of a namespace"),
        (config_map("x, labels: {a: 1}", ""), "E0201", "`a` of `metadata.labels` must be text"),
        (config_map("x, annotations: [a]", ""), "E0201", "`metadata.annotations` must be a mapping"),
        (config_map("x, lables: {a: b}", ""), "E0207", "did you mean `labels`?"),
        (config_map("x, spec: {a: b}", ""), "E0207", "unknown field `spec` in `metadata`"),
        (config_map("'${NAME}'", ""), "E0808", "not substituted"),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: x-}\n".to_owned(),
            "E0804",
            "every apply would create another one",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a.b}\n".to_owned(),
            "E0803",
            "not a name of a Service",
        ),
        (
            "apiVersion: apps/v1/x\nkind: Deployment\nmetadata: {name: a}\n".to_owned(),
            "E0204",
            "not an API version",
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspce: {}\n".to_owned(),
            "E0207",
            "did you mean `spec`?",
        ),
        ("kind: X\n---\n- a\n".to_owned(), "E0801", "must be a mapping this is a list"),
        (
            "apiVersion: v1\nkind: List\nitems: {}\n".to_owned(),
            "E0201",
            "`items` of a List must be a list",
        ),
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {x: 'ENC[AES256_GCM,data:x]'}\nsops: {mac: y, version: 3.8.1}\n"
                .to_owned(),
            "E0807",
            "a.yaml:5:1: the document is encrypted with SOPS",
        ),
        (
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n".to_owned(),
            "E0801",
            "a kustomization is not an object",
        ),
    ] {
        let shown = refused(&text);
        assert!(
            shown.lines().any(|line| line.starts_with(code) && line.contains(message)),
            "{text}\n{shown}"
        );
    }
}

#[test]
fn names_of_roles_and_custom_resources_are_not_refused() {
    let read = one(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: 'system:Thing'}\nrules: []\n---\napiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a.b-c}\nspce: {}\n",
    );
    assert_eq!(read.bundle.objects.len(), 2);
}

#[test]
fn an_object_declared_twice_shows_both_places() {
    let found = bundle(&[
        ("k8s/a.yaml", &config_map("x", "")),
        ("k8s/b.yaml", &config_map("x", ", namespace: shop")),
    ])
    .expect_err("twice");
    let shown = found.render(false, 120);
    assert!(
        shown.contains("E0591") && shown.contains("k8s/b.yaml:3") && shown.contains("k8s/a.yaml:3"),
        "{shown}"
    );
    let other = bundle(&[
        ("k8s/a.yaml", &config_map("x", "")),
        ("k8s/b.yaml", &config_map("x", ", namespace: other")),
    ]);
    assert!(other.is_ok());
}

#[test]
fn what_a_server_sets_is_not_desired() {
    let read = one(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: x\n  uid: u\n  resourceVersion: '1'\n  generation: 2\n  creationTimestamp: null\n  managedFields: []\n  labels: {a: }\n  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}', keep: me}\nspec: {template: {metadata: {creationTimestamp: null, labels: {a: b}}}}\nstatus: {replicas: 1}\n",
    );
    assert_eq!(
        read.bundle.objects[0].value,
        serde_json::json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "x", "labels": {"a": ""}, "annotations": {"keep": "me"}},
            "spec": {"template": {"metadata": {"labels": {"a": "b"}}}},
        })
    );
}

#[test]
fn waves_and_hooks_of_all_three_tools_are_understood() {
    let moment = |annotations: &str| {
        let read = one(&config_map("x", &format!(", annotations: {{{annotations}}}")));
        read.bundle
            .objects
            .first()
            .map(|object| (object.wave, object.hook))
    };
    for (annotations, expected) in [
        ("driftless.dev/wave: '-3'", Some((-3, None))),
        ("argocd.argoproj.io/sync-wave: '5'", Some((5, None))),
        (
            "driftless.dev/wave: '1', argocd.argoproj.io/sync-wave: '5'",
            Some((1, None)),
        ),
        ("helm.sh/hook-weight: '7'", Some((0, None))),
        (
            "helm.sh/hook: 'pre-install,pre-upgrade', helm.sh/hook-weight: '-5'",
            Some((-5, Some(Hook::Pre))),
        ),
        ("helm.sh/hook: post-upgrade", Some((0, Some(Hook::Post)))),
        (
            "helm.sh/hook: 'post-upgrade, post-rollback'",
            Some((0, Some(Hook::Post))),
        ),
        ("helm.sh/hook: pre-rollback", Some((0, Some(Hook::Rollback)))),
        ("helm.sh/hook: crd-install", Some((0, None))),
        ("helm.sh/hook: test", None),
        ("helm.sh/hook: pre-delete", None),
        ("argocd.argoproj.io/hook: PreSync", Some((0, Some(Hook::Pre)))),
        (
            "argocd.argoproj.io/hook: 'Sync,PostSync'",
            Some((0, Some(Hook::Post))),
        ),
        ("argocd.argoproj.io/hook: SyncFail", None),
        ("argocd.argoproj.io/hook: Skip", None),
        (
            "argocd.argoproj.io/hook: PostSync, helm.sh/hook: pre-install",
            Some((0, Some(Hook::Post))),
        ),
        (
            "driftless.dev/hook: rollback, argocd.argoproj.io/hook: PostSync",
            Some((0, Some(Hook::Rollback))),
        ),
    ] {
        assert_eq!(moment(annotations), expected, "{annotations}");
    }
    for (annotations, code) in [
        ("driftless.dev/wave: first", "E0805"),
        ("argocd.argoproj.io/sync-wave: '1.5'", "E0805"),
        ("driftless.dev/wave: '99999999999'", "E0805"),
        ("driftless.dev/hook: before", "E0806"),
        ("argocd.argoproj.io/hook: presync", "E0806"),
        ("helm.sh/hook: 'pre-install,post-install'", "E0806"),
    ] {
        let shown = refused(&config_map("x", &format!(", annotations: {{{annotations}}}")));
        assert!(shown.contains(code), "{annotations}: {shown}");
    }
    let left_out = one(&config_map("x", ", annotations: {helm.sh/hook: test}"));
    assert!(left_out.warnings.to_string().contains("ConfigMap/x is left out"));
}

#[test]
fn a_field_is_found_where_it_is_written() {
    let read = one(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web.v1}\nspec:\n  replicas: 2\n  template:\n    spec:\n      containers:\n      - name: a\n        image: nginx\n        env: []\n",
    );
    let key = &read.bundle.objects[0].key;
    let place = |pointer: &str| read.places.field(key, pointer).map(ToString::to_string);
    let line = |text: &str| Some(format!("k8s/a.yaml:{text}"));
    assert_eq!(place("/spec/template/spec/containers/0/image"), line("10:16"));
    assert_eq!(
        place("/spec/template/spec/containers/0/env/3/value"),
        line("11:9")
    );
    assert_eq!(place("/spec/template/spec/containers/7/image"), line("8:7"));
    assert_eq!(place("/spec/strategy"), line("4:1"));
    assert_eq!(place("/data"), line("1:1"));
    for pointer in [
        "/spec/template/spec/containers/0/env/3/value",
        "/spec/replicas",
        "/data",
    ] {
        assert_eq!(
            read.places.find(&format!("{key}:{pointer}")),
            read.places.field(key, pointer)
        );
    }
}

#[test]
fn files_that_are_no_manifests_are_left_out_with_a_warning() {
    let read = bundle(&[
        ("k8s/a.yaml", &config_map("x", "")),
        ("k8s/values.yaml", "replicas: 3\n"),
        ("k8s/template.yaml", "{{ if .x }}\na: 1\n"),
        ("k8s/empty.yaml", "# nothing\n"),
    ])
    .unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(keys(&read), ["ConfigMap/x"]);
    let shown = read.warnings.to_string();
    assert!(
        shown.contains("k8s/values.yaml") && shown.contains("k8s/template.yaml") && !shown.contains("empty"),
        "{shown}"
    );
}

#[test]
fn variables_of_flux_are_warned_of_but_not_in_scripts() {
    let read = one(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: '${N:=3}', command: ['${HOME}'], image: 'a:${TAG}'}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: '${HOME}'}\n",
    );
    assert_eq!(read.warnings.len(), 1, "{}", read.warnings);
    assert!(
        read.warnings.to_string().contains("a.yaml:4:18: `${N:=3}`"),
        "{}",
        read.warnings
    );
}

#[test]
fn no_field_at_the_top_of_a_built_in_kind_is_taken_for_a_misspelled_one() {
    for field in [
        "addressType",
        "aggregationRule",
        "allowVolumeExpansion",
        "allowedTopologies",
        "automountServiceAccountToken",
        "binaryData",
        "data",
        "description",
        "driverName",
        "endpoints",
        "globalDefault",
        "handler",
        "imagePullSecrets",
        "immutable",
        "mountOptions",
        "overhead",
        "parameters",
        "ports",
        "preemptionPolicy",
        "provisioner",
        "reclaimPolicy",
        "revision",
        "roleRef",
        "rules",
        "scheduling",
        "secrets",
        "spec",
        "stringData",
        "subjects",
        "subsets",
        "template",
        "type",
        "value",
        "volumeBindingMode",
        "webhooks",
    ] {
        let text = format!("apiVersion: v1\nkind: Any\nmetadata: {{name: x}}\n{field}: 1\n");
        assert!(bundle(&[("k8s/a.yaml", &text)]).is_ok(), "{field}");
    }
}

#[test]
fn every_annotation_of_ours_is_known_and_takes_its_own_values() {
    let job = |annotations: &str| {
        format!("apiVersion: batch/v1\nkind: Job\nmetadata: {{name: x, annotations: {{{annotations}}}}}\n")
    };
    for known in [
        "driftless.dev/kind: migration",
        "driftless.dev/rollback: safe",
        "driftless.dev/rollback: freeze",
        "driftless.dev/wave: '1'",
        "driftless.dev/health: ignore",
    ] {
        let read = one(&job(known));
        assert!(read.warnings.is_empty(), "{known}: {}", read.warnings);
    }
    let misspelled = one(&job("driftless.dev/rolback: safe"));
    assert!(
        misspelled.warnings.to_string().contains("means nothing"),
        "{}",
        misspelled.warnings
    );
    for wrong in [
        "driftless.dev/kind: migrate",
        "driftless.dev/rollback: yes please",
    ] {
        let found = bundle(&[("k8s/a.yaml", &job(wrong))]).expect_err(wrong);
        assert!(found.to_string().contains("cannot be"), "{found}");
    }
}

#[test]
fn values_of_secrets_are_masked_and_in_no_finding() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: aHVudGVyMg==}\nstringData: {b: canary}\n";
    let read = one(text);
    for value in ["hunter2", "canary", "aHVudGVyMg=="] {
        assert!(!read.mask.clean(&format!("x {value} y")).contains(value));
    }
    assert!(!format!("{:?}", read.bundle).contains("canary"));
    let broken = bundle(&[("k8s/a.yaml", &text.replace("{name: s}", "{name: S}"))]).expect_err("upper case");
    let shown = broken.render(false, 120);
    assert!(
        !shown.contains("canary") && !shown.contains("aHVudGVyMg"),
        "{shown}"
    );
}

#[test]
fn rendered_output_names_where_an_object_comes_from() {
    struct Lines;
    impl Origins for Lines {
        fn origin(&self, line: u32, _: &ObjectKey) -> Option<Place> {
            Some(Place {
                file: format!("chart/templates/{}.yaml", if line < 5 { "a" } else { "b" }).into(),
                line: 0,
                column: 0,
            })
        }
    }
    let output = format!("{}---\n{}", config_map("x", ""), config_map("w", ""));
    let read = read_rendered("chart (rendered)", output.as_bytes(), "helm v3", &Lines, None)
        .unwrap_or_else(|found| panic!("{found}"));
    let shown: Vec<String> = read
        .bundle
        .objects
        .iter()
        .filter_map(|object| read.places.field(&object.key, "/data/a"))
        .map(ToString::to_string)
        .collect();
    assert_eq!(shown, ["chart/templates/b.yaml", "chart/templates/a.yaml"]);
    assert_eq!(read.bundle.renderer.as_deref(), Some("helm v3"));
    let broken = output.replace("name: w", "name: W");
    let found = read_rendered("chart (rendered)", broken.as_bytes(), "helm v3", &Lines, None)
        .expect_err("upper case");
    assert!(
        found
            .render(false, 120)
            .contains("rendered from chart/templates/b.yaml")
    );
}

#[test]
fn the_order_of_files_does_not_show() {
    let files = [
        ("a.yaml", config_map("x", "")),
        ("b.yaml", config_map("w", "")),
        ("c.yaml", config_map("z", ", namespace: n")),
    ];
    let forward: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let backward: Vec<(&str, &str)> = forward.iter().rev().copied().collect();
    let objects = |files: &[(&str, &str)]| bundle(files).unwrap_or_default().bundle.objects;
    assert_eq!(objects(&forward), objects(&backward));
}
