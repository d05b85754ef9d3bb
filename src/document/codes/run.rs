//! `E06xx`: plan, gate, apply.

codes! {
    NOT_ADOPTED = 603, "not-adopted", "Something is there already that Driftless did not make",
        "A live object has the name that this app wants, was not made by Driftless, and differs from Git. Nothing is changed until you\n\
         decide: `driftless plan APP --adopt` shows what would change, `driftless apply APP --adopt` takes it over. An equal object is\n\
         taken over at once, untouched.\n";
    OTHER_INSTANCE = 604, "other-instance", "The object belongs to another Driftless instance",
        "Its label names another instance (`dev.driftless.instance`). Two instances never change one app. If that instance is gone for good,\n\
         `driftless takeover APP` makes it ours.\n";
    OTHER_APP = 605, "other-app", "The project or object belongs to another app",
        "Two apps claim one Compose project on one engine. Give one of them another name with a top-level `name:`.\n";
    VOLUME_CONFIG = 606, "volume-config", "A volume's settings changed, and its data would be lost",
        "An engine can't change a volume. Driftless never deletes one by itself. Declare a volume with a new name and move the data, or put the\n\
         old settings back.\n";
    PLAN_BLOCKED = 607, "plan-blocked", "A change of the plan must not be made",
        "The message says what is in the way. `driftless why APP` says what stands in the way and what comes next.\n";
    HOST_REACH = 608, "host-reach", "A service asks for its host",
        "`privileged`, the engine's socket, host namespaces, system folders, devices and strong capabilities let a container own its host.\n\
         On the command line you are only warned. `serve` applies it only when the operator allows it for this app in `config.yaml`:\n\
         \n\
         allow:\n\
         web: [engine-socket]\n";
    SUSPENDED = 610, "suspended", "The app is suspended",
        "A person asked that nothing be changed. `driftless resume APP` ends it. `driftless why APP` says what stands in the way and what comes next.\n";
    TARGET_CHANGED = 611, "target-changed", "The target is another engine than before",
        "The engine's id is not the one that this app was applied to: the address leads elsewhere, or the engine was set up anew. Nothing is\n\
         changed, because what we know of the app is about the other engine. `driftless takeover APP` starts anew on this one.\n";
    STALE_PLAN = 612, "stale-plan", "Git or live state moved since the plan was made",
        "A plan is applied only to the world that it was made for. Make a new one. `driftless why APP` says what stands in the way and what comes next.\n";
    LEASE_HELD = 613, "lease-held", "Another process of this instance works on the cluster",
        "On a cluster, one process at a time changes things for an instance: it holds the Lease `driftless-INSTANCE` (see\n\
         docs/kubernetes.md). The message names its host and process. Nothing was touched. If it is `driftless serve` on another\n\
         machine, it applies the commit itself; if both are to work, give one of them another name (`instance:` in config.yaml).\n\
         A holder that is gone is followed by itself within the Lease's duration (30 s).\n";
    LEASE_MOVED = 614, "lease-moved", "Another process had the lease meanwhile",
        "Between our look at live state and our taking the Lease, another process of this instance had it and may have changed\n\
         things. Live state is looked at again by itself; nobody has to do anything.\n";
    GATE_FAILED = 620, "gate-failed", "A wait inside apply ended badly",
        "What was waited for can't come any more, or did not come in time. `driftless why APP` says what stands in the way and what comes next.\n";
    DISTURBED = 621, "disturbed", "Somebody stopped or removed a container while it was judged",
        "What a person does by hand is no proof against a release, so it is healed and judged again. It happened too often in one run.\n";
    INCIDENT = 622, "incident", "The stable release is in trouble",
        "No new release is being tried, so there is nothing to roll back. `driftless logs APP` and `driftless status APP` show more.\n";
    DOWN_FAILED = 623, "down-failed", "The app could not be removed whole",
        "What is gone stays gone; run `driftless down` again. `driftless why APP` says what stands in the way and what comes next.\n";
    WAITS_FOR_ANOTHER = 630, "waits-for-another", "The app waits for another one that did not end well",
        "`after:` in driftless.yaml names an app that must be healthy first, and its run for this commit did not end well. Put that\n\
         app right; this one then goes on by itself.\n";
    TOO_MANY_GONE = 631, "too-many-gone", "Too many apps are gone from Git at once",
        "More than one app in four vanished in one commit. That is more often a mistake than a wish, so nothing is taken down.\n\
         `driftless down APP` takes them down one by one.\n";
    BROKE_OFF = 632, "broke-off", "The run of the app broke off",
        "The run ended without a result, which is a fault of ours. What it did is in the journal, and the next run looks at live state\n\
         before it does anything else. Please report it.\n";
    STORE_FAILED = 640, "store-failed", "The store can't be read or written",
        "Without an audit record nothing is changed. A full disk and a read-only file system are the usual reasons; `driftless doctor` shows more.\n\
         When the store can be written again, nobody has to help.\n";
    FILES_FAILED = 641, "files-failed", "Files that containers bind can't be laid out",
        "They are written below the state folder. Check its room and rights. `driftless why APP` says what stands in the way and what comes next.\n";
    STORE_LOCKED = 642, "store-locked", "Another process owns the state folder",
        "One process at a time changes things from one state folder: usually `driftless serve`. The message names its process id. Reading\n\
         verbs (`plan`, `status`, `drift`, `why`, `history`) work beside it.\n";
}
