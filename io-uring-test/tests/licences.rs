//! Whoever builds the crate, its tests, its benchmark or its examples takes in no licence that asks
//! for more than attribution.

use anyhow::{Result, ensure};
use cargo_metadata::MetadataCommand;

/// Each allows everything, as long as its text and the names of the authors are kept.
const ALLOWED: [&str; 6] =
    ["Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "Unicode-3.0"];

/// Whether an SPDX expression can be complied with by what is allowed.
fn is_allowed(expression: &str) -> bool {
    let mut words = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    words.push_str(" )");
    let mut words = words.split_whitespace().peekable();
    any_of(&mut words)
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>) -> bool {
    let mut allowed = all_of(words);
    while words.next_if_eq(&"OR").is_some() {
        allowed |= all_of(words);
    }
    words.next() == Some(")") && allowed
}

fn all_of(words: &mut Words<'_>) -> bool {
    let mut allowed = one(words);
    while words.next_if_eq(&"AND").is_some() {
        allowed &= one(words);
    }
    allowed
}

fn one(words: &mut Words<'_>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        return any_of(words);
    }
    let allowed = words.next().is_some_and(|name| ALLOWED.contains(&name));
    if words.next_if_eq(&"WITH").is_some() {
        // Exceptions take nothing away.
        words.next();
    }
    allowed
}

#[test]
fn expressions() {
    for allowed in [
        "MIT",
        "MIT OR GPL-3.0",
        "GPL-3.0 OR MIT",
        "MIT/Apache-2.0",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
    ] {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND MPL-2.0", "MIT MIT", "(MIT"]
    {
        assert!(!is_allowed(refused), "{refused}");
    }
}

/// All packages of the lock file, for every target and feature.
#[test]
fn all_packages() -> Result<()> {
    let manifests = ["../Cargo.toml", "../examples/freestanding/Cargo.toml"];
    for manifest in manifests {
        let metadata = MetadataCommand::new()
            .manifest_path(manifest)
            .features(cargo_metadata::CargoOpt::AllFeatures)
            .other_options(["--locked".to_owned()])
            .exec()?;
        ensure!(metadata.packages.len() > 5, "{manifest} has next to no packages");
        for package in &metadata.packages {
            let licence = package.license.as_deref().unwrap_or_default();
            ensure!(is_allowed(licence), "{} is under {licence:?}", package.name);
        }
    }
    Ok(())
}
