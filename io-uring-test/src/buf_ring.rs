//! Rings of provided buffers: the kernel fills buffers, and the tracker reports the correct
//! segments.

use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, bail, ensure};
use rustix::io::write;
use rustix::pipe::pipe;
use rustix_uring::opcode::Read;
use rustix_uring::squeue::{Entry, Flags, Sqe};
use rustix_uring::sys::{IORING_RECV_MULTISHOT, IORING_RECVSEND_BUNDLE, io_uring_op::*};
use rustix_uring::{
    BufRing, BufRingFlags, BufRingOptions, BufSegment, BufTracker, Errno, Features, IoUring,
    cqueue, opcode,
};

use crate::harness::Need::*;
use crate::harness::*;
use crate::register::buf_ring::{KERNELS, REGISTER, STATUS};

pub(crate) mod taken;

const RECV: Need = Opcode(IORING_OP_RECV as u8);
const BUNDLES: Need = Feature(Features::RECVSEND_BUNDLE);
const INCREMENTAL: Need = Trial {
    what: "incremental use of provided buffers",
    refusal: Errno::INVAL,
    call: || {
        let ring = IoUring::new(1)?;
        Ok(ring.submitter().register_buf_ring_mmap(1, 0, BufRingFlags::INC).map(drop)?)
    },
};

const SOUND: Need = Sound {
    bug: "IORING_CQE_F_BUF_MORE is missing for buffers that stay in use",
    look: keeps_without_flag,
};
const MIN_LEFT: Need = Trial {
    what: "provided buffers with a minimum rest",
    refusal: Errno::INVAL,
    call: || {
        let ring = IoUring::new(1)?;
        Ok(ring.submitter().register_buf_ring_mmap(1, 0, INC.min_left(1)).map(drop)?)
    },
};

pub(crate) const CASES: &[Case] = &[
    Case::kinds("read_in_order", &[REGISTER, Opcode(Read::CODE)], read_in_order),
    Case::kinds("run_dry", &[REGISTER, Opcode(Read::CODE)], run_dry),
    Case::once("owned_memory", &[REGISTER, Opcode(Read::CODE)], owned_memory),
    Case::once("kernel_memory", &[REGISTER, KERNELS, Opcode(Read::CODE)], kernel_memory),
    Case::once("publish_with_cq", &[REGISTER, STATUS], publish_with_cq),
    Case::kinds("unregister_ends_use", &[REGISTER, Opcode(Read::CODE)], unregister_ends_use),
    Case::once("dropped_in_any_order", &[REGISTER, KERNELS], dropped_in_any_order),
    Case::kinds("incremental", &[INCREMENTAL, STATUS, Opcode(Read::CODE)], incremental),
    Case::kinds("incremental_end", &[INCREMENTAL, STATUS, Opcode(Read::CODE)], incremental_end),
    Case::kinds("incremental_file", &[INCREMENTAL, STATUS, Opcode(Read::CODE)], incremental_file),
    Case::kinds("min_left", &[INCREMENTAL, MIN_LEFT, STATUS, Opcode(Read::CODE)], min_left),
    Case::kinds("bundle", &[BUNDLES, STATUS, RECV], bundle),
    Case::kinds("too_many", &[REGISTER, Opcode(Read::CODE)], too_many),
    Case::kinds("tracker_plain", &[STATUS, RECV], |ring| track(ring, NONE, 0)),
    Case::kinds("tracker_incremental", &[INCREMENTAL, STATUS, RECV], |ring| track(ring, INC, 0)),
    Case::kinds("tracker_bundle", &[BUNDLES, STATUS, RECV], |ring| track(ring, NONE, BUNDLE)),
    Case::kinds("tracker_both", &[BUNDLES, INCREMENTAL, STATUS, SOUND, RECV], |ring| {
        track(ring, INC, BUNDLE)
    }),
    Case::kinds("tracker_multishot", &[STATUS, RECV], |ring| track(ring, NONE, MULTISHOT)),
    Case::kinds("tracker_multishot_both", &[BUNDLES, INCREMENTAL, STATUS, SOUND, RECV], |ring| {
        track(ring, INC, BUNDLE | MULTISHOT)
    }),
];

