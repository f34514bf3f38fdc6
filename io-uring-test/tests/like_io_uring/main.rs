//! Compares the public API of `io-uring` 0.7.16 with ours. Every item has the same name and the same
//! signature in both crates, or a row in the tables of `guide::from_io_uring`. A row that is no longer
//! a difference fails the test, too.
//!
//! Their API is what `cargo public-api` lists for `io-uring`. Ours is the recorded `public-api.txt`.

mod signature;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use regex::Regex;

use self::signature::{Items, Signature};

/// The version that the guide describes. It is a dependency, so cargo has its sources.
const VERSION: &str = "0.7.16";

const GUIDE: &str = include_str!("../../../src/docs/from_io_uring.md");

/// Differences that occur throughout the crate. Each has one row, whose first two cells begin with
/// these texts.
const EVERYWHERE: [[&str; 2]; 5] = [
    ["`io::Result<T>`", "`Result<T, Errno>`"],
    ["`impl UseFixed`", "`impl Target`"],
    ["`impl UseFd`", "`impl Descriptor`"],
    ["`const fn` setters", "`fn` setters"],
    ["`Ord` and `PartialOrd` of flags", "–"],
];

/// The public items of `io-uring`.
fn theirs() -> Result<Items> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("io-uring");
    // cargo does not document the development dependencies of another package. So this package has
    // `io-uring` as an ordinary dependency.
    fs::create_dir_all(folder.join("src"))?;
    let manifest = format!(
        "[package]\nname = \"client\"\nedition = \"2024\"\n\n[dependencies]\nio-uring = \"={VERSION}\"\n\n[workspace]\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::write(folder.join("src/lib.rs"), "")?;
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"), folder.join("Cargo.lock"))?;
    let rustdoc = Command::new(env!("CARGO"))
        .args(["rustdoc", "--quiet", "--offline", "--package", "io-uring", "--lib"])
        .args(["--target-dir", "target", "--", "-Zunstable-options", "--output-format=json"])
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(&folder)
        .output()?;
    let errors = String::from_utf8_lossy(&rustdoc.stderr);
    ensure!(rustdoc.status.success(), "cargo: {errors}");
    let api = public_api::Builder::from_rustdoc_json(folder.join("target/doc/io_uring.json"))
        .omit_blanket_impls(true)
        .build()
        .context("another rustdoc than the `public-api` crate knows? Try another version of it")?;
    signature::items(api.items().map(ToString::to_string), "io_uring")
}

fn ours() -> Result<Items> {
    let listing = fs::read_to_string("tests/public-api.txt")?;
    signature::items(listing.lines().map(str::to_owned), "rustix_uring")
}

/// The rows of the guide's tables: theirs, ours, why.
fn rows() -> Result<Vec<[&'static str; 3]>> {
    let (_, tables) = GUIDE.split_once("\n# Every difference\n").context("no such heading")?;
    let rows = tables.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        cells[..].try_into().with_context(|| format!("not three cells: {row}"))
    })
    .collect()
}

/// Applies the differences that occur throughout the crate to an item of theirs. Returns `None` if the
/// item is such a difference itself.
fn translated(
    path: &str,
    item: &Signature,
    used: &mut BTreeSet<&'static str>,
) -> Option<Signature> {
    let [result, fixed, fd, setters, order] = EVERYWHERE.map(|[theirs, _]| theirs);
    let mut item = item.clone();
    if let Some(rest) = item.result.strip_prefix("io::Result<") {
        item.result = format!("Result<{}, Errno>", rest.strip_suffix('>').unwrap_or(rest));
        used.insert(result);
    }
    for argument in &mut item.arguments {
        for (theirs, ours, name) in
            [("impl UseFixed", "impl Target", fixed), ("impl UseFd", "impl Descriptor", fd)]
        {
            if argument == theirs {
                *argument = ours.to_owned();
                used.insert(name);
            }
        }
    }
    if path.starts_with("opcode::") && item.kind == "const fn" {
        item.kind = "fn".to_owned();
        used.insert(setters);
    }
    let ordered = path.strip_prefix("impl Ord for ").or(path.strip_prefix("impl PartialOrd for "));
    if ordered.is_some_and(|of| of.ends_with("Flags")) {
        used.insert(order);
        return None;
    }
    Some(item)
}

