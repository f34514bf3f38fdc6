//! Prints its files, or standard input if there are none.
//!
//! Reads and writes are linked: each write starts after its read has succeeded, and the next read
//! after that write. The kernel runs a whole chain without returning to the program.
//!
//! A short read breaks its chain. The program therefore asks for the size first (Statx) and chains
//! only reads that end before it. It reads what follows one block at a time: in a file that grows,
//! or in `/proc`, where files have size 0.

use std::env;
use std::fs::File;
use std::io::{self, Stdout};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::types::{AtFlags, CURRENT_POSITION, Statx, StatxFlags};
use rustix_uring::{Errno, IoUring, opcode};

/// The number of blocks that one chain moves.
const BLOCKS: usize = 16;
const BLOCK: usize = 64 << 10;

fn main() -> ExitCode {
    let result = || -> Result<()> {
        let mut cat = Cat::new().context("cannot set up a ring")?;
        let mut files = env::args_os().skip(1).map(PathBuf::from).peekable();
        if files.peek().is_none() {
            cat.rest(io::stdin().as_fd(), CURRENT_POSITION).context("standard input")?;
        }
        for path in files {
            let printed = File::open(&path).map_err(Into::into).and_then(|file| cat.file(&file));
            printed.with_context(|| path.display().to_string())?;
        }
        Ok(())
    };
    match result() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cat: {error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Cat {
    ring: IoUring,
    out: Stdout,
    blocks: Vec<Box<[u8]>>,
}

impl Cat {
    fn new() -> Result<Self> {
        let blocks = (0..BLOCKS).map(|_| vec![0; BLOCK].into_boxed_slice()).collect();
        Ok(Self { ring: IoUring::new(2 * BLOCKS as u32)?, out: io::stdout(), blocks })
    }

    /// Prints a file: its present content in chains, and then what is appended meanwhile.
    fn file(&mut self, file: &File) -> Result<()> {
        let size = self.size(file)?;
        let mut offset = 0;
        while offset < size {
            let moved = self.chain(file.as_fd(), offset, size)?;
            if moved == 0 {
                break; // the file was truncated
            }
            offset += moved;
        }
        self.rest(file.as_fd(), offset)
    }

    fn size(&mut self, file: &File) -> Result<u64> {
        let mut statx = MaybeUninit::<Statx>::uninit();
        let entry = opcode::Statx::new(file.as_fd(), c"".as_ptr(), statx.as_mut_ptr())
            .flags(AtFlags::EMPTY_PATH)
            .mask(StatxFlags::SIZE)
            .build();
        // SAFETY: `file` and `statx` outlive the operation, which `run` awaits.
        unsafe { self.run(&[entry]) }?[0]?;
        // SAFETY: the operation succeeded, so the kernel has filled the struct.
        Ok(unsafe { statx.assume_init() }.stx_size)
    }

    /// Moves as much as fits into one chain, and returns the number of bytes.
    fn chain(&mut self, file: BorrowedFd<'_>, offset: u64, size: u64) -> Result<u64> {
        let mut entries = Vec::new();
        let mut end = offset;
        for block in &mut self.blocks {
            let len = (size - end).min(BLOCK as u64) as u32;
            if len == 0 {
                break;
            }
            let read = opcode::Read::new(file, block.as_mut_ptr(), len).offset(end);
            let write = opcode::Write::new(self.out.as_fd(), block.as_ptr(), len);
            entries.push(read.build().flags(Flags::IO_LINK));
            entries.push(write.offset(CURRENT_POSITION).build().flags(Flags::IO_LINK));
            end += u64::from(len);
        }
        // The last write is linked to nothing.
        if let Some(last) = entries.last_mut() {
            *last = last.clear_flags();
        }
        // SAFETY: file, standard output and blocks outlive the operations, which `run` awaits.
        let results = unsafe { self.run(&entries) }?;

        let mut moved = 0;
        for (index, pair) in results.chunks(2).enumerate() {
            let len = (size - offset - moved).min(BLOCK as u64) as usize;
            let read = pair[0].context("cannot read")? as usize;
            let written = match pair[1] {
                Err(Errno::CANCELED) if read < len => 0, // canceled by the short read
                written => written.context("cannot write")? as usize,
            };
            self.write_all(index, written..read)?;
            moved += read as u64;
            if read < len || written < read {
                break; // the entries linked after it did not run
            }
        }
        Ok(moved)
    }

    /// Moves one block after the other until the end of the input.
    fn rest(&mut self, from: BorrowedFd<'_>, mut offset: u64) -> Result<()> {
        loop {
            let buf = self.blocks[0].as_mut_ptr();
            let read = opcode::Read::new(from, buf, BLOCK as u32).offset(offset).build();
            // SAFETY: file and block outlive the operation, which `run` awaits.
            let read = unsafe { self.run(&[read]) }?[0].context("cannot read")? as usize;
            if read == 0 {
                return Ok(());
            }
            self.write_all(0, 0..read)?;
            if offset != CURRENT_POSITION {
                offset += read as u64;
            }
        }
    }

    fn write_all(&mut self, block: usize, mut rest: Range<usize>) -> Result<()> {
        while !rest.is_empty() {
            let bytes = &self.blocks[block][rest.clone()];
            let write = opcode::Write::new(self.out.as_fd(), bytes.as_ptr(), bytes.len() as u32);
            let write = write.offset(CURRENT_POSITION).build();
            // SAFETY: standard output and block outlive the operation, which `run` awaits.
            match unsafe { self.run(&[write]) }?[0].context("cannot write")? {
                0 => bail!("cannot write: standard output accepts no more data"),
                n => rest.start += n as usize,
            }
        }
        Ok(())
    }

    /// Runs entries, and returns their results in order.
    ///
    /// # Safety
    ///
    /// The memory that they point to, and their descriptors, stay valid until this returns.
    unsafe fn run(&mut self, entries: &[Entry]) -> Result<Vec<Result<u32, Errno>>> {
        let numbered = |index: usize| entries[index].user_data(index as u64);
        // SAFETY: the caller upholds the same contract.
        unsafe { self.ring.submission().push_each(entries.len(), numbered) }?;
        let mut results = vec![Err(Errno::CANCELED); entries.len()];
        let mut outstanding = entries.len();
        while outstanding > 0 {
            match self.ring.submit_and_wait(outstanding) {
                Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
                Err(errno) => {
                    // The kernel may use the memory until the operations complete. If even waiting
                    // for that fails, nothing may be freed any more.
                    let user_data: Vec<u64> = (0..entries.len() as u64).collect();
                    let left = &mut outstanding;
                    let ended = self.ring.quiesce_with(left, Duration::MAX, &user_data, |_| true);
                    if ended.is_err() {
                        process::abort();
                    }
                    return Err(errno).context("cannot submit");
                }
            }
            for cqe in self.ring.completion() {
                results[cqe.user_data() as usize] = cqe.to_result();
                outstanding -= 1;
            }
        }
        Ok(results)
    }
}
