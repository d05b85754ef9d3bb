//! Laws of the loader, the diagnostics and the reader.

use std::time::{Duration, Instant};

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

fn load(text: &str, dialect: Dialect) -> Result<Vec<Document>, Diagnostics> {
    parse(
        &File::new("apps/web/compose.yaml", text),
        dialect,
        &Budget::default(),
    )
}

fn json(text: &str, dialect: Dialect) -> String {
    let documents = load(text, dialect).unwrap();
    documents
        .iter()
        .map(|document| document.root.to_json().to_string())
        .collect::<Vec<_>>()
        .join("\n")
}

fn compose(text: &str) -> String {
    json(text, Dialect::Compose)
}

fn findings(text: &str) -> String {
    load(text, Dialect::Compose)
        .unwrap_err()
        .iter()
        .map(|one| format!("{} {one}", one.code))
        .collect::<Vec<_>>()
        .join("\n")
}

fn rendered(text: &str) -> String {
    load(text, Dialect::Compose).unwrap_err().render(false, 100)
}

#[test]
fn every_node_knows_where_it_was_written() {
    let text = "services:\n  web:\n    image: nginx:1.27  # pinned\n    ports:\n    - 8080:80\n    - \"443:443\"\n    deploy: {replicas: 3}\n    command: |\n      a\n      b\n    user:\n";
    let documents = load(text, Dialect::Compose).unwrap();
    let document = &documents[0];
    let at = |path: &[&str]| {
        let span = document.span_at(path).unwrap();
        format!("{span} {:?}", span.text())
    };
    assert_eq!(
        at(&["services", "web", "image"]),
        "apps/web/compose.yaml:3:12 \"nginx:1.27\""
    );
    assert_eq!(
        at(&["services", "web", "ports"]),
        "apps/web/compose.yaml:5:5 \"- 8080:80\\n    - \\\"443:443\\\"\""
    );
    assert_eq!(
        at(&["services", "web", "ports", "1"]),
        "apps/web/compose.yaml:6:7 \"\\\"443:443\\\"\""
    );
    assert_eq!(
        at(&["services", "web", "deploy"]),
        "apps/web/compose.yaml:7:13 \"{replicas: 3}\""
    );
    assert_eq!(
        at(&["services", "web", "deploy", "replicas"]),
        "apps/web/compose.yaml:7:24 \"3\""
    );
    // A block scalar is where its text begins.
    assert_eq!(
        at(&["services", "web", "command"]),
        "apps/web/compose.yaml:9:7 \"a\\n      b\""
    );
    assert_eq!(
        at(&["services", "web", "user"]),
        "apps/web/compose.yaml:11:5 \"user\""
    );
    assert_eq!(
        document
            .key_span_at(&["services", "web", "image"])
            .unwrap()
            .to_string(),
        "apps/web/compose.yaml:3:5"
    );
    assert_eq!(
        document
            .span_at_pointer("/services/web/deploy/replicas")
            .unwrap()
            .line(),
        7
    );
    assert_eq!(document.span_at_pointer("").unwrap().line(), 1);
    assert!(document.span_at(&["services", "nope"]).is_none());
}

#[test]
fn scalars_keep_their_text_and_can_be_typed_again() {
    let documents = load(
        "a: 1.10\nb: ${N}\nc: \"${N}\"\nd: !!str 012\ne: ~\n",
        Dialect::Compose,
    )
    .unwrap();
    let root = &documents[0].root;
    let node = |key: &str| root.get(key).unwrap();
    assert_eq!(node("a").raw(), Some("1.10"));
    assert_eq!(node("a").as_text().as_deref(), Some("1.10"));
    assert_eq!(node("b").with_text("3", Dialect::Compose).value, Value::Int(3));
    assert_eq!(
        node("c").with_text("3", Dialect::Compose).value,
        Value::String("3".into())
    );
    assert_eq!(
        node("d").with_text("013", Dialect::Compose).value,
        Value::String("013".into())
    );
    assert_eq!(node("e").raw(), Some("~"));
    assert_eq!(node("c").style(), Some(Style::DoubleQuoted));
}

