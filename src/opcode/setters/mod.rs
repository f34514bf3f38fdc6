//! Stores the arguments of operations in the entry: one setter for each meaning of a field.

use core::ffi::c_void;

use crate::sqe::{Flags, Sqe};
use crate::sys;
use crate::types::sealed::SEAL;
use crate::types::{
    AcceptFlags, AddressFamily, AsyncCancelFlags, AtFlags, AttrPi, CancelBuilder, Descriptor,
    DestinationSlot, EpollOp, Fadv, FallocateFlags, Fixed, FixedFdFlags, FsyncFlags, FutexFlags,
    IdType, Madv, Mode, MsgFlags, MsgRingFlags, NopFlags, OFlags, OpenHow, PipeFlags, PollFlags,
    Protocol, RecvSendFlags, RenameFlags, RwFlags, Shutdown, SocketFlags, SocketType, SpliceFlags,
    StatxFlags, SyncFileRangeFlags, Target, TimeoutFlags, WaitIdOptions, XattrFlags, iovec,
    large_file,
};

/// Converts a pointer to the kernel's 64-bit word. This exposes the provenance of the pointer,
/// because the kernel will access the memory.
#[inline(always)]
fn word<T: ?Sized>(ptr: *const T) -> u64 {
    ptr.cast::<c_void>().expose_provenance() as u64
}

/// Places fewer than four bytes at the lowest addresses of a word, on either endianness.
#[inline(always)]
const fn leading<const N: usize>(bytes: [u8; N]) -> u32 {
    let mut word = [0; 4];
    let mut n = 0;
    while n < N {
        word[n] = bytes[n];
        n += 1;
    }
    u32::from_ne_bytes(word)
}

/// Places two 32-bit numbers in a 64-bit word, the first at the lower address.
#[inline(always)]
const fn pair(first: u32, second: u32) -> u64 {
    if cfg!(target_endian = "little") {
        (second as u64) << 32 | first as u64
    } else {
        (first as u64) << 32 | second as u64
    }
}

