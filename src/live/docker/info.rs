//! What an engine says about itself, and the API version that follows from it.
//!
//! In: the answers to `/version` and `/info`. Out: [`Info`], an [`Api`]. Guaranteed: a version within the range that we
//! speak. Must not: ask.

use std::fmt;

use serde_json::Value;

use crate::live::error::{LiveError, Problem};

/// The oldest API we speak (Docker 20.10).
pub const API_OLDEST: Api = Api { major: 1, minor: 41 };

/// The newest API we speak: what bollard's types were made from.
pub const API_NEWEST: Api = Api { major: 1, minor: 53 };

/// An engine API version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Api {
    /// Before the point.
    pub major: u16,
    /// After the point.
    pub minor: u16,
}

impl Api {
    /// Reads `1.41`.
    pub(crate) fn parse(raw: &str) -> Option<Self> {
        let (major, minor) = raw.split_once('.')?;
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What an engine says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its identity: `/info`'s ID; for Podman, which makes one up for every answer, its host and storage folder.
    pub id: String,
    /// The host's name.
    pub name: String,
    /// The engine's version, `28.5.2`.
    pub version: String,
    /// The newest API it speaks.
    pub api_newest: Api,
    /// Operating system and processor as images name them: `linux/amd64`.
    pub platform: String,
    /// 1 or 2.
    pub cgroup_version: Option<u8>,
    /// The storage driver.
    pub storage_driver: String,
    /// Whether images are in containerd's store: their ids are digests of manifests then.
    pub containerd_store: bool,
    /// Whether containers survive a restart of the engine.
    pub live_restore: bool,
    /// Whether it is part of a swarm.
    pub swarm_active: bool,
    /// Whether it runs without root.
    pub rootless: bool,
    /// Whether it is Podman's service.
    pub podman: bool,
}

/// The version to speak: the newest that both know.
pub(crate) fn negotiate(call: &str, newest: Api, oldest: Option<Api>) -> Result<Api, LiveError> {
    if newest < API_OLDEST {
        let problem = Problem::EngineTooOld {
            engine: newest.to_string(),
            ours: API_OLDEST.to_string(),
        };
        return Err(LiveError::new(call, problem));
    }
    if let Some(oldest) = oldest.filter(|oldest| *oldest > API_NEWEST) {
        let problem = Problem::EngineTooNew {
            engine: oldest.to_string(),
            ours: API_NEWEST.to_string(),
        };
        return Err(LiveError::new(call, problem));
    }
    Ok(newest.min(API_NEWEST))
}

/// What `/version` and `/info` say together; `None` when that is not an engine.
pub(crate) fn info_of(version: &Value, info: &Value, api_newest: Api) -> Option<Info> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut components = version["Components"].as_array().into_iter().flatten();
    let podman = components.any(|component| {
        component["Name"]
            .as_str()
            .is_some_and(|name| name.starts_with("Podman"))
    });
    let name = text(&info["Name"]);
    let id = if podman {
        format!("podman:{name}:{}", text(&info["DockerRootDir"]))
    } else {
        text(&info["ID"])
    };
    let mut options = info["SecurityOptions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let mut status = info["DriverStatus"].as_array().into_iter().flatten();
    Some(Info {
        id: Some(id).filter(|id| !id.is_empty())?,
        name,
        version: text(&version["Version"]),
        api_newest,
        platform: format!("{}/{}", text(&version["Os"]), text(&version["Arch"])),
        cgroup_version: info["CgroupVersion"]
            .as_str()
            .and_then(|version| version.parse().ok()),
        storage_driver: text(&info["Driver"]),
        containerd_store: status.any(|pair| pair[1] == "io.containerd.snapshotter.v1"),
        live_restore: info["LiveRestoreEnabled"].as_bool().unwrap_or_default(),
        swarm_active: info["Swarm"]["LocalNodeState"] == "active",
        rootless: options.any(|option| option.contains("name=rootless")),
        podman,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_version_is_the_newest_that_both_speak() {
        let api = |raw| Api::parse(raw).expect("a version");
        for (newest, oldest, expected) in [
            ("1.41", None, "1.41"),
            ("1.45", Some("1.24"), "1.45"),
            ("1.99", Some("1.44"), "1.53"),
            ("1.99", Some("1.54"), "E0507"),
            ("1.40", Some("1.12"), "E0506"),
        ] {
            let found = match negotiate("connect", api(newest), oldest.map(api)) {
                Ok(api) => api.to_string(),
                Err(error) => error.code().to_string(),
            };
            assert_eq!(found, expected, "{newest} {oldest:?}");
        }
        assert!(Api::parse("1.9") < Api::parse("1.41"));
    }

    #[test]
    fn podman_gets_an_identity_that_stays() {
        let version = json!({ "Version": "5.2", "Os": "linux", "Arch": "arm64", "Components": [{ "Name": "Podman Engine" }] });
        let info = |id: &str| json!({ "ID": id, "Name": "nas", "DockerRootDir": "/var/lib/containers" });
        let of = |id: &str| info_of(&version, &info(id), API_OLDEST).expect("an engine");
        assert_eq!(of("1"), of("2"));
        assert!(of("1").podman && of("1").platform == "linux/arm64");
        assert!(info_of(&json!({}), &json!({}), API_OLDEST).is_none());
    }
}
