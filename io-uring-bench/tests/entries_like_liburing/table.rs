//! The table of liburing's functions and the expressions that build the same entries with this
//! crate.

use std::ffi::c_void;
use std::ptr;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rustix_uring::opcode::*;
use rustix_uring::squeue::{Entry, Entry128, Flags, Sqe};
use rustix_uring::sys::{self, io_uring_socket_op::*};
use rustix_uring::types::{
    AcceptFlags, AddressFamily, AsyncCancelFlags, AtFlags, CancelBuilder, DestinationSlot, EpollOp,
    Fadv, FallocateFlags, Fd, Fixed, FixedFdFlags, FsyncFlags, FutexFlags, IdType, Madv, Mode,
    MsgFlags, MsgRingFlags, OFlags, PipeFlags, PollFlags, Protocol, RecvSendFlags, RenameFlags,
    RwFlags, Shutdown as How, SocketFlags, SocketType, SpliceFlags, StatxFlags, SyncFileRangeFlags,
    TimeoutFlags, WaitIdOptions, XattrFlags,
};

use crate::argument::{Argument, EXTREMES};
use crate::row::{Row, Sqe128, Tally, rows};

/// Functions without a row, with the reasons.
pub(crate) const EXCEPTIONS: &[(&str, &str)] = &[];

// Reasons: arguments that C can express and our types cannot.

const BUFFERS: &str = "`nbufs` and `bid` have the 16 bits of a buffer ID; the kernel also takes \
                       65,536 buffers at once, which are two entries here";
const CANCEL_FLAGS: &str = "the kernel rejects unknown flags, and ignores `FD_FIXED` without `FD`";
const DIRECTION: &str = "`shutdown(2)` has three directions, and `Shutdown` is an enum of them";
const FAMILY: &str = "an address family has 16 bits, as in `sockaddr`";
const FAMILY_OR_SLOT: &str = "families have 16 bits, and slot 4,294,967,294 cannot be expressed";
const LAST_SLOT: &str = "one more than slot 4,294,967,295 is no slot, and closes descriptor 0: here it \
                         stays beyond the table";
const PEER: &str = "`peer` is a `bool`, and the kernel rejects all values but 0 and 1";
const POLL_FLAGS: &str = "the kernel rejects updates with flags other than those three";
const SLOT: &str = "slot 4,294,967,294 would be encoded as `IORING_FILE_INDEX_ALLOC`, so there is \
                    no `DestinationSlot` of it";
const SOCKET_COMMAND: &str = "each socket command has a builder of its own";

// Reasons: arguments that are expressed differently here.

const ADDRESS_LENGTH: &str = "an address of more than 65,535 bytes stays too long, where C cuts \
                              off the upper half of its length";
const COMMAND_ARGUMENTS: &str = "builders of commands without arguments accept none";
const MULTISHOT_ADDRESS: &str = "`AcceptMulti` has no address, which each connection would \
                                 overwrite; `Accept` with `AcceptFlags::MULTISHOT` has one";
const NO_FLAGS: &str = "the kernel rejects all flags here but 0, so there is no setter";
const PROVIDED: &str = "the builder takes a group of provided buffers, and sets the flag for it; \
                        in C, programs do that";
const PROVIDED_INSTEAD: &str = "the kernel ignores the buffer if it uses provided ones";
const REMOVAL_FLAGS: &str = "a removal takes no flags: some make it an update, which is \
                             `TimeoutUpdate`, and the kernel refuses the others";
const SHORT_LENGTH: &str = "a length that fits goes into the field that older kernels read, as \
                            the function without 64 in its name has it";
const UNASKED: &str = "what the flags do not ask for is not written; the kernel ignores or \
                       refuses it";
const UPPER_HALF: &str = "C sign-extends an `int` to 64 bits, and the kernel reads the lower 32";

fn slot(index: u32) -> Option<DestinationSlot> {
    match index {
        u32::MAX => Some(DestinationSlot::auto_target()),
        _ => DestinationSlot::try_from_slot_target(index).ok(),
    }
}

fn nonzero(protocol: i32) -> Option<Protocol> {
    (protocol as u32).try_into().ok().map(Protocol::from_raw)
}

fn family(domain: i32) -> Option<AddressFamily> {
    domain.try_into().ok().map(AddressFamily::from_raw)
}

