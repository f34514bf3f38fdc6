//! Version 0.6 of this crate.

use super::{Applied, FD, FIXED, ORDER, Peer, Rule, SETTERS, replace_arguments};
use crate::signature::Signature;

pub(super) const PEER: Peer = Peer {
    package: "rustix-uring",
    version: "0.6.0",
    guide: include_str!("../../../src/docs/from_0_6.md"),
    at_least: 500,
    rules: &[OPCODES, USER_DATA, COMPLETION_FLAGS, FIXED, FD, SETTERS, ORDER],
};

/// Replaces the type of each argument, result or constant that equals `theirs`.
fn replace(item: &mut Signature, theirs: &str, ours: &str) -> Applied {
    let result = item.result == theirs;
    if result {
        item.result = ours.to_owned();
    }
    match replace_arguments(item, theirs, ours) {
        Applied::Not => Applied::translated_if(result),
        applied => applied,
    }
}

const OPCODES: Rule =
    Rule { row: ["`IoringOp`", "`u8`"], apply: |_, item| replace(item, "IoringOp", "u8") };

const USER_DATA: Rule = Rule {
    row: ["`io_uring_user_data`", "`u64`"],
    apply: |_, item| match replace_arguments(item, "impl Into<io_uring_user_data>", "u64") {
        Applied::Not => replace(item, "io_uring_user_data", "u64"),
        applied => applied,
    },
};

const COMPLETION_FLAGS: Rule = Rule {
    row: ["`cqueue::Flags`", "`u32`"],
    apply: |path, item| match path.starts_with("cqueue::") {
        true => replace(item, "Flags", "u32"),
        false => Applied::Not,
    },
};
