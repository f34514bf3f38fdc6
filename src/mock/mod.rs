//! A ring with a mock kernel, for tests of code that uses rings.
//!
//! The queues are in plain memory. A [`Script`] takes the role of the kernel: it gets each
//! submission and returns an [`Answer`]. There are no system calls, so a mock ring works where
//! io_uring is forbidden, and under Miri. Its behavior is deterministic, and no real time passes.
//! This module requires the cargo feature `mock-kernel`. (Entries carry addresses as numbers. Pass
//! `-Zmiri-permissive-provenance` to Miri so that it accepts them.)
//!
//! A mock ring is an [`IoUring`] like any other, except for its third type parameter: the handle
//! that keeps it open is a [`Kernel`] instead of a descriptor. To test a runtime, make it generic
//! over [`H: Handle`](crate::Handle). It needs no other changes.
//!
//! ```
//! use rustix_uring::mock::{Answer, Script};
//! use rustix_uring::{Errno, Handle, IoUring, cqueue, opcode, squeue, types};
//!
//! /// Reads until the buffer is full. On an error, leaks the buffer, which the kernel may still use.
//! fn read_exact<H: Handle>(
//!     ring: &mut IoUring<squeue::Entry, cqueue::Entry, H>,
//!     mut buf: Vec<u8>,
//! ) -> Result<Vec<u8>, Errno> {
//!     let mut done = 0;
//!     while done < buf.len() {
//!         let rest = &mut buf[done..];
//!         // No other operation in flight has this number, because none uses the same memory.
//!         let number = rest.as_ptr() as u64;
//!         let read = opcode::Read::new(types::Fd(0), rest.as_mut_ptr(), rest.len() as u32);
//!         // SAFETY: this function owns the buffer. It uses the buffer again only after the
//!         // completion, and leaks it if there is none.
//!         unsafe { ring.submission().push(&read.build().user_data(number)) }
//!             .map_err(|_| Errno::BUSY)?;
//!         let cqe = loop {
//!             match ring.submit_and_wait(1) {
//!                 // A signal may end the wait early. If entries were submitted, that is not an error.
//!                 Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
//!                 // The read is in flight, or still queued, and the next submit would start it.
//!                 Err(errno) => {
//!                     std::mem::forget(buf);
//!                     return Err(errno);
//!                 }
//!             }
//!             if let Some(cqe) = ring.completion().find(|cqe| cqe.user_data() == number) {
//!                 break cqe;
//!             }
//!         };
//!         match cqe.to_result()? {
//!             0 => return Err(Errno::NODATA),
//!             len => done += len as usize,
//!         }
//!     }
//!     Ok(buf)
//! }
//!
//! // A kernel that reads three bytes at a time. The fourth read fails.
//! let mut answers = ["abc", "def", "ghi"].into_iter();
//! let script = Script::new(move |submission| match submission.opcode() {
//!     opcode::Read::CODE => answers.next().map_or(Answer::error(Errno::IO), Answer::bytes),
//!     _ => Answer::usual(),
//! });
//! // SAFETY: the script returns only `bytes`, `error` and `usual`.
//! let mut ring = unsafe { <IoUring>::builder().build_mock(8, script) }?;
//!
//! // The first wait is interrupted.
//! ring.kernel().interrupt();
//! assert_eq!(read_exact(&mut ring, vec![0; 7])?, b"abcdefg");
//! assert_eq!(read_exact(&mut ring, vec![0; 7]), Err(Errno::IO));
//! # Ok::<(), Errno>(())
//! ```
//!
//! # The contract
//!
//! Unsafe code trusts the kernel. After a read completes with 5, the code treats five bytes as
//! initialized. It cannot tell that a script made up the number. Therefore
//! [`build_mock`](crate::Builder::build_mock) is `unsafe`. When you call it, you promise the
//! following for the script, and for all code that can access the [`Kernel`] of the ring:
//!
//! 1. **Results are true.** A result means what the page of its operation says, and it has
//!    happened. A read or receive is not longer than its buffers, and all of its bytes were
//!    written. A descriptor in a result is open, and now belongs to the program. A descriptor that
//!    was passed to a `Close` no longer does, if that `Close` completes with anything but
//!    -ECANCELED. A cancellation that found a request ends it.
//! 2. **Flags are true.** A buffer ID ([`Answer::buffer`]) is that of a buffer in the group, which
//!    the kernel has filled and which no completion has named before. The same applies to other
//!    [`flags`](Answer::flags) and to the [second half](Answer::big_cqe).
//! 3. **Operations complete as often as they do on a kernel.** Only multishot and zero-copy
//!    operations complete more than once ([`Answer::then`]).
//! 4. **Nothing happens after the last completion.** If you write to addresses in an entry
//!    yourself, you do so while the operation is in flight, and before the completion without
//!    `MORE`. (The mock itself keeps this rule.)
//! 5. **Posted completions belong to no operation.** [`Kernel::post`] uses user data that the
//!    program expects from other sources, such as other rings or tags. It never uses the user data
//!    of an operation in flight on this ring. If the program uses a kind of number itself, such as
//!    addresses, `post` uses only those that the program has handed out for this purpose.
//! 6. **Register calls are true.** If [`Script::register`] returns success, the call has done what
//!    its page says, and its count is right. The mock writes nothing to the argument of the call.
//!    Where a kernel would write, the program finds its own values, mostly zeros.
//! 7. **Features are true.** The behavior of the script matches its [features](Script::features).
//!
//! The following keep the contract for every operation, so you need not check them:
//!
//! - [`Answer::usual`], [`bytes`](Answer::bytes), [`pending`](Answer::pending),
//!   [`no_cqe`](Answer::no_cqe) and [`leave_queued`](Answer::leave_queued), also with
//!   [`after`](Answer::after) or [`uncancellable`](Answer::uncancellable);
//! - [`error`](Answer::error) and [`fail_at_submit`](Answer::fail_at_submit), if the operation had
//!   no effect;
//! - all methods of [`Kernel`] except `post` and `complete`, and `complete` with one of these
//!   answers;
//! - [`Script::default`].
//!
//! Check every [`result`](Answer::result), `buffer`, `flags`, `big_cqe`, `then` and `post`, and
//! every success of a register call.
//!
//! # Differences from a kernel
//!
//! - **Time** is simulated by the ring. It begins at zero and passes only while the program waits,
//!   and then instantly: up to the next completion that the script has [delayed](Answer::after), or
//!   up to the timeout of the wait. A wait that nothing would ever end fails with EDEADLK, which no
//!   kernel returns.
//! - **Operations** do only what the script says. For example, the mock does not process links and
//!   drains; the script must. It does process
//!   [`Flags::SKIP_SUCCESS`](crate::squeue::Flags::SKIP_SUCCESS). [`Answer::usual`] does what needs
//!   only the ring. Most important are cancellations, so that [`quiesce`](IoUring::quiesce) works.
//! - **Completions** wait in the mock if the queue is full. The mock sets the overflow flag, and
//!   posts them with the next call that asks for events. If the [features](Script::features) do not
//!   include [`NODROP`](crate::Features::NODROP), the mock drops and counts them instead. With
//!   [`setup_defer_taskrun`](crate::Builder::setup_defer_taskrun), all completions wait until a
//!   call asks for events. The thread of an SQPOLL ring is always asleep, so each submit wakes it.
//! - **Setup** fails where it would fail on a kernel, and with flags that the mock does not
//!   support: see [`build_mock`](crate::Builder::build_mock).
//! - **Addresses** are accessed as a kernel does: they need no alignment, and null gives -EFAULT.
//!   Any other invalid address is undefined behavior, because no kernel checks it.
//! - **Panics** in a script end the mock. A system call never unwinds, so the program may not
//!   expect this, and may have freed memory that its operations use. The mock drops everything in
//!   flight, accesses no memory except its own from then on, and fails each later call with ENXIO.
//! - **Register calls** return what the [script](Script::register) says; the default is EINVAL.
//!   Calls that would give the ring other memory, a descriptor or an index (`RESIZE_RINGS`,
//!   `MEM_REGION`, `RING_FDS`, `ZCRX_IFQ`, `ZCRX_CTRL`) always fail with EINVAL, and so do waits
//!   with arguments in registered memory.

