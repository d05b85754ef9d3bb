//! `E05xx`: target and engine.

codes! {
    ENGINE_ABSENT = 501, "engine-absent", "No engine listens at the endpoint",
        "There is no socket where the engine should listen: it is not running, or it listens somewhere else. Start it, or name\n\
         another one with `--target` or `DOCKER_HOST`. Nothing was changed, and what runs there counts as unknown, not as gone.\n";
    SOCKET_DENIED = 502, "socket-denied", "This user may not open the engine's socket",
        "The socket exists and the operating system refused access. Run as a member of the socket's group (usually `docker`) or\n\
         name an engine that this user may use, for example a rootless one. Access to the socket is as good as root.\n";
    ENGINE_UNREACHABLE = 503, "engine-unreachable", "The engine or the API server cannot be reached",
        "The host refuses the connection, does not answer, or its name cannot be resolved. Check that the engine runs and that\n\
         host and port are right; of a cluster, `server:` in the kubeconfig. Driftless tries again by itself.\n";
    ENGINE_TLS = 504, "engine-tls", "TLS with the engine or the API server failed",
        "The certificate is not trusted, has another name or is expired, or a client certificate is wanted that was not given. Of an\n\
         engine, check `ca.pem`, `cert.pem` and `key.pem` in `DOCKER_CERT_PATH` or in the context; of a cluster, the certificates in the\n\
         kubeconfig.\n";
    NOT_AN_ENGINE = 505, "not-an-engine", "Something other than a Docker engine answers",
        "An answer came that no engine gives. Check the address: a TLS port without TLS looks like this, too\n\
         (`DOCKER_TLS_VERIFY=1`).\n";
    ENGINE_TOO_OLD = 506, "engine-too-old", "The engine is older than what Driftless can talk to",
        "Driftless needs API 1.41, which came with Docker 20.10. Upgrade the engine. Nothing was changed.\n";
    ENGINE_TOO_NEW = 507, "engine-too-new", "The engine no longer speaks any API that this Driftless knows",
        "The engine's oldest API version is newer than the newest one that this build knows. Upgrade Driftless. Nothing was changed.\n";
    ENGINE_DEADLINE = 508, "engine-deadline", "The engine did not answer in time",
        "A call got no answer within its deadline. If it was a change, it may have happened; the next run looks before it does\n\
         anything else. A busy disk and a hung containerd are the usual reasons.\n";
    ENGINE_STALLED = 509, "engine-stalled", "A stream from the engine said nothing for too long",
        "A pull, a log or another stream made no progress and was given up. It is tried again; layers that are already there are not\n\
         pulled twice.\n";
    ENGINE_CUT = 510, "engine-cut", "The connection was cut during a call",
        "The engine went away in the middle of an answer. If the call was a change, it may have happened; the next run looks before\n\
         it does anything else.\n";
    ENGINE_UNREADABLE = 511, "engine-unreadable", "The engine's answer cannot be read",
        "The answer is not what the engine's API promises: no JSON, a missing field, or far too much of it. Please report it with the\n\
         engine's version.\n";
    OBJECT_GONE = 520, "object-gone", "The engine knows no such object",
        "Someone removed it after it was observed. The next run plans from what is there then.\n";
    OBJECT_BUSY = 521, "object-busy", "The object's state does not allow the call",
        "Something else is being done with it, for example a removal that is under way, or a network that still has containers.\n\
         The next run plans from what is there then.\n";
    NAME_TAKEN = 522, "name-taken", "The container name is in use",
        "Another container, not part of this app, has that name. Rename or remove it, or change `container_name`.\n";
    PORT_TAKEN = 523, "port-taken", "The host port is in use",
        "Another container or program listens on it. `ss -ltnp` and `docker ps --filter publish=PORT` show who. Free the port or publish\n\
         another one.\n";
    ENGINE_REFUSED = 524, "engine-refused", "The engine refused the request",
        "The engine says that what was asked is not valid or not allowed; its own words say which part. It will refuse it again, so the\n\
         manifest or the engine's configuration has to change.\n";
    CANNOT_START = 525, "cannot-start", "The container's first program cannot be started",
        "The container was made and its command or entrypoint could not be run: it is not in the image, not executable, or made\n\
         for another processor. Check `command`, `entrypoint` and `platform`.\n";
    DISK_FULL = 526, "disk-full", "The engine's disk is full",
        "The engine has no space left for an image, a layer or a volume. `docker system df` shows what takes it. Driftless removes nothing\n\
         by itself to make room.\n";
    ENGINE_FAILED = 527, "engine-failed", "The engine failed",
        "The engine answered with an internal error; its own words follow. If the call was a change, it may have happened in part; the\n\
         next run looks before it does anything else.\n";
    IMAGE_NOT_FOUND = 530, "image-not-found", "The registry has no such image",
        "There is no such repository, tag or digest, or it is private and hidden from us. Check the name and the tag; for a private image\n\
         run `docker login` as the user that runs Driftless.\n";
    REGISTRY_DENIED = 531, "registry-denied", "The registry denied access",
        "The credentials that were found (or none) do not open this repository. Run `docker login` as the user that runs Driftless, or\n\
         check the credential helper.\n";
    REGISTRY_LIMITED = 532, "registry-limited", "The registry limits the rate of pulls",
        "Too many pulls from this address or account. It is tried again later; logging in or a mirror raises the limit.\n";
    REGISTRY_DOWN = 533, "registry-down", "The registry does not answer",
        "It cannot be reached from the engine's host, or it answers with errors. It is tried again later. Running containers are not\n\
         touched.\n";
    WRONG_PLATFORM = 534, "wrong-platform", "The image does not exist for this platform",
        "The registry has the image, and not for the engine's processor or operating system. Use another image or set `platform:`.\n";
    ENGINE_REQUEST = 540, "engine-request", "A request to the engine was built wrongly",
        "Driftless made a request that cannot be sent. This is a bug in Driftless: please report it with the command that led to it.\n";
    BAD_TARGET = 550, "bad-target", "The target cannot be understood",
        "A target is `docker` (what the docker command would use), `docker:CONTEXT`, `unix:///path/to/docker.sock`, or\n\
         `tcp://host:port`. Addresses hold no user and no password.\n";
    TARGET_TRANSPORT = 551, "target-transport", "The endpoint's transport is not supported",
        "ssh endpoints, named pipes and TLS without verification are not supported. For ssh, forward the socket\n\
         (`ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST`) and use `--target unix:///tmp/docker.sock`.\n";
    NO_CONTEXT = 552, "no-context", "There is no such Docker context",
        "The context does not exist in the Docker CLI's configuration, or it has no Docker endpoint. `docker context ls` lists them.\n";
    DOCKER_CONFIG = 553, "docker-config", "The Docker CLI's configuration cannot be read",
        "`config.json` or a context's `meta.json` is not readable or not JSON. It lies in `DOCKER_CONFIG`, else in `~/.docker`.\n";
    CREDENTIAL_HELPER = 560, "credential-helper", "A registry credential helper failed",
        "The helper that Docker's `config.json` names (`credsStore`, `credHelpers`) is missing from PATH, failed, or did not answer in\n\
         time. Install it, log in again, or remove the entry.\n";
    CREDENTIALS_UNREADABLE = 561, "credentials-unreadable", "Registry credentials cannot be read",
        "An entry under `auths` in Docker's `config.json` is not what `docker login` writes. Log in again.\n";
    FIELD_TOO_NEW = 570, "field-too-new", "The engine is too old for a field",
        "The manifest asks for something that came with a newer API than the engine speaks. The engine would drop it in silence, so\n\
         nothing is applied. Remove the field or upgrade the engine.\n";
    NETWORK_MISSING = 571, "network-missing", "An external network does not exist",
        "`external: true` says that somebody else makes the network. Make it (`docker network create NAME`), correct its `name`, or\n\
         remove `external`.\n";
    VOLUME_MISSING = 572, "volume-missing", "An external volume does not exist",
        "`external: true` says that somebody else makes the volume. Make it (`docker volume create NAME`), correct its `name`, or\n\
         remove `external`.\n";
    NO_HEALTHCHECK = 573, "no-healthcheck", "A service waits for health that nothing checks",
        "`condition: service_healthy` needs a healthcheck, in the manifest or in the image; without one it would wait for ever. Add\n\
         one, or use `service_started`.\n";
}
