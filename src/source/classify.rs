//! What `git` and `ssh` said → which [`SourceError`] it is. Pure.
//!
//! In: standard error under `LC_ALL=C`. Out: a typed error. Guaranteed: the text that is kept is one line, printable, short,
//! and without the user part of any URL. Must not: read a file; the fingerprint of a known key is looked up by the caller.

use super::error::SourceError;

/// Matches `stderr` of a failed child. `seen` says whether this source ever answered.
pub(super) fn classify(at: &str, host: &str, seen: bool, stderr: &str) -> SourceError {
    let has = |needles: &[&str]| needles.iter().any(|needle| stderr.contains(needle));
    let at = at.to_owned();
    let detail = clean(stderr);
    if has(&["fsck error"]) {
        return SourceError::Corrupt { at, detail };
    }
    if has(&["REMOTE HOST IDENTIFICATION HAS CHANGED"]) {
        return SourceError::ChangedHostKey {
            at,
            known: String::from("unknown"),
            offered: offered(stderr),
        };
    }
    if has(&["Host key verification failed", "host key is known for"]) {
        return SourceError::UnknownHostKey {
            at,
            host: host.to_owned(),
        };
    }
    if has(&[
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "Permission denied (",
        "returned error: 401",
        "returned error: 403",
        "Access denied",
        "HTTP Basic: Access denied",
        "Too many authentication failures",
    ]) {
        return SourceError::AuthRefused { at, detail };
    }
    if has(&[
        "returned error: 301",
        "returned error: 302",
        "returned error: 303",
        "returned error: 307",
        "returned error: 308",
    ]) {
        return SourceError::RedirectRefused { at, to: None };
    }
    if has(&["SSL", "TLS", "gnutls", "certificate"]) && has(&["unable to access"]) {
        return SourceError::Tls { at, detail };
    }
    if has(&["not our ref", "unadvertised object", "couldn't find remote ref"]) {
        return SourceError::UnknownCommit {
            at,
            revision: after(stderr, "not our ref ").unwrap_or_default(),
        };
    }
    if has(&[
        "returned error: 5",
        "returned error: 429",
        "Could not resolve host",
        "Failed to connect",
        "Couldn't connect",
        "Connection refused",
        "Connection reset",
        "Connection timed out",
        "timed out",
        "No route to host",
        "Network is unreachable",
        "Could not resolve hostname",
        "Empty reply from server",
        "Recv failure",
        "the remote end hung up unexpectedly",
        "early EOF",
        "RPC failed",
        "Connection closed",
        "transfer closed",
    ]) {
        return SourceError::Unreachable { at, detail };
    }
    if has(&[
        "returned error: 404",
        "returned error: 410",
        "' not found",
        "does not appear to be a git repository",
        "Repository not found",
        "does not exist",
    ]) {
        return if seen {
            SourceError::Vanished { at }
        } else {
            SourceError::NotARepository { at }
        };
    }
    if has(&[
        "protocol error",
        "invalid server response",
        "not valid: is this a git repository",
        "invalid index-pack",
        "dumb http transport",
        "bad line length",
        "invalid packet",
        "bad packet",
    ]) {
        return SourceError::NotAGitServer { at };
    }
    if is_damage(stderr) {
        return SourceError::Corrupt { at, detail };
    }
    SourceError::Other { at, detail }
}

/// Whether the text speaks of damaged objects or a damaged mirror.
pub(super) fn is_damage(stderr: &str) -> bool {
    [
        "fsck error",
        "bad object",
        "corrupt",
        "index-pack failed",
        "unpack-objects",
        "missing blob",
        "missing tree",
        "did not send all necessary objects",
        "inflate",
        "bad tree",
        "unable to read",
        "not a git repository: '",
        "bad pack",
        "hash mismatch",
        "has null",
        "shallow file",
    ]
    .iter()
    .any(|needle| stderr.contains(needle))
}

/// Whether the only hindrance is a lock that a dead process left behind.
pub(super) fn is_stale_lock(stderr: &str) -> bool {
    stderr.contains(".lock': File exists") || stderr.contains("Unable to create '")
}

/// The most telling line: the last `fatal:`, else the last `error:`, else the last one. Printable, at most 300 characters.
pub(super) fn clean(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let pick = |mark: &str| lines.iter().rev().find(|line| line.contains(mark)).copied();
    let line = pick("fatal: ")
        .filter(|line| !line.contains("Could not read from remote repository"))
        .or_else(|| pick("error: "))
        .or_else(|| {
            lines
                .iter()
                .find(|line| line.starts_with("ssh:") || line.contains("Permission denied"))
                .copied()
        })
        .or_else(|| lines.last().copied())
        .unwrap_or("it said nothing");
    let line = line
        .strip_prefix("fatal: ")
        .or_else(|| line.strip_prefix("error: "))
        .unwrap_or(line);
    let words: Vec<String> = line.split(' ').map(without_user).collect();
    words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(300)
        .collect()
}

