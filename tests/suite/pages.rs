//! What the written pages say about the code is true.

use driftless::secret::SECRET_NAMES;

use crate::support::root;

#[test]
fn the_published_list_of_secret_names_is_the_one_in_the_code() {
    let page = std::fs::read_to_string(root().join("docs/secrets.md")).unwrap();
    let (_, after) = page.split_once("a test compares them. -->").unwrap();
    let (list, _) = after.split_once("\n\nand `pass`").unwrap();
    let listed: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
    assert_eq!(listed, SECRET_NAMES);
}

#[test]
fn the_readme_maps_every_module() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let modules = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    for module in modules {
        assert!(
            readme.contains(&format!("`{module}`")),
            "README.md does not say what src/{module} is"
        );
    }
}
