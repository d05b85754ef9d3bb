//! The example repositories, as they were when the program was built.
//!
//! In: `examples/`. Out: paths and texts. Guaranteed: every file of the examples is here (a test holds them together). Must
//! not: change a byte.

/// The files of one repository: path and text.
pub type Files = &'static [(&'static str, &'static str)];

macro_rules! files {
    ($root:literal: $($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../examples/", $root, "/", $path)))),+]
    };
}

/// `examples/repo`: Compose files.
pub const DOCKER: Files = files!("repo":
    "README.md",
    "driftless.yaml",
    "apps/web/.env",
    "apps/web/compose.yaml",
    "apps/web/proxy.conf",
    "apps/jobs/compose.yaml",
);

/// `examples/kubernetes`: plain manifests, a kustomization, a chart.
pub const KUBERNETES: Files = files!("kubernetes":
    "README.md",
    "driftless.yaml",
    "apps/shop/settings.yaml",
    "apps/shop/database.yaml",
    "apps/shop/app.yaml",
    "apps/shop/proxy.yaml",
    "apps/shop/report.yaml",
    "apps/status/base/kustomization.yaml",
    "apps/status/base/deployment.yaml",
    "apps/status/overlays/prod/kustomization.yaml",
    "apps/status/overlays/prod/resources.yaml",
    "apps/catalogue/Chart.yaml",
    "apps/catalogue/values.yaml",
    "apps/catalogue/values-prod.yaml",
    "apps/catalogue/templates/job.yaml",
);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::images::{IMAGES, PREFIX};
    use super::*;

    fn files(folder: &Path, below: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, below, found);
            } else {
                found.push(path.strip_prefix(below).unwrap().to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn the_program_holds_every_file_of_the_examples() {
        for (name, example) in [("repo", DOCKER), ("kubernetes", KUBERNETES)] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
            let mut found = Vec::new();
            files(&folder, &folder, &mut found);
            found.sort();
            let mut known: Vec<&str> = example.iter().map(|(path, _)| *path).collect();
            known.sort_unstable();
            assert_eq!(found, known);
        }
    }

    #[test]
    fn every_image_of_the_examples_is_made() {
        let mut named = 0;
        for (path, text) in DOCKER.iter().chain(KUBERNETES) {
            for name in text
                .split(PREFIX)
                .skip(1)
                .map(|rest| rest.split([' ', '\n', '`', '…']).next().unwrap())
                .filter(|name| !name.is_empty())
            {
                named += 1;
                assert!(
                    IMAGES.iter().any(|image| image.name == name),
                    "{path} wants {name}"
                );
            }
        }
        assert!(named > 10, "{named}");
    }
}
