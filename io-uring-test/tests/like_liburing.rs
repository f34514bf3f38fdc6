//! `guide::from_liburing` lists every function of liburing, each with its equivalent here or with
//! the reason why there is none.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};
use cargo_metadata::{CargoOpt, MetadataCommand};
use regex::Regex;

/// The rows of the tables: the function, its equivalent, and a remark.
fn rows() -> impl Iterator<Item = [&'static str; 3]> {
    let lines = include_str!("../../src/docs/from_liburing.md").lines();
    lines.filter_map(|line| line.strip_prefix("| `")?.strip_suffix('|')).map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [theirs, ours, why] = cells[..] else { panic!("not three cells: {row}") };
        [theirs.trim_end_matches('`'), ours, why]
    })
}

/// The public functions of liburing, from the header with which the benchmark is built.
fn theirs() -> Result<BTreeSet<String>> {
    let metadata = MetadataCommand::new().features(CargoOpt::AllFeatures).exec()?;
    let is_it = |package: &&cargo_metadata::Package| *package.name == "axboe-liburing";
    let package = metadata
        .packages
        .iter()
        .find(is_it)
        .context("axboe-liburing is not among the dependencies")?;
    let folder =
        package.manifest_path.parent().context("the path of the manifest has no parent")?;
    let header = fs::read_to_string(folder.join("src/include/liburing.h"))?;
    let header = Regex::new(r"(?s)/\*.*?\*/")?.replace_all(&header, "");
    let function = Regex::new(r"\b(io_uring_\w+)\s*\(")?;
    Ok(function.captures_iter(&header).map(|found| found[1].to_owned()).collect())
}

/// All public items of this crate, without the prefix `rustix_uring::`, and whether each requires a
/// feature.
fn ours() -> Result<BTreeSet<(String, bool)>> {
    let item = Regex::new(
        r"^(?:#\[\S+\] )*pub (?:const |unsafe )*(struct |enum |trait )?(?:fn )?rustix_uring::([\w:]*\w)",
    )?;
    let listing = fs::read_to_string("tests/public-api.txt")?;
    let mut ours = BTreeSet::new();
    // A type that is public in two places is listed in both, but its methods only under one of the
    // names.
    let mut place = String::new();
    for line in listing.lines() {
        let plain = without_arguments(line);
        let Some(found) = item.captures(&plain) else { continue };
        let (is_type, path) = (found.get(1).is_some(), &found[2]);
        let feature = line.ends_with("feature");
        ours.insert((path.to_owned(), feature));
        if is_type {
            place = path.to_owned();
        } else if let Some((owner, method)) = path.rsplit_once("::") {
            if owner.rsplit("::").next() == place.rsplit("::").next() {
                ours.insert((format!("{place}::{method}"), feature));
            }
        }
    }
    Ok(ours)
}

/// A line of the listing without generic arguments.
fn without_arguments(line: &str) -> String {
    let mut depth = 0;
    let outside = |it: &char| {
        depth += i32::from(*it == '<') - i32::from(*it == '>');
        depth == 0 && *it != '>'
    };
    line.replace("->", "").chars().filter(outside).collect()
}

#[test]
fn no_function_of_liburing_is_left_out() -> Result<()> {
    let theirs = theirs()?;
    assert!(theirs.len() > 200, "{theirs:?}");
    let rows: BTreeSet<_> = rows().map(|[theirs, ..]| theirs.to_owned()).collect();
    assert_eq!(
        theirs.difference(&rows).collect::<Vec<_>>(),
        [""; 0],
        "functions that the tables lack"
    );
    assert_eq!(
        rows.difference(&theirs).collect::<Vec<_>>(),
        [""; 0],
        "functions that liburing lacks"
    );
    Ok(())
}

/// Items of every build are links. Items that require a feature are not: the link would be broken
/// without the feature.
#[test]
fn everything_named_is_there() -> Result<()> {
    let ours = ours()?;
    let linked = Regex::new(r"\[`([\w:]+)`\]\(crate::([\w:]+)\)")?;
    let plain = Regex::new(r"`([\w:]+)`")?;
    let mut checked = 0;
    for [theirs, here, why] in rows() {
        if here == "–" {
            assert!(!why.is_empty(), "{theirs}: the table gives no reason why it is missing");
            continue;
        }
        for name in here.split(", ") {
            let found = match linked.captures(name) {
                Some(link) => {
                    assert_eq!(link[1], link[2], "{theirs}");
                    (link[1].to_owned(), false)
                }
                None => {
                    assert!(why.contains("`raw-syscall`"), "{theirs}: {name} is not a link");
                    (
                        plain.captures(name).with_context(|| format!("{theirs}: {name}"))?[1]
                            .to_owned(),
                        true,
                    )
                }
            };
            assert!(ours.contains(&found), "{theirs}: this crate has no {found:?}");
            checked += 1;
        }
    }
    assert!(checked > 200, "{checked}");
    Ok(())
}
