//! The compared crates, three of which have the same interface.

use std::marker::PhantomData;
use std::os::fd::{AsRawFd, RawFd};

use rustix_uring::SetupFlags;

use super::{
    Column, Lasting, Named, Nop, OURS, OURS_IN_BULK, Peer, Push, Read, ReadFixed, Recv, Sample,
    Send, Setup, Timeout,
};

/// The time that an SQPOLL thread stays awake, in milliseconds.
pub(crate) const IDLE: u32 = 2;

/// Defines a module with the operations as entries of a crate. The builders have the same names in
/// all crates.
macro_rules! entries {
    ($uring:ident) => {
        use super::*;
        use $uring::opcode;
        use $uring::squeue::Entry;
        use $uring::types::{Fd, Fixed};

        pub(super) trait Build {
            fn entry(self, user_data: u64) -> Entry;
        }

        /// Builds an entry in a function that is not inlined, and returns it.
        #[inline(never)]
        pub(super) fn returned<O: Sample + Build>(fd: RawFd, buf: *mut u8, len: u32, i: u64) -> Entry {
            O::sample(fd, Lasting { start: buf, len }, i).entry(i)
        }

        entries! { Build, Entry,
            Nop: Nop => opcode::Nop::new();
            Read: Read { fd, buf, offset } =>
                opcode::Read::new(Fd(fd), buf.start, buf.len).offset(offset);
            ReadFixed: ReadFixed { slot, buf, buf_index, offset } =>
                opcode::ReadFixed::new(Fixed(slot), buf.start, buf.len, buf_index).offset(offset);
            Send: Send { fd, buf } => opcode::Send::new(Fd(fd), buf.start, buf.len);
            Recv: Recv { fd, buf } => opcode::Recv::new(Fd(fd), buf.start, buf.len);
            Timeout: Timeout { time, count } => opcode::Timeout::new(time.cast()).count(count);
        }
    };
    ($Build:ident, $Entry:ident, $($Op:ty: $op:pat => $builder:expr;)*) => { $(
        impl $Build for $Op {
            #[inline(always)]
            fn entry(self, user_data: u64) -> $Entry {
                let $op = self;
                $builder.build().user_data(user_data)
            }
        }
    )* };
}

mod ours {
    entries!(rustix_uring);
    use rustix_uring::squeue::{Filled, Vacant};

    /// Builds an entry in a function that is not inlined, in the slot that the caller reserved.
    #[inline(never)]
    pub(super) fn written<O: Sample + Build>(
        slot: Vacant<'_, Entry>,
        fd: RawFd,
        buf: *mut u8,
        len: u32,
        i: u64,
    ) -> Filled<'_, Entry> {
        slot.write(O::sample(fd, Lasting { start: buf, len }, i).entry(i))
    }
}

mod tokio {
    entries!(io_uring);
}

mod published {
    entries!(rustix_uring_06);
}

/// A builder with the flags of the setup. The crate does not support flags that are not in the
/// list.
macro_rules! builder {
    ($uring:ident, $setup:ident, $($FLAG:ident: $method:ident($($arg:expr)?)),*) => {{
        let mut builder = <$uring::IoUring>::builder();
        let mut rest = $setup.flags;
        $(
            if rest.contains(SetupFlags::$FLAG) {
                builder.$method($($arg)?);
                rest.remove(SetupFlags::$FLAG);
            }
        )*
        if !rest.is_empty() {
            return Err(format!("the crate does not support {rest:?}"));
        }
        builder
    }};
}

fn our_builder(setup: &Setup) -> Result<rustix_uring::Builder, String> {
    Ok(builder!(rustix_uring, setup,
        NO_SQARRAY: setup_no_sqarray(), COOP_TASKRUN: setup_coop_taskrun(),
        SINGLE_ISSUER: setup_single_issuer(), DEFER_TASKRUN: setup_defer_taskrun(),
        SQPOLL: setup_sqpoll(IDLE)))
}

fn our_ring(setup: &Setup, entries: u32) -> Result<rustix_uring::IoUring, String> {
    our_builder(setup)?.build(entries).map_err(|error| error.to_string())
}

