//! Compares the public API of the crates that programs migrate from with ours. Every item has the same
//! name and accepts the same types in both crates, or a row in the tables of the crate's guide. A row
//! that is no longer a difference fails the test, too.
//!
//! Their API is what `cargo public-api` lists. Ours is the recorded `public-api.txt`.

mod io_uring;
mod rustix_uring_06;
mod signature;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs, io};

use anyhow::{Context, Result, ensure};
use regex::Regex;

use self::signature::{Items, Signature};

/// A crate that programs migrate from.
struct Peer {
    package: &'static str,
    /// The version that the guide describes.
    version: &'static str,
    guide: &'static str,
    /// The number of items that a complete listing exceeds.
    at_least: usize,
    rules: &'static [Rule],
}

/// A difference that occurs throughout a crate.
struct Rule {
    /// How the first two cells of its row begin.
    row: [&'static str; 2],
    apply: fn(path: &str, item: &mut Signature) -> Applied,
}

/// What a rule has done to an item.
enum Applied {
    /// The rule does not concern the item.
    Not,
    /// The item now has the form that it has in this crate.
    Translated,
    /// The item is itself the difference.
    IsDifference,
}

impl Applied {
    fn translated_if(done: bool) -> Self {
        if done { Self::Translated } else { Self::Not }
    }
}

/// Replaces the type of each argument that equals `theirs`.
fn replace_arguments(item: &mut Signature, theirs: &str, ours: &str) -> Applied {
    let mut done = false;
    for argument in item.arguments.iter_mut().filter(|it| *it == theirs) {
        *argument = ours.to_owned();
        done = true;
    }
    Applied::translated_if(done)
}

const FIXED: Rule = Rule {
    row: ["`impl UseFixed`", "`impl Target`"],
    apply: |_, item| replace_arguments(item, "impl UseFixed", "impl Target"),
};

const FD: Rule = Rule {
    row: ["`impl UseFd`", "`impl Descriptor`"],
    apply: |_, item| replace_arguments(item, "impl UseFd", "impl Descriptor"),
};

const SETTERS: Rule = Rule {
    row: ["`const fn` setters", "`fn` setters"],
    apply: |path, item| {
        let is_setter = path.starts_with("opcode::") && item.kind == "const fn";
        if is_setter {
            item.kind = "fn".to_owned();
        }
        Applied::translated_if(is_setter)
    },
};

const ORDER: Rule = Rule {
    row: ["`Ord` and `PartialOrd` of flags", "–"],
    apply: |path, _| {
        let of = path.strip_prefix("impl Ord for ").or(path.strip_prefix("impl PartialOrd for "));
        match of {
            Some(of) if of.ends_with("Flags") => Applied::IsDifference,
            _ => Applied::Not,
        }
    },
};

impl Peer {
    /// The public items of the crate.
    fn items(&self) -> Result<Items> {
        let Self { package, version, .. } = self;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(package);
        // cargo does not document the development dependencies of another package. So this package
        // has an ordinary dependency.
        fs::create_dir_all(folder.join("src"))?;
        let manifest = format!(
            "[package]\nname = \"client\"\nedition = \"2024\"\n\n[dependencies]\n{package} = \"={version}\"\n\n[workspace]\n"
        );
        fs::write(folder.join("Cargo.toml"), manifest)?;
        fs::write(folder.join("src/lib.rs"), "")?;
        fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"), folder.join("Cargo.lock"))?;
        // Only the benchmarks depend on rustix-uring 0.6, so cargo may not have its sources yet. (As a
        // dependency of this package, it would make `-p rustix-uring -p io-uring-test` ambiguous.)
        let mut rustdoc = self.rustdoc(&folder, &["--offline"])?;
        if !rustdoc.status.success() {
            rustdoc = self.rustdoc(&folder, &[])?;
        }
        let errors = String::from_utf8_lossy(&rustdoc.stderr);
        ensure!(rustdoc.status.success(), "cargo: {errors}");
        let library = package.replace('-', "_");
        let json = folder.join("target/doc").join(&library).with_extension("json");
        let api =
            public_api::Builder::from_rustdoc_json(json).omit_blanket_impls(true).build().context(
                "cannot read rustdoc's JSON; try a version of the `public-api` crate that supports this rustdoc",
            )?;
        let items = signature::items(api.items().map(ToString::to_string), &library)?;
        ensure!(
            items.len() > self.at_least,
            "the listing of {package} has only {} items",
            items.len()
        );
        Ok(items)
    }

    fn rustdoc(&self, folder: &Path, network: &[&str]) -> io::Result<Output> {
        Command::new(env!("CARGO"))
            .args(["rustdoc", "--quiet", "--package", self.package, "--lib"])
            .args(network)
            .args(["--target-dir", "target", "--", "-Zunstable-options", "--output-format=json"])
            .env("RUSTC_BOOTSTRAP", "1")
            .current_dir(folder)
            .output()
    }