/// Declares the setters that only store a value: the name, the type, and the field.
macro_rules! words {
    ($($(#[$doc:meta])* $put:ident($value:ident: $Type:ty) => $field:ident = $word:expr;)*) => { $(
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $put(&mut self, $value: $Type) {
            self.$field = $word;
        }
    )* };
}

/// One setter for each meaning, named after the argument that it stores.
impl Sqe {
    words! {
        advice(advice: impl Into<Fadv>) => op_flags = advice.into().0;
        backlog(backlog: i32) => len = backlog as u32;
        buf_group(group: u16) => buf_index = group;
        buf_index(index: u16) => buf_index = index;
        /// The number of completions that end a timeout early.
        count(count: u32) => off = u64::from(count);
        dest_slot(slot: DestinationSlot) => file_index = slot.file_index();
        discard_len(len: u64) => addr3 = len;
        discard_start(offset: u64) => addr = offset;
        domain(domain: AddressFamily) => fd = i32::from(domain.as_raw());
        epoll_op(op: EpollOp) => len = op.0;
        fallocate_len(len: u64) => addr = len;
        fallocate_mode(mode: impl Into<FallocateFlags>) => len = mode.into().bits();
        first_bid(bid: u16) => off = u64::from(bid);
        /// `u32::MAX` would mean "any slots", and the kernel would write to the list. The number
        /// before it is beyond every table too, and the kernel rejects it.
        first_slot(slot: u32) => off = u64::from(slot.min(u32::MAX - 1));
        fsync_flags(flags: impl Into<FsyncFlags>) => op_flags = flags.into().bits();
        futex_flags(flags: impl Into<FutexFlags>) => fd = flags.into().bits() as i32;
        futex_mask(mask: u64) => addr3 = mask;
        futex_val(val: u64) => off = val;
        getsockname_peer(peer: bool) => file_index = u32::from(peer);
        hardlink_flags(flags: AtFlags) => op_flags = flags.bits();
        how(how: Shutdown) => len = how as u32;
        id(id: u32) => fd = id as i32;
        idtype(idtype: IdType) => len = idtype.0;
        ifq(ifq: u32) => file_index = ifq;
        install_flags(flags: impl Into<FixedFdFlags>) => op_flags = flags.into().bits();
        ioprio(ioprio: u16) => ioprio = ioprio;
        len(len: u32) => len = len;
        madvice(advice: impl Into<Madv>) => op_flags = advice.into().0;
        mode(mode: impl Into<Mode>) => len = mode.into().bits();
        msg_flags(flags: impl Into<MsgFlags>) => op_flags = flags.into().bits();
        notif_user_data(user_data: u64) => addr3 = user_data;
        /// A number beyond `i32::MAX` becomes negative, and the kernel rejects it.
        nr_buffers(nbufs: u32) => fd = nbufs as i32;
        off(offset: u64) => off = offset;
        off_in(offset: i64) => addr = offset as u64;
        off_out(offset: i64) => off = offset as u64;
        open_flags(flags: OFlags) => op_flags = large_file(flags).bits();
        pipe_flags(flags: PipeFlags) => op_flags = flags.bits();
        protocol(protocol: Option<Protocol>) => len = protocol.map_or(0, |p| p.as_raw().get());
        range_flags(flags: SyncFileRangeFlags) => op_flags = flags.bits();
        rename_flags(flags: RenameFlags) => op_flags = flags.bits();
        rw_flags(flags: impl Into<RwFlags>) => op_flags = flags.into().bits();
        /// The slot for a new file. 0 means none, so the kernel counts slots from one.
        slot(slot: Option<DestinationSlot>) => file_index = slot.map_or(0, DestinationSlot::file_index);
        socket_flags(flags: SocketFlags) => op_flags = flags.bits();
        sockopt_len(optlen: u32) => file_index = optlen;
        statx_flags(flags: AtFlags) => op_flags = flags.bits();
        statx_mask(mask: StatxFlags) => len = mask.bits();
        target_user_data(user_data: u64) => addr = user_data;
        total_len(len: u32) => file_index = len;
        unlink_flags(flags: AtFlags) => op_flags = flags.bits();
        waitid_options(options: WaitIdOptions) => file_index = options.bits();
        xattr_flags(flags: XattrFlags) => op_flags = flags.bits();

        /// `addr_len` is the first half of its word. A length that does not fit is invalid. It must
        /// not become a valid one by losing its upper half.
        addr_len(len: u32) => file_index = leading(u16::try_from(len).unwrap_or(u16::MAX).to_ne_bytes());
        /// `write_stream` is the first byte of its word.
        write_stream(stream: u8) => file_index = leading([stream]);
        /// `cmd_op` is the first half of its word; the other half must be zero.
        cmd_op(cmd_op: u32) => off = pair(cmd_op, 0);
    }

    #[inline(always)]
    pub(crate) fn addr<T>(&mut self, addr: *const T) {
        self.addr = word(addr);
    }

    #[inline(always)]
    pub(crate) fn addr2<T>(&mut self, addr: *const T) {
        self.off = word(addr);
    }

    #[inline(always)]
    pub(crate) fn addr3<T>(&mut self, addr: *const T) {
        self.addr3 = word(addr);
    }

    /// Stores a descriptor, or a slot together with `FIXED_FILE`. Both integers follow from the
    /// type of the target at compile time. A branch here would write part of the entry to memory,
    /// and the later copy of the entry would stall on it.
    #[inline(always)]
    pub(crate) fn fd(&mut self, fd: impl Target) {
        let (number, flag) = fd.number_and_flag(SEAL);
        self.fd = number;
        self.flags |= flag;
    }

    /// Stores that the operation has no file.
    #[inline(always)]
    pub(crate) fn no_fd(&mut self, (): ()) {
        self.fd = -1;
    }

    #[inline(always)]
    pub(crate) fn dirfd(&mut self, dirfd: impl Descriptor) {
        self.fd(dirfd);
    }

    /// Stores the second directory of an operation in `len`.
    #[inline(always)]
    pub(crate) fn newdirfd(&mut self, newdirfd: impl Descriptor) {
        self.len = newdirfd.number_and_flag(SEAL).0 as u32;
    }

    /// Stores in `off` the descriptor that an epoll instance shall watch. As with all descriptors
    /// outside `fd`, a negative one is not sign-extended to 64 bits.
    #[inline(always)]
    pub(crate) fn epoll_target(&mut self, fd: impl Descriptor) {
        self.off = u64::from(fd.number_and_flag(SEAL).0 as u32);
    }

    /// Stores the default flags of an open.
    #[inline(always)]
    pub(crate) fn read_only(&mut self, (): ()) {
        self.open_flags(OFlags::RDONLY);
    }

    /// Stores what a close needs. For a slot, that is descriptor 0 and the slot plus one, without
    /// `FIXED_FILE`.
    ///
    /// The slot `u32::MAX` has no successor. It must not wrap to 0, which means "no slot" and would
    /// close descriptor 0. The saturated value names the slot before it, which is beyond every
    /// table too, so the kernel rejects it.
    #[inline(always)]
    pub(crate) fn close(&mut self, fd: impl Target) {
        let (number, flag) = fd.number_and_flag(SEAL);
        (self.fd, self.file_index) =
            if flag == 0 { (number, 0) } else { (0, (number as u32).saturating_add(1)) };
    }

    /// Stores the input of a splice. A flag of the splice, not `FIXED_FILE`, marks it as a slot.
    #[inline(always)]
    pub(crate) fn splice_in(&mut self, fd_in: impl Target) {
        let (number, flag) = fd_in.number_and_flag(SEAL);
        self.file_index = number as u32;
        if flag != 0 {
            self.splice_flags(SpliceFlags::FD_IN_FIXED);
        }
    }

    #[inline(always)]
    pub(crate) fn splice_flags(&mut self, flags: impl Into<SpliceFlags>) {
        self.op_flags |= flags.into().bits();
    }

    #[inline(always)]
    pub(crate) fn auto_slot(&mut self, auto: bool) {
        self.slot(auto.then_some(DestinationSlot::auto_target()));
    }

    /// Requests any free slots. The kernel writes their numbers into the list of descriptors.
    #[inline(always)]
    pub(crate) fn any_slots(&mut self, (): ()) {
        self.off = u64::from(DestinationSlot::auto_target().file_index());
    }

    /// Stores the address of the `struct open_how` and its size, which is larger in newer kernels.
    #[inline(always)]
    pub(crate) fn open_how(&mut self, how: *const OpenHow) {
        self.addr2(how);
        self.len = size_of::<OpenHow>() as u32;
    }

    /// Stores a length of more than 32 bits in `addr`, which older kernels reject if it is not 0.
    #[inline(always)]
    pub(crate) fn fadvise_len(&mut self, len: u64) {
        (self.len, self.addr) = short_or_long(len);
    }

    /// Like [`fadvise_len`](Self::fadvise_len), but with the long length in `off`.
    #[inline(always)]
    pub(crate) fn madvise_len(&mut self, len: u64) {
        (self.len, self.off) = short_or_long(len);
    }

    #[inline(always)]
    pub(crate) fn attr_pi(&mut self, attr: *const AttrPi) {
        self.addr3(attr);
        self.pad2 = u64::from(sys::IORING_RW_ATTR_FLAG_PI);
    }

    /// Stores the group of provided buffers, and the flag that selects from it.
    #[inline(always)]
    pub(crate) fn select_buffer(&mut self, group: u16) {
        self.buf_group(group);
        self.flags |= Flags::BUFFER_SELECT.bits();
    }

    /// Stores the type of a socket. It shares a word with the flags, as in `socket(2)`.
    #[inline(always)]
    pub(crate) fn socket_type(&mut self, socket_type: SocketType) {
        self.off |= u64::from(socket_type.as_raw());
    }

    #[inline(always)]
    pub(crate) fn socket_type_flags(&mut self, flags: SocketFlags) {
        self.off |= u64::from(flags.bits());
    }

    /// Stores the length of the address at `addr` in `off`.
    #[inline(always)]
    pub(crate) fn addrlen(&mut self, addrlen: u32) {
        self.off = u64::from(addrlen);
    }

    #[inline(always)]
    pub(crate) fn recvsend_flags(&mut self, flags: impl Into<RecvSendFlags>) {
        self.ioprio |= flags.into().bits();
    }

    #[inline(always)]
    pub(crate) fn accept_flags(&mut self, flags: impl Into<AcceptFlags>) {
        self.ioprio |= flags.into().bits();
    }

    #[inline(always)]
    pub(crate) fn recvsend_buffer(&mut self, buf_index: Option<u16>) {
        let fixed = RecvSendFlags::FIXED_BUF.bits();
        match buf_index {
            Some(index) => (self.buf_index, self.ioprio) = (index, self.ioprio | fixed),
            None => (self.buf_index, self.ioprio) = (0, self.ioprio & !fixed),
        }
    }

    #[inline(always)]
    pub(crate) fn vectorized(&mut self, iovec: *const iovec) {
        self.addr(iovec);
        self.recvsend_flags(RecvSendFlags::VECTORIZED);
    }

    /// Stores a poll mask. On big endian, the kernel expects the halves of the 32 bits swapped: the
    /// field once had 16 bits, and old kernels read only its first two bytes.
    #[inline(always)]
    pub(crate) fn poll_mask(&mut self, flags: impl Into<PollFlags>) {
        let mask = flags.into().bits();
        self.op_flags = if cfg!(target_endian = "little") { mask } else { mask.rotate_left(16) };
    }

    #[inline(always)]
    pub(crate) fn poll_multi(&mut self, multi: bool) {
        set(&mut self.len, sys::IORING_POLL_ADD_MULTI, multi);
    }

    #[inline(always)]
    pub(crate) fn poll_level(&mut self, level: bool) {
        set(&mut self.len, sys::IORING_POLL_ADD_LEVEL, level);
    }

    #[inline(always)]
    pub(crate) fn poll_update_events(&mut self, flags: impl Into<PollFlags>) {
        self.poll_mask(flags);
        self.len |= sys::IORING_POLL_UPDATE_EVENTS;
    }

    #[inline(always)]
    pub(crate) fn poll_update_user_data(&mut self, user_data: u64) {
        self.off = user_data;
        self.len |= sys::IORING_POLL_UPDATE_USER_DATA;
    }

    #[inline(always)]
    pub(crate) fn timeout_flags(&mut self, flags: impl Into<TimeoutFlags>) {
        self.op_flags |= flags.into().bits();
    }

    /// Stores the time itself instead of its address. The kernel's number is signed, and the kernel
    /// rejects negative values.
    #[inline(always)]
    pub(crate) fn immediate(&mut self, nanoseconds: u64) {
        self.addr = nanoseconds.min(i64::MAX as u64);
        self.timeout_flags(TimeoutFlags::IMMEDIATE_ARG);
    }

    /// Stores the new time of a timeout instead of its address.
    #[inline(always)]
    pub(crate) fn immediate_update(&mut self, nanoseconds: u64) {
        self.off = nanoseconds.min(i64::MAX as u64);
        self.timeout_flags(TimeoutFlags::IMMEDIATE_ARG);
    }

    #[inline(always)]
    pub(crate) fn cancel(&mut self, criteria: CancelBuilder) {
        self.addr = criteria.user_data;
        self.fd = criteria.fd;
        self.len = u32::from(criteria.opcode);
        self.cancel_flags(criteria.flags);
    }

    #[inline(always)]
    pub(crate) fn cancel_flags(&mut self, flags: impl Into<AsyncCancelFlags>) {
        self.op_flags |= flags.into().bits();
    }

    #[inline(always)]
    pub(crate) fn msg_ring_command(&mut self, command: sys::io_uring_msg_ring_flags) {
        self.addr = command as u64;
    }

    #[inline(always)]
    pub(crate) fn msg_ring_flags(&mut self, flags: impl Into<MsgRingFlags>) {
        self.op_flags |= flags.into().bits();
    }

    /// Stores the flags for the completion on the other ring, if there are any.
    #[inline(always)]
    pub(crate) fn user_flags(&mut self, flags: Option<u32>) {
        if let Some(flags) = flags {
            self.file_index = flags;
            self.msg_ring_flags(MsgRingFlags::FLAGS_PASS);
        }
    }

    /// Stores the result for the completion on the other ring.
    #[inline(always)]
    pub(crate) fn result(&mut self, result: i32) {
        self.len = result as u32;
    }

    #[inline(always)]
    pub(crate) fn source_slot(&mut self, slot: Fixed) {
        self.addr3 = u64::from(slot.0);
    }

    #[inline(always)]
    pub(crate) fn nop_flags(&mut self, flags: NopFlags) {
        self.op_flags |= flags.bits();
    }

    #[inline(always)]
    pub(crate) fn nop_result(&mut self, result: i32) {
        self.result(result);
        self.nop_flags(NopFlags::INJECT_RESULT);
    }

    /// Stores the file of a NOP, which has its own flag for slots instead of `FIXED_FILE`.
    #[inline(always)]
    pub(crate) fn nop_file(&mut self, file: impl Target) {
        let (number, flag) = file.number_and_flag(SEAL);
        self.fd = number;
        self.nop_flags(NopFlags::FILE);
        if flag != 0 {
            self.nop_flags(NopFlags::FIXED_FILE);
        }
    }

    #[inline(always)]
    pub(crate) fn nop_buffer(&mut self, buf_index: u16) {
        self.buf_index = buf_index;
        self.nop_flags(NopFlags::FIXED_BUFFER);
    }

    #[inline(always)]
    pub(crate) fn nop_task_work(&mut self, task_work: bool) {
        set(&mut self.op_flags, NopFlags::TW.bits(), task_work);
    }

    #[inline(always)]
    pub(crate) fn nop_big_cqe(&mut self, big_cqe: [u64; 2]) {
        [self.off, self.addr] = big_cqe;
        self.nop_flags(NopFlags::CQE32);
    }

    /// Stores the 16 bytes of arguments of a command.
    #[inline(always)]
    pub(crate) fn cmd(&mut self, cmd: [u8; 16]) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = cmd;
        self.addr3 = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
        self.pad2 = u64::from_ne_bytes([i, j, k, l, m, n, o, p]);
    }

    #[inline(always)]
    pub(crate) fn cmd_addr(&mut self, addr: Option<u64>) {
        self.addr = addr.unwrap_or(0);
    }

    #[inline(always)]
    pub(crate) fn cmd_buffer(&mut self, buf_index: Option<u16>) {
        self.buf_index = buf_index.unwrap_or(0);
        set(&mut self.op_flags, sys::IORING_URING_CMD_FIXED, buf_index.is_some());
    }

    #[inline(always)]
    pub(crate) fn cmd_multishot(&mut self, group: u16) {
        self.select_buffer(group);
        self.op_flags |= sys::IORING_URING_CMD_MULTISHOT;
    }

    /// Stores `level` as the first half of a word. [`optname`](Self::optname) is the second half.
    #[inline(always)]
    pub(crate) fn level(&mut self, level: u32) {
        self.addr |= pair(level, 0);
    }

    #[inline(always)]
    pub(crate) fn optname(&mut self, optname: u32) {
        self.addr |= pair(0, optname);
    }
}

/// Returns the length for the short field if it fits, otherwise for the long field.
#[inline(always)]
const fn short_or_long(len: u64) -> (u32, u64) {
    if len <= u32::MAX as u64 { (len as u32, 0) } else { (0, len) }
}

#[inline(always)]
const fn set(word: &mut u32, flag: u32, on: bool) {
    *word = if on { *word | flag } else { *word & !flag };
}

#[cfg(test)]
mod tests;