const NONE: BufRingFlags = BufRingFlags::empty();
const INC: BufRingFlags = BufRingFlags::INC;
const BUNDLE: u16 = IORING_RECVSEND_BUNDLE as u16;
const MULTISHOT: u16 = IORING_RECV_MULTISHOT as u16;
const GROUP: u16 = 5;

/// A group of buffers of equal size, with the memory of the ring and of the buffers.
struct Group {
    bufs: BufRing,
    _pages: Pages,
    memory: Vec<u8>,
    size: usize,
}

impl Group {
    /// Creates a group of `entries` buffers, none of which is added yet.
    fn new(
        ring: &dyn Ring,
        entries: u16,
        size: usize,
        options: impl Into<BufRingOptions>,
    ) -> Result<Self> {
        let pages = Pages::new(BufRing::memory_size(entries))?;
        // SAFETY: the pages are unmapped after the ring was dropped or the group unregistered.
        let bufs =
            unsafe { ring.submitter().register_buf_ring(pages.all(), entries, GROUP, options) }?;
        let memory = vec![b'.'; usize::from(entries) * size];
        Ok(Self { bufs, _pages: pages, memory, size })
    }

    /// Adds these buffers and publishes them.
    fn add(&mut self, bids: impl IntoIterator<Item = u16>) {
        for bid in bids {
            self.add_part(bid, self.size as u32);
        }
        self.bufs.publish();
    }

    fn add_part(&mut self, bid: u16, len: u32) {
        let start = self.memory[usize::from(bid) * self.size..][..len as usize].as_mut_ptr();
        // SAFETY: the memory stays allocated as long as the ring. A buffer is read only after it
        // was released.
        unsafe { self.bufs.add(start, len, bid) };
    }

    fn bytes(&self, segment: BufSegment) -> &[u8] {
        &self.memory[usize::from(segment.bid) * self.size + segment.offset as usize..]
            [..segment.len as usize]
    }
}

/// A read into a buffer of the group.
fn read(fd: BorrowedFd<'_>, len: u32) -> Entry {
    let read = opcode::Read::new(fd, std::ptr::null_mut(), len).buf_group(GROUP);
    read.build().flags(Flags::BUFFER_SELECT)
}

/// A receive into one or several buffers of the group.
fn recv(fd: BorrowedFd<'_>, len: u32, ioprio: u16) -> Entry {
    Entry::from_raw(Sqe {
        opcode: IORING_OP_RECV as u8,
        flags: Flags::BUFFER_SELECT.bits(),
        ioprio,
        fd: fd.as_raw_fd(),
        len,
        buf_index: GROUP,
        ..Sqe::ZERO
    })
}

/// The kernel takes buffers in the order in which they were added, across the end of the ring, and
/// reports the IDs under which they were added.
fn read_in_order(ring: &mut dyn Ring) -> Result {
    let (reader, writer) = pipe()?;
    let mut group = Group::new(ring, 4, 8, NONE)?;
    group.add([3, 1]);
    let mut expected = vec![3, 1];
    for round in 0..20_u16 {
        group.add([round % 2 * 2]);
        expected.push(round % 2 * 2);
        write(&writer, &[b'a' + round as u8; 3])?;
        // SAFETY: the buffers stay allocated, and the read completes before they are accessed
        // again.
        let done = unsafe { ring.run(read(reader.as_fd(), 8)) }?;
        assert_eq!((done.to_result(), done.buffer_select()), (Ok(3), Some(expected[0])));
        let bid = usize::from(expected.remove(0));
        assert_eq!(group.memory[bid * 8..][..3], [b'a' + round as u8; 3]);
        assert!(!done.buffer_more());
    }
    Ok(())
}

fn run_dry(ring: &mut dyn Ring) -> Result {
    let (reader, writer) = pipe()?;
    let mut group = Group::new(ring, 4, 8, NONE)?;
    write(&writer, b"abc")?;
    for add in [&[][..], &[2], &[], &[0, 1]] {
        group.add(add.iter().copied());
        for bid in add {
            // SAFETY: the buffers stay allocated, and the read completes before they are accessed
            // again.
            let done = unsafe { ring.run(read(reader.as_fd(), 1)) }?;
            assert_eq!((done.to_result(), done.buffer_select()), (Ok(1), Some(*bid)));
        }
        if add.len() < 2 {
            // SAFETY: the group has no buffer, so the read fails and uses no memory.
            let done = unsafe { ring.run(read(reader.as_fd(), 1)) }?;
            assert_eq!((done.to_result(), done.buffer_select()), (Err(Errno::NOBUFS), None));
        }
    }
    assert_eq!(group.memory, *b"b.......c.......a...............");
    Ok(())
}