mod answer;
#[cfg(test)]
pub(crate) mod bare;
mod region;
mod setup;
mod state;
#[cfg(test)]
mod tests;

use core::ffi::c_void;
use core::fmt;
use core::time::Duration;
use std::boxed::Box;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::vec::Vec;

use rustix::fd::BorrowedFd;
use rustix::io::{self, Errno};

pub use answer::{Answer, Submission};

use answer::{Posted, Special};
use region::Region;
use state::{State, Until, duration};

use crate::cqueue;
use crate::handle::Handle;
use crate::handle::sealed::{Seal, Sealed};
use crate::params::{EnterFlags, Features, SetupFlags};
use crate::ring::{Builder, IoUring};
use crate::shared::Ordering;
use crate::squeue::{self, PAD_USER_DATA, Sqe};
use crate::sys::call::{EnterArg, RingName};
use crate::sys::{self, io_uring_register_op::*};
use crate::types::Timespec;

type Answers = dyn FnMut(&Submission) -> Answer + Send;
type Registers = dyn FnMut(u32, u32) -> io::Result<u32> + Send;

/// The behavior of a mock kernel.
///
/// The default script answers everything with [`Answer::usual`].
pub struct Script {
    answers: Box<Answers>,
    registers: Box<Registers>,
    features: Features,
    start: u32,
}