/// Sets up a ring with all suitable flags, by the single call for that purpose.
fn our_local_ring(setup: &Setup, entries: u32) -> Result<LocalRing, String> {
    let ring = if setup.flags == Setup::ALL.flags {
        <rustix_uring::IoUring>::builder().build_local(entries)
    } else {
        let mut ring = our_ring(setup, entries)?.into_local();
        ring.register_ring_fd().map(|()| ring)
    };
    ring.map_err(|error| error.to_string())
}

type LocalRing = rustix_uring::IoUring<
    rustix_uring::squeue::Entry,
    rustix_uring::cqueue::Entry,
    rustix_uring::Local,
>;

fn tokio_ring(setup: &Setup, entries: u32) -> Result<io_uring::IoUring, String> {
    let builder = builder!(io_uring, setup,
        NO_SQARRAY: setup_no_sqarray(), COOP_TASKRUN: setup_coop_taskrun(),
        SINGLE_ISSUER: setup_single_issuer(), DEFER_TASKRUN: setup_defer_taskrun(),
        SQPOLL: setup_sqpoll(IDLE));
    builder.build(entries).map_err(|error| error.to_string())
}

fn published_ring(setup: &Setup, entries: u32) -> Result<rustix_uring_06::IoUring, String> {
    if setup.registered {
        return Err("the crate cannot register a ring".into());
    }
    let builder = builder!(rustix_uring_06, setup,
        COOP_TASKRUN: setup_coop_taskrun(), SINGLE_ISSUER: setup_single_issuer(),
        DEFER_TASKRUN: setup_defer_taskrun(), SQPOLL: setup_sqpoll(IDLE));
    builder.build(entries).map_err(|error| error.to_string())
}

/// `io-uring` stores a registered index in the submitter that registered it.
pub(crate) struct TokioRegistered {
    submitter: io_uring::Submitter<'static>,
    ring: *mut io_uring::IoUring,
}

impl TokioRegistered {
    fn new(setup: &Setup, entries: u32) -> Result<Self, String> {
        let ring = Box::into_raw(Box::new(tokio_ring(setup, entries)?));
        // SAFETY: the box is alive until this value is dropped.
        let submitter = unsafe { &*ring }.submitter();
        let mut ring = Self { submitter, ring };
        ring.submitter.register_ring_fd().map_err(|error| error.to_string())?;
        Ok(ring)
    }

    #[inline(always)]
    fn ring(&self) -> &io_uring::IoUring {
        // SAFETY: the box is alive until this value is dropped, and only shared references to it
        // exist.
        unsafe { &*self.ring }
    }

    #[inline(always)]
    fn submission(&mut self) -> io_uring::SubmissionQueue<'_> {
        // SAFETY: `self` is borrowed mutably, so there is no other view.
        unsafe { self.ring().submission_shared() }
    }

    #[inline(always)]
    fn completion(&mut self) -> io_uring::CompletionQueue<'_> {
        // SAFETY: `self` is borrowed mutably, so there is no other view.
        unsafe { self.ring().completion_shared() }
    }

    #[inline(always)]
    fn submit(&self) -> std::io::Result<usize> {
        self.submitter.submit()
    }

    #[inline(always)]
    fn submit_and_wait(&self, want: usize) -> std::io::Result<usize> {
        self.submitter.submit_and_wait(want)
    }

    #[inline(always)]
    fn split(
        &mut self,
    ) -> (&io_uring::Submitter<'_>, io_uring::SubmissionQueue<'_>, io_uring::CompletionQueue<'_>)
    {
        // SAFETY: `self` is borrowed mutably, so there are no other views.
        unsafe {
            let (sq, cq) = (self.ring().submission_shared(), self.ring().completion_shared());
            (&self.submitter, sq, cq)
        }
    }
}

impl Drop for TokioRegistered {
    fn drop(&mut self) {
        // This fails if the registration failed, which does not matter here.
        let _ = self.submitter.unregister_ring_fd();
        // SAFETY: this value owns the box, and the submitter is no longer used.
        drop(unsafe { Box::from_raw(self.ring) });
    }
}

