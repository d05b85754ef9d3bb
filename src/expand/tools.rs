//! Finding the tools, and running one in its sandbox.
//!
//! In: a `PATH`, arguments, a room. Out: what the tool printed. Guaranteed: the child's environment is built here from
//! nothing, its homes are in the room, its limits are set before it starts. Must not: pass on a variable of this process.
//!
//! # What holds it
//! - `sh` sets the limits (`ulimit`: address space, processor time, file size, no core file) and becomes the tool by `exec`;
//!   the tool's arguments are the shell's positional parameters and never parsed
//! - `unshare` gives it an empty network: as root by itself, else with a user namespace. Where the kernel allows neither
//!   (hardened hosts, most containers), rendering goes on without: no tool is told to fetch anything, remote references
//!   are refused before, and `doctor` says so
//! - its own process group, a deadline, a cap on what it prints: [`crate::child`]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::error::ExpandError;
use super::{Limits, layout};
use crate::child::{self, Call, CallError, Printed};

/// The programs that render.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    Kustomize,
    Kubectl,
    Helm,
}

impl Tool {
    /// Its name, and its program's.
    pub fn name(self) -> &'static str {
        match self {
            Tool::Kustomize => "kustomize",
            Tool::Kubectl => "kubectl",
            Tool::Helm => "helm",
        }
    }
}

/// How the network is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// A network namespace.
    Namespace,
    /// A network namespace inside of a user namespace.
    User,
    /// The machine does not allow it.
    Not,
}

/// A tool that is there.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub tool: Tool,
    pub program: PathBuf,
    pub version: String,
}

impl Found {
    pub fn renderer(&self) -> String {
        match self.tool {
            Tool::Kubectl => format!("kustomize {} (kubectl)", self.version),
            tool => format!("{} {}", tool.name(), self.version),
        }
    }
}

/// The tools of a `PATH`. Versions are asked once.
#[derive(Debug)]
pub struct Tools {
    path: OsString,
    kustomize: OnceCell<Found>,
    kubectl: OnceCell<Found>,
    helm: OnceCell<Found>,
    cut: OnceCell<Cut>,
}

/// What asking for a version may take: the first start of a large program on a busy machine.
const VERSION_DEADLINE: Duration = Duration::from_secs(30);

/// `$0` is the tool. Processor seconds, kilobytes of address space, blocks of 512 bytes.
const LIMITED: &str =
    "ulimit -c 0; ulimit -t \"$1\"; ulimit -v \"$2\"; ulimit -f \"$3\"; shift 3; exec \"$0\" \"$@\"";

impl Tools {
    /// The tools of `path`.
    pub fn new(path: impl Into<OsString>) -> Self {
        Self {
            path: path.into(),
            kustomize: OnceCell::new(),
            kubectl: OnceCell::new(),
            helm: OnceCell::new(),
            cut: OnceCell::new(),
        }
    }

    /// The version of `tool`, for `doctor`.
    pub async fn version(&self, tool: Tool) -> Result<String, ExpandError> {
        self.find(tool).await.map(|found| found.version)
    }

    /// How the network is cut off here.
    pub async fn cut(&self) -> Cut {
        *self
            .cut
            .get_or_init(async || {
                for (cut, flags) in [(Cut::Namespace, "-n"), (Cut::User, "-rn")] {
                    let call = self.call("unshare", [flags, "true"], Path::new("/"), VERSION_DEADLINE, 4096);
                    if matches!(child::run(call).await, Ok(printed) if printed.success) {
                        return cut;
                    }
                }
                Cut::Not
            })
            .await
    }