#[test]
fn kubectl_makes_text_of_keys_and_compose_refuses_them() {
    assert_eq!(
        json("n: 1\n0x10: 2\nyes: 3\n", Dialect::Kubectl),
        r#"{"16":2,"false":1,"true":3}"#
    );
    assert_eq!(
        findings("80: web\n"),
        "E0110 apps/web/compose.yaml:1:1: a key must be text, and this is a number"
    );
    assert_eq!(
        findings("? [a]\n: b\n"),
        "E0110 apps/web/compose.yaml:1:3: a key must be text, and this is a list"
    );
    assert_eq!(compose("n: 1\nyes: 3\n"), r#"{"n":1,"yes":3}"#);
    assert!(load("~: x\n", Dialect::Kubectl).is_err());
}

#[test]
fn documents_are_counted_and_empty_ones_left_out() {
    let documents = load(
        "---\n# nothing\n---\na: 1\n---\n~\n---\nb: 2\n...\n",
        Dialect::Kubectl,
    )
    .unwrap();
    assert_eq!(
        documents
            .iter()
            .map(|document| document.index)
            .collect::<Vec<_>>(),
        [1, 3]
    );
    assert!(load("", Dialect::Compose).unwrap().is_empty());
    assert!(load("# only a comment\n", Dialect::Compose).unwrap().is_empty());
}

#[test]
fn written_keys_win_over_merged_ones_and_earlier_merges_over_later() {
    let text = "x-a: &a {k: a, only-a: 1}\nx-b: &b {k: b, only-b: 2}\none:\n  k: own\n  <<: *a\ntwo:\n  <<: [*a, *b]\nthree:\n  <<: *b\n  k: last\nfour: {\"<<\": 1}\n";
    let documents = load(text, Dialect::Compose).unwrap();
    let root = &documents[0].root;
    let shown = |key: &str| root.get(key).unwrap().to_json().to_string();
    assert_eq!(shown("one"), r#"{"k":"own","only-a":1}"#);
    assert_eq!(shown("two"), r#"{"k":"a","only-a":1,"only-b":2}"#);
    assert_eq!(shown("three"), r#"{"k":"last","only-b":2}"#);
    // Merged keys stand where the merge key stood.
    assert_eq!(
        root.get("three")
            .unwrap()
            .as_mapping()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["only-b", "k"]
    );
    assert_eq!(shown("four"), r#"{"<<":1}"#);
    // Measured: kubectl lets a merge win over what is written before it.
    assert_eq!(
        json("a: 1\n<<: [{a: 2, b: 3}, {a: 4}]\nb: 5\n", Dialect::Kubectl),
        r#"{"a":2,"b":5}"#
    );
    assert_eq!(
        json("a: 1\n<<: [{a: 2, b: 3}, {a: 4}]\nb: 5\n", Dialect::Compose),
        r#"{"a":1,"b":5}"#
    );
    // What came through a merge points to its definition.
    assert_eq!(root.at(&["two", "only-b"]).unwrap().span.line(), 2);
    assert_eq!(
        findings("a:\n  <<: 3\n"),
        "E0113 apps/web/compose.yaml:2:7: `<<` takes a mapping or a list of mappings"
    );
    assert!(findings("x: &x {a: 1}\ny:\n  <<: *x\n  <<: *x\n").starts_with("E0105"));
}

#[test]
fn tags_are_applied_kept_or_refused() {
    assert_eq!(
        compose("a: !!str 1\nb: !!int \"2\"\nc: !!float 3\nd: !!bool True\ne: !!binary aGk=\nf: ! 7\n"),
        r#"{"a":"1","b":2,"c":3,"d":true,"e":"hi","f":"7"}"#
    );
    let documents = load(
        "ports: !reset []\nenvironment: !override {A: b}\nimage: !reset null\n",
        Dialect::Compose,
    )
    .unwrap();
    let tag = |key: &str| documents[0].root.get(key).unwrap().tag;
    assert_eq!(
        (tag("ports"), tag("environment"), tag("image")),
        (Some(Tag::Reset), Some(Tag::Override), Some(Tag::Reset))
    );
    assert_eq!(
        findings("a: !foo bar\nb: !!int x\nc: !!map [1]\nd: !vault {x: 1}\n"),
        "\
E0106 apps/web/compose.yaml:1:4: tag `!foo` is not known
E0107 apps/web/compose.yaml:2:10: the value does not fit its tag `!!int`
E0107 apps/web/compose.yaml:3:10: the value does not fit its tag `!!map`
E0106 apps/web/compose.yaml:4:4: tag `!vault` is not known"
    );
    assert!(load("a: !reset 1\n", Dialect::Kubectl).is_err());
    assert!(load("a: !!bool yes\n", Dialect::Compose).is_err());
    assert_eq!(
        json(
            "a: !!bool yes\nb: !!str\nc: !!int \"3\"\nd: !!null ''\n",
            Dialect::Kubectl
        ),
        r#"{"a":true,"b":"","c":3,"d":null}"#
    );
    assert!(load("a: !!int 3.0\n", Dialect::Kubectl).is_err());
}

#[test]
fn all_findings_of_a_file_are_reported() {
    assert_eq!(
        findings("a: 1\na: 2\nb: *nope\n---\nc: [\n---\nd: !x 1\n"),
        "\
E0105 apps/web/compose.yaml:2:1: key `a` is written twice
E0111 apps/web/compose.yaml:3:4: no anchor `&nope` before this alias
E0101 apps/web/compose.yaml:5:4: unclosed bracket '['
E0106 apps/web/compose.yaml:7:4: tag `!x` is not known"
    );
}

#[test]
fn anchors_do_not_reach_into_other_documents() {
    assert!(findings("a: &x 1\n---\nb: *x\n").starts_with("E0111"));
    assert!(findings("a: &x\n  b: *x\n").starts_with("E0115 apps/web/compose.yaml:2:6"));
}

#[test]
fn budgets_end_reading_early() {
    let quick = |text: &str, code: &str| {
        let begun = Instant::now();
        let shown = findings(text);
        assert!(
            shown.starts_with(code),
            "{}",
            shown.lines().next().unwrap_or_default()
        );
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{code} took {:?}",
            begun.elapsed()
        );
    };
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let inner = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    quick(&bomb, "E0112");
    let mut ladder = "a0: &a0 [x]\n".to_owned();
    for level in 1..300 {
        ladder.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    quick(&ladder, "E0108");
    quick(&"[".repeat(10_000), "E0108");
    quick(&"{a: ".repeat(10_000), "E0108");
    quick(
        &(0..10_000)
            .map(|level| format!("{}a:\n", " ".repeat(level)))
            .take(2_000)
            .collect::<String>(),
        "E0108",
    );
    quick(&"- ".repeat(10_000), "E0108");
    let nested_anchors =
        (0..120).map(|level| format!("&n{level} [")).collect::<String>() + &"x,".repeat(20_000);
    let nested_anchors = nested_anchors + &"]".repeat(120);
    quick(&nested_anchors, "E0112");
    let few = Budget {
        nodes: 100,
        ..Budget::default()
    };
    let many = parse(&File::new("f", &"- 1\n".repeat(200)), Dialect::Kubectl, &few).unwrap_err();
    assert_eq!(many.iter().next().unwrap().code, Code::TOO_MANY_NODES);
}

#[test]
fn fifty_megabytes_are_refused_unread() {
    let bytes = vec![b'a'; 50 << 20];
    let begun = Instant::now();
    let refused = parse_bytes("big.yaml", &bytes, Dialect::Kubectl, &Budget::default()).unwrap_err();
    assert!(begun.elapsed() < Duration::from_millis(100));
    assert_snapshot!(refused.render(false, 100), @r##"
    error[E0103]: the file has 52428800 bytes, more than the limit of 8388608
    --> big.yaml
     = help: split the file, or keep bulk data out of manifests
    "##);
}

#[test]
fn bytes_that_are_not_text_are_refused_with_their_place() {
    let refused = |bytes: &[u8]| {
        let all = parse_bytes("f.yaml", bytes, Dialect::Compose, &Budget::default()).unwrap_err();
        all.iter()
            .map(|one| format!("{} {one}", one.code))
            .collect::<String>()
    };
    assert_eq!(
        refused(b"a: 1\nb: \xff\n"),
        "E0104 f.yaml:2:4: byte 0xFF is not UTF-8"
    );
    assert_eq!(
        refused(b"a: 1\nb: \0\n"),
        "E0114 f.yaml:2:4: the file holds a NUL byte"
    );
    assert!(
        parse_bytes(
            "f",
            b"\xef\xbb\xbfa: 1\r\nb: 2\r\n",
            Dialect::Compose,
            &Budget::default()
        )
        .is_ok()
    );
}

#[test]
fn tabs_have_their_own_code() {
    assert!(findings("services:\n\tweb:\n").starts_with("E0102 apps/web/compose.yaml:2:1"));
    assert!(findings("services:\n  web:\n  \timage: x\n").starts_with("E0102 apps/web/compose.yaml:3:3"));
    assert_eq!(compose("a: \"x\ty\"\nb:\tz\n"), "{\"a\":\"x\\ty\",\"b\":\"z\"}");
}

#[test]
fn a_diagnostic_shows_the_line_and_the_way_out() {
    let text = "name: web\nservices:\n  api:\n    image: x\n    deploy:\n      replica: 3\n    restart: allways\n    imge: y\n    ports: 80\n    x-mine: 1\n";
    let documents = load(text, Dialect::Compose).unwrap();
    let mut all = Diagnostics::new();
    let item = documents[0]
        .root
        .get("services")
        .unwrap()
        .as_mapping()
        .unwrap()
        .item("api")
        .unwrap();
    let mut api = Fields::of_item(item, "service `api`", &FieldRules::COMPOSE, &mut all).unwrap();
    assert_eq!(api.string("image").unwrap().value, "x");
    assert!(
        api.nested("deploy", "`deploy`", |deploy| deploy.int("replicas"))
            .unwrap()
            .is_none()
    );
    assert!(
        api.word("restart", &["no", "always", "on-failure", "unless-stopped"])
            .is_none()
    );
    assert!(api.texts("ports").is_none());
    assert!(api.required("command").is_none());
    api.finish(&["build"]);
    for one in all.iter_mut() {
        *one = one
            .clone()
            .with_note("acme/infra @ 4f1c2ab; nothing was changed on docker:nas");
    }
    assert_snapshot!(all.render(false, 100), @r##"
    error[E0207]: unknown field `replica` in `deploy`
     --> apps/web/compose.yaml:6:7
      |
    5 |     deploy:
    6 |       replica: 3
      |       ^^^^^^^ did you mean `replicas`?
      |
      = note: acme/infra @ 4f1c2ab; nothing was changed on docker:nas

    error[E0203]: `restart` of service `api` cannot be `allways`
     --> apps/web/compose.yaml:7:14
      |
    6 |       replica: 3
    7 |     restart: allways
      |              ^^^^^^^ did you mean `always`?
      |
      = note: allowed: no, always, on-failure, unless-stopped
      = note: acme/infra @ 4f1c2ab; nothing was changed on docker:nas

    error[E0201]: `ports` of service `api` must be a list
     --> apps/web/compose.yaml:9:12
      |
    8 |     imge: y
    9 |     ports: 80
      |            ^^ this is a number
      |
      = note: acme/infra @ 4f1c2ab; nothing was changed on docker:nas

    error[E0202]: service `api` needs `command`
     --> apps/web/compose.yaml:3:3
      |
    2 | services:
    3 |   api:
      |   ^^^ `command` is missing here
      |
      = note: acme/infra @ 4f1c2ab; nothing was changed on docker:nas

    error[E0207]: unknown field `imge` in service `api`
     --> apps/web/compose.yaml:8:5
      |
    7 |     restart: allways
    8 |     imge: y
      |     ^^^^ did you mean `image`?
      |
      = note: acme/infra @ 4f1c2ab; nothing was changed on docker:nas
    "##);
}

#[test]
fn fields_cast_as_compose_does_and_settings_do_not() {
    let documents = load(
        "n: \"3\"\nb: \"yes\"\nf: 0.5\nt: 1.10\nl: [a, 1]\ns: one\nz:\n",
        Dialect::Compose,
    )
    .unwrap();
    let mut all = Diagnostics::new();
    let mut fields = Fields::of(&documents[0].root, "f", &FieldRules::COMPOSE, &mut all).unwrap();
    assert_eq!(fields.int("n").unwrap().value, 3);
    assert!(fields.bool("b").unwrap().value);
    assert!((fields.float("f").unwrap().value - 0.5).abs() < f64::EPSILON);
    assert_eq!(fields.text("t").unwrap().value, "1.10");
    assert_eq!(
        fields
            .texts("l")
            .unwrap()
            .iter()
            .map(|one| one.value.as_str())
            .collect::<Vec<_>>(),
        ["a", "1"]
    );
    assert_eq!(fields.text_or_texts("s").unwrap().len(), 1);
    assert!(fields.string("z").is_none() && fields.has("z"));
    fields.finish(&[]);
    assert!(all.is_empty());
    let mut strict = Fields::of(&documents[0].root, "f", &FieldRules::SETTINGS, &mut all).unwrap();
    assert!(strict.int("n").is_none() && strict.bool("b").is_none() && strict.int_in("f", 0..=3).is_none());
    assert_eq!(all.len(), 3);
}

#[test]
fn suggestions_are_near_or_absent() {
    assert_eq!(did_you_mean("replica", ["replicas", "image"]), Some("replicas"));
    assert_eq!(did_you_mean("IMAGE", ["image"]), Some("image"));
    assert_eq!(
        did_you_mean("enviroment", ["environment", "env_file"]),
        Some("environment")
    );
    assert_eq!(did_you_mean("foo", ["image", "ports"]), None);
    assert_eq!(did_you_mean("", ["a"]), Some("a"));
}

#[test]
fn both_places_of_a_duplicate_key_are_shown() {
    assert_snapshot!(rendered("environment:\n  MODE: dev\n  OTHER: 1\n  LAST: 2\n  MORE: 3\n  MODE: prod\n"), @r##"
    error[E0105]: key `MODE` is written twice
     --> apps/web/compose.yaml:6:3
      |
    2 |   MODE: dev
      |   ---- first written here
    ...
    5 |   MORE: 3
    6 |   MODE: prod
      |   ^^^^ again here
    "##);
}

#[test]
fn marks_line_up_under_tabs_wide_characters_crlf_and_bom() {
    assert_snapshot!(rendered("\u{feff}a:\t\"日本語\" \r\nk: {\"日本語\": 1, é: 2, \"日本語\": 3}\r\nz:\t\t!foo x\r\n"), @r##"
    error[E0105]: key `日本語` is written twice
     --> apps/web/compose.yaml:2:21
      |
    1 | a:    "日本語" 
    2 | k: {"日本語": 1, é: 2, "日本語": 3}
      |     --------           ^^^^^^^^ again here
      |     |
      |     first written here

    error[E0106]: tag `!foo` is not known
     --> apps/web/compose.yaml:3:5
      |
    2 | k: {"日本語": 1, é: 2, "日本語": 3}
    3 | z:        !foo x
      |           ^^^^
      |
      = help: remove the tag, or quote the value if it is text
    "##);
}

#[test]
fn long_lines_are_cut_around_the_mark() {
    let long = format!(
        "a: [{}!foo x, {}]\n",
        "abcdefgh, ".repeat(5_000),
        "ijklmnop, ".repeat(5_000)
    );
    let shown = rendered(&long);
    assert!(shown.lines().all(|line| line.chars().count() < 200), "{shown}");
    assert_snapshot!(shown, @r##"
    error[E0106]: tag `!foo` is not known
     --> apps/web/compose.yaml:1:50005
      |
    1 | ...h, abcdefgh, abcdefgh, abcdefgh, abcdefgh, !foo x, ijklmnop, ijklmnop, ijklmnop, ijklmnop,...
      |                                               ^^^^
      |
      = help: remove the tag, or quote the value if it is text
    "##);
}

#[test]
fn control_characters_never_reach_the_terminal() {
    let shown = rendered("\"\\e[31mred\": 1\n\"\\e[31mred\": 2\n");
    assert!(!shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn secret_values_are_masked_in_snippets() {
    let canary = "hunter2-canary";
    let texts = [
        format!("DB_PASSWORD: {canary}\na: !foo 1\n"),
        format!("DB_PASSWORD: !foo {canary}\n"),
        format!("env:\n- DB_PASSWORD={canary}\n- !foo x\n"),
        format!("env: {{DB_PASSWORD: {canary}, x: !foo 1}}\n"),
        format!("env:\n- name: DB_PASSWORD\n  value: {canary}\n  x: !foo 1\n"),
        format!("kind: Secret\nstringData:\n  a: {canary}\n  b: !foo 1\n"),
        format!("password: |\n  line\n  {canary}\nb: !foo 1\n"),
        format!("key: |\n  -----BEGIN PRIVATE KEY-----\n  {canary}\nb: !foo 1\n"),
        format!("url: postgres://u:{canary}@db/x\nb: !foo 1\n"),
        format!("token:\n- {canary}\n- !foo 1\n"),
        format!("PASSWORD: {canary}\nPASSWORD: {canary}\n"),
    ];
    for text in texts {
        let shown = rendered(&text);
        assert!(!shown.contains(canary), "{text}\n{shown}");
        assert!(shown.contains("(secret)"), "{shown}");
    }
}

#[test]
fn source_can_be_left_out_or_redacted() {
    let file = File::new("f.yaml", "a: visible\nb: covered\n");
    let span = file.span(14..21);
    assert_eq!(span.text(), "covered");
    let finding = Diagnostic::error(Code::WRONG_TYPE, &span, "no")
        .with_label("here")
        .with_help("do it");
    assert_snapshot!(finding.clone().redact(14..21).render(false, 80), @r##"
    error[E0201]: no
     --> f.yaml:2:4
      |
    1 | a: visible
    2 | b: (secret)
      |    ^^^^^^^^ here
      |
      = help: do it
    "##);
    assert_snapshot!(finding.clone().without_source().render(false, 80), @r##"
    error[E0201]: no
    --> f.yaml:2:4
     = help: do it
    "##);
    assert!(finding.render(true, 80).contains('\u{1b}'));
    assert_eq!(finding.to_string(), "f.yaml:2:4: no");
    assert_snapshot!(Diagnostic::without_place(Code::WRONG_TYPE, "no file").with_help("x").render(false, 80), @r##"
    error[E0201]: no file
     |
     = help: x
    "##);
}

#[test]
fn places_in_two_files_are_both_shown() {
    let (one, two) = (
        File::new("a.yaml", "name: web\n"),
        File::new("b.yaml", "x: 1\nname: web\n"),
    );
    let finding = Diagnostic::warning(
        Code::DUPLICATE_KEY,
        &two.span(11..14),
        "two apps are called `web`",
    )
    .with_secondary(&one.span(6..9), "the other one");
    assert_snapshot!(finding.render(false, 80), @r##"
    warning[E0105]: two apps are called `web`
     --> b.yaml:2:7
      |
    1 | x: 1
    2 | name: web
      |       ^^^
     ::: a.yaml:1:7
      |
    1 | name: web
      |       --- the other one
    "##);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for dialect in [Dialect::Compose, Dialect::Kubectl] {
            if let Err(all) = parse_bytes("f", &bytes, dialect, &Budget::default()) {
                let _ = (all.render(false, 80), all.to_string());
            }
        }
    }

    #[test]
    fn no_yaml_like_text_panics(text in "([a-c]: |- |\\[|\\]|\\{|\\}|, |\\n|  |\t|\r|&a |\\*a|<<: |!foo |!!int |\"|'|\\||>|#|---\n|~|1|é|日|\u{feff}|PASSWORD: |%|\\?|:){0,60}") {
        match parse_bytes("f", text.as_bytes(), Dialect::Compose, &Budget::default()) {
            Ok(documents) => for document in documents { let _ = document.root.to_json(); },
            Err(all) => { prop_assert!(!all.is_empty()); let _ = (all.render(true, 60), all.to_string()); }
        }
    }

    #[test]
    fn no_mutation_of_a_manifest_panics(at in 0usize..300, with in any::<char>(), cut in 0usize..20) {
        let text = "services:\n  web: &web\n    image: \"nginx:1\"\n    ports: [8080:80, '443']\n    environment:\n      PASSWORD: x\n      A: |\n        b\n  api:\n    <<: *web\n    command: !reset null\n---\nb: {c: d}\n";
        let mut chars: Vec<char> = text.chars().collect();
        let at = at.min(chars.len() - 1);
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, [with]);
        let changed: String = chars.into_iter().collect();
        if let Err(all) = load(&changed, Dialect::Compose) {
            let _ = all.render(false, 40);
        }
    }

    #[test]
    fn scalars_of_any_text_have_a_value(raw in "\\PC{0,20}|[-+0-9_.exobnyEIN]{0,12}") {
        for dialect in [Dialect::Compose, Dialect::Kubectl] {
            let _ = resolve(&raw, Style::Plain, dialect);
        }
    }
}

#[test]
fn reading_time_grows_with_the_size_only() {
    let one = "metadata:\n  name: web\n  labels: {app: web, tier: \"front\"}\nspec:\n- replicas: 3\n  image: nginx\n---\n";
    let time = |count: usize| {
        let text = one.repeat(count);
        let begun = Instant::now();
        assert_eq!(load(&text, Dialect::Kubectl).unwrap().len(), count);
        begun.elapsed()
    };
    // Eight times the input; quadratic work would take sixty-four times as long.
    let (small, large) = (time(500), time(4_000));
    assert!(
        large < small * 30,
        "{small:?} for 500 documents, {large:?} for 4000"
    );
}
