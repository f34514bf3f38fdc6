//! Zero-copy receive: the network card (NIC) writes into the memory of the program.
//!
//! An *interface queue* is one receive queue of a NIC, bound to a ring. It has an *area* of memory
//! that the NIC fills. Use [`RecvZc`](crate::opcode::RecvZc) on a socket whose packets arrive
//! through that queue. Its completions tell where in the area the data is ([`Received`]). When you
//! have read a piece, return it through the *refill ring* ([`Ifq::refill`]).
//!
//! A `RecvZc` continues while its completions have [`more`](crate::cqueue::Entry::more). It ends
//! with 0 when the connection ends, with -ENOSPC if the completion queue is full, and with -ENOMEM
//! if the area is full. In the last two cases, submit it again when there is space.
//!
//! Zero-copy receive requires a ring with
//! [`setup_defer_taskrun`](crate::Builder::setup_defer_taskrun) and 32-byte completions,
//! `CAP_NET_ADMIN`, and a NIC that puts headers and data into different memory, configured with
//! `ethtool`. Since Linux 7.1, there is a mode without a device ([`IfqFlags::NODEV`]), in which the
//! kernel copies the data. It is meant for development, and for the loopback interface.

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
    /// Flags for registering an interface queue (`ZCRX_REG_*`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct IfqFlags: u32 {
        /// The queue belongs to another ring, and comes from an
        /// [exported](Submitter::zcrx_export) descriptor.
        /// [`import_ifq`](Submitter::import_ifq) sets this flag itself. Since Linux 6.19.
        const IMPORT = sys::ZCRX_REG_IMPORT;
        /// There is no device. The kernel copies all data, and you must
        /// [flush](Submitter::zcrx_flush) the refill ring. Since Linux 7.1.
        const NODEV = sys::ZCRX_REG_NODEV;

        const _ = !0;
    }
}

bitflags! {
    /// The events that an interface queue reports on request ([`IfqConfig::events`]), one bit for
    /// each `ZCRX_EVENT_*`. Since Linux 7.2.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct Events: u32 {
        /// The area had no free memory for incoming data.
        const ALLOC_FAIL = 1 << sys::ZCRX_EVENT_ALLOC_FAIL;
        /// The kernel copied data, because the NIC had not put it into the area.
        const COPY = 1 << sys::ZCRX_EVENT_COPY;

        const _ = !0;
    }
}

impl Events {
    /// Returns the event that a completion with the user data of [`IfqConfig::events`] reports.
    pub fn of(cqe: &cqueue::Entry) -> Self {
        let event = u32::try_from(cqe.result()).ok().and_then(|event| 1_u32.checked_shl(event));
        Self::from_bits_retain(event.unwrap_or(0))
    }
}

/// Memory for the NIC to fill: `struct io_uring_zcrx_area_reg`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Area<'fd> {
    /// Memory of the program, in whole pages.
    Memory(NonNull<[u8]>),
    /// Memory of a device: `len` bytes of a DMA buffer from `offset` on. Since Linux 6.16.
    Dmabuf {
        /// The descriptor of the DMA buffer.
        fd: BorrowedFd<'fd>,
        /// The offset of the area in the DMA buffer, in bytes.
        offset: u64,
        /// The length of the area in bytes.
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

/// The configuration of an interface queue: the part of `struct io_uring_zcrx_ifq_reg` that
/// programs fill.
///
/// [`new`](Self::new) takes what every queue needs. Set the other fields directly.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct IfqConfig<'fd> {
    /// The index of the network interface; 0 without a device.
    pub if_idx: u32,
    /// The number of the receive queue of that interface.
    pub if_rxq: u32,
    /// The number of slots of the refill ring, rounded up to a power of two; at most 32768.
    pub rq_entries: u32,
    /// The flags for the registration.
    pub flags: IfqFlags,
    /// The first area. You can [add](Submitter::zcrx_add_area) others later.
    pub area: Area<'fd>,
    /// The size of the buffers that the NIC fills, in bytes; 0 for a page. Since Linux 7.0
    /// (`ZCRX_FEATURE_RX_PAGE_SIZE`).
    pub rx_buf_len: u32,
    /// The events to report, and the user data of the completions that report them. The kernel
    /// reports each event once, and again after you have [armed](Submitter::zcrx_arm_event) it
    /// again. [`Events::of`] tells which event a completion reports. Since Linux 7.2.
    pub events: Option<(Events, u64)>,
}

