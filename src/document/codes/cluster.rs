//! `E058x`–`E059x`: the API server of a cluster.

codes! {
    API_REFUSED = 580, "api-refused", "The API server refused the request",
        "The API server understood the request and refused it; its own words are in the message. Where it names a field, the line in\n\
         Git that sets it is shown. Nothing of this object was changed.\n";
    API_INVALID = 581, "api-invalid", "The API server finds the object invalid",
        "The object was sent as a dry run, and the API server answered with the fields that are wrong. All objects of an app are\n\
         checked before any is changed, so nothing was touched. Correct the manifest at the place that is shown.\n";
    API_FORBIDDEN = 582, "api-forbidden", "The cluster does not allow this to the account in use",
        "The account that Driftless uses may not do this with this kind of object. Give it the verb that the message names\n\
         (`kubectl auth can-i VERB RESOURCE` shows what it may do). What can't be read counts as unknown and is never deleted.\n";
    API_LIMITED = 583, "api-limited", "The API server is busy and asks to come back later",
        "The API server limits its load (priority and fairness, or a proxy before it). The call is tried again after the time that the\n\
         server names; nobody has to do anything.\n";
    ADMISSION_DENIED = 584, "admission-denied", "An admission webhook or policy denied the object",
        "The cluster has a policy that does not allow this object; its own words are in the message. Change the manifest, or the\n\
         policy. Nothing of this object was changed.\n";
    KIND_MISSING = 585, "kind-missing", "The cluster does not know this kind of object",
        "Neither the cluster nor the app's own manifests define the kind. Install the operator or the CustomResourceDefinition that\n\
         brings it, or correct `apiVersion` and `kind`. The versions that the cluster serves are named where there are any.\n";
    IMMUTABLE_FIELD = 586, "immutable-field", "The object can only be made anew to change this field",
        "Kubernetes does not allow this field to change. Deleting the object and making it again loses what it holds (pods, history,\n\
         addresses), so it happens only where the object says so: annotation `driftless.dev/force: \"true\"`, or Flux's\n\
         `kustomize.toolkit.fluxcd.io/force: enabled`, or Argo CD's `argocd.argoproj.io/sync-options: Replace=true`.\n";
    FOREIGN_OBJECT = 587, "foreign-object", "The object exists and is not this app's",
        "An object of this name is live, differs from the manifest, and was not made by this app. Look at the plan's differences and\n\
         take it over with `--adopt`, or rename yours. An object of Argo CD, Flux or Helm must be released there first, or both\n\
         tools will keep changing it.\n";
    KUBECONFIG = 588, "kubeconfig", "The kubeconfig can't be used",
        "The kubeconfig is missing, can't be read, or does not hold the context that was named. It is looked for where `kubectl`\n\
         looks: `KUBECONFIG` (a list of files) and `~/.kube/config`; in a pod, the service account.\n";
    EXEC_PLUGIN = 589, "exec-plugin", "The kubeconfig starts a program for its credentials",
        "The user of this context gets credentials from a program (`exec:`). A service starts no program that a file names unless the\n\
         operator says so: `targets: { prod: { kubernetes: CONTEXT, exec: true } }` in config.yaml.\n";
    NOT_A_CLUSTER = 590, "not-a-cluster", "What answers is not a Kubernetes API server",
        "An answer came that no API server gives. Check the server's address in the kubeconfig, and whether a proxy stands between.\n";
    OBJECT_TWICE = 591, "object-twice", "Two manifests are the same object",
        "With its namespace filled in, an object has the same kind, namespace and name as another one of the app. Only one of the two\n\
         can be meant: remove one, or name its namespace.\n";
    OBJECT_STUCK = 592, "object-stuck", "The object is being deleted and waits for a finalizer",
        "The object was deleted and a controller has not finished with it. Driftless never removes a finalizer by itself. Find the\n\
         controller that owns the finalizer; it may be gone or failing.\n";
    RENDERER = 593, "renderer", "kustomize or Helm could not render the app",
        "The program ran on the files of the commit and failed; its own words are in the message. Run the same command in a clone of\n\
         the repository to see it in full.\n";
    NOT_ACTING = 594, "not-acting", "Driftless may not act as the app's account",
        "The app names a ServiceAccount (`serviceAccount:` in driftless.yaml), or the operator does (`service_account:` of the target in\n\
         config.yaml), and every call of the app is made as that account. For that, the account that Driftless connects with needs\n\
         the verb `impersonate`:\n\
         \n\
         rules:\n\
         - { apiGroups: [\"\"], resources: [serviceaccounts, groups], verbs: [impersonate] }\n\
         \n\
         `resourceNames` narrows it to single accounts. Nothing was changed.\n";
    ACCOUNT_NOT_ALLOWED = 595, "account-not-allowed", "The repository may not choose the account",
        "The operator's config.yaml says as which ServiceAccount apps act on this target, and does not let a repository name another one.\n\
         Remove `serviceAccount:` from driftless.yaml, or let it choose:\n\
         \n\
         targets:\n\
         prod: { kubernetes: prod-eu, service_account: deployer, choose_account: true }\n";
}
