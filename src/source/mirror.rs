//! A remote repository and its bare mirror.
//!
//! In: an address and a ref. Out: the commit it points to, and a mirror that has it. Guaranteed: asking for an unchanged
//! ref is one `git ls-remote`; two processes never write one mirror at a time, and a child that outlives us keeps the lock;
//! a stale lock file is removed only under that lock; a damaged mirror is cloned again, and that is said. Must not: follow
//! a redirect to another host, hold a credential longer than a call, delete anything outside its own folder.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use fs4::fs_std::FileExt as _;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::child::{Call, CallError, Printed, Transport};
use super::classify::{classify, clean, is_damage, is_stale_lock, offending, redirect_target};
use super::error::SourceError;
use super::location::{Location, RemoteUrl, Scheme};
use super::reference::{GitRef, similar};
use super::{Caps, Credentials, GitEnvironment, Resolved};
use crate::names::Revision;
use crate::secret::Mask;

pub(super) struct Mirror {
    url: RemoteUrl,
    /// Where the same host redirected to, once it did.
    effective: Mutex<Option<RemoteUrl>>,
    dir: PathBuf,
    credentials: Credentials,
    known_hosts: Option<PathBuf>,
    environment: GitEnvironment,
    deadline: Duration,
    caps: Caps,
    transport: Arc<dyn Transport>,
    notices: Mutex<Vec<String>>,
    mask: Mask,
}

/// What this source showed before, kept beside the mirror: it is how "deleted" differs from "never was".
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    #[serde(default)]
    refs: BTreeMap<String, String>,
    #[serde(default)]
    default_branch: Option<String>,
}

#[derive(Debug, Default)]
struct Refs {
    tips: BTreeMap<String, String>,
    head: Option<String>,
}

