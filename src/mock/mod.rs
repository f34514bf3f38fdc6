//! A ring whose other side is a program: for tests of what is built on rings.
//!
//! The queues lie in plain memory, and what the kernel would do, a [`Script`] says: it gets each
//! submission, and returns an [`Answer`]. There are no system calls, so this works where io_uring
//! is forbidden, and under Miri; nothing happens by chance, and no real time passes. With the cargo
//! feature `mock-kernel`. (Entries carry addresses as numbers: `-Zmiri-permissive-provenance`
//! tells Miri that this is meant.)
//!
//! The ring is an [`IoUring`] as any other, but for its third parameter: held open by a [`Kernel`] in
//! slot of a descriptor. So a runtime that is to be tested is generic over
//! [`H: Handle`](crate::Handle), and not otherwise written for it.
//!
//! ```
//! use rustix_uring::mock::{Answer, Script};
//! use rustix_uring::{Errno, Handle, IoUring, cqueue, opcode, squeue, types};
//!
//! /// Reads until the buffer is full. On an error, the kernel may still have the buffer: it is lost.
//! fn read_exact<H: Handle>(
//!     ring: &mut IoUring<squeue::Entry, cqueue::Entry, H>,
//!     mut buf: Vec<u8>,
//! ) -> Result<Vec<u8>, Errno> {
//!     let mut done = 0;
//!     while done < buf.len() {
//!         let rest = &mut buf[done..];
//!         // No other operation in flight can have this number: its memory would be the same.
//!         let number = rest.as_ptr() as u64;
//!         let read = opcode::Read::new(types::Fd(0), rest.as_mut_ptr(), rest.len() as u32);
//!         // SAFETY: we own the buffer, use it again when the completion is here, and leak it if
//!         // that does not come.
//!         unsafe { ring.submission().push(&read.build().user_data(number)) }
//!             .map_err(|_| Errno::BUSY)?;
//!         let cqe = loop {
//!             match ring.submit_and_wait(1) {
//!                 // A signal also ends a wait that has submitted something, which is no error.
//!                 Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
//!                 // The read is in flight, or queued, and then the next submit starts it.
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
//! // A kernel that reads three bytes at a time, and the fourth time fails.
//! let mut answers = ["abc", "def", "ghi"].into_iter();
//! let script = Script::new(move |submission| match submission.opcode() {
//!     opcode::Read::CODE => answers.next().map_or(Answer::error(Errno::IO), Answer::bytes),
//!     _ => Answer::usual(),
//! });
//! // SAFETY: the script gives no other answers than `bytes`, `error` and `usual`.
//! let mut ring = unsafe { <IoUring>::builder().build_mock(8, script) }?;
//!
//! // The first wait ends early.
//! ring.kernel().interrupt();
//! assert_eq!(read_exact(&mut ring, vec![0; 7])?, b"abcdefg");
//! assert_eq!(read_exact(&mut ring, vec![0; 7]), Err(Errno::IO));
//! # Ok::<(), Errno>(())
//! ```
//!
//! # The contract
//!
//! Unsafe code trusts the kernel. After a read that completes with 5, it takes five bytes for
//! initialized, and nothing in a result tells it that a script has made the number up. So
//! [`build_mock`](crate::Builder::build_mock) is `unsafe`. If you call it, you promise for the
//! script and for everybody who can get at the ring's [`Kernel`]:
//!
//! 1. **Results are true.** A result says what the page of the operation says, and it has happened. A
//!    read or receive is not longer than its buffers, and all of it was written. A descriptor in a
//!    result is open, and belongs to the program from now on. One that was given to a `Close` that
//!    completes with anything but -ECANCELED does not. A cancellation that found something ends it.
//! 2. **Flags are true.** A buffer ID ([`Answer::buffer`]) is that of a buffer in the group, which the
//!    kernel has filled and not named before. The same goes for other [`flags`](Answer::flags) and for
//!    the [second half](Answer::big_cqe).
//! 3. **Operations complete as often as they do on a kernel.** Only multishot and zero-copy operations
//!    complete more than once ([`Answer::then`]).
//! 4. **The last completion is the last.** If you write to addresses in an entry yourself, you do it
//!    before the completion without `MORE`, and while the operation is in flight. (The mock keeps this
//!    by itself.)
//! 5. **Posted completions belong to nobody.** [`Kernel::post`] takes user data that the program
//!    expects from elsewhere, from other rings or from tags. It never takes that of an operation in
//!    flight here, and never the program's own kind of number, such as an address, if it was not
//!    given out for that.
//! 6. **Register calls are true.** If [`Script::register`] answers with success, the call has done what
//!    its page says, and its count is right. The mock writes nothing to the call's argument: where a
//!    kernel would, the program finds its own values, mostly zeros.
//! 7. **Features are true.** What the script does is in accordance with its
//!    [features](Script::features).
//!
//! These keep the contract for every operation, so that you need not look at them:
//! [`Answer::usual`], [`bytes`](Answer::bytes), [`pending`](Answer::pending),
//! [`no_cqe`](Answer::no_cqe), [`leave_queued`](Answer::leave_queued), each of them
//! [`after`](Answer::after) a time or [`uncancellable`](Answer::uncancellable), and
//! [`error`](Answer::error) and [`fail_at_submit`](Answer::fail_at_submit) if the operation had no effect. So do
//! all methods of [`Kernel`] but `post` and `complete`, and `complete` with one of these answers; and
//! [`Script::default`]. Check every [`result`](Answer::result), `buffer`, `flags`, `big`, `then` and
//! `post`, and every success of a register call.
//!
//! # How it differs from a kernel
//!
//! - **Time** is the ring's own. It begins at zero and passes only while the program waits, and then
//!   at once: up to the next completion that a script has put [off](Answer::after), or to the end of
//!   the wait's timeout. A wait that nothing would ever end fails with EDEADLK, which no kernel says.
//! - **Operations** do what the script says, and nothing of themselves. Links and drains, for one,
//!   are for the script to heed; [`Flags::SKIP_SUCCESS`](crate::squeue::Flags::SKIP_SUCCESS) is
//!   heeded. [`Answer::usual`] does what can be done in the ring alone, cancellations above all, so
//!   that [`quiesce`](IoUring::quiesce) works.
//! - **Completions** that find the queue full wait, are flagged, and come with the next call that
//!   wants events; with [features](Script::features) without
//!   [`NODROP`](crate::Features::NODROP) they are lost and counted. With
//!   [`setup_defer_taskrun`](crate::Builder::setup_defer_taskrun) all wait until events are wanted.
//!   An SQPOLL ring's thread always sleeps, so that each submit wakes it.
//! - **Setup** is refused where a kernel would refuse it, and with flags that the mock does not have: see
//!   [`build_mock`](crate::Builder::build_mock).
//! - **Addresses** are followed as a kernel does: they need no alignment, and null is -EFAULT. Other
//!   addresses that are not the program's are undefined behavior: no kernel is there to check them.
//! - **Panics** of a script end the mock. No system call unwinds, so the program may not be prepared
//!   for it, and may have freed what its operations use. The mock forgets everything in flight,
//!   touches no memory but its own from then on, and fails each later call with ENXIO.
//! - **Register calls** answer as the [script](Script::register) says, EINVAL if it says nothing. Those
//!   that would give the ring other memory, a descriptor or an index (`RESIZE_RINGS`,
//!   `MEM_REGION`, `RING_FDS`, `ZCRX_IFQ`, `ZCRX_CTRL`), and waits in registered memory, are EINVAL.

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