impl<'fd> IfqConfig<'fd> {
    /// Creates the configuration of a queue with `rq_entries` slots, for the data that one receive
    /// queue of an interface puts into `area`.
    pub const fn new(if_idx: u32, if_rxq: u32, rq_entries: u32, area: Area<'fd>) -> Self {
        let (flags, rx_buf_len, events) = (IfqFlags::empty(), 0, None);
        Self { if_idx, if_rxq, rq_entries, flags, area, rx_buf_len, events }
    }
}

/// The location of received data in an area: `struct io_uring_zcrx_cqe`.
///
/// [`parse`](Self::parse) decodes it from a completion of [`RecvZc`](crate::opcode::RecvZc).
/// [`Ifq::refill`] releases it. It is not `Copy`, because it may be released only once:
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
    /// Decodes a completion and its extra 16 bytes. Returns `None` for a failure, and for the last
    /// completion of a connection, which has no data.
    pub fn parse(cqe: &cqueue::Entry, big: &[u64; 2]) -> Option<Self> {
        let len = u32::try_from(cqe.result()).ok()?;
        (len > 0).then_some(Self { off: big[0], len })
    }

    /// Returns the index of the area, in the order of registration.
    pub const fn area(&self) -> u16 {
        (self.off >> sys::IORING_ZCRX_AREA_SHIFT) as u16
    }

    /// Returns the offset in the area, in bytes.
    pub const fn offset(&self) -> u64 {
        self.off & !sys::IORING_ZCRX_AREA_MASK
    }

    /// Returns the number of bytes.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Returns whether there are no bytes, which is never the case.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Counts the data that was copied instead of received in place: `struct zcrx_stats`. Since Linux
/// 7.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The number of completions with copied data.
    pub copy_count: u64,
    /// The number of bytes copied.
    pub copy_bytes: u64,
}

/// An interface queue, and its refill ring.
///
/// Dropping it unmaps the refill ring. The registration remains until the ring that it belongs to
/// ends.
pub struct Ifq {
    ring: RingId,
    id: u32,
    head: KernelU32,
    tail: KernelU32,
    entries: NonNull<io_uring_zcrx_rqe>,
    /// The position of the next slot. It is ahead of the published tail by the refills since.
    next: u32,
    mask: u32,
    /// The token of the first area in the refill ring.
    area_token: u64,
    stats: Option<NonNull<[u64; 2]>>,
    /// The mapping that contains all of the above.
    region: Mmap,
}

// SAFETY: the words are atomics, and entries are written only through `&mut`.
unsafe impl Send for Ifq {}
// SAFETY: the words are atomics, and entries are written only through `&mut`.
unsafe impl Sync for Ifq {}

impl Ifq {
    /// Creates the handle for a refill ring in the `len` bytes from `start` on, with the offsets
    /// from the kernel's answer.
    ///
    /// # Errors
    ///
    /// EOVERFLOW if an offset in the answer is outside these bytes.
    ///
    /// # Safety
    ///
    /// The bytes are valid and aligned to 8, and nothing but the kernel and the result uses them
    /// for as long as the result lives.
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
        // SAFETY: the check above ensures that everything is aligned and within the bytes.
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

    /// Returns the ID of the queue, for [`RecvZc::ifq`](crate::opcode::RecvZc::ifq).
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Returns the token of the first area in the refill ring.
    pub const fn area_token(&self) -> u64 {
        self.area_token
    }

    /// Returns the number of free slots in the refill ring.
    pub fn free(&self) -> u32 {
        (self.mask + 1).saturating_sub(self.next.wrapping_sub(self.head.acquire()))
    }