fn kernel_memory() -> Result {
    let mut ring = IoUring::new(4)?;
    let bufs = ring.submitter().register_buf_ring_mmap(2, GROUP, NONE)?;
    around_and_around(&mut ring, bufs)
}

fn owned_memory() -> Result {
    let mut ring = IoUring::new(4)?;
    let bufs = ring.submitter().register_buf_ring_owned(2, GROUP, NONE)?;
    around_and_around(&mut ring, bufs)
}

/// Uses a ring of two slots many times.
fn around_and_around(ring: &mut IoUring, mut bufs: BufRing) -> Result {
    let (reader, writer) = pipe()?;
    let mut bytes = [[0; 4]; 2];
    for n in 0..200_u8 {
        // SAFETY: the buffers outlive the reads, which complete before the buffers are accessed
        // again.
        unsafe { bufs.add(bytes[usize::from(n) % 2].as_mut_ptr(), 4, u16::from(n % 2)) };
        bufs.publish();
        write(&writer, &[n; 4])?;
        // SAFETY: the buffers outlive the read, which completes before the buffers are accessed again.
        unsafe { ring.submission().push(&read(reader.as_fd(), 4)) }?;
        ring.submit_and_wait(1)?;
        let done = ring.completion().next().context("there is no completion")?;
        assert_eq!((done.to_result(), done.buffer_select()), (Ok(4), Some(u16::from(n % 2))));
        assert_eq!(bytes[usize::from(n) % 2], [n; 4]);
    }
    Ok(bufs.unregister(&ring.submitter())?)
}

/// Publishes both sides at once: the completions that were consumed, and the buffers that were
/// added.
fn publish_with_cq() -> Result {
    let mut ring = IoUring::new(4)?;
    let mut bufs = ring.submitter().register_buf_ring_mmap(4, GROUP, NONE)?;
    let mut byte = 0;
    for n in 0..40 {
        // SAFETY: a NOP uses no memory and no descriptor.
        unsafe { ring.submission().push(&nop(n)) }?;
        ring.submit_and_wait(1)?;
        let status = ring.completion_status();
        // SAFETY: there is no other view of the queue.
        let mut queue = unsafe { ring.completion_shared() };
        assert_eq!(queue.next().map(|cqe| cqe.user_data()), Some(n));
        assert_eq!(status.ready(), 1);
        if n < 4 {
            // SAFETY: the byte outlives the ring, in which no operation uses it.
            unsafe { bufs.add(&mut byte, 1, 0) };
        }
        bufs.publish_with_cq(&mut queue);
        assert_eq!(status.ready(), 0);
        assert_eq!(bufs.available(&ring.submitter())?, (n as u16 + 1).min(4));
    }
    Ok(())
}

/// After unregistering, the kernel no longer writes to the buffers, and the group ID is free.
fn unregister_ends_use(ring: &mut dyn Ring) -> Result {
    let (reader, writer) = pipe()?;
    write(&writer, b"ab")?;
    let mut group = Group::new(ring, 2, 1, NONE)?;
    group.add([0, 1]);
    let Group { bufs, _pages: pages, memory, .. } = group;
    bufs.unregister(&ring.submitter())?;
    // SAFETY: the group has no buffer that the kernel could fill.
    let done = unsafe { ring.run(read(reader.as_fd(), 1)) }?;
    assert_eq!(done.to_result(), Err(Errno::NOBUFS));
    drop(pages);
    assert_eq!(memory, b"..");
    let mut group = Group::new(ring, 2, 1, NONE)?;
    group.add([1]);
    // SAFETY: the buffers stay allocated, and the read completes before they are accessed again.
    assert_eq!(unsafe { ring.run(read(reader.as_fd(), 1)) }?.to_result(), Ok(1));
    assert_eq!(group.memory, b".a");
    Ok(())
}

