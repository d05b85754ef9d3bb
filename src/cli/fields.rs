//! Every setting of `driftless.yaml`, once: the JSON schema, `explain` and the documentation are made from this table.
//!
//! In: nothing. Out: [`Field`]s. Guaranteed: what is in the table is what `render/` reads (a test compares them). Must not:
//! parse a file.

use serde_json::{Map, Value, json};

/// One setting.
#[derive(Debug)]
pub struct Field {
    /// From the top of the file; `*` is any name, as `apps.*.health.bake`.
    pub path: &'static str,
    pub kind: Kind,
    /// What holds where it is not written; empty where it must be.
    pub default: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What more there is to know.
    pub text: &'static str,
}

/// What a setting takes.
#[derive(Debug)]
pub enum Kind {
    /// Any keys, each with the settings below `*`.
    Names,
    /// The settings below it.
    Object,
    Text,
    /// A list of texts.
    Texts,
    Port,
    /// A whole number from 0 on.
    Count,
    /// True or false.
    Flag,
    /// A list of items, each with the settings below it.
    List,
    /// `90s`, `5m`, `1h30m`.
    Time,
    /// One of these words.
    Word(&'static [&'static str]),
}

const fn field(
    path: &'static str,
    kind: Kind,
    default: &'static str,
    summary: &'static str,
    text: &'static str,
) -> Field {
    Field {
        path,
        kind,
        default,
        summary,
        text,
    }
}

