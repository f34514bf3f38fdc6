//! `io-uring` 0.7.16.

use super::{Applied, FD, FIXED, ORDER, Peer, Rule, SETTERS};

pub(super) const PEER: Peer = Peer {
    package: "io-uring",
    version: "0.7.16",
    guide: include_str!("../../../src/docs/from_io_uring.md"),
    at_least: 600,
    rules: &[RESULT, FIXED, FD, SETTERS, ORDER],
};

const RESULT: Rule = Rule {
    row: ["`io::Result<T>`", "`Result<T, Errno>`"],
    apply: |_, item| {
        let of = item.result.strip_prefix("io::Result<").and_then(|it| it.strip_suffix('>'));
        let Some(of) = of else { return Applied::Not };
        item.result = format!("Result<{of}, Errno>");
        Applied::Translated
    },
};
