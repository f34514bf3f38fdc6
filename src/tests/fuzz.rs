//! Every parser of data that the kernel writes, run on arbitrary bytes.
//!
//! Each function turns the bytes into something that a kernel could have written, however wrong,
//! and parses it. It panics if more comes out than was put in, or if the result refers to other
//! memory. Unit tests run the functions on random bytes, and `io-uring-test/fuzz` runs them guided
//! by coverage.

use core::cell::UnsafeCell;
use core::fmt::Debug;
use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr::NonNull;
use std::boxed::Box;
use std::format;
use std::vec::Vec;

use rustix::io::Errno;

use crate::SetupFlags;
use crate::cqueue::{self, CompletionQueue};
use crate::memory::mmap::Mmap;
use crate::memory::{Memory, Shape, zeroed_params};
use crate::register::buf_ring::Registered;
use crate::register::zcrx::{Events, Ifq, Received};
use crate::shared::{AtomicU32, Cq, KernelU32, RingId, Saved, Settings, Sq};
use crate::squeue::{self, Accepts, Entry, Entry128, Sqe, SubmissionQueue};
use crate::sys::{self, io_uring_params};
use crate::types::{
    ControlMessages, MsgHdr, Napi, RecvMsgOut, SigInfo, SocketAddrBuf, Statx, Timespec,
    decode_socket_addr,
};
use crate::{BufRing, BufRingFlags, BufTracker, Parameters, Probe, Query};

/// Reads values from the front of the bytes, and zeros once they are used up.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_at(self.0.len().min(N));
        self.0 = rest;
        let mut bytes = [0; N];
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_ne_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take())
    }

    /// Returns a number below `n`, from a single byte.
    fn below(&mut self, n: u8) -> u8 {
        self.u8() % n
    }

    /// Returns a number that is small in most cases.
    fn length(&mut self) -> u32 {
        if self.below(8) == 0 { self.u32() } else { u32::from(self.u8()) }
    }

    /// Returns an offset that is small and aligned in most cases.
    fn offset(&mut self) -> u32 {
        if self.below(16) == 0 { self.length() } else { 8 * u32::from(self.below(32)) }
    }

    /// Fills a struct of the kernel.
    ///
    /// # Safety
    ///
    /// Every bit pattern is a valid `T`.
    unsafe fn fill<T>(&mut self, value: &mut T) {
        let start = (&raw mut *value).cast::<u8>();
        for i in 0..size_of::<T>() {
            // SAFETY: the byte is within the value, and the caller promises that every byte is
            // valid.
            unsafe { start.add(i).write(self.u8()) };
        }
    }

    fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }
}

/// Memory in which an access beyond the end is detected: by tools that track allocations, and by a
/// canary.
struct Memory8 {
    words: Box<[UnsafeCell<u64>]>,
}

impl Memory8 {
    const CANARY: u64 = 0x0123_4567_89ab_cdef;

    /// Creates memory of at least `len` bytes, aligned to 8, filled with the given bytes.
    fn new(len: usize, bytes: &mut Bytes<'_>) -> Self {
        let canary = [UnsafeCell::new(Self::CANARY)];
        let content = (0..len.div_ceil(8)).map(|_| UnsafeCell::new(bytes.u64()));
        Self { words: content.chain(canary).collect() }
    }

    fn start(&self) -> NonNull<u8> {
        NonNull::from(&*self.words).cast()
    }

    /// Returns the addresses of all bytes.
    fn range(&self) -> Range<usize> {
        let start = self.start().as_ptr().addr();
        start..start + 8 * (self.words.len() - 1)
    }

    fn contains<T>(&self, slice: &[T]) -> bool {
        let (slice, range) = (slice.as_ptr_range(), self.range());
        range.start <= slice.start.addr() && slice.end.addr() <= range.end
    }
}

impl Drop for Memory8 {
    fn drop(&mut self) {
        if let Some(end) = self.words.last_mut() {
            assert_eq!(*end.get_mut(), Self::CANARY, "something has written beyond the end");
        }
    }
}

/// The words that a queue shares with the kernel.
#[derive(Default)]
struct Words([AtomicU32; 4]);

impl Words {
    fn at(&self, n: usize) -> KernelU32 {
        // SAFETY: the word is in the array, which the tests keep as long as the queues.
        unsafe { KernelU32::at(NonNull::from(&self.0[n]).cast(), 0) }
    }
}

