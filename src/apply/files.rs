//! Lays files of the commit out below the state folder, so that containers can bind them (decision 12).
//!
//! In: trees with their content. Out: `<files>/<hash>/…`, complete or not there at all. Guaranteed: a folder that exists is
//! complete (it is renamed into place) and is never written again, so a changed file is a changed path. Must not: write
//! outside the folder it is given.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use crate::render::model::Tree;

/// Makes sure that `tree` lies at `folder/<hash>`; returns without touching anything when it does already.
pub fn lay_out(folder: &Path, hash: &str, tree: &Tree) -> io::Result<()> {
    let place = folder.join(hash);
    if place.exists() {
        return Ok(());
    }
    // Readable by any user id in a container; the folders above are the operator's and stay closed to other users of the
    // host only as far as the state folder's own mode says.
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let building = tempfile::Builder::new().prefix(".building-").tempdir_in(folder)?;
    let root = building.path().join("tree");
    if tree.single {
        let (_, file) = tree
            .files
            .iter()
            .next()
            .ok_or_else(|| io::Error::other("a file without content"))?;
        write(&root, &file.content, file.executable)?;
    } else {
        fs::create_dir(&root)?;
        for (path, file) in &tree.files {
            let target = below(&root, path)?;
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            write(&target, &file.content, file.executable)?;
        }
        open_folders(&root)?;
    }
    match fs::rename(&root, &place) {
        // Another run of this process laid the same content out meanwhile.
        Err(_) if place.exists() => Ok(()),
        result => result,
    }
}

fn below(root: &Path, path: &str) -> io::Result<PathBuf> {
    let path = Path::new(path);
    if path.components().all(|part| matches!(part, Component::Normal(_))) {
        Ok(root.join(path))
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the path {path:?} leaves its folder"),
        ))
    }
}

fn write(path: &Path, content: &[u8], executable: bool) -> io::Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(
        path,
        fs::Permissions::from_mode(if executable { 0o555 } else { 0o444 }),
    )
}

fn open_folders(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_folders(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::render::model::TreeFile;

    fn tree(path: &str) -> Tree {
        let file = TreeFile {
            executable: false,
            content: b"x".to_vec(),
        };
        Tree {
            path: "conf".into(),
            single: path.is_empty(),
            files: BTreeMap::from([(path.to_owned(), file)]),
        }
    }

    #[test]
    fn a_tree_is_laid_out_once_and_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        lay_out(folder.path(), "abc", &tree("a/b.conf")).expect("laid out");
        assert_eq!(
            fs::read(folder.path().join("abc/a/b.conf")).expect("the file"),
            b"x"
        );
        lay_out(folder.path(), "abc", &tree("other")).expect("left as it is");
        assert!(!folder.path().join("abc/other").exists());
        lay_out(folder.path(), "def", &tree("")).expect("one file");
        assert!(folder.path().join("def").is_file());
    }

    #[test]
    fn a_path_that_leaves_its_folder_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(lay_out(folder.path(), "abc", &tree("../evil")).is_err());
        assert!(!folder.path().join("abc").exists());
    }
}
