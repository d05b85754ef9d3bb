//! `driftless render`: the final manifests.

use clap::Args as ClapArgs;

use super::Context;
use super::args::Format;
use super::error::CommandError;
use super::here::{Here, expanded, inputs, with_profiles};
use super::output::no_markdown;
use crate::render::{bundle_yaml, compose_yaml};
use crate::report::Exit;

/// Prints the final manifests of an app, secrets masked
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The app
    #[arg(value_name = "APP")]
    pub app: String,
}

pub const EXAMPLES: &str = "\
driftless render web
driftless render web --ref feature-x -o json";

/// Prints them.
pub fn run(args: Args, context: &mut Context) -> Result<Exit, CommandError> {
    let here = Here::read(context)?;
    let app = with_profiles(context, here.app(&args.app)?);
    let inputs = inputs(context, &here.settings, &app, here.source.local_root())?;
    let inputs = expanded(context, &here.settings, &here.snapshot, &app, inputs)??;
    let desired = here.snapshot.desired(&app, &inputs)?;
    for warning in &desired.warnings {
        let place = warning
            .place
            .as_ref()
            .map(|place| format!("{place}: "))
            .unwrap_or_default();
        context.output.warn(&format!("{place}{}", warning.message));
    }
    let yaml = match &desired.bundle {
        Some(bundle) => desired.mask.clean(&bundle_yaml(bundle)),
        None => compose_yaml(&desired.project),
    };
    match context.output.format {
        Format::Json => {
            // Several documents are a list, as `kubectl` prints them.
            let parsed: Result<Vec<serde_json::Value>, _> = serde_yaml::Deserializer::from_str(&yaml)
                .map(serde::Deserialize::deserialize)
                .collect();
            let mut documents = parsed.map_err(|error| {
                CommandError::new(Exit::Invalid, "the manifest has no JSON form").because(&error)
            })?;
            let value = match (documents.len(), desired.bundle.is_some()) {
                (1, false) => documents.remove(0),
                _ => serde_json::json!({"apiVersion": "v1", "kind": "List", "items": documents}),
            };
            context.output.value("Manifest", &value)?;
        }
        Format::Name => {
            let names: String = match &desired.bundle {
                Some(bundle) => bundle
                    .objects
                    .iter()
                    .map(|one| format!("{}\n", one.key))
                    .collect(),
                None => desired
                    .project
                    .services
                    .keys()
                    .map(|name| format!("service/{name}\n"))
                    .collect(),
            };
            context.output.result(&names);
        }
        Format::Markdown => return Err(no_markdown()),
        Format::Table | Format::Wide | Format::Yaml => context.output.result(&yaml),
    }
    if !here.snapshot.uncommitted.is_empty() {
        context.output.note("uncommitted changes are not included");
    }
    Ok(Exit::Done)
}
