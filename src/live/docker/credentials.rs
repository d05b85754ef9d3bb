//! Registry credentials as the docker CLI finds them.
//!
//! In: the CLI's configuration folder and the environment that credential helpers may see. Out: [`Auth`] for an image's registry. Guaranteed:
//! helpers are children with a deadline, an output cap and no other environment; no value reaches an error or a log. Must not: write
//! credentials, or ask a registry.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::document::Code;
use crate::image::ImageRef;
use crate::secret::Secret;

use super::endpoint::{Files, place};
use crate::live::error::FailureKind;

/// How long a helper may take. Some of them ask a cloud for a token.
const HELPER_DEADLINE: Duration = Duration::from_secs(20);

/// The most that a helper may print.
const HELPER_OUTPUT: u64 = 1 << 20;

/// What helpers print when they know nothing: not a failure.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// What one registry wants to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// The key that the credentials were found under.
    pub server: String,
    /// The user, unless an identity token stands for both.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret<String>>,
    /// A token in place of user and password.
    pub identity_token: Option<Secret<String>>,
    /// A bearer token for this registry.
    pub registry_token: Option<Secret<String>>,
}

impl Auth {
    /// As bollard's calls take it.
    pub fn to_bollard(&self) -> bollard::auth::DockerCredentials {
        let exposed = |secret: &Option<Secret<String>>| secret.as_ref().map(|secret| secret.expose().clone());
        bollard::auth::DockerCredentials {
            username: self.username.clone(),
            password: exposed(&self.password),
            identitytoken: exposed(&self.identity_token),
            registrytoken: exposed(&self.registry_token),
            serveraddress: Some(self.server.clone()),
            ..bollard::auth::DockerCredentials::default()
        }
    }

    /// The value of an `X-Registry-Auth` header.
    pub fn header(&self) -> Secret<String> {
        // Serialising strings and options cannot fail; an empty header means "anonymous" to every engine.
        let json = serde_json::to_vec(&self.to_bollard()).unwrap_or_default();
        Secret::new(base64::engine::general_purpose::URL_SAFE.encode(json))
    }

    /// Every value that must be masked.
    pub fn secrets(&self) -> impl Iterator<Item = String> + '_ {
        let all = [&self.password, &self.identity_token, &self.registry_token];
        all.into_iter().flatten().map(|secret| secret.expose().clone())
    }
}

/// Why credentials could not be found out. A pull may go on without any, as docker's does, and show this when it is denied.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// `config.json` cannot be read.
    #[error("read {path}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// `config.json`, or an entry of it, is malformed. The words never quote the content.
    #[error("read {path}: {reason}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The configured helper is not installed.
    #[error("the credential helper {helper} for {server} is not in PATH")]
    HelperMissing {
        /// The program.
        helper: String,
        /// The registry.
        server: String,
    },
    /// The helper cannot be run.
    #[error("run {helper} for {server}")]
    HelperRun {
        /// The program.
        helper: String,
        /// The registry.
        server: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The helper failed.
    #[error("{helper} failed for {server}: {message}")]
    HelperFailed {
        /// The program.
        helper: String,
        /// The registry.
        server: String,
        /// The first line of what it said.
        message: String,
    },
    /// The helper took too long.
    #[error("{helper} did not answer for {server} within {after:?}")]
    HelperDeadline {
        /// The program.
        helper: String,
        /// The registry.
        server: String,
        /// How long it was given.
        after: Duration,
    },
    /// The helper's answer is not what the protocol says.
    #[error("{helper} gave an answer for {server} that cannot be read")]
    HelperAnswer {
        /// The program.
        helper: String,
        /// The registry.
        server: String,
    },
}

impl CredentialsError {
    /// Who has to act.
    pub fn kind(&self) -> FailureKind {
        match self {
            CredentialsError::HelperDeadline { .. } => FailureKind::Retry,
            _ => FailureKind::NeedsOperator,
        }
    }

    /// The diagnostic code.
    pub fn code(&self) -> Code {
        match self {
            CredentialsError::Read { .. } | CredentialsError::Malformed { .. } => {
                Code::CREDENTIALS_UNREADABLE
            }
            _ => Code::CREDENTIAL_HELPER,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            CredentialsError::HelperMissing { helper, .. } => {
                format!("install {helper}, or remove credsStore/credHelpers from Docker's config.json")
            }
            CredentialsError::Read { .. } | CredentialsError::Malformed { .. } => {
                "repair Docker's config.json, or log in again (`docker login`)".into()
            }
            _ => "run `docker login` as the user that runs Driftless".into(),
        })
    }
}

