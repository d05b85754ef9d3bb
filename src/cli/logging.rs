//! The log, on standard error.
//!
//! In: `-v`, `--log-format`, `DRIFTLESS_LOG`. Out: a subscriber. Guaranteed: libraries that print request bodies or
//! answers are capped whatever a person asks for, because those hold environment values. Must not: write to standard output.

use tracing_subscriber::EnvFilter;

use super::args::{Global, LogFormat};
use super::output::Output;
use crate::live::docker::client::LOG_CAP;

/// Starts it. A filter that can't be read is said, and the default is used.
pub fn start(global: &Global, output: &Output) {
    let (filter, trouble) = filter(output.log_filter(), global.verbose);
    if let Some(trouble) = trouble {
        output.warn(&trouble);
    }
    let json = match global.log_format {
        LogFormat::Auto | LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(output.color_on_stderr());
    // A second start (tests) keeps the first subscriber.
    let _ = if json {
        builder.json().try_init()
    } else {
        builder.with_target(global.verbose > 1).try_init()
    };
}

fn filter(asked: Option<&str>, verbose: u8) -> (EnvFilter, Option<String>) {
    let default = match verbose {
        // Each answer of an API server is told where it matters; a dry run that is refused is no error of ours.
        0 => "warn,kube_client=off",
        1 => "warn,kube_client=off,driftless=info",
        2 => "info,driftless=debug",
        _ => "debug,driftless=trace",
    };
    let read = |text: &str| EnvFilter::try_new(format!("{text},{LOG_CAP}"));
    let (filter, trouble) = match asked.map(read) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (
            read(default).unwrap_or_default(),
            Some(format!(
                "DRIFTLESS_LOG is not a log filter ({error}); `info` or `driftless=debug` are"
            )),
        ),
        None => (read(default).unwrap_or_default(), None),
    };
    (filter, trouble)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_stands_behind_whatever_is_asked_for() {
        for asked in [None, Some("trace"), Some("bollard=trace"), Some("[[")] {
            let (filter, _) = filter(asked, 3);
            let text = filter.to_string();
            assert!(
                !text.contains("bollard=trace") && text.contains("bollard="),
                "{asked:?}: {text}"
            );
        }
    }

    #[test]
    fn a_wrong_filter_is_said() {
        assert!(filter(Some("driftless=loud"), 0).1.is_some());
        assert!(filter(Some("driftless=debug"), 0).1.is_none());
    }
}