/// The criteria of a cancellation that C expresses as flags.
fn criteria(flags: u32, user_data: u64, fd: i32) -> Option<CancelBuilder> {
    let flags = AsyncCancelFlags::from_bits_retain(flags);
    let fixed = flags.contains(AsyncCancelFlags::FD_FIXED);
    let any = flags & AsyncCancelFlags::ANY;
    let nothing_else = (flags - any - AsyncCancelFlags::ALL).is_empty();
    let mut criteria = if nothing_else && !any.is_empty() {
        CancelBuilder::any()
    } else if flags.contains(AsyncCancelFlags::OP) {
        CancelBuilder::op(0)
    } else if flags.contains(AsyncCancelFlags::FD) {
        if fixed { CancelBuilder::fd(Fixed(fd as u32)) } else { CancelBuilder::fd(Fd(fd)) }
    } else {
        CancelBuilder::user_data(user_data)
    };
    for flag in flags {
        criteria = match flag {
            AsyncCancelFlags::ALL => criteria.all(),
            AsyncCancelFlags::ANY => criteria,
            AsyncCancelFlags::OP => criteria.and_op(0),
            AsyncCancelFlags::FD if fixed => criteria.and_fd(Fixed(fd as u32)),
            AsyncCancelFlags::FD => criteria.and_fd(Fd(fd)),
            AsyncCancelFlags::FD_FIXED if flags.contains(AsyncCancelFlags::FD) => criteria,
            AsyncCancelFlags::USERDATA => criteria.and_user_data(user_data),
            _ => return None,
        };
    }
    // In C, `any` is a flag that ignores other criteria. Here, the others would narrow it.
    Some(criteria.flags(any))
}

/// Whether these flags select by something other than user data.
fn other_criteria(flags: i32) -> bool {
    use AsyncCancelFlags as By;
    let flags = By::from_bits_retain(flags as u32);
    flags.intersects(By::ANY | By::FD | By::OP) && !flags.contains(By::USERDATA)
}

const SIOCINQ: i32 = SOCKET_URING_OP_SIOCINQ as i32;
const SIOCOUTQ: i32 = SOCKET_URING_OP_SIOCOUTQ as i32;
const GETSOCKOPT: i32 = SOCKET_URING_OP_GETSOCKOPT as i32;
const SETSOCKOPT: i32 = SOCKET_URING_OP_SETSOCKOPT as i32;
const TX_TIMESTAMP: i32 = SOCKET_URING_OP_TX_TIMESTAMP as i32;

const POLL_MULTI: u32 = sys::IORING_POLL_ADD_MULTI;
const POLL_EVENTS: u32 = sys::IORING_POLL_UPDATE_EVENTS;
const POLL_USER_DATA: u32 = sys::IORING_POLL_UPDATE_USER_DATA;

/// `addr_len` in the word that begins with it.
fn longest_address() -> u32 {
    u32::from_ne_bytes([0xff, 0xff, 0, 0])
}