    /// The rows of the guide's tables: theirs, ours, why.
    fn rows(&self) -> Result<Vec<[&'static str; 3]>> {
        let (_, tables) = self
            .guide
            .split_once("\n# Every difference\n")
            .context("the guide has no section `Every difference`")?;
        let rows = tables.lines().filter(|line| line.starts_with("| `"));
        rows.map(|row| {
            let row = row.strip_prefix('|').and_then(|row| row.strip_suffix('|')).unwrap_or(row);
            let cells: Vec<_> = row.split(" | ").map(str::trim).collect();
            cells[..].try_into().with_context(|| format!("not three cells: {row}"))
        })
        .collect()
    }

    /// Applies the rules to an item of theirs. Returns `None` if the item is itself a difference that
    /// has a rule.
    fn translated(
        &self,
        path: &str,
        item: &Signature,
        used: &mut BTreeSet<&'static str>,
    ) -> Option<Signature> {
        let mut item = item.clone();
        for rule in self.rules {
            let applied = (rule.apply)(path, &mut item);
            if !matches!(applied, Applied::Not) {
                used.insert(rule.row[0]);
            }
            if matches!(applied, Applied::IsDifference) {
                return None;
            }
        }
        Some(item)
    }

    /// The rows that the guide must have: their cell, and our cell if we have an item of that name.
    fn differences(&self, theirs: &Items, ours: &Items) -> BTreeMap<String, Option<String>> {
        let mut used = BTreeSet::new();
        let mut rows = BTreeMap::new();
        for (path, item) in theirs {
            let Some(same) = self.translated(path, item, &mut used) else { continue };
            if let Some(place) = place(ours, path) {
                let other = &ours[&*place];
                if !same.compatible(other, ours) {
                    let cell = other.row(&place, other, Some(&same), ours);
                    let link = format!("[`{cell}`](crate::{place})");
                    rows.insert(
                        format!("`{}`", item.row(path, &same, Some(other), ours)),
                        Some(link),
                    );
                }
            } else if !belongs_to_missing(theirs, ours, path) {
                rows.insert(format!("`{}`", item.row(path, &same, None, ours)), None);
            }
        }
        let unused =
            self.rules.iter().map(|rule| rule.row[0]).find(|theirs| !used.contains(theirs));
        assert_eq!(unused, None, "this rule changes no item of {}: remove it", self.package);
        rows
    }

    /// Checks that every difference is a row, and that every row is a difference.
    fn compare(&self) -> Result<()> {
        let wanted = self.differences(&self.items()?, &ours()?);
        let rows = self.rows()?;
        let has_rule = |row: &[&str; 3]| {
            self.rules.iter().any(|Rule { row: [theirs, here], .. }| {
                row[0].starts_with(theirs) && row[1].starts_with(here)
            })
        };
        let is_wanted = |row: &[&str; 3]| match wanted.get(row[0]) {
            Some(Some(ours)) => row[1] == ours,
            Some(None) => true,
            None => has_rule(row),
        };
        let is_there = |theirs: &str| rows.iter().any(|row| row[0] == theirs && is_wanted(row));
        let mut wrong = Vec::new();
        for (theirs, ours) in &wanted {
            if !is_there(theirs) {
                wrong.push(format!("missing: | {theirs} | {} | |", ours.as_deref().unwrap_or("–")));
            }
        }
        for Rule { row: [theirs, here], .. } in self.rules {
            if !rows.iter().any(|row| row[0].starts_with(theirs) && row[1].starts_with(here)) {
                wrong.push(format!("missing: | {theirs} | {here} | |"));
            }
        }
        for row in rows.iter().filter(|row| !is_wanted(row)) {
            wrong.push(format!("no difference (any more): | {} |", row.join(" | ")));
        }
        ensure!(
            wrong.is_empty(),
            "{} rows are missing, wrong or superfluous:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        Ok(())
    }
}

fn ours() -> Result<Items> {
    let listing = fs::read_to_string("tests/public-api.txt")?;
    signature::items(listing.lines().map(str::to_owned), "rustix_uring")
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

#[test]
fn the_guide_lists_every_difference_from_io_uring() -> Result<()> {
    io_uring::PEER.compare()
}

#[test]
fn the_guide_lists_every_difference_from_rustix_uring_06() -> Result<()> {
    rustix_uring_06::PEER.compare()
}

/// Each row has a reason, and names items that exist. `cargo doc` checks the links themselves.
#[test]
fn rows_have_reasons_and_name_what_exists() -> Result<()> {
    let ours = ours()?;
    let link = Regex::new(r"\[`[^`]+`\]\(crate::([\w:]+)(?:\(\))?\)")?;
    let peers = [&io_uring::PEER, &rustix_uring_06::PEER];
    let rows: Vec<_> = peers.into_iter().map(Peer::rows).collect::<Result<_>>()?;
    for [theirs, here, why] in rows.into_iter().flatten() {
        ensure!(!why.is_empty(), "{theirs} has no reason");
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
