//! Lost rings: the kernel has resized a ring, and the new queues cannot be mapped.
//!
//! A seccomp filter causes this, and cannot be removed. So it happens in a child, which runs all
//! steps of the episode with a ring of its own, and loses the ring at the step that requests it.

use std::fs::File;
use std::io::{Read, Write};

use super::{Episode, Lockstep, Same, Watch};
use crate::model::Kernel;
use crate::model::setup::{How, Setup, flag};
use crate::step::Step;

/// Runs a child that loses its ring at a step.
pub(super) fn run(kernel: &Kernel, episode: &Episode, at: usize, watch: &dyn Watch) -> Same {
    if !kernel.resize || cfg!(target_arch = "s390x") {
        return Ok(());
    }
    let (reader, writer) =
        rustix::pipe::pipe().map_err(|e| format!("cannot create a pipe: {e}"))?;
    // SAFETY: this process has no other thread, and the child exits without returning.
    match unsafe { libc::fork() } {
        -1 => Err("cannot fork".into()),
        0 => {
            // SAFETY: the call only sets the signal that the child gets if its parent exits first.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            drop(reader);
            let what = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                child(kernel, episode, at, watch.patience())
            }));
            let what = what.unwrap_or_else(|_| Err("panicked".into()));
            if let Err(what) = &what {
                let _ = File::from(writer).write_all(what.as_bytes());
            }
            // SAFETY: the forked child may exit at once: nothing in it needs an exit handler.
            unsafe { libc::_exit(i32::from(what.is_err())) }
        }
        pid => {
            drop(writer);
            let mut what = String::new();
            let _ = File::from(reader).read_to_string(&mut what);
            let mut status = 0;
            // SAFETY: the kernel writes to `status`, which is ours. A child that hangs is killed
            // together with this process.
            while unsafe { libc::waitpid(pid, &raw mut status, 0) } == -1 {}
            match status {
                0 => Ok(()),
                _ => Err(format!(
                    "the child that loses its ring ended with wait status {status:#x}: {what}"
                )),
            }
        }
    }
}

/// Reports nothing. It only tells how often to ask for events.
struct Quiet(usize);

impl Watch for Quiet {
    fn step(&mut self, _: usize) {}

    fn patience(&self) -> usize {
        self.0
    }

    fn say(&mut self, _: &dyn Fn() -> String) {}
}

fn child(kernel: &Kernel, episode: &Episode, at: usize, patience: usize) -> Same {
    let mut watch = Quiet(patience);
    let mut both = Lockstep::new(kernel, &mut watch);
    let mut setup = Setup::of(episode.setup);
    // Makes the ring resizable.
    setup.flags &= !(flag::COOP_TASKRUN | flag::IOPOLL | flag::SQPOLL | flag::SQ_AFF);
    setup.flags |= flag::SINGLE_ISSUER | flag::DEFER_TASKRUN | flag::NO_SQARRAY;
    setup.sqarray = false;
    setup.attach = None;
    if matches!(setup.how, How::In | How::RegisteredIn) {
        setup.how = How::Build;
    }
    both.make(0, &setup)?;
    for (i, (draw, numbers)) in episode.steps.iter().enumerate() {
        if i == at {
            refuse_shared_mappings()?;
            both.maps_nothing = true;
            let Some(ring) = &both.model.rings[0] else { break };
            let (sq, cq) = (ring.sq.capacity, ring.cq.capacity);
            if cq > 1024 {
                // The kernel itself may lack the memory for a larger queue.
                break;
            }
            both.resize(0, sq, Some(cq))?;
            both.compare()?;
        }
        match Step::of(*draw, *numbers) {
            Step::Lose | Step::Fork { .. } => {}
            Step::Make { .. } if i >= at => {}
            step => both.apply(step).map_err(|what| format!("{step:?}: {what}"))?,
        }
        both.compare()?;
    }
    Ok(())
}

/// From now on, every attempt to map shared memory fails, as if there were no memory.
fn refuse_shared_mappings() -> Same {
    #[cfg(not(target_pointer_width = "32"))]
    let map = libc::SYS_mmap;
    #[cfg(target_pointer_width = "32")]
    let map = libc::SYS_mmap2;
    // The offset of the lower half of the fourth argument.
    let flags = 16 + 3 * 8 + if cfg!(target_endian = "big") { 4 } else { 0 };
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let answer = (libc::BPF_RET | libc::BPF_K) as u16;
    let filter = |code: u16, jt: u8, jf: u8, k: u32| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        filter(load, 0, 0, 0),
        filter((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, 3, map as u32),
        filter(load, 0, 0, flags),
        filter(
            (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16,
            0,
            1,
            libc::MAP_SHARED as u32,
        ),
        filter(answer, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOMEM as u32),
        filter(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel reads the program, and keeps a copy.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    if done { Ok(()) } else { Err("cannot install the seccomp filter".into()) }
}