/// A row for each function, in the order of the header. `as` converts like C does.
pub(crate) fn rows() -> Vec<Row> {
    rows! {
        io_uring_sqe_set_data(data: *mut c_void) upon Nop::new().build()
            => Entry::user_data(Nop::new().build(), data.addr() as u64);
        io_uring_sqe_set_data64(data: u64) upon Nop::new().build()
            => Entry::user_data(Nop::new().build(), data);
        io_uring_sqe_set_flags(flags: u32) upon Nop::new().build().flags(Flags::ASYNC)
            => Entry::flags(Nop::new().build().clear_flags(), Flags::from_bits_retain(flags as u8));
        io_uring_sqe_set_buf_group(bgid: i32) upon Read::provided(Fd(3), 0, 4).build()
            => Read::new(Fd(3), ptr::null_mut(), 4).buf_group(bgid as u16).build();
        io_uring_sqe_set_buf_group(bgid: i32) upon Recv::provided(Fd(3), 0, 4).build()
            => Recv::new(Fd(3), ptr::null_mut(), 4).buf_group(bgid as u16).build();

        io_uring_prep_rw[op: i32](fd: i32, addr: *const c_void, len: u32, offset: u64)
            => Entry::from_raw(Sqe {
                opcode: op as u8, fd, addr: addr.addr() as u64, len, off: offset, ..Sqe::ZERO
            });
        io_uring_prep_splice(
            fd_in: i32, off_in: i64, fd_out: i32, off_out: i64, nbytes: u32, splice_flags: u32
        ) => Splice::new(Fd(fd_in), off_in, Fd(fd_out), off_out, nbytes)
            .flags(SpliceFlags::from_bits_retain(splice_flags)).build();
        io_uring_prep_tee(fd_in: i32, fd_out: i32, nbytes: u32, splice_flags: u32)
            => Tee::new(Fd(fd_in), Fd(fd_out), nbytes)
                .flags(SpliceFlags::from_bits_retain(splice_flags)).build();
        io_uring_prep_readv(fd: i32, iovecs: *const c_void, nr_vecs: u32, offset: u64)
            => Readv::new(Fd(fd), iovecs.cast(), nr_vecs).offset(offset).build();
        io_uring_prep_readv2(fd: i32, iovecs: *const c_void, nr_vecs: u32, offset: u64, flags: i32)
            => Readv::new(Fd(fd), iovecs.cast(), nr_vecs).offset(offset)
                .rw_flags(RwFlags::from_bits_retain(flags as u32)).build();
        io_uring_prep_read_fixed(fd: i32, buf: *mut c_void, nbytes: u32, offset: u64, buf_index: i32)
            => ReadFixed::new(Fd(fd), buf.cast(), nbytes, buf_index as u16).offset(offset).build();
        io_uring_prep_readv_fixed(
            fd: i32, iovecs: *const c_void, nr_vecs: u32, offset: u64, flags: i32, buf_index: i32
        ) => ReadvFixed::new(Fd(fd), iovecs.cast(), nr_vecs, buf_index as u16).offset(offset)
            .rw_flags(RwFlags::from_bits_retain(flags as u32)).build();
        io_uring_prep_writev(fd: i32, iovecs: *const c_void, nr_vecs: u32, offset: u64)
            => Writev::new(Fd(fd), iovecs.cast(), nr_vecs).offset(offset).build();
        io_uring_prep_writev2(fd: i32, iovecs: *const c_void, nr_vecs: u32, offset: u64, flags: i32)
            => Writev::new(Fd(fd), iovecs.cast(), nr_vecs).offset(offset)
                .rw_flags(RwFlags::from_bits_retain(flags as u32)).build();
        io_uring_prep_write_fixed(fd: i32, buf: *const c_void, nbytes: u32, offset: u64, buf_index: i32)
            => WriteFixed::new(Fd(fd), buf.cast(), nbytes, buf_index as u16).offset(offset).build();
        io_uring_prep_writev_fixed(
            fd: i32, iovecs: *const c_void, nr_vecs: u32, offset: u64, flags: i32, buf_index: i32
        ) => WritevFixed::new(Fd(fd), iovecs.cast(), nr_vecs, buf_index as u16).offset(offset)
            .rw_flags(RwFlags::from_bits_retain(flags as u32)).build();
        io_uring_prep_recvmsg(fd: i32, msg: *mut c_void, flags: u32)
            => RecvMsg::new(Fd(fd), msg.cast()).flags(MsgFlags::from_bits_retain(flags)).build();
        io_uring_prep_recvmsg_multishot(fd: i32, msg: *mut c_void, flags: u32)
            => RecvMsgMulti::new(Fd(fd), msg.cast_const().cast(), 0)
                .flags(MsgFlags::from_bits_retain(flags)).build(),
            but PROVIDED if true => |theirs| theirs.flags |= Flags::BUFFER_SELECT.bits();
        io_uring_prep_sendmsg(fd: i32, msg: *const c_void, flags: u32)
            => SendMsg::new(Fd(fd), msg.cast()).flags(MsgFlags::from_bits_retain(flags)).build();
        io_uring_prep_poll_add(fd: i32, poll_mask: u32)
            => PollAdd::new(Fd(fd), PollFlags::from_bits_retain(poll_mask)).build();
        io_uring_prep_poll_multishot(fd: i32, poll_mask: u32)
            => PollAdd::new(Fd(fd), PollFlags::from_bits_retain(poll_mask)).multi(true).build();
        io_uring_prep_poll_remove(user_data: u64) => PollRemove::new(user_data).build();
        io_uring_prep_poll_update(old_user_data: u64, new_user_data: u64, poll_mask: u32, flags: u32)
            => {
                if flags & !(POLL_MULTI | POLL_EVENTS | POLL_USER_DATA) != 0 {
                    return None;
                }
                let mut update = PollUpdate::new(old_user_data).multi(flags & POLL_MULTI != 0);
                if flags & POLL_EVENTS != 0 {
                    update = update.events(PollFlags::from_bits_retain(poll_mask));
                }
                if flags & POLL_USER_DATA != 0 {
                    update = update.new_user_data(new_user_data);
                }
                update.build()
            },
            none POLL_FLAGS,
            but UNASKED if flags & POLL_EVENTS == 0 => |theirs| theirs.op_flags = 0,
            but UNASKED if flags & POLL_USER_DATA == 0 => |theirs| theirs.off = 0;
        io_uring_prep_fsync(fd: i32, fsync_flags: u32)
            => Fsync::new(Fd(fd)).flags(FsyncFlags::from_bits_retain(fsync_flags)).build();
        io_uring_prep_nop() => Nop::new().build();
        io_uring_prep_nop128() => Nop128::new().build();
        io_uring_prep_timeout(ts: *const c_void, count: u32, flags: u32)
            => Timeout::new(ts.cast()).count(count).flags(TimeoutFlags::from_bits_retain(flags)).build();
        io_uring_prep_timeout_remove(user_data: u64, flags: u32) => TimeoutRemove::new(user_data).build(),
            but REMOVAL_FLAGS if true => |theirs| theirs.op_flags = 0;
        io_uring_prep_timeout_update(ts: *const c_void, user_data: u64, flags: u32)
            => TimeoutUpdate::new(user_data, ts.cast())
                .flags(TimeoutFlags::from_bits_retain(flags)).build();
        io_uring_prep_accept(fd: i32, addr: *mut c_void, addrlen: *mut c_void, flags: i32)
            => Accept::new(Fd(fd), addr.cast(), addrlen.cast())
                .flags(SocketFlags::from_bits_retain(flags as u32)).build();
        io_uring_prep_accept_direct(
            fd: i32, addr: *mut c_void, addrlen: *mut c_void, flags: i32, file_index: u32
        ) => Accept::new(Fd(fd), addr.cast(), addrlen.cast())
                .flags(SocketFlags::from_bits_retain(flags as u32))
                .file_index(Some(slot(file_index)?)).build(),
            none SLOT;
        io_uring_prep_multishot_accept(fd: i32, addr: *mut c_void, addrlen: *mut c_void, flags: i32)
            => AcceptMulti::new(Fd(fd)).flags(SocketFlags::from_bits_retain(flags as u32)).build(),
            but MULTISHOT_ADDRESS if true => |theirs| (theirs.addr, theirs.off) = (0, 0);
        io_uring_prep_multishot_accept(fd: i32, addr: *mut c_void, addrlen: *mut c_void, flags: i32)
            => Accept::new(Fd(fd), addr.cast(), addrlen.cast()).accept_flags(AcceptFlags::MULTISHOT)
                .flags(SocketFlags::from_bits_retain(flags as u32)).build();
        io_uring_prep_multishot_accept_direct(
            fd: i32, addr: *mut c_void, addrlen: *mut c_void, flags: i32
        ) => AcceptMulti::new(Fd(fd)).allocate_file_index(true)
                .flags(SocketFlags::from_bits_retain(flags as u32)).build(),
            but MULTISHOT_ADDRESS if true => |theirs| (theirs.addr, theirs.off) = (0, 0);
        io_uring_prep_cancel64(user_data: u64, flags: i32)
            => if flags == 0 {
                AsyncCancel::new(user_data).build()
            } else {
                AsyncCancel2::new(criteria(flags as u32, user_data, -1)?).build()
            },
            none CANCEL_FLAGS,
            but UNASKED if other_criteria(flags) => |theirs| theirs.addr = 0;
        io_uring_prep_cancel(user_data: *const c_void, flags: i32)
            => if flags == 0 {
                AsyncCancel::new(user_data.addr() as u64).build()
            } else {
                AsyncCancel2::new(criteria(flags as u32, user_data.addr() as u64, -1)?).build()
            },
            none CANCEL_FLAGS,
            but UNASKED if other_criteria(flags) => |theirs| theirs.addr = 0;
        io_uring_prep_cancel_fd(fd: i32, flags: u32)
            => if flags == 0 {
                AsyncCancel2::new(CancelBuilder::fd(Fd(fd))).build()
            } else {
                AsyncCancel2::new(criteria(flags | sys::IORING_ASYNC_CANCEL_FD, 0, fd)?).build()
            },
            none CANCEL_FLAGS;
        io_uring_prep_link_timeout(ts: *const c_void, flags: u32)
            => LinkTimeout::new(ts.cast()).flags(TimeoutFlags::from_bits_retain(flags)).build();
        io_uring_prep_connect(fd: i32, addr: *const c_void, addrlen: u32)
            => Connect::new(Fd(fd), addr.cast(), addrlen).build();
        io_uring_prep_bind(fd: i32, addr: *const c_void, addrlen: u32)
            => Bind::new(Fd(fd), addr.cast(), addrlen).build();
        io_uring_prep_listen(fd: i32, backlog: i32) => Listen::new(Fd(fd), backlog).build();
        io_uring_prep_epoll_wait(fd: i32, events: *mut c_void, maxevents: i32, flags: u32)
            => EpollWait::new(Fd(fd), events.cast(), maxevents as u32).build(),
            but NO_FLAGS if true => |theirs| theirs.op_flags = 0;
        io_uring_prep_files_update(fds: *mut c_void, nr_fds: u32, offset: i32)
            => match offset {
                -1 => FilesUpdateAlloc::new(fds.cast(), nr_fds).build(),
                _ => FilesUpdate::new(fds.cast_const().cast(), nr_fds).offset(offset as u32).build(),
            },
            but UPPER_HALF if offset < 0 => |theirs| theirs.off = u64::from(offset as u32);
        io_uring_prep_fallocate(fd: i32, mode: i32, offset: u64, len: u64)
            => Fallocate::new(Fd(fd), len).offset(offset)
                .mode(FallocateFlags::from_bits_retain(mode as u32)).build();
        io_uring_prep_openat(dfd: i32, path: *const c_void, flags: i32, mode: u32)
            => OpenAt::new(Fd(dfd), path.cast()).flags(OFlags::from_bits_retain(flags as u32))
                .mode(Mode::from_bits_retain(mode)).build();
        io_uring_prep_openat_direct(
            dfd: i32, path: *const c_void, flags: i32, mode: u32, file_index: u32
        ) => OpenAt::new(Fd(dfd), path.cast()).flags(OFlags::from_bits_retain(flags as u32))
                .mode(Mode::from_bits_retain(mode)).file_index(Some(slot(file_index)?)).build(),
            none SLOT;
        io_uring_prep_open(path: *const c_void, flags: i32, mode: u32)
            => OpenAt::new(Fd::CWD, path.cast()).flags(OFlags::from_bits_retain(flags as u32))
                .mode(Mode::from_bits_retain(mode)).build();
        io_uring_prep_open_direct(path: *const c_void, flags: i32, mode: u32, file_index: u32)
            => OpenAt::new(Fd::CWD, path.cast()).flags(OFlags::from_bits_retain(flags as u32))
                .mode(Mode::from_bits_retain(mode)).file_index(Some(slot(file_index)?)).build(),
            none SLOT;
        io_uring_prep_close(fd: i32) => Close::new(Fd(fd)).build();
        io_uring_prep_close_direct(file_index: u32) => Close::new(Fixed(file_index)).build(),
            but LAST_SLOT if file_index == u32::MAX => |theirs| theirs.file_index = u32::MAX;
        io_uring_prep_read(fd: i32, buf: *mut c_void, nbytes: u32, offset: u64)
            => Read::new(Fd(fd), buf.cast(), nbytes).offset(offset).build();
        io_uring_prep_read_multishot(fd: i32, nbytes: u32, offset: u64, buf_group: i32)
            => ReadMulti::new(Fd(fd), nbytes, buf_group as u16).offset(offset).build();
        io_uring_prep_write(fd: i32, buf: *const c_void, nbytes: u32, offset: u64)
            => Write::new(Fd(fd), buf.cast(), nbytes).offset(offset).build();
        io_uring_prep_statx(dfd: i32, path: *const c_void, flags: i32, mask: u32, statxbuf: *mut c_void)
            => Statx::new(Fd(dfd), path.cast(), statxbuf.cast())
                .flags(AtFlags::from_bits_retain(flags as u32))
                .mask(StatxFlags::from_bits_retain(mask)).build();
        io_uring_prep_fadvise(fd: i32, offset: u64, len: u32, advice: i32)
            => Fadvise::new(Fd(fd), len.into(), Fadv(advice as u32)).offset(offset).build();
        io_uring_prep_madvise(addr: *mut c_void, length: u32, advice: i32)
            => Madvise::new(addr, length.into(), Madv(advice as u32)).build();
        io_uring_prep_fadvise64(fd: i32, offset: u64, len: i64, advice: i32)
            => Fadvise::new(Fd(fd), len as u64, Fadv(advice as u32)).offset(offset).build(),
            but SHORT_LENGTH if u32::try_from(len).is_ok()
                => |theirs| (theirs.len, theirs.addr) = (len as u32, 0);
        io_uring_prep_madvise64(addr: *mut c_void, length: i64, advice: i32)
            => Madvise::new(addr, length as u64, Madv(advice as u32)).build(),
            but SHORT_LENGTH if u32::try_from(length).is_ok()
                => |theirs| (theirs.len, theirs.off) = (length as u32, 0);
        io_uring_prep_send(sockfd: i32, buf: *const c_void, len: usize, flags: i32)
            => Send::new(Fd(sockfd), buf.cast(), len as u32)
                .flags(MsgFlags::from_bits_retain(flags as u32)).build();
        io_uring_prep_send_bundle(sockfd: i32, len: usize, flags: i32)
            => SendBundle::new(Fd(sockfd), 0).len(len as u32)
                .flags(MsgFlags::from_bits_retain(flags as u32)).build(),
            but PROVIDED if true => |theirs| theirs.flags |= Flags::BUFFER_SELECT.bits();
        io_uring_prep_send_set_addr(dest_addr: *const c_void, addr_len: u16)
            upon Send::new(Fd(3), ptr::null(), 4).build()
            => Send::new(Fd(3), ptr::null(), 4)
                .dest_addr(dest_addr.cast()).dest_addr_len(addr_len.into()).build();
        io_uring_prep_send_set_addr(dest_addr: *const c_void, addr_len: u16)
            upon SendZc::new(Fd(3), ptr::null(), 4).build()
            => SendZc::new(Fd(3), ptr::null(), 4)
                .dest_addr(dest_addr.cast()).dest_addr_len(addr_len.into()).build();
        io_uring_prep_sendto(
            sockfd: i32, buf: *const c_void, len: usize, flags: i32, addr: *const c_void, addrlen: u32
        ) => Send::new(Fd(sockfd), buf.cast(), len as u32)
                .flags(MsgFlags::from_bits_retain(flags as u32))
                .dest_addr(addr.cast()).dest_addr_len(addrlen).build(),
            but ADDRESS_LENGTH if u16::try_from(addrlen).is_err()
                => |theirs| theirs.file_index = longest_address();
        io_uring_prep_send_zc(sockfd: i32, buf: *const c_void, len: usize, flags: i32, zc_flags: u32)
            => SendZc::new(Fd(sockfd), buf.cast(), len as u32)
                .flags(MsgFlags::from_bits_retain(flags as u32))
                .recvsend_flags(RecvSendFlags::from_bits_retain(zc_flags as u16)).build();
        io_uring_prep_send_zc_fixed(
            sockfd: i32, buf: *const c_void, len: usize, flags: i32, zc_flags: u32, buf_index: u32
        ) => SendZc::new(Fd(sockfd), buf.cast(), len as u32)
                .flags(MsgFlags::from_bits_retain(flags as u32))
                .recvsend_flags(RecvSendFlags::from_bits_retain(zc_flags as u16))
                .buf_index(Some(buf_index as u16)).build();
        io_uring_prep_sendmsg_zc(fd: i32, msg: *const c_void, flags: u32)
            => SendMsgZc::new(Fd(fd), msg.cast()).flags(MsgFlags::from_bits_retain(flags)).build();
        io_uring_prep_sendmsg_zc_fixed(fd: i32, msg: *const c_void, flags: u32, buf_index: u32)
            => SendMsgZc::new(Fd(fd), msg.cast()).flags(MsgFlags::from_bits_retain(flags))
                .buf_index(Some(buf_index as u16)).build();
        io_uring_prep_recv(sockfd: i32, buf: *mut c_void, len: usize, flags: i32)
            => Recv::new(Fd(sockfd), buf.cast(), len as u32)
                .flags(MsgFlags::from_bits_retain(flags as u32)).build();
        io_uring_prep_recv_multishot(sockfd: i32, buf: *mut c_void, len: usize, flags: i32)
            => RecvMulti::new(Fd(sockfd), 0).len(len as u32)
                .flags(MsgFlags::from_bits_retain(flags as u32)).build(),
            but PROVIDED if true => |theirs| theirs.flags |= Flags::BUFFER_SELECT.bits(),
            but PROVIDED_INSTEAD if true => |theirs| theirs.addr = 0;
        io_uring_prep_openat2(dfd: i32, path: *const c_void, how: *const c_void)
            => OpenAt2::new(Fd(dfd), path.cast(), how.cast()).build();
        io_uring_prep_openat2_direct(dfd: i32, path: *const c_void, how: *const c_void, file_index: u32)
            => OpenAt2::new(Fd(dfd), path.cast(), how.cast())
                .file_index(Some(slot(file_index)?)).build(),
            none SLOT;
        io_uring_prep_epoll_ctl(epfd: i32, fd: i32, op: i32, ev: *const c_void)
            => EpollCtl::new(Fd(epfd), Fd(fd), EpollOp(op as u32), ev.cast()).build();
        io_uring_prep_provide_buffers(addr: *mut c_void, len: i32, nr: i32, bgid: i32, bid: i32)
            => ProvideBuffers::new(
                addr.cast(), len as u32, nr.try_into().ok()?, bgid as u16, bid.try_into().ok()?
            ).build(),
            none BUFFERS;
        io_uring_prep_remove_buffers(nr: i32, bgid: i32)
            => RemoveBuffers::new(nr.try_into().ok()?, bgid as u16).build(),
            none BUFFERS;
        io_uring_prep_shutdown(fd: i32, how: i32)
            => Shutdown::new(Fd(fd), match how {
                0 => How::Read,
                1 => How::Write,
                2 => How::Both,
                _ => return None,
            }).build(),
            none DIRECTION;
        io_uring_prep_unlinkat(dfd: i32, path: *const c_void, flags: i32)
            => UnlinkAt::new(Fd(dfd), path.cast()).flags(AtFlags::from_bits_retain(flags as u32)).build();
        io_uring_prep_unlink(path: *const c_void, flags: i32)
            => UnlinkAt::new(Fd::CWD, path.cast()).flags(AtFlags::from_bits_retain(flags as u32)).build();
        io_uring_prep_renameat(
            olddfd: i32, oldpath: *const c_void, newdfd: i32, newpath: *const c_void, flags: u32
        ) => RenameAt::new(Fd(olddfd), oldpath.cast(), Fd(newdfd), newpath.cast())
            .flags(RenameFlags::from_bits_retain(flags)).build();
        io_uring_prep_rename(oldpath: *const c_void, newpath: *const c_void)
            => RenameAt::new(Fd::CWD, oldpath.cast(), Fd::CWD, newpath.cast()).build();
        io_uring_prep_sync_file_range(fd: i32, len: u32, offset: u64, flags: i32)
            => SyncFileRange::new(Fd(fd), len).offset(offset)
                .flags(SyncFileRangeFlags::from_bits_retain(flags as u32)).build();
        io_uring_prep_mkdirat(dfd: i32, path: *const c_void, mode: u32)
            => MkDirAt::new(Fd(dfd), path.cast()).mode(Mode::from_bits_retain(mode)).build();
        io_uring_prep_mkdir(path: *const c_void, mode: u32)
            => MkDirAt::new(Fd::CWD, path.cast()).mode(Mode::from_bits_retain(mode)).build();
        io_uring_prep_symlinkat(target: *const c_void, newdirfd: i32, linkpath: *const c_void)
            => SymlinkAt::new(Fd(newdirfd), target.cast(), linkpath.cast()).build();
        io_uring_prep_symlink(target: *const c_void, linkpath: *const c_void)
            => SymlinkAt::new(Fd::CWD, target.cast(), linkpath.cast()).build();
        io_uring_prep_linkat(
            olddfd: i32, oldpath: *const c_void, newdfd: i32, newpath: *const c_void, flags: i32
        ) => LinkAt::new(Fd(olddfd), oldpath.cast(), Fd(newdfd), newpath.cast())
            .flags(AtFlags::from_bits_retain(flags as u32)).build();
        io_uring_prep_link(oldpath: *const c_void, newpath: *const c_void, flags: i32)
            => LinkAt::new(Fd::CWD, oldpath.cast(), Fd::CWD, newpath.cast())
                .flags(AtFlags::from_bits_retain(flags as u32)).build();
        io_uring_prep_msg_ring_cqe_flags(fd: i32, len: u32, data: u64, flags: u32, cqe_flags: u32)
            => MsgRingData::new(Fd(fd), len as i32, data, Some(cqe_flags))
                .opcode_flags(MsgRingFlags::from_bits_retain(flags)).build();
        io_uring_prep_msg_ring(fd: i32, len: u32, data: u64, flags: u32)
            => MsgRingData::new(Fd(fd), len as i32, data, None)
                .opcode_flags(MsgRingFlags::from_bits_retain(flags)).build();
        io_uring_prep_msg_ring_fd(fd: i32, source_fd: i32, target_fd: i32, data: u64, flags: u32)
            => MsgRingSendFd::new(Fd(fd), Fixed(source_fd as u32), slot(target_fd as u32)?, data)
                .opcode_flags(MsgRingFlags::from_bits_retain(flags)).build(),
            none SLOT,
            but UPPER_HALF if source_fd < 0 => |theirs| theirs.addr3 = u64::from(source_fd as u32);
        io_uring_prep_msg_ring_fd_alloc(fd: i32, source_fd: i32, data: u64, flags: u32)
            => MsgRingSendFd::new(
                Fd(fd), Fixed(source_fd as u32), DestinationSlot::auto_target(), data
            ).opcode_flags(MsgRingFlags::from_bits_retain(flags)).build(),
            but UPPER_HALF if source_fd < 0 => |theirs| theirs.addr3 = u64::from(source_fd as u32);
        io_uring_prep_getxattr(name: *const c_void, value: *mut c_void, path: *const c_void, len: u32)
            => GetXattr::new(name.cast(), value, path.cast(), len).build();
        io_uring_prep_setxattr(
            name: *const c_void, value: *const c_void, path: *const c_void, flags: i32, len: u32
        ) => SetXattr::new(name.cast(), value, path.cast(), len)
            .flags(XattrFlags::from_bits_retain(flags as u32)).build();
        io_uring_prep_fgetxattr(fd: i32, name: *const c_void, value: *mut c_void, len: u32)
            => FGetXattr::new(Fd(fd), name.cast(), value, len).build();
        io_uring_prep_fsetxattr(
            fd: i32, name: *const c_void, value: *const c_void, flags: i32, len: u32
        ) => FSetXattr::new(Fd(fd), name.cast(), value, len)
            .flags(XattrFlags::from_bits_retain(flags as u32)).build();
        io_uring_prep_socket(domain: i32, r#type: i32, protocol: i32, flags: u32)
            => Socket::new(family(domain)?, SocketType::from_raw(r#type as u32), nonzero(protocol))
                .build(),
            none FAMILY,
            but UPPER_HALF if r#type < 0 => |theirs| theirs.off = u64::from(r#type as u32),
            but NO_FLAGS if true => |theirs| theirs.op_flags = 0;
        io_uring_prep_socket_direct(
            domain: i32, r#type: i32, protocol: i32, file_index: u32, flags: u32
        ) => Socket::new(family(domain)?, SocketType::from_raw(r#type as u32), nonzero(protocol))
                .file_index(Some(slot(file_index)?)).build(),
            none FAMILY_OR_SLOT,
            but UPPER_HALF if r#type < 0 => |theirs| theirs.off = u64::from(r#type as u32),
            but NO_FLAGS if true => |theirs| theirs.op_flags = 0;
        io_uring_prep_socket_direct_alloc(domain: i32, r#type: i32, protocol: i32, flags: u32)
            => Socket::new(family(domain)?, SocketType::from_raw(r#type as u32), nonzero(protocol))
                .file_index(Some(DestinationSlot::auto_target())).build(),
            none FAMILY,
            but UPPER_HALF if r#type < 0 => |theirs| theirs.off = u64::from(r#type as u32),
            but NO_FLAGS if true => |theirs| theirs.op_flags = 0;
        io_uring_prep_uring_cmd(cmd_op: i32, fd: i32) => UringCmd16::new(Fd(fd), cmd_op as u32).build();
        io_uring_prep_uring_cmd(cmd_op: i32, fd: i32) => UringCmd80::new(Fd(fd), cmd_op as u32).build();
        io_uring_prep_uring_cmd128(cmd_op: i32, fd: i32)
            => UringCmd128::new(Fd(fd), cmd_op as u32).build();
        io_uring_prep_cmd_sock(
            cmd_op: i32, fd: i32, level: i32, optname: i32, optval: *mut c_void, optlen: i32
        ) => match cmd_op {
                SIOCINQ => SiocInq::new(Fd(fd)).build(),
                SIOCOUTQ => SiocOutq::new(Fd(fd)).build(),
                GETSOCKOPT => {
                    GetSockOpt::new(Fd(fd), level as u32, optname as u32, optval, optlen as u32).build()
                }
                SETSOCKOPT => {
                    SetSockOpt::new(Fd(fd), level as u32, optname as u32, optval, optlen as u32).build()
                }
                TX_TIMESTAMP => TxTimestamp::new(Fd(fd)).build(),
                _ => return None,
            },
            none SOCKET_COMMAND,
            but COMMAND_ARGUMENTS if !matches!(cmd_op, GETSOCKOPT | SETSOCKOPT)
                => |theirs| (theirs.addr, theirs.addr3, theirs.file_index) = (0, 0, 0);
        io_uring_prep_cmd_getsockname(
            fd: i32, sockaddr: *mut c_void, sockaddr_len: *mut c_void, peer: i32
        ) => GetSockName::new(Fd(fd), sockaddr.cast(), sockaddr_len.cast()).peer(match peer {
                0 => false,
                1 => true,
                _ => return None,
            }).build(),
            none PEER;
        io_uring_prep_waitid(idtype: u32, id: u32, infop: *mut c_void, options: i32, flags: u32)
            => WaitId::new(IdType(idtype), id, WaitIdOptions::from_bits_retain(options as u32))
                .infop(infop.cast()).build(),
            but NO_FLAGS if true => |theirs| theirs.op_flags = 0;
        io_uring_prep_futex_wake(
            futex: *const c_void, val: u64, mask: u64, futex_flags: u32, flags: u32
        ) => FutexWake::new(futex.cast(), val, mask, FutexFlags::from_bits_retain(futex_flags)).build(),
            but NO_FLAGS if true => |theirs| theirs.op_flags = 0;
        io_uring_prep_futex_wait(
            futex: *const c_void, val: u64, mask: u64, futex_flags: u32, flags: u32
        ) => FutexWait::new(futex.cast(), val, mask, FutexFlags::from_bits_retain(futex_flags)).build(),
            but NO_FLAGS if true => |theirs| theirs.op_flags = 0;
        io_uring_prep_futex_waitv(futex: *const c_void, nr_futex: u32, flags: u32)
            => FutexWaitV::new(futex.cast(), nr_futex).build(),
            but NO_FLAGS if true => |theirs| theirs.op_flags = 0;
        io_uring_prep_fixed_fd_install(fd: i32, flags: u32)
            => FixedFdInstall::new(Fixed(fd as u32), FixedFdFlags::from_bits_retain(flags)).build();
        io_uring_prep_ftruncate(fd: i32, len: i64) => Ftruncate::new(Fd(fd), len as u64).build();
        io_uring_prep_cmd_discard(fd: i32, offset: u64, nbytes: u64)
            => BlockDiscard::new(Fd(fd), offset, nbytes).build();
        io_uring_prep_pipe(fds: *mut c_void, pipe_flags: i32)
            => Pipe::new(fds.cast()).flags(PipeFlags::from_bits_retain(pipe_flags as u32)).build();
        io_uring_prep_pipe_direct(fds: *mut c_void, pipe_flags: i32, file_index: u32)
            => Pipe::new(fds.cast()).flags(PipeFlags::from_bits_retain(pipe_flags as u32))
                .file_index(Some(slot(file_index)?)).build(),
            none SLOT;
    }
}