impl Script {
    /// Creates a script that calls `answers` for each submission, in order, when the program makes
    /// an enter call.
    ///
    /// `answers` may use the [`Kernel`] of any ring, and that of its own ring through
    /// [`Submission::kernel`]. If it makes an enter or register call on its own ring, that call
    /// fails with EDEADLK.
    ///
    /// The answers are part of [the contract](self#the-contract).
    pub fn new(answers: impl FnMut(&Submission) -> Answer + Send + 'static) -> Self {
        Self {
            answers: Box::new(answers),
            registers: Box::new(|_, _| Err(Errno::INVAL)),
            features: Features::all().iter_names().map(|(_, feature)| feature).collect(),
            start: 0,
        }
    }

    /// Sets the function that answers register calls. Its arguments are the number of the operation
    /// (`io_uring_register_op` in [`sys`]) and the number of arguments.
    ///
    /// The answers are part of [the contract](self#the-contract).
    #[must_use]
    pub fn register(
        mut self,
        registers: impl FnMut(u32, u32) -> io::Result<u32> + Send + 'static,
    ) -> Self {
        self.registers = Box::new(registers);
        self
    }

    /// Sets the features of the mock kernel. The default is all features that have a name.
    #[must_use]
    pub fn features(mut self, features: Features) -> Self {
        self.features = features;
        self
    }

    /// Sets the position at which the queues start. The default is 0. A position just below
    /// [`u32::MAX`] wraps soon, which takes years on a real ring.
    #[must_use]
    pub fn start(mut self, position: u32) -> Self {
        self.start = position;
        self
    }
}

impl Default for Script {
    fn default() -> Self {
        Self::new(|_| Answer::usual())
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("features", &self.features).finish_non_exhaustive()
    }
}

/// The mock kernel of a ring, which is also the handle that keeps the ring open.
///
/// A clone refers to the same kernel. Use it for everything that happens independently of a
/// submission: completions by hand, messages, failures, time.
#[derive(Clone)]
pub struct Kernel(Arc<Shared>);

/// Lock order: the script before the state, never the other way round.
struct Shared {
    script: Mutex<Script>,
    /// The thread that holds the lock of the script.
    asker: Mutex<Option<ThreadId>>,
    state: Mutex<State>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Poisoning does not matter: no user code runs while the state is locked, and a script that has
    // panicked is not called again.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The script, locked by this thread. A panic in the script ends the mock.
struct Asking<'a> {
    kernel: &'a Kernel,
    script: MutexGuard<'a, Script>,
    inside: bool,
}

impl Asking<'_> {
    fn ask<T>(&mut self, question: impl FnOnce(&mut Script) -> T) -> T {
        self.inside = true;
        let answer = question(&mut self.script);
        self.inside = false;
        answer
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        *lock(&self.kernel.0.asker) = None;
        if self.inside {
            self.kernel.state().end();
        }
    }
}