/// What the other side of a mock ring does.
///
/// The default does only what is [usual](Answer::usual).
pub struct Script {
    answers: Box<Answers>,
    registers: Box<Registers>,
    features: Features,
    start: u32,
}

impl Script {
    /// Asks `answers` about each submission, in their order, when the program enters.
    ///
    /// It may use the [`Kernel`] of any ring, its own from [`Submission::kernel`]. A call that enters or
    /// registers with the ring whose script it is fails with EDEADLK.
    ///
    /// What it answers is part of [the contract](self#the-contract).
    pub fn new(answers: impl FnMut(&Submission) -> Answer + Send + 'static) -> Self {
        Self {
            answers: Box::new(answers),
            registers: Box::new(|_, _| Err(Errno::INVAL)),
            features: Features::all().iter_names().map(|(_, feature)| feature).collect(),
            start: 0,
        }
    }

    /// Asks `registers` about each register call: the operation's number
    /// (`io_uring_register_op` of [`sys`]), and how many arguments there are.
    ///
    /// What it answers is part of [the contract](self#the-contract).
    #[must_use]
    pub fn register(
        mut self,
        registers: impl FnMut(u32, u32) -> io::Result<u32> + Send + 'static,
    ) -> Self {
        self.registers = Box::new(registers);
        self
    }

    /// Which features the kernel has; all that have a name, if this is not said.
    #[must_use]
    pub fn features(mut self, features: Features) -> Self {
        self.features = features;
        self
    }

