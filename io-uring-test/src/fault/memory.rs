//! Memory or descriptors run out, at each step that can fail for that reason.

use std::io::{Error, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::thread;

use anyhow::ensure;
use rustix::fs::{Mode, OFlags, open};
use rustix::param::page_size;
use rustix::process::Resource;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use rustix_uring::opcode::{OpenAt, Pipe, Socket};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::sys::io_uring_register_op::*;
use rustix_uring::sys::{
    IORING_OFF_CQ_RING, IORING_OFF_PBUF_RING, IORING_OFF_PBUF_SHIFT, IORING_OFF_SQES,
};
use rustix_uring::types::{AddressFamily, Fd, OFlags as Open, SocketType, iovec};
use rustix_uring::{BufRingFlags, Errno, IoUring, SetupFlags};

use crate::harness::Need::*;
use crate::harness::*;
use crate::register::buf_ring::KERNELS;

const DEFER: SetupFlags = SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN);
const PBUF_RING: Need = Register(IORING_REGISTER_PBUF_RING as u32);
const RESIZE: Need = Register(IORING_REGISTER_RESIZE_RINGS as u32);
const RING_FDS: Need = Register(IORING_REGISTER_RING_FDS as u32);

pub(crate) const CASES: &[Case] = &[
    Case::once("no_mapping", &[FILTERED], no_mapping),
    Case::once("no_mapping_of_buffers", &[FILTERED, PBUF_RING, KERNELS], no_mapping_of_buffers),
    Case::kinds("no_mapping_after_resize", &[FILTERED, RESIZE, RingWith(DEFER)], after_resize),
    Case::once(
        "no_mapping_after_resize_of_local",
        &[FILTERED, RESIZE, RING_FDS, RingWith(DEFER)],
        after_resize_of_local,
    ),
    Case::once("no_locked_memory", &[], no_locked_memory),
    Case::once("no_index", &[RING_FDS], no_index),
    Case::kinds("no_request", &[], no_request),
    Case::kinds("no_descriptor", &[Opcode(OpenAt::CODE), Opcode(Socket::CODE)], no_descriptor),
    Case::kinds("no_descriptor_for_pipe", &[Opcode(Pipe::CODE)], no_descriptor_for_pipe),
];

/// The system call for `mmap(2)`, and the unit of its last argument.
#[cfg(target_pointer_width = "64")]
const MMAP: (libc::c_long, u64) = (libc::SYS_mmap, 1);
#[cfg(target_pointer_width = "32")]
const MMAP: (libc::c_long, u64) = (libc::SYS_mmap2, 4096);

/// Makes the mapping at this offset fail with ENOMEM in this thread. With `len`, only if it has
/// that length.
fn refuse_mapping(offset: u64, len: Option<usize>) -> Result {
    let (call, unit) = MMAP;
    let len = len.map(|len| (1, len as u64));
    let args: Vec<_> = [(5, offset / unit)].into_iter().chain(len).collect();
    seccomp::answer_where(call, &args, libc::ENOMEM)
}

/// On s390, the arguments of `mmap(2)` are in memory, where a filter cannot see them.
const FILTERED: Need = Found {
    what: "a filter that sees the arguments of mmap(2)",
    look: || {
        thread::spawn(|| -> Result<bool> {
            let zero = open("/dev/zero", OFlags::RDONLY, Mode::empty())?;
            let offset = u64::from(IORING_OFF_SQES);
            refuse_mapping(offset, None)?;
            let (len, offset, fd) = (page_size(), offset as libc::off_t, zero.as_raw_fd());
            let flags = (libc::PROT_READ, libc::MAP_PRIVATE);
            // SAFETY: without an address hint, the kernel chooses unused addresses.
            let mapped = unsafe { libc::mmap(ptr::null_mut(), len, flags.0, flags.1, fd, offset) };
            let refused = Error::last_os_error().kind() == ErrorKind::OutOfMemory;
            if mapped == libc::MAP_FAILED {
                return Ok(refused);
            }
            // SAFETY: the mapping was just made.
            unsafe { libc::munmap(mapped, len) };
            Ok(false)
        })
        .join()
        .expect("panics are caught by the harness")
    },
};

/// Runs a closure in a thread of its own, so that its filters end with the thread.
fn apart<T: Send + 'static>(run: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    thread::spawn(run).join().expect("panics are caught by the harness")
}

/// The footprint, measured once the measurement itself needs no more memory.
fn settled_footprint() -> Result<Footprint> {
    footprint()?;
    footprint()
}

