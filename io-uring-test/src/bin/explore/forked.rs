//! Forked children: what they do with inherited rings must not affect the parent, nor damage their
//! own memory.

use std::ptr;

use rustix_uring::{IoUring, opcode};

use crate::model::fork::Observed;
use crate::real::{Ring, Sized};
use crate::step::Push;

/// A ring that a child uses before it drops it.
pub(crate) struct Use<'a> {
    pub(crate) ring: usize,
    pub(crate) entries: &'a [Sized],
    pub(crate) observed: &'a Observed,
}

/// In a child, creates a ring and uses an inherited one if requested, drops the inherited rings, and
/// checks that the child's own memory still exists.
pub(crate) fn run(
    rings: &mut [Option<Box<dyn Ring>>; 2],
    own: bool,
    uses: Option<&Use<'_>>,
) -> Result<(), String> {
    // SAFETY: this process has no other thread, and the child exits without returning.
    match unsafe { libc::fork() } {
        -1 => Err("cannot fork".into()),
        // SAFETY: the forked child may exit at once: nothing in it needs an exit handler.
        0 => unsafe { libc::_exit(child(rings, own, uses).err().unwrap_or(0)) },
        pid => {
            let mut status = 0;
            // SAFETY: the kernel writes to `status`, which is ours. A child that hangs is killed
            // together with this process.
            while unsafe { libc::waitpid(pid, &raw mut status, 0) } == -1 {}
            match status {
                0 => Ok(()),
                _ if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) >= LENGTHS => {
                    let what = ["queue lengths", "pushes", "submit"];
                    let what = what[((libc::WEXITSTATUS(status) - LENGTHS) as usize).min(2)];
                    let model = uses.map(|uses| uses.observed);
                    Err(format!("in the forked child, {what} differ; the model says {model:?}"))
                }
                _ => Err(format!(
                    "the forked child ended with wait status {status:#x}; the model says 0"
                )),
            }
        }
    }
}

const LEN: usize = 4 * 4096;

/// The exit codes of a child that observes something else than the model.
const LENGTHS: i32 = 20;
const PUSHES: i32 = 21;
const SUBMIT: i32 = 22;

/// Compares what the child sees, and pushes and submits.
fn use_inherited(ring: &mut dyn Ring, uses: &Use<'_>) -> Result<(), i32> {
    let Observed { queued, ready, pushed, submitted, is_awake } = uses.observed;
    if (ring.queued(), ring.ready()) != (*queued, *ready) {
        return Err(LENGTHS);
    }
    let how = Push { at_once: false, ..Push::AT_ONCE };
    // SAFETY: the entries are NOPs, which use no memory.
    let results = unsafe { ring.push(uses.entries, &how) };
    if !results.iter().map(Result::is_ok).eq(pushed.iter().copied()) {
        return Err(PUSHES);
    }
    let Some(model) = submitted else { return Ok(()) };
    let same = match (ring.submit(false), model) {
        (Ok(real), Ok(model)) => real == *model || *is_awake && real < *model,
        (Err(real), Err(possible)) => possible.contains(&real.raw_os_error()),
        _ => false,
    };
    if same { Ok(()) } else { Err(SUBMIT) }
}

/// Runs in the child. An error is the exit code.
fn child(
    rings: &mut [Option<Box<dyn Ring>>; 2],
    own: bool,
    uses: Option<&Use<'_>>,
) -> Result<(), i32> {
    // Memory that the child lacks leaves a hole, where the kernel places new mappings first.
    let mut pages = [ptr::null_mut(); 4];
    for page in &mut pages {
        // SAFETY: without an address hint, the kernel chooses unused addresses.
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
        // The index of this ring may equal that of an inherited one.
        true => Some(<IoUring>::builder().build_local(4).map_err(|_| 2)?),
        false => None,
    };
    if let Some(uses) = uses {
        if let Some(ring) = &mut rings[uses.ring] {
            use_inherited(ring.as_mut(), uses)?;
        }
    }
    for inherited in rings {
        *inherited = None;
    }
    for page in pages {
        let mut there = [0; LEN / 4096];
        // SAFETY: the answer has a byte for every page.
        if unsafe { libc::mincore(page, LEN, there.as_mut_ptr()) } != 0 {
            return Err(3);
        }
        // SAFETY: the pages are mapped.
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
