//! Reads the functions of `liburing.h`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{env, fs};

/// The text of the header without comments.
pub(crate) struct Header(String);

impl Header {
    /// Reads the header with which the library was built. When cargo runs tests, `LD_LIBRARY_PATH`
    /// has the folders where libraries were found, and the header is below the same folder.
    pub(crate) fn read() -> Self {
        let folders = env::var_os("LD_LIBRARY_PATH")
            .expect("LD_LIBRARY_PATH is not set; run this test with cargo");
        let header = |folder: PathBuf| {
            folder.join("liburing-ffi.a").exists().then(|| folder.join("include/liburing.h"))
        };
        let path = env::split_paths(&folders).find_map(header).expect("found no liburing.h");
        let text = fs::read_to_string(path).expect("cannot read liburing.h");
        let (first, others) =
            text.split_once("/*").expect("liburing.h does not begin with a comment");
        let mut code = first.to_owned();
        for comment in others.split("/*") {
            code.push_str(
                comment.split_once("*/").expect("a comment in liburing.h does not end").1,
            );
        }
        Self(code)
    }

    /// The functions that create or change entries.
    pub(crate) fn functions(&self) -> BTreeSet<&str> {
        let words = self.0.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words
            .filter(|word| {
                word.starts_with("io_uring_prep_") || word.starts_with("io_uring_sqe_set_")
            })
            .collect()
    }

    /// The names of the function's arguments and their types in Rust.
    pub(crate) fn signature(&self, name: &str) -> Vec<(&str, &'static str)> {
        let definition = self.0.split_once(&format!(" void {name}(")).expect(name).1;
        let arguments = definition.split_once(')').expect(name).0.split(',');
        arguments
            .map(|argument| {
                let name_at = argument.rfind([' ', '*', '\t']).expect(name) + 1;
                let (kind, argument) = argument.split_at(name_at);
                (argument, rust(kind.split_whitespace().collect::<Vec<_>>().join(" ").as_str()))
            })
            .collect()
    }
}

/// The Rust equivalent of a C type.
fn rust(kind: &str) -> &'static str {
    match kind {
        "struct io_uring_sqe *" => "*mut Sqe128",
        pointer if pointer.ends_with('*') => {
            if pointer.starts_with("const ") {
                "*const c_void"
            } else {
                "*mut c_void"
            }
        }
        "__u16" => "u16",
        "int" => "i32",
        "unsigned" | "unsigned int" | "__u32" | "uint32_t" => "u32",
        // These are types of the C library, with 32 bits on every Linux target.
        "idtype_t" | "id_t" | "mode_t" | "socklen_t" => "u32",
        // liburing is compiled with 64-bit offsets.
        "int64_t" | "off_t" | "loff_t" => "i64",
        "__u64" | "uint64_t" => "u64",
        "size_t" => "usize",
        other => panic!("no Rust equivalent is known for the C type {other}"),
    }
}