#[derive(Debug, Default, Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, AuthEntry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: Secret<String>,
    username: String,
    password: Secret<String>,
    identitytoken: Secret<String>,
    registrytoken: Secret<String>,
}

#[derive(Debug, Deserialize)]
struct HelperAnswer {
    #[serde(default, rename = "Username")]
    username: String,
    #[serde(default, rename = "Secret")]
    secret: Secret<String>,
}

/// Where credentials come from.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The docker CLI's configuration folder; without one everything is anonymous.
    pub config_dir: Option<PathBuf>,
    /// The search path for helpers.
    pub path: Option<OsString>,
    /// Everything that helpers may see of the environment beside `PATH`: `HOME`, and what a helper needs to find its keychain.
    pub env: Vec<(OsString, OsString)>,
}

impl Credentials {
    /// The credentials for the registry of `image`; `None` means anonymous.
    pub async fn find(&self, image: &ImageRef, files: &dyn Files) -> Result<Option<Auth>, CredentialsError> {
        let Some(dir) = &self.config_dir else {
            return Ok(None);
        };
        let config = load(&dir.join("config.json"), files)?;
        let server = image.registry_key();
        let helper = config.helpers.get(server).filter(|name| !name.is_empty());
        // The CLI, too, looks into the file for what its keychain does not have.
        if let Some(helper) = helper.or(Some(&config.store).filter(|name| !name.is_empty()))
            && let Some(auth) = self.ask_helper(helper, server).await?
        {
            return Ok(Some(auth));
        }
        from_file(&config, server).map_err(|reason| CredentialsError::Malformed {
            path: dir.join("config.json"),
            reason,
        })
    }

    async fn ask_helper(&self, name: &str, server: &str) -> Result<Option<Auth>, CredentialsError> {
        let helper = format!("docker-credential-{name}");
        let server = server.to_owned();
        let Some(program) = self.program(&helper) else {
            return Err(CredentialsError::HelperMissing { helper, server });
        };
        let (status, output) = match tokio::time::timeout(HELPER_DEADLINE, self.run(&program, &server)).await
        {
            Ok(Ok(result)) => result,
            Ok(Err(source)) => {
                return Err(CredentialsError::HelperRun {
                    helper,
                    server,
                    source,
                });
            }
            // Dropping the future kills the child.
            Err(_) => {
                return Err(CredentialsError::HelperDeadline {
                    helper,
                    server,
                    after: HELPER_DEADLINE,
                });
            }
        };
        if !status.success() {
            let said = String::from_utf8_lossy(output.expose()).trim().to_owned();
            if said == NOT_FOUND {
                return Ok(None);
            }
            let line: String = said
                .lines()
                .next()
                .unwrap_or_default()
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect();
            let message = if line.is_empty() { status.to_string() } else { line };
            return Err(CredentialsError::HelperFailed {
                helper,
                server,
                message,
            });
        }
        let Ok(answer) = serde_json::from_slice::<HelperAnswer>(output.expose()) else {
            return Err(CredentialsError::HelperAnswer { helper, server });
        };
        Ok(auth_of_helper(server, answer))
    }

    /// Standard output only: that is where the protocol puts both answers and errors.
    async fn run(
        &self,
        program: &Path,
        server: &str,
    ) -> std::io::Result<(std::process::ExitStatus, Secret<Vec<u8>>)> {
        let mut command = tokio::process::Command::new(program);
        command
            .arg("get")
            .env_clear()
            .envs(self.env.iter().map(|(key, value)| (key, value)));
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that answers without reading closes the pipe; its answer decides.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        let output = match child.stdout.take() {
            Some(stdout) => read_capped(stdout).await?,
            None => Vec::new(),
        };
        Ok((child.wait().await?, Secret::new(output)))
    }

