//! `driftless validate`: everything that can be known without an engine.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use serde_json::{Value, json};

use super::Context;
use super::error::{CommandError, finding};
use super::here::{expanded, inputs, with_profiles};
use super::session::settings;
use crate::document::{Code, Diagnostic, Diagnostics, Severity};
use crate::engine::{ReadError, Snapshot};
use crate::names::{AppName, SourceId};
use crate::render::Warning;
use crate::report::Exit;
use crate::report::text::{Line, Role, Text};

/// Checks every file that would be deployed, offline
///
/// Reads the working tree, needs neither network nor engine, and reports every problem with its place and what to do.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The folder to check [default: the repository you stand in]
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// The form of the findings
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = FindingsFormat::Human)]
    pub format: FindingsFormat,
}

/// The form of the findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FindingsFormat {
    /// With the lines of the files
    Human,
    /// One JSON value
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Annotations of GitHub Actions
    Github,
}

pub const EXAMPLES: &str = "\
driftless validate
driftless validate apps/web
driftless validate --format github        # in a GitHub workflow";

/// Checks, and tells what was found. Nothing but findings is on standard output.
pub fn run(args: Args, context: &mut Context) -> Result<Exit, CommandError> {
    let folder = args.path.map_or_else(
        || context.environment.folder.clone(),
        |path| context.environment.folder.join(path),
    );
    let settings = settings(context)?;
    let root = AppName::try_from(
        folder
            .file_name()
            .map(|name| name.to_string_lossy())
            .unwrap_or_default()
            .as_ref(),
    )
    .or_else(|_| AppName::try_from("app"))
    .map_err(|error| CommandError::new(Exit::Usage, error.to_string()))?;
    let source = SourceId::try_from(folder.to_string_lossy().as_ref())
        .map_err(|error| CommandError::new(Exit::Usage, error.to_string()))?;
    if !folder.is_dir() {
        return Err(CommandError::new(
            Exit::Usage,
            format!("{} is no folder", folder.display()),
        ));
    }
    let mut found = Diagnostics::new();
    let mut checked = Vec::new();
    match Snapshot::local(&folder, source, &root, None) {
        Err(ReadError::Discovery(whole)) => found.extend(*whole),
        Err(error) => return Err(error.into()),
        Ok(snapshot) => {
            for app in &snapshot.discovery.apps {
                checked.push(app.name.to_string());
                let app = with_profiles(context, app);
                let inputs = inputs(context, &settings, &app, Some(&folder))?;
                let expanded = expanded(context, &settings, &snapshot, &app, inputs)?;
                match expanded.and_then(|inputs| snapshot.desired(&app, &inputs)) {
                    Ok(desired) => warn(&desired.warnings, context),
                    Err(errors) => found.extend(errors),
                }
            }
            for broken in snapshot.discovery.broken {
                checked.push(broken.name);
                found.extend(broken.diagnostics);
            }
        }
    }
    if checked.is_empty() && found.is_empty() {
        return Err(CommandError::new(
            Exit::Invalid,
            format!("nothing that can be deployed was found in {}", folder.display()),
        )
        .hint("a folder with a compose.yaml is an app; `driftless explain app` tells more"));
    }
    tell(args.format, &found, &checked, context)?;
    Ok(if found.has_errors() {
        Exit::Invalid
    } else {
        Exit::Done
    })
}

fn warn(warnings: &[Warning], context: &Context) {
    for warning in warnings {
        let place = warning
            .place
            .as_ref()
            .map(|place| format!("{place}: "))
            .unwrap_or_default();
        context.output.warn(&format!("{place}{}", warning.message));
    }
}

fn tell(
    format: FindingsFormat,
    found: &Diagnostics,
    checked: &[String],
    context: &Context,
) -> Result<(), CommandError> {
    let output = &context.output;
    let format = if output.for_machines() && format == FindingsFormat::Human {
        FindingsFormat::Json
    } else {
        format
    };
    match format {
        FindingsFormat::Human => {
            if !found.is_empty() {
                output.result(&format!(
                    "{}\n\n",
                    found.render(output.color(), output.snippet_width())
                ));
            }
            let errors = found.iter().filter(|one| one.severity == Severity::Error).count();
            let apps = if checked.len() == 1 {
                "1 app".to_owned()
            } else {
                format!("{} apps", checked.len())
            };
            let mut text = Text::new();
            text.push(match errors {
                0 => Line::new()
                    .span(Role::Good, "✔")
                    .plain(format!(" {apps} checked, no problems")),
                1 => Line::new()
                    .span(Role::Bad, "✘")
                    .plain(format!(" {apps} checked, 1 problem")),
                count => Line::new()
                    .span(Role::Bad, "✘")
                    .plain(format!(" {apps} checked, {count} problems")),
            });
            if errors > 0 {
                text.push_exit(Exit::Invalid, output.width().unwrap_or(0));
            }
            output.text(&text);
        }
        FindingsFormat::Json => {
            let items: Vec<Value> = found.iter().map(finding).collect();
            output.value("FindingList", &json!({ "apps": checked, "items": items }))?;
        }
        FindingsFormat::Github => output.result(&found.iter().map(annotation).collect::<String>()),
        FindingsFormat::Sarif => output.result(&format!("{:#}\n", sarif(found))),
    }
    Ok(())
}

/// `::error file=…,line=…,col=…,title=…::message`, escaped as GitHub's runner reads it.
fn annotation(one: &Diagnostic) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let level = if one.severity == Severity::Error {
        "error"
    } else {
        "warning"
    };
    let mut place = String::new();
    if let Some(at) = one.place() {
        place = format!(
            "file={},line={},col={},",
            property(&at.file),
            at.line.max(1),
            at.column.max(1)
        );
    }
    let help = one
        .help
        .as_ref()
        .map(|help| format!("\n{help}"))
        .unwrap_or_default();
    format!(
        "::{level} {place}title={}::{}\n",
        property(&one.code.to_string()),
        data(&format!("{}{help}", one.message))
    )
}

fn sarif(found: &Diagnostics) -> Value {
    let rules: std::collections::BTreeSet<Code> = found.iter().map(|one| one.code).collect();
    let rules: Vec<Value> = rules
        .into_iter()
        .filter_map(Code::entry)
        .map(|entry| {
            json!({
                "id": entry.code,
                "name": entry.slug,
                "shortDescription": { "text": entry.title },
                "help": { "text": entry.explanation },
            })
        })
        .collect();
    let results: Vec<Value> = found
        .iter()
        .map(|one| {
            let locations: Vec<Value> = one
                .place()
                .iter()
                .map(|at| {
                    json!({ "physicalLocation": {
                        "artifactLocation": { "uri": at.file },
                        "region": { "startLine": at.line.max(1), "startColumn": at.column.max(1) },
                    }})
                })
                .collect();
            let level = if one.severity == Severity::Error { "error" } else { "warning" };
            json!({ "ruleId": one.code, "level": level, "message": { "text": one.message }, "locations": locations })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "driftless", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": results,
        }],
    })
}
