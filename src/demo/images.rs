//! The demo's images: one layer, several configurations, as an archive that `docker load` reads.
//!
//! In: the program's files and a registry-like prefix. Out: the archive, and the images in it. Guaranteed: the same bytes
//! from the same program; every image says by a label that it is the demo's. Must not: send anything.

use std::io;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::program::{EXECUTABLE, LIBRARIES, Program};

/// What the names of the images in `examples/repo` start with. No registry is called `localhost`, so none is ever asked.
pub const PREFIX: &str = "localhost/driftless-demo/";

/// The label of each image.
pub const LABEL: &str = "dev.driftless.demo";

/// Nobody's user: the images run without privileges.
const USER: u64 = 65534;

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name below [`PREFIX`], with its tag.
    pub name: &'static str,
    role: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
    port: Option<u16>,
}

/// All images of the example repository and of its later releases.
pub const IMAGES: &[Image] = &[
    Image {
        name: "web:1.8.2",
        role: &["web"],
        variables: &[("SHOP_VERSION", "1.8.2")],
        port: Some(8080),
    },
    // The release that breaks: it needs a variable that the repository does not give yet.
    Image {
        name: "web:1.9.0",
        role: &["web"],
        variables: &[("SHOP_VERSION", "1.9.0"), ("SHOP_REQUIRES", "SHOP_CURRENCY")],
        port: Some(8080),
    },
    Image {
        name: "proxy:1.4.0",
        role: &["proxy"],
        variables: &[],
        port: Some(8080),
    },
    Image {
        name: "database:16.2",
        role: &["database"],
        variables: &[],
        port: Some(5432),
    },
    Image {
        name: "watch:0.9.1",
        role: &["watch", "http://127.0.0.1:8080/"],
        variables: &[],
        port: None,
    },
    Image {
        name: "tools:2.1.0",
        role: &["job", "catalogue", "/out/catalogue.txt"],
        variables: &[],
        port: None,
    },
];

impl Image {
    /// What it is told on the command line, behind `demo-server`.
    pub fn role(&self) -> &'static [&'static str] {
        self.role
    }

    /// The variables that it brings along.
    pub fn variables(&self) -> &'static [(&'static str, &'static str)] {
        self.variables
    }
}

/// The archive with every image, named below `prefix`, made of `program`, which is the one that runs.
pub fn archive_of(program: &Path, prefix: &str) -> io::Result<Vec<u8>> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    archive(&Program::read(program, &maps)?, prefix)
}

/// The archive with every image, named below `prefix`, for an engine of this machine's processor.
pub fn archive(program: &Program, prefix: &str) -> io::Result<Vec<u8>> {
    let layer = layer(program)?;
    let diff_id = format!("sha256:{}", hex::encode(Sha256::digest(&layer)));
    let mut archive = Archive(tar::Builder::new(Vec::with_capacity(layer.len() + (64 << 10))));
    archive.file("layer.tar", 0o644, &layer)?;
    let mut manifest = Vec::new();
    for image in IMAGES {
        let config = serde_json::to_vec(&configuration(image, &diff_id))?;
        let file = format!("{}.json", hex::encode(Sha256::digest(&config)));
        archive.file(&file, 0o644, &config)?;
        manifest.push(json!({ "Config": file, "RepoTags": [format!("{prefix}{}", image.name)], "Layers": ["layer.tar"] }));
    }
    archive.file("manifest.json", 0o644, &serde_json::to_vec(&manifest)?)?;
    archive.0.into_inner()
}

fn configuration(image: &Image, diff_id: &str) -> Value {
    let mut variables = vec![format!("LD_LIBRARY_PATH=/{LIBRARIES}"), "PATH=/".to_owned()];
    variables.extend(
        image
            .variables
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    let ports: serde_json::Map<String, Value> = image
        .port
        .iter()
        .map(|port| (format!("{port}/tcp"), json!({})))
        .collect();
    json!({
        "architecture": architecture(),
        "os": "linux",
        // No time of its own, so that the same program gives the same image.
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Env": variables,
            "Entrypoint": [format!("/{EXECUTABLE}"), "demo-server"],
            "Cmd": image.role,
            "WorkingDir": "/",
            "ExposedPorts": ports,
            "Labels": { LABEL: image.name },
        },
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "driftless demo" }],
    })
}

