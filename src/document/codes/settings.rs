//! `E03xx`: `driftless.yaml` and the operator's `config.yaml`.

codes! {
    SETTING_WRONG_TYPE = 301, "setting-wrong-type", "a setting has the wrong type",
"The setting is known, but its value is of another kind than it takes. The message says what was found and what is
expected. `driftless schema` prints the schema of the file for your editor.
";
    SETTING_MISSING = 302, "setting-missing", "a required setting is missing",
"The object cannot be used without this setting. The place shown is the object that lacks it; the message names
the setting. `driftless schema` prints the schema of the file for your editor.
";
    SETTING_NOT_ALLOWED = 303, "setting-not-allowed", "a setting's value is not one of those allowed",
"The setting takes one of a fixed set of words. The message lists them and suggests the nearest one.

    rollback: yes           # auto | notify | off
";
    SETTING_UNKNOWN = 307, "setting-unknown", "a setting is not known here",
"The key is not a setting that this object has. Unknown settings are errors, because a misspelled one would be
without effect and without a word. The nearest known one is suggested.
";
    BAD_EXPRESSION = 308, "bad-expression", "a health expression can't be read",
"`health.expressions` holds CEL, as Flux's `healthCheckExprs` does. Each has an `apiVersion`, a `kind` and `current`, and may
have `inProgress` and `failed`; the fields of the object are the variables. An expression is at most 4096 characters long
and nests loops (`exists`, `all`, `filter`, `map`) at most twice.

    expressions:
      - apiVersion: example.com/v1
        kind: Widget
        failed: status.phase == 'Broken'
        current: status.phase == 'Up'
";
    SETTING_VALUE = 310, "setting-value", "a setting's value cannot be used",
"The setting is known and of the right type, but its value means nothing here: a duration without a unit, a name with
characters that it may not have, a target that is not declared. The message says what is expected.

    interval: 30s           # 500ms, 30s, 5m, 1h30m
";
    SETTING_SECRET = 311, "setting-secret", "a secret value does not belong in this file",
"`config.yaml` is read by people and copied into tickets, so it names files with secrets and never holds one.

    auth:
      username: deploy
      token_file: /etc/driftless/git-token
";
    SETTING_UNREADABLE = 312, "setting-unreadable", "a settings file cannot be read",
"The file was named by a flag or a variable, or lies where it is looked for, but it cannot be read. Without it every
setting would silently be the default, so nothing is done.
";
}