fn dropped_in_any_order() -> Result {
    let mut byte = 0;
    let before = footprint()?;
    for ring_first in [false, true] {
        let ring = IoUring::new(1)?;
        let register = |group| ring.submitter().register_buf_ring_mmap(8, group, NONE);
        let (first, mut second) = (register(1)?, register(2)?);
        drop(first);
        // The kernel still has the group.
        assert_eq!(register(1).err(), Some(Errno::EXIST));
        // SAFETY: the handle is dropped.
        unsafe { ring.submitter().unregister_buf_ring(1) }?;
        let kept = ring_first.then_some(ring);
        drop(kept);
        // SAFETY: the byte outlives the buffer ring, and nothing reads it.
        unsafe { second.add(&mut byte, 1, 0) };
        second.publish();
        drop(second);
    }
    assert_eq!(footprint()?, before);
    Ok(())
}

type Tuple = (u16, u32, u32, bool);

fn tuple(segment: BufSegment) -> Tuple {
    (segment.bid, segment.offset, segment.len, segment.done)
}

/// The segments of an operation that uses one buffer, as tuples.
fn segments(tracker: &mut BufTracker, group: &Group, cqe: &cqueue::Entry) -> Vec<Tuple> {
    let len = |_| group.size as u32;
    tracker.segments(&group.bufs, cqe, len).iter(&group.bufs).map(tuple).collect()
}

/// The kernel fills a buffer incrementally, and releases it when it is full.
fn incremental(ring: &mut dyn Ring) -> Result {
    let (reader, writer) = pipe()?;
    let mut group = Group::new(ring, 2, 8, INC)?;
    group.add([1, 0]);
    let mut tracker = BufTracker::new();
    let steps = [
        (3, true, (1, 0, 3, false)),
        (2, true, (1, 3, 2, false)),
        (3, false, (1, 5, 3, true)),
        (8, false, (0, 0, 8, true)),
    ];
    for (n, more, segment) in steps {
        write(&writer, &b"abcdefgh"[..n])?;
        // SAFETY: the buffers stay allocated, and the read completes before they are accessed
        // again.
        let done = unsafe { ring.run(read(reader.as_fd(), 8)) }?;
        assert_eq!((done.to_result(), done.buffer_more()), (Ok(n as u32), more));
        assert_eq!(segments(&mut tracker, &group, &done), [segment]);
    }
    assert_eq!(group.bufs.available(&ring.submitter())?, 0);
    assert_eq!(group.memory, *b"abcdefghabcababc");
    Ok(())
}

/// Whether the kernel keeps buffers without setting `IORING_CQE_F_BUF_MORE`. This is a bug of
/// 6.18.15, which 6.12.107, 6.18.44 and 7.2 do not have. The flag is missing if the data ends
/// before the buffer is full, after reads of a file, and occasionally in bundles.
fn keeps_without_flag() -> Result<bool> {
    let mut ring = KINDS[0].build(&Setup::USUAL)?;
    let (reader, _) = pipe()?;
    let mut group = Group::new(&*ring, 1, 8, INC)?;
    group.add([0]);
    // SAFETY: the buffer stays allocated, and the read completes before it is accessed again.
    let done = unsafe { ring.run(read(reader.as_fd(), 8)) }?;
    Ok(group.bufs.available(&ring.submitter())? == 1 && !done.buffer_more())
}

/// The end of the data fills no bytes and consumes no buffer.
fn incremental_end(ring: &mut dyn Ring) -> Result {
    let silent = keeps_without_flag()?;
    let (reader, writer) = pipe()?;
    let mut group = Group::new(ring, 2, 8, INC)?;
    group.add([1, 0]);
    let mut tracker = BufTracker::new();
    write(&writer, b"abc")?;
    drop(writer);
    let ends = if silent { [(1, 3, 0, true), (1, 0, 0, true)] } else { [(1, 3, 0, false); 2] };
    for segment in [(1, 0, 3, false), ends[0], ends[1]] {
        // SAFETY: the buffers stay allocated, and the read completes before they are accessed
        // again.
        let done = unsafe { ring.run(read(reader.as_fd(), 8)) }?;
        assert_eq!(segments(&mut tracker, &group, &done), [segment]);
        assert_eq!(group.bufs.available(&ring.submitter())?, 2);
    }
    Ok(())
}

