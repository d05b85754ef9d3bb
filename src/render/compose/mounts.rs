//! `volumes:` and `tmpfs:` of a service, and the files of the commit that it binds.
//!
//! In: a service's fields, the commit. Out: [`Mount`]s by place in the container; [`Tree`]s with their content
//! (decision 12). Guaranteed: a relative bind is either content of the commit (read-only, by hash) or data of the app; a path
//! never leaves the repository; no home folder is guessed. Must not: read the host.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::context::{Context, fields, malformed, parsed};
use super::keys;
use crate::document::{Code, Diagnostic, Diagnostics, Fields, Node, Span, Value};
use crate::render::model::{Mount, MountSource, Tree, TreeFile};
use crate::render::units;
use crate::source::{CheckoutError, EntryKind, Origin, PathError, RepoPath};

/// The most bytes of the commit that one app may bind.
pub const TREE_CAP: u64 = 10 * 1024 * 1024;
/// The most files of the commit that one bind may have.
const FILE_CAP: usize = 5_000;
/// Files that keep an otherwise empty folder in Git: such a folder is for data.
const KEEPERS: &[&str] = &[".gitkeep", ".keep", ".gitignore", ".placeholder"];

/// A path that does not stay in the repository.
pub(super) fn path_error(error: &PathError, span: &Span) -> Diagnostic {
    let code = match error {
        PathError::Outside { .. } => Code::PATH_OUTSIDE,
        PathError::Unsafe { .. } => Code::PATH_REFUSED,
    };
    Diagnostic::error(code, span, error.to_string())
}

/// A path of the commit that can't be read.
pub(super) fn checkout_error(error: &CheckoutError, span: &Span) -> Diagnostic {
    let code = match error {
        CheckoutError::LinkOutside { .. } | CheckoutError::Path(PathError::Outside { .. }) => {
            Code::PATH_OUTSIDE
        }
        CheckoutError::NotFound { .. } => Code::FILE_MISSING,
        CheckoutError::TooLarge { .. } => Code::TREE_TOO_LARGE,
        _ => Code::PATH_REFUSED,
    };
    Diagnostic::error(code, span, error.to_string())
}

/// What one entry says before its source is resolved.
#[derive(Default)]
struct Wanted {
    kind: &'static str,
    source: String,
    target: String,
    read_only: bool,
    propagation: Option<String>,
    selinux: Option<String>,
    nocopy: bool,
    subpath: Option<String>,
    create_host_path: bool,
    tmpfs: (Option<i64>, Option<u32>),
}

/// Reads `volumes`.
pub(super) fn read(cx: &Context<'_>, service: &mut Fields<'_, '_>) -> BTreeMap<String, Mount> {
    let mut mounts = BTreeMap::new();
    for node in service.sequence("volumes").unwrap_or_default() {
        let wanted = match &node.value {
            Value::String(text) => match short(text) {
                Ok(wanted) => wanted,
                Err(why) => {
                    let message = format!("volume {text:?} of {}: {why}", service.what());
                    service.diagnostics().push(malformed(&node.span, message));
                    continue;
                }
            },
            Value::Mapping(_) => match long(node, service) {
                Some(wanted) => wanted,
                None => continue,
            },
            _ => {
                service.wrong("volumes", "a list of `source:target` or mappings", node);
                continue;
            }
        };
        if !wanted.target.starts_with('/') {
            let message = format!(
                "a mount of {} needs an absolute path in the container, not {:?}",
                service.what(),
                wanted.target
            );
            service.diagnostics().push(malformed(&node.span, message));
            continue;
        }
        let target = clean(&wanted.target);
        let Some(mount) = resolve(cx, wanted, &node.span, service.diagnostics()) else {
            continue;
        };
        if mounts.insert(target.clone(), mount).is_some() {
            let message = format!("{} mounts two things at `{target}`", service.what());
            service
                .diagnostics()
                .push(Diagnostic::error(Code::CONFLICT, &node.span, message));
        }
    }
    mounts
}

/// `tmpfs:`: one place or a list, each with options after a colon.
pub(super) fn tmpfs(service: &mut Fields<'_, '_>) -> BTreeMap<String, String> {
    let entries = service.text_or_texts("tmpfs").unwrap_or_default();
    entries
        .into_iter()
        .map(|entry| {
            let (place, options) = entry.value.split_once(':').unwrap_or((entry.value.as_str(), ""));
            (clean(place), options.to_owned())
        })
        .collect()
}

/// A container path without doubled or trailing slashes.
fn clean(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    format!("/{}", parts.join("/"))
}

fn is_path(source: &str) -> bool {
    source.starts_with(['.', '/', '~'])
}

