//! What image references mean on one engine, here and now (decision 1).
//!
//! In: references and how to look each up. Out: an [`ImageFact`] for each. Guaranteed: an image that is there costs no
//! registry call unless one was asked for; what a registry refuses is a fact about that image, never a failed observation.
//! Must not: pull.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use super::client::Client;
use super::credentials::{Auth, Credentials};
use super::endpoint::DiskFiles;
use crate::image::{ImageRef, ImageRefError};
use crate::live::error::{FailureKind, LiveError, Problem};
use crate::live::world::{ImageAsk, ImageFact, LiveErrorText, LocalImage, Lookup};

/// Images that are looked up at once. Each registry question opens a connection of its own.
const AT_ONCE: usize = 8;

/// Looks all of them up.
pub(super) async fn look_up(
    client: &Client,
    credentials: &Credentials,
    asked: &BTreeMap<String, ImageAsk>,
) -> Result<BTreeMap<String, ImageFact>, LiveError> {
    let looks: Vec<_> = asked
        .iter()
        .map(|(reference, ask)| one(client, credentials, reference, ask))
        .collect();
    futures_util::stream::iter(looks)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn one(
    client: &Client,
    credentials: &Credentials,
    reference: &str,
    ask: &ImageAsk,
) -> Result<(String, ImageFact), LiveError> {
    let fact = match ImageRef::parse(reference) {
        Err(ImageRefError::IsId { .. }) => match client.image(reference).await? {
            Some(image) => ImageFact::Local(local(&image)),
            None => absent("E0530", format!("the engine has no image {reference}"), false),
        },
        Err(error) => absent("E0530", error.to_string(), false),
        Ok(image) => by_reference(client, credentials, &image, ask).await?,
    };
    Ok((reference.to_owned(), fact))
}

async fn by_reference(
    client: &Client,
    credentials: &Credentials,
    image: &ImageRef,
    ask: &ImageAsk,
) -> Result<ImageFact, LiveError> {
    // Engines do not agree on `name:tag@digest`; the digest says everything.
    let pinned = image.digest().and_then(|digest| image.pinned(digest).ok());
    let image = pinned.unwrap_or_else(|| image.tagged());
    let wanted = ask.platform.as_deref().unwrap_or(&client.info().platform);
    let here = client.image(&image.familiar()).await?.map(|found| local(&found));
    let fits = here.as_ref().is_none_or(|local| runs_on(wanted, &local.platform));
    match (here, ask.registry) {
        (Some(local), Lookup::WhenAbsent | Lookup::Never) if fits => Ok(ImageFact::Local(local)),
        (Some(mut local), Lookup::Always) if fits => {
            // An image that exists nowhere else has no registry to ask; and one whose registry is silent for now can still
            // be run, so the plan goes on with what is here.
            if !local.repo_digests.is_empty() {
                match from_registry(client, credentials, &image, wanted).await? {
                    ImageFact::Remote { digest } => local.registry = Some(digest),
                    ImageFact::Absent(why) => {
                        tracing::warn!(
                            "image {}: the registry was not heard: {}",
                            image.familiar(),
                            why.message
                        );
                    }
                    ImageFact::Local(_) => {}
                }
            }
            Ok(ImageFact::Local(local))
        }
        (Some(local), Lookup::Never) => Ok(wrong_platform(&image, &local.platform, wanted)),
        (None, Lookup::Never) => {
            let text = format!(
                "the engine does not have {} and its pull policy is `never`",
                image.familiar()
            );
            Ok(absent("E0530", text, false))
        }
        // What is here is for another platform and exists nowhere else.
        (Some(local), _) if local.repo_digests.is_empty() => {
            Ok(wrong_platform(&image, &local.platform, wanted))
        }
        (Some(_) | None, _) => from_registry(client, credentials, &image, wanted).await,
    }
}

/// The registry's answer, asked through the engine: it knows mirrors, proxies and authorities that we do not.
async fn from_registry(
    client: &Client,
    credentials: &Credentials,
    image: &ImageRef,
    wanted: &str,
) -> Result<ImageFact, LiveError> {
    let (auth, note) = auth_for(credentials, image).await;
    let answer = match client.distribution(&image.familiar(), auth.as_ref()).await {
        Ok(answer) => answer,
        // The engine answers other questions in time, so it is the registry that does not.
        Err(error) if matches!(error.problem, Problem::Deadline { .. }) => {
            let text = format!(
                "the registry of {} does not answer: {}",
                image.familiar(),
                error.problem
            );
            return Ok(absent("E0533", text, true));
        }
        Err(error) if error.engine_is_away() => return Err(error),
        Err(error) => {
            let text = match note {
                Some(note) => format!("{error} (asked without credentials: {note})"),
                None => error.to_string(),
            };
            return Ok(absent(
                error.code().to_string(),
                text,
                error.kind() == FailureKind::Retry,
            ));
        }
    };
    let Some(digest) = answer["Descriptor"]["digest"].as_str() else {
        return Err(LiveError::new(
            format!("look up image {}", image.familiar()),
            Problem::Unreadable,
        ));
    };
    let offered: Vec<String> = answer["Platforms"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| platform(&one["os"], &one["architecture"], &one["variant"]))
        .filter(|one| !one.starts_with("unknown") && !one.starts_with('/') && !one.ends_with('/'))
        .collect();
    if !offered.is_empty() && !offered.iter().any(|one| runs_on(wanted, one)) {
        return Ok(wrong_platform(image, &offered.join(", "), wanted));
    }
    Ok(ImageFact::Remote {
        digest: digest.to_owned(),
    })
}

/// Credentials for an image's registry. When they can't be found out we go on without, as docker does, and tell why if that
/// is refused.
pub(super) async fn auth_for(credentials: &Credentials, image: &ImageRef) -> (Option<Auth>, Option<String>) {
    match credentials.find(image, &DiskFiles).await {
        Ok(auth) => (auth, None),
        Err(error) => {
            tracing::warn!("credentials for {}: {error}", image.domain());
            (None, Some(error.to_string()))
        }
    }
}

fn wrong_platform(image: &ImageRef, offered: &str, wanted: &str) -> ImageFact {
    absent(
        "E0534",
        format!("{} exists for {offered} and not for {wanted}", image.familiar()),
        false,
    )
}

fn absent(code: impl Into<String>, message: String, retry: bool) -> ImageFact {
    ImageFact::Absent(LiveErrorText {
        code: code.into(),
        message,
        retry,
    })
}

/// An engine's inspect reply for an image.
fn local(image: &Value) -> LocalImage {
    let digests = image["RepoDigests"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    LocalImage {
        id: image["Id"].as_str().unwrap_or_default().to_owned(),
        repo_digests: digests
            .filter(|digest| !digest.starts_with('<'))
            .map(str::to_owned)
            .collect(),
        registry: None,
        config: Arc::new(image["Config"].clone()),
        platform: platform(&image["Os"], &image["Architecture"], &image["Variant"]),
    }
}

fn platform(os: &Value, architecture: &Value, variant: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let platform = format!("{}/{}", text(os), text(architecture));
    match variant.as_str() {
        Some(variant) if !variant.is_empty() => format!("{platform}/{variant}"),
        _ => platform,
    }
}

/// Whether an image for `image` runs where `wanted` is asked for. What either side leaves out is not compared, and
/// processors that run their 32-bit predecessors' programs do so here.
fn runs_on(wanted: &str, image: &str) -> bool {
    let parts = |text: &str| -> Vec<String> { text.split('/').map(normal).collect() };
    let (wanted, image) = (parts(wanted), parts(image));
    let part = |parts: &[String], index: usize| parts.get(index).cloned().unwrap_or_default();
    let same = |index: usize| {
        let (wanted, image) = (part(&wanted, index), part(&image, index));
        wanted.is_empty() || image.is_empty() || wanted == image
    };
    let predecessor = matches!(
        (part(&wanted, 1).as_str(), part(&image, 1).as_str()),
        ("amd64", "386") | ("arm64", "arm")
    );
    // Variants are ordered (v8 runs v7), except where the author asked for one.
    let variant = part(&wanted, 2).is_empty() || same(2) || part(&wanted, 1) == "arm64";
    same(0) && (predecessor || (same(1) && variant))
}

/// `/info` says `x86_64` and `aarch64` where images say `amd64` and `arm64`.
fn normal(part: &str) -> String {
    match part {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i386" => "386",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::runs_on;

    #[test]
    fn platforms_are_compared_as_far_as_both_say() {
        for (wanted, image, expected) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/arm64/v8", false),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm/v7", "linux/arm/v6", false),
            ("linux/amd64", "linux/386", true),
            ("linux/amd64", "/", true),
            ("linux/amd64", "windows/amd64", false),
        ] {
            assert_eq!(runs_on(wanted, image), expected, "{wanted} {image}");
        }
    }
}
