//! Commands to sockets and block devices, with arguments of every size.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rustix::io::ioctl_fionread;
use rustix::net::sockopt::{socket_keepalive, socket_send_buffer_size};
use rustix::pipe::pipe;
use rustix_uring::cqueue::TimestampKind;
use rustix_uring::opcode::{
    BlockDiscard, BlockZoneResetAll, GetSockName, GetSockOpt, SetSockOpt, SiocInq, SiocOutq,
    TxTimestamp, UringCmd16, UringCmd80, UringCmd128,
};
use rustix_uring::squeue::{Entry, Entry128};
use rustix_uring::sys::{SO_KEEPALIVE, SO_SNDBUF, SOL_SOCKET};
use rustix_uring::types::{Fd, FileSlot, Fixed, SocketAddrBuf};
use rustix_uring::{Errno, IoUring, SetupFlags, cqueue, squeue, sys};

use super::net::{tcp, udp};
use crate::harness::Need::*;
use crate::harness::*;
use crate::opcode::taken;

const CMD: Need = Opcode(UringCmd16::CODE);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("uring_cmd_inq_and_outq", &[CMD, INQ], uring_cmd_inq_and_outq),
    Case::kinds("uring_cmd_inq_refused", &[CMD, INQ], uring_cmd_inq_refused),
    Case::kinds("uring_cmd_setsockopt", &[CMD, SOCKOPT], uring_cmd_setsockopt),
    Case::kinds("uring_cmd_getsockopt", &[CMD, SOCKOPT], uring_cmd_getsockopt),
    Case::kinds("uring_cmd_getsockname", &[CMD, NAME], uring_cmd_getsockname),
    Case::once("uring_cmd_tx_timestamp_32", &[TIMESTAMP], tx_timestamp::<cqueue::Entry32>),
    Case::once(
        "uring_cmd_tx_timestamp_mixed",
        &[TIMESTAMP, RingWith(SetupFlags::CQE_MIXED)],
        tx_timestamp::<cqueue::Mixed>,
    ),
    Case::kinds("uring_cmd_tx_timestamp_refused", &[CMD], uring_cmd_tx_timestamp_refused),
    Case::kinds("uring_cmd16", &[CMD, INQ], uring_cmd16),
    Case::kinds("uring_cmd80", &[CMD, INQ, RingWith(SetupFlags::SQE128)], uring_cmd80),
    Case::kinds("uring_cmd128", &[Opcode(UringCmd128::CODE)], uring_cmd128),
    Case::kinds("uring_cmd_refused", &[CMD], uring_cmd_refused),
    Case::kinds("uring_cmd_flags_refused", &[CMD, INQ], uring_cmd_flags_refused),
    Case::kinds("uring_cmd_block_discard", &[CMD, LOOP, DISCARD], uring_cmd_block_discard),
    Case::kinds(
        "uring_cmd_block_zone_reset_all",
        &[CMD, LOOP, ZONES],
        uring_cmd_block_zone_reset_all,
    ),
];

/// Runs a command on a socket, on a ring of its own.
fn takes(command: impl FnOnce(Fd) -> Entry) -> Result {
    let (one, _other) = tcp()?;
    // SAFETY: every entry in this file points to no memory, or to memory that outlives the call.
    unsafe { taken(command(Fd(one.as_raw_fd())), &[]) }
}

// A socket answers EOPNOTSUPP to an unknown command, even if it supports no commands at all.
const INQ: Need = Trial {
    what: "socket commands",
    refusal: Errno::OPNOTSUPP,
    call: || takes(|fd| SiocInq::new(fd).build()),
};
const SOCKOPT: Need = Trial {
    what: "socket options as socket commands",
    refusal: Errno::OPNOTSUPP,
    call: || {
        let mut on = 0;
        let on = (&raw mut on).cast();
        takes(|fd| GetSockOpt::new(fd, SOL_SOCKET, SO_KEEPALIVE, on, 4).build())
    },
};
const NAME: Need = Trial {
    what: "socket addresses as socket commands",
    refusal: Errno::OPNOTSUPP,
    call: || {
        let mut name = SocketAddrBuf::new();
        let (addr, addrlen) = name.as_mut_ptrs();
        takes(|fd| GetSockName::new(fd, addr, addrlen).build())
    },
};

