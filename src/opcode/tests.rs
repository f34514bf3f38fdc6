use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;

/// A pointer to this address, and to nothing.
pub(super) fn at<T>(address: usize) -> *mut T {
    core::ptr::without_provenance_mut(address)
}

macro_rules! operations {
    ($($Name:ident)*) => { [$((stringify!($Name), $Name::CODE)),*] };
}
#[rustfmt::skip]
const OPERATIONS: [(&str, u8); 84] = operations! {
    Nop Nop128 AsyncCancel AsyncCancel2 MsgRingData MsgRingSendFd
    Read Write Readv Writev ReadFixed WriteFixed ReadvFixed WritevFixed ReadMulti
    Fsync SyncFileRange Fallocate Ftruncate Fadvise Madvise
    OpenAt OpenAt2 Close Statx RenameAt UnlinkAt MkDirAt SymlinkAt LinkAt
    GetXattr SetXattr FGetXattr FSetXattr
    Splice Tee Pipe
    Socket Bind Listen Accept AcceptMulti Connect Shutdown
    Send SendBundle SendZc SendMsg SendMsgZc
    Recv RecvMulti RecvBundle RecvMultiBundle RecvMsg RecvMsgMulti RecvZc
    PollAdd PollRemove PollUpdate EpollCtl EpollWait
    Timeout TimeoutRemove TimeoutUpdate LinkTimeout
    FutexWait FutexWake FutexWaitV WaitId
    ProvideBuffers RemoveBuffers FilesUpdate FixedFdInstall
    UringCmd16 UringCmd80 UringCmd128
    SetSockOpt GetSockOpt SiocInq SiocOutq TxTimestamp GetSockName BlockDiscard BlockZoneResetAll
};

/// The files of the topics, in the order of the documentation.
const TOPICS: [&str; 15] = [
    include_str!("rw.rs"),
    include_str!("file.rs"),
    include_str!("fs.rs"),
    include_str!("pipe.rs"),
    include_str!("net/mod.rs"),
    include_str!("net/send.rs"),
    include_str!("net/recv.rs"),
    include_str!("poll.rs"),
    include_str!("timeout.rs"),
    include_str!("futex.rs"),
    include_str!("process.rs"),
    include_str!("buffer.rs"),
    include_str!("slot.rs"),
    include_str!("ring.rs"),
    include_str!("cmd.rs"),
];

/// What the documentation of an operation says.
struct Row {
    name: String,
    /// The kernel's name of it, without `IORING_OP_`; `None` where a `struct` is written by hand.
    kernel: Option<String>,
    doc: String,
}

/// The operations in a topic's file: documentation, and then `Name = IORING_OP_NAME` or
/// `pub struct Name(`.
fn rows(source: &str) -> Vec<Row> {
    let (source, _tests) = source.split_once("#[cfg(test)]").unwrap();
    let (mut rows, mut doc) = (Vec::new(), String::new());
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            doc += text;
            doc += "\n";
        } else if !line.starts_with("#[") {
            let row = match (line.split_once(" = IORING_OP_"), line.strip_prefix("pub struct ")) {
                (Some((name, kernel)), _) if !name.contains(' ') => {
                    Some((name, Some(kernel.trim_end_matches(',').to_string())))
                }
                (_, Some(line)) => line.split_once('(').map(|(name, _)| (name, None)),
                _ => None,
            };
            let doc = core::mem::take(&mut doc);
            rows.extend(row.map(|(name, kernel)| Row { name: name.to_string(), kernel, doc }));
        }
    }
    rows
}

impl Row {
    /// The item of the list that begins with `- **Key:**`, on one line.
    fn item(&self, key: &str) -> Option<String> {
        let start = format!("- **{key}:** ");
        let (_, item) = self.doc.split_once(&start)?;
        let item = item.split("\n - ").next()?.split("\n\n").next()?;
        Some(item.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// `name(section)` with a link, if the documentation has one.
    fn man_page(&self) -> Option<String> {
        let line = self.doc.lines().find(|line| line.starts_with(" [`") && line.contains("]: "))?;
        let (name, link) = line.trim().split_once(": ")?;
        Some(format!("{name}({link})"))
    }

    fn line(&self) -> String {
        let name = &self.name;
        let since = self.item("Since").unwrap_or_else(|| panic!("{name} has no Since"));
        let result = self.item("Result").unwrap_or_else(|| panic!("{name} has no Result"));
        let kernel = since.strip_prefix("Linux ").unwrap_or(&since);
        // Details are in the operation's own documentation.
        let kernel = kernel.split([',', ';']).next().unwrap();
        let result = result.split([',', ';']).next().unwrap();
        let man_page = self.man_page().unwrap_or_default();
        format!("| [`{name}`] | {kernel} | {man_page} | {result} |\n")
    }
}

fn table() -> String {
    let mut table = String::new();
    for topic in TOPICS {
        let title = topic.lines().next().unwrap().trim_start_matches("//! ");
        table += &format!("## {}\n\n", title.split([':', '.', ',']).next().unwrap());
        table += "| operation | since Linux | like | result |\n|---|---|---|---|\n";
        table.extend(rows(topic).iter().map(Row::line));
        table += "\n";
    }
    table.trim_end().to_string() + "\n"
}

#[test]
#[cfg_attr(miri, ignore = "it reads sources, slowly, and nothing unsafe")]
fn the_table_says_what_the_operations_say() {
    let table = table();
    assert!(include_str!("table.md") == table, "src/opcode/table.md is to be:\n\n{table}");
}

/// The header of Linux 7.3 ends at 64.
#[test]
fn every_number_has_a_builder() {
    let codes: BTreeSet<u8> = OPERATIONS.iter().map(|(_, code)| *code).collect();
    assert!(codes.into_iter().eq(0..=64));
    assert_eq!(NAMES.len(), 65);
}

/// Every builder in the files is in the list above and the other way round, and has the number of
/// the kernel's name.
#[test]
#[cfg_attr(miri, ignore = "it reads sources, slowly, and nothing unsafe")]
fn every_builder_has_the_number_of_its_name() {
    let mut left: BTreeMap<&str, u8> = OPERATIONS.into();
    assert_eq!(left.len(), OPERATIONS.len());
    for row in TOPICS.into_iter().flat_map(rows) {
        let code = left.remove(row.name.as_str()).unwrap_or_else(|| panic!("{} is new", row.name));
        if let Some(kernel) = row.kernel {
            assert_eq!(NAMES[usize::from(code)], kernel, "{}", row.name);
        }
    }
    assert_eq!(left, BTreeMap::new());
}