    /// Releases received memory. After [`publish`](Self::publish), the NIC can fill it again.
    ///
    /// ```compile_fail,E0133
    /// # use rustix_uring::zcrx::{Ifq, Received};
    /// # fn refill(ifq: &mut Ifq, received: Received) {
    /// let _ = ifq.refill(received);
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the refill ring is full, returns `received`, which is then not released.
    ///
    /// # Safety
    ///
    /// - `received` was decoded from a completion of a [`RecvZc`](crate::opcode::RecvZc) on this
    ///   queue, on the ring that registered it or one that imported it.
    /// - It was not released before, not even a copy that was decoded from the same completion.
    /// - Once it is published, nothing reads the memory that it names, and there is no reference
    ///   into that memory. The NIC or the kernel writes to it.
    pub unsafe fn refill(&mut self, received: Received) -> Result<(), Received> {
        let area_token = match received.area() {
            0 => self.area_token,
            // In current kernels, the token of an area equals the area bits of the completion.
            _ => received.off & sys::IORING_ZCRX_AREA_MASK,
        };
        // SAFETY: the caller makes the same promises, and the token belongs to the area.
        unsafe { self.refill_area(area_token, received) }
    }

    /// Releases received memory like [`refill`](Self::refill), with the token that
    /// [`zcrx_add_area`](Submitter::zcrx_add_area) returned for its area.
    ///
    /// # Errors
    ///
    /// If the refill ring is full, returns `received`, which is then not released.
    ///
    /// # Safety
    ///
    /// Same as [`refill`](Self::refill). The token belongs to the area that `received` names.
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
        // SAFETY: the slot is within the ring, and the kernel does not read it until it is
        // published.
        unsafe { put(self.entries.add((self.next & self.mask) as usize).cast().as_ptr(), entry) };
        self.next = self.next.wrapping_add(1);
        Ok(())
    }

    /// Publishes the released memory, so that the kernel sees it.
    pub fn publish(&mut self) {
        self.tail.release(self.next);
    }

    /// Returns how much data was copied, or `None` if the queue was registered without
    /// [`events`](IfqConfig::events). Since Linux 7.2.
    pub fn stats(&self) -> Option<Stats> {
        let stats = self.stats?.as_ptr().cast::<u64>();
        // SAFETY: both words are in the region, which is mapped for as long as `self` lives. The
        // kernel may change them at any time, so the reads are volatile.
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

/// Space for the header before the entries of a refill ring. The query reports 8 to 128 bytes.
const HEADER: usize = 512;

/// # Zero-copy receive
impl<H: Handle> Submitter<'_, H> {
    /// Registers an interface queue (`IORING_REGISTER_ZCRX_IFQ`). Since Linux 6.15.
    ///
    /// # Errors
    ///
    /// EPERM without `CAP_NET_ADMIN`; EINVAL if the ring does not have the required setup, for 0
    /// slots or more than 32768, for flags that the kernel does not know, or on older kernels;
    /// ENODEV if there is no such interface; EOPNOTSUPP if its driver does not support this, or not
    /// with this `rx_buf_len`; EEXIST or EBUSY if the queue is in use already; EFAULT if part of
    /// the area is not mapped; ENOMEM if memory is short; EOVERFLOW if an offset in the kernel's
    /// answer is outside the memory of the refill ring.
    ///
    /// # Safety
    ///
    /// The area is valid, and the kernel may write to it, until this ring and each ring that has
    /// [imported](Self::import_ifq) the queue are closed and have ended (see
    /// [`IoUring`](crate::IoUring#dropping)). You may read the part that a completion names
    /// until you refill it. This also holds after the error EOVERFLOW, because the kernel has the
    /// area by then.
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

        // The refill ring is in memory of the process, which is mapped before the register call. So
        // no mapping can fail after the call, when the kernel has the area and does not release it.
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
        // SAFETY: the kernel reads and writes these four structs, which live through the call, and
        // the memory of the refill ring, whose pages it keeps. The caller vouches for the area.
        unsafe { self.register_struct(IORING_REGISTER_ZCRX_IFQ, &mut reg, 1) }?;
        // SAFETY: the kernel has written to this struct, which is initialized.
        let area_token = unsafe { ptr::read_volatile(&raw const area.rq_area_token) };
        // SAFETY: the memory has this length, and the queue keeps it mapped.
        let mut ifq = unsafe { Ifq::over(memory.start(), stats_at, &reg, self.sq.id, memory) }?;
        ifq.area_token = area_token;
        if config.events.is_some() {
            // SAFETY: the statistics are behind the entries, within the region.
            ifq.stats = Some(unsafe { ifq.region.start().add(stats_at) }.cast());
        }
        Ok(ifq)
    }

    /// Registers the interface queue that another ring has [exported](Self::zcrx_export). Since
    /// Linux 6.19.
    ///
    /// # Result
    ///
    /// Returns the ID of the queue in this ring, for [`RecvZc::ifq`](crate::opcode::RecvZc::ifq).
    ///
    /// # Errors
    ///
    /// EBADF if the descriptor is not that of an interface queue; EINVAL if the ring does not have
    /// the required setup, or on older kernels.
    pub fn import_ifq(&self, exported: BorrowedFd<'_>) -> io::Result<u32> {
        let mut reg = sys::zcrx_ifq_reg {
            if_idx: exported.as_raw_fd() as u32,
            flags: IfqFlags::IMPORT.bits(),
            ..sys::zcrx_ifq_reg::default()
        };
        // SAFETY: the kernel reads and writes the struct, which contains no addresses.
        unsafe { self.register_struct(IORING_REGISTER_ZCRX_IFQ, &mut reg, 1) }?;
        Ok(reg.zcrx_id)
    }

    /// Makes the kernel take the contents of the refill ring now, instead of when the NIC needs
    /// memory (`ZCRX_CTRL_FLUSH_RQ`). Since Linux 6.19.
    ///
    /// Without a device, this is the only way.
    ///
    /// # Errors
    ///
    /// EINVAL if the queue belongs to another ring, or on older kernels.
    pub fn zcrx_flush(&self, ifq: &Ifq) -> io::Result<()> {
        self.check_is(ifq.ring)?;
        // SAFETY: the argument contains no address.
        unsafe { self.zcrx_control(ifq.id, sys::ZCRX_CTRL_FLUSH_RQ, [0; 6]) }.map(drop)
    }

    /// Returns a new descriptor with which other rings can [import](Self::import_ifq) the queue
    /// (`ZCRX_CTRL_EXPORT`). Since Linux 6.19.
    ///
    /// # Errors
    ///
    /// EMFILE above `RLIMIT_NOFILE`; EINVAL if the queue belongs to another ring, or on older
    /// kernels.
    pub fn zcrx_export(&self, ifq: &Ifq) -> io::Result<OwnedFd> {
        self.check_is(ifq.ring)?;
        // SAFETY: the argument contains no address.
        let answer = unsafe { self.zcrx_control(ifq.id, sys::ZCRX_CTRL_EXPORT, [0; 6]) }?;
        let fd = first_half(answer[0]) as RawFd;
        // SAFETY: the kernel has just created this descriptor, and nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Arms an event again after it was reported, so that a completion reports its next occurrence
    /// (`ZCRX_CTRL_ARM_EVENT`). Since Linux 7.2.
    ///
    /// # Errors
    ///
    /// EINVAL if `event` is not exactly one event, if the queue was not registered with it, if it
    /// was not reported since it was last armed, or if the queue belongs to another ring;
    /// EOPNOTSUPP or EINVAL on older kernels.
    pub fn zcrx_arm_event(&self, ifq: &Ifq, event: Events) -> io::Result<()> {
        self.check_is(ifq.ring)?;
        if event.bits().count_ones() != 1 {
            return Err(Errno::INVAL);
        }
        let event = from_first_half(event.bits().trailing_zeros());
        // SAFETY: the argument contains no address.
        unsafe { self.zcrx_control(ifq.id, sys::ZCRX_CTRL_ARM_EVENT, [event, 0, 0, 0, 0, 0]) }
            .map(drop)
    }

    /// Adds another area to the queue (`ZCRX_CTRL_ADD_AREA`). Returns the token of the area, which
    /// [`Ifq::refill_area`] takes. Since Linux 7.3.
    ///
    /// # Errors
    ///
    /// Same errors as [`register_ifq`](Self::register_ifq) for its area; EINVAL if the queue
    /// belongs to another ring; EOPNOTSUPP on older kernels.
    ///
    /// # Safety
    ///
    /// Same as [`register_ifq`](Self::register_ifq).
    pub unsafe fn zcrx_add_area(&self, ifq: &Ifq, area: Area<'_>) -> io::Result<u64> {
        self.check_is(ifq.ring)?;
        let mut area = area.to_reg();
        let address = (&raw mut area).expose_provenance() as u64;
        // SAFETY: the address is that of a struct that lives through the call; the caller vouches
        // for the area.
        unsafe { self.zcrx_control(ifq.id, sys::ZCRX_CTRL_ADD_AREA, [address, 0, 0, 0, 0, 0]) }?;
        // SAFETY: the kernel has written to this struct, which is initialized.
        Ok(unsafe { ptr::read_volatile(&raw const area.rq_area_token) })
    }

    /// Makes a control call with an argument, and returns the answer.
    ///
    /// # Safety
    ///
    /// An address in the argument points to what the operation expects.
    unsafe fn zcrx_control(&self, id: u32, op: u32, argument: [u64; 6]) -> io::Result<[u64; 6]> {
        let mut ctrl = zcrx_ctrl { zcrx_id: id, op, __resv: [0; 2], argument };
        // SAFETY: the kernel reads and writes the struct; the caller vouches for its contents.
        unsafe { self.register(sys::IORING_REGISTER_ZCRX_CTRL, (&raw mut ctrl).cast(), 0) }?;
        Ok(ctrl.argument)
    }
}

