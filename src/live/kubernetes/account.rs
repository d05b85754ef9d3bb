//! As whom a cluster is asked: ourselves, or an account that we act as.
//!
//! In: a ServiceAccount's name, or what a kubeconfig says (`as:`, `as-groups:`). Out: [`Account`], as the headers that every call
//! bears. Guaranteed: a ServiceAccount acts with the groups that its own token would have; an account takes the place of the
//! kubeconfig's, it is never added to it. Must not: decide who may act as whom (the operator and the API server do).

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use kube::config::AuthInfo;

/// An account that calls are made as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// As the API server names it: `system:serviceaccount:shop:deployer`.
    pub user: String,
    uid: Option<String>,
    groups: Vec<String>,
    extra: Vec<(String, String)>,
}

impl Account {
    /// The ServiceAccount `name` of a namespace. A name that has a namespace of its own (`tools/deployer`) keeps it.
    pub fn service(namespace: &str, name: &str) -> Self {
        let (namespace, name) = name.split_once('/').unwrap_or((namespace, name));
        Self {
            user: format!("system:serviceaccount:{namespace}:{name}"),
            uid: None,
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
            extra: Vec::new(),
        }
    }

    /// Takes what a kubeconfig says of it out of `info`, so that nobody adds it to another account's.
    pub fn take(info: &mut AuthInfo) -> Option<Self> {
        let (uid, groups, extra) = (
            info.impersonate_uid.take(),
            info.impersonate_groups.take(),
            info.impersonate_user_extra.take(),
        );
        let mut extra: Vec<(String, String)> = extra
            .into_iter()
            .flatten()
            .flat_map(|(key, values)| values.into_iter().map(move |value| (key.clone(), value)))
            .collect();
        extra.sort();
        Some(Self {
            user: info.impersonate.take()?,
            uid,
            groups: groups.unwrap_or_default(),
            extra,
        })
    }

    /// What every call as this account bears; `None` where a part of it can't be sent.
    pub fn headers(&self) -> Option<Arc<[(HeaderName, HeaderValue)]>> {
        let value = |text: &str| HeaderValue::from_str(text).ok();
        let mut headers = vec![(HeaderName::from_static("impersonate-user"), value(&self.user)?)];
        if let Some(uid) = &self.uid {
            headers.push((HeaderName::from_static("impersonate-uid"), value(uid)?));
        }
        for group in &self.groups {
            headers.push((HeaderName::from_static("impersonate-group"), value(group)?));
        }
        for (key, text) in &self.extra {
            let name = format!("impersonate-extra-{}", escaped(key));
            headers.push((HeaderName::from_bytes(name.as_bytes()).ok()?, value(text)?));
        }
        Some(headers.into())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.user)
    }
}

/// A key as a part of a header's name, as client-go escapes it.
fn escaped(key: &str) -> String {
    key.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(account: &Account) -> Vec<String> {
        let headers = account.headers().expect("it can be sent");
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect()
    }

    #[test]
    fn a_service_account_acts_with_its_own_groups() {
        let expected = |namespace: &str| {
            [
                format!("impersonate-user: system:serviceaccount:{namespace}:deployer"),
                "impersonate-group: system:serviceaccounts".to_owned(),
                format!("impersonate-group: system:serviceaccounts:{namespace}"),
                "impersonate-group: system:authenticated".to_owned(),
            ]
        };
        assert_eq!(shown(&Account::service("shop", "deployer")), expected("shop"));
        assert_eq!(
            shown(&Account::service("shop", "tools/deployer")),
            expected("tools")
        );
        assert!(Account::service("shop", "a\nb").headers().is_none());
    }

    #[test]
    fn a_kubeconfigs_own_account_is_taken_out_of_it() {
        let mut info = AuthInfo {
            impersonate: Some("jane".to_owned()),
            impersonate_uid: Some("7".to_owned()),
            impersonate_groups: Some(vec!["ops".to_owned()]),
            impersonate_user_extra: Some([("acme.com/team".to_owned(), vec!["x".to_owned()])].into()),
            ..AuthInfo::default()
        };
        let account = Account::take(&mut info).expect("it names one");
        assert_eq!(
            shown(&account),
            [
                "impersonate-user: jane",
                "impersonate-uid: 7",
                "impersonate-group: ops",
                "impersonate-extra-acme.com%2fteam: x",
            ]
        );
        assert!(Account::take(&mut info).is_none());
        assert!(info.impersonate_user_extra.is_none());
    }
}
