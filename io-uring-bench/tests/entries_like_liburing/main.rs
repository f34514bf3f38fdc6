//! Compares the entries of our builders with those of liburing, byte by byte.
//!
//! ```sh
//! cargo test --release -p io-uring-bench --features liburing --test entries_like_liburing
//! ```
//!
//! The test calls liburing's own functions, compiled from C: its build also puts the inline
//! functions of `liburing.h` into `liburing-ffi.a`. The test does not use the translation to Rust
//! that `axboe-liburing` also contains.
//!
//! [`table`] has a row for each function, and the reason for every difference.

mod argument;
mod header;
mod layout;
mod row;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use crate::header::Header;
use crate::row::Row;
use crate::table::{EXCEPTIONS, rows};

/// The minimum number of argument tuples that each row compares.
const TUPLES: u32 = 4_000;

#[test]
fn every_entry_is_that_of_liburing() {
    let mut tuples = 0;
    let mut differences = BTreeMap::<&str, BTreeSet<&str>>::new();
    let mut failures = Vec::new();
    for row in rows() {
        match row.compare(TUPLES) {
            Ok(tally) => {
                tuples += tally.compared();
                for (reason, count) in tally.differences() {
                    if count > 0 {
                        differences.entry(reason).or_default().insert(row.name);
                    } else {
                        failures
                            .push(format!("{}: this exception never applies: {reason}", row.name));
                    }
                }
            }
            Err(failure) => failures.push(failure),
        }
    }
    let functions: BTreeSet<_> = rows().iter().map(|row| row.name).collect();
    println!(
        "Compared {} functions with {tuples} tuples. Documented differences:",
        functions.len()
    );
    for (reason, functions) in differences {
        println!("- {reason}: {}", Vec::from_iter(functions).join(", "));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_function_has_a_row_with_its_signature() {
    let header = Header::read();
    let theirs = header.functions();
    assert!(theirs.len() > 100, "{theirs:?}");
    let with_row: BTreeSet<_> = rows().iter().map(|row| row.name).collect();
    let without: BTreeSet<_> = EXCEPTIONS.iter().map(|&(name, _)| name).collect();
    assert!(
        with_row.is_disjoint(&without),
        "functions with both a row and an exception: {without:?}"
    );
    let ours: BTreeSet<_> = with_row.union(&without).copied().collect();
    assert_eq!(
        theirs.difference(&ours).collect::<Vec<_>>(),
        [&""; 0],
        "functions without a row or an exception"
    );
    assert_eq!(
        ours.difference(&theirs).collect::<Vec<_>>(),
        [&""; 0],
        "rows for functions that the header lacks"
    );
    for row in rows() {
        assert_eq!(header.signature(row.name), row.signature(), "{}", row.name);
    }
}

/// The builders that `guide::from_liburing` names for a function are those that its rows use.
#[test]
fn the_guide_names_what_is_compared() {
    let guide = include_str!("../../../src/docs/from_liburing.md");
    for name in Header::read().functions() {
        let line = guide.lines().find_map(|line| line.strip_prefix(&format!("| `{name}` | ")));
        let cell = line.and_then(|line| line.split('|').next()).expect(name);
        let words: BTreeSet<_> =
            rows().iter().filter(|row| row.name == name).flat_map(Row::words).collect();
        let named = cell.split('`').skip(1).step_by(2);
        for word in named.flat_map(|path| path.split("::").skip(1)) {
            assert!(words.contains(word), "{name}: the guide names {word}, the rows do not");
        }
    }
}