/// Calls every method of a completion.
fn read_completion(entry: &cqueue::Entry, big: Option<&[u64; 2]>) {
    match entry.to_result() {
        Ok(value) => assert_eq!(value as i32, entry.result()),
        Err(errno) => assert_eq!(-errno.raw_os_error(), entry.result()),
    }
    assert_eq!(entry.to_fixed().is_ok(), entry.to_poll_flags().is_ok());
    assert_eq!(entry.buffer_select().is_some(), entry.flags() & sys::IORING_CQE_F_BUFFER != 0);
    let _ = (entry.more(), entry.notif(), entry.buffer_more(), entry.sock_nonempty());
    let _ = (entry.is_pad(), entry.zc_copied(), Events::of(entry));
    if let Some(received) = big.and_then(|big| Received::parse(entry, big)) {
        let area = u64::from(received.area()) << sys::IORING_ZCRX_AREA_SHIFT;
        assert_eq!(area | received.offset(), big.map_or(0, |big| big[0]));
        assert!(received.len() as i32 == entry.result() && !received.is_empty());
        print(&received);
    }
}

fn print(value: &dyn Debug) {
    assert!(!format!("{value:?} {value:#?}").is_empty());
}

/// Brings a completion queue of one kind into every state that a kernel can cause.
fn completion_queue<C: cqueue::Kind>(bytes: &mut Bytes<'_>, each: fn(&C)) {
    let capacity = 1 << bytes.below(4);
    let words = Words::default();
    let (head, tail) = (words.at(0), words.at(1));
    head.release(bytes.u32());
    // The tail of a broken kernel is anywhere.
    let mad = bytes.below(8) == 0;
    let publish = |bytes: &mut Bytes<'_>| {
        let room = capacity - tail.own().wrapping_sub(head.own()).min(capacity);
        let n = if mad { bytes.u16().into() } else { u32::from(bytes.u8()) % (room + 1) };
        tail.release(tail.own().wrapping_add(n));
    };
    tail.release(head.own());
    publish(bytes);
    let slots = Memory8::new(capacity as usize * size_of::<C::Slot>(), bytes);
    let cq = Cq {
        head,
        tail,
        overflow: words.at(2),
        flags: Some(words.at(3)),
        entries: slots.start(),
        capacity,
        most_wanted: capacity,
    };
    // SAFETY: this is the only view.
    let mut queue = unsafe { CompletionQueue::<C>::new(&cq) };
    for _ in 0..32 {
        let len = queue.len();
        assert!(len <= queue.capacity());
        match bytes.below(5) {
            0 => queue.sync(),
            1 => publish(bytes),
            2 => {
                let peeked = queue.peek();
                let next = queue.next();
                assert_eq!(peeked.map(|cqe| cqe.user_data()), next.map(|cqe| cqe.user_data()));
                next.iter().for_each(each);
            }
            3 => {
                let mut room = [MaybeUninit::uninit(); 3];
                let filled = queue.fill(&mut room);
                assert!(mad || filled.len() <= len);
                filled.iter().for_each(each);
            }
            _ => {
                print(&queue);
                let (least, most) = queue.size_hint();
                assert!(least <= len && most == Some(len));
            }
        }
    }
    if !mad {
        queue.by_ref().for_each(|cqe| each(&cqe));
        drop(queue);
        let released = cq.head.own();
        // SAFETY: the last view was dropped.
        let published = unsafe { CompletionQueue::<C>::new(&cq) }.len();
        assert!(released.wrapping_add(published as u32) == cq.tail.own());
    }
}

/// Reads the slices of a queue with arbitrary positions.
fn completion_slices<C: cqueue::EntryMarker>(bytes: &mut Bytes<'_>) {
    let capacity = 1 << bytes.below(4);
    let words = Words::default();
    words.at(0).release(bytes.u32());
    words.at(1).release(words.at(0).own().wrapping_add(bytes.length()));
    let slots = Memory8::new(capacity as usize * size_of::<C>(), bytes);
    let (entries, overflow) = (slots.start(), words.at(2));
    let cq = Cq {
        head: words.at(0),
        tail: words.at(1),
        overflow,
        flags: None,
        entries,
        capacity,
        most_wanted: 0,
    };
    // SAFETY: this is the only view.
    let mut queue = unsafe { CompletionQueue::<C>::new(&cq) };
    for _ in 0..4 {
        let (older, newer) = queue.as_slices();
        assert_eq!(older.len() + newer.len(), queue.len());
        assert!(slots.contains(older) && slots.contains(newer));
        older.iter().chain(newer).for_each(|cqe| read_completion(&(*cqe).into(), None));
        queue.consume(bytes.length() as usize);
    }
}