/// Finds our counterpart of an item: under the same path, in the root (`register::Probe`), in a
/// supertrait, or in the type to which its type dereferences.
fn place<'a>(ours: &Items, path: &'a str) -> Option<Cow<'a, str>> {
    let of_root = path.strip_prefix("register::").filter(|it| it.contains("::"));
    let dereferences = ours.contains_key("impl Deref for cqueue::Entry32");
    let entry = dereferences.then(|| path.replace("Entry32", "Entry"));
    let above = path.replace("cqueue::EntryMarker::", "cqueue::Kind::");
    let candidates = [Some(path), of_root].into_iter().flatten().map(Cow::from);
    candidates
        .chain([above].into_iter().chain(entry).map(Cow::from))
        .find(|path| ours.contains_key(&**path))
}

/// Tells whether an item belongs to a type that this crate lacks, or only re-exports. Such a type has
/// a row, and its items have none.
fn belongs_to_missing(theirs: &Items, ours: &Items, path: &str) -> bool {
    let is_other = |it: &Signature| ["type", "use"].contains(&it.kind.as_str());
    if let Some((_, implementer)) = path.rsplit_once(" for ") {
        let is_it = |it: &str| it == implementer || it.ends_with(&format!("::{implementer}"));
        return !ours.iter().any(|(path, it)| is_it(path) && !is_other(it));
    }
    let owner = signature::parent(path);
    theirs.contains_key(owner) && ours.get(owner).is_none_or(is_other)
}

/// The rows that the guide must have: their cell, and our cell if we have an item of that name.
fn differences(theirs: &Items, ours: &Items) -> BTreeMap<String, Option<String>> {
    let mut used = BTreeSet::new();
    let mut rows = BTreeMap::new();
    for (path, item) in theirs {
        let Some(same) = translated(path, item, &mut used) else { continue };
        if let Some(place) = place(ours, path) {
            let other = &ours[&*place];
            if !same.compatible(other) {
                let link = format!("[`{}`](crate::{place})", other.row(&place, other, Some(&same)));
                rows.insert(format!("`{}`", item.row(path, &same, Some(other))), Some(link));
            }
        } else if !belongs_to_missing(theirs, ours, path) {
            rows.insert(format!("`{}`", item.row(path, &same, None)), None);
        }
    }
    let unused = EVERYWHERE.iter().find(|[theirs, _]| !used.contains(theirs));
    assert_eq!(unused, None, "is no difference any more");
    rows
}

#[test]
fn every_difference_is_a_row_and_every_row_is_a_difference() -> Result<()> {
    let (theirs, ours) = (theirs()?, ours()?);
    ensure!(theirs.len() > 600, "only {} items", theirs.len());
    let wanted = differences(&theirs, &ours);
    let rows = rows()?;
    let is_wanted = |row: &[&str; 3]| match wanted.get(row[0]) {
        Some(Some(ours)) => row[1] == ours,
        Some(None) => true,
        None => EVERYWHERE
            .iter()
            .any(|[theirs, here]| row[0].starts_with(theirs) && row[1].starts_with(here)),
    };
    let is_there = |theirs: &str| rows.iter().any(|row| row[0] == theirs && is_wanted(row));
    let mut wrong = Vec::new();
    for (theirs, ours) in &wanted {
        if !is_there(theirs) {
            wrong.push(format!("missing: | {theirs} | {} | |", ours.as_deref().unwrap_or("–")));
        }
    }
    for [theirs, here] in EVERYWHERE {
        if !rows.iter().any(|row| row[0].starts_with(theirs) && row[1].starts_with(here)) {
            wrong.push(format!("missing: | {theirs} | {here} | |"));
        }
    }
    for row in rows.iter().filter(|row| !is_wanted(row)) {
        wrong.push(format!("no difference (any more): | {} |", row.join(" | ")));
    }
    ensure!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// Each row has a reason, and names items that exist. `cargo doc` checks the links themselves.
#[test]
fn rows_have_reasons_and_name_what_exists() -> Result<()> {
    let ours = ours()?;
    let link = Regex::new(r"\[`[^`]+`\]\(crate::([\w:]+)(?:\(\))?\)")?;
    for [theirs, here, why] in rows()? {
        ensure!(!why.is_empty(), "{theirs} has no reason");
        ensure!(
            !why.starts_with("as above"),
            "{theirs}: repeat the reason, readers search the tables"
        );
        for found in link.captures_iter(here) {
            let path = &found[1];
            let owner = signature::parent(path);
            let reexported = owner == "sys"
                || ours.get(owner).is_some_and(|it| ["use", "type"].contains(&it.kind.as_str()));
            ensure!(ours.contains_key(path) || reexported, "{theirs}: there is no {path}");
        }
    }
    Ok(())
}