/// Implements the peer for a crate whose ring and queue methods have the common names.
macro_rules! peer {
    (
        $Peer:ident = $uring:ident, $Ring:ty, $ring:path, $column:expr, $Registered:ty,
        |$cqe:ident| $user_data:expr, $result:expr
    ) => {
        pub(crate) enum $Peer {}

        impl Peer for $Peer {
            const COLUMN: Column = $column;
            type Registered = $Registered;
            type Ring = $Ring;
            type Queue<'a> = $uring::SubmissionQueue<'a>;

            fn ring(setup: &Setup, entries: u32) -> Result<Self::Ring, String> {
                $ring(setup, entries)
            }

            #[inline(always)]
            fn queue(ring: &mut Self::Ring) -> Self::Queue<'_> {
                ring.submission()
            }

            #[inline(always)]
            fn submit(ring: &mut Self::Ring) -> usize {
                ring.submit().expect("cannot submit")
            }

            #[inline(always)]
            fn submit_and_wait(ring: &mut Self::Ring, want: usize) -> usize {
                ring.submit_and_wait(want).expect("cannot submit and wait")
            }

            #[inline(always)]
            fn reap(ring: &mut Self::Ring, mut each: impl FnMut(u64, i32)) {
                for $cqe in ring.completion() {
                    each($user_data, $result);
                }
            }

            #[inline(always)]
            fn reap_one(ring: &mut Self::Ring) -> u64 {
                let $cqe = ring.completion().next().expect("there is no completion");
                $user_data
            }

            #[inline(always)]
            fn split_round_trips(ring: &mut Self::Ring, rounds: u64) -> Option<u64> {
                let (submitter, mut sq, mut cq) = ring.split();
                let mut sum = 0;
                for i in 0..rounds {
                    <Self as Push<Nop>>::push(&mut sq, Nop, i);
                    sq.sync();
                    submitter.submit_and_wait(1).expect("cannot submit and wait");
                    cq.sync();
                    let $cqe = cq.next().expect("there is no completion");
                    sum += $user_data;
                    cq.sync();
                }
                Some(sum)
            }
        }
    };
}

/// Implements pushing for a crate whose builders return entries.
macro_rules! push {
    ($Peer:ident, $entries:ident) => {
        impl<O: $entries::Build> Push<O> for $Peer {
            #[inline(always)]
            fn push(queue: &mut Self::Queue<'_>, op: O, user_data: u64) {
                // SAFETY: the memory of the operation outlives it.
                unsafe { queue.push(&op.entry(user_data)) }.expect("the queue is full");
            }

            #[inline(always)]
            fn push_behind_call(queue: &mut Self::Queue<'_>, fd: RawFd, buf: Lasting, i: u64)
            where
                O: Sample,
            {
                // SAFETY: the memory of the operation outlives it.
                unsafe { queue.push(&$entries::returned::<O>(fd, buf.start, buf.len, i)) }
                    .expect("the queue is full");
            }
        }
    };
}

peer!(
    Ours = rustix_uring,
    rustix_uring::IoUring,
    our_ring,
    OURS,
    OursLocal,
    |cqe| cqe.user_data(),
    cqe.result()
);
peer!(
    OursLocal = rustix_uring,
    LocalRing,
    our_local_ring,
    OURS,
    Self,
    |cqe| cqe.user_data(),
    cqe.result()
);
peer!(
    IoUring = io_uring,
    io_uring::IoUring,
    tokio_ring,
    "io-uring 0.7",
    IoUringRegistered,
    |cqe| cqe.user_data(),
    cqe.result()
);
peer!(
    IoUringRegistered = io_uring,
    TokioRegistered,
    TokioRegistered::new,
    "io-uring 0.7",
    Self,
    |cqe| cqe.user_data(),
    cqe.result()
);
peer!(
    Published = rustix_uring_06,
    rustix_uring_06::IoUring,
    published_ring,
    "rustix-uring 0.6",
    Self,
    |cqe| cqe.user_data_u64(),
    cqe.raw_result()
);

push!(OursLocal, ours);
push!(IoUring, tokio);
push!(IoUringRegistered, tokio);
push!(Published, published);

impl<O: ours::Build> Push<O> for Ours {
    #[inline(always)]
    fn push(queue: &mut Self::Queue<'_>, op: O, user_data: u64) {
        // SAFETY: the memory of the operation outlives it.
        unsafe { queue.push(&op.entry(user_data)) }.expect("the queue is full");
    }

    #[inline(always)]
    fn push_behind_call(queue: &mut Self::Queue<'_>, fd: RawFd, buf: Lasting, i: u64)
    where
        O: Sample,
    {
        let slot = queue.reserve().expect("the queue is full");
        // SAFETY: the memory of the operation outlives it.
        unsafe { ours::written::<O>(slot, fd, buf.start, buf.len, i).commit() };
    }
}

/// Our crate with batch operations: `push_each` and slices. In rows with a builder behind a call,
/// the builder returns the entry.
pub(crate) struct InBulk<P>(PhantomData<P>);
pub(crate) type OursInBulk = InBulk<Ours>;

/// Our rings, with a shared or a task-bound handle.
pub(crate) trait OurRing:
    for<'a> Peer<Queue<'a> = rustix_uring::SubmissionQueue<'a>, Registered = OursLocal>
{
    fn completion(ring: &mut Self::Ring) -> rustix_uring::CompletionQueue<'_>;
}

impl OurRing for Ours {
    #[inline(always)]
    fn completion(ring: &mut Self::Ring) -> rustix_uring::CompletionQueue<'_> {
        ring.completion()
    }
}

impl OurRing for OursLocal {
    #[inline(always)]
    fn completion(ring: &mut Self::Ring) -> rustix_uring::CompletionQueue<'_> {
        ring.completion()
    }
}

