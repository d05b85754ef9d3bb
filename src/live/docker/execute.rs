//! Sending one [`Op`]: exactly one call.
//!
//! In: an [`Op`] and what symbols stand for by now. Out: a [`Receipt`]. Guaranteed: one call, sent once, with a deadline that
//! fits it; what is already gone or already so is success. Must not: look before it acts, try again, or choose.

use std::time::Duration;

use bytes::Bytes;
use hyper::http::Method;
use serde_json::{Value, json};

use super::client::{CHANGE_DEADLINE, Client, STOP_MARGIN, path};
use super::credentials::Credentials;
use super::images::auth_for;
use super::op::{ContainerRef, CopyFile, Op, Symbol};
use crate::image::ImageRef;
use crate::live::error::{LiveError, Problem};
use crate::live::world::{Receipt, Symbols};

/// The longest stop whose length we do not know: the container's own grace period is not in the op, or it has no end.
const UNKNOWN_GRACE: Duration = Duration::from_secs(60 * 60);

/// Sends `op`.
pub(super) async fn execute(
    client: &Client,
    credentials: &Credentials,
    op: &Op,
    symbols: &Symbols,
) -> Result<Receipt, LiveError> {
    let call = op.to_string();
    let hand = Hand {
        client,
        call: &call,
        symbols,
    };
    match op {
        Op::PullImage { reference, platform } => {
            pull(hand, credentials, reference, platform.as_deref()).await
        }
        Op::CreateNetwork { name, body } => {
            let mut body = named(body, name);
            // Before API 1.44 two networks may bear one name unless this is asked for.
            if let Some(body) = body.as_object_mut() {
                body.entry("CheckDuplicate").or_insert(json!(true));
            }
            hand.post("/networks/create", &[], Some(&body)).await
        }
        Op::CreateVolume { name, body } => hand.post("/volumes/create", &[], Some(&named(body, name))).await,
        Op::CreateContainer {
            name, body, platform, ..
        } => {
            let body = hand.resolved(body.expose())?;
            let mut query = vec![("name", name.as_str())];
            query.extend(platform.as_deref().map(|platform| ("platform", platform)));
            hand.post("/containers/create", &query, Some(&body)).await
        }
        Op::CopyFiles {
            container,
            root,
            files,
        } => {
            let archive = archive(root, files).ok_or_else(|| LiveError::new(&call, Problem::BadRequest))?;
            let path = path(&["containers", hand.id(container)?, "archive"]);
            // Without copyUIDGID: it would give every file to the container's own user, whatever the archive says.
            let query = [("path", root.as_str())];
            client
                .upload(&call, Method::PUT, &path, &query, archive, CHANGE_DEADLINE)
                .await?;
            Ok(Receipt::default())
        }
        Op::ConnectNetwork {
            network,
            container,
            endpoint,
        } => {
            let body = json!({ "Container": hand.id(container)?, "EndpointConfig": endpoint });
            hand.post(&path(&["networks", network, "connect"]), &[], Some(&body))
                .await
        }
        Op::DisconnectNetwork { network, container } => {
            let body = json!({ "Container": hand.id(container)? });
            let sent = hand
                .post(&path(&["networks", network, "disconnect"]), &[], Some(&body))
                .await;
            gone_is_done(sent)
        }
        Op::Start { container } => hand.post(&hand.container(container, "start")?, &[], None).await,
        Op::Stop { container, grace } => gone_is_done(hand.halt(container, "stop", *grace).await),
        Op::Restart { container, grace } => hand.halt(container, "restart", *grace).await,
        Op::Pause { container } => hand.post(&hand.container(container, "pause")?, &[], None).await,
        Op::Unpause { container } => hand.post(&hand.container(container, "unpause")?, &[], None).await,
        Op::Rename { container, to } => {
            hand.post(
                &hand.container(container, "rename")?,
                &[("name", to.as_str())],
                None,
            )
            .await
        }
        Op::Update { container, body } => {
            hand.post(&hand.container(container, "update")?, &[], Some(body))
                .await
        }
        Op::RemoveContainer { container, force } => {
            let path = path(&["containers", hand.id(container)?]);
            let force = if *force { "1" } else { "0" };
            gone_is_done(hand.delete(&path, &[("v", "0"), ("force", force)]).await)
        }
        Op::RemoveNetwork { name } => gone_is_done(hand.delete(&path(&["networks", name]), &[]).await),
        Op::RemoveVolume { name } => gone_is_done(hand.delete(&path(&["volumes", name]), &[]).await),
    }
}

