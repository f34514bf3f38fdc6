//! Zero-copy receive: the network card (NIC) writes into the program's memory.
//!
//! An *interface queue* is one receive queue of a NIC, bound to a ring, with an *area* of memory
//! that the NIC fills. A [`RecvZc`](crate::opcode::RecvZc) on a socket whose packets come through
//! that queue completes with where in the area they lie ([`Received`]), and the program gives each
//! piece back through the *refill ring* ([`Ifq::refill`]) when it has read it.
//!
//! A `RecvZc` goes on as long as its completions have [`more`](crate::cqueue::Entry::more). It
//! ends with 0 where the connection does; with -ENOSPC where the completion queue is full, and with
//! -ENOMEM where the area is: then it is to be submitted again, when there is room.
//!
//! It needs a ring with [`setup_defer_taskrun`](crate::Builder::setup_defer_taskrun) and completions
//! of 32 bytes, `CAP_NET_ADMIN`, and a NIC whose headers and data go to different memory, set up
//! with `ethtool`. From Linux 7.1 on, there is a mode without a device
//! ([`IfqFlags::NODEV`]), in which the kernel copies: for developing, and for the loopback.

use core::fmt;
use core::ptr::{self, NonNull};

use bitflags::bitflags;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::{self, Errno};

use crate::cqueue;
use crate::handle::Handle;
use crate::memory::end;
use crate::memory::mmap::{Mmap, page_size};
use crate::shared::{KernelU32, RingId, put};
use crate::submit::Submitter;
use crate::sys::{
    self, io_uring_region_desc, io_uring_register_op::IORING_REGISTER_ZCRX_IFQ,
    io_uring_zcrx_area_reg, io_uring_zcrx_ifq_reg, io_uring_zcrx_rqe, zcrx_ctrl, zcrx_event_desc,
};

bitflags! {
    /// How an interface queue is registered: the `ZCRX_REG_*` flags.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct IfqFlags: u32 {
        /// It is another ring's, by an [exported](Submitter::zcrx_export) descriptor. Set by itself.
        /// Since Linux 6.19.
        const IMPORT = sys::ZCRX_REG_IMPORT;
        /// Without a device: everything is copied, and the refill ring wants to be
        /// [flushed](Submitter::zcrx_flush). Since Linux 7.1.
        const NODEV = sys::ZCRX_REG_NODEV;

        const _ = !0;
    }
}

bitflags! {
    /// What an event descriptor asks to be told, one bit for each `ZCRX_EVENT_*`. Since Linux 7.2.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct Events: u32 {
        /// There was no memory in the area for what came.
        const ALLOC_FAIL = 1 << sys::ZCRX_EVENT_ALLOC_FAIL;
        /// Data was copied, because the NIC had not put it into the area.
        const COPY = 1 << sys::ZCRX_EVENT_COPY;

        const _ = !0;
    }
}

impl Events {
    /// What a completion tells of that has the user data of [`IfqConfig::events`].
    pub fn of(cqe: &cqueue::Entry) -> Self {
        let event = u32::try_from(cqe.result()).ok().and_then(|event| 1_u32.checked_shl(event));
        Self::from_bits_retain(event.unwrap_or(0))
    }
}

/// Memory for the NIC to fill: `struct io_uring_zcrx_area_reg`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Area<'fd> {
    /// Memory of the program's, whole pages.
    Memory(NonNull<[u8]>),
    /// A DMA buffer, `len` bytes from `offset` on: memory of a device. Since Linux 6.16.
    Dmabuf {
        /// Its descriptor.
        fd: BorrowedFd<'fd>,
        /// Where in it the area begins, in bytes.
        offset: u64,
        /// How long the area is, in bytes.
        len: u64,
    },
}

