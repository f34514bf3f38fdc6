//! SIGUSR1: counting it, sending it to one thread, and blocking it.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

static HANDLED: AtomicU32 = AtomicU32::new(0);

/// The number of times that SIGUSR1 was handled.
pub(crate) fn handled() -> u32 {
    HANDLED.load(Ordering::SeqCst)
}

/// Installs a handler that counts SIGUSR1. From then on, the signal interrupts system calls.
pub(crate) fn handle() {
    extern "C" fn count(_: libc::c_int) {
        HANDLED.fetch_add(1, Ordering::SeqCst);
    }
    // SAFETY: an all-zero action has no flags and an empty mask. The handler only counts, which is
    // signal-safe.
    unsafe {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = count as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, ptr::null_mut()), 0);
    }
}

/// A thread that can be sent signals.
#[derive(Clone, Copy)]
pub(crate) struct Thread(libc::pthread_t);

// SAFETY: any thread may use a thread ID. With musl it is an address, which is never dereferenced
// here.
unsafe impl Send for Thread {}

impl Thread {
    pub(crate) fn this() -> Self {
        // SAFETY: `pthread_self` has no preconditions.
        Self(unsafe { libc::pthread_self() })
    }

    /// Sends SIGUSR1 to the thread, which must not have ended.
    pub(crate) fn signal(self) {
        // SAFETY: the caller ensures that the thread still exists. The signal has a handler.
        assert_eq!(unsafe { libc::pthread_kill(self.0, libc::SIGUSR1) }, 0);
    }
}

/// Runs a closure while SIGUSR1 interrupts it repeatedly.
pub(crate) fn storm<T>(run: impl FnOnce() -> T) -> T {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    handle();
    let (this, over) = (Thread::this(), &AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(move || {
            while !over.load(Ordering::SeqCst) {
                this.signal();
                thread::sleep(Duration::from_micros(100));
            }
        });
        // Stops the signals on a panic too.
        let _over = Over(over);
        run()
    })
}

/// Runs a closure with SIGUSR1 blocked in this thread.
pub(crate) fn blocked<T>(run: impl FnOnce() -> T) -> T {
    let mask = |how| {
        // SAFETY: the set is initialized before it is used.
        unsafe {
            let mut set = MaybeUninit::uninit();
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGUSR1);
            assert_eq!(libc::pthread_sigmask(how, set.as_ptr(), ptr::null_mut()), 0);
        }
    };
    mask(libc::SIG_BLOCK);
    let result = run();
    mask(libc::SIG_UNBLOCK);
    result
}
