//! `E02xx`: Compose files and manifests.

codes! {
    WRONG_TYPE = 201, "wrong-type", "a value has the wrong type",
"The key is known, but its value is of another kind than it takes: a list where text is needed, text where a number
is needed, and so on. The message says what was found and what is expected.

    services:
      web:
        image: [nginx]      # text is expected
        image: nginx
";
    MISSING_FIELD = 202, "missing-field", "a required key is missing",
"A key that the object cannot do without is not there. The place shown is the object. Add the key; the message
names it.

    services:
      web: {}               # needs `image`
";
    NOT_ALLOWED = 203, "value-not-allowed", "a value is not one of those allowed",
"The key takes one of a fixed set of words, and this is none of them. The message lists them and suggests the
nearest.

    restart: allways        # no | always | on-failure | unless-stopped
";
    UNKNOWN_FIELD = 207, "unknown-field", "a key is not known here",
"The key is not one that this object has. A misspelled key would otherwise be ignored without a word, so it is an
error; the nearest known key is suggested. Check also the indentation: the key may belong one level up or down.
Keys that start with `x-` are yours and are never an error.

    deploy:
      replica: 3            # did you mean `replicas`?
";
}
