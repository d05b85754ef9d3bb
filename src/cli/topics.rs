//! The words that people meet, explained once: for `explain` and for `docs/`.
//!
//! In: nothing. Out: [`Topic`]s. Guaranteed: names are unique; every command named in a text exists (a test looks). Must
//! not: repeat what a diagnostic code or a setting already tells.

/// One word.
#[derive(Debug)]
pub struct Topic {
    pub name: &'static str,
    /// Other words for it.
    pub also: &'static [&'static str],
    pub summary: &'static str,
    pub text: &'static str,
}

/// All of them, in the order of a first reading.
pub const TOPICS: &[Topic] = &[
    Topic {
        name: "app",
        also: &["apps"],
        summary: "one folder of a repository, deployed as one unit to one target",
        text: "An app is the atom of everything: it is planned, applied, judged and rolled back as a whole. Its containers form one\n\
        Compose project, so `docker compose ps`, `logs` and `exec` see them.\n",
    },
    Topic {
        name: "plan",
        also: &["symbols"],
        summary: "the ordered changes from live state to Git, each with its cause",
        text: "    +    created               -    deleted\n\
        \x20   ~    updated, in place or by a new container        -/+  replaced: the old one goes first\n\
        \x20   !    changed outside Git\n\n\
        Each changed field says who moved it: `git` when the commit did, `live` when somebody changed it outside Git. A saved\n\
        plan (`driftless plan --out FILE`) is refused when Git or live state moved since (exit code 9).\n",
    },
    Topic {
        name: "adopt",
        also: &["adoption", "takeover"],
        summary: "taking over what runs already and was not made by Driftless",
        text: "At first contact, containers of a Compose project that runs already are compared with Git. Where they are equal they\n\
        are taken over as they are, without a restart. Where they differ the app is blocked (exit code 9) until\n\
        `driftless apply APP --adopt`. What another Driftless instance owns is refused until `driftless takeover`.\n",
    },
    Topic {
        name: "release",
        also: &["releases", "digest"],
        summary: "the immutable record of one rendered app: commit, images, outcome",
        text: "A release is known by the digest of what would run: the rendered app and the digests of its images. Two commits that\n\
        render to the same bytes are one release. Releases have numbers (`web#12`); `driftless history APP` lists them. What\n\
        a rollback needs is stored sealed: no secret value is readable in the state folder.\n",
    },
    Topic {
        name: "stable",
        also: &["bake", "gate"],
        summary: "a release that became healthy and stayed so for its bake time",
        text: "After apply, every service must become healthy: its healthcheck passes, or without one it runs and does not restart,\n\
        and a job ends with 0. Then everything must stay healthy for the bake time (`health.bake`, 10s). Only then the\n\
        release is stable, and only a stable release is something to roll back to.\n",
    },
    Topic {
        name: "hold",
        also: &["held", "retry"],
        summary: "a release that failed, or was rolled back, and is not applied again",
        text: "A hold belongs to what would run, not to a commit: merging something else, or an unrelated commit, does not lift it.\n\
        It is lifted by a commit that changes the app, or by `driftless retry APP`, which tries the same release once more.\n\
        While a hold is on, the stable release is what should run, and drift from it is still healed.\n",
    },
    Topic {
        name: "rollback",
        also: &["rolled-back"],
        summary: "the whole app returns to its newest stable release",
        text: "When the health gate fails, the evidence is kept (probe, exit code, last output), the stable release is put back from\n\
        its stored record, parked containers first, and the failed one is held. Nothing is rendered again. Data in volumes is\n\
        never reverted. There are at most 3 rollbacks an hour for an app, and a rollback is never rolled back. By hand:\n\
        `driftless rollback APP --to RELEASE`.\n",
    },
    Topic {
        name: "frozen",
        also: &["freeze"],
        summary: "the gate failed and there is no way back: nothing more is done by itself",
        text: "A first deployment that fails has nothing to return to; `rollback: notify` and `off` forbid it. The containers stay for\n\
        looking at. While an app is frozen nothing is healed; drift is still shown. A commit that changes the app, or\n\
        `driftless retry APP`, goes on.\n",
    },
    Topic {
        name: "drift",
        also: &["heal", "healing"],
        summary: "live state that differs from what should run now",
        text: "What should run is the release that was last settled on: the stable one while a newer one is held, else Git's. So a\n\
        hold is not drift. `driftless drift` compares with that (exit code 1 when anything differs), `driftless diff` with Git.\n\
        `serve` puts drift right unless the app says `drift: report`.\n",
    },
    Topic {
        name: "prune",
        also: &["delete", "deletes"],
        summary: "deleting what Git no longer has",
        text: "Inside an app, `prune: safe` deletes containers and networks that Git no longer has, after the new release has baked, and\n\
        never volumes. A plan that would delete more than 5 objects and more than a tenth of the app is held back. An app\n\
        whose folder is gone is listed and stays until `driftless apply --prune` or `driftless down APP`. Volumes go only when a\n\
        person names them: `driftless down APP --volumes NAME`.\n",
    },
    Topic {
        name: "variables",
        also: &["env", "interpolation", "secrets"],
        summary: "values that are not in Git",
        text: "An undefined `${NAME}` without a default is an error. The value comes from, first found first: `--env-file FILE`,\n\
        `vars/APP.env` beside config.yaml, and the app's `.env` where Git has it. Secret files lie at `secrets/APP/NAME` beside\n\
        config.yaml. The environment of the process is never an input. `${NAME-}` says that empty is meant.\n\
        What comes from outside the commit is secret and shown as `(secret)` everywhere.\n",
    },
    Topic {
        name: "suspend",
        also: &["suspended", "resume"],
        summary: "no changes to an app until a time or until `resume`",
        text: "`driftless suspend APP --for 2h --reason TEXT` stops all changes to an app; status and drift are still shown.\n\
        `driftless resume APP` ends it.\n",
    },
    Topic {
        name: "exit-codes",
        also: &["exit", "exit-code", "codes"],
        summary: "what each exit code means",
        text: "",
    },
];

/// The topic of this name.
pub fn find(name: &str) -> Option<&'static Topic> {
    let name = name.to_ascii_lowercase().replace([' ', '_'], "-");
    TOPICS
        .iter()
        .find(|topic| topic.name == name || topic.also.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::help;

    #[test]
    fn names_are_unique_and_the_commands_exist() {
        let mut names = std::collections::BTreeSet::new();
        let verbs: Vec<String> = help::plain()
            .get_subcommands()
            .map(|verb| verb.get_name().to_owned())
            .collect();
        for topic in TOPICS {
            for name in std::iter::once(&topic.name).chain(topic.also) {
                assert!(names.insert(*name), "{name} is listed twice");
            }
            for named in topic
                .text
                .split('`')
                .skip(1)
                .step_by(2)
                .filter_map(|words| words.strip_prefix("driftless "))
            {
                let verb = named.split_whitespace().next().unwrap_or_default();
                assert!(
                    verbs.iter().any(|known| known == verb),
                    "{}: there is no `{verb}`",
                    topic.name
                );
            }
        }
    }
}