impl<P: OurRing> Peer for InBulk<P> {
    const COLUMN: Column = OURS_IN_BULK;
    type Registered = InBulk<OursLocal>;
    type Ring = P::Ring;
    type Queue<'a> = P::Queue<'a>;

    fn ring(setup: &Setup, entries: u32) -> Result<Self::Ring, String> {
        P::ring(setup, entries)
    }

    #[inline(always)]
    fn queue(ring: &mut Self::Ring) -> Self::Queue<'_> {
        P::queue(ring)
    }

    #[inline(always)]
    fn submit(ring: &mut Self::Ring) -> usize {
        P::submit(ring)
    }

    #[inline(always)]
    fn submit_and_wait(ring: &mut Self::Ring, want: usize) -> usize {
        P::submit_and_wait(ring, want)
    }

    #[inline(always)]
    fn reap(ring: &mut Self::Ring, mut each: impl FnMut(u64, i32)) {
        let mut queue = P::completion(ring);
        let (older, newer) = queue.as_slices();
        for cqe in older {
            each(cqe.user_data(), cqe.result());
        }
        for cqe in newer {
            each(cqe.user_data(), cqe.result());
        }
        queue.consume(queue.len());
    }

    #[inline(always)]
    fn reap_one(ring: &mut Self::Ring) -> u64 {
        P::reap_one(ring)
    }
}

impl<P: OurRing, O: ours::Build> Push<O> for InBulk<P> {
    #[inline(always)]
    fn push(queue: &mut Self::Queue<'_>, op: O, user_data: u64) {
        // SAFETY: the memory of the operation outlives it.
        unsafe { queue.push(&op.entry(user_data)) }.expect("the queue is full");
    }

    #[inline(always)]
    fn push_each(queue: &mut Self::Queue<'_>, n: u64, op: impl Fn(u64) -> O) {
        // SAFETY: the operations' memory lasts.
        unsafe { queue.push_each(n as usize, |i| op(i as u64).entry(i as u64)) }
            .expect("the queue is full");
    }

    #[inline(always)]
    fn push_behind_call(queue: &mut Self::Queue<'_>, fd: RawFd, buf: Lasting, i: u64)
    where
        O: Sample,
    {
        // SAFETY: the memory of the operation outlives it.
        unsafe { queue.push(&ours::returned::<O>(fd, buf.start, buf.len, i)) }
            .expect("the queue is full");
    }
}

macro_rules! named {
    ($($Peer:ident)*) => { $(
        impl Named for $Peer {
            fn fd(ring: &Self::Ring) -> RawFd {
                ring.as_raw_fd()
            }
        }
    )* };
}
named!(Ours OursInBulk IoUring Published);