fn uring_cmd_inq_and_outq(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let (mut one, other) = tcp()?;
    one.write_all(b"hello")?;
    while ioctl_fionread(&other)? < 5 {
        std::thread::yield_now();
    }
    ring.submitter().register_files(&[FileSlot::new(&other)])?;
    assert_eq!(ring.result(SiocInq::new(Fixed(0)).build())?, Ok(5));
    assert_eq!(ring.result(SiocInq::new(one.as_fd()).build())?, Ok(0));
    // Data that the receiver does not read stays queued, and data that it reads may still be
    // unacknowledged.
    one.set_nonblocking(true)?;
    let mut written = 5;
    while let Ok(n) = one.write(&[7; 1 << 16]) {
        written += n;
    }
    let inq = ring.result(SiocInq::new(other.as_fd()).build())?? as usize;
    let outq = ring.result(SiocOutq::new(one.as_fd()).build())?? as usize;
    assert!(outq > 0 && inq > 0 && inq + outq >= written, "{written}: {inq} {outq}");
    Ok(())
}

fn uring_cmd_inq_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let (out, _to) = pipe()?;
    let (local, _end) = UnixStream::pair()?;
    ring.refuses([
        (SiocInq::new(&out).build(), Errno::OPNOTSUPP),
        (SiocInq::new(local.as_fd()).build(), Errno::OPNOTSUPP),
        (SiocInq::new(Fd(-1)).build(), Errno::BADF),
    ])
}

fn uring_cmd_setsockopt(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, _other) = tcp()?;
    for on in [1, 0] {
        let on: u32 = on;
        let value = (&raw const on).cast();
        let set = SetSockOpt::new(one.as_fd(), SOL_SOCKET, SO_KEEPALIVE, value, 4).build();
        assert_eq!(ring.result(set)?, Ok(0));
        assert_eq!(socket_keepalive(&one)?, on == 1);
    }
    let fd = Fd(one.as_raw_fd());
    let on: u32 = 1;
    let value = (&raw const on).cast();
    let refusals = [
        (SetSockOpt::new(fd, SOL_SOCKET, 9999, value, 4), Errno::NOPROTOOPT),
        (SetSockOpt::new(fd, 9999, SO_KEEPALIVE, value, 4), Errno::NOPROTOOPT),
        (SetSockOpt::new(fd, SOL_SOCKET, SO_KEEPALIVE, value, 2), Errno::INVAL),
        (SetSockOpt::new(fd, SOL_SOCKET, SO_KEEPALIVE, ptr::null(), 4), Errno::FAULT),
    ];
    ring.refuses(refusals.map(|(set, errno)| (set.build(), errno)))
}

fn uring_cmd_getsockopt(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, _other) = tcp()?;
    let mut size = [u32::MAX; 2];
    let value = size.as_mut_ptr().cast();
    let get = GetSockOpt::new(one.as_fd(), SOL_SOCKET, SO_SNDBUF, value, 8).build();
    assert_eq!(ring.result(get)?, Ok(4));
    assert_eq!((size[0] as usize, size[1]), (socket_send_buffer_size(&one)?, u32::MAX));
    let fd = Fd(one.as_raw_fd());
    let refusals = [
        (GetSockOpt::new(fd, SOL_SOCKET, 9999, value, 4), Errno::NOPROTOOPT),
        (GetSockOpt::new(fd, libc::IPPROTO_TCP as u32, 1, value, 4), Errno::OPNOTSUPP),
        (GetSockOpt::new(fd, SOL_SOCKET, SO_SNDBUF, ptr::null_mut(), 4), Errno::FAULT),
    ];
    ring.refuses(refusals.map(|(get, errno)| (get.build(), errno)))
}

