use super::*;

fn path(raw: &str) -> RepoPath {
    RepoPath::parse(raw).unwrap()
}

#[test]
fn memory_trees_have_the_ids_that_git_gives() {
    let checkout = Checkout::in_memory([("a.txt", "hello\n"), ("dir/b", "x")]);
    assert_eq!(
        checkout.read(&path("a.txt")).unwrap().oid.to_string(),
        "ce013625030ba8dba906f756967f9e9ca394464a"
    );
    let listing = checkout.list(&RepoPath::root()).unwrap();
    assert_eq!(
        listing
            .entries
            .iter()
            .map(|entry| entry.name.as_str())
            .collect::<Vec<_>>(),
        ["a.txt", "dir"]
    );
    assert!(checkout.tree_oid(&path("dir")).unwrap().is_some());
    assert!(checkout.tree_oid(&path("nope")).unwrap().is_none());
}

#[test]
fn links_inside_are_followed_and_links_outside_are_refused() {
    let checkout = Checkout::in_memory_with_links(
        [("base/app.yaml", "x")],
        [
            ("apps/web/app.yaml", "../../base/app.yaml"),
            ("apps/out", "../../etc"),
            ("abs", "/etc/passwd"),
            ("apps/b", "../base"),
            ("loop", "loop"),
        ],
    );
    assert_eq!(
        checkout.read(&path("apps/web/app.yaml")).unwrap().path,
        path("base/app.yaml")
    );
    assert_eq!(checkout.read(&path("apps/b/app.yaml")).unwrap().bytes, b"x");
    assert!(matches!(
        checkout.read(&path("apps/out/passwd")),
        Err(CheckoutError::LinkOutside { .. })
    ));
    assert!(matches!(
        checkout.read(&path("abs")),
        Err(CheckoutError::LinkOutside { .. })
    ));
    assert!(matches!(
        checkout.read(&path("loop")),
        Err(CheckoutError::LinkLoop { .. })
    ));
}

#[test]
fn a_case_clash_spoils_its_own_paths_only() {
    let checkout = Checkout::in_memory([("App.yaml", "1"), ("app.yaml", "2"), ("ok.yaml", "3")]);
    assert!(matches!(
        checkout.read(&path("app.yaml")),
        Err(CheckoutError::CaseClash { .. })
    ));
    assert!(checkout.read(&path("ok.yaml")).is_ok());
    let listing = checkout.list(&RepoPath::root()).unwrap();
    assert_eq!((listing.entries.len(), listing.refused.len()), (1, 2));
}

#[test]
fn a_file_over_the_cap_is_refused() {
    let checkout = Checkout::in_memory([("big", vec![0_u8; 11])]).with_cap(10);
    assert!(matches!(
        checkout.read(&path("big")),
        Err(CheckoutError::TooLarge {
            size: 11,
            cap: 10,
            ..
        })
    ));
}

#[test]
fn inputs_tell_whether_an_app_must_be_rendered_again() {
    let files = [("web/compose.yaml", "a"), ("api/compose.yaml", "b")];
    let first = Checkout::in_memory(files);
    let web = first.recording();
    web.read(&path("web/compose.yaml")).unwrap();
    assert!(!web.is_file(&path("web/.env")));
    web.list(&path("web")).unwrap();
    let inputs = web.inputs();
    assert_eq!(inputs.len(), 3);
    assert!(first.inputs().is_empty());

    assert!(
        Checkout::in_memory([("web/compose.yaml", "a"), ("api/compose.yaml", "changed")])
            .same_inputs(&inputs)
    );
    assert!(!Checkout::in_memory([("web/compose.yaml", "changed")]).same_inputs(&inputs));
    assert!(!Checkout::in_memory([("web/compose.yaml", "a"), ("web/.env", "")]).same_inputs(&inputs));
    assert!(!Checkout::in_memory([("web/compose.yaml", "a"), ("web/more.yaml", "")]).same_inputs(&inputs));
    assert!(!first.same_inputs(&Inputs::new()));
}

#[test]
fn a_working_directory_shows_untracked_files_and_never_git() {
    let dir = tempfile::tempdir().unwrap();
    let repository = git2::Repository::init(dir.path()).unwrap();
    std::fs::create_dir(dir.path().join("apps")).unwrap();
    std::fs::write(dir.path().join("apps/compose.yaml"), "x").unwrap();
    std::fs::write(dir.path().join("apps/.env"), "A=1").unwrap();
    std::os::unix::fs::symlink("/etc", dir.path().join("out")).unwrap();
    let mut index = repository.index().unwrap();
    index.add_path(std::path::Path::new("apps/compose.yaml")).unwrap();
    index.write().unwrap();

    let checkout = Checkout::from_dir(&dir.path().join("apps")).unwrap();
    assert_eq!(checkout.start(), &path("apps"));
    assert!(matches!(
        checkout.origin(),
        Origin::WorkingTree {
            dirty: true,
            head: None,
            ..
        }
    ));
    assert_eq!(checkout.read(&path("apps/.env")).unwrap().bytes, b"A=1");
    assert!(checkout.is_tracked(&path("apps/compose.yaml")) && checkout.is_tracked(&path("apps")));
    assert!(!checkout.is_tracked(&path("apps/.env")));
    assert!(matches!(
        checkout.read(&path("out/passwd")),
        Err(CheckoutError::LinkOutside { .. })
    ));
    let names: Vec<String> = checkout
        .list(&RepoPath::root())
        .unwrap()
        .entries
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert_eq!(names, ["apps", "out"]);
    let inputs = checkout.inputs();
    assert!(checkout.same_inputs(&inputs));
    std::fs::write(dir.path().join("apps/.env"), "A=2").unwrap();
    assert!(!checkout.same_inputs(&inputs));
}
