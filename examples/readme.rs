//! The README's first program: a file, read through the ring.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix_uring::{IoUring, opcode};

fn main() -> io::Result<()> {
    let mut ring = IoUring::new(8)?;

    let file = File::open("README.md")?;
    let mut buf = [0; 4096];
    let read =
        opcode::Read::new(file.as_fd(), buf.as_mut_ptr(), buf.len() as u32).build().user_data(1);

    // SAFETY: `file` and `buf` outlive the read, whose completion is awaited below.
    unsafe { ring.submission().push(&read) }.expect("there are eight places");
    ring.submit_and_wait(1)?;

    let cqe = ring.completion().next().expect("one completion was awaited");
    assert_eq!(cqe.user_data(), 1);
    let len = cqe.to_result()? as usize;

    io::stdout().write_all(&buf[..len])?;
    eprintln!("--- the first {len} bytes of README.md, read through the ring");
    Ok(())
}