    /// The helper in the search path. A name with a slash would leave it, so it is none.
    fn program(&self, helper: &str) -> Option<PathBuf> {
        if helper.contains(['/', '\0']) {
            return None;
        }
        let dirs = std::env::split_paths(self.path.as_ref()?).filter(|dir| dir.is_absolute());
        dirs.map(|dir| dir.join(helper)).find(|path| is_program(path))
    }
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

async fn read_capped(from: impl AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    let mut output = Vec::new();
    from.take(HELPER_OUTPUT + 1).read_to_end(&mut output).await?;
    if output.len() as u64 > HELPER_OUTPUT {
        return Err(std::io::Error::other("it printed more than 1 MiB"));
    }
    Ok(output)
}

fn load(path: &Path, files: &dyn Files) -> Result<ConfigFile, CredentialsError> {
    let read = files.read(path);
    let read = read.map_err(|source| CredentialsError::Read {
        path: path.to_owned(),
        source,
    })?;
    let Some(bytes) = read else {
        return Ok(ConfigFile::default());
    };
    serde_json::from_slice(&bytes).map_err(|error| CredentialsError::Malformed {
        path: path.to_owned(),
        reason: place(&error),
    })
}

fn auth_of_helper(server: String, answer: HelperAnswer) -> Option<Auth> {
    if answer.username.is_empty() && answer.secret.expose().is_empty() {
        return None;
    }
    let none = Auth {
        server,
        username: None,
        password: None,
        identity_token: None,
        registry_token: None,
    };
    Some(if answer.username == "<token>" {
        Auth {
            identity_token: Some(answer.secret),
            ..none
        }
    } else {
        Auth {
            username: Some(answer.username),
            password: Some(answer.secret),
            ..none
        }
    })
}

fn from_file(config: &ConfigFile, server: &str) -> Result<Option<Auth>, String> {
    let exact = config.auths.get(server);
    // Old files hold `https://host/v1/` for a host.
    let entry = exact.or_else(|| {
        let mut entries = config.auths.iter();
        entries
            .find(|(key, _)| host_of(key) == host_of(server))
            .map(|(_, entry)| entry)
    });
    let Some(entry) = entry else { return Ok(None) };
    let some = |secret: &Secret<String>| Some(secret.clone()).filter(|secret| !secret.expose().is_empty());
    let (mut username, mut password) = (entry.username.clone(), some(&entry.password));
    if !entry.auth.expose().is_empty() {
        let broken = || format!("the `auth` of {server} is not base64 of user:password");
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(entry.auth.expose())
            .map_err(|_| broken())?;
        let text = String::from_utf8(decoded).map_err(|_| broken())?;
        let (user, pass) = text.split_once(':').ok_or_else(broken)?;
        username = user.to_owned();
        password = some(&Secret::new(pass.trim_end_matches('\0').to_owned()));
    }
    let auth = Auth {
        server: server.to_owned(),
        username: Some(username).filter(|name| !name.is_empty()),
        password,
        identity_token: some(&entry.identitytoken),
        registry_token: some(&entry.registrytoken),
    };
    // A keychain leaves an empty entry behind in the file.
    let empty = auth.username.is_none() && auth.identity_token.is_none() && auth.registry_token.is_none();
    Ok(Some(auth).filter(|_| !empty))
}

fn host_of(key: &str) -> &str {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    key.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::endpoint::DiskFiles;
    use super::*;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn with(config: &str) -> Self {
            let dir = tempfile::tempdir().expect("temporary folder");
            std::fs::write(dir.path().join("config.json"), config).expect("write");
            Self(dir)
        }

        fn helper(self, name: &str, script: &str) -> Self {
            use std::os::unix::fs::PermissionsExt as _;
            let path = self.0.path().join(format!("docker-credential-{name}"));
            // Written and closed under another name first: a fork in another test must not hold it open for writing.
            let draft = path.with_extension("draft");
            std::fs::write(&draft, format!("#!/bin/sh\n{script}\n")).expect("write");
            std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).expect("chmod");
            let copied = std::process::Command::new("cp")
                .args(["-p".as_ref(), draft.as_os_str(), path.as_os_str()])
                .status();
            assert!(copied.expect("cp").success());
            self
        }

