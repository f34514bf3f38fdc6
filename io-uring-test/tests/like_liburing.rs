//! Who comes from liburing finds all of its functions in `guide::from_liburing`, each with what does
//! the same here, or with the reason why nothing does.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};
use cargo_metadata::{CargoOpt, MetadataCommand};
use regex::Regex;

/// Their function, what it is here, and what is to be said of that.
fn rows() -> impl Iterator<Item = [&'static str; 3]> {
    let lines = include_str!("../../src/docs/from_liburing.md").lines();
    lines.filter_map(|line| line.strip_prefix("| `")?.strip_suffix('|')).map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [theirs, ours, why] = cells[..] else { panic!("not three cells: {row}") };
        [theirs.trim_end_matches('`'), ours, why]
    })
}

/// The functions of liburing that are for programs, as the header has them that the benchmark is
/// built with.
fn theirs() -> Result<BTreeSet<String>> {
    let metadata = MetadataCommand::new().features(CargoOpt::AllFeatures).exec()?;
    let is_it = |package: &&cargo_metadata::Package| *package.name == "axboe-liburing";
    let package =
        metadata.packages.iter().find(is_it).context("axboe-liburing is no dependency")?;
    let folder = package.manifest_path.parent().context("a manifest lies in a folder")?;
    let header = fs::read_to_string(folder.join("src/include/liburing.h"))?;
    let header = Regex::new(r"(?s)/\*.*?\*/")?.replace_all(&header, "");
    let function = Regex::new(r"\b(io_uring_\w+)\s*\(")?;
    Ok(function.captures_iter(&header).map(|found| found[1].to_owned()).collect())
}

/// Everything that is public here, without `rustix_uring::` before it; and whether it wants a
/// feature.
fn ours() -> Result<BTreeSet<(String, bool)>> {
    let of_type =
        Regex::new(r"^impl(?:<.*?>)? ([\w:]+)(?:<.*>)?: pub (?:const |unsafe )*(?:fn )?(\w+)")?;
    let alone = Regex::new(r"^pub (?:const |unsafe )*(?:struct |enum |fn |const |trait )([\w:]+)")?;
    let listing = fs::read_to_string("../public-api.txt")?;
    let name = |line: &str| {
        let found = of_type.captures(line).map(|found| format!("{}::{}", &found[1], &found[2]));
        found
            .or_else(|| alone.captures(line).map(|found| found[1].trim_end_matches(':').to_owned()))
    };
    Ok(listing.lines().filter_map(|line| Some((name(line)?, line.ends_with("feature")))).collect())
}

#[test]
fn no_function_of_liburing_is_left_out() -> Result<()> {
    let theirs = theirs()?;
    assert!(theirs.len() > 200, "{theirs:?}");
    let rows: BTreeSet<_> = rows().map(|[theirs, ..]| theirs.to_owned()).collect();
    assert_eq!(theirs.difference(&rows).collect::<Vec<_>>(), [""; 0], "not in the tables");
    assert_eq!(rows.difference(&theirs).collect::<Vec<_>>(), [""; 0], "not in liburing");
    Ok(())
}

/// What is in every build is linked to, what wants a feature is not: the link would be broken
/// without.
#[test]
fn everything_named_is_there() -> Result<()> {
    let ours = ours()?;
    let linked = Regex::new(r"\[`([\w:]+)`\]\(crate::([\w:]+)\)")?;
    let plain = Regex::new(r"`([\w:]+)`")?;
    let mut checked = 0;
    for [theirs, here, why] in rows() {
        if here == "–" {
            assert!(!why.is_empty(), "{theirs} has no reason for being missing");
            continue;
        }
        for name in here.split(", ") {
            let found = match linked.captures(name) {
                Some(link) => {
                    assert_eq!(link[1], link[2], "{theirs}");
                    (link[1].to_owned(), false)
                }
                None => {
                    assert!(why.contains("`raw-syscall`"), "{theirs}: {name} is not linked to");
                    (
                        plain.captures(name).with_context(|| format!("{theirs}: {name}"))?[1]
                            .to_owned(),
                        true,
                    )
                }
            };
            assert!(ours.contains(&found), "{theirs}: there is no {found:?}");
            checked += 1;
        }
    }
    assert!(checked > 200, "{checked}");
    Ok(())
}
