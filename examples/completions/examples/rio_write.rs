//! rio's program that writes a file: first a thread waits for the write, then a future does.

use std::fs::File;
use std::io;

use completions::Ring;

fn main() -> io::Result<()> {
    let ring = Ring::new(16)?;
    let file = File::create("file").expect("openat");
    let to_write: &[u8] = &[b'6'; 66];
    let at = 0;

    ring.scope(|ring| {
        let completion = ring.write_at(&file, to_write, at);

        // if using threads
        let first = completion.wait().0?;

        // if using async
        let second = ring.block_on(ring.write_at(&file, to_write, at + 66)).0?;
        ring.fsync(&file).wait()?;
        println!("{first} bytes, {second} bytes");
        Ok(())
    })
}