impl Area<'_> {
    fn to_reg(self) -> io_uring_zcrx_area_reg {
        let (addr, len, flags, dmabuf_fd) = match self {
            Self::Memory(memory) => {
                (memory.cast::<u8>().as_ptr().expose_provenance() as u64, memory.len() as u64, 0, 0)
            }
            Self::Dmabuf { fd, offset, len } => {
                (offset, len, sys::IORING_ZCRX_AREA_DMABUF, fd.as_raw_fd() as u32)
            }
        };
        io_uring_zcrx_area_reg { addr, len, rq_area_token: 0, flags, dmabuf_fd, __resv2: [0; 2] }
    }
}

/// What an interface queue is to be: `struct io_uring_zcrx_ifq_reg`, as far as programs fill it.
///
/// [`new`](Self::new) has what every queue needs; the rest you set field by field.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct IfqConfig<'fd> {
    /// The network interface, by its index; 0 without a device.
    pub if_idx: u32,
    /// Which of its receive queues.
    pub if_rxq: u32,
    /// How many slots the refill ring has, rounded up to a power of two; at most 32768.
    pub rq_entries: u32,
    /// How it is registered.
    pub flags: IfqFlags,
    /// The first area. Others may be [added](Submitter::zcrx_add_area).
    pub area: Area<'fd>,
    /// How large the NIC's pieces are, in bytes; 0 for a page. Since Linux 7.0
    /// (`ZCRX_FEATURE_RX_PAGE_SIZE`).
    pub rx_buf_len: u32,
    /// What to tell of, and the user data of the completions that do: each once, and again after it
    /// was [armed](Submitter::zcrx_arm_event) again. [`Events::of`] says which it was. Since Linux
    /// 7.2.
    pub events: Option<(Events, u64)>,
}

impl<'fd> IfqConfig<'fd> {
    /// A queue of `rq_entries` slots for what one receive queue of an interface brings into `area`.
    pub const fn new(if_idx: u32, if_rxq: u32, rq_entries: u32, area: Area<'fd>) -> Self {
        let (flags, rx_buf_len, events) = (IfqFlags::empty(), 0, None);
        Self { if_idx, if_rxq, rq_entries, flags, area, rx_buf_len, events }
    }
}

/// What was received: where in which area it lies, `struct io_uring_zcrx_cqe`.
///
/// Decoded from a completion of [`RecvZc`](crate::opcode::RecvZc), and released by
/// [`Ifq::refill`], once:
///
/// ```compile_fail,E0382
/// # use rustix_uring::zcrx::{Ifq, Received};
/// # unsafe fn twice(ifq: &mut Ifq, received: Received) {
/// let (one, two) = (received, received);
/// # }
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    off: u64,
    len: u32,
}

impl Received {
    /// What a completion with these 16 more bytes tells, unless it is a failure, or the last one of
    /// a connection, which brings nothing.
    pub fn parse(cqe: &cqueue::Entry, big: &[u64; 2]) -> Option<Self> {
        let len = u32::try_from(cqe.result()).ok()?;
        (len > 0).then_some(Self { off: big[0], len })
    }

    /// Which area, in the order in which they were registered.
    pub const fn area(&self) -> u16 {
        (self.off >> sys::IORING_ZCRX_AREA_SHIFT) as u16
    }

    /// Where in the area, in bytes.
    pub const fn offset(&self) -> u64 {
        self.off & !sys::IORING_ZCRX_AREA_MASK
    }

    /// How many bytes.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether it is nothing, which it never is.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// How much was copied instead of received in place: `struct zcrx_stats`. Since Linux 7.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How many completions.
    pub copy_count: u64,
    /// How many bytes.
    pub copy_bytes: u64,
}

/// An interface queue, and its refill ring.
///
/// Dropping it unmaps the refill ring, and leaves the registration as it is: that ends with the
/// ring that it belongs to.
pub struct Ifq {
    ring: RingId,
    id: u32,
    head: KernelU32,
    tail: KernelU32,
    entries: NonNull<io_uring_zcrx_rqe>,
    /// Our position, ahead of the published one by what was refilled since.
    next: u32,
    mask: u32,
    /// What the first area is called in the refill ring.
    area_token: u64,
    stats: Option<NonNull<[u64; 2]>>,
    /// Keeps all of those mapped.
    region: Mmap,
}