fn no_mapping() -> Result {
    let params = *IoUring::new(1024)?.params();
    let single = params.is_feature_single_mmap();
    // The ring's own offset is 0, like that of many mappings. Its length identifies it.
    let raw = raw(&params);
    let (mut ring, cq) = (0, raw.cq_off.cqes + raw.cq_entries * 16);
    if !params.setup_flags().contains(SetupFlags::NO_SQARRAY) {
        ring = raw.sq_off.array + raw.sq_entries * 4;
    }
    let ring = if single { ring.max(cq) } else { ring } as usize;
    let sites = [
        (0, Some(ring), true),
        (IORING_OFF_CQ_RING.into(), None, !single),
        (IORING_OFF_SQES.into(), None, true),
    ];
    for (offset, len, there) in sites {
        apart(move || {
            drop(IoUring::new(1024)?);
            refuse_mapping(offset, len)?;
            let before = settled_footprint()?;
            for _ in 0..20 {
                let refusal = IoUring::new(1024).err();
                ensure!(refusal == there.then_some(Errno::NOMEM), "{offset:#x}: {refusal:?}");
            }
            ensure!(footprint()? == before, "{offset:#x}: {:?}, before {before:?}", footprint()?);
            Ok(())
        })?;
    }
    Ok(())
}

fn no_mapping_of_buffers() -> Result {
    const GROUP: u16 = 5;
    apart(|| {
        let mut ring = IoUring::new(4)?;
        refuse_mapping(
            u64::from(IORING_OFF_PBUF_RING) | u64::from(GROUP) << IORING_OFF_PBUF_SHIFT,
            None,
        )?;
        let before = settled_footprint()?;
        let provide = |group| {
            ring.submitter().register_buf_ring_mmap(8, group, BufRingFlags::empty()).map(drop)
        };
        for _ in 0..20 {
            // The error is not EEXIST: the failed registration was undone.
            assert_eq!(provide(GROUP), Err(Errno::NOMEM));
        }
        assert_eq!(footprint()?, before);
        assert_eq!(provide(GROUP + 1), Ok(()));
        works(&mut ring, 5)
    })
}

/// The kernel resized the ring, but the new queues cannot be mapped. The queued entries neither run
/// nor can be changed, and every call reports that the ring is lost.
fn after_resize(ring: &mut dyn Ring) -> Result {
    let kind = ring.kind();
    apart(move || {
        let mut ring = kind.build(&Setup::new(8).flags(DEFER))?;
        ring.push_nops(0..2, Flags::empty())?;
        ring.submit()?;
        ring.push_nops(2..5, Flags::empty())?;
        refuse_mapping(IORING_OFF_SQES.into(), None)?;
        let before = settled_footprint()?;
        assert_eq!(ring.resize(256, None), Err(Errno::NOMEM));
        assert_eq!(footprint()?, before);

        let refusal = Err(Errno::NOTRECOVERABLE);
        for _ in 0..2 {
            let queue = ring.queue();
            assert_eq!((queue.len(), queue.capacity(), queue.left()), (0, 0, Vec::new()));
            assert!(queue.is_full() && queue.is_empty());
            drop(queue);
            assert!(ring.push_nops(0..1, Flags::empty()).is_err());
            // SAFETY: no other task submits.
            unsafe { ring.queue().clear() };
            assert_eq!(ring.reap().len(), 0);
            assert_eq!(ring.submit(), refusal);
            assert_eq!(ring.submit_and_wait(1), refusal);
            assert_eq!(ring.submitter().wait(1), Err(Errno::NOTRECOVERABLE));
            assert_eq!(ring.submitter().get_events(), Err(Errno::NOTRECOVERABLE));
            assert_eq!(ring.submitter().squeue_wait(), refusal);
            assert_eq!(ring.submitter().register_files_sparse(1), Err(Errno::NOTRECOVERABLE));
            // SAFETY: the call passes no address, and refers to nothing that is registered.
            let raw = unsafe { ring.submitter().register(0, std::ptr::null(), 0) };
            assert_eq!(raw, Err(Errno::NOTRECOVERABLE));
            assert_eq!(ring.resize(16, None), Err(Errno::NOTRECOVERABLE));
        }
        Ok(())
    })
}

/// A lost ring cannot get an index either, but can still release the index that it has.
fn after_resize_of_local() -> Result {
    let lost = |registered: bool| {
        apart(move || {
            let mut builder = <IoUring>::builder();
            let builder = builder.setup_single_issuer().setup_defer_taskrun();
            let mut ring = builder.build(8)?.into_local();
            if registered {
                ring.register_ring_fd()?;
            }
            refuse_mapping(IORING_OFF_SQES.into(), None)?;
            assert_eq!(ring.resize(256, None), Err(Errno::NOMEM));
            assert_eq!(ring.register_ring_fd(), Err(Errno::NOTRECOVERABLE));
            assert_eq!(ring.unregister_ring_fd(), Ok(()));
            assert_eq!(ring.submit(), Err(Errno::NOTRECOVERABLE));
            Ok(())
        })
    };
    lost(false)?;
    lost(true)
}

