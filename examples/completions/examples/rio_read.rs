//! rio's program that reads from a file: first a thread waits for the read, then a future does.

use std::fs::File;
use std::io;

use completions::Ring;

fn main() -> io::Result<()> {
    let ring = Ring::new(16)?;
    let file = File::open("file").expect("openat");
    let data: &mut [u8] = &mut [0; 66];
    let at = 0;

    ring.scope(|ring| {
        let completion = ring.read_at(&file, data, at);

        // if using threads
        let (read, data) = completion.wait();
        let first = read?;

        // if using async
        let (read, data) = ring.block_on(ring.read_at(&file, data, at));
        println!("{first} bytes, {} bytes: {:?}", read?, String::from_utf8_lossy(&data[..first]));
        Ok(())
    })
}
