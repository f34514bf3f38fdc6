//! Forked children: what they do with what they have inherited must not disturb the parent, and what
//! is theirs must not suffer by it.

use std::ptr;

use rustix_uring::{IoUring, opcode};

use crate::real::Ring;

/// A child drops the rings that it has inherited, makes one of its own before, if it is to, and looks
/// whether its own memory is still there.
pub(crate) fn run(rings: &mut [Option<Box<dyn Ring>>; 2], own: bool) -> Result<(), String> {
    // SAFETY: there is no other thread; the child ends without coming back.
    match unsafe { libc::fork() } {
        -1 => Err("fork fails".into()),
        // SAFETY: as above.
        0 => unsafe { libc::_exit(child(rings, own).err().unwrap_or(0)) },
        pid => {
            let mut status = 0;
            // SAFETY: the status is ours to write. A child that hangs is killed with us.
            while unsafe { libc::waitpid(pid, &raw mut status, 0) } == -1 {}
            match status {
                0 => Ok(()),
                _ => Err(format!("the child ends with status {status:#x}")),
            }
        }
    }
}

const LEN: usize = 4 * 4096;

/// An error is what to exit with.
fn child(rings: &mut [Option<Box<dyn Ring>>; 2], own: bool) -> Result<(), i32> {
    // Whatever was left out of the child is a hole, and the first place for a new mapping.
    let mut pages = [ptr::null_mut(); 4];
    for page in &mut pages {
        // SAFETY: without a wished-for address, the kernel takes addresses that nobody uses.
        *page = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(ptr::null_mut(), LEN, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if *page == libc::MAP_FAILED {
            return Err(9);
        }
        // SAFETY: the pages are ours.
        unsafe { ptr::write_bytes(page.cast::<u8>(), 7, LEN) };
    }
    let mut ring = match own {
        // By an index, which may be that of an inherited one.
        true => Some(<IoUring>::builder().build_local(4).map_err(|_| 2)?),
        false => None,
    };
    for inherited in rings {
        *inherited = None;
    }
    for page in pages {
        let mut there = [0; LEN / 4096];
        // SAFETY: the answer has room for every page.
        if unsafe { libc::mincore(page, LEN, there.as_mut_ptr()) } != 0 {
            return Err(3);
        }
        // SAFETY: they are there.
        if unsafe { *page.cast::<u8>() } != 7 {
            return Err(4);
        }
    }
    if let Some(ring) = &mut ring {
        // SAFETY: a NOP uses no memory.
        unsafe { ring.submission().push(&opcode::Nop::new().build().user_data(5)) }
            .map_err(|_| 5)?;
        if ring.submit_and_wait(1) != Ok(1) {
            return Err(6);
        }
        if ring.completion().next().is_none_or(|cqe| cqe.user_data() != 5) {
            return Err(7);
        }
    }
    Ok(())
}