    pub(super) async fn find(&self, tool: Tool) -> Result<Found, ExpandError> {
        let cell = match tool {
            Tool::Kustomize => &self.kustomize,
            Tool::Kubectl => &self.kubectl,
            Tool::Helm => &self.helm,
        };
        // A tool that is missing is looked for again: it may be installed meanwhile.
        cell.get_or_try_init(async || {
            let program = self
                .program(tool.name())
                .ok_or(ExpandError::ToolMissing { tool })?;
            let args: &[&str] = match tool {
                Tool::Kustomize => &["version"],
                Tool::Kubectl => &["version", "--client", "-o", "json"],
                Tool::Helm => &["version", "--template", "{{.Version}}"],
            };
            let call = self.call(
                &program,
                args.iter().copied(),
                Path::new("/"),
                VERSION_DEADLINE,
                65_536,
            );
            let printed = child::run(call)
                .await
                .map_err(|error| failed(tool, &program, error, VERSION_DEADLINE))?;
            let text = String::from_utf8_lossy(&printed.stdout);
            let version = match tool {
                Tool::Kubectl => serde_json::from_str::<serde_json::Value>(&text)
                    .ok()
                    .and_then(|value| Some(value.get("kustomizeVersion")?.as_str()?.to_owned()))
                    .unwrap_or_default(),
                _ => text.trim().to_owned(),
            };
            if version.is_empty() {
                return Err(ExpandError::ToolMissing { tool });
            }
            Ok(Found {
                tool,
                program,
                version,
            })
        })
        .await
        .cloned()
    }

    /// Runs `found` in `room`, which [`layout`] made.
    pub(super) async fn run(
        &self,
        found: &Found,
        args: Vec<OsString>,
        room: &Path,
        limits: &Limits,
    ) -> Result<Printed, ExpandError> {
        let mut words: Vec<OsString> = match self.cut().await {
            Cut::Namespace => vec!["unshare".into(), "-n".into(), "--".into()],
            Cut::User => vec!["unshare".into(), "-rn".into(), "--".into()],
            Cut::Not => Vec::new(),
        };
        words.extend(["sh", "-c", LIMITED].map(OsString::from));
        words.push(found.program.clone().into());
        words.push(limits.deadline.as_secs().max(1).to_string().into());
        words.push((limits.memory / 1024).to_string().into());
        words.push((limits.files / 512).to_string().into());
        words.extend(args);
        let program = words.remove(0);
        let mut call = self.call(
            program,
            words,
            &room.join(layout::ROOT),
            limits.deadline,
            limits.output,
        );
        let home = room.join(layout::HOME);
        for name in [
            "HOME",
            "TMPDIR",
            "XDG_CONFIG_HOME",
            "XDG_CACHE_HOME",
            "XDG_DATA_HOME",
            "HELM_CONFIG_HOME",
            "HELM_CACHE_HOME",
            "HELM_DATA_HOME",
            "HELM_PLUGINS",
            "KUSTOMIZE_PLUGIN_HOME",
        ] {
            call.env.push((name.into(), home.clone().into()));
        }
        // No cluster: `lookup` of a template finds nothing, and there is nothing to find.
        call.env.push(("KUBECONFIG".into(), "/dev/null".into()));
        // The collector works before the limit on address space is felt.
        call.env.push((
            "GOMEMLIMIT".into(),
            format!("{}MiB", limits.memory / 4 / (1 << 20)).into(),
        ));
        child::run(call).await.map_err(|error| match error {
            CallError::OverCap => ExpandError::Limit {
                what: format!(
                    "{} printed more than {} MiB",
                    found.tool.name(),
                    limits.output >> 20
                ),
            },
            other => failed(found.tool, &found.program, other, limits.deadline),
        })
    }

    fn call<A: Into<OsString>>(
        &self,
        program: impl Into<OsString>,
        args: impl IntoIterator<Item = A>,
        dir: &Path,
        deadline: Duration,
        cap: u64,
    ) -> Call {
        Call {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: vec![("PATH".into(), self.path.clone()), ("LANG".into(), "C".into())],
            dir: dir.to_owned(),
            stdin: None,
            deadline,
            cap,
        }
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        std::env::split_paths(&self.path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(|program| {
                nix::unistd::access(program, nix::unistd::AccessFlags::X_OK).is_ok() && program.is_file()
            })
    }
}

fn failed(tool: Tool, program: &Path, error: CallError, after: Duration) -> ExpandError {
    match error {
        CallError::Start(source) => ExpandError::Start {
            program: program.display().to_string(),
            source,
        },
        CallError::Deadline => ExpandError::Deadline { tool, after },
        CallError::OverCap => ExpandError::Limit {
            what: format!("{} printed too much", tool.name()),
        },
    }
}
