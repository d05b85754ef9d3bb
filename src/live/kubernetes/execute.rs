//! One op, one call.
//!
//! In: an [`Op`]. Out: a [`Receipt`]. Guaranteed: an apply bears the UID of the object that was planned for, a delete has it
//! as a precondition, so an object that was made again in between is never touched. Must not: decide, retry or wait.

use http::Method;
use serde_json::{Value, json};

use super::client::{APPLY_PATCH, Answer, Api, JSON_PATCH, MERGE_PATCH, is_not_found};
use super::fields;
use super::kinds::Resource;
use super::observe::apply_path;
use super::op::{MANAGER, Op};
use super::world::{Applied, Receipt};
use crate::live::{LiveError, Problem};
use crate::names::ObjectKey;

/// Where `kubectl rollout restart` notes its time, too.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

pub(super) async fn execute(api: &Api, op: &Op) -> Result<Receipt, LiveError> {
    let call = op.to_string();
    match op {
        Op::Apply { key, body, uid } => {
            let version = body
                .0
                .get("apiVersion")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let resource = resource(api, &call, key, Some(version)).await?;
            let mut body = body.0.clone();
            if let (Some(uid), Some(metadata)) =
                (uid, body.pointer_mut("/metadata").and_then(Value::as_object_mut))
            {
                metadata.insert("uid".to_owned(), json!(uid));
            }
            let answer = api
                .json(
                    &call,
                    Method::PATCH,
                    &apply_path(&resource, key, false),
                    Some(APPLY_PATCH),
                    Some(&body),
                )
                .await?;
            Ok(applied(answer))
        }
        Op::TakeOver {
            key,
            api_version,
            uid,
            resource_version,
            managed_fields,
        } => {
            let resource = resource(api, &call, key, Some(api_version)).await?;
            let path = format!("{}/{}", resource.path(key.namespace.as_deref()), key.name);
            let patch = json!([
                {"op": "test", "path": "/metadata/uid", "value": uid},
                {"op": "replace", "path": "/metadata/managedFields", "value": managed_fields.0},
                {"op": "replace", "path": "/metadata/resourceVersion", "value": resource_version},
            ]);
            let answer = api
                .json(&call, Method::PATCH, &path, Some(JSON_PATCH), Some(&patch))
                .await?;
            Ok(Receipt {
                warnings: answer.warnings,
                object: None,
            })
        }
        Op::Restart { key, uid, at } => {
            let resource = resource(api, &call, key, None).await?;
            let path = format!(
                "{}/{}?fieldManager={MANAGER}-restart",
                resource.path(key.namespace.as_deref()),
                key.name
            );
            let patch = json!({
                // The API server refuses the patch when this is another object than the one that was looked at.
                "metadata": {"uid": uid},
                "spec": {"template": {"metadata": {"annotations": {RESTARTED: at.to_string()}}}},
            });
            let answer = api
                .json(&call, Method::PATCH, &path, Some(MERGE_PATCH), Some(&patch))
                .await?;
            Ok(Receipt {
                warnings: answer.warnings,
                object: None,
            })
        }
        Op::Delete { key, uid } => {
            let Some(resource) = api.resource(&key.group, &key.kind, None).await? else {
                // The kind went, and its objects with it.
                return Ok(Receipt::default());
            };
            let path = format!("{}/{}", resource.path(key.namespace.as_deref()), key.name);
            delete(api, &call, &path, uid, "Foreground").await
        }
        Op::DeletePod { namespace, name, uid } => {
            delete(
                api,
                &call,
                &format!("/api/v1/namespaces/{namespace}/pods/{name}"),
                uid,
                "Background",
            )
            .await
        }
        Op::PutInventory {
            namespace,
            name,
            body,
        } => {
            let path =
                format!("/api/v1/namespaces/{namespace}/configmaps/{name}?fieldManager={MANAGER}&force=true");
            let answer = api
                .json(&call, Method::PATCH, &path, Some(APPLY_PATCH), Some(&body.0))
                .await?;
            Ok(Receipt {
                warnings: answer.warnings,
                object: None,
            })
        }
        Op::RemoveInventory { namespace, name } => {
            let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
            match api.json(&call, Method::DELETE, &path, None, None).await {
                Ok(_) => Ok(Receipt::default()),
                Err(error) if is_not_found(&error) => Ok(Receipt::default()),
                Err(error) => Err(error),
            }
        }
    }
}

async fn resource(
    api: &Api,
    call: &str,
    key: &ObjectKey,
    api_version: Option<&str>,
) -> Result<Resource, LiveError> {
    let version = api_version.map(|text| text.rsplit_once('/').map_or(text, |(_, version)| version));
    api.resource(&key.group, &key.kind, version)
        .await?
        .ok_or_else(|| {
            let message = format!(
                "the cluster does not know the kind `{}` of `{}`",
                key.kind, key.group
            );
            LiveError::new(call, Problem::KindMissing { message })
        })
}

async fn delete(
    api: &Api,
    call: &str,
    path: &str,
    uid: &str,
    propagation: &str,
) -> Result<Receipt, LiveError> {
    let options = json!({
        "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation, "preconditions": {"uid": uid},
    });
    match api
        .json(
            call,
            Method::DELETE,
            path,
            Some("application/json"),
            Some(&options),
        )
        .await
    {
        Ok(answer) => Ok(Receipt {
            warnings: answer.warnings,
            object: None,
        }),
        Err(error) if is_not_found(&error) => Ok(Receipt::default()),
        Err(error) => Err(error),
    }
}

fn applied(answer: Answer) -> Receipt {
    let uid = answer
        .value
        .pointer("/metadata/uid")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    Receipt {
        warnings: answer.warnings,
        object: Some(Applied {
            uid,
            generation: answer
                .value
                .pointer("/metadata/generation")
                .and_then(Value::as_i64),
            owned: fields::owned(&answer.value, MANAGER),
        }),
    }
}