fn uring_cmd_getsockname(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, other) = tcp()?;
    for (peer, expected) in [(false, one.local_addr()?), (true, other.local_addr()?)] {
        let mut name = SocketAddrBuf::new();
        let (addr, addrlen) = name.as_mut_ptrs();
        let ask = GetSockName::new(one.as_fd(), addr, addrlen).peer(peer).build();
        assert_eq!(ring.result(ask)?, Ok(0));
        assert_eq!(name.to_socket_addr(), Some(expected));
    }
    let mut name = SocketAddrBuf::new();
    let (addr, addrlen) = name.as_mut_ptrs();
    let alone = UdpSocket::bind("127.0.0.1:0")?;
    let nobody = GetSockName::new(alone.as_fd(), addr, addrlen).peer(true).build();
    assert_eq!(ring.result(nobody)?, Err(Errno::NOTCONN));
    let nowhere = GetSockName::new(one.as_fd(), ptr::null_mut(), addrlen).build();
    assert_eq!(ring.result(nowhere)?, Err(Errno::FAULT));
    Ok(())
}

/// The timestamp in a completion, if it has one.
trait Stamped: cqueue::Kind {
    fn stamp(&self) -> Result<Option<cqueue::TxTimestamp>, Errno>;
}

impl Stamped for cqueue::Entry32 {
    fn stamp(&self) -> Result<Option<cqueue::TxTimestamp>, Errno> {
        let entry: cqueue::Entry = (*self).into();
        if entry.more() { self.tx_timestamp().map(Some) } else { Ok(None) }
    }
}

impl Stamped for cqueue::Mixed {
    fn stamp(&self) -> Result<Option<cqueue::TxTimestamp>, Errno> {
        self.tx_timestamp()
    }
}

/// A socket that records transmit timestamps without the sent data.
fn stamped_socket() -> Result<(UdpSocket, UdpSocket)> {
    let (one, other, _) = udp()?;
    one.connect(other.local_addr()?)?;
    let flags: libc::c_uint = libc::SOF_TIMESTAMPING_TX_SOFTWARE
        | libc::SOF_TIMESTAMPING_SOFTWARE
        | libc::SOF_TIMESTAMPING_OPT_ID
        | libc::SOF_TIMESTAMPING_OPT_TSONLY;
    // SAFETY: the value is valid, and has the given length.
    let set = unsafe {
        let value = (&raw const flags).cast();
        libc::setsockopt(one.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPING, value, 4)
    };
    if set == 0 { Ok((one, other)) } else { Err(std::io::Error::last_os_error().into()) }
}

const TIMESTAMP: Need = Trial {
    what: "transmit timestamps as socket commands",
    refusal: Errno::OPNOTSUPP,
    call: || tx_timestamp::<cqueue::Entry32>().map_err(absent_or_not),
};

/// Maps a failed ring setup to the error of a missing command.
fn absent_or_not(e: anyhow::Error) -> anyhow::Error {
    if e.downcast_ref() == Some(&Errno::INVAL) { Errno::OPNOTSUPP.into() } else { e }
}

fn tx_timestamp<C: Stamped>() -> Result {
    let (one, _other) = stamped_socket()?;
    let mut ring = IoUring::<squeue::Entry, C>::builder().build(4)?;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    one.send(b"first")?;
    one.send(b"second")?;
    let stamps = TxTimestamp::new(one.as_fd()).build().user_data(1);
    // SAFETY: the entry points to no memory, and the socket outlives the ring.
    unsafe { ring.submission().push(&stamps) }?;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        ring.submit_and_wait(1)?;
        for cqe in ring.completion() {
            match cqe.stamp()? {
                Some(stamp) => seen.push(stamp),
                None => {
                    let last: cqueue::Entry = cqe.into();
                    return Err(last
                        .to_result()
                        .err()
                        .context("the operation ended without an error")?
                        .into());
                }
            }
        }
    }
    for (n, stamp) in seen.iter().enumerate() {
        assert_eq!((stamp.key, stamp.kind), (n as u32, TimestampKind::SND));
        assert!(!stamp.hardware);
        let at = Duration::new(stamp.time.seconds() as u64, stamp.time.nanoseconds() as u32);
        assert!(at >= since && at < since + Duration::from_secs(3600), "{stamp:?}");
    }
    Ok(())
}

