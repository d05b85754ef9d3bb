//! What a request to an API server asks for, read from its method, path, query and content type.

use std::fmt;

use hyper::Request;
use hyper::header::{CONTENT_TYPE, USER_AGENT};

/// One request to an API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiCall {
    /// As RBAC names it (`get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`), with `apply` for
    /// a server-side apply.
    pub verb: String,
    /// `pods`, `deployments.apps`, with its subresource: `pods/log`, `deployments.apps/scale`. For what is no resource
    /// (discovery, `/readyz`) the path.
    pub resource: String,
    /// The namespace in the path.
    pub namespace: Option<String>,
    /// The object's name in the path.
    pub name: Option<String>,
    /// Whether it is a dry run.
    pub dry_run: bool,
    /// Whether it is a watch.
    pub watch: bool,
    /// The field manager that it names.
    pub field_manager: Option<String>,
    /// The client that it names.
    pub user_agent: String,
    /// Whom it acts as, if it is not the one whose token it bears.
    pub acting_as: Option<String>,
    /// Path and query as sent.
    pub path: String,
}

impl ApiCall {
    pub(super) fn new<B>(request: &Request<B>) -> Self {
        let header = |name: &str| {
            let value = request.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let whole = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let query = |name: &str| {
            url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        let target = Target::of(request.uri().path());
        let watch = request.method() == "GET"
            && (target.old_watch
                || query("watch").is_some_and(|value| matches!(value.as_str(), "1" | "true")));
        let whole_list = target.is_resource && target.name.is_none();
        let verb = match request.method().as_str() {
            _ if watch => "watch",
            "GET" if whole_list => "list",
            "GET" | "HEAD" => "get",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" if header(CONTENT_TYPE.as_str()).starts_with("application/apply-patch") => "apply",
            "PATCH" => "patch",
            "DELETE" if whole_list => "deletecollection",
            "DELETE" => "delete",
            other => other,
        };
        Self {
            verb: verb.to_owned(),
            resource: target.resource,
            namespace: target.namespace,
            name: target.name,
            dry_run: query("dryRun").is_some(),
            watch,
            field_manager: query("fieldManager"),
            user_agent: header(USER_AGENT.as_str()),
            acting_as: Some(header("impersonate-user")).filter(|user| !user.is_empty()),
            path: whole.to_owned(),
        }
    }

    /// Whether it can change something of an app: no read, no dry run, no question about rights, which is a create too, and no
    /// lease, which says who may change something.
    pub fn is_mutating(&self) -> bool {
        !self.dry_run
            && !matches!(self.verb.as_str(), "get" | "list" | "watch")
            && self.resource != "leases.coordination.k8s.io"
            && !self.resource.contains(".authorization.k8s.io")
            && !self.resource.contains(".authentication.k8s.io")
    }

    /// Whether its answer goes on: a watch, or a log that is followed.
    pub fn is_stream(&self) -> bool {
        self.watch || (self.resource == "pods/log" && self.path.contains("follow=true"))
    }

    /// Verb and resource: `apply deployments.apps`.
    pub fn kind(&self) -> String {
        format!("{} {}", self.verb, self.resource)
    }
}

impl fmt::Display for ApiCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => write!(f, " {namespace}/{name}")?,
            (Some(only), None) | (None, Some(only)) => write!(f, " {only}")?,
            (None, None) => {}
        }
        f.write_str(if self.dry_run { " (dry run)" } else { "" })
    }
}

/// What the path names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Target {
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    old_watch: bool,
    is_resource: bool,
}

impl Target {
    fn of(path: &str) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, mut rest) = match parts.as_slice() {
            ["api", _, rest @ ..] => (None, rest),
            ["apis", group, _, rest @ ..] => (Some(*group), rest),
            _ => (None, &[][..]),
        };
        let mut target = Target::default();
        if let ["watch", after @ ..] = rest {
            (target.old_watch, rest) = (true, after);
        }
        // `/namespaces/x` is the object; `/namespaces/x/pods` is in it, but for the subresources of a namespace.
        if let ["namespaces", namespace, after @ ..] = rest
            && !matches!(after, [] | ["status"] | ["finalize"])
        {
            target.namespace = Some((*namespace).to_owned());
            rest = after;
        }
        let [plural, rest @ ..] = rest else {
            target.resource = path.to_owned();
            return target;
        };
        target.is_resource = true;
        target.resource = match group {
            Some(group) => format!("{plural}.{group}"),
            None => (*plural).to_owned(),
        };
        if let [name, subresource @ ..] = rest {
            target.name = Some((*name).to_owned());
            // What follows a proxy subresource is the path of another server.
            if let [subresource, ..] = subresource {
                target.resource = format!("{}/{subresource}", target.resource);
            }
        }
        target
    }
}

