use std::collections::BTreeSet;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::sys::op_name;

/// Returns a pointer to this address, without memory behind it.
pub(super) fn at<T>(address: usize) -> *mut T {
    core::ptr::without_provenance_mut(address)
}

/// Declares one test for each builder. It compares all 64 bytes of the entry; fields that are not
/// named must be zero.
macro_rules! entries {
    ($($name:ident: $builder:expr => { $($field:ident: $value:expr),* };)*) => { $(
        #[test]
        fn $name() {
            let expected = $crate::squeue::Sqe { $($field: $value,)* ..$crate::squeue::Sqe::ZERO };
            assert_eq!($builder.build().into_raw(), expected);
        }
    )* };
}
pub(super) use entries;

/// What [`operations!`] declares about an operation.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) code: u8,
    pub(super) kernel: &'static str,
    pub(super) since: &'static str,
    pub(super) doc: &'static [&'static str],
}

/// The topics, in the order of the documentation.
const TOPICS: [(&str, &[Row]); 15] = [
    ("Reading and writing", rw::ROWS),
    ("Open files", file::ROWS),
    ("Paths", fs::ROWS),
    ("Pipes", pipe::ROWS),
    ("Sockets", net::ROWS),
    ("Sending", net::send::ROWS),
    ("Receiving", net::recv::ROWS),
    ("Readiness", poll::ROWS),
    ("Timeouts", timeout::ROWS),
    ("Futexes", futex::ROWS),
    ("Processes", process::ROWS),
    ("Provided buffers", buffer::ROWS),
    ("Registered files", slot::ROWS),
    ("Rings", ring::ROWS),
    ("Commands", cmd::ROWS),
];

impl Row {
    /// Returns the list item of the documentation that begins with `- **Key:**`, as one line.
    fn item(&self, key: &str) -> String {
        let doc = self.doc.join("\n");
        let start = format!("- **{key}:** ");
        let Some((_, item)) = doc.split_once(&start) else { panic!("{} has no {key}", self.name) };
        let item = item.split("\n - ").next().unwrap();
        item.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Returns `name(section)` with its link, if the documentation has one.
    fn man_page(&self) -> Option<String> {
        let mut lines = self.doc.iter().map(|line| line.trim());
        let line = lines.find(|line| line.starts_with("[`") && line.contains("]: "))?;
        let (name, link) = line.split_once(": ")?;
        Some(format!("{name}({link})"))
    }

    fn line(&self) -> String {
        // The details stay in the documentation of the operation.
        let brief = |text: &str| text.split([',', ';']).next().unwrap_or_default().to_string();
        let (name, since, result) = (self.name, brief(self.since), brief(&self.item("Result")));
        let man_page = self.man_page().unwrap_or_default();
        format!("| [`{name}`] | {since} | {man_page} | {result} |\n")
    }
}

fn table() -> String {
    let mut table = String::new();
    for (title, rows) in TOPICS {
        table += &format!("## {title}\n\n");
        table += "| operation | since Linux | like | result |\n|---|---|---|---|\n";
        table.extend(rows.iter().map(Row::line));
        table += "\n";
    }
    table.trim_end().to_string() + "\n"
}

#[test]
fn the_table_matches_the_operations() {
    let table = table();
    assert!(
        include_str!("table.md") == table,
        "src/opcode/table.md is out of date; its contents must be:\n\n{table}"
    );
}

#[test]
fn every_number_has_a_builder_with_the_right_name() {
    let rows = TOPICS.iter().flat_map(|(_, rows)| *rows);
    let codes: BTreeSet<u8> = rows.clone().map(|row| row.code).collect();
    assert!(codes.into_iter().eq((0..).take_while(|code| op_name(*code).is_some())));
    let names: BTreeSet<&str> = rows.clone().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.clone().count());
    for row in rows {
        assert_eq!(op_name(row.code), Some(row.kernel), "{}", row.name);
    }
}

#[test]
fn an_operation_is_as_old_as_its_oldest_form() {
    let release = |since: &str| -> (u32, u32) {
        let (major, minor) = since.split([',', ';']).next().unwrap().split_once('.').unwrap();
        (major.parse().unwrap(), minor.parse().unwrap())
    };
    for code in 0..=u8::MAX {
        let forms = TOPICS.iter().flat_map(|(_, rows)| *rows).filter(|row| row.code == code);
        let oldest = forms.map(|row| release(row.since)).min();
        assert_eq!(since(code).map(release), oldest, "{code}");
    }
}
