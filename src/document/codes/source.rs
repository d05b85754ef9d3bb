//! `E04xx`: source and Git.

codes! {
    ADDRESS_REFUSED = 401, "address-refused", "A repository address or a ref name is refused",
        "The address or ref holds something that Git or a shell could take for an option or a secret: a leading `-`, a control\n\
         character, a user name with a password, or a transport other than https, ssh or a local path. Give credentials in the\n\
         operator's `config.yaml` (`auth:`) and write the address without them.\n";
    NOT_A_REPOSITORY = 402, "not-a-repository", "There is no Git repository at the address",
        "Nothing at the address answers as a Git repository. For a local path, run `git init` and commit, or name another folder with\n\
         `--repo`.\n";
    UNKNOWN_REF = 403, "unknown-ref", "The repository has no such branch, tag or commit",
        "Check the spelling; the message names similar refs. A commit must be reachable from a branch or tag of the remote.\n";
    REF_DELETED = 404, "ref-deleted", "The branch or tag that is followed was deleted",
        "It was there at an earlier look and is gone. Nothing live is changed or deleted. Follow another ref, or push it again.\n";
    REPOSITORY_EMPTIED = 405, "repository-emptied", "The repository is empty",
        "It has no refs, or its commit has no files. An emptied repository never means `delete everything`: nothing live is changed.\n";
    REPOSITORY_VANISHED = 406, "repository-vanished", "The repository is gone",
        "It answered before and is not there any more: renamed, moved, deleted, or hidden from us. Nothing live is changed.\n";
    SOURCE_ACCESS = 407, "source-access", "The repository's host refused access",
        "The credentials are missing, wrong, expired, or without the right to read. Set `auth:` for the source in `config.yaml`, or, on\n\
         the command line, make `git ls-remote URL` work for this user.\n";
    HOST_KEY_UNKNOWN = 408, "host-key-unknown", "The ssh host key is not known",
        "Driftless never accepts an unknown host. Compare the fingerprint with the one that the host's owner publishes and add the key\n\
         to `known_hosts`: `ssh-keyscan HOST >> ~/.ssh/known_hosts`.\n";
    HOST_KEY_CHANGED = 409, "host-key-changed", "The ssh host key changed",
        "The host shows another key than the known one: it was set up anew, or somebody stands in between. Nothing was sent. When the\n\
         change is announced by the host's owner: `ssh-keygen -R HOST`, then add the new key.\n";
    SOURCE_TIMEOUT = 410, "source-timeout", "The repository's host did not answer in time",
        "The `git` child was ended at its deadline. It is tried again with growing pauses. Nothing live was changed; the other apps go on.\n";
    NOT_A_GIT_SERVER = 411, "not-a-git-server", "What answers is not a Git server",
        "The address gives a page instead of Git's protocol: a login page, a proxy's notice, or a web address of the repository\n\
         instead of its clone address.\n";
    REDIRECT_REFUSED = 412, "redirect-refused", "The repository redirects to another host",
        "A redirect to another host is not followed, because credentials would go with it. Use the address that it names, if you trust it.\n";
    SOURCE_TLS = 413, "source-tls", "TLS with the repository's host failed",
        "The certificate is not trusted, expired, or made for another name. `GIT_SSL_CAINFO` names additional authorities.\n";
    SOURCE_UNREACHABLE = 414, "source-unreachable", "The repository's host can't be reached",
        "The name does not resolve, the connection is refused, or the server fails (5xx). It is tried again with growing pauses.\n";
    SOURCE_OVER_CAP = 415, "source-over-cap", "The repository's answer is larger than allowed",
        "The `git` child printed more than its cap and was ended. Nothing live was changed; the other apps go on.\n";
    MIRROR_BUSY = 416, "mirror-busy", "Another process uses the source's mirror",
        "Two processes never write one mirror. The other one ends by itself; this one tries again. Nothing live was changed; the other apps go on.\n";
    MIRROR_UNWRITABLE = 417, "mirror-unwritable", "The source's mirror can't be written",
        "The state folder is full, read-only, or belongs to another user. `driftless doctor` shows its rights.\n";
    OBJECT_DAMAGED = 418, "object-damaged", "A Git object is damaged",
        "An object's bytes do not have the name they should. A mirror is cloned again by itself; a damaged local repository needs\n\
         `git fsck`.\n";
    GIT_MISSING = 419, "git-missing", "`git` can't be started",
        "Driftless uses the `git` command (2.38 or newer) for the network. Install it, or put it on the PATH.\n";
    FOREIGN_OWNER = 420, "foreign-owner", "The repository belongs to another user",
        "Git refuses repositories of other users, because their settings would be used. Run as the owner, or add the folder to\n\
         `safe.directory` in your own Git settings.\n";
    GIT_FAILED = 421, "git-failed", "`git` failed",
        "Its own words follow. Nothing live is changed. Nothing live was changed; the other apps go on.\n";
    UNKNOWN_COMMIT = 422, "unknown-commit", "The repository does not have this commit",
        "It was removed by a rewritten history, or never pushed. Nothing live was changed; the other apps go on.\n";
    UNRELATED_HISTORY = 423, "unrelated-history", "The branch was replaced by one with another history",
        "The new commit shares no history with the one that was followed: another repository was pushed over it, or somebody made a\n\
         mistake. `serve` does not follow it, and changes nothing live. When it is meant, start `serve` again, or apply it by hand.\n";
    SOURCE_PATH_OUTSIDE = 430, "source-path-outside", "A path leads out of the repository",
        "Only files of the commit can be named. Write a path without `..` beyond the root. Nothing live was changed; the other apps go on.\n";
    HOSTILE_NAME = 431, "hostile-name", "A name in the repository is refused",
        "Names like `.git`, `..`, or with control characters are never read. Nothing live was changed; the other apps go on.\n";
    SOURCE_FILE_MISSING = 432, "source-file-missing", "The commit has no such file",
        "Check the path and that the file is committed (`git status`). Nothing live was changed; the other apps go on.\n";
    NOT_A_FILE = 433, "not-a-file", "A file was expected and a folder is there, or the reverse",
        "Check the path. Nothing live was changed; the other apps go on. Nothing live was changed; the other apps go on, and the next look tries again.\n";
    IN_SUBMODULE = 434, "in-submodule", "The path lies in a submodule",
        "Submodules are not read. Nothing live was changed; the other apps go on. Nothing live was changed; the other apps go on, and the next look tries again.\n";
    LINK_OUTSIDE = 435, "link-outside", "A link leads out of the repository, or in a circle",
        "Links within the repository work; others are refused. Nothing live was changed; the other apps go on.\n";
    CASE_CLASH = 436, "case-clash", "Two names differ only in upper and lower case",
        "On some systems they are one file. Rename one of them. Nothing live was changed; the other apps go on.\n";
    SOURCE_FILE_TOO_LARGE = 437, "source-file-too-large", "The file is larger than allowed",
        "Manifests and the files that containers bind have a cap, so that one commit can't fill the memory.\n";
    READ_FAILED = 438, "read-failed", "A file can't be read",
        "The operating system's own words follow. Nothing live was changed; the other apps go on.\n";
}
