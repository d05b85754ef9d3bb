//! `E01xx`: YAML and documents.

codes! {
    YAML_SYNTAX = 101, "yaml-syntax", "the file is not valid YAML",
"The text cannot be read as YAML. The snippet shows where reading stopped; the mistake is often on the line
before it: a missing colon, a quote that is not closed, an indentation that does not line up.

    services:
      web
        image: nginx        # `web` needs a colon: `web:`

Text with `: `, ` #`, or a leading `*`, `&`, `!`, `%`, `@`, `{` or `[` must be quoted.
Nothing of the file's app is changed until it can be read.
";
    YAML_TAB = 102, "yaml-tab", "a tab is used for indentation",
"YAML is indented with spaces only. Replace the tab with spaces; most editors do it with \"convert indentation
to spaces\". A tab inside quoted text is fine.

    services:
    \tweb:                  # a tab
      web:                  # two spaces
";
    FILE_TOO_LARGE = 103, "file-too-large", "the file is larger than the limit",
"A manifest has a byte limit (8 MiB unless configured), so that one file in a repository cannot take the memory
of the service. The file is refused before it is read as YAML.
Split it into several files, or move bulk data out of the manifest (a mounted file, an object store).
";
    BAD_ENCODING = 104, "bad-encoding", "the file is not UTF-8 text",
"Manifests are UTF-8. The place shows the first byte that is not. Files saved as UTF-16 or Latin-1 must be
converted, for example: iconv -f LATIN1 -t UTF-8 old.yaml > new.yaml
A byte order mark at the start is fine. NUL bytes have a code of their own (E0114).
";
    DUPLICATE_KEY = 105, "duplicate-key", "a key is written twice in one mapping",
"The same key appears twice in one mapping. Tools disagree on which one counts (many silently take the last), so
it is an error; both places are shown. Keep one, or merge their contents.

    environment:
      MODE: dev
      MODE: prod            # which one?

A key that also comes in through a merge key (`<<: *base`) is not a duplicate: the written one wins.
";
    UNKNOWN_TAG = 106, "unknown-tag", "a tag is not known",
"A `!tag` changes how a value is read. Known are the core tags (`!!str`, `!!int`, `!!float`, `!!bool`, `!!null`,
`!!seq`, `!!map`, `!!timestamp`, `!!binary`, `!!merge`) and, in Compose files, `!reset` and `!override`.
Other tools drop unknown tags in silence, which changes what the file means. Remove the tag, or quote the
value if it is meant to start with `!`:

    command: \"!important\"
";
    TAG_MISMATCH = 107, "tag-mismatch", "a value does not fit its tag",
"An explicit tag says what a value is, and the value is something else: `!!int abc`, or `!!map` before a list.
Remove the tag or correct the value.

    replicas: !!int three   # not a number
    replicas: 3
";
    TOO_DEEP = 108, "too-deep", "values are nested too deeply",
"Lists and mappings are nested deeper than the limit (128 levels unless configured). No real manifest needs it;
it is mostly a sign of a generated or damaged file, or of an alias that contains aliases that contain aliases.
";
    TOO_MANY_NODES = 109, "too-many-nodes", "the file holds too many values",
"A file has a limit on the values in it (500 000 unless configured), counted after aliases are expanded. Split
the file.
";
    KEY_NOT_TEXT = 110, "key-not-text", "a key is not text",
"A key must be text. In a Compose file a key such as `8080:` or `true:` is read as a number or a boolean, and
`docker compose` refuses it too; a list or a mapping is never a key. Quote it:

    labels:
      8080: web             # error
      \"8080\": web           # fine
";
    ALIAS_UNKNOWN = 111, "alias-unknown", "an alias refers to no anchor",
"`*name` repeats the value that was marked `&name` earlier in the same document. There is no such mark before
this place: anchors do not reach into other documents (after `---`), other files, or forward.
If the value is meant to start with `*`, quote it:

    schedule: \"*/5 * * * *\"
";
    ALIAS_BUDGET = 112, "alias-budget", "aliases expand to too much",
"Every `*alias` is replaced by a copy of what it names. Together the copies are larger than the limit (100 000
values unless configured): the \"billion laughs\" pattern, where each anchor repeats the one before several times.
";
    MERGE_KEY = 113, "merge-key", "a merge key needs a mapping",
"`<<:` merges another mapping into this one. Its value must be a mapping, an alias of one, or a list of those.

    x-base: &base { restart: always }
    services:
      web:
        <<: *base           # or  <<: [*base, *logging]
        image: nginx

Keys written in the mapping win over merged ones; in a list, the earlier mapping wins. In Kubernetes manifests a
merge key wins over keys that are written before it, because kubectl reads it so: write `<<:` first.
";
    NUL_BYTE = 114, "nul-byte", "the file holds a NUL byte",
"A NUL byte never belongs in a manifest; the file is most likely binary, UTF-16, or damaged. The place of the
first one is shown. Nothing after it is trusted, so nothing of the file is used.
";
    ALIAS_RECURSIVE = 115, "alias-recursive", "an alias is inside the value it names",
"The alias stands inside the very value that its anchor marks, so it would have no end.

    a: &loop
      b: *loop              # contains itself
";
}