impl Kernel {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// Locks the script.
    ///
    /// # Errors
    ///
    /// EDEADLK if the script itself is the caller.
    fn asking(&self) -> io::Result<Asking<'_>> {
        let asker = thread::current().id();
        if *lock(&self.0.asker) == Some(asker) {
            return Err(Errno::DEADLK);
        }
        let script = lock(&self.0.script);
        *lock(&self.0.asker) = Some(asker);
        Ok(Asking { kernel: self, script, inside: false })
    }

    /// Completes the oldest [pending](Answer::pending) operation with this user data, and returns
    /// whether there was one. If the answer ends with [`Answer::pending`], the operation stays in
    /// flight.
    ///
    /// The operation was submitted already. So [`Answer::leave_queued`] and
    /// [`Answer::fail_at_submit`] complete it with their error, and [`Answer::usual`] with -EINVAL.
    /// The answer is part of [the contract](self#the-contract).
    pub fn complete(&self, user_data: u64, answer: Answer) -> bool {
        let mut state = self.state();
        let now = state.now;
        let mut pending = state.in_flight.iter_mut().filter(|it| it.is_open());
        let Some(it) = pending.find(|it| it.sqe.user_data == user_data) else { return false };
        let answer = match answer.special {
            Some(Special::Usual) => Answer::error(Errno::INVAL),
            Some(Special::LeaveQueued(errno)) => Answer::error(errno),
            Some(Special::FailAtSubmit) | None => answer,
        };
        it.go_on(answer, now);
        state.in_flight.retain(|it| !it.is_over());
        state.settle(false);
        true
    }

    /// Posts a completion that belongs to no operation of this ring, as a message from another ring
    /// does. The completion is part of [the contract](self#the-contract).
    pub fn post(&self, user_data: u64, result: i32, flags: u32) {
        let mut state = self.state();
        let entry = cqueue::Entry { user_data, res: result, flags };
        state.waiting.push_back(Posted { entry, big: None });
        state.settle(false);
    }

    /// Makes one future enter call fail with this errno. That call consumes and posts nothing. Each
    /// call of `fail` adds one failure.
    pub fn fail(&self, errno: Errno) {
        self.state().failures.push_back(errno);
    }

    /// Makes one future wait end as if a signal arrived. The wait fails with EINTR if the call has
    /// submitted nothing and no completion is ready. Each call of `interrupt` adds one
    /// interruption.
    pub fn interrupt(&self) {
        self.state().interrupts += 1;
    }

    /// Lets time pass, and completes the operations that are then due.
    pub fn advance(&self, time: Duration) {
        let mut state = self.state();
        state.now = state.now.saturating_add(time);
        state.settle(false);
    }

    /// Returns the simulated time that has passed.
    pub fn now(&self) -> Duration {
        self.state().now
    }

    /// Returns the user data of the operations in flight, oldest first.
    pub fn in_flight(&self) -> Vec<u64> {
        self.state().in_flight.iter().map(|it| it.sqe.user_data).collect()
    }

    /// Returns the number of enter calls that the program has made.
    pub fn enters(&self) -> usize {
        self.state().enters
    }

    /// Consumes the submissions in up to `most` slots. Returns the number of slots consumed, and
    /// the error if it stopped before an entry.
    fn submit(&self, most: u32) -> (u32, io::Result<()>) {
        let mut asking = match self.asking() {
            Ok(asking) => asking,
            Err(errno) => return (0, Err(errno)),
        };
        let (setup, most) = {
            let state = self.state();
            let rewinds = state.setup.contains(SetupFlags::SQ_REWIND);
            let region = &state.region;
            let there = if rewinds { region.sq_entries() } else { region.published() };
            (state.setup, most.min(there))
        };
        let mut taken = 0;
        while taken < most {
            let (sqe, rest, slots) = self.look(taken, most - taken);
            let known = sqe.opcode < sys::IORING_OP_NOP128 || rest.is_some();
            let answer = if sqe.user_data == PAD_USER_DATA {
                Answer::usual()
            } else if known {
                // The state is not locked here, because the script may use the kernel.
                let submission = Submission { sqe, rest, kernel: self.clone() };
                asking.ask(|script| (script.answers)(&submission))
            } else {
                Answer::fail_at_submit(Errno::INVAL)
            };
            let mut state = self.state();
            let mut ends = false;
            let answer = match answer.special {
                None => answer,
                Some(Special::LeaveQueued(errno)) => return (taken, Err(errno)),
                Some(Special::Usual) => state.usual(&sqe),
                Some(Special::FailAtSubmit) => {
                    ends = !setup.contains(SetupFlags::SUBMIT_ALL);
                    answer
                }
            };
            taken += slots;
            if !setup.contains(SetupFlags::SQ_REWIND) {
                state.region.take(slots);
            }
            state.admit(sqe, answer);
            if ends {
                break;
            }
        }
        (taken, Ok(()))
    }

    /// Returns the next entry of a call that has consumed `taken` slots, and the number of its
    /// slots.
    fn look(&self, taken: u32, left: u32) -> (Sqe, Option<[u8; 64]>, u32) {
        let state = self.state();
        let region = &state.region;
        let position = if state.setup.contains(SetupFlags::SQ_REWIND) {
            taken
        } else {
            region.words().sq_head.load(Ordering::Relaxed)
        };
        let sqe = region.entry(position);
        let mixed = state.setup.contains(SetupFlags::SQE_MIXED);
        let big = region.all_big() || mixed && sqe.opcode >= sys::IORING_OP_NOP128;
        match region.second_half(position, left).filter(|_| big) {
            Some((half, slots)) => (sqe, Some(half), slots),
            None => (sqe, None, 1),
        }
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl Sealed for Kernel {
    fn name(&self, _: Seal) -> RingName {
        RingName::NONE
    }

    fn register_name(&self, _: Seal) -> RingName {
        RingName::NONE
    }

    fn descriptor(&self, _: Seal) -> Option<BorrowedFd<'_>> {
        None
    }

    fn now(&self, _: Seal) -> Duration {
        self.state().now
    }

    fn pause(&self, _: Seal, time: Duration) {
        self.advance(time);
    }

    unsafe fn enter(
        &self,
        _: Seal,
        to_submit: u32,
        min_complete: u32,
        flags: u32,
        arg: EnterArg<'_>,
    ) -> io::Result<u32> {
        let flags = EnterFlags::from_bits_retain(flags);
        let sqpoll = {
            let mut state = self.state();
            state.enters += 1;
            let defers = state.setup.contains(SetupFlags::DEFER_TASKRUN);
            let events = flags.contains(EnterFlags::GETEVENTS);
            let sqpoll = state.setup.contains(SetupFlags::SQPOLL);
            state.check(to_submit > 0 && !sqpoll || events && defers)?;
            if let Some(errno) = state.failures.pop_front() {
                return Err(errno);
            }
            sqpoll
        };
        let taken = if sqpoll {
            if flags.contains(EnterFlags::SQ_WAKEUP) {
                // A rejected entry stays queued. The error goes to the thread, not to the program.
                let _ = self.submit(u32::MAX);
            }
            to_submit
        } else {
            match self.submit(to_submit) {
                (0, Err(errno)) => return Err(errno),
                (taken, _) if taken < to_submit => return Ok(taken),
                (taken, _) => taken,
            }
        };
        if !flags.contains(EnterFlags::GETEVENTS) {
            return Ok(taken);
        }
        let mut until = Until::default();
        if let EnterArg::Extended(arg) = arg {
            let time = arg.ts.ptr.cast::<Timespec>();
            // SAFETY: the caller promises that the pointer is null, or a time borrowed for the
            // call.
            let time = unsafe { time.as_ref() }.map(|time| duration(*time));
            until.deadline = time.map(|time| (time, flags.contains(EnterFlags::ABS_TIMER)));
            until.min_wait = Duration::from_micros(arg.min_wait_usec.into());
        }
        match self.state().wait(min_complete, until) {
            Err(errno) if taken == 0 => Err(errno),
            _ => Ok(taken),
        }
    }

    unsafe fn register(&self, _: Seal, op: u32, _: *const c_void, nr_args: u32) -> io::Result<u32> {
        // A script could return success for these, but the mock cannot do what they do.
        let impossible = [IORING_REGISTER_RESIZE_RINGS, IORING_REGISTER_MEM_REGION]
            .into_iter()
            .chain([IORING_REGISTER_RING_FDS, IORING_REGISTER_ZCRX_IFQ])
            .any(|impossible| impossible as u32 == op);
        self.state().check(true)?;
        if impossible || op == sys::IORING_REGISTER_ZCRX_CTRL {
            return Err(Errno::INVAL);
        }
        self.asking()?.ask(|script| (script.registers)(op, nr_args))
    }

    #[cfg(feature = "raw-syscall")]
    unsafe fn enter_registered_wait(
        &self,
        _: Seal,
        _: u32,
        _: u32,
        _: u32,
        _: usize,
    ) -> io::Result<u32> {
        Err(Errno::INVAL)
    }
}
impl Handle for Kernel {}

