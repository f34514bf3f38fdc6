//! Prints a file with only the kernel: no `std`, no allocator, no libc.
//!
//! ```sh
//! cargo build --release --manifest-path examples/freestanding/Cargo.toml
//! examples/freestanding/target/release/freestanding FILE
//! ```
//!
//! Chains of linked operations read and write the file, as in `examples/cat.rs`. The program can be
//! the only process of a machine: as the first process, it prints `/init` if it gets no argument.
#![no_std]
#![no_main]
#![no_builtins]

mod start;

use core::ffi::CStr;
use core::mem::MaybeUninit;

use rustix::{io, process, stdio};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::types::{AtFlags, CURRENT_POSITION, Fd, OFlags, Statx, StatxFlags};
use rustix_uring::{Errno, IoUring, opcode};

use start::Arguments;

const CWD: Fd = Fd(-100);
const STDOUT: Fd = Fd(1);

/// The number of blocks that one chain moves.
const BLOCKS: usize = 8;
const BLOCK: u32 = 32 << 10;

/// What failed, and the reason.
type Failure = (&'static str, Errno);

fn main(arguments: Arguments) -> u8 {
    let path = match arguments.get(1) {
        Some(path) => path,
        None if process::getpid().is_init() => c"/init",
        None => {
            print(b"usage: freestanding FILE\n");
            return 2;
        }
    };
    let printed = IoUring::new(2 * BLOCKS as u32)
        .map_err(|errno| ("cannot set up a ring", errno))
        .and_then(|ring| Cat { ring, blocks: [[0; BLOCK as usize]; BLOCKS] }.print(path));
    let Err(failure) = printed else { return 0 };
    print(path.to_bytes());
    print(b": ");
    complain(failure);
    1
}

/// Prints what failed, and the number of the error, which `errno(3)` explains.
fn complain((what, errno): Failure) {
    print(what.as_bytes());
    print(b": errno ");
    let number = errno.raw_os_error() as u32;
    for unit in [1000, 100, 10, 1] {
        if number >= unit {
            print(&[b'0' + (number / unit % 10) as u8]);
        }
    }
    print(b"\n");
}

/// Prints to standard error. If that fails, there is no way to report it.
fn print(text: &[u8]) {
    // SAFETY: nothing here closes standard error.
    let _ = io::write(unsafe { stdio::stderr() }, text);
}

struct Cat {
    ring: IoUring,
    blocks: [[u8; BLOCK as usize]; BLOCKS],
}

impl Cat {
    fn print(&mut self, path: &CStr) -> Result<(), Failure> {
        let (file, size) = self.open(path)?;
        let mut offset = 0;
        loop {
            match self.chain(file, offset, size)? {
                0 => return Ok(()),
                moved => offset += moved,
            }
        }
    }

    /// Queries the size of a file and opens it. Fails if it does not exist.
    fn open(&mut self, path: &CStr) -> Result<(Fd, u64), Failure> {
        let mut statx = MaybeUninit::<Statx>::uninit();
        let size = opcode::Statx::new(CWD, path.as_ptr(), statx.as_mut_ptr())
            .flags(AtFlags::empty())
            .mask(StatxFlags::SIZE);
        let open = opcode::OpenAt::new(CWD, path.as_ptr()).flags(OFlags::RDONLY);
        let mut results = [Err(Errno::CANCELED); 2];
        // SAFETY: the path and the struct outlive the operations, which `run` awaits.
        unsafe { self.run(&[size.build().flags(Flags::IO_LINK), open.build()], &mut results) }?;
        results[0].map_err(|errno| ("cannot find out its size", errno))?;
        let file = results[1].map_err(|errno| ("cannot open", errno))?;
        // SAFETY: the operation succeeded, so the kernel has filled the struct.
        Ok((Fd(file as i32), unsafe { statx.assume_init() }.stx_size))
    }

    /// Moves as much as fits into one chain, and returns the number of bytes: 0 at the end.
    ///
    /// A short read severs a chain, so the chain does not exceed the size of the file. A final read
    /// goes further: it gets data appended since, and the content of files with size 0 (`/proc`).
    fn chain(&mut self, file: Fd, offset: u64, size: u64) -> Result<u64, Failure> {
        let mut entries = [opcode::Nop::new().build(); 2 * BLOCKS];
        let mut lens = [0; BLOCKS];
        let mut blocks = 0;
        let mut end = offset;
        while blocks < BLOCKS && (end < size || blocks == 0) {
            let len = if end < size { (size - end).min(BLOCK.into()) as u32 } else { BLOCK };
            let buf = self.blocks[blocks].as_mut_ptr();
            let read = opcode::Read::new(file, buf, len).offset(end);
            let write = opcode::Write::new(STDOUT, buf, len).offset(CURRENT_POSITION);
            entries[2 * blocks] = read.build().flags(Flags::IO_LINK);
            entries[2 * blocks + 1] = write.build().flags(Flags::IO_LINK);
            lens[blocks] = len;
            end += u64::from(len);
            blocks += 1;
        }
        // The last write is linked to nothing.
        let entries = &mut entries[..2 * blocks];
        entries[2 * blocks - 1] = entries[2 * blocks - 1].clear_flags();
        let mut results = [Err(Errno::CANCELED); 2 * BLOCKS];
        // SAFETY: the blocks are never freed, and the file stays open.
        unsafe { self.run(entries, &mut results) }?;

        let mut moved = 0;
        for (block, len) in lens[..blocks].iter().copied().enumerate() {
            let read = results[2 * block].map_err(|errno| ("cannot read", errno))?;
            let written = match results[2 * block + 1] {
                Err(Errno::CANCELED) if read < len => 0, // canceled by the short read
                written => written.map_err(|errno| ("cannot write", errno))?,
            };
            self.write(block, written, read)?;
            moved += u64::from(read);
            if read < len || written < read {
                break; // the entries linked after it did not run
            }
        }
        Ok(moved)
    }

    /// Writes the rest of a block.
    fn write(&mut self, block: usize, mut from: u32, to: u32) -> Result<(), Failure> {
        while from < to {
            let rest = &self.blocks[block][from as usize..];
            let write = opcode::Write::new(STDOUT, rest.as_ptr(), to - from);
            let mut result = [Err(Errno::CANCELED)];
            // SAFETY: the block is never freed.
            unsafe { self.run(&[write.offset(CURRENT_POSITION).build()], &mut result) }?;
            match result[0] {
                Ok(0) => return Err(("cannot write", Errno::IO)),
                Ok(written) => from += written,
                Err(errno) => return Err(("cannot write", errno)),
            }
        }
        Ok(())
    }

    /// Runs entries, and returns their results in order.
    ///
    /// # Safety
    ///
    /// The memory that they point to, and their descriptors, stay valid until this returns.
    unsafe fn run(
        &mut self,
        entries: &[Entry],
        results: &mut [Result<u32, Errno>],
    ) -> Result<(), Failure> {
        let numbered = |index: usize| entries[index].user_data(index as u64);
        // SAFETY: the caller upholds the same contract.
        let pushed = unsafe { self.ring.submission().push_each(entries.len(), numbered) };
        pushed.map_err(|_| ("cannot submit", Errno::AGAIN))?;
        let mut outstanding = entries.len();
        while outstanding > 0 {
            match self.ring.submit_and_wait(outstanding) {
                Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
                Err(errno) => {
                    // The kernel may still use the memory, so this function must not return.
                    complain(("cannot submit", errno));
                    start::exit(1);
                }
            }
            for cqe in self.ring.completion() {
                results[cqe.user_data() as usize] = cqe.to_result();
                outstanding -= 1;
            }
        }
        Ok(())
    }
}