fn completions(bytes: &mut Bytes<'_>) {
    match bytes.below(5) {
        0 => completion_queue::<cqueue::Entry>(bytes, |cqe| read_completion(cqe, None)),
        1 => completion_queue::<cqueue::Entry32>(bytes, |cqe| {
            read_completion(cqe, Some(cqe.big_cqe()));
            print(&cqe.tx_timestamp());
        }),
        2 => completion_queue::<cqueue::Mixed>(bytes, |cqe| {
            read_completion(cqe, cqe.big_cqe());
            let stamp = cqe.tx_timestamp();
            assert!(
                stamp.is_err() || stamp.is_ok_and(|it| it.is_some()) == cqe.big_cqe().is_some()
            );
        }),
        3 => completion_slices::<cqueue::Entry>(bytes),
        _ => completion_slices::<cqueue::Entry32>(bytes),
    }
}

/// Uses a submission queue of one kind, with a head that the kernel has set to anything.
fn submission_queue<S: squeue::Kind>(
    bytes: &mut Bytes<'_>,
    push_big: fn(&mut SubmissionQueue<'_, S>, Entry128) -> bool,
) {
    let capacity = 2 << bytes.below(3);
    let words = Words::default();
    let (head, tail, flags) = (words.at(0), words.at(1), words.at(2));
    tail.release(bytes.u32());
    head.release(tail.own().wrapping_sub(bytes.length()));
    flags.release(bytes.u32());
    let slots = Memory8::new(capacity as usize * size_of::<S::Slot>(), bytes);
    let sq = Sq {
        id: RingId::new(),
        head,
        tail,
        flags,
        dropped: words.at(3),
        entries: slots.start(),
        capacity,
        setup: SetupFlags::empty(),
        settings: Settings { post_pad_cqes: bytes.below(2) == 0, dontfork: false },
        saved: Saved::default(),
    };
    let entry = |bytes: &mut Bytes<'_>| {
        let mut sqe = Sqe::ZERO;
        // SAFETY: an entry consists only of integers.
        unsafe { bytes.fill(&mut sqe) };
        sqe
    };
    // SAFETY: this is the only view, and nothing runs the entries.
    let mut queue = unsafe { SubmissionQueue::<S>::new(&sq) };
    for _ in 0..32 {
        match bytes.below(7) {
            0 => queue.sync(),
            1 => sq.head.release(sq.head.own().wrapping_add(bytes.length())),
            2 => {
                let sqe = entry(bytes);
                // SAFETY: nothing runs the entry.
                let _ = unsafe { queue.push_any(&Entry::from_raw(sqe)) };
            }
            3 => _ = push_big(&mut queue, Entry128::from_raw(entry(bytes), bytes.take())),
            4 => {
                let (n, sqe) = (usize::from(bytes.below(9)), entry(bytes));
                // SAFETY: nothing runs the entries.
                let _ = unsafe { queue.push_each(n, |_| Entry::from_raw(sqe)) };
            }
            // SAFETY: nothing consumes the entries.
            5 => unsafe { queue.clear() },
            _ => {
                print(&queue);
                let (older, newer) = queue.as_slices();
                assert_eq!(older.len() + newer.len(), queue.len());
                assert!(queue.len() <= queue.capacity());
                assert!(slots.contains(older) && slots.contains(newer));
                let _ = (queue.is_full(), queue.is_empty(), queue.need_wakeup());
                let _ = (queue.cq_overflow(), queue.taskrun(), queue.dropped());
            }
        }
    }
}

