//! Standard output and standard error, through the ring.

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use rustix_uring::types::CURRENT_POSITION;
use rustix_uring::{Errno, opcode};

use crate::net::length;
use crate::ring::operate_regardless;

/// Prints a line to the standard output. While the terminal or the pipe is busy, only the fiber waits.
///
/// The arguments are those of [`std::println!`]. A cancelled fiber can also print.
///
/// # Panics
///
/// If writing to the standard output fails.
#[macro_export]
macro_rules! println {
    () => { $crate::print::line(false, ::core::format_args!("")) };
    ($($arg:tt)*) => { $crate::print::line(false, ::core::format_args!($($arg)*)) };
}

/// Prints a line to the standard error. See [`println!`](crate::println).
///
/// # Panics
///
/// If writing to the standard error fails.
#[macro_export]
macro_rules! eprintln {
    () => { $crate::print::line(true, ::core::format_args!("")) };
    ($($arg:tt)*) => { $crate::print::line(true, ::core::format_args!($($arg)*)) };
}

/// Prints a line, for the macros.
#[doc(hidden)]
pub fn line(error: bool, text: fmt::Arguments<'_>) {
    let line = format!("{text}\n");
    let printed = match error {
        true => print(io::stderr().as_fd(), line.as_bytes()),
        false => print(io::stdout().as_fd(), line.as_bytes()),
    };
    printed.expect("failed to print a line");
}

fn print(to: BorrowedFd<'_>, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        let write = opcode::Write::new(to, line.as_ptr(), length(line)).offset(CURRENT_POSITION);
        // SAFETY: `to` and `line` are borrowed until this returns.
        match unsafe { operate_regardless(write.build()) } {
            Ok(completion) if completion.result() == 0 => return Err(ErrorKind::WriteZero.into()),
            Ok(completion) => line = &line[completion.result() as usize..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