fn short(text: &str) -> Result<Wanted, &'static str> {
    let parts: Vec<&str> = text.split(':').collect();
    let mut wanted = Wanted {
        create_host_path: true,
        ..Wanted::default()
    };
    let options = match parts.as_slice() {
        [""] => return Err("it is empty"),
        [target] => {
            wanted.target = (*target).to_owned();
            ""
        }
        // `/data:ro` would be a mount at `ro`, which is never meant; Compose reads it so too and fails later.
        [source, target] => {
            wanted.source = (*source).to_owned();
            wanted.target = (*target).to_owned();
            ""
        }
        [source, target, options] => {
            wanted.source = (*source).to_owned();
            wanted.target = (*target).to_owned();
            options
        }
        _ => return Err("it has too many colons; use the long form"),
    };
    if parts.len() > 1 && wanted.source.is_empty() {
        return Err("its source is empty");
    }
    wanted.kind = if is_path(&wanted.source) { "bind" } else { "volume" };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => wanted.read_only = true,
            "rw" => wanted.read_only = false,
            "z" | "Z" => wanted.selinux = Some(option.to_owned()),
            "nocopy" => wanted.nocopy = true,
            "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" => {
                wanted.propagation = Some(option.to_owned());
            }
            // Engines on Linux do not have them.
            "cached" | "delegated" | "consistent" => {}
            _ => {
                return Err(
                    "its options are not known; ro, rw, z, Z, nocopy and the kinds of propagation are",
                );
            }
        }
    }
    Ok(wanted)
}

fn long(node: &Node, service: &mut Fields<'_, '_>) -> Option<Wanted> {
    let what = format!("a volume of {}", service.what());
    let mut mount = fields(node, &what, keys::MOUNT, service.diagnostics())?;
    mount.required("type");
    let kind = mount.word("type", &["bind", "volume", "tmpfs", "image", "cluster", "npipe"])?;
    if matches!(kind.value, "image" | "cluster" | "npipe") {
        let message = format!("mounts of type `{}` are not supported", kind.value);
        mount
            .diagnostics()
            .push(Diagnostic::error(Code::NOT_SUPPORTED, &kind.span, message));
        return None;
    }
    let mut wanted = Wanted {
        kind: kind.value,
        create_host_path: true,
        ..Wanted::default()
    };
    if kind.value == "bind" {
        wanted.source = mount.required_string("source")?.value;
    } else {
        wanted.source = mount
            .string("source")
            .map(|source| source.value)
            .unwrap_or_default();
    }
    wanted.target = mount.required_string("target")?.value;
    wanted.read_only = mount.bool("read_only").is_some_and(|flag| flag.value);
    mount.nested("bind", format!("`bind` of {what}"), |bind| {
        let words = ["shared", "rshared", "slave", "rslave", "private", "rprivate"];
        wanted.propagation = bind.word("propagation", &words).map(|word| word.value.to_owned());
        wanted.selinux = bind
            .word("selinux", &["z", "Z"])
            .map(|word| word.value.to_owned());
        wanted.create_host_path = bind.bool("create_host_path").is_none_or(|flag| flag.value);
        if let Some(recursive) = bind.node("recursive") {
            let message = "`bind.recursive` is not supported";
            bind.diagnostics()
                .push(Diagnostic::error(Code::NOT_SUPPORTED, &recursive.span, message));
        }
    });
    mount.nested("volume", format!("`volume` of {what}"), |volume| {
        wanted.nocopy = volume.bool("nocopy").is_some_and(|flag| flag.value);
        wanted.subpath = volume.string("subpath").map(|path| path.value);
        if let Some(labels) = volume.node("labels") {
            let message = "labels of a mount are not supported; label the volume under top-level `volumes`";
            volume
                .diagnostics()
                .push(Diagnostic::error(Code::NOT_SUPPORTED, &labels.span, message));
        }
    });
    mount.nested("tmpfs", format!("`tmpfs` of {what}"), |tmpfs| {
        wanted.tmpfs.0 = parsed(tmpfs, "size", "a size such as `64m`", units::bytes);
        wanted.tmpfs.1 = tmpfs
            .int_in("mode", 0..=0o7777)
            .and_then(|mode| u32::try_from(mode.value).ok());
    });
    Some(wanted)
}

fn resolve(cx: &Context<'_>, wanted: Wanted, span: &Span, diagnostics: &mut Diagnostics) -> Option<Mount> {
    let mut mount = Mount {
        source: MountSource::Anonymous,
        read_only: wanted.read_only,
        propagation: wanted.propagation,
        selinux: wanted.selinux,
        nocopy: wanted.nocopy,
        subpath: wanted.subpath,
        create_host_path: false,
    };
    match wanted.kind {
        "tmpfs" => {
            mount.source = MountSource::Tmpfs {
                size: wanted.tmpfs.0,
                mode: wanted.tmpfs.1,
            }
        }
        "volume" if wanted.source.is_empty() => {}
        "volume" => mount.source = MountSource::Volume(wanted.source),
        _ => {
            let source = bind(cx, &wanted.source, span, diagnostics)?;
            mount.create_host_path = wanted.create_host_path && !matches!(source, MountSource::Tracked(_));
            if matches!(source, MountSource::Tracked(_)) && !mount.read_only {
                mount.read_only = true;
                let message = format!("`{}` is in Git, so it is mounted read-only", wanted.source);
                diagnostics.push(
                    Diagnostic::warning(Code::BIND_READ_ONLY, span, message)
                        .with_help("add `:ro` to say so; for data that the container writes, use a named volume or an untracked folder"),
                );
            }
            mount.source = source;
        }
    }
    Some(mount)
}