fn without_user(word: &str) -> String {
    match word.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => word.to_owned(),
    }
}

fn after(text: &str, mark: &str) -> Option<String> {
    let (_, rest) = text.split_once(mark)?;
    rest.split_whitespace().next().map(str::to_owned)
}

fn offered(stderr: &str) -> String {
    stderr
        .split_whitespace()
        .find(|word| word.starts_with("SHA256:"))
        .map_or_else(
            || String::from("unknown"),
            |word| word.trim_end_matches('.').to_owned(),
        )
}

/// `Offending … key in FILE:LINE` → (FILE, LINE).
pub(super) fn offending(stderr: &str) -> Option<(String, usize)> {
    let line = stderr
        .lines()
        .find(|line| line.contains("Offending ") && line.contains(" key in "))?;
    let (_, place) = line.split_once(" key in ")?;
    let (file, number) = place.trim().rsplit_once(':')?;
    Some((file.to_owned(), number.parse().ok()?))
}

/// The `Location:` a server gave, out of a trace of HTTP headers.
pub(super) fn redirect_target(trace: &str) -> Option<String> {
    trace.lines().find_map(|line| {
        // Git 2.39 writes `Recv`, later ones `recv`.
        let (_, header) = line.split_once("ecv header: ")?;
        let (name, value) = header.split_once(':')?;
        name.eq_ignore_ascii_case("location")
            .then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(stderr: &str) -> &'static str {
        classify("https://h/a", "h", false, stderr).code()
    }

    #[test]
    fn what_the_tools_say_has_a_name() {
        for (stderr, expected) in [
            (
                "fatal: could not read Username for 'http://h': terminal prompts disabled",
                "E0407",
            ),
            ("fatal: Authentication failed for 'http://h/a/'", "E0407"),
            (
                "fatal: unable to access 'http://h/403/': The requested URL returned error: 403",
                "E0407",
            ),
            (
                "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.",
                "E0407",
            ),
            ("fatal: repository 'http://h/404/' not found", "E0402"),
            (
                "fatal: unable to access 'http://h/': The requested URL returned error: 500",
                "E0414",
            ),
            ("fatal: protocol error: bad line length character: <htm", "E0411"),
            (
                "fatal: unable to access 'http://h/': The requested URL returned error: 302",
                "E0412",
            ),
            (
                "fatal: unable to access 'http://h/': Failed to connect to h port 1 after 0 ms: Couldn't connect to server",
                "E0414",
            ),
            (
                "fatal: unable to access 'https://h/': Could not resolve host: h",
                "E0414",
            ),
            (
                "fatal: unable to access 'https://h/': gnutls_handshake() failed: An unexpected TLS packet was received.",
                "E0413",
            ),
            (
                "fatal: unable to access 'https://h/': server certificate verification failed. CAfile: none",
                "E0413",
            ),
            (
                "ssh: connect to host h port 1: Connection refused\nfatal: Could not read from remote repository.",
                "E0414",
            ),
            (
                "No ED25519 host key is known for h and you have requested strict checking.\nHost key verification failed.",
                "E0408",
            ),
            (
                "error: object 1234: hasDotgit: contains '.git'\nfatal: fsck error in packed object\nfatal: fetch-pack: invalid index-pack output",
                "E0418",
            ),
            ("fatal: something new", "E0421"),
        ] {
            assert_eq!(code(stderr), expected, "{stderr}");
        }
        assert_eq!(
            classify("h", "h", true, "fatal: repository 'http://h/404/' not found").code(),
            "E0406"
        );
    }

    #[test]
    fn no_credential_and_no_control_character_survives() {
        let shown = clean("fatal: unable to access 'https://u:canary@h/a/': \u{1b}[2Jno");
        assert!(
            !shown.contains("canary") && !shown.chars().any(char::is_control),
            "{shown}"
        );
    }

    #[test]
    fn a_redirect_is_read_from_the_headers() {
        let trace =
            "09:00 http.c:1 <= recv header: location: https://h/b.git/info/refs?service=git-upload-pack\n";
        assert_eq!(
            redirect_target(trace).unwrap(),
            "https://h/b.git/info/refs?service=git-upload-pack"
        );
    }
}