/// The settings of a repository's `driftless.yaml`.
pub const REPOSITORY: &[Field] = &[
    field(
        "apps",
        Kind::Names,
        "every folder with manifests",
        "The apps of the repository, by name",
        "Without a driftless.yaml, manifests at the root are one app named after the repository; otherwise every folder that\n\
         holds a Compose file, a kustomization, a chart or Kubernetes objects is an app named after the folder. A\n\
         driftless.yaml lists all apps: the two ways are not mixed.\n",
    ),
    field(
        "apps.*",
        Kind::Object,
        "",
        "One app: a folder that is deployed as one unit to one target",
        "",
    ),
    field(
        "apps.*.path",
        Kind::Text,
        "apps/NAME, or NAME",
        "The folder of the app in the repository",
        "",
    ),
    field(
        "apps.*.target",
        Kind::Text,
        "the only one that the operator has",
        "Where the app runs, by the operator's name for it",
        "The repository only names a target. Addresses and credentials are the operator's, so that a pull request can't reach\n\
         another machine. If two targets fit and none is named, that is an error that lists both.\n",
    ),
    field(
        "apps.*.after",
        Kind::Texts,
        "none",
        "Apps of the same repository that must be healthy first",
        "",
    ),
    field(
        "apps.*.profiles",
        Kind::Texts,
        "none",
        "Compose profiles that are enabled",
        "",
    ),
    field(
        "apps.*.helm",
        Kind::Object,
        "",
        "How a chart is rendered; only for a folder with a Chart.yaml",
        "The chart is rendered with `helm template` for the target's cluster: its namespace, its version, its kinds. Helm itself is not\n\
         on the cluster's side.\n",
    ),
    field(
        "apps.*.helm.values",
        Kind::Texts,
        "the chart's own values.yaml",
        "Values files, named from the chart's folder; a later one wins",
        "They are files of the commit; they may lie outside of the chart's folder (`../../env/prod.yaml`).\n",
    ),
    field(
        "apps.*.helm.release",
        Kind::Text,
        "the app's name",
        "The release's name, as `.Release.Name`",
        "",
    ),
    field(
        "apps.*.health",
        Kind::Object,
        "",
        "When a release counts as healthy",
        "",
    ),
    field(
        "apps.*.health.timeout",
        Kind::Time,
        "computed from the healthchecks, 5m at least",
        "No progress for this long fails the release",
        "It is not the time a deployment may take: as long as something gets better, the time starts again. The absolute end\n\
         is `health.cap`.\n",
    ),
    field(
        "apps.*.health.bake",
        Kind::Time,
        "10s",
        "How long everything must stay healthy before the release is stable",
        "Only a stable release is something to roll back to. A failure during the bake rolls back like any other.\n",
    ),
    field(
        "apps.*.health.cap",
        Kind::Time,
        "30m",
        "The absolute end of waiting",
        "",
    ),
    field(
        "apps.*.health.http",
        Kind::Object,
        "none",
        "An HTTP probe: any 2xx or 3xx answer passes",
        "It names a service of the app, never a URL: the probe goes to the container's own address.\n\n\
         \x20   health: { http: { service: web, port: 8080, path: /healthz } }\n",
    ),
    field(
        "apps.*.health.http.service",
        Kind::Text,
        "",
        "The service that is asked",
        "",
    ),
    field(
        "apps.*.health.http.port",
        Kind::Port,
        "",
        "The port inside the container",
        "",
    ),
    field(
        "apps.*.health.http.path",
        Kind::Text,
        "/",
        "The path that is asked for",
        "",
    ),
    field(
        "apps.*.health.expressions",
        Kind::List,
        "none",
        "How objects of a kind say how they are; for clusters",
        "They are those of Flux's `healthCheckExprs` and mean the same: `inProgress` is asked first, then `failed`, then `current`;\n\
         where none is true, or none has an answer yet, the object is in progress. The fields of the object are the variables.\n\
         Any version of the group matches.\n\n\
         \x20   health:\n\
         \x20     expressions:\n\
         \x20       - apiVersion: example.com/v1\n\
         \x20         kind: Widget\n\
         \x20         failed: status.phase == 'Broken'\n\
         \x20         current: status.phase == 'Up'\n",
    ),
    field(
        "apps.*.health.expressions.apiVersion",
        Kind::Text,
        "",
        "The group and a version of the kind",
        "",
    ),
    field("apps.*.health.expressions.kind", Kind::Text, "", "The kind", ""),
    field(
        "apps.*.health.expressions.inProgress",
        Kind::Text,
        "none",
        "True while it is on its way",
        "",
    ),
    field(
        "apps.*.health.expressions.failed",
        Kind::Text,
        "none",
        "True when it has failed",
        "",
    ),
    field(
        "apps.*.health.expressions.current",
        Kind::Text,
        "",
        "True when it is healthy",
        "",
    ),
    field(
        "apps.*.health.patience",
        Kind::Object,
        "",
        "How long a trouble of pods may last before it fails the release; for clusters",
        "A service that crashes until its database answers: `patience: { crash: 2m }`. The waiting for progress\n\
         (`health.timeout`) is as long by itself, unless it is written too.\n",
    ),
    field(
        "apps.*.health.patience.image_missing",
        Kind::Time,
        "15s",
        "An image that does not exist, or whose name is none",
        "",
    ),
    field(
        "apps.*.health.patience.image_pull",
        Kind::Time,
        "5m",
        "An image that can't be pulled now",
        "",
    ),
    field(
        "apps.*.health.patience.cannot_run",
        Kind::Time,
        "15s",
        "A command that can't be run",
        "",
    ),
    field(
        "apps.*.health.patience.config_missing",
        Kind::Time,
        "45s",
        "A ConfigMap, a Secret or a key that is not there",
        "",
    ),
    field(
        "apps.*.health.patience.crash",
        Kind::Time,
        "0s",
        "Crashes, from the second one on",
        "",
    ),
    field(
        "apps.*.health.patience.out_of_memory",
        Kind::Time,
        "0s",
        "Kills for memory, from the second one on",
        "",
    ),
    field(
        "apps.*.health.patience.ended",
        Kind::Time,
        "0s",
        "A service that ends by itself, again and again",
        "",
    ),
    field(
        "apps.*.health.patience.probe",
        Kind::Time,
        "what its probes may take and 30s",
        "A container that runs and is not ready",
        "",
    ),
    field(
        "apps.*.health.patience.unschedulable",
        Kind::Time,
        "2m",
        "A pod that no node has room for",
        "",
    ),
    field(
        "apps.*.health.patience.quota",
        Kind::Time,
        "30s",
        "Pods that a quota forbids",
        "",
    ),
    field(
        "apps.*.health.patience.refused",
        Kind::Time,
        "30s",
        "Pods that a policy or a webhook refuses",
        "",
    ),
    field(
        "apps.*.health.patience.not_created",
        Kind::Time,
        "3m",
        "Pods that can't be created for another reason",
        "",
    ),
    field(
        "apps.*.health.patience.volume",
        Kind::Time,
        "3m",
        "A volume that can't be attached or mounted",
        "",
    ),
    field(
        "apps.*.health.max_unhealthy_nodes",
        Kind::Count,
        "0",
        "How many pods of a DaemonSet may be unwell; for clusters",
        "The annotation `driftless.dev/max-unhealthy-nodes: \"2\"` says it for one DaemonSet.\n",
    ),
    field(
        "apps.*.health.wait_for_addresses",
        Kind::Flag,
        "false",
        "Load balancers, ingresses and gateways must have an address; for clusters",
        "Without it their lack is shown and holds nothing back. The annotation `driftless.dev/wait-for-address: \"true\"` (or\n\
         \"false\") says it for one object.\n",
    ),
    field(
        "apps.*.rollback",
        Kind::Word(&["auto", "notify", "off"]),
        "auto",
        "What follows a failed health gate",
        "auto: the last stable release is put back and the failed one is held. notify: nothing is changed and a person is\n\
         told. off: nothing is changed. With notify and off the app is frozen until a person decides.\n",
    ),
    field(
        "apps.*.drift",
        Kind::Word(&["correct", "report"]),
        "correct",
        "What `serve` does with changes made outside Git",
        "",
    ),
    field(
        "apps.*.prune",
        Kind::Word(&["safe", "all", "none"]),
        "safe",
        "What may be deleted once Git no longer has it",
        "safe: containers and networks, never volumes. all: volumes too, and only when a person confirms. none: nothing.\n",
    ),
    field(
        "apps.*.sync",
        Kind::Word(&["auto", "manual"]),
        "auto",
        "Whether `serve` applies new commits by itself",
        "",
    ),
    field(
        "apps.*.ignore",
        Kind::Texts,
        "none",
        "Fields whose drift is not reported, as `service:/path/of/field`",
        "",
    ),
    field(
        "apps.*.serviceAccount",
        Kind::Text,
        "the operator's choice",
        "The ServiceAccount of the app's namespace that every call of the app is made as; for clusters",
        "Driftless acts as it (impersonation): what the account may not do, the app can't do. The operator can set one for a\n\
         target (`service_account:` in config.yaml), and then only that one is used unless `choose_account: true` stands beside\n\
         it. An account that may do too little is an error before anything is touched. A rollback acts as the account of today's\n\
         commit.\n",
    ),
    field(
        "apps.*.host_dir",
        Kind::Text,
        "<state>/data/APP",
        "Where relative binds that are not in Git live on the engine's host",
        "A relative bind source that Git tracks is a file of the release. One that Git does not track is data: it lies below\n\
         this folder and is never touched by a deployment.\n",
    ),
];