impl<S: squeue::Kind, C: cqueue::Kind> IoUring<S, C, Kernel> {
    /// Returns the mock kernel of this ring.
    pub fn kernel(&self) -> &Kernel {
        &self.handle
    }
}

impl<S: squeue::Kind, C: cqueue::Kind> Builder<S, C> {
    /// Builds a ring in plain memory, with a script in place of the kernel: see
    /// [`mock`](crate::mock). Requires the cargo feature `mock-kernel`.
    ///
    /// ```
    /// # use rustix_uring::{IoUring, mock::{Answer, Script}};
    /// let script = Script::new(|_| Answer::pending());
    /// // SAFETY: pending operations have no results.
    /// let ring = unsafe { <IoUring>::builder().build_mock(8, script) }?;
    /// # Ok::<(), rustix_uring::Errno>(())
    /// ```
    ///
    /// This method is `unsafe`:
    ///
    /// ```compile_fail,E0133
    /// # use rustix_uring::{IoUring, mock::{Answer, Script}};
    /// let script = Script::new(|_| Answer::result(1 << 20));
    /// let ring = <IoUring>::builder().build_mock(8, script).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | because |
    /// |---|---|
    /// | EINVAL | the sizes are invalid; the flags conflict, as on a kernel that knows all of them; [`setup_iopoll`](Self::setup_iopoll), [`setup_r_disabled`](Self::setup_r_disabled) or [`setup_attach_wq`](Self::setup_attach_wq) is set, which the mock does not support |
    /// | EOVERFLOW | a [mixed](squeue::Mixed) queue has a single slot |
    ///
    /// # Safety
    ///
    /// The script, and all code that uses the [`Kernel`] of the ring, answers as a kernel would:
    /// everything that unsafe code may conclude from the answers of a kernel is true. [The
    /// contract](crate::mock#the-contract) states this in seven points, and lists the answers that
    /// need no check.
    pub unsafe fn build_mock(
        &self,
        entries: u32,
        script: Script,
    ) -> io::Result<IoUring<S, C, Kernel>> {
        const IMPOSSIBLE: SetupFlags =
            SetupFlags::IOPOLL.union(SetupFlags::R_DISABLED).union(SetupFlags::ATTACH_WQ);
        let (sq, cq) = self.sizes(entries)?;
        let setup = SetupFlags::from_bits_retain(self.params().flags);
        if setup::refused(setup) || setup.intersects(IMPOSSIBLE) {
            return Err(Errno::INVAL);
        }
        if setup.contains(SetupFlags::SQE_MIXED) && sq < 2
            || setup.contains(SetupFlags::CQE_MIXED) && cq < 2
        {
            return Err(Errno::OVERFLOW);
        }
        let region = Region::new::<S, C>(sq, cq, if S::REWIND { 0 } else { script.start });
        let mut params = region.params();
        params.flags |= setup.bits();
        params.features = script.features.bits();
        let memory = region.memory();
        let mut state = State {
            region,
            setup,
            features: script.features,
            issuer: setup.contains(SetupFlags::SINGLE_ISSUER).then(|| thread::current().id()),
            ended: false,
            mixed_cqes: setup.contains(SetupFlags::CQE_MIXED),
            now: Duration::ZERO,
            in_flight: Vec::new(),
            waiting: VecDeque::new(),
            overflown: false,
            failures: VecDeque::new(),
            interrupts: 0,
            enters: 0,
        };
        state.settle(false);
        let (script, asker, state) = (Mutex::new(script), Mutex::new(None), Mutex::new(state));
        let shared = Shared { script, asker, state };
        self.ring(params, memory, Kernel(Arc::new(shared)))
    }
}