/// Picks calls by text: `VERB RESOURCE [NAME]`, each `*` for any; the verb may be several with commas, or `mutate` for all that
/// [`ApiCall::is_mutating`] names. `deployments` is `deployments.apps` too. A subresource is picked only by its own name
/// (`pods/log`) or `*`.
#[derive(Debug, Clone)]
pub struct Pick {
    verbs: Vec<String>,
    resource: String,
    name: String,
}

impl From<&str> for Pick {
    fn from(text: &str) -> Self {
        let mut words = text.split(' ');
        let mut word = || words.next().unwrap_or("*").to_owned();
        let verbs = word().split(',').map(str::to_owned).collect();
        Self {
            verbs,
            resource: word(),
            name: word(),
        }
    }
}

impl Pick {
    /// Whether it is this call.
    pub fn fits(&self, call: &ApiCall) -> bool {
        let verb = self.verbs.iter().any(|verb| match verb.as_str() {
            "*" => true,
            "mutate" => call.is_mutating(),
            verb => verb == call.verb,
        });
        let without_group = {
            let (resource, subresource) = call.resource.split_once('/').unwrap_or((&call.resource, ""));
            let plural = resource.split('.').next().unwrap_or_default();
            if subresource.is_empty() {
                plural.to_owned()
            } else {
                format!("{plural}/{subresource}")
            }
        };
        verb && (self.resource == "*" || self.resource == call.resource || self.resource == without_group)
            && (self.name == "*" || call.name.as_ref() == Some(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, path: &str, content_type: &str) -> String {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(())
            .unwrap();
        ApiCall::new(&request).to_string()
    }

    #[test]
    fn a_path_tells_verb_resource_and_object() {
        let apply = "application/apply-patch+yaml";
        for (method, path, content_type, expected) in [
            ("GET", "/api/v1/namespaces/n/pods/p", "", "get pods n/p"),
            (
                "GET",
                "/api/v1/namespaces/n/pods/p/log?follow=true",
                "",
                "get pods/log n/p",
            ),
            ("GET", "/api/v1/pods?watch=true", "", "watch pods"),
            (
                "GET",
                "/apis/apps/v1/deployments?limit=500",
                "",
                "list deployments.apps",
            ),
            ("GET", "/api/v1/namespaces/n", "", "get namespaces n"),
            (
                "PUT",
                "/api/v1/namespaces/n/finalize",
                "",
                "update namespaces/finalize n",
            ),
            ("GET", "/apis/apps/v1", "", "get /apis/apps/v1"),
            ("GET", "/openapi/v3", "", "get /openapi/v3"),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/n/deployments/web?dryRun=All&fieldManager=x",
                apply,
                "apply deployments.apps n/web (dry run)",
            ),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/n/deployments/web/scale",
                "application/merge-patch+json",
                "patch deployments.apps/scale n/web",
            ),
            (
                "DELETE",
                "/api/v1/namespaces/n/secrets",
                "",
                "deletecollection secrets n",
            ),
            (
                "POST",
                "/apis/batch/v1/namespaces/n/jobs",
                "",
                "create jobs.batch n",
            ),
        ] {
            assert_eq!(call(method, path, content_type), expected);
        }
    }

    #[test]
    fn a_pick_takes_groups_or_leaves_them_out() {
        let request = Request::builder()
            .method("DELETE")
            .uri("/apis/apps/v1/namespaces/n/deployments/web")
            .body(())
            .unwrap();
        let call = ApiCall::new(&request);
        for fits in [
            "* *",
            "delete deployments",
            "get,delete deployments.apps web",
            "mutate *",
        ] {
            assert!(Pick::from(fits).fits(&call), "{fits}");
        }
        for other in [
            "get *",
            "delete pods",
            "delete deployments db",
            "delete deployments/scale",
            "* deployments.extensions",
        ] {
            assert!(!Pick::from(other).fits(&call), "{other}");
        }
    }
}