// SAFETY: the words are atomics, and entries are written through `&mut` only.
unsafe impl Send for Ifq {}
// SAFETY: as above.
unsafe impl Sync for Ifq {}

impl Ifq {
    /// The refill ring in the `len` bytes from `start` on, as the kernel's answer says.
    ///
    /// # Errors
    ///
    /// EOVERFLOW if the answer names anything that is not inside.
    ///
    /// # Safety
    ///
    /// The bytes are valid, aligned to 8, and nobody else's for as long as the result lives.
    pub(crate) unsafe fn over(
        start: NonNull<u8>,
        len: usize,
        answer: &sys::zcrx_ifq_reg,
        ring: RingId,
        region: Mmap,
    ) -> io::Result<Self> {
        let [head, tail, rqes] = [answer.offsets[0], answer.offsets[1], answer.offsets[2]];
        let aligned = (head | tail) % 4 == 0 && rqes % 8 == 0;
        let words = end(head.max(tail), 1, size_of::<u32>())?;
        let rqes_end = end(rqes, answer.rq_entries, size_of::<io_uring_zcrx_rqe>())?;
        if !aligned || words.max(rqes_end) > len || !answer.rq_entries.is_power_of_two() {
            return Err(Errno::OVERFLOW);
        }
        // SAFETY: everything lies inside the bytes, aligned, as was just seen.
        unsafe {
            Ok(Self {
                ring,
                id: answer.zcrx_id,
                head: KernelU32::at(start, head),
                tail: KernelU32::at(start, tail),
                entries: start.add(rqes as usize).cast(),
                next: KernelU32::at(start, tail).own(),
                mask: answer.rq_entries - 1,
                area_token: 0,
                stats: None,
                region,
            })
        }
    }

    /// The number by which [`RecvZc`](crate::opcode::RecvZc) names it.
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// What the first area is called in the refill ring.
    pub const fn area_token(&self) -> u64 {
        self.area_token
    }

    /// How many slots of the refill ring are free.
    pub fn free(&self) -> u32 {
        (self.mask + 1).saturating_sub(self.next.wrapping_sub(self.head.acquire()))
    }

    /// Gives memory back that was received, for the NIC to fill again once it is
    /// [published](Self::publish).
    ///
    /// ```compile_fail,E0133
    /// # use rustix_uring::zcrx::{Ifq, Received};
    /// # fn give_back(ifq: &mut Ifq, received: Received) {
    /// let _ = ifq.refill(received);
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns `received` if the refill ring is full: it was not released.
    ///
    /// # Safety
    ///
    /// - `received` was decoded from a completion of a [`RecvZc`](crate::opcode::RecvZc) on this
    ///   queue, on the ring that registered it or one that imported it.
    /// - It was not released before, not even a copy that was decoded from the same completion.
    /// - From when it is published, nobody reads the memory that it names, and there is no reference
    ///   into it. The NIC or the kernel writes there.
    pub unsafe fn refill(&mut self, received: Received) -> Result<(), Received> {
        let area_token = match received.area() {
            0 => self.area_token,
            // Up to now, an area's token is what the completion says.
            _ => received.off & sys::IORING_ZCRX_AREA_MASK,
        };
        // SAFETY: the caller's promise; the token is that of the area.
        unsafe { self.refill_area(area_token, received) }
    }

    /// [`refill`](Self::refill) by the token that the area was [added](Submitter::zcrx_add_area)
    /// under.
    ///
    /// # Errors
    ///
    /// Returns `received` if the refill ring is full: it was not released.
    ///
    /// # Safety
    ///
    /// As for [`refill`](Self::refill); and the token is that of the area that `received` names.
    pub unsafe fn refill_area(
        &mut self,
        area_token: u64,
        received: Received,
    ) -> Result<(), Received> {
        if self.free() == 0 {
            return Err(received);
        }
        let entry =
            io_uring_zcrx_rqe { off: received.offset() | area_token, len: received.len, __pad: 0 };
        // SAFETY: the slot is within the ring, and ours until it is published.
        unsafe { put(self.entries.add((self.next & self.mask) as usize).cast().as_ptr(), entry) };
        self.next = self.next.wrapping_add(1);
        Ok(())
    }