impl Field {
    /// The last part of its path.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// Its path without the `apps.*.` that people leave out.
    pub fn short(&self) -> &'static str {
        self.path.strip_prefix("apps.*.").unwrap_or(self.path)
    }

    /// What it takes, in words.
    pub fn takes(&self) -> String {
        match self.kind {
            Kind::Names => "names, each with settings".to_owned(),
            Kind::Object => "settings".to_owned(),
            Kind::Text => "text".to_owned(),
            Kind::Texts => "a list of texts".to_owned(),
            Kind::Port => "a port number".to_owned(),
            Kind::Count => "a number".to_owned(),
            Kind::Flag => "true | false".to_owned(),
            Kind::List => "a list of settings".to_owned(),
            Kind::Time => "a time span (90s, 5m, 1h30m)".to_owned(),
            Kind::Word(words) => words.join(" | "),
        }
    }
}

/// The JSON schema (2020-12) of `fields`.
pub fn schema(fields: &[Field], id: &str, title: &str) -> Value {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": id,
        "title": title,
    });
    let top = object(fields, "");
    if let (Some(schema), Value::Object(top)) = (schema.as_object_mut(), top) {
        schema.extend(top);
    }
    schema
}

fn object(fields: &[Field], prefix: &str) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in children(fields, prefix) {
        properties.insert(field.name().to_owned(), one(fields, field));
        if field.default.is_empty() && !matches!(field.kind, Kind::Object | Kind::Names) {
            required.push(field.name());
        }
    }
    let mut value = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        value["required"] = json!(required);
    }
    value
}

fn children<'a>(fields: &'a [Field], prefix: &'a str) -> impl Iterator<Item = &'a Field> {
    fields.iter().filter(move |field| {
        let parent = field.path.rsplit_once('.').map_or("", |(parent, _)| parent);
        parent == prefix && field.name() != "*"
    })
}

fn one(fields: &[Field], field: &Field) -> Value {
    let mut value = match &field.kind {
        Kind::Names => {
            let each = format!("{}.*", field.path);
            json!({ "type": "object", "additionalProperties": object(fields, &each) })
        }
        Kind::Object => object(fields, field.path),
        Kind::Text => json!({ "type": "string" }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Port => json!({ "type": "integer", "minimum": 1, "maximum": 65535 }),
        Kind::Count => json!({ "type": "integer", "minimum": 0 }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::List => json!({ "type": "array", "items": object(fields, field.path) }),
        Kind::Time => json!({ "type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+$" }),
        Kind::Word(words) => json!({ "enum": words }),
    };
    let default = match field.default {
        "" => String::new(),
        default => format!(" (default: {default})"),
    };
    value["description"] = json!(format!("{}{default}", field.summary));
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_lies_in_one_that_is_listed() {
        for field in REPOSITORY {
            if let Some((parent, _)) = field.path.rsplit_once('.') {
                assert!(
                    REPOSITORY.iter().any(|other| other.path == parent),
                    "{}: no {parent}",
                    field.path
                );
            }
            assert!(
                !field.summary.is_empty() && !field.summary.ends_with('.'),
                "{}",
                field.path
            );
            assert!(
                field.text.is_empty() || field.text.ends_with('\n'),
                "{}",
                field.path
            );
        }
    }

    #[test]
    fn the_schema_nests_as_the_file_does() {
        let schema = schema(REPOSITORY, "driftless.schema.json", "driftless.yaml");
        let app = &schema["properties"]["apps"]["additionalProperties"];
        assert_eq!(app["additionalProperties"], json!(false));
        assert_eq!(
            app["properties"]["rollback"]["enum"],
            json!(["auto", "notify", "off"])
        );
        assert_eq!(
            app["properties"]["health"]["properties"]["http"]["required"],
            json!(["service", "port"])
        );
    }
}