/// A regular file is always ready, so the kernel consumes the requested length before it reads. A
/// short read therefore leaves a gap, and the tracker must be told of it.
fn incremental_file(ring: &mut dyn Ring) -> Result {
    let silent = keeps_without_flag()?;
    let file = file_with(b"abcdefghijk")?;
    let mut group = Group::new(ring, 2, 8, INC)?;
    group.add([1, 0]);
    let mut tracker = BufTracker::new();
    let reads = [
        (0, 3, (1, 0, 3, false), 2),
        (9, 4, (1, 3, 2, false), 2),
        // One byte of the buffer remains.
        (0, 2, (1, 7, 1, true), 1),
        (11, 2, (0, 0, 0, false), 1),
        (0, 6, (0, 2, 6, true), 0),
    ];
    for (offset, len, segment, left) in reads {
        let read = opcode::Read::new(file.as_fd(), std::ptr::null_mut(), len).offset(offset);
        let read = read.buf_group(GROUP).build().flags(Flags::BUFFER_SELECT);
        // SAFETY: the buffers stay allocated, and the read completes before they are accessed
        // again.
        let done = unsafe { ring.run(read) }?;
        let segment = if silent { (segment.0, 0, segment.2, true) } else { segment };
        assert_eq!(segments(&mut tracker, &group, &done), [segment]);
        tracker.advance(len - done.to_result()?);
        assert_eq!(group.bufs.available(&ring.submitter())?, left);
    }
    assert_eq!(group.memory, *b"..abcdefabcjk..a");
    Ok(())
}

/// The kernel leaves a rest that is too small, and releases the buffer.
fn min_left(ring: &mut dyn Ring) -> Result {
    let (reader, writer) = pipe()?;
    let mut group = Group::new(ring, 2, 8, INC.min_left(4))?;
    group.add([1, 0]);
    let mut tracker = BufTracker::new();
    let steps = [
        (3, (1, 0, 3, false), 2),
        (1, (1, 3, 1, false), 2),
        (1, (1, 4, 1, true), 1),
        (5, (0, 0, 5, true), 0),
    ];
    for (n, segment, left) in steps {
        write(&writer, &b"abcdefgh"[..n])?;
        // SAFETY: the buffers stay allocated, and the read completes before they are accessed
        // again.
        let done = unsafe { ring.run(read(reader.as_fd(), 8)) }?;
        assert_eq!(segments(&mut tracker, &group, &done), [segment]);
        assert_eq!(group.bufs.available(&ring.submitter())?, left);
    }
    Ok(())
}

/// The consequence of adding one buffer too many, as the contract of `add` states it: the kernel
/// fills that buffer before it is published, and again when its turn comes. It never fills the
/// buffer whose slot was overwritten.
fn too_many(ring: &mut dyn Ring) -> Result {
    let (reader, writer) = pipe()?;
    let mut group = Group::new(ring, 2, 1, NONE)?;
    let mut third = b'.';
    group.add([0, 1]);
    // SAFETY: the byte outlives the reads. The test adds too many on purpose: the kernel knows only
    // the memory of these three buffers, which nothing accesses meanwhile.
    unsafe { group.bufs.add(&raw mut third, 1, 2) };
    let mut read = || {
        // SAFETY: the buffers stay allocated, and the read completes before they are accessed
        // again.
        let done = unsafe { ring.run(read(reader.as_fd(), 1)) }?;
        Ok::<_, anyhow::Error>((done.result(), done.buffer_select()))
    };
    write(&writer, b"abc")?;
    assert_eq!(read()?, (1, Some(2)));
    group.bufs.publish();
    assert_eq!((read()?, read()?), ((1, Some(1)), (1, Some(2))));
    assert_eq!((&*group.memory, third), (&b".b"[..], b'c'));
    Ok(())
}

/// One completion reports several buffers.
fn bundle(ring: &mut dyn Ring) -> Result {
    let (reader, mut writer) = UnixStream::pair()?;
    let mut group = Group::new(ring, 4, 4, NONE)?;
    let mut tracker = BufTracker::new();
    group.add([2, 0, 3]);
    writer.write_all(b"abcdefghij")?;
    // SAFETY: the buffers stay allocated, and the receive completes before they are accessed again.
    let done = unsafe { ring.run(recv(reader.as_fd(), 16, BUNDLE)) }?;
    assert_eq!((done.to_result(), done.buffer_select()), (Ok(10), Some(2)));
    let expected = [(2, 0, 4, true), (0, 0, 4, true), (3, 0, 2, true)];
    let bundle = tracker.bundle_segments(&group.bufs, &done, |_| 4).iter(&group.bufs).map(tuple);
    assert_eq!(bundle.collect::<Vec<_>>(), expected);
    assert_eq!(group.memory, *b"efgh....abcdij..");
    assert_eq!(group.bufs.available(&ring.submitter())?, 0);
    Ok(())
}