/// What a bind's source means.
fn bind(cx: &Context<'_>, source: &str, span: &Span, diagnostics: &mut Diagnostics) -> Option<MountSource> {
    if source.starts_with('~') {
        let message = format!("`{source}` depends on who runs it");
        diagnostics.push(
            Diagnostic::error(Code::PATH_REFUSED, span, message)
                .with_help("write the absolute path on the engine's host, or a named volume"),
        );
        return None;
    }
    if source.starts_with('/') {
        return Some(MountSource::Host(clean(source)));
    }
    let path = match cx.folder.join(source) {
        Ok(path) => path,
        Err(error) => {
            let finding = path_error(&error, span).with_help(
                "a path outside the repository is written as an absolute path on the engine's host",
            );
            diagnostics.push(finding);
            return None;
        }
    };
    let entry = match cx.checkout.stat(&path) {
        Ok(entry) => entry,
        Err(error) => {
            diagnostics.push(checkout_error(&error, span));
            return None;
        }
    };
    if let Some(entry) = entry
        && cx.checkout.is_tracked(&path)
    {
        match tree(cx, &path, entry.kind) {
            Ok(Some(tree)) => return keep(cx, tree, span, diagnostics),
            Ok(None) => {}
            Err(error) => {
                diagnostics.push(checkout_error(&error, span));
                return None;
            }
        }
    }
    match path.relative_to(&cx.folder) {
        Some(inside) if !inside.is_root() => Some(MountSource::Data(inside.as_str().to_owned())),
        _ => {
            let message =
                format!("`{source}` is not in Git and lies outside the app's folder, so it has no place");
            diagnostics.push(Diagnostic::error(Code::PATH_OUTSIDE, span, message).with_help(
                "commit it, or write an absolute path on the engine's host, or use a named volume",
            ));
            None
        }
    }
}

/// The files of the commit at `path`; `None` for a folder that only holds keepers.
fn tree(cx: &Context<'_>, path: &RepoPath, kind: EntryKind) -> Result<Option<Tree>, CheckoutError> {
    let mut tree = Tree {
        path: path.as_str().to_owned(),
        single: kind != EntryKind::Directory,
        files: BTreeMap::new(),
    };
    if tree.single {
        let blob = cx.checkout.read(path)?;
        tree.files.insert(
            String::new(),
            TreeFile {
                executable: blob.executable,
                content: blob.bytes,
            },
        );
        return Ok(Some(tree));
    }
    let listing = cx.checkout.walk(path, FILE_CAP)?;
    if let Some(refused) = listing.refused.into_iter().next() {
        return Err(refused);
    }
    let working = matches!(cx.checkout.origin(), Origin::WorkingTree { .. });
    let mut size = 0u64;
    let mut only_keepers = true;
    for entry in listing.entries {
        if entry.kind == EntryKind::Submodule || (working && !cx.checkout.is_tracked(&entry.path)) {
            continue;
        }
        only_keepers &= KEEPERS.contains(&entry.name.as_str());
        let Some(inside) = entry.path.relative_to(path) else {
            continue;
        };
        let blob = cx.checkout.read(&entry.path)?;
        size += blob.bytes.len() as u64;
        if size > TREE_CAP {
            return Err(CheckoutError::TooLarge {
                path: path.clone(),
                size,
                cap: TREE_CAP,
            });
        }
        let file = TreeFile {
            executable: blob.executable,
            content: blob.bytes,
        };
        tree.files.insert(inside.as_str().to_owned(), file);
    }
    Ok(if only_keepers { None } else { Some(tree) })
}

fn keep(cx: &Context<'_>, tree: Tree, span: &Span, diagnostics: &mut Diagnostics) -> Option<MountSource> {
    let hash = hash(&tree);
    let mut trees = cx.trees.borrow_mut();
    let total = |tree: &Tree| {
        tree.files
            .values()
            .map(|file| file.content.len() as u64)
            .sum::<u64>()
    };
    let others: u64 = trees
        .iter()
        .filter(|(key, _)| **key != hash)
        .map(|(_, tree)| total(tree))
        .sum();
    if others + total(&tree) > TREE_CAP {
        let message = format!(
            "the files of the commit that `{}` binds are larger than 10 MiB together",
            cx.app
        );
        diagnostics.push(
            Diagnostic::error(Code::TREE_TOO_LARGE, span, message)
                .with_help("put large files into the image, a named volume or an absolute path on the host"),
        );
        return None;
    }
    trees.insert(hash.clone(), tree);
    Some(MountSource::Tracked(hash))
}

/// The name of a tree: its content, modes and names; never its path or commit.
fn hash(tree: &Tree) -> String {
    let mut hasher = Sha256::new();
    hasher.update([u8::from(tree.single)]);
    for (path, file) in &tree.files {
        hasher.update((path.len() as u64).to_be_bytes());
        hasher.update(path.as_bytes());
        hasher.update([u8::from(file.executable)]);
        hasher.update((file.content.len() as u64).to_be_bytes());
        hasher.update(&file.content);
    }
    hex::encode(hasher.finalize())
}
