//! Flag > environment > file > default.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::document::{Code, Diagnostic, Diagnostics, Severity, Span, did_you_mean};
use crate::names::InstanceName;
use crate::secret::{Secret, looks_secret};

use super::file::{FileModel, Folders, bad_interval, read, usable_interval};
use super::{Auth, LogFormat, Origin, SecretFrom, Set, Settings, SourceSetting, absolute};

/// Flags that are settings too. `None`: not given. (Don't let clap fill them from the environment: the origin would lie.)
#[derive(Debug, Clone, Default)]
pub struct Flags {
    pub config: Option<String>,
    pub instance: Option<String>,
    pub state: Option<String>,
    pub repo: Option<String>,
    pub reference: Option<String>,
    pub target: Option<String>,
    pub interval: Option<String>,
    pub log_format: Option<String>,
}

/// What settings are made from.
pub struct Inputs<'a> {
    pub environment: &'a BTreeMap<String, String>,
    pub flags: &'a Flags,
    /// What relative paths of flags and variables are relative to.
    pub working_dir: &'a Path,
    /// The default instance name.
    pub host_name: Option<&'a str>,
    /// Reads a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

/// Every variable that is a setting, with what it sets.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("DRIFTLESS_CONFIG", "the path of config.yaml"),
    ("DRIFTLESS_INSTANCE", "instance"),
    ("DRIFTLESS_STATE", "state"),
    ("DRIFTLESS_STATE_KEY_FILE", "state_key_file"),
    ("DRIFTLESS_INTERVAL", "interval"),
    ("DRIFTLESS_LOG_FORMAT", "log_format"),
    ("DRIFTLESS_VARS", "vars"),
    ("DRIFTLESS_SECRETS", "secrets"),
    ("DRIFTLESS_REPO", "the one source's url"),
    ("DRIFTLESS_REF", "the one source's ref"),
    ("DRIFTLESS_TARGET", "the target"),
    (
        "DRIFTLESS_GIT_USERNAME",
        "auth.username of DRIFTLESS_REPO or --repo",
    ),
    ("DRIFTLESS_GIT_PASSWORD", "its password"),
    ("DRIFTLESS_GIT_PASSWORD_FILE", "its auth.password_file"),
    ("DRIFTLESS_GIT_TOKEN", "its token"),
    ("DRIFTLESS_GIT_TOKEN_FILE", "its auth.token_file"),
    ("DRIFTLESS_GIT_SSH_KEY_FILE", "its auth.ssh_key_file"),
    ("DRIFTLESS_GIT_KNOWN_HOSTS_FILE", "its auth.known_hosts_file"),
];

/// A text from the winner, with what is needed to judge it.
struct Raw {
    text: String,
    origin: Origin,
    /// What a relative path starts from.
    base: PathBuf,
    span: Option<Span>,
}

impl Raw {
    fn fault(&self, code: Code, message: &str) -> Diagnostic {
        match &self.span {
            Some(span) => Diagnostic::error(code, span, message),
            None => Diagnostic::without_place(code, format!("{}: {message}", self.origin)),
        }
    }
}

/// What is asked while one setting after the other is made.
struct Resolver<'a> {
    inputs: &'a Inputs<'a>,
    file: FileModel,
    /// The folder of `config.yaml`, or where it would be.
    folder: PathBuf,
    home: Option<PathBuf>,
    found: Diagnostics,
}

impl Settings {
    /// Makes the settings, with warnings; or everything that is wrong.
    pub fn load(inputs: &Inputs<'_>) -> Result<(Settings, Diagnostics), Diagnostics> {
        let home = variable(inputs, "HOME").map(PathBuf::from);
        let mut found = Diagnostics::new();
        let (path, bytes) = find_file(inputs, home.as_deref(), &mut found);
        let folder = path
            .as_deref()
            .and_then(Path::parent)
            .map(Path::to_owned)
            .or_else(|| config_home(inputs, home.as_deref()))
            .unwrap_or_else(|| PathBuf::from("/etc/driftless"));
        let file = match (&path, bytes) {
            (Some(path), Some(bytes)) => {
                let folders = Folders {
                    base: &folder,
                    home: home.as_deref(),
                };
                read(&path.to_string_lossy(), &bytes, &folders, &mut found)
            }
            _ => FileModel::default(),
        };
        let mut resolver = Resolver {
            inputs,
            file,
            folder,
            home,
            found,
        };
        resolver.check_names();
        let settings = resolver.settings(path);
        resolver.found.into_result(settings)
    }
}