/// On rings whose completions have no room for a timestamp.
fn uring_cmd_tx_timestamp_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    if ring.params().setup_flags().intersects(SetupFlags::CQE32 | SetupFlags::CQE_MIXED) {
        let (out, _to) = pipe()?;
        let no_socket = TxTimestamp::new(&out).build();
        assert_eq!(ring.result(no_socket)?, Err(Errno::OPNOTSUPP));
        return Ok(());
    }
    let (one, _other) = stamped_socket()?;
    let refused = ring.result(TxTimestamp::new(one.as_fd()).build())?;
    assert!(matches!(refused, Err(Errno::INVAL | Errno::OPNOTSUPP)), "{refused:?}");
    Ok(())
}

const SIOCINQ: u32 = sys::io_uring_socket_op::SOCKET_URING_OP_SIOCINQ as u32;

/// A connection whose second end has five bytes to receive.
fn hello() -> Result<(TcpStream, TcpStream)> {
    let (mut one, other) = tcp()?;
    one.write_all(b"hello")?;
    while ioctl_fionread(&other)? < 5 {
        std::thread::yield_now();
    }
    Ok((one, other))
}

fn uring_cmd16(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let (_one, other) = hello()?;
    let inq = UringCmd16::new(other.as_fd(), SIOCINQ).cmd([7; 16]).build();
    assert_eq!(ring.result(inq)?, Ok(5));
    Ok(())
}

/// Runs a command in a 128-byte entry.
fn sqe128(ring: &mut dyn Ring, entry: Entry128) -> Result<Result<u32, Errno>> {
    // SAFETY: the entry points to no memory, and the caller's files outlive the call.
    unsafe { ring.queue().push_128(&entry) }?;
    Ok(ring.complete(1)?[0].to_result())
}

/// Supported on rings with only 128-byte entries.
fn uring_cmd80(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let (_one, other) = hello()?;
    let inq = UringCmd80::new(other.as_fd(), SIOCINQ).cmd([7; 80]).build();
    if ring.params().setup_flags().contains(SetupFlags::SQE128) {
        assert_eq!(sqe128(&mut **ring, inq)?, Ok(5));
    } else {
        assert_eq!(ring.result(Entry::from_raw(inq.into_raw().0))?, Ok(5));
    }
    Ok(())
}

/// Supported on rings with 128-byte entries, whether all entries have that size or some.
fn uring_cmd128(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let (_one, other) = hello()?;
    let inq = UringCmd128::new(other.as_fd(), SIOCINQ).cmd([7; 80]).build();
    if ring.queue().accepts_sqe128() {
        assert_eq!(sqe128(&mut **ring, inq)?, Ok(5));
    } else {
        assert_eq!(ring.result(Entry::from_raw(inq.into_raw().0))?, Err(Errno::INVAL));
    }
    Ok(())
}

fn uring_cmd_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let (out, _to) = pipe()?;
    let (one, _other) = tcp()?;
    ring.refuses([
        (UringCmd16::new(&out, 0).build(), Errno::OPNOTSUPP),
        (UringCmd16::new(one.as_fd(), 999).build(), Errno::OPNOTSUPP),
        (UringCmd16::new(Fd(-1), 0).build(), Errno::BADF),
    ])
}

fn uring_cmd_flags_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, _other) = tcp()?;
    let mut unknown = UringCmd16::new(one.as_fd(), SIOCINQ).build();
    unknown.as_raw_mut().op_flags = 1 << 20;
    assert_eq!(ring.result(unknown)?, Err(Errno::INVAL));
    // Socket commands do not support multishot.
    let again = UringCmd16::new(one.as_fd(), SIOCINQ).multishot(3).buf_index(Some(0)).build();
    let again = ring.result(again)?;
    assert!(matches!(again, Err(Errno::INVAL | Errno::OPNOTSUPP)), "{again:?}");
    Ok(())
}

