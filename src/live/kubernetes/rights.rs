//! What an account has to be allowed for what we do on a cluster.
//!
//! In: which kinds are served, the objects of some apps. Out: [`Need`]s. Guaranteed: every kind of call that a run makes is
//! here, with what is lost where it is refused. Must not: ask.

use std::collections::BTreeSet;

use super::kinds::{Kinds, Resource};
use super::surroundings::WORKLOADS;
use crate::names::ObjectKey;

/// One thing that an account may do, as RBAC names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// `None`: in the whole cluster.
    pub namespace: Option<String>,
    pub group: String,
    /// With its subresource: `pods/log`.
    pub resource: String,
    /// Only the object of this name.
    pub name: Option<String>,
    pub verb: &'static str,
}

/// Who has to have a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// Driftless itself.
    Own,
    /// Whoever an app acts as.
    Apps,
}

/// A right that is used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    pub right: Right,
    pub whose: Whose,
    /// What is lost without it; `None`: everything.
    pub without: Option<&'static str>,
}

const SLOW: &str = "`serve` reads each object with every look";
const BLIND: &str = "health is judged by the objects' own status alone, later";
const NODES: &str = "what a lost node does counts as the release's failure";
const SILENT: &str = "a failed release is told without its last output, and `logs` does not work";
const STUCK: &str = "a StatefulSet can wait forever for a pod of the failed release";
const UNKNOWN_CLASS: &str = "a claim that waits for its first pod is not told from one that nobody serves";
const UNGUARDED: &str = "nothing keeps two processes of this instance apart";

/// What is needed for apps that hold `objects`, with `namespace` for those that name none; `probed`: one of them has a probe of
/// its own. The Lease is in `lease`.
pub fn needs(
    kinds: &Kinds,
    objects: &[ObjectKey],
    namespace: &str,
    probed: bool,
    lease: &str,
) -> BTreeSet<Need> {
    let mut needs = Needs::default();
    let app = Some(namespace);
    needs.own(None, "", "namespaces", Some("kube-system"), &["get"], None);
    let leases = ["get", "create", "update"];
    needs.own(
        Some(lease),
        "coordination.k8s.io",
        "leases",
        None,
        &leases,
        Some(UNGUARDED),
    );
    needs.add(app, "", "configmaps", &["get", "create", "patch", "delete"], None);
    for key in objects {
        let Some(resource) = kinds.find(&key.group, &key.kind, None) else {
            continue;
        };
        let Resource { group, plural, .. } = resource;
        let of = resource
            .namespaced
            .then(|| key.namespace.as_deref().unwrap_or(namespace));
        needs.add(of, group, plural, &["get", "create", "patch", "delete"], None);
        needs.add(of, group, plural, &["list", "watch"], Some(SLOW));
        if WORKLOADS.contains(&&*key.kind) {
            needs.add(of, "", "pods", &["list"], Some(BLIND));
            needs.add(of, "", "events", &["list"], Some(BLIND));
            needs.add(of, "apps", "replicasets", &["list"], Some(BLIND));
            needs.add(of, "", "pods/log", &["get"], Some(SILENT));
            needs.add(None, "", "nodes", &["list"], Some(NODES));
        }
        match &*key.kind {
            "DaemonSet" => needs.add(of, "apps", "controllerrevisions", &["list"], Some(BLIND)),
            "StatefulSet" => needs.add(of, "", "pods", &["delete"], Some(STUCK)),
            "PersistentVolumeClaim" => {
                let group = "storage.k8s.io";
                needs.add(None, group, "storageclasses", &["list"], Some(UNKNOWN_CLASS));
            }
            _ => {}
        }
    }
    if probed {
        needs.add(app, "", "services/proxy", &["get"], None);
    }
    needs.0
}

#[derive(Default)]
struct Needs(BTreeSet<Need>);

impl Needs {
    fn add(
        &mut self,
        namespace: Option<&str>,
        group: &str,
        resource: &str,
        verbs: &[&'static str],
        without: Option<&'static str>,
    ) {
        self.put(Whose::Apps, namespace, group, resource, None, verbs, without);
    }

    fn own(
        &mut self,
        namespace: Option<&str>,
        group: &str,
        resource: &str,
        name: Option<&str>,
        verbs: &[&'static str],
        without: Option<&'static str>,
    ) {
        self.put(Whose::Own, namespace, group, resource, name, verbs, without);
    }

    #[expect(clippy::too_many_arguments, reason = "a right has that many parts")]
    fn put(
        &mut self,
        whose: Whose,
        namespace: Option<&str>,
        group: &str,
        resource: &str,
        name: Option<&str>,
        verbs: &[&'static str],
        without: Option<&'static str>,
    ) {
        for verb in verbs {
            let right = Right {
                namespace: namespace.map(str::to_owned),
                group: group.to_owned(),
                resource: resource.to_owned(),
                name: name.map(str::to_owned),
                verb,
            };
            // What an app's objects need counts more than what is only better to have.
            let known = self
                .0
                .iter()
                .find(|known| known.right == right && known.whose == whose);
            match known {
                Some(known) if known.without.is_some() && without.is_none() => {
                    let known = known.clone();
                    self.0.remove(&known);
                }
                Some(_) => continue,
                None => {}
            }
            self.0.insert(Need {
                right,
                whose,
                without,
            });
        }
    }
}
