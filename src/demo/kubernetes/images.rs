//! Which image the containers of the demo run.
//!
//! In: a text of the example. Out: the same with other images. Guaranteed: a container does the same with one image that
//! holds this program as with the demo's own images, which bring their role and their version along. Must not: change
//! anything else of the text.

use crate::demo::images::{IMAGES, Image, PREFIX};

/// What every image that holds this program can be asked to run, wherever it lies in it.
const COMMAND: [&str; 2] = ["driftless", "demo-server"];

/// `text` with each of the demo's images replaced by `reference`, which is told what to do instead.
pub(super) fn with_image(text: &str, reference: &str) -> String {
    let mut lines = text.lines().peekable();
    let mut out = String::new();
    while let Some(line) = lines.next() {
        let Some((indent, image)) = image_of(line) else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let mut add = |key: &str, value: &str| out.push_str(&format!("{indent}{key}: {value}\n"));
        add("image", &quoted(reference));
        add("command", &list(COMMAND));
        let own_arguments = lines
            .peek()
            .is_some_and(|next| next.trim_start().starts_with("args:"));
        if !own_arguments {
            add("args", &list(image.role().iter().copied()));
        }
        if !image.variables().is_empty() {
            let variables = image
                .variables()
                .iter()
                .map(|(name, value)| format!("{{ name: {}, value: {} }}", quoted(name), quoted(value)));
            add("env", &format!("[{}]", variables.collect::<Vec<_>>().join(", ")));
        }
    }
    out
}

/// The indent and the image of a line that names one of the demo's.
fn image_of(line: &str) -> Option<(&str, &'static Image)> {
    let (indent, name) = line.split_once("image: ")?;
    let name = name.strip_prefix(PREFIX)?;
    let image = IMAGES.iter().find(|image| image.name == name)?;
    indent.trim().is_empty().then_some((indent, image))
}

fn list<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let quoted: Vec<String> = texts.into_iter().map(quoted).collect();
    format!("[{}]", quoted.join(", "))
}

/// A JSON string is a YAML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::example::KUBERNETES;

    #[test]
    fn one_image_is_told_what_the_others_bring_along() {
        let text =
            "      - name: app\n        image: localhost/driftless-demo/web:1.9.0\n        ports: []\n";
        assert_eq!(
            with_image(text, "r.example/x:1"),
            "      - name: app\n        image: \"r.example/x:1\"\n        command: [\"driftless\", \"demo-server\"]\n        args: [\"web\"]\n        \
             env: [{ name: \"SHOP_VERSION\", value: \"1.9.0\" }, { name: \"SHOP_REQUIRES\", value: \"SHOP_CURRENCY\" }]\n        ports: []\n"
        );
        let text = "image: localhost/driftless-demo/web:1.8.2\nargs: [migrate]\n";
        assert!(with_image(text, "x").ends_with("value: \"1.8.2\" }]\nargs: [migrate]\n"));
        assert_eq!(with_image("a: b\n", "x"), "a: b\n");
    }

    #[test]
    fn no_image_of_the_example_is_missed() {
        for (path, text) in KUBERNETES.iter().filter(|(path, _)| path.ends_with(".yaml")) {
            let own = with_image(text, "r.example/x:1");
            assert!(!own.contains(PREFIX), "{path}");
        }
    }
}