impl Refs {
    fn parse(stdout: &[u8]) -> Self {
        let mut refs = Self::default();
        for line in String::from_utf8_lossy(stdout).lines() {
            let Some((value, name)) = line.split_once('\t') else {
                continue;
            };
            match value.strip_prefix("ref: ") {
                Some(target) if name == "HEAD" => refs.head = Some(target.to_owned()),
                Some(_) => {}
                None => {
                    refs.tips.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        refs
    }

    /// The commit that `name` points to; an annotated tag's own id is not a commit.
    fn tip(&self, name: &str) -> Option<Revision> {
        let id = self
            .tips
            .get(&format!("{name}^{{}}"))
            .or_else(|| self.tips.get(name))?;
        Revision::try_from(id.as_str()).ok()
    }
}

impl Mirror {
    #[expect(
        clippy::too_many_arguments,
        reason = "these are the fields of one public struct, taken apart once"
    )]
    pub(super) fn open(
        url: RemoteUrl,
        mirror_dir: &Path,
        credentials: Credentials,
        known_hosts: Option<PathBuf>,
        environment: GitEnvironment,
        deadline: Duration,
        caps: Caps,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, SourceError> {
        let hash = hex::encode(sha2::Sha256::digest(url.as_git().as_bytes()));
        let dir = mirror_dir.join(hash.get(..20).unwrap_or(&hash));
        let mask = match &credentials {
            Credentials::Basic { password, .. } => Mask::new([password.expose().clone()]),
            _ => Mask::default(),
        };
        let mirror = Self {
            url,
            effective: Mutex::default(),
            dir,
            credentials,
            known_hosts,
            environment,
            deadline,
            caps,
            transport,
            notices: Mutex::default(),
            mask,
        };
        private_dir(&mirror.dir).map_err(|source| SourceError::Mirror {
            at: mirror.at(),
            source,
        })?;
        Ok(mirror)
    }

    pub(super) fn at(&self) -> String {
        self.url.to_string()
    }

    pub(super) fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn repo_dir(&self) -> PathBuf {
        self.dir.join("repo.git")
    }

    pub(super) fn repository(&self) -> Result<git2::Repository, git2::Error> {
        git2::Repository::open_bare(self.repo_dir())
    }

    fn has(&self, revision: &Revision) -> bool {
        let Ok(repository) = self.repository() else {
            return false;
        };
        let Ok(oid) = git2::Oid::from_str(revision.as_str()) else {
            return false;
        };
        repository
            .find_commit(oid)
            .and_then(|commit| commit.tree())
            .is_ok()
    }

    /// Asks the remote for one ref: one process, and nothing else where it answers with that ref.
    pub(super) async fn resolve(&self, reference: &GitRef) -> Result<Resolved, SourceError> {
        if let GitRef::Commit(revision) = reference {
            // A commit never moves: there is nothing to ask until it must be fetched.
            return Ok(Resolved {
                revision: revision.clone(),
                branch: None,
                renamed_from: None,
            });
        }
        let before = self.seen();
        let candidates = reference.candidates();
        let mut patterns: Vec<String> = candidates.clone();
        patterns.extend(
            candidates
                .iter()
                .filter(|name| name.starts_with("refs/tags/"))
                .map(|name| format!("{name}^{{}}")),
        );
        let printed = self.ls_remote(&patterns, &[]).await?;
        let refs = Refs::parse(&printed.stdout);
        let Some((name, revision)) = candidates
            .iter()
            .find_map(|name| Some((name.clone(), refs.tip(name)?)))
        else {
            return Err(self.missing(reference, &before).await);
        };
        let branch = if name == "HEAD" {
            refs.head.clone()
        } else {
            Some(name.clone())
        };
        let renamed_from = match (&before.default_branch, &branch) {
            (Some(was), Some(now)) if name == "HEAD" && was != now => Some(was.clone()),
            _ => None,
        };
        let mut now = before.clone();
        now.refs.insert(name.clone(), revision.to_string());
        if name == "HEAD" {
            now.default_branch.clone_from(&branch);
        }
        if now != before {
            self.remember(&now)?;
        }
        Ok(Resolved {
            revision,
            branch,
            renamed_from,
        })
    }

    /// The ref is not there: a second look at everything tells why.
    async fn missing(&self, reference: &GitRef, before: &Seen) -> SourceError {
        let at = self.at();
        // The packet trace is the only proof that it was Git that answered: for a page of HTML `git ls-remote` succeeds
        // and prints nothing, exactly as for an empty repository (measured with 2.39).
        let printed = match self.ls_remote(&[], &[("GIT_TRACE_PACKET", "1")]).await {
            Ok(printed) => printed,
            Err(error) => return error,
        };
        let refs = Refs::parse(&printed.stdout);
        if !printed.stderr.contains("packet: ") {
            return SourceError::NotAGitServer { at };
        }
        if refs.tips.is_empty() {
            return SourceError::Emptied { at };
        }
        let name = reference.short_name().to_owned();
        if reference
            .candidates()
            .iter()
            .any(|candidate| before.refs.contains_key(candidate))
        {
            let default_branch = refs
                .head
                .map(|head| head.strip_prefix("refs/heads/").unwrap_or(&head).to_owned());
            return SourceError::RefDeleted {
                at,
                name,
                default_branch,
            };
        }
        let similar = similar(&name, refs.tips.keys().map(String::as_str));
        SourceError::UnknownRef { at, name, similar }
    }

    /// Makes sure that the mirror has `revision`; no process if it has.
    pub(super) async fn fetch(&self, revision: &Revision, reference: &GitRef) -> Result<(), SourceError> {
        if self.has(revision) {
            return Ok(());
        }
        let lock = self.lock().await?;
        // Another process may have fetched it while we waited.
        if self.has(revision) {
            return Ok(());
        }
        let first = !self.repo_dir().exists();
        self.prepare()?;
        let result = self.fetch_into(revision, reference, &lock, self.caps.depth).await;
        let damaged = match &result {
            Ok(()) => (!self.has(revision)).then(|| String::from("a fetched commit cannot be read")),
            Err(SourceError::Corrupt { detail, .. }) => Some(detail.clone()),
            Err(_) => None,
        };
        match damaged {
            // The mirror may be what is damaged, so one fresh clone decides; if that fails too, it is the remote.
            Some(why) if !first => {
                self.discard(&why)?;
                self.fetch_into(revision, reference, &lock, self.caps.depth).await
            }
            Some(detail) => Err(SourceError::Corrupt {
                at: self.at(),
                detail,
            }),
            None => result,
        }
    }

    /// Throws the mirror away and fetches again: called when a read found damage.
    pub(super) async fn reclone(&self, revision: &Revision, reference: &GitRef) -> Result<(), SourceError> {
        let lock = self.lock().await?;
        self.discard("a damaged object was read")?;
        self.fetch_into(revision, reference, &lock, self.caps.depth).await
    }

    /// Fetches more history, where the mirror's is too short to compare two commits.
    pub(super) async fn deepen(&self, revision: &Revision, reference: &GitRef) -> Result<(), SourceError> {
        let lock = self.lock().await?;
        self.prepare()?;
        self.fetch_into(revision, reference, &lock, self.caps.depth.saturating_mul(20))
            .await
    }

    async fn fetch_into(
        &self,
        revision: &Revision,
        reference: &GitRef,
        lock: &File,
        depth: u32,
    ) -> Result<(), SourceError> {
        let by_id = format!("+{revision}:refs/driftless/tips/{revision}");
        match self.fetch_refspec(&by_id, lock, depth).await {
            // Servers without protocol v2 give out only what a ref names.
            Err(SourceError::UnknownCommit { .. }) => {}
            other => return other,
        }
        for name in reference.candidates() {
            let refspec = format!("+{name}:refs/driftless/tips/{revision}");
            match self.fetch_refspec(&refspec, lock, depth).await {
                Ok(()) if self.has(revision) => return Ok(()),
                Ok(()) | Err(SourceError::UnknownCommit { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(SourceError::UnknownCommit {
            at: self.at(),
            revision: revision.to_string(),
        })
    }

    async fn fetch_refspec(&self, refspec: &str, lock: &File, depth: u32) -> Result<(), SourceError> {
        let git_dir = format!("--git-dir={}", self.repo_dir().display());
        let depth = format!("--depth={depth}");
        let flags = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--no-recurse-submodules",
            &depth,
        ];
        let printed = self.git(&[&git_dir], &flags, &[refspec], &[], Some(lock)).await?;
        if !printed.success && is_stale_lock(&printed.stderr) {
            // We hold the mirror's own lock and no child of ours lives, so whoever made that file is dead.
            self.remove_stale_locks();
            let printed = self.git(&[&git_dir], &flags, &[refspec], &[], Some(lock)).await?;
            return self.judge(printed).map(drop);
        }
        self.judge(printed).map(drop)
    }

    async fn ls_remote(&self, patterns: &[String], env: &[(&str, &str)]) -> Result<Printed, SourceError> {
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let flags = ["ls-remote", "--quiet", "--symref"];
        let printed = self.git(&[], &flags, &patterns, env, None).await?;
        match self.judge(printed) {
            Err(SourceError::RedirectRefused { .. }) => {
                self.learn_redirect().await?;
                let printed = self.git(&[], &flags, &patterns, env, None).await?;
                self.judge(printed)
            }
            other => other,
        }
    }

    /// Git is told to follow no redirect at all; where the same host renames a repository, the new address is learned here and
    /// used from then on. Any other target is refused before a byte is sent to it.
    async fn learn_redirect(&self) -> Result<(), SourceError> {
        let env = [
            ("GIT_TRACE_CURL", "1"),
            ("GIT_TRACE_CURL_NO_DATA", "1"),
            ("GIT_TRACE_REDACT", "1"),
        ];
        let printed = self
            .git(&[], &["ls-remote", "--quiet"], &["HEAD"], &env, None)
            .await?;
        let refused = |to| SourceError::RedirectRefused { at: self.at(), to };
        let target = redirect_target(&printed.stderr).ok_or_else(|| refused(None))?;
        // A `Location` may be relative to the address that gave it.
        let base =
            url::Url::parse(&format!("{}/info/refs", self.current().as_git())).map_err(|_| refused(None))?;
        let mut target = base.join(&target).map_err(|_| refused(None))?;
        let host = target.host_str().map(str::to_owned);
        target.set_query(None);
        let address = target
            .as_str()
            .strip_suffix("/info/refs")
            .ok_or_else(|| refused(host.clone()))?
            .to_owned();
        let Ok(Location::Remote(next)) = Location::parse(&address, Path::new("/")) else {
            return Err(refused(host));
        };
        let upgraded = next.scheme == Scheme::Https && self.url.scheme == Scheme::Http && next.port.is_none();
        let same = next.host == self.url.host && (next.authority() == self.url.authority() || upgraded);
        if !same || next == *self.current() {
            return Err(refused(host));
        }
        self.notice(format!(
            "{} redirects to {next} on the same host; that address is used",
            self.url
        ));
        *self.effective.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
        Ok(())
    }

    fn current(&self) -> Box<RemoteUrl> {
        let effective = self.effective.lock().unwrap_or_else(PoisonError::into_inner);
        Box::new(effective.as_ref().unwrap_or(&self.url).clone())
    }

    /// A child that ended: its output, or what its error means.
    fn judge(&self, printed: Printed) -> Result<Printed, SourceError> {
        if printed.success {
            return Ok(printed);
        }
        let text = self.mask.clean(&printed.stderr);
        let host = match self.url.port {
            Some(port) if self.url.scheme == Scheme::Ssh => format!("-p {port} {}", self.url.host),
            _ => self.url.host.clone(),
        };
        let seen = !self.seen().refs.is_empty();
        let error = match classify(&self.at(), &host, seen, &text) {
            SourceError::ChangedHostKey { at, offered, .. } => {
                let known =
                    offending(&printed.stderr).and_then(|(file, line)| known_fingerprint(&file, line));
                SourceError::ChangedHostKey {
                    at,
                    offered,
                    known: known.unwrap_or_else(|| String::from("unknown")),
                }
            }
            // A mirror that git no longer takes for a repository is damage on our side.
            SourceError::NotARepository { at } | SourceError::Vanished { at } if is_damage(&text) => {
                SourceError::Corrupt {
                    at,
                    detail: clean(&text),
                }
            }
            other => other,
        };
        Err(error)
    }

    async fn git(
        &self,
        global: &[&str],
        flags: &[&str],
        operands: &[&str],
        env: &[(&str, &str)],
        lock: Option<&File>,
    ) -> Result<Printed, SourceError> {
        let url = self.current();
        let mut args: Vec<OsString> = Vec::new();
        for option in self.hardening(&url) {
            args.push("-c".into());
            args.push(option.into());
        }
        args.extend(global.iter().map(OsString::from));
        args.extend(flags.iter().map(OsString::from));
        args.push("--end-of-options".into());
        args.push(url.as_git().into());
        args.extend(operands.iter().map(OsString::from));
        let lock = lock
            .map(File::try_clone)
            .transpose()
            .map_err(|source| SourceError::Mirror {
                at: self.at(),
                source,
            })?;
        let call = Call {
            args,
            env: self.child_env(&url, env),
            dir: self.dir.clone(),
            lock,
            deadline: self.deadline,
            cap: self.caps.output,
        };
        self.transport.run(call).await.map_err(|error| match error {
            CallError::Start(source) => SourceError::GitMissing { source },
            CallError::Deadline => SourceError::Timeout {
                at: self.at(),
                after: self.deadline,
            },
            CallError::OverCap => SourceError::OverCap {
                at: self.at(),
                cap: self.caps.output,
            },
        })
    }

    /// Options that win over every configuration file.
    fn hardening(&self, url: &RemoteUrl) -> Vec<String> {
        let transport = match url.scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
            Scheme::Ssh => "ssh",
        };
        let mut options: Vec<String> = [
            "protocol.version=2",
            "protocol.allow=never",
            "core.hooksPath=/dev/null",
            "core.fsmonitor=false",
            "core.askPass=",
            "transfer.fsckObjects=true",
            "transfer.bundleURI=false",
            "transfer.credentialsInUrl=die",
            "http.followRedirects=false",
            "submodule.recurse=false",
            "fetch.recurseSubmodules=false",
            "fetch.unpackLimit=1",
            "fetch.writeCommitGraph=false",
            "gc.auto=0",
            "maintenance.auto=false",
        ]
        .map(str::to_owned)
        .into();
        options.push(format!("protocol.{transport}.allow=always"));
        if !matches!(self.credentials, Credentials::Ambient) {
            options.push("credential.helper=".to_owned());
        }
        options
    }

    fn child_env(&self, url: &RemoteUrl, more: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        let mut env: Vec<(OsString, OsString)> = self.environment.pairs().to_vec();
        let mut set = |name: &str, value: OsString| {
            env.retain(|(known, _)| known != name);
            env.push((name.into(), value));
        };
        for (name, value) in [
            ("LC_ALL", "C"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GCM_INTERACTIVE", "never"),
            ("GIT_SSH_VARIANT", "ssh"),
        ] {
            set(name, value.into());
        }
        // The mirror folder may itself lie inside somebody's repository, whose configuration is not ours.
        set(
            "GIT_CEILING_DIRECTORIES",
            self.dir.parent().unwrap_or(&self.dir).into(),
        );
        if !matches!(self.credentials, Credentials::Ambient) {
            set("GIT_CONFIG_GLOBAL", "/dev/null".into());
        }
        match &self.credentials {
            Credentials::Basic { user, password } => {
                let token =
                    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", password.expose()));
                // Bound to this scheme, host and port, so it goes nowhere else.
                set("GIT_CONFIG_COUNT", "1".into());
                set(
                    "GIT_CONFIG_KEY_0",
                    format!("http.{}.extraHeader", url.authority()).into(),
                );
                set(
                    "GIT_CONFIG_VALUE_0",
                    format!("Authorization: Basic {token}").into(),
                );
            }
            Credentials::Ambient | Credentials::Anonymous | Credentials::SshKey { .. } => {}
        }
        if url.scheme == Scheme::Ssh {
            set("GIT_SSH_COMMAND", self.ssh_command().into());
        }
        for (name, value) in more {
            set(name, value.into());
        }
        env
    }

    /// Git splits this text as a shell would, so each word is quoted.
    fn ssh_command(&self) -> String {
        let mut words: Vec<String> = [
            "ssh",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "UpdateHostKeys=no",
            "-o",
            "ForwardAgent=no",
            "-o",
            "ForwardX11=no",
            "-o",
            "ClearAllForwardings=yes",
            "-o",
            "PermitLocalCommand=no",
            // A control master would outlive the call and hold its pipes open.
            "-o",
            "ControlMaster=no",
            "-o",
            "ControlPath=none",
            "-o",
            "ServerAliveInterval=15",
        ]
        .map(str::to_owned)
        .into();
        let mut option = |text: String| words.extend(["-o".to_owned(), text]);
        if let Some(file) = &self.known_hosts {
            option(format!("UserKnownHostsFile={}", file.display()));
            option("GlobalKnownHostsFile=/dev/null".to_owned());
        }
        if let Credentials::SshKey { file } = &self.credentials {
            option("IdentitiesOnly=yes".to_owned());
            option(format!("IdentityFile={}", file.display()));
        }
        if !matches!(self.credentials, Credentials::Ambient) {
            words.extend(["-F".to_owned(), "/dev/null".to_owned()]);
        }
        shell_words::join(words)
    }

    async fn lock(&self) -> Result<File, SourceError> {
        let wrong = |source| SourceError::Mirror {
            at: self.at(),
            source,
        };
        let path = self.dir.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(wrong)?;
        let wait = async {
            // The lock has no way to wake us; a short look now and then is what a file lock allows without a blocked thread.
            while !file.try_lock_exclusive().map_err(wrong)? {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            Ok(())
        };
        match tokio::time::timeout(self.deadline, wait).await {
            Ok(locked) => locked.map(|()| file),
            Err(_) => Err(SourceError::MirrorBusy { at: self.at() }),
        }
    }

    /// Makes an empty bare repository where there is none, and replaces one that cannot be opened.
    fn prepare(&self) -> Result<(), SourceError> {
        if self.repo_dir().exists() && self.repository().is_err() {
            return self.discard("it cannot be opened");
        }
        if !self.repo_dir().exists() {
            self.init()?;
        }
        Ok(())
    }

    fn init(&self) -> Result<(), SourceError> {
        let mut options = git2::RepositoryInitOptions::new();
        options
            .bare(true)
            .external_template(false)
            .initial_head("driftless");
        git2::Repository::init_opts(self.repo_dir(), &options)
            .map(drop)
            .map_err(|error| SourceError::Mirror {
                at: self.at(),
                source: std::io::Error::other(error),
            })
    }

    fn discard(&self, why: &str) -> Result<(), SourceError> {
        let wrong = |source| SourceError::Mirror {
            at: self.at(),
            source,
        };
        self.notice(format!(
            "the mirror of {} was damaged ({why}) and is cloned again",
            self.url
        ));
        // Moved first: what a concurrent reader has open stays readable, and a crash in the middle leaves no half of it.
        let aside = tempfile::Builder::new()
            .prefix("damaged-")
            .tempdir_in(&self.dir)
            .map_err(wrong)?;
        if self.repo_dir().exists() {
            fs::rename(self.repo_dir(), aside.path().join("repo.git")).map_err(wrong)?;
        }
        self.init()
    }

    fn remove_stale_locks(&self) {
        let mut folders = vec![self.repo_dir()];
        let mut removed = 0_u32;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() && path.file_name().is_none_or(|name| name != "objects") => {
                        folders.push(path)
                    }
                    Ok(kind) if kind.is_file() && path.extension().is_some_and(|end| end == "lock") => {
                        removed += u32::from(fs::remove_file(&path).is_ok());
                    }
                    _ => {}
                }
            }
        }
        self.notice(format!(
            "{removed} stale lock file(s) of a dead process were removed from the mirror of {}",
            self.url
        ));
    }

    fn notice(&self, text: String) {
        tracing::warn!(source = %self.url, "{text}");
        self.notices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
    }

    fn seen(&self) -> Seen {
        fs::read(self.dir.join("seen.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    fn remember(&self, seen: &Seen) -> Result<(), SourceError> {
        let wrong = |source| SourceError::Mirror {
            at: self.at(),
            source,
        };
        let mut file = tempfile::NamedTempFile::new_in(&self.dir).map_err(wrong)?;
        serde_json::to_writer(&mut file, seen).map_err(|error| wrong(error.into()))?;
        file.persist(self.dir.join("seen.json"))
            .map(drop)
            .map_err(|error| wrong(error.error))
    }
}

fn private_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The SHA-256 fingerprint of the key on a line of a known_hosts file.
fn known_fingerprint(file: &str, line: usize) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().nth(line.checked_sub(1)?)?;
    let mut words = line
        .split_whitespace()
        .skip_while(|word| !word.starts_with("ssh-") && !word.starts_with("ecdsa-"));
    let key = base64::engine::general_purpose::STANDARD
        .decode(words.nth(1)?)
        .ok()?;
    let digest = sha2::Sha256::digest(&key);
    Some(format!(
        "SHA256:{}",
        base64::engine::general_purpose::STANDARD_NO_PAD.encode(digest)
    ))
}