/// What every op needs.
#[derive(Clone, Copy)]
struct Hand<'a> {
    client: &'a Client,
    call: &'a str,
    symbols: &'a Symbols,
}

impl Hand<'_> {
    async fn post(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Receipt, LiveError> {
        let answer = self
            .client
            .send(self.call, Method::POST, path, query, body, CHANGE_DEADLINE)
            .await?;
        Ok(receipt(&answer))
    }

    async fn delete(&self, path: &str, query: &[(&str, &str)]) -> Result<Receipt, LiveError> {
        let answer = self
            .client
            .send(self.call, Method::DELETE, path, query, None, CHANGE_DEADLINE)
            .await?;
        Ok(receipt(&answer))
    }

    /// A stop or restart, whose answer comes when the container has ended.
    async fn halt(
        &self,
        container: &ContainerRef,
        verb: &str,
        grace: Option<i64>,
    ) -> Result<Receipt, LiveError> {
        let path = self.container(container, verb)?;
        let seconds = grace.map(|grace| grace.to_string());
        let query: Vec<(&str, &str)> = seconds.iter().map(|seconds| ("t", seconds.as_str())).collect();
        // A negative one waits for as long as it takes.
        let grace = grace
            .and_then(|grace| u64::try_from(grace).ok())
            .map_or(UNKNOWN_GRACE, Duration::from_secs);
        let deadline = grace.saturating_add(STOP_MARGIN);
        let answer = self
            .client
            .send(self.call, Method::POST, &path, &query, None, deadline)
            .await?;
        Ok(receipt(&answer))
    }

    fn container(&self, container: &ContainerRef, verb: &str) -> Result<String, LiveError> {
        Ok(path(&["containers", self.id(container)?, verb]))
    }

    fn id<'b>(&'b self, container: &'b ContainerRef) -> Result<&'b str, LiveError> {
        match container {
            ContainerRef::Id { id, .. } => Ok(&id.0),
            ContainerRef::New { symbol, .. } => self.symbol(symbol),
        }
    }

    /// A plan that names what no earlier step made is a bug of ours.
    fn symbol(&self, symbol: &Symbol) -> Result<&str, LiveError> {
        let id = self.symbols.get(symbol);
        id.map(|id| &*id.0)
            .ok_or_else(|| LiveError::new(self.call, Problem::BadRequest))
    }

    /// `body` with every `@symbol:NAME@` replaced by the container's id.
    fn resolved(&self, body: &Value) -> Result<Value, LiveError> {
        Ok(match body {
            Value::String(text) => Value::String(self.resolved_text(text)?),
            Value::Array(items) => Value::Array(
                items
                    .iter()
                    .map(|item| self.resolved(item))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), self.resolved(value)?)));
                Value::Object(fields.collect::<Result<_, LiveError>>()?)
            }
            other => other.clone(),
        })
    }

    fn resolved_text(&self, text: &str) -> Result<String, LiveError> {
        const START: &str = "@symbol:";
        let Some((before, rest)) = text.split_once(START) else {
            return Ok(text.to_owned());
        };
        let Some((name, after)) = rest.split_once('@') else {
            return Ok(text.to_owned());
        };
        let id = self.symbol(&Symbol(name.into()))?;
        Ok(format!("{before}{id}{}", self.resolved_text(after)?))
    }
}