impl Resolver<'_> {
    fn settings(&mut self, file: Option<PathBuf>) -> Settings {
        let flags = self.inputs.flags;
        let repo = self.raw(None, "DRIFTLESS_REPO", Some(("--repo", &flags.repo)));
        let reference = self.raw(None, "DRIFTLESS_REF", Some(("--ref", &flags.reference)));
        let target = self.raw(None, "DRIFTLESS_TARGET", Some(("--target", &flags.target)));
        Settings {
            file,
            instance: self.instance(),
            state: self.state(),
            state_key_file: self.key_file(),
            interval: self.interval(),
            log_format: self.log_format(),
            vars: self.folder("vars", "DRIFTLESS_VARS"),
            secrets: self.folder("secrets", "DRIFTLESS_SECRETS"),
            sources: self.sources(repo, reference),
            targets: std::mem::take(&mut self.file.targets),
            target: target.map_or(
                Set {
                    value: None,
                    origin: Origin::Default,
                },
                |raw| Set {
                    value: Some(raw.text),
                    origin: raw.origin,
                },
            ),
            allow: std::mem::take(&mut self.file.allow),
        }
    }

    /// The winner's text for one setting.
    fn raw(
        &self,
        key: Option<&'static str>,
        variable_name: &'static str,
        flag: Option<(&'static str, &Option<String>)>,
    ) -> Option<Raw> {
        let base = || self.inputs.working_dir.to_owned();
        if let Some((name, Some(text))) = flag {
            return Some(Raw {
                text: text.clone(),
                origin: Origin::Flag(name),
                base: base(),
                span: None,
            });
        }
        if let Some(text) = variable(self.inputs, variable_name) {
            let origin = Origin::Environment(variable_name);
            return Some(Raw {
                text: text.to_owned(),
                origin,
                base: base(),
                span: None,
            });
        }
        let text = key.and_then(|key| self.file.texts.get(key))?;
        Some(Raw {
            text: text.value.clone(),
            origin: Origin::File(text.span.place()),
            base: self.folder.clone(),
            span: Some(text.span.clone()),
        })
    }

    fn instance(&mut self) -> Set<InstanceName> {
        if let Some(raw) = self.raw(
            Some("instance"),
            "DRIFTLESS_INSTANCE",
            Some(("--instance", &self.inputs.flags.instance)),
        ) {
            match InstanceName::try_from(raw.text.as_str()) {
                Ok(value) => {
                    return Set {
                        value,
                        origin: raw.origin,
                    };
                }
                Err(error) => self
                    .found
                    .push(raw.fault(Code::SETTING_VALUE, &error.to_string())),
            }
        }
        Set {
            value: default_instance(self.inputs.host_name),
            origin: Origin::Default,
        }
    }

    fn state(&mut self) -> Set<PathBuf> {
        if let Some(set) = self.path(
            Some("state"),
            "DRIFTLESS_STATE",
            Some(("--state", &self.inputs.flags.state)),
        ) {
            return set;
        }
        let xdg = variable(self.inputs, "XDG_STATE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        let value = match (xdg, &self.home) {
            (Some(xdg), _) => xdg.join("driftless"),
            (None, Some(home)) => home.join(".local/state/driftless"),
            (None, None) => PathBuf::from("/var/lib/driftless"),
        };
        Set {
            value,
            origin: Origin::Default,
        }
    }

    fn key_file(&mut self) -> Set<Option<PathBuf>> {
        match self.path(Some("state_key_file"), "DRIFTLESS_STATE_KEY_FILE", None) {
            Some(set) => Set {
                value: Some(set.value),
                origin: set.origin,
            },
            None => Set {
                value: None,
                origin: Origin::Default,
            },
        }
    }

    fn folder(&mut self, key: &'static str, name: &'static str) -> Set<PathBuf> {
        self.path(Some(key), name, None).unwrap_or_else(|| Set {
            value: self.folder.join(key),
            origin: Origin::Default,
        })
    }

    fn path(
        &mut self,
        key: Option<&'static str>,
        name: &'static str,
        flag: Option<(&'static str, &Option<String>)>,
    ) -> Option<Set<PathBuf>> {
        let raw = self.raw(key, name, flag)?;
        if raw.text.trim().is_empty() || raw.text.contains('\0') {
            self.found.push(raw.fault(Code::SETTING_VALUE, "this is no path"));
            return None;
        }
        Some(Set {
            value: absolute(&raw.base, self.home.as_deref(), &raw.text),
            origin: raw.origin,
        })
    }

    fn interval(&mut self) -> Set<Duration> {
        if let Some(raw) = self.raw(
            Some("interval"),
            "DRIFTLESS_INTERVAL",
            Some(("--interval", &self.inputs.flags.interval)),
        ) {
            match usable_interval(&raw.text) {
                Ok(value) => {
                    return Set {
                        value,
                        origin: raw.origin,
                    };
                }
                Err(why) => {
                    let why = if raw.span.is_some() {
                        why.to_owned()
                    } else {
                        format!("{}: {why}", raw.origin)
                    };
                    self.found.push(bad_interval(raw.span.as_ref(), &why));
                }
            }
        }
        Set {
            value: Duration::from_secs(60),
            origin: Origin::Default,
        }
    }

    fn log_format(&mut self) -> Set<LogFormat> {
        let flag = Some(("--log-format", &self.inputs.flags.log_format));
        if let Some(raw) = self.raw(Some("log_format"), "DRIFTLESS_LOG_FORMAT", flag) {
            let found = [LogFormat::Auto, LogFormat::Text, LogFormat::Json]
                .into_iter()
                .find(|one| one.as_str() == raw.text);
            if let Some(value) = found {
                return Set {
                    value,
                    origin: raw.origin,
                };
            }
            let mut finding = raw
                .fault(
                    Code::SETTING_NOT_ALLOWED,
                    &format!("`{}` is no log format", raw.text),
                )
                .with_note(format!("allowed: {}", LogFormat::WORDS.join(", ")));
            if let Some(near) = did_you_mean(&raw.text, LogFormat::WORDS.iter().copied()) {
                finding = finding.with_help(format!("did you mean `{near}`?"));
            }
            self.found.push(finding);
        }
        Set {
            value: LogFormat::Auto,
            origin: Origin::Default,
        }
    }

    /// The file's sources; with a repository by flag or variable, that one alone. A source of the file with the same url
    /// lends it what is configured there.
    fn sources(&mut self, repo: Option<Raw>, reference: Option<Raw>) -> Vec<SourceSetting> {
        let configured = std::mem::take(&mut self.file.sources);
        let auth = self.auth();
        let Some(repo) = repo else {
            if !auth.is_empty() {
                let message = "DRIFTLESS_GIT_… is set, but neither DRIFTLESS_REPO nor --repo names the repository it is for";
                self.found.push(warning(message));
            }
            return configured;
        };
        if looks_secret("url", &repo.text) {
            // `Raw::fault` names the origin only, never the text.
            let fault = repo.fault(Code::SETTING_SECRET, "an address with a password in it");
            self.found.push(
                fault.with_help(
                    "give the password by DRIFTLESS_GIT_PASSWORD_FILE or DRIFTLESS_GIT_TOKEN_FILE",
                ),
            );
            return Vec::new();
        }
        let twin = configured.into_iter().find(|source| source.url == repo.text);
        let base = twin.unwrap_or_else(|| SourceSetting {
            name: None,
            url: repo.text.clone(),
            reference: None,
            interval: None,
            auth: Auth::default(),
            targets: Vec::new(),
            origin: repo.origin.clone(),
        });
        vec![SourceSetting {
            reference: reference.map(|raw| raw.text).or(base.reference),
            auth: if auth.is_empty() { base.auth } else { auth },
            origin: repo.origin,
            ..base
        }]
    }

    fn auth(&mut self) -> Auth {
        let file = |name| {
            variable(self.inputs, name)
                .map(|text| absolute(self.inputs.working_dir, self.home.as_deref(), text))
        };
        let secret = |name, file_name| {
            let by_file: Option<PathBuf> = file(file_name);
            by_file.map(SecretFrom::File).or_else(|| {
                variable(self.inputs, name).map(|text| SecretFrom::Value(Secret::new(text.to_owned())))
            })
        };
        let auth = Auth {
            username: variable(self.inputs, "DRIFTLESS_GIT_USERNAME").map(str::to_owned),
            password: secret("DRIFTLESS_GIT_PASSWORD", "DRIFTLESS_GIT_PASSWORD_FILE"),
            token: secret("DRIFTLESS_GIT_TOKEN", "DRIFTLESS_GIT_TOKEN_FILE"),
            ssh_key_file: file("DRIFTLESS_GIT_SSH_KEY_FILE"),
            known_hosts_file: file("DRIFTLESS_GIT_KNOWN_HOSTS_FILE"),
        };
        for (name, file_name) in [
            ("DRIFTLESS_GIT_PASSWORD", "DRIFTLESS_GIT_PASSWORD_FILE"),
            ("DRIFTLESS_GIT_TOKEN", "DRIFTLESS_GIT_TOKEN_FILE"),
        ] {
            if variable(self.inputs, name).is_some() && variable(self.inputs, file_name).is_some() {
                let message = format!("both {name} and {file_name} are set");
                self.found.push(
                    Diagnostic::without_place(Code::SETTING_VALUE, message).with_help("keep one of them"),
                );
            }
        }
        auth
    }

    /// A misspelled variable would be without effect and without a word. Only near misses are named: Kubernetes and
    /// others set `DRIFTLESS_…` variables of their own (`DRIFTLESS_SERVICE_HOST`).
    fn check_names(&mut self) {
        for name in self
            .inputs
            .environment
            .keys()
            .filter(|name| name.starts_with("DRIFTLESS_"))
        {
            if ENVIRONMENT.iter().any(|(known, _)| known == name) {
                continue;
            }
            if let Some(near) = did_you_mean(name, ENVIRONMENT.iter().map(|(known, _)| *known)) {
                self.found.push(warning(&format!(
                    "the variable {name} is no setting: did you mean {near}?"
                )));
            }
        }
    }
}

fn warning(message: &str) -> Diagnostic {
    let mut finding = Diagnostic::without_place(Code::SETTING_UNKNOWN, message);
    finding.severity = Severity::Warning;
    finding
}

/// An empty variable counts as unset.
fn variable<'a>(inputs: &'a Inputs<'_>, name: &str) -> Option<&'a str> {
    inputs
        .environment
        .get(name)
        .map(String::as_str)
        .filter(|text| !text.is_empty())
}

fn config_home(inputs: &Inputs<'_>, home: Option<&Path>) -> Option<PathBuf> {
    variable(inputs, "XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| home.map(|home| home.join(".config")))
        .map(|folder| folder.join("driftless"))
}

/// The file that counts: the named one, which must be there, else the first of the two usual ones.
fn find_file(
    inputs: &Inputs<'_>,
    home: Option<&Path>,
    found: &mut Diagnostics,
) -> (Option<PathBuf>, Option<Vec<u8>>) {
    let named = match &inputs.flags.config {
        Some(path) => Some((path.as_str(), "--config")),
        None => variable(inputs, "DRIFTLESS_CONFIG").map(|path| (path, "DRIFTLESS_CONFIG")),
    };
    let candidates: Vec<PathBuf> = match named {
        Some((path, _)) => vec![absolute(inputs.working_dir, home, path)],
        None => config_home(inputs, home)
            .into_iter()
            .chain([PathBuf::from("/etc/driftless")])
            .map(|folder| folder.join("config.yaml"))
            .collect(),
    };
    for path in candidates {
        match (inputs.read)(&path) {
            Ok(bytes) => return (Some(path), Some(bytes)),
            Err(error) if named.is_none() && absent(&error) => {}
            Err(error) => {
                let by = named.map_or_else(String::new, |(_, by)| format!(" (named by {by})"));
                let message = format!("`{}`{by} can't be read: {error}", path.display());
                found.push(Diagnostic::without_place(Code::SETTING_UNREADABLE, message));
                return (Some(path), None);
            }
        }
    }
    (None, None)
}

fn absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The host name, without what an instance name may not hold.
fn default_instance(host_name: Option<&str>) -> InstanceName {
    let cleaned: String = host_name
        .unwrap_or_default()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(128)
        .collect();
    let cleaned = cleaned.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    InstanceName::try_from(cleaned).unwrap_or_else(|_| fallback_instance())
}

#[expect(
    clippy::expect_used,
    reason = "the literal satisfies the rule of instance names"
)]
fn fallback_instance() -> InstanceName {
    InstanceName::try_from("driftless").expect("a valid literal")
}
