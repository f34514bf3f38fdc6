//! The process that created a resource, so that no other process releases it.
//!
//! `fork(2)` copies a program's values into the child, but not everything that they refer to.
//! Memory that is excluded from children is unmapped there, and the index of a registered ring may
//! name another ring. The owner of such a resource remembers the process that created it, and
//! checks for it when it is dropped.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use rustix::io;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Identifies a process to itself and its descendants.
///
/// This is not a process ID: a child in a new PID namespace can have the same process ID as its
/// parent. Instead, it is a number in a page that the kernel clears in each forked child. The child
/// then takes the next number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Maker(u32);

impl Maker {
    /// Returns the calling process.
    ///
    /// # Errors
    ///
    /// ENOMEM if there is no memory for the page, which the first call maps.
    pub(crate) fn here() -> io::Result<Self> {
        /// The last number that was taken. A child continues from its parent's number, so it never
        /// takes the number of an ancestor whose values it has inherited.
        static LAST: AtomicU32 = AtomicU32::new(0);

        let word = wiped_on_fork()?;
        let id = match word.load(Ordering::Relaxed) {
            0 => {
                let next = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
                // Another thread may have been faster.
                match word.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => next,
                    Err(theirs) => theirs,
                }
            }
            id => id,
        };
        Ok(Self(id))
    }

    /// Returns whether this is the calling process, and not one of its ancestors.
    pub(crate) fn is_here(self) -> bool {
        wiped_on_fork().is_ok_and(|word| word.load(Ordering::Relaxed) == self.0)
    }
}

/// Returns a word that is zero in every forked child until the child writes to it.
fn wiped_on_fork() -> io::Result<&'static AtomicU32> {
    static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
    const LEN: usize = size_of::<AtomicU32>();

    let known = WORD.load(Ordering::Acquire);
    // SAFETY: the word is null or in a page that stays mapped, and is only accessed atomically.
    if let Some(word) = unsafe { known.as_ref() } {
        return Ok(word);
    }
    // SAFETY: no address is requested, so the kernel chooses unused addresses. Lengths are rounded
    // up to a page, also for the advice, which therefore applies to this page alone.
    let new = unsafe {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let new = mmap_anonymous(ptr::null_mut(), LEN, protection, MapFlags::PRIVATE)?;
        if let Err(errno) = madvise(new, LEN, Advice::LinuxWipeOnFork) {
            let _ = munmap(new, LEN);
            return Err(errno);
        }
        new.cast::<AtomicU32>()
    };
    match WORD.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: the page was just mapped and cleared, and stays mapped.
        Ok(_) => Ok(unsafe { &*new }),
        Err(theirs) => {
            // SAFETY: nobody has seen our page. The other page is mapped and stays mapped.
            unsafe {
                let _ = munmap(new.cast(), LEN);
                Ok(&*theirs)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `child` in a forked child, and returns whether it returned true.
    fn in_child(child: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child only makes system calls, and exits without unwinding into the parent's
        // stack.
        match unsafe { libc::fork() } {
            // SAFETY: the child may exit at once: nothing in it needs an exit handler.
            0 => unsafe { libc::_exit(i32::from(!child())) },
            pid => {
                assert!(pid > 0);
                let mut status = 0;
                // SAFETY: the status is ours to write.
                assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
                status == 0
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "forks, and maps memory that is wiped on fork")]
    fn a_child_differs_from_its_ancestors() {
        let parent = Maker::here().unwrap();
        assert!(parent.is_here());
        assert_eq!(Maker::here(), Ok(parent));
        assert!(in_child(|| {
            let inherited = !parent.is_here();
            let child = Maker::here().unwrap();
            let own = child.is_here() && child != parent && !parent.is_here();
            // A grandchild differs from both.
            let grandchild = in_child(|| {
                let grandchild = Maker::here().unwrap();
                grandchild != child && grandchild != parent && !child.is_here()
            });
            inherited && own && grandchild
        }));
        assert!(parent.is_here());
    }

    #[test]
    #[cfg_attr(miri, ignore = "forks, and maps memory that is wiped on fork")]
    fn threads_belong_to_one_process() {
        let makers: std::vec::Vec<_> = (0..8)
            .map(|_| std::thread::spawn(|| Maker::here().unwrap()))
            .map(|thread| thread.join().unwrap())
            .collect();
        assert!(makers.iter().all(|maker| *maker == makers[0] && maker.is_here()));
    }
}