fn submissions(bytes: &mut Bytes<'_>) {
    fn sqe64<S: squeue::Kind>(_: &mut SubmissionQueue<'_, S>, _: Entry128) -> bool {
        false
    }
    fn big<S>(queue: &mut SubmissionQueue<'_, S>, entry: Entry128) -> bool
    where
        S: squeue::Kind + Accepts<Entry128>,
    {
        // SAFETY: nothing runs the entry.
        unsafe { queue.push_any(&entry) }.is_ok()
    }
    match bytes.below(4) {
        0 => submission_queue::<Entry>(bytes, sqe64),
        1 => submission_queue::<Entry128>(bytes, big),
        2 => submission_queue::<squeue::Mixed>(bytes, big),
        _ => submission_queue::<squeue::Rewind<squeue::Mixed>>(bytes, big),
    }
}

/// Parses the parameters of a ring, and uses the ring if they describe one.
fn setup(bytes: &mut Bytes<'_>) {
    let mut params = zeroed_params();
    // SAFETY: the parameters consist only of integers.
    unsafe { bytes.fill(&mut params) };
    print(&Parameters(params));
    if bytes.below(8) != 0 {
        // Make the parameters plausible.
        (params.sq_entries, params.cq_entries) = (1 << bytes.below(6), 1 << bytes.below(6));
        let io_uring_params { sq_off, cq_off, .. } = &mut params;
        let sq = [&mut sq_off.head, &mut sq_off.tail, &mut sq_off.flags, &mut sq_off.dropped];
        let cq = [&mut cq_off.head, &mut cq_off.tail, &mut cq_off.overflow, &mut cq_off.flags];
        for offset in sq.into_iter().chain(cq).chain([&mut sq_off.array, &mut cq_off.cqes]) {
            *offset = bytes.offset();
        }
    }
    match bytes.below(3) {
        0 => set_up::<Entry, cqueue::Entry>(&params, bytes),
        1 => set_up::<Entry128, cqueue::Entry32>(&params, bytes),
        _ => set_up::<squeue::Mixed, cqueue::Mixed>(&params, bytes),
    }
}

fn set_up<S: squeue::Kind, C: cqueue::Kind>(params: &io_uring_params, bytes: &mut Bytes<'_>) {
    let shape = Shape::of::<S::Slot, C::Slot>();
    let (ring_len, sqes_len) = (8 * usize::from(bytes.u8()), 64 * usize::from(bytes.u8()));
    let (ring, sqes) = (Memory8::new(ring_len, bytes), Memory8::new(sqes_len, bytes));
    let memory = Memory::parts(ring.start(), ring_len, sqes.start(), sqes_len);
    // SAFETY: nothing else uses the memory, and it has the given lengths.
    let (sq, cq) = match unsafe { memory.queues(params, shape, Settings::default()) } {
        Ok(queues) => queues,
        Err(errno) => return assert!(matches!(errno, Errno::INVAL | Errno::OVERFLOW), "{errno:?}"),
    };
    // SAFETY: these are the only views, and nothing runs the entries.
    let (mut queue, done) =
        unsafe { (SubmissionQueue::<S>::new(&sq), CompletionQueue::<C>::new(&cq)) };
    for _ in 0..params.sq_entries {
        // SAFETY: nothing runs the entry.
        let _ = unsafe { queue.push_any(&Entry::from_raw(Sqe::ZERO)) };
    }
    queue.sync();
    done.take(params.cq_entries as usize).for_each(|cqe| print(&cqe));
}

/// Parses messages with their names and control messages.
fn messages(bytes: &mut Bytes<'_>) {
    let msg_namelen = bytes.length();
    let msg_controllen = bytes.length() as usize;
    let buffer = bytes.rest();
    if let Some(address) = decode_socket_addr(buffer) {
        print(&address);
    }
    // The distance reveals an address that is beyond the bytes.
    let at = |part: &[u8]| part.as_ptr().addr() - buffer.as_ptr().addr();
    let mut before = 0;
    for message in ControlMessages::new(buffer) {
        assert!(at(message.data) >= before + size_of::<usize>() + 8, "messages overlap");
        before = at(message.data) + message.data.len();
        assert!(before <= buffer.len());
        print(&message);
    }
    let msghdr = MsgHdr { msg_namelen, msg_controllen, ..MsgHdr::new() };
    let Ok(out) = RecvMsgOut::parse(buffer, &msghdr) else { return };
    let (name, control, payload) = (out.name_data(), out.control_data(), out.payload_data());
    assert!(name.len() <= msg_namelen as usize && control.len() <= msg_controllen);
    assert!(at(name) + name.len() <= at(control));
    assert!(at(control) + control.len() <= at(payload));
    assert!(at(payload) + payload.len() <= buffer.len());
    assert_eq!(&buffer[out.payload_range()], payload);
    assert!(name.len() <= out.incoming_name_len() as usize);
    assert!(control.len() <= out.incoming_control_len() as usize);
    assert!(payload.len() <= out.incoming_payload_len() as usize);
    assert!(out.control_messages().count() <= control.len());
    let _ = (out.is_name_data_truncated(), out.is_control_data_truncated());
    let _ = (out.is_payload_truncated(), out.socket_addr());
    print(&out);
}

/// Tracks completions that have taken provided buffers, in a ring with arbitrary contents.
fn buffers(bytes: &mut Bytes<'_>) {
    let entries = 1 << bytes.below(5);
    let memory = Memory8::new(BufRing::memory_size(entries), bytes);
    let flags = if bytes.below(2) == 0 { BufRingFlags::empty() } else { BufRingFlags::INC };
    let registered = Registered { ring: RingId::new(), entries, bgid: 0, flags };
    // SAFETY: the memory is long enough, and nothing else uses it.
    let mut ring = unsafe { BufRing::new(memory.start(), registered, None) };
    let mut tracker = BufTracker::new();
    let lengths: [u8; 8] = bytes.take();
    let len = |bid: u16| match lengths[usize::from(bid) % 8] {
        255 => u32::MAX,
        len => u32::from(len),
    };
    for _ in 0..16 {
        match bytes.below(4) {
            0 => {
                let bid = u16::from(bytes.below(8));
                // The ring must cope with too many buffers. Too many before a publish are reported,
                // so publish first.
                ring.publish();
                // SAFETY: nothing writes to the buffer.
                unsafe { ring.add(core::ptr::without_provenance_mut(4096), len(bid), bid) };
            }
            1 => ring.publish(),
            2 => tracker.advance(bytes.length()),
            _ => {
                let res = if bytes.below(8) == 0 { bytes.u32() as i32 } else { bytes.u8().into() };
                let bid = if bytes.below(8) == 0 { bytes.u16() } else { bytes.below(8).into() };
                let flags = u32::from(bid) << sys::IORING_CQE_BUFFER_SHIFT | bytes.u32() & 0x1f;
                let cqe = cqueue::Entry { user_data: 0, res, flags };
                let segments = match bytes.below(3) {
                    0 => tracker.segments(&ring, &cqe, &len),
                    1 => tracker.bundle_segments(&ring, &cqe, &len),
                    _ => tracker.taken_segments(&ring, &cqe, &len, bytes.u16()),
                };
                print(&segments);
                let segments: Vec<_> = segments.iter(&ring).collect();
                assert!(segments.len() <= usize::from(entries) + 1, "{segments:?}");
                assert_eq!(segments.first().map(|segment| segment.bid), cqe.buffer_select());
                let bytes: u64 = segments.iter().map(|segment| u64::from(segment.len)).sum();
                assert!(bytes <= res.max(0) as u64, "more than the result: {segments:?}");
                for (i, segment) in segments.iter().enumerate() {
                    let end = u64::from(segment.offset) + u64::from(segment.len);
                    assert!(segment.len == 0 || end <= len(segment.bid).into(), "{segment:?}");
                    assert!(
                        segment.done || i + 1 == segments.len(),
                        "more segments follow: {segments:?}"
                    );
                }
                print(&tracker);
            }
        }
    }
    print(&ring);
}

/// Uses a refill ring at a location that the kernel has reported, with an arbitrary head.
fn refills(bytes: &mut Bytes<'_>) {
    let answer = sys::zcrx_ifq_reg {
        rq_entries: if bytes.below(8) == 0 { bytes.u32() } else { 1 << bytes.below(6) },
        offsets: core::array::from_fn(|_| bytes.offset()),
        ..sys::zcrx_ifq_reg::default()
    };
    let len = 8 * usize::from(bytes.u8());
    let memory = Memory8::new(len, bytes);
    let region = Mmap::reserve(1).expect("address space for a page");
    // SAFETY: the memory has the given length, and outlives the queue.
    let Ok(mut ifq) = (unsafe { Ifq::over(memory.start(), len, &answer, RingId::new(), region) })
    else {
        return;
    };
    for _ in 0..16 {
        let mut cqe = cqueue::Entry::default();
        // SAFETY: a completion consists only of integers.
        unsafe { bytes.fill(&mut cqe) };
        cqe.res = bytes.length() as i32;
        assert!(ifq.free() <= answer.rq_entries);
        if let Some(received) = Received::parse(&cqe, &[bytes.u64(), 0]) {
            let free = ifq.free();
            // SAFETY: there is no kernel that would write to an area.
            assert_eq!(unsafe { ifq.refill(received) }.is_ok(), free > 0);
        }
        ifq.publish();
        print(&ifq);
    }
}

/// Parses the answers to queries.
fn answers(bytes: &mut Bytes<'_>) {
    let mut probe = Probe::new();
    // SAFETY: the probe consists only of integers.
    unsafe { bytes.fill(&mut probe) };
    assert!((0..=u8::MAX).filter(|&op| probe.is_supported(op)).count() < 256);
    print(&probe);

    let mut query = Query::default();
    // SAFETY: the answers consist only of integers.
    unsafe {
        bytes.fill(&mut query.opcodes.value);
        bytes.fill(&mut query.zcrx.value);
        bytes.fill(&mut query.scq.value);
        bytes.fill(&mut query.zcrx_event.value);
    }
    query.opcodes.known = bytes.below(2) == 0;
    query.zcrx.known = bytes.below(2) == 0;
    query.scq.known = bytes.below(2) == 0;
    query.zcrx_event.known = bytes.below(2) == 0;
    print(&query);
}

fn structs(bytes: &mut Bytes<'_>) {
    let (mut info, mut napi, mut time) = (SigInfo::new(), Napi::new(), Timespec::new());
    // SAFETY: these structs consist only of integers.
    unsafe {
        bytes.fill(&mut info);
        bytes.fill(&mut napi);
        bytes.fill(&mut time);
    }
    print(&(info, napi, time));
    // SAFETY: this struct consists only of integers, too.
    let statx = unsafe {
        let mut statx = MaybeUninit::<Statx>::zeroed().assume_init();
        bytes.fill(&mut statx);
        statx
    };
    print(&(statx.stx_mask, statx.stx_mode, statx.stx_size, statx.stx_attributes));

    let mut address = SocketAddrBuf::new();
    let room = address.as_bytes().len();
    let (storage, len) = address.as_mut_ptrs();
    for i in 0..room {
        // SAFETY: the byte is within the storage.
        unsafe { storage.cast::<u8>().add(i).write(bytes.u8()) };
    }
    // SAFETY: the length is that of the buffer.
    unsafe { len.write(bytes.length()) };
    assert!(address.as_bytes().len() <= room);
    print(&address);
}

macro_rules! parsers {
    ($($(#[$under_miri:meta])? $parser:ident)*) => {
        const PARSERS: &[fn(&mut Bytes<'_>)] = &[$($parser),*];

        #[cfg(test)]
        mod tests {
            use super::*;
            $(
                #[test]
                $(#[cfg_attr(miri, $under_miri)])?
                fn $parser() {
                    random(super::$parser);
                }
            )*

            /// Runs a parser on random bytes. If it panics, the harness prints the seed.
            fn random(parser: fn(&mut Bytes<'_>)) {
                let (runs, most) = if cfg!(miri) { (2, 200) } else { (256, 800) };
                let seed = std::env::var("SEED").map_or(fastrand::u64(..), |it| it.parse().unwrap());
                std::println!("SEED={seed}");
                let mut rng = fastrand::Rng::with_seed(seed);
                for _ in 0..runs {
                    let bytes: Vec<u8> = (0..rng.usize(..most)).map(|_| byte(&mut rng)).collect();
                    parser(&mut Bytes(&bytes));
                }
            }

            /// Returns a byte, often one of the values at which parsers branch.
            fn byte(rng: &mut fastrand::Rng) -> u8 {
                match rng.u8(..4) {
                    0 => 0,
                    1 => 0xff,
                    2 => rng.u8(..16),
                    _ => rng.u8(..),
                }
            }

            #[test]
            #[cfg_attr(miri, ignore = "one parser maps memory")]
            fn empty_input() {
                (0..=u8::MAX).for_each(|parser| parse(&[parser]));
            }
        }
    };
}
parsers! {
    completions submissions setup messages buffers
    #[ignore = "maps memory, which Miri does not support"]
    refills
    answers structs
}

/// Runs the parser that the first byte selects on the other bytes.
pub fn parse(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    PARSERS[usize::from(bytes.below(PARSERS.len() as u8))](&mut bytes);
}