    /// Lets the kernel see what was released.
    pub fn publish(&mut self) {
        self.tail.release(self.next);
    }

    /// How much was copied, if the queue was registered with
    /// [`events`](IfqConfig::events). Since Linux 7.2.
    pub fn stats(&self) -> Option<Stats> {
        let stats = self.stats?.as_ptr().cast::<u64>();
        // SAFETY: both words lie in the region, which is mapped for as long as we live. The kernel
        // adds to them at any time, which a volatile read allows for.
        let [copy_count, copy_bytes] =
            [0, 1].map(|word| unsafe { ptr::read_volatile(stats.add(word)) });
        Some(Stats { copy_count, copy_bytes })
    }
}

impl fmt::Debug for Ifq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ifq")
            .field("id", &self.id)
            .field("area_token", &self.area_token)
            .field("free", &self.free())
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// At least what stands before the entries of a refill ring: 8 bytes to 128, as the query says.
const HEADER: usize = 512;

/// # Zero-copy receive
impl<H: Handle> Submitter<'_, H> {
    /// Registers an interface queue (`IORING_REGISTER_ZCRX_IFQ`). Since Linux 6.15.
    ///
    /// # Errors
    ///
    /// EPERM without `CAP_NET_ADMIN`; EINVAL if the ring is not as it must be, for no slots or more
    /// than 32768, for flags that the kernel does not know, or on older kernels; ENODEV if there is
    /// no such interface; EOPNOTSUPP if its driver cannot, or for pieces of that size; EEXIST or
    /// EBUSY if the queue is another's; EFAULT if the area is not all there; ENOMEM if memory is
    /// short; EOVERFLOW if what the kernel answers is not inside the
    /// memory that it was asked for.
    ///
    /// # Safety
    ///
    /// The area is valid, and the kernel's to write, until the ring, and each that has
    /// [imported](Self::import_ifq) the queue, is closed and its end has come (see
    /// [`IoUring`](crate::IoUring), "Dropping it"); what a completion says of it may be read
    /// until it is refilled. So it is after an error as well, if the error is EOVERFLOW: the kernel has
    /// the area by then.
    pub unsafe fn register_ifq(&self, config: &IfqConfig<'_>) -> io::Result<Ifq> {
        let entries = config.rq_entries.checked_next_power_of_two().ok_or(Errno::INVAL)?;
        let header = self.register_query().ok().and_then(|query| query.zcrx());
        let header = header.map_or(0, |zcrx| zcrx.refill_header_size() as usize).max(HEADER);
        let stats_at = (entries as usize)
            .checked_mul(size_of::<io_uring_zcrx_rqe>())
            .and_then(|entries| entries.checked_add(header))
            .and_then(|entries| entries.checked_next_multiple_of(64))
            .ok_or(Errno::INVAL)?;
        let len = stats_at
            .checked_add(size_of::<[u64; 2]>())
            .and_then(|len| len.checked_next_multiple_of(page_size()))
            .ok_or(Errno::INVAL)?;

        // The refill ring lies in the program's memory, which is there before the kernel is asked: so
        // nothing is left to fail once the kernel has the area, which it does not give up again.
        let memory = Mmap::anonymous(len)?.dontfork(self.sq.settings.dontfork)?;
        let mut area = config.area.to_reg();
        let mut region = io_uring_region_desc {
            user_addr: memory.start().as_ptr().expose_provenance() as u64,
            size: len as u64,
            flags: sys::IORING_MEM_REGION_TYPE_USER as u32,
            id: 0,
            mmap_offset: 0,
            __resv: [0; 4],
        };
        let mut events = zcrx_event_desc {
            flags: sys::ZCRX_EVENT_DESC_FLAG_STATS,
            stats_offset: stats_at as u64,
            ..zcrx_event_desc::default()
        };
        if let Some((types, user_data)) = config.events {
            (events.type_mask, events.user_data) = (types.bits(), user_data);
        }
        let events = config.events.map_or(0, |_| (&raw mut events).expose_provenance() as u64);
        let mut reg = sys::zcrx_ifq_reg {
            if_idx: config.if_idx,
            if_rxq: config.if_rxq,
            rq_entries: config.rq_entries,
            flags: config.flags.bits(),
            area_ptr: (&raw mut area).expose_provenance() as u64,
            region_ptr: (&raw mut region).expose_provenance() as u64,
            rx_buf_len: config.rx_buf_len,
            event_desc: events,
            ..sys::zcrx_ifq_reg::default()
        };
        const { assert!(size_of::<sys::zcrx_ifq_reg>() == size_of::<io_uring_zcrx_ifq_reg>()) }
        // SAFETY: the kernel reads and writes these four structs, which are ours for the call, and the
        // memory of the refill ring, whose pages it keeps; the caller promises the area.
        unsafe { self.register_struct(IORING_REGISTER_ZCRX_IFQ, &mut reg, 1) }?;
        // SAFETY: the kernel has written there.
        let area_token = unsafe { ptr::read_volatile(&raw const area.rq_area_token) };
        // SAFETY: the memory is as long, and the queue keeps it.
        let mut ifq = unsafe { Ifq::over(memory.start(), stats_at, &reg, self.sq.id, memory) }?;
        ifq.area_token = area_token;
        if config.events.is_some() {
            // SAFETY: the statistics lie behind the entries, within the region.
            ifq.stats = Some(unsafe { ifq.region.start().add(stats_at) }.cast());
        }
        Ok(ifq)
    }

    /// Registers the interface queue of another ring, which has
    /// [exported](Self::zcrx_export) it, and says by which number
    /// [`RecvZc`](crate::opcode::RecvZc) names it here. Since Linux 6.19.
    ///
    /// # Errors
    ///
    /// EBADF if the descriptor is none of an interface queue; EINVAL if the ring is not as it must
    /// be, or on older kernels.
    pub fn import_ifq(&self, exported: BorrowedFd<'_>) -> io::Result<u32> {
        let mut reg = sys::zcrx_ifq_reg {
            if_idx: exported.as_raw_fd() as u32,
            flags: IfqFlags::IMPORT.bits(),
            ..sys::zcrx_ifq_reg::default()
        };
        // SAFETY: the kernel reads and writes the struct, in which there are no addresses.
        unsafe { self.register_struct(IORING_REGISTER_ZCRX_IFQ, &mut reg, 1) }?;
        Ok(reg.zcrx_id)
    }

    /// Has the kernel take what the refill ring holds now (`ZCRX_CTRL_FLUSH_RQ`), instead of when
    /// the NIC asks. Without a device, nobody else asks. Since Linux 6.19.
    ///
    /// # Errors
    ///
    /// EINVAL if the queue is another ring's, or on older kernels.
    pub fn zcrx_flush(&self, ifq: &Ifq) -> io::Result<()> {
        self.check_is(ifq.ring)?;
        // SAFETY: there is no address.
        unsafe { self.zcrx_control(ifq.id, sys::ZCRX_CTRL_FLUSH_RQ, [0; 6]) }.map(drop)
    }

    /// A descriptor by which other rings can [import](Self::import_ifq) the queue
    /// (`ZCRX_CTRL_EXPORT`). Since Linux 6.19.
    ///
    /// # Errors
    ///
    /// EMFILE above `RLIMIT_NOFILE`; EINVAL if the queue is another ring's, or on older kernels.
    pub fn zcrx_export(&self, ifq: &Ifq) -> io::Result<OwnedFd> {
        self.check_is(ifq.ring)?;
        // SAFETY: there is no address.
        let answer = unsafe { self.zcrx_control(ifq.id, sys::ZCRX_CTRL_EXPORT, [0; 6]) }?;
        let fd = first_half(answer[0]) as RawFd;
        // SAFETY: the kernel has just made this descriptor, for nobody but us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Has the next event of one type told, by a completion (`ZCRX_CTRL_ARM_EVENT`), after one was.
    /// Since Linux 7.2.
    ///
    /// # Errors
    ///
    /// EINVAL for none or several types, for one that the queue was not registered with or that has
    /// not been told since it was last armed, or if the queue is another ring's; EOPNOTSUPP or EINVAL on
    /// older kernels.
    pub fn zcrx_arm_event(&self, ifq: &Ifq, event: Events) -> io::Result<()> {
        self.check_is(ifq.ring)?;
        if event.bits().count_ones() != 1 {
            return Err(Errno::INVAL);
        }
        let event = from_first_half(event.bits().trailing_zeros());
        // SAFETY: there is no address.
        unsafe { self.zcrx_control(ifq.id, sys::ZCRX_CTRL_ARM_EVENT, [event, 0, 0, 0, 0, 0]) }
            .map(drop)
    }

    /// Adds another area (`ZCRX_CTRL_ADD_AREA`), and says what it is called in the refill ring.
    /// Since Linux 7.3.
    ///
    /// # Errors
    ///
    /// As for the first area; EINVAL if the queue is another ring's; EOPNOTSUPP on older kernels.
    ///
    /// # Safety
    ///
    /// As for [`register_ifq`](Self::register_ifq).
    pub unsafe fn zcrx_add_area(&self, ifq: &Ifq, area: Area<'_>) -> io::Result<u64> {
        self.check_is(ifq.ring)?;
        let mut area = area.to_reg();
        let address = (&raw mut area).expose_provenance() as u64;
        // SAFETY: the address is that of a struct which is ours for the call; the caller promises
        // the area.
        unsafe { self.zcrx_control(ifq.id, sys::ZCRX_CTRL_ADD_AREA, [address, 0, 0, 0, 0, 0]) }?;
        // SAFETY: the kernel has written there.
        Ok(unsafe { ptr::read_volatile(&raw const area.rq_area_token) })
    }

    /// A control operation with its argument, for its answer.
    ///
    /// # Safety
    ///
    /// An address in the argument is that of what the operation expects.
    unsafe fn zcrx_control(&self, id: u32, op: u32, argument: [u64; 6]) -> io::Result<[u64; 6]> {
        let mut ctrl = zcrx_ctrl { zcrx_id: id, op, __resv: [0; 2], argument };
        // SAFETY: the kernel reads and writes the struct; the caller vouches for what is in it.
        unsafe { self.register(sys::IORING_REGISTER_ZCRX_CTRL, (&raw mut ctrl).cast(), 0) }?;
        Ok(ctrl.argument)
    }
}