/// This machine's processor as images name it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The root file system.
fn layer(program: &Program) -> io::Result<Vec<u8>> {
    let size: usize = program.files.iter().map(|file| file.bytes.len()).sum();
    let mut layer = Archive(tar::Builder::new(Vec::with_capacity(size + (64 << 10))));
    let mut folders = vec![
        "etc".to_owned(),
        LIBRARIES.to_owned(),
        "tmp".to_owned(),
        "data".to_owned(),
        "out".to_owned(),
    ];
    for file in &program.files {
        let mut folder = std::path::Path::new(&file.path).parent();
        let mut missing = Vec::new();
        while let Some(path) = folder.filter(|path| !path.as_os_str().is_empty()) {
            missing.push(path.to_string_lossy().into_owned());
            folder = path.parent();
        }
        folders.extend(missing.into_iter().rev());
    }
    let mut made = std::collections::BTreeSet::new();
    for folder in folders {
        if made.insert(folder.clone()) {
            layer.folder(&folder)?;
        }
    }
    for file in &program.files {
        layer.file(&file.path, 0o755, &file.bytes)?;
    }
    layer.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/:/\nnobody:x:65534:65534:nobody:/:/\n",
    )?;
    layer.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    layer.file("etc/nsswitch.conf", 0o644, b"hosts: files dns\n")?;
    layer.0.into_inner()
}

struct Archive(tar::Builder<Vec<u8>>);

impl Archive {
    fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        self.0.append_data(&mut header, path, content)
    }

    /// Those that the images write to belong to their user: a new volume takes over the owner of what it covers.
    fn folder(&mut self, path: &str) -> io::Result<()> {
        let (mode, owner) = match path {
            "tmp" => (0o1777, 0),
            "data" | "out" => (0o755, USER),
            _ => (0o755, 0),
        };
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_size(0);
        self.0.append_data(&mut header, format!("{path}/"), io::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::ProgramFile;
    use super::*;

    fn program() -> Program {
        let file = |path: &str| ProgramFile {
            path: path.to_owned(),
            bytes: path.as_bytes().to_vec(),
        };
        Program {
            files: vec![file(EXECUTABLE), file("lib64/ld.so"), file("lib/libc.so.6")],
        }
    }

    fn entries(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut archive = tar::Archive::new(archive);
        let read = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            (entry.path().unwrap().to_string_lossy().into_owned(), bytes)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn the_archive_names_every_image_by_the_digest_of_its_configuration() {
        let bytes = archive(&program(), "localhost/x/").unwrap();
        assert_eq!(bytes, archive(&program(), "localhost/x/").unwrap());
        let entries = entries(&bytes);
        let (_, manifest) = entries.last().unwrap();
        let manifest: Value = serde_json::from_slice(manifest).unwrap();
        assert_eq!(manifest.as_array().unwrap().len(), IMAGES.len());
        for item in manifest.as_array().unwrap() {
            let file = item["Config"].as_str().unwrap();
            let config = &entries.iter().find(|(path, _)| path == file).unwrap().1;
            assert_eq!(file, format!("{}.json", hex::encode(Sha256::digest(config))));
            let config: Value = serde_json::from_slice(config).unwrap();
            let layer = format!("sha256:{}", hex::encode(Sha256::digest(&entries[0].1)));
            assert_eq!(config["rootfs"]["diff_ids"], json!([layer]));
            assert!(item["RepoTags"][0].as_str().unwrap().starts_with("localhost/x/"));
        }
    }

    #[test]
    fn the_layer_holds_each_folder_before_what_is_in_it() {
        let entries = entries(&layer(&program()).unwrap());
        let place = |wanted: &str| {
            entries
                .iter()
                .position(|(path, _)| path.trim_end_matches('/') == wanted)
                .unwrap()
        };
        assert!(place("lib64") < place("lib64/ld.so"));
        assert_eq!(entries[place("lib64/ld.so")].1, b"lib64/ld.so");
        assert_eq!(entries.iter().filter(|(path, _)| path == "lib/").count(), 1);
    }
}