async fn pull(
    hand: Hand<'_>,
    credentials: &Credentials,
    reference: &str,
    platform: Option<&str>,
) -> Result<Receipt, LiveError> {
    let image = ImageRef::parse(reference)
        .map_err(|error| LiveError::caused(hand.call, Problem::BadRequest, &error))?;
    // A bare name would pull every tag there is, and engines do not agree on `name:tag@digest`.
    let pinned = image.digest().and_then(|digest| image.pinned(digest).ok());
    let image = pinned.unwrap_or_else(|| image.tagged());
    let (auth, note) = auth_for(credentials, &image).await;
    let pulled = hand
        .client
        .pull(&image.familiar(), platform, auth.as_ref(), |line| {
            tracing::trace!("{}: {}", hand.call, line.status.unwrap_or_default());
        })
        .await;
    match (pulled, note) {
        (Ok(()), _) => Ok(Receipt::default()),
        (Err(mut error), Some(note)) => {
            error.cause.get_or_insert_with(|| {
                crate::live::error::Cause::text(format!("asked without credentials: {note}"))
            });
            Err(error)
        }
        (Err(error), None) => Err(error),
    }
}

fn named(body: &Value, name: &str) -> Value {
    let mut body = if body.is_object() { body.clone() } else { json!({}) };
    if let Some(body) = body.as_object_mut() {
        body.insert("Name".to_owned(), name.into());
    }
    body
}

/// Containers answer a list of warnings, networks one text.
fn receipt(answer: &Value) -> Receipt {
    let many = answer["Warnings"].as_array().into_iter().flatten();
    let warnings = many.chain([&answer["Warning"]]).filter_map(Value::as_str);
    Receipt {
        id: answer["Id"].as_str().map(str::to_owned),
        warnings: warnings
            .filter(|warning| !warning.is_empty())
            .map(str::to_owned)
            .collect(),
        image: None,
    }
}

/// What shall end and is not there has ended: somebody was quicker, or an earlier answer was lost.
fn gone_is_done(sent: Result<Receipt, LiveError>) -> Result<Receipt, LiveError> {
    match sent {
        Err(LiveError {
            problem: Problem::NotFound { message },
            ..
        }) => Ok(Receipt {
            warnings: vec![format!("already gone: {message}")],
            ..Receipt::default()
        }),
        // Engines answer this with 403, 404 or 500.
        Err(LiveError {
            problem:
                Problem::Refused { message, .. } | Problem::Engine { message, .. } | Problem::Conflict { message },
            ..
        }) if message.contains("is not connected to") => Ok(Receipt {
            warnings: vec![format!("already gone: {message}")],
            ..Receipt::default()
        }),
        other => other,
    }
}

/// The files as a tar archive for `root`; `None` if one cannot be put there. Folders are left out: the engine makes missing ones
/// (root, 0755), and an entry for one that exists would change its mode and owner.
fn archive(root: &str, files: &[CopyFile]) -> Option<Bytes> {
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        let below = file.path.strip_prefix(root.trim_end_matches('/'))?;
        let name = below
            .strip_prefix('/')
            .filter(|name| !name.is_empty() && !name.ends_with('/'))?;
        if name.split('/').any(|part| part == "..") {
            return None;
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(file.mode);
        header.set_uid(file.uid.into());
        header.set_gid(file.gid.into());
        header.set_size(file.content.expose().len() as u64);
        archive
            .append_data(&mut header, name, file.content.expose().as_ref())
            .ok()?;
    }
    archive.into_inner().ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_below_the_root_are_packed() {
        let file = |path: &str| CopyFile {
            path: path.into(),
            mode: 0o440,
            uid: 1000,
            gid: 0,
            content: crate::secret::Secret::new(b"x".as_slice().into()),
        };
        for bad in ["etc/x", "/", "/etc/", "/etc/../x", ""] {
            assert!(archive("/", &[file(bad)]).is_none(), "{bad}");
        }
        let long = format!("/run/{}/x", "d".repeat(200));
        let packed = archive("/", &[file("/run/secrets/db"), file(&long)]).expect("an archive");
        let mut read = tar::Archive::new(&packed[..]);
        let names: Vec<_> = read
            .entries()
            .expect("entries")
            .map(|entry| {
                let entry = entry.expect("an entry");
                assert_eq!(entry.header().mode().expect("a mode"), 0o440);
                assert_eq!(entry.header().uid().expect("a user"), 1000);
                format!("/{}", entry.path().expect("a path").display())
            })
            .collect();
        assert_eq!(names, ["/run/secrets/db", long.as_str()]);
    }
}
