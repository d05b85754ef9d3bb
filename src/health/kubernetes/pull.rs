//! What the message of a failed image pull means.
//!
//! In: the text that the kubelet or the runtime wrote. Out: whether pulling again can help. Guaranteed: what is not understood
//! counts as passing. Must not: look at anything but the text.

/// Whether a pull can work later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// Not found, not allowed, not a name: it stays so.
    Permanent,
    /// Timeouts, 429, 5xx, and everything unknown.
    Passing,
}

/// These come first: a registry behind a broken proxy answers `503 ... not found` pages.
const PASSING: [&str; 22] = [
    "timeout",
    "timed out",
    "deadline exceeded",
    "toomanyrequests",
    "too many requests",
    "rate limit",
    "429",
    "500 internal",
    "502 bad",
    "503 service",
    "504 gateway",
    "status code 50",
    "status: 50",
    "connection refused",
    "connection reset",
    "no such host",
    "temporary failure",
    "tls handshake",
    "unexpected eof",
    "i/o error",
    "network is unreachable",
    "pull qps exceeded",
];

const PERMANENT: [&str; 18] = [
    "not found",
    "manifest unknown",
    "manifest_unknown",
    "name unknown",
    "repository does not exist",
    "unauthorized",
    "authentication required",
    "no basic auth credentials",
    "access denied",
    "access to the resource is denied",
    "authorization failed",
    "denied: ",
    "403 forbidden",
    "401 unauthorized",
    "invalid reference format",
    "couldn't parse image",
    "no match for platform",
    "is not present with pull policy of never",
];

/// What `message` means.
pub fn meaning(message: &str) -> Pull {
    let low = message.to_ascii_lowercase();
    let any = |list: &[&str]| list.iter().any(|piece| low.contains(piece));
    if !any(&PASSING) && any(&PERMANENT) {
        Pull::Permanent
    } else {
        Pull::Passing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_pull_decides_whether_trying_again_can_help() {
        for message in [
            "rpc error: code = NotFound desc = failed to pull and unpack image \"docker.io/library/nginx:nope\": failed to resolve reference \"docker.io/library/nginx:nope\": docker.io/library/nginx:nope: not found",
            "failed to pull image: pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
            "unexpected status from HEAD request to https://ghcr.io/v2/a/b/manifests/1: 401 Unauthorized",
            "Error response from daemon: manifest for a:b not found: manifest unknown: manifest unknown",
            "Failed to apply default image tag \"A:b\": couldn't parse image name \"A:b\": invalid reference format",
        ] {
            assert_eq!(meaning(message), Pull::Permanent, "{message}");
        }
        for message in [
            "",
            "Back-off pulling image \"nginx:1\"",
            "failed to do request: Head \"https://r.example/v2/\": dial tcp: lookup r.example: no such host",
            "unexpected status code 503 Service Unavailable",
            "toomanyrequests: You have reached your pull rate limit",
            "net/http: TLS handshake timeout",
            "503 Service Unavailable: page not found",
        ] {
            assert_eq!(meaning(message), Pull::Passing, "{message}");
        }
    }
}
