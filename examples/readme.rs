//! The README's first program: a file, read through the ring.

use std::fs::File;
use std::io::{self, Write};
use std::process;

use rustix_uring::{Errno, IoUring, opcode};

fn main() -> io::Result<()> {
    let mut ring = IoUring::new(8)?;

    let file = File::open("README.md")?;
    let mut buf = [0; 4096];
    let read = opcode::Read::new(&file, buf.as_mut_ptr(), buf.len() as u32).build().user_data(1);

    // SAFETY: `file` and `buf` live until the loop below has the completion or ends the process.
    unsafe { ring.submission().push(&read) }.expect("there are eight slots");
    let cqe = loop {
        match ring.submit_and_wait(1) {
            // A signal can end the wait before the completion arrives.
            Ok(_) | Err(Errno::INTR) => {}
            // The kernel may still write to `buf`, so this must not return.
            Err(errno) => {
                eprintln!("io_uring: {errno}");
                process::exit(1);
            }
        }
        if let Some(cqe) = ring.completion().next() {
            break cqe;
        }
    };
    assert_eq!(cqe.user_data(), 1);
    let len = cqe.to_result()? as usize;

    io::stdout().write_all(&buf[..len])?;
    eprintln!("--- the first {len} bytes of README.md, read through the ring");
    Ok(())
}
