//! `public-api.txt` lists everything that the crate promises, so that a change of it shows in a diff
//! that says whether it breaks programs. If you mean to change it:
//!
//! ```sh
//! BLESS=1 cargo test -p io-uring-test --test public_api
//! ```
//!
//! The listing is in the format of `cargo public-api`. It is derived from rustdoc's JSON, which is
//! unstable: the stable compiler writes it only with `RUSTC_BOOTSTRAP`.

use std::collections::BTreeSet;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

const LISTING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/public-api.txt");

/// Internal traits of the compiler. Programs cannot name them, and they change between versions.
const INTERNAL: [&str; 3] =
    ["core::marker::Freeze", "core::marker::StructuralPartialEq", "core::marker::UnsafeUnpin"];

/// A task-bound ring must not leave its task. Only the absence of these two traits ensures that.
const BOUND: [&str; 2] = [
    "impl !core::marker::Send for rustix_uring::Local",
    "impl !core::marker::Sync for rustix_uring::Local",
];

#[test]
fn surface_is_what_was_agreed_on() -> Result<()> {
    let without = BTreeSet::from_iter(surface("--no-default-features")?);
    let all = surface("--all-features")?;
    let lost: Vec<_> = without.iter().filter(|line| !all.contains(line)).collect();
    ensure!(lost.is_empty(), "items that disappear when features are enabled: {lost:#?}");
    for promise in BOUND {
        ensure!(all.iter().any(|line| line == promise), "missing: {promise}");
    }
    let mut listing = String::new();
    for line in &all {
        listing.push_str(line);
        if !without.contains(line) {
            listing.push_str(" // with a feature");
        }
        listing.push('\n');
    }
    if env::var_os("BLESS").is_some() {
        return Ok(fs::write(LISTING, listing)?);
    }
    let agreed = fs::read_to_string(LISTING).context("public-api.txt")?;
    let (old, new): (BTreeSet<_>, BTreeSet<_>) =
        (agreed.lines().collect(), listing.lines().collect());
    for line in old.difference(&new) {
        println!("- {line}");
    }
    for line in new.difference(&old) {
        println!("+ {line}");
    }
    ensure!(
        agreed == listing,
        "the public API has changed; if that is intended, run this test with BLESS=1"
    );
    Ok(())
}

/// The public items, one per line.
fn surface(features: &str) -> Result<Vec<String>> {
    // Uses a folder separate from other builds, and from the other feature set.
    let target = format!("{}/public-api{features}", env!("CARGO_TARGET_TMPDIR"));
    let rustdoc = Command::new(env!("CARGO"))
        .args(["rustdoc", "--quiet", "--package", "rustix-uring", "--lib", features])
        .args(["--target-dir", &target, "--", "-Zunstable-options", "--output-format=json"])
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()?;
    let errors = String::from_utf8_lossy(&rustdoc.stderr);
    ensure!(rustdoc.status.success(), "cargo: {errors}");
    let api = public_api::Builder::from_rustdoc_json(target + "/doc/rustix_uring.json")
        .omit_blanket_impls(true)
        .build()
        .context("cannot read rustdoc's JSON; try a version of the `public-api` crate that supports this rustdoc")?;
    let lines: Vec<_> = api
        .items()
        // Without std, the descriptor types are those of rustix.
        .map(|item| item.to_string().replace("rustix::maybe_polyfill::os::", "std::os::"))
        .filter(|line| !INTERNAL.iter().any(|name| line.contains(name)))
        .collect();
    ensure!(lines.len() > 1000, "only {} lines", lines.len());
    Ok(lines)
}