/// An unprivileged process can pin only a limited amount of memory.
fn no_locked_memory() -> Result {
    let unprivileged = || -> Result {
        let pages = Pages::new(8 * page_size())?;
        let memory = pages.all();
        let buffer =
            iovec { iov_base: memory.cast::<u8>().as_ptr().cast(), iov_len: memory.len() as _ };
        let mut sets = capabilities(None)?;
        sets.effective.remove(CapabilitySet::IPC_LOCK);
        set_capabilities(None, sets)?;
        let mut ring = IoUring::new(4)?;
        let before = settled_footprint()?;
        for _ in 0..5 {
            // SAFETY: the pages outlive the ring.
            let refusal = unsafe { ring.submitter().register_buffers(&[buffer]) };
            assert_eq!(refusal, Err(Errno::NOMEM));
            // There is nothing to unregister.
            assert_eq!(ring.submitter().unregister_buffers(), Err(Errno::NXIO));
        }
        assert_eq!(footprint()?, before);
        works(&mut ring, 5)
    };
    // This is enough for a ring, which also counts on some kernels.
    let limit = 7 * page_size() as u64;
    let joined = limited(Resource::Memlock, limit, || thread::spawn(unprivileged).join())?;
    joined.expect("panics are caught by the harness")
}

/// A ring that cannot be registered continues to work with its descriptor.
fn no_index() -> Result {
    apart(|| {
        seccomp::answer_where(
            libc::SYS_io_uring_register,
            &[(1, IORING_REGISTER_RING_FDS as u64)],
            libc::ENOMEM,
        )?;
        let before = settled_footprint()?;
        let mut ring = IoUring::new(4)?.into_local();
        assert_eq!(ring.register_ring_fd(), Err(Errno::NOMEM));
        assert_eq!(ring.registered_index(), None);
        works(&mut ring, 5)?;
        drop(ring);
        let mut ring = <IoUring>::builder().build_local(4)?;
        assert_eq!(ring.registered_index(), None);
        works(&mut ring, 5)?;
        drop(ring);
        assert_eq!(footprint()?, before);
        Ok(())
    })
}

/// A submit that the kernel rejects temporarily leaves everything queued. Later, each entry runs
/// once.
fn no_request(ring: &mut dyn Ring) -> Result {
    // The ring stays in this thread, and only a filtered thread has the filter.
    let kind = ring.kind();
    for errno in [Errno::AGAIN, Errno::BUSY, Errno::INTR, Errno::NOMEM] {
        apart(move || {
            let mut ring = kind.build(&Setup::USUAL)?;
            // The filter matches submits of three entries only.
            let of_three = [(1, 3)];
            let number = errno.raw_os_error();
            seccomp::answer_where(libc::SYS_io_uring_enter, &of_three, number)?;
            for start in (0..100).step_by(4) {
                ring.push_nops(start..start + 3, Flags::empty())?;
                for _ in 0..3 {
                    ensure!(ring.submit() == Err(errno), "`submit` does not return {errno}");
                    ensure!(
                        ring.submit_and_wait(1) == Err(errno),
                        "`submit_and_wait` does not return {errno}"
                    );
                }
                let left: Vec<_> = (start..start + 3).collect();
                ensure!(ring.queue().left() == left && ring.reap().is_empty(), "after {errno}");
                ring.push_nops([start + 3], Flags::empty())?;
                ensure!(ring.submit() == Ok(4));
                let done: Vec<_> = ring.reap().iter().map(|cqe| cqe.user_data()).collect();
                ensure!(
                    done == [start, start + 1, start + 2, start + 3],
                    "after {errno}: {done:?}"
                );
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The number that the next descriptor will get.
fn next_descriptor() -> Result<RawFd> {
    Ok(open("/dev/null", OFlags::RDONLY, Mode::empty())?.as_raw_fd())
}

/// Operations that need a descriptor fail with EMFILE, and other operations continue to work.
fn no_descriptor(ring: &mut dyn Ring) -> Result {
    let before = footprint()?;
    let limit = next_descriptor()? as u64;
    let open = OpenAt::new(Fd::CWD, c"/dev/null".as_ptr()).flags(Open::RDONLY).build();
    let socket = Socket::new(AddressFamily::UNIX, SocketType::STREAM, None).build();
    for _ in 0..5 {
        let entries = [open.user_data(0), nop(1), socket.user_data(2)];
        // SAFETY: the path is a constant.
        let done = limited(Resource::Nofile, limit, || unsafe { ring.run_all(&entries) })??;
        let mut done: Vec<_> = done.iter().map(|it| (it.user_data(), it.to_result())).collect();
        done.sort_by_key(|(user_data, _)| *user_data);
        assert_eq!(done, [(0, Err(Errno::MFILE)), (1, Ok(0)), (2, Err(Errno::MFILE))]);
    }
    assert_eq!(footprint()?, before);
    ring.works(5)
}

/// If there is no descriptor for one end of a pipe, the other end is not left open.
fn no_descriptor_for_pipe(ring: &mut dyn Ring) -> Result {
    for room in 0..2 {
        let before = descriptors()?;
        let limit = next_descriptor()? as u64 + room;
        let mut ends: [RawFd; 2] = [-1; 2];
        let pipe: Entry = Pipe::new(ends.as_mut_ptr().cast()).build();
        // SAFETY: the array outlives the operation, for which `run` waits.
        let done = limited(Resource::Nofile, limit, || unsafe { ring.run(pipe) })??;
        assert_eq!(done.to_result(), Err(Errno::MFILE), "with room for {room}");
        assert_eq!(descriptors()?, before);
    }
    ring.works(5)
}