/// The 32 bits at the lower address of a word.
fn first_half(word: u64) -> u32 {
    let bytes = word.to_ne_bytes();
    u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// A word with these 32 bits at its lower address.
fn from_first_half(half: u32) -> u64 {
    let [a, b, c, d] = half.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_by_address() {
        let word = from_first_half(0x1122_3344);
        assert_eq!(word.to_ne_bytes()[..4], 0x1122_3344_u32.to_ne_bytes());
        assert_eq!(first_half(word), 0x1122_3344);
    }

    #[test]
    fn completions_are_taken_apart() {
        let cqe = |res| cqueue::Entry { res, ..Default::default() };
        let received = Received::parse(&cqe(7), &[0x0003_0000_0000_1000, !0]).unwrap();
        assert_eq!((received.area(), received.offset(), received.len()), (3, 0x1000, 7));
        assert_eq!(Received::parse(&cqe(0), &[0; 2]), None);
        assert_eq!(Received::parse(&cqe(-105), &[0; 2]), None);
    }

    #[test]
    fn events_are_told_apart() {
        let of = |res| Events::of(&cqueue::Entry { res, ..Default::default() });
        assert_eq!((of(0), of(1)), (Events::ALLOC_FAIL, Events::COPY));
        assert_eq!((of(31).bits(), of(32).bits(), of(-1).bits()), (1 << 31, 0, 0));
    }

    #[test]
    fn layouts_are_the_kernels() {
        use crate::sys::{io_uring_zcrx_offsets, zcrx_ifq_reg};
        use core::mem::offset_of;
        assert_eq!(offset_of!(zcrx_ifq_reg, offsets), offset_of!(io_uring_zcrx_ifq_reg, offsets));
        assert_eq!(offset_of!(zcrx_ifq_reg, zcrx_id), offset_of!(io_uring_zcrx_ifq_reg, zcrx_id));
        assert_eq!(
            (offset_of!(io_uring_zcrx_offsets, tail), offset_of!(io_uring_zcrx_offsets, rqes)),
            (4, 8)
        );
        assert_eq!(
            (offset_of!(zcrx_ifq_reg, rx_buf_len), offset_of!(zcrx_ifq_reg, event_desc)),
            (68, 72)
        );
        assert_eq!(offset_of!(zcrx_ctrl, argument), 24);
        assert_eq!(offset_of!(zcrx_event_desc, stats_offset), 16);
    }

    #[test]
    fn all_ones_print() {
        let stats = Stats { copy_count: !0, copy_bytes: !0 };
        let received = Received { off: !0, len: !0 };
        assert_eq!((received.area(), received.offset()), (u16::MAX, (1 << 48) - 1));
        let area = Area::Memory(NonNull::slice_from_raw_parts(NonNull::dangling(), 1));
        let (flags, events) = (IfqFlags::all(), Some((Events::all(), !0)));
        let config = IfqConfig {
            if_idx: !0,
            if_rxq: !0,
            rq_entries: !0,
            flags,
            area,
            rx_buf_len: !0,
            events,
        };
        assert!(std::format!("{stats:?} {received:?} {config:?}").contains("4294967295"));
    }

    /// A refill ring in plain memory, with the kernel's side held by the test.
    #[test]
    #[cfg_attr(miri, ignore = "it maps memory, as Miri does not")]
    fn refills_go_around() {
        #[repr(C)]
        struct Shared {
            head: u32,
            tail: u32,
            entries: [[u64; 2]; 4],
        }
        let start = u32::MAX - 5;
        let mut shared = Shared { head: start, tail: start, entries: [[0; 2]; 4] };
        let memory = NonNull::from(&mut shared).cast::<u8>();
        let answer = sys::zcrx_ifq_reg {
            rq_entries: 4,
            offsets: [0, 4, 8, 0, 0, 0, 0, 0],
            ..sys::zcrx_ifq_reg::default()
        };
        let region = Mmap::reserve(4096).unwrap();
        // SAFETY: this is the struct's length, which outlives the queue.
        let mut ifq =
            unsafe { Ifq::over(memory, size_of::<Shared>(), &answer, RingId::new(), region) }
                .unwrap();
        ifq.area_token = 5 << 48;
        let received = |area: u64, off| Received { off: area << 48 | off, len: 9 };
        for round in 0..50 {
            assert_eq!(ifq.free(), 4);
            for n in 0..4 {
                // The first area goes by its token, others by what the completion says.
                // SAFETY: there is no kernel that would write to an area.
                assert_eq!(unsafe { ifq.refill(received(n % 2, round * 4 + n)) }, Ok(()));
            }
            // What finds no room comes back.
            // SAFETY: as above.
            assert_eq!(unsafe { ifq.refill(received(0, 0)) }, Err(received(0, 0)));
            ifq.publish();
            assert!(std::format!("{ifq:?}").contains("free: 0"));
            let next = ifq.tail.own();
            assert_eq!(next.wrapping_sub(ifq.head.own()), 4);
            for n in 0..4_u64 {
                let slot = next.wrapping_sub(4 - n as u32) & 3;
                // SAFETY: the slot is one of the four.
                let entry = unsafe { ifq.entries.add(slot as usize).read() };
                let area = if n % 2 == 0 { 5 } else { 1 };
                assert_eq!((entry.off, entry.len), (area << 48 | (round * 4 + n), 9));
            }
            // The kernel takes them.
            ifq.head.release(next);
        }
        assert_eq!(ifq.stats(), None);
    }
}