        async fn find(&self, image: &str) -> Result<Option<Auth>, CredentialsError> {
            let mut path = OsString::from(self.0.path());
            path.push(":/usr/bin:/bin");
            let credentials = Credentials {
                config_dir: Some(self.0.path().to_owned()),
                path: Some(path),
                env: vec![("HOME".into(), "/nowhere".into())],
            };
            credentials
                .find(&ImageRef::parse(image).expect("reference"), &DiskFiles)
                .await
        }
    }

    fn user(auth: Option<Auth>) -> String {
        let Some(auth) = auth else {
            return "anonymous".to_owned();
        };
        let secret =
            |secret: Option<Secret<String>>| secret.map(|secret| secret.expose().clone()).unwrap_or_default();
        format!(
            "{}:{}:{}",
            auth.username.unwrap_or_default(),
            secret(auth.password),
            secret(auth.identity_token)
        )
    }

    #[tokio::test]
    async fn credentials_in_the_file_are_found_under_the_clis_keys() {
        let machine = Machine::with(
            r#"{"auths":{
                "https://index.docker.io/v1/":{"auth":"aHViOnA6dw=="},
                "ghcr.io":{"identitytoken":"idt"},
                "https://old.example/v1/":{"username":"u","password":"p"},
                "empty.example":{},
                "broken.example":{"auth":"%%canary"}
            }}"#,
        );
        for (image, expected) in [
            ("nginx", "hub:p:w:"),
            ("a/b", "hub:p:w:"),
            ("ghcr.io/a/b", "::idt"),
            ("old.example/a", "u:p:"),
            ("empty.example/a", "anonymous"),
            ("quay.io/a/b", "anonymous"),
        ] {
            assert_eq!(user(machine.find(image).await.expect(image)), expected, "{image}");
        }
        let error = machine.find("broken.example/a").await.expect_err("broken");
        assert!(error.code() == Code::CREDENTIALS_UNREADABLE && !format!("{error:?}").contains("canary"));
    }

    #[tokio::test]
    async fn helpers_are_asked_and_see_no_other_environment() {
        let machine = Machine::with(
            r#"{"credsStore":"all","credHelpers":{"ghcr.io":"one","quay.io":"none","bad.example":"bad","gone.example":"gone"},
                "auths":{"quay.io":{"auth":"YTpi"},"ghcr.io":{}}}"#,
        )
        .helper("all", r#"read -r s; echo "{\"Username\":\"$1\",\"Secret\":\"$s|$HOME|$CARGO_MANIFEST_DIR\"}""#)
        .helper("one", r#"echo '{"Username":"<token>","Secret":"tok"}'"#)
        .helper("none", "echo 'credentials not found in native keychain'; exit 1")
        .helper("bad", "echo 'no tty'; exit 3");
        let hub = user(machine.find("nginx").await.expect("hub"));
        assert_eq!(hub, "get:https://index.docker.io/v1/|/nowhere|:");
        assert_eq!(user(machine.find("ghcr.io/a").await.expect("token")), "::tok");
        assert_eq!(user(machine.find("quay.io/a").await.expect("fallback")), "a:b:");
        let failed = machine
            .find("bad.example/a")
            .await
            .expect_err("fails")
            .to_string();
        assert!(failed.contains("no tty"), "{failed}");
        let gone = machine.find("gone.example/a").await.expect_err("missing");
        assert!(matches!(gone, CredentialsError::HelperMissing { .. }), "{gone}");
    }

    #[tokio::test]
    async fn a_helper_that_floods_or_lies_is_refused() {
        let machine = Machine::with(r#"{"credHelpers":{"flood.example":"flood","lies.example":"lies"}}"#)
            .helper("flood", "head -c 3000000 /dev/zero")
            .helper("lies", "echo canary");
        assert_eq!(
            machine.find("flood.example/a").await.expect_err("flood").code(),
            Code::CREDENTIAL_HELPER
        );
        let lies = machine.find("lies.example/a").await.expect_err("lies");
        assert!(!format!("{lies} {lies:?}").contains("canary"));
    }

    #[test]
    fn the_header_is_url_safe_and_the_debug_form_is_silent() {
        let auth = Auth {
            server: "r".into(),
            username: Some("u".into()),
            password: Some(Secret::new("ÿ>?~canary".into())),
            identity_token: None,
            registry_token: None,
        };
        assert!(!auth.header().expose().contains(['+', '/']));
        assert!(!format!("{auth:?}").contains("canary"));
    }
}