/// Returns the 32 bits at the lower address of a word.
fn first_half(word: u64) -> u32 {
    let bytes = word.to_ne_bytes();
    u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Returns a word with these 32 bits at its lower address, and zeros otherwise.
fn from_first_half(half: u32) -> u64 {
    let [a, b, c, d] = half.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_follow_the_address() {
        let word = from_first_half(0x1122_3344);
        assert_eq!(word.to_ne_bytes()[..4], 0x1122_3344_u32.to_ne_bytes());
        assert_eq!(first_half(word), 0x1122_3344);
    }

    #[test]
    fn completions_are_decoded() {
        let cqe = |res| cqueue::Entry { res, ..Default::default() };
        let received = Received::parse(&cqe(7), &[0x0003_0000_0000_1000, !0]).unwrap();
        assert_eq!((received.area(), received.offset(), received.len()), (3, 0x1000, 7));
        assert_eq!(Received::parse(&cqe(0), &[0; 2]), None);
        assert_eq!(Received::parse(&cqe(-105), &[0; 2]), None);
    }

    #[test]
    fn events_are_decoded() {
        let of = |res| Events::of(&cqueue::Entry { res, ..Default::default() });
        assert_eq!((of(0), of(1)), (Events::ALLOC_FAIL, Events::COPY));
        assert_eq!((of(31).bits(), of(32).bits(), of(-1).bits()), (1 << 31, 0, 0));
    }

    #[test]
    fn layouts_match_the_kernel() {
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

    /// A refill ring in plain memory. The test plays the kernel's side.
    #[test]
    #[cfg_attr(miri, ignore = "Miri does not support this mapping")]
    fn refills_wrap_around() {
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
        // SAFETY: the length is that of the struct, which outlives the queue.
        let mut ifq =
            unsafe { Ifq::over(memory, size_of::<Shared>(), &answer, RingId::new(), region) }
                .unwrap();
        ifq.area_token = 5 << 48;
        let received = |area: u64, off| Received { off: area << 48 | off, len: 9 };
        for round in 0..50 {
            assert_eq!(ifq.free(), 4);
            for n in 0..4 {
                // The first area uses its token, others the area bits of the completion.
                // SAFETY: there is no kernel that could write to an area.
                assert_eq!(unsafe { ifq.refill(received(n % 2, round * 4 + n)) }, Ok(()));
            }
            // The ring is full, so the refill fails and returns its argument.
            // SAFETY: there is no kernel that could write to an area.
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
            // The kernel takes all entries.
            ifq.head.release(next);
        }
        assert_eq!(ifq.stats(), None);
    }
}
