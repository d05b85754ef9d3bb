//! `driftless config show --origin`: every setting, its value without secrets, and who won.

use crate::secret::MASKED;

use super::{Origin, Platform, SecretFrom, Settings, SourceSetting, show_duration};

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Row {
    /// As `sources[0].url`.
    pub key: String,
    /// Without secrets; `None`: not set.
    pub value: Option<String>,
    /// `default`, a place in the file, a variable or a flag.
    pub origin: String,
}

impl Settings {
    /// All settings in the order of the file.
    pub fn show(&self) -> Vec<Row> {
        let mut rows = Rows(Vec::new());
        rows.add(
            "instance",
            Some(self.instance.value.to_string()),
            &self.instance.origin,
        );
        rows.add(
            "state",
            Some(self.state.value.display().to_string()),
            &self.state.origin,
        );
        let key_file = self
            .state_key_file
            .value
            .as_ref()
            .map(|path| path.display().to_string());
        rows.add("state_key_file", key_file, &self.state_key_file.origin);
        rows.add(
            "interval",
            Some(show_duration(self.interval.value)),
            &self.interval.origin,
        );
        rows.add(
            "log_format",
            Some(self.log_format.value.as_str().to_owned()),
            &self.log_format.origin,
        );
        rows.add(
            "vars",
            Some(self.vars.value.display().to_string()),
            &self.vars.origin,
        );
        rows.add(
            "secrets",
            Some(self.secrets.value.display().to_string()),
            &self.secrets.origin,
        );
        rows.add("target", self.target.value.clone(), &self.target.origin);
        for (index, source) in self.sources.iter().enumerate() {
            rows.source(&format!("sources[{index}]"), source);
        }
        for (name, target) in &self.targets {
            let (key, value) = match &target.platform {
                Platform::Docker(spec) => ("docker", spec.clone()),
                Platform::Kubernetes(cluster) => ("kubernetes", cluster.at.as_str().to_owned()),
            };
            rows.add(&format!("targets.{name}.{key}"), Some(value), &target.origin);
            if let Platform::Kubernetes(cluster) = &target.platform {
                let flag = |set: bool| set.then(|| "true".to_owned());
                let kubeconfig = cluster.kubeconfig.as_ref();
                let choose = cluster.choose_account.map(|choose| choose.to_string());
                for (key, value) in [
                    ("kubeconfig", kubeconfig.map(|path| path.display().to_string())),
                    ("namespace", cluster.namespace.clone()),
                    ("exec", flag(cluster.exec)),
                    ("service_account", cluster.account.clone()),
                    ("choose_account", choose),
                    ("lease.namespace", cluster.lease_namespace.clone()),
                    ("lease.duration", cluster.lease_duration.map(show_duration)),
                ] {
                    if value.is_some() {
                        rows.add(&format!("targets.{name}.{key}"), value, &target.origin);
                    }
                }
            }
        }
        for (app, names) in &self.allow {
            rows.add(
                &format!("allow.{app}"),
                Some(names.value.join(", ")),
                &names.origin,
            );
        }
        rows.0
    }
}

struct Rows(Vec<Row>);

impl Rows {
    fn add(&mut self, key: &str, value: Option<String>, origin: &Origin) {
        self.0.push(Row {
            key: key.to_owned(),
            value,
            origin: origin.to_string(),
        });
    }

    /// Of a source, what is set.
    fn source(&mut self, key: &str, source: &SourceSetting) {
        let auth = &source.auth;
        let secret = |from: &SecretFrom| match from {
            SecretFrom::Value(_) => MASKED.to_owned(),
            SecretFrom::File(path) => format!("in {}", path.display()),
        };
        let path = |path: &std::path::PathBuf| path.display().to_string();
        let values = [
            ("name", source.name.clone()),
            ("url", Some(source.url.clone())),
            ("ref", source.reference.clone()),
            ("interval", source.interval.map(show_duration)),
            ("auth.username", auth.username.clone()),
            ("auth.password", auth.password.as_ref().map(secret)),
            ("auth.token", auth.token.as_ref().map(secret)),
            ("auth.ssh_key_file", auth.ssh_key_file.as_ref().map(path)),
            ("auth.known_hosts_file", auth.known_hosts_file.as_ref().map(path)),
            (
                "targets",
                (!source.targets.is_empty()).then(|| source.targets.join(", ")),
            ),
        ];
        for (name, value) in values.into_iter().filter(|(_, value)| value.is_some()) {
            self.add(&format!("{key}.{name}"), value, &source.origin);
        }
    }
}
