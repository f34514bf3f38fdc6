//! rio's program for disks: it writes with `O_DIRECT`, and reads the data back.
//!
//! Each read has its own mutable buffer, so two operations never fill the same memory. One call
//! [links](completions::Scope::link) a write and the read after it, so no operation of another thread can
//! come between them.

use std::fs::OpenOptions;
use std::io::Result;
use std::os::unix::fs::OpenOptionsExt;

use completions::{Ring, read_at, write_at};
use rustix_uring::types::OFlags;

const CHUNK_SIZE: u64 = 4096 * 256;

// `O_DIRECT` requires all reads and writes
// to be aligned to the block device's block
// size. 4096 might not be the best, or even
// a valid one, for yours!
#[derive(Clone)]
#[repr(align(4096))]
struct Aligned([u8; CHUNK_SIZE as usize]);

fn main() -> Result<()> {
    let chunks = std::env::args().nth(1).map_or(64, |chunks| chunks.parse().expect("a number"));

    // start the ring
    let ring = Ring::new(32)?;

    // open output file, with `O_DIRECT` set
    let mut file = OpenOptions::new();
    file.read(true).write(true).create(true).truncate(true);
    let file = file.custom_flags(OFlags::DIRECT.bits() as i32).open("file")?;

    // Not on the stack: an unoptimized build makes several copies, which do not fit.
    static OUT_BUF: Aligned = Aligned([42; CHUNK_SIZE as usize]);
    let out_slice: &[u8] = &OUT_BUF.0;

    static IN_BUF: Aligned = Aligned([0; CHUNK_SIZE as usize]);
    let mut in_bufs = Vec::with_capacity(chunks);
    in_bufs.resize_with(chunks, || IN_BUF.clone());

    ring.scope(|ring| {
        let mut completions = vec![];

        for (i, in_buf) in (0..).zip(&mut in_bufs) {
            let at = i * CHUNK_SIZE;

            // The read happens after the write.
            // If there is no room for them in the
            // ring, this waits.
            let write = write_at(&file, out_slice, at);
            let read = read_at(&file, &mut in_buf.0[..], at);
            completions.push(ring.link(write, read));
        }

        for (write, read) in completions {
            write.wait().0?;
            read.wait().0?;
        }
        Result::Ok(())
    })?;
    assert!(
        in_bufs.iter().all(|in_buf| in_buf.0 == out_slice),
        "the data that was read back differs"
    );
    println!("{} bytes written, and read back", chunks as u64 * CHUNK_SIZE);
    Ok(())
}