/// Receives random data in random pieces into buffers of random lengths, which are released in
/// random order. The segments of the tracker must contain what was sent, byte for byte, and the
/// kernel must still have exactly those buffers that the tracker does not report as done.
fn track(ring: &mut dyn Ring, flags: BufRingFlags, ioprio: u16) -> Result {
    const ENTRIES: u16 = 8;
    const SIZE: usize = 256;
    const TOTAL: usize = 16 << 10;
    for seed in 0..4 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (reader, mut writer) = UnixStream::pair()?;
        writer.set_nonblocking(true)?;
        let mut group = Group::new(ring, ENTRIES, SIZE, flags)?;
        let (mut tracker, mut free, mut lens) =
            (BufTracker::new(), Vec::from_iter(0..ENTRIES), [0; 8]);
        let (mut sent, mut received, mut armed) = (Vec::new(), Vec::new(), false);
        while received.len() < TOTAL {
            let data: Vec<u8> = (0..random.usize(..3 * SIZE)).map(|_| random.u8(..)).collect();
            match writer.write(&data) {
                Ok(n) => sent.extend(&data[..n]),
                Err(e) => ensure!(e.kind() == ErrorKind::WouldBlock, "{e}"),
            }
            random.shuffle(&mut free);
            for bid in free.split_off(random.usize(..=free.len())) {
                lens[usize::from(bid)] = random.u32(1..=SIZE as u32);
                group.add_part(bid, lens[usize::from(bid)]);
            }
            group.bufs.publish();
            if sent.len() == received.len() && !armed {
                continue;
            }
            if !armed {
                let multishot = ioprio & MULTISHOT != 0;
                let len =
                    if multishot || random.bool() { 0 } else { random.u32(1..=3 * SIZE as u32) };
                // SAFETY: the buffers stay allocated, and are read only after they were released.
                unsafe { ring.push(&[recv(reader.as_fd(), len, ioprio)]) }?;
                armed = true;
            }
            ring.submit_and_wait(usize::from(ioprio & MULTISHOT == 0))?;
            ring.submitter().get_events()?;
            for done in ring.reap() {
                armed = done.more();
                match done.to_result() {
                    Ok(n) => ensure!(n > 0, "the sender ended before all data arrived"),
                    Err(Errno::NOBUFS) => ensure!(done.buffer_select().is_none(), "{done:?}"),
                    Err(e) => bail!(e),
                }
                let before = received.len();
                let lens_now = lens;
                let len = |bid| lens_now[usize::from(bid)];
                let mut segments = if ioprio & BUNDLE != 0 {
                    tracker.bundle_segments(&group.bufs, &done, len)
                } else {
                    tracker.segments(&group.bufs, &done, len)
                };
                while let Some(segment) = segments.next(&group.bufs) {
                    received.extend_from_slice(group.bytes(segment));
                    if segment.done {
                        ensure!(
                            !free.contains(&segment.bid),
                            "a buffer is reported as done twice: {segment:?} of {done:?}"
                        );
                        // Some buffers are added again at once, before the next receive.
                        if random.bool() {
                            lens[usize::from(segment.bid)] = random.u32(1..=SIZE as u32);
                            group.add_part(segment.bid, lens[usize::from(segment.bid)]);
                            group.bufs.publish();
                        } else {
                            free.push(segment.bid);
                        }
                    }
                }
                ensure!(received.len() - before == done.result().max(0) as usize, "{done:?}");
            }
            ensure!(
                sent.starts_with(&received),
                "seed {seed}: received wrong data after {} bytes",
                received.len()
            );
            let left = group.bufs.available(&ring.submitter())?;
            ensure!(
                usize::from(left) + free.len() == 8,
                "the kernel has {left} buffers, and {free:?} are free"
            );
        }
        if armed {
            drop(writer);
            // Receives the remaining data up to its end.
            while ring.submit_and_wait(1).is_ok() && ring.reap().last().is_none_or(|cqe| cqe.more())
            {
            }
        }
        group.bufs.unregister(&ring.submitter())?;
    }
    Ok(())
}