    /// At which position the queues start; 0, if this is not said. Positions close below
    /// [`u32::MAX`] wrap soon, which takes a kernel's ring years.
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

/// What holds a mock ring open: the kernel that it has.
///
/// A clone is the same one. It is for what happens without being asked for: completions by hand,
/// messages, failures, time.
#[derive(Clone)]
pub struct Kernel(Arc<Shared>);

/// A script is locked before the state, and never the other way round.
struct Shared {
    script: Mutex<Script>,
    /// Which thread has it locked.
    asker: Mutex<Option<ThreadId>>,
    state: Mutex<State>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No user code runs while the state is locked, and a script that has panicked is asked no more.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The script, locked by this thread. A panic inside ends the mock.
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

    /// # Errors
    ///
    /// EDEADLK if it is the script that calls us.
    fn asking(&self) -> io::Result<Asking<'_>> {
        let asker = thread::current().id();
        if *lock(&self.0.asker) == Some(asker) {
            return Err(Errno::DEADLK);
        }
        let script = lock(&self.0.script);
        *lock(&self.0.asker) = Some(asker);
        Ok(Asking { kernel: self, script, inside: false })
    }

    /// Completes the oldest operation in flight that has this user data and is
    /// [pending](Answer::pending), and says whether there is one. If the answer ends with
    /// [`Answer::pending`], it stays in flight.
    ///
    /// It was taken already: [`Answer::leave_queued`] and [`Answer::fail_at_submit`] complete it with their error, and
    /// [`Answer::usual`] with -EINVAL. The answer is part of [the contract](self#the-contract).
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

    /// Posts a completion of no operation here, as a message from another ring does. It is part of
    /// [the contract](self#the-contract).
    pub fn post(&self, user_data: u64, result: i32, flags: u32) {
        let mut state = self.state();
        let entry = cqueue::Entry { user_data, res: result, flags };
        state.waiting.push_back(Posted { entry, big: None });
        state.settle(false);
    }

    /// Has one enter call to come fail with this errno, which takes and posts nothing. Each such
    /// call adds one.
    pub fn fail(&self, errno: Errno) {
        self.state().failures.push_back(errno);
    }

    /// Has one wait to come end as if a signal came: with EINTR, if the call has submitted nothing and
    /// nothing is there. Each such call adds one.
    pub fn interrupt(&self) {
        self.state().interrupts += 1;
    }

    /// Lets time pass, and what is due then completes.
    pub fn advance(&self, time: Duration) {
        let mut state = self.state();
        state.now = state.now.saturating_add(time);
        state.settle(false);
    }

    /// The ring's time: how much has passed.
    pub fn now(&self) -> Duration {
        self.state().now
    }

    /// The user data of what is in flight, oldest first.
    pub fn in_flight(&self) -> Vec<u64> {
        self.state().in_flight.iter().map(|it| it.sqe.user_data).collect()
    }

    /// How many enter calls the program has made.
    pub fn enters(&self) -> usize {
        self.state().enters
    }

    /// Takes up to `most` slots' submissions, and says how many slots it has taken, and with what
    /// it stopped before an entry.
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
                // Not locked: the script may use us.
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

    /// The next entry of a call that has taken some, and how many slots it has.
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
                // What is refused stays queued, and nobody is told: it is the thread's affair.
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
            // SAFETY: null, or a time that is borrowed for the call, as our caller promises.
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
        // A script can say that these succeed; it cannot make it so.
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
    /// The other side of this ring.
    pub fn kernel(&self) -> &Kernel {
        &self.handle
    }
}

impl<S: squeue::Kind, C: cqueue::Kind> Builder<S, C> {
    /// Sets up a ring in plain memory, with a program in place of the kernel: see
    /// [`mock`](crate::mock). With the cargo feature `mock-kernel`.
    ///
    /// ```
    /// # use rustix_uring::{IoUring, mock::{Answer, Script}};
    /// let script = Script::new(|_| Answer::pending());
    /// // SAFETY: pending operations have no results.
    /// let ring = unsafe { <IoUring>::builder().build_mock(8, script) }?;
    /// # Ok::<(), rustix_uring::Errno>(())
    /// ```
    ///
    /// It is `unsafe`:
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
    /// | EINVAL | there are no rings of these sizes; flags do not go together, as on a kernel that knows all of them; [`setup_iopoll`](Self::setup_iopoll), [`setup_r_disabled`](Self::setup_r_disabled) or [`setup_attach_wq`](Self::setup_attach_wq), which a mock cannot imitate |
    /// | EOVERFLOW | a [mixed](squeue::Mixed) queue with a single slot |
    ///
    /// # Safety
    ///
    /// The script, and everybody who uses the ring's [`Kernel`], answers as a kernel would: whatever
    /// unsafe code may conclude from what a kernel answers is true. [The
    /// contract](crate::mock#the-contract) has this in seven points, and says which answers need
    /// no check.
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
