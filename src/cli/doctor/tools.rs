//! What `driftless doctor` says of the programs that render.

use super::Checks;
use crate::cli::Context;
use crate::cli::error::CommandError;
use crate::cli::here::Here;
use crate::cli::place::expander;
use crate::cli::session::block_on;
use crate::expand::{Cut, ExpandError, Tool, Tools};
use crate::render::app::AppKind;
use crate::report::Exit;

/// Those that the repository's apps need.
pub fn tools(checks: &mut Checks, context: &Context, here: &Here) {
    let apps = &here.snapshot.discovery.apps;
    let kustomizations = apps
        .iter()
        .any(|app| matches!(app.kind, AppKind::Kustomization { .. }));
    let charts = apps.iter().any(|app| matches!(app.kind, AppKind::Chart { .. }));
    if !kustomizations && !charts {
        return;
    }
    let expander = expander(&context.environment, &here.settings);
    let tools = expander.tools();
    let asked = block_on(async {
        if kustomizations {
            kustomize(checks, tools).await;
        }
        if charts {
            match tools.version(Tool::Helm).await {
                Ok(version) => checks.good("helm", version),
                Err(error) => missing(checks, "helm", &error, "install helm where Driftless runs"),
            }
        }
        if tools.cut().await == Cut::Not {
            checks.note(
                "renderers",
                "this machine lets nobody cut the network off from them",
                "they are told to fetch nothing, and remote references are refused; `unshare -rn true` says what is in the way",
            );
        }
        Ok::<_, CommandError>(())
    });
    if let Err(error) = asked {
        checks.failed("renderers", &error, Exit::Usage);
    }
}

async fn kustomize(checks: &mut Checks, tools: &Tools) {
    match tools.version(Tool::Kustomize).await {
        Ok(version) => checks.good("kustomize", version),
        Err(error) => match tools.version(Tool::Kubectl).await {
            Ok(version) => checks.good("kustomize", format!("{version}, that of kubectl")),
            Err(_) => missing(
                checks,
                "kustomize",
                &error,
                "install kustomize (or kubectl) where Driftless runs",
            ),
        },
    }
}

fn missing(checks: &mut Checks, name: &'static str, error: &ExpandError, next: &str) {
    checks.bad(name, error.to_string(), next);
}