const LOOP: Need =
    Trial { what: "a loop device", refusal: Errno::NOENT, call: || Loop::new().map(drop) };
const DISCARD: Need = Trial {
    what: "discard as a block device command",
    refusal: Errno::OPNOTSUPP,
    call: || {
        let disk = Loop::new()?;
        // SAFETY: the entry points to no memory, and the device outlives the operation.
        unsafe { taken(BlockDiscard::new(disk.device.as_fd(), 0, 4096).build(), &[]) }
            .map_err(absent_or_not)
    },
};
const ZONES: Need = Trial {
    what: "zone reset as a block device command",
    refusal: Errno::INVAL,
    call: || {
        let disk = Loop::new()?;
        let reset = BlockZoneResetAll::new(disk.device.as_fd()).build();
        // SAFETY: the entry points to no memory, and the device outlives the operation.
        match unsafe { taken(reset, &[]) } {
            // Either the device has no zones, or the kernel does not know the command.
            Err(e) if e.downcast_ref() == Some(&Errno::OPNOTSUPP) => Ok(()),
            other => other,
        }
    },
};

/// A loop device and the file behind it.
struct Loop {
    device: File,
    file: File,
}

impl Loop {
    const SIZE: usize = 64 * 1024;

    fn new() -> Result<Self> {
        const LOOP_SET_FD: libc::c_ulong = 0x4c00;
        const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
        let os_error = || match std::io::Error::last_os_error().raw_os_error() {
            Some(errno) => Errno::from_raw_os_error(errno),
            None => Errno::IO,
        };
        let open = |path: &str| {
            let opened = OpenOptions::new().read(true).write(true).open(path);
            opened.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
        };
        let file = file_with(&[7; Self::SIZE])?;
        let control = open("/dev/loop-control")?;
        // Another process may take the free device first, so retry.
        loop {
            // SAFETY: the request takes no argument.
            let n = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
            if n < 0 {
                return Err(os_error().into());
            }
            let device = open(&format!("/dev/loop{n}"))?;
            // SAFETY: the request takes a descriptor, which is open.
            let set =
                unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_FD as _, file.as_raw_fd()) };
            match set {
                0 => return Ok(Self { device, file }),
                _ if os_error() == Errno::BUSY => {}
                _ => return Err(os_error().into()),
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        const LOOP_CLR_FD: libc::c_ulong = 0x4c01;
        // SAFETY: the request takes no argument.
        unsafe { libc::ioctl(self.device.as_raw_fd(), LOOP_CLR_FD as _) };
    }
}

fn uring_cmd_block_discard(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let disk = Loop::new()?;
    let discard = |offset, len| BlockDiscard::new(disk.device.as_fd(), offset, len).build();
    assert_eq!(ring.result(discard(4096, 8192))?, Ok(0));
    let mut content = vec![0; Loop::SIZE];
    disk.file.read_exact_at(&mut content, 0)?;
    let gone = |n: usize| (4096..4096 + 8192).contains(&n);
    assert!(content.iter().enumerate().all(|(n, byte)| *byte == if gone(n) { 0 } else { 7 }));
    for (offset, len) in [(1, 4096), (4096, 1), (Loop::SIZE as u64, 4096)] {
        assert_eq!(ring.result(discard(offset, len))?, Err(Errno::INVAL), "{offset} {len}");
    }
    let read_only = File::open("/dev/zero")?;
    let no_disk = BlockDiscard::new(read_only.as_fd(), 0, 4096).build();
    assert_eq!(ring.result(no_disk)?, Err(Errno::OPNOTSUPP));
    Ok(())
}

/// A loop device has no zones.
fn uring_cmd_block_zone_reset_all(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let disk = Loop::new()?;
    let reset = BlockZoneResetAll::new(disk.device.as_fd()).build();
    assert_eq!(ring.result(reset)?, Err(Errno::OPNOTSUPP));
    Ok(())
}
